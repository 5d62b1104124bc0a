//! What happened on the server lately, for operators: numbered, timed, bounded, and to be followed live.
//!
//! Rooms, players, games, the archive, limits, memory and administrators are told of here; moves are not, so nothing of a
//! hand can be, and no move ever waits for this.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::{Map, Value};
use strum::IntoStaticStr;
use tokio::sync::watch;
use tokio::time::Instant;

/// What kind of event it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, IntoStaticStr)]
#[strum(serialize_all = "snake_case")]
pub enum EventKind {
    /// The server takes newcomers.
    ServerStarted,
    /// The server stops.
    ServerStopping,
    /// Live rooms are back after a restart.
    RoomsRestored,
    /// Somebody opened a room.
    RoomOpened,
    /// A room is no more.
    RoomClosed,
    /// Somebody took a seat.
    PlayerJoined,
    /// Somebody gave his seat up, or was removed from it.
    PlayerLeft,
    /// A player is gone and a bot plays for him.
    PlayerLost,
    /// He is back.
    PlayerBack,
    /// A game began.
    GameStarted,
    /// A game has found its winners.
    GameFinished,
    /// A game ended without winners.
    GameAbandoned,
    /// A completed game is safe in the archive.
    ArchiveStored,
    /// Completed games cannot be stored; they wait.
    ArchiveFailing,
    /// They can be stored again.
    ArchiveRecovered,
    /// Somebody met a rate limit.
    LimitHit,
    /// A socket was closed because it did not stop breaking rules.
    AbuseClosed,
    /// Memory has become tighter, or less tight.
    MemoryLevel,
    /// Memory was given back.
    MemoryFreed,
    /// Newcomers are refused so that the server empties.
    DrainBegun,
    /// Newcomers are welcome again.
    DrainEnded,
    /// An administrator did something.
    AdminAction,
    /// Somebody showed a wrong token.
    AdminRefused,
}

impl EventKind {
    /// Its name where it is shown.
    pub fn name(self) -> &'static str {
        self.into()
    }
}

/// One thing that happened.
#[derive(Debug, PartialEq, Eq)]
pub struct ServerEvent {
    /// Its number: each is one more than the one before, and higher than all of earlier runs.
    pub number: u64,
    /// What kind it is.
    pub kind: EventKind,
    /// All of it as an object of JSON.
    pub json: Box<str>,
}

/// The last events of the server. Clones are the same events.
#[derive(Debug, Clone)]
pub struct Events(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    most: usize,
    ring: Mutex<Ring>,
    newest: watch::Sender<u64>,
    tallies: Mutex<Vec<Tally>>,
}

/// The texts lie one behind the other in one place. Ten thousand small ones, each made between whatever else the server was
/// doing, would keep as many pages of memory from ever being given back: forty megabytes instead of two.
#[derive(Debug)]
struct Ring {
    next: u64,
    events: VecDeque<Kept>,
    texts: VecDeque<u8>,
    /// How many bytes of texts have come before those that are kept, modulo what a `usize` holds.
    gone: usize,
}

#[derive(Debug, Clone, Copy)]
struct Kept {
    kind: EventKind,
    /// Where its text ends, counted from the first text of all, as `Ring::gone` is.
    end: usize,
}

impl Ring {
    fn push(&mut self, kind: EventKind, text: &str) {
        self.texts.extend(text.as_bytes());
        let end = self.gone.wrapping_add(self.texts.len());
        self.events.push_back(Kept { kind, end });
    }

    fn pop(&mut self) {
        let Some(oldest) = self.events.pop_front() else { return };
        self.texts.drain(..self.offset(oldest));
        self.gone = oldest.end;
    }

    /// The number of the oldest event.
    fn first(&self) -> u64 {
        self.next - self.events.len() as u64
    }

    /// Up to `limit` events, from this index on.
    fn read(&self, from: usize, limit: usize) -> Vec<ServerEvent> {
        let before = from.checked_sub(1).and_then(|before| self.events.get(before));
        let mut begin = before.map_or(0, |before| self.offset(*before));
        let numbered = (self.first()..).zip(&self.events).skip(from).take(limit);
        let copied = numbered.map(|(number, kept)| {
            let end = self.offset(*kept);
            let text = self.texts.range(begin..end).copied().collect();
            begin = end;
            // It was a text when it came.
            let json = String::from_utf8(text).unwrap_or_default().into_boxed_str();
            ServerEvent { number, kind: kept.kind, json }
        });
        copied.collect()
    }

    /// Where in `texts` the text of an event ends.
    fn offset(&self, event: Kept) -> usize {
        event.end.wrapping_sub(self.gone)
    }
}

/// What happens too often to be told each time.
#[derive(Debug)]
struct Tally {
    kind: EventKind,
    what: &'static str,
    /// Since it was last told.
    times: u64,
    told: Option<Instant>,
}

/// What is told of it.
struct Times {
    kind: EventKind,
    what: &'static str,
    times: u64,
}

