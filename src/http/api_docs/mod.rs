//! The API documents: `OpenAPI` for HTTP, `AsyncAPI` for the messages on WebSockets.
//!
//! Both are written by hand in the JSON files of this folder; repeated parts are added here once at the start.
//! `tests/it/api_docs.rs` compares them with the code and its answers.
#![expect(
    clippy::indexing_slicing,
    reason = "only our own documents are indexed, before the server accepts connections"
)]

use std::sync::Arc;

use hyper::body::Bytes;
use serde_json::{Map, Value, json};
use sha2::{Digest as _, Sha256};
use warp::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use warp::reply::Response;

use super::context::RequestContext;
use super::headers::{set, unless_known};
use super::options::BasePath;

/// Routes and answers.
const OPENAPI: &str = include_str!("openapi.json");
/// The WebSockets' channels and close codes.
const ASYNCAPI: &str = include_str!("asyncapi.json");
/// The messages by event, without their common envelope.
const MESSAGES: &str = include_str!("messages.json");
/// Routes, answers and schemas for administrators.
const ADMIN: &str = include_str!("admin.json");
/// The schemas that both documents need, ...
const ROOMS: &str = include_str!("rooms.json");
/// ... those of completed games, ...
const GAMES: &str = include_str!("games.json");
/// ... and those of a table.
const TABLE: &str = include_str!("table.json");

/// Both documents, ready to be sent.
#[derive(Debug)]
pub(super) struct ApiDocs {
    openapi: Document,
    asyncapi: Document,
}

#[derive(Debug)]
struct Document {
    text: Bytes,
    etag: String,
}

impl ApiDocs {
    /// Describes a server below this path.
    pub(super) fn new(base: &BasePath) -> Self {
        Self { openapi: Document::new(&openapi(base.as_str())), asyncapi: Document::new(&asyncapi(base.as_str())) }
    }
}

impl Document {
    fn new(document: &Value) -> Self {
        let text = document.to_string();
        let hash = Sha256::digest(&text);
        Self { etag: format!("\"{}\"", hex::encode(hash.get(..8).unwrap_or_default())), text: text.into() }
    }

    fn answer(&self, context: &RequestContext) -> Response {
        let mut response = unless_known(&context.headers, &self.etag, || {
            let mut response = Response::new(self.text.clone().into());
            set(&mut response, CONTENT_TYPE, "application/json");
            response
        });
        set(&mut response, CACHE_CONTROL, "no-cache");
        response
    }
}

/// `GET /openapi.json`.
pub(super) fn http(api_docs: Arc<ApiDocs>, context: RequestContext) -> Response {
    api_docs.openapi.answer(&context)
}

/// `GET /asyncapi.json`.
pub(super) fn sockets(api_docs: Arc<ApiDocs>, context: RequestContext) -> Response {
    api_docs.asyncapi.answer(&context)
}

fn openapi(base: &str) -> Value {
    let mut document = parse(OPENAPI);
    document["info"]["version"] = env!("CARGO_PKG_VERSION").into();
    document["servers"] = json!([{ "url": shown_at(base) }]);
    document["components"]["schemas"] = schemas(&[ROOMS, GAMES]);
    let mut admin = parse(ADMIN);
    for (_, operation) in fields(&mut admin["paths"]).flat_map(|(_, operations)| fields(operations)) {
        operation["tags"] = json!(["administration"]);
        operation["security"] = json!([{ "token": [] }]);
        // All of these read the query and the body, and check the token first.
        for (status, response) in
            [("400", "BadRequest"), ("401", "NoToken"), ("413", "TooLarge"), ("429", "TooManyTokens")]
        {
            operation["responses"][status] = json!({ "$ref": format!("#/components/responses/{response}") });
        }
    }
    for (part, whole) in
        [("paths", "/paths"), ("responses", "/components/responses"), ("schemas", "/components/schemas")]
    {
        if let (Some(Value::Object(whole)), Value::Object(part)) = (document.pointer_mut(whole), admin[part].take()) {
            whole.extend(part);
        }
    }
    for (_, response) in fields(&mut document["components"]["responses"]) {
        response["headers"]["X-Request-ID"] = json!({ "$ref": "#/components/headers/RequestId" });
    }
    document
}

