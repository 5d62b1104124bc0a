//! One room: who sits there, who listens, and what becomes of what they say.
//!
//! Synchronous and without I/O: [`Room::handle`] takes an [`Input`], [`Room::wake`] lets time pass, and both say in
//! [`Effect`]s what is to be done. What belongs to a running game is in `table.rs`.

use std::sync::Arc;
use std::time::Duration;

use rand::{Rng, RngExt};
use rand_pcg::Pcg64Mcg;

use super::image::Note;
use super::playing::{Playing, Stage};
use super::seats::{COLORS, Human, Occupant, Presence, Seats, bot_name};
use super::{
    Connection, ConnectionId, Effect, Farewell, Happening, Input, JoinError, Newcomer, Options, RoomStage, Time,
};
use crate::archive::{Ended, GameId, GameIds, GameRecord, Player, PlayerKind};
use crate::game::{BySeat, DealProof, Level, Seat, ServerSeed};
use crate::protocol::server_message::{self, Occupant as ListedOccupant, RoomClosed, RoomSummary};
use crate::protocol::{ClientMessage, CloseReason, ErrorType, Frame, PlayerName, RoomId, SessionKey};

/// After taking a seat in the lobby: how long the room's page may take to open its socket.
const CLAIM_SEAT_WITHIN: Duration = Duration::from_secs(30);
/// Before the game: how long a reload may take before a lost socket counts as leaving.
const RELOAD_WITHIN: Duration = Duration::from_millis(1_500);
/// In a game: how long a page may take to open its next socket before the player counts as gone.
const RETURN_WITHIN: Duration = Duration::from_millis(2_500);
/// How long a room stays without any player (rules, section 10).
const ABANDONED_AFTER: Duration = Duration::from_secs(30);
/// The same, after the game is over.
const LEFT_AFTER: Duration = Duration::from_secs(5);
/// When `room_update` is repeated to a page that may not have been listening yet (protocol, section 5).
const REPEAT_AFTER: [Duration; 3] =
    [Duration::from_millis(150), Duration::from_millis(500), Duration::from_millis(1_500)];

/// A socket at this room.
#[derive(Debug)]
pub(super) struct Member {
    pub(super) id: ConnectionId,
    session: Option<SessionKey>,
    /// Whose player it is; nobody's for those who watch.
    pub(super) seat: Option<Seat>,
    /// Whether it has said `client_ready`, or anything else: from then on it hears what happens.
    pub(super) is_listening: bool,
}

/// After a restart: how long the others may take to come back once the first is there; how long the players of a game
/// and those of a room that waits may take.
const RETURN_AFTER_FIRST: Duration = Duration::from_secs(30);
const GAME_WAITS_FOR_RETURN: Duration = Duration::from_secs(24 * 60 * 60);
const ROOM_WAITS_FOR_RETURN: Duration = Duration::from_secs(2 * 60);

/// Whether a room goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Life {
    /// It does.
    Live,
    /// It was restored and stands still until one of its players is back.
    StandsStill,
    /// The server stops; the room comes back with it.
    Stopped,
    /// It is over and can be forgotten.
    Over,
}

/// Waiting for its host to start, or playing.
#[derive(Debug)]
pub(super) enum State {
    Waiting,
    Playing(Box<Playing>),
}

/// A room and all that happens in it.
#[derive(Debug)]
pub struct Room {
    pub(super) id: RoomId,
    pub(super) options: Arc<Options>,
    pub(super) host: Seat,
    pub(super) seats: Seats,
    pub(super) members: Vec<Member>,
    /// The secret of the next game, and what was shown of it.
    pub(super) secret: ServerSeed,
    commitment: String,
    pub(super) created_at: Time,
    last_activity: Time,
    pub(super) state: State,
    pub(super) rng: Pcg64Mcg,
    game_ids: GameIds,
    /// `room_update`s that are owed to pages which may not have been listening.
    repeats: Vec<(Time, ConnectionId)>,
    /// When the room closes if no player comes.
    pub(super) closes_at: Option<Time>,
    pub(super) effects: Vec<Effect>,
    pub(super) life: Life,
}

