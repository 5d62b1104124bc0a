use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use prometheus::IntCounter;

/// Least time between two lines about panics. A client that finds a way to make the server panic must not fill its disk.
const LINE_INTERVAL: Duration = Duration::from_secs(1);

/// Counts every panic of the process from now on, and logs at most one a second.
pub(super) fn log_panics(count: IntCounter) {
    let pace = Pace::default();
    std::panic::set_hook(Box::new(move |panic| {
        count.inc();
        let Some(omitted) = pace.next(Instant::now()) else { return };
        let thread = std::thread::current();
        log::error!(target: "liap::panic", thread = thread.name().unwrap_or("unnamed"), omitted; "{panic}");
    }));
}

/// Allows one line per interval, and counts those it holds back.
#[derive(Debug, Default)]
struct Pace(Mutex<(Option<Instant>, u64)>);

impl Pace {
    /// How many lines were omitted since the last one, if the next one is due.
    fn next(&self, now: Instant) -> Option<u64> {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (last, omitted) = &mut *state;
        if last.is_some_and(|last| now.saturating_duration_since(last) < LINE_INTERVAL) {
            *omitted += 1;
            return None;
        }
        *last = Some(now);
        Some(std::mem::take(omitted))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn repeated_panics_log_one_line_a_second() {
        let (pace, begun) = (Pace::default(), Instant::now());
        let at = |ms| pace.next(begun + Duration::from_millis(ms));
        assert_eq!((at(0), at(1), at(999), at(1_000), at(1_001)), (Some(0), None, None, Some(2), None));
        assert_eq!(at(60_000), Some(1));
    }
}
