//! Games that were removed for their age, kept for a grace time so that `liap archive undelete` can bring them back.
//!
//! What is removed in one go is one file in `trash/`, a frame for each game. A file is named after the age that the trash had when
//! the file was made. That age counts the time in which a server ran, by the monotonic clock: no clock that is set empties the
//! trash.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::GameId;
use super::frame;
use super::salvage::{each_frame, read_whole};
use crate::disk::{DurableNumber, NumberFound, remove_durably, sync_folder, write_atomic};

/// How long a removed game can be brought back, in time that a server runs.
const GRACE: Duration = Duration::from_secs(7 * 24 * 3600);
/// How often the age of the trash is written.
const WRITE_INTERVAL: Duration = Duration::from_secs(600);
/// The folder's name inside the store, and that of the file in it that holds its age in seconds.
const FOLDER: &str = "trash";
const AGE: &str = "age";
const VERSION: u32 = 1;
/// What the names of files with games end in.
const ENDING: &str = ".games";

/// The trash of a store.
#[derive(Debug)]
pub(super) struct Trash {
    folder: PathBuf,
    age: Mutex<Age>,
}

#[derive(Debug)]
struct Age {
    /// The age at a moment; it goes on from there.
    seconds: u64,
    at: Instant,
    /// `None` until there is something in the trash.
    file: Option<DurableNumber>,
    written: Instant,
}

impl Trash {
    /// The trash of the store in this folder. Nothing is made before a game is removed.
    ///
    /// # Errors
    /// The disk refuses.
    pub(super) fn open(store: &Path) -> io::Result<Self> {
        let folder = store.join(FOLDER);
        let path = folder.join(AGE);
        let mut seconds = match DurableNumber::look(&path, VERSION)? {
            NumberFound::Whole { number, .. } | NumberFound::Half(number) => number,
            NumberFound::Absent | NumberFound::Damaged | NumberFound::OtherVersion(_) => 0,
        };
        // Where the age is lost, the newest file has waited for no time at all.
        seconds = files(&folder)?.last().map_or(seconds, |(age, _)| seconds.max(*age));
        let file = if folder.is_dir() { Some(DurableNumber::open(&path, VERSION, seconds)?) } else { None };
        let now = Instant::now();
        Ok(Self { folder, age: Mutex::new(Age { seconds, at: now, file, written: now }) })
    }

    /// Keeps games. Returns when they are on disk.
    ///
    /// # Errors
    /// The disk refuses; then none of them may be removed.
    pub(super) fn put(&self, games: &[(GameId, Vec<u8>)]) -> io::Result<()> {
        if games.is_empty() {
            return Ok(());
        }
        let mut age = self.age.lock().unwrap_or_else(PoisonError::into_inner);
        if age.file.is_none() {
            std::fs::create_dir_all(&self.folder)?;
            self.folder.parent().map_or(Ok(()), sync_folder)?;
            age.file = Some(DurableNumber::open(&self.folder.join(AGE), VERSION, age.seconds)?);
        }
        let seconds = age.now(Instant::now());
        let number = files(&self.folder)?.iter().filter(|(made, _)| *made == seconds).count();
        let path = (number..).map(|number| self.folder.join(format!("{seconds:010}-{number:04}{ENDING}")));
        let free = path.into_iter().find(|path| !path.exists()).unwrap_or_default();
        write_atomic(&free, &frames(games))
    }

    /// How many games are there, and the oldest and the newest of them.
    ///
    /// # Errors
    /// The disk refuses.
    pub(super) fn figures(&self) -> io::Result<(u64, Option<(GameId, GameId)>)> {
        let _held = self.age.lock().unwrap_or_else(PoisonError::into_inner);
        let (mut count, mut ends) = (0, None);
        for (_, path) in files(&self.folder)? {
            for (id, _) in games(&path)? {
                count += 1;
                let (oldest, newest) = ends.unwrap_or((id, id));
                ends = Some((id.min(oldest), id.max(newest)));
            }
        }
        Ok((count, ends))
    }

    /// Gives games back: this one, or all. `store` is called for the games of one file at a time, and returns when all of them
    /// are on disk elsewhere. Returns how many there were.
    ///
    /// # Errors
    /// The disk refuses, or `store` says so: then its games stay here, too.
    pub(super) fn take<E: From<io::Error>>(
        &self,
        id: Option<GameId>,
        mut store: impl FnMut(Vec<(GameId, Vec<u8>)>) -> Result<(), E>,
    ) -> Result<u64, E> {
        let _held = self.age.lock().unwrap_or_else(PoisonError::into_inner);
        let mut count = 0;
        for (_, path) in files(&self.folder)? {
            let (wanted, rest): (Vec<_>, Vec<_>) =
                games(&path)?.into_iter().partition(|(found, _)| id.is_none_or(|id| id == *found));
            if wanted.is_empty() {
                continue;
            }
            count += wanted.len() as u64;
            store(wanted)?;
            match rest.as_slice() {
                [] => drop(remove_durably(&path)?),
                rest => write_atomic(&path, &frames(rest))?,
            }
        }
        Ok(count)
    }

