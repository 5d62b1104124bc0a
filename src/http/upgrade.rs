use std::sync::Arc;

use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use warp::http::header::{
    CONNECTION, CONTENT_LENGTH, ORIGIN, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_VERSION,
    TRANSFER_ENCODING, UPGRADE,
};
use warp::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use warp::reply::Response;

use super::context::RequestContext;
use super::error::HttpError;
use super::headers::{list, set};
use super::session::Session;
use super::socket;
use super::transport::{Transport, move_to_current_runtime};
use crate::directory::Location;
use crate::limit::{Cost, Key, Kind};
use crate::observe::CorrelationId;

/// How much of an invalid room id is sent back.
const DESTINATION_CHARS: usize = 50;

/// Answers a request for a WebSocket and starts the socket's task.
///
/// warp's own upgrade does not allow a smaller read buffer than 128 KiB for each socket, zeroed before every read. That
/// would be most of an idle socket's memory and a third of a busy one's time.
pub(super) async fn upgrade(destination: String, upgrade: Option<OnUpgrade>, context: RequestContext) -> Response {
    let state = Arc::clone(&context.state);
    accept(destination, upgrade, context).await.unwrap_or_else(|refusal| {
        state.services.metrics.sockets_refused.with(reason(&refusal)).inc();
        log::debug!("a socket was refused: {refusal}");
        refusal.response()
    })
}

async fn accept(
    destination: String,
    upgrade: Option<OnUpgrade>,
    context: RequestContext,
) -> Result<Response, HttpError> {
    let RequestContext { state, client, headers } = context;
    let accept_key = check_handshake(&headers)?;
    let upgrade = upgrade.ok_or(HttpError::NotAnUpgrade)?;
    if let Some(origin) = headers.get(ORIGIN) {
        // A client without an origin is not a browser, so no page can abuse its cookies.
        let origin = origin.to_str().map_err(|_| HttpError::ForeignOrigin)?;
        if !client.may_come_from(origin, &state.options.allowed_origins) {
            return Err(HttpError::ForeignOrigin);
        }
    }
    if !state.health.phase().serves_players() {
        return Err(HttpError::NotReady);
    }
    if let Ok(id) = destination.parse()
        && let Location::Elsewhere { is_alive, .. } = state.services.directory.location(id)
    {
        return Err(HttpError::Elsewhere { is_alive });
    }
    state.admit(Kind::NewSocket, client.address, Cost::Ordinary).await?;
    let permit = state.sockets.acquire(client.address)?;
    let session = Session::of(&headers, &client, &state.options.base_path).map_err(|error| {
        log::error!("no randomness for a session: {error}");
        HttpError::Internal
    })?;

    let runtime = state.runtime.clone();
    let (key, address) = (session.key, Key::from_address(client.address));
    // The socket keeps its destination as long as it lives, and no room's id is longer.
    let destination: Box<str> = destination.chars().take(DESTINATION_CHARS).collect();
    let id = CorrelationId::current().unwrap_or_else(CorrelationId::fresh);
    runtime.spawn(id.scope(async move {
        if let Some((stream, read)) = take_over(upgrade).await {
            socket::serve(stream, read, state, key, address, &destination).await;
        }
        drop(permit);
    }));

    Ok(switching_protocols(accept_key, session))
}

/// The answer that makes the connection a WebSocket.
fn switching_protocols(accept_key: HeaderValue, session: Session) -> Response {
    let mut response = Response::default();
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    set(&mut response, UPGRADE, "websocket");
    set(&mut response, CONNECTION, "upgrade");
    response.headers_mut().insert(SEC_WEBSOCKET_ACCEPT, accept_key);
    session.keep(response.headers_mut());
    response
}

/// Takes the connection over from the HTTP runtime, with the bytes that arrived together with the request. These are copied
/// because they are few, and their buffer would otherwise stay as long as the socket.
async fn take_over(upgrade: OnUpgrade) -> Option<(Transport, Vec<u8>)> {
    let upgraded = upgrade.await.inspect_err(|error| log::debug!("a socket was not opened: {error}")).ok()?;
    let Ok(parts) = upgraded.downcast::<TokioIo<Transport>>() else {
        log::error!("an upgraded connection has an unexpected type");
        return None;
    };
    let stream = move_to_current_runtime(parts.io.into_inner())
        .inspect_err(|error| log::error!("a socket could not be taken over: {error}"));
    Some((stream.ok()?, parts.read_buf.to_vec()))
}

