//! The log: lines are formed where something happens and written by a thread of their own, so that no move ever
//! waits for a disk or a terminal. When that thread falls behind, lines are dropped and counted.

use std::fmt;
use std::fs::{File, OpenOptions};
use std::io::{self, BufWriter, IsTerminal as _, Write};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use log::kv;
use log::{Level, LevelFilter, Log, Record};
use prometheus::IntCounter;
use serde::ser::{SerializeMap as _, Serializer as _};

use super::{Labelled, LogFormat, LogLevel, LogOptions};

/// What the log counts about itself.
#[derive(Debug, Clone)]
pub struct LogCounters {
    /// Lines by level.
    pub lines: Labelled<IntCounter>,
    /// Lines that were dropped because the log thread fell behind or could not write.
    pub dropped: IntCounter,
    /// Panics, also those that have no line.
    pub panics: IntCounter,
}

/// The log cannot be started.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// The file cannot be opened.
    #[error("the log file {} cannot be opened: {error}", .path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why not.
        error: io::Error,
    },
    /// The thread that writes cannot be started.
    #[error("the log thread cannot be started: {0}")]
    Thread(io::Error),
    /// There is a log already: it can be started once in a process.
    #[error("the log is running already")]
    Running,
}

/// Starts the log of this process. From now on panics are counted and logged, too, but at most one a second: whoever finds a
/// way to make us panic must not fill the disk with it.
///
/// # Errors
/// [`LogError`] if the file or the thread cannot be opened, or the log is running already.
pub fn start(options: &LogOptions, counters: LogCounters) -> Result<LogHandle, LogError> {
    let panics = counters.panics.clone();
    let (log, handle) = open(options, counters)?;
    log::set_boxed_logger(log).map_err(|_| LogError::Running)?;
    handle.set_level(options.level);
    let pace = Pace::default();
    std::panic::set_hook(Box::new(move |panic| {
        panics.inc();
        let Some(untold) = pace.next(Instant::now()) else { return };
        let thread = std::thread::current();
        log::error!(target: "liap::panic", thread = thread.name().unwrap_or("unnamed"), untold; "{panic}");
    }));
    Ok(handle)
}

/// Between two lines about panics.
const PANIC_INTERVAL: Duration = Duration::from_secs(1);

/// Lets a line pass once in a while, and counts those that it keeps back.
#[derive(Debug, Default)]
struct Pace(Mutex<(Option<Instant>, u64)>);

impl Pace {
    /// How many were kept back since the last line, if it is time for the next one.
    fn next(&self, now: Instant) -> Option<u64> {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (last, kept_back) = &mut *state;
        if last.is_some_and(|last| now.saturating_duration_since(last) < PANIC_INTERVAL) {
            *kept_back += 1;
            return None;
        }
        *last = Some(now);
        Some(std::mem::take(kept_back))
    }
}

/// Makes a log without making it the log of the process.
fn open(options: &LogOptions, counters: LogCounters) -> Result<(Box<dyn Log>, LogHandle), LogError> {
    let sink = Sink::open(options.file.clone())?;
    let form = Form::new(options, &sink);
    let (sender, receiver) = sync_channel(options.queue_lines);
    let reopen = Arc::new(AtomicBool::new(false));
    let writer = Writer { sink, reopen: Arc::clone(&reopen), dropped: counters.dropped.clone() };
    std::thread::Builder::new()
        .name("log".to_owned())
        .spawn(move || writer.run(&receiver))
        .map_err(LogError::Thread)?;

    let hand_off = HandOff { sender: sender.clone(), counters };
    // Libraries are heard when something is wrong with them; we are heard at every level, and what is too much
    // is cut off by the level of the process, which can change while it runs.
    let (_, log) = fern::Dispatch::new()
        .level(LevelFilter::Warn)
        .level_for("liap", LevelFilter::Trace)
        .format(move |out, message, record| out.finish(format_args!("{}", form.line(message, record))))
        .chain(Box::new(hand_off) as Box<dyn Log>)
        .into_log();
    Ok((log, LogHandle { sender, reopen }))
}

/// The rein of a running log.
#[derive(Debug, Clone)]
pub struct LogHandle {
    sender: SyncSender<Message>,
    reopen: Arc<AtomicBool>,
}

impl LogHandle {
    /// Changes the level of the whole process: there is one, and whoever holds the log may change it.
    pub fn set_level(&self, level: LogLevel) {
        set_log_level(level);
    }

    /// Opens the file anew, after somebody has moved it away.
    pub fn reopen(&self) {
        self.reopen.store(true, Ordering::Release);
        // A full queue means that the thread is awake anyway.
        drop(self.sender.try_send(Message::Wake));
    }

