//! The last time that was known to be right, kept on disk, and whether the system's clock has leapt away from it.
//!
//! Old games are removed by the clock, so a clock that is wrong must not remove any. A clock that does not follow from the last
//! known time is believed when it has run on undisturbed for [`PROBATION`], or when an operator confirms it.

use std::fmt;
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::calendar::time_text;
use crate::disk::{DurableNumber, NumberFound};

/// How far ahead of the known time a clock may be: a server may be off for so long without a question.
const MAX_AHEAD: Duration = Duration::from_secs(24 * 3600);
/// How far behind it may be. The known time has passed for certain.
const MAX_BEHIND: Duration = Duration::from_secs(3600);
/// How long a time that has leapt must stand, on the monotonic clock, before it is believed.
const PROBATION: Duration = Duration::from_secs(3600);
/// How often the known time is written.
const WRITE_INTERVAL: Duration = Duration::from_secs(600);
/// The first of January 2026. No game is older, and no clock that shows an earlier time is right.
pub(super) const EARLIEST_MS: u64 = 1_767_225_600_000;
/// The file's name inside the store.
const NAME: &str = "clock";
const VERSION: u32 = 1;

/// The known time, in milliseconds of Unix time, and what the clock was seen to do since.
#[derive(Debug)]
pub(super) struct KnownTime(Mutex<State>);

#[derive(Debug)]
struct State {
    /// `None` where it cannot be opened.
    file: Option<DurableNumber>,
    known: Moment,
    /// The first sight of a time that does not follow from the known one.
    leapt: Option<Moment>,
    written: Option<Instant>,
}

/// A time of the clock, and when it was read.
#[derive(Debug, Clone, Copy)]
struct Moment {
    unix_ms: u64,
    at: Instant,
}

impl Moment {
    /// The time that a clock shows later if nobody sets it.
    fn later(self, at: Instant) -> u64 {
        self.unix_ms.saturating_add(millis(at.saturating_duration_since(self.at)))
    }
}

/// A clock that is not believed yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Leapt {
    shown_ms: u64,
    known_ms: u64,
    left: Duration,
}

impl fmt::Display for Leapt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { shown_ms, known_ms, left } = self;
        let (shown, known) = (time_text(*shown_ms), time_text(*known_ms));
        write!(f, "the clock shows {shown}, and the last known time is {known}: no old game is removed until ")?;
        if *shown_ms < EARLIEST_MS {
            return write!(f, "the clock is set");
        }
        let minutes = left.as_secs().div_ceil(60);
        write!(
            f,
            "the clock has run on for {minutes} more minutes; set it if it is wrong, or run `liap archive confirm-clock` \
             if it is right"
        )
    }
}

impl KnownTime {
    /// Reads the known time of the archive in this folder. Without one, the clock must follow from `otherwise`, such as the time
    /// of the newest game; without that, it is believed.
    pub(super) fn open(store: &Path, otherwise: Option<u64>, now_ms: u64) -> Self {
        let path = store.join(NAME);
        let known_ms = match DurableNumber::look(&path, VERSION) {
            Ok(NumberFound::Whole { number, .. } | NumberFound::Half(number)) => Some(number),
            _ => otherwise,
        };
        let known = Moment { unix_ms: known_ms.unwrap_or(now_ms), at: Instant::now() };
        let file = DurableNumber::open(&path, VERSION, known.unix_ms);
        let file = file.inspect_err(|error| log::warn!("the known time cannot be kept in {}: {error}", path.display()));
        let opened = Self(Mutex::new(State { file: file.ok(), known, leapt: None, written: None }));
        // A clock that cannot be believed is reported at the start.
        drop(opened.check(now_ms, known.at));
        opened
    }

    /// Whether a time that the clock shows can be believed. Writes the known time now and then.
    ///
    /// # Errors
    /// [`Leapt`]: it does not follow from the known time, and has not stood for long enough.
    pub(super) fn check(&self, now_ms: u64, at: Instant) -> Result<(), Leapt> {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Moment { unix_ms: now_ms, at };
        // The first possible time is believed where none is known.
        let is_first = state.known.unix_ms < EARLIEST_MS;
        if now_ms >= EARLIEST_MS && (is_first || follows(now_ms, state.known.later(at), MAX_AHEAD)) {
            if state.leapt.take().is_some() {
                log::info!("the clock follows from the last known time again");
            }
            // Not at every sight: a clock that is set a little ahead again and again would go far.
            if is_first || at.saturating_duration_since(state.known.at) >= PROBATION {
                state.known = now;
            }
        } else {
            let known_ms = state.known.later(at);
            let is_new = state.leapt.is_none_or(|leapt| !follows(now_ms, leapt.later(at), MAX_BEHIND));
            let since = if is_new { now } else { state.leapt.unwrap_or(now) };
            state.leapt = Some(since);
            let left = PROBATION.saturating_sub(at.saturating_duration_since(since.at));
            let leapt = Leapt { shown_ms: now_ms, known_ms, left };
            if is_new {
                log::warn!("{leapt}");
            }
            if left > Duration::ZERO || now_ms < EARLIEST_MS {
                return Err(leapt);
            }
            state.believe(now);
            log::warn!("the clock has run on for an hour and is believed: {}", time_text(now_ms));
        }
        if state.written.is_none_or(|written| at.saturating_duration_since(written) >= WRITE_INTERVAL) {
            state.write(at);
        }
        Ok(())
    }

    /// Believes the clock, because an operator says that it is right.
    ///
    /// # Errors
    /// It shows a time before there were games.
    pub(super) fn confirm(&self, now_ms: u64, at: Instant) -> Result<(), String> {
        if now_ms < EARLIEST_MS {
            return Err(format!("the clock shows {}, which cannot be right: set it", time_text(now_ms)));
        }
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        state.believe(Moment { unix_ms: now_ms, at });
        state.write(at);
        log::warn!("an operator has confirmed the clock: {}", time_text(now_ms));
        Ok(())
    }

