//! The one thread that writes: it encodes games, commits them in groups, and acknowledges them when they are on disk.
//!
//! A game waits for its group: until that is full, until the interval is over, or until somebody hurries it. One group: put its
//! frames into the database, flush, sync; note its last number as the high-water mark, synced; index; acknowledge. Soon after,
//! a checkpoint looks for the frames in the database's raw file. Whoever has another copy keeps it until then.
//!
//! After a failure nothing is assumed about the database: once the disk takes writes again, it is closed and opened as after a
//! crash, and the group is written again, for as long as it takes.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::GameId;
use super::codec;
use super::frame::{self, HEADER_BYTES, MAX_RECORD_BYTES};
use super::lost_files::{LostFiles, copy_records};
use super::queue::{Answer, Checkpointed, Item, Payload, Removal, Stored, WriteError};
use super::recover::{self, Loader, Opened, When};
use super::report::{Health, OpenReport, StoreError};
use super::salvage::Checkpoint;
use super::shared::Shared;
use super::store::{Store, folder_bytes};
use crate::disk::DurableNumber;

/// The first pause after a failed write; it doubles with every further one.
const RETRY_FIRST: Duration = Duration::from_millis(50);
/// The longest pause between two attempts.
pub(super) const RETRY_LONGEST: Duration = Duration::from_secs(5);
/// How long a stored game may wait for its checkpoint while others are stored.
const CHECKPOINT_INTERVAL: Duration = Duration::from_secs(1);
/// Bytes of stored games that wait for their checkpoint at most.
const UNCHECKED_BYTES: usize = 16 << 20;
/// How often the files are looked at: whether they are there, and the space that they take.
const LOOK_INTERVAL: Duration = Duration::from_secs(10);
/// How often an idle writer looks around.
const IDLE_INTERVAL: Duration = Duration::from_millis(500);
/// A database is built anew when its files are so many times as long as its records. A new one is not twice as long.
const REBUILD_FACTOR: u64 = 3;
/// A database that is shorter is not worth it.
const REBUILD_BYTES: u64 = 16 << 20;

/// The writer's own state.
#[derive(Debug)]
pub(super) struct Writer {
    shared: Arc<Shared>,
    high_water: Option<DurableNumber>,
    /// Ids above this one are new for certain, and need not be looked up.
    newest: Option<GameId>,
    checkpoint: Checkpoint,
    unchecked: Unchecked,
    lost_files: LostFiles,
    look_due: Instant,
    /// The database must be opened before it is used: it never was, or it has failed.
    is_broken: bool,
    /// The pause before the next attempt.
    pause: Duration,
}

/// Records on disk that no checkpoint has found yet.
#[derive(Default)]
struct Unchecked {
    frames: BTreeMap<u64, Vec<u8>>,
    bytes: usize,
    waiting: Vec<Checkpointed>,
    since: Option<Instant>,
}

impl std::fmt::Debug for Unchecked {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Unchecked").field("frames", &self.frames.len()).finish_non_exhaustive()
    }
}

/// A group on its way to the disk.
struct Group {
    members: Vec<Member>,
    last: u64,
    began: Instant,
}

struct Member {
    id: GameId,
    seq: u64,
    frame: Vec<u8>,
    answer: Answer,
    checkpointed: Option<Checkpointed>,
}

impl Member {
    fn record(&self) -> &[u8] {
        self.frame.get(HEADER_BYTES..).unwrap_or_default()
    }
}

/// However the writer ends, those who wait for it hear of it.
impl Drop for Writer {
    fn drop(&mut self) {
        self.shared.closed.store(true, Ordering::Release);
        self.shared.queue.end();
    }
}

enum Work {
    Group(Vec<Item>),
    Remove(Removal),
    Checkpoint,
    Open,
    Look,
    Finish,
}

