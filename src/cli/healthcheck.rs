//! `liap healthcheck`: one question to a running server, for containers and scripts.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, ToSocketAddrs as _};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::ServerName;
use tokio_rustls::rustls::{ClientConfig, ClientConnection, StreamOwned};

use crate::config::Config;
use crate::insecure_tls::NoVerification;

/// More than any answer of `/health` needs.
const LONGEST_ANSWER: u64 = 64 * 1024;

/// Asks `/health`; exit code 0 if the server calls itself healthy or degraded, 1 otherwise. Or only `/health/live`.
pub(super) fn run(config: &Config, address: Option<&str>, live: bool) -> anyhow::Result<ExitCode> {
    let question = if live { "/health/live" } else { "/health" };
    let path = format!("{}{question}", config.http.base_path.as_str());
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
    super::complain(body.trim_end());
    match status {
        200 => Ok(ExitCode::SUCCESS),
        _ => Ok(ExitCode::FAILURE),
    }
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
    get(connect(address, is_secure, Instant::now() + timeout)?, address, path)
}

/// What carries the question.
trait Stream: Read + Write {}

impl<T: Read + Write> Stream for T {}

/// A connection that ends at its deadline, however little at a time the other side says.
struct Bounded {
    stream: TcpStream,
    deadline: Instant,
}

impl Bounded {
    fn connect(address: SocketAddr, deadline: Instant) -> io::Result<Self> {
        Ok(Self { stream: TcpStream::connect_timeout(&address, left(deadline)?)?, deadline })
    }
}

fn left(deadline: Instant) -> io::Result<Duration> {
    let left = deadline.saturating_duration_since(Instant::now());
    if left.is_zero() { Err(ErrorKind::TimedOut.into()) } else { Ok(left) }
}

impl Read for Bounded {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.stream.set_read_timeout(Some(left(self.deadline)?))?;
        self.stream.read(buffer)
    }
}

impl Write for Bounded {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.stream.set_write_timeout(Some(left(self.deadline)?))?;
        self.stream.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.stream.flush()
    }
}

fn connect(address: SocketAddr, is_secure: bool, deadline: Instant) -> anyhow::Result<Box<dyn Stream>> {
    let stream = Bounded::connect(address, deadline)?;
    if !is_secure {
        return Ok(Box::new(stream));
    }
    // Its certificate bears the name that players use, never the address of the machine itself, and may have been renewed
    // since the server has read it. Nothing secret is sent, and who can answer in the server's place here has the machine.
    let provider = Arc::new(ring::default_provider());
    let config = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(NoVerification(provider)))
        .with_no_client_auth();
    let connection = ClientConnection::new(Arc::new(config), ServerName::from(address.ip()))?;
    Ok(Box::new(StreamOwned::new(connection, stream)))
}

/// One request, one answer: its status and its body.
fn get(mut stream: impl Stream, address: SocketAddr, path: &str) -> anyhow::Result<(u16, String)> {
    // HTTP/1.0, so that the answer comes whole and the connection ends with it.
    stream.write_all(format!("GET {path} HTTP/1.0\r\nHost: {address}\r\n\r\n").as_bytes())?;
    let mut answer = String::new();
    stream.take(LONGEST_ANSWER).read_to_string(&mut answer)?;
    let (head, body) = answer.split_once("\r\n\r\n").context("the answer is not HTTP")?;
    let mut words = head.split_ascii_whitespace();
    match (words.next(), words.next().map(str::parse)) {
        (Some(version), Some(Ok(status))) if version.starts_with("HTTP/1.") => Ok((status, body.to_owned())),
        _ => bail!("the answer is not HTTP"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    /// A server that gives one answer.
    fn answering(answer: &'static str) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut request = [0; 1024];
            let read = stream.read(&mut request).unwrap();
            assert!(request[..read].starts_with(b"GET /liap/health HTTP/1.0\r\n"));
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
    fn who_says_little_at_a_time_is_not_listened_to_for_ever() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let trickle = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            // Until nobody listens any more.
            while stream.write_all(b"H").is_ok() {
                std::thread::sleep(Duration::from_millis(5));
            }
        });
        let error = super::ask(address, false, "/health", Duration::from_millis(300)).unwrap_err();
        let kind = error.downcast_ref::<io::Error>().map(io::Error::kind);
        assert!(matches!(kind, Some(ErrorKind::TimedOut | ErrorKind::WouldBlock)), "{error:?}");
        trickle.join().unwrap();
    }

    #[test]
    fn what_is_not_http_is_said_so() {
        let address = answering("SSH-2.0-OpenSSH_9.2\r\n\r\n");
        let error = ask(address).unwrap_err();
        assert_eq!(error.to_string(), "the answer is not HTTP");
    }
}
