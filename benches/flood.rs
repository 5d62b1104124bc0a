//! What players notice of a flood: the time from a message to its answer while somebody sends ten thousand messages a
//! second, or opens a thousand sockets a second, beside the same in quiet moments of the same run. Default limits, one
//! server, clients and flood on the same cores.
//!
//! `cargo bench --bench flood`; `FLOOD_TABLES` (100) and `FLOOD_SECONDS` (20, of each kind) change the load.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    clippy::indexing_slicing,
    reason = "a bench tells and stops at errors"
)]

use std::env;
use std::io::{BufRead as _, BufReader};
use std::net::{Ipv4Addr, SocketAddr};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use futures_util::{SinkExt as _, StreamExt as _};
use liap::load::percentile;
use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::mpsc;
use tokio::time::{MissedTickBehavior, interval, timeout};
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{WebSocketStream, client_async};

type Socket = WebSocketStream<TcpStream>;

/// What somebody does to the server.
const KINDS: [&str; 3] = ["quiet", "messages", "sockets"];
/// How long one kind lasts before the next; short, so that whatever else the machine does hits all of them.
const SLICE: Duration = Duration::from_secs(2);
/// A player says something so often: within the limit of messages a minute.
const SAYS_EVERY: Duration = Duration::from_millis(1_100);
const MESSAGES_PER_MS: usize = 10;
const SOCKETS_PER_MS: usize = 1;

#[tokio::main]
async fn main() {
    let number = |name: &str, default| env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default);
    let (tables, seconds) = (number("FLOOD_TABLES", 100), number("FLOOD_SECONDS", 20));
    let server = Server::start();
    let kind = Arc::new(AtomicUsize::new(0));
    let (times, mut measured) = mpsc::unbounded_channel();
    for table in 0..tables {
        let socket = sit_down(server.address, u32::try_from(table).unwrap()).await;
        tokio::spawn(play(socket, Arc::clone(&kind), times.clone()));
    }
    let flood = Arc::new(Flood::default());
    tokio::spawn(send_messages(server.address, Arc::clone(&kind), Arc::clone(&flood)));
    tokio::spawn(open_sockets(server.address, Arc::clone(&kind), Arc::clone(&flood)));

    let slices = KINDS.len() * usize::try_from(seconds / SLICE.as_secs()).unwrap().max(1);
    for slice in 0..slices {
        kind.store(slice % KINDS.len(), Ordering::Relaxed);
        tokio::time::sleep(SLICE).await;
    }
    kind.store(0, Ordering::Relaxed);
    let mut by_kind = [const { Vec::new() }; KINDS.len()];
    while let Ok((kind, took)) = measured.try_recv() {
        let times: &mut Vec<Duration> = &mut by_kind[kind];
        times.push(took);
    }
    let mut quiet = Duration::ZERO;
    for (name, times) in KINDS.into_iter().zip(&mut by_kind) {
        times.sort_unstable();
        let p99 = percentile(times, 0.99);
        quiet = if name == "quiet" { p99 } else { quiet };
        println!(
            "{name:<9} {:>6} answers  p50 {:>6.2} ms  p99 {:>6.2} ms  {:.2} times the quiet p99",
            times.len(),
            percentile(times, 0.5).as_secs_f64() * 1e3,
            p99.as_secs_f64() * 1e3,
            p99.as_secs_f64() / quiet.as_secs_f64(),
        );
    }
    println!("{flood}");
}

/// How the floods fared.
#[derive(Debug, Default)]
struct Flood {
    messages: AtomicU64,
    cut_off: AtomicU64,
    slowest_cut_us: AtomicU64,
    sockets: AtomicU64,
    refused: AtomicU64,
}

impl std::fmt::Display for Flood {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        write!(
            f,
            "{} messages sent, cut off {} times, at the latest after {:.0} ms; {} sockets opened, {} refused",
            get(&self.messages),
            get(&self.cut_off),
            get(&self.slowest_cut_us) as f64 / 1e3,
            get(&self.sockets),
            get(&self.refused)
        )
    }
}

