//! The one thread that writes: it encodes games, commits them in groups, and acknowledges them when they are on disk.
//!
//! A game waits for its group: until that is full, until the interval is over, or until somebody hurries it. One group: put its
//! frames into the database, flush, sync; note its last number as the high-water mark, synced; index; acknowledge. Soon after,
//! a checkpoint looks for the frames in the database's raw file. Whoever has another copy keeps it until then.
//!
//! After a failure nothing is assumed about the database: once the disk takes writes again, it is closed and opened as after a
//! crash, and the group is written again, for as long as it takes.

use std::collections::{BTreeMap, VecDeque};
use std::fs;
use std::io::Write as _;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::SyncSender;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, RwLock};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use tokio::sync::oneshot;

use super::codec;
use super::frame::{self, HEADER_BYTES, MAX_RECORD_BYTES};
use super::recover::{self, Books, Layout, Opened, When};
use super::report::{Health, StoreError};
use super::salvage::Checkpoint;
use super::tree::{Tree, TreeError};
use super::{GameId, GameRecord};
use crate::disk::DurableNumber;

/// Bytes of one group at most, so that a queue of huge records does not become one huge write.
const GROUP_BYTES: usize = 8 << 20;
/// The first pause after a failed write; it doubles with every further one.
const RETRY_FIRST: Duration = Duration::from_millis(50);
/// The longest pause between two attempts.
const RETRY_LONGEST: Duration = Duration::from_secs(5);
/// What must be writable before a failed database is opened again.
const PROBE_BYTES: usize = 1 << 20;
/// How long readers may hold a database that is to be closed.
const READERS_TIMEOUT: Duration = Duration::from_secs(2);
/// How long a stored game may wait for its checkpoint while others are stored.
const CHECKPOINT_INTERVAL: Duration = Duration::from_secs(1);
/// Bytes of stored games that wait for their checkpoint at most.
const UNCHECKED_BYTES: usize = 16 << 20;
/// How often the space that the files take is looked at.
const DISK_INTERVAL: Duration = Duration::from_secs(10);
/// How often an idle writer looks around.
const IDLE_INTERVAL: Duration = Duration::from_millis(500);
/// A database is built anew when its files are so many times as long as its records. A new one is not twice as long.
const REBUILD_FACTOR: u64 = 3;
/// A database that is shorter is not worth it.
const REBUILD_BYTES: u64 = 16 << 20;

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
    /// It is no game by the rules.
    #[error("{0}")]
    NoGame(String),
    /// The store was closed before the disk took the record.
    #[error("the archive was closed before the record was on disk")]
    Closed,
}

/// Why a record was not even taken. It is given back.
#[derive(Debug, thiserror::Error)]
pub enum AppendError {
    /// Too many records wait for the disk already.
    #[error("the archive's queue is full")]
    Full(Vec<u8>),
    /// Larger than [`MAX_RECORD_BYTES`].
    #[error("the record is larger than the archive allows")]
    TooLarge(Vec<u8>),
    /// The store is closed.
    #[error("the archive is closed")]
    Closed(Vec<u8>),
}

/// The promise to tell when a record is on disk. Whoever does not care may drop it.
#[derive(Debug)]
#[must_use = "a record is only safe when its receipt says so"]
pub struct Receipt(pub(super) oneshot::Receiver<Result<Stored, WriteError>>);

impl Receipt {
    /// Waits until the record is on disk.
    ///
    /// # Errors
    /// It will never be: see [`WriteError`].
    pub async fn stored(self) -> Result<Stored, WriteError> {
        self.0.await.unwrap_or(Err(WriteError::Closed))
    }

    /// [`Receipt::stored`] for threads that may block.
    ///
    /// # Errors
    /// It will never be: see [`WriteError`].
    ///
    /// # Panics
    /// Inside an asynchronous task.
    pub fn wait(self) -> Result<Stored, WriteError> {
        self.0.blocking_recv().unwrap_or(Err(WriteError::Closed))
    }
}

