//! Opening a store: what is on disk, what is missing, and mending what can be mended.
//!
//! Nothing here trusts the end of the last run. Every segment is read and every checksum compared; the sequence numbers tell
//! whether anything is missing, the tip tells whether the end is. Damage never stops the opening: whole records are served,
//! the rest is reported, and the damaged files are kept aside as they were found.

use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::GameId;
use super::catalog::{Catalog, Contents, Unusable};
use super::segment::{self, Findings, Rewrite, Run, Segment};
use super::store::{StoreError, StoreOptions};
use super::tip::{self, Tip, TipFound};

/// What opening a store found. [`fmt::Display`] tells it in sentences for the log.
#[derive(Clone, Debug, Default)]
pub struct OpenReport {
    /// Records that can be read.
    pub records: u64,
    /// Their bytes, without frames.
    pub record_bytes: u64,
    /// Acknowledged records that were found missing now, for the first time.
    pub missing: u64,
    /// Acknowledged records whose loss an earlier opening reported.
    pub missing_before: u64,
    /// Bytes inside the segments that belong to no whole record.
    pub damaged_bytes: u64,
    /// Bytes behind the last record, left by a write that never finished and was never acknowledged. Not damage.
    pub unfinished_bytes: u64,
    /// The tip file was damaged or missing: whether records at the very end were lost, nobody can tell.
    pub tip_damaged: bool,
    /// Why the catalog was written afresh, if it was. That costs a moment and never a record.
    pub catalog_rebuilt: Option<String>,
    /// The catalog was closed in order and changed since: its files were damaged.
    pub catalog_damaged: bool,
    /// Where the damaged files were put, as they were found.
    pub set_aside: Option<PathBuf>,
    /// Why the damage could not be mended. The whole records are served all the same; the next opening tries again.
    pub not_mended: Option<String>,
    /// How long opening took.
    pub took: Duration,
}

impl OpenReport {
    /// Whether the disk did not hold what was written to it. Records may still all be there.
    #[must_use]
    pub fn is_damaged(&self) -> bool {
        self.missing > 0
            || self.damaged_bytes > 0
            || self.tip_damaged
            || self.catalog_damaged
            || self.not_mended.is_some()
    }
}

impl fmt::Display for OpenReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "archive opened with {} games in {} ms", self.records, self.took.as_millis())?;
        if self.is_damaged() {
            write!(f, "; DAMAGE FOUND: {} acknowledged games are missing", self.missing)?;
            if self.damaged_bytes > 0 {
                write!(f, ", {} bytes are damaged", self.damaged_bytes)?;
            }
            if self.tip_damaged {
                write!(f, ", the tip file was damaged or missing")?;
            }
            if self.catalog_damaged {
                write!(f, ", the catalog was damaged and written afresh")?;
            }
            match &self.set_aside {
                Some(aside) => write!(f, "; the damaged files were kept in {}", aside.display())?,
                None => write!(f, "; every file that is left was whole")?,
            }
            if let Some(reason) = &self.not_mended {
                write!(f, "; it could not be mended and stays in place: {reason}")?;
            }
        }
        if self.missing_before > 0 {
            write!(f, "; {} games were reported missing before", self.missing_before)?;
        }
        if self.unfinished_bytes > 0 {
            write!(f, "; {} bytes of an unfinished write were dropped", self.unfinished_bytes)?;
        }
        Ok(())
    }
}

/// An opened store, before anything is written to it.
#[derive(Debug)]
pub(super) struct Recovered {
    /// In ascending order.
    pub(super) segments: Vec<Arc<Segment>>,
    pub(super) catalog: Catalog,
    pub(super) tip: Tip,
    /// The newest id, if there is any.
    pub(super) newest: Option<GameId>,
    /// Whether frames may be appended to the last segment.
    pub(super) last_is_sound: bool,
    pub(super) report: OpenReport,
}

/// The folder of the segments inside a store.
pub(super) fn segments_folder(store: &Path) -> PathBuf {
    store.join("segments")
}

