//! The list of rooms that the lobby shows.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::watch;

use super::RoomHandle;
use super::registry::Registry;
use crate::protocol::Frame;
use crate::protocol::server_message::{self, ListReason, RoomSummary};

/// How many rooms the lobby shows at most, newest first.
pub const LISTED_MAX: usize = 200;
/// Changes of the list within this time reach the lobby as one.
const CHANGES_MERGE_WITHIN: Duration = Duration::from_millis(20);

/// The rooms that wait for players, here and on other servers.
pub(super) struct Lobby {
    registry: Arc<Registry>,
    /// The list as last encoded.
    encoded: Mutex<EncodedList>,
    /// Rooms of other servers.
    elsewhere: Mutex<Vec<RoomSummary>>,
}

/// One frame for each [`ListReason`], of one version of the list.
#[derive(Default)]
struct EncodedList {
    version: Option<u64>,
    frames: Vec<(ListReason, Frame)>,
}

impl Lobby {
    pub(super) fn new(registry: Arc<Registry>) -> Self {
        Self { registry, encoded: Mutex::default(), elsewhere: Mutex::default() }
    }

    /// `room_list_update`, encoded once for all requests between two changes.
    pub(super) fn frame(&self, reason: ListReason) -> Frame {
        // Read the version before the rooms: a change in between makes this list outdated, not the next one.
        let version = *self.registry.list_version.borrow();
        let mut encoded = self.encoded.lock().unwrap_or_else(PoisonError::into_inner);
        if encoded.version != Some(version) {
            *encoded = EncodedList { version: Some(version), frames: Vec::new() };
        }
        if let Some((_, frame)) = encoded.frames.iter().find(|(known, _)| *known == reason) {
            return frame.clone();
        }
        let frame = server_message::room_list_update(&self.rooms(), reason);
        encoded.frames.push((reason, frame.clone()));
        frame
    }

    /// The listed rooms of all servers, newest first.
    pub(super) fn rooms(&self) -> Vec<RoomSummary> {
        let mut rooms = self.rooms_here();
        let elsewhere = self.elsewhere();
        if !elsewhere.is_empty() {
            rooms.extend(elsewhere.iter().cloned());
            rooms.sort_by(|a, b| b.created_at.cmp(&a.created_at));
            rooms.truncate(LISTED_MAX);
        }
        rooms
    }

    /// The listed rooms of this server, newest first.
    pub(super) fn rooms_here(&self) -> Vec<RoomSummary> {
        let handles = self.registry.handles();
        // Copy the summaries of listed rooms only: there may be thousands more.
        let mut waiting: Vec<(String, &RoomHandle)> = handles
            .iter()
            .filter_map(|room| {
                let summary = room.summary.borrow();
                (!summary.started).then(|| (summary.created_at.clone(), room))
            })
            .collect();
        waiting.sort_unstable_by(|(a, _), (b, _)| b.cmp(a));
        waiting.into_iter().take(LISTED_MAX).map(|(_, room)| room.summary()).filter(|room| !room.started).collect()
    }

    /// Replaces the rooms of other servers.
    pub(super) fn set_elsewhere(&self, rooms: Vec<RoomSummary>) {
        let mut elsewhere = self.elsewhere();
        if *elsewhere != rooms {
            *elsewhere = rooms;
            drop(elsewhere);
            self.registry.list_changed();
        }
    }

    fn elsewhere(&self) -> MutexGuard<'_, Vec<RoomSummary>> {
        self.elsewhere.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Waits for changes of the list of rooms.
#[derive(Debug, Clone)]
pub struct LobbyWatch(watch::Receiver<u64>);

impl LobbyWatch {
    pub(super) fn new(registry: &Registry) -> Self {
        Self(registry.list_version.subscribe())
    }

    /// Waits for the next change, and a moment for others that come with it. Cancel safe. Never resolves once the
    /// registry is gone.
    pub async fn changed(&mut self) {
        if self.0.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
        self.0.mark_changed();
        tokio::time::sleep(CHANGES_MERGE_WITHIN).await;
        self.0.mark_unchanged();
    }
}
