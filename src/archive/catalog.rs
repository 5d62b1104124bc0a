//! From a game's id to its sequence number. The only file that knows sled.
//!
//! The catalog can always be rebuilt from the segments, so it owes nobody durability, and sled is never asked for any. What
//! sled 0.34 does to a damaged file is why: it panics, on its own threads too, refuses to open for ever after a torn snapshot,
//! and wipes every segment behind the damage while it recovers. So sled here opens only files that it closed itself and that have
//! not changed since, which a seal beside them proves: their lengths and checksums. Without a matching seal (a crash, a damage,
//! a restored backup) the folder is dropped and written again.
//!
//! Ids arrive nearly in order and are kept in blocks of up to 256, one sled entry each: 24 bytes per game on disk instead of
//! 126, and a fiftieth of the writes. Until a block is worth writing, ids wait in memory; so they do while sled is unwell.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::io;
use std::ops::{Bound, RangeBounds};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::sync::{PoisonError, RwLock};
use std::time::Duration;

use super::GameId;
use super::tip;

/// Ids per block.
const BLOCK_IDS: usize = 256;
/// Bytes per id in a block: the id and its sequence number.
const ENTRY_BYTES: usize = 24;
/// How long sled may take to open or to close before it is given up; a healthy one takes less than a second.
const SLED_PATIENCE: Duration = Duration::from_secs(20);
/// How long a sled that failed may take to go, while the writer waits.
const PARTING_PATIENCE: Duration = Duration::from_secs(2);

/// The catalog of one store.
#[derive(Debug)]
pub(super) struct Catalog {
    folder: PathBuf,
    cache_bytes: u64,
    /// Ids not yet in sled, or all of them while there is no sled.
    recent: RwLock<BTreeMap<GameId, u64>>,
    settled: RwLock<Option<sled::Db>>,
    /// Sled failed or panicked: what it holds is no longer trusted.
    broken: AtomicBool,
}

/// Why the catalog of the last run cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Unusable {
    #[error("it was not closed")]
    NotClosed,
    #[error("it does not match its seal: {0}")]
    Harmed(String),
    #[error("it cannot be opened: {0}")]
    Failed(String),
}

/// Sled failed. The ids it holds cannot be looked up until the catalog is rebuilt.
#[derive(Clone, Debug, thiserror::Error)]
#[error("the catalog of the archive failed: {0}")]
pub(super) struct CatalogFault(String);

impl Catalog {
    /// Whether there is a seal, fitting or not.
    pub(super) fn has_seal(store: &Path) -> bool {
        store.join(SEAL).exists()
    }

    /// Whether there is anything of a catalog.
    pub(super) fn exists(store: &Path) -> bool {
        Self::has_seal(store) || store.join(FOLDER).exists()
    }

    /// Opens the sealed catalog of a store, if there is one that fits: unharmed, and about these records.
    ///
    /// # Errors
    /// Why there is none; the caller then reads all ids and calls [`Catalog::rebuild`].
    pub(super) fn open_sealed(store: &Path, cache_bytes: u64, contents: &Contents) -> Result<Self, Unusable> {
        let folder = store.join(FOLDER);
        let seal = store.join(SEAL);
        let found = match fs::read(&seal) {
            Ok(found) => found,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(Unusable::NotClosed),
            Err(error) => return Err(Unusable::Harmed(error.to_string())),
        };
        let expected = describe(&folder, contents).map_err(|error| Unusable::Harmed(error.to_string()))?;
        if found != expected.as_bytes() {
            return Err(Unusable::Harmed("its files changed".to_owned()));
        }
        // From here on the files change, so the seal must be gone before.
        fs::remove_file(&seal)
            .and_then(|()| tip::sync_folder(store))
            .map_err(|error| Unusable::Failed(error.to_string()))?;
        let db = open_sled(&folder, cache_bytes).map_err(Unusable::Failed)?;
        Ok(Self::with(store, cache_bytes, BTreeMap::new(), Some(db)))
    }

