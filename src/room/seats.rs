//! Who sits where: persons, bots and free seats.

use crate::game::{BySeat, Entropy, Level, Seat};
use crate::protocol::{OnClose, PlayerName, SessionKey};

use super::{ConnectionId, JoinRequest, Time};

/// A seat's occupant.
#[derive(Debug, Clone)]
pub(super) enum Occupant {
    Free,
    Bot(Level),
    Human(Box<Human>),
}

/// A person with a seat.
#[derive(Debug, Clone)]
pub(super) struct Human {
    pub(super) name: PlayerName,
    pub(super) color: &'static str,
    /// The browser that holds the seat.
    pub(super) session: Option<SessionKey>,
    /// What binds just as well, for clients without cookies.
    pub(super) token: SessionKey,
    pub(super) entropy: Option<Entropy>,
    pub(super) presence: Presence,
    /// What becomes of the seat when the player's socket closes before the game.
    pub(super) on_close: OnClose,
    /// He has closed the result on purpose: he is not shown it again.
    pub(super) has_left_result: bool,
}

/// Whether a person is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Presence {
    /// Through this socket.
    Connected(ConnectionId),
    /// Not at the moment; until then nothing is made of it.
    Grace { until: Time },
    /// Gone, and a bot plays.
    Away,
}

impl Human {
    /// Somebody who has taken a seat and has until then to come and sit on it.
    pub(super) fn new(who: JoinRequest, color: &'static str, until: Time) -> Self {
        Self {
            name: who.name,
            color,
            session: who.session,
            token: who.token,
            entropy: None,
            presence: Presence::Grace { until },
            on_close: OnClose::Leave,
            has_left_result: false,
        }
    }

    /// Whether a client with this session or this token may have the seat.
    pub(super) fn admits(&self, session: Option<SessionKey>, token: Option<&str>) -> bool {
        let by_session = session.is_some() && session == self.session;
        by_session || token.is_some_and(|token| SessionKey::of(token) == self.token)
    }

    pub(super) fn is_here(&self) -> bool {
        matches!(self.presence, Presence::Connected(_))
    }

    /// Whether the player has gone and the seat is kept. A player who has just joined is still on the way.
    pub(super) fn is_kept(&self) -> bool {
        self.on_close == OnClose::KeepSeat && !self.is_here()
    }
}

/// The colours of persons (protocol, section 5).
pub const COLORS: [&str; 8] = ["blue", "purple", "orange", "red", "green", "teal", "pink", "yellow"];

/// A bot's name: its seat's number.
pub(super) const fn bot_name(seat: Seat) -> &'static str {
    match seat {
        Seat::One => "Bot 1",
        Seat::Two => "Bot 2",
        Seat::Three => "Bot 3",
        Seat::Four => "Bot 4",
    }
}

/// The four seats of a room.
#[derive(Debug, Clone)]
pub(super) struct Seats(BySeat<Occupant>);

impl std::ops::Index<Seat> for Seats {
    type Output = Occupant;
    fn index(&self, seat: Seat) -> &Occupant {
        &self.0[seat]
    }
}

impl std::ops::IndexMut<Seat> for Seats {
    fn index_mut(&mut self, seat: Seat) -> &mut Occupant {
        &mut self.0[seat]
    }
}

impl Seats {
    /// The host on the first seat, bots on the others.
    pub(super) fn new(host: Human) -> Self {
        let bot = || Occupant::Bot(Level::default());
        Self(BySeat::new([Occupant::Human(Box::new(host)), bot(), bot(), bot()]))
    }

    /// The seats as they were.
    pub(super) const fn restored(seats: BySeat<Occupant>) -> Self {
        Self(seats)
    }

    pub(super) fn human(&self, seat: Seat) -> Option<&Human> {
        match &self[seat] {
            Occupant::Human(human) => Some(human),
            Occupant::Free | Occupant::Bot(_) => None,
        }
    }

    pub(super) fn human_mut(&mut self, seat: Seat) -> Option<&mut Human> {
        match &mut self[seat] {
            Occupant::Human(human) => Some(human),
            Occupant::Free | Occupant::Bot(_) => None,
        }
    }

    /// Persons and their seats, in seat order.
    pub(super) fn humans(&self) -> impl Iterator<Item = (Seat, &Human)> {
        Seat::ALL.into_iter().filter_map(|seat| Some((seat, self.human(seat)?)))
    }

    pub(super) fn seat_of(&self, name: &PlayerName) -> Option<Seat> {
        self.humans().find(|(_, human)| human.name == *name).map(|(seat, _)| seat)
    }

    pub(super) fn first_free(&self) -> Option<Seat> {
        Seat::ALL.into_iter().find(|&seat| matches!(self[seat], Occupant::Free))
    }

    /// The bot whose seat a person takes: the one with the highest number.
    pub(super) fn last_bot(&self) -> Option<Seat> {
        Seat::ALL.into_iter().rev().find(|&seat| matches!(self[seat], Occupant::Bot(_)))
    }

    pub(super) fn is_full(&self) -> bool {
        self.first_free().is_none()
    }

    pub(super) fn anybody_here(&self) -> bool {
        self.humans().any(|(_, human)| human.is_here())
    }

    /// What the occupant is called; nothing for a free seat.
    pub(super) fn name(&self, seat: Seat) -> &str {
        match &self[seat] {
            Occupant::Free => "",
            Occupant::Bot(_) => bot_name(seat),
            Occupant::Human(human) => human.name.as_str(),
        }
    }

    /// Who decides for this seat now: a bot of that level, or a person.
    pub(super) fn bot_level(&self, seat: Seat) -> Option<Level> {
        match &self[seat] {
            Occupant::Bot(level) => Some(*level),
            Occupant::Human(human) if human.presence == Presence::Away => Some(Level::Normal),
            Occupant::Human(_) | Occupant::Free => None,
        }
    }

    /// Colours that no person in the room has.
    pub(super) fn free_colors(&self) -> Vec<&'static str> {
        COLORS.into_iter().filter(|color| self.humans().all(|(_, human)| human.color != *color)).collect()
    }
}
