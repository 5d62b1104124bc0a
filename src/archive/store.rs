//! The database below the archive: one sled tree, from sequence number to framed record. No other file knows sled.
//!
//! sled 0.34 is treated as what it is. It may panic or wait for ever where its files are damaged or the disk refuses, so it is
//! opened and closed on a thread of its own, and every call is caught. Its `flush` does not sync the length of the file, so
//! that is done on a handle of ours. Its values lie in one piece in `db`, and those of large pages in `blobs/`.

use std::fs::{self, File, TryLockError};
use std::io;
use std::ops::Deref;
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::MetadataExt as _;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use super::salvage::PIECE_BYTES;
use crate::disk::{remove_durably, sync_folder};
use crate::observe::is_after_1970;

/// How long opening may take: a gigabyte in a second, on a disk a hundred times slower.
const OPEN_TIMEOUT: Duration = Duration::from_secs(120);
/// How long closing may take.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(10);
/// sled's recovery is not deeply recursive; should it be, it meets the end of this stack and not of the main thread's.
const STACK_BYTES: usize = 16 << 20;

/// Why the database, or the disk below it, did not do what it was asked for.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    /// The disk refuses: it is full, read-only, or fails. Nothing is known to be damaged.
    #[error("{0}")]
    Refused(io::Error),
    /// What sled says of its files, or that it panicked or did not come back.
    #[error("{0}")]
    Broken(String),
}

impl From<sled::Error> for Failure {
    fn from(error: sled::Error) -> Self {
        match error {
            sled::Error::Io(error) => error.into(),
            error => Self::Broken(error.to_string()),
        }
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            // A file that is shorter than it was, gone, or held by a sled that never came back.
            io::ErrorKind::UnexpectedEof
            | io::ErrorKind::InvalidData
            | io::ErrorKind::InvalidInput
            | io::ErrorKind::NotFound
            | io::ErrorKind::AlreadyExists
            | io::ErrorKind::Other => Self::Broken(error.to_string()),
            _ => Self::Refused(error),
        }
    }
}

/// An open database.
#[derive(Debug)]
pub(super) struct Store {
    db: Option<sled::Db>,
    /// Our own handle of sled's file; a sync works on the file, whoever wrote to it.
    file: File,
    folder: PathBuf,
}

impl Store {
    /// Opens the database in a folder, or makes one.
    pub(super) fn open(folder: &Path, cache_bytes: u64) -> Result<Self, Failure> {
        if !is_after_1970() {
            return Err(Failure::Refused(io::Error::other("the clock shows a time before 1970; set it")));
        }
        let config = sled::Config::new()
            .path(folder)
            .cache_capacity(cache_bytes)
            .mode(sled::Mode::LowSpace)
            .segment_size(PIECE_BYTES)
            // Without its flusher sled never cleans up.
            .flush_every_ms(Some(500));
        let db = aside(OPEN_TIMEOUT, move || config.open().map_err(Failure::from))?;
        let file = File::options().read(true).write(true).open(folder.join("db"));
        match file {
            Ok(file) => Ok(Self { db: Some(db), file, folder: folder.to_owned() }),
            Err(error) => {
                // Its own threads may be in its way; nobody waits for them here.
                let _dropped = aside(CLOSE_TIMEOUT, move || {
                    drop(db);
                    Ok(())
                });
                Err(error.into())
            }
        }
    }

