//! One WebSocket, from its request to its close.

use std::sync::Arc;

use super::link::{Link, SocketEnd};
use super::socket_limits::SocketLimits;
use super::state::AppState;
use super::transport::Transport;
use super::{lobby_socket, table_socket};
use crate::limit::Key;
use crate::observe::EventKind;
use crate::protocol::{CloseReason, SessionKey};

/// Serves a socket until it ends. `read` holds bytes that arrived together with the request, and `destination` is what
/// followed `/ws/` there.
pub(super) async fn serve(
    stream: Transport,
    read: Vec<u8>,
    state: Arc<AppState>,
    session: SessionKey,
    address: Key,
    destination: &str,
) {
    let metrics = &state.services.metrics;
    metrics.sockets_opened.inc();
    metrics.sockets.inc();
    let limits = SocketLimits::new(Arc::clone(&state), session, address);
    let mut link = Link::new(stream, read, Arc::clone(&state)).await;
    let Err(ended) = match (destination, destination.parse()) {
        ("lobby", _) => lobby_socket::serve(&mut link, &limits, session).await,
        (_, Ok(id)) => table_socket::serve(&mut link, &limits, session, id).await,
        (not_an_id, Err(_)) => table_socket::unknown_room(&mut link, &limits, not_an_id).await,
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
        let (stream, session) = (Transport::Left(stream), SessionKey::of("x"));
        let bytes = size_of_val(&serve(stream, Vec::new(), state, session, Key::from_number(1), "lobby"));
        assert!(bytes <= 3 * 1024, "{bytes} bytes");
    }
}
