//! The last acknowledged sequence number, kept apart from the records.
//!
//! A file that lost its tail looks exactly like one that was never longer. So every group of records is followed by its number
//! here, synced before anybody is told that the group is safe: records may be ahead of the tip (a crash between the two), but
//! never behind it unnoticed.
//!
//! The file has two slots of 4 KiB that are written in turn, so a write torn by a power cut leaves the one before it.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

const SLOT_BYTES: usize = 4096;
const SLOTS: u64 = 2;
const FILE_BYTES: usize = 2 * SLOT_BYTES;
const MARK: [u8; 8] = *b"LIAP TIP";
/// Version of the whole folder's layout; a store of a later version is left alone.
const VERSION: u32 = 1;

/// The open tip file.
#[derive(Debug)]
pub(super) struct Tip {
    file: File,
    /// Counts writes; its parity names the slot of the newest.
    generation: u64,
    last: u64,
}

/// What the tip file said when it was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TipFound {
    /// There is no file.
    Absent,
    /// Both slots are whole. `closed`: the store was closed in order, its catalog sealed.
    Whole { last: u64, closed: bool },
    /// One slot is not: the number may be one group behind.
    Half { last: u64 },
    /// Nothing readable is left.
    Damaged,
    /// Written by a later version of Liap.
    Later { version: u32 },
}

impl Tip {
    /// The file's name inside the store.
    pub(super) const NAME: &str = "tip";

    /// Reads the tip without changing anything.
    pub(super) fn look(folder: &Path) -> io::Result<TipFound> {
        Self::look_at(&folder.join(Self::NAME))
    }

    /// [`Tip::look`] for a number of another meaning, in a file of another name.
    pub(super) fn look_at(path: &Path) -> io::Result<TipFound> {
        let bytes = match std::fs::read(path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(TipFound::Absent),
            Err(error) => return Err(error),
        };
        let slots = Slot::both(&bytes);
        if let Some(later) = slots.iter().flatten().find(|slot| slot.version > VERSION) {
            return Ok(TipFound::Later { version: later.version });
        }
        let whole = bytes.len() == FILE_BYTES && slots.iter().all(Option::is_some);
        Ok(match slots.iter().flatten().max_by_key(|slot| slot.generation) {
            Some(newest) if whole => TipFound::Whole { last: newest.last, closed: newest.closed },
            Some(newest) => TipFound::Half { last: newest.last },
            None => TipFound::Damaged,
        })
    }

    /// Opens the tip, makes both slots whole and the number `last`. An existing file is written in place, which takes no space
    /// on a full disk.
    pub(super) fn open(folder: &Path, last: u64) -> io::Result<Self> {
        Self::open_at(&folder.join(Self::NAME), last)
    }

    /// [`Tip::open`] for a number of another meaning, in a file of another name.
    pub(super) fn open_at(path: &Path, last: u64) -> io::Result<Self> {
        let bytes = match std::fs::read(path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Self::create(path, last),
            Err(error) => return Err(error),
        };
        let slots = Slot::both(&bytes);
        let file = OpenOptions::new().read(true).write(true).open(path)?;
        if bytes.len() > FILE_BYTES {
            file.set_len(FILE_BYTES as u64)?;
        }
        let newest = slots.iter().flatten().max_by_key(|slot| slot.generation).copied();
        let mut tip = Self {
            file,
            generation: newest.map_or(0, |slot| slot.generation),
            last: newest.map_or(0, |slot| slot.last),
        };
        tip.advance(last)?;
        if slots.iter().any(Option::is_none) {
            tip.advance(last)?;
        }
        Ok(tip)
    }

    /// Writes a tip file afresh, at once and durably.
    fn create(path: &Path, last: u64) -> io::Result<Self> {
        let draft = path.with_extension("tmp");
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(true).open(&draft)?;
        for generation in 0..SLOTS {
            let slot = Slot { version: VERSION, generation, last, closed: false };
            file.write_all_at(&slot.encode(), generation * SLOT_BYTES as u64)?;
        }
        file.sync_all()?;
        std::fs::rename(&draft, path)?;
        path.parent().map_or(Ok(()), sync_folder)?;
        Ok(Self { file, generation: SLOTS - 1, last })
    }

    /// The number that was written last.
    pub(super) fn last(&self) -> u64 {
        self.last
    }

    /// Makes `last` the tip and returns when the disk has it.
    ///
    /// After an error the same slot is tried again, so the other one stays whole however long the disk fails.
    pub(super) fn advance(&mut self, last: u64) -> io::Result<()> {
        self.write(last, false)
    }

    /// Notes that the store was closed in order.
    pub(super) fn close(&mut self) -> io::Result<()> {
        self.write(self.last, true)
    }

    fn write(&mut self, last: u64, closed: bool) -> io::Result<()> {
        let generation = self.generation + 1;
        let slot = Slot { version: VERSION, generation, last, closed };
        self.file.write_all_at(&slot.encode(), generation % SLOTS * SLOT_BYTES as u64)?;
        self.file.sync_data()?;
        (self.generation, self.last) = (generation, last);
        Ok(())
    }
}

/// Makes the names in a folder durable.
pub(super) fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

