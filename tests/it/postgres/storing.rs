//! What is stored, and what of it is found to be wrong.

use std::process::Command;

use liap::archive::sink::{Content, Defect, Delivery, SinkKind};
use liap::archive::{GameId, tell};
use serde_json::Value;

use super::server::Postgres;
use super::{
    OURS, THEIRS, all_of, assert_holds, delivery, games, other_id, records, remove, server, server_and_sink, sink,
};

/// The script and the server create the same tables, in whichever order they run.
#[tokio::test(flavor = "multi_thread")]
async fn the_script_makes_the_same_schema_as_the_server_itself() {
    let Some(programs) = server::programs() else { return };
    let server = Postgres::start(&programs).await;
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/scripts/init-archive.sql");
    for database in ["scripted", "earlier"] {
        server.sql("postgres", &format!("CREATE DATABASE {database}")).await;
    }
    server.program("psql", "scripted", &["--quiet", "--set=ON_ERROR_STOP=1", "--file", script]);
    let schema = |database: &str| {
        let arguments = ["--schema-only", "--schema=archive"];
        let dump = server.program("pg_dump", database, &arguments);
        assert!(dump.contains("CREATE TABLE archive.completed_games"), "{dump}");
        // Newer servers protect a dump with a word that is another one each time.
        let lines = dump.lines().filter(|line| !line.starts_with("\\restrict") && !line.starts_with("\\unrestrict"));
        lines.map(|line| format!("{line}\n")).collect::<String>()
    };
    sink(&server.url("owner:pass", "games")).check().await.unwrap();
    assert_eq!(schema("games"), schema("scripted"));

    // The script again on what the server has made, and the server on what the script has made.
    server.program("psql", "games", &["--quiet", "--set=ON_ERROR_STOP=1", "--file", script]);
    sink(&server.url("owner:pass", "scripted")).check().await.unwrap();
    assert_eq!(schema("games"), schema("scripted"));

    // Tables of an earlier version get the columns that they lack, also where refinery's history lists its migrations.
    server.program("psql", "earlier", &["--quiet", "--set=ON_ERROR_STOP=1", "--file", script]);
    let earlier = "ALTER TABLE archive.completed_games DROP COLUMN event_count, DROP COLUMN data_digest, DROP installation; \
        CREATE TABLE archive.schema_history (version INT4 PRIMARY KEY, name VARCHAR(255), applied_on VARCHAR(255), \
            checksum VARCHAR(255)); \
        INSERT INTO archive.schema_history VALUES (1, 'completed_games', '2026-01-01T00:00:00Z', '1')";
    server.sql("earlier", earlier).await;
    sink(&server.url("owner:pass", "earlier")).check().await.unwrap();
    let columns = "SELECT count(*) FROM pg_attribute WHERE attrelid = 'archive.completed_games'::regclass \
        AND attnum > 0 AND NOT attisdropped";
    assert_eq!(server.ask("earlier", columns).await, "12");
}

