//! A whole game: what may be done, and what then follows.

use super::{
    Action, ActionError, AllowedDeclarations, BySeat, Color, DealSeed, Declaration, Hand, Name, Piece, PieceSet, Play,
    RoundScore, Seat, SeatSet, Starter, Table, TurnResult, declare, first_accepter, round_score, starter, winners,
};

/// The version of the rules. It goes up when the same actions lead to another outcome than before.
pub const RULES_VERSION: u8 = 1;

/// What an accepted action led to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    /// Others with a weak hand have still to answer.
    Answered,
    /// All weak players have answered and the hands stay.
    HandsKept,
    /// A player accepted: all four have new hands.
    Redealt,
    /// A declaration was made.
    Declared,
    /// Pieces lie on the table, and others have still to play.
    Played,
    /// The fourth play is down; all four can be turned over.
    Revealed,
}

/// Where the game stands. The first four wait for players, the next three for [`Game::advance`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// Players with weak hands are asked whether they want a redeal.
    Redeal {
        /// Who is asked.
        asked: SeatSet,
        /// Who wants one.
        accepted: SeatSet,
        /// Who does not.
        declined: SeatSet,
    },
    /// Declarations are made in order from the round's starter.
    Declare {
        /// Whose declaration is awaited.
        next: Seat,
    },
    /// A turn is to be opened.
    Lead {
        /// Who opens it.
        starter: Seat,
    },
    /// A turn is open and others follow.
    Follow(Table),
    /// Four plays lie open; the winner takes the piles with [`Game::advance`].
    Revealed(TurnResult),
    /// All hands are empty and all piles taken; [`Game::advance`] scores the round.
    Played,
    /// The round is scored; [`Game::advance`] deals the next one, or ends the game if it is won.
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

/// What everybody at the table and every spectator may know, whatever the phase.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PublicState {
    /// Number of the round, from 1.
    pub round: u32,
    /// What the round's scores are multiplied by: 1 and one more for each redeal.
    pub multiplier: u32,
    /// Who had a weak hand in the last deal.
    pub weak: SeatSet,
    /// Who starts the round; `None` while it may still be dealt again.
    pub starter: Option<Starter>,
    /// Number of the turn in the round, from 1; 0 before the first.
    pub turn: u8,
    /// Points over all scored rounds.
    pub totals: BySeat<i32>,
    /// Rounds in a row, up to the last, in which a player declared 0.
    pub zero_streaks: BySeat<u8>,
    /// Declarations of this round.
    pub declared: BySeat<Option<Declaration>>,
    /// Piles won in this round.
    pub captured: BySeat<u8>,
    /// Pieces in hand, 0 to 8.
    pub hand_sizes: BySeat<u8>,
    /// Pieces played in the finished turns of this round.
    pub shown: BySeat<PieceSet>,
    /// Turns won in the whole game.
    pub turns_won: BySeat<u32>,
    /// Rounds of the game with a declaration above 0 that was hit exactly.
    pub perfect_rounds: BySeat<u32>,
}

/// A game from its first deal to its winners: a function of its seed and of the actions applied to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Game {
    seed: DealSeed,
    /// Deals made so far, redeals included.
    deals: u32,
    public: PublicState,
    phase: Phase,
    dealt: BySeat<[Piece; 8]>,
    held: BySeat<PieceSet>,
    /// Who accepted the last redeal of this round.
    accepter: Option<Seat>,
    /// Who won the turn before.
    last_winner: Option<Seat>,
}

impl Game {
    /// Begins a game: the first hands are dealt.
    pub fn new(seed: DealSeed) -> Self {
        let mut game = Self {
            deals: 0,
            public: PublicState::default(),
            phase: Phase::Played,
            dealt: BySeat::new([[Piece::wrapping(0); 8]; 4]),
            held: BySeat::default(),
            accepter: None,
            last_winner: None,
            seed,
        };
        game.begin_round();
        game
    }

    /// What everybody may know.
    pub const fn public(&self) -> &PublicState {
        &self.public
    }

