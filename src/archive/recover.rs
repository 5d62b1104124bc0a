//! Opening a store: what is on disk, what is missing, and mending what can be mended.
//!
//! The database opens only files that it closed itself, down to the last bit (the seal says so), or files of which a copy is
//! kept and whose records are known: then its raw files are searched for whole records first, and what the database says is
//! held against that. What it lost is put back; where it refuses, panics or says something else, a new one is built from the
//! records that were found, and the damaged files are set aside as they were. Damage never stops the opening.
//!
//! | name | what |
//! |---|---|
//! | `records/` | the database |
//! | `tip` | the high-water mark: the last acknowledged sequence number. It keeps the name that it had in the layout before, so that an older Liap leaves the archive alone |
//! | `numbers` | which numbers no record has any more |
//! | `seal` | what the files were when they were closed; there only while they are |
//! | `copy` | the database's file as a crash left it, while it is being recovered |
//! | `records.new/`, `records.old/` | while a database is replaced by another |

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Instant;

use sha2::{Digest as _, Sha256};

use super::GameId;
use super::frame::{self, HEADER_BYTES, MAX_RECORD_BYTES};
use super::numbers::{Gone, Ids, NumberSet};
use super::old_layout;
use super::report::{OpenReport, StoreError};
use super::salvage::Salvage;
use super::tree::{Snapshots, Tree, TreeError};
use crate::disk::{
    DurableNumber, NumberFound, quarantine, read_checked, remove_durably, rename_durably, sync_folder, write_checked,
};

/// Version of the whole folder's layout; a store of a later version is left alone.
const LAYOUT: u32 = 2;
/// Frames put into a database before they are flushed.
const BATCH_FRAMES: usize = 2_000;
/// Bytes of frames put into a database before they are flushed.
const BATCH_BYTES: usize = 8 << 20;

/// When a store is opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum When {
    /// At the start: whatever can be read is what there is.
    Start,
    /// Once more after a failure: what cannot be read is waited for.
    Again,
}

/// Who is shown every record while a store is opened, in ascending order of the sequence numbers.
pub(super) trait Loader {
    /// The records are shown from the first one on, perhaps once more.
    fn begin(&mut self);
    /// A whole record.
    fn record(&mut self, id: GameId, record: &[u8]);
}

/// Nobody.
impl Loader for () {
    fn begin(&mut self) {}
    fn record(&mut self, _id: GameId, _record: &[u8]) {}
}

/// Where everything lies.
#[derive(Clone, Debug)]
pub(super) struct Layout {
    pub(super) store: PathBuf,
    pub(super) records: PathBuf,
    pub(super) numbers: PathBuf,
    high_water: PathBuf,
    seal: PathBuf,
    copy: PathBuf,
    fresh: PathBuf,
    old: PathBuf,
}

impl Layout {
    pub(super) fn of(store: &Path) -> Self {
        let at = |name| store.join(name);
        Self {
            store: store.to_owned(),
            records: at("records"),
            numbers: at("numbers"),
            high_water: at(old_layout::NUMBER),
            seal: at("seal"),
            copy: at("copy"),
            fresh: at("records.new"),
            old: at("records.old"),
        }
    }

    /// Every file that may hold frames, the most trusted first. Also of a store that another process has open.
    pub(super) fn raw_files(&self) -> io::Result<Vec<PathBuf>> {
        let mut files: Vec<PathBuf> = Some(self.copy.clone()).filter(|copy| copy.is_file()).into_iter().collect();
        files.extend(Tree::raw_files(&self.records)?);
        files.extend(old_layout::segments(&self.store.join(old_layout::SEGMENTS))?.into_iter().map(|(_, path)| path));
        Ok(files)
    }

    /// The high-water mark as it is on disk.
    ///
    /// # Errors
    /// The disk refuses, or a later version wrote it.
    pub(super) fn high_water(&self) -> Result<NumberFound, StoreError> {
        let found = DurableNumber::look(&self.high_water, LAYOUT).map_err(|source| self.fault(source))?;
        match found {
            NumberFound::OtherVersion(version) if version > LAYOUT => {
                Err(StoreError::Later { path: self.store.clone(), version })
            }
            found => Ok(found),
        }
    }

