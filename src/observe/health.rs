//! The health of the server: one check for everything that can fail.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use futures_util::future::join_all;
use serde::Serialize;
use serde_json::{Map, Value};
use strum::{FromRepr, IntoStaticStr};
use tokio::sync::Semaphore;
use tokio::time::{Instant, MissedTickBehavior, interval, timeout_at};

use super::{HealthOptions, Metrics};

/// A state of health; the later, the worse.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum HealthStatus {
    /// Everything works.
    #[default]
    Healthy,
    /// Games go on, but an operator should look.
    Degraded,
    /// Games cannot go on, or would be lost.
    Unhealthy,
}

/// The result of one check, with its figures.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Check {
    /// The state.
    pub status: HealthStatus,
    /// The reason, for people; absent when healthy.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// The figures.
    #[serde(flatten)]
    pub figures: Map<String, Value>,
}

impl Check {
    /// Everything works.
    pub fn healthy() -> Self {
        Self::default()
    }

    /// Games go on, but an operator should look.
    pub fn degraded(message: impl Into<String>) -> Self {
        Self { status: HealthStatus::Degraded, message: Some(message.into()), ..Self::default() }
    }

    /// Games cannot go on, or would be lost.
    pub fn unhealthy(message: impl Into<String>) -> Self {
        Self { status: HealthStatus::Unhealthy, message: Some(message.into()), ..Self::default() }
    }

    /// The same with one figure more.
    #[must_use]
    pub fn with(mut self, name: &str, figure: impl Into<Value>) -> Self {
        self.figures.insert(name.to_owned(), figure.into());
        self
    }
}

/// All checks together, as `/health` answers.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct HealthReport {
    /// The worst of them.
    pub status: HealthStatus,
    /// Each by its name.
    pub checks: Map<String, Value>,
}

/// How often all checks run without a request, so that the metric is current.
const CHECK_INTERVAL: Duration = Duration::from_secs(15);

/// One check.
struct HealthCheck {
    name: &'static str,
    run: Arc<dyn Fn() -> Check + Send + Sync>,
    /// A check that hangs occupies one thread, and not one for each request.
    permit: Arc<Semaphore>,
}

impl HealthCheck {
    /// Runs the check, however long it takes.
    async fn run(&self) -> Check {
        const PANICKED: &str = "the check itself failed";
        // Refused only when the semaphore is closed, which never happens.
        let Ok(permit) = Arc::clone(&self.permit).acquire_owned().await else { return Check::unhealthy(PANICKED) };
        let run = Arc::clone(&self.run);
        // A check may wait for a disk; the thread that answers requests must not.
        let checked = tokio::task::spawn_blocking(move || {
            let _permit = permit;
            run()
        });
        checked.await.unwrap_or_else(|_| Check::unhealthy(PANICKED))
    }
}

/// All checks, and the phase of the server.
#[derive(derive_more::Debug)]
#[debug("Health({:?}, {:?})", self.phase(), self.checks.iter().map(|check| check.name).collect::<Vec<_>>())]
pub struct Health {
    checks: Vec<HealthCheck>,
    timeout: Duration,
    phase: AtomicU8,
    metrics: Arc<Metrics>,
}

/// The phases of a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, IntoStaticStr, FromRepr)]
#[strum(serialize_all = "snake_case")]
#[repr(u8)]
pub enum ServerPhase {
    /// It restores live games and accepts no connections.
    Starting,
    /// It accepts everybody.
    Ready,
    /// An administrator wants it to empty: it accepts no new players, and games go on.
    Draining,
    /// It stops.
    Stopping,
}

impl ServerPhase {
    /// Its name.
    pub fn name(self) -> &'static str {
        self.into()
    }

    /// Whether players who have a seat can come back to it.
    pub fn serves_players(self) -> bool {
        matches!(self, Self::Ready | Self::Draining)
    }
}

impl Health {
    /// Without checks, and starting.
    pub fn new(options: &HealthOptions, metrics: Arc<Metrics>) -> Self {
        Self { checks: Vec::new(), timeout: options.timeout, phase: AtomicU8::new(0), metrics }
    }

    /// Adds a check, by a name out of [`labels::CHECK`](super::labels::CHECK).
    #[must_use]
    pub fn check(mut self, name: &'static str, run: impl Fn() -> Check + Send + Sync + 'static) -> Self {
        self.checks.push(HealthCheck { name, run: Arc::new(run), permit: Arc::new(Semaphore::new(1)) });
        self
    }

