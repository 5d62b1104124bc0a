//! Lists of a bucket, without the objects of others.
//!
//! Anything may lie beside the games. For a name such as `games//x` the client refuses the whole answer, and it reads a name
//! such as `games/`, which consoles create for a folder, as another one. So names that no game can have are removed from an
//! answer before the client reads it.

use std::pin::Pin;

use object_store::ClientOptions;
use object_store::client::{
    HttpClient, HttpConnector, HttpError, HttpRequest, HttpResponse, HttpService, ReqwestConnector,
};

use quick_xml::Reader;
use quick_xml::events::Event;

/// Makes clients that see only names that a game can have.
#[derive(Debug)]
pub(super) struct Connector;

impl HttpConnector for Connector {
    fn connect(&self, options: &ClientOptions) -> object_store::Result<HttpClient> {
        Ok(HttpClient::new(Service(ReqwestConnector::default().connect(options)?)))
    }
}

#[derive(Debug)]
struct Service(HttpClient);

impl HttpService for Service {
    fn call<'a, 'b>(
        &'a self,
        request: HttpRequest,
    ) -> Pin<Box<dyn Future<Output = Result<HttpResponse, HttpError>> + Send + 'b>>
    where
        'a: 'b,
        Self: 'b,
    {
        Box::pin(async move {
            let is_list = request.uri().query().is_some_and(|query| query.split('&').any(|one| one == "list-type=2"));
            let response = self.0.execute(request).await?;
            if !is_list || !response.status().is_success() {
                return Ok(response);
            }
            let (parts, body) = response.into_parts();
            let bytes = body.bytes().await?;
            let text = String::from_utf8_lossy(&bytes);
            Ok(HttpResponse::from_parts(parts, only_games(&text).unwrap_or_else(|_| text.into_owned()).into()))
        })
    }
}

/// A list without the objects that cannot be games. A text that is no XML stays as it is, for the client to judge.
fn only_games(text: &str) -> Result<String, quick_xml::Error> {
    let mut reader = Reader::from_str(text);
    let (mut kept, mut copied) = (String::with_capacity(text.len()), 0);
    loop {
        let start = reader.buffer_position();
        match reader.read_event()? {
            Event::Start(tag) if tag.name().as_ref() == b"Contents" => {
                let object = reader.read_text(tag.name())?;
                if key(&String::from_utf8_lossy(&object)).is_some_and(|key| !may_be_game(&key)) {
                    kept.push_str(part(text, copied, start));
                    copied = reader.buffer_position();
                }
            }
            Event::Eof => {
                kept.push_str(part(text, copied, start));
                return Ok(kept);
            }
            _ => {}
        }
    }
}

fn part(text: &str, from: u64, to: u64) -> &str {
    let place = |at| usize::try_from(at).unwrap_or(usize::MAX);
    text.get(place(from)..place(to)).unwrap_or_default()
}

/// The name of a listed object.
fn key(object: &str) -> Option<String> {
    let mut reader = Reader::from_str(object);
    loop {
        match reader.read_event().ok()? {
            Event::Start(tag) if tag.name().as_ref() == b"Key" => {
                return Some(String::from_utf8_lossy(&reader.read_text(tag.name()).ok()?).into_owned());
            }
            Event::Eof => return None,
            _ => {}
        }
    }
}

/// The ending of all names.
pub(super) const ENDING: &str = ".liap";

/// Whether a name has the form of ours, and parts that the client does not change.
fn may_be_game(key: &str) -> bool {
    key.ends_with(ENDING) && key.split('/').all(is_part)
}

/// Whether this may stand between two slashes of a name of ours.
pub(super) fn is_part(part: &str) -> bool {
    !part.is_empty() && part.chars().all(is_name_char) && !part.starts_with('.')
}

/// Whether names of buckets and of parts may have this character.
pub(super) fn is_name_char(char: char) -> bool {
    char.is_ascii_alphanumeric() || "-._".contains(char)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_that_a_game_can_have_are_left() {
        let object = |key: &str| format!("<Contents><Key>{key}</Key><Size>1</Size></Contents>");
        let list = |keys: &[&str]| {
            let objects: String = keys.iter().map(|key| object(key)).collect();
            format!("<ListBucketResult><Prefix>games/</Prefix>{objects}<KeyCount>3</KeyCount></ListBucketResult>")
        };
        let all =
            ["games/", "games//x.liap", "/y.liap", "games/2026/11/25/a.liap", "games/../c.liap", "a b.liap", "b.liap"];
        assert_eq!(only_games(&list(&all)).unwrap(), list(&["games/2026/11/25/a.liap", "b.liap"]));
        assert_eq!(only_games(&list(&[])).unwrap(), list(&[]));
        for odd in ["", "no list", "<Contents><Size>1</Size></Contents>"] {
            assert_eq!(only_games(odd).unwrap(), odd);
        }
        for broken in ["<Contents><Key>games/", "<Contents></Key></Contents>"] {
            assert!(only_games(broken).is_err());
        }
    }
}
