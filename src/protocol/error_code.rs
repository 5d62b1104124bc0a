//! Stable error types and close codes.

use serde::Serialize;

/// What kind of refusal an `error` message is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ErrorType {
    /// The message itself is wrong.
    ValidationError,
    /// A room could not be joined.
    JoinRoomError,
    /// A room could not be created.
    RoomCreationError,
    /// It is not for this client to do.
    PermissionDenied,
    /// The rules forbid it, or it comes at the wrong time.
    ActionRefused,
    /// Too much is waiting already; try again.
    Busy,
    /// There is no such room, or no game in it.
    NotFound,
}

/// Why we close a socket. The code decides what the existing client does: after 1000 it stays away, after any other it
/// comes back once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CloseReason {
    /// Another socket of the same player took over, or nothing is left to say.
    Done,
    /// The frames do not follow the rules of WebSockets.
    Violation,
    /// The frame was not text.
    NotText,
    /// The text was not UTF-8.
    NotUtf8,
    /// The client goes on breaking limits.
    Abuse,
    /// The frame was larger than allowed.
    TooLarge,
    /// The server stops or restarts.
    Restart,
    /// The client reads too slowly; it may resume.
    TooSlow,
    /// The peer has been silent for too long.
    Silent,
}

impl CloseReason {
    /// The WebSocket close code.
    #[must_use]
    pub const fn code(self) -> u16 {
        match self {
            Self::Done => 1000,
            Self::Silent => 1001,
            Self::Violation => 1002,
            Self::NotText => 1003,
            Self::NotUtf8 => 1007,
            Self::Abuse => 1008,
            Self::TooLarge => 1009,
            Self::Restart => 1012,
            Self::TooSlow => 1013,
        }
    }

    /// A few words for the close frame.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Violation => "not a WebSocket frame",
            Self::NotText => "only text frames",
            Self::NotUtf8 => "text is not UTF-8",
            Self::Abuse => "too many messages",
            Self::TooLarge => "frame too large",
            Self::Restart => "server restarts",
            Self::TooSlow => "reading too slowly",
            Self::Silent => "no answer to pings",
        }
    }
}
