//! Gives memory back: every minute what is unused; when memory gets tight, or an administrator asks for it, everything
//! that can be forgotten.
//!
//! Finished games go first, then caches. Running games are never harmed.

use std::time::Duration;

use serde::Serialize;
use serde_json::json;
use tokio::time::Instant;

use crate::archive::Archive;
use crate::observe::{EventKind, MemoryLevel, resident_bytes, trim_memory};
use crate::services::Services;

/// How often unused memory is given back.
const SWEEP_INTERVAL: Duration = Duration::from_secs(60);
/// How long finished games may take to close.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(2);
/// While memory stays tight, the next attempt comes after this time.
const RETRY_INTERVAL: Duration = Duration::from_secs(30);

/// Gives back the memory of the services that can spare some.
#[derive(Debug, Clone)]
pub struct MemoryReclaimer {
    services: Services,
}

/// What was given back.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Freed {
    /// Finished games that have left memory.
    pub finished_games: usize,
    /// Cached summaries of archived games.
    pub cached_summaries: usize,
    /// Rate limit buckets that were full again.
    pub limit_buckets: usize,
    /// Resident memory of the process before, in bytes.
    pub before_bytes: u64,
    /// And after.
    pub after_bytes: u64,
}

impl MemoryReclaimer {
    /// A reclaimer for these services.
    #[must_use]
    pub fn new(services: Services) -> Self {
        Self { services }
    }

    /// Gives back unused memory every minute.
    pub async fn sweep(self) {
        let mut interval = tokio::time::interval(SWEEP_INTERVAL);
        loop {
            interval.tick().await;
            let memory_reclaimer = self.clone();
            // A sweep that panics is in the log; the next one may do better.
            drop(tokio::task::spawn_blocking(move || memory_reclaimer.free_unused()).await);
        }
    }

    /// Forgets rate limits that are full again and the space of rooms that have closed, and gives the memory back to the
    /// system. Takes some milliseconds.
    fn free_unused(&self) {
        self.services.limiter.sweep();
        self.services.rooms.shrink();
        trim_memory();
    }

    /// Forgets what can be forgotten, and gives the memory back to the system. Takes some milliseconds, but moves do not
    /// wait for it.
    pub async fn free(&self) -> Freed {
        let before_bytes = resident_bytes();
        let finished_games = self.services.rooms.close_finished(CLOSE_TIMEOUT).await;
        let memory_reclaimer = self.clone();
        let rest = tokio::task::spawn_blocking(move || {
            let Services { archive, limiter, .. } = &memory_reclaimer.services;
            let cached_summaries = archive.as_ref().map_or(0, Archive::forget_cached);
            let held = limiter.held_in_all();
            memory_reclaimer.free_unused();
            (cached_summaries, held.saturating_sub(limiter.held_in_all()))
        });
        // It does not panic; if it did, nothing would be known of what it freed.
        let (cached_summaries, limit_buckets) = rest.await.unwrap_or_default();
        let freed =
            Freed { finished_games, cached_summaries, limit_buckets, before_bytes, after_bytes: resident_bytes() };
        self.services.metrics.memory_reliefs.inc();
        log::info!(
            finished_games = freed.finished_games,
            cached_summaries = freed.cached_summaries,
            limit_buckets = freed.limit_buckets,
            before_bytes = freed.before_bytes,
            after_bytes = freed.after_bytes;
            "memory was given back"
        );
        self.services.events.note(EventKind::MemoryFreed, json!(freed));
        freed
    }

    /// When memory gets tight, forgets what can be forgotten; while it is critical, lets no new room be created.
    pub async fn watch_pressure(self) {
        let Services { rooms, events, mut memory, .. } = self.services.clone();
        let mut known = MemoryLevel::Normal;
        let mut freed_at: Option<Instant> = None;
        // The first measurement was made before this receiver existed.
        memory.mark_changed();
        while memory.changed().await.is_ok() {
            let state = *memory.borrow_and_update();
            rooms.set_memory_low(state.level == MemoryLevel::Critical);
            if state.level != known {
                let fields = json!({
                    "level": state.level.name(),
                    "used_bytes": state.used_bytes,
                    "limit_bytes": state.limit_bytes,
                });
                events.note(EventKind::MemoryLevel, fields);
            }
            let is_due = state.level > known || freed_at.is_none_or(|at| at.elapsed() >= RETRY_INTERVAL);
            if state.level > MemoryLevel::Normal && is_due {
                self.free().await;
                freed_at = Some(Instant::now());
            }
            known = state.level;
        }
    }
}
