//! One WebSocket, from its request to its close.

use std::sync::Arc;

use super::link::{Link, SocketEnd};
use super::socket_limits::SocketLimits;
use super::state::AppState;
use super::transport::Transport;
use super::{lobby_socket, table_socket};
use crate::limit::Key;
use crate::observe::EventKind;
use crate::protocol::{CloseReason, RoomId, SessionKey};

/// How much of an invalid room id is sent back.
const UNKNOWN_ID_CHARS: usize = 50;

/// A request for a socket: its client and its destination.
#[derive(Debug)]
pub(super) struct SocketRequest {
    state: Arc<AppState>,
    session: SessionKey,
    /// The client's address.
    address: Key,
    destination: Destination,
}

#[derive(Debug)]
enum Destination {
    Lobby,
    Room(RoomId),
    /// Not a valid room id.
    Unknown(Box<str>),
}

impl SocketRequest {
    /// `destination` is what follows `/ws/`.
    pub(super) fn new(state: Arc<AppState>, session: SessionKey, address: Key, destination: String) -> Self {
        let destination = match (destination.as_str(), destination.parse()) {
            ("lobby", _) => Destination::Lobby,
            (_, Ok(id)) => Destination::Room(id),
            (text, Err(_)) => Destination::Unknown(text.chars().take(UNKNOWN_ID_CHARS).collect()),
        };
        Self { state, session, address, destination }
    }
}

/// Serves a socket until it ends. `read` holds bytes that arrived together with the request.
pub(super) async fn serve(stream: Transport, read: Vec<u8>, request: SocketRequest) {
    let state = Arc::clone(&request.state);
    let metrics = &state.services.metrics;
    metrics.sockets_opened.inc();
    metrics.sockets.inc();
    let limits = SocketLimits::new(Arc::clone(&request.state), request.session, request.address);
    let mut link = Link::new(stream, read, request.state).await;
    let ended = match request.destination {
        Destination::Lobby => lobby_socket::serve(&mut link, &limits, request.session).await,
        Destination::Room(id) => table_socket::serve(&mut link, &limits, request.session, id).await,
        Destination::Unknown(id) => table_socket::unknown_room(&mut link, &limits, &id).await,
    };
    link.close(ended).await;
    metrics.sockets.dec();
    metrics.sockets_closed.with(ended.name()).inc();
    if ended == SocketEnd::Ours(CloseReason::Abuse) {
        state.services.events.note_often(EventKind::AbuseClosed, "socket");
        limits.charge_for_abuse().await;
    }
    log::debug!(reason = ended.name(); "a socket has ended");
}

#[cfg(test)]
mod tests {
    use super::super::{AdminAuth, Options, Secret};
    use super::*;
    use crate::limit;
    use crate::observe::{Events, Health, HealthOptions, MemoryState, Metrics};
    use crate::room::{Journal, Rooms};
    use crate::services::Services;

    /// The task is most of an idle socket's memory besides the read buffer, and it could grow unnoticed.
    #[tokio::test]
    async fn the_task_of_a_socket_is_small() {
        let metrics = Arc::new(Metrics::new("test", "test", false));
        let health = Arc::new(Health::new(&HealthOptions::default(), Arc::clone(&metrics)));
        let (events, archive_game) = (Events::new(0), Box::new(|_| Box::pin(async {}) as crate::room::Archived));
        let rooms = Rooms::new(
            crate::room::Options::default(),
            Journal::off(),
            archive_game,
            Arc::clone(&metrics),
            events.clone(),
        );
        let services = Services {
            limiter: limit::open(&limit::Options::default(), None, &metrics),
            directory: crate::directory::local(&rooms),
            rooms,
            archive: None,
            journal: Journal::off(),
            redis: None,
            memory: tokio::sync::watch::channel(MemoryState::default()).1,
            events,
            metrics,
        };
        let state = AppState::new(Options::default(), services, health, AdminAuth::new(&Secret::new("x")));
        let listener = super::super::listen(([127, 0, 0, 1], 0).into()).unwrap();
        let stream = tokio::net::TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let request = SocketRequest::new(state, SessionKey::of("x"), Key::from_number(1), "lobby".to_owned());
        let bytes = size_of_val(&serve(Transport::Plain(stream), Vec::new(), request));
        assert!(bytes <= 3 * 1024, "{bytes} bytes");
    }
}