impl Room {
    /// Opens a room: its creator hosts it on seat 1, bots have the others. `secret` is 256 bits from the operating
    /// system, from which the deals follow; `rng` serves everything that need not be secret.
    #[must_use]
    pub fn open(
        id: RoomId,
        host: Newcomer,
        secret: ServerSeed,
        mut rng: Pcg64Mcg,
        options: Arc<Options>,
        now: Time,
    ) -> Self {
        let color = COLORS.get(rng.random_range(0..COLORS.len())).copied().unwrap_or("blue");
        let host = Human::new(host, color, now + CLAIM_SEAT_WITHIN);
        Self {
            id,
            options,
            host: Seat::One,
            seats: Seats::new(host),
            members: Vec::new(),
            commitment: hex::encode(secret.commitment()),
            secret,
            created_at: now,
            last_activity: now,
            state: State::Waiting,
            rng,
            game_ids: GameIds::default(),
            repeats: Vec::new(),
            closes_at: None,
            effects: Vec::new(),
            life: Life::Live,
        }
    }

    /// Takes one input and says what is to be done.
    pub fn handle(&mut self, input: Input, now: Time) -> Vec<Effect> {
        match input {
            Input::Connected(connection) => self.connected(&connection),
            Input::Said(id, message) => self.said(id, message, now),
            Input::Disconnected(id, farewell) => self.disconnected(id, farewell, now),
            Input::Join { who, reply } => {
                let answer = self.join(who, now);
                // A joiner who did not wait loses his seat when nobody claims it.
                reply.send(answer).ok();
            }
            Input::Thought { seat, ticket, action } => self.thought(seat, ticket, action, now),
            Input::CloseRoom(why) => self.close_by_operator(why.as_deref(), now),
            Input::MakeRoom if self.stage() == RoomStage::Over => self.close(RoomClosed::Finished, now),
            Input::MakeRoom => {}
            Input::Stop => self.stop(),
        }
        std::mem::take(&mut self.effects)
    }

    /// Does what is due and says what is to be done.
    pub fn wake(&mut self, now: Time) -> Vec<Effect> {
        self.repeat_updates(now);
        if self.life != Life::StandsStill {
            self.miss_the_absent(now);
        }
        if self.closes_at.is_some_and(|at| at <= now) {
            self.close(self.why_empty(), now);
        }
        self.wake_table(now);
        std::mem::take(&mut self.effects)
    }

    /// When [`wake`](Self::wake) has something to do.
    #[must_use]
    pub fn wake_at(&self) -> Option<Time> {
        if self.life == Life::StandsStill {
            return self.closes_at;
        }
        let repeat = self.repeats.iter().map(|&(at, _)| at).min();
        let absent = self.seats.humans().filter_map(|(_, human)| match human.presence {
            Presence::Expected { until } => Some(until),
            Presence::Here(_) | Presence::Away => None,
        });
        [repeat, absent.min(), self.closes_at, self.wake_table_at()].into_iter().flatten().min()
    }

    /// The game under way, if there is one.
    #[must_use]
    pub fn game_under_way(&self) -> Option<GameId> {
        match &self.state {
            State::Playing(playing) if playing.game.winners().is_none() => Some(playing.game_id),
            State::Playing(_) | State::Waiting => None,
        }
    }

    /// Which room it is.
    #[must_use]
    pub const fn id(&self) -> RoomId {
        self.id
    }

    /// Whether the room goes on.
    #[must_use]
    pub const fn life(&self) -> Life {
        self.life
    }

    /// How far it is.
    #[must_use]
    pub fn stage(&self) -> RoomStage {
        match &self.state {
            State::Waiting => RoomStage::Waiting,
            State::Playing(playing) if playing.game.winners().is_none() => RoomStage::Playing,
            State::Playing(_) => RoomStage::Over,
        }
    }

    /// The round that is played, from 1; 0 before the game.
    #[must_use]
    pub fn round(&self) -> u32 {
        match &self.state {
            State::Waiting => 0,
            State::Playing(playing) => playing.game.public().round,
        }
    }

    /// The room as lists show it.
    #[must_use]
    pub fn summary(&self) -> RoomSummary {
        RoomSummary {
            room_id: self.id,
            host_name: self.seats.name(self.host).to_owned(),
            started: matches!(self.state, State::Playing(_)),
            players: BySeat::from_fn(|seat| self.listed(seat)),
            created_at: self.created_at.to_rfc3339(),
            last_activity: self.last_activity.to_rfc3339(),
        }
    }

