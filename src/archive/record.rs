//! What is kept of a completed game: enough to play it again, move by move, and nothing that follows from that.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::{GameId, GameIds};
use crate::game::{Action, BySeat, DealProof, Level, Outcome, Seat, Series, Step};

/// A completed game: its players, the seed of its deals, and the moves.
///
/// Hands, turns, scores and winners are not in it; they follow from it by the rules ([`replay`](super::replay)).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GameRecord {
    /// The game's name; sorts by time.
    pub game_id: GameId,
    /// The room it was played in.
    pub room_id: String,
    /// When the first hands were dealt, in milliseconds of Unix time.
    pub started_at_ms: u64,
    /// How long it took, in milliseconds.
    pub duration_ms: u64,
    /// Who played. A player that a bot stood in for is listed under the own name.
    pub players: BySeat<Player>,
    /// What all deals follow from.
    pub proof: DealProof,
    /// Everything the players did, in the order in which it happened; times never go back.
    pub moves: Vec<Move>,
    /// Stretches in which a bot played for an absent player, in the order in which they began.
    pub takeovers: Vec<Takeover>,
    /// How it ended.
    pub ended: Ended,
}

impl GameRecord {
    /// When the game ended, in milliseconds of Unix time.
    pub const fn completed_at_ms(&self) -> u64 {
        self.started_at_ms.saturating_add(self.duration_ms)
    }

    /// Plays game `number` of a series and records it. What a series does not have is made up: the first game begins with
    /// the year 2026, each one a second after the one before it, and takes no time.
    /// Players are called `Bot 1` to `Bot 4`, by their seat in the first game.
    pub fn simulate(series: &Series, number: u64) -> (Self, Outcome) {
        const FIRST_START_MS: u64 = 1_767_225_600_000;
        let mut moves = Vec::with_capacity(512);
        let outcome = series.play(number, |_, step| match step {
            Step::Acted(seat, action) => moves.push(Move { seat, action, at: GameTime::START }),
            Step::Advanced => {}
        });
        let proof = series.proof(number);
        let commitment = proof.server_seed.commitment();
        let [a, b, c, ..] = commitment;
        let mut tail = [0; 10];
        tail.iter_mut().zip(commitment).for_each(|(byte, of)| *byte = of);
        let started_at_ms = FIRST_START_MS.saturating_add(number.saturating_mul(1000));
        let (players, levels) = (series.players_at(number), series.levels_at(number));
        let record = Self {
            game_id: GameIds::default().next(started_at_ms, tail),
            room_id: format!("{a:02X}{b:02X}{c:02X}"),
            started_at_ms,
            duration_ms: 0,
            players: BySeat::from_fn(|seat| Player {
                name: format!("Bot {}", players[seat]),
                kind: PlayerKind::Bot(levels[seat]),
            }),
            proof,
            moves,
            takeovers: Vec::new(),
            ended: if outcome.winners.is_empty() { Ended::Abandoned } else { Ended::Won },
        };
        (record, outcome)
    }
}

/// Who sat at a seat.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Player {
    /// The name, unique in the game.
    pub name: String,
    /// Human or bot.
    pub kind: PlayerKind,
}

/// What kind of player it was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PlayerKind {
    /// A person.
    Human,
    /// One of our bots.
    Bot(Level),
}

/// One action of one player.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Move {
    /// Who did it.
    pub seat: Seat,
    /// What the player did.
    pub action: Action,
    /// When.
    pub at: GameTime,
}

/// A bot played for an absent player.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Takeover {
    /// Whose seat it was.
    pub seat: Seat,
    /// From when.
    pub from: GameTime,
    /// Until when; `None` if to the end of the game.
    pub to: Option<GameTime>,
}

/// How a game ended. As `&str` it is spelled as in the public form.
#[derive(Debug, Clone, Copy, PartialEq, Eq, strum::IntoStaticStr)]
#[strum(serialize_all = "lowercase")]
pub enum Ended {
    /// A player reached the winning score.
    Won,
    /// The room was closed before.
    Abandoned,
}

/// A moment of a game: hundredths of a second since its start, up to 497 days. In JSON it is a number of seconds.
///
/// The public form shows two decimals; finer times would only cost space.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(into = "f64", try_from = "f64")]
pub struct GameTime(u32);

impl GameTime {
    /// The start of the game, which is also the time of every move of a simulated one.
    pub const START: Self = Self(0);

    /// So many hundredths of a second after the start.
    pub const fn from_hundredths(hundredths: u32) -> Self {
        Self(hundredths)
    }

    /// So many milliseconds after the start, rounded down; what is beyond the last moment counts as the last.
    pub fn from_ms(ms: u64) -> Self {
        Self(u32::try_from(ms / 10).unwrap_or(u32::MAX))
    }

    /// Hundredths of a second since the start.
    pub const fn hundredths(self) -> u32 {
        self.0
    }
}

impl From<GameTime> for f64 {
    fn from(time: GameTime) -> Self {
        Self::from(time.0) / 100.0
    }
}

impl TryFrom<f64> for GameTime {
    type Error = &'static str;
    fn try_from(seconds: f64) -> Result<Self, Self::Error> {
        let hundredths = (seconds * 100.0).round();
        if !(0.0..=f64::from(u32::MAX)).contains(&hundredths) {
            return Err("a time of a game is 0 or more seconds, less than 497 days");
        }
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "in the range of u32, and whole")]
        let time = Self(hundredths as u32);
        // A third decimal would be lost.
        if f64::from(time) == seconds { Ok(time) } else { Err("a time of a game has at most two decimals") }
    }
}

/// Seconds with two decimals, for example `12.05`.
impl fmt::Display for GameTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{:02}", self.0 / 100, self.0 % 100)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_of_a_game_keeps_its_two_decimals() {
        for hundredths in [0, 1, 10, 29, 57, 100, 115, 12_345, 1_000_001, u32::MAX] {
            let time = GameTime::from_hundredths(hundredths);
            assert_eq!(GameTime::try_from(f64::from(time)), Ok(time));
            let text = serde_json::to_string(&time).unwrap();
            assert_eq!(serde_json::from_str::<GameTime>(&text).unwrap(), time);
        }
        for wrong in [0.001, -1.0, f64::NAN, f64::INFINITY, 5e7] {
            assert!(GameTime::try_from(wrong).is_err(), "{wrong}");
        }
    }
}
