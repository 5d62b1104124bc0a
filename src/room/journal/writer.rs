//! The journal's writer: gathers notes for a moment and writes them together, one frame for each room.
//!
//! The writer keeps in memory what each room's entries add up to. With that it begins a new file when the old one has
//! grown too long for its rooms, and after any failure of the disk. Where no new file can be begun, it appends to the old
//! one: after a failure, each room that has changed since, whole.

use std::io;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::status::Status;
use super::sync::{Syncer, Waiter, Written};
use crate::observe::Metrics;
use crate::protocol::RoomId;
use crate::room::journal_file::{EVENT, Group, Log, OVER, Opened, RoomLogs, SNAPSHOT, push_entry, push_whole};
use crate::room::{EventBytes, RoomSnapshot};

/// A group of this size is written at once.
const GROUP_MAX_BYTES: usize = 256 * 1024;
/// A new file begins when the old one exceeds one and a half times the size of its rooms by this much.
pub(super) const COMPACT_ABOVE_BYTES: u64 = 64 * 1024;
/// How long the writer waits after a failure before it tries again.
const RETRY_AFTER: Duration = Duration::from_secs(1);
/// How often it tries at the end, and the pause in between.
const LAST_ATTEMPTS: u32 = 20;
const LAST_PAUSE: Duration = Duration::from_millis(100);
/// How long it waits after a new file could not be begun. Each attempt writes all rooms.
const BEGIN_AGAIN_AFTER: Duration = Duration::from_secs(5);

pub(super) enum Message {
    Entry(RoomId, Change),
    /// Write everything now and answer.
    Flush(Waiter),
    /// Answer when everything so far is written.
    Written(Waiter),
    Stop,
}

pub(super) enum Change {
    RoomSnapshot(Box<RoomSnapshot>),
    Event(EventBytes),
    /// The whole room, after a gap.
    Whole(Box<RoomSnapshot>, Vec<u8>),
    Over,
}

/// The writer's thread.
pub(super) struct JournalWriter {
    log: Log,
    /// Dropped at the end, which waits for the disk.
    syncer: Syncer,
    room_logs: RoomLogs,
    /// Entries that are not written. A room without entries is written whole: those were in a write that failed.
    group: Group,
    group_bytes: usize,
    group_notes: u64,
    /// When the first of them came; after a failure, when the first came that is not on disk.
    group_began: Option<Instant>,
    /// When a write failed.
    failed: Option<Instant>,
    /// When a new file could not be begun.
    begin_failed: Option<Instant>,
    /// Callers that wait for the group to be on disk.
    waiters: Vec<Waiter>,
    interval: Duration,
    status: Arc<Status>,
    metrics: Arc<Metrics>,
}

impl JournalWriter {
    /// Starts the syncing thread and the writer's own. The writer ends with the queue or with [`Message::Stop`].
    pub(super) fn start(
        opened: Opened,
        interval: Duration,
        status: Arc<Status>,
        metrics: Arc<Metrics>,
        messages: Receiver<Message>,
    ) -> io::Result<JoinHandle<()>> {
        let mut writer = Self {
            syncer: Syncer::start(Arc::clone(&status), Arc::clone(&metrics))?,
            log: opened.log,
            room_logs: opened.room_logs,
            group: Group::new(),
            group_bytes: 0,
            group_notes: 0,
            group_began: None,
            failed: None,
            begin_failed: None,
            waiters: Vec::new(),
            interval,
            status,
            metrics,
        };
        if let Some(error) = opened.failure {
            writer.note_begin_failure(&error);
            if !writer.log.has_file() {
                writer.note_failure(&error);
            }
        }
        writer.note_size(writer.live_bytes());
        std::thread::Builder::new().name("journal".to_owned()).spawn(move || writer.run(&messages))
    }

    fn run(mut self, messages: &Receiver<Message>) {
        loop {
            let message = self.wait(messages);
            if let Some((error, written)) = self.syncer.take_failure() {
                self.requeue(&error, written);
            }
            if self.handle(message).is_break() {
                return self.finish();
            }
        }
    }

