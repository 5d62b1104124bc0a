//! How games go, and what becomes of them.

use std::fs;
use std::time::{Duration, Instant};

use serde_json::json;

use super::{health, liap, metric, play, until, whole_games};
use crate::process::{Server, Socket, room};

pub(super) fn folders() {
    let folder = tempfile::tempdir().unwrap();
    let (data, archive) = (folder.path().join("data"), folder.path().join("games"));
    let settings = [("DATA_DIR", data.to_str().unwrap()), ("ARCHIVE_URL", archive.to_str().unwrap())];
    let server = Server::start(&settings);
    assert!(data.join("journal").is_dir() && !data.join("archive").exists());
    assert!(archive.join("records").is_dir());
    assert_eq!(fs::read_dir(server.data()).unwrap().count(), 0, "nothing in the folder that was named before");
}

/// Waits until the game is shown in this phase, and declines every redeal before.
async fn reaches(table: &mut Socket, phase: &str) {
    loop {
        let state = table.hear("phase_change").await;
        let weak = &state["phase_data"]["weak_players_awaiting"];
        if weak.as_array().is_some_and(|weak| weak.contains(&json!("Mira"))) {
            table.say("decline_redeal", json!({ "player_name": "Mira" })).await;
        }
        if state["phase"] == phase {
            return;
        }
    }
}

/// Starts a game with three bots and returns the time until the declarations.
fn first_declaration(server: &Server) -> Duration {
    play(async {
        let (_, mut table, _) = room(server, "Mira").await;
        table.say("start_game", json!({})).await;
        let begun = Instant::now();
        reaches(&mut table, "declaration").await;
        begun.elapsed()
    })
}

pub(super) fn pace() {
    let fast = first_declaration(&Server::start(&[("GAME_PACE", "0")]));
    let slow = first_declaration(&Server::start(&[("GAME_PACE", "0.2")]));
    assert!(slow > fast + Duration::from_millis(500), "{fast:?} without pauses, {slow:?} with them");
}

pub(super) fn turn_timeout() {
    let server = |timeout: &str| Server::start(&[("GAME_PACE", "0.01"), ("TURN_TIMEOUT_SECONDS", timeout)]);
    let (patient, hasty) = (server("0"), server("1"));
    play(async {
        let (_, mut waiting, _) = room(&patient, "Mira").await;
        let (_, mut played_for, _) = room(&hasty, "Mira").await;
        waiting.say("start_game", json!({})).await;
        played_for.say("start_game", json!({})).await;
        // No one can play before all have declared, and Mira does not.
        reaches(&mut waiting, "declaration").await;
        reaches(&mut played_for, "turn").await;
        waiting.say("ping", json!({ "timestamp": 1 })).await;
        loop {
            let (event, data) = waiting.hear_any().await;
            assert!(event != "phase_change" || data["phase"] != "turn", "{data}");
            if event == "pong" {
                return;
            }
        }
    });
}

pub(super) fn abandoned_after() {
    let server = |minutes: &str| Server::start(&[("GAME_PACE", "0"), ("ABANDONED_AFTER_MINUTES", minutes)]);
    let (stands_still, goes_on) = (server("1"), server("0"));
    play(async {
        for server in [&stands_still, &goes_on] {
            let (_, mut table, _) = room(server, "Mira").await;
            table.say("start_game", json!({})).await;
            reaches(&mut table, "declaration").await;
            // Dropping the socket loses the connection.
        }
    });
    let ended = |server: &Server| metric(server, "liap_games_ended_total{outcome=\"finished\"}").unwrap();
    until("bots have played the game to its end", || ended(&goes_on) == 1.0);
    assert_eq!((ended(&stands_still), metric(&stands_still, "liap_rooms{phase=\"playing\"}")), (0.0, Some(1.0)));
}

pub(super) fn events_of_a_game() {
    let kept = |most: &str| {
        let server =
            Server::start(&[("GAME_PACE", "0.01"), ("TURN_TIMEOUT_SECONDS", "1"), ("MAX_EVENTS_PER_GAME", most)]);
        play(async {
            let (_, mut table, _) = room(&server, "Mira").await;
            table.say("start_game", json!({})).await;
            reaches(&mut table, "turn").await;
            table.say("request_recovery", json!({ "from_sequence": 1 })).await;
            let missed = table.hear("recovery_response").await;
            (missed["first_sequence"].as_u64().unwrap(), missed["last_sequence"].as_u64().unwrap())
        })
    };
    let (first, last) = kept("2");
    assert!(last > 2 && last - first == 1, "only the last two are kept: {first} to {last}");
    assert_eq!(kept("1000").0, 1, "all of them");
}

pub(super) fn finished_games() {
    let played = |after: &str| {
        let server = Server::start(&[("GAME_PACE", "0"), ("GC_COMPLETED_GAMES_AFTER", after)]);
        let games = whole_games(&server);
        (server, games)
    };
    let finished = |server: &Server| metric(server, "liap_rooms{phase=\"over\"}").unwrap();
    let ((at_once, _), (later, games)) = (played("0"), played("300"));
    // Rooms are counted once in a while.
    until("finished games are there", || finished(&later) >= games as f64);
    until("finished games are gone", || finished(&at_once) == 0.0);
}

