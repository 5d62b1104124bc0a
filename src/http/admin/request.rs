//! A request of an administrator: its parts, and a record of what it did.

use std::collections::HashMap;
use std::time::Duration;

use futures_util::{Stream, StreamExt as _};
use hyper::body::Buf;
use serde_json::{Map, Value, json};
use tokio::time::timeout;

use super::super::context::RequestContext;
use super::super::error::HttpError;
use super::super::state::AppState;
use crate::observe::{self, EventKind};
use crate::services::Services;

/// The longest body of a request.
const BODY_MAX_BYTES: usize = 4 * 1024;
/// How long the sender of a body may take.
const BODY_TIMEOUT: Duration = Duration::from_secs(10);

/// The parameters of a query, as they came.
pub(super) type Parameters = HashMap<String, String>;

/// A request with a valid token.
pub(super) struct AdminRequest {
    pub(super) context: RequestContext,
    /// The segment of the path that stands for `{id}`.
    pub(super) id: String,
    pub(super) parameters: Parameters,
    /// The JSON object of the body; empty without one.
    pub(super) body: Map<String, Value>,
}

impl AdminRequest {
    pub(super) fn state(&self) -> &AppState {
        &self.context.state
    }

    pub(super) fn services(&self) -> &Services {
        &self.context.state.services
    }

    /// A parameter that is a number up to `most`; `otherwise` if it is not given.
    pub(super) fn number<T>(&self, name: &str, otherwise: T, most: T, wrong: &'static str) -> Result<T, HttpError>
    where
        T: std::str::FromStr + PartialOrd,
    {
        match self.parameters.get(name).filter(|text| !text.is_empty()) {
            None => Ok(otherwise),
            Some(text) => text.parse().ok().filter(|number| *number <= most).ok_or(HttpError::BadRequest(wrong)),
        }
    }

    /// Logs what an administrator did, whatever the log level is, and adds it to the events.
    pub(super) fn audit(&self, action: &'static str, what: Value) {
        let text = what.to_string();
        let fields = [("action", action.into()), ("what", text.as_str().into())];
        observe::log_anyway("liap::admin", format_args!("an administrator has acted: {action}"), &fields);
        log::debug!(target: "liap::admin", address:% = self.context.client.address; "address of the administrator");
        let mut fields = json!({ "action": action });
        if let (Some(fields), Value::Object(what)) = (fields.as_object_mut(), what) {
            fields.extend(what);
        }
        self.services().events.note(EventKind::AdminAction, fields);
    }
}

/// Reads the body of a request: a JSON object, or nothing.
pub(super) async fn read_body(
    body: impl Stream<Item = Result<impl Buf, warp::Error>>,
) -> Result<Map<String, Value>, HttpError> {
    let mut body = std::pin::pin!(body);
    let mut bytes = Vec::new();
    let read = async {
        while let Some(chunk) = body.next().await {
            let mut chunk = chunk.map_err(|_| HttpError::BadRequest("the body cannot be read"))?;
            if bytes.len() + chunk.remaining() > BODY_MAX_BYTES {
                return Err(HttpError::TooLarge);
            }
            bytes.extend_from_slice(&chunk.copy_to_bytes(chunk.remaining()));
        }
        Ok(())
    };
    timeout(BODY_TIMEOUT, read).await.map_err(|_| HttpError::BadRequest("the body takes too long"))??;
    if bytes.is_empty() {
        return Ok(Map::new());
    }
    serde_json::from_slice(&bytes).map_err(|_| HttpError::BadRequest("the body is not a JSON object"))
}
