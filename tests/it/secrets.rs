use std::fs;
use std::io::{Read as _, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use liap::config::SETTINGS;
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::Message;

use crate::process::{Server, Socket, scrape};

const ADMIN_TOKEN: &str = "planted-admin-token";
const PASSWORD: &str = "planted-url-password";
const NAME: &str = "PlantedName";
/// A client's address, which only a trusted proxy tells.
const ADDRESS: &str = "203.0.113.77";
const FORWARDED: (&str, &str) = ("X-Forwarded-For", ADDRESS);
/// Of somebody who guesses: he is soon not listened to, and the others still are.
const GUESSING: (&str, &str) = ("X-Forwarded-For", "203.0.113.78");

/// What the outputs of a run are searched for.
#[derive(Default)]
struct Planted {
    /// Never to be seen anywhere: tokens, sessions, passwords, the seeds of deals.
    secrets: Vec<String>,
    /// The same as bytes, for files.
    seeds: Vec<Vec<u8>>,
}

impl Planted {
    /// Nothing of it is in this text.
    fn are_not_in(&self, what: &str, text: &str) {
        for secret in &self.secrets {
            assert!(!text.contains(secret), "{what} shows {secret}: {text:.2000}");
        }
    }
}

/// Whether a piece is named in this text, so that a hand may be shown.
fn names_a_piece(text: &str) -> bool {
    ["_RED(", "_BLACK("].iter().any(|color| {
        let pieces = text.match_indices(color).map(|(at, _)| &text[..at]);
        pieces.into_iter().any(|before| before.ends_with(|c: char| c.is_ascii_uppercase()))
    })
}

/// What a server answers to this, for a second at most: some answers never end.
fn ask(server: &Server, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> String {
    let mut stream = server.connect();
    stream.set_read_timeout(Some(Duration::from_secs(1))).unwrap();
    let mut request = format!("{method} {path} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n", server.address);
    headers.iter().for_each(|(name, value)| request.push_str(&format!("{name}: {value}\r\n")));
    request.push_str(&format!("Content-Length: {}\r\n\r\n{body}", body.len()));
    // A request that is refused early need not be read to its end.
    stream.write_all(request.as_bytes()).ok();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).ok();
    String::from_utf8_lossy(&answer).into_owned()
}

/// Every file below a folder that somebody else on the machine can read: all folders on the way to it let him through.
fn open_files(folder: &Path) -> Vec<PathBuf> {
    let mode = |path: &Path| fs::symlink_metadata(path).unwrap().permissions().mode();
    if mode(folder) & 0o011 == 0 {
        return Vec::new();
    }
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(open_files(&path));
        } else if mode(&path) & 0o044 != 0 {
            found.push(path);
        }
    }
    found
}

fn holds(bytes: &[u8], wanted: &[u8]) -> bool {
    bytes.windows(wanted.len()).any(|window| window == wanted)
}

/// A legal action of the owner of a socket in this state, if it is for him to act.
fn action(state: &Value, refused: u64) -> Option<(&'static str, Value)> {
    let data = &state["phase_data"];
    let is_mine = |field: &str| data[field] == NAME;
    match state["phase"].as_str()? {
        "preparation" if data["weak_players_awaiting"].as_array().is_some_and(|weak| weak.contains(&json!(NAME))) => {
            Some(("decline_redeal", json!({ "player_name": NAME })))
        }
        // Of three values, one at least is allowed.
        "declaration" if is_mine("current_declarer") => {
            Some(("declare", json!({ "player_name": NAME, "value": refused % 3 + 1 })))
        }
        "turn" if is_mine("current_player") => {
            let count = data["required_piece_count"].as_u64().unwrap_or(0).max(1);
            Some(("play", json!({ "player_name": NAME, "piece_indices": (0..count).collect::<Vec<_>>() })))
        }
        _ => None,
    }
}

/// Plays from this state on. Returns the state in which a move of this number would be due, or the last one.
async fn play(table: &mut Socket, mut state: Value, moves: usize) -> Value {
    let (mut made, mut refused, mut acted_on) = (0, 0, Value::Null);
    while state["phase"] != "game_over" {
        // A state comes more than once; what it asks for is done once, unless it was refused.
        let turn = &state["phase_data"]["current_turn_number"];
        let occasion = json!([state["phase"], state["round"], turn, state["players"][NAME]["hand_size"], refused]);
        if let Some((event, data)) = action(&state, refused).filter(|_| occasion != acted_on) {
            made += usize::from(event == "play");
            if made == moves {
                break;
            }
            table.say(event, data).await;
            acted_on = occasion;
        }
        // What is refused is answered with the state, behind the error.
        state = loop {
            match table.hear_any().await {
                (event, data) if event == "phase_change" => break data,
                (event, _) => refused += u64::from(event == "error"),
            }
        };
    }
    state
}

