//! The archive's store from outside: what it keeps, and what it survives.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::num::{NonZeroU32, NonZeroUsize};
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use liap::archive::{
    AppendError, GameId, Health, MAX_RECORD_BYTES, Receipt, Store, StoreError, StoreOptions, Stored, WriteError,
};
use rand::rngs::SmallRng;
use rand::seq::{IndexedRandom, SliceRandom};
use rand::{Rng, RngExt, SeedableRng};

/// Long enough for the slowest disk, short enough to find a hang.
const PATIENCE: Duration = Duration::from_secs(60);

/// Small files, so that a few hundred games fill several.
fn small() -> StoreOptions {
    StoreOptions {
        cache_bytes: 1 << 20,
        queue_records: NonZeroUsize::new(256).unwrap(),
        group_records: NonZeroUsize::new(50).unwrap(),
        segment_bytes: NonZeroU32::new(16 << 10).unwrap(),
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

fn put(store: &Store, n: u64) -> Receipt {
    let mut bytes = record(n);
    let until = Instant::now() + PATIENCE;
    loop {
        match store.append(id(n), bytes) {
            Ok(receipt) => return receipt,
            Err(AppendError::Full(back)) if Instant::now() < until => {
                bytes = back;
                std::thread::yield_now();
            }
            Err(error) => panic!("{error}"),
        }
    }
}

fn put_all(store: &Store, games: impl IntoIterator<Item = u64>) {
    let receipts: Vec<_> = games.into_iter().map(|n| put(store, n)).collect();
    for receipt in receipts {
        receipt.wait().unwrap();
    }
}

fn open(path: &Path) -> Store {
    let (store, report) = Store::open(path, small()).unwrap();
    assert!(!report.is_damaged(), "{report}");
    store
}

/// All records by number, once each.
fn scan(store: &Store) -> BTreeSet<u64> {
    let mut games = BTreeSet::new();
    let report = store
        .scan(|found, bytes| {
            let n = u64::from_le_bytes(bytes[..8].try_into().unwrap());
            assert_eq!((found, bytes), (id(n), &record(n)[..]));
            assert!(games.insert(n), "game {n} is there twice");
        })
        .unwrap();
    assert_eq!(report.damaged, 0);
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
        assert!(store.disk_bytes().unwrap() > store.status().record_bytes);
        assert!(store.close(PATIENCE));
        assert!(matches!(store.get(id(1)), Err(StoreError::Closed)));
        assert!(matches!(store.append(id(1), record(1)), Err(AppendError::Closed(_))));
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
    assert_eq!(store.newest_ids(.., 2000).unwrap(), all);
    assert_eq!(store.newest_ids(.., 500).unwrap(), all[..500]);
    assert_eq!(store.newest_ids(.., 0).unwrap(), []);
    let (to, from) = (expected[200], expected[600]);
    assert_eq!(store.newest_ids(from..to, 1000).unwrap(), expected[201..=600]);
    assert_eq!(store.newest_ids(from..=to, 1000).unwrap(), expected[200..=600]);
    assert_eq!(store.newest_ids(..to, 3).unwrap(), expected[201..204]);
    assert_eq!(store.newest_ids(to..from, 1000).unwrap(), []);
    assert_eq!(store.newest_ids(to..to, 1000).unwrap(), []);
    let page = store.newest(from..to, 2).unwrap();
    assert_eq!(page.games.iter().map(|(id, _)| *id).collect::<Vec<_>>(), expected[201..203]);
    assert!(page.games.iter().all(|(found, bytes)| *found == id(u64::from_le_bytes(bytes[..8].try_into().unwrap()))));
}

#[test]
fn removes_games_for_good() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    put_all(&store, 0..400);
    let segments = || files(&folder.path().join("segments")).values().map(Vec::len).sum::<usize>();
    let before = segments();
    let gone: Vec<u64> = (0..200).chain([250, 251, 252, 399]).collect();
    let gone_ids: Vec<GameId> = gone.iter().map(|n| id(*n)).collect();
    assert_eq!(store.remove(&gone_ids).unwrap(), 204);
    assert_eq!(store.remove(&gone_ids).unwrap(), 0);
    assert!(segments() < before * 6 / 10, "{before} bytes became {}", segments());
    put_all(&store, 400..450);
    let left: BTreeSet<u64> = (0..450).filter(|n| !gone.contains(n)).collect();
    let check = |store: &Store| {
        assert_eq!(scan(store), left);
        assert_eq!(store.count(), left.len() as u64);
        assert_eq!(store.newest_ids(.., 1000).unwrap().len(), left.len());
        for n in 0..450 {
            assert_eq!(store.get(id(n)).unwrap(), left.contains(&n).then(|| record(n)));
        }
    };
    check(&store);
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
    assert_eq!(put(&store, 7).wait(), Ok(Stored::Now));
    assert_eq!(put(&store, 7).wait(), Ok(Stored::Before));
    assert_eq!(store.append(id(7), b"another".to_vec()).unwrap().wait(), Err(WriteError::Conflict(id(7))));
    // Also within one group, and among older games.
    let receipts: Vec<_> = [3, 3, 9, 9, 7, 3].into_iter().map(|n| put(&store, n)).collect();
    let answers: Vec<_> = receipts.into_iter().map(|receipt| receipt.wait().unwrap()).collect();
    assert_eq!(answers.iter().filter(|answer| **answer == Stored::Now).count(), 2);
    assert_eq!(store.count(), 3);
    drop(store);
    let store = open(folder.path());
    assert_eq!(put(&store, 3).wait(), Ok(Stored::Before));
    assert_eq!(scan(&store), BTreeSet::from([3, 7, 9]));
}

#[test]
fn takes_no_more_than_it_may() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    match store.append(id(1), vec![0; MAX_RECORD_BYTES + 1]) {
        Err(AppendError::TooLarge(back)) => assert_eq!(back.len(), MAX_RECORD_BYTES + 1),
        other => panic!("{other:?}"),
    }
    let largest = vec![7; MAX_RECORD_BYTES];
    store.append(id(1), largest.clone()).unwrap().wait().unwrap();
    assert_eq!(store.get(id(1)).unwrap(), Some(largest));
    store.append(id(2), Vec::new()).unwrap().wait().unwrap();
    assert_eq!(store.get(id(2)).unwrap(), Some(Vec::new()));
    // More at once than the queue holds: some come back, none is lost.
    let mut taken = Vec::new();
    let mut full = 0;
    for n in 100..3000 {
        match store.append(id(n), record(n)) {
            Ok(receipt) => taken.push((n, receipt)),
            Err(AppendError::Full(back)) => {
                assert_eq!(back, record(n));
                full += 1;
            }
            Err(error) => panic!("{error}"),
        }
    }
    assert!(full > 0);
    assert!(store.flush(PATIENCE));
    for (n, receipt) in taken {
        assert_eq!(receipt.wait(), Ok(Stored::Now));
        assert_eq!(store.get(id(n)).unwrap(), Some(record(n)));
    }
}

