//! What a [`Room`] does while its game runs: stages and their pauses, decisions of players, and bots that play for them.

use std::time::Duration;

use rand::RngExt;

use super::event_history::EventHistory;
use super::playing::{PendingDecision, Playing, Stage};
use super::room::State;
use super::seats::{Human, Occupant, Presence};
use super::{ConnectionId, Effect, Lifecycle, Note, Room, RoomEvent, Time};
use crate::archive::{Ended, Move};
use crate::game::{Action, ActionError, BySeat, Declaration, Level, Phase, PieceSet, Seat, SeatSet, View, choose};
use crate::protocol::server_message::{self, RoomClosed};
use crate::protocol::table_message::{Countdown, Ending, TablePhase, TablePlayer, TableState};
use crate::protocol::{Broadcast, ErrorType, Frame, recovery_response};

/// How long players with weak hands may think about a redeal (rules, section 4). Not paced, like every wait for a person.
const REDEAL_TIMEOUT: Duration = Duration::from_secs(30);
/// How long bots think at pace 1, in milliseconds (rules, section 11).
const BOT_THINKS_MS: std::ops::Range<u64> = 500..1_500;

impl Room {
    /// One of the server's own pauses, at the configured pace.
    fn paced(&self, pause: Duration) -> Duration {
        Duration::try_from_secs_f64(pause.as_secs_f64() * self.options.game_pace).unwrap_or(Duration::MAX)
    }

    /// The host has started the game: the first hands are dealt.
    pub(super) fn begin(&mut self, playing: Playing, now: Time) {
        self.state = State::Playing(Box::new(playing));
        self.journal_snapshot();
        self.enter_stage(now);
    }

    // Stages.

    /// A stage has begun: starts its clocks and shows everyone the table.
    fn enter_stage(&mut self, now: Time) {
        self.resume(now);
        self.show_table(now);
    }

    /// Starts the clocks of the present stage, all with their full time.
    pub(super) fn resume(&mut self, now: Time) {
        let Some(playing) = self.playing() else {
            return;
        };
        let ends = match playing.stage {
            Stage::Asking => Some(now + REDEAL_TIMEOUT),
            // A finished game stays for players who look at its result, but not for ever.
            Stage::Over => Some(now + self.options.gc_completed_games_after),
            stage => stage.pause(self.tempo, playing.is_redealt()).map(|pause| now + self.paced(pause)),
        };
        if let Some(playing) = self.playing_mut() {
            playing.stage_ends = ends;
            playing.stage_began = now;
            playing.turn_ends = None;
            playing.seen = SeatSet::EMPTY;
            playing.thinking = BySeat::default();
        }
        self.await_decisions(now);
    }

    /// A game has found its winners. It is archived; the room stays for players who look at the result.
    pub(super) fn game_is_over(&mut self, now: Time) {
        let Some(playing) = self.playing_mut() else {
            return;
        };
        let ended_at = *playing.ended_at.get_or_insert(now);
        self.journal_snapshot();
        self.archive_game(Ended::Won, ended_at);
        self.closes_at = None;
        self.schedule_empty_close(now);
    }

    /// Waits for the seats that have to decide: bots begin to think, and a player's clock starts.
    fn await_decisions(&mut self, now: Time) {
        let Some(playing) = self.playing().filter(|playing| playing.stage.is_acting()) else {
            return;
        };
        let is_redeal = playing.stage == Stage::Asking;
        let mut turn_ends = playing.turn_ends;
        for seat in playing.game.to_move().iter() {
            match self.seats.bot_level(seat) {
                Some(level) => self.begin_thinking(seat, level, now),
                None if !is_redeal => {
                    turn_ends = turn_ends.or_else(|| Some(now + self.options.turn_timeout?));
                }
                // The redeal has its own timeout.
                None => {}
            }
        }
        if let Some(playing) = self.playing_mut() {
            playing.turn_ends = turn_ends;
        }
    }

