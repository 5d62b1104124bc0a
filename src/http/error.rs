use std::convert::Infallible;
use std::time::Duration;

use serde_json::json;
use warp::http::header::{ALLOW, CONTENT_TYPE, RETRY_AFTER, SEC_WEBSOCKET_VERSION, UPGRADE, WWW_AUTHENTICATE};
use warp::http::{HeaderName, HeaderValue, StatusCode};
use warp::reply::Response;
use warp::{Rejection, reject};

use super::connection_limit::LimitReached;
use super::headers::set;
use crate::limit::Quota;

/// Why a request is refused. Answered as `application/problem+json` (RFC 9457); the text is its `detail`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum HttpError {
    /// Nothing is at this path.
    #[error("there is nothing here")]
    NotFound,
    /// The path can only be read.
    #[error("this can only be read: use GET or HEAD")]
    ReadOnly,
    /// The path takes these methods only.
    #[error("this cannot be done here: use {0}")]
    WrongMethod(String),
    /// The body is longer than any valid one.
    #[error("the body is too large")]
    TooLarge,
    /// The request needs the administrator's token.
    #[error("this needs the administrator's token: Authorization: Bearer TOKEN")]
    NoToken,
    /// The token is wrong.
    #[error("this is not the administrator's token")]
    WrongToken,
    /// The address has sent too many wrong tokens.
    #[error("too many wrong tokens from this address")]
    TooManyTokens {
        /// How long until the next token is checked.
        retry_after: Duration,
    },
    /// The bound of event streams is reached.
    #[error("too many follow the events already")]
    TooManyFollowers,
    /// The request or one of its parameters is invalid.
    #[error("{0}")]
    BadRequest(&'static str),
    /// The path is a WebSocket, and the request does not ask for an upgrade to version 13.
    #[error("this is a WebSocket: ask for an upgrade to version 13 of its protocol")]
    NotAnUpgrade,
    /// Pages of this origin may not open sockets here.
    #[error("pages of this origin may not open sockets here")]
    ForeignOrigin,
    /// The address is over its rate limit.
    #[error("too many requests from this address")]
    TooMany {
        /// The limit.
        quota: Quota,
        /// How long until the same would be allowed.
        retry_after: Duration,
    },
    /// The bound of connections is reached.
    #[error(transparent)]
    LimitReached(#[from] LimitReached),
    /// The room is on another server.
    #[error("this room is on another server; the reverse proxy should have asked that one")]
    Elsewhere {
        /// Whether that server is alive.
        is_alive: bool,
    },
    /// The server stops, or has not finished starting.
    #[error("the server is not ready")]
    NotReady,
    /// An error of the server.
    #[error("something went wrong here")]
    Internal,
}

impl HttpError {
    /// The answer to the request.
    pub(super) fn response(&self) -> Response {
        let in_seconds = |time: Duration| (time.as_secs() + u64::from(time.subsec_nanos() > 0)).to_string();
        let later = || vec![(RETRY_AFTER, "5".to_owned())];
        let bearer = |rest: &str| vec![(WWW_AUTHENTICATE, format!("Bearer realm=\"liap\"{rest}"))];
        let (status, headers): (StatusCode, Vec<(HeaderName, String)>) = match self {
            Self::NotFound => (StatusCode::NOT_FOUND, Vec::new()),
            Self::ReadOnly => (StatusCode::METHOD_NOT_ALLOWED, vec![(ALLOW, "GET, HEAD".to_owned())]),
            Self::WrongMethod(allowed) => (StatusCode::METHOD_NOT_ALLOWED, vec![(ALLOW, allowed.clone())]),
            Self::TooLarge => (StatusCode::PAYLOAD_TOO_LARGE, Vec::new()),
            Self::NoToken => (StatusCode::UNAUTHORIZED, bearer("")),
            Self::WrongToken => (StatusCode::UNAUTHORIZED, bearer(", error=\"invalid_token\"")),
            Self::TooManyTokens { retry_after } => {
                (StatusCode::TOO_MANY_REQUESTS, vec![(RETRY_AFTER, in_seconds(*retry_after))])
            }
            Self::BadRequest(_) => (StatusCode::BAD_REQUEST, Vec::new()),
            Self::NotAnUpgrade => {
                let version = (SEC_WEBSOCKET_VERSION, "13".to_owned());
                (StatusCode::UPGRADE_REQUIRED, vec![(UPGRADE, "websocket".to_owned()), version])
            }
            Self::ForeignOrigin => (StatusCode::FORBIDDEN, Vec::new()),
            Self::TooMany { quota, retry_after } => {
                let (seconds, window) = (in_seconds(*retry_after), quota.window.as_secs());
                // Nothing is left of the quota: that is why the request is refused.
                let left = (HeaderName::from_static("ratelimit"), format!("\"default\";r=0;t={seconds}"));
                let policy = format!("\"default\";q={};w={window}", quota.burst);
                let policy = (HeaderName::from_static("ratelimit-policy"), policy);
                (StatusCode::TOO_MANY_REQUESTS, vec![(RETRY_AFTER, seconds), left, policy])
            }
            Self::LimitReached(LimitReached::ForAddress) => (StatusCode::TOO_MANY_REQUESTS, later()),
            Self::Elsewhere { is_alive: true } => (StatusCode::MISDIRECTED_REQUEST, Vec::new()),
            Self::LimitReached(LimitReached::Total)
            | Self::Elsewhere { is_alive: false }
            | Self::NotReady
            | Self::TooManyFollowers => (StatusCode::SERVICE_UNAVAILABLE, later()),
            Self::Internal => (StatusCode::INTERNAL_SERVER_ERROR, Vec::new()),
        };
        let mut response = problem(status, &self.to_string());
        for (name, value) in headers {
            set(&mut response, name, &value);
        }
        response
    }
}

/// The answer of a handler.
pub(super) fn or_refusal(answer: Result<Response, HttpError>) -> Response {
    answer.unwrap_or_else(|refusal| refusal.response())
}

/// An answer in the form of RFC 9457.
pub(super) fn problem(status: StatusCode, detail: &str) -> Response {
    let title = status.canonical_reason().unwrap_or("Error");
    let body = json!({ "type": "about:blank", "title": title, "status": status.as_u16(), "detail": detail });
    let mut response = Response::new(body.to_string().into());
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
    response
}

/// Answers a request that no route has accepted.
pub(super) async fn recover(rejection: Rejection) -> Result<Response, Infallible> {
    let refusal = if rejection.is_not_found() {
        HttpError::NotFound
    } else if rejection.find::<reject::MethodNotAllowed>().is_some() {
        HttpError::ReadOnly
    } else if rejection.find::<reject::InvalidQuery>().is_some() {
        HttpError::BadRequest("the query cannot be read")
    } else if rejection.find::<reject::PayloadTooLarge>().is_some() {
        HttpError::TooLarge
    } else if rejection.find::<reject::LengthRequired>().is_some() {
        return Ok(problem(StatusCode::LENGTH_REQUIRED, "say how long the body is"));
    } else {
        log::error!("a request was rejected for a reason that has no answer: {rejection:?}");
        HttpError::Internal
    };
    Ok(refusal.response())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::num::NonZeroU32;

    #[test]
    fn too_many_says_when_to_retry() {
        let quota = Quota { burst: NonZeroU32::new(600).unwrap(), window: Duration::from_secs(60) };
        let response = HttpError::TooMany { quota, retry_after: Duration::from_millis(1_200) }.response();
        assert_eq!(response.status(), 429);
        assert_eq!(response.headers()["retry-after"], "2");
        assert_eq!(response.headers()["ratelimit"], "\"default\";r=0;t=2");
        assert_eq!(response.headers()["ratelimit-policy"], "\"default\";q=600;w=60");
        assert_eq!(response.headers()["content-type"], "application/problem+json");
    }

    #[tokio::test]
    async fn a_rejection_gets_its_own_status() {
        assert_eq!(recover(reject::not_found()).await.unwrap().status(), 404);
    }
}
