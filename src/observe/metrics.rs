//! Every metric: its name, what it says, and where the code reaches it.
//!
//! Names follow the book of Prometheus: base units (`_seconds`, `_bytes`), `_total` on what only grows. Labels
//! come from closed lists written here, so no load, no name and no id can ever make a new series.

use std::sync::Arc;
use std::time::Instant;

use prometheus::{
    Counter, Gauge, Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts,
    Registry, TextEncoder,
};

use super::LogCounters;

/// Metrics that differ in one label, with one child for each value of a closed list.
#[derive(Debug, Clone)]
pub struct Labelled<T> {
    values: &'static [&'static str],
    children: Arc<[T]>,
}

impl<T> Labelled<T> {
    fn new(values: &'static [&'static str], child: impl Fn(&'static str) -> T) -> Self {
        Self { values, children: values.iter().map(|value| child(value)).collect() }
    }

    /// The child of a label value. A value that is not in the list counts as its last one, which lists with an
    /// open end call `other`.
    #[expect(clippy::expect_used, reason = "no list of label values is empty; a test reads them all")]
    pub fn with(&self, value: &str) -> &T {
        let found = self.values.iter().position(|known| *known == value);
        found
            .and_then(|index| self.children.get(index))
            .or_else(|| self.children.last())
            .expect("a list of label values")
    }

    /// All label values with their children.
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, &T)> {
        self.values.iter().copied().zip(self.children.iter())
    }
}

/// One line of the documentation of all metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Description {
    /// The name, with its unit.
    pub name: &'static str,
    /// What it says.
    pub help: &'static str,
    /// `counter`, `gauge` or `histogram`.
    pub kind: &'static str,
    /// Its labels, in order.
    pub labels: &'static [&'static str],
}

/// The closed lists of label values.
pub mod labels {
    /// What a client may ask for, by the name on the wire.
    pub const ACTION: &[&str] = &[
        "client_ready",
        "ping",
        "get_rooms",
        "create_room",
        "join_room",
        "get_room_state",
        "add_bot",
        "remove_player",
        "leave_room",
        "start_game",
        "answer_redeal",
        "declare",
        "play",
        "other",
    ];
    /// What became of it.
    pub const OUTCOME: &[&str] = &["accepted", "refused"];
    /// What a room is doing.
    pub const ROOM_PHASE: &[&str] = &["waiting", "playing", "over"];
    /// Why a room is no more.
    pub const ROOM_CLOSED: &[&str] = &["abandoned", "finished", "administrator", "shutdown", "other"];
    /// Why a room was not created.
    pub const ROOM_REFUSED: &[&str] = &["full", "memory", "stopping", "other"];
    /// How a game ended.
    pub const GAME_END: &[&str] = &["finished", "abandoned"];
    /// Why a socket ended.
    pub const SOCKET_CLOSED: &[&str] =
        &["client", "lost", "silent", "slow", "abuse", "too_large", "not_text", "replaced", "stopping", "other"];
    /// Why a socket, or the connection before it, was not opened.
    pub const SOCKET_REFUSED: &[&str] =
        &["origin", "full", "address_full", "limited", "elsewhere", "stopping", "malformed", "other"];
    /// What became of a new connection, where there is TLS.
    pub const HANDSHAKE: &[&str] = &["accepted", "plain", "late", "failed"];
    /// What a limit counts together.
    pub const LIMIT: &[&str] = &["player", "room", "socket", "new_socket", "http"];
    /// Parts of the HTTP door.
    pub const ROUTE: &[&str] = &["page", "api", "socket", "health", "admin", "other"];
    /// Classes of HTTP status.
    pub const STATUS: &[&str] = &["1xx", "2xx", "3xx", "429", "4xx", "5xx"];
    /// Levels of the log.
    pub const LOG_LEVEL: &[&str] = &["error", "warning", "info", "debug", "trace"];
    /// Before and after compression.
    pub const FORM: &[&str] = &["plain", "stored"];
    /// Places that get copies of completed games.
    pub const SINK: &[&str] = &["s3", "postgresql"];
    /// Whether a live game came back after a restart.
    pub const RESTORED: &[&str] = &["restored", "set_aside"];
    /// Steps of a move, measured when profiling.
    pub const STEP: &[&str] = &["limit", "decode", "queue", "handle", "send"];
    /// What health is asked about.
    pub const CHECK: &[&str] =
        &["archive", "s3", "postgresql", "journal", "memory", "limits", "rooms", "redis", "instances"];
    /// Whether Redis decided about a limit, or why this process did.
    pub const DECIDED: &[&str] = &["shared", "away", "slow", "failed"];
}

