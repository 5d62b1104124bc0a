//! `liap serve`, or `liap` alone: the server.

use std::process::ExitCode;

use crate::config::Loaded;
use crate::observe;
use crate::server;

/// Runs the server until it is told to stop.
pub(super) fn run(mut loaded: Loaded, ignore_journal: bool) -> anyhow::Result<ExitCode> {
    observe::tune_allocator();
    for warning in &loaded.warnings {
        super::print_stderr(&format!("liap: {warning}"));
    }
    loaded.config.journal.ignored = ignore_journal;
    server::run(loaded.config)?;
    Ok(ExitCode::SUCCESS)
}
