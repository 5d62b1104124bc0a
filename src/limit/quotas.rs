use std::num::NonZeroU32;
use std::time::Duration;

use strum::{EnumIter, EnumTable, IntoStaticStr};

use super::Options;

/// What shares one bucket.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, IntoStaticStr, EnumIter, EnumTable)]
#[strum(serialize_all = "snake_case")]
pub enum Kind {
    /// Messages of one player, on all of their sockets.
    Player,
    /// Messages to one room: of its players, and separately of its watchers.
    Room,
    /// Frames on one WebSocket.
    Socket,
    /// New WebSockets from one address.
    NewSocket,
    /// HTTP requests from one address.
    Http,
}

impl Kind {
    /// Its name in metrics and messages.
    pub fn name(self) -> &'static str {
        self.into()
    }
}

/// What something costs, in units of the bucket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cost {
    /// A frame, a message, a request that is answered from memory: 1.
    Ordinary = 1,
    /// A list of rooms or games: 2.
    Query = 2,
    /// A new room, with bots to think for: 10.
    CreateRoom = 10,
}

impl Cost {
    /// The number of units.
    pub fn units(self) -> NonZeroU32 {
        at_least_one(self as u32)
    }
}

/// The size of a bucket and how fast it fills.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Quota {
    /// Units the bucket holds: what may be used at once after a quiet time.
    pub burst: NonZeroU32,
    /// The time in which an empty bucket is full again.
    pub window: Duration,
}

impl Quota {
    fn new(burst: u32, seconds: u64) -> Self {
        Self { burst: at_least_one(burst), window: Duration::from_secs(seconds) }
    }
}

fn at_least_one(number: u32) -> NonZeroU32 {
    NonZeroU32::new(number).unwrap_or(NonZeroU32::MIN)
}

/// The buckets of all kinds.
///
/// The bursts are made for the existing client: after a lost link it opens about 40 sockets in two seconds and
/// greets on each, and the four players of a room may share one address and lose their link together.
pub type Quotas = KindTable<Quota>;

impl Quotas {
    /// The buckets these options ask for.
    pub fn of(options: &Options) -> Self {
        Self::from_closure(|kind| match kind {
            // A minute's worth at once: one storm of 40 greetings leaves room for play.
            Kind::Player => Quota::new(options.player_per_minute, 60),
            // Four storms of 40 greetings.
            Kind::Room => Quota::new(options.room_per_second.saturating_mul(20), 20),
            // A page that opens, and a few quick clicks.
            Kind::Socket => Quota::new(options.websocket_per_second.saturating_mul(6), 6),
            // Four storms of 40 sockets.
            Kind::NewSocket => Quota::new(options.new_sockets_per_minute, 60),
            // Pages and what belongs to them.
            Kind::Http => Quota::new(options.http_per_minute, 60),
        })
    }
}
