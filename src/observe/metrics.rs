//! Every metric: its name, its meaning, and the field that the code uses.
//!
//! Names follow the conventions of Prometheus: base units (`_seconds`, `_bytes`), `_total` on counters. Label values come
//! from closed lists written here, so no load, no name and no id can add a series.

use std::sync::Arc;
use std::time::Instant;

use prometheus::core::Collector;
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

    /// The child of a label value. A value that is not in the list counts as the last one, which open lists call `other`.
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
    /// Groups of HTTP routes.
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

/// Makes the struct and its registration from one list.
macro_rules! metrics {
    ($($field:ident: $type:ty = $make:ident($name:literal, $help:literal $(, $argument:expr)*);)*) => {
        /// All metrics of the process.
        #[derive(Debug)]
        pub struct Metrics {
            registry: Registry,
            /// Steps of a move; `None` unless profiling.
            pub step_seconds: Option<Labelled<Histogram>>,
            $(#[doc = $help] pub $field: $type,)*
        }

        impl Metrics {
            /// All metrics at zero, in a registry of their own.
            pub fn new(version: &str, environment: &str, profiling: bool) -> Self {
                let registry = Registry::new();
                let info = Opts::new("liap_info", "Always 1; what runs here is in the labels.")
                    .const_label("version", version)
                    .const_label("environment", environment);
                register(&registry, IntGauge::with_opts(info)).set(1);
                let help = "Time of a single step of a move. Only with ENABLE_PROFILING.";
                let steps = || histograms(&registry, "liap_step_seconds", help, ("step", labels::STEP), STEP_SECONDS);
                Self {
                    step_seconds: profiling.then(steps),
                    $($field: $make(&registry, $name, $help $(, $argument)*),)*
                    registry,
                }
            }
        }
    };
}

#[expect(clippy::expect_used, reason = "names are constants, each used once; a test makes every one of them")]
fn register<T: Collector + Clone + 'static>(registry: &Registry, metric: prometheus::Result<T>) -> T {
    let metric = metric.expect("a valid name");
    registry.register(Box::new(metric.clone())).expect("a name used once");
    metric
}

fn counter(registry: &Registry, name: &str, help: &str) -> IntCounter {
    register(registry, IntCounter::new(name, help))
}

fn seconds_counter(registry: &Registry, name: &str, help: &str) -> Counter {
    register(registry, Counter::new(name, help))
}

fn gauge(registry: &Registry, name: &str, help: &str) -> IntGauge {
    register(registry, IntGauge::new(name, help))
}

fn seconds_gauge(registry: &Registry, name: &str, help: &str) -> Gauge {
    register(registry, Gauge::new(name, help))
}

fn histogram(registry: &Registry, name: &str, help: &str, buckets: &[f64]) -> Histogram {
    register(registry, Histogram::with_opts(HistogramOpts::new(name, help).buckets(buckets.to_vec())))
}

