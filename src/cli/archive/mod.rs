//! `liap archive`: completed games, listed, shown, moved and checked.
//!
//! Whatever only reads does so from a [`Snapshot`]: it works while the server runs and while it does not, and changes
//! nothing. A server that runs is asked before to write what waits. What writes opens the archive, which only one process can.

mod backup;
mod copies;
mod moving;
mod replay;
mod stats;
mod verify;

use std::io::{self, Write as _};
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, anyhow};
use clap::{Args, Subcommand};

use super::healthcheck::{ask, reachable};
use crate::archive::sink::SinkKind;
use crate::archive::{
    Archive, GameId, GameJson, Options, Query, Snapshot, StoreError, Summary, SummaryJson, decode, decode_summary,
    time_from, time_until,
};
use crate::config::Config;
use crate::game::Seat;
use crate::observe::Metrics;

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// List games, newest first.
    List {
        #[command(flatten)]
        filter: Filter,
        /// How many at most.
        #[arg(long, value_name = "N", default_value = "20")]
        limit: NonZeroUsize,
        /// One JSON object a line instead of a table.
        #[arg(long)]
        json: bool,
    },
    /// Show a game as JSON.
    Show {
        /// The game's id.
        id: GameId,
    },
    /// Replay a game, step by step on a terminal.
    Replay {
        /// The game's id.
        id: GameId,
        /// Show only this seat's hand, as its player saw it.
        #[arg(long, value_name = "1-4", value_parser = seat)]
        seat: Option<Seat>,
    },
    /// Say what there is: games, players, sizes, the leaderboard.
    Stats,
    /// Write games as JSON, one object a line, oldest first.
    Export {
        #[command(flatten)]
        filter: Filter,
        /// Where to; `-` writes to the standard output.
        file: PathBuf,
    },
    /// Take in games from JSON lines; each is replayed, and refused if it says anything else than the game itself.
    Import {
        /// Where from; `-` reads the standard input.
        file: PathBuf,
    },
    /// Check every stored game; exit code 0 if all are whole.
    Verify {
        /// Deal and play every game again by the rules, and compare the scores.
        #[arg(long)]
        deep: bool,
    },
    /// Remove old games for good.
    Prune {
        /// Games that began longer ago than this: days `90d`, weeks `12w` or years `2y`.
        #[arg(long, value_name = "AGE", value_parser = age_days)]
        older_than: u32,
        /// Only say how many there are.
        #[arg(long)]
        dry_run: bool,
    },
    /// Write all games, as they are stored, into one file.
    Backup {
        /// Where to; `-` writes to the standard output.
        file: PathBuf,
    },
    /// Begin an archive with the games of a backup, or of a copy. There must be no games yet.
    Restore {
        /// The backup.
        #[arg(required_unless_present = "from", conflicts_with = "from")]
        file: Option<PathBuf>,
        /// Take the games from where copies are kept: s3 or postgresql.
        #[arg(long, value_name = "SINK")]
        from: Option<SinkKind>,
    },
    /// Copy games to where copies are kept, as a running server does by itself.
    Sync {
        /// Every game once more, not only those that are not there yet.
        #[arg(long)]
        all: bool,
        /// Only there: s3 or postgresql.
        #[arg(long, value_name = "SINK")]
        to: Option<SinkKind>,
        /// Send nothing, but take over the copies of games that are here, so that the server removes them when they are old: those
        /// that do not say which installation made them, or, with a number, those of an installation that is no more.
        #[arg(
            long,
            value_name = "INSTALLATION",
            num_args = 0..=1,
            require_equals = true,
            default_missing_value = "",
            conflicts_with = "all"
        )]
        adopt: Option<copies::AdoptFrom>,
    },
    /// Hold the archive and its copies against each other by their hashes and name every difference; exit code 0 if there
    /// is none.
    Compare {
        /// Only there: s3 or postgresql.
        #[arg(long, value_name = "SINK")]
        with: Option<SinkKind>,
        /// Read every copy whole, with its events where there are any, and play it again.
        #[arg(long)]
        deep: bool,
        /// Other servers copy there too: games that are only there are no difference.
        #[arg(long)]
        shared: bool,
    },
}

impl Command {
    /// Whether the archive may be another one afterwards.
    const fn writes(&self) -> bool {
        matches!(self, Self::Import { .. } | Self::Prune { dry_run: false, .. } | Self::Restore { .. })
    }
}

/// How long a running server may take to write the games that wait.
const CATCH_UP_PATIENCE: Duration = Duration::from_secs(2);

