use std::fs::OpenOptions;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender};

use prometheus::IntCounter;

/// What the log thread receives.
#[derive(Debug)]
pub(super) enum LogMessage {
    Line(String),
    Wake,
    Flush(SyncSender<()>),
}

/// Where lines are written: a file to append to, or standard error.
pub(super) fn open(path: Option<&Path>) -> io::Result<Box<dyn Write + Send>> {
    Ok(match path {
        None => Box::new(io::stderr()),
        Some(path) => Box::new(BufWriter::new(OpenOptions::new().append(true).create(true).open(path)?)),
    })
}

/// The log thread.
pub(super) struct LogWriter {
    pub(super) path: Option<PathBuf>,
    pub(super) out: Box<dyn Write + Send>,
    pub(super) reopen: Arc<AtomicBool>,
    pub(super) dropped: IntCounter,
}

impl LogWriter {
    pub(super) fn run(mut self, receiver: &Receiver<LogMessage>) {
        while let Ok(first) = receiver.recv() {
            let mut flushed = Vec::new();
            for message in std::iter::once(first).chain(receiver.try_iter()) {
                if self.reopen.swap(false, Ordering::AcqRel) {
                    drop(self.out.flush());
                    // If that fails, the old file stays in use.
                    self.out = open(self.path.as_deref()).unwrap_or(self.out);
                }
                match message {
                    // In one piece, so that no other process that shares the terminal gets in between.
                    LogMessage::Line(line) => {
                        if self.out.write_all((line + "\n").as_bytes()).is_err() {
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
            if self.out.flush().is_err() {
                self.dropped.inc();
            }
            for done in flushed {
                // The caller may have given up.
                done.try_send(()).ok();
            }
        }
    }
}
