//! Is the certificate one that browsers take, and does its key fit?

use std::os::unix::fs::PermissionsExt as _;

use jiff::Timestamp;

use super::report::Report;
use crate::config::Config;
use crate::http::Identity;

/// Reads certificate and key as the server would, where there are any.
pub(super) fn look(report: &mut Report, config: &Config) {
    let (Some(certificate), Some(key)) = (&config.http.tls_cert, &config.http.tls_key) else { return };
    let identity = match Identity::read(certificate, key) {
        Ok(identity) => identity,
        Err(error) => {
            report.wrong("certificate", error.to_string(), "put the right files there, in PEM, for the server's user");
            return;
        }
    };
    let now = Timestamp::now();
    let days = identity.ends().duration_since(now).as_hours() / 24;
    let finding = match identity.trouble(now) {
        Some(trouble) if days < 0 => report.wrong("certificate", trouble, "renew it"),
        Some(trouble) => report.warning("certificate", trouble, "renew it; SIGHUP reads it anew"),
        None => report.ok("certificate", format!("it fits its key and ends on {:.0}", identity.ends())),
    };
    finding.with("ends_in_days", days);
    let mode = std::fs::metadata(key).map_or(0, |metadata| metadata.permissions().mode());
    if mode & 0o007 != 0 {
        let key = key.display();
        report.warning("certificate", format!("everybody on this machine may read {key}"), format!("chmod 600 {key}"));
    }
}
