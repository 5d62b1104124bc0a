//! A room before its game: who sits down, who is sent away, and the start.

use rand::RngExt;

use super::playing::Playing;
use super::presence::CLAIM_SEAT_WITHIN;
use super::room::{Lifecycle, Room, State};
use super::seats::{Human, Occupant, bot_name};
use super::{ConnectionId, Effect, JoinError, JoinRequest, RoomEvent, Time};
use crate::game::{BySeat, DealProof, Level, Seat};
use crate::protocol::server_message::{self, RoomClosed};
use crate::protocol::{ErrorType, PlayerName};

impl Room {
    pub(super) fn join(&mut self, who: JoinRequest, now: Time) -> Result<Seat, JoinError> {
        if self.lifecycle == Lifecycle::Over {
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
        self.report(RoomEvent::Joined(seat, who.name.as_str().to_owned()));
        self.seats[seat] = Occupant::Human(Box::new(Human::new(who, color, now + CLAIM_SEAT_WITHIN)));
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
                self.take_over(seat, now);
            }
        }
        self.send(id, server_message::player_left(&name, closes));
    }

    /// A seat is given up before the game; without its host a room closes.
    pub(super) fn leave(&mut self, seat: Seat, now: Time) {
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
            self.close_surplus_watchers();
            self.seats_changed(now);
        }
    }

    /// Operators are told that a person's seat becomes free.
    pub(super) fn told_left(&mut self, seat: Seat) {
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

/// Names that bots have or may get.
pub(super) fn is_bot_name(name: &PlayerName) -> bool {
    Seat::ALL.into_iter().any(|seat| bot_name(seat) == name.as_str())
}
