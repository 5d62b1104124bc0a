use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use tokio::net::TcpListener;
use tokio::runtime::Handle;

use super::ServerError;
use crate::http::{self, Tls};
use crate::observe::Metrics;

/// A listener whose connections the runtime of `request_thread` accepts, and its address: port 0 becomes the one that the
/// system chose.
pub(super) fn listen(
    request_thread: &Handle,
    host: IpAddr,
    port: u16,
) -> Result<(TcpListener, SocketAddr), ServerError> {
    let address = SocketAddr::new(host, port);
    let _runtime = request_thread.enter();
    let listener = http::listen(address).map_err(|error| ServerError::Listen { address, error })?;
    let address = listener.local_addr()?;
    Ok((listener, address))
}

/// Reads the certificate, if https is set, and reads it again on every SIGHUP.
pub(super) fn open_tls(options: &http::Options, metrics: &Arc<Metrics>) -> Result<Option<Arc<Tls>>, ServerError> {
    let (Some(certificate), Some(key)) = (&options.tls_cert, &options.tls_key) else { return Ok(None) };
    let tls = Tls::open(certificate, key, Arc::clone(metrics))?;
    tokio::spawn(Arc::clone(&tls).renew_on_hangup()?);
    Ok(Some(tls))
}

/// Logs the addresses that are served: the one listened on, and one that a browser on this machine understands.
pub(super) fn log_addresses(address: SocketAddr, has_tls: bool, base: &http::BasePath) {
    let scheme = if has_tls { "https" } else { "http" };
    log::info!("listening on {scheme}://{address}{base}");
    if address.ip().is_unspecified() {
        log::info!("open {scheme}://localhost:{}{base}/ in a browser to play", address.port());
    } else {
        log::info!("open {scheme}://{address}{base}/ in a browser to play");
    }
}
