//! The files of the journal: how entries lie in them, and what is got out of them again.
//!
//! A file is a row of frames: `LJ1\n`, length, CRC-32, entries. An entry is: room (3 bytes), kind, number of the entry
//! within its room, length, bytes. A room whose numbers have a gap is not whole, and does not come back; all others do.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::snapshot::RoomSnapshot;
use crate::disk::{FolderLock, LockError, Stretch, rename_durably, stamp, walk};
use crate::protocol::RoomId;

/// No frame is larger than this; one that says so is damaged.
const FRAME_MAX_BYTES: usize = 16 * 1024 * 1024;
/// Rooms are written in frames of about this size.
const FRAME_BYTES: usize = 256 * 1024;
const MAGIC: [u8; 4] = *b"LJ1\n";
const HEADER_BYTES: usize = 12;

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
pub(super) struct RoomLog {
    /// Number of the next entry.
    pub(super) next: u32,
    pub(super) snapshot: Vec<u8>,
    pub(super) events: Vec<u8>,
}

/// What was found when the journal was opened.
#[derive(Debug, Default)]
pub struct Recovered {
    /// Rooms whose entries are whole: image and events.
    pub rooms: Vec<(RoomSnapshot, Vec<u8>)>,
    /// Rooms that are not, and why.
    pub broken: Vec<(RoomId, String)>,
    /// Bytes that could not be read: a torn end after a crash, or damage.
    pub damaged_bytes: u64,
    /// Where damaged files were set aside.
    pub set_aside: Vec<PathBuf>,
}

/// The journal's files, of which the newest is written to.
#[derive(Debug)]
pub(super) struct Log {
    folder: PathBuf,
    /// Number of the present file.
    number: u64,
    file: Arc<File>,
    file_bytes: u64,
    /// Held as long as the process lives.
    _lock: FolderLock,
}

impl Log {
    /// Locks the folder, reads what its files hold, and begins a new one with it.
    ///
    /// # Errors
    /// [`JournalError`] if another process has it, or nothing can be written there.
    pub(super) fn open(folder: &Path) -> Result<(Self, BTreeMap<RoomId, RoomLog>, Recovered), JournalError> {
        let at = |error| JournalError::Io { folder: folder.to_owned(), error };
        fs::create_dir_all(folder).map_err(at)?;
        // What is in here tells the hands of all live games, so it is for the server's own user.
        if let Err(error) = fs::set_permissions(folder, fs::Permissions::from_mode(0o700)) {
            log::warn!("the journal of live games cannot be closed to other users of this machine: {error}");
        }
        let lock = FolderLock::take(folder).map_err(|error| match error {
            LockError::Held(_) => JournalError::InUse(folder.to_owned()),
            LockError::Io(error) => at(error),
        })?;
        let (room_logs, recovered, last) = read_folder(folder).map_err(at)?;
        let number = last + 1;
        let (file, file_bytes) = begin_file(folder, number, &room_logs).map_err(at)?;
        let log = Self { folder: folder.to_owned(), number, file: Arc::new(file), file_bytes, _lock: lock };
        Ok((log, room_logs, recovered))
    }

    /// Length of the present file.
    pub(super) const fn file_bytes(&self) -> u64 {
        self.file_bytes
    }

    /// Writes entries as one frame. Gives back the file, which is still to be synced.
    pub(super) fn append(&mut self, entries: &[u8]) -> io::Result<Arc<File>> {
        if !entries.is_empty() {
            let frame = frame(entries);
            (&*self.file).write_all(&frame)?;
            self.file_bytes += frame.len() as u64;
        }
        Ok(Arc::clone(&self.file))
    }

    /// Begins a new file that holds all rooms, and removes the older ones once it is safely there.
    pub(super) fn begin_file(&mut self, room_logs: &BTreeMap<RoomId, RoomLog>) -> io::Result<()> {
        let number = self.number + 1;
        let (file, file_bytes) = begin_file(&self.folder, number, room_logs)?;
        (self.number, self.file, self.file_bytes) = (number, Arc::new(file), file_bytes);
        Ok(())
    }
}

fn begin_file(folder: &Path, number: u64, room_logs: &BTreeMap<RoomId, RoomLog>) -> io::Result<(File, u64)> {
    let path = folder.join(file_name(number));
    let unfinished = path.with_extension("unfinished");
    let (file, bytes) = write_rooms(&unfinished, room_logs).inspect_err(|_| {
        // On a full disk its bytes are needed; where even that fails, the next attempt writes over it.
        fs::remove_file(&unfinished).ok();
    })?;
    rename_durably(&unfinished, &path)?;
    for (older, path) in files(folder)? {
        if older < number {
            fs::remove_file(path)?;
        }
    }
    Ok((file, bytes))
}

