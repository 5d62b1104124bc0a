//! Brings games to a sink: one thread for each, so that neither tables nor the archive's own threads ever wait for one.
//!
//! A group is read from the archive, played again, sent, and noted as delivered; while it is on its way the next one is
//! prepared. After a failure the same group is sent again, later and later, for ever: the archive keeps what is owed.

use std::future::pending;
use std::io;
use std::num::NonZeroUsize;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use tokio::sync::{Notify, watch};
use tokio::task;

use super::outbox::{Outbox, Progress};
use super::{Delivery, Installation, Origin, Refusal, RemovalPass, Sink, SinkError, SinkKind};
use crate::archive::archive::{Shared, now_ms};
use crate::archive::store::{Kept, Numbered, Unreadable};
use crate::archive::{GameId, Options, StoreError};
use crate::observe::{Check, Metrics, lower_priority};

/// Games of one group at most, whatever the settings say: all their forms are in memory.
const MAX_GROUP: usize = 500;
/// Bytes of the stored games of one group at most.
const MAX_GROUP_BYTES: usize = 1 << 20;
/// Longest time one question to a sink may take, should it forget its own bounds.
const PATIENCE: Duration = Duration::from_secs(60);
/// The pause after the first failure; it doubles with every further one.
const FIRST_PAUSE: Duration = Duration::from_millis(500);
/// The longest pause between two attempts.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// Attempts to read a record that the disk does not give, before the others go on without it.
const READ_ATTEMPTS: u32 = 2;
/// How often a sink that has everything is asked whether it is still there.
const CHECK_INTERVAL: Duration = Duration::from_secs(30);
/// How often games that have grown too old are looked for in the sink.
const RETENTION_INTERVAL: Duration = Duration::from_secs(3600);
/// How often all old copies are looked at, and not only those that have grown too old meanwhile: `liap archive sync --adopt`
/// may have made some of them ours. Where many belong to others, that costs a request for each in a bucket.
const FULL_SWEEP_INTERVAL: Duration = Duration::from_secs(24 * 3600);
/// Games in a sink before an empty archive that are counted at most.
const COUNTED: NonZeroUsize = NonZeroUsize::MIN.saturating_add(999);
/// The archive stores games in groups; this is how long the first of them waits for the others.
const GATHER: Duration = Duration::from_millis(100);

/// The deliveries to one sink.
#[derive(Debug)]
pub(in crate::archive) struct SinkWorker {
    state: Arc<State>,
    /// When to give up; `None` while the server runs.
    stop: watch::Sender<Option<Instant>>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

/// What others may know of the deliveries to a sink.
#[derive(Debug)]
pub(in crate::archive) struct State {
    kind: SinkKind,
    /// Games were stored.
    stored: Notify,
    /// Somebody wants everything delivered now.
    now: Notify,
    /// The number up to which everything was delivered or set aside.
    delivered: AtomicU64,
    figures: Mutex<Figures>,
}

#[derive(Debug, Clone, Default)]
struct Figures {
    pending: u64,
    set_aside: u64,
    /// Since when the oldest game owed has waited, at least.
    waiting: Option<Instant>,
    idle: bool,
    failing: Option<Failing>,
}

/// How the deliveries to a sink are doing.
#[derive(Debug, Clone)]
pub struct SinkStatus {
    /// Which sink.
    pub kind: SinkKind,
    /// Games that it is owed.
    pub pending: u64,
    /// Games that it has refused for good.
    pub set_aside: u64,
    /// How long the oldest game owed has waited, at least.
    pub lag: Duration,
    /// It was given all that it takes, and nothing is to be done.
    pub idle: bool,
    /// What goes wrong, if anything does.
    pub failing: Option<Failing>,
}

/// A sink that does not take games.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failing {
    /// Since when.
    pub since: Instant,
    /// What it said last.
    pub error: SinkError,
    /// How often it was tried.
    pub attempts: u32,
}

