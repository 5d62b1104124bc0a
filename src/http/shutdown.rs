//! The phases of shutting down, which sockets and connections wait for.

use tokio::sync::watch;

/// The shutdown phase.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum ShutdownPhase {
    Running,
    /// New connections are refused.
    Refusing,
    /// Open connections have to end.
    Closing,
}

/// Waits for a shutdown phase. All of its methods are cancel safe.
#[derive(Debug)]
pub(super) struct ShutdownWatch(pub(super) watch::Receiver<ShutdownPhase>);

impl ShutdownWatch {
    /// Waits until new connections are refused.
    pub(super) async fn refusing(&mut self) {
        self.reached(ShutdownPhase::Refusing).await;
    }

    /// Waits until open connections have to end.
    pub(super) async fn closing(&mut self) {
        self.reached(ShutdownPhase::Closing).await;
    }

    async fn reached(&mut self, wanted: ShutdownPhase) {
        // It fails only if the sender is gone, and then no connection is left.
        drop(self.0.wait_for(|phase| *phase >= wanted).await);
    }
}
