//! Services that a server may share with others, and copies of its games. What is not in a build is refused, not ignored.

use super::{health, liap, play};
use crate::process::{Server, room};

/// Whether these settings are accepted, and the error if not.
fn shown(settings: &[(&str, &str)]) -> Result<(), String> {
    let folder = tempfile::tempdir().unwrap();
    let shown = liap(folder.path(), &["config"], settings);
    match shown.status.code() {
        Some(0) => Ok(()),
        Some(78) => Err(String::from_utf8(shown.stderr).unwrap()),
        code => panic!("exit code {code:?}: {shown:?}"),
    }
}

fn refused(settings: &[(&str, &str)], says: &str) {
    let refused = shown(settings).expect_err("it is refused");
    assert!(refused.contains(says), "{refused}");
}

pub(super) fn backends() {
    assert_eq!(shown(&[("ARCHIVE_BACKEND", "filesystem")]), Ok(()));
    assert_eq!(shown(&[("ARCHIVE_BACKENDS", "filesystem")]), Ok(()));
    refused(&[("ARCHIVE_BACKEND", "tape")], "ARCHIVE_BACKEND = \"tape\"");
    refused(&[("ARCHIVE_BACKENDS", "filesystem,tape")], "ARCHIVE_BACKENDS = \"filesystem,tape\"");
    // One that nothing is copied to is a mistake.
    refused(&[("ARCHIVE_URL_S3", "s3://games/")], "ARCHIVE_URL_S3");
    refused(&[("ARCHIVE_URL_POSTGRESQL", "postgresql://localhost/games")], "ARCHIVE_URL_POSTGRESQL");
    for (kind, feature, setting, url) in [
        ("s3", cfg!(feature = "s3"), "ARCHIVE_URL_S3", "s3://games/"),
        ("postgresql", cfg!(feature = "postgres"), "ARCHIVE_URL_POSTGRESQL", "postgresql://mira@127.0.0.1:1/games"),
    ] {
        let both = format!("filesystem,{kind}");
        if feature {
            refused(&[("ARCHIVE_BACKENDS", &both)], setting);
            // The service is down, which does not stop the server.
            let nowhere = [
                ("ARCHIVE_BACKENDS", both.as_str()),
                (setting, url),
                ("AWS_ENDPOINT_URL", "http://127.0.0.1:1"),
                ("AWS_ALLOW_HTTP", "true"),
                ("AWS_ACCESS_KEY_ID", "mira"),
                ("AWS_SECRET_ACCESS_KEY", "hush-hush-hush"),
            ];
            assert!(health(&Server::start(&nowhere), kind).is_object(), "{kind} is looked after");
        } else {
            refused(&[("ARCHIVE_BACKENDS", &both), (setting, url)], "not in this build");
            refused(&[("ARCHIVE_BACKEND", kind), ("ARCHIVE_URL", url)], "not in this build");
        }
    }
}

pub(super) fn redis() {
    let nobody = ("REDIS_URL", "redis://127.0.0.1:1");
    if cfg!(feature = "redis") {
        assert_eq!(health(&Server::start(&[nobody]), "redis")["status"], "degraded");
    } else {
        refused(&[nobody], "not in this build");
    }
    refused(&[("REDIS_POOL_MIN", "11")], "REDIS_POOL_MIN");
    refused(&[("REDIS_POOL_MIN", "2"), ("REDIS_POOL_MAX", "1")], "REDIS_POOL_MIN");
    assert_eq!(shown(&[("REDIS_POOL_MIN", "11"), ("REDIS_POOL_MAX", "11")]), Ok(()));
    refused(&[("REDIS_CA_FILE", "/nowhere.pem")], "REDIS_CA_FILE");
}

pub(super) fn database() {
    let url = "postgresql://mira:hush-hush-hush@127.0.0.1:1/games";
    refused(&[("DATABASE_URL", url)], "has no use unless ARCHIVE_BACKEND is postgresql");
    refused(&[("DATABASE_POOL_MIN", "9"), ("DATABASE_POOL_MAX", "8")], "DATABASE_POOL_MIN");
    assert_eq!(shown(&[("DATABASE_POOL_MIN", "20"), ("DATABASE_POOL_MAX", "100")]), Ok(()));
    let named = [("ARCHIVE_BACKEND", "postgresql"), ("DATABASE_URL", url)];
    if cfg!(feature = "postgres") {
        // The service is down, which does not stop the server.
        assert!(health(&Server::start(&named), "postgresql").is_object(), "it is looked after");
    } else {
        refused(&named, "not in this build");
    }
}

pub(super) fn instance() {
    let server = Server::start(&[("INSTANCE_ID", "A")]);
    for _ in 0..3 {
        let (id, _table, _) = play(room(&server, "Mira"));
        assert!(id.starts_with('A'), "{id}");
    }
}
