//! Fills the index from the store when it is opened: one thread reads, others decode, one adds up.

use std::sync::mpsc;
use std::thread;

use super::GameId;
use super::codec::{Summary, decode_summary};
use super::index::Index;
use super::recover::Loader;
use crate::parallel;

/// Records decoded in one go.
const PART_RECORDS: usize = 1024;

/// Does what opens a store, and makes the index of all its games. Records that cannot be decoded are told to the log and left out.
pub(super) fn load<T>(open: impl FnOnce(&mut dyn Loader) -> T) -> (T, Index) {
    let decoders = parallel::cores().min(4);
    let (read, to_decode) = mpsc::sync_channel::<Part>(2 * decoders);
    thread::scope(|scope| {
        let adding = scope.spawn(move || {
            let (mut index, mut reading) = (Index::default(), 0);
            let decode = |part: Part| (part.reading, decode_part(&part));
            // In the order in which it was read: ratings depend on the order of games.
            let added = parallel::in_order(to_decode.into_iter(), decoders, decode, |(of, summaries)| {
                // What belongs to a reading that was begun again counts no more.
                if of != reading {
                    (index, reading) = (Index::default(), of);
                }
                for summary in &summaries {
                    index.insert(summary);
                }
                Ok::<(), std::convert::Infallible>(())
            });
            added.map(|()| index).unwrap_or_default()
        });
        let mut reader = Reader { part: Part::default(), read };
        let opened = open(&mut reader);
        reader.hand_over();
        drop(reader);
        let index = adding.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        (opened, index)
    })
}

/// Records on their way to be decoded.
#[derive(Default)]
struct Part {
    /// Which reading of the store it belongs to.
    reading: u64,
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
        let next = Part { reading: self.part.reading, ..Part::default() };
        // Decoders live until this end is dropped.
        drop(self.read.send(std::mem::replace(&mut self.part, next)));
    }
}

impl Loader for Reader {
    fn begin(&mut self) {
        self.part = Part { reading: self.part.reading + 1, ..Part::default() };
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
        let error = match decode_summary(record) {
            Ok(summary) if summary.game_id == id => return Some(summary),
            Ok(_) => "it is stored under another name".to_owned(),
            Err(error) => error.to_string(),
        };
        log::error!(game = id.to_string().as_str(); "an archived game cannot be read and is left out: {error}");
        None
    });
    summaries.collect()
}
