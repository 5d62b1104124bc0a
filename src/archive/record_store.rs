//! The archive's store, as its users see it: records under their ids. It knows nothing of games.

use std::num::NonZeroUsize;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::Duration;

use super::frame;
use super::layout::Layout;
use super::queue::{IfFull, Item, Payload, Receipt, Removal};
use super::report::{OpenReport, StoreError, StoreStatus};
use super::shared::{Observer, Shared};
use super::writer::Writer;
use super::{GameId, GameRecord};
use crate::disk::FolderLock;

/// Completed games under their ids. Any thread may use it; one thread of its own writes.
///
/// ```
/// use liap::archive::{GameIds, IfFull, RecordStore, StoreOptions};
///
/// let folder = tempfile::tempdir()?;
/// let (store, report) = RecordStore::open(&folder.path().join("archive"), StoreOptions::default())?;
/// assert!(!report.is_damaged());
///
/// let id = GameIds::default().next(1_700_000_000_000, [7; 10]);
/// let receipt = store.append(id, b"what happened".to_vec(), IfFull::Waits).expect("there is room for one game");
/// receipt.recv()??; // it is on disk now
/// assert_eq!(store.get(id)?.as_deref(), Some(&b"what happened"[..]));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct RecordStore {
    shared: Arc<Shared>,
}

/// What may be set about a store.
#[derive(Clone, Copy, Debug)]
pub struct StoreOptions {
    /// Memory for records that were read or written last, in bytes as they lie on disk. The database needs a few times that.
    pub cache_bytes: u64,
    /// Records that may wait for the disk; beyond, [`RecordStore::append`] gives them back.
    pub queue_records: NonZeroUsize,
    /// Bytes of records that may wait for the disk.
    pub queue_bytes: NonZeroUsize,
    /// Records written and synced together at most.
    pub group_records: NonZeroUsize,
    /// How long a record waits for its group to fill.
    pub interval: Duration,
    /// A store that cannot be opened for lack of room, or whose database fails, is opened later: it takes records and gives none
    /// until then.
    pub waits_for_disk: bool,
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
            waits_for_disk: false,
        }
    }
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

impl RecordStore {
    /// Opens the store in the folder `path`, or begins one.
    ///
    /// All records are read and checked. Damage does not stop the opening: the report tells of it, and should be told loudly.
    ///
    /// # Errors
    /// [`StoreError::Locked`], [`StoreError::Later`], or that the disk refuses.
    pub fn open(path: &Path, options: StoreOptions) -> Result<(Self, OpenReport), StoreError> {
        let store = Self::open_with(path, options, Arc::new(()))?;
        let report = store.report();
        Ok((store, report))
    }

    /// [`RecordStore::open`], telling an observer of every record.
    pub(super) fn open_with(
        path: &Path,
        options: StoreOptions,
        observer: Arc<dyn Observer>,
    ) -> Result<Self, StoreError> {
        // An absolute path, so that a later change of the working directory changes nothing, and a name to set damage aside under.
        let absolute = path.canonicalize().or_else(|_| std::path::absolute(path));
        let absolute = absolute.map_err(|source| StoreError::Io { path: path.to_owned(), source })?;
        let shared = Arc::new(Shared::new(Layout::of(&absolute), options, observer));
        let mut writer = Writer::new(Arc::clone(&shared));
        match writer.open() {
            Err(error) if options.waits_for_disk && error.is_refusal() => shared.note_failure(&error.to_string()),
            opened => opened?,
        }
        shared.measure_disk();
        let spawned = thread::Builder::new().name("archive-writer".to_owned()).spawn(|| writer.run());
        spawned.map_err(|source| shared.layout.fault(source))?;
        Ok(Self { shared })
    }

