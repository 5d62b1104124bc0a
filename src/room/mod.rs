//! The live tables: rooms, their seats, and the one task that owns each room.

mod options;

pub use options::{JournalOptions, Options};
