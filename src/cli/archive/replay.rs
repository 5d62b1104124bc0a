//! A game on the terminal, step by step.

use std::io::{self, BufRead as _, IsTerminal as _, Write as _};
use std::process::ExitCode;

use crate::archive::{DealJson, GameJson, PieceName, RoundJson, TurnJson};
use crate::game::{Color, Name, Seat};

const LEGEND: &str =
    "Pieces: G general, A advisor, E elephant, C chariot, H horse, N cannon, S soldier; r red, b black.";

/// Shows the game, and waits for Enter after each step where somebody sits at a terminal; `q` ends it.
pub(super) fn run(game: &GameJson, seat: Option<Seat>) -> anyhow::Result<ExitCode> {
    let by_hand = io::stdin().is_terminal() && io::stdout().is_terminal();
    let mut out = io::stdout().lock();
    for step in steps(game, seat) {
        writeln!(out, "{}", step.trim_end())?;
        if !by_hand {
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

/// The texts of all steps.
fn steps(game: &GameJson, seat: Option<Seat>) -> Vec<String> {
    let names = Seat::ALL.map(|seat| player(game, seat));
    let name = |seat: Seat| Seat::ALL.into_iter().zip(&names).find(|(of, _)| *of == seat).map_or("", |(_, name)| name);
    let is_shown = |of: Seat| seat.is_none_or(|seat| seat == of);
    let mut steps = vec![format!(
        "Game {} in room {}, {} to {}\n{}\n{LEGEND}",
        game.game_id,
        game.room_id,
        game.started_at,
        game.completed_at,
        names.join(", ")
    )];
    for round in &game.rounds {
        for (number, deal) in (1..).zip(&round.deals) {
            steps.push(deal_text(round.round, number, deal, &name, &is_shown));
        }
        if let Some(text) = declarations_text(round, &name) {
            steps.push(text);
        }
        let mut hands = round.deals.last().map(|deal| deal.hands.clone()).unwrap_or_default();
        for turn in &round.turns {
            steps.push(turn_text(round.round, turn, &mut hands, &name, &is_shown));
        }
        if let (Some(scores), Some(totals)) = (round.scores, round.totals) {
            let mut text = format!("Round {}: scores, times {}\n", round.round, round.multiplier);
            for (seat, ((captured, score), total)) in
                Seat::ALL.into_iter().zip(round.captured.iter().zip(scores).zip(totals))
            {
                let declared = round.declarations.iter().find(|one| one.seat.0 == seat).map_or(0, |one| one.value);
                let name = name(seat);
                text.push_str(&format!("  {name:<24} declared {declared}, won {captured}: {score:+}, now {total}\n"));
            }
            steps.push(text);
        }
    }
    let winners: Vec<_> = game.winners.iter().map(|seat| name(seat.0)).collect();
    steps.push(match *winners {
        [] => "The game was abandoned.".to_owned(),
        [one] => format!("{one} has won."),
        _ => format!("{} have won together.", winners.join(" and ")),
    });
    steps
}

fn player(game: &GameJson, seat: Seat) -> String {
    let player = game.players.iter().find(|player| player.seat.0 == seat);
    player.map_or_else(String::new, |player| match &player.level {
        Some(level) => format!("{seat} {} ({level} bot)", player.name),
        None => format!("{seat} {}", player.name),
    })
}

fn deal_text<'a>(
    round: u32,
    number: u32,
    deal: &DealJson,
    name: &impl Fn(Seat) -> &'a str,
    is_shown: &impl Fn(Seat) -> bool,
) -> String {
    let mut text = format!("Round {round}: {}\n", if number == 1 { "the deal" } else { "dealt again" });
    for (seat, hand) in Seat::ALL.into_iter().zip(&deal.hands) {
        if is_shown(seat) {
            text.push_str(&format!("  {:<24} {}\n", name(seat), pieces(hand)));
        }
    }
    for answer in &deal.answers {
        let what = if answer.accept { "asks for a new deal" } else { "keeps his weak hand" };
        text.push_str(&format!("  {} {what}\n", name(answer.seat.0)));
    }
    text
}

fn declarations_text<'a>(round: &RoundJson, name: &impl Fn(Seat) -> &'a str) -> Option<String> {
    let (starter, reason) = (round.starter?, round.starter_reason.as_ref()?);
    let mut text = format!("Round {}: {} starts ({})\n", round.round, name(starter.0), reason.replace('_', " "));
    for one in &round.declarations {
        text.push_str(&format!("  {:<24} declares {}\n", name(one.seat.0), one.value));
    }
    Some(text)
}

fn turn_text<'a>(
    round: u32,
    turn: &TurnJson,
    hands: &mut [Vec<PieceName>; 4],
    name: &impl Fn(Seat) -> &'a str,
    is_shown: &impl Fn(Seat) -> bool,
) -> String {
    let mut text = format!("Round {round}, turn {}\n", turn.turn);
    for play in &turn.plays {
        let won = if turn.winner == Some(play.seat) { " *" } else { "" };
        let kind = play.play_type.replace('_', " ").to_lowercase();
        text.push_str(&format!("  {:<24} {} ({kind}){won}\n", name(play.seat.0), pieces(&play.pieces)));
        for (_, hand) in Seat::ALL.into_iter().zip(hands.iter_mut()).filter(|(seat, _)| *seat == play.seat.0) {
            for piece in &play.pieces {
                if let Some(place) = hand.iter().position(|held| held == piece) {
                    hand.remove(place);
                }
            }
        }
    }
    if let (Some(winner), Some(piles)) = (turn.winner, turn.piles) {
        text.push_str(&format!("  {} wins {piles} {}\n", name(winner.0), if piles == 1 { "pile" } else { "piles" }));
    }
    for (seat, hand) in Seat::ALL.into_iter().zip(hands).filter(|(_, hand)| !hand.is_empty()) {
        if is_shown(seat) {
            text.push_str(&format!("    left to {}: {}\n", name(seat), pieces(hand)));
        }
    }
    text
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
