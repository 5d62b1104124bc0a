//! Buckets in Redis, shared by all servers that use it.

use std::future::ready;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::future::Either;
use redis::{Script, ScriptInvocation, Value};

use super::{Cost, Decision, Key, Kind, Limiter, MemoryLimiter, Options, Quota, Verdict};
use crate::observe::Metrics;
use crate::redis::{Redis, RequestError};

/// The whole decision, in one round trip and atomic between servers.
///
/// The key holds when the bucket will be full again, in microseconds by Redis's clock: the theoretical arrival time of
/// GCRA. The answer is how much time is left to the bottom of the bucket; below zero nothing was taken, and it is how
/// long to wait. A time further away than the whole bucket was written under another limit or by a clock that has gone
/// back since, and counts as an empty bucket.
const DECIDE: &str = r"
local clock = redis.call('TIME')
local now = clock[1] * 1000000 + clock[2]
local cost, window = tonumber(ARGV[1]), tonumber(ARGV[2])
local full_at = tonumber(redis.call('GET', KEYS[1]) or now) or now
full_at = math.max(now, math.min(full_at, now + window)) + cost
local left = window - (full_at - now)
if left >= 0 then
  redis.call('SET', KEYS[1], string.format('%.0f', full_at), 'PX', math.ceil((full_at - now) / 1000))
end
return left
";

/// Limits kept in Redis; while it does not answer, in the memory of this process.
///
/// A socket's own bucket is always in memory: sockets are numbered in the process, and the first check of a flood must
/// cost nothing.
#[derive(Debug)]
pub struct RedisLimiter(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    local: MemoryLimiter,
    redis: Redis,
    script: Script,
    metrics: Arc<Metrics>,
}

impl RedisLimiter {
    /// Limits shared through this Redis.
    pub fn new(options: &Options, redis: Redis, metrics: Arc<Metrics>) -> Self {
        let (local, script) = (MemoryLimiter::new(options), Script::new(DECIDE));
        Self(Arc::new(Shared { local, redis, script, metrics }))
    }

    /// The call that makes one decision, to measure what it costs by itself.
    pub fn call(&self, kind: Kind, key: Key, cost: Cost) -> ScriptInvocation<'_> {
        self.0.call(kind, key, cost)
    }
}

impl Shared {
    fn call(&self, kind: Kind, key: Key, cost: Cost) -> ScriptInvocation<'_> {
        let (cost, window) = times(self.local.quota(kind), cost);
        let mut call = self.script.key(format!("liap:limit:{}:{key}", kind.name()));
        call.arg(cost).arg(window);
        call
    }

    async fn decide(&self, kind: Kind, key: Key, cost: Cost) -> Verdict {
        let begun = Instant::now();
        let answer = self.redis.call(&self.call(kind, key, cost)).await;
        self.metrics.redis_seconds.observe(begun.elapsed().as_secs_f64());
        let shared = answer.and_then(|answer| verdict(answer).ok_or(RequestError::Failed));
        self.metrics.redis_decisions.with(shared.err().map_or("shared", Into::into)).inc();
        shared.unwrap_or_else(|_| self.local.decide(kind, key, cost))
    }
}

/// What something costs and what the whole bucket holds, in microseconds.
fn times(quota: Quota, cost: Cost) -> (u64, u64) {
    let window = quota.window.as_micros();
    let units = cost.units().min(quota.burst);
    let cost = window * u128::from(units.get()) / u128::from(quota.burst.get());
    // Windows are seconds or minutes long.
    let narrow = |number: u128| u64::try_from(number).unwrap_or(u64::MAX);
    (narrow(cost).max(1), narrow(window))
}

fn verdict(answer: Value) -> Option<Verdict> {
    let left: i64 = redis::from_redis_value(answer).ok()?;
    let retry_after = Duration::from_micros(left.unsigned_abs());
    Some(if left < 0 { Verdict::Denied { retry_after } } else { Verdict::Allowed })
}

impl Limiter for RedisLimiter {
    fn check(&self, kind: Kind, key: Key, cost: Cost) -> Decision {
        let shared = Arc::clone(&self.0);
        if kind != Kind::Socket && shared.redis.is_up() {
            return Either::Right(Box::pin(async move { shared.decide(kind, key, cost).await }));
        }
        if kind != Kind::Socket {
            shared.metrics.redis_decisions.with(RequestError::Down.into()).inc();
        }
        Either::Left(ready(shared.local.decide(kind, key, cost)))
    }

    fn quota(&self, kind: Kind) -> Quota {
        self.0.local.quota(kind)
    }

    fn sweep(&self) {
        self.0.local.sweep();
    }

    fn held(&self, kind: Kind) -> usize {
        self.0.local.held(kind)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limit::Quotas;

    #[test]
    fn costs_are_parts_of_the_window_and_never_more_than_it() {
        let quotas = Quotas::of(&Options { player_per_minute: 3, ..Options::default() });
        assert_eq!(times(quotas[Kind::Player], Cost::Ordinary), (20_000_000, 60_000_000));
        assert_eq!(times(quotas[Kind::Player], Cost::CreateRoom), (60_000_000, 60_000_000));
        let fastest = Quotas::of(&Options { room_per_second: 1_000_000, ..Options::default() });
        assert_eq!(times(fastest[Kind::Room], Cost::Ordinary), (1, 20_000_000));
    }

    #[test]
    fn a_negative_answer_is_how_long_to_wait() {
        assert_eq!(verdict(Value::Int(59_000_000)), Some(Verdict::Allowed));
        assert_eq!(verdict(Value::Int(0)), Some(Verdict::Allowed));
        let wait = Duration::from_millis(1_500);
        assert_eq!(verdict(Value::Int(-1_500_000)), Some(Verdict::Denied { retry_after: wait }));
        assert_eq!(verdict(Value::Okay), None);
    }
}