    fn begin_thinking(&mut self, seat: Seat, level: Level, now: Time) {
        let thinks = Duration::from_millis(self.rng.random_range(BOT_THINKS_MS));
        let pause = self.paced(thinks);
        let State::Playing(playing) = &mut self.state else {
            return;
        };
        if playing.thinking[seat].is_some() {
            return;
        }
        playing.last_ticket = playing.last_ticket.wrapping_add(1);
        let ticket = playing.last_ticket;
        let view = View::of(&playing.game, seat);
        let action = match level {
            Level::Easy | Level::Normal => Some(choose(level, &view, &mut self.rng)),
            Level::Hard => {
                self.effects.push(Effect::Think { seat, ticket, level, view: Box::new(view) });
                None
            }
        };
        playing.thinking[seat] = Some(PendingDecision { due: now + pause, ticket, action });
    }

    /// A bot's decision has arrived. The bot acts when it is due.
    pub(super) fn bot_decided(&mut self, seat: Seat, ticket: u32, action: Action, now: Time) {
        if let Some(playing) = self.playing_mut()
            && let Some(thinking) = playing.thinking[seat].as_mut().filter(|thinking| thinking.ticket == ticket)
        {
            thinking.action = Some(action);
        }
        self.wake_table(now);
    }

    /// When [`wake_table`](Self::wake_table) has something to do.
    pub(super) fn wake_table_at(&self) -> Option<Time> {
        let playing = self.playing()?;
        let bots = playing.thinking.iter().flatten().map(PendingDecision::wakes_at).min();
        [playing.stage_ends, playing.turn_ends, bots].into_iter().flatten().min()
    }

    /// Does one thing that is due at the table. One only, so that a room without pauses does not occupy its thread, and its
    /// messages do not outrun slow readers.
    pub(super) fn wake_table(&mut self, now: Time) {
        let Some(playing) = self.playing().filter(|_| self.lifecycle == Lifecycle::Live) else {
            return;
        };
        let due = playing.thinking.pairs().find_map(|(seat, thinking)| {
            let thinking = thinking.filter(|thinking| thinking.wakes_at() <= now)?;
            Some((seat, thinking.action, View::of(&playing.game, seat)))
        });
        if let Some((seat, action, view)) = due {
            // No bot stalls the game: after its timeout a normal bot decides for it.
            let action = action.unwrap_or_else(|| choose(Level::Normal, &view, &mut self.rng));
            return self.act_for(seat, action, now);
        }
        if playing.turn_ends.is_some_and(|ends| ends <= now) {
            return self.act_for_timed_out(now);
        }
        if playing.stage_ends.is_some_and(|ends| ends <= now) {
            match playing.stage {
                Stage::Asking => self.decline_unanswered_redeal(now),
                Stage::Over => self.close(RoomClosed::Finished, now),
                _ => self.pass(now),
            }
        }
    }

    /// The stage's pause is over: the table goes to the next stage.
    fn pass(&mut self, now: Time) {
        let Some(playing) = self.playing_mut() else {
            return;
        };
        let before = playing.events.len();
        playing.pass();
        let event = playing.events_since(before);
        self.effects.push(Effect::Journal(Note::Event(event)));
        if self.playing().is_some_and(|playing| playing.stage == Stage::Over) {
            self.game_is_over(now);
        }
        self.enter_stage(now);
    }

    // Decisions.

    pub(super) fn answer_redeal(&mut self, id: ConnectionId, seat: Seat, accept: bool, now: Time) {
        let name = self.seats.name(seat).to_owned();
        if self.decide(id, seat, Ok(Action::AnswerRedeal(accept)), now) {
            self.send(id, server_message::redeal_response_success(&name, accept));
        }
    }

    pub(super) fn declare(&mut self, id: ConnectionId, seat: Seat, value: Declaration, now: Time) {
        self.decide(id, seat, Ok(Action::Declare(value)), now);
    }

