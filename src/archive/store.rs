//! The archive's store, as its users see it.

use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::num::{NonZeroU32, NonZeroUsize};
use std::ops::{Bound, RangeBounds};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::{Duration, Instant, SystemTime};

use super::GameId;
use super::catalog::Catalog;
use super::frame::MAX_RECORD_BYTES;
use super::recover::{self, OpenReport, Recovered};
use super::segment::{ReadFault, Segment};
use super::writer::{AppendError, DISK_LOOK, Inbox, Receipt, Removal, Writer};

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
}

/// What may be set about a store.
#[derive(Clone, Copy, Debug)]
pub struct StoreOptions {
    /// Memory for looking games up by id, in bytes of catalog kept. Sled needs a few times that.
    pub cache_bytes: u64,
    /// Records that may wait for the disk; beyond, [`Store::append`] gives them back.
    pub queue_records: NonZeroUsize,
    /// Bytes of records that may wait for the disk.
    pub queue_bytes: NonZeroUsize,
    /// Records written and synced together at most.
    pub group_records: NonZeroUsize,
    /// Size at which a segment file is full and the next one begun, 128 MiB at most. Removing a game rewrites its segment.
    pub segment_bytes: NonZeroU32,
}

impl Default for StoreOptions {
    fn default() -> Self {
        let size = |number| NonZeroUsize::new(number).unwrap_or(NonZeroUsize::MIN);
        Self {
            cache_bytes: 32 << 20,
            queue_records: size(8192),
            queue_bytes: size(64 << 20),
            group_records: size(1000),
            segment_bytes: NonZeroU32::new(32 << 20).unwrap_or(NonZeroU32::MIN),
        }
    }
}

/// Why the store did not do what it was asked for.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Another process has the store open.
    #[error("the archive {path} is in use by {holder}", path = path.display())]
    Locked {
        /// The store's folder.
        path: PathBuf,
        /// `process 1234`, as far as it left its number.
        holder: String,
    },
    /// A later version of Liap wrote the store; this one leaves it alone.
    #[error("the archive {path} has layout {version}, which is newer than this version of Liap", path = path.display())]
    Later {
        /// The store's folder.
        path: PathBuf,
        /// The layout's version.
        version: u32,
    },
    /// The operating system refused.
    #[error("{path}: {source}", path = path.display())]
    Io {
        /// What it was about.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The game is there, but its bytes have changed on disk. The next opening puts the damaged file aside.
    #[error("the record of game {0} is damaged")]
    Damaged(GameId),
    /// The catalog failed; it is rebuilt within seconds.
    #[error("{0}")]
    Catalog(String),
    /// The store was closed.
    #[error("the archive is closed")]
    Closed,
}

/// Whether records reach the disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Health {
    /// They do.
    Healthy,
    /// They do not: the records wait, and writing is tried again and again.
    Failing {
        /// Since when.
        since: SystemTime,
        /// What the operating system says.
        error: String,
    },
}

/// How a store is doing.
#[derive(Clone, Debug)]
pub struct StoreStatus {
    /// Whether records reach the disk.
    pub health: Health,
    /// Games stored.
    pub records: u64,
    /// Their bytes, without frames and catalog.
    pub record_bytes: u64,
    /// Games taken that are not on disk yet.
    pub waiting_records: u64,
    /// Bytes of the games that wait in the queue.
    pub waiting_bytes: u64,
    /// Reads since the store was opened that found a record damaged.
    pub damaged_reads: u64,
    /// Groups written since the store was opened.
    pub groups: u64,
    /// Attempts to write that failed, since the store was opened.
    pub failures: u64,
    /// Bytes of all files of the store, measured now and then.
    pub disk_bytes: u64,
    /// Ids the catalog holds in memory rather than on disk. Beyond a few thousand for long: sled fails.
    pub catalog_in_memory: u64,
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
pub(super) struct Numbered {
    /// Its sequence number.
    pub(super) seq: u64,
    pub(super) record: Kept,
}

/// What there is of a record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Kept {
    Whole(GameId, Vec<u8>),
    /// Its bytes have changed, and with them perhaps its name.
    Damaged,
    /// The disk does not give it, and says why.
    Unreadable(GameId, String),
}

