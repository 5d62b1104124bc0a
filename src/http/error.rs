use std::convert::Infallible;
use std::time::Duration;

use serde_json::json;
use warp::http::header::{ALLOW, CONTENT_TYPE, RETRY_AFTER, SEC_WEBSOCKET_VERSION, UPGRADE, WWW_AUTHENTICATE};
use warp::http::{HeaderName, HeaderValue, StatusCode};
use warp::reply::Response;
use warp::{Rejection, reject};

use super::connection_limit::LimitReached;
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
    fn status(&self) -> StatusCode {
        match self {
            Self::NotFound => StatusCode::NOT_FOUND,
            Self::ReadOnly | Self::WrongMethod(_) => StatusCode::METHOD_NOT_ALLOWED,
            Self::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::NoToken | Self::WrongToken => StatusCode::UNAUTHORIZED,
            Self::TooManyTokens { .. } => StatusCode::TOO_MANY_REQUESTS,
            Self::BadRequest(_) => StatusCode::BAD_REQUEST,
            Self::NotAnUpgrade => StatusCode::UPGRADE_REQUIRED,
            Self::ForeignOrigin => StatusCode::FORBIDDEN,
            Self::TooMany { .. } | Self::LimitReached(LimitReached::ForAddress) => StatusCode::TOO_MANY_REQUESTS,
            Self::Elsewhere { is_alive: true } => StatusCode::MISDIRECTED_REQUEST,
            Self::LimitReached(LimitReached::Total)
            | Self::Elsewhere { is_alive: false }
            | Self::NotReady
            | Self::TooManyFollowers => StatusCode::SERVICE_UNAVAILABLE,
            Self::Internal => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    /// The answer to the request.
    pub(super) fn response(&self) -> Response {
        let seconds = |time: Duration| time.as_secs() + u64::from(time.subsec_nanos() > 0);
        let headers: Vec<(HeaderName, String)> = match self {
            Self::ReadOnly => vec![(ALLOW, "GET, HEAD".to_owned())],
            Self::WrongMethod(allowed) => vec![(ALLOW, allowed.clone())],
            Self::NoToken => vec![(WWW_AUTHENTICATE, "Bearer realm=\"liap\"".to_owned())],
            Self::WrongToken => vec![(WWW_AUTHENTICATE, "Bearer realm=\"liap\", error=\"invalid_token\"".to_owned())],
            Self::TooManyTokens { retry_after } => vec![(RETRY_AFTER, seconds(*retry_after).to_string())],
            Self::NotAnUpgrade => vec![(UPGRADE, "websocket".to_owned()), (SEC_WEBSOCKET_VERSION, "13".to_owned())],
            Self::TooMany { quota, retry_after } => {
                let (seconds, window) = (seconds(*retry_after), quota.window.as_secs());
                vec![
                    (RETRY_AFTER, seconds.to_string()),
                    // Nothing is left of the quota: that is why the request is refused.
                    (HeaderName::from_static("ratelimit"), format!("\"default\";r=0;t={seconds}")),
                    (HeaderName::from_static("ratelimit-policy"), format!("\"default\";q={};w={window}", quota.burst)),
                ]
            }
            Self::LimitReached(_) | Self::Elsewhere { is_alive: false } | Self::NotReady | Self::TooManyFollowers => {
                vec![(RETRY_AFTER, "5".to_owned())]
            }
            Self::NotFound
            | Self::TooLarge
            | Self::BadRequest(_)
            | Self::ForeignOrigin
            | Self::Elsewhere { is_alive: true }
            | Self::Internal => Vec::new(),
        };
        let mut response = problem(self.status(), &self.to_string());
        for (name, value) in headers {
            // All values are plain ASCII.
            if let Ok(value) = HeaderValue::try_from(value) {
                response.headers_mut().insert(name, value);
            }
        }
        response
    }
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
