use std::collections::BTreeSet;
use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value;

use crate::process::{Server, room};
use crate::store::spoil_a_game;

/// Runs `liap doctor` in a folder, with these settings and nobody else's.
fn doctor(folder: &Path, arguments: &[&str], settings: &[(&str, &str)]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_liap"))
        .arg("doctor")
        .args(arguments)
        .current_dir(folder)
        .env_clear()
        .env("PORT", "0")
        .env("METRICS_PORT", "0")
        .env("MAX_SOCKETS", "100")
        .envs(settings.iter().copied())
        .output()
        .unwrap()
}

/// What it finds, for programs.
fn findings(folder: &Path, settings: &[(&str, &str)]) -> Vec<Value> {
    let output = doctor(folder, &["--json"], settings);
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    let is_wrong = report["status"] == "wrong";
    assert_eq!(output.status.code(), Some(i32::from(is_wrong)), "{report:#}");
    report["checks"].as_array().unwrap().clone()
}

/// Asserts that a check has one finding of this status that says this, with a way to mend it unless all is well.
fn finds(folder: &Path, settings: &[(&str, &str)], check: &str, status: &str, says: &str) {
    let findings = findings(folder, settings);
    let fits = |finding: &Value| {
        let text = format!("{} {}", finding["message"], finding["mend"]);
        finding["check"] == check
            && finding["status"] == status
            && text.contains(says)
            && finding["mend"].is_null() == (status == "ok")
    };
    let of_check: Vec<&Value> = findings.iter().filter(|finding| finding["check"] == check).collect();
    assert!(
        of_check.iter().any(|it| fits(it)),
        "{settings:?}: no {check} is {status} and says {says:?}: {of_check:#?}"
    );
}

fn files(folder: &Path) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for entry in fs::read_dir(folder).unwrap().map(Result::unwrap) {
        found.insert(entry.path().display().to_string());
        if entry.path().is_dir() {
            found.extend(files(&entry.path()));
        }
    }
    found
}

#[test]
fn a_clean_machine_is_well_and_left_as_it_was() {
    let folder = tempfile::tempdir().unwrap();
    let output = doctor(folder.path(), &[], &[]);
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{text}");
    for group in ["settings\n", "\nnetwork\n", "\ndisk\n", "\ngames\n", "\nmachine\n"] {
        assert!(text.contains(group), "{text}");
    }
    assert!(text.contains("\n  ✓ disk speed "), "{text}");
    assert!(!text.contains('\x1b'), "no colours where nobody looks");
    assert_eq!(files(folder.path()).len(), 0, "nothing is left behind");
}

#[test]
fn scripts_can_rely_on_the_shape() {
    let folder = tempfile::tempdir().unwrap();
    let findings = findings(folder.path(), &[]);
    let keys = ["check", "figures", "group", "mend", "message", "status"];
    for finding in &findings {
        let mut found: Vec<&str> = finding.as_object().unwrap().keys().map(String::as_str).collect();
        found.sort_unstable();
        assert_eq!(found, keys);
    }
    let checks: Vec<&str> = findings.iter().map(|finding| finding["check"].as_str().unwrap()).collect();
    for check in [
        "settings",
        "admin token",
        "environment",
        "port",
        "metrics port",
        "proxies",
        "origins",
        "data folder",
        "disk space",
        "disk speed",
        "archive",
        "journal",
        "open files",
        "memory",
        "swap",
        "clock",
    ] {
        assert!(checks.contains(&check), "{check} in {checks:?}");
    }
    let free = findings.iter().find(|finding| finding["check"] == "disk space").unwrap();
    assert!(free["figures"]["free_bytes"].as_u64().unwrap() > 0);
}

#[test]
fn warnings_fail_only_where_that_is_wanted() {
    let folder = tempfile::tempdir().unwrap();
    let open = [("METRICS_HOST", "0.0.0.0")];
    assert_eq!(doctor(folder.path(), &[], &open).status.code(), Some(0));
    assert_eq!(doctor(folder.path(), &["--strict"], &open).status.code(), Some(1));
}

#[test]
fn mistakes_are_found_and_the_rest_is_looked_at_all_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let wrong = [("GAME_PACE", "fast"), ("LIAP_CONFIG", "/nowhere.toml"), ("REDIS_POOL_MAX", "5")];
    finds(folder.path(), &wrong, "settings", "wrong", "a number from 0 to 1000");
    finds(folder.path(), &wrong, "settings", "wrong", "/nowhere.toml");
    finds(folder.path(), &wrong, "origins", "ok", "own page");
}