const MOVE_SECONDS: &[f64] =
    &[10e-6, 25e-6, 50e-6, 100e-6, 250e-6, 500e-6, 1e-3, 2.5e-3, 5e-3, 10e-3, 25e-3, 100e-3, 1.0];
const STEP_SECONDS: &[f64] = &[5e-6, 50e-6, 500e-6, 10e-3];
const THINKING_SECONDS: &[f64] = &[100e-6, 1e-3, 10e-3, 50e-3];
const DISK_SECONDS: &[f64] = &[250e-6, 1e-3, 5e-3, 25e-3, 100e-3, 500e-3, 5.0];
const SINK_SECONDS: &[f64] = &[10e-3, 100e-3, 1.0, 10.0];
const REQUEST_SECONDS: &[f64] = &[100e-6, 500e-6, 2.5e-3, 10e-3, 100e-3, 1.0];
const REDIS_SECONDS: &[f64] = &[200e-6, 1e-3, 5e-3, 25e-3];
const GAME_SECONDS: &[f64] = &[600.0, 1_200.0, 2_400.0, 7_200.0];

/// Makes the struct, its registration and its documentation from one list.
macro_rules! metrics {
    ($($field:ident: $type:ident $(($($argument:expr),+))? = $name:literal, $help:literal;)*) => {
        /// All metrics of the process.
        #[derive(Debug)]
        pub struct Metrics {
            registry: Registry,
            /// Steps of a move; there only when profiling.
            pub step_seconds: Option<Labelled<Histogram>>,
            $(#[doc = $help] pub $field: make::$type,)*
        }

        impl Metrics {
            /// All metrics at nothing, in a registry of their own.
            pub fn new(version: &str, environment: &str, profiling: bool) -> Self {
                let registry = Registry::new();
                let info = Opts::new(INFO.name, INFO.help)
                    .const_label("version", version)
                    .const_label("environment", environment);
                make::register(&registry, IntGauge::with_opts(info)).set(1);
                Self {
                    step_seconds: profiling.then(|| {
                        make::labelled_histogram(&registry, STEP.name, STEP.help, ("step", labels::STEP), STEP_SECONDS)
                    }),
                    $($field: make!(registry, $type, $name, $help $(, $($argument),+)?),)*
                    registry,
                }
            }

            /// Every metric there is, in the order of the documentation.
            pub fn descriptions() -> Vec<Description> {
                vec![
                    INFO,
                    $(describe!($type, $name, $help $(, $($argument),+)?),)*
                    STEP,
                ]
            }
        }
    };
}

const INFO: Description = Description {
    name: "liap_info",
    help: "Always 1; what runs here is in the labels.",
    kind: "gauge",
    labels: &["version", "environment"],
};

const STEP: Description = Description {
    name: "liap_step_seconds",
    help: "Time of a single step of a move. Only with ENABLE_PROFILING.",
    kind: "histogram",
    labels: &["step"],
};

macro_rules! make {
    ($registry:ident, Count, $name:literal, $help:literal) => {
        make::register(&$registry, IntCounter::new($name, $help))
    };
    ($registry:ident, Seconds, $name:literal, $help:literal) => {
        make::register(&$registry, Counter::new($name, $help))
    };
    ($registry:ident, Level, $name:literal, $help:literal) => {
        make::register(&$registry, IntGauge::new($name, $help))
    };
    ($registry:ident, Measure, $name:literal, $help:literal) => {
        make::register(&$registry, Gauge::new($name, $help))
    };
    ($registry:ident, Times, $name:literal, $help:literal, $buckets:expr) => {
        make::register(&$registry, Histogram::with_opts(HistogramOpts::new($name, $help).buckets($buckets.to_vec())))
    };
    ($registry:ident, CountBy, $name:literal, $help:literal, $label:expr, $values:expr) => {
        make::labelled_counter(&$registry, $name, $help, ($label, $values))
    };
    ($registry:ident, CountByTwo, $name:literal, $help:literal, $a:expr, $a_values:expr, $b:expr, $b_values:expr) => {
        make::twice_labelled_counter(&$registry, $name, $help, ($a, $a_values), ($b, $b_values))
    };
    ($registry:ident, LevelBy, $name:literal, $help:literal, $label:expr, $values:expr) => {
        make::labelled_gauge(&$registry, $name, $help, ($label, $values))
    };
    ($registry:ident, TimesBy, $name:literal, $help:literal, $label:expr, $values:expr, $buckets:expr) => {
        make::labelled_histogram(&$registry, $name, $help, ($label, $values), $buckets)
    };
}

macro_rules! describe {
    ($type:ident, $name:literal, $help:literal) => {
        Description { name: $name, help: $help, kind: kind!($type), labels: &[] }
    };
    ($type:ident, $name:literal, $help:literal, $buckets:expr) => {
        Description { name: $name, help: $help, kind: kind!($type), labels: &[] }
    };
    ($type:ident, $name:literal, $help:literal, $label:expr, $values:expr) => {
        Description { name: $name, help: $help, kind: kind!($type), labels: &[$label] }
    };
    ($type:ident, $name:literal, $help:literal, $label:expr, $values:expr, $buckets:expr) => {
        Description { name: $name, help: $help, kind: kind!($type), labels: &[$label] }
    };
    ($type:ident, $name:literal, $help:literal, $a:expr, $a_values:expr, $b:expr, $b_values:expr) => {
        Description { name: $name, help: $help, kind: kind!($type), labels: &[$a, $b] }
    };
}

macro_rules! kind {
    (Count) => {
        "counter"
    };
    (Seconds) => {
        "counter"
    };
    (CountBy) => {
        "counter"
    };
    (CountByTwo) => {
        "counter"
    };
    (Level) => {
        "gauge"
    };
    (Measure) => {
        "gauge"
    };
    (LevelBy) => {
        "gauge"
    };
    (Times) => {
        "histogram"
    };
    (TimesBy) => {
        "histogram"
    };
}

/// The types of the list, and how one of each is made.
mod make {
    use super::{
        Counter, Gauge, Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec,
        Labelled, Opts, Registry,
    };

    pub(super) type Count = IntCounter;
    pub(super) type Seconds = Counter;
    pub(super) type Level = IntGauge;
    pub(super) type Measure = Gauge;
    pub(super) type Times = Histogram;
    pub(super) type CountBy = Labelled<IntCounter>;
    pub(super) type CountByTwo = Labelled<Labelled<IntCounter>>;
    pub(super) type LevelBy = Labelled<IntGauge>;
    pub(super) type TimesBy = Labelled<Histogram>;

    type Label = (&'static str, &'static [&'static str]);

    #[expect(clippy::expect_used, reason = "names are constants, each used once; a test makes every one of them")]
    pub(super) fn register<T>(registry: &Registry, made: prometheus::Result<T>) -> T
    where
        T: prometheus::core::Collector + Clone + 'static,
    {
        let metric = made.expect("a sound name");
        registry.register(Box::new(metric.clone())).expect("a name used once");
        metric
    }

    pub(super) fn labelled_counter(
        registry: &Registry,
        name: &str,
        help: &str,
        (label, values): Label,
    ) -> Labelled<IntCounter> {
        let family = register(registry, IntCounterVec::new(Opts::new(name, help), &[label]));
        Labelled::new(values, |value| family.with_label_values(&[value]))
    }

    pub(super) fn twice_labelled_counter(
        registry: &Registry,
        name: &str,
        help: &str,
        (a, a_values): Label,
        (b, b_values): Label,
    ) -> Labelled<Labelled<IntCounter>> {
        let family = register(registry, IntCounterVec::new(Opts::new(name, help), &[a, b]));
        Labelled::new(a_values, |a| Labelled::new(b_values, |b| family.with_label_values(&[a, b])))
    }

    pub(super) fn labelled_gauge(
        registry: &Registry,
        name: &str,
        help: &str,
        (label, values): Label,
    ) -> Labelled<IntGauge> {
        let family = register(registry, IntGaugeVec::new(Opts::new(name, help), &[label]));
        Labelled::new(values, |value| family.with_label_values(&[value]))
    }

    pub(super) fn labelled_histogram(
        registry: &Registry,
        name: &str,
        help: &str,
        (label, values): Label,
        buckets: &[f64],
    ) -> Labelled<Histogram> {
        let options = HistogramOpts::new(name, help).buckets(buckets.to_vec());
        let family = register(registry, HistogramVec::new(options, &[label]));
        Labelled::new(values, |value| family.with_label_values(&[value]))
    }
}

metrics! {
    process_start_time_seconds: Measure = "process_start_time_seconds", "Start of the process, in seconds since 1970. Its changes are restarts.";
    process_resident_memory_bytes: Level = "process_resident_memory_bytes", "Memory of the process that is in RAM.";
    process_cpu_seconds_total: Seconds = "process_cpu_seconds_total", "Processor time the process has used.";
    process_open_fds: Level = "process_open_fds", "Files and sockets the process holds open.";
    process_max_fds: Level = "process_max_fds", "Files and sockets the process may hold open.";
    tasks: Level = "liap_tasks", "Tasks that have not ended: of rooms, sockets, requests and the server itself.";

    memory_limit_bytes: Level = "liap_memory_limit_bytes", "Memory the process may use: the setting or its cgroup's limit, whichever is lower.";
    memory_level: Level = "liap_memory_level", "How tight memory is: 0 normal, 1 tight, 2 critical.";
    memory_reliefs: Count = "liap_memory_reliefs_total", "Times that memory was given back, because it was tight or an administrator asked.";

    ready: Level = "liap_ready", "1 while the server takes newcomers, 0 while it starts or stops.";
    health: LevelBy("check", labels::CHECK) = "liap_health", "Result of the last health check: 0 healthy, 1 degraded, 2 unhealthy.";

    rooms: LevelBy("phase", labels::ROOM_PHASE) = "liap_rooms", "Rooms there are now.";
    rooms_created: Count = "liap_rooms_created_total", "Rooms created.";
    rooms_closed: CountBy("reason", labels::ROOM_CLOSED) = "liap_rooms_closed_total", "Rooms closed.";
    rooms_refused: CountBy("reason", labels::ROOM_REFUSED) = "liap_rooms_refused_total", "Rooms that were wanted and not created.";
    rooms_busy: Count = "liap_rooms_busy_total", "Inputs a room could not take because its inbox was full.";
    rooms_restored: CountBy("outcome", labels::RESTORED) = "liap_rooms_restored_total", "Live rooms found in the journal at start.";

    games_started: Count = "liap_games_started_total", "Games started.";
    games_ended: CountBy("outcome", labels::GAME_END) = "liap_games_ended_total", "Games ended.";
    game_seconds: Times(GAME_SECONDS) = "liap_game_seconds", "Length of finished games.";
    take_overs: Count = "liap_take_overs_total", "Seats a bot took over because their player was gone.";
    turn_timeouts: Count = "liap_turn_timeouts_total", "Moves made for a player who did nothing.";

    actions: CountByTwo("action", labels::ACTION, "outcome", labels::OUTCOME) = "liap_actions_total", "Messages of clients that were understood.";
    malformed: Count = "liap_malformed_total", "Messages of clients that were not understood.";
    action_seconds: Times(MOVE_SECONDS) = "liap_action_seconds", "Time from a frame that arrived to its effect on its way to every member.";
    bot_seconds: Times(THINKING_SECONDS) = "liap_bot_seconds", "Time a hard bot thinks; the others take microseconds.";

    sockets: Level = "liap_sockets", "WebSockets open now.";
    sockets_opened: Count = "liap_sockets_opened_total", "WebSockets opened.";
    sockets_closed: CountBy("reason", labels::SOCKET_CLOSED) = "liap_sockets_closed_total", "WebSockets closed.";
    sockets_refused: CountBy("reason", labels::SOCKET_REFUSED) = "liap_sockets_refused_total", "WebSockets that were wanted and not opened, and connections closed at once because all places were taken.";
    frames_received: Count = "liap_frames_received_total", "Frames from clients.";
    frames_sent: Count = "liap_frames_sent_total", "Frames to clients.";
    received_bytes: Count = "liap_received_bytes_total", "Bytes in frames from clients.";
    sent_bytes: Count = "liap_sent_bytes_total", "Bytes in frames to clients.";

    http_requests: CountByTwo("route", labels::ROUTE, "status", labels::STATUS) = "liap_http_requests_total", "HTTP requests answered.";
    http_seconds: Times(REQUEST_SECONDS) = "liap_http_seconds", "Time from an HTTP request to its answer.";

    tls_handshakes: CountBy("outcome", labels::HANDSHAKE) = "liap_tls_handshakes_total", "New connections, where there is TLS.";
    tls_certificate_ends: Level = "liap_tls_certificate_ends_timestamp_seconds", "End of the certificate in use, in seconds since 1970; 0 without TLS.";

    limited: CountBy("limit", labels::LIMIT) = "liap_limited_total", "Messages and requests that met a rate limit.";
    limit_keys: LevelBy("limit", labels::LIMIT) = "liap_limit_keys", "Players, rooms, sockets and addresses a rate limit remembers.";

    archive_games: Level = "liap_archive_games", "Games in the archive.";
    archive_disk_bytes: Level = "liap_archive_disk_bytes", "Disk space of the archive.";
    archive_pending: Level = "liap_archive_pending", "Completed games that are not yet safe on disk.";
    archive_stored: Count = "liap_archive_stored_total", "Games stored.";
    archive_batches: Count = "liap_archive_batches_total", "Groups of games stored.";
    archive_bytes: CountBy("form", labels::FORM) = "liap_archive_bytes_total", "Bytes of stored games, plain and as stored.";
    archive_commit_seconds: Times(DISK_SECONDS) = "liap_archive_commit_seconds", "Time until a group of games was safe on disk.";
    archive_failures: Count = "liap_archive_failures_total", "Attempts to store that failed and will be repeated.";
    archive_removed: Count = "liap_archive_removed_total", "Games removed because of their age.";
    archive_damaged: Level = "liap_archive_damaged", "Stored games that could not be read, and stores set aside.";

    sink_pending: LevelBy("sink", labels::SINK) = "liap_sink_pending", "Games of the archive that a sink has not got yet.";
    sink_lag_seconds: LevelBy("sink", labels::SINK) = "liap_sink_lag_seconds", "How long the oldest of them has waited, at least.";
    sink_delivered: CountBy("sink", labels::SINK) = "liap_sink_delivered_total", "Games a sink has got.";
    sink_failures: CountBy("sink", labels::SINK) = "liap_sink_failures_total", "Attempts to reach a sink that failed and will be repeated.";
    sink_set_aside: LevelBy("sink", labels::SINK) = "liap_sink_set_aside", "Games a sink has refused for good.";
    sink_batch_seconds: TimesBy("sink", labels::SINK, SINK_SECONDS) = "liap_sink_batch_seconds", "Time until a sink had a group of games.";

    journal_pending: Level = "liap_journal_pending", "Entries of live games that are not yet safe on disk.";
    journal_lag_seconds: Measure = "liap_journal_lag_seconds", "Age of the oldest of them.";
    journal_bytes: Level = "liap_journal_bytes", "Disk space of the journal of live games.";
    journal_written: Count = "liap_journal_written_total", "Entries written.";
    journal_commit_seconds: Times(DISK_SECONDS) = "liap_journal_commit_seconds", "Time until a group of entries was safe on disk.";
    journal_failures: Count = "liap_journal_failures_total", "Attempts to write that failed and will be repeated.";

    redis_up: Level = "liap_redis_up", "1 while Redis answers; 0 while it does not, or there is none.";
    redis_connections: Level = "liap_redis_connections", "Connections to Redis.";
    redis_decisions: CountBy("outcome", labels::DECIDED) = "liap_redis_decisions_total", "Decisions about limits: shared by Redis, or made here and why.";
    redis_seconds: Times(REDIS_SECONDS) = "liap_redis_seconds", "Time Redis was waited for, for one decision.";
    instances: Level = "liap_instances", "Servers that share Redis and are alive, this one included.";
    rooms_elsewhere: Level = "liap_rooms_elsewhere", "Rooms of other servers that are shown in the lobby.";

    log_lines: CountBy("level", labels::LOG_LEVEL) = "liap_log_lines_total", "Lines of the log.";
    log_dropped: Count = "liap_log_dropped_total", "Lines of the log that were lost because writing them was too slow or failed.";
    panics: Count = "liap_panics_total", "Panics, each the end of one request, socket, room or thread. The log says where.";
}

impl Metrics {
    /// What the log counts about itself.
    pub fn log_counters(&self) -> LogCounters {
        LogCounters { lines: self.log_lines.clone(), dropped: self.log_dropped.clone(), panics: self.panics.clone() }
    }

    /// Does a step of a move, and measures it when profiling.
    pub fn step<T>(&self, name: &str, work: impl FnOnce() -> T) -> T {
        let Some(steps) = &self.step_seconds else { return work() };
        let begun = Instant::now();
        let done = work();
        steps.with(name).observe(begun.elapsed().as_secs_f64());
        done
    }

    /// All metrics in the text form of Prometheus.
    pub fn render(&self) -> String {
        let mut text = String::with_capacity(32 * 1024);
        // Fails only on a family without metrics, and ours all have some.
        drop(TextEncoder::new().encode_utf8(&self.registry.gather(), &mut text));
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    fn series(text: &str) -> usize {
        text.lines().filter(|line| !line.starts_with('#')).count()
    }

    #[test]
    fn names_follow_the_book() {
        for Description { name, help, kind, labels } in Metrics::descriptions() {
            assert!(name.starts_with("liap_") || name.starts_with("process_"), "{name}");
            assert_eq!(name.ends_with("_total"), kind == "counter", "{name} is a {kind}");
            assert!(help.ends_with('.'), "{name}: {help}");
            assert!(kind != "histogram" || name.ends_with("_seconds"), "{name} has a unit");
            assert!(labels.iter().all(|label| !["le", "id", "name", "room"].contains(label)), "{name}: {labels:?}");
        }
    }

    #[test]
    fn what_is_documented_is_what_is_scraped() {
        let text = Metrics::new("1.0", "test", true).render();
        let scraped: BTreeSet<(String, String)> = text
            .lines()
            .filter_map(|line| line.strip_prefix("# TYPE "))
            .map(|line| {
                let (name, kind) = line.split_once(' ').unwrap();
                (name.to_owned(), kind.to_owned())
            })
            .collect();
        let documented: BTreeSet<(String, String)> =
            Metrics::descriptions().iter().map(|it| (it.name.to_owned(), it.kind.to_owned())).collect();
        assert_eq!(scraped, documented);
        assert!(text.contains("liap_info{environment=\"test\",version=\"1.0\"} 1"));
    }

    #[test]
    fn there_are_never_more_than_300_series() {
        let metrics = Metrics::new("1.0", "test", true);
        let before = series(&metrics.render());
        for number in 0..1_000 {
            metrics.actions.with(&format!("invented-{number}")).with("accepted").inc();
        }
        assert_eq!(metrics.actions.with("other").with("accepted").get(), 1_000);
        assert_eq!(series(&metrics.render()), before);
        assert!(before <= 300, "{before}");
    }

    #[test]
    fn without_profiling_steps_are_not_there() {
        assert!(Metrics::new("1.0", "test", false).step_seconds.is_none());
        let profiled = Metrics::new("1.0", "test", true);
        profiled.step_seconds.as_ref().unwrap().with("decode").observe(3e-6);
        assert!(profiled.render().contains("liap_step_seconds_count{step=\"decode\"} 1"));
    }
}
