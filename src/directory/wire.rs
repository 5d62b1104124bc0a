//! What servers write about themselves, and the messages they send each other.
//!
//! Everything in Redis is from outside: it is read within bounds, and what cannot be read is left out.

use std::str::FromStr as _;

use serde::{Deserialize, Serialize};

use super::PublicUrl;
use crate::game::{BySeat, Level, Seat};
use crate::protocol::server_message::{Occupant, RoomSummary};
use crate::protocol::{InstanceId, PlayerName, RoomId, SeatChoice, SessionKey, Tempo};
use crate::room::{AVATAR_COLORS, JoinError, JoinRequest, LISTED_MAX};

/// The longest text that is read.
const MOST_BYTES: usize = 512 * 1024;
/// The longest time as text.
const MOST_TIME_CHARS: usize = 40;

/// What a server writes about itself.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Announcement {
    /// Random, drawn at its start, so that two servers under one digit notice each other.
    pub(super) start: String,
    /// Its own public address.
    pub(super) url: String,
}

impl Announcement {
    pub(super) fn read(text: &str) -> Option<Self> {
        read(text)
    }

    pub(super) fn url(&self) -> Option<PublicUrl> {
        self.url.parse().ok().filter(|url: &PublicUrl| !url.is_empty())
    }
}

fn read<'a, T: Deserialize<'a>>(text: &'a str) -> Option<T> {
    (text.len() <= MOST_BYTES).then(|| serde_json::from_str(text).ok())?
}

/// A room that can be joined.
#[derive(Debug, Serialize, Deserialize)]
struct Listed {
    room_id: String,
    host_name: String,
    players: [Option<Player>; 4],
    created_at: String,
    last_activity: String,
}

#[derive(Debug, Serialize, Deserialize)]
struct Player {
    name: String,
    is_host: bool,
    /// A person's colour.
    color: Option<String>,
    /// A bot's level.
    level: Option<String>,
    /// Whether it is a person who has gone for a moment.
    #[serde(default)]
    is_away: bool,
}

/// The text of a server's rooms.
pub(super) fn list(rooms: &[RoomSummary]) -> String {
    let rooms: Vec<Listed> = rooms.iter().map(Listed::from).collect();
    // Plain values always have a JSON form.
    serde_json::to_string(&rooms).unwrap_or_default()
}

/// The rooms of that server out of its text; those that are not its own are left out.
pub(super) fn rooms(instance: InstanceId, text: &str) -> Vec<RoomSummary> {
    let rooms: Vec<Listed> = read(text).unwrap_or_default();
    let rooms = rooms.into_iter().take(LISTED_MAX).filter_map(Listed::summary);
    rooms.filter(|room| room.room_id.instance() == instance).collect()
}

impl From<&RoomSummary> for Listed {
    fn from(room: &RoomSummary) -> Self {
        let player = |player: &Option<Occupant>| {
            player.as_ref().map(|player| Player {
                name: player.name.clone(),
                is_host: player.is_host,
                color: player.avatar_color.map(str::to_owned),
                level: player.level.map(|level| level.to_string()),
                is_away: !player.is_connected,
            })
        };
        Self {
            room_id: room.room_id.to_string(),
            host_name: room.host_name.clone(),
            players: room.players.as_array().each_ref().map(player),
            created_at: room.created_at.clone(),
            last_activity: room.last_activity.clone(),
        }
    }
}

