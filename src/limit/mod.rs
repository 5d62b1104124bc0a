//! How much anybody may ask for, and how fast.
//!
//! Every limit is a bucket that fills at a steady rate and may be emptied at once (GCRA, the generic cell rate
//! algorithm): ordinary play comes in bursts (a page change, a double click, the existing client's forty
//! sockets in two seconds after a lost link) and never meets a limit, while a flood meets it at once.
//! Asked before anything is parsed; decides nothing about games.

mod key;
mod memory;
mod options;
mod quotas;
#[cfg(feature = "redis")]
mod redis;
mod strike_counter;

use std::fmt::{self, Debug};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

pub use key::Key;
pub use memory::MemoryLimiter;
pub use options::Options;
pub use quotas::{ByKind, Cost, Kind, Quota, Quotas};
#[cfg(feature = "redis")]
pub use redis::RedisLimiter;
pub use strike_counter::StrikeCounter;

use crate::observe::Metrics;
use crate::redis::Redis;

/// Decides whether somebody may go on.
///
/// A limiter that shares its buckets with other processes has to ask before it can decide. How long it may take over
/// that is bounded by itself, so whoever waits for a [`Decision`] needs no deadline of his own.
pub trait Limiter: Debug + Send + Sync {
    /// Takes the cost from the bucket, or takes nothing and says when it would fit. A cost above the whole
    /// bucket is cut to it, so that everything is possible at times.
    fn check(&self, kind: Kind, key: Key, cost: Cost) -> Decision;

    /// The limit of this kind, for those who are told about it.
    fn quota(&self, kind: Kind) -> Quota;

    /// Forgets the buckets that are full again. Takes milliseconds when there are many; call it from time to
    /// time, off the threads that carry moves.
    fn sweep(&self);

    /// How many buckets of this kind are remembered.
    fn held(&self, kind: Kind) -> usize;
}

/// A verdict that is there already, or that somebody else is being asked for.
pub enum Decision {
    /// Decided at once, at the price of a function call.
    Ready(Verdict),
    /// Resolves within the limiter's own bound.
    Pending(Pin<Box<dyn Future<Output = Verdict> + Send>>),
}

impl Future for Decision {
    type Output = Verdict;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Verdict> {
        match self.get_mut() {
            Self::Ready(verdict) => Poll::Ready(*verdict),
            Self::Pending(asked) => asked.as_mut().poll(cx),
        }
    }
}

impl Debug for Decision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ready(verdict) => f.debug_tuple("Ready").field(verdict).finish(),
            Self::Pending(_) => f.write_str("Pending"),
        }
    }
}

/// An answer of a limiter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Go on.
    Allowed {
        /// What the bucket still holds.
        remaining: u32,
    },
    /// Not now.
    Denied {
        /// How long until the same would be allowed.
        retry_after: Duration,
    },
}

impl Verdict {
    /// Whether to go on.
    pub fn is_allowed(self) -> bool {
        matches!(self, Self::Allowed { .. })
    }
}

/// The limiter these options ask for, shared through Redis if there is one.
pub fn open(options: &Options, redis: Option<&Redis>, metrics: &Arc<Metrics>) -> Arc<dyn Limiter> {
    match redis {
        _ if !options.enabled => Arc::new(Unlimited),
        None => Arc::new(MemoryLimiter::new(options)),
        Some(redis) => shared(options, redis, metrics),
    }
}

#[cfg(feature = "redis")]
fn shared(options: &Options, redis: &Redis, metrics: &Arc<Metrics>) -> Arc<dyn Limiter> {
    Arc::new(RedisLimiter::new(options, redis.clone(), Arc::clone(metrics)))
}

#[cfg(not(feature = "redis"))]
fn shared(_options: &Options, redis: &Redis, _metrics: &Arc<Metrics>) -> Arc<dyn Limiter> {
    match *redis {}
}

/// Allows everything, for load tests.
#[derive(Debug)]
struct Unlimited;

impl Limiter for Unlimited {
    fn check(&self, _kind: Kind, _key: Key, _cost: Cost) -> Decision {
        Decision::Ready(Verdict::Allowed { remaining: u32::MAX })
    }

    fn quota(&self, _kind: Kind) -> Quota {
        Quota::UNLIMITED
    }

    fn sweep(&self) {}

    fn held(&self, _kind: Kind) -> usize {
        0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn switched_off_it_allows_everything_and_remembers_nobody() {
        let metrics = Arc::new(Metrics::new("test", "test", false));
        let limiter = open(&Options { enabled: false, ..Options::default() }, None, &metrics);
        for _ in 0..10_000 {
            assert!(limiter.check(Kind::Socket, Key::from_number(1), Cost::CreateRoom).await.is_allowed());
        }
        assert_eq!(limiter.held(Kind::Socket), 0);
    }
}