    /// The files that hold frames, the main one first.
    pub(super) fn raw_files(folder: &Path) -> io::Result<Vec<PathBuf>> {
        let mut files = vec![folder.join("db")];
        match fs::read_dir(folder.join("blobs")) {
            Ok(entries) => {
                for entry in entries {
                    files.push(entry?.path());
                }
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
        files.retain(|path| path.is_file());
        Ok(files)
    }

    /// Takes away what says how far sled has read its file; it then reads all of it. `Torn`: only what was never finished, which
    /// sled would take for whole.
    pub(super) fn drop_snapshots(folder: &Path, which: Snapshots) -> io::Result<bool> {
        let mut dropped = false;
        let entries = match fs::read_dir(folder) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
            Err(error) => return Err(error),
        };
        for entry in entries {
            let path = entry?.path();
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            if name.starts_with("snap.") && (which == Snapshots::All || name.ends_with(".generating")) {
                dropped |= remove_durably(&path)?;
            }
        }
        Ok(dropped)
    }

    /// The frame of a number.
    pub(super) fn get(&self, seq: u64) -> Result<Option<impl Deref<Target = [u8]> + use<>>, Failure> {
        caught(|| Ok(self.db()?.get(seq.to_be_bytes())?))
    }

    /// Puts frames in. They are durable after [`Store::flush`].
    pub(super) fn insert<'a>(&self, frames: impl IntoIterator<Item = (u64, &'a [u8])>) -> Result<(), Failure> {
        caught(|| {
            let db = self.db()?;
            for (seq, frame) in frames {
                db.insert(seq.to_be_bytes(), frame)?;
            }
            Ok(())
        })
    }

    /// Takes frames out.
    pub(super) fn remove(&self, seqs: impl IntoIterator<Item = u64>) -> Result<(), Failure> {
        caught(|| {
            let db = self.db()?;
            for seq in seqs {
                db.remove(seq.to_be_bytes())?;
            }
            Ok(())
        })
    }

    /// Returns when everything so far is on disk.
    pub(super) fn flush(&self) -> Result<(), Failure> {
        caught(|| Ok(self.db()?.flush().map(drop)?))?;
        self.file.sync_data()?;
        // Only pages of unusually large records are there, and sled does not sync them.
        let blobs = self.folder.join("blobs");
        let mut any = false;
        for entry in fs::read_dir(&blobs)? {
            // One may be gone again.
            if let Ok(blob) = File::open(entry?.path()) {
                blob.sync_all()?;
                any = true;
            }
        }
        if any { Ok(sync_folder(&blobs)?) } else { Ok(()) }
    }

    /// The frames from a number on, in ascending order. The first error ends them.
    pub(super) fn from(
        &self,
        seq: u64,
    ) -> Result<impl Iterator<Item = Result<(u64, impl Deref<Target = [u8]> + use<>), Failure>>, Failure> {
        let mut frames = caught(|| Ok(self.db()?.range(seq.to_be_bytes()..)))?;
        let mut ended = false;
        Ok(std::iter::from_fn(move || {
            if ended {
                return None;
            }
            let next = caught(|| frames.next().transpose().map_err(Failure::from));
            ended = !matches!(next, Ok(Some(_)));
            let (key, frame) = match next {
                Ok(next) => next?,
                Err(error) => return Some(Err(error)),
            };
            let Ok(key) = (*key).try_into() else {
                ended = true;
                return Some(Err(Failure::Broken("a key is no number".to_owned())));
            };
            Some(Ok((u64::from_be_bytes(key), frame)))
        }))
    }

    /// Whether its file is still the one in its folder, and can hold so many bytes of frames.
    pub(super) fn is_in_place(&self, frame_bytes: u64) -> io::Result<bool> {
        let (ours, named) = (self.file.metadata()?, fs::metadata(self.folder.join("db")));
        let is_same = named.is_ok_and(|named| (named.dev(), named.ino()) == (ours.dev(), ours.ino()));
        Ok(is_same && folder_bytes(&self.folder)? >= frame_bytes)
    }

    /// A path to its file, also where that has none any more.
    pub(super) fn open_file(&self) -> PathBuf {
        PathBuf::from(format!("/proc/self/fd/{}", self.file.as_raw_fd()))
    }

    /// Closes the database. Where that fails or takes too long, sled's threads may go on to hold its file.
    pub(super) fn close(mut self) -> Result<(), Failure> {
        let Some(db) = self.db.take() else { return Ok(()) };
        let path = self.folder.join("db");
        aside(CLOSE_TIMEOUT, move || {
            let flushed = db.flush();
            drop(db);
            wait_unlocked(&path)?;
            Ok(flushed.map(drop)?)
        })?;
        Ok(self.file.sync_all()?)
    }

    /// Where it lies.
    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    fn db(&self) -> Result<&sled::Db, Failure> {
        self.db.as_ref().ok_or_else(|| Failure::Broken("it is closed".to_owned()))
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        if let Some(db) = self.db.take() {
            // Where even the thread fails to start, its closure is dropped here, and sled with it.
            let _ended_or_not = aside(CLOSE_TIMEOUT, move || {
                drop(db);
                Ok(())
            });
        }
    }
}

/// Bytes of all files of a folder.
pub(super) fn folder_bytes(folder: &Path) -> io::Result<u64> {
    let mut bytes = 0;
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        // What is gone again, or has another name by now, does not count.
        let Ok(kind) = entry.file_type() else { continue };
        bytes += if kind.is_dir() {
            folder_bytes(&entry.path()).unwrap_or_default()
        } else {
            entry.metadata().map_or(0, |metadata| metadata.len())
        };
    }
    Ok(bytes)
}

/// Which snapshots [`Store::drop_snapshots`] takes away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Snapshots {
    /// Those that were never finished.
    Torn,
    All,
}

