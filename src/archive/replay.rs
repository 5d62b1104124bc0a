//! Plays a record again by the rules, and writes the public form of the game.

use super::json::{AnswerJson, DealJson, DeclarationJson, GameJson, PieceName, PlayJson, RoundJson, TurnJson};
use super::record::{Ended, GameRecord, GameTime, Move};
use crate::game::{Action, ActionError, DealProof, Game, Outcome, Phase, Play, RoundScore, Seat};

/// Why a record is not a game. Moves are counted from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ReplayError {
    /// A move that the rules forbid.
    #[error("move {number}, by seat {seat}, is against the rules: {rule}")]
    Illegal {
        /// Which move.
        number: usize,
        /// Whose move.
        seat: Seat,
        /// The rule it breaks.
        rule: ActionError,
    },
    /// There are moves after the end of the game.
    #[error("the game is over before move {number}")]
    AfterTheEnd {
        /// The first move too many.
        number: usize,
    },
    /// A move has an earlier time than the one before it.
    #[error("move {number} happened before the move before it")]
    TimeGoesBack {
        /// Which move.
        number: usize,
    },
    /// The moves end, and nobody has won.
    #[error("the game is said to be won, but nobody has won after {moves} moves")]
    NotWon {
        /// How many moves there are.
        moves: usize,
    },
    /// The game was won, and the record says it was not.
    #[error("the game is said to be abandoned, but it was won")]
    NotAbandoned,
}

/// A game that is being played again, one move at a time.
pub(super) struct Replayer {
    game: Game,
    outcome: Outcome,
    moves: usize,
    last: GameTime,
}

impl Replayer {
    /// The game as its first hands are dealt.
    pub(super) fn new(proof: &DealProof) -> Self {
        let game = Game::new(proof.deal_seed());
        Self { game, outcome: Outcome::default(), moves: 0, last: GameTime::START }
    }

    /// The game, waiting for a player or over.
    pub(super) fn game(&self) -> &Game {
        &self.game
    }

    /// Carries out the next move and all that follows without a player. Calls `seen` after each step.
    pub(super) fn apply(&mut self, next: Move, mut seen: impl FnMut(&Game)) -> Result<(), ReplayError> {
        let Move { seat, action, at } = next;
        self.moves += 1;
        let number = self.moves;
        if self.game.winners().is_some() {
            return Err(ReplayError::AfterTheEnd { number });
        }
        if at < self.last {
            return Err(ReplayError::TimeGoesBack { number });
        }
        self.last = at;
        self.game.apply(seat, action).map_err(|rule| ReplayError::Illegal { number, seat, rule })?;
        loop {
            seen(&self.game);
            if let Phase::Scored { scores } = self.game.phase() {
                self.outcome.count(scores);
            }
            if !self.game.advance() {
                return Ok(());
            }
        }
    }

    /// What the moves led to, if that agrees with how the game is said to have ended.
    pub(super) fn finish(mut self, ended: Ended) -> Result<Outcome, ReplayError> {
        match (ended, self.game.winners()) {
            (Ended::Won, None) => return Err(ReplayError::NotWon { moves: self.moves }),
            (Ended::Abandoned, Some(_)) => return Err(ReplayError::NotAbandoned),
            (Ended::Won, Some(winners)) => self.outcome.winners = winners,
            (Ended::Abandoned, None) => {}
        }
        Ok(self.outcome)
    }
}

/// Plays a record again and gives its public form: every deal, turn and score.
///
/// # Errors
/// [`ReplayError`] if the record is no game by the rules: a forbidden move, one too many, or not the end it claims.
pub fn replay(record: &GameRecord) -> Result<GameJson, ReplayError> {
    let mut replayer = Replayer::new(&record.proof);
    let mut transcript = Transcript::default();
    transcript.write_state(replayer.game());
    for &next in &record.moves {
        transcript.write_move(next);
        replayer.apply(next, |game| transcript.write_state(game))?;
    }
    let outcome = replayer.finish(record.ended)?;
    // Of a game that was abandoned between two rounds, the next deal saw no action and is left out.
    transcript
        .rounds
        .pop_if(|round| round.declarations.is_empty() && round.deals.iter().all(|deal| deal.answers.is_empty()));
    Ok(GameJson::new(record, transcript.rounds, &outcome))
}

/// Plays a record again and gives only what it led to.
///
/// # Errors
/// As [`replay`].
pub fn outcome(record: &GameRecord) -> Result<Outcome, ReplayError> {
    let mut replayer = Replayer::new(&record.proof);
    for &next in &record.moves {
        replayer.apply(next, |_| ())?;
    }
    replayer.finish(record.ended)
}

/// The rounds of a game in the public form, written while it is played again.
#[derive(Default)]
struct Transcript {
    rounds: Vec<RoundJson>,
}

impl Transcript {
    /// Writes a move. If the rules then forbid it, the replay ends and the transcript is dropped.
    fn write_move(&mut self, next: Move) {
        let Some(round) = self.rounds.last_mut() else { return };
        let Move { seat, action, at } = next;
        match action {
            Action::AnswerRedeal(accept) => {
                if let Some(deal) = round.deals.last_mut() {
                    deal.answers.push(AnswerJson { seat: seat.into(), accept, at });
                }
            }
            Action::Declare(declaration) => {
                let value = declaration.piles();
                round.declarations.push(DeclarationJson { seat: seat.into(), value, at });
            }
            Action::Play(pieces) => {
                if round.turns.last().is_none_or(|turn| turn.plays.len() == 4) {
                    let turn = u8::try_from(round.turns.len() + 1).unwrap_or(u8::MAX);
                    round.turns.push(TurnJson {
                        turn,
                        starter: seat.into(),
                        plays: Vec::new(),
                        winner: None,
                        piles: None,
                    });
                }
                if let Some(turn) = round.turns.last_mut() {
                    turn.plays.push(PlayJson {
                        seat: seat.into(),
                        pieces: pieces.iter().map(PieceName::from).collect(),
                        play_type: Play::classify(pieces).map_or("INVALID", |play| play.kind().into()).into(),
                        at,
                    });
                }
            }
        }
    }

    /// Writes what followed from the last move.
    fn write_state(&mut self, game: &Game) {
        let public = game.public();
        let deal = || DealJson {
            hands: Seat::ALL.map(|seat| game.dealt(seat).iter().copied().map(PieceName::from).collect()),
            weak: public.weak.iter().map(Into::into).collect(),
            answers: Vec::new(),
        };
        if self.rounds.last().is_none_or(|round| round.round < public.round) {
            let deals = vec![deal()];
            self.rounds.push(RoundJson { round: public.round, deals, multiplier: 1, ..RoundJson::default() });
        }
        let Some(round) = self.rounds.last_mut() else { return };
        if round.multiplier < public.multiplier {
            round.multiplier = public.multiplier;
            round.deals.push(deal());
        }
        if let Some((starter, reason)) = public.starter {
            round.starter = Some(starter.into());
            round.starter_reason = Some(<&str>::from(reason).into());
        }
        round.captured = public.captured.into_array();
        match game.phase() {
            Phase::Revealed(result) => {
                if let Some(turn) = round.turns.last_mut() {
                    turn.winner = Some(result.winner.into());
                    turn.piles = Some(result.piles());
                }
            }
            Phase::Scored { scores } => {
                round.scores = Some(scores.map(RoundScore::points).into_array());
                round.totals = Some(public.totals.into_array());
            }
            _ => {}
        }
    }
}
