//! Games out of an archive and into one, as JSON lines.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read as _, Write};
use std::path::Path;
use std::process::ExitCode;

use anyhow::Context as _;
use indicatif::ProgressBar;
use serde::Deserialize;
use serde_bytes::ByteBuf;

use super::super::{print_stderr, progress, write_file};
use super::{Place, each_game, exit_code, kept_since, warn_of_retention};
use crate::archive::{GameId, GameRecord, IfMissing, PutOutcome, Query, Records, decode, encode, replay};
use crate::parallel;

/// Lines that one thread reads in one go.
const PART_LINES: usize = 64;
/// The longest line that is read; a game of normal length has 30 KiB.
const LINE_BYTES_MAX: u64 = 32 << 20;
/// Games that are stored together.
const GROUP_GAMES: usize = 500;

/// Writes the games asked for.
pub(super) fn export(records: &Records, query: &Query, file: &Path) -> anyhow::Result<ExitCode> {
    let pass = write_file(file, |out| {
        let line = |_, record: Vec<u8>| Ok(replay(&decode(&record)?)?.to_line() + "\n");
        each_game(records, query, line, |line| Ok(out.write_all(line.as_bytes())?))
    })?;
    print_stderr(&format!("{} games exported, {} could not be read", pass.games - pass.unreadable, pass.unreadable));
    Ok(exit_code(pass.unreadable == 0))
}

/// Stores games in groups, and counts what becomes of them. What is counted is on disk.
pub(super) struct Storing<'a> {
    records: &'a Records,
    bar: &'a ProgressBar,
    group: Vec<(GameId, ByteBuf)>,
    /// What each game of the group is called where it comes from.
    names: Vec<String>,
    pub(super) stored: u64,
    pub(super) known: u64,
    pub(super) refused: u64,
}

impl<'a> Storing<'a> {
    pub(super) fn new(records: &'a Records, bar: &'a ProgressBar) -> Self {
        Self { records, bar, group: Vec::new(), names: Vec::new(), stored: 0, known: 0, refused: 0 }
    }

    pub(super) fn push(&mut self, name: String, id: GameId, record: Vec<u8>) -> anyhow::Result<()> {
        self.group.push((id, ByteBuf::from(record)));
        self.names.push(name);
        if self.group.len() < GROUP_GAMES { Ok(()) } else { self.finish() }
    }

    pub(super) fn refuse(&mut self, name: &str, reason: &str) {
        self.refused += 1;
        self.bar.suspend(|| print_stderr(&format!("liap: {name} is refused: {reason}")));
    }

    /// Stores what waits for its group.
    pub(super) fn finish(&mut self) -> anyhow::Result<()> {
        let outcomes = self.records.put(std::mem::take(&mut self.group))?;
        for (name, outcome) in std::mem::take(&mut self.names).into_iter().zip(outcomes) {
            match outcome {
                PutOutcome::Stored => self.stored += 1,
                PutOutcome::Known => self.known += 1,
                PutOutcome::Refused(reason) => self.refuse(&name, &reason),
            }
        }
        Ok(())
    }
}

/// Takes in games.
pub(super) fn import(place: &Place<'_>, file: &Path) -> anyhow::Result<ExitCode> {
    let kept_since = kept_since(place.options);
    let is_counted_before = file != Path::new("-");
    if is_counted_before && kept_since > GameId::MIN {
        let about = || format!("cannot read {}", file.display());
        let old = File::open(file).and_then(|file| count_old(file, kept_since)).with_context(about)?;
        warn_of_retention(place.options, old, "");
    }
    let (input, bytes): (Box<dyn BufRead + Send>, u64) = if file == Path::new("-") {
        (Box::new(BufReader::new(io::stdin())), 0)
    } else {
        let file = File::open(file).with_context(|| format!("cannot read {}", file.display()))?;
        let bytes = file.metadata()?.len();
        (Box::new(BufReader::new(file)), bytes)
    };
    let records = place.open(IfMissing::Create)?;
    let bar = progress::bytes(bytes);
    let mut storing = Storing::new(&records, &bar);
    let mut old = 0;
    parallel::in_order(
        Lines { input, number: 0 },
        parallel::cores(),
        |lines| {
            let read = |(number, line): (u64, String)| (number, line.len() as u64, read_game(&line));
            io::Result::Ok(lines?.into_iter().map(read).collect::<Vec<_>>())
        },
        |games| {
            for (number, bytes, game) in games? {
                let name = format!("line {number}");
                match game {
                    Ok((id, record)) => {
                        old += usize::from(id < kept_since);
                        storing.push(name, id, record)?;
                    }
                    Err(error) => storing.refuse(&name, &error.to_string()),
                }
                bar.inc(bytes);
            }
            anyhow::Ok(())
        },
    )?;
    storing.finish()?;
    bar.finish_and_clear();
    let Storing { stored, known, refused, .. } = storing;
    writeln!(io::stdout().lock(), "{stored} games imported, {known} were there already, {refused} refused")?;
    if !is_counted_before {
        warn_of_retention(place.options, old, "");
    }
    Ok(exit_code(refused == 0))
}

/// A game and its stored form.
fn read_game(line: &str) -> anyhow::Result<(GameId, Vec<u8>)> {
    let record = GameRecord::from_json(line)?;
    Ok((record.game_id, encode(&record)?))
}

/// How many games of a file a server with these settings would remove again. What is no game is refused later.
fn count_old(file: File, kept_since: GameId) -> io::Result<usize> {
    /// All that is read of a game.
    #[derive(Deserialize)]
    struct Named {
        game_id: GameId,
    }
    let mut old = 0;
    for lines in (Lines { input: BufReader::new(file), number: 0 }) {
        let games = lines?.into_iter().filter_map(|(_, line)| serde_json::from_str::<Named>(&line).ok());
        old += games.filter(|game| game.game_id < kept_since).count();
    }
    Ok(old)
}

/// Lines with their numbers, some at a time. Empty lines are left out.
struct Lines<R> {
    input: R,
    number: u64,
}

impl<R: BufRead> Iterator for Lines<R> {
    type Item = io::Result<Vec<(u64, String)>>;

    fn next(&mut self) -> Option<Self::Item> {
        let mut lines = Vec::new();
        while lines.len() < PART_LINES {
            let mut line = Vec::new();
            match self.input.by_ref().take(LINE_BYTES_MAX).read_until(b'\n', &mut line) {
                Ok(0) => break,
                Ok(_) => {}
                Err(error) => return Some(Err(error)),
            }
            self.number += 1;
            let line = String::from_utf8_lossy(&line).trim().to_owned();
            if !line.is_empty() {
                lines.push((self.number, line));
            }
        }
        (!lines.is_empty()).then_some(Ok(lines))
    }
}