/// Writes a file under its final name only when it is whole and on disk.
pub(super) fn write_whole(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let draft: PathBuf = path.with_extension("tmp");
    let file = OpenOptions::new().write(true).create(true).truncate(true).open(&draft)?;
    file.write_all_at(bytes, 0)?;
    file.sync_all()?;
    std::fs::rename(&draft, path)?;
    path.parent().map_or(Ok(()), sync_folder)
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Slot {
    version: u32,
    generation: u64,
    last: u64,
    closed: bool,
}

impl Slot {
    /// The whole slots among a file's two.
    fn both(bytes: &[u8]) -> Vec<Option<Self>> {
        let slots = (0..SLOTS).zip(bytes.chunks(SLOT_BYTES).map(Some).chain(std::iter::repeat(None)));
        let parse = |(number, slot): (u64, Option<&[u8]>)| {
            Self::parse(slot?.first_chunk()?).filter(|slot| slot.generation % SLOTS == number)
        };
        slots.map(parse).collect()
    }

    /// The slot fills its 4 KiB with its checksum at the end, so a flipped bit is noticed wherever it is.
    fn encode(self) -> [u8; SLOT_BYTES] {
        let mut head = Vec::with_capacity(SLOT_BYTES);
        head.extend_from_slice(&MARK);
        head.extend_from_slice(&self.version.to_le_bytes());
        head.extend_from_slice(&self.generation.to_le_bytes());
        head.extend_from_slice(&self.last.to_le_bytes());
        head.push(u8::from(self.closed));
        head.resize(SLOT_BYTES - 4, 0);
        head.extend_from_slice(&crc32fast::hash(&head).to_le_bytes());
        let mut bytes = [0; SLOT_BYTES];
        bytes.copy_from_slice(&head);
        bytes
    }

    fn parse(bytes: &[u8; SLOT_BYTES]) -> Option<Self> {
        let (body, crc) = bytes.split_last_chunk::<4>()?;
        if crc32fast::hash(body) != u32::from_le_bytes(*crc) || !body.starts_with(&MARK) {
            return None;
        }
        Some(Self {
            version: u32::from_le_bytes(*body.get(8..)?.first_chunk()?),
            generation: u64::from_le_bytes(*body.get(12..)?.first_chunk()?),
            last: u64::from_le_bytes(*body.get(20..)?.first_chunk()?),
            closed: *body.get(28)? == 1,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spoil(folder: &Path, change: impl FnOnce(&mut Vec<u8>)) {
        let path = folder.join(Tip::NAME);
        let mut bytes = std::fs::read(&path).unwrap();
        change(&mut bytes);
        std::fs::write(&path, bytes).unwrap();
    }

    #[test]
    fn the_newest_number_is_found_again() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(Tip::look(folder.path()).unwrap(), TipFound::Absent);
        let mut tip = Tip::open(folder.path(), 3).unwrap();
        assert_eq!(Tip::look(folder.path()).unwrap(), TipFound::Whole { last: 3, closed: false });
        for last in [4, 9, 120] {
            tip.advance(last).unwrap();
            assert_eq!(Tip::look(folder.path()).unwrap(), TipFound::Whole { last, closed: false });
        }
        tip.close().unwrap();
        assert_eq!(Tip::look(folder.path()).unwrap(), TipFound::Whole { last: 120, closed: true });
        Tip::open(folder.path(), 120).unwrap();
        assert_eq!(Tip::look(folder.path()).unwrap(), TipFound::Whole { last: 120, closed: false });
    }

    #[test]
    fn any_damage_is_noticed_and_one_slot_is_enough() {
        for at in (0..FILE_BYTES).step_by(37).chain([FILE_BYTES - 1]) {
            let folder = tempfile::tempdir().unwrap();
            let mut tip = Tip::open(folder.path(), 3).unwrap();
            tip.advance(4).unwrap();
            tip.advance(5).unwrap();
            spoil(folder.path(), |bytes| bytes[at] ^= 1);
            // The creation wrote both slots; the next write, 4, went to the first again.
            let last = if at < SLOT_BYTES { 5 } else { 4 };
            assert_eq!(Tip::look(folder.path()).unwrap(), TipFound::Half { last }, "byte {at}");
            Tip::open(folder.path(), last).unwrap();
            assert_eq!(Tip::look(folder.path()).unwrap(), TipFound::Whole { last, closed: false }, "byte {at}");
        }
    }

    #[test]
    fn nothing_left_is_damage_and_a_later_version_is_not() {
        let folder = tempfile::tempdir().unwrap();
        Tip::open(folder.path(), 3).unwrap();
        spoil(folder.path(), |bytes| bytes.truncate(10));
        assert_eq!(Tip::look(folder.path()).unwrap(), TipFound::Damaged);
        Tip::open(folder.path(), 7).unwrap();
        assert_eq!(Tip::look(folder.path()).unwrap(), TipFound::Whole { last: 7, closed: false });
        let later = Slot { version: 2, generation: 0, last: 3, closed: false }.encode();
        spoil(folder.path(), |bytes| bytes.splice(.., later).for_each(drop));
        assert_eq!(Tip::look(folder.path()).unwrap(), TipFound::Later { version: 2 });
    }
}
