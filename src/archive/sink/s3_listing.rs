//! What a bucket lists, without what is not ours.
//!
//! Others may keep anything beside the games. The client reads a name such as `games//x` as an error of the whole answer, with
//! no way past it, and one such as `games/`, which consoles make for a folder, as another name than it is. So the names that
//! no game can have are taken out of an answer before the client reads it.

use std::pin::Pin;

use object_store::ClientOptions;
use object_store::client::{
    HttpClient, HttpConnector, HttpError, HttpRequest, HttpResponse, HttpService, ReqwestConnector,
};

use super::s3::{ENDING, is_part};

/// Makes clients that see only names of games.
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
            let text = body.bytes().await?;
            Ok(HttpResponse::from_parts(parts, ours(&String::from_utf8_lossy(&text)).into()))
        })
    }
}

/// An answer without the objects that no game can be. What is not as it should be stays, for the client to judge.
fn ours(text: &str) -> String {
    let mut kept = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, object)) = rest.split_once("<Contents>") {
        let Some((object, after)) = object.split_once("</Contents>") else { break };
        kept.push_str(before);
        let key = object.split_once("<Key>").and_then(|(_, key)| key.split_once("</Key>"));
        if key.is_none_or(|(key, _)| may_be_ours(key)) {
            kept.extend(["<Contents>", object, "</Contents>"]);
        }
        rest = after;
    }
    kept.push_str(rest);
    kept
}

/// Whether a name is made as ours are, of parts that the client takes as they are.
fn may_be_ours(key: &str) -> bool {
    key.ends_with(ENDING) && key.split('/').all(is_part)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_may_be_a_game_is_left() {
        let object = |key: &str| format!("<Contents><Key>{key}</Key><Size>1</Size></Contents>");
        let list = |keys: &[&str]| {
            let objects: String = keys.iter().map(|key| object(key)).collect();
            format!("<ListBucketResult><Prefix>games/</Prefix>{objects}<KeyCount>3</KeyCount></ListBucketResult>")
        };
        let all =
            ["games/", "games//x.liap", "/y.liap", "games/2026/11/25/a.liap", "games/../c.liap", "a b.liap", "b.liap"];
        assert_eq!(ours(&list(&all)), list(&["games/2026/11/25/a.liap", "b.liap"]));
        assert_eq!(ours(&list(&[])), list(&[]));
        for odd in ["", "no list", "<Contents><Key>games/", "<Contents><Size>1</Size></Contents>"] {
            assert_eq!(ours(odd), odd);
        }
    }
}
