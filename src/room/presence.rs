//! Sockets that open and close, players who find their seats again, and players who stay away.

use std::time::Duration;

use super::member::Member;
use super::room::{Lifecycle, Room, State};
use super::seats::{Human, Presence};
use super::{Connection, ConnectionId, DisconnectKind, Effect, RoomStage, Time};
use crate::game::Seat;
use crate::protocol::{CloseReason, ErrorType, OnClose, PlayerName, SessionKey, server_message};

/// Before the game: how long a reload may take before a lost socket counts as leaving.
const RELOAD_WITHIN: Duration = Duration::from_millis(1_500);
/// The same for a client that asks to keep the seat: its player looks at another page or sends a friend the link.
const SEAT_KEPT_FOR: Duration = Duration::from_secs(3 * 60);
/// In a game: how long a page may take to open its next socket before the player counts as gone.
pub(super) const RETURN_WITHIN: Duration = Duration::from_millis(2_500);
/// How long a room stays without any player (rules, section 10), unless one of them was lost.
const ABANDONED_AFTER: Duration = Duration::from_secs(30);
/// The same after the game is over.
const FINISHED_AFTER: Duration = Duration::from_secs(5);
/// After a restart: how long the other players may take to come back after the first one.
pub(super) const RETURN_AFTER_FIRST: Duration = Duration::from_secs(30);
/// How many sockets may be connected without having identified themselves, and as many again for each player's browser.
const UNIDENTIFIED_SOCKETS: usize = 8;

impl Room {
    /// Any socket may connect: only `client_ready` shows whether it belongs to a player, and players come back through new
    /// sockets before their old ones are gone. Above the bound of unidentified sockets the oldest one is closed. A crowd
    /// cannot keep a player out, because a player's `client_ready` follows at once.
    pub(super) fn connected(&mut self, connection: &Connection) {
        let session = connection.session.filter(|session| self.has_seat(*session));
        let is_alike = |member: &&Member| match session {
            Some(_) => member.session == session && member.seat.is_none(),
            None => !member.is_listening && !self.is_player(member),
        };
        let alike: Vec<ConnectionId> = self.members.iter().filter(is_alike).map(|member| member.id).collect();
        if alike.len() >= UNIDENTIFIED_SOCKETS
            && let Some(oldest) = alike.into_iter().min()
        {
            self.close_unidentified(oldest);
        }
        self.members.push(Member { id: connection.id, session: connection.session, seat: None, is_listening: false });
    }

