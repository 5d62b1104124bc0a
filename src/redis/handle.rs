//! The handle on Redis that other folders use.

use std::sync::Arc;
use std::time::Duration;

use redis::aio::PubSub;
use redis::{Pipeline, ScriptInvocation, Value};
use strum::IntoStaticStr;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::pool::Pool;
use super::target::ConnectError;
use super::{Options, RedisError};
use crate::observe::{Check, Metrics};

/// A handle on Redis; clones are the same. Its connections are kept in the background.
#[derive(derive_more::Debug, Clone)]
#[debug("Redis({}, is_up: {})", self.pool.options.url, self.is_up())]
pub struct Redis {
    pool: Arc<Pool>,
    /// Ends with the last handle.
    _keeper: Arc<JoinSet<()>>,
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

impl Redis {
    pub(super) fn open(options: &Options, metrics: &Arc<Metrics>) -> Result<Self, RedisError> {
        let pool = Arc::new(Pool::new(options, metrics)?);
        let mut keeper = JoinSet::new();
        keeper.spawn(Arc::clone(&pool).keep());
        Ok(Self { pool, _keeper: Arc::new(keeper) })
    }

    /// Whether Redis is believed to answer.
    #[must_use]
    pub fn is_up(&self) -> bool {
        *self.pool.is_up.borrow()
    }

    /// Watches whether Redis is believed to answer.
    #[must_use]
    pub fn watch(&self) -> watch::Receiver<bool> {
        self.pool.is_up.subscribe()
    }

    /// The number of the database that holds the keys.
    #[must_use]
    pub fn database(&self) -> u16 {
        self.pool.options.url.database()
    }

    /// Calls a script within the timeout of the options.
    ///
    /// # Errors
    /// [`RequestError`] if there is no answer in time, or an error.
    pub async fn call(&self, script: &ScriptInvocation<'_>) -> Result<Value, RequestError> {
        let connection = self.pool.connection().ok_or(RequestError::Down)?;
        let answer = timeout(self.pool.options.timeout, script.invoke_async(&mut (*connection).clone())).await;
        match answer {
            Ok(Ok(value)) => {
                self.pool.reset_failures();
                Ok(value)
            }
            Ok(Err(error)) => {
                self.pool.count_error(&error);
                Err(RequestError::Failed)
            }
            Err(_) => {
                self.pool.count_failure(|| "no answer in time".to_owned());
                Err(RequestError::TimedOut)
            }
        }
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
        let connection = self.pool.connection().ok_or(RequestError::Down)?;
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
        self.pool.target.subscribe().await.map_err(|error| match error {
            ConnectError::TimedOut(_) => RequestError::TimedOut,
            ConnectError::Refused(_) => RequestError::Failed,
        })
    }

    /// How Redis is.
    #[must_use]
    pub fn check(&self) -> Check {
        let check = if self.is_up() {
            Check::healthy()
        } else {
            Check::degraded(format!("Redis is down, this server goes on by itself: {}", self.pool.down_reason()))
        };
        check.with("connections", self.pool.connections().len())
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
    use tokio::net::{TcpListener, TcpStream};

    use super::super::pool::SATURATED;
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
        let pool = &redis.pool;
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
