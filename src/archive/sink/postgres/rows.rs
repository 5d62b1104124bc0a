//! Games and their events as the columns of the two tables, sent as arrays: one statement, however many rows.

use jiff::Timestamp;
use tokio_postgres::types::{ToSql, Type};
use tokio_postgres::{Error, Transaction};

use crate::archive::sink::{Adoption, Delivery, Installation};
use crate::archive::{GameJson, tell};

/// Columns of `completed_games`.
#[derive(Debug, Default)]
pub(super) struct Games {
    ids: Vec<String>,
    rooms: Vec<String>,
    data: Vec<String>,
    completed: Vec<Timestamp>,
    seconds: Vec<Option<i32>>,
    winners: Vec<Option<String>>,
    scores: Vec<String>,
    digests: Vec<Vec<u8>>,
    event_counts: Vec<i32>,
}

/// A game that was there already.
#[derive(Debug)]
pub(super) struct Known {
    pub(super) id: String,
    /// Whether it is the game that we have.
    pub(super) is_same: bool,
    /// Columns that say something else than the game.
    pub(super) altered: Option<String>,
    /// Whether all its events are there.
    pub(super) is_whole: bool,
    /// Whether we have made it.
    pub(super) is_ours: bool,
}

/// What the other columns of a game `g` must say, as its JSON has it. Whatever that has become, to read it does not fail.
pub(super) const TOLD: &str = "\
    jsonb_to_record(CASE jsonb_typeof(g.game_data) WHEN 'object' THEN g.game_data ELSE '{}' END) AS told(room_id text, \
        completed_at text, duration_seconds text, winner_name text, final_scores jsonb)";

/// The names of those that say something else, or null. A time is written as we write it, in full; a duration that its
/// column cannot hold is null there.
pub(super) const ALTERED: &str = "\
    NULLIF(concat_ws(', ', \
        CASE WHEN g.room_id IS DISTINCT FROM told.room_id THEN 'room_id' END, \
        CASE WHEN to_char(g.completed_at AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US') || 'Z' \
            IS DISTINCT FROM replace(told.completed_at, 'Z', '000Z') THEN 'completed_at' END, \
        CASE WHEN (g.game_duration_seconds::text = told.duration_seconds \
            OR g.game_duration_seconds IS NULL AND length(told.duration_seconds) > 9) IS NOT TRUE \
            THEN 'game_duration_seconds' END, \
        CASE WHEN g.winner_name IS DISTINCT FROM told.winner_name THEN 'winner_name' END, \
        CASE WHEN g.final_scores IS DISTINCT FROM told.final_scores THEN 'final_scores' END), '')";

/// The text of a game is read once: without `MATERIALIZED` it would be read wherever it is used.
const INSERT_GAMES: &str = "\
    WITH sent AS MATERIALIZED ( \
        SELECT game_id, room_id, data::jsonb AS game_data, completed_at, seconds, winner, scores::jsonb AS scores, digest, \
            event_count \
        FROM unnest($1::text[], $2::text[], $3::text[], $4::timestamptz[], $5::int4[], $6::text[], $7::text[], $8::bytea[], \
            $9::int4[]) AS u(game_id, room_id, data, completed_at, seconds, winner, scores, digest, event_count)) \
    INSERT INTO archive.completed_games (game_id, room_id, game_data, completed_at, game_duration_seconds, winner_name, \
        final_scores, content_digest, data_digest, event_count, installation) \
    SELECT game_id, room_id, game_data, completed_at, seconds, winner, scores, digest, \
        sha256(convert_to(game_data::text, 'UTF8')), event_count, $10 \
    FROM sent \
    ON CONFLICT DO NOTHING RETURNING game_id";

/// Digest and number of events were not noted by an earlier version.
fn compare_games() -> String {
    format!(
        "SELECT g.game_id, g.game_data = u.data::jsonb, \
            NULLIF(concat_ws(', ', {ALTERED}, \
                CASE WHEN g.content_digest <> u.digest THEN 'content_digest' END, \
                CASE WHEN g.event_count <> u.event_count THEN 'event_count' END), ''), \
            u.event_count = (SELECT count(*) FROM archive.game_events e WHERE e.game_id = g.game_id), \
            g.installation = $5 IS TRUE \
        FROM unnest($1::text[], $2::text[], $3::int4[], $4::bytea[]) AS u(game_id, data, event_count, digest) \
        JOIN archive.completed_games g ON g.game_id = u.game_id CROSS JOIN LATERAL {TOLD}"
    )
}

impl Games {
    pub(super) fn add(&mut self, delivery: &Delivery, event_count: usize) {
        let game: &GameJson = delivery.game();
        self.ids.push(delivery.id.to_string());
        self.rooms.push(game.room_id.clone());
        self.data.push(delivery.line().to_owned());
        self.completed.push(time(&game.completed_at));
        self.seconds.push(i32::try_from(game.duration_seconds).ok());
        self.winners.push(game.winner_name.clone());
        self.scores.push(format!("{:?}", game.final_scores));
        self.digests.push(delivery.digest().to_bytes().to_vec());
        self.event_counts.push(i32::try_from(event_count).unwrap_or(i32::MAX));
    }