/// What becomes of records that the disk does not give.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unreadable {
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
    /// [`StoreError::Locked`], [`StoreError::Later`], or [`StoreError::Io`] where the folder cannot be used at all.
    pub fn open(path: &Path, options: StoreOptions) -> Result<(Self, OpenReport), StoreError> {
        // An absolute path, so that a later change of the working directory changes nothing, and a name to set damage aside under.
        let fault = |source| StoreError::Io { path: path.to_owned(), source };
        std::fs::create_dir_all(path).map_err(fault)?;
        let path = &path.canonicalize().map_err(fault)?;
        let lock = lock(path)?;
        let Recovered { segments, catalog, tip, newest, last_is_sound, report } = recover::recover(path, &options)?;
        let active = segments.last().filter(|_| last_is_sound).map(Arc::clone);
        let shared = Arc::new(Shared {
            folder: path.clone(),
            lock,
            segments_folder: recover::segments_folder(path),
            options,
            segments: RwLock::new(segments),
            catalog,
            inbox: Inbox::default(),
            health: Mutex::new(Health::Healthy),
            damaged_reads: AtomicU64::new(0),
            groups: AtomicU64::new(0),
            failures: AtomicU64::new(0),
            disk_bytes: AtomicU64::new(0),
            closed: AtomicBool::new(false),
        });
        shared.measure_disk();
        let now = Instant::now();
        let writer =
            Writer { shared: Arc::clone(&shared), tip, active, newest, catalog_due: now, disk_due: now + DISK_LOOK };
        std::thread::Builder::new().name("archive-writer".to_owned()).spawn(|| writer.run()).map_err(fault)?;
        Ok((Self { shared }, report))
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
        let options = &self.shared.options;
        self.shared.inbox.put(id, record, options.queue_records.get(), options.queue_bytes.get())
    }

    /// The record of a game, or `None` if there is no such game.
    ///
    /// # Errors
    /// [`StoreError::Damaged`] if the record is there but not whole, [`StoreError::Io`] if the disk refuses.
    pub fn get(&self, id: GameId) -> Result<Option<Vec<u8>>, StoreError> {
        self.shared.fetch(id)
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
    /// [`StoreError::Catalog`] while the catalog is being rebuilt.
    pub fn newest_ids(&self, range: impl RangeBounds<GameId>, limit: usize) -> Result<Vec<GameId>, StoreError> {
        self.shared.check_open()?;
        let bound = |bound: Bound<&GameId>| bound.cloned();
        let range = (bound(range.start_bound()), bound(range.end_bound()));
        let found = self.shared.catalog.newest(range, limit).map_err(|fault| StoreError::Catalog(fault.to_string()))?;
        Ok(found.into_iter().map(|(id, _)| id).collect())
    }

    /// Visits every record, in the order of storing, which is nearly that of the ids.
    ///
    /// Records stored or removed meanwhile may be visited or not.
    ///
    /// # Errors
    /// There is not enough memory to read a segment.
    pub fn scan(&self, mut visitor: impl FnMut(GameId, &[u8])) -> Result<ScanReport, StoreError> {
        let mut report = ScanReport::default();
        let mut buffer = Vec::new();
        for segment in self.shared.segments() {
            let damaged = segment.visit(&mut buffer, |_, id, record| {
                report.records += 1;
                visitor(id, record);
            });
            report.damaged += damaged.map_err(|source| StoreError::Io { path: self.shared.folder.clone(), source })?;
        }
        self.shared.damaged_reads.fetch_add(report.damaged, Ordering::Relaxed);
        Ok(report)
    }

    /// The records behind a sequence number, in the order of storing, at most `limit` of them and as many bytes as fit; at
    /// least one, if there is any.
    ///
    /// # Errors
    /// The store is closed, the disk refuses, or the catalog cannot name what it refuses.
    pub(super) fn after(
        &self,
        seq: u64,
        limit: usize,
        max_bytes: usize,
        unreadable: Unreadable,
    ) -> Result<Vec<Numbered>, StoreError> {
        self.shared.check_open()?;
        let mut found: Vec<Numbered> = Vec::new();
        let mut bytes = 0;
        for segment in self.shared.segments() {
            for seq in segment.numbers_after(seq, limit - found.len()) {
                let record = match segment.read(seq) {
                    Ok(Some((id, record))) => Kept::Whole(id, record),
                    // Removed a moment ago.
                    Ok(None) => continue,
                    Err(ReadFault::Damaged) => Kept::Damaged,
                    Err(ReadFault::Io(source)) => {
                        let path = super::segment::path(&self.shared.segments_folder, segment.first());
                        let error = StoreError::Io { path, source };
                        let name = if unreadable == Unreadable::Named { self.name(seq)? } else { None };
                        let Some(name) = name else { return Err(error) };
                        Kept::Unreadable(name, error.to_string())
                    }
                };
                bytes += if let Kept::Whole(_, record) = &record { record.len() } else { 0 };
                if bytes > max_bytes && !found.is_empty() {
                    return Ok(found);
                }
                found.push(Numbered { seq, record });
            }
            if found.len() == limit {
                break;
            }
        }
        Ok(found)
    }

    /// How many records there are behind a sequence number.
    pub(super) fn count_after(&self, seq: u64) -> u64 {
        self.shared.segments().iter().map(|segment| segment.count_after(seq)).sum()
    }

    /// The last sequence number that any record has, or had.
    pub(super) fn last_number(&self) -> u64 {
        self.shared.segments().last().and_then(|segment| segment.last()).unwrap_or(0)
    }

    /// The sequence number of a game.
    ///
    /// # Errors
    /// The catalog is being rebuilt, which takes seconds.
    pub(super) fn number(&self, id: GameId) -> Result<Option<u64>, StoreError> {
        self.shared.catalog.find(id).map_err(|fault| StoreError::Catalog(fault.to_string()))
    }

    /// The game that has a sequence number, by the catalog. It is asked for all it has, for it is ordered the other way.
    fn name(&self, number: u64) -> Result<Option<GameId>, StoreError> {
        let all = self.shared.catalog.newest((Bound::Unbounded, Bound::Unbounded), usize::MAX);
        let all = all.map_err(|fault| StoreError::Catalog(fault.to_string()))?;
        Ok(all.into_iter().find(|(_, other)| *other == number).map(|(id, _)| id))
    }

    /// Has the disk refuse a record.
    #[cfg(test)]
    pub(super) fn refuse_to_read(&self, number: u64) {
        self.shared.segments().iter().for_each(|segment| segment.refuse_to_read(number));
    }

    /// The store's folder.
    pub(super) fn folder(&self) -> &Path {
        &self.shared.folder
    }

    /// Removes games for good and returns how many there were. Waits until the disk has done it; their space is free then.
    ///
    /// # Errors
    /// Some or all could not be removed. Removing again does the rest.
    pub fn remove(&self, ids: &[GameId]) -> Result<u64, StoreError> {
        let (answer, done) = mpsc::sync_channel(1);
        self.shared.inbox.put_removal(Removal { ids: ids.to_vec(), answer })?;
        done.recv().unwrap_or(Err(StoreError::Closed))
    }

    /// Games stored.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.shared.records().0
    }

    /// How the store is doing; cheap enough for every scrape.
    #[must_use]
    pub fn status(&self) -> StoreStatus {
        let (records, record_bytes) = self.shared.records();
        let (waiting_records, waiting_bytes) = self.shared.inbox.waiting();
        StoreStatus {
            health: self.shared.health.lock().unwrap_or_else(PoisonError::into_inner).clone(),
            records,
            record_bytes,
            waiting_records,
            waiting_bytes: waiting_bytes as u64,
            damaged_reads: self.shared.damaged_reads.load(Ordering::Relaxed),
            groups: self.shared.groups.load(Ordering::Relaxed),
            failures: self.shared.failures.load(Ordering::Relaxed),
            disk_bytes: self.shared.disk_bytes.load(Ordering::Relaxed),
            catalog_in_memory: self.shared.catalog.waiting() as u64,
        }
    }

    /// Bytes of all files of the store.
    ///
    /// # Errors
    /// The folder cannot be listed.
    pub fn disk_bytes(&self) -> Result<u64, StoreError> {
        folder_bytes(&self.shared.folder).map_err(|source| StoreError::Io { path: self.shared.folder.clone(), source })
    }

    /// Waits until everything taken so far is on disk. Returns whether it is.
    pub fn flush(&self, patience: Duration) -> bool {
        self.shared.inbox.wait_answered(patience)
    }

    /// Closes the store: nothing more is taken; what waits is written, for as long as `patience` allows. Returns whether the
    /// writer has ended.
    ///
    /// Dropping the store closes it too, with five seconds of patience.
    pub fn close(&self, patience: Duration) -> bool {
        self.shared.inbox.close(patience)
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        // Should the disk hang, the records are as safe as in a crash, and the lock stays with the writer.
        if self.close(Duration::from_secs(5))
            // Closing the file alone would leave the lock to a child process that is just being started.
            && let Err(error) = self.shared.lock.unlock()
        {
            log::warn!("the archive's lock could not be given back: {error}");
        }
    }
}

