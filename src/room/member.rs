//! What a room knows of one of its sockets.

use super::ConnectionId;
use crate::game::Seat;
use crate::protocol::SessionKey;

/// A socket at a room.
#[derive(Debug)]
pub(super) struct Member {
    pub(super) id: ConnectionId,
    pub(super) session: Option<SessionKey>,
    /// The seat of its player; `None` for a watcher.
    pub(super) seat: Option<Seat>,
    /// Whether it has sent `client_ready` or any other message. From then on it gets the room's broadcasts.
    pub(super) is_listening: bool,
}