    pub(super) fn play(&mut self, id: ConnectionId, seat: Seat, indices: &[u8], now: Time) {
        let Some(playing) = self.playing() else {
            return self.send(id, server_message::error(ErrorType::NotFound, "Game not found"));
        };
        // Indices refer to the hand as last sent. One invalid index makes the whole play invalid.
        let hand = playing.game.hand(seat);
        let pieces: Option<PieceSet> = indices.iter().map(|&index| hand.get(usize::from(index))).collect();
        self.decide(id, seat, pieces.map(Action::Play).ok_or(ActionError::NotHeld), now);
    }

    /// Carries out a player's decision and returns whether that succeeded. If not, the sender gets the reason and the table.
    /// A late decision gets no answer: what its sender wanted has happened, and an error would only confuse.
    fn decide(&mut self, id: ConnectionId, seat: Seat, action: Result<Action, ActionError>, now: Time) -> bool {
        let kind = action.unwrap_or(Action::Play(PieceSet::EMPTY));
        if self.playing().is_some_and(|playing| playing.is_late(seat, &kind)) {
            return false;
        }
        match action.and_then(|action| self.act(seat, action, now)) {
            Ok(()) => {
                self.last_activity = now;
                true
            }
            Err(error) => {
                self.refuse_action(id, &error.to_string(), now);
                false
            }
        }
    }

    fn refuse_action(&mut self, id: ConnectionId, reason: &str, now: Time) {
        if self.playing().is_none() {
            return self.send(id, server_message::error(ErrorType::NotFound, "Game not found"));
        }
        self.send(id, server_message::error(ErrorType::ActionRefused, reason));
        self.show_table_to(id, now);
    }

    /// Carries out a bot's decision, or one made for a player. It was made from the current view, so the rules allow it. If a
    /// bot is wrong all the same, the first legal action is taken instead.
    fn act_for(&mut self, seat: Seat, action: Action, now: Time) {
        let Err(error) = self.act(seat, action, now) else {
            return;
        };
        log::error!(room:% = self.id, seat = seat.number(); "a bot chose {action:?}: {error}");
        let fallback = self.playing().and_then(|playing| playing.game.legal_actions(seat).first().copied());
        if let Some(fallback) = fallback
            && let Err(error) = self.act(seat, fallback, now)
        {
            log::error!(room:% = self.id, seat = seat.number(); "a legal action was refused: {error}");
        }
    }

    /// Carries out an action and moves the table on.
    fn act(&mut self, seat: Seat, action: Action, now: Time) -> Result<(), ActionError> {
        let playing = self.playing_mut().ok_or(ActionError::WrongPhase)?;
        let at = playing.game_time(now);
        let before = playing.events.len();
        let has_moved_on = playing.act(Move { seat, action, at })?;
        let event = playing.events_since(before);
        self.effects.push(Effect::Journal(Note::Event(event)));
        if has_moved_on {
            self.enter_stage(now);
        } else {
            self.await_decisions(now);
            self.show_table(now);
        }
        Ok(())
    }

    /// A player's time is up: a bot makes this one move. This includes a player in the grace after a disconnect, who could
    /// otherwise hold up the others for ever.
    fn act_for_timed_out(&mut self, now: Time) {
        let Some(playing) = self.playing_mut() else {
            return;
        };
        playing.turn_ends = None;
        let views: Vec<_> = playing.game.to_move().iter().map(|seat| (seat, View::of(&playing.game, seat))).collect();
        for (seat, view) in views {
            if self.seats.human(seat).is_none() {
                continue;
            }
            if self.seats.bot_level(seat).is_none() {
                let announcement = server_message::player_timed_out(self.seats.name(seat));
                self.broadcast(&announcement);
                self.report(RoomEvent::PlayedFor);
            }
            let action = choose(Level::Normal, &view, &mut self.rng);
            self.act_for(seat, action, now);
        }
    }

    /// Declines the redeal for players who have not answered in time.
    fn decline_unanswered_redeal(&mut self, now: Time) {
        let unanswered = self.playing().map(|playing| playing.game.to_move()).unwrap_or_default();
        for seat in unanswered.iter() {
            self.act_for(seat, Action::AnswerRedeal(false), now);
        }
    }

