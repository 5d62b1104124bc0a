//! What one seat, or somebody watching, may know.

use super::{
    BySeat, Game, Phase, Piece, PieceSet, Play, PlayKind, Public, RoundScore, Seat, SeatSet, Table, TurnResult,
    declare::AllowedDeclarations,
};

/// Pieces in the order in which they were dealt; playing some keeps the order of the rest (rules, section 3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hand {
    dealt: [Piece; 8],
    held: PieceSet,
}

impl Hand {
    /// The pieces of `dealt` that are still `held`.
    #[must_use]
    pub const fn new(dealt: [Piece; 8], held: PieceSet) -> Self {
        Self { dealt, held }
    }

    /// A hand of which nothing is known.
    pub const UNKNOWN: Self = Self::new([Piece::wrapping(0); 8], PieceSet::EMPTY);

    /// The pieces in dealt order.
    pub fn iter(&self) -> impl Iterator<Item = Piece> {
        let held = self.held;
        self.dealt.into_iter().filter(move |&piece| held.contains(piece))
    }

    /// The piece at `index` of the hand as it is now.
    #[must_use]
    pub fn get(&self, index: usize) -> Option<Piece> {
        self.iter().nth(index)
    }

    /// The pieces without their order.
    #[must_use]
    pub const fn set(&self) -> PieceSet {
        self.held
    }
}

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

/// All that a seat may know and nothing else: the one source of what a player is sent and of what a bot decides by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct View {
    public: Public,
    phase: ViewPhase,
    seat: Option<Seat>,
    hand: Hand,
    own_play: Option<PieceSet>,
}

impl View {
    /// What the player at `seat` may know.
    #[must_use]
    pub fn of(game: &Game, seat: Seat) -> Self {
        let own_play = match game.phase() {
            Phase::Follow(table) => table.play_of(seat),
            _ => None,
        };
        Self { seat: Some(seat), hand: game.hand(seat), own_play, ..Self::watching(game) }
    }

    /// What somebody without a seat may know.
    #[must_use]
    pub fn watching(game: &Game) -> Self {
        let phase = match *game.phase() {
            Phase::Redeal { asked, accepted, declined } => ViewPhase::Redeal {
                asked,
                answered: asked.iter().filter(|&s| accepted.contains(s) || declined.contains(s)).collect(),
            },
            Phase::Declare { next } => ViewPhase::Declare { next },
            Phase::Lead { starter } => ViewPhase::Lead { starter },
            Phase::Follow(table) => follow(&table),
            Phase::Revealed(result) => ViewPhase::Revealed(result),
            Phase::Played => ViewPhase::Played,
            Phase::Scored { scores } => ViewPhase::Scored { scores },
            Phase::Over { winners } => ViewPhase::Over { winners },
        };
        Self { public: *game.public(), phase, seat: None, hand: Hand::UNKNOWN, own_play: None }
    }

    /// What everybody may know.
    #[must_use]
    pub const fn public(&self) -> &Public {
        &self.public
    }

    /// Where the game stands.
    #[must_use]
    pub const fn phase(&self) -> &ViewPhase {
        &self.phase
    }

    /// Whose view it is; `None` for somebody watching.
    #[must_use]
    pub const fn seat(&self) -> Option<Seat> {
        self.seat
    }

    /// The own hand; empty for somebody watching.
    #[must_use]
    pub const fn hand(&self) -> &Hand {
        &self.hand
    }

    /// The own play of the running turn, which the others see only face down.
    #[must_use]
    pub const fn own_play(&self) -> Option<PieceSet> {
        self.own_play
    }

    /// Whether this seat has something to decide now.
    #[must_use]
    pub fn is_to_move(&self) -> bool {
        self.seat.is_some_and(|seat| match self.phase {
            ViewPhase::Redeal { asked, answered } => asked.contains(seat) && !answered.contains(seat),
            ViewPhase::Declare { next } | ViewPhase::Lead { starter: next } | ViewPhase::Follow { next, .. } => {
                next == seat
            }
            _ => false,
        })
    }

    /// The declarations this seat could make now.
    #[must_use]
    pub fn allowed_declarations(&self) -> AllowedDeclarations {
        self.public.allowed_declarations(self.seat.unwrap_or(Seat::One))
    }

    /// All plays that could open a turn with this hand.
    pub fn leads(&self) -> impl Iterator<Item = Play> {
        super::subsets(self.hand.set()).filter_map(Play::classify)
    }
}

fn follow(table: &Table) -> ViewPhase {
    ViewPhase::Follow { starter: table.starter(), lead: table.lead().kind(), next: table.next() }
}
