//! Fills the index from the store when it is opened: one thread reads, others decode, one adds up.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::thread;

use super::codec::{Summary, decode_summary};
use super::index::Index;
use super::{GameId, Store, StoreError};

/// Records decoded in one go.
const PART_RECORDS: usize = 1024;

/// Records on their way to be decoded.
#[derive(Default)]
struct Part {
    number: u64,
    bytes: Vec<u8>,
    /// Where each record ends.
    ends: Vec<(GameId, usize)>,
}

/// The index of all games in the store. Records that cannot be decoded are told to the log and left out.
pub(super) fn load(store: &Store) -> Result<Index, StoreError> {
    let decoders = thread::available_parallelism().map_or(1, |cores| cores.get().min(4));
    let (read, to_decode) = mpsc::sync_channel::<Part>(2 * decoders);
    let to_decode = Arc::new(Mutex::new(to_decode));
    let (decoded, to_add) = mpsc::sync_channel::<(u64, Vec<Summary>)>(2 * decoders);
    thread::scope(|scope| {
        for _ in 0..decoders {
            let (to_decode, decoded) = (Arc::clone(&to_decode), decoded.clone());
            scope.spawn(move || {
                loop {
                    let part = to_decode.lock().unwrap_or_else(PoisonError::into_inner).recv();
                    let Ok(part) = part else { return };
                    if decoded.send((part.number, decode_part(&part))).is_err() {
                        return;
                    }
                }
            });
        }
        drop(decoded);
        let reader = scope.spawn(move || read_all(store, &read));
        // Ratings depend on the order of games, so parts are added in the order in which they were read.
        let mut index = Index::default();
        let mut early = BTreeMap::new();
        let mut wanted = 0;
        for (number, summaries) in to_add {
            early.insert(number, summaries);
            while let Some(summaries) = early.remove(&wanted) {
                for summary in &summaries {
                    index.insert(summary);
                }
                wanted += 1;
            }
        }
        match reader.join() {
            Ok(read) => read.map(|()| index),
            Err(panic) => std::panic::resume_unwind(panic),
        }
    })
}

fn read_all(store: &Store, read: &mpsc::SyncSender<Part>) -> Result<(), StoreError> {
    let mut part = Part::default();
    let hand_over = |part: &mut Part| {
        let next = Part { number: part.number + 1, ..Part::default() };
        // Decoders live until this end is dropped.
        drop(read.send(std::mem::replace(part, next)));
    };
    store.scan(|id, record| {
        part.bytes.extend_from_slice(record);
        part.ends.push((id, part.bytes.len()));
        if part.ends.len() == PART_RECORDS {
            hand_over(&mut part);
        }
    })?;
    hand_over(&mut part);
    Ok(())
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
