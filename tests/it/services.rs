//! Real servers of the test's own: a Redis, its Sentinels.
//!
//! Which programs there are is told by the environment, as `scripts/test` sets it. Without them a test says that it was
//! not run; in CI that is a failure.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

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

/// A port that was free a moment ago: as sure as it gets with servers that do not tell which they chose.
pub(crate) fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
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

/// A running redis-server or Sentinel. It is killed when dropped.
pub(crate) struct RedisServer {
    program: PathBuf,
    arguments: Vec<String>,
    child: Child,
    pub(crate) port: u16,
    folder: tempfile::TempDir,
}

impl RedisServer {
    /// Starts one with these options, such as `--requirepass hush`. `None` if there is no such program.
    pub(crate) fn start(options: &[&str]) -> Option<Self> {
        let program = program("LIAP_TEST_REDIS_SERVER")?;
        let port = free_port();
        let own = ["--port", &port.to_string(), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"];
        let arguments: Vec<String> = own.iter().chain(options).map(|&text| text.to_owned()).collect();
        Some(Self::run(program, arguments, port, tempfile::tempdir().unwrap()))
    }

    /// Starts a Sentinel that watches a master by the name of `main`, alone and in haste.
    pub(crate) fn sentinel(master: u16) -> Option<Self> {
        let program = program("LIAP_TEST_REDIS_SERVER")?;
        let (port, folder) = (free_port(), tempfile::tempdir().unwrap());
        let file = folder.path().join("sentinel.conf");
        let text = format!(
            "port {port}\nbind 127.0.0.1\nsentinel monitor main 127.0.0.1 {master} 1\n\
             sentinel down-after-milliseconds main 500\nsentinel failover-timeout main 2000\n"
        );
        std::fs::write(&file, text).unwrap();
        let arguments = vec![file.to_str().unwrap().to_owned(), "--sentinel".to_owned()];
        Some(Self::run(program, arguments, port, folder))
    }

    fn run(program: PathBuf, arguments: Vec<String>, port: u16, folder: tempfile::TempDir) -> Self {
        let child = spawn(&program, &arguments, folder.path());
        let server = Self { program, arguments, child, port, folder };
        until("a redis-server that listens", || TcpStream::connect(server.address()).is_ok());
        server
    }

    pub(crate) fn address(&self) -> SocketAddr {
        ([127, 0, 0, 1], self.port).into()
    }

    pub(crate) fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
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
