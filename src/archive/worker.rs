//! Takes completed games off the hands of those who must not wait: one thread encodes, gathers a group and hands it to
//! the store, another waits for the disk, tells the index and whoever wants to know, and removes games that have grown too old.

use std::io;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, SyncSender, TrySendError};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use jiff::Timestamp;

use super::archive::{Removed, Shared, Undelivered, now_ms};
use super::codec::{decode_summary, encode, plain_length};
use super::{AppendError, GameId, GameRecord, Options, Receipt, Stored, WriteError};
use crate::observe::Metrics;

/// Games that may wait to be encoded. Together with the store's own queue this is many minutes of a busy server.
const QUEUE_GAMES: usize = 4096;
/// Pause before a full store is asked again.
const FULL_PAUSE: Duration = Duration::from_millis(50);
/// How often games that have grown too old are looked for.
const RETENTION_INTERVAL: Duration = Duration::from_secs(3600);
/// How long a game outlives its time when a sink has not got it yet. A sink that is gone for so long does not come back.
const OWED_GRACE: Duration = Duration::from_secs(30 * 86_400);
/// A game that waits this much longer than it takes to fill a group is worth a warning.
const BEHIND: Duration = Duration::from_secs(60);

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

/// A game handed over, and who wants to know what becomes of it.
pub(super) struct Job {
    pub(super) record: Box<GameRecord>,
    pub(super) told: Box<dyn FnOnce(StoreOutcome) + Send>,
}

/// What the encoder is told.
enum Message {
    Game(Job),
    /// What was gathered is not to wait for more.
    Hurry,
    /// It is known now which sinks get copies.
    SinksKnown,
}

/// A game that waits for its group.
struct Gathered {
    id: GameId,
    bytes: Vec<u8>,
    told: Box<dyn FnOnce(StoreOutcome) + Send>,
}

/// What the encoder hands on.
enum Handed {
    Sent(Sent),
    /// It is known now which sinks get copies.
    SinksKnown,
}

/// A game on its way to the disk.
struct Sent {
    id: GameId,
    bytes: Vec<u8>,
    receipt: Receipt,
    since: Instant,
    told: Box<dyn FnOnce(StoreOutcome) + Send>,
}

/// The end of the worker that takes games.
#[derive(Debug)]
pub(super) struct Worker {
    /// `None` once it is closed, which ends the threads.
    inbox: Mutex<Option<SyncSender<Message>>>,
    pending: Arc<Pending>,
    /// How long a game may wait for the disk before somebody should look.
    behind: Duration,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

/// How many games are not on disk yet.
#[derive(Debug)]
struct Pending {
    count: Mutex<Waiting>,
    progress: Condvar,
    metrics: Arc<Metrics>,
}

#[derive(Debug, Default)]
struct Waiting {
    games: u64,
    /// Games ever handed over; less those that wait, games that are done.
    begun: u64,
    /// When there was last none, or one reached the disk.
    progress: Option<Instant>,
}

impl Pending {
    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.count.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn begin(&self) {
        let mut waiting = self.lock();
        if waiting.games == 0 {
            waiting.progress = Some(Instant::now());
        }
        waiting.games += 1;
        waiting.begun += 1;
        self.metrics.archive_pending.inc();
    }

