use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

use crate::process::{SOON, Server, Socket, journaled, room, scrape};

/// A data folder with the journal of version 0.1: two rooms that wait and four games.
fn golden() -> tempfile::TempDir {
    let data = tempfile::tempdir().unwrap();
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/golden/journal-1/journal");
    let copied = Command::new("cp").arg("-r").arg(golden).arg(data.path()).status().unwrap();
    assert!(copied.success());
    data
}

fn check(server: &Server) -> Value {
    server.get("/health").json()["checks"]["journal"].take()
}

#[test]
fn the_data_of_version_0_1_come_back_with_their_live_tables() {
    let server = Server::start_on(golden(), &[]);
    assert_eq!((&check(&server)["rooms"], &check(&server)["status"]), (&json!(6), &json!("healthy")));
    assert_eq!(server.get("/api/rooms").json()["rooms"].as_array().unwrap().len(), 2);
    assert!(scrape(server.metrics.unwrap()).contains("liap_rooms{phase=\"playing\"} 4\n"));
    // In its new file every room has a frame of its own.
    let server = server.again();
    assert_eq!(check(&server)["rooms"], 6);
}

#[test]
fn damage_is_told_until_an_operator_has_removed_what_was_set_aside() {
    let data = golden();
    let path = data.path().join("journal/0000000002.journal");
    let mut bytes = fs::read(&path).unwrap();
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    fs::write(&path, &bytes).unwrap();
    let server = Server::start_on(data, &[]);
    let told = |server: &Server, text: &str| server.said.iter().any(|line| line.contains(text));
    assert!(told(&server, "a part of the journal of live games cannot be read"), "{:#?}", server.said);
    assert!(told(&server, "is set aside"), "{:#?}", server.said);
    // Also after the next start, which finds everything whole.
    let server = server.again();
    let health = check(&server);
    assert_eq!(health["status"], "degraded", "{health}");
    let aside = health["set_aside"][0].as_str().unwrap();
    assert_eq!(fs::read(server.data().join("journal").join(aside)).unwrap(), bytes, "it is kept as it was");
    fs::remove_file(server.data().join("journal").join(aside)).unwrap();
    assert_eq!(check(&server)["status"], "healthy");
}

#[test]
fn data_of_a_later_version_are_refused_and_left_alone() {
    let data = tempfile::tempdir().unwrap();
    let liap = |arguments: &[&str]| {
        let mut liap = Command::new(env!("CARGO_BIN_EXE_liap"));
        let settings = [("DATA_DIR", data.path().to_str().unwrap()), ("PORT", "0"), ("METRICS_PORT", "0")];
        let output = liap.args(arguments).env_clear().env("HOST", "127.0.0.1").envs(settings).output().unwrap();
        (output.status.code(), String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned())
    };
    let (code, said) = liap(&["upgrade", "--check"]);
    assert!(code == Some(0) && said.contains("nothing to do"), "{said}");
    assert_eq!(liap(&["upgrade"]).0, Some(64));

    let form = data.path().join("form");
    fs::write(&form, "2\nMove archive.form-1 to archive and remove this file.\n").unwrap();
    for arguments in [&["serve"][..], &["upgrade", "--check"], &["archive", "list"]] {
        let (code, said) = liap(arguments);
        assert!(code == Some(78) && said.contains("Move archive.form-1 to archive"), "{arguments:?}: {code:?} {said}");
    }
    assert_eq!(fs::read_dir(data.path()).unwrap().count(), 1, "nothing was made");
    fs::remove_file(form).unwrap();

    fs::create_dir(data.path().join("journal")).unwrap();
    let journal = data.path().join("journal/0000000009.journal");
    fs::write(&journal, b"LJ2\n as a later version has it").unwrap();
    for arguments in [&["serve"][..], &["upgrade", "--check"]] {
        let (code, said) = liap(arguments);
        assert!(code == Some(78) && said.contains("--ignore-journal"), "{arguments:?}: {code:?} {said}");
    }
    assert_eq!(fs::read(&journal).unwrap(), b"LJ2\n as a later version has it");
    let mut ignoring = Command::new(env!("CARGO_BIN_EXE_liap"));
    ignoring.args(["serve", "--ignore-journal"]);
    let server = Server::run_command(ignoring, data, Vec::new());
    assert_eq!((&check(&server)["rooms"], &check(&server)["status"]), (&json!(0), &json!("healthy")));
    let names = fs::read_dir(server.data().join("journal")).unwrap().map(|entry| entry.unwrap().path());
    let aside = names.filter(|path| path.to_string_lossy().contains("/ignored-"));
    assert_eq!(aside.map(|path| fs::read(path).unwrap()).collect::<Vec<_>>(), [b"LJ2\n as a later version has it"]);
}

#[tokio::test]
async fn a_browser_learns_which_game_it_was_lost_from() {
    let server = Server::start(&[("GAME_PACE", "0")]);
    let games = |server: &Server, session: &str| {
        server.request("GET", "/api/me/games", &[("Cookie", session)]).json()["games"].take()
    };
    let (id, mut table, session) = room(&server, "Mira").await;
    assert_eq!(games(&server, &session), json!([]), "before the game");
    table.say("start_game", json!({})).await;
    journaled(&server, &mut table).await;
    drop(table);
    let game = json!([{ "room_id": id, "player_name": "Mira", "round": 1 }]);
    let begun = std::time::Instant::now();
    while games(&server, &session) != game {
        assert!(begun.elapsed() < SOON, "{}", games(&server, &session));
    }
    assert_eq!(server.get("/api/me/games").json()["games"], json!([]), "nobody else");
    // After a restart as well, and a tab of the same browser is led back.
    let server = server.again();
    assert_eq!(games(&server, &session), game);
    let mut table = Socket::open_with(&server, &id, &[("Cookie", &session)]).await.unwrap();
    table.enter(&id, "Mira").await;
    assert_eq!(table.hear("room_state_update").await["you"], "Mira");
}
