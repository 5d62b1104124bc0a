//! The documentation of all settings, made from their table.

use strum::{EnumString, IntoEnumIterator as _};

use super::{Group, SETTINGS, Setting};
use crate::config::Config;

/// A form the documentation of all settings can take.
#[derive(Debug, Clone, Copy, PartialEq, Eq, EnumString)]
#[strum(serialize_all = "snake_case")]
pub enum Form {
    /// A file of settings holding every built-in value.
    Toml,
    /// A file of environment variables, every one commented out.
    Env,
    /// A table for people.
    Markdown,
}

/// The documentation of all settings.
pub fn reference(form: Form) -> String {
    match form {
        Form::Toml => by_group(TOML_TOP, |group| format!("\n[{group}]\n"), toml),
        Form::Env => by_group(ENV_TOP, |group| format!("\n# {group}\n"), env),
        Form::Markdown => MARKDOWN_TOP.to_owned() + &SETTINGS.iter().map(markdown).collect::<String>(),
    }
}

fn by_group(top: &str, heading: impl Fn(&str) -> String, entry: impl Fn(&Setting) -> String) -> String {
    let mut text = top.to_owned();
    for group in Group::iter() {
        text += &heading(group.name());
        text.extend(SETTINGS.iter().filter(|setting| setting.group == group).map(&entry));
    }
    text
}

const TOML_TOP: &str = "\
# Every setting of Liap with its built-in value. Copy what you change; the rest may be left out.
# Use a file with `liap --config FILE` or LIAP_CONFIG=FILE. The environment (PORT=8080) and flags
# (--set PORT=8080) come on top. `liap config` shows what is in force and where it came from.
# Made by `liap config --reference toml`.
";

fn toml(setting: &Setting) -> String {
    let (help, allowed) = (setting.help, setting.allowed());
    format!("# {help} ({allowed})\n{} = {}\n", setting.key(), toml_value(setting))
}

fn toml_value(setting: &Setting) -> String {
    let default = setting.default();
    let mut config = Config::default();
    let field = (setting.field)(&mut config);
    if field.is_bare() {
        default
    } else if field.is_list() {
        let words: Vec<String> =
            default.split(',').filter(|word| !word.is_empty()).map(|word| format!("{word:?}")).collect();
        format!("[{}]", words.join(", "))
    } else {
        format!("{default:?}")
    }
}

const ENV_TOP: &str = "\
# Every setting of Liap as an environment variable, with its built-in value. Where a line names another value as
# built in, the deployment guide advises the one that stands here. Copy this file to .env, uncomment what you
# change, and hand it over: `docker run --env-file .env`, `EnvironmentFile=` of systemd, or
# `set -a; . ./.env; set +a` in a shell. Secrets may come from files instead: ADMIN_TOKEN_FILE=/run/secrets/admin
# Made by `liap config --reference env`.
";

fn env(setting: &Setting) -> String {
    let (default, help, allowed) = (setting.default(), setting.help, setting.allowed());
    let note = if setting.example.is_some() { format!("; built in: {default}") } else { String::new() };
    let value = setting.example.unwrap_or(&default);
    format!("\n# {help} ({allowed}{note})\n#{}={value}\n", setting.name)
}

const MARKDOWN_TOP: &str = "| setting | default | what it does | allowed |\n|---|---|---|---|\n";

fn markdown(setting: &Setting) -> String {
    let default = match setting.default() {
        default if default.is_empty() => String::new(),
        default => format!("`{default}`"),
    };
    format!("| `{}` | {default} | {} | {} |\n", setting.name, setting.help, setting.allowed())
}
