//! What the store's files were when they were closed in order, down to the last bit.

use std::fmt::Write as _;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use super::layout::Layout;
use crate::disk::read_checked;
use crate::parallel;

/// Bytes of a file that one thread reads in one go.
const PART_BYTES: usize = 1 << 20;

/// What was noted when the files were closed.
pub(super) enum Seal {
    Absent,
    /// The files are what they were, to the last bit.
    Fits {
        records: u64,
    },
    /// They are not, or the seal itself is damaged.
    Broken(String),
}

impl Seal {
    pub(super) fn check(layout: &Layout, was_closed: bool) -> io::Result<Self> {
        let broken = |reason: &str| Ok(Self::Broken(reason.to_owned()));
        let text = match read_checked(&layout.seal) {
            Ok(Some(text)) => text,
            Ok(None) if was_closed => return broken("its seal was missing"),
            Ok(None) => return Ok(Self::Absent),
            Err(error) if error.kind() == io::ErrorKind::InvalidData => return broken("its seal was damaged"),
            Err(error) => return Err(error),
        };
        let records = text.lines().find_map(|line| line.strip_prefix("records ")?.parse().ok());
        let Some(records) = records else { return broken("its seal cannot be read") };
        match describe(layout, records) {
            Ok(now) if now == text => Ok(Self::Fits { records }),
            Ok(_) => broken("its files have changed since it was closed"),
            Err(error) => broken(&format!("its files cannot be read: {error}")),
        }
    }
}

/// What the files are: names, lengths and checksums.
pub(super) fn describe(layout: &Layout, records: u64) -> io::Result<String> {
    let mut files = vec![layout.numbers.clone()];
    let mut folders = vec![layout.records.clone()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder)? {
            let entry = entry?;
            if entry.file_type()?.is_dir() { folders.push(entry.path()) } else { files.push(entry.path()) }
        }
    }
    files.sort();
    let mut text = format!("liap seal 1\nrecords {records}\n");
    for path in files {
        let (length, crc) = checksum(&path)?;
        let name = path.strip_prefix(&layout.store).unwrap_or(&path).display();
        // Writing to a String cannot fail.
        let _infallible = writeln!(text, "file {length} {crc:08x} {name}");
    }
    Ok(text)
}

/// Length and CRC32 of a file, which several threads read.
fn checksum(path: &Path) -> io::Result<(u64, u32)> {
    let file = File::open(path)?;
    let length = file.metadata()?.len();
    let mut whole = crc32fast::Hasher::new();
    parallel::in_order(
        (0..length).step_by(PART_BYTES),
        parallel::cores_for(length, PART_BYTES),
        |at| {
            let mut hasher = crc32fast::Hasher::new();
            let mut bytes = vec![0; usize::try_from(length - at).unwrap_or(PART_BYTES).min(PART_BYTES)];
            file.read_exact_at(&mut bytes, at)?;
            hasher.update(&bytes);
            io::Result::Ok(hasher)
        },
        |part| {
            whole.combine(&part?);
            io::Result::Ok(())
        },
    )?;
    Ok((length, whole.finalize()))
}