/// Who learns of every record that was stored, before it is acknowledged.
pub(super) trait Observer: Send + Sync + std::fmt::Debug {
    /// A new record is on disk. `took`: how long its group took.
    fn stored(&self, record: &[u8], took: Duration);
}

/// Nobody.
impl Observer for () {
    fn stored(&self, _record: &[u8], _took: Duration) {}
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

/// Why the queue does not take an item.
pub(super) enum NotTaken {
    Full(Item),
    Closed(Item),
}

/// How much may wait, and how groups are formed.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    pub(super) queue_records: usize,
    pub(super) queue_bytes: usize,
    pub(super) group_records: usize,
    /// How long an item waits for its group to fill.
    pub(super) interval: Duration,
}

/// What waits for the writer: the one place that groups, and the one that counts.
pub(super) struct Inbox {
    bounds: Bounds,
    state: Mutex<InboxState>,
    wake: Condvar,
    progress: Condvar,
}

impl std::fmt::Debug for Inbox {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Inbox").field("bounds", &self.bounds).finish_non_exhaustive()
    }
}

#[derive(Default)]
struct InboxState {
    items: VecDeque<(Instant, Item)>,
    bytes: usize,
    removals: VecDeque<Removal>,
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
    closing: Option<Instant>,
    ended: bool,
}

/// Games to remove, and where to say how many there were.
#[derive(Debug)]
pub(super) struct Removal {
    pub(super) ids: Vec<GameId>,
    pub(super) answer: SyncSender<Result<u64, StoreError>>,
}

impl Inbox {
    pub(super) fn new(bounds: Bounds) -> Self {
        Self { bounds, state: Mutex::default(), wake: Condvar::new(), progress: Condvar::new() }
    }

    /// Takes an item if there is room for it.
    pub(super) fn put(&self, item: Item) -> Result<(), NotTaken> {
        self.put_locked(self.lock(), item)
    }

    /// Takes an item, and waits while there is no room.
    pub(super) fn put_waiting(&self, item: Item) -> Result<(), NotTaken> {
        let state = self.lock();
        let is_full = |state: &mut InboxState| !state.refusing && !self.has_room(state, &item);
        let state = self.progress.wait_while(state, is_full).unwrap_or_else(PoisonError::into_inner);
        self.put_locked(state, item)
    }

    fn has_room(&self, state: &InboxState, item: &Item) -> bool {
        state.items.len() < self.bounds.queue_records
            && state.bytes.saturating_add(item.bytes()) <= self.bounds.queue_bytes
    }

    fn put_locked(&self, mut state: MutexGuard<'_, InboxState>, item: Item) -> Result<(), NotTaken> {
        if state.refusing {
            return Err(NotTaken::Closed(item));
        }
        if !self.has_room(&state, &item) {
            return Err(NotTaken::Full(item));
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

    fn lock(&self) -> MutexGuard<'_, InboxState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn answered(&self, count: usize) {
        let mut state = self.lock();
        state.answered += count as u64;
        state.progress = Some(Instant::now());
        drop(state);
        self.progress.notify_all();
    }
}

impl InboxState {
    /// When the oldest items are to be written, whether their group is full or not.
    fn due(&self, bounds: &Bounds) -> Option<Instant> {
        let (taken, _) = self.items.front()?;
        let is_hurried = self.taken - (self.items.len() as u64) < self.hurried;
        let is_full = self.items.len() >= bounds.group_records.min(bounds.queue_records)
            || self.bytes >= GROUP_BYTES.min(bounds.queue_bytes);
        Some(if is_hurried || is_full || self.closing.is_some() { *taken } else { *taken + bounds.interval })
    }

