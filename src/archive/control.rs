//! What commands ask of an archive, and how it answers: the same beside a running server and without one.
//!
//! Only one process can have the archive open. A command that finds a running server asks it, over a socket
//! ([`control_socket`](super::control_socket)); otherwise it opens the archive itself. In both cases [`answer`] answers, so
//! a command does the same either way. Every answer is bounded; long lists are read in pages.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_bytes::ByteBuf;

use super::codec::decode;
use super::control_socket::Client;
use super::frame::MAX_RECORD_BYTES;
use super::sink::{self, Progress, SinkKind};
use super::{Archive, GameId, GameRecord, Health, Options, Query, StoreError, StoreOutcome, Stored, replay};
use crate::observe::Metrics;

/// Ids in one answer.
const PAGE_IDS: usize = 10_000;
/// Bytes of records in one answer or one request, but for a single larger record.
const PAGE_BYTES: usize = 1 << 20;
/// Records that are stored with one request.
const PUT_RECORDS: usize = 500;
/// How long records may take to reach the disk.
const PUT_TIMEOUT: Duration = Duration::from_secs(60);
/// How long a command waits for an archive that another process has open: a server that is starting or stopping, or
/// another command.
const LOCK_TIMEOUT: Duration = Duration::from_secs(5);
/// The pause between two attempts to open such an archive.
const LOCK_PAUSE: Duration = Duration::from_millis(50);

/// What a command may ask.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Request {
    /// [`RecordsStatus`].
    Status,
    /// A page of ids, newest first.
    Ids { query: Query, limit: usize },
    /// The first of these records, as many as fit into one answer.
    Get { ids: Vec<GameId> },
    /// Stores records, and answers when they are on disk.
    Put { records: Vec<(GameId, ByteBuf)> },
    /// Moves the games that began before this time, in milliseconds of Unix time, to the trash.
    Prune { before_ms: u64 },
    /// How many games are in the trash, and the oldest and newest of them.
    Trash,
    /// Brings this game back from the trash, or all.
    Undelete { id: Option<GameId> },
    /// Believes the clock.
    ConfirmClock,
    /// The sequence number of a game.
    Number { id: GameId },
    /// How far the copies in a place are.
    Progress { kind: SinkKind, place: String },
    /// Copies at once what a sink is owed; all games once more, if `all`.
    Deliver { kind: SinkKind, all: bool },
}

/// How an archive is doing.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct RecordsStatus {
    /// Games stored.
    pub games: u64,
    /// Bytes of their records, as stored.
    pub record_bytes: u64,
    /// Games that were acknowledged and are lost.
    pub missing: u64,
    /// The damage that was found when the archive was opened.
    pub damage: Option<String>,
    /// The copies.
    pub sinks: Vec<CopyStatus>,
}

/// How the copies in a sink are doing.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct CopyStatus {
    /// Which sink.
    pub kind: SinkKind,
    /// Games that it is owed.
    pub pending: u64,
    /// Games that it has refused.
    pub set_aside: u64,
    /// It was given all that it takes.
    pub idle: bool,
    /// How often it has failed in a row, and what it said last.
    pub failing: Option<(u32, String)>,
}

/// What became of a record that was to be stored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum PutOutcome {
    /// It is on disk.
    Stored,
    /// It was there already.
    Known,
    /// It is no game by the rules, or another game has its id.
    Refused(String),
}

/// Games that were removed.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub struct Pruned {
    /// How many.
    pub games: u64,
    /// Old games that stay until they are copied.
    pub kept_for_copies: u64,
}

/// A stored record, nothing if there is no such game any more, or why it cannot be read.
pub type StoredRecord = Result<Option<ByteBuf>, String>;

