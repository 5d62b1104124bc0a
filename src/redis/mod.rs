//! The client of a Redis that several servers may share: limits and the list of rooms go through it.
//!
//! Redis is never needed. Every request has a short timeout. When Redis does not answer, requests fail at once, without
//! any wait, until it is back; the caller then decides by itself.

#[cfg(not(feature = "redis"))]
mod disabled;
#[cfg(feature = "redis")]
mod handle;
#[cfg(feature = "redis")]
mod keeper;
mod options;
#[cfg(feature = "redis")]
mod pool;
#[cfg(feature = "redis")]
mod target;
mod url;

use std::sync::Arc;

#[cfg(not(feature = "redis"))]
pub use disabled::Redis;
#[cfg(feature = "redis")]
pub use handle::{Redis, RequestError};
pub use options::Options;
pub use url::{NotARedisUrl, Url};

use crate::observe::Metrics;

/// Why there is no Redis: the setting, and what is wrong with it.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct RedisError(String);

/// Whether this build can talk to Redis.
#[must_use]
pub const fn is_compiled_in() -> bool {
    cfg!(feature = "redis")
}

/// The Redis of these options, if one is set. Returns at once: Redis may come later, and go.
///
/// # Errors
/// [`RedisError`] if it cannot be used with these settings.
pub fn open(options: &Options, metrics: &Arc<Metrics>) -> Result<Option<Redis>, RedisError> {
    if options.url.is_set() { Redis::open(options, metrics).map(Some) } else { Ok(None) }
}
