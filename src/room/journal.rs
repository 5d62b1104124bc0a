//! Live games survive: what happens at the tables is handed to a writer, which commits it in groups.
//!
//! Nothing at a table waits for it or touches a file: a note goes into a bounded queue. The writer's thread gathers notes
//! for a moment, writes them as one frame and syncs. Beside that it keeps, in memory, what each room's entries come to,
//! so that it can begin a new file whenever the old one has grown beyond what its rooms are worth, and after any
//! failure of the disk.
//!
//! A file is a row of frames: `LJ1\n`, length, CRC-32, entries. An entry is: room (3 bytes), kind, number of the entry
//! within its room, length, bytes. A room whose numbers have a gap is not whole, and does not come back; all others do.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::image::{Image, Note};
use super::{JournalOptions, Room};
use crate::protocol::RoomId;

/// Notes that may wait for the writer. A table that finds the queue full tells everything again with its next note.
const QUEUE_CAPACITY: usize = 16 * 1024;
/// A group is written at the latest when it has so many bytes.
const GROUP_MAX_BYTES: usize = 256 * 1024;
/// No frame is larger than this; one that says so is damaged.
const FRAME_MAX_BYTES: usize = 16 * 1024 * 1024;
/// A new file is begun when the old one has more than this beyond one and a half times what its rooms are worth.
const COMPACT_ABOVE_BYTES: u64 = 64 * 1024;
/// How long the writer waits after a failure before it tries again.
const RETRY_AFTER: Duration = Duration::from_secs(1);
const MAGIC: [u8; 4] = *b"LJ1\n";
const HEADER_BYTES: usize = 12;

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

#[derive(Debug, Default)]
struct Status {
    is_failing: AtomicBool,
    failures: AtomicU64,
    commits: AtomicU64,
    rooms: AtomicU64,
    file_bytes: AtomicU64,
    live_bytes: AtomicU64,
    queued: AtomicU64,
    overflows: AtomicU64,
    /// How long the last group took from its first note to the disk, in microseconds.
    lag_us: AtomicU64,
}

/// How the journal is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
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
    /// From the first note of the last group to the disk.
    pub lag: Duration,
}

/// Why the journal cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// Another process has it.
    #[error("the journal in {0} is in use by another process")]
    InUse(PathBuf),
    /// The folder or a file in it cannot be used.
    #[error("the journal in {folder} cannot be used: {error}")]
    Io {
        /// Where it lies.
        folder: PathBuf,
        /// What the system says.
        error: io::Error,
    },
}

/// What a room's entries come to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Account {
    /// Number of the next entry.
    next: u32,
    image: Vec<u8>,
    events: Vec<u8>,
}

/// What was found when the journal was opened.
#[derive(Debug, Default)]
pub struct Recovered {
    /// Rooms whose entries are whole: image and events.
    pub rooms: Vec<(Image, Vec<u8>)>,
    /// Rooms that are not, and why.
    pub broken: Vec<(RoomId, String)>,
    /// Bytes that could not be read: a torn end after a crash, or damage.
    pub damaged_bytes: u64,
    /// Where damaged files were set aside.
    pub set_aside: Vec<PathBuf>,
}

enum Message {
    Entry(RoomId, Change),
    /// Write everything now and say so.
    Flush(SyncSender<()>),
    Stop,
}

