//! The archive's store from outside: what it keeps, and what it survives.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::num::NonZeroUsize;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use liap::archive::{
    GameId, Health, IfFull, Kept, MAX_RECORD_BYTES, OpenReport, Receipt, RecordStore, StoreError, StoreOptions, Stored,
    Unreadable, WriteError,
};
use rand::rngs::SmallRng;
use rand::seq::{IndexedRandom, SliceRandom};
use rand::{Rng, RngExt, SeedableRng};

/// Long enough for the slowest disk, short enough to find a hang.
const PATIENCE: Duration = Duration::from_secs(60);

/// Small groups and a small queue, so that a few hundred games fill several.
fn small() -> StoreOptions {
    StoreOptions {
        cache_bytes: 1 << 20,
        queue_records: NonZeroUsize::new(256).unwrap(),
        group_records: NonZeroUsize::new(50).unwrap(),
        ..StoreOptions::default()
    }
}

/// The id of game number `n`; most are in order of time, some share a millisecond, some come late.
fn id(n: u64) -> GameId {
    let late = if n.is_multiple_of(17) { 40 } else { 0 };
    let mut bytes = GameId::first_at(1_700_000_000_000 + n / 2 * 3 - late).to_bytes();
    bytes[8..].copy_from_slice(&n.wrapping_mul(0x9E37_79B9_7F4A_7C15).to_be_bytes());
    GameId::from_bytes(bytes)
}

/// The record of game number `n`: bytes that no other game has, of a length like a real one's.
fn record(n: u64) -> Vec<u8> {
    let mut random = SmallRng::seed_from_u64(n);
    let mut bytes = vec![0; random.random_range(20..700)];
    random.fill_bytes(&mut bytes);
    bytes[..8].copy_from_slice(&n.to_le_bytes());
    bytes
}

fn put(store: &RecordStore, n: u64) -> Receipt {
    let until = Instant::now() + PATIENCE;
    loop {
        if let Some(receipt) = store.append(id(n), record(n), IfFull::ComesBack) {
            return receipt;
        }
        assert!(Instant::now() < until, "the queue stays full");
        std::thread::yield_now();
    }
}

fn put_all(store: &RecordStore, games: impl IntoIterator<Item = u64>) {
    let receipts: Vec<_> = games.into_iter().map(|n| put(store, n)).collect();
    for receipt in receipts {
        receipt.recv().unwrap().unwrap();
    }
}

fn open(path: &Path) -> RecordStore {
    let (store, report) = RecordStore::open(path, small()).unwrap();
    assert!(!report.is_damaged(), "{report}");
    store
}

/// All records by number, once each.
fn scan(store: &RecordStore) -> BTreeSet<u64> {
    let mut games = BTreeSet::new();
    let mut after = 0;
    loop {
        let found = store.after(after, 100, 1 << 20, Unreadable::Fails).unwrap();
        let Some(last) = found.last() else { break };
        after = last.seq;
        for numbered in found {
            let Kept::Whole(found, bytes) = numbered.record else { panic!("{numbered:?} is damaged") };
            let n = u64::from_le_bytes(bytes[..8].try_into().unwrap());
            assert_eq!((found, bytes), (id(n), record(n)));
            assert!(games.insert(n), "game {n} is there twice");
        }
    }
    games
}

#[test]
fn keeps_games_across_restarts() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("archive");
    for round in 0..4 {
        let store = open(&path);
        assert_eq!(store.count(), round * 300);
        put_all(&store, round * 300..(round + 1) * 300);
        for n in 0..(round + 1) * 300 {
            assert_eq!(store.get(id(n)).unwrap(), Some(record(n)));
        }
        assert_eq!(store.get(id(9_999)).unwrap(), None);
        assert_eq!(scan(&store).len() as u64, (round + 1) * 300);
        assert_eq!(store.status().health, Health::Healthy);
        assert!(store.close(PATIENCE));
        assert!(matches!(store.get(id(1)), Err(StoreError::Closed)));
        assert!(store.append(id(1), record(1), IfFull::ComesBack).is_none());
    }
}

#[test]
fn lists_newest_first() {
    let folder = tempfile::tempdir().unwrap();
    let mut expected: Vec<GameId> = (0..1000).map(id).collect();
    expected.sort_unstable();
    expected.reverse();
    let mut shuffled: Vec<u64> = (0..1000).collect();
    shuffled.shuffle(&mut SmallRng::seed_from_u64(1));
    let store = open(folder.path());
    put_all(&store, shuffled);
    drop(store);

    let store = open(folder.path());
    put_all(&store, 5000..5003); // these wait in memory, the others come from disk
    let recent: Vec<GameId> = [5002, 5001, 5000].map(id).into();
    let mut all = recent.clone();
    all.sort_unstable();
    all.reverse();
    all.extend(&expected);
    assert_eq!(store.newest_ids(GameId::MAX, 2000).unwrap(), all);
    assert_eq!(store.newest_ids(GameId::MAX, 500).unwrap(), all[..500]);
    assert_eq!(store.newest_ids(GameId::MAX, 0).unwrap(), []);
    assert_eq!(store.newest_ids(expected[200], 3).unwrap(), expected[201..204]);
    assert_eq!(store.newest_ids(expected[999], 3).unwrap(), []);
}

