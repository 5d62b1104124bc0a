//! Live games survive: what happens at the tables is handed to a writer, which commits it in groups.
//!
//! Nothing at a table waits for it or touches a file: a note goes into a bounded queue. The writer's thread gathers notes
//! for a moment and writes them as one frame; another waits for the disk (`journal_sync.rs`). Beside that the writer keeps,
//! in memory, what each room's entries come to, so that it can begin a new file whenever the old one has grown beyond what
//! its rooms are worth, and after any failure of the disk. How all that lies on disk is told in `journal_file.rs`.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use super::journal_file::{EVENT, JournalError, Log, OVER, Recovered, RoomLog, SNAPSHOT, push_entry, push_whole};
use super::journal_sync::{Syncer, Waiting, Written};
use super::snapshot::{Note, RoomSnapshot};
use super::{JournalOptions, Room};
use crate::observe::{Check, Metrics};
use crate::protocol::RoomId;

/// Notes that may wait for the writer. A table that finds the queue full tells everything again, soon or with its next
/// note.
const QUEUE_CAPACITY: usize = 16 * 1024;
/// A group is written at the latest when it has so many bytes.
const GROUP_MAX_BYTES: usize = 256 * 1024;
/// A new file is begun when the old one has more than this beyond one and a half times what its rooms are worth.
const COMPACT_ABOVE_BYTES: u64 = 64 * 1024;
/// How long the writer waits after a failure before it tries again.
const RETRY_AFTER: Duration = Duration::from_secs(1);
/// How long something may not be on disk before somebody should look, and before it counts as lost in a crash.
const LATE_AFTER: Duration = Duration::from_secs(5);
const LOST_AFTER: Duration = Duration::from_secs(60);

/// The way to the writer. Clones are the same journal; one that is switched off takes notes and forgets them.
#[derive(Debug, Clone, Default)]
pub struct Journal {
    writer: Option<Arc<Writer>>,
}

#[derive(Debug)]
struct Writer {
    notes: SyncSender<Message>,
    status: Arc<Status>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

/// How the journal is doing, as its threads tell.
#[derive(Debug)]
pub(super) struct Status {
    is_failing: AtomicBool,
    failures: AtomicU64,
    commits: AtomicU64,
    rooms: AtomicU64,
    file_bytes: AtomicU64,
    live_bytes: AtomicU64,
    queued: AtomicU64,
    overflows: AtomicU64,
    /// When the oldest note came that is not written, in microseconds since `opened`; 0 if all are.
    unwritten_us: AtomicU64,
    /// The same of those that are written but not on disk.
    unsynced_us: AtomicU64,
    opened: Instant,
}

impl Status {
    fn new() -> Self {
        Self {
            is_failing: AtomicBool::default(),
            failures: AtomicU64::default(),
            commits: AtomicU64::default(),
            rooms: AtomicU64::default(),
            file_bytes: AtomicU64::default(),
            live_bytes: AtomicU64::default(),
            queued: AtomicU64::default(),
            overflows: AtomicU64::default(),
            unwritten_us: AtomicU64::default(),
            unsynced_us: AtomicU64::default(),
            opened: Instant::now(),
        }
    }

    /// A time in microseconds since the journal was opened; never 0.
    fn microseconds(&self, time: Instant) -> u64 {
        u64::try_from(time.saturating_duration_since(self.opened).as_micros()).unwrap_or(u64::MAX).max(1)
    }

    /// Age of the oldest note that is not on disk.
    fn lag(&self) -> Duration {
        let now = self.microseconds(Instant::now());
        let age = |since: &AtomicU64| match since.load(Ordering::Relaxed) {
            0 => 0,
            since => now.saturating_sub(since),
        };
        Duration::from_micros(age(&self.unwritten_us).max(age(&self.unsynced_us)))
    }

    fn note_unwritten(&self, since: Option<Instant>) {
        self.unwritten_us.store(since.map_or(0, |since| self.microseconds(since)), Ordering::Relaxed);
    }