    /// Makes a catalog of these ids afresh. They are served from memory at once and [settled](Catalog::settle) later.
    ///
    /// Where one id has several numbers, the highest counts.
    pub(super) fn rebuild(store: &Path, cache_bytes: u64, ids: Vec<(GameId, u64)>) -> Self {
        let catalog = Self::with(store, cache_bytes, BTreeMap::new(), None);
        catalog.restart(ids);
        catalog
    }

    fn with(store: &Path, cache_bytes: u64, recent: BTreeMap<GameId, u64>, db: Option<sled::Db>) -> Self {
        Self {
            folder: store.to_owned(),
            cache_bytes,
            recent: RwLock::new(recent),
            settled: RwLock::new(db),
            broken: AtomicBool::new(false),
        }
    }

    /// Drops whatever sled holds, begins again with these ids in memory, and tries to get a fresh sled for them.
    pub(super) fn restart(&self, mut ids: Vec<(GameId, u64)>) {
        ids.sort_unstable();
        *self.recent.write().unwrap_or_else(PoisonError::into_inner) = ids.into_iter().collect();
        let old = self.settled.write().unwrap_or_else(PoisonError::into_inner).take();
        drop_aside(old);
        self.broken.store(false, Ordering::Relaxed);
        self.get_sled();
    }

    /// Tries to get a fresh sled where there is none, for the ids in memory to settle in.
    pub(super) fn get_sled(&self) {
        match fresh_sled(&self.folder, self.cache_bytes) {
            Ok(db) => *self.settled.write().unwrap_or_else(PoisonError::into_inner) = Some(db),
            Err(reason) => log::warn!("the archive's catalog stays in memory: {reason}"),
        }
    }

    /// Whether there is no sled, so that all ids are held in memory.
    pub(super) fn is_in_memory(&self) -> bool {
        self.settled.read().unwrap_or_else(PoisonError::into_inner).is_none()
    }

    /// Whether sled failed, so that the catalog should be [restarted](Catalog::restart).
    pub(super) fn is_broken(&self) -> bool {
        self.broken.load(Ordering::Relaxed)
    }