#[test]
fn removes_games_for_good() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    put_all(&store, 0..400);
    let gone: Vec<u64> = (0..200).chain([250, 251, 252, 399]).collect();
    let gone_ids: Vec<GameId> = gone.iter().map(|n| id(*n)).collect();
    assert_eq!(store.remove(&gone_ids).unwrap(), 204);
    assert_eq!(store.remove(&gone_ids).unwrap(), 0);
    put_all(&store, 400..450);
    let left: BTreeSet<u64> = (0..450).filter(|n| !gone.contains(n)).collect();
    let check = |store: &RecordStore| {
        assert_eq!(scan(store), left);
        assert_eq!(store.count(), left.len() as u64);
        assert_eq!(store.newest_ids(GameId::MAX, 1000).unwrap().len(), left.len());
        for n in 0..450 {
            assert_eq!(store.get(id(n)).unwrap(), left.contains(&n).then(|| record(n)));
        }
    };
    check(&store);
    // A process that is killed now leaves stale copies of them in its files.
    let killed = tempfile::tempdir().unwrap();
    write_files(killed.path(), &files(folder.path()));
    check(&open(killed.path()));
    drop(store);
    let store = open(folder.path());
    check(&store);
    // What was removed may come back, from a backup for example.
    put_all(&store, [3]);
    assert_eq!(store.get(id(3)).unwrap(), Some(record(3)));
}

#[test]
fn one_game_is_stored_once() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    assert_eq!(put(&store, 7).recv().unwrap(), Ok(Stored::Now));
    assert_eq!(put(&store, 7).recv().unwrap(), Ok(Stored::Before));
    assert_eq!(
        store.append(id(7), b"another".to_vec(), IfFull::ComesBack).unwrap().recv().unwrap(),
        Err(WriteError::Conflict(id(7)))
    );
    // Also within one group, and among older games.
    let receipts: Vec<_> = [3, 3, 9, 9, 7, 3].into_iter().map(|n| put(&store, n)).collect();
    let answers: Vec<_> = receipts.into_iter().map(|receipt| receipt.recv().unwrap().unwrap()).collect();
    assert_eq!(answers.iter().filter(|answer| **answer == Stored::Now).count(), 2);
    assert_eq!(store.count(), 3);
    drop(store);
    let store = open(folder.path());
    assert_eq!(put(&store, 3).recv().unwrap(), Ok(Stored::Before));
    assert_eq!(scan(&store), BTreeSet::from([3, 7, 9]));
}

#[test]
fn takes_no_more_than_it_may() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    let too_large = store.append(id(1), vec![0; MAX_RECORD_BYTES + 1], IfFull::ComesBack).unwrap().recv().unwrap();
    assert_eq!(too_large, Err(WriteError::NoGame("it is larger than any game".to_owned())));
    let largest = vec![7; MAX_RECORD_BYTES];
    store.append(id(1), largest.clone(), IfFull::ComesBack).unwrap().recv().unwrap().unwrap();
    assert_eq!(store.get(id(1)).unwrap(), Some(largest));
    store.append(id(2), Vec::new(), IfFull::ComesBack).unwrap().recv().unwrap().unwrap();
    assert_eq!(store.get(id(2)).unwrap(), Some(Vec::new()));
    // More at once than the queue holds: some are not taken, none is lost.
    let mut taken = Vec::new();
    let mut full = 0;
    for n in 100..3000 {
        match store.append(id(n), record(n), IfFull::ComesBack) {
            Some(receipt) => taken.push((n, receipt)),
            None => full += 1,
        }
    }
    assert!(full > 0);
    assert!(store.flush(PATIENCE));
    for (n, receipt) in taken {
        assert_eq!(receipt.recv().unwrap(), Ok(Stored::Now));
        assert_eq!(store.get(id(n)).unwrap(), Some(record(n)));
    }
}

#[test]
fn is_opened_by_one_at_a_time() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    put_all(&store, 0..10);
    let error = RecordStore::open(folder.path(), small()).unwrap_err();
    assert!(matches!(error, StoreError::Locked { .. }));
    assert!(error.to_string().contains(&format!("process {}", std::process::id())), "{error}");
    assert_eq!(scan(&store).len(), 10);
    drop(store);
    assert_eq!(open(folder.path()).count(), 10);
}

fn disk_bytes(folder: &Path) -> usize {
    files(folder).values().map(Vec::len).sum()
}

/// Most of a large database is dead once most of its games are removed; a new one takes its place.
#[test]
fn the_space_of_removed_games_is_given_back() {
    const GAMES: u64 = 36_000;
    let folder = tempfile::tempdir().unwrap();
    let options = StoreOptions { queue_records: NonZeroUsize::new(40_000).unwrap(), ..StoreOptions::default() };
    let (store, _) = RecordStore::open(folder.path(), options).unwrap();
    put_all(&store, 0..GAMES);
    let before = disk_bytes(folder.path());
    let gone: Vec<GameId> = (0..GAMES).filter(|n| n % 8 != 0).map(id).collect();
    assert_eq!(store.remove(&gone).unwrap(), gone.len() as u64);
    // Whoever asks next is answered after the database was replaced.
    assert_eq!(store.remove(&gone).unwrap(), 0);
    let after = disk_bytes(folder.path());
    assert!(after < before / 4, "{before} bytes became {after}");
    put_all(&store, GAMES..GAMES + 10);
    let left: BTreeSet<u64> = (0..GAMES).filter(|n| n % 8 == 0).chain(GAMES..GAMES + 10).collect();
    assert_eq!(scan(&store), left);
    drop(store);
    let store = open(folder.path());
    assert_eq!(scan(&store), left);
    assert_eq!(put(&store, 1).recv().unwrap(), Ok(Stored::Now));
}

