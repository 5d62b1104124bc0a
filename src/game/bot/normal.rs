//! `normal`: declares what the hand is worth and plays to hit it.
//!
//! Everything rests on one estimate, [`Estimate::hope`]: how likely a hand takes exactly so many more piles. To take
//! `k` of them its `k` strongest pieces must win, or a combination must, and all others must lose. The chance of a
//! piece comes from how many stronger ones are unseen and from how many piles the others still want.
//!
//! The weights below were found by letting slightly different players meet in thousands of games and keeping the
//! better one; they are not more exact than that.

use arrayvec::ArrayVec;

use super::super::{
    AllowedDeclarations, BySeat, Color, Declaration, Name, PieceSet, Play, PlayKind, Seat, View, play::GROUPS,
};
use super::plays;

/// How hard it is to win with a piece when nobody else wants piles, and how much harder for each pile that is wanted
/// per pile that is left.
const WINNING_BASE: f32 = 1.56;
const WINNING_PRESSURE: f32 = 1.72;
/// The same for taking an unwanted pile: opponents that want piles prevent it.
const TAKING_BASE: f32 = 1.48;
const TAKING_PRESSURE: f32 = 4.76;
/// Chance that even the strongest piece takes an unwanted pile: it can be played in a turn of several pieces.
const TAKING_MOST: f32 = 0.86;
/// By how many piles a target is missed on the average, if it is.
const MISSED_BY: f32 = 1.12;
/// Chance to open a turn with a combination: while there are other piles to win before, and otherwise.
const OPENS_AFTER_OTHERS: f32 = 0.64;
const OPENS_ANYWAY: f32 = 0.42;
/// What is left of a combination's chance by the time it is played: discards break it.
const KEPT_TOGETHER: f32 = 0.7;
/// Chance that an opponent that could beat a play does so: if it wants all the piles, fewer of them, or none.
const WILLING: f32 = 0.4;
const RELUCTANT: f32 = 0.37;
const UNWILLING: f32 = 0.03;
/// How likely a discard beats a play by accident, against a random piece.
const ACCIDENT: f32 = 0.39;
/// An opponent that wants a turn opens it with the best of this many pieces.
const OPENS_STRONG: i32 = 4;
/// An opponent that does not want a turn opens it with a weak piece: its chance to be better, against a random piece.
const OPENS_WEAK: f32 = 0.88;
/// Chance that a combination on the table beats ours, relative to the chance that an opponent holds a better one.
const OPENED_BETTER: f32 = 1.79;
/// Piles that a seat wants before it has declared.
const USUAL_DECLARATION: f32 = 1.5;

/// What a decision is made from: the part of a [`View`] that matters to it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Known {
    pub(super) seat: Seat,
    pub(super) hand: PieceSet,
    /// Pieces in the hands of others, or face down on the table.
    pub(super) unseen: PieceSet,
    /// Declarations of this round.
    pub(super) declared: BySeat<Option<Declaration>>,
    /// Piles won in this round.
    pub(super) captured: BySeat<u8>,
}

impl Known {
    pub(super) fn of(view: &View) -> Self {
        let public = &view.public;
        let seen = public.shown.iter().fold(view.hand.set(), |seen, &shown| seen.union(shown));
        Self {
            seat: view.seat.unwrap_or(Seat::One),
            hand: view.hand.set(),
            unseen: PieceSet::ALL.difference(seen),
            declared: public.declared,
            captured: public.captured,
        }
    }
}

/// A choice, and its expected score.
pub(super) type Valued<T> = (T, f32);

/// The declaration with the best expected score.
pub(super) fn declare(known: &Known, allowed: AllowedDeclarations) -> Declaration {
    best(declarations(known, allowed)).unwrap_or_default()
}

/// The play to open a turn with.
pub(super) fn lead(known: &Known) -> PieceSet {
    best(leads(known)).unwrap_or_default()
}

/// The pieces to follow with in a turn that `starter` opened.
pub(super) fn follow(known: &Known, starter: Seat, lead: PlayKind) -> PieceSet {
    best(follows(known, starter, lead)).unwrap_or_default()
}

