//! The archive as a whole: games handed over, found, read, pruned, and still there after a restart.

use std::num::NonZeroUsize;
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc;
use std::time::Duration;

use liap::archive::sink::{
    Adoption, Answer, Content, Delivery, Installation, Refusal, RemovalPass, Sink, SinkCopy, SinkError, SinkKind,
};
use liap::archive::{
    Archive, GameId, GameRecord, Options, Player, PlayerKind, Query, StoreOutcome, Stored, encode, outcome,
};
use liap::game::{BySeat, Level, Seat, Seating, Series};
use liap::observe::{HealthStatus, Metrics};

const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) fn open(folder: &Path) -> Archive {
    let options = Options { retention_days: 0, flush_interval: Duration::ZERO, ..Options::default() };
    let (archive, report) = Archive::open(folder, &options, Arc::new(Metrics::new("test", "test", false))).unwrap();
    assert!(!report.is_damaged());
    archive
}

/// Short games, each with a person who sits at another seat and another who joins every third one.
pub(crate) fn games(count: usize) -> Vec<GameRecord> {
    let series = Series { seed: 11, players: BySeat::new([Level::Easy; 4]), seating: Seating::Fixed, max_rounds: 3 };
    let game = |number: usize| {
        let (mut record, _) = GameRecord::simulate(&series, number as u64);
        let sit = |record: &mut GameRecord, seat: Seat, name: &str| {
            record.players[seat] = Player { name: name.to_owned(), kind: PlayerKind::Human };
        };
        sit(&mut record, Seat::ALL[number % 4], "Mira");
        if number.is_multiple_of(3) {
            sit(&mut record, Seat::ALL[(number + 1) % 4], "Jón");
        }
        record.room_id = format!("R{}", number % 7);
        record
    };
    (0..count).map(game).collect()
}

pub(crate) fn submit(archive: &Archive, record: &GameRecord) -> mpsc::Receiver<StoreOutcome> {
    let (tell, told) = mpsc::channel();
    // Not every test wants to know.
    archive.submit(record.clone(), move |answer| tell.send(answer).unwrap_or_default()).unwrap();
    told
}

fn limit(number: usize) -> NonZeroUsize {
    NonZeroUsize::new(number).unwrap()
}

/// All pages of a query.
fn pages(archive: &Archive, query: &Query, size: usize) -> Vec<String> {
    let mut query = query.clone();
    let mut found = Vec::new();
    loop {
        let page = archive.find(&query, limit(size)).unwrap();
        assert!(page.games.len() <= size);
        found.extend(page.games.iter().map(|game| game.game_id.to_string()));
        query.before = match page.next {
            Some(next) => Some(next),
            None => return found,
        };
    }
}

#[test]
fn games_handed_over_are_found_now_and_after_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let records = games(60);
    let archive = open(folder.path());
    let told: Vec<_> = records.iter().map(|record| submit(&archive, record)).collect();
    for answer in told {
        assert_eq!(answer.recv_timeout(PATIENCE), Ok(StoreOutcome::Stored(Stored::Now)));
    }
    let check = |archive: &Archive| {
        for record in &records {
            assert_eq!(archive.get(record.game_id).unwrap().as_ref(), Some(record));
            assert_eq!(archive.summary(record.game_id).unwrap().unwrap().outcome, outcome(record).unwrap());
        }
        let newest_first = |keep: &dyn Fn(&GameRecord) -> bool| -> Vec<String> {
            records.iter().rev().filter(|record| keep(record)).map(|record| record.game_id.to_string()).collect()
        };
        let everything = newest_first(&|_| true);
        assert_eq!(pages(archive, &Query::default(), 7), everything);
        assert_eq!(pages(archive, &Query::default(), 60), everything);
        let sat = |name: &'static str| move |record: &GameRecord| record.players.iter().any(|one| one.name == name);
        let of = |name: &str| Query { player: Some(name.to_owned()), ..Query::default() };
        assert_eq!(pages(archive, &of("Mira"), 7), everything);
        assert_eq!(pages(archive, &of("Jón"), 3), newest_first(&sat("Jón")));
        assert_eq!(pages(archive, &of("jón"), 3), [""; 0]);
        let room = Query { room: Some("R3".to_owned()), ..of("Jón") };
        assert_eq!(pages(archive, &room, 2), newest_first(&|record| sat("Jón")(record) && record.room_id == "R3"));
        let (from_ms, to_ms) = (Some(records[20].started_at_ms), Some(records[30].started_at_ms));
        let between = Query { from_ms, to_ms, ..Query::default() };
        assert_eq!(pages(archive, &between, 4), everything[30..40]);
        assert_eq!(archive.totals("Mira").unwrap().games, 60);
        assert_eq!(archive.totals("Mira").unwrap().declarations, 180);
        assert_eq!(archive.totals("Nobody"), None);
        assert_eq!(archive.check().status, HealthStatus::Healthy);
        let status = archive.status();
        assert_eq!((status.store.records, status.pending, status.players), (60, 0, 6));
    };
    check(&archive);
    assert!(archive.close(PATIENCE));
    drop(archive);
    check(&open(folder.path()));
}

