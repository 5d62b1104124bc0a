//! `hard`: deals the pieces it cannot see in many ways, and plays the round out in each.
//!
//! For a decision it draws hands that the others may hold, lets each promising choice meet the same hands, and plays
//! the rest of the round as [`normal`] players would. The choice after which the game is won most often is taken.
//! Choices that fall behind are dropped early, so that most of the work goes into telling the best apart.

use arrayvec::ArrayVec;
use rand::{Rng, RngExt};

use super::super::{
    BySeat, Color, Declaration, Name, PieceSet, Play, PlayKind, PublicState, Seat, StarterReason, Table, View,
    ViewPhase, WINNING_SCORE, allowed_declarations, declare::allowed_after, round_score,
};
use super::normal::{self, Known, Valued};
use super::{easy, plays};

/// Rounds played out for one decision.
///
/// This bounds the time of a decision, for the rules have no clock: on a core of a 2023 server it takes 2 ms on the
/// average and never took 8. More rounds help little: what limits the bot is that others do not play as it thinks.
const ROLLOUTS: usize = 200;
/// How many choices are tried: those that [`normal`] values most.
const CHOICES: usize = 8;
/// Of so many drawn worlds one is taken, by how well its hands explain what was declared.
const WORLDS_DRAWN: usize = 4;
/// Hands that contradict what is known are drawn again, so many times at most: combinations of five pieces are rare.
const TRIES: usize = 32;
/// A declaration is e times less likely for each point that its expected score stays below the best one's.
const DECLARATION_DOUBT: f32 = 1.0;
/// So many points of a lead make a win e times more likely: at the end of a game, and more for each point still to go.
const LEAD_AT_THE_END: f32 = 4.0;
const LEAD_PER_POINT_TO_GO: f32 = 0.25;

/// The best declaration.
pub(super) fn declare(view: &View, rng: &mut impl Rng) -> Declaration {
    let known = Known::of(view);
    let choices = normal::declarations(&known, view.allowed_declarations());
    let unknown = Unknown::new(view, &known);
    search(&unknown, choices, rng, |world, &declaration| {
        let mut round = world.round;
        round.declared[known.seat] = Some(declaration);
        round.declare_rest(known.seat.next());
        round.play_rest(unknown.starter)
    })
    .unwrap_or_default()
}

/// The best pieces to open a turn with.
pub(super) fn lead(view: &View, rng: &mut impl Rng) -> PieceSet {
    let known = Known::of(view);
    play(view, &known, normal::leads(&known), known.seat, rng)
}

/// The best pieces to follow with in a turn that `starter` opened.
pub(super) fn follow(view: &View, starter: Seat, lead: PlayKind, rng: &mut impl Rng) -> PieceSet {
    let known = Known::of(view);
    play(view, &known, normal::follows(&known, starter, lead), starter, rng)
}

fn play<const N: usize>(
    view: &View,
    known: &Known,
    choices: ArrayVec<Valued<PieceSet>, N>,
    starter: Seat,
    rng: &mut impl Rng,
) -> PieceSet {
    let unknown = Unknown::new(view, known);
    search(&unknown, choices, rng, |world, &pieces| {
        let mut round = world.round;
        let mut laid = world.laid;
        laid[known.seat] = Some(pieces);
        let winner = round.play_turn(starter, &laid);
        round.play_rest(winner.unwrap_or(starter))
    })
    .unwrap_or_default()
}

/// The choice with the best prospects. `finish` says how many piles each player has after a round in `world` in which
/// the choice is made.
fn search<T: Copy + PartialEq, const N: usize>(
    unknown: &Unknown,
    mut choices: ArrayVec<Valued<T>, N>,
    rng: &mut impl Rng,
    finish: impl Fn(&World, &T) -> Round,
) -> Option<T> {
    choices.sort_by(|a, b| b.1.total_cmp(&a.1));
    let mut alive: ArrayVec<Valued<T>, CHOICES> = ArrayVec::new();
    for (choice, _) in choices {
        if !alive.is_full() && alive.iter().all(|(other, _)| *other != choice) {
            alive.push((choice, 0.0));
        }
    }
    let stages = alive.len().next_power_of_two().ilog2().max(1) as usize;
    while alive.len() > 1 {
        for _ in 0..ROLLOUTS / stages / alive.len() {
            let Some(world) = unknown.draw(rng) else { continue };
            for (choice, value) in &mut alive {
                *value += unknown.prospect(&finish(&world, choice));
            }
        }
        alive.sort_by(|a, b| b.1.total_cmp(&a.1));
        alive.truncate(alive.len().div_ceil(2));
    }
    alive.first().map(|(choice, _)| *choice)
}

