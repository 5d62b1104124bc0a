//! How the journal is doing.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::observe::Check;

/// Age of the oldest unwritten note from which the journal counts as degraded, and as unhealthy.
const DEGRADED_AFTER: Duration = Duration::from_secs(5);
const UNHEALTHY_AFTER: Duration = Duration::from_secs(60);

/// How the journal is doing.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct JournalStatus {
    /// The last write failed. The writer tries again every second, then with all that is missing.
    pub is_failing: bool,
    /// No new file can be begun, so the present one grows.
    pub is_growing: bool,
    /// Writes that have failed.
    pub failures: u64,
    /// Groups on disk since the start.
    pub commits: u64,
    /// Rooms in the journal.
    pub rooms: u64,
    /// Length of the present file.
    pub file_bytes: u64,
    /// What the rooms take without outdated entries.
    pub live_bytes: u64,
    /// Notes in the queue.
    pub queued: u64,
    /// Notes that found the queue full.
    pub overflows: u64,
    /// Age of the oldest note that is not on disk.
    pub lag: Duration,
}

impl JournalStatus {
    /// The health check with its figures.
    pub fn check(&self) -> Check {
        let check = if self.lag >= UNHEALTHY_AFTER {
            let seconds = self.lag.as_secs();
            Check::unhealthy(format!("nothing has reached the disk for {seconds} s; a crash would lose that"))
        } else if self.is_failing {
            Check::degraded("live games cannot be written down; they would not survive a crash")
        } else if self.lag >= DEGRADED_AFTER {
            Check::degraded(format!("the disk is slow: live games reach it {} s late", self.lag.as_secs()))
        } else if self.is_growing {
            Check::degraded("live games are written down, but no new file can be begun, so the present one grows")
        } else {
            Check::healthy()
        };
        check
            .with("rooms", self.rooms)
            .with("queued", self.queued)
            .with("failures", self.failures)
            .with("file_bytes", self.file_bytes)
            .with("lag_seconds", self.lag.as_secs_f64())
    }
}

/// The figures that the journal's threads update. Tables touch the two counters only, so no table waits for the lock.
#[derive(Debug, Default)]
pub(super) struct Status {
    pub(super) queued: AtomicU64,
    pub(super) overflows: AtomicU64,
    threads: Mutex<ThreadFigures>,
}

#[derive(Debug, Default)]
pub(super) struct ThreadFigures {
    pub(super) status: JournalStatus,
    /// When the oldest note came that is not written.
    pub(super) unwritten_since: Option<Instant>,
    /// When the oldest note came that is written but not on disk.
    pub(super) unsynced_since: Option<Instant>,
}

impl Status {
    pub(super) fn update(&self, change: impl FnOnce(&mut ThreadFigures)) {
        change(&mut self.threads.lock().unwrap_or_else(PoisonError::into_inner));
    }

    pub(super) fn read(&self) -> JournalStatus {
        let threads = self.threads.lock().unwrap_or_else(PoisonError::into_inner);
        let oldest = [threads.unwritten_since, threads.unsynced_since].into_iter().flatten().min();
        JournalStatus {
            queued: self.queued.load(Ordering::Relaxed),
            overflows: self.overflows.load(Ordering::Relaxed),
            lag: oldest.map_or(Duration::ZERO, |since| since.elapsed()),
            ..threads.status
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slow_or_failing_disk_shows_before_anything_is_lost() {
        use crate::observe::HealthStatus::{Degraded, Healthy, Unhealthy};
        for (seconds, is_failing, is_growing, wanted) in [
            (0, false, false, Healthy),
            (4, false, false, Healthy),
            (5, false, false, Degraded),
            (1, true, false, Degraded),
            (0, false, true, Degraded),
            (60, false, true, Unhealthy),
        ] {
            let lag = Duration::from_secs(seconds);
            let status = JournalStatus { lag, is_failing, is_growing, ..JournalStatus::default() };
            assert_eq!(status.check().status, wanted, "{status:?}");
        }
    }
}