    /// Waits until everything said so far is written. False if that takes too long.
    #[must_use]
    pub fn flush(&self, timeout: Duration) -> bool {
        let deadline = Instant::now() + timeout;
        let (done, wait) = sync_channel(1);
        let mut message = Message::Flush(done);
        while let Err(TrySendError::Full(back)) = self.sender.try_send(message) {
            if Instant::now() >= deadline {
                return false;
            }
            message = back;
            std::thread::sleep(Duration::from_millis(1));
        }
        wait.recv_timeout(deadline.saturating_duration_since(Instant::now())).is_ok()
    }
}

/// Reopens the file of the log on every SIGHUP, for log rotation.
///
/// # Errors
/// If the signal cannot be listened to.
pub async fn reopen_on_hangup(log: LogHandle) -> io::Result<()> {
    let mut hangup = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::hangup())?;
    while hangup.recv().await.is_some() {
        log.reopen();
    }
    Ok(())
}

/// The least important level that is logged.
pub fn log_level() -> LogLevel {
    LogLevel(log::max_level())
}

/// Logs this level and what is more important, from now on. There is one log, and so one level.
pub fn set_log_level(level: LogLevel) {
    log::set_max_level(level.0);
}

/// Leaves a line in the log whatever its level is: for the few that must not be missing.
pub fn log_anyway(target: &str, message: fmt::Arguments<'_>, fields: &[(&str, kv::Value<'_>)]) {
    log::logger().log(&Record::builder().level(Level::Info).target(target).args(message).key_values(&fields).build());
}

enum Message {
    Line(String),
    Wake,
    Flush(SyncSender<()>),
}

/// Takes lines to the log thread without ever waiting.
#[derive(Debug)]
struct HandOff {
    sender: SyncSender<Message>,
    counters: LogCounters,
}

impl Log for HandOff {
    fn enabled(&self, _: &log::Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &Record<'_>) {
        self.counters.lines.with(level_name(record.level())).inc();
        if self.sender.try_send(Message::Line(record.args().to_string())).is_err() {
            self.counters.dropped.inc();
        }
    }

    fn flush(&self) {}
}

/// Where lines end.
enum Sink {
    Stderr,
    File { path: PathBuf, file: BufWriter<File> },
}

impl Sink {
    fn open(path: Option<PathBuf>) -> Result<Self, LogError> {
        let Some(path) = path else { return Ok(Self::Stderr) };
        match OpenOptions::new().append(true).create(true).open(&path) {
            Ok(file) => Ok(Self::File { path, file: BufWriter::new(file) }),
            Err(error) => Err(LogError::File { path, error }),
        }
    }

    /// Writes a line in one piece, so that nobody who shares the terminal can get in between.
    fn write(&mut self, mut line: String) -> io::Result<()> {
        line.push('\n');
        match self {
            Self::Stderr => io::stderr().write_all(line.as_bytes()),
            Self::File { file, .. } => file.write_all(line.as_bytes()),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Stderr => Ok(()),
            Self::File { file, .. } => file.flush(),
        }
    }

    /// The same sink anew. If that fails the old file goes on being used: better there than nowhere.
    fn reopened(self) -> Self {
        match self {
            Self::Stderr => Self::Stderr,
            Self::File { path, file } => Self::open(Some(path.clone())).unwrap_or(Self::File { path, file }),
        }
    }
}

/// The thread that writes.
struct Writer {
    sink: Sink,
    reopen: Arc<AtomicBool>,
    dropped: IntCounter,
}

impl Writer {
    fn run(mut self, receiver: &Receiver<Message>) {
        while let Ok(first) = receiver.recv() {
            let mut flushed = Vec::new();
            for message in std::iter::once(first).chain(receiver.try_iter()) {
                if self.reopen.swap(false, Ordering::AcqRel) {
                    drop(self.sink.flush());
                    self.sink = self.sink.reopened();
                }
                match message {
                    Message::Line(line) => {
                        if self.sink.write(line).is_err() {
                            self.dropped.inc();
                        }
                    }
                    Message::Wake => {}
                    // Answered at once when more is coming without end.
                    Message::Flush(done) => {
                        flushed.push(done);
                        break;
                    }
                }
            }
            // A disk that is full now may have room later: go on trying, and say so by counting.
            if self.sink.flush().is_err() {
                self.dropped.inc();
            }
            for done in flushed {
                // Whoever asked may have given up.
                done.try_send(()).ok();
            }
        }
    }
}

