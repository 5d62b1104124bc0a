//! The archive as the rest of the house sees it: hand a game over, find it again.

use std::collections::HashMap;
use std::io;
use std::num::NonZeroUsize;
use std::path::Path;
use std::sync::{Arc, Mutex, OnceLock, PoisonError, RwLock};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use super::codec::{DecodeError, Summary, decode, decode_summary, plain_length};
use super::index::{Index, Query, Totals};
use super::known_time::KnownTime;
use super::loading;
use super::queue::{Checkpointed, IfFull, Item, Payload, Receipt, Stored, WriteError};
use super::record::GameRecord;
use super::recover::{Loader, Opened};
use super::retention::{Announcement, Upkeep};
use super::shared::Observer;
use super::sink::{Installation, Sink, SinkKind, SinkStatus, SinkWorker, State};
use super::trash::Trash;
use super::{GameId, Health, OpenReport, Options, RecordStore, StoreError, StoreOptions, StoreStatus};
use crate::observe::{Check, Metrics};

/// How often a store that waits for its disk is looked at.
const OPEN_INTERVAL: Duration = Duration::from_millis(200);
/// How long a reader waits for games that are on their way to the disk.
const READERS_WAIT: Duration = Duration::from_secs(1);
/// Games that may wait to be stored; this is many minutes of a busy server.
const QUEUE_GAMES: usize = 8192;
/// How long games from the trash may take to reach the disk.
const UNDELETE_TIMEOUT: Duration = Duration::from_secs(60);
/// A game that waits this much longer than it takes to fill a group is worth a warning.
const BEHIND: Duration = Duration::from_secs(60);

/// Completed games: kept in a [`RecordStore`], found by an index. Clones are the same archive.
///
/// Whatever reads may wait for the disk and belongs on a thread that may; [`Archive::submit`] never waits.
#[derive(Debug, Clone)]
pub struct Archive {
    pub(super) shared: Arc<Shared>,
    sink_workers: Arc<OnceLock<Vec<SinkWorker>>>,
    upkeep: Arc<Mutex<Option<Upkeep>>>,
    /// How long a game may wait for the disk before somebody should look.
    behind: Duration,
}

/// What readers and the sinks' threads share.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) store: RecordStore,
    indexer: Arc<Indexer>,
    summaries: Mutex<Summaries>,
    pub(super) metrics: Arc<Metrics>,
    pub(super) trash: Trash,
    /// Set where games are removed for their age, and where health tells of the clock: in a server.
    pub(super) known_time: OnceLock<KnownTime>,
    pub(super) announcements: Mutex<Vec<Announcement>>,
}

/// Takes in what the store has stored.
#[derive(Debug)]
struct Indexer {
    index: RwLock<Index>,
    metrics: Arc<Metrics>,
    /// The sinks that get copies, once it is known which.
    sinks: OnceLock<Vec<Arc<State>>>,
}

impl Observer for Indexer {
    fn load(&self, open: &mut dyn FnMut(&mut dyn Loader) -> Result<Opened, StoreError>) -> Result<Opened, StoreError> {
        let (opened, index) = loading::load(open);
        if opened.is_ok() {
            *self.index.write().unwrap_or_else(PoisonError::into_inner) = index;
        }
        opened
    }

    fn stored(&self, record: &[u8], took: Duration) {
        match decode_summary(record) {
            Ok(summary) => {
                self.index.write().unwrap_or_else(PoisonError::into_inner).insert(&summary);
            }
            Err(error) => log::error!("a game just stored cannot be read: {error}"),
        }
        let metrics = &self.metrics;
        metrics.archive_stored.inc();
        metrics.archive_games.inc();
        metrics.archive_commit_seconds.observe(took.as_secs_f64());
        metrics.archive_bytes.with("stored").inc_by(record.len() as u64);
        metrics.archive_bytes.with("plain").inc_by(plain_length(record) as u64);
        self.sinks.get().into_iter().flatten().for_each(|sink| sink.note_stored());
    }
}

