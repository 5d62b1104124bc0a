use std::io::{self, Write as _};
use std::path::Path;
use std::process::ExitCode;

use super::super::{parallel, progress};
use crate::archive::{Ended, GameId, Index, Snapshot, SummaryJson};

/// Best players shown.
const LEADERS: usize = 10;
/// Games that one thread reads in one go.
const PART_GAMES: usize = 256;

/// Says what there is.
#[expect(clippy::cast_precision_loss, reason = "shown with a few digits")]
pub(super) fn run(folder: &Path, snapshot: &Snapshot) -> anyhow::Result<ExitCode> {
    let ids: Vec<GameId> = snapshot.ids().collect();
    let bar = progress::bar(ids.len() as u64, "games");
    let mut index = Index::default();
    let (mut won, mut unreadable, mut rounds, mut duration_ms, mut met) = (0_u64, 0_u64, 0_u64, 0_u64, 0_u64);
    let (mut first, mut last) = (None, None);
    parallel::in_order(
        ids.chunks(PART_GAMES),
        parallel::cores(),
        |ids| ids.iter().map(|&id| super::summary(snapshot, id)).collect::<Vec<_>>(),
        |summaries| {
            bar.inc(summaries.len() as u64);
            for summary in summaries {
                let Ok(summary) = summary else {
                    unreadable += 1;
                    continue;
                };
                index.insert(&summary);
                won += u64::from(summary.ended == Ended::Won);
                rounds += u64::from(summary.outcome.rounds);
                duration_ms += summary.duration_ms;
                met += summary.outcome.met.iter().map(|&met| u64::from(met)).sum::<u64>();
                first.get_or_insert_with(|| SummaryJson::from(&summary).started_at);
                last = Some(summary);
            }
            Ok(())
        },
    )?;
    bar.finish_and_clear();

    let games = ids.len() as u64 - unreadable;
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
    writeln!(out, "records    {} bytes, {:.0} a game", snapshot.record_bytes(), each(snapshot.record_bytes()))?;
    writeln!(out, "players    {} names", index.players())?;
    let leaders = index.leaders(LEADERS);
    if !leaders.is_empty() {
        writeln!(out, "\n{:<24}{:>8}{:>9}{:>8}{:>8}", "best, almost surely", "rating", "±", "games", "wins")?;
    }
    for (name, totals) in leaders {
        if let Some(rating) = totals.rating {
            writeln!(
                out,
                "{name:<24}{:>8.0}{:>9.0}{:>8}{:>8}",
                rating.mean, rating.deviation, totals.games, totals.wins
            )?;
        }
    }
    Ok(ExitCode::SUCCESS)
}
