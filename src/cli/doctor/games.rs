//! Are the stored games whole? A running server is asked; otherwise the archive is opened, which mends what can be mended.

use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::time::{Duration, Instant, UNIX_EPOCH};

use indicatif::HumanBytes;

use super::ports::Running;
use super::report::{Finding, Report, ok, warning, wrong};
use crate::archive::{GameId, IfMissing, Options, Query, Records, RecordsError, decode_summary};
use crate::config::Config;
use crate::room::{JournalError, Recovered};

/// How long stored games are read, newest first; `liap archive verify` reads all.
const READ_TIME: Duration = Duration::from_secs(5);
/// Games read in one go.
const PART_GAMES: usize = 128;
/// A game from so far ahead was not stored by a clock that is right now.
const CLOCK_TOLERANCE: Duration = Duration::from_secs(3_600);

/// Checks completed games and live ones. Returns how many games are archived, if that is known.
pub(super) fn check(report: &mut Report, config: &Config, running: Running) -> Option<usize> {
    let games = if config.archive.enabled {
        check_archive(report, &config.archive.folder(&config.data_dir), &config.archive, running)
    } else {
        report.add("archive", ok("switched off"));
        None
    };
    let journal = config.data_dir.join("journal");
    report.add("journal", if config.journal.enabled { check_journal(&journal, running) } else { ok("switched off") });
    check_set_aside(report, &config.data_dir);
    games
}

fn check_archive(report: &mut Report, folder: &Path, options: &Options, running: Running) -> Option<usize> {
    let owner = std::fs::metadata(folder).map_or(0, |folder| folder.uid());
    if running == Running::No && rustix::process::geteuid().is_root() && owner != 0 {
        // The server could not open whatever root makes there.
        report.add("archive", ok(format!("not opened: it belongs to user {owner}, and this is root")));
        return None;
    }
    let stored = match StoredGames::read(folder, options) {
        Ok(stored) => stored,
        Err(RecordsError::NoArchive(folder)) => {
            report.add("archive", ok(format!("none yet; {} will be made", folder.display())));
            return Some(0);
        }
        Err(error) => {
            let mend = "docs/archive.md says what lies where; keep a copy of the folder";
            report.add("archive", wrong(error.to_string(), mend));
            return None;
        }
    };
    report.add("archive", stored.finding());
    let now = UNIX_EPOCH.elapsed().unwrap_or_default();
    report.add("retention", stored.retention(options.retention(), now));
    let newest = stored.ids.first().map_or(Duration::ZERO, |id| Duration::from_millis(id.unix_ms()));
    if newest > now + CLOCK_TOLERANCE {
        let message = format!("the newest game began {} h ahead of this clock", (newest - now).as_secs() / 3_600);
        report.add("clock", warning(message, "set the clock; retention and the order of games go by it"));
    }
    Some(stored.ids.len())
}

/// What the archive holds, and how much of it was read.
struct StoredGames {
    /// Newest first.
    ids: Vec<GameId>,
    read: usize,
    wrong: Vec<GameId>,
    missing: u64,
    damage: Option<String>,
    record_bytes: u64,
}

impl StoredGames {
    fn read(folder: &Path, options: &Options) -> Result<Self, RecordsError> {
        let records = Records::open(folder, options, IfMissing::Fail)?;
        let ids = records.ids(&Query::default(), usize::MAX)?;
        let begun = Instant::now();
        let (mut read, mut wrong) = (0, Vec::new());
        for ids in ids.chunks(PART_GAMES).take_while(|_| begun.elapsed() < READ_TIME) {
            read += ids.len();
            for (&id, record) in ids.iter().zip(records.get(ids)?) {
                let is_whole = match record {
                    Ok(Some(record)) => decode_summary(&record).is_ok_and(|summary| summary.game_id == id),
                    // Removed a moment ago.
                    Ok(None) => true,
                    Err(_) => false,
                };
                wrong.extend((!is_whole).then_some(id));
            }
        }
        let status = records.status()?;
        let (missing, damage, record_bytes) = (status.missing, status.damage, status.record_bytes);
        Ok(Self { ids, read, wrong, missing, damage, record_bytes })
    }

