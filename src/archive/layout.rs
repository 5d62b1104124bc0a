//! Where the files of the archive's store lie, and how one database takes the place of another.
//!
//! | name | what |
//! |---|---|
//! | `records/` | the database |
//! | `tip` | the high-water mark: the last acknowledged sequence number. It keeps the name that it had in the layout before, so that an older Liap leaves the archive alone |
//! | `numbers` | which numbers no record has any more |
//! | `seal` | what the files were when they were closed; there only while they are |
//! | `copy` | the database's file as a crash left it, while it is being recovered |
//! | `records.new/`, `records.old/` | while a database is replaced by another |

use std::fs;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use super::old_layout;
use super::report::{OpenReport, StoreError};
use super::store::{Failure, Store};
use crate::disk::{DurableNumber, NumberFound, quarantine, rename_durably, sync_folder};

/// Version of the whole folder's layout; a store of a later version is left alone.
pub(super) const LAYOUT: u32 = 2;
/// Frames put into a database before they are flushed.
pub(super) const BATCH_FRAMES: usize = 2_000;
/// Bytes of frames put into a database before they are flushed.
const BATCH_BYTES: usize = 8 << 20;
/// What must be writable before a database is opened on a disk that has refused.
const PROBE_BYTES: usize = 1 << 20;

/// Where everything lies.
#[derive(Clone, Debug)]
pub(super) struct Layout {
    pub(super) store: PathBuf,
    pub(super) records: PathBuf,
    pub(super) numbers: PathBuf,
    pub(super) high_water: PathBuf,
    pub(super) seal: PathBuf,
    pub(super) copy: PathBuf,
    pub(super) fresh: PathBuf,
    pub(super) old: PathBuf,
}

impl Layout {
    pub(super) fn of(store: &Path) -> Self {
        let at = |name| store.join(name);
        Self {
            store: store.to_owned(),
            records: at("records"),
            numbers: at("numbers"),
            high_water: at(old_layout::NUMBER),
            seal: at("seal"),
            copy: at("copy"),
            fresh: at("records.new"),
            old: at("records.old"),
        }
    }

    /// Every file that may hold frames, the most trusted first.
    pub(super) fn raw_files(&self) -> io::Result<Vec<PathBuf>> {
        let mut files: Vec<PathBuf> = Some(self.copy.clone()).filter(|copy| copy.is_file()).into_iter().collect();
        files.extend(Store::raw_files(&self.records)?);
        files.extend(old_layout::segments(&self.store.join(old_layout::SEGMENTS))?.into_iter().map(|(_, path)| path));
        Ok(files)
    }

    /// Leaves a store alone that a later version of the program wrote.
    pub(super) fn check_version(&self) -> Result<(), StoreError> {
        match DurableNumber::look(&self.high_water, LAYOUT).map_err(|source| self.fault(source))? {
            NumberFound::OtherVersion(version) if version > LAYOUT => {
                Err(StoreError::Later { path: self.store.clone(), version })
            }
            _ => Ok(()),
        }
    }

    /// An error of the disk, about this store.
    pub(super) fn fault(&self, source: io::Error) -> StoreError {
        StoreError::Io { path: self.store.clone(), source }
    }

    /// What the database or the disk says, about this store.
    pub(super) fn error(&self, failure: Failure) -> StoreError {
        match failure {
            Failure::Refused(source) => self.fault(source),
            Failure::Broken(error) => StoreError::Failed(error),
        }
    }

    /// Writes and syncs a file, so that a database is not closed, or searched, for nothing.
    pub(super) fn probe(&self) -> io::Result<()> {
        let path = self.store.join("probe");
        let written = fs::File::create(&path).and_then(|mut file| {
            file.write_all(&vec![0; PROBE_BYTES])?;
            file.sync_data()
        });
        let removed = fs::remove_file(&path);
        written.and(removed)
    }

    /// Puts the database that was built in the place of the one before, which nobody has open any more.
    ///
    /// # Errors
    /// The disk refuses. The next opening finishes what was begun.
    pub(super) fn put_in_place(&self) -> io::Result<()> {
        remove_folder(&self.old)?;
        if self.records.is_dir() {
            rename_durably(&self.records, &self.old)?;
        }
        rename_durably(&self.fresh, &self.records)?;
        remove_folder(&self.old)
    }

    /// The same, and keeps the files of the one before in the folder for what was damaged.
    pub(super) fn put_in_place_of_damaged(&self, report: &mut OpenReport) -> io::Result<()> {
        if !self.records.is_dir() {
            return rename_durably(&self.fresh, &self.records);
        }
        let aside = self.set_aside(report)?;
        // The place of the new one first: there is always one of the two in it, or both are there under other names.
        rename_durably(&self.records, &self.old)?;
        rename_durably(&self.fresh, &self.records)?;
        rename_durably(&self.old, &aside.join("records"))
    }

    /// Finishes, or drops, what an end of the process has interrupted.
    pub(super) fn finish_replacing(&self) -> io::Result<()> {
        if !self.records.is_dir() && self.old.is_dir() {
            // Only a database that is whole takes the other's place.
            let next = if self.fresh.is_dir() { &self.fresh } else { &self.old };
            rename_durably(next, &self.records)?;
        }
        remove_folder(&self.fresh)?;
        remove_folder(&self.old)
    }

    /// The folder for damaged files.
    pub(super) fn set_aside(&self, report: &mut OpenReport) -> io::Result<PathBuf> {
        if report.set_aside.is_none() {
            report.set_aside = Some(quarantine(&self.store, "damaged")?);
        }
        Ok(report.set_aside.clone().unwrap_or_default())
    }
}

pub(super) fn remove_folder(folder: &Path) -> io::Result<()> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// A database that is being built beside the one in place.
pub(super) struct Builder {
    store: Store,
    batch: Vec<(u64, Vec<u8>)>,
    batch_bytes: usize,
}

impl Builder {
    pub(super) fn begin(layout: &Layout, cache_bytes: u64) -> Result<Self, Failure> {
        remove_folder(&layout.fresh)?;
        Ok(Self { store: Store::open(&layout.fresh, cache_bytes)?, batch: Vec::new(), batch_bytes: 0 })
    }

    pub(super) fn push(&mut self, seq: u64, frame: &[u8]) -> Result<(), Failure> {
        self.batch_bytes += frame.len();
        self.batch.push((seq, frame.to_vec()));
        if self.batch.len() < BATCH_FRAMES && self.batch_bytes < BATCH_BYTES { Ok(()) } else { self.write() }
    }

    fn write(&mut self) -> Result<(), Failure> {
        self.store.insert(self.batch.iter().map(|(seq, frame)| (*seq, &frame[..])))?;
        self.batch.clear();
        self.batch_bytes = 0;
        self.store.flush()
    }

    pub(super) fn finish(mut self) -> Result<(), Failure> {
        self.write()?;
        let folder = self.store.folder().to_owned();
        self.store.close()?;
        // Its files have their names for good.
        Ok(sync_folder(&folder)?)
    }
}