/// What readers and the writer share.
#[derive(Debug)]
pub(super) struct Shared {
    folder: PathBuf,
    /// Held until the writer has ended; the operating system takes it back when the process ends, however it ends.
    lock: File,
    pub(super) segments_folder: PathBuf,
    pub(super) options: StoreOptions,
    /// In ascending order.
    segments: RwLock<Vec<Arc<Segment>>>,
    pub(super) catalog: Catalog,
    pub(super) inbox: Inbox,
    pub(super) health: Mutex<Health>,
    damaged_reads: AtomicU64,
    pub(super) groups: AtomicU64,
    pub(super) failures: AtomicU64,
    pub(super) disk_bytes: AtomicU64,
    pub(super) closed: AtomicBool,
}

impl Shared {
    /// The record of a game.
    pub(super) fn fetch(&self, id: GameId) -> Result<Option<Vec<u8>>, StoreError> {
        self.check_open()?;
        let Some(seq) = self.catalog.find(id).map_err(|fault| StoreError::Catalog(fault.to_string()))? else {
            return Ok(None);
        };
        let segment = {
            let segments = self.segments.read().unwrap_or_else(PoisonError::into_inner);
            let at = segments.partition_point(|segment| segment.first() <= seq);
            at.checked_sub(1).and_then(|at| segments.get(at)).map(Arc::clone)
        };
        // Without a segment or a place in it, the game was removed between the two questions.
        let Some(segment) = segment else { return Ok(None) };
        match segment.read(seq) {
            Ok(Some((found, record))) if found == id => Ok(Some(record)),
            Ok(None) => Ok(None),
            Ok(Some(_)) | Err(ReadFault::Damaged) => {
                self.damaged_reads.fetch_add(1, Ordering::Relaxed);
                Err(StoreError::Damaged(id))
            }
            Err(ReadFault::Io(source)) => {
                self.damaged_reads.fetch_add(1, Ordering::Relaxed);
                Err(StoreError::Io { path: super::segment::path(&self.segments_folder, segment.first()), source })
            }
        }
    }

