//! What readers of the store and its writer share: the database, what is known without it, and how both are doing.

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use super::frame::{self, HEADER_BYTES};
use super::layout::Layout;
use super::queue::Queue;
use super::recover::{Books, Loader, Opened};
use super::report::{Health, OpenReport, StoreError};
use super::salvage::Salvage;
use super::store::{Store, folder_bytes};
use super::{GameId, StoreOptions};
use crate::disk::{FolderLock, LockError};

/// How long readers may hold a database that is to be closed.
const READERS_TIMEOUT: Duration = Duration::from_secs(2);

/// Who learns of the records in a store.
pub(super) trait Observer: Send + Sync + fmt::Debug {
    /// A new record is on disk and about to be acknowledged. `took`: how long its group took.
    fn stored(&self, _record: &[u8], _took: Duration) {}

    /// The store is opened by `open`, which shows every record to a loader. Nothing is stored meanwhile.
    fn load(&self, open: &mut dyn FnMut(&mut dyn Loader) -> Result<Opened, StoreError>) -> Result<Opened, StoreError> {
        open(&mut ())
    }
}

/// Nobody.
impl Observer for () {}

#[derive(Debug)]
pub(super) struct Shared {
    pub(super) layout: Layout,
    pub(super) cache_bytes: u64,
    /// `None` before it is open, while it is closed and opened again, and after the end.
    pub(super) database: RwLock<Option<Arc<Store>>>,
    /// What is read while the database fails: even to read, it may have to write. Made when it is first needed.
    pub(super) raw: Mutex<Option<Arc<Salvage>>>,
    books: RwLock<Books>,
    pub(super) queue: Queue,
    pub(super) observer: Arc<dyn Observer>,
    health: Mutex<Health>,
    /// What the last opening found that found anything.
    report: Mutex<OpenReport>,
    /// Keeps other processes out, from the first opening on.
    pub(super) folder_lock: Mutex<Option<FolderLock>>,
    pub(super) damaged_reads: AtomicU64,
    pub(super) unchecked: AtomicU64,
    pub(super) groups: AtomicU64,
    pub(super) failures: AtomicU64,
    pub(super) disk_bytes: AtomicU64,
    /// It was open at least once.
    pub(super) opened: AtomicBool,
    pub(super) closed: AtomicBool,
    /// A record that the disk refuses to read.
    #[cfg(test)]
    pub(super) refused: AtomicU64,
}

impl Shared {
    pub(super) fn new(layout: Layout, options: StoreOptions, observer: Arc<dyn Observer>) -> Self {
        Self {
            layout,
            cache_bytes: options.cache_bytes,
            database: RwLock::default(),
            raw: Mutex::default(),
            books: RwLock::default(),
            queue: Queue::new(options),
            observer,
            health: Mutex::new(Health::Healthy),
            report: Mutex::default(),
            folder_lock: Mutex::default(),
            damaged_reads: AtomicU64::new(0),
            unchecked: AtomicU64::new(0),
            groups: AtomicU64::new(0),
            failures: AtomicU64::new(0),
            disk_bytes: AtomicU64::new(0),
            opened: AtomicBool::new(false),
            closed: AtomicBool::new(false),
            #[cfg(test)]
            refused: AtomicU64::new(0),
        }
    }

    /// Keeps other processes out of the folder, which is made if need be.
    pub(super) fn lock_folder(&self) -> Result<(), StoreError> {
        let path = &self.layout.store;
        let is_held = self.folder_lock.lock().unwrap_or_else(PoisonError::into_inner).is_some();
        if !is_held || !path.is_dir() {
            std::fs::create_dir_all(path).map_err(|source| self.layout.fault(source))?;
            self.hold(FolderLock::take(path).map_err(|error| match error {
                LockError::Held(holder) => StoreError::Locked { path: path.clone(), holder },
                LockError::Io(source) => StoreError::Io { path: path.join("lock"), source },
            })?);
        }
        Ok(())
    }

    pub(super) fn hold(&self, lock: FolderLock) {
        *self.folder_lock.lock().unwrap_or_else(PoisonError::into_inner) = Some(lock);
    }

    /// Fails before the store was first open, and after its end.
    pub(super) fn check_open(&self) -> Result<(), StoreError> {
        if self.closed.load(Ordering::Acquire) {
            Err(StoreError::Closed)
        } else if self.opened.load(Ordering::Acquire) {
            Ok(())
        } else {
            Err(StoreError::Failed("it is not open yet".to_owned()))
        }
    }

    /// The database, if it is open.
    pub(super) fn database(&self) -> Result<Arc<Store>, StoreError> {
        self.check_open()?;
        let database = self.database.read().unwrap_or_else(PoisonError::into_inner).clone();
        database.ok_or_else(|| StoreError::Failed("it is being opened again".to_owned()))
    }

