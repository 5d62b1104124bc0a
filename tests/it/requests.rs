use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::TestRunner;

use crate::process::{Answer, SOON, Server, connect, scrape};
use crate::tls;

/// What comes back for these bytes until the server ends the connection.
fn exchange(server: &Server, bytes: &[u8]) -> String {
    exchange_at(server.address, bytes)
}

/// The same with any listener.
fn exchange_at(address: SocketAddr, bytes: &[u8]) -> String {
    let mut stream = connect(address);
    // The server may have ended it before all of it was written.
    stream.write_all(bytes).ok();
    rest(&mut stream)
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
            let answer = exchange(&server, request.as_bytes());
            assert_eq!(statuses(&answer), ["400"], "{method} with {head:?}: {answer}");
        }
    }
    for head in ["Content-Length: 5\r\nTransfer-Encoding: chunked", "Transfer-Encoding: chunked\r\nContent-Length: 5"] {
        let request = format!("GET /health/live HTTP/1.1\r\nHost: x\r\n{head}\r\n\r\n0\r\n\r\n{NEXT}");
        let answer = exchange(&server, request.as_bytes());
        assert_eq!(statuses(&answer).len(), 1, "answered alone, if at all: {answer}");
    }
    let answer = exchange(&server, format!("GET / HTTP/1.1\r\n\r\n{NEXT}").as_bytes());
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
        let answer = exchange(&server, format!("GET /health/live HTTP/1.1\r\nHost: x\r\n{body}").as_bytes());
        assert_eq!(statuses(&answer), expected, "{body}");
    }
    // A handshake carries no body that could be taken for frames.
    let handshake = "GET /ws/lobby HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
                     Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
    for body in ["Content-Length: 5\r\n\r\nhello", "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"] {
        let answer = exchange(&server, format!("{handshake}{body}{NEXT}").as_bytes());
        assert_eq!(statuses(&answer).first(), Some(&"400"), "{answer}");
    }
}

/// How often the server has panicked.
fn panics(server: &Server) -> String {
    let text = scrape(server.metrics.unwrap());
    text.lines().find_map(|line| line.strip_prefix("liap_panics_total ")).unwrap().to_owned()
}

