use std::time::Duration;

use serde_json::{Value, json};
use warp::reply::Response;

use super::super::answer::ok;
use super::super::error::HttpError;

use super::request::AdminRequest;
use crate::memory_reclaimer::MemoryReclaimer;
use crate::observe::{EventKind, LogLevel, ServerPhase, log_level as level, set_log_level as set_level};

/// How long a request waits for a flush of the archive.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(10);

/// `POST /admin/archive/flush`: writes every completed game to disk and sends it to the sinks now, including games that a
/// sink has refused.
pub(super) async fn flush_archive(request: AdminRequest) -> Result<Response, HttpError> {
    let archive = request.services().archive.clone().ok_or(HttpError::NotFound)?;
    archive.deliver_now();
    let flush = tokio::task::spawn_blocking(move || (archive.flush(FLUSH_TIMEOUT), archive.status().pending));
    let (flushed, pending) = flush.await.map_err(|_| HttpError::Internal)?;
    request.audit("flush_archive", json!({ "flushed": flushed }));
    ok(&json!({ "flushed": flushed, "pending": pending }))
}

/// `POST /admin/gc`: frees memory.
pub(super) async fn gc(request: AdminRequest) -> Result<Response, HttpError> {
    request.audit("gc", json!({}));
    ok(&MemoryReclaimer::new(request.services().clone()).free().await)
}

/// `GET /admin/log-level`: the least important level that is logged.
pub(super) async fn log_level() -> Result<Response, HttpError> {
    ok(&json!({ "level": level().to_string() }))
}

/// `PUT /admin/log-level`: sets another level until the server stops.
pub(super) async fn set_log_level(request: AdminRequest) -> Result<Response, HttpError> {
    const WRONG: HttpError = HttpError::BadRequest("level is off, error, warning, info, debug or trace");
    let wanted = request.body.get("level").and_then(Value::as_str).and_then(|text| text.parse::<LogLevel>().ok());
    let wanted = wanted.ok_or(WRONG)?;
    let change = json!({ "level": wanted.to_string(), "before": level().to_string() });
    set_level(wanted);
    request.audit("set_log_level", change.clone());
    ok(&change)
}

/// `GET /admin/drain`: whether new players are refused, and how many rooms are left.
pub(super) async fn drain_state(request: AdminRequest) -> Result<Response, HttpError> {
    let phase = request.state().health.phase();
    ok(&json!({
        "draining": phase == ServerPhase::Draining,
        "phase": phase.name(),
        "rooms": request.services().rooms.count(),
    }))
}

/// `POST /admin/drain`: reports the server as not ready and refuses new players, while games play on. `DELETE` undoes it.
pub(super) async fn drain(request: AdminRequest, drains: bool) -> Result<Response, HttpError> {
    let health = &request.state().health;
    let before = health.phase();
    if !health.drain(drains) {
        return Err(HttpError::NotReady);
    }
    request.services().rooms.refuse_new(drains);
    request.audit(if drains { "drain" } else { "end_drain" }, json!({}));
    if health.phase() != before {
        let kind = if drains { EventKind::DrainBegun } else { EventKind::DrainEnded };
        request.services().events.note(kind, json!({}));
    }
    drain_state(request).await
}
