//! The live tables: rooms, their seats, and the one task that owns each room.
//!
//! A [`Room`] decides everything and does nothing: it turns an [`Input`] into [`Effect`]s. Its task carries them out.
//! [`Rooms`] is where rooms are found; whoever holds a [`RoomHandle`] can hand a room something, and waits for nothing.

mod connection;
mod effect;
mod happening;
mod image;
mod journal;
mod journal_file;
mod journal_sync;
mod options;
mod playing;
mod presence;
mod restored;
#[expect(clippy::module_inception, reason = "the folder is the live tables, the file is one room")]
mod room;
mod rooms;
mod seats;
mod story;
mod table;
mod task;
mod time;
mod waiting;

pub use connection::{Connection, ConnectionId, Outbox, Outgoing, connection};
pub use effect::{Effect, Farewell, Input, JoinError, Newcomer};
pub use happening::{Happening, RoomStage};
pub use image::{EventBytes, Image, Note, RestoreError};
pub use journal::{Journal, JournalStatus};
pub use journal_file::{JournalError, Recovered};
pub use options::{JournalOptions, Options, RoomIds};
pub use room::{Life, Room};
pub use rooms::{CreateError, Keep, Kept, LISTED_MAX, LobbyWatch, RoomCount, RoomHandle, Rooms, Seated, SendError};
pub use seats::COLORS as AVATAR_COLORS;
pub use time::{Clock, Time};