impl SinkWorker {
    /// Begins to deliver.
    pub(in crate::archive) fn start(
        shared: &Arc<Shared>,
        kind: SinkKind,
        sink: Arc<dyn Sink>,
        (installation, origin): (Installation, Origin),
        options: &Options,
    ) -> Result<Self, StoreError> {
        let folder = shared.store.folder();
        let fault = |source| StoreError::Io { path: folder.to_owned(), source };
        let outbox = Outbox::open(folder, kind, &sink.place(), shared.store.last_number()).map_err(fault)?;
        let pending = shared.store.count_after(outbox.delivered());
        let retention = options.retention();
        if origin == Origin::Made && outbox.delivered() > 0 && retention.is_some() {
            log::warn!(
                sink = kind.name();
                "copies made so far do not say which installation made them, so ARCHIVE_RETENTION_DAYS does not remove them; \
                 run `liap archive sync --adopt` once"
            );
        }
        let figures = Figures { pending, set_aside: outbox.set_aside().len() as u64, ..Figures::default() };
        let state = Arc::new(State::new(kind, outbox.delivered(), figures));
        let (stop, stopped) = watch::channel(None);
        let round = Pass {
            shared: Arc::clone(shared),
            sink,
            state: Arc::clone(&state),
            outbox,
            group: options.batch_size.clamp(1, MAX_GROUP),
            installation,
            retention,
            tidied: None,
            sweep: None,
            swept_until: None,
            swept_fully: None,
            is_empty: shared.store.last_number() == 0,
            checked: None,
            waiting: None,
            failures: 0,
            unread: 0,
            prepared: None,
            stopped,
        };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().max_blocking_threads(4).build();
        let runtime = runtime.map_err(fault)?;
        let run = move || {
            // A backlog would otherwise keep a core busy for as long as it lasts.
            lower_priority();
            runtime.block_on(Box::pin(round.run()));
            // A request that hangs had its time.
            runtime.shutdown_background();
        };
        let thread = thread::Builder::new().name(format!("sink-{kind}")).spawn(run).map_err(fault)?;
        Ok(Self { state, stop, thread: Mutex::new(Some(thread)) })
    }

    /// What others may know.
    pub(in crate::archive) fn state(&self) -> &Arc<State> {
        &self.state
    }

    /// Delivers what it can until then, and ends. What is left stays owed.
    pub(in crate::archive) fn stop(&self, patience: Duration) {
        self.stop.send_replace(Some(Instant::now() + patience));
    }

    /// Waits for the thread, once it was told to stop.
    pub(in crate::archive) fn join(&self) {
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        // The last one to let go of the archive may be the thread itself. A panic was told when it happened.
        if let Some(thread) = thread.filter(|thread| thread.thread().id() != thread::current().id()) {
            drop(thread.join());
        }
    }
}

impl Drop for SinkWorker {
    fn drop(&mut self) {
        self.stop(Duration::ZERO);
        self.join();
    }
}

impl State {
    /// What is known of a sink from its outbox alone, for who delivers nothing.
    pub(in crate::archive) fn look(store: &Path, kind: SinkKind, place: &str) -> io::Result<Self> {
        let Progress { delivered, set_aside } = Progress::look(store, kind, place)?;
        let figures = Figures { set_aside: set_aside.len() as u64, ..Figures::default() };
        Ok(Self::new(kind, delivered, figures))
    }

    fn new(kind: SinkKind, delivered: u64, figures: Figures) -> Self {
        let (stored, now) = (Notify::new(), Notify::new());
        Self { kind, stored, now, delivered: AtomicU64::new(delivered), figures: Mutex::new(figures) }
    }

    /// Which sink.
    pub(in crate::archive) fn kind(&self) -> SinkKind {
        self.kind
    }

    /// Games were stored.
    pub(in crate::archive) fn note_stored(&self) {
        // Whoever looks before the thread wakes must not believe that everything is there.
        self.figures().idle = false;
        self.stored.notify_one();
    }

    /// Does not wait for the pause after a failure to end, and tries again what was refused.
    pub(in crate::archive) fn deliver_now(&self) {
        self.figures().idle = false;
        self.now.notify_one();
    }

    /// Whether the game with this number is still owed.
    pub(in crate::archive) fn owes(&self, number: u64) -> bool {
        number > self.delivered.load(Ordering::Acquire)
    }

    /// How it is doing.
    pub(in crate::archive) fn status(&self) -> SinkStatus {
        let Figures { pending, set_aside, waiting, idle, failing } = self.figures().clone();
        let lag = waiting.map_or(Duration::ZERO, |since| since.elapsed());
        SinkStatus { kind: self.kind, pending, set_aside, lag, idle, failing }
    }