    // Takeovers.

    /// A bot plays for this seat from now on, including a move that is due right now.
    pub(super) fn take_over(&mut self, seat: Seat, now: Time) {
        let Some(human) = self.seats.human_mut(seat) else {
            return;
        };
        human.presence = Presence::Away;
        let name = human.name.clone();
        self.schedule_empty_close(now);
        let Some(playing) = self.playing_mut().filter(|playing| playing.game.winners().is_none()) else {
            return;
        };
        playing.begin_takeover(seat, now);
        self.broadcast(&server_message::player_disconnected(name.as_str()));
        self.report(RoomEvent::Lost(seat, name.as_str().to_owned()));
        if seat == self.host {
            let person = self.seats.humans().find(|(_, human)| human.is_connected()).map(|(seat, _)| seat);
            let bot = || Seat::ALL.into_iter().find(|&seat| matches!(self.seats[seat], Occupant::Bot(_)));
            // With neither, all four players are away: the host's role waits until one returns.
            if let Some(new) = person.or_else(bot) {
                self.make_host(new);
            }
        }
        self.journal_snapshot();
        self.await_decisions(now);
    }

    /// The player is back and decides again, beginning with the next move that the bot has not made.
    pub(super) fn return_from_bot(&mut self, seat: Seat, now: Time) {
        let Some(playing) = self.playing_mut() else {
            return;
        };
        playing.thinking[seat] = None;
        playing.end_takeover(seat, now);
        let announcement = server_message::player_reconnected(self.seats.name(seat));
        self.broadcast(&announcement);
        self.report(RoomEvent::Back(seat, self.seats.name(seat).to_owned()));
        self.journal_snapshot();
        self.await_decisions(now);
    }

    // What is shown.

    /// Shows every listening member the table, with what that member may see.
    fn show_table(&mut self, now: Time) {
        let Some(playing) = self.playing() else {
            return;
        };
        let listening: Vec<_> = self.listening().collect();
        if listening.is_empty() {
            return;
        }
        let screens = self.screens(playing, now);
        let has_watchers = listening.iter().any(|&(_, seat)| seat.is_none());
        for screen in screens {
            // All watchers share one frame.
            let shared = has_watchers.then(|| screen.frame(None));
            for &(id, seat) in &listening {
                let frame = match (seat, &shared) {
                    (None, Some(shared)) => shared.clone(),
                    _ => screen.frame(seat),
                };
                self.effects.push(Effect::Send(id, frame));
            }
        }
    }

    /// Shows one client the table as it stands, and what a freshly loaded page lacks (protocol, section 9.2).
    pub(super) fn show_table_to(&mut self, id: ConnectionId, now: Time) {
        let Some(playing) = self.playing() else {
            return;
        };
        let seat = self.member(id).and_then(|member| member.seat);
        let mut screens = self.screens(playing, now).into_iter();
        let mut frames: Vec<Frame> = screens.next().map(|screen| screen.frame(seat)).into_iter().collect();
        if matches!(playing.stage, Stage::Turning | Stage::Revealed | Stage::TurnWon) {
            let public = playing.game.public();
            for (seat, declared) in public.declared.pairs() {
                if let Some(declared) = declared {
                    frames.push(server_message::declare(self.seats.name(seat), declared.piles()));
                }
            }
            if public.multiplier > 1 {
                frames.push(server_message::redeal_executed(public.multiplier));
            }
        }
        frames.extend(screens.map(|screen| screen.frame(seat)));
        for frame in frames {
            self.send(id, frame);
        }
    }

    /// Sends one client the public events that it missed.
    pub(super) fn send_missed_events(&mut self, id: ConnectionId, from: Option<u64>, to: Option<u64>) {
        let names = BySeat::from_fn(|seat| self.seats.name(seat));
        let event_history = self.playing().map(|playing| &playing.event_history);
        let events = event_history.map(|event_history| event_history.between(from, to, &names)).unwrap_or_default();
        let frame = recovery_response(&events, event_history.and_then(EventHistory::kept));
        self.send(id, frame);
    }

