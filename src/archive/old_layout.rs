//! Takes over an archive of the layout before: segment files of frames, and a number beside them.
//!
//! A segment is named after the sequence number that it begins with, and holds frames of records and of runs of numbers that
//! were removed (`LGD1`) or lost (`LGX1`). Every number from 1 to the last one belongs to exactly one frame; one that nobody
//! accounts for is damage. The old files are read, compared with what was made of them, and kept aside.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use sha2::{Digest as _, Sha256};

use super::GameId;
use super::frame::{self, MAGIC, MAX_RECORD_BYTES, RawFrame, parse_raw};
use super::layout::{self, Builder, Layout, remove_folder};
use super::numbers::{Gone, insert_run};
use super::report::OpenReport;
use super::salvage::read_whole;
use super::store::{Failure, Store};
use crate::disk::{
    DurableNumber, NumberFound, Stretch, quarantine, read_checked, remove_durably, rename_durably, sync_folder, walk,
    write_checked,
};

/// The version of the number file that belongs to this layout.
const LAYOUT: u32 = 1;
/// The file with the last acknowledged number.
pub(super) const NUMBER: &str = "tip";
/// The folder with the segments.
pub(super) const SEGMENTS: &str = "segments";
/// All names of this layout, the segments first.
const NAMES: [&str; 4] = [SEGMENTS, "catalog", "catalog.seal", NUMBER];

const REMOVED: [u8; 4] = *b"LGD1";
const LOST: [u8; 4] = *b"LGX1";
/// The largest record of this layout, in bytes.
const OLD_MAX_RECORD_BYTES: usize = 1 << 20;

/// What an archive of this layout holds, besides its records.
#[derive(Debug, Default)]
struct Found {
    /// The last number that any record has, or had.
    last: u64,
    /// What became of the others.
    gone: Gone,
    /// Numbers lost that were not reported lost before.
    missing: u64,
    /// What is wrong besides.
    damage: Vec<String>,
}

/// Whether there is an archive of this layout in a folder, or what is left of it while it is taken over.
///
/// # Errors
/// The disk refuses.
pub fn is_in(store: &Path) -> io::Result<bool> {
    Ok(match DurableNumber::look(&store.join(NUMBER), LAYOUT)? {
        NumberFound::Whole { .. } | NumberFound::Half(_) => true,
        NumberFound::Absent | NumberFound::Damaged => store.join(SEGMENTS).is_dir(),
        // Its successor is in place, whatever else somebody put there.
        NumberFound::OtherVersion(_) => false,
    })
}

/// The last acknowledged number, as far as it can be read.
fn number(store: &Path) -> io::Result<u64> {
    Ok(match DurableNumber::look(&store.join(NUMBER), LAYOUT)? {
        NumberFound::Whole { number, .. } | NumberFound::Half(number) => number,
        NumberFound::Absent | NumberFound::Damaged | NumberFound::OtherVersion(_) => 0,
    })
}

/// Copies every record with its number into a new database, compares both by count and SHA-256, and keeps the old files aside.
/// Interrupted, it begins again: until the old files have moved, nothing else is stored.
pub(super) fn take_over(layout: &Layout, cache_bytes: u64, report: &mut OpenReport) -> Result<(), Failure> {
    let store = &layout.store;
    // The last number, while no file of either layout says it.
    let note = store.join("last");
    if store.join(SEGMENTS).is_dir() {
        let mut found = copy_records(layout, cache_bytes)?;
        found.gone.write(&layout.numbers)?;
        report.missing += found.missing;
        report.damage.append(&mut found.damage);
        write_checked(&note, &format!("{}\n", found.last))?;
    }
    let aside = quarantine(store, "old-layout")?;
    for name in NAMES {
        let (path, kept) = (store.join(name), aside.join(name));
        if name == NUMBER {
            // Its successor takes its place in one step.
            if path.is_file() {
                fs::copy(&path, &kept).and_then(|_| sync_folder(&aside))?;
            }
        } else if path.exists() {
            rename_durably(&path, &kept)?;
        }
    }
    let last = read_checked(&note)?.and_then(|text| text.trim().parse().ok());
    DurableNumber::create(&layout.high_water, layout::LAYOUT, last.map_or_else(|| number(store), Ok)?)?;
    remove_durably(&note)?;
    report.taken_over = Some(aside);
    Ok(())
}

/// Puts a database with the records of the segments in its place.
fn copy_records(layout: &Layout, cache_bytes: u64) -> Result<Found, Failure> {
    for folder in [&layout.fresh, &layout.old] {
        remove_folder(folder)?;
    }
    let mut builder = Builder::begin(layout, cache_bytes)?;
    let mut given = Tally::default();
    let mut too_large = Vec::new();
    let mut found = read(&layout.store, |seq, id, record| {
        if record.len() > MAX_RECORD_BYTES {
            too_large.push(seq);
            return Ok(());
        }
        given.add(seq, id, record);
        builder.push(seq, &frame::encode(seq, id, record))
    })?;
    builder.finish()?;
    for seq in too_large {
        found.damage.push(format!("record {seq} is larger than any game"));
        found.missing += 1;
        found.gone.lost.insert(seq..=seq);
    }
    let copied = Store::open(&layout.fresh, cache_bytes)?;
    let mut taken = Tally::default();
    for frame in copied.from(0)? {
        let (seq, bytes) = frame?;
        if let Some((frame, _)) = frame::parse(&bytes) {
            taken.add(seq, frame.id, frame.record);
        }
    }
    copied.close()?;
    let (records, hash) = (given.records, given.hash.finalize());
    if (records, hash) != (taken.records, taken.hash.finalize()) {
        return Err(Failure::Broken(format!(
            "{} records of {records} were taken over from the layout before; its files are untouched",
            taken.records
        )));
    }
    // Here may be a database that an interrupted attempt put in place.
    layout.put_in_place()?;
    let sha256 = hex::encode(hash);
    log::info!(records = records, sha256 = sha256.as_str(); "the archive's records were taken over from the layout before");
    Ok(found)
}

