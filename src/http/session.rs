use std::time::{SystemTime, UNIX_EPOCH};

use arrayvec::ArrayVec;
use warp::http::header::{COOKIE, SET_COOKIE};
use warp::http::{HeaderMap, HeaderValue};

use super::client::Client;
use super::options::BasePath;
use crate::protocol::{SeatToken, SessionKey};

/// The browser session of a request. A seat belongs to it, so that its player finds the seat again after a reload and no one
/// else can take it.
#[derive(Debug)]
pub(super) struct Session {
    /// Its key in rooms.
    pub(super) key: SessionKey,
    /// Cookies to set or to remove. Empty if the browser's cookie is valid and from today.
    set_cookies: ArrayVec<HeaderValue, 2>,
}

const NAME: &str = "liap_session";
/// The name for https without a base path. Browsers take such a cookie from this host by https only, so neither another
/// subdomain nor an unencrypted connection can plant one.
const HOST_NAME: &str = "__Host-liap_session";
const DIGITS: usize = 32;
/// A month, renewed by each day's first visit.
const MAX_AGE_SECONDS: u32 = 30 * 24 * 60 * 60;
const DAY_SECONDS: u64 = 24 * 60 * 60;

/// A session cookie: its secret and, after a dot, when and how it was set. The latter only decides whether it is set again.
struct Presented<'a> {
    secret: &'a str,
    /// The day it was set, counted from 1970. Cookies of earlier versions have none.
    day: Option<u64>,
    /// Whether it was set by https.
    is_secure: bool,
    /// Whether it is bound to this host.
    is_host_bound: bool,
}

impl Session {
    /// The session of the request, or a new one.
    ///
    /// # Errors
    /// If the operating system gives no randomness.
    pub(super) fn of(headers: &HeaderMap, client: &Client, base: &BasePath) -> Result<Self, getrandom::Error> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self::on(now.as_secs() / DAY_SECONDS, headers, client, base)
    }

    /// The session as of this day.
    fn on(day: u64, headers: &HeaderMap, client: &Client, base: &BasePath) -> Result<Self, getrandom::Error> {
        let is_host_bound = client.secure && base.as_str().is_empty();
        let mut set_cookies = ArrayVec::new();
        let Some(shown) = presented(headers) else {
            let mut random = [0; 16];
            getrandom::fill(&mut random)?;
            let token = SeatToken::new(random);
            set_cookies.extend(cookie(token.reveal(), day, client, base));
            return Ok(Self { key: token.key(), set_cookies });
        };
        // A session set by https that comes by http has passed an untrusted proxy. It is not set again without `Secure`.
        let is_downgrade = shown.is_secure && !client.secure;
        let is_upgrade = client.secure && !shown.is_secure || is_host_bound && !shown.is_host_bound;
        if !is_downgrade && (is_upgrade || shown.day != Some(day)) {
            if is_host_bound && !shown.is_host_bound {
                // The old cookie would still be sent unencrypted.
                set_cookies.push(HeaderValue::from_static("liap_session=; Path=/; Max-Age=0; HttpOnly; SameSite=Lax"));
            }
            set_cookies.extend(cookie(shown.secret, day, client, base));
        }
        Ok(Self { key: SessionKey::of(shown.secret), set_cookies })
    }

    /// Adds the cookies to an answer.
    pub(super) fn keep(self, headers: &mut HeaderMap) {
        for cookie in self.set_cookies {
            headers.append(SET_COOKIE, cookie);
        }
    }
}

/// The header that sets a session cookie on this day.
fn cookie(secret: &str, day: u64, client: &Client, base: &BasePath) -> Option<HeaderValue> {
    let (name, path) = match base.as_str() {
        "" if client.secure => (HOST_NAME, "/"),
        "" => (NAME, "/"),
        path => (NAME, path),
    };
    let (mark, secure) = if client.secure { ("s", "; Secure") } else { ("", "") };
    let attributes = format!("Path={path}; Max-Age={MAX_AGE_SECONDS}; HttpOnly; SameSite=Lax{secure}");
    HeaderValue::try_from(format!("{name}={secret}.{day}{mark}; {attributes}")).ok()
}

/// The request's session cookie, if it has our form. A cookie bound to the host takes precedence.
fn presented(headers: &HeaderMap) -> Option<Presented<'_>> {
    let lines = headers.get_all(COOKIE).into_iter().filter_map(|line| line.to_str().ok());
    let cookies = lines.flat_map(|line| line.split(';')).filter_map(|cookie| cookie.trim().split_once('='));
    let sessions = cookies.filter_map(|(name, value)| {
        let is_host_bound = match name {
            HOST_NAME => true,
            NAME => false,
            _ => return None,
        };
        let (secret, given) = value.split_once('.').unwrap_or((value, ""));
        let is_ours = secret.len() == DIGITS && secret.bytes().all(|byte| byte.is_ascii_hexdigit());
        let is_secure = is_host_bound || given.ends_with('s');
        is_ours.then(|| Presented { secret, day: given.trim_end_matches('s').parse().ok(), is_secure, is_host_bound })
    });
    // Of several equal ones, the first.
    sessions.reduce(|best, other| if other.is_host_bound && !best.is_host_bound { other } else { best })
}