    fn group(&mut self, bounds: &Bounds) -> Vec<Item> {
        let mut group = Vec::new();
        let mut bytes = 0;
        while group.len() < bounds.group_records
            && bytes < GROUP_BYTES
            && let Some((_, item)) = self.items.pop_front()
        {
            bytes += item.bytes();
            group.push(item);
        }
        self.bytes -= bytes;
        group
    }
}

/// What readers and the writer share.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) layout: Layout,
    pub(super) cache_bytes: u64,
    /// `None` while it is closed and opened again, and after the end.
    pub(super) tree: RwLock<Option<Arc<Tree>>>,
    pub(super) books: RwLock<Books>,
    pub(super) inbox: Inbox,
    pub(super) observer: Arc<dyn Observer>,
    pub(super) health: Mutex<Health>,
    pub(super) damaged_reads: AtomicU64,
    pub(super) unchecked: AtomicU64,
    pub(super) groups: AtomicU64,
    pub(super) failures: AtomicU64,
    pub(super) disk_bytes: AtomicU64,
    pub(super) closed: AtomicBool,
    /// A record that the disk refuses to read.
    #[cfg(test)]
    pub(super) refused: AtomicU64,
}

impl Shared {
    /// The database, if it is open.
    pub(super) fn tree(&self) -> Result<Arc<Tree>, StoreError> {
        if self.closed.load(Ordering::Acquire) {
            return Err(StoreError::Closed);
        }
        let tree = self.tree.read().unwrap_or_else(PoisonError::into_inner).clone();
        tree.ok_or_else(|| StoreError::Failed("it is being opened again".to_owned()))
    }

    /// Takes the database away from readers, once none of them holds it any more.
    fn take_tree(&self) -> Result<Option<Tree>, StoreError> {
        let deadline = Instant::now() + READERS_TIMEOUT;
        let mut place = self.tree.write().unwrap_or_else(PoisonError::into_inner);
        let Some(mut tree) = place.take() else { return Ok(None) };
        loop {
            tree = match Arc::try_unwrap(tree) {
                Ok(tree) => return Ok(Some(tree)),
                Err(shared) => shared,
            };
            if Instant::now() >= deadline {
                *place = Some(tree);
                return Err(StoreError::Failed("somebody still reads from it".to_owned()));
            }
            thread::sleep(Duration::from_millis(1));
        }
    }

    /// The record with a number, which is of this game; `None` if there is none any more.
    pub(super) fn read(&self, seq: u64, id: GameId) -> Result<Option<Vec<u8>>, StoreError> {
        #[cfg(test)]
        if seq == self.refused.load(Ordering::Relaxed) {
            return Err(self.layout.fault(std::io::Error::other("the disk refuses")));
        }
        let found = self.tree()?.get(seq);
        let is_whole = match &found {
            Ok(Some(bytes)) => frame::parse(bytes).is_some_and(|(frame, _)| frame.seq == seq && frame.id == id),
            Ok(None) => {
                // Removed between two questions, unless the books still have it.
                if self.books().ids.get(id) != Some(seq) {
                    return Ok(None);
                }
                false
            }
            Err(_) => false,
        };
        match found {
            Ok(Some(bytes)) if is_whole => Ok(bytes.get(HEADER_BYTES..).map(<[u8]>::to_vec)),
            Err(TreeError::Refused(error)) => {
                self.damaged_reads.fetch_add(1, Ordering::Relaxed);
                Err(self.layout.fault(std::io::Error::other(error)))
            }
            _ => {
                self.damaged_reads.fetch_add(1, Ordering::Relaxed);
                Err(StoreError::Damaged(id))
            }
        }
    }

    /// What is known without the database.
    pub(super) fn books(&self) -> std::sync::RwLockReadGuard<'_, Books> {
        self.books.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn books_mut(&self) -> std::sync::RwLockWriteGuard<'_, Books> {
        self.books.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// Looks how much space the files take. What cannot be listed now keeps its last figure.
    pub(super) fn measure_disk(&self) {
        if let Ok(bytes) = folder_bytes(&self.layout.store) {
            self.disk_bytes.store(bytes, Ordering::Relaxed);
        }
    }

    fn note_failure(&self, error: &str) {
        self.failures.fetch_add(1, Ordering::Relaxed);
        let mut health = self.health.lock().unwrap_or_else(PoisonError::into_inner);
        let since = match &*health {
            Health::Healthy => {
                log::error!("the archive cannot write, games wait: {error}");
                SystemTime::now()
            }
            Health::Failing { since, .. } => *since,
        };
        *health = Health::Failing { since, error: error.to_owned() };
    }

