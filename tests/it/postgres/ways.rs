//! The ways to a server: through pgbouncer, by TLS, as a user who owns nothing, with few connections or many.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use liap::archive::sink::{Adoption, SinkError};

use super::server::{Network, Pgbouncer, Postgres};
use super::{OURS, SOON, assert_holds, deliver_at_last, games, remove, server, server_and_sink, sink, sink_with};

#[tokio::test(flavor = "multi_thread")]
async fn every_transaction_may_have_another_connection() {
    let Some((server, direct)) = server_and_sink().await else { return };
    let Some(program) = Pgbouncer::program() else { return };
    let games = games(20, 300);
    // Fewer connections than transactions at once, so that they are passed from hand to hand.
    let bouncer = Pgbouncer::start(&program, &server, 2);
    let url = format!("postgresql://owner:pass@{}/games", bouncer.address);
    let sinks: Vec<_> = (0..3).map(|_| sink(&url)).collect();
    // The tables are made through it too, by whoever is first.
    let (a, b, c) = tokio::join!(
        deliver_at_last(&*sinks[0], &games[..200]),
        deliver_at_last(&*sinks[1], &games[100..]),
        deliver_at_last(&*sinks[2], &games),
    );
    assert_eq!((a, b, c), (0, 0, 0), "nothing fails for being shared");
    assert_holds(&server, &*direct, &games).await;
    for sink in &sinks {
        sink.check().await.unwrap();
        assert_eq!(super::all_of(&**sink).await.len(), 300);
    }
    assert_eq!(remove(&*sinks[0], games[100].id.unix_ms(), OURS).await, Ok((100, 0)));
    // Nothing of ours stays in a connection.
    let left = "SELECT count(*) FROM pg_stat_activity WHERE state LIKE 'idle in transaction%'";
    assert_eq!(server.ask("games", left).await, "0");
    drop(bouncer);
    let answer = sinks[0].check().await;
    assert!(matches!(answer, Err(SinkError::Unavailable(_))), "{answer:?}");
}

/// Runs `scripts/init-archive-role` as somebody, and returns whether it went well and what it said.
fn make_role(server: &Postgres, programs: &Path, who: &str, password: &Path, options: &str) -> (bool, String) {
    let output = Command::new("sh")
        .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/init-archive-role"))
        .env("ARCHIVE_PASSWORD_FILE", password)
        .envs([("POSTGRES_USER", who), ("POSTGRES_DB", "games"), ("PGPASSWORD", "pass"), ("PGOPTIONS", options)])
        .envs([("PGHOST", server.address.ip().to_string()), ("PGPORT", server.address.port().to_string())])
        .env("PATH", format!("{}:{}", programs.display(), std::env::var("PATH").unwrap()))
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    (output.status.success(), said)
}

fn make_tables(server: &Postgres) {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/scripts/init-archive.sql");
    server.program("psql", "games", &["--quiet", "--set=ON_ERROR_STOP=1", "--file", script]);
}

