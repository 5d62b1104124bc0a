//! What a sink is owed, kept over restarts.
//!
//! The archive numbers its records without gaps. So an outbox needs no queue: it keeps the number up to which everything was
//! delivered, and cannot disagree with the archive. It is written as the archive's own high-water mark is, in two slots, after
//! each group; a crash in between costs a group sent twice, which does no harm.
//!
//! Games that the sink refuses for good are listed in a small file, which is replaced whole. They are written there before the
//! number passes them.
//!
//! The names of both files depend on the sink's place. Another bucket is owed everything, and the first one, if it comes back,
//! only the rest.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::{Refusal, SinkKind};
use crate::archive::GameId;
use crate::disk::{DurableNumber, NumberFound, sync_folder, write_atomic};

/// Version of the file with the number.
const VERSION: u32 = 1;
/// Games that may be set aside. If there are more, the sink is at fault, and gets nothing until that is repaired.
const MAX_SET_ASIDE: usize = 10_000;
/// Longest reason kept, in characters.
const MAX_REASON: usize = 300;

/// What one sink is owed.
#[derive(Debug)]
pub(super) struct Outbox {
    delivered: DurableNumber,
    aside_path: PathBuf,
    aside: BTreeMap<GameId, String>,
}

/// How far the deliveries to a sink have come.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Progress {
    /// Everything up to this number was delivered or set aside.
    pub(crate) delivered: u64,
    /// The games set aside, and why.
    pub set_aside: BTreeMap<GameId, String>,
}

/// A line of the file of games set aside.
#[derive(Serialize, Deserialize)]
struct Line {
    game: GameId,
    reason: String,
}

impl Outbox {
    /// Opens the outbox of a sink, or begins one. `last` is the last number of the archive.
    pub(super) fn open(store: &Path, kind: SinkKind, place: &str, last: u64) -> io::Result<Self> {
        let [cursor_path, aside_path] = paths(store, kind, place);
        let folder = store.join(FOLDER);
        if !folder.is_dir() {
            std::fs::create_dir_all(&folder)?;
            sync_folder(store)?;
        }
        let delivered = match DurableNumber::look(&cursor_path, VERSION)? {
            NumberFound::Whole { number, .. } | NumberFound::Half(number) if number <= last => number,
            NumberFound::Absent => 0,
            // Sending a game twice does no harm, leaving one out does.
            _ => {
                log::warn!(sink = kind.name(); "it cannot be told what the sink has; everything is sent again");
                0
            }
        };
        let aside = read_aside(&aside_path)?;
        Ok(Self { delivered: DurableNumber::open(&cursor_path, VERSION, delivered)?, aside_path, aside })
    }

    /// The number up to which everything was delivered or set aside.
    pub(super) fn delivered(&self) -> u64 {
        self.delivered.get()
    }

    /// Everything up to this number is delivered or set aside.
    pub(super) fn advance(&mut self, number: u64) -> io::Result<()> {
        self.delivered.write(number)
    }

    /// The games set aside.
    pub(super) fn set_aside(&self) -> impl ExactSizeIterator<Item = GameId> {
        self.aside.keys().copied()
    }

    /// Sets games aside that the sink refuses for good.
    pub(super) fn refuse(&mut self, refused: &[Refusal]) -> io::Result<()> {
        let before = self.aside.clone();
        for Refusal { id, reason } in refused {
            self.aside.insert(*id, reason.chars().take(MAX_REASON).collect());
        }
        if self.aside.len() > MAX_SET_ASIDE {
            self.aside = before;
            return Err(io::Error::other(format!("more than {MAX_SET_ASIDE} games are refused")));
        }
        self.write_aside(before)
    }

    /// These games need not be set aside any longer.
    pub(super) fn settle(&mut self, settled: impl IntoIterator<Item = GameId>) -> io::Result<()> {
        let before = self.aside.clone();
        settled.into_iter().for_each(|id| drop(self.aside.remove(&id)));
        self.write_aside(before)
    }

    fn write_aside(&mut self, before: BTreeMap<GameId, String>) -> io::Result<()> {
        if self.aside == before {
            return Ok(());
        }
        let mut text = Vec::new();
        for (&game, reason) in &self.aside {
            serde_json::to_writer(&mut text, &Line { game, reason: reason.clone() })?;
            text.push(b'\n');
        }
        write_atomic(&self.aside_path, &text).inspect_err(|_| self.aside = before)
    }
}

