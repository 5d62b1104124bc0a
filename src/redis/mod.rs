//! The way to Redis, which several servers may share: limits and the list of rooms go through it.
//!
//! Redis is never needed. It is asked with a short, bounded wait; when it does not answer, everybody hears so at once
//! without waiting at all, until it is back. What is to be done then is for those who ask to know.

#[cfg(not(feature = "redis"))]
mod disabled;
mod options;
#[cfg(feature = "redis")]
mod pool;
#[cfg(feature = "redis")]
mod target;
mod url;

use std::sync::Arc;

#[cfg(not(feature = "redis"))]
pub use disabled::Redis;
pub use options::Options;
#[cfg(feature = "redis")]
pub use pool::{Redis, Trouble};
pub use url::{NotARedisUrl, Url};

use crate::observe::Metrics;

/// Why Redis cannot be used as it is set. That it does not answer is no such reason.
#[derive(Debug, thiserror::Error)]
pub enum RedisError {
    /// The file of `REDIS_CA_FILE` is no use.
    #[error("REDIS_CA_FILE {path}: {reason}")]
    Certificate {
        /// The file.
        path: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The client does not take the address.
    #[error("REDIS_URL: {0}")]
    Address(String),
}

/// Whether this build can talk to Redis.
#[must_use]
pub const fn is_compiled_in() -> bool {
    cfg!(feature = "redis")
}

/// The Redis that is set, if one is. Does not wait for it: it may come later, and go.
///
/// # Errors
/// [`RedisError`] if it cannot be used as it is set.
pub fn open(options: &Options, metrics: &Arc<Metrics>) -> Result<Option<Redis>, RedisError> {
    if options.url.is_set() { Redis::open(options, metrics).map(Some) } else { Ok(None) }
}