    /// Ids that are held in memory only.
    pub(super) fn waiting(&self) -> usize {
        self.recent.read().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// Whether waiting ids are worth a write.
    pub(super) fn wants_to_settle(&self) -> bool {
        self.waiting() >= BLOCK_IDS && !self.is_in_memory() && !self.is_broken()
    }

    /// Notes the number of a game.
    pub(super) fn insert(&self, id: GameId, seq: u64) {
        self.recent.write().unwrap_or_else(PoisonError::into_inner).insert(id, seq);
    }

    /// The number of a game.
    pub(super) fn find(&self, id: GameId) -> Result<Option<u64>, CatalogFault> {
        if let Some(seq) = self.recent.read().unwrap_or_else(PoisonError::into_inner).get(&id) {
            return Ok(Some(*seq));
        }
        self.with_sled(None, |db| {
            let block = block_of(db, id)?;
            Ok(block.and_then(|(_, ids)| {
                ids.binary_search_by_key(&id, |entry| entry.0).ok().and_then(|at| ids.get(at)).map(|entry| entry.1)
            }))
        })
    }

    /// Up to `limit` games of a range of ids, newest first.
    pub(super) fn newest(
        &self,
        range: (Bound<GameId>, Bound<GameId>),
        limit: usize,
    ) -> Result<Vec<(GameId, u64)>, CatalogFault> {
        if is_empty(&range) {
            return Ok(Vec::new());
        }
        // Memory first: an id on its way into sled is then seen twice rather than never.
        let mut found: BTreeMap<GameId, u64> = self
            .recent
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .range(range)
            .rev()
            .take(limit)
            .map(|(id, seq)| (*id, *seq))
            .collect();
        let settled = self.with_sled(Vec::new(), |db| {
            let mut settled = Vec::new();
            let end = match range.1 {
                Bound::Included(id) | Bound::Excluded(id) => Bound::Included(id.to_bytes()),
                Bound::Unbounded => Bound::Unbounded,
            };
            for entry in db.range((Bound::<[u8; 16]>::Unbounded, end)).rev() {
                let ids = read_block(&entry?.1);
                settled.extend(ids.iter().rev().filter(|entry| range.contains(&entry.0)));
                let before_range = ids.first().is_some_and(|entry| match range.0 {
                    Bound::Included(from) | Bound::Excluded(from) => entry.0 < from,
                    Bound::Unbounded => false,
                });
                if settled.len() >= limit || before_range {
                    break;
                }
            }
            Ok(settled)
        })?;
        for (id, seq) in settled {
            found.entry(id).or_insert(seq);
        }
        Ok(found.into_iter().rev().take(limit).collect())
    }

    /// Forgets games.
    pub(super) fn remove(&self, ids: &[GameId]) {
        let mut recent = self.recent.write().unwrap_or_else(PoisonError::into_inner);
        for id in ids {
            recent.remove(id);
        }
        drop(recent);
        // A failure marks sled as broken: the catalog is rebuilt, and then without these games.
        let _rebuilt = self.with_sled((), |db| {
            for id in ids {
                if let Some((key, mut entries)) = block_of(db, *id)? {
                    entries.retain(|entry| entry.0 != *id);
                    if entries.is_empty() {
                        db.remove(key)?;
                    } else {
                        db.insert(key, write_block(&entries))?;
                    }
                }
            }
            Ok(())
        });
    }

    /// Moves up to `limit` of the oldest waiting ids into sled.
    pub(super) fn settle(&self, limit: usize) -> Result<(), CatalogFault> {
        let moving: Vec<(GameId, u64)> = {
            let recent = self.recent.read().unwrap_or_else(PoisonError::into_inner);
            recent.iter().take(limit).map(|(id, seq)| (*id, *seq)).collect()
        };
        let moved = self.with_sled(false, |db| put_blocks(db, &moving).map(|()| true))?;
        if moved {
            let mut recent = self.recent.write().unwrap_or_else(PoisonError::into_inner);
            for (id, seq) in moving {
                // A number noted in between is newer than the one that moved.
                if recent.get(&id) == Some(&seq) {
                    recent.remove(&id);
                }
            }
        }
        Ok(())
    }

    /// Settles what waits, closes sled and seals its files. Returns whether that worked; if not, the next opening rebuilds the catalog.
    pub(super) fn close(&self, contents: &Contents) -> bool {
        while self.waiting() > 0 && !self.is_in_memory() {
            if self.settle(BLOCK_IDS * 16).is_err() {
                break;
            }
        }
        let Some(db) = self.settled.write().unwrap_or_else(PoisonError::into_inner).take() else {
            return false;
        };
        if self.is_broken() {
            drop_aside(Some(db));
            return false;
        }
        let (store, contents) = (self.folder.clone(), contents.clone());
        let sealed = with_patience(SLED_PATIENCE, move || {
            db.flush().map_err(|error| error.to_string())?;
            drop(db);
            // Sled's own threads may hold the file for a moment longer; its lock tells when the last one let go.
            let held = fs::File::open(store.join(FOLDER).join("db"));
            held.and_then(|file| file.lock().and_then(|()| file.unlock())).map_err(|error| error.to_string())?;
            let seal = describe(&store.join(FOLDER), &contents).map_err(|error| error.to_string())?;
            tip::write_whole(&store.join(SEAL), seal.as_bytes()).map_err(|error| error.to_string())
        });
        if let Err(reason) = &sealed {
            log::warn!("the archive's catalog was not sealed and will be rebuilt: {reason}");
        }
        sealed.is_ok()
    }

    /// Runs `work` on sled, behind a wall that its panics do not pass. Without sled, the answer is `absent`.
    fn with_sled<T>(&self, absent: T, work: impl FnOnce(&sled::Db) -> sled::Result<T>) -> Result<T, CatalogFault> {
        let settled = self.settled.read().unwrap_or_else(PoisonError::into_inner);
        let Some(db) = settled.as_ref() else {
            return Ok(absent);
        };
        // Unwind safety: after a panic this sled is never asked again.
        let outcome = catch_unwind(AssertUnwindSafe(|| work(db)));
        let fault = match outcome {
            Ok(Ok(answer)) => return Ok(answer),
            Ok(Err(error)) => CatalogFault(error.to_string()),
            Err(_panic) => CatalogFault("sled panicked".to_owned()),
        };
        self.broken.store(true, Ordering::Relaxed);
        Err(fault)
    }
}

/// What a sealed catalog must be about to be of use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Contents {
    /// The store's last sequence number.
    pub(super) last: u64,
    /// How many records it holds.
    pub(super) records: u64,
}

