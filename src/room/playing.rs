//! A running game at a table: its stages and their pauses, pending decisions, and what is recorded of it.

use std::time::Duration;

use crate::archive::{GameId, GameTime, Move, Takeover};
use crate::game::{Action, ActionError, BySeat, DealProof, Event, Game, Phase, Seat, SeatSet, TurnResult};
use crate::protocol::{TableEvent, Tempo, WonTurn};

use super::event_codec::{move_bytes, stage_passed_bytes};
use super::event_history::EventHistory;
use super::{EventBytes, Time};

/// What the table shows. Players act in `Asking`, `Declaring` and `Turning`; the other stages pass by themselves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stage {
    /// The tiles are being dealt.
    Dealing,
    /// The tiles are dealt, and no hand is weak.
    Dealt,
    /// Players with weak hands are asked about a redeal.
    Asking,
    /// Shows who starts the round.
    RoundStart,
    Declaring,
    /// All have declared.
    Declared,
    Turning,
    /// All four plays are shown.
    Revealed,
    /// Shows who won the turn.
    TurnWon,
    Scoring,
    Over,
}

impl Stage {
    /// How long the stage lasts at pace 1; `None` where the table waits for players (protocol, section 7).
    pub(super) const fn pause(self, tempo: Tempo, redealt: bool) -> Option<Duration> {
        let [tea, normal, blitz] = match self {
            Self::Dealing => [2_000, 1_000, 500],
            // Together with the dealing this covers the existing client's animation of 3.5 s.
            Self::Dealt if redealt => [4_000, 1_500, 700],
            Self::Dealt => [1_600, 600, 300],
            Self::RoundStart => [5_000, 1_200, 600],
            Self::Declared => [500, 300, 150],
            Self::Revealed => [5_000, 1_500, 800],
            Self::TurnWon => [7_000, 700, 400],
            Self::Scoring => [7_000, 6_000, 3_500],
            Self::Asking | Self::Declaring | Self::Turning | Self::Over => return None,
        };
        let ms = match tempo {
            Tempo::Tea => tea,
            Tempo::Normal => normal,
            Tempo::Blitz => blitz,
        };
        Some(Duration::from_millis(ms))
    }

    /// Whether something is shown that players may have seen before the pause ends.
    pub(super) const fn is_result(self) -> bool {
        matches!(self, Self::Revealed | Self::TurnWon | Self::Scoring)
    }

    /// Whether players can act.
    pub(super) const fn is_acting(self) -> bool {
        matches!(self, Self::Asking | Self::Declaring | Self::Turning)
    }
}

/// A bot's decision, while it is awaited.
#[derive(Debug, Clone, Copy)]
pub(super) struct PendingDecision {
    /// The bot acts no sooner than this.
    pub(super) due: Time,
    /// Distinguishes the answer from an older one.
    pub(super) ticket: u32,
    /// What the bot will do, once it has decided.
    pub(super) action: Option<Action>,
}

/// How long after its due time a decision is still awaited.
const DECISION_TIMEOUT: Duration = Duration::from_secs(2);

impl PendingDecision {
    /// When the bot acts, or its decision times out.
    pub(super) fn wakes_at(&self) -> Time {
        match self.action {
            Some(_) => self.due,
            None => self.due + DECISION_TIMEOUT,
        }
    }
}

/// How many takeovers a record lists.
const TAKEOVERS_MAX: usize = 1_000;

/// A running game at a table.
#[derive(Debug)]
pub(super) struct Playing {
    pub(super) game: Game,
    pub(super) game_id: GameId,
    pub(super) proof: DealProof,
    pub(super) started_at: Time,
    pub(super) stage: Stage,
    /// When the stage passes; for `Asking`, when the redeal times out.
    pub(super) stage_ends: Option<Time>,
    /// When the stage began.
    pub(super) stage_began: Time,
    /// When a bot moves for the player who is to move.
    pub(super) turn_ends: Option<Time>,
    /// Who has seen what this stage shows.
    pub(super) seen: SeatSet,
    pub(super) thinking: BySeat<Option<PendingDecision>>,
    pub(super) last_ticket: u32,
    pub(super) last_turn: Option<TurnResult>,
    pub(super) moves: Vec<Move>,
    /// Moves and passed stages in their stored form.
    pub(super) events: Vec<u8>,
    pub(super) takeovers: Vec<Takeover>,
    /// When the game found its winners. Stored, so that a record made again is the same.
    pub(super) ended_at: Option<Time>,
    /// Each round's points and the totals after it.
    pub(super) scores: Vec<(BySeat<i32>, BySeat<i32>)>,
    /// The public events.
    pub(super) event_history: EventHistory,
}

