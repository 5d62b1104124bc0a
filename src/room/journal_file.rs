//! The files of the journal: their form, and what is recovered from them.
//!
//! A file is a sequence of frames: `LJ1\n`, length, CRC-32, entries. An entry is: room (3 bytes), kind, number of the entry
//! within its room, length, bytes. All entries of a frame are of one room, so damage to a frame costs that room only. The
//! exception is the first frame of a file: it announces every room that follows, so that a lost one is missed by name. A room
//! whose entries have a gap is not restored; all others are.
//!
//! Files of earlier versions have entries of many rooms in a frame, and no first frame like this. They are read as well.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::os::unix::fs::{FileExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::snapshot::RoomSnapshot;
use crate::disk::{FolderLock, LockError, Stretch, push_varint, read_varint, stamp, sync_folder, walk};
use crate::protocol::RoomId;

/// The largest frame. A header that names a larger one is damaged.
const FRAME_MAX_BYTES: usize = 16 * 1024 * 1024;
/// How much is written at once when a file begins.
const BUFFER_BYTES: usize = 256 * 1024;
const MAGIC: [u8; 4] = *b"LJ1\n";
const HEADER_BYTES: usize = 12;

/// Why the journal cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// Another process uses it.
    #[error("the journal in {0} is in use by another process")]
    InUse(PathBuf),
    /// A later version of the program wrote it.
    #[error(
        "{path} was written by a later version of Liap (form {form} of the journal). Start that version again, or run \
         `liap serve --ignore-journal`: it keeps the journal aside and starts without its games"
    )]
    LaterVersion {
        /// The file.
        path: PathBuf,
        /// The number of its form.
        form: char,
    },
    /// The folder or a file in it cannot be used.
    #[error("the journal in {folder} cannot be used: {error}")]
    Io {
        /// The folder.
        folder: PathBuf,
        /// The error of the system.
        error: io::Error,
    },
}

/// What a room's entries add up to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct RoomLog {
    /// Number of the next entry.
    pub(super) next: u32,
    pub(super) snapshot: Vec<u8>,
    pub(super) events: Vec<u8>,
}

/// Every room of the journal.
pub(super) type RoomLogs = BTreeMap<RoomId, RoomLog>;
/// Entries that are to be written, by room.
pub(super) type Group = BTreeMap<RoomId, Vec<u8>>;

/// What was found when the journal was opened.
#[derive(Debug, Default)]
pub struct Recovered {
    /// Complete rooms: snapshot and events.
    pub rooms: Vec<(RoomSnapshot, Vec<u8>)>,
    /// Incomplete rooms, with the reason.
    pub broken: Vec<(RoomId, String)>,
    /// Bytes that could not be read: a torn end after a crash, or damage.
    pub damaged_bytes: u64,
}

/// The journal's files. The newest is open for writing.
#[derive(Debug)]
pub(super) struct Log {
    folder: PathBuf,
    /// Number of the newest file.
    number: u64,
    /// `None` while no file could be begun: the disk has been full since the start.
    file: Option<Arc<File>>,
    file_bytes: u64,
    /// Number of the last file that was found damaged. It and those before it are set aside instead of removed.
    damaged: u64,
    /// Held as long as the process lives. `None` while the disk is too full even for the lock.
    lock: Option<FolderLock>,
}

/// An opened journal.
#[derive(Debug)]
pub(super) struct Opened {
    pub(super) log: Log,
    pub(super) room_logs: RoomLogs,
    pub(super) recovered: Recovered,
    /// Why no new file could be begun.
    pub(super) failure: Option<io::Error>,
}

impl Log {
    /// Locks the folder, reads its files, and begins a new file with their rooms. Where that fails, the newest file is
    /// continued; on a full disk without any file, writing begins later. With `ignores`, what is there is set aside unread.
    ///
    /// # Errors
    /// [`JournalError`] if another process uses it, a later version wrote it, or nothing can be written there.
    pub(super) fn open(folder: &Path, ignores: bool) -> Result<Opened, JournalError> {
        let at = |error| JournalError::Io { folder: folder.to_owned(), error };
        let lock = match claim(folder) {
            Ok(lock) => Some(lock),
            Err(JournalError::Io { error, .. }) if is_full(&error) => None,
            Err(error) => return Err(error),
        };
        if ignores {
            for (_, path) in files(folder).map_err(at)? {
                let aside = set_aside(&path, "ignored").map_err(at)?;
                log::warn!("a file of the journal is ignored and kept as {}", aside.display());
            }
        }
        let (room_logs, recovered, files) = read_files(folder)?;
        let number = files.last().map_or(0, |(number, _)| *number);
        let damaged = if recovered.is_damaged() { number } else { 0 };
        let mut log = Self { folder: folder.to_owned(), number, file: None, file_bytes: 0, damaged, lock };
        let failure = log.begin_file(&room_logs).err();
        if let Some(error) = &failure
            && log.file.is_none()
            && let Err(refused) = log.continue_file()
            && !is_full(error)
        {
            return Err(at(refused));
        }
        Ok(Opened { log, room_logs, recovered, failure })
    }

