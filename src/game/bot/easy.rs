//! `easy`: any legal action, all equally likely.
//!
//! Simulations by the million are played by this bot, so every choice is drawn directly instead of from a list.

use rand::{Rng, RngExt};

use super::super::{AllowedDeclarations, Color, Declaration, Name, PieceSet, play::GROUPS};

pub(super) fn declare(allowed: &AllowedDeclarations, rng: &mut impl Rng) -> Declaration {
    allowed.get(rng.random_range(0..allowed.len().max(1))).copied().unwrap_or_default()
}

/// Any `count` of the pieces, all choices equally likely.
pub(super) fn draw(hand: PieceSet, count: u8, rng: &mut impl Rng) -> PieceSet {
    let mut kept = hand;
    for _ in 0..count.min(hand.len()) {
        kept = kept.difference(one_of(kept, rng));
    }
    hand.difference(kept)
}

/// Any valid play of the hand: counts the plays of each shape, draws a number below their sum, and then a play of
/// the shape which that number falls into.
pub(super) fn lead(hand: PieceSet, rng: &mut impl Rng) -> PieceSet {
    let [red, black] = [Color::Red, Color::Black].map(|color| PieceSet::of_kind(Name::Soldier, color));
    let [a, b, c, d] = GROUPS.each_ref().map(|group| Shape::Straight(group.names.map(|name| name.intersection(hand))));
    let shapes = [
        Shape::Single(hand),
        Shape::Pair(hand.twins()),
        Shape::Soldiers(hand.intersection(red)),
        Shape::Soldiers(hand.intersection(black)),
        a,
        b,
        c,
        d,
    ];
    let mut number = rng.random_range(0..shapes.iter().map(Shape::plays).sum::<u32>().max(1));
    for shape in shapes {
        if number < shape.plays() {
            return shape.draw(rng);
        }
        number -= shape.plays();
    }
    PieceSet::EMPTY
}

/// Pieces of a hand from which plays of one shape can be taken.
enum Shape {
    /// Each piece is a play.
    Single(PieceSet),
    /// Each piece and its twin, which is the next by number.
    Pair(PieceSet),
    /// Any two or more of the soldiers of one colour.
    Soldiers(PieceSet),
    /// One or more of each name of a group.
    Straight([PieceSet; 3]),
}

impl Shape {
    fn plays(&self) -> u32 {
        match *self {
            Self::Single(pieces) | Self::Pair(pieces) => u32::from(pieces.len()),
            // All subsets but the empty one and the single pieces.
            Self::Soldiers(pieces) => (1 << pieces.len()) - 1 - u32::from(pieces.len()),
            Self::Straight(names) => names.iter().map(|name| (1 << name.len()) - 1).product(),
        }
    }

    fn draw(self, rng: &mut impl Rng) -> PieceSet {
        match self {
            Self::Single(pieces) => one_of(pieces, rng),
            Self::Pair(pieces) => {
                let first = one_of(pieces, rng).bits();
                PieceSet::from_bits(first | first << 1)
            }
            Self::Soldiers(pieces) => some_of(pieces, 2, rng),
            Self::Straight(names) => {
                names.into_iter().fold(PieceSet::EMPTY, |play, name| play.union(some_of(name, 1, rng)))
            }
        }
    }
}

fn one_of(pieces: PieceSet, rng: &mut impl Rng) -> PieceSet {
    let mut bits = pieces.bits();
    for _ in 0..rng.random_range(0..pieces.len().max(1)) {
        // Drops the lowest.
        bits &= bits.wrapping_sub(1);
    }
    PieceSet::from_bits(bits & bits.wrapping_neg())
}

/// Any `least` or more of the pieces; of fewer pieces than that, all.
fn some_of(pieces: PieceSet, least: u8, rng: &mut impl Rng) -> PieceSet {
    if pieces.len() <= least {
        return pieces;
    }
    loop {
        let some = pieces.intersection(PieceSet::from_bits(rng.next_u32()));
        if some.len() >= least {
            return some;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use rand::SeedableRng;
    use rand_pcg::Pcg64Mcg;

    use super::super::super::{Play, subsets};
    use super::*;

    #[test]
    fn every_lead_is_equally_likely() {
        let mut rng = Pcg64Mcg::seed_from_u64(7);
        // Red: advisors, chariot, both horses, cannon, soldiers; black: high straight.
        for hand in [0b0000_0000_0000_0000_0001_1011_1010_0110, 0b0000_0000_0001_0111_0011_1000_0000_0000] {
            let hand = PieceSet::from_bits(hand);
            let plays = subsets(hand).filter(|&pieces| Play::classify(pieces).is_some()).count();
            let mut drawn = BTreeMap::<u32, usize>::new();
            for _ in 0..plays * 400 {
                *drawn.entry(lead(hand, &mut rng).bits()).or_default() += 1;
            }
            assert_eq!(drawn.len(), plays);
            for (&play, &times) in &drawn {
                assert!(Play::classify(PieceSet::from_bits(play)).is_some());
                assert!((280..520).contains(&times), "{play:b} was drawn {times} times of about 400");
            }
        }
    }
}
