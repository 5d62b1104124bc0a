//! Opening a store: what is on disk, what is missing, and mending what can be mended.
//!
//! The database opens only files that it closed itself, down to the last bit (the seal says so), or files of which a copy is
//! kept and whose records are known: then its raw files are searched for whole records first, and what the database says is
//! held against that. What it lost is put back; where it refuses, panics or says something else, a new one is built from the
//! records that were found, and the damaged files are set aside as they were. Damage never stops the opening.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::time::Instant;

use super::GameId;
use super::frame::{self, HEADER_BYTES};
use super::layout::{BATCH_FRAMES, Builder, LAYOUT, Layout};
use super::numbers::{Gone, NumberSet, count_from, insert_run, within};
use super::old_layout;
use super::report::{OpenReport, StoreError};
use super::salvage::Salvage;
use super::seal::{self, Seal};
use super::store::{Failure, Snapshots, Store};
use crate::disk::{DurableNumber, NumberFound, remove_durably, rename_durably, write_checked};

/// When a store is opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum When {
    /// For the first time in this process: whatever can be read is what there is.
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

/// An opened store, before anything is written to it.
#[derive(Debug)]
pub(super) struct Opened {
    pub(super) database: Store,
    pub(super) high_water: DurableNumber,
    pub(super) books: Books,
    pub(super) report: OpenReport,
}

impl Opened {
    /// Stores frames again that were acknowledged and are not there, and shows their records to the loader.
    pub(super) fn put_back(
        &mut self,
        frames: &BTreeMap<u64, Vec<u8>>,
        layout: &Layout,
        loader: &mut dyn Loader,
    ) -> Result<(), Failure> {
        let Books { ids, gone, record_bytes, .. } = &mut self.books;
        let mut lost = Vec::new();
        for (seq, bytes) in frames {
            let Some((frame, _)) = frame::parse(bytes) else { continue };
            if gone.removed.contains(seq) || ids.contains_key(&frame.id) {
                continue;
            }
            ids.insert(frame.id, *seq);
            *record_bytes += frame.record.len() as u64;
            let was_missing = u64::from(gone.lost.contains(seq));
            self.report.missing = self.report.missing.saturating_sub(was_missing);
            gone.lost.remove(*seq..=*seq);
            loader.record(frame.id, frame.record);
            lost.push((*seq, &bytes[..]));
        }
        self.report.records = ids.len() as u64;
        if lost.is_empty() {
            return Ok(());
        }
        gone.write(&layout.numbers)?;
        self.database.insert(lost)?;
        self.database.flush()
    }
}

/// What is known of the records without asking the database.
#[derive(Debug, Default)]
pub(super) struct Books {
    /// Which sequence number each game has.
    pub(super) ids: BTreeMap<GameId, u64>,
    pub(super) gone: Gone,
    /// The last number that any record has, or had.
    pub(super) last: u64,
    /// Bytes of all records, without frames.
    pub(super) record_bytes: u64,
}

impl Books {
    /// How many records there are above a sequence number.
    pub(super) fn count_above(&self, seq: u64) -> u64 {
        self.last.saturating_sub(seq).saturating_sub(self.gone.count_from(seq.saturating_add(1)))
    }

