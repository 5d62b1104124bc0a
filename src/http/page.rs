use std::borrow::Cow;
use std::io::Write as _;
use std::sync::OnceLock;

use dashmap::DashMap;
use flate2::Compression;
use flate2::write::GzEncoder;
use hyper::body::Bytes;
use rust_embed::{Embed, EmbeddedFile};
use warp::http::HeaderMap;
use warp::http::header::{
    ACCEPT_ENCODING, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_SECURITY_POLICY, CONTENT_TYPE, VARY,
};
use warp::path::{Peek, Tail};
use warp::reply::Response;
use warp::{Filter, Rejection};

use super::answer::unless_known;
use super::context::RequestContext;
use super::error::HttpError;
use super::headers::{STRICT_POLICY, list, set};
use super::session::Session;

/// The page in the binary. Builds for debugging read the folder itself, so that a change shows at once.
#[derive(Embed)]
#[folder = "$CARGO_MANIFEST_DIR/src/http/page"]
pub(super) struct Files;

const INDEX: &str = "index.html";

/// A folder of files in the binary that make a page.
pub(super) struct Folder {
    get: fn(&str) -> Option<EmbeddedFile>,
    names: fn() -> Vec<String>,
    version: OnceLock<String>,
}

impl Folder {
    pub(super) const fn new(get: fn(&str) -> Option<EmbeddedFile>, names: fn() -> Vec<String>) -> Self {
        Self { get, names, version: OnceLock::new() }
    }
}

static PAGE: Folder = Folder::new(Files::get, || Files::iter().map(String::from).collect());

/// The page's own addresses. The page finds out by itself what to show.
pub(super) fn address() -> impl Filter<Extract = (), Error = Rejection> + Clone {
    let is_address = |path: Peek| async move {
        let mut segments = path.segments();
        match (segments.next(), segments.next(), segments.next()) {
            (None | Some("lobby" | "tutorial" | "history" | "leaderboard"), None, None)
            | (Some("room" | "game" | "replay" | "player"), Some(_), None) => Ok(()),
            _ => Err(warp::reject::not_found()),
        }
    };
    warp::path::peek().and_then(is_address).untuple_one()
}

/// The page itself.
pub(super) fn index(context: RequestContext) -> Response {
    keep_session(PAGE.index(context.state.options.base_path.as_str()), &context)
}

/// Adds the session's cookies to an answer.
pub(super) fn keep_session(mut response: Response, context: &RequestContext) -> Response {
    match Session::of(&context.headers, &context.client, &context.state.options.base_path) {
        Ok(session) => session.keep(response.headers_mut()),
        // The page works without one, and the socket will set it later.
        Err(error) => log::error!("no randomness for a session: {error}"),
    }
    response
}

/// A file of the page: `name`, or `version/name`, which never changes.
pub(super) fn asset(path: Tail, context: RequestContext) -> Response {
    PAGE.file(path.as_str(), &context.headers)
}

impl Folder {
    /// The page itself, below a base path.
    pub(super) fn index(&self, base: &str) -> Response {
        let Some(file) = (self.get)(INDEX) else { return HttpError::NotFound.response() };
        // Addresses in the page are relative to its base. Its files go by a version that changes with them, so browsers
        // may keep them for ever.
        let html = String::from_utf8_lossy(&file.data)
            .replace("<base href=\"/\">", &format!("<base href=\"{base}/\">"))
            .replace("assets/", &format!("assets/{}/", self.version()));
        let mut response = Response::new(html.into());
        set(&mut response, CONTENT_TYPE, "text/html; charset=utf-8");
        set(&mut response, CACHE_CONTROL, "private, no-cache");
        response.headers_mut().insert(CONTENT_SECURITY_POLICY, STRICT_POLICY);
        response
    }

    /// A file: `name`, or `version/name`, which never changes.
    pub(super) fn file(&self, path: &str, headers: &HeaderMap) -> Response {
        let (name, lasting) = match path.split_once('/') {
            Some((folder, name)) if folder == self.version() => (name, true),
            // A page from before an update requests its old files. It gets the present ones, but must not cache them.
            Some((folder, name)) if is_version(folder) => (name, false),
            _ => (path, false),
        };
        let found = (self.get)(name).filter(|_| name != INDEX);
        found.map_or_else(|| HttpError::NotFound.response(), |file| send(name, file, lasting, headers))
    }

    /// What changes when any file of the page does.
    fn version(&self) -> Cow<'static, str> {
        let compute = || {
            use sha2::{Digest as _, Sha256};
            let mut names = (self.names)();
            names.sort();
            let mut all = Sha256::new();
            for file in names.iter().filter_map(|name| (self.get)(name)) {
                all.update(file.metadata.sha256_hash());
            }
            let mut digits = hex::encode(all.finalize());
            digits.truncate(VERSION_DIGITS);
            digits
        };
        // Debug builds read the files from disk, where they may change.
        if cfg!(debug_assertions) { compute().into() } else { self.version.get_or_init(compute).clone().into() }
    }
}