fn asyncapi(base: &str) -> Value {
    let mut document = parse(ASYNCAPI);
    document["info"]["version"] = env!("CARGO_PKG_VERSION").into();
    document["servers"]["here"]["pathname"] = shown_at(base).into();
    document["components"]["schemas"] = schemas(&[ROOMS, TABLE]);
    let mut messages = parse(MESSAGES);
    for (side, operation) in [("client", "Hears"), ("server", "Says")] {
        for (event, message) in fields(&mut messages[side]) {
            // Both sides send `declare`.
            let name = format!("{side}.{event}");
            for channel in message["channels"].as_array().into_iter().flatten().filter_map(Value::as_str) {
                document["channels"][channel]["messages"][&name] =
                    json!({ "$ref": format!("#/components/messages/{name}") });
                if let Value::Array(all) = &mut document["operations"][format!("{channel}{operation}")]["messages"] {
                    all.push(json!({ "$ref": format!("#/channels/{channel}/messages/{name}") }));
                }
            }
            document["components"]["messages"][&name] = in_envelope(side, event, message);
        }
    }
    document
}

/// A message on the wire, with its `data`.
fn in_envelope(side: &str, event: &str, message: &Value) -> Value {
    let data = &message["data"];
    let mut properties = json!({ "event": { "type": "string", "const": event }, "data": data });
    let mut required = vec!["event"];
    if side == "server" || data.get("required").is_some() {
        required.push("data");
    }
    if side == "client" {
        // The existing client adds these to each of its frames; nothing depends on them.
        properties["sequence"] = json!({ "type": "integer" });
        properties["timestamp"] = json!({ "type": "number" });
        properties["id"] = json!({ "type": "string" });
    }
    let examples = message["examples"].as_array().into_iter().flatten();
    json!({
        "name": event,
        "summary": message["summary"],
        "payload": { "type": "object", "required": required, "properties": properties },
        "examples": examples.map(|data| json!({ "payload": { "event": event, "data": data } })).collect::<Vec<_>>(),
    })
}

/// The path under which clients see the server.
fn shown_at(base: &str) -> &str {
    if base.is_empty() { "/" } else { base }
}

/// All schemas of these files.
fn schemas(files: &[&str]) -> Value {
    let mut all = Map::new();
    for file in files {
        all.extend(fields(&mut parse(file)).map(|(name, schema)| (name.clone(), schema.take())));
    }
    Value::Object(all)
}

fn fields(value: &mut Value) -> impl Iterator<Item = (&String, &mut Value)> {
    value.as_object_mut().into_iter().flatten()
}

#[expect(clippy::expect_used, reason = "the files are part of the program, and a test reads them all")]
fn parse(file: &str) -> Value {
    serde_json::from_str(file).expect("our own files are JSON")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_documents_have_the_base_path() {
        assert_eq!(openapi("")["servers"], json!([{ "url": "/" }]));
        assert_eq!(openapi("/liap")["servers"], json!([{ "url": "/liap" }]));
        assert_eq!(asyncapi("/liap")["servers"]["here"]["pathname"], "/liap");
    }

    #[test]
    fn no_schema_is_defined_twice_and_every_reference_resolves() {
        let count = |files: &[&str]| files.iter().map(|file| fields(&mut parse(file)).count()).sum::<usize>();
        for (document, files) in [(openapi(""), [ROOMS, GAMES]), (asyncapi(""), [ROOMS, TABLE])] {
            assert_eq!(schemas(&files).as_object().unwrap().len(), count(&files));
            let text = document.to_string();
            for reference in text.split("\"$ref\":\"#").skip(1).map(|rest| rest.split('"').next().unwrap()) {
                assert!(document.pointer(reference).is_some(), "{reference}");
            }
        }
    }
}
