//! The plays in a hand, each once: copies of one kind are interchangeable, so only the lowest by number are taken.

use arrayvec::ArrayVec;

use super::super::{Color, Name, PieceSet, Play, PlayKind, play::GROUPS};

/// Bound on the plays in a hand of eight: no more than eight single pieces, and fewer than twenty combinations.
pub(super) const MAX: usize = 32;

/// The plays of two and more pieces.
pub(super) fn combinations(hand: PieceSet) -> ArrayVec<Play, MAX> {
    let mut plays = ArrayVec::new();
    let twins = hand.twins();
    let mut push = |bits: u32| {
        if let Some(play) = Play::classify(PieceSet::from_bits(bits)) {
            // The bound holds for every hand of eight; a hand that broke it would only lose its last plays.
            plays.try_push(play).ok();
        }
    };
    for first in twins.iter() {
        push(0b11 << first.number());
    }
    for color in [Color::Red, Color::Black] {
        let mut soldiers = hand.intersection(PieceSet::of_kind(Name::Soldier, color)).bits();
        while soldiers.count_ones() >= 2 {
            push(soldiers);
            // Without the highest.
            soldiers &= !(1 << soldiers.ilog2());
        }
    }
    for group in &GROUPS {
        let names = group.names.map(|name| name.intersection(hand));
        if names.iter().any(|name| name.is_empty()) {
            continue;
        }
        let straight = names.iter().fold(0, |straight, name| straight | name.bits() & name.bits().wrapping_neg());
        let mut doubles = group.pieces.intersection(hand).bits() & !straight;
        let all_doubles = doubles;
        // All subsets of the second copies, from all of them to none.
        loop {
            push(straight | doubles);
            if doubles == 0 {
                break;
            }
            doubles = (doubles - 1) & all_doubles;
        }
    }
    plays
}

/// Whether there is a play of this type.
pub(super) fn holds(hand: PieceSet, kind: PlayKind) -> bool {
    match kind {
        PlayKind::Single => !hand.is_empty(),
        _ => combinations(hand).iter().any(|play| play.kind() == kind),
    }
}

/// The plays of one piece.
pub(super) fn singles(hand: PieceSet) -> ArrayVec<Play, MAX> {
    let mut repeated = hand.twins().bits() << 1;
    for color in [Color::Red, Color::Black] {
        let soldiers = hand.intersection(PieceSet::of_kind(Name::Soldier, color)).bits();
        repeated |= soldiers & soldiers.wrapping_sub(1);
    }
    let different = hand.difference(PieceSet::from_bits(repeated));
    different.iter().filter_map(|piece| Play::classify(PieceSet::EMPTY.with(piece))).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::super::super::{Kind, Piece, subsets};
    use super::*;

    fn kinds(pieces: PieceSet) -> Vec<Kind> {
        pieces.iter().map(Piece::kind).collect()
    }

    proptest! {
        #[test]
        fn every_play_is_listed_once(hand in prop::sample::subsequence((0..32).collect::<Vec<u8>>(), 1..=8)) {
            let hand: PieceSet = hand.into_iter().filter_map(Piece::new).collect();
            let listed: Vec<_> = singles(hand).into_iter().chain(combinations(hand)).map(Play::pieces).collect();
            prop_assert!(listed.iter().all(|&pieces| hand.is_superset(pieces)));
            let all = subsets(hand).filter(|&pieces| Play::classify(pieces).is_some()).map(kinds);
            prop_assert_eq!(listed.len(), listed.iter().copied().map(kinds).collect::<BTreeSet<_>>().len());
            prop_assert_eq!(listed.into_iter().map(kinds).collect::<BTreeSet<_>>(), all.collect::<BTreeSet<_>>());
        }
    }
}
