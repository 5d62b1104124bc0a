use std::sync::Arc;

use super::{Options, RedisError};
use crate::observe::{Check, Metrics};

/// This build has no Redis, so there is no value of this type.
#[derive(Debug, Clone)]
pub enum Redis {}

impl Redis {
    pub(super) fn open(_options: &Options, _metrics: &Arc<Metrics>) -> Result<Self, RedisError> {
        Err(RedisError("REDIS_URL: Redis is not in this build".to_owned()))
    }

    /// How Redis is.
    pub fn check(&self) -> Check {
        match *self {}
    }
}
