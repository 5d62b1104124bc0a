use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use jsonschema::{Draft, Validator};
use liap::protocol::server_message::{self as say, ListReason, Occupant, RoomClosed, RoomSummary};
use liap::protocol::{ErrorType, Frame, RoomId, decode};
use serde_json::{Value, json};

use crate::abuse::handshake;
use crate::games::server_with;
use crate::process::{Answer, Server, Socket, request_with, room};

/// A description of ours, and what is needed to hold things against it.
struct Described {
    document: Value,
    draft: Draft,
}

impl Described {
    fn http(server: &Server) -> Self {
        Self { document: server.get("/openapi.json").json(), draft: Draft::Draft202012 }
    }

    fn sockets(server: &Server) -> Self {
        Self { document: server.get("/asyncapi.json").json(), draft: Draft::Draft7 }
    }

    /// What a reference leads to, or the thing itself.
    fn resolve<'a>(&'a self, thing: &'a Value) -> &'a Value {
        match thing["$ref"].as_str() {
            Some(reference) => self.document.pointer(&reference[1..]).unwrap_or_else(|| panic!("{reference}")),
            None => thing,
        }
    }

    fn keys(&self, pointer: &str) -> BTreeSet<String> {
        self.document.pointer(pointer).unwrap().as_object().unwrap().keys().cloned().collect()
    }

    /// Judges by a form of the document, in which no field may be that is not described.
    fn judge(&self, schema: &Value) -> Validator {
        let mut components = self.document["components"].clone();
        let mut schema = schema.clone();
        close(&mut components);
        close(&mut schema);
        let whole = json!({ "allOf": [schema], "components": components });
        jsonschema::options().with_draft(self.draft).should_validate_formats(true).build(&whole).unwrap()
    }

    /// Holds an answer against what is documented for it.
    fn fits(&self, method: &str, path: &str, answer: &Answer) {
        let operation = &self.document["paths"][path][method.to_ascii_lowercase()];
        let said = format!("{method} {path}: {} {}", answer.status, String::from_utf8_lossy(&answer.body));
        let response = self.resolve(&operation["responses"][answer.status.to_string()]);
        assert!(response.is_object(), "not documented: {said:.300}");
        for (name, header) in response["headers"].as_object().into_iter().flatten() {
            let value = answer.header(&name.to_ascii_lowercase());
            assert!(!value.is_empty() || self.resolve(header)["required"] != true, "no {name}: {said:.300}");
        }
        let kind = answer.header("content-type").split(';').next().unwrap();
        match response["content"].as_object() {
            None => assert_eq!((kind, answer.body.len()), ("", 0), "{said:.300}"),
            Some(content) if content.contains_key("*/*") => assert!(!kind.is_empty(), "{said:.300}"),
            Some(content) => {
                let content = content.get(kind).unwrap_or_else(|| panic!("{kind} is not documented: {said:.300}"));
                if kind.ends_with("json") {
                    assert_fits(&self.judge(&content["schema"]), &answer.json(), &said);
                }
            }
        }
    }

    /// Judges by what a client or the server says in one event.
    fn message(&self, name: &str) -> Validator {
        let message = &self.document["components"]["messages"][name];
        assert!(message.is_object(), "{name} is not described");
        self.judge(&message["payload"])
    }
}

/// Forbids all fields that are not described.
fn close(schema: &mut Value) {
    match schema {
        Value::Object(fields) => {
            let is_open = fields.get("type") == Some(&json!("object")) && fields.contains_key("properties");
            if is_open && !fields.contains_key("additionalProperties") {
                fields.insert("additionalProperties".to_owned(), json!(false));
            }
            fields.values_mut().for_each(close);
        }
        Value::Array(items) => items.iter_mut().for_each(close),
        _ => {}
    }
}

fn assert_fits(judge: &Validator, value: &Value, said: &str) {
    let wrong: Vec<String> =
        judge.iter_errors(value).map(|error| format!("{}: {error:.300}", error.instance_path())).collect();
    assert!(wrong.is_empty(), "{said:.2000}\n{}", wrong.join("\n"));
}

