//! What operators see: logs, metrics, health and memory. A leaf: it knows nothing of games.

mod options;

pub use options::{HealthOptions, LogFormat, LogLevel, LogOptions, MemoryOptions, MetricsOptions};