/// What a seat does not know, and the facts that limit it.
struct Unknown<'a> {
    public: &'a PublicState,
    known: &'a Known,
    starter: Seat,
    /// The pieces that others hold or have laid down in the running turn.
    pieces: PieceSet,
    /// The running turn, if it was opened before us.
    opened: Option<(Seat, PlayKind)>,
    /// How many of the pieces each seat held when the running turn began.
    sizes: BySeat<u8>,
}

/// Hands that fit all that a seat knows.
#[derive(Debug, Clone, Copy)]
struct World {
    round: Round,
    /// What was laid down in the running turn before us.
    laid: BySeat<Option<PieceSet>>,
}

impl<'a> Unknown<'a> {
    fn new(view: &'a View, known: &'a Known) -> Self {
        let public = &view.public;
        let opened = match view.phase {
            ViewPhase::Follow { starter, lead, .. } => Some((starter, lead)),
            _ => None,
        };
        let mut sizes = public.hand_sizes;
        for (seat, count) in laid_before(known.seat, opened) {
            sizes[seat] += count;
        }
        sizes[known.seat] = 0;
        let starter = public.starter.map_or(known.seat, |(seat, _)| seat);
        Self { public, known, starter, pieces: known.unseen, opened, sizes }
    }

    /// Hands that fit, the more likely the better they explain the declarations.
    fn draw(&self, rng: &mut impl Rng) -> Option<World> {
        let mut drawn: ArrayVec<(BySeat<PieceSet>, f32), WORLDS_DRAWN> = ArrayVec::new();
        for _ in 0..WORLDS_DRAWN {
            if let Some(hands) = self.draw_hands(rng) {
                drawn.push((hands, self.likelihood(&hands)));
            }
        }
        let mut point = rng.random::<f32>() * drawn.iter().map(|(_, likelihood)| likelihood).sum::<f32>();
        let chosen = drawn.iter().find(|(_, likelihood)| {
            point -= likelihood;
            point <= 0.0
        });
        let (hands, _) = chosen.or(drawn.first())?;
        let round = Round {
            hands: *hands,
            shown: self.public.shown.iter().fold(PieceSet::EMPTY, |all, &shown| all.union(shown)),
            declared: self.public.declared,
            captured: self.public.captured,
            zero_streaks: self.public.zero_streaks,
        };
        let mut laid = BySeat::default();
        if let Some((starter, lead)) = self.opened {
            for (seat, _) in laid_before(self.known.seat, self.opened) {
                let known = round.known(seat);
                laid[seat] = if seat == starter {
                    let leads = normal::leads(&known).into_iter();
                    normal::best(
                        leads.filter(|(pieces, _)| Play::classify(*pieces).is_some_and(|play| play.kind() == lead)),
                    )
                } else {
                    Some(normal::follow(&known, starter, lead))
                };
            }
        }
        Some(World { round, laid })
    }

    /// Hands that contradict nothing that is known for sure.
    fn draw_hands(&self, rng: &mut impl Rng) -> Option<BySeat<PieceSet>> {
        let general = PieceSet::of_kind(Name::General, Color::Red);
        for _ in 0..TRIES {
            let mut rest = self.pieces;
            let mut hands = BySeat::<PieceSet>::default();
            if let Some((starter, StarterReason::HasGeneralRed)) = self.public.starter
                && starter != self.known.seat
            {
                hands[starter] = rest.intersection(general);
                rest = rest.difference(general);
            }
            // A weak hand cannot hold every piece, so weak hands are drawn first.
            let [_, others @ ..] = self.known.seat.order();
            let weak = others.into_iter().filter(|&seat| self.public.weak.contains(seat));
            let strong = others.into_iter().filter(|&seat| !self.public.weak.contains(seat));
            for seat in weak.chain(strong) {
                let fit = if self.public.weak.contains(seat) { rest.difference(PieceSet::SAVING) } else { rest };
                let drawn = easy::draw(fit, self.sizes[seat].saturating_sub(hands[seat].len()), rng);
                hands[seat] = hands[seat].union(drawn);
                rest = rest.difference(drawn);
            }
            hands[self.known.seat] = self.known.hand;
            if others.into_iter().all(|seat| self.fits(seat, hands[seat])) {
                return Some(hands);
            }
        }
        None
    }

