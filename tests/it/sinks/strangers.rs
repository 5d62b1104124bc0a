//! What else there may be in a bucket: other people's objects, and objects that cannot be read.

use liap::archive::sink::SinkError;

use super::s3;
use super::stub::Stub;
use crate::conforms::{all_of, delivery, records};

/// Consoles make an object `games/` for a folder, and some programs one with an empty part.
#[tokio::test]
async fn names_of_others_neither_stop_nor_slow_a_listing() {
    let stub = Stub::start();
    stub.put(["games/".to_owned(), "games//x.liap".to_owned(), "games/zz/".to_owned()]);
    stub.put((0..2500).map(|number| format!("games/0000/{number}.txt")));
    let sink = s3(&stub.url("games/"));
    assert_eq!(sink.check().await, Ok(()));
    assert_eq!(stub.state().lists, 1, "one question");
    let games: Vec<_> = records(21, 12).iter().map(delivery).collect();
    assert_eq!(sink.deliver(&games).await, Ok(Vec::new()));
    stub.state().lists = 0;
    let held = all_of(&*sink, 10).await;
    assert_eq!(
        held.iter().map(|held| held.id).collect::<Vec<_>>(),
        games.iter().map(|game| game.id).collect::<Vec<_>>()
    );
    assert_eq!(stub.state().lists, 3 + 1, "a thousand names each, and the rest of them");
}

#[tokio::test]
async fn a_bucket_that_may_not_be_listed_is_told() {
    let stub = Stub::start();
    stub.state().is_closed = true;
    let answer = s3(&stub.url("games/")).check().await;
    assert!(matches!(&answer, Err(SinkError::Denied(text)) if text.contains("AccessDenied")), "{answer:?}");
}
