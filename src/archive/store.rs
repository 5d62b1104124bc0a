//! The archive's store, as its users see it: records under their ids. It knows nothing of games.

use std::num::NonZeroUsize;
use std::ops::{Bound, RangeBounds};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock, mpsc};
use std::time::Duration;

use tokio::sync::oneshot;

use super::frame::{self, MAX_RECORD_BYTES};
use super::recover::{self, Layout, Loader, Opened, When};
use super::report::{Health, OpenReport, StoreError, StoreStatus};
use super::writer::{
    AppendError, Bounds, Inbox, Item, NotTaken, Observer, Payload, Receipt, Removal, Shared, Writer, folder_bytes,
};
use super::{GameId, GameRecord};
use crate::disk::{FolderLock, LockError};

/// Completed games under their ids. Any thread may use it; one thread of its own writes.
///
/// ```
/// use liap::archive::{GameIds, Store, StoreOptions};
///
/// let folder = tempfile::tempdir()?;
/// let (store, report) = Store::open(&folder.path().join("archive"), StoreOptions::default())?;
/// assert!(!report.is_damaged());
///
/// let id = GameIds::default().next(1_700_000_000_000, [7; 10]);
/// store.append(id, b"what happened".to_vec())?.wait()?; // it is on disk now
/// assert_eq!(store.get(id)?.as_deref(), Some(&b"what happened"[..]));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Store {
    shared: Arc<Shared>,
    lock: FolderLock,
}

/// What may be set about a store.
#[derive(Clone, Copy, Debug)]
pub struct StoreOptions {
    /// Memory for records that were read or written last, in bytes as they lie on disk. The database needs a few times that.
    pub cache_bytes: u64,
    /// Records that may wait for the disk; beyond, [`Store::append`] gives them back.
    pub queue_records: NonZeroUsize,
    /// Bytes of records that may wait for the disk.
    pub queue_bytes: NonZeroUsize,
    /// Records written and synced together at most.
    pub group_records: NonZeroUsize,
    /// How long a record waits for its group to fill.
    pub interval: Duration,
}

impl Default for StoreOptions {
    fn default() -> Self {
        let size = |number| NonZeroUsize::new(number).unwrap_or(NonZeroUsize::MIN);
        Self {
            cache_bytes: 32 << 20,
            queue_records: size(8192),
            queue_bytes: size(64 << 20),
            group_records: size(1000),
            interval: Duration::ZERO,
        }
    }
}

/// Some games, newest first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Page {
    /// The ids and their records.
    pub games: Vec<(GameId, Vec<u8>)>,
    /// Games of the range whose records are damaged.
    pub damaged: Vec<GameId>,
}

/// What a scan saw.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ScanReport {
    /// Records visited.
    pub records: u64,
    /// Records that are there but damaged.
    pub damaged: u64,
}

/// A record in the order of storing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Numbered {
    /// Its sequence number.
    pub seq: u64,
    /// What there is of it.
    pub record: Kept,
}

/// What there is of a record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kept {
    /// All.
    Whole(GameId, Vec<u8>),
    /// Its bytes have changed, and with them perhaps its name.
    Damaged,
    /// The disk does not give it, and says why.
    Unreadable(GameId, String),
}

/// What becomes of records that the disk does not give.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unreadable {
    /// They are an error: another attempt may read them.
    Fails,
    /// They are named.
    Named,
}

impl Store {
    /// Opens the store in the folder `path`, or begins one.
    ///
    /// All records are read and checked. Damage does not stop the opening: the report tells of it, and should be told loudly.
    ///
    /// # Errors
    /// [`StoreError::Locked`], [`StoreError::Later`], or that the disk refuses.
    pub fn open(path: &Path, options: StoreOptions) -> Result<(Self, OpenReport), StoreError> {
        Self::open_with(path, options, Arc::new(()), &mut ())
    }

