//! The map of live rooms, and what all of their tasks share.

use std::pin::Pin;
use std::sync::Arc;

use dashmap::mapref::entry::{Entry, VacantEntry};
use dashmap::{DashMap, DashSet};
use tokio::sync::{Semaphore, watch};

use super::{Clock, Journal, Options, RoomHandle};
use crate::archive::GameRecord;
use crate::observe::{Events, Metrics};
use crate::protocol::RoomId;

/// Takes a completed game without waiting.
pub type ArchiveGame = Box<dyn Fn(GameRecord) -> Archived + Send + Sync>;
/// Resolves when a completed game is safely in the archive.
pub type Archived = Pin<Box<dyn Future<Output = ()> + Send>>;

pub(super) struct Registry {
    pub(super) rooms: DashMap<RoomId, RoomHandle>,
    /// Ids of no live room, under which the journal still has something that is needed. A new room with such an id would
    /// overwrite that, or be removed from the journal with it.
    reserved: DashSet<RoomId>,
    pub(super) options: Arc<Options>,
    pub(super) clock: Clock,
    pub(super) archive_game: ArchiveGame,
    pub(super) journal: Journal,
    pub(super) metrics: Arc<Metrics>,
    pub(super) events: Events,
    /// How many bots may compute a decision at once.
    pub(super) bot_permits: Arc<Semaphore>,
    /// Counts changes of the list of rooms.
    pub(super) list_version: watch::Sender<u64>,
}

impl Registry {
    pub(super) fn new(
        options: Options,
        journal: Journal,
        archive_game: ArchiveGame,
        metrics: Arc<Metrics>,
        events: Events,
    ) -> Self {
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        Self {
            rooms: DashMap::new(),
            reserved: DashSet::new(),
            options: Arc::new(options),
            clock: Clock::start(),
            archive_game,
            journal,
            metrics,
            events,
            bot_permits: Arc::new(Semaphore::new(cores)),
            list_version: watch::Sender::new(0),
        }
    }

    /// The map entry for a new room of this id, unless the id is in use. A room that ends reserves its id before it leaves
    /// the map. So the map is looked up first: a free entry whose id is not reserved afterwards is really free.
    pub(super) fn vacant_entry(&self, id: RoomId) -> Option<VacantEntry<'_, RoomId, RoomHandle>> {
        match self.rooms.entry(id) {
            Entry::Vacant(entry) if !self.reserved.contains(&id) => Some(entry),
            Entry::Vacant(_) | Entry::Occupied(_) => None,
        }
    }

    /// Gives this id to no new room until it is [released](Self::release).
    pub(super) fn reserve(&self, id: RoomId) {
        self.reserved.insert(id);
    }

    /// A new room may have this id again.
    pub(super) fn release(&self, id: RoomId) {
        self.reserved.remove(&id);
    }

    pub(super) fn remove(&self, id: RoomId) {
        self.rooms.remove(&id);
        self.list_changed();
    }

    pub(super) fn list_changed(&self) {
        self.list_version.send_modify(|version| *version = version.wrapping_add(1));
    }

    pub(super) fn handles(&self) -> Vec<RoomHandle> {
        self.rooms.iter().map(|room| room.clone()).collect()
    }

    /// Frees the memory of rooms that are gone: a map does not shrink by itself.
    pub(super) fn shrink(&self) {
        self.rooms.shrink_to_fit();
        self.reserved.shrink_to_fit();
    }
}
