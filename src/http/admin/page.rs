use rust_embed::{Embed, EmbeddedFile};

use super::super::page::{self, Folder};

/// The administrators' page. It holds no figure: those it asks for with the token its visitor types.
pub(super) static PAGE: Folder = Folder::new(get, names);

#[derive(Embed)]
#[folder = "$CARGO_MANIFEST_DIR/src/http/admin/page"]
struct Files;

/// What this page shares with the players'.
const SHARED: [&str; 3] = ["dom.js", "style.css", "icon.svg"];

fn get(name: &str) -> Option<EmbeddedFile> {
    Files::get(name).or_else(|| SHARED.contains(&name).then(|| page::Files::get(name)).flatten())
}

fn names() -> Vec<String> {
    Files::iter().map(String::from).chain(SHARED.map(str::to_owned)).collect()
}
