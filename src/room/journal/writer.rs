//! The journal's writer: gathers notes for a moment and writes them as one frame.
//!
//! The writer keeps in memory what each room's entries add up to. With that it begins a new file when the old one has
//! grown too long for its rooms, and after any failure of the disk.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use super::status::Status;
use super::sync::{Syncer, Waiter, Written};
use crate::observe::Metrics;
use crate::protocol::RoomId;
use crate::room::journal_file::{EVENT, Log, OVER, RoomLog, SNAPSHOT, push_entry, push_whole};
use crate::room::{EventBytes, RoomSnapshot};

/// A group of this size is written at once.
const GROUP_MAX_BYTES: usize = 256 * 1024;
/// A new file begins when the old one exceeds one and a half times the size of its rooms by this much.
pub(super) const COMPACT_ABOVE_BYTES: u64 = 64 * 1024;
/// How long the writer waits after a failure before it tries again.
const RETRY_AFTER: Duration = Duration::from_secs(1);

pub(super) enum Message {
    Entry(RoomId, Change),
    /// Write everything now and answer.
    Flush(SyncSender<()>),
    /// Answer when everything so far is written.
    Written(oneshot::Sender<()>),
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
    room_logs: BTreeMap<RoomId, RoomLog>,
    /// Entries that are not written.
    group: Vec<u8>,
    group_notes: u64,
    /// When the first of them came; after a failure, when the first came that is not on disk.
    group_began: Option<Instant>,
    /// When a write failed. The next attempt begins a new file with all rooms.
    failed: Option<Instant>,
    /// Callers that wait for the group to be on disk.
    waiters: Vec<Waiter>,
    interval: Duration,
    status: Arc<Status>,
    metrics: Arc<Metrics>,
}

impl JournalWriter {
    /// Starts the syncing thread and the writer's own. The writer ends with the queue or with [`Message::Stop`].
    pub(super) fn start(
        (log, room_logs): (Log, BTreeMap<RoomId, RoomLog>),
        interval: Duration,
        status: Arc<Status>,
        metrics: Arc<Metrics>,
        messages: Receiver<Message>,
    ) -> io::Result<JoinHandle<()>> {
        let writer = Self {
            syncer: Syncer::start(Arc::clone(&status), Arc::clone(&metrics))?,
            log,
            room_logs,
            group: Vec::new(),
            group_notes: 0,
            group_began: None,
            failed: None,
            waiters: Vec::new(),
            interval,
            status,
            metrics,
        };
        std::thread::Builder::new().name("journal".to_owned()).spawn(move || writer.run(&messages))
    }

    fn run(mut self, messages: &Receiver<Message>) {
        loop {
            let message = self.wait(messages);
            if let Some((error, written)) = self.syncer.take_failure() {
                self.requeue(&error, written);
            }
            match message {
                Ok(Message::Entry(room, change)) => {
                    self.status.queued.fetch_sub(1, Ordering::Relaxed);
                    self.add(room, change);
                    if self.group.len() >= GROUP_MAX_BYTES {
                        self.commit();
                    }
                }
                Ok(Message::Flush(done)) => {
                    self.waiters.push(Waiter::Thread(done));
                    self.commit();
                }
                Ok(Message::Written(done)) => {
                    self.waiters.push(Waiter::Task(done));
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

    /// The next message, unless a group is due before. A group is gathered for a quarter of the promised interval only,
    /// because writing takes time too, and on a busy machine so does getting to it.
    fn wait(&self, messages: &Receiver<Message>) -> Result<Message, RecvTimeoutError> {
        let left = |from: Instant, wait: Duration| wait.saturating_sub(from.elapsed());
        let left = match (self.failed, self.group_began) {
            (Some(failed), _) => left(failed, RETRY_AFTER),
            (None, Some(began)) => left(began, self.interval / 4),
            // A sync under way may fail, and that needs handling even without a message.
            (None, None) if self.syncer.is_busy() => RETRY_AFTER,
            (None, None) => return messages.recv().map_err(|_| RecvTimeoutError::Disconnected),
        };
        // A due group is written, however many messages wait.
        if left.is_zero() { Err(RecvTimeoutError::Timeout) } else { messages.recv_timeout(left) }
    }

    fn add(&mut self, room: RoomId, change: Change) {
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
            self.note_group();
        }
        if self.failed.is_some() {
            // The room logs have the entry, and the next file begins with them.
            self.group.clear();
        }
    }

    /// Writes the group. After a failure, or when the file has grown too long, writes all rooms into a new file.
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
                // An earlier group may still be syncing, and waiters wait for that too.
                let is_busy = self.syncer.is_busy();
                match self.written() {
                    Some(written) if written.notes > 0 || is_busy => self.syncer.sync(&file, written),
                    Some(written) => written.waiters.into_iter().for_each(Waiter::answer),
                    None => {}
                }
            })
        };
        match result {
            Ok(()) => self.note_success(),
            Err(error) => self.note_failure(&error),
        }
        self.group.clear();
        self.status.update(|figures| {
            figures.status.rooms = self.room_logs.len() as u64;
            figures.status.file_bytes = self.log.file_bytes();
            figures.status.live_bytes = live;
        });
    }

    /// Takes the group as written, with its waiters.
    fn written(&mut self) -> Option<Written> {
        let (notes, waiters) = (std::mem::take(&mut self.group_notes), std::mem::take(&mut self.waiters));
        let began = self.group_began.take();
        self.note_group();
        let began = began.unwrap_or_else(Instant::now);
        (notes > 0 || !waiters.is_empty()).then_some(Written { notes, began, waiters })
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

    /// A written group did not reach the disk. It counts as unwritten again, and the next file begins with it.
    fn requeue(&mut self, error: &io::Error, written: Written) {
        self.group.clear();
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
        self.waiters.drain(..).for_each(Waiter::answer);
    }
}
