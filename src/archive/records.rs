//! The records of an archive, as commands see them.
//!
//! Only one process can have the archive open. A command that finds a running server asks it, over a socket
//! ([`control_socket`](super::control_socket)); otherwise it opens the archive itself. In both cases [`answer`] answers, so
//! a command does the same either way.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use serde::de::DeserializeOwned;
use serde_bytes::ByteBuf;

use super::control::{
    PAGE_BYTES, PAGE_IDS, PUT_RECORDS, Pruned, PutOutcome, RecordsStatus, Request, StoredRecord, answer,
};
use super::control_socket::{Client, ConnectError};
use super::sink::{Progress, SinkKind};
use super::{Archive, GameId, Options, Query, StoreError};
use crate::observe::Metrics;

/// How long a command waits for an archive that another process has open: a server that is starting or stopping, or
/// another command.
const LOCK_TIMEOUT: Duration = Duration::from_secs(5);
/// The pause between two attempts to open such an archive.
const LOCK_PAUSE: Duration = Duration::from_millis(50);

/// Why a command gets no answer.
#[derive(Debug, thiserror::Error)]
pub enum RecordsError {
    /// There is no archive.
    #[error("there is no archive in {}", .0.display())]
    NoArchive(PathBuf),
    /// The archive cannot be opened.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The connection to the running server failed.
    #[error("the running server does not answer: {0}")]
    Connection(#[from] io::Error),
    /// The archive, or the process that has it, refuses.
    #[error("{0}")]
    Refused(String),
}

/// What to do where no archive is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IfMissing {
    /// Begin one.
    Create,
    /// Fail, and make nothing.
    Fail,
}

/// The records of an archive, as commands see them.
#[derive(Debug)]
pub enum Records {
    /// This process has opened the archive.
    Local(Archive),
    /// A running server is asked.
    Server(Client),
}

impl From<ConnectError> for RecordsError {
    fn from(error: ConnectError) -> Self {
        match error {
            ConnectError::Io(error) => Self::Connection(error),
            ConnectError::Refused(reason) => Self::Refused(reason),
        }
    }
}

impl Records {
    /// Asks the server that has the archive open, or opens the archive. Nothing is removed for its age by this process.
    ///
    /// # Errors
    /// There is no archive, it is in use by a process that answers no commands, or it cannot be opened.
    pub fn open(folder: &Path, options: &Options, if_missing: IfMissing) -> Result<Self, RecordsError> {
        let options = Options { retention_days: 0, ..options.clone() };
        let deadline = Instant::now() + LOCK_TIMEOUT;
        loop {
            if let Some(client) = Client::connect(folder)? {
                return Ok(Self::Server(client));
            }
            let is_empty = || std::fs::read_dir(folder).map_or(true, |mut entries| entries.next().is_none());
            if if_missing == IfMissing::Fail && is_empty() {
                return Err(RecordsError::NoArchive(folder.to_owned()));
            }
            let metrics = Arc::new(Metrics::new(env!("CARGO_PKG_VERSION"), "", false));
            match Archive::open(folder, &options, metrics) {
                Ok((archive, _report)) => return Ok(Self::Local(archive)),
                Err(error @ StoreError::Locked { .. }) if Instant::now() >= deadline => {
                    return Err(RecordsError::Refused(format!(
                        "{error}, which answers no commands: it is another command, an older server, or one that starts or \
                         stops; wait for it or stop it"
                    )));
                }
                Err(StoreError::Locked { .. }) => thread::sleep(LOCK_PAUSE),
                Err(error) => return Err(error.into()),
            }
        }
    }

    fn ask<T: DeserializeOwned>(&self, request: &Request) -> Result<T, RecordsError> {
        let unreadable = |error: &dyn std::error::Error| RecordsError::Connection(io::Error::other(error.to_string()));
        let request = rmp_serde::to_vec_named(request).map_err(|error| unreadable(&error))?;
        let answered = match self {
            Self::Local(archive) => answer(archive, &request),
            Self::Server(client) => client.exchange(&request)?,
        };
        let answered: Result<T, String> = rmp_serde::from_slice(&answered).map_err(|error| unreadable(&error))?;
        answered.map_err(RecordsError::Refused)
    }

    /// How the archive is doing.
    ///
    /// # Errors
    /// The server does not answer; so for all that follow.
    pub fn status(&self) -> Result<RecordsStatus, RecordsError> {
        self.ask(&Request::Status)
    }

