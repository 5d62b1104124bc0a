use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use super::state::AppState;
use crate::limit::{Cost, Key, Kind, Verdict};
use crate::protocol::{ClientMessage, Frame, RoomId, SessionKey, server_message};

/// A socket that was closed for abuse costs its address so many new ones. Otherwise the next flood would begin at once, and
/// each begins with a full bucket.
const SOCKETS_FOR_ABUSE: u32 = 30;

/// Beside the number of a room, which has 32 bits: the bucket of those who watch there.
const WATCHERS: u64 = 1 << 32;

/// Who speaks to a room: no crowd that watches it stops those who play there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Speaker {
    /// Somebody whose page opens. His greeting comes first: before it nobody knows whether it is a player or one more of
    /// a crowd. What he says now is paid for with the socket.
    Unidentified,
    /// Somebody with a seat.
    Player,
    /// Somebody without one.
    Watcher,
}

/// How much the client of one socket may say. What is over the limit has an answer for the client.
///
/// Apart from the socket itself, so that a decision can be waited for while the socket goes on writing.
#[derive(Debug)]
pub(super) struct SocketLimits {
    state: Arc<AppState>,
    socket: Key,
    player: Key,
    address: Key,
}

impl SocketLimits {
    /// The scales of a new socket.
    pub(super) fn new(state: Arc<AppState>, session: SessionKey, address: Key) -> Self {
        /// Numbers sockets for as long as the process lives.
        static NEXT: AtomicU64 = AtomicU64::new(0);
        Self {
            state,
            socket: Key::from_number(NEXT.fetch_add(1, Ordering::Relaxed)),
            player: Key::from_text(&hex::encode(session.as_bytes())),
            address,
        }
    }

    /// Whether the client may send one frame more.
    pub(super) async fn frame(&self) -> Result<(), Frame> {
        let profile = self.state.services.metrics.step_seconds.as_ref().map(|steps| (steps, Instant::now()));
        self.check(Kind::Socket, self.socket, Cost::Ordinary).await?;
        self.check(Kind::Player, self.player, Cost::Ordinary).await?;
        if let Some((steps, begun)) = profile {
            steps.with("limit").observe(begun.elapsed().as_secs_f64());
        }
        Ok(())
    }

    /// Whether the player may have a list.
    pub(super) async fn query(&self) -> Result<(), Frame> {
        self.check(Kind::Player, self.player, Cost::Query).await
    }

    /// Whether another room may be opened. The address counts as well: a player is easily invented.
    pub(super) async fn new_room(&self) -> Result<(), Frame> {
        self.check(Kind::Player, self.player, Cost::CreateRoom).await?;
        self.check(Kind::Http, self.address, Cost::CreateRoom).await
    }

    /// Whether the room may hear this. Looking into the past of a table is as dear as a list.
    ///
    /// The room's bucket is asked last, so that a flood from one socket is stopped at that socket and takes nothing from
    /// the others at the table.
    pub(super) async fn said(&self, id: RoomId, speaker: Speaker, message: &ClientMessage) -> Result<(), Frame> {
        if matches!(message, ClientMessage::RequestRecovery { .. }) {
            self.query().await?;
        }
        let room = u64::from(id.number());
        let number = match speaker {
            Speaker::Unidentified => return Ok(()),
            Speaker::Player => room,
            Speaker::Watcher => room | WATCHERS,
        };
        self.check(Kind::Room, Key::from_number(number), Cost::Ordinary).await
    }

    /// The client was closed for abuse.
    pub(super) async fn abused(&self) {
        for _ in 0..SOCKETS_FOR_ABUSE {
            if !self.state.services.limiter.check(Kind::NewSocket, self.address, Cost::Ordinary).await.is_allowed() {
                return;
            }
        }
    }

    async fn check(&self, kind: Kind, key: Key, cost: Cost) -> Result<(), Frame> {
        let Verdict::Denied { retry_after } = self.state.services.limiter.check(kind, key, cost).await else {
            return Ok(());
        };
        self.state.count_limited(kind);
        let quota = self.state.services.limiter.quota(kind);
        let window = u32::try_from(quota.window.as_secs()).unwrap_or(u32::MAX);
        Err(server_message::rate_limited(quota.burst.get(), window, retry_after.as_secs_f64(), false))
    }
}
