//! The directory that several servers share.

use std::collections::HashMap;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::StreamExt as _;
use redis::pipe;
use tokio::sync::{Semaphore, oneshot};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, sleep_until, timeout};

use super::wire::{Card, Heard, Word, list, rooms};
use super::{Directory, Joining, Location, Options, PublicUrl};
use crate::game::Seat;
use crate::observe::{Check, Metrics};
use crate::protocol::server_message::RoomSummary;
use crate::protocol::{InstanceId, PlayerName, RoomId, SeatToken, SessionKey};
use crate::redis::{Redis, Trouble};
use crate::room::{JoinError, JoinRequest, Rooms, Seated};

/// A server that has not been heard of for so long is gone, and one that is about to come has come.
const LEASE: Duration = Duration::from_millis(LEASE_MS);
const LEASE_MS: u64 = 10_000;
/// How often a server is heard of when nothing changes.
const RENEW: Duration = Duration::from_secs(3);
/// Changes of a list reach the others no more often.
const SETTLES: Duration = Duration::from_millis(200);
/// How long a server is remembered that is gone: as long as the existing client remembers a room.
const REMEMBERED: Duration = Duration::from_secs(24 * 60 * 60);
/// The longest wait for what nobody at a table waits for.
const PATIENCE: Duration = Duration::from_secs(2);
/// The longest wait for another server's answer about a seat.
const JOIN_WITHIN: Duration = Duration::from_secs(3);
/// Questions to other servers that may be under way, and questions of theirs that are worked on at once.
const CALLS: usize = 1_024;
const ANSWERS: usize = 64;
/// Before the next attempt to listen.
const PAUSE: Duration = Duration::from_millis(500);

/// The directory kept in Redis.
#[derive(Debug)]
pub(super) struct Shared {
    inner: Arc<Inner>,
    task: JoinHandle<()>,
}

impl Drop for Shared {
    fn drop(&mut self) {
        self.task.abort();
    }
}

#[derive(Debug)]
struct Inner {
    me: InstanceId,
    url: PublicUrl,
    /// This start of this server.
    start: String,
    rooms: Rooms,
    redis: Redis,
    channels: Channels,
    metrics: Arc<Metrics>,
    /// Every server that was ever heard of; nothing before the first look.
    others: Mutex<Option<HashMap<InstanceId, Other>>>,
    /// From when on whoever is in Redis is all there are; nothing while it is out of reach.
    complete_at: Mutex<Option<Instant>>,
    /// Another server has our digit.
    is_doubled: AtomicBool,
    calls: Mutex<Calls>,
    answers: Arc<Semaphore>,
}

/// What is known of another server.
#[derive(Debug, Clone)]
struct Other {
    is_alive: bool,
    url: Option<PublicUrl>,
}

#[derive(Debug, Default)]
struct Calls {
    last: u64,
    waiting: HashMap<u64, oneshot::Sender<Result<Seat, JoinError>>>,
}

fn card_key(instance: InstanceId) -> String {
    format!("liap:instance:{instance}")
}

fn rooms_key(instance: InstanceId) -> String {
    format!("liap:rooms:{instance}")
}

/// What is called out is heard in every database of a Redis, unlike keys, which are each database's own. So the names
/// say which one is meant: houses that share a Redis and nothing else must not answer each other.
#[derive(Debug)]
struct Channels {
    database: u16,
    /// Changes are called out here.
    changes: String,
}

impl Channels {
    fn of(database: u16) -> Self {
        Self { database, changes: format!("liap:{database}:rooms") }
    }

    /// What is said to one server.
    fn to(&self, instance: InstanceId) -> String {
        format!("liap:{}:to:{instance}", self.database)
    }
}

