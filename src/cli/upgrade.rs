//! `liap upgrade --check`: what the next start of this version would change in `DATA_DIR`.

use std::io::{self, Write as _};
use std::process::ExitCode;

use anyhow::Context as _;

use crate::archive::has_old_layout;
use crate::config::Config;
use crate::room::Recovered;
use crate::server::{DATA_FORM, check_data_form};

/// Says what would be done, and does nothing.
pub(super) fn check(config: &Config) -> anyhow::Result<ExitCode> {
    let (data, archive) = (&config.data_dir, config.archive.folder(&config.data_dir));
    check_data_form(data)?;
    let found = Recovered::inspect(&data.join("journal"))?;
    let mut out = io::stdout().lock();
    writeln!(out, "{}: form {DATA_FORM}, as this version has it", data.display())?;
    let shown = archive.display();
    if has_old_layout(&archive).with_context(|| format!("{shown} cannot be read"))? {
        writeln!(
            out,
            "{shown}: the next start takes the games over and keeps the old files as {shown}.old-layout-TIME"
        )?;
    } else {
        writeln!(out, "{shown}: nothing to do")?;
    }
    writeln!(out, "live games: {}, nothing to do", found.rooms.len())?;
    Ok(ExitCode::SUCCESS)
}
