//! One file of records, and where in it each record lies.
//!
//! Records are appended to the newest segment until it is full; older ones change only by being replaced whole, when records
//! are removed or damage is mended. Whoever holds a `Segment` can read from it for as long as he likes: a replaced file lives
//! on until it is closed.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::{PoisonError, RwLock};

use super::GameId;
use super::frame::{self, Frame, HEADER_BYTES, Stretch};
use super::tip;

/// Largest segment file that is read, in bytes; what lies beyond counts as damage.
const MAX_SEGMENT_BYTES: u64 = 256 << 20;
/// Size at which any segment is full, whatever the options say: with one group on top it stays far below what is read.
pub(super) const FULL_SEGMENT_BYTES: u64 = MAX_SEGMENT_BYTES / 2;

/// An open segment file.
#[derive(Debug)]
pub(super) struct Segment {
    /// The sequence number the segment begins with, which is also its name.
    first: u64,
    file: File,
    index: RwLock<Index>,
    /// A record that the disk refuses to read.
    #[cfg(test)]
    refused: std::sync::atomic::AtomicU64,
}

/// The records of a segment that may be read.
#[derive(Debug, Default)]
struct Index {
    /// In ascending order.
    entries: Vec<Entry>,
    /// The last number accounted for, by a record or a run.
    last: Option<u64>,
    /// Where the last frame ends.
    end: u32,
    record_bytes: u64,
}

/// Eight bytes for each record of the archive: this is kept in memory.
#[derive(Clone, Copy, Debug)]
struct Entry {
    /// Counted from the segment's first number.
    offset: u32,
    /// Where the frame begins.
    at: u32,
}

/// A run of sequence numbers, both ends included.
pub(super) type Run = (u64, u64);

/// What was found in a segment file when it was read whole.
#[derive(Debug, Default)]
pub(super) struct Findings {
    /// Numbers before the last frame that no frame accounts for.
    pub(super) gaps: Vec<Run>,
    /// Bytes before the last frame that belong to no frame.
    pub(super) garbage_bytes: u64,
    /// Bytes behind the last frame.
    pub(super) tail_bytes: u64,
    /// The last number accounted for.
    pub(super) last: Option<u64>,
    /// Numbers whose loss was reported by an earlier opening.
    pub(super) known_lost: u64,
    /// The disk refused to read parts of the file.
    pub(super) unreadable: Option<io::Error>,
}

/// A record that is there but cannot be read.
#[derive(Debug, thiserror::Error)]
pub(super) enum ReadFault {
    #[error("its bytes have changed on disk")]
    Damaged,
    #[error(transparent)]
    Io(#[from] io::Error),
}

impl Segment {
    /// The file name of the segment that begins with `first`.
    pub(super) fn name(first: u64) -> String {
        format!("{first:020}.seg")
    }

    /// The segments of a folder, as their first numbers in ascending order. Other files are not ours to judge.
    pub(super) fn list(folder: &Path) -> io::Result<Vec<u64>> {
        let mut firsts = Vec::new();
        for entry in std::fs::read_dir(folder)? {
            let name = entry?.file_name();
            let first = name.to_str().and_then(|name| name.strip_suffix(".seg")).and_then(|number| number.parse().ok());
            // Zero numbers no record; a name spelled otherwise is not one we gave.
            firsts.extend(first.filter(|first| *first > 0 && name.to_str() == Some(&Self::name(*first))));
        }
        firsts.sort_unstable();
        Ok(firsts)
    }

    /// Begins an empty segment; what a failed attempt may have left under its name is dropped.
    pub(super) fn create(folder: &Path, first: u64) -> io::Result<Self> {
        let path = folder.join(Self::name(first));
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(true).open(path)?;
        tip::sync_folder(folder)?;
        Ok(Self::new(first, file, Index::default()))
    }

    fn new(first: u64, file: File, index: Index) -> Self {
        Self {
            first,
            file,
            index: RwLock::new(index),
            #[cfg(test)]
            refused: std::sync::atomic::AtomicU64::default(),
        }
    }

