//! `liap load`: how much a server takes.

use std::io::{self, Write as _};
use std::net::SocketAddr;
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;

use crate::load::{Load, Report, Target, percentile, run};

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
}

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
