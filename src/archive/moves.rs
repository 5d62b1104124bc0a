//! The moves of a game as one number.
//!
//! At each move the rules leave a number of choices, and a move is stored as the number of its choice. These numbers are
//! the digits of a mixed radix: `digit + choices * (the digits that follow)`. A turn of singles from full hands has
//! 8·8·8·8 choices, twelve bits, where the pieces themselves would take sixteen bytes. A move without a choice, like the
//! last piece in hand, takes nothing. The seat to move, its hand and the end of the game follow from the rules.
//!
//! | move | digits |
//! |---|---|
//! | answer about a redeal | which of those still asked, in seat order; then 1 for yes, 0 for no |
//! | declaration | its value, of 9 |
//! | opening play | 1 for each piece beyond the first and a closing 0, of 2 each, up to six and the hand; then as following |
//! | following play | which subset of its size: its place in the colexicographic order, pieces by their number |
//!
//! The number is cut where its next digit would exceed 64 bits; the parts follow each other, lowest byte first, and
//! the last one is as short as its number of choices allows.

use super::record::{Ended, GameRecord, GameTime, Move};
use super::replay::{ReplayError, Replayer};
use crate::game::{Action, DealProof, Declaration, Game, Outcome, Phase, PieceSet, Seat};

/// Why bytes are not the moves of a game.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum MovesError {
    /// The bytes end before the last move.
    #[error("the moves break off")]
    Short,
    /// There are bytes after the last move.
    #[error("there are bytes after the last move")]
    Leftover,
    /// A number beyond its choices, or a declaration against the rules.
    #[error(transparent)]
    Replay(#[from] ReplayError),
}

/// The moves of a record as bytes, and what they lead to.
pub(super) fn pack(record: &GameRecord) -> Result<(Vec<u8>, Outcome), ReplayError> {
    let mut replayer = Replayer::new(&record.proof);
    let mut digits = Writer::default();
    for &next in &record.moves {
        write(&mut digits, replayer.game(), next);
        // A forbidden move may have written nonsense, but it ends the packing here.
        replayer.apply(next, |_| ())?;
    }
    Ok((digits.finish(), replayer.finish(record.ended)?))
}

/// The moves of a game, all at its start, and what they lead to. An abandoned game has `abandoned_after` moves; any
/// other lasts until somebody wins.
pub(super) fn unpack(
    bytes: &[u8],
    proof: &DealProof,
    abandoned_after: Option<u32>,
) -> Result<(Vec<Move>, Outcome), MovesError> {
    let mut replayer = Replayer::new(proof);
    let mut digits = Reader::new(bytes);
    let mut moves = Vec::with_capacity(bytes.len().saturating_mul(3));
    let ended = if abandoned_after.is_some() { Ended::Abandoned } else { Ended::Won };
    while match abandoned_after {
        Some(count) => moves.len() < count as usize,
        None => replayer.game().winners().is_none(),
    } {
        let (seat, action) = read(&mut digits, replayer.game())?;
        let next = Move { seat, action, at: GameTime::START };
        replayer.apply(next, |_| ())?;
        moves.push(next);
    }
    digits.finish()?;
    Ok((moves, replayer.finish(ended)?))
}

fn write(digits: &mut Writer, game: &Game, next: Move) {
    match (game.phase(), next.action) {
        (Phase::Redeal { .. }, Action::AnswerRedeal(accept)) => {
            let waiting = game.to_move();
            let place = waiting.iter().position(|seat| seat == next.seat).unwrap_or(0);
            digits.push(place as u64, waiting.len() as u64);
            digits.push(accept.into(), 2);
        }
        (Phase::Declare { .. }, Action::Declare(declaration)) => {
            digits.push(declaration.piles().into(), u64::from(Declaration::MAX) + 1);
        }
        (&Phase::Lead { starter }, Action::Play(pieces)) => {
            let held = game.hand(starter).set();
            let most = most_to_lead(held);
            for size in 1..=pieces.len().min(most) {
                if size < most {
                    digits.push(u64::from(size < pieces.len()), 2);
                }
            }
            digits.push(subset_number(held, pieces), choose(held.len(), pieces.len()));
        }
        (Phase::Follow(table), Action::Play(pieces)) => {
            let held = game.hand(table.next()).set();
            digits.push(subset_number(held, pieces), choose(held.len(), table.lead().kind().count()));
        }
        _ => {}
    }
}

