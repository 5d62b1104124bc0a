use std::fmt;
use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use strum::{Display, EnumString};

options! {
    /// What is logged, how, and where to.
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub struct LogOptions {
        /// The least important level that is still logged.
        pub level: LogLevel = LogLevel(log::LevelFilter::Info),
        /// The form of a line.
        pub format: LogFormat = LogFormat::Auto,
        /// A file to append to, reopened on SIGHUP. `None`: standard error.
        pub file: Option<PathBuf> = None,
        /// Put the id of the request or socket on every line that belongs to one.
        pub correlation_id: bool = true,
        /// How many lines may wait for the log thread; more are dropped and counted.
        pub queue_lines: usize = 8_192,
    }
}

/// A level of the log, under the names operators use (`WARNING` is as good as `warn`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LogLevel(pub log::LevelFilter);

impl FromStr for LogLevel {
    type Err = log::ParseLevelError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let name = match text.to_ascii_lowercase().as_str() {
            "warning" => "warn",
            "critical" => "error",
            _ => text,
        };
        name.parse().map(Self)
    }
}

impl fmt::Display for LogLevel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            log::LevelFilter::Warn => f.write_str("warning"),
            level => f.write_str(&level.as_str().to_ascii_lowercase()),
        }
    }
}

/// The form of a line of the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Display, EnumString)]
#[strum(serialize_all = "snake_case", ascii_case_insensitive)]
pub enum LogFormat {
    /// Text on a terminal, JSON anywhere else.
    Auto,
    /// One JSON object a line.
    Json,
    /// A line for people, in colour on a terminal.
    Text,
}

options! {
    /// Whether and where metrics are shown. They have their own listener: players have no business there.
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub struct MetricsOptions {
        /// Open the listener.
        pub enabled: bool = true,
        /// Address to listen on.
        pub host: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST),
        /// Port to listen on; 0 lets the system choose.
        pub port: u16 = 9090,
        /// Also measure the single steps of a move. Costs a few clock readings a move.
        pub profiling: bool = false,
    }
}

options! {
    /// How much memory the process may use and how closely that is watched.
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub struct MemoryOptions {
        /// Watch memory at all.
        pub enabled: bool = true,
        /// What the process may use, in MiB. The limit of its cgroup counts too, if it is lower.
        pub max_mb: u64 = 4_096,
        /// Time between two looks.
        pub check_interval: Duration = Duration::from_secs(60),
        /// Share of the limit, in percent, from which on memory counts as tight.
        pub alert_percent: u8 = 80,
    }
}

options! {
    /// How health is asked for.
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub struct HealthOptions {
        /// The longest time all checks together may take.
        pub timeout: Duration = Duration::from_secs(10),
    }
}
