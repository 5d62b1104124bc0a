//! All live rooms: created, found and listed here.

use std::fmt;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use dashmap::mapref::entry::{Entry, VacantEntry};
use dashmap::{DashMap, DashSet};
use rand::SeedableRng;
use rand_pcg::Pcg64Mcg;
use serde_json::json;
use tokio::sync::{Semaphore, mpsc, oneshot, watch};
use tokio::time::Instant;

use super::room_event::{RoomEvent, RoomStage, RoomStats};
use super::{Clock, Input, JoinError, JoinRequest, Journal, Options, RestoreError, Room, RoomSnapshot, Time, task};
use crate::archive::{GameId, GameRecord};
use crate::game::{Seat, ServerSeed};
use crate::observe::{EventKind, Events, Metrics};
use crate::protocol::server_message::{self, ListReason, RoomSummary};
use crate::protocol::{Frame, OtherSeats, PlayerName, RoomId, SeatChoice, SeatToken, SessionKey};

/// The lobby shows no more rooms than this, newest first.
pub const LISTED_MAX: usize = 200;
/// Changes of the list within this time reach the lobby as one.
const LIST_SETTLES: Duration = Duration::from_millis(20);
/// How often it is looked whether rooms that close are gone.
const CLOSING_STEP: Duration = Duration::from_millis(10);
/// How often a free room id is looked for.
const ID_ATTEMPTS: u32 = 64;

/// An input on its way to a room, and since when.
#[derive(Debug)]
pub(super) struct Envelope {
    pub(super) input: Input,
    pub(super) sent: Instant,
}

impl Envelope {
    pub(super) fn now(input: Input) -> Self {
        Self { input, sent: Instant::now() }
    }
}

/// The way to one room.
#[derive(Debug, Clone)]
pub struct RoomHandle {
    inbox: mpsc::Sender<Envelope>,
    summary: watch::Receiver<RoomSummary>,
    stats: Arc<RoomStats>,
}

/// Why a room takes no input.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SendError {
    /// Its inbox is full.
    Busy,
    /// It is over.
    Gone,
}

impl RoomHandle {
    pub(super) const fn new(
        inbox: mpsc::Sender<Envelope>,
        summary: watch::Receiver<RoomSummary>,
        stats: Arc<RoomStats>,
    ) -> Self {
        Self { inbox, summary, stats }
    }

    /// Hands an input to the room without waiting.
    ///
    /// # Errors
    /// [`SendError`] if it is over or has too much to do.
    pub fn send(&self, input: Input) -> Result<(), SendError> {
        self.inbox.try_send(Envelope::now(input)).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => SendError::Busy,
            mpsc::error::TrySendError::Closed(_) => SendError::Gone,
        })
    }

    /// Hands an input to the room and waits for a place in its inbox: for what must not be lost, like the end of a
    /// socket.
    ///
    /// # Errors
    /// [`SendError::Gone`] if the room is over.
    pub async fn deliver(&self, input: Input) -> Result<(), SendError> {
        self.inbox.send(Envelope::now(input)).await.map_err(|_| SendError::Gone)
    }

    /// The room as lists show it.
    #[must_use]
    pub fn summary(&self) -> RoomSummary {
        self.summary.borrow().clone()
    }

    /// How far the room is.
    #[must_use]
    pub fn stage(&self) -> RoomStage {
        self.stats.stage()
    }

    /// The round that is played there, from 1; 0 before the game.
    #[must_use]
    pub fn round(&self) -> u32 {
        self.stats.round()
    }

    /// When a person last took or left a seat before the game, began it, or moved.
    #[must_use]
    pub fn last_activity(&self) -> Time {
        self.stats.last_activity()
    }

    /// How many sockets are at it, those who watch included.
    #[must_use]
    pub fn sockets(&self) -> u32 {
        self.stats.sockets()
    }
}

/// How many rooms there are, by how far they are.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
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
    /// In which room.
    pub room_id: RoomId,
    /// Which seat.
    pub seat: Seat,
    /// What proves it, for clients without cookies.
    pub token: SeatToken,
}