    /// Looks how much space the files take. What cannot be listed now keeps its last figure.
    pub(super) fn measure_disk(&self) {
        if let Ok(bytes) = folder_bytes(&self.folder) {
            self.disk_bytes.store(bytes, Ordering::Relaxed);
        }
    }

    /// Ids and numbers of all records, from the segments.
    pub(super) fn all_ids(&self) -> io::Result<Vec<(GameId, u64)>> {
        let mut ids = Vec::new();
        let mut buffer = Vec::new();
        for segment in self.segments() {
            segment.visit(&mut buffer, |seq, id, _record| ids.push((id, seq)))?;
        }
        Ok(ids)
    }

    /// All segments as they are now.
    pub(super) fn segments(&self) -> Vec<Arc<Segment>> {
        self.segments.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Puts a segment in its place, instead of one with the same first number.
    pub(super) fn show_segment(&self, segment: &Arc<Segment>) {
        let mut segments = self.segments.write().unwrap_or_else(PoisonError::into_inner);
        match segments.binary_search_by_key(&segment.first(), |other| other.first()) {
            Ok(at) => {
                if let Some(other) = segments.get_mut(at) {
                    *other = Arc::clone(segment);
                }
            }
            Err(at) => segments.insert(at, Arc::clone(segment)),
        }
    }

    /// How many records there are, and their bytes.
    pub(super) fn records(&self) -> (u64, u64) {
        let segments = self.segments.read().unwrap_or_else(PoisonError::into_inner);
        segments.iter().map(|segment| segment.records()).fold((0, 0), |sum, part| (sum.0 + part.0, sum.1 + part.1))
    }

    fn check_open(&self) -> Result<(), StoreError> {
        if self.closed.load(Ordering::Acquire) { Err(StoreError::Closed) } else { Ok(()) }
    }
}

/// Makes sure that this process is the only one.
fn lock(store: &Path) -> Result<File, StoreError> {
    let path = store.join("lock");
    let fault = |source| StoreError::Io { path: path.clone(), source };
    let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&path).map_err(fault)?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            let note = std::fs::read_to_string(&path).unwrap_or_default();
            let holder = match note.trim() {
                "" => "another process".to_owned(),
                number => format!("process {number}"),
            };
            return Err(StoreError::Locked { path: store.to_owned(), holder });
        }
        Err(TryLockError::Error(source)) => return Err(fault(source)),
    }
    // Only a courtesy to the next one who asks; a full disk must not keep us from opening.
    let note = format!("{:<10}\n", std::process::id());
    let _courtesy = file.write_all_at(note.as_bytes(), 0);
    Ok(file)
}

fn folder_bytes(folder: &Path) -> io::Result<u64> {
    let mut bytes = 0;
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        let kind = entry.file_type()?;
        if kind.is_dir() {
            bytes += folder_bytes(&entry.path())?;
        } else {
            // A draft may have got its final name meanwhile.
            bytes += entry.metadata().map_or(0, |metadata| metadata.len());
        }
    }
    Ok(bytes)
}
