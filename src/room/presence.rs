//! Coming and going: sockets open and close, seats find their players again, and those who stay away are missed.

use std::time::Duration;

use super::room::{Lifecycle, Room, State};
use super::seats::{Human, Presence};
use super::{Connection, ConnectionId, DisconnectKind, Effect, Time};
use crate::game::Seat;
use crate::protocol::{CloseReason, ErrorType, OnClose, PlayerName, SessionKey, server_message};

/// After taking a seat in the lobby: how long the room's page may take to open its socket.
pub(super) const CLAIM_SEAT_WITHIN: Duration = Duration::from_secs(30);
/// Before the game: how long a reload may take before a lost socket counts as leaving.
const RELOAD_WITHIN: Duration = Duration::from_millis(1_500);
/// The same for a client that asks for the seat to be kept: its player looks at another page, or sends a friend the link.
const SEAT_KEPT_FOR: Duration = Duration::from_secs(3 * 60);
/// In a game: how long a page may take to open its next socket before the player counts as gone.
pub(super) const RETURN_WITHIN: Duration = Duration::from_millis(2_500);
/// How long a room stays without any player (rules, section 10).
const ABANDONED_AFTER: Duration = Duration::from_secs(30);
/// The same, after the game is over.
const LEFT_AFTER: Duration = Duration::from_secs(5);
/// When `room_update` is repeated to a page that may not have been listening yet (protocol, section 5).
pub(super) const REPEAT_AFTER: [Duration; 3] =
    [Duration::from_millis(150), Duration::from_millis(500), Duration::from_millis(1_500)];
/// After a restart: how long the others may take to come back once the first is there.
pub(super) const RETURN_AFTER_FIRST: Duration = Duration::from_secs(30);
/// Sockets that have not said yet who they are, and as many more of each player's browser without a seat.
const UNKNOWN_SOCKETS: usize = 8;

/// A socket at this room.
#[derive(Debug)]
pub(super) struct Member {
    pub(super) id: ConnectionId,
    pub(super) session: Option<SessionKey>,
    /// Whose player it is; nobody's for those who watch.
    pub(super) seat: Option<Seat>,
    /// Whether it has said `client_ready`, or anything else: from then on it hears what happens.
    pub(super) is_listening: bool,
}

impl Room {
    /// Everybody may come in: only a greeting shows whether somebody has a seat here, and players come back through new
    /// sockets before their old ones are gone. Where too many have come and are nobody yet, the one that has been here
    /// longest makes room. So no crowd can stand in a player's way, for his greeting follows at once.
    pub(super) fn connected(&mut self, connection: &Connection) {
        let session = connection.session.filter(|session| self.has_seat(*session));
        let is_alike = |member: &&Member| match session {
            Some(_) => member.session == session && member.seat.is_none(),
            None => !member.is_listening && !self.is_player(member),
        };
        let alike: Vec<ConnectionId> = self.members.iter().filter(is_alike).map(|member| member.id).collect();
        if alike.len() >= UNKNOWN_SOCKETS
            && let Some(oldest) = alike.into_iter().min()
        {
            self.close_unidentified(oldest);
        }
        self.members.push(Member { id: connection.id, session: connection.session, seat: None, is_listening: false });
    }

    /// More watch than may, because somebody begins to or is no player any more: the latest go.
    pub(super) fn close_surplus_watchers(&mut self) {
        let watches = |member: &&Member| member.is_listening && !self.is_player(member);
        let mut watchers: Vec<ConnectionId> = self.members.iter().filter(watches).map(|member| member.id).collect();
        watchers.sort_unstable();
        for id in watchers.into_iter().skip(self.options.max_watchers_per_room) {
            self.refuse(id, ErrorType::Busy, "Too many people are watching this table");
            self.close_unidentified(id);
        }
    }

    fn close_unidentified(&mut self, id: ConnectionId) {
        self.members.retain(|member| member.id != id);
        self.repeats.retain(|&(_, owed)| owed != id);
        self.effects.push(Effect::Close(id, CloseReason::Done));
    }

    fn is_player(&self, member: &Member) -> bool {
        member.seat.is_some() || member.session.is_some_and(|session| self.has_seat(session))
    }

    fn has_seat(&self, session: SessionKey) -> bool {
        self.seats.humans().any(|(_, human)| human.session == Some(session))
    }

    pub(super) fn disconnected(&mut self, id: ConnectionId, disconnect_kind: DisconnectKind, now: Time) {
        let Some(at) = self.members.iter().position(|member| member.id == id) else {
            return;
        };
        let member = self.members.swap_remove(at);
        self.repeats.retain(|&(_, owed)| owed != id);
        if let Some(seat) = member.seat {
            self.vacate(seat, id, disconnect_kind, now);
        }
    }

