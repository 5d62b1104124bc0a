//! The live tables: rooms, their seats, and the one task that owns each room.

mod connection;
mod options;

pub use connection::{Connection, ConnectionId, Outbox, Outgoing, connection};
pub use options::{JournalOptions, Options};
