//! One turn: the plays on the table, who leads, who wins.

use super::{BySeat, PieceSet, Play, Seat};

/// The plays of a running turn, and who leads it. Exists from the starter's play on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Table {
    starter: Seat,
    lead: Play,
    best: (Seat, Play),
    plays: BySeat<Option<PieceSet>>,
    next: Seat,
}

/// Why a player may not follow with these pieces.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FollowError {
    /// The starter fixed another number of pieces.
    #[error("this turn is played with {required} pieces each, not {got}")]
    WrongCount {
        /// How many must be played.
        required: u8,
        /// How many were.
        got: u8,
    },
}

/// How a turn ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TurnResult {
    /// Who started it.
    pub starter: Seat,
    /// What each seat played.
    pub plays: BySeat<PieceSet>,
    /// Who captured the piles and starts the next turn.
    pub winner: Seat,
    /// The play that won.
    pub winning_play: Play,
}

impl TurnResult {
    /// Piles captured: as many as the winner played pieces (rules, section 8.5).
    #[must_use]
    pub const fn piles(&self) -> u8 {
        self.winning_play.kind().count()
    }
}

impl Table {
    /// The turn that `starter` opens with `lead`.
    #[must_use]
    pub fn open(starter: Seat, lead: Play) -> Self {
        let mut plays = BySeat::default();
        plays[starter] = Some(lead.pieces());
        Self { starter, lead, best: (starter, lead), plays, next: starter.next() }
    }

    /// Who opened the turn.
    #[must_use]
    pub const fn starter(&self) -> Seat {
        self.starter
    }

    /// Whose move it is.
    #[must_use]
    pub const fn next(&self) -> Seat {
        self.next
    }

    /// The play that fixed type and number of pieces.
    #[must_use]
    pub const fn lead(&self) -> Play {
        self.lead
    }

    /// What `seat` has laid down, if he has.
    #[must_use]
    pub fn play_of(&self, seat: Seat) -> Option<PieceSet> {
        self.plays[seat]
    }

    /// Lays the next player's pieces down. Returns the result with the fourth play.
    ///
    /// # Errors
    /// [`FollowError`] if the number of pieces is not the starter's.
    pub fn follow(&mut self, pieces: PieceSet) -> Result<Option<TurnResult>, FollowError> {
        let required = self.lead.kind().count();
        if pieces.len() != required {
            return Err(FollowError::WrongCount { required, got: pieces.len() });
        }
        let seat = self.next;
        self.plays[seat] = Some(pieces);
        if let Some(play) = Play::classify(pieces)
            && play.beats(self.best.1)
        {
            self.best = (seat, play);
        }
        self.next = seat.next();
        if self.next != self.starter {
            return Ok(None);
        }
        Ok(Some(TurnResult {
            starter: self.starter,
            plays: self.plays.map(Option::unwrap_or_default),
            winner: self.best.0,
            winning_play: self.best.1,
        }))
    }
}