/// Which games are meant.
#[derive(Debug, Args)]
pub(super) struct Filter {
    /// Somebody of this name played.
    #[arg(long, value_name = "NAME")]
    player: Option<String>,
    /// It was played in this room.
    #[arg(long, value_name = "ID")]
    room: Option<String>,
    /// Somebody of this name won.
    #[arg(long, value_name = "NAME")]
    winner: Option<String>,
    /// It began on this day, or at this moment, or later: 2026-11-23 or 2026-11-23T10:15:00Z.
    #[arg(long, value_name = "TIME", value_parser = from)]
    from: Option<u64>,
    /// It began before this moment, or on this day or before.
    #[arg(long, value_name = "TIME", value_parser = until)]
    to: Option<u64>,
}

impl From<Filter> for Query {
    fn from(filter: Filter) -> Self {
        let Filter { player, room, winner, from, to } = filter;
        Self { player, room, winner, from_ms: from, to_ms: to, before: None }
    }
}

const NO_TIME: &str = "write it as 2026-11-23 or 2026-11-23T10:15:00Z";

fn from(text: &str) -> Result<u64, &'static str> {
    time_from(text).ok_or(NO_TIME)
}

fn until(text: &str) -> Result<u64, &'static str> {
    time_until(text).ok_or(NO_TIME)
}

fn seat(text: &str) -> Result<Seat, &'static str> {
    text.parse().ok().and_then(Seat::from_number).ok_or("a seat is a number from 1 to 4")
}

fn age_days(text: &str) -> Result<u32, &'static str> {
    let days = |unit, days: u32| text.strip_suffix(unit)?.parse::<u32>().ok()?.checked_mul(days);
    days('d', 1).or_else(|| days('w', 7)).or_else(|| days('y', 365)).ok_or("write it as 90d, 12w or 2y")
}

/// Carries out the command on the archive of these settings.
pub(super) fn run(command: Command, config: &Config) -> anyhow::Result<ExitCode> {
    let options = &config.archive;
    let folder = options.folder(&config.data_dir);
    if !command.writes() {
        catch_up(config);
    }
    match command {
        Command::List { filter, limit, json } => list(&snapshot(&folder)?, &filter.into(), limit, json),
        Command::Show { id } => {
            let game = game(&snapshot(&folder)?, id)?;
            writeln!(io::stdout().lock(), "{}", game.to_line())?;
            Ok(ExitCode::SUCCESS)
        }
        Command::Replay { id, seat } => replay::run(&game(&snapshot(&folder)?, id)?, seat),
        Command::Stats => stats::run(&folder, &snapshot(&folder)?),
        Command::Export { filter, file } => moving::export(&snapshot(&folder)?, &filter.into(), &file),
        Command::Import { file } => moving::import(&open(&folder, options)?, options, &file),
        Command::Verify { deep } => verify::run(&snapshot(&folder)?, deep),
        Command::Prune { older_than, dry_run } => prune(&folder, options, older_than, dry_run),
        Command::Backup { file } => backup::backup(&snapshot(&folder)?, &file),
        Command::Restore { from: Some(sink), .. } => copies::restore(&folder, options, sink),
        Command::Restore { file, from: None } => backup::restore(&folder, options, &file.unwrap_or_default()),
        Command::Sync { to, adopt: Some(from), .. } => copies::adopt(&folder, options, to, from),
        Command::Sync { all, to, adopt: None } => copies::sync(&folder, options, to, all),
        Command::Compare { with, deep, shared } => {
            copies::compare(&folder, options, with, copies::Comparison { deep, shared })
        }
    }
}

/// Lets a running server write the games that wait for their group: whoever asks it for games is shown all of them.
fn catch_up(config: &Config) {
    let http = &config.http;
    let address = SocketAddr::new(reachable(http.host), http.port);
    let path = format!("{}/api/games?limit=1", http.base_path.as_str());
    // Where none answers, what is on disk is all there is.
    drop(ask(address, http.tls_cert.is_some(), &path, CATCH_UP_PATIENCE));
}

/// Says what to do where the archive cannot be opened for writing.
fn advised(error: StoreError) -> anyhow::Error {
    match error {
        error @ StoreError::Locked { .. } => anyhow!("{error}; stop the server first"),
        error => error.into(),
    }
}

