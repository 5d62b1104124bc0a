//! Do the settings make sense, each for itself and all together?

use std::os::unix::fs::PermissionsExt as _;

use super::report::Report;
use crate::config::{Config, Environment, Layer, Loaded, Mistake, SETTINGS, Sources};

/// A token shorter than this, or with fewer different characters, is worth a warning.
const GOOD_TOKEN_CHARS: usize = 20;
const GOOD_TOKEN_VARIETY: usize = 8;

const HOW_TO_MAKE_A_TOKEN: &str =
    "openssl rand -hex 24 makes a good one; give it as ADMIN_TOKEN or in ADMIN_TOKEN_FILE";

/// All mistakes, all warnings, and what is unwise.
pub(super) fn look(report: &mut Report, sources: &Sources, loaded: &Loaded, mistakes: &[Mistake]) {
    for mistake in mistakes {
        let from = format!(" in {}", mistake.layer);
        let value = mistake.value.as_ref().map(|value| format!(" = {value:?}")).unwrap_or_default();
        report.wrong("settings", format!("{}{value}{from}", mistake.setting), mistake.problem.clone());
    }
    if mistakes.is_empty() {
        let set = SETTINGS.iter().filter(|setting| loaded.layer(setting) != Layer::Default).count();
        let file = sources.file.as_ref().map(|file| format!(", with {}", file.display())).unwrap_or_default();
        report.ok("settings", format!("{} in force, {set} of them set{file}", SETTINGS.len())).with("set", set);
    }
    for warning in &loaded.warnings {
        report.warning("settings", warning.clone(), "remove it");
    }
    look_at_token(report, &loaded.config);
    look_at_secrets(report, sources, loaded);
    look_at_production(report, &loaded.config);
}

fn look_at_token(report: &mut Report, config: &Config) {
    let Some(token) = config.http.admin_token.as_ref().map(crate::http::Secret::reveal) else {
        if config.environment == Environment::Production {
            report.warning("admin token", "none is set: every start makes another and prints it", HOW_TO_MAKE_A_TOKEN);
        } else {
            report.ok("admin token", "none is set: every start makes another and prints it");
        }
        return;
    };
    let mut variety: Vec<char> = token.chars().collect();
    variety.sort_unstable();
    variety.dedup();
    if token.chars().count() < GOOD_TOKEN_CHARS || variety.len() < GOOD_TOKEN_VARIETY {
        report.warning("admin token", "it is short or simple enough to be guessed", HOW_TO_MAKE_A_TOKEN);
    } else {
        report.ok("admin token", "set, and long enough");
    }
}

/// Files with secrets in them are for nobody else.
fn look_at_secrets(report: &mut Report, sources: &Sources, loaded: &Loaded) {
    let in_file = |layer: &Layer| match layer {
        Layer::File(path) => Some(path.clone()),
        _ => None,
    };
    let from_settings = SETTINGS.iter().filter(|it| it.secret).filter_map(|it| in_file(&loaded.layer(it)));
    let named = SETTINGS.iter().filter(|it| it.secret && loaded.layer(it) == Layer::SecretFile);
    let named = named.filter_map(|it| sources.environment.get(&format!("{}_FILE", it.name)));
    for path in from_settings.chain(named.map(|path| path.trim().into())) {
        let mode = std::fs::metadata(&path).map_or(0, |metadata| metadata.permissions().mode());
        // What a container platform mounts is read-only and for everybody in the container, which is one.
        if mode & 0o007 != 0 && !path.starts_with("/run/secrets") {
            let path = path.display();
            report.warning(
                "secrets",
                format!("everybody may read {path}, which holds one"),
                format!("chmod 600 {path}"),
            );
        }
    }
}

