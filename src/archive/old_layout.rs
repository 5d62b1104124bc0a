//! Reads an archive of the layout before: segment files of frames, and a number beside them.
//!
//! A segment is named after the sequence number that it begins with, and holds frames of records and of runs of numbers that
//! were removed (`LGD1`) or lost (`LGX1`). Every number from 1 to the last one belongs to exactly one frame; one that nobody
//! accounts for is damage. Nothing here writes.

use std::io;
use std::path::{Path, PathBuf};

use super::GameId;
use super::frame::{MAGIC, RawFrame, parse_raw};
use super::numbers::Gone;
use super::salvage::read_whole;
use crate::disk::{DurableNumber, NumberFound, Stretch, walk};

/// The version of the number file that belongs to this layout.
pub(super) const LAYOUT: u32 = 1;
/// The file with the last acknowledged number.
pub(super) const NUMBER: &str = "tip";
/// The folder with the segments.
pub(super) const SEGMENTS: &str = "segments";
/// All names of this layout, the segments first.
pub(super) const NAMES: [&str; 4] = [SEGMENTS, "catalog", "catalog.seal", NUMBER];

const REMOVED: [u8; 4] = *b"LGD1";
const LOST: [u8; 4] = *b"LGX1";
/// The largest record of this layout, in bytes.
const MAX_RECORD_BYTES: usize = 1 << 20;

/// What an archive of this layout holds, besides its records.
#[derive(Debug, Default)]
pub(super) struct Found {
    /// The last number that any record has, or had.
    pub(super) last: u64,
    /// What became of the others.
    pub(super) gone: Gone,
    /// Numbers lost that were not reported lost before.
    pub(super) missing: u64,
    /// What is wrong besides.
    pub(super) damage: Vec<String>,
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
pub(super) fn number(store: &Path) -> io::Result<u64> {
    Ok(match DurableNumber::look(&store.join(NUMBER), LAYOUT)? {
        NumberFound::Whole { number, .. } | NumberFound::Half(number) => number,
        NumberFound::Absent | NumberFound::Damaged | NumberFound::OtherVersion(_) => 0,
    })
}

/// Shows every whole record, in ascending order of the sequence numbers.
///
/// # Errors
/// A segment cannot be opened, or `show` fails. What cannot be read is damage, and no error.
pub(super) fn read(store: &Path, mut show: impl FnMut(u64, GameId, &[u8]) -> io::Result<()>) -> io::Result<Found> {
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
        let last_allowed = segments.get(at + 1).map_or(u64::MAX, |next| next.0 - 1);
        if let Some(error) = read_whole(path, &mut buffer)? {
            found.damage.push(format!("{} cannot be read everywhere: {error}", path.display()));
        }
        expected = found.account(expected, first - 1, acknowledged, is_sure);
        let parse = |bytes| parse_raw(bytes, &[MAGIC, REMOVED, LOST], MAX_RECORD_BYTES);
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
                REMOVED => found.gone.removed.insert_run(seq, last),
                _ => found.gone.lost.insert_run(seq, last),
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
        if first <= promised {
            self.gone.lost.insert_run(first, promised);
            self.missing += promised - first + 1;
        }
        if first <= last {
            self.gone.removed.insert_run(first.max(promised.saturating_add(1)), last);
        }
        first.max(last.saturating_add(1))
    }
}

/// The segments of a folder with their first numbers, in ascending order. Other files are not ours to judge.
pub(super) fn segments(folder: &Path) -> io::Result<Vec<(u64, PathBuf)>> {
    let mut segments = Vec::new();
    let entries = match std::fs::read_dir(folder) {
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