/// The form of a line.
struct Form {
    json: bool,
    color: bool,
    correlation_id: bool,
}

impl Form {
    fn new(options: &LogOptions, sink: &Sink) -> Self {
        let terminal = matches!(sink, Sink::Stderr) && io::stderr().is_terminal();
        Self {
            json: match options.format {
                LogFormat::Auto => !terminal,
                LogFormat::Json => true,
                LogFormat::Text => false,
            },
            color: terminal && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty()),
            correlation_id: options.correlation_id,
        }
    }

    fn line(&self, message: &fmt::Arguments<'_>, record: &Record<'_>) -> String {
        let id = if self.correlation_id { CorrelationId::current() } else { None };
        if self.json { json(message, record, id.as_ref()) } else { text(message, record, id.as_ref(), self.color) }
    }
}

fn now() -> impl fmt::Display {
    struct Now(jiff::Timestamp);
    impl fmt::Display for Now {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            write!(f, "{:.3}", self.0)
        }
    }
    Now(jiff::Timestamp::now())
}

fn level_name(level: Level) -> &'static str {
    match level {
        Level::Error => "error",
        Level::Warn => "warning",
        Level::Info => "info",
        Level::Debug => "debug",
        Level::Trace => "trace",
    }
}

/// The folder something happened in.
fn target<'a>(record: &'a Record<'_>) -> &'a str {
    let target = record.target();
    target.strip_prefix("liap::").unwrap_or(target)
}

/// One JSON object. Whatever a message holds, it stays one line.
fn json(message: &fmt::Arguments<'_>, record: &Record<'_>, id: Option<&CorrelationId>) -> String {
    let mut line = Vec::with_capacity(256);
    let mut serializer = serde_json::Serializer::new(&mut line);
    let written = (|| {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("time", &now().to_string())?;
        map.serialize_entry("level", level_name(record.level()))?;
        map.serialize_entry("target", target(record))?;
        map.serialize_entry("message", &message.to_string())?;
        if let Some(id) = id {
            map.serialize_entry("correlation_id", id.as_str())?;
        }
        let mut fields = JsonFields { map: &mut map, outcome: Ok(()) };
        // The visitor itself never fails; what went wrong is in its outcome.
        drop(record.key_values().visit(&mut fields));
        fields.outcome?;
        map.end()
    })();
    match written.map(|()| String::from_utf8(line)) {
        Ok(Ok(line)) => line,
        // Writing to memory does not fail and JSON is UTF-8; but a log that panics is worse than one that stammers.
        _ => r#"{"level":"error","message":"a line of the log could not be formed"}"#.to_owned(),
    }
}

/// What every line has by itself.
const OWN_FIELDS: [&str; 5] = ["time", "level", "target", "message", "correlation_id"];

struct JsonFields<'a, M: serde::ser::SerializeMap> {
    map: &'a mut M,
    outcome: Result<(), M::Error>,
}

impl<'kvs, M: serde::ser::SerializeMap> kv::VisitSource<'kvs> for JsonFields<'_, M> {
    fn visit_pair(&mut self, key: kv::Key<'kvs>, value: kv::Value<'kvs>) -> Result<(), kv::Error> {
        if self.outcome.is_ok() {
            let (map, key) = (&mut self.map, key.as_str());
            // No name comes twice in a line.
            let renamed = OWN_FIELDS.contains(&key).then(|| format!("field_{key}"));
            let key = renamed.as_deref().unwrap_or(key);
            self.outcome = if let Some(number) = value.to_u64() {
                map.serialize_entry(key, &number)
            } else if let Some(number) = value.to_i64() {
                map.serialize_entry(key, &number)
            } else if let Some(flag) = value.to_bool() {
                map.serialize_entry(key, &flag)
            } else if let Some(number) = value.to_f64() {
                map.serialize_entry(key, &number)
            } else {
                map.serialize_entry(key, &value.to_string())
            };
        }
        Ok(())
    }
}

/// A line for people. Control characters are written out, so that nobody can forge a line or paint a terminal.
fn text(message: &fmt::Arguments<'_>, record: &Record<'_>, id: Option<&CorrelationId>, color: bool) -> String {
    let level = level_name(record.level()).to_ascii_uppercase();
    let (on, off) = match record.level() {
        _ if !color => ("", ""),
        Level::Error => ("\x1b[31m", "\x1b[0m"),
        Level::Warn => ("\x1b[33m", "\x1b[0m"),
        Level::Info => ("\x1b[32m", "\x1b[0m"),
        Level::Debug | Level::Trace => ("\x1b[2m", "\x1b[0m"),
    };
    let mut line = format!("{} {on}{level:<7}{off} {}: {}", now(), target(record), Plain(&message.to_string()));
    let mut fields = TextFields(&mut line);
    // The visitor never fails.
    drop(record.key_values().visit(&mut fields));
    if let Some(id) = id {
        line.push_str(" correlation_id=");
        line.push_str(id.as_str());
    }
    line
}

