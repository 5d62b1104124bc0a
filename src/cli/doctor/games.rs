//! Are the games that are there already whole? All of this only reads, also while a server writes.

use std::path::Path;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use super::disk::bytes;
use super::ports::Running;
use super::report::Report;
use crate::archive::{GameId, Snapshot, decode_summary};
use crate::config::Config;
use crate::room::Recovered;

/// How long stored games are read, newest first; `liap archive verify` reads all.
const READING: Duration = Duration::from_secs(5);
/// A game from so far ahead was not stored by a clock that is right now.
const AHEAD: Duration = Duration::from_secs(3_600);

/// Looks at completed games and live ones.
pub(super) fn look(report: &mut Report, config: &Config, running: Running) {
    if !config.archive.enabled {
        report.ok("archive", "switched off");
    } else {
        look_at_archive(report, &config.archive.folder(&config.data_dir), config.archive.retention());
    }
    if config.journal.enabled {
        look_at_journal(report, &config.data_dir.join("journal"), running);
    } else {
        report.ok("journal", "switched off");
    }
    look_at_damaged(report, &config.data_dir);
}

fn look_at_archive(report: &mut Report, folder: &Path, retention: Option<Duration>) {
    let shown = folder.display();
    if !folder.exists() {
        report.ok("archive", format!("none yet; {shown} will be made"));
        return;
    }
    let snapshot = match Snapshot::open(folder) {
        Ok(snapshot) => snapshot,
        Err(error) => {
            report.wrong(
                "archive",
                error.to_string(),
                "docs/archive.md says what lies where; keep a copy of the folder",
            );
            return;
        }
    };
    let begun = Instant::now();
    let (mut read, mut wrong) = (0_usize, Vec::new());
    for id in snapshot.ids().rev() {
        if begun.elapsed() > READING {
            break;
        }
        read += 1;
        if !is_whole(&snapshot, id) {
            wrong.push(id);
        }
    }
    let damage = snapshot.damage();
    let size = bytes(snapshot.record_bytes());
    let finding = if let Some(first) = wrong.first() {
        let message = format!("{} of {read} games cannot be read, {first} among them", wrong.len());
        report.wrong("archive", message, "`liap archive verify` names them all; restore them from a backup")
    } else if damage.is_any() {
        report.wrong(
            "archive",
            format!("{} games are missing", damage.missing),
            "the next start mends what can be mended and sets the rest aside; a backup has the rest",
        )
    } else if read < snapshot.len() {
        let message = format!("{} games, {size}; the newest {read} are whole", snapshot.len());
        report.ok("archive", format!("{message} (`liap archive verify` reads all)"))
    } else {
        report.ok("archive", format!("{read} games, {size}, all whole"))
    };
    finding.with("games", snapshot.len()).with("read", read).with("wrong", wrong.len()).with("missing", damage.missing);

    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    look_at_retention(report, &snapshot, retention, now);
    if let Some(newest) = snapshot.ids().next_back().map(|id| Duration::from_millis(id.unix_ms()))
        && newest > now + AHEAD
    {
        report.warning(
            "clock",
            format!("the newest game began {} h ahead of this clock", (newest - now).as_secs() / 3_600),
            "set the clock; retention and the order of games go by it",
        );
    }
}

/// Says how many games the server removes for their age. Where it is most of them, the number or the clock may be wrong.
fn look_at_retention(report: &mut Report, snapshot: &Snapshot, retention: Option<Duration>, now: Duration) {
    let Some(retention) = retention else {
        report.ok("retention", "games are kept for ever");
        return;
    };
    let since_ms = u64::try_from(now.saturating_sub(retention).as_millis()).unwrap_or(u64::MAX);
    let old = snapshot.ids().take_while(|id| *id < GameId::first_at(since_ms)).count();
    let (games, days) = (snapshot.len(), retention.as_secs() / 86_400);
    let finding = if old * 2 > games {
        report.warning(
            "retention",
            format!("{old} of {games} games are older than {days} days; the server removes them"),
            "to keep them, set ARCHIVE_RETENTION_DAYS higher, or to 0; if they are not so old, set the clock",
        )
    } else {
        report.ok("retention", format!("games older than {days} days are removed, {old} of {games} now"))
    };
    finding.with("games", old);
}

fn is_whole(snapshot: &Snapshot, id: GameId) -> bool {
    let record = snapshot.get(id).ok().flatten();
    record.is_some_and(|record| decode_summary(&record).is_ok_and(|summary| summary.game_id == id))
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