/// What became of a game handed over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StoreOutcome {
    /// It is on disk; `Before` if it already was.
    Stored(Stored),
    /// It is no game by the rules, or another game has its id. The log says which.
    Refused,
    /// The archive was closed before the game was on disk.
    Closed,
}

/// Some games, newest first, and where to go on.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Found {
    /// The games.
    pub games: Vec<Arc<Summary>>,
    /// [`Query::before`] of the next page, if there is one.
    pub next: Option<GameId>,
}

/// The archive's queue is full: the game comes back and should be kept until later.
#[derive(Debug, thiserror::Error)]
#[error("the archive's queue is full")]
pub struct QueueFull(pub Box<GameRecord>);

/// Why a game could not be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The store did not give it.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Its record cannot be decoded.
    #[error("game {id}: {error}")]
    Decode {
        /// Which game.
        id: GameId,
        /// Why.
        error: DecodeError,
    },
}

/// How the archive is doing.
#[derive(Debug, Clone)]
pub struct ArchiveStatus {
    /// How the store is doing.
    pub store: StoreStatus,
    /// Games handed over that are not yet on disk.
    pub pending: u64,
    /// Different names that have played.
    pub players: u64,
    /// How the copies are doing.
    pub sinks: Vec<SinkStatus>,
}

impl Archive {
    /// Opens the archive in a folder, or begins one, and reads all of it to know what is there. Takes a few seconds for
    /// a million games.
    ///
    /// # Errors
    /// As for [`RecordStore::open`]. Damage is no error but told in the report.
    pub fn open(folder: &Path, options: &Options, metrics: Arc<Metrics>) -> Result<(Self, OpenReport), StoreError> {
        Self::open_with(folder, options, metrics, false)
    }

    /// The same for a server, which goes on without its archive where the disk has no room for it: the archive takes games, and
    /// has none until it was opened later.
    ///
    /// # Errors
    /// As for [`Archive::open`], but for a disk without room and a database that fails.
    pub fn open_or_wait(
        folder: &Path,
        options: &Options,
        metrics: Arc<Metrics>,
    ) -> Result<(Self, OpenReport), StoreError> {
        Self::open_with(folder, options, metrics, true)
    }

    fn open_with(
        folder: &Path,
        options: &Options,
        metrics: Arc<Metrics>,
        waits_for_disk: bool,
    ) -> Result<(Self, OpenReport), StoreError> {
        let defaults = StoreOptions::default();
        let store_options = StoreOptions {
            group_records: NonZeroUsize::new(options.batch_size).unwrap_or(defaults.group_records),
            queue_records: NonZeroUsize::new(QUEUE_GAMES).unwrap_or(defaults.queue_records),
            interval: options.flush_interval,
            waits_for_disk,
            ..defaults
        };
        let indexer =
            Arc::new(Indexer { index: RwLock::default(), metrics: Arc::clone(&metrics), sinks: OnceLock::new() });
        let observer = Arc::clone(&indexer);
        let store = RecordStore::open_with(folder, store_options, observer)?;
        let report = store.report();
        let trash =
            Trash::open(store.folder()).map_err(|source| StoreError::Io { path: store.folder().to_owned(), source })?;
        let shared = Arc::new(Shared {
            store,
            indexer,
            summaries: Mutex::new(Summaries::new(options.summary_cache_size)),
            metrics,
            trash,
            known_time: OnceLock::new(),
            announcements: Mutex::default(),
        });
        shared.count();
        let behind = options.flush_interval + BEHIND;
        Ok((Self { shared, sink_workers: Arc::default(), upkeep: Arc::default(), behind }, report))
    }

