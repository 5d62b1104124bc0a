//! What players notice of a flood: the time from a message to its answer while somebody sends ten thousand messages a
//! second, or opens a thousand sockets a second. Default limits; one server, clients and flood on the same cores.
//!
//! The floor is the same flood against a bare warp server beside it, in the same run: it has the cores just as busy and
//! touches nobody's table. What players notice beyond that is ours. Quiet moments are told as well.
//!
//! `cargo bench --bench flood`; `FLOOD_TABLES` (300) and `FLOOD_SECONDS` (20, of each kind) change the load.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::indexing_slicing,
    reason = "a bench tells and stops at errors"
)]

use std::env;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use futures_util::{SinkExt as _, StreamExt as _};
use liap::load::percentile;
use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval, timeout};
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{WebSocketStream, client_async};
use warp::Filter as _;

mod server;

use server::Server;

type Socket = WebSocketStream<TcpStream>;

/// What somebody does to the server.
const KINDS: [&str; 5] = ["quiet", "messages elsewhere", "messages", "sockets elsewhere", "sockets"];
/// How long one kind lasts before the next; short, so that whatever else the machine does hits all of them.
const SLICE: Duration = Duration::from_secs(2);
const MESSAGES: [usize; 2] = [1, 2];
const SOCKETS: [usize; 2] = [3, 4];
/// Set for the process that is the bare server.
const BARE: &str = "FLOOD_BARE";
/// What is measured while tables are still set up counts for nothing.
const SETTING_UP: usize = KINDS.len();
/// A player asks so often for what he missed, which counts as three messages: within the limit of messages a minute.
const SAYS_EVERY: Duration = Duration::from_millis(3_700);
/// Numbers of the flood's two addresses, beyond those of all players.
const FLOOD_ADDRESS: u32 = 10_000;
const MESSAGES_PER_MS: usize = 10;
const SOCKETS_PER_MS: usize = 1;

#[tokio::main]
async fn main() {
    let number = |name: &str, default| env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default);
    let (tables, seconds) = (number("FLOOD_TABLES", 300), number("FLOOD_SECONDS", 20));
    if env::var(BARE).is_ok() {
        return serve_bare().await;
    }
    let (server, bare) = (Server::liap(&[]), Server::bare(BARE, "yes"));
    let targets = [bare.address, server.address];
    let kind = Arc::new(AtomicUsize::new(SETTING_UP));
    let (times, mut measured) = mpsc::unbounded_channel();
    let mut all = JoinSet::new();
    for table in 0..tables {
        let socket = sit_down(server.address, u32::try_from(table).unwrap()).await;
        all.spawn(play(socket, Arc::clone(&kind), times.clone()));
    }
    let flood = Arc::new(Flood::default());
    all.spawn(send_messages(targets, Arc::clone(&kind), Arc::clone(&flood)));
    all.spawn(open_sockets(targets, Arc::clone(&kind), Arc::clone(&flood)));

    tokio::time::sleep(SLICE).await;
    let slices = KINDS.len() * usize::try_from(seconds / SLICE.as_secs()).unwrap().max(1);
    for slice in 0..slices {
        kind.store(slice % KINDS.len(), Ordering::Relaxed);
        tokio::time::sleep(SLICE).await;
    }
    // Before the servers end.
    all.shutdown().await;
    let mut by_kind = [const { Vec::new() }; KINDS.len()];
    while let Ok((kind, took)) = measured.try_recv() {
        let times: Option<&mut Vec<Duration>> = by_kind.get_mut(kind);
        times.into_iter().for_each(|times| times.push(took));
    }
    let (mut quiet, mut floor) = (None, Duration::ZERO);
    for (kind, (name, times)) in KINDS.into_iter().zip(&mut by_kind).enumerate() {
        times.sort_unstable();
        let p99 = percentile(times, 0.99);
        let is_ours = [MESSAGES[1], SOCKETS[1]].contains(&kind);
        floor = if is_ours { floor } else { p99 };
        let beside = |other: Duration| p99.as_secs_f64() / other.as_secs_f64();
        println!(
            "{name:<18} {:>6} answers  p50 {:>6.2} ms  p99 {:>6.2} ms, {:.2} times quiet{}",
            times.len(),
            percentile(times, 0.5).as_secs_f64() * 1e3,
            p99.as_secs_f64() * 1e3,
            beside(*quiet.get_or_insert(p99)),
            if is_ours { format!(", {:.2} times elsewhere, goal 1.10", beside(floor)) } else { String::new() },
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

/// Which of two targets is flooded now, if this flood is on.
fn aim(kind: &AtomicUsize, [elsewhere, here]: [usize; 2]) -> Option<usize> {
    match kind.load(Ordering::Relaxed) {
        kind if kind == elsewhere => Some(0),
        kind if kind == here => Some(1),
        _ => None,
    }
}

/// One socket at ten thousand messages a second, and another one as soon as it is closed.
async fn send_messages(targets: [SocketAddr; 2], kind: Arc<AtomicUsize>, flood: Arc<Flood>) {
    let mut beat = interval(Duration::from_millis(1));
    loop {
        beat.tick().await;
        let Some(target) = aim(&kind, MESSAGES) else { continue };
        let Ok(mut socket) = open(targets[target], FLOOD_ADDRESS, "lobby").await else { continue };
        let began = Instant::now();
        'flooding: while aim(&kind, MESSAGES) == Some(target) {
            for _ in 0..MESSAGES_PER_MS {
                let sent = socket.feed(Message::text(r#"{"event":"get_rooms","data":{}}"#)).await;
                flood.messages.fetch_add(target as u64, Ordering::Relaxed);
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
        if target == 1 && aim(&kind, MESSAGES) == Some(target) {
            let took = u64::try_from(began.elapsed().as_micros()).unwrap();
            flood.cut_off.fetch_add(1, Ordering::Relaxed);
            flood.slowest_cut_us.fetch_max(took, Ordering::Relaxed);
        }
    }
}

/// One address that opens a thousand sockets a second, and holds those it gets for a while.
async fn open_sockets(targets: [SocketAddr; 2], kind: Arc<AtomicUsize>, flood: Arc<Flood>) {
    let mut beat = interval(Duration::from_millis(1));
    loop {
        beat.tick().await;
        let Some(target) = aim(&kind, SOCKETS) else { continue };
        let server = targets[target];
        for _ in 0..SOCKETS_PER_MS {
            let flood = Arc::clone(&flood);
            tokio::spawn(async move {
                match open(server, FLOOD_ADDRESS + 1, "lobby").await {
                    Ok(_held) => {
                        flood.sockets.fetch_add(target as u64, Ordering::Relaxed);
                        tokio::time::sleep(Duration::from_secs(1)).await;
                    }
                    Err(_) => {
                        flood.refused.fetch_add(target as u64, Ordering::Relaxed);
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

/// warp as it comes: takes everything, reads it, and says nothing.
async fn serve_bare() {
    let route = warp::path!("ws" / String).and(warp::ws()).map(|_room: String, ws: warp::ws::Ws| {
        ws.on_upgrade(|mut socket| async move { while let Some(Ok(_)) = socket.next().await {} })
    });
    let listener = tokio::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    eprintln!("listening on http://{}", listener.local_addr().unwrap());
    warp::serve(route).incoming(listener).run().await;
}
