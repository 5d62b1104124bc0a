//! Do the settings make sense, each for itself and all together?

use std::collections::HashSet;
use std::os::unix::fs::PermissionsExt as _;

use super::report::{Finding, Report, ok, warning, wrong};
use crate::config::{Config, Environment, Layer, Loaded, Mistake, SETTINGS, Sources};
use crate::http::Options;

/// A token shorter than this, or with fewer different characters, is worth a warning.
const GOOD_TOKEN_CHARS: usize = 20;
const GOOD_TOKEN_VARIETY: usize = 8;

const HOW_TO_MAKE_A_TOKEN: &str =
    "openssl rand -hex 24 makes a good one; give it as ADMIN_TOKEN or in ADMIN_TOKEN_FILE";

/// Reports all mistakes, all warnings, and what is unwise.
pub(super) fn check(report: &mut Report, sources: &Sources, loaded: &Loaded, mistakes: &[Mistake]) {
    for mistake in mistakes {
        let from = format!(" in {}", mistake.layer);
        let value = mistake.value.as_ref().map(|value| format!(" = {value:?}")).unwrap_or_default();
        report.add("settings", wrong(format!("{}{value}{from}", mistake.setting), mistake.problem.clone()));
    }
    if mistakes.is_empty() {
        let set = SETTINGS.iter().filter(|setting| loaded.layer(setting) != Layer::Default).count();
        let file = sources.file.as_ref().map(|file| format!(", with {}", file.display())).unwrap_or_default();
        let message = format!("{} in force, {set} of them set{file}", SETTINGS.len());
        report.add("settings", ok(message).with("set", set));
    }
    for text in &loaded.warnings {
        report.add("settings", warning(text.clone(), "remove it"));
    }
    report.add("admin token", check_token(&loaded.config));
    check_secrets(report, sources, loaded);
    check_environment(report, &loaded.config);
}

fn check_token(config: &Config) -> Finding {
    let Some(token) = config.http.admin_token.as_ref().map(crate::http::Secret::reveal) else {
        const NONE: &str = "none is set: every start makes another and prints it";
        return match config.environment {
            Environment::Production => warning(NONE, HOW_TO_MAKE_A_TOKEN),
            _ => ok(NONE),
        };
    };
    let variety = token.chars().collect::<HashSet<char>>().len();
    if token.chars().count() < GOOD_TOKEN_CHARS || variety < GOOD_TOKEN_VARIETY {
        warning("it is short or simple enough to be guessed", HOW_TO_MAKE_A_TOKEN)
    } else {
        ok("set, and long enough")
    }
}

/// Files with secrets in them are for nobody else.
fn check_secrets(report: &mut Report, sources: &Sources, loaded: &Loaded) {
    let paths = SETTINGS.iter().filter(|setting| setting.secret).filter_map(|setting| match loaded.layer(setting) {
        Layer::File(path) => Some(path),
        Layer::SecretFile => Some(sources.environment.get(&format!("{}_FILE", setting.name))?.trim().into()),
        _ => None,
    });
    for path in paths {
        let mode = std::fs::metadata(&path).map_or(0, |metadata| metadata.permissions().mode());
        // What a container platform mounts is read-only and for everybody in the container, which is one.
        if mode & 0o007 != 0 && !path.starts_with("/run/secrets") {
            let path = path.display();
            let message = format!("every user of this machine may read {path}, which holds one");
            report.add("secrets", warning(message, format!("chmod 600 {path}")));
        }
    }
}

/// What is fine at home and not where people play.
fn check_environment(report: &mut Report, config: &Config) {
    if config.environment != Environment::Production {
        return report.add("environment", ok(config.environment.to_string()));
    }
    let unwise = [
        (!config.limit.enabled, "nobody is limited (USE_RATE_LIMITING)"),
        (config.room.game_pace <= 0.0, "games have no pauses (GAME_PACE)"),
        (!config.journal.enabled, "live games do not survive a restart (USE_EVENT_SOURCING)"),
        (!config.archive.enabled, "completed games are not kept (USE_GAME_ARCHIVAL)"),
        (!config.memory.enabled, "nothing is freed when memory gets tight (USE_MEMORY_MONITORING)"),
    ];
    let unwise: Vec<&str> = unwise.into_iter().filter_map(|(is_so, what)| is_so.then_some(what)).collect();
    let finding = if unwise.is_empty() {
        ok("production, with nothing switched off that it needs")
    } else {
        warning(format!("production, but {}", unwise.join(", ")), "leave them at their defaults")
    };
    report.add("environment", finding);
    if rustix::process::geteuid().is_root() {
        let mend = "use scripts/liap.service, or a user of its own";
        report.add("user", warning("this is root, and a server does not need to be", mend));
    }
}

/// Checks who can reach the server, and which proxies it trusts.
pub(super) fn check_exposure(report: &mut Report, config: &Config) {
    let is_production = config.environment == Environment::Production;
    report.add("proxies", check_proxies(&config.http, is_production));
    let origins = &config.http.allowed_origins;
    let insecure = origins.iter().map(crate::http::Origin::as_str).filter(|origin| origin.starts_with("http://"));
    let insecure: Vec<&str> = insecure.collect();
    let finding = if is_production && !insecure.is_empty() {
        warning(format!("{} can be forged on the way", insecure.join(", ")), "allow only https origins")
    } else if origins.is_empty() {
        ok("only the server's own page may open sockets")
    } else {
        ok(format!("its own page, and {} more", origins.len()))
    };
    report.add("origins", finding);

    let metrics = &config.metrics;
    if metrics.enabled && !metrics.host.is_loopback() {
        let message = format!("everybody who reaches {}:{} may read them", metrics.host, metrics.port);
        let mend = "set METRICS_HOST=127.0.0.1, or let only Prometheus through the firewall";
        report.add("metrics", warning(message, mend));
    }
}

fn check_proxies(http: &Options, is_production: bool) -> Finding {
    let host = http.host;
    let proxies: Vec<String> = http.trusted_proxies.iter().map(ToString::to_string).collect();
    if let Some(all) = proxies.iter().find(|network| network.ends_with("/0")) {
        return wrong(
            format!("TRUSTED_PROXIES has {all}: anybody may claim any address, and limits mean nothing"),
            "name only the addresses of your own proxies",
        );
    }
    if !proxies.is_empty() {
        return match is_production && host.is_unspecified() {
            true => warning(
                format!("there is a proxy, but anybody reaches {host} past it"),
                "set HOST to the address that the proxy asks, or close the port in the firewall",
            ),
            false => ok(format!("{} trusted", proxies.join(", "))),
        };
    }
    if !http.base_path.as_str().is_empty() {
        let base_path = &http.base_path;
        warning(
            format!("a proxy shows the server below {base_path}, but none is trusted: all players have its address"),
            "set TRUSTED_PROXIES to the address of the proxy",
        )
    } else if is_production && host.is_loopback() {
        warning(
            format!("only this machine reaches {host}, but no proxy is trusted: all players have one address"),
            "set TRUSTED_PROXIES to the address of the proxy, such as 127.0.0.1,::1",
        )
    } else if is_production && http.tls_cert.is_none() {
        warning(
            format!("players reach {host} directly and unencrypted"),
            "set TLS_CERT and TLS_KEY, or put a proxy in front: HOST=127.0.0.1 and TRUSTED_PROXIES=127.0.0.1,::1",
        )
    } else {
        ok("none is trusted; players come directly")
    }
}