    fn fits(&self, seat: Seat, hand: PieceSet) -> bool {
        let dealt = hand.union(self.public.shown[seat]);
        let weak = dealt.intersection(PieceSet::SAVING).is_empty();
        let opened = match self.opened {
            Some((starter, kind)) if starter == seat => plays::holds(hand, kind),
            _ => true,
        };
        weak == self.public.weak.contains(seat) && opened
    }

    /// How well the hands explain what the others have declared.
    fn likelihood(&self, hands: &BySeat<PieceSet>) -> f32 {
        let mut declared = BySeat::default();
        let mut sum = 0;
        let mut likelihood = 1.0;
        for seat in self.starter.order() {
            let Some(declaration) = self.public.declared[seat] else { break };
            if seat != self.known.seat {
                let hand = hands[seat].union(self.public.shown[seat]);
                let known =
                    Known { seat, hand, unseen: PieceSet::ALL.difference(hand), declared, captured: BySeat::default() };
                // All values, allowed or not: what was declared is among them, and a forbidden one takes little.
                let values = normal::declarations(&known, allowed_declarations(sum, false, 0));
                let best = values.iter().map(|(_, value)| *value).fold(f32::MIN, f32::max);
                let made = values.iter().find(|(other, _)| *other == declaration).map_or(best, |(_, value)| *value);
                likelihood *= ((made - best) / DECLARATION_DOUBT).exp();
            }
            declared[seat] = Some(declaration);
            sum += declaration.piles();
        }
        likelihood
    }

    /// How good the end of the round is for us: the chance to win the game.
    fn prospect(&self, round: &Round) -> f32 {
        let totals = BySeat::from_fn(|seat| {
            let declared = round.declared[seat].unwrap_or_default();
            let score = round_score(declared, round.captured[seat], self.public.multiplier);
            self.public.totals[seat] + score.points()
        });
        let highest = totals.iter().copied().max().unwrap_or(0);
        let own = totals[self.known.seat];
        if highest >= WINNING_SCORE {
            let winners = totals.iter().filter(|&&total| total == highest).count();
            return if own == highest { 1.0 / winners as f32 } else { 0.0 };
        }
        // The fewer points are missing, the more each point ahead is worth.
        let scale = LEAD_AT_THE_END + LEAD_PER_POINT_TO_GO * (WINNING_SCORE - highest) as f32;
        let weight = |total: i32| ((total - own) as f32 / scale).exp();
        1.0 / totals.iter().map(|&total| weight(total)).sum::<f32>()
    }
}

/// The seats that have played in the running turn before `seat`, and how many pieces.
fn laid_before(seat: Seat, opened: Option<(Seat, PlayKind)>) -> impl Iterator<Item = (Seat, u8)> {
    let count = opened.map_or(0, |(_, lead)| lead.count());
    let starter = opened.map_or(seat, |(starter, _)| starter);
    starter.order().into_iter().take_while(move |&other| other != seat).map(move |other| (other, count))
}

/// A round with all hands open, as it is imagined.
#[derive(Debug, Clone, Copy)]
struct Round {
    hands: BySeat<PieceSet>,
    /// Pieces played in finished turns.
    shown: PieceSet,
    declared: BySeat<Option<Declaration>>,
    captured: BySeat<u8>,
    zero_streaks: BySeat<u8>,
}

impl Round {
    fn known(&self, seat: Seat) -> Known {
        let hand = self.hands[seat];
        let unseen = PieceSet::ALL.difference(hand).difference(self.shown);
        Known { seat, hand, unseen, declared: self.declared, captured: self.captured }
    }

    /// All seats from `next` on that have not declared do so.
    fn declare_rest(&mut self, next: Seat) {
        for seat in next.order() {
            if self.declared[seat].is_some() {
                break;
            }
            let allowed = allowed_after(&self.declared, self.zero_streaks[seat]);
            self.declared[seat] = Some(normal::declare(&self.known(seat), allowed));
        }
    }

    /// Plays turns until the hands are empty.
    fn play_rest(mut self, starter: Seat) -> Self {
        let mut starter = starter;
        while let Some(winner) = self.play_turn(starter, &BySeat::default()) {
            starter = winner;
        }
        self
    }

