//! Disks that are full or refuse while games run: play goes on, everybody is told, and nothing is missing afterwards.
//! And the commands that read the archive, beside a server that fills it.

use std::fs::File;
use std::io::Write as _;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use liap::load::{Load, Report, run};
use serde_json::Value;

use crate::process::{Server, Socket, journaled, request, room};

/// The archive pauses for at most five seconds between two attempts.
const PATIENCE: Duration = Duration::from_secs(60);
/// Games that are archived soon after they were played.
pub(crate) const SETTINGS: [(&str, &str); 5] = [
    ("GAME_PACE", "0"),
    ("USE_RATE_LIMITING", "false"),
    ("MAX_SOCKETS_PER_ADDRESS", "20000"),
    ("ARCHIVE_FLUSH_INTERVAL", "1"),
    ("ARCHIVE_BATCH_SIZE", "10"),
];

/// Whole games of one person and three bots, at a few tables; at least one comes to its end.
pub(crate) fn play(server: &Server) -> Report {
    play_at(server.address)
}

fn play_at(server: SocketAddr) -> Report {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    // A game takes a second, or ten on a busy machine.
    let reports = [3, 12, 48].map(Duration::from_secs).into_iter().map(|span| {
        let load = Load { server, rooms: 6, people: 1, span };
        runtime.block_on(run(&load)).unwrap()
    });
    reports.into_iter().find(|report| report.games > 0).expect("a game comes to its end")
}

fn metric(server: &Server, name: &str) -> f64 {
    let answer = request(server.metrics.unwrap(), "GET", "/metrics", &[]);
    let line = answer.text().lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ').map(str::to_owned));
    line.unwrap_or_else(|| panic!("no {name}")).parse().unwrap()
}