    /// Begins to copy games to sinks: what they do not have, and whatever comes. To be called once, with none where there
    /// are none: before, no game goes for its age, since a sink may be owed it.
    ///
    /// # Errors
    /// What the sinks are owed, or the number of this installation, cannot be read or written.
    pub fn deliver_to(
        &self,
        sinks: impl IntoIterator<Item = (SinkKind, Arc<dyn Sink>)>,
        options: &Options,
    ) -> Result<(), StoreError> {
        let sinks: Vec<_> = sinks.into_iter().collect();
        if self.shared.store.check_open().is_ok() {
            return self.start_sinks(sinks, options);
        }
        // What they are owed is known when the store is open.
        let (archive, options) = (self.clone(), options.clone());
        let wait = move || {
            loop {
                match archive.shared.store.check_open() {
                    Ok(()) => break,
                    Err(StoreError::Closed) => return,
                    Err(_not_yet) => thread::sleep(OPEN_INTERVAL),
                }
            }
            if let Err(error) = archive.start_sinks(sinks, &options) {
                log::error!("completed games are neither copied nor removed: {error}");
            }
        };
        let spawned = thread::Builder::new().name("archive-sinks".to_owned()).spawn(wait);
        spawned.map(drop).map_err(|source| StoreError::Io { path: self.shared.store.folder().to_owned(), source })
    }

    fn start_sinks(&self, sinks: Vec<(SinkKind, Arc<dyn Sink>)>, options: &Options) -> Result<(), StoreError> {
        let mut sink_workers = Vec::with_capacity(sinks.len());
        if !sinks.is_empty() {
            let folder = self.shared.store.folder();
            let fault = |source| StoreError::Io { path: folder.to_owned(), source };
            let ours = Installation::open(folder).map_err(fault)?;
            for (kind, sink) in sinks {
                sink_workers.push(SinkWorker::start(&self.shared, kind, sink, ours, options)?);
            }
        }
        // A second call changes nothing.
        drop(
            self.shared
                .indexer
                .sinks
                .set(sink_workers.iter().map(|sink_worker| Arc::clone(sink_worker.state())).collect()),
        );
        drop(self.sink_workers.set(sink_workers));
        let upkeep = Upkeep::start(&self.shared, options.retention()).map_err(|source| self.shared.fault(source))?;
        self.upkeep.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(upkeep);
        Ok(())
    }

    /// Copies nothing, but spares what these sinks are owed when games are removed. To be called once.
    ///
    /// # Errors
    /// What the sinks are owed cannot be read.
    pub fn spare_for(&self, sinks: impl IntoIterator<Item = (SinkKind, Arc<dyn Sink>)>) -> Result<(), StoreError> {
        let folder = self.shared.store.folder();
        let look = |(kind, sink): (_, Arc<dyn Sink>)| State::look(folder, kind, &sink.place()).map(Arc::new);
        let states: Result<Vec<_>, _> = sinks.into_iter().map(look).collect();
        let states = states.map_err(|source| StoreError::Io { path: folder.to_owned(), source })?;
        drop(self.shared.indexer.sinks.set(states));
        Ok(())
    }

    /// Copies at once what sinks are owed, and tries again what they refused.
    pub fn deliver_now(&self) {
        self.shared.sinks().iter().for_each(|sink| sink.deliver_now());
    }

    /// The same for one sink; with `all`, it is sent every game once more. Returns whether there is such a sink.
    #[must_use]
    pub fn deliver(&self, kind: SinkKind, all: bool) -> bool {
        let sink = self.shared.sinks().iter().find(|sink| sink.kind() == kind);
        match sink {
            Some(sink) if all => sink.deliver_all(),
            Some(sink) => sink.deliver_now(),
            None => {}
        }
        sink.is_some()
    }

    /// Hands a completed game over, without waiting for anything. `told` is called, by the archive's thread, when the
    /// game is on disk, or can never be.
    ///
    /// A game that was handed over before is kept once.
    ///
    /// # Errors
    /// [`QueueFull`] gives the game back: the disk has not kept up for a long time.
    pub fn submit(
        &self,
        record: GameRecord,
        told: impl FnOnce(StoreOutcome) + Send + 'static,
    ) -> Result<(), QueueFull> {
        let (id, payload) = (record.game_id, Payload::Game(Box::new(record)));
        self.shared.store.submit(item(id, payload, told, None), IfFull::ComesBack).map_err(QueueFull)
    }

