//! A completed game as a flat list of what happened in it, for tools and databases.

use serde_json::{Value, json};

use super::calendar::unix_ms;
use super::json::GameJson;
use super::record::GameTime;

/// Something that happened in a game.
#[derive(Debug, Clone, PartialEq)]
pub struct GameEvent {
    /// What: `game_started`, `dealt`, `redeal_answered`, `round_started`, `declared`, `played`, `turn_won`, `round_scored`,
    /// `taken_over` or `game_ended`.
    pub kind: &'static str,
    /// When, in milliseconds after the start of the game. What follows from a move has the time of the move.
    pub at_ms: u64,
    /// The whole event: `type`, its fields, and `at` if it is something that a player did.
    pub json: Value,
}

/// Everything that happened in a game, in order; the stretches in which bots played come after the rounds.
pub fn tell(game: &GameJson) -> Vec<GameEvent> {
    let mut events = Events { list: Vec::with_capacity(256), at_ms: 0 };
    events.push("game_started", json!({ "at": 0.0, "players": game.players }));
    for round in &game.rounds {
        let number = json!({ "round": round.round });
        for (deal, dealt) in (1..).zip(&round.deals) {
            let hands = json!({ "deal": deal, "hands": dealt.hands, "weak": dealt.weak });
            events.push("dealt", merged(&number, hands));
            for answer in &dealt.answers {
                events.push_at(answer.at, "redeal_answered", merged(&number, json!(answer)));
            }
        }
        let start = json!({
            "starter": round.starter, "starter_reason": round.starter_reason, "multiplier": round.multiplier,
        });
        events.push("round_started", merged(&number, start));
        for declaration in &round.declarations {
            events.push_at(declaration.at, "declared", merged(&number, json!(declaration)));
        }
        for turn in &round.turns {
            for play in &turn.plays {
                let played = merged(&merged(&number, json!(play)), json!({ "turn": turn.turn }));
                events.push_at(play.at, "played", played);
            }
            let won = json!({ "turn": turn.turn, "winner": turn.winner, "piles": turn.piles });
            events.push("turn_won", merged(&number, won));
        }
        let scored = json!({ "captured": round.captured, "scores": round.scores, "totals": round.totals });
        events.push("round_scored", merged(&number, scored));
    }
    for takeover in &game.takeovers {
        events.push_at(takeover.from, "taken_over", json!(takeover));
    }
    let duration = || unix_ms(&game.completed_at)?.checked_sub(unix_ms(&game.started_at)?);
    events.at_ms = duration().unwrap_or(events.at_ms);
    let end = json!({ "ended": game.ended, "winners": game.winners, "final_scores": game.final_scores });
    events.push("game_ended", end);
    events.list
}

struct Events {
    list: Vec<GameEvent>,
    at_ms: u64,
}

impl Events {
    fn push_at(&mut self, time: GameTime, kind: &'static str, fields: Value) {
        self.at_ms = u64::from(time.hundredths()) * 10;
        self.push(kind, fields);
    }

    /// Adds an event at the time of the last one.
    fn push(&mut self, kind: &'static str, fields: Value) {
        let json = merged(&json!({ "type": kind }), fields);
        self.list.push(GameEvent { kind, at_ms: self.at_ms, json });
    }
}

/// The fields of two objects in one.
fn merged(first: &Value, second: Value) -> Value {
    let mut merged = first.clone();
    if let (Some(fields), Value::Object(second)) = (merged.as_object_mut(), second) {
        fields.extend(second);
    }
    merged
}