    /// Since when something is written that is not on disk.
    pub(super) fn note_unsynced(&self, since: Option<Instant>) {
        self.unsynced_us.store(since.map_or(0, |since| self.microseconds(since)), Ordering::Relaxed);
    }

    /// A group is on disk.
    pub(super) fn note_commit(&self) {
        self.commits.fetch_add(1, Ordering::Relaxed);
    }
}

/// How the journal is doing.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct JournalStatus {
    /// Its last write failed; it tries again every second, and then writes everything.
    pub is_failing: bool,
    /// Writes that have failed.
    pub failures: u64,
    /// Groups written.
    pub commits: u64,
    /// Rooms it holds.
    pub rooms: u64,
    /// Length of its file.
    pub file_bytes: u64,
    /// What its rooms are worth.
    pub live_bytes: u64,
    /// Notes that wait.
    pub queued: u64,
    /// Notes that found the queue full.
    pub overflows: u64,
    /// Age of the oldest note that is not on disk.
    pub lag: Duration,
}

impl JournalStatus {
    /// How well it is, with its figures.
    pub fn check(&self) -> Check {
        let check = if self.lag >= LOST_AFTER {
            Check::unhealthy(format!("nothing is on disk since {} s; a crash would lose that", self.lag.as_secs()))
        } else if self.is_failing {
            Check::degraded("live games cannot be written down; they would not survive a crash")
        } else if self.lag >= LATE_AFTER {
            Check::degraded(format!("the disk is slow: live games are on it {} s late", self.lag.as_secs()))
        } else {
            Check::healthy()
        };
        check
            .with("rooms", self.rooms)
            .with("queued", self.queued)
            .with("failures", self.failures)
            .with("file_bytes", self.file_bytes)
            .with("lag_seconds", self.lag.as_secs_f64())
    }
}

enum Message {
    Entry(RoomId, Change),
    /// Write everything now and say so.
    Flush(SyncSender<()>),
    /// Say so when everything so far is written.
    Written(oneshot::Sender<()>),
    Stop,
}

enum Change {
    RoomSnapshot(Box<RoomSnapshot>),
    Event(super::EventBytes),
    /// Everything again, after a gap.
    Whole(Box<RoomSnapshot>, Vec<u8>),
    Over,
}

impl Journal {
    /// A journal that keeps nothing.
    #[must_use]
    pub fn off() -> Self {
        Self::default()
    }

    /// Opens the journal in `folder`, reads what it holds, and starts its writer on a fresh file.
    ///
    /// # Errors
    /// [`JournalError`] if another process has it, or nothing can be written there.
    pub fn open(
        folder: &Path,
        options: &JournalOptions,
        metrics: Arc<Metrics>,
    ) -> Result<(Self, Recovered), JournalError> {
        let (log, room_logs, recovered) = Log::open(folder)?;
        let status = Arc::new(Status::new());
        let (notes, messages) = sync_channel(QUEUE_CAPACITY);
        let at = |error| JournalError::Io { folder: folder.to_owned(), error };
        let journal_writer = JournalWriter {
            syncer: Syncer::start(Arc::clone(&status), Arc::clone(&metrics)).map_err(at)?,
            log,
            room_logs,
            group: Vec::new(),
            group_notes: 0,
            group_began: None,
            failed: None,
            waiting: Vec::new(),
            interval: options.interval,
            status: Arc::clone(&status),
            metrics,
        };
        let thread = std::thread::Builder::new()
            .name("journal".to_owned())
            .spawn(move || journal_writer.run(&messages))
            .map_err(at)?;
        let writer = Writer { notes, status, thread: Mutex::new(Some(thread)) };
        Ok((Self { writer: Some(Arc::new(writer)) }, recovered))
    }

    /// Hands a note over without waiting. Returns `false` if the queue was full: then the room has to tell everything
    /// again ([`retell`](Self::retell)).
    #[must_use]
    pub fn note(&self, room: RoomId, note: Note) -> bool {
        self.send(
            room,
            match note {
                Note::RoomSnapshot(snapshot) => Change::RoomSnapshot(snapshot),
                Note::Event(event) => Change::Event(event),
            },
        )
    }

