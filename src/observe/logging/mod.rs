//! The log. Lines are formatted where something happens and written by a thread of their own, so that no move ever waits
//! for a disk or a terminal. When that thread falls behind, lines are dropped and counted.

mod correlation_id;
mod format;
mod panics;
mod writer;

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{SyncSender, TrySendError, sync_channel};
use std::time::{Duration, Instant};

use log::kv;
use log::{Level, LevelFilter, Log, Record};
use prometheus::IntCounter;

pub use correlation_id::CorrelationId;

use super::{Labelled, LogLevel, LogOptions};
use format::{LineFormat, level_name};
use writer::{LogMessage, LogWriter};

/// What the log counts about itself.
#[derive(Debug, Clone)]
pub struct LogCounters {
    /// Lines by level.
    pub lines: Labelled<IntCounter>,
    /// Lines that were dropped because the log thread fell behind or could not write.
    pub dropped: IntCounter,
    /// Panics, including those without a line.
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
        /// What the system says.
        error: io::Error,
    },
    /// The log thread cannot be started.
    #[error("the log thread cannot be started: {0}")]
    Thread(io::Error),
    /// A process has one log, and it runs already.
    #[error("the log is running already")]
    Running,
}

/// Starts the log of this process. From now on panics are counted and logged, at most one a second.
///
/// # Errors
/// [`LogError`] if the file or the thread cannot be opened, or the log is running already.
pub fn start(options: &LogOptions, counters: LogCounters) -> Result<LogHandle, LogError> {
    let panics = counters.panics.clone();
    let (log, handle) = open(options, counters)?;
    log::set_boxed_logger(log).map_err(|_| LogError::Running)?;
    set_log_level(options.level);
    panics::log_panics(panics);
    Ok(handle)
}

/// Opens a log without making it the log of the process.
fn open(options: &LogOptions, counters: LogCounters) -> Result<(Box<dyn Log>, LogHandle), LogError> {
    let path = options.file.clone();
    let out = writer::open(path.as_deref())
        .map_err(|error| LogError::File { path: path.clone().unwrap_or_default(), error })?;
    let format = LineFormat::new(options);
    let (sender, receiver) = sync_channel(options.queue_lines);
    let reopen = Arc::new(AtomicBool::new(false));
    let writer = LogWriter { path, out, reopen: Arc::clone(&reopen), dropped: counters.dropped.clone() };
    let thread = std::thread::Builder::new().name("log".to_owned());
    thread.spawn(move || writer.run(&receiver)).map_err(LogError::Thread)?;

    let queue = LogQueue { sender: sender.clone(), counters };
    // Libraries log their warnings. Liap logs at every level here; the level of the process, which can change while it
    // runs, cuts that off.
    let (_, log) = fern::Dispatch::new()
        .level(LevelFilter::Warn)
        .level_for("liap", LevelFilter::Trace)
        .format(move |out, message, record| out.finish(format_args!("{}", format.line(message, record))))
        .chain(Box::new(queue) as Box<dyn Log>)
        .into_log();
    Ok((log, LogHandle { sender, reopen }))
}

/// Controls a running log.
#[derive(Debug, Clone)]
pub struct LogHandle {
    sender: SyncSender<LogMessage>,
    reopen: Arc<AtomicBool>,
}

impl LogHandle {
    /// Opens the file again, after log rotation has moved it away.
    pub fn reopen(&self) {
        self.reopen.store(true, Ordering::Release);
        // A full queue means that the thread is awake anyway.
        drop(self.sender.try_send(LogMessage::Wake));
    }

    /// Waits until every earlier line is written. Returns false if that takes too long.
    #[must_use]
    pub fn flush(&self, timeout: Duration) -> bool {
        let deadline = Instant::now() + timeout;
        let (done, wait) = sync_channel(1);
        let mut message = LogMessage::Flush(done);
        while let Err(TrySendError::Full(returned)) = self.sender.try_send(message) {
            if Instant::now() >= deadline {
                return false;
            }
            message = returned;
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

/// Logs this level and what is more important, from now on, in the whole process.
pub fn set_log_level(level: LogLevel) {
    log::set_max_level(level.0);
}

/// Logs a line at any log level: for the few that must not be missing.
pub fn log_anyway(target: &str, message: fmt::Arguments<'_>, fields: &[(&str, kv::Value<'_>)]) {
    log::logger().log(&Record::builder().level(Level::Info).target(target).args(message).key_values(&fields).build());
}

/// Hands lines to the log thread without ever waiting.
#[derive(Debug)]
struct LogQueue {
    sender: SyncSender<LogMessage>,
    counters: LogCounters,
}

impl Log for LogQueue {
    fn enabled(&self, _: &log::Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &Record<'_>) {
        self.counters.lines.with(level_name(record.level())).inc();
        if self.sender.try_send(LogMessage::Line(record.args().to_string())).is_err() {
            self.counters.dropped.inc();
        }
    }

    fn flush(&self) {}
}

#[cfg(test)]
mod tests {
    use super::super::{LogFormat, Metrics};
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
    fn libraries_log_only_warnings() {
        let folder = tempfile::tempdir().unwrap();
        let (log, handle) = open(&options(&folder, LogFormat::Text), counters()).unwrap();
        say(&*log, "sled::pagecache", Level::Info, "chatter");
        say(&*log, "sled::pagecache", Level::Warn, "broken");
        say(&*log, "liap::archive", Level::Debug, "detail");
        assert!(handle.flush(SOON));
        let lines = lines(&folder);
        assert_eq!(lines.len(), 2, "{lines:?}");
        assert!(lines[0].contains("broken") && lines[1].contains("detail"));
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
        let queue = LogQueue { sender, counters: counters.clone() };
        for _ in 0..5 {
            say(&queue, "liap::room", Level::Error, "again");
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
        let format = LineFormat { json: true, color: false, correlation_id: true };
        let id = CorrelationId::given("request-1").unwrap();
        let line = id.scope(async { format.line(record.args(), &record) }).await;
        assert!(line.contains(r#""correlation_id":"request-1""#), "{line}");
        assert!(!format.line(record.args(), &record).contains("correlation_id"));
    }
}