#[test]
fn a_game_handed_over_twice_is_kept_once() {
    let folder = tempfile::tempdir().unwrap();
    let archive = open(folder.path());
    let record = &games(1)[0];
    let (first, second) = (submit(&archive, record), submit(&archive, record));
    assert_eq!(first.recv_timeout(PATIENCE), Ok(StoreOutcome::Stored(Stored::Now)));
    assert_eq!(second.recv_timeout(PATIENCE), Ok(StoreOutcome::Stored(Stored::Before)));
    assert_eq!(archive.totals("Mira").unwrap().games, 1);
}

#[test]
fn what_is_no_game_is_refused_and_nothing_else_suffers() {
    let folder = tempfile::tempdir().unwrap();
    let archive = open(folder.path());
    let mut records = games(3);
    records[1].moves.swap(0, 1);
    let mut conflicting = records[2].clone();
    conflicting.room_id.push('x');
    let told: Vec<_> = records.iter().chain([&conflicting]).map(|record| submit(&archive, record)).collect();
    let told: Vec<_> = told.into_iter().map(|answer| answer.recv_timeout(PATIENCE).unwrap()).collect();
    assert_eq!(
        told,
        [
            StoreOutcome::Stored(Stored::Now),
            StoreOutcome::Refused,
            StoreOutcome::Stored(Stored::Now),
            StoreOutcome::Refused
        ]
    );
    assert_eq!(archive.status().store.records, 2);
    assert!(archive.flush(PATIENCE));
    assert!(archive.close(PATIENCE));
    assert!(archive.submit(records[0].clone(), |_| ()).is_err(), "a closed archive gives the game back");
}

#[test]
fn old_games_are_removed_and_forgotten() {
    let folder = tempfile::tempdir().unwrap();
    let archive = open(folder.path());
    let records = games(30);
    for record in &records {
        drop(submit(&archive, record));
    }
    assert!(archive.flush(PATIENCE));
    assert_eq!(archive.prune(records[12].started_at_ms).unwrap(), 12);
    assert_eq!(archive.get(records[11].game_id).unwrap(), None);
    assert_eq!(archive.get(records[12].game_id).unwrap().as_ref(), Some(&records[12]));
    assert_eq!(pages(&archive, &Query::default(), 5).len(), 18);
    assert_eq!(archive.totals("Mira").unwrap().games, 18);
    assert_eq!(archive.prune(records[12].started_at_ms).unwrap(), 0);
    drop(archive);
    assert_eq!(open(folder.path()).status().store.records, 18);
}

#[test]
fn games_beyond_their_retention_go_by_themselves() {
    let folder = tempfile::tempdir().unwrap();
    let archive = open(folder.path());
    let mut records = games(2);
    let now = now_ms();
    records[1].game_id = liap::archive::GameIds::default().next(now, [1; 10]);
    records[1].started_at_ms = now;
    records[0].game_id = liap::archive::GameIds::default().next(now - 3 * 86_400_000, [2; 10]);
    for record in &records {
        drop(submit(&archive, record));
    }
    assert!(archive.close(PATIENCE));
    drop(archive);
    let options = Options { retention_days: 2, ..Options::default() };
    let (archive, _) = Archive::open(folder.path(), &options, Arc::new(Metrics::new("test", "test", false))).unwrap();
    archive.deliver_to([], &options).unwrap();
    let began = std::time::Instant::now();
    while archive.status().store.records == 2 {
        assert!(began.elapsed() < PATIENCE, "the old game is still there");
        std::thread::yield_now();
    }
    assert_eq!(archive.get(records[0].game_id).unwrap(), None);
    assert!(archive.get(records[1].game_id).unwrap().is_some());
    // It waits in the trash, also for the next start.
    assert!(archive.close(PATIENCE));
    drop(archive);
    let archive = open(folder.path());
    assert_eq!(archive.trash().unwrap(), (1, Some((records[0].game_id, records[0].game_id))));
    assert_eq!(archive.undelete(Some(records[1].game_id)).unwrap(), 0);
    assert_eq!(archive.undelete(Some(records[0].game_id)).unwrap(), 1);
    assert_eq!(archive.get(records[0].game_id).unwrap().as_ref(), Some(&records[0]));
    assert_eq!((archive.trash().unwrap(), archive.undelete(None).unwrap()), ((0, None), 0));
    drop(archive);
    assert_eq!(open(folder.path()).status().store.records, 2);
}

