//! Buckets in Redis, shared by all servers that use it.

use std::future::ready;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::future::Either;
use redis::{Cmd, Script, Value};

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
pub struct RedisLimiter {
    local: Arc<MemoryLimiter>,
    redis: Redis,
    script: Arc<str>,
    metrics: Arc<Metrics>,
}

impl RedisLimiter {
    /// Limits shared through this Redis.
    pub fn new(options: &Options, redis: Redis, metrics: Arc<Metrics>) -> Self {
        let script = Script::new(DECIDE).get_hash().into();
        Self { local: Arc::new(MemoryLimiter::new(options)), redis, script, metrics }
    }

    /// The command of one decision, to measure what it costs by itself.
    pub fn command(&self, kind: Kind, key: Key, cost: Cost) -> Cmd {
        command("EVALSHA", &self.script, self.quota(kind), kind, key, cost)
    }
}

/// `what` is the command and `script` the script or its hash.
fn command(what: &str, script: &str, quota: Quota, kind: Kind, key: Key, cost: Cost) -> Cmd {
    let mut command = redis::cmd(what);
    let (cost, window) = times(quota, cost);
    command.arg(script).arg(1).arg(format!("liap:limit:{}:{key}", kind.name())).arg(cost).arg(window);
    command
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
        let is_local = kind == Kind::Socket;
        if is_local || !self.redis.is_up() {
            if !is_local {
                self.metrics.redis_decisions.with(RequestError::Down.into()).inc();
            }
            return Either::Left(ready(self.local.decide(kind, key, cost)));
        }
        let quota = self.quota(kind);
        let (redis, script, local, metrics) =
            (self.redis.clone(), Arc::clone(&self.script), Arc::clone(&self.local), Arc::clone(&self.metrics));
        Either::Right(Box::pin(async move {
            let begun = Instant::now();
            let by_hash = command("EVALSHA", &script, quota, kind, key, cost);
            let by_text = || command("EVAL", DECIDE, quota, kind, key, cost);
            let answer = redis.run(&by_hash, by_text).await;
            metrics.redis_seconds.observe(begun.elapsed().as_secs_f64());
            let shared = answer.and_then(|answer| verdict(answer).ok_or(RequestError::Failed));
            metrics.redis_decisions.with(shared.err().map_or("shared", Into::into)).inc();
            shared.unwrap_or_else(|_| local.decide(kind, key, cost))
        }))
    }

    fn quota(&self, kind: Kind) -> Quota {
        self.local.quota(kind)
    }

    fn sweep(&self) {
        self.local.sweep();
    }

    fn held(&self, kind: Kind) -> usize {
        self.local.held(kind)
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