/// A file of the two slots that hold a number, as every version of the program wrote it.
fn number_file(version: u32, number: u64) -> Vec<u8> {
    let slot = |generation: u64| {
        let mut slot = b"LIAP TIP".to_vec();
        slot.extend(version.to_le_bytes());
        slot.extend(generation.to_le_bytes());
        slot.extend(number.to_le_bytes());
        slot.resize(4092, 0);
        slot.extend(crc32fast::hash(&slot).to_le_bytes());
        slot
    };
    [slot(0), slot(1)].concat()
}

#[test]
fn a_later_layout_is_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    put_all(&open(folder.path()), 0..10);
    fs::write(folder.path().join("tip"), number_file(3, 10)).unwrap();
    let before = files(folder.path());
    assert!(matches!(RecordStore::open(folder.path(), small()), Err(StoreError::Later { version: 3, .. })));
    assert_eq!(files(folder.path()), before);
}

#[test]
fn a_lost_end_is_noticed_and_a_crash_before_the_high_water_mark_is_none() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("archive");
    let store = open(&path);
    put_all(&store, 0..5);
    let early = files(&path);
    put_all(&store, 5..10);
    let late = files(&path);
    drop(store);
    let mark = Path::new("tip");
    let begin = |files: &BTreeMap<PathBuf, Vec<u8>>, tip: &[u8]| {
        fs::remove_dir_all(&path).unwrap();
        write_files(&path, files);
        fs::write(path.join(mark), tip).unwrap();
    };

    // The process was killed after the records and before the mark.
    begin(&late, &early[mark]);
    assert_eq!(scan(&open(&path)), (0..10).collect());

    // The disk forgot the end of the file.
    begin(&early, &late[mark]);
    let (store, report) = RecordStore::open(&path, small()).unwrap();
    assert_eq!((report.missing, report.records), (5, 5), "{report}");
    assert!(report.is_damaged());
    put_all(&store, 20..25);
    drop(store);
    let (store, report) = RecordStore::open(&path, small()).unwrap();
    assert_eq!((report.missing, report.missing_before), (0, 5), "{report}");
    assert!(!report.is_damaged(), "{report}");
    assert_eq!(scan(&store), (0..5).chain(20..25).collect());
}

#[test]
fn a_lost_game_can_be_stored_again() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("archive");
    put_all(&open(&path), 0..10);
    let db = path.join("records/db");
    let mut bytes = fs::read(&db).unwrap();
    for place in copies(&bytes).remove(&0).unwrap() {
        bytes[place.start + 40] ^= 1;
    }
    fs::write(&db, &bytes).unwrap();
    let (store, report) = RecordStore::open(&path, small()).unwrap();
    assert_eq!(report.missing, 1, "{report}");
    let aside = report.set_aside.unwrap();
    let kept = ["db", "records/db"].iter().find_map(|name| fs::read(aside.join(name)).ok()).unwrap();
    assert!(kept == bytes, "the damaged file is kept as it was");
    assert_eq!(aside.parent(), path.canonicalize().unwrap().parent());
    assert!(aside.file_name().unwrap().to_str().unwrap().starts_with("archive.damaged-20"));
    assert_eq!(put(&store, 0).recv().unwrap(), Ok(Stored::Now));
    assert_eq!(scan(&store), (0..10).collect());
    drop(store);
    let (store, report) = RecordStore::open(&path, small()).unwrap();
    assert_eq!((report.is_damaged(), report.missing_before), (false, 1), "{report}");
    assert_eq!(scan(&store), (0..10).collect());
}

/// sled takes a snapshot that was never finished for a whole one, and then opens never again.
#[test]
fn a_torn_snapshot_costs_nothing() {
    for torn in [&b""[..], &b"half a snapshot"[..]] {
        let folder = tempfile::tempdir().unwrap();
        let store = open(folder.path());
        put_all(&store, 0..600);
        let killed = files(folder.path());
        drop(store);
        let tear = |folder: &Path| fs::write(folder.join("records/snap.00000000FFFFFFFF.generating"), torn).unwrap();
        tear(folder.path());
        let (store, report) = RecordStore::open(folder.path(), small()).unwrap();
        assert!(report.is_damaged() && report.missing == 0, "it was closed, and is not as it was: {report}");
        assert_eq!(scan(&store).len(), 600);
        for n in 0..600 {
            assert_eq!(store.get(id(n)).unwrap(), Some(record(n)));
        }
        let folder = tempfile::tempdir().unwrap();
        write_files(folder.path(), &killed);
        tear(folder.path());
        assert_eq!(scan(&open(folder.path())).len(), 600);
    }
}