struct TextFields<'a>(&'a mut String);

impl<'kvs> kv::VisitSource<'kvs> for TextFields<'_> {
    fn visit_pair(&mut self, key: kv::Key<'kvs>, value: kv::Value<'kvs>) -> Result<(), kv::Error> {
        self.0.push_str(&format!(" {}={}", key.as_str(), Plain(&value.to_string())));
        Ok(())
    }
}

/// A text whose control characters are written out.
struct Plain<'a>(&'a str);

impl fmt::Display for Plain<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        use fmt::Write as _;
        self.0.chars().try_for_each(|char| match char {
            char if char.is_control() => write!(f, "{}", char.escape_default()),
            char => f.write_char(char),
        })
    }
}

/// Ties together all lines of one request or one socket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CorrelationId(Arc<str>);

tokio::task_local! {
    static CURRENT: CorrelationId;
}

impl CorrelationId {
    const MOST_BYTES: usize = 64;

    /// The id a client or proxy gave, if it is a plain word of at most 64 letters, digits, `-`, `_` and `.`.
    pub fn given(text: &str) -> Option<Self> {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
        let fits = (1..=Self::MOST_BYTES).contains(&text.len()) && text.bytes().all(plain);
        fits.then(|| Self(text.into()))
    }

    /// An id nobody has had: a number of this process, from a start that differs from run to run.
    pub fn fresh() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        static START: std::sync::OnceLock<u64> = std::sync::OnceLock::new();
        let start = START.get_or_init(|| {
            // Without the system's randomness the clock will do: ids are no secrets.
            getrandom::u64().unwrap_or_else(|_| jiff::Timestamp::now().as_microsecond().unsigned_abs())
        });
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        Self(format!("{:016x}", start.wrapping_add(number)).into())
    }

    /// The text of the id.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The id of the task that is running, if it has one.
    pub fn current() -> Option<Self> {
        CURRENT.try_with(Clone::clone).ok()
    }

    /// Does some work under this id.
    // Not `async`, which would keep the work twice: as it was given, and as it is done.
    pub fn scope<F: Future>(self, work: F) -> impl Future<Output = F::Output> {
        CURRENT.scope(self, work)
    }
}

#[cfg(test)]
mod tests {
    use super::super::Metrics;
    use super::*;

    fn counters() -> LogCounters {
        Metrics::new("test", "test", false).log_counters()
    }

    fn options(folder: &tempfile::TempDir, format: LogFormat) -> LogOptions {
        LogOptions { format, file: Some(folder.path().join("log")), ..LogOptions::default() }
    }

    fn say(log: &dyn Log, target: &str, level: Level, message: &str) {
        let fields = [("room", kv::Value::from("3FA9C1")), ("count", kv::Value::from(7))];
        log.log(
            &Record::builder()
                .args(format_args!("{message}"))
                .level(level)
                .target(target)
                .key_values(&&fields[..])
                .build(),
        );
    }

    fn lines(folder: &tempfile::TempDir) -> Vec<String> {
        let text = std::fs::read_to_string(folder.path().join("log")).unwrap();
        text.lines().map(str::to_owned).collect()
    }

    const SOON: Duration = Duration::from_secs(10);

    #[test]
    fn panics_without_end_have_a_line_each_second() {
        let (pace, begun) = (Pace::default(), Instant::now());
        let at = |ms| pace.next(begun + Duration::from_millis(ms));
        assert_eq!((at(0), at(1), at(999), at(1_000), at(1_001)), (Some(0), None, None, Some(2), None));
        assert_eq!(at(60_000), Some(1));
    }

    #[test]
    fn a_json_line_has_fields_and_cannot_be_forged() {
        let folder = tempfile::tempdir().unwrap();
        let (log, handle) = open(&options(&folder, LogFormat::Json), counters()).unwrap();
        say(&*log, "liap::room", Level::Info, "hello\n{\"level\":\"error\"}");
        assert!(handle.flush(SOON));
        let lines = lines(&folder);
        assert_eq!(lines.len(), 1);
        let line: serde_json::Value = serde_json::from_str(&lines[0]).unwrap();
        assert_eq!(line["level"], "info");
        assert_eq!(line["target"], "room");
        assert_eq!(line["message"], "hello\n{\"level\":\"error\"}");
        assert_eq!(line["room"], "3FA9C1");
        assert_eq!(line["count"], 7);
        assert!(line["time"].as_str().unwrap().parse::<jiff::Timestamp>().is_ok());
    }

