//! Bots: each chooses an [`Action`] from a [`View`], so that it knows what a player in its seat may know.
//!
//! [`easy`] draws any legal action. [`normal`] weighs what a hand is still worth. [`hard`] deals the pieces it cannot
//! see in many ways and plays the round out in each. None of them has a clock; what they draw comes from the caller.

mod easy;
mod hard;
mod normal;
mod plays;

use std::str::FromStr;

use rand::{Rng, RngExt};

use super::{Action, PieceSet, Play, View, ViewPhase};
use normal::Known;

/// How well a bot plays. As `&str` it is spelled as on the wire, in records and on the command line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default, strum::Display, strum::IntoStaticStr)]
#[strum(serialize_all = "lowercase")]
pub enum Level {
    /// Any legal action, all equally likely.
    Easy,
    /// Declares what the hand is worth and plays to hit it.
    #[default]
    Normal,
    /// Searches over the hands that the others may hold.
    Hard,
}

impl Level {
    /// All levels, weakest first.
    pub const ALL: [Self; 3] = [Self::Easy, Self::Normal, Self::Hard];
}

/// Why a text is no [`Level`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("A bot's level is easy, normal or hard")]
pub struct LevelError;

impl FromStr for Level {
    type Err = LevelError;
    fn from_str(text: &str) -> Result<Self, LevelError> {
        Self::ALL.into_iter().find(|level| <&str>::from(level) == text).ok_or(LevelError)
    }
}

/// What a bot of this level does where `view` has something to decide: always a legal action.
///
/// A view that has nothing to decide gets an action that the game refuses.
pub fn choose(level: Level, view: &View, rng: &mut impl Rng) -> Action {
    let hand = view.hand.set();
    match view.phase {
        // Four of five, whatever the level (rules, section 11).
        ViewPhase::Redeal { .. } => Action::AnswerRedeal(rng.random_ratio(4, 5)),
        ViewPhase::Declare { .. } => Action::Declare(match level {
            Level::Easy => easy::declare(&view.allowed_declarations(), rng),
            Level::Normal => normal::declare(&Known::of(view), view.allowed_declarations()),
            Level::Hard => hard::declare(view, rng),
        }),
        ViewPhase::Lead { .. } => {
            let pieces = match level {
                Level::Easy => easy::lead(hand, rng),
                Level::Normal => normal::lead(&Known::of(view)),
                Level::Hard => hard::lead(view, rng),
            };
            let legal = hand.is_superset(pieces) && Play::classify(pieces).is_some();
            Action::Play(if legal { pieces } else { weakest(hand, 1) })
        }
        ViewPhase::Follow { starter, lead, .. } => {
            let pieces = match level {
                Level::Easy => easy::draw(hand, lead.count(), rng),
                Level::Normal => normal::follow(&Known::of(view), starter, lead),
                Level::Hard => hard::follow(view, starter, lead, rng),
            };
            let legal = hand.is_superset(pieces) && pieces.len() == lead.count();
            Action::Play(if legal { pieces } else { weakest(hand, lead.count()) })
        }
        ViewPhase::Revealed(_) | ViewPhase::Played | ViewPhase::Scored { .. } | ViewPhase::Over { .. } => {
            Action::Play(PieceSet::EMPTY)
        }
    }
}

/// The `count` pieces with the fewest points. A bot that chose nothing legal would play these, so that no bot can stall a
/// game.
fn weakest(hand: PieceSet, count: u8) -> PieceSet {
    let mut weakest = hand;
    while weakest.len() > count.max(1) {
        let strongest = weakest.iter().max_by_key(|piece| piece.points());
        weakest = weakest.difference(strongest.into_iter().collect());
    }
    weakest
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rand::SeedableRng;
    use rand_pcg::Pcg64Mcg;

    use super::super::{BySeat, DealSeed, Game, play_out};
    use super::*;

    #[test]
    fn levels_are_spelled_one_way() {
        for level in Level::ALL {
            assert_eq!(level.to_string().parse(), Ok(level));
        }
        assert_eq!("Easy".parse::<Level>(), Err(LevelError));
    }

    #[test]
    fn the_weakest_pieces_are_those_with_the_fewest_points() {
        // General, chariot, red soldier, black cannon and soldier.
        let hand = PieceSet::from_bits(1 | 1 << 5 | 1 << 11 | 1 << 25 | 1 << 27);
        assert_eq!(weakest(hand, 1), PieceSet::from_bits(1 << 27));
        assert_eq!(weakest(hand, 3), PieceSet::from_bits(1 << 11 | 1 << 25 | 1 << 27));
        assert_eq!(weakest(hand, 5), hand);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(6))]

        #[test]
        fn whatever_the_levels_every_choice_is_legal(
            seed in any::<[u8; 32]>(),
            bots in any::<u64>(),
            levels in prop::array::uniform4(prop::sample::select(Level::ALL.as_slice())),
        ) {
            let mut game = Game::new(DealSeed::unproven(seed));
            // `play_out` stops short of its limit if an action is refused.
            let outcome = play_out(&mut game, &BySeat::new(levels), 2, &mut Pcg64Mcg::seed_from_u64(bots), |_, _| {});
            prop_assert!(outcome.rounds == 2 || game.winners().is_some());
        }
    }
}
