use std::num::NonZeroUsize;
use std::path::Path;
use std::process::{Command, Output};
use std::sync::Arc;
use std::time::{Duration, Instant};

use liap::archive::sink::{Installation, Sink, SinkError, SinkKind, SinkStatus};
use liap::archive::{Archive, GameRecord, Options, encode};
use liap::observe::{HealthStatus, Metrics};

use super::server::{self, Network, S3Server, Way, url_at};
use super::{s3, s3_as};
use crate::archive::{open, submit};
use crate::conforms::{OURS, THEIRS, delivery, records};
use crate::process::Server;

pub(super) const PATIENCE: Duration = Duration::from_secs(90);

/// An archive whose games go to a sink, in groups of ten.
pub(super) fn archive_with(folder: &Path, sink: Arc<dyn Sink>) -> Archive {
    let archive = open(folder);
    let options = Options { batch_size: 10, retention_days: 0, ..Options::default() };
    archive.deliver_to([(SinkKind::S3, sink)], &options).unwrap();
    archive
}

pub(super) fn store(archive: &Archive, records: &[GameRecord]) {
    for record in records {
        drop(submit(archive, record));
    }
    assert!(archive.flush(PATIENCE));
}

fn status(archive: &Archive) -> SinkStatus {
    archive.status().sinks[0].clone()
}

