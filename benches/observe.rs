//! What looking costs: counting, measuring, a whole scrape, and the share it has of an action. Aims: a scrape under 5 ms
//! with ten thousand live games, and at most 5 % of an action.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a bench tells and stops at errors")]

use std::sync::Arc;
use std::time::{Duration, Instant};

use divan::{Bencher, black_box};
use liap::game::ServerSeed;
use liap::observe::{Events, LogError, LogFormat, LogOptions, Metrics, start};
use liap::protocol::{ClientMessage, OnClose, RoomId, RoomRules, SeatToken, decode};
use liap::room::{self, Clock, Effect, Input, JoinRequest, Journal, Options, Room, Rooms};
use rand::SeedableRng;
use rand_pcg::Pcg64Mcg;

fn main() -> Result<(), LogError> {
    let options = LogOptions { format: LogFormat::Json, file: Some("/dev/null".into()), ..LogOptions::default() };
    let log = start(&options, metrics().log_counters())?;
    divan::main();
    share_of_an_action();
    assert!(log.flush(Duration::from_secs(10)), "all lines are written");
    Ok(())
}

fn metrics() -> Metrics {
    Metrics::new("1.0", "bench", false)
}

#[divan::bench]
fn count_an_action(bencher: Bencher) {
    let metrics = metrics();
    bencher.bench(|| metrics.actions.with(black_box("play")).with("accepted").inc());
}

#[divan::bench]
fn measure_an_action(bencher: Bencher) {
    let metrics = metrics();
    bencher.bench(|| metrics.action_seconds.observe(black_box(0.000_2)));
}

#[divan::bench]
fn scrape(bencher: Bencher) {
    let metrics = metrics();
    bencher.bench(|| metrics.render());
}

#[divan::bench]
fn scrape_with_ten_thousand_games(bencher: Bencher) {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let metrics = Arc::new(metrics());
    let rooms = runtime.block_on(games(10_000, Arc::clone(&metrics)));
    bencher.bench(|| {
        let count = rooms.count();
        assert_eq!(count.playing, 10_000);
        metrics.rooms.with("playing").set(i64::try_from(count.playing).unwrap());
        metrics.render()
    });
    runtime.shutdown_background();
}

#[divan::bench]
fn say_a_line() {
    log::info!(target: "liap::bench", room = black_box("3FA9C1"), duration_ms = black_box(7); "game over");
}

#[divan::bench]
fn say_a_line_below_the_level() {
    log::debug!(target: "liap::bench", room = black_box("3FA9C1"), duration_ms = black_box(7); "game over");
}

/// So many games that have begun, at a pace at which they stay where they are.
async fn games(count: usize, metrics: Arc<Metrics>) -> Rooms {
    let options = Options { game_pace: 1_000.0, max_active_games: count, ..Options::default() };
    let keep: room::ArchiveGame = Box::new(|_| Box::pin(async {}));
    let rooms = Rooms::new(options, Journal::off(), keep, metrics, Events::new(0));
    for _ in 0..count {
        let seated = rooms.create(None, "Mira".parse().unwrap(), RoomRules::default()).unwrap();
        let handle = rooms.find(seated.room_id).unwrap();
        // Its end is not looked at: a queue that is full would only close it.
        let (connection, _outbox) = room::connection(None, 64);
        let id = connection.id;
        handle.deliver(Input::Connected(connection)).await.unwrap();
        let ready = ClientMessage::ClientReady {
            player_name: None,
            seat_token: Some(seated.token.reveal().into()),
            entropy: None,
            on_close: OnClose::Leave,
        };
        handle.deliver(Input::Message(id, ready)).await.unwrap();
        handle.deliver(Input::Message(id, ClientMessage::StartGame)).await.unwrap();
    }
    while rooms.count().playing < count {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    rooms
}

/// Receivers of an action's effects.
const RECEIVERS: usize = 4;

/// A small action, read and carried out up to the frames for all four around the table, beside what is counted, measured
/// and logged of it. Writing to sockets, which takes longer than all of that, is left out.
fn share_of_an_action() {
    let now = Clock::start().now();
    let token = SeatToken::new([7; 16]);
    let host = JoinRequest { session: None, name: "Mira".parse().unwrap(), token: token.key() };
    let (secret, rng) = (ServerSeed::new([7; 32]), Pcg64Mcg::seed_from_u64(7));
    let mut table = Room::open(RoomId::from_number(7), host, secret, rng, Arc::new(Options::default()), now);
    let members: Vec<_> = (0..RECEIVERS).map(|_| room::connection(None, 64)).collect();
    for (connection, _) in &members {
        table.handle(Input::Connected(connection.clone()), now);
        let seat_token = Some(token.reveal().into());
        let ready =
            ClientMessage::ClientReady { player_name: None, seat_token, entropy: None, on_close: OnClose::Leave };
        table.handle(Input::Message(connection.id, ready), now);
        table.handle(Input::Message(connection.id, ClientMessage::GetRoomState), now);
    }
    // The last of them took the seat over; the others listen again.
    let host = members.last().map(|(connection, _)| connection.id).unwrap();
    for (connection, _) in &members {
        table.handle(Input::Message(connection.id, ClientMessage::GetRoomState), now);
    }
    let texts = ["easy", "hard"].map(|level| {
        format!(
            r#"{{"event":"add_bot","data":{{"slot_id":2,"level":"{level}"}},"sequence":7,"timestamp":1795515302120}}"#
        )
    });
    let mut texts = texts.iter().cycle();
    let mut act = || {
        let message = decode(black_box(texts.next().unwrap())).unwrap();
        let effects = table.handle(Input::Message(host, message), now);
        let frames = effects.iter().filter(|effect| matches!(effect, Effect::Send(..))).count();
        assert_eq!(frames, RECEIVERS);
        black_box(effects);
    };
    let metrics = metrics();
    let mut observe = || {
        metrics.frames_received.inc();
        metrics.received_bytes.inc_by(black_box(96));
        metrics.actions.with(black_box("add_bot")).with("accepted").inc();
        let (sent, taken, handled) = (Instant::now(), Instant::now(), Instant::now());
        metrics.action_seconds.observe((black_box(handled) - sent.min(taken)).as_secs_f64());
        for _ in 0..RECEIVERS {
            metrics.frames_sent.inc_by(1);
            metrics.sent_bytes.inc_by(black_box(600));
        }
        log::debug!(target: "liap::bench", room = black_box("3FA9C1"); "an action");
    };
    // In turns, so that whatever else the machine does hits both.
    let (mut acting, mut observing) = (Duration::ZERO, Duration::ZERO);
    let (rounds, each) = (200, 500);
    for _ in 0..rounds {
        acting += time(each, &mut act);
        observing += time(each, &mut observe);
    }
    let one = |all: Duration| all.as_secs_f64() * 1e9 / f64::from(rounds * each);
    println!(
        "an action takes {:.0} ns; what is counted, measured and logged of it {:.0} ns: {:.1} % more",
        one(acting),
        one(observing),
        100.0 * observing.as_secs_f64() / acting.as_secs_f64()
    );
}

fn time(times: u32, work: &mut impl FnMut()) -> Duration {
    let begun = Instant::now();
    (0..times).for_each(|_| work());
    begun.elapsed()
}
