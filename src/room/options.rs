use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use crate::protocol::{InstanceId, InstanceIdError, RoomId};

/// How rooms behave and how many of them there may be.
#[derive(Debug, Clone, PartialEq)]
pub struct Options {
    /// Multiplies every pause the server makes, bots' thinking included. Finite and at least 0; 0 means
    /// no pause at all.
    pub game_pace: f64,
    /// How long a connected player may take for a move before a bot makes it. `None` waits for ever.
    pub turn_timeout: Option<Duration>,
    /// How long a game stands still for players who lost their connection, when nobody else is there. Zero: it does not.
    pub abandoned_after: Duration,
    /// How many rooms may exist at once; more are refused.
    pub max_active_games: usize,
    /// How many inputs may wait at one room; a full inbox answers `busy`.
    pub inbox_capacity: usize,
    /// How many connections may watch one room without a seat.
    pub max_watchers_per_room: usize,
    /// How long a finished game stays in memory.
    pub gc_completed_games_after: Duration,
    /// How many recent events of the server are kept for operators and for catching up.
    pub event_buffer_size: usize,
    /// How many events of one game are kept in memory for catching up. The record keeps all of them.
    pub max_events_per_game: usize,
    /// Which ids new rooms get.
    pub ids: RoomIds,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            game_pace: 1.0,
            turn_timeout: Some(Duration::from_secs(120)),
            abandoned_after: Duration::from_secs(30 * 60),
            max_active_games: 10_000,
            inbox_capacity: 256,
            max_watchers_per_room: 64,
            gc_completed_games_after: Duration::from_secs(300),
            event_buffer_size: 10_000,
            max_events_per_game: 1_000,
            ids: RoomIds::Any,
        }
    }
}

/// Which ids new rooms get.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum RoomIds {
    /// Any: all rooms are on this server.
    #[default]
    Any,
    /// Those of this one of several servers.
    Of(InstanceId),
}

impl RoomIds {
    /// The id made from a random number.
    pub(super) const fn make(self, random: u32) -> RoomId {
        match self {
            Self::Any => RoomId::from_number(random),
            Self::Of(instance) => RoomId::from_number(random).on(instance),
        }
    }
}

impl FromStr for RoomIds {
    type Err = InstanceIdError;

    fn from_str(text: &str) -> Result<Self, InstanceIdError> {
        if text.is_empty() { Ok(Self::Any) } else { text.parse().map(Self::Of) }
    }
}

impl fmt::Display for RoomIds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Any => Ok(()),
            Self::Of(instance) => instance.fmt(f),
        }
    }
}

/// Whether live games survive a restart, and how closely the journal follows them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JournalOptions {
    /// Keep a journal of live games and restore them at the start.
    pub enabled: bool,
    /// The longest time until an event at a table is safely on disk.
    pub interval: Duration,
    /// Set what is there aside unread. No setting: `liap serve --ignore-journal` asks for it.
    pub ignored: bool,
}

impl Default for JournalOptions {
    fn default() -> Self {
        Self { enabled: true, interval: Duration::from_millis(100), ignored: false }
    }
}
