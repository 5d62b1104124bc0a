//! Every setting has its effect: each is set on a started server, and the effect is observed from outside.
//!
//! The table must be complete: a setting without an entry fails. Where a default has the opposite effect, the entry looks
//! at that too, so that an effect which is always there proves nothing.

mod games;
mod limits;
mod listening;
mod logs;
mod memory;
mod services;
mod sockets;

use std::collections::BTreeSet;
use std::panic::catch_unwind;
use std::path::Path;
use std::process::{Command, Output};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use liap::config::SETTINGS;

use crate::process::{SOON, Server, scrape};

/// What is set, and what looks at the effect. One that serves several settings starts fewer servers.
type Entry = (&'static [&'static str], fn());

const EFFECTS: &[Entry] = &[
    (&["ENVIRONMENT", "ENABLE_PROFILING", "METRICS_HOST", "METRICS_PORT"], listening::metrics),
    (&["HOST", "PORT", "BASE_PATH"], listening::address),
    (&["METRICS_ENABLED"], listening::no_metrics),
    (&["DATA_DIR", "ARCHIVE_URL"], games::folders),
    (&["SHUTDOWN_TIMEOUT_SECONDS"], listening::shutdown),
    (&["STATIC_DIR"], listening::another_client),
    (&["TLS_CERT", "TLS_KEY"], listening::encrypted),
    (&["ADMIN_TOKEN"], listening::admin_token),
    (&["EVENT_BUFFER_SIZE"], listening::events),
    (&["ALLOWED_ORIGINS"], sockets::origins),
    (&["TRUSTED_PROXIES", "MAX_SOCKETS", "MAX_SOCKETS_PER_ADDRESS"], sockets::places),
    (&["HEADER_TIMEOUT_SECONDS"], listening::headers),
    (&["MAX_FRAME_BYTES"], sockets::long_frames),
    (&["SEND_QUEUE_FRAMES"], sockets::slow_readers),
    (&["PING_INTERVAL_SECONDS", "PEER_TIMEOUT_SECONDS"], sockets::silence),
    (&["ROOM_INBOX_CAPACITY"], sockets::busy_rooms),
    (&["MAX_WATCHERS_PER_ROOM"], sockets::watchers),
    (&["MAX_ACTIVE_GAMES"], sockets::rooms),
    (&["GAME_PACE"], games::pace),
    (&["TURN_TIMEOUT_SECONDS"], games::turn_timeout),
    (&["ABANDONED_AFTER_MINUTES"], games::abandoned_after),
    (&["MAX_EVENTS_PER_GAME"], games::events_of_a_game),
    (&["GC_COMPLETED_GAMES_AFTER"], games::finished_games),
    (&["USE_EVENT_SOURCING"], games::no_journal),
    (&["LIVE_JOURNAL_INTERVAL_MS"], games::journal_interval),
    (&["USE_GAME_ARCHIVAL"], games::no_archive),
    (&["ARCHIVE_BATCH_SIZE", "ARCHIVE_FLUSH_INTERVAL"], games::groups),
    (&["ARCHIVE_RETENTION_DAYS"], games::retention),
    (&["GAME_SUMMARY_CACHE_SIZE"], games::summaries),
    (&["USE_RATE_LIMITING"], limits::switched_off),
    (&["RATE_LIMIT_PER_PLAYER_PER_MINUTE"], limits::player),
    (&["RATE_LIMIT_PER_ROOM_PER_SECOND"], limits::room),
    (&["RATE_LIMIT_WEBSOCKET_PER_SECOND"], limits::socket),
    (&["RATE_LIMIT_NEW_SOCKETS_PER_MINUTE"], limits::new_sockets),
    (&["RATE_LIMIT_HTTP_PER_MINUTE"], limits::http),
    (&["RATE_LIMIT_MAX_KEYS"], limits::keys),
    (&["LOG_LEVEL", "LOG_FORMAT", "LOG_FILE", "LOG_CORRELATION_ID"], logs::lines),
    (&["LOG_QUEUE_LINES"], logs::queue),
    (&["HEALTH_CHECK_TIMEOUT"], listening::health_timeout),
    (&["USE_MEMORY_MONITORING", "MAX_MEMORY_MB"], memory::limit),
    (&["MEMORY_CHECK_INTERVAL"], memory::interval),
    (&["MEMORY_ALERT_THRESHOLD"], memory::threshold),
];

