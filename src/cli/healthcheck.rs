//! `liap healthcheck`: one question to a running server, for containers and scripts.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs as _};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, anyhow};
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::body::Bytes;
use hyper::{Request, client::conn::http1, header::HOST};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::ClientConfig;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::ServerName;

use crate::config::Config;
use crate::insecure_tls::NoVerification;

/// More than any answer of `/health` needs.
const MAX_ANSWER_BYTES: usize = 64 * 1024;

/// Asks `/health`; exit code 0 if the server calls itself healthy or degraded, 1 otherwise. Or only `/health/live`.
pub(super) fn run(config: &Config, address: Option<&str>, live: bool) -> anyhow::Result<ExitCode> {
    let path = format!("{}{}", config.http.base_path.as_str(), if live { "/health/live" } else { "/health" });
    let address = match address {
        Some(address) => address
            .to_socket_addrs()
            .ok()
            .and_then(|mut found| found.next())
            .with_context(|| format!("{address} is no address with a port"))?,
        None => SocketAddr::new(reachable(config.http.host), config.http.port),
    };
    let is_secure = config.http.tls_cert.is_some();
    let scheme = if is_secure { "https" } else { "http" };
    let (status, body) = ask(address, is_secure, &path, config.health.timeout)
        .with_context(|| format!("no answer from {scheme}://{address}{path}"))?;
    super::print_stderr(body.trim_end());
    Ok(if status == 200 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The address under which a listener on this machine can be reached.
pub(super) fn reachable(host: IpAddr) -> IpAddr {
    match host {
        IpAddr::V4(Ipv4Addr::UNSPECIFIED) => IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(Ipv6Addr::UNSPECIFIED) => IpAddr::V6(Ipv6Addr::LOCALHOST),
        host => host,
    }
}

/// One question to a server, and its answer within `timeout`: a status and a body.
pub(super) fn ask(
    address: SocketAddr,
    is_secure: bool,
    path: &str,
    timeout: Duration,
) -> anyhow::Result<(u16, String)> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let answer = async {
        let stream = TcpStream::connect(address).await?;
        if !is_secure {
            return get(stream, address, path).await;
        }
        // Its certificate bears the name that players use, never the address of the machine itself, and may have been
        // renewed since the server has read it. Nothing secret is sent, and who can answer in the server's place here
        // has the machine.
        let provider = Arc::new(ring::default_provider());
        let config = ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(NoVerification(provider)))
            .with_no_client_auth();
        let stream = TlsConnector::from(Arc::new(config)).connect(ServerName::from(address.ip()), stream).await?;
        get(stream, address, path).await
    };
    runtime.block_on(async { tokio::time::timeout(timeout, answer).await.context("the time is over")? })
}

async fn get(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    address: SocketAddr,
    path: &str,
) -> anyhow::Result<(u16, String)> {
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    // It ends with the answer; its errors reach the answer, too.
    tokio::spawn(connection);
    let request = Request::get(path).header(HOST, address.to_string()).body(Empty::<Bytes>::new())?;
    let answer = sender.send_request(request).await?;
    let status = answer.status().as_u16();
    let body = Limited::new(answer.into_body(), MAX_ANSWER_BYTES).collect().await.map_err(|error| anyhow!(error))?;
    Ok((status, String::from_utf8_lossy(&body.to_bytes()).into_owned()))
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};
    use std::net::TcpListener;

    use super::*;

    /// A server that gives one answer.
    fn answering(answer: &'static str) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut request = [0; 1024];
            let read = stream.read(&mut request).unwrap();
            assert!(request[..read].starts_with(b"GET /liap/health HTTP/1.1\r\n"));
            stream.write_all(answer.as_bytes()).unwrap();
        });
        address
    }

    fn ask(address: SocketAddr) -> anyhow::Result<(u16, String)> {
        super::ask(address, false, "/liap/health", Duration::from_secs(5))
    }

    #[test]
    fn status_and_body_come_back() {
        let address = answering("HTTP/1.1 503 Service Unavailable\r\nx: y\r\n\r\n{\"status\":\"unhealthy\"}");
        let answer = ask(address).unwrap();
        assert_eq!(answer, (503, "{\"status\":\"unhealthy\"}".to_owned()));
    }

    #[test]
    fn a_slow_answer_ends_with_the_timeout() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let trickle = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            stream.write_all(b"HTTP/1.1 200 OK\r\nx: ").unwrap();
            // Until nobody listens any more.
            while stream.write_all(b"H").is_ok() {
                std::thread::sleep(Duration::from_millis(5));
            }
        });
        let error = super::ask(address, false, "/health", Duration::from_millis(300)).unwrap_err();
        assert!(error.to_string().contains("the time is over"), "{error:?}");
        trickle.join().unwrap();
    }

    #[test]
    fn an_answer_that_is_not_http_is_an_error() {
        let address = answering("SSH-2.0-OpenSSH_9.2\r\n\r\n");
        assert!(ask(address).is_err());
    }
}
