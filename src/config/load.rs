//! Reads the sources of settings in their order and reports every mistake at once.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

use figment::value::{Dict, Map, Value};
use figment::{Figment, Metadata, Profile, Provider};

use super::file::{file_layer, shown, text_of};
use super::suggest::{misspelt, unknown};
use super::{Config, ConfigError, Mistake, SETTINGS, Setting};
use crate::archive::sink::{ArchiveUrl, SinkKind};

/// Where settings come from, lowest first: built-in values, a file, the environment, flags.
#[derive(Clone, Default)]
pub struct Sources {
    /// A file of settings.
    pub file: Option<PathBuf>,
    /// The environment: names that are not settings are ignored, and empty values count as not set.
    pub environment: BTreeMap<String, String>,
    /// Names of settings in the environment whose values are not text; each is a mistake.
    pub unreadable: Vec<String>,
    /// Names and values from the command line, in the order given; the last one wins.
    pub flags: Vec<(String, String)>,
}

/// Names only: values may be secrets.
impl fmt::Debug for Sources {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let flags: Vec<&String> = self.flags.iter().map(|(name, _)| name).collect();
        f.debug_struct("Sources")
            .field("file", &self.file)
            .field("environment", &self.environment.len())
            .field("flags", &flags)
            .finish()
    }
}

impl Sources {
    /// The environment of this process, and no other source.
    pub fn of_process() -> Self {
        let mut sources = Self::default();
        for (name, value) in std::env::vars_os() {
            let Ok(name) = name.into_string() else { continue };
            match value.into_string() {
                Ok(value) => drop(sources.environment.insert(name, value)),
                // Left out, a setting would silently have its built-in value.
                Err(_) if is_setting_name(&name) => sources.unreadable.push(name),
                Err(_) => {}
            }
        }
        sources
    }

    /// Gathers all settings and checks them.
    ///
    /// # Errors
    /// Every mistake that was found, each with its setting, its source and what is allowed.
    pub fn load(&self) -> Result<Loaded, ConfigError> {
        match self.gather() {
            (loaded, mistakes) if mistakes.is_empty() => Ok(loaded),
            (_, mistakes) => Err(ConfigError { mistakes }),
        }
    }

    /// The same for a caller that goes on: a wrong setting keeps its built-in value, and every mistake is returned.
    pub fn gather(&self) -> (Loaded, Vec<Mistake>) {
        // Their values are not shown: they may be secrets.
        let not_text = |name: &String| Mistake::new(name, Layer::Environment, "must be text in UTF-8");
        let mut mistakes: Vec<Mistake> = self.unreadable.iter().map(not_text).collect();

        let mut figment = Figment::new();
        if let Some(path) = &self.file {
            figment = figment.merge(file_layer(path, &mut mistakes));
        }
        figment = figment.merge(self.environment_layer());
        figment = figment.merge(self.secret_files_layer(&mut mistakes));
        figment = figment.merge(self.flags_layer(&mut mistakes));

        let mut config = Config::default();
        let mut layers = BTreeMap::new();
        for setting in SETTINGS {
            let path = format!("{}.{}", setting.group.name(), setting.key());
            let Ok(value) = figment.find_value(&path) else {
                continue;
            };
            let layer =
                figment.get_metadata(value.tag()).map_or(Layer::Default, |metadata| Layer::from_name(&metadata.name));
            let put = text_of(&value).and_then(|text| (setting.field)(&mut config).put(&text).ok());
            if put.is_none() {
                let mistake = Mistake::new(setting.name, layer.clone(), format!("must be {}", setting.allowed()));
                mistakes.push(if setting.secret { mistake } else { mistake.with_value(shown(&value)) });
            }
            layers.insert(setting.name, layer);
        }
        super::pace::fit_limits(&mut config, |name| layers.contains_key(name));
        if mistakes.is_empty() {
            config.check(&layers, &mut mistakes);
        }

        let mut warnings = without_effect(&layers);
        warnings.extend(self.environment.iter().filter_map(|(name, value)| misspelt(name, value)));
        (Loaded { config, layers, warnings }, mistakes)
    }

    fn environment_layer(&self) -> LayerData {
        let mut data = LayerData::new(Layer::Environment);
        for setting in SETTINGS {
            if let Some(value) = self.environment.get(setting.name)
                && !value.trim().is_empty()
            {
                data.insert(setting, value.as_str());
            }
        }
        data
    }

    /// Secrets from the files that `NAME_FILE` names, as container platforms hand them out.
    fn secret_files_layer(&self, mistakes: &mut Vec<Mistake>) -> LayerData {
        let mut data = LayerData::new(Layer::SecretFile);
        for setting in SETTINGS.iter().filter(|setting| setting.secret) {
            let name = format!("{}_FILE", setting.name);
            let Some(path) = self.environment.get(&name).filter(|path| !path.trim().is_empty()) else {
                continue;
            };
            let problem = match std::fs::read_to_string(path.trim()) {
                Ok(_) if self.environment.get(setting.name).is_some_and(|v| !v.trim().is_empty()) => {
                    format!("{} is set as well; give only one of them", setting.name)
                }
                Ok(text) if text.trim().is_empty() => "is empty; write the secret into it".to_owned(),
                Ok(text) if setting.name == "ARCHIVE_URL" && ArchiveUrl::from(text.trim()).scheme().is_none() => {
                    // A secret that got there by mistake would be a folder, and folders are shown everywhere.
                    "holds no URL; a folder is no secret, so name it in ARCHIVE_URL itself".to_owned()
                }
                Ok(text) => {
                    data.insert(setting, text.trim());
                    continue;
                }
                Err(error) => format!("cannot be read: {error}"),
            };
            mistakes.push(Mistake::new(name, Layer::Environment, problem).with_value(path));
        }
        data
    }

