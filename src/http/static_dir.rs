use std::collections::HashMap;
use std::fs;
use std::io::{self, Read as _};
use std::path::{Component, Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::SystemTime;

use hyper::body::Bytes;
use percent_encoding::percent_decode_str;
use rustix::fs::{CWD, Mode, OFlags, openat};
use rustix::io::Errno;
use warp::http::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, LAST_MODIFIED};
use warp::http::{HeaderMap, StatusCode};
use warp::path::{FullPath, Peek};
use warp::reply::Response;
use warp::{Filter, Rejection};

use super::answer::{redirect, unless_known};
use super::blocking_pool::BlockingPool;
use super::context::RequestContext;
use super::error::HttpError;
use super::headers::{COMPATIBLE_POLICY, set};
use super::page::keep_session;

/// Another web client's folder. Its files may change while they are served.
#[derive(Debug)]
pub(super) struct StaticDir {
    root: PathBuf,
    /// Threads that read files.
    blocking: BlockingPool,
    /// Files that are being sent. All clients that read the same file share its bytes, however slowly they read.
    sending: Mutex<HashMap<PathBuf, Sending>>,
}

/// The bytes of a file, and when it was modified.
#[derive(Debug)]
struct Sending {
    bytes: Weak<[u8]>,
    modified: SystemTime,
}

/// The longest file, in bytes.
const FILE_MAX_BYTES: u64 = 32 * 1024 * 1024;

/// The folder cannot be served.
#[derive(Debug, thiserror::Error)]
#[error("STATIC_DIR: {} cannot be served: {error}", .path.display())]
pub struct StaticDirError {
    path: PathBuf,
    error: io::Error,
}

struct File {
    name: PathBuf,
    bytes: Arc<[u8]>,
    modified: jiff::Timestamp,
}

impl StaticDir {
    /// Opens a folder that holds an index page.
    ///
    /// # Errors
    /// [`StaticDirError`] if the folder or its index page cannot be read.
    pub(super) fn open(path: &Path) -> Result<Self, StaticDirError> {
        let error = |error| StaticDirError { path: path.to_owned(), error };
        let root = fs::canonicalize(path).map_err(error)?;
        fs::metadata(root.join("index.html")).map_err(error)?;
        Ok(Self { root, blocking: BlockingPool::new(), sending: Mutex::default() })
    }

    /// Reads a file below the root. Anything else is not found, including a symlink to a file outside.
    fn read(&self, name: &Path) -> io::Result<File> {
        let path = fs::canonicalize(self.root.join(name)).map_err(absent_if_no_file)?;
        let below = path.strip_prefix(&self.root).map_err(|_| absent())?;
        let file = open_without_links(&self.root, below).map_err(absent_if_no_file)?;
        let metadata = file.metadata()?;
        if !metadata.is_file() {
            return Err(absent());
        }
        if metadata.len() > FILE_MAX_BYTES {
            return Err(io::Error::other("longer than 32 MiB"));
        }
        let modified = metadata.modified()?;
        let bytes = self.bytes(&path, file, metadata.len(), modified)?;
        // A file with an impossible time is served all the same.
        let modified = jiff::Timestamp::try_from(modified).unwrap_or_default();
        Ok(File { name: name.to_owned(), bytes, modified })
    }

    /// The bytes of a file, from memory while any client still gets them. So many slow readers hold each file once.
    fn bytes(&self, path: &Path, file: fs::File, length: u64, modified: SystemTime) -> io::Result<Arc<[u8]>> {
        let sending = || self.sending.lock().unwrap_or_else(PoisonError::into_inner);
        let held = |sending: &HashMap<PathBuf, Sending>, length| {
            let known = sending.get(path).filter(|known| known.modified == modified)?;
            known.bytes.upgrade().filter(|bytes| bytes.len() as u64 == length)
        };
        if let Some(bytes) = held(&sending(), length) {
            return Ok(bytes);
        }
        let mut bytes = Vec::with_capacity(usize::try_from(length).unwrap_or(0));
        // The file may have grown meanwhile.
        file.take(FILE_MAX_BYTES).read_to_end(&mut bytes)?;
        let bytes: Arc<[u8]> = bytes.into();
        let mut sending = sending();
        // Another request may have read it meanwhile.
        if let Some(held) = held(&sending, bytes.len() as u64) {
            return Ok(held);
        }
        sending.retain(|_, known| known.bytes.strong_count() > 0);
        sending.insert(path.to_owned(), Sending { bytes: Arc::downgrade(&bytes), modified });
        Ok(bytes)
    }
}

