use std::fmt;
use std::io::{self, IsTerminal as _};

use log::kv;
use log::{Level, Record};
use serde_json::{Map, Value};

use super::super::options::level_name;
use super::super::{LogFormat, LogOptions, wall_time};
use super::CorrelationId;

/// How a line is formatted.
pub(super) struct LineFormat {
    pub(super) json: bool,
    pub(super) color: bool,
    pub(super) correlation_id: bool,
}

impl LineFormat {
    pub(super) fn new(options: &LogOptions) -> Self {
        let terminal = options.file.is_none() && io::stderr().is_terminal();
        Self {
            json: match options.format {
                LogFormat::Auto => !terminal,
                LogFormat::Json => true,
                LogFormat::Text => false,
            },
            color: terminal && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty()),
            correlation_id: options.correlation_id,
        }
    }

    pub(super) fn line(&self, message: &fmt::Arguments<'_>, record: &Record<'_>) -> String {
        let id = if self.correlation_id { CorrelationId::current() } else { None };
        if self.json { json(message, record, id.as_ref()) } else { text(message, record, id.as_ref(), self.color) }
    }
}

fn now() -> String {
    format!("{:.3}", wall_time())
}

/// The folder that the line is from.
fn target<'a>(record: &'a Record<'_>) -> &'a str {
    let target = record.target();
    target.strip_prefix("liap::").unwrap_or(target)
}

/// The fields that every line has.
const OWN_FIELDS: [&str; 5] = ["time", "level", "target", "message", "correlation_id"];

/// One JSON object. Any message stays on one line.
fn json(message: &fmt::Arguments<'_>, record: &Record<'_>, id: Option<&CorrelationId>) -> String {
    let mut line = Map::new();
    let mut add = |name: &str, value: &str| line.insert(name.to_owned(), value.into());
    add("time", &now());
    add("level", level_name(record.level()));
    add("target", target(record));
    add("message", &message.to_string());
    if let Some(id) = id {
        add("correlation_id", id.as_str());
    }
    for (key, value) in fields(record) {
        let key = if OWN_FIELDS.contains(&key.as_str()) { format!("field_{key}") } else { key };
        line.insert(key, value);
    }
    Value::Object(line).to_string()
}

/// The fields of a record. Numbers and flags stay what they are; all else is text.
fn fields(record: &Record<'_>) -> Map<String, Value> {
    let mut fields = Fields(Map::new());
    // The visitor never fails.
    drop(record.key_values().visit(&mut fields));
    fields.0
}

struct Fields(Map<String, Value>);

impl<'kvs> kv::VisitSource<'kvs> for Fields {
    fn visit_pair(&mut self, key: kv::Key<'kvs>, value: kv::Value<'kvs>) -> Result<(), kv::Error> {
        let plain = value.to_u64().map(Value::from).or_else(|| value.to_i64().map(Value::from));
        let plain = plain.or_else(|| value.to_bool().map(Value::from)).or_else(|| value.to_f64().map(Value::from));
        self.0.insert(key.to_string(), plain.unwrap_or_else(|| value.to_string().into()));
        Ok(())
    }
}

/// A line for people. Control characters are escaped, so that no text can forge a line or control a terminal.
fn text(message: &fmt::Arguments<'_>, record: &Record<'_>, id: Option<&CorrelationId>, color: bool) -> String {
    let level = level_name(record.level()).to_ascii_uppercase();
    let (on, off) = match record.level() {
        _ if !color => ("", ""),
        Level::Error => ("\x1b[31m", "\x1b[0m"),
        Level::Warn => ("\x1b[33m", "\x1b[0m"),
        Level::Info => ("\x1b[32m", "\x1b[0m"),
        Level::Debug | Level::Trace => ("\x1b[2m", "\x1b[0m"),
    };
    let mut line = format!("{} {on}{level:<7}{off} {}: {}", now(), target(record), Escaped(&message.to_string()));
    for (key, value) in fields(record) {
        let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        line += &format!(" {key}={}", Escaped(&value));
    }
    if let Some(id) = id {
        line.push_str(" correlation_id=");
        line.push_str(id.as_str());
    }
    line
}

/// A text whose control characters are escaped.
struct Escaped<'a>(&'a str);

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        use fmt::Write as _;
        self.0.chars().try_for_each(|char| match char {
            char if char.is_control() => write!(f, "{}", char.escape_default()),
            char => f.write_char(char),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_field_never_replaces_another() {
        let record = |fields: &[(&str, kv::Value<'_>)]| {
            json(&format_args!("hello"), &Record::builder().level(Level::Warn).key_values(&fields).build(), None)
        };
        for name in OWN_FIELDS {
            let line = record(&[(name, kv::Value::from("mine"))]);
            assert_eq!(line.matches(&format!("\"{name}\":")).count(), usize::from(name != "correlation_id"), "{line}");
            assert!(line.contains(&format!("\"field_{name}\":\"mine\"")), "{line}");
        }
    }
}
