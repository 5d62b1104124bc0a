//! All live rooms: created, found, listed and closed here.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rand::SeedableRng;
use rand_pcg::Pcg64Mcg;
use serde::Serialize;
use serde_json::json;
use tokio::sync::oneshot;

use super::lobby::{Lobby, LobbyWatch};
use super::registry::Registry;
use super::{
    ArchiveGame, Input, JoinError, JoinRequest, Journal, Options, RestoreError, Room, RoomHandle, RoomSnapshot,
    RoomStage, SendError, task, waiting,
};
use crate::archive::GameId;
use crate::game::{Seat, ServerSeed};
use crate::observe::{EventKind, Events, Metrics};
use crate::protocol::server_message::{ListReason, RoomSummary};
use crate::protocol::{Frame, PlayerName, RoomId, RoomRules, SeatChoice, SeatToken, SessionKey};

/// How often a closing room is checked for its end.
const CLOSING_STEP: Duration = Duration::from_millis(10);
/// How many random ids are tried for a new room.
const ID_ATTEMPTS: u32 = 64;

/// How many rooms there are in each stage.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct RoomCount {
    /// Their host has not started the game.
    pub waiting: usize,
    /// A game is running.
    pub playing: usize,
    /// The game is over, and its result is still shown.
    pub over: usize,
}

/// A seat that was taken from the lobby.
#[derive(Debug, Clone)]
pub struct Seated {
    /// The room.
    pub room_id: RoomId,
    /// The seat.
    pub seat: Seat,
    /// Proves the seat, for clients without cookies.
    pub token: SeatToken,
}

/// Why no room was created. Players see the texts; the names are those in the metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error, strum::IntoStaticStr)]
pub enum CreateError {
    /// The number of rooms is at its bound.
    #[error("The server has no room for another table, please try again later")]
    #[strum(serialize = "full")]
    TooMany,
    /// The server is short of memory.
    #[error("The server is short of memory, please try again later")]
    #[strum(serialize = "memory")]
    MemoryLow,
    /// The server is about to stop.
    #[error("The server is about to restart, please try again in a minute")]
    #[strum(serialize = "stopping")]
    Stopping,
    /// A room cannot be opened under a bot's name.
    #[error("Player name is reserved for bots")]
    #[strum(serialize = "other")]
    NameReserved,
    /// The operating system gave no randomness.
    #[error("The server cannot shuffle at the moment, please try again later")]
    #[strum(serialize = "other")]
    NoRandomness,
}

impl From<getrandom::Error> for CreateError {
    fn from(_: getrandom::Error) -> Self {
        Self::NoRandomness
    }
}

/// The registry of all live rooms. Clones are the same registry.
#[derive(Clone)]
pub struct Rooms(Arc<Shared>);

struct Shared {
    registry: Arc<Registry>,
    lobby: Lobby,
    /// New rooms are refused: the server is stopping.
    is_stopping: AtomicBool,
    /// New rooms are refused: memory is short.
    is_memory_low: AtomicBool,
}

impl fmt::Debug for Rooms {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Rooms").field("len", &self.len()).finish_non_exhaustive()
    }
}

impl Rooms {
    /// An empty registry. `archive_game` takes every completed game, `journal` what live games need to survive a restart;
    /// `metrics` and `events` get what happens.
    #[must_use]
    pub fn new(
        options: Options,
        journal: Journal,
        archive_game: ArchiveGame,
        metrics: Arc<Metrics>,
        events: Events,
    ) -> Self {
        let registry = Arc::new(Registry::new(options, journal, archive_game, metrics, events));
        let lobby = Lobby::new(Arc::clone(&registry));
        let (is_stopping, is_memory_low) = (AtomicBool::new(false), AtomicBool::new(false));
        Self(Arc::new(Shared { registry, lobby, is_stopping, is_memory_low }))
    }

    fn registry(&self) -> &Arc<Registry> {
        &self.0.registry
    }

    /// Opens a room for `name`, who hosts it.
    ///
    /// # Errors
    /// [`CreateError`] says why there is none.
    pub fn create(
        &self,
        session: Option<SessionKey>,
        name: PlayerName,
        rules: RoomRules,
    ) -> Result<Seated, CreateError> {
        let created = self.try_create(session, name, rules);
        match &created {
            Ok(_) => self.registry().metrics.rooms_created.inc(),
            Err(error) => self.registry().metrics.rooms_refused.with(error.into()).inc(),
        }
        created
    }

