//! Sequence numbers that no record has any more, and game ids with the numbers they have.

use std::collections::BTreeMap;
use std::io;
use std::ops::Bound;
use std::path::Path;

use super::GameId;
use crate::disk::{read_checked, write_checked};

/// A set of numbers, kept as runs: sorted, apart from each other, both ends included.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct NumberSet(Vec<(u64, u64)>);

impl NumberSet {
    pub(super) fn insert(&mut self, number: u64) {
        self.insert_run(number, number);
    }

    /// Takes in all numbers from `first` to `last`.
    pub(super) fn insert_run(&mut self, first: u64, last: u64) {
        if first > last {
            return;
        }
        // Runs that touch the new one become part of it.
        let start = self.0.partition_point(|run| run.1.saturating_add(1) < first);
        let end = self.0.partition_point(|run| run.0 <= last.saturating_add(1));
        let touched = self.0.get(start..end).unwrap_or_default();
        let run =
            (touched.first().map_or(first, |run| run.0.min(first)), touched.last().map_or(last, |run| run.1.max(last)));
        self.0.splice(start..end, [run]);
    }

    pub(super) fn remove(&mut self, number: u64) {
        let at = self.0.partition_point(|run| run.1 < number);
        if let Some(&(first, last)) = self.0.get(at).filter(|run| run.0 <= number) {
            let parts = [(first, number.wrapping_sub(1)), (number.saturating_add(1), last)];
            self.0.splice(
                at..=at,
                parts.into_iter().filter(|part| {
                    part.0 <= part.1 && (first..=last).contains(&part.0) && (first..=last).contains(&part.1)
                }),
            );
        }
    }

    pub(super) fn contains(&self, number: u64) -> bool {
        let at = self.0.partition_point(|run| run.1 < number);
        self.0.get(at).is_some_and(|run| run.0 <= number)
    }

    /// How many numbers there are.
    pub(super) fn len(&self) -> u64 {
        self.0.iter().map(|run| run.1 - run.0 + 1).sum()
    }

    /// How many of its numbers are above this one.
    pub(super) fn count_above(&self, number: u64) -> u64 {
        let at = self.0.partition_point(|run| run.1 <= number);
        let above = self.0.get(at..).unwrap_or_default();
        above.iter().map(|run| run.1 - run.0.max(number + 1) + 1).sum()
    }

    /// Runs of the numbers from 1 to `last` that it has not.
    pub(super) fn gaps(&self, last: u64) -> Vec<(u64, u64)> {
        let mut gaps = Vec::new();
        let mut expected = 1;
        for run in self.0.iter().chain([&(last.saturating_add(1), u64::MAX)]) {
            if run.0 > expected {
                gaps.push((expected, run.0 - 1));
            }
            expected = expected.max(run.1.saturating_add(1));
        }
        gaps
    }

    /// Its numbers from `first` to `last`.
    pub(super) fn within(&self, first: u64, last: u64) -> impl Iterator<Item = u64> {
        let at = self.0.partition_point(|run| run.1 < first);
        let runs = self.0.get(at..).unwrap_or_default().iter().take_while(move |run| run.0 <= last);
        runs.flat_map(move |run| run.0.max(first)..=run.1.min(last))
    }

    /// The greatest number.
    pub(super) fn last(&self) -> Option<u64> {
        self.0.last().map(|run| run.1)
    }

    /// Takes in all numbers of another set.
    pub(super) fn extend(&mut self, other: &Self) {
        other.0.iter().for_each(|run| self.insert_run(run.0, run.1));
    }

    /// The runs, in ascending order.
    pub(super) fn runs(&self) -> &[(u64, u64)] {
        &self.0
    }
}

/// What became of sequence numbers that no record has.
///
/// It is written before a record is removed: what it names does not come back, whatever stale copy of it lies in a file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Gone {
    /// Removed on purpose, or never acknowledged.
    pub(super) removed: NumberSet,
    /// Acknowledged and lost: damage that was reported once and is remembered.
    pub(super) lost: NumberSet,
}

impl Gone {
    const TITLE: &str = "liap numbers 1";

    pub(super) fn contains(&self, number: u64) -> bool {
        self.removed.contains(number) || self.lost.contains(number)
    }

