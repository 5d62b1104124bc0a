use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;
use warp::http::header::HOST;
use warp::http::uri::Authority;
use warp::http::{Method, Request, StatusCode};
use warp::reply::Response;

use super::answer::redirect;
use super::client::Peer;
use super::connection_limit::{ConnectionPermit, LimitReached};
use super::error::HttpError;
use super::headers;
use super::middleware::Middleware;
use super::target::to_origin_form;
use super::tls::Tls;
use super::transport::Transport;
use crate::observe::is_after_1970;

/// Connections that may wait to be accepted.
const BACKLOG: i32 = 4_096;
/// The system's send buffer for a peer that does not read; its default is up to some MiB. A page and a few moves of a game
/// fit in.
const SEND_BUFFER_BYTES: usize = 128 * 1024;
/// How long the system waits for a peer to acknowledge data.
const UNACKNOWLEDGED_TIMEOUT: Duration = Duration::from_secs(60);
/// Pause after an error of this machine, such as too many open files.
const RETRY_AFTER: Duration = Duration::from_millis(100);
/// The longest head of a request, in bytes.
const HEAD_MAX_BYTES: usize = 32 * 1024;
const HEADERS_MAX: usize = 64;

/// Opens the listening socket. Accepted sockets inherit its options.
///
/// # Errors
/// If the address is in use or cannot be listened on.
pub fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    if address.is_ipv6() {
        // `::` accepts IPv4 as well, whatever the system's default is.
        socket.set_only_v6(false)?;
    }
    // A restarted server must not wait for the last packets of the previous one.
    socket.set_reuse_address(true)?;
    // Without this a second broadcast would wait up to 40 ms for the acknowledgement of the first.
    socket.set_tcp_nodelay(true)?;
    socket.set_send_buffer_size(SEND_BUFFER_BYTES)?;
    #[cfg(target_os = "linux")]
    socket.set_tcp_user_timeout(Some(UNACKNOWLEDGED_TIMEOUT))?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    TcpListener::from_std(socket.into())
}

/// Accepts and serves connections until shutdown.
///
/// warp's own server has no deadline for request headers, so a client that sends none would hold its connection for ever.
pub(super) async fn accept(listener: TcpListener, tls: Option<Arc<Tls>>, middleware: Middleware) {
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = middleware.state.refusing() => return,
        };
        match accepted {
            Ok((stream, peer)) => match permit(&middleware, peer) {
                Ok(permit) => {
                    tokio::spawn(serve(stream, peer, tls.clone(), middleware.clone(), permit));
                }
                // Closing is answer enough for a flood.
                Err(limit) => {
                    middleware.state.services.metrics.sockets_refused.with(limit.into()).inc();
                    log::debug!("a connection was refused: {limit}");
                }
            },
            Err(error) if is_peer_error(&error) => {}
            Err(error) => {
                log::warn!("no connection can be accepted: {error}");
                tokio::time::sleep(RETRY_AFTER).await;
            }
        }
    }
}

/// A permit for the connection. A trusted proxy brings many clients, which are counted when their sockets open.
fn permit(middleware: &Middleware, peer: SocketAddr) -> Result<ConnectionPermit, LimitReached> {
    let state = &middleware.state;
    let is_proxy = state.options.trusted_proxies.iter().any(|network| network.contains(peer.ip()));
    if is_proxy { state.connections.acquire_for_proxy() } else { state.connections.acquire(peer.ip()) }
}

/// Whether only this connection failed, before it was accepted.
fn is_peer_error(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionRefused | io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset
    )
}

/// Serves one connection until it ends or becomes a WebSocket. It holds its permit from the start.
async fn serve(
    stream: TcpStream,
    peer: SocketAddr,
    tls: Option<Arc<Tls>>,
    middleware: Middleware,
    permit: ConnectionPermit,
) {
    match tls {
        None => serve_requests(Transport::Left(stream), peer, middleware).await,
        Some(tls) => match handshake(stream, &tls, &middleware).await {
            Some(Transport::Left(stream)) => send_to_https(stream, &middleware).await,
            Some(encrypted) => serve_requests(encrypted, peer, middleware).await,
            None => {}
        },
    }
    drop(permit);
}

/// Performs the TLS handshake, unless the client speaks plain HTTP; `None` if it fails or takes too long.
async fn handshake(stream: TcpStream, tls: &Tls, middleware: &Middleware) -> Option<Transport> {
    let state = &middleware.state;
    // On the heap, so that a connection does not keep the memory of its handshake.
    let accepted = Box::pin(timeout(state.options.header_timeout, tls.accept(stream)));
    let accepted = tokio::select! {
        accepted = accepted => accepted,
        () = state.refusing() => return None,
    };
    let (outcome, accepted) = match accepted {
        Ok(Ok(accepted @ Transport::Right(_))) => ("accepted", Some(accepted)),
        Ok(Ok(accepted @ Transport::Left(_))) => ("plain", Some(accepted)),
        Ok(Err(error)) => {
            log::debug!("no handshake: {error}");
            ("failed", None)
        }
        Err(_) => ("late", None),
    };
    state.services.metrics.tls_handshakes.with(outcome).inc();
    accepted
}

/// Serves requests one after the other.
async fn serve_requests(stream: Transport, address: SocketAddr, middleware: Middleware) {
    let peer = Peer { address: address.ip(), is_secure: matches!(stream, Transport::Right(_)) };
    let connection = http1(&middleware)
        .serve_connection(TokioIo::new(stream), service_fn(|request| middleware.clone().answer(peer, request)))
        .with_upgrades();
    tokio::pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = middleware.state.refusing() => {
            // Answers the request under way and no other.
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        log::debug!("a connection ended: {error}");
    }
}

/// Answers an unencrypted request to a TLS port with its https address.
async fn send_to_https(stream: TcpStream, middleware: &Middleware) {
    let answer = service_fn(async |request| Ok::<_, Infallible>(to_https(request)));
    let connection = http1(middleware).keep_alive(false).serve_connection(TokioIo::new(stream), answer);
    if let Err(error) = connection.await {
        log::debug!("a connection without TLS ended: {error}");
    }
}

fn to_https(mut request: Request<Incoming>) -> Response {
    let is_plain = to_origin_form(&mut request).is_ok();
    let host = request.headers().get(HOST).and_then(|host| host.to_str().ok()?.parse::<Authority>().ok());
    let reads = matches!(*request.method(), Method::GET | Method::HEAD);
    let mut response = match (host, request.uri().path_and_query()) {
        (Some(host), Some(path)) if is_plain && reads => {
            redirect(StatusCode::PERMANENT_REDIRECT, &format!("https://{host}{path}"))
        }
        _ => HttpError::BadRequest("this port speaks https").response(),
    };
    headers::protect(response.headers_mut(), false);
    response
}

/// How requests are read.
fn http1(middleware: &Middleware) -> http1::Builder {
    let mut builder = http1::Builder::new();
    builder
        .timer(TokioTimer::new())
        .header_read_timeout(middleware.state.options.header_timeout)
        .max_buf_size(HEAD_MAX_BYTES)
        .max_headers(HEADERS_MAX)
        .auto_date_header(is_after_1970());
    builder
}