/// Whatever goes wrong at first, it can be put right by running it again.
#[tokio::test(flavor = "multi_thread")]
async fn the_role_is_made_whole_or_not_at_all_and_may_be_made_again() {
    let Some(programs) = server::programs() else { return };
    let everything = "log_statement = 'all'\nlog_min_duration_statement = 0\nlog_transaction_sample_rate = 1";
    let server = Postgres::start_with(&programs, everything).await;
    let roles = "SELECT count(*) FROM pg_roles WHERE rolname = 'liap'";
    let password = server.file("archive_password", "first-word\n");
    let make = |who, password: &Path, options| make_role(&server, &programs, who, password, options);

    for nothing in [server.data().join("nowhere"), server.file("empty", ""), server.file("blank", "\n")] {
        let (went_well, said) = make("owner", &nothing, "");
        assert!(!went_well, "{said}");
        assert!(said.contains("no password in ARCHIVE_PASSWORD_FILE") && said.contains("nothing was done"), "{said}");
    }
    // There is nothing yet that rights could be given to.
    let (went_well, said) = make("owner", &password, "");
    assert!(!went_well && said.contains("\"archive\" does not exist"), "{said}");
    assert_eq!(server.ask("games", roles).await, "0");

    make_tables(&server);
    assert_eq!(make("owner", &password, ""), (true, String::new()));
    let first = sink(&server.url("liap:first-word", "games"));
    first.check().await.unwrap();
    // Again, with what failed in between, and with rights that somebody has taken away.
    server.sql("games", "REVOKE ALL ON archive.completed_games FROM liap; ALTER ROLE liap NOLOGIN").await;
    let second = server.file("second", "second-word\n");
    let (went_well, said) = make("owner", &second, "-c default_transaction_read_only=on");
    assert!(!went_well && said.contains("ALTER ROLE in a read-only transaction"), "{said}");
    assert_eq!(make("owner", &second, ""), (true, String::new()));
    let second = sink(&server.url("liap:second-word", "games"));
    assert_eq!(second.deliver(&games(24, 3), OURS).await, Ok(Vec::new()));
    let answer = sink(&server.url("liap:first-word", "games")).check().await;
    assert!(matches!(answer, Err(SinkError::Denied(_))), "{answer:?}");
    let log = server.log();
    assert!(log.contains("ALTER ROLE in a read-only transaction") && log.contains("CREATE SCHEMA"), "it writes all");
    assert_eq!(log.lines().filter(|line| line.contains("-word")).collect::<Vec<_>>(), [""; 0]);

    // The owner of a database need be no superuser.
    let keeper = "CREATE ROLE keeper LOGIN CREATEROLE PASSWORD 'pass'; ALTER SCHEMA archive OWNER TO keeper; \
        ALTER TABLE archive.completed_games OWNER TO keeper; ALTER TABLE archive.game_events OWNER TO keeper";
    server.sql("games", keeper).await;
    assert_eq!(make("keeper", &server.file("third", "third"), ""), (true, String::new()));
    sink(&server.url("liap:third", "games")).check().await.unwrap();
}

/// Whoever owns nothing cannot make the column that an earlier schema lacks, and is told who can.
#[tokio::test(flavor = "multi_thread")]
async fn a_schema_of_an_earlier_version_is_told_to_who_may_not_change_it() {
    let Some(programs) = server::programs() else { return };
    let server = Postgres::start(&programs).await;
    make_tables(&server);
    let password = server.file("archive_password", "word");
    assert_eq!(make_role(&server, &programs, "owner", &password, ""), (true, String::new()));
    server.sql("games", "ALTER TABLE archive.completed_games DROP COLUMN installation").await;
    let sink = sink(&server.url("liap:word", "games"));
    let answer = sink.check().await;
    assert!(matches!(&answer, Err(SinkError::Denied(text)) if text.contains("scripts/init-archive.sql")), "{answer:?}");
    make_tables(&server);
    assert_eq!(make_role(&server, &programs, "owner", &password, ""), (true, String::new()));
    sink.check().await.unwrap();
    assert_eq!(sink.deliver(&games(25, 2), OURS).await, Ok(Vec::new()));
}

