use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use liap::archive::sink::SinkKind;
use liap::config::{Config, ConfigError, Form, Layer, Loaded, SETTINGS, Setting, Sources, reference};

fn environment(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

fn load(pairs: &[(&str, &str)]) -> Result<Loaded, ConfigError> {
    Sources { environment: environment(pairs), ..Sources::default() }.load()
}

fn load_file(text: &str) -> Result<Loaded, ConfigError> {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("liap.toml");
    std::fs::write(&file, text).unwrap();
    Sources { file: Some(file), ..Sources::default() }.load()
}

/// The mistakes as text, without the changing name of the file.
fn mistakes(result: Result<Loaded, ConfigError>) -> Vec<String> {
    let error = result.expect_err("there are mistakes");
    error
        .mistakes
        .into_iter()
        .map(|mut mistake| {
            if let Layer::File(path) = &mut mistake.layer {
                *path = PathBuf::from("FILE");
            }
            mistake.to_string()
        })
        .collect()
}

fn in_repository(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

fn setting(name: &str) -> &'static Setting {
    Setting::find(name).unwrap_or_else(|| panic!("{name} is a setting"))
}

/// For every setting a value that is not its default.
const OTHER_VALUES: &[(&str, &str)] = &[
    ("ENVIRONMENT", "production"),
    ("DATA_DIR", "/var/lib/liap"),
    ("SHUTDOWN_TIMEOUT_SECONDS", "7"),
    ("HOST", "127.0.0.1"),
    ("PORT", "8080"),
    ("BASE_PATH", "/liap"),
    ("STATIC_DIR", "<folder>"),
    ("ALLOWED_ORIGINS", "https://a.example,http://b.example:8000"),
    ("TRUSTED_PROXIES", "10.0.0.0/8,::1/128"),
    ("TLS_CERT", "/etc/liap/cert.pem"),
    ("TLS_KEY", "/etc/liap/key.pem"),
    ("HEADER_TIMEOUT_SECONDS", "3"),
    ("MAX_SOCKETS", "100"),
    ("MAX_SOCKETS_PER_ADDRESS", "10"),
    ("MAX_FRAME_BYTES", "4096"),
    ("SEND_QUEUE_FRAMES", "32"),
    ("PING_INTERVAL_SECONDS", "5"),
    ("PEER_TIMEOUT_SECONDS", "60"),
    ("ADMIN_TOKEN", "000123456789"),
    ("GAME_PACE", "0.1"),
    ("TURN_TIMEOUT_SECONDS", "0"),
    ("ABANDONED_AFTER_MINUTES", "45"),
    ("MAX_ACTIVE_GAMES", "5"),
    ("ROOM_INBOX_CAPACITY", "64"),
    ("MAX_WATCHERS_PER_ROOM", "0"),
    ("GC_COMPLETED_GAMES_AFTER", "10"),
    ("EVENT_BUFFER_SIZE", "20"),
    ("MAX_EVENTS_PER_GAME", "30"),
    ("USE_EVENT_SOURCING", "false"),
    ("LIVE_JOURNAL_INTERVAL_MS", "50"),
    ("USE_GAME_ARCHIVAL", "false"),
    ("ARCHIVE_BACKEND", "s3"),
    ("ARCHIVE_URL", "/srv/games"),
    ("ARCHIVE_BACKENDS", "s3,postgresql"),
    ("ARCHIVE_URL_S3", "s3://games/liap/"),
    ("ARCHIVE_URL_POSTGRESQL", "postgresql://mira:hush@localhost/liap"),
    ("DATABASE_URL", "postgresql://mira:hush@localhost/liap"),
    ("DATABASE_POOL_MIN", "3"),
    ("DATABASE_POOL_MAX", "100"),
    ("ARCHIVE_BATCH_SIZE", "1"),
    ("ARCHIVE_FLUSH_INTERVAL", "5"),
    ("ARCHIVE_RETENTION_DAYS", "30"),
    ("GAME_SUMMARY_CACHE_SIZE", "0"),
    ("USE_RATE_LIMITING", "false"),
    ("RATE_LIMIT_PER_PLAYER_PER_MINUTE", "30"),
    ("RATE_LIMIT_PER_ROOM_PER_SECOND", "20"),
    ("RATE_LIMIT_WEBSOCKET_PER_SECOND", "8"),
    ("RATE_LIMIT_NEW_SOCKETS_PER_MINUTE", "9"),
    ("RATE_LIMIT_HTTP_PER_MINUTE", "10"),
    ("RATE_LIMIT_MAX_KEYS", "1000"),
    ("REDIS_URL", "redis://:hush@cache:6380/1"),
    ("INSTANCE_ID", "A"),
    ("INSTANCE_URL", "https://one.example.org"),
    ("REDIS_POOL_MIN", "2"),
    ("REDIS_POOL_MAX", "50"),
    ("REDIS_TIMEOUT_MS", "5"),
    ("REDIS_CA_FILE", "<folder>/ca.pem"),
    ("LOG_LEVEL", "debug"),
    ("LOG_FORMAT", "json"),
    ("LOG_FILE", "/var/log/liap.log"),
    ("LOG_CORRELATION_ID", "false"),
    ("LOG_QUEUE_LINES", "100"),
    ("METRICS_ENABLED", "false"),
    ("METRICS_HOST", "0.0.0.0"),
    ("METRICS_PORT", "9100"),
    ("ENABLE_PROFILING", "true"),
    ("HEALTH_CHECK_TIMEOUT", "2"),
    ("USE_MEMORY_MONITORING", "false"),
    ("MAX_MEMORY_MB", "512"),
    ("MEMORY_CHECK_INTERVAL", "1"),
    ("MEMORY_ALERT_THRESHOLD", "50"),
];

/// Every variable of the deployment guide, with the value the guide gives it as a default.
const GUIDE: &[(&str, &str)] = &[
    ("MAX_ACTIVE_GAMES", "10000"),
    ("MAX_MEMORY_MB", "4096"),
    ("MEMORY_CHECK_INTERVAL", "60"),
    ("GC_COMPLETED_GAMES_AFTER", "300"),
    ("ARCHIVE_BATCH_SIZE", "100"),
    ("ARCHIVE_FLUSH_INTERVAL", "60"),
    ("EVENT_BUFFER_SIZE", "10000"),
    ("MAX_EVENTS_PER_GAME", "1000"),
    ("GAME_SUMMARY_CACHE_SIZE", "1000"),
    ("RATE_LIMIT_PER_PLAYER_PER_MINUTE", "60"),
    ("RATE_LIMIT_PER_ROOM_PER_SECOND", "10"),
    ("RATE_LIMIT_WEBSOCKET_PER_SECOND", "5"),
    ("REDIS_POOL_MAX", "10"),
    ("METRICS_ENABLED", "true"),
    ("METRICS_PORT", "9090"),
    ("HEALTH_CHECK_TIMEOUT", "10"),
    ("MEMORY_ALERT_THRESHOLD", "80"),
    ("USE_GAME_ARCHIVAL", "true"),
    ("USE_MEMORY_MONITORING", "true"),
    ("USE_RATE_LIMITING", "true"),
    ("USE_EVENT_SOURCING", "true"),
    ("ENABLE_PROFILING", "false"),
    ("LOG_LEVEL", "info"),
    ("LOG_CORRELATION_ID", "true"),
];

#[test]
fn defaults_are_those_of_the_deployment_guide() {
    for (name, value) in GUIDE {
        assert_eq!(setting(name).default(), *value, "{name}");
    }
}

/// The guide's 90 days are for an operator to choose: a program that nobody has told so removes nothing.
#[test]
fn games_are_kept_for_ever_unless_an_operator_says_otherwise() {
    let retention = setting("ARCHIVE_RETENTION_DAYS");
    assert_eq!(retention.default(), "0");
    let production =
        Sources { file: Some(in_repository("config/production.toml")), ..Sources::default() }.load().unwrap();
    assert_eq!(retention.value(&production.config), "90");
    for (file, line) in [
        (".env.example", "#ARCHIVE_RETENTION_DAYS=90"),
        ("docker-compose.yml", "ARCHIVE_RETENTION_DAYS: ${ARCHIVE_RETENTION_DAYS:-90}"),
        ("docker-compose.prod.yml", "ARCHIVE_RETENTION_DAYS: ${ARCHIVE_RETENTION_DAYS:-90}"),
    ] {
        let text = std::fs::read_to_string(in_repository(file)).unwrap();
        assert!(text.lines().any(|it| it.trim() == line), "{file}");
    }
}

/// What else must be set where a setting makes no sense alone; `None` if it makes none in this build.
fn others(name: &str) -> Option<&'static [(&'static str, &'static str)]> {
    const PLACES: &[(&str, &str)] =
        &[("ARCHIVE_URL_S3", "s3://games/"), ("ARCHIVE_URL_POSTGRESQL", "postgresql://mira:hush@localhost/liap")];
    if name == "REDIS_URL" && !liap::redis::is_compiled_in() {
        return None;
    }
    let (kinds, others): (&[SinkKind], &[_]) = match name {
        "TLS_CERT" => (&[], &[("TLS_KEY", "/key.pem")]),
        "TLS_KEY" => (&[], &[("TLS_CERT", "/cert.pem")]),
        "ARCHIVE_BACKEND" => (&[SinkKind::S3], &[("ARCHIVE_URL", "s3://games/")]),
        "ARCHIVE_BACKENDS" => (&SinkKind::ALL, PLACES),
        "ARCHIVE_URL_S3" => (&[SinkKind::S3], &[("ARCHIVE_BACKENDS", "s3")]),
        "ARCHIVE_URL_POSTGRESQL" => (&[SinkKind::Postgresql], &[("ARCHIVE_BACKENDS", "postgresql")]),
        "DATABASE_URL" => (&[SinkKind::Postgresql], &[("ARCHIVE_BACKEND", "postgresql")]),
        _ => (&[], &[]),
    };
    kinds.iter().all(|kind| kind.is_compiled_in()).then_some(others)
}