impl Shared {
    pub(super) fn open(options: &Options, me: InstanceId, rooms: Rooms, redis: Redis, metrics: Arc<Metrics>) -> Self {
        let start = format!("{:016x}{:08x}", getrandom::u64().unwrap_or(0), std::process::id());
        let inner = Arc::new(Inner {
            me,
            url: options.url.clone(),
            start,
            rooms,
            channels: Channels::of(redis.database()),
            redis,
            metrics,
            others: Mutex::default(),
            complete_at: Mutex::default(),
            is_doubled: AtomicBool::new(false),
            // An answer to a question from before a restart must fit none of today's.
            calls: Mutex::new(Calls { last: getrandom::u64().unwrap_or(0), ..Calls::default() }),
            answers: Arc::new(Semaphore::new(ANSWERS)),
        });
        inner.metrics.instances.set(1);
        let task = tokio::spawn(Arc::clone(&inner).run());
        Self { inner, task }
    }
}

impl Directory for Shared {
    fn location(&self, id: RoomId) -> Location {
        self.inner.location(id)
    }

    fn join(&self, id: RoomId, session: SessionKey, name: PlayerName) -> Joining {
        let inner = Arc::clone(&self.inner);
        Box::pin(async move {
            match inner.location(id) {
                Location::Here => inner.rooms.join(id, Some(session), name).await,
                Location::Elsewhere { .. } => inner.join_elsewhere(id, session, name).await,
            }
        })
    }

    fn check(&self) -> Option<Check> {
        let others = self.inner.others();
        let check = if self.inner.is_doubled.load(Ordering::Relaxed) {
            Check::degraded(format!("another server has INSTANCE_ID {} too", self.inner.me))
        } else if self.inner.redis.is_up() {
            Check::healthy()
        } else {
            Check::degraded("the other servers are out of sight; the lobby shows the rooms of this one")
        };
        let alive = others.iter().flatten().filter(|(_, other)| other.is_alive).count() + 1;
        Some(check.with("id", self.inner.me.to_string()).with("alive", alive))
    }

    fn leave(&self) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        self.task.abort();
        let inner = &self.inner;
        Box::pin(async move {
            let mut commands = pipe();
            commands.del(rooms_key(inner.me)).ignore().publish(&inner.channels.changes, inner.me.to_string()).ignore();
            // Without, the lease runs out.
            inner.redis.exchange::<()>(&commands, PATIENCE).await.ok();
        })
    }
}

impl Inner {
    fn others(&self) -> MutexGuard<'_, Option<HashMap<InstanceId, Other>>> {
        self.others.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn complete_at(&self) -> MutexGuard<'_, Option<Instant>> {
        self.complete_at.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn calls(&self) -> MutexGuard<'_, Calls> {
        self.calls.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn location(&self, id: RoomId) -> Location {
        // A room from before this server had a digit is here whatever its id says.
        if id.instance() == self.me || self.rooms.find(id).is_some() {
            return Location::Here;
        }
        let others = self.others();
        match others.as_ref().map(|others| others.get(&id.instance())) {
            Some(Some(Other { is_alive, url })) => Location::Elsewhere {
                is_alive: *is_alive,
                url: url.clone().filter(|url| *is_alive && *url != self.url),
            },
            // Nobody has this digit, so there is no such room.
            Some(None) if self.redis.is_up() && self.complete_at().is_some_and(|at| at <= Instant::now()) => {
                Location::Here
            }
            _ => Location::Elsewhere { is_alive: false, url: None },
        }
    }

    /// Asks the server whose room it is.
    async fn join_elsewhere(&self, id: RoomId, session: SessionKey, name: PlayerName) -> Result<Seated, JoinError> {
        let token = SeatToken::random().ok_or(JoinError::Busy)?;
        let who = JoinRequest { session: Some(session), name, token: token.key() };
        let (call, answer) = self.expect_answer().ok_or(JoinError::Busy)?;
        let word = Word::join(call.number, self.me, id, &who);
        let heard_by = self.tell(id.instance(), &word).await.unwrap_or(0);
        if heard_by == 0 {
            return Err(JoinError::Unreachable);
        }
        let seat = timeout(JOIN_WITHIN, answer).await;
        let seat = seat.ok().and_then(Result::ok).ok_or(JoinError::Unreachable)??;
        Ok(Seated { room_id: id, seat, token })
    }

