//! The services of one server, as one value: `server` builds it once, and health, metrics, HTTP and the memory reclaimer
//! take it.

use std::sync::Arc;

use tokio::sync::watch;

use crate::archive::Archive;
use crate::directory::Directory;
use crate::limit::Limiter;
use crate::observe::{Events, MemoryState, Metrics};
use crate::redis::Redis;
use crate::room::{Journal, Rooms};

/// A handle on every service. Clones share the same services.
#[derive(Debug, Clone)]
pub struct Services {
    /// Counters and gauges.
    pub metrics: Arc<Metrics>,
    /// What administrators can follow.
    pub events: Events,
    /// Rate limits.
    pub limiter: Arc<dyn Limiter>,
    /// Live rooms of this server.
    pub rooms: Rooms,
    /// Finds the server that a room lives on.
    pub directory: Arc<dyn Directory>,
    /// Completed games; `None` if they are not kept.
    pub archive: Option<Archive>,
    /// The journal of live games; it may be off.
    pub journal: Journal,
    /// The Redis that several servers share, if one is set.
    pub redis: Option<Redis>,
    /// How much memory the process uses.
    pub memory: watch::Receiver<MemoryState>,
}
