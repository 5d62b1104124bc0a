//! A running game at a table: what is shown for how long, who is waited for, and what is kept of it.

use std::time::Duration;

use crate::archive::{GameId, GameTime, Move, Takeover};
use crate::game::{Action, ActionError, BySeat, DealProof, Event, Game, Phase, Seat, TurnResult};
use crate::protocol::{TableEvent, WonTurn};

use super::Time;
use super::event_history::EventHistory;
use super::snapshot::{EventBytes, event_bytes, passed_bytes};

/// What the table shows. Players can act in `Asking`, `Declaring` and `Turning`; the others pass by themselves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stage {
    /// Tiles are on their way.
    Dealing,
    /// They lie there, and nobody is asked about them.
    Dealt,
    /// Weak hands are asked.
    Asking,
    /// Who starts the round.
    RoundStart,
    Declaring,
    /// All have declared.
    Declared,
    Turning,
    /// Four plays lie open.
    Revealed,
    /// Somebody has won them.
    TurnWon,
    Scoring,
    Over,
}

impl Stage {
    /// How long it lasts at pace 1; `None` where players are waited for (protocol, section 7).
    pub(super) const fn pause(self, redealt: bool) -> Option<Duration> {
        let ms = match self {
            Self::Dealing => 2_000,
            // Together with the dealing: time enough for the existing client's animation of 3.5 s.
            Self::Dealt if redealt => 4_000,
            Self::Dealt => 1_600,
            Self::RoundStart => 5_000,
            Self::Declared => 500,
            Self::Revealed => 5_000,
            Self::TurnWon | Self::Scoring => 7_000,
            Self::Asking | Self::Declaring | Self::Turning | Self::Over => return None,
        };
        Some(Duration::from_millis(ms))
    }

    /// Whether players' actions are taken.
    pub(super) const fn is_acting(self) -> bool {
        matches!(self, Self::Asking | Self::Declaring | Self::Turning)
    }
}

/// A bot that makes up its mind.
#[derive(Debug, Clone, Copy)]
pub(super) struct PendingDecision {
    /// It acts no sooner.
    pub(super) due: Time,
    /// Tells its answer from an older one's.
    pub(super) ticket: u32,
    /// What it will do, once it knows.
    pub(super) action: Option<Action>,
}

/// A decision that takes this much longer than it should is not waited for any more.
const LOST_IN_THOUGHT: Duration = Duration::from_secs(2);

impl PendingDecision {
    /// When it acts, or is lost in thought.
    pub(super) fn wakes_at(&self) -> Time {
        match self.action {
            Some(_) => self.due,
            None => self.due + LOST_IN_THOUGHT,
        }
    }
}

/// Absences that a record tells of one by one.
const MOST_TAKEOVERS: usize = 1_000;

/// A running game at a table.
#[derive(Debug)]
pub(super) struct Playing {
    pub(super) game: Game,
    pub(super) game_id: GameId,
    pub(super) proof: DealProof,
    pub(super) started_at: Time,
    pub(super) stage: Stage,
    /// When the stage passes; for `Asking`, when the question ends.
    pub(super) stage_ends: Option<Time>,
    /// When the stage began: what a countdown counts from.
    pub(super) stage_began: Time,
    /// When the one whose move it is will be played for.
    pub(super) turn_ends: Option<Time>,
    pub(super) thinking: BySeat<Option<PendingDecision>>,
    pub(super) last_ticket: u32,
    pub(super) last_turn: Option<TurnResult>,
    pub(super) moves: Vec<Move>,
    /// Moves and passed stages as the journal keeps them.
    pub(super) events: Vec<u8>,
    pub(super) takeovers: Vec<Takeover>,
    /// When it found its winners. Kept, so that its record is the same whenever it is made.
    pub(super) ended_at: Option<Time>,
    /// Each round's points and the totals after it.
    pub(super) scores: Vec<(BySeat<i32>, BySeat<i32>)>,
    /// What all may know of what happened.
    pub(super) event_history: EventHistory,
}

