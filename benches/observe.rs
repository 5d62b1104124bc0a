//! What looking costs: counting, measuring, and a whole scrape. Aim: a scrape under 5 ms.

use divan::{Bencher, black_box};
use liap::observe::Metrics;

fn main() {
    divan::main();
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
