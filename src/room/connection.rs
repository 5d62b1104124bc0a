//! One client's end at a table: a bounded queue of frames and a way to close the socket behind it.

use std::sync::Arc;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use tokio::sync::{Notify, mpsc};

use crate::protocol::{CloseReason, Frame, SessionKey};

/// Numbers a connection for as long as the process lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ConnectionId(u64);

impl ConnectionId {
    /// The next number.
    #[must_use]
    pub fn next() -> Self {
        static LAST: AtomicU64 = AtomicU64::new(0);
        Self(LAST.fetch_add(1, Ordering::Relaxed))
    }
}

/// The sending end: what a room knows of a connected client.
#[derive(Debug, Clone)]
pub struct Connection {
    /// Its number.
    pub id: ConnectionId,
    /// The browser session it came with, if any.
    pub session: Option<SessionKey>,
    frames: mpsc::Sender<Frame>,
    link: Arc<Link>,
}

/// The receiving end: what the socket drains.
#[derive(Debug)]
pub struct FrameReceiver {
    frames: mpsc::Receiver<Frame>,
    link: Arc<Link>,
}

/// What the socket has to do next.
#[derive(Debug)]
pub enum Outgoing {
    /// Send this.
    Frame(Frame),
    /// Close the socket; nothing follows.
    Close(CloseReason),
    /// Nothing more will come: the room is over. The socket may stay.
    Gone,
}

/// What both ends know beside the frames.
#[derive(Debug, Default)]
struct Link {
    /// Why the socket is to be closed.
    reason: OnceLock<CloseReason>,
    notify: Notify,
    /// How many of the things the client has said the room has dealt with.
    handled: AtomicU64,
    heeds: Notify,
    is_seated: AtomicBool,
}

/// A pair of ends with room for `capacity` frames between them.
#[must_use]
pub fn connection(session: Option<SessionKey>, capacity: usize) -> (Connection, FrameReceiver) {
    let (sender, frames) = mpsc::channel(capacity);
    let link = Arc::new(Link::default());
    let connection = Connection { id: ConnectionId::next(), session, frames: sender, link: Arc::clone(&link) };
    (connection, FrameReceiver { frames, link })
}

impl Connection {
    /// Queues a frame. A client whose queue is full is closed with [`CloseReason::TooSlow`]: it may come back and
    /// resume. Returns whether the frame was queued.
    pub fn send(&self, frame: Frame) -> bool {
        match self.frames.try_send(frame) {
            Ok(()) => true,
            Err(mpsc::error::TrySendError::Full(_)) => {
                self.close(CloseReason::TooSlow);
                false
            }
            // The socket is gone, and says so to the room by itself.
            Err(mpsc::error::TrySendError::Closed(_)) => false,
        }
    }

    /// Closes the socket behind what is already queued; [`CloseReason::TooSlow`] and [`CloseReason::Abuse`] do not
    /// wait for that. The first reason counts.
    pub fn close(&self, reason: CloseReason) {
        // A later reason changes nothing: the socket is closing already.
        if self.link.reason.set(reason).is_ok() {
            self.link.notify.notify_one();
        }
    }

    /// Says whether the client has a seat at the table.
    pub fn set_seated(&self, is_seated: bool) {
        self.link.is_seated.store(is_seated, Ordering::Relaxed);
    }

    /// Says that the room has dealt with one thing more that the client has said: all that answers it is queued.
    pub fn mark_handled(&self) {
        self.link.handled.fetch_add(1, Ordering::Release);
        self.link.heeds.notify_one();
    }

    /// Whether at least half of the queue is taken: whoever produces frames by himself should wait a little.
    #[must_use]
    pub fn is_congested(&self) -> bool {
        self.frames.capacity() < self.frames.max_capacity() / 2 && self.link.reason.get().is_none()
    }
}

impl FrameReceiver {
    /// Whether the client had a seat at the table when the room last heard from him.
    pub fn is_seated(&self) -> bool {
        self.link.is_seated.load(Ordering::Relaxed)
    }

    /// Resolves when the room has dealt with as many things as have been `said`. It never does if the room ends before,
    /// but [`FrameReceiver::next`] says so then.
    pub fn handled(&self, said: u64) -> impl Future<Output = ()> + use<> {
        let link = Arc::clone(&self.link);
        async move {
            while link.handled.load(Ordering::Acquire) < said {
                link.heeds.notified().await;
            }
        }
    }

    /// Waits for the next thing to do. Cancel safe.
    pub async fn next(&mut self) -> Outgoing {
        loop {
            match self.link.reason.get() {
                None => {}
                Some(&reason @ (CloseReason::TooSlow | CloseReason::Abuse)) => return Outgoing::Close(reason),
                // What was queued before the close is still delivered.
                Some(&reason) => {
                    return self.frames.try_recv().map_or(Outgoing::Close(reason), Outgoing::Frame);
                }
            }
            tokio::select! {
                frame = self.frames.recv() => {
                    return frame.map_or(Outgoing::Gone, Outgoing::Frame);
                }
                () = self.link.notify.notified() => {}
            }
        }
    }

    /// A frame that is already there: several go to the socket in one flush.
    pub fn try_next(&mut self) -> Option<Frame> {
        self.frames.try_recv().ok()
    }

    /// Resolves when the client must be dropped without waiting for what is queued: used while a write is stuck.
    pub async fn aborted(&self) -> CloseReason {
        loop {
            if let Some(&reason @ (CloseReason::TooSlow | CloseReason::Abuse)) = self.link.reason.get() {
                return reason;
            }
            self.link.notify.notified().await;
        }
    }
}
