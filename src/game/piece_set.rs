//! A hand, a play or a pile as bits.

use std::fmt;

use super::{Color, Name, Piece};

/// A set of pieces, one bit each.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
#[must_use]
pub struct PieceSet(u32);

const _: () = assert!(Piece::COUNT == u32::BITS as usize);

impl PieceSet {
    /// No piece.
    pub const EMPTY: Self = Self(0);
    /// All 32 pieces.
    pub const ALL: Self = Self(u32::MAX);
    /// The pieces worth more than 9 points: a hand that holds one is not weak (rules, section 4).
    pub const SAVING: Self = Self(0b1_1111 | (0b111 << 16));

    /// The set with these bits; bit `n` is the piece with number `n`.
    pub const fn from_bits(bits: u32) -> Self {
        Self(bits)
    }

    /// The bits; bit `n` is the piece with number `n`.
    pub const fn bits(self) -> u32 {
        self.0
    }

    /// How many pieces, 0 to 32.
    #[expect(clippy::cast_possible_truncation, reason = "a set has at most 32 pieces")]
    pub const fn len(self) -> u8 {
        self.0.count_ones() as u8
    }

    /// Whether there is no piece.
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Whether `piece` is in the set.
    pub const fn contains(self, piece: Piece) -> bool {
        self.0 >> piece.number() & 1 == 1
    }

    /// Whether all of `other` is in this set.
    pub const fn is_superset(self, other: Self) -> bool {
        other.0 & !self.0 == 0
    }

    /// All pieces of both.
    pub const fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// The pieces in both.
    pub const fn intersection(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    /// The pieces of this set that are not in `other`.
    pub const fn difference(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    /// This set with `piece` in it.
    pub const fn with(self, piece: Piece) -> Self {
        Self(self.0 | 1 << piece.number())
    }

    /// Sum of the points of all pieces, 0 to 192.
    pub const fn points(self) -> u32 {
        let [ones, twos, fours, eights] = POINTS_BITS;
        (self.0 & ones).count_ones()
            + 2 * (self.0 & twos).count_ones()
            + 4 * (self.0 & fours).count_ones()
            + 8 * (self.0 & eights).count_ones()
    }

    /// The pieces of this set that are worth more than `points`.
    pub fn above(self, points: u32) -> Self {
        Self(self.0 & ABOVE.get(points as usize).copied().unwrap_or(0))
    }

    /// All pieces of one name and colour.
    pub const fn of_kind(name: Name, color: Color) -> Self {
        let red = match name {
            Name::General => 0b1,
            Name::Soldier => 0b1_1111 << 11,
            // Two copies each, in the order of the names.
            pair => 0b11 << (2 * pair as u32 - 1),
        };
        match color {
            Color::Red => Self(red),
            Color::Black => Self(red << 16),
        }
    }

    /// Of each pair of one kind that is not of soldiers, the piece with the lower number. The other is the next one.
    pub const fn twins(self) -> Self {
        /// Advisor, elephant, chariot, horse and cannon have two copies each.
        const FIRSTS: u32 = 0b010_1010_1010 | 0b010_1010_1010 << 16;
        Self(self.0 & self.0 >> 1 & FIRSTS)
    }

    /// The pieces in the order of their numbers.
    pub fn iter(self) -> impl Iterator<Item = Piece> {
        let mut rest = self.0;
        std::iter::from_fn(move || {
            (rest != 0).then(|| {
                let piece = Piece::wrapping(rest.trailing_zeros());
                rest &= rest - 1;
                piece
            })
        })
    }
}

/// The pieces whose points have bit 0, bit 1, bit 2 and bit 3 set.
const POINTS_BITS: [u32; 4] = {
    let mut bits = [0; 4];
    let mut number = 0;
    while number < 32 {
        let points = Piece::wrapping(number).points() as u32;
        let [ones, twos, fours, eights] = bits;
        bits = [
            ones | (points & 1) << number,
            twos | (points >> 1 & 1) << number,
            fours | (points >> 2 & 1) << number,
            eights | (points >> 3 & 1) << number,
        ];
        number += 1;
    }
    bits
};

/// The pieces worth more than 0, 1, 2 … 13 points; nothing is worth more than 14.
static ABOVE: [u32; 14] = {
    let mut above = [0; 14];
    let mut rest: &mut [u32] = &mut above;
    let mut points = 0;
    while let Some((set, after)) = rest.split_first_mut() {
        let mut number = 0;
        while number < 32 {
            if Piece::wrapping(number).points() > points {
                *set |= 1 << number;
            }
            number += 1;
        }
        rest = after;
        points += 1;
    }
    above
};

impl FromIterator<Piece> for PieceSet {
    fn from_iter<I: IntoIterator<Item = Piece>>(pieces: I) -> Self {
        pieces.into_iter().fold(Self::EMPTY, Self::with)
    }
}

impl fmt::Debug for PieceSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.iter().map(|piece| piece.to_string())).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn saving_pieces_are_those_above_nine_points() {
        let saving: PieceSet = Piece::all().filter(|piece| piece.points() > 9).collect();
        assert_eq!(PieceSet::SAVING, saving);
    }

    #[test]
    fn points_are_counted_by_bits() {
        for bits in (0..u32::MAX).step_by(0x0101_0107) {
            let set = PieceSet::from_bits(bits);
            assert_eq!(set.points(), set.iter().map(|piece| u32::from(piece.points())).sum::<u32>());
            for points in 0..16 {
                let above: PieceSet = set.iter().filter(|piece| u32::from(piece.points()) > points).collect();
                assert_eq!(set.above(points), above);
            }
        }
    }

    #[test]
    fn kinds_part_the_set() {
        let mut all = PieceSet::EMPTY;
        for name in Name::ALL {
            for color in [Color::Red, Color::Black] {
                let of_kind = PieceSet::of_kind(name, color);
                assert!(of_kind.iter().all(|piece| piece.kind().name == name && piece.kind().color == color));
                assert!(all.intersection(of_kind).is_empty());
                all = all.union(of_kind);
            }
        }
        assert_eq!(all, PieceSet::ALL);
    }
}
