//! `liap archive`: completed games, listed, shown, moved and checked.
//!
//! Every command works on [`Records`]: a running server is asked, otherwise the archive is opened here.

mod backup;
mod copies;
mod moving;
mod replay;
mod stats;

use std::io::{self, Write as _};
use std::num::NonZeroUsize;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, UNIX_EPOCH};

use anyhow::{Context as _, anyhow, ensure};
use clap::{Args, Subcommand};

use super::{print_stderr, progress, shown};
use crate::archive::sink::{Installation, SinkKind};
use crate::archive::{
    GameId, GameJson, IfMissing, Options, Query, Records, Summary, SummaryJson, decode, decode_summary, time_from,
    time_until,
};
use crate::config::Config;
use crate::game::Seat;
use crate::parallel;

/// Games that one thread reads in one go.
const PART_GAMES: usize = 128;

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
    /// Print statistics: games, players, sizes, the leaderboard.
    Stats,
    /// Write games as JSON, one object a line, oldest first.
    Export {
        #[command(flatten)]
        filter: Filter,
        /// Where to; `-` writes to the standard output.
        file: PathBuf,
    },
    /// Store games from JSON lines; each is replayed, and refused if anything in it differs from its replay.
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
    /// Move old games to the trash, from which they go for good when a server has run for a week.
    Prune {
        /// Games that began longer ago than this: days `90d`, weeks `12w` or years `2y`.
        #[arg(long, value_name = "AGE", value_parser = age_days)]
        older_than: u32,
        /// Only say how many there are.
        #[arg(long)]
        dry_run: bool,
    },
    /// Bring removed games back from the trash; without an id, say what is there.
    Undelete {
        /// The game's id.
        #[arg(conflicts_with = "all")]
        id: Option<GameId>,
        /// All of them.
        #[arg(long)]
        all: bool,
    },
    /// Confirm that the clock is right after it has leapt, so that old games may be removed by it.
    ConfirmClock,
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
        /// Take the games from a place that keeps copies: s3 or postgresql.
        #[arg(long, value_name = "SINK")]
        from: Option<SinkKind>,
    },
    /// Deliver games to the places that keep copies, as a running server does by itself.
    Sync {
        /// Every game once more, not only those that are not there yet.
        #[arg(long)]
        all: bool,
        /// Only there: s3 or postgresql.
        #[arg(long, value_name = "SINK")]
        to: Option<SinkKind>,
        /// Send nothing, but take over the copies of games that are here, so that the server removes them when they are old: those
        /// that do not say which installation made them, or, with a number, those of an installation that is no more.
        #[arg(long, value_name = "INSTALLATION", require_equals = true, conflicts_with = "all")]
        adopt: Option<Option<Installation>>,
    },
    /// Compare the archive with its copies by their hashes and name every difference; exit code 0 if there is none.
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
    let place = Place::new(config);
    let done = run_in(command, &place);
    place.give_back().and(done)
}

fn run_in(command: Command, place: &Place<'_>) -> anyhow::Result<ExitCode> {
    let options = place.options;
    let open = || place.open(IfMissing::Fail);
    match command {
        Command::List { filter, limit, json } => list(&open()?, &filter.into(), limit, json),
        Command::Show { id } => {
            writeln!(io::stdout().lock(), "{}", game(&open()?, id)?.to_line())?;
            Ok(ExitCode::SUCCESS)
        }
        Command::Replay { id, seat } => replay::run(&game(&open()?, id)?, seat),
        Command::Stats => stats::run(&place.folder, &open()?),
        Command::Export { filter, file } => moving::export(&open()?, &filter.into(), &file),
        Command::Import { file } => moving::import(place, &file),
        Command::Verify { deep } => verify(&open()?, deep),
        Command::Prune { older_than, dry_run } => prune(&open()?, options, older_than, dry_run),
        Command::Undelete { id, all } => undelete(&open()?, id, all),
        Command::ConfirmClock => {
            open()?.confirm_clock()?;
            writeln!(io::stdout().lock(), "the clock counts as right: old games are removed by it, where that is set")?;
            Ok(ExitCode::SUCCESS)
        }
        Command::Backup { file } => backup::backup(&open()?, &file),
        Command::Restore { from: Some(sink), .. } => copies::restore(place, sink),
        Command::Restore { file, from: None } => backup::restore(place, &file.unwrap_or_default()),
        Command::Sync { to, adopt: Some(from), .. } => copies::adopt(place, to, from),
        Command::Sync { all, to, adopt: None } => copies::sync(place, to, all),
        Command::Compare { with, deep, shared } => copies::compare(place, with, deep, shared),
    }
}

