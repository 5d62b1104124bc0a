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

use super::client::Peer;
use super::connection_limit::{ConnectionPermit, LimitReached};
use super::error::HttpError;
use super::headers;
use super::middleware::{Middleware, redirect};
use super::target::to_origin_form;
use super::tls::{Greeting, Tls};
use super::transport::Transport;

/// Connections that may wait to be accepted.
const BACKLOG: i32 = 4_096;
/// What the system holds for a peer that does not read; left to itself it takes up to some MiB. A page and a few moves of
/// a game fit in, so nobody honest waits for it.
const SEND_BUFFER_BYTES: usize = 128 * 1024;
/// The longest time the system tries to deliver what a peer does not take.
const UNACKNOWLEDGED: Duration = Duration::from_secs(60);
/// Pause after an error that is the machine's and not the peer's, such as too many open files.
const BREATH: Duration = Duration::from_millis(100);
/// The longest head of a request, in bytes.
const HEAD_MAX_BYTES: usize = 32 * 1024;
const HEADERS_MAX: usize = 64;

/// Opens the listening socket. What is set here, accepted sockets inherit.
///
/// # Errors
/// If the address is in use or cannot be listened on.
pub fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    if address.is_ipv6() {
        // `::` hears IPv4 as well, whatever the system's default is.
        socket.set_only_v6(false)?;
    }
    // A server that comes back must not wait for the last packets of the one before.
    socket.set_reuse_address(true)?;
    // Broadcasts follow each other: without this the second one waits for the acknowledgement of the first, 40 ms.
    socket.set_tcp_nodelay(true)?;
    socket.set_send_buffer_size(SEND_BUFFER_BYTES)?;
    #[cfg(target_os = "linux")]
    socket.set_tcp_user_timeout(Some(UNACKNOWLEDGED))?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    TcpListener::from_std(socket.into())
}

/// Accepts connections and serves them until the door is shut.
///
/// warp's own server has no deadline for the head of a request, so a client that sends none would hold its connection
/// for ever. Hence this loop, over warp's routes.
pub(super) async fn accept(listener: TcpListener, tls: Option<Arc<Tls>>, middleware: Middleware) {
    let mut shutdown = middleware.state().shutdown();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = shutdown.refusing() => return,
        };
        match accepted {
            Ok((stream, peer)) => match place(&middleware, peer) {
                Ok(place) => {
                    tokio::spawn(welcome(stream, peer, tls.clone(), middleware.clone(), place));
                }
                // Closing is the answer: whoever floods us is not worth a page.
                Err(full) => {
                    middleware.state().services.metrics.sockets_refused.with(full.name()).inc();
                    log::debug!("a connection was refused: {full}");
                }
            },
            Err(error) if is_the_peers(&error) => {}
            Err(error) => {
                log::warn!("no connection can be accepted: {error}");
                tokio::time::sleep(BREATH).await;
            }
        }
    }
}

/// A place for the connection. A trusted proxy brings many clients; those are counted when their sockets open.
fn place(middleware: &Middleware, peer: SocketAddr) -> Result<ConnectionPermit, LimitReached> {
    let state = middleware.state();
    let is_proxy = state.options.trusted_proxies.iter().any(|network| network.contains(peer.ip()));
    if is_proxy { state.connections.take_for_many() } else { state.connections.take(peer.ip()) }
}

/// Whether the connection failed before it was accepted; the next one is not worse for it.
fn is_the_peers(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionRefused | io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset
    )
}

/// Serves one connection until it ends or becomes a WebSocket. It holds its place from the first moment on.
async fn welcome(
    stream: TcpStream,
    peer: SocketAddr,
    tls: Option<Arc<Tls>>,
    middleware: Middleware,
    place: ConnectionPermit,
) {
    let address = peer;
    match tls {
        None => converse(Transport::Plain(stream), Peer { address, is_secure: false }, middleware).await,
        Some(tls) => match shake_hands(stream, &tls, &middleware).await {
            Some(Greeting::Tls(stream)) => {
                converse(Transport::Secure(stream), Peer { address, is_secure: true }, middleware).await;
            }
            Some(Greeting::Plain(stream)) => send_to_https(stream, &middleware).await,
            None => {}
        },
    }
    drop(place);
}

/// Finds out what somebody speaks; `None` if it is nothing, or takes too long.
async fn shake_hands(stream: TcpStream, tls: &Tls, middleware: &Middleware) -> Option<Greeting> {
    let state = middleware.state();
    let mut shutdown = state.shutdown();
    // On the heap, so that a connection does not go on holding what only the handshake needs.
    let greeting = Box::pin(timeout(state.options.header_timeout, tls.greet(stream)));
    let greeting = tokio::select! {
        greeting = greeting => greeting,
        () = shutdown.refusing() => return None,
    };
    let (outcome, greeting) = match greeting {
        Ok(Ok(greeting @ Greeting::Tls(_))) => ("accepted", Some(greeting)),
        Ok(Ok(greeting @ Greeting::Plain(_))) => ("plain", Some(greeting)),
        Ok(Err(error)) => {
            log::debug!("no handshake: {error}");
            ("failed", None)
        }
        Err(_) => ("late", None),
    };
    state.services.metrics.tls_handshakes.with(outcome).inc();
    greeting
}

/// Serves requests one after the other.
async fn converse(stream: Transport, peer: Peer, middleware: Middleware) {
    let mut shutdown = middleware.state().shutdown();
    let connection = http1(&middleware)
        .serve_connection(TokioIo::new(stream), service_fn(|request| middleware.clone().answer(peer, request)))
        .with_upgrades();
    tokio::pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = shutdown.refusing() => {
            // The request under way is answered, and no other.
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        log::debug!("a connection ended: {error}");
    }
}

/// Answers a request that came unencrypted to a port of TLS: with the address it should have been sent to.
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

/// How requests are read, whoever sends them.
fn http1(middleware: &Middleware) -> http1::Builder {
    let mut builder = http1::Builder::new();
    builder
        .timer(TokioTimer::new())
        .header_read_timeout(middleware.state().options.header_timeout)
        .max_buf_size(HEAD_MAX_BYTES)
        .max_headers(HEADERS_MAX);
    builder
}
