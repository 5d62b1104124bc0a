//! Can everything be written that must be, and how fast does it get to the disk?

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use indicatif::HumanBytes;
use rustix::fs::Access;

use super::report::{Finding, Report, ok, warning, wrong};
use crate::config::{Config, Environment};

/// With less than this nothing should be begun; a thousand games need one MiB.
const LEAST_BYTES: u64 = 64 << 20;
/// With less than this there is a warning.
const LITTLE_BYTES: u64 = 1 << 30;
/// Files are few here; if there can be no more of them at all, the disk is as good as full.
const LEAST_FILES: u64 = 100;
/// Appends that are measured, unless that takes too long.
const APPENDS: usize = 50;
const LONGEST_MEASURE: Duration = Duration::from_secs(2);
/// What a busy journal writes at once.
const APPEND_BYTES: usize = 4_096;

/// Checks every place that is written to.
pub(super) fn check(report: &mut Report, config: &Config) {
    let data = &config.data_dir;
    check_folder(report, "data folder", "DATA_DIR", data, config.environment);
    if config.archive.enabled {
        let archive = config.archive.folder(data);
        if archive.starts_with(data) {
            check_subfolder(report, "archive folder", &archive);
        } else {
            check_folder(report, "archive folder", "ARCHIVE_URL", &archive, config.environment);
        }
    }
    if config.journal.enabled {
        check_subfolder(report, "journal folder", &data.join("journal"));
    }
    let place = existing(data);
    report.add("disk space", check_space(&place));
    check_kind(report, &place);
    report.add("disk speed", check_speed(&place, config.journal.interval));
    if let Some(file) = &config.log.file {
        report.add("log file", check_log(file));
    }
}

/// The folder itself or, where it has yet to be made, the one in which that will happen.
fn existing(folder: &Path) -> PathBuf {
    let absolute = std::path::absolute(folder).unwrap_or_else(|_| folder.to_owned());
    absolute.ancestors().find(|path| path.exists()).map_or(absolute.clone(), Path::to_owned)
}

fn may_write(folder: &Path) -> io::Result<()> {
    rustix::fs::access(folder, Access::WRITE_OK | Access::EXEC_OK).map_err(io::Error::from)
}

fn check_folder(report: &mut Report, check: &'static str, setting: &str, folder: &Path, environment: Environment) {
    let shown = folder.display();
    let place = existing(folder);
    let is_there = place == std::path::absolute(folder).unwrap_or_else(|_| folder.to_owned());
    let problem = match fs::metadata(&place) {
        Ok(metadata) if metadata.is_dir() => Ok(metadata),
        Ok(_) => Err("it is no folder".to_owned()),
        Err(error) => Err(error.to_string()),
    };
    let metadata = match problem {
        Ok(metadata) => metadata,
        Err(problem) => {
            let mend = format!("set {setting} to another path");
            return report.add(check, wrong(format!("{}: {problem}", place.display()), mend));
        }
    };
    if let Err(error) = may_write(&place) {
        let message = format!("{} cannot be written: {error}", place.display());
        let mend = format!("run this as the server's user, `chown` the folder to it, or set {setting} to another path");
        return report.add(check, wrong(message, mend));
    }
    let mode = metadata.permissions().mode() & 0o7777;
    let everybody = |may: &str| format!("every user of this machine may {may} {shown} (mode {mode:o})");
    let finding = if !is_there {
        ok(format!("{shown} will be made in {}", place.display()))
    } else if mode & 0o002 != 0 {
        wrong(everybody("write in"), format!("chmod o-w {shown}"))
    } else if mode & 0o007 != 0 && environment == Environment::Production {
        warning(everybody("read") + ": names of players, live games", format!("chmod 700 {shown}"))
    } else {
        ok(format!("{shown} can be written (mode {mode:o})"))
    };
    report.add(check, finding);
    if is_there && rustix::process::geteuid().is_root() && metadata.uid() != 0 {
        let message = format!("{shown} belongs to user {}, and this is root, who may write anywhere", metadata.uid());
        report.add(check, warning(message, "run this as the server's user"));
    }
}

/// A folder that the server has made itself: reported only if something is wrong with it.
fn check_subfolder(report: &mut Report, check: &'static str, folder: &Path) {
    if folder.exists()
        && let Err(error) = may_write(folder)
    {
        let shown = folder.display();
        let mend = format!("`chown` {shown} to the server's user");
        report.add(check, wrong(format!("{shown} cannot be written: {error}"), mend));
    }
}

