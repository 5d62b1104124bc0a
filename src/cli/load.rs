//! `liap load`: how much a server takes.

use std::io::{self, Write as _};
use std::net::SocketAddr;
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;

use crate::load::{Forgotten, LEVELS, Leaving, Load, Report, leave, percentile, run};

/// What to measure.
#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// Address of the server. Run it with `GAME_PACE=0 USE_RATE_LIMITING=false MAX_SOCKETS_PER_ADDRESS=20000`.
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:8000")]
    server: SocketAddr,
    /// How many tables.
    #[arg(long, default_value_t = 50)]
    rooms: usize,
    /// People at each table; bots have the other seats.
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u8).range(1..=4))]
    people: u8,
    /// How many seconds to measure.
    #[arg(long, default_value_t = 10)]
    seconds: u64,
    /// Measure memory instead of speed: open so many rooms, as many at once as there are tables, leave them in every
    /// phase, and check that the server forgets all of them. Run it with `GAME_PACE=0.001 MEMORY_CHECK_INTERVAL=1
    /// ABANDONED_AFTER_MINUTES=0 USE_GAME_ARCHIVAL=false`, and all limits and `MAX_ACTIVE_GAMES` of a million: games that wait
    /// for lost players and games in an archive are not forgotten.
    #[arg(long, value_name = "ROOMS")]
    leave: Option<usize>,
    /// Address of the server's metrics.
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:9090", requires = "leave")]
    metrics: SocketAddr,
}

/// The longest time a server may take to forget: unclaimed seats and abandoned games stay for half a minute, buckets for
/// a minute.
const FORGET_TIMEOUT: Duration = Duration::from_secs(240);

/// Runs the load and prints the results.
pub(super) fn load(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let load = Load {
        server: arguments.server,
        rooms: arguments.rooms,
        people: arguments.people.into(),
        span: Duration::from_secs(arguments.seconds),
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    if let Some(rooms) = arguments.leave {
        let (server, metrics, clients) = (arguments.server, arguments.metrics, arguments.rooms);
        let forgotten =
            runtime.block_on(leave(&Leaving { server, metrics, rooms, clients, timeout: FORGET_TIMEOUT }))?;
        writeln!(io::stdout(), "{}", memory_report(&forgotten))?;
        return Ok(if forgotten.is_whole() { ExitCode::SUCCESS } else { ExitCode::FAILURE });
    }
    let report = runtime.block_on(run(&load))?;
    writeln!(io::stdout(), "{}", speed_report(&report))?;
    Ok(ExitCode::SUCCESS)
}

/// The report in a few lines.
fn speed_report(report: &Report) -> String {
    let ms = |times: &[Duration], part| percentile(times, part).as_secs_f64() * 1_000.0;
    format!(
        "{} actions in {:.1} s: {:.0} a second; {} games ended\n\
         answer at the actor: p50 {:.2} ms, p99 {:.2} ms; at the last of the table: p50 {:.2} ms, p99 {:.2} ms\n\
         {} frames of {} bytes on average",
        report.actions,
        report.span.as_secs_f64(),
        report.rate(),
        report.games,
        ms(&report.to_self, 0.5),
        ms(&report.to_self, 0.99),
        ms(&report.to_last, 0.5),
        ms(&report.to_last, 0.99),
        report.frames,
        report.frame_bytes(),
    )
}

/// What a server held before the rooms were left, and what it holds afterwards.
fn memory_report(forgotten: &Forgotten) -> String {
    let rooms: usize = forgotten.left.values().sum();
    let mut lines = vec![format!(
        "{rooms} rooms left in {:.0} s, forgotten {:.0} s later",
        forgotten.span.as_secs_f64(),
        forgotten.settled.as_secs_f64()
    )];
    lines.extend(forgotten.left.iter().map(|(place, count)| format!("  {place:<16} {count:>9}")));
    lines.push(format!("{:<18} {:>12} {:>12}", "", "before", "after"));
    for (((name, _), before), after) in LEVELS.iter().zip(forgotten.before.0).zip(forgotten.after.0) {
        lines.push(format!("  {name:<16} {before:>12} {after:>12}"));
    }
    lines.push((if forgotten.is_whole() { "all is as it was" } else { "something has stayed" }).to_owned());
    lines.join("\n")
}
