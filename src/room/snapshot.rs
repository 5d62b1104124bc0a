//! A room as it survives a restart: an image of who sits where, and what happened in its game since.
//!
//! A game is a seed and a list of actions, so its journal is short: an [`RoomSnapshot`] whenever seats or sessions change, and
//! two to four bytes for each action and one for each stage that passes ([`EventBytes`]).

use std::sync::Arc;

use arrayvec::ArrayVec;
use rand_pcg::Pcg64Mcg;
use serde::{Deserialize, Serialize};

use super::playing::Playing;
use super::restored::Restored;
use super::room::{Room, State};
use super::seats::{COLORS, Human, Occupant, Presence, Seats};
use super::{Options, Time};
use crate::archive::{GameId, GameTime, Move, Takeover};
use crate::game::{Action, BySeat, DealProof, Declaration, Game, Level, Piece, PieceSet, Seat, ServerSeed};
use crate::protocol::{OnClose, RoomId, SessionKey};

/// What a room wants remembered.
#[derive(Debug)]
pub enum Note {
    /// Seats, sessions and the game's seed, as they are now.
    RoomSnapshot(Box<RoomSnapshot>),
    /// Something happened in the game.
    Event(EventBytes),
}

/// An action that was carried out, or a stage that passed: the stored form of one event.
pub type EventBytes = ArrayVec<u8, 8>;

