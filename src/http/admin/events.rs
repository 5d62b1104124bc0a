use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use futures_util::{Stream, stream};
use tokio::sync::OwnedSemaphorePermit;
use warp::http::HeaderValue;
use warp::http::header::{ACCEPT, CACHE_CONTROL, CONTENT_TYPE};
use warp::reply::{Reply as _, Response};
use warp::sse;

use super::super::RequestContext;
use super::super::error::HttpError;
use super::super::state::ShutdownWatch;
use super::{Parameters, number};
use crate::observe::{Follower, ServerEvent};

/// Events on a page, unless asked for otherwise, and at most.
const PAGE_EVENTS: usize = 100;
const PAGE_EVENTS_MAX: usize = 1_000;
/// A quiet stream says this often that it is alive, so that proxies leave it open.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// `GET /admin/events`: the events after a number, or the last ones; as a stream that goes on for ever, if that is asked
/// for.
pub(super) fn answer(context: &RequestContext, parameters: &Parameters) -> Result<Response, HttpError> {
    let after = context.headers.get("last-event-id").and_then(|id| id.to_str().ok()?.trim().parse().ok());
    let given = parameters.contains_key("after");
    let after = if given { Some(number(parameters, "after", 0, u64::MAX, "after is a number")?) } else { after };
    let limit = number(parameters, "limit", PAGE_EVENTS, PAGE_EVENTS_MAX, "limit is a number up to 1000")?;
    let accepts = context.headers.get(ACCEPT).and_then(|accept| accept.to_str().ok()).unwrap_or_default();
    if accepts.contains("text/event-stream") { live(context, after, limit) } else { Ok(page(context, after, limit)) }
}

fn page(context: &RequestContext, after: Option<u64>, limit: usize) -> Response {
    let events = &context.state.services.events;
    let found = match after {
        Some(after) => events.after(after, limit),
        None => events.last(limit),
    };
    // Each is JSON already.
    let list: Vec<&str> = found.iter().map(|event| &*event.json).collect();
    let body = format!("{{\"newest\":{},\"events\":[{}]}}", events.newest(), list.join(","));
    let mut response = Response::new(body.into());
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// A stream of what happened after a number, or of the last `limit` events, and of what will happen.
fn live(context: &RequestContext, after: Option<u64>, limit: usize) -> Result<Response, HttpError> {
    let place =
        Arc::clone(&context.state.admin_auth.followers).try_acquire_owned().map_err(|_| HttpError::TooManyFollowers)?;
    let events = &context.state.services.events;
    let after = after.unwrap_or_else(|| match events.last(limit).first() {
        Some(first) => first.number.saturating_sub(1),
        None => events.newest(),
    });
    let live = Live {
        follower: events.follow(after),
        ready: VecDeque::new(),
        shutdown: context.state.shutdown(),
        _place: place,
    };
    let stream = sse::keep_alive().interval(KEEP_ALIVE).stream(live.stream());
    let mut response = sse::reply(stream).into_response();
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    // Proxies that gather answers before they pass them on let this one through.
    response.headers_mut().insert("x-accel-buffering", HeaderValue::from_static("no"));
    Ok(response)
}

/// Somebody who follows the events.
struct Live {
    follower: Follower,
    ready: VecDeque<ServerEvent>,
    shutdown: ShutdownWatch,
    /// Given back when he goes.
    _place: OwnedSemaphorePermit,
}

impl Live {
    /// Ends when the server stops.
    fn stream(self) -> impl Stream<Item = Result<sse::Event, Infallible>> + Send + 'static {
        stream::unfold(self, |mut live| async move {
            while live.ready.is_empty() {
                tokio::select! {
                    found = live.follower.next() => live.ready.extend(found),
                    () = live.shutdown.refusing() => return None,
                }
            }
            let event = live.ready.pop_front()?;
            let sent = sse::Event::default().id(event.number.to_string()).data(&*event.json);
            Some((Ok(sent), live))
        })
    }
}