    fn listed(&self, seat: Seat) -> Option<ListedOccupant> {
        let (is_bot, avatar_color, level) = match &self.seats[seat] {
            Occupant::Free => return None,
            Occupant::Bot(level) => (true, None, Some(*level)),
            Occupant::Human(human) => (false, Some(human.color), None),
        };
        let name = self.seats.name(seat).to_owned();
        Some(ListedOccupant { name, is_bot, is_host: seat == self.host, avatar_color, level })
    }

    // Those who listen.

    pub(super) fn send(&mut self, id: ConnectionId, frame: Frame) {
        self.effects.push(Effect::Send(id, frame));
    }

    /// Sends the same to everybody who listens.
    pub(super) fn tell_all(&mut self, frame: &Frame) {
        let listening = self.members.iter().filter(|member| member.is_listening);
        self.effects.extend(listening.map(|member| Effect::Send(member.id, frame.clone())));
    }

    fn refuse(&mut self, id: ConnectionId, kind: ErrorType, message: &str) {
        self.send(id, server_message::error(kind, message));
    }

    fn member(&self, id: ConnectionId) -> Option<&Member> {
        self.members.iter().find(|member| member.id == id)
    }

    /// Sends each listener the state of the room's page, with his own name.
    fn tell_room_update(&mut self) {
        let summary = self.summary();
        let listening: Vec<_> =
            self.members.iter().filter(|member| member.is_listening).map(|member| (member.id, member.seat)).collect();
        for (id, seat) in listening {
            let you = seat.map(|seat| self.seats.name(seat));
            let frame = server_message::room_update(&summary, &self.commitment, you);
            self.send(id, frame);
        }
    }

    fn room_update_for(&self, seat: Option<Seat>) -> Frame {
        let you = seat.map(|seat| self.seats.name(seat));
        server_message::room_update(&self.summary(), &self.commitment, you)
    }

    /// A seat changed before the game: everybody at the room and in the lobby sees it.
    fn seats_changed(&mut self, now: Time) {
        self.last_activity = now;
        self.remember_image();
        self.tell_room_update();
        self.effects.push(Effect::Listed);
    }

    fn connected(&mut self, connection: &Connection) {
        // Players come back through new sockets before their old ones are gone: they always find room.
        let room_for = self.options.max_watchers_per_room + 2 * Seat::ALL.len();
        if self.members.len() >= room_for {
            self.refuse(connection.id, ErrorType::Busy, "Too many people are watching this table");
            self.effects.push(Effect::Close(connection.id, CloseReason::Done));
            return;
        }
        self.members.push(Member { id: connection.id, session: connection.session, seat: None, is_listening: false });
    }

    fn disconnected(&mut self, id: ConnectionId, farewell: Farewell, now: Time) {
        let Some(at) = self.members.iter().position(|member| member.id == id) else {
            return;
        };
        let member = self.members.swap_remove(at);
        self.repeats.retain(|&(_, owed)| owed != id);
        let Some(seat) = member.seat else {
            return;
        };
        let playing = matches!(self.state, State::Playing(_));
        let is_over = matches!(&self.state, State::Playing(playing) if playing.game.winners().is_some());
        let Some(human) = self.seats.human_mut(seat).filter(|human| human.presence == Presence::Here(id)) else {
            return;
        };
        // A page that reloads, or goes from the room to the game, is back in a moment.
        let grace = match farewell {
            _ if playing => RETURN_WITHIN,
            Farewell::Lost => RELOAD_WITHIN,
            Farewell::Clean => Duration::ZERO,
        };
        human.presence = Presence::Expected { until: now + grace };
        human.has_left_result = is_over && farewell == Farewell::Clean;
        if playing {
            self.watch_for_empty_room(now);
        } else if grace.is_zero() {
            self.leave(seat, now);
        }
    }

    /// Sets or clears the time at which an empty room closes.
    pub(super) fn watch_for_empty_room(&mut self, now: Time) {
        let wait = match &self.state {
            State::Playing(playing) if playing.game.winners().is_some() => LEFT_AFTER,
            State::Playing(_) => ABANDONED_AFTER,
            State::Waiting => return,
        };
        if self.seats.anybody_here() {
            self.closes_at = None;
        } else {
            self.closes_at.get_or_insert(now + wait);
        }
    }

    /// Those who were expected and have not come: before the game they lose the seat, in a game a bot takes over.
    fn miss_the_absent(&mut self, now: Time) {
        let missing: Vec<Seat> = self
            .seats
            .humans()
            .filter(|(_, human)| matches!(human.presence, Presence::Expected { until } if until <= now))
            .map(|(seat, _)| seat)
            .collect();
        for seat in missing {
            match self.state {
                _ if self.life == Life::Over => {}
                State::Waiting => self.leave(seat, now),
                State::Playing(_) => self.take_over(seat, now),
            }
        }
    }