    /// The sink's part of the server's health. Games go on whatever happens to it.
    pub(in crate::archive) fn check(&self) -> Check {
        let SinkStatus { pending, set_aside, lag, failing, .. } = self.status();
        let check = match failing {
            Some(failing) => Check::degraded(format!("completed games wait to be copied: {}", failing.error)),
            None if set_aside > 0 => {
                Check::degraded(format!("{set_aside} games are refused; `liap archive compare` names them"))
            }
            None => Check::healthy(),
        };
        check.with("pending", pending).with("set_aside", set_aside).with("lag_seconds", lag.as_secs())
    }

    fn figures(&self) -> std::sync::MutexGuard<'_, Figures> {
        self.figures.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The thread's own state.
struct Pass {
    shared: Arc<Shared>,
    sink: Arc<dyn Sink>,
    state: Arc<State>,
    outbox: Outbox,
    group: usize,
    /// Who we are: what our copies carry.
    installation: Installation,
    retention: Option<Duration>,
    /// When the last sweep for old copies has ended.
    tidied: Option<Instant>,
    /// The one under way.
    sweep: Option<Sweep>,
    /// Where the next one begins: no copy that was before it when it was passed is ours.
    swept_until: Option<GameId>,
    /// When the last sweep began that began with the oldest copy.
    swept_fully: Option<Instant>,
    /// The archive has never held a game, and nobody was told yet what the sink has.
    is_empty: bool,
    /// When the sink was last seen to be well.
    checked: Option<Instant>,
    /// Everything stored before this moment has at most this number, and some of it is still owed.
    waiting: Option<(u64, Instant)>,
    failures: u32,
    /// How often the next group could not be read.
    unread: u32,
    /// The group to send next, as soon as it is ready.
    prepared: Option<Prepared>,
    stopped: watch::Receiver<Option<Instant>>,
}

/// One way through the old copies of a sink, pass by pass.
#[derive(Debug)]
struct Sweep {
    /// The last game that was looked at.
    after: Option<GameId>,
    before_ms: u64,
    is_full: bool,
    removed: u64,
    unmarked: u64,
}

/// A group that is ready, or will be.
enum Prepared {
    Ready(Group),
    Soon(task::JoinHandle<Result<Group, StoreError>>),
}

/// Games that are sent together.
#[derive(Debug, Default)]
struct Group {
    games: Vec<Delivery>,
    /// Games that no sink shall get.
    refused: Vec<Refusal>,
    /// The number of the last of them.
    last: u64,
}

/// Why a group is not delivered.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error(transparent)]
    Sink(#[from] SinkError),
    #[error("it cannot be noted what was delivered: {0}")]
    Disk(#[from] io::Error),
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Pass {
    async fn run(mut self) {
        let mut stopped = self.stopped.clone();
        let deadline = async {
            let deadline = stopped.wait_for(Option::is_some).await.map(|deadline| *deadline);
            tokio::time::sleep_until(deadline.ok().flatten().unwrap_or_else(Instant::now).into()).await;
        };
        // What is on its way when the time is up is sent again at the next start.
        tokio::select! {
            () = Box::pin(self.rounds()) => {}
            () = deadline => {}
        }
    }

    async fn rounds(&mut self) {
        let mut refused_due = self.outbox.set_aside().len() > 0;
        loop {
            self.count();
            if self.is_over() {
                return;
            }
            let pending = self.state.figures().pending;
            // What was never tried goes first: whatever is wrong with the refused ones, it holds up nothing else.
            let outcome = if pending > 0 {
                self.deliver().await
            } else if refused_due {
                let outcome = self.try_refused().await;
                refused_due = outcome.is_err();
                outcome
            } else if self.checked.is_none_or(|at| at.elapsed() >= CHECK_INTERVAL) {
                self.check().await
            } else if self.wants_to_tidy_up() {
                self.tidy_up().await
            } else {
                self.state.figures().idle = true;
                refused_due = self.wait(self.time_left()).await == Woken::Now;
                self.state.figures().idle = false;
                continue;
            };
            match outcome {
                Ok(()) => self.note_success(),
                Err(Failure::Store(StoreError::Closed)) => return,
                Err(failure) => {
                    self.unread += u32::from(matches!(failure, Failure::Store(StoreError::Io { .. })));
                    let pause = self.note_failure(failure);
                    refused_due |= self.wait(pause).await == Woken::Now;
                }
            }
        }
    }

    /// Whether the thread shall end: it was told to, and has delivered all, or the sink is not well.
    fn is_over(&mut self) -> bool {
        self.stopped.borrow_and_update().is_some() && (self.state.figures().pending == 0 || self.failures > 0)
    }

    /// How long nothing needs to be done unless something happens.
    fn time_left(&self) -> Duration {
        let left = |since: Option<Instant>, interval: Duration| {
            since.map_or(Duration::ZERO, |since| interval.saturating_sub(since.elapsed()))
        };
        let time = left(self.checked, CHECK_INTERVAL);
        if self.retention.is_some() { time.min(left(self.tidied, RETENTION_INTERVAL)) } else { time }
    }

    /// Waits until the time is over, games were stored, or somebody wants something.
    async fn wait(&mut self, time: Duration) -> Woken {
        let Self { state, stopped, failures, .. } = self;
        let stored = async {
            // After a failure, more games are no reason to try again earlier.
            if *failures > 0 {
                pending::<()>().await;
            }
            state.stored.notified().await;
            tokio::time::sleep(GATHER).await;
        };
        tokio::select! {
            () = tokio::time::sleep(time) => Woken::Other,
            () = stored => Woken::Other,
            () = state.now.notified() => Woken::Now,
            _stop = stopped.changed() => Woken::Other,
        }
    }

    /// Sends the next group.
    async fn deliver(&mut self) -> Result<(), Failure> {
        let began = Instant::now();
        let group = self.next_group().await?;
        self.unread = 0;
        // While this one is on its way the next one is played again, on another thread.
        if !group.is_empty() {
            self.prepared = Some(Prepared::Soon(self.prepare(group.last)));
        }
        let outcome = self.send(&group).await;
        let metrics = Arc::clone(&self.shared.metrics);
        metrics.sink_batch_seconds.with(self.state.kind.name()).observe(began.elapsed().as_secs_f64());
        if outcome.is_err() {
            self.prepared = Some(Prepared::Ready(group));
        }
        outcome
    }

    /// The group that was prepared, or the one that comes next.
    async fn next_group(&mut self) -> Result<Group, Failure> {
        let prepared = self.prepared.take().unwrap_or_else(|| Prepared::Soon(self.prepare(self.outbox.delivered())));
        let group = match prepared {
            Prepared::Ready(group) => group,
            Prepared::Soon(soon) => match soon.await {
                Ok(group) => group?,
                Err(_panicked) => return Err(io::Error::other("a game could not be played again").into()),
            },
        };
        Ok(group)
    }

    fn prepare(&self, after: u64) -> task::JoinHandle<Result<Group, StoreError>> {
        let (shared, group) = (Arc::clone(&self.shared), self.group);
        let unreadable = if self.unread < READ_ATTEMPTS { Unreadable::Fails } else { Unreadable::Named };
        task::spawn_blocking(move || {
            Ok(Group::new(after, shared.store.after(after, group, MAX_GROUP_BYTES, unreadable)?))
        })
    }

    async fn send(&mut self, group: &Group) -> Result<(), Failure> {
        let mut refused = group.refused.clone();
        if !group.games.is_empty() {
            if self.checked.is_none() {
                self.check().await?;
            }
            refused.extend(within(self.sink.deliver(&group.games, self.installation)).await?);
            self.sweep_again_from(&group.games);
        }
        self.refuse(&refused)?;
        self.outbox.advance(group.last.max(self.outbox.delivered()))?;
        self.state.delivered.store(self.outbox.delivered(), Ordering::Release);
        self.metrics()
            .sink_delivered
            .with(self.state.kind.name())
            .inc_by((group.games.len() + group.refused.len()).saturating_sub(refused.len()) as u64);
        Ok(())
    }

    /// Tries again what was refused: the reason may be gone.
    async fn try_refused(&mut self) -> Result<(), Failure> {
        let ids: Vec<GameId> = self.outbox.set_aside().collect();
        for ids in ids.chunks(self.group) {
            let mut games = Vec::new();
            for &id in ids {
                // What was removed from the archive need not be delivered any more.
                if let Ok(Some(stored)) = self.shared.store.get(id) {
                    games.extend(Delivery::prove(id, stored));
                }
            }
            let refused = within(self.sink.deliver(&games, self.installation)).await?;
            self.sweep_again_from(&games);
            let mut settled: Vec<GameId> = games.iter().map(|game| game.id).collect();
            settled.retain(|id| refused.iter().all(|refusal| refusal.id != *id));
            let gone = ids.iter().copied().filter(|&id| matches!(self.shared.store.get(id), Ok(None)));
            self.outbox.settle(settled.iter().copied().chain(gone))?;
            self.metrics().sink_delivered.with(self.state.kind.name()).inc_by(settled.len() as u64);
        }
        Ok(())
    }

    fn refuse(&mut self, refused: &[Refusal]) -> io::Result<()> {
        self.outbox.refuse(refused)?;
        for Refusal { id, reason } in refused {
            log::error!(sink = self.state.kind.name(), game = id.to_string().as_str(); "a game is set aside: {reason}");
        }
        Ok(())
    }

    async fn check(&mut self) -> Result<(), Failure> {
        self.checked = None;
        within(self.sink.check()).await?;
        if self.is_empty {
            self.tell_what_is_there().await?;
            self.is_empty = false;
        }
        self.checked = Some(Instant::now());
        Ok(())
    }

    fn wants_to_tidy_up(&self) -> bool {
        self.retention.is_some() && self.tidied.is_none_or(|at| at.elapsed() >= RETENTION_INTERVAL)
    }

    /// Says what a sink holds that may have been meant for this archive. Somebody may have lost a disk, or named another
    /// folder by mistake.
    async fn tell_what_is_there(&self) -> Result<(), SinkError> {
        let games = within(self.sink.count(u64::MAX, COUNTED)).await?;
        if games > 0 {
            let kind = self.state.kind;
            let more = if games == COUNTED.get() { "at least " } else { "" };
            log::warn!(
                sink = kind.name(), games = games;
                "the archive here is empty, and {more}{games} games are in {}: if this server has made them, stop it and run \
                 `liap archive restore --from {kind}`; nothing there is removed",
                self.sink.place()
            );
        }
        Ok(())
    }

    /// What was just sent may be older than what a sweep has passed.
    fn sweep_again_from(&mut self, games: &[Delivery]) {
        let Some(oldest) = games.iter().map(|game| game.id).min() else { return };
        let before = before(oldest.unix_ms());
        self.swept_until = self.swept_until.map(|until| until.min(before));
        if let Some(sweep) = &mut self.sweep {
            sweep.after = sweep.after.map(|after| after.min(before));
        }
    }

    /// Removes from the sink, one pass at a time, what this installation has put there and has grown too old.
    async fn tidy_up(&mut self) -> Result<(), Failure> {
        let Some(retention) = self.retention else { return Ok(()) };
        let sweep = match self.sweep.take() {
            Some(sweep) => sweep,
            None => {
                let is_full = self.swept_fully.is_none_or(|at| at.elapsed() >= FULL_SWEEP_INTERVAL);
                if is_full {
                    self.swept_fully = Some(Instant::now());
                }
                let after = if is_full { None } else { self.swept_until };
                let before_ms = now_ms().saturating_sub(u64::try_from(retention.as_millis()).unwrap_or(u64::MAX));
                Sweep { after, before_ms, is_full, removed: 0, unmarked: 0 }
            }
        };
        let sweep = self.sweep.insert(sweep);
        let RemovalPass { removed, unmarked, next } =
            within(self.sink.remove(sweep.after, sweep.before_ms, self.installation)).await?;
        sweep.removed += removed;
        sweep.unmarked += unmarked;
        if next.is_some() {
            // The rest comes with the next pass; what is to be delivered goes first.
            sweep.after = next;
            return Ok(());
        }
        let Some(Sweep { before_ms, is_full, removed, unmarked, .. }) = self.sweep.take() else { return Ok(()) };
        let kind = self.state.kind.name();
        if removed > 0 {
            log::info!(sink = kind, games = removed; "old games were removed from the sink");
        }
        // Once a day, and not whenever another one has grown too old.
        if unmarked > 0 && is_full {
            log::warn!(
                sink = kind, games = unmarked;
                "{unmarked} games older than ARCHIVE_RETENTION_DAYS stay in the sink, for their copies do not say which \
                 installation made them: `liap archive sync --adopt` takes over those that are here too, remove the others \
                 by hand"
            );
        }
        self.swept_until = Some(before(before_ms));
        self.tidied = Some(Instant::now());
        Ok(())
    }

    fn note_success(&mut self) {
        self.failures = 0;
        self.checked = Some(Instant::now());
        let failing = self.state.figures().failing.take();
        if let Some(failing) = failing {
            let (seconds, attempts) = (failing.since.elapsed().as_secs(), failing.attempts);
            log::info!(sink = self.state.kind.name(), seconds = seconds, attempts = attempts; "the sink is back");
        }
    }

    /// Notes a failure and says how long to wait.
    fn note_failure(&mut self, failure: Failure) -> Duration {
        self.metrics().sink_failures.with(self.state.kind.name()).inc();
        self.failures = self.failures.saturating_add(1);
        self.checked = None;
        let error = match failure {
            Failure::Sink(error) => error,
            failure @ (Failure::Disk(_) | Failure::Store(_)) => SinkError::Unavailable(failure.to_string()),
        };
        let mut pause = FIRST_PAUSE.saturating_mul(1 << (self.failures - 1).min(16)).min(LONGEST_PAUSE);
        if matches!(error, SinkError::Denied(_)) {
            // Only a person can change that.
            pause = LONGEST_PAUSE;
        }
        let mut figures = self.state.figures();
        let (since, told) =
            figures.failing.as_ref().map_or((Instant::now(), None), |failing| (failing.since, Some(&failing.error)));
        // Told once, and again when it is something else.
        if told != Some(&error) {
            log::warn!(sink = self.state.kind.name(); "completed games wait to be copied: {error}");
        }
        figures.failing = Some(Failing { since, error, attempts: self.failures });
        drop(figures);
        // Somewhere in its second half, so that several servers do not come back all at once.
        let random = getrandom::u32().unwrap_or(u32::MAX);
        pause.mul_f64(0.5 + 0.5 * f64::from(random) / f64::from(u32::MAX))
    }

    /// Brings the figures up to date.
    fn count(&mut self) {
        let delivered = self.outbox.delivered();
        let pending = self.shared.store.count_after(delivered);
        let set_aside = self.outbox.set_aside().len() as u64;
        if pending == 0 || self.waiting.is_some_and(|(number, _)| number <= delivered) {
            self.waiting = None;
        }
        if pending > 0 {
            self.waiting.get_or_insert_with(|| (self.shared.store.last_number(), Instant::now()));
        }
        let waiting = self.waiting.map(|(_, since)| since);
        let lag = waiting.map_or(0, |since| since.elapsed().as_secs());
        let (kind, metrics) = (self.state.kind.name(), self.metrics());
        for (gauge, number) in
            [(&metrics.sink_pending, pending), (&metrics.sink_set_aside, set_aside), (&metrics.sink_lag_seconds, lag)]
        {
            gauge.with(kind).set(i64::try_from(number).unwrap_or(i64::MAX));
        }
        let mut figures = self.state.figures();
        (figures.pending, figures.set_aside, figures.waiting) = (pending, set_aside, waiting);
    }

    fn metrics(&self) -> &Metrics {
        &self.shared.metrics
    }
}

/// What ended a wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Woken {
    /// Somebody wants everything delivered now.
    Now,
    Other,
}

impl Group {
    fn new(after: u64, records: Vec<Numbered>) -> Self {
        let mut group = Self { last: after, ..Self::default() };
        for Numbered { seq, record } in records {
            group.last = seq;
            match record {
                Kept::Whole(id, stored) => match Delivery::prove(id, stored) {
                    Ok(game) => group.games.push(game),
                    Err(error) => group.refused.push(Refusal { id, reason: error.to_string() }),
                },
                // A damaged record has no name; the archive tells of it, and healed it gets another number.
                Kept::Damaged => {}
                // Set aside, for the disk may give it another time.
                Kept::Unreadable(id, reason) => group.refused.push(Refusal { id, reason }),
            }
        }
        group
    }

    fn is_empty(&self) -> bool {
        self.games.is_empty() && self.refused.is_empty()
    }
}

/// A game before all that began at this moment or later.
fn before(unix_ms: u64) -> GameId {
    GameId::first_at(unix_ms.saturating_sub(1))
}

/// An answer, or that there is none in time.
async fn within<T>(answer: super::Answer<'_, T>) -> Result<T, SinkError> {
    tokio::time::timeout(PATIENCE, answer)
        .await
        .unwrap_or_else(|_| Err(SinkError::Unavailable(format!("no answer within {} s", PATIENCE.as_secs()))))
}

#[cfg(test)]
mod tests {
    use super::super::{Adoption, Answer, Content, Held};
    use super::*;
    use crate::archive::{Archive, GameRecord};
    use crate::game::{BySeat, Level, Seating, Series};

    /// Takes everything.
    #[derive(Debug, Default)]
    struct Taker(Mutex<Vec<GameId>>);

    impl Sink for Taker {
        fn place(&self) -> String {
            "here".to_owned()
        }

        fn check(&self) -> Answer<'_, ()> {
            Box::pin(std::future::ready(Ok(())))
        }

        fn deliver<'a>(&'a self, games: &'a [Delivery], _ours: Installation) -> Answer<'a, Vec<Refusal>> {
            self.0.lock().unwrap().extend(games.iter().map(|game| game.id));
            Box::pin(std::future::ready(Ok(Vec::new())))
        }

        fn page(&self, _after: Option<GameId>, _limit: NonZeroUsize) -> Answer<'_, Vec<Held>> {
            Box::pin(std::future::ready(Ok(Vec::new())))
        }

        fn fetch(&self, _id: GameId) -> Answer<'_, Option<Content>> {
            Box::pin(std::future::ready(Ok(None)))
        }