#[test]
fn a_request_without_a_path_is_refused_and_nothing_after_it_is_read() {
    let server = Server::start(&[]);
    for line in ["GET evil.com:80", "CONNECT evil.com:80", "GET *", "OPTIONS *", "GET ftp://x/", "GET http://a@x/"] {
        let answer = exchange(&server, format!("{line} HTTP/1.1\r\nHost: x\r\n\r\n{NEXT}").as_bytes());
        assert_eq!(statuses(&answer), ["400"], "{line}: {answer}");
        let answer = Answer::parse(answer.as_bytes());
        assert_eq!(answer.header("content-type"), "application/problem+json", "{line}");
        assert_eq!(answer.json()["status"], 400);
        // Whoever scrapes gets the same.
        let request = format!("{line} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
        assert_eq!(statuses(&exchange_at(server.metrics.unwrap(), request.as_bytes())), ["400"], "{line}");
    }
    for target in ["http://x/health/live", "HTTPS://y:80/health/live?a=b", "/health/live"] {
        let request = format!("GET {target} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
        assert_eq!(statuses(&exchange(&server, request.as_bytes())), ["200"], "{target}");
    }
    assert_eq!(panics(&server), "0");
}

/// The first line of a request and its host, as nobody means them: pieces that mean something, between bytes that do not.
fn odd_request() -> impl Strategy<Value = Vec<u8>> {
    let piece = |known: &'static [&'static str]| {
        prop_oneof![
            4 => proptest::sample::select(known).prop_map(|piece| piece.as_bytes().to_vec()),
            1 => vec(any::<u8>(), 0..12),
            1 => vec(33_u8..=255, 0..12),
        ]
    };
    let method = piece(&["GET", "HEAD", "POST", "OPTIONS", "CONNECT", "PRI", "get", "G\u{e9}T", ""]);
    let target = piece(&[
        "/",
        "*",
        "//",
        "?",
        "#",
        "%",
        "%2e",
        "%00",
        "%ff",
        ":",
        "@",
        "[::1]",
        "http://",
        "https:",
        "evil.com:80",
        "..",
        "ws",
        "/ws/",
        "/room/",
        "/assets/",
        "/api/games/",
        "/api/players/",
        "/health",
        "/metrics",
        "/admin/",
        "x=y&",
        ";",
        "3FA9C1",
        "\u{e9}",
        "liap/",
        "/liap",
    ]);
    let version = piece(&["HTTP/1.1", "HTTP/1.0", "HTTP/1.1", "HTTP/2.0", "HTTP/0.9", ""]);
    let host = piece(&["x", "", "x:80", "x:99999999", "a@b", "[::1]:80", "[", "%", "\u{e9}", "x, y", "http://x"]);
    (method, vec(target, 0..6), version, host).prop_map(|(method, target, version, host)| {
        let (target, end) = (target.concat(), b"\r\nConnection: close\r\n\r\n".to_vec());
        [method, b" ".to_vec(), target, b" ".to_vec(), version, b"\r\nHost: ".to_vec(), host, end].concat()
    })
}

/// Sends odd requests to a listener. Each is answered or its connection is closed, and none makes the server panic.
fn fuzz(server: &Server, listener: SocketAddr) {
    let answered_or_closed = |request: Vec<u8>| {
        let mut stream = connect(listener);
        stream.write_all(&request).ok();
        // A first line that never ends is waited for, and a handshake that is sound stays open.
        stream.shutdown(std::net::Shutdown::Write).ok();
        let answer = rest(&mut stream);
        let is_ours = |answer: &str| answer.starts_with("HTTP/1.") && ["2", "3", "4"].contains(&&answer[9..10]);
        // What begins as TLS does has an alert of TLS.
        let is_alert = answer.starts_with('\u{15}');
        prop_assert!(answer.is_empty() || is_alert || is_ours(&answer), "{}: {answer:.200}", request.escape_ascii());
        Ok(())
    };
    let mut runner = TestRunner::new(ProptestConfig { cases: 1_500, failure_persistence: None, ..Default::default() });
    runner.run(&odd_request(), answered_or_closed).unwrap();
    assert_eq!(panics(server), "0");
}

#[test]
fn no_first_line_and_no_host_makes_the_server_panic() {
    let settings = [("USE_RATE_LIMITING", "false"), ("BASE_PATH", "/liap"), ("HEADER_TIMEOUT_SECONDS", "1")];
    let server = Server::start(&settings);
    fuzz(&server, server.address);
    fuzz(&server, server.metrics.unwrap());
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("index.html"), "").unwrap();
    let other_client = Server::start(&[settings[0], ("STATIC_DIR", folder.path().to_str().unwrap())]);
    fuzz(&other_client, other_client.address);
    // Unencrypted requests at a port of TLS.
    let encrypted = tls::Files::new(&tls::certified()).serve(&settings);
    fuzz(&encrypted, encrypted.address);
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
        let answer = exchange(&server, &request);
        let refused = answer.is_empty() || answer.starts_with("HTTP/1.1 4");
        assert!(refused, "{what}: {answer:.200}");
    }
    // A body that nobody wants is not waited for.
    for (method, path) in [("POST", "/api/rooms"), ("PUT", "/"), ("POST", "/health"), ("GET", "/api/rooms")] {
        let request = format!("{method} {path} HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000000\r\n\r\nxxx");
        let answer = exchange(&server, request.as_bytes());
        assert!(["200", "405"].contains(&statuses(&answer)[0]), "{method} {path}: {answer}");
    }
}

#[test]
fn nobody_holds_a_connection_by_being_slow() {
    let server = Server::start(&[("HEADER_TIMEOUT_SECONDS", "1")]);
    // A letter now and then, and silence between two requests.
    let mut slow = server.connect();
    let mut idle = server.connect();
    idle.write_all(b"GET /health/live HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
    let letters = b"GET / HTTP/1.1\r\nHost: x\r\nX-Slow: aaaaaaaaaaaaaaaaaaaaaaaaaaaaa";
    let is_over = letters.iter().any(|letter| {
        std::thread::sleep(Duration::from_millis(50));
        slow.write_all(&[*letter]).is_err()
    });
    assert!(is_over, "it may go on for as long as it likes");
    assert_eq!(statuses(&rest(&mut idle)), ["200"]);
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