/// The declarations that can be made.
pub(super) fn declarations(known: &Known, allowed: AllowedDeclarations) -> ArrayVec<Valued<Declaration>, 9> {
    let estimate = Estimate::new(known, None);
    let next = if known.declared.iter().all(Option::is_none) { Opens::We } else { Opens::They };
    let worth = |declaration: Declaration| score(declaration, estimate.hope(known.hand, declaration.piles(), next));
    allowed.into_iter().map(|declaration| (declaration, worth(declaration))).collect()
}

/// The plays that can open a turn.
pub(super) fn leads(known: &Known) -> ArrayVec<Valued<PieceSet>, { plays::MAX }> {
    let estimate = Estimate::new(known, None);
    let singles = plays::singles(known.hand).into_iter().map(|play| (play, estimate.against.win_chance(play)));
    let plays = singles.chain(estimate.combinations.iter().copied());
    plays.map(|(play, wins)| (play.pieces(), estimate.worth(play.pieces(), wins))).collect()
}

/// What can be followed with in a turn that `starter` opened: each play that may win it, and some sets of pieces to
/// throw away.
pub(super) fn follows(known: &Known, starter: Seat, lead: PlayKind) -> ArrayVec<Valued<PieceSet>, { plays::MAX }> {
    let estimate = Estimate::new(known, Some(starter));
    let plays = match lead {
        PlayKind::Single => plays::singles(known.hand),
        _ => estimate.combinations.iter().map(|&(play, _)| play).filter(|play| play.kind() == lead).collect(),
    };
    let plays = plays.into_iter().map(|play| (play.pieces(), estimate.against.win_chance(play)));
    // Any single piece is a play; of several pieces most sets are none, and cannot win.
    let discards = if lead == PlayKind::Single { ArrayVec::new() } else { estimate.discards(lead.count()) };
    let discards = discards.into_iter().map(|pieces| {
        let play = Play::classify(pieces).filter(|play| play.kind() == lead);
        (pieces, play.map_or(0.0, |play| estimate.against.win_chance(play)))
    });
    plays.chain(discards).map(|(pieces, wins)| (pieces, estimate.worth(pieces, wins))).collect()
}

/// The first of those with the highest value.
pub(super) fn best<T>(valued: impl IntoIterator<Item = Valued<T>>) -> Option<T> {
    let best = valued.into_iter().reduce(|best, candidate| if candidate.1 > best.1 { candidate } else { best });
    best.map(|(candidate, _)| candidate)
}

/// Expected score of a declaration that is hit with chance `hope`.
fn score(declaration: Declaration, hope: f32) -> f32 {
    let hit = if declaration.piles() == 0 { 3.0 } else { f32::from(declaration.piles()) + 5.0 };
    hope * (hit + MISSED_BY) - MISSED_BY
}

/// Who opens the next turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Opens {
    We,
    They,
}

/// What the hand is good for.
struct Estimate<'a> {
    known: &'a Known,
    against: Opponents,
    /// Its pieces, strongest first.
    singles: ArrayVec<Single, 8>,
    /// Its plays of several pieces, and the chance that each wins the turn it is played in.
    combinations: ArrayVec<(Play, f32), { plays::MAX }>,
}

/// A piece of the hand.
#[derive(Debug, Clone, Copy)]
struct Single {
    piece: PieceSet,
    points: u32,
    /// Chance that it takes a pile if it should.
    wins: f32,
    /// Chance that it takes none if it should not.
    loses: f32,
}

