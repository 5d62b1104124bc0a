//! Copies of games in PostgreSQL beside the bare client's inserts, in one run: `cargo bench --features postgres --bench postgres`.
//!
//! Needs `LIAP_TEST_POSTGRES_BIN`, the folder of PostgreSQL's programs; the server is started for it, with its usual settings.
//! The floor inserts the same rows, ready-made, in the same groups by the same client: no proof that the game is not there
//! already, no digest, no event counted. Both take turns, so that both meet the same machine.
#![allow(
    missing_docs,
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a bench prints, and stops where it fails"
)]

use std::time::{Duration, Instant};

use jiff::{SignedDuration, Timestamp};
use liap::archive::sink::{Delivery, Installation, SinkKind, open};
use liap::archive::{GameRecord, Options, encode, tell};
use liap::game::{BySeat, Level, Seating, Series};
use tokio_postgres::types::Type;
use tokio_postgres::{Client, Statement};

#[path = "../tests/it/postgres/server.rs"]
#[expect(dead_code, reason = "the tests need more of it")]
mod server;

const GROUP: usize = 40;
const ROUNDS: usize = 10;
/// How much slower than the floor we may be.
const GOAL: f64 = 0.8;

/// The rows of a group of games, ready to be sent.
#[derive(Default)]
struct Rows {
    ids: Vec<String>,
    rooms: Vec<String>,
    data: Vec<String>,
    completed: Vec<Timestamp>,
    seconds: Vec<i32>,
    winners: Vec<Option<String>>,
    scores: Vec<String>,
    events: Vec<String>,
    kinds: Vec<&'static str>,
    event_data: Vec<String>,
    times: Vec<Timestamp>,
}

impl Rows {
    fn of(games: &[Delivery]) -> Self {
        let mut rows = Self::default();
        for delivery in games {
            let (id, game, line) = (&delivery.id, delivery.game(), delivery.line());
            rows.ids.push(id.to_string());
            rows.rooms.push(game.room_id.clone());
            rows.data.push(line.to_owned());
            rows.completed.push(game.completed_at.parse().unwrap());
            rows.seconds.push(game.duration_seconds.try_into().unwrap());
            rows.winners.push(game.winner_name.clone());
            rows.scores.push(format!("{:?}", game.final_scores));
            let started: Timestamp = game.started_at.parse().unwrap();
            for event in tell(game) {
                rows.events.push(id.to_string());
                rows.kinds.push(event.kind);
                rows.event_data.push(event.json.to_string());
                rows.times.push(started + SignedDuration::from_millis(event.at_ms.try_into().unwrap()));
            }
        }
        rows
    }
}

/// The floor.
struct Bare {
    client: Client,
    games: Statement,
    events: Statement,
}

impl Bare {
    async fn new(client: Client) -> Self {
        let text = [Type::TEXT_ARRAY, Type::TEXT_ARRAY, Type::TEXT_ARRAY, Type::TIMESTAMPTZ_ARRAY];
        let mut columns = text.to_vec();
        columns.extend([Type::INT4_ARRAY, Type::TEXT_ARRAY, Type::TEXT_ARRAY]);
        let games = "INSERT INTO archive.completed_games (game_id, room_id, game_data, completed_at, \
                game_duration_seconds, winner_name, final_scores) \
            SELECT a, b, c::jsonb, d, e, f, g::jsonb FROM unnest($1, $2, $3, $4, $5, $6, $7) AS u(a, b, c, d, e, f, g) \
            ON CONFLICT DO NOTHING";
        let events = "INSERT INTO archive.game_events (game_id, event_type, event_data, event_timestamp) \
            SELECT a, b, c::jsonb, d FROM unnest($1, $2, $3, $4) AS u(a, b, c, d)";
        let games = client.prepare_typed(games, &columns).await.unwrap();
        let events = client.prepare_typed(events, &text).await.unwrap();
        Self { client, games, events }
    }

    async fn insert(&mut self, rows: &Rows) {
        let transaction = self.client.transaction().await.unwrap();
        let Rows { ids, rooms, data, completed, seconds, winners, scores, .. } = rows;
        transaction.execute(&self.games, &[ids, rooms, data, completed, seconds, winners, scores]).await.unwrap();
        transaction.execute(&self.events, &[&rows.events, &rows.kinds, &rows.event_data, &rows.times]).await.unwrap();
        transaction.commit().await.unwrap();
    }
}

fn per_second(took: Duration) -> f64 {
    (GROUP * ROUNDS) as f64 / took.as_secs_f64()
}

#[tokio::main]
async fn main() {
    let Some(programs) = server::programs() else { return };
    let server = server::Postgres::start(&programs).await;
    for database in ["bare", "pooled"] {
        server.sql("postgres", &format!("CREATE DATABASE {database}")).await;
    }
    let sink = |database: &str, connections| {
        let options = Options {
            url_postgresql: server.url("owner:pass", database).as_str().into(),
            database_pool_max: connections,
            ..Options::default()
        };
        open(SinkKind::Postgresql, &options).unwrap()
    };
    let (one, four) = (sink("games", 1), sink("pooled", 4));
    sink("bare", 1).check().await.unwrap();
    one.check().await.unwrap();
    four.check().await.unwrap();
    let mut bare = Bare::new(server.client("bare").await).await;

    let series =
        Series { seed: 1, players: BySeat::new([Level::Normal; 4]), seating: Seating::Rotated, max_rounds: u32::MAX };
    let mut took = [Duration::ZERO; 4];
    for round in 0..=ROUNDS {
        let games: Vec<Delivery> = (0..GROUP)
            .map(|number| {
                let (record, _) = GameRecord::simulate(&series, (round * GROUP + number) as u64);
                Delivery::prove(record.game_id, encode(&record).unwrap()).unwrap()
            })
            .collect();
        let rows = Rows::of(&games);
        if round == 0 {
            println!("{} events a game, {} bytes of JSON", rows.events.len() / GROUP, rows.data[0].len());
        }
        let mut times = [Duration::ZERO; 4];
        let began = Instant::now();
        bare.insert(&rows).await;
        times[0] = began.elapsed();
        for (sink, n) in [(&one, 1), (&four, 2), (&one, 3)] {
            let began = Instant::now();
            assert_eq!(sink.deliver(&games, Installation::from_bytes([1; 16])).await.unwrap(), []);
            times[n] = began.elapsed();
        }
        // The first is for warming up.
        if round > 0 {
            took.iter_mut().zip(times).for_each(|(sum, time)| *sum += time);
        }
    }
    let floor = per_second(took[0]);
    println!("{:<40} {floor:>8.0} games/s", "the bare client, one connection");
    for (what, took) in [("copied, one connection", took[1]), ("copied, four connections", took[2])] {
        let reached = per_second(took) / floor;
        let verdict = if reached >= GOAL { "" } else { "   MISSED" };
        println!("{what:<40} {:>8.0} games/s   {reached:.2} of the floor, goal {GOAL:.2}{verdict}", per_second(took));
    }
    println!("{:<40} {:>8.0} games/s", "found to be there already", per_second(took[3]));
}