    fn end(&self) {
        let mut waiting = self.lock();
        waiting.games = waiting.games.saturating_sub(1);
        waiting.progress = Some(Instant::now());
        self.progress.notify_all();
        self.metrics.archive_pending.dec();
    }
}

impl Worker {
    /// Starts the threads. They end when the worker is closed or dropped.
    pub(super) fn start(shared: &Arc<Shared>, options: &Options) -> io::Result<Self> {
        let (inbox, jobs) = mpsc::sync_channel(QUEUE_GAMES);
        // As many as the store can hold may be on their way; the sender never waits here for long.
        let (sent, on_their_way) = mpsc::sync_channel(QUEUE_GAMES);
        let metrics = Arc::clone(&shared.metrics);
        let pending = Arc::new(Pending { count: Mutex::default(), progress: Condvar::new(), metrics });
        let encoder = Encoder {
            shared: Arc::clone(shared),
            sent,
            pending: Arc::clone(&pending),
            // More than the store takes at once would wait for nothing.
            group_games: options.batch_size.clamp(1, QUEUE_GAMES),
            interval: options.flush_interval,
            group: Vec::new(),
        };
        let encoding = thread::Builder::new().name("archive-encoder".to_owned()).spawn(move || encoder.run(&jobs))?;
        let retention = options.retention();
        let finisher = Finisher { shared: Arc::downgrade(shared), retention, pending: Arc::clone(&pending) };
        let finishing =
            thread::Builder::new().name("archive-index".to_owned()).spawn(move || finisher.run(&on_their_way))?;
        let behind = options.flush_interval + BEHIND;
        Ok(Self { inbox: Mutex::new(Some(inbox)), pending, behind, threads: Mutex::new(vec![encoding, finishing]) })
    }

    /// Takes a game without waiting, or gives it back.
    pub(super) fn submit(&self, job: Job) -> Result<(), Job> {
        let Some(inbox) = self.inbox() else { return Err(job) };
        self.pending.begin();
        self.taken(inbox.try_send(Message::Game(job)).map_err(|error| match error {
            TrySendError::Full(message) | TrySendError::Disconnected(message) => message,
        }))
    }

    /// Takes a game, and waits while the queue is full.
    pub(super) fn put(&self, job: Job) -> Result<(), Job> {
        let Some(inbox) = self.inbox() else { return Err(job) };
        self.pending.begin();
        self.taken(inbox.send(Message::Game(job)).map_err(|mpsc::SendError(message)| message))
    }

    fn taken(&self, sent: Result<(), Message>) -> Result<(), Job> {
        match sent {
            Err(Message::Game(job)) => {
                self.pending.end();
                Err(job)
            }
            Ok(()) | Err(Message::Hurry | Message::SinksKnown) => Ok(()),
        }
    }

    /// It is known now which sinks get copies, so that old games may go.
    pub(super) fn sinks_known(&self) {
        if let Some(inbox) = self.inbox() {
            // If the queue is full, the next game does as well.
            drop(inbox.try_send(Message::SinksKnown));
        }
    }

    /// Games handed over that are not on disk yet.
    pub(super) fn pending(&self) -> u64 {
        self.pending.lock().games
    }

    /// Whether games wait and none has reached the disk for long.
    pub(super) fn is_behind(&self) -> bool {
        let waiting = self.pending.lock();
        waiting.games > 0 && waiting.progress.is_some_and(|at| at.elapsed() > self.behind)
    }

    /// Lets no game wait for its group, and waits until those handed over so far are on disk. Says whether it came to
    /// that.
    pub(super) fn flush(&self, patience: Duration) -> bool {
        let begun = {
            let waiting = self.pending.lock();
            if waiting.games == 0 {
                return true;
            }
            waiting.begun
        };
        if let Some(inbox) = self.inbox() {
            // A full queue hurries by itself.
            drop(inbox.try_send(Message::Hurry));
        }
        self.wait_for(begun, patience)
    }

    /// Waits until so many of the games ever handed over are done.
    fn wait_for(&self, begun: u64, patience: Duration) -> bool {
        let is_waiting = |waiting: &mut Waiting| waiting.begun - waiting.games < begun;
        let waited = self.pending.progress.wait_timeout_while(self.pending.lock(), patience, is_waiting);
        !is_waiting(&mut waited.unwrap_or_else(PoisonError::into_inner).0)
    }

