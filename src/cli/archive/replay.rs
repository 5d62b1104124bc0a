//! A game on the terminal, step by step.

use std::io::{self, BufRead as _, IsTerminal as _, Write as _};
use std::process::ExitCode;

use super::super::shown;
use crate::archive::{DealJson, GameJson, PieceName, RoundJson, TurnJson};
use crate::game::{BySeat, Color, Name, Seat};

const LEGEND: &str =
    "Pieces: G general, A advisor, E elephant, C chariot, H horse, N cannon, S soldier; r red, b black.";

/// Shows the game, and waits for Enter after each step where somebody sits at a terminal; `q` ends it.
pub(super) fn run(game: &GameJson, seat: Option<Seat>) -> anyhow::Result<ExitCode> {
    let is_terminal = io::stdin().is_terminal() && io::stdout().is_terminal();
    let mut out = io::stdout().lock();
    for step in Steps::of(game, seat) {
        writeln!(out, "{}", shown(step.trim_end()))?;
        if !is_terminal {
            writeln!(out)?;
            continue;
        }
        write!(out, "\n[Enter: on, q: end] ")?;
        out.flush()?;
        let mut answer = String::new();
        if io::stdin().lock().read_line(&mut answer)? == 0 || answer.trim().eq_ignore_ascii_case("q") {
            break;
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Makes the texts of the steps.
struct Steps {
    names: BySeat<String>,
    /// The only seat whose hand is shown, if not all are.
    seat: Option<Seat>,
}

impl Steps {
    fn of(game: &GameJson, seat: Option<Seat>) -> Vec<String> {
        let names = BySeat::from_fn(|seat| {
            let player = game.players.iter().find(|player| player.seat.0 == seat);
            player.map_or_else(String::new, |player| match &player.level {
                Some(level) => format!("{seat} {} ({level} bot)", player.name),
                None => format!("{seat} {}", player.name),
            })
        });
        let this = Self { names, seat };
        let mut steps = vec![format!(
            "Game {} in room {}, {} to {}\n{}\n{LEGEND}",
            game.game_id,
            game.room_id,
            game.started_at,
            game.completed_at,
            this.names.as_array().join(", ")
        )];
        for round in &game.rounds {
            let deals = (1..).zip(&round.deals);
            steps.extend(deals.map(|(number, deal)| this.deal(round.round, number, deal)));
            steps.extend(this.declarations(round));
            let mut hands = round.deals.last().map(|deal| deal.hands.clone()).unwrap_or_default();
            steps.extend(round.turns.iter().map(|turn| this.turn(round.round, turn, &mut hands)));
            steps.extend(this.scores(round));
        }
        let winners: Vec<&str> = game.winners.iter().map(|seat| &*this.names[seat.0]).collect();
        steps.push(match *winners {
            [] => "The game was abandoned.".to_owned(),
            [one] => format!("{one} has won."),
            _ => format!("{} have won together.", winners.join(" and ")),
        });
        steps
    }

    /// The hands that are shown.
    fn hands<'a>(&self, hands: &'a [Vec<PieceName>; 4]) -> impl Iterator<Item = (&str, &'a Vec<PieceName>)> {
        let shown = Seat::ALL.into_iter().zip(hands).filter(|(seat, _)| self.seat.is_none_or(|only| only == *seat));
        shown.map(|(seat, hand)| (&*self.names[seat], hand))
    }

    fn deal(&self, round: u32, number: u32, deal: &DealJson) -> String {
        let mut text = format!("Round {round}: {}\n", if number == 1 { "the deal" } else { "dealt again" });
        for (name, hand) in self.hands(&deal.hands) {
            text.push_str(&format!("  {name:<24} {}\n", pieces(hand)));
        }
        for answer in &deal.answers {
            let what = if answer.accept { "asks for a new deal" } else { "keeps the weak hand" };
            text.push_str(&format!("  {} {what}\n", self.names[answer.seat.0]));
        }
        text
    }

    fn declarations(&self, round: &RoundJson) -> Option<String> {
        let (starter, reason) = (&self.names[round.starter?.0], round.starter_reason.as_ref()?);
        let mut text = format!("Round {}: {starter} starts ({})\n", round.round, reason.replace('_', " "));
        for one in &round.declarations {
            text.push_str(&format!("  {:<24} declares {}\n", self.names[one.seat.0], one.value));
        }
        Some(text)
    }

    fn turn(&self, round: u32, turn: &TurnJson, hands: &mut [Vec<PieceName>; 4]) -> String {
        let mut text = format!("Round {round}, turn {}\n", turn.turn);
        for play in &turn.plays {
            let seat = play.seat.0;
            let won = if turn.winner == Some(play.seat) { " *" } else { "" };
            let kind = play.play_type.replace('_', " ").to_lowercase();
            text.push_str(&format!("  {:<24} {} ({kind}){won}\n", self.names[seat], pieces(&play.pieces)));
            let Some(hand) = hands.get_mut(seat.index()) else { continue };
            for piece in &play.pieces {
                hand.iter().position(|held| held == piece).map(|at| hand.remove(at));
            }
        }
        if let (Some(winner), Some(piles)) = (turn.winner, turn.piles) {
            let what = if piles == 1 { "pile" } else { "piles" };
            text.push_str(&format!("  {} wins {piles} {what}\n", self.names[winner.0]));
        }
        for (name, hand) in self.hands(hands).filter(|(_, hand)| !hand.is_empty()) {
            text.push_str(&format!("    left to {name}: {}\n", pieces(hand)));
        }
        text
    }

    fn scores(&self, round: &RoundJson) -> Option<String> {
        let (scores, totals) = (round.scores?, round.totals?);
        let mut text = format!("Round {}: scores, times {}\n", round.round, round.multiplier);
        for (((seat, name), captured), (score, total)) in
            self.names.pairs().zip(&round.captured).zip(scores.iter().zip(totals))
        {
            let declared = round.declarations.iter().find(|one| one.seat.0 == seat).map_or(0, |one| one.value);
            text.push_str(&format!("  {name:<24} declared {declared}, won {captured}: {score:+}, now {total}\n"));
        }
        Some(text)
    }
}

fn pieces(pieces: &[PieceName]) -> String {
    let short: Vec<_> = pieces
        .iter()
        .map(|piece| {
            let name = match piece.0.name {
                Name::General => 'G',
                Name::Advisor => 'A',
                Name::Elephant => 'E',
                Name::Chariot => 'C',
                Name::Horse => 'H',
                Name::Cannon => 'N',
                Name::Soldier => 'S',
            };
            format!("{name}{}", if piece.0.color == Color::Red { 'r' } else { 'b' })
        })
        .collect();
    short.join(" ")
}