#[test]
fn is_opened_by_one_at_a_time() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    put_all(&store, 0..10);
    let error = Store::open(folder.path(), small()).unwrap_err();
    assert!(matches!(error, StoreError::Locked { .. }));
    assert!(error.to_string().contains(&format!("process {}", std::process::id())), "{error}");
    assert_eq!(scan(&store).len(), 10);
    drop(store);
    assert_eq!(open(folder.path()).count(), 10);
}

#[test]
fn a_later_layout_is_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    put_all(&open(folder.path()), 0..10);
    let mut slot = vec![0; 4092];
    slot[..8].copy_from_slice(b"LIAP TIP");
    slot[8..12].copy_from_slice(&2u32.to_le_bytes());
    slot.extend(crc32fast::hash(&slot).to_le_bytes());
    fs::write(folder.path().join("tip"), &slot).unwrap();
    let before = files(folder.path());
    assert!(matches!(Store::open(folder.path(), small()), Err(StoreError::Later { version: 2, .. })));
    assert_eq!(files(folder.path()), before);
}

#[test]
fn a_lost_end_is_noticed_and_a_crash_before_the_tip_is_none() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("archive");
    let tip = path.join("tip");
    let segment = path.join("segments/00000000000000000001.seg");
    let store = open(&path);
    put_all(&store, 0..5);
    let (early_tip, early_segment) = (fs::read(&tip).unwrap(), fs::read(&segment).unwrap());
    put_all(&store, 5..10);
    drop(store);
    let late_tip = fs::read(&tip).unwrap();

    // The process was killed after the records and before the tip.
    fs::write(&tip, early_tip).unwrap();
    assert_eq!(scan(&open(&path)), (0..10).collect());

    // The disk forgot the end of the file, exactly between two records.
    fs::write(&tip, late_tip).unwrap();
    fs::write(&segment, early_segment).unwrap();
    let (store, report) = Store::open(&path, small()).unwrap();
    assert_eq!((report.missing, report.records), (5, 5), "{report}");
    assert!(report.is_damaged());
    put_all(&store, 20..25);
    drop(store);
    let (store, report) = Store::open(&path, small()).unwrap();
    assert_eq!((report.missing, report.missing_before), (0, 5), "{report}");
    assert_eq!(scan(&store), (0..5).chain(20..25).collect());
}

