//! `liap load`: how much a server takes.

use std::io::{self, Write as _};
use std::net::SocketAddr;
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;

use crate::load::{Forgotten, Leaving, Load, Report, Target, leave, percentile, run};

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
    /// Measure nothing: open so many rooms, as many at once as there are tables, leave them in every phase, and see
    /// whether the server forgets all of them. Run it with `GAME_PACE=0.001 MEMORY_CHECK_INTERVAL=1
    /// USE_GAME_ARCHIVAL=false`, and all limits and `MAX_ACTIVE_GAMES` of a million. What an archive keeps is not forgotten,
    /// and its index takes memory.
    #[arg(long, value_name = "ROOMS")]
    leave: Option<usize>,
    /// Address of the server's metrics.
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:9090", requires = "leave")]
    metrics: SocketAddr,
}

/// The longest time a server may take to forget: unclaimed seats and abandoned games stay for half a minute, buckets for
/// a minute.
const FORGETS_WITHIN: Duration = Duration::from_secs(240);

/// Runs the load and prints what came of it.
pub(super) fn load(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let load = Load {
        server: arguments.server,
        rooms: arguments.rooms,
        people: arguments.people.into(),
        span: Duration::from_secs(arguments.seconds),
        target: Target::Liap,
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    if let Some(rooms) = arguments.leave {
        let (server, metrics, clients) = (arguments.server, arguments.metrics, arguments.rooms);
        let forgotten =
            runtime.block_on(leave(&Leaving { server, metrics, rooms, clients, timeout: FORGETS_WITHIN }))?;
        writeln!(io::stdout(), "{}", tell(&forgotten))?;
        return Ok(if forgotten.is_whole() { ExitCode::SUCCESS } else { ExitCode::FAILURE });
    }
    let report = runtime.block_on(run(&load))?;
    writeln!(io::stdout(), "{}", describe(&report))?;
    Ok(ExitCode::SUCCESS)
}

/// The report in a few lines.
fn describe(report: &Report) -> String {
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

/// What a server held before and holds after.
fn tell(forgotten: &Forgotten) -> String {
    let rooms: usize = forgotten.left.values().sum();
    let mut lines = vec![format!(
        "{rooms} rooms left in {:.0} s, forgotten {:.0} s later",
        forgotten.span.as_secs_f64(),
        forgotten.settled.as_secs_f64()
    )];
    lines.extend(forgotten.left.iter().map(|(place, count)| format!("  {place:<16} {count:>9}")));
    lines.push(format!("{:<18} {:>12} {:>12}", "", "before", "after"));
    let (before, after) = (&forgotten.before, &forgotten.after);
    for (name, before, after) in [
        ("rooms", before.rooms, after.rooms),
        ("sockets", before.sockets, after.sockets),
        ("limit keys", before.limit_keys, after.limit_keys),
        ("tasks", before.tasks, after.tasks),
        ("journal pending", before.journal_pending, after.journal_pending),
        ("journal bytes", before.journal_bytes, after.journal_bytes),
        ("archive pending", before.archive_pending, after.archive_pending),
        ("open files", before.open_files, after.open_files),
        ("resident bytes", before.resident_bytes, after.resident_bytes),
    ] {
        lines.push(format!("  {name:<16} {before:>12} {after:>12}"));
    }
    lines.push((if forgotten.is_whole() { "all is as it was" } else { "something has stayed" }).to_owned());
    lines.join("\n")
}
