//! What waits for the writer: the one place that groups, and the one that counts.

use std::collections::VecDeque;
use std::sync::mpsc::{self, SyncSender};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::report::StoreError;
use super::writer::RETRY_LONGEST;
use super::{GameId, GameRecord, StoreOptions};

/// Bytes of one group at most, so that a queue of huge records does not become one huge write.
const GROUP_BYTES: usize = 8 << 20;

/// What became of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stored {
    /// It is on disk.
    Now,
    /// The same record was there already: handing it over twice does no harm.
    Before,
}

/// Why a record was not stored.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WriteError {
    /// Another record has this id.
    #[error("another record is stored as game {0}")]
    Conflict(GameId),
    /// It is no game by the rules, or larger than any.
    #[error("{0}")]
    NoGame(String),
    /// The store was closed before the disk took the record.
    #[error("the archive was closed before the record was on disk")]
    Closed,
}

/// What is handed over.
pub(super) enum Payload {
    /// A game, which the writer encodes.
    Game(Box<GameRecord>),
    /// A record in its stored form.
    Record(GameId, Vec<u8>),
}

/// Something handed over, and who wants to know what becomes of it.
pub(super) struct Item {
    pub(super) payload: Payload,
    pub(super) answer: Answer,
    /// For whoever keeps another copy until a checkpoint has found the record in the raw file.
    pub(super) checkpointed: Option<Checkpointed>,
}

/// Is told, by the writer's thread, what became of an item.
pub(super) type Answer = Box<dyn FnOnce(Result<Stored, WriteError>) + Send>;

/// Where it is told what became of a record. A record is only safe when its receipt says so.
pub type Receipt = mpsc::Receiver<Result<Stored, WriteError>>;

/// Is called, by the writer's thread, when a checkpoint has found a record; dropped where there will be none.
pub(super) type Checkpointed = Box<dyn FnOnce() + Send>;

impl Item {
    fn bytes(&self) -> usize {
        match &self.payload {
            Payload::Game(_) => 0,
            Payload::Record(_, record) => record.len(),
        }
    }
}

/// What becomes of an item for which there is no room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IfFull {
    /// It is given back at once.
    ComesBack,
    /// It is taken as soon as there is room.
    Waits,
}

/// Games to remove, and where to say how many there were.
#[derive(Debug)]
pub(super) struct Removal {
    pub(super) ids: Vec<GameId>,
    pub(super) answer: SyncSender<Result<u64, StoreError>>,
}

/// Items on their way to the writer.
pub(super) struct Queue {
    options: StoreOptions,
    state: Mutex<QueueState>,
    /// There may be work for the writer.
    wake: Condvar,
    progress: Condvar,
}

impl std::fmt::Debug for Queue {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Queue").field("options", &self.options).finish_non_exhaustive()
    }
}

#[derive(Default)]
pub(super) struct QueueState {
    items: VecDeque<(Instant, Item)>,
    bytes: usize,
    pub(super) removals: VecDeque<Removal>,
    /// Items taken, and items answered, since the store was opened.
    taken: u64,
    answered: u64,
    /// Items up to this one do not wait for their group.
    hurried: u64,
    /// When there was last nothing to do, or an item was answered.
    progress: Option<Instant>,
    /// Nothing more is taken.
    refusing: bool,
    /// The store is closing; what is not on disk by then is given up.
    pub(super) closing: Option<Instant>,
    ended: bool,
}

impl Queue {
    pub(super) fn new(options: StoreOptions) -> Self {
        Self { options, state: Mutex::default(), wake: Condvar::new(), progress: Condvar::new() }
    }

    /// Takes an item. It comes back where there is no room for it, or the store is closed.
    pub(super) fn put(&self, item: Item, if_full: IfFull) -> Result<(), Item> {
        let mut state = self.lock();
        if if_full == IfFull::Waits {
            let is_full = |state: &mut QueueState| !state.refusing && !self.has_room(state, &item);
            state = self.progress.wait_while(state, is_full).unwrap_or_else(PoisonError::into_inner);
        }
        if state.refusing || !self.has_room(&state, &item) {
            return Err(item);
        }
        if state.taken == state.answered {
            state.progress = Some(Instant::now());
        }
        state.bytes += item.bytes();
        state.items.push_back((Instant::now(), item));
        state.taken += 1;
        drop(state);
        self.wake.notify_one();
        Ok(())
    }