/// Everything that can be asked, rightly and wrongly, with and without the token, with secrets where none belong.
fn ask_everything(server: &Server, cookie: &str, seat_token: &str, room: &str) -> Vec<(String, String)> {
    let bearer = format!("Bearer {ADMIN_TOKEN}");
    let wrong = format!("Bearer {seat_token}");
    let mut paths: Vec<String> = [
        "/",
        "/nothing",
        "/favicon.ico",
        "/health",
        "/health/ready",
        "/health/live",
        "/api/health",
        "/api/rooms",
        "/api/me/games",
        "/api/games",
        "/api/games?limit=0",
        "/api/games/nonsense",
        "/api/leaderboard",
        "/openapi.json",
        "/asyncapi.json",
        "/admin",
        "/admin/",
        "/admin/rooms",
        "/admin/archive",
        "/admin/events",
        "/ws/lobby",
        "/metrics",
    ]
    .map(str::to_owned)
    .into();
    paths.push(format!("/room/{room}"));
    paths.push(format!("/ws/{room}"));
    let mut answers = Vec::new();
    for path in &paths {
        for headers in [
            vec![FORWARDED],
            vec![FORWARDED, ("Cookie", cookie)],
            vec![GUESSING, ("Authorization", wrong.as_str()), ("Cookie", cookie)],
            vec![FORWARDED, ("Authorization", bearer.as_str()), ("Cookie", cookie)],
        ] {
            answers.push((format!("GET {path}"), ask(server, "GET", path, &headers, "")));
        }
    }
    for (method, path, body) in [
        ("POST", "/admin/gc", seat_token),
        ("PUT", "/admin/log-level", "{\"level\":\"planted\"}"),
        ("POST", "/admin/archive/flush", ""),
        ("POST", "/api/rooms", cookie),
        ("DELETE", "/", cookie),
    ] {
        for (from, authorization) in [(FORWARDED, &bearer), (GUESSING, &wrong)] {
            let headers = [from, ("Authorization", authorization.as_str())];
            answers.push((format!("{method} {path}"), ask(server, method, path, &headers, body)));
        }
    }
    // Requests that no route ever sees.
    for broken in [
        format!("GET /{seat_token} HTTP/9.9\r\nCookie: {cookie}\r\n\r\n"),
        format!("GET / HTTP/1.1\r\nHost: x\r\nAuthorization {bearer}\r\n\r\n"),
        format!("GET / HTTP/1.1\r\nHost: x\r\nCookie: {}\r\n\r\n", cookie.repeat(2_000)),
    ] {
        let mut stream = server.connect();
        stream.write_all(broken.as_bytes()).ok();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).ok();
        answers.push(("a broken request".to_owned(), String::from_utf8_lossy(&answer).into_owned()));
    }
    if let Some(metrics) = server.metrics {
        answers.push(("metrics".to_owned(), scrape(metrics)));
    }
    answers
}

