//! What it costs to see what a play is, which of two is the stronger, and to deal. Each figure is for one operation.

use divan::{Bencher, black_box};
use liap::game::{DealSeed, PieceSet, Play, subsets};

fn main() {
    divan::main();
}

/// Everything that the hands of 25 deals could try to open a turn with: 255 sets of pieces each.
fn sets() -> Vec<PieceSet> {
    let seed = DealSeed::unproven([1; 32]);
    let hands = (0..25).flat_map(|deal| seed.deal(deal).map(|hand| hand.into_iter().collect()).into_array());
    hands.flat_map(subsets).collect()
}

/// Any set of pieces: few are plays.
#[divan::bench]
fn any_set_of_pieces(bencher: Bencher) {
    let sets = sets();
    let mut next = sets.iter().cycle();
    bencher.bench_local(|| next.next().map(|&pieces| Play::classify(black_box(pieces))));
}

/// What is really played: only valid plays, mostly of one and two pieces.
#[divan::bench]
fn valid_play(bencher: Bencher) {
    let plays: Vec<PieceSet> = sets().into_iter().filter(|&pieces| Play::classify(pieces).is_some()).collect();
    let mut next = plays.iter().cycle();
    bencher.bench_local(|| next.next().map(|&pieces| Play::classify(black_box(pieces))));
}

#[divan::bench]
fn compare(bencher: Bencher) {
    let plays: Vec<Play> = sets().into_iter().filter_map(Play::classify).collect();
    let mut next = plays.iter().zip(plays.iter().skip(1)).cycle();
    bencher.bench_local(|| next.next().map(|(&best, &play)| black_box(play).beats(black_box(best))));
}

/// 32 pieces shuffled by HMAC-SHA-256.
#[divan::bench]
fn deal(bencher: Bencher) {
    let seed = DealSeed::unproven([1; 32]);
    let mut number = 0;
    bencher.bench_local(|| {
        number += 1;
        seed.deal(black_box(number))
    });
}
