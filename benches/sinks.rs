//! Deliveries to a bucket beside the bare client's puts, in one run: `cargo bench --features s3 --bench sinks`.
//!
//! The server is s3s-fs on this machine, from `LIAP_TEST_S3S_FS` or where `scripts/test` puts it. Both sides write the same
//! games of four normal bots, in turns; ours are read from the archive, played again, sent, and noted as delivered. More of them with
//! `LIAP_BENCH_GAMES=10000`.
#![allow(missing_docs, clippy::print_stdout, clippy::unwrap_used, reason = "a bench prints, and stops where it fails")]

use std::collections::BTreeMap;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use liap::archive::sink::{SinkKind, open_in};
use liap::archive::{Archive, GameRecord, Options, encode};
use liap::game::{BySeat, Level, Seating, Series};
use liap::observe::Metrics;
use object_store::aws::{AmazonS3, AmazonS3Builder};
use object_store::{Attribute, AttributeValue, Attributes, ObjectStore as _, PutMode, PutOptions};

const KEY: &str = "liap-bench";
const SECRET: &str = "a-secret-of-the-bench";
/// As many as ours has under way.
const IN_FLIGHT: usize = 32;
const ROUNDS: u64 = 3;

struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

fn start(root: &Path) -> (Server, SocketAddr) {
    let program = std::env::var_os("LIAP_TEST_S3S_FS")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("target/test-tools/bin/s3s-fs"), PathBuf::from);
    std::fs::create_dir(root.join("liap")).unwrap();
    let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let child = Command::new(program)
        .args(["--host", "127.0.0.1", "--port", &address.port().to_string()])
        .args(["--access-key", KEY, "--secret-key", SECRET])
        .arg(root)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    while TcpStream::connect(address).is_err() {
        std::thread::sleep(Duration::from_millis(10));
    }
    (Server(child), address)
}

/// The bare client: puts that only create, with as much beside each object, and nothing else.
fn bare(address: SocketAddr, round: u64, records: &[Vec<u8>]) -> Duration {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let store: AmazonS3 = AmazonS3Builder::new()
        .with_bucket_name("liap")
        .with_region("us-east-1")
        .with_endpoint(format!("http://{address}"))
        .with_allow_http(true)
        .with_access_key_id(KEY)
        .with_secret_access_key(SECRET)
        .build()
        .unwrap();
    let began = Instant::now();
    let mut puts = Vec::with_capacity(records.len());
    for (number, record) in records.iter().enumerate() {
        let key = format!("bare/{round}/2026/01/01/{number:026}.liap").into();
        let (store, payload) = (&store, record.clone().into());
        let options = PutOptions { mode: PutMode::Create, attributes: attributes(), ..PutOptions::default() };
        puts.push(async move { store.put_opts(&key, payload, options).await });
    }
    runtime.block_on(stream::iter(puts).buffer_unordered(IN_FLIGHT).try_for_each(|_| async { Ok(()) })).unwrap();
    began.elapsed()
}

/// What stands beside each object of ours as well: for the server it is another file to write.
fn attributes() -> Attributes {
    ["liap-digest", "liap-schema", "liap-rules", "liap-rounds", "liap-people"]
        .into_iter()
        .map(|name| (Attribute::Metadata(name.into()), AttributeValue::from("0123456789abcdef")))
        .collect()
}

/// Ours, from an archive that owes them all.
fn ours(address: SocketAddr, round: u64, records: &[GameRecord]) -> Duration {
    let folder = tempfile::tempdir().unwrap();
    let url = format!("s3://liap/ours/{round}/?endpoint=http://{address}&region=us-east-1");
    let options = Options { url_s3: url.as_str().into(), retention_days: 0, ..Options::default() };
    let metrics = Arc::new(Metrics::new("bench", "bench", false));
    let (archive, _) = Archive::open(folder.path(), &options, metrics).unwrap();
    for record in records {
        archive.put(record.clone(), |_| ()).unwrap();
    }
    assert!(archive.flush(Duration::from_secs(60)));
    let environment = [("AWS_ACCESS_KEY_ID", KEY), ("AWS_SECRET_ACCESS_KEY", SECRET)];
    let environment: BTreeMap<String, String> =
        environment.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
    let sink = open_in(SinkKind::S3, &options, &environment).unwrap();
    let began = Instant::now();
    archive.deliver_to([(SinkKind::S3, sink)], &options).unwrap();
    while archive.status().sinks.iter().any(|sink| sink.pending > 0) {
        std::thread::sleep(Duration::from_millis(1));
    }
    began.elapsed()
}

fn main() {
    let games = std::env::var("LIAP_BENCH_GAMES").map_or(2_000, |games| games.parse().unwrap());
    // The provider of TLS that the client asks for, even without TLS.
    drop(tokio_rustls::rustls::crypto::ring::default_provider().install_default());
    // A bucket is on other disks than the archive; here it is in memory, or each would wait for what the other writes.
    let memory = Path::new("/dev/shm");
    let root = if memory.is_dir() { tempfile::tempdir_in(memory).unwrap() } else { tempfile::tempdir().unwrap() };
    let (_server, address) = start(root.path());
    let series = Series { seed: 5, players: BySeat::new([Level::Normal; 4]), seating: Seating::Fixed, max_rounds: 200 };
    let (mut floor, mut measured) = (Duration::ZERO, Duration::ZERO);
    for round in 0..ROUNDS {
        let numbers = round * games..(round + 1) * games;
        let records: Vec<GameRecord> = numbers.map(|number| GameRecord::simulate(&series, number).0).collect();
        let stored: Vec<Vec<u8>> = records.iter().map(|record| encode(record).unwrap()).collect();
        floor += bare(address, round, &stored);
        measured += ours(address, round, &records);
    }
    #[expect(clippy::cast_precision_loss, reason = "shown with a few digits")]
    let rate = |took: Duration| (ROUNDS * games) as f64 / took.as_secs_f64();
    let (floor, measured) = (rate(floor), rate(measured));
    println!("games delivered to a bucket      {measured:>8.0} a second");
    println!("the bare client's puts           {floor:>8.0} a second");
    println!("share                            {:>8.0} % (goal: 80)", 100.0 * measured / floor);
}