    /// An error of the disk, about this store.
    pub(super) fn fault(&self, source: io::Error) -> StoreError {
        StoreError::Io { path: self.store.clone(), source }
    }
}

/// An opened store, before anything is written to it.
#[derive(Debug)]
pub(super) struct Opened {
    pub(super) tree: Tree,
    pub(super) high_water: DurableNumber,
    pub(super) books: Books,
    pub(super) report: OpenReport,
}

/// What is known of the records without asking the database.
#[derive(Debug, Default)]
pub(super) struct Books {
    pub(super) ids: Ids,
    pub(super) gone: Gone,
    /// The last number that any record has, or had.
    pub(super) last: u64,
    /// Bytes of all records, without frames.
    pub(super) record_bytes: u64,
}

impl Books {
    /// How many records there are above a sequence number.
    pub(super) fn count_above(&self, seq: u64) -> u64 {
        self.last.saturating_sub(seq).saturating_sub(self.gone.count_above(seq))
    }

    /// Bytes of all frames.
    pub(super) fn frame_bytes(&self) -> u64 {
        self.record_bytes + (self.ids.len() * HEADER_BYTES) as u64
    }
}

/// Opens what is in a folder, which exists and is locked, or begins it.
///
/// # Errors
/// The layout is of a later version, or the disk refuses.
pub(super) fn open(
    layout: &Layout,
    cache_bytes: u64,
    when: When,
    loader: &mut dyn Loader,
) -> Result<Opened, StoreError> {
    let began = Instant::now();
    layout.high_water()?;
    let fault = |source| layout.fault(source);
    let failed = |error: TreeError| StoreError::Failed(error.to_string());
    let mut report = OpenReport::default();
    if old_layout::is_in(&layout.store).map_err(fault)? {
        take_over(layout, cache_bytes, &mut report)?;
    }
    finish_replacing(layout).map_err(fault)?;

    let is_begun = layout.records.is_dir();
    let found = layout.high_water()?;
    let (acknowledged, was_closed) = match found {
        NumberFound::Whole { number, closed } => (Some(number), closed),
        NumberFound::Half(number) => {
            report.damage.push("half of the high-water mark was damaged".to_owned());
            (Some(number), false)
        }
        NumberFound::Absent if !is_begun => (Some(0), false),
        NumberFound::Absent | NumberFound::Damaged | NumberFound::OtherVersion(_) => {
            report.damage.push("the high-water mark was damaged or missing".to_owned());
            (None, false)
        }
    };
    if !is_begun && acknowledged.is_some_and(|number| number > 0) {
        report.damage.push("the database was missing".to_owned());
    }
    let gone = match Gone::read(&layout.numbers) {
        Ok(Some(gone)) => Some(gone),
        Ok(None) if !is_begun => Some(Gone::default()),
        Ok(None) => None,
        Err(error) if error.kind() == io::ErrorKind::InvalidData => None,
        Err(error) => return Err(fault(error)),
    };
    let (before, is_sure) = (gone.clone().filter(|_| layout.numbers.exists()), gone.is_some());
    if !is_sure {
        report.damage.push("the list of removed games was damaged or missing".to_owned());
    }
    let seal = Seal::check(layout, was_closed).map_err(fault)?;
    // From here on it is not closed any more, whatever happens.
    let mut high_water =
        DurableNumber::open(&layout.high_water, LAYOUT, acknowledged.unwrap_or_default()).map_err(fault)?;
    remove_durably(&layout.seal).map_err(fault)?;

    let mut opening = Opening {
        layout,
        cache_bytes,
        when,
        loader,
        gone: gone.unwrap_or_default(),
        acknowledged: acknowledged.unwrap_or(u64::MAX),
        report,
    };
    let opened = match seal {
        Seal::Fits { records } => opening.as_closed(records),
        Seal::Absent if !is_begun => {
            opening.report.recovered = None;
            Err(None)
        }
        Seal::Absent => Err(Some("it was not closed in order".to_owned())),
        Seal::Broken(reason) => {
            opening.report.damage.push(reason.clone());
            Err(Some(reason))
        }
    };
    let (tree, scan) = match opened {
        Ok(opened) => opened,
        Err(reason) => {
            opening.report.recovered = reason;
            opening.recover()?
        }
    };
    let Opening { mut gone, mut report, .. } = opening;

    // Every number is accounted for, so that the next opening finds no gap that it was not told of.
    report.missing_before += gone.lost.len() - report.missing;
    let promised = if is_sure { acknowledged.unwrap_or(u64::MAX) } else { 0 };
    let mut accounted = scan.present.clone();
    accounted.extend(&gone.removed);
    accounted.extend(&gone.lost);
    let last = accounted.last().unwrap_or_default().max(acknowledged.unwrap_or_default());
    let gaps = accounted.gaps(last);
    for &(first, last) in &gaps {
        let lost = last.min(promised);
        if first <= lost {
            gone.lost.insert_run(first, lost);
            report.missing += lost - first + 1;
        }
        gone.removed.insert_run(first.max(lost.saturating_add(1)), last);
    }
    if before.as_ref() != Some(&gone) {
        gone.write(&layout.numbers).map_err(fault)?;
    }
    if high_water.get() != last {
        // What was written but not acknowledged becomes part of the archive now, so it must be on disk before the mark says so.
        tree.flush().map_err(failed)?;
        high_water.write(last).map_err(fault)?;
    }
    if report.is_damaged() && layout.copy.is_file() {
        let aside = set_aside(layout, &mut report).map_err(fault)?;
        rename_durably(&layout.copy, &aside.join("db")).map_err(fault)?;
    }
    remove_durably(&layout.copy).map_err(fault)?;
    report.records = scan.ids.len() as u64;
    report.record_bytes = scan.record_bytes;
    report.took = began.elapsed();
    let books = Books { ids: scan.ids, gone, last, record_bytes: scan.record_bytes };
    Ok(Opened { tree, high_water, books, report })
}

