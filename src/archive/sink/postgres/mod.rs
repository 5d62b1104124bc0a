//! Copies in PostgreSQL: a row a game, with its public form as JSON, and a row an event.
//!
//! Whatever is done is one transaction, and nothing of ours stays in a connection when it ends: no named statement, no setting.
//! So the pooler in between may give every transaction another connection (pgbouncer's transaction mode).

mod connect;
mod rows;
mod schema;

use std::fmt;
use std::num::NonZeroUsize;
use std::time::Duration;

use deadpool_postgres::{Client, Pool, PoolError, TimeoutType};
use futures_util::future::try_join_all;
use tokio::sync::Notify;
use tokio::time::{Instant, timeout};
use tokio_postgres::error::SqlState;
use tokio_postgres::types::{ToSql, Type};
use tokio_postgres::{Error, Transaction};

use super::{
    Adoption, Answer, ArchiveUrl, Content, Defect, Delivery, Digest, Installation, PASS_GAMES, Refusal, RemovalPass,
    Sink, SinkCopy, SinkError,
};
use crate::archive::{GameId, Options};
use rows::{ALTERED, Events, Games, TOLD};

/// The longest any question takes, whatever the database does.
const TIMEOUT: Duration = Duration::from_secs(25);
/// The longest one statement may take there.
const STATEMENT_TIMEOUT: Duration = Duration::from_secs(15);
/// Games of one transaction: some thousand rows, which a database that is very slow writes within its time all the same.
const GAMES_AT_ONCE: usize = 10;
/// Old games removed by one transaction.
const REMOVED_AT_ONCE: u64 = 200;
/// Copies without an installation that are counted at most.
const COUNTED: i64 = 100_000;
/// A connection not used for so long is closed, unless it is one of those that are always kept.
const IDLE: Duration = Duration::from_secs(120);
/// Why events are not mended.
const NOT_OURS: &str = "its events there are not whole, and another installation made the copy, or nobody knows which; \
    `liap archive sync --adopt` takes over copies of unknown origin";
/// The rights on the tables that are used and not granted.
const MISSING_RIGHTS: &str = "\
    SELECT string_agg(wanted, ', ') FROM (VALUES \
        ('SELECT on completed_games', has_table_privilege('archive.completed_games', 'SELECT')), \
        ('INSERT on completed_games', has_table_privilege('archive.completed_games', 'INSERT')), \
        ('DELETE on completed_games', has_table_privilege('archive.completed_games', 'DELETE')), \
        ('UPDATE of completed_games.installation', \
            has_column_privilege('archive.completed_games', 'installation', 'UPDATE')), \
        ('SELECT on game_events', has_table_privilege('archive.game_events', 'SELECT')), \
        ('INSERT on game_events', has_table_privilege('archive.game_events', 'INSERT')), \
        ('DELETE on game_events', has_table_privilege('archive.game_events', 'DELETE')), \
        ('USAGE on the sequence of game_events.id', \
            has_sequence_privilege(pg_get_serial_sequence('archive.game_events', 'id'), 'USAGE')) \
    ) AS rights(wanted, is_granted) WHERE NOT is_granted";
/// Ids of Liap, for there may be games of other programs in the same table.
const LIAP_IDS: &str = "game_id ~ '^[0-7][0-9A-HJKMNP-TV-Z]{25}$'";

/// Games in a database.
pub(super) struct Postgres {
    pool: Pool,
    kept: usize,
    place: String,
    schema: schema::Schema,
}

impl Postgres {
    /// Reads the settings; nothing is sent yet.
    ///
    /// # Errors
    /// What is wrong with them.
    pub(super) fn open(url: &ArchiveUrl, options: &Options) -> Result<Self, String> {
        let place = connect::Location::parse(url.reveal())?;
        let name = place.to_string();
        let most = options.database_pool_max.max(1);
        let kept = options.database_pool_min.min(most);
        Ok(Self { pool: place.pool(most)?, kept, place: name, schema: schema::Schema::default() })
    }