/// The file of a segment of the layout before, with these records.
fn old_segment(games: Range<u64>) -> Vec<u8> {
    let mut bytes = Vec::new();
    for n in games {
        let record = record(n);
        let mut head = b"LGR1".to_vec();
        head.extend(u32::try_from(record.len()).unwrap().to_le_bytes());
        head.extend((n + 1).to_le_bytes());
        head.extend(id(n).to_bytes());
        let crc = crc32fast::hash(&[&head[..], &record].concat());
        bytes.extend([head, crc.to_le_bytes().to_vec(), record].concat());
    }
    bytes
}

/// An archive of the layout before.
fn old_archive(path: &Path, games: u64) {
    let segments = path.join("segments");
    fs::create_dir_all(&segments).unwrap();
    let step = games.div_ceil(3);
    for first in (0..games).step_by(usize::try_from(step).unwrap()) {
        let name = format!("{:020}.seg", first + 1);
        fs::write(segments.join(name), old_segment(first..(first + step).min(games))).unwrap();
    }
    fs::create_dir_all(path.join("catalog")).unwrap();
    fs::write(path.join("catalog/conf"), "").unwrap();
    fs::write(path.join("catalog.seal"), "").unwrap();
    fs::write(path.join("tip"), number_file(1, games)).unwrap();
}

/// The names in a folder that begin like this.
fn named(folder: &Path, prefix: &str) -> Vec<PathBuf> {
    let names = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    names.filter(|path| path.file_name().unwrap().to_str().unwrap().starts_with(prefix)).collect()
}

#[test]
fn an_archive_of_the_layout_before_is_taken_over_and_kept_aside() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("archive");
    old_archive(&path, 900);
    let before = files(&path);
    let (store, report) = RecordStore::open(&path, small()).unwrap();
    assert!(!report.is_damaged(), "{report}");
    assert_eq!(scan(&store), (0..900).collect());
    let aside = report.taken_over.unwrap();
    assert_eq!(files(&aside), before);
    assert!(["segments", "catalog", "catalog.seal"].iter().all(|name| !path.join(name).exists()));
    put_all(&store, 900..910);
    drop(store);
    let (store, report) = RecordStore::open(&path, small()).unwrap();
    assert!(report.taken_over.is_none() && !report.is_damaged(), "{report}");
    assert_eq!(scan(&store), (0..910).collect());
}

/// Files of the layout before that somebody puts beside a store are not taken for it.
#[test]
fn a_store_is_not_replaced_by_stray_segments() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("archive");
    put_all(&open(&path), 0..50);
    fs::create_dir(path.join("segments")).unwrap();
    fs::write(path.join("segments/00000000000000000001.seg"), old_segment(0..5)).unwrap();
    assert_eq!(scan(&open(&path)), (0..50).collect());
}

/// What the layout before had lost is told, and what it had is served.
#[test]
fn a_damaged_archive_of_the_layout_before_is_taken_over() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("archive");
    old_archive(&path, 90);
    let segment = path.join("segments/00000000000000000031.seg");
    let mut bytes = fs::read(&segment).unwrap();
    bytes[50] ^= 1;
    fs::write(&segment, bytes).unwrap();
    fs::write(path.join("tip"), number_file(1, 95)).unwrap();
    let (store, report) = RecordStore::open(&path, small()).unwrap();
    assert_eq!((report.missing, report.records, report.is_damaged()), (6, 89, true), "{report}");
    put_all(&store, 200..210);
    drop(store);
    let (store, report) = RecordStore::open(&path, small()).unwrap();
    assert_eq!((report.missing, report.missing_before, report.is_damaged()), (0, 6, false), "{report}");
    assert_eq!(scan(&store), (0..90).filter(|n| *n != 30).chain(200..210).collect());
}

/// Kills the process while it takes an archive over. More often with `LIAP_KILLS=300`.
#[test]
fn a_takeover_that_is_interrupted_begins_again() {
    let kills = from_environment("LIAP_KILLS", 6).min(100);
    let mut random = SmallRng::seed_from_u64(5);
    for kill in 0..kills {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("archive");
        old_archive(&path, 3000);
        for _ in 0..2 {
            let mut child = Running::start(Command::new(std::env::current_exe().unwrap()), &path, 3000, Some(3000));
            std::thread::sleep(Duration::from_millis(random.random_range(5..250)));
            child.process.kill().unwrap();
            child.process.wait().unwrap();
        }
        let (store, report) = RecordStore::open(&path, small()).unwrap();
        assert!(!report.is_damaged(), "kill {kill}: {report}");
        assert_eq!(scan(&store), (0..3000).collect());
        let kept: BTreeMap<PathBuf, Vec<u8>> =
            named(folder.path(), "archive.old-layout-").iter().flat_map(|aside| files(aside)).collect();
        let segments: Vec<u8> =
            kept.iter().filter(|(name, _)| name.starts_with("segments")).flat_map(|(_, bytes)| bytes.clone()).collect();
        assert!(segments == old_segment(0..3000), "kill {kill}: the old files are kept");
    }
}

