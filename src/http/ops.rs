use serde_json::json;
use warp::http::StatusCode;
use warp::reply::{Reply as _, Response};

use super::RequestContext;
use crate::observe::{HealthStatus, ServerPhase};

/// `/health` and `/api/health`: everything that can be unwell, each with its figures. 503 when games cannot go on
/// or would be lost.
pub(super) async fn health(context: RequestContext) -> Response {
    let report = context.state.health.report().await;
    let status = match report.status {
        HealthStatus::Healthy | HealthStatus::Degraded => StatusCode::OK,
        HealthStatus::Unhealthy => StatusCode::SERVICE_UNAVAILABLE,
    };
    answer(status, &report)
}

/// `/health/live`: the process answers. Whoever restarts on failure asks this.
pub(super) fn live() -> Response {
    answer(StatusCode::OK, &json!({ "status": "alive" }))
}

/// `/health/ready`: newcomers are welcome. Whoever balances load asks this.
pub(super) fn ready(context: RequestContext) -> Response {
    let phase = context.state.health.phase();
    let status = if phase == ServerPhase::Ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    answer(status, &json!({ "status": phase.name() }))
}

/// JSON that is true now and must not be kept.
pub(super) fn answer(status: StatusCode, body: &impl serde::Serialize) -> Response {
    let reply = warp::reply::with_status(warp::reply::json(body), status);
    warp::reply::with_header(reply, "cache-control", "no-store").into_response()
}
