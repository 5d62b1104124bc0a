//! A game in a list, as JSON.

use serde::Serialize;

use super::calendar::time_text;
use super::codec::Summary;
use super::json::{PlayerJson, SeatNumber};
use crate::game::Seat;

/// A game without its rounds, for lists.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[expect(missing_docs, reason = "the fields are those of a whole game")]
pub struct SummaryJson {
    pub game_id: String,
    pub room_id: String,
    pub started_at: String,
    pub completed_at: String,
    pub duration_seconds: u64,
    /// How many rounds were played to their end.
    pub rounds: u32,
    pub players: [PlayerJson; 4],
    pub winners: Vec<SeatNumber>,
    pub final_scores: [i32; 4],
    pub winner_name: Option<String>,
    pub ended: &'static str,
}

impl From<&Summary> for SummaryJson {
    fn from(summary: &Summary) -> Self {
        let winners = summary.outcome.winners;
        Self {
            game_id: summary.game_id.to_string(),
            room_id: summary.room_id.clone(),
            started_at: time_text(summary.started_at_ms),
            completed_at: time_text(summary.completed_at_ms()),
            duration_seconds: summary.duration_ms / 1000,
            rounds: summary.outcome.rounds,
            players: Seat::ALL.map(|seat| PlayerJson::new(seat, &summary.players[seat])),
            winners: winners.iter().map(Into::into).collect(),
            final_scores: summary.outcome.totals.into_array(),
            winner_name: winners.iter().next().map(|seat| summary.players[seat].name.clone()),
            ended: summary.ended.into(),
        }
    }
}
