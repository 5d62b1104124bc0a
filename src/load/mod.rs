//! Load: tables of players who act as fast as the server allows, and how long each action takes.
//!
//! The clients share the machine with the server they measure. So they search frames for a few fields and do not parse
//! the JSON.

mod leaving;
mod socket;
mod table;

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use tokio::task::JoinSet;
use tokio_tungstenite::tungstenite;

pub use leaving::{Forgotten, Held, LEVELS, Leaving, leave};

use table::Table;

/// What to measure.
#[derive(Debug, Clone)]
pub struct Load {
    /// Where the server listens.
    pub server: SocketAddr,
    /// How many tables.
    pub rooms: usize,
    /// People at each table, 1 to 4; bots have the other seats.
    pub people: usize,
    /// How long to count actions.
    pub span: Duration,
}

/// The result.
#[derive(Debug, Clone, Default)]
pub struct Report {
    /// Actions of people, answered within the span.
    pub actions: u64,
    /// Games that ended.
    pub games: u64,
    /// Frames received.
    pub frames: u64,
    /// Bytes received.
    pub bytes: u64,
    /// Time from an action to its answer at the player who acted; sorted.
    pub to_self: Vec<Duration>,
    /// Time from an action to its answer at the last player of the table; sorted.
    pub to_last: Vec<Duration>,
    /// How long was measured.
    pub span: Duration,
}

impl Report {
    /// Actions a second.
    #[must_use]
    pub fn rate(&self) -> f64 {
        self.actions as f64 / self.span.as_secs_f64()
    }

    /// Adds what another table came to.
    pub fn add(&mut self, table: Self) {
        self.actions += table.actions;
        self.games += table.games;
        self.frames += table.frames;
        self.bytes += table.bytes;
        self.to_self.extend(table.to_self);
        self.to_last.extend(table.to_last);
    }

    /// Ends after this time.
    pub fn end(&mut self, span: Duration) {
        self.span = span;
        self.to_self.sort_unstable();
        self.to_last.sort_unstable();
    }

    /// Mean size of a frame in bytes.
    #[must_use]
    pub fn frame_bytes(&self) -> u64 {
        self.bytes.checked_div(self.frames).unwrap_or(0)
    }
}

/// The value below which `part` (0 to 1) of the sorted values lie.
#[must_use]
pub fn percentile(sorted: &[Duration], part: f64) -> Duration {
    let last = sorted.len().saturating_sub(1);
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a place within the list")]
    let place = (last as f64 * part).round() as usize;
    sorted.get(place).copied().unwrap_or_default()
}

/// Why a load run fails.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The server refuses or drops connections.
    #[error("a connection failed: {0}")]
    Socket(#[from] Box<tungstenite::Error>),
    /// The server cannot be reached.
    #[error("the server cannot be reached: {0}")]
    Connect(#[from] std::io::Error),
    /// A table stalled.
    #[error("a table received nothing for {0:?}")]
    Stalled(Duration),
    /// The server refused something.
    #[error("the server refused: {0}")]
    Refused(String),
}

impl From<tungstenite::Error> for LoadError {
    fn from(error: tungstenite::Error) -> Self {
        Self::Socket(Box::new(error))
    }
}

/// Runs the load: all tables are set up first, then the clock starts.
///
/// # Errors
/// [`LoadError`] of the first table that fails.
pub async fn run(load: &Load) -> Result<Report, LoadError> {
    let mut tables = Vec::with_capacity(load.rooms);
    for number in 0..load.rooms {
        tables.push(Table::set_up(load, number).await?);
    }
    let began = Instant::now();
    let until = began + load.span;
    let mut running = JoinSet::new();
    for table in tables {
        running.spawn(table.play(until));
    }
    let mut report = Report::default();
    while let Some(table) = running.join_next().await {
        report.add(table.map_err(std::io::Error::other)??);
    }
    report.end(began.elapsed());
    Ok(report)
}
