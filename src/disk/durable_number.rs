//! A number that is written often and survives a torn write.
//!
//! The file has two slots of 4 KiB that are written in turn, so a write torn by a power cut leaves the one before it. A slot
//! fills its 4 KiB with its checksum at the end, so a flipped bit is noticed wherever it is.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use super::rename_durably;

const SLOT_BYTES: usize = 4096;
const SLOTS: u64 = 2;
const FILE_BYTES: usize = 2 * SLOT_BYTES;
/// What every slot begins with, since the first version of this program.
const MAGIC: [u8; 8] = *b"LIAP TIP";

/// An open file that holds a number.
#[derive(Debug)]
pub(crate) struct DurableNumber {
    file: File,
    version: u32,
    /// Counts writes; its parity names the slot of the newest.
    generation: u64,
    number: u64,
}

/// What the file said when it was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NumberFound {
    /// There is no file.
    Absent,
    /// Both slots are whole. `closed`: whoever wrote it last was closed in order.
    Whole {
        /// The number.
        number: u64,
        /// Whether [`DurableNumber::close`] was the last to write.
        closed: bool,
    },
    /// One slot is not: the number may be one write behind.
    Half(u64),
    /// Nothing readable is left.
    Damaged,
    /// Written with another version number.
    OtherVersion(u32),
}

impl DurableNumber {
    /// Reads the number without changing anything.
    pub(crate) fn look(path: &Path, version: u32) -> io::Result<NumberFound> {
        let bytes = match std::fs::read(path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(NumberFound::Absent),
            Err(error) => return Err(error),
        };
        let slots = Slot::both(&bytes);
        if let Some(other) = slots.iter().flatten().find(|slot| slot.version != version) {
            return Ok(NumberFound::OtherVersion(other.version));
        }
        let whole = bytes.len() == FILE_BYTES && slots.iter().all(Option::is_some);
        Ok(match slots.iter().flatten().max_by_key(|slot| slot.generation) {
            Some(newest) if whole => NumberFound::Whole { number: newest.number, closed: newest.closed },
            Some(newest) => NumberFound::Half(newest.number),
            None => NumberFound::Damaged,
        })
    }

    /// Opens the file, or makes it, and makes both slots whole and the number `number`. An existing file is written in place,
    /// which takes no space on a full disk.
    pub(crate) fn open(path: &Path, version: u32, number: u64) -> io::Result<Self> {
        let bytes = match std::fs::read(path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Self::create(path, version, number),
            Err(error) => return Err(error),
        };
        let slots = Slot::both(&bytes);
        let file = OpenOptions::new().read(true).write(true).open(path)?;
        if bytes.len() > FILE_BYTES {
            file.set_len(FILE_BYTES as u64)?;
        }
        let newest = slots.iter().flatten().max_by_key(|slot| slot.generation);
        let generation = newest.map_or(0, |slot| slot.generation);
        let mut opened = Self { file, version, generation, number };
        opened.write(number)?;
        if slots.iter().any(|slot| slot.as_ref().is_none_or(|slot| slot.version != version)) {
            opened.write(number)?;
        }
        Ok(opened)
    }

    /// Writes the file afresh, at once and durably.
    pub(crate) fn create(path: &Path, version: u32, number: u64) -> io::Result<Self> {
        let draft = path.with_added_extension("tmp");
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(true).open(&draft)?;
        for generation in 0..SLOTS {
            let slot = Slot { version, generation, number, closed: false };
            file.write_all_at(&slot.encode(), generation * SLOT_BYTES as u64)?;
        }
        file.sync_all()?;
        rename_durably(&draft, path)?;
        Ok(Self { file, version, generation: SLOTS - 1, number })
    }

    /// The number that was written last.
    pub(crate) fn get(&self) -> u64 {
        self.number
    }

    /// Writes the number and returns when the disk has it.
    ///
    /// After an error the same slot is tried again, so the other one stays whole however long the disk fails.
    pub(crate) fn write(&mut self, number: u64) -> io::Result<()> {
        self.write_slot(number, false)
    }

    /// Notes that the owner was closed in order.
    pub(crate) fn close(&mut self) -> io::Result<()> {
        self.write_slot(self.number, true)
    }