impl Playing {
    /// A game that begins now, of which the last `most_told` events are told again.
    pub(super) fn new(game_id: GameId, proof: DealProof, now: Time, most_told: usize) -> Self {
        let mut event_history = EventHistory::new(most_told);
        event_history.tell(GameTime::START, 1, TableEvent::Dealt { multiplier: 1 });
        Self {
            game: Game::new(proof.deal_seed()),
            game_id,
            proof,
            started_at: now,
            stage: Stage::Dealing,
            stage_ends: None,
            stage_began: now,
            turn_ends: None,
            thinking: BySeat::default(),
            last_ticket: 0,
            last_turn: None,
            moves: Vec::new(),
            events: Vec::new(),
            takeovers: Vec::new(),
            ended_at: None,
            scores: Vec::new(),
            event_history,
        }
    }

    /// `now` as the record counts it. Never before the last move: the clock of a machine may have gone back while it was
    /// off, and a game whose moves go back in time is none.
    pub(super) fn game_time(&self, now: Time) -> GameTime {
        let now = GameTime::from_ms(u64::try_from(now.since(self.started_at).as_millis()).unwrap_or(u64::MAX));
        self.last_move_at().max(now)
    }

    /// How long it has taken by now, in milliseconds; no less than its moves.
    pub(super) fn duration_ms(&self, now: Time) -> u64 {
        let passed = u64::try_from(now.since(self.started_at).as_millis()).unwrap_or(u64::MAX);
        passed.max(u64::from(self.last_move_at().hundredths()) * 10)
    }

    fn last_move_at(&self) -> GameTime {
        self.moves.last().map_or(GameTime::START, |last| last.at)
    }

    /// Whether its moves lead to winners, whatever of that has been shown.
    pub(super) fn is_decided(&self) -> bool {
        let mut game = self.game.clone();
        while game.advance() {}
        game.winners().is_some()
    }

    /// Whether the last deal was a redeal of a running round.
    pub(super) fn is_redealt(&self) -> bool {
        self.game.public().multiplier > 1
    }

    /// Whether this seat has done the like already, and the table still shows that: a second tap, or one that comes after
    /// time was up and a bot has moved.
    pub(super) fn is_late(&self, seat: Seat, action: &Action) -> bool {
        let public = self.game.public();
        match (action, self.stage, self.game.phase()) {
            (Action::AnswerRedeal(_), Stage::Asking, Phase::Redeal { accepted, declined, .. }) => {
                accepted.contains(seat) || declined.contains(seat)
            }
            // All have answered. After a redeal nothing says any more who was asked.
            (Action::AnswerRedeal(_), Stage::Dealing, _) => self.is_redealt(),
            (Action::AnswerRedeal(_), Stage::RoundStart, _) => public.weak.contains(seat),
            (Action::Declare(_), Stage::Declaring | Stage::Declared, _) => public.declared[seat].is_some(),
            (Action::Play(_), Stage::Turning, Phase::Follow(table)) => table.play_of(seat).is_some(),
            (Action::Play(_), Stage::Revealed | Stage::TurnWon, _) => true,
            _ => false,
        }
    }

    /// Carries out a player's action and keeps it. Returns whether that led to another stage.
    pub(super) fn act(&mut self, next: Move) -> Result<bool, ActionError> {
        if !self.stage.is_acting() {
            return Err(ActionError::WrongPhase);
        }
        let event = self.game.apply(next.seat, next.action)?;
        let last = self.last_move_at();
        self.events.extend_from_slice(&event_bytes(&next, self.game.dealt(next.seat), last));
        self.moves.push(next);
        self.tell_of(&next);
        self.thinking[next.seat] = None;
        self.turn_ends = None;
        let stage = match (event, self.game.phase()) {
            (Event::Redealt, _) => Stage::Dealing,
            (Event::HandsKept, _) => Stage::RoundStart,
            (Event::Declared, Phase::Lead { .. }) => Stage::Declared,
            (Event::Revealed, &Phase::Revealed(result)) => {
                self.last_turn = Some(result);
                Stage::Revealed
            }
            _ => return Ok(false),
        };
        self.enter(stage);
        Ok(true)
    }

