//! The live tables: rooms, their seats, and the one task that owns each room.
//!
//! A [`Room`] decides and does nothing itself: it turns an [`Input`] into [`Effect`]s, and its task carries them out.
//! [`Rooms`] creates and finds rooms. A [`RoomHandle`] passes inputs to a room without waiting for it.

mod connection;
mod effect;
mod event_codec;
mod event_history;
mod handle;
mod join;
mod journal;
mod journal_file;
mod lobby;
mod member;
mod options;
mod playing;
mod presence;
mod registry;
mod restore;
mod result;
#[expect(clippy::module_inception, reason = "the folder is the live tables, the file is one room")]
mod room;
mod room_event;
mod rooms;
mod seats;
mod snapshot;
mod table;
mod task;
mod time;
mod waiting;

pub use connection::{Connection, ConnectionId, FrameReceiver, Outgoing, connection};
pub use effect::{DisconnectKind, Effect, Input};
pub use event_codec::EventBytes;
pub use handle::{RoomHandle, RoomStats, SendError};
pub use join::{JoinError, JoinRequest};
pub use journal::{Journal, JournalStatus};
pub use journal_file::{JournalError, Recovered};
pub use lobby::{LISTED_MAX, LobbyWatch};
pub use options::{JournalOptions, Options, RoomIds};
pub use registry::{ArchiveGame, Archived};
pub use room::{Lifecycle, Room};
pub use room_event::{RoomEvent, RoomStage};
pub use rooms::{CreateError, RoomCount, Rooms, Seated};
pub use seats::COLORS as AVATAR_COLORS;
pub use snapshot::{Note, RestoreError, RoomSnapshot};
pub use time::{Clock, Time};
