//! Trains the dictionary that stored games are compressed with:
//! `cargo run --release --example train_dictionary -- src/archive/dictionaries/2.zdict`.
//!
//! The games follow from a fixed seed, so the same program trains the same dictionary. A dictionary that was ever
//! released stays as it is: a better one gets the next number, and its place behind the others in
//! `src/archive/codec.rs`.
#![allow(
    clippy::print_stdout,
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a tool of developers stops where it fails"
)]

use liap::archive::{GameRecord, GameTime, Player, PlayerKind, encode_plain};
use liap::game::{BySeat, Level, Seat, Seating, Series};
use rand::seq::IndexedRandom;
use rand::{RngExt, SeedableRng};
use rand_pcg::Pcg64Mcg;

/// Stored games are short and mostly without pattern; more of a dictionary is never used.
const DICTIONARY_BYTES: usize = 2 * 1024;
const GAMES: u64 = 8_000;
const LEVELS: [[Level; 4]; 4] =
    [[Level::Normal; 4], [Level::Easy; 4], [Level::Hard; 4], [Level::Normal, Level::Hard, Level::Easy, Level::Normal]];
const NAMES: [&str; 12] =
    ["Mira", "Jon", "Anna", "Player", "Player1", "Guest", "Somchai", "Lek", "Nok", "Ploy", "Wei", "Li"];

fn main() {
    let path = std::env::args().nth(1).expect("the file to write");
    let mut rng = Pcg64Mcg::seed_from_u64(1);
    let samples: Vec<Vec<u8>> = (0..GAMES)
        .map(|number| {
            let players = BySeat::new([Level::Normal; 4]);
            let series = Series { seed: 1, players, seating: Seating::Fixed, max_rounds: 200 };
            let (mut record, _) = GameRecord::simulate(&series, number);
            // A hard bot needs long for a game, and a random one never ends it; all a record shows of them is this.
            let levels = LEVELS.choose(&mut rng).unwrap();
            for (seat, level) in Seat::ALL.into_iter().zip(levels) {
                record.players[seat].kind = PlayerKind::Bot(*level);
            }
            if number.is_multiple_of(2) {
                at_a_table(&mut record, &mut rng);
            }
            encode_plain(&record).unwrap()
        })
        .collect();
    let dictionary = zstd::dict::from_samples(&samples, DICTIONARY_BYTES).unwrap();
    std::fs::write(&path, &dictionary).unwrap();
    println!("{} bytes in {path}, from {GAMES} games", dictionary.len());
}

/// Up to four people instead of bots, and times.
fn at_a_table(record: &mut GameRecord, rng: &mut Pcg64Mcg) {
    for seat in Seat::ALL.into_iter().take(rng.random_range(1..=4)) {
        let name = (*NAMES.choose(rng).unwrap()).to_owned();
        record.players[seat] = Player { name, kind: PlayerKind::Human };
    }
    let mut time = 0;
    for one in &mut record.moves {
        time += rng.random_range(50..800);
        one.at = GameTime::from_hundredths(time);
    }
    record.duration_ms = u64::from(time) * 10 + 7_000;
    record.started_at_ms += rng.random_range(0..3_000_000);
}
