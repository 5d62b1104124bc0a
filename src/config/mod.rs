//! Settings: built-in defaults, below a file, below the environment, below flags.
//!
//! Each folder owns its options; here they are only gathered. `settings.rs` is the one table of all settings, `field.rs`
//! turns their text into values, `load.rs` reads the sources and reports every mistake at once, `check.rs` holds settings
//! against each other, and `pace.rs` scales limits that are not set to the pace of the games.

mod check;
mod field;
mod file;
mod load;
mod mistake;
mod pace;
mod reference;
mod settings;
mod suggest;

use std::path::PathBuf;
use std::time::Duration;

use strum::{Display, EnumString};

use crate::archive;
use crate::directory;
use crate::http;
use crate::limit;
use crate::observe;
use crate::redis;
use crate::room;

pub use load::{Layer, Loaded, Sources};
pub use mistake::{ConfigError, Mistake};
pub use reference::{Form, reference};
pub use settings::{Group, SETTINGS, Setting};

/// Everything that can be set, checked.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    /// What the installation is for; shown in metrics and logs.
    pub environment: Environment,
    /// The folder below which everything is kept that must survive a restart.
    pub data_dir: PathBuf,
    /// The longest time stopping may take, after which the process leaves anyway.
    pub shutdown_timeout: Duration,
    /// Where the server listens and what a connection may use.
    pub http: http::Options,
    /// How tables behave.
    pub room: room::Options,
    /// How live games survive.
    pub journal: room::JournalOptions,
    /// How completed games are kept.
    pub archive: archive::Options,
    /// How fast anybody may go.
    pub limit: limit::Options,
    /// How this one of several servers is known.
    pub directory: directory::Options,
    /// Where Redis is, if several servers share one.
    pub redis: redis::Options,
    /// What is logged.
    pub log: observe::LogOptions,
    /// Where metrics are shown.
    pub metrics: observe::MetricsOptions,
    /// How memory is watched.
    pub memory: observe::MemoryOptions,
    /// How health is asked for.
    pub health: observe::HealthOptions,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            environment: Environment::Development,
            data_dir: PathBuf::from("./data"),
            shutdown_timeout: Duration::from_secs(20),
            http: http::Options::default(),
            room: room::Options::default(),
            journal: room::JournalOptions::default(),
            archive: archive::Options::default(),
            limit: limit::Options::default(),
            directory: directory::Options::default(),
            redis: redis::Options::default(),
            log: observe::LogOptions::default(),
            metrics: observe::MetricsOptions::default(),
            memory: observe::MemoryOptions::default(),
            health: observe::HealthOptions::default(),
        }
    }
}

/// What an installation is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Display, EnumString)]
#[strum(serialize_all = "snake_case")]
pub enum Environment {
    /// Somebody tries things.
    Development,
    /// A rehearsal of production.
    Staging,
    /// People play.
    Production,
}
