//! The wall clock, whatever it shows.

use std::time::{SystemTime, UNIX_EPOCH};

use jiff::Timestamp;

/// What the wall clock shows. A time beyond the calendar, at the end of the year 9999, counts as the calendar's last moment.
pub fn wall_time() -> Timestamp {
    Timestamp::try_from(SystemTime::now()).unwrap_or(Timestamp::MAX)
}

/// Whether the wall clock shows 1970 or later. Libraries panic where they date something earlier.
pub fn is_after_1970() -> bool {
    SystemTime::now() >= UNIX_EPOCH
}
