//! Gives memory back: every minute what belonged to those who are gone; when memory gets tight, or an administrator asks
//! for it, all that can be forgotten.
//!
//! Finished games go first, then what is only kept to answer faster. Games that run are never harmed.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::time::Instant;

use crate::archive::Archive;
use crate::limit::{Kind, Limiter};
use crate::observe::{EventKind, Events, MemoryLevel, MemoryState, Metrics, resident_bytes, trim_memory};
use crate::room::Rooms;

/// How often what belonged to the gone is given back.
const SWEEP_INTERVAL: Duration = Duration::from_secs(60);
/// How long finished games may take to leave.
const PATIENCE: Duration = Duration::from_secs(2);
/// While memory stays tight, it is tried again after this time.
const AGAIN_AFTER: Duration = Duration::from_secs(30);

/// Everything that can give memory back.
#[derive(Debug, Clone)]
pub struct MemoryReclaimer {
    /// Live rooms, some of which are finished.
    pub rooms: Rooms,
    /// The buckets of the gone.
    pub limiter: Arc<dyn Limiter>,
    /// Summaries kept ready.
    pub archive: Option<Archive>,
    /// Counts what was done.
    pub metrics: Arc<Metrics>,
    /// Learn of it.
    pub events: Events,
}

/// What was given back.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Freed {
    /// Finished games that have left memory.
    pub finished_games: usize,
    /// Summaries of archived games that were kept ready.
    pub cached_summaries: usize,
    /// Buckets of rate limits that were full again.
    pub limit_buckets: usize,
    /// Memory of the process before, in bytes.
    pub before_bytes: u64,
    /// And after.
    pub after_bytes: u64,
}

impl Freed {
    /// As an object of JSON.
    #[must_use]
    pub fn to_json(&self) -> Value {
        json!({
            "finished_games": self.finished_games,
            "cached_summaries": self.cached_summaries,
            "limit_buckets": self.limit_buckets,
            "before_bytes": self.before_bytes,
            "after_bytes": self.after_bytes,
        })
    }
}

impl MemoryReclaimer {
    /// Gives back, every minute, what belonged to those who are gone.
    pub async fn sweep(self) {
        let mut interval = tokio::time::interval(SWEEP_INTERVAL);
        loop {
            interval.tick().await;
            let memory_reclaimer = self.clone();
            // A sweep that panicked is told of by the log; the next one may do better.
            drop(tokio::task::spawn_blocking(move || memory_reclaimer.forget_gone()).await);
        }
    }

    /// Forgets the rate limits of the gone and the places of the rooms that have closed, and gives the memory back to the
    /// system. Takes some milliseconds.
    fn forget_gone(&self) {
        self.limiter.sweep();
        self.rooms.shrink();
        trim_memory();
    }

    /// Forgets what can be forgotten, and gives the memory back to the system. Takes some milliseconds, but moves do not
    /// wait for it.
    pub async fn free(&self) -> Freed {
        let before_bytes = resident_bytes();
        let finished_games = self.rooms.close_finished(PATIENCE).await;
        let memory_reclaimer = self.clone();
        let rest = tokio::task::spawn_blocking(move || {
            let buckets = || Kind::ALL.iter().map(|kind| memory_reclaimer.limiter.held(*kind)).sum::<usize>();
            let cached_summaries = memory_reclaimer.archive.as_ref().map_or(0, Archive::forget_cached);
            let held = buckets();
            memory_reclaimer.forget_gone();
            (cached_summaries, held.saturating_sub(buckets()))
        });
        // It does not panic; if it did, there would be nothing to tell.
        let (cached_summaries, limit_buckets) = rest.await.unwrap_or_default();
        let freed =
            Freed { finished_games, cached_summaries, limit_buckets, before_bytes, after_bytes: resident_bytes() };
        self.metrics.memory_reliefs.inc();
        log::info!(
            finished_games = freed.finished_games,
            cached_summaries = freed.cached_summaries,
            limit_buckets = freed.limit_buckets,
            before_bytes = freed.before_bytes,
            after_bytes = freed.after_bytes;
            "memory was given back"
        );
        self.events.note(EventKind::MemoryFreed, freed.to_json());
        freed
    }

    /// Gives way when memory gets tight: what can be forgotten goes first; when that is not enough, newcomers are refused
    /// until there is room again.
    pub async fn watch_pressure(self, mut memory: watch::Receiver<MemoryState>) {
        let mut known = MemoryLevel::Normal;
        let mut freed_at: Option<Instant> = None;
        // The first look was made before anybody could wait for it.
        memory.mark_changed();
        while memory.changed().await.is_ok() {
            let state = *memory.borrow_and_update();
            self.rooms.set_memory_low(state.level == MemoryLevel::Critical);
            if state.level != known {
                let fields = json!({
                    "level": state.level.name(),
                    "used_bytes": state.used_bytes,
                    "limit_bytes": state.limit_bytes,
                });
                self.events.note(EventKind::MemoryLevel, fields);
            }
            let is_due = state.level > known || freed_at.is_none_or(|at| at.elapsed() >= AGAIN_AFTER);
            if state.level > MemoryLevel::Normal && is_due {
                self.free().await;
                freed_at = Some(Instant::now());
            }
            known = state.level;
        }
    }
}
