//! Is the certificate valid, and does its key fit?

use std::os::unix::fs::PermissionsExt as _;

use super::report::{Finding, Report, ok, warning, wrong};
use crate::config::Config;
use crate::http::Identity;
use crate::observe::wall_time;

/// Reads certificate and key as the server would, where there are any.
pub(super) fn check(report: &mut Report, config: &Config) {
    let (Some(certificate), Some(key)) = (&config.http.tls_cert, &config.http.tls_key) else { return };
    match Identity::read(certificate, key) {
        Ok(identity) => report.add("certificate", check_dates(&identity)),
        Err(error) => {
            let mend = "put the right files there, in PEM, for the server's user";
            return report.add("certificate", wrong(error.to_string(), mend));
        }
    }
    let mode = std::fs::metadata(key).map_or(0, |metadata| metadata.permissions().mode());
    if mode & 0o007 != 0 {
        let key = key.display();
        let message = format!("every user of this machine may read {key}");
        report.add("certificate", warning(message, format!("chmod 600 {key}")));
    }
}

fn check_dates(identity: &Identity) -> Finding {
    let now = wall_time();
    let days = identity.ends().duration_since(now).as_hours() / 24;
    let finding = match identity.trouble(now) {
        Some(problem) if days < 0 => wrong(problem, "renew it"),
        Some(problem) => warning(problem, "renew it; SIGHUP reads it anew"),
        None => ok(format!("it fits its key and ends on {:.0}", identity.ends())),
    };
    finding.with("ends_in_days", days)
}
