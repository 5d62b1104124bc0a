//! What else there may be in a bucket: other people's objects, and objects that cannot be read.

use std::process::Output;
use std::time::{Duration, Instant};

use liap::archive::sink::SinkError;

use super::s3;
use super::stub::Stub;
use super::trouble::{PATIENCE, archive_with, liap, said, settings, store, until, until_delivered};
use crate::conforms::{OURS, all_of, delivery, records};
use crate::process::Server;

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
    assert_eq!(sink.deliver(&games, OURS).await, Ok(Vec::new()));
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

/// An object may lie in a class that is thawed first, or under a key that we have not.
#[test]
fn an_object_that_cannot_be_read_holds_up_no_other() {
    let stub = Stub::start();
    let folder = tempfile::tempdir().unwrap();
    let records = records(22, 30);
    let archive = archive_with(folder.path(), s3(&stub.url("games/")));
    store(&archive, &records[..10]);
    until_delivered(&archive);
    assert!(archive.close(PATIENCE));
    drop(archive);

    // What was delivered is no longer known, and one of them is frozen.
    std::fs::remove_dir_all(folder.path().join("outbox")).unwrap();
    let frozen = stub.state().objects.keys().nth(4).unwrap().clone();
    stub.state().frozen.insert(frozen);
    let archive = archive_with(folder.path(), s3(&stub.url("games/")));
    store(&archive, &records[10..]);
    let delivered = until_delivered(&archive);
    assert_eq!((delivered.set_aside, stub.state().objects.len()), (1, 30));

    stub.state().frozen.clear();
    archive.deliver_now();
    until(&archive, "settled", |status| status.idle && status.set_aside == 0);
}

/// Where nothing can be read, it is not the game's fault.
#[tokio::test]
async fn an_object_is_not_blamed_for_a_bucket_that_is_closed() {
    let stub = Stub::start();
    let sink = s3(&stub.url("games/"));
    let games: Vec<_> = records(23, 1).iter().map(delivery).collect();
    assert_eq!(sink.deliver(&games, OURS).await, Ok(Vec::new()));
    {
        let mut state = stub.state();
        state.frozen = state.objects.keys().cloned().collect();
        state.lists_closed = true;
    }
    let answer = sink.deliver(&games, OURS).await;
    assert!(matches!(answer, Err(SinkError::Denied(_))), "{answer:?}");
}

/// A command that may run for an hour does not end because of a moment.
#[test]
fn what_is_not_answered_is_asked_again() {
    let stub = Stub::start();
    let url = stub.url("games/");
    let folder = tempfile::tempdir().unwrap();
    let run = |arguments: &[&str]| -> Output { liap(folder.path(), &url, arguments) };
    // The client itself asks twice.
    let fail = || stub.state().failures = 2;
    assert!(run(&["simulate", "--games", "1", "--json", "games.jsonl"]).status.success());
    assert!(run(&["archive", "import", "games.jsonl"]).status.success());
    let somebody = crate::archive::open(&folder.path().join("archive"));
    fail();
    let sent = run(&["archive", "sync", "--all"]);
    assert!(said(&sent).contains("1 games sent, 0 refused"), "{}", said(&sent));
    drop(somebody);
    std::fs::rename(folder.path().join("archive"), folder.path().join("lost")).unwrap();
    fail();
    let restored = run(&["archive", "restore", "--from", "s3"]);
    assert!(said(&restored).contains("1 games restored, 0 left out"), "{}", said(&restored));
}

/// Somebody has removed what stood in a game's way, and no restart is needed.
#[test]
fn what_was_refused_is_tried_again_when_an_administrator_wants_it() {
    let stub = Stub::start();
    let url = stub.url("games/");
    let data = tempfile::tempdir().unwrap();
    for arguments in [&["simulate", "--games", "3", "--json", "games.jsonl"][..], &["archive", "import", "games.jsonl"]]
    {
        assert!(liap(data.path(), &url, arguments).status.success());
    }
    let sent = liap(data.path(), &url, &["archive", "sync"]);
    assert!(sent.status.success(), "{}", said(&sent));
    let key = stub.state().objects.keys().next().unwrap().clone();
    stub.put([key.clone()]);
    std::fs::remove_dir_all(data.path().join("archive/outbox")).unwrap();
    let settings: Vec<_> = settings(&url).into_iter().chain([("ADMIN_TOKEN", "a-token-of-the-tests")]).collect();
    let server = Server::start_on(data, &settings);
    let until = |set_aside: u64| {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let health = server.get("/health").json();
            let s3 = &health["checks"]["s3"];
            if s3["set_aside"] == set_aside && s3["pending"] == 0 {
                return;
            }
            assert!(Instant::now() < deadline, "{health}");
            std::thread::sleep(Duration::from_millis(10));
        }
    };
    until(1);
    stub.state().objects.remove(&key);
    let token = [("Authorization", "Bearer a-token-of-the-tests")];
    assert_eq!(server.request("POST", "/admin/archive/flush", &token).status, 200);
    until(0);
    assert!(!stub.state().objects[&key].is_empty());
}