    /// Tells everything about a room.
    #[must_use]
    pub fn retell(&self, room: &Room) -> bool {
        let snapshot = room.snapshot();
        self.send(snapshot.room_id(), Change::Whole(Box::new(snapshot), room.events().to_vec()))
    }

    /// A room is over and need not come back.
    #[must_use]
    pub fn forget(&self, room: RoomId) -> bool {
        self.send(room, Change::Over)
    }

    fn send(&self, room: RoomId, change: Change) -> bool {
        let Some(writer) = &self.writer else {
            return true;
        };
        match writer.notes.try_send(Message::Entry(room, change)) {
            Ok(()) => {
                writer.status.queued.fetch_add(1, Ordering::Relaxed);
                true
            }
            Err(TrySendError::Full(_)) => {
                writer.status.overflows.fetch_add(1, Ordering::Relaxed);
                false
            }
            // After the end of the server nothing is kept.
            Err(TrySendError::Disconnected(_)) => true,
        }
    }

    /// Whether anything is kept.
    #[must_use]
    pub const fn is_on(&self) -> bool {
        self.writer.is_some()
    }

    /// How it is doing; `None` when it is switched off.
    #[must_use]
    pub fn status(&self) -> Option<JournalStatus> {
        let status = &self.writer.as_ref()?.status;
        let load = |figure: &AtomicU64| figure.load(Ordering::Relaxed);
        Some(JournalStatus {
            is_failing: status.is_failing.load(Ordering::Relaxed),
            failures: load(&status.failures),
            commits: load(&status.commits),
            rooms: load(&status.rooms),
            file_bytes: load(&status.file_bytes),
            live_bytes: load(&status.live_bytes),
            queued: load(&status.queued),
            overflows: load(&status.overflows),
            lag: status.lag(),
        })
    }

    /// Resolves when everything handed over so far is on disk, or was tried. Hurries nothing.
    pub fn written(&self) -> impl Future<Output = ()> + Send + use<> {
        let (done, written) = oneshot::channel();
        // A full queue has no place for the question either; what waits in it is told again in any case.
        let is_asked = self.writer.as_ref().is_some_and(|writer| writer.notes.try_send(Message::Written(done)).is_ok());
        async move {
            if is_asked {
                // The writer answers, or has ended.
                written.await.ok();
            }
        }
    }

    /// Waits until everything handed over so far is on disk, or was tried. Blocks: not for async threads.
    pub fn flush(&self) {
        if let Some(writer) = &self.writer {
            let (done, wait) = sync_channel(1);
            if writer.notes.send(Message::Flush(done)).is_ok() {
                // The writer answers, or has ended.
                wait.recv().ok();
            }
        }
    }

    /// Writes what is left and ends the writer. Blocks: not for async threads.
    pub fn close(&self) {
        if let Some(writer) = &self.writer {
            writer.notes.send(Message::Stop).ok();
            let thread = writer.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
            if let Some(Err(_)) = thread.map(JoinHandle::join) {
                log::error!("the journal's writer has panicked");
            }
        }
    }
}

/// A queue that nobody empties but a test.
#[cfg(test)]
#[derive(Debug)]
pub(super) struct UnreadQueue(Receiver<Message>);

#[cfg(test)]
impl UnreadQueue {
    /// Takes the oldest of what waits: which room it is about, and its image if it tells everything.
    pub(super) fn take(&self) -> Option<(RoomId, Option<RoomSnapshot>)> {
        match self.0.try_recv().ok()? {
            Message::Entry(room, Change::Whole(snapshot, _)) => Some((room, Some(*snapshot))),
            Message::Entry(room, _) => Some((room, None)),
            Message::Flush(_) | Message::Written(_) | Message::Stop => self.take(),
        }
    }
}

#[cfg(test)]
impl Journal {
    /// A journal whose queue has so many places, and no writer.
    pub(super) fn unread(places: usize) -> (Self, UnreadQueue) {
        let (notes, messages) = sync_channel(places);
        let writer = Writer { notes, status: Arc::new(Status::new()), thread: Mutex::default() };
        (Self { writer: Some(Arc::new(writer)) }, UnreadQueue(messages))
    }
}