    fn repeat_updates(&mut self, now: Time) {
        if self.repeats.is_empty() {
            return;
        }
        let due: Vec<_> = self.repeats.extract_if(.., |&mut (at, _)| at <= now).map(|(_, id)| id).collect();
        if matches!(self.state, State::Waiting) {
            for id in due {
                if let Some(member) = self.member(id) {
                    let frame = self.room_update_for(member.seat);
                    self.send(id, frame);
                }
            }
        }
    }

    // What is said.

    fn said(&mut self, id: ConnectionId, message: ClientMessage, now: Time) {
        let Some(member) = self.members.iter_mut().find(|member| member.id == id) else {
            return;
        };
        member.is_listening = true;
        let seat = member.seat;
        match message {
            ClientMessage::ClientReady { player_name, seat_token, entropy } => {
                let seat = self.find_seat(id, player_name.as_ref(), seat_token.as_deref());
                if let Some(seat) = seat {
                    if self.has_left_result(seat) {
                        return self.send(id, server_message::room_not_found(&self.id.to_string()));
                    }
                    self.sit_down(id, seat, now);
                }
                if let Some(human) = seat.and_then(|seat| self.seats.human_mut(seat))
                    && matches!(self.state, State::Waiting)
                    && let Some(entropy) = entropy
                {
                    human.entropy = Some(entropy);
                }
                self.welcome(id, seat, now);
            }
            ClientMessage::GetRoomState => {
                let frame = self.room_update_for(seat);
                self.send(id, frame);
                if matches!(self.state, State::Waiting) {
                    self.repeats.retain(|&(_, owed)| owed != id);
                    self.repeats.extend(REPEAT_AFTER.map(|after| (now + after, id)));
                }
            }
            ClientMessage::RequestStateSync => self.sync(id, now),
            ClientMessage::RequestRecovery { from, to } => {
                self.tell_missed(id, from, to);
                self.sync(id, now);
            }
            ClientMessage::AddBot { seat: target, level } => self.add_bot(id, seat, target, level, now),
            ClientMessage::RemovePlayer { seat: target } => self.remove_player(id, seat, target, now),
            ClientMessage::LeaveRoom { player_name } => {
                if let Some(seat) = self.check_sender(id, seat, &player_name) {
                    self.leave_by_request(id, seat, now);
                }
            }
            ClientMessage::StartGame => self.start_game(id, seat, now),
            ClientMessage::AnswerRedeal { accept, player_name } => {
                if let Some(seat) = self.check_sender(id, seat, &player_name) {
                    self.answer_redeal(id, seat, accept, now);
                }
            }
            ClientMessage::Declare { value, player_name } => {
                if let Some(seat) = self.check_sender(id, seat, &player_name) {
                    self.declare(id, seat, value, now);
                }
            }
            ClientMessage::Play { piece_indices, player_name } => {
                if let Some(seat) = self.check_sender(id, seat, &player_name) {
                    self.play(id, seat, &piece_indices, now);
                }
            }
            // The lobby's messages, and one that the existing client sends to no effect.
            ClientMessage::StartNextRound
            | ClientMessage::Ping { .. }
            | ClientMessage::GetRooms
            | ClientMessage::CreateRoom { .. }
            | ClientMessage::JoinRoom { .. } => {}
        }
    }

    /// The sender's seat, if he has one and speaks in his own name; otherwise he is told so.
    fn check_sender(&mut self, id: ConnectionId, seat: Option<Seat>, name: &PlayerName) -> Option<Seat> {
        let Some(seat) = seat else {
            self.refuse(id, ErrorType::PermissionDenied, "You have no seat at this table");
            return None;
        };
        if self.seats.name(seat) != name.as_str() {
            self.refuse(id, ErrorType::PermissionDenied, "You can only act for yourself");
            return None;
        }
        Some(seat)
    }

    fn check_host(&mut self, id: ConnectionId, seat: Option<Seat>, refusal: &str) -> bool {
        let is_host = seat == Some(self.host);
        if !is_host {
            self.refuse(id, ErrorType::PermissionDenied, refusal);
        }
        is_host
    }