/// Notes that a store was closed in order: the next opening may trust its files.
pub(super) fn seal(layout: &Layout, mut high_water: DurableNumber, records: u64) -> io::Result<()> {
    write_checked(&layout.seal, &Seal::describe(layout, records)?)?;
    high_water.close()
}

/// Builds a new database of the records of an open one, for one that holds more dead bytes than live ones. The caller closes the
/// open one and calls [`put_in_place`].
pub(super) fn rebuild(layout: &Layout, cache_bytes: u64, tree: &Tree) -> Result<(), TreeError> {
    let mut builder = Builder::begin(layout, cache_bytes)?;
    for frame in tree.from(0)? {
        let (seq, frame) = frame?;
        builder.push(seq, &frame)?;
    }
    builder.finish()
}

/// Puts the database that was built in the place of the one before, which nobody has open any more.
///
/// # Errors
/// The disk refuses. The next opening finishes what was begun.
pub(super) fn put_in_place(layout: &Layout) -> io::Result<()> {
    remove_folder(&layout.old)?;
    if layout.records.is_dir() {
        rename_durably(&layout.records, &layout.old)?;
    }
    rename_durably(&layout.fresh, &layout.records)?;
    remove_folder(&layout.old)
}

/// Finishes, or drops, what an end of the process has interrupted.
fn finish_replacing(layout: &Layout) -> io::Result<()> {
    if !layout.records.is_dir() {
        // Only a database that is whole takes the other's place.
        if layout.fresh.is_dir() && layout.old.is_dir() {
            rename_durably(&layout.fresh, &layout.records)?;
        } else if layout.old.is_dir() {
            rename_durably(&layout.old, &layout.records)?;
        }
    }
    remove_folder(&layout.fresh)?;
    remove_folder(&layout.old)
}

fn remove_folder(folder: &Path) -> io::Result<()> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// A store that is being opened.
struct Opening<'a> {
    layout: &'a Layout,
    cache_bytes: u64,
    when: When,
    loader: &'a mut dyn Loader,
    gone: Gone,
    /// Numbers up to here were promised to be kept.
    acknowledged: u64,
    report: OpenReport,
}

/// What a database holds.
#[derive(Default)]
struct Scan {
    ids: Ids,
    present: NumberSet,
    last: u64,
    record_bytes: u64,
    /// Numbers whose frames are not whole.
    broken: Vec<u64>,
}

type Outcome = (Tree, Scan);

