//! Has the machine what the settings promise: open files, memory, a clock?

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant, SystemTime};

use rustix::process::{Resource, getrlimit};
use sysinfo::System;

use super::disk::bytes;
use super::report::Report;
use crate::config::Config;

/// Open files besides sockets: the archive's, the journal's, the log, the listeners.
const OTHER_FILES: u64 = 256;
/// With fewer than this even a small server runs into its limit.
const FEW_FILES: u64 = 2 * OTHER_FILES;
/// A clock that moves by more than this while we look was set.
const STEADY: Duration = Duration::from_millis(500);

/// Looks at open files, memory and swap.
pub(super) fn look(report: &mut Report, config: &Config) {
    look_at_files(report, config);
    look_at_memory(report, config);
}

fn look_at_files(report: &mut Report, config: &Config) {
    let needed = u64::try_from(config.http.max_sockets).unwrap_or(u64::MAX).saturating_add(OTHER_FILES);
    // A server raises its limit as far as it may, so that is what counts.
    let mend = |most: u64| {
        let sockets = most.saturating_sub(OTHER_FILES).max(1);
        format!("raise the hard limit (LimitNOFILE= of systemd, ulimits of compose), or set MAX_SOCKETS={sockets}")
    };
    let finding = match getrlimit(Resource::Nofile).maximum {
        Some(most) if most < FEW_FILES => {
            report.wrong("open files", format!("a process may have only {most}"), mend(FEW_FILES))
        }
        Some(most) if most < needed => report.warning(
            "open files",
            format!("a process may have {most}, and MAX_SOCKETS={} needs {needed}", config.http.max_sockets),
            mend(most),
        ),
        Some(most) => report.ok("open files", format!("{most} allowed, {needed} needed")),
        None => report.ok("open files", format!("as many as you like, {needed} needed")),
    };
    finding.with("needed", needed);
}

fn look_at_memory(report: &mut Report, config: &Config) {
    let Ok(mut system) = System::new() else {
        report.warning("memory", "it cannot be told", "look with `free`");
        return;
    };
    system.refresh_memory();
    let wanted = config.memory.max_mb.saturating_mul(1 << 20);
    let total = system.total_memory();
    let cgroup = system.cgroup_limits().map(|limits| limits.total_memory).filter(|limit| *limit > 0 && *limit < total);
    let most = cgroup.unwrap_or(total);
    let whose = if cgroup.is_some() { "this control group has" } else { "the machine has" };
    let share = most / 5 * 4;
    let finding = if wanted > most {
        let mend = format!("set MAX_MEMORY_MB={}, so that the server gives way before the system ends it", share >> 20);
        let message = format!("MAX_MEMORY_MB={}, but {whose} {}", config.memory.max_mb, bytes(most));
        report.warning("memory", message, mend)
    } else if system.available_memory() < wanted / 4 {
        let message = format!("{} of {} are available", bytes(system.available_memory()), bytes(most));
        report.warning("memory", message, "end something else, or lower MAX_MEMORY_MB")
    } else {
        report.ok("memory", format!("{whose} {}, {} may be used", bytes(most), bytes(wanted)))
    };
    finding.with("total_bytes", most).with("available_bytes", system.available_memory());

    let swap = system.total_swap();
    let finding = if swap > 0 {
        report.ok("swap", format!("{}, {} of it free", bytes(swap), bytes(system.free_swap())))
    } else if most < wanted.saturating_mul(2) {
        report.warning(
            "swap",
            "none, and memory is not plentiful: when it runs out, the system ends a process",
            "make some as a safety net (fallocate, mkswap, swapon), or lower MAX_MEMORY_MB",
        )
    } else {
        report.ok("swap", "none, and none needed: memory is twice what may be used")
    };
    finding.with("total_bytes", swap);
}

/// Both clocks at the beginning of the look.
#[derive(Debug, Clone, Copy)]
pub(super) struct Clocks {
    wall: SystemTime,
    steady: Instant,
}

impl Clocks {
    pub(super) fn read() -> Self {
        Self { wall: SystemTime::now(), steady: Instant::now() }
    }

    /// Whether the wall clock is plausible and kept in step.
    pub(super) fn look(self, report: &mut Report) {
        const SET_IT: &str = "set it, and let systemd-timesyncd or chrony keep it";
        let now = SystemTime::now();
        let passed = self.steady.elapsed();
        let jump =
            now.duration_since(self.wall).map_or_else(|back| back.duration() + passed, |wall| wall.abs_diff(passed));
        // No clock is right that is behind the making of this program.
        let made = std::env::current_exe().and_then(|path| path.metadata()?.modified());
        if made.is_ok_and(|made| now < made) {
            report.wrong("clock", format!("it shows {}, before this program was made", shown(now)), SET_IT);
        } else if jump > STEADY {
            report.warning("clock", format!("it was moved by {:.1} s while we looked", jump.as_secs_f64()), SET_IT);
        } else {
            match is_synchronised() {
                Some(true) => report.ok("clock", format!("{}, kept in step", shown(now))),
                Some(false) => report.warning("clock", format!("{}, and nothing keeps it in step", shown(now)), SET_IT),
                None => {
                    report.ok("clock", format!("{}; the system does not say whether it is kept in step", shown(now)))
                }
            };
        }
    }
}

fn shown(time: SystemTime) -> String {
    jiff::Timestamp::try_from(time).map_or_else(|_| "no date".to_owned(), |time| format!("{time:.0}"))
}

/// Whether the system's clock is synchronised, as far as systemd tells.
fn is_synchronised() -> Option<bool> {
    if Path::new("/run/systemd/timesync/synchronized").exists() {
        return Some(true);
    }
    // Where systemd does not run, there is nobody to ask.
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