/// Opens what is in `store`, which is locked. The folder exists.
pub(super) fn recover(store: &Path, options: &StoreOptions) -> Result<Recovered, StoreError> {
    let began = Instant::now();
    let folder = segments_folder(store);
    let fault = |path: &Path| {
        let path = path.to_owned();
        move |source| StoreError::Io { path, source }
    };
    fs::create_dir_all(&folder).and_then(|()| tip::sync_folder(store)).map_err(fault(&folder))?;
    drop_drafts(&folder).map_err(fault(&folder))?;

    let tip_found = Tip::look(store).map_err(fault(&store.join(Tip::NAME)))?;
    let firsts = Segment::list(&folder).map_err(fault(&folder))?;
    let tip_last = match tip_found {
        TipFound::Whole { last, .. } | TipFound::Half { last } => last,
        TipFound::Absent | TipFound::Damaged => 0,
        TipFound::Later { version } => return Err(StoreError::Later { path: store.to_owned(), version }),
    };
    let tip_damaged = match tip_found {
        TipFound::Whole { .. } => false,
        // A store that was just begun has neither.
        TipFound::Absent => !firsts.is_empty() || Catalog::exists(store),
        TipFound::Half { .. } | TipFound::Damaged | TipFound::Later { .. } => true,
    };

    let sealed = Catalog::has_seal(store);
    let mut buffer = Vec::new();
    let mut ids = Vec::new();
    let mut newest = None;
    let mut loaded = Vec::new();
    for (at, first) in firsts.iter().enumerate() {
        let last_allowed = firsts.get(at + 1).map_or(u64::MAX, |next| next - 1);
        let found = Segment::load(&folder, *first, last_allowed, &mut buffer, |id, seq| {
            newest = newest.max(Some(id));
            // A sealed catalog has them already; should it not fit after all, they are read once more.
            if !sealed {
                ids.push((id, seq));
            }
        });
        loaded.push(found.map_err(fault(&segment::path(&folder, *first)))?);
    }

    let mut mender = Mender {
        store,
        acknowledged: if tip_damaged { u64::MAX } else { tip_last },
        report: OpenReport { tip_damaged, ..OpenReport::default() },
        last_is_sound: true,
        buffer,
    };
    if matches!(tip_found, TipFound::Half { .. } | TipFound::Damaged) {
        // It is mended in place, so a second name would not keep it as it is.
        mender.note(|mender| mender.keep_aside(&store.join(Tip::NAME), Keep::Copy));
    }
    let segments = mender.mend(loaded, tip_last);
    let Mender { mut report, last_is_sound, mut buffer, .. } = mender;

    let last = segments.iter().filter_map(|segment| segment.last()).max().unwrap_or(0).max(tip_last);
    // What was written but not acknowledged becomes part of the archive now, so it must be on disk before the tip says so.
    if let Some(segment) = segments.last() {
        segment.sync().map_err(fault(&folder))?;
    }
    let tip = Tip::open(store, last).map_err(fault(&store.join(Tip::NAME)))?;

    for segment in &segments {
        let (records, bytes) = segment.records();
        report.records += records;
        report.record_bytes += bytes;
    }
    let contents = Contents { last, records: report.records };
    let catalog = match Catalog::open_sealed(store, options.cache_bytes, &contents) {
        Ok(catalog) => catalog,
        Err(reason) => {
            // A store that was closed in order has a seal, and one that fits unless records are missing now.
            let harmed = match reason {
                Unusable::NotClosed => matches!(tip_found, TipFound::Whole { closed: true, .. }),
                Unusable::Harmed(_) => true,
                Unusable::Failed(_) => false,
            };
            report.catalog_damaged = harmed && report.missing == 0 && !report.tip_damaged;
            report.catalog_rebuilt = Some(reason.to_string());
            if sealed {
                ids.clear();
                for segment in &segments {
                    // Unreadable records were reported when the segment was loaded, a moment ago.
                    let _reported = segment.visit(&mut buffer, |seq, id, _record| ids.push((id, seq)));
                }
            }
            Catalog::rebuild(store, options.cache_bytes, ids)
        }
    };
    report.took = began.elapsed();
    Ok(Recovered { segments, catalog, tip, newest, last_is_sound, report })
}

