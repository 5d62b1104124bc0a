//! What one seat, or a spectator, may know.

use super::{
    AllowedDeclarations, BySeat, Game, Hand, Phase, PieceSet, PlayKind, PublicState, RoundScore, Seat, SeatSet,
    TurnResult,
};

/// Where the game stands, as far as a seat may know: [`Phase`] without answers and plays that are still hidden.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ViewPhase {
    /// Weak hands are asked.
    Redeal {
        /// Who is asked.
        asked: SeatSet,
        /// Who has answered, without what.
        answered: SeatSet,
    },
    /// Declarations are made.
    Declare {
        /// Whose declaration is awaited.
        next: Seat,
    },
    /// A turn is to be opened.
    Lead {
        /// Who opens it.
        starter: Seat,
    },
    /// A turn is open; its plays lie face down.
    Follow {
        /// Who opened it.
        starter: Seat,
        /// Type of the opening play, which also says how many pieces everybody plays.
        lead: PlayKind,
        /// Whose play is awaited.
        next: Seat,
    },
    /// Four plays lie open.
    Revealed(TurnResult),
    /// All hands are empty.
    Played,
    /// The round is scored.
    Scored {
        /// What each player gets for the round.
        scores: BySeat<RoundScore>,
    },
    /// The game is over.
    Over {
        /// All with the highest total.
        winners: SeatSet,
    },
}

/// All that a seat may know and nothing else: what a player is sent and what a bot decides by come from here only.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct View {
    /// What everybody may know.
    pub public: PublicState,
    /// Where the game stands.
    pub phase: ViewPhase,
    /// Whose view it is; `None` for a spectator.
    pub seat: Option<Seat>,
    /// The player's own hand; empty for a spectator.
    pub hand: Hand,
    /// The player's own play of the running turn, which the others see only face down.
    pub own_play: Option<PieceSet>,
}

impl View {
    /// What the player at `seat` may know.
    pub fn of(game: &Game, seat: Seat) -> Self {
        let own_play = match game.phase() {
            Phase::Follow(table) => table.play_of(seat),
            _ => None,
        };
        Self { seat: Some(seat), hand: game.hand(seat), own_play, ..Self::watching(game) }
    }

    /// What a spectator may know.
    pub fn watching(game: &Game) -> Self {
        let phase = match *game.phase() {
            Phase::Redeal { asked, accepted, declined } => {
                ViewPhase::Redeal { asked, answered: accepted.union(declined) }
            }
            Phase::Declare { next } => ViewPhase::Declare { next },
            Phase::Lead { starter } => ViewPhase::Lead { starter },
            Phase::Follow(table) => {
                ViewPhase::Follow { starter: table.starter(), lead: table.lead().kind(), next: table.next() }
            }
            Phase::Revealed(result) => ViewPhase::Revealed(result),
            Phase::Played => ViewPhase::Played,
            Phase::Scored { scores } => ViewPhase::Scored { scores },
            Phase::Over { winners } => ViewPhase::Over { winners },
        };
        Self { public: *game.public(), phase, seat: None, hand: Hand::UNKNOWN, own_play: None }
    }

    /// The declarations this seat could make now.
    pub fn allowed_declarations(&self) -> AllowedDeclarations {
        self.public.allowed_declarations(self.seat.unwrap_or(Seat::One))
    }
}
