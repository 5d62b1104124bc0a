use std::convert::Infallible;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Instant;

use futures_util::FutureExt as _;
use hyper::body::Incoming;
use hyper::service::Service as _;
use hyper_util::service::TowerToHyperService;
use warp::filters::BoxedFilter;
use warp::http::header::CONNECTION;
use warp::http::uri::PathAndQuery;
use warp::http::{HeaderName, HeaderValue, Request, StatusCode, Uri};
use warp::reply::Response;

use super::answer::redirect;
use super::client::{Client, Peer};
use super::error::HttpError;
use super::headers;
use super::state::AppState;
use super::target::to_origin_form;
use crate::directory::Location;
use crate::limit::{Cost, Kind};
use crate::observe::CorrelationId;

/// What every request passes before the routes: client address, rate limit and base path; and the headers of every answer.
#[derive(Clone)]
pub(super) struct Middleware {
    pub(super) state: Arc<AppState>,
    pub(super) routes: BoxedFilter<(Response,)>,
}

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

impl Middleware {
    /// Answers one request of a connection from `peer`.
    pub(super) async fn answer(self, peer: Peer, mut request: Request<Incoming>) -> Result<Response, Infallible> {
        let begun = Instant::now();
        let given = request.headers().get(REQUEST_ID).and_then(|id| CorrelationId::given(id.to_str().ok()?));
        let id = given.unwrap_or_else(CorrelationId::fresh);
        let metrics = Arc::clone(&self.state.services.metrics);
        let target = to_origin_form(&mut request);
        let client = Client::of(peer, request.headers(), &self.state.options.trusted_proxies);
        let is_secure = client.secure;
        let (part, mut response) = match target {
            Ok(()) => id.clone().scope(Box::pin(catch_panic(self.route(client, request)))).await,
            Err(refusal) => {
                let mut response = refusal.response();
                // The bytes after this request may belong to it.
                response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
                ("other", response)
            }
        };

        headers::protect(response.headers_mut(), is_secure);
        if let Ok(id) = HeaderValue::from_str(id.as_str()) {
            response.headers_mut().insert(REQUEST_ID, id);
        }
        metrics.http_requests.with(part).with(class(response.status())).inc();
        metrics.http_seconds.observe(begun.elapsed().as_secs_f64());
        Ok(response)
    }

    async fn route(self, client: Client, mut request: Request<Incoming>) -> (&'static str, Response) {
        let options = &self.state.options;
        if let Some(rest) = strip(options.base_path.as_str(), request.uri()) {
            if !rest.starts_with('/') {
                // Relative addresses need the slash at the end of the base path.
                return ("page", redirect(StatusCode::PERMANENT_REDIRECT, &format!("{}/", options.base_path)));
            }
            if let Ok(rest) = PathAndQuery::try_from(rest) {
                *request.uri_mut() = Uri::from(rest);
            }
        }
        let part = part(request.uri().path());
        // Sockets and wrong tokens of administrators have limits of their own. Health checks are never limited. And a school
        // behind one address may load our page thirty times at once, with all its files.
        let is_file_of_ours = options.static_dir.is_none() && request.uri().path().starts_with("/assets/");
        let is_free = matches!(part, "socket" | "health" | "admin") || is_file_of_ours;
        if !is_free && let Err(refusal) = self.state.admit(Kind::Http, client.address, Cost::Ordinary).await {
            return (part, refusal.response());
        }
        if let Some(to) = self.elsewhere(request.uri().path()) {
            return (part, redirect(StatusCode::TEMPORARY_REDIRECT, &to));
        }
        request.extensions_mut().insert(client);
        match TowerToHyperService::new(warp::service(self.routes)).call(request).await {
            Ok(response) => (part, response),
            Err(never) => match never {},
        }
    }

    /// The address of a room's page on another server, if that server has its own address.
    fn elsewhere(&self, path: &str) -> Option<String> {
        let (page, id) = path.strip_prefix('/')?.split_once('/')?;
        let id = id.parse().ok().filter(|_| matches!(page, "room" | "game"))?;
        match self.state.services.directory.location(id) {
            Location::Elsewhere { url: Some(url), .. } => Some(format!("{url}/{page}/{id}")),
            Location::Elsewhere { url: None, .. } | Location::Here => None,
        }
    }
}

/// A handler's answer, or a server error if the handler panics. The panic hook has logged where it was.
async fn catch_panic(answer: impl Future<Output = (&'static str, Response)>) -> (&'static str, Response) {
    // Handlers share state only behind locks that ignore poisoning.
    AssertUnwindSafe(answer).catch_unwind().await.unwrap_or_else(|_| ("other", HttpError::Internal.response()))
}

/// What follows the base path, unless the proxy has removed it.
fn strip<'a>(base: &str, uri: &'a Uri) -> Option<&'a str> {
    let rest = uri.path_and_query()?.as_str().strip_prefix(base)?;
    (!base.is_empty() && (rest.is_empty() || rest.starts_with(['/', '?']))).then_some(rest)
}

/// The part of the server that a path belongs to, by its name in the metrics.
fn part(path: &str) -> &'static str {
    let (first, rest) = path.strip_prefix('/').unwrap_or(path).split_once('/').unwrap_or((path, ""));
    match (first.trim_start_matches('/'), rest) {
        ("ws", _) => "socket",
        ("health", _) | ("api", "health") => "health",
        ("api", _) | ("openapi.json" | "asyncapi.json", "") => "api",
        ("admin", _) => "admin",
        _ => "page",
    }
}

/// The class of a status, by its name in the metrics.
fn class(status: StatusCode) -> &'static str {
    match status.as_u16() {
        429 => "429",
        100..=199 => "1xx",
        200..=299 => "2xx",
        300..=399 => "3xx",
        400..=499 => "4xx",
        _ => "5xx",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stripped(base: &str, path: &str) -> Option<String> {
        strip(base, &path.parse().unwrap()).map(str::to_owned)
    }

    #[test]
    fn the_base_path_is_stripped_if_the_proxy_has_left_it() {
        assert_eq!(stripped("/liap", "/liap/api/rooms?x=1").as_deref(), Some("/api/rooms?x=1"));
        assert_eq!(stripped("/liap", "/liap/").as_deref(), Some("/"));
        assert_eq!(stripped("/liap", "/liap").as_deref(), Some(""));
        assert_eq!(stripped("/liap", "/liap?x").as_deref(), Some("?x"));
        assert_eq!(stripped("/liap", "/liapfrog"), None);
        assert_eq!(stripped("/liap", "/api/rooms"), None);
        assert_eq!(stripped("", "/api/rooms"), None);
    }

    #[tokio::test]
    async fn a_handler_that_panics_answers_with_a_server_error() {
        let (part, response) = catch_panic(async { panic!("on purpose") }).await;
        assert_eq!((part, response.status()), ("other", StatusCode::INTERNAL_SERVER_ERROR));
    }

    #[test]
    fn every_path_belongs_to_a_part() {
        for (path, expected) in [
            ("/", "page"),
            ("/assets/main.js", "page"),
            ("/ws/lobby", "socket"),
            ("/health", "health"),
            ("/health/live", "health"),
            ("/api/health", "health"),
            ("/api/rooms", "api"),
            ("/openapi.json", "api"),
            ("/admin", "admin"),
            ("/healthy", "page"),
        ] {
            assert_eq!(part(path), expected, "{path}");
        }
    }
}