/// A sink that does with games what it is told, and holds none.
struct Fake<F>(F);

impl<F> std::fmt::Debug for Fake<F> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Fake")
    }
}

impl<F: Fn(&[Delivery]) -> Result<Vec<Refusal>, SinkError> + Send + Sync> Sink for Fake<F> {
    fn place(&self) -> String {
        "s3://fake/".to_owned()
    }

    fn check(&self) -> Answer<'_, ()> {
        Box::pin(std::future::ready((self.0)(&[]).map(drop)))
    }

    fn deliver<'a>(&'a self, games: &'a [Delivery], _ours: Installation) -> Answer<'a, Vec<Refusal>> {
        Box::pin(std::future::ready((self.0)(games)))
    }

    fn page(&self, _after: Option<GameId>, _limit: NonZeroUsize) -> Answer<'_, Vec<SinkCopy>> {
        Box::pin(std::future::ready(Ok(Vec::new())))
    }

    fn fetch(&self, _id: GameId) -> Answer<'_, Option<Content>> {
        Box::pin(std::future::ready(Ok(None)))
    }

    fn count(&self, _before_ms: u64, _limit: NonZeroUsize) -> Answer<'_, usize> {
        Box::pin(std::future::ready(Ok(0)))
    }

    fn remove(&self, _after: Option<GameId>, _before_ms: u64, _ours: Installation) -> Answer<'_, RemovalPass> {
        Box::pin(std::future::ready(Ok(RemovalPass::default())))
    }

    fn adopt<'a>(
        &'a self,
        _games: &'a [Delivery],
        _from: Option<Installation>,
        _ours: Installation,
    ) -> Answer<'a, Vec<(GameId, Adoption)>> {
        Box::pin(std::future::ready(Ok(Vec::new())))
    }
}

fn deliver_to<F>(archive: &Archive, options: &Options, deliver: F)
where
    F: Fn(&[Delivery]) -> Result<Vec<Refusal>, SinkError> + Send + Sync + 'static,
{
    archive.deliver_to([(SinkKind::S3, Arc::new(Fake(deliver)) as _)], options).unwrap();
}

fn nobody_is_there<T>() -> Result<T, SinkError> {
    Err(SinkError::Unavailable("nobody is there".to_owned()))
}

/// A refused game is tried again at every start. Should that fail as a whole, it concerns no other.
#[test]
fn a_refused_game_that_fails_its_group_holds_up_no_other() {
    let folder = tempfile::tempdir().unwrap();
    let records = games(6);
    let bad = records[0].game_id;
    let options = Options { retention_days: 0, ..Options::default() };
    let store = |archive: &Archive, records: &[GameRecord]| {
        for record in records {
            assert_eq!(submit(archive, record).recv_timeout(PATIENCE), Ok(StoreOutcome::Stored(Stored::Now)));
        }
    };
    let until_delivered = |archive: &Archive| {
        let began = std::time::Instant::now();
        while archive.status().sinks[0].pending > 0 {
            assert!(began.elapsed() < PATIENCE, "{:?}", archive.status().sinks);
            std::thread::sleep(Duration::from_millis(5));
        }
        assert_eq!(archive.status().sinks[0].set_aside, 1);
    };
    let archive = open(folder.path());
    store(&archive, &records[..3]);
    deliver_to(&archive, &options, move |games| {
        let bad = games.iter().filter(|game| game.id == bad);
        Ok(bad.map(|game| Refusal { id: game.id, reason: "no".to_owned() }).collect())
    });
    until_delivered(&archive);
    assert!(archive.close(PATIENCE));
    drop(archive);

    let archive = open(folder.path());
    store(&archive, &records[3..]);
    deliver_to(&archive, &options, move |games| {
        if games.iter().any(|game| game.id == bad) { nobody_is_there() } else { Ok(Vec::new()) }
    });
    until_delivered(&archive);
}

