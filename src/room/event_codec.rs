//! A game's events as bytes, as the journal stores them: two to four bytes for each move, one for each stage that passes.

use arrayvec::ArrayVec;

use super::RestoreError;
use crate::archive::{GameTime, Move};
use crate::disk::{push_varint, read_varint};
use crate::game::{Action, Declaration, Game, Piece, PieceSet, Seat};

/// The stored form of one event: a move, or a stage that passed.
pub type EventBytes = ArrayVec<u8, 8>;

/// The stored form of a move. One byte holds kind, seat and number. A play has a second byte: the positions of its pieces in
/// the dealt hand. Then follow the hundredths of a second since the previous move, seven bits a byte.
pub(super) fn move_bytes(next: &Move, dealt: &[Piece; 8], last: GameTime) -> EventBytes {
    let seat = (next.seat.number() - 1) << 4;
    let mut bytes = EventBytes::new();
    match next.action {
        Action::AnswerRedeal(accept) => bytes.push(REDEAL << 6 | seat | u8::from(accept)),
        Action::Declare(declaration) => bytes.push(DECLARE << 6 | seat | declaration.piles()),
        Action::Play(pieces) => {
            let places = (0..8).zip(dealt).filter(|(_, piece)| pieces.contains(**piece));
            bytes.push(PLAY << 6 | seat);
            bytes.push(places.fold(0, |mask, (place, _)| mask | 1 << place));
        }
    }
    push_varint(&mut bytes, next.at.hundredths().saturating_sub(last.hundredths()));
    bytes
}

/// The stored form of a stage that has passed.
pub(super) fn stage_passed_bytes() -> EventBytes {
    EventBytes::from_iter([PASSED << 6])
}

const PASSED: u8 = 0;
const REDEAL: u8 = 1;
const DECLARE: u8 = 2;
const PLAY: u8 = 3;

/// One stored event.
pub(super) enum JournalEvent {
    StagePassed,
    Move(Move),
}

/// Reads stored events one after the other.
pub(super) struct EventReader<'a> {
    /// What is left.
    bytes: &'a [u8],
    length: usize,
    time: u32,
}

impl<'a> EventReader<'a> {
    pub(super) const fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, length: bytes.len(), time: 0 }
    }

    /// The next event; `None` at the end. A play names positions in the hand that `game` dealt.
    ///
    /// # Errors
    /// [`RestoreError::Events`] if the bytes end early or hold an unknown code.
    pub(super) fn next(&mut self, game: &Game) -> Result<Option<JournalEvent>, RestoreError> {
        if self.bytes.is_empty() {
            return Ok(None);
        }
        let at = self.length - self.bytes.len();
        self.parse(game).map(Some).ok_or(RestoreError::Events(at))
    }

    fn parse(&mut self, game: &Game) -> Option<JournalEvent> {
        let code = self.byte()?;
        let seat = Seat::from_number(u64::from(code >> 4 & 3) + 1)?;
        let action = match code >> 6 {
            PASSED => return Some(JournalEvent::StagePassed),
            REDEAL => Action::AnswerRedeal(code & 1 == 1),
            DECLARE => Action::Declare(Declaration::new(code & 15)?),
            _ => {
                let mask = self.byte()?;
                let pieces = (0..8).zip(game.dealt(seat)).filter(|(place, _)| mask >> place & 1 == 1);
                Action::Play(pieces.map(|(_, &piece)| piece).collect::<PieceSet>())
            }
        };
        let (wait, rest) = read_varint(self.bytes)?;
        self.bytes = rest;
        self.time = self.time.saturating_add(wait);
        Some(JournalEvent::Move(Move { seat, action, at: GameTime::from_hundredths(self.time) }))
    }

    fn byte(&mut self) -> Option<u8> {
        self.bytes.split_off_first().copied()
    }
}
