//! The wire: the messages and their text form. Nothing is decided here.
//!
//! Clients send [`ClientMessage`]s, and only [`decode`] makes one. The server sends [`Frame`]s, built by
//! [`server_message`] and, for the state of a table, by [`table_message`], where each receiver gets what its
//! [`View`](crate::game::View) holds.

mod client_message;
mod error_code;
mod frame;
mod name;
pub mod server_message;
mod table_event;
pub mod table_message;

pub use client_message::{ClientMessage, DecodeError, OnClose, OtherSeats, RoomRules, SeatChoice, Tempo, decode};
pub use error_code::{CloseReason, ErrorType};
pub use frame::{Broadcast, Frame};
pub use name::{InstanceId, InstanceIdError, NameError, PlayerName, RoomId, RoomIdError, SeatToken, SessionKey};
pub use table_event::{TableEvent, WonTurn, recovery_response};
