//! The journal of live games: what happens at the tables is queued for a writer, which writes it in groups.
//!
//! No table waits for the writer or touches a file: notes go into a bounded queue. `writer.rs` writes them in groups, and
//! `sync.rs` waits for the disk on another thread. `journal_file.rs` has the form of the files.

mod status;
mod sync;
mod writer;

use std::path::Path;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use tokio::sync::oneshot;

use super::journal_file::{JournalError, Log, Recovered};
use super::{JournalOptions, Note, Room};
use crate::observe::Metrics;
use crate::protocol::RoomId;

pub use status::JournalStatus;

use status::Status;
use writer::{Change, JournalWriter, Message};

/// How many notes may wait for the writer. A room that finds the queue full sends its whole state soon, or with its next
/// note.
const QUEUE_CAPACITY: usize = 16 * 1024;

/// The journal of live games. Clones are the same journal; one that is switched off drops all notes.
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

impl Journal {
    /// A journal that stores nothing.
    #[must_use]
    pub fn off() -> Self {
        Self::default()
    }

    /// Opens the journal in `folder`, reads its content, and starts its writer on a new file.
    ///
    /// # Errors
    /// [`JournalError`] if another process uses it, or nothing can be written there.
    pub fn open(
        folder: &Path,
        options: &JournalOptions,
        metrics: Arc<Metrics>,
    ) -> Result<(Self, Recovered), JournalError> {
        let (log, room_logs, recovered) = Log::open(folder)?;
        let status = Arc::new(Status::default());
        let (notes, messages) = sync_channel(QUEUE_CAPACITY);
        let writer = JournalWriter::start((log, room_logs), options.interval, Arc::clone(&status), metrics, messages);
        let thread = writer.map_err(|error| JournalError::Io { folder: folder.to_owned(), error })?;
        let writer = Writer { notes, status, thread: Mutex::new(Some(thread)) };
        Ok((Self { writer: Some(Arc::new(writer)) }, recovered))
    }

    /// Queues a note without waiting. Returns `false` if the queue is full; then the whole room has to be sent
    /// ([`resync`](Self::resync)).
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

    /// Queues a whole room: its snapshot and all its events. Returns `false` if the queue is full.
    #[must_use]
    pub fn resync(&self, room: &Room) -> bool {
        let snapshot = room.snapshot();
        self.send(snapshot.room_id(), Change::Whole(Box::new(snapshot), room.events().to_vec()))
    }

    /// Removes a room that has ended. Returns `false` if the queue is full.
    #[must_use]
    pub fn remove(&self, room: RoomId) -> bool {
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
            // The server has ended; nothing more is stored.
            Err(TrySendError::Disconnected(_)) => true,
        }
    }

    /// Whether the journal stores anything.
    #[must_use]
    pub const fn is_on(&self) -> bool {
        self.writer.is_some()
    }

    /// How the journal is doing; `None` when it is switched off.
    #[must_use]
    pub fn status(&self) -> Option<JournalStatus> {
        self.writer.as_ref().map(|writer| writer.status.read())
    }

    /// Resolves when everything queued so far is on disk, or writing it was tried. Does not make the writer write sooner.
    pub fn written(&self) -> impl Future<Output = ()> + Send + use<> {
        let (done, written) = oneshot::channel();
        // If the queue is full, nothing is awaited: the room will send its whole state anyway.
        let is_queued =
            self.writer.as_ref().is_some_and(|writer| writer.notes.try_send(Message::Written(done)).is_ok());
        async move {
            if is_queued {
                // The writer answers, or has ended.
                written.await.ok();
            }
        }
    }

    /// Waits until everything queued so far is on disk, or writing it was tried. Blocks: not for async threads.
    pub fn flush(&self) {
        if let Some(writer) = &self.writer {
            let (done, wait) = sync_channel(1);
            if writer.notes.send(Message::Flush(done)).is_ok() {
                // The writer answers, or has ended.
                wait.recv().ok();
            }
        }
    }

    /// Writes what is queued and ends the writer. Blocks: not for async threads.
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

/// A queue that only a test reads.
#[cfg(test)]
#[derive(Debug)]
pub(super) struct UnreadQueue(std::sync::mpsc::Receiver<Message>);

#[cfg(test)]
impl UnreadQueue {
    /// Takes the oldest entry: its room, and the snapshot if it is a whole room.
    pub(super) fn take(&self) -> Option<(RoomId, Option<super::RoomSnapshot>)> {
        match self.0.try_recv().ok()? {
            Message::Entry(room, Change::Whole(snapshot, _)) => Some((room, Some(*snapshot))),
            Message::Entry(room, _) => Some((room, None)),
            Message::Flush(_) | Message::Written(_) | Message::Stop => self.take(),
        }
    }
}

