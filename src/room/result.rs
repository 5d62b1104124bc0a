//! What follows a result: players who have seen it, and the table where the same people meet again.

use super::room::{Room, State};
use super::{ConnectionId, RoomStage, Time};
use crate::game::Seat;
use crate::protocol::{ErrorType, RoomId, Tempo, server_message};

impl Room {
    /// A player has seen what the table shows. The pause ends once all connected players have. A player of the existing client
    /// never says so, and at the tempo `tea` every pause has its full length.
    pub(super) fn seen(&mut self, seat: Option<Seat>, now: Time) {
        let (Some(seat), false) = (seat, self.tempo == Tempo::Tea) else { return };
        let State::Playing(playing) = &mut self.state else { return };
        if !playing.stage.is_result() {
            return;
        }
        playing.seen = playing.seen.with(seat);
        if self.seats.humans().all(|(seat, human)| !human.is_connected() || playing.seen.contains(seat)) {
            playing.stage_ends = playing.stage_ends.map(|ends| ends.min(now));
        }
    }

    /// A player names the table where the same people meet after the game. The first one counts, so that all players meet at
    /// one table; a player who names another one is told the first. `instead_of` replaces a table that is gone.
    pub(super) fn name_rematch(
        &mut self,
        id: ConnectionId,
        seat: Option<Seat>,
        room_id: RoomId,
        instead_of: Option<RoomId>,
    ) {
        let Some(seat) = seat else {
            return self.refuse(id, ErrorType::PermissionDenied, "You have no seat at this table");
        };
        if self.stage() != RoomStage::Over {
            return self.refuse(id, ErrorType::ActionRefused, "The game is not over");
        }
        match &self.rematch {
            Some((named, by)) if Some(*named) != instead_of => {
                let frame = server_message::rematch(*named, by);
                self.send(id, frame);
            }
            _ => {
                let name = self.seats.name(seat).to_owned();
                self.broadcast(&server_message::rematch(room_id, &name));
                self.rematch = Some((room_id, name));
            }
        }
    }
}