    /// All learn of a move what they may: of an answer nothing, of a play how many pieces it has.
    fn tell_of(&mut self, next: &Move) {
        match next.action {
            Action::AnswerRedeal(_) => {}
            Action::Declare(declaration) => self.tell(TableEvent::Declared { seat: next.seat, declaration }),
            Action::Play(pieces) => self.tell(TableEvent::Played { seat: next.seat, count: pieces.len() }),
        }
    }

    /// Another stage begins, and with it all learn something.
    fn enter(&mut self, stage: Stage) {
        self.stage = stage;
        let public = self.game.public();
        let event = match (stage, public.starter, self.last_turn) {
            (Stage::Dealing, ..) => Some(TableEvent::Dealt { multiplier: public.multiplier }),
            (Stage::RoundStart, Some((starter, reason)), _) => Some(TableEvent::RoundStarted { starter, reason }),
            (Stage::TurnWon, _, Some(result)) => {
                Some(TableEvent::TurnWon(Box::new(WonTurn { number: public.turn.into(), result })))
            }
            (Stage::Scoring, ..) => self.scores.last().map(|&scored| TableEvent::Scored(Box::new(scored))),
            _ => None,
        };
        if let Some(event) = event {
            self.tell(event);
        }
    }

    /// A stage that passes has no time of its own in the journal: what it tells has that of the move before.
    fn tell(&mut self, event: TableEvent) {
        let at = self.last_move_at();
        self.event_history.tell(at, self.game.public().round, event);
    }

    /// The present stage's pause is over: takes the step of the rules that goes with it, and enters the next stage.
    pub(super) fn pass(&mut self) {
        self.events.extend_from_slice(&passed_bytes());
        let stage = match self.stage {
            Stage::Dealing if matches!(self.game.phase(), Phase::Redeal { .. }) => Stage::Asking,
            Stage::Dealing => Stage::Dealt,
            Stage::Dealt => Stage::RoundStart,
            Stage::RoundStart => Stage::Declaring,
            Stage::Declared => Stage::Turning,
            Stage::Revealed => {
                self.game.advance();
                Stage::TurnWon
            }
            Stage::TurnWon if *self.game.phase() == Phase::Played => {
                self.game.advance();
                if let Phase::Scored { scores } = self.game.phase() {
                    self.scores.push((scores.map(|score| score.points()), self.game.public().totals));
                }
                Stage::Scoring
            }
            Stage::TurnWon => Stage::Turning,
            Stage::Scoring => {
                self.game.advance();
                if self.game.winners().is_some() { Stage::Over } else { Stage::Dealing }
            }
            acting @ (Stage::Asking | Stage::Declaring | Stage::Turning | Stage::Over) => acting,
        };
        self.enter(stage);
    }

    /// The stored form of what happened since `from`, a length of [`events`](Self::events).
    pub(super) fn events_since(&self, from: usize) -> EventBytes {
        self.events.get(from..).unwrap_or_default().iter().copied().take(EventBytes::new().capacity()).collect()
    }

    /// A bot plays for this seat from now on. Where the player was back without a move of anybody's, or goes for the
    /// thousandth time, his last absence goes on: no coming and going makes a record too long to be kept.
    pub(super) fn begin_takeover(&mut self, seat: Seat, now: Time) {
        let from = self.game_time(now);
        let (last_move, is_full) = (self.last_move_at(), self.takeovers.len() >= MOST_TAKEOVERS);
        let last = self.takeovers.iter_mut().rev().find(|takeover| takeover.seat == seat);
        match last.filter(|last| is_full || last.to.is_some_and(|to| to > last_move)) {
            Some(last) => last.to = None,
            None if is_full => {}
            None => self.takeovers.push(Takeover { seat, from, to: None }),
        }
        self.event_history.tell(from, self.game.public().round, TableEvent::Left(seat));
    }

    /// The player is back. Once the game is over there is nothing left to decide, and its record has been made.
    pub(super) fn end_takeover(&mut self, seat: Seat, now: Time) {
        if self.ended_at.is_some() {
            return;
        }
        let now = self.game_time(now);
        if let Some(takeover) = self.takeovers.iter_mut().rev().find(|takeover| takeover.seat == seat) {
            takeover.to.get_or_insert(now.max(takeover.from));
            self.event_history.tell(now, self.game.public().round, TableEvent::Returned(seat));
        }
    }
}
