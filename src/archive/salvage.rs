//! Whole records out of raw files, whatever wrote them and whatever happened to them since.
//!
//! The database keeps every value in one piece and uncompressed, so each record can be found by its frame without asking the
//! database. After a crash that is done first, and what the database says afterwards is held against it. While it runs, a
//! checkpoint looks for the frames that it said to have stored.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use super::frame::{self, Frame, HEADER_BYTES, MAX_RECORD_BYTES};
use crate::disk::{Stretch, walk};
use crate::parallel;

/// Files are read in pieces of this size, the segments of the database's main file. No frame lies across the border of two
/// segments, but in other files it may.
pub(super) const PIECE_BYTES: usize = 512 << 10;
/// Read behind each piece, for a frame that begins in it.
const OVERLAP_BYTES: usize = HEADER_BYTES + MAX_RECORD_BYTES;
/// Where the disk refuses a piece, it is asked for so many bytes at a time.
const SECTOR_BYTES: usize = 4096;
/// Longest file that is read in one piece.
const MAX_WHOLE_BYTES: u64 = 256 << 20;
/// What the database writes at the start of a segment each time it begins to fill it.
const HEAD_BYTES: usize = 20;

/// Where a frame lies.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    pub(super) seq: u64,
    pub(super) crc: u32,
    /// Length of the record.
    pub(super) length: u32,
    at: u64,
    file: usize,
}

/// The frames that were found in some files.
#[derive(Debug, Default)]
pub(super) struct Salvage {
    files: Vec<File>,
    /// One for each sequence number, in ascending order.
    pub(super) places: Vec<Place>,
    /// The disk refused to read parts of the files.
    pub(super) unreadable: Option<io::Error>,
}

impl Salvage {
    /// Walks through files for whole frames. The first ones matter most: where two frames have the same number and are not the
    /// same, that of the earlier file counts, and in one file the later frame.
    ///
    /// # Errors
    /// A file cannot be opened, or there is not enough memory. A part that cannot be read is no error.
    pub(super) fn walk(paths: &[PathBuf]) -> io::Result<Self> {
        let mut salvage = Self::default();
        for (number, path) in paths.iter().enumerate() {
            let file = File::open(path)?;
            let length = file.metadata()?.len();
            parallel::in_order(
                (0..length).step_by(PIECE_BYTES),
                parallel::cores_for(length, PIECE_BYTES),
                |start| search_piece(&file, number, length, start),
                |piece| {
                    let (places, unreadable) = piece?;
                    salvage.places.extend(places);
                    salvage.unreadable = salvage.unreadable.take().or(unreadable);
                    io::Result::Ok(())
                },
            )?;
            salvage.files.push(file);
        }
        // The one that counts comes first among equals.
        salvage.places.sort_by_key(|place| (place.seq, place.file, std::cmp::Reverse(place.at)));
        salvage.places.dedup_by_key(|place| place.seq);
        salvage.places.shrink_to_fit();
        Ok(salvage)
    }

    /// The frame that lies in a place, if it is still whole.
    ///
    /// # Errors
    /// The disk refuses.
    pub(super) fn read(&self, place: &Place) -> io::Result<Option<Vec<u8>>> {
        let Some(file) = self.files.get(place.file) else { return Ok(None) };
        let mut bytes = vec![0; HEADER_BYTES + place.length as usize];
        match file.read_exact_at(&mut bytes, place.at) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
            Err(error) => return Err(error),
        }
        let is_whole = frame::parse(&bytes).is_some_and(|(frame, _)| frame.seq == place.seq && frame.crc == place.crc);
        Ok(is_whole.then_some(bytes))
    }

    /// The frame with a number, if it was found and is still whole.
    ///
    /// # Errors
    /// The disk refuses.
    pub(super) fn get(&self, seq: u64) -> io::Result<Option<Vec<u8>>> {
        let found = self.places.binary_search_by_key(&seq, |place| place.seq).ok();
        found.and_then(|at| self.places.get(at)).map_or(Ok(None), |place| self.read(place))
    }
}

/// The frames that begin in a piece of a file, and what the disk refused of it.
fn search_piece(file: &File, number: usize, length: u64, start: u64) -> io::Result<(Vec<Place>, Option<io::Error>)> {
    let (mut places, mut buffer) = (Vec::new(), Vec::new());
    let wanted = (PIECE_BYTES + OVERLAP_BYTES) as u64;
    let unreadable = read_piece(file, start, (length - start).min(wanted), &mut buffer)?;
    each_frame(&buffer, |at, Frame { seq, crc, record, .. }| {
        // A frame that begins behind the piece belongs to the next one.
        if at < PIECE_BYTES {
            let length = u32::try_from(record.len()).unwrap_or(u32::MAX);
            places.push(Place { seq, crc, length, at: start + at as u64, file: number });
        }
    });
    Ok((places, unreadable))
}

