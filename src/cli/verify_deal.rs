//! `liap verify-deal`: do the hands of these games follow from the seed that was committed to before the deal?

use std::fs::File;
use std::io::{self, BufReader, Read, Write};
use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context as _, bail};
use serde::Deserialize;

use crate::archive::{PieceName, ProofJson};
use crate::game::Seat;

/// The part of a game that its deals are checked by. Everything else in the text is ignored, so a player needs to note
/// no more than this.
#[derive(Debug, Deserialize)]
struct Dealt {
    #[serde(default)]
    game_id: Option<String>,
    deal_proof: ProofJson,
    rounds: Vec<Round>,
}

#[derive(Debug, Deserialize)]
struct Round {
    deals: Vec<Deal>,
}

#[derive(Debug, Deserialize)]
struct Deal {
    hands: [Vec<PieceName>; 4],
}

/// Says for each game whether its deals follow from its proof.
pub(super) fn run(file: &Path) -> anyhow::Result<ExitCode> {
    let input: Box<dyn Read> = if file == Path::new("-") {
        Box::new(io::stdin().lock())
    } else {
        Box::new(File::open(file).with_context(|| format!("cannot read {}", file.display()))?)
    };
    let games = serde_json::Deserializer::from_reader(BufReader::new(input)).into_iter::<Dealt>();
    let mut out = io::stdout().lock();
    let (mut checked, mut refused) = (0_u64, 0_u64);
    for game in games {
        checked += 1;
        // Behind a text that is no game, the beginning of the next one is unknown.
        let game = game.with_context(|| format!("game {checked} cannot be read"))?;
        let name =
            game.game_id.as_deref().map_or_else(|| format!("game {checked}"), |id| id.chars().take(40).collect());
        match check(&game) {
            Ok(deals) => writeln!(out, "{name}: yes, {deals} deals follow from the committed seed")?,
            Err(reason) => {
                refused += 1;
                writeln!(out, "{name}: no, {reason}")?;
            }
        }
    }
    if checked == 0 {
        bail!("there is no game in {}", file.display());
    }
    Ok(if refused == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The number of deals, all of them right, or what is wrong.
fn check(game: &Dealt) -> Result<usize, String> {
    let proof = game.deal_proof.to_proof().map_err(|error| error.to_string())?;
    let commitment = hex::encode(proof.server_seed.commitment());
    if !game.deal_proof.commitment.eq_ignore_ascii_case(&commitment) {
        return Err(format!("the seed's commitment is {commitment}"));
    }
    let seed = proof.deal_seed();
    let mut deals = 0;
    for (round_number, round) in (1..).zip(&game.rounds) {
        for (deal_number, deal) in (1..).zip(&round.deals) {
            let must = seed.deal(deals);
            for (seat, hand) in Seat::ALL.into_iter().zip(&deal.hands) {
                if !must[seat].iter().copied().map(PieceName::from).eq(hand.iter().copied()) {
                    let must: Vec<_> = must[seat].iter().map(ToString::to_string).collect();
                    let must = must.join(" ");
                    return Err(format!("in round {round_number}, deal {deal_number}, seat {seat} must have {must}"));
                }
            }
            deals += 1;
        }
    }
    Ok(deals as usize)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::archive::{GameRecord, replay};
    use crate::game::{BySeat, Level, Seating, Series};

    fn line() -> String {
        let series =
            Series { seed: 1, players: BySeat::new([Level::Easy; 4]), seating: Seating::Fixed, max_rounds: 30 };
        replay(&GameRecord::simulate(&series, 0).0).unwrap().to_line()
    }

    fn checked(text: &str) -> Result<usize, String> {
        check(&serde_json::from_str(text).unwrap())
    }

    #[test]
    fn a_game_as_it_was_is_right() {
        let line = line();
        assert_eq!(checked(&line), Ok(line.matches("\"hands\"").count()));
    }

    #[test]
    fn another_seed_hand_or_order_is_wrong() {
        let line = line();
        let at = line.find("\"server_seed\":\"").unwrap() + 15;
        let mut other_seed = line.clone();
        other_seed.replace_range(at..at + 1, if line[at..].starts_with('0') { "1" } else { "0" });
        assert!(checked(&other_seed).unwrap_err().starts_with("the seed's commitment is "));

        let hand = line.find("\"hands\":[[\"").unwrap() + 11;
        let end = hand + line[hand..].find('"').unwrap();
        let mut other_hand = line.clone();
        other_hand.replace_range(
            hand..end,
            if line[hand..].starts_with("SOLDIER_RED") { "GENERAL_RED" } else { "SOLDIER_RED" },
        );
        assert!(checked(&other_hand).unwrap_err().starts_with("in round 1, deal 1, seat 1 must have "));

        let entropy = line.replace("\"entropy\":[null", "\"entropy\":[\"abc\"");
        assert!(checked(&entropy).unwrap_err().starts_with("in round 1, deal 1, seat 1 must have "));
    }
}