    fn try_create(
        &self,
        session: Option<SessionKey>,
        name: PlayerName,
        rules: RoomRules,
    ) -> Result<Seated, CreateError> {
        let registry = self.registry();
        if self.0.is_stopping.load(Ordering::Relaxed) {
            return Err(CreateError::Stopping);
        }
        if self.0.is_memory_low.load(Ordering::Relaxed) {
            return Err(CreateError::MemoryLow);
        }
        if self.len() >= registry.options.max_active_games {
            return Err(CreateError::TooMany);
        }
        if self.len() >= registry.options.max_active_games - registry.options.max_active_games / 10 {
            self.give_up_lost();
        }
        if waiting::is_bot_name(&name) {
            return Err(CreateError::NameReserved);
        }
        let token = SeatToken::random().ok_or(CreateError::NoRandomness)?;
        for _ in 0..ID_ATTEMPTS {
            let id = registry.options.ids.make(getrandom::u32()?);
            let Some(entry) = registry.vacant_entry(id) else {
                continue;
            };
            let mut secret = [0; 32];
            getrandom::fill(&mut secret)?;
            let rng = Pcg64Mcg::seed_from_u64(getrandom::u64()?);
            registry.events.note(EventKind::RoomOpened, json!({ "room": id, "host": name.as_str() }));
            let host = JoinRequest { session, name, token: token.key() };
            let (options, now) = (Arc::clone(&registry.options), registry.clock.now());
            let room = Room::open(id, host, ServerSeed::new(secret), rng, options, now).with_rules(rules);
            entry.insert(task::spawn(room, Arc::clone(registry)));
            registry.list_changed();
            return Ok(Seated { room_id: id, seat: Seat::One, token });
        }
        Err(CreateError::TooMany)
    }

    /// Ends the game that has stood still the longest for lost players. When rooms are nearly used up, each new one does this,
    /// so that games without anybody keep nobody from playing.
    fn give_up_lost(&self) {
        let rooms = self.registry().rooms.iter();
        let lost = rooms.filter_map(|room| Some((room.stats.given_up_at()?, room.clone())));
        if let Some((_, room)) = lost.min_by_key(|&(at, _)| at) {
            // A full inbox says that somebody is back.
            room.send(Input::GiveUpLost).ok();
        }
    }

    /// Restores rooms from the journal. Returns those that could not be restored, with the reason.
    ///
    /// A running game that `is_archived` was abandoned right before the server ended; it is not restored.
    pub fn restore(
        &self,
        rooms: Vec<(RoomSnapshot, Vec<u8>)>,
        is_archived: impl Fn(GameId) -> bool,
    ) -> Vec<(RoomId, RestoreError)> {
        let registry = self.registry();
        let mut broken = Vec::new();
        for (snapshot, events) in rooms {
            let id = snapshot.room_id();
            let rng = Pcg64Mcg::seed_from_u64(getrandom::u64().unwrap_or(0));
            match Room::restore(&snapshot, &events, rng, Arc::clone(&registry.options), registry.clock.now()) {
                Ok(room) if room.game_under_way().is_some_and(&is_archived) => {
                    // If the queue is full so early, the next start removes it.
                    let _removed = registry.journal.remove(id);
                }
                Ok(room) => {
                    registry.rooms.insert(id, task::spawn(room, Arc::clone(registry)));
                }
                Err(error) => {
                    // The journal keeps it for inspection, or for a version that can read it.
                    registry.reserve(id);
                    broken.push((id, error));
                }
            }
        }
        registry.list_changed();
        broken
    }

    /// Takes a seat in a room.
    ///
    /// # Errors
    /// [`JoinError`] says why there is none.
    pub async fn join(
        &self,
        room_id: RoomId,
        session: Option<SessionKey>,
        name: PlayerName,
        choice: SeatChoice,
    ) -> Result<Seated, JoinError> {
        let token = SeatToken::random().ok_or(JoinError::Busy)?;
        let seat = self.seat(room_id, JoinRequest { session, name, token: token.key() }, choice).await?;
        Ok(Seated { room_id, seat, token })
    }