    /// [`Archive::submit`] for whoever keeps a copy of the game: `checkpointed` is called when the copy may go. Then the game
    /// is not only on disk, but was also found where the database says that it lies. It is dropped where that will never be.
    ///
    /// # Errors
    /// As for [`Archive::submit`].
    pub fn submit_copied(
        &self,
        record: GameRecord,
        told: impl FnOnce(StoreOutcome) + Send + 'static,
        checkpointed: impl FnOnce() + Send + 'static,
    ) -> Result<(), QueueFull> {
        let (id, payload) = (record.game_id, Payload::Game(Box::new(record)));
        let item = item(id, payload, told, Some(Box::new(checkpointed)));
        self.shared.store.submit(item, IfFull::ComesBack).map_err(QueueFull)
    }

    /// Hands a game over as [`Archive::submit`] does, and waits if the queue is full.
    ///
    /// # Errors
    /// The archive is closed.
    pub fn put(&self, record: GameRecord, told: impl FnOnce(StoreOutcome) + Send + 'static) -> Result<(), StoreError> {
        let (id, payload) = (record.game_id, Payload::Game(Box::new(record)));
        self.shared.store.submit(item(id, payload, told, None), IfFull::Waits).map_err(|_| StoreError::Closed)
    }

    /// Finds games, newest first.
    ///
    /// # Errors
    /// The disk refuses. Damaged games are left out.
    pub fn find(&self, query: &Query, limit: NonZeroUsize) -> Result<Found, ReadError> {
        let mut found = Found::default();
        let mut query = query.clone();
        // One more than asked for says whether there is a next page.
        let wanted = limit.saturating_add(1);
        loop {
            let ids = self.index(|index| index.find(&query, wanted));
            let is_all = ids.len() < wanted.get();
            query.before = ids.last().copied();
            for id in ids {
                let summary = match self.summary(id) {
                    Ok(Some(summary)) => summary,
                    // Removed, or damaged, a moment ago.
                    Ok(None) | Err(ReadError::Decode { .. } | ReadError::Store(StoreError::Damaged(_))) => continue,
                    Err(error) => return Err(error),
                };
                // Two rooms may share a hash.
                if query.room.as_ref().is_some_and(|room| *room != summary.room_id) {
                    continue;
                }
                if found.games.len() == limit.get() {
                    found.next = found.games.last().map(|last| last.game_id);
                    return Ok(found);
                }
                found.games.push(summary);
            }
            if is_all {
                return Ok(found);
            }
        }
    }

    /// What is known of a game without playing it again.
    ///
    /// # Errors
    /// It is there but cannot be read.
    pub fn summary(&self, id: GameId) -> Result<Option<Arc<Summary>>, ReadError> {
        let cached = || self.shared.summaries.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(summary) = cached().get(id) {
            return Ok(Some(summary));
        }
        let Some(bytes) = self.shared.store.get(id)? else { return Ok(None) };
        let summary = Arc::new(decode_summary(&bytes).map_err(|error| ReadError::Decode { id, error })?);
        cached().put(Arc::clone(&summary));
        Ok(Some(summary))
    }

    /// A game.
    ///
    /// # Errors
    /// It is there but cannot be read.
    pub fn get(&self, id: GameId) -> Result<Option<GameRecord>, ReadError> {
        let Some(bytes) = self.shared.store.get(id)? else { return Ok(None) };
        decode(&bytes).map(Some).map_err(|error| ReadError::Decode { id, error })
    }

    /// What the players of this name have done.
    #[must_use]
    pub fn totals(&self, name: &str) -> Option<Totals> {
        self.index(|index| index.totals(name))
    }

