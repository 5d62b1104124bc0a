//! Declarations and which of them are allowed.

/// How many piles a player aims to win in a round, 0 to 8.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Declaration(u8);

impl Declaration {
    /// The highest declaration, and what the four must not add up to.
    pub const MAX: u8 = 8;

    /// A declaration of `piles`, if that is within 0 to 8.
    #[must_use]
    pub const fn new(piles: u8) -> Option<Self> {
        if piles <= Self::MAX { Some(Self(piles)) } else { None }
    }

    /// All declarations in ascending order.
    pub fn all() -> impl Iterator<Item = Self> {
        (0..=Self::MAX).map(Self)
    }

    /// The number of piles, 0 to 8.
    #[must_use]
    pub const fn piles(self) -> u8 {
        self.0
    }
}

/// After this many zeros in a row the next declaration must be at least 1.
pub(super) const MAX_ZERO_STREAK: u8 = 2;

/// Which declarations a player may make (rules, section 6), as bits 0 to 8.
///
/// `sum_before` is what the players before him declared, `last` whether he is the fourth, `zero_streak` how many
/// rounds in a row he has declared 0 before this one. Never empty: at most two of nine values fall away.
#[must_use]
pub fn allowed_declarations(sum_before: u8, last: bool, zero_streak: u8) -> AllowedDeclarations {
    let mut bits = 0b1_1111_1111_u16;
    if last && let Some(forbidden) = Declaration::MAX.checked_sub(sum_before) {
        bits &= !(1 << forbidden);
    }
    if zero_streak >= MAX_ZERO_STREAK {
        bits &= !1;
    }
    AllowedDeclarations(bits)
}

/// A set of declarations.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AllowedDeclarations(u16);

impl AllowedDeclarations {
    /// Whether `declaration` is allowed.
    #[must_use]
    pub const fn contains(self, declaration: Declaration) -> bool {
        self.0 >> declaration.piles() & 1 == 1
    }

    /// How many there are.
    #[must_use]
    #[expect(clippy::len_without_is_empty, reason = "never empty")]
    pub const fn len(self) -> usize {
        self.0.count_ones() as usize
    }

    /// The allowed declarations in ascending order.
    pub fn iter(self) -> impl Iterator<Item = Declaration> {
        Declaration::all().filter(move |&declaration| self.contains(declaration))
    }
}
