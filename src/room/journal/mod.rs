//! The journal of live games: what happens at the tables is queued for a writer, which writes it in groups.
//!
//! No table waits for the writer or touches a file: notes go into a bounded queue. `writer.rs` writes them in groups, and
//! `sync.rs` waits for the disk on another thread. `journal_file.rs` has the form of the files.

mod status;
mod sync;
mod writer;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::sync::mpsc::{SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::sync::oneshot;

use super::journal_file::{JournalError, Log, Opened, Recovered, damaged_files};
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
    folder: PathBuf,
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

    /// Opens the journal in `folder`, reads its content, and starts its writer on a new file. On a full disk it opens too, and
    /// its status tells.
    ///
    /// # Errors
    /// [`JournalError`] if another process uses it, a later version wrote it, or nothing can be written there.
    pub fn open(
        folder: &Path,
        options: &JournalOptions,
        metrics: Arc<Metrics>,
    ) -> Result<(Self, Recovered), JournalError> {
        let mut opened = Log::open(folder, options.ignored)?;
        let recovered = std::mem::take(&mut opened.recovered);
        let started = Self::start(folder, opened, options.interval, metrics);
        let journal = started.map_err(|error| JournalError::Io { folder: folder.to_owned(), error })?;
        Ok((journal, recovered))
    }

    fn start(folder: &Path, opened: Opened, interval: Duration, metrics: Arc<Metrics>) -> io::Result<Self> {
        let status = Arc::new(Status::default());
        let (notes, messages) = sync_channel(QUEUE_CAPACITY);
        let thread = JournalWriter::start(opened, interval, Arc::clone(&status), metrics, messages)?;
        let writer = Writer { folder: folder.to_owned(), notes, status, thread: Mutex::new(Some(thread)) };
        Ok(Self { writer: Some(Arc::new(writer)) })
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

    /// Damaged files of the journal that starts have set aside and that nobody has removed since. Reads the folder.
    #[must_use]
    pub fn damaged_files(&self) -> Vec<PathBuf> {
        self.writer.as_ref().map(|writer| damaged_files(&writer.folder)).unwrap_or_default()
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
            let (done, wait) = oneshot::channel();
            if writer.notes.send(Message::Flush(done)).is_ok() {
                // The writer answers, or has ended.
                wait.blocking_recv().ok();
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
        let writer = Writer { folder: PathBuf::new(), notes, status: Arc::default(), thread: Mutex::default() };
        (Self { writer: Some(Arc::new(writer)) }, UnreadQueue(messages))
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::time::Instant;

    use proptest::prelude::*;
    use rand::SeedableRng;
    use rand_pcg::Pcg64Mcg;
    use sha2::{Digest as _, Sha256};

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
        assert!(recovered.damaged_bytes > 0);
        let aside = damaged_files(folder.path());
        assert_eq!(fs::read(&aside[0]).unwrap(), bytes[..bytes.len() - 5], "the damaged file is kept as it was");
        for (_, events) in recovered.rooms {
            assert!(expected(40).starts_with(&events) && events.len() >= 2 * 33, "{}", events.len());
        }
    }

    /// Waits until the journal has that status, and keeps it busy meanwhile. Returns how many events it took.
    fn keep_busy(journal: &Journal, until: impl Fn(JournalStatus) -> bool) -> usize {
        let (mut events, deadline) = (0, Instant::now() + Duration::from_secs(60));
        while !until(journal.status().unwrap()) {
            assert!(Instant::now() < deadline, "{:?}", journal.status());
            events += (0..100).filter(|_| journal.note(RoomId::from_number(1), event(1))).count();
            std::thread::sleep(Duration::from_millis(1));
        }
        events
    }

    fn events_of_one_room(folder: &Path) -> usize {
        let (journal, found) = open(folder);
        journal.close();
        assert_eq!((found.rooms.len(), found.damaged_bytes), (1, 0));
        found.rooms[0].1.len() / 2
    }

    /// On a busy server the writer once never tried again after a failure of the disk.
    #[test]
    fn after_a_failure_the_writer_tries_again_however_busy_it_is() {
        let folder = tempfile::tempdir().unwrap();
        let mut opened = Log::open(folder.path(), false).unwrap();
        opened.log.fill_disk();
        let journal = Journal::start(folder.path(), opened, JournalOptions::default().interval, metrics()).unwrap();
        assert!(journal.resync(&room(1)));
        let mut noted = keep_busy(&journal, |status| status.is_failing);
        std::thread::sleep(Duration::from_millis(20));
        let lag = journal.status().unwrap().lag;
        assert!(lag >= Duration::from_millis(20), "{lag:?}");
        noted += keep_busy(&journal, |status| !status.is_failing);
        journal.flush();
        assert_eq!(journal.status().unwrap().lag, Duration::ZERO);
        journal.close();
        assert_eq!(events_of_one_room(folder.path()), noted);
    }

    /// When no new file could be begun, journaling once stopped altogether.
    #[test]
    fn where_no_new_file_can_be_begun_the_present_one_goes_on() {
        let folder = tempfile::tempdir().unwrap();
        let (journal, _) = open(folder.path());
        assert!(journal.resync(&room(1)));
        journal.flush();
        // A folder of this name blocks the next file, even for root.
        let obstacle = folder.path().join("0000000002.unfinished");
        fs::create_dir(&obstacle).unwrap();
        let mut noted = keep_busy(&journal, |status| status.is_growing);
        journal.flush();
        let status = journal.status().unwrap();
        assert!(!status.is_failing && status.lag == Duration::ZERO, "{status:?}");
        // A server that is killed now has everything.
        let found = Recovered::inspect(folder.path()).unwrap();
        assert_eq!((found.rooms[0].1.len(), found.damaged_bytes), (2 * noted, 0));
        fs::remove_dir(&obstacle).unwrap();
        noted += keep_busy(&journal, |status| !status.is_growing);
        journal.close();
        assert!(folder.path().join("0000000002.journal").exists());
        assert_eq!(events_of_one_room(folder.path()), noted);
        // The same at a start: the old file goes on.
        for number in 3..9 {
            fs::create_dir_all(folder.path().join(format!("{number:010}.unfinished"))).unwrap();
        }
        let (journal, recovered) = open(folder.path());
        assert_eq!(recovered.rooms.len(), 1);
        assert!(journal.status().unwrap().is_growing && journal.resync(&room(2)));
        journal.close();
        assert_eq!(Recovered::inspect(folder.path()).unwrap().rooms.len(), 2);
    }

    #[test]
    fn the_number_of_rooms_is_right_from_the_start() {
        let folder = tempfile::tempdir().unwrap();
        write_rooms(folder.path(), 5, 1);
        let (journal, _) = open(folder.path());
        assert_eq!(journal.status().unwrap().rooms, 5);
    }

    #[test]
    fn a_journal_of_a_later_version_is_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("0000000007.journal");
        let later = b"LJ2\n whatever a later version writes";
        fs::write(&path, later).unwrap();
        let refused = Journal::open(folder.path(), &JournalOptions::default(), metrics()).unwrap_err();
        assert!(matches!(refused, JournalError::LaterVersion { form: '2', .. }), "{refused}");
        assert_eq!(fs::read(&path).unwrap(), later);
        let options = JournalOptions { ignored: true, ..JournalOptions::default() };
        let (journal, recovered) = Journal::open(folder.path(), &options, metrics()).unwrap();
        assert_eq!((recovered.rooms.len(), recovered.damaged_bytes), (0, 0));
        assert_eq!(journal.damaged_files(), [] as [PathBuf; 0]);
        journal.close();
        let names = fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().path());
        let aside = names.filter(|path| path.extension().is_some_and(|extension| extension == "aside"));
        assert_eq!(aside.map(|path| fs::read(path).unwrap()).collect::<Vec<_>>(), [later]);
    }