    /// The people who play best, almost surely, best first.
    #[must_use]
    pub fn leaders(&self, limit: usize) -> Vec<(String, Totals)> {
        self.index(|index| index.leaders(limit))
    }

    /// Moves the games that began before this time, in milliseconds of Unix time, to the trash, and says how many there were.
    /// Games that a sink is owed stay.
    ///
    /// # Errors
    /// Some could not be removed; removing again does the rest.
    pub fn prune(&self, before_ms: u64) -> Result<u64, StoreError> {
        self.shared.remove(&self.shared.removable(before_ms, 0))
    }

    /// How many games are in the trash, and the oldest and the newest of them.
    ///
    /// # Errors
    /// The disk refuses.
    pub fn trash(&self) -> Result<(u64, Option<(GameId, GameId)>), StoreError> {
        self.shared.trash.figures().map_err(|source| self.shared.fault(source))
    }

    /// Brings a game back from the trash, or all of them, and says how many there were. They are on disk then.
    ///
    /// # Errors
    /// The disk refuses; what is not back is still in the trash.
    pub fn undelete(&self, id: Option<GameId>) -> Result<u64, StoreError> {
        let restored = self.shared.trash.take(id, |games| {
            let append = |(id, record)| self.shared.store.append(id, record, IfFull::Waits);
            let receipts: Option<Vec<_>> = games.into_iter().map(append).collect();
            // The receipts say nothing where the disk does not take them in time.
            let is_stored = |receipt: Receipt| matches!(receipt.try_recv(), Ok(Ok(_)));
            if self.flush(UNDELETE_TIMEOUT) && receipts.is_some_and(|receipts| receipts.into_iter().all(is_stored)) {
                return Ok(());
            }
            Err(io::Error::other("the archive does not take games from the trash; the log says why"))
        });
        restored.map_err(|source| self.shared.fault(source))
    }

    /// Whether the system's clock can be believed.
    ///
    /// # Errors
    /// It has leapt; the text says what to do.
    pub fn check_clock(&self) -> Result<(), String> {
        self.shared.trusted_now().map(drop).map_err(|leapt| leapt.to_string())
    }

    /// Believes the system's clock, although it has leapt, because an operator says that it is right.
    ///
    /// # Errors
    /// It cannot be right.
    pub fn confirm_clock(&self) -> Result<(), String> {
        let known = self.shared.known_time.get_or_init(|| KnownTime::open(self.shared.store.folder(), None, now_ms()));
        known.confirm(now_ms(), Instant::now())?;
        self.upkeep.lock().unwrap_or_else(PoisonError::into_inner).iter().for_each(Upkeep::wake);
        Ok(())
    }