/// A start knows its sinks only after it has opened the archive; until then nobody is asked whether an old game is owed.
#[test]
fn a_start_removes_no_old_game_that_a_sink_is_owed() {
    let folder = tempfile::tempdir().unwrap();
    let mut records = games(5);
    let now = now_ms();
    let mut ids = liap::archive::GameIds::default();
    for (number, record) in (1..).zip(&mut records) {
        record.started_at_ms = if number <= 2 { now - 8 * 86_400_000 } else { now };
        record.game_id = ids.next(record.started_at_ms, [number; 10]);
    }
    let options = Options { retention_days: 7, flush_interval: Duration::ZERO, ..Options::default() };
    let open = || {
        let metrics = Arc::new(Metrics::new("test", "test", false));
        Archive::open(folder.path(), &options, metrics).unwrap().0
    };
    // Whoever finishes a game has looked for old ones before, if it looks for them at all.
    let store = |archive: &Archive, record: &GameRecord| {
        assert_eq!(submit(archive, record).recv_timeout(PATIENCE), Ok(StoreOutcome::Stored(Stored::Now)));
    };
    let archive = open();
    store(&archive, &records[0]);
    store(&archive, &records[1]);
    assert!(archive.close(PATIENCE));
    drop(archive);

    let archive = open();
    store(&archive, &records[2]);
    assert_eq!(archive.status().store.records, 3, "before the sinks are known");
    deliver_to(&archive, &options, |_| nobody_is_there());
    store(&archive, &records[3]);
    // The next look is an hour away; this one does what it does.
    assert_eq!(archive.prune(now - 7 * 86_400_000).unwrap(), 0);
    assert_eq!(archive.status().store.records, 4, "they are owed");
    assert_eq!(archive.owed_before(now), 2);
    assert!(archive.close(PATIENCE));
    drop(archive);

    let archive = open();
    archive.deliver_to([], &options).unwrap();
    store(&archive, &records[4]);
    let began = std::time::Instant::now();
    while archive.status().store.records != 3 {
        assert!(began.elapsed() < PATIENCE, "nobody is owed them any more");
        std::thread::yield_now();
    }
}

/// A copy of a game may go when the game was found in the raw file, which is after it was said to be stored.
#[test]
fn ten_games_are_ten_records_in_one_place_and_a_checkpoint_finds_them() {
    let folder = tempfile::tempdir().unwrap();
    let archive = open(folder.path());
    let records = games(10);
    let waiting: Vec<_> = records
        .iter()
        .map(|record| {
            let ((tell, told), (find, found)) = (mpsc::channel(), mpsc::channel());
            let (tell, find) = (move |answer| tell.send(answer).unwrap(), move || find.send(()).unwrap());
            archive.submit_copied(record.clone(), tell, find).unwrap();
            (told, found)
        })
        .collect();
    for (told, found) in &waiting {
        assert_eq!(told.recv_timeout(PATIENCE), Ok(StoreOutcome::Stored(Stored::Now)));
        assert_eq!(found.recv_timeout(PATIENCE), Ok(()));
    }
    assert_eq!(archive.status().store.unchecked_records, 0);
    let raw = std::fs::read(folder.path().join("records/db")).unwrap();
    for record in &records {
        let (id, plain) = (record.game_id.to_bytes(), encode(record).unwrap());
        assert!(memchr::memmem::find(&raw, &id).is_some(), "{} is named in the raw file", record.game_id);
        assert!(memchr::memmem::find(&raw, &plain).is_some(), "{} lies there in one piece", record.game_id);
    }
    let names = || {
        let names = std::fs::read_dir(folder.path()).unwrap();
        names.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect::<std::collections::BTreeSet<_>>()
    };
    assert_eq!(names(), ["lock", "numbers", "records", "tip"].map(str::to_owned).into());
    // One that is there already is covered as well.
    let (find, found) = mpsc::channel();
    archive.submit_copied(records[3].clone(), |_| (), move || find.send(()).unwrap()).unwrap();
    assert_eq!(found.recv_timeout(PATIENCE), Ok(()));
    assert!(archive.close(PATIENCE));
    assert!(names().contains("seal"));
}

