//! The archive's store beside its floors, in one run: `cargo bench --bench archive`.
//!
//! Records are random bytes of 476 bytes on average, so nothing is gained by chance; for the archive with its index they are
//! those of real games. More of them with `LIAP_BENCH_GAMES=1000000`, elsewhere with `LIAP_BENCH_FOLDER=/some/disk`. One line per figure: what, measured, floor or goal.
#![allow(
    missing_docs,
    clippy::print_stdout,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a bench prints, and stops where it fails"
)]

use std::collections::VecDeque;
use std::fs::File;
use std::io::Write;
use std::num::NonZeroUsize;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use liap::archive::{
    Archive, GameId, GameIds, GameRecord, IfFull, Options, Player, PlayerKind, Receipt, RecordStore, StoreOptions,
    Unreadable, encode,
};
use liap::game::{BySeat, Level, Seat, Seating, Series};
use liap::observe::Metrics;
use rand::rngs::SmallRng;
use rand::seq::IndexedRandom;
use rand::{Rng, RngExt, SeedableRng};

const GROUP: usize = 100;
const SLICE: usize = 10_000;

fn record(random: &mut SmallRng) -> Vec<u8> {
    let mut record = vec![0; random.random_range(376..=576)];
    random.fill_bytes(&mut record);
    record
}

fn say(what: &str, measured: &str, beside: &str) {
    println!("{what:<44} {measured:>22}   {beside}");
}

fn per_second(count: usize, took: Duration) -> f64 {
    count as f64 / took.as_secs_f64()
}

/// The floor: append and fdatasync, a group at a time. Nothing durable can be faster.
struct Floor {
    file: File,
    random: SmallRng,
    took: Duration,
}

impl Floor {
    fn new(folder: &Path) -> Self {
        let file = File::create(folder.join("floor")).unwrap();
        Self { file, random: SmallRng::seed_from_u64(1), took: Duration::ZERO }
    }

    fn write(&mut self, games: usize, group: usize) {
        let began = Instant::now();
        for _ in 0..games / group {
            let bytes: Vec<u8> = (0..group).flat_map(|_| record(&mut self.random)).collect();
            self.file.write_all(&bytes).unwrap();
            self.file.sync_data().unwrap();
        }
        self.took += began.elapsed();
    }
}

/// Games handed to a store, of which so many wait for their receipts at most.
struct Filling<'a> {
    store: &'a RecordStore,
    in_flight: usize,
    random: SmallRng,
    ids: GameIds,
    known: Vec<GameId>,
    took: Duration,
}

impl<'a> Filling<'a> {
    fn new(store: &'a RecordStore, in_flight: usize) -> Self {
        let random = SmallRng::seed_from_u64(2);
        Self { store, in_flight, random, ids: GameIds::default(), known: Vec::new(), took: Duration::ZERO }
    }

    fn write(&mut self, games: usize) {
        let began = Instant::now();
        let mut waiting: VecDeque<Receipt> = VecDeque::new();
        for _ in 0..games {
            let id = self.ids.next(1_700_000_000_000 + self.known.len() as u64 * 40, self.random.random());
            if waiting.len() >= self.in_flight {
                for receipt in waiting.drain(..self.in_flight.div_ceil(2)) {
                    receipt.recv().unwrap().unwrap();
                }
            }
            waiting.push_back(self.store.append(id, record(&mut self.random), IfFull::ComesBack).unwrap());
            self.known.push(id);
        }
        for receipt in waiting {
            receipt.recv().unwrap().unwrap();
        }
        self.took += began.elapsed();
    }
}

fn resident_mib() -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with("VmRSS")).unwrap_or_default();
    line.split_whitespace().nth(1).and_then(|kib| kib.parse::<f64>().ok()).unwrap_or_default() / 1024.0
}

