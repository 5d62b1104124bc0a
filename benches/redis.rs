//! What a decision of Redis costs, beside the floor: the same script by a bare EVALSHA on a bare connection. Aim: at most
//! 1.2 times the floor. Fails beyond.
//!
//! Both are asked in turns, so that whatever else the machine does meets both. Starts a redis-server of its own, by the
//! name in `LIAP_TEST_REDIS_SERVER` or as it is found.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "a bench prints, and stops where it fails"
)]

use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, ExitCode, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use liap::limit::{Cost, Key, Kind, Limiter as _, Options, RedisLimiter};
use liap::observe::Metrics;
use redis::aio::MultiplexedConnection;

const ROUNDS: usize = 60;
const QUESTIONS: u64 = 1_000;
const AIM: f64 = 1.2;

struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended already.
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

fn start() -> (Server, String) {
    let program = std::env::var("LIAP_TEST_REDIS_SERVER").unwrap_or_else(|_| "redis-server".to_owned());
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let child = Command::new(program)
        .args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"])
        .stdout(Stdio::null())
        .spawn()
        .expect("redis-server");
    while TcpStream::connect(("127.0.0.1", port)).is_err() {
        std::thread::sleep(Duration::from_millis(10));
    }
    (Server(child), format!("redis://127.0.0.1:{port}"))
}

/// Asks `QUESTIONS` times, so many at once; the time for one.
async fn measure<F: Future>(at_once: u64, ask: impl Fn(Key) -> F) -> f64 {
    let begun = Instant::now();
    for first in (0..QUESTIONS).step_by(usize::try_from(at_once).unwrap()) {
        if at_once == 1 {
            ask(Key::from_number(first)).await;
        } else {
            join_all((first..first + at_once).map(|number| ask(Key::from_number(number)))).await;
        }
    }
    begun.elapsed().as_secs_f64() / QUESTIONS as f64
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

async fn compare(at_once: u64, limiter: &RedisLimiter, connection: &MultiplexedConnection) -> f64 {
    let bare = |key| {
        let mut connection = connection.clone();
        async move {
            limiter.call(Kind::Player, key, Cost::Ordinary).invoke_async::<redis::Value>(&mut connection).await.unwrap()
        }
    };
    let ours = |key| limiter.check(Kind::Player, key, Cost::Ordinary);
    let mut rounds = Vec::new();
    for round in 0..ROUNDS {
        // Neither always comes first.
        rounds.push(if round % 2 == 0 {
            let floor = measure(at_once, bare).await;
            (floor, measure(at_once, ours).await)
        } else {
            let decision = measure(at_once, ours).await;
            (measure(at_once, bare).await, decision)
        });
    }
    let floor = median(rounds.iter().map(|(floor, _)| *floor).collect());
    let decision = median(rounds.iter().map(|(_, decision)| *decision).collect());
    let ratio = median(rounds.iter().map(|(floor, decision)| decision / floor).collect());
    println!(
        "{at_once:>4} at once: bare EVALSHA {:>7.1} us, a decision {:>7.1} us, ratio {ratio:.3}",
        floor * 1e6,
        decision * 1e6
    );
    ratio
}

#[tokio::main]
async fn main() -> ExitCode {
    let (_server, url) = start();
    let metrics = Arc::new(Metrics::new("bench", "bench", false));
    let options = liap::redis::Options {
        url: url.parse().unwrap(),
        pool_max: 1,
        timeout: Duration::from_secs(1),
        ..liap::redis::Options::default()
    };
    let shared = liap::redis::open(&options, &metrics).unwrap().unwrap();
    shared.watch().wait_for(|is_up| *is_up).await.unwrap();
    let limits = Options { player_per_minute: 1_000_000, ..Options::default() };
    let limiter = RedisLimiter::new(&limits, shared, Arc::clone(&metrics));
    // The script has to be there.
    limiter.check(Kind::Player, Key::from_number(0), Cost::Ordinary).await;
    let client = redis::Client::open(url).unwrap();
    let connection = client.get_multiplexed_async_connection().await.unwrap();

    let mut worst: f64 = 0.0;
    for at_once in [1, 10, 100] {
        worst = worst.max(compare(at_once, &limiter, &connection).await);
    }
    let elsewhere = metrics.redis_decisions.with("slow").get() + metrics.redis_decisions.with("failed").get();
    assert_eq!(elsewhere, 0, "every decision was Redis's");
    if worst > AIM { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}
