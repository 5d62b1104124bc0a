//! The task that keeps connections to Redis while it is up, and probes for it while it is down.

use std::sync::{Arc, LazyLock};
use std::time::Duration;

use log::Level;
use redis::Script;
use redis::aio::MultiplexedConnection;
use tokio::time::{Instant, interval, sleep};

use super::pool::Pool;
use super::target::{ConnectError, within};

/// How often connections are probed while Redis is up.
const PROBE_INTERVAL: Duration = Duration::from_secs(1);
/// A connection that nothing needed for so long is closed, down to the minimum.
const IDLE_TIMEOUT: Duration = Duration::from_secs(60);
/// Time between attempts to reach a Redis that is down: at first, and at most.
const RETRY_MIN: Duration = Duration::from_millis(50);
const RETRY_MAX: Duration = Duration::from_secs(1);
/// Up for so long, Redis counts as stable: the backoff begins again.
const STABLE_AFTER: Duration = Duration::from_secs(10);
/// Runs before Redis counts as up, and every second after: it does what a decision does, because a Redis that runs no
/// scripts, has no clock or takes no writes is useless.
const PROBE: &str = "redis.call('TIME') redis.call('GET', KEYS[1]) return redis.call('SET', KEYS[1], 1, 'PX', ARGV[1])";
/// At both ends of the slots of a cluster (26 and 16368): a node that has only some of the slots would decide some
/// requests and refuse others.
const PROBE_KEYS: [&str; 2] = ["liap:probe:28", "liap:probe:89"];
const PROBE_MS: u32 = 1_000;

/// How long to wait before Redis is tried again.
struct Backoff(Duration);

impl Backoff {
    /// The next pause, after Redis was up for so long.
    fn next(&mut self, uptime: Duration) -> Duration {
        if uptime >= STABLE_AFTER {
            self.0 = RETRY_MIN;
        }
        let pause = self.0;
        self.0 = (pause * 2).min(RETRY_MAX);
        pause
    }
}

impl Pool {
    /// Keeps connections while Redis is up, and tries to reach it while it is down. Never ends.
    pub(super) async fn keep(self: Arc<Self>) {
        let mut backoff = Backoff(RETRY_MIN);
        let mut outage_is_logged = false;
        loop {
            let mut uptime = Duration::ZERO;
            match self.connect(self.options.pool_min.max(1)).await {
                Ok(connections) => {
                    outage_is_logged = !self.go_up(connections);
                    let since = Instant::now();
                    self.maintain(since).await;
                    uptime = since.elapsed();
                }
                Err(error) => {
                    let level = if outage_is_logged { Level::Debug } else { Level::Warn };
                    outage_is_logged = true;
                    log::log!(level, "Redis does not answer at {}: {error}", self.options.url);
                    *self.down_reason() = error.to_string();
                }
            }
            // Spread, so that several servers do not all come at once to a Redis that has just come back.
            let spread = f64::from(getrandom::u32().unwrap_or(0)) / f64::from(u32::MAX);
            sleep(backoff.next(uptime).mul_f64(0.5 + spread / 2.0)).await;
        }
    }

    /// So many connections, the first of which has passed the probe.
    async fn connect(&self, count: usize) -> Result<Vec<Arc<MultiplexedConnection>>, ConnectError> {
        let first = self.target.connect().await?;
        self.probe(&first).await?;
        let mut connections = vec![Arc::new(first)];
        while connections.len() < count {
            connections.push(Arc::new(self.target.connect().await?));
        }
        Ok(connections)
    }

    async fn probe(&self, connection: &MultiplexedConnection) -> Result<(), ConnectError> {
        static SCRIPT: LazyLock<Script> = LazyLock::new(|| Script::new(PROBE));
        for key in PROBE_KEYS {
            let (mut script, mut connection) = (SCRIPT.key(key), connection.clone());
            within(self.options.timeout, script.arg(PROBE_MS).invoke_async::<()>(&mut connection)).await?;
        }
        Ok(())
    }

    /// Keeps the connections of a Redis that is up since then, until it is down.
    async fn maintain(&self, since: Instant) {
        let mut is_up = self.is_up.subscribe();
        let mut last_saturated = Instant::now();
        let mut probes = interval(PROBE_INTERVAL);
        loop {
            let down = async { drop(is_up.wait_for(|is_up| !is_up).await) };
            tokio::select! {
                () = down => return,
                () = self.saturated.notified() => {
                    last_saturated = Instant::now();
                    self.add_connection().await;
                }
                _ = probes.tick() => {
                    self.probe_all().await;
                    if since.elapsed() >= STABLE_AFTER && *self.is_up.borrow() {
                        self.stay_up();
                    }
                    if last_saturated.elapsed() > IDLE_TIMEOUT {
                        let least = self.options.pool_min.max(1);
                        self.change_connections(|open| open.truncate(least.max(open.len() - 1)));
                    }
                }
            }
        }
    }

    async fn add_connection(&self) {
        // It may have been asked for while the last one was being opened.
        if self.connections().len() >= self.options.pool_max {
            return;
        }
        match self.target.connect().await {
            Ok(connection) => self.change_connections(|open| open.push(Arc::new(connection))),
            // The open ones go on; another attempt must not follow at once.
            Err(_) => sleep(RETRY_MIN).await,
        }
    }

    async fn probe_all(&self) {
        let connections = self.connections().clone();
        for connection in connections {
            match self.probe(&connection).await {
                Ok(()) => self.reset_failures(),
                Err(ConnectError::Refused(error)) => self.count_error(&error),
                Err(late @ ConnectError::TimedOut(_)) => self.count_failure(|| late.to_string()),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_until_redis_is_stable() {
        let mut backoff = Backoff(RETRY_MIN);
        let mut next = |uptime| backoff.next(Duration::from_millis(uptime)).as_millis();
        assert_eq!([0, 0, 0].map(&mut next), [50, 100, 200]);
        assert_eq!([5, 9_999, 0, 5].map(&mut next), [400, 800, 1_000, 1_000], "being up for a moment changes nothing");
        assert_eq!([10_000, 0].map(&mut next), [50, 100]);
    }
}
