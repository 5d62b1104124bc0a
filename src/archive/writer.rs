//! The one thread that writes: it commits records in groups and acknowledges them when they are on disk.
//!
//! There is no timer: whatever arrives while the disk is busy with one group is the next. A lone record is written at once, and
//! under load the groups grow by themselves.
//!
//! One group: append its frames to the newest segment and sync; write its last number to the tip and sync; make it readable;
//! acknowledge. After a failure nothing is assumed about the segment: it is cut back to what was acknowledged and left, and the
//! group is written to a new one, again and again until the disk takes it.

use std::collections::VecDeque;
use std::io;
use std::sync::atomic::Ordering;
use std::sync::mpsc::SyncSender;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use tokio::sync::oneshot;

use super::GameId;
use super::catalog::Contents;
use super::frame::{Frame, HEADER_BYTES};
use super::segment::{FULL_SEGMENT_BYTES, Rewrite, Segment};
use super::store::{Health, Shared, StoreError};
use super::tip::Tip;

/// Bytes of one group at most, so that a queue of huge records does not become one huge write.
const GROUP_BYTES: usize = 8 << 20;
/// Ids moved into the catalog's blocks between two groups.
const SETTLE_IDS: usize = 2048;
/// The first pause after a failed write; it doubles with every further one.
const RETRY_FIRST: Duration = Duration::from_millis(50);
/// The longest pause between two attempts.
const RETRY_LONGEST: Duration = Duration::from_secs(5);
/// Pause between attempts to repair the catalog, which nothing waits for.
const CATALOG_RETRY: Duration = Duration::from_secs(10);
/// How often the space that the files take is looked at.
pub(super) const DISK_LOOK: Duration = Duration::from_secs(10);
/// How often an idle writer looks around.
const IDLE_LOOK: Duration = Duration::from_millis(500);

/// What became of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stored {
    /// It is on disk.
    Now,
    /// The same record was there already: handing it over twice does no harm.
    Before,
}

/// Why a record was not stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WriteError {
    /// Another record has this id.
    #[error("another record is stored as game {0}")]
    Conflict(GameId),
    /// The store was closed before the disk took the record.
    #[error("the archive was closed before the record was on disk")]
    Closed,
}

/// Why a record was not even taken. It is given back.
#[derive(Debug, thiserror::Error)]
pub enum AppendError {
    /// Too many records wait for the disk already.
    #[error("the archive's queue is full")]
    Full(Vec<u8>),
    /// Larger than [`MAX_RECORD_BYTES`](super::MAX_RECORD_BYTES).
    #[error("the record is larger than the archive allows")]
    TooLarge(Vec<u8>),
    /// The store is closed.
    #[error("the archive is closed")]
    Closed(Vec<u8>),
}

/// The promise to tell when a record is on disk. Whoever does not care may drop it.
#[derive(Debug)]
#[must_use = "a record is only safe when its receipt says so"]
pub struct Receipt(oneshot::Receiver<Result<Stored, WriteError>>);

impl Receipt {
    /// Waits until the record is on disk.
    ///
    /// # Errors
    /// It will never be: see [`WriteError`].
    pub async fn stored(self) -> Result<Stored, WriteError> {
        self.0.await.unwrap_or(Err(WriteError::Closed))
    }

    /// [`Receipt::stored`] for threads that may block.
    ///
    /// # Errors
    /// It will never be: see [`WriteError`].
    ///
    /// # Panics
    /// Inside an asynchronous task.
    pub fn wait(self) -> Result<Stored, WriteError> {
        self.0.blocking_recv().unwrap_or(Err(WriteError::Closed))
    }
}

/// What waits for the writer.
#[derive(Debug, Default)]
pub(super) struct Inbox {
    state: Mutex<InboxState>,
    wake: Condvar,
    progress: Condvar,
}

#[derive(Debug, Default)]
struct InboxState {
    records: VecDeque<Pending>,
    record_bytes: usize,
    jobs: VecDeque<Removal>,
    /// Records taken, and records answered, since the store was opened.
    taken: u64,
    answered: u64,
    /// The store is closing; what is not on disk by then is given up.
    closing: Option<Instant>,
    ended: bool,
}

#[derive(Debug)]
struct Pending {
    id: GameId,
    record: Vec<u8>,
    receipt: Answer,
}

/// Where a [`Receipt`] is waited for.
type Answer = oneshot::Sender<Result<Stored, WriteError>>;

/// Games to remove, and where to say how many there were.
#[derive(Debug)]
pub(super) struct Removal {
    pub(super) ids: Vec<GameId>,
    pub(super) answer: SyncSender<Result<u64, StoreError>>,
}

