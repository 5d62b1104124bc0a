//! Copies of the archive in a bucket, against real servers: that it does what every sink must do, and what becomes of the
//! copies when a server is killed, stopped, wiped, refuses, is full, or is behind a bad network.

mod server;
mod strangers;
mod stub;
mod trouble;

use std::collections::BTreeMap;
use std::sync::Arc;

use liap::archive::Options;
use liap::archive::sink::{Sink, SinkError, SinkKind, open_in};

use crate::conforms::{
    OURS, conforms, delivery, no_retention_removes_copies_of_others, records,
    unmarked_copies_stay_until_they_are_adopted,
};
use server::S3Server;

/// The sink in a bucket, for somebody with these credentials.
fn s3_as(url: &str, key: &str, secret: &str) -> Arc<dyn Sink> {
    let environment = [("AWS_ACCESS_KEY_ID", key), ("AWS_SECRET_ACCESS_KEY", secret)];
    let environment: BTreeMap<String, String> =
        environment.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
    open_in(SinkKind::S3, &Options { url_s3: url.into(), ..Options::default() }, &environment).unwrap()
}

fn s3(url: &str) -> Arc<dyn Sink> {
    s3_as(url, server::KEY, server::SECRET)
}

#[tokio::test]
async fn a_bucket_conforms() {
    let Some(server) = S3Server::start() else { return };
    conforms(&*s3(&server.url("games/"))).await;
    conforms(&*s3(&server.url(""))).await;
    // Earlier versions wrote nothing beside the bytes but what describes them.
    unmarked_copies_stay_until_they_are_adopted(&*s3(&server.url("games/")), async |game| {
        let day = server.bucket().join("games/2026/01/01");
        std::fs::create_dir_all(&day).unwrap();
        std::fs::write(day.join(format!("{}.liap", game.id)), &game.stored).unwrap();
    })
    .await;
    // What somebody else keeps beside the games is not touched.
    std::fs::create_dir_all(server.bucket().join("games/2026")).unwrap();
    std::fs::write(server.bucket().join("games/2026/readme.txt"), "hello").unwrap();
    std::fs::write(server.bucket().join("games2"), "hello").unwrap();
    conforms(&*s3(&server.url("games"))).await;
    assert!(server.bucket().join("games/2026/readme.txt").exists());
}

/// What one server understands as we mean it, another of another make must too.
#[tokio::test]
async fn a_bucket_of_another_make_conforms() {
    let Some(server) = S3Server::start_other() else { return };
    conforms(&*s3(&server.url("games/"))).await;
    let nowhere = s3(&server.url("games/").replace("s3://liap/", "s3://nowhere/"));
    for answer in [nowhere.check().await, nowhere.deliver(&[delivery(&records(1, 1)[0])], OURS).await.map(drop)] {
        assert!(matches!(answer, Err(SinkError::Denied(_))), "{answer:?}");
    }
}

#[test]
fn no_object_goes_whatever_the_clock_shows() {
    let Some(server) = S3Server::start() else { return };
    let url = server.url("games/");
    let settings =
        [("ARCHIVE_URL", &*url), ("AWS_ACCESS_KEY_ID", server::KEY), ("AWS_SECRET_ACCESS_KEY", server::SECRET)];
    crate::clock::no_leap_removes_copies(SinkKind::S3, &settings, || server.objects().len() as u64);
}

#[test]
fn no_retention_removes_objects_of_others() {
    let Some(server) = S3Server::start() else { return };
    no_retention_removes_copies_of_others(SinkKind::S3, || s3(&server.url("games/")));
}

#[tokio::test]
async fn whoever_may_not_is_told_so() {
    let Some(mut server) = S3Server::start() else { return };
    let games = [delivery(&records(1, 1)[0])];
    let stranger = s3_as(&server.url("games/"), server::KEY, "a-wrong-secret");
    for answer in [stranger.check().await, stranger.deliver(&games, OURS).await.map(drop)] {
        assert!(matches!(&answer, Err(SinkError::Denied(text)) if !text.contains("wrong-secret")), "{answer:?}");
    }
    let sink = s3(&server.url("games/"));
    server.kill();
    for answer in [sink.check().await, sink.deliver(&games, OURS).await.map(drop)] {
        assert!(matches!(answer, Err(SinkError::Unavailable(_))), "{answer:?}");
    }
}
