//! The journal of live games beside its floors, in one run: `cargo bench --bench journal`.
//!
//! What a table pays to have a move written down, and how large the journal is for so many live games, each in the middle of
//! its game. More of them with `LIAP_BENCH_ROOMS=10000`. One line per figure: what, measured, floor or goal.
#![allow(missing_docs, clippy::print_stdout, clippy::unwrap_used, reason = "a bench prints, and stops where it fails")]

use std::fs::File;
use std::io::Write as _;
use std::sync::Arc;
use std::sync::mpsc::sync_channel;
use std::time::{Duration, Instant};

use liap::game::ServerSeed;
use liap::observe::Metrics;
use liap::protocol::{ClientMessage, OnClose, RoomId, SessionKey};
use liap::room::{
    Effect, EventBytes, Input, JoinRequest, Journal, JournalOptions, Note, Options, Room, Time, connection,
};
use rand::SeedableRng;
use rand_pcg::Pcg64Mcg;

/// Notes handed over in one go; the queue holds more.
const BURST: u32 = 4_000;
const BURSTS: usize = 50;

/// A room whose host plays with three bots, some way into its game.
fn room(number: u32) -> Room {
    let host = JoinRequest {
        session: Some(SessionKey::of("browser")),
        name: "Mira".parse().unwrap(),
        token: SessionKey::of("token"),
    };
    let options = Arc::new(Options { turn_timeout: Some(Duration::from_secs(1)), ..Options::default() });
    let mut now = Time::from_unix_ms(1_800_000_000_000);
    let rng = Pcg64Mcg::seed_from_u64(number.into());
    let mut secret = [0; 32];
    secret.iter_mut().zip(number.to_le_bytes().iter().cycle()).for_each(|(byte, part)| *byte = *part);
    let mut room = Room::open(RoomId::from_number(number), host, ServerSeed::new(secret), rng, options, now);
    let (host, _outbox) = connection(Some(SessionKey::of("browser")), 64);
    room.handle(Input::Connected(host.clone()), now);
    for message in [
        ClientMessage::ClientReady {
            player_name: Some("Mira".parse().unwrap()),
            seat_token: None,
            entropy: None,
            on_close: OnClose::Leave,
        },
        ClientMessage::StartGame,
    ] {
        room.handle(Input::Message(host.id, message), now);
    }
    // Whoever does nothing is played for. A game of ten rounds has about this many events twice.
    let mut events = 0;
    while events < 250 {
        let Some(at) = room.wake_at() else { break };
        now = now.max(at);
        let effects = room.wake(now);
        events += effects.iter().filter(|effect| matches!(effect, Effect::Journal(Note::Event(_)))).count();
    }
    room
}

fn say(what: &str, measured: &str, beside: &str) {
    println!("{what:<44} {measured:>22}   {beside}");
}

/// Nanoseconds each call took on average in each burst, sorted.
fn bursts(mut call: impl FnMut(u32), mut after: impl FnMut()) -> Vec<f64> {
    let mut times = Vec::new();
    for _ in 0..BURSTS {
        let began = Instant::now();
        for number in 0..BURST {
            call(number);
        }
        times.push(began.elapsed().as_nanos() as f64 / f64::from(BURST));
        after();
    }
    times.sort_unstable_by(f64::total_cmp);
    times
}

fn median(sorted: &[f64]) -> f64 {
    sorted.get(sorted.len() / 2).copied().unwrap_or_default()
}

fn main() {
    let rooms = std::env::var("LIAP_BENCH_ROOMS").map_or(1_000, |text| text.parse().unwrap());
    let folder = tempfile::tempdir().unwrap();
    let metrics = Arc::new(Metrics::new("bench", "bench", false));
    let (journal, _) = Journal::open(folder.path(), &JournalOptions::default(), metrics).unwrap();
    for number in 0..rooms {
        assert!(journal.resync(&room(number)));
        if number % 1_000 == 0 {
            journal.flush();
        }
    }
    journal.flush();
    let status = journal.status().unwrap();
    let each = status.file_bytes as f64 / f64::from(rooms);
    say(
        &format!("journal for {rooms} games half-way"),
        &format!("{each:.0} B each"),
        &format!("{} B are their worth, goal 2048", status.live_bytes / u64::from(rooms)),
    );

    let event = EventBytes::from_iter([0xC1, 0x55, 0x40]);
    // The floor: the same bytes into a queue that another thread empties.
    let (sender, receiver) = sync_channel::<(u32, EventBytes)>(16 * 1024);
    let emptying = std::thread::spawn(move || receiver.iter().count());
    let floor = bursts(
        |number| sender.try_send((number, event.clone())).unwrap(),
        || std::thread::sleep(Duration::from_millis(5)),
    );
    drop(sender);
    emptying.join().unwrap();
    let ours = bursts(
        |number| assert!(journal.note(RoomId::from_number(number % rooms), Note::Event(event.clone()))),
        || journal.flush(),
    );
    say(
        "handing a move over, median",
        &format!("{:.0} ns", median(&ours)),
        &format!("floor {:.0} ns, goal 1000", median(&floor)),
    );

    let mut file = File::create(folder.path().join("floor")).unwrap();
    let (mut ours, mut floor) = (Vec::new(), Vec::new());
    for _ in 0..BURSTS {
        let began = Instant::now();
        file.write_all(&[7; 100 * 8]).unwrap();
        file.sync_data().unwrap();
        floor.push(began.elapsed().as_secs_f64() * 1e3);
        for number in 0..100 {
            assert!(journal.note(RoomId::from_number(number % rooms), Note::Event(event.clone())));
        }
        let began = Instant::now();
        journal.flush();
        ours.push(began.elapsed().as_secs_f64() * 1e3);
    }
    ours.sort_unstable_by(f64::total_cmp);
    floor.sort_unstable_by(f64::total_cmp);
    say(
        "a group of 100 moves on disk, median",
        &format!("{:.2} ms", median(&ours)),
        &format!("floor {:.2} ms", median(&floor)),
    );
    journal.close();
}