/// A certificate in PEM.
fn certificate() -> String {
    rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap().cert.pem()
}

#[test]
fn each_setting_takes_effect_from_every_source() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("index.html"), "").unwrap();
    std::fs::write(folder.path().join("ca.pem"), certificate()).unwrap();
    let names: BTreeSet<&str> = OTHER_VALUES.iter().map(|(name, _)| *name).collect();
    let all: BTreeSet<&str> = SETTINGS.iter().map(|setting| setting.name).collect();
    assert_eq!(names, all, "every setting is tried");

    for (name, value) in OTHER_VALUES {
        let setting = setting(name);
        let value = value.replace("<folder>", folder.path().to_str().unwrap());
        let Some(others) = others(name) else { continue };
        let shown = match *name {
            "ADMIN_TOKEN" | "REDIS_URL" => "***".to_owned(),
            _ => value.replace(":hush@", ":***@"),
        };
        assert_ne!(setting.default(), shown, "{name} is tried with another value");

        let file = folder.path().join("liap.toml");
        std::fs::write(&file, format!("[{}]\n{} = {value:?}\n", setting.group.name(), setting.key())).unwrap();
        let load = |file, flags, own: &[(&str, &str)]| {
            let environment = environment(&[others, own].concat());
            Sources { file, environment, flags, ..Sources::default() }.load().unwrap()
        };
        let from_file = load(Some(file.clone()), Vec::new(), &[]);
        let from_environment = load(None, Vec::new(), &[(name, &value)]);
        let from_flag = load(None, vec![((*name).to_owned(), value.clone())], &[]);
        for (loaded, layer) in
            [(from_file, Layer::File(file.clone())), (from_environment, Layer::Environment), (from_flag, Layer::Flag)]
        {
            assert_eq!(setting.value(&loaded.config), shown, "{name} from {layer}");
            assert_eq!(loaded.layer(setting), layer, "{name}");
            assert_ne!(loaded.config, Config::default(), "{name} from {layer} changes the options");
        }
    }
}

