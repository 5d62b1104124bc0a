options! {
    /// How fast players, rooms, sockets and addresses may go. All limits allow bursts (see `Quotas`).
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub struct Options {
        /// Refuse what is over the limits. Off: everything is allowed, for load tests.
        pub enabled: bool = true,
        /// Messages a minute of one player.
        pub player_per_minute: u32 = 60,
        /// Messages a second to one room, all its players together, and as many again of all who watch.
        pub room_per_second: u32 = 10,
        /// Frames a second on one WebSocket.
        pub websocket_per_second: u32 = 5,
        /// New WebSockets a minute from one address (IPv6: one /64).
        pub new_sockets_per_minute: u32 = 600,
        /// HTTP requests a minute from one address (IPv6: one /64).
        pub http_per_minute: u32 = 600,
        /// How many players, rooms and addresses are remembered at once, each kind for itself.
        pub max_keys: usize = 100_000,
    }
}
