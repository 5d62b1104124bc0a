//! Servers whose clock is wrong, or is set while they run: no game goes, no process ends, and dates are right when the clock is.
//!
//! libfaketime shows them another time; the monotonic clock stays the system's. `scripts/test` installs it.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use liap::archive::{Archive, GameIds, GameRecord, Options};
use liap::game::{BySeat, Level, Seating, Series};
use liap::observe::Metrics;
use serde_json::json;

use crate::process::{SOON, Server, room};

const GAMES: u64 = 20;
/// Clocks at the start or set later, by which old games must not be removed: health says so.
const LEAPS: [&str; 8] = [
    "+2d",
    "+366d",
    "-1d",
    "@1970-01-01 00:00:00",
    "@2038-01-20 00:00:00",
    "@2106-02-08 00:00:00",
    "@9999-06-01 00:00:00",
    "@9999-12-31 12:00:00",
];

/// The library, if it is there.
fn library() -> Option<PathBuf> {
    let told = std::env::var_os("LIAP_TEST_FAKETIME").map(PathBuf::from);
    let folders = || std::fs::read_dir("/usr/lib").into_iter().flatten().flatten().map(|entry| entry.path());
    let mut files = folders().map(|folder| folder.join("faketime/libfaketimeMT.so.1"));
    let found = told.or_else(|| files.find(|file| file.is_file()));
    assert!(found.is_some() || std::env::var_os("CI").is_none(), "libfaketime must be there: install faketime");
    if found.is_none() {
        eprintln!("NOT RUN: there is no libfaketime; install faketime");
    }
    found
}

/// A server by a clock that a file sets.
struct Clocked {
    server: Option<Server>,
    clock: PathBuf,
    _folder: tempfile::TempDir,
}

impl Clocked {
    fn start(library: &Path, data: tempfile::TempDir, time: &str, settings: &[(&str, &str)]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let clock = folder.path().join("clock");
        std::fs::write(&clock, time).unwrap();
        let mut all = vec![
            ("LD_PRELOAD", library.to_str().unwrap()),
            ("FAKETIME_TIMESTAMP_FILE", clock.to_str().unwrap()),
            ("TZ", "UTC"),
            ("FAKETIME_NO_CACHE", "1"),
            ("FAKETIME_DONT_FAKE_MONOTONIC", "1"),
            ("ARCHIVE_FLUSH_INTERVAL", "1"),
            ("ARCHIVE_RETENTION_DAYS", "90"),
            ("GAME_PACE", "0"),
        ];
        all.extend(settings);
        let server = Server::start_on(data, &all);
        Self { server: Some(server), clock, _folder: folder }
    }

    fn server(&self) -> &Server {
        self.server.as_ref().unwrap()
    }

    /// Sets the clock.
    fn set(&self, time: &str) {
        let draft = self.clock.with_extension("new");
        std::fs::write(&draft, time).unwrap();
        std::fs::rename(&draft, &self.clock).unwrap();
    }

    /// Starts it again with the clock at another time.
    fn again(&mut self, time: &str) {
        self.set(time);
        let mut server = self.server.take().unwrap();
        server.signal("TERM");
        assert!(server.ended().success(), "it ends well");
        self.server = Some(server.again());
    }

    fn archive(&self) -> serde_json::Value {
        self.server().get("/health").json()["checks"]["archive"].take()
    }

    /// Nothing is removed, and health says why.
    fn holds_back(&mut self, time: &str) {
        let archive = self.archive();
        assert!(self.server.as_mut().unwrap().is_running(), "{time}");
        assert_eq!((&archive["games"], &archive["status"]), (&json!(GAMES), &json!("degraded")), "{time}: {archive}");
        let told = archive["message"].as_str().unwrap();
        assert!(told.contains("no old game is removed until the clock"), "{time}: {told}");
    }
}

fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !is_so() {
        assert!(begun.elapsed() < 3 * SOON, "{what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

fn now_ms() -> u64 {
    u64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis()).unwrap()
}

/// A data folder with games that were played just now, by a clock that is right.
fn data() -> tempfile::TempDir {
    let data = tempfile::tempdir().unwrap();
    let metrics = Arc::new(Metrics::new("test", "test", false));
    let (archive, _) = Archive::open(&data.path().join("archive"), &Options::default(), metrics).unwrap();
    let series = Series { seed: 5, players: BySeat::new([Level::Easy; 4]), seating: Seating::Fixed, max_rounds: 1 };
    let mut ids = GameIds::default();
    for number in 0..GAMES {
        let (mut record, _) = GameRecord::simulate(&series, number);
        record.started_at_ms = now_ms();
        record.game_id = ids.next(record.started_at_ms, [7; 10]);
        archive.put(record, drop).unwrap();
    }
    archive.confirm_clock().unwrap();
    assert!(archive.close(SOON));
    data
}

#[test]
fn no_game_goes_whatever_the_clock_shows_at_the_start() {
    let Some(library) = library() else { return };
    let mut clocked = Clocked::start(&library, data(), "+2d", &[]);
    for time in LEAPS {
        clocked.again(time);
        clocked.holds_back(time);
    }
    // None of them was believed, and an hour is no leap.
    for time in ["+1h", "+0"] {
        clocked.again(time);
        assert_eq!((&clocked.archive()["games"], &clocked.archive()["status"]), (&json!(GAMES), &json!("healthy")));
    }
    let trash = clocked.server().data().join("archive/trash");
    assert!(!trash.exists(), "nothing was removed");
}

#[test]
fn no_game_goes_when_the_clock_is_set_while_the_server_runs() {
    let Some(library) = library() else { return };
    let mut clocked = Clocked::start(&library, data(), "+0", &[]);
    for time in LEAPS {
        assert_eq!(clocked.archive()["status"], "healthy", "before {time}");
        clocked.set(time);
        clocked.holds_back(time);
        clocked.set("+0");
    }
    // An operator says that it is right: from then on the games are old, and go to the trash with the next pass.
    clocked.set("+366d");
    clocked.holds_back("+366d");
    let data = clocked.server().data().to_owned();
    let liap = |arguments: &[&str]| {
        let mut liap = Command::new(env!("CARGO_BIN_EXE_liap"));
        let output = liap.arg("--data-dir").arg(&data).args(arguments).output().unwrap();
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    liap(&["archive", "confirm-clock"]);
    assert_eq!((&clocked.archive()["games"], &clocked.archive()["status"]), (&json!(GAMES), &json!("healthy")));
    clocked.again("+366d");
    clocked.server().logs("old games were removed from the archive");
    assert_eq!((&clocked.archive()["games"], &clocked.archive()["status"]), (&json!(0), &json!("healthy")));
    assert!(liap(&["archive", "undelete"]).starts_with("20 games are in the trash, from "));
    assert!(liap(&["archive", "undelete", "--all"]).starts_with("20 games are back"));
    assert_eq!(clocked.archive()["games"], GAMES);
}

/// A board without a battery for its clock starts in 1970, and gets the time from the network later.
#[tokio::test(flavor = "multi_thread")]
async fn games_are_dated_by_a_clock_that_is_set_while_they_are_played() {
    let Some(library) = library() else { return };
    let settings = [("TURN_TIMEOUT_SECONDS", "1"), ("USE_RATE_LIMITING", "false")];
    let clocked = Clocked::start(&library, tempfile::tempdir().unwrap(), "@1970-01-01 00:00:00", &settings);
    let server = clocked.server();
    assert_eq!(clocked.archive()["status"], "degraded");
    let (_, mut running, _) = room(server, "Mira").await;
    running.say("start_game", json!({})).await;
    running.hear("game_started").await;
    let begun = now_ms();
    clocked.set("+0");
    let (_, mut later, _) = room(server, "Somchai").await;
    later.say("start_game", json!({})).await;
    later.hear("game_started").await;
    for (table, name) in [(&mut running, "Mira"), (&mut later, "Somchai")] {
        // A bot plays on.
        table.say("leave_room", json!({ "player_name": name })).await;
        let over = async { while table.hear("phase_change").await["phase"] != "game_over" {} };
        tokio::time::timeout(SOON, over).await.expect("a game without pauses ends soon");
    }
    let listed = || server.get("/api/games").json()["games"].as_array().cloned().unwrap();
    until("both games are archived", || listed().len() == 2);
    let ended = now_ms();
    for game in listed() {
        let started: jiff::Timestamp = game["started_at"].as_str().unwrap().parse().unwrap();
        let started = u64::try_from(started.as_millisecond()).unwrap();
        assert!((begun - 1000..=ended + 1000).contains(&started), "{begun} {game}");
    }
    assert_eq!(clocked.archive()["status"], "healthy", "the first possible time is believed");
}

/// Copies, too, are removed only by a clock that is believed. `copies` counts them.
#[cfg(any(feature = "s3", feature = "postgres"))]
pub(crate) fn no_leap_removes_copies(
    kind: liap::archive::sink::SinkKind,
    settings: &[(&str, &str)],
    copies: impl Fn() -> u64,
) {
    let Some(library) = library() else { return };
    let settings = [settings, &[("ARCHIVE_BACKEND", kind.name())]].concat();
    let sink = |clocked: &Clocked| clocked.server().get("/health").json()["checks"][kind.name()].take();
    let mut clocked = Clocked::start(&library, data(), "+0", &settings);
    until("all games are copied", || sink(&clocked)["pending"] == 0);
    assert_eq!(copies(), GAMES);
    for time in LEAPS.into_iter().filter(|time| !["-1d", "@1970-01-01 00:00:00"].contains(time)) {
        clocked.again(time);
        clocked.holds_back(time);
        let data = clocked.server().data().to_str().unwrap().to_owned();
        // It waits until the server has done everything there is to do in the sink. A bucket may refuse such a date.
        let mut sync = Command::new(env!("CARGO_BIN_EXE_liap"));
        sync.args(["--data-dir", &data, "archive", "sync"]).env_clear().envs(settings.iter().copied());
        sync.output().unwrap();
        assert_eq!(copies(), GAMES, "{time}");
    }
    // With a clock that an operator confirms, they are old.
    let data = clocked.server().data().to_str().unwrap().to_owned();
    let mut confirm = Command::new(env!("CARGO_BIN_EXE_liap"));
    assert!(confirm.args(["--data-dir", &data, "archive", "confirm-clock"]).status().unwrap().success());
    assert_eq!(clocked.archive()["status"], "healthy");
}