/// Sled's own threads may hold its file for a moment longer; its lock tells when the last one let go.
fn wait_unlocked(path: &Path) -> Result<(), Failure> {
    let deadline = Instant::now() + CLOSE_TIMEOUT;
    let held = File::open(path)?;
    loop {
        match held.try_lock() {
            Ok(()) => return Ok(held.unlock()?),
            Err(TryLockError::WouldBlock) if Instant::now() < deadline => thread::sleep(Duration::from_millis(1)),
            Err(TryLockError::WouldBlock) => return Err(Failure::Broken("its file stays in use".to_owned())),
            Err(TryLockError::Error(error)) => return Err(error.into()),
        }
    }
}

/// Runs `work` behind a wall that its panics do not pass.
///
/// Unwind safety: after an error the database is closed, and nothing of it is used again.
fn caught<T>(work: impl FnOnce() -> Result<T, Failure>) -> Result<T, Failure> {
    catch_unwind(AssertUnwindSafe(work))
        .unwrap_or_else(|_panic| Err(Failure::Broken("the database panicked".to_owned())))
}

/// Runs `work` on a thread of its own and waits for it, but neither for ever nor at the price of a panic.
fn aside<T: Send + 'static>(
    timeout: Duration,
    work: impl FnOnce() -> Result<T, Failure> + Send + 'static,
) -> Result<T, Failure> {
    let (sender, receiver) = mpsc::sync_channel(1);
    thread::Builder::new().name("archive-sled".to_owned()).stack_size(STACK_BYTES).spawn(move || {
        // Nobody waits any more: the outcome is dropped here, out of the way.
        let _too_late = sender.send(caught(work));
    })?;
    receiver.recv_timeout(timeout).unwrap_or_else(|_| Err(Failure::Broken("the database did not answer".to_owned())))
}

#[cfg(test)]
mod tests {
    use super::super::frame;
    use super::super::salvage::Salvage;
    use super::*;
    use crate::archive::GameId;

    fn frames(seqs: std::ops::Range<u64>, bytes: usize) -> Vec<(u64, Vec<u8>)> {
        seqs.map(|seq| (seq, frame::encode(seq, GameId::first_at(seq), &vec![u8::try_from(seq % 251).unwrap(); bytes])))
            .collect()
    }

    fn insert(tree: &Store, frames: &[(u64, Vec<u8>)]) {
        tree.insert(frames.iter().map(|(seq, frame)| (*seq, &frame[..]))).unwrap();
        tree.flush().unwrap();
    }

    #[test]
    fn every_frame_lies_in_one_piece_in_the_raw_files() {
        for bytes in [0, 30, 500, 20_000, frame::MAX_RECORD_BYTES] {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("records");
            let tree = Store::open(&path, 1 << 20).unwrap();
            let count = if bytes > 10_000 { 40 } else { 3000 };
            for part in frames(1..count + 1, bytes).chunks(33) {
                insert(&tree, part);
                let (last, frame) = part.last().unwrap();
                assert_eq!(tree.get(*last).unwrap().as_deref(), Some(&frame[..]));
            }
            // sled moves pages in the background, so one walk over a live database may pass a page that moves behind it.
            let walk = || Salvage::walk(&Store::raw_files(&path).unwrap()).unwrap();
            let seqs = |found: &Salvage| found.places.iter().map(|place| place.seq).collect::<Vec<u64>>();
            let all: Vec<u64> = (1..=count).collect();
            assert!((0..100).any(|_| seqs(&walk()) == all), "{bytes} bytes: {:?}", seqs(&walk()));
            tree.remove([3, 4]).unwrap();
            tree.close().unwrap();
            let found = walk();
            for place in found.places.iter().filter(|place| ![3, 4].contains(&place.seq)) {
                assert!(found.read(place).unwrap().is_some());
            }
            let tree = Store::open(&path, 1 << 20).unwrap();
            let kept: Vec<u64> = tree.from(2).unwrap().map(|frame| frame.unwrap().0).collect();
            assert_eq!(kept, [2].into_iter().chain(5..=count).collect::<Vec<_>>());
        }
    }

    #[test]
    fn a_panic_is_an_error() {
        let error = caught(|| -> Result<(), Failure> { panic!("as sled does on a damaged page") }).unwrap_err();
        assert!(error.to_string().contains("panicked"));
        let error = aside(Duration::from_millis(20), || -> Result<(), Failure> {
            thread::park_timeout(Duration::from_secs(1));
            Ok(())
        });
        assert!(error.unwrap_err().to_string().contains("did not answer"));
    }
}
