//! The live tables: rooms, their seats, and the one task that owns each room.
//!
//! A [`Room`] decides everything and does nothing: it turns an [`Input`] into [`Effect`]s. Its task carries them out.
//! [`Rooms`] is where rooms are found; whoever holds a [`RoomHandle`] can hand a room something, and waits for nothing.

mod connection;
mod effect;
mod event_history;
mod journal;
mod journal_file;
mod journal_sync;
mod options;
mod playing;
mod presence;
mod restored;
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
pub use effect::{DisconnectKind, Effect, Input, JoinError, JoinRequest};
pub use journal::{Journal, JournalStatus};
pub use journal_file::{JournalError, Recovered};
pub use options::{JournalOptions, Options, RoomIds};
pub use room::{Lifecycle, Room};
pub use room_event::{RoomEvent, RoomStage};
pub use rooms::{CreateError, Keep, Kept, LISTED_MAX, LobbyWatch, RoomCount, RoomHandle, Rooms, Seated, SendError};
pub use seats::COLORS as AVATAR_COLORS;
pub use snapshot::{EventBytes, Note, RestoreError, RoomSnapshot};
pub use time::{Clock, Time};