    fn note_success(&self) {
        let mut health = self.health.lock().unwrap_or_else(PoisonError::into_inner);
        if let Health::Failing { since, .. } = *health {
            let seconds = since.elapsed().unwrap_or_default().as_secs();
            log::info!("the archive writes again after {seconds} s");
            *health = Health::Healthy;
        }
    }
}

/// Bytes of all files of a folder.
pub(super) fn folder_bytes(folder: &std::path::Path) -> std::io::Result<u64> {
    let mut bytes = 0;
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        // What is gone again, or has another name by now, does not count.
        let Ok(kind) = entry.file_type() else { continue };
        bytes += if kind.is_dir() {
            folder_bytes(&entry.path()).unwrap_or_default()
        } else {
            entry.metadata().map_or(0, |metadata| metadata.len())
        };
    }
    Ok(bytes)
}

/// The writer's own state.
#[derive(Debug)]
pub(super) struct Writer {
    shared: Arc<Shared>,
    high_water: Option<DurableNumber>,
    /// Ids above this one are new for certain, and need not be looked up.
    newest: Option<GameId>,
    checkpoint: Checkpoint,
    unchecked: Unchecked,
    disk_due: Instant,
    /// The database failed and must be opened again before it is used.
    is_broken: bool,
}

/// Records on disk that no checkpoint has found yet.
#[derive(Default)]
struct Unchecked {
    frames: BTreeMap<u64, Vec<u8>>,
    bytes: usize,
    waiting: Vec<Checkpointed>,
    since: Option<Instant>,
}

impl std::fmt::Debug for Unchecked {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Unchecked").field("frames", &self.frames.len()).finish_non_exhaustive()
    }
}

/// A group on its way to the disk.
struct Group {
    members: Vec<Member>,
    last: u64,
    began: Instant,
}

struct Member {
    id: GameId,
    seq: u64,
    frame: Vec<u8>,
    answer: Answer,
    checkpointed: Option<Checkpointed>,
}

/// However the writer ends, those who wait for it hear of it.
impl Drop for Writer {
    fn drop(&mut self) {
        self.shared.closed.store(true, Ordering::Release);
        let mut state = self.shared.inbox.lock();
        state.refusing = true;
        state.closing.get_or_insert_with(Instant::now);
        state.ended = true;
        let (items, removals) = (std::mem::take(&mut state.items), std::mem::take(&mut state.removals));
        drop(state);
        drop(removals);
        for (_, item) in items {
            (item.answer)(Err(WriteError::Closed));
        }
        self.shared.inbox.progress.notify_all();
    }
}

enum Work {
    Group(Vec<Item>),
    Remove(Removal),
    Checkpoint,
    Reopen,
    MeasureDisk,
    Finish,
}

impl Writer {
    pub(super) fn new(shared: Arc<Shared>, high_water: DurableNumber, newest: Option<GameId>) -> Self {
        Self {
            shared,
            high_water: Some(high_water),
            newest,
            checkpoint: Checkpoint::default(),
            unchecked: Unchecked::default(),
            disk_due: Instant::now() + DISK_INTERVAL,
            is_broken: false,
        }
    }

    /// Works until the store is closed.
    pub(super) fn run(mut self) {
        loop {
            match self.next_work() {
                Work::Group(items) => {
                    let count = items.len();
                    self.store(items);
                    self.shared.inbox.answered(count);
                    // Where groups follow each other without a pause.
                    if Instant::now() >= self.disk_due {
                        self.measure_disk();
                    }
                }
                Work::Remove(removal) => self.remove(&removal),
                Work::Checkpoint => self.check(),
                Work::Reopen => {
                    if let Err(error) = self.reopen() {
                        self.shared.note_failure(&error.to_string());
                        self.wait_for_retry(RETRY_LONGEST);
                    }
                }
                Work::MeasureDisk => self.measure_disk(),
                Work::Finish => break,
            }
        }
        self.finish();
    }

