//! What commands may ask of an archive, and how it answers: the same beside a running server and without one.
//!
//! Every answer is bounded; long lists are read in pages. [`Records`](super::Records) asks.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_bytes::ByteBuf;

use super::codec::decode;
use super::queue::{IfFull, Receipt, Stored, WriteError};
use super::sink::{self, SinkKind};
use super::{Archive, GameId, GameRecord, Health, Query, StoreError, replay};

/// Ids in one answer.
pub(super) const PAGE_IDS: usize = 10_000;
/// Bytes of records in one answer or one request, but for a single larger record.
pub(super) const PAGE_BYTES: usize = 1 << 20;
/// Records that are stored with one request.
pub(super) const PUT_RECORDS: usize = 500;
/// How long records may take to reach the disk.
const PUT_TIMEOUT: Duration = Duration::from_secs(60);
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
        let ids = archive.store().newest_ids(query.before.unwrap_or(GameId::MAX), limit);
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
    let begin = |(id, record): (GameId, ByteBuf)| match check(archive, id, &record) {
        Some(outcome) => Ok(outcome),
        None => Err((id, archive.store().append(id, record.into_vec(), IfFull::Waits))),
    };
    let begun: Vec<_> = records.into_iter().map(begin).collect();
    if !archive.flush(PUT_TIMEOUT) {
        return Err(format!("the disk has not taken the games within {} s", PUT_TIMEOUT.as_secs()));
    }
    let outcome = |begun: Result<_, (GameId, Option<Receipt>)>| {
        begun.or_else(|(id, receipt)| match receipt.and_then(|receipt| receipt.try_recv().ok()) {
            Some(Ok(Stored::Now)) => Ok(PutOutcome::Stored),
            Some(Ok(Stored::Before)) => Ok(PutOutcome::Known),
            Some(Err(WriteError::Conflict(_))) => Ok(PutOutcome::Refused(format!("another game is stored as {id}"))),
            Some(Err(WriteError::NoGame(reason))) => Ok(PutOutcome::Refused(reason)),
            Some(Err(WriteError::Closed)) | None => Err(StoreError::Closed.to_string()),
        })
    };
    begun.into_iter().map(outcome).collect()
}

/// Plays the game of a record that is to be stored again by the rules. Returns what becomes of it, if that is clear by now.
fn check(archive: &Archive, id: GameId, record: &[u8]) -> Option<PutOutcome> {
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