    /// Where the game stands, hidden plays included. What goes to a player comes from a [`View`](super::View).
    pub const fn phase(&self) -> &Phase {
        &self.phase
    }

    /// The pieces `seat` holds, in dealt order.
    pub fn hand(&self, seat: Seat) -> Hand {
        Hand::new(self.dealt[seat], self.held[seat])
    }

    /// The eight pieces `seat` was dealt last, in dealt order.
    pub fn dealt(&self, seat: Seat) -> &[Piece; 8] {
        &self.dealt[seat]
    }

    /// The seats the game waits for: several while weak hands are asked, otherwise at most one.
    pub fn to_move(&self) -> SeatSet {
        match self.phase {
            Phase::Redeal { asked, accepted, declined } => asked.difference(accepted.union(declined)),
            Phase::Declare { next: seat } | Phase::Lead { starter: seat } => SeatSet::EMPTY.with(seat),
            Phase::Follow(table) => SeatSet::EMPTY.with(table.next()),
            Phase::Revealed(_) | Phase::Played | Phase::Scored { .. } | Phase::Over { .. } => SeatSet::EMPTY,
        }
    }

    /// The winners, once the game is over.
    pub const fn winners(&self) -> Option<SeatSet> {
        match self.phase {
            Phase::Over { winners } => Some(winners),
            _ => None,
        }
    }

    /// Carries out one player's action.
    ///
    /// # Errors
    /// [`ActionError`] names the rule that forbids it; the game is then as it was.
    pub fn apply(&mut self, seat: Seat, action: Action) -> Result<Event, ActionError> {
        match (self.phase, action) {
            (Phase::Redeal { asked, accepted, declined }, Action::AnswerRedeal(accept)) => {
                if !asked.contains(seat) {
                    return Err(ActionError::NotAsked);
                }
                if accepted.contains(seat) || declined.contains(seat) {
                    return Err(ActionError::AlreadyAnswered);
                }
                let (accepted, declined) =
                    if accept { (accepted.with(seat), declined) } else { (accepted, declined.with(seat)) };
                Ok(self.answer(asked, accepted, declined))
            }
            (Phase::Declare { next }, Action::Declare(declaration)) => {
                if seat != next {
                    return Err(ActionError::NotYourTurn);
                }
                self.declare(seat, declaration)
            }
            (Phase::Lead { starter }, Action::Play(pieces)) => {
                if seat != starter {
                    return Err(ActionError::NotYourTurn);
                }
                if !self.held[seat].is_superset(pieces) {
                    return Err(ActionError::NotHeld);
                }
                let lead = Play::classify(pieces).ok_or(ActionError::InvalidPlay)?;
                self.public.turn += 1;
                self.lay_down(seat, pieces);
                self.phase = Phase::Follow(Table::open(seat, lead));
                Ok(Event::Played)
            }
            (Phase::Follow(mut table), Action::Play(pieces)) => {
                if seat != table.next() {
                    return Err(ActionError::NotYourTurn);
                }
                if !self.held[seat].is_superset(pieces) {
                    return Err(ActionError::NotHeld);
                }
                let result = table.follow(pieces)?;
                self.lay_down(seat, pieces);
                self.phase = result.map_or(Phase::Follow(table), Phase::Revealed);
                Ok(if result.is_some() { Event::Revealed } else { Event::Played })
            }
            _ => Err(ActionError::WrongPhase),
        }
    }

    /// Takes the step that waits for nobody: piles go to the winner of a turn, a round is scored, the next is dealt.
    /// Returns whether there was such a step.
    pub fn advance(&mut self) -> bool {
        match self.phase {
            Phase::Revealed(result) => self.collect(&result),
            Phase::Played => self.score(),
            Phase::Scored { .. } => {
                let winners = winners(&self.public.totals);
                if winners.is_empty() {
                    self.begin_round();
                } else {
                    self.phase = Phase::Over { winners };
                }
            }
            Phase::Redeal { .. }
            | Phase::Declare { .. }
            | Phase::Lead { .. }
            | Phase::Follow(_)
            | Phase::Over { .. } => return false,
        }
        true
    }

