//! The way of an action from one socket to the four of its table, through the whole server, beside a bare warp server
//! that answers each text with one frame of the same size to the same four sockets. Both run as processes of their own,
//! one after the other, on the same cores as the clients.
//!
//! `cargo bench --bench table`; `TABLE_ROOMS` (50) and `TABLE_SECONDS` (5) change the load.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a bench tells and stops at errors"
)]

use std::env;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use dashmap::DashMap;
use futures_util::{SinkExt, StreamExt};
use liap::load::{Load, Report, percentile, run};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::{WebSocketStream, client_async_with_config, tungstenite};
use warp::Filter;
use warp::ws::Message;

mod server;

use server::Server;

const BARE: &str = "LIAP_BENCH_BARE_FRAME_BYTES";

fn main() {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    if let Ok(bytes) = env::var(BARE) {
        return runtime.block_on(serve_bare(bytes.parse().unwrap()));
    }
    let number = |name: &str, default| env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default);
    let (rooms, seconds) = (number("TABLE_ROOMS", 50), number("TABLE_SECONDS", 5));
    let (rooms, span) = (usize::try_from(rooms).unwrap(), Duration::from_secs(seconds));
    let liap = Server::liap(&[
        ("GAME_PACE", "0"),
        ("USE_RATE_LIMITING", "false"),
        ("MAX_SOCKETS_PER_ADDRESS", "20000"),
        ("METRICS_ENABLED", "false"),
    ]);
    let ours = runtime.block_on(run(&Load { server: liap.address, rooms, people: 4, span })).unwrap();
    drop(liap);
    let bare = Server::bare(BARE, &ours.frame_bytes().to_string());
    let floor = runtime.block_on(run_bare(bare.address, rooms, span));
    drop(bare);
    let show = |name, report: &Report| {
        let ms = |times: &[Duration], part| percentile(times, part).as_secs_f64() * 1_000.0;
        println!(
            "{name:<10} {:>7.0} actions/s  actor p50 {:>5.2} p99 {:>6.2} ms  last of four p99 {:>6.2} ms  {} B a frame",
            report.rate(),
            ms(&report.to_self, 0.5),
            ms(&report.to_self, 0.99),
            ms(&report.to_last, 0.99),
            report.frame_bytes()
        );
    };
    show("liap", &ours);
    show("bare warp", &floor);
    let p99 = |report: &Report| percentile(&report.to_self, 0.99).as_secs_f64();
    println!(
        "ratio      {:.2} of the actions, {:.2} times the p99",
        ours.rate() / floor.rate(),
        p99(&ours) / p99(&floor)
    );
}

/// The same load on the bare server, where a table is four sockets of one address.
async fn run_bare(server: SocketAddr, rooms: usize, span: Duration) -> Report {
    let mut tables = Vec::new();
    for room in 0..rooms {
        let mut sockets = Vec::new();
        for _ in 0..4 {
            let stream = TcpStream::connect(server).await.unwrap();
            stream.set_nodelay(true).unwrap();
            let config = WebSocketConfig::default().read_buffer_size(4 * 1024);
            let url = format!("ws://{server}/ws/{room}");
            sockets.push(client_async_with_config(url, stream, Some(config)).await.unwrap().0);
        }
        tables.push(sockets);
    }
    let began = Instant::now();
    let mut running = JoinSet::new();
    for sockets in tables {
        running.spawn(play_bare(sockets, began + span));
    }
    let mut report = Report::default();
    while let Some(table) = running.join_next().await {
        report.add(table.unwrap());
    }
    report.end(began.elapsed());
    report
}

/// One player after the other sends, and each time all four receive.
async fn play_bare(mut sockets: Vec<WebSocketStream<TcpStream>>, until: Instant) -> Report {
    let mut report = Report::default();
    while Instant::now() < until {
        let sent = Instant::now();
        let actor = usize::try_from(report.actions % 4).unwrap();
        let text = r#"{"event":"play","data":{"piece_indices":[0],"player_name":"x"}}"#;
        sockets[actor].send(tungstenite::Message::text(text)).await.unwrap();
        // The actor first, because it waits for its answer.
        for seat in (actor..4).chain(0..actor) {
            report.bytes += sockets[seat].next().await.unwrap().unwrap().len() as u64;
            report.frames += 1;
            if seat == actor {
                report.to_self.push(sent.elapsed());
            }
        }
        report.actions += 1;
        report.to_last.push(sent.elapsed());
    }
    report
}

/// warp as it comes, but with `TCP_NODELAY`: each text is answered with one frame to all sockets of its room.
async fn serve_bare(frame_bytes: usize) {
    let frame = Message::text("x".repeat(frame_bytes));
    let rooms: Arc<DashMap<String, Vec<mpsc::Sender<Message>>>> = Arc::default();
    let route = warp::path!("ws" / String).and(warp::ws()).map(move |room: String, ws: warp::ws::Ws| {
        let (rooms, frame) = (Arc::clone(&rooms), frame.clone());
        ws.on_upgrade(async move |socket| {
            let (mut write, mut read) = socket.split();
            let (sender, mut frames) = mpsc::channel(64);
            rooms.entry(room.clone()).or_default().push(sender);
            tokio::spawn(async move {
                while let Some(frame) = frames.recv().await {
                    if write.send(frame).await.is_err() {
                        return;
                    }
                }
            });
            while let Some(Ok(message)) = read.next().await {
                if message.is_text() {
                    let sockets = rooms.get(&room).map(|sockets| sockets.clone()).unwrap_or_default();
                    for socket in sockets {
                        socket.try_send(frame.clone()).ok();
                    }
                }
            }
        })
    });
    let listener = tokio::net::TcpSocket::new_v4().unwrap();
    listener.set_nodelay(true).unwrap();
    listener.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let listener = listener.listen(1024).unwrap();
    eprintln!("listening on http://{}", listener.local_addr().unwrap());
    warp::serve(route).incoming(listener).run().await;
}