enum Change {
    Image(Box<Image>),
    Event(super::EventBytes),
    /// Everything again, after a gap.
    Whole(Box<Image>, Vec<u8>),
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
    pub fn open(folder: &Path, options: &JournalOptions) -> Result<(Self, Recovered), JournalError> {
        let at = |error| JournalError::Io { folder: folder.to_owned(), error };
        fs::create_dir_all(folder).map_err(at)?;
        let lock = File::options().create(true).truncate(false).write(true).open(folder.join("lock")).map_err(at)?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(fs::TryLockError::WouldBlock) => return Err(JournalError::InUse(folder.to_owned())),
            Err(fs::TryLockError::Error(error)) => return Err(at(error)),
        }
        let (accounts, recovered, last) = read_folder(folder).map_err(at)?;
        let mut log = Log { folder: folder.to_owned(), number: last, file: None, file_bytes: 0, _lock: lock };
        log.begin_file(&accounts).map_err(at)?;
        let status = Arc::new(Status::default());
        let (notes, messages) = sync_channel(QUEUE_CAPACITY);
        let committer = Committer {
            log,
            accounts,
            group: Vec::new(),
            group_began: None,
            needs_rewrite: false,
            interval: options.interval,
            status: Arc::clone(&status),
        };
        let thread = std::thread::Builder::new()
            .name("journal".to_owned())
            .spawn(move || committer.run(&messages))
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
                Note::Image(image) => Change::Image(image),
                Note::Event(event) => Change::Event(event),
            },
        )
    }

    /// Tells everything about a room.
    #[must_use]
    pub fn retell(&self, room: &Room) -> bool {
        let image = room.image();
        self.send(image.room_id(), Change::Whole(Box::new(image), room.events().to_vec()))
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
            lag: Duration::from_micros(load(&status.lag_us)),
        })
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

/// The writer's thread.
struct Committer {
    log: Log,
    accounts: BTreeMap<RoomId, Account>,
    /// Entries that are not written yet.
    group: Vec<u8>,
    group_began: Option<Instant>,
    /// Something could not be written: the next attempt begins a new file with everything.
    needs_rewrite: bool,
    interval: Duration,
    status: Arc<Status>,
}

impl Committer {
    fn run(mut self, messages: &Receiver<Message>) {
        loop {
            match self.wait(messages) {
                Ok(Message::Entry(room, change)) => {
                    self.status.queued.fetch_sub(1, Ordering::Relaxed);
                    self.take(room, change);
                    if self.group.len() >= GROUP_MAX_BYTES {
                        self.commit();
                    }
                }
                Ok(Message::Flush(done)) => {
                    self.commit();
                    // Whoever asked may have gone.
                    done.send(()).ok();
                }
                Err(RecvTimeoutError::Timeout) => self.commit(),
                Ok(Message::Stop) | Err(RecvTimeoutError::Disconnected) => return self.commit(),
            }
        }
    }

    /// The next message, unless a group is due before. Writing takes a while itself, so a group is gathered for half of
    /// the promised time.
    fn wait(&self, messages: &Receiver<Message>) -> Result<Message, RecvTimeoutError> {
        match self.group_began {
            _ if self.needs_rewrite => messages.recv_timeout(RETRY_AFTER),
            Some(began) => messages.recv_timeout((self.interval / 2).saturating_sub(began.elapsed())),
            None => messages.recv().map_err(|_| RecvTimeoutError::Disconnected),
        }
    }

    fn take(&mut self, room: RoomId, change: Change) {
        if matches!(change, Change::Over) {
            if let Some(account) = self.accounts.remove(&room) {
                push_entry(&mut self.group, room, OVER, account.next, &[]);
            }
        } else {
            let account = self.accounts.entry(room).or_default();
            let number = account.next;
            account.next = number.wrapping_add(1);
            match change {
                Change::Event(event) => {
                    account.events.extend_from_slice(&event);
                    push_entry(&mut self.group, room, EVENT, number, &event);
                }
                Change::Image(image) => {
                    account.image = image.to_bytes();
                    push_entry(&mut self.group, room, IMAGE, number, &account.image);
                }
                Change::Whole(image, events) => {
                    account.image = image.to_bytes();
                    account.events = events;
                    push_whole(&mut self.group, room, account);
                }
                Change::Over => {}
            }
        }
        self.group_began.get_or_insert_with(Instant::now);
    }

