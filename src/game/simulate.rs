//! Whole games of bots without a room around them, and the results of many of them.

use std::ops::Range;

use rand::{Rng, SeedableRng};
use rand_pcg::Pcg64Mcg;
use sha2::{Digest, Sha256};

use super::{Action, BySeat, DealProof, Game, Level, Outcome, Phase, Seat, ServerSeed, View, choose};

/// What happened in a game that plays itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// A player acted.
    Acted(Seat, Action),
    /// The game went on by itself: [`Game::advance`].
    Advanced,
}

/// Plays `game` until it is over or `max_rounds` rounds are scored, and calls `watch` after each step.
///
/// Each player is a bot of its level and decides from its own [`View`].
pub fn play_out(
    game: &mut Game,
    levels: &BySeat<Level>,
    max_rounds: u32,
    rng: &mut impl Rng,
    mut watch: impl FnMut(&Game, Step),
) -> Outcome {
    let mut outcome = Outcome::default();
    while outcome.rounds < max_rounds || !matches!(game.phase(), Phase::Scored { .. }) {
        if let Some(seat) = game.to_move().first() {
            let action = choose(levels[seat], &View::of(game, seat), rng);
            if let Err(error) = game.apply(seat, action) {
                debug_assert!(false, "a bot's {action:?} was refused: {error}");
                break;
            }
            watch(game, Step::Acted(seat, action));
        } else if game.advance() {
            if let Phase::Scored { scores } = game.phase() {
                outcome.count(scores);
            }
            watch(game, Step::Advanced);
        } else {
            break;
        }
    }
    outcome.winners = game.winners().unwrap_or_default();
    outcome
}

/// Many games between the same four players.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Series {
    /// All games follow from it.
    pub seed: u64,
    /// The four players, by their seat in the first game.
    pub players: BySeat<Level>,
    /// Whether they keep their seats.
    pub seating: Seating,
    /// A game without a winner after so many rounds is abandoned: random players may never reach 50.
    pub max_rounds: u32,
}

/// Whether players keep their seats from game to game.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Seating {
    /// All players keep their seats.
    #[default]
    Fixed,
    /// Everybody moves on by one seat after each game, so that no seat favours anybody.
    Rotated,
}

impl Series {
    /// The players at the four seats in game `number`, counted from 0. A player is named by its seat in the first game.
    pub fn players_at(&self, number: u64) -> BySeat<Seat> {
        let moved = match self.seating {
            Seating::Fixed => 0,
            Seating::Rotated => number % 4,
        };
        (0..moved).fold(BySeat::new(Seat::ALL), |players, _| {
            let [a, b, c, d] = players.into_array();
            BySeat::new([d, a, b, c])
        })
    }

    /// The bots at the four seats in game `number`.
    pub fn levels_at(&self, number: u64) -> BySeat<Level> {
        self.players_at(number).map(|player| self.players[player])
    }

    /// What the deals of game `number` follow from.
    pub fn proof(&self, number: u64) -> DealProof {
        DealProof { server_seed: ServerSeed::new(self.draw(number, b"deals")), entropy: BySeat::default() }
    }

    /// Plays game `number`. It depends on nothing but the series and the number, so games can be played in any
    /// order and on any number of threads.
    pub fn play(&self, number: u64, watch: impl FnMut(&Game, Step)) -> Outcome {
        let mut state = [0; 16];
        state.iter_mut().zip(self.draw(number, b"bots")).for_each(|(byte, drawn)| *byte = drawn);
        let mut rng = Pcg64Mcg::from_seed(state);
        let mut game = Game::new(self.proof(number).deal_seed());
        play_out(&mut game, &self.levels_at(number), self.max_rounds, &mut rng, watch)
    }

    /// Plays the games with these numbers and counts what they came to.
    pub fn tally(&self, numbers: Range<u64>) -> Tally {
        let mut tally = Tally::default();
        for number in numbers {
            let mut actions = 0;
            let outcome = self.play(number, |_, step| actions += u64::from(matches!(step, Step::Acted(..))));
            tally.count(&self.players_at(number), &outcome, actions);
        }
        tally
    }

    /// 256 bits that follow from the series, the number of the game and what they are for.
    fn draw(&self, number: u64, purpose: &[u8]) -> [u8; 32] {
        let hash = Sha256::new().chain_update(self.seed.to_be_bytes()).chain_update(number.to_be_bytes());
        hash.chain_update(purpose).finalize().into()
    }
}

/// What many games came to. Tallies of parts of a series add up to the tally of the whole, in any order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Tally {
    /// Games played, abandoned ones included.
    pub games: u64,
    /// Games without a winner.
    pub abandoned: u64,
    /// Rounds that were scored.
    pub rounds: u64,
    /// Actions of players.
    pub actions: u64,
    /// Each player's results, by the player's seat in the first game.
    pub by_player: BySeat<Results>,
    /// The results of each seat, whichever player sat there.
    pub by_seat: BySeat<Results>,
}