#[cfg(test)]
mod tests {
    use super::super::client::Peer;
    use super::*;

    const SECRET: &str = "0123456789abcdef0123456789abcdef";

    fn client(secure: bool) -> Client {
        let mut headers = HeaderMap::new();
        if secure {
            headers.insert("x-forwarded-proto", HeaderValue::from_static("https"));
        }
        let peer = Peer { address: [127, 0, 0, 1].into(), is_secure: false };
        Client::of(peer, &headers, &["127.0.0.1".parse().unwrap()])
    }

    /// The session of a request on day 100 with these cookies, and the cookies it sets.
    fn session(cookies: &str, secure: bool, base: &str) -> (SessionKey, Vec<String>) {
        let mut headers = HeaderMap::new();
        headers.insert(COOKIE, cookies.parse().unwrap());
        let session = Session::on(100, &headers, &client(secure), &base.parse().unwrap()).unwrap();
        let key = session.key;
        let mut answer = HeaderMap::new();
        session.keep(&mut answer);
        (key, answer.get_all(SET_COOKIE).iter().map(|cookie| cookie.to_str().unwrap().to_owned()).collect())
    }

    /// The cookies set for a browser with SECRET, which must stay its session.
    fn set_cookies(cookies: &str, secure: bool, base: &str) -> Vec<String> {
        let (key, set) = session(cookies, secure, base);
        assert_eq!(key, SessionKey::of(SECRET), "{cookies}");
        set
    }

    #[test]
    fn a_session_is_recognised_among_other_cookies() {
        assert_eq!(set_cookies(&format!("a=b; liap_session={SECRET}.100; c=d"), false, ""), [""; 0]);
        let other = "f".repeat(32);
        for cookies in [
            format!("liap_session={other}.100; __Host-liap_session={SECRET}.100s"),
            format!("__Host-liap_session={SECRET}.100s; liap_session={other}.100"),
        ] {
            assert_eq!(set_cookies(&cookies, true, ""), [""; 0], "a planted one does not count");
        }
    }

    #[test]
    fn a_request_without_a_session_gets_one() {
        let odd = "0123456789abcdef0123456789abcdeg";
        for cookies in ["", "liap_session=", "liap_session=short", &format!("liap_session={odd}")] {
            for (secure, base, name, attributes) in [
                (false, "", NAME, "Path=/; Max-Age=2592000; HttpOnly; SameSite=Lax"),
                (true, "", HOST_NAME, "Path=/; Max-Age=2592000; HttpOnly; SameSite=Lax; Secure"),
                (true, "/liap", NAME, "Path=/liap; Max-Age=2592000; HttpOnly; SameSite=Lax; Secure"),
            ] {
                let (key, cookies_set) = session(cookies, secure, base);
                let (pair, rest) = cookies_set[0].split_once("; ").unwrap();
                let (set, value) = pair.split_once('=').unwrap();
                assert_eq!((set, rest), (name, attributes));
                assert_eq!(key, SessionKey::of(value.split_once('.').unwrap().0));
                assert_eq!(session(pair, secure, base), (key, Vec::new()), "and sends it next time");
            }
        }
    }

    #[test]
    fn a_session_is_renewed_once_a_day() {
        let attributes = "Path=/; Max-Age=2592000; HttpOnly; SameSite=Lax";
        // Without a day: from an earlier version.
        for given in ["", ".99", ".101", ".", ".x"] {
            let renewed = format!("liap_session={SECRET}.100; {attributes}");
            assert_eq!(set_cookies(&format!("liap_session={SECRET}{given}"), false, ""), [renewed], "{given}");
        }
        let renewed = format!("__Host-liap_session={SECRET}.100s; {attributes}; Secure");
        assert_eq!(set_cookies(&format!("__Host-liap_session={SECRET}.99s"), true, ""), [renewed]);
    }

    #[test]
    fn a_session_set_by_http_becomes_secure_by_https() {
        let attributes = "Max-Age=2592000; HttpOnly; SameSite=Lax; Secure";
        let forgotten = "liap_session=; Path=/; Max-Age=0; HttpOnly; SameSite=Lax".to_owned();
        for given in ["", ".100", ".99", ".100s"] {
            let bound = format!("__Host-liap_session={SECRET}.100s; Path=/; {attributes}");
            assert_eq!(
                set_cookies(&format!("liap_session={SECRET}{given}"), true, ""),
                [forgotten.clone(), bound],
                "{given}"
            );
        }
        let secure = format!("liap_session={SECRET}.100s; Path=/liap; {attributes}");
        assert_eq!(set_cookies(&format!("liap_session={SECRET}.100"), true, "/liap"), [secure]);
        assert_eq!(set_cookies(&format!("liap_session={SECRET}.100s"), true, "/liap"), [""; 0]);
        // And never the other way round.
        for cookies in [format!("liap_session={SECRET}.99s"), format!("__Host-liap_session={SECRET}.99s")] {
            assert_eq!(set_cookies(&cookies, false, ""), [""; 0]);
        }
    }
}