    /// How many numbers above this one are gone.
    pub(super) fn count_above(&self, number: u64) -> u64 {
        self.removed.count_above(number) + self.lost.count_above(number)
    }

    /// Reads the file; `None` if there is none.
    ///
    /// # Errors
    /// The disk refuses, or the file is damaged ([`io::ErrorKind::InvalidData`]).
    pub(super) fn read(path: &Path) -> io::Result<Option<Self>> {
        let Some(text) = read_checked(path)? else { return Ok(None) };
        let unknown = |line: &str| io::Error::new(io::ErrorKind::InvalidData, format!("{}: {line}", path.display()));
        let mut gone = Self::default();
        let mut lines = text.lines();
        if let Some(title) = lines.next().filter(|title| *title != Self::TITLE) {
            return Err(unknown(title));
        }
        for line in lines {
            let mut words = line.split(' ');
            let set = match words.next() {
                Some("removed") => &mut gone.removed,
                Some("lost") => &mut gone.lost,
                _ => return Err(unknown(line)),
            };
            let mut number = || words.next()?.parse().ok();
            let (Some(first), Some(last)) = (number(), number()) else { return Err(unknown(line)) };
            set.insert_run(first, last);
        }
        Ok(Some(gone))
    }

    /// Writes the file, whole and durably.
    pub(super) fn write(&self, path: &Path) -> io::Result<()> {
        let mut text = format!("{}\n", Self::TITLE);
        for (name, set) in [("removed", &self.removed), ("lost", &self.lost)] {
            for (first, last) in set.runs() {
                text.push_str(&format!("{name} {first} {last}\n"));
            }
        }
        write_checked(path, &text)
    }
}

/// Which sequence number each game has: 24 bytes a game.
#[derive(Debug, Default)]
pub(super) struct Ids {
    /// Sorted by id.
    settled: Vec<(GameId, u64)>,
    /// What is not among them yet. Games that end late, or are imported, need not be moved in one by one.
    newest: BTreeMap<GameId, u64>,
}

impl Ids {
    const NEWEST_MAX: usize = 4096;

    pub(super) fn len(&self) -> usize {
        self.settled.len() + self.newest.len()
    }

    /// Gives a game a number. Returns the one that it had.
    pub(super) fn insert(&mut self, id: GameId, seq: u64) -> Option<u64> {
        if self.settled.last().is_none_or(|last| last.0 < id) && self.newest.is_empty() {
            self.settled.push((id, seq));
            return None;
        }
        if let Ok(at) = self.settled.binary_search_by_key(&id, |entry| entry.0) {
            return self.settled.get_mut(at).map(|entry| std::mem::replace(&mut entry.1, seq));
        }
        let before = self.newest.insert(id, seq);
        if self.newest.len() >= Self::NEWEST_MAX.max(self.settled.len() / 8) {
            self.settled.extend(std::mem::take(&mut self.newest));
            // Two sorted runs, which the sort merges.
            self.settled.sort();
        }
        before
    }

    pub(super) fn get(&self, id: GameId) -> Option<u64> {
        let settled = self.settled.binary_search_by_key(&id, |entry| entry.0);
        let settled = settled.ok().and_then(|at| self.settled.get(at)).map(|entry| entry.1);
        settled.or_else(|| self.newest.get(&id).copied())
    }

    /// Forgets games, which are sorted.
    pub(super) fn remove(&mut self, sorted: &[GameId]) {
        self.settled.retain(|entry| sorted.binary_search(&entry.0).is_err());
        self.newest.retain(|id, _| sorted.binary_search(id).is_err());
    }

    /// The game that has a number. All are looked at.
    pub(super) fn name(&self, seq: u64) -> Option<GameId> {
        let settled = self.settled.iter().find(|entry| entry.1 == seq).map(|entry| entry.0);
        settled.or_else(|| self.newest.iter().find(|entry| *entry.1 == seq).map(|entry| *entry.0))
    }

