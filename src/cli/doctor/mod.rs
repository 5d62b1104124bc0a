//! `liap doctor`: is everything there that a server needs? One line for each check, and what to do about it.
//!
//! It disturbs no running server: it listens nowhere, and asks for stored games instead of opening the archive. It leaves
//! nothing behind; only an archive that no server has open is opened, which mends what can be mended.

mod certificate;
mod disk;
mod games;
mod machine;
mod ports;
mod report;
mod services;
mod settings;

use std::process::ExitCode;

use clap::Args;

use crate::config::Sources;

use report::{Report, Status};

#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// Print JSON, for programs.
    #[arg(long)]
    json: bool,
    /// Let warnings fail as well.
    #[arg(long)]
    strict: bool,
}

/// Checks everything; exit code 0 if nothing is wrong, 1 otherwise.
pub(super) fn run(arguments: &Arguments, sources: &Sources) -> anyhow::Result<ExitCode> {
    let clocks = machine::Clocks::read();
    let (loaded, mistakes) = sources.gather();
    let config = &loaded.config;
    let mut report = Report::default();

    report.begin("settings");
    settings::check(&mut report, sources, &loaded, &mistakes);
    report.begin("network");
    let running = ports::check(&mut report, config);
    settings::check_exposure(&mut report, config);
    certificate::check(&mut report, config);
    report.begin("disk");
    disk::check(&mut report, config);
    report.begin("games");
    let games = games::check(&mut report, config, running);
    report.begin("services");
    services::check(&mut report, config, games)?;
    report.begin("machine");
    machine::check(&mut report, config);
    report.add("clock", clocks.check());

    match arguments.json {
        true => report.print_json()?,
        false => report.print()?,
    }
    let worst = if arguments.strict { Status::Ok } else { Status::Warning };
    Ok(if report.status() <= worst { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
