//! The one table of all settings. Flags, the environment, files of settings, `liap config`, the example files and the
//! table of docs/settings.md are made from it, or a test compares them with it.

use strum::{EnumIter, IntoStaticStr};

use super::field::{Field, Unit};
use super::{Config, Layer};

use Unit::{Milliseconds, Minutes, Seconds};

/// Finds the field of a setting in the options.
type FieldOf = for<'a> fn(&'a mut Config) -> Field<'a>;

/// One setting: its name, its purpose, and its field in the options.
#[derive(Debug)]
pub struct Setting {
    /// The name in the environment. In a file it is written in lower case, below its group.
    pub name: &'static str,
    /// What it belongs to.
    pub group: Group,
    /// What it does, in one line.
    pub help: &'static str,
    /// Whether its value is or holds a secret. It may also come from the file that `NAME_FILE` names.
    pub secret: bool,
    /// The value in the example file where it differs from the built-in one: the operator chooses it.
    pub example: Option<&'static str>,
    pub(super) field: FieldOf,
}

impl Setting {
    /// The setting of that name, in upper or lower case.
    pub fn find(name: &str) -> Option<&'static Self> {
        SETTINGS.iter().find(|setting| setting.name.eq_ignore_ascii_case(name))
    }

    /// The value in these options as text, with `***` for what is secret.
    pub fn value(&self, config: &Config) -> String {
        (self.field)(&mut config.clone()).text()
    }

    /// The same for a value from this layer. What comes from a secret file is secret as a whole.
    pub(super) fn shown(&self, layer: &Layer, config: &Config) -> String {
        let value = self.value(config);
        if *layer == Layer::SecretFile && !value.is_empty() { "***".to_owned() } else { value }
    }

    /// The built-in value as text.
    pub fn default(&self) -> String {
        self.value(&Config::default())
    }

    /// What the setting takes, in words.
    pub fn allowed(&self) -> String {
        (self.field)(&mut Config::default()).allowed()
    }

    /// The name inside its group in a file.
    pub fn key(&self) -> String {
        self.name.to_ascii_lowercase()
    }
}

/// What a setting belongs to: a section in a file of settings and in the documentation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, IntoStaticStr, EnumIter)]
#[strum(serialize_all = "snake_case")]
pub enum Group {
    /// The process as a whole.
    Server,
    /// Listening, trust, and what a connection may use.
    Http,
    /// Tables and live games.
    Room,
    /// Completed games.
    Archive,
    /// Rate limits.
    Limit,
    /// Redis, and what several servers share through it.
    Redis,
    /// Logs, metrics, memory and health.
    Observe,
}

impl Group {
    /// The name of its section.
    pub fn name(self) -> &'static str {
        self.into()
    }
}

const fn plain(group: Group, name: &'static str, help: &'static str, field: FieldOf) -> Setting {
    Setting { name, group, help, secret: false, example: None, field }
}

const fn secret(group: Group, name: &'static str, help: &'static str, field: FieldOf) -> Setting {
    Setting { name, group, help, secret: true, example: None, field }
}

const DAY: u64 = 24 * 60 * 60;