    fn write_slot(&mut self, number: u64, closed: bool) -> io::Result<()> {
        let generation = self.generation + 1;
        let slot = Slot { version: self.version, generation, number, closed };
        self.file.write_all_at(&slot.encode(), generation % SLOTS * SLOT_BYTES as u64)?;
        self.file.sync_data()?;
        (self.generation, self.number) = (generation, number);
        Ok(())
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Slot {
    version: u32,
    generation: u64,
    number: u64,
    closed: bool,
}

impl Slot {
    /// The whole slots among a file's two.
    fn both(bytes: &[u8]) -> Vec<Option<Self>> {
        let slots = (0..SLOTS).zip(bytes.chunks(SLOT_BYTES).map(Some).chain(std::iter::repeat(None)));
        let parse = |(place, slot): (u64, Option<&[u8]>)| {
            Self::parse(slot?.first_chunk()?).filter(|slot| slot.generation % SLOTS == place)
        };
        slots.map(parse).collect()
    }

    fn encode(self) -> [u8; SLOT_BYTES] {
        let mut head = Vec::with_capacity(SLOT_BYTES);
        head.extend_from_slice(&MAGIC);
        head.extend_from_slice(&self.version.to_le_bytes());
        head.extend_from_slice(&self.generation.to_le_bytes());
        head.extend_from_slice(&self.number.to_le_bytes());
        head.push(u8::from(self.closed));
        head.resize(SLOT_BYTES - 4, 0);
        head.extend_from_slice(&crc32fast::hash(&head).to_le_bytes());
        let mut bytes = [0; SLOT_BYTES];
        bytes.copy_from_slice(&head);
        bytes
    }

    fn parse(bytes: &[u8; SLOT_BYTES]) -> Option<Self> {
        let (body, crc) = bytes.split_last_chunk::<4>()?;
        if crc32fast::hash(body) != u32::from_le_bytes(*crc) || !body.starts_with(&MAGIC) {
            return None;
        }
        Some(Self {
            version: u32::from_le_bytes(*body.get(8..)?.first_chunk()?),
            generation: u64::from_le_bytes(*body.get(12..)?.first_chunk()?),
            number: u64::from_le_bytes(*body.get(20..)?.first_chunk()?),
            closed: *body.get(28)? == 1,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn whole(number: u64) -> NumberFound {
        NumberFound::Whole { number, closed: false }
    }

    fn spoil(path: &Path, change: impl FnOnce(&mut Vec<u8>)) {
        let mut bytes = std::fs::read(path).unwrap();
        change(&mut bytes);
        std::fs::write(path, bytes).unwrap();
    }

    #[test]
    fn the_newest_number_is_found_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("number");
        let look = || DurableNumber::look(&path, 1).unwrap();
        assert_eq!(look(), NumberFound::Absent);
        let mut number = DurableNumber::open(&path, 1, 3).unwrap();
        assert_eq!(look(), whole(3));
        for next in [4, 9, 120] {
            number.write(next).unwrap();
            assert_eq!((look(), number.get()), (whole(next), next));
        }
        number.close().unwrap();
        assert_eq!(look(), NumberFound::Whole { number: 120, closed: true });
        DurableNumber::open(&path, 1, 120).unwrap();
        assert_eq!(look(), whole(120));
        assert_eq!(DurableNumber::look(&path, 2).unwrap(), NumberFound::OtherVersion(1));
        DurableNumber::open(&path, 2, 120).unwrap();
        assert_eq!(look(), NumberFound::OtherVersion(2));
        assert_eq!(DurableNumber::look(&path, 2).unwrap(), whole(120));
    }

    #[test]
    fn any_damage_is_noticed_and_one_slot_is_enough() {
        for at in (0..FILE_BYTES).step_by(37).chain([FILE_BYTES - 1]) {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("number");
            let mut number = DurableNumber::open(&path, 1, 3).unwrap();
            number.write(4).unwrap();
            number.write(5).unwrap();
            spoil(&path, |bytes| bytes[at] ^= 1);
            // The creation wrote both slots; the next write, 4, went to the first again.
            let left = if at < SLOT_BYTES { 5 } else { 4 };
            assert_eq!(DurableNumber::look(&path, 1).unwrap(), NumberFound::Half(left), "byte {at}");
            DurableNumber::open(&path, 1, left).unwrap();
            assert_eq!(DurableNumber::look(&path, 1).unwrap(), whole(left), "byte {at}");
        }
    }

    #[test]
    fn nothing_left_is_damage() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("number");
        DurableNumber::open(&path, 1, 3).unwrap();
        spoil(&path, |bytes| bytes.truncate(10));
        assert_eq!(DurableNumber::look(&path, 1).unwrap(), NumberFound::Damaged);
        DurableNumber::open(&path, 1, 7).unwrap();
        assert_eq!(DurableNumber::look(&path, 1).unwrap(), whole(7));
    }
}
