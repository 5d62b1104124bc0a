//! How the deliveries to a sink are doing: written by the sink's thread, read by everybody else.

use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use super::outbox::Progress;
use super::{SinkError, SinkKind};
use crate::observe::Check;

/// The state of the deliveries to a sink.
#[derive(Debug)]
pub(in crate::archive) struct State {
    pub(super) kind: SinkKind,
    /// Games were stored.
    pub(super) stored: Notify,
    /// Everything is to be delivered now.
    pub(super) now: Notify,
    /// Games that were delivered are to be sent once more.
    pub(super) again: AtomicBool,
    /// The number up to which everything was delivered or set aside.
    pub(super) delivered: AtomicU64,
    figures: Mutex<Figures>,
}

#[derive(Debug, Clone, Default)]
pub(super) struct Figures {
    pub(super) pending: u64,
    pub(super) set_aside: u64,
    /// Since when the oldest game owed has waited, at least.
    pub(super) waiting: Option<Instant>,
    pub(super) idle: bool,
    pub(super) failing: Option<Failing>,
}

/// How the deliveries to a sink are doing.
#[derive(Debug, Clone)]
pub struct SinkStatus {
    /// Which sink.
    pub kind: SinkKind,
    /// Games that it is owed.
    pub pending: u64,
    /// Games that it has refused for good.
    pub set_aside: u64,
    /// How long the oldest game owed has waited, at least.
    pub lag: Duration,
    /// It has everything that it takes, and there is nothing to do.
    pub idle: bool,
    /// The error, if deliveries fail.
    pub failing: Option<Failing>,
}

/// A sink that does not take games.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failing {
    /// Since when.
    pub since: Instant,
    /// The last error.
    pub error: SinkError,
    /// How often it was tried.
    pub attempts: u32,
}

impl State {
    /// The state of a sink according to its outbox, for a process that delivers nothing.
    pub(in crate::archive) fn look(store: &Path, kind: SinkKind, place: &str) -> io::Result<Self> {
        let Progress { delivered, set_aside } = Progress::look(store, kind, place)?;
        let figures = Figures { set_aside: set_aside.len() as u64, ..Figures::default() };
        Ok(Self::new(kind, delivered, figures))
    }

    pub(super) fn new(kind: SinkKind, delivered: u64, figures: Figures) -> Self {
        let (stored, now) = (Notify::new(), Notify::new());
        let (again, delivered) = (AtomicBool::new(false), AtomicU64::new(delivered));
        Self { kind, stored, now, again, delivered, figures: Mutex::new(figures) }
    }

    /// Which sink.
    pub(in crate::archive) fn kind(&self) -> SinkKind {
        self.kind
    }

    /// Games were stored.
    pub(in crate::archive) fn note_stored(&self) {
        // Until the thread wakes, the sink must not look idle.
        self.figures().idle = false;
        self.stored.notify_one();
    }

    /// Does not wait for the pause after a failure to end, and tries again what was refused.
    pub(in crate::archive) fn deliver_now(&self) {
        self.figures().idle = false;
        self.now.notify_one();
    }

    /// Sends every game once more, from the first one.
    pub(in crate::archive) fn deliver_all(&self) {
        self.again.store(true, Ordering::Release);
        self.deliver_now();
    }

    /// Whether the game with this number is still owed.
    pub(in crate::archive) fn owes(&self, number: u64) -> bool {
        number > self.delivered.load(Ordering::Acquire)
    }

    /// How it is doing.
    pub(in crate::archive) fn status(&self) -> SinkStatus {
        let Figures { pending, set_aside, waiting, idle, failing } = self.figures().clone();
        let lag = waiting.map_or(Duration::ZERO, |since| since.elapsed());
        SinkStatus { kind: self.kind, pending, set_aside, lag, idle, failing }
    }

    /// The sink's part of the server's health. Games go on whatever happens to it.
    pub(in crate::archive) fn check(&self) -> Check {
        let SinkStatus { pending, set_aside, lag, failing, .. } = self.status();
        let check = match failing {
            Some(failing) => Check::degraded(format!("completed games wait to be copied: {}", failing.error)),
            None if set_aside > 0 => {
                Check::degraded(format!("{set_aside} games are refused; `liap archive compare` names them"))
            }
            None => Check::healthy(),
        };
        check.with("pending", pending).with("set_aside", set_aside).with("lag_seconds", lag.as_secs())
    }

    pub(super) fn figures(&self) -> MutexGuard<'_, Figures> {
        self.figures.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
