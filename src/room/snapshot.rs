//! A room as the journal stores it: who sits where, and how the game began.
//!
//! A game is a seed and a list of actions, so its journal is short: a [`RoomSnapshot`] whenever seats or sessions change,
//! and a few bytes for each event after it ([`EventBytes`]).

use serde::{Deserialize, Serialize};

use super::playing::Playing;
use super::seats::{COLORS, Human, Occupant, Presence};
use super::{EventBytes, Time};
use crate::archive::{GameId, GameTime, Takeover};
use crate::game::{BySeat, DealProof, Level, Seat, ServerSeed};
use crate::protocol::{OnClose, RoomId, SessionKey};

/// What a room wants in the journal.
#[derive(Debug)]
pub enum Note {
    /// Seats, sessions and the game's seed, as they are now.
    RoomSnapshot(Box<RoomSnapshot>),
    /// Something happened in the game.
    Event(EventBytes),
}

/// All of a room except the events of its game. Stored as MessagePack; fields are only ever added at the end, with
/// `#[serde(default)]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RoomSnapshot {
    pub(super) id: u32,
    pub(super) created_at_ms: u64,
    #[serde(with = "serde_bytes")]
    pub(super) secret: Vec<u8>,
    pub(super) host: u8,
    pub(super) seats: Vec<SeatSnapshot>,
    pub(super) game: Option<GameSnapshot>,
    #[serde(default)]
    pub(super) tempo: u8,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct SeatSnapshot {
    /// 0: free, 1: person, 2 and more: a bot of that level.
    kind: u8,
    human: Option<HumanSnapshot>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct HumanSnapshot {
    name: String,
    color: u8,
    #[serde(with = "serde_bytes")]
    session: Option<Vec<u8>>,
    #[serde(with = "serde_bytes")]
    token: Vec<u8>,
    entropy: Option<String>,
    is_away: bool,
    has_left_result: bool,
    #[serde(default)]
    keeps_seat: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct GameSnapshot {
    #[serde(with = "serde_bytes")]
    id: Vec<u8>,
    started_at_ms: u64,
    /// What each seat's player added to the deals.
    entropy: Vec<Option<String>>,
    /// Seat, from, to; in hundredths of a second since the start.
    takeovers: Vec<(u8, u32, Option<u32>)>,
    /// When the game found its winners.
    #[serde(default)]
    ended_at_ms: Option<u64>,
}

/// Why a room cannot be restored.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RestoreError {
    /// The snapshot is not in our form.
    #[error("its snapshot cannot be read: {0}")]
    RoomSnapshot(String),
    /// A field of the snapshot has an impossible value.
    #[error("its snapshot holds no valid {0}")]
    Field(&'static str),
    /// The events end early or hold an unknown code.
    #[error("the events of its game cannot be read at byte {0}")]
    Events(usize),
    /// The rules forbid one of the moves.
    #[error("its game cannot be replayed: move {number}: {reason}")]
    Replay {
        /// The number of the move, from 1.
        number: usize,
        /// The rule that forbids it.
        reason: String,
    },
}

impl RoomSnapshot {
    /// The stored form.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        // Writing to memory does not fail, and every field has a MessagePack form.
        rmp_serde::to_vec(self).unwrap_or_default()
    }

    /// Reads the stored form.
    ///
    /// # Errors
    /// [`RestoreError::RoomSnapshot`] if the bytes are not one.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, RestoreError> {
        const MAX_DEPTH: usize = 16;
        let mut reader = rmp_serde::Deserializer::from_read_ref(bytes);
        reader.set_max_depth(MAX_DEPTH);
        Self::deserialize(&mut reader).map_err(|error| RestoreError::RoomSnapshot(error.to_string()))
    }

    /// The id of the room.
    #[must_use]
    pub const fn room_id(&self) -> RoomId {
        RoomId::from_number(self.id)
    }

    /// Whether there is a game, finished or not.
    #[must_use]
    pub const fn has_game(&self) -> bool {
        self.game.is_some()
    }
}

pub(super) fn seat(number: u8) -> Result<Seat, RestoreError> {
    Seat::from_number(number.into()).ok_or(RestoreError::Field("seat"))
}

/// The 256 bits of a secret or a key.
pub(super) fn key(bytes: &[u8]) -> Option<[u8; 32]> {
    bytes.try_into().ok()
}

fn entropy(text: &str) -> Result<crate::game::Entropy, RestoreError> {
    text.parse().map_err(|_| RestoreError::Field("entropy"))
}

