use rust_embed::{Embed, EmbeddedFile};
use warp::http::HeaderMap;
use warp::reply::Response;

use super::super::context::RequestContext;
use super::super::page::{self, Folder};

/// The administrators' page. It holds no figure: those it asks for with the token its visitor types.
#[derive(Embed)]
#[folder = "$CARGO_MANIFEST_DIR/src/http/admin/page"]
struct Files;

/// What this page shares with the players'.
const SHARED: [&str; 3] = ["dom.js", "style.css", "icon.svg"];

static FOLDER: Folder = Folder::new(get, names);

fn get(name: &str) -> Option<EmbeddedFile> {
    Files::get(name).or_else(|| SHARED.contains(&name).then(|| page::shared(name)).flatten())
}

fn names() -> Vec<String> {
    Files::iter().map(String::from).chain(SHARED.map(str::to_owned)).collect()
}

/// `GET /admin`.
pub(super) fn index(context: &RequestContext) -> Response {
    FOLDER.index(context.state.options.base_path.as_str())
}

/// `GET /admin/assets/{name}`.
pub(super) fn asset(path: &str, headers: &HeaderMap) -> Response {
    FOLDER.file(path, headers)
}