/// Waits until a running store has noticed damage and works again.
fn mended(store: &RecordStore) -> OpenReport {
    let until = Instant::now() + PATIENCE;
    loop {
        let report = store.report();
        if report.is_damaged() && store.status().health == Health::Healthy {
            return report;
        }
        assert!(Instant::now() < until, "nothing was noticed: {:?}", store.status());
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Removes or replaces files of a running store in some way, and returns what is noticed and what the next opening finds.
fn lose_files(lose: impl Fn(&Path)) -> (OpenReport, BTreeSet<u64>) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("archive");
    let store = open(&path);
    put_all(&store, 0..300);
    assert_eq!(store.remove(&[id(7)]).unwrap(), 1);
    drop(store);
    let store = open(&path);
    put_all(&store, 300..350);
    lose(&path);
    // Games go on meanwhile.
    put_all(&store, 350..360);
    let report = mended(&store);
    put_all(&store, 360..370);
    let served = scan(&store);
    drop(store);
    let (store, again) = RecordStore::open(&path, small()).unwrap();
    assert!(!again.is_damaged() && again.recovered.is_none(), "{report}, and then {again}");
    assert_eq!(again.missing_before, report.missing);
    assert_eq!(scan(&store), served);
    assert!(served.contains(&359) && served.contains(&369) && !served.contains(&7));
    (report, served)
}

/// Nothing is lost as long as the database has its file open, whatever its name leads to.
#[test]
fn files_that_are_removed_or_replaced_while_a_store_is_open_are_written_anew() {
    type Lose = fn(&Path);
    let ways: [(&str, Lose); 7] = [
        ("records", |path| {
            for entry in fs::read_dir(path).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() { fs::remove_dir_all(path).unwrap() } else { fs::remove_file(path).unwrap() }
            }
        }),
        ("records", |path| fs::remove_dir_all(path).unwrap()),
        ("records", |path| fs::rename(path, path.with_extension("elsewhere")).unwrap()),
        ("records", |path| {
            let db = path.join("records/db");
            fs::remove_file(&db).unwrap();
            fs::write(db, "something else").unwrap();
        }),
        ("tip", |path| fs::remove_file(path.join("tip")).unwrap()),
        ("numbers", |path| fs::remove_file(path.join("numbers")).unwrap()),
        ("lock", |path| fs::remove_file(path.join("lock")).unwrap()),
    ];
    std::thread::scope(|scope| {
        for (name, lose) in ways {
            scope.spawn(move || {
                let (report, served) = lose_files(lose);
                let told = report.to_string();
                assert!(
                    told.contains("removed or replaced while the archive was open: ") && told.contains(name),
                    "{told}"
                );
                assert_eq!((report.missing, served.len()), (0, 369), "{told}");
            });
        }
    });
}

/// What a file no longer holds is told, and the rest is served.
#[test]
fn a_file_that_is_cut_while_a_store_is_open_is_told() {
    let (report, served) =
        lose_files(|path| fs::File::options().write(true).open(path.join("records/db")).unwrap().set_len(0).unwrap());
    assert_eq!(report.missing + served.len() as u64, 369, "{report}");
}

/// How many, from a variable, else this many.
fn from_environment(name: &str, default: usize) -> usize {
    std::env::var(name).map_or(default, |text| text.parse().unwrap())
}

/// Where the frames of each game lie in a raw file: the record and the 36 bytes before it, as often as it is there.
fn copies(bytes: &[u8]) -> BTreeMap<u64, Vec<Range<usize>>> {
    let mut found: BTreeMap<u64, Vec<Range<usize>>> = BTreeMap::new();
    let mut at = 0;
    while let Some(step) = bytes[at..].windows(4).position(|window| window == b"LGR1") {
        let start = at + step;
        at = start + 4;
        let Some(head) = bytes.get(start..start + 44) else { break };
        let length = u32::from_le_bytes(head[4..8].try_into().unwrap()) as usize;
        let n = u64::from_le_bytes(head[36..44].try_into().unwrap());
        if bytes.get(start + 36..start + 36 + length).is_some_and(|found| n < 1 << 20 && found == record(n)) {
            found.entry(n).or_default().push(start..start + 36 + length);
            at = start + 36 + length;
        }
    }
    found
}

/// Spoils every copy of the first game that is found in an archive's raw file.
pub(crate) fn spoil_a_game(archive: &Path) {
    let db = archive.join("records/db");
    let mut bytes = fs::read(&db).unwrap();
    let starts: Vec<usize> =
        bytes.windows(4).enumerate().filter(|(_, magic)| magic == b"LGR1").map(|(at, _)| at).collect();
    let number = |at: usize| bytes[at + 8..at + 16].to_vec();
    let first = number(starts[0]);
    for at in starts.into_iter().filter(|at| number(*at) == first).collect::<Vec<_>>() {
        bytes[at + 40] ^= 1;
    }
    fs::write(&db, bytes).unwrap();
}

/// All files below a folder with their contents, but for the lock, which holds nothing.
fn files(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(next) = folders.pop() {
        for entry in fs::read_dir(next).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.file_name().unwrap() != "lock" {
                found.insert(path.strip_prefix(folder).unwrap().to_owned(), fs::read(&path).unwrap());
            }
        }
    }
    found
}

fn write_files(folder: &Path, files: &BTreeMap<PathBuf, Vec<u8>>) {
    for (name, bytes) in files {
        let path = folder.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }
}