#[test]
fn the_higher_source_wins() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("liap.toml");
    std::fs::write(&file, "[http]\nport = 1\nhost = \"127.0.0.1\"\nmax_sockets = 7\n").unwrap();
    let loaded = Sources {
        file: Some(file.clone()),
        environment: environment(&[("PORT", "2"), ("MAX_SOCKETS", "8"), ("HOST", "")]),
        flags: vec![("PORT".to_owned(), "3".to_owned()), ("port".to_owned(), "4".to_owned())],
        ..Sources::default()
    }
    .load()
    .unwrap();
    assert_eq!((loaded.config.http.port, loaded.layer(setting("PORT"))), (4, Layer::Flag));
    assert_eq!((loaded.config.http.max_sockets, loaded.layer(setting("MAX_SOCKETS"))), (8, Layer::Environment));
    // An empty variable counts as not set, as compose files like to write them.
    assert_eq!(loaded.layer(setting("HOST")), Layer::File(file));
    assert_eq!(loaded.layer(setting("LOG_LEVEL")), Layer::Default);
}

#[test]
fn all_mistakes_are_named_at_once() {
    let found =
        mistakes(load(&[("PORT", "abc"), ("GAME_PACE", "-1"), ("LOG_LEVEL", "12345"), ("ALLOWED_ORIGINS", "*")]));
    assert_eq!(
        found,
        [
            "PORT = \"abc\" (environment): must be a whole number from 0 to 65535",
            "ALLOWED_ORIGINS = \"*\" (environment): must be origins like https://play.example.org, separated by commas",
            "GAME_PACE = \"-1\" (environment): must be a number from 0 to 1000",
            "LOG_LEVEL = \"12345\" (environment): must be off, error, warning, info, debug or trace",
        ]
    );
}