impl<'a> Estimate<'a> {
    fn new(known: &'a Known, starter: Option<Seat>) -> Self {
        let against = Opponents::new(known, starter);
        let pressure = against.wanted() / f32::from(known.hand.len()).max(1.0);
        let winning = WINNING_BASE + WINNING_PRESSURE * pressure;
        let taking = TAKING_BASE + TAKING_PRESSURE * pressure;
        let mut singles: ArrayVec<Single, 8> = ArrayVec::new();
        for piece in known.hand.iter() {
            let points = u32::from(piece.points());
            let stronger = against.chance_above(points);
            let weaker = 1.0 - stronger;
            // Odds rather than powers: of the same shape, and many times faster.
            let wins = weaker * weaker / (weaker * weaker + winning * stronger);
            let takes = TAKING_MOST * weaker * weaker / (weaker * weaker + taking * stronger);
            let single = Single { piece: PieceSet::EMPTY.with(piece), points, wins, loses: 1.0 - takes };
            let place = singles.iter().position(|other| other.points < points).unwrap_or(singles.len());
            // A hand has eight pieces at most, so there is room and the place is in it.
            singles.try_insert(place, single).ok();
        }
        let combinations = plays::combinations(known.hand);
        let combinations = combinations.into_iter().map(|play| (play, against.win_chance(play))).collect();
        Self { known, against, singles, combinations }
    }

    /// Expected score of the round if these pieces are played now and win the turn with this chance.
    fn worth(&self, pieces: PieceSet, wins: f32) -> f32 {
        let rest = self.known.hand.difference(pieces);
        let captured = self.known.captured[self.known.seat];
        let lost = self.value(rest, captured, Opens::They);
        if wins == 0.0 {
            return lost;
        }
        let won = self.value(rest, captured + pieces.len(), Opens::We);
        wins * won + (1.0 - wins) * lost
    }

    /// Expected score of the round with `hand` left and `captured` piles taken.
    fn value(&self, hand: PieceSet, captured: u8, next: Opens) -> f32 {
        let declared = self.known.declared[self.known.seat].unwrap_or_default();
        let held = self.singles.iter().filter(|single| hand.is_superset(single.piece));
        match declared.piles().checked_sub(captured) {
            // Too many already: each more is another point lost.
            None => {
                let more: f32 = held.map(|single| 1.0 - single.loses).sum();
                -f32::from(captured - declared.piles()) - more
            }
            // Too few in any case: each more is a point saved.
            Some(wanted) if wanted > hand.len() => {
                let more: f32 = held.map(|single| single.wins).sum();
                more - f32::from(wanted)
            }
            Some(wanted) => score(declared, self.hope(hand, wanted, next)),
        }
    }

    /// Chance that `hand` takes exactly `piles` more piles.
    fn hope(&self, hand: PieceSet, piles: u8, next: Opens) -> f32 {
        self.hope_with(hand, piles, next, 0)
    }

    /// The same, with no combinations but those from number `from` on.
    fn hope_with(&self, hand: PieceSet, piles: u8, next: Opens, from: usize) -> f32 {
        let mut hope = 1.0;
        let mut wanted = piles;
        for single in self.singles.iter().filter(|single| hand.is_superset(single.piece)) {
            hope *= if wanted > 0 { single.wins } else { single.loses };
            wanted = wanted.saturating_sub(1);
        }
        if piles < 2 {
            return hope;
        }
        for (number, &(play, wins)) in self.combinations.iter().enumerate().skip(from) {
            let count = play.kind().count();
            if count > piles || !hand.is_superset(play.pieces()) {
                continue;
            }
            let opens = match next {
                Opens::We => 1.0,
                Opens::They if count < piles => OPENS_AFTER_OTHERS,
                Opens::They => OPENS_ANYWAY,
            };
            let rest = self.hope_with(hand.difference(play.pieces()), piles - count, Opens::We, number + 1);
            hope = f32::max(hope, opens * KEPT_TOGETHER * wins * rest);
        }
        hope
    }

    /// Sets of `count` pieces to throw away. The strongest pieces are kept to win and the weakest to lose, so a set is
    /// a run from between. One more row of sets spares the combination that wins the most piles still wanted.
    fn discards(&self, count: u8) -> ArrayVec<PieceSet, 16> {
        let known = self.known;
        let declared = known.declared[known.seat].unwrap_or_default();
        let wanted = declared.piles().saturating_sub(known.captured[known.seat]);
        let fits = self.combinations.iter().filter(|(play, _)| play.kind().count() <= wanted);
        let spared = best(fits.map(|&(play, wins)| (play.pieces(), wins * f32::from(play.kind().count()))));
        let mut sets = ArrayVec::new();
        for spared in [Some(PieceSet::EMPTY), spared].into_iter().flatten() {
            let pieces = self.singles.iter().map(|single| single.piece).filter(|&piece| !spared.is_superset(piece));
            let pieces: ArrayVec<PieceSet, 8> = pieces.collect();
            let runs = pieces.windows(usize::from(count));
            sets.extend(runs.map(|run| run.iter().fold(PieceSet::EMPTY, |set, &piece| set.union(piece))));
        }
        sets
    }
}