    /// Removes for good what has been here for the grace time, and notes the age of the trash. Returns how many games went.
    ///
    /// # Errors
    /// The disk refuses.
    pub(super) fn expire(&self, now: Instant) -> io::Result<u64> {
        let mut age = self.age.lock().unwrap_or_else(PoisonError::into_inner);
        if age.file.is_none() {
            return Ok(0);
        }
        if now.saturating_duration_since(age.written) >= WRITE_INTERVAL {
            age.write(now)?;
        }
        let seconds = age.now(now);
        let mut gone = 0;
        for (made, path) in files(&self.folder)? {
            if made.saturating_add(GRACE.as_secs()) <= seconds {
                gone += games(&path)?.len() as u64;
                remove_durably(&path)?;
            }
        }
        Ok(gone)
    }

    /// Notes the age of the trash.
    pub(super) fn write(&self, now: Instant) {
        let written = self.age.lock().unwrap_or_else(PoisonError::into_inner).write(now);
        if let Err(error) = written {
            log::warn!("the age of the archive's trash cannot be written: {error}");
        }
    }
}

impl Age {
    fn now(&self, now: Instant) -> u64 {
        self.seconds.saturating_add(now.saturating_duration_since(self.at).as_secs())
    }

    fn write(&mut self, now: Instant) -> io::Result<()> {
        self.written = now;
        let seconds = self.now(now);
        self.file.as_mut().map_or(Ok(()), |file| file.write(seconds))
    }
}

/// The files with games, the oldest first, each with the age of the trash when it was made.
fn files(folder: &Path) -> io::Result<Vec<(u64, PathBuf)>> {
    let entries = match std::fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut files = Vec::new();
    for entry in entries {
        let path = entry?.path();
        let name = path.file_name().and_then(|name| name.to_str()).and_then(|name| name.strip_suffix(ENDING));
        let made = name.and_then(|name| name.split_once('-')?.0.parse().ok());
        files.extend(made.map(|made| (made, path)));
    }
    files.sort_unstable();
    Ok(files)
}

/// The whole games of a file.
fn games(path: &Path) -> io::Result<Vec<(GameId, Vec<u8>)>> {
    let mut bytes = Vec::new();
    if let Some(refusal) = read_whole(path, &mut bytes)? {
        return Err(refusal);
    }
    let mut games = Vec::new();
    each_frame(&bytes, |_, frame| games.push((frame.id, frame.record.to_vec())));
    Ok(games)
}

/// The bytes of a file with these games.
fn frames(games: &[(GameId, Vec<u8>)]) -> Vec<u8> {
    (1..).zip(games).flat_map(|(number, (id, record))| frame::encode(number, *id, record)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn game(number: u64) -> (GameId, Vec<u8>) {
        (GameId::first_at(number), format!("game {number}").into_bytes())
    }

    fn taken(trash: &Trash, id: Option<GameId>) -> Vec<(GameId, Vec<u8>)> {
        let mut taken = Vec::new();
        let count = trash.take(id, |mut games| {
            taken.append(&mut games);
            io::Result::Ok(())
        });
        assert_eq!(count.unwrap(), taken.len() as u64);
        taken
    }

    #[test]
    fn games_come_back_once_and_survive_a_restart() {
        let store = tempfile::tempdir().unwrap();
        let trash = Trash::open(store.path()).unwrap();
        assert_eq!(trash.figures().unwrap(), (0, None));
        assert!(!store.path().join(FOLDER).exists());
        trash.put(&[game(1), game(2), game(3)]).unwrap();
        trash.put(&[game(4)]).unwrap();
        drop(trash);
        let trash = Trash::open(store.path()).unwrap();
        assert_eq!(trash.figures().unwrap(), (4, Some((game(1).0, game(4).0))));
        let refused = trash.take(None, |_| Err::<(), _>(io::Error::other("full")));
        assert!(refused.is_err());
        assert_eq!(taken(&trash, Some(game(2).0)), [game(2)]);
        assert_eq!(taken(&trash, Some(game(2).0)), []);
        assert_eq!(taken(&trash, None), [game(1), game(3), game(4)]);
        assert_eq!(trash.figures().unwrap(), (0, None));
    }

    #[test]
    fn the_grace_time_counts_only_while_a_server_runs() {
        let store = tempfile::tempdir().unwrap();
        let open = || Trash::open(store.path()).unwrap();
        let trash = open();
        let begun = Instant::now();
        trash.put(&[game(1)]).unwrap();
        assert_eq!(trash.expire(begun + GRACE / 2).unwrap(), 0);
        trash.write(begun + GRACE / 2);
        drop(trash);
        // However long nobody ran, half of the time is left.
        let trash = open();
        let begun = Instant::now();
        assert_eq!(trash.expire(begun + GRACE / 3).unwrap(), 0);
        trash.put(&[game(2)]).unwrap();
        assert_eq!(trash.expire(begun + GRACE / 2 + Duration::from_secs(2)).unwrap(), 1);
        assert_eq!(trash.figures().unwrap(), (1, Some((game(2).0, game(2).0))));
        // A lost age begins again with the newest file.
        trash.write(begun + 2 * GRACE);
        drop(trash);
        std::fs::write(store.path().join(FOLDER).join(AGE), b"?").unwrap();
        let trash = open();
        assert_eq!(trash.expire(Instant::now() + GRACE / 2).unwrap(), 0);
        assert_eq!(trash.expire(Instant::now() + GRACE + Duration::from_secs(2)).unwrap(), 1);
    }
}
