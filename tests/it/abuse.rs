use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use futures_util::{SinkExt as _, StreamExt as _};
use serde_json::json;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::frame::Frame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::{Data, OpCode};

use crate::process::{Answer, SOON, Server, Socket, room, scrape};

const HANDSHAKE: &[(&str, &str)] = &[
    ("Connection", "Upgrade"),
    ("Upgrade", "websocket"),
    ("Sec-WebSocket-Version", "13"),
    ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="),
];

/// Sends a handshake with one header changed, or left out if it is empty.
pub(crate) fn handshake(server: &Server, method: &str, name: &str, value: &str) -> Answer {
    let mut headers: Vec<_> = HANDSHAKE.iter().copied().filter(|(known, _)| *known != name).collect();
    if !value.is_empty() {
        headers.push((name, value));
    }
    let mut stream = server.connect();
    let mut request = format!("{method} /ws/lobby HTTP/1.1\r\nHost: {}\r\n", server.address);
    headers.iter().for_each(|(name, value)| request.push_str(&format!("{name}: {value}\r\n")));
    stream.write_all(format!("{request}\r\n").as_bytes()).unwrap();
    let mut bytes = Vec::new();
    while !bytes.windows(4).any(|window| window == b"\r\n\r\n") {
        let mut buffer = [0; 1024];
        let read = stream.read(&mut buffer).unwrap();
        assert!(read > 0, "an answer to {request}");
        bytes.extend_from_slice(&buffer[..read]);
    }
    Answer::parse(&bytes)
}

#[test]
fn only_a_sound_handshake_is_answered_with_an_upgrade() {
    let server = Server::start(&[]);
    let sound = handshake(&server, "GET", "X-Nothing", "");
    assert_eq!((sound.status, sound.header("sec-websocket-accept")), (101, "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="));
    for (name, value, status) in [
        ("Connection", "keep-alive", 426),
        ("Upgrade", "", 426),
        ("Upgrade", "h2c", 426),
        ("Sec-WebSocket-Version", "", 426),
        ("Sec-WebSocket-Version", "8", 426),
        ("Sec-WebSocket-Key", "", 400),
        ("Sec-WebSocket-Key", "too-short", 400),
        ("Origin", "https://evil.example", 403),
    ] {
        let answer = handshake(&server, "GET", name, value);
        assert_eq!(answer.status, status, "{name}: {value}");
        assert_eq!(answer.header("content-type"), "application/problem+json");
        if status == 426 {
            assert_eq!((answer.header("upgrade"), answer.header("sec-websocket-version")), ("websocket", "13"));
        }
    }
    for method in ["POST", "HEAD", "PUT"] {
        assert_eq!(handshake(&server, method, "X-Nothing", "").status, 405, "{method}");
    }
    for nonsense in ["\u{16}\u{3}\u{1}\u{2}\u{0}", "GET\r\n\r\n", "GET / HTTP/9.9\r\n\r\n", &"x".repeat(100_000)] {
        let mut stream = server.connect();
        // The server may have closed before all of it was written.
        stream.write_all(nonsense.as_bytes()).ok();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).ok();
        assert!(answer.is_empty() || answer.starts_with(b"HTTP/1.1 4"), "{}", String::from_utf8_lossy(&answer));
    }
    assert_eq!(server.get("/health").status, 200);
}

