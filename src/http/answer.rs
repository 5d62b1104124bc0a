//! The forms of answers that more than one route has.

use serde::Serialize;
use warp::http::header::{ETAG, IF_NONE_MATCH, LOCATION};
use warp::http::{HeaderMap, StatusCode};
use warp::reply::{Reply as _, Response};

use super::error::HttpError;
use super::headers::{list, set};

/// A JSON answer.
pub(super) fn json(status: StatusCode, body: &impl Serialize) -> Response {
    warp::reply::with_status(warp::reply::json(body), status).into_response()
}

/// A JSON answer with status 200.
pub(super) fn ok(body: &impl Serialize) -> Result<Response, HttpError> {
    Ok(json(StatusCode::OK, body))
}

/// A redirect.
pub(super) fn redirect(status: StatusCode, to: &str) -> Response {
    let mut response = Response::default();
    *response.status_mut() = status;
    set(&mut response, LOCATION, to);
    response
}

/// The full answer with this tag, or 304 if the client has it already.
pub(super) fn unless_known(request: &HeaderMap, etag: &str, full: impl FnOnce() -> Response) -> Response {
    let mut response = Response::default();
    if list(request, IF_NONE_MATCH).any(|known| known.trim_start_matches("W/") == etag) {
        *response.status_mut() = StatusCode::NOT_MODIFIED;
    } else {
        response = full();
    }
    set(&mut response, ETAG, etag);
    response
}
