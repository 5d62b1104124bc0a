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

use super::wire::{Announcement, Envelope, Incoming, list, rooms};
use super::{Directory, Joining, Location, Options, PublicUrl};
use crate::game::Seat;
use crate::observe::{Check, Metrics};
use crate::protocol::server_message::RoomSummary;
use crate::protocol::{InstanceId, PlayerName, RoomId, SeatChoice, SeatToken, SessionKey};
use crate::redis::{Redis, RequestError};
use crate::room::{JoinError, JoinRequest, Rooms, Seated};

/// A server that has not renewed its lease for so long is gone, and one that is about to start has started.
const LEASE: Duration = Duration::from_millis(LEASE_MS);
const LEASE_MS: u64 = 10_000;
/// How often a server renews its lease when nothing changes.
const RENEW_INTERVAL: Duration = Duration::from_secs(3);
/// Changes of a list are published no more often.
const PUBLISH_INTERVAL: Duration = Duration::from_millis(200);
/// How long a server that is gone is remembered: as long as the existing client remembers a room.
const MEMORY: Duration = Duration::from_secs(24 * 60 * 60);
/// The longest wait for requests that no table waits for.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(2);
/// The longest wait for another server's answer about a seat.
const JOIN_TIMEOUT: Duration = Duration::from_secs(3);
/// Calls to other servers that may wait for an answer, and calls of theirs that are answered at once.
const CALLS_MAX: usize = 1_024;
const ANSWERS_MAX: usize = 64;
/// Before the next attempt to subscribe.
const RETRY_INTERVAL: Duration = Duration::from_millis(500);

/// The directory kept in Redis.
#[derive(Debug)]
pub(super) struct SharedDirectory {
    inner: Arc<Inner>,
    task: JoinHandle<()>,
}

impl Drop for SharedDirectory {
    fn drop(&mut self) {
        self.task.abort();
    }
}

#[derive(Debug)]
struct Inner {
    me: InstanceId,
    url: PublicUrl,
    /// Differs from start to start of this server.
    start: String,
    rooms: Rooms,
    redis: Redis,
    channels: Channels,
    metrics: Arc<Metrics>,
    others: Mutex<Others>,
    /// Another server has our digit.
    is_doubled: AtomicBool,
    calls: Mutex<Calls>,
    answers: Arc<Semaphore>,
}

/// What is known of the other servers.
#[derive(Debug, Default)]
struct Others {
    /// Every server that was ever seen.
    seen: HashMap<InstanceId, Other>,
    /// From then on the servers in Redis are all there are; `None` while Redis cannot be reached.
    complete_at: Option<Instant>,
}

/// What is known of another server.
#[derive(Debug, Clone)]
struct Other {
    is_alive: bool,
    url: Option<PublicUrl>,
}

impl Others {
    fn count_alive(&self) -> usize {
        self.seen.values().filter(|other| other.is_alive).count()
    }

    /// All of them as if they were gone: their rooms are still theirs.
    fn all_gone(&self) -> HashMap<InstanceId, Other> {
        self.seen.iter().map(|(id, other)| (*id, Other { is_alive: false, ..other.clone() })).collect()
    }
}

#[derive(Debug, Default)]
struct Calls {
    last: u64,
    waiting: HashMap<u64, oneshot::Sender<Result<Seat, JoinError>>>,
}

fn announcement_key(instance: InstanceId) -> String {
    format!("liap:instance:{instance}")
}

fn rooms_key(instance: InstanceId) -> String {
    format!("liap:rooms:{instance}")
}

/// A published message reaches every database of a Redis, unlike keys, which belong to one. So the names of channels hold
/// the database: installations that share nothing but a Redis must not answer each other.
#[derive(Debug)]
struct Channels {
    database: u16,
    /// Changes are published here.
    changes: String,
}

impl Channels {
    fn of(database: u16) -> Self {
        Self { database, changes: format!("liap:{database}:rooms") }
    }

    /// Messages to one server.
    fn to(&self, instance: InstanceId) -> String {
        format!("liap:{}:to:{instance}", self.database)
    }
}

impl SharedDirectory {
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
            is_doubled: AtomicBool::new(false),
            // The answer to a call from before a restart must fit none of today's.
            calls: Mutex::new(Calls { last: getrandom::u64().unwrap_or(0), ..Calls::default() }),
            answers: Arc::new(Semaphore::new(ANSWERS_MAX)),
        });
        inner.metrics.instances.set(1);
        let task = tokio::spawn(Arc::clone(&inner).run());
        Self { inner, task }
    }
}

impl Directory for SharedDirectory {
    fn location(&self, id: RoomId) -> Location {
        self.inner.location(id)
    }

    fn join(&self, id: RoomId, session: SessionKey, name: PlayerName, choice: SeatChoice) -> Joining {
        let inner = Arc::clone(&self.inner);
        Box::pin(async move {
            match inner.location(id) {
                Location::Here => inner.rooms.join(id, Some(session), name, choice).await,
                Location::Elsewhere { .. } => inner.join_elsewhere(id, session, name, choice).await,
            }
        })
    }

