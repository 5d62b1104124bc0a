//! The recent events of the server, for operators: numbered, timed, bounded, and to be followed live.
//!
//! Events are about rooms, players, games, the archive, limits, memory and administrators. Moves are no events, so no event
//! can show a hand, and no move ever waits for this.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::{Map, Value};
use strum::IntoStaticStr;
use tokio::sync::watch;
use tokio::time::Instant;

use super::wall_time;

/// What kind of event it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, IntoStaticStr)]
#[strum(serialize_all = "snake_case")]
pub enum EventKind {
    /// The server accepts players.
    ServerStarted,
    /// The server stops.
    ServerStopping,
    /// Live rooms are restored after a restart.
    RoomsRestored,
    /// A room was created.
    RoomOpened,
    /// A room was closed.
    RoomClosed,
    /// A player took a seat.
    PlayerJoined,
    /// A player gave up a seat, or was removed from it.
    PlayerLeft,
    /// A player is disconnected, and a bot plays instead.
    PlayerLost,
    /// A disconnected player is back.
    PlayerBack,
    /// A game began.
    GameStarted,
    /// A game ended with winners.
    GameFinished,
    /// A game ended without winners.
    GameAbandoned,
    /// A completed game is safe in the archive.
    ArchiveStored,
    /// Completed games cannot be stored; they wait.
    ArchiveFailing,
    /// They can be stored again.
    ArchiveRecovered,
    /// The next pass removes many games for their age.
    RemovalAnnounced,
    /// A message or request met a rate limit.
    LimitHit,
    /// A socket was closed because it kept breaking rules.
    AbuseClosed,
    /// Memory has become tighter, or less tight.
    MemoryLevel,
    /// Memory was given back.
    MemoryFreed,
    /// The server drains: it refuses new players and rooms.
    DrainBegun,
    /// The server no longer drains.
    DrainEnded,
    /// An administrator changed something.
    AdminAction,
    /// A request for administrators had a wrong token.
    AdminRefused,
}

impl EventKind {
    /// Its name where it is shown.
    pub fn name(self) -> &'static str {
        self.into()
    }
}

/// One event.
#[derive(Debug, PartialEq, Eq)]
pub struct ServerEvent {
    /// Its number: one more than the one before, and higher than all of earlier runs.
    pub number: u64,
    /// The event as a JSON object.
    pub json: Box<str>,
}

/// The last events of the server. Clones are the same events.
#[derive(Debug, Clone)]
pub struct Events(Arc<EventLog>);

#[derive(Debug)]
struct EventLog {
    capacity: usize,
    ring: Mutex<Ring>,
    newest: watch::Sender<u64>,
    tallies: Mutex<Vec<Tally>>,
}

/// The texts are stored one behind the other. Ten thousand small allocations, made between everything else that the server
/// does, would keep as many pages of memory from ever being given back: forty megabytes instead of two.
#[derive(Debug)]
struct Ring {
    next: u64,
    /// The ends of their texts, counted from the very first text like `dropped`, wrapping around.
    ends: VecDeque<usize>,
    texts: VecDeque<u8>,
    /// Bytes of all texts that were dropped, wrapping around.
    dropped: usize,
}

impl Ring {
    fn push(&mut self, text: &str) {
        self.texts.extend(text.as_bytes());
        self.ends.push_back(self.dropped.wrapping_add(self.texts.len()));
    }

    fn pop(&mut self) {
        let Some(end) = self.ends.pop_front() else { return };
        self.texts.drain(..end.wrapping_sub(self.dropped));
        self.dropped = end;
    }

    /// The number of the oldest event.
    fn first(&self) -> u64 {
        self.next - self.ends.len() as u64
    }

    /// Up to `limit` events, from this index on.
    fn read(&self, from: usize, limit: usize) -> Vec<ServerEvent> {
        let before = from.checked_sub(1).and_then(|before| self.ends.get(before));
        let mut begin = before.map_or(0, |end| end.wrapping_sub(self.dropped));
        let numbered = (self.first()..).zip(&self.ends).skip(from).take(limit);
        let copied = numbered.map(|(number, end)| {
            let end = end.wrapping_sub(self.dropped);
            let text = self.texts.range(begin..end).copied().collect();
            begin = end;
            // The bytes of one whole text are UTF-8.
            ServerEvent { number, json: String::from_utf8(text).unwrap_or_default().into_boxed_str() }
        });
        copied.collect()
    }
}

/// Counts what happens too often for an event each time.
#[derive(Debug)]
struct Tally {
    kind: EventKind,
    what: &'static str,
    /// Since the last event.
    times: u64,
    noted_at: Option<Instant>,
}