#[test]
fn a_file_with_unknown_keys_is_refused_with_a_suggestion() {
    let found = mistakes(load_file(
        "port = 1\n[http]\nprot = 2\nlog_level = \"info\"\n[room]\nentirely_unknown_thing = 3\n[romo]\ngame_pace = 1\n",
    ));
    assert_eq!(
        found,
        [
            "http.log_level (file FILE): is no setting; did you mean observe.log_level?",
            "http.prot (file FILE): is no setting; did you mean http.port?",
            "port (file FILE): is no setting; did you mean http.port?",
            "romo.game_pace (file FILE): is no setting; did you mean room.game_pace?",
            "room.entirely_unknown_thing (file FILE): is no setting; `liap config` lists them all",
        ]
    );
    assert_eq!(mistakes(load_file("PORT = 1")), ["PORT (file FILE): is no setting; did you mean http.port?"]);
    let found = mistakes(load_file("[http\nport = 1"));
    assert!(found[0].starts_with("--config (file FILE): is not TOML: "), "{found:?}");
}

#[test]
fn a_slip_of_toml_does_not_show_the_line_it_is_in() {
    const SECRET: &str = "Tr0ub4dor-SecretPw";
    for slip in [
        "admin_token = \"<secret>",
        "admin_token = '<secret>",
        "admin_token = \"\"\"<secret>",
        "admin_token = <secret>",
        "admin_token = 12<secret>",
        "admin_token = 0x<secret>",
        "admin_token = 99999999999999999999 # <secret>",
        "admin_token = true<secret>",
        "admin_token = 1979-05-27T<secret>",
        "admin_token = \"<secret>\" \"<secret>\"",
        "admin_token = \"\\q<secret>\"",
        "admin_token = \"\\uD800<secret>\"",
        "admin_token = \"<secret>\\",
        "admin_token = [\"<secret>\"",
        "admin_token = { is = \"<secret>\"",
        "admin_token = { is = \"<secret>\", is = \"<secret>\" }",
        "admin_token = \"<secret>\"\nadmin_token = \"<secret>\"",
        "admin_token = \"<secret>\"\nadmin_token.is = \"<secret>\"",
        "admin_token = \"<secret>\"\n[http]",
        "admin_token: <secret>",
        "admin_token \"<secret>\"",
        "<secret>",
        "<secret>=",
        "ADMIN_TOKEN=<secret>",
    ] {
        let found = mistakes(load_file(&format!("[http]\n{}\nport = 8000\n", slip.replace("<secret>", SECRET))));
        assert!(found.len() == 1 && found[0].starts_with("--config (file FILE): is not TOML: line "), "{found:?}");
        assert!(!["Tr0ub", "SecretPw"].iter().any(|part| found[0].contains(part)), "{slip} gives {found:?}");
    }
    let found = mistakes(load_file("[http]\nport = 1\n  admin_token = \"é\" hush\n"));
    assert_eq!(found, ["--config (file FILE): is not TOML: line 3, column 21: expected newline, `#`"]);

    // The program says no more than that.
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("liap.toml");
    std::fs::write(&file, format!("[http]\nadmin_token = \"{SECRET}\nport = 8000\n")).unwrap();
    for command in [&["config"][..], &["doctor"], &["doctor", "--json"], &["serve"]] {
        let output = liap(&[command, &["--config", file.to_str().unwrap()]].concat(), &[]);
        let text = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
        assert!(text.contains("line 2, column") && !text.contains("Tr0ub"), "{command:?}: {text}");
    }
}

