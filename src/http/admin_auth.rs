//! Administrators' tokens: checking them, and refusing guesses.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;
use tokio::sync::Semaphore;
use tokio::time::Instant;
use warp::http::HeaderMap;
use warp::http::header::AUTHORIZATION;

use super::client::Client;
use super::error::HttpError;
use super::options::Secret;
use crate::limit::Key;
use crate::observe::{EventKind, Events};

/// How many wrong tokens one address (IPv6: one /64) may send within [`FAILURES_EXPIRE_AFTER`]. After that its requests are
/// refused until that time is over.
const FAILURES_MAX: u32 = 10;
const FAILURES_EXPIRE_AFTER: Duration = Duration::from_secs(60);
const SWEEP_INTERVAL: Duration = Duration::from_secs(1);
/// How many addresses have a counter of their own. All further ones share one counter ...
const ADDRESSES_MAX: usize = 10_000;
/// ... with this bound. It is high because the administrator may be one of them; no token is found by so many tries.
const SHARED_FAILURES_MAX: u32 = 100_000;
/// How many administrators may follow the events at once.
const FOLLOWERS: usize = 16;

/// Checks administrators' tokens and bounds their event streams.
#[derive(Debug)]
pub struct AdminAuth {
    /// The hash of the token: all hashes have one length, so comparing them reveals nothing of the token's length.
    token: [u8; 32],
    failures: Mutex<Failures>,
    pub(super) followers: Arc<Semaphore>,
}

impl AdminAuth {
    /// Admits requests with this token.
    #[must_use]
    pub fn new(token: &Secret) -> Self {
        Self {
            token: Sha256::digest(token.reveal().as_bytes()).into(),
            failures: Mutex::default(),
            followers: Arc::new(Semaphore::new(FOLLOWERS)),
        }
    }

    /// Admits a request that has the token.
    ///
    /// # Errors
    /// [`HttpError`] if the token is missing or wrong, or after too many wrong ones.
    pub(super) fn admit(&self, client: &Client, headers: &HeaderMap, events: &Events) -> Result<(), HttpError> {
        let address = Key::from_address(client.address);
        let now = Instant::now();
        let mut failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
        // Before the token is compared, so that guessing stops at the bound even with the right token among the guesses.
        if let Some(retry_after) = failures.refused_for(address, now) {
            return Err(HttpError::TooManyTokens { retry_after });
        }
        let Some(token) = presented(headers) else {
            return Err(HttpError::NoToken);
        };
        let presented: [u8; 32] = Sha256::digest(token.as_bytes()).into();
        if presented.ct_eq(&self.token).into() {
            return Ok(());
        }
        failures.count(address, now);
        drop(failures);
        log::warn!(target: "liap::admin", "an administrator's token was wrong");
        log::debug!(target: "liap::admin", address:% = client.address; "address of the wrong token");
        events.note_often(EventKind::AdminRefused, "token");
        Err(HttpError::WrongToken)
    }
}

/// The token of a request.
fn presented(headers: &HeaderMap) -> Option<&str> {
    let (scheme, token) = headers.get(AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

/// Recent wrong tokens by address.
#[derive(Debug, Default)]
struct Failures {
    by_address: HashMap<Key, (u32, Instant)>,
    /// When expired counters were last removed. Bounds the work that many addresses can cause.
    swept: Option<Instant>,
}

/// The key of the shared counter.
const SHARED: Key = Key::from_number(u64::MAX);

impl Failures {
    /// How long requests of this address are still refused.
    fn refused_for(&self, address: Key, now: Instant) -> Option<Duration> {
        let own = self.by_address.get(&address).map(|known| (known, FAILURES_MAX));
        let shared = || self.by_address.get(&SHARED).map(|known| (known, SHARED_FAILURES_MAX));
        let (&(count, since), most) = own.or_else(shared)?;
        let left = FAILURES_EXPIRE_AFTER.checked_sub(now.duration_since(since)).filter(|left| !left.is_zero())?;
        (count >= most).then_some(left)
    }

    fn count(&mut self, address: Key, now: Instant) {
        let is_full = self.by_address.len() >= ADDRESSES_MAX;
        if is_full && self.swept.is_none_or(|swept| now.duration_since(swept) >= SWEEP_INTERVAL) {
            self.by_address.retain(|_, (_, since)| now.duration_since(*since) < FAILURES_EXPIRE_AFTER);
            self.swept = Some(now);
        }
        let has_room = self.by_address.len() < ADDRESSES_MAX || self.by_address.contains_key(&address);
        let (count, since) = self.by_address.entry(if has_room { address } else { SHARED }).or_insert((0, now));
        if now.duration_since(*since) >= FAILURES_EXPIRE_AFTER {
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
    fn a_token_is_read_from_a_bearer_header() {
        assert_eq!(presented(&headers("Bearer open-sesame")), Some("open-sesame"));
        assert_eq!(presented(&headers("bearer  open-sesame ")), Some("open-sesame"));
        assert_eq!(presented(&headers("Bearer open sesame, please")), Some("open sesame, please"));
        for wrong in ["", "open-sesame", "Basic open-sesame", "Bearer"] {
            assert_eq!(presented(&headers(wrong)), None, "{wrong}");
        }
        assert_eq!(presented(&HeaderMap::new()), None);
    }

    #[test]
    fn too_many_wrong_tokens_block_one_address_only() {
        let (mut failures, begun) = (Failures::default(), Instant::now());
        let (one, other) = (Key::from_number(1), Key::from_number(2));
        for _ in 0..FAILURES_MAX {
            assert_eq!(failures.refused_for(one, begun), None);
            failures.count(one, begun);
        }
        assert_eq!(failures.refused_for(one, begun), Some(FAILURES_EXPIRE_AFTER));
        assert_eq!(failures.refused_for(other, begun), None);
        let later = begun + FAILURES_EXPIRE_AFTER;
        assert_eq!(failures.refused_for(one, later), None);
        failures.count(one, later);
        assert_eq!(failures.refused_for(one, later), None, "counting begins again");
    }

    #[test]
    fn failures_of_many_addresses_take_bounded_memory() {
        let (mut failures, begun) = (Failures::default(), Instant::now());
        for number in 0..2 * ADDRESSES_MAX as u64 {
            failures.count(Key::from_number(number), begun);
        }
        assert!(failures.by_address.len() <= ADDRESSES_MAX + 1);
        let administrator = Key::from_number(123_456);
        assert_eq!(
            failures.refused_for(administrator, begun),
            None,
            "many addresses do not keep the administrator out"
        );
        for number in 0..u64::from(SHARED_FAILURES_MAX) {
            failures.count(Key::from_number(1_000_000 + number), begun);
        }
        assert!(failures.refused_for(administrator, begun).is_some(), "but their guesses are bounded");
        failures.count(Key::from_number(1), begun + FAILURES_EXPIRE_AFTER);
        assert_eq!(failures.by_address.len(), 1);
    }
}