    /// A connection to a database that has what we need.
    async fn client(&self) -> Result<Client, SinkError> {
        let mut client = self.pool.get().await.map_err(no_client)?;
        if let Err(error) = self.schema.ensure(&mut client).await {
            // Whatever state it is in goes with it.
            drop(Client::take(client));
            return Err(error);
        }
        Ok(client)
    }

    /// Does something in one transaction. A connection that has failed is not used again.
    async fn transact<T>(&self, act: impl AsyncFnOnce(&Transaction<'_>) -> Result<T, Error>) -> Result<T, Failure> {
        let mut client = self.client().await.map_err(Failure::Sink)?;
        let done = async {
            let transaction = client.transaction().await?;
            let limit = format!("SET LOCAL statement_timeout = {}", STATEMENT_TIMEOUT.as_millis());
            // Both are on their way at once, in this order.
            let ((), done) = tokio::try_join!(biased; transaction.batch_execute(&limit), act(&transaction))?;
            transaction.commit().await?;
            Ok(done)
        }
        .await;
        if let Err(error) = &done {
            drop(Client::take(client));
            self.schema.doubt(error);
        }
        done.map_err(Failure::Database)
    }

    async fn copy(&self, games: &[Delivery], ours: Installation) -> Result<Vec<Refusal>, SinkError> {
        // In the order of their ids, so that no two who copy the same games wait for each other.
        let mut sorted: Vec<&Delivery> = games.iter().collect();
        sorted.sort_unstable_by_key(|game| game.id);
        sorted.dedup_by_key(|game| game.id);
        let parts: Vec<&[&Delivery]> = sorted.chunks(GAMES_AT_ONCE).collect();
        // Each connection that may be had takes its share of the parts.
        let lanes = self.pool.status().max_size.min(parts.len()).max(1);
        let lane = async |lane: usize| {
            let mut refused = Vec::new();
            let mut ahead = parts.iter().skip(lane).step_by(lanes);
            let mut next = Part::of(ahead.next().copied().unwrap_or_default()).await;
            while !next.games.is_empty() {
                // The next part is made ready while the database writes the events of this one, which takes it longest. Begun
                // earlier, that would hold up the statements before them.
                let writes_events = Notify::new();
                let copied = async {
                    let copied = self.copy_part(&next, ours, &writes_events).await;
                    writes_events.notify_one();
                    copied
                };
                let following = async {
                    writes_events.notified().await;
                    Part::of(ahead.next().copied().unwrap_or_default()).await
                };
                let (copied, prepared) = tokio::join!(copied, following);
                refused.append(&mut copied?);
                next = prepared;
            }
            Ok::<_, SinkError>(refused)
        };
        let refused = try_join_all((0..lanes).map(lane)).await?;
        Ok(refused.into_iter().flatten().collect())
    }

    async fn copy_part(
        &self,
        part: &Part<'_>,
        ours: Installation,
        writes_events: &Notify,
    ) -> Result<Vec<Refusal>, SinkError> {
        match self.copy_together(part, ours, writes_events).await {
            Ok(refused) => Ok(refused),
            Err(Failure::Database(error)) if is_about_content(&error) => {
                // One of them cannot be stored; the others shall not suffer for it.
                let mut refused = Vec::new();
                for game in part.games {
                    match self.copy_together(&Part::of(&[game]).await, ours, writes_events).await {
                        Ok(mut one) => refused.append(&mut one),
                        Err(Failure::Database(error)) if is_about_content(&error) => {
                            refused.push(Refusal { id: game.id, reason: text(&error) });
                        }
                        Err(failure) => return Err(failure.into()),
                    }
                }
                Ok(refused)
            }
            Err(failure) => Err(failure.into()),
        }
    }

    /// Copies these games, with their events, or none of them. Tells when there is nothing to do here for a while.
    async fn copy_together(
        &self,
        part: &Part<'_>,
        ours: Installation,
        writes_events: &Notify,
    ) -> Result<Vec<Refusal>, Failure> {
        let Part { games: part, rows: games, events } = part;
        self.transact(async |transaction| {
            let fresh = games.insert(transaction, ours).await?;
            if fresh.len() == games.len() {
                writes_events.notify_one();
                events.insert(transaction).await?;
                return Ok(Vec::new());
            }
            let known = games.compare(transaction, &fresh, ours).await?;
            let mut wanting = fresh;
            let mut refused = Vec::new();
            for (one, game) in
                known.iter().filter_map(|one| Some((one, part.iter().find(|game| is_of(game, &one.id))?)))
            {
                let reason = match &one.altered {
                    _ if !one.is_same => "another game of this id is there".to_owned(),
                    Some(altered) => Defect::Columns(altered.clone()).to_string(),
                    None if one.is_whole => continue,
                    None if !one.is_ours => NOT_OURS.to_owned(),
                    None => {
                        // Somebody has removed events. Whatever is left of them goes, and all of them come.
                        rows::remove_events(transaction, &one.id).await?;
                        wanting.push(one.id.clone());
                        continue;
                    }
                };
                refused.push(Refusal { id: game.id, reason });
            }
            events.insert_of(transaction, &wanting).await?;
            Ok(refused)
        })
        .await
    }

    async fn held(&self, after: Option<GameId>, limit: NonZeroUsize) -> Result<Vec<SinkCopy>, SinkError> {
        // Only where what is there is not what was written, all of it is sent.
        let page = format!(
            "SELECT game_id, \
                CASE WHEN is_unchanged THEN content_digest END, \
                CASE WHEN is_unchanged THEN NULL ELSE game_data::text END, \
                event_count::int8, (SELECT count(*) FROM archive.game_events e WHERE e.game_id = g.game_id), \
                NULLIF(concat_ws(', ', {ALTERED}, \
                    CASE WHEN octet_length(content_digest) <> 32 THEN 'content_digest' END), '') \
             FROM (SELECT *, \
                    data_digest = sha256(convert_to(game_data::text, 'UTF8')) IS TRUE \
                        AND octet_length(content_digest) = 32 IS TRUE AS is_unchanged \
                FROM archive.completed_games WHERE game_id > $1 AND {LIAP_IDS} ORDER BY game_id COLLATE \"C\" LIMIT $2) g \
             CROSS JOIN LATERAL {TOLD} ORDER BY game_id COLLATE \"C\""
        );
        let after = after.map(|id| id.to_string()).unwrap_or_default();
        let limit = i64::try_from(limit.get()).unwrap_or(i64::MAX);
        let rows = self
            .transact(async |transaction| {
                transaction.query_typed(&page, &[(&after, Type::TEXT), (&limit, Type::INT8)]).await
            })
            .await?;
        let mut held = Vec::with_capacity(rows.len());
        for row in rows {
            let read = || -> Result<SinkCopy, Error> {
                let digest: Option<Vec<u8>> = row.try_get(1)?;
                let json: Option<String> = row.try_get(2)?;
                let digest = digest.and_then(|digest| digest.try_into().ok()).map(Digest::from_bytes);
                let content = match (digest, json) {
                    (Some(digest), _) => Content::Digest(digest),
                    (None, json) => Content::Json(json.unwrap_or_default()),
                };
                let (wanted, there): (Option<i64>, i64) = (row.try_get(3)?, row.try_get(4)?);
                let mut defects = Vec::new();
                // Where an earlier version did not note how many there were, nobody knows.
                if let Some(wanted) = wanted.filter(|wanted| *wanted != there) {
                    defects.push(Defect::Events { there, wanted });
                }
                defects.extend(row.try_get::<_, Option<String>>(5)?.map(Defect::Columns));
                let id: String = row.try_get(0)?;
                Ok(SinkCopy { id: id.parse().unwrap_or(GameId::MIN), content, defects })
            };
            held.push(read().map_err(Failure::Database)?);
        }
        Ok(held)
    }

    async fn whole(&self, id: GameId) -> Result<Option<Content>, SinkError> {
        let ask = "SELECT game_data::text FROM archive.completed_games WHERE game_id = $1";
        let id = id.to_string();
        let row =
            self.transact(async |transaction| transaction.query_typed_opt(ask, &[(&id, Type::TEXT)]).await).await?;
        let json = row.map(|row| row.try_get(0)).transpose().map_err(Failure::Database)?;
        Ok(json.map(Content::Json))
    }

    async fn look_through(&self, games: &[Delivery]) -> Result<Vec<(GameId, Defect)>, SinkError> {
        let mut defects = Vec::new();
        let games: Vec<&Delivery> = games.iter().collect();
        for games in games.chunks(GAMES_AT_ONCE) {
            let Part { events, .. } = Part::of(games).await;
            let ids: Vec<String> = games.iter().map(|game| game.id.to_string()).collect();
            let altered = self.transact(async |transaction| events.compare(transaction, &ids).await).await?;
            let altered = games.iter().filter(|game| altered.iter().any(|id| is_of(game, id)));
            defects.extend(altered.map(|game| (game.id, Defect::EventsAltered)));
        }
        Ok(defects)
    }

    async fn count_before(&self, before: GameId, limit: NonZeroUsize) -> Result<usize, SinkError> {
        let count = format!(
            "SELECT count(*) FROM (SELECT 1 FROM archive.completed_games WHERE game_id < $1 AND {LIAP_IDS} LIMIT $2) AS counted"
        );
        let before = before.to_string();
        let limit = i64::try_from(limit.get()).unwrap_or(i64::MAX);
        let count = self
            .transact(async |transaction| {
                let row = transaction.query_typed_one(&count, &[(&before, Type::TEXT), (&limit, Type::INT8)]).await?;
                row.try_get::<_, i64>(0)
            })
            .await?;
        Ok(usize::try_from(count).unwrap_or_default())
    }

    /// Removes our own copies between two games, for a bounded time.
    async fn remove_between(
        &self,
        after: Option<GameId>,
        before: GameId,
        ours: Installation,
    ) -> Result<RemovalPass, SinkError> {
        let choose = format!(
            "SELECT game_id FROM archive.completed_games \
             WHERE installation = $1 AND game_id > $2 AND game_id < $3 AND {LIAP_IDS} ORDER BY game_id COLLATE \"C\" LIMIT $4"
        );
        let (ours, before) = (ours.to_string(), before.to_string());
        let limit = i64::try_from(REMOVED_AT_ONCE).unwrap_or(i64::MAX);
        let mut last = after.map(|id| id.to_string()).unwrap_or_default();
        let mut removed = 0;
        let until = Instant::now() + TIMEOUT.saturating_sub(STATEMENT_TIMEOUT);
        loop {
            let gone = self
                .transact(async |transaction| {
                    let columns: [(&(dyn ToSql + Sync), Type); 4] =
                        [(&ours, Type::TEXT), (&last, Type::TEXT), (&before, Type::TEXT), (&limit, Type::INT8)];
                    let rows = transaction.query_typed(&choose, &columns).await?;
                    let ids = rows.iter().map(|row| row.try_get(0)).collect::<Result<Vec<String>, Error>>()?;
                    let events = "DELETE FROM archive.game_events WHERE game_id = ANY($1)";
                    transaction.execute_typed(events, &[(&ids, Type::TEXT_ARRAY)]).await?;
                    let games = "DELETE FROM archive.completed_games WHERE game_id = ANY($1) AND installation = $2";
                    transaction.execute_typed(games, &[(&ids, Type::TEXT_ARRAY), (&ours, Type::TEXT)]).await?;
                    Ok(ids)
                })
                .await?;
            removed += gone.len() as u64;
            let Some(newest) = gone.into_iter().next_back() else { break };
            last = newest;
            if Instant::now() > until || removed + REMOVED_AT_ONCE > PASS_GAMES as u64 {
                let unmarked = self.count_unmarked(after, &last).await?;
                return Ok(RemovalPass { removed, unmarked, next: last.parse().ok() });
            }
        }
        Ok(RemovalPass { removed, unmarked: self.count_unmarked(after, &before).await?, next: None })
    }

    async fn count_unmarked(&self, after: Option<GameId>, before: &str) -> Result<u64, SinkError> {
        let count = format!(
            "SELECT count(*) FROM (SELECT 1 FROM archive.completed_games \
             WHERE installation IS NULL AND game_id > $1 AND game_id < $2 AND {LIAP_IDS} LIMIT $3) unmarked"
        );
        let after = after.map(|id| id.to_string()).unwrap_or_default();
        let count = self
            .transact(async |transaction| {
                let columns: [(&(dyn ToSql + Sync), Type); 3] =
                    [(&after, Type::TEXT), (&before, Type::TEXT), (&COUNTED, Type::INT8)];
                transaction.query_typed_one(&count, &columns).await?.try_get::<_, i64>(0)
            })
            .await?;
        Ok(u64::try_from(count).unwrap_or_default())
    }

    async fn adopt_all(
        &self,
        games: &[Delivery],
        from: Option<Installation>,
        ours: Installation,
    ) -> Result<Vec<(GameId, Adoption)>, SinkError> {
        let mut adoptions = Vec::with_capacity(games.len());
        for games in games.chunks(GAMES_AT_ONCE) {
            let found = self.transact(async |transaction| rows::adopt(transaction, games, from, ours).await).await?;
            adoptions.extend(found.into_iter().filter_map(|(id, adoption)| Some((id.parse().ok()?, adoption))));
        }
        Ok(adoptions)
    }

    /// Closes connections that nobody has used for long, and makes sure of those that are always kept.
    async fn tidy_up(&self) -> Result<(), SinkError> {
        let mut kept = 0;
        self.pool.retain(|_, metrics| {
            kept += 1;
            kept <= self.kept || metrics.last_used() < IDLE
        });
        let open = self.pool.status().size;
        // SinkCopy all at once, so that the pool cannot answer with the same one again.
        let missing = self.kept.saturating_sub(open);
        if missing > 0 {
            let wanted = open.saturating_add(missing).min(self.pool.status().max_size);
            try_join_all((0..wanted).map(|_| self.pool.get())).await.map_err(no_client)?;
        }
        Ok(())
    }
}

/// Some games, ready to be sent.
struct Part<'a> {
    games: &'a [&'a Delivery],
    rows: Games,
    events: Events,
}

