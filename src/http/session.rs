use warp::http::header::COOKIE;
use warp::http::{HeaderMap, HeaderValue};

use super::client::Client;
use super::options::BasePath;
use crate::protocol::{SeatToken, SessionKey};

/// The browser session of a request. A seat belongs to it, so that its holder finds it again after a reload and
/// nobody else can take it.
#[derive(Debug)]
pub(super) struct Session {
    /// What rooms know of it.
    pub(super) key: SessionKey,
    /// The header that tells a browser without a session to keep this one.
    pub(super) set_cookie: Option<HeaderValue>,
}

const NAME: &str = "liap_session";
const DIGITS: usize = 32;
/// A month: long enough for a seat to be found again after the computer was off.
const MAX_AGE_SECONDS: u32 = 30 * 24 * 60 * 60;

impl Session {
    /// The session the request came with or, if it has none, one it gets now.
    ///
    /// # Errors
    /// When the operating system has no randomness to give.
    pub(super) fn of(headers: &HeaderMap, client: &Client, base: &BasePath) -> Result<Self, getrandom::Error> {
        if let Some(value) = presented(headers) {
            return Ok(Self { key: SessionKey::of(value), set_cookie: None });
        }
        let mut random = [0; 16];
        getrandom::fill(&mut random)?;
        let token = SeatToken::new(random);
        let path = if base.as_str().is_empty() { "/" } else { base.as_str() };
        let secure = if client.secure { "; Secure" } else { "" };
        let cookie = format!(
            "{NAME}={}; Path={path}; Max-Age={MAX_AGE_SECONDS}; HttpOnly; SameSite=Lax{secure}",
            token.reveal()
        );
        Ok(Self { key: token.key(), set_cookie: HeaderValue::try_from(cookie).ok() })
    }
}

/// The session's secret, if the request shows one that has our form.
fn presented(headers: &HeaderMap) -> Option<&str> {
    let lines = headers.get_all(COOKIE).into_iter().filter_map(|line| line.to_str().ok());
    lines.flat_map(|line| line.split(';')).find_map(|cookie| {
        let (name, value) = cookie.trim().split_once('=')?;
        let fits = name == NAME && value.len() == DIGITS && value.bytes().all(|byte| byte.is_ascii_hexdigit());
        fits.then_some(value)
    })
}

#[cfg(test)]
mod tests {
    use super::super::client::Peer;
    use super::*;

    fn client(secure: bool) -> Client {
        let mut headers = HeaderMap::new();
        if secure {
            headers.insert("x-forwarded-proto", HeaderValue::from_static("https"));
        }
        let peer = Peer { address: ([127, 0, 0, 1], 5).into(), is_secure: false };
        Client::of(peer, &headers, &["127.0.0.1".parse().unwrap()])
    }

    fn session(cookie: &str, secure: bool, base: &str) -> Session {
        let mut headers = HeaderMap::new();
        headers.insert(COOKIE, cookie.parse().unwrap());
        Session::of(&headers, &client(secure), &base.parse().unwrap()).unwrap()
    }

    #[test]
    fn a_session_is_recognised_among_other_cookies() {
        let secret = "0123456789abcdef0123456789abcdef";
        let session = session(&format!("a=b; liap_session={secret}; c=d"), false, "");
        assert_eq!(session.key, SessionKey::of(secret));
        assert!(session.set_cookie.is_none());
    }

    #[test]
    fn whoever_has_none_gets_one() {
        for cookie in ["", "liap_session=", "liap_session=short", "liap_session=0123456789abcdef0123456789abcdeg"] {
            let session = session(cookie, false, "");
            let set = session.set_cookie.unwrap();
            let (value, attributes) = set.to_str().unwrap().split_once(';').unwrap();
            let value = value.strip_prefix("liap_session=").unwrap();
            assert_eq!(session.key, SessionKey::of(value));
            assert_eq!(attributes, " Path=/; Max-Age=2592000; HttpOnly; SameSite=Lax");
            assert!(presented(&HeaderMap::from_iter([(COOKIE, set.clone())])).is_some(), "and shows it next time");
        }
        let behind_https = session("", true, "/liap");
        let set = behind_https.set_cookie.unwrap();
        assert!(set.to_str().unwrap().ends_with("Path=/liap; Max-Age=2592000; HttpOnly; SameSite=Lax; Secure"));
    }
}