    /// Plays one turn, in which some seats have played already. Returns the winner, or `None` if the hands are empty.
    fn play_turn(&mut self, starter: Seat, laid: &BySeat<Option<PieceSet>>) -> Option<Seat> {
        let lead = laid[starter].unwrap_or_else(|| normal::lead(&self.known(starter)));
        let lead = Play::classify(lead)?;
        let mut table = Table::open(starter, lead);
        let [_, second, third, fourth] = starter.order();
        let mut follow = |seat: Seat| {
            let pieces = laid[seat].unwrap_or_else(|| normal::follow(&self.known(seat), starter, lead.kind()));
            table.follow(pieces).ok().flatten()
        };
        let result = follow(second).or_else(|| follow(third)).or_else(|| follow(fourth))?;
        for (seat, &pieces) in result.plays.pairs() {
            self.hands[seat] = self.hands[seat].difference(pieces);
            self.shown = self.shown.union(pieces);
        }
        self.captured[result.winner] += result.piles();
        Some(result.winner)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rand::SeedableRng;
    use rand_pcg::Pcg64Mcg;

    use super::super::super::{DealSeed, Game, Level, Phase, choose};
    use super::*;

    /// What is drawn for the seat to move after so many actions of normal players: the game and the worlds. A game that
    /// is over before has none.
    fn worlds(seed: [u8; 32], actions: usize) -> (Game, View, Vec<World>) {
        let mut rng = Pcg64Mcg::seed_from_u64(3);
        let mut game = Game::new(DealSeed::unproven(seed));
        let mut acted = 0;
        loop {
            let Some(seat) = game.to_move().first() else {
                if game.advance() {
                    continue;
                }
                let view = View::of(&game, Seat::One);
                return (game, view, Vec::new());
            };
            let view = View::of(&game, seat);
            if acted >= actions && !matches!(view.phase, ViewPhase::Redeal { .. }) {
                let known = Known::of(&view);
                let unknown = Unknown::new(&view, &known);
                let worlds = (0..4).filter_map(|_| unknown.draw(&mut rng)).collect();
                return (game, view, worlds);
            }
            game.apply(seat, choose(Level::Normal, &view, &mut rng)).unwrap();
            acted += 1;
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn worlds_fit_what_is_known(seed in any::<[u8; 32]>(), actions in 0_usize..60) {
            let (game, view, worlds) = worlds(seed, actions);
            let seat = view.seat.unwrap();
            for world in worlds {
                let mut all = view.public.shown.iter().fold(PieceSet::EMPTY, |all, &shown| all.union(shown));
                for other in Seat::ALL {
                    let hand = world.round.hands[other];
                    prop_assert!(all.intersection(hand).is_empty(), "a piece in two places");
                    all = all.union(hand);
                    let laid = world.laid[other].map_or(0, PieceSet::len);
                    prop_assert_eq!(hand.len(), view.public.hand_sizes[other] + laid);
                    if other != seat {
                        let dealt = hand.union(view.public.shown[other]);
                        let weak = dealt.intersection(PieceSet::SAVING).is_empty();
                        prop_assert_eq!(weak, view.public.weak.contains(other));
                    }
                }
                prop_assert_eq!(all, PieceSet::ALL);
                prop_assert_eq!(world.round.hands[seat], view.hand.set());
                if let Phase::Follow(table) = game.phase() {
                    let lead = world.laid[table.starter()].and_then(Play::classify);
                    prop_assert_eq!(lead.map(Play::kind), Some(table.lead().kind()));
                }
            }
        }

        #[test]
        fn an_imagined_round_ends_with_eight_piles(seed in any::<[u8; 32]>(), actions in 0_usize..60) {
            let (game, view, worlds) = worlds(seed, actions);
            for world in worlds {
                let mut round = world.round;
                let starter = match view.phase {
                    ViewPhase::Declare { next } => {
                        round.declare_rest(next);
                        game.public().starter.unwrap().0
                    }
                    ViewPhase::Lead { starter } | ViewPhase::Follow { starter, .. } => starter,
                    _ => continue,
                };
                let winner = round.play_turn(starter, &world.laid).unwrap();
                let end = round.play_rest(winner);
                prop_assert_eq!(end.captured.iter().sum::<u8>(), 8);
                prop_assert!(end.declared.iter().all(Option::is_some));
                prop_assert_ne!(end.declared.iter().flatten().map(|d| d.piles()).sum::<u8>(), 8);
            }
        }
    }

    #[test]
    fn the_same_numbers_drawn_make_the_same_choice() {
        let (_, view, _) = worlds([5; 32], 6);
        let choice = |seed| choose(Level::Hard, &view, &mut Pcg64Mcg::seed_from_u64(seed));
        assert_eq!(choice(1), choice(1));
    }
}
