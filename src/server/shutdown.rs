use std::io;
use std::time::Duration;

use serde_json::json;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::{Instant, timeout};

use crate::http::AppState;
use crate::observe::EventKind;
use crate::services::Services;

/// The signals that stop the server, and one that would and must not.
pub(super) struct Signals {
    terminate: Signal,
    interrupt: Signal,
    /// Held, not waited for: while this process listens to it, a write beyond the largest file that the system allows
    /// is an error like any other of a disk. Otherwise it would end the process.
    _file_size: Signal,
}

/// `SIGXFSZ`, which has no name in the standard library; the same number on Linux, macOS and the BSDs.
const FILE_SIZE_EXCEEDED: i32 = 25;

impl Signals {
    pub(super) fn listen() -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            _file_size: signal(SignalKind::from_raw(FILE_SIZE_EXCEEDED))?,
        })
    }

    /// Waits for the next request to stop.
    pub(super) async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

/// Stops everything within `limit`, or at once on a second signal.
pub(super) async fn stop(services: Services, state: &AppState, limit: Duration, signals: &mut Signals) {
    log::info!("stopping; a second signal leaves at once");
    let begun = Instant::now();
    services.events.note(EventKind::ServerStopping, json!({}));
    state.stop_accepting();
    tokio::select! {
        stopped = timeout(limit, stop_in_order(services, state, limit / 4)) => match stopped {
            Ok(()) => log::info!(duration_ms = begun.elapsed().as_millis(); "stopped"),
            Err(_) => log::warn!("stopping took too long; leaving"),
        },
        () = signals.next() => log::warn!("leaving at once"),
    }
}

/// From the outside in. Each step has its own limit, so that one that hangs leaves time for the next.
async fn stop_in_order(services: Services, state: &AppState, step_limit: Duration) {
    services.directory.leave().await;
    let running = services.rooms.stop(step_limit).await;
    if running > 0 {
        log::warn!("{running} tables have not stopped in time");
    }
    if timeout(step_limit, state.close_connections()).await.is_err() {
        log::warn!("{} sockets have not closed in time", state.sockets.taken());
    }
    let flushed = tokio::task::spawn_blocking(move || {
        services.journal.close();
        services.archive.is_none_or(|archive| archive.close(step_limit))
    });
    if !matches!(flushed.await, Ok(true)) {
        log::error!("completed games have not reached the archive in time; the journal still has them");
    }
}