impl Inbox {
    /// Takes a record if there is room for it.
    pub(super) fn put(
        &self,
        id: GameId,
        record: Vec<u8>,
        max_records: usize,
        max_bytes: usize,
    ) -> Result<Receipt, AppendError> {
        let mut state = self.lock();
        if state.closing.is_some() {
            return Err(AppendError::Closed(record));
        }
        if state.records.len() >= max_records || state.record_bytes.saturating_add(record.len()) > max_bytes {
            return Err(AppendError::Full(record));
        }
        let (receipt, promise) = oneshot::channel();
        state.record_bytes += record.len();
        state.records.push_back(Pending { id, record, receipt });
        state.taken += 1;
        drop(state);
        self.wake.notify_one();
        Ok(Receipt(promise))
    }

    pub(super) fn put_removal(&self, removal: Removal) -> Result<(), StoreError> {
        let mut state = self.lock();
        if state.closing.is_some() {
            return Err(StoreError::Closed);
        }
        state.jobs.push_back(removal);
        drop(state);
        self.wake.notify_one();
        Ok(())
    }

    /// Records that are not on disk yet, and the bytes of those that wait in the queue.
    pub(super) fn waiting(&self) -> (u64, usize) {
        let state = self.lock();
        (state.taken - state.answered, state.record_bytes)
    }

    /// Waits until everything taken so far is answered. Returns whether it is.
    pub(super) fn wait_answered(&self, patience: Duration) -> bool {
        let state = self.lock();
        let due = state.taken;
        let (state, _timeout) = self
            .progress
            .wait_timeout_while(state, patience, |state| state.answered < due && !state.ended)
            .unwrap_or_else(PoisonError::into_inner);
        state.answered >= due
    }

    /// Tells the writer to finish, and waits until it has or until `patience` is over. Returns whether it has.
    pub(super) fn close(&self, patience: Duration) -> bool {
        let mut state = self.lock();
        let deadline = Instant::now() + patience;
        state.closing.get_or_insert(deadline);
        self.wake.notify_one();
        let (state, _timeout) = self
            .progress
            .wait_timeout_while(state, patience + RETRY_LONGEST, |state| !state.ended)
            .unwrap_or_else(PoisonError::into_inner);
        state.ended
    }

    fn lock(&self) -> MutexGuard<'_, InboxState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The writer's own state.
#[derive(Debug)]
pub(super) struct Writer {
    pub(super) shared: Arc<Shared>,
    pub(super) tip: Tip,
    /// The segment to append to, if the last one may be.
    pub(super) active: Option<Arc<Segment>>,
    /// Ids above this one are new for certain, and need not be looked up.
    pub(super) newest: Option<GameId>,
    /// When the catalog's repair may be tried again.
    pub(super) catalog_due: Instant,
    /// When the files' space is to be looked at again.
    pub(super) disk_due: Instant,
}

/// A group on its way to the disk.
#[derive(Debug)]
struct Group {
    frames: Vec<u8>,
    members: Vec<(GameId, u64, Answer)>,
    last: u64,
    /// Where the frames are, once they are on disk.
    segment: Option<Arc<Segment>>,
}

/// However the writer ends, those who wait for it hear of it.
impl Drop for Writer {
    fn drop(&mut self) {
        self.shared.closed.store(true, Ordering::Release);
        let mut state = self.shared.inbox.lock();
        state.closing.get_or_insert_with(Instant::now);
        state.ended = true;
        state.records.clear();
        state.jobs.clear();
        drop(state);
        self.shared.inbox.progress.notify_all();
    }
}

enum Work {
    Records(Vec<Pending>),
    Remove(Removal),
    Settle,
    RepairCatalog,
    MeasureDisk,
    Finish,
}

impl Writer {
    /// Works until the store is closed.
    pub(super) fn run(mut self) {
        loop {
            match self.next_work() {
                Work::Records(records) => {
                    let count = records.len() as u64;
                    self.store(records);
                    let mut state = self.shared.inbox.lock();
                    state.answered += count;
                    drop(state);
                    self.shared.inbox.progress.notify_all();
                    if self.shared.catalog.wants_to_settle() {
                        self.settle();
                    }
                    // Where groups follow each other without a pause.
                    if Instant::now() >= self.disk_due {
                        self.measure_disk();
                    }
                }
                Work::Remove(removal) => self.remove(removal),
                Work::Settle => self.settle(),
                Work::RepairCatalog => self.repair_catalog(),
                Work::MeasureDisk => self.measure_disk(),
                Work::Finish => break,
            }
        }
        self.shared.closed.store(true, Ordering::Release);
        let (records, _) = self.shared.records();
        let sealed = self.shared.catalog.close(&Contents { last: self.tip.last(), records });
        if sealed && let Err(error) = self.tip.close() {
            log::warn!("the archive's end could not be noted: {error}");
        }
    }

