//! Who starts a round (rules, sections 4 and 5).

use super::{Seat, SeatSet};

/// Why a player starts the round. As `&str` it is spelled as on the wire and in records.
#[derive(Debug, Clone, Copy, PartialEq, Eq, strum::IntoStaticStr)]
#[strum(serialize_all = "snake_case")]
pub enum StarterReason {
    /// The player asked for the last redeal.
    AcceptedRedeal,
    /// First round: the player holds the red general.
    HasGeneralRed,
    /// The player won the last turn of the round before.
    WonLastTurn,
}

/// Who starts the round, and why.
pub type Starter = (Seat, StarterReason);

/// The seat that starts: the accepter of the last redeal of the round; else the winner of the last turn of the round before;
/// else, in the first round, the holder of the red general in the final hands.
pub const fn starter(accepter: Option<Seat>, last_winner: Option<Seat>, red_general: Seat) -> Starter {
    match (accepter, last_winner) {
        (Some(accepter), _) => (accepter, StarterReason::AcceptedRedeal),
        (None, Some(winner)) => (winner, StarterReason::WonLastTurn),
        (None, None) => (red_general, StarterReason::HasGeneralRed),
    }
}

/// Which of several accepters becomes the starter: the first in the order from the seat that would start otherwise. That is
/// the accepter of an earlier redeal, else the winner of the last turn, else seat 1.
pub fn first_accepter(accepter: Option<Seat>, last_winner: Option<Seat>, accepted: SeatSet) -> Option<Seat> {
    let from = accepter.or(last_winner).unwrap_or(Seat::One);
    from.order().into_iter().find(|&seat| accepted.contains(seat))
}
