//! The archive as the rest of the house sees it: hand a game over, find it again.

use std::collections::HashMap;
use std::num::NonZeroUsize;
use std::path::Path;
use std::sync::{Arc, Mutex, OnceLock, PoisonError, RwLock};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use super::codec::{DecodeError, Summary, decode, decode_summary};
use super::index::{Index, Query, Totals};
use super::loading;
use super::record::GameRecord;
use super::sink::{Installation, Sink, SinkKind, SinkStatus, SinkWorker, State};
use super::worker::{Job, StoreOutcome, Worker};
use super::{GameId, Health, OpenReport, Options, Store, StoreError, StoreOptions, StoreStatus};
use crate::observe::{Check, Metrics};

/// Removed in one go, so that writing games never waits long for tidying up.
const REMOVED_AT_ONCE: usize = 2_000;

/// How long a reader waits for games that are on their way to the disk.
const READERS_WAIT: Duration = Duration::from_secs(1);

/// Completed games: kept in a [`Store`], found by an index, written by a thread of their own. Clones are the same
/// archive.
///
/// Whatever reads may wait for the disk and belongs on a thread that may; [`Archive::submit`] never waits.
#[derive(Debug, Clone)]
pub struct Archive {
    shared: Arc<Shared>,
    worker: Arc<Worker>,
    sink_workers: Arc<OnceLock<Vec<SinkWorker>>>,
}

