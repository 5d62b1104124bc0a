//! A PostgreSQL server of a test's own, a pgbouncer before it, and a bad network between.

use std::io::Write as _;
use std::net::SocketAddr;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio_postgres::{Client, NoTls};

use crate::address::own_address;

/// Longer than a server needs to start on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// The folder of PostgreSQL's programs, or nothing, which is told: then the test has not run.
pub(super) fn programs() -> Option<PathBuf> {
    let folder = std::env::var_os("LIAP_TEST_POSTGRES_BIN").map(PathBuf::from);
    assert!(folder.is_some() || std::env::var("CI").is_err(), "LIAP_TEST_POSTGRES_BIN is not set");
    if folder.is_none() {
        eprintln!("NOT RUN: LIAP_TEST_POSTGRES_BIN names no folder with PostgreSQL's programs");
    }
    folder
}

/// PostgreSQL does not run as root; then all of it belongs to nobody.
fn as_nobody(program: &Path) -> Command {
    if !is_root() {
        return Command::new(program);
    }
    let mut command = Command::new("setpriv");
    command.args(["--reuid", "65534", "--regid", "65534", "--clear-groups"]);
    // Programs that the tests have brought may lie in a folder of root's own.
    command.args(["--inh-caps", "+dac_override", "--ambient-caps", "+dac_override"]).arg(program);
    command
}

fn is_root() -> bool {
    std::fs::metadata("/proc/self").unwrap().uid() == 0
}

/// A folder for a server's files, which its user may write.
fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    if is_root() {
        std::os::unix::fs::chown(folder.path(), Some(65_534), Some(65_534)).unwrap();
    }
    std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o700)).unwrap();
    folder
}

/// Where all of them listen, each at an address of its own.
const PORT: u16 = 5_432;

fn run(command: &mut Command) -> String {
    let output = command.stdin(Stdio::null()).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{command:?}: {said}{}", String::from_utf8_lossy(&output.stderr));
    said
}

/// A running server. It is killed when dropped.
pub(super) struct Postgres {
    programs: PathBuf,
    folder: tempfile::TempDir,
    child: Option<Child>,
    pub(super) address: SocketAddr,
}

impl Postgres {
    /// Starts a server with an empty database `games` of the user `owner` with the password `pass`.
    pub(super) async fn start(programs: &Path) -> Self {
        Self::start_with(programs, "").await
    }

    /// The same with more lines for `postgresql.conf`.
    pub(super) async fn start_with(programs: &Path, settings: &str) -> Self {
        let folder = folder();
        let data = folder.path().join("data");
        run(as_nobody(Path::new("cp")).arg("-r").arg(fresh(programs)).arg(&data));
        let address = SocketAddr::from((own_address(), PORT));
        let mut conf = std::fs::OpenOptions::new().append(true).open(data.join("postgresql.conf")).unwrap();
        let host = address.ip();
        writeln!(conf, "port = {PORT}\nlisten_addresses = '{host}'\nunix_socket_directories = ''\n{settings}").unwrap();
        let mut server = Self { programs: programs.to_owned(), folder, child: None, address };
        server.launch();
        server.sql("postgres", "CREATE DATABASE games OWNER owner").await;
        server
    }

    /// Starts it again on its files.
    pub(super) fn launch(&mut self) {
        self.child = Some(self.spawn());
        let deadline = Instant::now() + PATIENCE;
        while std::net::TcpStream::connect(self.address).is_err() || !self.is_ready() {
            assert!(Instant::now() < deadline, "{}", self.log());
            std::thread::sleep(Duration::from_millis(20));
            // A server that was killed may leave children behind for a moment, and a new one does not start beside them.
            if self.child.as_mut().unwrap().try_wait().unwrap().is_some() {
                self.child = Some(self.spawn());
            }
        }
    }

    fn spawn(&self) -> Child {
        let log = std::fs::OpenOptions::new().create(true).append(true).open(self.folder.path().join("log")).unwrap();
        as_nobody(&self.programs.join("postgres"))
            .arg("-D")
            .arg(self.data())
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap()
    }

    fn is_ready(&self) -> bool {
        let mut command = Command::new(self.programs.join("pg_isready"));
        let (host, port) = (self.address.ip(), self.address.port());
        command.args(["--quiet", &format!("--host={host}"), &format!("--port={port}")]).status().unwrap().success()
    }

