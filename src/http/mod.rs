//! The HTTP server: one listener for the page, the HTTP API, and WebSockets.
//!
//! `accept.rs` accepts connections. Each request passes `middleware.rs` and is routed by the table below. `upgrade.rs`
//! checks requests for WebSockets, and `socket.rs` serves the sockets.

mod accept;
mod admin;
mod admin_auth;
mod answer;
mod api;
mod api_docs;
mod blocking_pool;
mod client;
mod connection_limit;
mod context;
mod error;
mod games;
mod headers;
mod health;
mod link;
mod lobby_socket;
mod middleware;
mod options;
mod outgoing;
mod page;
mod scrape;
mod session;
mod socket;
mod socket_limits;
mod state;
mod static_dir;
mod table_socket;
mod target;
mod tls;
mod transport;
mod upgrade;

use std::sync::Arc;

use hyper::upgrade::OnUpgrade;
use tokio::net::TcpListener;
use warp::filters::BoxedFilter;
use warp::path::tail;
use warp::reply::Response;
use warp::{Filter, any, path};

pub use accept::listen;
pub use admin_auth::AdminAuth;
pub use connection_limit::ConnectionLimit;
pub use options::{BasePath, Network, NotABasePath, NotANetwork, NotAnOrigin, Options, Origin, Secret};
pub use scrape::serve_metrics;
pub use state::AppState;
pub use static_dir::StaticDirError;
pub use tls::{Identity, Tls, TlsError};

use context::RequestContext;
use middleware::Middleware;
use static_dir::StaticDir;

/// Serves connections until shutdown, with TLS if there is a certificate. WebSockets run on the runtime of `state`.
///
/// # Errors
/// [`StaticDirError`] if another web client is configured and cannot be served.
pub fn serve(
    listener: TcpListener,
    tls: Option<Arc<Tls>>,
    state: Arc<AppState>,
) -> Result<impl Future<Output = ()> + Send + 'static, StaticDirError> {
    let static_dir = state.options.static_dir.as_deref().map(StaticDir::open).transpose()?;
    let routes = routes(&state, static_dir.map(Arc::new));
    Ok(accept::accept(listener, tls, Middleware { state, routes }))
}

/// The table of all routes. The first match answers.
#[rustfmt::skip]
fn routes(state: &Arc<AppState>, static_dir: Option<Arc<StaticDir>>) -> BoxedFilter<(Response,)> {
    let get = warp::get().or(warp::head()).unify();
    let context = RequestContext::filter(state);
    let base = state.options.base_path.as_str();
    let (openapi, asyncapi) = (api_docs::openapi(base), api_docs::asyncapi(base));

    let mut table = vec![
        // The game: `/ws/lobby`, and `/ws/{id}` for each room.
        path!("ws" / String).and(warp::get()).and(warp::ext::optional::<OnUpgrade>()).and(context.clone())
            .then(upgrade::upgrade).boxed(),
        // For programs.
        path!("api" / "rooms").and(get).and(context.clone()).map(api::rooms).map(error::or_refusal).boxed(),
        path!("api" / "me" / "games").and(get).and(context.clone()).then(api::my_games).map(error::or_refusal).boxed(),
        path!("api" / "games").and(get).and(warp::query()).and(context.clone()).then(games::find).map(error::or_refusal).boxed(),
        path!("api" / "games" / String).and(get).and(context.clone()).then(games::game).map(error::or_refusal).boxed(),
        path!("api" / "games" / String / "events").and(get).and(context.clone()).then(games::events).map(error::or_refusal).boxed(),
        path!("api" / "players" / String).and(get).and(context.clone()).then(games::player).map(error::or_refusal).boxed(),
        path!("api" / "leaderboard").and(get).and(context.clone()).then(games::leaderboard).map(error::or_refusal).boxed(),
        path!("openapi.json").and(get).and(context.clone()).map(api_docs::answer(&openapi)).boxed(),
        path!("asyncapi.json").and(get).and(context.clone()).map(api_docs::answer(&asyncapi)).boxed(),
        // Health.
        path!("health").and(get).and(context.clone()).then(health::health).boxed(),
        path!("health" / "live").and(get).map(health::live).boxed(),
        path!("health" / "ready").and(get).and(context.clone()).map(health::ready).boxed(),
        path!("api" / "health").and(get).and(context.clone()).then(health::health).boxed(),
        // Administration: the table is `admin::ROUTES`.
        admin::routes(context.clone()),
    ];
    // For people: our page, or another client, which gets all remaining paths.
    match static_dir {
        None => table.extend([
            page::address().and(get).and(context.clone()).map(page::index).boxed(),
            path!("assets" / ..).and(tail()).and(get).and(context.clone()).map(page::asset).boxed(),
            path!("favicon.ico").and(get).and(context).map(page::favicon).boxed(),
        ]),
        Some(folder) => {
            let folder = any().map(move || Arc::clone(&folder));
            table.push(static_dir::free_path().and(get).and(folder).and(context).then(static_dir::answer).boxed());
        }
    }
    let nothing = any().and_then(async || Err(warp::reject::not_found())).boxed();
    let first_match = table.into_iter().rfold(nothing, |rest, route| route.or(rest).unify().boxed());
    first_match.recover(error::recover).unify().boxed()
}