impl Listed {
    fn summary(self) -> Option<RoomSummary> {
        let name = |name: String| name.parse::<PlayerName>().ok().map(|name| name.as_str().to_owned());
        let is_time = |text: &str| text.len() <= MOST_TIME_CHARS && text.is_ascii();
        if !(is_time(&self.created_at) && is_time(&self.last_activity)) {
            return None;
        }
        let mut players = Vec::with_capacity(4);
        for player in self.players {
            players.push(match player {
                None => None,
                Some(player) => {
                    let color = |text: &str| AVATAR_COLORS.into_iter().find(|color| *color == text);
                    let level = player.level.as_deref().map(Level::from_str).transpose().ok()?;
                    Some(Occupant {
                        name: name(player.name)?,
                        is_bot: level.is_some(),
                        is_host: player.is_host,
                        avatar_color: player.color.as_deref().and_then(color),
                        level,
                        is_connected: !player.is_away,
                    })
                }
            });
        }
        Some(RoomSummary {
            room_id: self.room_id.parse().ok()?,
            host_name: name(self.host_name)?,
            started: false,
            tempo: Tempo::default(),
            players: BySeat::new(players.try_into().ok()?),
            created_at: self.created_at,
            last_activity: self.last_activity,
        })
    }
}

/// A message from one server to another. Hashes prove a session and a seat; the secrets behind them stay where they are.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub(super) enum Envelope {
    /// A player asks for a seat in a room of the receiver.
    Join {
        /// Comes back with the answer.
        call: u64,
        /// The server to answer.
        from: String,
        room: String,
        session: Option<String>,
        name: String,
        token: String,
        /// Whether the seat of a bot will do.
        #[serde(default)]
        take_bot_seat: bool,
    },
    /// The player has the seat.
    Joined { call: u64, seat: u8 },
    /// The player has no seat, and why.
    Refused { call: u64, reason: String },
}

impl Envelope {
    pub(super) fn join(call: u64, from: InstanceId, room: RoomId, who: &JoinRequest, choice: SeatChoice) -> Self {
        Self::Join {
            call,
            from: from.to_string(),
            room: room.to_string(),
            session: who.session.map(|session| hex::encode(session.as_bytes())),
            name: who.name.as_str().to_owned(),
            token: hex::encode(who.token.as_bytes()),
            take_bot_seat: choice == SeatChoice::FreeOrBot,
        }
    }

    pub(super) fn answer(call: u64, outcome: Result<Seat, JoinError>) -> Self {
        match outcome {
            Ok(seat) => Self::Joined { call, seat: seat.number() },
            Err(reason) => Self::Refused { call, reason: <&str>::from(reason).to_owned() },
        }
    }

    pub(super) fn text(&self) -> String {
        // Plain values always have a JSON form.
        serde_json::to_string(self).unwrap_or_default()
    }

    pub(super) fn read(text: &str) -> Option<Incoming> {
        match read::<Self>(text)? {
            Self::Join { call, from, room, session, name, token, take_bot_seat } => {
                let key = |text: String| {
                    let mut bytes = [0; 32];
                    hex::decode_to_slice(text, &mut bytes).ok()?;
                    Some(SessionKey::from_bytes(bytes))
                };
                let session = match session {
                    Some(session) => Some(key(session)?),
                    None => None,
                };
                let who = JoinRequest { session, name: name.parse().ok()?, token: key(token)? };
                let choice = if take_bot_seat { SeatChoice::FreeOrBot } else { SeatChoice::Free };
                Some(Incoming::Join { call, from: from.parse().ok()?, room: room.parse().ok()?, who, choice })
            }
            Self::Joined { call, seat } => {
                Some(Incoming::Answer { call, outcome: Ok(Seat::from_number(u64::from(seat))?) })
            }
            Self::Refused { call, reason } => {
                // A newer server may send reasons that this one does not know.
                let reason = reason.parse().unwrap_or(JoinError::Unreachable);
                Some(Incoming::Answer { call, outcome: Err(reason) })
            }
        }
    }
}

/// A message of another server, read.
pub(super) enum Incoming {
    Join { call: u64, from: InstanceId, room: RoomId, who: JoinRequest, choice: SeatChoice },
    Answer { call: u64, outcome: Result<Seat, JoinError> },
}

#[cfg(test)]
mod tests {
    use super::*;