    fn check(&self) -> Option<Check> {
        let check = if self.inner.is_doubled.load(Ordering::Relaxed) {
            Check::degraded(format!("another server has INSTANCE_ID {} too", self.inner.me))
        } else if self.inner.redis.is_up() {
            Check::healthy()
        } else {
            Check::degraded("the other servers cannot be seen; the lobby shows the rooms of this one")
        };
        let alive = self.inner.others().count_alive() + 1;
        Some(check.with("id", self.inner.me.to_string()).with("alive", alive))
    }

    fn leave(&self) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        self.task.abort();
        let inner = &self.inner;
        Box::pin(async move {
            let mut commands = pipe();
            commands.del(rooms_key(inner.me)).ignore().publish(&inner.channels.changes, inner.me.to_string()).ignore();
            // Without, the lease runs out.
            inner.redis.exchange::<()>(&commands, REQUEST_TIMEOUT).await.ok();
        })
    }
}

impl Inner {
    fn others(&self) -> MutexGuard<'_, Others> {
        self.others.lock().unwrap_or_else(PoisonError::into_inner)
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
        match others.seen.get(&id.instance()) {
            Some(Other { is_alive, url }) => Location::Elsewhere {
                is_alive: *is_alive,
                url: url.clone().filter(|url| *is_alive && *url != self.url),
            },
            // No server has this digit, so there is no such room.
            None if self.redis.is_up() && others.complete_at.is_some_and(|at| at <= Instant::now()) => Location::Here,
            None => Location::Elsewhere { is_alive: false, url: None },
        }
    }

    /// Asks the server whose room it is.
    async fn join_elsewhere(
        &self,
        id: RoomId,
        session: SessionKey,
        name: PlayerName,
        choice: SeatChoice,
    ) -> Result<Seated, JoinError> {
        let token = SeatToken::random().ok_or(JoinError::Busy)?;
        let who = JoinRequest { session: Some(session), name, token: token.key() };
        let (call, answer) = self.expect_answer().ok_or(JoinError::Busy)?;
        let message = Envelope::join(call.number, self.me, id, &who, choice);
        if self.send(id.instance(), &message).await.unwrap_or(0) == 0 {
            return Err(JoinError::Unreachable);
        }
        let seat = timeout(JOIN_TIMEOUT, answer).await;
        let seat = seat.ok().and_then(Result::ok).ok_or(JoinError::Unreachable)??;
        Ok(Seated { room_id: id, seat, token })
    }

    /// A number for a call and the channel of its answer; `None` if too many calls are waiting.
    fn expect_answer(&self) -> Option<(Call<'_>, oneshot::Receiver<Result<Seat, JoinError>>)> {
        let (sender, answer) = oneshot::channel();
        let mut calls = self.calls();
        if calls.waiting.len() >= CALLS_MAX {
            return None;
        }
        calls.last = calls.last.wrapping_add(1);
        let number = calls.last;
        calls.waiting.insert(number, sender);
        Some((Call { inner: self, number }, answer))
    }

    /// Sends a message to another server; returns how many servers got it.
    async fn send(&self, to: InstanceId, message: &Envelope) -> Result<u32, RequestError> {
        let mut commands = pipe();
        commands.publish(self.channels.to(to), message.text());
        let (received,): (u32,) = self.redis.exchange(&commands, REQUEST_TIMEOUT).await?;
        Ok(received)
    }

    /// Renews the lease and listens to the other servers. Ends with the server.
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
                ended = Arc::clone(&self).share() => if let Err(error) = ended {
                    let reason: &str = error.into();
                    log::debug!("the directory of rooms cannot be reached: {reason}");
                },
            }
            self.others().complete_at = None;
            sleep(RETRY_INTERVAL).await;
        }
    }

    /// Shares until something goes wrong.
    async fn share(self: Arc<Self>) -> Result<(), RequestError> {
        let mut listening = self.redis.subscribe().await?;
        let channels = [self.channels.to(self.me), self.channels.changes.clone()];
        let subscribed = timeout(REQUEST_TIMEOUT, listening.subscribe(&channels[..])).await;
        subscribed.map_err(|_| RequestError::TimedOut)?.map_err(|_| RequestError::Failed)?;
        let mut messages = listening.into_on_message();
        let mut lobby = self.rooms.watch_lobby();
        let mut published = String::new();
        let mut is_first = true;
        let mut last = Instant::now();
        let mut next = last;
        loop {
            tokio::select! {
                message = messages.next() => {
                    let message = message.ok_or(RequestError::Failed)?;
                    let Ok(text) = message.get_payload::<String>() else { continue };
                    if message.get_channel_name() != self.channels.changes {
                        Arc::clone(&self).receive(&text);
                    } else if text != self.me.to_string() {
                        next = next.min(last + PUBLISH_INTERVAL);
                    }
                }
                () = lobby.changed() => next = next.min(last + PUBLISH_INTERVAL),
                () = sleep_until(next) => {
                    published = self.renew(published, is_first).await?;
                    is_first = false;
                    last = Instant::now();
                    next = last + RENEW_INTERVAL;
                }
            }
        }
    }

    /// Renews the lease of this server with its list of rooms, and reads those of the others. Returns the list; the
    /// others are notified only if it differs from the one that was `published` before.
    async fn renew(&self, published: String, is_first: bool) -> Result<String, RequestError> {
        let announcement = Announcement { start: self.start.clone(), url: self.url.to_string() };
        let announcement = serde_json::to_string(&announcement).unwrap_or_default();
        let text = list(&self.rooms.listed_here());
        let mut commands = pipe();
        commands.cmd("SET").arg(announcement_key(self.me)).arg(announcement).arg("EX").arg(MEMORY.as_secs()).arg("GET");
        commands.cmd("SET").arg(rooms_key(self.me)).arg(&text).arg("PX").arg(LEASE_MS).ignore();
        commands.cmd("MGET").arg(InstanceId::all().map(announcement_key).collect::<Vec<_>>());
        commands.cmd("MGET").arg(InstanceId::all().map(rooms_key).collect::<Vec<_>>());
        if text != published {
            commands.publish(&self.channels.changes, self.me.to_string()).ignore();
        }
        type Texts = Vec<Option<String>>;
        let (before, announcements, lists): (Option<String>, Texts, Texts) =
            self.redis.exchange(&commands, REQUEST_TIMEOUT).await?;

        // A server that is missing may only be slower than this one: after a start of the machine, or when Redis has lost
        // everything. Its rooms still exist, and players must not forget games that it is about to restore.
        if is_first || before.is_none() {
            self.others().complete_at = Some(Instant::now() + LEASE);
        }

        // The announcement before the first one is from before the last restart.
        let before = before.as_deref().and_then(Announcement::read);
        let is_doubled = !is_first && before.is_some_and(|before| before.start != self.start);
        if is_doubled && !self.is_doubled.load(Ordering::Relaxed) {
            log::error!("another server has INSTANCE_ID {} too: rooms of both will be lost to players", self.me);
        }
        self.is_doubled.store(is_doubled, Ordering::Relaxed);

        let mut others = self.others().all_gone();
        let mut elsewhere = Vec::new();
        for ((instance, text), list) in InstanceId::all().zip(announcements).zip(lists) {
            let announcement = text.as_deref().and_then(Announcement::read).filter(|_| instance != self.me);
            let Some(announcement) = announcement else { continue };
            others.insert(instance, Other { is_alive: list.is_some(), url: announcement.url() });
            elsewhere.extend(list.as_deref().map(|list| rooms(instance, list)).unwrap_or_default());
        }
        self.set_others(others, elsewhere);
        Ok(text)
    }

    fn set_others(&self, seen: HashMap<InstanceId, Other>, elsewhere: Vec<RoomSummary>) {
        let mut others = self.others();
        others.seen = seen;
        self.metrics.instances.set(i64::try_from(others.count_alive() + 1).unwrap_or(i64::MAX));
        drop(others);
        self.metrics.rooms_elsewhere.set(i64::try_from(elsewhere.len()).unwrap_or(i64::MAX));
        self.rooms.set_elsewhere(elsewhere);
    }

    /// The leases of the others have run out.
    fn forget_others(&self) {
        let gone = self.others().all_gone();
        if !gone.is_empty() {
            self.set_others(gone, Vec::new());
        }
    }

    /// Takes a message of another server.
    fn receive(self: Arc<Self>, text: &str) {
        match Envelope::read(text) {
            Some(Incoming::Answer { call, outcome }) => {
                let waiting = self.calls().waiting.remove(&call);
                if let Some(waiting) = waiting {
                    // The caller may have left.
                    waiting.send(outcome).ok();
                }
            }
            Some(Incoming::Join { call, from, room, who, choice }) => {
                // Beyond the bound a call is dropped, and the caller runs into its timeout.
                let Ok(permit) = Arc::clone(&self.answers).try_acquire_owned() else { return };
                tokio::spawn(async move {
                    let outcome = self.rooms.seat(room, who, choice).await;
                    if self.send(from, &Envelope::answer(call, outcome)).await.is_err() {
                        log::debug!("an answer to another server was lost");
                    }
                    drop(permit);
                });
            }
            None => log::debug!("another server has sent a message that cannot be read"),
        }
    }
}

/// A call that waits for its answer; forgotten when dropped.
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
    fn the_document_says_when_a_dead_server_is_noticed() {
        let text = include_str!("../../docs/full-mode.md");
        // Renewed right before it died, and read right before its lease ran out.
        let said = format!("within {} seconds the lists are without them", (LEASE + RENEW_INTERVAL).as_secs());
        assert!(text.contains(&said), "{said}");
    }
}
