//! Administration: figures and actions for whoever shows the token, and a page that uses them.
//!
//! Everything but the page itself, which holds no figure, is refused without the token, before it is even looked whether
//! the route exists. What changes something leaves a line in the log under the target `admin`.

mod actions;
mod auth;
mod events;
mod figures;
mod page;
mod rooms;

use std::collections::HashMap;
use std::time::Duration;

use futures_util::{Stream, StreamExt as _};
use hyper::body::Buf;
use serde_json::{Map, Value, json};
use tokio::time::timeout;
use warp::filters::BoxedFilter;
use warp::http::Method;
use warp::path::Tail;
use warp::reply::Response;
use warp::{Filter, path};

use super::RequestContext;
use super::error::HttpError;
use crate::observe::{self, EventKind};

pub use auth::AdminAuth;

/// The longest body of a request.
const BODY_MAX_BYTES: usize = 4 * 1024;
/// How long its sender may take.
const BODY_TIMEOUT: Duration = Duration::from_secs(10);

/// What an administrator can ask for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum AdminAction {
    Status,
    Archive,
    FlushArchive,
    Rooms,
    Room,
    CloseRoom,
    Gc,
    LogLevel,
    SetLogLevel,
    Events,
    DrainState,
    Drain,
    EndDrain,
}

/// One route below `/admin`.
#[derive(Debug)]
pub(super) struct Route {
    /// GET answers HEAD, too.
    pub(super) method: Method,
    /// Its path, where `{id}` stands for any segment.
    pub(super) path: &'static str,
    action: AdminAction,
}

const fn route(method: Method, path: &'static str, action: AdminAction) -> Route {
    Route { method, path, action }
}

/// All routes that need the token.
pub(super) const ROUTES: &[Route] = &[
    route(Method::GET, "/admin/status", AdminAction::Status),
    route(Method::GET, "/admin/archive", AdminAction::Archive),
    route(Method::POST, "/admin/archive/flush", AdminAction::FlushArchive),
    route(Method::GET, "/admin/rooms", AdminAction::Rooms),
    route(Method::GET, "/admin/rooms/{id}", AdminAction::Room),
    route(Method::POST, "/admin/rooms/{id}/close", AdminAction::CloseRoom),
    route(Method::POST, "/admin/gc", AdminAction::Gc),
    route(Method::GET, "/admin/log-level", AdminAction::LogLevel),
    route(Method::PUT, "/admin/log-level", AdminAction::SetLogLevel),
    route(Method::GET, "/admin/events", AdminAction::Events),
    route(Method::GET, "/admin/drain", AdminAction::DrainState),
    route(Method::POST, "/admin/drain", AdminAction::Drain),
    route(Method::DELETE, "/admin/drain", AdminAction::EndDrain),
];

impl Route {
    /// The segment that stands for `{id}`, if the path fits; empty where the route has none.
    fn fits<'a>(&self, segments: &[&'a str]) -> Option<&'a str> {
        let wanted = self.path.split('/').skip(2);
        if wanted.clone().count() != segments.len() {
            return None;
        }
        let mut id = "";
        for (wanted, given) in wanted.zip(segments) {
            match wanted {
                "{id}" => id = given,
                _ if wanted == *given => {}
                _ => return None,
            }
        }
        Some(id)
    }
}

/// The parameters of a query, as they came.
type Parameters = HashMap<String, String>;

/// `/admin` and all below it.
pub(super) fn routes(context: BoxedFilter<(RequestContext,)>) -> BoxedFilter<(Response,)> {
    path("admin")
        .and(path::tail())
        .and(warp::method())
        .and(warp::query())
        .and(context)
        .and(warp::body::stream())
        .then(|tail: Tail, method, parameters, context, body| async move {
            answer(tail.as_str(), method, parameters, context, body).await.unwrap_or_else(|error| error.response())
        })
        .boxed()
}

