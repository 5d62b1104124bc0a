//! What rooms report to operators and metrics. It never contains pieces of a hand.

use std::time::Duration;

use serde_json::json;

use crate::archive::GameId;
use crate::game::Seat;
use crate::observe::{EventKind, Events, Metrics};
use crate::protocol::RoomId;
use crate::protocol::server_message::RoomClosed;

/// Something that happened in a room.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RoomEvent {
    /// A player took a seat.
    Joined(Seat, String),
    /// A player gave up a seat, or was removed from it.
    Left(Seat, String),
    /// A player is gone, and a bot plays instead.
    Lost(Seat, String),
    /// The player is back.
    Back(Seat, String),
    /// A player did nothing, and a bot made the move.
    PlayedFor,
    /// A game began.
    Started {
        /// The game.
        game: GameId,
        /// How many persons play.
        persons: usize,
    },
    /// A game has found its winners.
    Finished {
        /// The game.
        game: GameId,
        /// How many rounds it had.
        rounds: u32,
        /// How long it took.
        took: Duration,
    },
    /// A game ended without winners.
    Abandoned {
        /// The game.
        game: GameId,
    },
    /// The room has ended.
    Closed(RoomClosed),
}

impl RoomEvent {
    /// Counts the event in the metrics and adds it to the server's events.
    pub(super) fn report(self, room: RoomId, metrics: &Metrics, events: &Events) {
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

/// A room's stage.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, strum::IntoStaticStr, strum::EnumString, strum::FromRepr)]
#[strum(serialize_all = "snake_case")]
#[repr(u8)]
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
    pub fn name(self) -> &'static str {
        self.into()
    }
}