fn read(digits: &mut Reader<'_>, game: &Game) -> Result<(Seat, Action), MovesError> {
    Ok(match game.phase() {
        Phase::Redeal { .. } => {
            let waiting = game.to_move();
            let place = digits.pull(waiting.len() as u64)?;
            let seat = waiting.iter().nth(usize::try_from(place).unwrap_or(0)).ok_or(MovesError::Leftover)?;
            (seat, Action::AnswerRedeal(digits.pull(2)? == 1))
        }
        &Phase::Declare { next } => {
            let piles = digits.pull(u64::from(Declaration::MAX) + 1)?;
            (next, Action::Declare(u8::try_from(piles).ok().and_then(Declaration::new).unwrap_or_default()))
        }
        &Phase::Lead { starter } => {
            let held = game.hand(starter).set();
            let most = most_to_lead(held);
            let mut size = 1;
            while size < most && digits.pull(2)? == 1 {
                size += 1;
            }
            (starter, Action::Play(pull_subset(digits, held, size)?))
        }
        Phase::Follow(table) => {
            let seat = table.next();
            let held = game.hand(seat).set();
            (seat, Action::Play(pull_subset(digits, held, table.lead().kind().count())?))
        }
        // Nobody is to move: the game is over.
        Phase::Revealed(_) | Phase::Played | Phase::Scored { .. } | Phase::Over { .. } => {
            return Err(MovesError::Leftover);
        }
    })
}

fn most_to_lead(held: PieceSet) -> u8 {
    held.len().min(6)
}

/// `CHOOSE[n][k]`: how many subsets of `k` has a set of `n`.
#[expect(clippy::indexing_slicing, reason = "computed while compiling, where an index out of bounds is an error")]
const CHOOSE: [[u8; 9]; 9] = {
    let mut table = [[0; 9]; 9];
    let mut n = 0;
    while n < 9 {
        table[n][0] = 1;
        let mut k = 1;
        while k <= n {
            table[n][k] = table[n - 1][k - 1] + table[n - 1][k];
            k += 1;
        }
        n += 1;
    }
    table
};

fn choose(n: u8, k: u8) -> u64 {
    CHOOSE.get(usize::from(n)).and_then(|row| row.get(usize::from(k))).copied().unwrap_or(0).into()
}

/// The place of `subset` among the subsets of `set` of its size.
fn subset_number(set: PieceSet, subset: PieceSet) -> u64 {
    let (mut number, mut size) = (0, 0);
    let mut rest = subset.bits();
    while rest != 0 {
        let lowest = rest & rest.wrapping_neg();
        rest ^= lowest;
        size += 1;
        number += choose(PieceSet::from_bits(set.bits() & (lowest - 1)).len(), size);
    }
    number
}

fn pull_subset(digits: &mut Reader<'_>, set: PieceSet, size: u8) -> Result<PieceSet, MovesError> {
    let mut number = digits.pull(choose(set.len(), size))?;
    let mut rest = set.bits();
    // By far the most plays are of one piece.
    if size == 1 {
        for _ in 0..number {
            rest &= rest.wrapping_sub(1);
        }
        return Ok(PieceSet::from_bits(rest & rest.wrapping_neg()));
    }
    let (mut place, mut left) = (set.len(), size);
    let mut subset = 0;
    while rest != 0 && left > 0 {
        let highest = 1_u32 << rest.ilog2();
        rest ^= highest;
        place -= 1;
        let below = choose(place, left);
        if number >= below {
            number -= below;
            left -= 1;
            subset |= highest;
        }
    }
    Ok(PieceSet::from_bits(subset))
}

/// Puts digits together.
struct Writer {
    part: u64,
    choices: u64,
    bytes: Vec<u8>,
}

impl Default for Writer {
    fn default() -> Self {
        Self { part: 0, choices: 1, bytes: Vec::with_capacity(256) }
    }
}

