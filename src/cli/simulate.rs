//! `liap simulate`: whole games of bots, for statistics, tests and training.

use std::io::{self, Write};
use std::num::NonZeroUsize;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use clap::Args;

use super::{progress, write_file};
use crate::archive::{GameRecord, replay};
use crate::game::{BySeat, Level, Results, Seat, Seating, Series, Tally};
use crate::parallel;

#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// How many games.
    #[arg(long, value_name = "N", default_value_t = 1_000)]
    games: u64,
    /// Seed of all games: the same seed gives the same games. Drawn at random and printed if not given.
    #[arg(long, value_name = "SEED")]
    seed: Option<u64>,
    /// The bots' levels, one for all or four separated by commas: easy, normal, hard.
    #[arg(long, value_name = "LEVELS", default_value = "normal", value_parser = levels)]
    bots: BySeat<Level>,
    /// Move the players on by one seat after each game, so that no seat favours a player.
    #[arg(long)]
    rotate: bool,
    /// A game without a winner after so many rounds is abandoned.
    #[arg(long, value_name = "N", default_value_t = 200, value_parser = clap::value_parser!(u32).range(1..))]
    max_rounds: u32,
    /// Threads that play; one for each core, if not given. The games do not depend on it.
    #[arg(long, value_name = "N", alias = "threads")]
    jobs: Option<NonZeroUsize>,
    /// Write the games, one JSON object a line, in their order; `-` writes to the standard output. A move takes no
    /// time here, so all of them are at 0.0 seconds.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

fn levels(text: &str) -> Result<BySeat<Level>, String> {
    let levels: Vec<Level> = text
        .split(',')
        .map(|level| level.trim().parse())
        .collect::<Result<_, _>>()
        .map_err(|error| format!("{error}"))?;
    match *levels {
        [one] => Ok(BySeat::new([one; 4])),
        [a, b, c, d] => Ok(BySeat::new([a, b, c, d])),
        _ => Err("name one level or four".to_owned()),
    }
}

/// Games that one thread plays in one go.
const GAMES_PER_PART: u64 = 32;

/// The results of one part of the series.
#[derive(Default)]
struct Part {
    tally: Tally,
    lines: String,
}

