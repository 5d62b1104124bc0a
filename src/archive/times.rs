//! The times of a game's moves, as bits.
//!
//! What is kept is how long after the move before each one came, in hundredths of a second. Such waits scatter around
//! what is usual: for the player, a second for a bot and several for a person, and for the occasion, since who opens a
//! turn or is the first to declare comes after all that the table shows in between. So each seat has two scales, each
//! with the shortest of its waits and a number of low bits. A wait is what it is above the shortest one; its low bits
//! are kept as they are, what is above them is counted out in ones (Rice's code).
//!
//! First the scales, by seat, the usual one before that of openings: 16 bits for the shortest wait, four for the number
//! of low bits. Then for each move ones and a closing zero, and the low bits. Sixteen ones close by themselves, and the
//! wait above the shortest follows whole, in 32 bits. Bits fill bytes from the lowest.

use super::record::{GameTime, Move};
use crate::game::{Action, BySeat, Seat};

/// This many ones stand for "too long, here it is whole".
const ESCAPE: u32 = 16;
/// Bits for the shortest wait of a scale; one that is even longer counts as so long.
const SHORTEST_BITS: u32 = 16;
/// Bits for a number of low bits.
const LOW_BITS: u32 = 4;

/// Why bytes are not the times of a game.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TimesError {
    /// More times are needed than there are.
    #[error("the times break off")]
    Short,
    /// There is something behind the last time.
    #[error("there is something behind the last time")]
    Leftover,
    /// A time beyond the last moment.
    #[error("a time is beyond the last moment of a game")]
    TooLong,
}

/// The times of `moves`, which never go back; `None` if all of them are the start of the game.
pub(super) fn pack(moves: &[Move]) -> Option<Vec<u8>> {
    if moves.iter().all(|one| one.at == GameTime::START) {
        return None;
    }
    let scales = scales(moves);
    let mut bits = Writer::with_capacity(moves.len() * 5 / 4 + 24);
    for scale in scales.iter().flatten() {
        bits.push(scale.shortest, SHORTEST_BITS);
        bits.push(scale.low_bits, LOW_BITS);
    }
    for (seat, occasion, wait) in waits(moves) {
        let Scale { shortest, low_bits } = *occasion.of(&scales[seat]);
        let above = wait.saturating_sub(shortest);
        let ones = above >> low_bits;
        if ones < ESCAPE {
            let low = above & ((1 << low_bits) - 1);
            bits.push(((1 << ones) - 1) | low << (ones + 1), ones + 1 + low_bits);
        } else {
            bits.push((1 << ESCAPE) - 1, ESCAPE);
            bits.push(above, u32::BITS);
        }
    }
    Some(bits.finish())
}

/// Gives `moves` the times they had.
pub(super) fn unpack(bytes: &[u8], moves: &mut [Move]) -> Result<(), TimesError> {
    let mut bits = Reader::new(bytes);
    let mut scales = BySeat::<[Scale; 2]>::default();
    for seat in Seat::ALL {
        for scale in &mut scales[seat] {
            *scale = Scale { shortest: bits.pull(SHORTEST_BITS)?, low_bits: bits.pull(LOW_BITS)? };
        }
    }
    let mut time = 0_u32;
    let mut occasions = Occasions::default();
    for one in moves {
        let Scale { shortest, low_bits } = *occasions.next(one).of(&scales[one.seat]);
        let ones = bits.pull_ones()?;
        let above = if ones < ESCAPE { ones << low_bits | bits.pull(low_bits)? } else { bits.pull(u32::BITS)? };
        let wait = shortest.checked_add(above).ok_or(TimesError::TooLong)?;
        time = time.checked_add(wait).ok_or(TimesError::TooLong)?;
        one.at = GameTime::from_hundredths(time);
    }
    bits.finish()
}

/// What a move comes after.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Occasion {
    /// Another move of the same kind.
    Usual,
    /// What the table shows before the first declaration, or before a turn is opened.
    Opening,
}

impl Occasion {
    const fn of<T>(self, both: &[T; 2]) -> &T {
        let [usual, opening] = both;
        match self {
            Self::Usual => usual,
            Self::Opening => opening,
        }
    }

    const fn of_mut<T>(self, both: &mut [T; 2]) -> &mut T {
        let [usual, opening] = both;
        match self {
            Self::Usual => usual,
            Self::Opening => opening,
        }
    }
}

/// Tells the occasion of each move of a game: of four declarations and of four plays, the first is an opening.
#[derive(Debug, Default)]
struct Occasions {
    declarations: u32,
    plays: u32,
}

impl Occasions {
    fn next(&mut self, one: &Move) -> Occasion {
        let count = match one.action {
            Action::AnswerRedeal(_) => return Occasion::Usual,
            Action::Declare(_) => &mut self.declarations,
            Action::Play(_) => &mut self.plays,
        };
        let occasion = if *count % 4 == 0 { Occasion::Opening } else { Occasion::Usual };
        *count = count.wrapping_add(1);
        occasion
    }
}

/// The seat and the occasion of each move, and how long after the move before it came.
fn waits(moves: &[Move]) -> impl Iterator<Item = (Seat, Occasion, u32)> {
    let mut before = 0;
    let mut occasions = Occasions::default();
    moves.iter().map(move |one| {
        let now = one.at.hundredths();
        (one.seat, occasions.next(one), now.saturating_sub(std::mem::replace(&mut before, now)))
    })
}

/// What is usual for a seat on an occasion.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Scale {
    shortest: u32,
    low_bits: u32,
}