/// A whole game with errors on the way, on a server that logs this much.
async fn a_run_shows_no_secret(log_level: &str, is_public: bool) {
    let folder = tempfile::tempdir().unwrap();
    // Where others may look into: what the server makes there must be closed by itself.
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let data = folder.path().join("data");
    let data_dir = data.to_str().unwrap();
    let mut server = Server::start(&[
        ("DATA_DIR", data_dir),
        ("ADMIN_TOKEN", ADMIN_TOKEN),
        ("TRUSTED_PROXIES", "127.0.0.1"),
        ("GAME_PACE", "0"),
        ("TURN_TIMEOUT_SECONDS", "0"),
        // A player who looks elsewhere for a while, as this test does, is not dropped.
        ("SEND_QUEUE_FRAMES", "65536"),
        ("ARCHIVE_FLUSH_INTERVAL", "1"),
        ("LOG_LEVEL", log_level),
    ]);

    let mut lobby = Socket::open_with(&server, "lobby", &[FORWARDED]).await.unwrap();
    lobby.say("create_room", json!({ "player_name": NAME })).await;
    let created = lobby.hear("room_created").await;
    let id = created["room_id"].as_str().unwrap().to_owned();
    let seat_token = created["seat_token"].as_str().unwrap().to_owned();
    let cookie = lobby.cookie.clone().unwrap().split(';').next().unwrap().to_owned();
    let session = cookie.split(['=', '.']).nth(1).unwrap().to_owned();
    let mut planted =
        Planted { secrets: vec![ADMIN_TOKEN.to_owned(), session.clone(), seat_token.clone()], seeds: Vec::new() };

    let mut table = Socket::open_with(&server, &id, &[("Cookie", &cookie), FORWARDED]).await.unwrap();
    table.enter(&id, NAME).await;
    table.say("start_game", json!({})).await;
    let state = play(&mut table, Value::Null, 3).await;
    assert!(names_a_piece(&state["players"][NAME]["hand"].to_string()), "the judge finds a hand: {state}");

    // In the middle of the game: errors of every kind, with secrets in them.
    let mut stranger = Socket::open_with(&server, &id, &[FORWARDED]).await.unwrap();
    for text in [
        format!("{{\"event\":\"{seat_token}\"}}"),
        format!("{{\"event\":\"play\",\"data\":\"{session}\"}}"),
        format!("{seat_token}{session}"),
        json!({ "event": "client_ready", "data": { "player_name": NAME, "seat_token": session } }).to_string(),
        json!({ "event": "play", "data": { "player_name": NAME, "piece_indices": [0] } }).to_string(),
    ] {
        stranger.send(Message::text(text)).await;
    }
    stranger.say("ping", json!({ "timestamp": 1 })).await;
    stranger.hear("pong").await;
    stranger.send(Message::binary(seat_token.clone().into_bytes())).await;
    stranger.closed().await;
    for (what, answer) in ask_everything(&server, &cookie, &seat_token, &id) {
        planted.are_not_in(&what, &answer);
        // The page and its programs know the names of pieces; what they show comes by the socket.
        if !answer.contains("text/html") && !what.contains("api.json") {
            assert!(!names_a_piece(&answer), "{what} names a piece: {answer:.2000}");
        }
        let shows_names = what.contains("/api/") || what.contains("/admin") || what.contains("api.json");
        assert!(shows_names || !answer.contains(NAME), "{what} shows a name: {answer:.2000}");
        assert!(what.contains("/admin") || !answer.contains(ADDRESS), "{what} shows an address: {answer:.2000}");
    }
    let read = |path: PathBuf| (path.clone(), fs::read(path).unwrap());
    let during: Vec<(PathBuf, Vec<u8>)> = open_files(&data).into_iter().map(read).collect();
    assert!(fs::read_dir(data.join("journal")).unwrap().count() > 0, "there is a journal to be closed");

    // The game goes on to its end; the proof then shows what the deals came from.
    let over = play(&mut table, state, usize::MAX).await;
    let seed = over["phase_data"]["deal_proof"]["server_seed"].as_str().unwrap();
    planted.seeds = vec![hex_bytes(seed), seed.as_bytes().to_vec()];
    for (path, bytes) in &during {
        for secret in planted.secrets.iter().map(String::as_bytes).chain(planted.seeds.iter().map(Vec::as_slice)) {
            assert!(!holds(bytes, secret), "{} holds a secret and can be read by others", path.display());
        }
    }
    drop(table);
    server.signal("TERM");
    assert!(server.ended().success());
    for path in open_files(&data) {
        let bytes = fs::read(&path).unwrap();
        for secret in &planted.secrets {
            assert!(!holds(&bytes, secret.as_bytes()), "{} holds {secret}", path.display());
        }
    }

    let log = server.whole_log();
    assert!(log.contains("listening on") && log.contains("\"stopped\""), "the whole log: {log}");
    planted.are_not_in("the log", &log);
    assert!(!log.contains(seed), "the seed of a deal is in the log");
    assert!(!names_a_piece(&log), "a piece is in the log");
    if is_public {
        assert!(!log.contains(NAME) && !log.contains(ADDRESS), "a name or an address is in the log: {log}");
    }
}

fn hex_bytes(text: &str) -> Vec<u8> {
    (0..text.len() / 2).map(|at| u8::from_str_radix(&text[2 * at..2 * at + 2], 16).unwrap()).collect()
}

#[tokio::test]
async fn nothing_planted_comes_out_of_a_run() {
    a_run_shows_no_secret("info", true).await;
}

