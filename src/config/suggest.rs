//! Finds the setting that a wrong name probably means.

use super::{SETTINGS, Setting};

/// The problem of an unknown name, with the name that was probably meant.
pub(super) fn unknown(name: &str, known: impl Iterator<Item = String>) -> String {
    let last = |path: &str| path.rsplit('.').next().unwrap_or(path).to_owned();
    known
        .map(|candidate| {
            // In the wrong section is the most likely slip of all.
            let same_key = last(&candidate) == last(name);
            let likeness =
                strsim::jaro_winkler(&candidate, name).max(strsim::jaro_winkler(&last(&candidate), &last(name)));
            (if same_key { 2.0 } else { likeness }, candidate)
        })
        .filter(|(likeness, _)| *likeness > 0.8)
        .max_by(|(a, _), (b, _)| a.total_cmp(b))
        .map_or_else(
            || "is no setting; `liap config` lists them all".to_owned(),
            |(_, candidate)| format!("is no setting; did you mean {candidate}?"),
        )
}

/// A warning about a variable that is not a setting but looks much like one. Most variables of an environment have nothing
/// to do with Liap, so this is no mistake.
pub(super) fn misspelt(name: &str, value: &str) -> Option<String> {
    let plain = name.strip_prefix("LIAP_").unwrap_or(name);
    let is_own = plain != name && Setting::find(plain).is_some();
    let is_near = |setting: &&Setting| {
        let distance = strsim::damerau_levenshtein(name, setting.name);
        (1..=1 + setting.name.len() / 12).contains(&distance) && setting.name.len() >= 4
    };
    if Setting::find(name).is_some() || name.starts_with("LIAP_CONFIG") || value.trim().is_empty() {
        return None;
    }
    // Kubernetes describes a service called liap in variables like LIAP_PORT in every container.
    let meant = if is_own && !value.starts_with("tcp://") {
        Some(plain)
    } else {
        SETTINGS.iter().find(is_near).map(|it| it.name)
    };
    meant.map(|meant| format!("{name} in the environment is no setting; did you mean {meant}?"))
}