impl<'a> Part<'a> {
    async fn of(games: &'a [&'a Delivery]) -> Self {
        let mut part = Self { games, rows: Games::default(), events: Events::default() };
        for &game in games {
            let count = part.events.add(game);
            part.rows.add(game, count);
            // Each costs a fraction of a millisecond, which is for others to use.
            tokio::task::yield_now().await;
        }
        part
    }
}

/// Whether a row of this id is of this game.
fn is_of(game: &Delivery, id: &str) -> bool {
    id.parse() == Ok(game.id)
}

impl Sink for Postgres {
    fn place(&self) -> String {
        self.place.clone()
    }

    fn check(&self) -> Answer<'_, ()> {
        Box::pin(bounded(async {
            self.tidy_up().await?;
            let is_read_only = self
                .transact(async |transaction| {
                    let row =
                        transaction.query_typed_one("SELECT current_setting('transaction_read_only')", &[]).await?;
                    row.try_get::<_, String>(0)
                })
                .await?;
            if is_read_only == "on" {
                return Err(SinkError::Denied("the database can only be read".to_owned()));
            }
            Ok(())
        }))
    }

    fn prove(&self) -> Answer<'_, ()> {
        Box::pin(bounded(async {
            self.check().await?;
            let missing = self
                .transact(async |transaction| {
                    transaction.query_typed_one(MISSING_RIGHTS, &[]).await?.try_get::<_, Option<String>>(0)
                })
                .await?;
            missing.map_or(Ok(()), |missing| {
                Err(SinkError::Denied(format!("Liap's user lacks {missing}: scripts/init-archive-role grants it")))
            })
        }))
    }

    fn deliver<'a>(&'a self, games: &'a [Delivery], ours: Installation) -> Answer<'a, Vec<Refusal>> {
        Box::pin(bounded(self.copy(games, ours)))
    }

    fn page(&self, after: Option<GameId>, limit: NonZeroUsize) -> Answer<'_, Vec<SinkCopy>> {
        Box::pin(bounded(self.held(after, limit)))
    }

    fn fetch(&self, id: GameId) -> Answer<'_, Option<Content>> {
        Box::pin(bounded(self.whole(id)))
    }

    fn audit<'a>(&'a self, games: &'a [Delivery]) -> Answer<'a, Vec<(GameId, Defect)>> {
        Box::pin(bounded(self.look_through(games)))
    }

    fn count(&self, before_ms: u64, limit: NonZeroUsize) -> Answer<'_, usize> {
        Box::pin(bounded(self.count_before(GameId::first_at(before_ms), limit)))
    }

    fn remove(&self, after: Option<GameId>, before_ms: u64, ours: Installation) -> Answer<'_, RemovalPass> {
        Box::pin(bounded(self.remove_between(after, GameId::first_at(before_ms), ours)))
    }

    fn adopt<'a>(
        &'a self,
        games: &'a [Delivery],
        from: Option<Installation>,
        ours: Installation,
    ) -> Answer<'a, Vec<(GameId, Adoption)>> {
        Box::pin(bounded(self.adopt_all(games, from, ours)))
    }
}