/// What readers and the worker share.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) store: Store,
    pub(super) index: RwLock<Index>,
    pub(super) summaries: Mutex<Summaries>,
    pub(super) metrics: Arc<Metrics>,
    /// What was wrong when the archive was opened.
    damage: Option<String>,
    /// The sinks that get copies, once it is known which.
    pub(super) sinks: OnceLock<Vec<Arc<State>>>,
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
    /// As for [`Store::open`]. Damage is no error but told in the report.
    pub fn open(folder: &Path, options: &Options, metrics: Arc<Metrics>) -> Result<(Self, OpenReport), StoreError> {
        let defaults = StoreOptions::default();
        let group_records = NonZeroUsize::new(options.batch_size).unwrap_or(defaults.group_records);
        let (store, report) = Store::open(folder, StoreOptions { group_records, ..defaults })?;
        let index = loading::load(&store)?;
        let shared = Arc::new(Shared {
            store,
            index: RwLock::new(index),
            summaries: Mutex::new(Summaries::new(options.summary_cache_size)),
            metrics,
            damage: report.is_damaged().then(|| report.to_string()),
            sinks: OnceLock::new(),
        });
        shared.count();
        let worker =
            Worker::start(&shared, options).map_err(|source| StoreError::Io { path: folder.to_owned(), source })?;
        Ok((Self { shared, worker: Arc::new(worker), sink_workers: Arc::default() }, report))
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
        drop(self.shared.sinks.set(sink_workers.iter().map(|sink_worker| Arc::clone(sink_worker.state())).collect()));
        drop(self.sink_workers.set(sink_workers));
        self.worker.sinks_known();
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
        drop(self.shared.sinks.set(states));
        Ok(())
    }

    /// Copies at once what sinks are owed, and tries again what they refused.
    pub fn deliver_now(&self) {
        self.shared.sinks().iter().for_each(|sink| sink.deliver_now());
    }

    /// Hands a completed game over, without waiting for anything. `told` is called, by a thread of the archive, when the
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
        self.worker.submit(Job { record: Box::new(record), told: Box::new(told) }).map_err(|job| QueueFull(job.record))
    }

    /// Hands a record over in its stored form, and waits if the queue is full: for imports.
    ///
    /// # Errors
    /// The archive is closed.
    pub fn put(&self, record: GameRecord, told: impl FnOnce(StoreOutcome) + Send + 'static) -> Result<(), StoreError> {
        self.worker.put(Job { record: Box::new(record), told: Box::new(told) }).map_err(|_| StoreError::Closed)
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

    /// Removes the games that began before this time, in milliseconds of Unix time, and says how many there were. Games that
    /// a sink is owed stay.
    ///
    /// # Errors
    /// Some could not be removed; removing again does the rest.
    pub fn prune(&self, before_ms: u64) -> Result<u64, StoreError> {
        self.shared.prune(before_ms, Undelivered::Stays).map(|removed| removed.games)
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

    /// The store below, for what reads or copies all of it.
    #[must_use]
    pub fn store(&self) -> &Store {
        &self.shared.store
    }

    /// How the archive is doing; cheap enough to ask often.
    #[must_use]
    pub fn status(&self) -> ArchiveStatus {
        ArchiveStatus {
            store: self.shared.store.status(),
            pending: self.worker.pending(),
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
            Health::Healthy if self.worker.is_behind() => {
                Check::degraded("completed games have waited for the disk for too long")
            }
            Health::Healthy if store.damaged_reads > 0 => {
                Check::degraded(format!("{} reads found a damaged game", store.damaged_reads))
            }
            Health::Healthy => match &self.shared.damage {
                // Mended, and yet somebody should look: a backup may have what is missing.
                Some(damage) => Check::degraded(damage.as_str()),
                None => Check::healthy(),
            },
        };
        check.with("games", store.records).with("pending", pending).with("disk_bytes", store.disk_bytes)
    }

    /// Brings the metrics that only have a value at the moment of asking up to date.
    pub fn measure(&self) {
        let (store, metrics) = (self.shared.store.status(), &self.shared.metrics);
        let gauge = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
        metrics.archive_disk_bytes.set(gauge(store.disk_bytes));
        metrics.archive_damaged.set(gauge(store.damaged_reads + u64::from(self.shared.damage.is_some())));
        let new = |total: u64, before: u64| total.saturating_sub(before);
        metrics.archive_batches.inc_by(new(store.groups, metrics.archive_batches.get()));
        metrics.archive_failures.inc_by(new(store.failures, metrics.archive_failures.get()));
    }

    /// Lets whoever reads next see all games handed over before: none of them waits for its group any longer. Waits for
    /// a healthy disk, and for no other.
    pub fn catch_up(&self) {
        if self.worker.pending() > 0 && self.shared.store.status().health == Health::Healthy {
            // Where it takes longer, the reader sees them the next time.
            self.worker.flush(READERS_WAIT);
        }
    }

    /// Whether this game is stored.
    ///
    /// # Errors
    /// The catalog is being rebuilt.
    pub fn contains(&self, id: GameId) -> Result<bool, StoreError> {
        Ok(!self.shared.store.newest_ids(id..=id, 1)?.is_empty())
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
    pub fn flush(&self, patience: Duration) -> bool {
        self.worker.flush(patience)
    }

    /// Takes nothing more, waits for what was handed over to reach the disk, copies what it can, and closes the store.
    /// Returns whether all is on disk; what is not copied is still owed after the next start.
    #[must_use]
    pub fn close(&self, patience: Duration) -> bool {
        let begun = Instant::now();
        let flushed = self.worker.close(patience);
        let sink_workers = self.sink_workers.get().map(Vec::as_slice).unwrap_or_default();
        sink_workers.iter().for_each(|sink_worker| sink_worker.stop(patience.saturating_sub(begun.elapsed())));
        sink_workers.iter().for_each(SinkWorker::join);
        self.shared.store.close(Duration::from_secs(1)) && flushed
    }

    fn index<T>(&self, ask: impl FnOnce(&Index) -> T) -> T {
        ask(&self.shared.index.read().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Shared {
    /// The games that began before this time, oldest first, without those that a sink is owed.
    pub(super) fn removable(&self, before_ms: u64) -> Vec<GameId> {
        let mut ids = self.index.read().unwrap_or_else(PoisonError::into_inner).older_than(before_ms, 0, usize::MAX);
        ids.retain(|id| !self.is_owed(*id));
        ids
    }

    /// Removes games that began before this time.
    pub(super) fn prune(&self, before_ms: u64, owed: Undelivered) -> Result<Removed, StoreError> {
        let mut removed = Removed::default();
        let mut spared = 0;
        loop {
            let mut ids = {
                let index = self.index.read().unwrap_or_else(PoisonError::into_inner);
                index.older_than(before_ms, spared, REMOVED_AT_ONCE)
            };
            if ids.is_empty() {
                return Ok(removed);
            }
            let found = ids.len();
            let is_owed = |id: &GameId| self.is_owed(*id);
            match owed {
                Undelivered::Stays => ids.retain(|id| !is_owed(id)),
                Undelivered::Goes => removed.owed += ids.iter().filter(|id| is_owed(id)).count() as u64,
            }
            spared += found - ids.len();
            if ids.is_empty() {
                continue;
            }
            // What cannot be read any more goes all the same; only the totals do not learn of it.
            let summaries: Vec<Summary> = ids
                .iter()
                .map(|&id| {
                    let bytes = self.store.get(id).ok().flatten();
                    bytes.and_then(|bytes| decode_summary(&bytes).ok()).ok_or(id)
                })
                .filter_map(Result::ok)
                .collect();
            removed.games += self.store.remove(&ids)?;
            let mut index = self.index.write().unwrap_or_else(PoisonError::into_inner);
            index.remove(&ids, &summaries);
            drop(index);
            self.summaries.lock().unwrap_or_else(PoisonError::into_inner).clear();
            self.metrics.archive_removed.inc_by(ids.len() as u64);
            self.count();
        }
    }

    /// Whether some sink has not got a game yet.
    fn is_owed(&self, id: GameId) -> bool {
        let sinks = self.sinks();
        // Where it cannot be told, the game stays for an hour more.
        let owes = |number: Option<u64>| number.is_some_and(|number| sinks.iter().any(|sink| sink.owes(number)));
        !sinks.is_empty() && self.store.number(id).map_or(true, owes)
    }

    /// The sinks that get copies.
    pub(super) fn sinks(&self) -> &[Arc<State>] {
        self.sinks.get().map(Vec::as_slice).unwrap_or_default()
    }

    /// Brings the gauges up to date.
    pub(super) fn count(&self) {
        self.metrics.archive_games.set(i64::try_from(self.store.count()).unwrap_or(i64::MAX));
    }
}

/// What becomes of old games that a sink has not got yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Undelivered {
    /// They stay until it has.
    Stays,
    /// They go like all others.
    Goes,
}

/// Games that were removed.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Removed {
    pub(super) games: u64,
    /// Those among them that a sink never got.
    pub(super) owed: u64,
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
