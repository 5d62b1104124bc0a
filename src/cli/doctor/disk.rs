//! Can everything be written that must be, and how fast does it get to the disk?

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::fs::Access;

use super::report::Report;
use crate::config::{Config, Environment};

/// With less than this nothing should be begun; a thousand games need one MiB.
const LEAST_BYTES: u64 = 64 << 20;
/// With less than this somebody should look.
const LITTLE_BYTES: u64 = 1 << 30;
/// Files are few here; if there can be no more of them at all, the disk is as good as full.
const LEAST_FILES: u64 = 100;
/// Appends that are measured, unless that takes too long.
const APPENDS: usize = 50;
const LONGEST_MEASURE: Duration = Duration::from_secs(2);
/// What a busy journal writes at once.
const APPEND_BYTES: usize = 4_096;

/// Looks at every place that is written to.
pub(super) fn look(report: &mut Report, config: &Config) {
    let data = &config.data_dir;
    look_at_folder(report, "data folder", "DATA_DIR", data, config.environment);
    if config.archive.enabled {
        let archive = config.archive.folder(data);
        if !archive.starts_with(data) {
            look_at_folder(report, "archive folder", "ARCHIVE_URL", &archive, config.environment);
        } else if archive.exists() {
            look_at_inside(report, "archive folder", &archive);
        }
    }
    if config.journal.enabled && data.join("journal").exists() {
        look_at_inside(report, "journal folder", &data.join("journal"));
    }
    let place = existing(data);
    look_at_space(report, &place);
    look_at_kind(report, &place);
    look_at_speed(report, &place, config);
    if let Some(file) = &config.log.file {
        look_at_log(report, file);
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

fn look_at_folder(report: &mut Report, check: &'static str, setting: &str, folder: &Path, environment: Environment) {
    let shown = folder.display();
    let place = existing(folder);
    let is_there = place == std::path::absolute(folder).unwrap_or_else(|_| folder.to_owned());
    let metadata = match fs::metadata(&place) {
        Ok(metadata) if metadata.is_dir() => metadata,
        Ok(_) => {
            report.wrong(check, format!("{} is no folder", place.display()), format!("set {setting} to another path"));
            return;
        }
        Err(error) => {
            report.wrong(check, format!("{}: {error}", place.display()), format!("set {setting} to another path"));
            return;
        }
    };
    if let Err(error) = may_write(&place) {
        report.wrong(
            check,
            format!("{} cannot be written: {error}", place.display()),
            format!("run this as the server's user, `chown` the folder to it, or set {setting} to another path"),
        );
        return;
    }
    let mode = metadata.permissions().mode() & 0o7777;
    if !is_there {
        report.ok(check, format!("{shown} will be made in {}", place.display()));
    } else if mode & 0o002 != 0 {
        report.wrong(
            check,
            format!("everybody on this machine may write in {shown} (mode {mode:o})"),
            format!("chmod o-w {shown}"),
        );
    } else if mode & 0o007 != 0 && environment == Environment::Production {
        report.warning(
            check,
            format!("everybody on this machine may read {shown} (mode {mode:o}): names of players, live games"),
            format!("chmod 700 {shown}"),
        );
    } else {
        report.ok(check, format!("{shown} can be written (mode {mode:o})"));
    }
    if is_there && rustix::process::geteuid().is_root() && metadata.uid() != 0 {
        report.warning(
            check,
            format!("{shown} belongs to user {}, and this is root, who may write anywhere", metadata.uid()),
            "run this as the server's user",
        );
    }
}

/// A folder that the server has made itself: told only if something is wrong with it.
fn look_at_inside(report: &mut Report, check: &'static str, folder: &Path) {
    if let Err(error) = may_write(folder) {
        let shown = folder.display();
        report.wrong(
            check,
            format!("{shown} cannot be written: {error}"),
            format!("`chown` {shown} to the server's user"),
        );
    }
}

fn look_at_space(report: &mut Report, place: &Path) {
    let stat = match rustix::fs::statvfs(place) {
        Ok(stat) => stat,
        Err(error) => {
            report.warning("disk space", format!("it cannot be told: {error}"), "look with `df`");
            return;
        }
    };
    let free = stat.f_bavail.saturating_mul(stat.f_frsize);
    // Some file systems have no number of files they can hold.
    let is_out_of_files = stat.f_files > 0 && stat.f_favail < LEAST_FILES;
    let shown = place.display();
    let finding = if is_out_of_files {
        report.wrong("disk space", format!("{shown} can hold no more files"), "remove some; `df -i` shows where")
    } else if free < LEAST_BYTES {
        report.wrong("disk space", format!("{} left in {shown}", bytes(free)), "free some, or move DATA_DIR")
    } else if free < LITTLE_BYTES {
        report.warning(
            "disk space",
            format!("{} left in {shown}, enough for {} games", bytes(free), free / 1_024),
            "free some, or move DATA_DIR; ARCHIVE_RETENTION_DAYS, where it is not 0, bounds what is kept",
        )
    } else {
        report.ok("disk space", format!("{} free", bytes(free)))
    };
    finding.with("free_bytes", free);
}

/// Warns of places that do not outlive what they are there to outlive.
fn look_at_kind(report: &mut Report, place: &Path) {
    #[cfg(target_os = "linux")]
    {
        const TMPFS: i64 = 0x0102_1994;
        const OVERLAY: i64 = 0x794c_7630;
        const NFS: i64 = 0x6969;
        let shown = place.display();
        #[allow(clippy::useless_conversion, reason = "the field is narrower on some systems")]
        let kind = rustix::fs::statfs(place).map_or(0, |stat| i64::from(stat.f_type));
        match kind {
            TMPFS => {
                report.warning("disk kind", format!("{shown} is in memory and gone after a restart"), "move DATA_DIR")
            }
            OVERLAY => report.warning(
                "disk kind",
                format!("{shown} is in the container itself and gone with it"),
                "mount a volume there, as docker-compose.yml does",
            ),
            NFS => report.warning(
                "disk kind",
                format!("{shown} is on the network: games wait for it, and locks may not hold"),
                "move DATA_DIR to a disk of this machine",
            ),
            _ => return,
        };
    }
    #[cfg(not(target_os = "linux"))]
    let _ = (report, place);
}

/// Appends and syncs as the journal does. Moves do not wait for this, but the journal lags by it.
fn look_at_speed(report: &mut Report, place: &Path, config: &Config) {
    let mut times = match measure(place) {
        Ok(times) => times,
        Err(error) => {
            report.wrong(
                "disk speed",
                format!("nothing can be written in {}: {error}", place.display()),
                "let the server's user write there, or move DATA_DIR",
            );
            return;
        }
    };
    times.sort_unstable();
    let (Some(&median), Some(&longest)) = (times.get(times.len() / 2), times.last()) else { return };
    let ms = |time: Duration| format!("{:.1} ms", time.as_secs_f64() * 1e3);
    let message =
        format!("an append is safe after {} (median of {}, longest {})", ms(median), times.len(), ms(longest));
    let promised = config.journal.interval;
    let finding = if median > promised / 2 {
        report.warning(
            "disk speed",
            message,
            format!(
                "the journal promises {} ms: use a faster disk, or raise LIVE_JOURNAL_INTERVAL_MS",
                promised.as_millis()
            ),
        )
    } else {
        report.ok("disk speed", message)
    };
    finding.with("median_seconds", median.as_secs_f64()).with("longest_seconds", longest.as_secs_f64());
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

fn look_at_log(report: &mut Report, file: &Path) {
    let shown = file.display();
    let outcome = if file.exists() {
        File::options().append(true).open(file).map(drop)
    } else {
        let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        may_write(folder)
    };
    match outcome {
        Ok(()) => report.ok("log file", format!("{shown} can be written")),
        Err(error) => report.wrong(
            "log file",
            format!("{shown} cannot be written: {error}"),
            "make its folder for the server's user, or leave LOG_FILE empty for standard error",
        ),
    };
}

/// A size for people.
pub(super) fn bytes(bytes: u64) -> String {
    #[expect(clippy::cast_precision_loss, reason = "rounded to a tenth anyway")]
    match bytes {
        0..1_048_576 => format!("{} KiB", bytes >> 10),
        1_048_576..1_073_741_824 => format!("{} MiB", bytes >> 20),
        _ => format!("{:.1} GiB", bytes as f64 / 1_073_741_824.0),
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

    #[test]
    fn sizes_are_for_people() {
        let shown = [0, 4_096, 5 << 20, 3 << 29].map(bytes);
        assert_eq!(shown, ["0 KiB", "4 KiB", "5 MiB", "1.5 GiB"]);
    }
}
