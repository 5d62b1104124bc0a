//! The command line: one file for each command.

mod archive;
mod completions;
mod config;
mod doctor;
mod healthcheck;
mod load;
mod man;
mod progress;
mod serve;
mod simulate;
mod upgrade;
mod verify_deal;

use std::borrow::Cow;
use std::ffi::OsString;
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context as _;
use clap::builder::{PossibleValuesParser, TypedValueParser as _};
use clap::{Args, Parser, Subcommand, ValueHint};

use crate::config::{ConfigError, Form, Sources, reference};
use crate::room::JournalError;
use crate::server::{LaterData, ServerError, check_data_form};

/// A self-hosted server for Liap Tui, the four-player piece game.
#[derive(Debug, Parser)]
#[command(name = "liap", version, about)]
pub struct Cli {
    #[command(flatten)]
    settings: SettingFlags,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the server. Without any command, this is what happens.
    Serve {
        /// Keep the journal of live games aside, unread, and start without its games.
        #[arg(long)]
        ignore_journal: bool,
    },
    /// Show the settings in force and where each came from.
    Config {
        /// Print the documentation of all settings instead.
        #[arg(long, value_name = "FORM", value_parser = PossibleValuesParser::new(["toml", "env", "markdown"])
            .try_map(|form| form.parse::<Form>()))]
        reference: Option<Form>,
    },
    /// Check whether this machine and these settings are fit for a server; exit code 0 if nothing is wrong.
    Doctor(doctor::Arguments),
    /// Ask a running server whether it is well; exit code 0 if it is.
    Healthcheck {
        /// What to ask, instead of the server these settings describe.
        #[arg(long, value_name = "HOST:PORT")]
        address: Option<String>,
        /// Ask only whether it answers at all. For supervisors that restart what is unhealthy: a restart repairs no disk,
        /// and loses what is not on it yet.
        #[arg(long)]
        live: bool,
    },
    /// Say what the next start of this version would change in the data folder.
    Upgrade {
        /// Only say it. The start itself does it, and keeps what was there.
        #[arg(long, required = true)]
        check: bool,
    },
    /// List, show, move and check completed games.
    #[command(subcommand)]
    Archive(archive::Command),
    /// Fill a server with players who act as fast as it lets them, and measure it.
    Load(load::Arguments),
    /// Play whole games of bots, without a network.
    Simulate(simulate::Arguments),
    /// Compute the deals of completed games again; exit code 0 if all are as they must be, 1 if not.
    VerifyDeal {
        /// Games as JSON, one object or many; `-` reads the standard input.
        #[arg(value_name = "FILE", value_hint = ValueHint::FilePath)]
        file: PathBuf,
    },
    /// Print what a shell needs to complete these commands.
    Completions {
        /// The shell.
        shell: clap_complete::Shell,
    },
    /// Print the manual page of the program, or of one of its commands.
    Man {
        /// The command, such as `archive list`.
        command: Vec<String>,
    },
}

/// Settings on the command line; they win over everything else.
#[derive(Debug, Args)]
struct SettingFlags {
    /// File of settings; the environment and other flags come on top.
    #[arg(long, global = true, value_name = "FILE", value_hint = ValueHint::FilePath)]
    config: Option<PathBuf>,
    /// Address to listen on.
    #[arg(long, global = true, value_name = "ADDRESS")]
    host: Option<String>,
    /// Port to listen on.
    #[arg(long, global = true, value_name = "PORT")]
    port: Option<String>,
    /// Folder for everything that must survive a restart.
    #[arg(long, global = true, value_name = "FOLDER", value_hint = ValueHint::DirPath)]
    data_dir: Option<String>,
    /// Any setting by its name; may be repeated.
    #[arg(long = "set", global = true, value_name = "NAME=VALUE", value_parser = name_and_value)]
    set: Vec<(String, String)>,
}

impl SettingFlags {
    fn sources(&self) -> Sources {
        let process = Sources::of_process();
        let file = self
            .config
            .clone()
            .or_else(|| process.environment.get("LIAP_CONFIG").filter(|path| !path.is_empty()).map(PathBuf::from));
        let named = [("HOST", &self.host), ("PORT", &self.port), ("DATA_DIR", &self.data_dir)];
        let named = named.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value.clone()?)));
        Sources { file, flags: self.set.iter().cloned().chain(named).collect(), ..process }
    }
}

fn name_and_value(text: &str) -> Result<(String, String), String> {
    text.split_once('=')
        .map(|(name, value)| (name.trim().to_owned(), value.to_owned()))
        .ok_or_else(|| "write it as NAME=VALUE".to_owned())
}

/// Wrong use of the command line (the number is that of sysexits.h).
const USAGE: u8 = 64;
/// Wrong settings (the number is that of sysexits.h).
const CONFIGURATION: u8 = 78;