    /// Seats a player whose token was made elsewhere.
    ///
    /// # Errors
    /// [`JoinError`] says why there is no seat.
    pub async fn seat(&self, room_id: RoomId, who: JoinRequest, choice: SeatChoice) -> Result<Seat, JoinError> {
        if self.0.is_stopping.load(Ordering::Relaxed) {
            return Err(JoinError::Stopping);
        }
        let room = self.find(room_id).ok_or(JoinError::NotFound)?;
        let (reply, answer) = oneshot::channel();
        room.send(Input::Join { who, choice, reply }).map_err(|error| match error {
            SendError::Busy => JoinError::Busy,
            SendError::Gone => JoinError::NotFound,
        })?;
        answer.await.unwrap_or(Err(JoinError::NotFound))
    }

    /// The handle of a live room.
    #[must_use]
    pub fn find(&self, id: RoomId) -> Option<RoomHandle> {
        self.registry().rooms.get(&id).map(|room| room.clone())
    }

    /// How many rooms are live.
    #[must_use]
    pub fn len(&self) -> usize {
        self.registry().rooms.len()
    }

    /// Whether no room is live.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.registry().rooms.is_empty()
    }

    /// How many rooms there are in each stage.
    #[must_use]
    pub fn count(&self) -> RoomCount {
        let mut count = RoomCount::default();
        for room in &self.registry().rooms {
            *match room.stats.stage() {
                RoomStage::Waiting => &mut count.waiting,
                RoomStage::Playing => &mut count.playing,
                RoomStage::Over => &mut count.over,
            } += 1;
        }
        count
    }

    /// Every live room, in no order.
    #[must_use]
    pub fn all(&self) -> Vec<RoomHandle> {
        self.registry().handles()
    }

    /// The games under way here in which this browser session holds a seat, each with the seat.
    #[must_use]
    pub fn games_of(&self, session: SessionKey) -> Vec<(RoomHandle, Seat)> {
        let playing = self.registry().rooms.iter().filter(|room| room.stats.stage() == RoomStage::Playing);
        playing.filter_map(|room| Some((room.clone(), room.stats.seat_of(session)?))).collect()
    }

    /// Closes a room in any stage and waits until it is gone, at most `timeout`. Players get `message`. Returns whether
    /// the room is gone.
    pub async fn close(&self, id: RoomId, message: Option<String>, timeout: Duration) -> bool {
        let Some(room) = self.find(id) else { return true };
        let close = || Input::CloseRoom(message.clone().map(String::into_boxed_str));
        self.close_all(&[(id, room)], close, timeout).await == 1
    }

    /// Closes the rooms whose game is over, and waits until they are gone, at most `timeout`. Their records are on the way
    /// to the archive already. Returns how many are gone.
    pub async fn close_finished(&self, timeout: Duration) -> usize {
        let rooms = self.registry().rooms.iter();
        let over = rooms.filter(|room| room.stats.stage() == RoomStage::Over);
        let over: Vec<_> = over.map(|room| (*room.key(), room.clone())).collect();
        self.close_all(&over, || Input::ReclaimMemory, timeout).await
    }

    /// Sends `close` to each room and waits until they are gone. Rooms that take longer than `timeout` still close.
    async fn close_all(&self, rooms: &[(RoomId, RoomHandle)], close: impl Fn() -> Input, timeout: Duration) -> usize {
        let gone = || rooms.iter().filter(|(id, _)| !self.registry().rooms.contains_key(id)).count();
        let all_gone = async {
            for (_, room) in rooms {
                // A room that is gone needs no closing.
                room.deliver(close()).await.ok();
            }
            while gone() < rooms.len() {
                tokio::time::sleep(CLOSING_STEP).await;
            }
        };
        drop(tokio::time::timeout(timeout, all_gone).await);
        gone()
    }

    /// Frees the memory of rooms that are gone.
    pub fn shrink(&self) {
        self.registry().shrink();
    }

    /// `room_list_update` with the rooms that have not started, newest first.
    pub fn list_frame(&self, reason: ListReason) -> Frame {
        self.0.lobby.frame(reason)
    }

    /// The rooms the lobby shows: those that have not started, newest first, at most [`LISTED_MAX`](super::LISTED_MAX).
    #[must_use]
    pub fn listed(&self) -> Vec<RoomSummary> {
        self.0.lobby.rooms()
    }

    /// The rooms of this server that the lobby shows.
    #[must_use]
    pub fn listed_here(&self) -> Vec<RoomSummary> {
        self.0.lobby.rooms_here()
    }

    /// Replaces the rooms of other servers that the lobby shows.
    pub fn set_elsewhere(&self, rooms: Vec<RoomSummary>) {
        self.0.lobby.set_elsewhere(rooms);
    }

    /// Waits for changes of the list of rooms.
    #[must_use]
    pub fn watch_lobby(&self) -> LobbyWatch {
        LobbyWatch::new(self.registry())
    }

    /// Sets whether new rooms are refused because memory is short.
    pub fn set_memory_low(&self, is_low: bool) {
        self.0.is_memory_low.store(is_low, Ordering::Relaxed);
    }

    /// Sets whether new rooms and new players are refused. Players who have a seat still come back to it.
    pub fn refuse_new(&self, refuses: bool) {
        self.0.is_stopping.store(refuses, Ordering::Relaxed);
    }

    /// Stops all rooms and waits until their tasks have ended, at most `timeout`. Returns how many are left.
    pub async fn stop(&self, timeout: Duration) -> usize {
        self.refuse_new(true);
        let all_stopped = async {
            for room in self.all() {
                // A room that is gone has stopped.
                room.deliver(Input::Stop).await.ok();
            }
            let mut version = self.registry().list_version.subscribe();
            while !self.is_empty() && version.changed().await.is_ok() {}
        };
        drop(tokio::time::timeout(timeout, all_stopped).await);
        self.len()
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use tokio::sync::watch;

    use super::super::{Archived, DisconnectKind, JournalOptions, Recovered, connection};
    use super::*;
    use crate::protocol::ClientMessage;

    fn rooms(journal: &Journal, archive_game: ArchiveGame) -> Rooms {
        let metrics = Arc::new(Metrics::new("test", "test", false));
        Rooms::new(Options::default(), journal.clone(), archive_game, metrics, Events::new(0))
    }

    fn open(folder: &Path) -> (Journal, Recovered) {
        let metrics = Arc::new(Metrics::new("test", "test", false));
        Journal::open(folder, &JournalOptions::default(), metrics).unwrap()
    }

    /// The end of a room once removed the journal's entries of a new room with the same id.
    #[tokio::test]
    async fn an_id_is_reused_only_after_the_journal_has_removed_it() {
        let folder = tempfile::tempdir().unwrap();
        let (journal, _) = open(folder.path());
        let (archived, wait) = watch::channel(false);
        let archive_game = move |_| {
            let mut wait = wait.clone();
            Box::pin(async move { assert!(wait.wait_for(|is_archived| *is_archived).await.is_ok()) }) as Archived
        };
        let rooms = rooms(&journal, Box::new(archive_game));
        let session = Some(SessionKey::of("browser"));
        let id = rooms.create(session, "Ann".parse().unwrap(), RoomRules::default()).unwrap().room_id;
        assert!(rooms.registry().vacant_entry(id).is_none());
        let room = rooms.find(id).unwrap();
        let (connection, _outbox) = connection(session, 64);
        let host = connection.id;
        room.send(Input::Connected(connection)).unwrap();
        let ready = r#"{"event":"client_ready","data":{"player_name":"Ann"}}"#;
        room.send(Input::Message(host, crate::protocol::decode(ready).unwrap())).unwrap();
        room.send(Input::Message(host, ClientMessage::StartGame)).unwrap();
        assert!(rooms.close(id, None, Duration::from_secs(20)).await);

        // The game is on its way to the archive. The room is gone from the lists, but the journal still has it.
        assert!(rooms.is_empty() && rooms.find(id).is_none() && rooms.listed().is_empty());
        journal.written().await;
        assert_eq!(journal.status().unwrap().rooms, 1);
        assert!(rooms.registry().vacant_entry(id).is_none());

        archived.send(true).unwrap();
        let entry = loop {
            tokio::task::yield_now().await;
            if let Some(entry) = rooms.registry().vacant_entry(id) {
                break entry;
            }
        };
        let host = JoinRequest { session, name: "Bea".parse().unwrap(), token: SessionKey::of("token") };
        let rng = Pcg64Mcg::seed_from_u64(1);
        let options = Arc::clone(&rooms.registry().options);
        let room = Room::open(id, host, ServerSeed::new([7; 32]), rng, options, rooms.registry().clock.now());
        let snapshot = room.snapshot();
        entry.insert(task::spawn(room, Arc::clone(rooms.registry())));
        assert_eq!(rooms.stop(Duration::from_secs(20)).await, 0);
        journal.close();
        let recovered = open(folder.path()).1;
        assert_eq!(recovered.rooms, [(snapshot, Vec::new())]);
    }

    #[tokio::test]
    async fn the_id_of_a_room_that_cannot_be_restored_is_not_reused() {
        let rooms = rooms(&Journal::off(), Box::new(|_| Box::pin(async {}) as Archived));
        let no_secret = (5, 0, serde_bytes::Bytes::new(b""), 0, [(); 0], None::<()>);
        let snapshot = RoomSnapshot::from_bytes(&rmp_serde::to_vec(&no_secret).unwrap()).unwrap();
        let id = snapshot.room_id();
        assert!(rooms.registry().vacant_entry(id).is_some());
        let broken = rooms.restore(vec![(snapshot, Vec::new())], |_| false);
        assert_eq!(broken, [(id, RestoreError::Field("secret"))]);
        assert!(rooms.is_empty() && rooms.registry().vacant_entry(id).is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn games_that_wait_for_lost_players_make_room_for_new_ones() {
        let metrics = Arc::new(Metrics::new("test", "test", false));
        let options = Options { max_active_games: 10, ..Options::default() };
        let archive_game = Box::new(|_| Box::pin(async {}) as Archived);
        let rooms = Rooms::new(options, Journal::off(), archive_game, metrics, Events::new(0));
        let session = Some(SessionKey::of("browser"));
        let create =
            || rooms.create(session, "Ann".parse().unwrap(), RoomRules::default()).map(|seated| seated.room_id);
        let mut ids = Vec::new();
        for _ in 0..5 {
            let id = create().unwrap();
            let room = rooms.find(id).unwrap();
            let (connection, _outbox) = connection(session, 64);
            let host = connection.id;
            let ready = r#"{"event":"client_ready","data":{"player_name":"Ann"}}"#;
            room.send(Input::Connected(connection)).unwrap();
            room.send(Input::Message(host, crate::protocol::decode(ready).unwrap())).unwrap();
            room.send(Input::Message(host, ClientMessage::StartGame)).unwrap();
            room.send(Input::Disconnected(host, DisconnectKind::Lost)).unwrap();
            ids.push(id);
            tokio::time::sleep(Duration::from_secs(4)).await;
        }
        // Rooms before their game wait for nobody who was lost.
        assert!((0..4).all(|_| create().is_ok()));
        assert_eq!(rooms.len(), 9);
        for lost in &ids {
            assert!(rooms.find(*lost).is_some(), "the oldest goes first");
            create().unwrap();
            tokio::time::sleep(Duration::from_millis(1)).await;
            assert!(rooms.find(*lost).is_none());
        }
        assert_eq!(rooms.len(), 9);
        create().unwrap();
        assert_eq!(create(), Err(CreateError::TooMany));
    }

    #[tokio::test]
    async fn shrinking_frees_the_memory_of_ended_rooms() {
        let rooms = rooms(&Journal::off(), Box::new(|_| Box::pin(async {}) as Archived));
        (0..1_000).for_each(|_| drop(rooms.create(None, "Ann".parse().unwrap(), RoomRules::default()).unwrap()));
        rooms.shrink();
        assert_eq!(rooms.len(), 1_000);
        assert_eq!(rooms.stop(Duration::from_secs(20)).await, 0);
        assert!(rooms.registry().rooms.capacity() >= 1_000);
        rooms.shrink();
        assert_eq!(rooms.registry().rooms.capacity(), 0);
    }
}