    fn next_work(&self) -> Work {
        let inbox = &self.shared.inbox;
        let mut state = inbox.lock();
        loop {
            let now = Instant::now();
            if let Some(removal) = state.removals.pop_front() {
                return Work::Remove(removal);
            }
            let is_much = self.unchecked.bytes >= UNCHECKED_BYTES && !self.is_broken;
            let checkpoint_wait = if is_much { Duration::ZERO } else { CHECKPOINT_INTERVAL };
            let checkpoint_due = self.unchecked.since.map(|since| since + checkpoint_wait);
            if checkpoint_due.is_some_and(|due| due <= now) {
                return Work::Checkpoint;
            }
            let group_due = state.due(&inbox.bounds);
            if group_due.is_some_and(|due| due <= now) {
                return Work::Group(state.group(&inbox.bounds));
            }
            if state.closing.is_some() {
                return Work::Finish;
            }
            if self.is_broken {
                return Work::Reopen;
            }
            if self.disk_due <= now {
                return Work::MeasureDisk;
            }
            let idle = now + IDLE_INTERVAL;
            let until = [group_due, checkpoint_due, Some(self.disk_due)].into_iter().flatten().fold(idle, Instant::min);
            state = inbox.wake.wait_timeout(state, until - now).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Brings items to disk and answers them. Returns when that is done, or the store closes and the disk still refuses.
    fn store(&mut self, items: Vec<Item>) {
        let Some(mut group) = self.form_group(items) else { return };
        let mut pause = RETRY_FIRST;
        while let Err(error) = self.persist(&mut group) {
            self.is_broken = true;
            self.shared.note_failure(&error.to_string());
            if !self.wait_for_retry(pause) {
                return group.members.into_iter().for_each(|member| (member.answer)(Err(WriteError::Closed)));
            }
            pause = (pause * 2).min(RETRY_LONGEST);
        }
        self.shared.groups.fetch_add(1, Ordering::Relaxed);
        self.shared.note_success();
        self.publish(group);
    }

    /// Encodes, numbers and frames what is new; the rest is answered right away.
    fn form_group(&mut self, items: Vec<Item>) -> Option<Group> {
        let began = Instant::now();
        let mut last = self.shared.books().last;
        let mut members: Vec<Member> = Vec::with_capacity(items.len());
        for Item { payload, answer, checkpointed } in items {
            let (id, record) = match payload {
                Payload::Record(id, record) => (id, record),
                Payload::Game(game) => match codec::encode(&game) {
                    Ok(record) if record.len() <= MAX_RECORD_BYTES => (game.game_id, record),
                    Ok(_) => {
                        answer(Err(WriteError::NoGame("it is larger than any game".to_owned())));
                        continue;
                    }
                    Err(error) => {
                        answer(Err(WriteError::NoGame(error.to_string())));
                        continue;
                    }
                },
            };
            // Nearly all ids are above all others. Only for the rest must the database and this very group be asked.
            if self.newest.is_some_and(|newest| id <= newest) {
                let twin = members.iter().find(|member| member.id == id);
                let twin = twin.map(|member| member.frame.get(HEADER_BYTES..).unwrap_or_default().to_vec());
                if let Some(stored) = twin.or_else(|| self.stored_before(id)) {
                    if stored == record {
                        answer(Ok(Stored::Before));
                        self.unchecked.waiting.extend(checkpointed);
                        self.unchecked.since.get_or_insert(began);
                    } else {
                        answer(Err(WriteError::Conflict(id)));
                    }
                    continue;
                }
            }
            self.newest = self.newest.max(Some(id));
            last += 1;
            members.push(Member { id, seq: last, frame: frame::encode(last, id, &record), answer, checkpointed });
        }
        (!members.is_empty()).then_some(Group { members, last, began })
    }

    /// The record stored under an id. One that is damaged does not count: storing it again heals it.
    fn stored_before(&mut self, id: GameId) -> Option<Vec<u8>> {
        let seq = self.shared.books().ids.get(id)?;
        let mut pause = RETRY_FIRST;
        loop {
            match self.shared.read(seq, id) {
                Ok(found) => return found,
                Err(StoreError::Failed(_)) => {
                    // It can only be told when the database is back.
                    if let Err(error) = self.reopen() {
                        self.shared.note_failure(&error.to_string());
                        if !self.wait_for_retry(pause) {
                            return None;
                        }
                        pause = (pause * 2).min(RETRY_LONGEST);
                    }
                }
                Err(_damaged) => return None,
            }
        }
    }

    /// Makes a group durable. May be called again after a failure.
    fn persist(&mut self, group: &mut Group) -> Result<(), StoreError> {
        if self.is_broken {
            self.reopen()?;
            self.renumber(group);
        }
        let failed = |error: TreeError| StoreError::Failed(error.to_string());
        let tree = self.shared.tree()?;
        tree.insert(group.members.iter().map(|member| (member.seq, &member.frame[..]))).map_err(failed)?;
        tree.flush().map_err(failed)?;
        let Some(high_water) = &mut self.high_water else { return Err(StoreError::Closed) };
        high_water.write(group.last).map_err(|source| self.shared.layout.fault(source))
    }

    /// Gives a group that failed numbers that fit what was found since: what of it had reached the disk keeps its number.
    fn renumber(&self, group: &mut Group) {
        let books = self.shared.books();
        group.last = books.last;
        for member in &mut group.members {
            member.seq = books.ids.get(member.id).unwrap_or_else(|| {
                group.last += 1;
                group.last
            });
            let record = member.frame.get(HEADER_BYTES..).unwrap_or_default();
            member.frame = frame::encode(member.seq, member.id, record);
        }
    }

    /// Makes a group readable and acknowledges it.
    fn publish(&mut self, group: Group) {
        let took = group.began.elapsed();
        let mut books = self.shared.books_mut();
        books.last = books.last.max(group.last);
        let mut healed = Vec::new();
        for member in &group.members {
            healed.extend(books.ids.insert(member.id, member.seq).filter(|before| *before != member.seq));
            books.record_bytes += (member.frame.len() - HEADER_BYTES) as u64;
        }
        drop(books);
        self.forget_damaged(&healed);
        self.unchecked.since.get_or_insert_with(Instant::now);
        for Member { seq, frame, answer, checkpointed, .. } in group.members {
            self.shared.observer.stored(frame.get(HEADER_BYTES..).unwrap_or_default(), took);
            self.unchecked.bytes += frame.len();
            self.unchecked.frames.insert(seq, frame);
            answer(Ok(Stored::Now));
            self.unchecked.waiting.extend(checkpointed);
        }
        self.shared.unchecked.store(self.unchecked.frames.len() as u64, Ordering::Relaxed);
    }

    /// Damaged records whose games were stored again need not be missed any longer.
    fn forget_damaged(&mut self, seqs: &[u64]) {
        if seqs.is_empty() {
            return;
        }
        let mut books = self.shared.books_mut();
        seqs.iter().for_each(|seq| books.gone.lost.insert(*seq));
        let written = books.gone.write(&self.shared.layout.numbers);
        drop(books);
        if let Err(error) = written {
            log::warn!("the archive's numbers could not be written: {error}");
        }
    }

    /// Looks for what was stored in the database's raw file. What is not there is stored once more.
    fn check(&mut self) {
        let mut wanted: BTreeMap<u64, u32> = BTreeMap::new();
        for (seq, bytes) in &self.unchecked.frames {
            wanted.extend(frame::parse(bytes).map(|(frame, _)| (*seq, frame.crc)));
        }
        let gone = &self.shared.books().gone;
        wanted.retain(|seq, _| !gone.contains(*seq));
        let found = self.raw_files().and_then(|files| self.checkpoint.find(&files, &mut wanted));
        if let Err(error) = found {
            self.shared.note_failure(&format!("a checkpoint failed: {error}"));
            self.is_broken = true;
            self.unchecked.since = Some(Instant::now());
            return;
        }
        if !wanted.is_empty() {
            log::error!("{} games are not where the database stored them; they are stored again", wanted.len());
            self.is_broken = true;
            self.unchecked.since = Some(Instant::now());
            return;
        }
        self.shared.note_success();
        let Unchecked { waiting, .. } = std::mem::take(&mut self.unchecked);
        self.shared.unchecked.store(0, Ordering::Relaxed);
        waiting.into_iter().for_each(|checkpointed| checkpointed());
    }

    fn raw_files(&self) -> std::io::Result<Vec<PathBuf>> {
        Tree::raw_files(&self.shared.layout.records)
    }

    /// Closes the database and opens it as after a crash, once the disk takes writes. Until then readers have the one that
    /// failed, which still knows what it knew.
    fn reopen(&mut self) -> Result<(), StoreError> {
        let shared = Arc::clone(&self.shared);
        let layout = &shared.layout;
        probe(layout).map_err(|source| layout.fault(source))?;
        // One that has failed need not close well. What counts is what its files hold.
        if let Some(tree) = shared.take_tree()?
            && let Err(error) = tree.close()
        {
            log::warn!("the archive's database that failed does not close: {error}");
        }
        self.high_water = None;
        let Opened { tree, high_water, mut books, report } =
            recover::open(layout, shared.cache_bytes, When::Again, &mut ())?;
        if report.is_damaged() {
            log::error!("after a failure: {report}");
        } else {
            log::info!("after a failure: {report}");
        }
        // What was acknowledged and is not there is stored again, from memory.
        let mut lost = Vec::new();
        for (seq, bytes) in &self.unchecked.frames {
            let Some((frame, _)) = frame::parse(bytes) else { continue };
            if !books.gone.removed.contains(*seq) && books.ids.get(frame.id).is_none() {
                books.ids.insert(frame.id, *seq);
                books.record_bytes += frame.record.len() as u64;
                lost.push((*seq, &bytes[..]));
            }
        }
        let failed = |error: TreeError| StoreError::Failed(error.to_string());
        if !lost.is_empty() {
            lost.iter().for_each(|(seq, _)| books.gone.lost.remove(*seq));
            books.gone.write(&layout.numbers).map_err(|source| layout.fault(source))?;
            tree.insert(lost).map_err(failed)?;
            tree.flush().map_err(failed)?;
        }
        // A group that failed has its numbers; none of them is given to another.
        books.last = books.last.max(shared.books().last);
        *shared.books_mut() = books;
        *shared.tree.write().unwrap_or_else(PoisonError::into_inner) = Some(Arc::new(tree));
        self.high_water = Some(high_water);
        self.checkpoint = Checkpoint::default();
        self.is_broken = false;
        shared.note_success();
        Ok(())
    }

    /// Waits before the next attempt. Returns whether to try again.
    fn wait_for_retry(&mut self, pause: Duration) -> bool {
        let retry_at = Instant::now() + pause;
        let shared = Arc::clone(&self.shared);
        let mut state = shared.inbox.lock();
        loop {
            for removal in std::mem::take(&mut state.removals) {
                // Whoever asked may have left.
                let _gone = removal.answer.try_send(Err(StoreError::Failed("games wait for the disk".to_owned())));
            }
            let now = Instant::now();
            if state.closing.is_some_and(|deadline| now >= deadline) {
                return false;
            }
            if now >= retry_at {
                return true;
            }
            let until = state.closing.map_or(retry_at, |deadline| deadline.min(retry_at));
            state = shared.inbox.wake.wait_timeout(state, until - now).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    fn measure_disk(&mut self) {
        self.shared.measure_disk();
        self.disk_due = Instant::now() + DISK_INTERVAL;
    }

    fn remove(&mut self, removal: &Removal) {
        let answer = self.remove_games(&removal.ids);
        // Whoever asked may have left.
        let _gone = removal.answer.try_send(answer);
        if let Err(error) = self.rebuild() {
            log::warn!("the space of removed games could not be given back: {error}");
        }
    }

    fn remove_games(&mut self, ids: &[GameId]) -> Result<u64, StoreError> {
        if self.is_broken {
            self.reopen()?;
        }
        let tree = self.shared.tree()?;
        let mut ids = ids.to_vec();
        ids.sort_unstable();
        ids.dedup();
        let books = self.shared.books();
        let mut gone = books.gone.clone();
        let mut seqs = Vec::new();
        ids.retain(|id| match books.ids.get(*id) {
            Some(seq) => {
                seqs.push(seq);
                gone.removed.insert(seq);
                true
            }
            None => false,
        });
        drop(books);
        if ids.is_empty() {
            return Ok(0);
        }
        let mut bytes = 0;
        for seq in &seqs {
            if let Ok(Some(frame)) = tree.get(*seq) {
                bytes += frame.len().saturating_sub(HEADER_BYTES) as u64;
            }
        }
        // What this says is so from then on, whatever the database still has.
        gone.write(&self.shared.layout.numbers).map_err(|source| self.shared.layout.fault(source))?;
        let mut books = self.shared.books_mut();
        books.ids.remove(&ids);
        books.gone = gone;
        books.record_bytes = books.record_bytes.saturating_sub(bytes);
        drop(books);
        if let Err(error) = tree.remove(seqs).and_then(|()| tree.flush()) {
            log::warn!("removed games are still in the archive's files: {error}");
            self.is_broken = true;
        }
        Ok(ids.len() as u64)
    }

    /// Builds the database anew if most of its bytes are dead, and gives their space back.
    fn rebuild(&mut self) -> Result<(), StoreError> {
        let shared = Arc::clone(&self.shared);
        let layout = &shared.layout;
        let bytes = folder_bytes(&layout.records).map_err(|source| layout.fault(source))?;
        if self.is_broken || bytes < REBUILD_BYTES || bytes / REBUILD_FACTOR < shared.books().frame_bytes() {
            return Ok(());
        }
        let tree = shared.tree()?;
        recover::rebuild(layout, shared.cache_bytes, &tree).map_err(|error| StoreError::Failed(error.to_string()))?;
        drop(tree);
        // From here on the next opening, in a moment or after a crash, finds one of the two in its place.
        let failed = |error: TreeError| StoreError::Failed(error.to_string());
        self.is_broken = true;
        if let Some(tree) = shared.take_tree()? {
            tree.close().map_err(failed)?;
        }
        recover::put_in_place(layout).map_err(|source| layout.fault(source))?;
        let tree = Tree::open(&layout.records, shared.cache_bytes).map_err(failed)?;
        *shared.tree.write().unwrap_or_else(PoisonError::into_inner) = Some(Arc::new(tree));
        self.checkpoint = Checkpoint::default();
        self.is_broken = false;
        self.measure_disk();
        Ok(())
    }

    /// Closes everything in order, if that can be done.
    fn finish(mut self) {
        if self.unchecked.since.is_some() {
            self.check();
        }
        let tree = self.shared.take_tree();
        self.shared.closed.store(true, Ordering::Release);
        let (Ok(Some(tree)), Some(high_water), false) = (tree, self.high_water.take(), self.is_broken) else { return };
        let records = self.shared.books().ids.len() as u64;
        let closed = tree.close().map_err(|error| error.to_string());
        let sealed = closed
            .and_then(|()| recover::seal(&self.shared.layout, high_water, records).map_err(|error| error.to_string()));
        if let Err(error) = sealed {
            log::warn!("the archive was not closed in order; the next start searches its files: {error}");
        }
    }
}

/// Writes and syncs a file, so that a database is not closed for nothing.
fn probe(layout: &Layout) -> std::io::Result<()> {
    let path = layout.store.join("probe");
    let written = fs::File::create(&path).and_then(|mut file| {
        file.write_all(&vec![0; PROBE_BYTES])?;
        file.sync_data()
    });
    let removed = fs::remove_file(&path);
    written.and(removed)
}
