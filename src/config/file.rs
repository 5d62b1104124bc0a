//! Reads a file of settings.

use std::path::Path;

use figment::providers::{Format, Toml};
use figment::value::{Dict, Value};

use super::load::LayerData;
use super::suggest::unknown;
use super::{Layer, Mistake, SETTINGS};
use crate::archive::sink::ArchiveUrl;

/// Reads a file of settings. Unknown keys are mistakes.
pub(super) fn file_layer(path: &Path, mistakes: &mut Vec<Mistake>) -> LayerData {
    let layer = Layer::File(path.to_owned());
    let mut data = LayerData::new(layer.clone());
    let mut wrong = |setting: &str, problem| mistakes.push(Mistake::new(setting, layer.clone(), problem));
    let groups: Dict = match read(path) {
        Ok(groups) => groups,
        Err(problem) => {
            wrong("--config", problem);
            return data;
        }
    };
    let paths = || SETTINGS.iter().map(|s| format!("{}.{}", s.group.name(), s.key()));
    for (group, keys) in groups {
        let Value::Dict(_, keys) = keys else {
            wrong(&group, unknown(&group.to_ascii_lowercase(), paths()));
            continue;
        };
        for (key, value) in keys {
            let known = SETTINGS.iter().find(|s| s.group.name() == group && s.key() == key);
            match known {
                Some(setting) => data.insert(setting, value),
                None => {
                    let path = format!("{group}.{key}");
                    wrong(&path, unknown(&path.to_ascii_lowercase(), paths()));
                }
            }
        }
    }
    data
}

fn read(path: &Path) -> Result<Dict, String> {
    let text = std::fs::read_to_string(path).map_err(|error| format!("cannot be read: {error}"))?;
    Toml::from_str(&text).map_err(|error| describe(&text, &error))
}

/// Describes why the text is not TOML. The error itself would quote the line, which may hold a secret.
fn describe(text: &str, error: &<Toml as Format>::Error) -> String {
    let before = error.span().and_then(|span| text.get(..span.start)).unwrap_or_default();
    let line = before.matches('\n').count() + 1;
    let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
    let reason: Vec<&str> = error.message().lines().collect();
    format!("is not TOML: line {line}, column {column}: {}", reason.join(", "))
}

/// The text of a value from a file. Numbers and flags may be written bare, lists as arrays.
pub(super) fn text_of(value: &Value) -> Option<String> {
    match value {
        Value::String(_, text) => Some(text.clone()),
        Value::Bool(_, flag) => Some(flag.to_string()),
        Value::Num(_, number) => number
            .to_i128()
            .map(|number| number.to_string())
            .or_else(|| number.to_f64().map(|number| number.to_string())),
        Value::Array(_, words) => {
            let words: Option<Vec<String>> = words.iter().map(text_of).collect();
            words.map(|words| words.join(","))
        }
        _ => None,
    }
}

/// The value of a setting that is not secret. It may hold a secret all the same: an address may have a password.
pub(super) fn shown(value: &Value) -> String {
    match text_of(value) {
        Some(text) if text.contains("://") || text.contains(['@', '=']) => ArchiveUrl::from(text.as_str()).to_string(),
        Some(text) => text,
        None => "(a table)".to_owned(),
    }
}
