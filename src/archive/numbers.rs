//! Sequence numbers that no record has any more.

use std::io;
use std::ops::RangeInclusive;
use std::path::Path;

use rangemap::RangeInclusiveSet;

use crate::disk::{read_checked, write_checked};

/// A set of numbers below [`u64::MAX`], kept as runs.
pub(super) type NumberSet = RangeInclusiveSet<u64>;

/// Takes in all numbers from `first` to `last`, which may be none.
pub(super) fn insert_run(set: &mut NumberSet, first: u64, last: u64) {
    if first <= last {
        set.insert(first..=last);
    }
}

/// The numbers of a set within a run.
pub(super) fn within(set: &NumberSet, run: RangeInclusive<u64>) -> impl Iterator<Item = RangeInclusive<u64>> {
    let (first, last) = (*run.start(), *run.end());
    set.overlapping(run).map(move |found| first.max(*found.start())..=last.min(*found.end()))
}

/// How many numbers of a set there are from this one on.
pub(super) fn count_from(set: &NumberSet, first: u64) -> u64 {
    within(set, first..=u64::MAX).map(|run| run.end() - run.start() + 1).sum()
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
        self.removed.contains(&number) || self.lost.contains(&number)
    }

    /// All of them.
    pub(super) fn all(&self) -> NumberSet {
        self.removed.union(&self.lost).collect()
    }

    /// How many numbers from this one on are gone.
    pub(super) fn count_from(&self, first: u64) -> u64 {
        count_from(&self.removed, first) + count_from(&self.lost, first)
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
            let mut number = || words.next()?.parse().ok().filter(|number| *number < u64::MAX);
            let (Some(first), Some(last)) = (number(), number()) else { return Err(unknown(line)) };
            insert_run(set, first, last);
        }
        Ok(Some(gone))
    }

    /// Writes the file, whole and durably.
    pub(super) fn write(&self, path: &Path) -> io::Result<()> {
        let mut text = format!("{}\n", Self::TITLE);
        for (name, set) in [("removed", &self.removed), ("lost", &self.lost)] {
            for run in set.iter() {
                text.push_str(&format!("{name} {} {}\n", run.start(), run.end()));
            }
        }
        write_checked(path, &text)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn what_is_gone_is_counted_written_and_read_again(runs in prop::collection::vec((0_u64..60, 0_u64..9), 0..20)) {
            let (mut set, mut expected) = (NumberSet::default(), BTreeSet::new());
            for (first, length) in runs {
                insert_run(&mut set, first, first + length);
                expected.extend(first..=first + length);
            }
            insert_run(&mut set, 70, 69);
            for number in 0..80 {
                prop_assert_eq!(set.contains(&number), expected.contains(&number));
                prop_assert_eq!(count_from(&set, number), expected.range(number..).count() as u64);
                let found: Vec<u64> = within(&set, number..=number + 9).flatten().collect();
                prop_assert_eq!(found, expected.range(number..number + 10).copied().collect::<Vec<_>>());
            }
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("numbers");
            let gone = Gone { lost: set, removed: NumberSet::default() };
            gone.write(&path).unwrap();
            prop_assert_eq!(Gone::read(&path).unwrap(), Some(gone));
        }
    }
}