    /// Nobody sits at this seat any more who came by this socket.
    fn vacate(&mut self, seat: Seat, id: ConnectionId, disconnect_kind: DisconnectKind, now: Time) {
        let playing = matches!(self.state, State::Playing(_));
        let is_over = matches!(&self.state, State::Playing(playing) if playing.game.winners().is_some());
        let Some(human) = self.seats.human_mut(seat).filter(|human| human.presence == Presence::Connected(id)) else {
            return;
        };
        // A page that reloads, or goes from the room to the game, is back in a moment.
        let grace = match disconnect_kind {
            _ if playing => RETURN_WITHIN,
            _ if human.on_close == OnClose::KeepSeat => SEAT_KEPT_FOR,
            DisconnectKind::Lost => RELOAD_WITHIN,
            DisconnectKind::Clean => Duration::ZERO,
        };
        human.presence = Presence::Grace { until: now + grace };
        human.has_left_result = is_over && disconnect_kind == DisconnectKind::Clean;
        if playing {
            self.watch_for_empty_room(now);
        } else if grace.is_zero() {
            self.leave(seat, now);
        } else if self.seats.human(seat).is_some_and(Human::is_kept) {
            self.presence_changed();
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
    pub(super) fn expire_grace(&mut self, now: Time) {
        let missing: Vec<Seat> = self
            .seats
            .humans()
            .filter(|(_, human)| matches!(human.presence, Presence::Grace { until } if until <= now))
            .map(|(seat, _)| seat)
            .collect();
        for seat in missing {
            match self.state {
                _ if self.lifecycle == Lifecycle::Over => {}
                State::Waiting => self.give_up_missed(seat, now),
                State::Playing(_) => self.take_over(seat, now),
            }
        }
    }

    pub(super) fn repeat_updates(&mut self, now: Time) {
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

    /// Finds the seat that belongs to this client: by its session and name, by its seat token, or, without a name, by
    /// a session that holds one seat only (protocol, section 13).
    pub(super) fn find_seat(&self, id: ConnectionId, name: Option<&PlayerName>, token: Option<&str>) -> Option<Seat> {
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
    pub(super) fn has_left_result(&self, seat: Seat) -> bool {
        self.seats.human(seat).is_some_and(|human| human.has_left_result)
    }

    /// Gives a seat to the socket of its player.
    pub(super) fn sit_down(&mut self, id: ConnectionId, seat: Seat, now: Time) {
        let Some(&Member { session, seat: held, .. }) = self.member(id) else {
            return;
        };
        // Who holds two seats sits on one at a time, however often he changes.
        if let Some(held) = held.filter(|held| *held != seat) {
            self.vacate(held, id, DisconnectKind::Lost, now);
        }
        let Some(human) = self.seats.human_mut(seat) else {
            return;
        };
        let before = std::mem::replace(&mut human.presence, Presence::Connected(id));
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
        self.close_surplus_watchers();
        if self.lifecycle == Lifecycle::Suspended {
            self.go_on(now);
        }
        if before == Presence::Away {
            self.hand_back(seat, now);
        } else if session.is_some() && session != held_by {
            self.journal_snapshot();
        }
    }

    /// Answers `client_ready`.
    pub(super) fn welcome(&mut self, id: ConnectionId, seat: Option<Seat>, now: Time) {
        let you = seat.map(|seat| self.seats.name(seat));
        let frame = server_message::room_state_update(&self.summary(), &self.commitment, you);
        self.send(id, frame);
        if matches!(self.state, State::Playing(_)) {
            self.show_table_to(id, now);
        }
    }

    pub(super) fn sync(&mut self, id: ConnectionId, now: Time) {
        match self.state {
            State::Playing(_) => self.show_table_to(id, now),
            State::Waiting => {
                let seat = self.member(id).and_then(|member| member.seat);
                let frame = self.room_update_for(seat);
                self.send(id, frame);
            }
        }
    }

    /// The first player is back after a restart: the game goes on, with its full time for everybody.
    pub(super) fn go_on(&mut self, now: Time) {
        self.lifecycle = Lifecycle::Live;
        for seat in Seat::ALL {
            if let Some(human) = self.seats.human_mut(seat)
                && let Presence::Grace { until } = &mut human.presence
            {
                *until = now + RETURN_AFTER_FIRST;
            }
        }
        self.resume(now);
    }
}
