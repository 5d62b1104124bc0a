//! Removes from a sink what this installation has put there and has grown too old, one bounded pass at a time.

use std::num::NonZeroUsize;
use std::time::{Duration, Instant};

use super::delivery::within;
use super::{Delivery, Installation, PASS_GAMES, RemovalPass, Sink, SinkError, SinkKind};
use crate::archive::GameId;
use crate::archive::archive::Shared;
use crate::archive::calendar::day;
use crate::archive::known_time::EARLIEST_MS;
use crate::archive::retention::{Announcement, RETENTION_INTERVAL};

/// How often all old copies are looked at, and not only those that have grown too old meanwhile: `liap archive sync --adopt`
/// may have made some of them ours. Where many belong to others, that costs a request for each in a bucket.
const FULL_SWEEP_INTERVAL: Duration = Duration::from_secs(24 * 3600);
/// Old games that are counted at most for an announcement.
const COUNTED: NonZeroUsize = NonZeroUsize::MIN.saturating_add(99_999);

/// The removal of old copies from one sink.
#[derive(Debug)]
pub(super) struct Sweeper {
    age: Option<Duration>,
    /// When the last sweep has ended.
    ended: Option<Instant>,
    /// The one under way.
    sweep: Option<Sweep>,
    /// Where the next one begins: no copy that was before it when it was passed is ours.
    swept_until: Option<GameId>,
    /// When the last sweep began that began with the oldest copy.
    swept_fully: Option<Instant>,
    /// The last sweep has stopped at its share and announced that the next one removes the rest.
    is_announced: bool,
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

impl Sweeper {
    /// Removes copies that are older than this, or none.
    pub(super) fn new(age: Option<Duration>) -> Self {
        Self { age, ended: None, sweep: None, swept_until: None, swept_fully: None, is_announced: false }
    }

    /// The time until there is something to do, if there ever is.
    pub(super) fn time_left(&self, shared: &Shared) -> Option<Duration> {
        // A clock that is not believed removes nothing; it is looked at again when the sink is.
        self.age.filter(|_| shared.trusted_now().is_ok())?;
        Some(self.ended.map_or(Duration::ZERO, |ended| RETENTION_INTERVAL.saturating_sub(ended.elapsed())))
    }

    /// What was just sent may be older than what a sweep has passed.
    pub(super) fn again_from(&mut self, games: &[Delivery]) {
        let Some(oldest) = games.iter().map(|game| game.id).min() else { return };
        let before = before(oldest.unix_ms());
        self.swept_until = self.swept_until.map(|until| until.min(before));
        if let Some(sweep) = &mut self.sweep {
            sweep.after = sweep.after.map(|after| after.min(before));
        }
    }

    /// Does one pass of a sweep.
    pub(super) async fn pass(
        &mut self,
        shared: &Shared,
        kind: SinkKind,
        sink: &dyn Sink,
        ours: Installation,
    ) -> Result<(), SinkError> {
        let (Some(age), Ok(now_ms)) = (self.age, shared.trusted_now()) else { return Ok(()) };
        let mut sweep = self.sweep.take().unwrap_or_else(|| self.begin(age, now_ms));
        let passed = within(sink.remove(sweep.after, sweep.before_ms, ours)).await;
        let RemovalPass { removed, unmarked, next } = match passed {
            Ok(passed) => passed,
            Err(error) => {
                self.sweep = Some(sweep);
                return Err(error);
            }
        };
        sweep.removed += removed;
        sweep.unmarked += unmarked;
        let Some(next) = next else {
            self.end(&sweep, kind);
            return Ok(());
        };
        sweep.after = Some(next);
        if !self.is_announced && sweep.removed + PASS_GAMES as u64 > shared.share() {
            self.announce(&sweep, next, shared, kind, sink).await;
        } else {
            // The rest comes with the next pass; what is to be delivered goes first.
            self.sweep = Some(sweep);
        }
        Ok(())
    }

    fn begin(&mut self, age: Duration, now_ms: u64) -> Sweep {
        let is_full = self.swept_fully.is_none_or(|at| at.elapsed() >= FULL_SWEEP_INTERVAL);
        if is_full {
            self.swept_fully = Some(Instant::now());
        }
        // A game with an impossible date was played while the clock was wrong.
        let after = if is_full { Some(before(EARLIEST_MS)) } else { self.swept_until };
        let before_ms = now_ms.saturating_sub(u64::try_from(age.as_millis()).unwrap_or(u64::MAX));
        Sweep { after, before_ms, is_full, removed: 0, unmarked: 0 }
    }

    /// Stops a sweep that has removed its share, and says what the next one removes.
    async fn announce(&mut self, sweep: &Sweep, next: GameId, shared: &Shared, kind: SinkKind, sink: &dyn Sink) {
        // One that does not answer has at least one more.
        let games = within(sink.count(sweep.before_ms, COUNTED)).await.map_or(1, |games| games.max(1) as u64);
        let [oldest, newest] = [next.unix_ms(), sweep.before_ms].map(day);
        log::warn!(
            sink = kind.name(), games = games, oldest = oldest.as_str(), newest = newest.as_str();
            "{} old games were removed from the sink; the next pass, in an hour, goes on with {games} more or less, from {oldest} to \
             {newest}, of which it removes what this installation has made; to keep them, set ARCHIVE_RETENTION_DAYS higher or to 0 \
             and restart",
            sweep.removed
        );
        shared.announce(Announcement { place: kind.name(), games, oldest, newest });
        self.is_announced = true;
        self.swept_until = Some(next);
        self.ended = Some(Instant::now());
    }

    fn end(&mut self, sweep: &Sweep, kind: SinkKind) {
        let Sweep { before_ms, is_full, removed, unmarked, .. } = *sweep;
        if removed > 0 {
            log::info!(sink = kind.name(), games = removed; "old games were removed from the sink");
        }
        // Once a day, and not whenever another one has grown too old.
        if unmarked > 0 && is_full {
            log::warn!(
                sink = kind.name(), games = unmarked;
                "{unmarked} games older than ARCHIVE_RETENTION_DAYS stay in the sink, for their copies do not say which \
                 installation made them: `liap archive sync --adopt` takes over those that are here too, remove the others \
                 by hand"
            );
        }
        self.is_announced = false;
        self.swept_until = Some(before(before_ms));
        self.ended = Some(Instant::now());
    }
}

/// A game before all that began at this moment or later.
fn before(unix_ms: u64) -> GameId {
    GameId::first_at(unix_ms.saturating_sub(1))
}