const FOLDER: &str = "catalog";
const SEAL: &str = "catalog.seal";

/// The text of a seal: what the files of the folder are, to the last bit.
fn describe(folder: &Path, contents: &Contents) -> io::Result<String> {
    let mut files = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder)? {
            let entry = entry?;
            if entry.file_type()?.is_dir() {
                folders.push(entry.path());
            } else {
                files.push(entry.path());
            }
        }
    }
    files.sort();
    let mut seal = format!("liap catalog 1\nlast {}\nrecords {}\n", contents.last, contents.records);
    let mut buffer = vec![0; 1 << 16];
    for path in files {
        let mut file = fs::File::open(&path)?;
        let mut hasher = crc32fast::Hasher::new();
        let mut length = 0u64;
        loop {
            match io::Read::read(&mut file, &mut buffer)? {
                0 => break,
                read => {
                    hasher.update(buffer.get(..read).unwrap_or_default());
                    length += read as u64;
                }
            }
        }
        let name = path.strip_prefix(folder).unwrap_or(&path).display();
        // Writing to a String cannot fail.
        let _infallible = writeln!(seal, "file {length} {:08x} {name}", hasher.finalize());
    }
    let crc = crc32fast::hash(seal.as_bytes());
    let _infallible = writeln!(seal, "seal {crc:08x}");
    Ok(seal)
}

fn fresh_sled(store: &Path, cache_bytes: u64) -> Result<sled::Db, String> {
    let gone = |result: io::Result<()>| match result {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error.to_string()),
        _ => Ok(()),
    };
    gone(fs::remove_file(store.join(SEAL)))?;
    gone(fs::remove_dir_all(store.join(FOLDER)))?;
    open_sled(&store.join(FOLDER), cache_bytes)
}

fn open_sled(folder: &Path, cache_bytes: u64) -> Result<sled::Db, String> {
    let config = sled::Config::new()
        .path(folder)
        .cache_capacity(cache_bytes)
        .mode(sled::Mode::LowSpace)
        // Without its flusher sled keeps everything in memory and never cleans up.
        .flush_every_ms(Some(500));
    with_patience(SLED_PATIENCE, move || config.open().map_err(|error| error.to_string()))
}

/// Lets sled go on a thread of its own: it may panic or wait for ever when its flusher died.
fn drop_aside(db: Option<sled::Db>) {
    if let Some(db) = db {
        // Where even the thread fails to start, its closure is dropped here, and sled with it.
        let _ended_or_not = with_patience(PARTING_PATIENCE, move || {
            drop(db);
            Ok(())
        });
    }
}