/// Says something at a table and measures the answer, over and over.
async fn play(mut socket: Socket, kind: Arc<AtomicUsize>, times: mpsc::UnboundedSender<(usize, Duration)>) {
    let mut says = interval(SAYS_EVERY);
    says.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        says.tick().await;
        let (kind, sent) = (kind.load(Ordering::Relaxed), Instant::now());
        // The answer is nobody else's, so nothing that the table says by itself is taken for it.
        socket.send(Message::text(r#"{"event":"request_recovery","data":{}}"#)).await.expect("a player is let alone");
        hear(&mut socket, "recovery_response").await;
        if times.send((kind, sent.elapsed())).is_err() {
            return;
        }
    }
}

/// One socket at ten thousand messages a second, and another one as soon as it is closed.
async fn send_messages(server: SocketAddr, kind: Arc<AtomicUsize>, flood: Arc<Flood>) {
    let mut beat = interval(Duration::from_millis(1));
    loop {
        beat.tick().await;
        if kind.load(Ordering::Relaxed) != 1 {
            continue;
        }
        let Ok(mut socket) = open(server, 200, "lobby").await else { continue };
        let began = Instant::now();
        'flooding: while kind.load(Ordering::Relaxed) == 1 {
            for _ in 0..MESSAGES_PER_MS {
                let sent = socket.feed(Message::text(r#"{"event":"get_rooms","data":{}}"#)).await;
                flood.messages.fetch_add(1, Ordering::Relaxed);
                if sent.is_err() || socket.flush().await.is_err() {
                    break 'flooding;
                }
            }
            // What the server says about it, without waiting for more.
            while let Ok(said) = timeout(Duration::ZERO, socket.next()).await {
                if matches!(said, None | Some(Err(_) | Ok(Message::Close(_)))) {
                    break 'flooding;
                }
            }
            beat.tick().await;
        }
        if kind.load(Ordering::Relaxed) == 1 {
            let took = u64::try_from(began.elapsed().as_micros()).unwrap();
            flood.cut_off.fetch_add(1, Ordering::Relaxed);
            flood.slowest_cut_us.fetch_max(took, Ordering::Relaxed);
        }
    }
}

/// One address that opens a thousand sockets a second, and holds those it gets for a while.
async fn open_sockets(server: SocketAddr, kind: Arc<AtomicUsize>, flood: Arc<Flood>) {
    let mut beat = interval(Duration::from_millis(1));
    loop {
        beat.tick().await;
        if kind.load(Ordering::Relaxed) != 2 {
            continue;
        }
        for _ in 0..SOCKETS_PER_MS {
            let flood = Arc::clone(&flood);
            tokio::spawn(async move {
                match open(server, 201, "lobby").await {
                    Ok(_held) => {
                        flood.sockets.fetch_add(1, Ordering::Relaxed);
                        tokio::time::sleep(Duration::from_secs(1)).await;
                    }
                    Err(_) => {
                        flood.refused.fetch_add(1, Ordering::Relaxed);
                    }
                }
            });
        }
    }
}

/// Opens a socket from the address of this number.
async fn open(server: SocketAddr, number: u32, room: &str) -> Result<Socket, Error> {
    let socket = TcpSocket::new_v4()?;
    socket.bind((Ipv4Addr::from_bits(Ipv4Addr::new(127, 0, 1, 0).to_bits() + number), 0).into())?;
    let stream = socket.connect(server).await?;
    stream.set_nodelay(true)?;
    // No port of ours waits for what may still come.
    stream.set_zero_linger()?;
    Ok(client_async(format!("ws://{server}/ws/{room}"), stream).await?.0)
}

async fn hear(socket: &mut Socket, event: &str) -> String {
    let wanted = format!("{{\"event\":\"{event}\"");
    loop {
        match socket.next().await.expect("the socket lives").expect("the link lives") {
            Message::Text(text) if text.starts_with(&wanted) => return text.to_string(),
            Message::Text(text) => assert!(!text.starts_with("{\"event\":\"error\""), "{text}"),
            _ => {}
        }
    }
}

/// A player in a game of his own, at his table.
async fn sit_down(server: SocketAddr, number: u32) -> Socket {
    let mut lobby = open(server, number, "lobby").await.unwrap();
    lobby.send(Message::text(r#"{"event":"create_room","data":{"player_name":"Mira"}}"#)).await.unwrap();
    let created: serde_json::Value = serde_json::from_str(&hear(&mut lobby, "room_created").await).unwrap();
    let (room, token) = (created["data"]["room_id"].as_str().unwrap(), &created["data"]["seat_token"]);
    let mut table = open(server, number, room).await.unwrap();
    let ready = serde_json::json!({ "event": "client_ready", "data": { "player_name": "Mira", "seat_token": token } });
    table.send(Message::text(ready.to_string())).await.unwrap();
    hear(&mut table, "room_state_update").await;
    table.send(Message::text(r#"{"event":"start_game","data":{}}"#)).await.unwrap();
    hear(&mut table, "game_started").await;
    table
}

/// A server with default limits in a process of its own.
struct Server {
    child: Child,
    address: SocketAddr,
    _data: tempfile::TempDir,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

impl Server {
    fn start() -> Self {
        let data = tempfile::tempdir().unwrap();
        let mut child = Command::new(env!("CARGO_BIN_EXE_liap"))
            .env_clear()
            .envs([("HOST", "127.0.0.1"), ("PORT", "0"), ("METRICS_PORT", "0")])
            .env("DATA_DIR", data.path())
            .stderr(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines().map_while(Result::ok);
        let address = lines
            .find_map(|line| {
                let (_, rest) = line.split_once("listening on http://")?;
                let end = rest.find(|c: char| c != '.' && c != ':' && !c.is_ascii_digit()).unwrap_or(rest.len());
                rest.get(..end)?.parse().ok()
            })
            .expect("the server says where it listens");
        // What else it says must not fill the pipe.
        std::thread::spawn(move || lines.for_each(drop));
        Self { child, address, _data: data }
    }
}
