//! The times of a game's moves, as bits.
//!
//! What is kept is how long after the move before each one came, in hundredths of a second. Such waits scatter around
//! what is usual for a player, a second for a bot and several for a person, so each seat has its own number of low
//! bits that are kept as they are; what is above is counted out in ones (Rice's code).
//!
//! First the four numbers of low bits, five bits each, by seat; then for each move ones and a closing zero, and the
//! low bits. Sixteen ones close by themselves, and the wait follows whole, in 32 bits. Bits fill bytes from the lowest.

use super::record::{GameTime, Move};
use crate::game::{BySeat, Seat};

/// This many ones stand for "too long, here it is whole".
const ESCAPE: u32 = 16;
/// Bits for a number of low bits.
const LOW_BITS: u32 = 5;

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
    let low_bits = low_bits(moves);
    let mut bits = Writer::with_capacity(moves.len() * 5 / 4);
    for seat in Seat::ALL {
        bits.push(low_bits[seat], LOW_BITS);
    }
    for (seat, wait) in waits(moves) {
        let low = low_bits[seat];
        let ones = wait >> low;
        if ones < ESCAPE {
            bits.push((1 << ones) - 1, ones + 1);
            bits.push(wait & ((1 << low) - 1), low);
        } else {
            bits.push((1 << ESCAPE) - 1, ESCAPE);
            bits.push(wait, u32::BITS);
        }
    }
    Some(bits.finish())
}

/// Gives `moves` the times they had.
pub(super) fn unpack(bytes: &[u8], moves: &mut [Move]) -> Result<(), TimesError> {
    let mut bits = Reader::new(bytes);
    let mut low_bits = BySeat::default();
    for seat in Seat::ALL {
        low_bits[seat] = bits.pull(LOW_BITS)?;
    }
    let mut time = 0_u32;
    for one in moves {
        let ones = bits.pull_ones()?;
        let wait = if ones < ESCAPE {
            let low = low_bits[one.seat];
            ones.checked_shl(low).unwrap_or(0) | bits.pull(low)?
        } else {
            bits.pull(u32::BITS)?
        };
        time = time.checked_add(wait).ok_or(TimesError::TooLong)?;
        one.at = GameTime::from_hundredths(time);
    }
    bits.finish()
}

/// How long after the move before each one came, and whose it was.
fn waits(moves: &[Move]) -> impl Iterator<Item = (Seat, u32)> {
    let mut before = 0;
    moves.iter().map(move |one| {
        let now = one.at.hundredths();
        (one.seat, now.saturating_sub(std::mem::replace(&mut before, now)))
    })
}

/// For each seat the number of low bits that is about the shortest: two thirds of the mean wait.
fn low_bits(moves: &[Move]) -> BySeat<u32> {
    let mut sums = BySeat::<(u64, u64)>::default();
    for (seat, wait) in waits(moves) {
        let (sum, count) = sums[seat];
        // A few very long waits are not what is usual.
        sums[seat] = (sum + u64::from(wait.min(6000)), count + 1);
    }
    sums.map(|(sum, count)| (sum * 2).checked_div(count * 3).and_then(u64::checked_ilog2).unwrap_or(0))
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
    use crate::game::Action;

    fn moves(waits: &[(u64, u32)]) -> Vec<Move> {
        let mut time = 0_u32;
        let moves = waits.iter().map(|&(seat, wait)| {
            time = time.saturating_add(wait);
            let seat = Seat::from_number(seat).unwrap();
            Move { seat, action: Action::AnswerRedeal(true), at: GameTime::from_hundredths(time) }
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
