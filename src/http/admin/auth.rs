use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;
use tokio::sync::Semaphore;
use tokio::time::Instant;
use warp::http::HeaderMap;
use warp::http::header::AUTHORIZATION;

use super::super::RequestContext;
use super::super::error::HttpError;
use super::super::options::Secret;
use crate::limit::Key;
use crate::observe::EventKind;

/// Wrong tokens one address (IPv6: one /64) may show within [`FORGOTTEN_AFTER`]; then none of its requests is looked at
/// until that time is over.
const MOST_FAILURES: u32 = 10;
const FORGOTTEN_AFTER: Duration = Duration::from_secs(60);
const SWEEP_INTERVAL: Duration = Duration::from_secs(1);
/// Addresses whose failures are remembered. A crowd of more is treated as one ...
const MOST_ADDRESSES: usize = 10_000;
/// ... that may fail so often, or it would keep the administrator out, who is one of all those not remembered. No token is
/// found by so many tries.
const MOST_FAILURES_OF_A_CROWD: u32 = 100_000;
/// Administrators that may follow the events at once.
const FOLLOWERS: usize = 16;

/// What administrators need beside what everybody does, and what they must show.
#[derive(Debug)]
pub struct AdminAuth {
    /// The hash of the token: hashes have one length, so comparing them tells nothing of the token's.
    token: [u8; 32],
    failures: Mutex<Failures>,
    pub(super) followers: Arc<Semaphore>,
}

impl AdminAuth {
    /// A desk for whoever shows this token.
    #[must_use]
    pub fn new(token: &Secret) -> Self {
        Self {
            token: Sha256::digest(token.reveal().as_bytes()).into(),
            failures: Mutex::default(),
            followers: Arc::new(Semaphore::new(FOLLOWERS)),
        }
    }

    /// Lets a request pass that shows the token.
    pub(super) fn admit(&self, context: &RequestContext) -> Result<(), HttpError> {
        let address = Key::from_address(context.client.address);
        let now = Instant::now();
        let mut failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
        // Asked first: a right token among thousands of wrong ones is found by trying, too.
        if let Some(retry_after) = failures.refused_for(address, now) {
            return Err(HttpError::TooManyTokens { retry_after });
        }
        let Some(token) = presented(&context.headers) else {
            return Err(HttpError::NoToken);
        };
        let presented: [u8; 32] = Sha256::digest(token.as_bytes()).into();
        if presented.ct_eq(&self.token).into() {
            return Ok(());
        }
        failures.count(address, now);
        drop(failures);
        log::warn!(target: "liap::admin", "a wrong token was shown");
        log::debug!(target: "liap::admin", address:% = context.client.address; "where the wrong token came from");
        context.state.services.events.note_often(EventKind::AdminRefused, "token");
        Err(HttpError::WrongToken)
    }
}

/// The token of a request.
fn presented(headers: &HeaderMap) -> Option<&str> {
    let (scheme, token) = headers.get(AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

/// Who has shown wrong tokens lately.
#[derive(Debug, Default)]
struct Failures {
    by_address: HashMap<Key, (u32, Instant)>,
    /// When those that are over were last looked for: a crowd must not make that a work of its own.
    swept: Option<Instant>,
}

/// Stands for all addresses there is no room for.
const THE_REST: Key = Key::from_number(u64::MAX);

impl Failures {
    /// How long nothing from this address is looked at.
    fn refused_for(&self, address: Key, now: Instant) -> Option<Duration> {
        let own = self.by_address.get(&address).map(|known| (known, MOST_FAILURES));
        let crowd = || self.by_address.get(&THE_REST).map(|known| (known, MOST_FAILURES_OF_A_CROWD));
        let (&(count, since), most) = own.or_else(crowd)?;
        let left = FORGOTTEN_AFTER.checked_sub(now.duration_since(since)).filter(|left| !left.is_zero())?;
        (count >= most).then_some(left)
    }

    fn count(&mut self, address: Key, now: Instant) {
        let is_full = self.by_address.len() >= MOST_ADDRESSES;
        if is_full && self.swept.is_none_or(|swept| now.duration_since(swept) >= SWEEP_INTERVAL) {
            self.by_address.retain(|_, (_, since)| now.duration_since(*since) < FORGOTTEN_AFTER);
            self.swept = Some(now);
        }
        let has_room = self.by_address.len() < MOST_ADDRESSES || self.by_address.contains_key(&address);
        let (count, since) = self.by_address.entry(if has_room { address } else { THE_REST }).or_insert((0, now));
        if now.duration_since(*since) >= FORGOTTEN_AFTER {
            (*count, *since) = (0, now);
        }
        *count += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(value: &str) -> HeaderMap {
        HeaderMap::from_iter([(AUTHORIZATION, value.parse().unwrap())])
    }

    #[test]
    fn a_token_comes_as_a_bearer() {
        assert_eq!(presented(&headers("Bearer open-sesame")), Some("open-sesame"));
        assert_eq!(presented(&headers("bearer  open-sesame ")), Some("open-sesame"));
        assert_eq!(presented(&headers("Bearer open sesame, please")), Some("open sesame, please"));
        for wrong in ["", "open-sesame", "Basic open-sesame", "Bearer"] {
            assert_eq!(presented(&headers(wrong)), None, "{wrong}");
        }
        assert_eq!(presented(&HeaderMap::new()), None);
    }

    #[test]
    fn who_tries_too_often_waits_and_disturbs_nobody_else() {
        let (mut failures, begun) = (Failures::default(), Instant::now());
        let (one, other) = (Key::from_number(1), Key::from_number(2));
        for _ in 0..MOST_FAILURES {
            assert_eq!(failures.refused_for(one, begun), None);
            failures.count(one, begun);
        }
        assert_eq!(failures.refused_for(one, begun), Some(FORGOTTEN_AFTER));
        assert_eq!(failures.refused_for(other, begun), None);
        let later = begun + FORGOTTEN_AFTER;
        assert_eq!(failures.refused_for(one, later), None);
        failures.count(one, later);
        assert_eq!(failures.refused_for(one, later), None, "it begins anew");
    }

    #[test]
    fn a_crowd_of_addresses_takes_no_more_memory() {
        let (mut failures, begun) = (Failures::default(), Instant::now());
        for number in 0..2 * MOST_ADDRESSES as u64 {
            failures.count(Key::from_number(number), begun);
        }
        assert!(failures.by_address.len() <= MOST_ADDRESSES + 1);
        let administrator = Key::from_number(123_456);
        assert_eq!(failures.refused_for(administrator, begun), None, "a crowd does not keep him out");
        for number in 0..u64::from(MOST_FAILURES_OF_A_CROWD) {
            failures.count(Key::from_number(1_000_000 + number), begun);
        }
        assert!(failures.refused_for(administrator, begun).is_some(), "but it does not try for ever");
        failures.count(Key::from_number(1), begun + FORGOTTEN_AFTER);
        assert_eq!(failures.by_address.len(), 1);
    }
}