fn absent() -> io::Error {
    io::ErrorKind::NotFound.into()
}

/// The same error, or "not found" if no file can have this name: it passes through a file, is a loop of symlinks, is too
/// long, or belongs to a device.
fn absent_if_no_file(error: io::Error) -> io::Error {
    let no_file = [Errno::NOTDIR, Errno::LOOP, Errno::NAMETOOLONG, Errno::NXIO];
    if no_file.iter().any(|no_file| error.raw_os_error() == Some(no_file.raw_os_error())) { absent() } else { error }
}

/// Opens a file below `root` whose path holds no symlink. Each folder is opened relative to the one before, so a symlink that
/// is created meanwhile is not followed.
fn open_without_links(root: &Path, below: &Path) -> io::Result<fs::File> {
    // Opening a pipe must not block the thread.
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
    let mut opened = openat(CWD, root, flags | OFlags::DIRECTORY, Mode::empty())?;
    for component in below.components() {
        let Component::Normal(name) = component else { return Err(absent()) };
        opened = openat(&opened, name, flags | OFlags::NOFOLLOW, Mode::empty())?;
    }
    Ok(opened.into())
}

/// Paths that another client may use.
pub(super) fn free_path() -> impl Filter<Extract = (FullPath,), Error = Rejection> + Clone {
    let is_free = |path: Peek| async move {
        match path.segments().next() {
            Some("api" | "ws" | "health" | "admin") => Err(warp::reject::not_found()),
            _ => Ok(()),
        }
    };
    warp::path::peek().and_then(is_free).untuple_one().and(warp::path::full())
}

/// Answers a GET of any free path.
///
/// The client's own routes exist in the browser only. A reload of one is redirected to `/`, where the client resumes; its
/// relative addresses would not work elsewhere.
pub(super) async fn answer(path: FullPath, folder: Arc<StaticDir>, context: RequestContext) -> Response {
    let Some(relative) = plain(path.as_str()) else { return HttpError::NotFound.response() };
    let is_index = relative.as_os_str().is_empty();
    let name = if is_index { PathBuf::from("index.html") } else { relative };
    let is_route = name.extension().is_none();
    let read = {
        let folder = Arc::clone(&folder);
        move || folder.read(&name)
    };
    match folder.blocking.run(read).await {
        Ok(Ok(file)) => {
            let response = file.response(&context.headers);
            if is_index { keep_session(response, &context) } else { response }
        }
        Ok(Err(error)) if error.kind() == io::ErrorKind::NotFound && is_route => {
            redirect(StatusCode::SEE_OTHER, &format!("{}/", context.state.options.base_path))
        }
        Ok(Err(error)) if error.kind() == io::ErrorKind::NotFound => HttpError::NotFound.response(),
        Ok(Err(error)) => {
            log::warn!("a file of STATIC_DIR cannot be served: {error}");
            HttpError::Internal.response()
        }
        Err(_) => HttpError::Internal.response(),
    }
}

/// The path below the root; `None` unless it names a visible file there.
fn plain(path: &str) -> Option<PathBuf> {
    let decoded = percent_decode_str(path.trim_start_matches('/')).decode_utf8().ok()?;
    let segments = decoded.split('/').filter(|segment| !segment.is_empty());
    segments
        .map(|segment| {
            let hidden = segment.starts_with('.');
            let odd = segment.chars().any(|c| c.is_control() || matches!(c, '\\' | ':'));
            (!hidden && !odd).then_some(segment)
        })
        .collect()
}

