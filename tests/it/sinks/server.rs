//! A server that speaks S3, as a process that can be killed, stopped and started again, and a network before it that can be
//! cut.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::{Duration, Instant};

pub(crate) const KEY: &str = "liap-test";
pub(crate) const SECRET: &str = "a-secret-of-the-tests";
const BUCKET: &str = "liap";
const SOON: Duration = Duration::from_secs(20);

/// A program that `scripts/test` installs: where the variable says, or where it is put.
fn program(variable: &str, usual: &str) -> Option<PathBuf> {
    let place = std::env::var_os(variable).map(PathBuf::from);
    let place = place.unwrap_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("target/test-tools").join(usual));
    if place.is_file() {
        return Some(place);
    }
    assert!(std::env::var_os("CI").is_none(), "there is no {}", place.display());
    eprintln!("not run: there is no {}; scripts/test installs it", place.display());
    None
}

/// A server with one bucket, which is a folder.
#[derive(Debug)]
pub(crate) struct S3Server {
    program: PathBuf,
    root: tempfile::TempDir,
    address: SocketAddr,
    child: Child,
}

impl S3Server {
    /// Starts one, if the program is there.
    pub(crate) fn start() -> Option<Self> {
        let program = program("LIAP_TEST_S3S_FS", "bin/s3s-fs")?;
        let root = tempfile::tempdir().unwrap();
        std::fs::create_dir(root.path().join(BUCKET)).unwrap();
        let address = free();
        let child = run(&program, root.path(), address);
        Some(Self { program, root, address, child })
    }

    /// Starts one of another make, which keeps everything in memory.
    pub(crate) fn start_other() -> Option<Self> {
        let program = program("LIAP_TEST_MOTO_SERVER", "moto/bin/moto_server")?;
        let address = free();
        let mut command = Command::new(&program);
        command.args(["-H", "127.0.0.1", "-p", &address.port().to_string()]);
        let child = listening(command, address);
        let mut connection = TcpStream::connect(address).unwrap();
        let request =
            format!("PUT /{BUCKET} HTTP/1.1\r\nhost: {address}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
        connection.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        connection.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        Some(Self { program, root: tempfile::tempdir().unwrap(), address, child })
    }

    pub(crate) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    pub(crate) fn start_again(&mut self) {
        self.child = run(&self.program, self.root.path(), self.address);
    }

    /// Stands still, with all its connections, until it goes on.
    pub(crate) fn stand(&self) {
        self.signal("STOP");
    }

    pub(crate) fn go_on(&self) {
        self.signal("CONT");
    }

    fn signal(&self, name: &str) {
        let sent = Command::new("kill").arg(format!("-{name}")).arg(self.child.id().to_string()).status().unwrap();
        assert!(sent.success());
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// The URL of games below a prefix.
    pub(crate) fn url(&self, prefix: &str) -> String {
        url_at(self.address, prefix)
    }

    /// The bucket as it lies on disk, for who does not trust the protocol.
    pub(crate) fn bucket(&self) -> PathBuf {
        self.root.path().join(BUCKET)
    }

    /// The names of all objects of games, as they lie on disk.
    pub(crate) fn objects(&self) -> Vec<String> {
        let mut names = Vec::new();
        let mut folders = vec![self.bucket()];
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    folders.push(path);
                } else if path.extension().is_some_and(|extension| extension == "liap") {
                    names.push(path.file_stem().unwrap().to_str().unwrap().to_owned());
                }
            }
        }
        names.sort_unstable();
        names
    }
}

