//! Servers that are killed, stopped, full, wiped, or refuse us.

use std::process::Command;
use std::time::{Duration, Instant};

use liap::archive::sink::SinkError;

use super::server::{Network, State};
use super::{OURS, SOON, all_of, assert_holds, deliver_at_last, games, server_and_sink, sink, sink_with};

/// The longest any answer may take: what the sink promises, and a little.
const BOUND: Duration = Duration::from_secs(30);

fn is_unavailable<T: std::fmt::Debug>(answer: &Result<T, SinkError>) -> bool {
    matches!(answer, Err(SinkError::Unavailable(_)))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_killed_in_the_middle_has_each_game_once() {
    let Some((mut server, sink)) = server_and_sink().await else { return };
    sink.check().await.unwrap();
    let games = games(10, 400);
    let parts: Vec<Vec<_>> = games.chunks(50).map(<[_]>::to_vec).collect();
    let delivering = tokio::spawn({
        let sink = sink.clone();
        async move {
            let mut failures = 0;
            for part in &parts {
                failures += deliver_at_last(&*sink, part).await;
            }
            failures
        }
    });
    let client = server.client("games").await;
    let deadline = Instant::now() + SOON;
    while client.query_one("SELECT count(*) FROM archive.completed_games", &[]).await.unwrap().get::<_, i64>(0) < 60 {
        assert!(Instant::now() < deadline);
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    server.kill();
    let begun = Instant::now();
    assert!(is_unavailable(&sink.check().await));
    assert!(begun.elapsed() < Duration::from_secs(2), "a server that is gone is known at once: {:?}", begun.elapsed());
    server.launch();
    let failures = tokio::time::timeout(SOON, delivering).await.unwrap().unwrap();
    assert!(failures > 0, "it was gone while games were delivered");
    assert_holds(&server, &*sink, &games).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_stopped_is_given_up_and_found_again() {
    let Some((server, sink)) = server_and_sink().await else { return };
    let games = games(11, 60);
    assert_eq!(sink.deliver(&games[..20], OURS).await, Ok(Vec::new()));
    server.signal("-STOP");
    for _ in 0..2 {
        let begun = Instant::now();
        assert!(is_unavailable(&sink.deliver(&games, OURS).await));
        assert!(begun.elapsed() < BOUND, "{:?}", begun.elapsed());
    }
    server.signal("-CONT");
    deliver_at_last(&*sink, &games).await;
    assert_holds(&server, &*sink, &games).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_statement_that_waits_for_somebody_else_is_given_up() {
    let Some((server, sink)) = server_and_sink().await else { return };
    let games = games(12, 30);
    sink.check().await.unwrap();
    let other = server.client("games").await;
    other.batch_execute("BEGIN; LOCK TABLE archive.completed_games").await.unwrap();
    let begun = Instant::now();
    assert!(is_unavailable(&sink.deliver(&games, OURS).await));
    assert!(begun.elapsed() < BOUND, "{:?}", begun.elapsed());
    other.batch_execute("ROLLBACK").await.unwrap();
    deliver_at_last(&*sink, &games).await;
    assert_holds(&server, &*sink, &games).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_network_may_be_slow_silent_or_cut() {
    let Some((server, _)) = server_and_sink().await else { return };
    let network = Network::to(&server).await;
    let sink = sink(&format!("postgresql://owner:pass@{}/games", network.address));
    let games = games(13, 120);
    network.becomes(State::Delayed(Duration::from_millis(40)));
    deliver_at_last(&*sink, &games[..40]).await;

    network.becomes(State::Silent);
    let begun = Instant::now();
    assert!(is_unavailable(&sink.deliver(&games[40..80], OURS).await));
    assert!(begun.elapsed() < BOUND, "{:?}", begun.elapsed());
    network.becomes(State::Cut);
    let begun = Instant::now();
    assert!(is_unavailable(&sink.deliver(&games[40..80], OURS).await));
    assert!(begun.elapsed() < BOUND, "{:?}", begun.elapsed());
    network.becomes(State::Delayed(Duration::ZERO));
    deliver_at_last(&*sink, &games[40..80]).await;

    // Cut again and again in the middle of what is said.
    for after in [1_000, 30_000, 300_000, 900_000] {
        let from = network.bytes.load(std::sync::atomic::Ordering::Relaxed);
        let cutting = async {
            while network.bytes.load(std::sync::atomic::Ordering::Relaxed) < from + after {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            network.becomes(State::Cut);
        };
        let (answer, ()) = tokio::join!(sink.deliver(&games, OURS), async {
            // It may be done before so much was said.
            tokio::time::timeout(Duration::from_secs(2), cutting).await.ok();
        });
        drop(answer);
        network.becomes(State::Delayed(Duration::ZERO));
    }
    deliver_at_last(&*sink, &games).await;
    assert_holds(&server, &*sink, &games).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_without_free_connections_is_waited_for() {
    let Some((server, owner)) = server_and_sink().await else { return };
    owner.check().await.unwrap();
    let games = games(14, 30);
    server.sql("games", "CREATE ROLE liap LOGIN PASSWORD 'hush' CONNECTION LIMIT 0").await;
    server.sql("games", "GRANT USAGE ON SCHEMA archive TO liap; GRANT SELECT, INSERT, DELETE ON ALL TABLES IN SCHEMA archive TO liap; GRANT USAGE ON ALL SEQUENCES IN SCHEMA archive TO liap").await;
    let sink = sink(&server.url("liap:hush", "games"));
    let answer = sink.deliver(&games, OURS).await;
    assert!(is_unavailable(&answer), "{answer:?}");
    server.sql("games", "ALTER ROLE liap CONNECTION LIMIT 1").await;
    // One must do, however many may be wanted.
    deliver_at_last(&*sink_with(&server.url("liap:hush", "games"), 1, 1), &games).await;
    assert_holds(&server, &*owner, &games).await;
}

/// A disk of its own, that can be full.
#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_is_waited_for() {
    let Some((server, sink)) = server_and_sink().await else { return };
    let disk = tempfile::tempdir().unwrap();
    let mounted = Command::new("mount")
        .args(["-t", "tmpfs", "-o", "size=8m,uid=65534,gid=65534,mode=700", "tmpfs"])
        .arg(disk.path())
        .output();
    if !mounted.is_ok_and(|output| output.status.success()) {
        assert!(std::env::var("LIAP_TEST_MAY_MOUNT").is_err(), "no file system can be mounted here");
        eprintln!("NOT RUN: a full disk needs one of its own, and nothing can be mounted here");
        return;
    }
    server.sql("postgres", &format!("CREATE TABLESPACE small LOCATION '{}'", disk.path().display())).await;
    sink.check().await.unwrap();
    server.sql("games", "ALTER TABLE archive.completed_games SET TABLESPACE small").await;
    let games = games(15, 150);
    let filler = disk.path().join("filler");
    let free =
        Command::new("sh").arg("-c").arg(format!("dd if=/dev/zero of={} bs=64k; true", filler.display())).output();
    free.unwrap();
    let answer = sink.deliver(&games, OURS).await;
    assert!(is_unavailable(&answer), "{answer:?}");
    assert!(format!("{answer:?}").contains("No space left"), "{answer:?}");
    std::fs::remove_file(filler).unwrap();
    deliver_at_last(&*sink, &games).await;
    assert_holds(&server, &*sink, &games).await;
    drop(server);
    assert!(Command::new("umount").arg(disk.path()).status().unwrap().success());
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_refused_is_told_without_secrets() {
    let Some((server, _)) = server_and_sink().await else { return };
    server.sql("games", "CREATE ROLE guest LOGIN PASSWORD 'hush'").await;
    for (who, database, told) in [
        ("owner:secret", "games", "password authentication failed"),
        ("nobody:secret", "games", "password authentication failed"),
        ("owner:pass", "secret", "does not exist"),
        // May come in, but make nothing.
        ("guest:hush", "games", "scripts/init-archive.sql"),
    ] {
        let answer = sink(&server.url(who, database)).check().await;
        let Err(SinkError::Denied(reason)) = &answer else { panic!("{who}: {answer:?}") };
        assert!(reason.contains(told), "{reason}");
        assert!(!reason.contains(":secret") && !reason.contains("hush"), "{reason}");
    }
    server.sql("games", "ALTER DATABASE games SET default_transaction_read_only = on").await;
    sink(&server.url("owner:pass", "postgres")).check().await.unwrap();
    let answer = sink(&server.url("owner:pass", "games")).check().await;
    assert!(matches!(answer, Err(SinkError::Denied(_))), "{answer:?}");
}

/// Nobody can be found, or something else is there.
#[tokio::test(flavor = "multi_thread")]
async fn where_no_database_is_there_is_an_answer_all_the_same() {
    let games = games(16, 1);
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    for (url, at_most) in [
        ("postgresql://liap@127.0.0.1:1/games".to_owned(), 2),
        ("postgresql://liap@no-such-host.invalid/games".to_owned(), 12),
        // Takes connections and says nothing.
        (format!("postgresql://liap@127.0.0.1:{port}/games"), 30),
    ] {
        let begun = Instant::now();
        assert!(is_unavailable(&sink(&url).deliver(&games, OURS).await), "{url}");
        assert!(begun.elapsed() < Duration::from_secs(at_most), "{url}: {:?}", begun.elapsed());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wiped_database_is_filled_again() {
    let Some((server, sink)) = server_and_sink().await else { return };
    let games = games(17, 30);
    deliver_at_last(&*sink, &games).await;
    server.sql("games", "TRUNCATE archive.completed_games, archive.game_events").await;
    assert_eq!(all_of(&*sink).await, []);
    deliver_at_last(&*sink, &games).await;
    server.sql("games", "DROP SCHEMA archive CASCADE").await;
    assert!(is_unavailable(&sink.deliver(&games, OURS).await), "it has looked before");
    deliver_at_last(&*sink, &games).await;
    assert_holds(&server, &*sink, &games).await;
    // One table is gone, and the other is there.
    for tables in ["game_events", "completed_games", "game_events, archive.completed_games"] {
        server.sql("games", &format!("DROP TABLE archive.{tables} CASCADE")).await;
        assert!(is_unavailable(&sink.deliver(&games, OURS).await), "it has looked before");
        deliver_at_last(&*sink, &games).await;
        assert_holds(&server, &*sink, &games).await;
        let references =
            "SELECT count(*) FROM pg_constraint WHERE conrelid = 'archive.game_events'::regclass AND contype = 'f'";
        assert_eq!(server.ask("games", references).await, "1", "{tables}");
        deliver_at_last(&*self::sink(&server.url("owner:pass", "games")), &games).await;
    }
    server.sql("games", "ALTER TABLE archive.completed_games DROP COLUMN data_digest").await;
    assert!(is_unavailable(&sink.deliver(&games, OURS).await));
    sink.check().await.unwrap();
    server.sql("games", "ALTER TABLE archive.completed_games RENAME COLUMN final_scores TO scores").await;
    let answer = self::sink(&server.url("owner:pass", "games")).check().await;
    assert!(matches!(&answer, Err(SinkError::Denied(text)) if text.contains("archive")), "{answer:?}");
    server.sql("games", "ALTER TABLE archive.completed_games RENAME COLUMN scores TO final_scores").await;
    deliver_at_last(&*sink, &[]).await;
    server.sql("postgres", "DROP DATABASE games WITH (FORCE)").await;
    let answer = sink.deliver(&games, OURS).await;
    assert!(answer.is_err(), "{answer:?}");
    server.sql("postgres", "CREATE DATABASE games").await;
    deliver_at_last(&*sink, &games).await;
    assert_holds(&server, &*sink, &games).await;
}
