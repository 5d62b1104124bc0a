//! Fills the index from the store when it is opened: one thread reads, others decode, one adds up.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::thread;

use super::codec::{Summary, decode_summary};
use super::index::Index;
use super::recover::Loader;
use super::{GameId, OpenReport, Store, StoreError};

/// Records decoded in one go.
const PART_RECORDS: usize = 1024;

/// Opens a store and makes the index of all its games. Records that cannot be decoded are told to the log and left out.
pub(super) fn load(
    open: impl FnOnce(&mut dyn Loader) -> Result<(Store, OpenReport), StoreError>,
) -> Result<(Store, OpenReport, Index), StoreError> {
    let decoders = thread::available_parallelism().map_or(1, |cores| cores.get().min(4));
    let (read, to_decode) = mpsc::sync_channel::<Part>(2 * decoders);
    let to_decode = Arc::new(Mutex::new(to_decode));
    let (decoded, to_add) = mpsc::sync_channel::<(Position, Vec<Summary>)>(2 * decoders);
    thread::scope(|scope| {
        for _ in 0..decoders {
            let (to_decode, decoded) = (Arc::clone(&to_decode), decoded.clone());
            scope.spawn(move || {
                loop {
                    let part = to_decode.lock().unwrap_or_else(PoisonError::into_inner).recv();
                    let Ok(part) = part else { return };
                    if decoded.send((part.position, decode_part(&part))).is_err() {
                        return;
                    }
                }
            });
        }
        drop(decoded);
        let adding = scope.spawn(move || add_up(&to_add));
        let mut reader = Reader { part: Part::default(), read };
        let opened = open(&mut reader);
        reader.hand_over();
        drop(reader);
        let index = adding.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        opened.map(|(store, report)| (store, report, index))
    })
}

/// Adds up what was decoded, in the order in which it was read: ratings depend on the order of games.
fn add_up(to_add: &mpsc::Receiver<(Position, Vec<Summary>)>) -> Index {
    let mut index = Index::default();
    let mut early: BTreeMap<Position, Vec<Summary>> = BTreeMap::new();
    let mut wanted = Position::default();
    for (position, summaries) in to_add {
        early.insert(position, summaries);
        // Whatever belongs to a reading that was begun again counts no more.
        if early.last_key_value().is_some_and(|(last, _)| last.0 > wanted.0) {
            wanted = Position(position.0, 0);
            early = early.split_off(&wanted);
            index = Index::default();
        }
        while let Some(summaries) = early.remove(&wanted) {
            for summary in &summaries {
                index.insert(summary);
            }
            wanted.1 += 1;
        }
    }
    index
}

/// Which reading of the store, and which part of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
struct Position(u64, u64);

/// Records on their way to be decoded.
#[derive(Default)]
struct Part {
    position: Position,
    bytes: Vec<u8>,
    /// Where each record ends.
    ends: Vec<(GameId, usize)>,
}

/// Gathers what the store reads.
struct Reader {
    part: Part,
    read: mpsc::SyncSender<Part>,
}

impl Reader {
    fn hand_over(&mut self) {
        let Position(reading, number) = self.part.position;
        let next = Part { position: Position(reading, number + 1), ..Part::default() };
        // Decoders live until this end is dropped.
        drop(self.read.send(std::mem::replace(&mut self.part, next)));
    }
}

impl Loader for Reader {
    fn begin(&mut self) {
        self.part = Part { position: Position(self.part.position.0 + 1, 0), ..Part::default() };
    }

    fn record(&mut self, id: GameId, record: &[u8]) {
        self.part.bytes.extend_from_slice(record);
        self.part.ends.push((id, self.part.bytes.len()));
        if self.part.ends.len() == PART_RECORDS {
            self.hand_over();
        }
    }
}

fn decode_part(part: &Part) -> Vec<Summary> {
    let mut start = 0;
    let summaries = part.ends.iter().filter_map(|&(id, end)| {
        let record = part.bytes.get(start..end).unwrap_or_default();
        start = end;
        match decode_summary(record) {
            Ok(summary) if summary.game_id == id => Some(summary),
            Ok(_) => {
                log::error!(game = id.to_string().as_str(); "an archived game is stored under another name and left out");
                None
            }
            Err(error) => {
                log::error!(game = id.to_string().as_str(); "an archived game cannot be read and is left out: {error}");
                None
            }
        }
    });
    summaries.collect()
}
