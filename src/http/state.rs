use std::net::IpAddr;
use std::sync::Arc;

use tokio::runtime::Handle;
use tokio::sync::watch;

use super::Options;
use super::admin_auth::AdminAuth;
use super::blocking_pool::BlockingPool;
use super::connection_limit::ConnectionLimit;
use super::error::HttpError;
use crate::limit::{Cost, Key, Kind, Verdict};
use crate::observe::{EventKind, Health};
use crate::services::Services;

/// How far the server has shut down.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum ShutdownPhase {
    Running,
    /// New connections are refused.
    Refusing,
    /// Open connections have to end.
    Closing,
}

/// What all requests and WebSockets share.
#[derive(Debug)]
pub struct AppState {
    pub(super) options: Options,
    pub(super) services: Services,
    pub(super) health: Arc<Health>,
    /// Threads for handlers that wait for a disk.
    pub(super) blocking: BlockingPool,
    /// Bounds HTTP connections, which may become WebSockets.
    pub(super) connections: Arc<ConnectionLimit>,
    /// Bounds WebSockets.
    pub sockets: Arc<ConnectionLimit>,
    /// Checks administrators' tokens.
    pub(super) admin_auth: AdminAuth,
    /// The runtime of tables, on which WebSockets run too.
    pub(super) runtime: Handle,
    shutdown: watch::Sender<ShutdownPhase>,
}

impl AppState {
    /// State of a running server, whose WebSockets run on the calling runtime.
    ///
    /// # Panics
    /// Outside of a runtime.
    #[must_use]
    pub fn new(options: Options, services: Services, health: Arc<Health>, admin_auth: AdminAuth) -> Arc<Self> {
        // A connection soon becomes a WebSocket or ends, so the bounds of WebSockets fit for connections too.
        let connection_limit = || ConnectionLimit::new(options.max_sockets, options.max_sockets_per_address);
        Arc::new(Self {
            connections: connection_limit(),
            sockets: connection_limit(),
            shutdown: watch::channel(ShutdownPhase::Running).0,
            options,
            services,
            health,
            blocking: BlockingPool::new(),
            admin_auth,
            runtime: Handle::current(),
        })
    }

    /// Refuses new connections. Requests under way are answered.
    pub fn stop_accepting(&self) {
        self.shutdown.send_replace(ShutdownPhase::Refusing);
    }

    /// Closes every WebSocket with 1012, after which clients come back, and waits until all are gone.
    pub async fn close_connections(&self) {
        self.shutdown.send_replace(ShutdownPhase::Closing);
        self.sockets.empty().await;
        self.connections.empty().await;
    }

    /// Checks the rate limit for a request of this address and cost.
    pub(super) async fn admit(&self, kind: Kind, address: IpAddr, cost: Cost) -> Result<(), HttpError> {
        match self.services.limiter.check(kind, Key::from_address(address), cost).await {
            Verdict::Allowed => Ok(()),
            Verdict::Denied { retry_after } => {
                self.count_limited(kind);
                Err(HttpError::TooMany { quota: self.services.limiter.quota(kind), retry_after })
            }
        }
    }

    /// Counts a client over its rate limit.
    pub(super) fn count_limited(&self, kind: Kind) {
        self.services.metrics.limited.with(kind.name()).inc();
        self.services.events.note_often(EventKind::LimitHit, kind.name());
    }

    /// Waits until new connections are refused. Cancel safe.
    pub(super) async fn refusing(&self) {
        self.reached(ShutdownPhase::Refusing).await;
    }

    /// Waits until open connections have to end. Cancel safe.
    pub(super) async fn closing(&self) {
        self.reached(ShutdownPhase::Closing).await;
    }

    async fn reached(&self, wanted: ShutdownPhase) {
        // It fails only if the sender is gone, and the state holds it.
        drop(self.shutdown.subscribe().wait_for(|phase| *phase >= wanted).await);
    }
}
