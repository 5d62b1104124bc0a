//! The stored form of a game beside what else one could store, in one run: `cargo bench --bench codec`.
//!
//! Games of four normal bots; without pauses, and with the pauses of a real table where bots take their time and two of
//! the four are people. One core. More games with `LIAP_BENCH_GAMES=20000`.
#![allow(
    missing_docs,
    clippy::print_stdout,
    clippy::unwrap_used,
    clippy::cast_precision_loss,
    reason = "a bench prints, and stops where it fails"
)]

use std::hint::black_box;
use std::io::Write as _;
use std::time::Instant;

use flate2::Compression;
use flate2::read::GzDecoder;
use flate2::write::GzEncoder;
use liap::archive::{
    GameJson, GameRecord, GameTime, Player, PlayerKind, decode, decode_summary, encode, encode_plain, replay,
};
use liap::game::{Action, BySeat, Level, Seat, Seating, Series};
use rand::{RngExt, SeedableRng};
use rand_pcg::Pcg64Mcg;

/// Gives a game the times of a real table: the server's pauses between turns and rounds, bots that need 0.5 to 1.5
/// seconds, people at two seats who need 1 to 16.
fn with_times(record: &GameRecord, seed: u64) -> GameRecord {
    let mut rng = Pcg64Mcg::seed_from_u64(seed);
    let mut record = record.clone();
    for (seat, name) in [(Seat::One, "Mira"), (Seat::Three, "Jon")] {
        record.players[seat] = Player { name: name.to_owned(), kind: PlayerKind::Human };
    }
    let mut time = 3_600;
    let (mut declarations, mut plays) = (0, 0);
    for one in &mut record.moves {
        match one.action {
            Action::AnswerRedeal(_) => {}
            Action::Declare(_) => {
                // Scores, dealing and the round's start were shown.
                time += if declarations == 0 { 15_600 } else { 0 };
                (declarations, plays) = ((declarations + 1) % 4, 0);
            }
            Action::Play(_) => {
                // The plays lay open, and who has won them was shown.
                time += if plays % 4 == 0 { 12_000 } else { 0 };
                plays += 1;
            }
        }
        time += match record.players[one.seat].kind {
            PlayerKind::Bot(_) => rng.random_range(500..1_500),
            // As often between 1 and 2 s as between 8 and 16.
            PlayerKind::Human => rng.random_range(1_000..2_000) << rng.random_range(0..4),
        };
        one.at = GameTime::from_ms(time);
    }
    record.duration_ms = time + 7_000;
    record
}

/// Seconds this thread was on a core, so that a busy machine changes little; where Linux does not say, the clock.
fn cpu_seconds(began: Instant) -> f64 {
    let on_core = std::fs::read_to_string("/proc/thread-self/schedstat").ok();
    let nanoseconds = on_core.and_then(|text| text.split(' ').next()?.parse::<f64>().ok());
    nanoseconds.map_or_else(|| began.elapsed().as_secs_f64(), |nanoseconds| nanoseconds / 1e9)
}

/// Runs `work` over all of `items` until it has taken half a second, and gives items a second.
fn per_second<T>(items: &[T], mut work: impl FnMut(&T)) -> f64 {
    let began = Instant::now();
    let start = cpu_seconds(began);
    let mut count = 0.0;
    for item in items.iter().cycle() {
        work(item);
        count += 1.0;
        if count % 64.0 == 0.0 && cpu_seconds(began) - start > 0.5 {
            break;
        }
    }
    count / (cpu_seconds(began) - start)
}

fn row(what: &str, bytes: &[Vec<u8>], encodes: f64, decodes: f64, goal: &str) {
    let mean = bytes.iter().map(Vec::len).sum::<usize>() as f64 / bytes.len() as f64;
    println!("{what:<34}{mean:>9.0} B{encodes:>12.0}{decodes:>12.0}   {goal}");
}

fn gzip(text: &str) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::new(6));
    encoder.write_all(text.as_bytes()).unwrap();
    encoder.finish().unwrap()
}

fn table(records: &[GameRecord], goal: &str) {
    println!("{:<34}{:>11}{:>12}{:>12}", "", "a game", "encodes/s", "decodes/s");
    let games: Vec<GameJson> = records.iter().map(|record| replay(record).unwrap()).collect();
    let lines: Vec<String> = games.iter().map(GameJson::to_line).collect();
    let gzipped: Vec<Vec<u8>> = lines.iter().map(|line| gzip(line)).collect();
    let sample = games.get(..100).unwrap_or(&games);
    let (some_lines, some_gzipped) = (lines.get(..100).unwrap_or(&lines), gzipped.get(..100).unwrap_or(&gzipped));

    row(
        "public JSON (serde_json)",
        &lines.iter().map(|line| line.as_bytes().to_vec()).collect::<Vec<_>>(),
        per_second(sample, |game| drop(black_box(game.to_line()))),
        per_second(some_lines, |line| drop(black_box(serde_json::from_str::<GameJson>(line).unwrap()))),
        "floor",
    );
    row(
        "public JSON + gzip 6",
        &gzipped,
        per_second(sample, |game| drop(black_box(gzip(&game.to_line())))),
        per_second(some_gzipped, |bytes| {
            drop(black_box(serde_json::from_reader::<_, GameJson>(GzDecoder::new(&**bytes)).unwrap()));
        }),
        "floor",
    );
    let plain: Vec<Vec<u8>> = records.iter().map(|record| encode_plain(record).unwrap()).collect();
    row(
        "record, not compressed",
        &plain,
        per_second(records, |record| drop(black_box(encode_plain(record).unwrap()))),
        f64::NAN,
        "",
    );
    let stored: Vec<Vec<u8>> = records.iter().map(|record| encode(record).unwrap()).collect();
    row(
        "record as stored",
        &stored,
        per_second(records, |record| drop(black_box(encode(record).unwrap()))),
        per_second(&stored, |bytes| drop(black_box(decode(bytes).unwrap()))),
        goal,
    );
    let summaries = per_second(&stored, |bytes| drop(black_box(decode_summary(bytes).unwrap())));
    let replays = per_second(records, |record| drop(black_box(replay(record).unwrap())));
    println!("{:<34}{summaries:>35.0}", "its summary only");
    println!("{:<34}{replays:>35.0}\n", "its public form, played again");
}

fn main() {
    let games = std::env::var("LIAP_BENCH_GAMES").ok().and_then(|count| count.parse().ok()).unwrap_or(2_000);
    // Other games than those the dictionary was trained from.
    let series =
        Series { seed: 0xBE7C4, players: BySeat::new([Level::Normal; 4]), seating: Seating::Fixed, max_rounds: 200 };
    let records: Vec<_> = (0..games).map(|number| GameRecord::simulate(&series, number).0).collect();
    let moves = records.iter().map(|record| record.moves.len()).sum::<usize>() as f64 / games as f64;
    println!("{games} games of four normal bots, {moves:.0} moves each, without pauses");
    table(&records, "goal: 350 B (aim 250), 40,000/s, 40,000/s");
    let timed: Vec<_> = records.iter().zip(0..).map(|(record, seed)| with_times(record, seed)).collect();
    println!("the same with times as at a real table, two of the players people");
    table(&timed, "goal: 600 B, 40,000/s, 40,000/s");
}
