//! A completed game as a flat list of what happened in it, for tools and databases.

use serde_json::{Value, json};

use super::calendar::unix_ms;
use super::json::{GameJson, Seconds};

/// Something that happened in a game.
#[derive(Debug, Clone, PartialEq)]
pub struct GameEvent {
    /// What: `game_started`, `dealt`, `redeal_answered`, `round_started`, `declared`, `played`, `turn_won`, `round_scored`,
    /// `taken_over` or `game_ended`.
    pub kind: &'static str,
    /// When, in milliseconds after the start of the game. What follows from something else happens with it.
    pub at_ms: u64,
    /// All of it: `type`, and what belongs to that; `at` where it is something that a player did.
    pub json: Value,
}

/// Everything that happened in a game, in order; where bots stood in comes behind the rounds.
#[must_use]
pub fn tell(game: &GameJson) -> Vec<GameEvent> {
    let mut told = Telling { events: Vec::with_capacity(256), at_ms: 0 };
    told.that("game_started", json!({ "at": 0.0, "players": game.players }));
    for round in &game.rounds {
        let number = round.round;
        for (deal, dealt) in (1..).zip(&round.deals) {
            told.that("dealt", json!({ "round": number, "deal": deal, "hands": dealt.hands, "weak": dealt.weak }));
            for answer in &dealt.answers {
                told.at(answer.at).that("redeal_answered", within(number, json!(answer)));
            }
        }
        told.that(
            "round_started",
            json!({
                "round": number, "starter": round.starter, "starter_reason": round.starter_reason,
                "multiplier": round.multiplier,
            }),
        );
        for declaration in &round.declarations {
            told.at(declaration.at).that("declared", within(number, json!(declaration)));
        }
        for turn in &round.turns {
            for play in &turn.plays {
                let mut played = within(number, json!(play));
                if let Some(played) = played.as_object_mut() {
                    played.insert("turn".to_owned(), json!(turn.turn));
                }
                told.at(play.at).that("played", played);
            }
            told.that(
                "turn_won",
                json!({ "round": number, "turn": turn.turn, "winner": turn.winner, "piles": turn.piles }),
            );
        }
        told.that(
            "round_scored",
            json!({ "round": number, "captured": round.captured, "scores": round.scores, "totals": round.totals }),
        );
    }
    for takeover in &game.takeovers {
        told.at(takeover.from).that("taken_over", json!(takeover));
    }
    let duration = || unix_ms(&game.completed_at)?.checked_sub(unix_ms(&game.started_at)?);
    told.at_ms = duration().unwrap_or(told.at_ms);
    told.that("game_ended", json!({ "ended": game.ended, "winners": game.winners, "final_scores": game.final_scores }));
    told.events
}

struct Telling {
    events: Vec<GameEvent>,
    at_ms: u64,
}

impl Telling {
    /// From now on it is this time.
    fn at(&mut self, time: Seconds) -> &mut Self {
        self.at_ms = u64::from(time.0.hundredths()) * 10;
        self
    }

    fn that(&mut self, kind: &'static str, what: Value) {
        let mut json = json!({ "type": kind });
        if let (Some(json), Value::Object(what)) = (json.as_object_mut(), what) {
            json.extend(what);
        }
        self.events.push(GameEvent { kind, at_ms: self.at_ms, json });
    }
}

/// Something of a round.
fn within(round: u32, what: Value) -> Value {
    let mut within = json!({ "round": round });
    if let (Some(within), Value::Object(what)) = (within.as_object_mut(), what) {
        within.extend(what);
    }
    within
}