    /// Writes what is left. A disk that fails at the end gets some more attempts.
    fn finish(&mut self) {
        for _ in 0..LAST_ATTEMPTS {
            self.commit();
            while self.syncer.is_busy() {
                if let Some((error, written)) = self.syncer.take_failure() {
                    self.requeue(&error, written);
                }
                std::thread::sleep(LAST_PAUSE / 100);
            }
            if self.failed.is_none() {
                return;
            }
            std::thread::sleep(LAST_PAUSE);
        }
    }

    fn handle(&mut self, message: Result<Message, RecvTimeoutError>) -> ControlFlow<()> {
        match message {
            Ok(Message::Entry(room, change)) => {
                self.status.queued.fetch_sub(1, Ordering::Relaxed);
                self.add(room, change);
                if self.group_bytes >= GROUP_MAX_BYTES {
                    self.commit();
                }
            }
            Ok(Message::Flush(done)) => {
                self.waiters.push(done);
                self.commit();
            }
            Ok(Message::Written(done)) => {
                self.waiters.push(done);
                if self.failed.is_some() {
                    self.answer();
                } else if self.group_began.is_none() {
                    self.commit();
                }
            }
            Err(RecvTimeoutError::Timeout) => self.commit(),
            Ok(Message::Stop) | Err(RecvTimeoutError::Disconnected) => return ControlFlow::Break(()),
        }
        ControlFlow::Continue(())
    }

    /// The next message, unless a group is due before. A group is gathered for a quarter of the promised interval only,
    /// because writing takes time too, and on a busy machine so does getting to it.
    fn wait(&self, messages: &Receiver<Message>) -> Result<Message, RecvTimeoutError> {
        let left = |from: Instant, wait: Duration| wait.saturating_sub(from.elapsed());
        let left = match (self.failed, self.group_began) {
            (Some(failed), _) => left(failed, RETRY_AFTER),
            (None, Some(began)) => left(began, self.interval / 4),
            // A sync under way may fail, and a new file may have to be begun, even without a message.
            (None, None) if self.syncer.is_busy() || self.begin_failed.is_some() => RETRY_AFTER,
            (None, None) => return messages.recv().map_err(|_| RecvTimeoutError::Disconnected),
        };
        // A due group is written, however many messages wait.
        if left.is_zero() { Err(RecvTimeoutError::Timeout) } else { messages.recv_timeout(left) }
    }

    fn add(&mut self, room: RoomId, change: Change) {
        let mut entries = Vec::new();
        if matches!(change, Change::Over) {
            if let Some(room_log) = self.room_logs.remove(&room) {
                push_entry(&mut entries, room, OVER, room_log.next, &[]);
            }
        } else {
            let room_log = self.room_logs.entry(room).or_default();
            let number = room_log.next;
            room_log.next = number.wrapping_add(1);
            match change {
                Change::Event(event) => {
                    room_log.events.extend_from_slice(&event);
                    push_entry(&mut entries, room, EVENT, number, &event);
                }
                Change::RoomSnapshot(snapshot) => {
                    room_log.snapshot = snapshot.to_bytes();
                    push_entry(&mut entries, room, SNAPSHOT, number, &room_log.snapshot);
                }
                Change::Whole(snapshot, events) => {
                    room_log.snapshot = snapshot.to_bytes();
                    room_log.events = events;
                    push_whole(&mut entries, room, room_log);
                }
                Change::Over => {}
            }
        }
        self.group_bytes += entries.len();
        self.group_notes += 1;
        self.group.entry(room).or_default().append(&mut entries);
        if self.failed.is_some() {
            self.forget_entries();
        }
        if self.group_began.is_none() {
            self.group_began = Some(Instant::now());
            self.note_group();
        }
    }

    /// Writes the group. After a failure, or when the file has grown too long, writes all rooms into a new file.
    fn commit(&mut self) {
        let live = self.live_bytes();
        let limit = COMPACT_ABOVE_BYTES + live * 3 / 2;
        let wants_file = match self.begin_failed {
            Some(failed) => failed.elapsed() >= BEGIN_AGAIN_AFTER || !self.log.has_file(),
            None => self.failed.is_some() || (self.log.file_bytes() > limit && !self.group.is_empty()),
        };
        let written = if wants_file && self.begin_file() { Ok(()) } else { self.append() };
        match written {
            Ok(()) => self.note_success(),
            Err(error) => self.note_failure(&error),
        }
        self.note_size(live);
    }