    /// Reads a whole segment and finds every whole frame in it. `buffer` is only there to be used again.
    ///
    /// Numbers beyond `last_allowed` belong to the next segment: they are what a failed write left behind here.
    ///
    /// # Errors
    /// The file could not be opened, or memory is short. A failure while reading is a finding.
    pub(super) fn load(
        folder: &Path,
        first: u64,
        last_allowed: u64,
        buffer: &mut Vec<u8>,
        mut on_record: impl FnMut(GameId, u64),
    ) -> io::Result<(Self, Findings)> {
        let path = folder.join(Self::name(first));
        let file = OpenOptions::new().read(true).write(true).open(path)?;
        let length = file.metadata()?.len();
        let unreadable = read_up_to(&file, length.min(MAX_SEGMENT_BYTES), buffer)?;
        let mut findings = Findings { unreadable, ..Findings::default() };
        let mut index = Index::default();
        let mut pending_garbage = 0;
        let mut expected = first;
        for stretch in frame::walk(buffer) {
            let (at, frame) = match stretch {
                Stretch::Frame { at, frame } if frame.first() >= expected && frame.last() <= last_allowed => {
                    (at, frame)
                }
                Stretch::Frame { frame, .. } => {
                    pending_garbage += frame_bytes(&frame);
                    continue;
                }
                Stretch::Garbage { length, .. } => {
                    pending_garbage += length as u64;
                    continue;
                }
            };
            let (Ok(at), Ok(offset)) = (u32::try_from(at), u32::try_from(frame.first() - first)) else {
                pending_garbage += frame_bytes(&frame);
                continue;
            };
            if frame.first() > expected {
                findings.gaps.push((expected, frame.first() - 1));
            }
            findings.garbage_bytes += std::mem::take(&mut pending_garbage);
            match frame {
                Frame::Record { seq, id, record } => {
                    on_record(id, seq);
                    index.entries.push(Entry { offset, at });
                    index.record_bytes += record.len() as u64;
                }
                Frame::Removed { .. } => {}
                Frame::Lost { first, last } => findings.known_lost += last - first + 1,
            }
            expected = frame.last().saturating_add(1);
            findings.last = Some(frame.last());
            index.end = at.saturating_add(u32::try_from(frame_bytes(&frame)).unwrap_or(u32::MAX));
        }
        index.last = findings.last;
        findings.tail_bytes = length - u64::from(index.end);
        index.entries.shrink_to_fit();
        Ok((Self::new(first, file, index), findings))
    }

    /// The number the segment begins with.
    pub(super) fn first(&self) -> u64 {
        self.first
    }

    /// The last number the segment accounts for.
    pub(super) fn last(&self) -> Option<u64> {
        self.index().last
    }

    /// Length of the frames, in bytes.
    pub(super) fn bytes(&self) -> u64 {
        u64::from(self.index().end)
    }

    /// How many records can be read here, and their bytes without frames.
    pub(super) fn records(&self) -> (u64, u64) {
        let index = self.index();
        (index.entries.len() as u64, index.record_bytes)
    }

    /// Writes frames behind the last one and returns when the disk has them. They are not readable before [`Segment::publish`].
    pub(super) fn append(&self, frames: &[u8]) -> io::Result<()> {
        self.file.write_all_at(frames, self.bytes())?;
        self.file.sync_data()
    }

    /// Cuts off whatever lies behind the last frame.
    pub(super) fn cut_tail(&self) -> io::Result<()> {
        self.file.set_len(self.bytes())
    }

    /// Waits until the disk has everything.
    pub(super) fn sync(&self) -> io::Result<()> {
        self.file.sync_all()
    }

    /// Makes appended frames readable.
    pub(super) fn publish(&self, frames: &[u8]) {
        let mut index = self.index.write().unwrap_or_else(PoisonError::into_inner);
        let end = index.end;
        for stretch in frame::walk(frames) {
            if let Stretch::Frame { at, frame: Frame::Record { seq, record, .. } } = stretch
                && let (Ok(at), Ok(offset)) = (u32::try_from(at), u32::try_from(seq - self.first))
            {
                index.entries.push(Entry { offset, at: end.saturating_add(at) });
                index.record_bytes += record.len() as u64;
                index.last = Some(seq);
            }
        }
        index.end = end.saturating_add(u32::try_from(frames.len()).unwrap_or(u32::MAX));
    }