/// The oldest games that a server with these settings keeps: it removes whatever is before.
fn kept_since(options: &Options) -> GameId {
    let now = UNIX_EPOCH.elapsed().unwrap_or_default();
    let since = options.retention().map_or(Duration::ZERO, |retention| now.saturating_sub(retention));
    GameId::first_at(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}

/// Says that a server with these settings would remove so many games again.
fn warn_of_retention(options: &Options, old: usize, more: &str) {
    if old > 0 {
        let days = options.retention_days;
        print_stderr(&format!(
            "liap: {more}{old} of these games are older than ARCHIVE_RETENTION_DAYS={days}; a server with this setting removes \
             them when it starts, one with 0 keeps them"
        ));
    }
}

/// Where the archive is.
#[derive(Debug)]
struct Place<'a> {
    folder: PathBuf,
    options: &'a Options,
    /// To whom root gives what it makes: user and group of the data folder, or of the archive's own.
    owner: Option<(u32, u32)>,
}

impl<'a> Place<'a> {
    fn new(config: &'a Config) -> Self {
        let options = &config.archive;
        let folder = options.folder(&config.data_dir);
        let owner_of = |folder: &Path| std::fs::metadata(folder).ok().map(|folder| (folder.uid(), folder.gid()));
        let owners = [&*folder, &config.data_dir].into_iter().filter_map(owner_of);
        let owner = owners.into_iter().find(|(user, _)| *user != 0 && rustix::process::geteuid().is_root());
        Self { folder, options, owner }
    }

    /// Gives the archive's files back that root has made: the server could not open them.
    fn give_back(&self) -> anyhow::Result<()> {
        let Some((user, group)) = self.owner else { return Ok(()) };
        let mut found = vec![self.folder.clone()];
        while let Some(path) = found.pop() {
            let Ok(metadata) = path.symlink_metadata() else { continue };
            if metadata.is_dir() {
                for entry in std::fs::read_dir(&path)? {
                    found.push(entry?.path());
                }
            }
            // A file with a second name may be one that lies elsewhere, too.
            if metadata.uid() == 0 && (metadata.is_dir() || metadata.nlink() == 1) {
                let given = std::os::unix::fs::lchown(&path, Some(user), Some(group));
                given.with_context(|| format!("cannot give {} to user {user}", path.display()))?;
            }
        }
        Ok(())
    }

    /// Finds the records, and reports damage.
    fn open(&self, if_missing: IfMissing) -> anyhow::Result<Records> {
        let records = Records::open(&self.folder, self.options, if_missing)?;
        if let Some(damage) = records.status()?.damage {
            print_stderr(&format!("liap: the archive was damaged: {damage}"));
        }
        if let (Records::Local(_), Some((user, _))) = (&records, self.owner) {
            print_stderr(&format!("liap: root has opened the archive; its files are given to user {user} at the end"));
        }
        Ok(records)
    }

    /// The same where games may be restored into it.
    fn open_empty(&self) -> anyhow::Result<Records> {
        let records = self.open(IfMissing::Create)?;
        let shown = self.folder.display();
        ensure!(records.status()?.games == 0, "there are games in {shown} already: restore into an empty folder");
        Ok(records)
    }
}

/// What came of reading all games.
#[derive(Debug, Default)]
struct Pass {
    games: u64,
    /// Games that could not be read, each of them reported.
    unreadable: u64,
}

/// Reads games, oldest first: `work` is done on several threads, `take` gets what comes of it in the order of the games.
fn each_game<T: Send>(
    records: &Records,
    query: &Query,
    work: impl Fn(GameId, Vec<u8>) -> anyhow::Result<T> + Sync,
    mut take: impl FnMut(T) -> anyhow::Result<()>,
) -> anyhow::Result<Pass> {
    let mut ids = records.ids(query, usize::MAX)?;
    ids.reverse();
    let bar = progress::bar(ids.len() as u64, "games");
    let mut pass = Pass::default();
    parallel::in_order(
        ids.chunks(PART_GAMES),
        parallel::cores(),
        |ids| {
            let games = ids.iter().zip(records.get(ids)?).filter_map(|(&id, record)| {
                // One that is not there any more was removed a moment ago.
                let record = record.map_err(anyhow::Error::msg).transpose()?;
                Some(record.and_then(|record| work(id, record.into_vec())).with_context(|| format!("game {id}")))
            });
            anyhow::Ok(games.collect::<Vec<_>>())
        },
        |games| {
            for game in games? {
                pass.games += 1;
                bar.inc(1);
                match game {
                    Ok(game) => take(game)?,
                    Err(error) => {
                        pass.unreadable += 1;
                        bar.suspend(|| print_stderr(&format!("liap: {error:#}")));
                    }
                }
            }
            anyhow::Ok(())
        },
    )?;
    bar.finish_and_clear();
    Ok(pass)
}

