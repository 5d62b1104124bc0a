//! One process has a folder at a time.

use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::Path;

/// Why a folder is not had.
#[derive(Debug)]
pub(crate) enum LockError {
    /// Somebody else has it: `process 1234`, as far as it left its number.
    Held(String),
    /// The file `lock` cannot be made or locked.
    Io(io::Error),
}

/// A folder that no other process may open. The operating system takes the lock back when the process ends, however it ends.
#[derive(Debug)]
pub(crate) struct FolderLock(File);

impl FolderLock {
    /// Locks an existing folder by the file `lock` in it.
    ///
    /// # Errors
    /// [`LockError`]
    pub(crate) fn take(folder: &Path) -> Result<Self, LockError> {
        let path = folder.join("lock");
        let mut options = OpenOptions::new();
        let file = options.read(true).write(true).create(true).truncate(false).open(&path).map_err(LockError::Io)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let note = std::fs::read_to_string(&path).unwrap_or_default();
                let holder = match note.trim() {
                    "" => "another process".to_owned(),
                    number => format!("process {number}"),
                };
                return Err(LockError::Held(holder));
            }
            Err(TryLockError::Error(error)) => return Err(LockError::Io(error)),
        }
        // Only a courtesy to the next one who asks; a full disk must not keep us from opening.
        let note = format!("{:<10}\n", std::process::id());
        let _courtesy = file.write_all_at(note.as_bytes(), 0);
        Ok(Self(file))
    }

    /// Gives the folder back. Closing the file alone would leave the lock to a child process that is just being started.
    pub(crate) fn release(&self) -> io::Result<()> {
        self.0.unlock()
    }
}