    /// The record with this number, or `None` if the segment has none.
    pub(super) fn read(&self, seq: u64) -> Result<Option<(GameId, Vec<u8>)>, ReadFault> {
        let Some((at, end)) = self.place(seq) else {
            return Ok(None);
        };
        #[cfg(test)]
        if seq == self.refused.load(std::sync::atomic::Ordering::Relaxed) {
            return Err(io::Error::other("the disk refuses").into());
        }
        let mut bytes = vec![0; usize::try_from(end - at).unwrap_or_default()];
        match self.file.read_exact_at(&mut bytes, u64::from(at)) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Err(ReadFault::Damaged),
            Err(error) => return Err(error.into()),
        }
        match Frame::parse(&bytes) {
            Some((Frame::Record { seq: found, id, record }, _)) if found == seq => {
                let length = record.len();
                bytes.drain(..HEADER_BYTES);
                bytes.truncate(length);
                Ok(Some((id, bytes)))
            }
            _ => Err(ReadFault::Damaged),
        }
    }

    /// Has the disk refuse a record; 0 is none.
    #[cfg(test)]
    pub(super) fn refuse_to_read(&self, number: u64) {
        self.refused.store(number, std::sync::atomic::Ordering::Relaxed);
    }

    /// Numbers of the records behind this one, in ascending order, at most `limit`.
    pub(super) fn numbers_after(&self, seq: u64, limit: usize) -> Vec<u64> {
        let index = self.index();
        let from = index.entries.partition_point(|entry| self.first + u64::from(entry.offset) <= seq);
        let entries = index.entries.get(from..).unwrap_or_default();
        entries.iter().take(limit).map(|entry| self.first + u64::from(entry.offset)).collect()
    }

    /// How many records there are behind this number.
    pub(super) fn count_after(&self, seq: u64) -> u64 {
        let index = self.index();
        let from = index.entries.partition_point(|entry| self.first + u64::from(entry.offset) <= seq);
        (index.entries.len() - from) as u64
    }

    /// Visits every record in ascending order and returns how many could not be read. `buffer` is only there to be used again.
    pub(super) fn visit(&self, buffer: &mut Vec<u8>, mut visitor: impl FnMut(u64, GameId, &[u8])) -> io::Result<u64> {
        let (mut expected, end) = {
            let index = self.index();
            (index.entries.len() as u64, index.end)
        };
        read_up_to(&self.file, u64::from(end), buffer)?;
        for stretch in frame::walk(buffer) {
            if let Stretch::Frame { frame: Frame::Record { seq, id, record }, .. } = stretch
                && self.place(seq).is_some()
            {
                expected = expected.saturating_sub(1);
                visitor(seq, id, record);
            }
        }
        Ok(expected)
    }

    /// Replaces the segment's file by one in which `remove` says which records are gone and `fill` what their numbers, and those
    /// of gaps, became. Returns the new segment; this one goes on reading the old file.
    ///
    /// The new file takes the old one's name in one step, when it is whole and on disk.
    ///
    /// # Errors
    /// Nothing has changed, unless the last step, making the name durable, failed.
    pub(super) fn rewrite(&self, folder: &Path, plan: &Rewrite<'_>, buffer: &mut Vec<u8>) -> io::Result<Self> {
        let end = self.bytes();
        read_up_to(&self.file, end, buffer)?;
        let mut out = Vec::with_capacity(buffer.len());
        let mut hole: Option<Frame<'_>> = None;
        let mut expected = self.first;
        let put_hole = |hole: &mut Option<Frame<'_>>, out: &mut Vec<u8>| {
            if let Some(run) = hole.take() {
                run.encode(out);
            }
        };
        for stretch in frame::walk(buffer) {
            let Stretch::Frame { frame, .. } = stretch else { continue };
            if frame.first() < expected || frame.last() > plan.last_allowed {
                continue;
            }
            if frame.first() > expected {
                put_hole(&mut hole, &mut out);
                plan.fill_gap((expected, frame.first() - 1), &mut out)?;
            }
            expected = frame.last().saturating_add(1);
            let removed = match frame {
                Frame::Record { seq, .. } => plan.remove.binary_search(&seq).is_ok(),
                Frame::Removed { .. } => true,
                Frame::Lost { .. } => false,
            };
            if removed {
                let first = hole.map_or(frame.first(), |run| run.first());
                hole = Some(Frame::Removed { first, last: frame.last() });
            } else {
                put_hole(&mut hole, &mut out);
                frame.encode(&mut out);
            }
        }
        put_hole(&mut hole, &mut out);
        if let Some(last) = plan.last_needed
            && last >= expected
        {
            plan.fill_gap((expected, last), &mut out)?;
        }
        tip::write_whole(&folder.join(Self::name(self.first)), &out)?;
        Ok(Self::load(folder, self.first, plan.last_allowed, buffer, |_, _| {})?.0)
    }

    /// Where the frame with this number lies, and where the next one begins at the latest.
    fn place(&self, seq: u64) -> Option<(u32, u32)> {
        let offset = u32::try_from(seq.checked_sub(self.first)?).ok()?;
        let index = self.index();
        let found = index.entries.binary_search_by_key(&offset, |entry| entry.offset).ok()?;
        let end = index.entries.get(found + 1).map_or(index.end, |next| next.at);
        Some((index.entries.get(found)?.at, end))
    }

    fn index(&self) -> std::sync::RwLockReadGuard<'_, Index> {
        self.index.read().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What [`Segment::rewrite`] shall change.
