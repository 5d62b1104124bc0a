//! What players notice of a flood: the time from a message to its answer while a client sends ten thousand messages a
//! second, or opens a thousand sockets a second. Default limits; one server, clients and flood on the same cores, each in
//! a process of its own.
//!
//! The flood stands for machines elsewhere, whose own work takes nothing from the server's cores: its process gives way to
//! the others. The floor is the same flood against a bare warp server beside it, in the same run: what players notice of
//! it is the cost of a thousand connections in the system, with any server.
//!
//! `cargo bench --bench flood`; `FLOOD_TABLES` (900) and `FLOOD_SECONDS` (20, of each kind) change the load. With
//! `FLOOD_NICENESS=0` (19) the flood takes its share of the cores from players and servers alike.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::indexing_slicing,
    reason = "a bench prints, and stops where it fails"
)]

use std::env;
use std::io::Write as _;
use std::net::{Ipv4Addr, SocketAddr};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use futures_util::{SinkExt as _, StreamExt as _};
use liap::load::percentile;
use tokio::net::{TcpSocket, TcpStream};
use tokio::runtime::Runtime;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{Interval, MissedTickBehavior, interval, timeout};
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{WebSocketStream, client_async};
use warp::Filter as _;

mod server;

use server::Server;

type Socket = WebSocketStream<TcpStream>;

/// What kind of flood hits which server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Flood {
    Nothing,
    /// Messages on one socket until it is closed.
    Messages(Target),
    /// The same, and on another socket as soon as it is closed.
    MessagesAgain(Target),
    Sockets(Target),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Target {
    Bare,
    Ours,
}

/// What takes turns. Beside the flood of ours comes its floor.
const KINDS: [(&str, Flood); 6] = [
    ("quiet", Flood::Nothing),
    ("messages elsewhere", Flood::Messages(Target::Bare)),
    ("messages", Flood::Messages(Target::Ours)),
    ("messages, and back", Flood::MessagesAgain(Target::Ours)),
    ("sockets elsewhere", Flood::Sockets(Target::Bare)),
    ("sockets", Flood::Sockets(Target::Ours)),
];
/// How long one kind lasts before the next; short, so that whatever else the machine does hits all of them.
const SLICE: Duration = Duration::from_secs(1);
/// Set for the processes that are not the bench itself, to what they are.
const ROLE: &str = "FLOOD_ROLE";
const BARE: &str = "bare";
/// The flood's niceness, the highest: it gets the time that is left, which is enough for its full rate.
const GIVES_WAY: i32 = 19;
/// The pause before each, in which what the one before has left behind goes away: up to a thousand sockets at once.
const PAUSE: Duration = Duration::from_millis(250);
/// What is measured in pauses counts for nothing.
const PAUSING: usize = KINDS.len();
const QUIET: usize = 0;
/// A player asks so often what his table looks like: within the limit of messages a minute.
const MESSAGE_INTERVAL: Duration = Duration::from_millis(1_100);
/// Numbers of the flood's two addresses, beyond those of all players.
const FLOOD_ADDRESS: u32 = 10_000;
/// A beat of the flood: ten messages, or one socket.
const BEAT: Duration = Duration::from_millis(1);
const MESSAGES_A_BEAT: usize = 10;

fn main() {
    let role = env::var(ROLE);
    let is_attacker = role.as_deref().is_ok_and(|role| role != BARE);
    if is_attacker {
        // Before the runtime's threads start, which inherit it.
        rustix::process::nice(number("FLOOD_NICENESS", GIVES_WAY)).unwrap();
    }
    let runtime = Runtime::new().unwrap();
    match role.as_deref() {
        Ok(BARE) => runtime.block_on(serve_bare()),
        Ok(targets) => runtime.block_on(Attacker::new(targets).run()),
        Err(_) => runtime.block_on(measure()),
    }
}

