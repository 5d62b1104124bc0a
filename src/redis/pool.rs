//! Connections to Redis behind a circuit breaker: while Redis is down, every request fails at once.

use std::fmt;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard};
use std::time::Duration;

use log::Level;
use redis::aio::{MultiplexedConnection, PubSub};
use redis::{Cmd, Pipeline, RedisError as ClientError, Script, Value};
use strum::IntoStaticStr;
use tokio::sync::{Notify, watch};
use tokio::task::JoinSet;
use tokio::time::error::Elapsed;
use tokio::time::timeout;

use super::keeper::PROBE;
use super::target::{ConnectError, Target};
use super::{Options, RedisError};
use crate::observe::{Check, Metrics};

/// So many failures in a row, and Redis counts as down.
const FAILURES_MAX: u32 = 3;
/// Requests in flight on every connection before another one is opened.
const SATURATED: usize = 64;
/// A Redis that comes and goes is logged so many times, and then no more until it stays up.
const OUTAGES_LOGGED: u32 = 2;

/// A handle on Redis; clones are the same. Its connections are kept in the background.
#[derive(Clone)]
pub struct Redis(Arc<Handle>);

struct Handle {
    pool: Arc<Pool>,
    /// Ends with the handle.
    _keeper: JoinSet<()>,
}

/// Why there is no answer of Redis. The names are those in the metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq, IntoStaticStr)]
pub enum RequestError {
    /// It is known to be down; nothing was waited for.
    #[strum(serialize = "away")]
    Down,
    /// There was no answer in time.
    #[strum(serialize = "slow")]
    TimedOut,
    /// It refused, or the connection was lost.
    #[strum(serialize = "failed")]
    Failed,
}

/// What the handles and the keeper share.
pub(super) struct Pool {
    pub(super) target: Target,
    pub(super) options: Options,
    /// Connections that work; none while Redis is down. Each request in flight holds a clone.
    connections: RwLock<Vec<Arc<MultiplexedConnection>>>,
    pub(super) is_up: watch::Sender<bool>,
    /// In a row.
    failures: AtomicU32,
    down_reason: Mutex<String>,
    /// Since Redis last stayed up.
    outages: AtomicU32,
    /// Every connection is saturated.
    pub(super) saturated: Notify,
    pub(super) probe: Script,
    metrics: Arc<Metrics>,
}

impl fmt::Debug for Redis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Redis").field("url", &self.0.pool.options.url).field("is_up", &self.is_up()).finish()
    }
}

impl Redis {
    pub(super) fn open(options: &Options, metrics: &Arc<Metrics>) -> Result<Self, RedisError> {
        let pool = Arc::new(Pool {
            target: Target::new(options)?,
            options: options.clone(),
            connections: RwLock::default(),
            is_up: watch::Sender::new(false),
            failures: AtomicU32::new(0),
            down_reason: Mutex::new("it has not answered yet".to_owned()),
            outages: AtomicU32::new(0),
            saturated: Notify::new(),
            probe: Script::new(PROBE),
            metrics: Arc::clone(metrics),
        });
        let mut keeper = JoinSet::new();
        keeper.spawn(Arc::clone(&pool).keep());
        Ok(Self(Arc::new(Handle { pool, _keeper: keeper })))
    }

    /// Whether Redis is believed to answer.
    #[must_use]
    pub fn is_up(&self) -> bool {
        *self.0.pool.is_up.borrow()
    }

    /// Watches whether Redis is believed to answer.
    #[must_use]
    pub fn watch(&self) -> watch::Receiver<bool> {
        self.0.pool.is_up.subscribe()
    }

    /// The number of the database that holds the keys.
    #[must_use]
    pub fn database(&self) -> u16 {
        self.0.pool.options.url.database()
    }

    /// Runs a script within the timeout of the options, and sends its text when Redis does not know its hash.
    ///
    /// # Errors
    /// [`RequestError`] if there is no answer in time, or an error.
    pub async fn run(&self, by_hash: &Cmd, by_text: impl FnOnce() -> Cmd + Send) -> Result<Value, RequestError> {
        let pool = &self.0.pool;
        let connection = pool.connection()?;
        pool.record(timeout(pool.options.timeout, run(&connection, by_hash, by_text)).await)
    }

