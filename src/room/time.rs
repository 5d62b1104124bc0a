//! Time at the tables: it never goes back, and can be shown as a date.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// A wall clock that differs by so much was set. A smaller difference comes from synchronising it.
const SET_MS: u64 = 1_000;

/// A moment. Moments are compared, and deadlines computed, by a clock that nobody sets; the date is what the wall clock showed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Time {
    /// Milliseconds; only differences count.
    steady_ms: u64,
    /// Milliseconds of Unix time.
    unix_ms: u64,
}

impl Time {
    /// The moment with these milliseconds of Unix time, on either clock.
    #[must_use]
    pub const fn from_unix_ms(ms: u64) -> Self {
        Self { steady_ms: ms, unix_ms: ms }
    }

    /// Milliseconds of Unix time; zero before 1970.
    #[must_use]
    pub const fn unix_ms(self) -> u64 {
        self.unix_ms
    }

    /// Time passed since `earlier`; zero if that is later.
    #[must_use]
    pub const fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(self.steady_ms.saturating_sub(earlier.steady_ms))
    }

    /// The same moment as a later one dates it, where the wall clock was set in between.
    pub(super) fn dated_by(self, later: Self) -> Self {
        let passed = u64::try_from(later.since(self).as_millis()).unwrap_or(u64::MAX);
        let unix_ms = later.unix_ms.saturating_sub(passed);
        if unix_ms.abs_diff(self.unix_ms) < SET_MS { self } else { Self { unix_ms, ..self } }
    }

    /// The moment as RFC 3339 text.
    #[must_use]
    pub fn to_rfc3339(self) -> String {
        let ms = i64::try_from(self.unix_ms).unwrap_or(i64::MAX);
        jiff::Timestamp::from_millisecond(ms).unwrap_or(jiff::Timestamp::MAX).to_string()
    }
}

impl std::ops::Add<Duration> for Time {
    type Output = Self;
    fn add(self, span: Duration) -> Self {
        let ms = u64::try_from(span.as_millis()).unwrap_or(u64::MAX);
        Self { steady_ms: self.steady_ms.saturating_add(ms), unix_ms: self.unix_ms.saturating_add(ms) }
    }
}

/// Gives the [`Time`]. It follows the runtime's monotonic clock, so setting the wall clock disturbs no game, and tests can pause
/// and advance it. Dates follow the wall clock.
#[derive(Debug, Clone, Copy)]
pub struct Clock {
    start: tokio::time::Instant,
    start_ms: u64,
}

impl Clock {
    /// Reads both clocks.
    #[must_use]
    pub fn start() -> Self {
        Self { start: tokio::time::Instant::now(), start_ms: wall_ms() }
    }

    /// Now.
    #[must_use]
    pub fn now(&self) -> Time {
        let steady = Time::from_unix_ms(self.start_ms) + self.start.elapsed();
        Time { unix_ms: wall_ms(), ..steady }
    }

    /// When the runtime's clock will show `time`.
    #[must_use]
    pub fn instant(&self, time: Time) -> tokio::time::Instant {
        self.start + Duration::from_millis(time.steady_ms.saturating_sub(self.start_ms))
    }
}

/// What the wall clock shows, in milliseconds of Unix time; zero before 1970.
fn wall_ms() -> u64 {
    let unix = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(unix.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn dates_follow_the_wall_clock_and_deadlines_do_not() {
        let clock = Clock::start();
        let began = clock.now();
        tokio::time::advance(Duration::from_secs(60)).await;
        let later = clock.now();
        assert_eq!(later.since(began), Duration::from_secs(60));
        assert_eq!(clock.instant(later + Duration::from_secs(5)) - tokio::time::Instant::now(), Duration::from_secs(5));
        // The wall clock is not paused: as if it had been set back by a minute.
        assert!(later.unix_ms().abs_diff(began.unix_ms()) < 30_000);
        assert_eq!(began.dated_by(later).unix_ms(), later.unix_ms() - 60_000);
        let slewed = Time { unix_ms: began.unix_ms() + 60_100, ..later };
        assert_eq!(began.dated_by(slewed), began);
    }
}