/// Why no room was created. The texts are shown to players.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CreateError {
    /// There are as many as there may be.
    #[error("The server has no room for another table, please try again later")]
    TooMany,
    /// The server is short of memory.
    #[error("The server is short of memory, please try again later")]
    MemoryLow,
    /// The server is about to stop.
    #[error("The server is about to restart, please try again in a minute")]
    Stopping,
    /// A room cannot be opened under a bot's name.
    #[error("Player name is reserved for bots")]
    NameReserved,
    /// The operating system gave no randomness.
    #[error("The server cannot shuffle at the moment, please try again later")]
    NoRandomness,
}

impl CreateError {
    /// Its name in the metrics.
    fn name(self) -> &'static str {
        match self {
            Self::TooMany => "full",
            Self::MemoryLow => "memory",
            Self::Stopping => "stopping",
            Self::NameReserved | Self::NoRandomness => "other",
        }
    }
}

/// What takes a completed game, without waiting. The future it gives back resolves when the game is safely kept.
pub type Keep = Box<dyn Fn(GameRecord) -> Kept + Send + Sync>;
/// Resolves when a completed game is safely kept.
pub type Kept = Pin<Box<dyn Future<Output = ()> + Send>>;

/// The registry of all live rooms. Clones are the same registry.
#[derive(Clone)]
pub struct Rooms(Arc<Registry>);

/// What a room's task needs of the registry.
pub(super) type Shared = Rooms;

struct Registry {
    rooms: DashMap<RoomId, RoomHandle>,
    /// Ids of no room that lives, under which the journal has something that is still needed. No new room gets one: it
    /// would write over that, or be forgotten with it.
    reserved: DashSet<RoomId>,
    options: Arc<Options>,
    clock: Clock,
    keep: Keep,
    journal: Journal,
    metrics: Arc<Metrics>,
    events: Events,
    bot_permits: Arc<Semaphore>,
    /// Counts changes of the list.
    list_version: watch::Sender<u64>,
    /// The list as last encoded.
    list: Mutex<EncodedList>,
    /// Rooms of other servers, as they are shown in the lobby.
    elsewhere: Mutex<Vec<RoomSummary>>,
    /// New rooms are refused: the server is stopping.
    is_stopping: AtomicBool,
    /// New rooms are refused: memory is short.
    is_memory_low: AtomicBool,
}

#[derive(Default)]
struct EncodedList {
    version: Option<u64>,
    initial: Option<Frame>,
    requested: Option<Frame>,
    changed: Option<Frame>,
}

impl fmt::Debug for Rooms {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Rooms").field("len", &self.0.rooms.len()).finish_non_exhaustive()
    }
}

impl Rooms {
    /// An empty registry. `keep` takes every completed game, `journal` what live ones need to survive a restart;
    /// `metrics` and `events` learn what happens.
    #[must_use]
    pub fn new(options: Options, journal: Journal, keep: Keep, metrics: Arc<Metrics>, events: Events) -> Self {
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        Self(Arc::new(Registry {
            rooms: DashMap::new(),
            reserved: DashSet::new(),
            options: Arc::new(options),
            clock: Clock::start(),
            keep,
            journal,
            metrics,
            events,
            bot_permits: Arc::new(Semaphore::new(cores)),
            list_version: watch::Sender::new(0),
            list: Mutex::default(),
            elsewhere: Mutex::default(),
            is_stopping: AtomicBool::new(false),
            is_memory_low: AtomicBool::new(false),
        }))
    }

    /// Opens a room for `name`, who hosts it; `other_seats` says who has the other three.
    ///
    /// # Errors
    /// [`CreateError`] says why there is none.
    pub fn create(
        &self,
        session: Option<SessionKey>,
        name: PlayerName,
        other_seats: OtherSeats,
    ) -> Result<Seated, CreateError> {
        let created = self.try_create(session, name, other_seats);
        match &created {
            Ok(_) => self.0.metrics.rooms_created.inc(),
            Err(error) => self.0.metrics.rooms_refused.with(error.name()).inc(),
        }
        created
    }

