//! Administration: figures and actions for administrators, and a page that uses them.
//!
//! Every request except for the page itself, which holds no figure, needs the token; without it the answer does not even
//! reveal whether a route exists. Every change is logged under the target `liap::admin`.

mod actions;
mod events;
mod figures;
mod page;
mod request;
mod rooms;

use futures_util::Stream;
use futures_util::future::{BoxFuture, FutureExt as _};
use hyper::body::Buf;
use serde_json::Map;
use warp::filters::BoxedFilter;
use warp::http::Method;
use warp::path::Tail;
use warp::reply::Response;
use warp::{Filter, path};

use super::context::RequestContext;
use super::error::{HttpError, or_refusal};
use page::PAGE;
use request::{AdminRequest, Parameters, read_body};

type Handler = fn(AdminRequest) -> BoxFuture<'static, Result<Response, HttpError>>;

/// One route below `/admin`.
pub(super) struct Route {
    /// GET answers HEAD, too.
    pub(super) method: Method,
    /// Its path, where `{id}` stands for any segment.
    pub(super) path: &'static str,
    handler: Handler,
}

const fn route(method: Method, path: &'static str, handler: Handler) -> Route {
    Route { method, path, handler }
}

/// All routes that need the token.
pub(super) const ROUTES: &[Route] = &[
    route(Method::GET, "/admin/status", |request| figures::status(request).boxed()),
    route(Method::GET, "/admin/archive", |request| figures::archive(request).boxed()),
    route(Method::POST, "/admin/archive/flush", |request| actions::flush_archive(request).boxed()),
    route(Method::GET, "/admin/rooms", |request| rooms::list(request).boxed()),
    route(Method::GET, "/admin/rooms/{id}", |request| rooms::one(request).boxed()),
    route(Method::POST, "/admin/rooms/{id}/close", |request| rooms::close(request).boxed()),
    route(Method::POST, "/admin/gc", |request| actions::gc(request).boxed()),
    route(Method::GET, "/admin/log-level", |_| actions::log_level().boxed()),
    route(Method::PUT, "/admin/log-level", |request| actions::set_log_level(request).boxed()),
    route(Method::GET, "/admin/events", |request| events::answer(request).boxed()),
    route(Method::GET, "/admin/drain", |request| actions::drain_state(request).boxed()),
    route(Method::POST, "/admin/drain", |request| actions::drain(request, true).boxed()),
    route(Method::DELETE, "/admin/drain", |request| actions::drain(request, false).boxed()),
];

impl Route {
    /// The segment that stands for `{id}`, if the path matches; empty if the route has none.
    fn matches<'a>(&self, segments: &[&'a str]) -> Option<&'a str> {
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

/// `/admin` and all below it.
pub(super) fn routes(context: BoxedFilter<(RequestContext,)>) -> BoxedFilter<(Response,)> {
    path("admin")
        .and(path::tail())
        .and(warp::method())
        .and(warp::query())
        .and(context)
        .and(warp::body::stream())
        .then(|tail: Tail, method, parameters, context, body| async move {
            or_refusal(answer(tail.as_str(), method, parameters, context, body).await)
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
        [] => return Ok(PAGE.index(context.state.options.base_path.as_str())),
        ["assets", ..] => return Ok(PAGE.file(tail.strip_prefix("assets/").unwrap_or_default(), &context.headers)),
        _ => {}
    }
    context.state.admin_auth.admit(&context.client, &context.headers, &context.state.services.events)?;

    let matching: Vec<&Route> = ROUTES.iter().filter(|route| route.matches(&segments).is_some()).collect();
    if matching.is_empty() {
        return Err(HttpError::NotFound);
    }
    let wanted = if reads { Method::GET } else { method };
    let Some(route) = matching.iter().find(|route| route.method == wanted) else {
        return Err(HttpError::WrongMethod(allowed(&matching)));
    };
    let id = route.matches(&segments).unwrap_or_default().to_owned();
    let body = if reads { Map::new() } else { read_body(body).await? };
    (route.handler)(AdminRequest { context, id, parameters, body }).await
}

/// The methods of these routes, for the header `Allow`.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_route_matches_its_path_only() {
        let close = ROUTES.iter().find(|route| route.path.ends_with("/close")).unwrap();
        assert_eq!(close.matches(&["rooms", "3FA9C1", "close"]), Some("3FA9C1"));
        for wrong in
            [&["rooms", "3FA9C1"] as &[_], &["rooms", "3FA9C1", "open"], &["rooms", "3FA9C1", "close", "x"], &[]]
        {
            assert_eq!(close.matches(wrong), None, "{wrong:?}");
        }
    }

    #[test]
    fn no_route_is_listed_twice() {
        for (at, route) in ROUTES.iter().enumerate() {
            assert!(route.path.starts_with("/admin/"));
            let same = |other: &&Route| (other.path, &other.method) == (route.path, &route.method);
            assert_eq!(ROUTES.iter().filter(same).count(), 1, "{at}: {} {}", route.method, route.path);
        }
    }
}