    /// [`Store::open`], showing every record to a loader, and every later one to an observer.
    pub(super) fn open_with(
        path: &Path,
        options: StoreOptions,
        observer: Arc<dyn Observer>,
        loader: &mut dyn Loader,
    ) -> Result<(Self, OpenReport), StoreError> {
        // An absolute path, so that a later change of the working directory changes nothing, and a name to set damage aside under.
        let fault = |source| StoreError::Io { path: path.to_owned(), source };
        std::fs::create_dir_all(path).map_err(fault)?;
        let path = &path.canonicalize().map_err(fault)?;
        let lock = FolderLock::take(path).map_err(|error| match error {
            LockError::Held(holder) => StoreError::Locked { path: path.clone(), holder },
            LockError::Io(source) => StoreError::Io { path: path.join("lock"), source },
        })?;
        let layout = Layout::of(path);
        let Opened { tree, high_water, books, report } =
            recover::open(&layout, options.cache_bytes, When::Start, loader)?;
        let newest = books.ids.newest((Bound::Unbounded, Bound::Unbounded), 1).first().copied();
        let bounds = Bounds {
            queue_records: options.queue_records.get(),
            queue_bytes: options.queue_bytes.get(),
            group_records: options.group_records.get(),
            interval: options.interval,
        };
        let shared = Arc::new(Shared {
            layout,
            cache_bytes: options.cache_bytes,
            tree: RwLock::new(Some(Arc::new(tree))),
            books: RwLock::new(books),
            inbox: Inbox::new(bounds),
            observer,
            health: Mutex::new(Health::Healthy),
            damaged_reads: AtomicU64::new(0),
            unchecked: AtomicU64::new(0),
            groups: AtomicU64::new(0),
            failures: AtomicU64::new(0),
            disk_bytes: AtomicU64::new(0),
            closed: AtomicBool::new(false),
            #[cfg(test)]
            refused: AtomicU64::new(0),
        });
        shared.measure_disk();
        let writer = Writer::new(Arc::clone(&shared), high_water, newest);
        std::thread::Builder::new().name("archive-writer".to_owned()).spawn(|| writer.run()).map_err(fault)?;
        Ok((Self { shared, lock }, report))
    }

    /// Hands a record over, without waiting for anything. It is stored when the receipt says so.
    ///
    /// Handing the same record over again, say after a crash, is answered with [`Stored::Before`](super::Stored::Before).
    ///
    /// # Errors
    /// The record was not taken and comes back: see [`AppendError`].
    pub fn append(&self, id: GameId, record: Vec<u8>) -> Result<Receipt, AppendError> {
        if record.len() > MAX_RECORD_BYTES {
            return Err(AppendError::TooLarge(record));
        }
        let (answer, promise) = oneshot::channel();
        let item = Item {
            payload: Payload::Record(id, record),
            // Whoever dropped the receipt does not want to know.
            answer: Box::new(move |stored| drop(answer.send(stored))),
            checkpointed: None,
        };
        let record = |item: Item| match item.payload {
            Payload::Record(_, record) => record,
            Payload::Game(_) => Vec::new(),
        };
        match self.shared.inbox.put(item) {
            Ok(()) => Ok(Receipt(promise)),
            Err(NotTaken::Full(item)) => Err(AppendError::Full(record(item))),
            Err(NotTaken::Closed(item)) => Err(AppendError::Closed(record(item))),
        }
    }

    /// Hands a game over, without waiting for anything.
    pub(super) fn submit(&self, item: Item) -> Result<(), Box<GameRecord>> {
        Self::given_back(self.shared.inbox.put(item))
    }

    /// Hands a game over, and waits while the queue is full.
    pub(super) fn submit_waiting(&self, item: Item) -> Result<(), Box<GameRecord>> {
        Self::given_back(self.shared.inbox.put_waiting(item))
    }

    fn given_back(taken: Result<(), NotTaken>) -> Result<(), Box<GameRecord>> {
        match taken {
            Err(
                NotTaken::Full(Item { payload: Payload::Game(game), .. })
                | NotTaken::Closed(Item { payload: Payload::Game(game), .. }),
            ) => Err(game),
            _ => Ok(()),
        }
    }

    /// The record of a game, or `None` if there is no such game.
    ///
    /// # Errors
    /// [`StoreError::Damaged`] if the record is there but not whole; or the disk refuses.
    pub fn get(&self, id: GameId) -> Result<Option<Vec<u8>>, StoreError> {
        self.check_open()?;
        match self.number(id) {
            Some(seq) => self.shared.read(seq, id),
            None => Ok(None),
        }
    }

    /// Whether there is such a game.
    #[must_use]
    pub fn contains(&self, id: GameId) -> bool {
        self.number(id).is_some()
    }