    /// Everything `seat` may do now. [`apply`](Self::apply) succeeds for exactly these.
    pub fn legal_actions(&self, seat: Seat) -> Vec<Action> {
        if !self.to_move().contains(seat) {
            return Vec::new();
        }
        let hand = self.held[seat];
        match &self.phase {
            Phase::Redeal { .. } => vec![Action::AnswerRedeal(true), Action::AnswerRedeal(false)],
            Phase::Declare { .. } => self.public.allowed_declarations(seat).into_iter().map(Action::Declare).collect(),
            Phase::Lead { .. } => {
                subsets(hand).filter(|&pieces| Play::classify(pieces).is_some()).map(Action::Play).collect()
            }
            Phase::Follow(table) => {
                let required = table.lead().kind().count();
                subsets(hand).filter(|pieces| pieces.len() == required).map(Action::Play).collect()
            }
            Phase::Revealed(_) | Phase::Played | Phase::Scored { .. } | Phase::Over { .. } => Vec::new(),
        }
    }

    fn begin_round(&mut self) {
        self.public.round += 1;
        self.public.multiplier = 1;
        self.public.turn = 0;
        self.public.declared = BySeat::default();
        self.public.captured = BySeat::default();
        self.accepter = None;
        self.deal();
    }

    fn deal(&mut self) {
        self.dealt = self.seed.deal(self.deals);
        self.deals += 1;
        self.held = self.dealt.map(|hand| hand.into_iter().collect());
        self.public.hand_sizes = BySeat::new([8; 4]);
        self.public.shown = BySeat::default();
        self.public.starter = None;
        let weak: SeatSet =
            Seat::ALL.into_iter().filter(|&seat| self.held[seat].intersection(PieceSet::SAVING).is_empty()).collect();
        self.public.weak = weak;
        if weak.is_empty() {
            self.settle();
        } else {
            self.phase = Phase::Redeal { asked: weak, accepted: SeatSet::EMPTY, declined: SeatSet::EMPTY };
        }
    }

    fn answer(&mut self, asked: SeatSet, accepted: SeatSet, declined: SeatSet) -> Event {
        self.phase = Phase::Redeal { asked, accepted, declined };
        if !self.to_move().is_empty() {
            return Event::Answered;
        }
        let Some(accepter) = first_accepter(self.accepter, self.last_winner, accepted) else {
            self.settle();
            return Event::HandsKept;
        };
        self.accepter = Some(accepter);
        self.public.multiplier += 1;
        self.deal();
        Event::Redealt
    }

    /// The hands are final: fixes who starts (rules, section 5) and opens the declarations.
    fn settle(&mut self) {
        let red_general = PieceSet::of_kind(Name::General, Color::Red);
        // One seat holds it: all 32 pieces are dealt.
        let holder = Seat::ALL.into_iter().find(|&seat| self.held[seat].is_superset(red_general)).unwrap_or(Seat::One);
        let (starter, reason) = starter(self.accepter, self.last_winner, holder);
        self.public.starter = Some((starter, reason));
        self.phase = Phase::Declare { next: starter };
    }

    fn declare(&mut self, seat: Seat, declaration: Declaration) -> Result<Event, ActionError> {
        if !self.public.allowed_declarations(seat).contains(&declaration) {
            // A zero can break both rules at once; the streak is the reason that the player can see.
            return Err(if declaration.piles() == 0 && self.public.zero_streaks[seat] >= declare::MAX_ZERO_STREAK {
                ActionError::ThirdZero
            } else {
                ActionError::SumOfEight
            });
        }
        self.public.declared[seat] = Some(declaration);
        let streak = &mut self.public.zero_streaks[seat];
        *streak = if declaration.piles() == 0 { streak.saturating_add(1) } else { 0 };
        let next = seat.next();
        self.phase = if self.public.declared[next].is_none() {
            Phase::Declare { next }
        } else {
            // All have declared, so the next in order is the starter.
            Phase::Lead { starter: next }
        };
        Ok(Event::Declared)
    }

