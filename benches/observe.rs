//! What looking costs: counting, measuring, and a whole scrape. Aim: a scrape under 5 ms.

use divan::{Bencher, black_box};
use liap::observe::{LogError, LogFormat, LogOptions, Metrics, start};

fn main() -> Result<(), LogError> {
    let options = LogOptions { format: LogFormat::Json, file: Some("/dev/null".into()), ..LogOptions::default() };
    let log = start(&options, metrics().log_counters())?;
    divan::main();
    assert!(log.flush(std::time::Duration::from_secs(10)), "all lines are written");
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
fn say_a_line() {
    log::info!(target: "liap::bench", room = black_box("3FA9C1"), duration_ms = black_box(7); "game over");
}

#[divan::bench]
fn say_a_line_below_the_level() {
    log::debug!(target: "liap::bench", room = black_box("3FA9C1"), duration_ms = black_box(7); "game over");
}
