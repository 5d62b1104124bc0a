//! The archive's store beside its floors, in one run: `cargo bench --bench archive`.
//!
//! Records are random bytes of 476 bytes on average, so nothing is gained by chance. More of them with
//! `LIAP_BENCH_GAMES=1000000`, elsewhere with `LIAP_BENCH_FOLDER=/some/disk`. One line per figure: what, measured, floor or goal.
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
use std::time::{Duration, Instant};

use liap::archive::{GameId, GameIds, Receipt, Store, StoreOptions};
use rand::rngs::SmallRng;
use rand::seq::IndexedRandom;
use rand::{Rng, RngExt, SeedableRng};

const GROUP: usize = 100;

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

/// Append and fdatasync, a group at a time: nothing durable can be faster.
fn floor(folder: &Path, games: usize, group: usize) -> f64 {
    let mut random = SmallRng::seed_from_u64(1);
    let mut file = File::create(folder.join("floor")).unwrap();
    let began = Instant::now();
    for _ in 0..games / group {
        let mut bytes = Vec::new();
        for _ in 0..group {
            bytes.extend(record(&mut random));
        }
        file.write_all(&bytes).unwrap();
        file.sync_data().unwrap();
    }
    per_second(games / group * group, began.elapsed())
}

/// Fills a store and returns its ids and the rate. `in_flight` records wait for their receipts at most.
fn fill(store: &Store, games: usize, in_flight: usize) -> (Vec<GameId>, f64) {
    let mut random = SmallRng::seed_from_u64(2);
    let mut ids = GameIds::default();
    let mut known = Vec::with_capacity(games);
    let mut waiting: VecDeque<Receipt> = VecDeque::new();
    let began = Instant::now();
    for game in 0..games as u64 {
        let id = ids.next(1_700_000_000_000 + game * 40, random.random());
        if waiting.len() >= in_flight {
            for receipt in waiting.drain(..in_flight.div_ceil(2)) {
                receipt.wait().unwrap();
            }
        }
        waiting.push_back(store.append(id, record(&mut random)).unwrap());
        known.push(id);
    }
    for receipt in waiting {
        receipt.wait().unwrap();
    }
    (known, per_second(games, began.elapsed()))
}

fn resident_mib() -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with("VmRSS")).unwrap_or_default();
    line.split_whitespace().nth(1).and_then(|kib| kib.parse::<f64>().ok()).unwrap_or_default() / 1024.0
}

fn main() {
    let number = |name: &str, default: usize| std::env::var(name).map_or(default, |text| text.parse().unwrap());
    let games = number("LIAP_BENCH_GAMES", 200_000);
    let base = std::env::var_os("LIAP_BENCH_FOLDER").map_or_else(std::env::temp_dir, Into::into);
    let folder = tempfile::tempdir_in(base).unwrap();
    let options = StoreOptions { group_records: NonZeroUsize::new(GROUP).unwrap(), ..StoreOptions::default() };

    let one_floor = floor(folder.path(), 2_000, 1);
    let (store, _) = Store::open(&folder.path().join("single"), options).unwrap();
    let (_, one) = fill(&store, 2_000, 1);
    drop(store);
    say("durable games/s, one at a time", &format!("{one:.0}"), &format!("floor {one_floor:.0}, goal 3000"));

    let group_floor = floor(folder.path(), games.min(200_000), GROUP);
    let path = folder.path().join("archive");
    let (store, _) = Store::open(&path, options).unwrap();
    let (ids, rate) = fill(&store, games, 4 * GROUP);
    say("durable games/s, groups of 100", &format!("{rate:.0}"), &format!("floor {group_floor:.0}, goal 30000"));

    let record_bytes = store.status().record_bytes;
    drop(store);
    let disk = disk_bytes(&path).unwrap();
    let ratio = disk as f64 / record_bytes as f64;
    say("disk / record bytes", &format!("{ratio:.2}"), &format!("{} B per game, goal 2.00", disk / games as u64));

    let before = resident_mib();
    let began = Instant::now();
    let (store, report) = Store::open(&path, options).unwrap();
    let opened = began.elapsed();
    let mut sum = 0u64;
    store.scan(|_, record| sum += u64::from(record[0])).unwrap();
    let scanned = began.elapsed();
    assert!(report.records == games as u64 && sum > 0);
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
    assert_eq!(store.newest(.., 1000).unwrap().games.len(), 1000);
    say("newest 1000 games", &format!("{:.1} ms", began.elapsed().as_secs_f64() * 1e3), "");
    say("memory of the store", &format!("{:.0} MiB", resident_mib() - before), "with its catalog's cache");
    drop(store);

    // As after a crash: the catalog was not closed.
    std::fs::remove_file(path.join("catalog.seal")).unwrap();
    let began = Instant::now();
    let (store, report) = Store::open(&path, options).unwrap();
    assert!(report.catalog_rebuilt.is_some() && store.get(ids[games / 2]).unwrap().is_some());
    say(&format!("open {games} games after a crash"), &format!("{} ms", began.elapsed().as_millis()), "");

    let old = &ids[..games / 10];
    let began = Instant::now();
    assert_eq!(store.remove(old).unwrap(), old.len() as u64);
    say(&format!("remove the oldest {} games", old.len()), &format!("{} ms", began.elapsed().as_millis()), "");
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
