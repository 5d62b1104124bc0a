//! How much memory the process uses, and how tight that is.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use strum::IntoStaticStr;
use sysinfo::{Pid, ProcessRefreshKind, ProcessesToUpdate, System};
use tokio::sync::watch;

use super::{MemoryOptions, Metrics};

/// How tight memory is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, IntoStaticStr)]
#[strum(serialize_all = "snake_case")]
pub enum MemoryLevel {
    /// Nothing to do.
    #[default]
    Normal,
    /// Finished games leave memory, caches shrink.
    Tight,
    /// New rooms are refused as well. Running games are never harmed.
    Critical,
}

impl MemoryLevel {
    /// Its name in logs and health.
    pub fn name(self) -> &'static str {
        self.into()
    }
}

/// One measurement of the memory.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct MemoryState {
    /// How tight it is.
    pub level: MemoryLevel,
    /// What the process uses, in bytes.
    pub used_bytes: u64,
    /// What it may use, in bytes; 0 before the first measurement.
    pub limit_bytes: u64,
}

impl MemoryState {
    /// The share in use, in percent.
    pub fn used_percent(self) -> u64 {
        percent(self.used_bytes, self.limit_bytes)
    }
}

fn percent(used: u64, limit: u64) -> u64 {
    used.saturating_mul(100).checked_div(limit).unwrap_or(0)
}

/// A level ends only when memory has fallen this many percent below its threshold, so that it does not flap.
const HYSTERESIS_PERCENT: u64 = 5;

/// The longest time between two measurements while memory is not normal.
const INTERVAL_MAX_IF_TIGHT: Duration = Duration::from_secs(5);

/// The level after a measurement: tight from `alert_percent` on, critical from half of what is left above it.
fn level(before: MemoryLevel, used_percent: u64, alert_percent: u64) -> MemoryLevel {
    let critical_percent = u64::midpoint(alert_percent, 100);
    let reached = |threshold: u64, level: MemoryLevel| {
        let threshold = if before >= level { threshold.saturating_sub(HYSTERESIS_PERCENT) } else { threshold };
        used_percent >= threshold
    };
    if reached(critical_percent, MemoryLevel::Critical) {
        MemoryLevel::Critical
    } else if reached(alert_percent, MemoryLevel::Tight) {
        MemoryLevel::Tight
    } else {
        MemoryLevel::Normal
    }
}

/// Watches memory from a thread of its own until every receiver is gone, and keeps its metrics. Measures once before it
/// returns. When watching is off, the level stays normal and only the metrics are kept.
///
/// # Errors
/// If the thread cannot be started.
pub fn watch_memory(options: MemoryOptions, metrics: Arc<Metrics>) -> io::Result<watch::Receiver<MemoryState>> {
    let Some(gauge) = Gauge::open() else {
        log::warn!("the memory of the process cannot be read here; it is not watched");
        return Ok(watch::channel(MemoryState::default()).1);
    };
    let mut watcher = Watcher { gauge, options, metrics, state: MemoryState::default() };
    watcher.measure();
    let (sender, receiver) = watch::channel(watcher.state);
    std::thread::Builder::new().name("memory".to_owned()).spawn(move || {
        while !sender.is_closed() {
            std::thread::sleep(watcher.pause());
            watcher.measure();
            sender.send_replace(watcher.state);
        }
    })?;
    Ok(receiver)
}

/// What the process has in memory now, in bytes; 0 where that cannot be read.
pub fn resident_bytes() -> u64 {
    Gauge::open().and_then(|mut gauge| gauge.read()).map_or(0, |reading| reading.resident)
}

struct Watcher {
    gauge: Gauge,
    options: MemoryOptions,
    metrics: Arc<Metrics>,
    state: MemoryState,
}

impl Watcher {
    fn pause(&self) -> Duration {
        match self.state.level {
            MemoryLevel::Normal => self.options.check_interval,
            MemoryLevel::Tight | MemoryLevel::Critical => self.options.check_interval.min(INTERVAL_MAX_IF_TIGHT),
        }
    }

    fn measure(&mut self) {
        let Some(reading) = self.gauge.read() else { return };
        let before = self.state.level;
        self.state = state(before, reading, &self.options);
        let MemoryState { level, used_bytes, limit_bytes } = self.state;

        self.metrics.process_resident_memory_bytes.set(signed(used_bytes));
        self.metrics.memory_limit_bytes.set(signed(limit_bytes));
        self.metrics.memory_level.set(level as i64);
        self.metrics.process_open_fds.set(signed(reading.open_files));
        self.metrics.process_max_fds.set(signed(reading.max_open_files));
        let cpu_seconds = reading.cpu.as_secs_f64() - self.metrics.process_cpu_seconds_total.get();
        self.metrics.process_cpu_seconds_total.inc_by(cpu_seconds.max(0.0));

        let (used_mb, limit_mb) = (used_bytes / MIB, limit_bytes / MIB);
        if level > before {
            log::warn!(used_mb, limit_mb, memory_level = level.name(); "memory is {}", level.name());
        } else if level < before {
            log::info!(used_mb, limit_mb, memory_level = level.name(); "memory is {} again", level.name());
        }
    }
}

