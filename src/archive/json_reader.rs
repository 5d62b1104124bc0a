//! From the public form of a game back to its record: every word of the text is held against the game that it tells of.

use serde::Deserialize;
use serde_json::Value;

use super::ParseGameIdError;
use super::calendar::unix_ms;
use super::json::{FORMAT_VERSION, GameJson, PieceName, ProofError, SeatNumber, Seconds};
use super::record::{Ended, GameRecord, GameTime, Move, Takeover};
use super::replay::{Course, RULES_VERSION, ReplayError, replay};
use crate::game::{Action, BySeat, DealProof, Declaration, LevelError, PieceSet, Seat};

/// Why a text is no completed game.
#[derive(Debug, thiserror::Error)]
pub enum JsonError {
    /// It is not JSON, or lacks something, or has something else in its place.
    #[error("{0}")]
    Form(#[from] serde_json::Error),
    /// Another version of the form or of the rules.
    #[error("{what} is {found}, this program knows {known}")]
    Version {
        /// Which version.
        what: &'static str,
        /// What it is.
        found: u32,
        /// What it should be.
        known: u32,
    },
    /// The name of the game cannot be read.
    #[error("game_id: {0}")]
    GameId(#[from] ParseGameIdError),
    /// A time cannot be read.
    #[error("{what} must be a time like 2026-11-23T10:15:02.120Z, after 1970")]
    Time {
        /// Which time.
        what: &'static str,
    },
    /// The end is before the start.
    #[error("completed_at is before started_at")]
    EndsBeforeStart,
    /// A move or takeover is after the end of the game.
    #[error("something happened at {at} s, after the end of the game")]
    AfterTheEnd {
        /// The time in question.
        at: GameTime,
    },
    /// The bot's level is none of ours.
    #[error("players: {0}")]
    Level(#[from] LevelError),
    /// The proof cannot be read.
    #[error(transparent)]
    Proof(#[from] ProofError),
    /// A declaration out of range.
    #[error("rounds[{round}]: a declaration is a number from 0 to 8")]
    Declaration {
        /// Place of the round, from 0.
        round: usize,
    },
    /// Somebody plays pieces that he does not hold.
    #[error("rounds[{round}].turns[{turn}]: seat {seat} does not hold {piece}")]
    NotHeld {
        /// Place of the round, from 0.
        round: usize,
        /// Place of the turn, from 0.
        turn: usize,
        /// Who plays.
        seat: Seat,
        /// What he does not hold.
        piece: PieceName,
    },
    /// The game is not one by the rules.
    #[error(transparent)]
    Replay(#[from] ReplayError),
    /// The text says something else than the game itself.
    #[error("{0}")]
    Differs(#[from] Difference),
}

/// The first place where a text and the game it tells of differ.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{path} is {found}, must be {must}")]
pub struct Difference {
    /// Where, for example `rounds[2].turns[0].winner`.
    pub path: String,
    /// What stands there, cut if long.
    pub found: String,
    /// What the game has there, cut if long.
    pub must: String,
}

impl GameRecord {
    /// Reads the public form of a game, plays the game again and holds every word of the text against it.
    ///
    /// Key order, spacing and the spelling of numbers are free; any other difference is refused, unknown keys included,
    /// for they would be lost.
    ///
    /// # Errors
    /// [`JsonError`] names the first thing that is wrong.
    pub fn from_json(text: &str) -> Result<Self, JsonError> {
        // Nearly always it is our own text, to the letter: then there is nothing to compare piece by piece.
        if let Ok(json) = serde_json::from_str::<GameJson>(text)
            && let Ok(record) = json.to_record()
            && replay(&record).is_ok_and(|game| game.to_line() == text.trim())
        {
            return Ok(record);
        }
        let found: Value = serde_json::from_str(text)?;
        let json = GameJson::deserialize(&found)?;
        let record = json.to_record()?;
        let must = serde_json::to_value(replay(&record)?)?;
        match first_difference(&found, &must, &mut String::new()) {
            None => Ok(record),
            Some(difference) => Err(difference.into()),
        }
    }
}

impl GameJson {
    /// The record behind the text. What follows from it is not looked at.
    fn to_record(&self) -> Result<GameRecord, JsonError> {
        let version =
            |what, found, known| if found == known { Ok(()) } else { Err(JsonError::Version { what, found, known }) };
        version("format", self.format, FORMAT_VERSION)?;
        version("rules", self.rules.into(), RULES_VERSION.into())?;
        let started_at_ms = unix_ms(&self.started_at).ok_or(JsonError::Time { what: "started_at" })?;
        let completed_at_ms = unix_ms(&self.completed_at).ok_or(JsonError::Time { what: "completed_at" })?;
        let duration_ms = completed_at_ms.checked_sub(started_at_ms).ok_or(JsonError::EndsBeforeStart)?;
        let [one, two, three, four] = &self.players;
        let proof = self.deal_proof.to_proof()?;
        let takeovers: Vec<_> = self
            .takeovers
            .iter()
            .map(|takeover| Takeover { seat: takeover.seat.0, from: takeover.from.0, to: takeover.to.map(|to| to.0) })
            .collect();
        let moves = self.moves(&proof)?;
        // The last hundredth may be cut off from the end of the game, but not from a move.
        let end = GameTime::from_ms(duration_ms.saturating_add(10));
        let times =
            moves.iter().map(|one| one.at).chain(takeovers.iter().flat_map(|one| [Some(one.from), one.to]).flatten());
        if let Some(at) = times.into_iter().find(|&at| at > end) {
            return Err(JsonError::AfterTheEnd { at });
        }
        Ok(GameRecord {
            game_id: self.game_id.parse()?,
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

    /// What was done, in order. Copies of a piece look alike in the text; the first one in hand stands for them.
    fn moves(&self, proof: &DealProof) -> Result<Vec<Move>, JsonError> {
        let mut course = Course::new(proof);
        let mut moves = Vec::new();
        let mut act = |course: &mut Course, seat: SeatNumber, action, at: Seconds| {
            let next = Move { seat: seat.0, action, at: at.0 };
            moves.push(next);
            course.apply(next, |_| ())
        };
        for (round_index, round) in self.rounds.iter().enumerate() {
            for answer in round.deals.iter().flat_map(|deal| &deal.answers) {
                act(&mut course, answer.seat, Action::AnswerRedeal(answer.accept), answer.at)?;
            }
            for one in &round.declarations {
                let declaration = Declaration::new(one.value).ok_or(JsonError::Declaration { round: round_index })?;
                act(&mut course, one.seat, Action::Declare(declaration), one.at)?;
            }
            for (turn_index, turn) in round.turns.iter().enumerate() {
                for play in &turn.plays {
                    let held = course.game().hand(play.seat.0).set();
                    let pieces = pick(held, &play.pieces).map_err(|piece| JsonError::NotHeld {
                        round: round_index,
                        turn: turn_index,
                        seat: play.seat.0,
                        piece,
                    })?;
                    act(&mut course, play.seat, Action::Play(pieces), play.at)?;
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

fn first_difference(found: &Value, must: &Value, path: &mut String) -> Option<Difference> {
    let differ = |path: &str, found: &str, must: &str| {
        let path = if path.is_empty() { "the game".to_owned() } else { path.to_owned() };
        Some(Difference { path, found: cut(found), must: cut(must) })
    };
    let length = path.len();
    match (found, must) {
        (Value::Object(found), Value::Object(must)) => {
            let keys = must.keys().chain(found.keys().filter(|key| !must.contains_key(*key)));
            for key in keys {
                if !path.is_empty() {
                    path.push('.');
                }
                path.push_str(key);
                let difference = match (found.get(key), must.get(key)) {
                    (Some(found), Some(must)) => first_difference(found, must, path),
                    (None, Some(must)) => differ(path, "missing", &must.to_string()),
                    (found, None) => differ(path, &found.map(Value::to_string).unwrap_or_default(), "absent"),
                };
                if difference.is_some() {
                    return difference;
                }
                path.truncate(length);
            }
            None
        }
        (Value::Array(found), Value::Array(must)) => {
            for (index, (found, must)) in found.iter().zip(must).enumerate() {
                path.push_str(&format!("[{index}]"));
                let difference = first_difference(found, must, path);
                if difference.is_some() {
                    return difference;
                }
                path.truncate(length);
            }
            if found.len() == must.len() {
                return None;
            }
            differ(path, &format!("{} entries long", found.len()), &format!("{} entries long", must.len()))
        }
        // Other writers of JSON write 14.0 as 14.
        (Value::Number(a), Value::Number(b)) if a.as_f64() == b.as_f64() => None,
        (a, b) if a == b => None,
        (a, b) => differ(path, &a.to_string(), &b.to_string()),
    }
}

fn cut(text: &str) -> String {
    const LONGEST: usize = 80;
    if text.chars().count() <= LONGEST {
        return text.to_owned();
    }
    text.chars().take(LONGEST).chain(['…']).collect()
}
