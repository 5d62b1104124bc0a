//! Who starts a round (rules, sections 4 and 5).

use super::{Seat, SeatSet};

/// Why a player starts the round.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StarterReason {
    /// He asked for the last redeal.
    AcceptedRedeal,
    /// First round: he holds the red general.
    HasGeneralRed,
    /// He won the last turn of the round before.
    WonLastTurn,
}

impl StarterReason {
    /// The spelling on the wire and in records.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::AcceptedRedeal => "accepted_redeal",
            Self::HasGeneralRed => "has_general_red",
            Self::WonLastTurn => "won_last_turn",
        }
    }
}

/// Who starts the round, and why.
pub type Starter = (Seat, StarterReason);

/// Who starts: the one who accepted the last redeal of the round; else the winner of the last turn of the round before;
/// else, in the first round, the holder of the red general in the final hands.
#[must_use]
pub const fn starter(accepter: Option<Seat>, last_winner: Option<Seat>, red_general: Seat) -> Starter {
    match (accepter, last_winner) {
        (Some(accepter), _) => (accepter, StarterReason::AcceptedRedeal),
        (None, Some(winner)) => (winner, StarterReason::WonLastTurn),
        (None, None) => (red_general, StarterReason::HasGeneralRed),
    }
}

/// Which of several accepters becomes the starter: the first in the order from whoever is fixed to start so far, the
/// earlier accepter or the winner of the last turn; with neither, from seat 1.
#[must_use]
pub fn first_accepter(accepter: Option<Seat>, last_winner: Option<Seat>, accepted: SeatSet) -> Option<Seat> {
    let from = accepter.or(last_winner).unwrap_or(Seat::One);
    from.order().into_iter().find(|&seat| accepted.contains(seat))
}