/// What the other three may put against a play.
struct Opponents {
    unseen: PieceSet,
    /// How many pieces each of them holds, counted before the running turn.
    hand_size: u8,
    /// Who opened the running turn.
    starter: Option<usize>,
    /// Piles each of them still wants, in order from our left.
    wants: [f32; 3],
}

/// Each opponent has a third of what is unseen.
const SHARE: f32 = 1.0 / 3.0;

impl Opponents {
    fn new(known: &Known, starter: Option<Seat>) -> Self {
        let [_, others @ ..] = known.seat.order();
        let wants = others.map(|seat| {
            let captured = f32::from(known.captured[seat]);
            known.declared[seat].map_or(USUAL_DECLARATION, |declared| f32::from(declared.piles()) - captured)
        });
        let starter = others.into_iter().position(|seat| starter == Some(seat));
        Self { unseen: known.unseen, hand_size: known.hand.len(), starter, wants }
    }

    /// Piles they still want together.
    fn wanted(&self) -> f32 {
        self.wants.iter().map(|wants| wants.max(0.0)).sum()
    }

    /// Chance that a random unseen piece is worth more than `points`.
    fn chance_above(&self, points: u32) -> f32 {
        f32::from(self.unseen.above(points).len()) / f32::from(self.unseen.len()).max(1.0)
    }

    /// Chance that `play` wins the turn, if it is opened with it or with another of its type.
    fn win_chance(&self, play: Play) -> f32 {
        let count = f32::from(play.kind().count());
        // Chance that one of them can beat it, that a discard does so by accident, and that the opening play does.
        let (stronger, accident, opened) = match play.kind() {
            PlayKind::Single => {
                let stronger = self.chance_above(play.strength());
                (1.0 - (1.0 - stronger).powi(i32::from(self.hand_size)), ACCIDENT * stronger, stronger)
            }
            _ => {
                let stronger = self.stronger_combination(play);
                (stronger, 0.0, (OPENED_BETTER * stronger).min(1.0))
            }
        };
        let beaten_by = |(place, &wants): (usize, &f32)| {
            if self.starter == Some(place) {
                return if wants >= count { 1.0 - (1.0 - opened).powi(OPENS_STRONG) } else { OPENS_WEAK * opened };
            }
            let will = match wants {
                _ if wants >= count => WILLING,
                _ if wants > 0.0 => RELUCTANT,
                _ => UNWILLING,
            };
            (will * stronger + (1.0 - will) * accident).min(1.0)
        };
        self.wants.iter().enumerate().map(|opponent| 1.0 - beaten_by(opponent)).product()
    }