    fn check_waiting(&mut self, id: ConnectionId) -> bool {
        let is_waiting = matches!(self.state, State::Waiting);
        if !is_waiting {
            self.refuse(id, ErrorType::ActionRefused, "The game has already started");
        }
        is_waiting
    }

    /// Finds the seat that belongs to this client: by its session and name, by its seat token, or, without a name, by
    /// a session that holds one seat only (protocol, section 13).
    fn find_seat(&self, id: ConnectionId, name: Option<&PlayerName>, token: Option<&str>) -> Option<Seat> {
        let session = self.member(id)?.session;
        let fits = |human: &Human| human.admits(session, token) && name.is_none_or(|name| human.name == *name);
        let admitting: Vec<_> = self.seats.humans().filter(|(_, human)| fits(human)).collect();
        match *admitting {
            [(seat, _)] => Some(seat),
            // Two tabs of one browser hold two seats: the one nobody sits on is meant.
            _ => match *admitting.iter().filter(|(_, human)| !human.is_here()).collect::<Vec<_>>() {
                [&(seat, _)] => Some(seat),
                _ => None,
            },
        }
    }

    /// Whether this player has closed the final screen of the game on purpose. Showing it again would lead the
    /// existing client around in circles (protocol, section 9.2).
    fn has_left_result(&self, seat: Seat) -> bool {
        self.seats.human(seat).is_some_and(|human| human.has_left_result)
    }

    /// Gives a seat to the socket of its player.
    fn sit_down(&mut self, id: ConnectionId, seat: Seat, now: Time) {
        let session = self.member(id).and_then(|member| member.session);
        let Some(human) = self.seats.human_mut(seat) else {
            return;
        };
        let before = std::mem::replace(&mut human.presence, Presence::Here(id));
        let held_by = human.session;
        if session.is_some() {
            // A token moves the seat to the browser that shows it.
            human.session = session;
        }
        for member in &mut self.members {
            if member.id == id {
                member.seat = Some(seat);
            } else if member.seat == Some(seat) {
                // The newest socket wins. 1000, because after any other code the older would come back and fight.
                member.seat = None;
                member.is_listening = false;
                self.effects.push(Effect::Close(member.id, CloseReason::Done));
            }
        }
        self.closes_at = None;
        if self.life == Life::StandsStill {
            self.go_on(now);
        }
        if before == Presence::Away {
            self.hand_back(seat, now);
        } else if session.is_some() && session != held_by {
            self.remember_image();
        }
    }

    /// Answers `client_ready`.
    fn welcome(&mut self, id: ConnectionId, seat: Option<Seat>, now: Time) {
        let you = seat.map(|seat| self.seats.name(seat));
        let frame = server_message::room_state_update(&self.summary(), &self.commitment, you);
        self.send(id, frame);
        if matches!(self.state, State::Playing(_)) {
            self.show_table_to(id, now);
        }
    }

    fn sync(&mut self, id: ConnectionId, now: Time) {
        match self.state {
            State::Playing(_) => self.show_table_to(id, now),
            State::Waiting => {
                let seat = self.member(id).and_then(|member| member.seat);
                let frame = self.room_update_for(seat);
                self.send(id, frame);
            }
        }
    }

    // Before the game.

    fn join(&mut self, who: Newcomer, now: Time) -> Result<Seat, JoinError> {
        if self.life == Life::Over {
            return Err(JoinError::NotFound);
        }
        if !matches!(self.state, State::Waiting) {
            return Err(JoinError::Started);
        }
        if let Some(seat) = self.seats.seat_of(&who.name) {
            // Somebody who joins again from the same browser keeps his seat.
            let human = self.seats.human_mut(seat).filter(|human| human.admits(who.session, None));
            human.ok_or(JoinError::NameTaken)?.token = who.token;
            return Ok(seat);
        }
        if is_bot_name(&who.name) {
            return Err(JoinError::NameTaken);
        }
        let seat = self.seats.first_free().ok_or(JoinError::Full)?;
        let colors = self.seats.free_colors();
        let color = colors.get(self.rng.random_range(0..colors.len().max(1))).copied().unwrap_or("blue");
        self.happened(Happening::Joined(seat, who.name.as_str().to_owned()));
        self.seats[seat] = Occupant::Human(Box::new(Human::new(who, color, now + CLAIM_SEAT_WITHIN)));
        self.seats_changed(now);
        Ok(seat)
    }

