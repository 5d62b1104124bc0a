//! Declarations and which of them are allowed.

use arrayvec::ArrayVec;

use super::BySeat;

/// How many piles a player aims to win in a round, 0 to 8.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Declaration(u8);

impl Declaration {
    /// The highest declaration, and what the four must not add up to.
    pub const MAX: u8 = 8;

    /// A declaration of `piles`, if that is within 0 to 8.
    pub const fn new(piles: u8) -> Option<Self> {
        if piles <= Self::MAX { Some(Self(piles)) } else { None }
    }

    /// All declarations in ascending order.
    pub fn all() -> impl Iterator<Item = Self> {
        (0..=Self::MAX).map(Self)
    }

    /// The number of piles, 0 to 8.
    pub const fn piles(self) -> u8 {
        self.0
    }
}

/// After this many zeros in a row the next declaration must be at least 1.
pub(super) const MAX_ZERO_STREAK: u8 = 2;

/// The declarations a player may make, in ascending order.
pub type AllowedDeclarations = ArrayVec<Declaration, 9>;

/// Which declarations a player may make (rules, section 6).
///
/// `sum_before` is the sum of the declarations made before this one, `last` whether it is the fourth, `zero_streak` how
/// many rounds in a row the player has declared 0 before this one. Never empty: at most two of nine values fall away.
pub fn allowed_declarations(sum_before: u8, last: bool, zero_streak: u8) -> AllowedDeclarations {
    let forbidden = if last { Declaration::MAX.checked_sub(sum_before) } else { None };
    let lowest = u8::from(zero_streak >= MAX_ZERO_STREAK);
    (lowest..=Declaration::MAX).filter(|&piles| Some(piles) != forbidden).map(Declaration).collect()
}

/// Which declarations a player may make after those that are `made`.
pub(super) fn allowed_after(made: &BySeat<Option<Declaration>>, zero_streak: u8) -> AllowedDeclarations {
    let (count, sum) = made.iter().flatten().fold((0, 0), |(count, sum), one| (count + 1, sum + one.piles()));
    allowed_declarations(sum, count == 3, zero_streak)
}
