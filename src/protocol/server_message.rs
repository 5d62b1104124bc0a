//! The server's messages, except the state of a running game: that is in [`table_message`](super::table_message).
//!
//! Each function builds one message of the protocol, sections 3 to 6. Fields that the existing client needs are always
//! there.

use serde::Serialize;
use serde_json::{Value, json};

use super::{ErrorType, Frame, RoomId, Tempo};
use crate::game::{BySeat, Level, Seat};

/// The occupant of a seat before the game, as lists and room pages show it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Occupant {
    /// The name, unique in the room.
    pub name: String,
    /// Whether it is a bot.
    pub is_bot: bool,
    /// Whether this player may start the game and fill seats.
    pub is_host: bool,
    /// A person's colour; bots have none.
    pub avatar_color: Option<&'static str>,
    /// How well a bot plays.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "level")]
    pub level: Option<Level>,
    /// False for a person that is away while the seat is kept; sent only then.
    #[serde(skip_serializing_if = "is_true")]
    pub is_connected: bool,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes fields by reference")]
const fn is_true(value: &bool) -> bool {
    *value
}

#[expect(clippy::ref_option, reason = "serde passes fields by reference")]
fn level<S: serde::Serializer>(level: &Option<Level>, serializer: S) -> Result<S::Ok, S::Error> {
    level.map(<&str>::from).serialize(serializer)
}

/// A room as the lobby and its own page show it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RoomSummary {
    /// Which room.
    pub room_id: RoomId,
    /// The host's name.
    pub host_name: String,
    /// Whether its game has begun.
    pub started: bool,
    /// How long it pauses; its own page is told, other servers are not.
    pub tempo: Tempo,
    /// Who sits where.
    pub players: BySeat<Option<Occupant>>,
    /// When it was opened, as an RFC 3339 time.
    pub created_at: String,
    /// When a player last joined, left or changed a seat.
    pub last_activity: String,
}

impl RoomSummary {
    /// How many seats are taken, 0 to 4.
    pub fn occupied(&self) -> usize {
        self.players.iter().flatten().count()
    }

    fn slots(&self) -> Value {
        let slot = |(seat, player): (Seat, &Option<Occupant>)| (format!("P{seat}"), json!(player));
        Value::Object(self.players.pairs().map(slot).collect())
    }

    /// Adds the tempo, unless it is the usual one.
    fn with_tempo(&self, mut data: Value) -> Value {
        if let Some(data) = data.as_object_mut().filter(|_| self.tempo != Tempo::default()) {
            data.insert("tempo".to_owned(), json!(<&str>::from(self.tempo)));
        }
        data
    }

    /// The room as an object of JSON.
    pub fn to_json(&self) -> Value {
        json!({
            "room_id": self.room_id,
            "host_name": self.host_name,
            "started": self.started,
            "players": self.players.as_array(),
            "slots": self.slots(),
            "occupied_slots": self.occupied(),
            "total_slots": 4,
            "created_at": self.created_at,
            "last_activity": self.last_activity,
        })
    }
}

/// Why a list of rooms is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ListReason {
    /// The client has just connected.
    Initial,
    /// The client has asked.
    Requested,
    /// Something has changed.
    Changed,
}

/// `room_list_update`: the rooms that have not started.
pub fn room_list_update<'a>(rooms: impl IntoIterator<Item = &'a RoomSummary>, reason: ListReason) -> Frame {
    let rooms: Vec<Value> = rooms.into_iter().map(RoomSummary::to_json).collect();
    let data = match reason {
        ListReason::Initial => json!({ "rooms": rooms, "initial": true }),
        ListReason::Requested => json!({ "rooms": rooms, "requested_by": "client" }),
        ListReason::Changed => json!({ "rooms": rooms, "reason": "changed" }),
    };
    Frame::event("room_list_update", &data)
}

/// `room_created`, to the creator only: every lobby page that gets it enters the room.
pub fn room_created(room_id: RoomId, host_name: &str, seat_token: &str) -> Frame {
    let data = json!({ "room_id": room_id, "host_name": host_name, "success": true, "seat_token": seat_token });
    Frame::event("room_created", &data)
}

/// `room_joined`, to the joiner only. Seats are numbered from 0 here.
pub fn room_joined(room_id: RoomId, player_name: &str, seat: Seat, seat_token: &str) -> Frame {
    let data = json!({
        "room_id": room_id,
        "player_name": player_name,
        "assigned_slot": seat.index(),
        "success": true,
        "seat_token": seat_token,
    });
    Frame::event("room_joined", &data)
}

/// `room_update`: the whole state of a room's page. `you` is the receiver's name, if it has a seat.
pub fn room_update(room: &RoomSummary, deal_commitment: &str, you: Option<&str>) -> Frame {
    let data = json!({
        "players": room.players.as_array(),
        "host_name": room.host_name,
        "room_id": room.room_id,
        "started": room.started,
        "deal_commitment": deal_commitment,
        "you": you,
    });
    Frame::event("room_update", &room.with_tempo(data))
}

/// `room_state_update`: the first answer to `client_ready` in a room.
pub fn room_state_update(room: &RoomSummary, deal_commitment: &str, you: Option<&str>) -> Frame {
    let data = json!({
        "room_id": room.room_id,
        "slots": room.slots(),
        "host_name": room.host_name,
        "started": room.started,
        "deal_commitment": deal_commitment,
        "you": you,
    });
    Frame::event("room_state_update", &room.with_tempo(data))
}

