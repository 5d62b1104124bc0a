use std::time::Duration;

use serde_json::{Map, Value, json};
use warp::http::StatusCode;
use warp::reply::Response;

use super::super::RequestContext;
use super::super::error::HttpError;
use super::super::ops::answer;
use super::audit;
use crate::memory_reclaimer::MemoryReclaimer;
use crate::observe::{EventKind, LogLevel, ServerPhase, log_level as level, set_log_level as set_level};

/// The longest time a flush of the archive is waited for.
const FLUSH_PATIENCE: Duration = Duration::from_secs(10);

/// `POST /admin/archive/flush`: every completed game goes to the disk now, and sinks are tried again, with what they refused.
pub(super) async fn flush_archive(context: &RequestContext) -> Result<Response, HttpError> {
    let archive = context.state.services.archive.clone().ok_or(HttpError::NotFound)?;
    // And sinks are not left to their pauses.
    archive.deliver_now();
    let flush = tokio::task::spawn_blocking(move || (archive.flush(FLUSH_PATIENCE), archive.status().pending));
    let (flushed, pending) = flush.await.map_err(|_| HttpError::Internal)?;
    audit(context, "flush_archive", json!({ "flushed": flushed }));
    Ok(answer(StatusCode::OK, &json!({ "flushed": flushed, "pending": pending })))
}

/// `POST /admin/gc`: gives memory back.
pub(super) async fn gc(context: &RequestContext) -> Result<Response, HttpError> {
    audit(context, "gc", json!({}));
    let freed = MemoryReclaimer::new(context.state.services.clone()).free().await;
    Ok(answer(StatusCode::OK, &json!(freed)))
}

/// `GET /admin/log-level`: the least important level that is logged.
pub(super) fn log_level() -> Response {
    answer(StatusCode::OK, &json!({ "level": level().to_string() }))
}

/// `PUT /admin/log-level`: another level, until the server stops.
pub(super) fn set_log_level(context: &RequestContext, body: &Map<String, Value>) -> Result<Response, HttpError> {
    const WRONG: HttpError = HttpError::BadRequest("level is off, error, warning, info, debug or trace");
    let wanted: LogLevel = body.get("level").and_then(Value::as_str).and_then(|text| text.parse().ok()).ok_or(WRONG)?;
    let before = level();
    set_level(wanted);
    audit(context, "set_log_level", json!({ "level": wanted.to_string(), "before": before.to_string() }));
    Ok(answer(StatusCode::OK, &json!({ "level": wanted.to_string(), "before": before.to_string() })))
}

/// `GET /admin/drain`: whether newcomers are refused, and how much still goes on.
pub(super) fn drain_state(context: &RequestContext) -> Response {
    let phase = context.state.health.phase();
    let rooms = context.state.services.rooms.count();
    let state = json!({
        "draining": phase == ServerPhase::Draining,
        "phase": phase.name(),
        "rooms": { "waiting": rooms.waiting, "playing": rooms.playing, "over": rooms.over },
    });
    answer(StatusCode::OK, &state)
}

/// `POST /admin/drain`: the server says that it is not ready, takes nobody new, and games play on. `DELETE` is the way
/// back.
pub(super) fn drain(context: &RequestContext, drains: bool) -> Result<Response, HttpError> {
    let was = context.state.health.phase();
    if !context.state.health.drain(drains) {
        return Err(HttpError::NotReady);
    }
    context.state.services.rooms.refuse_new(drains);
    audit(context, if drains { "drain" } else { "end_drain" }, json!({}));
    if context.state.health.phase() != was {
        let kind = if drains { EventKind::DrainBegun } else { EventKind::DrainEnded };
        context.state.services.events.note(kind, json!({}));
    }
    Ok(drain_state(context))
}