    fn lay_down(&mut self, seat: Seat, pieces: PieceSet) {
        self.held[seat] = self.held[seat].difference(pieces);
        self.public.hand_sizes[seat] = self.held[seat].len();
    }

    fn collect(&mut self, result: &TurnResult) {
        let winner = result.winner;
        self.public.captured[winner] += result.piles();
        self.public.turns_won[winner] += 1;
        for (seat, &pieces) in result.plays.pairs() {
            self.public.shown[seat] = self.public.shown[seat].union(pieces);
        }
        self.last_winner = Some(winner);
        self.phase = if self.held[winner].is_empty() { Phase::Played } else { Phase::Lead { starter: winner } };
    }

    fn score(&mut self) {
        let public = &mut self.public;
        let scores = BySeat::from_fn(|seat| {
            let declared = public.declared[seat].unwrap_or_default();
            round_score(declared, public.captured[seat], public.multiplier)
        });
        for (seat, score) in scores.pairs() {
            public.totals[seat] = public.totals[seat].saturating_add(score.points());
            public.perfect_rounds[seat] += u32::from(score.bonus == 5);
        }
        self.phase = Phase::Scored { scores };
    }
}

impl PublicState {
    /// Which declarations `seat` could make if it were to declare now.
    pub fn allowed_declarations(&self, seat: Seat) -> AllowedDeclarations {
        declare::allowed_after(&self.declared, self.zero_streaks[seat])
    }
}