/// Removes files that were never finished and so never got their names.
fn drop_drafts(folder: &Path) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "tmp") {
            fs::remove_file(path)?;
        }
    }
    Ok(())
}

/// Mends damaged segments, as far as the disk lets it.
struct Mender<'a> {
    store: &'a Path,
    /// Numbers up to here were promised to be kept.
    acknowledged: u64,
    report: OpenReport,
    last_is_sound: bool,
    buffer: Vec<u8>,
}

impl Mender<'_> {
    /// Accounts for every number from 1 to the last one, so that the next opening finds no gap it was not told of.
    fn mend(&mut self, loaded: Vec<(Segment, Findings)>, tip_last: u64) -> Vec<Arc<Segment>> {
        let folder = segments_folder(self.store);
        let firsts: Vec<u64> = loaded.iter().map(|(segment, _)| segment.first()).collect();
        let mut segments = Vec::new();
        let mut expected = 1;
        for (at, (segment, findings)) in loaded.into_iter().enumerate() {
            let next_first = firsts.get(at + 1).copied();
            self.fill(&mut segments, (expected, segment.first() - 1), &folder);
            self.report.missing_before += findings.known_lost;
            for gap in &findings.gaps {
                self.count_missing(*gap);
            }
            // The last number that should be here: up to the next segment, or up to the tip.
            let due = next_first.map_or(tip_last, |next| next - 1);
            let found_last = findings.last.unwrap_or(segment.first() - 1);
            // Behind the last record of all lies an unfinished write, if the tip is there to say that nothing more was promised.
            let tail_is_damaged = findings.tail_bytes > 0
                && (found_last < due.min(self.acknowledged) || (next_first.is_none() && self.report.tip_damaged));
            let tail_run = tail_is_damaged.then_some((found_last + 1, due)).filter(|(first, last)| first <= last);
            // A power cut may keep the end of an unfinished write and not its beginning.
            let unfinished_inside =
                !findings.gaps.is_empty() && findings.gaps.iter().all(|gap| gap.0 > self.acknowledged);
            let harmed = if unfinished_inside { 0 } else { findings.garbage_bytes }
                + if tail_is_damaged { findings.tail_bytes } else { 0 };
            self.report.damaged_bytes += harmed;
            self.report.unfinished_bytes += findings.garbage_bytes + findings.tail_bytes - harmed;
            if let Some(error) = &findings.unreadable {
                log::error!("segment {} of the archive cannot be read everywhere: {error}", segment.first());
            }
            if harmed > 0 || findings.garbage_bytes > 0 || !findings.gaps.is_empty() || findings.unreadable.is_some() {
                tail_run.into_iter().for_each(|run| self.count_missing(run));
                let mended = self.rewrite(&folder, &segment, next_first, tail_run.map(|run| run.1));
                if mended.is_none() && next_first.is_none() {
                    self.last_is_sound = false;
                }
                expected = tail_run.map_or(found_last, |run| run.1) + 1;
                segments.push(Arc::new(mended.unwrap_or(segment)));
                continue;
            }
            if findings.tail_bytes > 0
                && let Err(error) = segment.cut_tail()
            {
                // It stays behind the last frame, where the next opening meets it again; only nothing may be appended to it.
                log::warn!("an unfinished write could not be cut off: {error}");
                self.last_is_sound &= next_first.is_some();
            }
            expected = found_last + 1;
            if findings.last.is_some() {
                segments.push(Arc::new(segment));
            } else if let Err(error) = fs::remove_file(segment::path(&folder, segment.first())) {
                // A segment that was begun and never got a record. Its name must not stand behind records of the one before:
                // they would look like another's.
                log::warn!("an empty segment could not be removed: {error}");
                self.last_is_sound = false;
            }
        }
        self.fill(&mut segments, (expected, tip_last), &folder);
        segments
    }

    /// Gives numbers that no file holds a segment of their own that says so.
    fn fill(&mut self, segments: &mut Vec<Arc<Segment>>, run: Run, folder: &Path) {
        if run.0 > run.1 {
            return;
        }
        self.count_missing(run);
        let acknowledged = self.acknowledged;
        let mut filled = None;
        self.note(|mender| {
            let mut frames = Vec::new();
            segment::account_for(run, acknowledged, &mut frames);
            tip::write_whole(&segment::path(folder, run.0), &frames)?;
            filled = Some(Segment::load(folder, run.0, run.1, &mut mender.buffer, |_, _| {})?.0);
            Ok(())
        });
        segments.extend(filled.map(Arc::new));
    }

    fn rewrite(
        &mut self,
        folder: &Path,
        segment: &Segment,
        next_first: Option<u64>,
        last_needed: Option<u64>,
    ) -> Option<Segment> {
        let acknowledged = self.acknowledged;
        let mut mended = None;
        self.note(|mender| {
            mender.keep_aside(&segment::path(folder, segment.first()), Keep::Name)?;
            let plan = Rewrite {
                remove: &[],
                last_allowed: next_first.map_or(u64::MAX, |next| next - 1),
                last_needed,
                acknowledged: Some(acknowledged),
            };
            mended = Some(segment.rewrite(folder, &plan, &mut mender.buffer)?);
            Ok(())
        });
        mended
    }

    fn count_missing(&mut self, (first, last): Run) {
        if first <= self.acknowledged {
            self.report.missing += last.min(self.acknowledged) - first + 1;
        }
    }

    /// Tries a repair; where it fails, the report says why and the opening goes on.
    fn note(&mut self, repair: impl FnOnce(&mut Self) -> io::Result<()>) {
        if let Err(error) = repair(self) {
            self.report.not_mended.get_or_insert(error.to_string());
        }
    }

    /// Keeps a damaged file as it is outside the store.
    fn keep_aside(&mut self, path: &Path, keep: Keep) -> io::Result<()> {
        let aside = match &self.report.set_aside {
            Some(aside) => aside.clone(),
            None => {
                let aside = set_aside_folder(self.store)?;
                self.report.set_aside = Some(aside.clone());
                aside
            }
        };
        let Some(name) = path.file_name() else { return Ok(()) };
        let kept = aside.join(name);
        // Not every file system knows second names.
        if keep == Keep::Copy || fs::hard_link(path, &kept).is_err() {
            fs::copy(path, &kept)?;
            fs::File::open(&kept)?.sync_all()?;
        }
        tip::sync_folder(&aside)
    }
}

/// How a damaged file is kept.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Keep {
    /// By a second name: enough for a file that will be replaced, and free.
    Name,
    /// By a copy: needed for a file that will be written to.
    Copy,
}

/// Makes `NAME.damaged-YYYYMMDDTHHMMSSZ` beside the store, or inside it where nothing may be made beside it.
fn set_aside_folder(store: &Path) -> io::Result<PathBuf> {
    let stamp = jiff::Timestamp::now().strftime("%Y%m%dT%H%M%SZ").to_string();
    let name = store.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let beside = store.with_file_name(format!("{name}.damaged-{stamp}"));
    let inside = store.join(format!("damaged-{stamp}"));
    let mut refusal = io::Error::from(io::ErrorKind::AlreadyExists);
    for base in [beside, inside] {
        for attempt in 1..100 {
            let mut folder = base.clone();
            if attempt > 1 {
                folder.as_mut_os_string().push(format!("-{attempt}"));
            }
            match fs::create_dir(&folder) {
                Ok(()) => {
                    if let Some(parent) = folder.parent() {
                        tip::sync_folder(parent)?;
                    }
                    return Ok(folder);
                }
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => {
                    refusal = error;
                    break;
                }
            }
        }
    }
    Err(refusal)
}