#[tokio::test(flavor = "multi_thread")]
async fn games_are_stored_whole_and_the_questions_of_the_guide_have_answers() {
    let Some((server, sink)) = server_and_sink().await else { return };
    let games = games(1, 60);
    assert_eq!(sink.deliver(&games, OURS).await, Ok(Vec::new()));
    assert_holds(&server, &*sink, &games).await;

    let client = server.client("games").await;
    for game in games.iter().take(5) {
        let row = client
            .query_one(
                "SELECT game_data, room_id, completed_at::text, game_duration_seconds, winner_name, final_scores \
                 FROM archive.completed_games WHERE game_id = $1",
                &[&game.id.to_string()],
            )
            .await
            .unwrap();
        let json: Value = serde_json::from_str(game.line()).unwrap();
        assert_eq!(row.get::<_, Value>(0), json);
        assert_eq!(row.get::<_, String>(1), game.game().room_id);
        assert_eq!(row.get::<_, Option<i32>>(3), Some(i32::try_from(game.game().duration_seconds).unwrap()));
        assert_eq!(row.get::<_, Option<String>>(4), game.game().winner_name);
        assert_eq!(row.get::<_, Value>(5), json["final_scores"]);

        let rows = client
            .query(
                "SELECT event_type, event_data, \
                    (extract(epoch FROM event_timestamp - $2::text::timestamptz) * 1000)::int8 \
                 FROM archive.game_events WHERE game_id = $1 ORDER BY id",
                &[&game.id.to_string(), &game.game().started_at],
            )
            .await
            .unwrap();
        let stored: Vec<(String, Value, i64)> = rows.iter().map(|row| (row.get(0), row.get(1), row.get(2))).collect();
        let told: Vec<(String, Value, i64)> = tell(game.game())
            .into_iter()
            .map(|event| (event.kind.to_owned(), event.json, event.at_ms.try_into().unwrap()))
            .collect();
        assert_eq!(stored, told);
    }

    let winner = games[0].game().winner_name.clone();
    let room = &games[0].game().room_id;
    assert_eq!(server.ask("games", "SELECT count(*) FROM archive.completed_games;").await, "60");
    let by_room = format!("SELECT game_id FROM archive.completed_games WHERE room_id = '{room}'");
    assert_eq!(server.ask("games", &by_room).await, games[0].id.to_string());
    if let Some(winner) = winner {
        let by_winner = format!("SELECT count(*) > 0 FROM archive.completed_games WHERE winner_name = '{winner}'");
        assert_eq!(server.ask("games", &by_winner).await, "t");
    }
    let size = server.ask("games", "SELECT pg_size_pretty(pg_database_size('games'));").await;
    assert!(size.ends_with("MB") || size.ends_with("kB"), "{size}");
    let since =
        "SELECT count(*) FROM archive.completed_games WHERE completed_at >= '2026-01-01' AND archived_at <= now()";
    assert_eq!(server.ask("games", since).await, "60");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_there_already_is_left_as_it_is() {
    let Some((server, sink)) = server_and_sink().await else { return };
    let games = games(2, 60);
    assert_eq!(sink.deliver(&games[..40], OURS).await, Ok(Vec::new()));
    let archived = server.ask("games", "SELECT max(archived_at) FROM archive.completed_games").await;
    // Half of a part is there, half is not; and one comes twice in one batch.
    let mut again = games[30..].to_vec();
    again.push(games[35].clone());
    assert_eq!(sink.deliver(&again, OURS).await, Ok(Vec::new()));
    assert_eq!(sink.deliver(&games, OURS).await, Ok(Vec::new()));
    assert_holds(&server, &*sink, &games).await;
    let question = format!("SELECT count(*) FROM archive.completed_games WHERE archived_at <= '{archived}'");
    assert_eq!(server.ask("games", &question).await, "40");
    assert_eq!(sink.deliver(&[], OURS).await, Ok(Vec::new()));
}

#[tokio::test(flavor = "multi_thread")]
async fn two_servers_may_copy_the_same_games_at_once() {
    let Some((server, _)) = server_and_sink().await else { return };
    let games = games(3, 150);
    let reversed: Vec<_> = games.iter().rev().cloned().collect();
    // Each makes the tables too, if it is first.
    let sinks: Vec<_> = (0..4).map(|_| sink(&server.url("owner:pass", "games"))).collect();
    let answers = tokio::join!(
        sinks[0].deliver(&games, OURS),
        sinks[1].deliver(&reversed, OURS),
        sinks[2].deliver(&games[50..], OURS),
        sinks[3].deliver(&reversed[50..], OURS),
    );
    assert_eq!(answers, (Ok(Vec::new()), Ok(Vec::new()), Ok(Vec::new()), Ok(Vec::new())));
    assert_holds(&server, &*sinks[0], &games).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_game_with_another_content_is_noticed_and_refused() {
    let Some((server, sink)) = server_and_sink().await else { return };
    let games = games(4, 10);
    assert_eq!(sink.deliver(&games, OURS).await, Ok(Vec::new()));
    let id = games[3].id;
    let alter = format!(
        "UPDATE archive.completed_games SET game_data = jsonb_set(game_data, '{{final_scores,0}}', '99') WHERE game_id = '{id}'"
    );
    server.sql("games", &alter).await;
    let refused = sink.deliver(&games, OURS).await.unwrap();
    assert_eq!(refused.iter().map(|refusal| refusal.id).collect::<Vec<_>>(), [id]);
    let held = all_of(&*sink).await;
    let Content::Json(json) = &held[3].content else { panic!("all of it is shown, but {:?}", held[3]) };
    assert_eq!(serde_json::from_str::<Value>(json).unwrap()["final_scores"][0], 99);
    assert_eq!(held.iter().filter(|held| matches!(held.content, Content::Digest(_))).count(), 9);
    assert_eq!(sink.fetch(id).await, Ok(Some(Content::Json(json.clone()))));
}

/// What the guide's questions read, and nobody reads who only looks at the game's JSON.
#[tokio::test(flavor = "multi_thread")]
async fn altered_columns_are_named_and_left_as_they_are() {
    let Some((server, sink)) = server_and_sink().await else { return };
    let mut records = records(9, 14);
    // Longer, and later, than a calendar has room for.
    records[12].duration_ms = u64::from(u32::MAX) * 1000;
    records[13].duration_ms = 300_000_000_000_000;
    let games: Vec<_> = records.iter().map(delivery).collect();
    assert_eq!(sink.deliver(&games, OURS).await, Ok(Vec::new()));
    assert_holds(&server, &*sink, &games).await;
    // As the database's clock and tongue would have it, it is still the same time.
    server.sql("games", "ALTER DATABASE games SET timezone = 'Asia/Kathmandu'").await;
    server.sql("games", "ALTER DATABASE games SET datestyle = 'German'").await;
    let sink = super::sink(&server.url("owner:pass", "games"));
    assert_holds(&server, &*sink, &games).await;

    let altered = [
        ("winner_name = 'Zoe'", "winner_name"),
        ("winner_name = NULLIF(coalesce(winner_name, 'Zoe'), winner_name)", "winner_name"),
        ("room_id = 'AAAAAA'", "room_id"),
        ("completed_at = completed_at + interval '1 microsecond'", "completed_at"),
        ("completed_at = 'infinity'", "completed_at"),
        ("game_duration_seconds = game_duration_seconds + 1", "game_duration_seconds"),
        ("game_duration_seconds = NULL", "game_duration_seconds"),
        ("final_scores = '[9,9,9,9]'", "final_scores"),
        ("final_scores = NULL", "final_scores"),
        ("final_scores = NULL, room_id = 'A', completed_at = '2020-01-01'", "room_id, completed_at, final_scores"),
    ];
    for ((what, _), game) in altered.iter().zip(&games) {
        let update = format!("UPDATE archive.completed_games SET {what} WHERE game_id = '{}'", game.id);
        server.sql("games", &update).await;
    }
    let held = all_of(&*sink).await;
    for ((what, names), held) in altered.iter().zip(&held) {
        assert_eq!(held.defects, [Defect::Columns((*names).to_owned())], "{what}");
    }
    assert!(held[altered.len()..].iter().all(|held| held.defects.is_empty()), "{held:?}");
    let refused = sink.deliver(&games, OURS).await.unwrap();
    assert_eq!(refused.len(), altered.len());
    for ((_, names), refusal) in altered.iter().zip(&refused) {
        assert_eq!(refusal.reason, Defect::Columns((*names).to_owned()).to_string());
    }
    // A game that is none, and what is noted for comparing alone.
    for (game, what) in [(10, "game_data = '[]'"), (11, "content_digest = '\\x00'"), (13, "event_count = 0")] {
        let update = format!("UPDATE archive.completed_games SET {what} WHERE game_id = '{}'", games[game].id);
        server.sql("games", &update).await;
    }
    let held = all_of(&*sink).await;
    assert_eq!(held[10].content, Content::Json("[]".to_owned()));
    assert_eq!(held[11].defects, [Defect::Columns("content_digest".to_owned())]);
    assert!(matches!(held[13].defects[..], [Defect::Events { wanted: 0, .. }]), "{held:?}");
    let refused = sink.deliver(&games, OURS).await.unwrap();
    assert_eq!(refused.len(), altered.len() + 3);
    assert!(refused.last().is_some_and(|refusal| refusal.reason.ends_with("event_count")), "{refused:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn altered_events_are_found_by_those_who_look_through_them() {
    let Some((server, sink)) = server_and_sink().await else { return };
    let games = games(10, 25);
    assert_eq!(sink.deliver(&games, OURS).await, Ok(Vec::new()));
    assert_eq!(sink.audit(&games).await, Ok(Vec::new()));
    assert_eq!(sink.audit(&[]).await, Ok(Vec::new()));
    let of = |game: usize| format!("game_id = '{}'", games[game].id);
    let first = |game: usize| format!("id = (SELECT min(id) FROM archive.game_events WHERE {})", of(game));
    let last = |game: usize| format!("id = (SELECT max(id) FROM archive.game_events WHERE {})", of(game));
    for (what, which) in [
        ("event_data = '{}', event_type = 'played'".to_owned(), of(2)),
        ("event_data = jsonb_set(event_data, '{players,0,name}', '\"Zoe\"')".to_owned(), first(11)),
        ("event_timestamp = event_timestamp + interval '1 millisecond'".to_owned(), last(12)),
        // Another game's, and so one too many there.
        (format!("game_id = '{}'", games[16].id), last(15)),
        // The same events in another order.
        ("id = -1".to_owned(), last(24)),
    ] {
        server.sql("games", &format!("UPDATE archive.game_events SET {what} WHERE {which}")).await;
    }
    let altered = [2, 11, 12, 15, 16, 24].map(|game| (games[game].id, Defect::EventsAltered));
    assert_eq!(sink.audit(&games).await, Ok(altered.to_vec()));
    assert_eq!(sink.audit(&games[3..10]).await, Ok(Vec::new()));
    let counted: Vec<usize> =
        (0..).zip(all_of(&*sink).await).filter(|(_, held)| !held.defects.is_empty()).map(|(n, _)| n).collect();
    assert_eq!(counted, [15, 16], "who only counts sees no more");
}

#[tokio::test(flavor = "multi_thread")]
async fn lost_events_are_noticed_and_come_back() {
    let Some((server, sink)) = server_and_sink().await else { return };
    let games = games(5, 30);
    assert_eq!(sink.deliver(&games, OURS).await, Ok(Vec::new()));
    let some = format!("DELETE FROM archive.game_events WHERE game_id = '{}' AND event_type = 'played'", games[7].id);
    server.sql("games", &some).await;
    let held = all_of(&*sink).await;
    let count = |game: &Delivery| i64::try_from(tell(game.game()).len()).unwrap();
    let [Defect::Events { there, wanted }] = held[7].defects[..] else { panic!("{:?}", held[7]) };
    assert!(there > 0 && there < wanted && wanted == count(&games[7]), "{there} of {wanted}");
    assert_eq!(held.iter().filter(|held| held.defects.is_empty()).count(), 29);
    server.sql("games", "TRUNCATE archive.game_events").await;
    for (held, game) in all_of(&*sink).await.into_iter().zip(&games) {
        // The content is as it was, and said to be.
        assert_eq!(held.content, Content::Digest(game.digest()));
        assert_eq!(held.defects, [Defect::Events { there: 0, wanted: count(game) }]);
    }
    // The game itself can still be had.
    assert!(matches!(sink.fetch(games[7].id).await, Ok(Some(Content::Json(_)))));

    // From two sides at once, and still each event once.
    let other = super::sink(&server.url("owner:pass", "games"));
    assert_eq!(tokio::join!(sink.deliver(&games, OURS), other.deliver(&games, OURS)), (Ok(Vec::new()), Ok(Vec::new())));
    assert_holds(&server, &*sink, &games).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_database_cannot_take_is_named_and_holds_up_nothing() {
    let Some((server, sink)) = server_and_sink().await else { return };
    let mut records = records(6, 20);
    // Longer than its column, and with a character that JSON in PostgreSQL cannot have.
    records[4].room_id = "R".repeat(60);
    records[9].room_id = "nul\0".to_owned();
    let games: Vec<_> = records.iter().map(delivery).collect();
    let refused = sink.deliver(&games, OURS).await.unwrap();
    let ids: Vec<GameId> = refused.iter().map(|refusal| refusal.id).collect();
    assert_eq!(ids, [games[4].id, games[9].id]);
    assert!(refused[0].reason.contains("too long"), "{refused:?}");
    let good: Vec<_> = games.iter().filter(|game| !ids.contains(&game.id)).cloned().collect();
    assert_holds(&server, &*sink, &good).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn old_games_go_with_their_events_and_those_of_others_stay() {
    let Some((server, sink)) = server_and_sink().await else { return };
    let games = games(7, 500);
    for part in games.chunks(100) {
        assert_eq!(sink.deliver(part, OURS).await, Ok(Vec::new()));
    }
    let foreign = "INSERT INTO archive.completed_games (game_id, room_id, game_data, completed_at) \
        VALUES ('legacy-17', 'ABC', '{}', '2019-01-01'), ('0-of-another-program', 'ABC', '{}', '2019-01-01')";
    server.sql("games", foreign).await;
    assert_eq!(all_of(&*sink).await.len(), 500, "only ours are seen");
    let before = games[450].id.unix_ms();
    assert_eq!(remove(&*sink, before, OURS).await, Ok((450, 0)));
    assert_eq!(remove(&*sink, before, OURS).await, Ok((0, 0)));
    server.sql("games", "DELETE FROM archive.completed_games WHERE game_data = '{}'").await;
    assert_holds(&server, &*sink, &games[450..]).await;
    assert_eq!(sink.fetch(other_id(&games)).await, Ok(None));
}

/// What every sink must do, here as anywhere.
#[tokio::test(flavor = "multi_thread")]
async fn a_database_conforms() {
    let Some((server, sink)) = server_and_sink().await else { return };
    crate::conforms::conforms(&*sink).await;
    crate::conforms::unmarked_copies_stay_until_they_are_adopted(&*sink, async |game| {
        assert_eq!(sink.deliver(std::slice::from_ref(game), OURS).await, Ok(Vec::new()));
        let unmark = format!("UPDATE archive.completed_games SET installation = NULL WHERE game_id = '{}'", game.id);
        server.sql("games", &unmark).await;
    })
    .await;
    assert_eq!(server.ask("games", "SELECT count(*) FROM archive.game_events").await, "0");
}

#[tokio::test(flavor = "multi_thread")]
async fn no_row_goes_whatever_the_clock_shows() {
    let Some((server, sink)) = server_and_sink().await else { return };
    let url = server.url("owner:pass", "games");
    let runtime = tokio::runtime::Handle::current();
    let tried = tokio::task::spawn_blocking(move || {
        let most = std::num::NonZeroUsize::MAX;
        let rows = || runtime.block_on(sink.count(u64::MAX, most)).unwrap() as u64;
        crate::clock::no_leap_removes_copies(SinkKind::Postgresql, &[("DATABASE_URL", &url)], rows);
    });
    tried.await.unwrap();
    drop(server);
}

#[tokio::test(flavor = "multi_thread")]
async fn no_retention_removes_rows_of_others() {
    let Some((server, sink)) = server_and_sink().await else { return };
    sink.check().await.unwrap();
    let url = server.url("owner:pass", "games");
    let tried = tokio::task::spawn_blocking(move || {
        crate::conforms::no_retention_removes_copies_of_others(SinkKind::Postgresql, || super::sink(&url));
    });
    tried.await.unwrap();
}

/// Others have written them, and may have had a reason.
#[tokio::test(flavor = "multi_thread")]
async fn events_of_others_are_left_as_they_are() {
    let Some((server, sink)) = server_and_sink().await else { return };
    let games = games(18, 4);
    assert_eq!(sink.deliver(&games, THEIRS).await, Ok(Vec::new()));
    server.sql("games", "DELETE FROM archive.game_events WHERE event_type = 'played'").await;
    let left = server.ask("games", "SELECT count(*) FROM archive.game_events").await;
    let refused = sink.deliver(&games, OURS).await.unwrap();
    assert_eq!(refused.len(), 4);
    assert!(refused[0].reason.contains("another installation made the copy"), "{refused:?}");
    assert_eq!(server.ask("games", "SELECT count(*) FROM archive.game_events").await, left);
    assert_eq!(sink.deliver(&games, THEIRS).await, Ok(Vec::new()));
    assert_holds(&server, &*sink, &games).await;
}

/// As a person does it, with the program.
#[tokio::test(flavor = "multi_thread")]
async fn games_are_sent_compared_and_brought_back_by_hand() {
    let Some((server, _)) = server_and_sink().await else { return };
    let folder = tempfile::tempdir().unwrap();
    let url = server.url("owner:pass", "games");
    let liap = |data: &str, arguments: &[&str]| {
        let output = Command::new(env!("CARGO_BIN_EXE_liap"))
            .args(arguments)
            .current_dir(folder.path())
            .env_clear()
            .envs([("DATA_DIR", data), ("ARCHIVE_BACKEND", "postgresql"), ("DATABASE_URL", &url)])
            .env("ARCHIVE_RETENTION_DAYS", "0")
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
        assert!(!said.contains("owner:pass"), "{said}");
        (output.status.code(), said)
    };
    let ok = |(code, said): (Option<i32>, String)| {
        assert_eq!(code, Some(0), "{said}");
        said
    };
    ok(liap("one", &["simulate", "--games", "120", "--seed", "3", "--json", "games.jsonl"]));
    ok(liap("one", &["archive", "import", "games.jsonl"]));
    ok(liap("one", &["archive", "sync", "--all"]));
    ok(liap("one", &["archive", "compare", "--deep"]));
    assert_eq!(server.ask("games", "SELECT count(*) FROM archive.completed_games").await, "120");

    // A game is missing there, one is another, one has lost its events.
    let ids: Vec<String> = (0..3)
        .map(|n| format!("(SELECT game_id FROM archive.completed_games ORDER BY 1 OFFSET {n} LIMIT 1)"))
        .collect();
    let gone = server.ask("games", &format!("SELECT {}", ids[0])).await;
    server.sql("games", &format!("DELETE FROM archive.game_events WHERE game_id IN ({}, {})", ids[0], ids[2])).await;
    server
        .sql(
            "games",
            &format!(
                "UPDATE archive.completed_games SET game_data = game_data || '{{\"rules\":9}}' WHERE game_id = {}",
                ids[1]
            ),
        )
        .await;
    let (altered, lost) = (
        server.ask("games", &format!("SELECT {}", ids[1])).await,
        server.ask("games", &format!("SELECT {}", ids[2])).await,
    );
    server.sql("games", &format!("DELETE FROM archive.completed_games WHERE game_id = '{gone}'")).await;
    for compare in [&["archive", "compare"][..], &["archive", "compare", "--deep"]] {
        let (code, said) = liap("one", compare);
        assert_eq!(code, Some(1), "{said}");
        for id in [&gone, &altered, &lost] {
            assert!(said.contains(id.as_str()), "{id} in {said}");
        }
        assert!(said.contains(&format!("game {lost} differs: 0 events are there, not ")), "{said}");
    }
    // What is altered is for somebody to look at; all else is as it should be.
    let (code, said) = liap("one", &["archive", "sync", "--all"]);
    assert_eq!(code, Some(1), "{said}");
    let (code, said) = liap("one", &["archive", "compare"]);
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains(&altered) && !said.contains(&gone) && !said.contains(&lost), "{said}");
    server.sql("games", &format!("DELETE FROM archive.game_events WHERE game_id = '{altered}'")).await;
    server.sql("games", &format!("DELETE FROM archive.completed_games WHERE game_id = '{altered}'")).await;
    ok(liap("one", &["archive", "sync", "--all"]));
    ok(liap("one", &["archive", "compare"]));

    // The game's JSON is as it was; what is beside it is not.
    server
        .sql("games", &format!("UPDATE archive.game_events SET event_data = '{{}}' WHERE game_id = '{altered}'"))
        .await;
    server
        .sql("games", &format!("UPDATE archive.completed_games SET winner_name = 'Zoe' WHERE game_id = '{lost}'"))
        .await;
    let (code, said) = liap("one", &["archive", "compare"]);
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains(&format!("game {lost} differs: its row there has been altered: winner_name")), "{said}");
    let (code, said) = liap("one", &["archive", "compare", "--deep"]);
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains(&format!("game {lost} differs: its row there has been altered: winner_name")), "{said}");
    assert!(said.contains(&format!("game {altered} differs: its events there have been altered")), "{said}");
    assert!(said.contains("120 games there, 118 of them as here, 2 differences"), "{said}");
    let (code, said) = liap("one", &["archive", "sync", "--all"]);
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("1 are refused"), "{said}");
    // As the guide says: what is altered is removed, and comes again.
    server.sql("games", &format!("DELETE FROM archive.game_events WHERE game_id IN ('{altered}', '{lost}')")).await;
    server.sql("games", &format!("DELETE FROM archive.completed_games WHERE game_id = '{lost}'")).await;
    ok(liap("one", &["archive", "sync", "--all"]));
    ok(liap("one", &["archive", "compare", "--deep"]));

    // Another server, whose copies they are not, and that is told before what its settings would do.
    let told = ok(liap("two", &["archive", "restore", "--from", "postgresql", "--set", "ARCHIVE_RETENTION_DAYS=90"]));
    assert!(told.contains("120 of these games are older than ARCHIVE_RETENTION_DAYS=90"), "{told}");
    let ours = std::fs::read_to_string(folder.path().join("one/archive/installation")).unwrap();
    let told = ok(liap("two", &["archive", "sync", "--adopt"]));
    assert!(told.contains("postgresql: 0 copies adopted, 0 belonged to this installation ("), "{told}");
    assert!(told.contains(&format!("postgresql: 120 belong to installation {}", ours.trim())), "{told}");
    let told = ok(liap("two", &["archive", "sync", &format!("--adopt={}", ours.trim())]));
    assert!(told.contains("postgresql: 120 copies adopted, 0 belonged"), "{told}");
    ok(liap("two", &["archive", "export", "again.jsonl"]));
    let read = |name: &str| std::fs::read(folder.path().join(name)).unwrap();
    assert!(read("again.jsonl") == read("games.jsonl"), "what comes back is what was sent");
}