    pub(super) fn len(&self) -> usize {
        self.ids.len()
    }

    /// Inserts those that are not there as ours, and returns their ids.
    pub(super) async fn insert(&self, transaction: &Transaction<'_>, ours: Installation) -> Result<Vec<String>, Error> {
        let ours = ours.to_string();
        let columns: [(&(dyn ToSql + Sync), Type); 10] = [
            (&self.ids, Type::TEXT_ARRAY),
            (&self.rooms, Type::TEXT_ARRAY),
            (&self.data, Type::TEXT_ARRAY),
            (&self.completed, Type::TIMESTAMPTZ_ARRAY),
            (&self.seconds, Type::INT4_ARRAY),
            (&self.winners, Type::TEXT_ARRAY),
            (&self.scores, Type::TEXT_ARRAY),
            (&self.digests, Type::BYTEA_ARRAY),
            (&self.event_counts, Type::INT4_ARRAY),
            (&ours, Type::TEXT),
        ];
        let rows = transaction.query_typed(INSERT_GAMES, &columns).await?;
        rows.iter().map(|row| row.try_get(0)).collect()
    }

    /// Holds the games that were there already, all but `fresh`, against what is there.
    pub(super) async fn compare(
        &self,
        transaction: &Transaction<'_>,
        fresh: &[String],
        ours: Installation,
    ) -> Result<Vec<Known>, Error> {
        let ours = ours.to_string();
        let known = || self.ids.iter().enumerate().filter(|(_, id)| !fresh.contains(id)).map(|(n, _)| n);
        let ids: Vec<&String> = known().filter_map(|n| self.ids.get(n)).collect();
        let data: Vec<&String> = known().filter_map(|n| self.data.get(n)).collect();
        let counts: Vec<&i32> = known().filter_map(|n| self.event_counts.get(n)).collect();
        let digests: Vec<&Vec<u8>> = known().filter_map(|n| self.digests.get(n)).collect();
        let columns: [(&(dyn ToSql + Sync), Type); 5] = [
            (&ids, Type::TEXT_ARRAY),
            (&data, Type::TEXT_ARRAY),
            (&counts, Type::INT4_ARRAY),
            (&digests, Type::BYTEA_ARRAY),
            (&ours, Type::TEXT),
        ];
        let rows = transaction.query_typed(&compare_games(), &columns).await?;
        rows.iter()
            .map(|row| {
                Ok(Known {
                    id: row.try_get(0)?,
                    is_same: row.try_get(1)?,
                    altered: row.try_get(2)?,
                    is_whole: row.try_get(3)?,
                    is_ours: row.try_get(4)?,
                })
            })
            .collect()
    }
}

/// Marks rows as ours that hold these games and carry what they shall carry, and says for each what it found.
const ADOPT: &str = "\
    WITH sent AS ( \
        SELECT game_id, data::jsonb AS data FROM unnest($1::text[], $2::text[]) AS u(game_id, data)), \
    adopted AS ( \
        UPDATE archive.completed_games g SET installation = $4 FROM sent \
        WHERE g.game_id = sent.game_id AND g.game_data = sent.data AND g.installation IS NOT DISTINCT FROM $3 \
        RETURNING g.game_id) \
    SELECT sent.game_id, adopted.game_id IS NOT NULL, g.game_id IS NULL, g.installation = $4 IS TRUE, \
        g.installation IS NOT DISTINCT FROM $3, g.installation \
    FROM sent LEFT JOIN archive.completed_games g ON g.game_id = sent.game_id \
    LEFT JOIN adopted ON adopted.game_id = sent.game_id";

/// What became of the rows of these games.
pub(super) async fn adopt(
    transaction: &Transaction<'_>,
    games: &[Delivery],
    from: Option<Installation>,
    ours: Installation,
) -> Result<Vec<(String, Adoption)>, Error> {
    let ids: Vec<String> = games.iter().map(|game| game.id.to_string()).collect();
    let data: Vec<&str> = games.iter().map(Delivery::line).collect();
    let (from, ours) = (from.map(|from| from.to_string()), ours.to_string());
    let columns: [(&(dyn ToSql + Sync), Type); 4] =
        [(&ids, Type::TEXT_ARRAY), (&data, Type::TEXT_ARRAY), (&from, Type::TEXT), (&ours, Type::TEXT)];
    let rows = transaction.query_typed(ADOPT, &columns).await?;
    rows.iter()
        .map(|row| {
            let [is_adopted, is_absent, is_ours, is_meant] =
                [row.try_get(1)?, row.try_get(2)?, row.try_get(3)?, row.try_get(4)?];
            let maker: Option<String> = row.try_get(5)?;
            let adoption = match () {
                () if is_adopted => Adoption::Adopted,
                () if is_absent => Adoption::Absent,
                () if is_ours => Adoption::Ours,
                () if is_meant => Adoption::Differs,
                () => Adoption::Other(maker.and_then(|maker| maker.parse().ok())),
            };
            Ok((row.try_get(0)?, adoption))
        })
        .collect()
}

