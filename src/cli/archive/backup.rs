//! All games of an archive in one file, and back.
//!
//! The file: the eight characters `LIAPBAK1`; for each game, oldest first, the length of its record (four bytes), its id
//! (16 bytes) and the record as stored; four bytes `FF`; the number of games (eight bytes); the SHA-256 of all that.
//! Numbers begin with their lowest byte. The same games always make the same file.

use std::fs::File;
use std::io::{self, BufReader, Read, Seek as _, Write};
use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context as _, ensure};
use sha2::{Digest as _, Sha256};

use super::super::{print_stderr, progress, write_file};
use super::moving::Storing;
use super::{Place, each_game, exit_code, kept_since, warn_of_retention};
use crate::archive::{GameId, MAX_RECORD_BYTES, Query, Records, decode_summary};

const MAGIC: &[u8; 8] = b"LIAPBAK1";
/// Bytes before each record.
const HEADER_BYTES: u64 = 20;
/// Stands where the length of another record would.
const END: [u8; 4] = [0xFF; 4];

/// Writes all games into one file; `-` is the standard output. Damaged ones are left out.
pub(super) fn backup(records: &Records, file: &Path) -> anyhow::Result<ExitCode> {
    let (games, unreadable, hash) = write_file(file, |out| write(records, out))?;
    let summary = format!("{games} games in {}, SHA-256 {}", file.display(), hex::encode(hash));
    if file == Path::new("-") {
        print_stderr(&summary);
    } else {
        writeln!(io::stdout().lock(), "{summary}")?;
    }
    let status = records.status()?;
    Ok(exit_code(unreadable == 0 && status.missing == 0 && status.damage.is_none()))
}

/// Writes all games. Returns how many there are, how many are left out, and the hash.
fn write(records: &Records, out: &mut dyn Write) -> anyhow::Result<(u64, u64, [u8; 32])> {
    let mut out = Hashing { inner: out, hash: Sha256::new() };
    out.write_all(MAGIC)?;
    let check = |id: GameId, record: Vec<u8>| {
        decode_summary(&record)?;
        Ok((id, record))
    };
    let pass = each_game(records, &Query::default(), check, |(id, record)| {
        out.write_all(&u32::try_from(record.len())?.to_le_bytes())?;
        out.write_all(&id.to_bytes())?;
        Ok(out.write_all(&record)?)
    })?;
    let games = pass.games - pass.unreadable;
    out.write_all(&END)?;
    out.write_all(&games.to_le_bytes())?;
    let hash: [u8; 32] = out.hash.finalize().into();
    out.inner.write_all(&hash)?;
    Ok((games, pass.unreadable, hash))
}

/// Begins an archive with the games of a backup, after all of it was checked.
pub(super) fn restore(place: &Place<'_>, file: &Path) -> anyhow::Result<ExitCode> {
    let mut input = File::open(file).with_context(|| format!("cannot read {}", file.display()))?;
    let bytes = input.metadata()?.len();
    let bar = progress::bytes(2 * bytes);
    let about = || format!("{} cannot be restored", file.display());
    let kept_since = kept_since(place.options);
    let mut old = 0;
    let (_, hash) = read(&mut input, |id, record| {
        let summary = decode_summary(record)?;
        ensure!(summary.game_id == id, "game {id} says that it is game {}", summary.game_id);
        old += usize::from(id < kept_since);
        bar.inc(HEADER_BYTES + record.len() as u64);
        Ok(())
    })
    .with_context(about)?;
    bar.set_position(bytes);
    bar.suspend(|| warn_of_retention(place.options, old, ""));

    input.rewind()?;
    let records = place.open_empty()?;
    let mut storing = Storing::new(&records, &bar);
    read(&mut input, |id, record| {
        bar.inc(HEADER_BYTES + record.len() as u64);
        storing.push(format!("game {id}"), id, record.to_vec())
    })
    .with_context(about)?;
    storing.finish()?;
    bar.finish_and_clear();
    let Storing { stored, known, refused, .. } = storing;
    let hash = hex::encode(hash);
    let others = match (known, refused) {
        (0, 0) => String::new(),
        _ => format!(", {known} were there already, {refused} refused"),
    };
    writeln!(io::stdout().lock(), "{stored} games restored{others}, SHA-256 {hash}")?;
    Ok(exit_code(refused == 0))
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

impl<W: Write + ?Sized> Hashing<&mut W> {
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