/// What one player, or the players on one seat, achieved in many games.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Results {
    /// Games won, alone or with others.
    pub wins: u64,
    /// Games won together with others.
    pub shared_wins: u64,
    /// Twelfths of wins: a win shared by `k` players is 1/k for each.
    pub win_twelfths: u64,
    /// Declarations that were hit exactly, of as many as there were rounds.
    pub met: u64,
}

impl Results {
    /// Games won, where a win shared by `k` players counts 1/k.
    #[expect(clippy::cast_precision_loss, reason = "no series comes near 2^52 games")]
    pub fn win_share(&self) -> f64 {
        self.win_twelfths as f64 / 12.0
    }

    /// Adds what others achieved.
    pub fn add(&mut self, other: &Self) {
        self.wins += other.wins;
        self.shared_wins += other.shared_wins;
        self.win_twelfths += other.win_twelfths;
        self.met += other.met;
    }
}

impl Tally {
    /// Counts one game of so many actions between the players at these seats ([`Series::players_at`]).
    pub fn count(&mut self, players: &BySeat<Seat>, outcome: &Outcome, actions: u64) {
        self.games += 1;
        self.abandoned += u64::from(outcome.winners.is_empty());
        self.rounds += u64::from(outcome.rounds);
        self.actions += actions;
        for (seat, &player) in players.pairs() {
            let won = outcome.winners.contains(seat);
            let winners = outcome.winners.len() as u64;
            let results = Results {
                wins: u64::from(won),
                shared_wins: u64::from(won && winners > 1),
                win_twelfths: if won { 12 / winners } else { 0 },
                met: u64::from(outcome.met[seat]),
            };
            self.by_player[player].add(&results);
            self.by_seat[seat].add(&results);
        }
    }

    /// Adds the games of another part of the series.
    pub fn add(&mut self, other: &Self) {
        self.games += other.games;
        self.abandoned += other.abandoned;
        self.rounds += other.rounds;
        self.actions += other.actions;
        for seat in Seat::ALL {
            self.by_player[seat].add(&other.by_player[seat]);
            self.by_seat[seat].add(&other.by_seat[seat]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::SeatSet;
    use super::*;

    const SERIES: Series =
        Series { seed: 1, players: BySeat::new([Level::Easy; 4]), seating: Seating::Rotated, max_rounds: 200 };

    #[test]
    fn a_game_follows_from_series_and_number() {
        let moves = |series: Series, number| {
            let mut steps = Vec::new();
            let outcome = series.play(number, |_, step| steps.push(step));
            (outcome, steps)
        };
        assert_eq!(moves(SERIES, 5), moves(SERIES, 5));
        assert_ne!(moves(SERIES, 5), moves(SERIES, 6));
        assert_ne!(moves(SERIES, 5), moves(Series { seed: 2, ..SERIES }, 5));
    }

    #[test]
    fn a_game_is_cut_at_its_limit() {
        let mut steps = 0;
        let outcome = Series { max_rounds: 1, ..SERIES }.play(0, |_, _| steps += 1);
        assert_eq!((outcome.rounds, outcome.winners), (1, SeatSet::EMPTY));
        assert!(steps >= 4 + 4);
    }

    #[test]
    fn in_four_rotated_games_everybody_has_sat_everywhere() {
        for seat in Seat::ALL {
            let players: SeatSet = (0..4).map(|number| SERIES.players_at(number)[seat]).collect();
            assert_eq!(players.len(), 4);
        }
        assert_eq!(SERIES.players_at(1)[Seat::Two], Seat::One, "who sat on seat 1 moves on to seat 2");
    }

    #[test]
    fn shares_of_wins_add_up_to_the_games_won() {
        let mut halves = [Tally::default(); 2];
        let mut whole = Tally::default();
        for number in 0..64 {
            // Nobody, one, two, three or four winners.
            let winners = Seat::ALL.into_iter().take(usize::try_from(number % 5).unwrap()).collect();
            let outcome = Outcome { winners, rounds: 9, totals: BySeat::default(), met: BySeat::new([1, 2, 3, 4]) };
            for tally in [&mut halves[usize::from(number < 20)], &mut whole] {
                tally.count(&SERIES.players_at(number), &outcome, 250);
            }
        }
        let [mut sum, second] = halves;
        sum.add(&second);
        assert_eq!(sum, whole);
        assert_eq!(whole.by_player.iter().map(|r| r.win_twelfths).sum::<u64>(), 12 * (64 - whole.abandoned));
        assert_eq!(whole.abandoned, 13);
        assert_eq!(whole.by_player.iter().map(|r| r.met).sum::<u64>(), 10 * 64);
    }
}
