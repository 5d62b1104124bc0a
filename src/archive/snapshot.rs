//! All games of an archive at one moment, read without opening it: also while a server has it open, and without
//! changing a byte of it. Its raw files are searched for records, as after a crash.

use std::io;
use std::path::Path;

use super::numbers::Gone;
use super::old_layout;
use super::recover::Layout;
use super::salvage::{Place, Salvage};
use super::{GameId, StoreError, frame};
use crate::disk::NumberFound;

/// A database that is written to may move records while its file is read. Then it is read again.
const ATTEMPTS: usize = 5;

/// The games of an archive, sorted by id. Games stored or removed later change nothing here.
#[derive(Debug)]
pub struct Snapshot {
    salvage: Salvage,
    damage: Damage,
}

/// What is not as it should be.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Damage {
    /// Games that were acknowledged and are not there.
    pub missing: u64,
    /// The high-water mark or the list of removed games is damaged: how many games there must be, nobody can tell.
    pub numbers_damaged: bool,
}

impl Damage {
    /// Whether there is any.
    #[must_use]
    pub const fn is_any(&self) -> bool {
        self.missing > 0 || self.numbers_damaged
    }
}

impl Snapshot {
    /// Whether there may be an archive in a folder, without reading it. Where the disk does not say, there may.
    #[must_use]
    pub fn may_be_at(folder: &Path) -> bool {
        folder.join("records").try_exists().unwrap_or(true) || old_layout::is_in(folder).unwrap_or(true)
    }

    /// Reads the archive in a folder.
    ///
    /// # Errors
    /// There is no archive, it is of a later version, or the disk refuses. Damage is no error.
    pub fn open(folder: &Path) -> Result<Self, StoreError> {
        let mut attempt = 1;
        loop {
            let snapshot = Self::read(folder)?;
            if !snapshot.damage.is_any() || attempt == ATTEMPTS {
                return Ok(snapshot);
            }
            attempt += 1;
        }
    }

    fn read(folder: &Path) -> Result<Self, StoreError> {
        let layout = Layout::of(folder);
        let fault = |source| layout.fault(source);
        if !Self::may_be_at(folder) {
            return Err(fault(io::ErrorKind::NotFound.into()));
        }
        let mut damage = Damage::default();
        // What must be there first: what is stored meanwhile then is more than that, never less.
        let (gone, last) = if old_layout::is_in(folder).map_err(fault)? {
            let found = old_layout::read(folder, |_, _, _| Ok(())).map_err(fault)?;
            damage.numbers_damaged = !found.damage.is_empty();
            (found.gone, found.last)
        } else {
            let gone = match Gone::read(&layout.numbers) {
                Ok(gone) => gone,
                Err(error) if error.kind() == io::ErrorKind::InvalidData => None,
                Err(error) => return Err(fault(error)),
            };
            damage.numbers_damaged = gone.is_none();
            let last = match layout.high_water()? {
                NumberFound::Whole { number, .. } | NumberFound::Half(number) => number,
                NumberFound::Absent | NumberFound::Damaged | NumberFound::OtherVersion(_) => {
                    damage.numbers_damaged = true;
                    0
                }
            };
            (gone.unwrap_or_default(), last)
        };
        let mut salvage = Salvage::walk(&layout.raw_files().map_err(fault)?).map_err(fault)?;
        salvage.places.retain(|place| !gone.contains(place.seq));
        let mut accounted = gone.removed;
        salvage.places.iter().for_each(|place| accounted.insert(place.seq));
        damage.missing = accounted.gaps(last).iter().map(|(first, last)| last - first + 1).sum();
        salvage.places.sort_by_key(|place| (place.id, place.seq));
        salvage.places.dedup_by_key(|place| place.id);
        Ok(Self { salvage, damage })
    }

    /// What is not as it should be.
    #[must_use]
    pub const fn damage(&self) -> Damage {
        self.damage
    }

    /// How many games there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.salvage.places.len()
    }

    /// Whether there is no game.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.salvage.places.is_empty()
    }

    /// Bytes of all records, as stored.
    #[must_use]
    pub fn record_bytes(&self) -> u64 {
        self.salvage.places.iter().map(|place| u64::from(place.length)).sum()
    }

    /// The ids of all games, oldest first.
    pub fn ids(&self) -> impl DoubleEndedIterator<Item = GameId> + ExactSizeIterator {
        self.salvage.places.iter().map(|place| place.id)
    }

    /// The number of a game in the order of storing.
    pub(crate) fn number(&self, id: GameId) -> Option<u64> {
        self.place(id).map(|place| place.seq)
    }

    /// How many games were stored behind this number.
    pub(crate) fn count_after(&self, number: u64) -> u64 {
        self.salvage.places.iter().filter(|place| place.seq > number).count() as u64
    }

    /// The stored form of a game, if there is such a game.
    ///
    /// # Errors
    /// The disk refuses, or the database has moved the record since.
    pub fn get(&self, id: GameId) -> io::Result<Option<Vec<u8>>> {
        let Some(place) = self.place(id) else { return Ok(None) };
        let Some(mut bytes) = self.salvage.read(place)? else {
            return Err(io::Error::other("the database has moved the record; ask again"));
        };
        bytes.drain(..frame::HEADER_BYTES);
        Ok(Some(bytes))
    }

    fn place(&self, id: GameId) -> Option<&Place> {
        let found = self.salvage.places.binary_search_by_key(&id, |place| place.id).ok()?;
        self.salvage.places.get(found)
    }
}
