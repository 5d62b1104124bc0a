//! One room: who sits there, who listens, and what each message leads to.
//!
//! Synchronous and without I/O: [`Room::handle`] takes an [`Input`], [`Room::wake`] lets time pass, and both return
//! [`Effect`]s, which the room's task carries out. `presence.rs` handles sockets that come and go, `waiting.rs` a room
//! before its game, `table.rs` a running game, `result.rs` what follows a result, and `restore.rs` a restart.

use std::sync::Arc;
use std::time::Duration;

use rand::{Rng, RngExt};
use rand_pcg::Pcg64Mcg;

use super::member::Member;
use super::playing::Playing;
use super::seats::{COLORS, Human, Occupant, Presence, Seats};
use super::{ConnectionId, Effect, Input, JoinRequest, Note, Options, RoomEvent, RoomStage, Time};
use crate::archive::{Ended, GameId, GameIds, GameRecord, Player, PlayerKind};
use crate::game::{BySeat, Entropy, Seat, ServerSeed};
use crate::protocol::server_message::{self, Occupant as ListedOccupant, RoomClosed, RoomSummary};
use crate::protocol::{ClientMessage, CloseReason, ErrorType, Frame, OnClose, PlayerName, RoomId, SessionKey, Tempo};

/// When `room_update` is repeated to a page that may not have been listening yet (protocol, section 5).
const REPEAT_AFTER: [Duration; 3] =
    [Duration::from_millis(150), Duration::from_millis(500), Duration::from_millis(1_500)];

/// Whether a room goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lifecycle {
    /// The room runs.
    Live,
    /// The room was restored, or its players were lost. Its clocks stand still until one of the players is back.
    Suspended,
    /// The server stops; the room comes back with it.
    Stopped,
    /// The room has ended and can be removed.
    Over,
}

/// Waiting for its host to start, or playing.
#[derive(Debug)]
pub(super) enum State {
    Waiting,
    Playing(Box<Playing>),
}

/// A room and everything that happens in it.
#[derive(Debug)]
pub struct Room {
    pub(super) id: RoomId,
    pub(super) options: Arc<Options>,
    pub(super) host: Seat,
    pub(super) seats: Seats,
    pub(super) members: Vec<Member>,
    /// The secret of the next game, and the commitment to it that players see.
    pub(super) secret: ServerSeed,
    pub(super) commitment: String,
    pub(super) created_at: Time,
    pub(super) last_activity: Time,
    pub(super) state: State,
    pub(super) tempo: Tempo,
    /// Where the same people meet after the game, and the name of who said so. Not kept over a restart.
    pub(super) rematch: Option<(RoomId, String)>,
    pub(super) rng: Pcg64Mcg,
    pub(super) game_ids: GameIds,
    /// Repeated `room_update`s that are still to be sent.
    pub(super) repeats: Vec<(Time, ConnectionId)>,
    /// When the room closes if no player comes.
    pub(super) closes_at: Option<Time>,
    pub(super) effects: Vec<Effect>,
    pub(super) lifecycle: Lifecycle,
}

impl Room {
    /// Opens a room: its creator hosts it on seat 1, bots have the other seats. `secret` is 256 bits from the operating
    /// system, which decide the deals; `rng` serves everything that need not be secret.
    #[must_use]
    pub fn open(
        id: RoomId,
        host: JoinRequest,
        secret: ServerSeed,
        mut rng: Pcg64Mcg,
        options: Arc<Options>,
        now: Time,
    ) -> Self {
        let color = COLORS.get(rng.random_range(0..COLORS.len())).copied().unwrap_or("blue");
        Self {
            id,
            options,
            host: Seat::One,
            seats: Seats::new(Human::new(host, color, now)),
            members: Vec::new(),
            commitment: hex::encode(secret.commitment()),
            secret,
            created_at: now,
            last_activity: now,
            state: State::Waiting,
            tempo: Tempo::default(),
            rematch: None,
            rng,
            game_ids: GameIds::default(),
            repeats: Vec::new(),
            closes_at: None,
            effects: Vec::new(),
            lifecycle: Lifecycle::Live,
        }
    }

