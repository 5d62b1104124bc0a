use std::fmt::Display;
use std::fs::File;
use std::io::{self, Read as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use tokio::net::TcpStream;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::crypto::{CryptoProvider, ring};
use tokio_rustls::rustls::pki_types::pem::{self, PemObject as _};
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::server::{ClientHello, NoServerSessionStorage, ResolvesServerCert};
use tokio_rustls::rustls::sign::CertifiedKey;
use tokio_rustls::rustls::{self, ServerConfig};
use x509_cert::der::Decode as _;

use super::transport::Transport;
use crate::observe::{Metrics, wall_time};

/// TLS with the operator's certificate, which can be renewed while the server runs. Open connections stay.
#[derive(Debug)]
pub struct Tls {
    certificate: PathBuf,
    key: PathBuf,
    current: Arc<Current>,
    config: Arc<ServerConfig>,
    metrics: Arc<Metrics>,
}

/// A certificate and its key.
#[derive(Debug)]
pub struct Identity {
    certified: Arc<CertifiedKey>,
    begins: Timestamp,
    ends: Timestamp,
    is_key_open: bool,
}

/// Why there is no TLS: the setting, and what is wrong with its file.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct TlsError(String);

/// The longest file of certificates, in bytes.
const FILE_MAX_BYTES: u64 = 1024 * 1024;
/// How many bytes a connection buffers for a peer that does not read. The frame queue before it has its own bound.
const BUFFER_BYTES: usize = 16 * 1024;
/// The first byte of a handshake (RFC 8446, section 5.1).
const HANDSHAKE: u8 = 22;
/// How long before its end a certificate should be renewed.
const RENEW_BEFORE_END: SignedDuration = SignedDuration::from_hours(14 * 24);
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

impl Tls {
    /// Reads certificate and key, and logs what is wrong with them.
    ///
    /// # Errors
    /// [`TlsError`] names the setting and what is wrong with its file.
    pub fn open(certificate: &Path, key: &Path, metrics: Arc<Metrics>) -> Result<Arc<Self>, TlsError> {
        let identity = Identity::read(certificate, key)?;
        let current = Arc::new(Current(watch::Sender::new(Arc::new(identity))));
        let unavailable = |error: rustls::Error| TlsError(format!("TLS cannot be set up: {error}"));
        let provider = Arc::new(ring::default_provider());
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(unavailable)?
            .with_no_client_auth()
            .with_cert_resolver(Arc::clone(&current) as Arc<dyn ResolvesServerCert>);
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        // Clients resume with a ticket that they keep: a thousand that reconnect at once cost no signatures and no memory.
        config.ticketer = ring::Ticketer::new().map_err(unavailable)?;
        config.session_storage = Arc::new(NoServerSessionStorage {});
        let tls = Self {
            certificate: certificate.to_owned(),
            key: key.to_owned(),
            current,
            config: Arc::new(config),
            metrics,
        };
        tls.log_state();
        Ok(Arc::new(tls))
    }

    /// Reads both files again. If they cannot be used, the present certificate stays.
    fn renew(&self) {
        match Identity::read(&self.certificate, &self.key) {
            Ok(identity) => drop(self.current.0.send_replace(Arc::new(identity))),
            Err(error) => log::error!("the certificate was not renewed, the one before stays in use: {error}"),
        }
        self.log_state();
    }

    /// Logs when the certificate ends; a problem is a warning.
    fn log_state(&self) {
        let identity = Arc::clone(&self.current.0.borrow());
        self.metrics.tls_certificate_ends.set(identity.ends.as_second());
        match identity.trouble(wall_time()) {
            None => log::info!("https with a certificate that ends on {}", identity.ends),
            Some(problem) => log::warn!("TLS_CERT: {problem}"),
        }
        if identity.is_key_open {
            log::warn!("TLS_KEY: everybody on this machine can read the key; chmod 600 is better");
        }
    }

    /// Renews the certificate on every SIGHUP, and checks its end once a day.
    ///
    /// # Errors
    /// If the signal handler cannot be installed.
    pub fn renew_on_hangup(self: Arc<Self>) -> io::Result<impl Future<Output = ()> + Send + 'static> {
        let mut hangup = signal(SignalKind::hangup())?;
        Ok(async move {
            loop {
                let is_hangup = tokio::select! {
                    signal = hangup.recv() => signal.is_some(),
                    () = tokio::time::sleep(DAY) => false,
                };
                let tls = Arc::clone(&self);
                // A panic has been logged; the certificate in use stays.
                drop(tokio::task::spawn_blocking(move || if is_hangup { tls.renew() } else { tls.log_state() }).await);
            }
        })
    }

    /// Performs the handshake with a new connection. The caller sets the deadline.
    pub(super) async fn accept(&self, stream: TcpStream) -> io::Result<Transport> {
        let mut first = [0];
        match stream.peek(&mut first).await? {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            _ if first == [HANDSHAKE] => {
                let limit = |connection: &mut rustls::ServerConnection| {
                    connection.set_buffer_limit(Some(BUFFER_BYTES));
                };
                let stream = TlsAcceptor::from(Arc::clone(&self.config)).accept_with(stream, limit).await?;
                Ok(Transport::Right(Box::new(stream)))
            }
            _ => Ok(Transport::Left(stream)),
        }
    }
}