    /// Takes nothing more, and flushes. If that succeeds, the threads have ended too.
    pub(super) fn close(&self, patience: Duration) -> bool {
        // Without this end the encoder hands over what it has, and ends.
        self.inbox.lock().unwrap_or_else(PoisonError::into_inner).take();
        let begun = self.pending.lock().begun;
        let flushed = self.wait_for(begun, patience);
        if flushed {
            for thread in self.threads.lock().unwrap_or_else(PoisonError::into_inner).drain(..) {
                // The last one to let go of the archive may be a thread of its own.
                if thread.thread().id() != thread::current().id() {
                    // A panic was told when it happened.
                    drop(thread.join());
                }
            }
        }
        flushed
    }

    fn inbox(&self) -> Option<SyncSender<Message>> {
        self.inbox.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        // Should the disk hang, waiting longer would not help.
        self.close(Duration::from_secs(5));
    }
}

/// Makes bytes of games, gathers a group of them and hands it to the store.
struct Encoder {
    shared: Arc<Shared>,
    sent: SyncSender<Handed>,
    pending: Arc<Pending>,
    /// Games a group has at most.
    group_games: usize,
    /// How long a game waits for its group at most.
    interval: Duration,
    group: Vec<Gathered>,
}

impl Encoder {
    fn run(mut self, messages: &Receiver<Message>) {
        let mut due: Option<Instant> = None;
        loop {
            let message = match due {
                None => messages.recv().map_err(|_| RecvTimeoutError::Disconnected),
                Some(due) => messages.recv_timeout(due.saturating_duration_since(Instant::now())),
            };
            match message {
                Ok(Message::Game(job)) => self.gather(job),
                Ok(Message::Hurry) | Err(RecvTimeoutError::Timeout) => self.hand_over(),
                // The other end lives as long as this one.
                Ok(Message::SinksKnown) => drop(self.sent.send(Handed::SinksKnown)),
                Err(RecvTimeoutError::Disconnected) => return self.hand_over(),
            }
            if self.group.len() >= self.group_games || self.interval.is_zero() {
                self.hand_over();
            }
            due = if self.group.is_empty() { None } else { due.or_else(|| Some(Instant::now() + self.interval)) };
        }
    }

    fn gather(&mut self, Job { record, told }: Job) {
        let id = record.game_id;
        match encode(&record) {
            Ok(bytes) => self.group.push(Gathered { id, bytes, told }),
            Err(error) => {
                log::error!(game = id.to_string().as_str(); "a completed game cannot be stored: {error}");
                self.finish(told, StoreOutcome::Refused);
            }
        }
    }

    fn hand_over(&mut self) {
        for Gathered { id, bytes, told } in std::mem::take(&mut self.group) {
            let since = Instant::now();
            match self.append(id, bytes.clone()) {
                Ok(receipt) => {
                    // The other end lives as long as this one.
                    drop(self.sent.send(Handed::Sent(Sent { id, bytes, receipt, since, told })));
                }
                Err(answer) => self.finish(told, answer),
            }
        }
    }

    /// Hands a record to the store, again and again while that is full.
    fn append(&self, id: GameId, mut bytes: Vec<u8>) -> Result<Receipt, StoreOutcome> {
        loop {
            match self.shared.store.append(id, bytes) {
                Ok(receipt) => return Ok(receipt),
                Err(AppendError::Full(back)) => bytes = back,
                Err(AppendError::TooLarge(_)) => return Err(StoreOutcome::Refused),
                Err(AppendError::Closed(_)) => return Err(StoreOutcome::Closed),
            }
            thread::sleep(FULL_PAUSE);
        }
    }