    /// Handles one input and returns its effects.
    pub fn handle(&mut self, input: Input, now: Time) -> Vec<Effect> {
        match input {
            Input::Connected(connection) => self.connected(&connection),
            Input::Message(id, message) => self.message(id, message, now),
            Input::Disconnected(id, disconnect_kind) => self.disconnected(id, disconnect_kind, now),
            Input::Join { who, choice, reply } => {
                let answer = self.join(who, choice, now);
                // A player who did not wait for the answer loses the seat when no socket claims it.
                reply.send(answer).ok();
            }
            Input::BotDecided { seat, ticket, action } => self.bot_decided(seat, ticket, action, now),
            Input::CloseRoom(why) => self.close_by_operator(why.as_deref(), now),
            Input::ReclaimMemory if self.stage() == RoomStage::Over => self.close(RoomClosed::Finished, now),
            Input::GiveUpLost if self.given_up_at().is_some() => self.close(RoomClosed::Abandoned, now),
            Input::ReclaimMemory | Input::GiveUpLost => {}
            Input::Stop => self.stop(),
        }
        std::mem::take(&mut self.effects)
    }

    /// Does what is due at `now` and returns the effects.
    pub fn wake(&mut self, now: Time) -> Vec<Effect> {
        self.repeat_updates(now);
        if self.lifecycle != Lifecycle::Suspended {
            self.expire_grace(now);
        }
        if self.closes_at.is_some_and(|at| at <= now) {
            let is_over = self.stage() == RoomStage::Over;
            self.close(if is_over { RoomClosed::Finished } else { RoomClosed::Abandoned }, now);
        }
        self.wake_table(now);
        std::mem::take(&mut self.effects)
    }

    /// When [`wake`](Self::wake) has something to do.
    #[must_use]
    pub fn wake_at(&self) -> Option<Time> {
        match self.lifecycle {
            Lifecycle::Live => {}
            Lifecycle::Suspended => return self.closes_at,
            Lifecycle::Stopped | Lifecycle::Over => return None,
        }
        let repeat = self.repeats.iter().map(|&(at, _)| at).min();
        let grace = self.seats.humans().filter_map(|(_, human)| match human.presence {
            Presence::Grace { until } => Some(until),
            Presence::Connected(_) | Presence::Away => None,
        });
        [repeat, grace.min(), self.closes_at, self.wake_table_at()].into_iter().flatten().min()
    }

    /// The running game's id, if there is one.
    #[must_use]
    pub fn game_under_way(&self) -> Option<GameId> {
        self.playing().filter(|playing| playing.game.winners().is_none()).map(|playing| playing.game_id)
    }

    /// The room's id.
    #[must_use]
    pub const fn id(&self) -> RoomId {
        self.id
    }

    /// Whether the room goes on.
    #[must_use]
    pub const fn lifecycle(&self) -> Lifecycle {
        self.lifecycle
    }

    /// The room's stage.
    #[must_use]
    pub fn stage(&self) -> RoomStage {
        match &self.state {
            State::Waiting => RoomStage::Waiting,
            State::Playing(playing) if playing.game.winners().is_none() => RoomStage::Playing,
            State::Playing(_) => RoomStage::Over,
        }
    }

    /// When a person last took or left a seat before the game, began it, or moved.
    #[must_use]
    pub const fn last_activity(&self) -> Time {
        self.last_activity
    }

    /// The round that is played, from 1; 0 before the game.
    #[must_use]
    pub fn round(&self) -> u32 {
        self.playing().map_or(0, |playing| playing.game.public().round)
    }

    /// The room as lists show it.
    #[must_use]
    pub fn summary(&self) -> RoomSummary {
        RoomSummary {
            room_id: self.id,
            host_name: self.seats.name(self.host).to_owned(),
            started: matches!(self.state, State::Playing(_)),
            tempo: self.tempo,
            players: BySeat::from_fn(|seat| self.listed(seat)),
            created_at: self.created_at.to_rfc3339(),
            last_activity: self.last_activity.to_rfc3339(),
        }
    }

