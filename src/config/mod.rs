//! Settings: built-in defaults, below a file, below the environment, below flags.
//!
//! Each folder owns its options; here they are only gathered. `settings.rs` is the one table of all settings, `field.rs`
//! turns their text into values, `load.rs` reads the sources and reports every mistake at once, `check.rs` holds settings
//! against each other, and `pace.rs` scales limits that are not set to the pace of the games.

mod check;
mod field;
mod file;
mod layer;
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

pub use layer::Layer;
pub use load::{Loaded, Sources};
pub use mistake::{ConfigError, Mistake};
pub use reference::{Form, reference};
pub use settings::{Group, SETTINGS, Setting};

options! {
    /// Everything that can be set, checked.
    #[derive(Debug, Clone, PartialEq)]
    pub struct Config {
        /// What the installation is for; shown in metrics and logs.
        pub environment: Environment = Environment::Development,
        /// The folder for everything that must survive a restart.
        pub data_dir: PathBuf = PathBuf::from("./data"),
        /// The longest time stopping may take; then the process ends anyway.
        pub shutdown_timeout: Duration = Duration::from_secs(20),
        /// Where the server listens and what a connection may use.
        pub http: http::Options = Default::default(),
        /// How tables behave.
        pub room: room::Options = Default::default(),
        /// How live games survive.
        pub journal: room::JournalOptions = Default::default(),
        /// How completed games are kept.
        pub archive: archive::Options = Default::default(),
        /// Rate limits.
        pub limit: limit::Options = Default::default(),
        /// The public address of this server among several.
        pub directory: directory::Options = Default::default(),
        /// Where Redis is, if several servers share one.
        pub redis: redis::Options = Default::default(),
        /// What is logged.
        pub log: observe::LogOptions = Default::default(),
        /// Where metrics are shown.
        pub metrics: observe::MetricsOptions = Default::default(),
        /// How memory is watched.
        pub memory: observe::MemoryOptions = Default::default(),
        /// How health is asked for.
        pub health: observe::HealthOptions = Default::default(),
    }
}

/// What an installation is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Display, EnumString)]
#[strum(serialize_all = "snake_case")]
pub enum Environment {
    /// For experiments.
    Development,
    /// A rehearsal of production.
    Staging,
    /// For players.
    Production,
}