    /// Up to `limit` games, newest first. Damaged ones are among them unless the query asks for something.
    ///
    /// # Errors
    /// The server does not answer, or the disk refuses.
    pub fn ids(&self, query: &Query, limit: usize) -> Result<Vec<GameId>, RecordsError> {
        let mut query = query.clone();
        let mut ids = Vec::new();
        loop {
            let page_limit = PAGE_IDS.min(limit - ids.len());
            let page: Vec<GameId> = self.ask(&Request::Ids { query: query.clone(), limit: page_limit })?;
            query.before = page.last().copied();
            let is_last = page.len() < page_limit;
            ids.extend(page);
            if is_last || ids.len() >= limit {
                return Ok(ids);
            }
        }
    }

    /// The records of these games, in their order.
    ///
    /// # Errors
    /// The server does not answer. A record that cannot be read is no error.
    pub fn get(&self, ids: &[GameId]) -> Result<Vec<StoredRecord>, RecordsError> {
        let mut found: Vec<StoredRecord> = Vec::with_capacity(ids.len());
        while let Some(rest) = ids.get(found.len()..).filter(|rest| !rest.is_empty()) {
            let page: Vec<StoredRecord> = self.ask(&Request::Get { ids: rest.to_vec() })?;
            if page.is_empty() || page.len() > rest.len() {
                return Err(RecordsError::Refused("the answer does not fit the question".to_owned()));
            }
            found.extend(page);
        }
        Ok(found)
    }

    /// Stores records, and says what became of each. They are on disk then.
    ///
    /// # Errors
    /// The disk does not take them in time. Storing them again does no harm.
    pub fn put(&self, mut records: Vec<(GameId, ByteBuf)>) -> Result<Vec<PutOutcome>, RecordsError> {
        let mut outcomes = Vec::with_capacity(records.len());
        while !records.is_empty() {
            let mut bytes = 0;
            let fit = records.iter().take_while(|(_, record)| {
                bytes += record.len();
                bytes <= PAGE_BYTES
            });
            let rest = records.split_off(fit.count().clamp(1, PUT_RECORDS).min(records.len()));
            outcomes.extend(self.ask::<Vec<_>>(&Request::Put { records: std::mem::replace(&mut records, rest) })?);
        }
        Ok(outcomes)
    }

    /// Moves the games that began before this time, in milliseconds of Unix time, to the trash, but for those that a sink is owed.
    ///
    /// # Errors
    /// Some could not be removed; removing again does the rest.
    pub fn prune(&self, before_ms: u64) -> Result<Pruned, RecordsError> {
        self.ask(&Request::Prune { before_ms })
    }

    /// How many games are in the trash, and the oldest and newest of them.
    ///
    /// # Errors
    /// The disk refuses.
    pub fn trash(&self) -> Result<(u64, Option<(GameId, GameId)>), RecordsError> {
        self.ask(&Request::Trash)
    }

    /// Brings this game back from the trash, or all, and says how many there were.
    ///
    /// # Errors
    /// The disk refuses; what is not back is still in the trash.
    pub fn undelete(&self, id: Option<GameId>) -> Result<u64, RecordsError> {
        self.ask(&Request::Undelete { id })
    }

    /// Has the clock believed, although it has leapt.
    ///
    /// # Errors
    /// It cannot be right.
    pub fn confirm_clock(&self) -> Result<(), RecordsError> {
        self.ask(&Request::ConfirmClock)
    }

    /// The number of a game in the order of storing, if there is such a game.
    ///
    /// # Errors
    /// The server does not answer.
    pub fn number(&self, id: GameId) -> Result<Option<u64>, RecordsError> {
        self.ask(&Request::Number { id })
    }

    /// How far the copies in a place are.
    ///
    /// # Errors
    /// The disk refuses.
    pub fn progress(&self, kind: SinkKind, place: String) -> Result<Progress, RecordsError> {
        self.ask(&Request::Progress { kind, place })
    }

    /// Copies at once what a sink is owed and what it refused; all games once more, if `all`.
    ///
    /// # Errors
    /// No copies are kept there.
    pub fn deliver(&self, kind: SinkKind, all: bool) -> Result<(), RecordsError> {
        self.ask(&Request::Deliver { kind, all })
    }
}