    fn add_bot(&mut self, id: ConnectionId, sender: Option<Seat>, target: Seat, level: Option<Level>, now: Time) {
        if !self.check_host(id, sender, "Only the host can add bots") || !self.check_waiting(id) {
            return;
        }
        match &mut self.seats[target] {
            Occupant::Human(_) => return self.refuse(id, ErrorType::ActionRefused, "This seat is taken"),
            seat @ Occupant::Free => *seat = Occupant::Bot(level.unwrap_or_default()),
            Occupant::Bot(old) => *old = level.unwrap_or(*old),
        }
        self.seats_changed(now);
    }

    fn remove_player(&mut self, id: ConnectionId, sender: Option<Seat>, target: Seat, now: Time) {
        if !self.check_host(id, sender, "Only the host can remove players") || !self.check_waiting(id) {
            return;
        }
        if target == self.host {
            return self.refuse(id, ErrorType::ActionRefused, "The host cannot be removed");
        }
        self.told_left(target);
        self.seats[target] = Occupant::Free;
        let removed: Vec<_> = self.members.iter_mut().filter(|member| member.seat == Some(target)).collect();
        let mut told = Vec::new();
        for member in removed {
            member.seat = None;
            member.is_listening = false;
            told.push(member.id);
        }
        for id in told {
            self.send(id, server_message::room_closed(RoomClosed::PlayerRemoved));
        }
        self.seats_changed(now);
    }

    fn leave_by_request(&mut self, id: ConnectionId, seat: Seat, now: Time) {
        let closes = matches!(self.state, State::Waiting) && seat == self.host;
        let name = self.seats.name(seat).to_owned();
        match self.state {
            State::Waiting => self.leave(seat, now),
            State::Playing(_) => {
                if let Some(member) = self.members.iter_mut().find(|member| member.id == id) {
                    member.seat = None;
                }
                self.take_over(seat, now);
            }
        }
        self.send(id, server_message::player_left(&name, closes));
    }

    /// A seat is given up before the game; without its host a room closes.
    fn leave(&mut self, seat: Seat, now: Time) {
        for member in &mut self.members {
            if member.seat == Some(seat) {
                member.seat = None;
            }
        }
        if seat == self.host {
            self.close(RoomClosed::HostLeft, now);
        } else {
            self.told_left(seat);
            self.seats[seat] = Occupant::Free;
            self.seats_changed(now);
        }
    }

    /// Operators are told that a person's seat becomes free.
    fn told_left(&mut self, seat: Seat) {
        if let Some(human) = self.seats.human(seat) {
            self.happened(Happening::Left(seat, human.name.as_str().to_owned()));
        }
    }

    fn start_game(&mut self, id: ConnectionId, sender: Option<Seat>, now: Time) {
        if !self.check_host(id, sender, "Only the host can start the game") || !self.check_waiting(id) {
            return;
        }
        if !self.seats.is_full() {
            return self.refuse(id, ErrorType::ActionRefused, "Failed to start game");
        }
        let entropy = BySeat::from_fn(|seat| self.seats.human(seat).and_then(|human| human.entropy.clone()));
        let proof = DealProof { server_seed: self.secret.clone(), entropy };
        let random = self.rng_bytes();
        let game_id = self.game_ids.next(now.unix_ms(), random);
        self.last_activity = now;
        self.happened(Happening::Started { game: game_id, persons: self.seats.humans().count() });
        self.begin(Playing::new(game_id, proof, now, self.options.max_events_per_game), now);
        let started = server_message::game_started(self.id);
        self.tell_all(&started);
        self.effects.push(Effect::Listed);
    }

    // What survives a restart.

    pub(super) fn remember_image(&mut self) {
        let image = self.image();
        self.effects.push(Effect::Remember(Note::Image(Box::new(image))));
    }

    /// The events of the running game, as the journal keeps them.
    #[must_use]
    pub fn events(&self) -> &[u8] {
        match &self.state {
            State::Waiting => &[],
            State::Playing(playing) => &playing.events,
        }
    }

    /// The first player is back after a restart: the game goes on, with its full time for everybody.
    fn go_on(&mut self, now: Time) {
        self.life = Life::Live;
        for seat in Seat::ALL {
            if let Some(human) = self.seats.human_mut(seat)
                && let Presence::Expected { until } = &mut human.presence
            {
                *until = now + RETURN_AFTER_FIRST;
            }
        }
        self.resume(now);
    }