    /// The messages that show the table as it stands: one, or the result of a turn in two or three.
    fn screens(&self, playing: &Playing, now: Time) -> Vec<ScreenMessage> {
        let state = |phase| self.table_state(playing, phase, now);
        let finished = *playing.game.phase() == Phase::Played;
        let phase = match (playing.stage, &playing.last_turn) {
            (Stage::Dealing, _) => TablePhase::Preparation { dealing: true },
            (Stage::Dealt | Stage::Asking, _) => TablePhase::Preparation { dealing: false },
            (Stage::RoundStart, _) => TablePhase::RoundStart,
            (Stage::Declaring | Stage::Declared, _) => TablePhase::Declaration,
            (Stage::TurnWon, Some(result)) => {
                let won = state(TablePhase::TurnWon(result));
                let mut messages = vec![
                    ScreenMessage::Broadcast(won.phase_change()),
                    ScreenMessage::Frame(won.turn_complete(result, finished)),
                ];
                if finished {
                    messages.push(ScreenMessage::Broadcast(state(TablePhase::TurnResults(result)).phase_change()));
                }
                return messages;
            }
            (Stage::Turning | Stage::Revealed | Stage::TurnWon, _) => TablePhase::Turn,
            (Stage::Scoring, _) => TablePhase::Scoring,
            (Stage::Over, _) => {
                let ending = Ending {
                    game_id: &playing.game_id.to_string(),
                    proof: &playing.proof,
                    score_history: &playing.scores,
                    duration: playing.stage_began.since(playing.started_at),
                };
                return vec![ScreenMessage::Broadcast(state(TablePhase::GameOver(&ending)).phase_change())];
            }
        };
        vec![ScreenMessage::Broadcast(state(phase).phase_change())]
    }

    fn table_state<'a>(&'a self, playing: &Playing, phase: TablePhase<'a>, now: Time) -> TableState<'a> {
        let deadline = match playing.stage {
            Stage::Asking => playing.stage_ends.map(|ends| (ends, REDEAL_TIMEOUT)),
            _ => playing.turn_ends.zip(self.options.turn_timeout),
        };
        let pause = playing.stage.pause(self.tempo, playing.is_redealt()).and(playing.stage_ends);
        TableState {
            room_id: self.id,
            players: BySeat::from_fn(|seat| self.table_player(seat)),
            spectator: View::watching(&playing.game),
            own: BySeat::from_fn(|seat| {
                let is_here = self.seats.human(seat).is_some_and(Human::is_connected);
                is_here.then(|| View::of(&playing.game, seat))
            }),
            sequence: playing.event_history.last(),
            phase,
            deadline: deadline
                .map(|(ends, total)| Countdown { left_ms: millis(ends.since(now)), total_ms: millis(total) }),
            pause_ms: pause.map(|ends| millis(ends.since(now))),
        }
    }

    fn table_player(&self, seat: Seat) -> TablePlayer<'_> {
        let (original_is_bot, avatar_color) = match &self.seats[seat] {
            Occupant::Human(human) => (false, Some(human.color)),
            Occupant::Bot(_) | Occupant::Free => (true, None),
        };
        let is_bot = self.seats.bot_level(seat).is_some();
        TablePlayer {
            name: self.seats.name(seat),
            is_bot,
            original_is_bot,
            is_host: seat == self.host,
            avatar_color,
            is_connected: original_is_bot || !is_bot,
        }
    }
}

/// A message of the table: the same for everyone, or with what each receiver may see.
enum ScreenMessage {
    Frame(Frame),
    Broadcast(Broadcast),
}

impl ScreenMessage {
    fn frame(&self, receiver: Option<Seat>) -> Frame {
        match self {
            Self::Frame(frame) => frame.clone(),
            Self::Broadcast(broadcast) => broadcast.frame(receiver),
        }
    }
}

fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}
