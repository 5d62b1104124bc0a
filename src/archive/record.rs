//! What is kept of a completed game: enough to play it again, move by move, and nothing that follows from that.

use std::fmt;

use super::GameId;
use crate::game::{Action, BySeat, DealProof, Level, Seat};

/// A completed game: who sat where, the seed of its deals, and what was done.
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
    /// Who played. A player stands here under his name even where a bot stood in for him.
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
    #[must_use]
    pub const fn completed_at_ms(&self) -> u64 {
        self.started_at_ms.saturating_add(self.duration_ms)
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
    /// What he did.
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

/// How a game ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// Somebody reached the winning score.
    Won,
    /// The room was closed before.
    Abandoned,
}

impl Ended {
    /// The spelling in the public form.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Won => "won",
            Self::Abandoned => "abandoned",
        }
    }
}

/// A moment of a game: hundredths of a second since its start, up to 497 days.
///
/// Coarser than a clock on purpose: two decimals are what the public form shows, and finer ones only cost space.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct GameTime(u32);

impl GameTime {
    /// The start of the game, which is also the time of every move of a simulated one.
    pub const START: Self = Self(0);

    /// So many hundredths of a second after the start.
    #[must_use]
    pub const fn from_hundredths(hundredths: u32) -> Self {
        Self(hundredths)
    }

    /// So many milliseconds after the start, rounded down; what is beyond the last moment counts as the last.
    #[must_use]
    pub fn from_ms(ms: u64) -> Self {
        Self(u32::try_from(ms / 10).unwrap_or(u32::MAX))
    }

    /// Hundredths of a second since the start.
    #[must_use]
    pub const fn hundredths(self) -> u32 {
        self.0
    }

    /// Seconds since the start.
    #[must_use]
    pub fn seconds(self) -> f64 {
        f64::from(self.0) / 100.0
    }
}

/// Seconds with two decimals, for example `12.05`.
impl fmt::Display for GameTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{:02}", self.0 / 100, self.0 % 100)
    }
}
