//! The times of a game's moves, as bits.
//!
//! Each time is stored as the wait since the move before, in hundredths of a second. Waits are alike for a player: about a
//! second for a bot, several for a person. They are longer for openings, which are the first declaration of a round and
//! the first play of a turn, because the table shows something before. So each seat has two scales. A scale is the
//! shortest of its waits and a number of low bits. A wait is stored as its excess over the shortest one: the low bits as
//! they are, the rest as a count of ones (Rice's code).
//!
//! First come the scales, by seat, the usual one before that of openings: 16 bits for the shortest wait, four for the number
//! of low bits. Then each move has its ones, a closing zero and its low bits. Sixteen ones have no closing zero; after them
//! the whole excess follows in 32 bits. Bits fill bytes from the lowest.

use std::io;

use bitstream_io::{BitRead, BitReader, BitWrite, BitWriter, LittleEndian};

use super::record::{GameTime, Move};
use crate::game::{Action, BySeat, Seat};

/// This many ones mean that the whole excess follows.
const ESCAPE: u32 = 16;
/// Bits for the shortest wait of a scale; one that is even longer counts as so long.
const SHORTEST_BITS: u32 = 16;
/// Bits for a number of low bits.
const LOW_BITS: u32 = 4;

/// The times of `moves`, which never go back; `None` if all of them are the start of the game.
pub(super) fn pack(moves: &[Move]) -> Option<Vec<u8>> {
    if moves.iter().all(|one| one.at == GameTime::START) {
        return None;
    }
    let mut bits = BitWriter::endian(Vec::with_capacity(moves.len() * 5 / 4 + 24), LittleEndian);
    // Writing into memory does not fail, and every number fits into its bits.
    write(moves, &mut bits).ok()?;
    Some(bits.into_writer())
}

fn write(moves: &[Move], bits: &mut impl BitWrite) -> io::Result<()> {
    let mut scales = scales(moves);
    for scale in scales.iter().flatten() {
        bits.write::<SHORTEST_BITS, _>(scale.shortest)?;
        bits.write::<LOW_BITS, _>(scale.low_bits)?;
    }
    for (seat, is_opening, wait) in waits(moves) {
        let Scale { shortest, low_bits } = *of(&mut scales[seat], is_opening);
        let above = wait.saturating_sub(shortest);
        let ones = above >> low_bits;
        if ones < ESCAPE {
            // The zero behind the ones is among the bits.
            bits.write_var(ones + 1, (1_u32 << ones) - 1)?;
            bits.write_var(low_bits, above & ((1 << low_bits) - 1))?;
        } else {
            bits.write::<ESCAPE, _>((1_u32 << ESCAPE) - 1)?;
            bits.write::<32, _>(above)?;
        }
    }
    bits.byte_align()
}

/// Gives `moves` the times they had; `None` if the bytes are too few, too many or beyond the last moment of a game.
pub(super) fn unpack(bytes: &[u8], moves: &mut [Move]) -> Option<()> {
    let mut bits = BitReader::endian(bytes, LittleEndian);
    let mut scales = BySeat::<[Scale; 2]>::default();
    for seat in Seat::ALL {
        for scale in &mut scales[seat] {
            let shortest = bits.read::<SHORTEST_BITS, u32>().ok()?;
            *scale = Scale { shortest, low_bits: bits.read::<LOW_BITS, u32>().ok()? };
        }
    }
    let mut time = 0_u32;
    let mut openings = Openings::default();
    for one in moves {
        let Scale { shortest, low_bits } = *of(&mut scales[one.seat], openings.is_next(one));
        let ones = pull_ones(&mut bits).ok()?;
        let above = if ones < ESCAPE {
            ones << low_bits | bits.read_var::<u32>(low_bits).ok()?
        } else {
            bits.read::<32, u32>().ok()?
        };
        time = time.checked_add(shortest.checked_add(above)?)?;
        one.at = GameTime::from_hundredths(time);
    }
    while !bits.byte_aligned() {
        if bits.read_bit().ok()? {
            return None;
        }
    }
    bits.into_reader().is_empty().then_some(())
}

/// The scale of openings, or the usual one.
const fn of<T>([usual, opening]: &mut [T; 2], is_opening: bool) -> &mut T {
    if is_opening { opening } else { usual }
}

/// Finds the openings among the moves of a game: of four declarations and of four plays, the first is one.
#[derive(Debug, Default)]
struct Openings {
    declarations: u32,
    plays: u32,
}

impl Openings {
    fn is_next(&mut self, one: &Move) -> bool {
        let count = match one.action {
            Action::AnswerRedeal(_) => return false,
            Action::Declare(_) => &mut self.declarations,
            Action::Play(_) => &mut self.plays,
        };
        *count = count.wrapping_add(1);
        *count % 4 == 1
    }
}

/// The seat of each move, whether it is an opening, and its time since the move before it.
fn waits(moves: &[Move]) -> impl Iterator<Item = (Seat, bool, u32)> {
    let mut before = 0;
    let mut openings = Openings::default();
    moves.iter().map(move |one| {
        let now = one.at.hundredths();
        (one.seat, openings.is_next(one), now.saturating_sub(std::mem::replace(&mut before, now)))
    })
}

/// How the waits of a seat are stored.
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
    for (seat, is_opening, wait) in waits(moves) {
        let Seen { shortest, sum, count } = of(&mut seen[seat], is_opening);
        *shortest = wait.min(*shortest);
        // One wait of more than a minute does not change what is usual.
        *sum += u64::from(wait.min(6000));
        *count += 1;
    }
    seen.map(|both| {
        both.map(|Seen { shortest, sum, count }| {
            let Some(mean) = sum.checked_div(count) else { return Scale::default() };
            let shortest = shortest.min((1 << SHORTEST_BITS) - 1);
            let above = mean.saturating_sub(shortest.into());
            // About the shortest code: as many low bits as two thirds of the mean have.
            let low_bits = (above * 2 / 3).checked_ilog2().unwrap_or(0);
            Scale { shortest, low_bits }
        })
    })
}

/// Counts ones up to a zero, or up to [`ESCAPE`].
fn pull_ones(bits: &mut impl BitRead) -> io::Result<u32> {
    let mut ones = 0;
    while ones < ESCAPE && bits.read_bit()? {
        ones += 1;
    }
    Ok(ones)
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
                prop_assert_eq!(unpack(&bytes, &mut unpacked), Some(()));
                prop_assert_eq!(unpacked, moves);
            }
        }

        #[test]
        fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..60), count in 0_usize..60) {
            let mut moves = moves(&vec![(1, 0); count]);
            if unpack(&bytes, &mut moves).is_some() {
                prop_assert!(moves.is_sorted_by_key(|one| one.at));
            }
        }
    }
}
