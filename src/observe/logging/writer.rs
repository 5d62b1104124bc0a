use std::fs::{File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender};

use prometheus::IntCounter;

use super::LogError;

/// What the log thread receives.
#[derive(Debug)]
pub(super) enum LogMessage {
    Line(String),
    Wake,
    Flush(SyncSender<()>),
}

/// Where lines are written.
pub(super) enum LogFile {
    Stderr,
    File { path: PathBuf, file: BufWriter<File> },
}

impl LogFile {
    pub(super) fn open(path: Option<PathBuf>) -> Result<Self, LogError> {
        let Some(path) = path else { return Ok(Self::Stderr) };
        match OpenOptions::new().append(true).create(true).open(&path) {
            Ok(file) => Ok(Self::File { path, file: BufWriter::new(file) }),
            Err(error) => Err(LogError::File { path, error }),
        }
    }

    /// Writes a line in one piece, so that no other process that shares the terminal gets in between.
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

    /// The same file, opened again. If that fails, the old file stays in use.
    fn reopened(self) -> Self {
        match self {
            Self::Stderr => Self::Stderr,
            Self::File { path, file } => Self::open(Some(path.clone())).unwrap_or(Self::File { path, file }),
        }
    }
}

/// The log thread.
pub(super) struct LogWriter {
    pub(super) file: LogFile,
    pub(super) reopen: Arc<AtomicBool>,
    pub(super) dropped: IntCounter,
}

impl LogWriter {
    pub(super) fn run(mut self, receiver: &Receiver<LogMessage>) {
        while let Ok(first) = receiver.recv() {
            let mut flushed = Vec::new();
            for message in std::iter::once(first).chain(receiver.try_iter()) {
                if self.reopen.swap(false, Ordering::AcqRel) {
                    drop(self.file.flush());
                    self.file = self.file.reopened();
                }
                match message {
                    LogMessage::Line(line) => {
                        if self.file.write(line).is_err() {
                            self.dropped.inc();
                        }
                    }
                    LogMessage::Wake => {}
                    // Answered now, even if more lines arrive without end.
                    LogMessage::Flush(done) => {
                        flushed.push(done);
                        break;
                    }
                }
            }
            // A disk that is full now may have space later: go on trying, and count the loss.
            if self.file.flush().is_err() {
                self.dropped.inc();
            }
            for done in flushed {
                // The caller may have given up.
                done.try_send(()).ok();
            }
        }
    }
}
