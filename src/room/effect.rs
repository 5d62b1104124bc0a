//! The inputs of a room and its effects. A [`Room`](super::Room) itself sends nothing and waits for nothing.

use crate::archive::GameRecord;
use crate::game::{Action, Level, Seat, View};
use crate::protocol::{ClientMessage, CloseReason, Frame, SeatChoice};

use super::{Connection, ConnectionId, JoinError, JoinRequest, Note, RoomEvent};

/// What reaches a room.
#[derive(Debug)]
pub enum Input {
    /// A socket was opened.
    Connected(Connection),
    /// A client sent a message.
    Message(ConnectionId, ClientMessage),
    /// A socket was closed.
    Disconnected(ConnectionId, DisconnectKind),
    /// A player in the lobby asks for a seat.
    Join {
        /// Name, session and token of the player.
        who: JoinRequest,
        /// Which seats are acceptable.
        choice: SeatChoice,
        /// Where the answer goes.
        reply: tokio::sync::oneshot::Sender<Result<Seat, JoinError>>,
    },
    /// A bot has decided.
    BotDecided {
        /// The bot's seat.
        seat: Seat,
        /// The number of the request; an answer to an older one is ignored.
        ticket: u32,
        /// What the bot does.
        action: Action,
    },
    /// The operator closes the room, with a reason or without.
    CloseRoom(Option<Box<str>>),
    /// Memory is short: a room whose game is over closes.
    ReclaimMemory,
    /// Rooms are nearly used up: a game that only waits for lost players counts as abandoned.
    GiveUpLost,
    /// The server stops.
    Stop,
}

/// How a socket ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DisconnectKind {
    /// The client closed it with 1000: it left the page on purpose.
    Clean,
    /// Anything else: a reload, a closed tab, a lost connection.
    Lost,
}

/// What a room wants done. The order counts.
#[derive(Debug)]
pub enum Effect {
    /// Queue a frame for a client.
    Send(ConnectionId, Frame),
    /// Close a client's socket.
    Close(ConnectionId, CloseReason),
    /// Let a bot decide on another thread, and answer with [`Input::BotDecided`].
    Think {
        /// The bot's seat.
        seat: Seat,
        /// The number of the request, for the answer.
        ticket: u32,
        /// The bot's level.
        level: Level,
        /// All the bot may know.
        view: Box<View>,
    },
    /// The room's entry in the list of rooms has changed.
    Listed,
    /// Write this to the journal.
    Journal(Note),
    /// Archive this completed game.
    Archive(Box<GameRecord>),
    /// Report this to operators and metrics.
    Report(RoomEvent),
}