    /// Length of the present file.
    pub(super) const fn file_bytes(&self) -> u64 {
        self.file_bytes
    }

    /// Whether there is a file to append to.
    pub(super) const fn has_file(&self) -> bool {
        self.file.is_some()
    }

    /// Writes each room's entries as one frame. Returns the file, which is still to be synced. After an error the file is as
    /// before.
    pub(super) fn append(&mut self, group: &Group) -> io::Result<Arc<File>> {
        let file = self.file.as_ref().ok_or_else(|| io::Error::other("no file of it could be begun yet"))?;
        let mut frames = Vec::new();
        for entries in group.values().filter(|entries| !entries.is_empty()) {
            push_frame(&mut frames, entries);
        }
        if let Err(error) = file.write_all_at(&frames, self.file_bytes) {
            // A frame written in part would look like damage. If this fails too, the next frames are written over it.
            file.set_len(self.file_bytes).ok();
            return Err(error);
        }
        self.file_bytes += frames.len() as u64;
        Ok(Arc::clone(file))
    }

    /// Begins a new file that holds all rooms, and removes the older ones once it is on disk.
    pub(super) fn begin_file(&mut self, room_logs: &RoomLogs) -> io::Result<()> {
        if self.lock.is_none() {
            let lock = claim(&self.folder).map_err(|error| match error {
                JournalError::Io { error, .. } => error,
                held => io::Error::other(held),
            });
            self.lock = Some(lock?);
        }
        let number = self.number + 1;
        let path = self.folder.join(format!("{number:010}.journal"));
        let unfinished = path.with_extension("unfinished");
        let begun =
            write_rooms(&unfinished, room_logs).and_then(|begun| fs::rename(&unfinished, &path).map(|()| begun));
        let (file, file_bytes) = begun.inspect_err(|_| {
            // On a full disk its space is needed. If removing fails, the next attempt overwrites the file.
            fs::remove_file(&unfinished).ok();
        })?;
        // A start reads this file from now on, so what follows belongs into it, even if the rest fails.
        (self.number, self.file, self.file_bytes) = (number, Some(Arc::new(file)), file_bytes);
        sync_folder(&self.folder)?;
        for (older, path) in files(&self.folder)?.into_iter().filter(|(older, _)| *older < number) {
            let removed = if older > self.damaged {
                fs::remove_file(&path)
            } else {
                set_aside(&path, DAMAGED)
                    .map(|aside| log::error!("a damaged file of the journal is set aside: {}", aside.display()))
            };
            if let Err(error) = removed {
                // A start reads the newest file only, and the next new file tries this again.
                log::warn!("{}, an outdated file of the journal, cannot be removed: {error}", path.display());
            }
        }
        Ok(())
    }

    /// Opens the newest file for appending, in a folder that is locked.
    fn continue_file(&mut self) -> io::Result<()> {
        if self.lock.is_none() {
            return Err(io::ErrorKind::StorageFull.into());
        }
        let (_, path) = files(&self.folder)?.pop().ok_or(io::ErrorKind::NotFound)?;
        let file = File::options().write(true).open(path)?;
        self.file_bytes = file.metadata()?.len();
        self.file = Some(Arc::new(file));
        Ok(())
    }
}

#[cfg(test)]
impl Log {
    /// Lets the present file take nothing more.
    pub(super) fn fill_disk(&mut self) {
        self.file = Some(Arc::new(File::options().write(true).open("/dev/full").unwrap()));
    }
}

/// Makes the folder, if it is missing, and locks it.
fn claim(folder: &Path) -> Result<FolderLock, JournalError> {
    let at = |error| JournalError::Io { folder: folder.to_owned(), error };
    fs::create_dir_all(folder).map_err(at)?;
    // The files reveal the hands of all live games, so only the server's own user may read them.
    if let Err(error) = fs::set_permissions(folder, fs::Permissions::from_mode(0o700)) {
        log::warn!("the journal of live games cannot be closed to other users of this machine: {error}");
    }
    FolderLock::take(folder).map_err(|error| match error {
        LockError::Held(_) => JournalError::InUse(folder.to_owned()),
        LockError::Io(error) => at(error),
    })
}

/// Whether there may be room later.
fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge)
}

const DAMAGED: &str = "damaged";

/// Renames a file so that nothing reads it as a part of the journal any more. Returns its new name.
fn set_aside(path: &Path, why: &str) -> io::Result<PathBuf> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let aside = path.with_file_name(format!("{why}-{}-{name}.aside", stamp()));
    fs::rename(path, &aside)?;
    Ok(aside)
}

