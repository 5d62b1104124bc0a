use serde_json::{Value, json};
use warp::reply::Response;

use super::answer::ok;
use super::context::RequestContext;
use super::error::HttpError;
use crate::protocol::server_message::RoomSummary;

/// `GET /api/rooms`: the rooms that can be joined, as the lobby shows them.
pub(super) fn rooms(context: RequestContext) -> Result<Response, HttpError> {
    let rooms: Vec<Value> = context.state.services.rooms.listed().iter().map(RoomSummary::to_json).collect();
    ok(&json!({ "rooms": rooms }))
}