/// The writer's thread.
struct JournalWriter {
    log: Log,
    /// Dropped at the end, which waits for the disk.
    syncer: Syncer,
    room_logs: BTreeMap<RoomId, RoomLog>,
    /// Entries that are not written yet.
    group: Vec<u8>,
    group_notes: u64,
    /// When the first of them came, or after a failure the first that is not on disk.
    group_began: Option<Instant>,
    /// When something could not be written: the next attempt begins a new file with everything.
    failed: Option<Instant>,
    /// Who waits for the group to be on disk.
    waiting: Vec<Waiting>,
    interval: Duration,
    status: Arc<Status>,
    metrics: Arc<Metrics>,
}

impl JournalWriter {
    fn run(mut self, messages: &Receiver<Message>) {
        loop {
            let message = self.wait(messages);
            if let Some((error, written)) = self.syncer.failure() {
                self.take_back(&error, written);
            }
            match message {
                Ok(Message::Entry(room, change)) => {
                    self.status.queued.fetch_sub(1, Ordering::Relaxed);
                    self.take(room, change);
                    if self.group.len() >= GROUP_MAX_BYTES {
                        self.commit();
                    }
                }
                Ok(Message::Flush(done)) => {
                    self.waiting.push(Waiting::Thread(done));
                    self.commit();
                }
                Ok(Message::Written(done)) => {
                    self.waiting.push(Waiting::Task(done));
                    if self.failed.is_some() {
                        self.answer();
                    } else if self.group_began.is_none() {
                        self.commit();
                    }
                }
                Err(RecvTimeoutError::Timeout) => self.commit(),
                Ok(Message::Stop) | Err(RecvTimeoutError::Disconnected) => return self.commit(),
            }
        }
    }

    /// The next message, unless a group is due before. Writing takes a while itself, and on a busy machine getting to it
    /// too, so a group is gathered for a quarter of the promised time.
    fn wait(&self, messages: &Receiver<Message>) -> Result<Message, RecvTimeoutError> {
        let left = |from: Instant, wait: Duration| wait.saturating_sub(from.elapsed());
        let left = match (self.failed, self.group_began) {
            (Some(failed), _) => left(failed, RETRY_AFTER),
            (None, Some(began)) => left(began, self.interval / 4),
            // What is on its way may fail, and then something is to be done though nobody says anything.
            (None, None) if self.syncer.is_busy() => RETRY_AFTER,
            (None, None) => return messages.recv().map_err(|_| RecvTimeoutError::Disconnected),
        };
        // What is due is due, however many more messages wait.
        if left.is_zero() { Err(RecvTimeoutError::Timeout) } else { messages.recv_timeout(left) }
    }

    fn take(&mut self, room: RoomId, change: Change) {
        if matches!(change, Change::Over) {
            if let Some(room_log) = self.room_logs.remove(&room) {
                push_entry(&mut self.group, room, OVER, room_log.next, &[]);
            }
        } else {
            let room_log = self.room_logs.entry(room).or_default();
            let number = room_log.next;
            room_log.next = number.wrapping_add(1);
            match change {
                Change::Event(event) => {
                    room_log.events.extend_from_slice(&event);
                    push_entry(&mut self.group, room, EVENT, number, &event);
                }
                Change::RoomSnapshot(snapshot) => {
                    room_log.snapshot = snapshot.to_bytes();
                    push_entry(&mut self.group, room, SNAPSHOT, number, &room_log.snapshot);
                }
                Change::Whole(snapshot, events) => {
                    room_log.snapshot = snapshot.to_bytes();
                    room_log.events = events;
                    push_whole(&mut self.group, room, room_log);
                }
                Change::Over => {}
            }
        }
        self.group_notes += 1;
        if self.group_began.is_none() {
            self.group_began = Some(Instant::now());
            self.status.note_unwritten(self.group_began);
        }
        if self.failed.is_some() {
            // The accounts have it; the next file begins with them.
            self.group.clear();
        }
    }

