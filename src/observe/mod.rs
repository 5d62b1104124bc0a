//! What operators see: logs, metrics, health and memory. A leaf: it knows nothing of games.

mod health;
mod logging;
mod memory;
mod metrics;
mod options;

pub use health::{Check, Health, HealthReport, HealthStatus, ServerPhase};
pub use logging::{CorrelationId, LogCounters, LogError, LogHandle, reopen_on_hangup, start};
pub use memory::{MemoryLevel, MemoryState, watch_memory};
pub use metrics::{Description, Labelled, Metrics, labels};
pub use options::{HealthOptions, LogFormat, LogLevel, LogOptions, MemoryOptions, MetricsOptions};