    /// The frame with a number: from the database, or where that fails from its raw file.
    pub(super) fn frame(&self, seq: u64) -> Result<Option<Vec<u8>>, StoreError> {
        let failure = match self.database() {
            Err(StoreError::Closed) => return Err(StoreError::Closed),
            Err(error) => error,
            Ok(database) => match database.get(seq) {
                Ok(found) => return Ok(found.map(|frame| frame.to_vec())),
                Err(failure) => self.layout.error(failure),
            },
        };
        let read_raw = || {
            let mut raw = self.raw.lock().unwrap_or_else(PoisonError::into_inner);
            let salvage = match &*raw {
                Some(salvage) => Arc::clone(salvage),
                None => {
                    let walked = Salvage::walk(&Store::raw_files(&self.layout.records)?)?;
                    Arc::clone(raw.insert(Arc::new(walked)))
                }
            };
            drop(raw);
            salvage.get(seq)
        };
        read_raw().map_err(|source| self.layout.fault(source))?.map_or(Err(failure), |frame| Ok(Some(frame)))
    }

    /// Takes the database away from readers, once none of them holds it any more.
    pub(super) fn take_database(&self) -> Result<Option<Store>, StoreError> {
        let deadline = Instant::now() + READERS_TIMEOUT;
        let mut place = self.database.write().unwrap_or_else(PoisonError::into_inner);
        let Some(mut database) = place.take() else { return Ok(None) };
        loop {
            database = match Arc::try_unwrap(database) {
                Ok(database) => return Ok(Some(database)),
                Err(shared) => shared,
            };
            if Instant::now() >= deadline {
                *place = Some(database);
                return Err(StoreError::Failed("somebody still reads from it".to_owned()));
            }
            thread::sleep(Duration::from_millis(1));
        }
    }

    /// Gives readers a database, and what is known of it.
    pub(super) fn put_database(&self, database: Store) {
        *self.database.write().unwrap_or_else(PoisonError::into_inner) = Some(Arc::new(database));
        *self.raw.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// The record with a number, which is of this game; `None` if there is none any more.
    pub(super) fn read(&self, seq: u64, id: GameId) -> Result<Option<Vec<u8>>, StoreError> {
        #[cfg(test)]
        if seq == self.refused.load(Ordering::Relaxed) {
            return Err(self.layout.fault(std::io::Error::other("the disk refuses")));
        }
        let found = self.frame(seq).map_err(|error| {
            self.damaged_reads.fetch_add(1, Ordering::Relaxed);
            match error {
                // The database works, and no raw file holds the record.
                StoreError::Failed(_) if self.database().is_ok() && self.health() == Health::Healthy => {
                    StoreError::Damaged(id)
                }
                error => error,
            }
        })?;
        match found {
            Some(bytes) if frame::parse(&bytes).is_some_and(|(frame, _)| frame.seq == seq && frame.id == id) => {
                Ok(bytes.get(HEADER_BYTES..).map(<[u8]>::to_vec))
            }
            // Removed between two questions.
            None if self.books().ids.get(&id) != Some(&seq) => Ok(None),
            _ => {
                self.damaged_reads.fetch_add(1, Ordering::Relaxed);
                Err(StoreError::Damaged(id))
            }
        }
    }

    /// What is known without the database.
    pub(super) fn books(&self) -> RwLockReadGuard<'_, Books> {
        self.books.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn books_mut(&self) -> RwLockWriteGuard<'_, Books> {
        self.books.write().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn report(&self) -> MutexGuard<'_, OpenReport> {
        self.report.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Looks how much space the files take. What cannot be listed now keeps its last figure.
    pub(super) fn measure_disk(&self) {
        if let Ok(bytes) = folder_bytes(&self.layout.store) {
            self.disk_bytes.store(bytes, Ordering::Relaxed);
        }
    }

    pub(super) fn health(&self) -> Health {
        self.health.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn note_failure(&self, error: &str) {
        self.failures.fetch_add(1, Ordering::Relaxed);
        let mut health = self.health.lock().unwrap_or_else(PoisonError::into_inner);
        let since = match &*health {
            Health::Healthy => {
                log::error!("the archive does not work, games wait: {error}");
                SystemTime::now()
            }
            Health::Failing { since, .. } => *since,
        };
        *health = Health::Failing { since, error: error.to_owned() };
    }

    pub(super) fn note_success(&self) {
        let mut health = self.health.lock().unwrap_or_else(PoisonError::into_inner);
        if let Health::Failing { since, .. } = *health {
            let seconds = since.elapsed().unwrap_or_default().as_secs();
            log::info!("the archive works again after {seconds} s");
            *health = Health::Healthy;
        }
    }
}
