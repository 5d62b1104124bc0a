use std::net::IpAddr;
use std::sync::Arc;

use tokio::runtime::Handle;
use tokio::sync::watch;

use super::Options;
use super::admin::AdminAuth;
use super::blocking_pool::BlockingPool;
use super::connection_limit::ConnectionLimit;
use super::error::HttpError;
use crate::limit::{Cost, Key, Kind, Verdict};
use crate::observe::{EventKind, Health};
use crate::services::Services;

/// What every request and every WebSocket shares.
#[derive(Debug)]
pub struct AppState {
    pub(super) options: Options,
    pub(super) services: Services,
    pub(super) health: Arc<Health>,
    /// Who reads there.
    pub(super) blocking: BlockingPool,
    /// Connections that speak HTTP: they have not become a WebSocket, or not yet.
    pub(super) connections: Arc<ConnectionLimit>,
    /// WebSockets.
    pub(super) sockets: Arc<ConnectionLimit>,
    /// Administration.
    pub(super) admin_auth: AdminAuth,
    /// Where WebSockets live, beside the tables they talk to.
    pub(super) runtime: Handle,
    shutdown: watch::Sender<ShutdownPhase>,
}

/// How open the door is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum ShutdownPhase {
    Open,
    /// Nobody comes in any more.
    Refusing,
    /// Whoever is in has to leave.
    Closing,
}

impl AppState {
    /// An open door, whose WebSockets live on the runtime that this is called on.
    ///
    /// # Panics
    /// Outside of a runtime.
    #[must_use]
    pub fn new(options: Options, services: Services, health: Arc<Health>, admin_auth: AdminAuth) -> Arc<Self> {
        // A connection becomes a WebSocket within moments or goes away, so the bounds of the one do for the other.
        let connection_limit = || ConnectionLimit::new(options.max_sockets, options.max_sockets_per_address);
        Arc::new(Self {
            connections: connection_limit(),
            sockets: connection_limit(),
            shutdown: watch::channel(ShutdownPhase::Open).0,
            options,
            services,
            health,
            blocking: BlockingPool::new(),
            admin_auth,
            runtime: Handle::current(),
        })
    }

    /// Lets nobody in any more. HTTP requests under way are answered.
    pub fn stop_accepting(&self) {
        self.shutdown.send_replace(ShutdownPhase::Refusing);
    }

    /// Closes every WebSocket with 1012, after which clients come back, and waits until all are gone.
    pub async fn close_connections(&self) {
        self.shutdown.send_replace(ShutdownPhase::Closing);
        self.sockets.empty().await;
        self.connections.empty().await;
    }

    /// Lets a request of this address pass that costs so much.
    pub(super) async fn admit(&self, kind: Kind, address: IpAddr, cost: Cost) -> Result<(), HttpError> {
        match self.services.limiter.check(kind, Key::from_address(address), cost).await {
            Verdict::Allowed { .. } => Ok(()),
            Verdict::Denied { retry_after } => {
                self.count_limited(kind);
                Err(HttpError::TooMany { quota: self.services.limiter.quota(kind), retry_after })
            }
        }
    }

    /// Counts somebody who met a rate limit.
    pub(super) fn count_limited(&self, kind: Kind) {
        self.services.metrics.limited.with(kind.name()).inc();
        self.services.events.note_often(EventKind::LimitHit, kind.name());
    }

    /// How open the door is, to be waited for.
    pub(super) fn shutdown(&self) -> ShutdownWatch {
        ShutdownWatch(self.shutdown.subscribe())
    }

    /// The places of WebSockets.
    #[must_use]
    pub fn sockets(&self) -> &ConnectionLimit {
        &self.sockets
    }
}

/// Tells how open the door is. All of it is cancel safe.
#[derive(Debug)]
pub(super) struct ShutdownWatch(watch::Receiver<ShutdownPhase>);

impl ShutdownWatch {
    /// Waits until nobody is let in any more.
    pub(super) async fn refusing(&mut self) {
        self.reached(ShutdownPhase::Refusing).await;
    }

    /// Waits until whoever is in has to leave.
    pub(super) async fn closing(&mut self) {
        self.reached(ShutdownPhase::Closing).await;
    }

    async fn reached(&mut self, wanted: ShutdownPhase) {
        // Without a door nobody is in.
        drop(self.0.wait_for(|shutdown| *shutdown >= wanted).await);
    }
}
