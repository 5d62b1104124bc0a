//! The tables: created if they are missing and Liap's user may create them.

use std::sync::atomic::{AtomicBool, Ordering};

use deadpool_postgres::Client;
use tokio_postgres::error::SqlState;
use tokio_postgres::{Error, Transaction};

use super::{SinkError, sink_error, text};

/// Creates whatever is missing, in any database that an earlier version has prepared. Every statement can be repeated.
const CREATE: &str = include_str!("../../../../scripts/init-archive.sql");
/// Whether all columns are there. If they are, nothing is changed, so Liap's user need not own the tables.
const IS_COMPLETE: &str = "\
    SELECT count(*) = 17 FROM pg_attribute WHERE NOT attisdropped AND ( \
        attrelid = to_regclass('archive.completed_games') AND attname IN ('game_id', 'room_id', 'game_data', 'completed_at', \
            'archived_at', 'game_duration_seconds', 'winner_name', 'final_scores', 'content_digest', 'data_digest', \
            'event_count', 'installation') \
        OR attrelid = to_regclass('archive.game_events') AND attname IN ('id', 'game_id', 'event_type', 'event_data', \
            'event_timestamp'))";
/// Of several servers that start at once, the one that holds this lock creates the tables.
const LOCK: &str = "SELECT pg_advisory_xact_lock(hashtextextended('liap archive schema', 0))";
/// Whether there are events without games.
const IS_HALF: &str =
    "SELECT to_regclass('archive.completed_games') IS NULL AND to_regclass('archive.game_events') IS NOT NULL";
/// If somebody has dropped the games, their events are useless and the reference to them is gone. They come again with the
/// games.
const REPAIR_EVENTS: &str = "TRUNCATE archive.game_events; \
    ALTER TABLE archive.game_events ADD FOREIGN KEY (game_id) REFERENCES archive.completed_games(game_id)";

/// Whether the tables were seen.
#[derive(Debug, Default)]
pub(super) struct Schema {
    is_there: AtomicBool,
}

impl Schema {
    /// Creates the tables, unless they are there.
    pub(super) async fn ensure(&self, client: &mut Client) -> Result<(), SinkError> {
        if self.is_there.load(Ordering::Relaxed) {
            return Ok(());
        }
        let created = async {
            let transaction = client.transaction().await?;
            let is_complete = create(&transaction).await?;
            transaction.commit().await?;
            Ok(is_complete)
        };
        match created.await {
            Ok(true) => {
                self.is_there.store(true, Ordering::Relaxed);
                Ok(())
            }
            Ok(false) => Err(SinkError::Denied("the tables in the schema `archive` are others than Liap's".to_owned())),
            Err(error) => Err(match sink_error(&error) {
                SinkError::Denied(_) => SinkError::Denied(format!(
                    "the schema `archive` is not there, and may not be made ({}): scripts/init-archive.sql makes it",
                    text(&error)
                )),
                error @ SinkError::Unavailable(_) => error,
            }),
        }
    }

    /// After this error, the tables may be gone.
    pub(super) fn doubt(&self, error: &Error) {
        let gone = [SqlState::UNDEFINED_TABLE, SqlState::UNDEFINED_COLUMN, SqlState::INVALID_SCHEMA_NAME];
        if error.code().is_some_and(|code| gone.contains(code)) {
            self.is_there.store(false, Ordering::Relaxed);
        }
    }
}

/// Creates what is missing, and returns whether all is there then. Leaves no named statement in the connection, which may
/// belong to a pooler.
async fn create(transaction: &Transaction<'_>) -> Result<bool, Error> {
    let ask =
        async |question: &str| -> Result<bool, Error> { transaction.query_typed_one(question, &[]).await?.try_get(0) };
    if ask(IS_COMPLETE).await? {
        return Ok(true);
    }
    transaction.batch_execute(LOCK).await?;
    if ask(IS_COMPLETE).await? {
        return Ok(true);
    }
    let is_half = ask(IS_HALF).await?;
    transaction.batch_execute(CREATE).await?;
    if is_half {
        transaction.batch_execute(REPAIR_EVENTS).await?;
    }
    ask(IS_COMPLETE).await
}
