use std::future::pending;
use std::path::Path;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::json;
use tokio::runtime::Handle;
use tokio::sync::oneshot;

use super::ServerError;
use crate::archive::{self, Announcement, Archive, ControlSocket, OpenReport, Options, StoreError, StoreOutcome};
use crate::config::Config;
use crate::observe::{EventKind, Events, Metrics};
use crate::room::ArchiveGame;

/// How often the state of the archive is checked for events.
const ARCHIVE_CHECK_INTERVAL: Duration = Duration::from_secs(2);
/// How long a completed game waits before it is submitted to a full archive again.
const FULL_RETRY_INTERVAL: Duration = Duration::from_secs(1);

/// How long the start waits for an archive that a command has open.
const LOCK_TIMEOUT: Duration = Duration::from_secs(10);
/// The pause between two attempts to open it.
const LOCK_PAUSE: Duration = Duration::from_millis(50);

/// Opens the archive of completed games, if it is enabled, and starts copying to its sinks.
pub(super) fn open_archive(config: &Config, metrics: &Arc<Metrics>) -> Result<Option<Archive>, ServerError> {
    if !config.archive.enabled {
        return Ok(None);
    }
    let mut options = config.archive.clone();
    if !config.journal.enabled {
        // Nothing covers a game while it waits for its group, so none may wait.
        options.flush_interval = Duration::ZERO;
    }
    let (archive, report) = open_when_free(&options.folder(&config.data_dir), &options, metrics)?;
    if archive.store().check_open().is_err() {
        log::warn!("the server starts without the archive, which is opened when the disk lets it");
    } else if report.is_damaged() {
        log::error!("{report}");
    } else {
        log::info!("{report}");
    }
    let mut sinks = Vec::new();
    for kind in options.sinks() {
        let sink = archive::sink::open(kind, &options)?;
        log::info!(sink = kind.name(); "completed games are copied to {}", sink.place());
        sinks.push((kind, sink));
    }
    archive.deliver_to(sinks, &options)?;
    Ok(Some(archive))
}

/// Lets commands beside this server ask it for games. Without that they fail until it has stopped.
pub(super) fn answer_commands(archive: &Archive, request_thread: &Handle) -> Option<ControlSocket> {
    let started = ControlSocket::start(archive, request_thread);
    started.inspect_err(|error| log::warn!("commands cannot ask this server for completed games: {error}")).ok()
}

/// Opens the archive, and waits for a command that has it open: a backup of the night must not keep a restart from succeeding.
fn open_when_free(
    folder: &Path,
    options: &Options,
    metrics: &Arc<Metrics>,
) -> Result<(Archive, OpenReport), StoreError> {
    let deadline = Instant::now() + LOCK_TIMEOUT;
    let mut is_told = false;
    loop {
        match Archive::open_or_wait(folder, options, Arc::clone(metrics)) {
            Err(error @ StoreError::Locked { .. }) if Instant::now() < deadline => {
                if !is_told {
                    log::info!("{error}; the start waits for it");
                    is_told = true;
                }
                thread::sleep(LOCK_PAUSE);
            }
            outcome => return outcome,
        }
    }
}

/// Hands completed games to the archive. While its queue is full a game waits here, covered by the journal. The journal drops
/// a game when a checkpoint has found it in the archive's raw file, not when the database has acknowledged it.
pub(super) fn keep(archive: Option<Archive>, events: Events) -> ArchiveGame {
    Box::new(move |mut record| {
        let (archive, events) = (archive.clone(), events.clone());
        Box::pin(async move {
            let Some(archive) = archive else { return };
            let game = record.game_id.to_string();
            loop {
                let (sender, outcome) = oneshot::channel();
                let report = move |outcome| {
                    // The receiver goes away with its room.
                    sender.send(outcome).ok();
                };
                let (found, checkpointed) = oneshot::channel();
                let report_found = move || {
                    found.send(()).ok();
                };
                if let Err(archive::QueueFull(returned)) = archive.submit_copied(record, report, report_found) {
                    record = *returned;
                    tokio::time::sleep(FULL_RETRY_INTERVAL).await;
                    continue;
                }
                if let Ok(StoreOutcome::Stored(_)) = outcome.await {
                    events.note(EventKind::ArchiveStored, json!({ "game": game }));
                    if checkpointed.await.is_ok() {
                        return;
                    }
                }
                // It must not be forgotten: the next start, or a later version, finds it in the journal.
                return pending().await;
            }
        })
    })
}

/// Notes an event when completed games cannot be stored any more, when they can again, and before many old ones are removed.
pub(super) async fn watch_archive(archive: Archive, events: Events) {
    let (mut was_failing, mut failures) = (false, 0);
    let mut interval = tokio::time::interval(ARCHIVE_CHECK_INTERVAL);
    loop {
        interval.tick().await;
        let status = archive.status();
        let is_failing = matches!(status.store.health, archive::Health::Failing { .. });
        // A failure may be over before anybody looks.
        if !was_failing && (is_failing || status.store.failures > failures) {
            events.note(EventKind::ArchiveFailing, json!({ "pending": status.pending }));
            was_failing = true;
        }
        if was_failing && !is_failing {
            events.note(EventKind::ArchiveRecovered, json!({ "pending": status.pending }));
            was_failing = false;
        }
        failures = status.store.failures;
        for Announcement { place, games, oldest, newest } in archive.announced() {
            let fields = json!({ "place": place, "games": games, "oldest": oldest, "newest": newest });
            events.note(EventKind::RemovalAnnounced, fields);
        }
    }
}
