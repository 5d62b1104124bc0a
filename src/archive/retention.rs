//! Removes games that have grown too old, where the settings say so, and only by a clock that can be believed.
//!
//! What is removed goes to the [`Trash`](super::trash::Trash) for a grace time. One pass takes a bounded share of the games; more
//! than that is announced first, and taken by the next pass.

use std::io;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Arc, PoisonError, Weak};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use super::archive::{Shared, now_ms};
use super::calendar::day;
use super::codec::{Summary, decode_summary};
use super::known_time::{EARLIEST_MS, KnownTime, Leapt};
use super::{GameId, StoreError};

/// How often games that have grown too old are looked for, here and in sinks.
pub(super) const RETENTION_INTERVAL: Duration = Duration::from_secs(3600);
/// How often the clock is looked at, and the trash.
const UPKEEP_INTERVAL: Duration = Duration::from_secs(30);
/// Removed in one go, so that writing games never waits long for tidying up.
const REMOVED_AT_ONCE: usize = 2_000;
/// How long a game outlives its time when a sink has not got it yet. A sink that is gone for so long does not come back.
const OWED_GRACE: Duration = Duration::from_secs(30 * 86_400);
/// What one pass takes without an announcement: this share of the games, or this many if that is more.
const SHARE: u64 = 10;
const SHARE_MIN: u64 = 1_000;
/// Announcements that wait to be noted as events.
const MAX_ANNOUNCEMENTS: usize = 16;

/// A removal of many games that the next pass carries out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Announcement {
    /// Where they are: `archive`, or the name of a sink.
    pub place: &'static str,
    /// How many games.
    pub games: u64,
    /// The day on which the oldest of them began.
    pub oldest: String,
    /// The day on which the newest of them began.
    pub newest: String,
}

/// The thread that looks after the clock, old games and the trash. It ends when this is dropped.
#[derive(Debug)]
pub(super) struct Upkeep {
    /// Sent to wake the thread, dropped to end it.
    wake: mpsc::Sender<()>,
    thread: JoinHandle<()>,
}

impl Upkeep {
    /// Begins; games older than `age` are removed, if there is one.
    pub(super) fn start(shared: &Arc<Shared>, age: Option<Duration>) -> io::Result<Self> {
        // Where games are removed, a lost known time is replaced by that of the newest game.
        let newest = age.and_then(|_| shared.store.newest_ids(GameId::MAX, 1).ok()?.first().map(|id| id.unix_ms()));
        // A second call changes nothing.
        drop(shared.known_time.set(KnownTime::open(shared.store.folder(), newest, now_ms())));
        let (wake, woken) = mpsc::channel::<()>();
        // Weak, so that waiting for the next time keeps no closed archive open.
        let shared = Arc::downgrade(shared);
        let thread = thread::Builder::new().name("archive-upkeep".to_owned()).spawn(move || {
            let mut retention = age.map(Retention::new);
            loop {
                let Some(shared) = Weak::upgrade(&shared) else { return };
                shared.look_after(retention.as_mut());
                drop(shared);
                if woken.recv_timeout(UPKEEP_INTERVAL) == Err(RecvTimeoutError::Disconnected) {
                    return;
                }
            }
        })?;
        Ok(Self { wake, thread })
    }

    /// Has everything looked at now.
    pub(super) fn wake(&self) {
        // A thread that has ended has nothing more to do.
        self.wake.send(()).ok();
    }

    /// Ends it soon; until its thread has ended, the archive is not free for another process.
    pub(super) fn stop(self) -> JoinHandle<()> {
        self.thread
    }
}

/// What is known from one pass to the next.
#[derive(Debug)]
struct Retention {
    age: Duration,
    last_pass: Option<Instant>,
    /// Games that the last pass has announced.
    announced: u64,
}

impl Retention {
    fn new(age: Duration) -> Self {
        Self { age, last_pass: None, announced: 0 }
    }
}