    /// Writes what is gathered, or, after a failure or when the file has grown too long, everything into a new file.
    fn commit(&mut self) {
        let live: u64 =
            self.room_logs.values().map(|room_log| (room_log.snapshot.len() + room_log.events.len()) as u64).sum();
        let too_long = self.log.file_bytes() > COMPACT_ABOVE_BYTES + live + live / 2;
        let result = if self.failed.is_some() || (too_long && !self.group.is_empty()) {
            self.log.begin_file(&self.room_logs).map(|()| {
                let written = self.written();
                self.syncer.settle(written);
            })
        } else {
            self.log.append(&self.group).map(|file| {
                // What went before may be on its way still, and whoever waits, waits for it too.
                let is_busy = self.syncer.is_busy();
                match self.written() {
                    Some(written) if written.notes > 0 || is_busy => self.syncer.sync(&file, written),
                    Some(written) => written.waiting.into_iter().for_each(Waiting::answer),
                    None => {}
                }
            })
        };
        match result {
            Ok(()) => self.note_success(),
            Err(error) => self.note_failure(&error),
        }
        self.group.clear();
        self.status.rooms.store(self.room_logs.len() as u64, Ordering::Relaxed);
        self.status.file_bytes.store(self.log.file_bytes(), Ordering::Relaxed);
        self.status.live_bytes.store(live, Ordering::Relaxed);
    }

    /// The group as it is now written, with those who wait for it.
    fn written(&mut self) -> Option<Written> {
        let (notes, waiting) = (std::mem::take(&mut self.group_notes), std::mem::take(&mut self.waiting));
        let began = self.group_began.take();
        self.status.note_unwritten(None);
        (notes > 0 || !waiting.is_empty()).then(|| Written {
            notes,
            began: began.unwrap_or_else(Instant::now),
            waiting,
        })
    }

    fn note_success(&mut self) {
        if self.failed.take().is_some() {
            log::warn!("the journal of live games is written again");
        }
        self.status.is_failing.store(false, Ordering::Relaxed);
    }

    fn note_failure(&mut self, error: &io::Error) {
        if self.failed.replace(Instant::now()).is_none() {
            log::error!("the journal of live games cannot be written: {error}; play goes on");
        }
        self.status.is_failing.store(true, Ordering::Relaxed);
        self.status.failures.fetch_add(1, Ordering::Relaxed);
        self.metrics.journal_failures.inc();
        self.answer();
    }

    /// What was written did not reach the disk: it counts as not written, and the next file begins with it.
    fn take_back(&mut self, error: &io::Error, written: Written) {
        self.group.clear();
        self.group_notes += written.notes;
        self.group_began = Some(written.began);
        self.status.note_unwritten(self.group_began);
        self.waiting.extend(written.waiting);
        self.note_failure(error);
    }

