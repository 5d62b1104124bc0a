//! Points of a round, the end of the game, and the winners.

use super::{BySeat, Declaration, Seat, SeatSet};

/// The game ends after a round in which a total reaches this (rules, section 9).
pub const WINNING_SCORE: i32 = 50;

/// One player's score of one round, with the parts it is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RoundScore {
    /// Points for hitting the target, or the penalty for missing it.
    pub hit_value: i32,
    /// What comes on top for an exact hit: 5, or 3 for a kept zero.
    pub bonus: i32,
    /// What `hit_value` and `bonus` are multiplied by: 1 and one more for each redeal.
    pub multiplier: u32,
}

impl RoundScore {
    /// Before the multiplier.
    pub const fn base(self) -> i32 {
        self.hit_value + self.bonus
    }

    /// What the total changes by.
    pub const fn points(self) -> i32 {
        self.base().saturating_mul(self.multiplier.cast_signed())
    }
}

/// The score for `declared` and `captured` piles (rules, section 9).
pub fn round_score(declared: Declaration, captured: u8, multiplier: u32) -> RoundScore {
    let (target, captured) = (i32::from(declared.piles()), i32::from(captured));
    let (hit_value, bonus) = match (target, captured) {
        (0, 0) => (0, 3),
        (target, captured) if target == captured => (target, 5),
        (target, captured) => (-(target - captured).abs(), 0),
    };
    RoundScore { hit_value, bonus, multiplier }
}

/// What a game led to, in few numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Outcome {
    /// The winners; empty if the game was abandoned.
    pub winners: SeatSet,
    /// Rounds that were scored.
    pub rounds: u32,
    /// Points over all scored rounds.
    pub totals: BySeat<i32>,
    /// Declarations of scored rounds, zeros included, that were met exactly.
    pub met: BySeat<u32>,
}

impl Outcome {
    /// Adds a scored round.
    pub fn count(&mut self, scores: &BySeat<RoundScore>) {
        self.rounds += 1;
        for (seat, score) in scores.pairs() {
            self.totals[seat] = self.totals[seat].saturating_add(score.points());
            // Only a met declaration earns a bonus, and each does.
            self.met[seat] += u32::from(score.bonus > 0);
        }
    }
}

/// The winners: all seats with the highest total, if that is at least [`WINNING_SCORE`]; else none.
pub fn winners(totals: &BySeat<i32>) -> SeatSet {
    let highest = totals.iter().copied().max().unwrap_or(0);
    if highest < WINNING_SCORE {
        return SeatSet::EMPTY;
    }
    Seat::ALL.into_iter().filter(|&seat| totals[seat] == highest).collect()
}