fn check_space(place: &Path) -> Finding {
    let stat = match rustix::fs::statvfs(place) {
        Ok(stat) => stat,
        Err(error) => return warning(format!("the system does not tell: {error}"), "look with `df`"),
    };
    let free = stat.f_bavail.saturating_mul(stat.f_frsize);
    // Some file systems have no number of files they can hold.
    let is_out_of_files = stat.f_files > 0 && stat.f_favail < LEAST_FILES;
    let shown = place.display();
    let finding = if is_out_of_files {
        wrong(format!("{shown} can hold no more files"), "remove some; `df -i` shows where")
    } else if free < LEAST_BYTES {
        wrong(format!("{} left in {shown}", HumanBytes(free)), "free some, or move DATA_DIR")
    } else if free < LITTLE_BYTES {
        warning(
            format!("{} left in {shown}, enough for {} games", HumanBytes(free), free / 1_024),
            "free some, or move DATA_DIR; ARCHIVE_RETENTION_DAYS, where it is not 0, bounds what is kept",
        )
    } else {
        ok(format!("{} free", HumanBytes(free)))
    };
    finding.with("free_bytes", free)
}

/// Warns of file systems that lose what must be kept.
fn check_kind(report: &mut Report, place: &Path) {
    #[cfg(target_os = "linux")]
    {
        const TMPFS: i64 = 0x0102_1994;
        const OVERLAY: i64 = 0x794c_7630;
        const NFS: i64 = 0x6969;
        #[allow(clippy::useless_conversion, reason = "the field is narrower on some systems")]
        let kind = rustix::fs::statfs(place).map_or(0, |stat| i64::from(stat.f_type));
        let (what, mend) = match kind {
            TMPFS => ("in memory and gone after a restart", "move DATA_DIR"),
            OVERLAY => ("in the container itself and gone with it", "mount a volume there, as docker-compose.yml does"),
            NFS => {
                ("on the network: games wait for it, and locks may not hold", "move DATA_DIR to a disk of this machine")
            }
            _ => return,
        };
        report.add("disk kind", warning(format!("{} is {what}", place.display()), mend));
    }
    #[cfg(not(target_os = "linux"))]
    let _ = (report, place);
}

/// Appends and syncs as the journal does. Moves do not wait for this, but the journal lags by it.
fn check_speed(place: &Path, promised: Duration) -> Finding {
    let mut times = match measure(place) {
        Ok(times) => times,
        Err(error) => {
            let message = format!("nothing can be written in {}: {error}", place.display());
            return wrong(message, "let the server's user write there, or move DATA_DIR");
        }
    };
    times.sort_unstable();
    let median = times.get(times.len() / 2).copied().unwrap_or_default();
    let longest = times.last().copied().unwrap_or_default();
    let ms = |time: Duration| format!("{:.1} ms", time.as_secs_f64() * 1e3);
    let message =
        format!("an append is safe after {} (median of {}, longest {})", ms(median), times.len(), ms(longest));
    let finding = if median > promised / 2 {
        let promised = promised.as_millis();
        let mend = format!("the journal promises {promised} ms: use a faster disk, or raise LIVE_JOURNAL_INTERVAL_MS");
        warning(message, mend)
    } else {
        ok(message)
    };
    finding.with("median_seconds", median.as_secs_f64()).with("longest_seconds", longest.as_secs_f64())
}

fn measure(folder: &Path) -> io::Result<Vec<Duration>> {
    let path = folder.join(format!(".liap-doctor-{}", std::process::id()));
    let mut file = File::options().write(true).create_new(true).open(&path)?;
    // Without a name it is gone with us, however we end.
    fs::remove_file(&path)?;
    let begun = Instant::now();
    let mut times = Vec::with_capacity(APPENDS);
    while times.len() < APPENDS && begun.elapsed() < LONGEST_MEASURE {
        let at = Instant::now();
        file.write_all(&[0; APPEND_BYTES])?;
        file.sync_data()?;
        times.push(at.elapsed());
    }
    Ok(times)
}

fn check_log(file: &Path) -> Finding {
    let shown = file.display();
    let outcome = if file.exists() {
        File::options().append(true).open(file).map(drop)
    } else {
        let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        may_write(folder)
    };
    match outcome {
        Ok(()) => ok(format!("{shown} can be written")),
        Err(error) => wrong(
            format!("{shown} cannot be written: {error}"),
            "make its folder for the server's user, or leave LOG_FILE empty for standard error",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn measuring_leaves_nothing_behind() {
        let folder = tempfile::tempdir().unwrap();
        let times = measure(folder.path()).unwrap();
        assert!(!times.is_empty() && times.len() <= APPENDS);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    }
}