    /// Removals of many games that were announced since this was asked last.
    #[must_use]
    pub fn announced(&self) -> Vec<Announcement> {
        std::mem::take(&mut *self.shared.announcements.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Forgets what is only kept in memory to answer faster. Returns how many summaries those were.
    pub fn forget_cached(&self) -> usize {
        self.shared.summaries.lock().unwrap_or_else(PoisonError::into_inner).forget()
    }

    /// How many of the games that began before this time stay because a sink is owed them.
    #[must_use]
    pub fn owed_before(&self, before_ms: u64) -> usize {
        let ids = self.index(|index| index.older_than(before_ms, 0, usize::MAX));
        ids.into_iter().filter(|id| self.shared.is_owed(*id)).count()
    }

    /// What opening the archive found.
    #[must_use]
    pub fn report(&self) -> OpenReport {
        self.shared.store.report()
    }

    /// The store below, for what reads or copies all of it.
    #[must_use]
    pub fn store(&self) -> &RecordStore {
        &self.shared.store
    }

    /// How the archive is doing; cheap enough to ask often.
    #[must_use]
    pub fn status(&self) -> ArchiveStatus {
        let store = self.shared.store.status();
        ArchiveStatus {
            pending: store.waiting_records,
            store,
            players: self.index(Index::players) as u64,
            sinks: self.shared.sinks().iter().map(|sink| sink.status()).collect(),
        }
    }

    /// The archive's part of the server's health.
    #[must_use]
    pub fn check(&self) -> Check {
        let ArchiveStatus { store, pending, .. } = self.status();
        let check = match &store.health {
            Health::Failing { error, .. } => Check::degraded(format!("completed games wait for the disk: {error}")),
            Health::Healthy if self.shared.store.is_behind(self.behind) => {
                Check::degraded("completed games have waited for the disk for too long")
            }
            Health::Healthy if store.damaged_reads > 0 => {
                Check::degraded(format!("{} reads found a damaged game", store.damaged_reads))
            }
            // Mended, and yet somebody should look: a backup may have what is missing.
            Health::Healthy => {
                let report = self.report();
                if report.is_damaged() {
                    Check::degraded(report.to_string())
                } else {
                    self.check_clock().map_or_else(Check::degraded, |()| Check::healthy())
                }
            }
        };
        check.with("games", store.records).with("pending", pending).with("disk_bytes", store.disk_bytes)
    }

    /// Brings the metrics that only have a value at the moment of asking up to date.
    pub fn measure(&self) {
        let (store, metrics) = (self.shared.store.status(), &self.shared.metrics);
        let gauge = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
        metrics.archive_games.set(gauge(store.records));
        metrics.archive_pending.set(gauge(store.waiting_records));
        metrics.archive_disk_bytes.set(gauge(store.disk_bytes));
        metrics.archive_damaged.set(gauge(store.damaged_reads + u64::from(self.report().is_damaged())));
        let new = |total: u64, before: u64| total.saturating_sub(before);
        metrics.archive_batches.inc_by(new(store.groups, metrics.archive_batches.get()));
        metrics.archive_failures.inc_by(new(store.failures, metrics.archive_failures.get()));
    }

    /// Lets whoever reads next see all games handed over before: none of them waits for its group any longer. Waits for
    /// a healthy disk, and for no other.
    pub fn catch_up(&self) {
        let status = self.shared.store.status();
        if status.waiting_records > 0 && status.health == Health::Healthy {
            // Where it takes longer, the reader sees them the next time.
            self.shared.store.flush(READERS_WAIT);
        }
    }

    /// Whether this game is stored.
    #[must_use]
    pub fn contains(&self, id: GameId) -> bool {
        self.shared.store.contains(id)
    }

    /// The sinks that get copies.
    pub fn sinks(&self) -> impl Iterator<Item = SinkKind> {
        self.shared.sinks().iter().map(|sink| sink.kind())
    }

    /// A sink's part of the server's health.
    #[must_use]
    pub fn check_sink(&self, kind: SinkKind) -> Check {
        let found = self.shared.sinks().iter().find(|sink| sink.kind() == kind);
        found.map_or_else(Check::healthy, |sink| sink.check())
    }

    /// Waits until everything handed over so far is on disk. Returns whether it is.
    #[must_use]
    pub fn flush(&self, timeout: Duration) -> bool {
        self.shared.store.flush(timeout)
    }

    /// Takes nothing more, waits for what was handed over to reach the disk, copies what it can, and closes the store.
    /// Returns whether all is on disk; what is not copied is still owed after the next start.
    #[must_use]
    pub fn close(&self, timeout: Duration) -> bool {
        let begun = Instant::now();
        let upkeep = self.upkeep.lock().unwrap_or_else(PoisonError::into_inner).take().map(Upkeep::stop);
        let now = Instant::now();
        self.shared.known_time.get().into_iter().for_each(|known| known.write(now));
        self.shared.trash.write(now);
        let flushed = self.shared.store.refuse_more(timeout);
        let sink_workers = self.sink_workers.get().map(Vec::as_slice).unwrap_or_default();
        sink_workers.iter().for_each(|sink_worker| sink_worker.stop(timeout.saturating_sub(begun.elapsed())));
        sink_workers.iter().for_each(SinkWorker::join);
        let closed = self.shared.store.close(Duration::from_secs(1));
        // What it still does fails by now. Its panic has been told.
        upkeep.into_iter().for_each(|thread| drop(thread.join()));
        closed && flushed
    }

    fn index<T>(&self, ask: impl FnOnce(&Index) -> T) -> T {
        self.shared.index(ask)
    }
}

impl Shared {
    pub(super) fn index<T>(&self, ask: impl FnOnce(&Index) -> T) -> T {
        ask(&self.indexer.index.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Takes games that were removed from the store out of everything else.
    pub(super) fn forget(&self, ids: &[GameId], summaries: &[Summary]) {
        self.indexer.index.write().unwrap_or_else(PoisonError::into_inner).remove(ids, summaries);
        self.summaries.lock().unwrap_or_else(PoisonError::into_inner).clear();
        self.metrics.archive_removed.inc_by(ids.len() as u64);
        self.count();
    }

    /// Brings the gauge up to date.
    fn count(&self) {
        self.metrics.archive_games.set(i64::try_from(self.store.count()).unwrap_or(i64::MAX));
    }

    /// Whether some sink has not got a game yet.
    pub(super) fn is_owed(&self, id: GameId) -> bool {
        let sinks = self.sinks();
        let number = if sinks.is_empty() { None } else { self.store.number(id) };
        number.is_some_and(|number| sinks.iter().any(|sink| sink.owes(number)))
    }

    /// The sinks that get copies.
    pub(super) fn sinks(&self) -> &[Arc<State>] {
        self.indexer.sinks.get().map(Vec::as_slice).unwrap_or_default()
    }
}

/// A game for the store, and what `told` hears of it.
fn item(
    id: GameId,
    payload: Payload,
    told: impl FnOnce(StoreOutcome) + Send + 'static,
    checkpointed: Option<Checkpointed>,
) -> Item {
    let answer = move |stored: Result<Stored, WriteError>| {
        told(match stored {
            Ok(stored) => StoreOutcome::Stored(stored),
            Err(WriteError::Closed) => StoreOutcome::Closed,
            Err(error @ (WriteError::Conflict(_) | WriteError::NoGame(_))) => {
                log::error!(game = id.to_string().as_str(); "a completed game cannot be stored: {error}");
                StoreOutcome::Refused
            }
        });
    };
    Item { payload, answer: Box::new(answer), checkpointed }
}

/// Now, in milliseconds of Unix time.
pub(super) fn now_ms() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(now.as_millis()).unwrap_or(u64::MAX)
}

/// The summaries last asked for. What was not asked for since the younger half was last full is forgotten.
#[derive(Debug, Default)]
pub(super) struct Summaries {
    half: usize,
    younger: HashMap<GameId, Arc<Summary>>,
    older: HashMap<GameId, Arc<Summary>>,
}

impl Summaries {
    fn new(size: usize) -> Self {
        Self { half: size.div_ceil(2), ..Self::default() }
    }

    fn get(&mut self, id: GameId) -> Option<Arc<Summary>> {
        if let Some(summary) = self.younger.get(&id) {
            return Some(Arc::clone(summary));
        }
        let summary = self.older.remove(&id)?;
        self.put(Arc::clone(&summary));
        Some(summary)
    }

    fn put(&mut self, summary: Arc<Summary>) {
        if self.half == 0 {
            return;
        }
        if self.younger.len() >= self.half {
            self.older = std::mem::take(&mut self.younger);
        }
        self.younger.insert(summary.game_id, summary);
    }

    fn clear(&mut self) {
        self.younger.clear();
        self.older.clear();
    }

    /// Empties itself and gives its own memory back, too. Returns how many there were.
    fn forget(&mut self) -> usize {
        let (younger, older) = (std::mem::take(&mut self.younger), std::mem::take(&mut self.older));
        younger.len() + older.len()
    }
}