    /// Up to `limit` games of a range, newest first.
    pub(super) fn newest(&self, range: (Bound<GameId>, Bound<GameId>), limit: usize) -> Vec<GameId> {
        let place = |bound: Bound<GameId>, end: bool| match bound {
            Bound::Unbounded => {
                if end {
                    self.settled.len()
                } else {
                    0
                }
            }
            Bound::Included(id) => self.settled.partition_point(|entry| if end { entry.0 <= id } else { entry.0 < id }),
            Bound::Excluded(id) => self.settled.partition_point(|entry| if end { entry.0 < id } else { entry.0 <= id }),
        };
        let settled = self.settled.get(place(range.0, false)..place(range.1, true)).unwrap_or_default();
        let mut settled = settled.iter().rev().map(|entry| entry.0).peekable();
        let is_in = |id: &GameId| {
            let above = match range.0 {
                Bound::Unbounded => true,
                Bound::Included(from) => from <= *id,
                Bound::Excluded(from) => from < *id,
            };
            above
                && match range.1 {
                    Bound::Unbounded => true,
                    Bound::Included(to) => *id <= to,
                    Bound::Excluded(to) => *id < to,
                }
        };
        let mut newest = self.newest.keys().rev().copied().filter(is_in).peekable();
        let merged = std::iter::from_fn(|| if settled.peek() > newest.peek() { settled.next() } else { newest.next() });
        merged.take(limit).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_set_of_runs_is_a_set(runs in prop::collection::vec((0_u64..60, 0_u64..9), 0..20)) {
            let (mut set, mut expected) = (NumberSet::default(), BTreeSet::new());
            for (first, length) in runs {
                set.insert_run(first, first + length);
                expected.extend(first..=first + length);
            }
            prop_assert_eq!(set.len(), expected.len() as u64);
            prop_assert!(set.runs().windows(2).all(|pair| pair[0].1 + 1 < pair[1].0), "{:?}", set);
            for number in 0..80 {
                prop_assert_eq!(set.contains(number), expected.contains(&number));
                prop_assert_eq!(set.count_above(number), expected.range(number + 1..).count() as u64);
                let within: Vec<u64> = expected.range(number..number + 10).copied().collect();
                prop_assert_eq!(set.within(number, number + 9).collect::<Vec<_>>(), within);
            }
            for number in [3, 7, 20, 59] {
                set.remove(number);
                expected.remove(&number);
                prop_assert_eq!(set.runs().iter().flat_map(|run| run.0..=run.1).collect::<Vec<_>>(), expected.iter().copied().collect::<Vec<_>>());
            }
            let gaps: Vec<u64> = set.gaps(90).into_iter().flat_map(|(first, last)| first..=last).collect();
            prop_assert_eq!(gaps, (1..=90).filter(|number| !expected.contains(number)).collect::<Vec<_>>());
            prop_assert_eq!(set.last(), expected.last().copied());
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("numbers");
            let gone = Gone { lost: set.clone(), removed: NumberSet::default() };
            gone.write(&path).unwrap();
            prop_assert_eq!(Gone::read(&path).unwrap(), Some(gone));
        }

        #[test]
        fn ids_are_found_whatever_their_order(
            steps in prop::collection::vec((0_u64..3000, 1_u64..600, 0_u8..4), 1..40),
            (from, to) in (0_u64..3600, 0_u64..3600),
        ) {
            let id = GameId::first_at;
            let (mut ids, mut expected) = (Ids::default(), BTreeMap::new());
            for (seq, (first, count, kind)) in (1..).zip(steps) {
                let range: Vec<GameId> = (first..first + count).map(id).collect();
                if kind == 0 {
                    ids.remove(&range);
                    expected.retain(|id, _| !range.contains(id));
                } else {
                    for id in range {
                        prop_assert_eq!(ids.insert(id, seq), expected.insert(id, seq));
                    }
                }
            }
            prop_assert_eq!(ids.len(), expected.len());
            for n in 0..3600 {
                prop_assert_eq!(ids.get(id(n)), expected.get(&id(n)).copied());
            }
            let all: Vec<GameId> = expected.keys().rev().copied().collect();
            prop_assert_eq!(ids.newest((Bound::Unbounded, Bound::Unbounded), usize::MAX), all);
            let range = (Bound::Included(id(from)), Bound::Excluded(id(to)));
            let within: Vec<_> = if from < to { expected.range(range).rev().take(50).map(|(id, _)| *id).collect() } else { Vec::new() };
            prop_assert_eq!(ids.newest(range, 50), within);
        }
    }
}