impl Identity {
    /// Reads the certificate with its chain, and its key.
    ///
    /// # Errors
    /// [`TlsError`] names the setting and what is wrong with its file.
    pub fn read(certificate: &Path, key: &Path) -> Result<Self, TlsError> {
        let (pem, _) = read("TLS_CERT", certificate)?;
        let (file, key_file) = (certificate.display(), key.display());
        let no_certificate =
            |reason: String| TlsError(format!("TLS_CERT: {file} is no certificate in PEM form: {reason}"));
        let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_slice_iter(&pem)
            .collect::<Result<_, _>>()
            .map_err(|error| no_certificate(error.to_string()))?;
        let Some(own) = chain.first() else { return Err(no_certificate(pem::Error::NoItemsFound.to_string())) };
        let (begins, ends) = validity(own).map_err(no_certificate)?;

        let (pem, mode) = read("TLS_KEY", key)?;
        let no_key = |error: &dyn Display| {
            let needed = "no private key in PEM form that can be used (encrypted ones cannot)";
            TlsError(format!("TLS_KEY: {key_file} is {needed}: {error}"))
        };
        let secret = PrivateKeyDer::from_pem_slice(&pem).map_err(|error| no_key(&error))?;
        let provider: CryptoProvider = ring::default_provider();
        let certified = CertifiedKey::from_der(chain, secret, &provider).map_err(|error| match error {
            rustls::Error::InconsistentKeys(_) => {
                TlsError(format!("TLS_KEY: {key_file} is not the key of the certificate in {file}"))
            }
            error => no_key(&error),
        })?;
        Ok(Self { certified: Arc::new(certified), begins, ends, is_key_open: mode & 0o004 != 0 })
    }

    /// When the certificate ends.
    #[must_use]
    pub fn ends(&self) -> Timestamp {
        self.ends
    }

    /// Why browsers refuse the certificate at this time, or soon will; `None` if all is well.
    #[must_use]
    pub fn trouble(&self, now: Timestamp) -> Option<String> {
        let Self { begins, ends, .. } = self;
        if *ends <= now {
            Some(format!("the certificate has ended on {ends}; browsers refuse it"))
        } else if now < *begins {
            Some(format!("the certificate begins on {begins} only; browsers refuse it until then"))
        } else if ends.duration_since(now) < RENEW_BEFORE_END {
            Some(format!("the certificate ends on {ends}; renew it and send SIGHUP"))
        } else {
            None
        }
    }
}

/// A file's content and mode.
fn read(setting: &'static str, path: &Path) -> Result<(Vec<u8>, u32), TlsError> {
    let read = || {
        let file = File::open(path)?;
        let mode = file.metadata()?.permissions().mode();
        let mut bytes = Vec::new();
        file.take(FILE_MAX_BYTES).read_to_end(&mut bytes)?;
        Ok((bytes, mode))
    };
    read().map_err(|error: io::Error| TlsError(format!("{setting}: {} cannot be read: {error}", path.display())))
}

/// When a certificate begins and ends.
fn validity(certificate: &CertificateDer<'_>) -> Result<(Timestamp, Timestamp), String> {
    let certificate = x509_cert::Certificate::from_der(certificate).map_err(|error| error.to_string())?;
    let validity = certificate.tbs_certificate.validity;
    let timestamp = |time: x509_cert::time::Time| {
        let seconds = time.to_unix_duration().as_secs();
        // An end beyond the calendar means that the certificate has none.
        i64::try_from(seconds).ok().and_then(|s| Timestamp::from_second(s).ok()).unwrap_or(Timestamp::MAX)
    };
    Ok((timestamp(validity.not_before), timestamp(validity.not_after)))
}

/// The certificate in use.
#[derive(Debug)]
struct Current(watch::Sender<Arc<Identity>>);

impl ResolvesServerCert for Current {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.0.borrow().certified))
    }
}
