//! The `liap` program: everything it does is in the library; here it only starts.

use std::process::ExitCode;

fn main() -> ExitCode {
    liap::cli::main(std::env::args_os())
}
