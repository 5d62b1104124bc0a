//! Connections to Redis behind a circuit breaker: while Redis is down, every request fails at once.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard};

use log::Level;
use redis::RedisError as ClientError;
use redis::aio::MultiplexedConnection;
use tokio::sync::{Notify, watch};

use super::target::Target;
use super::{Options, RedisError};
use crate::observe::Metrics;

/// So many failures in a row, and Redis counts as down.
const FAILURES_MAX: u32 = 3;
/// Requests in flight on every connection before another one is opened.
pub(super) const SATURATED: usize = 64;
/// A Redis that comes and goes is logged so many times, and then no more until it stays up.
const OUTAGES_LOGGED: u32 = 2;

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
    metrics: Arc<Metrics>,
}

impl Pool {
    pub(super) fn new(options: &Options, metrics: &Arc<Metrics>) -> Result<Self, RedisError> {
        Ok(Self {
            target: Target::new(options)?,
            options: options.clone(),
            connections: RwLock::default(),
            is_up: watch::Sender::new(false),
            failures: AtomicU32::new(0),
            down_reason: Mutex::new("it has not answered yet".to_owned()),
            outages: AtomicU32::new(0),
            saturated: Notify::new(),
            metrics: Arc::clone(metrics),
        })
    }

    pub(super) fn connections(&self) -> RwLockReadGuard<'_, Vec<Arc<MultiplexedConnection>>> {
        self.connections.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// The connection with the fewest requests in flight; hold it until the answer is there. `None` while Redis is down.
    pub(super) fn connection(&self) -> Option<Arc<MultiplexedConnection>> {
        let connections = self.connections();
        let least = connections.iter().min_by_key(|connection| Arc::strong_count(connection))?;
        if Arc::strong_count(least) > SATURATED && connections.len() < self.options.pool_max {
            self.saturated.notify_one();
        }
        Some(Arc::clone(least))
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
