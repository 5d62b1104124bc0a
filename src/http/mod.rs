//! The door: one listener for the page, the interface of JSON, and WebSockets.
//!
//! A connection is accepted in `accept.rs`, each request passes `middleware.rs` and finds its route in the table below. What
//! becomes a WebSocket is checked in `upgrade.rs` and lives in `socket.rs`.

mod accept;
mod admin;
mod api;
mod api_docs;
mod blocking_pool;
mod client;
mod connection_limit;
mod error;
mod games;
mod headers;
mod middleware;
mod ops;
mod options;
mod outgoing;
mod page;
mod scrape;
mod session;
mod socket;
mod socket_limits;
mod state;
mod static_dir;
mod target;
mod tls;
mod transport;
mod upgrade;

use std::sync::Arc;

use hyper::upgrade::OnUpgrade;
use tokio::net::TcpListener;
use warp::filters::BoxedFilter;
use warp::http::HeaderMap;
use warp::path::tail;
use warp::reply::Response;
use warp::{Filter, any, path};

pub use accept::listen;
pub use admin::AdminAuth;
pub use connection_limit::ConnectionLimit;
pub use options::{BasePath, Network, NotABasePath, NotANetwork, NotAnOrigin, Options, Origin, Secret};
pub use scrape::serve_metrics;
pub use state::AppState;
pub use static_dir::StaticDirError;
pub use tls::{Identity, Tls, TlsError};

use api_docs::ApiDocs;
use client::Client;
use middleware::Middleware;
use static_dir::StaticDir;

/// Serves whoever comes, until the door is shut; with TLS, if there is a certificate. What becomes a WebSocket leaves for the
/// runtime of the door.
///
/// # Errors
/// [`StaticDirError`] if another web client is to be served and is not there.
pub fn serve(
    listener: TcpListener,
    tls: Option<Arc<Tls>>,
    state: Arc<AppState>,
) -> Result<impl Future<Output = ()> + Send + 'static, StaticDirError> {
    let static_dir = state.options.static_dir.as_deref().map(StaticDir::open).transpose()?;
    let routes = routes(&state, static_dir.map(Arc::new));
    Ok(accept::accept(listener, tls, Middleware::new(state, routes)))
}

/// The table of all routes. The first that fits answers.
#[rustfmt::skip]
fn routes(state: &Arc<AppState>, static_dir: Option<Arc<StaticDir>>) -> BoxedFilter<(Response,)> {
    let get = warp::get().or(warp::head()).unify();
    let context = context(state);
    let api_docs = Arc::new(ApiDocs::new(&state.options.base_path));
    let api_docs = any().map(move || Arc::clone(&api_docs));

    let mut table = vec![
        // Where the game is played: `/ws/lobby`, and `/ws/{id}` for each room.
        path!("ws" / String).and(warp::get()).and(warp::ext::optional::<OnUpgrade>()).and(context.clone())
            .then(upgrade::upgrade).boxed(),
        // What programs ask for.
        path!("api" / "rooms").and(get).and(context.clone()).map(api::rooms).boxed(),
        path!("api" / "games").and(get).and(warp::query()).and(context.clone()).then(games::find).boxed(),
        path!("api" / "games" / String).and(get).and(context.clone()).then(games::game).boxed(),
        path!("api" / "games" / String / "events").and(get).and(context.clone()).then(games::events).boxed(),
        path!("api" / "players" / String).and(get).and(context.clone()).then(games::player).boxed(),
        path!("api" / "leaderboard").and(get).and(context.clone()).then(games::leaderboard).boxed(),
        path!("openapi.json").and(get).and(api_docs.clone()).and(context.clone()).map(api_docs::http).boxed(),
        path!("asyncapi.json").and(get).and(api_docs).and(context.clone()).map(api_docs::sockets).boxed(),
        // How the server is.
        path!("health").and(get).and(context.clone()).then(ops::health).boxed(),
        path!("health" / "live").and(get).map(ops::live).boxed(),
        path!("health" / "ready").and(get).and(context.clone()).map(ops::ready).boxed(),
        path!("api" / "health").and(get).and(context.clone()).then(ops::health).boxed(),
        // What whoever runs it does about that: the table is `admin::ROUTES`.
        admin::routes(context.clone()),
    ];
    // What people look at: our page, or another client, which has all paths that are left.
    match static_dir {
        None => table.extend([
            page::place().and(get).and(context.clone()).map(page::index).boxed(),
            path!("assets" / ..).and(tail()).and(get).and(context.clone()).map(page::asset).boxed(),
            path!("favicon.ico").and(get).and(context).map(page::favicon).boxed(),
        ]),
        Some(folder) => {
            let folder = any().map(move || Arc::clone(&folder));
            table.push(static_dir::free_path().and(get).and(folder).and(context).then(static_dir::answer).boxed());
        }
    }
    let nothing = any().and_then(async || Err(warp::reject::not_found())).boxed();
    let any_of_them = table.into_iter().rfold(nothing, |rest, route| route.or(rest).unify().boxed());
    any_of_them.recover(error::recover).unify().boxed()
}

/// What handlers know of a request beside its path.
#[derive(Debug)]
struct RequestContext {
    state: Arc<AppState>,
    client: Client,
    headers: HeaderMap,
}

fn context(state: &Arc<AppState>) -> BoxedFilter<(RequestContext,)> {
    let state = Arc::clone(state);
    warp::ext::get::<Client>()
        .and(warp::header::headers_cloned())
        .map(move |client, headers| RequestContext { state: Arc::clone(&state), client, headers })
        .boxed()
}
