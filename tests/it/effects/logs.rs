//! What is logged, how, and where to.

use std::fs::{self, File};
use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use super::until;
use crate::address::own_address;
use crate::process::request;

/// A server whose log goes elsewhere than to the standard error.
struct Quiet {
    child: Child,
    address: SocketAddr,
    metrics: SocketAddr,
}

impl Quiet {
    fn start(folder: &Path, settings: &[(&str, &str)]) -> Self {
        let host = own_address();
        let child = Command::new(env!("CARGO_BIN_EXE_liap"))
            .env_clear()
            .env("HOST", host.to_string())
            .env("PORT", "8000")
            .env("METRICS_HOST", host.to_string())
            .env("METRICS_PORT", "9090")
            .env("DATA_DIR", folder)
            .envs(settings.iter().copied())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        Self { child, address: (host, 8_000).into(), metrics: (host, 9_090).into() }
    }

    fn answers(&self) -> bool {
        std::net::TcpStream::connect(self.address).is_ok()
    }
}

impl Quiet {
    /// Stops it as an operator would: then everything is written.
    fn stop(mut self) {
        assert!(Command::new("kill").arg(self.child.id().to_string()).status().unwrap().success());
        assert!(self.child.wait().unwrap().success());
    }
}

impl Drop for Quiet {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

pub(super) fn lines() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("liap.log");
    let log_of_a_socket = |settings: &[(&str, &str)]| {
        fs::remove_file(&file).ok();
        let settings = [&[("LOG_FILE", file.to_str().unwrap())], settings].concat();
        let server = Quiet::start(&folder.path().join("data"), &settings);
        until("it listens", || server.answers());
        let id = ("X-Request-ID", "a-request-4711");
        assert_eq!(request(server.address, "GET", "/ws/lobby", &[id]).status, 426);
        server.stop();
        fs::read_to_string(&file).unwrap()
    };
    let text = log_of_a_socket(&[("LOG_LEVEL", "debug"), ("LOG_FORMAT", "text")]);
    assert!(!text.starts_with('{') && text.contains("listening on"), "{text}");
    assert!(text.contains("a socket was refused") && text.contains("a-request-4711"), "{text}");
    let json = log_of_a_socket(&[("LOG_FORMAT", "json")]);
    assert!(json.lines().all(|line| serde_json::from_str::<serde_json::Value>(line).is_ok()), "{json}");
    assert!(!json.contains("a socket was refused"), "that is no news at the level info");
    let without_id = log_of_a_socket(&[("LOG_LEVEL", "debug"), ("LOG_CORRELATION_ID", "false")]);
    assert!(without_id.contains("a socket was refused") && !without_id.contains("a-request-4711"), "{without_id}");
}

pub(super) fn queue() {
    let dropped = |lines: &str| {
        let folder = tempfile::tempdir().unwrap();
        let pipe = folder.path().join("log");
        assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
        let settings = [("LOG_FILE", pipe.to_str().unwrap()), ("LOG_LEVEL", "debug"), ("LOG_QUEUE_LINES", lines)];
        let server = Quiet::start(&folder.path().join("data"), &settings);
        // Read until the server is there, and no further: the pipe fills up, then the queue.
        let mut reader = BufReader::new(File::open(&pipe).unwrap());
        let mut line = String::new();
        while !line.contains("open http://") {
            line.clear();
            assert!(reader.read_line(&mut line).unwrap() > 0, "the log ends");
        }
        for _ in 0..1_000 {
            assert_eq!(request(server.address, "GET", "/ws/lobby", &[]).status, 426);
        }
        let metrics = request(server.metrics, "GET", "/metrics", &[]);
        let dropped =
            metrics.text().lines().find_map(|line| line.strip_prefix("liap_log_dropped_total ")?.parse::<f64>().ok());
        drop(server);
        dropped.unwrap()
    };
    assert!(dropped("16") > 0.0);
    assert_eq!(dropped("100000"), 0.0);
}