    fn has_room(&self, state: &QueueState, item: &Item) -> bool {
        state.items.len() < self.options.queue_records.get()
            && state.bytes.saturating_add(item.bytes()) <= self.options.queue_bytes.get()
    }

    pub(super) fn put_removal(&self, removal: Removal) -> Result<(), StoreError> {
        let mut state = self.lock();
        if state.closing.is_some() {
            return Err(StoreError::Closed);
        }
        state.removals.push_back(removal);
        drop(state);
        self.wake.notify_one();
        Ok(())
    }

    /// Items that are not on disk yet, and the bytes of those that wait in the queue.
    pub(super) fn waiting(&self) -> (u64, usize) {
        let state = self.lock();
        (state.taken - state.answered, state.bytes)
    }

    /// Whether something waits and nothing has reached the disk for so long.
    pub(super) fn is_behind(&self, limit: Duration) -> bool {
        let state = self.lock();
        state.taken > state.answered && state.progress.is_some_and(|at| at.elapsed() > limit)
    }

    /// Lets nothing that was taken so far wait for its group, and waits until it is on disk. Returns whether it is.
    pub(super) fn flush(&self, timeout: Duration) -> bool {
        let mut state = self.lock();
        let due = state.taken;
        state.hurried = due;
        self.wake.notify_one();
        let (state, _timeout) = self
            .progress
            .wait_timeout_while(state, timeout, |state| state.answered < due && !state.ended)
            .unwrap_or_else(PoisonError::into_inner);
        state.answered >= due
    }

    /// Takes nothing more.
    pub(super) fn refuse_more(&self) {
        self.lock().refusing = true;
        self.progress.notify_all();
    }

    /// Tells the writer to finish, and waits until it has or until `timeout` is over. Returns whether it has.
    pub(super) fn close(&self, timeout: Duration) -> bool {
        let mut state = self.lock();
        let deadline = Instant::now() + timeout;
        state.refusing = true;
        state.closing.get_or_insert(deadline);
        self.wake.notify_one();
        self.progress.notify_all();
        let (state, _timeout) = self
            .progress
            .wait_timeout_while(state, timeout + RETRY_LONGEST, |state| !state.ended)
            .unwrap_or_else(PoisonError::into_inner);
        state.ended
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, QueueState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets the writer wait until somebody wakes it, or a moment comes.
    pub(super) fn wait<'a>(&self, state: MutexGuard<'a, QueueState>, until: Instant) -> MutexGuard<'a, QueueState> {
        let timeout = until.saturating_duration_since(Instant::now());
        self.wake.wait_timeout(state, timeout).unwrap_or_else(PoisonError::into_inner).0
    }

    /// Items were answered.
    pub(super) fn answered(&self, count: usize) {
        let mut state = self.lock();
        state.answered += count as u64;
        state.progress = Some(Instant::now());
        drop(state);
        self.progress.notify_all();
    }

    /// However the writer ended: answers what still waits.
    pub(super) fn end(&self) {
        let mut state = self.lock();
        state.refusing = true;
        state.closing.get_or_insert_with(Instant::now);
        state.ended = true;
        let items = std::mem::take(&mut state.items);
        // Whoever waits for them sees their answers dropped.
        state.removals.clear();
        drop(state);
        for (_, item) in items {
            (item.answer)(Err(WriteError::Closed));
        }
        self.progress.notify_all();
    }

    /// When the oldest items are to be written, whether their group is full or not.
    pub(super) fn group_due(&self, state: &QueueState) -> Option<Instant> {
        let options = &self.options;
        let (taken, _) = state.items.front()?;
        let is_hurried = state.taken - (state.items.len() as u64) < state.hurried;
        let is_full = state.items.len() >= options.group_records.min(options.queue_records).get()
            || state.bytes >= GROUP_BYTES.min(options.queue_bytes.get());
        Some(if is_hurried || is_full || state.closing.is_some() { *taken } else { *taken + options.interval })
    }

    /// Takes the oldest items out, as many as are written together.
    pub(super) fn take_group(&self, state: &mut QueueState) -> Vec<Item> {
        let mut group = Vec::new();
        let mut bytes = 0;
        while group.len() < self.options.group_records.get()
            && bytes < GROUP_BYTES
            && let Some((_, item)) = state.items.pop_front()
        {
            bytes += item.bytes();
            group.push(item);
        }
        state.bytes -= bytes;
        group
    }
}