    /// The browser sessions that hold the seats.
    pub(super) fn sessions(&self) -> BySeat<Option<SessionKey>> {
        BySeat::from_fn(|seat| self.seats.human(seat).and_then(|human| human.session))
    }

    fn listed(&self, seat: Seat) -> Option<ListedOccupant> {
        let (is_bot, avatar_color, level) = match &self.seats[seat] {
            Occupant::Free => return None,
            Occupant::Bot(level) => (true, None, Some(*level)),
            Occupant::Human(human) => (false, Some(human.color), None),
        };
        let name = self.seats.name(seat).to_owned();
        let is_connected = !self.seats.human(seat).is_some_and(Human::is_kept);
        Some(ListedOccupant { name, is_bot, is_host: seat == self.host, avatar_color, level, is_connected })
    }

    pub(super) fn playing(&self) -> Option<&Playing> {
        match &self.state {
            State::Playing(playing) => Some(playing),
            State::Waiting => None,
        }
    }

    pub(super) fn playing_mut(&mut self) -> Option<&mut Playing> {
        match &mut self.state {
            State::Playing(playing) => Some(playing),
            State::Waiting => None,
        }
    }

    // Frames to members.

    pub(super) fn send(&mut self, id: ConnectionId, frame: Frame) {
        self.effects.push(Effect::Send(id, frame));
    }

    pub(super) fn listening(&self) -> impl Iterator<Item = (ConnectionId, Option<Seat>)> {
        self.members.iter().filter(|member| member.is_listening).map(|member| (member.id, member.seat))
    }

    /// Sends the same frame to every listening member.
    pub(super) fn broadcast(&mut self, frame: &Frame) {
        let listening = self.members.iter().filter(|member| member.is_listening);
        self.effects.extend(listening.map(|member| Effect::Send(member.id, frame.clone())));
    }

    pub(super) fn refuse(&mut self, id: ConnectionId, kind: ErrorType, message: &str) {
        self.send(id, server_message::error(kind, message));
    }

    pub(super) fn member(&self, id: ConnectionId) -> Option<&Member> {
        self.members.iter().find(|member| member.id == id)
    }

    /// Whether this socket is a player's.
    pub(super) fn is_seated(&self, id: ConnectionId) -> bool {
        self.member(id).is_some_and(|member| member.seat.is_some())
    }

    /// Sends each listening member the state of the room's page, with its own player's name.
    pub(super) fn send_room_update(&mut self) {
        let summary = self.summary();
        let update = |(id, seat): (ConnectionId, Option<Seat>)| {
            let you = seat.map(|seat| self.seats.name(seat));
            Effect::Send(id, server_message::room_update(&summary, &self.commitment, you))
        };
        let updates: Vec<Effect> = self.listening().map(update).collect();
        self.effects.extend(updates);
    }

    pub(super) fn send_room_update_to(&mut self, id: ConnectionId, seat: Option<Seat>) {
        let you = seat.map(|seat| self.seats.name(seat));
        self.send(id, server_message::room_update(&self.summary(), &self.commitment, you));
    }

    /// A player left for a moment before the game, or is back. The seats stay as they are.
    pub(super) fn presence_changed(&mut self) {
        self.send_room_update();
        self.effects.push(Effect::Listed);
    }

    /// A seat changed before the game. Everyone in the room and in the lobby gets the change.
    pub(super) fn seats_changed(&mut self, now: Time) {
        self.last_activity = now;
        self.journal_snapshot();
        self.presence_changed();
    }

    // Messages.