/// Shows each whole frame of some bytes, and where it begins.
pub(super) fn each_frame<'a>(bytes: &'a [u8], mut show: impl FnMut(usize, Frame<'a>)) {
    for stretch in walk(bytes, &frame::MAGIC, frame::parse) {
        if let Stretch::Frame { at, frame } = stretch {
            show(at, frame);
        }
    }
}

/// Reads a whole file. Where the disk refuses, zeros stand in; the first refusal is returned.
///
/// # Errors
/// The file is absurdly long, cannot be opened, or there is not enough memory.
pub(super) fn read_whole(path: &Path, buffer: &mut Vec<u8>) -> io::Result<Option<io::Error>> {
    let file = File::open(path)?;
    let length = file.metadata()?.len();
    if length > MAX_WHOLE_BYTES {
        return Err(io::Error::other(format!("{} has {length} bytes", path.display())));
    }
    read_piece(&file, 0, length, buffer)
}

/// Reads some bytes of a file. Where the disk refuses, zeros stand in, which are no frame; the first refusal is returned.
fn read_piece(file: &File, start: u64, length: u64, buffer: &mut Vec<u8>) -> io::Result<Option<io::Error>> {
    let length = usize::try_from(length).map_err(io::Error::other)?;
    buffer.clear();
    buffer.try_reserve_exact(length).map_err(|_| io::ErrorKind::OutOfMemory)?;
    buffer.resize(length, 0);
    if file.read_exact_at(buffer, start).is_ok() {
        return Ok(None);
    }
    let (mut refusal, mut at) = (None, start);
    for sector in buffer.chunks_mut(SECTOR_BYTES) {
        if let Err(error) = file.read_exact_at(sector, at) {
            sector.fill(0);
            refusal.get_or_insert(error);
        }
        at += sector.len() as u64;
    }
    Ok(refusal)
}

/// Finds frames that were just written in the database's file, by looking only where it has written since the last time.
#[derive(Debug, Default)]
pub(super) struct Checkpoint {
    /// What each segment began with the last time.
    heads: Vec<[u8; HEAD_BYTES]>,
    /// Segments that may still be filled though they begin as they did.
    open: BTreeSet<usize>,
}

impl Checkpoint {
    /// Takes out of `wanted` (numbers and their checksums) every frame that is found. Whatever is not found where the file has
    /// changed is looked for everywhere.
    ///
    /// # Errors
    /// The disk refuses.
    pub(super) fn find(&mut self, paths: &[PathBuf], wanted: &mut BTreeMap<u64, u32>) -> io::Result<()> {
        let Some(path) = paths.first() else { return Ok(()) };
        let file = File::open(path)?;
        let length = file.metadata()?.len();
        let mut look = std::mem::take(&mut self.open);
        let is_first = self.heads.is_empty();
        let segments = usize::try_from(length.div_ceil(PIECE_BYTES as u64)).map_err(io::Error::other)?;
        self.heads.resize(segments, [0; HEAD_BYTES]);
        let mut changed = BTreeSet::new();
        for (number, head) in self.heads.iter_mut().enumerate() {
            let mut now = [0; HEAD_BYTES];
            // The last one may be shorter than that.
            let _short = file.read_exact_at(&mut now, (number * PIECE_BYTES) as u64);
            if now != *head {
                *head = now;
                changed.insert(number);
            }
        }
        look.extend(&changed);
        let mut buffer = Vec::new();
        for number in look {
            let start = (number * PIECE_BYTES) as u64;
            read_piece(&file, start, length.saturating_sub(start).min(PIECE_BYTES as u64), &mut buffer)?;
            let before = wanted.len();
            each_frame(&buffer, |_, frame| take_out(wanted, frame.seq, frame.crc));
            if wanted.len() < before || (changed.contains(&number) && !is_first) {
                self.open.insert(number);
            }
        }
        if !wanted.is_empty() {
            let found = Salvage::walk(paths)?;
            for place in &found.places {
                let before = wanted.len();
                take_out(wanted, place.seq, place.crc);
                if wanted.len() < before && place.file == 0 {
                    self.open.extend(usize::try_from(place.at / PIECE_BYTES as u64));
                }
            }
        }
        Ok(())
    }
}

fn take_out(wanted: &mut BTreeMap<u64, u32>, seq: u64, crc: u32) {
    if wanted.get(&seq) == Some(&crc) {
        wanted.remove(&seq);
    }
}