/// All subsets of `set` but the empty one: 2^n - 1 of them.
pub fn subsets(set: PieceSet) -> impl Iterator<Item = PieceSet> {
    let all = set.bits();
    let mut subset = 0_u32;
    std::iter::from_fn(move || {
        // The next subset in the order of its bits: the others of `all` are borrowed through.
        subset = subset.wrapping_sub(all) & all;
        (subset != 0).then(|| PieceSet::from_bits(subset))
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::{StarterReason, View, ViewPhase};
    use super::*;

    /// Whether the seat of a view has something to decide, by nothing but the view.
    fn is_to_move(view: &View) -> bool {
        view.seat.is_some_and(|seat| match view.phase {
            ViewPhase::Redeal { asked, answered } => asked.difference(answered).contains(seat),
            ViewPhase::Declare { next } | ViewPhase::Lead { starter: next } | ViewPhase::Follow { next, .. } => {
                next == seat
            }
            _ => false,
        })
    }

    /// Everything an outsider could try in a phase, allowed or not.
    fn attempts(hand: PieceSet) -> impl Iterator<Item = Action> {
        let answers = [true, false].into_iter().map(Action::AnswerRedeal);
        let declarations = Declaration::all().map(Action::Declare);
        let foreign = Piece::all().map(|piece| Action::Play(PieceSet::EMPTY.with(piece)));
        let plays = subsets(hand).map(Action::Play);
        answers.chain(declarations).chain(foreign).chain(plays).chain([Action::Play(PieceSet::EMPTY)])
    }

    fn assert_laws(game: &Game) {
        let held = Seat::ALL.into_iter().fold(PieceSet::EMPTY, |all, seat| {
            let hand = game.hand(seat).set();
            assert!(all.intersection(hand).is_empty(), "a piece in two hands");
            assert_eq!(hand.len(), game.public().hand_sizes[seat]);
            all.union(hand)
        });
        let shown = game.public().shown.iter().fold(PieceSet::EMPTY, |all, &pieces| all.union(pieces));
        let table = match *game.phase() {
            Phase::Follow(table) => Seat::ALL.into_iter().filter_map(|seat| table.play_of(seat)).collect::<Vec<_>>(),
            Phase::Revealed(result) => result.plays.into_array().to_vec(),
            _ => Vec::new(),
        };
        let table = table.into_iter().fold(PieceSet::EMPTY, PieceSet::union);
        assert_eq!(held.len() + shown.len() + table.len(), 32, "a piece is missing or doubled");
        assert_eq!(held.union(shown).union(table), PieceSet::ALL);
    }

    fn assert_apply_is_legal_actions(game: &Game) {
        for seat in Seat::ALL {
            let legal = game.legal_actions(seat);
            assert_eq!(game.to_move().contains(seat), !legal.is_empty(), "who is to move has a move");
            for action in attempts(game.hand(seat).set()) {
                let mut after = game.clone();
                let result = after.apply(seat, action);
                assert_eq!(result.is_ok(), legal.contains(&action), "{action:?} of {seat}: {result:?}");
                if result.is_err() {
                    assert_eq!(&after, game, "a refused action changes nothing");
                }
            }
        }
    }

    fn assert_views_hide(game: &Game) {
        for seat in Seat::ALL {
            let view = View::of(game, seat);
            assert_eq!(view.hand.set(), game.hand(seat).set());
            assert_eq!(is_to_move(&view), game.to_move().contains(seat));
        }
        assert!(View::watching(game).hand.set().is_empty());
        assert!(View::watching(game).own_play.is_none());
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]

        #[test]
        fn any_sequence_of_legal_actions_keeps_the_laws(
            seed in any::<[u8; 32]>(),
            choices in prop::collection::vec(any::<u16>(), 400),
        ) {
            let mut game = Game::new(DealSeed::unproven(seed));
            for (step, choice) in choices.into_iter().enumerate() {
                assert_laws(&game);
                if step % 9 == 0 {
                    assert_apply_is_legal_actions(&game);
                    assert_views_hide(&game);
                }
                let moves: Vec<_> = game
                    .to_move()
                    .iter()
                    .flat_map(|seat| game.legal_actions(seat).into_iter().map(move |action| (seat, action)))
                    .collect();
                let before = game.public().round;
                if moves.is_empty() {
                    prop_assert!(game.advance(), "a running game waits for a player or goes on");
                    if matches!(game.phase(), Phase::Scored { .. }) {
                        prop_assert_eq!(game.public().captured.iter().sum::<u8>(), 8);
                        prop_assert_ne!(
                            game.public().declared.iter().flatten().map(|d| d.piles()).sum::<u8>(), 8
                        );
                    }
                    if let Some(winners) = game.winners() {
                        prop_assert!(!winners.is_empty());
                        prop_assert!(!game.advance(), "a finished game stands still");
                        break;
                    }
                } else {
                    prop_assert!(!game.advance(), "a game that waits for players does not go on by itself");
                    let (seat, action) = moves[usize::from(choice) % moves.len()];
                    prop_assert!(game.apply(seat, action).is_ok());
                }
                prop_assert!(game.public().round == before || game.public().round == before + 1);
            }
        }
    }

    #[test]
    fn redeals_have_no_limit_and_the_last_accepter_starts() {
        let mut seen = 0;
        for number in 0..4000_u32 {
            let mut seed = [0; 32];
            seed[..4].copy_from_slice(&number.to_be_bytes());
            let mut game = Game::new(DealSeed::unproven(seed));
            let mut redeals = 0;
            while let Phase::Redeal { asked, .. } = *game.phase() {
                let from = game.accepter.unwrap_or(Seat::One);
                let first = from.order().into_iter().find(|&seat| asked.contains(seat)).unwrap();
                for seat in asked.iter() {
                    game.apply(seat, Action::AnswerRedeal(true)).unwrap();
                }
                redeals += 1;
                assert_eq!(game.accepter, Some(first));
                assert_eq!(game.public().multiplier, redeals + 1);
            }
            if redeals > 0 {
                assert_eq!(game.public().starter, Some((game.accepter.unwrap(), StarterReason::AcceptedRedeal)));
                assert_eq!(game.to_move(), SeatSet::EMPTY.with(game.accepter.unwrap()));
            }
            seen = seen.max(redeals);
        }
        assert!(seen >= 2, "the sample holds a second redeal");
    }
}
