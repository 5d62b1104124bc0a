use serde_json::{Value, json};
use warp::reply::Response;

use super::answer::ok;
use super::context::RequestContext;
use super::error::HttpError;
use super::session::Session;
use crate::limit::{Cost, Kind};
use crate::protocol::server_message::RoomSummary;

/// `GET /api/rooms`: the rooms that can be joined, as the lobby shows them.
pub(super) fn rooms(context: RequestContext) -> Result<Response, HttpError> {
    let rooms: Vec<Value> = context.state.services.rooms.listed().iter().map(RoomSummary::to_json).collect();
    ok(&json!({ "rooms": rooms }))
}

/// `GET /api/me/games`: the games under way here in which the browser's session holds a seat, so that its page can lead back.
pub(super) async fn my_games(context: RequestContext) -> Result<Response, HttpError> {
    let RequestContext { state, client, headers } = &context;
    state.admit(Kind::Http, client.address, Cost::Query).await?;
    // A request without a session gets one that holds no seat.
    let session = Session::of(headers, client, &state.options.base_path).map_err(|_| HttpError::Internal)?;
    let games = state.services.rooms.games_of(session.key).into_iter().map(|(room, seat)| {
        let summary = room.summary();
        let name = summary.players[seat].as_ref().map(|player| player.name.as_str());
        json!({ "room_id": summary.room_id, "player_name": name, "round": room.stats().round() })
    });
    ok(&json!({ "games": games.collect::<Vec<_>>() }))
}