/// The content of such an event: what, and how many times.
type Often = (EventKind, &'static str, u64);

impl Tally {
    /// The event that is due, if there is something to note and the last event is long enough ago.
    fn take_due(&mut self, now: Instant) -> Option<Often> {
        if self.times == 0 || self.noted_at.is_some_and(|at| now.duration_since(at) < TALLY_INTERVAL) {
            return None;
        }
        self.noted_at = Some(now);
        Some((self.kind, self.what, std::mem::take(&mut self.times)))
    }
}

/// The shortest time between two events of one tally.
const TALLY_INTERVAL: Duration = Duration::from_secs(1);

impl Events {
    /// Keeps the last `capacity` events.
    pub fn new(capacity: usize) -> Self {
        // From the clock, so that numbers only grow for a follower across a restart. Events are far rarer than one a
        // millisecond.
        let first = unix_ms();
        Self(Arc::new(EventLog {
            capacity,
            ring: Mutex::new(Ring { next: first, ends: VecDeque::new(), texts: VecDeque::new(), dropped: 0 }),
            newest: watch::Sender::new(first.saturating_sub(1)),
            tallies: Mutex::default(),
        }))
    }

    /// Adds an event. `fields` is a JSON object.
    pub fn note(&self, kind: EventKind, fields: Value) {
        let at = wall_time();
        let mut ring = self.ring();
        let number = ring.next;
        if self.0.capacity > 0 {
            let mut event = Map::new();
            event.insert("number".to_owned(), number.into());
            event.insert("at".to_owned(), format!("{at:.3}").into());
            event.insert("kind".to_owned(), kind.name().into());
            if let Value::Object(fields) = fields {
                event.extend(fields);
            }
            if ring.ends.len() >= self.0.capacity {
                ring.pop();
            }
            ring.push(&Value::Object(event).to_string());
        }
        ring.next += 1;
        // Under the lock, so that the newest number is never an older one.
        self.0.newest.send_replace(number);
    }

    /// Counts something that may happen many times a second, and adds an event with the count at most once a second.
    pub fn note_often(&self, kind: EventKind, what: &'static str) {
        let due = {
            let mut tallies = self.tallies();
            let known = tallies.iter().position(|tally| tally.kind == kind && tally.what == what);
            let at = known.unwrap_or_else(|| {
                tallies.push(Tally { kind, what, times: 0, noted_at: None });
                tallies.len() - 1
            });
            let Some(tally) = tallies.get_mut(at) else { return };
            tally.times += 1;
            tally.take_due(Instant::now())
        };
        self.note_times(due);
    }

    /// Adds the events that [`Self::note_often`] still owes, once they are due. Never ends.
    pub async fn flush_pending(self) {
        let mut interval = tokio::time::interval(TALLY_INTERVAL);
        loop {
            let now = interval.tick().await;
            let due: Vec<Often> = self.tallies().iter_mut().filter_map(|tally| tally.take_due(now)).collect();
            self.note_times(due);
        }
    }

    fn note_times(&self, due: impl IntoIterator<Item = Often>) {
        for (kind, what, times) in due {
            self.note(kind, serde_json::json!({ "what": what, "times": times }));
        }
    }

    fn tallies(&self) -> MutexGuard<'_, Vec<Tally>> {
        self.0.tallies.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The events after this number, oldest first, and no more than `limit`. A number from the future counts as 0.
    pub fn after(&self, number: u64, limit: usize) -> Vec<ServerEvent> {
        let ring = self.ring();
        let number = if number >= ring.next { 0 } else { number };
        let from = (number + 1).saturating_sub(ring.first());
        ring.read(usize::try_from(from).unwrap_or(usize::MAX), limit)
    }

    /// The last `limit` events, oldest first.
    pub fn last(&self, limit: usize) -> Vec<ServerEvent> {
        let ring = self.ring();
        ring.read(ring.ends.len().saturating_sub(limit), limit)
    }

    /// The number of the newest event.
    pub fn newest(&self) -> u64 {
        *self.0.newest.borrow()
    }

    /// How many events are kept at the moment, and at most.
    pub fn kept(&self) -> (usize, usize) {
        (self.ring().ends.len(), self.0.capacity)
    }

    /// Follows what happens after this number.
    pub fn follow(&self, number: u64) -> Follower {
        let number = if number > self.newest() { 0 } else { number };
        Follower { newest: self.0.newest.subscribe(), events: self.clone(), number }
    }

    fn ring(&self) -> MutexGuard<'_, Ring> {
        self.0.ring.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Follows every event. A follower that is slower than the buffer is long misses some, and sees that by the numbers.
#[derive(Debug)]
pub struct Follower {
    events: Events,
    newest: watch::Receiver<u64>,
    number: u64,
}

/// Events given to a follower at once.
const FOLLOWED_AT_ONCE: usize = 100;

impl Follower {
    /// Waits for the next events. Cancel safe.
    pub async fn next(&mut self) -> Vec<ServerEvent> {
        loop {
            // Marked first, so that an event between reading and waiting is not missed.
            self.newest.mark_unchanged();
            let found = self.events.after(self.number, FOLLOWED_AT_ONCE);
            if let Some(last) = found.last() {
                self.number = last.number;
                return found;
            }
            if self.newest.changed().await.is_err() {
                // Never reached: `self.events` holds the sender.
                std::future::pending::<()>().await;
            }
        }
    }
}

fn unix_ms() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(now.as_millis()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn numbers(events: &[ServerEvent]) -> Vec<u64> {
        events.iter().map(|event| event.number).collect()
    }

    #[test]
    fn the_last_events_are_kept_in_order_and_no_more() {
        let events = Events::new(3);
        let before = events.newest();
        for room in ["A", "B", "C", "D"] {
            events.note(EventKind::RoomOpened, json!({ "room": room }));
        }
        let kept = events.last(10);
        assert_eq!(numbers(&kept), [before + 2, before + 3, before + 4]);
        assert_eq!(events.kept(), (3, 3));
        let newest: Value = serde_json::from_str(&kept[2].json).unwrap();
        assert_eq!((&newest["kind"], &newest["room"]), (&json!("room_opened"), &json!("D")));
        assert!(newest["at"].as_str().unwrap().parse::<jiff::Timestamp>().is_ok());
        assert_eq!(numbers(&events.after(before + 3, 10)), [before + 4]);
        assert_eq!(numbers(&events.after(before + 4, 10)), [0_u64; 0]);
        assert_eq!(numbers(&events.after(before + 99, 10)).len(), 3, "a number from the future");
        assert_eq!(events.last(1)[0].number, before + 4);
    }

    #[test]
    fn each_event_keeps_its_own_text() {
        let events = Events::new(7);
        let before = events.newest();
        for length in 0..100 {
            events.note(EventKind::RoomOpened, json!({ "host": "界".repeat(length) }));
            for event in events.after(events.newest() - 5, 3) {
                let said: Value = serde_json::from_str(&event.json).unwrap();
                assert_eq!(said["number"], event.number);
                assert_eq!(said["host"].as_str().unwrap().chars().count() as u64, event.number - before - 1);
            }
        }
        assert_eq!(numbers(&events.after(before, 100)), Vec::from_iter(before + 94..=before + 100));
    }

    #[test]
    fn an_empty_buffer_still_counts() {
        let events = Events::new(0);
        let before = events.newest();
        events.note(EventKind::DrainBegun, json!({}));
        assert_eq!((events.newest(), events.last(10).len()), (before + 1, 0));
    }

    #[tokio::test(start_paused = true)]
    async fn frequent_events_are_added_once_a_second() {
        let events = Events::new(100);
        for _ in 0..1_000 {
            events.note_often(EventKind::LimitHit, "player");
        }
        events.note_often(EventKind::LimitHit, "http");
        assert_eq!(events.last(10).len(), 2);
        tokio::time::advance(TALLY_INTERVAL).await;
        events.note_often(EventKind::LimitHit, "player");
        let last: Value = serde_json::from_str(&events.last(1)[0].json).unwrap();
        assert_eq!((&last["what"], &last["times"]), (&json!("player"), &json!(1_000)));
    }

    #[tokio::test(start_paused = true)]
    async fn the_last_count_is_added_though_nothing_more_happens() {
        let events = Events::new(100);
        tokio::spawn(events.clone().flush_pending());
        for _ in 0..9 {
            events.note_often(EventKind::AdminRefused, "token");
        }
        tokio::time::sleep(3 * TALLY_INTERVAL).await;
        let times = |event: &ServerEvent| serde_json::from_str::<Value>(&event.json).unwrap()["times"].clone();
        assert_eq!(events.last(10).iter().map(times).collect::<Vec<_>>(), [1, 8]);
    }

    #[tokio::test]
    async fn a_follower_gets_everything_once() {
        let events = Events::new(1_000);
        events.note(EventKind::RoomOpened, json!({}));
        let mut follower = events.follow(0);
        assert_eq!(follower.next().await.len(), 1);
        let waiting = tokio::spawn(async move { numbers(&follower.next().await) });
        tokio::task::yield_now().await;
        events.note(EventKind::RoomClosed, json!({}));
        assert_eq!(waiting.await.unwrap(), [events.newest()]);
    }
}
