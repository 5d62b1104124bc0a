//! All games of an archive at one moment, read without opening it: also while a server has it open, and without
//! changing a byte of it.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use super::frame::{self, Frame, HEADER_BYTES, Stretch};
use super::segment::{self, Segment};
use super::tip::{Tip, TipFound};
use super::{GameId, StoreError, recover};

/// The games of an archive, sorted by id. Games stored or removed later change nothing here.
#[derive(Debug)]
pub struct Snapshot {
    /// Open files go on to exist, whatever happens to their names.
    segments: Vec<File>,
    games: Vec<Place>,
    damage: Damage,
}

/// Where a record lies.
#[derive(Debug, Clone, Copy)]
struct Place {
    id: GameId,
    /// Its number in the order of storing.
    seq: u64,
    segment: u32,
    at: u32,
    length: u32,
}

/// What is not as it should be in an archive.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Damage {
    /// Games that were acknowledged and are not there.
    pub missing: u64,
    /// Bytes between games that belong to none.
    pub garbage_bytes: u64,
    /// What says how many games there must be cannot be read.
    pub tip_damaged: bool,
}

impl Damage {
    /// Whether there is any.
    #[must_use]
    pub fn is_any(&self) -> bool {
        *self != Self::default()
    }
}

impl Snapshot {
    /// Whether there may be an archive in a folder, without reading it. Where the disk does not say, there may.
    #[must_use]
    pub fn may_be_at(folder: &Path) -> bool {
        recover::segments_folder(folder).try_exists().unwrap_or(true)
    }

    /// Reads the archive in a folder.
    ///
    /// # Errors
    /// There is no archive, it is of a later version, or the disk refuses. Damage is no error.
    pub fn open(folder: &Path) -> Result<Self, StoreError> {
        let fault = |source| StoreError::Io { path: folder.to_owned(), source };
        // The tip first: what is stored meanwhile then is more than it says, never less.
        let tip = Tip::look(folder).map_err(fault)?;
        if let TipFound::Later { version } = tip {
            return Err(StoreError::Later { path: folder.to_owned(), version });
        }
        let segments_folder = recover::segments_folder(folder);
        let firsts = Segment::list(&segments_folder).map_err(fault)?;
        let mut snapshot = Self { segments: Vec::new(), games: Vec::new(), damage: Damage::default() };
        let mut buffer = Vec::new();
        let mut expected = 1;
        for (at, &first) in firsts.iter().enumerate() {
            let last_allowed = firsts.get(at + 1).map_or(u64::MAX, |next| next - 1);
            let file = File::open(segment::path(&segments_folder, first)).map_err(fault)?;
            segment::read_whole(&file, &mut buffer).map_err(fault)?;
            snapshot.take_in(&buffer, last_allowed, &mut expected);
            snapshot.segments.push(file);
        }
        match tip {
            TipFound::Whole { last, .. } | TipFound::Half { last } => {
                snapshot.damage.missing += (last + 1).saturating_sub(expected);
            }
            TipFound::Damaged => snapshot.damage.tip_damaged = true,
            TipFound::Absent | TipFound::Later { .. } => {}
        }
        snapshot.games.sort_unstable_by_key(|place| place.id);
        snapshot.games.dedup_by_key(|place| place.id);
        Ok(snapshot)
    }

    fn take_in(&mut self, bytes: &[u8], last_allowed: u64, expected: &mut u64) {
        // Behind the last frame of a segment there may be one that is being written, or that no one was promised.
        let mut garbage = 0;
        for stretch in frame::walk(bytes) {
            let (at, frame) = match stretch {
                Stretch::Frame { at, frame } => (at, frame),
                Stretch::Garbage { length, .. } => {
                    garbage += length as u64;
                    continue;
                }
            };
            if frame.first() < *expected || frame.last() > last_allowed {
                continue;
            }
            self.damage.garbage_bytes += std::mem::take(&mut garbage);
            self.damage.missing += frame.first() - *expected;
            *expected = frame.last().saturating_add(1);
            match frame {
                Frame::Record { seq, id, record } => {
                    let place = |number: usize| u32::try_from(number).ok();
                    let (at, length) = (place(at + HEADER_BYTES), place(record.len()));
                    if let (Some(segment), Some(at), Some(length)) = (place(self.segments.len()), at, length) {
                        self.games.push(Place { id, seq, segment, at, length });
                    }
                }
                Frame::Lost { first, last } => self.damage.missing += last - first + 1,
                Frame::Removed { .. } => {}
            }
        }
    }

    /// What is not as it should be.
    #[must_use]
    pub const fn damage(&self) -> Damage {
        self.damage
    }

    /// How many games there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.games.len()
    }

    /// Whether there is no game.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.games.is_empty()
    }

    /// Bytes of all records, as stored.
    #[must_use]
    pub fn record_bytes(&self) -> u64 {
        self.games.iter().map(|place| u64::from(place.length)).sum()
    }

    /// The ids of all games, oldest first.
    pub fn ids(&self) -> impl DoubleEndedIterator<Item = GameId> + ExactSizeIterator {
        self.games.iter().map(|place| place.id)
    }

    /// The number of a game in the order of storing.
    pub(crate) fn number(&self, id: GameId) -> Option<u64> {
        let found = self.games.binary_search_by_key(&id, |place| place.id).ok()?;
        self.games.get(found).map(|place| place.seq)
    }

    /// How many games were stored behind this number.
    pub(crate) fn count_after(&self, number: u64) -> u64 {
        self.games.iter().filter(|place| place.seq > number).count() as u64
    }

    /// The stored form of a game, if there is such a game.
    ///
    /// # Errors
    /// The disk refuses.
    pub fn get(&self, id: GameId) -> io::Result<Option<Vec<u8>>> {
        let Ok(found) = self.games.binary_search_by_key(&id, |place| place.id) else { return Ok(None) };
        let Some(place) = self.games.get(found) else { return Ok(None) };
        let Some(segment) = self.segments.get(place.segment as usize) else { return Ok(None) };
        let mut record = vec![0; place.length as usize];
        segment.read_exact_at(&mut record, place.at.into())?;
        Ok(Some(record))
    }
}