/// The texts of a folder's source.
fn source(folder: &str) -> Vec<String> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src").join(folder);
    let files = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let rust = files.filter(|path| path.extension().is_some_and(|extension| extension == "rs"));
    rust.map(|path| fs::read_to_string(path).unwrap()).collect()
}

/// What stands between two texts, wherever they follow each other.
fn between<'a>(text: &'a str, before: &'a str, after: &'a str) -> impl Iterator<Item = &'a str> {
    text.split(before).skip(1).filter_map(move |rest| rest.split_once(after).map(|(found, _)| found))
}

/// A path whose parameters have no names.
fn unnamed(path: &str) -> String {
    let is_parameter = |part: &str| part.starts_with('{') || part == "String" || part == "..";
    path.split('/').map(|part| if is_parameter(part) { "{}" } else { part }).collect::<Vec<_>>().join("/")
}

#[test]
fn every_route_is_described_and_every_description_is_a_route() {
    let server = Server::start(&[]);
    let described: BTreeSet<String> =
        Described::http(&server).keys("/paths").iter().map(|path| unnamed(path)).collect();
    let mut routes = BTreeSet::from(["/".to_owned()]);
    for text in source("http") {
        for route in between(&text, "path!(", ")") {
            let parts: Vec<&str> = route.split(" / ").map(|part| part.trim_matches('"')).collect();
            routes.insert(unnamed(&format!("/{}", parts.join("/"))));
        }
    }
    for text in source("http/admin") {
        routes
            .extend(between(&text, "route(Method::", "),").filter_map(|route| Some(unnamed(route.split('"').nth(1)?))));
    }
    assert_eq!(described, routes);
}

#[test]
fn every_described_path_answers_as_described() {
    let (server, shown) = server_with(3);
    let described = Described::http(&server);
    let id = shown[0]["game_id"].as_str().unwrap();
    let (paths, mut asked) = (described.keys("/paths"), BTreeSet::new());
    for (path, request, status) in [
        ("/", "/", 200),
        ("/", "/room/3FA9C1", 200),
        ("/assets/{file}", "/assets/main.js", 200),
        ("/assets/{file}", "/assets/nothing.js", 404),
        ("/favicon.ico", "/favicon.ico", 200),
        ("/openapi.json", "/openapi.json", 200),
        ("/asyncapi.json", "/asyncapi.json", 200),
        ("/api/rooms", "/api/rooms", 200),
        ("/api/me/games", "/api/me/games", 200),
        ("/api/games", "/api/games", 200),
        ("/api/games", &format!("/api/games?limit=1&from=2026-11-23&to=2026-11-23T10:15:00Z&cursor={id}"), 200),
        ("/api/games", "/api/games?limit=0", 400),
        ("/api/games", "/api/games?color=red", 400),
        ("/api/games/{id}", &format!("/api/games/{id}"), 200),
        ("/api/games/{id}", "/api/games/nothing", 404),
        ("/api/games/{id}/events", &format!("/api/games/{id}/events"), 200),
        ("/api/games/{id}/events", "/api/games/nothing/events", 404),
        ("/api/players/{name}", "/api/players/Mira", 200),
        ("/api/players/{name}", "/api/players/Nobody", 404),
        ("/api/leaderboard", "/api/leaderboard", 200),
        ("/health", "/health", 200),
        ("/health/live", "/health/live", 200),
        ("/health/ready", "/health/ready", 200),
        ("/api/health", "/api/health", 200),
        ("/ws/{room}", "/ws/lobby", 426),
    ] {
        let answer = server.get(request);
        assert_eq!(answer.status, status, "{request}");
        described.fits("GET", path, &answer);
        asked.insert(path.to_owned());
        if !answer.header("etag").is_empty() {
            let again = server.request("GET", request, &[("If-None-Match", answer.header("etag"))]);
            assert_eq!(again.status, 304, "{request}");
            described.fits("GET", path, &again);
        }
    }
    let missing: Vec<_> = paths.iter().filter(|path| !path.starts_with("/admin")).collect();
    assert_eq!(missing, asked.iter().collect::<Vec<_>>());

    described.fits("GET", "/ws/{room}", &handshake(&server, "GET", "X-Nothing", ""));
    described.fits("GET", "/ws/{room}", &handshake(&server, "GET", "Sec-WebSocket-Key", "short"));
    described.fits("GET", "/ws/{room}", &handshake(&server, "GET", "Origin", "https://evil.example"));
}

