//! The one place that opens, wires, starts and stops everything.

mod completed_games;
mod data_form;
mod error;
mod listen;
mod live_games;
mod monitoring;
mod shutdown;
mod threads;

use std::io::{self, Write as _};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::json;
use tokio::runtime::Handle;

pub use data_form::{DATA_FORM, LaterData, check_data_form};
pub use error::ServerError;

use crate::config::Config;
use crate::directory;
use crate::http::{self, AdminAuth, AppState, Secret};
use crate::limit;
use crate::memory_reclaimer::MemoryReclaimer;
use crate::observe::{self, EventKind, Events, LogHandle, Metrics, ServerPhase};
use crate::redis;
use crate::room::Rooms;
use crate::services::Services;
use shutdown::Signals;

/// Runs the server until a signal stops it.
///
/// # Errors
/// [`ServerError`] if it cannot start, or if its listener fails.
pub fn run(config: Config) -> Result<(), ServerError> {
    let metrics =
        Arc::new(Metrics::new(env!("CARGO_PKG_VERSION"), &config.environment.to_string(), config.metrics.profiling));
    let started = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    metrics.process_start_time_seconds.set(started.as_secs_f64());
    let log = observe::start(&config.log, metrics.log_counters())?;
    threads::raise_file_limit();
    let runtime = threads::table_runtime()?;
    let request_thread = threads::start_request_thread()?;
    let outcome = runtime.block_on(Box::pin(serve(config, metrics, log.clone(), request_thread)));
    // Tasks that are still running have had their time.
    runtime.shutdown_background();
    // A log that cannot be written any more is no reason to stay.
    let _written = log.flush(Duration::from_secs(1));
    outcome
}

async fn serve(
    config: Config,
    metrics: Arc<Metrics>,
    log: LogHandle,
    request_thread: Handle,
) -> Result<(), ServerError> {
    let mut signals = Signals::listen()?;
    tokio::spawn(observe::reopen_on_hangup(log));

    // First, because it is what goes wrong most often. Connections are accepted only when everything is there.
    let (listener, address) = listen::listen(&request_thread, config.http.host, config.http.port)?;
    let tls = listen::open_tls(&config.http, &metrics)?;
    let (host, port) = (config.metrics.host, config.metrics.port);
    let metrics_listener = config.metrics.enabled.then(|| listen::listen(&request_thread, host, port)).transpose()?;

    let (services, refused_rooms) = open_services(&config, metrics)?;
    let archive = services.archive.as_ref();
    let control = archive.and_then(|archive| completed_games::answer_commands(archive, &request_thread));
    start_background_tasks(&services);
    let health = Arc::new(monitoring::health(&config.health, &services, refused_rooms));
    request_thread.spawn(Arc::clone(&health).watch());
    if let Some((listener, address)) = metrics_listener {
        let scrape = monitoring::scrape(services.clone(), &request_thread);
        request_thread.spawn(http::serve_metrics(listener, scrape));
        log::info!("metrics at http://{address}/metrics");
    }

    let base_path = config.http.base_path.clone();
    let has_tls = tls.is_some();
    let token = config.http.admin_token.clone().map_or_else(|| invent_token(config.log.file.is_some()), Ok)?;
    let state = AppState::new(config.http, services.clone(), Arc::clone(&health), AdminAuth::new(&token));
    let accepting = request_thread.spawn(http::serve(listener, tls, Arc::clone(&state))?);

    health.set_phase(ServerPhase::Ready);
    services.events.note(EventKind::ServerStarted, json!({ "version": env!("CARGO_PKG_VERSION") }));
    listen::log_addresses(address, has_tls, &base_path);

    // A server that cannot accept ends with an error, so that its supervisor starts it again.
    let failure = tokio::select! {
        () = signals.next() => None,
        ended = accepting => Some(ended.map_or_else(io::Error::other, |()| io::Error::other("the listener has ended"))),
    };
    if let Some(error) = &failure {
        log::error!("the listener failed: {error}");
    }
    health.set_phase(ServerPhase::Stopping);
    // Commands get no answers while the archive closes.
    drop(control);
    shutdown::stop(services, &state, config.shutdown_timeout, &mut signals).await;
    failure.map_or(Ok(()), |error| Err(error.into()))
}

/// Opens every service, and brings live games back. Returns how many of them were refused, too.
fn open_services(config: &Config, metrics: Arc<Metrics>) -> Result<(Services, usize), ServerError> {
    check_data_form(&config.data_dir)?;
    let redis = redis::open(&config.redis, &metrics)?;
    let limiter = limit::open(&config.limit, redis.as_ref(), &metrics);
    let archive = completed_games::open_archive(config, &metrics)?;
    let (journal, recovered) = live_games::open_journal(config, &metrics)?;
    let memory = observe::watch_memory(config.memory.clone(), Arc::clone(&metrics))?;
    let events = Events::new(config.room.event_buffer_size);
    let keep = completed_games::keep(archive.clone(), events.clone());
    let rooms = Rooms::new(config.room.clone(), journal.clone(), keep, Arc::clone(&metrics), events.clone());
    let refused_rooms = live_games::restore(&rooms, recovered, archive.as_ref(), &metrics, &events);
    let directory = directory::open(&config.directory, config.room.ids, &rooms, redis.as_ref(), &metrics);
    Ok((Services { metrics, events, limiter, rooms, directory, archive, journal, redis, memory }, refused_rooms))
}

fn start_background_tasks(services: &Services) {
    let memory_reclaimer = MemoryReclaimer::new(services.clone());
    tokio::spawn(memory_reclaimer.clone().sweep());
    tokio::spawn(memory_reclaimer.watch_pressure());
    tokio::spawn(services.events.clone().flush_pending());
    if let Some(archive) = services.archive.clone() {
        tokio::spawn(completed_games::watch_archive(archive, services.events.clone()));
    }
}

/// A token for an administrator who has set none. It is shown once: on standard error, which is the log unless that is a
/// file.
fn invent_token(log_is_file: bool) -> io::Result<Secret> {
    let mut random = [0; 16];
    getrandom::fill(&mut random).map_err(|error| io::Error::other(error.to_string()))?;
    let token = hex::encode(random);
    if log_is_file {
        writeln!(io::stderr(), "liap: ADMIN_TOKEN is not set; this run's is {token}")?;
    } else {
        // At any log level, because this is the only way to learn it.
        observe::log_anyway("liap::admin", format_args!("ADMIN_TOKEN is not set; this run's is {token}"), &[]);
    }
    Ok(Secret::new(token))
}