/// A disk that was full when a segment was begun left an empty file. The segment before took the next records, and at the
/// opening after that they seemed to belong to the empty one.
#[test]
fn an_empty_segment_hides_no_records() {
    for left_behind in [&b""[..], &b"LGR1 half a frame"[..]] {
        let folder = tempfile::tempdir().unwrap();
        put_all(&open(folder.path()), 0..10);
        fs::write(folder.path().join("segments/00000000000000000011.seg"), left_behind).unwrap();
        put_all(&open(folder.path()), 10..20);
        assert_eq!(scan(&open(folder.path())), (0..20).collect());
    }
}

#[test]
fn a_lost_game_can_be_stored_again() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("archive");
    put_all(&open(&path), 0..10);
    let segment = path.join("segments/00000000000000000001.seg");
    let mut bytes = fs::read(&segment).unwrap();
    bytes[60] ^= 1;
    fs::write(&segment, &bytes).unwrap();
    let (store, report) = Store::open(&path, small()).unwrap();
    assert_eq!(report.missing, 1);
    let aside = report.set_aside.unwrap();
    assert_eq!(fs::read(aside.join("00000000000000000001.seg")).unwrap(), bytes);
    assert_eq!(aside.parent(), path.canonicalize().unwrap().parent());
    assert!(aside.file_name().unwrap().to_str().unwrap().starts_with("archive.damaged-20"));
    assert_eq!(put(&store, 0).wait(), Ok(Stored::Now));
    assert_eq!(scan(&store), (0..10).collect());
}

#[test]
fn damage_while_running_is_an_error_and_can_be_healed() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    put_all(&store, 0..10);
    let segment =
        fs::OpenOptions::new().write(true).open(folder.path().join("segments/00000000000000000001.seg")).unwrap();
    segment.write_all_at(&[0; 8], 50).unwrap();
    assert!(matches!(store.get(id(0)), Err(StoreError::Damaged(found)) if found == id(0)));
    assert_eq!(store.get(id(1)).unwrap(), Some(record(1)));
    let page = store.newest(.., 100).unwrap();
    assert_eq!((page.games.len(), page.damaged), (9, vec![id(0)]));
    assert_eq!(store.scan(|_, _| {}).unwrap().damaged, 1);
    assert!(store.status().damaged_reads >= 3);
    // Removing a neighbour would have to copy the damaged record: it is refused rather than glossed over.
    assert!(matches!(store.remove(&[id(5)]), Err(StoreError::Io { .. })));
    assert_eq!(put(&store, 0).wait(), Ok(Stored::Now));
    assert_eq!(store.get(id(0)).unwrap(), Some(record(0)));
    drop(store);
    let (store, report) = Store::open(folder.path(), small()).unwrap();
    assert_eq!(report.missing, 1, "{report}");
    assert_eq!(scan(&store), (0..10).collect());
}