/// Asks for health until it is as wanted.
fn wait_for_health(server: &Server, wanted: impl Fn(&Value) -> bool) -> Value {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let answer = server.get("/health");
        let health = answer.json();
        if wanted(&health) {
            assert_eq!(answer.status, 200, "play goes on, so nobody is sent away: {health}");
            return health;
        }
        assert!(Instant::now() < deadline, "{health}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Plays on a disk that is well, one that is not, and one that is well again.
fn play_through(server: Server, data: &Path, fill: impl Fn(&Server), free: impl Fn(&Server)) {
    let peer = Server::start(&SETTINGS);
    let before = play(&server);
    fill(&server);
    // Both at once, so that whatever else the machine does slows both, and once more if it does not slow both alike.
    // Waiting for a disk would cost far more, each time.
    let (mut games, mut rates) = (before.games, Vec::new());
    let keeps_up = (0..4).any(|_| {
        let elsewhere = peer.address;
        let beside = std::thread::spawn(move || play_at(elsewhere));
        let (trouble, beside) = (play(&server), beside.join().unwrap());
        games += trouble.games;
        rates.push((trouble.rate(), beside.rate()));
        trouble.rate() > beside.rate() / 1.5
    });
    drop(peer);
    assert!(keeps_up, "moves a second, and elsewhere: {rates:?}");

    let is_degraded = |health: &Value, check: &str| health["checks"][check]["status"] == "degraded";
    let health = wait_for_health(&server, |health| is_degraded(health, "archive") && is_degraded(health, "journal"));
    let said = health["checks"]["archive"]["message"].as_str().unwrap();
    assert!(said.contains("wait for the disk"), "{said}");
    assert!(metric(&server, "liap_archive_failures_total") > 0.0);
    assert!(metric(&server, "liap_journal_failures_total") > 0.0);
    assert!(metric(&server, "liap_archive_pending") > 0.0);
    assert!(metric(&server, "liap_journal_lag_seconds") > 0.5);
    assert_eq!(server.get("/health/ready").status, 200);
    // Whoever reads does not wait for a disk that does not answer.
    let asked = Instant::now();
    assert_eq!(server.get("/api/games").status, 200);
    assert!(asked.elapsed() < Duration::from_millis(900), "{:?}", asked.elapsed());

    free(&server);
    wait_for_health(&server, |health| health["status"] == "healthy" && health["checks"]["archive"]["pending"] == 0);
    let after = play(&server);
    let ended = games + after.games;
    // The last ones may still be on their way.
    let deadline = Instant::now() + PATIENCE;
    let games = loop {
        let games = metric(&server, "liap_archive_games");
        if games >= ended as f64 && metric(&server, "liap_archive_pending") == 0.0 {
            break games;
        }
        assert!(Instant::now() < deadline, "{games} games are kept, {ended} were played to their end");
        std::thread::sleep(Duration::from_millis(20));
    };
    assert!(metric(&server, "liap_journal_lag_seconds") < 0.5);

    let server = server.again();
    assert!(
        !server.said.iter().any(|line| line.contains("DAMAGE") || line.contains("set aside")),
        "{:#?}",
        server.said
    );
    assert!(metric(&server, "liap_archive_games") >= games);
    drop(server);
    let verify = archive(data, None, &["verify", "--deep"]);
    assert!(verify.status.success(), "{verify:?}");
}

/// Lets the server write so many bytes to a file and no more.
#[cfg(target_os = "linux")]
pub(crate) fn limit_files(server: &Server, bytes: &str) {
    let (pid, limit) = (server.pid().to_string(), format!("--fsize={bytes}:unlimited"));
    assert!(Command::new("prlimit").args(["--pid", &pid, &limit]).status().unwrap().success());
}

/// A limit on the size of files, which ends a process that does not know better.
#[test]
#[cfg(target_os = "linux")]
fn games_go_on_where_nothing_can_be_written() {
    let data = tempfile::tempdir().unwrap();
    let mut settings = SETTINGS.to_vec();
    settings.push(("DATA_DIR", data.path().to_str().unwrap()));
    play_through(
        Server::start(&settings),
        data.path(),
        |server| limit_files(server, "0"),
        |server| limit_files(server, "unlimited"),
    );
}

/// A small file system that fills up. Only root can mount one; what stands in for it elsewhere is the limit above.
#[test]
#[cfg(target_os = "linux")]
fn games_go_on_while_the_disk_is_full() {
    let folder = tempfile::tempdir().unwrap();
    let Some(disk) = SmallDisk::mount(folder.path()) else { return };
    let mut settings = SETTINGS.to_vec();
    settings.push(("DATA_DIR", folder.path().to_str().unwrap()));
    play_through(Server::start(&settings), folder.path(), |_| disk.fill(), |_| disk.free());
}

/// A file system of 16 MiB and a thousand files. It is unmounted when dropped.
#[cfg(target_os = "linux")]
struct SmallDisk(std::path::PathBuf);

#[cfg(target_os = "linux")]
impl SmallDisk {
    fn mount(folder: &Path) -> Option<Self> {
        let mount = ["-t", "tmpfs", "-o", "size=16m,nr_inodes=1000", "liap-test"];
        let mounted = Command::new("mount").args(mount).arg(folder).output().unwrap();
        if !mounted.status.success() {
            eprintln!("not run: a small file system cannot be mounted: {}", String::from_utf8_lossy(&mounted.stderr));
        }
        mounted.status.success().then(|| Self(folder.to_owned()))
    }

    fn fill(&self) {
        let mut file = File::create(self.0.join("filler")).unwrap();
        while file.write_all(&[7; 4096]).is_ok() {}
        assert!(file.write_all(&[7]).is_err(), "the disk is full to its last byte");
        let files = self.0.join("files");
        std::fs::create_dir(&files).unwrap();
        assert!((0..1_000).any(|number| File::create(files.join(number.to_string())).is_err()), "and to its last file");
    }

    fn free(&self) {
        std::fs::remove_dir_all(self.0.join("files")).unwrap();
        std::fs::remove_file(self.0.join("filler")).unwrap();
    }
}

#[cfg(target_os = "linux")]
impl Drop for SmallDisk {
    fn drop(&mut self) {
        // A server may still have files open.
        Command::new("umount").arg("--lazy").arg(&self.0).status().unwrap();
    }
}

/// A server that starts on a full disk serves and plays, and writes live games down when there is room, without a restart.
#[tokio::test]
#[cfg(target_os = "linux")]
async fn a_server_starts_on_a_full_disk() {
    let folder = tempfile::tempdir().unwrap();
    let Some(disk) = SmallDisk::mount(folder.path()) else { return };
    let path = folder.path().to_str().unwrap();
    let settings = [("GAME_PACE", "0"), ("DATA_DIR", path), ("USE_GAME_ARCHIVAL", "false")];
    let server = Server::start(&settings);
    let (_, mut table, _) = room(&server, "Mira").await;
    table.say("start_game", serde_json::json!({})).await;
    journaled(&server, &mut table).await;

    disk.fill();
    let server = server.again();
    wait_for_health(&server, |health| health["checks"]["journal"]["status"] == "degraded");
    // One that has no folder yet, where not even an empty file can be made.
    let new = folder.path().join("new");
    let fresh = Server::start(&[settings[0], ("DATA_DIR", new.to_str().unwrap()), settings[2]]);
    wait_for_health(&fresh, |health| health["checks"]["journal"]["status"] == "degraded");
    let _table = room(&fresh, "Ann").await;
    let (id, mut table, session) = room(&server, "Jon").await;
    table.say("start_game", serde_json::json!({})).await;
    table.hear("phase_change").await;

    disk.free();
    let health = wait_for_health(&server, |health| health["status"] == "healthy");
    assert_eq!(health["checks"]["journal"]["rooms"], 2);
    let health = wait_for_health(&fresh, |health| health["status"] == "healthy");
    assert_eq!(health["checks"]["journal"]["rooms"], 1);
    assert!(new.join("journal/0000000001.journal").exists());
    journaled(&server, &mut table).await;
    let server = server.again();
    assert!(!server.said.iter().any(|line| line.contains("set aside")), "{:#?}", server.said);
    assert_eq!(server.get("/health").json()["checks"]["journal"]["rooms"], 2);
    let mut table = Socket::open_with(&server, &id, &[("Cookie", &session)]).await.unwrap();
    table.enter(&id, "Jon").await;
    table.hear("phase_change").await;
}

/// Waits until so many games are archived, and the archive is well.
fn wait_for_games(server: &Server, wanted: u64) {
    let is_archived = |health: &Value| health["checks"]["archive"]["games"].as_u64() >= Some(wanted);
    wait_for_health(server, |health| health["checks"]["archive"]["status"] == "healthy" && is_archived(health));
}

/// It serves and plays, and its games are archived when there is room: a new archive, and one that a killed server left.
#[test]
#[cfg(target_os = "linux")]
fn a_server_starts_while_the_disk_of_its_archive_is_full() {
    let folder = tempfile::tempdir().unwrap();
    let Some(disk) = SmallDisk::mount(folder.path()) else { return };
    let archive = folder.path().join("archive");
    let mut settings = SETTINGS.to_vec();
    settings.push(("ARCHIVE_URL", archive.to_str().unwrap()));
    disk.fill();
    let server = Server::start(&settings);
    server.logs("the server starts without the archive");
    let mut games = play(&server).games;
    let health = wait_for_health(&server, |health| health["checks"]["archive"]["status"] == "degraded");
    assert_eq!(health["checks"]["archive"]["games"], 0);
    disk.free();
    wait_for_games(&server, games);
    games += play(&server).games;
    wait_for_games(&server, games);

    disk.fill();
    let server = server.again();
    games += play(&server).games;
    disk.free();
    wait_for_games(&server, games);
}

/// Somebody tidies up: the archive's folder is removed under a running server.
#[test]
fn an_archive_whose_folder_is_removed_is_written_anew_and_told() {
    let mut settings = SETTINGS.to_vec();
    settings.push(("ADMIN_TOKEN", "a-token-of-this-test-0123456789"));
    let server = Server::start(&settings);
    let games = play(&server).games;
    wait_for_games(&server, games);
    let stored = archive(server.data(), Some(&server), &["export", "-"]).stdout;
    std::fs::remove_dir_all(server.data().join("archive")).unwrap();

    let health = wait_for_health(&server, |health| health["checks"]["archive"]["status"] == "degraded");
    server.logged("files were removed or replaced");
    let health = if health["checks"]["archive"]["message"].as_str().unwrap().contains("DAMAGE") {
        health
    } else {
        wait_for_health(&server, |health| {
            health["checks"]["archive"]["message"].as_str().is_some_and(|message| message.contains("DAMAGE"))
        })
    };
    let said = health["checks"]["archive"]["message"].as_str().unwrap();
    assert!(said.contains("files were removed or replaced while the archive was open: records, tip"), "{said}");
    assert!(health["checks"]["archive"]["games"].as_u64() >= Some(games), "{health}");
    let authorization = ("Authorization", "Bearer a-token-of-this-test-0123456789");
    let deadline = Instant::now() + PATIENCE;
    let events = || server.request("GET", "/admin/events?limit=1000", &[authorization]);
    while !events().text().contains("archive_failing") {
        assert!(Instant::now() < deadline, "{} {}", events().status, events().text());
        std::thread::sleep(Duration::from_millis(20));
    }
    // Commands find the server again, too.
    let exported = || archive(server.data(), Some(&server), &["export", "-"]);
    while !exported().status.success() {
        assert!(Instant::now() < deadline, "{:?}", exported());
    }
    assert!(exported().stdout.starts_with(&stored));
    let more = games + play(&server).games;
    let server = server.again();
    wait_for_games(&server, more);
}

fn archive(data: &Path, server: Option<&Server>, arguments: &[&str]) -> std::process::Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_liap"));
    command.env_clear().env("DATA_DIR", data).env("HOST", "127.0.0.1").arg("archive").args(arguments);
    if let Some(server) = server {
        command.env("PORT", server.address.port().to_string());
    }
    command.output().unwrap()
}

/// Games run and finish while they are listed, checked, exported and backed up; what was backed up comes back the same.
#[test]
fn a_backup_is_whole_while_games_finish() {
    let data = tempfile::tempdir().unwrap();
    let mut settings = SETTINGS.to_vec();
    settings.push(("DATA_DIR", data.path().to_str().unwrap()));
    // No game would reach the disk by itself before this test is over.
    settings.push(("ARCHIVE_FLUSH_INTERVAL", "3600"));
    settings.push(("ARCHIVE_BATCH_SIZE", "100000"));
    let server = Server::start(&settings);
    let ended = play(&server).games;
    // A game reaches the archive when the journal has its end: where the disk is slow, a moment later.
    let deadline = Instant::now() + PATIENCE;
    loop {
        let listed = archive(data.path(), Some(&server), &["list", "--json", "--limit", "100000"]);
        let listed = String::from_utf8(listed.stdout).unwrap().lines().count() as u64;
        if listed >= ended {
            break;
        }
        assert!(Instant::now() < deadline, "{listed} games are listed, {ended} have ended");
    }

    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let address = server.address;
    let done = std::thread::scope(|scope| {
        let playing = scope.spawn(move || play_at(address));
        let mut done = Vec::new();
        while !playing.is_finished() {
            let number = done.len();
            for arguments in [
                vec!["backup".to_owned(), path(&format!("{number}.backup"))],
                vec!["export".to_owned(), path(&format!("{number}.jsonl"))],
                vec!["verify".to_owned(), "--deep".to_owned()],
                vec!["stats".to_owned()],
            ] {
                let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
                let output = archive(data.path(), Some(&server), &arguments);
                assert!(output.status.success(), "{arguments:?}: {output:?}");
            }
            done.push(number);
        }
        playing.join().unwrap();
        done
    });
    let refused = archive(data.path(), Some(&server), &["restore", &path("0.backup")]);
    assert!(!refused.status.success() && String::from_utf8_lossy(&refused.stderr).contains("games in"), "{refused:?}");
    let again = archive(data.path(), Some(&server), &["import", &path("0.jsonl")]);
    assert!(
        again.status.success() && String::from_utf8_lossy(&again.stdout).starts_with("0 games imported"),
        "{again:?}"
    );

    let last = done.last().unwrap();
    let (backup, again) = (path(&format!("{last}.backup")), path("again.backup"));
    let restored = tempfile::tempdir().unwrap();
    let first = archive(restored.path(), None, &["restore", &backup]);
    assert!(first.status.success(), "{first:?}");
    assert!(archive(restored.path(), None, &["backup", &again]).status.success());
    assert!(std::fs::read(&backup).unwrap() == std::fs::read(&again).unwrap(), "the same games, the same hash");
    let verify = archive(restored.path(), None, &["verify", "--deep"]);
    let said = String::from_utf8_lossy(&verify.stdout).into_owned();
    assert!(verify.status.success() && said.contains(" 0 wrong, 0 missing"), "{verify:?}");
}