    /// A number for a question and the way its answer will come; `None` if too many are under way.
    fn expect_answer(&self) -> Option<(Call<'_>, oneshot::Receiver<Result<Seat, JoinError>>)> {
        let (sender, answer) = oneshot::channel();
        let mut calls = self.calls();
        if calls.waiting.len() >= CALLS {
            return None;
        }
        calls.last = calls.last.wrapping_add(1);
        let number = calls.last;
        calls.waiting.insert(number, sender);
        Some((Call { inner: self, number }, answer))
    }

    /// Tells another server something; says how many have heard it.
    async fn tell(&self, to: InstanceId, word: &Word) -> Result<u32, Trouble> {
        let mut commands = pipe();
        commands.publish(self.channels.to(to), word.text());
        let (heard_by,): (u32,) = self.redis.exchange(&commands, PATIENCE).await?;
        Ok(heard_by)
    }

    /// Renews the lease and listens to the others, for as long as this server lives.
    async fn run(self: Arc<Self>) {
        let mut up = self.redis.watch();
        loop {
            if timeout(LEASE, up.wait_for(|is_up| *is_up)).await.is_err() {
                self.forget_others();
            }
            if up.wait_for(|is_up| *is_up).await.is_err() {
                return;
            }
            let gone = async { drop(up.wait_for(|is_up| !is_up).await) };
            tokio::select! {
                () = gone => {}
                ended = Arc::clone(&self).share() => if let Err(trouble) = ended {
                    log::debug!("the directory of rooms is out of reach: {}", trouble.name());
                },
            }
            *self.complete_at() = None;
            sleep(PAUSE).await;
        }
    }

    /// Shares until something goes wrong.
    async fn share(self: Arc<Self>) -> Result<(), Trouble> {
        let mut listening = self.redis.subscribe().await?;
        let channels = [self.channels.to(self.me), self.channels.changes.clone()];
        let subscribed = timeout(PATIENCE, listening.subscribe(&channels[..])).await;
        subscribed.map_err(|_| Trouble::Slow)?.map_err(|_| Trouble::Failed)?;
        let mut messages = listening.into_on_message();
        let mut lobby = self.rooms.watch_lobby();
        let mut said = String::new();
        let mut is_first = true;
        let mut last = Instant::now();
        let mut next = last;
        loop {
            tokio::select! {
                message = messages.next() => {
                    let message = message.ok_or(Trouble::Failed)?;
                    let Ok(text) = message.get_payload::<String>() else { continue };
                    if message.get_channel_name() != self.channels.changes {
                        Arc::clone(&self).hear(&text);
                    } else if text != self.me.to_string() {
                        next = next.min(last + SETTLES);
                    }
                }
                () = lobby.changed() => next = next.min(last + SETTLES),
                () = sleep_until(next) => {
                    said = self.renew(said, is_first).await?;
                    is_first = false;
                    last = Instant::now();
                    next = last + RENEW;
                }
            }
        }
    }