    /// What it has written to its log.
    pub(super) fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }

    pub(super) fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    /// Sends all its processes a signal: `-9`, `-STOP`, `-CONT`.
    pub(super) fn signal(&self, signal: &str) {
        let pid = self.child.as_ref().unwrap().id().to_string();
        // The server's children first, as long as they have a parent to be known by.
        Command::new("pkill").args([signal, "--parent", &pid]).status().unwrap();
        run(Command::new("kill").args([signal, &pid]));
    }

    /// Kills it, as a power cut would, and waits until it is gone.
    pub(super) fn kill(&mut self) {
        self.signal("-9");
        self.child.take().unwrap().wait().unwrap();
        std::fs::remove_file(self.data().join("postmaster.pid")).ok();
    }

    /// The URL of a database for somebody.
    pub(super) fn url(&self, who: &str, database: &str) -> String {
        format!("postgresql://{who}@{}/{database}", self.address)
    }

    /// A connection of its own, as the owner of everything.
    pub(super) async fn client(&self, database: &str) -> Client {
        let (client, connection) = tokio_postgres::connect(&self.url("owner:pass", database), NoTls).await.unwrap();
        tokio::spawn(connection);
        client
    }

    /// Executes statements.
    pub(super) async fn sql(&self, database: &str, statements: &str) {
        self.client(database).await.batch_execute(statements).await.unwrap();
    }

    /// The first column of the first row of an answer, as text.
    pub(super) async fn ask(&self, database: &str, question: &str) -> String {
        for message in self.client(database).await.simple_query(question).await.unwrap() {
            if let tokio_postgres::SimpleQueryMessage::Row(row) = message {
                return row.get(0).unwrap_or_default().to_owned();
            }
        }
        panic!("no answer to {question}")
    }

    /// A program of PostgreSQL's, run against a database.
    pub(super) fn program(&self, name: &str, database: &str, arguments: &[&str]) -> String {
        run(Command::new(self.programs.join(name)).arg(self.url("owner:pass", database)).args(arguments))
    }

    /// Lets it read its settings again.
    pub(super) fn reload(&self) {
        self.signal_one("-HUP");
    }

    fn signal_one(&self, signal: &str) {
        run(Command::new("kill").args([signal, &self.child.as_ref().unwrap().id().to_string()]));
    }

    /// Puts a file among its own.
    pub(super) fn file(&self, name: &str, text: &str) -> PathBuf {
        let path = self.data().join(name);
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        if is_root() {
            std::os::unix::fs::chown(&path, Some(65_534), Some(65_534)).unwrap();
        }
        path
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        if self.child.is_some() {
            self.kill();
        }
    }
}

/// The files of a server that was never started, made once.
fn fresh(programs: &Path) -> &'static Path {
    static FRESH: OnceLock<tempfile::TempDir> = OnceLock::new();
    let made = FRESH.get_or_init(|| {
        let made = folder();
        let password = made.path().join("password");
        std::fs::write(&password, "pass\n").unwrap();
        std::fs::set_permissions(&password, std::fs::Permissions::from_mode(0o644)).unwrap();
        run(as_nobody(&programs.join("initdb"))
            .args(["--username=owner", "--auth=scram-sha-256", "--encoding=UTF8", "--locale=C.UTF-8", "--no-sync"])
            .arg(format!("--pwfile={}", password.display()))
            .arg(made.path().join("data")));
        made
    });
    // A static is never dropped; the folder goes with the machine's temporary files.
    Box::leak(made.path().join("data").into_boxed_path())
}

/// A pgbouncer, by the settings that are used in production.
pub(super) struct Pgbouncer {
    child: Child,
    pub(super) address: SocketAddr,
    _folder: tempfile::TempDir,
}

impl Pgbouncer {
    /// The program, or nothing, which is told.
    pub(super) fn program() -> Option<PathBuf> {
        let program = std::env::var_os("LIAP_TEST_PGBOUNCER").map(PathBuf::from);
        assert!(program.is_some() || std::env::var("CI").is_err(), "LIAP_TEST_PGBOUNCER is not set");
        if program.is_none() {
            eprintln!("NOT RUN: LIAP_TEST_PGBOUNCER names no pgbouncer");
        }
        program
    }