    #[test]
    fn no_field_takes_the_name_of_another() {
        let record = |fields: &[(&str, kv::Value<'_>)]| {
            json(&format_args!("hello"), &Record::builder().level(Level::Warn).key_values(&fields).build(), None)
        };
        for name in OWN_FIELDS {
            let line = record(&[(name, kv::Value::from("mine"))]);
            assert_eq!(line.matches(&format!("\"{name}\":")).count(), usize::from(name != "correlation_id"), "{line}");
            assert!(line.contains(&format!("\"field_{name}\":\"mine\"")), "{line}");
        }
    }

    #[test]
    fn a_text_line_writes_control_characters_out() {
        let folder = tempfile::tempdir().unwrap();
        let (log, handle) = open(&options(&folder, LogFormat::Text), counters()).unwrap();
        say(&*log, "liap::room", Level::Warn, "a\r\nb\x1b[31m");
        assert!(handle.flush(SOON));
        let lines = lines(&folder);
        assert_eq!(lines.len(), 1);
        let (_, rest) = lines[0].split_once(' ').unwrap();
        assert_eq!(rest, r"WARNING room: a\r\nb\u{1b}[31m room=3FA9C1 count=7");
    }

    #[test]
    fn libraries_are_heard_only_when_something_is_wrong() {
        let folder = tempfile::tempdir().unwrap();
        let (log, handle) = open(&options(&folder, LogFormat::Text), counters()).unwrap();
        say(&*log, "sled::pagecache", Level::Info, "chatter");
        say(&*log, "sled::pagecache", Level::Warn, "trouble");
        say(&*log, "liap::archive", Level::Debug, "detail");
        assert!(handle.flush(SOON));
        let lines = lines(&folder);
        assert_eq!(lines.len(), 2, "{lines:?}");
        assert!(lines[0].contains("trouble") && lines[1].contains("detail"));
    }

    #[test]
    fn after_rotation_lines_go_to_the_file_of_that_name() {
        let folder = tempfile::tempdir().unwrap();
        let (log, handle) = open(&options(&folder, LogFormat::Text), counters()).unwrap();
        say(&*log, "liap::room", Level::Info, "before");
        assert!(handle.flush(SOON));
        std::fs::rename(folder.path().join("log"), folder.path().join("log.1")).unwrap();
        handle.reopen();
        say(&*log, "liap::room", Level::Info, "after");
        assert!(handle.flush(SOON));
        assert!(lines(&folder)[0].contains("after"));
        assert!(std::fs::read_to_string(folder.path().join("log.1")).unwrap().contains("before"));
    }

    #[test]
    fn a_log_that_falls_behind_drops_and_counts() {
        let counters = counters();
        let (sender, receiver) = sync_channel(2);
        let hand_off = HandOff { sender, counters: counters.clone() };
        for _ in 0..5 {
            say(&hand_off, "liap::room", Level::Error, "again");
        }
        assert_eq!(counters.dropped.get(), 3);
        assert_eq!(counters.lines.with("error").get(), 5);
        assert_eq!(receiver.try_iter().count(), 2);
    }

    #[test]
    fn a_file_that_cannot_be_opened_is_an_error() {
        let options = LogOptions { file: Some("/nowhere/at/all".into()), ..LogOptions::default() };
        let error = open(&options, counters()).err().unwrap();
        assert!(error.to_string().starts_with("the log file /nowhere/at/all cannot be opened"));
    }

    #[tokio::test]
    async fn lines_carry_the_id_of_their_task() {
        let record = Record::builder().args(format_args!("x")).level(Level::Info).target("liap::http").build();
        let form = Form { json: true, color: false, correlation_id: true };
        let id = CorrelationId::given("request-1").unwrap();
        let line = id.scope(async { form.line(record.args(), &record) }).await;
        assert!(line.contains(r#""correlation_id":"request-1""#), "{line}");
        assert!(!form.line(record.args(), &record).contains("correlation_id"));
    }

    #[test]
    fn ids_from_outside_are_plain_words() {
        let long = "x".repeat(65);
        for wrong in ["", "a b", "a\"b", "ü", long.as_str()] {
            assert_eq!(CorrelationId::given(wrong), None, "{wrong}");
        }
        assert_ne!(CorrelationId::fresh(), CorrelationId::fresh());
    }
}