    /// Chance that a given one of them holds a better combination of the same type.
    fn stronger_combination(&self, play: Play) -> f32 {
        /// Chance to hold `n` given pieces, for `n` from 0 on.
        const ALL_OF: [f32; 6] = [1.0, SHARE, 0.111, 0.037, 0.0123, 0.0041];
        /// Chance to hold one or more of `n` given pieces.
        const ANY_OF: [f32; 3] = [0.0, SHARE, 1.0 - (1.0 - SHARE) * (1.0 - SHARE)];
        /// How many pairs, triples and so on there are among five, four … pieces.
        const CHOICES: [[u8; 6]; 6] = [
            [1, 0, 0, 0, 0, 0],
            [1, 1, 0, 0, 0, 0],
            [1, 2, 1, 0, 0, 0],
            [1, 3, 3, 1, 0, 0],
            [1, 4, 6, 4, 1, 0],
            [1, 5, 10, 10, 5, 1],
        ];
        let at = |table: &[f32], n: u8| table.get(usize::from(n)).copied().unwrap_or(0.0);
        let count = play.kind().count();
        let soldiers = |pieces: PieceSet| {
            let red = pieces.intersection(PieceSet::of_kind(Name::Soldier, Color::Red)).len();
            let choices = CHOICES.get(usize::from(red)).and_then(|row| row.get(usize::from(count)));
            f32::from(choices.copied().unwrap_or(0)) * at(&ALL_OF, count)
        };
        let chance = match play.kind() {
            PlayKind::Single | PlayKind::Pair => {
                let stronger = self.unseen.above(play.strength() / 2);
                f32::from(stronger.twins().len()) * at(&ALL_OF, 2) + soldiers(stronger)
            }
            // Only red soldiers beat soldiers, and only black ones.
            PlayKind::ThreeOfAKind | PlayKind::FourOfAKind | PlayKind::FiveOfAKind => {
                soldiers(self.unseen.above(play.strength() / u32::from(count)))
            }
            PlayKind::Straight
            | PlayKind::ExtendedStraight
            | PlayKind::ExtendedStraight5
            | PlayKind::DoubleStraight => {
                let own = GROUPS.iter().find(|group| group.pieces.is_superset(play.pieces()));
                let stronger = GROUPS.iter().filter(|group| own.is_some_and(|own| group.points > own.points));
                let held = |name: &PieceSet| at(&ANY_OF, name.intersection(self.unseen).len());
                stronger.map(|group| group.names.iter().map(held).product::<f32>() * at(&ALL_OF, count - 3)).sum()
            }
        };
        chance.min(0.95)
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::{Level, Piece, Seating, Series, allowed_declarations};
    use super::*;

    fn pieces<const N: usize>(numbers: [u8; N]) -> PieceSet {
        numbers.into_iter().filter_map(Piece::new).collect()
    }

    fn known(hand: PieceSet, unseen: PieceSet, declared: [u8; 4], captured: [u8; 4]) -> Known {
        let declared = BySeat::new(declared.map(Declaration::new));
        Known { seat: Seat::One, hand, unseen, declared, captured: BySeat::new(captured) }
    }

    #[test]
    fn declares_by_the_hand() {
        let piles = |hand| {
            let known = known(hand, PieceSet::ALL.difference(hand), [9; 4], [0; 4]);
            declare(&known, allowed_declarations(0, false, 0)).piles()
        };
        // Five red soldiers and a black straight, to be opened with.
        assert!(piles(pieces([11, 12, 13, 14, 15, 22, 24, 26])) >= 5);
        // Nothing above a horse, and no combination.
        assert!(piles(pieces([8, 10, 23, 25, 11, 12, 27, 28])) <= 1);
    }

    #[test]
    fn throws_a_general_away_that_is_not_wanted() {
        let hand = pieces([0, 24, 26, 27]);
        let unseen = pieces([1, 2, 5, 6, 9, 17, 18, 11, 12, 13, 14, 15]);
        let known = known(hand, unseen, [1, 2, 2, 2], [1, 1, 0, 2]);
        let thrown = follow(&known, Seat::Four, PlayKind::Pair);
        assert!(thrown.is_superset(pieces([0])), "{thrown:?}");
    }

    #[test]
    fn takes_the_last_pile_it_wants() {
        let known = known(pieces([0, 27]), pieces([1, 2, 5, 6, 9, 17]), [1, 2, 2, 2], [0, 2, 2, 2]);
        assert_eq!(lead(&known), pieces([0]));
    }

    #[test]
    fn beats_easy_players_and_keeps_its_word() {
        let (easy, normal) = (Level::Easy, Level::Normal);
        let play = |players| {
            let series = Series { seed: 1, players, seating: Seating::Rotated, max_rounds: 200 };
            series.tally(0..80)
        };
        let tally = play(BySeat::new([normal, easy, easy, easy]));
        assert!(tally.by_player[Seat::One].wins >= 64, "{tally:?}");
        let tally = play(BySeat::new([normal; 4]));
        let met: u64 = tally.by_player.iter().map(|results| results.met).sum();
        assert!(met * 100 >= tally.rounds * 4 * 40, "{tally:?}");
    }
}
