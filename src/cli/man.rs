//! `liap man`: the manual, made from the definition of the command line and the table of settings.

use std::process::ExitCode;

use clap::CommandFactory as _;
use clap_mangen::Man;
use clap_mangen::roff::{Inline, Roff, bold, italic, roman};
use strum::IntoEnumIterator as _;

use super::Cli;
use crate::config::{Group, SETTINGS};

/// When the text of the manual last changed; a manual is dated, and not by the day it was printed.
const DATE: &str = "2026-11-30";

const FILES: &[(&str, &str)] = &[
    ("--config FILE, LIAP_CONFIG", "Settings in TOML. There is none unless one is named."),
    ("DATA_DIR/archive", "Completed games."),
    ("DATA_DIR/archive/control", "The socket over which `liap archive` asks a running server."),
    ("DATA_DIR/journal", "Live games, so that they survive a restart."),
    ("DATA_DIR/archive.damaged-*, DATA_DIR/journal/damaged-*", "What was found damaged, as it was."),
];

const SIGNALS: &[(&str, &str)] = &[
    (
        "SIGTERM, SIGINT",
        "Stop: tables are told, games are written to disk, and clients come back when the server does.",
    ),
    ("the same again", "Leave at once. Live games are in the journal all the same."),
    ("SIGHUP", "Open LOG_FILE anew, after it was rotated, and read TLS_CERT and TLS_KEY anew."),
];

const EXIT_CODES: &[(&str, &str)] = &[
    ("0", "All went well."),
    ("1", "It did not, or something that was checked is wrong."),
    ("64", "The command line cannot be understood."),
    ("78", "A setting is wrong; every mistake is named. Or the data are those of a later version."),
];

/// Prints the page of the program, or of the command that these words name.
pub(super) fn run(words: &[String]) -> anyhow::Result<ExitCode> {
    let mut root = Cli::command().disable_help_subcommand(true);
    // Commands learn their full names and the flags they share.
    root.build();
    let mut command = &root;
    for word in words {
        let Some(found) = command.find_subcommand(word) else {
            super::print_stderr(&format!("liap: there is no command {}; `liap help` lists them", words.join(" ")));
            return Ok(ExitCode::from(super::USAGE));
        };
        command = found;
    }
    let title = command.get_display_name().unwrap_or("liap").to_uppercase();
    let man = Man::new(command.clone())
        .title(title)
        .date(DATE)
        .source(concat!("liap ", env!("CARGO_PKG_VERSION")))
        .manual("Liap Manual");

    let mut page = Vec::new();
    man.render_title(&mut page)?;
    man.render_name_section(&mut page)?;
    man.render_synopsis_section(&mut page)?;
    man.render_description_section(&mut page)?;
    man.render_options_section(&mut page)?;
    if command.has_subcommands() {
        man.render_subcommands_section(&mut page)?;
    }
    if words.is_empty() {
        settings().to_writer(&mut page)?;
        let mut rest = Roff::default();
        table(&mut rest, "FILES", FILES);
        table(&mut rest, "SIGNALS", SIGNALS);
        table(&mut rest, "EXIT STATUS", EXIT_CODES);
        rest.to_writer(&mut page)?;
    }
    super::print_stdout(&page)
}

/// Every setting with its built-in value.
fn settings() -> Roff {
    let mut roff = Roff::default();
    roff.control("SH", ["ENVIRONMENT"]);
    roff.text([roman(
        "Settings come from the built-in values below, then a file, the environment, and flags (--set NAME=VALUE); the \
         later wins. A secret may also come from the file that NAME_FILE names. `liap config` shows what is in force.",
    )]);
    for group in Group::iter() {
        roff.control("SS", [group.name()]);
        for setting in SETTINGS.iter().filter(|setting| setting.group == group) {
            let default = setting.default();
            let value = if default.is_empty() { roman(" (empty)") } else { italic(default) };
            entry(&mut roff, [bold(setting.name), roman("="), value]);
            roff.text([roman(format!("{} Allowed: {}.", setting.help, setting.allowed()))]);
        }
    }
    roff
}

fn table(roff: &mut Roff, heading: &str, rows: &[(&str, &str)]) {
    roff.control("SH", [heading]);
    for (what, meaning) in rows {
        entry(roff, [bold(*what)]);
        roff.text([roman(*meaning)]);
    }
}

fn entry<const N: usize>(roff: &mut Roff, words: [Inline; N]) {
    roff.control("TP", []);
    roff.text(words);
}
