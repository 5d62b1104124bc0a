//! Time at the tables: milliseconds that never go back and can be shown as a date.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// A moment: milliseconds of Unix time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Time(u64);

impl Time {
    /// The moment with these milliseconds of Unix time.
    #[must_use]
    pub const fn from_unix_ms(ms: u64) -> Self {
        Self(ms)
    }

    /// Milliseconds of Unix time.
    #[must_use]
    pub const fn unix_ms(self) -> u64 {
        self.0
    }

    /// Time passed since `earlier`; zero if that is later.
    #[must_use]
    pub const fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(self.0.saturating_sub(earlier.0))
    }

    /// The moment as RFC 3339 text.
    #[must_use]
    pub fn to_rfc3339(self) -> String {
        let ms = i64::try_from(self.0).unwrap_or(i64::MAX);
        jiff::Timestamp::from_millisecond(ms).unwrap_or(jiff::Timestamp::UNIX_EPOCH).to_string()
    }
}

impl std::ops::Add<Duration> for Time {
    type Output = Self;
    fn add(self, span: Duration) -> Self {
        Self(self.0.saturating_add(u64::try_from(span.as_millis()).unwrap_or(u64::MAX)))
    }
}

/// Gives the [`Time`]. It reads the wall clock once and then follows the runtime's monotonic clock. So setting the clock
/// does not disturb a game, and tests can pause and advance it.
#[derive(Debug, Clone, Copy)]
pub struct Clock {
    start: tokio::time::Instant,
    start_unix_ms: u64,
}

impl Clock {
    /// Reads the wall clock.
    #[must_use]
    pub fn start() -> Self {
        let unix = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self { start: tokio::time::Instant::now(), start_unix_ms: u64::try_from(unix.as_millis()).unwrap_or(u64::MAX) }
    }

    /// Now.
    #[must_use]
    pub fn now(&self) -> Time {
        Time(self.start_unix_ms) + self.start.elapsed()
    }

    /// When the runtime's clock will show `time`.
    #[must_use]
    pub fn instant(&self, time: Time) -> tokio::time::Instant {
        self.start + Duration::from_millis(time.0.saturating_sub(self.start_unix_ms))
    }
}