#[test]
fn settings_that_do_not_fit_together_are_found() {
    let folder = tempfile::tempdir().unwrap();
    let production = ("ENVIRONMENT", "production");
    let behind_proxy = [production, ("HOST", "127.0.0.1"), ("TRUSTED_PROXIES", "127.0.0.1")];
    for (settings, check, status, says) in [
        (&[("BASE_PATH", "/liap")][..], "proxies", "warning", "TRUSTED_PROXIES"),
        (&[("TRUSTED_PROXIES", "0.0.0.0/0")], "proxies", "wrong", "anybody may claim any address"),
        (&[production], "proxies", "warning", "unencrypted"),
        (&[production, ("HOST", "127.0.0.1")], "proxies", "warning", "all players have one address"),
        (&[production, ("TRUSTED_PROXIES", "10.0.0.1")], "proxies", "warning", "past it"),
        (&behind_proxy, "proxies", "ok", "127.0.0.1/32 trusted"),
        (&[production, ("ALLOWED_ORIGINS", "http://a.example")], "origins", "warning", "https"),
        (&[production], "admin token", "warning", "openssl rand"),
        (&[("ADMIN_TOKEN", "aaaaaaaaaaaaaaaaaaaaaaaa")], "admin token", "warning", "guessed"),
        (&[("ADMIN_TOKEN", "3f9a61c0d2be47588e13aa90")], "admin token", "ok", "long enough"),
        (
            &[production, ("USE_RATE_LIMITING", "false"), ("USE_EVENT_SOURCING", "false")],
            "environment",
            "warning",
            "USE_EVENT_SOURCING",
        ),
        (&[("METRICS_HOST", "0.0.0.0")], "metrics", "warning", "METRICS_HOST=127.0.0.1"),
        (&[("METRICS_ENABLED", "false")], "metrics port", "ok", "switched off"),
        (&[("HOST", "192.0.2.1"), ("PORT", "8000")], "port", "wrong", "an address of this machine"),
        (&[("MAX_SOCKETS", "1000000")], "open files", "warning", "MAX_SOCKETS="),
        (&[("MAX_MEMORY_MB", "16777216")], "memory", "warning", "set MAX_MEMORY_MB="),
        (&[("DATA_DIR", "/dev/null/games")], "data folder", "wrong", "DATA_DIR"),
        (&[("LOG_FILE", "/nowhere/liap.log")], "log file", "wrong", "LOG_FILE"),
        (&[("USE_GAME_ARCHIVAL", "false")], "archive", "ok", "switched off"),
        (&[("USE_EVENT_SOURCING", "false")], "journal", "ok", "switched off"),
    ] {
        finds(folder.path(), settings, check, status, says);
    }
    let token = "3f9a61c0d2be47588e13aa90";
    let said = doctor(folder.path(), &["--json"], &[("ADMIN_TOKEN", token)]);
    assert!(!String::from_utf8_lossy(&said.stdout).contains(token));
}

#[test]
fn folders_and_files_that_are_too_open_are_found() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    let data = path.join("data");
    fs::create_dir(&data).unwrap();
    let mode = |path: &Path, mode| fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    mode(&data, 0o777);
    finds(path, &[], "data folder", "wrong", "chmod o-w");
    mode(&data, 0o755);
    finds(path, &[], "data folder", "ok", "mode 755");
    finds(path, &[("ENVIRONMENT", "production")], "data folder", "warning", "chmod 700");

    let secret = path.join("token");
    fs::write(&secret, "3f9a61c0d2be47588e13aa90").unwrap();
    mode(&secret, 0o644);
    let settings = [("ADMIN_TOKEN_FILE", secret.to_str().unwrap())];
    finds(path, &settings, "secrets", "warning", "chmod 600");
    mode(&secret, 0o600);
    assert!(findings(path, &settings).iter().all(|finding| finding["check"] != "secrets"));
}

