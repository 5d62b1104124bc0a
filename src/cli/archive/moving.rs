//! Games out of an archive and into one, as JSON lines.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read as _, Write};
use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context as _, anyhow, bail, ensure};
use indicatif::ProgressBar;
use serde::Deserialize;
use serde_bytes::ByteBuf;

use super::super::{print_stderr, progress, write_file};
use super::{Place, each_game, exit_code, kept_since, warn_of_retention};
use crate::archive::{GameId, GameRecord, IfMissing, PutOutcome, Query, Records, decode, encode, replay};
use crate::parallel;
use crate::protocol::{PlayerName, RoomId};

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
    let is_stdin = file == Path::new("-");
    let is_counted_before = !is_stdin && kept_since > GameId::MIN;
    let open = || File::open(file).with_context(|| format!("cannot read {}", file.display()));
    let bytes = if is_stdin { 0 } else { open()?.metadata()?.len() };
    let bar = progress::bytes(if is_counted_before { 2 * bytes } else { bytes });
    if is_counted_before {
        let old = count_old(open()?, kept_since, &bar)?;
        bar.suspend(|| warn_of_retention(place.options, old, ""));
    }
    let input: Box<dyn BufRead + Send> =
        if is_stdin { Box::new(BufReader::new(io::stdin())) } else { Box::new(BufReader::new(open()?)) };
    let records = place.open(IfMissing::Create)?;
    let mut storing = Storing::new(&records, &bar);
    let mut old = 0;
    parallel::in_order(
        Lines { input, number: 0 },
        parallel::cores(),
        |lines| {
            let read = |line: Line| (line.number, line.bytes, line.text.and_then(|text| read_game(&text)));
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
    check_names(&record)?;
    Ok((record.game_id, encode(&record)?))
}

/// Refuses names and rooms that no table could have: a table takes the names that the wire lets through, and each once.
fn check_names(record: &GameRecord) -> anyhow::Result<()> {
    let room = record.room_id.parse::<RoomId>().map_err(|error| anyhow!("room_id: {error}"))?;
    ensure!(room.to_string() == record.room_id, "room_id: it is written {room}");
    for (seat, player) in record.players.pairs() {
        let name: PlayerName = player.name.parse().map_err(|error| anyhow!("the name of seat {seat} {error}"))?;
        ensure!(name.as_str() == player.name, "the name of seat {seat} begins or ends with a blank");
        let mut others = record.players.pairs().filter(|(other, _)| *other < seat);
        if let Some((other, _)) = others.find(|(_, other)| other.name == player.name) {
            bail!("seat {seat} has the name of seat {other}");
        }
    }
    Ok(())
}

/// How many games of a file a server with these settings would remove again. What is no game is refused later.
fn count_old(file: File, kept_since: GameId, bar: &ProgressBar) -> io::Result<usize> {
    /// All that is read of a game.
    #[derive(Deserialize)]
    struct Named {
        game_id: GameId,
    }
    let mut old = 0;
    for lines in (Lines { input: BufReader::new(file), number: 0 }) {
        for line in lines? {
            bar.inc(line.bytes);
            let game = line.text.ok().and_then(|text| serde_json::from_str::<Named>(&text).ok());
            old += usize::from(game.is_some_and(|game| game.game_id < kept_since));
        }
    }
    Ok(old)
}

/// A line of a file.
struct Line {
    /// Counted from 1.
    number: u64,
    /// How long it is in the file, with its end.
    bytes: u64,
    /// Without blanks around it; or why it is not even a text.
    text: anyhow::Result<String>,
}

/// Lines, some at a time. Empty ones are counted and left out.
struct Lines<R> {
    input: R,
    number: u64,
}

impl<R: BufRead> Lines<R> {
    fn line(&mut self) -> io::Result<Option<Line>> {
        let mut line = Vec::new();
        let mut bytes = self.input.by_ref().take(LINE_BYTES_MAX).read_until(b'\n', &mut line)? as u64;
        if bytes == 0 {
            return Ok(None);
        }
        self.number += 1;
        let text = if bytes == LINE_BYTES_MAX && !line.ends_with(b"\n") {
            let rest = self.input.skip_until(b'\n')? as u64;
            bytes += rest;
            Err(anyhow!("it has {bytes} bytes, at most {LINE_BYTES_MAX} are read"))
        } else {
            std::str::from_utf8(&line).map(|text| text.trim().to_owned()).context("it is not UTF-8")
        };
        Ok(Some(Line { number: self.number, bytes, text }))
    }
}

impl<R: BufRead> Iterator for Lines<R> {
    type Item = io::Result<Vec<Line>>;

    fn next(&mut self) -> Option<Self::Item> {
        let mut lines = Vec::new();
        let mut bytes = 0;
        while lines.len() < PART_LINES && bytes < LINE_BYTES_MAX {
            match self.line() {
                Ok(Some(line)) if line.text.as_ref().is_ok_and(String::is_empty) => {}
                Ok(Some(line)) => {
                    bytes += line.bytes;
                    lines.push(line);
                }
                Ok(None) => break,
                Err(error) => return Some(Err(error)),
            }
        }
        (!lines.is_empty()).then_some(Ok(lines))
    }
}