/// Those whose effect depends on the features of the build.
const EFFECTS_OF_FEATURES: &[Entry] = &[
    (&["ARCHIVE_BACKEND", "ARCHIVE_BACKENDS", "ARCHIVE_URL_S3", "ARCHIVE_URL_POSTGRESQL"], services::backends),
    (&["REDIS_URL", "REDIS_POOL_MIN", "REDIS_POOL_MAX", "REDIS_CA_FILE"], services::redis),
    (&["DATABASE_URL", "DATABASE_POOL_MIN", "DATABASE_POOL_MAX"], services::database),
    (&["INSTANCE_ID"], services::instance),
];

/// Most of the time is spent waiting for servers, so several are looked at side by side.
const AT_ONCE: usize = 6;

/// What only acts where there is a Redis: seen in `limiters.rs` and `instances.rs`.
const WITH_A_REDIS: &[&str] = &["REDIS_TIMEOUT_MS", "INSTANCE_URL"];

#[test]
fn every_setting_has_an_entry() {
    let settings: BTreeSet<&str> = SETTINGS.iter().map(|setting| setting.name).collect();
    let effects = EFFECTS.iter().chain(EFFECTS_OF_FEATURES);
    let entries: Vec<&str> =
        effects.flat_map(|(names, _)| names.iter().copied()).chain(WITH_A_REDIS.iter().copied()).collect();
    let known: BTreeSet<&str> = entries.iter().copied().collect();
    let difference: Vec<_> = settings.symmetric_difference(&known).collect();
    assert!(difference.is_empty() && entries.len() == known.len(), "{difference:?}");
}

#[test]
fn every_setting_does_what_it_says() {
    all_hold(EFFECTS);
}

#[test]
fn every_setting_of_a_feature_does_what_it_says_or_is_refused() {
    all_hold(EFFECTS_OF_FEATURES);
}

fn all_hold(effects: &[Entry]) {
    let left = Mutex::new(effects.iter());
    let failed = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(|| {
                loop {
                    let Some((names, effect)) = left.lock().unwrap().next() else { return };
                    let begun = Instant::now();
                    if let Err(panic) = catch_unwind(effect) {
                        let text = panic.downcast_ref::<String>().map(String::as_str);
                        let text = text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("a panic");
                        failed.lock().unwrap().push(format!("{}: {text}", names.join(", ")));
                    }
                    println!("{:>5.1} s  {}", begun.elapsed().as_secs_f64(), names.join(", "));
                }
            });
        }
    });
    let failed = failed.into_inner().unwrap();
    assert!(failed.is_empty(), "{}", failed.join("\n"));
}

/// Runs what speaks over sockets.
fn play<F: Future>(play: F) -> F::Output {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(play)
}

/// Waits until this is so; several servers at once may have much to do before.
fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !is_so() {
        assert!(begun.elapsed() < 3 * SOON, "{what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// The value of a series, by its name with its labels; nothing if there is no such series.
fn metric(server: &Server, series: &str) -> Option<f64> {
    let text = scrape(server.metrics.expect("metrics"));
    text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' ')?.parse().ok())
}

/// The result of a health check.
fn health(server: &Server, check: &str) -> serde_json::Value {
    server.get("/health").json()["checks"][check].take()
}

/// Runs the program in a folder until it ends.
fn liap(folder: &Path, arguments: &[&str], settings: &[(&str, &str)]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_liap"))
        .args(arguments)
        .current_dir(folder)
        .env_clear()
        .envs(settings.iter().copied())
        .output()
        .unwrap()
}

/// Lets games be played until some are over, and returns how many.
fn whole_games(server: &Server) -> u64 {
    let address = server.address.to_string();
    // A game takes a second, or ten on a busy machine.
    for seconds in ["1", "4", "16"] {
        let load = ["load", "--server", &address, "--rooms", "1", "--people", "1", "--seconds", seconds];
        let said = String::from_utf8(liap(server.data(), &load, &[]).stdout).unwrap();
        let (before, _) = said.split_once(" games ended").expect("a report");
        let games = before.rsplit(' ').next().unwrap().parse().unwrap();
        if games > 0 {
            return games;
        }
    }
    panic!("no game comes to its end");
}
