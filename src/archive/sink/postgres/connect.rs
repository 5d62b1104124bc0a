//! The way to a database: its URL, TLS, and the pool of connections.

use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use deadpool_postgres::{Manager, ManagerConfig, Pool, RecyclingMethod, Runtime};
use percent_encoding::percent_decode_str;
use tokio_postgres::Config;
use tokio_postgres::config::{Host, SslMode};
use tokio_postgres_rustls::MakeRustlsConnect;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::CertificateDer;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

use crate::insecure_tls::NoVerification;

/// How long a connection may take to be made: to one address, and with all that belongs to it.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
const CREATE_TIMEOUT: Duration = Duration::from_secs(8);
/// How long a free connection may take to show that it is well, and how long one may be waited for.
const RECYCLE_TIMEOUT: Duration = Duration::from_secs(5);
const WAIT_TIMEOUT: Duration = Duration::from_secs(8);
/// How long what was sent may stay without an answer of the other machine.
const TCP_USER_TIMEOUT: Duration = Duration::from_secs(10);

/// Where a database is and how it is reached.
pub(super) struct Location {
    config: Config,
    tls: ClientConfig,
}

impl Location {
    /// Reads a URL as libpq knows it: `postgresql://user:password@host:port/database?sslmode=verify-full&sslrootcert=FILE`.
    pub(super) fn parse(url: &str) -> Result<Self, String> {
        const FORM: &str = "must be like postgresql://user:password@host:port/database?sslmode=verify-full";
        if !["postgresql://", "postgres://"].iter().any(|scheme| url.starts_with(scheme)) {
            return Err(FORM.to_owned());
        }
        let (place, query) = url.split_once('?').unwrap_or((url, ""));
        let (mut mode, mut root_certificate, mut others) = ("prefer".to_owned(), None, Vec::new());
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let value = || percent_decode_str(value).decode_utf8_lossy().into_owned();
            match name {
                "sslmode" => mode = value(),
                "sslrootcert" => root_certificate = Some(value()),
                _ => others.push(pair),
            }
        }
        // The text may hold a password, and so may the message of an error about it.
        let mut config: Config = format!("{place}?{}", others.join("&")).parse().map_err(|_| FORM.to_owned())?;
        if config.get_hosts().is_empty() || config.get_dbname().is_none() || config.get_user().is_none() {
            return Err("must name user, host and database".to_owned());
        }
        let trust = match root_certificate.as_deref() {
            None | Some("system") => RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() },
            Some(file) => certificates(Path::new(file))?,
        };
        let provider = Arc::new(ring::default_provider());
        let tls = ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .map_err(|error| error.to_string())?;
        let (mode, is_verified) = match mode.as_str() {
            "disable" => (SslMode::Disable, true),
            // As libpq has it: encrypted against who listens, and verified only where there is something to verify by.
            "prefer" => (SslMode::Prefer, root_certificate.is_some()),
            "require" => (SslMode::Require, root_certificate.is_some()),
            "verify-full" => (SslMode::Require, true),
            _ => return Err("sslmode must be disable, prefer, require or verify-full".to_owned()),
        };
        let tls = if is_verified {
            tls.with_root_certificates(trust).with_no_client_auth()
        } else {
            // What `sslmode=require` promises, and no more.
            tls.dangerous().with_custom_certificate_verifier(Arc::new(NoVerification(provider))).with_no_client_auth()
        };
        config.ssl_mode(mode);
        if config.get_connect_timeout().is_none() {
            config.connect_timeout(CONNECT_TIMEOUT);
        }
        if config.get_tcp_user_timeout().is_none() {
            config.tcp_user_timeout(TCP_USER_TIMEOUT);
        }
        if config.get_application_name().is_none() {
            config.application_name("liap");
        }
        Ok(Self { config, tls })
    }

    /// Connections to there, so many at most. None is made yet.
    pub(super) fn pool(self, most: usize) -> Result<Pool, String> {
        // An empty statement is sent before a connection is used again: it may have died while nobody looked.
        let recycling = ManagerConfig { recycling_method: RecyclingMethod::Verified };
        let manager = Manager::from_config(self.config, MakeRustlsConnect::new(self.tls), recycling);
        Pool::builder(manager)
            .max_size(most)
            .runtime(Runtime::Tokio1)
            .wait_timeout(Some(WAIT_TIMEOUT))
            .create_timeout(Some(CREATE_TIMEOUT))
            .recycle_timeout(Some(RECYCLE_TIMEOUT))
            .build()
            .map_err(|error| error.to_string())
    }
}

