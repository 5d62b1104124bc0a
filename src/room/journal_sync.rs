//! The journal's other thread: it waits for the disk, so that the writer need not.
//!
//! What is written survives the end of the process, however it ends; only the end of the machine needs the disk. So
//! writing goes on while an earlier group is on its way, and a slow disk costs a killed server nothing.

use std::fs::File;
use std::io;
use std::sync::mpsc::SyncSender;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Instant;

use tokio::sync::oneshot;

use super::journal::Status;
use crate::observe::Metrics;

/// Groups that were written and are not known to be on disk.
#[derive(Debug)]
pub(super) struct Written {
    pub(super) notes: u64,
    /// When the first of their notes came.
    pub(super) began: Instant,
    pub(super) waiting: Vec<Waiting>,
}

impl Written {
    /// Both, as one.
    fn and(mut self, later: Self) -> Self {
        self.notes += later.notes;
        self.waiting.extend(later.waiting);
        self
    }
}

/// Who waits until what he handed over is on disk.
#[derive(Debug)]
pub(super) enum Waiting {
    Task(oneshot::Sender<()>),
    Thread(SyncSender<()>),
}

impl Waiting {
    /// Whoever asked may have gone.
    pub(super) fn answer(self) {
        match self {
            Self::Task(done) => drop(done.send(())),
            Self::Thread(done) => drop(done.send(())),
        }
    }
}

/// The thread that syncs, and what it has to do.
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
    /// What is to be synced next, all in one file.
    next: Option<(Arc<File>, Written)>,
    is_busy: bool,
    /// What could not be synced, until the writer takes it back.
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

    /// Has a group synced, together with those that already wait.
    pub(super) fn sync(&self, file: &Arc<File>, written: Written) {
        let mut state = self.shared.lock();
        state.next = Some(match state.next.take() {
            Some((_, earlier)) => (Arc::clone(file), earlier.and(written)),
            None => (Arc::clone(file), written),
        });
        self.shared.note_oldest(&state);
        drop(state);
        self.shared.changed.notify_one();
    }

    /// Everything is on disk by other means: in a new file.
    pub(super) fn settle(&self, written: Option<Written>) {
        let mut state = self.shared.lock();
        let earlier = state.next.take().map(|(_, earlier)| earlier);
        // What failed before is in the new file too.
        let failed = state.failed.take().map(|(_, failed)| failed);
        self.shared.note_oldest(&state);
        drop(state);
        for written in [failed, earlier, written].into_iter().flatten() {
            self.shared.is_on_disk(written);
        }
    }

    /// What could not be synced since this was last asked.
    pub(super) fn failure(&self) -> Option<(io::Error, Written)> {
        self.shared.lock().failed.take()
    }

    /// Whether anything is on its way, or has failed and waits to be asked for.
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
                        Some((error, earlier)) => (error, earlier.and(written)),
                        None => (error, written),
                    });
                }
            }
        }
    }

    /// While a group is under way its age counts; once it is there, that of the next.
    fn note_oldest(&self, state: &State) {
        if !state.is_busy {
            self.status.note_unsynced(state.next.as_ref().map(|(_, next)| next.began));
        }
    }

    fn is_on_disk(&self, written: Written) {
        self.status.note_commit();
        self.metrics.journal_written.inc_by(written.notes);
        self.metrics.journal_commit_seconds.observe(written.began.elapsed().as_secs_f64());
        written.waiting.into_iter().for_each(Waiting::answer);
    }
}