/// Damaged files that were set aside and that nobody has removed since.
pub(super) fn damaged_files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let is_damaged = |path: &PathBuf| {
        path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(&format!("{DAMAGED}-")))
    };
    entries.map(|entry| entry.path()).filter(is_damaged).collect()
}

/// Writes and syncs a file that holds all rooms.
fn write_rooms(path: &Path, room_logs: &RoomLogs) -> io::Result<(File, u64)> {
    let mut writer = io::BufWriter::with_capacity(BUFFER_BYTES, File::create(path)?);
    let (mut announced, mut bytes) = (Vec::new(), 0);
    for (&room, room_log) in room_logs {
        push_entry(&mut announced, room, WHOLE_SNAPSHOT, room_log.next.wrapping_sub(1), &[]);
    }
    let whole = room_logs.iter().map(|(&room, room_log)| {
        let mut entries = Vec::new();
        push_whole(&mut entries, room, room_log);
        entries
    });
    for entries in std::iter::once(announced).chain(whole).filter(|entries| !entries.is_empty()) {
        let mut frame = Vec::new();
        push_frame(&mut frame, &entries);
        writer.write_all(&frame)?;
        bytes += frame.len() as u64;
    }
    let file = writer.into_inner().map_err(io::IntoInnerError::into_error)?;
    file.sync_all()?;
    Ok((file, bytes))
}

fn push_frame(bytes: &mut Vec<u8>, entries: &[u8]) {
    bytes.reserve(HEADER_BYTES + entries.len());
    bytes.extend_from_slice(&MAGIC);
    bytes.extend_from_slice(&u32::try_from(entries.len()).unwrap_or(u32::MAX).to_le_bytes());
    bytes.extend_from_slice(&crc32fast::hash(entries).to_le_bytes());
    bytes.extend_from_slice(entries);
}

pub(super) const SNAPSHOT: u8 = 0;
pub(super) const EVENT: u8 = 1;
/// A whole room is two entries: the snapshot first, then the events.
const WHOLE_SNAPSHOT: u8 = 2;
const WHOLE_EVENTS: u8 = 3;
pub(super) const OVER: u8 = 4;

pub(super) fn push_entry(entries: &mut Vec<u8>, room: RoomId, kind: u8, number: u32, bytes: &[u8]) {
    let [a, b, c, _] = room.number().to_le_bytes();
    entries.extend_from_slice(&[a, b, c, kind]);
    push_varint(entries, number);
    push_varint(entries, u32::try_from(bytes.len()).unwrap_or(u32::MAX));
    entries.extend_from_slice(bytes);
}

/// Writes a whole room. The next entry's number is `room_log.next`.
pub(super) fn push_whole(entries: &mut Vec<u8>, room: RoomId, room_log: &RoomLog) {
    let number = room_log.next.wrapping_sub(1);
    push_entry(entries, room, WHOLE_SNAPSHOT, number, &room_log.snapshot);
    push_entry(entries, room, WHOLE_EVENTS, number, &room_log.events);
}

type Numbered = Vec<(u64, PathBuf)>;

/// The journal's files and their numbers, oldest first.
pub(super) fn files(folder: &Path) -> io::Result<Numbered> {
    let mut files = Vec::new();
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(files),
        entries => entries?,
    };
    for entry in entries {
        let path = entry?.path();
        let number = path.file_name().and_then(|name| name.to_str()?.strip_suffix(".journal")?.parse().ok());
        if let Some(number) = number {
            files.push((number, path));
        }
    }
    files.sort_unstable();
    Ok(files)
}

impl Recovered {
    /// Reads the journal in `folder` without changing or locking anything, also while a server writes it. Its last frame may
    /// be half written then.
    ///
    /// # Errors
    /// If the files cannot be read, or a later version wrote them.
    pub fn inspect(folder: &Path) -> Result<Self, JournalError> {
        // A running writer may remove a file before we open it.
        const ATTEMPTS: usize = 5;
        let mut attempt = 1;
        loop {
            match read_files(folder) {
                Ok((_, found, _)) => return Ok(found),
                Err(JournalError::Io { error, .. })
                    if error.kind() == io::ErrorKind::NotFound && attempt < ATTEMPTS =>
                {
                    attempt += 1;
                }
                Err(error) => return Err(error),
            }
        }
    }

    const fn is_damaged(&self) -> bool {
        self.damaged_bytes > 0 || !self.broken.is_empty()
    }
}