#[derive(Debug)]
pub(super) struct Rewrite<'a> {
    /// Numbers of the records to remove, in ascending order.
    pub(super) remove: &'a [u64],
    /// Numbers beyond this one are not the segment's.
    pub(super) last_allowed: u64,
    /// Account for all numbers up to this one, whether there are frames or not.
    pub(super) last_needed: Option<u64>,
    /// The last acknowledged number: a gap up to here is a loss, beyond it nothing was promised. `None`: there must be no gap.
    pub(super) acknowledged: Option<u64>,
}

impl Rewrite<'_> {
    fn fill_gap(&self, gap: Run, out: &mut Vec<u8>) -> io::Result<()> {
        let acknowledged =
            self.acknowledged.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "a record here is damaged"))?;
        account_for(gap, acknowledged, out);
        Ok(())
    }
}

/// Encodes what became of numbers nobody has: lost as far as they were acknowledged, removed beyond.
pub(super) fn account_for((first, last): Run, acknowledged: u64, out: &mut Vec<u8>) {
    if first <= acknowledged {
        Frame::Lost { first, last: last.min(acknowledged) }.encode(out);
    }
    if last > acknowledged {
        Frame::Removed { first: first.max(acknowledged.saturating_add(1)), last }.encode(out);
    }
}

/// The path of a segment.
pub(super) fn path(folder: &Path, first: u64) -> PathBuf {
    folder.join(Segment::name(first))
}

fn frame_bytes(frame: &Frame<'_>) -> u64 {
    let payload = match frame {
        Frame::Record { record, .. } => record.len(),
        Frame::Removed { .. } | Frame::Lost { .. } => 0,
    };
    (HEADER_BYTES + payload) as u64
}

/// Reads the first `length` bytes of a file into `buffer`. Where the disk refuses, zeros stand in, which belong to no frame;
/// the first refusal is returned.
///
/// # Errors
/// There is not enough memory.
fn read_up_to(file: &File, length: u64, buffer: &mut Vec<u8>) -> io::Result<Option<io::Error>> {
    const STEP_BYTES: usize = 1 << 20;
    const SECTOR_BYTES: usize = 4096;
    buffer.clear();
    let length = usize::try_from(length).map_err(io::Error::other)?;
    buffer.try_reserve_exact(length).map_err(|_| io::ErrorKind::OutOfMemory)?;
    buffer.resize(length, 0);
    let mut refusal = None;
    let mut at = 0;
    for step in buffer.chunks_mut(STEP_BYTES) {
        if file.read_exact_at(step, at).is_err() {
            let mut at = at;
            for sector in step.chunks_mut(SECTOR_BYTES) {
                if let Err(error) = file.read_exact_at(sector, at) {
                    sector.fill(0);
                    refusal.get_or_insert(error);
                }
                at += sector.len() as u64;
            }
        }
        at += step.len() as u64;
    }
    Ok(refusal)
}