/// The oldest games that a server with these settings keeps: whatever is before goes when it starts.
fn kept_since(options: &Options) -> GameId {
    let now = std::time::UNIX_EPOCH.elapsed().unwrap_or_default();
    let since = options.retention().map_or(Duration::ZERO, |retention| now.saturating_sub(retention));
    GameId::first_at(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}

/// Says that a server with these settings would remove so many games again.
fn warn_of_retention(options: &Options, old: usize, more: &str) {
    if old > 0 {
        let days = options.retention_days;
        super::complain(&format!(
            "liap: {more}{old} of these games are older than ARCHIVE_RETENTION_DAYS={days}; a server with this setting removes \
             them when it starts, one with 0 keeps them"
        ));
    }
}

fn no_archive(folder: &Path) -> String {
    format!("there is no archive in {}", folder.display())
}

/// All games at this moment. Damage is told.
fn snapshot(folder: &Path) -> anyhow::Result<Snapshot> {
    let snapshot = Snapshot::open(folder).map_err(|error| match error {
        StoreError::Io { source, .. } if source.kind() == io::ErrorKind::NotFound => {
            anyhow!(no_archive(folder))
        }
        error => error.into(),
    })?;
    let damage = snapshot.damage();
    if damage.is_any() {
        super::complain(&format!(
            "liap: the archive is damaged: {} games are missing{}",
            damage.missing,
            if damage.numbers_damaged { ", and the number of games that there must be is lost" } else { "" },
        ));
    }
    Ok(snapshot)
}

/// Opens the archive to write in it, and removes nothing by itself.
fn open(folder: &Path, options: &Options) -> anyhow::Result<Archive> {
    let options = Options { retention_days: 0, ..options.clone() };
    let metrics = Arc::new(Metrics::new(env!("CARGO_PKG_VERSION"), "", false));
    let (archive, report) = Archive::open(folder, &options, metrics).map_err(advised)?;
    if report.is_damaged() {
        super::complain(&format!("liap: the archive was damaged and is mended: {report:?}"));
    }
    Ok(archive)
}

fn summary(snapshot: &Snapshot, id: GameId) -> anyhow::Result<Summary> {
    let bytes = snapshot.get(id)?.with_context(|| format!("there is no game {id}"))?;
    decode_summary(&bytes).with_context(|| format!("game {id}"))
}

fn game(snapshot: &Snapshot, id: GameId) -> anyhow::Result<GameJson> {
    let bytes = snapshot.get(id)?.with_context(|| format!("there is no game {id}"))?;
    let record = decode(&bytes).with_context(|| format!("game {id}"))?;
    crate::archive::replay(&record).with_context(|| format!("game {id}"))
}

fn list(snapshot: &Snapshot, query: &Query, limit: NonZeroUsize, json: bool) -> anyhow::Result<ExitCode> {
    let mut out = io::stdout().lock();
    if !json {
        writeln!(
            out,
            "{:<27}{:<18}{:<8}{:>7}  players and scores, winners with a star",
            "game", "began", "room", "rounds"
        )?;
    }
    let mut shown = 0;
    for id in snapshot.ids().rev() {
        let summary = match summary(snapshot, id) {
            Ok(summary) => summary,
            Err(error) => {
                super::complain(&format!("liap: {error:#}"));
                continue;
            }
        };
        if !query.matches(&summary) {
            continue;
        }
        let line = SummaryJson::from(&summary);
        if json {
            writeln!(out, "{}", serde_json::to_string(&line)?)?;
        } else {
            writeln!(out, "{}", row(&summary, &line))?;
        }
        shown += 1;
        if shown == limit.get() {
            break;
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn row(summary: &Summary, line: &SummaryJson) -> String {
    let began = line.started_at.get(..16).unwrap_or_default().replace('T', " ");
    let mut row = format!("{:<27}{began:<18}{:<8}{:>7} ", line.game_id, line.room_id, line.rounds);
    for (seat, player) in summary.players.pairs() {
        let star = if summary.outcome.winners.contains(seat) { "*" } else { "" };
        row.push_str(&format!(" {}{star} {},", player.name, summary.outcome.totals[seat]));
    }
    row.pop();
    if summary.outcome.winners.is_empty() {
        row.push_str("  (abandoned)");
    }
    row
}

fn prune(folder: &Path, options: &Options, days: u32, dry_run: bool) -> anyhow::Result<ExitCode> {
    let now = std::time::UNIX_EPOCH.elapsed().unwrap_or_default().as_millis();
    let before_ms = u64::try_from(now)?.saturating_sub(u64::from(days) * 86_400_000);
    let mut out = io::stdout().lock();
    if dry_run {
        let before = GameId::first_at(before_ms);
        let games = snapshot(folder)?.ids().take_while(|id| *id < before).count();
        writeln!(out, "{games} games began more than {days} days ago")?;
    } else {
        let archive = open(folder, options)?;
        if !options.sinks().is_empty() {
            archive.spare_for(copies::sinks(options, None)?)?;
        }
        let games = archive.prune(before_ms)?;
        writeln!(out, "{games} games removed that began more than {days} days ago")?;
        let owed = archive.owed_before(before_ms);
        if owed > 0 {
            writeln!(out, "{owed} stay until they are copied: liap archive sync")?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_are_days_weeks_or_years() {
        assert_eq!(age_days("90d"), Ok(90));
        assert_eq!(age_days("12w"), Ok(84));
        assert_eq!(age_days("2y"), Ok(730));
        for wrong in ["", "90", "d", "-1d", "1m", "99999999999y", "4294967295w"] {
            assert!(age_days(wrong).is_err(), "{wrong}");
        }
    }
}