fn main() {
    let number = |name: &str, default: usize| std::env::var(name).map_or(default, |text| text.parse().unwrap());
    let games = number("LIAP_BENCH_GAMES", 200_000).next_multiple_of(SLICE);
    let base = std::env::var_os("LIAP_BENCH_FOLDER").map_or_else(std::env::temp_dir, Into::into);
    let folder = tempfile::tempdir_in(base).unwrap();
    let options = StoreOptions { group_records: NonZeroUsize::new(GROUP).unwrap(), ..StoreOptions::default() };

    // The floor and the store take turns, so that a busy machine is equally busy for both.
    let mut floor = Floor::new(folder.path());
    let (store, _) = RecordStore::open(&folder.path().join("single"), options).unwrap();
    let mut filling = Filling::new(&store, 1);
    for _ in 0..10 {
        floor.write(100, 1);
        filling.write(100);
    }
    let (one, one_floor) = (per_second(1000, filling.took), per_second(1000, floor.took));
    drop(store);
    say("durable games/s, one at a time", &format!("{one:.0}"), &format!("floor {one_floor:.0}, goal 3000"));

    let mut floor = Floor::new(folder.path());
    let path = folder.path().join("archive");
    let (store, _) = RecordStore::open(&path, options).unwrap();
    let mut filling = Filling::new(&store, 4 * GROUP);
    for _ in 0..games / SLICE {
        floor.write(SLICE, GROUP);
        filling.write(SLICE);
    }
    let (rate, group_floor) = (per_second(games, filling.took), per_second(games, floor.took));
    let ids = filling.known;
    say("durable games/s, groups of 100", &format!("{rate:.0}"), &format!("floor {group_floor:.0}, goal 30000"));

    let record_bytes = store.status().record_bytes;
    // As a killed process would leave it.
    let crashed = folder.path().join("crashed");
    assert!(std::process::Command::new("cp").arg("-r").args([&path, &crashed]).status().unwrap().success());
    drop(store);
    let disk = disk_bytes(&path).unwrap();
    let ratio = disk as f64 / record_bytes as f64;
    say("disk / record bytes", &format!("{ratio:.2}"), &format!("{} B per game, goal 2.00", disk / games as u64));

    let before = resident_mib();
    let began = Instant::now();
    let (store, report) = RecordStore::open(&path, options).unwrap();
    let opened = began.elapsed();
    let (mut after, mut scanned) = (0, 0);
    while let Some(last) = {
        let found = store.after(after, 1_000, 8 << 20, Unreadable::Fails).unwrap();
        scanned += found.len();
        found.last().map(|record| record.seq)
    } {
        after = last;
    }
    assert_eq!((report.records, scanned), (games as u64, games));
    let scanned = began.elapsed();
    say(
        &format!("open {games} games"),
        &format!("{} ms", opened.as_millis()),
        &format!("{} ms with a scan, goal 3000", scanned.as_millis()),
    );

    let mut random = SmallRng::seed_from_u64(3);
    let mut times = Vec::new();
    for read in 0..200_000 {
        let id = *ids.choose(&mut random).unwrap();
        let began = Instant::now();
        assert!(store.get(id).unwrap().is_some());
        // The first half warms up.
        if read >= 100_000 {
            times.push(began.elapsed());
        }
    }
    times.sort_unstable();
    let at = |per_mille: usize| times[times.len() * per_mille / 1000].as_nanos() as f64 / 1000.0;
    say(
        "get by id, warm, p50 / p99 / p99.9",
        &format!("{:.1} / {:.1} / {:.1} us", at(500), at(990), at(999)),
        "goal p99 250 us",
    );
    let began = Instant::now();
    let newest = store.newest_ids(GameId::MAX, 1000).unwrap();
    assert!(newest.len() == 1000 && newest.into_iter().all(|id| store.get(id).unwrap().is_some()));
    say("newest 1000 games", &format!("{:.1} ms", began.elapsed().as_secs_f64() * 1e3), "");
    say("memory of the store", &format!("{:.0} MiB", resident_mib() - before), "with its cache");
    drop(store);

    let began = Instant::now();
    let (crashed_store, report) = RecordStore::open(&crashed, options).unwrap();
    let opened = began.elapsed().as_millis();
    assert!(report.recovered.is_some() && !report.is_damaged(), "{report}");
    assert!(crashed_store.count() == games as u64 && crashed_store.get(ids[games / 2]).unwrap().is_some());
    say(&format!("open {games} games after a crash"), &format!("{opened} ms"), "goal 5000");
    drop(crashed_store);
    std::fs::remove_dir_all(&crashed).unwrap();

    let (store, _) = RecordStore::open(&path, options).unwrap();

    let old = &ids[..games / 10];
    let began = Instant::now();
    assert_eq!(store.remove(old).unwrap(), old.len() as u64);
    say(&format!("remove the oldest {} games", old.len()), &format!("{} ms", began.elapsed().as_millis()), "");
    drop(store);

    ready(&folder.path().join("whole"), games);
}

