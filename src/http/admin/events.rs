use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use futures_util::{Stream, stream};
use tokio::sync::OwnedSemaphorePermit;
use warp::http::HeaderName;
use warp::http::header::{ACCEPT, CACHE_CONTROL, CONTENT_TYPE};
use warp::reply::{Reply as _, Response};
use warp::sse;

use super::super::error::HttpError;
use super::super::headers::set;
use super::super::state::AppState;
use super::request::AdminRequest;
use crate::observe::{Follower, ServerEvent};

/// Events on a page, unless asked for otherwise, and at most.
const PAGE_EVENTS: usize = 100;
const PAGE_EVENTS_MAX: usize = 1_000;
/// How often a quiet stream sends a comment, so that proxies leave it open.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// `GET /admin/events`: the events after a number, or the last ones. A client that accepts an event stream gets an endless
/// one.
pub(super) async fn answer(request: AdminRequest) -> Result<Response, HttpError> {
    let headers = &request.context.headers;
    let last_id = headers.get("last-event-id").and_then(|id| id.to_str().ok()?.trim().parse().ok());
    let is_given = request.parameters.contains_key("after");
    let after = if is_given { Some(request.number("after", 0, u64::MAX, "after is a number")?) } else { last_id };
    let limit = request.number("limit", PAGE_EVENTS, PAGE_EVENTS_MAX, "limit is a number up to 1000")?;
    let accepts = headers.get(ACCEPT).and_then(|accept| accept.to_str().ok()).unwrap_or_default();
    if accepts.contains("text/event-stream") {
        stream(&request, after, limit)
    } else {
        Ok(page(&request, after, limit))
    }
}

fn page(request: &AdminRequest, after: Option<u64>, limit: usize) -> Response {
    let events = &request.services().events;
    let found = match after {
        Some(after) => events.after(after, limit),
        None => events.last(limit),
    };
    // Each event is JSON already.
    let list: Vec<&str> = found.iter().map(|event| &*event.json).collect();
    let body = format!("{{\"newest\":{},\"events\":[{}]}}", events.newest(), list.join(","));
    let mut response = Response::new(body.into());
    set(&mut response, CONTENT_TYPE, "application/json");
    response
}

/// A stream of the events after a number, or of the last `limit` events, and of all that follow.
fn stream(request: &AdminRequest, after: Option<u64>, limit: usize) -> Result<Response, HttpError> {
    let permit = Arc::clone(&request.state().admin_auth.followers).try_acquire_owned();
    let permit = permit.map_err(|_| HttpError::TooManyFollowers)?;
    let events = &request.services().events;
    let after = after.unwrap_or_else(|| match events.last(limit).first() {
        Some(first) => first.number.saturating_sub(1),
        None => events.newest(),
    });
    let following = Following {
        follower: events.follow(after),
        ready: VecDeque::new(),
        state: Arc::clone(&request.context.state),
        _permit: permit,
    };
    let stream = sse::keep_alive().interval(KEEP_ALIVE).stream(following.stream());
    let mut response = sse::reply(stream).into_response();
    set(&mut response, CACHE_CONTROL, "no-store");
    // Proxies that buffer answers pass this one on at once.
    set(&mut response, HeaderName::from_static("x-accel-buffering"), "no");
    Ok(response)
}

/// A client that follows the events.
struct Following {
    follower: Follower,
    ready: VecDeque<ServerEvent>,
    state: Arc<AppState>,
    /// Released when the stream ends.
    _permit: OwnedSemaphorePermit,
}

impl Following {
    /// Ends when the server stops.
    fn stream(self) -> impl Stream<Item = Result<sse::Event, Infallible>> + Send + 'static {
        stream::unfold(self, |mut this| async move {
            while this.ready.is_empty() {
                tokio::select! {
                    found = this.follower.next() => this.ready.extend(found),
                    () = this.state.refusing() => return None,
                }
            }
            let event = this.ready.pop_front()?;
            let sent = sse::Event::default().id(event.number.to_string()).data(&*event.json);
            Some((Ok(sent), this))
        })
    }
}