/// Spoils one file in one way.
fn spoil(files: &mut BTreeMap<PathBuf, Vec<u8>>, random: &mut SmallRng) {
    let names: Vec<PathBuf> = files.keys().cloned().collect();
    let Some(name) = names.choose(random) else { return };
    let bytes = files.get_mut(name).unwrap();
    if bytes.is_empty() || random.random_ratio(1, 8) {
        files.remove(name);
        return;
    }
    let at = random.random_range(0..bytes.len());
    let end = (at + random.random_range(1..6000)).min(bytes.len());
    match random.random_range(0..5) {
        0 => bytes[at] ^= 1 << random.random_range(0..8),
        1 => {
            for _ in 0..16 {
                let at = random.random_range(0..bytes.len());
                bytes[at] ^= 1 << random.random_range(0..8);
            }
        }
        2 => bytes[at..end].fill(0),
        3 => random.fill_bytes(&mut bytes[at..end]),
        _ => bytes.truncate(at),
    }
}

/// Damages many stores in many ways. More of them with `LIAP_DAMAGES=10000`.
#[test]
fn damage_is_noticed_and_whole_records_are_served() {
    const GAMES: u64 = 300;
    let rounds = from_environment("LIAP_DAMAGES", 150);

    // One store whose process was killed, one closed in order, one that has removed games and was killed.
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    put_all(&store, 0..GAMES);
    let killed = files(folder.path());
    drop(store);
    let closed = files(folder.path());
    let store = open(folder.path());
    let removed: BTreeSet<u64> = (100..150).chain(0..60).collect();
    store.remove(&removed.iter().copied().map(id).collect::<Vec<_>>()).unwrap();
    let pruned = files(folder.path());
    drop(store);
    let db = Path::new("records/db");
    assert!(closed.contains_key(Path::new("seal")) && !killed.contains_key(Path::new("seal")));
    let templates = [killed, closed, pruned].map(|files| (copies(&files[db]), files));
    assert!(templates.iter().all(|(places, _)| places.len() >= 190));

    for round in 0..rounds {
        let mut random = SmallRng::seed_from_u64(round as u64);
        let kind = round % 3;
        let (places, template) = &templates[kind];
        let mut damaged = template.clone();
        for _ in 0..random.random_range(1..4) {
            spoil(&mut damaged, &mut random);
        }
        let is_changed = |name: &&PathBuf| damaged.get(*name) != template.get(*name);
        let changed: Vec<&PathBuf> = template.keys().filter(is_changed).collect();
        let is_whole = |place: &Range<usize>| {
            damaged.get(db).and_then(|bytes| bytes.get(place.clone())) == template[db].get(place.clone())
        };
        let gone = if kind == 2 { removed.clone() } else { BTreeSet::new() };
        let whole: BTreeSet<u64> =
            places.iter().filter(|(_, places)| places.iter().any(is_whole)).map(|(n, _)| *n).collect();
        let expected: BTreeSet<u64> = whole.difference(&gone).copied().collect();

        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("archive");
        write_files(&path, &damaged);
        let (store, report) = RecordStore::open(&path, small()).unwrap();
        let served = scan(&store);
        if changed.iter().any(|name| name.ends_with("numbers")) {
            // What was removed may come back, where nobody can tell any more that it was.
            assert!(served.is_superset(&expected) && served.is_subset(&whole), "round {round}, {changed:?}: {report}");
        } else {
            assert_eq!(served, expected, "round {round}, {changed:?}: {report}");
        }
        for n in 0..GAMES {
            let expected = served.contains(&n).then(|| record(n));
            assert_eq!(store.get(id(n)).unwrap(), expected, "round {round}, game {n}, {changed:?}: {report}");
        }

        // Of files that were not closed nobody knows what they were; there is nothing to notice while all games are there.
        let noticed = report.is_damaged() || (kind != 1 && served.len() as u64 == GAMES - gone.len() as u64);
        assert!(noticed || changed.is_empty(), "round {round}, {changed:?}: {report}");
        if let Some(aside) = &report.set_aside {
            for name in ["db", "records/db"] {
                if let (Ok(kept), Some(before)) = (fs::read(aside.join(name)), damaged.get(db)) {
                    assert!(kept == *before, "round {round}: {name} was not kept as it was");
                }
            }
        }

        // Life goes on, and the next opening finds nothing new.
        put_all(&store, [GAMES]);
        drop(store);
        let (store, again) = RecordStore::open(&path, small()).unwrap();
        assert!(!again.is_damaged(), "round {round}, {changed:?}: {report}; {again}");
        assert_eq!(again.missing_before, report.missing + report.missing_before, "round {round}");
        let mut expected = served;
        expected.insert(GAMES);
        assert_eq!(scan(&store), expected, "round {round}");
    }
}