#[test]
fn a_misspelt_variable_draws_a_warning() {
    for (name, meant) in [
        ("GAME_PASE", "GAME_PACE"),
        ("PROT", "PORT"),
        ("LOGLEVEL", "LOG_LEVEL"),
        ("LIAP_PORT", "PORT"),
        ("RATE_LIMIT_PER_PLAYERS_PER_MINUTES", "RATE_LIMIT_PER_PLAYER_PER_MINUTE"),
    ] {
        let expected = format!("{name} in the environment is no setting; did you mean {meant}?");
        assert_eq!(load(&[(name, "7")]).unwrap().warnings, [expected], "{name}");
    }
    let others =
        ["HOSTNAME", "HOME", "PATH", "PWD", "USER", "LANG", "TERM", "SHELL", "LIAP_CONFIG", "LIAP_BIN", "EDITOR"];
    let others: Vec<(&str, &str)> =
        others.map(|name| (name, "7")).into_iter().chain([("LIAP_PORT", "tcp://10.0.0.1:80")]).collect();
    let loaded = Sources { environment: environment(&others), ..Sources::default() }.load();
    assert_eq!(loaded.unwrap().warnings, [""; 0]);
}

#[test]
fn an_unknown_flag_is_refused_with_a_suggestion() {
    let sources = Sources { flags: vec![("GAME_PASE".to_owned(), "1".to_owned())], ..Sources::default() };
    assert_eq!(mistakes(sources.load()), ["GAME_PASE (command line): is no setting; did you mean GAME_PACE?"]);
}

#[test]
fn settings_must_fit_together_and_into_this_build() {
    let wrong = |pairs: &[(&str, &str)], expected: &str| {
        let found = mistakes(load(pairs));
        assert!(found.len() == 1 && found[0].contains(expected), "{pairs:?} gives {found:?}");
    };
    wrong(&[("PEER_TIMEOUT_SECONDS", "20")], "longer than PING_INTERVAL_SECONDS");
    wrong(&[("PORT", "9090")], "METRICS_PORT = \"9090\" (default): must differ from PORT");
    wrong(&[("TLS_CERT", "/cert.pem")], "TLS_CERT = \"/cert.pem\" (environment): needs TLS_KEY as well");
    wrong(&[("STATIC_DIR", "/nowhere")], "a folder with an index.html");
    wrong(&[("ARCHIVE_BACKEND", "tape")], "must be filesystem");
    wrong(&[("ARCHIVE_BACKENDS", "s3,tape")], "must be of filesystem");
    wrong(&[("ARCHIVE_URL", "s3://games/")], "must be a folder, or ARCHIVE_BACKEND s3");
    wrong(&[("ARCHIVE_URL", "ftp://games/")], "must be a folder");
    wrong(&[("ARCHIVE_URL_S3", "s3://games/")], "has no use unless ARCHIVE_BACKENDS names s3");
    if !liap::redis::is_compiled_in() {
        wrong(&[("REDIS_URL", "redis://:hush@localhost")], "not in this build");
        assert!(!mistakes(load(&[("REDIS_URL", "redis://:hush@localhost")]))[0].contains("hush"));
    }
    wrong(&[("REDIS_URL", "http://:hush@localhost")], "must be redis://, rediss:// or redis+sentinel://");
    assert!(!mistakes(load(&[("REDIS_URL", "http://:hush@localhost")]))[0].contains("hush"));
    wrong(&[("REDIS_POOL_MIN", "11")], "must not be above REDIS_POOL_MAX");
    wrong(&[("REDIS_CA_FILE", "/nowhere")], "must be a file");
    wrong(&[("DATABASE_URL", "postgresql://mira:hush@localhost/liap")], "has no use unless ARCHIVE_BACKEND is");
    wrong(&[("DATABASE_POOL_MIN", "5")], "must not be more than DATABASE_POOL_MAX");

    let tuned = load(&[("REDIS_POOL_MAX", "50"), ("DATABASE_POOL_MAX", "100")]).unwrap().warnings;
    let absent = |part: &str| tuned.iter().any(|warning| warning.contains(part));
    assert_eq!(absent("REDIS_POOL_MAX has no effect: Redis is not in this build"), !liap::redis::is_compiled_in());
    let is_compiled_in = SinkKind::Postgresql.is_compiled_in();
    assert_eq!(absent("DATABASE_POOL_MAX has no effect: PostgreSQL is not in this build"), !is_compiled_in);
    assert!(load(&[("PORT", "0"), ("METRICS_PORT", "0")]).is_ok());
}

