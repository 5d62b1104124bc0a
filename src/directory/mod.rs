//! Which server a room lives on, when several share a Redis and stand behind one proxy.
//!
//! The first digit of a room id is that of its server ([`InstanceId`](crate::protocol::InstanceId)), so an id alone says where to go, to the proxy too.
//! Shared is what changes: which servers are alive, and which rooms can be joined. Each server writes that about itself
//! under a lease. When a server dies, its lease runs out, and its rooms leave the lobby; they come back with it, from its
//! journal.

mod local;
mod options;
#[cfg(feature = "redis")]
mod redis;
#[cfg(feature = "redis")]
mod wire;

use std::fmt::Debug;
use std::pin::Pin;
use std::sync::Arc;

pub use options::{NotAPublicUrl, Options, PublicUrl};

use crate::observe::{Check, Metrics};
use crate::protocol::{PlayerName, RoomId, SeatChoice, SessionKey};
use crate::redis::Redis;
use crate::room::{JoinError, RoomIds, Rooms, Seated};

/// Finds the server that a room lives on.
pub trait Directory: Debug + Send + Sync {
    /// Where a room is, by its id. Never waits.
    fn location(&self, id: RoomId) -> Location;

    /// Takes a seat in a room, wherever it is.
    fn join(&self, id: RoomId, session: SessionKey, name: PlayerName, choice: SeatChoice) -> Joining;

    /// Its health; `None` if there are no other servers.
    fn check(&self) -> Option<Check>;

    /// Removes this server from the directory, within two seconds.
    fn leave(&self) -> Pin<Box<dyn Future<Output = ()> + Send + '_>>;
}

/// Resolves to the seat that was taken, within a bounded time.
pub type Joining = Pin<Box<dyn Future<Output = Result<Seated, JoinError>> + Send>>;

/// Where a room is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Location {
    /// On this server, or it does not exist.
    Here,
    /// On another server.
    Elsewhere {
        /// Whether it is alive.
        is_alive: bool,
        /// Its own public address, if it has one that is not ours.
        url: Option<PublicUrl>,
    },
}

/// The directory for these options: shared if there is a Redis, and a digit that makes this server one of several.
#[cfg_attr(not(feature = "redis"), expect(unused_variables, reason = "only Redis makes servers know each other"))]
pub fn open(
    options: &Options,
    ids: RoomIds,
    rooms: &Rooms,
    redis: Option<&Redis>,
    metrics: &Arc<Metrics>,
) -> Arc<dyn Directory> {
    #[cfg(feature = "redis")]
    if let (RoomIds::Of(instance), Some(redis)) = (ids, redis) {
        let (rooms, redis, metrics) = (rooms.clone(), redis.clone(), Arc::clone(metrics));
        return Arc::new(redis::SharedDirectory::open(options, instance, rooms, redis, metrics));
    }
    local(rooms)
}

/// The directory of a single server.
pub fn local(rooms: &Rooms) -> Arc<dyn Directory> {
    Arc::new(local::LocalDirectory(rooms.clone()))
}
