use std::time::Duration;

use serde_json::{Value, json};
use warp::reply::Response;

use super::super::answer::ok;
use super::super::error::HttpError;

use super::request::AdminRequest;
use crate::game::Seat;
use crate::protocol::RoomId;
use crate::room::{RoomHandle, RoomStage};

/// Rooms on a page of the list, unless asked for otherwise, and at most.
const PAGE_ROOMS: usize = 100;
const PAGE_ROOMS_MAX: usize = 1_000;
/// How long a request waits for a room to close.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(2);
/// The longest message to players.
const MESSAGE_MAX_CHARS: usize = 200;

/// `GET /admin/rooms`: all live rooms, newest first, a page at a time.
pub(super) async fn list(request: AdminRequest) -> Result<Response, HttpError> {
    let wrong = "limit is a number up to 1000";
    let limit = request.number("limit", PAGE_ROOMS, PAGE_ROOMS_MAX, wrong)?;
    let offset = request.number("offset", 0, usize::MAX, "offset is a number")?;
    let stage = request.parameters.get("stage").filter(|text| !text.is_empty());
    let stage: Option<RoomStage> = stage
        .map(|text| text.parse().map_err(|_| HttpError::BadRequest("stage is waiting, playing or over")))
        .transpose()?;
    let rooms = request.services().rooms.clone();
    // Not on this thread: ten thousand summaries take a moment.
    let listed = tokio::task::spawn_blocking(move || {
        let mut rooms = rooms.all();
        rooms.retain(|room| stage.is_none_or(|stage| room.stats().stage() == stage));
        let total = rooms.len();
        let mut rooms: Vec<_> = rooms.into_iter().map(|room| (room.summary().created_at, room)).collect();
        rooms.sort_by(|(a, _), (b, _)| b.cmp(a));
        let page: Vec<Value> = rooms.iter().skip(offset).take(limit).map(|(_, room)| describe(room)).collect();
        json!({ "total": total, "rooms": page })
    });
    ok(&listed.await.map_err(|_| HttpError::Internal)?)
}

/// `GET /admin/rooms/{id}`.
pub(super) async fn one(request: AdminRequest) -> Result<Response, HttpError> {
    let id: RoomId = request.id.parse().map_err(|_| HttpError::NotFound)?;
    let room = request.services().rooms.find(id).ok_or(HttpError::NotFound)?;
    ok(&describe(&room))
}

/// `POST /admin/rooms/{id}/close`: sends everyone there the message. A running game is archived as abandoned.
pub(super) async fn close(request: AdminRequest) -> Result<Response, HttpError> {
    let id: RoomId = request.id.parse().map_err(|_| HttpError::NotFound)?;
    let message = match request.body.get("message") {
        None | Some(Value::Null) => None,
        Some(Value::String(text)) if is_plain(text) => Some(text.trim().to_owned()),
        Some(_) => return Err(HttpError::BadRequest("message is a line of text of at most 200 characters")),
    };
    let stage = request.services().rooms.find(id).ok_or(HttpError::NotFound)?.stats().stage();
    let message = message.filter(|text| !text.is_empty());
    let closed = request.services().rooms.close(id, message, CLOSE_TIMEOUT).await;
    request.audit("close_room", json!({ "room": id, "stage": stage.name() }));
    ok(&json!({ "room_id": id, "stage": stage.name(), "closed": closed }))
}

fn is_plain(text: &str) -> bool {
    text.chars().count() <= MESSAGE_MAX_CHARS && !text.chars().any(char::is_control)
}

/// A room as operators see it: its players, but not their hands.
fn describe(room: &RoomHandle) -> Value {
    let (summary, stats) = (room.summary(), room.stats());
    let players: Vec<Value> = Seat::ALL
        .into_iter()
        .filter_map(|seat| {
            let player = summary.players[seat].as_ref()?;
            Some(json!({ "seat": seat.number(), "name": player.name, "is_bot": player.is_bot, "is_host": player.is_host }))
        })
        .collect();
    json!({
        "room_id": summary.room_id,
        "stage": stats.stage().name(),
        "round": stats.round(),
        "sockets": stats.sockets(),
        "players": players,
        "created_at": summary.created_at,
        "last_activity": stats.last_activity().to_rfc3339(),
    })
}
