//! A game's events as bytes, as the journal stores them: two to four bytes for each move, one for each stage that passes.

use arrayvec::ArrayVec;

use crate::archive::{GameTime, Move};
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
    let mut wait = next.at.hundredths().saturating_sub(last.hundredths());
    loop {
        let [low, ..] = (wait & 0x7F).to_le_bytes();
        wait >>= 7;
        bytes.push(if wait == 0 { low } else { low | 0x80 });
        if wait == 0 {
            return bytes;
        }
    }
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
    bytes: &'a [u8],
    at: usize,
    time: u32,
}

/// The bytes at this position are not an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct InvalidEvent {
    pub(super) at: usize,
}

impl<'a> EventReader<'a> {
    pub(super) const fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0, time: 0 }
    }

    fn byte(&mut self) -> Result<u8, InvalidEvent> {
        let byte = self.bytes.get(self.at).copied().ok_or(InvalidEvent { at: self.at })?;
        self.at += 1;
        Ok(byte)
    }

    /// The next event; `None` at the end. A play names positions in the hand that `game` dealt.
    ///
    /// # Errors
    /// [`InvalidEvent`] if the bytes end early or hold an unknown code.
    pub(super) fn next(&mut self, game: &Game) -> Result<Option<JournalEvent>, InvalidEvent> {
        if self.at == self.bytes.len() {
            return Ok(None);
        }
        let invalid = InvalidEvent { at: self.at };
        let code = self.byte()?;
        let seat = Seat::from_number(u64::from(code >> 4 & 3) + 1).ok_or(invalid)?;
        let action = match code >> 6 {
            PASSED => return Ok(Some(JournalEvent::StagePassed)),
            REDEAL => Action::AnswerRedeal(code & 1 == 1),
            DECLARE => Action::Declare(Declaration::new(code & 15).ok_or(invalid)?),
            _ => {
                let mask = self.byte()?;
                let pieces = (0..8).zip(game.dealt(seat)).filter(|(place, _)| mask >> place & 1 == 1);
                Action::Play(pieces.map(|(_, &piece)| piece).collect::<PieceSet>())
            }
        };
        let mut wait = 0_u32;
        for shift in (0..35).step_by(7) {
            let byte = self.byte()?;
            wait |= u32::from(byte & 0x7F).checked_shl(shift).unwrap_or(0);
            if byte & 0x80 == 0 {
                self.time = self.time.saturating_add(wait);
                return Ok(Some(JournalEvent::Move(Move { seat, action, at: GameTime::from_hundredths(self.time) })));
            }
        }
        Err(invalid)
    }
}