/// What one socket does, and the code it is closed with; the others play on.
#[tokio::test]
async fn frames_that_break_the_rules_close_their_own_socket_only() {
    let server = Server::start(&[("RATE_LIMIT_PER_PLAYER_PER_MINUTE", "1000")]);
    let (id, mut table, _) = room(&server, "Mira").await;
    let text = |payload: Vec<u8>, last: bool| Message::Frame(Frame::message(payload, OpCode::Data(Data::Text), last));
    for (message, code) in [
        (Message::binary(vec![1, 2, 3]), 1003),
        (Message::text("x".repeat(8 * 1024 + 1)), 1009),
        (Message::text("x".repeat(1024 * 1024)), 1009),
        (text(vec![0xff, 0xfe], true), 1007),
        (Message::Frame(Frame::message(vec![1], OpCode::Data(Data::Reserved(3)), true)), 1002),
        (Message::Frame(Frame::message(vec![1], OpCode::Data(Data::Continue), true)), 1002),
    ] {
        for place in ["lobby", id.as_str(), "000000"] {
            let mut socket = Socket::open(&server, place).await;
            // The server may close before all of it was sent.
            socket.stream.send(message.clone()).await.ok();
            assert_eq!(socket.closed().await, Some(code), "{place}");
        }
    }
    // In pieces it is no shorter.
    let mut socket = Socket::open(&server, "lobby").await;
    socket.stream.send(text(vec![b'x'; 5_000], false)).await.unwrap();
    let rest = Frame::message(vec![b'x'; 5_000], OpCode::Data(Data::Continue), true);
    socket.stream.send(Message::Frame(rest)).await.unwrap();
    assert_eq!(socket.closed().await, Some(1009));

    table.say("ping", json!({ "timestamp": 1 })).await;
    table.hear("pong").await;
}

#[tokio::test]
async fn malformed_messages_are_answered_and_the_socket_lives() {
    let server = Server::start(&[]);
    let (id, _table, _) = room(&server, "Mira").await;
    for place in ["lobby", id.as_str()] {
        let mut socket = Socket::open(&server, place).await;
        for text in
            ["", "{", "[]", "null", "{\"event\":7}", "{\"event\":\"play\",\"data\":[]}", "{\"event\":\"no_such\"}"]
        {
            socket.send(Message::text(text)).await;
            let error = socket.hear("error").await;
            assert_eq!(error["type"], "validation_error", "{text}");
            assert!(error["message"].as_str().unwrap().starts_with("Invalid message: "), "{error}");
        }
        socket.say("ping", json!({ "timestamp": 1 })).await;
        socket.hear("pong").await;
    }
}

#[tokio::test]
async fn a_flood_is_refused_and_then_closed_while_others_play() {
    let server = Server::start(&[]);
    let (id, mut table, _) = room(&server, "Mira").await;
    table.hear("room_update").await;
    for (place, message) in [
        ("lobby", Message::text(json!({ "event": "get_rooms" }).to_string())),
        (id.as_str(), Message::text(json!({ "event": "get_room_state" }).to_string())),
        (id.as_str(), Message::text("{")),
        (id.as_str(), Message::Ping("x".into())),
        // Answers to a ping that was never sent.
        (id.as_str(), Message::Pong("x".into())),
    ] {
        let mut socket = Socket::open(&server, place).await;
        for _ in 0..2_000 {
            if socket.stream.feed(message.clone()).await.is_err() {
                break;
            }
        }
        socket.stream.flush().await.ok();
        assert_eq!(socket.closed().await, Some(1008), "{message}");

        table.say("ping", json!({ "timestamp": 1 })).await;
        table.hear("pong").await;
    }
    // One that is merely hasty learns when to come back.
    let mut hasty = Socket::open(&server, "lobby").await;
    for _ in 0..40 {
        hasty.say("ping", json!({ "timestamp": 1 })).await;
    }
    let refused = hasty.hear("error").await;
    assert_eq!(refused["code"], "rate_limited");
    assert!(refused["context"]["retry_after"].as_f64().unwrap() > 0.0);
}

#[tokio::test]
async fn a_flood_that_does_not_end_by_itself_is_cut_off_after_some_hundred_messages() {
    let server = Server::start(&[]);
    let limited = || -> u64 {
        let text = scrape(server.metrics.unwrap());
        let counts = text.lines().filter(|line| line.starts_with("liap_limited_total{"));
        counts.map(|line| line.rsplit(' ').next().unwrap().parse::<u64>().unwrap()).sum()
    };
    let mut before = limited();
    for message in [json!({ "event": "get_rooms" }).to_string(), "{".to_owned()] {
        let (mut write, mut read) = Socket::open(&server, "lobby").await.stream.split();
        let flood = tokio::spawn(async move {
            let mut beat = tokio::time::interval(Duration::from_millis(1));
            loop {
                beat.tick().await;
                for _ in 0..10 {
                    if write.feed(Message::text(message.clone())).await.is_err() {
                        return;
                    }
                }
                if write.flush().await.is_err() {
                    return;
                }
            }
        });
        let closed = loop {
            match read.next().await {
                Some(Ok(Message::Close(frame))) => break frame.map(|frame| u16::from(frame.code)),
                Some(Ok(_)) => {}
                other => panic!("a close, but not {other:?}"),
            }
        };
        assert_eq!(closed, Some(1008));
        flood.abort();
        // Of ten thousand a second that is what comes in a moment, however long the moment takes on this machine.
        let after = limited();
        assert!((1..1_000).contains(&(after - before)), "{} were refused", after - before);
        before = after;
    }
}

