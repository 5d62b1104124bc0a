//! How a store is: what opening it found, how it does, and why it refuses.

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use super::GameId;

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
    /// The database failed. It is closed and opened again until it works; games wait meanwhile.
    #[error("the archive's database failed: {0}")]
    Failed(String),
    /// The store was closed.
    #[error("the archive is closed")]
    Closed,
}

impl StoreError {
    /// Whether the disk has no room or the database fails, which another attempt may find mended.
    #[must_use]
    pub fn is_refusal(&self) -> bool {
        use io::ErrorKind::{FileTooLarge, QuotaExceeded, StorageFull};
        match self {
            Self::Failed(_) => true,
            Self::Io { source, .. } => matches!(source.kind(), FileTooLarge | QuotaExceeded | StorageFull),
            _ => false,
        }
    }
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
        /// What the database or the operating system says.
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
    /// Their bytes, without frames and whatever the database adds.
    pub record_bytes: u64,
    /// Games taken that are not on disk yet.
    pub waiting_records: u64,
    /// Bytes of the games that wait in the queue in their stored form.
    pub waiting_bytes: u64,
    /// Games on disk that no checkpoint has found in the database's file yet.
    pub unchecked_records: u64,
    /// Reads since the store was opened that found a record damaged.
    pub damaged_reads: u64,
    /// Groups written since the store was opened.
    pub groups: u64,
    /// Attempts to write that failed, since the store was opened.
    pub failures: u64,
    /// Bytes of all files of the store, measured now and then.
    pub disk_bytes: u64,
}

/// What opening a store found. [`fmt::Display`] tells it in sentences for the log.
#[derive(Clone, Debug, Default)]
pub struct OpenReport {
    /// Records that can be read.
    pub records: u64,
    /// Their bytes, without frames.
    pub record_bytes: u64,
    /// Acknowledged records that were found missing now, for the first time.
    pub missing: u64,
    /// Acknowledged records whose loss an earlier opening reported.
    pub missing_before: u64,
    /// Why the store was not opened as it was closed, if so. After a crash that is no damage.
    pub recovered: Option<String>,
    /// Acknowledged records that the database had lost, and that were found in its raw file and put back.
    pub put_back: u64,
    /// What else was damaged. Records may still all be there.
    pub damage: Vec<String>,
    /// Where the damaged files were put, as they were found.
    pub set_aside: Option<PathBuf>,
    /// Where the files of the layout before are kept, if this opening took them over.
    pub taken_over: Option<PathBuf>,
    /// How long opening took.
    pub took: Duration,
}

impl OpenReport {
    /// Whether the disk did not hold what was written to it. Records may still all be there.
    #[must_use]
    pub fn is_damaged(&self) -> bool {
        self.missing > 0 || self.put_back > 0 || !self.damage.is_empty()
    }
}

impl fmt::Display for OpenReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "archive opened with {} games in {} ms", self.records, self.took.as_millis())?;
        if self.is_damaged() {
            write!(f, "; DAMAGE FOUND: {} acknowledged games are missing", self.missing)?;
            if self.put_back > 0 {
                write!(f, ", {} were lost by the database and found again", self.put_back)?;
            }
            for damage in &self.damage {
                write!(f, ", {damage}")?;
            }
            match &self.set_aside {
                Some(aside) => write!(f, "; the damaged files are kept in {}", aside.display())?,
                None => write!(f, "; every file that is left was whole")?,
            }
        }
        if self.missing_before > 0 {
            write!(f, "; {} games were reported missing before", self.missing_before)?;
        }
        if let Some(reason) = &self.recovered {
            write!(f, "; its files were searched for records first: {reason}")?;
        }
        if let Some(aside) = &self.taken_over {
            write!(f, "; the files of the layout before were taken over and are kept in {}", aside.display())?;
        }
        Ok(())
    }
}
