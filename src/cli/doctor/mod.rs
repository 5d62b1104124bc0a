//! `liap doctor`: is everything there that a server needs? One line for each thing, and how to mend it.
//!
//! It opens and listens to nothing that a running server uses, writes only into a file that is gone before its first
//! byte, and leaves nothing behind.

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

/// Looks at everything; exit code 0 if nothing is wrong, 1 otherwise.
pub(super) fn run(arguments: &Arguments, sources: &Sources) -> anyhow::Result<ExitCode> {
    let clock = machine::Clocks::read();
    let (loaded, mistakes) = sources.gather();
    let config = &loaded.config;
    let mut report = Report::default();

    report.begin("settings");
    settings::look(&mut report, sources, &loaded, &mistakes);
    report.begin("network");
    let running = ports::look(&mut report, config);
    settings::look_at_exposure(&mut report, config);
    certificate::look(&mut report, config);
    report.begin("disk");
    disk::look(&mut report, config);
    report.begin("games");
    games::look(&mut report, config, running);
    report.begin("services");
    services::look(&mut report, config)?;
    report.begin("machine");
    machine::look(&mut report, config);
    clock.look(&mut report);

    match arguments.json {
        true => report.print_json()?,
        false => report.print()?,
    }
    let worst = if arguments.strict { Status::Ok } else { Status::Warning };
    Ok(if report.status() <= worst { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
