//! A room's way through a restart: its snapshot, and the room made from a snapshot and the events after it.

use std::sync::Arc;
use std::time::Duration;

use rand_pcg::Pcg64Mcg;

use super::event_codec::{EventReader, JournalEvent};
use super::playing::Playing;
use super::presence::RETURN_AFTER_FIRST;
use super::room::{Lifecycle, Room, State};
use super::seats::{Presence, Seats};
use super::snapshot::{GameSnapshot, SeatSnapshot, key, seat};
use super::{Options, RestoreError, RoomSnapshot, RoomStage, Time};
use crate::archive::GameIds;
use crate::game::{BySeat, Seat, ServerSeed};
use crate::protocol::Tempo;

/// How long a game, and a room before its game, waits after a restart for its first player.
const GAME_WAITS_FOR_RETURN: Duration = Duration::from_secs(24 * 60 * 60);
const ROOM_WAITS_FOR_RETURN: Duration = Duration::from_secs(2 * 60);

impl Room {
    /// The room's present state, without the events of its game.
    #[must_use]
    pub fn snapshot(&self) -> RoomSnapshot {
        RoomSnapshot {
            id: self.id.number(),
            created_at_ms: self.created_at.unix_ms(),
            secret: self.secret.reveal().to_vec(),
            host: self.host.number(),
            seats: Seat::ALL.map(|seat| SeatSnapshot::from(&self.seats[seat])).into(),
            game: self.playing().map(GameSnapshot::from),
            tempo: self.tempo as u8,
        }
    }

    /// Makes a room from its snapshot. `events` holds the [`EventBytes`](super::EventBytes) of its game in order.
    ///
    /// A game is suspended until the first of its players is back.
    ///
    /// # Errors
    /// [`RestoreError`] if the snapshot or the events are not valid.
    pub fn restore(
        snapshot: &RoomSnapshot,
        events: &[u8],
        rng: Pcg64Mcg,
        options: Arc<Options>,
        now: Time,
    ) -> Result<Self, RestoreError> {
        let secret = ServerSeed::new(key(&snapshot.secret).ok_or(RestoreError::Field("secret"))?);
        let occupants: Result<Vec<_>, _> = snapshot.seats.iter().map(|seat| seat.occupant(now)).collect();
        let occupants = <[_; 4]>::try_from(occupants?).map_err(|_| RestoreError::Field("seats"))?;
        let state = match &snapshot.game {
            None => State::Waiting,
            Some(game) => {
                let mut playing = game.begin(secret.clone(), options.max_events_per_game)?;
                playing.replay(events)?;
                game.finish(&mut playing);
                State::Playing(Box::new(playing))
            }
        };
        let mut room = Self {
            id: snapshot.room_id(),
            options,
            host: seat(snapshot.host)?,
            seats: Seats::restored(BySeat::new(occupants)),
            members: Vec::new(),
            commitment: hex::encode(secret.commitment()),
            secret,
            created_at: Time::from_unix_ms(snapshot.created_at_ms),
            last_activity: now,
            state,
            tempo: Tempo::from_repr(snapshot.tempo).ok_or(RestoreError::Field("tempo"))?,
            rematch: None,
            rng,
            game_ids: GameIds::default(),
            repeats: Vec::new(),
            closes_at: None,
            effects: Vec::new(),
            lifecycle: Lifecycle::Live,
        };
        room.await_return(now);
        Ok(room)
    }

    /// Gives the players of a restored room their time to come back.
    fn await_return(&mut self, now: Time) {
        let stage = self.stage();
        let wait = if stage == RoomStage::Waiting { ROOM_WAITS_FOR_RETURN } else { GAME_WAITS_FOR_RETURN };
        self.seats.for_each_human(|human| {
            if human.presence != Presence::Away {
                human.presence = Presence::Grace { until: now + wait };
            }
        });
        match stage {
            RoomStage::Waiting => {}
            RoomStage::Playing => {
                self.lifecycle = Lifecycle::Suspended;
                self.closes_at = Some(now + wait);
            }
            RoomStage::Over => {
                // The game may have ended right before the crash. The archive recognises a record that it already has.
                self.resume(now);
                self.game_is_over(now);
                // Players who were looking at the result come back to it.
                self.closes_at = Some(now + RETURN_AFTER_FIRST);
            }
        }
    }
}

impl Playing {
    /// Applies stored events, one after the other.
    fn replay(&mut self, events: &[u8]) -> Result<(), RestoreError> {
        let mut reader = EventReader::new(events);
        while let Some(event) = reader.next(&self.game)? {
            match event {
                JournalEvent::StagePassed => self.pass(),
                JournalEvent::Move(next) => {
                    let number = self.moves.len() + 1;
                    let result = self.act(next);
                    result.map_err(|error| RestoreError::Replay { number, reason: error.to_string() })?;
                }
            }
        }
        Ok(())
    }
}