impl Writer {
    fn push(&mut self, digit: u64, choices: u64) {
        match self.choices.checked_mul(choices) {
            Some(product) => {
                // Within the product, unless the move is forbidden and all this is thrown away.
                self.part = self.part.wrapping_add(digit.wrapping_mul(self.choices));
                self.choices = product;
            }
            None => {
                self.bytes.extend_from_slice(&self.part.to_le_bytes());
                (self.part, self.choices) = (digit, choices);
            }
        }
    }

    fn finish(mut self) -> Vec<u8> {
        self.bytes.extend(self.part.to_le_bytes().iter().take(bytes_for(self.choices)));
        self.bytes
    }
}

/// How many bytes hold a number below `choices`.
fn bytes_for(choices: u64) -> usize {
    (u64::BITS - choices.saturating_sub(1).leading_zeros()).div_ceil(8) as usize
}

/// Takes digits apart.
struct Reader<'a> {
    part: u64,
    choices: u64,
    /// Bytes of the part at hand.
    length: usize,
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    fn new(bytes: &'a [u8]) -> Self {
        let mut reader = Self { part: 0, choices: 1, length: 0, rest: bytes };
        reader.load();
        reader
    }

    fn load(&mut self) {
        let (part, rest) = self.rest.split_at(self.rest.len().min(8));
        let mut bytes = [0; 8];
        bytes.iter_mut().zip(part).for_each(|(to, from)| *to = *from);
        (self.part, self.choices, self.length, self.rest) = (u64::from_le_bytes(bytes), 1, part.len(), rest);
    }

    fn pull(&mut self, choices: u64) -> Result<u64, MovesError> {
        match self.choices.checked_mul(choices) {
            Some(product) => self.choices = product,
            None => {
                if self.part != 0 {
                    return Err(MovesError::Leftover);
                }
                if self.rest.is_empty() {
                    return Err(MovesError::Short);
                }
                self.load();
                self.choices = choices;
            }
        }
        let digit = self.part.checked_rem(choices).ok_or(MovesError::Short)?;
        self.part /= choices;
        Ok(digit)
    }

    fn finish(self) -> Result<(), MovesError> {
        if self.length < bytes_for(self.choices) {
            return Err(MovesError::Short);
        }
        let all_read = self.part == 0 && self.rest.is_empty() && self.length == bytes_for(self.choices);
        if all_read { Ok(()) } else { Err(MovesError::Leftover) }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::game::Piece;

    #[test]
    fn subsets_are_numbered_without_gaps() {
        let set: PieceSet = [0, 3, 4, 9, 15, 16, 30, 31].into_iter().filter_map(Piece::new).collect();
        for size in 1..=6 {
            let mut numbers: Vec<_> = crate::game::subsets(set)
                .filter(|subset| subset.len() == size)
                .map(|subset| subset_number(set, subset))
                .collect();
            numbers.sort_unstable();
            assert_eq!(numbers, (0..choose(8, size)).collect::<Vec<_>>());
        }
    }

    proptest! {
        #[test]
        fn subsets_come_back(set in any::<u32>(), mask in any::<u32>()) {
            let set: PieceSet = PieceSet::from_bits(set).iter().take(8).collect();
            let subset = set.intersection(PieceSet::from_bits(mask));
            let mut writer = Writer::default();
            writer.push(subset_number(set, subset), choose(set.len(), subset.len()));
            let bytes = writer.finish();
            let mut reader = Reader::new(&bytes);
            prop_assert_eq!(pull_subset(&mut reader, set, subset.len()), Ok(subset));
            prop_assert_eq!(reader.finish(), Ok(()));
        }

        #[test]
        fn digits_come_back(digits in prop::collection::vec((1_u64..80).prop_flat_map(|of| (0..of, Just(of))), 0..400)) {
            let mut writer = Writer::default();
            for &(digit, choices) in &digits {
                writer.push(digit, choices);
            }
            let bytes = writer.finish();
            let bits: f64 = digits.iter().map(|&(_, choices)| f64::from(u32::try_from(choices).unwrap()).log2()).sum();
            prop_assert!(bytes.len() as f64 <= bits / 8.0 * 1.11 + 1.0, "{} bytes for {bits} bits", bytes.len());
            let mut reader = Reader::new(&bytes);
            for &(digit, choices) in &digits {
                prop_assert_eq!(reader.pull(choices), Ok(digit));
            }
            prop_assert_eq!(reader.finish(), Ok(()));
        }
    }
}
