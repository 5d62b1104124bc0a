//! Do the services answer that are set? The server needs none of them.

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::time::{sleep, timeout};

use super::report::{Finding, Report, ok, warning, wrong};
use crate::archive::sink::{self, Sink, SinkError, SinkKind};
use crate::config::Config;
use crate::observe::{HealthStatus, Metrics};
use crate::redis::{self, Redis};

/// The longest wait for one of them.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(3);
/// The longest wait for everything that is tried in a sink.
const PROOF_TIMEOUT: Duration = Duration::from_secs(10);
const POLL_INTERVAL: Duration = Duration::from_millis(20);
/// Games in a sink that are counted, at most, where the archive is empty.
const COUNTED: NonZeroUsize = NonZeroUsize::MIN.saturating_add(999);

/// Asks everything that is set and in this build. What cannot be opened is a wrong setting and reported as such.
/// `games` are archived here, if that is known.
pub(super) fn check(report: &mut Report, config: &Config, games: Option<usize>) -> std::io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        if !config.redis.url.is_set() {
            report.add("redis", ok("none is set; limits are kept in the process"));
        } else if redis::is_compiled_in() {
            let metrics = Arc::new(Metrics::new(env!("CARGO_PKG_VERSION"), "", false));
            match redis::open(&config.redis, &metrics) {
                Ok(Some(redis)) => report.add("redis", check_redis(&redis, &config.redis.url.to_string()).await),
                Ok(None) => {}
                Err(error) => report.add("redis", wrong(error.to_string(), "correct the setting")),
            }
        }
        let kinds = if config.archive.enabled { config.archive.sinks() } else { Vec::new() };
        for kind in kinds {
            if let Ok(sink) = sink::open(kind, &config.archive) {
                report.add(kind.name(), check_sink(&*sink).await);
                if games == Some(0)
                    && let Some(finding) = check_copies(kind, &*sink).await
                {
                    report.add(kind.name(), finding);
                }
            }
        }
    });
    // What still tries to reach them need not end first.
    runtime.shutdown_background();
    Ok(())
}

/// Its connection is made in the background, and proved by a write that expires.
async fn check_redis(redis: &Redis, url: &str) -> Finding {
    let asked = Instant::now();
    loop {
        let check = redis.check();
        if check.status == HealthStatus::Healthy {
            return ok(format!("{url} answered within {} ms", asked.elapsed().as_millis()));
        }
        if asked.elapsed() > ANSWER_TIMEOUT {
            return warning(
                format!("{url}, within {} s: {}", ANSWER_TIMEOUT.as_secs(), check.message.unwrap_or_default()),
                "try `redis-cli -u \"$REDIS_URL\" ping`; until it works, each server limits by itself",
            );
        }
        sleep(POLL_INTERVAL).await;
    }
}

/// Whether completed games could be copied there.
async fn check_sink(sink: &dyn Sink) -> Finding {
    const KEPT_HERE: &str = "check the way there; games are kept here, and copied when it is back";
    let place = sink.place();
    let asked = Instant::now();
    let mut answer = timeout(ANSWER_TIMEOUT, sink.check()).await;
    let answered = asked.elapsed().as_millis();
    if let Ok(Ok(())) = answer {
        answer = timeout(PROOF_TIMEOUT, sink.prove()).await;
    }
    match answer {
        Ok(Ok(())) => ok(format!("{place} answered within {answered} ms, and allows what is needed")),
        Ok(Err(SinkError::Denied(reason))) => wrong(
            format!("{place}: {reason}"),
            "correct its credentials and rights, or make the bucket or database; games are kept here meanwhile",
        ),
        Ok(Err(SinkError::Unavailable(reason))) => warning(format!("{place}: {reason}"), KEPT_HERE),
        Err(_) => warning(format!("{place} does not answer within {} s", asked.elapsed().as_secs()), KEPT_HERE),
    }
}

/// Whether copies stand behind an empty archive: somebody may have lost a disk, or named another folder by mistake. A sink
/// that does not answer has its own finding.
async fn check_copies(kind: SinkKind, sink: &dyn Sink) -> Option<Finding> {
    let games = timeout(ANSWER_TIMEOUT, sink.count(u64::MAX, COUNTED)).await.ok()?.ok().filter(|games| *games > 0)?;
    let more = if games == COUNTED.get() { "at least " } else { "" };
    let message = format!("the archive here is empty, and {more}{games} games are in {}", sink.place());
    let mend = format!(
        "if this server has made them, `liap archive restore --from {kind}` before it starts; if others have, nothing: they stay"
    );
    Some(warning(message, mend).with("games", games))
}
