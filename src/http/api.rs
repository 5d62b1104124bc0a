use serde_json::{Value, json};
use warp::http::StatusCode;
use warp::reply::Response;

use super::context::RequestContext;
use super::ops::answer;
use crate::protocol::server_message::RoomSummary;

/// `GET /api/rooms`: the rooms that can be joined, as the lobby shows them.
pub(super) fn rooms(context: RequestContext) -> Response {
    let rooms: Vec<Value> = context.state.services.rooms.listed().iter().map(RoomSummary::to_json).collect();
    answer(StatusCode::OK, &json!({ "rooms": rooms }))
}