fn scales(moves: &[Move]) -> BySeat<[Scale; 2]> {
    #[derive(Clone, Copy)]
    struct Seen {
        shortest: u32,
        sum: u64,
        count: u64,
    }
    let none = Seen { shortest: u32::MAX, sum: 0, count: 0 };
    let mut seen = BySeat::new([[none; 2]; 4]);
    for (seat, occasion, wait) in waits(moves) {
        let Seen { shortest, sum, count } = occasion.of_mut(&mut seen[seat]);
        *shortest = wait.min(*shortest);
        // Who falls asleep for once does not change what is usual.
        *sum += u64::from(wait.min(6000));
        *count += 1;
    }
    seen.map(|both| {
        both.map(|Seen { shortest, sum, count }| {
            if count == 0 {
                return Scale::default();
            }
            let shortest = shortest.min((1 << SHORTEST_BITS) - 1);
            let above = (sum / count).saturating_sub(shortest.into());
            // About the shortest code: as many low bits as two thirds of the mean have.
            let low_bits = (above * 2 / 3).checked_ilog2().unwrap_or(0);
            Scale { shortest, low_bits }
        })
    })
}

struct Writer {
    bits: u64,
    count: u32,
    bytes: Vec<u8>,
}

impl Writer {
    fn with_capacity(bytes: usize) -> Self {
        Self { bits: 0, count: 0, bytes: Vec::with_capacity(bytes) }
    }

    /// Appends the low `count` bits of `value`, at most 32; the others must be 0.
    fn push(&mut self, value: u32, count: u32) {
        self.bits |= u64::from(value) << self.count;
        self.count += count;
        if self.count >= 32 {
            self.bytes.extend(self.bits.to_le_bytes().iter().take(4));
            self.bits >>= 32;
            self.count -= 32;
        }
    }

    fn finish(mut self) -> Vec<u8> {
        self.bytes.extend(self.bits.to_le_bytes().iter().take(self.count.div_ceil(8) as usize));
        self.bytes
    }
}

struct Reader<'a> {
    bits: u64,
    count: u32,
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    fn new(bytes: &'a [u8]) -> Self {
        Self { bits: 0, count: 0, rest: bytes }
    }

    /// Fills up to at least 32 bits, if there are so many.
    fn fill(&mut self) {
        if self.count > 32 {
            return;
        }
        if let Some((next, rest)) = self.rest.split_first_chunk::<4>() {
            self.bits |= u64::from(u32::from_le_bytes(*next)) << self.count;
            self.count += 32;
            self.rest = rest;
            return;
        }
        while let Some((next, rest)) = self.rest.split_first() {
            self.bits |= u64::from(*next) << self.count;
            self.count += 8;
            self.rest = rest;
        }
    }

    fn pull(&mut self, count: u32) -> Result<u32, TimesError> {
        self.fill();
        if self.count < count {
            return Err(TimesError::Short);
        }
        let value = self.bits & ((1 << count) - 1);
        self.bits >>= count;
        self.count -= count;
        u32::try_from(value).map_err(|_| TimesError::TooLong)
    }

    /// Counts ones up to a zero, or up to [`ESCAPE`].
    fn pull_ones(&mut self) -> Result<u32, TimesError> {
        self.fill();
        let ones = self.bits.trailing_ones().min(ESCAPE);
        self.pull(if ones < ESCAPE { ones + 1 } else { ones })?;
        Ok(ones)
    }

    fn finish(self) -> Result<(), TimesError> {
        let all_read = self.rest.is_empty() && self.count < 8 && self.bits == 0;
        if all_read { Ok(()) } else { Err(TimesError::Leftover) }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::game::{Declaration, PieceSet};

    fn moves(waits: &[(u64, u32)]) -> Vec<Move> {
        let mut time = 0_u32;
        let moves = waits.iter().map(|&(seat, wait)| {
            time = time.saturating_add(wait);
            let action = match wait % 3 {
                0 => Action::AnswerRedeal(true),
                1 => Action::Declare(Declaration::default()),
                _ => Action::Play(PieceSet::EMPTY),
            };
            Move { seat: Seat::from_number(seat).unwrap(), action, at: GameTime::from_hundredths(time) }
        });
        moves.collect()
    }

    fn timeless(moves: &[Move]) -> Vec<Move> {
        moves.iter().map(|one| Move { at: GameTime::START, ..*one }).collect()
    }

    #[test]
    fn the_start_takes_no_space() {
        assert_eq!(pack(&moves(&[(1, 0), (2, 0)])), None);
        assert_eq!(pack(&[]), None);
    }

    #[test]
    fn usual_waits_take_about_a_byte() {
        let waits: Vec<_> = (1..=4).cycle().zip((0..400).map(|i| 50 + i * 37 % 100)).collect();
        assert!(pack(&moves(&waits)).unwrap().len() <= 420);
    }

    proptest! {
        #[test]
        fn times_come_back(
            waits in prop::collection::vec(
                (1_u64..=4, prop_oneof![4 => 0_u32..200, 2 => 0_u32..20_000, 1 => any::<u32>()]), 0..100
            )
        ) {
            let moves = moves(&waits);
            if let Some(bytes) = pack(&moves) {
                let mut unpacked = timeless(&moves);
                prop_assert_eq!(unpack(&bytes, &mut unpacked), Ok(()));
                prop_assert_eq!(unpacked, moves);
            }
        }

        #[test]
        fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..60), count in 0_usize..60) {
            let mut moves = moves(&vec![(1, 0); count]);
            if unpack(&bytes, &mut moves).is_ok() {
                prop_assert!(moves.is_sorted_by_key(|one| one.at));
            }
        }
    }
}