    fn message(&mut self, id: ConnectionId, message: ClientMessage, now: Time) {
        let Some(seat) = self.sender(id, &message) else {
            return;
        };
        match message {
            ClientMessage::ClientReady { entropy, on_close, .. } => self.client_ready(id, seat, entropy, on_close, now),
            ClientMessage::GetRoomState => {
                self.send_room_update_to(id, seat);
                if matches!(self.state, State::Waiting) {
                    self.repeats.retain(|&(_, receiver)| receiver != id);
                    self.repeats.extend(REPEAT_AFTER.map(|after| (now + after, id)));
                }
            }
            ClientMessage::RequestStateSync => self.sync(id, now),
            ClientMessage::RequestRecovery { from, to } => {
                self.send_missed_events(id, from, to);
                self.sync(id, now);
            }
            ClientMessage::AddBot { seat: target, level } => self.add_bot(id, seat, target, level, now),
            ClientMessage::RemovePlayer { seat: target } => self.remove_player(id, seat, target, now),
            ClientMessage::StartGame => self.start_game(id, seat, now),
            ClientMessage::LeaveRoom { player_name } => {
                self.act_as(id, seat, &player_name, |room, seat| room.leave_by_request(id, seat, now));
            }
            ClientMessage::AnswerRedeal { accept, player_name } => {
                self.act_as(id, seat, &player_name, |room, seat| room.answer_redeal(id, seat, accept, now));
            }
            ClientMessage::Declare { value, player_name } => {
                self.act_as(id, seat, &player_name, |room, seat| room.declare(id, seat, value, now));
            }
            ClientMessage::Play { piece_indices, player_name } => {
                self.act_as(id, seat, &player_name, |room, seat| room.play(id, seat, &piece_indices, now));
            }
            ClientMessage::Seen => self.seen(seat, now),
            ClientMessage::Rematch { room_id, instead_of } => self.name_rematch(id, seat, room_id, instead_of),
            // The lobby's messages, and one that the existing client sends to no effect.
            ClientMessage::StartNextRound
            | ClientMessage::Ping { .. }
            | ClientMessage::GetRooms
            | ClientMessage::CreateRoom { .. }
            | ClientMessage::JoinRoom { .. } => {}
        }
    }

    /// The seat that a message comes from: none if a watcher sends it. Returns `None` for a socket that is unknown, or that is
    /// closed because too many watch.
    fn sender(&mut self, id: ConnectionId, message: &ClientMessage) -> Option<Option<Seat>> {
        let member = self.members.iter_mut().find(|member| member.id == id)?;
        let was_listening = std::mem::replace(&mut member.is_listening, true);
        let seat = match message {
            ClientMessage::ClientReady { player_name, seat_token, .. } => {
                self.find_seat(id, player_name.as_ref(), seat_token.as_deref())
            }
            _ => member.seat,
        };
        if seat.is_none() && !was_listening {
            self.close_surplus_watchers();
            self.member(id)?;
        }
        Some(seat)
    }

    /// A page opens: its player takes the seat, and the page gets all it has to show.
    fn client_ready(
        &mut self,
        id: ConnectionId,
        seat: Option<Seat>,
        entropy: Option<Entropy>,
        on_close: OnClose,
        now: Time,
    ) {
        let is_waiting = matches!(self.state, State::Waiting);
        let mut is_back = false;
        if let Some(seat) = seat {
            if self.has_left_result(seat) {
                return self.send(id, server_message::room_not_found(&self.id.to_string()));
            }
            is_back = self.seats.human(seat).is_some_and(Human::is_kept);
            self.occupy_seat(id, seat, now);
            if let Some(human) = self.seats.human_mut(seat).filter(|_| is_waiting) {
                human.entropy = entropy.or_else(|| human.entropy.take());
                if std::mem::replace(&mut human.on_close, on_close) != on_close {
                    self.journal_snapshot();
                }
            }
        }
        self.show_room_to(id, seat, now);
        if is_back && is_waiting {
            self.presence_changed();
        }
    }

    /// Acts for the sender's seat, if the sender has one and uses its own name. Otherwise sends an error.
    fn act_as(&mut self, id: ConnectionId, seat: Option<Seat>, name: &PlayerName, act: impl FnOnce(&mut Self, Seat)) {
        match seat {
            None => self.refuse(id, ErrorType::PermissionDenied, "You have no seat at this table"),
            Some(seat) if self.seats.name(seat) == name.as_str() => act(self, seat),
            Some(_) => self.refuse(id, ErrorType::PermissionDenied, "You can only act for yourself"),
        }
    }

    pub(super) fn check_host(&mut self, id: ConnectionId, seat: Option<Seat>, refusal: &str) -> bool {
        let is_host = seat == Some(self.host);
        if !is_host {
            self.refuse(id, ErrorType::PermissionDenied, refusal);
        }
        is_host
    }

