use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};
use warp::reply::Response;

use super::super::answer::ok;
use super::super::error::HttpError;

use super::request::AdminRequest;
use crate::archive::{ArchiveStatus, Health};
use crate::observe::{Labelled, Metrics, ServerPhase, log_level, resident_bytes};

/// `GET /admin/status`: all figures at once.
pub(super) async fn status(request: AdminRequest) -> Result<Response, HttpError> {
    let state = request.state();
    let health = state.health.report().await;
    let (rooms, metrics) = (state.services.rooms.clone(), &state.services.metrics);
    // Not on this thread: counting ten thousand rooms takes a moment.
    let counted = tokio::task::spawn_blocking(move || (rooms.count(), resident_bytes()));
    let (rooms, resident) = counted.await.map_err(|_| HttpError::Internal)?;
    let (kept, most) = state.services.events.kept();
    let started = metrics.process_start_time_seconds.get();
    let uptime = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64() - started;
    let status = json!({
        "version": env!("CARGO_PKG_VERSION"),
        "phase": state.health.phase().name(),
        "draining": state.health.phase() == ServerPhase::Draining,
        "uptime_seconds": uptime.max(0.0).floor(),
        "log_level": log_level().to_string(),
        "rooms": rooms,
        "sockets": { "open": state.sockets.taken(), "most": state.sockets.max },
        "connections": { "open": state.connections.taken(), "most": state.connections.max },
        "memory": { "resident_bytes": resident, "limit_bytes": metrics.memory_limit_bytes.get() },
        "process": {
            "cpu_seconds": metrics.process_cpu_seconds_total.get(),
            "open_files": metrics.process_open_fds.get(),
            "most_open_files": metrics.process_max_fds.get(),
        },
        "totals": totals(metrics),
        "events": { "newest": state.services.events.newest(), "kept": kept, "most": most },
        "health": health,
    });
    ok(&status)
}

/// Counters since the start.
fn totals(metrics: &Metrics) -> Value {
    let actions: u64 = metrics.actions.iter().map(|(_, outcomes)| sum(outcomes)).sum();
    let requests: u64 = metrics.http_requests.iter().map(|(_, classes)| sum(classes)).sum();
    json!({
        "rooms_created": metrics.rooms_created.get(),
        "rooms_closed": sum(&metrics.rooms_closed),
        "rooms_refused": sum(&metrics.rooms_refused),
        "games_started": metrics.games_started.get(),
        "games_finished": metrics.games_ended.with("finished").get(),
        "games_abandoned": metrics.games_ended.with("abandoned").get(),
        "take_overs": metrics.take_overs.get(),
        "actions": actions,
        "malformed": metrics.malformed.get(),
        "frames_received": metrics.frames_received.get(),
        "frames_sent": metrics.frames_sent.get(),
        "received_bytes": metrics.received_bytes.get(),
        "sent_bytes": metrics.sent_bytes.get(),
        "sockets_opened": metrics.sockets_opened.get(),
        "sockets_refused": sum(&metrics.sockets_refused),
        "http_requests": requests,
        "limited": sum(&metrics.limited),
        "archive_stored": metrics.archive_stored.get(),
        "archive_failures": metrics.archive_failures.get(),
        "log_dropped": metrics.log_dropped.get(),
    })
}

fn sum(counters: &Labelled<prometheus::IntCounter>) -> u64 {
    counters.iter().map(|(_, counter)| counter.get()).sum()
}

/// `GET /admin/archive`: how the archive of completed games is doing.
pub(super) async fn archive(request: AdminRequest) -> Result<Response, HttpError> {
    let Some(archive) = request.services().archive.clone() else {
        return ok(&json!({ "enabled": false }));
    };
    let status = tokio::task::spawn_blocking(move || archive.status()).await.map_err(|_| HttpError::Internal)?;
    let ArchiveStatus { store, pending, players, .. } = status;
    let failing = match &store.health {
        Health::Healthy => Value::Null,
        Health::Failing { since, error } => json!({
            "for_seconds": since.elapsed().unwrap_or(Duration::ZERO).as_secs(),
            "error": error,
        }),
    };
    let metrics = &request.services().metrics;
    let status = json!({
        "enabled": true,
        "games": store.records,
        "players": players,
        "pending": pending,
        "record_bytes": store.record_bytes,
        "waiting_bytes": store.waiting_bytes,
        "damaged_reads": store.damaged_reads,
        "unchecked": store.unchecked_records,
        "failing": failing,
        "stored_total": metrics.archive_stored.get(),
        "failures_total": metrics.archive_failures.get(),
        "removed_total": metrics.archive_removed.get(),
    });
    ok(&status)
}
