use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::process::{Answer, SOON, Server, Socket, journaled, request, request_with, room};

const TOKEN: &str = "planted-secret-0123456789";
const ADMIN: (&str, &str) = ("ADMIN_TOKEN", TOKEN);
/// Every route that needs the token.
const ROUTES: &[(&str, &str)] = &[
    ("GET", "/admin/status"),
    ("GET", "/admin/archive"),
    ("POST", "/admin/archive/flush"),
    ("GET", "/admin/rooms"),
    ("GET", "/admin/rooms/3FA9C1"),
    ("POST", "/admin/rooms/3FA9C1/close"),
    ("POST", "/admin/gc"),
    ("GET", "/admin/log-level"),
    ("PUT", "/admin/log-level"),
    ("GET", "/admin/events"),
    ("GET", "/admin/drain"),
    ("POST", "/admin/drain"),
    ("DELETE", "/admin/drain"),
];

fn ask_with(server: &Server, method: &str, path: &str, body: &str) -> Answer {
    let bearer = format!("Bearer {TOKEN}");
    request_with(server.address, method, path, &[("Authorization", &bearer)], body)
}

fn ask(server: &Server, method: &str, path: &str) -> Answer {
    ask_with(server, method, path, "")
}

/// Asks until the answer fits.
fn ask_until(server: &Server, path: &str, fits: impl Fn(&Value) -> bool) -> Value {
    let begun = Instant::now();
    loop {
        let answer = ask(server, "GET", path).json();
        if fits(&answer) {
            return answer;
        }
        assert!(begun.elapsed() < SOON, "{path} stays {answer}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

fn kinds(server: &Server) -> Vec<String> {
    let events = ask(server, "GET", "/admin/events?limit=1000").json();
    events["events"].as_array().unwrap().iter().map(|event| event["kind"].as_str().unwrap().to_owned()).collect()
}

/// One line of the figures of a scrape.
fn scraped(server: &Server, name: &str) -> u64 {
    let text = request(server.metrics.unwrap(), "GET", "/metrics", &[]);
    let line = text.text().lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.parse().ok());
    line.unwrap_or_else(|| panic!("no {name}"))
}

/// Flushes the archive until it has a game, and returns its summary: a game is handed over when the journal has it.
fn flushed(server: &Server) -> Value {
    let begun = Instant::now();
    loop {
        assert_eq!(ask(server, "POST", "/admin/archive/flush").json(), json!({ "flushed": true, "pending": 0 }));
        if let Some(game) = server.get("/api/games").json()["games"].get(0) {
            return game.clone();
        }
        assert!(begun.elapsed() < SOON, "no game");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn every_route_refuses_without_the_token() {
    let server = Server::start(&[ADMIN]);
    for (method, path) in ROUTES.iter().copied().chain([("GET", "/admin/nothing"), ("PATCH", "/admin/gc")]) {
        let refused = server.request(method, path, &[]);
        assert_eq!(refused.status, 401, "{method} {path}");
        assert_eq!(refused.header("www-authenticate"), "Bearer realm=\"liap\"");
        assert_eq!(refused.header("content-type"), "application/problem+json");
    }
    let wrong = server.request("GET", "/admin/status", &[("Authorization", "Bearer planted-secret-012345678")]);
    assert_eq!((wrong.status, wrong.header("www-authenticate").contains("invalid_token")), (401, true));
    for elsewhere in ["/admin/status?token=planted-secret-0123456789", "/admin/status?access_token=x"] {
        let cookie = format!("token={TOKEN}");
        assert_eq!(server.request("GET", elsewhere, &[("Cookie", &cookie)]).status, 401, "only in its header");
    }
    assert_eq!(ask(&server, "GET", "/admin/status").status, 200);
}

#[test]
fn the_page_holds_no_figure_and_lives_beside_another_client() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("index.html"), "another client").unwrap();
    let server = Server::start(&[ADMIN, ("STATIC_DIR", folder.path().to_str().unwrap()), ("BASE_PATH", "/liap")]);
    let page = server.get("/liap/admin");
    assert_eq!((page.status, page.header("content-type")), (200, "text/html; charset=utf-8"));
    assert!(page.text().contains("<base href=\"/liap/\">") && page.header("set-cookie").is_empty());
    let policy = page.header("content-security-policy");
    assert!(policy.contains("script-src 'self'") && !policy.contains("unsafe"), "{policy}");
    let names: Vec<&str> = page.text().split('"').filter(|text| text.starts_with("admin/assets/")).collect();
    assert!(names.len() >= 4, "{names:?}");
    for name in names {
        let file = server.get(&format!("/liap/{name}"));
        assert_eq!((file.status, file.header("cache-control")), (200, "public, max-age=31536000, immutable"), "{name}");
    }
    for shared in ["dom.js", "style.css", "chart.js", "figures.js", "views.js", "api.js"] {
        assert_eq!(server.get(&format!("/admin/assets/{shared}")).status, 200, "{shared}");
    }
    for nothing in ["/admin/assets/index.html", "/admin/assets/state.js", "/admin/assets/../guard.rs"] {
        assert_eq!(server.get(nothing).status, 404, "{nothing}");
    }
    assert_eq!(server.request("POST", "/admin", &[]).status, 405);
}

#[test]
fn who_guesses_is_not_listened_to() {
    let server = Server::start(&[ADMIN, ("TRUSTED_PROXIES", "127.0.0.1")]);
    let guess = |token: &str, from: &str| {
        let bearer = format!("Bearer {token}");
        server.request("GET", "/admin/status", &[("Authorization", &bearer), ("X-Forwarded-For", from)])
    };
    for number in 0..10 {
        assert_eq!(guess(&format!("guess-{number}"), "192.0.2.1").status, 401);
    }
    let refused = guess(TOKEN, "192.0.2.1");
    assert_eq!(refused.status, 429, "not even the right one");
    assert!((1..=60).contains(&refused.header("retry-after").parse().unwrap()));
    assert_eq!(guess(TOKEN, "192.0.2.2").status, 200, "another address is not to blame");
    server.logged("an administrator's token was wrong");
}

#[test]
fn a_token_nobody_has_set_is_said_once_whatever_the_level_of_the_log() {
    let data = tempfile::tempdir().unwrap();
    let started = |log_file: &str| {
        let mut child = std::process::Command::new(env!("CARGO_BIN_EXE_liap"))
            .env_clear()
            .envs([("HOST", "127.0.0.1"), ("PORT", "0"), ("METRICS_PORT", "0"), ("LOG_LEVEL", "error")])
            .env("LOG_FILE", log_file)
            .env("DATA_DIR", data.path())
            .stderr(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stderr.take().unwrap()).read_line(&mut line).unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
        line
    };
    let log = data.path().join("liap.log");
    let first = started("");
    let second = started(log.to_str().unwrap());
    assert!(!std::fs::read_to_string(log).unwrap().contains("ADMIN_TOKEN"), "not into the file");
    let token = |line: &str| {
        let (_, rest) = line.split_once("ADMIN_TOKEN is not set; this run's is ").unwrap_or_else(|| panic!("{line}"));
        rest[..32].to_owned()
    };
    assert_ne!(token(&first), token(&second), "another one each time");
}

#[test]
fn methods_that_are_not_there_are_named() {
    let server = Server::start(&[ADMIN]);
    for (method, path, allowed) in [
        ("GET", "/admin/gc", "POST"),
        ("POST", "/admin/status", "GET, HEAD"),
        ("PATCH", "/admin/drain", "GET, HEAD, POST, DELETE"),
        ("POST", "/admin/log-level", "GET, HEAD, PUT"),
    ] {
        let refused = ask(&server, method, path);
        assert_eq!((refused.status, refused.header("allow")), (405, allowed), "{method} {path}");
    }
    assert_eq!(ask(&server, "GET", "/admin/nothing").status, 404);
    assert_eq!(ask(&server, "GET", "/admin/rooms/3FA9C1").status, 404);
    assert_eq!(ask(&server, "POST", "/admin/rooms/xx/close").status, 404);
    assert_eq!(ask_with(&server, "PUT", "/admin/log-level", &"x".repeat(5_000)).status, 413);
    for body in ["", "{", "[]", "{\"level\":7}", "{\"level\":\"loud\"}"] {
        assert_eq!(ask_with(&server, "PUT", "/admin/log-level", body).status, 400, "{body}");
    }
    for query in ["limit=x", "limit=1001", "after=x", "after=-1"] {
        assert_eq!(ask(&server, "GET", &format!("/admin/events?{query}")).status, 400, "{query}");
    }
    assert_eq!(ask(&server, "GET", "/admin/rooms?stage=x").status, 400);
}

#[test]
fn the_level_of_the_log_changes_while_it_runs() {
    let server = Server::start(&[ADMIN]);
    assert_eq!(ask(&server, "GET", "/admin/log-level").json(), json!({ "level": "info" }));
    let changed = ask_with(&server, "PUT", "/admin/log-level", "{\"level\":\"debug\"}");
    assert_eq!(changed.json(), json!({ "level": "debug", "before": "info" }));
    server.logged("set_log_level");
    drop(server.connect());
    server.get("/health");
    assert_eq!(ask(&server, "GET", "/admin/status").json()["log_level"], "debug");
    // What an administrator does is told even so.
    ask_with(&server, "PUT", "/admin/log-level", "{\"level\":\"off\"}");
    server.logged("\"before\":\"debug\"".replace('"', "\\\"").as_str());
    ask(&server, "POST", "/admin/gc");
    server.logged("an administrator has acted: gc");
}

#[tokio::test]
async fn a_room_that_is_closed_tells_its_players_and_its_game_is_kept() {
    let server = Server::start(&[ADMIN, ("GAME_PACE", "0.01")]);
    let (id, mut table, _) = room(&server, "Mira").await;
    table.hear("room_update").await;
    table.say("start_game", json!({})).await;
    table.hear("game_started").await;

    let listed = ask_until(&server, "/admin/rooms", |list| list["rooms"][0]["stage"] == "playing");
    assert_eq!((&listed["total"], &listed["rooms"][0]["room_id"]), (&json!(1), &json!(id)));
    assert_eq!(
        listed["rooms"][0]["players"][0],
        json!({ "seat": 1, "name": "Mira", "is_bot": false, "is_host": true })
    );
    assert_eq!(listed["rooms"][0]["sockets"], 1);
    assert_eq!(ask(&server, "GET", &format!("/admin/rooms/{id}")).json()["stage"], "playing");
    assert_eq!(ask(&server, "GET", "/admin/rooms?stage=waiting").json()["total"], 0);

    let close = format!("/admin/rooms/{id}/close");
    assert_eq!(ask_with(&server, "POST", &close, "{\"message\":\"two\\nlines\"}").status, 400);
    let closed = ask_with(&server, "POST", &close, "{\"message\":\"We clean the tables.\"}");
    assert_eq!(closed.json(), json!({ "room_id": id, "stage": "playing", "closed": true }));
    let told = table.hear("room_closed").await;
    assert_eq!(told, json!({ "reason": "closed", "message": "We clean the tables." }));
    assert_eq!(ask(&server, "POST", &close).status, 404, "it is gone");

    let game = flushed(&server);
    assert_eq!((&game["room_id"], &game["ended"]), (&json!(id), &json!("abandoned")));
    let archive = ask(&server, "GET", "/admin/archive").json();
    assert_eq!((&archive["enabled"], &archive["games"], &archive["failing"]), (&json!(true), &json!(1), &Value::Null));
    let kinds = kinds(&server);
    for kind in ["room_opened", "game_started", "game_abandoned", "room_closed", "archive_stored", "admin_action"] {
        assert!(kinds.iter().any(|known| known == kind), "{kind} in {kinds:?}");
    }
    assert_eq!(scraped(&server, "liap_rooms_created_total"), 1);
    assert_eq!(scraped(&server, "liap_rooms_closed_total{reason=\"administrator\"}"), 1);
    assert_eq!(scraped(&server, "liap_games_ended_total{outcome=\"abandoned\"}"), 1);
}

#[tokio::test]
async fn a_drained_server_takes_nobody_new_and_plays_on() {
    let server = Server::start(&[ADMIN]);
    let (id, mut table, session) = room(&server, "Mira").await;
    table.hear("room_update").await;
    table.say("remove_player", json!({ "slot_id": 2 })).await;
    assert_eq!(ask(&server, "POST", "/admin/drain").json()["draining"], true);
    let ready = server.get("/health/ready");
    assert_eq!((ready.status, ready.json()), (503, json!({ "status": "draining" })));
    assert_eq!(server.get("/health/live").status, 200);

    let mut lobby = Socket::open(&server, "lobby").await;
    let later = "The server is about to restart, please try again in a minute";
    lobby.say("create_room", json!({ "player_name": "Jon" })).await;
    assert_eq!(lobby.hear("error").await["message"], later);
    lobby.say("join_room", json!({ "player_name": "Jon", "room_id": id })).await;
    assert_eq!(lobby.hear("error").await["message"], later);
    // Who has a seat finds it again.
    drop(table);
    let mut table = Socket::open_with(&server, &id, &[("Cookie", &session)]).await.unwrap();
    table.enter(&id, "Mira").await;
    assert_eq!(table.hear("room_update").await["you"], "Mira");

    assert_eq!(ask(&server, "DELETE", "/admin/drain").json()["draining"], false);
    assert_eq!(server.get("/health/ready").status, 200);
    lobby.say("join_room", json!({ "player_name": "Jon", "room_id": id })).await;
    lobby.hear("room_joined").await;
    let kinds = kinds(&server);
    assert!(kinds.contains(&"drain_begun".to_owned()) && kinds.contains(&"drain_ended".to_owned()), "{kinds:?}");
}

/// A stream of events: what follows its head, line by line.
fn follow(server: &Server, headers: &str) -> BufReader<TcpStream> {
    let mut stream = server.connect();
    let request = format!(
        "GET /admin/events HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {TOKEN}\r\nAccept: text/event-stream\r\n{headers}\r\n"
    );
    stream.write_all(request.as_bytes()).unwrap();
    let mut lines = BufReader::new(stream);
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        assert!(lines.read_line(&mut head).unwrap() > 0, "{head}");
    }
    assert!(head.starts_with("HTTP/1.1 200") && head.contains("content-type: text/event-stream"), "{head}");
    lines
}

/// The next event: its id and its data.
fn next(lines: &mut BufReader<TcpStream>) -> (u64, Value) {
    let (mut id, mut data) = (0, Value::Null);
    loop {
        let mut line = String::new();
        assert!(lines.read_line(&mut line).unwrap() > 0, "the stream goes on");
        if let Some(number) = line.trim_end().strip_prefix("id:") {
            id = number.trim().parse().unwrap();
        }
        if let Some(text) = line.trim_end().strip_prefix("data:") {
            data = serde_json::from_str(text).unwrap();
        }
        // An empty line ends an event; one that only says that the stream is alive has no data.
        if line.trim_end().is_empty() && id > 0 && data.is_object() {
            return (id, data);
        }
    }
}

#[tokio::test]
async fn events_are_followed_live_and_taken_up_where_one_left() {
    let mut server = Server::start(&[ADMIN, ("EVENT_BUFFER_SIZE", "50")]);
    let mut lines = follow(&server, "");
    let (first, event) = next(&mut lines);
    assert_eq!((event["kind"].as_str(), event["number"].as_u64()), (Some("server_started"), Some(first)));
    let (id, _table, _) = room(&server, "Mira").await;
    let (second, event) = next(&mut lines);
    assert_eq!((second, event["kind"].as_str()), (first + 1, Some("room_opened")));
    assert_eq!((&event["room"], &event["host"]), (&json!(id), &json!("Mira")));
    drop(lines);

    ask(&server, "POST", "/admin/gc");
    let mut again = follow(&server, &format!("Last-Event-ID: {second}\r\n"));
    let (third, event) = next(&mut again);
    assert_eq!((third, event["kind"].as_str()), (second + 1, Some("admin_action")));
    assert_eq!(event["action"], "gc");

    let page = ask(&server, "GET", &format!("/admin/events?after={first}&limit=1")).json();
    assert_eq!(page["events"].as_array().unwrap().len(), 1);
    assert_eq!(page["events"][0]["number"].as_u64(), Some(second));
    // A server that stops does not wait for those who follow.
    server.signal("TERM");
    assert!(server.ended().success());
}

#[tokio::test]
async fn finished_games_leave_memory_when_asked_and_are_kept() {
    let server =
        Server::start(&[ADMIN, ("GAME_PACE", "0"), ("TURN_TIMEOUT_SECONDS", "1"), ("USE_RATE_LIMITING", "false")]);
    let (id, mut table, _) = room(&server, "Mira").await;
    table.hear("room_update").await;
    table.say("start_game", json!({})).await;
    // Her bot plays for her.
    table.say("leave_room", json!({ "player_name": "Mira" })).await;
    let watching = async { while table.hear("phase_change").await["phase"] != "game_over" {} };
    tokio::time::timeout(SOON, watching).await.expect("a game without pauses ends soon");

    ask_until(&server, "/admin/rooms?stage=over", |list| list["total"] == 1);
    let freed = ask(&server, "POST", "/admin/gc").json();
    assert_eq!(freed["finished_games"], 1, "{freed}");
    assert!(freed["after_bytes"].as_u64().unwrap() > 0);
    assert_eq!(ask(&server, "GET", "/admin/rooms").json()["total"], 0);
    table.hear("room_closed").await;
    let game = flushed(&server);
    assert_eq!((&game["room_id"], &game["ended"]), (&json!(id), &json!("won")));
    assert_eq!(scraped(&server, "liap_games_ended_total{outcome=\"finished\"}"), 1);
    assert_eq!(scraped(&server, "liap_memory_reliefs_total"), 1);
}

#[tokio::test]
async fn a_server_short_of_memory_refuses_new_rooms_and_harms_no_game() {
    let server = Server::start(&[ADMIN, ("TURN_TIMEOUT_SECONDS", "0")]);
    let (id, mut table, session) = room(&server, "Mira").await;
    table.hear("room_update").await;
    table.say("start_game", json!({})).await;
    table.hear("game_started").await;
    journaled(&server, &mut table).await;
    drop(table);
    // The same server with less memory than any needs.
    let server = server.again_with(&[("MAX_MEMORY_MB", "16"), ("MEMORY_CHECK_INTERVAL", "1")]);
    let mut table = Socket::open_with(&server, &id, &[("Cookie", &session)]).await.unwrap();
    table.enter(&id, "Mira").await;
    table.hear("phase_change").await;
    ask_until(&server, "/admin/events?limit=1000", |events| {
        events["events"].as_array().unwrap().iter().any(|event| event["level"] == "critical")
    });
    let mut lobby = Socket::open(&server, "lobby").await;
    lobby.say("create_room", json!({ "player_name": "Jon" })).await;
    let refused = lobby.hear("error").await;
    assert_eq!(refused["message"], "The server is short of memory, please try again later");
    assert_eq!(scraped(&server, "liap_rooms_refused_total{reason=\"memory\"}"), 1);
    assert_eq!(scraped(&server, "liap_memory_level"), 2);
    assert!(scraped(&server, "liap_memory_reliefs_total") >= 1);
    let health = server.get("/health");
    assert_eq!((health.status, health.json()["checks"]["memory"]["status"].as_str()), (200, Some("degraded")));
    // The game goes on: the table is there, and answers.
    table.say("request_state_sync", json!({})).await;
    table.hear("phase_change").await;
    assert_eq!(ask(&server, "GET", &format!("/admin/rooms/{id}")).json()["stage"], "playing");
}

#[tokio::test]
async fn nothing_of_a_hand_a_session_or_a_token_is_told() {
    let server = Server::start(&[ADMIN, ("GAME_PACE", "0.01"), ("LOG_LEVEL", "trace"), ("LOG_FORMAT", "json")]);
    let mut lobby = Socket::open(&server, "lobby").await;
    lobby.say("create_room", json!({ "player_name": "Mira" })).await;
    let created = lobby.hear("room_created").await;
    let (id, seat_token) = (created["room_id"].as_str().unwrap(), created["seat_token"].as_str().unwrap());
    let session = lobby.cookie.unwrap().split(';').next().unwrap().to_owned();
    let mut table = Socket::open_with(&server, id, &[("Cookie", &session)]).await.unwrap();
    table.enter(id, "Mira").await;
    table.hear("room_update").await;
    table.say("start_game", json!({})).await;
    let hand = loop {
        let state = table.hear("phase_change").await;
        if state["phase"] == "preparation" && !state["phase_data"]["weak_players_awaiting"].is_null() {
            table.say("decline_redeal", json!({ "player_name": "Mira" })).await;
        }
        if state["phase"] == "declaration" && state["phase_data"]["current_declarer"] == "Mira" {
            break state["players"]["Mira"]["hand"].clone();
        }
    };
    assert_eq!(hand.as_array().unwrap().len(), 8);
    table.say("declare", json!({ "player_name": "Mira", "value": 3 })).await;
    table.say("play", json!({ "player_name": "Mira", "piece_indices": [0] })).await;
    table.say("nonsense", json!({ "player_name": "Mira", "seat_token": seat_token })).await;
    table.hear("error").await;
    server.request("GET", "/admin/status", &[("Authorization", "Bearer planted-guess-9876543210")]);
    server.request("GET", "/admin/status", &[("Cookie", &session)]);
    ask(&server, "POST", "/admin/gc");

    let mut outputs: Vec<(String, String)> = ["status", "rooms", "archive", "events?limit=1000", "drain", "log-level"]
        .iter()
        .map(|path| (format!("/admin/{path}"), ask(&server, "GET", &format!("/admin/{path}")).text().to_owned()))
        .collect();
    outputs.push(("a room".to_owned(), ask(&server, "GET", &format!("/admin/rooms/{id}")).text().to_owned()));
    for path in ["/health", "/api/rooms", "/api/games", "/admin", "/admin/nothing", "/nothing"] {
        outputs.push((path.to_owned(), server.get(path).text().to_owned()));
    }
    outputs.push(("/metrics".to_owned(), request(server.metrics.unwrap(), "GET", "/metrics", &[]).text().to_owned()));
    ask(&server, "POST", &format!("/admin/rooms/{id}/close"));
    table.hear("room_closed").await;
    let log = server.logged("\"action\":\"close_room\"");
    assert!(log.len() >= 4, "the wrong token, what was done, and from where: {log:?}");
    outputs.extend(log.into_iter().map(|line| ("the log".to_owned(), line)));

    let session = session.split_once('=').unwrap().1;
    let pieces = ["GENERAL_", "ADVISOR_", "ELEPHANT_", "CHARIOT_", "HORSE_", "CANNON_", "SOLDIER_"];
    for (of, text) in &outputs {
        for secret in [TOKEN, "planted-guess-9876543210", session, seat_token].iter().chain(&pieces) {
            assert!(!text.contains(secret), "{of} tells {secret}: {text}");
        }
    }
}