/// Answers with a file, compressed if the browser can unpack it.
fn send(name: &str, file: EmbeddedFile, lasting: bool, headers: &HeaderMap) -> Response {
    let hash = hex::encode(file.metadata.sha256_hash().get(..8).unwrap_or_default());
    let mime = mime_guess::from_path(name).first_or_octet_stream();
    let packed = accepts_gzip(headers).then(|| gzip(name, &hash, &file)).flatten();
    let etag = if packed.is_some() { format!("\"{hash}-gz\"") } else { format!("\"{hash}\"") };

    let mut response = unless_known(headers, &etag, || {
        let mut response = Response::new(match &packed {
            Some(packed) => packed.clone().into(),
            None => bytes(file).into(),
        });
        let charset = if mime.type_() == "text" || mime.subtype() == "javascript" { "; charset=utf-8" } else { "" };
        set(&mut response, CONTENT_TYPE, &format!("{mime}{charset}"));
        if packed.is_some() {
            set(&mut response, CONTENT_ENCODING, "gzip");
        }
        response
    });
    set(&mut response, VARY, "accept-encoding");
    set(&mut response, CACHE_CONTROL, if lasting { "public, max-age=31536000, immutable" } else { "no-cache" });
    response
}

/// Browsers ask for this by themselves.
pub(super) fn favicon(context: RequestContext) -> Response {
    PAGE.file("icon.svg", &context.headers)
}

const VERSION_DIGITS: usize = 12;

fn is_version(text: &str) -> bool {
    text.len() == VERSION_DIGITS && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

fn accepts_gzip(headers: &HeaderMap) -> bool {
    list(headers, ACCEPT_ENCODING).any(|coding| {
        let (name, weight) = coding.split_once(';').unwrap_or((coding, ""));
        let refused = weight.trim().strip_prefix("q=").is_some_and(|weight| weight.parse() == Ok(0.0));
        name.trim().eq_ignore_ascii_case("gzip") && !refused
    })
}

/// The file compressed, if that makes it smaller. Done once for each version of a file.
fn gzip(name: &str, hash: &str, file: &EmbeddedFile) -> Option<Bytes> {
    static PACKED: OnceLock<DashMap<String, (String, Option<Bytes>)>> = OnceLock::new();
    let packed = PACKED.get_or_init(DashMap::new);
    if let Some(entry) = packed.get(name).filter(|entry| entry.0 == hash) {
        return entry.1.clone();
    }
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    // Writing to memory does not fail.
    let bytes = encoder.write_all(&file.data).and_then(|()| encoder.finish()).ok();
    let smaller = bytes.filter(|bytes| bytes.len() < file.data.len()).map(Bytes::from);
    packed.insert(name.to_owned(), (hash.to_owned(), smaller.clone()));
    smaller
}

fn bytes(file: EmbeddedFile) -> Bytes {
    match file.data {
        Cow::Borrowed(data) => Bytes::from_static(data),
        Cow::Owned(data) => data.into(),
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use warp::http::header::{ETAG, IF_NONE_MATCH};

    use super::*;

    fn headers(name: warp::http::HeaderName, value: &str) -> HeaderMap {
        HeaderMap::from_iter([(name, value.parse().unwrap())])
    }

    #[test]
    fn files_are_compressed_for_browsers_that_accept_it() {
        let plain = Files::get("main.js").unwrap();
        let hash = hex::encode(plain.metadata.sha256_hash());
        let packed = gzip("main.js", &hash, &plain).unwrap();
        let mut unpacked = Vec::new();
        flate2::read::GzDecoder::new(&*packed).read_to_end(&mut unpacked).unwrap();
        assert!(unpacked == *plain.data && packed.len() < unpacked.len() / 2);

        let response = PAGE.file("main.js", &headers(ACCEPT_ENCODING, "br, gzip;q=0.8"));
        assert_eq!(response.headers()[CONTENT_ENCODING], "gzip");
        for not in ["", "br", "gzip;q=0", "gzip; q=0.0"] {
            assert!(
                !PAGE.file("main.js", &headers(ACCEPT_ENCODING, not)).headers().contains_key(CONTENT_ENCODING),
                "{not}"
            );
        }
    }

    #[test]
    fn a_file_the_browser_has_is_not_sent_again() {
        let first = PAGE.file("main.js", &HeaderMap::new());
        let etag = first.headers()[ETAG].to_str().unwrap();
        assert_eq!(first.headers()[CONTENT_TYPE], "text/javascript; charset=utf-8");
        assert_eq!(PAGE.file("main.js", &headers(IF_NONE_MATCH, etag)).status(), 304);
        assert_eq!(PAGE.file("main.js", &headers(IF_NONE_MATCH, &format!("\"x\", W/{etag}"))).status(), 304);
        assert_eq!(PAGE.file("main.js", &headers(IF_NONE_MATCH, "\"x\"")).status(), 200);
    }

    #[test]
    fn only_files_of_this_version_are_cached_for_ever() {
        let cache = |path: &str| PAGE.file(path, &HeaderMap::new()).headers().get(CACHE_CONTROL).cloned();
        let lasting = "public, max-age=31536000, immutable";
        assert_eq!(cache(&format!("{}/main.js", PAGE.version())).unwrap(), lasting);
        assert_eq!(cache("0123456789ab/main.js").unwrap(), "no-cache");
        assert_eq!(cache("main.js").unwrap(), "no-cache");
    }

    #[test]
    fn only_files_of_the_page_are_served() {
        for path in
            ["", "../page.rs", "%2e%2e/page.rs", "index.html", "/etc/passwd", "nothing.js", "0123456789ab/../page.rs"]
        {
            assert_eq!(PAGE.file(path, &HeaderMap::new()).status(), 404, "{path}");
        }
    }
}
