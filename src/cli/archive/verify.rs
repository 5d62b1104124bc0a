use std::io::{self, Write as _};
use std::process::ExitCode;

use anyhow::{Context as _, ensure};

use super::super::{complain, parallel, progress};
use crate::archive::{GameId, Snapshot, decode, decode_summary};

/// Games that one thread checks in one go.
const PART_GAMES: usize = 256;

/// Checks every game and says what is wrong with which.
pub(super) fn run(snapshot: &Snapshot, deep: bool) -> anyhow::Result<ExitCode> {
    let bar = progress::bar(snapshot.len() as u64, "games");
    let ids: Vec<GameId> = snapshot.ids().collect();
    let mut wrong = 0_u64;
    parallel::in_order(
        ids.chunks(PART_GAMES),
        parallel::cores(),
        |ids| ids.iter().map(|&id| check(snapshot, id, deep).with_context(|| format!("game {id}"))).collect::<Vec<_>>(),
        |checked| {
            bar.inc(checked.len() as u64);
            for error in checked.into_iter().filter_map(Result::err) {
                wrong += 1;
                bar.suspend(|| complain(&format!("liap: {error:#}")));
            }
            Ok(())
        },
    )?;
    bar.finish_and_clear();
    let damage = snapshot.damage();
    writeln!(
        io::stdout().lock(),
        "{} games {}, {wrong} wrong, {} missing",
        snapshot.len(),
        if deep { "dealt and played again" } else { "read" },
        damage.missing
    )?;
    Ok(if wrong == 0 && !damage.is_any() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn check(snapshot: &Snapshot, id: GameId, deep: bool) -> anyhow::Result<()> {
    let bytes = snapshot.get(id)?.context("it is gone")?;
    // Decoding plays the game by the rules and compares the result with the one that was stored.
    let found = if deep { decode(&bytes)?.game_id } else { decode_summary(&bytes)?.game_id };
    ensure!(found == id, "it says that it is game {found}");
    Ok(())
}
