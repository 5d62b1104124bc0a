//! The socket over which commands ask a running server: `control` in the archive's folder.
//!
//! Only the server's own user may open it, and root: its mode is 0600, and the credentials of whoever connects are
//! checked as well. It belongs to whoever has the archive open, so what a killed server left there is replaced.
//!
//! The server speaks first, with a [`Hello`]; then every request gets one answer. Both are MessagePack behind their
//! length, four bytes, the lowest first. The server bounds clients, lengths and waits. It reads and writes on the thread
//! that answers requests and waits for the disk on threads that may; no table thread has to do with it.

use std::fs::{self, File, Permissions};
use std::io::{self, ErrorKind, Read as _, Write as _};
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::{FileTypeExt as _, PermissionsExt as _};
use std::os::unix::net::UnixStream as BlockingStream;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{UnixListener, UnixSocket, UnixStream};
use tokio::runtime::Handle;
use tokio::task::{JoinHandle, JoinSet, spawn_blocking};
use tokio::time::{sleep, timeout};

use super::Archive;
use super::control::answer;

/// The socket's name.
const NAME: &str = "control";
/// Changes whenever a request or an answer does.
const PROTOCOL: u32 = 1;
/// The longest path of a socket that every system takes.
const MAX_PATH_BYTES: usize = 100;
/// Commands that are answered at once.
const MAX_CLIENTS: u32 = 8;
/// The longest request.
const MAX_REQUEST_BYTES: u32 = 4 << 20;
/// The longest answer.
const MAX_ANSWER_BYTES: u32 = 16 << 20;
/// How long a client may be silent; it comes back by itself.
const IDLE_TIMEOUT: Duration = Duration::from_secs(60);
/// How long one frame may take, once it has begun.
const FRAME_TIMEOUT: Duration = Duration::from_secs(30);
/// How long a command waits for an answer; removing a million games takes minutes.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(600);
/// How often the socket is looked for where nobody connects.
const LOOK_INTERVAL: Duration = Duration::from_secs(10);
/// The pause after a connection could not be accepted.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// What a server says first. Later versions may add to it; what is here keeps its meaning.
#[derive(Debug, Serialize, Deserialize)]
struct Hello {
    protocol: u32,
    /// The server's version.
    liap: String,
    /// Why it answers nothing.
    refusal: Option<String>,
}

/// A server's end of the socket. Dropping it ends all conversations and removes the socket.
#[derive(Debug)]
pub struct ControlSocket {
    task: JoinHandle<()>,
    path: PathBuf,
}

impl ControlSocket {
    /// Answers commands about an archive that this process has open, on a runtime that moves no tables.
    ///
    /// # Errors
    /// The socket cannot be made.
    pub fn start(archive: &Archive, runtime: &Handle) -> io::Result<Self> {
        let folder = archive.store().folder();
        let _runtime = runtime.enter();
        let listener = with_short_path(folder, listen)?;
        let task = runtime.spawn(accept(listener, archive.clone()));
        Ok(Self { task, path: folder.join(NAME) })
    }
}

impl Drop for ControlSocket {
    fn drop(&mut self) {
        self.task.abort();
        // One that stays is replaced by the next server.
        drop(fs::remove_file(&self.path));
    }
}

/// Makes something of the socket's path, or of another one to the same place: a socket's path must be short, that of
/// the archive need not be.
fn with_short_path<T>(folder: &Path, act: impl FnOnce(&Path) -> io::Result<T>) -> io::Result<T> {
    let path = folder.join(NAME);
    if path.as_os_str().len() <= MAX_PATH_BYTES {
        return act(&path);
    }
    let folder = File::open(folder)?;
    act(&PathBuf::from(format!("/proc/self/fd/{}/{NAME}", folder.as_raw_fd())))
}