    /// Tells those who wait that their notes are written, or were tried.
    fn answer(&mut self) {
        self.waiting.drain(..).for_each(Waiting::answer);
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::sync::Arc;

    use proptest::prelude::*;
    use rand::SeedableRng;
    use rand_pcg::Pcg64Mcg;

    use super::super::journal_file::{Reading, files};
    use super::super::{JoinRequest, Options, Room, Time};
    use super::*;
    use crate::game::ServerSeed;
    use crate::protocol::SessionKey;

    fn room(number: u32) -> Room {
        let host = JoinRequest {
            session: Some(SessionKey::of("browser")),
            name: "Ann".parse().unwrap(),
            token: SessionKey::of("token"),
        };
        let now = Time::from_unix_ms(1_800_000_000_000);
        let rng = Pcg64Mcg::seed_from_u64(number.into());
        let options = Arc::new(Options::default());
        Room::open(RoomId::from_number(number), host, ServerSeed::new([7; 32]), rng, options, now)
    }

    fn event(byte: u8) -> Note {
        Note::Event(super::super::EventBytes::from_iter([byte, byte]))
    }

    fn open(folder: &Path) -> (Journal, Recovered) {
        Journal::open(folder, &JournalOptions::default(), metrics()).unwrap()
    }

    fn metrics() -> Arc<Metrics> {
        Arc::new(Metrics::new("test", "test", false))
    }

    fn write_rooms(folder: &Path, rooms: u32, events: u8) {
        let (journal, _) = open(folder);
        for number in 1..=rooms {
            assert!(journal.retell(&room(number)));
        }
        for byte in 0..events {
            for number in 1..=rooms {
                assert!(journal.note(RoomId::from_number(number), event(byte)));
            }
            if byte % 8 == 0 {
                journal.flush();
            }
        }
        journal.close();
    }

    fn expected(events: u8) -> Vec<u8> {
        (0..events).flat_map(|byte| [byte, byte]).collect()
    }

    #[test]
    fn what_was_noted_comes_back() {
        let folder = tempfile::tempdir().unwrap();
        write_rooms(folder.path(), 5, 40);
        for _ in 0..2 {
            let (journal, recovered) = open(folder.path());
            assert_eq!((recovered.rooms.len(), recovered.damaged_bytes), (5, 0));
            for (snapshot, events) in &recovered.rooms {
                assert_eq!(*snapshot, room(snapshot.room_id().number()).snapshot());
                assert_eq!(*events, expected(40));
            }
            journal.close();
        }
        let (journal, _) = open(folder.path());
        assert!(journal.forget(RoomId::from_number(3)));
        journal.close();
        assert_eq!(open(folder.path()).1.rooms.len(), 4);
    }

    #[test]
    fn a_second_process_is_kept_out() {
        let folder = tempfile::tempdir().unwrap();
        let first = open(folder.path());
        assert!(matches!(
            Journal::open(folder.path(), &JournalOptions::default(), metrics()),
            Err(JournalError::InUse(_))
        ));
        drop(first);
    }

    #[test]
    fn the_file_stays_in_proportion_to_its_rooms() {
        let folder = tempfile::tempdir().unwrap();
        let (journal, _) = open(folder.path());
        for number in 0..2_000 {
            assert!(journal.retell(&room(number)));
            for byte in 0..50 {
                assert!(journal.note(RoomId::from_number(number), event(byte)));
            }
            journal.flush();
            assert!(journal.forget(RoomId::from_number(number)));
        }
        journal.flush();
        let status = journal.status().unwrap();
        assert_eq!(status.rooms, 0);
        assert!(status.file_bytes < COMPACT_ABOVE_BYTES + 4_096, "{status:?}");
        journal.close();
    }

    #[test]
    fn a_torn_end_costs_only_what_was_torn() {
        let folder = tempfile::tempdir().unwrap();
        write_rooms(folder.path(), 2, 40);
        let (_, path) = files(folder.path()).unwrap().pop().unwrap();
        let bytes = fs::read(&path).unwrap();
        fs::write(&path, &bytes[..bytes.len() - 5]).unwrap();
        let (journal, recovered) = open(folder.path());
        journal.close();
        assert_eq!(recovered.rooms.len(), 2);
        assert!(recovered.damaged_bytes > 0 && !recovered.set_aside.is_empty());
        for (_, events) in recovered.rooms {
            assert!(expected(40).starts_with(&events) && events.len() >= 2 * 33, "{}", events.len());
        }
    }

    /// A busy server never left the writer a quiet second, so after a failure of the disk it never tried again.
    #[test]
    fn after_a_failure_it_tries_again_however_busy_it_is() {
        let folder = tempfile::tempdir().unwrap();
        let (journal, _) = open(folder.path());
        assert!(journal.retell(&room(1)));
        journal.flush();
        // Where a folder stands in its way, no file can be begun, not even by root.
        let (_, path) = files(folder.path()).unwrap().pop().unwrap();
        let way = folder.path().join("0000000002.unfinished");
        fs::create_dir(&way).unwrap();
        assert_eq!(path.file_name().unwrap(), "0000000001.journal");
        let until = |failing: bool| {
            let mut events = 0;
            let deadline = Instant::now() + Duration::from_secs(20);
            while journal.status().unwrap().is_failing != failing {
                assert!(Instant::now() < deadline, "{:?}", journal.status());
                events += (0..100).filter(|_| journal.note(RoomId::from_number(1), event(1))).count();
                std::thread::sleep(Duration::from_millis(1));
            }
            events
        };
        let mut noted = until(true);
        std::thread::sleep(Duration::from_millis(20));
        let lag = journal.status().unwrap().lag;
        assert!(lag >= Duration::from_millis(20), "{lag:?}");
        fs::remove_dir(&way).unwrap();
        noted += until(false);
        journal.flush();
        assert_eq!(journal.status().unwrap().lag, Duration::ZERO);
        journal.close();
        let events = open(folder.path()).1.rooms.pop().unwrap().1;
        assert_eq!(events.len(), 2 * noted);
    }

    /// A file that an interrupted compaction left behind is out of date: a room that was over came back from it.
    #[test]
    fn only_the_newest_file_counts() {
        let folder = tempfile::tempdir().unwrap();
        write_rooms(folder.path(), 3, 4);
        let (_, path) = files(folder.path()).unwrap().pop().unwrap();
        let older = fs::read(&path).unwrap();
        let (journal, _) = open(folder.path());
        assert!(journal.forget(RoomId::from_number(2)));
        journal.close();
        open(folder.path()).0.close();
        fs::write(&path, older).unwrap();
        let (journal, recovered) = open(folder.path());
        journal.close();
        let rooms = recovered.rooms;
        assert_eq!(rooms.iter().map(|(snapshot, _)| snapshot.room_id().number()).collect::<Vec<_>>(), [1, 3]);
    }

    #[tokio::test]
    async fn it_says_when_notes_are_written() {
        let folder = tempfile::tempdir().unwrap();
        let (journal, _) = open(folder.path());
        // Nothing waits.
        journal.written().await;
        assert!(journal.retell(&room(1)));
        journal.written().await;
        let (_, path) = files(folder.path()).unwrap().pop().unwrap();
        let mut reading = Reading::default();
        assert_eq!(reading.read_file(&fs::read(path).unwrap()), 0);
        assert_eq!(journal.status().unwrap().rooms, 1);
        Journal::off().written().await;
        drop(journal);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn damage_is_noticed_and_costs_only_rooms_that_are_not_whole(at in any::<prop::sample::Index>(), flip in 1_u8..) {
            let folder = tempfile::tempdir().unwrap();
            write_rooms(folder.path(), 4, 40);
            let (_, path) = files(folder.path()).unwrap().pop().unwrap();
            let mut bytes = fs::read(&path).unwrap();
            let place = at.index(bytes.len());
            bytes[place] ^= flip;
            fs::write(&path, &bytes).unwrap();
            let (journal, recovered) = open(folder.path());
            journal.close();
            prop_assert!(recovered.damaged_bytes > 0, "every byte is under a checksum");
            for (snapshot, events) in recovered.rooms {
                prop_assert_eq!(&snapshot, &room(snapshot.room_id().number()).snapshot());
                prop_assert!(expected(40).starts_with(&events), "a prefix of what happened, never anything else");
            }
        }

        #[test]
        fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
            Reading::default().read_file(&bytes);
            Reading::default().read_entries(&bytes);
            RoomSnapshot::from_bytes(&bytes).ok();
        }
    }

    #[test]
    fn a_disk_that_hangs_or_fails_is_told_before_anything_is_lost() {
        use crate::observe::HealthStatus::{Degraded, Healthy, Unhealthy};
        for (seconds, is_failing, wanted) in [
            (0, false, Healthy),
            (4, false, Healthy),
            (5, false, Degraded),
            (1, true, Degraded),
            (60, false, Unhealthy),
        ] {
            let status = JournalStatus { lag: Duration::from_secs(seconds), is_failing, ..JournalStatus::default() };
            assert_eq!(status.check().status, wanted, "{status:?}");
        }
    }
}