impl Tally {
    /// What is to be told now, if there is anything and the last time is long enough ago.
    fn take_due(&mut self, now: Instant) -> Option<Times> {
        if self.times == 0 || self.told.is_some_and(|told| now.duration_since(told) < TALLY_INTERVAL) {
            return None;
        }
        self.told = Some(now);
        Some(Times { kind: self.kind, what: self.what, times: std::mem::take(&mut self.times) })
    }
}

/// Things that happen often are told no more often than this, with how often they happened.
const TALLY_INTERVAL: Duration = Duration::from_secs(1);

impl Events {
    /// Keeps the last `most` events.
    pub fn new(most: usize) -> Self {
        // From the clock, so that whoever follows across a restart sees numbers that only grow. Nothing here happens a
        // thousand times a second for long.
        let first = unix_ms();
        Self(Arc::new(Shared {
            most,
            ring: Mutex::new(Ring { next: first, events: VecDeque::new(), texts: VecDeque::new(), gone: 0 }),
            newest: watch::Sender::new(first.saturating_sub(1)),
            tallies: Mutex::default(),
        }))
    }

    /// Tells of something. `fields` is an object with what else there is to say.
    pub fn note(&self, kind: EventKind, fields: Value) {
        let at = jiff::Timestamp::now();
        let mut ring = self.ring();
        let number = ring.next;
        if self.0.most > 0 {
            let mut event = Map::new();
            event.insert("number".to_owned(), number.into());
            event.insert("at".to_owned(), format!("{at:.3}").into());
            event.insert("kind".to_owned(), kind.name().into());
            if let Value::Object(fields) = fields {
                event.extend(fields);
            }
            if ring.events.len() >= self.0.most {
                ring.pop();
            }
            ring.push(kind, &Value::Object(event).to_string());
        }
        ring.next += 1;
        // Under the lock, so that the newest number is never an older one.
        self.0.newest.send_replace(number);
    }

    /// Tells of something that may happen many times a second: at most once a second, with how often it happened.
    pub fn note_often(&self, kind: EventKind, what: &'static str) {
        let due = {
            let mut tallies = self.tallies();
            let known = tallies.iter().position(|tally| tally.kind == kind && tally.what == what);
            let at = known.unwrap_or_else(|| {
                tallies.push(Tally { kind, what, times: 0, told: None });
                tallies.len() - 1
            });
            let Some(tally) = tallies.get_mut(at) else { return };
            tally.times += 1;
            tally.take_due(Instant::now())
        };
        self.note_times(due);
    }

    /// Tells what [`Self::note_often`] has not told yet, once it may. Never ends.
    pub async fn flush_pending(self) {
        let mut interval = tokio::time::interval(TALLY_INTERVAL);
        loop {
            let now = interval.tick().await;
            let due: Vec<Times> = self.tallies().iter_mut().filter_map(|tally| tally.take_due(now)).collect();
            self.note_times(due);
        }
    }

    fn note_times(&self, due: impl IntoIterator<Item = Times>) {
        for Times { kind, what, times } in due {
            self.note(kind, serde_json::json!({ "what": what, "times": times }));
        }
    }

    fn tallies(&self) -> MutexGuard<'_, Vec<Tally>> {
        self.0.tallies.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The events after this number, oldest first, and no more than `limit`. A number that has not been given out yet
    /// counts as none.
    pub fn after(&self, number: u64, limit: usize) -> Vec<ServerEvent> {
        let ring = self.ring();
        let number = if number >= ring.next { 0 } else { number };
        let from = (number + 1).saturating_sub(ring.first());
        ring.read(usize::try_from(from).unwrap_or(usize::MAX), limit)
    }

    /// The last `limit` events, oldest first.
    pub fn last(&self, limit: usize) -> Vec<ServerEvent> {
        let ring = self.ring();
        ring.read(ring.events.len().saturating_sub(limit), limit)
    }

    /// The number of the newest event.
    pub fn newest(&self) -> u64 {
        *self.0.newest.borrow()
    }

    /// How many events are kept at the moment, and at most.
    pub fn kept(&self) -> (usize, usize) {
        (self.ring().events.len(), self.0.most)
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

/// Somebody who is told of every event. Whoever is slower than the buffer is long misses some, and sees that by the
/// numbers.
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
            // Looked at first, so that what comes between looking and waiting is not missed.
            self.newest.mark_unchanged();
            let found = self.events.after(self.number, FOLLOWED_AT_ONCE);
            if let Some(last) = found.last() {
                self.number = last.number;
                return found;
            }
            if self.newest.changed().await.is_err() {
                // The events hold the sender, and we hold them.
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
        assert_eq!(numbers(&events.after(before + 99, 10)).len(), 3, "of a run that is to come");
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
    fn a_buffer_of_nothing_still_counts() {
        let events = Events::new(0);
        let before = events.newest();
        events.note(EventKind::DrainBegun, json!({}));
        assert_eq!((events.newest(), events.last(10).len()), (before + 1, 0));
    }

    #[tokio::test(start_paused = true)]
    async fn what_happens_often_is_told_once_a_second() {
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
    async fn what_has_happened_again_is_told_though_it_happens_no_more() {
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
