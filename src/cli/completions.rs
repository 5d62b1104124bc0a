//! `liap completions`: what a shell needs to complete our commands and flags.

use std::process::ExitCode;

use clap::CommandFactory as _;
use clap_complete::Shell;

use super::Cli;

/// Prints the completions for a shell.
pub(super) fn run(shell: Shell) -> anyhow::Result<ExitCode> {
    // Into memory first: clap panics where the output is closed.
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "liap", &mut script);
    super::print_stdout(&script)
}