const MIB: u64 = 1024 * 1024;

/// The state after a reading.
fn state(before: MemoryLevel, reading: Reading, options: &MemoryOptions) -> MemoryState {
    let setting = options.max_mb.saturating_mul(MIB);
    let limit_bytes = reading.cgroup_limit.map_or(setting, |limit| limit.min(setting));
    let used_bytes = reading.resident;
    let level = if options.enabled {
        level(before, percent(used_bytes, limit_bytes), u64::from(options.alert_percent))
    } else {
        MemoryLevel::Normal
    };
    MemoryState { level, used_bytes, limit_bytes }
}

fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// What the kernel says about this process.
#[derive(Debug, Clone, Copy, Default)]
struct Reading {
    resident: u64,
    cgroup_limit: Option<u64>,
    cpu: Duration,
    open_files: u64,
    max_open_files: u64,
}

/// Reads what the kernel says about this process only: to read all processes costs a hundred times as much.
struct Gauge {
    system: System,
    pid: Pid,
}

impl Gauge {
    fn open() -> Option<Self> {
        Some(Self { system: System::new().ok()?, pid: sysinfo::get_current_pid().ok()? })
    }

    fn read(&mut self) -> Option<Reading> {
        let what = ProcessRefreshKind::nothing().with_memory().with_cpu().without_tasks();
        self.system.refresh_processes_specifics(ProcessesToUpdate::Some(&[self.pid]), false, what);
        let process = self.system.process(self.pid)?;
        let count = |files: Option<usize>| files.and_then(|files| u64::try_from(files).ok()).unwrap_or(0);
        Some(Reading {
            resident: process.memory(),
            // Without a limit some kernels say zero and some a number no machine has.
            cgroup_limit: process.cgroup_limits().map(|limits| limits.total_memory).filter(|limit| *limit > 0),
            cpu: Duration::from_millis(process.accumulated_cpu_time()),
            open_files: count(process.open_files()),
            max_open_files: count(process.open_files_limit()),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_begin_at_their_thresholds_and_end_below_them() {
        use MemoryLevel::{Critical, Normal, Tight};
        let mut now = Normal;
        for (used, expected) in [
            (79, Normal),
            (80, Tight),
            (76, Tight),
            (75, Tight),
            (74, Normal),
            (79, Normal),
            (89, Tight),
            (90, Critical),
            (85, Critical),
            (84, Tight),
            (89, Tight),
            (100, Critical),
            (10, Normal),
        ] {
            now = level(now, used, 80);
            assert_eq!(now, expected, "at {used} %");
        }
    }

    #[test]
    fn the_lower_limit_counts() {
        let options = MemoryOptions { max_mb: 100, ..MemoryOptions::default() };
        let reading = |resident_mb: u64, cgroup_mb: Option<u64>| Reading {
            resident: resident_mb * MIB,
            cgroup_limit: cgroup_mb.map(|mb| mb * MIB),
            ..Reading::default()
        };
        let look = |reading| state(MemoryLevel::Normal, reading, &options);
        assert_eq!(look(reading(50, None)).used_percent(), 50);
        assert_eq!(look(reading(50, Some(200))).limit_bytes, 100 * MIB);
        assert_eq!(look(reading(50, Some(60))).level, MemoryLevel::Tight);
        let off = MemoryOptions { enabled: false, ..options.clone() };
        assert_eq!(state(MemoryLevel::Normal, reading(99, None), &off).level, MemoryLevel::Normal);
    }

    #[test]
    fn this_process_is_seen_as_it_is() {
        let metrics = Arc::new(Metrics::new("test", "test", false));
        let options = MemoryOptions { max_mb: 1, ..MemoryOptions::default() };
        let state = *watch_memory(options, Arc::clone(&metrics)).unwrap().borrow();
        assert_eq!(state.level, MemoryLevel::Critical, "more than a MiB is in use: {state:?}");
        assert!(state.used_bytes > MIB && state.used_bytes < 4_096 * MIB, "{state:?}");
        assert_eq!(metrics.process_resident_memory_bytes.get(), i64::try_from(state.used_bytes).unwrap());
        assert!(metrics.process_open_fds.get() >= 3);
        assert!(metrics.process_max_fds.get() >= metrics.process_open_fds.get());
    }
}