impl From<&Occupant> for SeatSnapshot {
    fn from(occupant: &Occupant) -> Self {
        match occupant {
            Occupant::Free => Self { kind: 0, human: None },
            Occupant::Bot(level) => Self { kind: 2 + *level as u8, human: None },
            Occupant::Human(human) => Self { kind: 1, human: Some(HumanSnapshot::from(&**human)) },
        }
    }
}

impl SeatSnapshot {
    pub(super) fn occupant(&self, now: Time) -> Result<Occupant, RestoreError> {
        Ok(match (self.kind, &self.human) {
            (0, _) => Occupant::Free,
            (1, Some(human)) => Occupant::Human(Box::new(human.human(now)?)),
            (kind, _) => {
                let level = Level::ALL.into_iter().find(|level| 2 + *level as u8 == kind);
                Occupant::Bot(level.ok_or(RestoreError::Field("level"))?)
            }
        })
    }
}

impl From<&Human> for HumanSnapshot {
    fn from(human: &Human) -> Self {
        let color = COLORS.iter().position(|color| *color == human.color).unwrap_or(0);
        Self {
            name: human.name.as_str().to_owned(),
            color: u8::try_from(color).unwrap_or(0),
            session: human.session.map(|session| session.as_bytes().to_vec()),
            token: human.token.as_bytes().to_vec(),
            entropy: human.entropy.as_ref().map(ToString::to_string),
            is_away: human.presence == Presence::Away,
            has_left_result: human.has_left_result,
            keeps_seat: human.on_close == OnClose::KeepSeat,
        }
    }
}

impl HumanSnapshot {
    fn human(&self, now: Time) -> Result<Human, RestoreError> {
        let key = |bytes: &[u8]| key(bytes).map(SessionKey::from_bytes).ok_or(RestoreError::Field("key"));
        Ok(Human {
            name: self.name.parse().map_err(|_| RestoreError::Field("name"))?,
            color: COLORS.get(usize::from(self.color)).copied().ok_or(RestoreError::Field("color"))?,
            session: self.session.as_deref().map(key).transpose()?,
            token: key(&self.token)?,
            entropy: self.entropy.as_deref().map(entropy).transpose()?,
            presence: if self.is_away { Presence::Away } else { Presence::Grace { until: now } },
            is_lost: false,
            on_close: if self.keeps_seat { OnClose::KeepSeat } else { OnClose::Leave },
            has_left_result: self.has_left_result,
        })
    }
}

impl From<&Playing> for GameSnapshot {
    fn from(playing: &Playing) -> Self {
        let takeover = |t: &Takeover| (t.seat.number(), t.from.hundredths(), t.to.map(GameTime::hundredths));
        // As the record dates them, so that one made again from here is the same.
        let started_at = playing.ended_at.map_or(playing.started_at, |ended| playing.started_at.dated_by(ended));
        let ended_at = playing.ended_at.map(|ended| started_at + ended.since(started_at));
        Self {
            id: playing.game_id.to_bytes().to_vec(),
            started_at_ms: started_at.unix_ms(),
            entropy: playing.proof.entropy.iter().map(|text| text.as_ref().map(ToString::to_string)).collect(),
            takeovers: playing.takeovers.iter().map(takeover).collect(),
            ended_at_ms: ended_at.map(Time::unix_ms),
        }
    }
}

impl GameSnapshot {
    /// The game at its start, with its takeovers, before any of its events.
    pub(super) fn begin(&self, server_seed: ServerSeed, history_events: usize) -> Result<Playing, RestoreError> {
        let id = <[u8; 16]>::try_from(self.id.as_slice()).map_err(|_| RestoreError::Field("game id"))?;
        let entropies: Result<Vec<_>, _> =
            self.entropy.iter().map(|text| text.as_deref().map(entropy).transpose()).collect();
        let entropies = <[_; 4]>::try_from(entropies?).map_err(|_| RestoreError::Field("entropy"))?;
        let proof = DealProof { server_seed, entropy: BySeat::new(entropies) };
        let started_at = Time::from_unix_ms(self.started_at_ms);
        let mut playing = Playing::new(GameId::from_bytes(id), proof, started_at, history_events);
        for &(number, from, to) in &self.takeovers {
            let (from, to) = (GameTime::from_hundredths(from), to.map(GameTime::from_hundredths));
            playing.takeovers.push(Takeover { seat: seat(number)?, from, to });
        }
        Ok(playing)
    }

    /// Completes a game whose events have been replayed.
    pub(super) fn finish(&self, playing: &mut Playing) {
        playing.event_history.insert_takeovers(&playing.takeovers);
        // The end is noted after the events. If those were lost, the game is not over yet.
        if playing.game.winners().is_some() {
            playing.ended_at = self.ended_at_ms.map(Time::from_unix_ms);
        }
    }
}