/// Runs `work` on a thread of its own and waits for it, but neither for ever nor at the price of a panic.
fn with_patience<T: Send + 'static>(
    patience: Duration,
    work: impl FnOnce() -> Result<T, String> + Send + 'static,
) -> Result<T, String> {
    let (sender, receiver) = mpsc::sync_channel(1);
    std::thread::Builder::new()
        .name("archive-sled".to_owned())
        .spawn(move || {
            let outcome = catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|_panic| Err("sled panicked".to_owned()));
            // Nobody waits any more: the outcome is dropped here, out of the way.
            let _too_late = sender.send(outcome);
        })
        .map_err(|error| error.to_string())?;
    receiver.recv_timeout(patience).unwrap_or_else(|_| Err("sled did not finish".to_owned()))
}

type Block = Vec<(GameId, u64)>;

/// The block an id belongs to: the last one that begins at or before it.
fn block_of(db: &sled::Db, id: GameId) -> sled::Result<Option<(sled::IVec, Block)>> {
    let found = db.range(..=id.to_bytes()).next_back().transpose()?;
    Ok(found.map(|(key, value)| (key, read_block(&value))))
}

/// Merges ids, in ascending order, into the blocks they belong to.
fn put_blocks(db: &sled::Db, mut ids: &[(GameId, u64)]) -> sled::Result<()> {
    while let Some((first, _)) = ids.first() {
        let after = (Bound::Excluded(first.to_bytes()), Bound::Unbounded);
        let next = db.range::<[u8; 16], _>(after).next().transpose()?;
        let mine = match &next {
            Some((key, _)) => ids.partition_point(|(id, _)| id.to_bytes().as_slice() < &**key),
            None => ids.len(),
        };
        let (now, later) = ids.split_at(mine);
        ids = later;
        let (key, old) = block_of(db, *first)?.unwrap_or_else(|| (sled::IVec::from(&first.to_bytes()), Vec::new()));
        let mut merged: BTreeMap<GameId, u64> = old.into_iter().collect();
        merged.extend(now.iter().copied());
        let merged: Block = merged.into_iter().collect();
        // The block that is there shrinks last, so a reader between two writes finds every id in one of them.
        for (at, block) in merged.chunks(BLOCK_IDS).enumerate().rev() {
            match block.first() {
                Some((id, _)) if at > 0 => db.insert(id.to_bytes(), write_block(block))?,
                _ => db.insert(&key, write_block(block))?,
            };
        }
    }
    Ok(())
}

fn write_block(ids: &[(GameId, u64)]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(ids.len() * ENTRY_BYTES);
    for (id, seq) in ids {
        bytes.extend_from_slice(&id.to_bytes());
        bytes.extend_from_slice(&seq.to_le_bytes());
    }
    bytes
}

fn read_block(bytes: &[u8]) -> Block {
    let (entries, _) = bytes.as_chunks::<ENTRY_BYTES>();
    let entry = |entry: &[u8; ENTRY_BYTES]| {
        let (id, seq) = entry.split_first_chunk()?;
        Some((GameId::from_bytes(*id), u64::from_le_bytes(*seq.first_chunk()?)))
    };
    entries.iter().filter_map(entry).collect()
}