    fn try_create(
        &self,
        session: Option<SessionKey>,
        name: PlayerName,
        other_seats: OtherSeats,
    ) -> Result<Seated, CreateError> {
        let registry = &*self.0;
        if registry.is_stopping.load(Ordering::Relaxed) {
            return Err(CreateError::Stopping);
        }
        if registry.is_memory_low.load(Ordering::Relaxed) {
            return Err(CreateError::MemoryLow);
        }
        if registry.rooms.len() >= registry.options.max_active_games {
            return Err(CreateError::TooMany);
        }
        if super::waiting::is_bot_name(&name) {
            return Err(CreateError::NameReserved);
        }
        let token = SeatToken::random().ok_or(CreateError::NoRandomness)?;
        for _ in 0..ID_ATTEMPTS {
            let id = registry.options.ids.make(getrandom::u32().map_err(|_| CreateError::NoRandomness)?);
            let Some(place) = self.free_place(id) else {
                continue;
            };
            let mut secret = [0; 32];
            getrandom::fill(&mut secret).map_err(|_| CreateError::NoRandomness)?;
            let rng = Pcg64Mcg::seed_from_u64(getrandom::u64().map_err(|_| CreateError::NoRandomness)?);
            let options = Arc::clone(&registry.options);
            let now = registry.clock.now();
            self.0.events.note(EventKind::RoomOpened, json!({ "room": id, "host": name.as_str() }));
            let host = JoinRequest { session, name, token: token.key() };
            let room = Room::open(id, host, ServerSeed::new(secret), rng, options, now);
            let room = match other_seats {
                OtherSeats::Bots => room,
                OtherSeats::Open => room.with_open_seats(),
            };
            place.insert(task::spawn(room, self.clone()));
            self.list_changed();
            return Ok(Seated { room_id: id, seat: Seat::One, token });
        }
        Err(CreateError::TooMany)
    }