async fn answer(
    tail: &str,
    method: Method,
    parameters: Parameters,
    context: RequestContext,
    body: impl Stream<Item = Result<impl Buf, warp::Error>>,
) -> Result<Response, HttpError> {
    let reads = matches!(method, Method::GET | Method::HEAD);
    let segments: Vec<&str> = tail.trim_end_matches('/').split('/').filter(|segment| !segment.is_empty()).collect();
    match *segments {
        [] | ["assets", ..] if !reads => return Err(HttpError::ReadOnly),
        [] => return Ok(page::index(&context)),
        ["assets", ..] => return Ok(page::asset(tail.strip_prefix("assets/").unwrap_or_default(), &context.headers)),
        _ => {}
    }
    context.state.admin_auth.admit(&context)?;

    let fitting: Vec<&Route> = ROUTES.iter().filter(|route| route.fits(&segments).is_some()).collect();
    if fitting.is_empty() {
        return Err(HttpError::NotFound);
    }
    let wanted = if reads { Method::GET } else { method };
    let Some(route) = fitting.iter().find(|route| route.method == wanted) else {
        return Err(HttpError::WrongMethod(allowed(&fitting)));
    };
    let id = route.fits(&segments).unwrap_or_default();
    let body = if reads { Map::new() } else { read(body).await? };
    match route.action {
        AdminAction::Status => figures::status(&context).await,
        AdminAction::Archive => figures::archive(&context).await,
        AdminAction::FlushArchive => actions::flush_archive(&context).await,
        AdminAction::Rooms => rooms::list(&context, &parameters).await,
        AdminAction::Room => rooms::one(&context, id),
        AdminAction::CloseRoom => rooms::close(&context, id, &body).await,
        AdminAction::Gc => actions::gc(&context).await,
        AdminAction::LogLevel => Ok(actions::log_level()),
        AdminAction::SetLogLevel => actions::set_log_level(&context, &body),
        AdminAction::Events => events::answer(&context, &parameters),
        AdminAction::DrainState => Ok(actions::drain_state(&context)),
        AdminAction::Drain => actions::drain(&context, true),
        AdminAction::EndDrain => actions::drain(&context, false),
    }
}

/// The methods of these routes, as `Allow` tells them.
fn allowed(routes: &[&Route]) -> String {
    let mut methods: Vec<&str> = Vec::new();
    for route in routes {
        methods.push(route.method.as_str());
        if route.method == Method::GET {
            methods.push("HEAD");
        }
    }
    methods.join(", ")
}

/// Reads the body of a request: an object of JSON, or nothing.
async fn read(body: impl Stream<Item = Result<impl Buf, warp::Error>>) -> Result<Map<String, Value>, HttpError> {
    let mut body = std::pin::pin!(body);
    let mut bytes = Vec::new();
    let read = async {
        while let Some(chunk) = body.next().await {
            let mut chunk = chunk.map_err(|_| HttpError::BadRequest("the body cannot be read"))?;
            if bytes.len() + chunk.remaining() > BODY_MAX_BYTES {
                return Err(HttpError::TooLarge);
            }
            while chunk.has_remaining() {
                bytes.extend_from_slice(chunk.chunk());
                chunk.advance(chunk.chunk().len());
            }
        }
        Ok(())
    };
    timeout(BODY_TIMEOUT, read).await.map_err(|_| HttpError::BadRequest("the body takes too long"))??;
    if bytes.is_empty() {
        return Ok(Map::new());
    }
    serde_json::from_slice(&bytes).map_err(|_| HttpError::BadRequest("the body is no object of JSON"))
}

/// Leaves a trace of what an administrator did, in the log, whatever its level is, and among the events.
fn audit(context: &RequestContext, action: &'static str, what: Value) {
    let text = what.to_string();
    let fields = [("action", action.into()), ("what", text.as_str().into())];
    observe::log_anyway("liap::admin", format_args!("an administrator has acted: {action}"), &fields);
    log::debug!(target: "liap::admin", address:% = context.client.address; "where the administrator is");
    let mut fields = json!({ "action": action });
    if let (Some(fields), Value::Object(what)) = (fields.as_object_mut(), what) {
        fields.extend(what);
    }
    context.state.services.events.note(EventKind::AdminAction, fields);
}

/// A parameter that is a number within bounds, or what it is without being given.
fn number<T>(parameters: &Parameters, name: &str, otherwise: T, most: T, wrong: &'static str) -> Result<T, HttpError>
where
    T: std::str::FromStr + PartialOrd,
{
    match parameters.get(name).filter(|text| !text.is_empty()) {
        None => Ok(otherwise),
        Some(text) => text.parse().ok().filter(|number| *number <= most).ok_or(HttpError::BadRequest(wrong)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_route_fits_its_path_and_no_other() {
        let close = ROUTES.iter().find(|route| route.action == AdminAction::CloseRoom).unwrap();
        assert_eq!(close.fits(&["rooms", "3FA9C1", "close"]), Some("3FA9C1"));
        for wrong in
            [&["rooms", "3FA9C1"] as &[_], &["rooms", "3FA9C1", "open"], &["rooms", "3FA9C1", "close", "x"], &[]]
        {
            assert_eq!(close.fits(wrong), None, "{wrong:?}");
        }
    }

    #[test]
    fn every_action_has_one_route() {
        for (at, route) in ROUTES.iter().enumerate() {
            assert!(route.path.starts_with("/admin/"));
            let same = |other: &&Route| {
                other.action == route.action || (other.path, &other.method) == (route.path, &route.method)
            };
            assert_eq!(ROUTES.iter().filter(same).count(), 1, "{at}: {route:?}");
        }
    }
}
