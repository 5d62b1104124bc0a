//! `liap config`: the settings in force.

use std::io::{self, Write as _};
use std::process::ExitCode;

use strum::IntoEnumIterator as _;

use crate::config::{Group, Loaded, SETTINGS};

/// Prints every setting as `NAME=value`, with its source behind it.
pub(super) fn print_effective(loaded: &Loaded) -> anyhow::Result<ExitCode> {
    let mut out = io::stdout().lock();
    for group in Group::iter() {
        writeln!(out, "# {}", group.name())?;
        for setting in SETTINGS.iter().filter(|setting| setting.group == group) {
            let line = format!("{}={}", setting.name, loaded.value(setting));
            writeln!(out, "{line:<48} # {}", loaded.layer(setting))?;
        }
        writeln!(out)?;
    }
    for warning in &loaded.warnings {
        super::print_stderr(&format!("liap: {warning}"));
    }
    Ok(ExitCode::SUCCESS)
}