#[tokio::test]
async fn administration_answers_as_described() {
    let server = Server::start(&[("ADMIN_TOKEN", "a-token-of-our-own")]);
    let described = Described::http(&server);
    let (id, _table, _) = room(&server, "Mira").await;
    let mut asked = BTreeSet::new();
    let close = format!("/admin/rooms/{id}/close");
    for (method, path, request, body, status) in [
        ("GET", "/admin/status", "/admin/status", "", 200),
        ("GET", "/admin/archive", "/admin/archive", "", 200),
        ("POST", "/admin/archive/flush", "/admin/archive/flush", "", 200),
        ("GET", "/admin/rooms", "/admin/rooms?stage=waiting&limit=5&offset=0", "", 200),
        ("GET", "/admin/rooms", "/admin/rooms?stage=none", "", 400),
        ("GET", "/admin/rooms/{id}", &format!("/admin/rooms/{id}"), "", 200),
        ("GET", "/admin/rooms/{id}", "/admin/rooms/nothing", "", 404),
        ("GET", "/admin/log-level", "/admin/log-level", "", 200),
        ("PUT", "/admin/log-level", "/admin/log-level", r#"{"level":"warning"}"#, 200),
        ("PUT", "/admin/log-level", "/admin/log-level", "[]", 400),
        ("PUT", "/admin/log-level", "/admin/log-level", &"x".repeat(5_000), 413),
        ("GET", "/admin/events", "/admin/events?limit=1000", "", 200),
        ("GET", "/admin/events", "/admin/events?after=x", "", 400),
        ("POST", "/admin/rooms/{id}/close", &close, r#"{"message":5}"#, 400),
        ("POST", "/admin/rooms/{id}/close", &close, r#"{"message":"Tea is ready."}"#, 200),
        ("POST", "/admin/rooms/{id}/close", &close, "", 404),
        ("POST", "/admin/gc", "/admin/gc", "", 200),
        ("GET", "/admin/drain", "/admin/drain", "", 200),
        ("POST", "/admin/drain", "/admin/drain", "", 200),
        ("DELETE", "/admin/drain", "/admin/drain", "", 200),
    ] {
        let token = ("Authorization", "Bearer a-token-of-our-own");
        let answer = request_with(server.address, method, request, &[token], body);
        assert_eq!(answer.status, status, "{method} {request}: {}", String::from_utf8_lossy(&answer.body));
        described.fits(method, path, &answer);
        asked.insert(format!("{method} {path}"));
        if path == "/admin/drain" && method == "POST" {
            let ready = server.get("/health/ready");
            assert_eq!(ready.status, 503);
            described.fits("GET", "/health/ready", &ready);
        }
        let refused = server.request(method, request, &[]);
        assert_eq!(refused.status, 401, "{method} {request}");
        described.fits(method, path, &refused);
    }
    let all = described.keys("/paths").into_iter().filter(|path| path.starts_with("/admin")).flat_map(|path| {
        let methods = described.document["paths"][&path].as_object().unwrap().keys();
        methods.map(move |method| format!("{} {path}", method.to_ascii_uppercase())).collect::<Vec<_>>()
    });
    assert_eq!(asked, all.collect());
    let wrong =
        [(); 11].map(|()| server.request("GET", "/admin/gc", &[("Authorization", "Bearer of-somebody-else")]).status);
    assert_eq!((wrong[0], wrong[10]), (401, 429));
    described.fits("GET", "/admin/status", &server.get("/admin/status"));
}

#[test]
fn whatever_is_not_described_is_refused_as_a_problem() {
    let server = Server::start(&[]);
    let described = Described::http(&server);
    let problem = described.judge(&json!({ "$ref": "#/components/schemas/Problem" }));
    let paths = described.keys("/paths");
    for path in paths.iter().filter(|path| !path.starts_with("/admin")) {
        let request = path.replace(['{', '}'], "");
        for method in ["POST", "PUT", "PATCH", "DELETE"] {
            let answer = server.request(method, &request, &[]);
            assert_eq!((answer.status, answer.header("content-type")), (405, "application/problem+json"), "{request}");
            assert_fits(&problem, &answer.json(), path);
            assert!(answer.header("allow").contains("GET"), "{request}");
        }
    }
}

#[test]
fn limits_are_met_as_described() {
    for (path, request) in [
        ("/", "/"),
        ("/favicon.ico", "/favicon.ico"),
        ("/openapi.json", "/openapi.json"),
        ("/api/rooms", "/api/rooms"),
        ("/api/me/games", "/api/me/games"),
        ("/api/games", "/api/games"),
        ("/api/games/{id}", "/api/games/x"),
        ("/api/players/{name}", "/api/players/x"),
        ("/api/leaderboard", "/api/leaderboard"),
    ] {
        let server = Server::start(&[("RATE_LIMIT_HTTP_PER_MINUTE", "1")]);
        let described = Described::http(&server);
        let answer = server.get(request);
        assert_eq!((answer.status, answer.header("ratelimit-policy")), (429, "\"default\";q=1;w=60"), "{request}");
        described.fits("GET", path, &answer);
    }
    let server = Server::start(&[("RATE_LIMIT_NEW_SOCKETS_PER_MINUTE", "1"), ("MAX_SOCKETS", "1000")]);
    let described = Described::http(&server);
    let statuses = [(); 2].map(|()| {
        let answer = handshake(&server, "GET", "X-Nothing", "");
        described.fits("GET", "/ws/{room}", &answer);
        answer.status
    });
    assert_eq!(statuses, [101, 429]);
}

#[tokio::test]
async fn a_full_server_refuses_as_described() {
    let described = Described::http(&Server::start(&[]));
    let server = Server::start(&[("MAX_SOCKETS", "1"), ("TRUSTED_PROXIES", "127.0.0.1")]);
    let _held = Socket::open(&server, "lobby").await;
    let answer = handshake(&server, "GET", "X-Nothing", "");
    assert_eq!(answer.status, 503);
    described.fits("GET", "/ws/{room}", &answer);
}

// What is said on sockets.

/// The events of one side, by the description.
fn events(described: &Described, side: &str) -> BTreeSet<String> {
    let names = described.keys("/components/messages");
    names.iter().filter_map(|name| name.strip_prefix(side)?.strip_prefix('.')).map(str::to_owned).collect()
}

#[test]
fn every_event_is_described_and_every_description_is_an_event() {
    let server = Server::start(&[]);
    let described = Described::sockets(&server);
    let all = source("protocol").join("\n");
    let sent = between(&all, "Frame::event(", ",").chain(between(&all, "Broadcast::event(", ","));
    let sent: BTreeSet<String> = sent
        .filter_map(|name| Some(name.trim().strip_prefix('"')?.strip_suffix('"')?.to_owned()))
        // Of its tests.
        .filter(|name| name != "x")
        .collect();
    assert_eq!(events(&described, "server"), sent);

    let decoding = between(&all, "Ok(match &*event {", "unknown =>").next().unwrap();
    let arms = decoding.lines().filter_map(|line| line.split_once(" => "));
    let understood: BTreeSet<String> =
        arms.flat_map(|(names, _)| names.split('"').skip(1).step_by(2)).map(str::to_owned).collect();
    assert_eq!(events(&described, "client"), understood);

    let codes: BTreeSet<String> = between(&all, "pub enum CloseReason {", "\n}")
        .flat_map(|reasons| between(reasons, " = ", ","))
        .filter(|code| code.parse::<u16>().is_ok())
        .map(str::to_owned)
        .collect();
    assert_eq!(described.keys("/x-close-codes"), codes);
    assert!(codes.len() >= 9, "{codes:?}");

    // One kind of refusal is written out, because it says more than the others.
    let kinds = between(&all, "pub enum ErrorType {", "\n}").next().unwrap();
    let kinds = kinds.lines().filter_map(|line| line.trim().strip_suffix(',')).filter(|line| !line.starts_with("///"));
    let mut kinds: BTreeSet<String> = kinds.map(snake_case).collect();
    kinds.insert("rate_limited".to_owned());
    let listed =
        described.document["components"]["schemas"]["Refusal"]["properties"]["type"]["enum"].as_array().unwrap();
    assert_eq!(listed.iter().map(|kind| kind.as_str().unwrap().to_owned()).collect::<BTreeSet<_>>(), kinds);
}

fn snake_case(name: &str) -> String {
    let mut snake = String::new();
    for letter in name.chars() {
        if letter.is_ascii_uppercase() && !snake.is_empty() {
            snake.push('_');
        }
        snake.push(letter.to_ascii_lowercase());
    }
    snake
}

#[test]
fn every_example_is_understood_and_fits_its_own_description() {
    let server = Server::start(&[]);
    let described = Described::sockets(&server);
    for (name, message) in described.document["components"]["messages"].as_object().unwrap() {
        let examples = message["examples"].as_array().unwrap();
        assert!(!examples.is_empty(), "{name} has no example");
        for example in examples {
            let payload = &example["payload"];
            assert_fits(&described.message(name), payload, name);
            if name.starts_with("client.") {
                assert!(decode(&payload.to_string()).is_ok(), "{payload}");
                // And what lacks a field that is asked for is refused by both.
                for field in message["payload"]["properties"]["data"]["required"].as_array().into_iter().flatten() {
                    let mut less = payload.clone();
                    less["data"].as_object_mut().unwrap().remove(field.as_str().unwrap());
                    assert!(decode(&less.to_string()).is_err() && !described.message(name).is_valid(&less), "{less}");
                }
            }
        }
    }
    let is_in_some_channel = |name: &str| {
        ["lobby", "table"].iter().any(|channel| !described.document["channels"][channel]["messages"][name].is_null())
    };
    assert!(described.keys("/components/messages").iter().all(|name| is_in_some_channel(name)));
}

/// Holds what the server says against its description.
struct Listener {
    described: Described,
    judges: std::collections::HashMap<String, Validator>,
    heard: BTreeSet<String>,
}

impl Listener {
    fn new(server: &Server) -> Self {
        Self { described: Described::sockets(server), judges: Default::default(), heard: BTreeSet::new() }
    }

    fn hear(&mut self, event: &str, data: &Value) {
        let described = &self.described;
        let judge =
            self.judges.entry(event.to_owned()).or_insert_with(|| described.message(&format!("server.{event}")));
        let frame = json!({ "event": event, "data": data });
        assert_fits(judge, &frame, &frame.to_string());
        let phase = data["phase"].as_str().filter(|_| event == "phase_change");
        self.heard.insert(phase.map_or(event.to_owned(), |phase| format!("{event} {phase}")));
    }

    fn hear_frame(&mut self, frame: &Frame) {
        let message: Value = serde_json::from_str(frame.as_str()).unwrap();
        self.hear(message["event"].as_str().unwrap(), &message["data"]);
    }
}

#[test]
fn whatever_the_server_can_say_about_rooms_is_as_described() {
    let mut listener = Listener::new(&Server::start(&[]));
    let id = RoomId::from_number(0x3FA9C1);
    let person = Occupant {
        name: "Mira".into(),
        is_bot: false,
        is_host: true,
        avatar_color: Some("teal"),
        level: None,
        is_connected: false,
    };
    let bot = Occupant {
        name: "Bot 2".into(),
        is_bot: true,
        is_host: false,
        avatar_color: None,
        level: Some(liap::game::Level::Hard),
        is_connected: true,
    };
    let summary = RoomSummary {
        room_id: id,
        host_name: "Mira".into(),
        started: false,
        tempo: liap::protocol::Tempo::Blitz,
        players: liap::game::BySeat::new([Some(person), Some(bot), None, None]),
        created_at: "2026-11-23T10:15:02.120Z".into(),
        last_activity: "2026-11-23T10:15:02.120Z".into(),
    };
    let (commitment, token) = ("ab".repeat(32), "0f".repeat(16));
    for reason in [ListReason::Initial, ListReason::Requested, ListReason::Changed] {
        listener.hear_frame(&say::room_list_update([&summary], reason));
    }
    for why in [
        RoomClosed::NotFound,
        RoomClosed::HostLeft,
        RoomClosed::PlayerRemoved,
        RoomClosed::Abandoned,
        RoomClosed::Finished,
        RoomClosed::ByOperator,
    ] {
        listener.hear_frame(&say::room_closed(why));
    }
    for kind in [
        ErrorType::ValidationError,
        ErrorType::JoinRoomError,
        ErrorType::RoomCreationError,
        ErrorType::PermissionDenied,
        ErrorType::ActionRefused,
        ErrorType::Busy,
        ErrorType::NotFound,
    ] {
        listener.hear_frame(&say::error(kind, "no"));
    }
    for frame in [
        say::room_closed_because("Tea is ready."),
        say::room_created(id, "Mira", &token),
        say::room_joined(id, "Jon", liap::game::Seat::Two, &token),
        say::room_update(&summary, &commitment, Some("Mira")),
        say::room_update(&summary, &commitment, None),
        say::room_state_update(&summary, &commitment, None),
        say::player_left("Mira", true),
        say::room_not_found("no-room"),
        say::game_started(id),
        say::player_disconnected("Mira"),
        say::player_reconnected("Mira"),
        say::player_timed_out("Mira"),
        say::host_changed("Mira", "Jon"),
        say::rematch(id, "Mira"),
        say::redeal_response_success("Mira", true),
        say::redeal_response_success("Mira", false),
        liap::protocol::recovery_response(&[], None),
        say::declare("Mira", 0),
        say::redeal_executed(2),
        say::pong(&json!(null), None, 1.5),
        say::pong(&json!(7), Some(id), 1.5),
        say::rate_limited(60, 60, 1.2, false),
    ] {
        listener.hear_frame(&frame);
    }
    let mut all = events(&listener.described, "server");
    all.retain(|event| !["phase_change", "turn_complete"].contains(&event.as_str()));
    assert_eq!(listener.heard, all, "every event was tried");
}

/// What the existing client would answer to a state of the table, if anything.
fn move_of(name: &str, state: &Value) -> Option<(&'static str, Value)> {
    let phase = &state["phase_data"];
    match state["phase"].as_str()? {
        "preparation" if phase["weak_players_awaiting"].as_array().is_some_and(|weak| weak.contains(&json!(name))) => {
            Some(("accept_redeal", json!({ "player_name": name })))
        }
        "declaration" if phase["current_declarer"] == name => {
            let value = if phase["declaration_total"] == 7 { 2 } else { 1 };
            Some(("declare", json!({ "player_name": name, "value": value })))
        }
        "turn" if phase["current_player"] == name && phase["turn_plays"].get(name).is_none() => {
            let count = phase["required_piece_count"].as_u64().unwrap_or(1);
            Some(("play", json!({ "player_name": name, "piece_indices": (0..count).collect::<Vec<_>>() })))
        }
        _ => None,
    }
}

#[tokio::test]
async fn a_whole_game_is_told_as_described() {
    let server = Server::start(&[("GAME_PACE", "0")]);
    let mut listener = Listener::new(&server);
    let (id, mut table, _) = room(&server, "Mira").await;
    let mut watching = Socket::open(&server, &id).await;
    watching.say("client_ready", json!({ "room_id": id })).await;
    table.say("start_game", json!({})).await;
    let over = async |socket: &mut Socket, listener: &mut Listener, name: &str| {
        loop {
            let (event, data) = socket.hear_any().await;
            listener.hear(&event, &data);
            if event != "phase_change" {
                continue;
            }
            if data["phase"] == "game_over" {
                return;
            }
            if let Some((event, data)) = move_of(name, &data) {
                socket.say(event, data).await;
            }
        }
    };
    let watcher = tokio::spawn(async move {
        let mut frames = Vec::new();
        loop {
            let frame = watching.hear_any().await;
            let is_over = frame.1["phase"] == "game_over";
            frames.push(frame);
            if is_over {
                return frames;
            }
        }
    });
    over(&mut table, &mut listener, "Mira").await;
    for (event, data) in watcher.await.unwrap() {
        listener.hear(&event, &data);
    }
    for phase in ["preparation", "round_start", "declaration", "turn", "turn_results", "scoring", "game_over"] {
        assert!(listener.heard.contains(&format!("phase_change {phase}")), "{phase}: {:?}", listener.heard);
    }
    assert!(listener.heard.contains("turn_complete"));
}
