//! Are the stored games whole? A running server is asked; otherwise the archive is opened, which mends what can be mended.

use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use super::disk::bytes;
use super::ports::Running;
use super::report::Report;
use crate::archive::{GameId, IfMissing, Options, Query, Records, RecordsError, decode_summary};
use crate::config::Config;
use crate::room::Recovered;

/// How long stored games are read, newest first; `liap archive verify` reads all.
const READING: Duration = Duration::from_secs(5);
/// Games read in one go.
const PART_GAMES: usize = 128;
/// A game from so far ahead was not stored by a clock that is right now.
const AHEAD: Duration = Duration::from_secs(3_600);

/// Looks at completed games and live ones.
pub(super) fn look(report: &mut Report, config: &Config, running: Running) {
    if !config.archive.enabled {
        report.ok("archive", "switched off");
    } else {
        look_at_archive(report, &config.archive, &config.archive.folder(&config.data_dir), running);
    }
    if config.journal.enabled {
        look_at_journal(report, &config.data_dir.join("journal"), running);
    } else {
        report.ok("journal", "switched off");
    }
    look_at_damaged(report, &config.data_dir);
}

fn look_at_archive(report: &mut Report, options: &Options, folder: &Path, running: Running) {
    let owner = std::fs::metadata(folder).map_or(0, |folder| folder.uid());
    if running == Running::No && rustix::process::geteuid().is_root() && owner != 0 {
        // Whatever root makes there, the server could not open.
        report.ok("archive", format!("not looked into: it belongs to user {owner}, and this is root"));
        return;
    }
    let stored = match StoredGames::read(folder, options) {
        Ok(stored) => stored,
        Err(RecordsError::NoArchive(folder)) => {
            report.ok("archive", format!("none yet; {} will be made", folder.display()));
            return;
        }
        Err(error) => {
            let mend = "docs/archive.md says what lies where; keep a copy of the folder";
            report.wrong("archive", error.to_string(), mend);
            return;
        }
    };
    let StoredGames { newest, games, read, wrong, missing, damage, record_bytes } = stored;
    let size = bytes(record_bytes);
    let finding = if let Some(first) = wrong.first() {
        let message = format!("{} of {read} games cannot be read, {first} among them", wrong.len());
        report.wrong("archive", message, "`liap archive verify` names them all; restore them from a backup")
    } else if let Some(damage) = damage {
        let mend = "what could be mended is mended and the rest set aside; a backup has the rest";
        report.wrong("archive", format!("{missing} games are missing: {damage}"), mend)
    } else if read < games {
        let message = format!("{games} games, {size}; the newest {read} are whole (`liap archive verify` reads all)");
        report.ok("archive", message)
    } else {
        report.ok("archive", format!("{read} games, {size}, all whole"))
    };
    finding.with("games", games).with("read", read).with("wrong", wrong.len()).with("missing", missing);

    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    if let Some(newest) = newest.map(|id| Duration::from_millis(id.unix_ms()))
        && newest > now + AHEAD
    {
        report.warning(
            "clock",
            format!("the newest game began {} h ahead of this clock", (newest - now).as_secs() / 3_600),
            "set the clock; retention and the order of games go by it",
        );
    }
}

/// What the archive holds, and how much of it was read.
struct StoredGames {
    newest: Option<GameId>,
    games: usize,
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
        for ids in ids.chunks(PART_GAMES).take_while(|_| begun.elapsed() < READING) {
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
        Ok(Self { newest: ids.first().copied(), games: ids.len(), read, wrong, missing, damage, record_bytes })
    }
}

fn look_at_journal(report: &mut Report, folder: &Path, running: Running) {
    if !folder.exists() {
        report.ok("journal", "no live games yet");
        return;
    }
    let found = match Recovered::inspect(folder) {
        Ok(found) => found,
        Err(error) => {
            report.wrong(
                "journal",
                format!("{}: {error}", folder.display()),
                "let the server's user read and write there",
            );
            return;
        }
    };
    let rooms = found.rooms.len();
    let finding = if !found.broken.is_empty() {
        report.wrong(
            "journal",
            format!("{} of {} live games do not come back", found.broken.len(), rooms + found.broken.len()),
            "the next start sets a copy aside and names them; the others are untouched",
        )
    } else if found.damaged_bytes > 0 && running == Running::No {
        report.warning(
            "journal",
            format!(
                "{rooms} live games are whole; {} bytes behind them are torn, as after a crash",
                found.damaged_bytes
            ),
            "nothing: the next start sets a copy aside",
        )
    } else {
        report.ok("journal", format!("{rooms} live games, all whole"))
    };
    finding.with("rooms", rooms).with("broken", found.broken.len()).with("damaged_bytes", found.damaged_bytes);
}

/// What earlier starts have set aside, and somebody should look at.
fn look_at_damaged(report: &mut Report, data: &Path) {
    let named = |folder: &Path, what: &str| {
        let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
        entries.filter(|entry| entry.file_name().to_string_lossy().starts_with(what)).count()
    };
    let count = named(data, "archive.damaged-") + named(&data.join("journal"), "damaged-");
    if count > 0 {
        report
            .warning(
                "set aside",
                format!("{count} damaged files from earlier starts are in {}", data.display()),
                "docs/archive.md, \"A set-aside store\"; remove them when you are content",
            )
            .with("files", count);
    }
}