/// All of a room but what happened in its game. Stored as MessagePack; fields are only ever added at the end, with
/// `#[serde(default)]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RoomSnapshot {
    id: u32,
    created_at_ms: u64,
    #[serde(with = "serde_bytes")]
    secret: Vec<u8>,
    host: u8,
    seats: Vec<SeatSnapshot>,
    game: Option<GameSnapshot>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct SeatSnapshot {
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
struct GameSnapshot {
    #[serde(with = "serde_bytes")]
    id: Vec<u8>,
    started_at_ms: u64,
    /// What each seat's player added to the deals.
    entropy: Vec<Option<String>>,
    /// Seat, from, to; in hundredths of a second since the start.
    takeovers: Vec<(u8, u32, Option<u32>)>,
    /// When it found its winners.
    #[serde(default)]
    ended_at_ms: Option<u64>,
}

/// Why a room cannot be restored.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RestoreError {
    /// The image is not one of ours.
    #[error("its image cannot be read: {0}")]
    RoomSnapshot(String),
    /// A part of the image makes no sense.
    #[error("its image holds no valid {0}")]
    Field(&'static str),
    /// What happened breaks off, or is none of our codes.
    #[error("what happened in its game cannot be read at byte {0}")]
    Events(usize),
    /// What happened cannot have happened.
    #[error("its game cannot be replayed: move {number}: {reason}")]
    Replay {
        /// Which move, from 1.
        number: usize,
        /// What the rules say.
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
    /// [`RestoreError::RoomSnapshot`] if it is none.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, RestoreError> {
        const MAX_DEPTH: usize = 16;
        let mut reader = rmp_serde::Deserializer::from_read_ref(bytes);
        reader.set_max_depth(MAX_DEPTH);
        Self::deserialize(&mut reader).map_err(|error| RestoreError::RoomSnapshot(error.to_string()))
    }

    /// Which room it is of.
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

impl Room {
    /// The image of the room as it is.
    #[must_use]
    pub fn snapshot(&self) -> RoomSnapshot {
        let seat = |seat: Seat| match &self.seats[seat] {
            Occupant::Free => SeatSnapshot { kind: 0, human: None },
            Occupant::Bot(level) => SeatSnapshot { kind: 2 + *level as u8, human: None },
            Occupant::Human(human) => SeatSnapshot { kind: 1, human: Some(human_snapshot(human)) },
        };
        let game = match &self.state {
            State::Waiting => None,
            State::Playing(playing) => Some(GameSnapshot {
                id: playing.game_id.to_bytes().to_vec(),
                started_at_ms: playing.started_at.unix_ms(),
                entropy: playing
                    .proof
                    .entropy
                    .iter()
                    .map(|entropy| entropy.as_ref().map(ToString::to_string))
                    .collect(),
                takeovers: playing
                    .takeovers
                    .iter()
                    .map(|t| (t.seat.number(), t.from.hundredths(), t.to.map(GameTime::hundredths)))
                    .collect(),
                ended_at_ms: playing.ended_at.map(Time::unix_ms),
            }),
        };
        RoomSnapshot {
            id: self.id.number(),
            created_at_ms: self.created_at.unix_ms(),
            secret: self.secret.reveal().to_vec(),
            host: self.host.number(),
            seats: Seat::ALL.map(seat).into(),
            game,
        }
    }

    /// A room as it was: `events` holds the [`EventBytes`] of its game, one behind the other.
    ///
    /// It stands still until the first of its players is back.
    ///
    /// # Errors
    /// [`RestoreError`] if the room cannot be proved whole.
    pub fn restore(
        snapshot: &RoomSnapshot,
        events: &[u8],
        rng: Pcg64Mcg,
        options: Arc<Options>,
        now: Time,
    ) -> Result<Self, RestoreError> {
        let secret = <[u8; 32]>::try_from(snapshot.secret.as_slice()).map_err(|_| RestoreError::Field("secret"))?;
        let host = seat(snapshot.host)?;
        let mut seats = Vec::with_capacity(4);
        for seat in &snapshot.seats {
            seats.push(seat.occupant(now)?);
        }
        let seats = <[Occupant; 4]>::try_from(seats).map_err(|_| RestoreError::Field("seats"))?;
        let state = match &snapshot.game {
            None => State::Waiting,
            Some(game) => {
                let secret = ServerSeed::new(secret);
                State::Playing(Box::new(game.replay(secret, events, options.max_events_per_game)?))
            }
        };
        let restored = Restored {
            id: snapshot.room_id(),
            host,
            seats: Seats::restored(BySeat::new(seats)),
            secret: ServerSeed::new(secret),
            state,
            created_at: Time::from_unix_ms(snapshot.created_at_ms),
        };
        Ok(restored.suspend(rng, options, now))
    }
}

fn human_snapshot(human: &Human) -> HumanSnapshot {
    let color = COLORS.iter().position(|color| *color == human.color).unwrap_or(0);
    HumanSnapshot {
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

fn seat(number: u8) -> Result<Seat, RestoreError> {
    Seat::from_number(number.into()).ok_or(RestoreError::Field("seat"))
}

impl SeatSnapshot {
    fn occupant(&self, now: Time) -> Result<Occupant, RestoreError> {
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

impl HumanSnapshot {
    fn human(&self, now: Time) -> Result<Human, RestoreError> {
        let key = |bytes: &[u8]| {
            <[u8; 32]>::try_from(bytes).map(SessionKey::from_bytes).map_err(|_| RestoreError::Field("key"))
        };
        Ok(Human {
            name: self.name.parse().map_err(|_| RestoreError::Field("name"))?,
            color: COLORS.get(usize::from(self.color)).copied().ok_or(RestoreError::Field("color"))?,
            session: self.session.as_deref().map(key).transpose()?,
            token: key(&self.token)?,
            entropy: self.entropy.as_deref().map(entropy).transpose()?,
            presence: if self.is_away { Presence::Away } else { Presence::Grace { until: now } },
            on_close: if self.keeps_seat { OnClose::KeepSeat } else { OnClose::Leave },
            has_left_result: self.has_left_result,
        })
    }
}

fn entropy(text: &str) -> Result<crate::game::Entropy, RestoreError> {
    text.parse().map_err(|_| RestoreError::Field("entropy"))
}

impl GameSnapshot {
    fn replay(&self, server_seed: ServerSeed, events: &[u8], most_told: usize) -> Result<Playing, RestoreError> {
        let id = <[u8; 16]>::try_from(self.id.as_slice()).map_err(|_| RestoreError::Field("game id"))?;
        let mut entropies = Vec::with_capacity(4);
        for text in &self.entropy {
            entropies.push(text.as_deref().map(entropy).transpose()?);
        }
        let entropies = <[_; 4]>::try_from(entropies).map_err(|_| RestoreError::Field("entropy"))?;
        let proof = DealProof { server_seed, entropy: BySeat::new(entropies) };
        let started_at = Time::from_unix_ms(self.started_at_ms);
        let mut playing = Playing::new(GameId::from_bytes(id), proof, started_at, most_told);
        for &(number, from, to) in &self.takeovers {
            playing.takeovers.push(Takeover {
                seat: seat(number)?,
                from: GameTime::from_hundredths(from),
                to: to.map(GameTime::from_hundredths),
            });
        }
        let mut reader = EventReader { bytes: events, at: 0, time: 0 };
        while let Some(note) = reader.next(&playing.game)? {
            match note {
                EventNote::Passed => playing.pass(),
                EventNote::Move(next) => {
                    let number = playing.moves.len() + 1;
                    let result = playing.act(next);
                    result.map_err(|error| RestoreError::Replay { number, reason: error.to_string() })?;
                }
            }
        }
        playing.event_history.retell_presence(&playing.takeovers);
        // Noted after what happened; should that have been lost, the game is not over yet.
        if playing.game.winners().is_some() {
            playing.ended_at = self.ended_at_ms.map(Time::from_unix_ms);
        }
        Ok(playing)
    }
}

/// The stored form of an event: one byte for kind, seat and number, for a play one more for the places of its pieces in
/// the dealt hand, and the hundredths of a second since the move before, seven bits a byte.
pub(super) fn event_bytes(next: &Move, dealt: &[Piece; 8], last: GameTime) -> EventBytes {
    let seat = (next.seat.number() - 1) << 4;
    let mut bytes = EventBytes::new();
    match next.action {
        Action::AnswerRedeal(accept) => bytes.push(REDEAL << 6 | seat | u8::from(accept)),
        Action::Declare(declaration) => bytes.push(DECLARE << 6 | seat | declaration.piles()),
        Action::Play(pieces) => {
            let places = (0..8).zip(dealt).filter(|(_, piece)| pieces.contains(**piece));
            bytes.push(PLAY << 6 | seat);
            bytes.push(places.fold(0, |mask, (place, _)| mask | 1 << place));
        }
    }
    let mut wait = next.at.hundredths().saturating_sub(last.hundredths());
    loop {
        let [low, ..] = (wait & 0x7F).to_le_bytes();
        wait >>= 7;
        bytes.push(if wait == 0 { low } else { low | 0x80 });
        if wait == 0 {
            return bytes;
        }
    }
}

/// The stored form of a stage that has passed.
pub(super) fn passed_bytes() -> EventBytes {
    EventBytes::from_iter([PASSED << 6])
}

const PASSED: u8 = 0;
const REDEAL: u8 = 1;
const DECLARE: u8 = 2;
const PLAY: u8 = 3;

enum EventNote {
    Passed,
    Move(Move),
}

struct EventReader<'a> {
    bytes: &'a [u8],
    at: usize,
    time: u32,
}

impl EventReader<'_> {
    fn byte(&mut self) -> Result<u8, RestoreError> {
        let byte = self.bytes.get(self.at).copied().ok_or(RestoreError::Events(self.at))?;
        self.at += 1;
        Ok(byte)
    }

    fn next(&mut self, game: &Game) -> Result<Option<EventNote>, RestoreError> {
        if self.at == self.bytes.len() {
            return Ok(None);
        }
        let start = self.at;
        let code = self.byte()?;
        let seat = seat((code >> 4 & 3) + 1)?;
        let action = match code >> 6 {
            PASSED => return Ok(Some(EventNote::Passed)),
            REDEAL => Action::AnswerRedeal(code & 1 == 1),
            DECLARE => Action::Declare(Declaration::new(code & 15).ok_or(RestoreError::Events(start))?),
            _ => {
                let mask = self.byte()?;
                let pieces = (0..8).zip(game.dealt(seat)).filter(|(place, _)| mask >> place & 1 == 1);
                Action::Play(pieces.map(|(_, &piece)| piece).collect::<PieceSet>())
            }
        };
        let mut wait = 0_u32;
        for shift in (0..35).step_by(7) {
            let byte = self.byte()?;
            wait |= u32::from(byte & 0x7F).checked_shl(shift).unwrap_or(0);
            if byte & 0x80 == 0 {
                self.time = self.time.saturating_add(wait);
                return Ok(Some(EventNote::Move(Move { seat, action, at: GameTime::from_hundredths(self.time) })));
            }
        }
        Err(RestoreError::Events(start))
    }
}