#[cfg(test)]
impl Journal {
    /// A journal without a writer, whose queue holds `capacity` entries.
    pub(super) fn unread(capacity: usize) -> (Self, UnreadQueue) {
        let (notes, messages) = sync_channel(capacity);
        let writer = Writer { notes, status: Arc::default(), thread: Mutex::default() };
        (Self { writer: Some(Arc::new(writer)) }, UnreadQueue(messages))
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::time::{Duration, Instant};

    use proptest::prelude::*;
    use rand::SeedableRng;
    use rand_pcg::Pcg64Mcg;

    use super::writer::COMPACT_ABOVE_BYTES;
    use super::*;
    use crate::game::ServerSeed;
    use crate::protocol::SessionKey;
    use crate::room::journal_file::{Reading, files};
    use crate::room::{EventBytes, JoinRequest, Options, RoomSnapshot, Time};

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
        Note::Event(EventBytes::from_iter([byte, byte]))
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
            assert!(journal.resync(&room(number)));
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
    fn noted_rooms_and_events_are_recovered() {
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
        assert!(journal.remove(RoomId::from_number(3)));
        journal.close();
        assert_eq!(open(folder.path()).1.rooms.len(), 4);
    }

    #[test]
    fn a_second_process_cannot_open_the_journal() {
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
            assert!(journal.resync(&room(number)));
            for byte in 0..50 {
                assert!(journal.note(RoomId::from_number(number), event(byte)));
            }
            journal.flush();
            assert!(journal.remove(RoomId::from_number(number)));
        }
        journal.flush();
        let status = journal.status().unwrap();
        assert_eq!(status.rooms, 0);
        assert!(status.file_bytes < COMPACT_ABOVE_BYTES + 4_096, "{status:?}");
        journal.close();
    }

    #[test]
    fn a_torn_end_loses_only_the_torn_entries() {
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

    /// On a busy server the writer once never tried again after a failure of the disk.
    #[test]
    fn after_a_failure_the_writer_tries_again_however_busy_it_is() {
        let folder = tempfile::tempdir().unwrap();
        let (journal, _) = open(folder.path());
        assert!(journal.resync(&room(1)));
        journal.flush();
        // A folder of this name blocks the next file, even for root.
        let (_, path) = files(folder.path()).unwrap().pop().unwrap();
        let obstacle = folder.path().join("0000000002.unfinished");
        fs::create_dir(&obstacle).unwrap();
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
        fs::remove_dir(&obstacle).unwrap();
        noted += until(false);
        journal.flush();
        assert_eq!(journal.status().unwrap().lag, Duration::ZERO);
        journal.close();
        let events = open(folder.path()).1.rooms.pop().unwrap().1;
        assert_eq!(events.len(), 2 * noted);
    }

    /// A finished room was once restored from the outdated file of an interrupted compaction.
    #[test]
    fn only_the_newest_file_counts() {
        let folder = tempfile::tempdir().unwrap();
        write_rooms(folder.path(), 3, 4);
        let (_, path) = files(folder.path()).unwrap().pop().unwrap();
        let older = fs::read(&path).unwrap();
        let (journal, _) = open(folder.path());
        assert!(journal.remove(RoomId::from_number(2)));
        journal.close();
        open(folder.path()).0.close();
        fs::write(&path, older).unwrap();
        let (journal, recovered) = open(folder.path());
        journal.close();
        let rooms = recovered.rooms;
        assert_eq!(rooms.iter().map(|(snapshot, _)| snapshot.room_id().number()).collect::<Vec<_>>(), [1, 3]);
    }

    #[tokio::test]
    async fn written_resolves_when_notes_are_written() {
        let folder = tempfile::tempdir().unwrap();
        let (journal, _) = open(folder.path());
        // Nothing waits.
        journal.written().await;
        assert!(journal.resync(&room(1)));
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
        fn damage_is_noticed_and_loses_only_the_damaged_rooms(at in any::<prop::sample::Index>(), flip in 1_u8..) {
            let folder = tempfile::tempdir().unwrap();
            write_rooms(folder.path(), 4, 40);
            let (_, path) = files(folder.path()).unwrap().pop().unwrap();
            let mut bytes = fs::read(&path).unwrap();
            let place = at.index(bytes.len());
            bytes[place] ^= flip;
            fs::write(&path, &bytes).unwrap();
            let (journal, recovered) = open(folder.path());
            journal.close();
            prop_assert!(recovered.damaged_bytes > 0, "every byte has a checksum");
            for (snapshot, events) in recovered.rooms {
                prop_assert_eq!(&snapshot, &room(snapshot.room_id().number()).snapshot());
                prop_assert!(expected(40).starts_with(&events), "a prefix of the events, never anything else");
            }
        }

        #[test]
        fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
            Reading::default().read_file(&bytes);
            Reading::default().read_entries(&bytes);
            RoomSnapshot::from_bytes(&bytes).ok();
        }
    }
}
