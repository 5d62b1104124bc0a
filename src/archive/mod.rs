//! Completed games: kept, found again and replayed.

mod game_id;
mod options;

pub use game_id::{GameId, GameIds, ParseGameIdError};
pub use options::{Backend, Options};