/// Records, counted and hashed.
#[derive(Default)]
struct Tally {
    records: u64,
    hash: Sha256,
}

impl Tally {
    fn add(&mut self, seq: u64, id: GameId, record: &[u8]) {
        self.records += 1;
        self.hash.update(seq.to_le_bytes());
        self.hash.update(id.to_bytes());
        self.hash.update((record.len() as u64).to_le_bytes());
        self.hash.update(record);
    }
}

/// Shows every whole record, in ascending order of the sequence numbers.
///
/// # Errors
/// A segment cannot be opened, or `show` fails. What cannot be read is damage, and no error.
fn read(store: &Path, mut show: impl FnMut(u64, GameId, &[u8]) -> Result<(), Failure>) -> Result<Found, Failure> {
    let mut found = Found::default();
    let segments = segments(&store.join(SEGMENTS))?;
    let number = DurableNumber::look(&store.join(NUMBER), LAYOUT)?;
    let (acknowledged, is_sure) = match number {
        NumberFound::Whole { number, .. } => (number, true),
        NumberFound::Half(number) => (number, false),
        NumberFound::Absent if segments.is_empty() => (0, true),
        NumberFound::Absent | NumberFound::Damaged | NumberFound::OtherVersion(_) => (0, false),
    };
    if !is_sure {
        found.damage.push("the file with the last number was damaged or missing".to_owned());
    }
    let (mut expected, mut garbage, mut buffer) = (1, 0, Vec::new());
    for (at, (first, path)) in segments.iter().enumerate() {
        let last_allowed = segments.get(at + 1).map_or(u64::MAX - 1, |next| next.0 - 1);
        if let Some(error) = read_whole(path, &mut buffer)? {
            found.damage.push(format!("{} cannot be read everywhere: {error}", path.display()));
        }
        expected = found.account(expected, first - 1, acknowledged, is_sure);
        let parse = |bytes| parse_raw(bytes, &[MAGIC, REMOVED, LOST], OLD_MAX_RECORD_BYTES);
        for stretch in walk(&buffer, b"LG", parse) {
            let RawFrame { magic, seq, name, payload, .. } = match stretch {
                Stretch::Frame { frame, .. } => frame,
                Stretch::Garbage { length } => {
                    garbage += length;
                    continue;
                }
            };
            let last = match magic {
                MAGIC => seq,
                _ => u64::try_from(u128::from_le_bytes(name)).unwrap_or(u64::MAX),
            };
            if seq < expected || last < seq || last > last_allowed {
                continue;
            }
            // Behind the last frame of a file lies what a write left that never finished.
            if std::mem::take(&mut garbage) > 0 && expected <= acknowledged {
                found.damage.push(format!("{} holds bytes that are no record", path.display()));
            }
            found.account(expected, seq - 1, acknowledged, is_sure);
            match magic {
                MAGIC => show(seq, GameId::from_bytes(name), payload)?,
                REMOVED => found.gone.removed.insert(seq..=last),
                _ => found.gone.lost.insert(seq..=last),
            }
            expected = last.saturating_add(1);
        }
    }
    expected = found.account(expected, acknowledged, acknowledged, is_sure);
    found.last = expected - 1;
    Ok(found)
}

impl Found {
    /// Accounts for numbers that nobody has, and returns the next one that is expected.
    fn account(&mut self, first: u64, last: u64, acknowledged: u64, is_sure: bool) -> u64 {
        let promised = if is_sure { last.min(acknowledged) } else { last };
        insert_run(&mut self.gone.lost, first, promised);
        self.missing += promised.saturating_add(1).saturating_sub(first);
        insert_run(&mut self.gone.removed, first.max(promised.saturating_add(1)), last);
        first.max(last.saturating_add(1))
    }
}

/// The segments of a folder with their first numbers, in ascending order. Other files are not ours to judge.
pub(super) fn segments(folder: &Path) -> io::Result<Vec<(u64, PathBuf)>> {
    let mut segments = Vec::new();
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(segments),
        Err(error) => return Err(error),
    };
    for entry in entries {
        let path = entry?.path();
        let first = path.file_name().and_then(|name| name.to_str()?.strip_suffix(".seg")?.parse().ok());
        // Zero numbers no record.
        segments.extend(first.filter(|first| *first > 0).map(|first| (first, path)));
    }
    segments.sort_unstable();
    Ok(segments)
}
