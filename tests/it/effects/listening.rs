//! Where a server listens, for how long it waits, what it shows.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::time::{Duration, Instant};

use super::{free_port, liap, metric, play};
use crate::process::{SOON, Server, Socket, room};

pub(super) fn metrics() {
    let port = free_port().to_string();
    let server = Server::start(&[
        ("ENVIRONMENT", "staging"),
        ("ENABLE_PROFILING", "true"),
        ("METRICS_HOST", "127.0.0.2"),
        ("METRICS_PORT", &port),
    ]);
    assert_eq!(server.metrics.unwrap().to_string(), format!("127.0.0.2:{port}"));
    let info = format!("liap_info{{environment=\"staging\",version=\"{}\"}}", env!("CARGO_PKG_VERSION"));
    assert_eq!(metric(&server, &info), Some(1.0));
    let step = "liap_step_seconds_count{step=\"decode\"}";
    assert!(metric(&server, step).is_some(), "profiled");
    assert!(metric(&Server::start(&[]), step).is_none(), "not profiled");
}

pub(super) fn no_metrics() {
    assert!(Server::start(&[("METRICS_ENABLED", "false")]).metrics.is_none());
    assert!(Server::start(&[]).metrics.is_some());
}

pub(super) fn address() {
    let port = free_port();
    let server = Server::start(&[("HOST", "127.0.0.3"), ("PORT", &port.to_string()), ("BASE_PATH", "/games/liap")]);
    assert_eq!(server.address, format!("127.0.0.3:{port}").parse().unwrap());
    assert!(TcpStream::connect(("127.0.0.1", port)).is_err(), "only there");
    assert_eq!(server.get("/games/liap/health/live").status, 200);
    assert_eq!(server.get("/games/liap").header("location"), "/games/liap/");
    assert_eq!(Server::start(&[]).get("/games/liap/health/live").status, 404);
}

pub(super) fn shutdown() {
    let socket = |server: &Server| play(Socket::open(server, "lobby"));
    let mut server = Server::start(&[("SHUTDOWN_TIMEOUT_SECONDS", "1")]);
    // It never answers the close, so that stopping has to wait for it.
    let _silent = socket(&server);
    let begun = Instant::now();
    server.signal("TERM");
    server.logged("1 sockets have not closed in time");
    assert!(server.ended().success());
    assert!(begun.elapsed() < Duration::from_millis(1_900), "{:?}", begun.elapsed());
}

pub(super) fn another_client() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("index.html"), "<title>Another client</title>").unwrap();
    let server = Server::start(&[("STATIC_DIR", folder.path().to_str().unwrap())]);
    assert_eq!(server.get("/").text(), "<title>Another client</title>");
}

pub(super) fn encrypted() {
    let folder = tempfile::tempdir().unwrap();
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let [certificate, key] = ["cert.pem", "key.pem"].map(|name| folder.path().join(name));
    std::fs::write(&certificate, made.cert.pem()).unwrap();
    std::fs::write(&key, made.signing_key.serialize_pem()).unwrap();
    let settings = [("TLS_CERT", certificate.to_str().unwrap()), ("TLS_KEY", key.to_str().unwrap())];
    let server = Server::start(&settings);
    assert_eq!(server.scheme, "https");
    let address = server.address.to_string();
    let ask = |settings: &[(&str, &str)]| {
        liap(folder.path(), &["healthcheck", "--address", &address], settings).status.success()
    };
    assert!(ask(&settings), "by https");
    assert!(!ask(&[]), "not by http");
    assert_eq!(Server::start(&[]).scheme, "http");
}

pub(super) fn headers() {
    let closed_after = |settings: &[(&str, &str)], patience: Duration| {
        let server = Server::start(settings);
        let mut stream = server.connect();
        stream.set_read_timeout(Some(patience)).unwrap();
        stream.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n").unwrap();
        let begun = Instant::now();
        let mut rest = Vec::new();
        stream.read_to_end(&mut rest).map(|_| begun.elapsed())
    };
    let closed = closed_after(&[("HEADER_TIMEOUT_SECONDS", "1")], SOON).expect("it is closed");
    assert!((Duration::from_millis(900)..Duration::from_secs(5)).contains(&closed), "{closed:?}");
    assert!(closed_after(&[], Duration::from_millis(1_500)).is_err(), "open for longer");
}

pub(super) fn health_timeout() {
    // The question is taken and never answered.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = silent.local_addr().unwrap().to_string();
    let begun = Instant::now();
    let folder = tempfile::tempdir().unwrap();
    let asked = liap(folder.path(), &["healthcheck", "--address", &address], &[("HEALTH_CHECK_TIMEOUT", "1")]);
    assert_eq!(asked.status.code(), Some(1));
    assert!((Duration::from_millis(900)..Duration::from_secs(5)).contains(&begun.elapsed()), "{:?}", begun.elapsed());
}

pub(super) fn admin_token() {
    let status = |server: &Server, token: &str| {
        server.request("GET", "/admin/status", &[("Authorization", &format!("Bearer {token}"))]).status
    };
    let server = Server::start(&[("ADMIN_TOKEN", "3f9a61c0d2be47588e13aa90")]);
    assert_eq!((status(&server, "3f9a61c0d2be47588e13aa90"), status(&server, "3f9a61c0d2be47588e13aa91")), (200, 401));
    let server = Server::start(&[]);
    let said = server.said.iter().find_map(|line| line.split_once("ADMIN_TOKEN is not set; this run's is "));
    let invented: String = said.expect("it is printed").1.chars().take_while(char::is_ascii_alphanumeric).collect();
    assert_eq!(status(&server, &invented), 200);
}

pub(super) fn events() {
    let token = "3f9a61c0d2be47588e13aa90";
    let kept = |size: &str| {
        let server = Server::start(&[("ADMIN_TOKEN", token), ("EVENT_BUFFER_SIZE", size)]);
        for name in ["Mira", "Jon", "Ada"] {
            play(room(&server, name));
        }
        let answer = server.request("GET", "/admin/events", &[("Authorization", &format!("Bearer {token}"))]).json();
        assert!(answer["newest"].as_u64().unwrap() > 2, "{answer}");
        answer["events"].as_array().unwrap().len()
    };
    assert_eq!(kept("2"), 2);
    assert!(kept("1000") > 2);
}