/// Why a command gets no answer.
#[derive(Debug, thiserror::Error)]
pub enum RecordsError {
    /// There is no archive.
    #[error("there is no archive in {}", .0.display())]
    NoArchive(PathBuf),
    /// Another process has the archive open and answers no commands.
    #[error(
        "the archive {} is in use by {holder}, which answers no commands: it is another command, an older server, or one \
         that starts or stops; wait for it or stop it",
        path.display()
    )]
    InUse {
        /// The archive's folder.
        path: PathBuf,
        /// `process 1234`, as far as it left its number.
        holder: String,
    },
    /// The archive cannot be opened.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The running server answers nobody else than its own user.
    #[error("{} is for the server's own user: run this as that user", .0.display())]
    NotAllowed(PathBuf),
    /// The running server is of another version.
    #[error("the running server is liap {server} and does not understand liap {}: use the same version", env!("CARGO_PKG_VERSION"))]
    OtherVersion {
        /// The server's version.
        server: String,
    },
    /// The connection to the running server failed.
    #[error("the running server does not answer: {0}")]
    Connection(#[from] io::Error),
    /// The archive refuses.
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
                Err(StoreError::Locked { path, holder }) if Instant::now() >= deadline => {
                    return Err(RecordsError::InUse { path, holder });
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

/// Answers one request in its encoded form; waits for the disk.
pub(super) fn answer(archive: &Archive, request: &[u8]) -> Vec<u8> {
    match rmp_serde::from_slice(request) {
        Ok(Request::Status) => encode(Ok::<_, StoreError>(status(archive))),
        Ok(Request::Ids { query, limit }) => encode(ids(archive, &query, limit)),
        Ok(Request::Get { ids }) => encode(get(archive, &ids)),
        Ok(Request::Put { records }) => encode(put(archive, records)),
        Ok(Request::Prune { before_ms }) => encode(prune(archive, before_ms)),
        Ok(Request::Trash) => encode(archive.trash()),
        Ok(Request::Undelete { id }) => encode(archive.undelete(id)),
        Ok(Request::ConfirmClock) => encode(archive.confirm_clock()),
        Ok(Request::Number { id }) => encode(Ok::<_, StoreError>(archive.store().number(id))),
        Ok(Request::Progress { kind, place }) => encode(sink::progress(archive.store(), kind, &place)),
        Ok(Request::Deliver { kind, all }) => {
            // Games that wait for their group are copied as well.
            archive.catch_up();
            let refusal = || format!("{kind} gets no copies by the settings of the server");
            encode(archive.deliver(kind, all).then_some(()).ok_or_else(refusal))
        }
        Err(error) => encode(Err::<(), _>(format!("the request cannot be understood: {error}"))),
    }
}

fn encode<T: Serialize, E: ToString>(answer: Result<T, E>) -> Vec<u8> {
    let answer = answer.map_err(|error| error.to_string());
    // Encoding into memory fails for no answer there is; an empty one would be noticed.
    rmp_serde::to_vec_named(&answer).unwrap_or_default()
}

fn prune(archive: &Archive, before_ms: u64) -> Result<Pruned, String> {
    archive.check_clock()?;
    let games = archive.prune(before_ms).map_err(|error| error.to_string())?;
    Ok(Pruned { games, kept_for_copies: archive.owed_before(before_ms) as u64 })
}

fn status(archive: &Archive) -> RecordsStatus {
    let report = archive.report();
    let status = archive.status();
    let sinks = status.sinks.into_iter().map(|sink| CopyStatus {
        kind: sink.kind,
        pending: sink.pending,
        set_aside: sink.set_aside,
        idle: sink.idle,
        failing: sink.failing.map(|failing| (failing.attempts, failing.error.to_string())),
    });
    RecordsStatus {
        games: status.store.records,
        record_bytes: status.store.record_bytes,
        missing: report.missing + report.missing_before,
        damage: report.is_damaged().then(|| report.to_string()),
        sinks: sinks.collect(),
    }
}

fn ids(archive: &Archive, query: &Query, limit: usize) -> Result<Vec<GameId>, String> {
    let limit = limit.min(PAGE_IDS);
    if query.before.is_none() {
        // Whoever asks sees every game that has ended.
        archive.catch_up();
    }
    if *query == (Query { before: query.before, ..Query::default() }) {
        let ids = archive.store().newest_ids(..query.before.unwrap_or(GameId::MAX), limit);
        return ids.map_err(|error| error.to_string());
    }
    let Ok(limit) = limit.try_into() else { return Ok(Vec::new()) };
    let found = archive.find(query, limit).map_err(|error| error.to_string())?;
    Ok(found.games.iter().map(|game| game.game_id).collect())
}

fn get(archive: &Archive, ids: &[GameId]) -> Result<Vec<StoredRecord>, String> {
    let (mut found, mut bytes) = (Vec::new(), 0);
    for &id in ids.iter().take(PAGE_IDS) {
        let record = match archive.store().get(id) {
            Ok(record) => Ok(record.map(ByteBuf::from)),
            Err(error @ (StoreError::Damaged(_) | StoreError::Io { .. })) => Err(error.to_string()),
            Err(error) => return Err(error.to_string()),
        };
        bytes += record.as_ref().ok().and_then(Option::as_ref).map_or(0, |record| record.len());
        if bytes > PAGE_BYTES && !found.is_empty() {
            break;
        }
        found.push(record);
    }
    Ok(found)
}

fn put(archive: &Archive, records: Vec<(GameId, ByteBuf)>) -> Result<Vec<PutOutcome>, String> {
    // With a disk that refuses they would wait in memory, each request for as long as it may.
    if let Health::Failing { error, .. } = archive.status().store.health {
        return Err(format!("games cannot be stored now: {error}"));
    }
    let mut outcomes = vec![PutOutcome::Known; records.len()];
    let (done, stored) = mpsc::channel();
    for (at, (id, record)) in records.into_iter().enumerate() {
        if let Some(outcome) = check(archive, id, &record) {
            // The other end lives as long as this function.
            drop(done.send((at, outcome)));
            continue;
        }
        let done = done.clone();
        let tell = move |outcome| {
            let outcome = match outcome {
                StoreOutcome::Stored(Stored::Now) => PutOutcome::Stored,
                StoreOutcome::Stored(Stored::Before) => PutOutcome::Known,
                StoreOutcome::Refused => PutOutcome::Refused(format!("another game is stored as {id}")),
                // Then nobody waits for it either.
                StoreOutcome::Closed => return,
            };
            drop(done.send((at, outcome)));
        };
        archive.put_stored(id, record.into_vec(), tell).map_err(|error| error.to_string())?;
    }
    drop(done);
    if !archive.flush(PUT_TIMEOUT) {
        return Err(format!("the disk has not taken the games within {} s", PUT_TIMEOUT.as_secs()));
    }
    let mut told = 0;
    for (at, outcome) in stored.try_iter() {
        told += 1;
        if let Some(place) = outcomes.get_mut(at) {
            *place = outcome;
        }
    }
    if told == outcomes.len() { Ok(outcomes) } else { Err(StoreError::Closed.to_string()) }
}

/// Plays the game of a record that is to be stored again by the rules. Returns what becomes of it, if that is clear by now.
fn check(archive: &Archive, id: GameId, record: &[u8]) -> Option<PutOutcome> {
    if record.len() > MAX_RECORD_BYTES {
        return Some(PutOutcome::Refused(format!("its record has {} bytes, more than any game", record.len())));
    }
    let game = match decode(record) {
        Ok(game) if game.game_id == id => game,
        Ok(game) => return Some(PutOutcome::Refused(format!("it says that it is game {}", game.game_id))),
        Err(error) => return Some(PutOutcome::Refused(error.to_string())),
    };
    // The public form has coarser times than a record of a table: what came from there is the same game all the same.
    let line = |game: &GameRecord| replay(game).map(|game| game.to_line()).ok();
    // Another game with its name is refused by the store; a damaged record is healed.
    let stored = archive.get(id).ok().flatten()?;
    (stored == game || line(&stored) == line(&game)).then_some(PutOutcome::Known)
}