    /// Writes what is gathered, or, after a failure or when the file has grown too long, everything into a new file.
    fn commit(&mut self) {
        let live: u64 = self.accounts.values().map(|account| (account.image.len() + account.events.len()) as u64).sum();
        let too_long = self.log.file_bytes > COMPACT_ABOVE_BYTES + live + live / 2;
        let result = if self.needs_rewrite || (too_long && !self.group.is_empty()) {
            self.log.begin_file(&self.accounts)
        } else {
            self.log.append(&self.group)
        };
        match result {
            Ok(()) => {
                if std::mem::take(&mut self.needs_rewrite) {
                    log::warn!("the journal of live games is written again");
                }
                self.status.commits.fetch_add(1, Ordering::Relaxed);
                let lag = self.group_began.map_or(Duration::ZERO, |began| began.elapsed());
                self.status.lag_us.store(u64::try_from(lag.as_micros()).unwrap_or(u64::MAX), Ordering::Relaxed);
            }
            Err(error) => {
                if !self.needs_rewrite {
                    log::error!("the journal of live games cannot be written: {error}; play goes on");
                }
                self.needs_rewrite = true;
                self.status.failures.fetch_add(1, Ordering::Relaxed);
            }
        }
        self.group.clear();
        self.group_began = None;
        self.status.is_failing.store(self.needs_rewrite, Ordering::Relaxed);
        self.status.rooms.store(self.accounts.len() as u64, Ordering::Relaxed);
        self.status.file_bytes.store(self.log.file_bytes, Ordering::Relaxed);
        self.status.live_bytes.store(live, Ordering::Relaxed);
    }
}

/// The files.
struct Log {
    folder: PathBuf,
    /// Number of the present file.
    number: u64,
    file: Option<File>,
    file_bytes: u64,
    /// Held as long as the process lives.
    _lock: File,
}

impl Log {
    fn append(&mut self, entries: &[u8]) -> io::Result<()> {
        if entries.is_empty() {
            return Ok(());
        }
        let file = self.file.as_mut().ok_or_else(|| io::Error::other("the journal has no file"))?;
        let frame = frame(entries);
        file.write_all(&frame)?;
        file.sync_data()?;
        self.file_bytes += frame.len() as u64;
        Ok(())
    }

    /// Begins a new file that holds all rooms, and removes the older ones once it is safely there.
    fn begin_file(&mut self, accounts: &BTreeMap<RoomId, Account>) -> io::Result<()> {
        let number = self.number + 1;
        let path = self.folder.join(file_name(number));
        let unfinished = path.with_extension("unfinished");
        let mut file = File::create(&unfinished)?;
        let (mut entries, mut bytes) = (Vec::new(), 0);
        for (&room, account) in accounts {
            push_whole(&mut entries, room, account);
            if entries.len() >= GROUP_MAX_BYTES {
                bytes += write_frame(&mut file, &mut entries)?;
            }
        }
        bytes += write_frame(&mut file, &mut entries)?;
        file.sync_all()?;
        fs::rename(&unfinished, &path)?;
        File::open(&self.folder)?.sync_all()?;
        for (older, path) in files(&self.folder)? {
            if older < number {
                fs::remove_file(path)?;
            }
        }
        (self.number, self.file, self.file_bytes) = (number, Some(file), bytes);
        Ok(())
    }
}

fn write_frame(file: &mut File, entries: &mut Vec<u8>) -> io::Result<u64> {
    if entries.is_empty() {
        return Ok(0);
    }
    let frame = frame(entries);
    file.write_all(&frame)?;
    entries.clear();
    Ok(frame.len() as u64)
}

fn frame(entries: &[u8]) -> Vec<u8> {
    let mut frame = Vec::with_capacity(HEADER_BYTES + entries.len());
    frame.extend_from_slice(&MAGIC);
    frame.extend_from_slice(&u32::try_from(entries.len()).unwrap_or(u32::MAX).to_le_bytes());
    frame.extend_from_slice(&crc32fast::hash(entries).to_le_bytes());
    frame.extend_from_slice(entries);
    frame
}

const IMAGE: u8 = 0;
const EVENT: u8 = 1;
/// Image and events together: two entries of this kind, the image first.
const WHOLE_IMAGE: u8 = 2;
const WHOLE_EVENTS: u8 = 3;
const OVER: u8 = 4;