    /// Starts one with so many connections to the server.
    pub(super) fn start(program: &Path, server: &Postgres, connections: usize) -> Self {
        let folder = folder();
        let address = SocketAddr::from((own_address(), PORT));
        let users = folder.path().join("users");
        let text = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("config/pgbouncer.ini")).unwrap();
        let replaced = |text: &str, from: &str, to: &str| {
            assert!(text.contains(from), "{from}");
            text.replace(from, to)
        };
        let text = replaced(
            &text,
            "liap_archive = host=postgres port=5432 dbname=liap_archive",
            &format!("games = host={} port={PORT} dbname=games", server.address.ip()),
        );
        let text = replaced(&text, "listen_addr = 0.0.0.0", &format!("listen_addr = {}", address.ip()));
        let text = replaced(&text, "listen_port = 6432", &format!("listen_port = {PORT}\nunix_socket_dir ="));
        let text = replaced(&text, "/run/secrets/pgbouncer_users", users.to_str().unwrap());
        let text = replaced(&text, "default_pool_size = 25", &format!("default_pool_size = {connections}"));
        std::fs::write(folder.path().join("ini"), text).unwrap();
        std::fs::write(&users, "\"owner\" \"pass\"\n").unwrap();
        for file in ["ini", "users"] {
            std::fs::set_permissions(folder.path().join(file), std::fs::Permissions::from_mode(0o644)).unwrap();
        }
        let log = std::fs::File::create(folder.path().join("log")).unwrap();
        let child = as_nobody(program)
            .arg(folder.path().join("ini"))
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        let bouncer = Self { child, address, _folder: folder };
        let deadline = Instant::now() + PATIENCE;
        while std::net::TcpStream::connect(address).is_err() {
            assert!(Instant::now() < deadline, "pgbouncer listens");
            std::thread::sleep(Duration::from_millis(20));
        }
        bouncer
    }
}

impl Drop for Pgbouncer {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// A network that can be slow, silent or cut.
pub(super) struct Network {
    pub(super) address: SocketAddr,
    state: tokio::sync::watch::Sender<State>,
    pub(super) bytes: std::sync::Arc<AtomicU64>,
}

/// How it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    /// Every piece takes so long.
    Delayed(Duration),
    /// Nothing comes through, and nobody is told.
    Silent,
    /// Connections break, and none is made.
    Cut,
}

impl Network {
    pub(super) async fn to(server: &Postgres) -> Self {
        let far = server.address;
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (state, watched) = tokio::sync::watch::channel(State::Delayed(Duration::ZERO));
        let bytes = std::sync::Arc::new(AtomicU64::new(0));
        let counted = bytes.clone();
        tokio::spawn(async move {
            while let Ok((near, _)) = listener.accept().await {
                if *watched.borrow() == State::Cut {
                    continue;
                }
                let (watched, counted) = (watched.clone(), counted.clone());
                tokio::spawn(async move {
                    let Ok(far) = tokio::net::TcpStream::connect(far).await else { return };
                    let (near_read, near_write) = near.into_split();
                    let (far_read, far_write) = far.into_split();
                    tokio::select! {
                        () = pass(near_read, far_write, watched.clone(), counted.clone()) => {}
                        () = pass(far_read, near_write, watched, counted) => {}
                    }
                });
            }
        });
        Self { address, state, bytes }
    }

    pub(super) fn becomes(&self, state: State) {
        self.state.send_replace(state);
    }
}

async fn pass(
    mut from: tokio::net::tcp::OwnedReadHalf,
    mut to: tokio::net::tcp::OwnedWriteHalf,
    mut watched: tokio::sync::watch::Receiver<State>,
    counted: std::sync::Arc<AtomicU64>,
) {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let mut piece = vec![0; 64 * 1024];
    loop {
        let read = tokio::select! {
            read = from.read(&mut piece) => read,
            _ = watched.wait_for(|state| *state == State::Cut) => return,
        };
        let Ok(length @ 1..) = read else { return };
        counted.fetch_add(length as u64, Ordering::Relaxed);
        let state = *watched.borrow();
        match state {
            State::Delayed(delay) => tokio::time::sleep(delay).await,
            State::Silent => {
                // Until it is something else, which may be the end.
                if watched.wait_for(|state| *state != State::Silent).await.is_err() {
                    return;
                }
            }
            State::Cut => return,
        }
        if to.write_all(&piece[..length]).await.is_err() {
            return;
        }
    }
}