impl Shared {
    fn look_after(&self, retention: Option<&mut Retention>) {
        // Reading the clock often tells soon when it has leapt.
        let now = self.trusted_now();
        match self.trash.expire(Instant::now()) {
            Ok(0) => {}
            Ok(games) => log::info!(games = games; "removed games have left the trash for good"),
            Err(error) => log::warn!("the archive's trash could not be tidied up: {error}"),
        }
        if let (Some(retention), Ok(now_ms)) = (retention, now)
            && retention.last_pass.is_none_or(|at| at.elapsed() >= RETENTION_INTERVAL)
        {
            self.remove_old(retention, now_ms);
            retention.last_pass = Some(Instant::now());
        }
    }

    /// Now, in milliseconds of Unix time, if the clock can be believed.
    ///
    /// # Errors
    /// It has leapt; nothing may be removed by it.
    pub(super) fn trusted_now(&self) -> Result<u64, Leapt> {
        let now_ms = now_ms();
        self.known_time.get().map_or(Ok(()), |known| known.check(now_ms, Instant::now())).map(|()| now_ms)
    }

    /// One pass over the old games.
    fn remove_old(&self, retention: &mut Retention, now_ms: u64) {
        let since = |age: Duration| now_ms.saturating_sub(u64::try_from(age.as_millis()).unwrap_or(u64::MAX));
        let mut old = self.removable(since(retention.age), since(retention.age + OWED_GRACE));
        // A game with an impossible date was played while the clock was wrong.
        old.retain(|id| id.unix_ms() >= EARLIEST_MS);
        let (Some(oldest), Some(newest)) = (old.first(), old.last()) else { return retention.announced = 0 };
        let [oldest, newest] = [oldest, newest].map(|id| day(id.unix_ms()));
        let (games, days) = (old.len() as u64, retention.age.as_secs() / 86_400);
        let why = format!(
            "{games} games that began more than {days} days ago, from {oldest} to {newest} (ARCHIVE_RETENTION_DAYS={days})"
        );
        let is_announced = retention.announced > 0;
        if games > retention.announced + self.share() {
            retention.announced = games;
            log::warn!(
                games = games, oldest = oldest.as_str(), newest = newest.as_str();
                "the next pass, in an hour, removes {why}; to keep them, set ARCHIVE_RETENTION_DAYS higher or to 0 and restart"
            );
            return self.announce(Announcement { place: "archive", games, oldest, newest });
        }
        let level = if retention.last_pass.is_none() || is_announced { log::Level::Warn } else { log::Level::Info };
        log::log!(
            level, games = games, oldest = oldest.as_str(), newest = newest.as_str();
            "removing {why}; `liap archive undelete` brings them back within a week"
        );
        retention.announced = 0;
        let owed = old.iter().filter(|id| self.is_owed(**id)).count();
        match self.remove(&old) {
            Ok(games) => {
                log::info!(games = games; "old games were removed from the archive");
                if owed > 0 {
                    log::error!(games = owed; "games were removed that a sink never got: it was gone for too long");
                }
            }
            Err(StoreError::Closed) => {}
            Err(error) => log::warn!("old games could not be removed from the archive: {error}"),
        }
    }

    /// How many games one pass removes without announcing it.
    pub(super) fn share(&self) -> u64 {
        (self.store.count() / SHARE).max(SHARE_MIN)
    }

    /// Keeps an announcement until it is noted as an event.
    pub(super) fn announce(&self, announcement: Announcement) {
        let mut waiting = self.announcements.lock().unwrap_or_else(PoisonError::into_inner);
        if waiting.len() < MAX_ANNOUNCEMENTS {
            waiting.push(announcement);
        }
    }

    /// The games that began before a time, in milliseconds of Unix time, oldest first; those that a sink is owed only if they
    /// began before `owed_before_ms`.
    pub(super) fn removable(&self, before_ms: u64, owed_before_ms: u64) -> Vec<GameId> {
        let mut ids = self.index(|index| index.older_than(before_ms, 0, usize::MAX));
        ids.retain(|id| id.unix_ms() < owed_before_ms || !self.is_owed(*id));
        ids
    }

