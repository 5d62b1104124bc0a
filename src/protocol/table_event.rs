//! Events of a table, as a client gets them that missed some. They hold only what all may know: a face-down play is a
//! number of pieces, and its pieces follow with the turn's result.

use serde_json::{Value, json};

use super::Frame;
use super::table_message::PlayData;
use crate::game::{BySeat, Declaration, Seat, StarterReason, TurnResult};

/// One thing that happened at a table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TableEvent {
    /// All four got new hands; the multiplier is more than 1 after a redeal.
    Dealt {
        /// What the round's points are multiplied by.
        multiplier: u32,
    },
    /// The starter of the round is known.
    RoundStarted {
        /// Who.
        starter: Seat,
        /// And why.
        reason: StarterReason,
    },
    /// A player declared.
    Declared {
        /// Who.
        seat: Seat,
        /// What.
        declaration: Declaration,
    },
    /// A player played; the pieces lie face down.
    Played {
        /// Who.
        seat: Seat,
        /// How many pieces.
        count: u8,
    },
    /// A turn is won, and its plays have been seen by all.
    TurnWon(Box<WonTurn>),
    /// A round is scored: points of it, and totals after it.
    Scored(Box<(BySeat<i32>, BySeat<i32>)>),
    /// A player is away, and a bot plays instead.
    Left(Seat),
    /// The player is back.
    Returned(Seat),
}

/// A turn that is won.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WonTurn {
    /// Its number in the round, from 1.
    pub number: u32,
    /// Who played what, and who won.
    pub result: TurnResult,
}

impl TableEvent {
    /// The event as an object of JSON: its number, when it happened (seconds since the start of the game), in which
    /// round, and what it was.
    pub fn to_json(&self, sequence: u64, at: f64, round: u32, names: &BySeat<&str>) -> Value {
        let (kind, what) = match self {
            Self::Dealt { multiplier } => ("dealt", json!({ "multiplier": multiplier })),
            Self::RoundStarted { starter, reason } => {
                ("round_started", json!({ "starter": names[*starter], "starter_reason": <&str>::from(reason) }))
            }
            Self::Declared { seat, declaration } => {
                ("declared", json!({ "player": names[*seat], "value": declaration.piles() }))
            }
            Self::Played { seat, count } => ("played", json!({ "player": names[*seat], "piece_count": count })),
            Self::TurnWon(turn) => ("turn_won", turn.to_json(names)),
            Self::Scored(scored) => {
                let by_name = |points: &BySeat<i32>| {
                    Value::Object(
                        points.pairs().map(|(seat, points)| (names[seat].to_owned(), json!(points))).collect(),
                    )
                };
                ("scored", json!({ "scores": by_name(&scored.0), "totals": by_name(&scored.1) }))
            }
            Self::Left(seat) => ("player_left", json!({ "player": names[*seat] })),
            Self::Returned(seat) => ("player_returned", json!({ "player": names[*seat] })),
        };
        let mut event = json!({ "sequence": sequence, "type": kind, "at": at, "round": round });
        if let (Some(event), Value::Object(what)) = (event.as_object_mut(), what) {
            event.extend(what);
        }
        event
    }
}

impl WonTurn {
    fn to_json(&self, names: &BySeat<&str>) -> Value {
        let result = &self.result;
        let plays: Vec<Value> = result
            .starter
            .order()
            .into_iter()
            .map(|seat| {
                let play = PlayData::open(result.plays[seat]);
                json!({ "player": names[seat], "pieces": play.pieces, "play_type": play.play_type })
            })
            .collect();
        json!({
            "turn": self.number,
            "starter": names[result.starter],
            "winner": names[result.winner],
            "piles": result.piles(),
            "plays": plays,
        })
    }
}

/// `recovery_response`: what was missed, of the events that are still known; `kept` is the first and the last number of
/// those. The state itself follows as a message of its own.
pub fn recovery_response(events: &[Value], kept: Option<(u64, u64)>) -> Frame {
    let (first, last) = kept.unzip();
    Frame::event("recovery_response", &json!({ "events": events, "first_sequence": first, "last_sequence": last }))
}
