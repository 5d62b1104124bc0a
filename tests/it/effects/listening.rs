//! Where a server listens, for how long it waits, what it shows.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use super::{liap, metric, play};
use crate::address::own_address;
use crate::process::{Server, Socket, room};

pub(super) fn metrics() {
    let host = own_address().to_string();
    let server = Server::start(&[
        ("ENVIRONMENT", "staging"),
        ("ENABLE_PROFILING", "true"),
        ("METRICS_HOST", &host),
        ("METRICS_PORT", "9191"),
    ]);
    assert_eq!(server.metrics.unwrap().to_string(), format!("{host}:9191"));
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
    let host = own_address();
    let server = Server::start(&[("HOST", &host.to_string()), ("PORT", "8001"), ("BASE_PATH", "/games/liap")]);
    assert_eq!(server.address, (host, 8_001).into());
    assert!(TcpStream::connect((own_address(), 8_001)).is_err(), "only there");
    assert_eq!(server.get("/games/liap/health/live").status, 200);
    assert_eq!(server.get("/games/liap").header("location"), "/games/liap/");
    assert_eq!(Server::start(&[]).get("/games/liap/health/live").status, 404);
}

pub(super) fn shutdown() {
    let socket = |server: &Server| play(Socket::open(server, "lobby"));
    let [mut hasty, mut patient] = ["1", "600"].map(|seconds| Server::start(&[("SHUTDOWN_TIMEOUT_SECONDS", seconds)]));
    // They never answer the close, so that stopping has to wait for them.
    let _silent = [socket(&hasty), socket(&patient)];
    patient.signal("TERM");
    hasty.signal("TERM");
    hasty.logged("1 sockets have not closed in time");
    assert!(hasty.ended().success());
    assert!(patient.is_running());
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
    let begun = Instant::now();
    let [hasty, patient] = ["1", "600"].map(|seconds| Server::start(&[("HEADER_TIMEOUT_SECONDS", seconds)]));
    let [mut open, mut closed] = [&patient, &hasty].map(|server| {
        let mut stream = server.connect();
        stream.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n").unwrap();
        stream
    });
    let mut rest = Vec::new();
    closed.read_to_end(&mut rest).expect("it is closed");
    assert!(begun.elapsed() > Duration::from_secs(1), "{:?}", begun.elapsed());
    open.set_nonblocking(true).unwrap();
    assert_eq!(open.read(&mut [0]).unwrap_err().kind(), ErrorKind::WouldBlock, "open for longer");
}

pub(super) fn health_timeout() {
    // The question is taken and never answered.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = silent.local_addr().unwrap().to_string();
    let begun = Instant::now();
    let [mut patient, mut hasty] = ["60", "1"].map(|seconds| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_liap"));
        command.args(["healthcheck", "--address", &address]).env_clear().env("HEALTH_CHECK_TIMEOUT", seconds);
        command.stderr(Stdio::null()).spawn().unwrap()
    });
    assert_eq!(hasty.wait().unwrap().code(), Some(1));
    assert!(begun.elapsed() > Duration::from_secs(1), "{:?}", begun.elapsed());
    assert!(patient.try_wait().unwrap().is_none(), "it waits for longer");
    patient.kill().unwrap();
    patient.wait().unwrap();
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
