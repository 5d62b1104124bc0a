//! Reads a file of settings.

use std::path::Path;

use toml::{Table, Value};

use super::load::Given;
use super::suggest::unknown;
use super::{Layer, Mistake, SETTINGS};
use crate::archive::sink::ArchiveUrl;

/// Reads a file of settings. Unknown keys are mistakes.
pub(super) fn read_file(path: &Path, given: &mut Given, mistakes: &mut Vec<Mistake>) {
    let layer = Layer::File(path.to_owned());
    let mut wrong = |setting: &str, problem| mistakes.push(Mistake::new(setting, layer.clone(), problem));
    let groups = match parse(path) {
        Ok(groups) => groups,
        Err(problem) => return wrong("--config", problem),
    };
    let paths = || SETTINGS.iter().map(|setting| format!("{}.{}", setting.group.name(), setting.key()));
    for (group, keys) in groups {
        let Value::Table(keys) = keys else {
            wrong(&group, unknown(&group.to_ascii_lowercase(), paths()));
            continue;
        };
        for (key, value) in keys {
            match SETTINGS.iter().find(|setting| setting.group.name() == group && setting.key() == key) {
                Some(setting) => drop(given.insert(setting.name, (layer.clone(), value))),
                None => {
                    let path = format!("{group}.{key}");
                    wrong(&path, unknown(&path.to_ascii_lowercase(), paths()));
                }
            }
        }
    }
}

fn parse(path: &Path) -> Result<Table, String> {
    let text = std::fs::read_to_string(path).map_err(|error| format!("cannot be read: {error}"))?;
    text.parse().map_err(|error| describe(&text, &error))
}

/// Describes why the text is not TOML. The error itself would quote the line, which may hold a secret.
fn describe(text: &str, error: &toml::de::Error) -> String {
    let before = error.span().and_then(|span| text.get(..span.start)).unwrap_or_default();
    let line = before.matches('\n').count() + 1;
    let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
    let reason: Vec<&str> = error.message().lines().collect();
    format!("is not TOML: line {line}, column {column}: {}", reason.join(", "))
}

/// The text of a value from a file. Numbers and flags may be written bare, lists as arrays.
pub(super) fn text_of(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Boolean(flag) => Some(flag.to_string()),
        Value::Integer(number) => Some(number.to_string()),
        Value::Float(number) => Some(number.to_string()),
        Value::Array(words) => words.iter().map(text_of).collect::<Option<Vec<_>>>().map(|words| words.join(",")),
        Value::Datetime(_) | Value::Table(_) => None,
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
