//! What operators are told of a room, and what metrics count of it. Nothing of a hand is here.

use std::sync::atomic::{AtomicU8, AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use serde_json::json;

use super::{Room, Time};
use crate::archive::GameId;
use crate::game::Seat;
use crate::observe::{EventKind, Events, Metrics};
use crate::protocol::RoomId;
use crate::protocol::server_message::RoomClosed;

/// Something that happened in a room.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RoomEvent {
    /// Somebody took a seat.
    Joined(Seat, String),
    /// Somebody gave his seat up, or was removed from it.
    Left(Seat, String),
    /// A player is gone, and a bot plays for him.
    Lost(Seat, String),
    /// He is back.
    Back(Seat, String),
    /// A player did nothing, and a move was made for him.
    PlayedFor,
    /// A game began.
    Started {
        /// Which.
        game: GameId,
        /// How many persons play.
        persons: usize,
    },
    /// A game has found its winners.
    Finished {
        /// Which.
        game: GameId,
        /// How many rounds it had.
        rounds: u32,
        /// How long it took.
        took: Duration,
    },
    /// A game ended without winners.
    Abandoned {
        /// Which.
        game: GameId,
    },
    /// The room is no more.
    Closed(RoomClosed),
}

impl RoomEvent {
    /// Counts it, and tells those who follow events.
    pub(super) fn tell(self, room: RoomId, metrics: &Metrics, events: &Events) {
        let player = |seat: Seat, name| json!({ "room": room, "seat": seat.number(), "player": name });
        let (kind, fields) = match self {
            Self::Joined(seat, name) => (EventKind::PlayerJoined, player(seat, name)),
            Self::Left(seat, name) => (EventKind::PlayerLeft, player(seat, name)),
            Self::Lost(seat, name) => {
                metrics.take_overs.inc();
                (EventKind::PlayerLost, player(seat, name))
            }
            Self::Back(seat, name) => (EventKind::PlayerBack, player(seat, name)),
            Self::PlayedFor => return metrics.turn_timeouts.inc(),
            Self::Started { game, persons } => {
                metrics.games_started.inc();
                (EventKind::GameStarted, json!({ "room": room, "game": game.to_string(), "persons": persons }))
            }
            Self::Finished { game, rounds, took } => {
                metrics.games_ended.with("finished").inc();
                metrics.game_seconds.observe(took.as_secs_f64());
                let seconds = took.as_secs();
                let fields =
                    json!({ "room": room, "game": game.to_string(), "rounds": rounds, "duration_seconds": seconds });
                (EventKind::GameFinished, fields)
            }
            Self::Abandoned { game } => {
                metrics.games_ended.with("abandoned").inc();
                (EventKind::GameAbandoned, json!({ "room": room, "game": game.to_string() }))
            }
            Self::Closed(why) => {
                let reason = match why {
                    RoomClosed::Abandoned => "abandoned",
                    RoomClosed::Finished => "finished",
                    RoomClosed::ByOperator => "administrator",
                    RoomClosed::HostLeft | RoomClosed::NotFound | RoomClosed::PlayerRemoved => "other",
                };
                metrics.rooms_closed.with(reason).inc();
                let shown = if why == RoomClosed::HostLeft { "host_left" } else { reason };
                (EventKind::RoomClosed, json!({ "room": room, "reason": shown }))
            }
        };
        events.note(kind, fields);
    }
}

/// How far a room is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum RoomStage {
    /// Its host has not started the game.
    #[default]
    Waiting,
    /// A game is running.
    Playing,
    /// The game is over, and its result is still shown.
    Over,
}

impl RoomStage {
    /// Its name in metrics and lists.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Playing => "playing",
            Self::Over => "over",
        }
    }
}

/// What operators see of a room without asking it: its task keeps it up to date.
#[derive(Debug, Default)]
pub(super) struct RoomStats {
    stage: AtomicU8,
    round: AtomicU32,
    sockets: AtomicU32,
    /// In milliseconds of Unix time.
    active_at: AtomicU64,
}

impl RoomStats {
    pub(super) fn set(&self, room: &Room, sockets: usize) {
        self.stage.store(room.stage() as u8, Ordering::Relaxed);
        self.round.store(room.round(), Ordering::Relaxed);
        self.active_at.store(room.last_activity().unix_ms(), Ordering::Relaxed);
        self.sockets.store(u32::try_from(sockets).unwrap_or(u32::MAX), Ordering::Relaxed);
    }

    pub(super) fn stage(&self) -> RoomStage {
        match self.stage.load(Ordering::Relaxed) {
            0 => RoomStage::Waiting,
            1 => RoomStage::Playing,
            _ => RoomStage::Over,
        }
    }

    pub(super) fn round(&self) -> u32 {
        self.round.load(Ordering::Relaxed)
    }

    pub(super) fn sockets(&self) -> u32 {
        self.sockets.load(Ordering::Relaxed)
    }

    pub(super) fn last_activity(&self) -> Time {
        Time::from_unix_ms(self.active_at.load(Ordering::Relaxed))
    }
}
