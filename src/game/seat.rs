//! The four seats.

use std::fmt;

/// One of the four seats, numbered 1 to 4. Play goes by ascending seat, wrapping from 4 to 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, derive_more::Display)]
#[expect(missing_docs, reason = "a seat is its number")]
#[display("{}", self.number())]
pub enum Seat {
    One,
    Two,
    Three,
    Four,
}

impl Seat {
    /// All seats in ascending order.
    pub const ALL: [Self; 4] = [Self::One, Self::Two, Self::Three, Self::Four];

    /// The seat with this number, 1 to 4.
    pub fn from_number(number: u64) -> Option<Self> {
        Self::ALL.into_iter().find(|seat| u64::from(seat.number()) == number)
    }

    /// The number, 1 to 4.
    pub const fn number(self) -> u8 {
        self as u8 + 1
    }

    /// The place in an array of four, 0 to 3.
    pub const fn index(self) -> usize {
        self as usize
    }

    /// Whose move it is after this seat's.
    pub const fn next(self) -> Self {
        match self {
            Self::One => Self::Two,
            Self::Two => Self::Three,
            Self::Three => Self::Four,
            Self::Four => Self::One,
        }
    }

    /// This seat and the following ones: "the order from X" of the rules, section 2.
    pub const fn order(self) -> [Self; 4] {
        let second = self.next();
        let third = second.next();
        [self, second, third, third.next()]
    }
}

/// One value for each seat.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct BySeat<T>([T; 4]);

impl<T> BySeat<T> {
    /// From the values of seats 1, 2, 3 and 4.
    pub const fn new(values: [T; 4]) -> Self {
        Self(values)
    }

    /// Computes each seat's value.
    pub fn from_fn(mut value: impl FnMut(Seat) -> T) -> Self {
        Self(Seat::ALL.map(&mut value))
    }

    /// Each value turned into another.
    pub fn map<U>(self, f: impl FnMut(T) -> U) -> BySeat<U> {
        BySeat(self.0.map(f))
    }

    /// The values in seat order.
    pub fn iter(&self) -> std::slice::Iter<'_, T> {
        self.0.iter()
    }

    /// Seats and values in seat order.
    pub fn pairs(&self) -> impl Iterator<Item = (Seat, &T)> {
        Seat::ALL.into_iter().zip(&self.0)
    }

    /// The values as an array in seat order.
    pub const fn as_array(&self) -> &[T; 4] {
        &self.0
    }

    /// The values as an array in seat order.
    pub fn into_array(self) -> [T; 4] {
        self.0
    }
}

#[expect(clippy::indexing_slicing, reason = "Seat::index() is below 4, the length of the array")]
impl<T> std::ops::Index<Seat> for BySeat<T> {
    type Output = T;
    fn index(&self, seat: Seat) -> &T {
        &self.0[seat.index()]
    }
}

#[expect(clippy::indexing_slicing, reason = "Seat::index() is below 4, the length of the array")]
impl<T> std::ops::IndexMut<Seat> for BySeat<T> {
    fn index_mut(&mut self, seat: Seat) -> &mut T {
        &mut self.0[seat.index()]
    }
}

/// A set of seats, one bit each.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
#[must_use]
pub struct SeatSet(u8);

impl SeatSet {
    /// No seat.
    pub const EMPTY: Self = Self(0);

    /// Whether there is no seat in it.
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// How many seats, 0 to 4.
    pub const fn len(self) -> usize {
        self.0.count_ones() as usize
    }

    /// Whether `seat` is in it.
    pub const fn contains(self, seat: Seat) -> bool {
        self.0 >> seat.index() & 1 == 1
    }

    /// The set with `seat` in it.
    pub const fn with(self, seat: Seat) -> Self {
        Self(self.0 | 1 << seat.index())
    }

    /// All seats of both.
    pub const fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// The seats of this set that are not in `other`.
    pub const fn difference(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    /// The lowest seat, if there is one.
    pub fn first(self) -> Option<Seat> {
        self.iter().next()
    }

    /// The seats in ascending order.
    pub fn iter(self) -> impl Iterator<Item = Seat> {
        Seat::ALL.into_iter().filter(move |&seat| self.contains(seat))
    }
}

impl FromIterator<Seat> for SeatSet {
    fn from_iter<I: IntoIterator<Item = Seat>>(seats: I) -> Self {
        seats.into_iter().fold(Self::EMPTY, Self::with)
    }
}

impl fmt::Debug for SeatSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.iter()).finish()
    }
}