/// The archive as the server opens it: all records checked, and indexed by player, room, winner and time.
fn ready(folder: &Path, games: usize) {
    let players = BySeat::new([Level::Normal; 4]);
    let series = Series { seed: 5, players, seating: Seating::Fixed, max_rounds: 200 };
    let mut records: Vec<GameRecord> = (0..1_000).map(|number| GameRecord::simulate(&series, number).0).collect();
    let (store, _) = RecordStore::open(folder, StoreOptions::default()).unwrap();
    let (mut ids, mut random) = (GameIds::default(), SmallRng::seed_from_u64(4));
    let mut waiting: VecDeque<Receipt> = VecDeque::new();
    for number in 0..games {
        let record = &mut records[number % 1_000];
        record.started_at_ms = 1_700_000_000_000 + number as u64 * 40;
        record.game_id = ids.next(record.started_at_ms, random.random());
        // A house with two thousand regulars.
        record.players[Seat::One] =
            Player { name: format!("Player {}", random.random_range(0..2_000)), kind: PlayerKind::Human };
        if waiting.len() == 4_000 {
            waiting.pop_front().unwrap().recv().unwrap().unwrap();
        }
        waiting.push_back(store.append(record.game_id, encode(record).unwrap(), IfFull::ComesBack).unwrap());
    }
    for receipt in waiting {
        receipt.recv().unwrap().unwrap();
    }
    let record_bytes = store.status().record_bytes;
    let crashed = folder.with_extension("crashed");
    assert!(std::process::Command::new("cp").arg("-r").args([folder, &crashed]).status().unwrap().success());
    drop((store, records));
    let disk = disk_bytes(folder).unwrap();
    let ratio = disk as f64 / record_bytes as f64;
    say("disk / record bytes, real games", &format!("{ratio:.2}"), &format!("{} B per game", disk / games as u64));
    let metrics = Arc::new(Metrics::new("bench", "bench", false));
    let before = resident_mib();
    let began = Instant::now();
    let (archive, _) = Archive::open(folder, &Options { retention_days: 0, ..Options::default() }, metrics).unwrap();
    let took = began.elapsed();
    assert_eq!(archive.status().store.records, games as u64);
    say(
        &format!("ready with {games} games, indexed"),
        &format!("{} ms", took.as_millis()),
        &format!("{} B a record, goal 3000 ms with 1000000", record_bytes / games as u64),
    );
    say("memory of the archive", &format!("{:.0} MiB", resident_mib() - before), "idle");
    assert!(archive.close(Duration::from_secs(60)));
    drop(archive);
    let metrics = Arc::new(Metrics::new("bench", "bench", false));
    let began = Instant::now();
    let (archive, report) =
        Archive::open(&crashed, &Options { retention_days: 0, ..Options::default() }, metrics).unwrap();
    let took = began.elapsed();
    assert!(archive.status().store.records == games as u64 && report.recovered.is_some());
    say(
        &format!("ready with {games} games after a crash"),
        &format!("{} ms", took.as_millis()),
        "goal 5000 ms with 1000000",
    );
}

fn disk_bytes(folder: &Path) -> std::io::Result<u64> {
    use std::os::unix::fs::MetadataExt;
    let mut bytes = 0;
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        let metadata = entry.metadata()?;
        bytes += if metadata.is_dir() { disk_bytes(&entry.path())? } else { metadata.blocks() * 512 };
    }
    Ok(bytes)
}