/// What is fine at home and not where people play.
fn look_at_production(report: &mut Report, config: &Config) {
    if config.environment != Environment::Production {
        report.ok("environment", config.environment.to_string());
        return;
    }
    let mut unwise = Vec::new();
    if !config.limit.enabled {
        unwise.push("nobody is limited (USE_RATE_LIMITING)");
    }
    if config.room.game_pace <= 0.0 {
        unwise.push("games have no pauses (GAME_PACE)");
    }
    if !config.journal.enabled {
        unwise.push("live games do not survive a restart (USE_EVENT_SOURCING)");
    }
    if !config.archive.enabled {
        unwise.push("completed games are not kept (USE_GAME_ARCHIVAL)");
    }
    if !config.memory.enabled {
        unwise.push("nothing gives way when memory gets tight (USE_MEMORY_MONITORING)");
    }
    if unwise.is_empty() {
        report.ok("environment", "production, with nothing switched off that it needs");
    } else {
        report.warning("environment", format!("production, but {}", unwise.join(", ")), "leave them at their defaults");
    }
    if rustix::process::geteuid().is_root() {
        report.warning(
            "user",
            "this is root, who need not run a server",
            "use scripts/liap.service, or a user of its own",
        );
    }
}

/// Who can reach the server, and whom it believes.
pub(super) fn look_at_exposure(report: &mut Report, config: &Config) {
    let http = &config.http;
    let is_production = config.environment == Environment::Production;
    let proxies: Vec<String> = http.trusted_proxies.iter().map(ToString::to_string).collect();
    if let Some(all) = proxies.iter().find(|network| network.ends_with("/0")) {
        report.wrong(
            "proxies",
            format!("TRUSTED_PROXIES has {all}: anybody may claim any address, and limits mean nothing"),
            "name only the addresses of your own proxies",
        );
    } else if proxies.is_empty() && !http.base_path.as_str().is_empty() {
        report.warning(
            "proxies",
            format!(
                "a proxy shows the server below {}, but none is trusted: all players have its address",
                http.base_path
            ),
            "set TRUSTED_PROXIES to the address of the proxy",
        );
    } else if proxies.is_empty() && is_production && http.host.is_loopback() {
        report.warning(
            "proxies",
            format!("only this machine reaches {}, but no proxy is trusted: all players have one address", http.host),
            "set TRUSTED_PROXIES to the address of the proxy, such as 127.0.0.1,::1",
        );
    } else if proxies.is_empty() && is_production && http.tls_cert.is_none() {
        report.warning(
            "proxies",
            format!("players reach {} directly and unencrypted", http.host),
            "set TLS_CERT and TLS_KEY, or put a proxy in front: HOST=127.0.0.1 and TRUSTED_PROXIES=127.0.0.1,::1",
        );
    } else if proxies.is_empty() {
        report.ok("proxies", "none is trusted; players come directly");
    } else if is_production && http.host.is_unspecified() {
        report.warning(
            "proxies",
            format!("there is a proxy, but anybody reaches {} past it", http.host),
            "set HOST to the address that the proxy asks, or close the port in the firewall",
        );
    } else {
        report.ok("proxies", format!("{} trusted", proxies.join(", ")));
    }

    let insecure: Vec<&str> = http.allowed_origins.iter().map(crate::http::Origin::as_str).collect();
    let insecure: Vec<&str> = insecure.into_iter().filter(|origin| origin.starts_with("http://")).collect();
    if is_production && !insecure.is_empty() {
        report.warning(
            "origins",
            format!("{} can be forged on the way", insecure.join(", ")),
            "allow only https origins",
        );
    } else if http.allowed_origins.is_empty() {
        report.ok("origins", "only the server's own page may open sockets");
    } else {
        report.ok("origins", format!("its own page, and {} more", http.allowed_origins.len()));
    }

    if config.metrics.enabled && !config.metrics.host.is_loopback() {
        report.warning(
            "metrics",
            format!("whoever reaches {}:{} may read them", config.metrics.host, config.metrics.port),
            "set METRICS_HOST=127.0.0.1, or let only Prometheus through the firewall",
        );
    }
}