/// Where it is, without who comes: what was delivered is remembered by this name.
impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("postgresql://")?;
        let ports = self.config.get_ports();
        for (number, host) in self.config.get_hosts().iter().enumerate() {
            let port = ports.get(number).or(ports.first()).copied().unwrap_or(5432);
            let comma = if number > 0 { "," } else { "" };
            match host {
                Host::Tcp(host) => write!(f, "{comma}{host}:{port}")?,
                Host::Unix(path) => write!(f, "{comma}{}:{port}", path.display())?,
            }
        }
        write!(f, "/{}", self.config.get_dbname().unwrap_or_default())
    }
}

fn certificates(file: &Path) -> Result<RootCertStore, String> {
    let mut store = RootCertStore::empty();
    let unreadable = |error: &dyn fmt::Display| format!("sslrootcert {} cannot be used: {error}", file.display());
    for certificate in CertificateDer::pem_file_iter(file).map_err(|error| unreadable(&error))? {
        let certificate = certificate.map_err(|error| unreadable(&error))?;
        store.add(certificate).map_err(|error| unreadable(&error))?;
    }
    if store.is_empty() { Err(unreadable(&"there is no certificate in it")) } else { Ok(store) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(url: &str) -> Result<String, String> {
        Location::parse(url).map(|place| place.to_string())
    }

    #[test]
    fn a_place_has_a_name_without_secrets() {
        for (url, shown) in [
            ("postgresql://liap:hush@db/games", "postgresql://db:5432/games"),
            ("postgres://liap:hush@db:6432/games?sslmode=require&password=hush", "postgresql://db:6432/games"),
            ("postgresql://liap@one:1,two:2/games", "postgresql://one:1,two:2/games"),
            ("postgresql://liap@%2Frun%2Fpg/games", "postgresql:///run/pg:5432/games"),
            ("postgresql:///games?host=db&user=liap", "postgresql://db:5432/games"),
        ] {
            assert_eq!(name(url).as_deref(), Ok(shown));
        }
    }

    #[test]
    fn what_cannot_be_used_is_told_without_secrets() {
        for (url, told) in [
            ("postgresql://liap:hush@db/games?sslmode=verify-ca", "sslmode must be"),
            ("postgresql://liap:hush@db/games?none=hush", "must be like"),
            ("postgresql://liap:hush@db:port/games", "must be like"),
            ("postgresql://liap:hush@db", "must name"),
            ("postgresql://db/games", "must name"),
            ("postgresql://liap:hush@db/games?sslrootcert=/none", "sslrootcert /none cannot be used"),
        ] {
            let error = name(url).unwrap_err();
            assert!(error.contains(told) && !error.contains("hush"), "{url}: {error}");
        }
    }

    #[test]
    fn secrets_do_not_get_into_the_encryption_mode() {
        let mode = |url: &str| Location::parse(url).map(|place| place.config.get_ssl_mode());
        assert_eq!(mode("postgresql://liap@db/games"), Ok(SslMode::Prefer));
        assert_eq!(mode("postgresql://liap@db/games?sslmode=verify-full"), Ok(SslMode::Require));
        assert_eq!(mode("postgresql://liap@db/games?sslmode=disable"), Ok(SslMode::Disable));
    }
}
