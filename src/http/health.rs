use serde_json::Value;
use warp::http::StatusCode;
use warp::reply::Response;

use super::answer::json;
use super::context::RequestContext;
use crate::observe::{HealthStatus, ServerPhase};

/// `/health` and `/api/health`: all checks with their figures. 503 when games cannot go on or would be lost. Anyone may
/// ask, so the answer has names of files only; the log and `/admin/status` have the paths.
pub(super) async fn health(context: RequestContext) -> Response {
    let mut report = context.state.health.report().await;
    report.checks.values_mut().for_each(hide_paths);
    let status = match report.status {
        HealthStatus::Healthy | HealthStatus::Degraded => StatusCode::OK,
        HealthStatus::Unhealthy => StatusCode::SERVICE_UNAVAILABLE,
    };
    json(status, &report)
}

/// Shortens each path in a value to its last part.
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

/// `/health/live`: the process answers. For supervisors that restart on failure.
pub(super) fn live() -> Response {
    json(StatusCode::OK, &serde_json::json!({ "status": "alive" }))
}

/// `/health/ready`: the server takes new players. For load balancers.
pub(super) fn ready(context: RequestContext) -> Response {
    let phase = context.state.health.phase();
    let status = if phase == ServerPhase::Ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    json(status, &serde_json::json!({ "status": phase.name() }))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_path_is_shortened_to_its_name() {
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
