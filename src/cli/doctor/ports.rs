//! Are the ports free? If not, which process has them, and is a running server well?

use std::fs;
use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::time::Duration;

use serde_json::Value;
use socket2::{Domain, Protocol, Socket, Type};

use super::super::healthcheck::{ask, reachable};
use super::report::{Finding, Report, ok, warning, wrong};
use crate::config::Config;

/// A server that is well answers at once.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);

/// Whether a server with these settings runs already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Running {
    Yes,
    No,
}

/// Checks both listeners.
pub(super) fn check(report: &mut Report, config: &Config) -> Running {
    let timeout = config.health.timeout.min(ANSWER_TIMEOUT);
    let address = SocketAddr::new(config.http.host, config.http.port);
    let health = health(address, config, timeout);
    let running = if health.is_some() { Running::Yes } else { Running::No };
    let server = health.map(|health| health_finding(address, &health));
    report.add("port", server.unwrap_or_else(|| check_address(address, ["HOST", "PORT"])));
    let finding = if config.metrics.enabled {
        check_metrics(SocketAddr::new(config.metrics.host, config.metrics.port), running, timeout)
    } else {
        ok("metrics are switched off")
    };
    report.add("metrics port", finding);
    running
}

fn check_metrics(address: SocketAddr, running: Running, timeout: Duration) -> Finding {
    let shown = is_taken(address).then(|| ask(local(address), false, "/metrics", timeout));
    match shown {
        Some(Ok((200, text))) if text.contains("liap_info{") => {
            ok(format!("{address}: a running server shows its metrics"))
        }
        None if running == Running::Yes && address.port() != 0 => warning(
            format!("a server runs, but its metrics are not at {address}"),
            "run this with the settings of that server",
        ),
        _ => check_address(address, ["METRICS_HOST", "METRICS_PORT"]),
    }
}

/// Where a listener on this address is reached from this machine.
fn local(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(reachable(address.ip()), address.port())
}

fn is_taken(address: SocketAddr) -> bool {
    bind(address).is_err_and(|error| error.kind() == ErrorKind::AddrInUse)
}

/// Whether a server could listen there. Nothing is listened to, so nobody can get to us by mistake.
fn bind(address: SocketAddr) -> io::Result<()> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    if address.is_ipv6() {
        socket.set_only_v6(false)?;
    }
    socket.set_reuse_address(true)?;
    socket.bind(&address.into())
}

/// Whether a server could listen there, and if not, why. `host` and `port` are the settings.
fn check_address(address: SocketAddr, [host, port]: [&str; 2]) -> Finding {
    let Err(error) = bind(address) else {
        return match address.port() {
            0 => ok(format!("the system will choose one on {}", address.ip())),
            number => ok(format!("{address} is free")).with("port", number),
        };
    };
    let mend = match error.kind() {
        ErrorKind::AddrInUse => {
            let holder = holder(address.port());
            let holder = holder.map_or_else(|| "another process".to_owned(), |holder| format!("process {holder}"));
            let mend = format!("stop it, or set {port} to another port");
            return wrong(format!("{address} is taken by {holder}"), mend).with("port", address.port());
        }
        ErrorKind::PermissionDenied => format!(
            "set {port} to 1024 or more and let a proxy have the low one, or give the program CAP_NET_BIND_SERVICE"
        ),
        ErrorKind::AddrNotAvailable => format!("set {host} to an address of this machine; `ip address` lists them"),
        _ => format!("set {host} and {port} to something that can be listened on"),
    };
    wrong(format!("{address} cannot be listened on: {error}"), mend)
}

/// What a running server says about itself; nothing if there is none, or another program.
fn health(address: SocketAddr, config: &Config, timeout: Duration) -> Option<Value> {
    if !is_taken(address) {
        return None;
    }
    let path = format!("{}/health", config.http.base_path);
    let (_, body) = ask(local(address), config.http.tls_cert.is_some(), &path, timeout).ok()?;
    let health: Value = serde_json::from_str(&body).ok()?;
    (health.get("status")?.is_string() && health.get("checks")?.get("journal").is_some()).then_some(health)
}

fn health_finding(address: SocketAddr, health: &Value) -> Finding {
    let status = health.get("status").and_then(Value::as_str).unwrap_or_default();
    let message = format!("{address}: a running server is {status}");
    let checks = health.get("checks").and_then(Value::as_object).into_iter().flatten();
    let problems: Vec<String> =
        checks.filter_map(|(name, check)| Some(format!("{name}: {}", check.get("message")?.as_str()?))).collect();
    let finding = match status {
        "healthy" => ok(message),
        "degraded" => warning(message, problems.join("; ")),
        _ => wrong(message, problems.join("; ")),
    };
    finding.with("port", address.port()).with("health", status)
}

/// Which process listens on this port, as far as we may know: its number and name.
fn holder(port: u16) -> Option<String> {
    let tables = ["/proc/net/tcp", "/proc/net/tcp6"].map(|table| fs::read_to_string(table).unwrap_or_default());
    let inodes: Vec<String> = tables
        .iter()
        .flat_map(|table| table.lines().filter_map(|line| listening_inode(line, port)))
        .map(|inode| format!("socket:[{inode}]"))
        .collect();
    let processes = fs::read_dir("/proc").ok()?.flatten();
    processes.filter(|process| process.file_name().as_encoded_bytes().first().is_some_and(u8::is_ascii_digit)).find_map(
        |process| {
            // Those of other users are closed to us.
            let mut files = fs::read_dir(process.path().join("fd")).ok()?.flatten();
            let is_it = |link: &std::path::Path| inodes.iter().any(|inode| link.as_os_str() == inode.as_str());
            files.find(|file| fs::read_link(file.path()).is_ok_and(|link| is_it(&link)))?;
            let name = fs::read_to_string(process.path().join("comm")).unwrap_or_default();
            Some(format!("{} ({})", process.file_name().to_string_lossy(), name.trim()))
        },
    )
}

/// The inode in a line of `/proc/net/tcp`, if that is of a socket which listens on this port.
fn listening_inode(line: &str, port: u16) -> Option<&str> {
    const LISTENING: &str = "0A";
    let fields: Vec<&str> = line.split_ascii_whitespace().collect();
    let [_, local, _, state, _, _, _, _, _, inode, ..] = fields.as_slice() else { return None };
    let (_, hex) = local.rsplit_once(':')?;
    (*state == LISTENING && u16::from_str_radix(hex, 16).ok()? == port).then_some(*inode)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_listens_is_found() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let holder = holder(listener.local_addr().unwrap().port()).unwrap();
        assert!(holder.starts_with(&format!("{} (", std::process::id())), "{holder}");
    }

    #[test]
    fn only_listening_sockets_count() {
        let line = |state| {
            format!(
                "   0: 0100007F:1F90 00000000:0000 {state} 00000000:00000000 00:00000000 00000000     0        0 4711 1 0"
            )
        };
        assert_eq!(listening_inode(&line("0A"), 8080), Some("4711"));
        assert_eq!(listening_inode(&line("0A"), 8081), None);
        assert_eq!(listening_inode(&line("01"), 8080), None);
        assert_eq!(listening_inode("  sl  local_address rem_address", 8080), None);
    }
}
