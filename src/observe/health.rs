//! Is the server well? One question, asked of everything that can be unwell.

use std::fmt;
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

/// How well something is; the later, the worse.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum HealthStatus {
    /// All is as it should be.
    #[default]
    Healthy,
    /// Games go on, but somebody should look.
    Degraded,
    /// Games cannot go on, or would be lost.
    Unhealthy,
}

/// What one check found: how well it is, and the figures behind that.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Check {
    /// How well it is.
    pub status: HealthStatus,
    /// Why, for people; absent when all is well.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// The figures.
    #[serde(flatten)]
    pub figures: Map<String, Value>,
}

impl Check {
    /// All is well.
    pub fn healthy() -> Self {
        Self::default()
    }

    /// Games go on, but somebody should look.
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

/// Between two looks at everything that nobody has asked for: the metric is true then, too.
const LOOK_INTERVAL: Duration = Duration::from_secs(15);

/// Something that can be asked how it is.
struct Question {
    name: &'static str,
    ask: Arc<dyn Fn() -> Check + Send + Sync>,
    /// One that hangs keeps one thread, and not one for each who asks.
    turn: Arc<Semaphore>,
}

impl Question {
    /// The answer, however long it takes.
    async fn answer(&self) -> Check {
        const BROKEN: &str = "the check itself failed";
        // Refused only when the semaphore is closed, which nobody does.
        let Ok(turn) = Arc::clone(&self.turn).acquire_owned().await else { return Check::unhealthy(BROKEN) };
        let ask = Arc::clone(&self.ask);
        // Whatever a check looks at may be held up by a disk; the thread that answers requests must not be.
        let asked = tokio::task::spawn_blocking(move || {
            let _turn = turn;
            ask()
        });
        asked.await.unwrap_or_else(|_| Check::unhealthy(BROKEN))
    }
}

/// Everything that can be asked how it is.
pub struct Health {
    checks: Vec<Question>,
    timeout: Duration,
    phase: AtomicU8,
    metrics: Arc<Metrics>,
}

impl fmt::Debug for Health {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<&str> = self.checks.iter().map(|question| question.name).collect();
        f.debug_struct("Health").field("checks", &names).field("phase", &self.phase()).finish_non_exhaustive()
    }
}

/// Whether newcomers are welcome.
#[derive(Debug, Clone, Copy, PartialEq, Eq, IntoStaticStr, FromRepr)]
#[strum(serialize_all = "snake_case")]
#[repr(u8)]
pub enum ServerPhase {
    /// Not yet: live games are being restored.
    Starting,
    /// Yes.
    Ready,
    /// No, because an administrator wants the server to empty; games go on.
    Draining,
    /// No more: the server stops.
    Stopping,
}

impl ServerPhase {
    /// Its name.
    pub fn name(self) -> &'static str {
        self.into()
    }

    /// Whether players who have a seat may come back to it.
    pub fn serves_players(self) -> bool {
        matches!(self, Self::Ready | Self::Draining)
    }
}

impl Health {
    /// Nothing to ask yet, and not ready.
    pub fn new(options: &HealthOptions, metrics: Arc<Metrics>) -> Self {
        Self { checks: Vec::new(), timeout: options.timeout, phase: AtomicU8::new(0), metrics }
    }

    /// Adds something to ask, by a name out of [`labels::CHECK`](super::labels::CHECK).
    #[must_use]
    pub fn check(mut self, name: &'static str, ask: impl Fn() -> Check + Send + Sync + 'static) -> Self {
        self.checks.push(Question { name, ask: Arc::new(ask), turn: Arc::new(Semaphore::new(1)) });
        self
    }

    /// Asks everything at once. What does not answer in time is unhealthy.
    pub async fn report(&self) -> HealthReport {
        let deadline = Instant::now() + self.timeout;
        let answers = self.checks.iter().map(|question| async {
            let late = || Check::unhealthy(format!("no answer within {} s", self.timeout.as_secs()));
            (question.name, timeout_at(deadline, question.answer()).await.unwrap_or_else(|_| late()))
        });
        let mut report = HealthReport { status: HealthStatus::Healthy, checks: Map::new() };
        for (name, check) in join_all(answers).await {
            self.metrics.health.with(name).set(check.status as i64);
            report.status = report.status.max(check.status);
            // A check is a map of plain values; it always has a JSON form.
            report.checks.insert(name.to_owned(), serde_json::to_value(check).unwrap_or_default());
        }
        report
    }

    /// Looks at everything from time to time, for as long as the process lives.
    pub async fn watch(self: Arc<Self>) {
        let mut looks = interval(LOOK_INTERVAL);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            looks.tick().await;
            self.report().await;
        }
    }

    /// Whether newcomers are welcome.
    pub fn phase(&self) -> ServerPhase {
        ServerPhase::from_repr(self.phase.load(Ordering::Acquire)).unwrap_or(ServerPhase::Stopping)
    }

    /// Lets the server empty, or not any more. Does nothing while it starts or stops; returns whether the phase is the one
    /// asked for.
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

    /// Says whether newcomers are welcome from now on.
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
    async fn what_hangs_or_breaks_is_unhealthy_and_holds_up_nobody() {
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
        assert_eq!(asked.load(Ordering::Relaxed), 1, "what hangs is not asked again");
        assert_eq!(health.metrics.health.with("journal").get(), 2);
        drop(go_on);
        // Whether it ever comes back is told as well: the same channel answers at once now.
        while health.report().await.checks["journal"]["status"] != "healthy" {}
    }

    #[test]
    fn newcomers_are_welcome_only_in_between() {
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
