//! One turn: the plays on the table, the lead, the winner.

use super::{ActionError, BySeat, PieceSet, Play, Seat};

/// The plays of a running turn, and the one in the lead. Exists from the starter's play on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Table {
    starter: Seat,
    lead: Play,
    best: (Seat, Play),
    plays: BySeat<Option<PieceSet>>,
    next: Seat,
}

/// How a turn ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TurnResult {
    /// Who started it.
    pub starter: Seat,
    /// What each seat played.
    pub plays: BySeat<PieceSet>,
    /// The seat that captured the piles and starts the next turn.
    pub winner: Seat,
    /// The play that won.
    pub winning_play: Play,
}

impl TurnResult {
    /// Piles captured: as many as the winner played pieces (rules, section 8.5).
    pub const fn piles(&self) -> u8 {
        self.winning_play.kind().count()
    }
}

impl Table {
    /// The turn that `starter` opens with `lead`.
    pub fn open(starter: Seat, lead: Play) -> Self {
        let mut plays = BySeat::default();
        plays[starter] = Some(lead.pieces());
        Self { starter, lead, best: (starter, lead), plays, next: starter.next() }
    }

    /// Who opened the turn.
    pub const fn starter(&self) -> Seat {
        self.starter
    }

    /// Whose move it is.
    pub const fn next(&self) -> Seat {
        self.next
    }

    /// The play that fixed type and number of pieces.
    pub const fn lead(&self) -> Play {
        self.lead
    }

    /// What `seat` has played, if anything.
    pub fn play_of(&self, seat: Seat) -> Option<PieceSet> {
        self.plays[seat]
    }

    /// Takes the next player's play. Returns the result with the fourth one.
    ///
    /// # Errors
    /// [`ActionError::WrongCount`] if the number of pieces is not the starter's.
    pub fn follow(&mut self, pieces: PieceSet) -> Result<Option<TurnResult>, ActionError> {
        let required = self.lead.kind().count();
        if pieces.len() != required {
            return Err(ActionError::WrongCount { required });
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