    // The end.

    /// Closes the room for everybody.
    pub(super) fn close(&mut self, why: RoomClosed, now: Time) {
        self.close_with(why, &server_message::room_closed(why), now);
    }

    /// The same, for the operator's own reason.
    fn close_by_operator(&mut self, message: Option<&str>, now: Time) {
        let why = RoomClosed::ByOperator;
        let closed = message.map_or_else(|| server_message::room_closed(why), server_message::room_closed_because);
        self.close_with(why, &closed, now);
    }

    /// A game that was under way is kept as abandoned.
    fn close_with(&mut self, why: RoomClosed, closed: &Frame, now: Time) {
        if self.life == Life::Over {
            return;
        }
        if let State::Playing(playing) = &self.state
            && playing.game.winners().is_none()
        {
            let game = playing.game_id;
            let record = self.record(playing, Ended::Abandoned, now);
            self.effects.push(Effect::Archive(Box::new(record)));
            self.happened(Happening::Abandoned { game });
        }
        self.tell_all(closed);
        self.life = Life::Over;
        self.happened(Happening::Closed(why));
        self.effects.push(Effect::Listed);
    }

    /// Why a room closes that nobody is in any more.
    fn why_empty(&self) -> RoomClosed {
        if self.stage() == RoomStage::Over { RoomClosed::Finished } else { RoomClosed::Abandoned }
    }

    pub(super) fn happened(&mut self, happening: Happening) {
        self.effects.push(Effect::Happened(happening));
    }

    /// The server stops: clients come back to where they were when it is up again.
    fn stop(&mut self) {
        self.effects.extend(self.members.iter().map(|member| Effect::Close(member.id, CloseReason::Restart)));
        self.life = Life::Stopped;
    }

    pub(super) fn record(&self, playing: &Playing, ended: Ended, now: Time) -> GameRecord {
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
            started_at_ms: playing.started_at.unix_ms(),
            duration_ms: u64::try_from(now.since(playing.started_at).as_millis()).unwrap_or(u64::MAX),
            players: BySeat::from_fn(player),
            proof: playing.proof.clone(),
            moves: playing.moves.clone(),
            takeovers: playing.takeovers.clone(),
            ended,
        }
    }

    fn rng_bytes<const N: usize>(&mut self) -> [u8; N] {
        let mut bytes = [0; N];
        self.rng.fill_bytes(&mut bytes);
        bytes
    }
}

/// What a room was before a restart.
pub(super) struct Restored {
    pub(super) id: RoomId,
    pub(super) host: Seat,
    pub(super) seats: Seats,
    pub(super) secret: ServerSeed,
    pub(super) state: State,
    pub(super) created_at: Time,
}

impl Restored {
    /// The room, waiting for the first of its players to come back.
    pub(super) fn stand_still(mut self, rng: Pcg64Mcg, options: Arc<Options>, now: Time) -> Room {
        let (life, wait) = match self.state {
            State::Playing(_) => (Life::StandsStill, GAME_WAITS_FOR_RETURN),
            State::Waiting => (Life::Live, ROOM_WAITS_FOR_RETURN),
        };
        for seat in Seat::ALL {
            if let Some(human) = self.seats.human_mut(seat)
                && human.presence != Presence::Away
            {
                human.presence = Presence::Expected { until: now + wait };
            }
        }
        let mut room = Room {
            id: self.id,
            options,
            host: self.host,
            seats: self.seats,
            members: Vec::new(),
            commitment: hex::encode(self.secret.commitment()),
            secret: self.secret,
            created_at: self.created_at,
            last_activity: now,
            state: self.state,
            rng,
            game_ids: GameIds::default(),
            repeats: Vec::new(),
            closes_at: (life == Life::StandsStill).then(|| now + wait),
            effects: Vec::new(),
            life,
        };
        if matches!(&room.state, State::Playing(playing) if playing.stage == Stage::Over) {
            // It may have ended right before the crash: the archive knows whether it has it already.
            room.life = Life::Live;
            room.resume(now);
            room.game_is_over(now);
            // Those who were looking at the result come back to it.
            room.closes_at = Some(now + RETURN_AFTER_FIRST);
        }
        room
    }
}

/// Names that bots have or may get.
pub(super) fn is_bot_name(name: &PlayerName) -> bool {
    Seat::ALL.into_iter().any(|seat| bot_name(seat) == name.as_str())
}