pub(super) fn until(archive: &Archive, what: &str, is_so: impl Fn(&SinkStatus) -> bool) -> SinkStatus {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let status = status(archive);
        if is_so(&status) {
            return status;
        }
        assert!(Instant::now() < deadline, "not {what}: {status:?}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

pub(super) fn until_delivered(archive: &Archive) -> SinkStatus {
    until(archive, "delivered", |status| status.pending == 0 && status.idle && status.failing.is_none())
}

fn names(records: &[GameRecord]) -> Vec<String> {
    let mut names: Vec<String> = records.iter().map(|record| record.game_id.to_string()).collect();
    names.sort_unstable();
    names
}

#[test]
fn every_outage_ends_with_every_game_there_once() {
    let Some(mut server) = S3Server::start() else { return };
    let network = Network::before(server.address());
    let folder = tempfile::tempdir().unwrap();
    let archive = archive_with(folder.path(), s3(&url_at(network.address, "games/")));
    let records = records(3, 240);
    let mut parts = records.chunks(40);
    let mut outage = |break_it: &mut dyn FnMut(), mend_it: &mut dyn FnMut()| {
        break_it();
        store(&archive, parts.next().unwrap());
        // Whatever was asked first may have failed before the games were counted.
        until(&archive, "failing", |status| status.failing.is_some() && status.pending > 0);
        assert_eq!(archive.check_sink(SinkKind::S3).status, HealthStatus::Degraded);
        assert_eq!(archive.check().status, HealthStatus::Healthy, "the archive itself is well");
        mend_it();
        // Nobody in a test waits for the longest pause.
        archive.deliver_now();
        until_delivered(&archive);
        assert_eq!(archive.check_sink(SinkKind::S3).status, HealthStatus::Healthy);
    };
    let server = std::cell::RefCell::new(&mut server);
    outage(&mut || server.borrow_mut().kill(), &mut || server.borrow_mut().start_again());
    outage(&mut || network.set(Way::Cut), &mut || network.set(Way::Open));
    outage(&mut || network.set(Way::Full), &mut || network.set(Way::Open));
    outage(&mut || server.borrow_mut().stand(), &mut || server.borrow_mut().go_on());
    // What is only slow loses nothing and fails nothing.
    network.set(Way::Slow);
    store(&archive, parts.next().unwrap());
    until_delivered(&archive);
    network.set(Way::Open);
    store(&archive, parts.next().unwrap());
    until_delivered(&archive);
    assert_eq!(server.borrow().objects(), names(&records));
}

#[test]
fn what_is_refused_stands_aside_and_is_tried_again() {
    let Some(server) = S3Server::start() else { return };
    let url = server.url("games/");
    let folder = tempfile::tempdir().unwrap();
    let records = records(5, 25);
    let mut other = records[12].clone();
    other.room_id = "OTHER".to_owned();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let other = delivery(&other);
    assert_eq!(runtime.block_on(s3(&url).deliver(&[other], OURS)), Ok(Vec::new()));

    let archive = archive_with(folder.path(), s3(&url));
    store(&archive, &records);
    let delivered = until_delivered(&archive);
    assert_eq!(delivered.set_aside, 1);
    assert_eq!(server.objects(), names(&records));
    let check = archive.check_sink(SinkKind::S3);
    assert_eq!((check.status, check.figures["set_aside"].as_u64()), (HealthStatus::Degraded, Some(1)));
    assert!(archive.close(PATIENCE));
    drop(archive);

    // Somebody looks, removes what does not belong there, and the next start delivers the game.
    let day = server.bucket().join("games/2026/01/01");
    std::fs::remove_file(day.join(format!("{}.liap", records[12].game_id))).unwrap();
    let archive = archive_with(folder.path(), s3(&url));
    let delivered = until(&archive, "settled", |status| status.idle && status.set_aside == 0);
    assert_eq!(delivered.pending, 0);
    let stored = std::fs::read(day.join(format!("{}.liap", records[12].game_id))).unwrap();
    assert_eq!(stored, encode(&records[12]).unwrap(), "the bytes of the archive");
}

#[test]
fn wrong_credentials_cost_nothing_but_time() {
    let Some(server) = S3Server::start() else { return };
    let url = server.url("games/");
    let folder = tempfile::tempdir().unwrap();
    let records = records(6, 15);
    let archive = archive_with(folder.path(), s3_as(&url, server::KEY, "wrong-secret-here"));
    store(&archive, &records);
    let failing = until(&archive, "denied", |status| status.failing.is_some());
    assert!(matches!(failing.failing.unwrap().error, SinkError::Denied(_)));
    let check = archive.check_sink(SinkKind::S3);
    assert!(!format!("{check:?}").contains("wrong-secret"), "{check:?}");
    // Stopping waits for no sink that refuses.
    let begun = Instant::now();
    assert!(archive.close(PATIENCE));
    assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
    drop(archive);
    let archive = archive_with(folder.path(), s3(&url));
    until_delivered(&archive);
    assert_eq!(server.objects(), names(&records));
}

#[test]
fn old_games_stay_until_the_sink_has_them() {
    let Some(mut server) = S3Server::start() else { return };
    let url = server.url("games/");
    let folder = tempfile::tempdir().unwrap();
    let records = records(9, 20);
    let archive = archive_with(folder.path(), s3(&url));
    store(&archive, &records[..10]);
    until_delivered(&archive);
    server.kill();
    store(&archive, &records[10..]);
    until(&archive, "failing", |status| status.failing.is_some());
    assert_eq!(archive.prune(u64::MAX).unwrap(), 10);
    assert_eq!(archive.owed_before(u64::MAX), 10);
    server.start_again();
    archive.deliver_now();
    until_delivered(&archive);
    assert_eq!(archive.prune(u64::MAX).unwrap(), 10);
    assert_eq!(server.objects(), names(&records));
}

#[test]
fn another_bucket_is_owed_everything_and_the_first_one_only_the_rest() {
    let Some(server) = S3Server::start() else { return };
    let folder = tempfile::tempdir().unwrap();
    let records = records(4, 12);
    for (prefix, until_game) in [("a/", 8), ("b/", 10), ("a/", 12)] {
        let metrics = Arc::new(Metrics::new("test", "test", false));
        let options = Options { retention_days: 0, flush_interval: Duration::ZERO, ..Options::default() };
        let (archive, _) = Archive::open(folder.path(), &options, Arc::clone(&metrics)).unwrap();
        store(&archive, &records[..until_game]);
        archive.deliver_to([(SinkKind::S3, s3(&server.url(prefix)))], &options).unwrap();
        until_delivered(&archive);
        let sent = metrics.sink_delivered.with("s3").get();
        assert_eq!(sent, if until_game == 12 { 4 } else { until_game as u64 }, "{prefix}");
        assert!(archive.close(PATIENCE));
    }
    assert_eq!(server.objects().len(), 12 + 10);
}

/// Runs the program in a folder with the tests' bucket.
pub(super) fn liap(folder: &Path, url: &str, arguments: &[&str]) -> Output {
    let settings = settings(url);
    Command::new(env!("CARGO_BIN_EXE_liap"))
        .args(["--data-dir", "."])
        .args(arguments)
        .current_dir(folder)
        .env_clear()
        .envs(settings)
        .output()
        .unwrap()
}

pub(super) fn settings(url: &str) -> [(&str, &str); 5] {
    [
        ("ARCHIVE_BACKEND", "s3"),
        ("ARCHIVE_URL", url),
        ("ARCHIVE_RETENTION_DAYS", "0"),
        ("AWS_ACCESS_KEY_ID", server::KEY),
        ("AWS_SECRET_ACCESS_KEY", server::SECRET),
    ]
}

pub(super) fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

/// Two ways in which a bucket does without the condition that keeps copies of others from being overwritten.
#[test]
fn a_bucket_without_conditional_writes_gets_no_games() {
    let Some(server) = S3Server::start_other() else { return };
    let network = Network::before(server.address());
    let url = url_at(network.address, "games/");
    let records = records(9, 20);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let theirs: Vec<_> = records.iter().map(delivery).collect();
    let sink = s3(&url);
    let held = || runtime.block_on(sink.page(None, NonZeroUsize::new(100).unwrap())).unwrap();
    assert_eq!(runtime.block_on(sink.deliver(&theirs[..10], THEIRS)), Ok(Vec::new()));
    let before = held();
    for (way, told) in [(Way::Unconditional, "ignores If-None-Match"), (Way::NotImplemented, "NotImplemented")] {
        network.set(way);
        let folder = tempfile::tempdir().unwrap();
        let archive = archive_with(folder.path(), s3(&url));
        store(&archive, &records);
        let status = until(&archive, "failing", |status| status.failing.is_some() && status.pending == 20);
        let error = status.failing.unwrap().error;
        assert!(matches!(&error, SinkError::Denied(reason) if reason.contains(told)), "{error:?}");
        let check = archive.check_sink(SinkKind::S3);
        assert_eq!(check.status, HealthStatus::Degraded);
        assert!(check.message.unwrap().contains(told));
        let doctor = said(&liap(folder.path(), &url, &["doctor", "--set", "PORT=0", "--set", "METRICS_PORT=0"]));
        assert!(doctor.contains(told), "{doctor}");
        assert_eq!(held(), before, "nothing is overwritten, and nothing is left behind");
        network.set(Way::Open);
        archive.deliver_now();
        until_delivered(&archive);
        assert_eq!(held().len(), 20);
        runtime.block_on(sink.remove(None, u64::MAX, installation(folder.path()))).unwrap();
        assert_eq!(held(), before);
    }
}

/// The number of the archive in a folder.
fn installation(folder: &Path) -> Installation {
    std::fs::read_to_string(folder.join("installation")).unwrap().trim().parse().unwrap()
}

#[test]
fn copies_are_sent_compared_and_brought_back_by_hand() {
    let Some(server) = S3Server::start() else { return };
    let url = server.url("games/");
    let folder = tempfile::tempdir().unwrap();
    let run = |code: i32, arguments: &[&str]| {
        let output = liap(folder.path(), &url, arguments);
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {}", said(&output));
        said(&output)
    };
    // Where no archive is, none is made.
    for arguments in [&["archive", "sync"][..], &["archive", "sync", "--all"], &["archive", "compare"]] {
        assert!(run(1, arguments).contains("there is no archive in "), "{arguments:?}");
    }
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    run(0, &["simulate", "--games", "30", "--seed", "4", "--json", "games.jsonl"]);
    run(0, &["archive", "import", "games.jsonl"]);
    let missing = run(1, &["archive", "compare"]);
    assert_eq!(missing.matches("is not there yet").count(), 30, "{missing}");
    assert!(missing.contains("s3: 0 games there, 0 of them as here, 30 differences"), "{missing}");
    assert!(run(0, &["archive", "sync"]).contains("s3: 0 games wait, 0 are refused"));
    assert!(run(0, &["archive", "compare", "--deep"]).contains("30 games there, 30 of them as here, 0 differences"));
    let kept_no_longer = run(0, &["archive", "compare", "--set", "ARCHIVE_RETENTION_DAYS=90"]);
    assert!(kept_no_longer.contains("0 differences; 30 older than ARCHIVE_RETENTION_DAYS"), "{kept_no_longer}");

    // One is lost, one is spoilt, one is another game, one too many.
    let day = server.bucket().join("games/2026/01/01");
    let objects = server.objects();
    let file = |name: &str| day.join(format!("{name}.liap"));
    std::fs::remove_file(file(&objects[3])).unwrap();
    let mut bytes = std::fs::read(file(&objects[7])).unwrap();
    bytes[20] ^= 1;
    std::fs::write(file(&objects[7]), &bytes).unwrap();
    std::fs::copy(file(&objects[8]), file(&objects[9])).unwrap();
    let one_more = &records(77, 40)[39];
    std::fs::write(file(&one_more.game_id.to_string()), encode(one_more).unwrap()).unwrap();
    let told = run(1, &["archive", "compare", "--with", "s3"]);
    assert!(told.contains(&format!("s3: game {} is not there, though it was delivered", objects[3])), "{told}");
    assert!(told.contains(&format!("s3: game {} differs: there: the checksum does not fit", objects[7])), "{told}");
    assert!(told.contains(&format!("s3: game {} differs: there: its record says", objects[9])), "{told}");
    assert!(told.contains(&format!("s3: game {} is only there", one_more.game_id)), "{told}");
    assert!(told.contains("s3: 30 games there, 27 of them as here, 4 differences"), "{told}");
    assert!(run(1, &["archive", "compare", "--shared"]).contains("3 differences"));

    // Sending all brings the lost one back and leaves what is there alone.
    assert!(run(1, &["archive", "sync", "--all"]).contains("s3: 0 games wait, 2 are refused"));
    let left = run(1, &["archive", "compare"]);
    assert!(left.contains("3 differences") && !left.contains(&objects[3]), "{left}");

    // A bucket that was wiped is filled again, and an archive that was lost comes back from it.
    std::fs::remove_dir_all(server.bucket()).unwrap();
    std::fs::create_dir(server.bucket()).unwrap();
    run(0, &["archive", "sync", "--all", "--to", "s3"]);
    run(0, &["archive", "compare", "--deep"]);
    assert!(run(1, &["archive", "restore", "--from", "s3"]).contains("restore into an empty folder"));
    std::fs::rename(folder.path().join("archive"), folder.path().join("lost")).unwrap();
    assert!(run(0, &["archive", "restore", "--from", "s3"]).contains("30 games restored, 0 left out"));
    run(0, &["archive", "export", "again.jsonl"]);
    let read = |name: &str| std::fs::read(folder.path().join(name)).unwrap();
    assert!(read("games.jsonl") == read("again.jsonl"), "the same games, word for word");
    assert!(run(0, &["archive", "compare"]).contains("0 differences"));
    assert!(run(0, &["archive", "sync"]).contains("s3: 0 games wait, 0 are refused"));
}

/// Somebody has lost a disk, or named another folder. Nothing is removed, and it is said what to do.
#[test]
fn an_empty_archive_before_a_full_bucket_is_told() {
    let Some(s3) = S3Server::start() else { return };
    let url = s3.url("games/");
    let [one, two] = [(); 2].map(|()| tempfile::tempdir().unwrap());
    let run = |folder: &Path, arguments: &[&str]| {
        let output = liap(folder, &url, arguments);
        assert!(output.status.success(), "{arguments:?}: {}", said(&output));
        said(&output)
    };
    run(one.path(), &["simulate", "--games", "30", "--json", "games.jsonl"]);
    run(one.path(), &["archive", "import", "games.jsonl"]);
    run(one.path(), &["archive", "sync"]);
    let told = said(&liap(two.path(), &url, &["doctor", "--json", "--set", "PORT=0", "--set", "METRICS_PORT=0"]));
    assert!(told.contains("the archive here is empty, and 30 games are in s3://liap/games/"), "{told}");
    assert!(told.contains("liap archive restore --from s3"), "{told}");

    let settings: Vec<_> = settings(&url).map(|(name, value)| (name, if value == "0" { "1" } else { value })).into();
    let mut server = Server::start_on(two, &settings);
    server.logs("the archive here is empty, and 30 games are in s3://liap/games/");
    server.signal("TERM");
    assert!(server.ended().success());
    assert_eq!(s3.objects().len(), 30);

    // A server that comes back with what it has lost is told before it removes it again.
    let told = run(server.data(), &["archive", "restore", "--from", "s3", "--set", "ARCHIVE_RETENTION_DAYS=1"]);
    assert!(told.contains("30 of these games are older than ARCHIVE_RETENTION_DAYS=1; a server with"), "{told}");
    let server = server.again();
    server.logs("removing 30 games that began more than 1 days ago, from 2026-01-01 to 2026-01-01");
    assert_eq!(s3.objects().len(), 30);
}

/// As after an upgrade, or when a disk was lost.
#[test]
fn copies_are_adopted_by_hand() {
    let Some(s3) = S3Server::start() else { return };
    let url = s3.url("games/");
    let folder = tempfile::tempdir().unwrap();
    let run = |code: i32, arguments: &[&str]| {
        let output = liap(folder.path(), &url, arguments);
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {}", said(&output));
        said(&output)
    };
    run(0, &["simulate", "--games", "30", "--seed", "4", "--json", "games.jsonl"]);
    let told = run(0, &["archive", "import", "games.jsonl", "--set", "ARCHIVE_RETENTION_DAYS=90"]);
    assert!(told.starts_with("liap: 30 of these games are older") || told.contains("\nliap: 30 of these"), "{told}");
    assert!(run(0, &["archive", "sync"]).contains("s3: 0 games wait"));
    // Some of them as an earlier version wrote them, and one that is another game.
    let day = s3.bucket().join("games/2026/01/01");
    let objects = s3.objects();
    let bytes = |name: &str| std::fs::read(day.join(format!("{name}.liap"))).unwrap();
    let all: Vec<Vec<u8>> = objects.iter().map(|name| bytes(name)).collect();
    for entry in std::fs::read_dir(s3.bucket().parent().unwrap()).unwrap().map(Result::unwrap) {
        if entry.path().is_file() {
            std::fs::remove_file(entry.path()).unwrap();
        }
    }
    std::fs::write(day.join(format!("{}.liap", objects[4])), &all[5]).unwrap();
    let told = run(0, &["archive", "sync", "--adopt"]);
    assert!(told.contains("s3: 29 copies adopted, 0 belonged to this installation"), "{told}");
    assert!(told.contains("s3: 1 hold another content"), "{told}");
    let told = run(0, &["archive", "sync", "--adopt", "--to", "s3"]);
    assert!(told.contains("s3: 0 copies adopted, 29 belonged to this installation"), "{told}");
    // The bytes are what they were.
    for (number, name) in objects.iter().enumerate() {
        assert!(bytes(name) == all[if number == 4 { 5 } else { number }], "{name}");
    }
    assert!(run(64, &["archive", "sync", "--adopt=0123"]).contains("an installation has 32 hexadecimal digits"));
    let server = Server::start_on(
        folder,
        &settings(&url).map(|(name, value)| (name, if name == "ARCHIVE_RETENTION_DAYS" { "1" } else { value })),
    );
    let _ = server.logged("old games were removed from the sink");
    let left = server.logged("copies do not say which");
    assert!(
        left.last().is_some_and(|line| line.contains("1 games older than ARCHIVE_RETENTION_DAYS stay")),
        "{left:?}"
    );
}

#[test]
fn a_server_that_is_killed_with_a_full_outbox_delivers_after_its_restart() {
    let Some(s3) = S3Server::start() else { return };
    let network = Network::before(s3.address());
    let url = url_at(network.address, "games/");
    let data = tempfile::tempdir().unwrap();
    for arguments in
        [&["simulate", "--games", "1500", "--json", "games.jsonl"][..], &["archive", "import", "games.jsonl"]]
    {
        let output = liap(data.path(), &url, arguments);
        assert!(output.status.success(), "{}", said(&output));
    }
    // Slow enough to be met in the middle.
    network.set(Way::Slow);
    let mut server = Server::start_on(data, &settings(&url));
    let deadline = Instant::now() + PATIENCE;
    for wanted in [100, 300] {
        while s3.objects().len() < wanted {
            assert!(Instant::now() < deadline, "{} games are there", s3.objects().len());
            std::thread::sleep(Duration::from_millis(5));
        }
        server.signal("KILL");
        assert!(s3.objects().len() < 1500, "the outbox is still full");
        server = server.again();
    }
    network.set(Way::Open);
    // The running server delivers, and the command waits for it.
    let synced = liap(server.data(), &url, &["archive", "sync"]);
    assert!(said(&synced).contains("s3: 0 games wait, 0 are refused"), "{}", said(&synced));
    while s3.objects().len() < 1500 {
        assert!(Instant::now() < deadline, "{} games are there", s3.objects().len());
        std::thread::sleep(Duration::from_millis(20));
    }
    // A moment in which it takes nothing ends no comparison.
    network.set(Way::Full);
    let compared = std::thread::scope(|scope| {
        scope.spawn(|| {
            std::thread::sleep(Duration::from_millis(500));
            network.set(Way::Open);
        });
        liap(server.data(), &url, &["archive", "compare"])
    });
    assert!(said(&compared).contains("1500 games there, 1500 of them as here, 0 differences"), "{}", said(&compared));
    let health: serde_json::Value = serde_json::from_slice(&server.get("/health").body).unwrap();
    assert_eq!(health["checks"]["s3"]["status"], "healthy", "{health}");
    // And all of it beside the running server.
    let again = liap(server.data(), &url, &["archive", "sync", "--all"]);
    assert!(said(&again).contains("s3: 0 games wait, 0 are refused"), "{}", said(&again));
    assert_eq!(s3.objects().len(), 1500);
}
