//! A hand: pieces in the order in which they were dealt.

use super::{Piece, PieceSet};

/// Pieces in dealt order. Playing some keeps the order of the rest (rules, section 3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hand {
    dealt: [Piece; 8],
    held: PieceSet,
}

impl Hand {
    /// The pieces of `dealt` that are still `held`.
    pub const fn new(dealt: [Piece; 8], held: PieceSet) -> Self {
        Self { dealt, held }
    }

    /// A hand of which nothing is known.
    pub const UNKNOWN: Self = Self::new([Piece::wrapping(0); 8], PieceSet::EMPTY);

    /// The pieces in dealt order.
    pub fn iter(&self) -> impl Iterator<Item = Piece> {
        let held = self.held;
        self.dealt.into_iter().filter(move |&piece| held.contains(piece))
    }

    /// The piece at `index` of the hand as it is now.
    pub fn get(&self, index: usize) -> Option<Piece> {
        self.iter().nth(index)
    }

    /// The pieces without their order.
    pub const fn set(&self) -> PieceSet {
        self.held
    }
}
