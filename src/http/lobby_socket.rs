//! A WebSocket in the lobby: shows the list of rooms, opens rooms and takes seats.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep_until};

use super::link::{Link, Served, SocketEnd, pong};
use super::socket_limits::SocketLimits;
use crate::protocol::server_message::{self, ListReason};
use crate::protocol::{ClientMessage, CloseReason, ErrorType, Frame, SessionKey};
use crate::room::JoinError;
use crate::services::Services;

/// How fast the list of rooms is sent to one socket at most, so that a long list that keeps changing does not become a
/// flood.
const LIST_BYTES_PER_SECOND: f64 = 1e6;

/// Serves a lobby socket until it ends.
pub(super) async fn serve(link: &mut Link, limits: &SocketLimits, session: SessionKey) -> Served {
    let state = Arc::clone(&link.state);
    let rooms = &state.services.rooms;
    let mut list = rooms.watch_lobby();
    let mut next_list_at = Instant::now();
    loop {
        let list_changed = async {
            sleep_until(next_list_at).await;
            list.changed().await;
        };
        let incoming = tokio::select! {
            incoming = link.receive() => incoming,
            () = list_changed => {
                let list = rooms.list_frame(ListReason::Changed);
                let pause = Duration::from_secs_f64(list.as_str().len() as f64 / LIST_BYTES_PER_SECOND);
                next_list_at = Instant::now() + pause;
                link.send(list).await?;
                continue;
            }
            () = state.closing() => return Err(SocketEnd::Ours(CloseReason::Restart)),
        };
        let Some(message) = link.read(incoming, limits).await? else { continue };
        let action = <&str>::from(&message);
        let Some(answer) = answer(&state.services, limits, session, message).await else { continue };
        let (outcome, answer) = match answer {
            Ok(answer) => ("accepted", answer),
            Err(refusal) => ("refused", refusal),
        };
        state.services.metrics.actions.with(action).with(outcome).inc();
        link.send(answer).await?;
    }
}

/// The answer to a message: `Err` for a refusal, `None` for messages that the lobby does not know. Those get no error,
/// because the existing client shows each one in a box that its player has to close.
async fn answer(
    services: &Services,
    limits: &SocketLimits,
    session: SessionKey,
    message: ClientMessage,
) -> Option<Result<Frame, Frame>> {
    let rooms = &services.rooms;
    Some(match message {
        ClientMessage::ClientReady { .. } => Ok(rooms.list_frame(ListReason::Initial)),
        ClientMessage::GetRooms => limits.query().await.map(|()| rooms.list_frame(ListReason::Requested)),
        ClientMessage::Ping { timestamp } => Ok(pong(&timestamp, None)),
        ClientMessage::CreateRoom { player_name: name, rules } => match limits.new_room().await {
            Ok(()) => match rooms.create(Some(session), name.clone(), rules) {
                Ok(room) => Ok(server_message::room_created(room.room_id, name.as_str(), room.token.reveal())),
                Err(error) => Err(server_message::error(ErrorType::RoomCreationError, &error.to_string())),
            },
            Err(refusal) => Err(refusal),
        },
        ClientMessage::JoinRoom { room_id, player_name: name, choice } => {
            let joined = match room_id {
                Some(id) => services.directory.join(id, session, name.clone(), choice).await,
                None => Err(JoinError::NotFound),
            };
            match joined {
                Ok(room) => {
                    Ok(server_message::room_joined(room.room_id, name.as_str(), room.seat, room.token.reveal()))
                }
                Err(error) => Err(server_message::error(ErrorType::JoinRoomError, &error.to_string())),
            }
        }
        _ => return None,
    })
}
