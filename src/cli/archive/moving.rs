//! Games out of an archive and into one, as JSON lines.

use std::fs::File;
use std::io::{self, BufRead, BufReader, BufWriter, Read as _, Write};
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::Context as _;
use serde::Deserialize;

use super::super::{complain, parallel, progress};
use crate::archive::{
    Archive, GameId, GameRecord, Options, Query, Snapshot, StoreOutcome, Stored, decode, decode_summary, replay,
};

/// Games that one thread handles in one go.
const PART_GAMES: usize = 64;
/// The longest line that is read; a game of normal length has 30 KiB.
const LINE_BYTES_MAX: u64 = 32 << 20;

/// Writes the games asked for.
pub(super) fn export(snapshot: &Snapshot, query: &Query, file: &Path) -> anyhow::Result<ExitCode> {
    if file == Path::new("-") {
        return export_to(snapshot, query, &mut BufWriter::new(io::stdout().lock()));
    }
    // Under its own name a file is always whole.
    let draft = file.with_added_extension("part");
    let mut out = BufWriter::new(File::create(&draft).with_context(|| format!("cannot write {}", draft.display()))?);
    let code = export_to(snapshot, query, &mut out)?;
    out.into_inner().map_err(io::IntoInnerError::into_error)?.sync_all()?;
    std::fs::rename(&draft, file).with_context(|| format!("cannot write {}", file.display()))?;
    Ok(code)
}

fn export_to(snapshot: &Snapshot, query: &Query, out: &mut impl Write) -> anyhow::Result<ExitCode> {
    let bar = progress::bar(snapshot.len() as u64, "games");
    let ids: Vec<GameId> = snapshot.ids().collect();
    let (mut exported, mut unreadable) = (0_u64, 0_u64);
    parallel::in_order(
        ids.chunks(PART_GAMES),
        parallel::cores(),
        |ids| ids.iter().map(|&id| line(snapshot, query, id).transpose()).collect::<Vec<_>>(),
        |lines| {
            bar.inc(lines.len() as u64);
            for line in lines.into_iter().flatten() {
                match line {
                    Ok(line) => {
                        out.write_all(line.as_bytes())?;
                        out.write_all(b"\n")?;
                        exported += 1;
                    }
                    Err(error) => {
                        unreadable += 1;
                        bar.suspend(|| complain(&format!("liap: {error:#}")));
                    }
                }
            }
            Ok(())
        },
    )?;
    out.flush()?;
    bar.finish_and_clear();
    complain(&format!("{exported} games exported, {unreadable} could not be read"));
    Ok(if unreadable == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// A game as a line of JSON, if it is asked for.
fn line(snapshot: &Snapshot, query: &Query, id: GameId) -> anyhow::Result<Option<String>> {
    let bytes = snapshot.get(id)?.with_context(|| format!("there is no game {id}"))?;
    let about = || format!("game {id}");
    if !query.matches(&decode_summary(&bytes).with_context(about)?) {
        return Ok(None);
    }
    let record = decode(&bytes).with_context(about)?;
    Ok(Some(replay(&record).with_context(about)?.to_line()))
}

/// What became of the games of an import.
#[derive(Debug, Default)]
struct Counts {
    stored: AtomicU64,
    known: AtomicU64,
    refused: AtomicU64,
}

/// Takes in games.
pub(super) fn import(archive: &Archive, options: &Options, file: &Path) -> anyhow::Result<ExitCode> {
    let kept_since = super::kept_since(options);
    let is_told_before = file != Path::new("-");
    if is_told_before && kept_since > GameId::MIN {
        let about = || format!("cannot read {}", file.display());
        let old = File::open(file).and_then(|file| count_old(file, kept_since)).with_context(about)?;
        super::warn_of_retention(options, old, "");
    }
    let (input, bytes): (Box<dyn BufRead + Send>, u64) = if file == Path::new("-") {
        (Box::new(BufReader::new(io::stdin())), 0)
    } else {
        let file = File::open(file).with_context(|| format!("cannot read {}", file.display()))?;
        let bytes = file.metadata()?.len();
        (Box::new(BufReader::new(file)), bytes)
    };
    let bar = progress::bytes(bytes);
    let counts = Arc::new(Counts::default());
    let mut old = 0;
    parallel::in_order(
        Lines { input, number: 0 },
        parallel::cores(),
        |lines| {
            let lines = lines?;
            let bytes = lines.iter().map(|(_, line)| line.len() as u64).sum::<u64>();
            let read = |(number, line): (u64, String)| (number, GameRecord::from_json(&line));
            io::Result::Ok((bytes, lines.into_iter().map(read).collect::<Vec<_>>()))
        },
        |part| {
            let (bytes, games) = part?;
            for (number, game) in games {
                match game {
                    Ok(record) => {
                        let id = record.game_id;
                        old += usize::from(id < kept_since);
                        let counts = Arc::clone(&counts);
                        archive.put(record, move |told| counts.count(number, id, told))?;
                    }
                    Err(error) => {
                        counts.refused.fetch_add(1, Ordering::Relaxed);
                        bar.suspend(|| complain(&format!("liap: line {number} is refused: {error}")));
                    }
                }
            }
            bar.inc(bytes);
            Ok(())
        },
    )?;
    while !archive.flush(Duration::from_secs(1)) {
        bar.set_message("waiting for the disk");
    }
    bar.finish_and_clear();
    let [stored, known, refused] =
        [&counts.stored, &counts.known, &counts.refused].map(|count| count.load(Ordering::Relaxed));
    writeln!(io::stdout().lock(), "{stored} games imported, {known} were there already, {refused} refused")?;
    if !is_told_before {
        super::warn_of_retention(options, old, "");
    }
    Ok(if refused == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

impl Counts {
    fn count(&self, line: u64, id: GameId, told: StoreOutcome) {
        let count = match told {
            StoreOutcome::Stored(Stored::Now) => &self.stored,
            StoreOutcome::Stored(Stored::Before) => &self.known,
            StoreOutcome::Refused | StoreOutcome::Closed => {
                complain(&format!("liap: line {line} is refused: another game is stored as {id}"));
                &self.refused
            }
        };
        count.fetch_add(1, Ordering::Relaxed);
    }
}

/// How many games of a file a server with these settings would remove again. What is no game is refused later.
fn count_old(file: File, kept_since: GameId) -> io::Result<usize> {
    /// All that is looked at of a game.
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
        while lines.len() < PART_GAMES {
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
