//! From the public form of a game back to its record. Every value of the text is compared with the game it describes.

use serde_json::Value;

use super::calendar::unix_ms;
use super::json::{FORMAT_VERSION, FieldError, GameJson, PieceName};
use super::record::{Ended, GameRecord, GameTime, Move, Takeover};
use super::replay::{ReplayError, Replayer, replay};
use crate::game::{Action, BySeat, DealProof, Declaration, PieceSet, RULES_VERSION};

/// Why a text is no completed game.
#[derive(Debug, thiserror::Error)]
pub enum JsonError {
    /// It is not JSON, or a field is missing, unknown or of another type.
    #[error("{0}")]
    Form(#[from] serde_json::Error),
    /// A field has a value that it cannot have, or not in this game.
    #[error("{0}")]
    Field(#[from] FieldError),
    /// The game breaks the rules.
    #[error(transparent)]
    Replay(#[from] ReplayError),
}

impl GameRecord {
    /// Reads the public form of a game, plays the game again and compares every value of the text with it.
    ///
    /// Key order, spacing and the spelling of numbers are free. Any other difference is refused, even an unknown key,
    /// because it would be lost.
    ///
    /// # Errors
    /// [`JsonError`] names the first thing that is wrong.
    pub fn from_json(text: &str) -> Result<Self, JsonError> {
        let record = serde_json::from_str::<GameJson>(text)?.to_record()?;
        let game = replay(&record)?;
        // Nearly every text is our own, to the letter.
        if game.to_line() == text.trim() {
            return Ok(record);
        }
        let (found, must) = (serde_json::from_str(text)?, serde_json::to_value(game)?);
        match first_difference(Some(&found), Some(&must)) {
            None => Ok(record),
            Some((path, difference)) => {
                let path = if path.is_empty() { "the game" } else { path.trim_start_matches('.') };
                Err(wrong(format!("{path} {difference}")))
            }
        }
    }
}

fn wrong(text: impl Into<String>) -> JsonError {
    FieldError(text.into()).into()
}

impl GameJson {
    /// The record behind the text. What follows from it is not compared.
    fn to_record(&self) -> Result<GameRecord, JsonError> {
        for (what, found, known) in
            [("format", self.format, FORMAT_VERSION), ("rules", self.rules.into(), RULES_VERSION.into())]
        {
            if found != known {
                return Err(wrong(format!("{what} is {found}, this program knows {known}")));
            }
        }
        let time = |what, text: &str| {
            let example = "2026-11-23T10:15:02.120Z";
            unix_ms(text).ok_or_else(|| wrong(format!("{what} must be a time like {example}, after 1970")))
        };
        let started_at_ms = time("started_at", &self.started_at)?;
        let duration_ms = time("completed_at", &self.completed_at)?.checked_sub(started_at_ms);
        let duration_ms = duration_ms.ok_or_else(|| wrong("completed_at is before started_at"))?;
        let game_id = self.game_id.parse().map_err(|error| wrong(format!("game_id: {error}")))?;
        let [one, two, three, four] = &self.players;
        let proof = self.deal_proof.to_proof()?;
        let takeovers: Vec<_> = self
            .takeovers
            .iter()
            .map(|takeover| Takeover { seat: takeover.seat.0, from: takeover.from, to: takeover.to })
            .collect();
        let moves = self.moves(&proof)?;
        // The last hundredth may be cut off from the end of the game, but not from a move.
        let end = GameTime::from_ms(duration_ms.saturating_add(10));
        let mut times =
            moves.iter().map(|one| one.at).chain(takeovers.iter().flat_map(|one| [Some(one.from), one.to]).flatten());
        if let Some(at) = times.find(|&at| at > end) {
            return Err(wrong(format!("something happened at {at} s, after the end of the game")));
        }
        Ok(GameRecord {
            game_id,
            room_id: self.room_id.clone(),
            started_at_ms,
            duration_ms,
            players: BySeat::new([one.to_player()?, two.to_player()?, three.to_player()?, four.to_player()?]),
            proof,
            moves,
            takeovers,
            ended: if self.winners.is_empty() { Ended::Abandoned } else { Ended::Won },
        })
    }

    /// The moves, in order. The text does not tell copies of a piece apart; the first one in hand stands for them.
    fn moves(&self, proof: &DealProof) -> Result<Vec<Move>, JsonError> {
        let mut replayer = Replayer::new(proof);
        let mut moves = Vec::new();
        let mut apply = |replayer: &mut Replayer, seat, action, at| {
            let next = Move { seat, action, at };
            moves.push(next);
            replayer.apply(next, |_| ())
        };
        for (round_index, round) in self.rounds.iter().enumerate() {
            for answer in round.deals.iter().flat_map(|deal| &deal.answers) {
                apply(&mut replayer, answer.seat.0, Action::AnswerRedeal(answer.accept), answer.at)?;
            }
            for one in &round.declarations {
                let declaration = Declaration::new(one.value)
                    .ok_or_else(|| wrong(format!("rounds[{round_index}]: a declaration is a number from 0 to 8")))?;
                apply(&mut replayer, one.seat.0, Action::Declare(declaration), one.at)?;
            }
            for (turn_index, turn) in round.turns.iter().enumerate() {
                for play in &turn.plays {
                    let seat = play.seat.0;
                    let pieces = pick(replayer.game().hand(seat).set(), &play.pieces).map_err(|piece| {
                        let path = format!("rounds[{round_index}].turns[{turn_index}]");
                        wrong(format!("{path}: seat {seat} does not hold {piece}"))
                    })?;
                    apply(&mut replayer, seat, Action::Play(pieces), play.at)?;
                }
            }
        }
        Ok(moves)
    }
}

/// Pieces of these names out of `held`, or the first name for which there is none left.
fn pick(mut held: PieceSet, names: &[PieceName]) -> Result<PieceSet, PieceName> {
    let mut picked = PieceSet::EMPTY;
    for &name in names {
        let piece = held.iter().find(|piece| piece.kind() == name.0).ok_or(name)?;
        picked = picked.with(piece);
        held = held.difference(picked);
    }
    Ok(picked)
}

/// The path to the first place where a text and the game it describes differ, and how they differ there.
fn first_difference(found: Option<&Value>, must: Option<&Value>) -> Option<(String, String)> {
    let differ =
        |found: String, must: String| Some((String::new(), format!("is {}, must be {}", cut(found), cut(must))));
    match (found, must) {
        (Some(Value::Object(found)), Some(Value::Object(must))) => {
            let mut keys = must.keys().chain(found.keys().filter(|key| !must.contains_key(*key)));
            keys.find_map(|key| {
                let (path, difference) = first_difference(found.get(key), must.get(key))?;
                Some((format!(".{key}{path}"), difference))
            })
        }
        (Some(Value::Array(found)), Some(Value::Array(must))) => {
            let within = found.iter().zip(must).enumerate().find_map(|(index, (found, must))| {
                let (path, difference) = first_difference(Some(found), Some(must))?;
                Some((format!("[{index}]{path}"), difference))
            });
            let length = |list: &[Value]| format!("{} entries long", list.len());
            within.or_else(|| if found.len() == must.len() { None } else { differ(length(found), length(must)) })
        }
        // Other writers of JSON write 14.0 as 14.
        (Some(Value::Number(a)), Some(Value::Number(b))) if a.as_f64() == b.as_f64() => None,
        (a, b) if a == b => None,
        (found, must) => {
            let text = |value: Option<&Value>, none: &str| value.map_or_else(|| none.to_owned(), Value::to_string);
            differ(text(found, "missing"), text(must, "absent"))
        }
    }
}

/// At most 80 characters of a text.
fn cut(text: String) -> String {
    match text.char_indices().nth(80) {
        None => text,
        Some((end, _)) => format!("{}…", text.split_at(end).0),
    }
}