/// The test that is a child process of the others: it stores games and says which were acknowledged.
///
/// It does nothing unless the others start it.
#[test]
fn child() {
    let Ok(path) = std::env::var("LIAP_STORE_CHILD") else { return };
    let say = |text: String| {
        // One write per line: a line that arrives is whole.
        let mut out = std::io::stdout();
        out.write_all(format!("\n{text}\n").as_bytes()).unwrap();
        out.flush().unwrap();
    };
    let (store, report) = RecordStore::open(Path::new(&path), small()).unwrap();
    say(format!("open {} {} {}", report.records, report.missing, report.is_damaged()));
    let mut next: u64 = std::env::var("LIAP_STORE_FROM").unwrap().parse().unwrap();
    let until: u64 = std::env::var("LIAP_STORE_UNTIL").map_or(u64::MAX, |text| text.parse().unwrap());
    let mut random = SmallRng::seed_from_u64(next);
    let mut was_failing = false;
    let mut waiting = std::collections::VecDeque::new();
    while next < until || !waiting.is_empty() {
        let failing = matches!(store.status().health, Health::Failing { .. });
        if failing != was_failing {
            was_failing = failing;
            say(if failing { "failing".to_owned() } else { "healthy".to_owned() });
        }
        if failing {
            // Old games can still be read, but for the moment in which the database is opened again.
            match store.get(id(0)) {
                Ok(found) => assert_eq!(found, Some(record(0))),
                Err(error) => assert!(matches!(error, StoreError::Failed(_)), "{error}"),
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        for _ in 0..random.random_range(1..100) {
            if next >= until {
                break;
            }
            match store.append(id(next), record(next), IfFull::ComesBack) {
                Some(receipt) => {
                    waiting.push_back((next, receipt));
                    next += 1;
                }
                None => {
                    if failing {
                        say("full".to_owned());
                    }
                    break;
                }
            }
        }
        while !failing && let Some((n, receipt)) = waiting.pop_front() {
            if store.flush(Duration::from_millis(100)) {
                receipt.recv().unwrap().unwrap();
                say(format!("ack {n}"));
            } else {
                waiting.push_front((n, receipt));
                break;
            }
        }
    }
    assert!(store.close(PATIENCE));
    say("closed".to_owned());
}

/// A running [`child`] and the lines it says.
struct Running {
    process: Child,
    lines: mpsc::Receiver<String>,
}

impl Running {
    fn start(mut command: Command, path: &Path, from: u64, until: Option<u64>) -> Self {
        command.args(["--exact", "store::child", "--nocapture", "--test-threads=1"]);
        command.env("LIAP_STORE_CHILD", path).env("LIAP_STORE_FROM", from.to_string());
        if let Some(until) = until {
            command.env("LIAP_STORE_UNTIL", until.to_string());
        }
        let mut process = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap();
        let out = BufReader::new(process.stdout.take().unwrap());
        let (sender, lines) = mpsc::channel();
        std::thread::spawn(move || out.lines().map_while(Result::ok).all(|line| sender.send(line).is_ok()));
        Self { process, lines }
    }

    /// All lines up to the first that begins like this.
    fn wait_for(&self, wanted: &str) -> Vec<String> {
        let mut seen = Vec::new();
        loop {
            let line =
                self.lines.recv_timeout(PATIENCE).unwrap_or_else(|_| panic!("never said {wanted:?}, but {seen:?}"));
            seen.push(line.clone());
            if line.starts_with(wanted) {
                return seen;
            }
        }
    }
}

fn acknowledged(lines: impl IntoIterator<Item = String>) -> impl Iterator<Item = u64> {
    lines.into_iter().filter_map(|line| line.strip_prefix("ack ").map(|n| n.parse().unwrap()))
}

/// Kills the process at any moment, while it opens too. More often with `LIAP_KILLS=300`.
#[test]
fn kill_loses_nothing_acknowledged() {
    let kills = from_environment("LIAP_KILLS", 20);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("archive");
    let mut random = SmallRng::seed_from_u64(kills as u64);
    let mut acked = BTreeSet::new();
    for kill in 0..kills {
        // As after a real crash, everything not acknowledged is handed over again.
        let from = acked.last().map_or(0, |last| last + 1);
        let mut child = Running::start(Command::new(std::env::current_exe().unwrap()), &path, from, None);
        let mut lines = Vec::new();
        if kill % 7 == 3 {
            std::thread::sleep(Duration::from_millis(random.random_range(0..50)));
        } else {
            lines = child.wait_for("open ");
            std::thread::sleep(Duration::from_millis(random.random_range(0..350)));
        }
        child.process.kill().unwrap();
        child.process.wait().unwrap();
        lines.extend(child.lines.iter());
        if let Some(report) = lines.iter().find(|line| line.starts_with("open ")) {
            assert!(report.ends_with(" 0 false"), "kill {kill}: {report}");
        }
        acked.extend(acknowledged(lines));
    }
    let (store, report) = RecordStore::open(&path, small()).unwrap();
    assert!(!report.is_damaged(), "{report}");
    let found = scan(&store);
    assert!(acked.is_subset(&found), "lost: {:?}", acked.difference(&found).collect::<Vec<_>>());
    assert!(acked.len() > kills, "only {} games in {kills} lives", acked.len());
    for n in &found {
        assert_eq!(store.get(id(*n)).unwrap(), Some(record(*n)));
    }
}

/// A limit on the size of files stands for a full disk; it can be set and lifted while the process runs.
#[test]
#[cfg(target_os = "linux")]
fn a_full_disk_stops_nothing_for_good() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("archive");
    put_all(&open(&path), 0..10);
    // A process that exceeds the limit is sent a signal; one that ignores it gets an error, as from a full disk.
    let mut command = Command::new("sh");
    command.args(["-c", r#"trap '' XFSZ; exec "$0" "$@""#]).arg(std::env::current_exe().unwrap());
    let mut child = Running::start(command, &path, 10, Some(30_000));
    let limit = |bytes: &str| {
        let pid = child.process.id().to_string();
        let done =
            Command::new("prlimit").args(["--pid", &pid, &format!("--fsize={bytes}:unlimited")]).status().unwrap();
        assert!(done.success());
    };
    let mut lines = child.wait_for("ack 3");
    for _ in 0..3 {
        limit("0");
        lines.extend(child.wait_for("failing"));
        lines.extend(child.wait_for("full"));
        // Long enough for sled's own flusher to fail as well.
        std::thread::sleep(Duration::from_millis(700));
        limit("unlimited");
        lines.extend(child.wait_for("healthy"));
    }
    // Killed at the worst of times, it begins again as if nothing had been.
    limit("0");
    lines.extend(child.wait_for("full"));
    child.process.kill().unwrap();
    child.process.wait().unwrap();
    lines.extend(child.lines.iter());
    let mut acked: BTreeSet<u64> = acknowledged(lines).collect();
    let next = acked.last().unwrap() + 1;
    assert_eq!(acked, (10..next).collect());
    let mut child = Running::start(Command::new(std::env::current_exe().unwrap()), &path, next, Some(30_000));
    acked.extend(acknowledged(child.wait_for("closed")));
    assert!(child.process.wait().unwrap().success());
    assert_eq!(acked, (10..30_000).collect());
    assert_eq!(scan(&open(&path)), (0..30_000).collect());
}

/// Makes every write below a folder fail with the error whose number a file holds, for as long as that file is there.
#[cfg(target_os = "linux")]
const FAILING_DISK: &str = r#"
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>
#include <unistd.h>
static int refused(int fd) {
    const char *flag = getenv("FAILING_FLAG"), *below = getenv("FAILING_BELOW");
    FILE *file = fopen(flag, "re");
    if (!file) return 0;
    int number = 0;
    if (fscanf(file, "%d", &number) != 1) number = EIO;
    fclose(file);
    char link[64], path[4096];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, sizeof path - 1);
    if (length < 0) return 0;
    path[length] = 0;
    if (strncmp(path, below, strlen(below))) return 0;
    errno = number;
    return 1;
}
#define WRAP(type, name, parameters, arguments) \
    type name parameters { \
        static type (*real) parameters; \
        if (!real) real = dlsym(RTLD_NEXT, #name); \
        return refused(fd) ? -1 : real arguments; \
    }
WRAP(ssize_t, write, (int fd, const void *bytes, size_t count), (fd, bytes, count))
WRAP(ssize_t, pwrite, (int fd, const void *bytes, size_t count, off_t at), (fd, bytes, count, at))
WRAP(ssize_t, pwrite64, (int fd, const void *bytes, size_t count, off64_t at), (fd, bytes, count, at))
WRAP(int, fsync, (int fd), (fd))
WRAP(int, fdatasync, (int fd), (fd))
WRAP(int, ftruncate64, (int fd, off64_t length), (fd, length))
WRAP(int, sync_file_range, (int fd, off64_t at, off64_t count, unsigned flags), (fd, at, count, flags))
"#;

/// A disk with errors, one that was made read-only, and one that is full, each for a while and while games are stored.
#[test]
#[cfg(target_os = "linux")]
fn a_disk_that_refuses_for_a_while_stops_nothing_for_good() {
    const GAMES: u64 = 20_000;
    let folder = tempfile::tempdir().unwrap();
    let (source, library) = (folder.path().join("failing.c"), folder.path().join("failing.so"));
    fs::write(&source, FAILING_DISK).unwrap();
    let built =
        Command::new("cc").args(["-shared", "-fPIC", "-O1", "-w", "-o"]).args([&library, &source]).arg("-ldl").status();
    if !built.is_ok_and(|status| status.success()) {
        eprintln!("not run: there is no C compiler");
        return;
    }
    let path = folder.path().join("archive");
    put_all(&open(&path), 0..10);
    let flag = folder.path().join("flag");
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.env("LD_PRELOAD", &library).env("FAILING_FLAG", &flag).env("FAILING_BELOW", path.canonicalize().unwrap());
    let mut child = Running::start(command, &path, 10, Some(GAMES));
    let mut lines = child.wait_for("ack 3");
    // EIO, EROFS, ENOSPC.
    for error in ["5", "30", "28"] {
        fs::write(&flag, error).unwrap();
        lines.extend(child.wait_for("failing"));
        lines.extend(child.wait_for("full"));
        // Long enough for sled's own flusher to fail as well.
        std::thread::sleep(Duration::from_millis(700));
        fs::remove_file(&flag).unwrap();
        lines.extend(child.wait_for("healthy"));
    }
    lines.extend(child.wait_for("closed"));
    assert!(child.process.wait().unwrap().success());
    assert_eq!(acknowledged(lines).collect::<BTreeSet<u64>>(), (10..GAMES).collect());
    assert_eq!(scan(&open(&path)), (0..GAMES).collect());
}
