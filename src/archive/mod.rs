//! Completed games: kept, found again and replayed.

mod options;

pub use options::{Backend, Options};