/// A crowd that watches a table may use up its own share, and not that of the players.
#[tokio::test]
async fn a_crowd_that_watches_takes_nothing_from_those_who_play() {
    let server = Server::start(&[("RATE_LIMIT_PER_ROOM_PER_SECOND", "1")]);
    let (id, mut table, session) = room(&server, "Mira").await;
    let mut crowd = Vec::new();
    for _ in 0..3 {
        let mut watcher = Socket::open(&server, &id).await;
        for _ in 0..20 {
            watcher.say("get_room_state", json!({})).await;
        }
        crowd.push(watcher);
    }
    for watcher in &mut crowd[1..] {
        assert_eq!(watcher.hear("error").await["code"], "rate_limited");
    }
    // What no page says as it opens is not free on a new socket either.
    let mut fresh = Socket::open(&server, &id).await;
    fresh.say("request_recovery", json!({ "from_sequence": 0, "to_sequence": 9 })).await;
    assert_eq!(fresh.hear("error").await["code"], "rate_limited");
    // Beyond what a page says as it opens.
    for _ in 0..10 {
        table.say("get_room_state", json!({})).await;
    }
    table.say("ping", json!({ "timestamp": 1 })).await;
    loop {
        match table.hear_any().await.0.as_str() {
            "pong" => break,
            event => assert_ne!(event, "error"),
        }
    }
    let mut reloaded = Socket::open_with(&server, &id, &[("Cookie", &session)]).await.unwrap();
    reloaded.enter(&id, "Mira").await;
    assert_eq!(reloaded.hear("room_update").await["you"], "Mira");
}

/// Each new socket begins with a full bucket, so one that was closed for a flood costs its address many.
#[tokio::test]
async fn who_floods_again_and_again_is_not_let_in_again() {
    let server = Server::start(&[("RATE_LIMIT_NEW_SOCKETS_PER_MINUTE", "60")]);
    for _ in 0..2 {
        let mut socket = Socket::open(&server, "lobby").await;
        for _ in 0..2_000 {
            if socket.stream.feed(Message::text("{")).await.is_err() {
                break;
            }
        }
        socket.stream.flush().await.ok();
        assert_eq!(socket.closed().await, Some(1008));
    }
    let mut let_in = 0;
    let status = loop {
        match Socket::open_with(&server, "lobby", &[]).await {
            Err(status) => break status,
            Ok(_) => let_in += 1,
        }
        assert!(let_in < 20, "two floods took hardly anything of the sixty");
        tokio::time::sleep(Duration::from_millis(50)).await;
    };
    assert_eq!(status, 429);
}

#[tokio::test]
async fn an_address_that_opens_sockets_without_end_is_refused_and_another_is_let_in() {
    let server = Server::start(&[]);
    let (begun, mut held) = (Instant::now(), Vec::new());
    let mut refused = 0;
    // At a thousand sockets a second this is one second.
    for _ in 0..1_000 {
        match Socket::open_with(&server, "lobby", &[]).await {
            Ok(socket) => held.push(socket),
            Err(status) => {
                assert_eq!(status, 429);
                refused += 1;
            }
        }
    }
    // A minute's worth at once, and ten more for each second that this has taken.
    let most = 600 + usize::try_from(begun.elapsed().as_secs() + 1).unwrap() * 10;
    assert!((600..=most).contains(&held.len()), "{} let in, {refused} refused", held.len());

    let neighbour = tokio::net::TcpSocket::new_v4().unwrap();
    neighbour.bind("127.0.0.2:0".parse().unwrap()).unwrap();
    let stream = neighbour.connect(server.address).await.unwrap();
    let mut neighbour = Socket::upgrade(stream, &server, "lobby", &[]).await.unwrap();
    neighbour.say("ping", json!({ "timestamp": 1 })).await;
    neighbour.hear("pong").await;
}

