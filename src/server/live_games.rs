use std::sync::Arc;

use serde_json::json;

use crate::archive::Archive;
use crate::config::Config;
use crate::observe::{EventKind, Events, Metrics};
use crate::room::{Journal, JournalError, Recovered, Rooms};

/// Opens the journal of live games, if it is enabled.
pub(super) fn open_journal(config: &Config, metrics: &Arc<Metrics>) -> Result<(Journal, Recovered), JournalError> {
    if config.journal.enabled {
        Journal::open(&config.data_dir.join("journal"), &config.journal, Arc::clone(metrics))
    } else {
        Ok((Journal::off(), Recovered::default()))
    }
}

/// Restores live games, and logs those that cannot be restored. Returns how many are whole in the journal but refused.
pub(super) fn restore(
    rooms: &Rooms,
    recovered: Recovered,
    archive: Option<&Archive>,
    metrics: &Metrics,
    events: &Events,
) -> usize {
    let found = recovered.rooms.len();
    let is_kept = |id| archive.is_some_and(|archive| archive.contains(id));
    let refused = rooms.restore(recovered.rooms, is_kept);
    let restored = found - refused.len();
    let kept = refused.len();
    let lost = recovered.broken.len() + kept;
    let refused = refused.into_iter().map(|(id, reason)| (id, reason.to_string()));
    for (id, reason) in recovered.broken.into_iter().chain(refused) {
        log::error!(room = id.to_string(); "a live game cannot be restored: {reason}");
    }
    let damaged_bytes = recovered.damaged_bytes;
    if damaged_bytes > 0 {
        log::error!(bytes = damaged_bytes; "a part of the journal of live games cannot be read");
    }
    metrics.rooms_restored.with("restored").inc_by(restored as u64);
    metrics.rooms_restored.with("set_aside").inc_by(lost as u64);
    if restored > 0 {
        log::info!(rooms = restored; "live games are restored");
    }
    if restored + lost > 0 || damaged_bytes > 0 {
        let told = json!({ "rooms": restored, "set_aside": lost, "damaged_bytes": damaged_bytes });
        events.note(EventKind::RoomsRestored, told);
    }
    kept
}