impl fmt::Debug for Postgres {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Postgres").field("place", &self.place).finish_non_exhaustive()
    }
}

/// A database that does not answer at all, stopped or behind a cut cable, is given up.
async fn bounded<T>(act: impl Future<Output = Result<T, SinkError>>) -> Result<T, SinkError> {
    let seconds = TIMEOUT.as_secs();
    timeout(TIMEOUT, act)
        .await
        .unwrap_or_else(|_| Err(SinkError::Unavailable(format!("the database has not answered within {seconds} s"))))
}

/// Why a transaction has failed.
#[derive(Debug)]
enum Failure {
    /// There was no connection, or the database is not made for us.
    Sink(SinkError),
    /// The database, or the way to it.
    Database(Error),
}

impl From<Failure> for SinkError {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Sink(error) => error,
            Failure::Database(error) => sink_error(&error),
        }
    }
}

fn no_client(error: PoolError) -> SinkError {
    match error {
        PoolError::Backend(error) => sink_error(&error),
        PoolError::Timeout(TimeoutType::Wait) => SinkError::Unavailable("all connections are in use".to_owned()),
        PoolError::Timeout(TimeoutType::Create | TimeoutType::Recycle) => {
            SinkError::Unavailable("the database does not answer".to_owned())
        }
        error => SinkError::Unavailable(error.to_string()),
    }
}

fn sink_error(error: &Error) -> SinkError {
    let needs_somebody = error.code().is_some_and(|code| {
        // Authorization, and what only its owner can change.
        code.code().starts_with("28")
            || [SqlState::INSUFFICIENT_PRIVILEGE, SqlState::INVALID_CATALOG_NAME, SqlState::READ_ONLY_SQL_TRANSACTION]
                .contains(code)
    });
    if needs_somebody { SinkError::Denied(text(error)) } else { SinkError::Unavailable(text(error)) }
}

/// Whether the database has looked at what was sent and does not want it.
fn is_about_content(error: &Error) -> bool {
    error.code().is_some_and(|code| ["22", "23", "54"].iter().any(|class| code.code().starts_with(class)))
}

/// What is wrong, without the details, in which the database quotes what it was sent.
fn text(error: &Error) -> String {
    match error.as_db_error() {
        Some(told) => format!("{} ({})", told.message(), told.code().code()),
        None => {
            let error: &dyn std::error::Error = error;
            let mut text = error.to_string();
            let mut source = error.source();
            while let Some(cause) = source {
                text.push_str(": ");
                text.push_str(&cause.to_string());
                source = cause.source();
            }
            text
        }
    }
}
