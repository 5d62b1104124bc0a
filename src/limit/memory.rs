//! Buckets in the memory of this process, by governor.

use std::future::ready;
use std::sync::atomic::{AtomicUsize, Ordering};

use foldhash::fast::RandomState;
use futures_util::future::Either;
use governor::clock::{Clock, DefaultClock};
use governor::middleware::NoOpMiddleware;
use governor::nanos::Nanos;
use governor::state::keyed::{DashMapStateStore, ShrinkableKeyedStateStore};
use governor::state::{InMemoryState, NotKeyed, StateStore};
use governor::{Quota as GovernorQuota, RateLimiter};
use strum::IntoEnumIterator as _;

use super::{Cost, Decision, Key, Kind, KindTable, Limiter, Options, Quota, Quotas, Verdict};

/// Limits kept in the memory of this process.
#[derive(Debug)]
pub struct MemoryLimiter<C: Clock = DefaultClock> {
    enabled: bool,
    quotas: Quotas,
    clock: C,
    limiters: KindTable<RateLimiter<Key, Buckets, C, NoOpMiddleware<C::Instant>>>,
}

impl MemoryLimiter {
    /// Limits by the clock of the machine.
    pub fn new(options: &Options) -> Self {
        Self::with_clock(options, DefaultClock::default())
    }
}

impl<C: Clock + Clone> MemoryLimiter<C> {
    /// Limits by another clock.
    pub fn with_clock(options: &Options, clock: C) -> Self {
        let quotas = Quotas::of(options);
        let limiters = quotas.transform(|_, &quota| {
            RateLimiter::new(governor_quota(quota), Buckets::new(options.max_keys), clock.clone())
        });
        Self { enabled: options.enabled, quotas, clock, limiters }
    }

    /// The verdict of [`Limiter::check`], as a plain call.
    pub fn decide(&self, kind: Kind, key: Key, cost: Cost) -> Verdict {
        if !self.enabled {
            return Verdict::Allowed;
        }
        let quota = self.quotas[kind];
        match self.limiters[kind].check_key_n(&key, cost.units().min(quota.burst)) {
            Ok(Ok(())) => Verdict::Allowed,
            Ok(Err(not_until)) => Verdict::Denied { retry_after: not_until.wait_time_from(self.clock.now()) },
            // Not reached: the cost is at most the bucket. If it were, refusing is the safe answer.
            Err(_) => Verdict::Denied { retry_after: quota.window },
        }
    }
}

impl<C> Limiter for MemoryLimiter<C>
where
    C: Clock + Clone + std::fmt::Debug + Send + Sync,
    C::Instant: std::fmt::Debug + Send + Sync,
{
    fn check(&self, kind: Kind, key: Key, cost: Cost) -> Decision {
        Either::Left(ready(self.decide(kind, key, cost)))
    }

    fn quota(&self, kind: Kind) -> Quota {
        self.quotas[kind]
    }

    fn sweep(&self) {
        for kind in Kind::iter() {
            self.limiters[kind].retain_recent();
            self.limiters[kind].shrink_to_fit();
        }
    }

    fn held(&self, kind: Kind) -> usize {
        self.limiters[kind].len()
    }
}

fn governor_quota(quota: Quota) -> GovernorQuota {
    let period = quota.window / quota.burst.get();
    // A period of nothing (billions of units a second) is as good as no limit.
    GovernorQuota::with_period(period)
        .unwrap_or_else(|| GovernorQuota::per_second(quota.burst))
        .allow_burst(quota.burst)
}

/// The buckets of one kind, bounded: while there are too many, new keys share one until the next sweep. So a crowd of
/// invented keys costs no memory, and does not disturb those already here.
#[derive(Debug)]
struct Buckets {
    by_key: DashMapStateStore<Key, RandomState>,
    /// The length of the map, which is expensive to ask for. Two threads that add one key at once count it twice, until
    /// the next sweep.
    count: AtomicUsize,
    max: usize,
    overflow: InMemoryState,
}

impl Buckets {
    fn new(max: usize) -> Self {
        Self {
            by_key: DashMapStateStore::default(),
            count: AtomicUsize::new(0),
            max,
            overflow: InMemoryState::default(),
        }
    }
}

impl StateStore for Buckets {
    type Key = Key;

    fn measure_and_replace<T, F, E>(&self, key: &Key, f: F) -> Result<T, E>
    where
        F: Fn(Option<Nanos>) -> Result<(T, Nanos), E>,
    {
        if let Some(bucket) = self.by_key.get(key) {
            return bucket.measure_and_replace(&NotKeyed::NonKey, f);
        }
        if self.count.load(Ordering::Relaxed) >= self.max {
            return self.overflow.measure_and_replace(&NotKeyed::NonKey, f);
        }
        let measured = self.by_key.measure_and_replace(key, f);
        self.count.fetch_add(1, Ordering::Relaxed);
        measured
    }
}

impl ShrinkableKeyedStateStore<Key> for Buckets {
    fn retain_recent(&self, drop_below: Nanos) {
        self.by_key.retain_recent(drop_below);
        self.count.store(self.by_key.len(), Ordering::Relaxed);
    }

    fn shrink_to_fit(&self) {
        self.by_key.shrink_to_fit();
    }

    fn len(&self) -> usize {
        self.count.load(Ordering::Relaxed)
    }

    fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use governor::clock::FakeRelativeClock;

    use super::*;

    const PLAYER: Key = Key::from_number(7);

    fn limiter(options: &Options) -> (MemoryLimiter<FakeRelativeClock>, FakeRelativeClock) {
        let clock = FakeRelativeClock::default();
        (MemoryLimiter::with_clock(options, clock.clone()), clock)
    }

