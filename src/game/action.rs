//! What a player can do, and why it can be refused.

use super::{Declaration, PieceSet};

/// What a player can do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Action {
    /// Answers the question of a weak hand: `true` asks for a redeal.
    AnswerRedeal(bool),
    /// Declares how many piles the player aims to win.
    Declare(Declaration),
    /// Plays pieces, opening a turn or following.
    Play(PieceSet),
}

/// Why an action is refused. A refused action changes nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ActionError {
    /// The phase does not allow this kind of action.
    #[error("This cannot be done now")]
    WrongPhase,
    /// Another player is to move.
    #[error("It is not your turn")]
    NotYourTurn,
    /// Only players with a weak hand are asked about a redeal.
    #[error("You are not asked about a redeal")]
    NotAsked,
    /// The question of a redeal is answered once.
    #[error("You have already answered")]
    AlreadyAnswered,
    /// The four declarations must not add up to 8.
    #[error("The last declaration must not bring the sum to 8")]
    SumOfEight,
    /// After two zeros in a row a declaration is at least 1.
    #[error("After two zeros in a row you must declare at least 1")]
    ThirdZero,
    /// The pieces are not in the player's hand.
    #[error("You do not hold these pieces")]
    NotHeld,
    /// The opening play of a turn must form one of the nine types.
    #[error("These pieces form no valid play")]
    InvalidPlay,
    /// Everybody plays as many pieces as the starter did.
    #[error("You must play exactly {required} piece(s)")]
    WrongCount {
        /// How many must be played.
        required: u8,
    },
}
