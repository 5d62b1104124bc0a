//! Files of the store that somebody removes or replaces while the store is open: noticed, and written anew from what is known.
//!
//! A file that is removed lives on for whoever has it open. So all records that the database still gives, or that are still
//! whole in the file it has open, go into a new one before the old one is closed.

use std::cell::LazyCell;
use std::fs;
use std::io;
use std::path::Path;

use super::frame;
use super::layout::{Builder, LAYOUT, Layout};
use super::numbers::Gone;
use super::report::{OpenReport, StoreError};
use super::salvage::Salvage;
use super::shared::Shared;
use super::sink::INSTALLATION;
use super::store::Failure;
use crate::disk::{DurableNumber, FolderLock, LockError, NumberFound, write_atomic};

/// What the store needs to write its files anew.
#[derive(Debug, Default)]
pub(super) struct LostFiles {
    /// The number of this installation, as it was last seen.
    installation: Option<Vec<u8>>,
    /// Which files were removed or replaced. They are to be written anew.
    changed: Vec<&'static str>,
}

impl LostFiles {
    /// Which files are to be written anew, in words.
    pub(super) fn changed(&self) -> Option<String> {
        let names = self.changed.join(", ");
        (!names.is_empty()).then(|| format!("files were removed or replaced while the archive was open: {names}"))
    }

    /// Looks whether all files are those that the store has written.
    ///
    /// # Errors
    /// The disk refuses, or another process has taken the folder.
    pub(super) fn look(&mut self, shared: &Shared, high_water: &DurableNumber) -> Result<(), StoreError> {
        let layout = &shared.layout;
        let fault = |source| layout.fault(source);
        let mut changed = Vec::new();
        if !layout.store.is_dir() {
            changed.push("the whole folder");
        } else if is_unlocked(shared)? {
            changed.push("lock");
        }
        if let Ok(database) = shared.database()
            && !database.is_in_place(shared.books().frame_bytes()).map_err(fault)?
        {
            changed.push("records");
        }
        match DurableNumber::look(&layout.high_water, LAYOUT).map_err(fault)? {
            NumberFound::Whole { number, .. } | NumberFound::Half(number) if number >= high_water.get() => {}
            _ => changed.push("tip"),
        }
        match Gone::read(&layout.numbers) {
            Ok(Some(_)) => {}
            Err(error) if error.kind() != io::ErrorKind::InvalidData => return Err(fault(error)),
            _ => changed.push("numbers"),
        }
        match fs::read(layout.store.join(INSTALLATION)) {
            Ok(bytes) => self.installation = Some(bytes),
            Err(_) if self.installation.is_some() => changed.push(INSTALLATION),
            Err(_) => {}
        }
        self.changed = changed;
        Ok(())
    }

    /// Puts everything in its place. The database is closed.
    pub(super) fn write_anew(&self, shared: &Shared, report: &mut OpenReport) -> io::Result<()> {
        let layout: &Layout = &shared.layout;
        if layout.fresh.is_dir() {
            layout.put_in_place_of_damaged(report)?;
        }
        let books = shared.books();
        books.gone.write(&layout.numbers)?;
        DurableNumber::create(&layout.high_water, LAYOUT, books.last)?;
        let installation = layout.store.join(INSTALLATION);
        match &self.installation {
            Some(bytes) if !installation.exists() => write_atomic(&installation, bytes),
            _ => Ok(()),
        }
    }

    /// All files are in place.
    pub(super) fn forget(&mut self) {
        self.changed.clear();
    }
}

/// Whether nobody holds the lock of the folder any more, though we should. We do then.
fn is_unlocked(shared: &Shared) -> Result<bool, StoreError> {
    let folder: &Path = &shared.layout.store;
    match FolderLock::take(folder) {
        Ok(lock) => {
            shared.hold(lock);
            Ok(true)
        }
        // On a full disk we could not leave our number.
        Err(LockError::Held(holder)) if holder.ends_with(&format!(" {}", std::process::id())) => Ok(false),
        Err(LockError::Held(holder)) if !holder.starts_with("process ") => Ok(false),
        Err(LockError::Held(holder)) => Err(StoreError::Locked { path: folder.to_owned(), holder }),
        Err(LockError::Io(source)) => Err(shared.layout.fault(source)),
    }
}

/// Builds a new database of all records that the open one still gives, or that are whole in its file as it has it open. It is put
/// in place when the open one is closed. Returns how many are neither.
pub(super) fn copy_records(shared: &Shared) -> Result<u64, StoreError> {
    let database = shared.database()?;
    let salvage = LazyCell::new(|| Salvage::walk(&[database.open_file()]).unwrap_or_default());
    let copy = || {
        let mut missing = 0;
        let mut builder = Builder::begin(&shared.layout, shared.cache_bytes)?;
        let (last, gone) = (shared.books().last, shared.books().gone.all());
        for seq in gone.gaps(&(1..=last.max(1))).flatten() {
            let is_whole = |bytes: &[u8]| frame::parse(bytes).is_some_and(|(frame, _)| frame.seq == seq);
            let given = database.get(seq).ok().flatten().map(|frame| frame.to_vec());
            let found = || salvage.get(seq).ok().flatten();
            match given.filter(|frame| is_whole(frame)).or_else(found) {
                Some(frame) => builder.push(seq, &frame)?,
                None => missing += 1,
            }
        }
        builder.finish().map(|()| missing)
    };
    copy().map_err(|failure: Failure| shared.layout.error(failure))
}