impl Writer {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Self {
            shared,
            high_water: None,
            newest: None,
            checkpoint: Checkpoint::default(),
            unchecked: Unchecked::default(),
            lost_files: LostFiles::default(),
            look_due: Instant::now() + LOOK_INTERVAL,
            is_broken: true,
            pause: RETRY_FIRST,
        }
    }

    /// Works until the store is closed.
    pub(super) fn run(mut self) {
        loop {
            match self.next_work() {
                Work::Group(items) => {
                    let count = items.len();
                    self.store(items);
                    self.shared.queue.answered(count);
                    // Where groups follow each other without a pause.
                    if Instant::now() >= self.look_due {
                        self.look_at_files();
                    }
                }
                Work::Remove(removal) => self.remove(&removal),
                Work::Checkpoint => self.check(),
                Work::Open => {
                    if let Err(error) = self.open() {
                        self.note_and_wait(&error);
                    }
                }
                Work::Look => self.look_at_files(),
                Work::Finish => break,
            }
        }
        self.finish();
    }

    fn next_work(&self) -> Work {
        let queue = &self.shared.queue;
        let mut state = queue.lock();
        loop {
            let now = Instant::now();
            if let Some(removal) = state.removals.pop_front() {
                return Work::Remove(removal);
            }
            if !self.shared.opened.load(Ordering::Acquire) {
                // Before, nobody knows which games are there already.
                return if state.closing.is_some() { Work::Finish } else { Work::Open };
            }
            let is_much = self.unchecked.bytes >= UNCHECKED_BYTES && !self.is_broken;
            let checkpoint_wait = if is_much { Duration::ZERO } else { CHECKPOINT_INTERVAL };
            let checkpoint_due = self.unchecked.since.map(|since| since + checkpoint_wait);
            if checkpoint_due.is_some_and(|due| due <= now) {
                return Work::Checkpoint;
            }
            let group_due = queue.group_due(&state);
            if group_due.is_some_and(|due| due <= now) {
                return Work::Group(queue.take_group(&mut state));
            }
            if state.closing.is_some() {
                return Work::Finish;
            }
            if self.is_broken {
                return Work::Open;
            }
            if self.look_due <= now {
                return Work::Look;
            }
            let idle = now + IDLE_INTERVAL;
            let until = [group_due, checkpoint_due, Some(self.look_due)].into_iter().flatten().fold(idle, Instant::min);
            state = queue.wait(state, until);
        }
    }

    /// Brings items to disk and answers them. Returns when that is done, or the store closes and the disk still refuses.
    fn store(&mut self, items: Vec<Item>) {
        let Some(mut group) = self.form_group(items) else { return };
        while let Err(error) = self.persist(&mut group) {
            self.is_broken = true;
            if !self.note_and_wait(&error) {
                return group.members.into_iter().for_each(|member| (member.answer)(Err(WriteError::Closed)));
            }
        }
        self.shared.groups.fetch_add(1, Ordering::Relaxed);
        self.note_success();
        self.publish(group);
    }

    /// Encodes, numbers and frames what is new; the rest is answered right away.
    fn form_group(&mut self, items: Vec<Item>) -> Option<Group> {
        let began = Instant::now();
        let mut last = self.shared.books().last;
        let mut members: Vec<Member> = Vec::with_capacity(items.len());
        for Item { payload, answer, checkpointed } in items {
            let encoded = match payload {
                Payload::Record(id, record) => Ok((id, record)),
                Payload::Game(game) => codec::encode(&game).map(|record| (game.game_id, record)),
            };
            let (id, record) = match encoded {
                Ok((id, record)) if record.len() <= MAX_RECORD_BYTES => (id, record),
                Ok(_) => {
                    answer(Err(WriteError::NoGame("it is larger than any game".to_owned())));
                    continue;
                }
                Err(error) => {
                    answer(Err(WriteError::NoGame(error.to_string())));
                    continue;
                }
            };
            // Nearly all ids are above all others. Only for the rest must the database and this very group be asked.
            if self.newest.is_some_and(|newest| id <= newest) {
                let twin = members.iter().find(|member| member.id == id).map(|member| member.record().to_vec());
                if let Some(stored) = twin.or_else(|| self.stored_before(id)) {
                    if stored == record {
                        answer(Ok(Stored::Before));
                        self.unchecked.waiting.extend(checkpointed);
                        self.unchecked.since.get_or_insert(began);
                    } else {
                        answer(Err(WriteError::Conflict(id)));
                    }
                    continue;
                }
            }
            self.newest = self.newest.max(Some(id));
            last += 1;
            members.push(Member { id, seq: last, frame: frame::encode(last, id, &record), answer, checkpointed });
        }
        (!members.is_empty()).then_some(Group { members, last, began })
    }

    /// The record stored under an id. One that is damaged does not count: storing it again heals it.
    fn stored_before(&mut self, id: GameId) -> Option<Vec<u8>> {
        let seq = self.shared.books().ids.get(&id).copied()?;
        loop {
            match self.shared.read(seq, id) {
                Ok(found) => return found,
                Err(StoreError::Failed(_)) => {
                    // It can only be told when the database is back.
                    if let Err(error) = self.open()
                        && !self.note_and_wait(&error)
                    {
                        return None;
                    }
                }
                Err(_damaged) => return None,
            }
        }
    }

    /// Makes a group durable. May be called again after a failure.
    fn persist(&mut self, group: &mut Group) -> Result<(), StoreError> {
        if self.is_broken {
            self.open()?;
            self.renumber(group);
        }
        let database = self.shared.database()?;
        let Some(high_water) = &mut self.high_water else { return Err(StoreError::Closed) };
        let frames = group.members.iter().map(|member| (member.seq, &member.frame[..]));
        let written = database.insert(frames).and_then(|()| database.flush());
        written.and_then(|()| Ok(high_water.write(group.last)?)).map_err(|failure| self.shared.layout.error(failure))
    }

    /// Gives a group that failed numbers that fit what was found since: what of it had reached the disk keeps its number.
    fn renumber(&self, group: &mut Group) {
        let books = self.shared.books();
        group.last = books.last;
        for member in &mut group.members {
            member.seq = books.ids.get(&member.id).copied().unwrap_or_else(|| {
                group.last += 1;
                group.last
            });
            member.frame = frame::encode(member.seq, member.id, member.record());
        }
    }

    /// Makes a group readable and acknowledges it.
    fn publish(&mut self, group: Group) {
        let took = group.began.elapsed();
        let mut books = self.shared.books_mut();
        books.last = books.last.max(group.last);
        let mut healed = Vec::new();
        for member in &group.members {
            healed.extend(books.ids.insert(member.id, member.seq).filter(|before| *before != member.seq));
            books.record_bytes += member.record().len() as u64;
        }
        if !healed.is_empty() {
            // Damaged records whose games were stored again need not be missed any longer.
            healed.into_iter().for_each(|seq| books.gone.lost.insert(seq..=seq));
            if let Err(error) = books.gone.write(&self.shared.layout.numbers) {
                log::warn!("the archive's numbers could not be written: {error}");
            }
        }
        drop(books);
        self.unchecked.since.get_or_insert_with(Instant::now);
        for member in group.members {
            self.shared.observer.stored(member.record(), took);
            self.unchecked.bytes += member.frame.len();
            self.unchecked.frames.insert(member.seq, member.frame);
            (member.answer)(Ok(Stored::Now));
            self.unchecked.waiting.extend(member.checkpointed);
        }
        self.shared.unchecked.store(self.unchecked.frames.len() as u64, Ordering::Relaxed);
    }

    /// Looks for what was stored in the database's raw file. What is not there is stored once more.
    fn check(&mut self) {
        let mut wanted: BTreeMap<u64, u32> = BTreeMap::new();
        for (seq, bytes) in &self.unchecked.frames {
            wanted.extend(frame::parse(bytes).map(|(frame, _)| (*seq, frame.crc)));
        }
        wanted.retain(|seq, _| !self.shared.books().gone.contains(*seq));
        let files = Store::raw_files(&self.shared.layout.records);
        match files.and_then(|files| self.checkpoint.find(&files, &mut wanted)) {
            Ok(()) if wanted.is_empty() => {
                self.note_success();
                let Unchecked { waiting, .. } = std::mem::take(&mut self.unchecked);
                self.shared.unchecked.store(0, Ordering::Relaxed);
                return waiting.into_iter().for_each(|checkpointed| checkpointed());
            }
            Ok(()) => {
                log::error!("{} games are not where the database stored them; they are stored again", wanted.len());
            }
            Err(error) => self.shared.note_failure(&format!("a checkpoint failed: {error}")),
        }
        self.is_broken = true;
        self.unchecked.since = Some(Instant::now());
    }

    /// Opens the store: for the first time, or after a failure once more, as after a crash, once the disk takes writes. Until
    /// then readers have the database that failed, which still knows what it knew.
    pub(super) fn open(&mut self) -> Result<(), StoreError> {
        let shared = Arc::clone(&self.shared);
        let layout = &shared.layout;
        shared.lock_folder()?;
        let when = if shared.opened.load(Ordering::Acquire) { When::Again } else { When::Start };
        let was_failing = shared.health() != Health::Healthy;
        if when == When::Again || was_failing {
            layout.probe().map_err(|source| layout.fault(source))?;
        }
        if self.lost_files.changed().is_none()
            && let Some(high_water) = &self.high_water
        {
            // Perhaps that is why it failed.
            self.lost_files.look(&shared, high_water)?;
        }
        let changed = self.lost_files.changed();
        if let Some(changed) = &changed {
            shared.note_failure(changed);
            if shared.database().is_ok() {
                copy_records(&shared)?;
            }
        }
        // One that has failed need not close well. What counts is what its files hold.
        if let Some(database) = shared.take_database()?
            && let Err(error) = database.close()
        {
            log::warn!("the archive's database that failed does not close: {error}");
        }
        self.high_water = None;
        let mut set_aside = OpenReport::default();
        if changed.is_some() {
            self.lost_files.write_anew(&shared, &mut set_aside).map_err(|source| layout.fault(source))?;
        }
        let unchecked = &self.unchecked.frames;
        let open = &mut |loader: &mut dyn Loader| {
            let mut opened = recover::open(layout, shared.cache_bytes, when, loader)?;
            // What was acknowledged and is not there is stored again, from memory.
            opened.put_back(unchecked, layout, loader).map_err(|failure| layout.error(failure))?;
            Ok(opened)
        };
        let Opened { database, high_water, mut books, mut report } = shared.observer.load(open)?;
        if let Some(changed) = changed {
            report.damage.push(format!("{changed}; what was still known is written anew"));
            report.set_aside = report.set_aside.or(set_aside.set_aside);
        }
        if when == When::Again || was_failing {
            let level = if report.is_damaged() { log::Level::Error } else { log::Level::Info };
            log::log!(level, "after a failure: {report}");
        }
        // A group that failed has its numbers; none of them is given to another.
        books.last = books.last.max(shared.books().last);
        self.newest = self.newest.max(books.ids.keys().next_back().copied());
        *shared.books_mut() = books;
        shared.put_database(database);
        if when == When::Start || report.is_damaged() {
            *shared.report() = report;
        }
        shared.opened.store(true, Ordering::Release);
        self.high_water = Some(high_water);
        self.checkpoint = Checkpoint::default();
        self.lost_files.forget();
        self.is_broken = false;
        self.note_success();
        Ok(())
    }

    fn note_success(&mut self) {
        self.pause = RETRY_FIRST;
        self.shared.note_success();
    }

    /// Notes why something failed, and waits before the next attempt. Returns whether to try again.
    fn note_and_wait(&mut self, error: &StoreError) -> bool {
        self.shared.note_failure(&error.to_string());
        let retry_at = Instant::now() + self.pause;
        self.pause = (self.pause * 2).min(RETRY_LONGEST);
        let queue = &self.shared.queue;
        let mut state = queue.lock();
        loop {
            for removal in std::mem::take(&mut state.removals) {
                // Whoever asked may have left.
                let _gone = removal.answer.try_send(Err(StoreError::Failed("games wait for the disk".to_owned())));
            }
            let now = Instant::now();
            if state.closing.is_some_and(|deadline| now >= deadline) {
                return false;
            }
            if now >= retry_at {
                return true;
            }
            let until = state.closing.map_or(retry_at, |deadline| deadline.min(retry_at));
            state = queue.wait(state, until);
        }
    }

    /// Looks whether the files are all there, and how much space they take.
    fn look_at_files(&mut self) {
        self.shared.measure_disk();
        self.look_due = Instant::now() + LOOK_INTERVAL;
        let Some(high_water) = self.high_water.as_ref().filter(|_| !self.is_broken) else { return };
        // What was changed is told, and mended, when the store is opened again.
        self.is_broken = match self.lost_files.look(&self.shared, high_water) {
            Ok(()) => self.lost_files.changed().is_some(),
            Err(error) => {
                self.shared.note_failure(&error.to_string());
                true
            }
        };
    }

    fn remove(&mut self, removal: &Removal) {
        let answer = self.remove_games(&removal.ids);
        // Whoever asked may have left.
        let _gone = removal.answer.try_send(answer);
        if let Err(error) = self.rebuild() {
            log::warn!("the space of removed games could not be given back: {error}");
        }
    }

    fn remove_games(&mut self, ids: &[GameId]) -> Result<u64, StoreError> {
        if self.is_broken {
            self.open()?;
        }
        let database = self.shared.database()?;
        let books = self.shared.books();
        let mut gone = books.gone.clone();
        let found: BTreeMap<GameId, u64> = ids.iter().filter_map(|id| Some((*id, *books.ids.get(id)?))).collect();
        drop(books);
        if found.is_empty() {
            return Ok(0);
        }
        let mut bytes = 0;
        for seq in found.values() {
            gone.removed.insert(*seq..=*seq);
            if let Ok(Some(frame)) = database.get(*seq) {
                bytes += frame.len().saturating_sub(HEADER_BYTES) as u64;
            }
        }
        // What this says is so from then on, whatever the database still has.
        gone.write(&self.shared.layout.numbers).map_err(|source| self.shared.layout.fault(source))?;
        let mut books = self.shared.books_mut();
        for id in found.keys() {
            books.ids.remove(id);
        }
        books.gone = gone;
        books.record_bytes = books.record_bytes.saturating_sub(bytes);
        drop(books);
        if let Err(error) = database.remove(found.values().copied()).and_then(|()| database.flush()) {
            log::warn!("removed games are still in the archive's files: {error}");
            self.is_broken = true;
        }
        Ok(found.len() as u64)
    }

    /// Builds the database anew if most of its bytes are dead, and gives their space back.
    fn rebuild(&mut self) -> Result<(), StoreError> {
        let shared = Arc::clone(&self.shared);
        let layout = &shared.layout;
        let bytes = folder_bytes(&layout.records).map_err(|source| layout.fault(source))?;
        if self.is_broken || bytes < REBUILD_BYTES || bytes / REBUILD_FACTOR < shared.books().frame_bytes() {
            return Ok(());
        }
        if copy_records(&shared)? > 0 {
            return Err(StoreError::Failed("not every game can be read".to_owned()));
        }
        let failed = |failure| layout.error(failure);
        // From here on the next opening, in a moment or after a crash, finds one of the two in its place.
        self.is_broken = true;
        if let Some(database) = shared.take_database()? {
            database.close().map_err(failed)?;
        }
        layout.put_in_place().map_err(|source| layout.fault(source))?;
        shared.put_database(Store::open(&layout.records, shared.cache_bytes).map_err(failed)?);
        self.checkpoint = Checkpoint::default();
        self.is_broken = false;
        self.look_at_files();
        Ok(())
    }

    /// Closes everything in order, if that can be done.
    fn finish(mut self) {
        if self.unchecked.since.is_some() {
            self.check();
        }
        let database = self.shared.take_database();
        self.shared.closed.store(true, Ordering::Release);
        let (Ok(Some(database)), Some(high_water), false) = (database, self.high_water.take(), self.is_broken) else {
            return;
        };
        let records = self.shared.books().ids.len() as u64;
        let sealed = database.close().and_then(|()| Ok(recover::seal(&self.shared.layout, high_water, records)?));
        if let Err(error) = sealed {
            log::warn!("the archive was not closed in order; the next start searches its files: {error}");
        }
    }
}
