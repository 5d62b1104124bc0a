//! Real servers of the test's own: a Redis, its Sentinels.
//!
//! Which programs there are is told by the environment, as `scripts/test` sets it. Without them a test says that it was
//! not run; in CI that is a failure.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::address::own_address;
use crate::process::SOON;

/// The program of this name, if the environment tells where it is.
pub(crate) fn program(variable: &str) -> Option<PathBuf> {
    let path = std::env::var_os(variable).map(PathBuf::from);
    assert!(path.is_some() || std::env::var_os("CI").is_none(), "{variable} must be set, as scripts/test does");
    if path.is_none() {
        eprintln!("NOT RUN: {variable} is not set; scripts/test sets it");
    }
    path
}

/// Waits until something holds; a lease may have to run out first.
pub(crate) fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + 3 * SOON;
    while !holds() {
        assert!(Instant::now() < deadline, "{what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// The same in a task, whose runtime goes on meanwhile.
pub(crate) async fn until_async(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let deadline = Instant::now() + 3 * SOON;
    while !holds().await {
        assert!(Instant::now() < deadline, "{what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// Sends a signal, by its name as in `kill -NAME`.
pub(crate) fn signal(pid: u32, name: &str) {
    assert!(Command::new("kill").arg(format!("-{name}")).arg(pid.to_string()).status().unwrap().success());
}

/// Where all of them listen.
const PORT: u16 = 6_379;

/// A running redis-server or Sentinel. It is killed when dropped.
pub(crate) struct RedisServer {
    program: PathBuf,
    arguments: Vec<String>,
    child: Child,
    /// Its own, with Redis's usual port.
    pub(crate) host: Ipv4Addr,
    folder: tempfile::TempDir,
}

impl RedisServer {
    /// Starts one with these options, such as `--requirepass hush`. `None` if there is no such program.
    pub(crate) fn start(options: &[&str]) -> Option<Self> {
        let program = program("LIAP_TEST_REDIS_SERVER")?;
        let host = own_address();
        // To a master it seems to come from elsewhere.
        let address = host.to_string();
        let own = ["--bind", &address, "--replica-announce-ip", &address, "--save", "", "--appendonly", "no"];
        let arguments: Vec<String> = own.iter().chain(options).map(|&text| text.to_owned()).collect();
        Some(Self::run(program, arguments, host, tempfile::tempdir().unwrap()))
    }

    /// Starts a Sentinel that watches a master by the name of `main`, alone and in haste.
    pub(crate) fn sentinel(master: SocketAddr) -> Option<Self> {
        let program = program("LIAP_TEST_REDIS_SERVER")?;
        let (host, folder) = (own_address(), tempfile::tempdir().unwrap());
        let file = folder.path().join("sentinel.conf");
        let text = format!(
            "port {PORT}\nbind {host}\nsentinel monitor main {} {} 1\n\
             sentinel down-after-milliseconds main 500\nsentinel failover-timeout main 2000\n",
            master.ip(),
            master.port()
        );
        std::fs::write(&file, text).unwrap();
        let arguments = vec![file.to_str().unwrap().to_owned(), "--sentinel".to_owned()];
        Some(Self::run(program, arguments, host, folder))
    }

    fn run(program: PathBuf, arguments: Vec<String>, host: Ipv4Addr, folder: tempfile::TempDir) -> Self {
        let child = spawn(&program, &arguments, folder.path());
        let server = Self { program, arguments, child, host, folder };
        until("a redis-server that listens", || TcpStream::connect(server.address()).is_ok());
        server
    }

    pub(crate) fn address(&self) -> SocketAddr {
        (self.host, PORT).into()
    }

    pub(crate) fn url(&self) -> String {
        format!("redis://{}", self.address())
    }

    pub(crate) fn signal(&self, name: &str) {
        signal(self.child.id(), name);
    }

    pub(crate) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Starts it again where it was.
    pub(crate) fn start_again(&mut self) {
        self.child = spawn(&self.program, &self.arguments, self.folder.path());
        until("a redis-server that listens again", || TcpStream::connect(self.address()).is_ok());
    }

    /// Sends commands, one a line, and gives back everything that is answered up to the end.
    pub(crate) fn say(&self, commands: &str) -> String {
        let mut stream = TcpStream::connect(self.address()).unwrap();
        stream.set_read_timeout(Some(SOON)).unwrap();
        stream.write_all(format!("{commands}\r\n").as_bytes()).unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    }
}

fn spawn(program: &Path, arguments: &[String], folder: &Path) -> Child {
    Command::new(program)
        .args(arguments)
        .current_dir(folder)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("redis-server starts")
}

impl Drop for RedisServer {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}