#[tokio::test]
async fn not_even_when_everything_is_logged() {
    a_run_shows_no_secret("trace", false).await;
}

#[test]
fn settings_are_shown_without_their_secrets() {
    let absent = ["REDIS_URL", "DATABASE_URL"];
    for name in SETTINGS.iter().filter(|setting| setting.secret).map(|setting| setting.name).chain(absent) {
        for scheme in ["redis", "rediss", "s3", "postgres", "https"] {
            let value = format!("{scheme}://planted:{PASSWORD}@127.0.0.1:1/games");
            for arguments in
                [vec!["config"], vec!["healthcheck", "--address", "127.0.0.1:1"], vec!["config", "--reference", "env"]]
            {
                let mut command = Command::new(env!("CARGO_BIN_EXE_liap"));
                let output = command.args(&arguments).env_clear().env(name, &value).output().unwrap();
                for text in [output.stdout, output.stderr] {
                    let text = String::from_utf8_lossy(&text);
                    assert!(!text.contains(PASSWORD), "{name} by {arguments:?}: {text}");
                }
            }
        }
    }
}

/// What these settings make the program say where it shows settings.
fn said(variables: &[(&str, &str)]) -> Vec<(String, String)> {
    let folder = tempfile::tempdir().unwrap();
    [&["config"][..], &["doctor", "--json"]]
        .into_iter()
        .map(|arguments| {
            let mut command = Command::new(env!("CARGO_BIN_EXE_liap"));
            command.args(arguments).env_clear().env("DATA_DIR", folder.path()).envs(variables.iter().copied());
            let output = command.current_dir(folder.path()).output().unwrap();
            let text = [output.stdout, output.stderr].concat();
            (format!("{variables:?} by {arguments:?}"), String::from_utf8_lossy(&text).into_owned())
        })
        .collect()
}

#[test]
fn a_url_with_a_slip_in_it_is_not_shown() {
    let slips = [
        PASSWORD.to_owned(),
        format!("host=h password={PASSWORD}"),
        format!("postgresql:/planted:{PASSWORD}@h/db"),
        format!("postgres:planted:{PASSWORD}@h/db"),
        format!("postgresql://planted:{PASSWORD}"),
        format!("planted:{PASSWORD}@h/db"),
        format!("//planted:{PASSWORD}@h/db"),
        format!("s3:/planted:{PASSWORD}@bucket/"),
    ];
    for name in ["DATABASE_URL", "ARCHIVE_URL_S3", "ARCHIVE_URL_POSTGRESQL", "ARCHIVE_URL", "REDIS_URL", "INSTANCE_URL"]
    {
        for slip in &slips {
            // Nobody can tell a password from the name of a folder, or from that of a host.
            if slip == PASSWORD && ["ARCHIVE_URL", "INSTANCE_URL"].contains(&name) {
                continue;
            }
            let backends = if name.contains("URL_") { &["postgresql"][..] } else { &["filesystem", "postgresql"] };
            for backend in backends {
                for (what, text) in said(&[(name, slip), ("ARCHIVE_BACKEND", backend)]) {
                    // A build without this sink says that first.
                    assert!(text.contains(name) || text.contains("not in this build"), "{what} names it: {text}");
                    assert!(!text.contains(PASSWORD), "{what}: {text}");
                }
            }
        }
    }
    let address = format!("https://planted:{PASSWORD}@one.example.org");
    let hostless = format!("https://planted:{PASSWORD}");
    for (name, address) in
        [("INSTANCE_URL", &address), ("INSTANCE_URL", &hostless), ("ALLOWED_ORIGINS", &address), ("HOST", &address)]
    {
        for (what, text) in said(&[(name, address)]) {
            assert!(text.contains(name) && !text.contains(PASSWORD), "{what}: {text}");
        }
    }
}

#[test]
fn what_is_in_a_secret_file_is_not_shown() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("secret");
    for text in [PASSWORD.to_owned(), format!("/{PASSWORD}"), format!("postgresql://{PASSWORD}@127.0.0.1:1/games")] {
        fs::write(&file, text).unwrap();
        for name in SETTINGS.iter().filter(|setting| setting.secret).map(|setting| format!("{}_FILE", setting.name)) {
            for backend in ["filesystem", "postgresql"] {
                for (what, text) in said(&[(&name, file.to_str().unwrap()), ("ARCHIVE_BACKEND", backend)]) {
                    assert!(!text.contains(PASSWORD), "{what}: {text}");
                }
            }
        }
    }
}
