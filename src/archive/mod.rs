//! COMPLETED GAMES: records under ids that sort by time, kept for as long as the host wishes.
//!
//! A record is stored when its acknowledgement says so, and not before: then it survives a crash and a power cut. From the
//! outside in: [`Archive`] is what others use, with an [`Index`] in memory; [`RecordStore`] keeps records under ids; its `writer`
//! commits groups from a `queue`; records lie framed (`frame`) in a database (`store`, which alone knows sled); `recover` opens
//! it, with the help of `salvage`, which finds whole records in raw files. The store knows nothing of games: a record is bytes
//! to it.
//!
//! Copies of it may go to a bucket or a database: [`sink`].
//!
//! A [`GameRecord`] is a seed and a list of moves; [`replay`] makes the whole game of it again, as the [`GameJson`] that
//! is shown and exported; [`encode`] makes a few hundred bytes of it (`codec`, with its `moves` and `times`).

#[expect(clippy::module_inception, reason = "the folder is about completed games, the file is one place of them")]
mod archive;
mod calendar;
mod codec;
mod control;
mod control_socket;
mod events;
mod frame;
mod game_id;
mod index;
mod json;
mod json_reader;
mod known_time;
mod layout;
mod loading;
mod lost_files;
mod moves;
mod numbers;
mod old_layout;
mod options;
mod queue;
mod record;
mod record_store;
mod records;
mod recover;
mod replay;
mod report;
mod retention;
mod salvage;
mod seal;
mod shared;
pub mod sink;
mod store;
mod summary;
mod times;
mod trash;
mod writer;

pub use archive::{Archive, ArchiveStatus, Found, QueueFull, ReadError, StoreOutcome};
pub use calendar::{time_from, time_until};
pub use codec::{DecodeError, EncodeError, Summary, decode, decode_summary, encode, encode_plain};
pub use control::{CopyStatus, Pruned, PutOutcome, RecordsStatus, StoredRecord};
pub use control_socket::{Client, ControlSocket};
pub use events::{GameEvent, tell};
pub use frame::MAX_RECORD_BYTES;
pub use game_id::{GameId, GameIds, ParseGameIdError};
pub use index::{Index, Query, Rating, Totals};
pub use json::{
    AnswerJson, DealJson, DeclarationJson, FORMAT_VERSION, FieldError, GameJson, PieceName, PlayJson, PlayerJson,
    ProofJson, RoundJson, SeatNumber, TakeoverJson, TurnJson,
};
pub use json_reader::JsonError;
pub use moves::MovesError;
pub use old_layout::is_in as has_old_layout;
pub use options::{Backend, Options};
pub use queue::{IfFull, Receipt, Stored, WriteError};
pub use record::{Ended, GameRecord, GameTime, Move, Player, PlayerKind, Takeover};
pub use record_store::{Kept, Numbered, RecordStore, StoreOptions, Unreadable};
pub use records::{IfMissing, Records, RecordsError};
pub use replay::{ReplayError, outcome, replay};
pub use report::{Health, OpenReport, StoreError, StoreStatus};
pub use retention::Announcement;
pub use summary::SummaryJson;
