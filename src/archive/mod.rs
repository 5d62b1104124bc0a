//! COMPLETED GAMES: records under ids that sort by time, kept for as long as the host wishes.
//!
//! A record is stored when its [`Receipt`] says so, and not before: then it survives a crash and a power cut. From the outside
//! in: [`Store`] is what others use; its `writer` commits groups; records lie framed (`frame`) in numbered files (`segment`), the
//! `tip` says how far they were acknowledged, the `catalog` finds them by id, and `recover` puts it all together at the start.
//! The store knows nothing of games: a record is bytes to it.

mod catalog;
mod frame;
mod game_id;
mod options;
mod record;
mod recover;
mod segment;
mod store;
mod tip;
mod writer;

pub use frame::MAX_RECORD_BYTES;
pub use game_id::{GameId, GameIds, ParseGameIdError};
pub use options::{Backend, Options};
pub use record::{Ended, GameRecord, GameTime, Move, Player, PlayerKind, Takeover};
pub use recover::OpenReport;
pub use store::{Health, Page, ScanReport, Store, StoreError, StoreOptions, StoreStatus};
pub use writer::{AppendError, Receipt, Stored, WriteError};
