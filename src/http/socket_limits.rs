use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use super::state::AppState;
use crate::limit::{Cost, Key, Kind, Verdict};
use crate::protocol::{ClientMessage, Frame, RoomId, SessionKey, server_message};

/// How many new sockets a socket closed for abuse costs its address. Otherwise the next flood could begin at once, with a
/// full bucket.
const SOCKETS_FOR_ABUSE: u32 = 30;

/// Added to a room's number, which has 32 bits: the bucket of its watchers.
const WATCHERS: u64 = 1 << 32;

/// Whose limit a message to a room counts against, so that watchers cannot block players.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sender {
    /// A client whose page opens. Before its `client_ready` it is unknown whether it is a player. These few messages are
    /// covered by the limit for new sockets.
    Unidentified,
    /// A client with a seat.
    Player,
    /// A client without a seat.
    Watcher,
}

/// The rate limits of one socket's client. A refusal is the frame that answers it.
///
/// Separate from the socket, so that the socket can go on writing while a decision is awaited.
#[derive(Debug)]
pub(super) struct SocketLimits {
    state: Arc<AppState>,
    socket: Key,
    player: Key,
    address: Key,
}

impl SocketLimits {
    /// The limits of a new socket.
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

    /// Checks the limit for one more frame.
    pub(super) async fn frame(&self) -> Result<(), Frame> {
        let profile = self.state.services.metrics.step_seconds.as_ref().map(|steps| (steps, Instant::now()));
        self.check(Kind::Socket, self.socket, Cost::Ordinary).await?;
        self.check(Kind::Player, self.player, Cost::Ordinary).await?;
        if let Some((steps, begun)) = profile {
            steps.with("limit").observe(begun.elapsed().as_secs_f64());
        }
        Ok(())
    }

    /// Checks the limit for a list.
    pub(super) async fn query(&self) -> Result<(), Frame> {
        self.check(Kind::Player, self.player, Cost::Query).await
    }

    /// Checks the limit for a new room. The address counts as well, because new players are easily made up.
    pub(super) async fn new_room(&self) -> Result<(), Frame> {
        self.check(Kind::Player, self.player, Cost::CreateRoom).await?;
        self.check(Kind::Http, self.address, Cost::CreateRoom).await
    }

    /// Checks the limit for a message to a room. Requesting past events costs as much as a list.
    ///
    /// The room's bucket comes last, so that a flood from one socket takes nothing from the others at the table.
    pub(super) async fn table_message(&self, id: RoomId, sender: Sender, message: &ClientMessage) -> Result<(), Frame> {
        if matches!(message, ClientMessage::RequestRecovery { .. }) {
            self.query().await?;
        }
        let room = u64::from(id.number());
        let number = match sender {
            Sender::Unidentified => return Ok(()),
            Sender::Player => room,
            Sender::Watcher => room | WATCHERS,
        };
        self.check(Kind::Room, Key::from_number(number), Cost::Ordinary).await
    }

    /// Charges the address for a socket that was closed for abuse.
    pub(super) async fn charge_for_abuse(&self) {
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
