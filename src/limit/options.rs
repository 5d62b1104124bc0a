/// How fast players, rooms, sockets and addresses may go. All limits allow bursts (see `Quotas`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// Refuse what is over the limits. Off: everything is allowed, for load tests.
    pub enabled: bool,
    /// Messages a minute of one player.
    pub player_per_minute: u32,
    /// Messages a second to one room, all its players together, and as many again of all who watch.
    pub room_per_second: u32,
    /// Frames a second on one WebSocket.
    pub websocket_per_second: u32,
    /// New WebSockets a minute from one address (IPv6: one /64).
    pub new_sockets_per_minute: u32,
    /// HTTP requests a minute from one address (IPv6: one /64).
    pub http_per_minute: u32,
    /// How many players, rooms and addresses are remembered at once, each kind for itself.
    pub max_keys: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            enabled: true,
            player_per_minute: 60,
            room_per_second: 10,
            websocket_per_second: 5,
            new_sockets_per_minute: 600,
            http_per_minute: 600,
            max_keys: 100_000,
        }
    }
}
