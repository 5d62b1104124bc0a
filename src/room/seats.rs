//! Who sits where: persons, bots and free seats.

use std::time::Duration;

use crate::game::{BySeat, Entropy, Level, Seat};
use crate::protocol::{OnClose, PlayerName, SessionKey};

use super::{ConnectionId, JoinRequest, Time};

/// How long the room's page may take to open its socket after a seat was taken in the lobby.
const CLAIM_SEAT_WITHIN: Duration = Duration::from_secs(30);

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
    /// Proves the seat as well as the session does, for clients without cookies.
    pub(super) token: SessionKey,
    pub(super) entropy: Option<Entropy>,
    pub(super) presence: Presence,
    /// The player's last connection was lost in a game; the player has not left it.
    pub(super) is_lost: bool,
    /// What becomes of the seat when the player's socket closes before the game.
    pub(super) on_close: OnClose,
    /// The player closed the final screen on purpose and is not shown it again.
    pub(super) has_left_result: bool,
}

/// Whether a person is connected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Presence {
    /// Through this socket.
    Connected(ConnectionId),
    /// Not connected, but expected back by this time.
    Grace { until: Time },
    /// Gone; a bot plays.
    Away,
}

impl Human {
    /// A person who has just taken a seat and is expected to connect.
    pub(super) fn new(who: JoinRequest, color: &'static str, now: Time) -> Self {
        Self {
            name: who.name,
            color,
            session: who.session,
            token: who.token,
            entropy: None,
            presence: Presence::Grace { until: now + CLAIM_SEAT_WITHIN },
            is_lost: false,
            on_close: OnClose::Leave,
            has_left_result: false,
        }
    }

    /// Whether a client with this session or this token may take the seat.
    pub(super) fn admits(&self, session: Option<SessionKey>, token: Option<&str>) -> bool {
        let by_session = session.is_some() && session == self.session;
        by_session || token.is_some_and(|token| SessionKey::of(token) == self.token)
    }

    pub(super) fn is_connected(&self) -> bool {
        matches!(self.presence, Presence::Connected(_))
    }

    /// Whether the player is gone and asked for the seat to be kept. A player who has just joined is still on the way.
    pub(super) fn is_kept(&self) -> bool {
        self.on_close == OnClose::KeepSeat && !self.is_connected()
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

    /// The seats of a restored room.
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

    pub(super) fn for_each_human(&mut self, change: impl Fn(&mut Human)) {
        Seat::ALL.into_iter().for_each(|seat| self.human_mut(seat).into_iter().for_each(&change));
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

    pub(super) fn anyone_connected(&self) -> bool {
        self.humans().any(|(_, human)| human.is_connected())
    }

    /// The occupant's name; empty for a free seat.
    pub(super) fn name(&self, seat: Seat) -> &str {
        match &self[seat] {
            Occupant::Free => "",
            Occupant::Bot(_) => bot_name(seat),
            Occupant::Human(human) => human.name.as_str(),
        }
    }

    /// The level of the bot that decides for this seat now; `None` if a person does.
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