    /// Up to `limit` games of a range of ids, newest first.
    ///
    /// # Errors
    /// As for [`Store::get`]; damaged records do not end the page but are named in it.
    pub fn newest(&self, range: impl RangeBounds<GameId>, limit: usize) -> Result<Page, StoreError> {
        let mut page = Page::default();
        for id in self.newest_ids(range, limit)? {
            match self.get(id) {
                Ok(Some(record)) => page.games.push((id, record)),
                // Removed a moment ago.
                Ok(None) => {}
                Err(StoreError::Damaged(id)) => page.damaged.push(id),
                Err(error) => return Err(error),
            }
        }
        Ok(page)
    }

    /// The ids of [`Store::newest`] without the records.
    ///
    /// # Errors
    /// The store is closed.
    pub fn newest_ids(&self, range: impl RangeBounds<GameId>, limit: usize) -> Result<Vec<GameId>, StoreError> {
        self.check_open()?;
        let range = (range.start_bound().cloned(), range.end_bound().cloned());
        Ok(self.shared.books().ids.newest(range, limit))
    }

    /// Visits every record, in the order of storing, which is nearly that of the ids.
    ///
    /// Records stored or removed meanwhile may be visited or not.
    ///
    /// # Errors
    /// The database is closed. Records that cannot be read are counted.
    pub fn scan(&self, mut visitor: impl FnMut(GameId, &[u8])) -> Result<ScanReport, StoreError> {
        let mut report = ScanReport::default();
        let mut after = 0;
        loop {
            let found = self.after(after, 1000, 8 << 20, Unreadable::Named)?;
            let Some(last) = found.last() else { break };
            after = last.seq;
            for Numbered { record, .. } in found {
                match record {
                    Kept::Whole(id, record) => {
                        report.records += 1;
                        visitor(id, &record);
                    }
                    Kept::Damaged | Kept::Unreadable(..) => report.damaged += 1,
                }
            }
        }
        Ok(report)
    }

    /// The records above a sequence number, in the order of storing, at most `limit` of them and as many bytes as fit; at
    /// least one, if there is any.
    ///
    /// # Errors
    /// The store is closed, or the disk refuses.
    pub fn after(
        &self,
        seq: u64,
        limit: usize,
        max_bytes: usize,
        unreadable: Unreadable,
    ) -> Result<Vec<Numbered>, StoreError> {
        let seqs = {
            let books = self.shared.books();
            let mut accounted = books.gone.removed.clone();
            accounted.extend(&books.gone.lost);
            let mut seqs = Vec::new();
            for (first, last) in accounted.gaps(books.last) {
                if last > seq {
                    seqs.extend((first.max(seq + 1)..=last).take(limit - seqs.len()));
                }
                if seqs.len() == limit {
                    break;
                }
            }
            seqs
        };
        let mut found: Vec<Numbered> = Vec::new();
        let mut bytes = 0;
        for seq in seqs {
            // Without a record, it was removed a moment ago.
            let Some(record) = self.numbered(seq, unreadable)? else { continue };
            bytes += if let Kept::Whole(_, record) = &record { record.len() } else { 0 };
            if bytes > max_bytes && !found.is_empty() {
                break;
            }
            found.push(Numbered { seq, record });
        }
        Ok(found)
    }

    fn numbered(&self, seq: u64, unreadable: Unreadable) -> Result<Option<Kept>, StoreError> {
        let shared = &self.shared;
        let found = shared.tree()?.get(seq).unwrap_or_default();
        let whole = found.and_then(|bytes| {
            let (frame, _) = frame::parse(&bytes).filter(|(frame, _)| frame.seq == seq)?;
            Some((frame.id, frame.record.to_vec()))
        });
        #[cfg(test)]
        let whole = whole.filter(|_| seq != shared.refused.load(Ordering::Relaxed));
        if let Some((id, record)) = whole {
            return Ok(Some(Kept::Whole(id, record)));
        }
        if shared.books().gone.contains(seq) {
            return Ok(None);
        }
        // All names are looked at, which is why it is done last.
        let name = shared.books().ids.name(seq);
        let Some(name) = name else { return Ok(Some(Kept::Damaged)) };
        match shared.read(seq, name) {
            Ok(record) => Ok(record.map(|record| Kept::Whole(name, record))),
            Err(StoreError::Damaged(_)) => Ok(Some(Kept::Damaged)),
            Err(error @ StoreError::Io { .. }) if unreadable == Unreadable::Named => {
                Ok(Some(Kept::Unreadable(name, error.to_string())))
            }
            Err(error) => Err(error),
        }
    }

