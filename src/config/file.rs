//! Reads a file of settings.

use std::path::Path;

use figment::providers::{Format, Toml};
use figment::value::{Dict, Value};

use super::layer::Given;
use super::suggest::unknown;
use super::{Layer, Mistake, SETTINGS};

/// Reads a file of settings. Unknown keys are mistakes.
pub(super) fn read_file(path: &Path, given: &mut Given, mistakes: &mut Vec<Mistake>) {
    let layer = Layer::File(path.to_owned());
    let mut wrong = |setting: &str, problem| mistakes.push(Mistake::new(setting, layer.clone(), problem));
    let groups: Dict = match read(path) {
        Ok(groups) => groups,
        Err(problem) => return wrong("--config", problem),
    };
    let paths = || SETTINGS.iter().map(|s| format!("{}.{}", s.group.name(), s.key()));
    for (group, keys) in groups {
        let Value::Dict(_, keys) = keys else {
            wrong(&group, unknown(&group.to_ascii_lowercase(), paths()));
            continue;
        };
        for (key, value) in keys {
            match SETTINGS.iter().find(|setting| setting.group.name() == group && setting.key() == key) {
                Some(setting) => drop(given.insert(setting.name, (layer.clone(), text_of(&value)))),
                None => {
                    let path = format!("{group}.{key}");
                    wrong(&path, unknown(&path.to_ascii_lowercase(), paths()));
                }
            }
        }
    }
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
fn text_of(value: &Value) -> Option<String> {
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
