//! What operators see: logs, metrics, health and memory. A leaf: it knows nothing of games.

mod allocator;
mod events;
mod health;
mod logging;
mod memory;
mod metrics;
mod options;
mod priority;
mod wall_clock;

pub use allocator::{trim_memory, tune_allocator};
pub use events::{EventKind, Events, Follower, ServerEvent};
pub use health::{Check, Health, HealthReport, HealthStatus, ServerPhase};
pub use logging::{
    CorrelationId, LogCounters, LogError, LogHandle, log_anyway, log_level, reopen_on_hangup, set_log_level, start,
};
pub use memory::{MemoryLevel, MemoryState, resident_bytes, watch_memory};
pub use metrics::{Labelled, Metrics, labels};
pub use options::{HealthOptions, LogFormat, LogLevel, LogOptions, MemoryOptions, MetricsOptions};
pub use priority::lower_priority;
pub use wall_clock::{is_after_1970, wall_time};
