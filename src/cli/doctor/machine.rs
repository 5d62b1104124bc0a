//! Does the machine have what the settings promise: open files, memory, a clock?

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant, SystemTime};

use indicatif::HumanBytes;
use rustix::process::{Resource, getrlimit};
use sysinfo::System;

use super::report::{Finding, Report, ok, warning, wrong};
use crate::config::Config;

/// Open files besides sockets: the archive's, the journal's, the log, the listeners.
const OTHER_FILES: u64 = 256;
/// With fewer than this even a small server runs into its limit.
const FEW_FILES: u64 = 2 * OTHER_FILES;
/// A clock that moves by more than this during the checks was set.
const CLOCK_TOLERANCE: Duration = Duration::from_millis(500);

/// Checks open files, memory and swap.
pub(super) fn check(report: &mut Report, config: &Config) {
    report.add("open files", check_files(config.http.max_sockets));
    let Ok(mut system) = System::new() else {
        return report.add("memory", warning("the system does not tell", "look with `free`"));
    };
    system.refresh_memory();
    let total = system.total_memory();
    let cgroup = system.cgroup_limits().map(|limits| limits.total_memory).filter(|limit| *limit > 0 && *limit < total);
    let most = cgroup.unwrap_or(total);
    let whose = if cgroup.is_some() { "this control group has" } else { "the machine has" };
    let wanted = config.memory.max_mb.saturating_mul(1 << 20);
    report.add("memory", check_memory(wanted, most, system.available_memory(), whose));
    report.add("swap", check_swap(system.total_swap(), system.free_swap(), most >= wanted.saturating_mul(2)));
}

fn check_files(max_sockets: usize) -> Finding {
    let needed = u64::try_from(max_sockets).unwrap_or(u64::MAX).saturating_add(OTHER_FILES);
    // A server raises its limit as far as it may, so that is what counts.
    let mend = |most: u64| {
        let sockets = most.saturating_sub(OTHER_FILES).max(1);
        format!("raise the hard limit (LimitNOFILE= of systemd, ulimits of compose), or set MAX_SOCKETS={sockets}")
    };
    let finding = match getrlimit(Resource::Nofile).maximum {
        Some(most) if most < FEW_FILES => wrong(format!("a process may have only {most}"), mend(FEW_FILES)),
        Some(most) if most < needed => {
            warning(format!("a process may have {most}, and MAX_SOCKETS={max_sockets} needs {needed}"), mend(most))
        }
        Some(most) => ok(format!("{most} allowed, {needed} needed")),
        None => ok(format!("any number allowed, {needed} needed")),
    };
    finding.with("needed", needed)
}

fn check_memory(wanted: u64, most: u64, available: u64, whose: &str) -> Finding {
    let finding = if wanted > most {
        warning(
            format!("MAX_MEMORY_MB={}, but {whose} {}", wanted >> 20, HumanBytes(most)),
            format!(
                "set MAX_MEMORY_MB={}, so that the server frees memory before the system ends it",
                (most / 5 * 4) >> 20
            ),
        )
    } else if available < wanted / 4 {
        let message = format!("{} of {} are available", HumanBytes(available), HumanBytes(most));
        warning(message, "end something else, or lower MAX_MEMORY_MB")
    } else {
        ok(format!("{whose} {}, {} may be used", HumanBytes(most), HumanBytes(wanted)))
    };
    finding.with("total_bytes", most).with("available_bytes", available)
}

fn check_swap(total: u64, free: u64, memory_is_plentiful: bool) -> Finding {
    let finding = if total > 0 {
        ok(format!("{}, {} of it free", HumanBytes(total), HumanBytes(free)))
    } else if memory_is_plentiful {
        ok("none, and none needed: memory is twice what may be used")
    } else {
        warning(
            "none, and memory is not plentiful: when it runs out, the system ends a process",
            "make some as a safety net (fallocate, mkswap, swapon), or lower MAX_MEMORY_MB",
        )
    };
    finding.with("total_bytes", total)
}

/// Both clocks at the beginning of the checks.
#[derive(Debug, Clone, Copy)]
pub(super) struct Clocks {
    wall: SystemTime,
    steady: Instant,
}

impl Clocks {
    pub(super) fn read() -> Self {
        Self { wall: SystemTime::now(), steady: Instant::now() }
    }

    /// Whether the wall clock is plausible and synchronised.
    pub(super) fn check(self) -> Finding {
        const SET_IT: &str = "set it, and let systemd-timesyncd or chrony synchronise it";
        let now = SystemTime::now();
        let shown = jiff::Timestamp::try_from(now).map_or_else(|_| "no date".to_owned(), |now| format!("{now:.0}"));
        let passed = self.steady.elapsed();
        let jump =
            now.duration_since(self.wall).map_or_else(|back| back.duration() + passed, |wall| wall.abs_diff(passed));
        // No clock is right that is behind the making of this program.
        let made = std::env::current_exe().and_then(|path| path.metadata()?.modified());
        if made.is_ok_and(|made| now < made) {
            return wrong(format!("it shows {shown}, before this program was made"), SET_IT);
        }
        if jump > CLOCK_TOLERANCE {
            return warning(format!("it moved by {:.1} s during these checks", jump.as_secs_f64()), SET_IT);
        }
        match is_synchronised() {
            Some(true) => ok(format!("{shown}, synchronised")),
            Some(false) => warning(format!("{shown}, and nothing synchronises it"), SET_IT),
            None => ok(format!("{shown}; the system does not tell whether it is synchronised")),
        }
    }
}

/// Whether the system's clock is synchronised, as far as systemd tells.
fn is_synchronised() -> Option<bool> {
    if Path::new("/run/systemd/timesync/synchronized").exists() {
        return Some(true);
    }
    if !Path::new("/run/systemd/system").exists() {
        return None;
    }
    let asked = Command::new("timedatectl")
        .args(["show", "--property=NTPSynchronized", "--value"])
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .output()
        .ok()?;
    match asked.stdout.trim_ascii() {
        b"yes" => Some(true),
        b"no" => Some(false),
        _ => None,
    }
}