        fn count(&self, _before_ms: u64, _limit: NonZeroUsize) -> Answer<'_, usize> {
            Box::pin(std::future::ready(Ok(0)))
        }

        fn remove(&self, _after: Option<GameId>, _before_ms: u64, _ours: Installation) -> Answer<'_, RemovalPass> {
            Box::pin(std::future::ready(Ok(RemovalPass::default())))
        }

        fn adopt<'a>(
            &'a self,
            _games: &'a [Delivery],
            _from: Option<Installation>,
            _ours: Installation,
        ) -> Answer<'a, Vec<(GameId, Adoption)>> {
            Box::pin(std::future::ready(Ok(Vec::new())))
        }
    }

    #[test]
    fn a_record_that_the_disk_does_not_give_holds_up_no_other() {
        const PATIENCE: Duration = Duration::from_secs(60);
        let folder = tempfile::tempdir().unwrap();
        let options = Options { retention_days: 0, flush_interval: Duration::ZERO, ..Options::default() };
        let (archive, _) =
            Archive::open(folder.path(), &options, Arc::new(Metrics::new("test", "test", false))).unwrap();
        let series = Series { seed: 3, players: BySeat::new([Level::Easy; 4]), seating: Seating::Fixed, max_rounds: 1 };
        let records: Vec<GameRecord> = (0..3).map(|number| GameRecord::simulate(&series, number).0).collect();
        for record in &records {
            archive.put(record.clone(), drop).unwrap();
        }
        assert!(archive.flush(PATIENCE));
        let until = |set_aside| {
            let begun = Instant::now();
            loop {
                let status = archive.status().sinks.remove(0);
                if status.pending == 0 && status.idle && status.set_aside == set_aside {
                    return;
                }
                assert!(begun.elapsed() < PATIENCE, "{status:?}");
                thread::sleep(Duration::from_millis(5));
            }
        };
        let sink = Arc::new(Taker::default());
        let taken = || sink.0.lock().unwrap().clone();
        archive.store().refuse_to_read(2);
        archive.deliver_to([(SinkKind::S3, Arc::clone(&sink) as _)], &options).unwrap();
        until(1);
        assert_eq!(taken(), [records[0].game_id, records[2].game_id]);
        archive.store().refuse_to_read(0);
        archive.deliver_now();
        until(0);
        assert_eq!(taken(), [0, 2, 1].map(|number: usize| records[number].game_id));
    }
}
