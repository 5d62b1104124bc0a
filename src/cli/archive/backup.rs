//! All games of an archive in one file, and back.
//!
//! The file: the eight characters `LIAPBAK1`; for each game, oldest first, the length of its record (four bytes), its id
//! (16 bytes) and the record as stored; four bytes `FF`; the number of games (eight bytes); the SHA-256 of all that.
//! Numbers begin with their lowest byte. The same games always make the same file.

use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read, Seek as _, Write};
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use sha2::{Digest as _, Sha256};

use super::super::{complain, progress};
use crate::archive::{GameId, MAX_RECORD_BYTES, Options, Receipt, Snapshot, Store, StoreOptions, decode_summary};

const MAGIC: &[u8; 8] = b"LIAPBAK1";
/// Stands where the length of another record would.
const END: [u8; 4] = [0xFF; 4];
/// Records on their way to the disk at once.
const IN_FLIGHT: usize = 4096;

/// Writes all games into one file; `-` is the standard output.
pub(super) fn backup(snapshot: &Snapshot, file: &Path) -> anyhow::Result<ExitCode> {
    let about = || format!("cannot write {}", file.display());
    let is_stdout = file == Path::new("-");
    let (games, hash) = if is_stdout {
        let mut out = BufWriter::new(io::stdout().lock());
        let written = write(snapshot, &mut out)?;
        out.flush()?;
        written
    } else {
        // Under its own name a file is always whole.
        let draft = file.with_added_extension("part");
        let mut out = BufWriter::new(File::create(&draft).with_context(about)?);
        let written = write(snapshot, &mut out)?;
        out.into_inner().map_err(io::IntoInnerError::into_error)?.sync_all()?;
        std::fs::rename(&draft, file).with_context(about)?;
        written
    };
    let told = format!("{games} games in {}, SHA-256 {}", file.display(), hex::encode(hash));
    if is_stdout {
        complain(&told);
    } else {
        writeln!(io::stdout().lock(), "{told}")?;
    }
    let is_all = games == snapshot.len() as u64 && !snapshot.damage().is_any();
    Ok(if is_all { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Writes all games, and returns their number and the hash.
fn write(snapshot: &Snapshot, out: &mut impl Write) -> anyhow::Result<(u64, [u8; 32])> {
    let mut out = Hashing { inner: out, hash: Sha256::new() };
    let bar = progress::bar(snapshot.len() as u64, "games");
    out.write_all(MAGIC)?;
    let mut games = 0_u64;
    for id in snapshot.ids() {
        let record = snapshot.get(id)?.with_context(|| format!("game {id} is gone"))?;
        // What is damaged is left where it is.
        if let Err(error) = decode_summary(&record) {
            bar.suspend(|| complain(&format!("liap: game {id} is left out: {error}")));
            continue;
        }
        out.write_all(&u32::try_from(record.len())?.to_le_bytes())?;
        out.write_all(&id.to_bytes())?;
        out.write_all(&record)?;
        games += 1;
        bar.inc(1);
    }
    out.write_all(&END)?;
    out.write_all(&games.to_le_bytes())?;
    let hash: [u8; 32] = out.hash.finalize().into();
    out.inner.write_all(&hash)?;
    bar.finish_and_clear();
    Ok((games, hash))
}

/// Begins an archive with the games of a backup, after all of it was checked.
pub(super) fn restore(folder: &Path, options: &Options, file: &Path) -> anyhow::Result<ExitCode> {
    if Snapshot::open(folder).is_ok_and(|snapshot| !snapshot.is_empty()) {
        bail!("there are games in {} already: restore into an empty folder", folder.display());
    }
    let mut input = File::open(file).with_context(|| format!("cannot read {}", file.display()))?;
    let length = input.metadata()?.len();
    let bar = progress::bytes(2 * length);
    let about = || format!("{} cannot be restored", file.display());
    let kept_since = super::kept_since(options);
    let mut old = 0;
    let (games, hash) = read(&mut input, |id, record| {
        let summary = decode_summary(record)?;
        ensure!(summary.game_id == id, "game {id} says that it is game {}", summary.game_id);
        old += usize::from(id < kept_since);
        bar.inc(record.len() as u64);
        Ok(())
    })
    .with_context(about)?;
    bar.suspend(|| super::warn_of_retention(options, old, ""));

    input.rewind()?;
    let (store, _) = Store::open(folder, StoreOptions::default()).map_err(super::advised)?;
    let mut on_their_way: std::collections::VecDeque<Receipt> = std::collections::VecDeque::new();
    read(&mut input, |id, record| {
        if on_their_way.len() == IN_FLIGHT
            && let Some(receipt) = on_their_way.pop_front()
        {
            receipt.wait()?;
        }
        on_their_way.push_back(store.append(id, record.to_vec())?);
        bar.inc(record.len() as u64);
        Ok(())
    })
    .with_context(about)?;
    for receipt in on_their_way {
        receipt.wait()?;
    }
    ensure!(store.close(Duration::from_secs(60)), "the disk does not keep up");
    bar.finish_and_clear();
    writeln!(io::stdout().lock(), "{games} games restored, SHA-256 {}", hex::encode(hash))?;
    Ok(ExitCode::SUCCESS)
}

/// Gives every game of a backup to `take` and returns their number and the backup's hash.
fn read(file: &mut File, mut take: impl FnMut(GameId, &[u8]) -> anyhow::Result<()>) -> anyhow::Result<(u64, [u8; 32])> {
    let mut input = Hashing { inner: BufReader::new(file), hash: Sha256::new() };
    ensure!(input.array()? == *MAGIC, "it is no backup of this program");
    let mut games = 0_u64;
    let mut record = Vec::new();
    loop {
        let length = input.array()?;
        if length == END {
            break;
        }
        let length = usize::try_from(u32::from_le_bytes(length))?;
        ensure!(length <= MAX_RECORD_BYTES, "it is damaged: a record of {length} bytes");
        let id = GameId::from_bytes(input.array()?);
        record.resize(length, 0);
        input.read_exact(&mut record).context("it is cut off")?;
        take(id, &record)?;
        games += 1;
    }
    let counted = u64::from_le_bytes(input.array()?);
    ensure!(counted == games, "it is damaged: {games} games of {counted}");
    let computed: [u8; 32] = input.hash.clone().finalize().into();
    let hash: [u8; 32] = input.array()?;
    ensure!(hash == computed, "it is damaged: its hash does not fit");
    Ok((games, hash))
}

/// Hashes what passes.
struct Hashing<T> {
    inner: T,
    hash: Sha256,
}

impl<W: Write> Hashing<W> {
    fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.hash.update(bytes);
        self.inner.write_all(bytes)
    }
}

impl<R: Read> Hashing<R> {
    fn read_exact(&mut self, bytes: &mut [u8]) -> io::Result<()> {
        self.inner.read_exact(bytes)?;
        self.hash.update(&*bytes);
        Ok(())
    }

    fn array<const N: usize>(&mut self) -> anyhow::Result<[u8; N]> {
        let mut bytes = [0; N];
        self.read_exact(&mut bytes).context("it is cut off")?;
        Ok(bytes)
    }
}