/// A label and its values.
type Label = (&'static str, &'static [&'static str]);

fn counters(registry: &Registry, name: &str, help: &str, (label, values): Label) -> Labelled<IntCounter> {
    let family = register(registry, IntCounterVec::new(Opts::new(name, help), &[label]));
    Labelled::new(values, |value| family.with_label_values(&[value]))
}

fn counters_by_two(
    registry: &Registry,
    name: &str,
    help: &str,
    (a, a_values): Label,
    (b, b_values): Label,
) -> Labelled<Labelled<IntCounter>> {
    let family = register(registry, IntCounterVec::new(Opts::new(name, help), &[a, b]));
    Labelled::new(a_values, |a| Labelled::new(b_values, |b| family.with_label_values(&[a, b])))
}

fn gauges(registry: &Registry, name: &str, help: &str, (label, values): Label) -> Labelled<IntGauge> {
    let family = register(registry, IntGaugeVec::new(Opts::new(name, help), &[label]));
    Labelled::new(values, |value| family.with_label_values(&[value]))
}

fn histograms(
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

metrics! {
    process_start_time_seconds: Gauge = seconds_gauge("process_start_time_seconds", "Start of the process, in seconds since 1970. Its changes are restarts.");
    process_resident_memory_bytes: IntGauge = gauge("process_resident_memory_bytes", "Memory of the process that is in RAM.");
    process_cpu_seconds_total: Counter = seconds_counter("process_cpu_seconds_total", "Processor time the process has used.");
    process_open_fds: IntGauge = gauge("process_open_fds", "Files and sockets the process holds open.");
    process_max_fds: IntGauge = gauge("process_max_fds", "Files and sockets the process may hold open.");
    tasks: IntGauge = gauge("liap_tasks", "Tasks that have not ended: of rooms, sockets, requests and the server itself.");

    memory_limit_bytes: IntGauge = gauge("liap_memory_limit_bytes", "Memory the process may use: the setting or its cgroup's limit, whichever is lower.");
    memory_level: IntGauge = gauge("liap_memory_level", "How tight memory is: 0 normal, 1 tight, 2 critical.");
    memory_reliefs: IntCounter = counter("liap_memory_reliefs_total", "Times that memory was given back, because it was tight or an administrator asked.");

    ready: IntGauge = gauge("liap_ready", "1 while the server takes newcomers, 0 while it starts or stops.");
    health: Labelled<IntGauge> = gauges("liap_health", "Result of the last health check: 0 healthy, 1 degraded, 2 unhealthy.", ("check", labels::CHECK));

    rooms: Labelled<IntGauge> = gauges("liap_rooms", "Rooms there are now.", ("phase", labels::ROOM_PHASE));
    rooms_created: IntCounter = counter("liap_rooms_created_total", "Rooms created.");
    rooms_closed: Labelled<IntCounter> = counters("liap_rooms_closed_total", "Rooms closed.", ("reason", labels::ROOM_CLOSED));
    rooms_refused: Labelled<IntCounter> = counters("liap_rooms_refused_total", "Rooms that were wanted and not created.", ("reason", labels::ROOM_REFUSED));
    rooms_busy: IntCounter = counter("liap_rooms_busy_total", "Inputs a room could not take because its inbox was full.");
    rooms_restored: Labelled<IntCounter> = counters("liap_rooms_restored_total", "Live rooms found in the journal at start.", ("outcome", labels::RESTORED));

    games_started: IntCounter = counter("liap_games_started_total", "Games started.");
    games_ended: Labelled<IntCounter> = counters("liap_games_ended_total", "Games ended.", ("outcome", labels::GAME_END));
    game_seconds: Histogram = histogram("liap_game_seconds", "Length of finished games.", GAME_SECONDS);
    take_overs: IntCounter = counter("liap_take_overs_total", "Seats a bot took over because their player was gone.");
    turn_timeouts: IntCounter = counter("liap_turn_timeouts_total", "Moves made for a player who did nothing.");

    actions: Labelled<Labelled<IntCounter>> = counters_by_two("liap_actions_total", "Messages of clients that were understood.", ("action", labels::ACTION), ("outcome", labels::OUTCOME));
    malformed: IntCounter = counter("liap_malformed_total", "Messages of clients that were not understood.");
    action_seconds: Histogram = histogram("liap_action_seconds", "Time from a frame that arrived to its effect on its way to every member.", MOVE_SECONDS);
    bot_seconds: Histogram = histogram("liap_bot_seconds", "Time a hard bot thinks; the others take microseconds.", THINKING_SECONDS);

    sockets: IntGauge = gauge("liap_sockets", "WebSockets open now.");
    sockets_opened: IntCounter = counter("liap_sockets_opened_total", "WebSockets opened.");
    sockets_closed: Labelled<IntCounter> = counters("liap_sockets_closed_total", "WebSockets closed.", ("reason", labels::SOCKET_CLOSED));
    sockets_refused: Labelled<IntCounter> = counters("liap_sockets_refused_total", "WebSockets that were wanted and not opened, and connections closed at once because all places were taken.", ("reason", labels::SOCKET_REFUSED));
    frames_received: IntCounter = counter("liap_frames_received_total", "Frames from clients.");
    frames_sent: IntCounter = counter("liap_frames_sent_total", "Frames to clients.");
    received_bytes: IntCounter = counter("liap_received_bytes_total", "Bytes in frames from clients.");
    sent_bytes: IntCounter = counter("liap_sent_bytes_total", "Bytes in frames to clients.");

    http_requests: Labelled<Labelled<IntCounter>> = counters_by_two("liap_http_requests_total", "HTTP requests answered.", ("route", labels::ROUTE), ("status", labels::STATUS));
    http_seconds: Histogram = histogram("liap_http_seconds", "Time from an HTTP request to its answer.", REQUEST_SECONDS);

    tls_handshakes: Labelled<IntCounter> = counters("liap_tls_handshakes_total", "New connections, where there is TLS.", ("outcome", labels::HANDSHAKE));
    tls_certificate_ends: IntGauge = gauge("liap_tls_certificate_ends_timestamp_seconds", "End of the certificate in use, in seconds since 1970; 0 without TLS.");

    limited: Labelled<IntCounter> = counters("liap_limited_total", "Messages and requests that met a rate limit.", ("limit", labels::LIMIT));
    limit_keys: Labelled<IntGauge> = gauges("liap_limit_keys", "Players, rooms, sockets and addresses a rate limit remembers.", ("limit", labels::LIMIT));

    archive_games: IntGauge = gauge("liap_archive_games", "Games in the archive.");
    archive_disk_bytes: IntGauge = gauge("liap_archive_disk_bytes", "Disk space of the archive.");
    archive_pending: IntGauge = gauge("liap_archive_pending", "Completed games that are not yet safe on disk.");
    archive_stored: IntCounter = counter("liap_archive_stored_total", "Games stored.");
    archive_batches: IntCounter = counter("liap_archive_batches_total", "Groups of games stored.");
    archive_bytes: Labelled<IntCounter> = counters("liap_archive_bytes_total", "Bytes of stored games, plain and as stored.", ("form", labels::FORM));
    archive_commit_seconds: Histogram = histogram("liap_archive_commit_seconds", "Time until a group of games was safe on disk.", DISK_SECONDS);
    archive_failures: IntCounter = counter("liap_archive_failures_total", "Attempts to store that failed and will be repeated.");
    archive_removed: IntCounter = counter("liap_archive_removed_total", "Games removed because of their age.");
    archive_damaged: IntGauge = gauge("liap_archive_damaged", "Stored games that could not be read, and stores set aside.");

    sink_pending: Labelled<IntGauge> = gauges("liap_sink_pending", "Games of the archive that a sink has not got yet.", ("sink", labels::SINK));
    sink_lag_seconds: Labelled<IntGauge> = gauges("liap_sink_lag_seconds", "How long the oldest of them has waited, at least.", ("sink", labels::SINK));
    sink_delivered: Labelled<IntCounter> = counters("liap_sink_delivered_total", "Games a sink has got.", ("sink", labels::SINK));
    sink_failures: Labelled<IntCounter> = counters("liap_sink_failures_total", "Attempts to reach a sink that failed and will be repeated.", ("sink", labels::SINK));
    sink_set_aside: Labelled<IntGauge> = gauges("liap_sink_set_aside", "Games a sink has refused for good.", ("sink", labels::SINK));
    sink_batch_seconds: Labelled<Histogram> = histograms("liap_sink_batch_seconds", "Time until a sink had a group of games.", ("sink", labels::SINK), SINK_SECONDS);

    journal_pending: IntGauge = gauge("liap_journal_pending", "Entries of live games that are not yet safe on disk.");
    journal_lag_seconds: Gauge = seconds_gauge("liap_journal_lag_seconds", "Age of the oldest of them.");
    journal_bytes: IntGauge = gauge("liap_journal_bytes", "Disk space of the journal of live games.");
    journal_written: IntCounter = counter("liap_journal_written_total", "Entries written.");
    journal_commit_seconds: Histogram = histogram("liap_journal_commit_seconds", "Time until a group of entries was safe on disk.", DISK_SECONDS);
    journal_failures: IntCounter = counter("liap_journal_failures_total", "Attempts to write that failed and will be repeated.");

    redis_up: IntGauge = gauge("liap_redis_up", "1 while Redis answers; 0 while it does not, or there is none.");
    redis_connections: IntGauge = gauge("liap_redis_connections", "Connections to Redis.");
    redis_decisions: Labelled<IntCounter> = counters("liap_redis_decisions_total", "Decisions about limits: shared by Redis, or made here and why.", ("outcome", labels::DECIDED));
    redis_seconds: Histogram = histogram("liap_redis_seconds", "Time Redis was waited for, for one decision.", REDIS_SECONDS);
    instances: IntGauge = gauge("liap_instances", "Servers that share Redis and are alive, this one included.");
    rooms_elsewhere: IntGauge = gauge("liap_rooms_elsewhere", "Rooms of other servers that are shown in the lobby.");

    log_lines: Labelled<IntCounter> = counters("liap_log_lines_total", "Lines of the log.", ("level", labels::LOG_LEVEL));
    panics: IntCounter = counter("liap_panics_total", "Panics, each the end of one request, socket, room or thread. The log says where.");
    log_dropped: IntCounter = counter("liap_log_dropped_total", "Lines of the log that were lost because writing them was too slow or failed.");
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
    use std::collections::BTreeMap;

    fn series(text: &str) -> usize {
        text.lines().filter(|line| !line.starts_with('#')).count()
    }

    #[test]
    fn names_have_a_prefix_and_a_unit() {
        let text = Metrics::new("1.0", "test", true).render();
        let helps: BTreeMap<&str, &str> =
            text.lines().filter_map(|line| line.strip_prefix("# HELP ")?.split_once(' ')).collect();
        let kinds = text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' '));
        let mut count = 0;
        for (name, kind) in kinds {
            assert!(name.starts_with("liap_") || name.starts_with("process_"), "{name}");
            assert_eq!(name.ends_with("_total"), kind == "counter", "{name} is a {kind}");
            assert!(kind != "histogram" || name.ends_with("_seconds"), "{name} has a unit");
            assert!(helps[name].ends_with('.'), "{name}: {}", helps[name]);
            count += 1;
        }
        assert!(count > 60, "{count}");
        for label in ["id=", "name=", "room="] {
            assert!(!text.contains(&format!("{{{label}")) && !text.contains(&format!(",{label}")), "{label}");
        }
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