/// A number from the environment.
fn number<N: FromStr>(name: &str, default: N) -> N {
    env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

async fn measure() {
    let (tables, seconds) = (number("FLOOD_TABLES", 900), number("FLOOD_SECONDS", 20));
    let (server, bare) = (Server::liap(&[]), Server::bare(ROLE, BARE));
    let kind = Arc::new(AtomicUsize::new(PAUSING));
    let (times, mut measured) = mpsc::unbounded_channel();
    let mut all = JoinSet::new();
    for table in 0..tables {
        let socket = sit_down(server.address, u32::try_from(table).unwrap()).await;
        all.spawn(play(socket, Arc::clone(&kind), times.clone()));
    }
    let (mut attacker, mut orders) = start_attacker([bare.address, server.address]);
    tokio::time::sleep(SLICE).await;
    for _ in 0..(seconds / SLICE.as_secs()).max(1) {
        for now in 0..KINDS.len() {
            for (now, order, lasts) in [(PAUSING, QUIET, PAUSE), (now, now, SLICE)] {
                kind.store(now, Ordering::Relaxed);
                writeln!(orders, "{order}").unwrap();
                tokio::time::sleep(lasts).await;
            }
        }
    }
    // Before the servers end. Nobody has left his table. The attacker tells how it fared once there are no more orders.
    assert!(all.try_join_next().is_none(), "a player was not let alone");
    all.shutdown().await;
    drop(orders);

    let mut by_kind = [const { Vec::new() }; KINDS.len()];
    while let Ok((kind, took)) = measured.try_recv() {
        let times: Option<&mut Vec<Duration>> = by_kind.get_mut(kind);
        times.into_iter().for_each(|times| times.push(took));
    }
    let (mut quiet, mut floor) = (None, Duration::ZERO);
    for ((name, flood), times) in KINDS.into_iter().zip(&mut by_kind) {
        times.sort_unstable();
        let p99 = percentile(times, 0.99);
        let is_floor = matches!(flood, Flood::Messages(Target::Bare) | Flood::Sockets(Target::Bare));
        floor = if is_floor { p99 } else { floor };
        let beside = |other: Duration| p99.as_secs_f64() / other.as_secs_f64();
        println!(
            "{name:<18} {:>6} answers  p50 {:>6.2} ms  p99 {:>6.2} ms, {:.2} times quiet{}",
            times.len(),
            percentile(times, 0.5).as_secs_f64() * 1e3,
            p99.as_secs_f64() * 1e3,
            beside(*quiet.get_or_insert(p99)),
            if is_floor || flood == Flood::Nothing {
                String::new()
            } else {
                format!(", {:.2} times elsewhere, goal 1.10", beside(floor))
            },
        );
    }
    attacker.wait().unwrap();
}

/// The process of the flood, and the pipe that tells it which kind comes next.
fn start_attacker([bare, ours]: [SocketAddr; 2]) -> (Child, ChildStdin) {
    let mut command = Command::new(env::current_exe().unwrap());
    let mut child = command.env(ROLE, format!("{bare} {ours}")).stdin(Stdio::piped()).spawn().unwrap();
    let orders = child.stdin.take().unwrap();
    (child, orders)
}

/// Sends a message at a table and measures the time to its answer, again and again.
async fn play(mut socket: Socket, kind: Arc<AtomicUsize>, times: mpsc::UnboundedSender<(usize, Duration)>) {
    let mut ticks = interval(MESSAGE_INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let (kind, sent) = (kind.load(Ordering::Relaxed), Instant::now());
        // A table sends that by itself only when a player comes or goes, which happens to none.
        socket.send(Message::text(r#"{"event":"get_room_state","data":{}}"#)).await.expect("a player is let alone");
        hear(&mut socket, "room_update").await;
        if times.send((kind, sent.elapsed())).is_err() {
            return;
        }
    }
}

/// Runs the floods, and counts what became of those against our server.
#[derive(Debug)]
struct Attacker {
    bare: SocketAddr,
    ours: SocketAddr,
    messages: AtomicU64,
    cut_off: AtomicU64,
    slowest_cut_us: AtomicU64,
    sockets: AtomicU64,
    refused: AtomicU64,
}

impl Attacker {
    /// Of a bare server and ours, by their addresses with a blank between.
    fn new(targets: &str) -> Arc<Self> {
        let (bare, ours) = targets.split_once(' ').unwrap();
        let none = || AtomicU64::new(0);
        Arc::new(Self {
            bare: bare.parse().unwrap(),
            ours: ours.parse().unwrap(),
            messages: none(),
            cut_off: none(),
            slowest_cut_us: none(),
            sockets: none(),
            refused: none(),
        })
    }

    /// Obeys until there are no more orders, and tells the sums.
    async fn run(self: Arc<Self>) {
        let (give, mut orders) = mpsc::unbounded_channel();
        std::thread::spawn(move || {
            std::io::stdin().lines().map_while(Result::ok).try_for_each(|order| give.send(order))
        });
        let mut flood = JoinSet::new();
        while let Some(order) = orders.recv().await {
            flood.shutdown().await;
            let (_, kind) = KINDS[order.parse::<usize>().unwrap()];
            flood.spawn(Arc::clone(&self).flood(kind));
        }
        flood.shutdown().await;
        let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        println!(
            "{} messages sent, cut off {} times, at the latest after {:.0} ms; {} sockets opened, {} refused",
            get(&self.messages),
            get(&self.cut_off),
            get(&self.slowest_cut_us) as f64 / 1e3,
            get(&self.sockets),
            get(&self.refused)
        );
    }

    async fn flood(self: Arc<Self>, kind: Flood) {
        let mut beat = interval(BEAT);
        match kind {
            Flood::Nothing => {}
            Flood::Messages(target) => self.send_messages(target, &mut beat).await,
            Flood::MessagesAgain(target) => loop {
                beat.tick().await;
                self.send_messages(target, &mut beat).await;
            },
            Flood::Sockets(target) => {
                let mut sockets = JoinSet::new();
                loop {
                    beat.tick().await;
                    sockets.spawn(Arc::clone(&self).open_socket(target));
                    while sockets.try_join_next().is_some() {}
                }
            }
        }
    }

    /// Sends ten thousand messages a second until the socket is closed.
    async fn send_messages(&self, target: Target, beat: &mut Interval) {
        let Ok(mut socket) = open(self.address(target), FLOOD_ADDRESS, "lobby").await else { return };
        let began = Instant::now();
        'flooding: loop {
            for _ in 0..MESSAGES_A_BEAT {
                let sent = socket.feed(Message::text(r#"{"event":"get_rooms","data":{}}"#)).await;
                if sent.is_err() || socket.flush().await.is_err() {
                    break 'flooding;
                }
                self.count(target, &self.messages);
            }
            // What the server says about it, without waiting for more.
            while let Ok(said) = timeout(Duration::ZERO, socket.next()).await {
                if matches!(said, None | Some(Err(_) | Ok(Message::Close(_)))) {
                    break 'flooding;
                }
            }
            beat.tick().await;
        }
        self.count(target, &self.cut_off);
        let took = u64::try_from(began.elapsed().as_micros()).unwrap();
        self.slowest_cut_us.fetch_max(took, Ordering::Relaxed);
    }

    /// Opens one socket of a thousand a second, and holds it for a while.
    async fn open_socket(self: Arc<Self>, target: Target) {
        match open(self.address(target), FLOOD_ADDRESS + 1, "lobby").await {
            Ok(_held) => {
                self.count(target, &self.sockets);
                tokio::time::sleep(SLICE).await;
            }
            Err(_) => self.count(target, &self.refused),
        }
    }

    fn address(&self, target: Target) -> SocketAddr {
        match target {
            Target::Bare => self.bare,
            Target::Ours => self.ours,
        }
    }

    fn count(&self, target: Target, counter: &AtomicU64) {
        if target == Target::Ours {
            counter.fetch_add(1, Ordering::Relaxed);
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
