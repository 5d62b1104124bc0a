//! What a socket may do, and how many there may be.

use std::io::{Read as _, Write as _};

use futures_util::SinkExt as _;
use serde_json::json;
use tokio_tungstenite::tungstenite::Message;

use super::{metric, play, until};
use crate::process::{Server, Socket, room};

pub(super) fn origins() {
    let server = Server::start(&[("ALLOWED_ORIGINS", "https://play.example.org")]);
    let open = |origin: &str| play(Socket::open_with(&server, "lobby", &[("Origin", origin)])).map(drop);
    assert_eq!(open("https://play.example.org"), Ok(()));
    assert_eq!(open("https://other.example.org"), Err(403));
}

pub(super) fn places() {
    let open = async |server: &Server, address: &str| {
        Socket::open_with(server, "lobby", &[("X-Forwarded-For", address)]).await
    };
    let trusting =
        Server::start(&[("TRUSTED_PROXIES", "127.0.0.1"), ("MAX_SOCKETS", "3"), ("MAX_SOCKETS_PER_ADDRESS", "1")]);
    let distrusting = Server::start(&[("MAX_SOCKETS_PER_ADDRESS", "1")]);
    play(async {
        let mut held = Vec::new();
        for address in ["192.0.2.1", "192.0.2.2"] {
            held.push(open(&trusting, address).await.unwrap());
            assert_eq!(open(&trusting, address).await.err(), Some(429), "one for each address");
        }
        held.push(open(&trusting, "192.0.2.3").await.unwrap());
        assert_eq!(open(&trusting, "192.0.2.4").await.err(), Some(503), "three in all");
        held.push(open(&distrusting, "192.0.2.1").await.unwrap());
        assert_eq!(open(&distrusting, "192.0.2.2").await.err(), Some(429), "the header counts for nothing");
    });
    // Connections that say nothing yet are bounded likewise.
    for (server, reason) in [(&trusting, "full"), (&distrusting, "address_full")] {
        let refused = format!("liap_sockets_refused_total{{reason=\"{reason}\"}}");
        let (before, mut held) = (metric(server, &refused), Vec::new());
        until("one is closed", || {
            held.push(server.connect());
            metric(server, &refused) > before
        });
    }
}

pub(super) fn long_frames() {
    let server = Server::start(&[("MAX_FRAME_BYTES", "2048")]);
    play(async {
        let mut socket = Socket::open(&server, "lobby").await;
        socket.send(Message::text("x".repeat(2_048))).await;
        socket.hear("error").await;
        socket.send(Message::text("x".repeat(2_049))).await;
        assert_eq!(socket.closed().await, Some(1009));
    });
}

/// More than the system holds for a reader that does not read, and less than the longest queue.
const BROADCASTS: usize = 2_000;

pub(super) fn slow_readers() {
    let played = |queue: &str| {
        let server = Server::start(&[
            ("SEND_QUEUE_FRAMES", queue),
            ("USE_RATE_LIMITING", "false"),
            ("PEER_TIMEOUT_SECONDS", "600"),
            ("GAME_PACE", "0"),
        ]);
        // It lives as long as its sockets.
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let lazy = runtime.block_on(async {
            let (id, mut table, _) = room(&server, "Mira").await;
            table.hear("room_update").await;
            let socket = tokio::net::TcpSocket::new_v4().unwrap();
            socket.set_recv_buffer_size(16 * 1024).unwrap();
            let stream = socket.connect(server.address).await.unwrap();
            let mut lazy = Socket::upgrade(stream, &server, &id, &[]).await.unwrap();
            lazy.say("client_ready", json!({ "room_id": id })).await;
            // A seat is emptied and filled over and over; each time everyone at the table gets an update.
            for _ in 0..BROADCASTS / 4 {
                for _ in 0..2 {
                    table.say("remove_player", json!({ "slot_id": 2 })).await;
                    table.say("add_bot", json!({ "slot_id": 2 })).await;
                }
                for _ in 0..4 {
                    table.hear("room_update").await;
                }
            }
            lazy
        });
        (server, runtime, lazy)
    };
    let closed = |server: &Server| metric(server, "liap_sockets_closed_total{reason=\"slow\"}");
    let (long, short) = (played("65536"), played("8"));
    until("the slow reader is closed", || closed(&short.0) == Some(1.0));
    assert_eq!(closed(&long.0), Some(0.0));
}

pub(super) fn silence() {
    let server = Server::start(&[("PING_INTERVAL_SECONDS", "1"), ("PEER_TIMEOUT_SECONDS", "2")]);
    let mut stream = server.connect();
    let handshake = "GET /ws/lobby HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
                     Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    stream.write_all(handshake.as_bytes()).unwrap();
    let mut heard = Vec::new();
    stream.read_to_end(&mut heard).ok();
    // Pings, none of which is answered, and then the close with code 1001.
    const PING: [u8; 2] = [0x89, 0];
    const CLOSE: [u8; 2] = 1001_u16.to_be_bytes();
    let found = |bytes: [u8; 2]| heard.windows(2).filter(|window| *window == bytes).count();
    assert!(found(PING) >= 1 && found(CLOSE) == 1, "{}", String::from_utf8_lossy(&heard));
}

pub(super) fn busy_rooms() {
    let busy = |capacity: &str| {
        let server = Server::start(&[
            ("ROOM_INBOX_CAPACITY", capacity),
            ("SEND_QUEUE_FRAMES", "65536"),
            ("USE_RATE_LIMITING", "false"),
        ]);
        play(async {
            let (_, mut table, _) = room(&server, "Mira").await;
            for _ in 0..4_000 {
                table
                    .stream
                    .feed(Message::text(json!({ "event": "get_room_state", "data": {} }).to_string()))
                    .await
                    .unwrap();
            }
            table.say("ping", json!({ "timestamp": 1 })).await;
            table.hear("pong").await;
        });
        metric(&server, "liap_rooms_busy_total").unwrap()
    };
    assert!(busy("16") > 0.0, "sixteen are soon too many");
    assert_eq!(busy("65536"), 0.0);
}

pub(super) fn watchers() {
    let server = Server::start(&[("MAX_WATCHERS_PER_ROOM", "2")]);
    play(async {
        let (id, _table, _) = room(&server, "Mira").await;
        let mut watching = Vec::new();
        for _ in 0..2 {
            let mut socket = Socket::open(&server, &id).await;
            socket.say("client_ready", json!({ "room_id": id })).await;
            socket.hear("room_state_update").await;
            watching.push(socket);
        }
        let mut one_more = Socket::open(&server, &id).await;
        one_more.say("client_ready", json!({ "room_id": id })).await;
        assert!(one_more.hear("error").await["message"].as_str().unwrap().contains("watching"));
        assert_eq!(one_more.closed().await, Some(1000));
    });
}

pub(super) fn rooms() {
    let server = Server::start(&[("MAX_ACTIVE_GAMES", "1")]);
    play(async {
        let (_, _table, _) = room(&server, "Mira").await;
        let mut lobby = Socket::open(&server, "lobby").await;
        lobby.say("create_room", json!({ "player_name": "Jon" })).await;
        assert_eq!(lobby.hear("error").await["type"], "room_creation_error");
    });
    until("it is counted", || metric(&server, "liap_rooms{phase=\"waiting\"}") == Some(1.0));
}