/// The role that `scripts/init-archive-role` makes, which owns nothing.
#[tokio::test(flavor = "multi_thread")]
async fn a_user_without_any_right_to_change_tables_will_do() {
    let Some(programs) = server::programs() else { return };
    let server = Postgres::start(&programs).await;
    make_tables(&server);
    let password = server.file("archive_password", "hush'\\\"$x\n");
    assert_eq!(make_role(&server, &programs, "owner", &password, ""), (true, String::new()));

    let sink = sink(&server.url("liap:hush%27%5C%22$x", "games"));
    let games = games(21, 60);
    sink.check().await.unwrap();
    assert_eq!(sink.deliver(&games, OURS).await, Ok(Vec::new()));
    assert_holds(&server, &*sink, &games).await;
    assert_eq!(remove(&*sink, games[10].id.unix_ms(), OURS).await, Ok((10, 0)));
    server.sql("games", "UPDATE archive.completed_games SET installation = NULL").await;
    let adopted = sink.adopt(&games[10..], None, OURS).await.unwrap();
    assert!(adopted.len() == 50 && adopted.iter().all(|(_, adoption)| *adoption == Adoption::Adopted), "{adopted:?}");
    let client = server.client("games").await;
    sink.prove().await.unwrap();
    server.sql("games", "REVOKE DELETE ON archive.game_events FROM liap").await;
    server.sql("games", "REVOKE UPDATE (installation) ON archive.completed_games FROM liap").await;
    let Err(SinkError::Denied(told)) = sink.prove().await else { panic!("two rights are missing") };
    assert!(told.contains("lacks UPDATE of completed_games.installation, DELETE on game_events: "), "{told}");
    for forbidden in ["DROP TABLE archive.game_events", "UPDATE archive.completed_games SET room_id = 'X'"] {
        client.batch_execute("SET ROLE liap").await.unwrap();
        assert!(client.batch_execute(forbidden).await.is_err(), "{forbidden}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_are_encrypted_and_verified_as_the_url_says() {
    let Some(programs) = server::programs() else { return };
    let server = Postgres::start(&programs).await;
    let certified = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let certificate = server.file("server.crt", &certified.cert.pem());
    server.file("server.key", &certified.signing_key.serialize_pem());
    let other = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let other = server.file("other.crt", &other.cert.pem());
    // Nobody comes in without.
    server.file("pg_hba.conf", "hostssl all all 127.0.0.1/32 scram-sha-256\n");
    server.client("games").await.batch_execute("ALTER SYSTEM SET ssl = on").await.unwrap();
    server.reload();

    let games = games(22, 5);
    // At the address that has a name.
    let network = Network::to(&server).await;
    let port = network.address.port();
    let url = |host: &str, query: &str| format!("postgresql://owner:pass@{host}:{port}/games?{query}");
    let trusted = format!("sslmode=verify-full&sslrootcert={}", certificate.display());
    let deadline = Instant::now() + SOON;
    while let Err(error) = sink(&url("localhost", "sslmode=require")).check().await {
        assert!(Instant::now() < deadline, "it offers TLS: {error}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    for query in ["sslmode=require", "sslmode=prefer", "", &trusted] {
        assert_eq!(sink(&url("localhost", query)).deliver(&games, OURS).await, Ok(Vec::new()), "{query}");
    }
    for (host, query) in [
        ("localhost", "sslmode=disable".to_owned()),
        // Not by anybody whom the world trusts; by somebody else; for another name.
        ("localhost", "sslmode=verify-full".to_owned()),
        ("localhost", format!("sslmode=verify-full&sslrootcert={}", other.display())),
        ("localhost", format!("sslmode=require&sslrootcert={}", other.display())),
        ("127.0.0.1", trusted.clone()),
    ] {
        let answer = sink(&url(host, &query)).deliver(&games, OURS).await;
        assert!(answer.is_err(), "{host} {query}: {answer:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn so_many_connections_are_kept_and_no_more_are_made() {
    let Some((server, owner)) = server_and_sink().await else { return };
    owner.check().await.unwrap();
    drop(owner);
    let count = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'liap'";
    let deadline = Instant::now() + SOON;
    while server.ask("games", count).await != "0" {
        assert!(Instant::now() < deadline, "a sink that is gone leaves none");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let sink = sink_with(&server.url("owner:pass", "games"), 3, 5);
    assert_eq!(server.ask("games", count).await, "0", "none before one is needed");
    sink.check().await.unwrap();
    assert_eq!(server.ask("games", count).await, "3");

    let games = games(23, 300);
    let watching = tokio::spawn({
        let client = server.client("games").await;
        async move {
            let mut most = 0;
            loop {
                most = most.max(client.query_one(count, &[]).await.unwrap().get::<_, i64>(0));
                if most > 5 {
                    return most;
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        }
    });
    let answers = tokio::join!(sink.deliver(&games, OURS), sink.deliver(&games, OURS), sink.check());
    assert_eq!(answers, (Ok(Vec::new()), Ok(Vec::new()), Ok(())));
    assert!(!watching.is_finished(), "more than allowed");
    watching.abort();
    assert_holds(&server, &*sink, &games).await;
}
