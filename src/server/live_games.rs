use std::path::PathBuf;
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

/// The part of the journal that could not be restored.
#[derive(Debug)]
pub(super) struct Unrestored {
    pub(super) rooms: usize,
    /// Copies of damaged files.
    pub(super) set_aside: Vec<PathBuf>,
}

/// Restores live games, and logs those that cannot be restored.
pub(super) fn restore(
    rooms: &Rooms,
    recovered: Recovered,
    archive: Option<&Archive>,
    metrics: &Metrics,
    events: &Events,
) -> Unrestored {
    let found = recovered.rooms.len();
    let is_kept = |id| archive.is_some_and(|archive| archive.contains(id));
    let refused = rooms.restore(recovered.rooms, is_kept);
    let restored = found - refused.len();
    let lost = recovered.broken.len() + refused.len();
    let refused = refused.into_iter().map(|(id, reason)| (id, reason.to_string()));
    for (id, reason) in recovered.broken.into_iter().chain(refused) {
        log::error!(room = id.to_string(); "a live game cannot be restored: {reason}");
    }
    if recovered.damaged_bytes > 0 {
        log::warn!(bytes = recovered.damaged_bytes; "the end of the journal cannot be read");
    }
    for path in &recovered.set_aside {
        log::error!("a damaged file of the journal is set aside: {}", path.display());
    }
    metrics.rooms_restored.with("restored").inc_by(restored as u64);
    metrics.rooms_restored.with("set_aside").inc_by(lost as u64);
    if restored > 0 {
        log::info!(rooms = restored; "live games are restored");
        events.note(EventKind::RoomsRestored, json!({ "rooms": restored, "set_aside": lost }));
    }
    Unrestored { rooms: lost, set_aside: recovered.set_aside }
}
