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
    /// Nothing is there.
    #[error("there is nothing here")]
    NotFound,
    /// Something is there, but not for this method.
    #[error("this can only be read: use GET or HEAD")]
    ReadOnly,
    /// Something is there, but only for these methods.
    #[error("this cannot be done here: use {0}")]
    WrongMethod(String),
    /// The request's body is longer than anything there is to say.
    #[error("the body is too large")]
    TooLarge,
    /// An administrator must show a token.
    #[error("this needs the administrator's token: Authorization: Bearer TOKEN")]
    NoToken,
    /// It is not the right one.
    #[error("this is not the administrator's token")]
    WrongToken,
    /// It was not the right one too often.
    #[error("too many wrong tokens from this address")]
    TooManyTokens {
        /// How long until the next one is looked at.
        retry_after: Duration,
    },
    /// No place for another administrator who follows the events.
    #[error("too many follow the events already")]
    TooManyFollowers,
    /// The request's parameters make no sense.
    #[error("{0}")]
    BadRequest(&'static str),
    /// The request would open a WebSocket, but does not ask for one of the version there is.
    #[error("this is a WebSocket: ask for an upgrade to version 13 of its protocol")]
    NotAnUpgrade,
    /// A page of a foreign origin wants to open a socket here.
    #[error("pages of this origin may not open sockets here")]
    ForeignOrigin,
    /// Too much from one address.
    #[error("too many requests from this address")]
    TooMany {
        /// The limit that is met.
        quota: Quota,
        /// How long until the same would be allowed.
        retry_after: Duration,
    },
    /// No place for another socket.
    #[error(transparent)]
    LimitReached(#[from] LimitReached),
    /// The room is on another server.
    #[error("this room is on another server; the reverse proxy should have asked that one")]
    Elsewhere {
        /// Whether that one is alive.
        is_alive: bool,
    },
    /// The server stops, or has not finished starting.
    #[error("the server is not ready")]
    NotReady,
    /// Our own fault.
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
            Self::LimitReached(LimitReached::InAll)
            | Self::Elsewhere { is_alive: false }
            | Self::NotReady
            | Self::TooManyFollowers => StatusCode::SERVICE_UNAVAILABLE,
            Self::Internal => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    /// The answer to the request.
    pub(super) fn response(&self) -> Response {
        let mut response = problem(self.status(), &self.to_string());
        let mut set = |name: HeaderName, value: HeaderValue| response.headers_mut().insert(name, value);
        match self {
            Self::ReadOnly => {
                set(ALLOW, HeaderValue::from_static("GET, HEAD"));
            }
            Self::WrongMethod(allowed) => {
                if let Ok(allowed) = HeaderValue::try_from(allowed) {
                    set(ALLOW, allowed);
                }
            }
            Self::NoToken => {
                set(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"liap\""));
            }
            Self::WrongToken => {
                set(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"liap\", error=\"invalid_token\""));
            }
            Self::TooManyTokens { retry_after } => {
                set(RETRY_AFTER, ceil_seconds(*retry_after).into());
            }
            Self::NotAnUpgrade => {
                set(UPGRADE, HeaderValue::from_static("websocket"));
                set(SEC_WEBSOCKET_VERSION, HeaderValue::from_static("13"));
            }
            Self::TooMany { quota, retry_after } => {
                let seconds = ceil_seconds(*retry_after);
                set(RETRY_AFTER, seconds.into());
                // What is left is nothing: that is why.
                if let Ok(value) = HeaderValue::try_from(format!("\"default\";r=0;t={seconds}")) {
                    set(HeaderName::from_static("ratelimit"), value);
                }
                let policy = format!("\"default\";q={};w={}", quota.burst, quota.window.as_secs());
                if let Ok(value) = HeaderValue::try_from(policy) {
                    set(HeaderName::from_static("ratelimit-policy"), value);
                }
            }
            Self::LimitReached(_) | Self::Elsewhere { is_alive: false } | Self::NotReady | Self::TooManyFollowers => {
                set(RETRY_AFTER, HeaderValue::from_static("5"));
            }
            Self::NotFound
            | Self::TooLarge
            | Self::BadRequest(_)
            | Self::ForeignOrigin
            | Self::Elsewhere { is_alive: true }
            | Self::Internal => {}
        }
        response
    }
}

fn ceil_seconds(time: Duration) -> u64 {
    time.as_secs() + u64::from(time.subsec_nanos() > 0)
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

/// Turns what no route wanted into an answer.
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
    fn too_many_says_when_to_come_back() {
        let quota = Quota { burst: NonZeroU32::new(600).unwrap(), window: Duration::from_secs(60) };
        let response = HttpError::TooMany { quota, retry_after: Duration::from_millis(1_200) }.response();
        assert_eq!(response.status(), 429);
        assert_eq!(response.headers()["retry-after"], "2");
        assert_eq!(response.headers()["ratelimit"], "\"default\";r=0;t=2");
        assert_eq!(response.headers()["ratelimit-policy"], "\"default\";q=600;w=60");
        assert_eq!(response.headers()["content-type"], "application/problem+json");
    }

    #[tokio::test]
    async fn a_rejection_has_a_status_of_its_own() {
        assert_eq!(recover(reject::not_found()).await.unwrap().status(), 404);
    }
}