    fn finish(&self, told: Box<dyn FnOnce(StoreOutcome) + Send>, answer: StoreOutcome) {
        told(answer);
        self.pending.end();
    }
}

/// Waits for the disk, and does what is to be done then.
struct Finisher {
    /// Weak, so that waiting for the next game keeps no closed archive open.
    shared: Weak<Shared>,
    retention: Option<Duration>,
    pending: Arc<Pending>,
}

impl Finisher {
    fn run(self, on_their_way: &Receiver<Handed>) {
        let mut tidied: Option<Instant> = None;
        loop {
            if let Some(retention) = self.retention
                && tidied.is_none_or(|at| at.elapsed() >= RETENTION_INTERVAL)
                // Before that, nothing would be spared for a sink that is owed it.
                && self.shared.upgrade().is_some_and(|shared| shared.sinks.get().is_some())
            {
                self.tidy_up(retention, tidied.is_none());
                tidied = Some(Instant::now());
            }
            match on_their_way.recv_timeout(RETENTION_INTERVAL) {
                Ok(Handed::Sent(sent)) => self.finish(sent),
                Ok(Handed::SinksKnown) | Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
        }
    }

    fn finish(&self, sent: Sent) {
        let Sent { id, bytes, receipt, since, told } = sent;
        let answer = match receipt.wait() {
            Ok(stored) => {
                self.take_in(stored, &bytes, since);
                StoreOutcome::Stored(stored)
            }
            Err(error @ WriteError::Conflict(_)) => {
                log::error!(game = id.to_string().as_str(); "a completed game cannot be stored: {error}");
                StoreOutcome::Refused
            }
            Err(WriteError::Closed) => StoreOutcome::Closed,
        };
        told(answer);
        self.pending.end();
    }

    fn take_in(&self, stored: Stored, bytes: &[u8], since: Instant) {
        let Some(shared) = self.shared.upgrade() else { return };
        match decode_summary(bytes) {
            Ok(summary) => {
                shared.index.write().unwrap_or_else(PoisonError::into_inner).insert(&summary);
            }
            Err(error) => log::error!("a game just stored cannot be read: {error}"),
        }
        if stored == Stored::Now {
            let metrics = &shared.metrics;
            metrics.archive_stored.inc();
            metrics.archive_commit_seconds.observe(since.elapsed().as_secs_f64());
            metrics.archive_bytes.with("stored").inc_by(bytes.len() as u64);
            metrics.archive_bytes.with("plain").inc_by(plain_length(bytes) as u64);
            shared.count();
            shared.sinks().iter().for_each(|sink| sink.note_stored());
        }
    }

    /// Removes the games that have grown too old, and says before which they are: whoever has set the wrong number, or the
    /// wrong clock, finds out why they are gone.
    fn tidy_up(&self, retention: Duration, is_first: bool) {
        let Some(shared) = self.shared.upgrade() else { return };
        let before_ms = |age: Duration| now_ms().saturating_sub(u64::try_from(age.as_millis()).unwrap_or(u64::MAX));
        let old = shared.removable(before_ms(retention));
        if let [oldest, ..] = old.as_slice()
            && let [.., newest] = old.as_slice()
        {
            let level = if is_first { log::Level::Warn } else { log::Level::Info };
            let [oldest, newest] = [oldest, newest].map(|id| day(id.unix_ms()));
            let days = retention.as_secs() / 86_400;
            log::log!(
                level, games = old.len(), oldest = oldest.as_str(), newest = newest.as_str();
                "removing {} games that began more than {days} days ago, from {oldest} to {newest} \
                 (ARCHIVE_RETENTION_DAYS={days})",
                old.len()
            );
        }
        let removed = shared
            .prune(before_ms(retention + OWED_GRACE), Undelivered::Goes)
            .and_then(|old| shared.prune(before_ms(retention), Undelivered::Stays).map(|removed| (old, removed)));
        match removed {
            Ok((Removed { games: old, owed }, Removed { games, .. })) => {
                if old + games > 0 {
                    log::info!(games = old + games; "old games were removed from the archive");
                }
                if owed > 0 {
                    log::error!(games = owed; "games were removed that a sink never got: it was gone for too long");
                }
            }
            Err(error) => log::warn!("old games could not be removed from the archive: {error}"),
        }
    }
}

/// The day of a moment, as 2026-11-25.
fn day(unix_ms: u64) -> String {
    let time = i64::try_from(unix_ms).ok().and_then(|ms| Timestamp::from_millisecond(ms).ok());
    time.unwrap_or(Timestamp::MAX).strftime("%Y-%m-%d").to_string()
}