    /// Moves games to the trash. Returns how many there were.
    pub(super) fn remove(&self, ids: &[GameId]) -> Result<u64, StoreError> {
        let mut removed = 0;
        for ids in ids.chunks(REMOVED_AT_ONCE) {
            // What cannot be read any more goes all the same; neither the trash nor the totals learn of it.
            let read = |&id: &GameId| Some((id, self.store.get(id).ok()??));
            let games: Vec<(GameId, Vec<u8>)> = ids.iter().filter_map(read).collect();
            let summaries: Vec<Summary> = games.iter().filter_map(|(_, record)| decode_summary(record).ok()).collect();
            self.trash.put(&games).map_err(|source| self.fault(source))?;
            removed += self.store.remove(ids)?;
            self.forget(ids, &summaries);
        }
        Ok(removed)
    }

    /// An error of the disk, about this archive.
    pub(super) fn fault(&self, source: io::Error) -> StoreError {
        StoreError::Io { path: self.store.folder().to_owned(), source }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::archive::{Archive, GameIds, GameRecord, Options};
    use crate::game::{BySeat, Level, Seating, Series};
    use crate::observe::Metrics;

    const DAY_MS: u64 = 86_400_000;

    /// An archive whose games began so many days ago.
    fn archive_with(ages: impl IntoIterator<Item = u64>) -> (tempfile::TempDir, Archive, u64) {
        let folder = tempfile::tempdir().unwrap();
        let options = Options { flush_interval: Duration::ZERO, ..Options::default() };
        let metrics = Arc::new(Metrics::new("test", "test", false));
        let (archive, _) = Archive::open(folder.path(), &options, metrics).unwrap();
        let series = Series { seed: 3, players: BySeat::new([Level::Easy; 4]), seating: Seating::Fixed, max_rounds: 1 };
        let game = GameRecord::simulate(&series, 0).0;
        let (now_ms, mut ids) = (now_ms(), GameIds::default());
        for age in ages {
            let started_at_ms = now_ms.saturating_sub(age * DAY_MS);
            let game_id = ids.next(started_at_ms, [1; 10]);
            archive.put(GameRecord { game_id, started_at_ms, ..game.clone() }, drop).unwrap();
        }
        assert!(archive.flush(Duration::from_secs(60)));
        (folder, archive, now_ms)
    }

    #[test]
    fn many_games_are_announced_by_one_pass_and_removed_by_the_next() {
        let ages = std::iter::repeat_n(3, 1_001).chain([0]);
        let (_folder, archive, now_ms) = archive_with(ages);
        let mut retention = Retention::new(Duration::from_secs(2 * 86_400));
        archive.shared.remove_old(&mut retention, now_ms);
        let announced = archive.announced();
        assert_eq!(announced.len(), 1);
        assert_eq!((announced[0].place, announced[0].games), ("archive", 1_001));
        assert_eq!(announced[0].oldest, day(now_ms - 3 * DAY_MS));
        assert_eq!((archive.status().store.records, archive.trash().unwrap()), (1_002, (0, None)));
        archive.shared.remove_old(&mut retention, now_ms);
        assert_eq!(archive.announced(), []);
        assert_eq!((archive.status().store.records, archive.trash().unwrap().0), (1, 1_001));
        assert_eq!(archive.undelete(None).unwrap(), 1_001);
        assert_eq!(archive.status().store.records, 1_002);
    }

    #[test]
    fn a_game_from_before_there_were_games_is_not_old() {
        let (_folder, archive, now_ms) = archive_with([20_000, 100]);
        archive.shared.remove_old(&mut Retention::new(Duration::from_secs(90 * 86_400)), now_ms);
        assert_eq!((archive.status().store.records, archive.trash().unwrap().0), (1, 1));
    }
}