/// An archive as the program before wrote it: 48 games in four segments, 7 of them removed, 25 of the first delivered.
#[test]
fn the_golden_archive_of_the_layout_before_holds_the_same_and_sends_nothing_again() {
    use sha2::Digest as _;
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/golden/layout-1");
    let folder = tempfile::tempdir().unwrap();
    let copied = std::process::Command::new("cp").arg("-r").arg(golden.join("archive")).arg(folder.path()).status();
    assert!(copied.unwrap().success());
    let path = folder.path().join("archive");
    let lines = std::fs::read_to_string(golden.join("records.sha256")).unwrap();
    let expected: Vec<(u64, GameId, &str)> = lines
        .lines()
        .map(|line| {
            let mut words = line.split(' ');
            let mut word = || words.next().unwrap();
            (word().parse().unwrap(), word().parse().unwrap(), word())
        })
        .collect();
    let sent = Arc::new(std::sync::Mutex::new(Vec::new()));
    for start in 0..2 {
        let options = Options { retention_days: 0, ..Options::default() };
        let metrics = Arc::new(Metrics::new("test", "test", false));
        let (archive, report) = Archive::open(&path, &options, metrics).unwrap();
        assert!(!report.is_damaged(), "{report}");
        assert_eq!(report.taken_over.is_some(), start == 0);
        assert_eq!((report.records, archive.status().store.records), (41, 41));
        for &(seq, id, hash) in &expected {
            let stored = archive.store().get(id).unwrap().unwrap();
            assert_eq!(hex::encode(sha2::Sha256::digest(&stored)), *hash);
            assert_eq!(archive.store().number(id), Some(seq));
            assert!(archive.get(id).unwrap().is_some());
        }
        let receiving = Arc::clone(&sent);
        deliver_to(&archive, &options, move |games| {
            receiving.lock().unwrap().extend(games.iter().map(|game| game.id));
            Ok(Vec::new())
        });
        let began = std::time::Instant::now();
        while archive.status().sinks[0].pending > 0 {
            assert!(began.elapsed() < PATIENCE, "{:?}", archive.status().sinks);
            std::thread::sleep(Duration::from_millis(5));
        }
        assert!(archive.close(PATIENCE));
        let owed: Vec<GameId> = expected.iter().skip(25).map(|(_, id, _)| *id).collect();
        assert_eq!(*sent.lock().unwrap(), owed, "start {start}: what was owed, once");
    }
}

fn now_ms() -> u64 {
    u64::try_from(std::time::UNIX_EPOCH.elapsed().unwrap().as_millis()).unwrap()
}

/// A game waits for its group: until that is full, until the interval is over, or until somebody wants to read.
#[test]
fn a_group_is_written_when_it_is_full_or_due_or_wanted() {
    let folder = tempfile::tempdir().unwrap();
    let open = |batch_size, flush_interval| {
        let options = Options { retention_days: 0, batch_size, flush_interval, ..Options::default() };
        Archive::open(folder.path(), &options, Arc::new(Metrics::new("test", "test", false))).unwrap().0
    };
    let games = games(12);
    let now_stored = Ok(StoreOutcome::Stored(Stored::Now));

    let archive = open(3, Duration::from_secs(3600));
    let told: Vec<_> = games[..4].iter().map(|game| submit(&archive, game)).collect();
    for told in &told[..3] {
        assert_eq!(told.recv_timeout(PATIENCE), now_stored);
    }
    assert_eq!(archive.status().store.records, 3);
    assert!(told[3].try_recv().is_err(), "the fourth waits for two more");
    archive.catch_up();
    assert_eq!(told[3].try_recv(), Ok(StoreOutcome::Stored(Stored::Now)));
    let told = submit(&archive, &games[4]);
    assert!(archive.close(PATIENCE), "closing lets nothing wait");
    assert_eq!(told.recv_timeout(PATIENCE), now_stored);
    drop(archive);

    let archive = open(100, Duration::from_millis(300));
    let begun = std::time::Instant::now();
    let told: Vec<_> = games[5..10].iter().map(|game| submit(&archive, game)).collect();
    for told in &told {
        assert_eq!(told.recv_timeout(PATIENCE), now_stored);
    }
    assert!(begun.elapsed() >= Duration::from_millis(300));
    // The disk may have begun with the first before the last was there.
    assert!(archive.status().store.groups <= 2, "they went together");
    let status = archive.check();
    assert_eq!(status.status, HealthStatus::Healthy);
    assert_eq!(status.figures["games"], 10);
    drop(archive);
}