/// Whoever listens holds the archive's lock, so a socket that is there already belongs to nobody any more.
fn listen(path: &Path) -> io::Result<UnixListener> {
    match fs::symlink_metadata(path) {
        Ok(found) if found.file_type().is_socket() => fs::remove_file(path)?,
        Ok(_) => return Err(io::Error::new(ErrorKind::AlreadyExists, "there is something else in its place")),
        Err(error) if error.kind() == ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    let socket = UnixSocket::new_stream()?;
    socket.bind(path)?;
    // Nobody can connect before it listens.
    fs::set_permissions(path, Permissions::from_mode(0o600))?;
    socket.listen(MAX_CLIENTS)
}

async fn accept(mut listener: UnixListener, archive: Archive) {
    let folder = archive.store().folder();
    let mut clients = JoinSet::new();
    loop {
        let stream = match timeout(LOOK_INTERVAL, listener.accept()).await {
            Ok(Ok((stream, _))) => stream,
            Ok(Err(error)) => {
                log::warn!("a command could not connect: {error}");
                sleep(ACCEPT_PAUSE).await;
                continue;
            }
            Err(_nobody) => {
                // Somebody may have removed it. Where there is no folder, there soon is one again.
                if !folder.join(NAME).exists()
                    && let Ok(renewed) = with_short_path(folder, listen)
                {
                    listener = renewed;
                }
                continue;
            }
        };
        while clients.try_join_next().is_some() {}
        let refusal = refusal(&stream, clients.len());
        let is_refused = refusal.is_some();
        let hello = Hello { protocol: PROTOCOL, liap: env!("CARGO_PKG_VERSION").to_owned(), refusal };
        let hello = frame(&rmp_serde::to_vec_named(&hello).unwrap_or_default());
        // A fresh connection has room for it.
        if stream.try_write(&hello).is_ok_and(|written| written == hello.len()) && !is_refused {
            clients.spawn(converse(stream, archive.clone()));
        }
    }
}

/// Why a client gets no answers, if so.
fn refusal(stream: &UnixStream, clients: usize) -> Option<String> {
    let own = rustix::process::geteuid().as_raw();
    let is_owner = stream.peer_cred().is_ok_and(|peer| peer.uid() == own || peer.uid() == 0);
    if !is_owner {
        log::warn!("a process of another user may not ask for games");
        return Some("only the server's own user may ask".to_owned());
    }
    (clients >= MAX_CLIENTS as usize).then(|| format!("{clients} commands are at work already; try again"))
}

/// Answers one client until it leaves, is silent for too long, or sends what is no request.
async fn converse(mut stream: UnixStream, archive: Archive) {
    loop {
        let request = match read_request(&mut stream).await {
            Ok(Some(request)) => request,
            Ok(None) => return,
            Err(error) => return log::debug!("a command is not answered any more: {error}"),
        };
        let archive = archive.clone();
        // A panic was told when it happened; the client notices the end of the connection.
        let Ok(answer) = spawn_blocking(move || frame(&answer(&archive, &request))).await else { return };
        if !matches!(timeout(FRAME_TIMEOUT, stream.write_all(&answer)).await, Ok(Ok(()))) {
            return;
        }
    }
}

async fn read_request(stream: &mut UnixStream) -> io::Result<Option<Vec<u8>>> {
    let length = match timeout(IDLE_TIMEOUT, stream.read_u32_le()).await {
        Ok(Err(error)) if error.kind() == ErrorKind::UnexpectedEof => return Ok(None),
        Err(_silent) => return Ok(None),
        Ok(length) => checked(length?, MAX_REQUEST_BYTES)?,
    };
    let mut request = vec![0; length];
    timeout(FRAME_TIMEOUT, stream.read_exact(&mut request)).await??;
    Ok(Some(request))
}

fn checked(length: u32, max: u32) -> io::Result<usize> {
    if length > max {
        return Err(io::Error::new(
            ErrorKind::InvalidData,
            format!("a frame of {length} bytes, at most {max} are read"),
        ));
    }
    usize::try_from(length).map_err(io::Error::other)
}

fn frame(bytes: &[u8]) -> Vec<u8> {
    let length = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
    [&length.to_le_bytes(), bytes].concat()
}

/// Why a command cannot ask a server.
#[derive(Debug)]
pub(super) enum ConnectError {
    /// It does not answer, or not as it should.
    Io(io::Error),
    /// It answers, but not this command.
    Refused(String),
}

impl From<io::Error> for ConnectError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

/// A command's end of the socket.
#[derive(Debug)]
pub struct Client {
    folder: PathBuf,
    stream: Mutex<BlockingStream>,
}

impl Client {
    /// Connects to the server that has the archive in this folder open, if there is one.
    ///
    /// # Errors
    /// It does not answer this command.
    pub(super) fn connect(folder: &Path) -> Result<Option<Self>, ConnectError> {
        let stream = match with_short_path(folder, |path| BlockingStream::connect(path)) {
            Ok(stream) => stream,
            // None is running, or one was killed and has left its socket.
            Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::ConnectionRefused) => {
                return Ok(None);
            }
            Err(error) if error.kind() == ErrorKind::PermissionDenied => {
                let path = folder.join(NAME);
                let reason = format!("{} is for the server's own user: run this as that user", path.display());
                return Err(ConnectError::Refused(reason));
            }
            Err(error) => return Err(error.into()),
        };
        Ok(Some(Self { folder: folder.to_owned(), stream: Mutex::new(greeted(stream)?) }))
    }

    /// Sends a request and waits for its answer. Where the server has closed the connection meanwhile, it is asked on a
    /// new one: every request may be made twice.
    pub(super) fn exchange(&self, request: &[u8]) -> Result<Vec<u8>, ConnectError> {
        let mut stream = self.stream.lock().unwrap_or_else(PoisonError::into_inner);
        if let Ok(answer) = exchange(&mut stream, request) {
            return Ok(answer);
        }
        *stream = greeted(with_short_path(&self.folder, |path| BlockingStream::connect(path))?)?;
        Ok(exchange(&mut stream, request)?)
    }
}

/// Reads what the server says first.
fn greeted(mut stream: BlockingStream) -> Result<BlockingStream, ConnectError> {
    stream.set_read_timeout(Some(FRAME_TIMEOUT))?;
    stream.set_write_timeout(Some(FRAME_TIMEOUT))?;
    let hello: Hello = rmp_serde::from_slice(&read_answer(&mut stream)?).map_err(io::Error::other)?;
    match hello {
        Hello { refusal: Some(refusal), .. } => Err(ConnectError::Refused(refusal)),
        Hello { protocol: PROTOCOL, .. } => {
            stream.set_read_timeout(Some(ANSWER_TIMEOUT))?;
            Ok(stream)
        }
        Hello { liap, .. } => Err(ConnectError::Refused(format!(
            "the running server is liap {liap} and does not understand liap {}: use the same version",
            env!("CARGO_PKG_VERSION")
        ))),
    }
}

fn exchange(stream: &mut BlockingStream, request: &[u8]) -> io::Result<Vec<u8>> {
    stream.write_all(&frame(request))?;
    read_answer(stream)
}

fn read_answer(stream: &mut BlockingStream) -> io::Result<Vec<u8>> {
    let mut length = [0; 4];
    stream.read_exact(&mut length)?;
    let mut answer = vec![0; checked(u32::from_le_bytes(length), MAX_ANSWER_BYTES)?];
    stream.read_exact(&mut answer)?;
    Ok(answer)
}