    /// The journal of a server that was killed, from before rooms had frames of their own.
    #[test]
    fn the_golden_journal_of_version_0_1_comes_back_whole() {
        let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/golden/journal-1");
        let found = Recovered::inspect(&golden.join("journal")).unwrap();
        assert!(found.damaged_bytes == 0 && found.broken.is_empty(), "{found:?}");
        let mut lines = String::new();
        for (snapshot, events) in &found.rooms {
            let (rng, now) = (Pcg64Mcg::seed_from_u64(1), Time::from_unix_ms(1_800_000_000_000));
            let room = Room::restore(snapshot, events, rng, Arc::default(), now).unwrap();
            let (host, hash) = (room.summary().host_name, hex::encode(Sha256::digest(events)));
            lines.push_str(&format!("{} {host} {} {} {hash}\n", room.id(), room.stage().name(), events.len()));
        }
        assert_eq!(lines, fs::read_to_string(golden.join("rooms.txt")).unwrap());
    }

    /// One flipped bit once took all of 300 rooms. `LIAP_TEST_FLIPS` is how many are tried on each of two files.
    #[test]
    fn a_flipped_bit_costs_one_room_at_most_and_is_told() {
        let flips = std::env::var("LIAP_TEST_FLIPS").map_or(100, |flips| flips.parse().unwrap());
        let folder = tempfile::tempdir().unwrap();
        write_rooms(folder.path(), 300, 0);
        let mut rng = Pcg64Mcg::seed_from_u64(5);
        // The file that was appended to, and then the one that began with all rooms.
        for began_whole in [false, true] {
            if began_whole {
                open(folder.path()).0.close();
            }
            let (_, path) = files(folder.path()).unwrap().pop().unwrap();
            let whole = fs::read(&path).unwrap();
            for _ in 0..flips {
                let (place, bit) = (rng.random_range(0..whole.len()), rng.random_range(0..8));
                let mut bytes = whole.clone();
                bytes[place] ^= 1 << bit;
                fs::write(&path, &bytes).unwrap();
                let found = Recovered::inspect(folder.path()).unwrap();
                let lost = 300 - found.rooms.len();
                assert!(lost <= 1 && found.damaged_bytes > 0, "{lost} rooms by bit {bit} of byte {place}");
                assert!(!began_whole || found.broken.len() == lost, "the lost room is named");
                let is_right = |snapshot: &RoomSnapshot| *snapshot == room(snapshot.room_id().number()).snapshot();
                assert!(found.rooms.iter().all(|(snapshot, _)| is_right(snapshot)));
            }
            fs::write(&path, &whole).unwrap();
        }
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
