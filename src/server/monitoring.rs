use std::sync::Arc;

use strum::IntoEnumIterator as _;
use tokio::runtime::Handle;

use crate::archive::Archive;
use crate::limit::Kind;
use crate::observe::{Check, Health, HealthOptions, HealthStatus, MemoryLevel, MemoryState};
use crate::room::Journal;
use crate::services::Services;

/// The health checks of every service that can fail.
pub(super) fn health(options: &HealthOptions, services: &Services, refused_rooms: usize) -> Health {
    let Services { metrics, limiter, rooms, directory, archive, journal, redis, memory, .. } = services.clone();
    let mut health = Health::new(options, metrics);
    for kind in archive.iter().flat_map(Archive::sinks) {
        let archive = archive.clone();
        health = health.check(kind.name(), move || {
            archive.as_ref().map_or_else(Check::healthy, |archive| archive.check_sink(kind))
        });
    }
    health = health
        .check("archive", move || {
            let off = || Check::healthy().with("enabled", false);
            archive.as_ref().map_or_else(off, |archive| archive.check().with("enabled", true))
        })
        .check("journal", move || check_journal(&journal, refused_rooms))
        .check("memory", move || check_memory(*memory.borrow()))
        .check("limits", move || Check::healthy().with("keys", limiter.held_in_all()))
        .check("rooms", move || Check::healthy().with("rooms", rooms.len()));
    if let Some(redis) = redis {
        health = health.check("redis", move || redis.check());
    }
    if directory.check().is_some() {
        health = health.check("instances", move || directory.check().unwrap_or_default());
    }
    health
}

/// How the journal is doing. Damaged files that starts have set aside degrade it until an operator has removed them.
fn check_journal(journal: &Journal, refused_rooms: usize) -> Check {
    const LISTED: usize = 10;
    let Some(status) = journal.status() else { return Check::healthy().with("enabled", false) };
    let mut check = status.check();
    let set_aside = journal.damaged_files();
    if check.status == HealthStatus::Healthy && !set_aside.is_empty() {
        check.status = HealthStatus::Degraded;
        check.message = Some(format!(
            "{} damaged files of the journal are set aside; the log of that start says what is lost; move or remove the \
             files when you have seen them",
            set_aside.len()
        ));
    } else if check.status == HealthStatus::Healthy && refused_rooms > 0 {
        check.status = HealthStatus::Degraded;
        check.message = Some(format!("{refused_rooms} live games did not come back after the last start"));
    }
    let set_aside: Vec<String> = set_aside.iter().take(LISTED).map(|path| path.display().to_string()).collect();
    check.with("enabled", true).with("set_aside", set_aside)
}

fn check_memory(memory: MemoryState) -> Check {
    let check = match memory.level {
        MemoryLevel::Normal => Check::healthy(),
        MemoryLevel::Tight => Check::degraded("memory is tight"),
        MemoryLevel::Critical => Check::degraded("memory is nearly used up; new rooms are refused"),
    };
    check
        .with("used_bytes", memory.used_bytes)
        .with("limit_bytes", memory.limit_bytes)
        .with("used_percent", memory.used_percent())
}

/// Renders all metrics as text. Gauges that cost something to keep are measured only then.
pub(super) fn scrape(services: Services, request_thread: &Handle) -> impl Fn() -> String + Send + Sync + 'static {
    let runtimes = [Handle::current().metrics(), request_thread.metrics()];
    move || {
        let metrics = Arc::clone(&services.metrics);
        metrics.tasks.set(gauge(runtimes.iter().map(|runtime| runtime.num_alive_tasks() as u64).sum()));
        for kind in Kind::iter() {
            metrics.limit_keys.with(kind.name()).set(gauge(services.limiter.held(kind) as u64));
        }
        let count = services.rooms.count();
        metrics.rooms.with("waiting").set(gauge(count.waiting as u64));
        metrics.rooms.with("playing").set(gauge(count.playing as u64));
        metrics.rooms.with("over").set(gauge(count.over as u64));
        if let Some(status) = services.journal.status() {
            metrics.journal_pending.set(gauge(status.queued));
            metrics.journal_bytes.set(gauge(status.file_bytes));
            metrics.journal_lag_seconds.set(status.lag.as_secs_f64());
        }
        if let Some(archive) = &services.archive {
            archive.measure();
        }
        metrics.render()
    }
}

fn gauge(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}
