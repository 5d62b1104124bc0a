//! How fast anybody may go.

use std::io::{Read as _, Write as _};

use serde_json::json;

use super::{metric, play};
use crate::process::{Server, Socket, room as open_room};

/// How many of these pings are answered before the first is refused.
fn answered(server: &Server, pings: usize) -> usize {
    play(async {
        let mut socket = Socket::open(server, "lobby").await;
        for number in 0..pings {
            socket.say("ping", json!({ "timestamp": number })).await;
            if socket.hear_any().await.0 != "pong" {
                return number;
            }
        }
        pings
    })
}

/// How often this limit was met.
fn met(server: &Server, limit: &str) -> f64 {
    metric(server, &format!("liap_limited_total{{limit=\"{limit}\"}}")).unwrap()
}

pub(super) fn switched_off() {
    assert_eq!(answered(&Server::start(&[("USE_RATE_LIMITING", "false")]), 200), 200);
    assert!(answered(&Server::start(&[]), 200) < 200);
}

pub(super) fn player() {
    let server = Server::start(&[("RATE_LIMIT_PER_PLAYER_PER_MINUTE", "3")]);
    assert_eq!(answered(&server, 10), 3);
    assert_eq!((met(&server, "player"), met(&server, "socket")), (1.0, 0.0));
}

pub(super) fn socket() {
    // With a burst of six seconds' worth.
    let server = Server::start(&[("RATE_LIMIT_WEBSOCKET_PER_SECOND", "1")]);
    assert_eq!(answered(&server, 10), 6);
    assert_eq!((met(&server, "player"), met(&server, "socket")), (0.0, 1.0));
}

pub(super) fn room() {
    let met_in_room = |settings: &[(&str, &str)]| {
        // No other bucket and no unread answer interferes.
        let others = [
            ("RATE_LIMIT_WEBSOCKET_PER_SECOND", "100"),
            ("RATE_LIMIT_PER_PLAYER_PER_MINUTE", "1000"),
            ("SEND_QUEUE_FRAMES", "1000"),
        ];
        let server = Server::start(&[settings, &others].concat());
        play(async {
            let (_, mut table, _) = open_room(&server, "Mira").await;
            // More than the bucket refills on a slow machine, and less than the strikes that close the socket.
            for _ in 0..100 {
                table.say("get_room_state", json!({})).await;
            }
            table.say("ping", json!({ "timestamp": 1 })).await;
            table.hear("pong").await;
        });
        met(&server, "room")
    };
    // With a burst of twenty seconds' worth.
    assert!(met_in_room(&[("RATE_LIMIT_PER_ROOM_PER_SECOND", "1")]) > 0.0);
    assert_eq!(met_in_room(&[]), 0.0);
}

pub(super) fn new_sockets() {
    let server = Server::start(&[("RATE_LIMIT_NEW_SOCKETS_PER_MINUTE", "5")]);
    let open = || play(Socket::open_with(&server, "lobby", &[])).map(drop);
    for _ in 0..5 {
        assert_eq!(open(), Ok(()));
    }
    assert_eq!((open(), met(&server, "new_socket")), (Err(429), 1.0));
}

pub(super) fn http() {
    let server = Server::start(&[("RATE_LIMIT_HTTP_PER_MINUTE", "3")]);
    let statuses: Vec<u16> = (0..4).map(|_| server.get("/api/rooms").status).collect();
    assert_eq!((statuses, met(&server, "http")), (vec![200, 200, 200, 429], 1.0));
}

pub(super) fn keys() {
    let held = |settings: &[(&str, &str)]| {
        let server = Server::start(&[&[("TRUSTED_PROXIES", "127.0.0.1")], settings].concat());
        let mut stream = server.connect();
        let mut requests = String::new();
        for number in 0..1_100_u32 {
            let [_, _, high, low] = number.to_be_bytes();
            let end = if number == 1_099 { "Connection: close\r\n" } else { "" };
            requests +=
                &format!("GET /api/rooms HTTP/1.1\r\nHost: x\r\nX-Forwarded-For: 10.0.{high}.{low}\r\n{end}\r\n");
        }
        // Answers are taken while questions are sent, or both sides would wait for the other.
        let mut writing = stream.try_clone().unwrap();
        let writer = std::thread::spawn(move || writing.write_all(requests.as_bytes()).unwrap());
        let mut answers = Vec::new();
        stream.read_to_end(&mut answers).unwrap();
        writer.join().unwrap();
        metric(&server, "liap_limit_keys{limit=\"http\"}").unwrap()
    };
    assert_eq!((held(&[("RATE_LIMIT_MAX_KEYS", "1000")]), held(&[])), (1_000.0, 1_100.0));
}
