use std::io::{ErrorKind, Read as _, Write as _};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use crate::process::{SOON, Server, scrape};

/// What comes back for these bytes until the server ends the connection, and how long that took.
fn exchange(server: &Server, bytes: &[u8]) -> (String, Duration) {
    let begun = Instant::now();
    let mut stream = server.connect();
    // The server may have ended it before all of it was written.
    stream.write_all(bytes).ok();
    (rest(&mut stream), begun.elapsed())
}

/// Everything that still comes, to the end.
fn rest(stream: &mut TcpStream) -> String {
    let (mut bytes, mut buffer) = (Vec::new(), [0; 4_096]);
    loop {
        match stream.read(&mut buffer) {
            Ok(0) => break,
            Ok(read) => bytes.extend_from_slice(&buffer[..read]),
            Err(error) if error.kind() == ErrorKind::ConnectionReset => break,
            Err(error) => panic!("the server does not end the connection: {error}"),
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// The statuses of all answers in this text.
fn statuses(text: &str) -> Vec<&str> {
    text.match_indices("HTTP/1.1 ").filter_map(|(at, start)| text.get(at + start.len()..)?.get(..3)).collect()
}

const NEXT: &str = "GET /health/live HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";

/// A proxy in front may read such a request otherwise than we do, and take a part of it for the next one.
#[test]
fn a_request_that_can_be_read_in_two_ways_is_refused_and_nothing_after_it_is_read() {
    let server = Server::start(&[]);
    for head in [
        "Content-Length: 5\r\nContent-Length: 6",
        "Content-Length: 5, 6",
        "Content-Length: +5",
        "Content-Length: -1",
        "Content-Length: 0x5",
        "Content-Length: 99999999999999999999999",
        "Transfer-Encoding: xchunked",
        "Transfer-Encoding: chunked, identity",
        "Transfer-Encoding : chunked",
        "Content-Length\u{b}: 5",
        "X-Folded: a\r\n b: c",
        "Host: y",
        "X-Zero: a\0b",
    ] {
        for method in ["GET", "POST"] {
            let request = format!("{method} /health/live HTTP/1.1\r\nHost: x\r\n{head}\r\n\r\n0\r\n\r\n{NEXT}");
            let (answer, _) = exchange(&server, request.as_bytes());
            assert_eq!(statuses(&answer), ["400"], "{method} with {head:?}: {answer}");
        }
    }
    for head in ["Content-Length: 5\r\nTransfer-Encoding: chunked", "Transfer-Encoding: chunked\r\nContent-Length: 5"] {
        let request = format!("GET /health/live HTTP/1.1\r\nHost: x\r\n{head}\r\n\r\n0\r\n\r\n{NEXT}");
        let (answer, _) = exchange(&server, request.as_bytes());
        assert_eq!(statuses(&answer).len(), 1, "answered alone, if at all: {answer}");
    }
    let (answer, _) = exchange(&server, format!("GET / HTTP/1.1\r\n\r\n{NEXT}").as_bytes());
    assert_eq!(statuses(&answer), ["400"], "no host at all");
    // What is plain is read as what it is: a body is no request.
    for (body, expected) in [
        (format!("Content-Length: {}\r\n\r\n{NEXT}{NEXT}", NEXT.len()), vec!["200", "200"]),
        (
            format!("Transfer-Encoding: chunked\r\n\r\n{:x}\r\n{NEXT}\r\n0\r\n\r\n{NEXT}", NEXT.len()),
            vec!["200", "200"],
        ),
        (format!("Content-Length: 0\r\n\r\n{NEXT}{NEXT}"), vec!["200", "200"]),
    ] {
        let (answer, _) = exchange(&server, format!("GET /health/live HTTP/1.1\r\nHost: x\r\n{body}").as_bytes());
        assert_eq!(statuses(&answer), expected, "{body}");
    }
    // A handshake carries no body that could be taken for frames.
    let handshake = "GET /ws/lobby HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
                     Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
    for body in ["Content-Length: 5\r\n\r\nhello", "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"] {
        let (answer, _) = exchange(&server, format!("{handshake}{body}{NEXT}").as_bytes());
        assert_eq!(statuses(&answer).first(), Some(&"400"), "{answer}");
    }
}

#[test]
fn what_is_too_long_is_refused_before_it_is_whole() {
    let server = Server::start(&[]);
    let head = |more: &str| format!("GET /health/live HTTP/1.1\r\nHost: x\r\n{more}\r\n\r\n").into_bytes();
    for (what, request) in [
        ("a long header", head(&format!("X-Long: {}", "x".repeat(100_000)))),
        ("many headers", head(&"X-Many: x\r\n".repeat(1_000))),
        ("a long address", format!("GET /{} HTTP/1.1\r\nHost: x\r\n\r\n", "x".repeat(100_000)).into_bytes()),
        ("no end of line", vec![b'x'; 1_000_000]),
        ("a long cookie", head(&format!("Cookie: {}", "a=b; ".repeat(20_000)))),
    ] {
        let (answer, took) = exchange(&server, &request);
        let refused = answer.is_empty() || answer.starts_with("HTTP/1.1 4");
        assert!(refused && took < Duration::from_secs(5), "{what}: {answer:.200} after {took:?}");
    }
    // A body that nobody wants is not waited for.
    for (method, path) in [("POST", "/api/rooms"), ("PUT", "/"), ("POST", "/health"), ("GET", "/api/rooms")] {
        let request = format!("{method} {path} HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000000\r\n\r\nxxx");
        let (answer, took) = exchange(&server, request.as_bytes());
        assert!(["200", "405"].contains(&statuses(&answer)[0]), "{method} {path}: {answer}");
        assert!(took < Duration::from_secs(2), "{method} {path} took {took:?}");
    }
}

#[test]
fn nobody_holds_a_connection_by_being_slow() {
    let server = Server::start(&[("HEADER_TIMEOUT_SECONDS", "1")]);
    // A letter now and then, and silence between two requests.
    let mut slow = server.connect();
    let mut idle = server.connect();
    idle.write_all(b"GET /health/live HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
    let begun = Instant::now();
    for letter in b"GET / HTTP/1.1\r\nHost: x\r\nX-Slow: aaaaaaaaaaaaaaaaaaaaaaaaaaaaa" {
        if slow.write_all(&[*letter]).is_err() {
            break;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    rest(&mut slow);
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    assert_eq!(statuses(&rest(&mut idle)), ["200"]);
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
}

#[test]
fn sockets_that_are_opened_and_left_give_their_places_back() {
    let server = Server::start(&[
        ("PING_INTERVAL_SECONDS", "1"),
        ("PEER_TIMEOUT_SECONDS", "2"),
        ("MAX_SOCKETS_PER_ADDRESS", "50"),
        ("USE_RATE_LIMITING", "false"),
    ]);
    let open = || {
        let mut stream = server.connect();
        let request = "GET /ws/lobby HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
                       Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
        stream.write_all(request.as_bytes()).unwrap();
        stream
    };
    let sockets = || {
        let text = scrape(server.metrics.unwrap());
        text.lines().find_map(|line| line.strip_prefix("liap_sockets ")?.parse::<usize>().ok()).unwrap()
    };
    let becomes = |wanted: usize| {
        let begun = Instant::now();
        while sockets() != wanted {
            assert!(begun.elapsed() < SOON, "{} sockets, not {wanted}", sockets());
            std::thread::sleep(Duration::from_millis(20));
        }
    };
    // Asked for, and never looked at again.
    let held: Vec<TcpStream> = (0..50).map(|_| open()).collect();
    becomes(50);
    for _ in 0..20 {
        let mut over = open();
        over.set_read_timeout(Some(SOON)).unwrap();
        let mut answer = [0; 12];
        // Over the bound: refused, or closed at once.
        let read = over.read(&mut answer).unwrap_or(0);
        assert!(read == 0 || answer == *b"HTTP/1.1 429", "{answer:?}");
    }
    becomes(0);
    drop(held);
    // Asked for, and gone before the answer.
    (0..200).for_each(|_| drop(open()));
    becomes(0);
    // Some of them may not even be accepted yet; until they are gone their address has no place for another.
    let is_answered = || {
        let mut stream = server.connect();
        let asked = stream.write_all(b"GET /health/live HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
        let mut answer = Vec::new();
        asked.and_then(|()| stream.read_to_end(&mut answer)).is_ok() && answer.starts_with(b"HTTP/1.1 200")
    };
    let begun = Instant::now();
    while !is_answered() {
        assert!(begun.elapsed() < SOON, "their places are not given back");
        std::thread::sleep(Duration::from_millis(20));
    }
}