impl Opening<'_> {
    /// Opens a database that was closed in order, or says why that fails.
    fn as_closed(&mut self, records: u64) -> Result<Outcome, Option<String>> {
        let opened = Tree::open(&self.layout.records, self.cache_bytes).and_then(|tree| {
            let scan = self.scan(&tree)?;
            Ok((tree, scan))
        });
        let reason = match opened {
            Ok((tree, scan)) if scan.broken.is_empty() && scan.ids.len() as u64 == records => return Ok((tree, scan)),
            Ok((_, scan)) => format!("it was closed with {records} records and has {}", scan.ids.len()),
            Err(error) => format!("the database failed on files that it had closed: {error}"),
        };
        self.report.damage.push(reason.clone());
        Err(Some(reason))
    }

    /// Opens a database that was not closed in order, or begins one.
    fn recover(&mut self) -> Result<Outcome, StoreError> {
        let layout = self.layout;
        let fault = |source| layout.fault(source);
        let failed = |error: TreeError| StoreError::Failed(error.to_string());
        let mut files = layout.raw_files().map_err(fault)?;
        match keep_copy(layout) {
            // The file and its copy are the same.
            Ok(true) => files = [vec![layout.copy.clone()], files.into_iter().skip(1).collect()].concat(),
            Ok(false) => {}
            Err(error) => log::warn!("the archive is recovered without a copy of its database: {error}"),
        }
        let mut salvage = Salvage::walk(&files).map_err(fault)?;
        salvage.places.retain(|place| !self.gone.contains(place.seq));
        if let Some(error) = salvage.unreadable.take() {
            if self.when == When::Again {
                // What cannot be read now may be read later.
                return Err(fault(error));
            }
            self.report.damage.push(format!("the database's file cannot be read everywhere: {error}"));
        }
        let refusal = match self.open_or_refuse(&salvage) {
            Ok(outcome) => return Ok(outcome),
            Err(error @ TreeError::Refused(_)) => return Err(failed(error)),
            Err(error @ TreeError::Broken(_)) => error,
        };
        self.report
            .damage
            .push(format!("the database was built anew from {} records: {refusal}", salvage.places.len()));
        remove_folder(&layout.fresh).map_err(fault)?;
        let mut builder = Builder::begin(layout, self.cache_bytes).map_err(failed)?;
        for place in &salvage.places {
            if let Some(frame) = salvage.read(place).map_err(fault)? {
                builder.push(place.seq, &frame).map_err(failed)?;
            }
        }
        builder.finish().map_err(failed)?;
        if layout.records.is_dir() {
            // As a crash left it, and not as the database made it since.
            if layout.copy.is_file() {
                fs::rename(&layout.copy, layout.records.join("db")).map_err(fault)?;
            }
            let aside = set_aside(layout, &mut self.report).map_err(fault)?;
            // The place of the new one first: there is always one of the two in it, or both are there under other names.
            rename_durably(&layout.records, &layout.old).map_err(fault)?;
            rename_durably(&layout.fresh, &layout.records).map_err(fault)?;
            rename_durably(&layout.old, &aside.join("records")).map_err(fault)?;
        } else {
            rename_durably(&layout.fresh, &layout.records).map_err(fault)?;
        }
        let tree = Tree::open(&layout.records, self.cache_bytes).map_err(failed)?;
        let scan = self.scan(&tree).map_err(failed)?;
        Ok((tree, scan))
    }

    /// Opens the database as it is and holds it against what was found in its files.
    fn open_or_refuse(&mut self, salvage: &Salvage) -> Result<Outcome, TreeError> {
        let records = &self.layout.records;
        Tree::drop_snapshots(records, Snapshots::Torn)?;
        let opened = Tree::open(records, self.cache_bytes);
        let tree = match opened {
            Ok(tree) => tree,
            Err(error) => {
                if matches!(error, TreeError::Refused(_)) || !Tree::drop_snapshots(records, Snapshots::All)? {
                    return Err(error);
                }
                self.report.damage.push(format!("the database's snapshot was damaged: {error}"));
                Tree::open(records, self.cache_bytes)?
            }
        };
        let mut scan = self.scan(&tree)?;
        // What was removed stays removed, also where the end came before the database had done it.
        let remove = [scan.broken.clone(), self.gone_in(&scan)].concat();
        let lost: Vec<_> = salvage
            .places
            .iter()
            .filter(|place| !scan.present.contains(place.seq) || scan.broken.binary_search(&place.seq).is_ok())
            .collect();
        if remove.is_empty() && lost.is_empty() {
            return Ok((tree, scan));
        }
        // Nearly always only what was being written when the end came is missing, at the end.
        let is_tail = lost.first().is_none_or(|place| place.seq > scan.last);
        tree.remove(remove)?;
        for part in lost.chunks(BATCH_FRAMES) {
            let mut frames = Vec::new();
            for place in part {
                if let Some(frame) = salvage.read(place)? {
                    self.report.put_back += u64::from(place.seq <= self.acknowledged);
                    frames.push((place.seq, frame));
                }
            }
            tree.insert(frames.iter().map(|(seq, frame)| (*seq, &frame[..])))?;
            tree.flush()?;
            if is_tail {
                frames.iter().for_each(|(seq, frame)| self.take_in(&mut scan, *seq, frame));
            }
        }
        tree.flush()?;
        if !is_tail {
            scan = self.scan(&tree)?;
        }
        Ok((tree, scan))
    }

    /// Numbers that a database holds though they are gone.
    fn gone_in(&self, scan: &Scan) -> Vec<u64> {
        let runs = self.gone.removed.runs().iter().chain(self.gone.lost.runs());
        runs.flat_map(|&(first, last)| scan.present.within(first, last)).collect()
    }

    /// Reads every record of a database and shows it to the loader.
    fn scan(&mut self, tree: &Tree) -> Result<Scan, TreeError> {
        self.loader.begin();
        let mut scan = Scan::default();
        for found in tree.from(0)? {
            let (seq, frame) = found?;
            self.take_in(&mut scan, seq, &frame);
        }
        Ok(scan)
    }

    fn take_in(&mut self, scan: &mut Scan, seq: u64, bytes: &[u8]) {
        scan.last = scan.last.max(seq);
        let frame = frame::parse(bytes).filter(|(frame, length)| frame.seq == seq && *length == bytes.len());
        let Some((frame, _)) = frame else { return scan.broken.push(seq) };
        scan.present.insert(seq);
        if self.gone.contains(seq) {
            return;
        }
        if scan.ids.get(frame.id).is_some() {
            // The first one counts, for sinks may have it.
            self.gone.removed.insert(seq);
            return;
        }
        scan.ids.insert(frame.id, seq);
        scan.record_bytes += frame.record.len() as u64;
        self.loader.record(frame.id, frame.record);
    }
}

