//! Do the services answer that are set? None is needed; without them a server goes on by itself.

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::time::timeout;

use super::report::Report;
use crate::archive::Snapshot;
use crate::archive::sink::{self, Sink, SinkError, SinkKind};
use crate::config::Config;
use crate::observe::{Check, HealthStatus, Metrics};
use crate::redis;

/// The longest wait for one of them.
const PATIENCE: Duration = Duration::from_secs(3);
const KEPT_HERE: &str = "look at the way there; games are kept here, and copied when it is back";
/// Games in a sink before an empty archive that are counted at most.
const COUNTED: NonZeroUsize = NonZeroUsize::MIN.saturating_add(999);
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// Asks everything that is set and in this build.
pub(super) fn look(report: &mut Report, config: &Config) -> std::io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        look_at_redis(report, config).await;
        look_at_sinks(report, config).await;
    });
    // What still tries to reach them need not end first.
    runtime.shutdown_background();
    Ok(())
}

async fn look_at_redis(report: &mut Report, config: &Config) {
    let url = &config.redis.url;
    if !url.is_set() {
        report.ok("redis", "none is set; limits are kept in the process");
        return;
    }
    if !redis::is_compiled_in() {
        // The settings have said so already.
        return;
    }
    let metrics = Arc::new(Metrics::new(env!("CARGO_PKG_VERSION"), "", false));
    let redis = match redis::open(&config.redis, &metrics) {
        Ok(Some(redis)) => redis,
        Ok(None) => return,
        Err(error) => {
            report.wrong("redis", error.to_string(), "mend the setting");
            return;
        }
    };
    // Its connection is made in the background, and proved by a write that forgets itself.
    let asked = Instant::now();
    let check = answered(|| redis.check()).await;
    if check.status == HealthStatus::Healthy {
        report.ok("redis", format!("{url} answered within {} ms", asked.elapsed().as_millis()));
    } else {
        report.warning(
            "redis",
            format!("{url}, within {} s: {}", PATIENCE.as_secs(), check.message.unwrap_or_default()),
            "look at `redis-cli -u \"$REDIS_URL\" ping`; until it is well, each server limits by itself",
        );
    }
}

/// Whether completed games could be copied to where they shall be. Sinks that do not open are mistakes of the settings,
/// which have been told.
async fn look_at_sinks(report: &mut Report, config: &Config) {
    if !config.archive.enabled {
        return;
    }
    let folder = config.archive.folder(&config.data_dir);
    let is_empty = !folder.exists() || Snapshot::open(&folder).is_ok_and(|snapshot| snapshot.is_empty());
    for kind in config.archive.sinks() {
        let Ok(sink) = sink::open(kind, &config.archive) else { continue };
        let place = sink.place();
        let asked = Instant::now();
        match timeout(PATIENCE, sink.check()).await {
            Ok(Ok(())) => {
                report.ok(kind.name(), format!("{place} answered within {} ms", asked.elapsed().as_millis()));
                if is_empty {
                    look_at_copies(report, kind, &*sink).await;
                }
            }
            Ok(Err(SinkError::Denied(reason))) => {
                let mend = "mend its credentials, or make the bucket or database; games are kept here meanwhile";
                report.wrong(kind.name(), format!("{place}: {reason}"), mend);
            }
            Ok(Err(SinkError::Unavailable(reason))) => {
                report.warning(kind.name(), format!("{place}: {reason}"), KEPT_HERE);
            }
            Err(_) => {
                let message = format!("{place} does not answer within {} s", PATIENCE.as_secs());
                report.warning(kind.name(), message, KEPT_HERE);
            }
        }
    }
}

/// Whether an empty archive stands before copies: somebody may have lost a disk, or named another folder by mistake.
async fn look_at_copies(report: &mut Report, kind: SinkKind, sink: &dyn Sink) {
    // Where it does not answer now, it has answered a moment ago; the next look tells.
    let games = timeout(PATIENCE, sink.count(u64::MAX, COUNTED)).await.ok().and_then(Result::ok).unwrap_or_default();
    if games > 0 {
        let more = if games == COUNTED.get() { "at least " } else { "" };
        report
            .warning(
                kind.name(),
                format!("the archive here is empty, and {more}{games} games are in {}", sink.place()),
                format!(
                    "if this server has made them, `liap archive restore --from {kind}` before it starts; if others have, \
                     nothing: they stay"
                ),
            )
            .with("games", games);
    }
}

/// What a check says once it is content, or when patience is over.
async fn answered(check: impl Fn() -> Check) -> Check {
    let begun = Instant::now();
    loop {
        let check = check();
        if check.status == HealthStatus::Healthy || begun.elapsed() > PATIENCE {
            return check;
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}