impl Drop for S3Server {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// The URL of games below a prefix, by way of this address.
pub(crate) fn url_at(address: SocketAddr, prefix: &str) -> String {
    format!("s3://{BUCKET}/{prefix}?endpoint=http://{address}&region=us-east-1")
}

fn free() -> SocketAddr {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap()
}

fn run(program: &Path, root: &Path, address: SocketAddr) -> Child {
    let mut command = Command::new(program);
    command.args(["--host", "127.0.0.1", "--port", &address.port().to_string()]);
    command.args(["--access-key", KEY, "--secret-key", SECRET]).arg(root);
    listening(command, address)
}

fn listening(mut command: Command, address: SocketAddr) -> Child {
    let child = command.env_clear().stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let deadline = Instant::now() + SOON;
    while TcpStream::connect(address).is_err() {
        assert!(Instant::now() < deadline, "the server listens");
        std::thread::sleep(Duration::from_millis(10));
    }
    child
}

/// What a network does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Way {
    Open,
    /// Every connection breaks off after some bytes.
    Cut,
    /// Bytes come through a few at a time.
    Slow,
    /// In the server's place somebody says that the disk is full.
    Full,
    /// The server does not see `If-None-Match`.
    Unconditional,
    /// In the server's place somebody says that it does not know `If-None-Match`.
    NotImplemented,
}

/// A network between us and a server.
#[derive(Debug)]
pub(crate) struct Network {
    pub(crate) address: SocketAddr,
    way: Arc<AtomicU8>,
}

impl Network {
    pub(crate) fn before(server: SocketAddr) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let way = Arc::new(AtomicU8::new(Way::Open as u8));
        let ways = Arc::clone(&way);
        std::thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                let ways = Arc::clone(&ways);
                std::thread::spawn(move || connection(client, server, &ways));
            }
        });
        Self { address, way }
    }

    pub(crate) fn set(&self, way: Way) {
        self.way.store(way as u8, Ordering::SeqCst);
    }
}

fn connection(mut client: TcpStream, server: SocketAddr, ways: &Arc<AtomicU8>) {
    const FULL: &[u8] = b"HTTP/1.1 507 Insufficient Storage\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
    if ways.load(Ordering::SeqCst) == Way::Full as u8 {
        let mut request = [0; 4096];
        let _some = client.read(&mut request);
        client.write_all(FULL).ok();
        return;
    }
    let Ok(server) = TcpStream::connect(server) else { return };
    let (from, to) = (client.try_clone().unwrap(), server.try_clone().unwrap());
    let there = Arc::clone(ways);
    let pump_there = std::thread::spawn(move || pump(from, to, &there));
    pump(server, client, ways);
    pump_there.join().unwrap();
}

const CONDITION: &[u8] = b"if-none-match";
const NOT_IMPLEMENTED: &[u8] = b"HTTP/1.1 501 Not Implemented\r\ncontent-length: 42\r\nconnection: close\r\n\r\n\
    <Error><Code>NotImplemented</Code></Error>";

fn pump(mut from: TcpStream, mut to: TcpStream, ways: &AtomicU8) {
    let mut buffer = [0; 16 * 1024];
    let mut passed = 0;
    loop {
        let way = ways.load(Ordering::SeqCst);
        let most = if way == Way::Slow as u8 { 512 } else { buffer.len() };
        let Ok(read) = from.read(&mut buffer[..most]) else { break };
        passed += read;
        if let Some(at) = buffer[..read].windows(CONDITION.len()).position(|part| part == CONDITION) {
            if way == Way::Unconditional as u8 {
                buffer[at..at + CONDITION.len()].copy_from_slice(b"x-ignored-one");
            } else if way == Way::NotImplemented as u8 {
                from.write_all(NOT_IMPLEMENTED).ok();
                break;
            }
        }
        let is_cut = way == Way::Full as u8 || (way == Way::Cut as u8 && passed > 700);
        if read == 0 || is_cut || to.write_all(&buffer[..read]).is_err() {
            break;
        }
        if way == Way::Slow as u8 {
            std::thread::sleep(Duration::from_millis(5));
        }
    }
    from.shutdown(std::net::Shutdown::Both).ok();
    to.shutdown(std::net::Shutdown::Both).ok();
}