impl File {
    fn response(self, headers: &HeaderMap) -> Response {
        // Time and length are enough to notice a new build of the client.
        let etag = format!("\"{:x}-{:x}\"", self.modified.as_microsecond(), self.bytes.len());
        let mime = mime_guess::from_path(&self.name).first_or_octet_stream();
        let is_text = mime.type_() == "text" || mime.subtype() == "javascript" || mime.subtype() == "json";
        let mut response = unless_known(headers, &etag, || Response::new(Bytes::from_owner(self.bytes).into()));
        let content_type = if is_text { format!("{mime}; charset=utf-8") } else { mime.to_string() };
        // A bundle and the page that names it keep their names when they change.
        let cache = match mime.subtype().as_str() {
            "javascript" | "css" | "html" => "no-cache, no-store, must-revalidate",
            _ => "no-cache",
        };
        let modified = self.modified.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string();
        set(&mut response, CONTENT_TYPE, &content_type);
        set(&mut response, CACHE_CONTROL, cache);
        set(&mut response, LAST_MODIFIED, &modified);
        response.headers_mut().insert(CONTENT_SECURITY_POLICY, COMPATIBLE_POLICY);
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_plain_paths_are_valid() {
        let path = |text: &str| plain(text).map(|path| path.to_string_lossy().into_owned());
        assert_eq!(path("/").as_deref(), Some(""));
        assert_eq!(path("/a/b%20c.js").as_deref(), Some("a/b c.js"));
        assert_eq!(path("//etc//passwd").as_deref(), Some("etc/passwd"), "below the root");
        for wrong in [
            "/../x",
            "/a/../../x",
            "/%2e%2e/x",
            "/%2E%2e%2fx",
            "/.env",
            "/a/.git/config",
            "/a%00b",
            "/a%5c..%5cb",
            "/c:/x",
            "/%ff",
        ] {
            assert_eq!(path(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn symlinks_to_files_outside_are_not_followed() {
        let (outside, inside) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        fs::write(outside.path().join("secret.txt"), "secret").unwrap();
        fs::write(inside.path().join("index.html"), "hello").unwrap();
        std::os::unix::fs::symlink(outside.path().join("secret.txt"), inside.path().join("link.txt")).unwrap();
        std::os::unix::fs::symlink("index.html", inside.path().join("near.html")).unwrap();
        let folder = StaticDir::open(inside.path()).unwrap();
        let read = |name: &str| folder.read(Path::new(name)).map(|file| file.bytes).map_err(|error| error.kind());
        assert_eq!(read("near.html"), Ok(b"hello".as_slice().into()));
        std::os::unix::fs::symlink("round", inside.path().join("round")).unwrap();
        let (long, deep) = ("x".repeat(300), "x/".repeat(4_000));
        for absent in ["link.txt", "nothing.txt", "index.html/x", "", "round", &long, &deep] {
            assert_eq!(read(absent), Err(io::ErrorKind::NotFound), "{absent:.40}");
        }
    }

    #[test]
    fn a_symlink_created_after_the_check_is_not_followed() {
        let (outside, inside) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        fs::write(outside.path().join("a.txt"), "secret").unwrap();
        fs::create_dir(inside.path().join("folder")).unwrap();
        fs::write(inside.path().join("folder/a.txt"), "hello").unwrap();
        let read = |name: &str| {
            let file = open_without_links(inside.path(), Path::new(name)).map_err(absent_if_no_file);
            file.and_then(io::read_to_string).map_err(|error| error.kind())
        };
        assert_eq!(read("folder/a.txt").as_deref(), Ok("hello"));
        // The folder and the file became symlinks after the check.
        std::os::unix::fs::symlink(outside.path(), inside.path().join("was-folder")).unwrap();
        std::os::unix::fs::symlink(outside.path().join("a.txt"), inside.path().join("folder/was-file")).unwrap();
        for raced in ["was-folder/a.txt", "folder/was-file", "../a.txt"] {
            assert_eq!(read(raced), Err(io::ErrorKind::NotFound), "{raced}");
        }
    }

    #[test]
    fn a_folder_without_an_index_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let error = StaticDir::open(folder.path()).unwrap_err().to_string();
        assert!(error.starts_with("STATIC_DIR: ") && error.contains("cannot be served"), "{error}");
    }

    #[test]
    fn slow_readers_share_the_bytes_of_a_file() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("index.html"), "one").unwrap();
        let served = StaticDir::open(folder.path()).unwrap();
        let read = || served.read(Path::new("index.html")).unwrap();
        let (slow, other) = (read(), read());
        assert!(Arc::ptr_eq(&slow.bytes, &other.bytes));
        fs::write(folder.path().join("index.html"), "built anew").unwrap();
        assert_eq!((&*read().bytes, &*slow.bytes), (b"built anew".as_slice(), b"one".as_slice()));
        drop((slow, other));
        fs::write(folder.path().join("main.js"), "other").unwrap();
        let _other = served.read(Path::new("main.js")).unwrap();
        assert_eq!(served.sending.lock().unwrap().len(), 1, "files that no client gets are dropped");
    }
}