    /// Closes the latest watchers above the bound, after a client began to watch or stopped being a player.
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
        self.repeats.retain(|&(_, receiver)| receiver != id);
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
        self.repeats.retain(|&(_, receiver)| receiver != id);
        if let Some(seat) = member.seat {
            self.vacate(seat, id, disconnect_kind, now);
        }
    }

    /// The socket of a seat's player is gone. Does nothing if the player has another socket by now.
    fn vacate(&mut self, seat: Seat, id: ConnectionId, disconnect_kind: DisconnectKind, now: Time) {
        let playing = matches!(self.state, State::Playing(_));
        let is_over = self.stage() == RoomStage::Over;
        let Some(human) = self.seats.human_mut(seat).filter(|human| human.presence == Presence::Connected(id)) else {
            return;
        };
        // A page that reloads, or goes from the room to the game, reconnects in a moment.
        let grace = match disconnect_kind {
            _ if playing => RETURN_WITHIN,
            _ if human.on_close == OnClose::KeepSeat => SEAT_KEPT_FOR,
            DisconnectKind::Lost => RELOAD_WITHIN,
            DisconnectKind::Clean => Duration::ZERO,
        };
        human.presence = Presence::Grace { until: now + grace };
        human.is_lost = playing && disconnect_kind == DisconnectKind::Lost;
        human.has_left_result = is_over && disconnect_kind == DisconnectKind::Clean;
        if playing {
            self.schedule_empty_close(now);
        } else if grace.is_zero() {
            self.leave(seat, now);
        } else if self.seats.human(seat).is_some_and(Human::is_kept) {
            self.presence_changed();
        }
    }

    /// Sets or clears the time at which an empty room closes.
    pub(super) fn schedule_empty_close(&mut self, now: Time) {
        let wait = match self.stage() {
            RoomStage::Over => FINISHED_AFTER,
            RoomStage::Playing if self.awaits_lost() => self.options.abandoned_after.max(ABANDONED_AFTER),
            RoomStage::Playing => ABANDONED_AFTER,
            RoomStage::Waiting => return,
        };
        if self.seats.anyone_connected() {
            self.closes_at = None;
        } else {
            self.closes_at.get_or_insert(now + wait);
        }
    }

    /// Whether the game waits for a player who was lost, when nobody else is there.
    fn awaits_lost(&self) -> bool {
        !self.options.abandoned_after.is_zero() && self.seats.humans().any(|(_, human)| human.is_lost)
    }

    /// When the game counts as abandoned, if it stands still for lost players.
    pub(super) fn given_up_at(&self) -> Option<Time> {
        self.closes_at.filter(|_| self.lifecycle == Lifecycle::Suspended && self.awaits_lost())
    }

    /// The game stands still while nobody is there or on the way, and somebody was lost. Returns whether it does from now on.
    fn suspend_for_lost(&mut self, now: Time) -> bool {
        let is_present = |human: &Human| match human.presence {
            Presence::Connected(_) => true,
            Presence::Grace { until } => until > now,
            Presence::Away => false,
        };
        let suspends = self.stage() == RoomStage::Playing
            && self.lifecycle == Lifecycle::Live
            && self.awaits_lost()
            && !self.seats.humans().any(|(_, human)| is_present(human));
        if suspends {
            self.lifecycle = Lifecycle::Suspended;
        }
        suspends
    }

    /// Players whose grace has ended lose the seat before the game; in a game a bot takes over, if others are there.
    pub(super) fn expire_grace(&mut self, now: Time) {
        if self.suspend_for_lost(now) {
            return;
        }
        let expired: Vec<Seat> = self
            .seats
            .humans()
            .filter(|(_, human)| matches!(human.presence, Presence::Grace { until } if until <= now))
            .map(|(seat, _)| seat)
            .collect();
        for seat in expired {
            match self.state {
                _ if self.lifecycle == Lifecycle::Over => {}
                State::Waiting => self.expire_seat(seat, now),
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
                    self.send_room_update_to(id, member.seat);
                }
            }
        }
    }

    /// The seat of this client. It is found by session and name, by the seat token, or, without a name, by a session that
    /// holds one seat only (protocol, section 13).
    pub(super) fn find_seat(&self, id: ConnectionId, name: Option<&PlayerName>, token: Option<&str>) -> Option<Seat> {
        let session = self.member(id)?.session;
        let fits = |human: &Human| human.admits(session, token) && name.is_none_or(|name| human.name == *name);
        let admitting: Vec<_> = self.seats.humans().filter(|(_, human)| fits(human)).collect();
        match *admitting {
            [(seat, _)] => Some(seat),
            // Two tabs of one browser hold two seats: the client means the one without a socket.
            _ => match *admitting.iter().filter(|(_, human)| !human.is_connected()).collect::<Vec<_>>() {
                [&(seat, _)] => Some(seat),
                _ => None,
            },
        }
    }

    /// Whether this player has closed the final screen of the game on purpose. Showing it again would send the existing
    /// client into a loop (protocol, section 9.2).
    pub(super) fn has_left_result(&self, seat: Seat) -> bool {
        self.seats.human(seat).is_some_and(|human| human.has_left_result)
    }

    /// Gives a seat to the socket of its player.
    pub(super) fn occupy_seat(&mut self, id: ConnectionId, seat: Seat, now: Time) {
        let Some(&Member { session, seat: held, .. }) = self.member(id) else {
            return;
        };
        // A browser that holds two seats occupies one at a time with each socket.
        if let Some(held) = held.filter(|held| *held != seat) {
            self.vacate(held, id, DisconnectKind::Lost, now);
        }
        let Some(human) = self.seats.human_mut(seat) else {
            return;
        };
        let before = std::mem::replace(&mut human.presence, Presence::Connected(id));
        human.is_lost = false;
        let held_by = human.session;
        if session.is_some() {
            // A token moves the seat to the browser that shows it.
            human.session = session;
        }
        for member in &mut self.members {
            if member.id == id {
                member.seat = Some(seat);
            } else if member.seat == Some(seat) {
                // The newest socket wins. Code 1000, because after any other code the older one would reconnect.
                member.seat = None;
                member.is_listening = false;
                self.effects.push(Effect::Close(member.id, CloseReason::Done));
            }
        }
        self.closes_at = None;
        self.close_surplus_watchers();
        if self.lifecycle == Lifecycle::Suspended {
            self.end_suspension(now);
        }
        if before == Presence::Away {
            self.return_from_bot(seat, now);
        } else if session.is_some() && session != held_by {
            self.journal_snapshot();
        }
    }

    /// Shows a page the room and, while a game runs, the table.
    pub(super) fn show_room_to(&mut self, id: ConnectionId, seat: Option<Seat>, now: Time) {
        let you = seat.map(|seat| self.seats.name(seat));
        let frame = server_message::room_state_update(&self.summary(), &self.commitment, you);
        self.send(id, frame);
        if matches!(self.state, State::Playing(_)) {
            self.show_table_to(id, now);
        }
        if let Some((room_id, name)) = &self.rematch {
            let frame = server_message::rematch(*room_id, name);
            self.send(id, frame);
        }
    }

    pub(super) fn sync(&mut self, id: ConnectionId, now: Time) {
        match self.state {
            State::Playing(_) => self.show_table_to(id, now),
            State::Waiting => {
                let seat = self.member(id).and_then(|member| member.seat);
                self.send_room_update_to(id, seat);
            }
        }
    }

    /// The first player is back after a restart, or after all were lost. The game goes on, with full time for everyone.
    pub(super) fn end_suspension(&mut self, now: Time) {
        self.lifecycle = Lifecycle::Live;
        self.seats.for_each_human(|human| {
            if let Presence::Grace { until } = &mut human.presence {
                *until = now + RETURN_AFTER_FIRST;
            }
        });
        self.resume(now);
    }
}