    fn finding(&self) -> Finding {
        let Self { read, wrong: unreadable, missing, .. } = self;
        let games = self.ids.len();
        let size = HumanBytes(self.record_bytes);
        let finding = if let Some(first) = unreadable.first() {
            let message = format!("{} of {read} games cannot be read, {first} among them", unreadable.len());
            wrong(message, "`liap archive verify` names them all; restore them from a backup")
        } else if let Some(damage) = &self.damage {
            let mend = "what could be mended is mended and the rest set aside; restore what is missing from a backup";
            wrong(format!("{missing} games are missing: {damage}"), mend)
        } else if *read < games {
            ok(format!("{games} games, {size}; the newest {read} are whole (`liap archive verify` reads all)"))
        } else {
            ok(format!("{read} games, {size}, all whole"))
        };
        finding.with("games", games).with("read", *read).with("wrong", unreadable.len()).with("missing", *missing)
    }

    /// Says how many games the server removes for their age. Where it is most of them, the number or the clock may be wrong.
    fn retention(&self, retention: Option<Duration>, now: Duration) -> Finding {
        let Some(retention) = retention else { return ok("games are kept for ever") };
        let since_ms = u64::try_from(now.saturating_sub(retention).as_millis()).unwrap_or(u64::MAX);
        let kept_since = GameId::first_at(since_ms);
        let old = self.ids.iter().filter(|id| **id < kept_since).count();
        let (games, days) = (self.ids.len(), retention.as_secs() / 86_400);
        let finding = if old * 2 > games {
            warning(
                format!("{old} of {games} games are older than {days} days; the server removes them"),
                "to keep them, set ARCHIVE_RETENTION_DAYS higher, or to 0; if they are not so old, set the clock",
            )
        } else {
            ok(format!("games older than {days} days are removed, {old} of {games} now"))
        };
        finding.with("games", old)
    }
}

fn check_journal(folder: &Path, running: Running) -> Finding {
    if !folder.exists() {
        return ok("no live games yet");
    }
    let found = match Recovered::inspect(folder) {
        Ok(found) => found,
        Err(error @ JournalError::LaterVersion { .. }) => return wrong(error.to_string(), "start that version again"),
        Err(error) => return wrong(error.to_string(), "let the server's user read and write there"),
    };
    let (rooms, broken, damaged_bytes) = (found.rooms.len(), found.broken.len(), found.damaged_bytes);
    let finding = if broken > 0 {
        let message = format!("{broken} of {} live games do not come back", rooms + broken);
        wrong(message, "the next start sets a copy aside and names them; the others are untouched")
    } else if damaged_bytes > 0 && running == Running::No {
        let message =
            format!("{rooms} live games are whole; {damaged_bytes} bytes behind them are torn, as after a crash");
        warning(message, "nothing: the next start sets a copy aside")
    } else {
        ok(format!("{rooms} live games, all whole"))
    };
    finding.with("rooms", rooms).with("broken", broken).with("damaged_bytes", damaged_bytes)
}

/// Damaged files that earlier starts have set aside.
fn check_set_aside(report: &mut Report, data: &Path) {
    let named = |folder: &Path, what: &str| {
        let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
        entries.filter(|entry| entry.file_name().to_string_lossy().starts_with(what)).count()
    };
    let count = named(data, "archive.damaged-") + named(&data.join("journal"), "damaged-");
    if count > 0 {
        let message = format!("{count} damaged files from earlier starts are in {}", data.display());
        let mend = "docs/archive.md, \"A set-aside store\"; remove them when you miss nothing";
        report.add("set aside", warning(message, mend).with("files", count));
    }
}
