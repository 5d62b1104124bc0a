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
    /// This client may not do it.
    PermissionDenied,
    /// The rules forbid it, or it comes at the wrong time.
    ActionRefused,
    /// Too many actions are waiting; the client may try again.
    Busy,
    /// There is no such room, or no game in it.
    NotFound,
}

/// Why we close a socket; the number is the WebSocket close code. It decides what the existing client does: after 1000 it
/// stays away, after any other code it reconnects once. `&str` has a few words for the close frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq, strum::IntoStaticStr)]
#[repr(u16)]
pub enum CloseReason {
    /// Another socket of the same player took over, or there is nothing left to send.
    #[strum(serialize = "done")]
    Done = 1000,
    /// The peer has been silent for too long.
    #[strum(serialize = "no answer to pings")]
    Silent = 1001,
    /// The frames do not follow the rules of WebSockets.
    #[strum(serialize = "not a WebSocket frame")]
    Violation = 1002,
    /// The frame was not text.
    #[strum(serialize = "only text frames")]
    NotText = 1003,
    /// The text was not UTF-8.
    #[strum(serialize = "text is not UTF-8")]
    NotUtf8 = 1007,
    /// The client goes on breaking limits.
    #[strum(serialize = "too many messages")]
    Abuse = 1008,
    /// The frame was larger than allowed.
    #[strum(serialize = "frame too large")]
    TooLarge = 1009,
    /// The server stops or restarts.
    #[strum(serialize = "server restarts")]
    Restart = 1012,
    /// The client reads too slowly; it may resume.
    #[strum(serialize = "reading too slowly")]
    TooSlow = 1013,
}

impl CloseReason {
    /// The WebSocket close code.
    pub const fn code(self) -> u16 {
        self as u16
    }
}