/// All settings, in the order of the documentation.
#[rustfmt::skip]
pub static SETTINGS: &[Setting] = &[
    plain(Group::Server, "ENVIRONMENT", "What the installation is for; shown in metrics and logs.",
        |c| Field::Word(&mut c.environment, "development, staging or production")),
    plain(Group::Server, "DATA_DIR", "Folder for everything that must survive a restart.",
        |c| Field::Path(&mut c.data_dir)),
    plain(Group::Server, "SHUTDOWN_TIMEOUT_SECONDS", "Longest time stopping may take; then the process leaves anyway.",
        |c| Field::Time(&mut c.shutdown_timeout, Seconds, 1, 600)),

    plain(Group::Http, "HOST", "Address to listen on.",
        |c| Field::Word(&mut c.http.host, "an IP address, such as 0.0.0.0, 127.0.0.1 or ::")),
    plain(Group::Http, "PORT", "Port to listen on; 0 lets the system choose.",
        |c| Field::Whole(&mut c.http.port, 0, 65_535)),
    plain(Group::Http, "BASE_PATH", "Path under which a reverse proxy shows the server.",
        |c| Field::Word(&mut c.http.base_path, "a path like /liap, or empty")),
    plain(Group::Http, "STATIC_DIR", "Folder of another web client, served instead of the built-in page.",
        |c| Field::PathOrNone(&mut c.http.static_dir, "a folder with an index.html, or empty")),
    plain(Group::Http, "ALLOWED_ORIGINS", "Origins, besides the page's own, whose pages may open sockets here.",
        |c| Field::List(&mut c.http.allowed_origins, "origins like https://play.example.org, separated by commas")),
    plain(Group::Http, "TRUSTED_PROXIES", "Reverse proxies whose forwarded headers are believed.",
        |c| Field::List(&mut c.http.trusted_proxies, "addresses or ranges like 10.0.0.0/8, separated by commas")),
    plain(Group::Http, "TLS_CERT", "Certificate for https on PORT, with its chain, in PEM; read anew on SIGHUP. Empty: plain http.",
        |c| Field::PathOrNone(&mut c.http.tls_cert, "a file in PEM form, or empty")),
    plain(Group::Http, "TLS_KEY", "Private key of TLS_CERT, in PEM, not encrypted.",
        |c| Field::PathOrNone(&mut c.http.tls_key, "a file in PEM form, or empty")),
    plain(Group::Http, "HEADER_TIMEOUT_SECONDS", "How long a client may take to send the headers of a request, and as long for the handshake of TLS.",
        |c| Field::Time(&mut c.http.header_timeout, Seconds, 1, 600)),
    plain(Group::Http, "MAX_SOCKETS", "WebSockets that may be open at once.",
        |c| Field::Whole(&mut c.http.max_sockets, 1, 1_000_000)),
    plain(Group::Http, "MAX_SOCKETS_PER_ADDRESS", "WebSockets one address (IPv6: one /64) may hold.",
        |c| Field::Whole(&mut c.http.max_sockets_per_address, 1, 1_000_000)),
    plain(Group::Http, "MAX_FRAME_BYTES", "Longest frame a client may send; a longer one closes its socket.",
        |c| Field::Whole(&mut c.http.max_frame_bytes, 1_024, 1_048_576)),
    plain(Group::Http, "SEND_QUEUE_FRAMES", "Frames that may wait for a slow reader; beyond that its socket is closed.",
        |c| Field::Whole(&mut c.http.send_queue_frames, 8, 65_536)),
    plain(Group::Http, "PING_INTERVAL_SECONDS", "How often the server pings every socket.",
        |c| Field::Time(&mut c.http.ping_interval, Seconds, 1, 3_600)),
    plain(Group::Http, "PEER_TIMEOUT_SECONDS", "How long a socket may be silent before it counts as gone.",
        |c| Field::Time(&mut c.http.peer_timeout, Seconds, 2, 7_200)),
    secret(Group::Http, "ADMIN_TOKEN", "What an administrator must show. Empty: a random one, printed once at start.",
        |c| Field::Secret(&mut c.http.admin_token)),

    plain(Group::Room, "GAME_PACE", "Multiplies every pause of the server, bots' thinking included; 0 is no pause at all.",
        |c| Field::Number(&mut c.room.game_pace, 0.0, 1_000.0)),
    plain(Group::Room, "TURN_TIMEOUT_SECONDS", "How long a connected player may do nothing before he is played for once.",
        |c| Field::TimeOrNone(&mut c.room.turn_timeout, Seconds, DAY)),
    plain(Group::Room, "ABANDONED_AFTER_MINUTES", "How long a game stands still for players who lost their connection, when nobody else is there; 0 lets bots play on.",
        |c| Field::Time(&mut c.room.abandoned_after, Minutes, 0, 1_440)),
    plain(Group::Room, "MAX_ACTIVE_GAMES", "Rooms that may exist at once; more are refused.",
        |c| Field::Whole(&mut c.room.max_active_games, 1, 10_000_000)),
    plain(Group::Room, "ROOM_INBOX_CAPACITY", "Inputs that may wait at one room; beyond that senders are told it is busy.",
        |c| Field::Whole(&mut c.room.inbox_capacity, 16, 65_536)),
    plain(Group::Room, "MAX_WATCHERS_PER_ROOM", "Connections that may watch one room without a seat.",
        |c| Field::Whole(&mut c.room.max_watchers_per_room, 0, 100_000)),
    plain(Group::Room, "GC_COMPLETED_GAMES_AFTER", "How long a finished game stays in memory, in seconds.",
        |c| Field::Time(&mut c.room.gc_completed_games_after, Seconds, 0, 7 * DAY)),
    plain(Group::Room, "EVENT_BUFFER_SIZE", "Recent events of the server that are kept for operators.",
        |c| Field::Whole(&mut c.room.event_buffer_size, 0, 10_000_000)),
    plain(Group::Room, "MAX_EVENTS_PER_GAME", "Events of one game kept in memory for catching up; the record is never cut.",
        |c| Field::Whole(&mut c.room.max_events_per_game, 0, 1_000_000)),
    plain(Group::Room, "USE_EVENT_SOURCING", "Keep a journal of live games, so that they survive a restart.",
        |c| Field::Flag(&mut c.journal.enabled)),
    plain(Group::Room, "LIVE_JOURNAL_INTERVAL_MS", "Longest time between a move and its safe arrival in the journal.",
        |c| Field::Time(&mut c.journal.interval, Milliseconds, 1, 60_000)),

    plain(Group::Archive, "USE_GAME_ARCHIVAL", "Keep completed games.",
        |c| Field::Flag(&mut c.archive.enabled)),
    plain(Group::Archive, "ARCHIVE_BACKEND", "Where completed games are kept; s3 and postgresql get copies of what is in DATA_DIR.",
        |c| Field::Word(&mut c.archive.backend, "filesystem, s3 or postgresql; the last two only in builds that have them")),
    secret(Group::Archive, "ARCHIVE_URL", "The place itself. Empty: archive in DATA_DIR.",
        |c| Field::Word(&mut c.archive.url, "a folder, s3://bucket/prefix/ or postgresql://user:password@host/database, or empty")),
    plain(Group::Archive, "ARCHIVE_BACKENDS", "Several at once, instead of ARCHIVE_BACKEND; each with its own URL.",
        |c| Field::List(&mut c.archive.backends, "of filesystem, s3 and postgresql, separated by commas")),
    secret(Group::Archive, "ARCHIVE_URL_S3", "The bucket, where ARCHIVE_BACKENDS names s3.",
        |c| Field::Url(&mut c.archive.url_s3, "s3://bucket/prefix/, or empty")),
    secret(Group::Archive, "ARCHIVE_URL_POSTGRESQL", "The database, where ARCHIVE_BACKENDS names postgresql.",
        |c| Field::Url(&mut c.archive.url_postgresql, "postgresql://user:password@host/database, or empty")),
    secret(Group::Archive, "DATABASE_URL", "Another name for the URL of the database; what is in ARCHIVE_URL counts first.",
        |c| Field::Url(&mut c.archive.database_url, "postgresql://user:password@host/database, or empty")),
    plain(Group::Archive, "DATABASE_POOL_MIN", "Connections to the database that are kept open, used or not.",
        |c| Field::Whole(&mut c.archive.database_pool_min, 0, 1_000)),
    plain(Group::Archive, "DATABASE_POOL_MAX", "Connections to the database at most; each copies a share of the games.",
        |c| Field::Whole(&mut c.archive.database_pool_max, 1, 1_000)),
    plain(Group::Archive, "ARCHIVE_BATCH_SIZE", "Completed games written, or copied, in one group at most.",
        |c| Field::Whole(&mut c.archive.batch_size, 1, 100_000)),
    plain(Group::Archive, "ARCHIVE_FLUSH_INTERVAL", "Longest time a completed game waits for its group to fill, in seconds.",
        |c| Field::Time(&mut c.archive.flush_interval, Seconds, 1, DAY)),
    Setting { example: Some("90"), ..plain(Group::Archive, "ARCHIVE_RETENTION_DAYS",
        "Games older than this are removed, and the copies that this server has made of them; 0 keeps them for ever.",
        |c| Field::Whole(&mut c.archive.retention_days, 0, 36_500)) },
    plain(Group::Archive, "GAME_SUMMARY_CACHE_SIZE", "Summaries of games kept ready in memory.",
        |c| Field::Whole(&mut c.archive.summary_cache_size, 0, 10_000_000)),

    plain(Group::Limit, "USE_RATE_LIMITING", "Refuse what is over the limits. Off only for load tests; also off at GAME_PACE 0 unless set.",
        |c| Field::Flag(&mut c.limit.enabled)),
    plain(Group::Limit, "RATE_LIMIT_PER_PLAYER_PER_MINUTE", "Messages a minute of one player, with a burst of as many. Below GAME_PACE 1 this and the next three grow with the pace unless set.",
        |c| Field::Whole(&mut c.limit.player_per_minute, 1, 1_000_000)),
    plain(Group::Limit, "RATE_LIMIT_PER_ROOM_PER_SECOND", "Messages a second to one room, all its players together, with a burst of twenty seconds' worth; as many again of all who watch.",
        |c| Field::Whole(&mut c.limit.room_per_second, 1, 1_000_000)),
    plain(Group::Limit, "RATE_LIMIT_WEBSOCKET_PER_SECOND", "Frames a second on one WebSocket, with a burst of six seconds' worth.",
        |c| Field::Whole(&mut c.limit.websocket_per_second, 1, 1_000_000)),
    plain(Group::Limit, "RATE_LIMIT_NEW_SOCKETS_PER_MINUTE", "New WebSockets a minute from one address (IPv6: one /64), with a burst of as many.",
        |c| Field::Whole(&mut c.limit.new_sockets_per_minute, 1, 1_000_000)),
    plain(Group::Limit, "RATE_LIMIT_HTTP_PER_MINUTE", "HTTP requests a minute from one address (IPv6: one /64), with a burst of as many.",
        |c| Field::Whole(&mut c.limit.http_per_minute, 1, 1_000_000)),
    plain(Group::Limit, "RATE_LIMIT_MAX_KEYS", "Players, rooms and addresses remembered at once, each kind for itself.",
        |c| Field::Whole(&mut c.limit.max_keys, 1_000, 10_000_000)),

    secret(Group::Redis, "REDIS_URL", "Redis through which several servers share limits and the list of rooms.",
        |c| Field::SecretWord(&mut c.redis.url, "redis://, rediss:// or redis+sentinel://, or empty; only in builds that have Redis")),
    plain(Group::Redis, "INSTANCE_ID", "First digit of the ids of this server's rooms, where several servers stand behind one proxy.",
        |c| Field::Word(&mut c.room.ids, "one of 0 to 9 and A to F, or empty")),
    plain(Group::Redis, "INSTANCE_URL", "Public address of this server alone. Empty where all have one name.",
        |c| Field::Word(&mut c.directory.url, "an address like https://one.example.org, or empty")),
    plain(Group::Redis, "REDIS_POOL_MIN", "Connections to Redis that are kept open.",
        |c| Field::Whole(&mut c.redis.pool_min, 1, 1_000)),
    plain(Group::Redis, "REDIS_POOL_MAX", "Connections to Redis that are opened at most.",
        |c| Field::Whole(&mut c.redis.pool_max, 1, 1_000)),
    plain(Group::Redis, "REDIS_TIMEOUT_MS", "Longest wait for a decision of Redis; then this server decides by itself.",
        |c| Field::Time(&mut c.redis.timeout, Milliseconds, 1, 1_000)),
    plain(Group::Redis, "REDIS_CA_FILE", "Who signs the certificate of Redis, in PEM. Empty: whom browsers trust.",
        |c| Field::PathOrNone(&mut c.redis.ca_file, "a path, or empty")),

    plain(Group::Observe, "LOG_LEVEL", "Least important level that is still logged.",
        |c| Field::Word(&mut c.log.level, "off, error, warning, info, debug or trace")),
    plain(Group::Observe, "LOG_FORMAT", "Form of a line; auto is text on a terminal and json anywhere else.",
        |c| Field::Word(&mut c.log.format, "auto, json or text")),
    plain(Group::Observe, "LOG_FILE", "File to append the log to, reopened on SIGHUP. Empty: standard error.",
        |c| Field::PathOrNone(&mut c.log.file, "a path, or empty")),
    plain(Group::Observe, "LOG_CORRELATION_ID", "Put the id of a request or socket on every line that belongs to it.",
        |c| Field::Flag(&mut c.log.correlation_id)),
    plain(Group::Observe, "LOG_QUEUE_LINES", "Lines that may wait to be written; more are dropped and counted.",
        |c| Field::Whole(&mut c.log.queue_lines, 16, 1_000_000)),
    plain(Group::Observe, "METRICS_ENABLED", "Serve metrics for Prometheus on a listener of their own.",
        |c| Field::Flag(&mut c.metrics.enabled)),
    plain(Group::Observe, "METRICS_HOST", "Address the metrics listen on.",
        |c| Field::Word(&mut c.metrics.host, "an IP address, such as 127.0.0.1 or 0.0.0.0")),
    plain(Group::Observe, "METRICS_PORT", "Port the metrics listen on; 0 lets the system choose.",
        |c| Field::Whole(&mut c.metrics.port, 0, 65_535)),
    plain(Group::Observe, "ENABLE_PROFILING", "Also measure the single steps of a move.",
        |c| Field::Flag(&mut c.metrics.profiling)),
    plain(Group::Observe, "HEALTH_CHECK_TIMEOUT", "Longest time all health checks together may take, in seconds.",
        |c| Field::Time(&mut c.health.timeout, Seconds, 1, 300)),
    plain(Group::Observe, "USE_MEMORY_MONITORING", "Watch the memory of the process and give way when it gets tight.",
        |c| Field::Flag(&mut c.memory.enabled)),
    plain(Group::Observe, "MAX_MEMORY_MB", "Memory the process may use, in MiB; a lower limit of its cgroup counts too.",
        |c| Field::Whole(&mut c.memory.max_mb, 16, 16_777_216)),
    plain(Group::Observe, "MEMORY_CHECK_INTERVAL", "Time between two looks at the memory, in seconds.",
        |c| Field::Time(&mut c.memory.check_interval, Seconds, 1, 3_600)),
    plain(Group::Observe, "MEMORY_ALERT_THRESHOLD", "Share of the memory limit, in percent, from which on memory is tight.",
        |c| Field::Whole(&mut c.memory.alert_percent, 10, 95)),
];