    /// How many records there are above a sequence number.
    #[must_use]
    pub fn count_after(&self, seq: u64) -> u64 {
        self.shared.books().count_above(seq)
    }

    /// The last sequence number that any record has, or had.
    #[must_use]
    pub fn last_number(&self) -> u64 {
        self.shared.books().last
    }

    /// The sequence number of a game.
    #[must_use]
    pub fn number(&self, id: GameId) -> Option<u64> {
        self.shared.books().ids.get(id)
    }

    /// Has the disk refuse a record; 0 is none.
    #[cfg(test)]
    pub(super) fn refuse_to_read(&self, number: u64) {
        self.shared.refused.store(number, Ordering::Relaxed);
    }

    /// The store's folder.
    pub(super) fn folder(&self) -> &Path {
        &self.shared.layout.store
    }

    /// Removes games for good and returns how many there were. Waits until the disk has it; a stale copy of none comes back.
    ///
    /// # Errors
    /// None was removed. Removing again may do it.
    pub fn remove(&self, ids: &[GameId]) -> Result<u64, StoreError> {
        let (answer, done) = mpsc::sync_channel(1);
        self.shared.inbox.put_removal(Removal { ids: ids.to_vec(), answer })?;
        done.recv().unwrap_or(Err(StoreError::Closed))
    }

    /// Games stored.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.shared.books().ids.len() as u64
    }

    /// How the store is doing; cheap enough for every scrape.
    #[must_use]
    pub fn status(&self) -> StoreStatus {
        let (records, record_bytes) = {
            let books = self.shared.books();
            (books.ids.len() as u64, books.record_bytes)
        };
        let (waiting_records, waiting_bytes) = self.shared.inbox.waiting();
        let load = |figure: &AtomicU64| figure.load(Ordering::Relaxed);
        StoreStatus {
            health: self.shared.health.lock().unwrap_or_else(PoisonError::into_inner).clone(),
            records,
            record_bytes,
            waiting_records,
            waiting_bytes: waiting_bytes as u64,
            unchecked_records: load(&self.shared.unchecked),
            damaged_reads: load(&self.shared.damaged_reads),
            groups: load(&self.shared.groups),
            failures: load(&self.shared.failures),
            disk_bytes: load(&self.shared.disk_bytes),
        }
    }

    /// Bytes of all files of the store.
    ///
    /// # Errors
    /// The folder cannot be listed.
    pub fn disk_bytes(&self) -> Result<u64, StoreError> {
        folder_bytes(self.folder()).map_err(|source| self.shared.layout.fault(source))
    }

    /// Lets nothing wait for its group, and waits until everything taken so far is on disk. Returns whether it is.
    pub fn flush(&self, timeout: Duration) -> bool {
        self.shared.inbox.flush(timeout)
    }

    /// Takes nothing more, and flushes. Records can still be read.
    pub(super) fn refuse_more(&self, timeout: Duration) -> bool {
        self.shared.inbox.refuse_more();
        self.flush(timeout)
    }

    /// Whether something waits and nothing has reached the disk for so long.
    pub(super) fn is_behind(&self, limit: Duration) -> bool {
        self.shared.inbox.is_behind(limit)
    }

    /// Closes the store: nothing more is taken; what waits is written, for as long as `timeout` allows. Returns whether the
    /// writer has ended.
    ///
    /// Dropping the store closes it too, within five seconds.
    pub fn close(&self, timeout: Duration) -> bool {
        self.shared.inbox.close(timeout)
    }

    fn check_open(&self) -> Result<(), StoreError> {
        if self.shared.closed.load(Ordering::Acquire) { Err(StoreError::Closed) } else { Ok(()) }
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        // Should the disk hang, the records are as safe as in a crash, and the lock stays with the writer.
        if self.close(Duration::from_secs(5))
            && let Err(error) = self.lock.release()
        {
            log::warn!("the archive's lock could not be given back: {error}");
        }
    }
}