    pub(super) fn check_waiting(&mut self, id: ConnectionId) -> bool {
        let is_waiting = matches!(self.state, State::Waiting);
        if !is_waiting {
            self.refuse(id, ErrorType::ActionRefused, "The game has already started");
        }
        is_waiting
    }

    /// Gives the host's role to another seat and announces it.
    pub(super) fn make_host(&mut self, new: Seat) {
        let announcement = server_message::host_changed(self.seats.name(self.host), self.seats.name(new));
        self.host = new;
        self.broadcast(&announcement);
    }

    // The journal and the archive.

    pub(super) fn journal_snapshot(&mut self) {
        let snapshot = self.snapshot();
        self.effects.push(Effect::Journal(Note::RoomSnapshot(Box::new(snapshot))));
    }

    /// The events of the running game in their stored form.
    #[must_use]
    pub fn events(&self) -> &[u8] {
        self.playing().map_or(&[], |playing| &playing.events)
    }

    pub(super) fn report(&mut self, room_event: RoomEvent) {
        self.effects.push(Effect::Report(room_event));
    }

    /// Archives the game as it stands and reports its end.
    pub(super) fn archive_game(&mut self, ended: Ended, now: Time) {
        let Some(playing) = self.playing() else { return };
        let game = playing.game_id;
        let room_event = match ended {
            Ended::Won => {
                RoomEvent::Finished { game, rounds: playing.game.public().round, took: now.since(playing.started_at) }
            }
            Ended::Abandoned => RoomEvent::Abandoned { game },
        };
        let record = self.record(playing, ended, now);
        self.effects.push(Effect::Archive(Box::new(record)));
        self.report(room_event);
    }

    fn record(&self, playing: &Playing, ended: Ended, now: Time) -> GameRecord {
        let player = |seat| {
            let kind = match &self.seats[seat] {
                Occupant::Bot(level) => PlayerKind::Bot(*level),
                Occupant::Human(_) | Occupant::Free => PlayerKind::Human,
            };
            Player { name: self.seats.name(seat).to_owned(), kind }
        };
        GameRecord {
            game_id: playing.game_id,
            room_id: self.id.to_string(),
            started_at_ms: playing.started_at.dated_by(now).unix_ms(),
            duration_ms: playing.duration_ms(now),
            players: BySeat::from_fn(player),
            proof: playing.proof.clone(),
            moves: playing.moves.clone(),
            takeovers: playing.takeovers.clone(),
            ended,
        }
    }

    // The end.

    /// Closes the room for everyone.
    pub(super) fn close(&mut self, why: RoomClosed, now: Time) {
        self.close_with(why, &server_message::room_closed(why), now);
    }

    /// Closes the room, with the operator's own reason if there is one.
    fn close_by_operator(&mut self, message: Option<&str>, now: Time) {
        let why = RoomClosed::ByOperator;
        let closed = message.map_or_else(|| server_message::room_closed(why), server_message::room_closed_because);
        self.close_with(why, &closed, now);
    }

    /// A running game is archived as abandoned. If its last play decides it, it is archived as won, even though the
    /// players have not seen that yet.
    fn close_with(&mut self, why: RoomClosed, closed: &Frame, now: Time) {
        if self.lifecycle == Lifecycle::Over {
            return;
        }
        if let Some(playing) = self.playing().filter(|playing| playing.game.winners().is_none()) {
            let ended = if playing.is_decided() { Ended::Won } else { Ended::Abandoned };
            self.archive_game(ended, now);
        }
        self.broadcast(closed);
        self.lifecycle = Lifecycle::Over;
        self.report(RoomEvent::Closed(why));
        self.effects.push(Effect::Listed);
    }

    /// The server stops. Clients reconnect when it runs again.
    fn stop(&mut self) {
        self.effects.extend(self.members.iter().map(|member| Effect::Close(member.id, CloseReason::Restart)));
        self.lifecycle = Lifecycle::Stopped;
    }

    pub(super) fn rng_bytes<const N: usize>(&mut self) -> [u8; N] {
        let mut bytes = [0; N];
        self.rng.fill_bytes(&mut bytes);
        bytes
    }
}
