//! Times as people write them, and as the public form of a game has them.

use jiff::Timestamp;

/// A time in UTC with milliseconds, for example `2026-11-23T10:15:02.120Z`; times beyond the year 9999 count as its end.
pub(super) fn time_text(unix_ms: u64) -> String {
    format!("{:.3}", timestamp(unix_ms))
}

/// The day of a moment, as `2026-11-23`.
pub(super) fn day(unix_ms: u64) -> String {
    timestamp(unix_ms).strftime("%Y-%m-%d").to_string()
}

fn timestamp(unix_ms: u64) -> Timestamp {
    i64::try_from(unix_ms).ok().and_then(|ms| Timestamp::from_millisecond(ms).ok()).unwrap_or(Timestamp::MAX)
}

/// The start of a time given as a day (`2026-11-23`, in UTC) or a moment (`2026-11-23T10:15:02Z`), in milliseconds of
/// Unix time. What lies before 1970 counts as its beginning: no game is older.
pub fn time_from(text: &str) -> Option<u64> {
    day_ms(text).or_else(|| moment_ms(text))
}

/// The end of a time given as a day, which is the start of the next one, or a moment, in milliseconds of Unix time.
pub fn time_until(text: &str) -> Option<u64> {
    day_ms(text).map(|ms| ms.saturating_add(86_400_000)).or_else(|| moment_ms(text))
}

fn day_ms(text: &str) -> Option<u64> {
    // A longer text would be read as a day too, and its time forgotten.
    let is_day = text.len() == "2026-11-23".len();
    let day: jiff::civil::Date = is_day.then(|| text.parse().ok()).flatten()?;
    // The last day there is lies beyond the last moment there is.
    Some(since_1970(day.to_zoned(jiff::tz::TimeZone::UTC).map_or(Timestamp::MAX, |begin| begin.timestamp())))
}

fn moment_ms(text: &str) -> Option<u64> {
    text.parse().ok().map(since_1970)
}

fn since_1970(time: Timestamp) -> u64 {
    u64::try_from(time.as_millisecond()).unwrap_or(0)
}

/// A moment in milliseconds of Unix time.
pub(super) fn unix_ms(text: &str) -> Option<u64> {
    u64::try_from(text.parse::<Timestamp>().ok()?.as_millisecond()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_day_is_all_of_it() {
        assert_eq!(time_from("2026-11-23"), Some(1_795_392_000_000));
        assert_eq!(time_until("2026-11-23"), Some(1_795_392_000_000 + 86_400_000));
        assert_eq!(time_from("2026-11-23T10:15:02.120Z"), time_until("2026-11-23T10:15:02.120Z"));
        assert_eq!(time_from("2026-11-23T10:15:02.120Z"), Some(1_795_428_902_120));
        // Nobody played before there was a clock, so all of that is its beginning.
        assert_eq!(time_from("1969-12-31"), Some(0));
        for text in ["", "yesterday", "2026-13-01", "2026-11-23T10:15:02"] {
            assert_eq!((time_from(text), time_until(text)), (None, None), "{text}");
        }
        assert_eq!(time_text(1_795_428_902_120), "2026-11-23T10:15:02.120Z");
        assert_eq!(time_text(1_795_428_902_000), "2026-11-23T10:15:02.000Z");
        assert_eq!(time_text(u64::MAX), time_text(i64::MAX as u64));
    }
}
