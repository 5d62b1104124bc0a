//! The public events of a running game: the last ones, numbered, for clients that come late, reload or missed some. After a
//! restart they are made again from the moves, so the journal stores nothing of them.

use std::collections::VecDeque;

use serde_json::Value;

use crate::archive::{GameTime, Takeover};
use crate::game::BySeat;
use crate::protocol::TableEvent;

/// How many events one answer holds; a client that wants more asks again. A round has at most 54.
const EVENTS_PER_ANSWER: usize = 250;

/// The last events of a game.
#[derive(Debug)]
pub(super) struct EventHistory {
    capacity: usize,
    /// How many events have been dropped.
    dropped: u64,
    entries: VecDeque<Entry>,
}

#[derive(Debug)]
struct Entry {
    at: GameTime,
    round: u32,
    event: TableEvent,
}

impl EventHistory {
    /// Keeps the last `capacity` events.
    pub(super) fn new(capacity: usize) -> Self {
        Self { capacity, dropped: 0, entries: VecDeque::new() }
    }

    pub(super) fn push(&mut self, at: GameTime, round: u32, event: TableEvent) {
        self.entries.push_back(Entry { at, round, event });
        self.trim();
    }

    fn trim(&mut self) {
        while self.entries.len() > self.capacity {
            self.entries.pop_front();
            self.dropped += 1;
        }
    }

    /// After a restart: inserts players who left and returned between the events of the moves.
    pub(super) fn insert_takeovers(&mut self, takeovers: &[Takeover]) {
        for takeover in takeovers {
            self.insert(takeover.from, TableEvent::Left(takeover.seat));
            if let Some(to) = takeover.to {
                self.insert(to, TableEvent::Returned(takeover.seat));
            }
        }
        self.trim();
    }

    fn insert(&mut self, at: GameTime, event: TableEvent) {
        let position = self.entries.partition_point(|entry| entry.at <= at);
        let round =
            position.checked_sub(1).and_then(|before| self.entries.get(before)).map_or(1, |before| before.round);
        self.entries.insert(position, Entry { at, round, event });
    }

    /// The number of the last event.
    pub(super) fn last(&self) -> u64 {
        self.dropped + self.entries.len() as u64
    }

    /// The numbers of the first and the last kept event.
    pub(super) fn kept(&self) -> Option<(u64, u64)> {
        (!self.entries.is_empty()).then(|| (self.dropped + 1, self.last()))
    }

    /// The events with these numbers; without `from`, those of the current round.
    pub(super) fn between(&self, from: Option<u64>, to: Option<u64>, names: &BySeat<&str>) -> Vec<Value> {
        let round = self.entries.back().map_or(0, |last| last.round);
        let numbered = (self.dropped + 1..).zip(&self.entries);
        numbered
            .skip_while(|(number, entry)| from.map_or(entry.round < round, |from| *number < from))
            .take_while(|(number, _)| to.is_none_or(|to| *number <= to))
            .take(EVENTS_PER_ANSWER)
            .map(|(number, Entry { at, round, event })| {
                event.to_json(number, f64::from(at.hundredths()) / 100.0, *round, names)
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::game::Seat;

    fn at(hundredths: u32) -> GameTime {
        GameTime::from_hundredths(hundredths)
    }

    fn found(event_history: &EventHistory, from: Option<u64>, to: Option<u64>) -> Vec<(u64, String)> {
        let names = BySeat::new(["A", "B", "C", "D"]);
        let shown = |event: &Value| (event["sequence"].as_u64().unwrap(), event["type"].as_str().unwrap().to_owned());
        event_history.between(from, to, &names).iter().map(shown).collect()
    }

    fn played(event_history: &mut EventHistory, times: u32, round: u32) {
        for number in 0..times {
            event_history.push(at(number * 100), round, TableEvent::Played { seat: Seat::One, count: 1 });
        }
    }

    #[test]
    fn the_last_events_are_kept_with_their_numbers() {
        let mut event_history = EventHistory::new(3);
        assert_eq!(event_history.kept(), None);
        played(&mut event_history, 5, 1);
        assert_eq!((event_history.kept(), event_history.last()), (Some((3, 5)), 5));
        let numbers =
            |from, to| found(&event_history, from, to).into_iter().map(|(number, _)| number).collect::<Vec<_>>();
        assert_eq!(numbers(Some(1), None), [3, 4, 5]);
        assert_eq!(numbers(Some(4), Some(4)), [4]);
        assert_eq!(numbers(Some(9), None), [0; 0]);
        assert_eq!(numbers(Some(5), Some(3)), [0; 0]);
    }

    #[test]
    fn without_a_number_the_current_round_is_returned() {
        let mut event_history = EventHistory::new(100);
        played(&mut event_history, 4, 1);
        played(&mut event_history, 2, 2);
        assert_eq!(found(&event_history, None, None).len(), 2);
        played(&mut event_history, 90, 2);
        assert_eq!(found(&event_history, None, None).len(), 92);
        let mut long = EventHistory::new(1_000);
        played(&mut long, 1_000, 1);
        assert_eq!(found(&long, None, None).len(), EVENTS_PER_ANSWER);
    }

    #[test]
    fn an_empty_history_still_numbers_events() {
        let mut event_history = EventHistory::new(0);
        played(&mut event_history, 7, 1);
        assert_eq!(
            (event_history.last(), event_history.kept(), found(&event_history, Some(1), None).len()),
            (7, None, 0)
        );
    }

    #[test]
    fn takeovers_are_inserted_in_order_of_time() {
        let mut event_history = EventHistory::new(100);
        played(&mut event_history, 3, 1);
        let takeover = Takeover { seat: Seat::Two, from: at(50), to: Some(at(100)) };
        event_history.insert_takeovers(&[takeover]);
        let kinds: Vec<String> = found(&event_history, Some(1), None).into_iter().map(|(_, kind)| kind).collect();
        assert_eq!(kinds, ["played", "player_left", "played", "player_returned", "played"]);
    }
}
