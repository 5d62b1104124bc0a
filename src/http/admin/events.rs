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

use super::super::Asked;
use super::super::door::StageWatch;
use super::super::error::Refusal;
use super::{Parameters, number};
use crate::observe::{Follower, ServerEvent};

/// Events on a page, unless asked for otherwise, and at most.
const PAGE_EVENTS: usize = 100;
const PAGE_EVENTS_MAX: usize = 1_000;
/// A quiet stream says this often that it is alive, so that proxies leave it open.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// `GET /admin/events`: the events after a number, or the last ones; as a stream that goes on for ever, if that is asked
/// for.
pub(super) fn answer(asked: &Asked, parameters: &Parameters) -> Result<Response, Refusal> {
    let after = asked.headers.get("last-event-id").and_then(|id| id.to_str().ok()?.trim().parse().ok());
    let given = parameters.contains_key("after");
    let after = if given { Some(number(parameters, "after", 0, u64::MAX, "after is a number")?) } else { after };
    let limit = number(parameters, "limit", PAGE_EVENTS, PAGE_EVENTS_MAX, "limit is a number up to 1000")?;
    let accepts = asked.headers.get(ACCEPT).and_then(|accept| accept.to_str().ok()).unwrap_or_default();
    if accepts.contains("text/event-stream") { live(asked, after, limit) } else { Ok(page(asked, after, limit)) }
}

fn page(asked: &Asked, after: Option<u64>, limit: usize) -> Response {
    let events = &asked.door.desk.relief.events;
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
fn live(asked: &Asked, after: Option<u64>, limit: usize) -> Result<Response, Refusal> {
    let desk = &asked.door.desk;
    let place = Arc::clone(&desk.followers).try_acquire_owned().map_err(|_| Refusal::TooManyFollowers)?;
    let events = &desk.relief.events;
    let after = after.unwrap_or_else(|| match events.last(limit).first() {
        Some(first) => first.number.saturating_sub(1),
        None => events.newest(),
    });
    let live =
        Live { follower: events.follow(after), ready: VecDeque::new(), stage: asked.door.stage(), _place: place };
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
    stage: StageWatch,
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
                    () = live.stage.shut() => return None,
                }
            }
            let event = live.ready.pop_front()?;
            let sent = sse::Event::default().id(event.number.to_string()).data(&*event.json);
            Some((Ok(sent), live))
        })
    }
}