    /// Writes the known time.
    pub(super) fn write(&self, at: Instant) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).write(at);
    }
}

impl State {
    fn believe(&mut self, now: Moment) {
        (self.known, self.leapt, self.written) = (now, None, None);
    }

    fn write(&mut self, at: Instant) {
        self.written = Some(at);
        let known_ms = self.known.later(at);
        if let Some(Err(error)) = self.file.as_mut().map(|file| file.write(known_ms)) {
            log::warn!("the known time cannot be written: {error}");
        }
    }
}

/// Whether a time is not much before or after the one that is expected.
fn follows(ms: u64, expected_ms: u64, max_ahead: Duration) -> bool {
    ms <= expected_ms.saturating_add(millis(max_ahead)) && ms >= expected_ms.saturating_sub(millis(MAX_BEHIND))
}

fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: u64 = 1_795_428_902_120;
    const HOUR: u64 = 3_600_000;
    const DAY: u64 = 24 * HOUR;

    /// The archive's folder, and what is believed at `ms` on the monotonic clock when the wall clock shows a time.
    fn opened(otherwise: Option<u64>, now_ms: u64) -> (tempfile::TempDir, KnownTime, Instant) {
        let folder = tempfile::tempdir().unwrap();
        let known = KnownTime::open(folder.path(), otherwise, now_ms);
        (folder, known, Instant::now())
    }

    fn believed(known: &KnownTime, begun: Instant, ms: u64, shown_ms: u64) -> bool {
        known.check(shown_ms, begun + Duration::from_millis(ms)).is_ok()
    }

    #[test]
    fn a_leap_is_believed_after_an_hour_of_monotonic_time() {
        for leap in [2 * DAY, 366 * DAY, 80 * 365 * DAY, 253_402_300_800_000 - NOW] {
            let (_folder, known, begun) = opened(None, NOW);
            assert!(believed(&known, begun, 1000, NOW + 1000));
            assert!(!believed(&known, begun, 2000, NOW + leap));
            assert!(!believed(&known, begun, HOUR, NOW + leap + HOUR));
            assert!(believed(&known, begun, HOUR + 2001, NOW + leap + HOUR));
            assert!(believed(&known, begun, HOUR + 3000, NOW + leap + HOUR));
            // Back is a leap, too: an hour later the known time is the right one again.
            assert!(!believed(&known, begun, HOUR + 4000, NOW + HOUR));
            assert!(believed(&known, begun, 2 * HOUR + 5000, NOW + 2 * HOUR));
            assert!(!believed(&known, begun, 2 * HOUR + 6000, NOW + leap + HOUR));
        }
    }

    #[test]
    fn a_clock_that_goes_on_leaping_is_never_believed() {
        let (_folder, known, begun) = opened(None, NOW);
        for hour in 1..100 {
            assert!(!believed(&known, begun, hour * HOUR, NOW + 2 * DAY * hour));
        }
        assert!(believed(&known, begun, 100 * HOUR, NOW + 100 * HOUR));
        // A little at a time is bounded, too.
        let (_folder, known, begun) = opened(None, NOW);
        let far = (1..100).find(|step| !believed(&known, begun, *step, NOW + step * HOUR));
        assert_eq!(far, Some(25));
    }

    #[test]
    fn a_first_clock_without_a_date_is_believed_when_it_is_set() {
        let (_folder, known, begun) = opened(None, 5000);
        assert!(!believed(&known, begun, 1000, 6000));
        assert!(believed(&known, begun, 2000, NOW));
        assert!(!believed(&known, begun, 3000, NOW + 2 * DAY));
    }

    #[test]
    fn the_known_time_survives_a_restart() {
        let (folder, known, begun) = opened(None, NOW);
        known.write(begun + Duration::from_millis(HOUR));
        drop(known);
        let at = |now_ms, otherwise| {
            let known = KnownTime::open(folder.path(), otherwise, now_ms);
            known.check(now_ms, Instant::now()).is_ok()
        };
        assert!(at(NOW + 24 * HOUR, None) && at(NOW + HOUR, Some(0)));
        for leapt in [0, 1000, NOW - DAY, NOW + 2 * DAY, NOW + 366 * DAY, u64::MAX] {
            assert!(!at(leapt, None), "{leapt}");
            assert!(!at(leapt, Some(leapt)), "{leapt}");
        }
        // A damaged file: the newest game tells.
        std::fs::write(folder.path().join(NAME), b"?").unwrap();
        assert!(!at(NOW + 366 * DAY, Some(NOW)));
        assert!(at(NOW + HOUR, None));
    }

    #[test]
    fn an_operator_confirms_a_leap_but_no_impossible_time() {
        let (folder, known, begun) = opened(Some(NOW), NOW + 30 * DAY);
        let told = known.check(NOW + 30 * DAY, begun).unwrap_err().to_string();
        assert!(told.contains("liap archive confirm-clock") && told.contains("2026-12-23"), "{told}");
        known.confirm(NOW + 30 * DAY, begun).unwrap();
        assert!(believed(&known, begun, 1000, NOW + 30 * DAY));
        drop(known);
        let known = KnownTime::open(folder.path(), Some(NOW), NOW + 30 * DAY);
        assert!(believed(&known, begun, 1000, NOW + 30 * DAY));
        assert!(known.confirm(5, begun).is_err());
        assert!(!believed(&known, begun, 1000, 5));
        assert!(!believed(&known, begun, 2 * HOUR, 2 * HOUR));
    }
}