    /// Sends several commands at once and waits up to `limit`: for what no table waits for. Failures do not count for
    /// the breaker.
    ///
    /// # Errors
    /// [`RequestError`] if there is no answer in time, or an error.
    pub async fn exchange<T: redis::FromRedisValue>(
        &self,
        commands: &Pipeline,
        limit: Duration,
    ) -> Result<T, RequestError> {
        let connection = self.0.pool.connection()?;
        let answer = timeout(limit, commands.query_async(&mut (*connection).clone())).await;
        answer.map_err(|_| RequestError::TimedOut)?.map_err(|error| {
            log::debug!("Redis has refused: {error}");
            RequestError::Failed
        })
    }

    /// A connection for subscriptions; it ends with the Redis it leads to.
    ///
    /// # Errors
    /// [`RequestError`] if there is none in time.
    pub async fn subscribe(&self) -> Result<PubSub, RequestError> {
        self.0.pool.target.subscribe().await.map_err(|error| match error {
            ConnectError::TimedOut(_) => RequestError::TimedOut,
            ConnectError::Refused(_) => RequestError::Failed,
        })
    }

    /// How Redis is.
    #[must_use]
    pub fn check(&self) -> Check {
        let pool = &self.0.pool;
        let check = if self.is_up() {
            Check::healthy()
        } else {
            Check::degraded(format!("Redis is down, this server goes on by itself: {}", pool.down_reason()))
        };
        check.with("connections", pool.connections().len())
    }
}

/// Runs a script by its hash, or by its text if Redis does not know the hash.
pub(super) async fn run(
    connection: &MultiplexedConnection,
    by_hash: &Cmd,
    by_text: impl FnOnce() -> Cmd + Send,
) -> Result<Value, ClientError> {
    let mut connection = connection.clone();
    let answer = connection.send_packed_command(by_hash).await.and_then(Value::extract_error);
    match answer {
        Err(error) if error.code() == Some("NOSCRIPT") => {
            connection.send_packed_command(&by_text()).await.and_then(Value::extract_error)
        }
        answer => answer,
    }
}

impl Pool {
    pub(super) fn connections(&self) -> RwLockReadGuard<'_, Vec<Arc<MultiplexedConnection>>> {
        self.connections.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// The connection with the fewest requests in flight; hold it until the answer is there.
    fn connection(&self) -> Result<Arc<MultiplexedConnection>, RequestError> {
        let connections = self.connections();
        let least = connections.iter().min_by_key(|connection| Arc::strong_count(connection));
        let least = least.ok_or(RequestError::Down)?;
        if Arc::strong_count(least) > SATURATED && connections.len() < self.options.pool_max {
            self.saturated.notify_one();
        }
        Ok(Arc::clone(least))
    }

    /// Counts an answer, or its absence, for the breaker.
    fn record(&self, answer: Result<Result<Value, ClientError>, Elapsed>) -> Result<Value, RequestError> {
        match answer {
            Ok(Ok(value)) => {
                self.reset_failures();
                Ok(value)
            }
            Ok(Err(error)) => {
                self.count_error(&error);
                Err(RequestError::Failed)
            }
            Err(_) => {
                self.count_failure(|| "no answer in time".to_owned());
                Err(RequestError::TimedOut)
            }
        }
    }

    pub(super) fn reset_failures(&self) {
        // Written only if it changes, so that threads do not contend for it.
        if self.failures.load(Ordering::Relaxed) > 0 {
            self.failures.store(0, Ordering::Relaxed);
        }
    }

    pub(super) fn count_error(&self, error: &ClientError) {
        if error.is_unrecoverable_error() || error.is_io_error() {
            self.go_down(|| error.to_string());
        } else {
            self.count_failure(|| error.to_string());
        }
    }

    pub(super) fn count_failure(&self, reason: impl FnOnce() -> String) {
        if self.failures.fetch_add(1, Ordering::Relaxed) + 1 >= FAILURES_MAX {
            self.go_down(reason);
        }
    }

