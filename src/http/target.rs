use warp::http::header::HOST;
use warp::http::{HeaderValue, Request, Uri, Version};

use super::error::HttpError;

/// Brings a request into the form that routes expect: a path as target, and the host in `Host`.
///
/// A request through a proxy has the host in its target too (absolute form); that host counts instead of the header
/// (RFC 9112, section 3.2.2).
///
/// # Errors
/// [`HttpError::BadRequest`] if the target has no path, as in `CONNECT host:80` and `OPTIONS *`, if it is of another protocol,
/// or if a proxy could take it for a request to another host.
pub(super) fn to_origin_form<B>(request: &mut Request<B>) -> Result<(), HttpError> {
    if is_ambiguous(request) {
        return Err(HttpError::BadRequest("a request has one Host header"));
    }
    let uri = request.uri();
    let Some(path) = uri.path_and_query().filter(|path| path.path().starts_with('/')).cloned() else {
        return Err(HttpError::BadRequest("a request names the path it asks for"));
    };
    let Some(authority) = uri.authority() else { return Ok(()) };
    if !matches!(uri.scheme_str(), Some("http" | "https")) || authority.as_str().contains('@') {
        return Err(HttpError::BadRequest("the target of a request is http or https and has no user name"));
    }
    let host = HeaderValue::try_from(authority.as_str()).map_err(|_| HttpError::BadRequest("no such host"))?;
    request.headers_mut().insert(HOST, host);
    *request.uri_mut() = Uri::from(path);
    Ok(())
}

/// Whether a proxy could take the request for one to another host (RFC 9112, section 3.2). If its end is ambiguous, hyper
/// refuses it or reads nothing after it.
fn is_ambiguous<B>(request: &Request<B>) -> bool {
    match request.headers().get_all(HOST).iter().count() {
        0 => request.version() >= Version::HTTP_11,
        hosts => hosts > 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The host and the target that routes see.
    fn seen(target: &'static str) -> Option<(String, String)> {
        let mut request = Request::new(());
        request.headers_mut().insert(HOST, HeaderValue::from_static("here"));
        *request.uri_mut() = target.parse().unwrap();
        to_origin_form(&mut request).ok()?;
        Some((request.headers()[HOST].to_str().unwrap().to_owned(), request.uri().to_string()))
    }

    #[test]
    fn routes_see_a_path_and_the_host_it_is_meant_for() {
        for (target, host, path) in [
            ("/", "here", "/"),
            ("/a?b=c", "here", "/a?b=c"),
            ("//evil.com/a", "here", "//evil.com/a"),
            ("http://liap.example", "liap.example", "/"),
            ("http://liap.example:8000/api/rooms?x", "liap.example:8000", "/api/rooms?x"),
            ("https://liap.example?x", "liap.example", "/?x"),
            ("http://[::1]:80/", "[::1]:80", "/"),
        ] {
            assert_eq!(seen(target), Some((host.to_owned(), path.to_owned())), "{target}");
        }
    }

    #[test]
    fn a_target_without_a_path_or_for_another_protocol_is_refused() {
        for target in ["evil.com:80", "*", "ftp://liap.example/", "http://mira@liap.example/"] {
            assert_eq!(seen(target), None, "{target}");
        }
    }
}
