use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::{Duration, Instant};

use liap::archive::sink::{
    Adoption, Content, Delivery, Digest, Installation, RemovalPass, Sink, SinkCopy, SinkError, SinkKind, open,
};
use liap::archive::{Archive, GameId, GameRecord, Options, encode, replay};
use liap::game::{BySeat, Level, Seating, Series};
use liap::observe::Metrics;

/// Longer than a server needs on a busy machine.
const SOON: Duration = Duration::from_secs(60);

/// The installation of most tests.
pub(crate) const OURS: Installation = Installation::from_bytes([0xA5; 16]);
/// Another one, that copies to the same place.
pub(crate) const THEIRS: Installation = Installation::from_bytes([0x17; 16]);

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
pub(crate) async fn all_of(sink: &dyn Sink, limit: usize) -> Vec<SinkCopy> {
    let limit = NonZeroUsize::new(limit).unwrap();
    let mut all: Vec<SinkCopy> = Vec::new();
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

/// Removes what an installation has put there and is old, pass by pass: how many copies go, and how many stay because they
/// do not say whose they are.
pub(crate) async fn remove(sink: &dyn Sink, before_ms: u64, ours: Installation) -> Result<(u64, u64), SinkError> {
    let (mut after, mut removed, mut unmarked) = (None, 0, 0);
    loop {
        let pass: RemovalPass = sink.remove(after, before_ms, ours).await?;
        removed += pass.removed;
        unmarked += pass.unmarked;
        assert!(pass.next.is_none() || pass.next > after, "it goes on: {pass:?}");
        after = pass.next;
        if after.is_none() {
            return Ok((removed, unmarked));
        }
    }
}

/// What every sink must do. It is empty at the beginning and at the end.
pub(crate) async fn conforms(sink: &dyn Sink) {
    sink.check().await.unwrap();
    assert_eq!(all_of(sink, 10).await, []);
    assert_eq!(sink.deliver(&[], OURS).await, Ok(Vec::new()));

    let records = records(7, 45);
    let games: Vec<Delivery> = records.iter().map(delivery).collect();
    assert_eq!(sink.deliver(&games[..30], OURS).await, Ok(Vec::new()));
    // Again, and with others: each is there once.
    assert_eq!(sink.deliver(&games[10..], OURS).await, Ok(Vec::new()));
    let held =
        |all: Vec<SinkCopy>| all.iter().map(|held| (held.id, digest(held.id, &held.content))).collect::<Vec<_>>();
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
    assert_eq!(sink.deliver(&[delivery(&again)], OURS).await, Ok(Vec::new()));
    let mut other = records[4].clone();
    other.room_id = "OTHER".to_owned();
    let fresh = delivery(&self::records(8, 46)[45]);
    let refused = sink.deliver(&[games[0].clone(), delivery(&other), fresh.clone()], OURS).await.unwrap();
    assert_eq!(refused.iter().map(|refusal| refusal.id).collect::<Vec<_>>(), [other.game_id]);
    assert!(!refused[0].reason.is_empty());
    let mut wanted = wanted;
    wanted.push((fresh.id, fresh.digest()));
    wanted.sort_unstable();
    assert_eq!(held(all_of(sink, 500).await), wanted);

    // What is old goes, all of it and nothing else.
    assert_eq!(remove(sink, records[0].started_at_ms, OURS).await, Ok((0, 0)));
    assert_eq!(remove(sink, records[20].started_at_ms, OURS).await, Ok((20, 0)));
    assert_eq!(held(all_of(sink, 500).await), wanted[20..]);
    assert_eq!(remove(sink, u64::MAX, OURS).await, Ok((26, 0)));
    assert_eq!(all_of(sink, 10).await, []);
    // And may come back.
    assert_eq!(sink.deliver(&games[..2], OURS).await, Ok(Vec::new()));
    assert_eq!(remove(sink, u64::MAX, OURS).await, Ok((2, 0)));
    belongs_to_who_made_it(sink, &games).await;
    assert_eq!(all_of(sink, 10).await, []);
}

/// Several servers may copy to one sink: each removes its own copies only. It is empty at the beginning and at the end.
async fn belongs_to_who_made_it(sink: &dyn Sink, games: &[Delivery]) {
    let ids = async || all_of(sink, 500).await.iter().map(|held| held.id).collect::<Vec<_>>();
    let all: Vec<GameId> = games.iter().map(|game| game.id).collect();
    let began = |number: usize| games[number].id.unix_ms();
    let many = NonZeroUsize::new(1000).unwrap();
    assert_eq!(sink.count(u64::MAX, many).await, Ok(0));
    assert_eq!(sink.deliver(&games[..30], THEIRS).await, Ok(Vec::new()));
    // What is there already stays theirs.
    assert_eq!(sink.deliver(&games[20..], OURS).await, Ok(Vec::new()));
    assert_eq!(ids().await, all);
    assert_eq!(sink.count(u64::MAX, many).await, Ok(45));
    assert_eq!(sink.count(began(12), many).await, Ok(12));
    assert_eq!(sink.count(u64::MAX, NonZeroUsize::new(7).unwrap()).await, Ok(7));

    let nobody = Installation::from_bytes([0; 16]);
    for before_ms in [0, 1, began(0), began(20), began(30), began(44), u64::MAX] {
        assert_eq!(remove(sink, before_ms, nobody).await, Ok((0, 0)), "{before_ms}");
    }
    assert_eq!(remove(sink, began(30), OURS).await, Ok((0, 0)));
    assert_eq!(ids().await, all);
    // Whoever begins in the middle sees nothing before.
    let pass = sink.remove(Some(games[34].id), u64::MAX, OURS).await;
    assert_eq!(pass, Ok(RemovalPass { removed: 10, unmarked: 0, next: None }));
    assert_eq!(ids().await, all[..35]);
    assert_eq!(remove(sink, u64::MAX, OURS).await, Ok((5, 0)));
    assert_eq!(ids().await, all[..30]);

    // Only what is meant is adopted, and only if it is the same.
    let mut other = GameRecord::from_json(games[3].line()).unwrap();
    other.room_id = "OTHER".to_owned();
    let asked = [games[1].clone(), games[2].clone(), delivery(&other), games[40].clone()];
    let adopt = async |from, ours| {
        let mut answers = sink.adopt(&asked, from, ours).await.unwrap();
        answers.sort_unstable();
        assert_eq!(answers.iter().map(|(id, _)| *id).collect::<Vec<_>>(), [1, 2, 3, 40].map(|n: usize| games[n].id));
        answers.into_iter().map(|(_, adoption)| adoption).collect::<Vec<_>>()
    };
    let theirs = Adoption::Other(Some(THEIRS));
    assert_eq!(adopt(None, OURS).await, [theirs, theirs, theirs, Adoption::Absent]);
    assert_eq!(adopt(Some(nobody), OURS).await, [theirs, theirs, theirs, Adoption::Absent]);
    let adopted = adopt(Some(THEIRS), OURS).await;
    assert_eq!(adopted, [Adoption::Adopted, Adoption::Adopted, Adoption::Differs, Adoption::Absent]);
    assert_eq!(adopt(Some(THEIRS), OURS).await, [Adoption::Ours, Adoption::Ours, Adoption::Differs, Adoption::Absent]);
    for game in &games[1..3] {
        assert_eq!(digest(game.id, &sink.fetch(game.id).await.unwrap().unwrap()), game.digest());
    }
    assert_eq!(remove(sink, u64::MAX, OURS).await, Ok((2, 0)));
    assert_eq!(ids().await, [&all[..1], &all[3..30]].concat());
    assert_eq!(remove(sink, u64::MAX, THEIRS).await, Ok((28, 0)));
}

/// Copies of earlier versions do not say whose they are. `place` makes such a copy. It is empty at the beginning and at the
/// end.
pub(crate) async fn unmarked_copies_stay_until_they_are_adopted(sink: &dyn Sink, place: impl AsyncFn(&Delivery)) {
    let records = records(12, 20);
    let games: Vec<Delivery> = records.iter().map(delivery).collect();
    sink.check().await.unwrap();
    for game in &games[..12] {
        place(game).await;
    }
    // To send them does not make them ours.
    assert_eq!(sink.deliver(&games, OURS).await, Ok(Vec::new()));
    assert_eq!(remove(sink, records[15].started_at_ms, OURS).await, Ok((3, 12)));
    assert_eq!(sink.deliver(&games[12..15], OURS).await, Ok(Vec::new()));
    let adopted = sink.adopt(&games[..6], None, OURS).await.unwrap();
    assert!(adopted.len() == 6 && adopted.iter().all(|(_, adoption)| *adoption == Adoption::Adopted), "{adopted:?}");
    assert_eq!(remove(sink, u64::MAX, OURS).await, Ok((14, 6)));
    let adopted = sink.adopt(&games, None, THEIRS).await.unwrap();
    assert_eq!(adopted.iter().filter(|(_, adoption)| *adoption == Adoption::Adopted).count(), 6, "{adopted:?}");
    assert_eq!(remove(sink, u64::MAX, THEIRS).await, Ok((6, 0)));
}

/// Servers in front of a sink with copies of others, by every retention: none of those goes. `open` opens the sink anew. It is
/// empty at the beginning, and holds copies of others at the end.
pub(crate) fn no_retention_removes_copies_of_others(kind: SinkKind, open: impl Fn() -> Arc<dyn Sink>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let records = records(13, 60);
    let games: Vec<Delivery> = records.iter().map(delivery).collect();
    let sink = open();
    assert_eq!(runtime.block_on(sink.deliver(&games[..40], THEIRS)), Ok(Vec::new()));
    let ids = || runtime.block_on(all_of(&*sink, 500)).iter().map(|held| held.id).collect::<Vec<_>>();
    let theirs: Vec<GameId> = games[..40].iter().map(|game| game.id).collect();
    for retention_days in [0, 1, 2, 7, 14, 30, 60, 90, 180, 36_500] {
        let folder = tempfile::tempdir().unwrap();
        let serve = |records: &[GameRecord], retention_days| {
            let options = Options { retention_days, flush_interval: Duration::ZERO, ..Options::default() };
            let metrics = Arc::new(Metrics::new("test", "test", false));
            let (archive, _) = Archive::open(folder.path(), &options, metrics).unwrap();
            for record in records {
                archive.put(record.clone(), drop).unwrap();
            }
            assert!(archive.flush(SOON));
            // The games are older than the clock's last known time.
            archive.confirm_clock().unwrap();
            archive.deliver_to([(kind, open())], &options).unwrap();
            let begun = Instant::now();
            // It is idle when it has looked for old copies, too.
            while !archive.status().sinks[0].idle {
                assert!(begun.elapsed() < SOON, "{:?}", archive.status().sinks);
                std::thread::sleep(Duration::from_millis(5));
            }
            assert!(archive.close(SOON));
        };
        serve(&[], retention_days);
        assert_eq!(ids(), theirs, "an empty archive, {retention_days} days");
        // Some of its games are theirs already. Its own copies go, if they are too old.
        serve(&records[30..], 0);
        let all: Vec<GameId> = games.iter().map(|game| game.id).collect();
        assert_eq!(ids(), all);
        serve(&[], retention_days);
        let kept = ids();
        let is_old = (1..=180).contains(&retention_days);
        assert_eq!(kept, if is_old { theirs.clone() } else { all }, "{retention_days} days");
        let ours = std::fs::read_to_string(folder.path().join("installation")).unwrap();
        runtime.block_on(remove(&*sink, u64::MAX, ours.trim().parse().unwrap())).unwrap();
        assert_eq!(ids(), theirs);
    }
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
