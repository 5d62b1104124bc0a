//! Completed games in PostgreSQL, against real servers: what is stored, and what becomes of it when a server is killed,
//! stopped, full, wiped, or behind a bad network.

mod server;
mod storing;
mod trouble;
mod ways;

use std::sync::Arc;
use std::time::Duration;

use liap::archive::sink::{Delivery, Sink, SinkCopy, SinkKind, open};
use liap::archive::{GameId, Options};

use crate::conforms::{OURS, THEIRS, delivery, records, remove};
use server::Postgres;

/// Longer than any question may take.
const SOON: Duration = Duration::from_secs(40);

fn games(seed: u64, games: u64) -> Vec<Delivery> {
    records(seed, games).iter().map(delivery).collect()
}

/// The sink at a URL, as the settings open it.
fn sink(url: &str) -> Arc<dyn Sink> {
    sink_with(url, 0, 4)
}

fn sink_with(url: &str, least: usize, most: usize) -> Arc<dyn Sink> {
    let options =
        Options { url_postgresql: url.into(), database_pool_min: least, database_pool_max: most, ..Options::default() };
    open(SinkKind::Postgresql, &options).unwrap()
}

/// A server, and a sink for its database.
async fn server_and_sink() -> Option<(Postgres, Arc<dyn Sink>)> {
    let server = Postgres::start(&server::programs()?).await;
    let sink = sink(&server.url("owner:pass", "games"));
    Some((server, sink))
}

/// All that is held, a few games at a time.
async fn all_of(sink: &dyn Sink) -> Vec<SinkCopy> {
    crate::conforms::all_of(sink, 7).await
}

/// Delivers until it is done, as the worker does, and says how often it was refused for now.
async fn deliver_at_last(sink: &dyn Sink, games: &[Delivery]) -> u32 {
    let mut failures = 0;
    let deadline = tokio::time::Instant::now() + SOON;
    loop {
        match sink.deliver(games, OURS).await {
            Ok(refused) => {
                assert_eq!(refused, []);
                return failures;
            }
            Err(error) => {
                failures += 1;
                assert!(tokio::time::Instant::now() < deadline, "{error}");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

/// Each game is there once, with all its events and the content that it has here.
async fn assert_holds(server: &Postgres, sink: &dyn Sink, games: &[Delivery]) {
    use liap::archive::sink::Content;
    let mut wanted: Vec<SinkCopy> =
        games.iter().map(|game| SinkCopy::new(game.id, Content::Digest(game.digest()))).collect();
    wanted.sort_by_key(|held| held.id);
    assert_eq!(all_of(sink).await, wanted);
    let rows = server.ask("games", "SELECT count(*) FROM archive.completed_games").await;
    assert_eq!(rows, games.len().to_string());
    let events: usize = games.iter().map(|game| liap::archive::tell(game.game()).len()).sum();
    assert_eq!(server.ask("games", "SELECT count(*) FROM archive.game_events").await, events.to_string());
}

/// The id of a game that no series has.
fn other_id(games: &[Delivery]) -> GameId {
    let mut bytes = games[0].id.to_bytes();
    bytes[15] ^= 1;
    GameId::from_bytes(bytes)
}