/// Columns of `game_events`. Rows get their numbers in the order in which they are sent; sorting them there once more would
/// only cost time.
#[derive(Debug, Default)]
pub(super) struct Events {
    games: Vec<String>,
    kinds: Vec<&'static str>,
    data: Vec<String>,
    times: Vec<Timestamp>,
}

const INSERT_EVENTS: &str = "\
    INSERT INTO archive.game_events (game_id, event_type, event_data, event_timestamp) \
    SELECT game_id, kind, data::jsonb, at \
    FROM unnest($1::text[], $2::text[], $3::text[], $4::timestamptz[]) AS u(game_id, kind, data, at)";

/// Event by event, in their order: a join of all of them with each other would not do for what is there twice.
const COMPARE_EVENTS: &str = "\
    WITH sent AS ( \
        SELECT game_id, kind, data::jsonb AS data, at, row_number() OVER (PARTITION BY game_id ORDER BY n) AS n \
        FROM unnest($1::text[], $2::text[], $3::text[], $4::timestamptz[]) WITH ORDINALITY AS u(game_id, kind, data, at, n)), \
    held AS ( \
        SELECT game_id, event_type, event_data, event_timestamp, row_number() OVER (PARTITION BY game_id ORDER BY id) AS n \
        FROM archive.game_events WHERE game_id = ANY($5::text[])) \
    SELECT DISTINCT game_id FROM sent FULL JOIN held USING (game_id, n) \
    WHERE (kind, data, at) IS DISTINCT FROM (event_type, event_data, event_timestamp)";

impl Events {
    /// Takes all events of a game, and says how many there are.
    pub(super) fn add(&mut self, delivery: &Delivery) -> usize {
        let id = delivery.id.to_string();
        let started = time(&delivery.game().started_at);
        let before = self.games.len();
        for event in tell(delivery.game()) {
            self.games.push(id.clone());
            self.kinds.push(event.kind);
            self.data.push(event.json.to_string());
            let after = jiff::SignedDuration::from_millis(i64::try_from(event.at_ms).unwrap_or(i64::MAX));
            self.times.push(started.checked_add(after).unwrap_or(Timestamp::MAX));
        }
        self.games.len() - before
    }

    /// Inserts all of them, in the order in which they happened.
    pub(super) async fn insert(&self, transaction: &Transaction<'_>) -> Result<(), Error> {
        transaction.execute_typed(INSERT_EVENTS, &self.columns()).await?;
        Ok(())
    }

    /// The same with those of these games only. Choosing costs time, so most games are spared it.
    pub(super) async fn insert_of(&self, transaction: &Transaction<'_>, games: &[String]) -> Result<(), Error> {
        if games.is_empty() {
            return Ok(());
        }
        let chosen = format!("{INSERT_EVENTS} WHERE game_id = ANY($5::text[])");
        let mut columns = self.columns().to_vec();
        columns.push((&games, Type::TEXT_ARRAY));
        transaction.execute_typed(&chosen, &columns).await?;
        Ok(())
    }

    /// The games of these events whose events there are others.
    pub(super) async fn compare(&self, transaction: &Transaction<'_>, games: &[String]) -> Result<Vec<String>, Error> {
        let mut columns = self.columns().to_vec();
        columns.push((&games, Type::TEXT_ARRAY));
        let rows = transaction.query_typed(COMPARE_EVENTS, &columns).await?;
        rows.iter().map(|row| row.try_get(0)).collect()
    }

    fn columns(&self) -> [(&(dyn ToSql + Sync), Type); 4] {
        [
            (&self.games, Type::TEXT_ARRAY),
            (&self.kinds, Type::TEXT_ARRAY),
            (&self.data, Type::TEXT_ARRAY),
            (&self.times, Type::TIMESTAMPTZ_ARRAY),
        ]
    }
}

/// Removes the events of a game. Until the transaction ends, others who would do the same wait.
pub(super) async fn remove_events(transaction: &Transaction<'_>, game: &str) -> Result<(), Error> {
    let lock = "SELECT pg_advisory_xact_lock(hashtextextended($1, 0))";
    transaction.query_typed(lock, &[(&game, Type::TEXT)]).await?;
    transaction.execute_typed("DELETE FROM archive.game_events WHERE game_id = $1", &[(&game, Type::TEXT)]).await?;
    Ok(())
}

/// A time of ours; what is beyond all calendars counts as their end.
fn time(text: &str) -> Timestamp {
    text.parse().unwrap_or(Timestamp::MAX)
}
