use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

/// Whether, where and for how long completed games are kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// Keep completed games at all.
    pub enabled: bool,
    /// What kind of place they are kept in.
    pub backend: Backend,
    /// The place itself: for the file system a folder. Empty: `archive` in the data folder.
    pub url: String,
    /// How many completed games are written in one group at most.
    pub batch_size: usize,
    /// The longest time a completed game waits for its group to fill.
    pub flush_interval: Duration,
    /// Games older than this are removed; 0 keeps them for ever.
    pub retention_days: u32,
    /// How many summaries of games are kept ready in memory.
    pub summary_cache_size: usize,
}

impl Options {
    /// The folder of the archive, when it is kept in the file system.
    pub fn folder(&self, data_dir: &Path) -> PathBuf {
        let path = self.url.strip_prefix("file://").unwrap_or(&self.url);
        if path.is_empty() { data_dir.join("archive") } else { PathBuf::from(path) }
    }
}

impl Default for Options {
    fn default() -> Self {
        Self {
            enabled: true,
            backend: Backend::Filesystem,
            url: String::new(),
            batch_size: 100,
            flush_interval: Duration::from_secs(60),
            retention_days: 90,
            summary_cache_size: 1_000,
        }
    }
}

/// A kind of place for completed games. All are known in every build, so that asking for one that was not
/// compiled in gets a clear answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Backend {
    /// A folder of this machine.
    Filesystem,
    /// A bucket behind the S3 protocol.
    S3,
    /// A PostgreSQL database.
    Postgresql,
}

impl Backend {
    /// Whether this build can write to such a place.
    pub fn is_compiled_in(self) -> bool {
        match self {
            Self::Filesystem => true,
            Self::S3 | Self::Postgresql => false,
        }
    }
}

impl FromStr for Backend {
    type Err = NotABackend;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "filesystem" => Ok(Self::Filesystem),
            "s3" => Ok(Self::S3),
            "postgresql" => Ok(Self::Postgresql),
            _ => Err(NotABackend),
        }
    }
}

impl fmt::Display for Backend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Filesystem => "filesystem",
            Self::S3 => "s3",
            Self::Postgresql => "postgresql",
        })
    }
}

/// The text names no kind of archive.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("no kind of archive")]
pub struct NotABackend;