/// Plays the games and prints their results.
pub(super) fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let seed = match arguments.seed {
        Some(seed) => seed,
        None => getrandom::u64().context("cannot draw a seed")?,
    };
    let series = Series {
        seed,
        players: arguments.bots,
        seating: if arguments.rotate { Seating::Rotated } else { Seating::Fixed },
        max_rounds: arguments.max_rounds,
    };
    let jobs = arguments.jobs.map_or_else(parallel::cores, NonZeroUsize::get);
    let began = Instant::now();
    let tally = match &arguments.json {
        None => play(&series, arguments.games, jobs, None)?,
        Some(file) => write_file(file, |out| play(&series, arguments.games, jobs, Some(out)))?,
    };
    let text = summary(&series, &tally, jobs, began.elapsed());
    if arguments.json.as_deref() == Some(Path::new("-")) {
        super::print_stderr(text.trim_end());
    } else {
        io::stdout().lock().write_all(text.as_bytes())?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Plays all games on `jobs` threads and writes them in their order, if somewhere is given to write them.
fn play(series: &Series, games: u64, jobs: usize, mut out: Option<&mut dyn Write>) -> anyhow::Result<Tally> {
    let written = out.is_some();
    let bar = progress::bar(games, "games");
    let mut tally = Tally::default();
    let firsts = (0..games.div_ceil(GAMES_PER_PART)).map(|part| part * GAMES_PER_PART);
    parallel::in_order(
        firsts,
        jobs,
        |first| play_part(series, first..games.min(first + GAMES_PER_PART), written),
        |part| {
            let part = part?;
            bar.inc(part.tally.games);
            tally.add(&part.tally);
            if let Some(out) = &mut out {
                out.write_all(part.lines.as_bytes())?;
            }
            anyhow::Ok(())
        },
    )?;
    bar.finish_and_clear();
    Ok(tally)
}

fn play_part(series: &Series, games: Range<u64>, written: bool) -> anyhow::Result<Part> {
    if !written {
        return Ok(Part { tally: series.tally(games), lines: String::new() });
    }
    let mut part = Part::default();
    for game in games {
        let (record, outcome) = GameRecord::simulate(series, game);
        let json = replay(&record).with_context(|| format!("game {game} of seed {}", series.seed))?;
        part.lines += &(json.to_line() + "\n");
        part.tally.count(&series.players_at(game), &outcome, record.moves.len() as u64);
    }
    Ok(part)
}

#[expect(clippy::cast_precision_loss, reason = "shown with a few digits")]
fn summary(series: &Series, tally: &Tally, jobs: usize, took: Duration) -> String {
    let seconds = took.as_secs_f64().max(1e-9);
    let (games, actions) = (tally.games as f64, tally.actions as f64);
    let mut text = format!(
        "{} games in {seconds:.2} s on {jobs} threads: {:.0} games/s, {:.0} actions/s\nseed {}; {:.1} rounds and {:.0} \
         actions a game; {} abandoned after {} rounds\n\n{:<18}{:>9}{:>9}{:>12}{:>17}\n",
        tally.games,
        games / seconds,
        actions / seconds,
        series.seed,
        tally.rounds as f64 / games.max(1.0),
        actions / games.max(1.0),
        tally.abandoned,
        series.max_rounds,
        "",
        "wins",
        "shared",
        "win rate",
        "declarations met",
    );
    let won = (tally.games - tally.abandoned).max(1) as f64;
    let mut row = |who: String, players: f64, results: &Results| {
        let declarations = (tally.rounds as f64 * players).max(1.0);
        text.push_str(&format!(
            "{who:<18}{:>9}{:>9}{:>11.2}%{:>16.2}%\n",
            results.wins,
            results.shared_wins,
            100.0 * results.win_share() / won,
            100.0 * results.met as f64 / declarations
        ));
    };
    for (seat, results) in tally.by_seat.pairs() {
        row(format!("seat {seat}"), 1.0, results);
    }
    if series.seating == Seating::Rotated {
        for (seat, results) in tally.by_player.pairs() {
            row(format!("player {seat}, {}", series.players[seat]), 1.0, results);
        }
    }
    for level in Level::ALL {
        let of_level: Vec<_> = Seat::ALL.into_iter().filter(|&seat| series.players[seat] == level).collect();
        if !of_level.is_empty() && of_level.len() < 4 {
            let mut sum = Results::default();
            of_level.iter().for_each(|&seat| sum.add(&tally.by_player[seat]));
            row(format!("{} x {level}", of_level.len()), of_level.len() as f64, &sum);
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_are_one_or_four() {
        assert_eq!(levels("hard"), Ok(BySeat::new([Level::Hard; 4])));
        assert_eq!(
            levels("normal, easy,easy,hard"),
            Ok(BySeat::new([Level::Normal, Level::Easy, Level::Easy, Level::Hard]))
        );
        assert!(levels("easy,easy").is_err());
        assert!(levels("clever").is_err());
    }

    #[test]
    fn threads_change_nothing() {
        let series =
            Series { seed: 7, players: BySeat::new([Level::Easy; 4]), seating: Seating::Rotated, max_rounds: 20 };
        let written = |jobs| {
            let mut out = Vec::new();
            let tally = play(&series, 100, jobs, Some(&mut out)).unwrap();
            (tally, String::from_utf8(out).unwrap())
        };
        let (tally, lines) = written(1);
        assert_eq!(lines.lines().count(), 100);
        assert_eq!(written(3), (tally, lines));
        assert_eq!(play(&series, 100, 2, None).unwrap(), tally);
    }
}