    /// How often in a row a request is allowed.
    fn allowed(limiter: &MemoryLimiter<FakeRelativeClock>, kind: Kind, key: Key, cost: Cost) -> usize {
        (0..100_000).take_while(|_| limiter.decide(kind, key, cost).is_allowed()).count()
    }

    #[test]
    fn a_minute_of_messages_at_once_then_one_a_second() {
        let (limiter, clock) = limiter(&Options::default());
        assert_eq!(allowed(&limiter, Kind::Player, PLAYER, Cost::Ordinary), 60);
        assert_eq!(
            limiter.decide(Kind::Player, PLAYER, Cost::Ordinary),
            Verdict::Denied { retry_after: Duration::from_secs(1) }
        );
        clock.advance(Duration::from_secs(3));
        assert_eq!(allowed(&limiter, Kind::Player, PLAYER, Cost::Ordinary), 3);
        clock.advance(Duration::from_secs(3_600));
        assert_eq!(allowed(&limiter, Kind::Player, PLAYER, Cost::Ordinary), 60, "no more than the bucket holds");
    }

    #[test]
    fn every_kind_has_its_own_figures() {
        let (limiter, _) = limiter(&Options::default());
        for (kind, burst) in
            [(Kind::Player, 60), (Kind::Room, 200), (Kind::Socket, 30), (Kind::NewSocket, 600), (Kind::Http, 600)]
        {
            assert_eq!(allowed(&limiter, kind, PLAYER, Cost::Ordinary), burst, "{kind:?}");
            assert_eq!(limiter.quota(kind).burst.get() as usize, burst, "{kind:?}");
        }
    }

    #[test]
    fn players_have_buckets_of_their_own() {
        let (limiter, _) = limiter(&Options::default());
        assert_eq!(allowed(&limiter, Kind::Player, PLAYER, Cost::Ordinary), 60);
        assert_eq!(allowed(&limiter, Kind::Player, Key::from_number(8), Cost::Ordinary), 60);
    }

    #[test]
    fn expensive_requests_cost_more_but_are_never_impossible() {
        let (limiter, clock) = limiter(&Options { player_per_minute: 60, ..Options::default() });
        assert_eq!(allowed(&limiter, Kind::Player, PLAYER, Cost::CreateRoom), 6);
        assert_eq!(
            limiter.decide(Kind::Player, PLAYER, Cost::CreateRoom),
            Verdict::Denied { retry_after: Duration::from_secs(10) }
        );
        clock.advance(Duration::from_secs(2));
        assert_eq!(limiter.decide(Kind::Player, PLAYER, Cost::Query), Verdict::Allowed);
        assert!(!limiter.decide(Kind::Player, PLAYER, Cost::Ordinary).is_allowed(), "that was all there was");

        let (strict, _) = self::limiter(&Options { player_per_minute: 1, ..Options::default() });
        assert_eq!(allowed(&strict, Kind::Player, PLAYER, Cost::CreateRoom), 1);
    }

    /// Four players behind one address lose their connections together: protocol, "Server down / restarted".
    #[test]
    fn four_reconnection_storms_behind_one_address_pass() {
        let (limiter, clock) = limiter(&Options::default());
        let (address, room) = (Key::from_number(1), Key::from_number(2));
        for storm in 0..40 {
            for player in 0..4 {
                let socket = Key::from_number(100 + storm * 4 + player);
                for (kind, key) in [
                    (Kind::NewSocket, address),
                    (Kind::Socket, socket),
                    (Kind::Player, Key::from_number(10 + player)),
                    (Kind::Room, room),
                ] {
                    assert!(limiter.decide(kind, key, Cost::Ordinary).is_allowed(), "{kind:?} at socket {storm}");
                }
            }
            clock.advance(Duration::from_millis(50));
        }
    }

    #[test]
    fn full_buckets_are_forgotten() {
        let (limiter, clock) = limiter(&Options::default());
        for number in 0..1_000 {
            assert!(limiter.decide(Kind::Socket, Key::from_number(number), Cost::Ordinary).is_allowed());
        }
        clock.advance(Duration::from_secs(60));
        assert!(limiter.decide(Kind::Socket, PLAYER, Cost::Ordinary).is_allowed());
        assert_eq!(limiter.held(Kind::Socket), 1_000);
        limiter.sweep();
        assert_eq!(limiter.held(Kind::Socket), 1, "only the one in use");
    }

    #[test]
    fn a_crowd_of_invented_keys_shares_one_bucket_and_disturbs_nobody() {
        let (limiter, clock) = limiter(&Options { max_keys: 1_000, ..Options::default() });
        assert!(limiter.decide(Kind::NewSocket, PLAYER, Cost::Ordinary).is_allowed());
        let crowd = (1_000..100_000).map(Key::from_number);
        let passed = crowd.filter(|key| limiter.decide(Kind::NewSocket, *key, Cost::Ordinary).is_allowed()).count();
        assert_eq!(limiter.held(Kind::NewSocket), 1_000);
        assert_eq!(passed, 999 + 600, "the remaining buckets, and one for all other keys");
        assert_eq!(allowed(&limiter, Kind::NewSocket, PLAYER, Cost::Ordinary), 599);
        clock.advance(Duration::from_secs(120));
        limiter.sweep();
        assert_eq!(limiter.held(Kind::NewSocket), 0);
    }

    #[test]
    fn threads_together_get_no_more_than_the_bucket() {
        let (limiter, _) = limiter(&Options::default());
        let total: usize = std::thread::scope(|scope| {
            let threads: Vec<_> =
                (0..4).map(|_| scope.spawn(|| allowed(&limiter, Kind::Http, PLAYER, Cost::Ordinary))).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).sum()
        });
        assert_eq!(total, 600);
    }
}