/// `player_left`, the answer to `leave_room`.
pub fn player_left(player_name: &str, room_closed: bool) -> Frame {
    Frame::event("player_left", &json!({ "player_name": player_name, "success": true, "room_closed": room_closed }))
}

/// Why a room is closed, or closed to one player.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RoomClosed {
    /// There is no such room.
    NotFound,
    /// The host has left before the game.
    HostLeft,
    /// The host has taken the receiver's seat away.
    PlayerRemoved,
    /// Nobody has been in it for a while.
    Abandoned,
    /// The game is over, and its result has been shown for long enough.
    Finished,
    /// The operator has closed it.
    ByOperator,
}

/// `room_closed`: the existing client's room page goes back to the lobby.
pub fn room_closed(why: RoomClosed) -> Frame {
    let data = match why {
        RoomClosed::NotFound => json!({ "message": "Room not found." }),
        RoomClosed::HostLeft => json!({ "reason": "host_left", "message": "The host has left the room." }),
        RoomClosed::PlayerRemoved => {
            json!({ "reason": "player_removed", "message": "The host has removed you from the room." })
        }
        RoomClosed::Abandoned => {
            json!({ "reason": "abandoned", "timeout_seconds": 30, "message": "Nobody was left at the table." })
        }
        RoomClosed::Finished => json!({ "reason": "finished", "message": "The game is over." }),
        RoomClosed::ByOperator => json!({ "reason": "closed", "message": "The room was closed by the operator." }),
    };
    Frame::event("room_closed", &data)
}

/// `room_closed`, with a reason in the operator's words.
pub fn room_closed_because(message: &str) -> Frame {
    Frame::event("room_closed", &json!({ "reason": "closed", "message": message }))
}

/// `room_not_found`: the existing client forgets the game it wanted to resume and goes to `/`.
pub fn room_not_found(room_id: &str) -> Frame {
    let data = json!({
        "room_id": room_id,
        "message": "This game is no longer there",
        "suggestion": "It may have ended, or the room was closed. Please start or join another one.",
    });
    Frame::event("room_not_found", &data)
}

/// `game_started`: the room page goes to the game page.
pub fn game_started(room_id: RoomId) -> Frame {
    Frame::event("game_started", &json!({ "room_id": room_id, "success": true }))
}

/// `player_disconnected`: a bot plays for this player from now on.
pub fn player_disconnected(player_name: &str) -> Frame {
    let data = json!({ "player_name": player_name, "ai_activated": true, "can_reconnect": true, "is_bot": true });
    Frame::event("player_disconnected", &data)
}

/// `player_reconnected`: the player takes over from the bot.
pub fn player_reconnected(player_name: &str) -> Frame {
    let data = json!({ "player_name": player_name, "resumed_control": true, "is_bot": false });
    Frame::event("player_reconnected", &data)
}

/// `player_timed_out`: the player took too long, and a bot made this one move.
pub fn player_timed_out(player_name: &str) -> Frame {
    Frame::event("player_timed_out", &json!({ "player_name": player_name }))
}

/// `host_changed`: another player is the host.
pub fn host_changed(old_host: &str, new_host: &str) -> Frame {
    let data = json!({
        "old_host": old_host,
        "new_host": new_host,
        "message": format!("{new_host} is now the host"),
    });
    Frame::event("host_changed", &data)
}

/// `rematch`: the table where the same people meet again, and who named it.
pub fn rematch(room_id: RoomId, player_name: &str) -> Frame {
    Frame::event("rematch", &json!({ "room_id": room_id, "player_name": player_name }))
}

/// `redeal_response_success`: the answer to the redeal question is accepted.
pub fn redeal_response_success(player_name: &str, accept: bool) -> Frame {
    let choice = if accept { "accept" } else { "decline" };
    Frame::event("redeal_response_success", &json!({ "player_name": player_name, "choice": choice }))
}

/// `declare`: repeats one declaration for a page that was loaded in the middle of a round.
pub fn declare(player: &str, value: u8) -> Frame {
    Frame::event("declare", &json!({ "player": player, "value": value }))
}

/// `redeal_executed`: repeats the round's multiplier for a page that was loaded in the middle of a round.
pub fn redeal_executed(multiplier: u32) -> Frame {
    Frame::event("redeal_executed", &json!({ "redeal_multiplier": multiplier }))
}

/// `pong`, with the ping's timestamp as it came.
pub fn pong(timestamp: &Value, room_id: Option<RoomId>, server_time: f64) -> Frame {
    let mut data = json!({ "timestamp": timestamp, "server_time": server_time });
    if let (Some(room_id), Some(data)) = (room_id, data.as_object_mut()) {
        data.insert("room_id".to_owned(), json!(room_id));
    }
    Frame::event("pong", &data)
}

/// `error`: something was refused, and nothing has changed.
pub fn error(kind: ErrorType, message: &str) -> Frame {
    Frame::event("error", &json!({ "message": message, "type": kind }))
}

/// `error` for too many messages, in the form of the protocol, section 3. Times are in seconds.
pub fn rate_limited(limit: u32, window: u32, retry_after: f64, blocked: bool) -> Frame {
    let data = json!({
        "code": "rate_limited",
        "type": "rate_limited",
        "message": format!("Too many messages. Please wait {} seconds.", retry_after.ceil().max(1.0)),
        "details": "The message was not handled.",
        "context": { "retry_after": retry_after, "limit": limit, "window": window, "blocked": blocked },
        "retryable": true,
        "severity": "warning",
    });
    Frame::event("error", &data)
}