/// Checks the request against RFC 6455, section 4.2.1, and computes the answer to its key.
fn check_handshake(headers: &HeaderMap) -> Result<HeaderValue, HttpError> {
    if !names(headers, CONNECTION, "upgrade") || !names(headers, UPGRADE, "websocket") {
        return Err(HttpError::NotAnUpgrade);
    }
    if headers.get(SEC_WEBSOCKET_VERSION).is_none_or(|version| version != "13") {
        return Err(HttpError::NotAnUpgrade);
    }
    if headers.contains_key(TRANSFER_ENCODING) || headers.get(CONTENT_LENGTH).is_some_and(|length| length != "0") {
        // We or a proxy would take a body for frames.
        return Err(HttpError::BadRequest("a handshake has no body"));
    }
    let key = headers.get(SEC_WEBSOCKET_KEY).map(HeaderValue::as_bytes).filter(|key| is_key(key));
    let key = key.ok_or(HttpError::BadRequest("Sec-WebSocket-Key must be 16 bytes in base64"))?;
    HeaderValue::try_from(derive_accept_key(key)).map_err(|_| HttpError::Internal)
}

/// Whether a header that is a list of words holds this one.
fn names(headers: &HeaderMap, header: HeaderName, word: &str) -> bool {
    list(headers, header).any(|name| name.eq_ignore_ascii_case(word))
}

/// 16 bytes in base64: 22 characters and two signs of padding.
fn is_key(key: &[u8]) -> bool {
    let plain = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/');
    key.strip_suffix(b"==").is_some_and(|digits| digits.len() == 22 && digits.iter().all(plain))
}

/// The refusal's name in the metrics.
fn reason(refusal: &HttpError) -> &'static str {
    match refusal {
        HttpError::ForeignOrigin => "origin",
        HttpError::LimitReached(limit) => limit.into(),
        HttpError::TooMany { .. } => "limited",
        HttpError::NotReady => "stopping",
        HttpError::NotAnUpgrade | HttpError::BadRequest(_) => "malformed",
        HttpError::Elsewhere { .. } => "elsewhere",
        _ => "other",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn handshake(changes: &[(HeaderName, &'static str)]) -> Result<HeaderValue, HttpError> {
        let mut headers = HeaderMap::new();
        for (name, value) in [
            (CONNECTION, "keep-alive, Upgrade"),
            (UPGRADE, "WebSocket"),
            (SEC_WEBSOCKET_VERSION, "13"),
            (SEC_WEBSOCKET_KEY, "dGhlIHNhbXBsZSBub25jZQ=="),
        ] {
            headers.insert(name, HeaderValue::from_static(value));
        }
        for (name, value) in changes {
            headers.insert(name, HeaderValue::from_static(value));
        }
        check_handshake(&headers)
    }

    #[test]
    fn the_example_of_the_rfc_gets_its_answer() {
        assert_eq!(handshake(&[]).unwrap(), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    }

    #[test]
    fn any_other_request_is_refused() {
        for change in
            [(CONNECTION, "keep-alive"), (UPGRADE, "h2c"), (SEC_WEBSOCKET_VERSION, "8"), (SEC_WEBSOCKET_VERSION, "")]
        {
            assert_eq!(handshake(std::slice::from_ref(&change)).unwrap_err(), HttpError::NotAnUpgrade, "{change:?}");
        }
        for key in ["", "short==", "dGhlIHNhbXBsZSBub25jZQ", "dGhlIHNhbXBsZSBub25jZ!==", "dGhlIHNhbXBsZSBub25jZQ==xx"] {
            assert!(matches!(handshake(&[(SEC_WEBSOCKET_KEY, key)]), Err(HttpError::BadRequest(_))), "{key}");
        }
    }
}