    /// Where a new room of this id goes, unless the id is in use. A room that ends reserves its id before it leaves its
    /// place, so who finds the place free and then looks, does not miss that.
    fn free_place(&self, id: RoomId) -> Option<VacantEntry<'_, RoomId, RoomHandle>> {
        match self.0.rooms.entry(id) {
            Entry::Vacant(place) if !self.0.reserved.contains(&id) => Some(place),
            Entry::Vacant(_) | Entry::Occupied(_) => None,
        }
    }

    /// Brings rooms back that the journal held. Returns those that could not be, and why.
    ///
    /// A game under way that `is_kept` already was abandoned right before the end of the server, and is over.
    pub fn restore(
        &self,
        rooms: Vec<(RoomSnapshot, Vec<u8>)>,
        is_kept: impl Fn(GameId) -> bool,
    ) -> Vec<(RoomId, RestoreError)> {
        let mut broken = Vec::new();
        for (snapshot, events) in rooms {
            let id = snapshot.room_id();
            let rng = Pcg64Mcg::seed_from_u64(getrandom::u64().unwrap_or(0));
            match Room::restore(&snapshot, &events, rng, Arc::clone(&self.0.options), self.0.clock.now()) {
                Ok(room) if room.game_under_way().is_some_and(&is_kept) => {
                    // A queue that is full so early leaves it to the next start.
                    let _forgotten = self.0.journal.forget(id);
                }
                Ok(room) => {
                    self.0.rooms.insert(id, task::spawn(room, self.clone()));
                }
                Err(error) => {
                    // The journal keeps it for whoever looks into it, or for a version that understands it.
                    self.reserve(id);
                    broken.push((id, error));
                }
            }
        }
        self.list_changed();
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

    /// Seats somebody whose token only he knows.
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

    /// The way to a room, if it lives.
    #[must_use]
    pub fn find(&self, id: RoomId) -> Option<RoomHandle> {
        self.0.rooms.get(&id).map(|room| room.clone())
    }

    /// How many rooms live.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.rooms.len()
    }

    /// Whether no room lives.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.rooms.is_empty()
    }

    /// How many rooms there are, by how far they are.
    #[must_use]
    pub fn count(&self) -> RoomCount {
        let mut count = RoomCount::default();
        for room in &self.0.rooms {
            *match room.stage() {
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
        self.0.rooms.iter().map(|room| room.clone()).collect()
    }

    /// Closes a room, whatever happens there, and waits until it is gone or `patience` has passed. Players are told
    /// `message`. Returns whether the room is gone.
    pub async fn close(&self, id: RoomId, message: Option<String>, patience: Duration) -> bool {
        let closed = async {
            let Some(room) = self.find(id) else { return };
            // A room that is gone needs no closing.
            room.deliver(Input::CloseRoom(message.map(String::into_boxed_str))).await.ok();
            while self.0.rooms.contains_key(&id) {
                tokio::time::sleep(CLOSING_STEP).await;
            }
        };
        tokio::time::timeout(patience, closed).await.is_ok()
    }

    /// Closes the rooms whose game is over, and waits until they are gone or `patience` has passed. Their records are on
    /// the way to the archive already. Returns how many have gone.
    pub async fn close_finished(&self, patience: Duration) -> usize {
        let over: Vec<(RoomId, RoomHandle)> = self
            .0
            .rooms
            .iter()
            .filter(|room| room.stage() == RoomStage::Over)
            .map(|room| (*room.key(), room.clone()))
            .collect();
        let mut gone = 0;
        let all_gone = async {
            for (_, room) in &over {
                // A room that is gone needs no asking.
                room.deliver(Input::ReclaimMemory).await.ok();
            }
            loop {
                gone = over.iter().filter(|(id, _)| !self.0.rooms.contains_key(id)).count();
                if gone == over.len() {
                    return;
                }
                tokio::time::sleep(CLOSING_STEP).await;
            }
        };
        // What takes longer closes all the same.
        drop(tokio::time::timeout(patience, all_gone).await);
        gone
    }

    /// Gives back the places of rooms that are gone: the tables of maps grow with what they hold, and stay so otherwise.
    pub fn shrink(&self) {
        self.0.rooms.shrink_to_fit();
        self.0.reserved.shrink_to_fit();
    }

    /// `room_list_update` with the rooms that have not started, newest first. Encoded once for all who ask between two
    /// changes.
    #[must_use]
    pub fn list_frame(&self, reason: ListReason) -> Frame {
        // The version is read before the rooms: what changes meanwhile makes this list outdated, not the next.
        let version = *self.0.list_version.borrow();
        let mut list = self.0.list.lock().unwrap_or_else(PoisonError::into_inner);
        if list.version != Some(version) {
            *list = EncodedList { version: Some(version), ..EncodedList::default() };
        }
        let EncodedList { initial, requested, changed, .. } = &mut *list;
        let frame = match reason {
            ListReason::Initial => initial,
            ListReason::Requested => requested,
            ListReason::Changed => changed,
        };
        frame.get_or_insert_with(|| self.encode_list(reason)).clone()
    }

    fn encode_list(&self, reason: ListReason) -> Frame {
        server_message::room_list_update(&self.listed(), reason)
    }

    /// The rooms the lobby shows: those that have not started, newest first, and no more than it can show.
    #[must_use]
    pub fn listed(&self) -> Vec<RoomSummary> {
        let mut rooms = self.listed_here();
        let elsewhere = self.0.elsewhere.lock().unwrap_or_else(PoisonError::into_inner);
        if !elsewhere.is_empty() {
            rooms.extend(elsewhere.iter().cloned());
            newest_first(&mut rooms);
        }
        rooms
    }

    /// Those of them that are on this server.
    #[must_use]
    pub fn listed_here(&self) -> Vec<RoomSummary> {
        let handles: Vec<RoomHandle> = self.0.rooms.iter().map(|room| room.clone()).collect();
        // Summaries are copied only of those that are shown: there may be thousands more.
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

    /// Shows rooms of other servers in the lobby from now on, instead of those shown before.
    pub fn set_elsewhere(&self, rooms: Vec<RoomSummary>) {
        let mut elsewhere = self.0.elsewhere.lock().unwrap_or_else(PoisonError::into_inner);
        if *elsewhere != rooms {
            *elsewhere = rooms;
            drop(elsewhere);
            self.list_changed();
        }
    }

    /// Tells when the list of rooms has changed.
    #[must_use]
    pub fn watch_lobby(&self) -> LobbyWatch {
        LobbyWatch(self.0.list_version.subscribe())
    }

    /// Refuses new rooms, or no longer, because memory is short.
    pub fn set_memory_low(&self, is_low: bool) {
        self.0.is_memory_low.store(is_low, Ordering::Relaxed);
    }

    /// Refuses new rooms and new players, or no longer. Those who have a seat come back to it as ever.
    pub fn refuse_new(&self, refuses: bool) {
        self.0.is_stopping.store(refuses, Ordering::Relaxed);
    }

    /// Tells all tables that the server stops, and waits until their tasks have ended or `deadline` has passed.
    /// Returns how many are left.
    pub async fn stop(&self, deadline: Duration) -> usize {
        self.refuse_new(true);
        let handles: Vec<RoomHandle> = self.0.rooms.iter().map(|room| room.clone()).collect();
        let all_stopped = async {
            for room in handles {
                // A room that is gone has stopped.
                room.deliver(Input::Stop).await.ok();
            }
            let mut version = self.0.list_version.subscribe();
            while !self.is_empty() && version.changed().await.is_ok() {}
        };
        drop(tokio::time::timeout(deadline, all_stopped).await);
        self.len()
    }

    pub(super) fn options(&self) -> &Options {
        &self.0.options
    }

    pub(super) fn clock(&self) -> &Clock {
        &self.0.clock
    }

    pub(super) fn bot_permits(&self) -> Arc<Semaphore> {
        Arc::clone(&self.0.bot_permits)
    }

    pub(super) fn list_changed(&self) {
        self.0.list_version.send_modify(|version| *version = version.wrapping_add(1));
    }

    pub(super) fn tell(&self, room: RoomId, room_event: RoomEvent) {
        room_event.tell(room, &self.0.metrics, &self.0.events);
    }

    pub(super) fn keep(&self, record: GameRecord) -> Kept {
        (self.0.keep)(record)
    }

    pub(super) fn metrics(&self) -> &Arc<Metrics> {
        &self.0.metrics
    }

    pub(super) fn journal(&self) -> &Journal {
        &self.0.journal
    }

    /// Gives this id to no new room until it is [released](Self::release).
    pub(super) fn reserve(&self, id: RoomId) {
        self.0.reserved.insert(id);
    }

    /// A new room may have this id again.
    pub(super) fn release(&self, id: RoomId) {
        self.0.reserved.remove(&id);
    }

    pub(super) fn forget(&self, id: RoomId) {
        self.0.rooms.remove(&id);
        self.list_changed();
    }
}

/// Tells a lobby socket when the list of rooms has changed.
#[derive(Debug, Clone)]
pub struct LobbyWatch(watch::Receiver<u64>);

impl LobbyWatch {
    /// Waits for the next change, and a moment for those that come with it. Cancel safe. Never resolves once the
    /// registry is gone.
    pub async fn changed(&mut self) {
        if self.0.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
        self.0.mark_changed();
        tokio::time::sleep(LIST_SETTLES).await;
        self.0.mark_unchanged();
    }
}

fn newest_first(rooms: &mut Vec<RoomSummary>) {
    rooms.sort_by(|a, b| b.created_at.cmp(&a.created_at));
    rooms.truncate(LISTED_MAX);
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::super::{JournalOptions, Recovered, connection};
    use super::*;
    use crate::protocol::ClientMessage;

    fn rooms(journal: &Journal, keep: Keep) -> Rooms {
        let metrics = Arc::new(Metrics::new("test", "test", false));
        Rooms::new(Options::default(), journal.clone(), keep, metrics, Events::new(0))
    }

    fn open(folder: &Path) -> (Journal, Recovered) {
        let metrics = Arc::new(Metrics::new("test", "test", false));
        Journal::open(folder, &JournalOptions::default(), metrics).unwrap()
    }

    /// The end of a room took the journal's account of a new room that had drawn its id.
    #[tokio::test]
    async fn an_id_is_given_again_only_when_the_journal_has_forgotten_it() {
        let folder = tempfile::tempdir().unwrap();
        let (journal, _) = open(folder.path());
        let (archived, wait) = watch::channel(false);
        let keep = move |_| {
            let mut wait = wait.clone();
            Box::pin(async move { assert!(wait.wait_for(|is_archived| *is_archived).await.is_ok()) }) as Kept
        };
        let rooms = rooms(&journal, Box::new(keep));
        let session = Some(SessionKey::of("browser"));
        let id = rooms.create(session, "Ann".parse().unwrap(), OtherSeats::Bots).unwrap().room_id;
        assert!(rooms.free_place(id).is_none());
        let room = rooms.find(id).unwrap();
        let (connection, _outbox) = connection(session, 64);
        let host = connection.id;
        room.send(Input::Connected(connection)).unwrap();
        let ready = r#"{"event":"client_ready","data":{"player_name":"Ann"}}"#;
        room.send(Input::Said(host, crate::protocol::decode(ready).unwrap())).unwrap();
        room.send(Input::Said(host, ClientMessage::StartGame)).unwrap();
        assert!(rooms.close(id, None, Duration::from_secs(20)).await);

        // The game is on its way to the archive. Nobody sees the room, and the journal still has it.
        assert!(rooms.is_empty() && rooms.find(id).is_none() && rooms.listed().is_empty());
        journal.written().await;
        assert_eq!(journal.status().unwrap().rooms, 1);
        assert!(rooms.free_place(id).is_none());

        archived.send(true).unwrap();
        let place = loop {
            tokio::task::yield_now().await;
            if let Some(place) = rooms.free_place(id) {
                break place;
            }
        };
        let host = JoinRequest { session, name: "Bea".parse().unwrap(), token: SessionKey::of("token") };
        let rng = Pcg64Mcg::seed_from_u64(1);
        let options = Arc::clone(&rooms.0.options);
        let room = Room::open(id, host, ServerSeed::new([7; 32]), rng, options, rooms.0.clock.now());
        let snapshot = room.snapshot();
        place.insert(task::spawn(room, rooms.clone()));
        assert_eq!(rooms.stop(Duration::from_secs(20)).await, 0);
        journal.close();
        let recovered = open(folder.path()).1;
        assert_eq!(recovered.rooms, [(snapshot, Vec::new())]);
    }

    #[tokio::test]
    async fn a_room_that_does_not_come_back_keeps_its_id() {
        let rooms = rooms(&Journal::off(), Box::new(|_| Box::pin(async {}) as Kept));
        let no_secret = (5, 0, serde_bytes::Bytes::new(b""), 0, [(); 0], None::<()>);
        let snapshot = RoomSnapshot::from_bytes(&rmp_serde::to_vec(&no_secret).unwrap()).unwrap();
        let id = snapshot.room_id();
        assert!(rooms.free_place(id).is_some());
        let broken = rooms.restore(vec![(snapshot, Vec::new())], |_| false);
        assert_eq!(broken, [(id, RestoreError::Field("secret"))]);
        assert!(rooms.is_empty() && rooms.free_place(id).is_none());
    }

    #[tokio::test]
    async fn gone_rooms_give_their_places_back() {
        let rooms = rooms(&Journal::off(), Box::new(|_| Box::pin(async {}) as Kept));
        (0..1_000).for_each(|_| drop(rooms.create(None, "Ann".parse().unwrap(), OtherSeats::Bots).unwrap()));
        rooms.shrink();
        assert_eq!(rooms.len(), 1_000);
        assert_eq!(rooms.stop(Duration::from_secs(20)).await, 0);
        assert!(rooms.0.rooms.capacity() >= 1_000);
        rooms.shrink();
        assert_eq!(rooms.0.rooms.capacity(), 0);
    }
}