/// Reads all files. Returns the complete rooms and the files.
fn read_files(folder: &Path) -> Result<(RoomLogs, Recovered, Numbered), JournalError> {
    let at = |error| JournalError::Io { folder: folder.to_owned(), error };
    let mut reading = Reading::default();
    let mut recovered = Recovered::default();
    let files = files(folder).map_err(at)?;
    for (_, path) in &files {
        let bytes = fs::read(path).map_err(at)?;
        // Each file begins with all rooms. An older one is left over from a crash before its removal.
        reading.rooms.clear();
        let damaged = reading.read_file(&bytes);
        if damaged == bytes.len() as u64
            && let Some(form) = later_form(&bytes)
        {
            return Err(JournalError::LaterVersion { path: path.clone(), form });
        }
        recovered.damaged_bytes += damaged;
    }
    let mut room_logs = BTreeMap::new();
    for (room, found) in reading.rooms {
        match found.snapshot(room) {
            Ok(snapshot) => {
                recovered.rooms.push((snapshot, found.room_log.events.clone()));
                room_logs.insert(room, found.room_log);
            }
            Err(reason) => recovered.broken.push((room, reason)),
        }
    }
    Ok((room_logs, recovered, files))
}

/// The number of a later form, if bytes that hold no frame of ours begin like one. In a file of ours, damage to the first
/// magic alone leaves other frames.
fn later_form(bytes: &[u8]) -> Option<char> {
    match bytes {
        [b'L', b'J', form @ b'2'..=b'9', b'\n', ..] => Some(char::from(*form)),
        _ => None,
    }
}

/// What has been read so far.
#[derive(Default)]
pub(super) struct Reading {
    rooms: BTreeMap<RoomId, Found>,
}

#[derive(Default)]
struct Found {
    room_log: RoomLog,
    /// Why the room is incomplete.
    gap: Option<String>,
}

impl Found {
    /// The room's snapshot, or why the room is incomplete.
    fn snapshot(&self, room: RoomId) -> Result<RoomSnapshot, String> {
        if let Some(gap) = &self.gap {
            return Err(gap.clone());
        }
        let snapshot = RoomSnapshot::from_bytes(&self.room_log.snapshot).map_err(|error| error.to_string())?;
        if snapshot.room_id() == room { Ok(snapshot) } else { Err("its snapshot is of another room".to_owned()) }
    }
}

impl Reading {
    /// Reads the frames of a file and goes on after damage. Returns how many bytes were in no frame.
    pub(super) fn read_file(&mut self, bytes: &[u8]) -> u64 {
        let mut damaged = 0;
        for stretch in walk(bytes, &MAGIC, parse_frame) {
            match stretch {
                Stretch::Frame { frame: entries, .. } => self.read_entries(entries),
                Stretch::Garbage { length } => damaged += length as u64,
            }
        }
        damaged
    }

    pub(super) fn read_entries(&mut self, mut entries: &[u8]) {
        // The checksum was right, so entries are truncated only if they were written so.
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
        let room_log = &mut found.room_log;
        let continues = is_known && room_log.next == entry.number;
        room_log.next = entry.number.wrapping_add(1);
        match entry.kind {
            WHOLE_SNAPSHOT => {
                room_log.snapshot = entry.bytes.to_vec();
                found.gap = Some("its entries are damaged".to_owned());
            }
            WHOLE_EVENTS => {
                room_log.events = entry.bytes.to_vec();
                found.gap = None;
            }
            SNAPSHOT => {
                room_log.snapshot = entry.bytes.to_vec();
                // Number 0 begins the room; any other snapshot has to follow the previous entry.
                if entry.number != 0 && !continues {
                    found.gap.get_or_insert_with(|| format!("entries before number {} are missing", entry.number));
                }
                if entry.number == 0 {
                    found.gap = None;
                    room_log.events.clear();
                }
            }
            EVENT => {
                room_log.events.extend_from_slice(entry.bytes);
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

/// The entries of the frame at the beginning of `bytes`, if it is complete, and the frame's length.
fn parse_frame(bytes: &[u8]) -> Option<(&[u8], usize)> {
    let (magic, rest) = bytes.split_first_chunk::<4>()?;
    let (length, rest) = rest.split_first_chunk::<4>()?;
    let (checksum, rest) = rest.split_first_chunk::<4>()?;
    let length = u32::from_le_bytes(*length) as usize;
    if *magic != MAGIC || length > FRAME_MAX_BYTES {
        return None;
    }
    let entries = rest.get(..length)?;
    (crc32fast::hash(entries) == u32::from_le_bytes(*checksum)).then_some((entries, HEADER_BYTES + length))
}

fn next_entry(bytes: &[u8]) -> Option<(Entry<'_>, &[u8])> {
    let (&[a, b, c, kind], rest) = bytes.split_first_chunk::<4>()?;
    let (number, rest) = read_varint(rest)?;
    let (length, rest) = read_varint(rest)?;
    let (bytes, rest) = rest.split_at_checked(length as usize)?;
    Some((Entry { room: RoomId::from_number(u32::from_le_bytes([a, b, c, 0])), kind, number, bytes }, rest))
}