pub(super) fn groups() {
    let played = |size: &str, interval: &str| {
        let server =
            Server::start(&[("GAME_PACE", "0"), ("ARCHIVE_BATCH_SIZE", size), ("ARCHIVE_FLUSH_INTERVAL", interval)]);
        whole_games(&server);
        server
    };
    let stored = |server: &Server| metric(server, "liap_archive_stored_total").unwrap();
    let never = played("100000", "86400");
    let (full, due) = (played("1", "86400"), played("100000", "1"));
    until("full groups are stored", || stored(&full) > 0.0 && metric(&full, "liap_archive_pending") == Some(0.0));
    until("groups that are due are stored", || stored(&due) > 0.0 && metric(&due, "liap_archive_pending") == Some(0.0));
    assert_eq!(metric(&full, "liap_archive_batches_total"), Some(stored(&full)), "one game each");
    assert_eq!(stored(&never), 0.0, "neither full nor due");
}

pub(super) fn no_journal() {
    let server = Server::start(&[("USE_EVENT_SOURCING", "false")]);
    assert!(!server.data().join("journal").exists());
    assert_eq!(health(&server, "journal")["enabled"], false);
    let server = Server::start(&[]);
    assert!(server.data().join("journal").is_dir());
    assert_eq!(health(&server, "journal")["enabled"], true);
}

pub(super) fn journal_interval() {
    let waited = |interval: &str| {
        let server = Server::start(&[("LIVE_JOURNAL_INTERVAL_MS", interval)]);
        let _table = play(room(&server, "Mira"));
        until("it is written", || metric(&server, "liap_journal_commit_seconds_count") > Some(0.0));
        metric(&server, "liap_journal_commit_seconds_sum").unwrap()
    };
    let (short, long) = (waited("1"), waited("2000"));
    // Notes are gathered for a quarter of the interval.
    assert!(short < 0.4 && (0.5..2.0).contains(&long), "{short} s, {long} s");
}

pub(super) fn no_archive() {
    let server = Server::start(&[("USE_GAME_ARCHIVAL", "false")]);
    assert!(!server.data().join("archive").exists());
    assert_eq!(health(&server, "archive")["enabled"], false);
    assert_ne!(server.get("/api/games").status, 200);
    assert_eq!(Server::start(&[]).get("/api/games").status, 200);
}

/// A data folder with games of the first of January 2026.
fn with_games(games: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for arguments in [
        &["simulate", "--games", games, "--seed", "4", "--json", "games.jsonl"][..],
        &["--data-dir", ".", "archive", "import", "games.jsonl"],
    ] {
        let output = liap(folder.path(), arguments, &[]);
        assert!(output.status.success(), "{output:?}");
    }
    folder
}

pub(super) fn retention() {
    let games = |days: &str| Server::start_on(with_games("20"), &[("ARCHIVE_RETENTION_DAYS", days)]);
    let short = games("1");
    // The clock is far ahead of the newest game, and nothing tells which of them is right.
    assert_eq!(health(&short, "archive")["status"], "degraded");
    assert_eq!(health(&short, "archive")["games"], 20);
    let data = short.data().to_str().unwrap();
    let confirmed = liap(short.data(), &["--data-dir", data, "archive", "confirm-clock"], &[]);
    assert!(confirmed.status.success(), "{confirmed:?}");
    // Whoever did not mean that finds out what has happened.
    let told = short.logs("removing 20 games that began more than 1 days ago, from 2026-01-01 to 2026-01-01");
    assert!(told.contains("warn"), "{told}");
    until("they are removed", || health(&short, "archive")["games"] == 0);
    assert_eq!(health(&short, "archive")["status"], "healthy");
    let undeleted = liap(short.data(), &["--data-dir", data, "archive", "undelete", "--all"], &[]);
    assert!(String::from_utf8_lossy(&undeleted.stdout).starts_with("20 games are back"), "{undeleted:?}");
    assert_eq!(health(&short, "archive")["games"], 20);
    assert_eq!(health(&games("0"), "archive")["games"], 20);
}

pub(super) fn summaries() {
    // What is kept in memory is given back when an administrator asks for it.
    let kept = |size: &str| {
        let settings = [
            ("GAME_SUMMARY_CACHE_SIZE", size),
            ("ARCHIVE_RETENTION_DAYS", "0"),
            ("ADMIN_TOKEN", "3f9a61c0d2be47588e13"),
        ];
        let server = Server::start_on(with_games("5"), &settings);
        assert_eq!(server.get("/api/games").json()["games"].as_array().map(Vec::len), Some(5));
        let freed = server.request("POST", "/admin/gc", &[("Authorization", "Bearer 3f9a61c0d2be47588e13")]);
        freed.json()["cached_summaries"].clone()
    };
    assert_eq!((kept("1000"), kept("0")), (json!(5), json!(0)));
}