    /// Writes what there is to say about this server, and reads what the others have written. Gives back what was
    /// said; others are told only if it has changed.
    async fn renew(&self, said: String, is_first: bool) -> Result<String, Trouble> {
        let card = Card { start: self.start.clone(), url: self.url.to_string() };
        let card = serde_json::to_string(&card).unwrap_or_default();
        let text = list(&self.rooms.listed_here());
        let mut commands = pipe();
        commands.cmd("SET").arg(card_key(self.me)).arg(card).arg("EX").arg(REMEMBERED.as_secs()).arg("GET");
        commands.cmd("SET").arg(rooms_key(self.me)).arg(&text).arg("PX").arg(LEASE_MS).ignore();
        commands.cmd("MGET").arg(InstanceId::all().map(card_key).collect::<Vec<_>>());
        commands.cmd("MGET").arg(InstanceId::all().map(rooms_key).collect::<Vec<_>>());
        if text != said {
            commands.publish(&self.channels.changes, self.me.to_string()).ignore();
        }
        type Texts = Vec<Option<String>>;
        let (before, cards, lists): (Option<String>, Texts, Texts) = self.redis.exchange(&commands, PATIENCE).await?;

        // Whoever is not there may only be slower than this server: after a start of the machine, or when Redis has lost
        // everything. His rooms are not nobody's, or players would forget games that he is about to bring back.
        if is_first || before.is_none() {
            *self.complete_at() = Some(Instant::now() + LEASE);
        }

        // What stood there before the first time was written before the last restart.
        let stranger = before.as_deref().and_then(Card::read).is_some_and(|card| card.start != self.start);
        let is_doubled = stranger && !is_first;
        if is_doubled && !self.is_doubled.load(Ordering::Relaxed) {
            log::error!("another server has INSTANCE_ID {} too: rooms of both will be lost to players", self.me);
        }
        self.is_doubled.store(is_doubled, Ordering::Relaxed);

        let mut others = self.gone_others();
        let mut elsewhere = Vec::new();
        for ((instance, card), list) in InstanceId::all().zip(cards).zip(lists) {
            let Some(card) = card.as_deref().and_then(Card::read).filter(|_| instance != self.me) else { continue };
            others.insert(instance, Other { is_alive: list.is_some(), url: card.url() });
            elsewhere.extend(list.as_deref().map(|list| rooms(instance, list)).unwrap_or_default());
        }
        self.see(others, elsewhere);
        Ok(text)
    }

    fn see(&self, others: HashMap<InstanceId, Other>, elsewhere: Vec<RoomSummary>) {
        let alive = others.values().filter(|other| other.is_alive).count() + 1;
        self.metrics.instances.set(i64::try_from(alive).unwrap_or(i64::MAX));
        self.metrics.rooms_elsewhere.set(i64::try_from(elsewhere.len()).unwrap_or(i64::MAX));
        *self.others() = Some(others);
        self.rooms.set_elsewhere(elsewhere);
    }

    /// What was known of the others has run out.
    fn forget_others(&self) {
        if self.others().is_some() {
            self.see(self.gone_others(), Vec::new());
        }
    }

    /// The others as if all of them were gone: their rooms are no less theirs.
    fn gone_others(&self) -> HashMap<InstanceId, Other> {
        let others = self.others();
        others.iter().flatten().map(|(id, other)| (*id, Other { is_alive: false, ..other.clone() })).collect()
    }

    /// Takes what another server says.
    fn hear(self: Arc<Self>, text: &str) {
        match Word::read(text) {
            Some(Heard::Answer { call, outcome }) => {
                let waiting = self.calls().waiting.remove(&call);
                if let Some(waiting) = waiting {
                    // Whoever asked may have left.
                    waiting.send(outcome).ok();
                }
            }
            Some(Heard::Join { call, from, room, who }) => {
                // Beyond the bound a question is lost, and whoever asked hears that we are out of reach.
                let Ok(permit) = Arc::clone(&self.answers).try_acquire_owned() else { return };
                tokio::spawn(async move {
                    let outcome = self.rooms.seat(room, who).await;
                    if self.tell(from, &Word::answer(call, outcome)).await.is_err() {
                        log::debug!("an answer to another server was lost");
                    }
                    drop(permit);
                });
            }
            None => log::debug!("another server has said something that makes no sense"),
        }
    }
}

/// A question under way; forgotten when dropped.
struct Call<'a> {
    inner: &'a Inner,
    number: u64,
}

impl Drop for Call<'_> {
    fn drop(&mut self) {
        self.inner.calls().waiting.remove(&self.number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_document_says_when_a_dead_server_is_missed() {
        let text = include_str!("../../docs/full-mode.md");
        // Renewed right before it died, and looked for right before its lease has run out.
        let said = format!("within {} seconds the lists are without them", (LEASE + RENEW).as_secs());
        assert!(text.contains(&said), "{said}");
    }
}