#[test]
fn half_a_handshake_holds_its_place_for_a_moment_only() {
    let server = Server::start(&[("HEADER_TIMEOUT_SECONDS", "1"), ("MAX_SOCKETS_PER_ADDRESS", "200")]);
    let mut halves: Vec<TcpStream> = Vec::new();
    for number in 0..2_000 {
        let mut stream = server.connect();
        let part: &[u8] = if number % 2 == 0 { b"" } else { b"GET /ws/lobby HTTP/1.1\r\nHost: x\r\nUpgr" };
        // One over the bound is closed at once.
        stream.write_all(part).ok();
        halves.push(stream);
    }
    // All of them are gone soon, although none has asked for it.
    for stream in &mut halves {
        let mut rest = Vec::new();
        stream.set_read_timeout(Some(SOON)).unwrap();
        match stream.read_to_end(&mut rest) {
            Ok(_) => {}
            Err(error) => assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset),
        }
    }
    assert_eq!(server.get("/health").status, 200);
}

#[tokio::test]
async fn sockets_are_bounded_in_all_and_for_each_address() {
    let server =
        Server::start(&[("MAX_SOCKETS", "7"), ("MAX_SOCKETS_PER_ADDRESS", "3"), ("TRUSTED_PROXIES", "127.0.0.1")]);
    let open = async |address: &str| Socket::open_with(&server, "lobby", &[("X-Forwarded-For", address)]).await;
    let mut held = Vec::new();
    for _ in 0..3 {
        held.push(open("192.0.2.1").await.unwrap());
    }
    assert_eq!(open("192.0.2.1").await.err(), Some(429));
    for address in ["2001:db8::1", "2001:db8::2", "2001:db8::3"] {
        held.push(open(address).await.unwrap());
    }
    assert_eq!(open("2001:db8::4").await.err(), Some(429), "of the same /64");
    held.push(open("192.0.2.2").await.unwrap());
    assert_eq!(open("192.0.2.3").await.err(), Some(503));
    // A place comes back when its socket goes.
    let mut gone = held.remove(0);
    gone.stream.close(None).await.unwrap();
    gone.closed().await;
    let begun = Instant::now();
    while open("192.0.2.3").await.is_err() {
        assert!(begun.elapsed() < SOON);
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test]
async fn new_sockets_of_one_address_are_limited() {
    let server = Server::start(&[("RATE_LIMIT_NEW_SOCKETS_PER_MINUTE", "5")]);
    for _ in 0..5 {
        Socket::open(&server, "lobby").await;
    }
    assert_eq!(Socket::open_with(&server, "lobby", &[]).await.err(), Some(429));
    let refused = handshake(&server, "GET", "X-Nothing", "");
    assert!((1..=60).contains(&refused.header("retry-after").parse().unwrap()));
}

#[tokio::test]
async fn a_reader_that_never_reads_is_dropped_and_holds_up_nobody() {
    let server = Server::start(&[
        ("GAME_PACE", "0"),
        ("USE_RATE_LIMITING", "false"),
        ("PEER_TIMEOUT_SECONDS", "600"),
        ("LOG_LEVEL", "debug"),
    ]);
    let (id, mut table, _) = room(&server, "Mira").await;
    table.hear("room_update").await;
    // Its own small buffer, so that not much fits on the way.
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(16 * 1024).unwrap();
    let stream = socket.connect(server.address).await.unwrap();
    let mut lazy = Socket::upgrade(stream, &server, &id, &[]).await.unwrap();
    lazy.say("client_ready", json!({ "room_id": id })).await;

    // The host fills a seat over and over; each time everybody at the table is told, half a kilobyte.
    for _ in 0..2_000 {
        table.say("remove_player", json!({ "slot_id": 2 })).await;
        table.say("add_bot", json!({ "slot_id": 2 })).await;
        table.hear("room_update").await;
        table.hear("room_update").await;
    }
    server.logged("\"reason\":\"slow\"");
}
