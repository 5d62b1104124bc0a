//! A group of games on its way to a sink.

use super::{Delivery, Refusal};
use crate::archive::{Kept, Numbered};

/// Games that are sent together.
#[derive(Debug, Default)]
pub(super) struct Group {
    pub(super) games: Vec<Delivery>,
    /// Games that no sink may get.
    pub(super) refused: Vec<Refusal>,
    /// The number of the last of them.
    pub(super) last: u64,
}

impl Group {
    pub(super) fn new(after: u64, records: Vec<Numbered>) -> Self {
        let mut group = Self { last: after, ..Self::default() };
        for Numbered { seq, record } in records {
            group.last = seq;
            match record {
                Kept::Whole(id, stored) => match Delivery::prove(id, stored) {
                    Ok(game) => group.games.push(game),
                    Err(error) => group.refused.push(Refusal { id, reason: error.to_string() }),
                },
                // A damaged record has no id. The archive reports it, and gives it another number when it is repaired.
                Kept::Damaged => {}
                // Set aside, because a later attempt to read it may succeed.
                Kept::Unreadable(id, reason) => group.refused.push(Refusal { id, reason }),
            }
        }
        group
    }

    pub(super) fn is_empty(&self) -> bool {
        self.games.is_empty() && self.refused.is_empty()
    }
}