/// `BTreeMap::range` panics on ranges that end before they begin; here they are simply empty.
fn is_empty(range: &(Bound<GameId>, Bound<GameId>)) -> bool {
    match *range {
        (Bound::Included(from), Bound::Included(to)) => from > to,
        (Bound::Included(from), Bound::Excluded(to))
        | (Bound::Excluded(from), Bound::Included(to) | Bound::Excluded(to)) => from >= to,
        (Bound::Unbounded, _) | (_, Bound::Unbounded) => false,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const CACHE_BYTES: u64 = 1 << 20;

    fn id(n: u64) -> GameId {
        GameId::first_at(n)
    }

    fn contents(catalog: &Catalog) -> Vec<(GameId, u64)> {
        let mut all = catalog.newest((Bound::Unbounded, Bound::Unbounded), usize::MAX).unwrap();
        all.reverse();
        all
    }

    #[test]
    fn a_panic_in_sled_is_survived() {
        let folder = tempfile::tempdir().unwrap();
        let ids: Vec<_> = (1..=1000).map(|n| (id(n), n)).collect();
        let catalog = Catalog::rebuild(folder.path(), CACHE_BYTES, ids.clone());
        catalog.settle(500).unwrap();
        let fault = catalog.with_sled((), |_| panic!("as sled does on a damaged page")).unwrap_err();
        assert!(fault.to_string().contains("panicked"));
        assert!(catalog.is_broken());
        catalog.restart(ids.clone());
        assert!(!catalog.is_broken() && !catalog.is_in_memory());
        assert_eq!(contents(&catalog), ids);
        catalog.settle(700).unwrap();
        assert_eq!(contents(&catalog), ids);
    }

    #[test]
    fn only_an_unharmed_catalog_is_opened_again() {
        let folder = tempfile::tempdir().unwrap();
        let ids: Vec<_> = (1..=1000).map(|n| (id(n), n)).collect();
        let about = Contents { last: 1000, records: 1000 };
        let open = |about: &Contents| Catalog::open_sealed(folder.path(), CACHE_BYTES, about);
        assert!(Catalog::rebuild(folder.path(), CACHE_BYTES, ids.clone()).close(&about));
        let catalog = open(&about).unwrap();
        assert_eq!((contents(&catalog), catalog.waiting()), (ids.clone(), 0));
        // It was opened and not closed since.
        drop(catalog);
        assert_eq!(open(&about).unwrap_err(), Unusable::NotClosed);
        // It is about other records.
        assert!(Catalog::rebuild(folder.path(), CACHE_BYTES, ids.clone()).close(&about));
        assert!(matches!(open(&Contents { last: 1001, records: 1001 }), Err(Unusable::Harmed(_))));
        // One bit is not what it was.
        for file in ["catalog/db", "catalog/conf", "catalog.seal"] {
            assert!(Catalog::rebuild(folder.path(), CACHE_BYTES, ids.clone()).close(&about));
            let path = folder.path().join(file);
            let mut bytes = fs::read(&path).unwrap();
            let at = bytes.len() / 2;
            bytes[at] ^= 4;
            fs::write(&path, bytes).unwrap();
            assert!(matches!(open(&about), Err(Unusable::Harmed(_))));
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(16))]
        #[test]
        fn finds_what_was_noted_wherever_it_is(
            steps in prop::collection::vec((0u64..3000, 1u64..600, 0u8..4), 1..12),
            (from, to) in (0u64..3600, 0u64..3600),
        ) {
            let folder = tempfile::tempdir().unwrap();
            let catalog = Catalog::rebuild(folder.path(), CACHE_BYTES, Vec::new());
            let mut expected = BTreeMap::new();
            for (seq, (first, count, kind)) in (1..).zip(steps) {
                let ids: Vec<GameId> = (first..first + count).map(id).collect();
                if kind == 0 {
                    catalog.remove(&ids);
                    expected.retain(|id, _| !ids.contains(id));
                } else {
                    for id in ids {
                        catalog.insert(id, seq);
                        expected.insert(id, seq);
                    }
                    catalog.settle(if kind == 1 { 100 } else { usize::MAX }).unwrap();
                }
            }
            for n in 0..3600 {
                prop_assert_eq!(catalog.find(id(n)).unwrap(), expected.get(&id(n)).copied());
            }
            prop_assert_eq!(contents(&catalog), expected.clone().into_iter().collect::<Vec<_>>());
            if from <= to {
                let range = (Bound::Included(id(from)), Bound::Excluded(id(to)));
                let newest: Vec<_> = expected.range(range).rev().take(50).map(|(id, seq)| (*id, *seq)).collect();
                prop_assert_eq!(catalog.newest(range, 50).unwrap(), newest);
            }
        }
    }
}