    fn flags_layer(&self, mistakes: &mut Vec<Mistake>) -> LayerData {
        let mut data = LayerData::new(Layer::Flag);
        for (name, value) in &self.flags {
            match Setting::find(name) {
                Some(setting) => data.insert(setting, value.as_str()),
                None => {
                    let problem = unknown(&name.to_ascii_uppercase(), SETTINGS.iter().map(|s| s.name.to_owned()));
                    mistakes.push(Mistake::new(name, Layer::Flag, problem));
                }
            }
        }
        data
    }
}

/// Whether a variable is read at all.
fn is_setting_name(name: &str) -> bool {
    let is_setting = |name: &str| SETTINGS.iter().any(|setting| setting.name == name);
    let is_file = |name: &str| SETTINGS.iter().any(|setting| setting.secret && setting.name == name);
    name == "LIAP_CONFIG" || is_setting(name) || name.strip_suffix("_FILE").is_some_and(is_file)
}

/// Warnings about settings of a part that is not in this build.
fn without_effect(layers: &BTreeMap<&'static str, Layer>) -> Vec<String> {
    let parts = [
        ("Redis", crate::redis::is_compiled_in(), ["REDIS_POOL_MIN", "REDIS_POOL_MAX"]),
        ("PostgreSQL", SinkKind::Postgresql.is_compiled_in(), ["DATABASE_POOL_MIN", "DATABASE_POOL_MAX"]),
    ];
    let absent = parts.into_iter().filter(|(_, is_there, _)| !is_there);
    absent
        .flat_map(|(part, _, names)| names.map(|name| (part, name)))
        .filter(|(_, name)| layers.contains_key(name))
        .map(|(part, name)| format!("{name} has no effect: {part} is not in this build"))
        .collect()
}

/// The settings in force, and where each came from.
#[derive(Debug, Clone)]
pub struct Loaded {
    /// The settings.
    pub config: Config,
    /// What the operator should know, although the server starts.
    pub warnings: Vec<String>,
    layers: BTreeMap<&'static str, Layer>,
}

impl Loaded {
    /// The source of a setting.
    pub fn layer(&self, setting: &Setting) -> Layer {
        self.layers.get(setting.name).cloned().unwrap_or(Layer::Default)
    }

    /// The value in force as text, with `***` for what is secret.
    pub fn value(&self, setting: &Setting) -> String {
        shown_value(&self.layer(setting), setting, &self.config)
    }
}

/// The value as text, with `***` for what is secret. A value from a secret file is secret as a whole.
pub(super) fn shown_value(layer: &Layer, setting: &Setting, config: &Config) -> String {
    let value = setting.value(config);
    if *layer == Layer::SecretFile && !value.is_empty() { "***".to_owned() } else { value }
}

/// A source of settings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Layer {
    /// Built in.
    Default,
    /// A file of settings.
    File(PathBuf),
    /// An environment variable.
    Environment,
    /// The file an environment variable `NAME_FILE` names.
    SecretFile,
    /// The command line.
    Flag,
}

impl Layer {
    /// The layer whose data carries this name; the inverse of `Display`.
    fn from_name(name: &str) -> Self {
        match name {
            "environment" => Self::Environment,
            "secret file" => Self::SecretFile,
            "command line" => Self::Flag,
            _ => name.strip_prefix("file ").map_or(Self::Default, |path| Self::File(PathBuf::from(path))),
        }
    }
}

impl fmt::Display for Layer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File(path) => write!(f, "file {}", path.display()),
            Self::Environment => f.write_str("environment"),
            Self::SecretFile => f.write_str("secret file"),
            Self::Flag => f.write_str("command line"),
        }
    }
}

/// The data of one layer, in the shape of a file of settings. Values keep their text: guessing types would turn
/// a token `0012` into the number 12.
pub(super) struct LayerData {
    layer: Layer,
    groups: Dict,
}

impl LayerData {
    pub(super) fn new(layer: Layer) -> Self {
        Self { layer, groups: Dict::new() }
    }

    pub(super) fn insert(&mut self, setting: &Setting, value: impl Into<Value>) {
        let group = self.groups.entry(setting.group.name().to_owned()).or_insert_with(|| Value::from(Dict::new()));
        if let Value::Dict(_, keys) = group {
            keys.insert(setting.key(), value.into());
        }
    }
}

impl Provider for LayerData {
    fn metadata(&self) -> Metadata {
        Metadata::named(self.layer.to_string())
    }

    fn data(&self) -> Result<Map<Profile, Dict>, figment::Error> {
        Ok(Profile::Default.collect(self.groups.clone()))
    }
}