/// The folder for damaged files.
fn set_aside(layout: &Layout, report: &mut OpenReport) -> io::Result<PathBuf> {
    if let Some(aside) = &report.set_aside {
        return Ok(aside.clone());
    }
    let aside = quarantine(&layout.store, "damaged")?;
    report.set_aside = Some(aside.clone());
    Ok(aside)
}

/// Keeps the database's file as it is. Recovering it, the database overwrites what it does not understand.
///
/// The copy is not synced: it is there for the database's mistakes. After a power cut it is one more file to search.
///
/// Returns whether it was made now.
fn keep_copy(layout: &Layout) -> io::Result<bool> {
    let db = layout.records.join("db");
    if layout.copy.is_file() || !db.is_file() {
        return Ok(false);
    }
    let draft = layout.copy.with_added_extension("tmp");
    let copied = fs::copy(&db, &draft).and_then(|_| fs::rename(&draft, &layout.copy));
    copied.map(|()| true).inspect_err(|_| {
        // Its bytes may be needed.
        fs::remove_file(&draft).ok();
    })
}

/// A database that is being built beside the one in place.
struct Builder {
    tree: Tree,
    batch: Vec<(u64, Vec<u8>)>,
    batch_bytes: usize,
}

impl Builder {
    fn begin(layout: &Layout, cache_bytes: u64) -> Result<Self, TreeError> {
        remove_folder(&layout.fresh)?;
        Ok(Self { tree: Tree::open(&layout.fresh, cache_bytes)?, batch: Vec::new(), batch_bytes: 0 })
    }

