//! Delivers games to a sink. Each sink has a thread of its own, so neither tables nor the archive's threads wait for it.
//!
//! A group is read from the archive, played again, sent, and noted as delivered. While it is on its way the next one is
//! prepared. After a failure the same group is sent again, after growing pauses and without end: the archive keeps it.

use std::future::pending;
use std::io;
use std::num::NonZeroUsize;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use tokio::sync::watch;
use tokio::task;

use super::group::Group;
use super::outbox::Outbox;
use super::status::{Failing, Figures, State};
use super::sweep::Sweeper;
use super::{Delivery, Installation, Origin, Refusal, Sink, SinkError, SinkKind};
use crate::archive::archive::Shared;
use crate::archive::{GameId, Options, StoreError, Unreadable};
use crate::observe::{Metrics, lower_priority};

/// Games of one group at most, whatever the settings say: all their forms are in memory.
const MAX_GROUP: usize = 500;
/// Bytes of the stored games of one group at most.
const MAX_GROUP_BYTES: usize = 1 << 20;
/// Longest time of one request to a sink, should it ignore its own bounds.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(60);
/// The pause after the first failure; it doubles with every further one.
const FIRST_PAUSE: Duration = Duration::from_millis(500);
/// The longest pause between two attempts.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// Attempts to read a record that the disk refuses, before the group goes on without it.
const READ_ATTEMPTS: u32 = 2;
/// How often a sink that has everything is checked.
const CHECK_INTERVAL: Duration = Duration::from_secs(30);
/// Games in a sink before an empty archive that are counted at most.
const COUNTED: NonZeroUsize = NonZeroUsize::MIN.saturating_add(999);
/// The archive stores games in groups. The first game of a group waits this long for the others.
const GATHER: Duration = Duration::from_millis(100);

/// The deliveries to one sink.
#[derive(Debug)]
pub(in crate::archive) struct SinkWorker {
    state: Arc<State>,
    /// When to give up; `None` while the server runs.
    stop: watch::Sender<Option<Instant>>,
    thread: Mutex<Option<JoinHandle<()>>>,
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
            sweeper: Sweeper::new(retention),
            is_empty: shared.store.last_number() == 0,
            is_proved: false,
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

    /// The state of the deliveries.
    pub(in crate::archive) fn state(&self) -> &Arc<State> {
        &self.state
    }

    /// Delivers what it can within this time, and ends. The rest stays owed.
    pub(in crate::archive) fn stop(&self, timeout: Duration) {
        self.stop.send_replace(Some(Instant::now() + timeout));
    }

