//! A room before its game: joining, leaving, removing players, and the start.

use rand::RngExt;

use super::playing::Playing;
use super::presence::RETURN_WITHIN;
use super::room::{Lifecycle, Room, State};
use super::seats::{Human, Occupant, Presence, bot_name};
use super::{ConnectionId, Effect, JoinError, JoinRequest, RoomEvent, Time};
use crate::game::{BySeat, DealProof, Level, Seat};
use crate::protocol::server_message::{self, RoomClosed};
use crate::protocol::{ErrorType, OtherSeats, PlayerName, RoomRules, SeatChoice};

impl Room {
    /// Makes the room as its creator wants it. For a new room only.
    #[must_use]
    pub fn with_rules(mut self, rules: RoomRules) -> Self {
        self.tempo = rules.tempo;
        if rules.other_seats == OtherSeats::Open {
            for seat in Seat::ALL.into_iter().filter(|&seat| seat != self.host) {
                self.seats[seat] = Occupant::Free;
            }
        }
        self
    }

    pub(super) fn join(&mut self, who: JoinRequest, choice: SeatChoice, now: Time) -> Result<Seat, JoinError> {
        if self.lifecycle == Lifecycle::Over {
            return Err(JoinError::NotFound);
        }
        if !matches!(self.state, State::Waiting) {
            return Err(JoinError::Started);
        }
        if let Some(seat) = self.seats.seat_of(&who.name) {
            // A player who joins again from the same browser keeps the seat.
            let human = self.seats.human_mut(seat).filter(|human| human.admits(who.session, None));
            human.ok_or(JoinError::NameTaken)?.token = who.token;
            return Ok(seat);
        }
        if is_bot_name(&who.name) {
            return Err(JoinError::NameTaken);
        }
        let bot = || self.seats.last_bot().filter(|_| choice == SeatChoice::FreeOrBot);
        let seat = self.seats.first_free().or_else(bot).ok_or(JoinError::Full)?;
        let colors = self.seats.free_colors();
        let color = colors.get(self.rng.random_range(0..colors.len().max(1))).copied().unwrap_or("blue");
        self.report(RoomEvent::Joined(seat, who.name.as_str().to_owned()));
        self.seats[seat] = Occupant::Human(Box::new(Human::new(who, color, now)));
        self.seats_changed(now);
        Ok(seat)
    }

    pub(super) fn add_bot(
        &mut self,
        id: ConnectionId,
        sender: Option<Seat>,
        target: Seat,
        level: Option<Level>,
        now: Time,
    ) {
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

    pub(super) fn remove_player(&mut self, id: ConnectionId, sender: Option<Seat>, target: Seat, now: Time) {
        if !self.check_host(id, sender, "Only the host can remove players") || !self.check_waiting(id) {
            return;
        }
        if target == self.host {
            return self.refuse(id, ErrorType::ActionRefused, "The host cannot be removed");
        }
        self.report_left(target);
        self.seats[target] = Occupant::Free;
        for member in self.members.iter_mut().filter(|member| member.seat == Some(target)) {
            member.seat = None;
            member.is_listening = false;
            self.effects.push(Effect::Send(member.id, server_message::room_closed(RoomClosed::PlayerRemoved)));
        }
        self.close_surplus_watchers();
        self.seats_changed(now);
    }

    pub(super) fn leave_by_request(&mut self, id: ConnectionId, seat: Seat, now: Time) {
        let closes = matches!(self.state, State::Waiting) && seat == self.host;
        let name = self.seats.name(seat).to_owned();
        match self.state {
            State::Waiting => self.leave(seat, now),
            State::Playing(_) => {
                if let Some(member) = self.members.iter_mut().find(|member| member.id == id) {
                    member.seat = None;
                }
                if let Some(human) = self.seats.human_mut(seat) {
                    human.is_lost = false;
                }
                self.take_over(seat, now);
            }
        }
        self.send(id, server_message::player_left(&name, closes));
    }

    /// Frees a seat before the game. A room whose host leaves closes.
    pub(super) fn leave(&mut self, seat: Seat, now: Time) {
        for member in self.members.iter_mut().filter(|member| member.seat == Some(seat)) {
            member.seat = None;
        }
        if seat == self.host {
            self.close(RoomClosed::HostLeft, now);
        } else {
            self.report_left(seat);
            self.seats[seat] = Occupant::Free;
            self.close_surplus_watchers();
            self.seats_changed(now);
        }
    }

    /// A player has not come back within the grace. The room closes without its host, unless the host's seat was kept and
    /// another player can host it.
    pub(super) fn expire_seat(&mut self, seat: Seat, now: Time) {
        let is_kept = self.seats.human(seat).is_some_and(Human::is_kept);
        if seat == self.host && is_kept {
            let is_expected = |human: &Human| matches!(human.presence, Presence::Grace { until } if until > now);
            let others = || self.seats.humans().filter(|&(other, _)| other != seat);
            let connected = others().find(|(_, human)| human.is_connected());
            let next = connected.or_else(|| others().find(|(_, human)| is_expected(human)));
            if let Some((next, _)) = next {
                self.make_host(next);
            }
        }
        self.leave(seat, now);
    }

    /// Reports that a person's seat becomes free.
    pub(super) fn report_left(&mut self, seat: Seat) {
        if let Some(human) = self.seats.human(seat) {
            self.report(RoomEvent::Left(seat, human.name.as_str().to_owned()));
        }
    }

    pub(super) fn start_game(&mut self, id: ConnectionId, sender: Option<Seat>, now: Time) {
        if !self.check_host(id, sender, "Only the host can start the game") || !self.check_waiting(id) {
            return;
        }
        if !self.seats.is_full() {
            return self.refuse(id, ErrorType::ActionRefused, "Failed to start game");
        }
        // Seats are kept only before the game; in the game a bot plays for a player who is not connected.
        self.seats.for_each_human(|human| {
            if human.is_kept()
                && let Presence::Grace { until } = &mut human.presence
            {
                *until = (*until).min(now + RETURN_WITHIN);
            }
        });
        let entropy = BySeat::from_fn(|seat| self.seats.human(seat).and_then(|human| human.entropy.clone()));
        let proof = DealProof { server_seed: self.secret.clone(), entropy };
        let random = self.rng_bytes();
        let game_id = self.game_ids.next(now.unix_ms(), random);
        self.last_activity = now;
        self.report(RoomEvent::Started { game: game_id, persons: self.seats.humans().count() });
        self.begin(Playing::new(game_id, proof, now, self.options.max_events_per_game), now);
        let started = server_message::game_started(self.id);
        self.broadcast(&started);
        self.effects.push(Effect::Listed);
    }
}

/// Whether a bot has this name or may get it.
pub(super) fn is_bot_name(name: &PlayerName) -> bool {
    Seat::ALL.into_iter().any(|seat| bot_name(seat) == name.as_str())
}
