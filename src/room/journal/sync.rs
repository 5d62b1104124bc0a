//! The journal's syncing thread: it waits for the disk so that the writer need not.
//!
//! Written bytes survive the end of the process, however it ends; only a crash of the machine needs the disk. So writing
//! goes on while an earlier group is syncing, and a killed server loses nothing to a slow disk.

use std::collections::BTreeSet;
use std::fs::File;
use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Instant;

use tokio::sync::oneshot;

use super::status::Status;
use crate::observe::Metrics;
use crate::protocol::RoomId;

/// Groups that are written but not known to be on disk.
#[derive(Debug)]
pub(super) struct Written {
    pub(super) notes: u64,
    /// The rooms that they are about.
    pub(super) rooms: BTreeSet<RoomId>,
    /// When the first of their notes came.
    pub(super) began: Instant,
    pub(super) waiters: Vec<Waiter>,
}

impl Written {
    /// Both groups as one.
    fn merge(mut self, later: Self) -> Self {
        self.notes += later.notes;
        self.rooms.extend(later.rooms);
        self.waiters.extend(later.waiters);
        self
    }
}

/// Tells a caller that its notes are on disk, or that writing them was tried. Dropping it tells the same.
pub(super) type Waiter = oneshot::Sender<()>;

/// The syncing thread and its task.
#[derive(Debug)]
pub(super) struct Syncer {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
    status: Arc<Status>,
    metrics: Arc<Metrics>,
}

#[derive(Debug, Default)]
struct State {
    /// What is to be synced next; all of it is in one file.
    next: Option<(Arc<File>, Written)>,
    is_busy: bool,
    /// What could not be synced, until the writer queues it again.
    failed: Option<(io::Error, Written)>,
    is_closed: bool,
}

impl Syncer {
    /// Starts the thread. It ends when the syncer is dropped.
    pub(super) fn start(status: Arc<Status>, metrics: Arc<Metrics>) -> io::Result<Self> {
        let shared = Arc::new(Shared { state: Mutex::default(), changed: Condvar::new(), status, metrics });
        let thread = std::thread::Builder::new().name("journal-sync".to_owned()).spawn({
            let shared = Arc::clone(&shared);
            move || shared.run()
        })?;
        Ok(Self { shared, thread: Some(thread) })
    }

    /// Queues a group for syncing, together with earlier ones.
    pub(super) fn sync(&self, file: &Arc<File>, written: Written) {
        let mut state = self.shared.lock();
        state.next = Some(match state.next.take() {
            Some((_, earlier)) => (Arc::clone(file), earlier.merge(written)),
            None => (Arc::clone(file), written),
        });
        self.shared.note_oldest(&state);
        drop(state);
        self.shared.changed.notify_one();
    }

    /// Marks everything as on disk, because a new file holds it.
    pub(super) fn settle(&self, written: Option<Written>) {
        let mut state = self.shared.lock();
        let earlier = state.next.take().map(|(_, earlier)| earlier);
        // The new file also holds what failed before.
        let failed = state.failed.take().map(|(_, failed)| failed);
        self.shared.note_oldest(&state);
        drop(state);
        for written in [failed, earlier, written].into_iter().flatten() {
            self.shared.is_on_disk(written);
        }
    }

    /// Takes what could not be synced.
    pub(super) fn take_failure(&self) -> Option<(io::Error, Written)> {
        self.shared.lock().failed.take()
    }

    /// Whether anything is being synced, or has failed and was not taken yet.
    pub(super) fn is_busy(&self) -> bool {
        let state = self.shared.lock();
        state.is_busy || state.next.is_some() || state.failed.is_some()
    }
}

/// Waits until everything is synced.
impl Drop for Syncer {
    fn drop(&mut self) {
        self.shared.lock().is_closed = true;
        self.shared.changed.notify_one();
        if let Some(Err(_)) = self.thread.take().map(JoinHandle::join) {
            log::error!("the thread that syncs the journal has panicked");
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn run(&self) {
        loop {
            let mut state = self.lock();
            while state.next.is_none() && !state.is_closed {
                state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
            }
            let Some((file, written)) = state.next.take() else { return };
            state.is_busy = true;
            drop(state);
            let outcome = file.sync_data();
            let mut state = self.lock();
            state.is_busy = false;
            match outcome {
                Ok(()) => {
                    self.note_oldest(&state);
                    drop(state);
                    self.is_on_disk(written);
                }
                Err(error) => {
                    state.failed = Some(match state.failed.take() {
                        Some((error, earlier)) => (error, earlier.merge(written)),
                        None => (error, written),
                    });
                }
            }
        }
    }

    /// Notes the age of the oldest group: the one that is syncing, else the next one.
    fn note_oldest(&self, state: &State) {
        if !state.is_busy {
            let began = state.next.as_ref().map(|(_, next)| next.began);
            self.status.update(|figures| figures.unsynced_since = began);
        }
    }

    fn is_on_disk(&self, written: Written) {
        self.status.update(|figures| figures.status.commits += 1);
        self.metrics.journal_written.inc_by(written.notes);
        self.metrics.journal_commit_seconds.observe(written.began.elapsed().as_secs_f64());
    }
}
