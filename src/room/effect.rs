//! What reaches a room, and what a room wants done. A [`Room`](super::Room) itself sends nothing and waits for nothing.

use crate::archive::GameRecord;
use crate::game::{Action, Level, Seat, View};
use crate::protocol::{ClientMessage, CloseReason, Frame, PlayerName, SeatChoice, SessionKey};

use super::{Connection, ConnectionId, Note, RoomEvent};

/// What reaches a room.
#[derive(Debug)]
pub enum Input {
    /// A socket was opened.
    Connected(Connection),
    /// A client said something.
    Said(ConnectionId, ClientMessage),
    /// A socket is gone.
    Disconnected(ConnectionId, DisconnectKind),
    /// Somebody in the lobby wants a seat.
    Join {
        /// Who it is.
        who: JoinRequest,
        /// Which seats will do.
        choice: SeatChoice,
        /// Where the answer goes.
        reply: tokio::sync::oneshot::Sender<Result<Seat, JoinError>>,
    },
    /// A bot has made up its mind.
    BotDecided {
        /// Whose decision it is.
        seat: Seat,
        /// The number it was asked under; an older one is out of date.
        ticket: u32,
        /// What it does.
        action: Action,
    },
    /// The operator closes the room, and may say why.
    CloseRoom(Option<Box<str>>),
    /// Memory is wanted: a room whose game is over closes.
    ReclaimMemory,
    /// The server stops.
    Stop,
}

/// How a socket ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DisconnectKind {
    /// The client closed it with 1000: it left the page on purpose.
    Clean,
    /// Anything else: a reload, a closed tab, a lost link.
    Lost,
}

/// Somebody who wants a seat.
#[derive(Debug, Clone)]
pub struct JoinRequest {
    /// His browser session, if any.
    pub session: Option<SessionKey>,
    /// His name.
    pub name: PlayerName,
    /// What will prove the seat, for clients without cookies.
    pub token: SessionKey,
}

/// Why a seat could not be taken. The texts are the protocol's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error, strum::IntoStaticStr, strum::EnumString)]
#[strum(serialize_all = "snake_case")]
pub enum JoinError {
    /// No such room.
    #[error("Room not found")]
    NotFound,
    /// All seats are taken.
    #[error("Room is full")]
    Full,
    /// The game has begun.
    #[error("Room has already started")]
    Started,
    /// Another player, or a bot to be, has this name.
    #[error("Player name is already taken in this room")]
    NameTaken,
    /// The room has too much to do.
    #[error("The room is busy, please try again")]
    Busy,
    /// The server takes nobody new.
    #[error("The server is about to restart, please try again in a minute")]
    Stopping,
    /// It is on another server, which does not answer.
    #[error("The room cannot be reached at the moment, please try again")]
    Unreachable,
}

/// What a room wants done, in this order.
#[derive(Debug)]
pub enum Effect {
    /// Queue a frame for a client.
    Send(ConnectionId, Frame),
    /// Close a client's socket.
    Close(ConnectionId, CloseReason),
    /// Let a bot think, off the threads that move tables, and bring back [`Input::BotDecided`].
    Think {
        /// Whose decision it is.
        seat: Seat,
        /// To come back with the decision.
        ticket: u32,
        /// How well it plays.
        level: Level,
        /// All it may know.
        view: Box<View>,
    },
    /// The room looks different in the list of rooms.
    Listed,
    /// Something that a restart must not undo.
    Journal(Note),
    /// A game has ended: keep it.
    Archive(Box<GameRecord>),
    /// Tell operators.
    Report(RoomEvent),
}