impl Progress {
    /// How far a sink is, without changing anything.
    ///
    /// # Errors
    /// The disk refuses.
    pub(super) fn look(store: &Path, kind: SinkKind, place: &str) -> io::Result<Self> {
        let [cursor_path, aside_path] = paths(store, kind, place);
        let delivered = match DurableNumber::look(&cursor_path, VERSION)? {
            NumberFound::Whole { number, .. } | NumberFound::Half(number) => number,
            NumberFound::Absent | NumberFound::Damaged | NumberFound::OtherVersion(_) => 0,
        };
        Ok(Self { delivered, set_aside: read_aside(&aside_path)? })
    }
}

/// The folder of all outboxes inside a store.
const FOLDER: &str = "outbox";

fn paths(store: &Path, kind: SinkKind, place: &str) -> [PathBuf; 2] {
    let hash = hex::encode(Sha256::digest(place));
    let name = hash.get(..16).unwrap_or_default();
    ["delivered", "refused"].map(|what| store.join(FOLDER).join(format!("{kind}-{name}.{what}")))
}

fn read_aside(path: &Path) -> io::Result<BTreeMap<GameId, String>> {
    let text = match std::fs::read(path) {
        Ok(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(BTreeMap::new()),
        Err(error) => return Err(error),
    };
    // A line that cannot be read is one game that is not tried again by itself; `liap archive compare` still finds it.
    let lines = text.lines().filter_map(|line| serde_json::from_str::<Line>(line).ok());
    Ok(lines.map(|line| (line.game, line.reason)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(ms: u64) -> Refusal {
        Refusal { id: GameId::first_at(ms), reason: "another game has its name".to_owned() }
    }

    #[test]
    fn progress_and_refusals_are_found_again_by_place() {
        let store = tempfile::tempdir().unwrap();
        let open = |place| Outbox::open(store.path(), SinkKind::S3, place, 100).unwrap();
        let mut outbox = open("s3://a/");
        assert_eq!((outbox.delivered(), outbox.set_aside().len()), (0, 0));
        outbox.refuse(&[refusal(1), refusal(2)]).unwrap();
        outbox.advance(40).unwrap();
        drop(outbox);
        let mut outbox = open("s3://a/");
        assert_eq!(outbox.delivered(), 40);
        outbox.settle([GameId::first_at(1)]).unwrap();
        assert_eq!(outbox.set_aside().collect::<Vec<_>>(), [GameId::first_at(2)]);
        let progress = Progress::look(store.path(), SinkKind::S3, "s3://a/").unwrap();
        assert_eq!(progress.delivered, 40);
        assert_eq!(progress.set_aside.keys().copied().collect::<Vec<_>>(), [GameId::first_at(2)]);
        assert_eq!(open("s3://b/").delivered(), 0, "another place is owed everything");
    }

    #[test]
    fn what_cannot_be_true_means_that_everything_is_owed() {
        let store = tempfile::tempdir().unwrap();
        let mut outbox = Outbox::open(store.path(), SinkKind::S3, "s3://a/", 100).unwrap();
        outbox.advance(90).unwrap();
        drop(outbox);
        // The archive was begun afresh and has fewer games than were delivered.
        assert_eq!(Outbox::open(store.path(), SinkKind::S3, "s3://a/", 3).unwrap().delivered(), 0);
        let [cursor, _] = paths(store.path(), SinkKind::S3, "s3://a/");
        std::fs::write(cursor, b"no cursor").unwrap();
        assert_eq!(Outbox::open(store.path(), SinkKind::S3, "s3://a/", 100).unwrap().delivered(), 0);
    }

    #[test]
    fn refusals_are_bounded() {
        let store = tempfile::tempdir().unwrap();
        let mut outbox = Outbox::open(store.path(), SinkKind::S3, "s3://a/", 100).unwrap();
        let many: Vec<Refusal> = (0..=MAX_SET_ASIDE as u64).map(refusal).collect();
        outbox.refuse(&many[1..]).unwrap();
        outbox.refuse(&many).unwrap_err();
        assert_eq!(outbox.set_aside().len(), MAX_SET_ASIDE);
    }
}
