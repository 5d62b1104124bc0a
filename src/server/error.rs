use std::io;
use std::net::SocketAddr;

use super::LaterData;
use crate::archive;
use crate::http;
use crate::observe;
use crate::redis;
use crate::room;

/// Why the server does not start, or stops by itself.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// The address cannot be listened on.
    #[error("cannot listen on {address}: {error}; {}", listen_hint(error))]
    Listen {
        /// The address.
        address: SocketAddr,
        /// What the system says.
        error: io::Error,
    },
    /// A later version has changed the data.
    #[error(transparent)]
    LaterData(#[from] LaterData),
    /// The folder of another web client cannot be served.
    #[error(transparent)]
    StaticDir(#[from] http::StaticDirError),
    /// The certificate or its key cannot be used.
    #[error(transparent)]
    Tls(#[from] http::TlsError),
    /// Live games cannot be kept.
    #[error(transparent)]
    Journal(#[from] room::JournalError),
    /// Completed games cannot be kept.
    #[error("completed games cannot be kept")]
    Archive(#[from] archive::StoreError),
    /// Redis cannot be used as it is set.
    #[error(transparent)]
    Redis(#[from] redis::RedisError),
    /// Completed games cannot be copied.
    #[error("completed games cannot be copied")]
    Sink(#[from] archive::sink::OpenError),
    /// The log cannot be opened.
    #[error(transparent)]
    Log(#[from] observe::LogError),
    /// The system refuses threads, signals or the like.
    #[error("the system refuses what the server needs")]
    System(#[from] io::Error),
}

impl ServerError {
    /// Whether a setting is wrong, so that another try will fail the same way.
    #[must_use]
    pub fn is_configuration(&self) -> bool {
        matches!(
            self,
            Self::StaticDir(_)
                | Self::Tls(_)
                | Self::Redis(_)
                | Self::Sink(_)
                | Self::LaterData(_)
                | Self::Archive(archive::StoreError::Later { .. })
                | Self::Journal(room::JournalError::LaterVersion { .. })
                | Self::Log(observe::LogError::File { .. })
        )
    }
}

/// What most likely helps.
fn listen_hint(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::AddrInUse => "`liap doctor` says who is there, PORT or METRICS_PORT chooses another port",
        io::ErrorKind::AddrNotAvailable => "HOST or METRICS_HOST must be an address of this machine",
        io::ErrorKind::PermissionDenied => "ports below 1024 are not for everybody; leave them to a proxy",
        _ => "`liap doctor` may say more",
    }
}