    /// From now on every request fails at once.
    fn go_down(&self, reason: impl FnOnce() -> String) {
        if self.is_up.send_if_modified(std::mem::take) {
            let level = self.log_level(Level::Warn);
            self.outages.fetch_add(1, Ordering::Relaxed);
            self.set_connections(Vec::new());
            let reason = reason();
            log::log!(level, "Redis is down, this server goes on by itself: {reason}");
            *self.down_reason() = reason;
        }
    }

    /// From now on requests go to these connections. Returns whether that was logged for the operator.
    pub(super) fn go_up(&self, connections: Vec<Arc<MultiplexedConnection>>) -> bool {
        self.reset_failures();
        self.set_connections(connections);
        let level = self.log_level(Level::Info);
        self.is_up.send_replace(true);
        log::log!(level, "Redis answers at {}", self.options.url);
        level == Level::Info
    }

    /// Redis has stayed up. Logs that if its return was not logged.
    pub(super) fn stay_up(&self) {
        if self.outages.swap(0, Ordering::Relaxed) >= OUTAGES_LOGGED {
            log::info!("Redis answers at {} and stays up", self.options.url);
        }
    }

    pub(super) fn down_reason(&self) -> MutexGuard<'_, String> {
        self.down_reason.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The level at which its coming and going is logged.
    fn log_level(&self, level: Level) -> Level {
        if self.outages.load(Ordering::Relaxed) < OUTAGES_LOGGED { level } else { Level::Debug }
    }

    fn set_connections(&self, connections: Vec<Arc<MultiplexedConnection>>) {
        self.metrics.redis_connections.set(i64::try_from(connections.len()).unwrap_or(i64::MAX));
        self.metrics.redis_up.set(i64::from(!connections.is_empty()));
        *self.connections.write().unwrap_or_else(PoisonError::into_inner) = connections;
    }

    /// Changes the connections, unless Redis has gone down meanwhile.
    pub(super) fn change_connections(&self, change: impl FnOnce(&mut Vec<Arc<MultiplexedConnection>>)) {
        let mut connections = self.connections().clone();
        if !connections.is_empty() {
            change(&mut connections);
            self.set_connections(connections);
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
    use tokio::net::{TcpListener, TcpStream};

    use super::*;

    /// Answers every command with OK, and counts them.
    async fn answer_ok(stream: TcpStream, commands: watch::Sender<usize>) {
        let (reader, mut writer) = stream.into_split();
        let mut lines = BufReader::new(reader).lines();
        while let Ok(Some(line)) = lines.next_line().await {
            let Some(parts) = line.strip_prefix('*') else { continue };
            for _ in 0..2 * parts.parse::<usize>().unwrap() {
                lines.next_line().await.unwrap();
            }
            writer.write_all(b"+OK\r\n").await.unwrap();
            commands.send_modify(|commands| *commands += 1);
        }
    }

    #[tokio::test]
    async fn a_saturated_pool_opens_one_more_connection() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("redis://{}", listener.local_addr().unwrap()).parse().unwrap();
        let options = Options { url, pool_max: 2, timeout: Duration::from_secs(60), ..Options::default() };
        let redis = Redis::open(&options, &Arc::new(Metrics::new("test", "test", false))).unwrap();
        let pool = &redis.0.pool;
        let (first, _) = listener.accept().await.unwrap();
        tokio::spawn(answer_ok(first, watch::Sender::new(0)));
        redis.watch().wait_for(|is_up| *is_up).await.unwrap();

        // One request too many, and another while the second connection is being opened.
        let mut in_flight: Vec<_> = (0..=SATURATED).map(|_| pool.connection().unwrap()).collect();
        let (second, _) = listener.accept().await.unwrap();
        in_flight.push(pool.connection().unwrap());
        assert_eq!((in_flight.len(), pool.connections().len()), (SATURATED + 2, 1));
        let commands = watch::Sender::new(0);
        let mut answered = commands.subscribe();
        tokio::spawn(answer_ok(second, commands));
        // No third connection comes while the second one is probed, and not for the first time.
        tokio::select! {
            _ = listener.accept() => panic!("more than the bound"),
            probed = answered.wait_for(|commands| *commands >= 5) => drop(probed.unwrap()),
        }
        assert_eq!(pool.connections().len(), 2);
    }
}
