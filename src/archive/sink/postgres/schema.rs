//! The tables: made where we may, found where somebody has made them for us.

use std::sync::atomic::{AtomicBool, Ordering};

use deadpool_postgres::Client;
use refinery_core::traits::r#async::{AsyncQuery, AsyncTransaction};
use refinery_core::{AsyncMigrate, Migration};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use tokio_postgres::error::SqlState;
use tokio_postgres::{Error, SimpleQueryMessage, Transaction};

use super::{SinkError, sink_error, text};

/// What there must be, after all migrations. With it there, nothing is changed, so that Liap's user need own nothing.
const IS_COMPLETE: &str = "\
    SELECT count(*) = 17 FROM pg_attribute WHERE NOT attisdropped AND ( \
        attrelid = to_regclass('archive.completed_games') AND attname IN ('game_id', 'room_id', 'game_data', 'completed_at', \
            'archived_at', 'game_duration_seconds', 'winner_name', 'final_scores', 'content_digest', 'data_digest', \
            'event_count', 'installation') \
        OR attrelid = to_regclass('archive.game_events') AND attname IN ('id', 'game_id', 'event_type', 'event_data', \
            'event_timestamp'))";
/// Held while tables are made, so that of several servers that start at once one makes them.
const LOCK: &str = "SELECT pg_advisory_xact_lock(hashtextextended('liap archive schema', 0))";
/// Where refinery keeps which migrations were made.
const HISTORY: &str = "archive.schema_history";
/// Whether there are events without games.
const IS_HALF: &str =
    "SELECT to_regclass('archive.completed_games') IS NULL AND to_regclass('archive.game_events') IS NOT NULL";
/// Events whose games somebody has dropped say nothing, and come again with them; the reference went with the games.
const MEND_EVENTS: &str = "TRUNCATE archive.game_events; \
    ALTER TABLE archive.game_events ADD FOREIGN KEY (game_id) REFERENCES archive.completed_games(game_id)";

/// Every statement can be repeated: the tables may be there, made by `scripts/init-archive.sql`, without any history.
mod embedded {
    #![allow(clippy::all, missing_docs, unreachable_pub, reason = "written by the macro")]
    refinery::embed_migrations!("src/archive/sink/postgres/migrations");
}

/// Whether the tables were seen.
#[derive(Debug, Default)]
pub(super) struct Schema {
    is_there: AtomicBool,
}

impl Schema {
    /// Makes the tables, unless they are there.
    pub(super) async fn ensure(&self, client: &mut Client) -> Result<(), SinkError> {
        if self.is_there.load(Ordering::Relaxed) {
            return Ok(());
        }
        let transaction = client.transaction().await.map_err(|error| sink_error(&error))?;
        let mut making = Making { transaction: &transaction };
        making.make().await?;
        transaction.commit().await.map_err(|error| sink_error(&error))?;
        self.is_there.store(true, Ordering::Relaxed);
        Ok(())
    }

    /// After this error, the tables may be gone.
    pub(super) fn doubt(&self, error: &Error) {
        let gone = [SqlState::UNDEFINED_TABLE, SqlState::UNDEFINED_COLUMN, SqlState::INVALID_SCHEMA_NAME];
        if error.code().is_some_and(|code| gone.contains(code)) {
            self.is_there.store(false, Ordering::Relaxed);
        }
    }
}

/// One transaction for all migrations. refinery's own driver prepares named statements, which outlive a transaction and
/// must not be left in a connection that belongs to a pooler.
struct Making<'a> {
    transaction: &'a Transaction<'a>,
}

impl Making<'_> {
    async fn make(&mut self) -> Result<(), MakingError> {
        let ask = async |transaction: &Transaction<'_>, question: &str| -> Result<bool, Error> {
            transaction.query_typed_one(question, &[]).await?.try_get(0)
        };
        if ask(self.transaction, IS_COMPLETE).await? {
            return Ok(());
        }
        self.transaction.batch_execute(LOCK).await?;
        if ask(self.transaction, IS_COMPLETE).await? {
            return Ok(());
        }
        let is_half = ask(self.transaction, IS_HALF).await?;
        self.transaction.batch_execute("CREATE SCHEMA IF NOT EXISTS archive").await?;
        self.migrate().await?;
        if !ask(self.transaction, IS_COMPLETE).await? {
            // All were made once, and what they made is gone.
            self.transaction.batch_execute(&format!("DELETE FROM {HISTORY}")).await?;
            self.migrate().await?;
        }
        if is_half {
            self.transaction.batch_execute(MEND_EVENTS).await?;
        }
        if ask(self.transaction, IS_COMPLETE).await? { Ok(()) } else { Err(MakingError::Strange) }
    }

    async fn migrate(&mut self) -> Result<(), refinery::Error> {
        let mut runner = embedded::migrations::runner();
        runner.set_migration_table_name(HISTORY);
        runner.run_async(self).await.map(drop)
    }
}

impl AsyncTransaction for Making<'_> {
    type Error = MakingError;

    async fn execute<'a, T: Iterator<Item = &'a str> + Send + 'a>(&mut self, queries: T) -> Result<usize, MakingError> {
        let mut count = 0;
        for query in queries {
            self.transaction.batch_execute(query).await?;
            count += 1;
        }
        Ok(count)
    }
}

impl AsyncQuery<Vec<Migration>> for Making<'_> {
    async fn query(&mut self, query: &str) -> Result<Vec<Migration>, MakingError> {
        let mut made = Vec::new();
        for message in self.transaction.simple_query(query).await? {
            let SimpleQueryMessage::Row(row) = message else { continue };
            let column = |n| row.try_get(n).ok().flatten().ok_or(MakingError::History);
            made.push(Migration::applied(
                column(0)?.parse().map_err(|_| MakingError::History)?,
                column(1)?.to_owned(),
                OffsetDateTime::parse(column(2)?, &Rfc3339).map_err(|_| MakingError::History)?,
                column(3)?.parse().map_err(|_| MakingError::History)?,
            ));
        }
        Ok(made)
    }
}

impl AsyncMigrate for Making<'_> {}

/// Why the tables were not made.
#[derive(Debug, thiserror::Error)]
enum MakingError {
    #[error(transparent)]
    Database(#[from] Error),
    #[error(transparent)]
    Migration(#[from] refinery::Error),
    #[error("{HISTORY} cannot be read")]
    History,
    #[error("the tables in the schema `archive` are others than Liap's")]
    Strange,
}

impl From<MakingError> for SinkError {
    fn from(error: MakingError) -> Self {
        // refinery hands our own error on, somewhere inside of its own.
        let mut source: Option<&(dyn std::error::Error + 'static)> = Some(&error);
        while let Some(cause) = source {
            if let Some(MakingError::Database(database)) = cause.downcast_ref() {
                return match sink_error(database) {
                    Self::Denied(_) => Self::Denied(format!(
                        "the schema `archive` is not there, or older than this version, and may not be changed ({}): let an \
                         owner run scripts/init-archive.sql, then scripts/init-archive-role",
                        text(database)
                    )),
                    error @ Self::Unavailable(_) => error,
                };
            }
            source = cause.source();
        }
        Self::Denied(error.to_string())
    }
}