    /// The game that has a number. All are looked at.
    pub(super) fn name(&self, seq: u64) -> Option<GameId> {
        self.ids.iter().find(|(_, number)| **number == seq).map(|(id, _)| *id)
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
    layout.check_version()?;
    open_files(layout, cache_bytes, when, loader).map_err(|failure| layout.error(failure))
}

fn open_files(layout: &Layout, cache_bytes: u64, when: When, loader: &mut dyn Loader) -> Result<Opened, Failure> {
    let began = Instant::now();
    let mut report = OpenReport::default();
    if old_layout::is_in(&layout.store)? {
        old_layout::take_over(layout, cache_bytes, &mut report)?;
    }
    layout.finish_replacing()?;

    let is_begun = layout.records.is_dir();
    let (acknowledged, was_closed) = match DurableNumber::look(&layout.high_water, LAYOUT)? {
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
    let noted = match Gone::read(&layout.numbers) {
        Err(error) if error.kind() == io::ErrorKind::InvalidData => None,
        noted => noted?,
    };
    // A database that begins has no list yet; one that is damaged is no list.
    let is_sure = noted.is_some() || (!is_begun && !layout.numbers.exists());
    if !is_sure {
        report.damage.push("the list of removed games was damaged or missing".to_owned());
    }
    let seal = Seal::check(layout, was_closed)?;
    // From here on it is not closed any more, whatever happens.
    let mut high_water = DurableNumber::open(&layout.high_water, LAYOUT, acknowledged.unwrap_or_default())?;
    remove_durably(&layout.seal)?;

    let mut opening = Opening {
        layout,
        cache_bytes,
        when,
        loader,
        gone: noted.clone().unwrap_or_default(),
        acknowledged: acknowledged.unwrap_or(u64::MAX),
        report,
    };
    let opened = match seal {
        Seal::Fits { records } => opening.as_closed(records),
        Seal::Absent if !is_begun => Err(None),
        Seal::Absent => Err(Some("it was not closed in order".to_owned())),
        Seal::Broken(reason) => {
            opening.report.damage.push(reason.clone());
            Err(Some(reason))
        }
    };
    let (database, scan) = match opened {
        Ok(opened) => opened,
        Err(reason) => {
            opening.report.recovered = reason;
            opening.recover()?
        }
    };
    let Opening { mut gone, mut report, .. } = opening;

    // Every number is accounted for, so that the next opening finds no gap that it was not told of.
    report.missing_before += count_from(&gone.lost, 0) - report.missing;
    let promised = if is_sure { acknowledged.unwrap_or(u64::MAX) } else { 0 };
    let mut accounted = gone.all();
    accounted.extend(scan.present.iter().cloned());
    let last = accounted.last().map_or(0, |run| *run.end()).max(acknowledged.unwrap_or_default());
    for gap in accounted.gaps(&(1..=last.max(1))) {
        if last == 0 {
            break;
        }
        let lost = promised.min(*gap.end());
        insert_run(&mut gone.lost, *gap.start(), lost);
        report.missing += lost.saturating_add(1).saturating_sub(*gap.start());
        insert_run(&mut gone.removed, lost.saturating_add(1).max(*gap.start()), *gap.end());
    }
    if noted.as_ref() != Some(&gone) {
        gone.write(&layout.numbers)?;
    }
    if high_water.get() != last {
        // What was written but not acknowledged becomes part of the archive now, so it must be on disk before the mark says so.
        database.flush()?;
        high_water.write(last)?;
    }
    if report.is_damaged() && layout.copy.is_file() {
        let aside = layout.set_aside(&mut report)?;
        rename_durably(&layout.copy, &aside.join("db"))?;
    }
    remove_durably(&layout.copy)?;
    report.records = scan.ids.len() as u64;
    report.record_bytes = scan.record_bytes;
    report.took = began.elapsed();
    let books = Books { ids: scan.ids, gone, last, record_bytes: scan.record_bytes };
    Ok(Opened { database, high_water, books, report })
}

/// Notes that a store was closed in order: the next opening may trust its files.
pub(super) fn seal(layout: &Layout, mut high_water: DurableNumber, records: u64) -> io::Result<()> {
    write_checked(&layout.seal, &seal::describe(layout, records)?)?;
    high_water.close()
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
    ids: BTreeMap<GameId, u64>,
    present: NumberSet,
    last: u64,
    record_bytes: u64,
    /// Numbers whose frames are not whole.
    broken: Vec<u64>,
}

type Outcome = (Store, Scan);

impl Opening<'_> {
    /// Opens a database that was closed in order, or says why that fails.
    fn as_closed(&mut self, records: u64) -> Result<Outcome, Option<String>> {
        let opened = Store::open(&self.layout.records, self.cache_bytes).and_then(|database| {
            let scan = self.scan(&database)?;
            Ok((database, scan))
        });
        let reason = match opened {
            Ok((database, scan)) if scan.broken.is_empty() && scan.ids.len() as u64 == records => {
                return Ok((database, scan));
            }
            Ok((_, scan)) => format!("it was closed with {records} records and has {}", scan.ids.len()),
            Err(error) => format!("the database failed on files that it had closed: {error}"),
        };
        self.report.damage.push(reason.clone());
        Err(Some(reason))
    }

    /// Opens a database that was not closed in order, or begins one.
    fn recover(&mut self) -> Result<Outcome, Failure> {
        let layout = self.layout;
        let mut files = layout.raw_files()?;
        match keep_copy(layout) {
            // The file and its copy are the same.
            Ok(true) => files = [vec![layout.copy.clone()], files.into_iter().skip(1).collect()].concat(),
            Ok(false) => {}
            Err(error) => log::warn!("the archive is recovered without a copy of its database: {error}"),
        }
        let mut salvage = Salvage::walk(&files)?;
        salvage.places.retain(|place| !self.gone.contains(place.seq));
        if let Some(error) = salvage.unreadable.take() {
            if self.when == When::Again {
                // What cannot be read now may be read later.
                return Err(Failure::Refused(error));
            }
            self.report.damage.push(format!("the database's file cannot be read everywhere: {error}"));
        }
        let refusal = match self.open_or_refuse(&salvage) {
            Err(error @ Failure::Broken(_)) => error,
            outcome => return outcome,
        };
        self.report
            .damage
            .push(format!("the database was built anew from {} records: {refusal}", salvage.places.len()));
        let mut builder = Builder::begin(layout, self.cache_bytes)?;
        for place in &salvage.places {
            if let Some(frame) = salvage.read(place)? {
                builder.push(place.seq, &frame)?;
            }
        }
        builder.finish()?;
        if layout.copy.is_file() && layout.records.is_dir() {
            // As a crash left it, and not as the database made it since.
            fs::rename(&layout.copy, layout.records.join("db"))?;
        }
        layout.put_in_place_of_damaged(&mut self.report)?;
        let database = Store::open(&layout.records, self.cache_bytes)?;
        let scan = self.scan(&database)?;
        Ok((database, scan))
    }

    /// Opens the database as it is and holds it against what was found in its files.
    fn open_or_refuse(&mut self, salvage: &Salvage) -> Result<Outcome, Failure> {
        let records = &self.layout.records;
        Store::drop_snapshots(records, Snapshots::Torn)?;
        let database = match Store::open(records, self.cache_bytes) {
            Err(error @ Failure::Broken(_)) if Store::drop_snapshots(records, Snapshots::All)? => {
                self.report.damage.push(format!("the database's snapshot was damaged: {error}"));
                Store::open(records, self.cache_bytes)?
            }
            opened => opened?,
        };
        let mut scan = self.scan(&database)?;
        // What was removed stays removed, also where the end came before the database had done it.
        let mut remove = scan.broken.clone();
        for run in self.gone.removed.iter().chain(self.gone.lost.iter()) {
            remove.extend(within(&scan.present, run.clone()).flatten());
        }
        let lost: Vec<_> = salvage
            .places
            .iter()
            .filter(|place| !scan.present.contains(&place.seq) || scan.broken.binary_search(&place.seq).is_ok())
            .collect();
        if remove.is_empty() && lost.is_empty() {
            return Ok((database, scan));
        }
        // Nearly always only what was being written when the end came is missing, at the end.
        let is_tail = lost.first().is_none_or(|place| place.seq > scan.last);
        database.remove(remove)?;
        for part in lost.chunks(BATCH_FRAMES) {
            let mut frames = Vec::new();
            for place in part {
                if let Some(frame) = salvage.read(place)? {
                    self.report.put_back += u64::from(place.seq <= self.acknowledged);
                    frames.push((place.seq, frame));
                }
            }
            database.insert(frames.iter().map(|(seq, frame)| (*seq, &frame[..])))?;
            database.flush()?;
            if is_tail {
                frames.iter().for_each(|(seq, frame)| self.take_in(&mut scan, *seq, frame));
            }
        }
        database.flush()?;
        if !is_tail {
            scan = self.scan(&database)?;
        }
        Ok((database, scan))
    }

    /// Reads every record of a database and shows it to the loader.
    fn scan(&mut self, database: &Store) -> Result<Scan, Failure> {
        self.loader.begin();
        let mut scan = Scan::default();
        for found in database.from(0)? {
            let (seq, frame) = found?;
            self.take_in(&mut scan, seq, &frame);
        }
        Ok(scan)
    }

    fn take_in(&mut self, scan: &mut Scan, seq: u64, bytes: &[u8]) {
        scan.last = scan.last.max(seq);
        let frame = frame::parse(bytes).filter(|(frame, length)| frame.seq == seq && *length == bytes.len());
        let Some((frame, _)) = frame else { return scan.broken.push(seq) };
        scan.present.insert(seq..=seq);
        if self.gone.contains(seq) {
            return;
        }
        if scan.ids.contains_key(&frame.id) {
            // The first one counts, for sinks may have it.
            self.gone.removed.insert(seq..=seq);
            return;
        }
        scan.ids.insert(frame.id, seq);
        scan.record_bytes += frame.record.len() as u64;
        self.loader.record(frame.id, frame.record);
    }
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