    /// Waits for the end of the thread after [`stop`](Self::stop).
    pub(in crate::archive) fn join(&self) {
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        // The thread itself may be the last owner of the archive. A panic was logged when it happened.
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

/// The thread's own state.
struct Pass {
    shared: Arc<Shared>,
    sink: Arc<dyn Sink>,
    state: Arc<State>,
    outbox: Outbox,
    group: usize,
    /// Who we are: what our copies carry.
    installation: Installation,
    sweeper: Sweeper,
    /// The archive has never held a game, and nobody was told yet what the sink has.
    is_empty: bool,
    /// Everything that is done there was seen to work.
    is_proved: bool,
    /// When the sink last answered well.
    checked: Option<Instant>,
    /// All games stored before this moment have at most this number, and some of them are still owed.
    waiting: Option<(u64, Instant)>,
    failures: u32,
    /// How often the next group could not be read.
    unread: u32,
    /// The group to send next, as soon as it is ready.
    prepared: Option<Prepared>,
    stopped: watch::Receiver<Option<Instant>>,
}

/// A group that is ready, or will be.
enum Prepared {
    Ready(Group),
    Soon(task::JoinHandle<Result<Group, StoreError>>),
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
        // A group that is on its way at the deadline is sent again at the next start.
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
            // New games go first, so that refused ones hold up nothing else.
            let outcome = if self.state.again.load(Ordering::Acquire) {
                self.owe_everything()
            } else if pending > 0 {
                self.deliver().await
            } else if refused_due {
                let outcome = self.try_refused().await;
                refused_due = outcome.is_err();
                outcome
            } else if self.checked.is_none_or(|at| at.elapsed() >= CHECK_INTERVAL) {
                self.check().await
            } else if self.sweeper.time_left(&self.shared) == Some(Duration::ZERO) {
                let Self { sweeper, shared, state, sink, installation, .. } = &mut *self;
                sweeper.pass(shared, state.kind, &**sink, *installation).await.map_err(Failure::from)
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

    /// Forgets what was delivered.
    fn owe_everything(&mut self) -> Result<(), Failure> {
        self.prepared = None;
        self.outbox.advance(0)?;
        self.state.delivered.store(0, Ordering::Release);
        self.state.again.store(false, Ordering::Release);
        Ok(())
    }

    /// Whether the thread ends: it was stopped, and has delivered everything or the sink fails.
    fn is_over(&mut self) -> bool {
        self.stopped.borrow_and_update().is_some() && (self.state.figures().pending == 0 || self.failures > 0)
    }

    /// Time until the next regular task.
    fn time_left(&self) -> Duration {
        let time = self.checked.map_or(Duration::ZERO, |checked| CHECK_INTERVAL.saturating_sub(checked.elapsed()));
        self.sweeper.time_left(&self.shared).map_or(time, |left| time.min(left))
    }

    /// Waits until the time is over, games are stored, a delivery is requested, or the thread is stopped.
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
            self.sweeper.again_from(&group.games);
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

    /// Sends refused games again: the reason may be gone.
    async fn try_refused(&mut self) -> Result<(), Failure> {
        if self.checked.is_none() {
            self.check().await?;
        }
        let ids: Vec<GameId> = self.outbox.set_aside().collect();
        for ids in ids.chunks(self.group) {
            let mut games = Vec::new();
            for &id in ids {
                // A game that was removed from the archive is not delivered any more.
                if let Ok(Some(stored)) = self.shared.store.get(id) {
                    games.extend(Delivery::prove(id, stored));
                }
            }
            let refused = within(self.sink.deliver(&games, self.installation)).await?;
            self.sweeper.again_from(&games);
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
        if self.is_proved {
            within(self.sink.check()).await?;
        } else {
            within(self.sink.prove()).await?;
            self.is_proved = true;
        }
        if self.is_empty {
            self.warn_of_games_there().await?;
            self.is_empty = false;
        }
        self.checked = Some(Instant::now());
        Ok(())
    }

    /// Warns of games in the sink of an empty archive: a disk may be lost, or the folder may be the wrong one.
    async fn warn_of_games_there(&self) -> Result<(), SinkError> {
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
        let (since, known) =
            figures.failing.as_ref().map_or((Instant::now(), None), |failing| (failing.since, Some(&failing.error)));
        // Logged once, and again when the error changes.
        if known != Some(&error) {
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
    /// Everything is to be delivered now.
    Now,
    Other,
}

/// The answer of a sink, or an error if it takes too long.
pub(super) async fn within<T>(answer: super::Answer<'_, T>) -> Result<T, SinkError> {
    tokio::time::timeout(REQUEST_TIMEOUT, answer)
        .await
        .unwrap_or_else(|_| Err(SinkError::Unavailable(format!("no answer within {} s", REQUEST_TIMEOUT.as_secs()))))
}

#[cfg(test)]
mod tests {
    use super::super::{Adoption, Answer, Content, RemovalPass, SinkCopy};
    use super::*;
    use crate::archive::{Archive, GameRecord};
    use crate::game::{BySeat, Level, Seating, Series};

    /// Accepts everything.
    #[derive(Debug, Default)]
    struct AcceptingSink(Mutex<Vec<GameId>>);

    impl Sink for AcceptingSink {
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

        fn page(&self, _after: Option<GameId>, _limit: NonZeroUsize) -> Answer<'_, Vec<SinkCopy>> {
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
    fn an_unreadable_record_holds_up_no_other() {
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
        let sink = Arc::new(AcceptingSink::default());
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