    fn room(id: &str) -> RoomSummary {
        let person = |name: &str, is_host| Occupant {
            name: name.to_owned(),
            is_bot: false,
            is_host,
            avatar_color: Some("teal"),
            level: None,
            is_connected: is_host,
        };
        let bot = Occupant {
            name: "Bot 3".to_owned(),
            is_bot: true,
            is_host: false,
            avatar_color: None,
            level: Some(Level::Hard),
            is_connected: true,
        };
        RoomSummary {
            room_id: id.parse().unwrap(),
            host_name: "Mira".to_owned(),
            started: false,
            tempo: Tempo::default(),
            players: BySeat::new([Some(person("Mira", true)), Some(person("Jon", false)), Some(bot), None]),
            created_at: "2026-11-23T10:15:00Z".to_owned(),
            last_activity: "2026-11-23T10:16:00Z".to_owned(),
        }
    }

    #[test]
    fn rooms_arrive_as_they_were_sent_and_only_those_of_the_sender() {
        let (own, foreign) = (room("A12345"), room("B12345"));
        let text = list(&[own.clone(), foreign]);
        assert_eq!(rooms("A".parse().unwrap(), &text), [own]);
    }

    #[test]
    fn what_makes_no_sense_is_left_out() {
        let text = list(&[room("A12345")]);
        let read = |text: &str| rooms("A".parse().unwrap(), text).len();
        assert_eq!(read(&text), 1);
        for (old, new) in
            [("Mira", "<script>"), ("A12345", "A1234"), ("\"hard\"", "\"divine\""), ("2026", &"2026".repeat(20))]
        {
            assert_eq!(read(&text.replace(old, new)), 0, "{new}");
        }
        for nonsense in ["", "[", "{}", "[null]", &"[".repeat(100_000), &" ".repeat(MOST_BYTES + 1)] {
            assert_eq!(read(nonsense), 0);
        }
        for nonsense in ["", "{}", "{\"kind\":\"joined\",\"call\":1,\"seat\":9}", "{\"kind\":\"other\"}"] {
            assert!(Envelope::read(nonsense).is_none(), "{nonsense}");
        }
    }

    #[test]
    fn a_request_carries_hashes_and_its_answer_the_seat_or_the_reason() {
        let who = JoinRequest {
            session: Some(SessionKey::of("cookie")),
            name: "Jon".parse().unwrap(),
            token: SessionKey::of("token"),
        };
        let (from, room) = ("0".parse().unwrap(), "F00001".parse().unwrap());
        let text = Envelope::join(u64::MAX, from, room, &who, SeatChoice::FreeOrBot).text();
        assert!(!text.contains("cookie"));
        // A server of an older version says nothing of bots' seats.
        let older = text.replace(",\"take_bot_seat\":true", "");
        assert!(matches!(Envelope::read(&older), Some(Incoming::Join { choice: SeatChoice::Free, .. })), "{older}");
        let Some(Incoming::Join { call, from, room, who: arrived, choice }) = Envelope::read(&text) else {
            panic!("{text}")
        };
        assert_eq!(choice, SeatChoice::FreeOrBot);
        assert_eq!((call, from.to_string(), room.to_string()), (u64::MAX, "0".to_owned(), "F00001".to_owned()));
        assert_eq!((arrived.session, arrived.token, arrived.name), (who.session, who.token, who.name));

        let reasons = [JoinError::NotFound, JoinError::Full, JoinError::Started, JoinError::NameTaken];
        let more = [JoinError::Busy, JoinError::Stopping, JoinError::Unreachable];
        for outcome in [Ok(Seat::Two)].into_iter().chain(reasons.into_iter().chain(more).map(Err)) {
            let Some(Incoming::Answer { call: 7, outcome: received }) =
                Envelope::read(&Envelope::answer(7, outcome).text())
            else {
                panic!("{outcome:?}")
            };
            assert_eq!(received, outcome);
        }
    }
}