/// The record of one game.
fn record(records: &Records, id: GameId) -> anyhow::Result<Vec<u8>> {
    let found = records.get(&[id])?.pop().unwrap_or(Ok(None)).map_err(|error| anyhow!("game {id}: {error}"))?;
    Ok(found.with_context(|| format!("there is no game {id}"))?.into_vec())
}

fn game(records: &Records, id: GameId) -> anyhow::Result<GameJson> {
    let record = decode(&record(records, id)?).with_context(|| format!("game {id}"))?;
    crate::archive::replay(&record).with_context(|| format!("game {id}"))
}

fn list(records: &Records, query: &Query, limit: NonZeroUsize, json: bool) -> anyhow::Result<ExitCode> {
    let mut out = io::stdout().lock();
    if !json {
        writeln!(
            out,
            "{:<27}{:<18}{:<8}{:>7}  players and scores, winners with a star",
            "game", "began", "room", "rounds"
        )?;
    }
    let mut query = query.clone();
    let mut left = limit.get();
    while left > 0 {
        let ids = records.ids(&query, left.min(PART_GAMES))?;
        let Some(last) = ids.last() else { break };
        query.before = Some(*last);
        for (id, record) in ids.iter().zip(records.get(&ids)?) {
            let Some(record) = record.transpose() else { continue };
            match record.and_then(|record| decode_summary(&record).map_err(|error| error.to_string())) {
                Ok(summary) => {
                    let line = SummaryJson::from(&summary);
                    writeln!(
                        out,
                        "{}",
                        if json { serde_json::to_string(&line)? } else { shown(&row(&summary, &line)).into_owned() }
                    )?;
                    left -= 1;
                }
                Err(error) => print_stderr(&format!("liap: game {id}: {error}")),
            }
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

/// Checks every game and names those that are wrong.
fn verify(records: &Records, deep: bool) -> anyhow::Result<ExitCode> {
    let check = |id: GameId, record: Vec<u8>| {
        // Decoding plays the game by the rules and compares the result with the one that was stored.
        let found = if deep { decode(&record)?.game_id } else { decode_summary(&record)?.game_id };
        ensure!(found == id, "it says that it is game {found}");
        Ok(())
    };
    let Pass { games, unreadable } = each_game(records, &Query::default(), check, Ok)?;
    let status = records.status()?;
    let what = if deep { "dealt and played again" } else { "read" };
    writeln!(io::stdout().lock(), "{games} games {what}, {unreadable} wrong, {} missing", status.missing)?;
    Ok(exit_code(unreadable == 0 && status.missing == 0 && status.damage.is_none()))
}

fn prune(records: &Records, options: &Options, days: u32, dry_run: bool) -> anyhow::Result<ExitCode> {
    let now = UNIX_EPOCH.elapsed().unwrap_or_default().as_millis();
    let before_ms = u64::try_from(now)?.saturating_sub(u64::from(days) * 86_400_000);
    let mut out = io::stdout().lock();
    if dry_run {
        let old = Query { before: Some(GameId::first_at(before_ms)), ..Query::default() };
        let games = records.ids(&old, usize::MAX)?.len();
        writeln!(out, "{games} games began more than {days} days ago")?;
        return Ok(ExitCode::SUCCESS);
    }
    if let Records::Local(archive) = records
        && !options.sinks().is_empty()
    {
        archive.spare_for(copies::sinks(options, None)?)?;
    }
    let pruned = records.prune(before_ms)?;
    writeln!(
        out,
        "{} games removed that began more than {days} days ago; `liap archive undelete` brings them back",
        pruned.games
    )?;
    if pruned.kept_for_copies > 0 {
        writeln!(out, "{} stay until they are copied: liap archive sync", pruned.kept_for_copies)?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Brings games back from the trash, or says what is there.
fn undelete(records: &Records, id: Option<GameId>, all: bool) -> anyhow::Result<ExitCode> {
    let mut out = io::stdout().lock();
    if id.is_none() && !all {
        let (games, ends) = records.trash()?;
        let ends = ends.map(|(oldest, newest)| format!(", from {oldest} to {newest}; --all brings them back"));
        writeln!(out, "{games} games are in the trash{}", ends.unwrap_or_default())?;
        return Ok(ExitCode::SUCCESS);
    }
    let games = records.undelete(id)?;
    writeln!(out, "{games} games are back; ARCHIVE_RETENTION_DAYS removes them again unless it is raised, or 0")?;
    Ok(exit_code(games > 0 || all))
}

fn exit_code(is_well: bool) -> ExitCode {
    if is_well { ExitCode::SUCCESS } else { ExitCode::FAILURE }
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