#[test]
fn who_signs_for_redis_must_be_of_use() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("ca.pem");
    let path = file.to_str().unwrap();
    std::fs::write(&file, certificate()).unwrap();
    assert!(load(&[("REDIS_CA_FILE", path)]).is_ok());
    if liap::redis::is_compiled_in() {
        for url in ["redis://:hush@localhost", "redis+sentinel://localhost/main"] {
            let found = mistakes(load(&[("REDIS_CA_FILE", path), ("REDIS_URL", url)]));
            assert!(found.len() == 1 && found[0].starts_with("REDIS_CA_FILE = "), "{found:?}");
            assert!(found[0].contains("needs a rediss://") && !found[0].contains("hush"), "{found:?}");
        }
        for url in ["rediss://:hush@localhost", "rediss+sentinel://localhost/main"] {
            assert!(load(&[("REDIS_CA_FILE", path), ("REDIS_URL", url)]).is_ok(), "{url}");
        }
        // Nothing is tried before it is said.
        let output = liap(&["serve"], &[("REDIS_CA_FILE", path), ("REDIS_URL", "redis://localhost")]);
        assert_eq!(output.status.code(), Some(78));
    }
    for (text, reason) in [
        ("", "there is no certificate in it"),
        ("no PEM at all", "there is no certificate in it"),
        ("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", "cannot be used: "),
    ] {
        std::fs::write(&file, text).unwrap();
        let found = mistakes(load(&[("REDIS_CA_FILE", path)]));
        assert!(found.len() == 1 && found[0].contains(reason), "{text:?} gives {found:?}");
    }
}

#[test]
fn copies_of_the_archive_go_where_they_can() {
    let wrong = |pairs: &[(&str, &str)], expected: &str| {
        let found = mistakes(load(pairs));
        assert!(found.len() == 1 && found[0].contains(expected), "{pairs:?} gives {found:?}");
        assert!(!found[0].contains("hush"), "{found:?}");
    };
    for (kind, url) in [(SinkKind::S3, "s3://games/"), (SinkKind::Postgresql, "postgresql://mira:hush@localhost/liap")]
    {
        let name = kind.name();
        let own = if kind == SinkKind::S3 { "ARCHIVE_URL_S3" } else { "ARCHIVE_URL_POSTGRESQL" };
        let one = [("ARCHIVE_BACKEND", name), ("ARCHIVE_URL", url)];
        if !kind.is_compiled_in() {
            wrong(&one, &format!("ARCHIVE_BACKEND = {name:?} (environment): sink `{name}` is not in this build"));
            continue;
        }
        let loaded = load(&one).unwrap();
        assert_eq!(loaded.config.archive.sinks(), [kind]);
        assert_eq!(loaded.config.archive.sink_url(kind).unwrap().reveal(), url);
        assert_eq!(loaded.config.archive.folder(Path::new("/data")), Path::new("/data/archive"));
        assert!(!format!("{loaded:?}").contains("hush"));

        let folder = load(&[("ARCHIVE_BACKENDS", name), (own, url), ("ARCHIVE_URL", "/srv/games")]).unwrap();
        assert_eq!(folder.config.archive.sink_url(kind).unwrap().reveal(), url);
        assert_eq!(folder.config.archive.folder(Path::new("/data")), Path::new("/srv/games"));

        wrong(&[("ARCHIVE_BACKEND", name)], "must be like");
        wrong(&[("ARCHIVE_BACKEND", name), ("ARCHIVE_URL", "/srv/games")], "must be like");
        wrong(&[("ARCHIVE_BACKENDS", name)], &format!("{own} = \"\" (default): must be like"));
        wrong(&[("ARCHIVE_BACKENDS", name), (own, "ftp://mira:hush@games/")], "must be like");
        wrong(&[("ARCHIVE_BACKENDS", name), (own, url), ("ARCHIVE_URL", url)], "must be left out, or a folder");
        wrong(&[("ARCHIVE_BACKENDS", name), ("ARCHIVE_BACKEND", name), (own, url)], "must be left out where");

        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), format!("{url}\n")).unwrap();
        let from_file =
            load(&[("ARCHIVE_BACKEND", name), ("ARCHIVE_URL_FILE", file.path().to_str().unwrap())]).unwrap();
        assert_eq!(from_file.config.archive.sink_url(kind).unwrap().reveal(), url);
        assert!(!setting("ARCHIVE_URL").value(&from_file.config).contains("hush"));
    }
}