impl Playing {
    /// A game that begins now and keeps its last `history_events` public events.
    pub(super) fn new(game_id: GameId, proof: DealProof, now: Time, history_events: usize) -> Self {
        let mut event_history = EventHistory::new(history_events);
        event_history.push(GameTime::START, 1, TableEvent::Dealt { multiplier: 1 });
        Self {
            game: Game::new(proof.deal_seed()),
            game_id,
            proof,
            started_at: now,
            stage: Stage::Dealing,
            stage_ends: None,
            stage_began: now,
            turn_ends: None,
            seen: SeatSet::EMPTY,
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

    /// `now` in the record's time. Never before the last move: the machine's clock may have been set back while it was off,
    /// and a record's moves must not go back in time.
    pub(super) fn game_time(&self, now: Time) -> GameTime {
        let now = GameTime::from_ms(u64::try_from(now.since(self.started_at).as_millis()).unwrap_or(u64::MAX));
        self.last_move_at().max(now)
    }

    /// The game's duration until `now` in milliseconds; not less than the time of its last move.
    pub(super) fn duration_ms(&self, now: Time) -> u64 {
        let passed = u64::try_from(now.since(self.started_at).as_millis()).unwrap_or(u64::MAX);
        passed.max(u64::from(self.last_move_at().hundredths()) * 10)
    }

    fn last_move_at(&self) -> GameTime {
        self.moves.last().map_or(GameTime::START, |last| last.at)
    }

    /// Whether the moves lead to winners, even if the table has not shown that yet.
    pub(super) fn is_decided(&self) -> bool {
        let mut game = self.game.clone();
        while game.advance() {}
        game.winners().is_some()
    }

    /// Whether the last deal was a redeal of a running round.
    pub(super) fn is_redealt(&self) -> bool {
        self.game.public().multiplier > 1
    }

    /// Whether this seat has already made such a move and the table still shows it: a second tap, or one that arrives after
    /// a bot has moved for the player.
    pub(super) fn is_late(&self, seat: Seat, action: &Action) -> bool {
        let public = self.game.public();
        match (action, self.stage, self.game.phase()) {
            (Action::AnswerRedeal(_), Stage::Asking, Phase::Redeal { accepted, declined, .. }) => {
                accepted.contains(seat) || declined.contains(seat)
            }
            // All have answered. After a redeal it is no longer known who was asked.
            (Action::AnswerRedeal(_), Stage::Dealing, _) => self.is_redealt(),
            (Action::AnswerRedeal(_), Stage::RoundStart, _) => public.weak.contains(seat),
            (Action::Declare(_), Stage::Declaring | Stage::Declared, _) => public.declared[seat].is_some(),
            (Action::Play(_), Stage::Turning, Phase::Follow(table)) => table.play_of(seat).is_some(),
            (Action::Play(_), Stage::Revealed | Stage::TurnWon, _) => true,
            _ => false,
        }
    }

    /// Carries out and records an action. Returns whether another stage begins.
    pub(super) fn act(&mut self, next: Move) -> Result<bool, ActionError> {
        if !self.stage.is_acting() {
            return Err(ActionError::WrongPhase);
        }
        let event = self.game.apply(next.seat, next.action)?;
        let last = self.last_move_at();
        self.events.extend_from_slice(&move_bytes(&next, self.game.dealt(next.seat), last));
        self.moves.push(next);
        // The move becomes a public event: of a redeal's answer nothing, of a play only the number of pieces.
        match next.action {
            Action::AnswerRedeal(_) => {}
            Action::Declare(declaration) => self.note(TableEvent::Declared { seat: next.seat, declaration }),
            Action::Play(pieces) => self.note(TableEvent::Played { seat: next.seat, count: pieces.len() }),
        }
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

    /// Begins a stage and notes its public event.
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
            self.note(event);
        }
    }

    /// Adds a public event. A passed stage has no time of its own in the journal, so events have the last move's time.
    fn note(&mut self, event: TableEvent) {
        let at = self.last_move_at();
        self.event_history.push(at, self.game.public().round, event);
    }

    /// Ends the present stage: takes its step of the rules and enters the next stage.
    pub(super) fn pass(&mut self) {
        self.events.extend_from_slice(&stage_passed_bytes());
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

    /// The stored events after `from`, an earlier length of [`events`](Self::events).
    pub(super) fn events_since(&self, from: usize) -> EventBytes {
        self.events.get(from..).unwrap_or_default().iter().copied().take(EventBytes::new().capacity()).collect()
    }

    /// A bot plays for this seat from now on. If there was no move since the player's last return, or the list is full, the
    /// last takeover continues, so that reconnecting again and again cannot make a record too long.
    pub(super) fn begin_takeover(&mut self, seat: Seat, now: Time) {
        let from = self.game_time(now);
        let (last_move, is_full) = (self.last_move_at(), self.takeovers.len() >= TAKEOVERS_MAX);
        let last = self.takeovers.iter_mut().rev().find(|takeover| takeover.seat == seat);
        match last.filter(|last| is_full || last.to.is_some_and(|to| to > last_move)) {
            Some(last) => last.to = None,
            None if is_full => {}
            None => self.takeovers.push(Takeover { seat, from, to: None }),
        }
        self.event_history.push(from, self.game.public().round, TableEvent::Left(seat));
    }

    /// The player is back. Does nothing once the game is over, because its record has been made.
    pub(super) fn end_takeover(&mut self, seat: Seat, now: Time) {
        if self.ended_at.is_some() {
            return;
        }
        let now = self.game_time(now);
        if let Some(takeover) = self.takeovers.iter_mut().rev().find(|takeover| takeover.seat == seat) {
            takeover.to.get_or_insert(now.max(takeover.from));
            self.event_history.push(now, self.game.public().round, TableEvent::Returned(seat));
        }
    }
}
