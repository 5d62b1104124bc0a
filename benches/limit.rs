//! What a decision of the limiter costs; it stands before every message. Aim: under 100 ns.

use std::sync::atomic::{AtomicU64, Ordering};

use divan::{Bencher, black_box};
use liap::limit::{Cost, Key, Kind, Limiter as _, MemoryLimiter, Options};

fn main() {
    divan::main();
}

fn limiter() -> MemoryLimiter {
    MemoryLimiter::new(&Options { websocket_per_second: 1_000_000, max_keys: 10_000_000, ..Options::default() })
}

#[divan::bench]
fn allowed(bencher: Bencher) {
    let limiter = limiter();
    let key = Key::from_number(1);
    bencher.bench(|| limiter.check(Kind::Socket, black_box(key), Cost::Ordinary));
}

#[divan::bench]
fn denied(bencher: Bencher) {
    let limiter = limiter();
    let key = Key::from_number(1);
    while limiter.decide(Kind::Player, key, Cost::Ordinary).is_allowed() {}
    bencher.bench(|| limiter.check(Kind::Player, black_box(key), Cost::Ordinary));
}

#[divan::bench]
fn among_a_million(bencher: Bencher) {
    let limiter = limiter();
    for number in 0..1_000_000 {
        limiter.decide(Kind::Socket, Key::from_number(number), Cost::Ordinary);
    }
    let next = AtomicU64::new(0);
    bencher.bench(|| {
        let number = next.fetch_add(7_919, Ordering::Relaxed) % 1_000_000;
        limiter.check(Kind::Socket, Key::from_number(number), Cost::Ordinary)
    });
}
