//! A request for a seat, and why it may be refused.

use crate::protocol::{PlayerName, SessionKey};

/// A request for a seat.
#[derive(Debug, Clone)]
pub struct JoinRequest {
    /// The browser session, if any.
    pub session: Option<SessionKey>,
    /// The player's name.
    pub name: PlayerName,
    /// The hash of the token that will prove the seat, for clients without cookies.
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
    /// Another player or a bot has this name.
    #[error("Player name is already taken in this room")]
    NameTaken,
    /// The room's inbox is full.
    #[error("The room is busy, please try again")]
    Busy,
    /// The server takes no new players.
    #[error("The server is about to restart, please try again in a minute")]
    Stopping,
    /// The room is on another server, which does not answer.
    #[error("The room cannot be reached at the moment, please try again")]
    Unreachable,
}