#[test]
fn a_database_may_go_by_its_usual_name() {
    const URL: &str = "postgresql://mira:hush@localhost/liap";
    let database = [("ARCHIVE_BACKEND", "postgresql"), ("DATABASE_URL", URL)];
    if !SinkKind::Postgresql.is_compiled_in() {
        assert!(mistakes(load(&database))[0].contains("not in this build"));
        return;
    }
    let url = |pairs: &[(&str, &str)]| {
        let archive = load(pairs).unwrap().config.archive;
        archive.sink_url(SinkKind::Postgresql).unwrap().reveal().to_owned()
    };
    assert_eq!(url(&database), URL);
    assert_eq!(url(&[database[0], database[1], ("ARCHIVE_URL", "/srv/games")]), URL);
    let other = "postgresql://mira@elsewhere/liap";
    assert_eq!(url(&[database[0], database[1], ("ARCHIVE_URL", other)]), other);
    let wrong = mistakes(load(&[database[0], ("DATABASE_URL", "mysql://mira:hush@localhost/liap")]));
    assert!(wrong[0].starts_with("DATABASE_URL") && !wrong[0].contains("hush"), "{wrong:?}");
}

#[test]
fn a_secret_keeps_its_digits_and_is_never_shown() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("token");
    std::fs::write(&file, "000123456789\n").unwrap();
    let path = file.to_str().unwrap();

    let loaded = load(&[("ADMIN_TOKEN_FILE", path)]).unwrap();
    assert_eq!(loaded.config.http.admin_token.as_ref().unwrap().reveal(), "000123456789");
    assert_eq!(loaded.layer(setting("ADMIN_TOKEN")), Layer::SecretFile);
    assert!(!format!("{loaded:?}").contains("000123456789"));

    let both = mistakes(load(&[("ADMIN_TOKEN_FILE", path), ("ADMIN_TOKEN", "another-token")]));
    assert!(both[0].contains("give only one"), "{both:?}");
    std::fs::write(folder.path().join("empty"), "\n").unwrap();
    let empty = mistakes(load(&[("ADMIN_TOKEN_FILE", folder.path().join("empty").to_str().unwrap())]));
    assert!(empty[0].contains("is empty"), "{empty:?}");
    let missing = mistakes(load(&[("ADMIN_TOKEN_FILE", "/nowhere/token")]));
    assert!(missing[0].starts_with("ADMIN_TOKEN_FILE = \"/nowhere/token\" (environment): cannot be read"));
    let short = mistakes(load(&[("ADMIN_TOKEN", "hush")]));
    assert_eq!(short, ["ADMIN_TOKEN (environment): must be at least 12 printable ASCII characters, or empty"]);
}

#[test]
fn the_example_files_are_made_from_the_table() {
    let toml = std::fs::read_to_string(in_repository("config/default.toml")).unwrap();
    assert_eq!(toml, reference(Form::Toml), "run: liap config --reference toml > config/default.toml");
    let env = std::fs::read_to_string(in_repository(".env.example")).unwrap();
    assert_eq!(env, reference(Form::Env), "run: liap config --reference env > .env.example");
    let settings = std::fs::read_to_string(in_repository("docs/settings.md")).unwrap();
    assert!(settings.contains(reference(Form::Markdown).trim()), "put the table of: liap config --reference markdown");
}

