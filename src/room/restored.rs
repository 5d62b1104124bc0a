//! A room after a restart: as it was, and standing still until the first of its players is back.

use std::sync::Arc;
use std::time::Duration;

use rand_pcg::Pcg64Mcg;

use super::playing::Stage;
use super::presence::RETURN_AFTER_FIRST;
use super::room::{Lifecycle, Room, State};
use super::seats::{Presence, Seats};
use super::{Options, Time};
use crate::archive::GameIds;
use crate::game::{Seat, ServerSeed};
use crate::protocol::RoomId;

/// How long the players of a game, and those of a room that waits, may take to come back.
const GAME_WAITS_FOR_RETURN: Duration = Duration::from_secs(24 * 60 * 60);
const ROOM_WAITS_FOR_RETURN: Duration = Duration::from_secs(2 * 60);

/// What a room was before a restart.
pub(super) struct Restored {
    pub(super) id: RoomId,
    pub(super) host: Seat,
    pub(super) seats: Seats,
    pub(super) secret: ServerSeed,
    pub(super) state: State,
    pub(super) created_at: Time,
}

impl Restored {
    /// The room, waiting for the first of its players to come back.
    pub(super) fn suspend(mut self, rng: Pcg64Mcg, options: Arc<Options>, now: Time) -> Room {
        let (lifecycle, wait) = match self.state {
            State::Playing(_) => (Lifecycle::Suspended, GAME_WAITS_FOR_RETURN),
            State::Waiting => (Lifecycle::Live, ROOM_WAITS_FOR_RETURN),
        };
        for seat in Seat::ALL {
            if let Some(human) = self.seats.human_mut(seat)
                && human.presence != Presence::Away
            {
                human.presence = Presence::Grace { until: now + wait };
            }
        }
        let mut room = Room {
            id: self.id,
            options,
            host: self.host,
            seats: self.seats,
            members: Vec::new(),
            commitment: hex::encode(self.secret.commitment()),
            secret: self.secret,
            created_at: self.created_at,
            last_activity: now,
            state: self.state,
            rng,
            game_ids: GameIds::default(),
            repeats: Vec::new(),
            closes_at: (lifecycle == Lifecycle::Suspended).then(|| now + wait),
            effects: Vec::new(),
            lifecycle,
        };
        if matches!(&room.state, State::Playing(playing) if playing.stage == Stage::Over) {
            // It may have ended right before the crash: the archive knows whether it has it already.
            room.lifecycle = Lifecycle::Live;
            room.resume(now);
            room.game_is_over(now);
            // Those who were looking at the result come back to it.
            room.closes_at = Some(now + RETURN_AFTER_FIRST);
        }
        room
    }
}
