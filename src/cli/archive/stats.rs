use std::io::{self, Write as _};
use std::path::Path;
use std::process::ExitCode;

use super::super::shown;
use super::{Pass, each_game};
use crate::archive::{Ended, Index, Query, Records, Summary, SummaryJson, decode_summary};

/// Best players shown.
const LEADERS: usize = 10;

/// Prints how many games there are, how large, and who plays best.
#[expect(clippy::cast_precision_loss, reason = "shown with a few digits")]
pub(super) fn run(folder: &Path, records: &Records) -> anyhow::Result<ExitCode> {
    let mut index = Index::default();
    let (mut won, mut rounds, mut duration_ms, mut met) = (0_u64, 0_u64, 0_u64, 0_u64);
    let (mut first, mut last) = (None, None);
    let take = |summary: Summary| {
        index.insert(&summary);
        won += u64::from(summary.ended == Ended::Won);
        rounds += u64::from(summary.outcome.rounds);
        duration_ms += summary.duration_ms;
        met += summary.outcome.met.iter().map(|&met| u64::from(met)).sum::<u64>();
        first.get_or_insert_with(|| SummaryJson::from(&summary).started_at);
        last = Some(summary);
        Ok(())
    };
    let Pass { games, unreadable } =
        each_game(records, &Query::default(), |_, record| Ok(decode_summary(&record)?), take)?;

    let record_bytes = records.status()?.record_bytes;
    let games = games - unreadable;
    let each = |sum: u64| sum as f64 / (games as f64).max(1.0);
    let mut out = io::stdout().lock();
    writeln!(out, "archive    {}", folder.display())?;
    writeln!(out, "games      {games}: {won} won, {} abandoned", games - won)?;
    if unreadable > 0 {
        writeln!(out, "damaged    {unreadable}, which cannot be read")?;
    }
    if let (Some(first), Some(last)) = (first, &last) {
        writeln!(out, "time       {first} to {}", SummaryJson::from(last).started_at)?;
    }
    writeln!(out, "a game     {:.1} rounds, {:.1} minutes", each(rounds), each(duration_ms) / 60_000.0)?;
    writeln!(out, "met        {:.1} % of all declarations", 100.0 * met as f64 / (4.0 * rounds as f64).max(1.0))?;
    writeln!(out, "records    {record_bytes} bytes, {:.0} a game", each(record_bytes))?;
    writeln!(out, "players    {} names", index.players())?;
    let leaders = index.leaders(LEADERS);
    if !leaders.is_empty() {
        writeln!(out, "\n{:<24}{:>8}{:>9}{:>8}{:>8}", "best, almost surely", "rating", "±", "games", "wins")?;
    }
    for (name, totals) in leaders {
        let Some(rating) = totals.rating else { continue };
        let (games, wins) = (totals.games, totals.wins);
        let name = shown(&name);
        writeln!(out, "{name:<24}{:>8.0}{:>9.0}{games:>8}{wins:>8}", rating.mean, rating.deviation)?;
    }
    Ok(ExitCode::SUCCESS)
}
