//! What has happened in a running game, as all may know it: the last events, numbered, for whoever comes late, reloads, or
//! missed some. It is made again from the moves after a restart, so it costs the journal nothing.

use std::collections::VecDeque;

use serde_json::Value;

use crate::archive::{GameTime, Takeover};
use crate::game::BySeat;
use crate::protocol::TableEvent;

/// Events told at once; whoever wants more asks again. A round has at most 54.
const TOLD_AT_ONCE: usize = 250;

/// The last events of a game.
#[derive(Debug)]
pub(super) struct EventHistory {
    most: usize,
    /// Events that are not kept any more.
    forgotten: u64,
    entries: VecDeque<Entry>,
}

#[derive(Debug)]
struct Entry {
    at: GameTime,
    round: u32,
    event: TableEvent,
}

impl EventHistory {
    /// Keeps the last `most` events.
    pub(super) fn new(most: usize) -> Self {
        Self { most, forgotten: 0, entries: VecDeque::new() }
    }

    pub(super) fn tell(&mut self, at: GameTime, round: u32, event: TableEvent) {
        self.entries.push_back(Entry { at, round, event });
        self.forget();
    }

    fn forget(&mut self) {
        while self.entries.len() > self.most {
            self.entries.pop_front();
            self.forgotten += 1;
        }
    }

    /// After a restart: those who came and went, put back between what the moves have told.
    pub(super) fn retell_presence(&mut self, takeovers: &[Takeover]) {
        for takeover in takeovers {
            self.insert(takeover.from, TableEvent::Left(takeover.seat));
            if let Some(to) = takeover.to {
                self.insert(to, TableEvent::Returned(takeover.seat));
            }
        }
        self.forget();
    }

    fn insert(&mut self, at: GameTime, event: TableEvent) {
        let place = self.entries.partition_point(|entry| entry.at <= at);
        let round = place.checked_sub(1).and_then(|before| self.entries.get(before)).map_or(1, |before| before.round);
        self.entries.insert(place, Entry { at, round, event });
    }

    /// The number of the last event.
    pub(super) fn last(&self) -> u64 {
        self.forgotten + self.entries.len() as u64
    }

    /// The numbers of the first and the last event that are kept.
    pub(super) fn kept(&self) -> Option<(u64, u64)> {
        (!self.entries.is_empty()).then(|| (self.forgotten + 1, self.last()))
    }

    /// The events with these numbers; without a first one, those of the round that runs.
    pub(super) fn between(&self, from: Option<u64>, to: Option<u64>, names: &BySeat<&str>) -> Vec<Value> {
        let round = self.entries.back().map_or(0, |last| last.round);
        let numbered = (self.forgotten + 1..).zip(&self.entries);
        numbered
            .skip_while(|(number, entry)| from.map_or(entry.round < round, |from| *number < from))
            .take_while(|(number, _)| to.is_none_or(|to| *number <= to))
            .take(TOLD_AT_ONCE)
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

    fn told(event_history: &EventHistory, from: Option<u64>, to: Option<u64>) -> Vec<(u64, String)> {
        let names = BySeat::new(["A", "B", "C", "D"]);
        let shown = |event: &Value| (event["sequence"].as_u64().unwrap(), event["type"].as_str().unwrap().to_owned());
        event_history.between(from, to, &names).iter().map(shown).collect()
    }

    fn played(event_history: &mut EventHistory, times: u32, round: u32) {
        for number in 0..times {
            event_history.tell(at(number * 100), round, TableEvent::Played { seat: Seat::One, count: 1 });
        }
    }

    #[test]
    fn the_last_events_are_kept_with_their_numbers() {
        let mut event_history = EventHistory::new(3);
        assert_eq!(event_history.kept(), None);
        played(&mut event_history, 5, 1);
        assert_eq!((event_history.kept(), event_history.last()), (Some((3, 5)), 5));
        let numbers =
            |from, to| told(&event_history, from, to).into_iter().map(|(number, _)| number).collect::<Vec<_>>();
        assert_eq!(numbers(Some(1), None), [3, 4, 5]);
        assert_eq!(numbers(Some(4), Some(4)), [4]);
        assert_eq!(numbers(Some(9), None), [0; 0]);
        assert_eq!(numbers(Some(5), Some(3)), [0; 0]);
    }

    #[test]
    fn without_a_number_the_running_round_is_told() {
        let mut event_history = EventHistory::new(100);
        played(&mut event_history, 4, 1);
        played(&mut event_history, 2, 2);
        assert_eq!(told(&event_history, None, None).len(), 2);
        played(&mut event_history, 90, 2);
        assert_eq!(told(&event_history, None, None).len(), 92);
        let mut long = EventHistory::new(1_000);
        played(&mut long, 1_000, 1);
        assert_eq!(told(&long, None, None).len(), TOLD_AT_ONCE);
    }

    #[test]
    fn a_story_of_nothing_still_counts() {
        let mut event_history = EventHistory::new(0);
        played(&mut event_history, 7, 1);
        assert_eq!(
            (event_history.last(), event_history.kept(), told(&event_history, Some(1), None).len()),
            (7, None, 0)
        );
    }

    #[test]
    fn who_came_and_went_is_put_back_in_its_place() {
        let mut event_history = EventHistory::new(100);
        played(&mut event_history, 3, 1);
        let takeover = Takeover { seat: Seat::Two, from: at(50), to: Some(at(100)) };
        event_history.retell_presence(&[takeover]);
        let kinds: Vec<String> = told(&event_history, Some(1), None).into_iter().map(|(_, kind)| kind).collect();
        assert_eq!(kinds, ["played", "player_left", "played", "player_returned", "played"]);
    }
}