/// Parses the command line, runs the command, and turns its outcome into an exit code.
pub fn main(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let cli = match Cli::try_parse_from(arguments) {
        Ok(cli) => cli,
        Err(error) => {
            // Nothing can be done about a closed terminal.
            drop(error.print());
            return ExitCode::from(if error.use_stderr() { USAGE } else { 0 });
        }
    };
    match cli.run() {
        Ok(code) => code,
        // The reader of a pipe has closed it, as `head` does.
        Err(error) if error.downcast_ref::<io::Error>().is_some_and(|e| e.kind() == io::ErrorKind::BrokenPipe) => {
            ExitCode::SUCCESS
        }
        Err(error) => {
            print_stderr(&format!("liap: {}", with_causes(&error)));
            let is_configuration = error.is::<ConfigError>()
                || error.is::<LaterData>()
                || error.is::<JournalError>()
                || error.downcast_ref::<ServerError>().is_some_and(ServerError::is_configuration);
            if is_configuration { ExitCode::from(CONFIGURATION) } else { ExitCode::FAILURE }
        }
    }
}

impl Cli {
    fn run(self) -> anyhow::Result<ExitCode> {
        let sources = self.settings.sources();
        match self.command.unwrap_or(Command::Serve { ignore_journal: false }) {
            Command::Serve { ignore_journal } => serve::run(sources.load()?, ignore_journal),
            Command::Config { reference: Some(form) } => print_stdout(reference(form).as_bytes()),
            Command::Config { reference: None } => config::print_effective(&sources.load()?),
            Command::Doctor(arguments) => doctor::run(&arguments, &sources),
            Command::Healthcheck { address, live } => {
                healthcheck::run(&sources.load()?.config, address.as_deref(), live)
            }
            Command::Upgrade { check: _ } => upgrade::check(&sources.load()?.config),
            Command::Archive(command) => {
                let config = sources.load()?.config;
                check_data_form(&config.data_dir)?;
                archive::run(command, &config)
            }
            Command::Load(arguments) => load::load(&arguments),
            Command::Simulate(arguments) => simulate::run(&arguments),
            Command::VerifyDeal { file } => verify_deal::run(&file),
            Command::Completions { shell } => completions::run(shell),
            Command::Man { command } => man::run(&command),
        }
    }
}

/// An error with its causes, but for those that the text before them names already.
fn with_causes(error: &anyhow::Error) -> String {
    let mut text = String::new();
    for cause in error.chain().map(ToString::to_string) {
        if !text.contains(&cause) {
            text.push_str(if text.is_empty() { "" } else { ": " });
            text.push_str(&cause);
        }
    }
    text
}

/// Prints a line for the person at the terminal, outside the log.
fn print_stdout(text: &[u8]) -> anyhow::Result<ExitCode> {
    io::stdout().lock().write_all(text)?;
    Ok(ExitCode::SUCCESS)
}

fn print_stderr(text: &str) {
    // Nothing can be done about a closed terminal.
    drop(writeln!(io::stderr(), "{}", shown(text)));
}

/// A text for a terminal: what would move the cursor, change colours or reverse the line is escaped. Texts from files may hold
/// anything.
fn shown(text: &str) -> Cow<'_, str> {
    let is_harmful = |c: char| {
        (c.is_control() && c != '\n')
            || matches!(c, '\u{200E}' | '\u{200F}' | '\u{2028}'..='\u{202E}' | '\u{2066}'..='\u{2069}')
    };
    if !text.contains(is_harmful) {
        return Cow::Borrowed(text);
    }
    let escaped = |c: char| if is_harmful(c) { c.escape_unicode().to_string() } else { c.to_string() };
    text.chars().map(escaped).collect()
}

/// Writes a file, which has its own name only when it is whole and on disk; `-` is the standard output. A pipe or a
/// device is written as it is.
fn write_file<T>(file: &Path, write: impl FnOnce(&mut dyn Write) -> anyhow::Result<T>) -> anyhow::Result<T> {
    if file == Path::new("-") {
        let mut out = io::BufWriter::new(io::stdout().lock());
        let written = write(&mut out)?;
        out.flush()?;
        return Ok(written);
    }
    let about = || format!("cannot write {}", file.display());
    let is_plain = fs::metadata(file).map_or(true, |found| found.is_file());
    let draft = if is_plain { file.with_added_extension("part") } else { file.to_owned() };
    let mut out = io::BufWriter::new(fs::File::create(&draft).with_context(about)?);
    let written = write(&mut out)?;
    let out = out.into_inner().map_err(io::IntoInnerError::into_error)?;
    if is_plain {
        out.sync_all()?;
        fs::rename(&draft, file).with_context(about)?;
    }
    Ok(written)
}
