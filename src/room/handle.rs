//! How others reach a room: its inbox, its summary, and figures that its task keeps up to date.

use std::sync::atomic::{AtomicU8, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

use super::{Input, Room, RoomStage, Time};
use crate::game::{BySeat, Seat};
use crate::protocol::SessionKey;
use crate::protocol::server_message::RoomSummary;

/// An input with the time it was sent.
#[derive(Debug)]
pub(super) struct Envelope {
    pub(super) input: Input,
    pub(super) sent: Instant,
}

impl Envelope {
    pub(super) fn now(input: Input) -> Self {
        Self { input, sent: Instant::now() }
    }
}

/// A room's inbox, summary and figures. Clones reach the same room.
#[derive(Debug, Clone)]
pub struct RoomHandle {
    pub(super) inbox: mpsc::Sender<Envelope>,
    pub(super) summary: watch::Receiver<RoomSummary>,
    pub(super) stats: Arc<RoomStats>,
}

/// Why a room takes no input.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SendError {
    /// Its inbox is full.
    Busy,
    /// It has ended.
    Gone,
}

impl RoomHandle {
    /// Puts an input into the room's inbox without waiting.
    ///
    /// # Errors
    /// [`SendError`] if the room has ended or its inbox is full.
    pub fn send(&self, input: Input) -> Result<(), SendError> {
        self.inbox.try_send(Envelope::now(input)).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => SendError::Busy,
            mpsc::error::TrySendError::Closed(_) => SendError::Gone,
        })
    }

    /// Puts an input into the room's inbox, and waits while that is full. For inputs that must not be lost, such as the
    /// end of a socket.
    ///
    /// # Errors
    /// [`SendError::Gone`] if the room has ended.
    pub async fn deliver(&self, input: Input) -> Result<(), SendError> {
        self.inbox.send(Envelope::now(input)).await.map_err(|_| SendError::Gone)
    }

    /// The room as lists show it.
    #[must_use]
    pub fn summary(&self) -> RoomSummary {
        self.summary.borrow().clone()
    }

    /// The room's figures.
    #[must_use]
    pub fn stats(&self) -> &RoomStats {
        &self.stats
    }
}

/// What operators see of a room without asking it. The room's task updates it.
#[derive(Debug, Default)]
pub struct RoomStats {
    stage: AtomicU8,
    round: AtomicU32,
    sockets: AtomicU32,
    /// In milliseconds of Unix time.
    last_activity_ms: AtomicU64,
    /// The same; when a game that stands still for lost players counts as abandoned, else 0.
    given_up_ms: AtomicU64,
    sessions: Mutex<BySeat<Option<SessionKey>>>,
}

impl RoomStats {
    pub(super) fn set(&self, room: &Room, sockets: usize) {
        self.stage.store(room.stage() as u8, Ordering::Relaxed);
        self.round.store(room.round(), Ordering::Relaxed);
        self.last_activity_ms.store(room.last_activity().unix_ms(), Ordering::Relaxed);
        self.sockets.store(u32::try_from(sockets).unwrap_or(u32::MAX), Ordering::Relaxed);
        let given_up_at = room.given_up_at().map_or(0, Time::unix_ms);
        self.given_up_ms.store(given_up_at, Ordering::Relaxed);
        *self.sessions.lock().unwrap_or_else(PoisonError::into_inner) = room.sessions();
    }

    /// The room's stage.
    pub fn stage(&self) -> RoomStage {
        RoomStage::from_repr(self.stage.load(Ordering::Relaxed)).unwrap_or_default()
    }

    /// The round that is played, from 1; 0 before the game.
    pub fn round(&self) -> u32 {
        self.round.load(Ordering::Relaxed)
    }

    /// When a game that stands still for lost players counts as abandoned.
    pub(super) fn given_up_at(&self) -> Option<Time> {
        let ms = self.given_up_ms.load(Ordering::Relaxed);
        (ms > 0).then(|| Time::from_unix_ms(ms))
    }

    /// The first seat that this browser session holds.
    pub(super) fn seat_of(&self, session: SessionKey) -> Option<Seat> {
        let sessions = self.sessions.lock().unwrap_or_else(PoisonError::into_inner);
        sessions.pairs().find(|(_, held_by)| **held_by == Some(session)).map(|(seat, _)| seat)
    }

    /// How many sockets are connected to the room, watchers included.
    pub fn sockets(&self) -> u32 {
        self.sockets.load(Ordering::Relaxed)
    }

    /// When a person last took or left a seat before the game, began it, or moved.
    pub fn last_activity(&self) -> Time {
        Time::from_unix_ms(self.last_activity_ms.load(Ordering::Relaxed))
    }
}
