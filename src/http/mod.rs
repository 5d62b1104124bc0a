//! The door: HTTP routes and WebSocket connections.

mod options;

pub use options::{BasePath, Network, Options, Origin, Secret};