#[test]
fn certificates_are_read_as_the_server_would() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    let write = |name: &str, text: &str, mode: u32| {
        fs::write(path.join(name), text).unwrap();
        fs::set_permissions(path.join(name), fs::Permissions::from_mode(mode)).unwrap();
    };
    let of_year = |year: i32| {
        let key = rcgen::KeyPair::generate().unwrap();
        let mut params = rcgen::CertificateParams::new(["localhost".to_owned()]).unwrap();
        params.not_after = rcgen::date_time_ymd(year, 1, 1);
        (params.self_signed(&key).unwrap().pem(), key.serialize_pem())
    };
    let settings = [("TLS_CERT", "cert.pem"), ("TLS_KEY", "key.pem")];
    finds(path, &settings, "certificate", "wrong", "cert.pem cannot be read");
    let (certificate, key) = of_year(2100);
    write("cert.pem", &certificate, 0o644);
    write("key.pem", &key, 0o600);
    finds(path, &settings, "certificate", "ok", "2100-01-01");
    write("key.pem", &key, 0o644);
    finds(path, &settings, "certificate", "warning", "chmod 600");
    let (ended, its_key) = of_year(2001);
    write("key.pem", &its_key, 0o600);
    finds(path, &settings, "certificate", "wrong", "not the key");
    write("cert.pem", &ended, 0o644);
    finds(path, &settings, "certificate", "wrong", "has ended");
}

#[test]
fn whoever_holds_the_port_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let other = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = other.local_addr().unwrap().port().to_string();
    // It takes the question and never answers, for no longer than the health check may take.
    let settings = [("HOST", "127.0.0.1"), ("PORT", port.as_str()), ("HEALTH_CHECK_TIMEOUT", "1")];
    finds(folder.path(), &settings, "port", "wrong", &format!("taken by process {} (", std::process::id()));
    let metrics = [("METRICS_PORT", port.as_str()), ("HEALTH_CHECK_TIMEOUT", "1")];
    finds(folder.path(), &metrics, "metrics port", "wrong", "METRICS_PORT to another port");
}

#[tokio::test]
async fn a_running_server_is_asked_and_not_disturbed() {
    let server = Server::start(&[("LOG_LEVEL", "debug")]);
    let (_, mut table, _) = room(&server, "Mira").await;
    table.hear("room_update").await;
    let (port, metrics) = (server.address.port().to_string(), server.metrics.unwrap().port().to_string());
    let data = server.data().to_str().unwrap();
    let settings = [("HOST", "127.0.0.1"), ("PORT", &port), ("METRICS_PORT", &metrics), ("DATA_DIR", data)];
    let before = files(server.data());
    let elsewhere = tempfile::tempdir().unwrap();
    finds(elsewhere.path(), &settings, "port", "ok", "a running server is healthy");
    finds(elsewhere.path(), &settings, "metrics port", "ok", "shows its metrics");
    finds(elsewhere.path(), &settings, "journal", "ok", "live games, all whole");
    finds(elsewhere.path(), &settings, "archive", "ok", "0 games");
    assert_eq!(files(server.data()), before);
    table.say("ping", serde_json::json!({ "timestamp": 1 })).await;
    table.hear("pong").await;
}

#[tokio::test]
async fn damage_is_found_before_a_server_starts() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    let liap = |arguments: &[&str]| {
        let output =
            Command::new(env!("CARGO_BIN_EXE_liap")).args(arguments).current_dir(path).env_clear().output().unwrap();
        assert!(output.status.success(), "{output:?}");
    };
    liap(&["simulate", "--games", "20", "--seed", "4", "--json", "games.jsonl"]);
    liap(&["archive", "import", "games.jsonl"]);
    finds(path, &[], "archive", "ok", "20 games");
    finds(path, &[], "retention", "ok", "kept for ever");
    let days = |days| [("ARCHIVE_RETENTION_DAYS", days)];
    finds(path, &days("90"), "retention", "warning", "20 of 20 games are older than 90 days");
    finds(path, &days("36500"), "retention", "ok", "0 of 20 now");
    spoil_a_game(&path.join("data/archive"));
    finds(path, &[], "archive", "wrong", "1 games are missing");

    let journal = path.join("data/journal");
    fs::create_dir_all(&journal).unwrap();
    fs::write(journal.join("0000000001.journal"), b"LJ1\nbroken").unwrap();
    finds(path, &[], "journal", "warning", "torn");
    fs::write(journal.join("damaged-x.aside"), b"").unwrap();
    finds(path, &[], "set aside", "warning", "docs/archive.md");
    fs::remove_dir_all(&journal).unwrap();
    fs::write(&journal, b"no folder").unwrap();
    finds(path, &[], "journal", "wrong", "Not a directory");
}