fn push_entry(entries: &mut Vec<u8>, room: RoomId, kind: u8, number: u32, bytes: &[u8]) {
    let [a, b, c, _] = room.number().to_le_bytes();
    entries.extend_from_slice(&[a, b, c, kind]);
    push_varint(entries, number);
    push_varint(entries, u32::try_from(bytes.len()).unwrap_or(u32::MAX));
    entries.extend_from_slice(bytes);
}

/// Everything about a room; the next entry's number is `account.next`.
fn push_whole(entries: &mut Vec<u8>, room: RoomId, account: &Account) {
    let number = account.next.wrapping_sub(1);
    push_entry(entries, room, WHOLE_IMAGE, number, &account.image);
    push_entry(entries, room, WHOLE_EVENTS, number, &account.events);
}

fn push_varint(bytes: &mut Vec<u8>, mut value: u32) {
    while value >= 0x80 {
        let [low, ..] = value.to_le_bytes();
        bytes.push(low | 0x80);
        value >>= 7;
    }
    let [low, ..] = value.to_le_bytes();
    bytes.push(low);
}

fn file_name(number: u64) -> String {
    format!("{number:010}.journal")
}

/// The journal's files and their numbers, oldest first.
fn files(folder: &Path) -> io::Result<Vec<(u64, PathBuf)>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let number = path.file_name().and_then(|name| name.to_str()?.strip_suffix(".journal")?.parse().ok());
        if let Some(number) = number {
            files.push((number, path));
        }
    }
    files.sort_unstable();
    Ok(files)
}

/// Reads all files and sets damaged ones aside. Returns what the whole rooms come to and the last file's number.
fn read_folder(folder: &Path) -> io::Result<(BTreeMap<RoomId, Account>, Recovered, u64)> {
    let mut reading = Reading::default();
    let mut recovered = Recovered::default();
    let mut last = 0;
    let mut paths = Vec::new();
    for (number, path) in files(folder)? {
        let damaged = reading.read_file(&fs::read(&path)?);
        recovered.damaged_bytes += damaged;
        last = number;
        paths.push(path);
    }
    let mut accounts = BTreeMap::new();
    for (room, found) in reading.rooms {
        let image = match &found.gap {
            Some(gap) => Err(gap.clone()),
            None => Image::from_bytes(&found.account.image).map_err(|error| error.to_string()),
        };
        match image {
            Ok(image) if image.room_id() == room => {
                recovered.rooms.push((image, found.account.events.clone()));
                accounts.insert(room, found.account);
            }
            Ok(_) => recovered.broken.push((room, "its image is of another room".to_owned())),
            Err(reason) => recovered.broken.push((room, reason)),
        }
    }
    if recovered.damaged_bytes > 0 || !recovered.broken.is_empty() {
        let stamp = jiff::Timestamp::now().strftime("%Y%m%dT%H%M%SZ").to_string();
        for path in paths {
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or("journal");
            let aside = folder.join(format!("damaged-{stamp}-{name}.aside"));
            // A copy: the original goes only when the new file is safely there.
            fs::copy(&path, &aside)?;
            recovered.set_aside.push(aside);
        }
    }
    Ok((accounts, recovered, last))
}

/// What has been read so far.
#[derive(Default)]
struct Reading {
    rooms: BTreeMap<RoomId, Found>,
}

#[derive(Default)]
struct Found {
    account: Account,
    /// Why the room is not whole.
    gap: Option<String>,
}

impl Reading {
    /// Reads the frames of a file, searching on behind damage. Returns how many bytes were in no frame.
    fn read_file(&mut self, mut bytes: &[u8]) -> u64 {
        let mut damaged = 0;
        while !bytes.is_empty() {
            if let Some((entries, rest)) = next_frame(bytes) {
                self.read_entries(entries);
                bytes = rest;
            } else {
                damaged += 1;
                bytes = bytes.get(1..).unwrap_or_default();
            }
        }
        damaged
    }

    fn read_entries(&mut self, mut entries: &[u8]) {
        // The checksum held, so entries break off only if we wrote them so.
        while let Some((entry, rest)) = next_entry(entries) {
            self.read_entry(&entry);
            entries = rest;
        }
    }

