//! The one place that opens, wires, starts and stops everything.

use std::future::ready;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::Instant;

use crate::config::Config;
use crate::http::{self, Door};
use crate::limit::{self, Kind, Limiter};
use crate::observe::{self, Check, Health, HealthOptions, LogHandle, Metrics, ServerPhase};
use crate::room::{self, Journal, JournalOptions, Recovered, Rooms};

/// Why the server does not start.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// The address cannot be listened on.
    #[error("cannot listen on {address}: {error}; is another server running there? PORT chooses another port")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// Why not.
        error: io::Error,
    },
    /// Another web client is to be served and is not there.
    #[error(transparent)]
    StaticDir(#[from] http::StaticDirError),
    /// Live games cannot be kept.
    #[error(transparent)]
    Journal(#[from] room::JournalError),
    /// The log cannot be opened.
    #[error(transparent)]
    Log(#[from] observe::LogError),
    /// The system refuses threads, signals or the like.
    #[error("the system refuses what the server needs: {0}")]
    System(#[from] io::Error),
}

/// How often the buckets of the gone are forgotten.
const SWEEP_INTERVAL: Duration = Duration::from_secs(60);
/// Threads for what may block: files, the archive, bots that think. They come and go with the work.
const BLOCKING_THREADS: usize = 32;
/// Our own work needs little; the rest is for libraries that unpack on the stack.
const THREAD_STACK_BYTES: usize = 1024 * 1024;

/// Runs the server until it is told to stop.
///
/// # Errors
/// [`ServerError`] if it cannot start.
pub fn run(config: Config) -> Result<(), ServerError> {
    let metrics =
        Arc::new(Metrics::new(env!("CARGO_PKG_VERSION"), &config.environment.to_string(), config.metrics.profiling));
    let log = observe::start(&config.log, metrics.log_counters())?;
    raise_file_limit();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .thread_name("liap")
        .thread_stack_size(THREAD_STACK_BYTES)
        .max_blocking_threads(BLOCKING_THREADS)
        .build()?;
    let outcome = runtime.block_on(Box::pin(serve(config, metrics, log.clone())));
    // What still runs had its time.
    runtime.shutdown_background();
    // A log that cannot be written any more is no reason to stay.
    let _written = log.flush(Duration::from_secs(1));
    outcome
}

async fn serve(config: Config, metrics: Arc<Metrics>, log: LogHandle) -> Result<(), ServerError> {
    let mut signals = Signals::listen()?;
    tokio::spawn(observe::reopen_on_hangup(log));

    let limiter = limit::open(&config.limit);
    tokio::spawn({
        let limiter = Arc::clone(&limiter);
        async move {
            let mut interval = tokio::time::interval(SWEEP_INTERVAL);
            loop {
                interval.tick().await;
                let limiter = Arc::clone(&limiter);
                // A sweep that panicked is told of by the log; the next one may do better.
                drop(tokio::task::spawn_blocking(move || limiter.sweep()).await);
            }
        }
    });

    // Found out first, because it is what goes wrong most often. Nobody is accepted before everything is there.
    let address = SocketAddr::new(config.http.host, config.http.port);
    let listener = http::listen(address).map_err(|error| ServerError::Listen { address, error })?;
    let address = listener.local_addr()?;

    let (journal, recovered) = open_journal(&config.journal, &config.data_dir)?;
    let rooms = Rooms::new(config.room, journal.clone(), Box::new(|_record| Box::pin(async {})));
    restore(&rooms, recovered, &metrics);

    let health = Arc::new(health(&config.health, &metrics, &limiter, &journal, &rooms));
    let base = config.http.base_path.clone();
    let door = Door::new(config.http, limiter, metrics, Arc::clone(&health), rooms.clone());
    let accepting = tokio::spawn(http::serve(listener, Arc::clone(&door))?);

    health.set_phase(ServerPhase::Ready);
    log::info!("listening on http://{address}{base}");
    log::info!("open http://{}{base}/ in a browser to play", for_browsers(address));

    signals.next().await;
    log::info!("stopping; a second signal leaves at once");
    let begun = Instant::now();
    health.set_phase(ServerPhase::Stopping);
    door.shut();
    let stopped = async {
        // The loop that accepts has nothing to say at its end.
        drop(accepting.await);
        let left = rooms.stop(config.shutdown_timeout).await;
        if left > 0 {
            log::warn!("{left} tables have not stopped in time");
        }
        door.clear().await;
        let closed = tokio::task::spawn_blocking(move || journal.close()).await;
        if closed.is_err() {
            log::error!("the journal was not closed");
        }
    };
    tokio::select! {
        stopped = tokio::time::timeout(config.shutdown_timeout, stopped) => match stopped {
            Ok(()) => log::info!(duration_ms = begun.elapsed().as_millis(); "stopped"),
            Err(_) => log::warn!("stopping took too long; leaving {} sockets", door.sockets().taken()),
        },
        () = signals.next() => log::warn!("leaving at once"),
    }
    Ok(())
}

/// Opens the journal of live games, if it is wanted.
fn open_journal(options: &JournalOptions, data_dir: &Path) -> Result<(Journal, Recovered), room::JournalError> {
    if options.enabled {
        Journal::open(&data_dir.join("journal"), options)
    } else {
        Ok((Journal::off(), Recovered::default()))
    }
}

/// Brings live games back, and says what does not come back.
fn restore(rooms: &Rooms, recovered: Recovered, metrics: &Metrics) {
    let found = recovered.rooms.len();
    let refused = rooms.restore(recovered.rooms);
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
    for path in recovered.set_aside {
        log::error!("a damaged file of the journal was set aside: {}", path.display());
    }
    let restored = found - refused.len();
    metrics.rooms_restored.with("restored").inc_by(restored as u64);
    metrics.rooms_restored.with("set_aside").inc_by(broken as u64);
    if restored > 0 {
        log::info!(rooms = restored; "live games are back");
    }
}

/// Everything that can be unwell.
fn health(
    options: &HealthOptions,
    metrics: &Arc<Metrics>,
    limiter: &Arc<dyn Limiter>,
    journal: &Journal,
    rooms: &Rooms,
) -> Health {
    let (limiter, journal, rooms) = (Arc::clone(limiter), journal.clone(), rooms.clone());
    Health::new(options, Arc::clone(metrics))
        .check("journal", move || ready(check_journal(&journal)))
        .check("limits", move || {
            let keys = Kind::ALL.iter().map(|kind| limiter.held(*kind)).sum::<usize>();
            ready(Check::healthy().with("keys", keys))
        })
        .check("rooms", move || ready(Check::healthy().with("rooms", rooms.len())))
}

fn check_journal(journal: &Journal) -> Check {
    let Some(status) = journal.status() else { return Check::healthy().with("enabled", false) };
    let check = if status.is_failing {
        Check::degraded("live games cannot be written down; they would not survive a crash")
    } else {
        Check::healthy()
    };
    check
        .with("enabled", true)
        .with("rooms", status.rooms)
        .with("queued", status.queued)
        .with("failures", status.failures)
        .with("file_bytes", status.file_bytes)
        .with("lag_seconds", status.lag.as_secs_f64())
}

/// The signals that stop the server.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn listen() -> io::Result<Self> {
        Ok(Self { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
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
