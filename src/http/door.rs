use std::net::IpAddr;
use std::sync::Arc;

use tokio::runtime::Handle;
use tokio::sync::watch;

use super::Options;
use super::admin::Desk;
use super::error::Refusal;
use super::places::Places;
use super::reads::Reads;
use crate::archive::Archive;
use crate::directory::Directory;
use crate::limit::{Cost, Key, Kind, Limiter, Verdict};
use crate::observe::{EventKind, Health, Metrics};
use crate::room::Rooms;

/// What everything at the door shares.
#[derive(Debug)]
pub struct Door {
    pub(super) options: Options,
    pub(super) limiter: Arc<dyn Limiter>,
    pub(super) metrics: Arc<Metrics>,
    pub(super) health: Arc<Health>,
    pub(super) rooms: Rooms,
    /// Where rooms are.
    pub(super) directory: Arc<dyn Directory>,
    /// Completed games, if they are kept.
    pub(super) archive: Option<Archive>,
    /// Who reads there.
    pub(super) reads: Reads,
    /// Connections that speak HTTP: they have not become a WebSocket, or not yet.
    pub(super) connections: Arc<Places>,
    /// WebSockets.
    pub(super) sockets: Arc<Places>,
    /// Administration.
    pub(super) desk: Desk,
    /// Where WebSockets live, beside the tables they talk to.
    pub(super) runtime: Handle,
    stage: watch::Sender<Stage>,
}

/// How open the door is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Stage {
    Open,
    /// Nobody comes in any more.
    Shut,
    /// Whoever is in has to leave.
    Cleared,
}

impl Door {
    /// An open door, whose WebSockets live on the runtime that this is called on.
    ///
    /// # Panics
    /// Outside of a runtime.
    #[must_use]
    pub fn new(
        options: Options,
        limiter: Arc<dyn Limiter>,
        metrics: Arc<Metrics>,
        health: Arc<Health>,
        directory: Arc<dyn Directory>,
        archive: Option<Archive>,
        desk: Desk,
    ) -> Arc<Self> {
        // A connection becomes a WebSocket within moments or goes away, so the bounds of the one do for the other.
        let places = || Places::new(options.max_sockets, options.max_sockets_per_address);
        Arc::new(Self {
            connections: places(),
            sockets: places(),
            stage: watch::channel(Stage::Open).0,
            options,
            limiter,
            metrics,
            health,
            rooms: directory.rooms().clone(),
            directory,
            archive,
            reads: Reads::new(),
            desk,
            runtime: Handle::current(),
        })
    }

    /// Lets nobody in any more. HTTP requests under way are answered.
    pub fn shut(&self) {
        self.stage.send_replace(Stage::Shut);
    }

    /// Closes every WebSocket with 1012, after which clients come back, and waits until all are gone.
    pub async fn clear(&self) {
        self.stage.send_replace(Stage::Cleared);
        self.sockets.empty().await;
        self.connections.empty().await;
    }

    /// Lets a request of this address pass that costs so much.
    pub(super) async fn admit(&self, kind: Kind, address: IpAddr, cost: Cost) -> Result<(), Refusal> {
        match self.limiter.check(kind, Key::from_address(address), cost).await {
            Verdict::Allowed { .. } => Ok(()),
            Verdict::Denied { retry_after } => {
                self.count_limited(kind);
                Err(Refusal::TooMany { quota: self.limiter.quota(kind), retry_after })
            }
        }
    }

    /// Counts somebody who met a rate limit.
    pub(super) fn count_limited(&self, kind: Kind) {
        self.metrics.limited.with(kind.name()).inc();
        self.desk.relief.events.note_often(EventKind::LimitHit, kind.name());
    }

    /// How open the door is, to be waited for.
    pub(super) fn stage(&self) -> StageWatch {
        StageWatch(self.stage.subscribe())
    }

    /// The places of WebSockets.
    #[must_use]
    pub fn sockets(&self) -> &Places {
        &self.sockets
    }
}

/// Tells how open the door is. All of it is cancel safe.
#[derive(Debug)]
pub(super) struct StageWatch(watch::Receiver<Stage>);

impl StageWatch {
    /// Waits until nobody is let in any more.
    pub(super) async fn shut(&mut self) {
        self.reached(Stage::Shut).await;
    }

    /// Waits until whoever is in has to leave.
    pub(super) async fn cleared(&mut self) {
        self.reached(Stage::Cleared).await;
    }

    async fn reached(&mut self, wanted: Stage) {
        // Without a door nobody is in.
        drop(self.0.wait_for(|stage| *stage >= wanted).await);
    }
}