    fn next_work(&self) -> Work {
        let catalog = &self.shared.catalog;
        let mut state = self.shared.inbox.lock();
        loop {
            if let Some(removal) = state.jobs.pop_front() {
                return Work::Remove(removal);
            }
            if !state.records.is_empty() {
                let mut records = Vec::new();
                let mut bytes = 0;
                while records.len() < self.shared.options.group_records.get()
                    && bytes < GROUP_BYTES
                    && let Some(pending) = state.records.pop_front()
                {
                    bytes += pending.record.len();
                    records.push(pending);
                }
                state.record_bytes -= bytes;
                return Work::Records(records);
            }
            if state.closing.is_some() {
                return Work::Finish;
            }
            if catalog.wants_to_settle() {
                return Work::Settle;
            }
            if (catalog.is_broken() || catalog.is_in_memory()) && Instant::now() >= self.catalog_due {
                return Work::RepairCatalog;
            }
            if Instant::now() >= self.disk_due {
                return Work::MeasureDisk;
            }
            state = self.shared.inbox.wake.wait_timeout(state, IDLE_LOOK).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Brings records to disk and answers their receipts. Returns when that is done, or the store closes and the disk still refuses.
    fn store(&mut self, records: Vec<Pending>) {
        let mut group = self.form_group(records);
        if group.members.is_empty() {
            return;
        }
        let mut pause = RETRY_FIRST;
        while let Err(error) = self.persist(&mut group) {
            self.shared.note_failure(&error);
            if !self.wait_for_retry(pause, group.segment.is_none()) {
                return;
            }
            pause = (pause * 2).min(RETRY_LONGEST);
        }
        self.shared.note_success();
        self.publish(group);
    }

    /// Numbers and frames the records that are new; the others are answered right away.
    fn form_group(&mut self, records: Vec<Pending>) -> Group {
        let mut group = Group { frames: Vec::new(), members: Vec::new(), last: self.tip.last(), segment: None };
        let bytes: usize = records.iter().map(|pending| pending.record.len() + HEADER_BYTES).sum();
        group.frames.reserve_exact(bytes);
        let mut fresh: Vec<(GameId, Vec<u8>)> = Vec::new();
        for Pending { id, record, receipt } in records {
            // Nearly all ids are above all others. Only for the rest must the catalog and this very group be asked.
            if self.newest.is_some_and(|newest| id <= newest) {
                let twin = fresh.iter().find(|(other, _)| *other == id).map(|(_, record)| record.clone());
                if let Some(stored) = twin.or_else(|| self.stored_before(id)) {
                    let answer = if stored == record { Ok(Stored::Before) } else { Err(WriteError::Conflict(id)) };
                    answer_receipt(receipt, answer);
                    continue;
                }
            }
            self.newest = self.newest.max(Some(id));
            group.last += 1;
            Frame::Record { seq: group.last, id, record: &record }.encode(&mut group.frames);
            group.members.push((id, group.last, receipt));
            fresh.push((id, record));
        }
        group
    }

    /// The record stored under an id. One that is damaged does not count: storing it again heals it.
    fn stored_before(&mut self, id: GameId) -> Option<Vec<u8>> {
        if self.shared.catalog.is_broken() {
            self.repair_catalog();
        }
        match self.shared.fetch(id) {
            Ok(found) => found,
            Err(StoreError::Catalog(_)) => {
                self.repair_catalog();
                self.shared.fetch(id).unwrap_or_default()
            }
            Err(_damaged) => None,
        }
    }

    /// Makes a group durable. May be called again after a failure.
    fn persist(&mut self, group: &mut Group) -> io::Result<()> {
        if group.segment.is_none() {
            let limit = u64::from(self.shared.options.segment_bytes.get()).min(FULL_SEGMENT_BYTES);
            let full = |segment: &Arc<Segment>| segment.bytes() >= limit;
            let segment = match self.active.take_if(|segment| !full(segment)) {
                Some(segment) => segment,
                None => Arc::new(Segment::create(&self.shared.segments_folder, self.tip.last() + 1)?),
            };
            if let Err(error) = segment.append(&group.frames) {
                // A failed sync leaves open what is on disk, so nothing more is written to this file. Where it cannot be cut,
                // the next opening does it.
                let _left_behind = segment.cut_tail();
                return Err(error);
            }
            self.active = Some(Arc::clone(&segment));
            group.segment = Some(segment);
        }
        self.tip.advance(group.last)
    }

    fn publish(&mut self, group: Group) {
        let Some(segment) = group.segment else { return };
        segment.publish(&group.frames);
        self.shared.show_segment(&segment);
        for (id, seq, receipt) in group.members {
            self.shared.catalog.insert(id, seq);
            answer_receipt(receipt, Ok(Stored::Now));
        }
    }

    /// Waits before the next attempt; removals are done meanwhile, for they may be what makes room. Returns whether to try again.
    fn wait_for_retry(&mut self, pause: Duration, may_remove: bool) -> bool {
        let retry_at = Instant::now() + pause;
        loop {
            let shared = Arc::clone(&self.shared);
            let mut state = shared.inbox.lock();
            if may_remove && let Some(removal) = state.jobs.pop_front() {
                drop(state);
                self.remove(removal);
                continue;
            }
            let now = Instant::now();
            if state.closing.is_some_and(|deadline| now >= deadline) {
                return false;
            }
            if now >= retry_at {
                return true;
            }
            let until = state.closing.map_or(retry_at, |deadline| deadline.min(retry_at));
            // The state is looked at again in any case.
            drop(shared.inbox.wake.wait_timeout(state, until - now));
        }
    }

    fn settle(&mut self) {
        if let Err(fault) = self.shared.catalog.settle(SETTLE_IDS) {
            log::warn!("{fault}; it will be rebuilt");
        }
    }

    fn measure_disk(&mut self) {
        self.shared.measure_disk();
        self.disk_due = Instant::now() + DISK_LOOK;
    }

    fn repair_catalog(&mut self) {
        self.catalog_due = Instant::now() + CATALOG_RETRY;
        if !self.shared.catalog.is_broken() {
            self.shared.catalog.get_sled();
            return;
        }
        match self.shared.all_ids() {
            Ok(ids) => self.shared.catalog.restart(ids),
            Err(error) => log::error!("the archive's catalog cannot be rebuilt: {error}"),
        }
    }

    fn remove(&mut self, removal: Removal) {
        let answer = self.remove_games(&removal.ids);
        // Whoever asked may have left.
        let _gone = removal.answer.try_send(answer);
    }

    fn remove_games(&mut self, ids: &[GameId]) -> Result<u64, StoreError> {
        let mut places = Vec::with_capacity(ids.len());
        for id in ids {
            if let Some(seq) = self.shared.catalog.find(*id).map_err(|fault| StoreError::Catalog(fault.to_string()))? {
                places.push((seq, *id));
            }
        }
        places.sort_unstable();
        places.dedup();
        let mut removed = 0;
        let mut outcome = Ok(());
        let mut buffer = Vec::new();
        for segment in self.shared.segments() {
            let (Some(last), first) = (segment.last(), segment.first()) else { continue };
            let here = places.iter().filter(|(seq, _)| (first..=last).contains(seq));
            let (seqs, ids): (Vec<u64>, Vec<GameId>) = here.copied().unzip();
            if seqs.is_empty() {
                continue;
            }
            // A segment that is written to cannot be replaced: the next record begins another.
            self.active.take_if(|active| active.first() == first);
            let plan = Rewrite { remove: &seqs, last_allowed: last, last_needed: None, acknowledged: None };
            match segment.rewrite(&self.shared.segments_folder, &plan, &mut buffer) {
                Ok(rewritten) => {
                    self.shared.show_segment(&Arc::new(rewritten));
                    self.shared.catalog.remove(&ids);
                    removed += seqs.len() as u64;
                }
                Err(source) => {
                    let path = super::segment::path(&self.shared.segments_folder, first);
                    outcome = Err(StoreError::Io { path, source });
                }
            }
        }
        outcome.map(|()| removed)
    }
}

fn answer_receipt(receipt: Answer, answer: Result<Stored, WriteError>) {
    // Whoever dropped the receipt does not want to know.
    let _unasked = receipt.send(answer);
}

impl Shared {
    fn note_failure(&self, error: &io::Error) {
        self.failures.fetch_add(1, Ordering::Relaxed);
        let mut health = self.health.lock().unwrap_or_else(PoisonError::into_inner);
        let since = match &*health {
            Health::Healthy => {
                log::error!("the archive cannot write, games wait: {error}");
                SystemTime::now()
            }
            Health::Failing { since, .. } => *since,
        };
        *health = Health::Failing { since, error: error.to_string() };
    }

    fn note_success(&self) {
        self.groups.fetch_add(1, Ordering::Relaxed);
        let mut health = self.health.lock().unwrap_or_else(PoisonError::into_inner);
        if let Health::Failing { since, .. } = *health {
            let seconds = since.elapsed().unwrap_or_default().as_secs();
            log::info!("the archive writes again after {seconds} s");
            *health = Health::Healthy;
        }
    }
}
