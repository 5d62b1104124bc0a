use std::time::Duration;

use serde_json::{Map, Value, json};
use warp::http::StatusCode;
use warp::reply::Response;

use super::super::RequestContext;
use super::super::error::HttpError;
use super::super::ops::answer;
use super::{Parameters, audit, number};
use crate::game::Seat;
use crate::protocol::RoomId;
use crate::room::{RoomHandle, RoomStage};

/// Rooms on a page of the list, unless asked for otherwise, and at most.
const PAGE_ROOMS: usize = 100;
const PAGE_ROOMS_MAX: usize = 1_000;
/// How long closing a room is waited for.
const CLOSING_PATIENCE: Duration = Duration::from_secs(2);
/// The longest reason that players are told.
const MESSAGE_MAX_CHARS: usize = 200;

/// `GET /admin/rooms`: all live rooms, newest first, a page at a time.
pub(super) async fn list(context: &RequestContext, parameters: &Parameters) -> Result<Response, HttpError> {
    let wrong = "limit is a number up to 1000";
    let limit = number(parameters, "limit", PAGE_ROOMS, PAGE_ROOMS_MAX, wrong)?;
    let offset = number(parameters, "offset", 0, usize::MAX, "offset is a number")?;
    let stage = match parameters.get("stage").map(String::as_str) {
        None | Some("") => None,
        Some("waiting") => Some(RoomStage::Waiting),
        Some("playing") => Some(RoomStage::Playing),
        Some("over") => Some(RoomStage::Over),
        Some(_) => return Err(HttpError::BadRequest("stage is waiting, playing or over")),
    };
    let rooms = context.state.services.rooms.clone();
    // Ten thousand summaries take a moment that no move should wait for.
    let listed = tokio::task::spawn_blocking(move || {
        let mut rooms = rooms.all();
        rooms.retain(|room| stage.is_none_or(|stage| room.stats().stage() == stage));
        let total = rooms.len();
        let mut rooms: Vec<_> = rooms.into_iter().map(|room| (room.summary().created_at, room)).collect();
        rooms.sort_by(|(a, _), (b, _)| b.cmp(a));
        let page: Vec<Value> = rooms.iter().skip(offset).take(limit).map(|(_, room)| describe(room)).collect();
        json!({ "total": total, "rooms": page })
    });
    Ok(answer(StatusCode::OK, &listed.await.map_err(|_| HttpError::Internal)?))
}

/// `GET /admin/rooms/{id}`.
pub(super) fn one(context: &RequestContext, id: &str) -> Result<Response, HttpError> {
    let id: RoomId = id.parse().map_err(|_| HttpError::NotFound)?;
    let room = context.state.services.rooms.find(id).ok_or(HttpError::NotFound)?;
    Ok(answer(StatusCode::OK, &describe(&room)))
}

/// `POST /admin/rooms/{id}/close`: everybody there is told why, and a game that was under way is archived as abandoned.
pub(super) async fn close(
    context: &RequestContext,
    id: &str,
    body: &Map<String, Value>,
) -> Result<Response, HttpError> {
    let id: RoomId = id.parse().map_err(|_| HttpError::NotFound)?;
    let message = match body.get("message") {
        None | Some(Value::Null) => None,
        Some(Value::String(text)) if is_plain(text) => Some(text.trim().to_owned()),
        Some(_) => return Err(HttpError::BadRequest("message is a line of text of at most 200 characters")),
    };
    let stage = context.state.services.rooms.find(id).ok_or(HttpError::NotFound)?.stats().stage();
    let message = message.filter(|text| !text.is_empty());
    let closed = context.state.services.rooms.close(id, message, CLOSING_PATIENCE).await;
    audit(context, "close_room", json!({ "room": id, "stage": stage.name() }));
    Ok(answer(StatusCode::OK, &json!({ "room_id": id, "stage": stage.name(), "closed": closed })))
}

fn is_plain(text: &str) -> bool {
    text.chars().count() <= MESSAGE_MAX_CHARS && !text.chars().any(char::is_control)
}

/// A room as operators see it: who sits there, not what he holds.
fn describe(room: &RoomHandle) -> Value {
    let summary = room.summary();
    let players: Vec<Value> = Seat::ALL
        .into_iter()
        .filter_map(|seat| {
            let player = summary.players[seat].as_ref()?;
            Some(json!({ "seat": seat.number(), "name": player.name, "is_bot": player.is_bot, "is_host": player.is_host }))
        })
        .collect();
    json!({
        "room_id": summary.room_id,
        "stage": room.stats().stage().name(),
        "round": room.stats().round(),
        "sockets": room.stats().sockets(),
        "players": players,
        "created_at": summary.created_at,
        "last_activity": room.stats().last_activity().to_rfc3339(),
    })
}
