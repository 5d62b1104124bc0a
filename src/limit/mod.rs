//! Rate limits: how fast a player, a room, a socket or an address may go.
//!
//! Every limit is a bucket that fills at a steady rate and may be emptied at once (GCRA, the generic cell rate
//! algorithm). Ordinary play comes in bursts (a page change, a double click, the existing client's forty sockets in two
//! seconds after a lost connection) and never meets a limit; a flood meets it at once. Limits are checked before anything
//! is parsed.

mod key;
mod memory;
mod options;
mod quotas;
#[cfg(feature = "redis")]
mod redis;
mod strike_counter;

use std::fmt::Debug;
use std::future::Ready;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::{BoxFuture, Either};
use strum::IntoEnumIterator as _;

pub use key::Key;
pub use memory::MemoryLimiter;
pub use options::Options;
pub use quotas::{Cost, Kind, KindTable, Quota, Quotas};
#[cfg(feature = "redis")]
pub use redis::RedisLimiter;
pub use strike_counter::StrikeCounter;

use crate::observe::Metrics;
use crate::redis::Redis;

/// Decides whether a message or request may go on.
///
/// A limiter that shares its buckets with other processes has to ask before it can decide. It bounds that wait itself, so
/// a [`Decision`] needs no timeout.
pub trait Limiter: Debug + Send + Sync {
    /// Takes the cost from the bucket, or takes nothing and says when it would fit. A cost above the whole bucket counts
    /// as the whole bucket, so that nothing is impossible.
    fn check(&self, kind: Kind, key: Key, cost: Cost) -> Decision;

    /// The limit of this kind, for the text of a refusal.
    fn quota(&self, kind: Kind) -> Quota;

    /// Forgets the buckets that are full again. Takes milliseconds when there are many; call it from time to
    /// time, off the threads that carry moves.
    fn sweep(&self);

    /// How many buckets of this kind are kept.
    fn held(&self, kind: Kind) -> usize;

    /// How many buckets are kept.
    fn held_in_all(&self) -> usize {
        Kind::iter().map(|kind| self.held(kind)).sum()
    }
}

/// A verdict that is there already, at the price of a function call (left), or that resolves within the limiter's own bound
/// (right).
pub type Decision = Either<Ready<Verdict>, BoxFuture<'static, Verdict>>;

/// An answer of a limiter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Go on.
    Allowed,
    /// Not now.
    Denied {
        /// How long until the same would be allowed.
        retry_after: Duration,
    },
}

impl Verdict {
    /// Whether to go on.
    pub fn is_allowed(self) -> bool {
        self == Self::Allowed
    }
}

/// The limiter for these options, shared through Redis if there is one.
#[cfg_attr(not(feature = "redis"), expect(unused_variables, reason = "only Redis shares limits"))]
pub fn open(options: &Options, redis: Option<&Redis>, metrics: &Arc<Metrics>) -> Arc<dyn Limiter> {
    #[cfg(feature = "redis")]
    if let Some(redis) = redis.filter(|_| options.enabled) {
        return Arc::new(RedisLimiter::new(options, redis.clone(), Arc::clone(metrics)));
    }
    Arc::new(MemoryLimiter::new(options))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn without_limits_everything_is_allowed_and_no_bucket_is_kept() {
        let metrics = Arc::new(Metrics::new("test", "test", false));
        let limiter = open(&Options { enabled: false, ..Options::default() }, None, &metrics);
        for _ in 0..10_000 {
            assert!(limiter.check(Kind::Socket, Key::from_number(1), Cost::CreateRoom).await.is_allowed());
        }
        assert_eq!(limiter.held(Kind::Socket), 0);
    }
}