#[test]
fn a_torn_snapshot_of_sled_costs_nothing() {
    for torn in [&b""[..], &b"half a snapshot"[..]] {
        let folder = tempfile::tempdir().unwrap();
        put_all(&open(folder.path()), 0..600);
        fs::write(folder.path().join("catalog/snap.00000000FFFFFFFF.generating"), torn).unwrap();
        let (store, report) = Store::open(folder.path(), small()).unwrap();
        assert!(report.catalog_damaged && report.missing == 0, "{report}");
        assert_eq!(scan(&store).len(), 600);
        for n in 0..600 {
            assert_eq!(store.get(id(n)).unwrap(), Some(record(n)));
        }
    }
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

/// Damages many stores in many ways. More of them with `LIAP_DAMAGES=5000`.
#[test]
fn damage_is_noticed_and_whole_records_are_served() {
    const GAMES: u64 = 300;
    let rounds: usize = std::env::var("LIAP_DAMAGES").map_or(200, |text| text.parse().unwrap());

    // One store closed in order, one whose process was killed, one that has removed games too.
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    put_all(&store, 0..GAMES);
    let killed = files(folder.path());
    drop(store);
    let closed = files(folder.path());
    let store = open(folder.path());
    store.remove(&(100..150).chain(0..60).map(id).collect::<Vec<_>>()).unwrap();
    let pruned = files(folder.path());
    drop(store);
    assert!(closed.contains_key(Path::new("catalog.seal")) && !killed.contains_key(Path::new("catalog.seal")));

    // Where the frame of each game lies: the record and the 36 bytes before it.
    let places = |files: &BTreeMap<PathBuf, Vec<u8>>| -> BTreeMap<u64, (PathBuf, Range<usize>)> {
        let find = |n| {
            let record = record(n);
            let at = |bytes: &Vec<u8>| bytes.windows(record.len()).position(|window| window == record);
            let mut segments = files.iter().filter(|(name, _)| name.starts_with("segments"));
            segments.find_map(|(name, bytes)| at(bytes).map(|at| (n, (name.clone(), at - 36..at + record.len()))))
        };
        (0..GAMES).filter_map(find).collect()
    };
    let templates = [killed, closed, pruned].map(|files| (places(&files), files));
    assert_eq!(templates.each_ref().map(|(places, _)| places.len()), [300, 300, 190]);

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
        let is_whole = |(name, frame): &(PathBuf, Range<usize>)| {
            damaged.get(name).and_then(|bytes| bytes.get(frame.clone())) == template[name].get(frame.clone())
        };
        let whole: HashSet<u64> = places.iter().filter(|(_, place)| is_whole(place)).map(|(n, _)| *n).collect();

        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("archive");
        write_files(&path, &damaged);
        let (store, report) = Store::open(&path, small()).unwrap();
        for n in 0..GAMES {
            let expected = whole.contains(&n).then(|| record(n));
            assert_eq!(store.get(id(n)).unwrap(), expected, "round {round}, game {n}, {changed:?}: {report}");
        }
        assert_eq!(scan(&store).len(), whole.len(), "round {round}");

        // A killed store's catalog is written afresh whatever it looks like, so only there damage may go without alarm.
        let only_catalog = changed.iter().all(|name| name.starts_with("catalog"));
        let noticed = report.is_damaged() || (only_catalog && kind != 1 && report.catalog_rebuilt.is_some());
        assert!(noticed || changed.is_empty(), "round {round}, {changed:?}: {report}");
        assert!(report.not_mended.is_none(), "round {round}: {report}");
        if let Some(aside) = &report.set_aside {
            for (name, bytes) in files(aside) {
                let place = if name == Path::new("tip") { name } else { Path::new("segments").join(name) };
                assert_eq!(damaged.get(&place), Some(&bytes), "round {round}: {place:?} was not kept as it was");
            }
        }

        // Life goes on, and the next opening finds nothing new.
        put_all(&store, [GAMES]);
        drop(store);
        let (store, again) = Store::open(&path, small()).unwrap();
        assert!(!again.is_damaged(), "round {round}, {changed:?}: {again}");
        assert_eq!(again.missing_before, report.missing + report.missing_before, "round {round}");
        let mut expected: BTreeSet<u64> = whole.into_iter().collect();
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
    let (store, report) = Store::open(Path::new(&path), small()).unwrap();
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
            // Old games can still be read.
            assert_eq!(store.get(id(0)).unwrap(), Some(record(0)));
            std::thread::sleep(Duration::from_millis(5));
        }
        for _ in 0..random.random_range(1..100) {
            if next >= until {
                break;
            }
            match store.append(id(next), record(next)) {
                Ok(receipt) => {
                    waiting.push_back((next, receipt));
                    next += 1;
                }
                Err(AppendError::Full(_)) => {
                    if failing {
                        say("full".to_owned());
                    }
                    break;
                }
                Err(error) => panic!("{error}"),
            }
        }
        while !failing && let Some((n, receipt)) = waiting.pop_front() {
            if store.flush(Duration::from_millis(100)) {
                receipt.wait().unwrap();
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
    let kills: usize = std::env::var("LIAP_KILLS").map_or(20, |text| text.parse().unwrap());
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
    let (store, report) = Store::open(&path, small()).unwrap();
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