/// A file that holds all rooms, on disk.
fn write_rooms(path: &Path, room_logs: &BTreeMap<RoomId, RoomLog>) -> io::Result<(File, u64)> {
    let mut file = File::create(path)?;
    let (mut entries, mut bytes) = (Vec::new(), 0);
    for (&room, room_log) in room_logs {
        push_whole(&mut entries, room, room_log);
        if entries.len() >= FRAME_BYTES {
            bytes += write_frame(&mut file, &mut entries)?;
        }
    }
    bytes += write_frame(&mut file, &mut entries)?;
    file.sync_all()?;
    Ok((file, bytes))
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

pub(super) const SNAPSHOT: u8 = 0;
pub(super) const EVENT: u8 = 1;
/// Image and events together: two entries of this kind, the image first.
const WHOLE_IMAGE: u8 = 2;
const WHOLE_EVENTS: u8 = 3;
pub(super) const OVER: u8 = 4;

pub(super) fn push_entry(entries: &mut Vec<u8>, room: RoomId, kind: u8, number: u32, bytes: &[u8]) {
    let [a, b, c, _] = room.number().to_le_bytes();
    entries.extend_from_slice(&[a, b, c, kind]);
    push_varint(entries, number);
    push_varint(entries, u32::try_from(bytes.len()).unwrap_or(u32::MAX));
    entries.extend_from_slice(bytes);
}

/// Everything about a room; the next entry's number is `room_log.next`.
pub(super) fn push_whole(entries: &mut Vec<u8>, room: RoomId, room_log: &RoomLog) {
    let number = room_log.next.wrapping_sub(1);
    push_entry(entries, room, WHOLE_IMAGE, number, &room_log.snapshot);
    push_entry(entries, room, WHOLE_EVENTS, number, &room_log.events);
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

type Numbered = Vec<(u64, PathBuf)>;

/// The journal's files and their numbers, oldest first.
pub(super) fn files(folder: &Path) -> io::Result<Numbered> {
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

impl Recovered {
    /// What a journal in `folder` holds, without changing or locking anything: also while a server writes it. Then its
    /// last bytes may be of a frame that is only half written yet.
    ///
    /// # Errors
    /// If it cannot be read.
    pub fn inspect(folder: &Path) -> io::Result<Self> {
        // A writer that begins a new file removes the one that we are about to read.
        const ATTEMPTS: usize = 5;
        let mut attempt = 1;
        loop {
            match read_files(folder) {
                Ok((_, found, _)) => return Ok(found),
                Err(error) if error.kind() == io::ErrorKind::NotFound && attempt < ATTEMPTS => attempt += 1,
                Err(error) => return Err(error),
            }
        }
    }
}

/// Reads all files and sets damaged ones aside. Returns what the whole rooms come to and the last file's number.
fn read_folder(folder: &Path) -> io::Result<(BTreeMap<RoomId, RoomLog>, Recovered, u64)> {
    let (room_logs, mut recovered, files) = read_files(folder)?;
    if recovered.damaged_bytes > 0 || !recovered.broken.is_empty() {
        let stamp = stamp();
        for (_, path) in &files {
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or("journal");
            let aside = folder.join(format!("damaged-{stamp}-{name}.aside"));
            // A copy: the original goes only when the new file is safely there.
            fs::copy(path, &aside)?;
            recovered.set_aside.push(aside);
        }
    }
    Ok((room_logs, recovered, files.last().map_or(0, |(number, _)| *number)))
}

/// Reads all files. Returns what the whole rooms come to, and which files there were.
fn read_files(folder: &Path) -> io::Result<(BTreeMap<RoomId, RoomLog>, Recovered, Numbered)> {
    let mut reading = Reading::default();
    let mut recovered = Recovered::default();
    let files = files(folder)?;
    for (_, path) in &files {
        // Each file begins with everything. Where an older one is left, the end came before it was removed.
        reading.rooms.clear();
        recovered.damaged_bytes += reading.read_file(&fs::read(path)?);
    }
    let mut room_logs = BTreeMap::new();
    for (room, found) in reading.rooms {
        let snapshot = match &found.gap {
            Some(gap) => Err(gap.clone()),
            None => RoomSnapshot::from_bytes(&found.room_log.snapshot).map_err(|error| error.to_string()),
        };
        match snapshot {
            Ok(snapshot) if snapshot.room_id() == room => {
                recovered.rooms.push((snapshot, found.room_log.events.clone()));
                room_logs.insert(room, found.room_log);
            }
            Ok(_) => recovered.broken.push((room, "its image is of another room".to_owned())),
            Err(reason) => recovered.broken.push((room, reason)),
        }
    }
    Ok((room_logs, recovered, files))
}

/// What has been read so far.
#[derive(Default)]
pub(super) struct Reading {
    rooms: BTreeMap<RoomId, Found>,
}

#[derive(Default)]
struct Found {
    room_log: RoomLog,
    /// Why the room is not whole.
    gap: Option<String>,
}

impl Reading {
    /// Reads the frames of a file, searching on behind damage. Returns how many bytes were in no frame.
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
        let room_log = &mut found.room_log;
        let continues = is_known && room_log.next == entry.number;
        room_log.next = entry.number.wrapping_add(1);
        match entry.kind {
            WHOLE_IMAGE => {
                room_log.snapshot = entry.bytes.to_vec();
                found.gap = Some("its events are missing".to_owned());
            }
            WHOLE_EVENTS => {
                room_log.events = entry.bytes.to_vec();
                found.gap = None;
            }
            SNAPSHOT => {
                room_log.snapshot = entry.bytes.to_vec();
                // The first image of a room begins it; any other has to continue it.
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

/// The entries of the whole frame at the beginning of `bytes`, and the frame's length.
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
