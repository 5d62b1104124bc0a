use serde_json::{Value, json};
use warp::http::StatusCode;
use warp::reply::{Reply as _, Response};

use super::RequestContext;
use crate::observe::{HealthStatus, ServerPhase};

/// `/health` and `/api/health`: everything that can be unwell, each with its figures. 503 when games cannot go on
/// or would be lost. Anybody may ask, so of files only the names are told; the log and `/admin/status` have the paths.
pub(super) async fn health(context: RequestContext) -> Response {
    let mut report = context.state.health.report().await;
    report.checks.values_mut().for_each(hide_paths);
    let status = match report.status {
        HealthStatus::Healthy | HealthStatus::Degraded => StatusCode::OK,
        HealthStatus::Unhealthy => StatusCode::SERVICE_UNAVAILABLE,
    };
    answer(status, &report)
}

/// Leaves of each path in a value its last part.
fn hide_paths(value: &mut Value) {
    match value {
        Value::String(text) if text.contains('/') => {
            let words = text.split(' ').map(|word| word.trim_end_matches('/').rsplit('/').next().unwrap_or_default());
            *text = words.collect::<Vec<_>>().join(" ");
        }
        Value::Array(values) => values.iter_mut().for_each(hide_paths),
        Value::Object(values) => values.values_mut().for_each(hide_paths),
        _ => {}
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_path_the_name_is_told() {
        let mut checks = json!({
            "archive": { "message": "kept in /var/lib/liap/damaged-1; see /srv/b: it is full", "games": 7, "ok": "a disk" },
            "journal": { "set_aside": ["/var/lib/liap/journal/0001.aside", "b"], "enabled": true },
        });
        hide_paths(&mut checks);
        let shown = json!({
            "archive": { "message": "kept in damaged-1; see b: it is full", "games": 7, "ok": "a disk" },
            "journal": { "set_aside": ["0001.aside", "b"], "enabled": true },
        });
        assert_eq!(checks, shown);
    }
}