    fn push(&mut self, seq: u64, frame: &[u8]) -> Result<(), TreeError> {
        self.batch_bytes += frame.len();
        self.batch.push((seq, frame.to_vec()));
        if self.batch.len() < BATCH_FRAMES && self.batch_bytes < BATCH_BYTES { Ok(()) } else { self.write() }
    }

    fn write(&mut self) -> Result<(), TreeError> {
        self.tree.insert(self.batch.iter().map(|(seq, frame)| (*seq, &frame[..])))?;
        self.batch.clear();
        self.batch_bytes = 0;
        self.tree.flush()
    }

    fn finish(mut self) -> Result<(), TreeError> {
        self.write()?;
        let folder = self.tree.folder().to_owned();
        self.tree.close()?;
        // Its files have their names for good.
        sync_folder(&folder)?;
        Ok(())
    }
}

/// Takes over an archive of the layout before: copies every record with its number, compares both by count and SHA-256, and
/// keeps the old files aside. Interrupted, it begins again: until the old files have moved, nothing else is stored.
fn take_over(layout: &Layout, cache_bytes: u64, report: &mut OpenReport) -> Result<(), StoreError> {
    let fault = |source| layout.fault(source);
    let failed = |error: TreeError| StoreError::Failed(error.to_string());
    let store = &layout.store;
    if store.join(old_layout::SEGMENTS).is_dir() {
        for folder in [&layout.fresh, &layout.old] {
            remove_folder(folder).map_err(fault)?;
        }
        let mut builder = Builder::begin(layout, cache_bytes).map_err(failed)?;
        let (mut hash, mut records) = (Sha256::new(), 0_u64);
        let mut too_large = Vec::new();
        let mut found = old_layout::read(store, |seq, id, record| {
            if record.len() > MAX_RECORD_BYTES {
                too_large.push(seq);
                return Ok(());
            }
            add_to(&mut hash, seq, id, record);
            records += 1;
            builder.push(seq, &frame::encode(seq, id, record)).map_err(io::Error::other)
        })
        .map_err(fault)?;
        builder.finish().map_err(failed)?;
        for seq in too_large {
            found.damage.push(format!("record {seq} is larger than any game"));
            found.missing += 1;
            found.gone.lost.insert(seq);
        }

        let copied = Tree::open(&layout.fresh, cache_bytes).map_err(failed)?;
        let (mut copied_hash, mut copied_records) = (Sha256::new(), 0_u64);
        for frame in copied.from(0).map_err(failed)? {
            let (seq, bytes) = frame.map_err(failed)?;
            let Some((frame, _)) = frame::parse(&bytes) else { continue };
            add_to(&mut copied_hash, seq, frame.id, frame.record);
            copied_records += 1;
        }
        copied.close().map_err(failed)?;
        let (hash, copied_hash) = (hex::encode(hash.finalize()), hex::encode(copied_hash.finalize()));
        if (records, &hash) != (copied_records, &copied_hash) {
            return Err(StoreError::Failed(format!(
                "{copied_records} records of {records} were taken over from the layout before; its files are untouched"
            )));
        }
        // Here may be a database that an interrupted attempt put in place.
        put_in_place(layout).map_err(fault)?;
        found.gone.write(&layout.numbers).map_err(fault)?;
        log::info!(records = records, sha256 = hash.as_str(); "the archive's records were taken over from the layout before");
        report.missing += found.missing;
        report.damage.append(&mut found.damage);
        write_checked(&layout.store.join("last"), &format!("{}\n", found.last)).map_err(fault)?;
    }
    let aside = quarantine(store, "old-layout").map_err(fault)?;
    for name in old_layout::NAMES {
        let (path, kept) = (store.join(name), aside.join(name));
        if name == old_layout::NUMBER {
            // Its successor takes its place in one step.
            if path.is_file() {
                fs::copy(&path, &kept).and_then(|_| sync_folder(&aside)).map_err(fault)?;
            }
        } else if path.exists() {
            rename_durably(&path, &kept).map_err(fault)?;
        }
    }
    let note = layout.store.join("last");
    let last = read_checked(&note).map_err(fault)?.and_then(|text| text.trim().parse().ok()).unwrap_or_default();
    DurableNumber::create(&layout.high_water, LAYOUT, last).map_err(fault)?;
    remove_durably(&note).map_err(fault)?;
    report.taken_over = Some(aside);
    Ok(())
}

