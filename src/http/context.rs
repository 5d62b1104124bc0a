//! What handlers know of a request besides its path.

use std::sync::Arc;

use warp::Filter;
use warp::filters::BoxedFilter;
use warp::http::HeaderMap;

use super::client::Client;
use super::state::AppState;

/// What handlers know of a request besides its path.
#[derive(Debug)]
pub(super) struct RequestContext {
    pub(super) state: Arc<AppState>,
    pub(super) client: Client,
    pub(super) headers: HeaderMap,
}

impl RequestContext {
    pub(super) fn filter(state: &Arc<AppState>) -> BoxedFilter<(Self,)> {
        let state = Arc::clone(state);
        warp::ext::get::<Client>()
            .and(warp::header::headers_cloned())
            .map(move |client, headers| Self { state: Arc::clone(&state), client, headers })
            .boxed()
    }
}