    /// Hands a record over, without waiting for the disk. Returns where it is told what became of it; `None` where the queue is
    /// full and stays so, or the store is closed.
    ///
    /// Handing the same record over again, say after a crash, is answered with [`Stored::Before`](super::Stored::Before).
    #[must_use = "a record is only safe when its receipt says so"]
    pub fn append(&self, id: GameId, record: Vec<u8>, if_full: IfFull) -> Option<Receipt> {
        let (answer, receipt) = mpsc::sync_channel(1);
        // Whoever dropped the receipt does not want to know.
        let answer = Box::new(move |stored| drop(answer.send(stored)));
        let item = Item { payload: Payload::Record(id, record), answer, checkpointed: None };
        self.shared.queue.put(item, if_full).ok().map(|()| receipt)
    }

    /// Hands a game over. It comes back where there is no room for it, or the store is closed.
    pub(super) fn submit(&self, item: Item, if_full: IfFull) -> Result<(), Box<GameRecord>> {
        match self.shared.queue.put(item, if_full) {
            Err(Item { payload: Payload::Game(game), .. }) => Err(game),
            _ => Ok(()),
        }
    }

    /// The record of a game, or `None` if there is no such game.
    ///
    /// # Errors
    /// [`StoreError::Damaged`] if the record is there but not whole; or the disk refuses.
    pub fn get(&self, id: GameId) -> Result<Option<Vec<u8>>, StoreError> {
        self.shared.check_open()?;
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

    /// Up to `limit` games before this one, newest first.
    ///
    /// # Errors
    /// The store is not open.
    pub fn newest_ids(&self, before: GameId, limit: usize) -> Result<Vec<GameId>, StoreError> {
        self.shared.check_open()?;
        Ok(self.shared.books().ids.range(..before).rev().take(limit).map(|(id, _)| *id).collect())
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
            let gone = books.gone.all();
            let first = seq.saturating_add(1);
            if first > books.last {
                Vec::new()
            } else {
                gone.gaps(&(first..=books.last)).flatten().take(limit).collect::<Vec<u64>>()
            }
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
        let found = match shared.frame(seq) {
            Err(StoreError::Closed) => return Err(StoreError::Closed),
            found => found.unwrap_or_default(),
        };
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
        let name = shared.books().name(seq);
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
        self.shared.books().ids.get(&id).copied()
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
        self.shared.queue.put_removal(Removal { ids: ids.to_vec(), answer })?;
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
        let (waiting_records, waiting_bytes) = self.shared.queue.waiting();
        let load = |figure: &AtomicU64| figure.load(Ordering::Relaxed);
        StoreStatus {
            health: self.shared.health(),
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

    /// Whether it was opened, and not closed since.
    ///
    /// # Errors
    /// [`StoreError::Failed`] before it was first open, [`StoreError::Closed`] after its end.
    pub fn check_open(&self) -> Result<(), StoreError> {
        self.shared.check_open()
    }

    /// What the last opening found that found anything.
    #[must_use]
    pub fn report(&self) -> OpenReport {
        self.shared.report().clone()
    }

    /// Lets nothing wait for its group, and waits until everything taken so far is on disk. Returns whether it is.
    pub fn flush(&self, timeout: Duration) -> bool {
        self.shared.queue.flush(timeout)
    }

    /// Takes nothing more, and flushes. Records can still be read.
    pub(super) fn refuse_more(&self, timeout: Duration) -> bool {
        self.shared.queue.refuse_more();
        self.flush(timeout)
    }

    /// Whether something waits and nothing has reached the disk for so long.
    pub(super) fn is_behind(&self, limit: Duration) -> bool {
        self.shared.queue.is_behind(limit)
    }

    /// Closes the store: nothing more is taken; what waits is written, for as long as `timeout` allows. Returns whether the
    /// writer has ended.
    ///
    /// Dropping the store closes it too, within five seconds.
    pub fn close(&self, timeout: Duration) -> bool {
        self.shared.queue.close(timeout)
    }
}

impl Drop for RecordStore {
    fn drop(&mut self) {
        // Should the disk hang, the records are as safe as in a crash, and the lock stays with the writer.
        if self.close(Duration::from_secs(5))
            && let Ok(lock) = self.shared.folder_lock.lock()
            && let Some(Err(error)) = lock.as_ref().map(FolderLock::release)
        {
            log::warn!("the archive's lock could not be given back: {error}");
        }
    }
}
