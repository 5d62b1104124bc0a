//! The API documents: `OpenAPI` for HTTP, `AsyncAPI` for the messages on WebSockets.
//!
//! Both are written by hand and served as they are, but for the version and the path of this server.
//! `tests/it/api_docs.rs` compares them with the code and its answers.
#![expect(
    clippy::indexing_slicing,
    reason = "only our own documents are indexed, before the server accepts connections"
)]

use hyper::body::Bytes;
use serde_json::Value;
use sha2::{Digest as _, Sha256};
use warp::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use warp::reply::Response;

use super::answer::unless_known;
use super::context::RequestContext;
use super::headers::set;

/// Routes and answers, of a server below this path.
pub(super) fn openapi(base: &str) -> Value {
    let mut document = parse(include_str!("openapi.json"));
    document["servers"][0]["url"] = shown_at(base).into();
    document
}

/// The WebSockets' channels, messages and close codes.
pub(super) fn asyncapi(base: &str) -> Value {
    let mut document = parse(include_str!("asyncapi.json"));
    document["servers"]["here"]["pathname"] = shown_at(base).into();
    document
}

/// Answers requests for a document.
pub(super) fn answer(document: &Value) -> impl Fn(RequestContext) -> Response + Clone + use<> {
    let text = Bytes::from(document.to_string());
    let hash = hex::encode(Sha256::digest(&text));
    let etag = format!("\"{hash:.16}\"");
    move |context| {
        let mut response = unless_known(&context.headers, &etag, || {
            let mut response = Response::new(text.clone().into());
            set(&mut response, CONTENT_TYPE, "application/json");
            response
        });
        set(&mut response, CACHE_CONTROL, "no-cache");
        response
    }
}

/// The path under which clients see the server.
fn shown_at(base: &str) -> &str {
    if base.is_empty() { "/" } else { base }
}

#[expect(clippy::expect_used, reason = "the files are part of the program, and a test reads them all")]
fn parse(file: &str) -> Value {
    let mut document: Value = serde_json::from_str(file).expect("our own files are JSON");
    document["info"]["version"] = env!("CARGO_PKG_VERSION").into();
    document
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::fmt;

    use serde::de::{Deserialize, Deserializer, Error, IgnoredAny, MapAccess, Visitor};

    use super::*;

    #[test]
    fn both_documents_have_the_base_path() {
        assert_eq!(openapi("")["servers"][0]["url"], "/");
        assert_eq!(openapi("/liap")["servers"][0]["url"], "/liap");
        assert_eq!(asyncapi("/liap")["servers"]["here"]["pathname"], "/liap");
    }

    #[test]
    fn every_reference_resolves_and_both_documents_mean_the_same_by_a_name() {
        let documents = [openapi(""), asyncapi("")];
        for document in &documents {
            let text = document.to_string();
            for reference in text.split("\"$ref\":\"#").skip(1).map(|rest| rest.split('"').next().unwrap()) {
                assert!(document.pointer(reference).is_some(), "{reference}");
            }
        }
        let [http, sockets] =
            documents.each_ref().map(|document| document["components"]["schemas"].as_object().unwrap());
        let shared: Vec<_> = http.keys().filter(|name| sockets.contains_key(*name)).collect();
        assert!(shared.len() > 3, "{shared:?}");
        for name in shared {
            assert_eq!(http[name], sockets[name], "{name}");
        }
    }

    /// What refers to what is checked above; this finds what is written twice, which a parser takes silently.
    #[test]
    fn no_schema_or_message_is_defined_twice() {
        for text in [include_str!("openapi.json"), include_str!("asyncapi.json")] {
            let parts: Parts = serde_json::from_str(text).unwrap();
            assert!(parts.components.values().any(|part| part.0 > 10));
        }
    }

    #[derive(serde::Deserialize)]
    struct Parts {
        components: BTreeMap<String, Distinct>,
    }

    /// How many keys an object has, each only once.
    struct Distinct(usize);

    impl<'de> Deserialize<'de> for Distinct {
        fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
            deserializer.deserialize_map(Keys)
        }
    }

    struct Keys;

    impl<'de> Visitor<'de> for Keys {
        type Value = Distinct;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("an object")
        }

        fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Distinct, A::Error> {
            let mut keys = std::collections::BTreeSet::new();
            while let Some((key, _)) = map.next_entry::<String, IgnoredAny>()? {
                if !keys.insert(key.clone()) {
                    return Err(A::Error::custom(format!("{key} is there twice")));
                }
            }
            Ok(Distinct(keys.len()))
        }
    }
}
