//! The connection between a room and a socket: a bounded queue of frames, and a way to close the socket.

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

/// The sending end, for the room.
#[derive(Debug, Clone)]
pub struct Connection {
    /// Its number.
    pub id: ConnectionId,
    /// The browser session it came with, if any.
    pub session: Option<SessionKey>,
    frames: mpsc::Sender<Frame>,
    shared: Arc<Shared>,
}

/// The receiving end, for the socket.
#[derive(Debug)]
pub struct FrameReceiver {
    frames: mpsc::Receiver<Frame>,
    shared: Arc<Shared>,
}

/// What the socket has to do next.
#[derive(Debug)]
pub enum Outgoing {
    /// Send this.
    Frame(Frame),
    /// Close the socket; nothing follows.
    Close(CloseReason),
    /// The room has ended and sends nothing more. The socket may stay.
    Gone,
}

/// What both ends share beside the frames.
#[derive(Debug, Default)]
struct Shared {
    /// Why the socket is to be closed, if it is.
    reason: OnceLock<CloseReason>,
    notify: Notify,
    /// How many of the client's messages the room has handled.
    handled: AtomicU64,
    handled_changed: Notify,
    is_seated: AtomicBool,
}

/// Both ends of a connection whose queue holds `capacity` frames.
#[must_use]
pub fn connection(session: Option<SessionKey>, capacity: usize) -> (Connection, FrameReceiver) {
    let (sender, frames) = mpsc::channel(capacity);
    let shared = Arc::new(Shared::default());
    let connection = Connection { id: ConnectionId::next(), session, frames: sender, shared: Arc::clone(&shared) };
    (connection, FrameReceiver { frames, shared })
}

impl Connection {
    /// Queues a frame and returns whether that succeeded. A full queue closes the socket with [`CloseReason::TooSlow`]; the
    /// client may reconnect and resume.
    pub fn send(&self, frame: Frame) -> bool {
        match self.frames.try_send(frame) {
            Ok(()) => true,
            Err(mpsc::error::TrySendError::Full(_)) => {
                self.close(CloseReason::TooSlow);
                false
            }
            // The socket is gone and reports that to the room itself.
            Err(mpsc::error::TrySendError::Closed(_)) => false,
        }
    }

    /// Closes the socket after the queued frames; [`CloseReason::TooSlow`] and [`CloseReason::Abuse`] do not wait for
    /// those. The first reason counts.
    pub fn close(&self, reason: CloseReason) {
        if self.shared.reason.set(reason).is_ok() {
            self.shared.notify.notify_one();
        }
    }

    /// Sets whether the client has a seat at the table.
    pub fn set_seated(&self, is_seated: bool) {
        self.shared.is_seated.store(is_seated, Ordering::Relaxed);
    }

    /// The room has handled one more of the client's messages, and its answers are queued.
    pub fn mark_handled(&self) {
        self.shared.handled.fetch_add(1, Ordering::Release);
        self.shared.handled_changed.notify_one();
    }

    /// Whether more than half of the queue is used. The table's own steps then wait a little.
    #[must_use]
    pub fn is_congested(&self) -> bool {
        self.frames.capacity() < self.frames.max_capacity() / 2 && self.shared.reason.get().is_none()
    }
}

impl FrameReceiver {
    /// Whether the client had a seat at the table after its last handled message.
    pub fn is_seated(&self) -> bool {
        self.shared.is_seated.load(Ordering::Relaxed)
    }

    /// Resolves when the room has handled `count` messages. If the room ends before that, it never resolves, but
    /// [`FrameReceiver::next`] returns [`Outgoing::Gone`].
    pub fn handled(&self, count: u64) -> impl Future<Output = ()> + use<> {
        let shared = Arc::clone(&self.shared);
        async move {
            while shared.handled.load(Ordering::Acquire) < count {
                shared.handled_changed.notified().await;
            }
        }
    }

    /// Waits for what the socket has to do next. Cancel safe.
    pub async fn next(&mut self) -> Outgoing {
        loop {
            match self.shared.reason.get() {
                None => {}
                Some(&reason @ (CloseReason::TooSlow | CloseReason::Abuse)) => return Outgoing::Close(reason),
                // Frames that were queued before the close are still delivered.
                Some(&reason) => {
                    return self.frames.try_recv().map_or(Outgoing::Close(reason), Outgoing::Frame);
                }
            }
            tokio::select! {
                frame = self.frames.recv() => {
                    return frame.map_or(Outgoing::Gone, Outgoing::Frame);
                }
                () = self.shared.notify.notified() => {}
            }
        }
    }

    /// The next frame, if one is queued: several frames go to the socket in one flush.
    pub fn try_next(&mut self) -> Option<Frame> {
        self.frames.try_recv().ok()
    }

    /// Resolves when the socket must be closed without waiting for the queued frames. For use while a write is blocked.
    pub async fn aborted(&self) -> CloseReason {
        loop {
            if let Some(&reason @ (CloseReason::TooSlow | CloseReason::Abuse)) = self.shared.reason.get() {
                return reason;
            }
            self.shared.notify.notified().await;
        }
    }
}