    /// Writes all rooms into a new file. Returns whether that succeeded.
    fn begin_file(&mut self) -> bool {
        if let Err(error) = self.log.begin_file(&self.room_logs) {
            // The new file may be in place all the same, with these entries.
            self.forget_entries();
            self.note_begin_failure(&error);
            return false;
        }
        let written = self.written();
        self.syncer.settle(written);
        if self.begin_failed.take().is_some() {
            log::warn!("the journal of live games has begun a new file again");
            self.status.update(|figures| figures.status.is_growing = false);
        }
        true
    }

    /// Appends the group to the present file.
    fn append(&mut self) -> io::Result<()> {
        for (&room, entries) in self.group.iter_mut().filter(|(_, entries)| entries.is_empty()) {
            match self.room_logs.get(&room) {
                Some(room_log) => push_whole(entries, room, room_log),
                None => push_entry(entries, room, OVER, 0, &[]),
            }
        }
        let file = self.log.append(&self.group).inspect_err(|_| self.forget_entries())?;
        // An earlier group may still be syncing, and waiters wait for that too.
        let is_busy = self.syncer.is_busy();
        if let Some(written) = self.written().filter(|written| written.notes > 0 || is_busy) {
            self.syncer.sync(&file, written);
        }
        Ok(())
    }

    /// Keeps the group's rooms only. Each is written whole then: the room logs have the entries.
    fn forget_entries(&mut self) {
        self.group.values_mut().for_each(Vec::clear);
        self.group_bytes = 0;
    }

    fn live_bytes(&self) -> u64 {
        self.room_logs.values().map(|room_log| (room_log.snapshot.len() + room_log.events.len()) as u64).sum()
    }

    fn note_size(&self, live: u64) {
        self.status.update(|figures| {
            figures.status.rooms = self.room_logs.len() as u64;
            figures.status.file_bytes = self.log.file_bytes();
            figures.status.live_bytes = live;
        });
    }

    /// Takes the group as written, with its waiters.
    fn written(&mut self) -> Option<Written> {
        let (notes, waiters) = (std::mem::take(&mut self.group_notes), std::mem::take(&mut self.waiters));
        let rooms = std::mem::take(&mut self.group).into_keys().collect();
        self.group_bytes = 0;
        let began = self.group_began.take();
        self.note_group();
        let began = began.unwrap_or_else(Instant::now);
        (notes > 0 || !waiters.is_empty()).then_some(Written { notes, rooms, began, waiters })
    }

    fn note_success(&mut self) {
        if self.failed.take().is_some() {
            log::warn!("the journal of live games is written again");
        }
        self.status.update(|figures| figures.status.is_failing = false);
    }

    fn note_failure(&mut self, error: &io::Error) {
        if self.failed.replace(Instant::now()).is_none() {
            log::error!("the journal of live games cannot be written: {error}; play goes on");
        }
        self.status.update(|figures| {
            figures.status.is_failing = true;
            figures.status.failures += 1;
        });
        self.metrics.journal_failures.inc();
        self.answer();
    }

    /// No new file can be begun. What happens is still appended to the old one, if there is any.
    fn note_begin_failure(&mut self, error: &io::Error) {
        if self.begin_failed.replace(Instant::now()).is_none() {
            log::error!("the journal of live games cannot begin a new file: {error}; it is tried again and again");
        }
        self.status.update(|figures| figures.status.is_growing = true);
        self.metrics.journal_failures.inc();
    }

    /// A written group did not reach the disk. It counts as unwritten again.
    fn requeue(&mut self, error: &io::Error, written: Written) {
        self.group.extend(written.rooms.into_iter().map(|room| (room, Vec::new())));
        self.forget_entries();
        self.group_notes += written.notes;
        self.group_began = Some(written.began);
        self.note_group();
        self.waiters.extend(written.waiters);
        self.note_failure(error);
    }

    fn note_group(&self) {
        self.status.update(|figures| figures.unwritten_since = self.group_began);
    }

    /// Answers all waiters: their notes are written, or writing them was tried.
    fn answer(&mut self) {
        self.waiters.clear();
    }
}