    fn read_entry(&mut self, entry: &Entry<'_>) {
        if entry.kind == OVER {
            self.rooms.remove(&entry.room);
            return;
        }
        let is_known = self.rooms.contains_key(&entry.room);
        let found = self.rooms.entry(entry.room).or_default();
        let account = &mut found.account;
        let continues = is_known && account.next == entry.number;
        account.next = entry.number.wrapping_add(1);
        match entry.kind {
            WHOLE_IMAGE => {
                account.image = entry.bytes.to_vec();
                found.gap = Some("its events are missing".to_owned());
            }
            WHOLE_EVENTS => {
                account.events = entry.bytes.to_vec();
                found.gap = None;
            }
            IMAGE => {
                account.image = entry.bytes.to_vec();
                // The first image of a room begins it; any other has to continue it.
                if entry.number != 0 && !continues {
                    found.gap.get_or_insert_with(|| format!("entries before number {} are missing", entry.number));
                }
                if entry.number == 0 {
                    found.gap = None;
                    account.events.clear();
                }
            }
            EVENT => {
                account.events.extend_from_slice(entry.bytes);
                if !continues {
                    found.gap.get_or_insert_with(|| format!("entries before number {} are missing", entry.number));
                }
            }
            kind => found.gap = Some(format!("it has an entry of unknown kind {kind}")),
        }
    }
}

struct Entry<'a> {
    room: RoomId,
    kind: u8,
    number: u32,
    bytes: &'a [u8],
}

/// The entries of the frame at the beginning of `bytes`, if there is a whole one, and what follows it.
fn next_frame(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (magic, rest) = bytes.split_first_chunk::<4>()?;
    let (length, rest) = rest.split_first_chunk::<4>()?;
    let (checksum, rest) = rest.split_first_chunk::<4>()?;
    let length = u32::from_le_bytes(*length) as usize;
    if *magic != MAGIC || length > FRAME_MAX_BYTES {
        return None;
    }
    let (entries, rest) = rest.split_at_checked(length)?;
    (crc32fast::hash(entries) == u32::from_le_bytes(*checksum)).then_some((entries, rest))
}

fn next_entry(bytes: &[u8]) -> Option<(Entry<'_>, &[u8])> {
    let (&[a, b, c, kind], rest) = bytes.split_first_chunk::<4>()?;
    let (number, rest) = read_varint(rest)?;
    let (length, rest) = read_varint(rest)?;
    let (bytes, rest) = rest.split_at_checked(length as usize)?;
    Some((Entry { room: RoomId::from_number(u32::from_le_bytes([a, b, c, 0])), kind, number, bytes }, rest))
}

fn read_varint(bytes: &[u8]) -> Option<(u32, &[u8])> {
    let mut value = 0_u32;
    for (place, &byte) in bytes.iter().enumerate().take(5) {
        value |= u32::from(byte & 0x7F) << (7 * place);
        if byte & 0x80 == 0 {
            return Some((value, bytes.get(place + 1..)?));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use proptest::prelude::*;
    use rand::SeedableRng;
    use rand_pcg::Pcg64Mcg;

    use super::super::{Newcomer, Options, Room, Time};
    use super::*;
    use crate::game::ServerSeed;
    use crate::protocol::SessionKey;

    fn room(number: u32) -> Room {
        let host = Newcomer {
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
        Journal::open(folder, &JournalOptions::default()).unwrap()
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
            for (image, events) in &recovered.rooms {
                assert_eq!(*image, room(image.room_id().number()).image());
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
        assert!(matches!(Journal::open(folder.path(), &JournalOptions::default()), Err(JournalError::InUse(_))));
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
            for (image, events) in recovered.rooms {
                prop_assert_eq!(&image, &room(image.room_id().number()).image());
                prop_assert!(expected(40).starts_with(&events), "a prefix of what happened, never anything else");
            }
        }

        #[test]
        fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
            Reading::default().read_file(&bytes);
            Reading::default().read_entries(&bytes);
            Image::from_bytes(&bytes).ok();
        }
    }
}
