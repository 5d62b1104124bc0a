//! How well a bot plays.

use std::str::FromStr;

/// A bot's strength.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Level {
    /// Random legal actions.
    Easy,
    /// A sound heuristic.
    #[default]
    Normal,
    /// Search over what the seat cannot see.
    Hard,
}

/// The text names no level.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a level is easy, normal or hard")]
pub struct LevelError;

impl Level {
    /// The spelling on the wire, in records and on the command line.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Easy => "easy",
            Self::Normal => "normal",
            Self::Hard => "hard",
        }
    }
}

impl FromStr for Level {
    type Err = LevelError;
    fn from_str(text: &str) -> Result<Self, LevelError> {
        match text {
            "easy" => Ok(Self::Easy),
            "normal" => Ok(Self::Normal),
            "hard" => Ok(Self::Hard),
            _ => Err(LevelError),
        }
    }
}