    /// Runs all checks at once. One that does not end in time is unhealthy.
    pub async fn report(&self) -> HealthReport {
        let deadline = Instant::now() + self.timeout;
        let results = self.checks.iter().map(|check| async {
            let late = || Check::unhealthy(format!("no answer within {} s", self.timeout.as_secs()));
            (check.name, timeout_at(deadline, check.run()).await.unwrap_or_else(|_| late()))
        });
        let mut report = HealthReport { status: HealthStatus::Healthy, checks: Map::new() };
        for (name, check) in join_all(results).await {
            self.metrics.health.with(name).set(check.status as i64);
            report.status = report.status.max(check.status);
            // A check is a map of plain values; it always has a JSON form.
            report.checks.insert(name.to_owned(), serde_json::to_value(check).unwrap_or_default());
        }
        report
    }

    /// Runs all checks every 15 seconds. Never ends.
    pub async fn watch(self: Arc<Self>) {
        let mut ticks = interval(CHECK_INTERVAL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            self.report().await;
        }
    }

    /// The phase of the server.
    pub fn phase(&self) -> ServerPhase {
        ServerPhase::from_repr(self.phase.load(Ordering::Acquire)).unwrap_or(ServerPhase::Stopping)
    }

    /// Starts or ends draining. Does nothing while the server starts or stops; returns whether the phase is the wanted one.
    pub fn drain(&self, drains: bool) -> bool {
        let (from, to) = match drains {
            true => (ServerPhase::Ready, ServerPhase::Draining),
            false => (ServerPhase::Draining, ServerPhase::Ready),
        };
        let changed = self.phase.compare_exchange(from as u8, to as u8, Ordering::AcqRel, Ordering::Acquire);
        if changed.is_ok() {
            self.metrics.ready.set(i64::from(to == ServerPhase::Ready));
        }
        changed.is_ok() || self.phase() == to
    }

    /// Sets the phase.
    pub fn set_phase(&self, phase: ServerPhase) {
        self.phase.store(phase as u8, Ordering::Release);
        self.metrics.ready.set(i64::from(phase == ServerPhase::Ready));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn health() -> Health {
        Health::new(&HealthOptions::default(), Arc::new(Metrics::new("test", "test", false)))
    }

    #[tokio::test]
    async fn the_worst_check_decides() {
        let health = health()
            .check("limits", || Check::healthy().with("keys", 7))
            .check("archive", || Check::degraded("the disk is full").with("pending", 12));
        let report = serde_json::to_value(health.report().await).unwrap();
        assert_eq!(
            report,
            serde_json::json!({
                "status": "degraded",
                "checks": {
                    "limits": {"status": "healthy", "keys": 7},
                    "archive": {"status": "degraded", "message": "the disk is full", "pending": 12},
                }
            })
        );
        assert_eq!(health.metrics.health.with("archive").get(), 1);
    }

    #[tokio::test]
    async fn a_check_that_hangs_or_panics_is_unhealthy_and_delays_nothing_else() {
        let (go_on, hangs) = std::sync::mpsc::channel::<()>();
        let (hangs, asked) = (std::sync::Mutex::new(hangs), Arc::new(AtomicU8::new(0)));
        let count = Arc::clone(&asked);
        let options = HealthOptions { timeout: Duration::from_secs(1) };
        let health = Health::new(&options, Arc::new(Metrics::new("test", "test", false)))
            .check("journal", move || {
                count.fetch_add(1, Ordering::Relaxed);
                // Until the test is over.
                hangs.lock().unwrap().recv().ok();
                Check::healthy()
            })
            .check("memory", || panic!("broken"))
            .check("rooms", Check::healthy);
        for _ in 0..2 {
            let report = health.report().await;
            assert_eq!(report.status, HealthStatus::Unhealthy);
            assert_eq!(report.checks["journal"]["message"], "no answer within 1 s");
            assert_eq!(report.checks["memory"]["message"], "the check itself failed");
            assert_eq!(report.checks["rooms"]["status"], "healthy");
        }
        assert_eq!(asked.load(Ordering::Relaxed), 1, "a check that hangs does not run again");
        assert_eq!(health.metrics.health.with("journal").get(), 2);
        drop(go_on);
        // It recovers: the channel answers at once now.
        while health.report().await.checks["journal"]["status"] != "healthy" {}
    }

    #[test]
    fn a_server_is_ready_only_between_start_and_stop() {
        let health = health();
        assert_eq!(health.phase(), ServerPhase::Starting);
        health.set_phase(ServerPhase::Ready);
        assert_eq!((health.phase(), health.metrics.ready.get()), (ServerPhase::Ready, 1));
        assert!(health.drain(true) && health.drain(true));
        assert_eq!((health.phase(), health.metrics.ready.get()), (ServerPhase::Draining, 0));
        assert!(health.drain(false));
        assert_eq!((health.phase(), health.metrics.ready.get()), (ServerPhase::Ready, 1));
        health.set_phase(ServerPhase::Stopping);
        assert_eq!((health.phase(), health.metrics.ready.get()), (ServerPhase::Stopping, 0));
        assert!(!health.drain(true) && !health.drain(false), "there is no way back from stopping");
        assert_eq!(health.phase(), ServerPhase::Stopping);
    }
}