fn add_to(hash: &mut Sha256, seq: u64, id: GameId, record: &[u8]) {
    hash.update(seq.to_le_bytes());
    hash.update(id.to_bytes());
    hash.update((record.len() as u64).to_le_bytes());
    hash.update(record);
}

/// What was noted when the files were closed.
enum Seal {
    Absent,
    /// The files are what they were, to the last bit.
    Fits {
        records: u64,
    },
    /// They are not, or the seal itself is damaged.
    Broken(String),
}

impl Seal {
    fn check(layout: &Layout, was_closed: bool) -> io::Result<Self> {
        let text = match read_checked(&layout.seal) {
            Ok(Some(text)) => text,
            Ok(None) if was_closed => return Ok(Self::Broken("its seal was missing".to_owned())),
            Ok(None) => return Ok(Self::Absent),
            Err(error) if error.kind() == io::ErrorKind::InvalidData => {
                return Ok(Self::Broken("its seal was damaged".to_owned()));
            }
            Err(error) => return Err(error),
        };
        let records = text.lines().find_map(|line| line.strip_prefix("records ")?.parse().ok());
        let Some(records) = records else { return Ok(Self::Broken("its seal cannot be read".to_owned())) };
        Ok(match Self::describe(layout, records) {
            Ok(now) if now == text => Self::Fits { records },
            Ok(_) => Self::Broken("its files have changed since it was closed".to_owned()),
            Err(error) => Self::Broken(format!("its files cannot be read: {error}")),
        })
    }

    /// What the files are: names, lengths and checksums.
    fn describe(layout: &Layout, records: u64) -> io::Result<String> {
        let mut files = vec![layout.numbers.clone()];
        let mut folders = vec![layout.records.clone()];
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
        let mut text = format!("liap seal 1\nrecords {records}\n");
        for path in files {
            let (length, crc) = checksum(&path)?;
            let name = path.strip_prefix(&layout.store).unwrap_or(&path).display();
            // Writing to a String cannot fail.
            let _infallible = writeln!(text, "file {length} {crc:08x} {name}");
        }
        Ok(text)
    }
}

/// Length and CRC32 of a file; a large one is read by several threads.
fn checksum(path: &Path) -> io::Result<(u64, u32)> {
    use std::os::unix::fs::FileExt as _;
    const STEP_BYTES: u64 = 1 << 20;
    let file = fs::File::open(path)?;
    let length = file.metadata()?.len();
    let threads = if length < 16 * STEP_BYTES {
        1
    } else {
        thread::available_parallelism().map_or(1, |cores| cores.get() as u64).min(4)
    };
    let share = length.div_ceil(threads).max(1);
    let part = |first: u64| {
        let file = &file;
        move || -> io::Result<crc32fast::Hasher> {
            let (mut at, end) = (first, (first + share).min(length));
            let mut hasher = crc32fast::Hasher::new();
            let mut buffer = vec![0; usize::try_from(STEP_BYTES).map_err(io::Error::other)?];
            while at < end {
                let step = usize::try_from((end - at).min(STEP_BYTES)).map_err(io::Error::other)?;
                let bytes = buffer.get_mut(..step).unwrap_or_default();
                file.read_exact_at(bytes, at)?;
                hasher.update(bytes);
                at += step as u64;
            }
            Ok(hasher)
        }
    };
    let parts: BTreeMap<u64, io::Result<crc32fast::Hasher>> = thread::scope(|scope| {
        let others: Vec<_> = (1..threads).map(|number| (number, scope.spawn(part(number * share)))).collect();
        let mut parts = BTreeMap::from([(0, part(0)())]);
        for (number, thread) in others {
            let joined = thread.join().unwrap_or_else(|_panic| Err(io::Error::other("a file could not be checked")));
            parts.insert(number, joined);
        }
        parts
    });
    let mut whole = crc32fast::Hasher::new();
    for part in parts.into_values() {
        whole.combine(&part?);
    }
    Ok((length, whole.finalize()))
}
