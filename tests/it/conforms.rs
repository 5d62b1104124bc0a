use std::num::NonZeroUsize;

use liap::archive::sink::{Content, Delivery, Digest, Held, Sink, SinkKind, open};
use liap::archive::{GameId, GameRecord, Options, encode, replay};
use liap::game::{BySeat, Level, Seating, Series};

/// The records of so many games, each other than those of another seed.
pub(crate) fn records(seed: u64, games: u64) -> Vec<GameRecord> {
    let series = Series { seed, players: BySeat::new([Level::Easy; 4]), seating: Seating::Rotated, max_rounds: 2 };
    (0..games).map(|number| GameRecord::simulate(&series, number).0).collect()
}

/// A game as it is sent.
pub(crate) fn delivery(record: &GameRecord) -> Delivery {
    Delivery::prove(record.game_id, encode(record).unwrap()).unwrap()
}

/// All that is held, so many games at a time.
pub(crate) async fn all_of(sink: &dyn Sink, limit: usize) -> Vec<Held> {
    let limit = NonZeroUsize::new(limit).unwrap();
    let mut all: Vec<Held> = Vec::new();
    loop {
        let page = sink.page(all.last().map(|held| held.id), limit).await.unwrap();
        let is_last = page.len() < limit.get();
        all.extend(page);
        if is_last {
            return all;
        }
    }
}

/// What any form of a copy comes down to.
pub(crate) fn digest(id: GameId, content: &Content) -> Digest {
    match content {
        Content::Stored(stored) => Delivery::prove(id, stored.clone()).unwrap().digest(),
        Content::Json(text) => Digest::of(&replay(&GameRecord::from_json(text).unwrap()).unwrap().to_line()),
        Content::Digest(digest) => *digest,
    }
}

/// What every sink must do. It is empty at the beginning and at the end.
pub(crate) async fn conforms(sink: &dyn Sink) {
    sink.check().await.unwrap();
    assert_eq!(all_of(sink, 10).await, []);
    assert_eq!(sink.deliver(&[]).await, Ok(Vec::new()));

    let records = records(7, 45);
    let games: Vec<Delivery> = records.iter().map(delivery).collect();
    assert_eq!(sink.deliver(&games[..30]).await, Ok(Vec::new()));
    // Again, and with others: each is there once.
    assert_eq!(sink.deliver(&games[10..]).await, Ok(Vec::new()));
    let held = |all: Vec<Held>| all.iter().map(|held| (held.id, digest(held.id, &held.content))).collect::<Vec<_>>();
    let wanted: Vec<_> = games.iter().map(|game| (game.id, game.digest())).collect();
    for limit in [1, 7, 45, 46, 500] {
        assert_eq!(held(all_of(sink, limit).await), wanted, "in pages of {limit}");
    }
    for game in &games {
        let content = sink.fetch(game.id).await.unwrap().unwrap();
        assert!(!matches!(content, Content::Digest(_)), "all of it");
        assert_eq!(digest(game.id, &content), game.digest());
    }
    assert_eq!(sink.fetch(GameId::MIN).await, Ok(None));
    assert_eq!(sink.page(Some(GameId::MAX), NonZeroUsize::MIN).await, Ok(Vec::new()));

    // The same game in another form is the same; another game under its name is refused, alone, and changes nothing.
    let again = GameRecord::from_json(games[3].line()).unwrap();
    assert_eq!(sink.deliver(&[delivery(&again)]).await, Ok(Vec::new()));
    let mut other = records[4].clone();
    other.room_id = "OTHER".to_owned();
    let fresh = delivery(&self::records(8, 46)[45]);
    let refused = sink.deliver(&[games[0].clone(), delivery(&other), fresh.clone()]).await.unwrap();
    assert_eq!(refused.iter().map(|refusal| refusal.id).collect::<Vec<_>>(), [other.game_id]);
    assert!(!refused[0].reason.is_empty());
    let mut wanted = wanted;
    wanted.push((fresh.id, fresh.digest()));
    wanted.sort_unstable();
    assert_eq!(held(all_of(sink, 500).await), wanted);

    // What is old goes, all of it and nothing else.
    assert_eq!(sink.remove(records[0].started_at_ms).await, Ok(0));
    assert_eq!(sink.remove(records[20].started_at_ms).await, Ok(20));
    assert_eq!(held(all_of(sink, 500).await), wanted[20..]);
    assert_eq!(sink.remove(u64::MAX).await, Ok(26));
    assert_eq!(all_of(sink, 10).await, []);
    // And may come back.
    assert_eq!(sink.deliver(&games[..2]).await, Ok(Vec::new()));
    assert_eq!(sink.remove(u64::MAX).await, Ok(2));
}

/// Services that are there already, such as those of `docker-compose.test.yml`; credentials come as for a server.
#[tokio::test]
async fn services_that_are_there_already_conform() {
    for (variable, kind) in [("LIAP_TEST_S3_URL", SinkKind::S3), ("LIAP_TEST_POSTGRES_URL", SinkKind::Postgresql)] {
        let Some(url) = std::env::var(variable).ok().filter(|_| kind.is_compiled_in()) else {
            eprintln!("NOT RUN: {variable} names no {kind} to try");
            continue;
        };
        let url = url.as_str().into();
        let options = match kind {
            SinkKind::S3 => Options { url_s3: url, ..Options::default() },
            SinkKind::Postgresql => Options { url_postgresql: url, ..Options::default() },
        };
        conforms(&*open(kind, &options).unwrap()).await;
    }
}