#[test]
fn the_example_file_holds_the_defaults_and_production_loads() {
    let file = |path| Sources { file: Some(in_repository(path)), ..Sources::default() }.load().unwrap();
    assert_eq!(file("config/default.toml").config, Config::default());
    let production = file("config/production.toml").config;
    assert_eq!(setting("ENVIRONMENT").value(&production), "production");
}

fn liap(arguments: &[&str], variables: &[(&str, &str)]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_liap"))
        .args(arguments)
        .env_clear()
        .envs(variables.iter().copied())
        .output()
        .unwrap()
}

#[test]
fn the_program_shows_what_is_in_force() {
    let output = liap(&["config", "--port", "81", "--set", "game_pace=0.5"], &[("ADMIN_TOKEN", "open-sesame-1")]);
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success());
    let line = |name: &str| {
        let line = text.lines().find(|line| line.starts_with(&format!("{name}="))).unwrap();
        line.split_whitespace().collect::<Vec<_>>().join(" ")
    };
    assert_eq!(line("PORT"), "PORT=81 # command line");
    assert_eq!(line("GAME_PACE"), "GAME_PACE=0.5 # command line");
    assert_eq!(line("HOST"), "HOST=0.0.0.0 # default");
    assert_eq!(line("ADMIN_TOKEN"), "ADMIN_TOKEN=*** # environment");
    assert!(!text.contains("open-sesame-1"));
}

#[test]
fn wrong_settings_and_wrong_usage_have_their_exit_codes() {
    let configuration = liap(&["config"], &[("PORT", "abc"), ("LIAP_CONFIG", "/nowhere.toml")]);
    assert_eq!(configuration.status.code(), Some(78));
    let text = String::from_utf8(configuration.stderr).unwrap();
    assert!(text.starts_with("liap: 2 wrong settings\n"), "{text}");
    assert!(text.contains("/nowhere.toml"), "{text}");

    // Starting again does not help where the log cannot be written.
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("nowhere/liap.log");
    let no_log = liap(
        &["serve", "--port", "0"],
        &[("LOG_FILE", log.to_str().unwrap()), ("DATA_DIR", folder.path().to_str().unwrap()), ("METRICS_PORT", "0")],
    );
    assert_eq!(no_log.status.code(), Some(78));
    assert!(String::from_utf8_lossy(&no_log.stderr).contains("the log file"), "{no_log:?}");

    assert_eq!(liap(&["no-such-command"], &[]).status.code(), Some(64));
    assert_eq!(liap(&["config", "--set", "PORT"], &[]).status.code(), Some(64));
    assert_eq!(liap(&["--help"], &[]).status.code(), Some(0));
}

#[test]
fn a_setting_that_is_not_text_is_named_and_not_shown() {
    let broken = OsStr::from_bytes(b"\xffhush-hush-hush");
    for name in ["PORT", "DATA_DIR", "ADMIN_TOKEN", "ADMIN_TOKEN_FILE", "DATABASE_URL", "LIAP_CONFIG"] {
        for arguments in [&["config"][..], &["doctor", "--json"], &["serve"]] {
            let mut command = Command::new(env!("CARGO_BIN_EXE_liap"));
            let output = command.args(arguments).env_clear().env(name, broken).output().unwrap();
            assert!(!output.status.success(), "{name} by {arguments:?}");
            let text = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
            assert!(text.contains(name) && text.contains("must be text in UTF-8"), "{name} by {arguments:?}: {text}");
            assert!(!text.contains("hush"), "{name} by {arguments:?}: {text}");
        }
    }
    for name in ["PORTS", "PORT_FILE", "HOME"] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_liap"));
        let output = command.arg("config").env_clear().env(name, broken).output().unwrap();
        assert!(output.status.success(), "{name} is not ours");
    }
}

#[test]
fn a_health_check_without_a_server_fails() {
    let output = liap(&["healthcheck", "--address", "127.0.0.1:1"], &[]);
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8(output.stderr).unwrap().contains("no answer from http://127.0.0.1:1/health"));
}
