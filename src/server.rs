//! The one place that opens, wires, starts and stops everything.

use std::future::pending;
use std::io::{self, Write as _};
use std::net::{IpAddr, SocketAddr};
use std::num::NonZero;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use serde_json::json;
use tokio::net::TcpListener;
use tokio::runtime::Handle;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{oneshot, watch};
use tokio::time::Instant;

use crate::archive::{self, Archive, ControlSocket, StoreOutcome};
use crate::config::Config;
use crate::directory::{self, Directory};
use crate::http::{self, AdminAuth, AppState, Secret, Tls};
use crate::limit::{self, Kind, Limiter};
use crate::memory_reclaimer::MemoryReclaimer;
use crate::observe::{
    self, Check, EventKind, Events, Health, HealthOptions, HealthStatus, LogHandle, MemoryLevel, MemoryState, Metrics,
    ServerPhase,
};
use crate::redis::{self, Redis};
use crate::room::{self, Journal, Keep, Recovered, Rooms};

/// Why the server does not start.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// The address cannot be listened on.
    #[error("cannot listen on {address}: {error}; {}", listen_hint(error))]
    Listen {
        /// The address.
        address: SocketAddr,
        /// Why not.
        error: io::Error,
    },
    /// Another web client is to be served and is not there.
    #[error(transparent)]
    StaticDir(#[from] http::StaticDirError),
    /// There shall be TLS, and its files cannot be used.
    #[error(transparent)]
    Tls(#[from] http::TlsError),
    /// Live games cannot be kept.
    #[error(transparent)]
    Journal(#[from] room::JournalError),
    /// Completed games cannot be kept.
    #[error("completed games cannot be kept")]
    Archive(#[from] archive::StoreError),
    /// Redis cannot be used as it is set.
    #[error(transparent)]
    Redis(#[from] redis::RedisError),
    /// Completed games cannot be copied.
    #[error("completed games cannot be copied")]
    Sink(#[from] archive::sink::OpenError),
    /// The log cannot be opened.
    #[error(transparent)]
    Log(#[from] observe::LogError),
    /// The system refuses threads, signals or the like.
    #[error("the system refuses what the server needs")]
    System(#[from] io::Error),
}

impl ServerError {
    /// Whether a setting is wrong, and trying again will not help.
    #[must_use]
    pub fn is_configuration(&self) -> bool {
        matches!(
            self,
            Self::StaticDir(_)
                | Self::Tls(_)
                | Self::Redis(_)
                | Self::Sink(_)
                | Self::Log(observe::LogError::File { .. })
        )
    }
}

/// What most likely helps.
fn listen_hint(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::AddrInUse => "`liap doctor` says who is there, PORT or METRICS_PORT chooses another port",
        io::ErrorKind::AddrNotAvailable => "HOST or METRICS_HOST must be an address of this machine",
        io::ErrorKind::PermissionDenied => "ports below 1024 are not for everybody; leave them to a proxy",
        _ => "`liap doctor` may say more",
    }
}

/// How often it is looked whether completed games can be stored.
const ARCHIVE_LOOK_INTERVAL: Duration = Duration::from_secs(2);
/// How long a completed game waits before a full archive is asked again.
const FULL_PAUSE: Duration = Duration::from_secs(1);
/// Threads for what may block: files, the archive, bots that think. They come and go with the work.
const BLOCKING_THREADS: usize = 32;
const BLOCKING_THREAD: &str = "liap-blocking";
/// Our own work needs little; the rest is for libraries that unpack on the stack.
const THREAD_STACK_BYTES: usize = 1024 * 1024;

/// Runs the server until it is told to stop.
///
/// # Errors
/// [`ServerError`] if it cannot start.
pub fn run(config: Config) -> Result<(), ServerError> {
    let metrics =
        Arc::new(Metrics::new(env!("CARGO_PKG_VERSION"), &config.environment.to_string(), config.metrics.profiling));
    let started = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    metrics.process_start_time_seconds.set(started.as_secs_f64());
    let log = observe::start(&config.log, metrics.log_counters())?;
    raise_file_limit();
    let table_threads = thread::available_parallelism().map_or(1, NonZero::get);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .thread_name_fn(thread_names(table_threads))
        .thread_stack_size(THREAD_STACK_BYTES)
        .worker_threads(table_threads)
        .max_blocking_threads(BLOCKING_THREADS)
        .build()?;
    let front = start_front()?;
    let outcome = runtime.block_on(Box::pin(serve(config, metrics, log.clone(), front)));
    // What still runs had its time.
    runtime.shutdown_background();
    // A log that cannot be written any more is no reason to stay.
    let _written = log.flush(Duration::from_secs(1));
    outcome
}

/// The threads that move tables are called `liap`, the one that answers requests `liap-http`, those that may wait for a
/// disk `liap-blocking`: whoever watches the process can tell them apart. The runtime starts the former first.
fn thread_names(table_threads: usize) -> impl Fn() -> String + Send + Sync + 'static {
    let started = AtomicUsize::new(0);
    move || {
        let is_mover = started.fetch_add(1, Ordering::Relaxed) < table_threads;
        if is_mover { "liap".to_owned() } else { BLOCKING_THREAD.to_owned() }
    }
}

/// Starts the thread that lets people in and answers requests, and keeps it as long as the process: so no flood of
/// connections holds up a move.
///
/// # Errors
/// If there can be no more threads.
fn start_front() -> io::Result<Handle> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .thread_name(BLOCKING_THREAD)
        .thread_stack_size(THREAD_STACK_BYTES)
        .max_blocking_threads(BLOCKING_THREADS)
        .build()?;
    let front = runtime.handle().clone();
    let run = move || {
        observe::lower_priority();
        runtime.block_on(pending::<()>());
    };
    thread::Builder::new().name("liap-http".to_owned()).stack_size(THREAD_STACK_BYTES).spawn(run)?;
    Ok(front)
}

async fn serve(config: Config, metrics: Arc<Metrics>, log: LogHandle, front: Handle) -> Result<(), ServerError> {
    let mut signals = Signals::listen()?;
    tokio::spawn(observe::reopen_on_hangup(log));

    // Found out first, because it is what goes wrong most often. Nobody is accepted before everything is there.
    let (listener, address) = listen(&front, config.http.host, config.http.port)?;
    let tls = open_tls(&config.http, &metrics)?;
    let scraping =
        config.metrics.enabled.then(|| listen(&front, config.metrics.host, config.metrics.port)).transpose()?;

    let redis = redis::open(&config.redis, &metrics)?;
    let limiter = limit::open(&config.limit, redis.as_ref(), &metrics);
    let archive = open_archive(&config, &metrics)?;
    let control = archive.as_ref().and_then(|archive| answer_commands(archive, &front));
    let (journal, recovered) = open_journal(&config, &metrics)?;
    let memory = observe::watch_memory(config.memory, Arc::clone(&metrics))?;
    let ids = config.room.ids;
    let events = Events::new(config.room.event_buffer_size);
    let keep = keep(archive.clone(), events.clone());
    let rooms = Rooms::new(config.room, journal.clone(), keep, Arc::clone(&metrics), events.clone());
    let broken = restore(&rooms, recovered, archive.as_ref(), &metrics, &events);
    let memory_reclaimer = MemoryReclaimer {
        rooms: rooms.clone(),
        limiter: Arc::clone(&limiter),
        archive: archive.clone(),
        metrics: Arc::clone(&metrics),
        events: events.clone(),
    };
    tokio::spawn(memory_reclaimer.clone().sweep());
    tokio::spawn(memory_reclaimer.clone().watch_pressure(memory.clone()));
    tokio::spawn(events.clone().flush_pending());
    if let Some(archive) = archive.clone() {
        tokio::spawn(watch_archive(archive, events.clone()));
    }

    let directory = directory::open(&config.directory, ids, &rooms, redis.as_ref(), &metrics);

    let house = House { limiter, redis, directory, memory, archive, journal, broken, rooms, metrics };
    let health = Arc::new(house.health(&config.health));
    front.spawn(Arc::clone(&health).watch());
    if let Some((listener, address)) = scraping {
        front.spawn(http::serve_metrics(listener, house.scrape(&front)));
        log::info!("metrics at http://{address}/metrics");
    }
    let base = config.http.base_path.clone();
    let scheme = if tls.is_some() { "https" } else { "http" };
    let House { limiter, directory, archive, journal, rooms, metrics, .. } = house;
    let token = config.http.admin_token.clone().map_or_else(|| invent_token(config.log.file.is_some()), Ok)?;
    let admin_auth = AdminAuth::new(&token, memory_reclaimer);
    let state = AppState::new(
        config.http,
        limiter,
        metrics,
        Arc::clone(&health),
        Arc::clone(&directory),
        archive.clone(),
        admin_auth,
    );
    let accepting = front.spawn(http::serve(listener, tls, Arc::clone(&state))?);

    health.set_phase(ServerPhase::Ready);
    events.note(EventKind::ServerStarted, json!({ "version": env!("CARGO_PKG_VERSION") }));
    log::info!("listening on {scheme}://{address}{base}");
    log::info!("open {scheme}://{}{base}/ in a browser to play", for_browsers(address));

    // Without its door a server is none: whoever supervises it shall start it again.
    let broken_off = tokio::select! {
        () = signals.next() => None,
        ended = accepting => Some(ended.map_or_else(io::Error::other, |()| io::Error::other("the door is shut"))),
    };
    if let Some(error) = &broken_off {
        log::error!("nobody can be let in any more: {error}");
    }
    log::info!("stopping; a second signal leaves at once");
    let begun = Instant::now();
    health.set_phase(ServerPhase::Stopping);
    events.note(EventKind::ServerStopping, json!({}));
    state.stop_accepting();
    drop(control);
    // From the outside in; each step may take a part of the time, so that one that hangs leaves some to the next.
    let patience = config.shutdown_timeout / 4;
    let stopped = async {
        directory.leave().await;
        let left = rooms.stop(patience).await;
        if left > 0 {
            log::warn!("{left} tables have not stopped in time");
        }
        if tokio::time::timeout(patience, state.close_connections()).await.is_err() {
            log::warn!("{} sockets have not closed in time", state.sockets().taken());
        }
        let flushed = tokio::task::spawn_blocking(move || {
            journal.close();
            archive.is_none_or(|archive| archive.close(patience))
        });
        if !matches!(flushed.await, Ok(true)) {
            log::error!("completed games have not reached the archive in time; the journal still has them");
        }
    };
    tokio::select! {
        stopped = tokio::time::timeout(config.shutdown_timeout, stopped) => match stopped {
            Ok(()) => log::info!(duration_ms = begun.elapsed().as_millis(); "stopped"),
            Err(_) => log::warn!("stopping took too long; leaving"),
        },
        () = signals.next() => log::warn!("leaving at once"),
    }
    broken_off.map_or(Ok(()), |error| Err(error.into()))
}

/// What health and metrics are asked about.
struct House {
    limiter: Arc<dyn Limiter>,
    redis: Option<Redis>,
    directory: Arc<dyn Directory>,
    memory: watch::Receiver<MemoryState>,
    archive: Option<Archive>,
    journal: Journal,
    /// What of the journal did not come back.
    broken: Broken,
    rooms: Rooms,
    metrics: Arc<Metrics>,
}

impl House {
    /// Everything that can be unwell.
    fn health(&self, options: &HealthOptions) -> Health {
        let (archive, journal, memory) = (self.archive.clone(), self.journal.clone(), self.memory.clone());
        let (limiter, rooms, broken) = (Arc::clone(&self.limiter), self.rooms.clone(), self.broken.clone());
        let mut health = Health::new(options, Arc::clone(&self.metrics));
        for kind in archive.iter().flat_map(Archive::sinks) {
            let archive = archive.clone();
            health = health.check(kind.name(), move || {
                archive.as_ref().map_or_else(Check::healthy, |archive| archive.check_sink(kind))
            });
        }
        let health = health
            .check("archive", move || {
                let off = || Check::healthy().with("enabled", false);
                archive.as_ref().map_or_else(off, |archive| archive.check().with("enabled", true))
            })
            .check("journal", move || check_journal(&journal, &broken))
            .check("memory", move || check_memory(*memory.borrow()))
            .check("limits", move || {
                let keys = Kind::ALL.iter().map(|kind| limiter.held(*kind)).sum::<usize>();
                Check::healthy().with("keys", keys)
            })
            .check("rooms", move || Check::healthy().with("rooms", rooms.len()));
        let health = match self.redis.clone() {
            Some(redis) => health.check("redis", move || redis.check()),
            None => health,
        };
        let directory = Arc::clone(&self.directory);
        match directory.check() {
            Some(_) => health.check("instances", move || directory.check().unwrap_or_default()),
            None => health,
        }
    }

    /// All metrics as text. What only has a value at the moment of asking is asked for then.
    fn scrape(&self, front: &Handle) -> impl Fn() -> String + Send + Sync + 'static {
        let (limiter, journal, rooms) = (Arc::clone(&self.limiter), self.journal.clone(), self.rooms.clone());
        let archive = self.archive.clone();
        let metrics = Arc::clone(&self.metrics);
        let runtimes = [Handle::current().metrics(), front.metrics()];
        move || {
            metrics.tasks.set(gauge(runtimes.iter().map(|runtime| runtime.num_alive_tasks() as u64).sum()));
            for kind in Kind::ALL {
                metrics.limit_keys.with(kind.name()).set(gauge(limiter.held(kind) as u64));
            }
            let count = rooms.count();
            metrics.rooms.with("waiting").set(gauge(count.waiting as u64));
            metrics.rooms.with("playing").set(gauge(count.playing as u64));
            metrics.rooms.with("over").set(gauge(count.over as u64));
            if let Some(status) = journal.status() {
                metrics.journal_pending.set(gauge(status.queued));
                metrics.journal_bytes.set(gauge(status.file_bytes));
                metrics.journal_lag_seconds.set(status.lag.as_secs_f64());
            }
            if let Some(archive) = &archive {
                archive.measure();
            }
            metrics.render()
        }
    }
}

fn gauge(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

fn check_memory(memory: MemoryState) -> Check {
    let check = match memory.level {
        MemoryLevel::Normal => Check::healthy(),
        MemoryLevel::Tight => Check::degraded("memory is tight"),
        MemoryLevel::Critical => Check::degraded("memory is nearly used up; new rooms are refused"),
    };
    check
        .with("used_bytes", memory.used_bytes)
        .with("limit_bytes", memory.limit_bytes)
        .with("used_percent", memory.used_percent())
}

fn listen(front: &Handle, host: IpAddr, port: u16) -> Result<(TcpListener, SocketAddr), ServerError> {
    let address = SocketAddr::new(host, port);
    // Whoever listens is woken by the runtime that this happens on.
    let _front = front.enter();
    let listener = http::listen(address).map_err(|error| ServerError::Listen { address, error })?;
    let address = listener.local_addr()?;
    Ok((listener, address))
}

/// Reads the certificate, if https is wanted, and reads it anew on every SIGHUP.
fn open_tls(options: &http::Options, metrics: &Arc<Metrics>) -> Result<Option<Arc<Tls>>, ServerError> {
    let (Some(certificate), Some(key)) = (&options.tls_cert, &options.tls_key) else { return Ok(None) };
    let tls = Tls::open(certificate, key, Arc::clone(metrics))?;
    tokio::spawn(Arc::clone(&tls).renew_on_hangup()?);
    Ok(Some(tls))
}

/// Tells when completed games cannot be stored any more, and when they can again.
async fn watch_archive(archive: Archive, events: Events) {
    let mut was_failing = false;
    let mut interval = tokio::time::interval(ARCHIVE_LOOK_INTERVAL);
    loop {
        interval.tick().await;
        let status = archive.status();
        let is_failing = matches!(status.store.health, archive::Health::Failing { .. });
        if is_failing != was_failing {
            let kind = if is_failing { EventKind::ArchiveFailing } else { EventKind::ArchiveRecovered };
            events.note(kind, json!({ "pending": status.pending }));
        }
        was_failing = is_failing;
    }
}

/// A token for administrators who have set none, said once, on standard error and nowhere else.
fn invent_token(log_is_elsewhere: bool) -> io::Result<Secret> {
    let mut random = [0; 16];
    getrandom::fill(&mut random).map_err(|error| io::Error::other(error.to_string()))?;
    let token = hex::encode(random);
    if log_is_elsewhere {
        writeln!(io::stderr(), "liap: ADMIN_TOKEN is not set; this run's is {token}")?;
    } else {
        // Without this line nobody could ever administrate.
        observe::log_anyway("liap::admin", format_args!("ADMIN_TOKEN is not set; this run's is {token}"), &[]);
    }
    Ok(Secret::new(token))
}

/// Opens the archive of completed games, if it is wanted, and begins to copy it where it shall be copied.
fn open_archive(config: &Config, metrics: &Arc<Metrics>) -> Result<Option<Archive>, ServerError> {
    if !config.archive.enabled {
        return Ok(None);
    }
    let mut options = config.archive.clone();
    if !config.journal.enabled {
        // Nothing covers a game while it waits for its group, so none may wait.
        options.flush_interval = Duration::ZERO;
    }
    let (archive, report) = Archive::open(&options.folder(&config.data_dir), &options, Arc::clone(metrics))?;
    if report.is_damaged() {
        log::error!("{report}");
    } else {
        log::info!("{report}");
    }
    let mut sinks = Vec::new();
    for kind in options.sinks() {
        let sink = archive::sink::open(kind, &options)?;
        log::info!(sink = kind.name(); "completed games are copied to {}", sink.place());
        sinks.push((kind, sink));
    }
    archive.deliver_to(sinks, &options)?;
    Ok(Some(archive))
}

/// Lets commands beside this server ask it for games. Without that they wait until it has stopped.
fn answer_commands(archive: &Archive, front: &Handle) -> Option<ControlSocket> {
    let started = ControlSocket::start(archive, front);
    started.inspect_err(|error| log::warn!("commands cannot ask this server for completed games: {error}")).ok()
}

/// Hands completed games to the archive. While its queue is full a game waits here, covered by the journal.
fn keep(archive: Option<Archive>, events: Events) -> Keep {
    Box::new(move |record| {
        let (archive, events) = (archive.clone(), events.clone());
        Box::pin(async move {
            let Some(archive) = archive else { return };
            let mut record = record;
            let game = record.game_id.to_string();
            loop {
                let (done, told) = oneshot::channel();
                let tell = move |told| {
                    // Whoever waited may be gone with his room.
                    done.send(told).ok();
                };
                if let Err(archive::QueueFull(back)) = archive.submit(record, tell) {
                    record = *back;
                    tokio::time::sleep(FULL_PAUSE).await;
                    continue;
                }
                match told.await {
                    Ok(StoreOutcome::Stored(_)) => {
                        return events.note(EventKind::ArchiveStored, json!({ "game": game }));
                    }
                    // Not on disk, and not to be forgotten: the next start, or a later version, finds it in the journal.
                    Ok(StoreOutcome::Refused | StoreOutcome::Closed) | Err(_) => return pending().await,
                }
            }
        })
    })
}

/// Opens the journal of live games, if it is wanted.
fn open_journal(config: &Config, metrics: &Arc<Metrics>) -> Result<(Journal, Recovered), room::JournalError> {
    if config.journal.enabled {
        Journal::open(&config.data_dir.join("journal"), &config.journal, Arc::clone(metrics))
    } else {
        Ok((Journal::off(), Recovered::default()))
    }
}

/// What of the journal did not come back.
#[derive(Debug, Clone)]
struct Broken {
    rooms: usize,
    set_aside: Vec<PathBuf>,
}

/// Brings live games back, and says what does not come back.
fn restore(
    rooms: &Rooms,
    recovered: Recovered,
    archive: Option<&Archive>,
    metrics: &Metrics,
    events: &Events,
) -> Broken {
    let found = recovered.rooms.len();
    let is_kept = |id| archive.is_some_and(|archive| archive.contains(id).unwrap_or(false));
    let refused = rooms.restore(recovered.rooms, is_kept);
    let broken = recovered.broken.len() + refused.len();
    for (id, reason) in recovered.broken {
        log::error!(room = id.to_string(); "a live game does not come back: {reason}");
    }
    for (id, reason) in &refused {
        log::error!(room = id.to_string(); "a live game does not come back: {reason}");
    }
    if recovered.damaged_bytes > 0 {
        log::warn!(bytes = recovered.damaged_bytes; "the end of the journal could not be read");
    }
    for path in &recovered.set_aside {
        log::error!("a damaged file of the journal was set aside: {}", path.display());
    }
    let restored = found - refused.len();
    metrics.rooms_restored.with("restored").inc_by(restored as u64);
    metrics.rooms_restored.with("set_aside").inc_by(broken as u64);
    if restored > 0 {
        log::info!(rooms = restored; "live games are back");
        events.note(EventKind::RoomsRestored, json!({ "rooms": restored, "set_aside": broken }));
    }
    Broken { rooms: broken, set_aside: recovered.set_aside }
}

fn check_journal(journal: &Journal, broken: &Broken) -> Check {
    let Some(status) = journal.status() else { return Check::healthy().with("enabled", false) };
    let mut check = status.check();
    if check.status == HealthStatus::Healthy && broken.rooms > 0 {
        check.status = HealthStatus::Degraded;
        check.message = Some(format!("{} live games did not come back after the last start", broken.rooms));
    }
    let set_aside: Vec<String> = broken.set_aside.iter().map(|path| path.display().to_string()).collect();
    check.with("enabled", true).with("set_aside", set_aside)
}

/// The signals that stop the server, and one that would and must not.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
    /// Held, not waited for: while somebody listens to it, a write beyond the largest file that the system allows is an
    /// error like any other of a disk. Otherwise it would be the end of the process.
    _file_size: Signal,
}

/// `SIGXFSZ`, which has no name in the standard library; the same number on Linux, macOS and the BSDs.
const FILE_SIZE_EXCEEDED: i32 = 25;

impl Signals {
    fn listen() -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            _file_size: signal(SignalKind::from_raw(FILE_SIZE_EXCEEDED))?,
        })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

/// Each socket is an open file, and many systems allow a process 1024 unless it asks for more.
fn raise_file_limit() {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if current == maximum {
        return;
    }
    if let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }) {
        log::warn!("no more than {} open files are allowed: {error}", current.unwrap_or(u64::MAX));
    }
}

/// An address that a browser on this machine understands.
fn for_browsers(address: SocketAddr) -> String {
    let port = address.port();
    match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => format!("localhost:{port}"),
        IpAddr::V6(ip) if ip.is_unspecified() => format!("localhost:{port}"),
        _ => address.to_string(),
    }
}
