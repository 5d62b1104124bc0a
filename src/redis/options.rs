use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio_rustls::rustls::RootCertStore;
use tokio_rustls::rustls::pki_types::CertificateDer;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;

use super::Url;

options! {
    /// Where Redis is and how it is used.
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub struct Options {
        /// Its address; without one nothing is shared.
        pub url: Url = Url::default(),
        /// Connections that are kept open.
        pub pool_min: usize = 1,
        /// Connections that are opened at most, when many requests are in flight.
        pub pool_max: usize = 10,
        /// The longest wait for an answer.
        pub timeout: Duration = Duration::from_millis(20),
        /// The authorities that may sign its certificate, in PEM. `None`: those that browsers trust.
        pub ca_file: Option<PathBuf> = None,
    }
}

impl Options {
    /// Why `ca_file` cannot be used, if it cannot.
    #[must_use]
    pub fn ca_file_error(&self) -> Option<String> {
        let file = self.ca_file.as_deref()?;
        if !file.is_file() {
            Some("must be a file".to_owned())
        } else if self.url.is_set() && !self.url.has_tls() {
            Some("needs a rediss:// or rediss+sentinel:// address in REDIS_URL".to_owned())
        } else {
            check_certificates(file).err()
        }
    }
}

fn check_certificates(file: &Path) -> Result<(), String> {
    let unusable = |error: &dyn fmt::Display| format!("cannot be used: {error}");
    let mut store = RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(file).map_err(|error| unusable(&error))? {
        let certificate = certificate.map_err(|error| unusable(&error))?;
        store.add(certificate).map_err(|error| unusable(&error))?;
    }
    if store.is_empty() { Err(unusable(&"there is no certificate in it")) } else { Ok(()) }
}
