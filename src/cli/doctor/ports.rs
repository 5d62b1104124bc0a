//! Are the ports free? If not: who has them, and if that is a server of ours, is it well?

use std::fs;
use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::time::Duration;

use serde_json::Value;
use socket2::{Domain, Protocol, Socket, Type};

use super::super::healthcheck::{ask, reachable};
use super::report::Report;
use crate::config::Config;

/// A server that is well answers at once.
const PATIENCE: Duration = Duration::from_secs(5);

/// Whether a server with these settings runs already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Running {
    Yes,
    No,
}

/// Looks at both listeners.
pub(super) fn look(report: &mut Report, config: &Config) -> Running {
    let address = SocketAddr::new(config.http.host, config.http.port);
    let patience = config.health.timeout.min(PATIENCE);
    let running = match bind(address) {
        Ok(()) => {
            free(report, "port", address);
            Running::No
        }
        Err(error) if error.kind() == ErrorKind::AddrInUse => {
            let asked = SocketAddr::new(reachable(address.ip()), address.port());
            match health(asked, config, patience) {
                Some(health) => {
                    tell_health(report, address, &health);
                    Running::Yes
                }
                None => {
                    taken(report, "port", "PORT", address);
                    Running::No
                }
            }
        }
        Err(error) => {
            impossible(report, "port", ["HOST", "PORT"], address, &error);
            Running::No
        }
    };
    if !config.metrics.enabled {
        report.ok("metrics port", "metrics are switched off");
        return running;
    }
    let address = SocketAddr::new(config.metrics.host, config.metrics.port);
    match bind(address) {
        Ok(()) if running == Running::Yes && address.port() != 0 => {
            report.warning(
                "metrics port",
                format!("a server runs, but its metrics are not at {address}"),
                "run this with the settings of that server",
            );
        }
        Ok(()) => free(report, "metrics port", address),
        Err(error) if error.kind() == ErrorKind::AddrInUse => {
            let asked = SocketAddr::new(reachable(address.ip()), address.port());
            match ask(asked, false, "/metrics", patience) {
                Ok((200, text)) if text.contains("liap_info{") => {
                    report.ok("metrics port", format!("{address}: a running server shows its metrics"));
                }
                _ => taken(report, "metrics port", "METRICS_PORT", address),
            }
        }
        Err(error) => impossible(report, "metrics port", ["METRICS_HOST", "METRICS_PORT"], address, &error),
    }
    running
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

fn free(report: &mut Report, check: &'static str, address: SocketAddr) {
    match address.port() {
        0 => report.ok(check, format!("the system will choose one on {}", address.ip())),
        port => report.ok(check, format!("{address} is free")).with("port", port),
    };
}

fn taken(report: &mut Report, check: &'static str, setting: &str, address: SocketAddr) {
    let holder =
        holder(address.port()).map_or_else(|| "another process".to_owned(), |holder| format!("process {holder}"));
    report
        .wrong(check, format!("{address} is taken by {holder}"), format!("stop it, or set {setting} to another port"))
        .with("port", address.port());
}

fn impossible(
    report: &mut Report,
    check: &'static str,
    [host, port]: [&str; 2],
    address: SocketAddr,
    error: &io::Error,
) {
    let mend = match error.kind() {
        ErrorKind::PermissionDenied => {
            format!(
                "set {port} to 1024 or more and let a proxy have the low one, or give the program CAP_NET_BIND_SERVICE"
            )
        }
        ErrorKind::AddrNotAvailable => format!("set {host} to an address of this machine; `ip address` lists them"),
        _ => format!("set {host} and {port} to something that can be listened on"),
    };
    report.wrong(check, format!("{address} cannot be listened on: {error}"), mend);
}

/// What a server of ours says about itself; nothing if there is another.
fn health(address: SocketAddr, config: &Config, patience: Duration) -> Option<Value> {
    let path = format!("{}/health", config.http.base_path);
    let (_, body) = ask(address, config.http.tls_cert.is_some(), &path, patience).ok()?;
    let health: Value = serde_json::from_str(&body).ok()?;
    (health.get("status")?.is_string() && health.get("checks")?.get("journal").is_some()).then_some(health)
}

fn tell_health(report: &mut Report, address: SocketAddr, health: &Value) {
    let status = health.get("status").and_then(Value::as_str).unwrap_or_default();
    let message = format!("{address}: a running server is {status}");
    let unwell: Vec<String> = health
        .get("checks")
        .and_then(Value::as_object)
        .into_iter()
        .flatten()
        .filter_map(|(name, check)| Some(format!("{name}: {}", check.get("message")?.as_str()?)))
        .collect();
    let finding = match status {
        "healthy" => report.ok("port", message),
        "degraded" => report.warning("port", message, unwell.join("; ")),
        _ => report.wrong("port", message, unwell.join("; ")),
    };
    finding.with("port", address.port()).with("health", status);
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
