use std::future::ready;
use std::pin::Pin;

use super::{Directory, Joining, Location};
use crate::observe::Check;
use crate::protocol::{PlayerName, RoomId, SeatChoice, SessionKey};
use crate::room::Rooms;

/// The directory of a single server: every room is here.
#[derive(Debug)]
pub(super) struct LocalDirectory(pub(super) Rooms);

impl Directory for LocalDirectory {
    fn location(&self, _id: RoomId) -> Location {
        Location::Here
    }

    fn join(&self, id: RoomId, session: SessionKey, name: PlayerName, choice: SeatChoice) -> Joining {
        let rooms = self.0.clone();
        Box::pin(async move { rooms.join(id, Some(session), name, choice).await })
    }

    fn check(&self) -> Option<Check> {
        None
    }

    fn leave(&self) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        Box::pin(ready(()))
    }
}
