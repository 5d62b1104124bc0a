//! Reads the sources of settings in their order and names every mistake at once.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use figment::providers::{Format, Toml};
use figment::value::{Dict, Map, Value};
use figment::{Figment, Metadata, Profile, Provider};

use super::{Config, SETTINGS, Setting};
use crate::archive::sink::{ArchiveUrl, SinkKind};

/// Where settings come from, lowest first: built-in values, a file, the environment, flags.
#[derive(Clone, Default)]
pub struct Sources {
    /// A file of settings.
    pub file: Option<PathBuf>,
    /// The environment: names that are no settings of ours are ignored, empty values count as not set.
    pub environment: BTreeMap<String, String>,
    /// Settings and the like in the environment whose values are not text; each is a mistake.
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
                Err(_) if is_ours(&name) => sources.unreadable.push(name),
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

    /// The same for whoever wants to go on: what is wrong keeps its built-in value, and every mistake is named.
    pub fn gather(&self) -> (Loaded, Vec<Mistake>) {
        let mut mistakes: Vec<Mistake> = self.unreadable.iter().map(|name| not_text(name)).collect();

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
                mistakes.push(Mistake {
                    setting: setting.name.to_owned(),
                    value: (!setting.secret).then(|| shown(&value)),
                    layer: Some(layer.clone()),
                    problem: format!("must be {}", setting.allowed()),
                });
            }
            layers.insert(setting.name, layer);
        }
        super::pace::fit_limits(&mut config, |name| layers.contains_key(name));
        if mistakes.is_empty() {
            config.check(&layers, &mut mistakes);
        }

        let mut warnings = idle(&layers);
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
                    // Whatever secret got there by mistake would be a folder, and folders are shown everywhere.
                    "holds no URL; a folder is no secret, so name it in ARCHIVE_URL itself".to_owned()
                }
                Ok(text) => {
                    data.insert(setting, text.trim());
                    continue;
                }
                Err(error) => format!("cannot be read: {error}"),
            };
            mistakes.push(Mistake {
                setting: name,
                value: Some(path.clone()),
                layer: Some(Layer::Environment),
                problem,
            });
        }
        data
    }

    fn flags_layer(&self, mistakes: &mut Vec<Mistake>) -> LayerData {
        let mut data = LayerData::new(Layer::Flag);
        for (name, value) in &self.flags {
            match Setting::find(name) {
                Some(setting) => data.insert(setting, value.as_str()),
                None => mistakes.push(Mistake {
                    setting: name.clone(),
                    value: None,
                    layer: Some(Layer::Flag),
                    problem: unknown(&name.to_ascii_uppercase(), SETTINGS.iter().map(|s| s.name.to_owned())),
                }),
            }
        }
        data
    }
}

/// Whether a variable is read at all.
fn is_ours(name: &str) -> bool {
    let is_setting = |name: &str| SETTINGS.iter().any(|setting| setting.name == name);
    let is_file = |name: &str| SETTINGS.iter().any(|setting| setting.secret && setting.name == name);
    name == "LIAP_CONFIG" || is_setting(name) || name.strip_suffix("_FILE").is_some_and(is_file)
}

/// The value is not shown, for it may be a secret.
fn not_text(name: &str) -> Mistake {
    Mistake {
        setting: name.to_owned(),
        value: None,
        layer: Some(Layer::Environment),
        problem: "must be text in UTF-8".to_owned(),
    }
}

/// What was set although its part is not in this build: it may be meant for another.
fn idle(layers: &BTreeMap<&'static str, Layer>) -> Vec<String> {
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
    /// What the operator should know although it stops nothing.
    pub warnings: Vec<String>,
    layers: BTreeMap<&'static str, Layer>,
}

impl Loaded {
    /// Where a setting came from.
    pub fn layer(&self, setting: &Setting) -> Layer {
        self.layers.get(setting.name).cloned().unwrap_or(Layer::Default)
    }

    /// The value in force as text, with `***` for what is secret.
    pub fn value(&self, setting: &Setting) -> String {
        value_from(&self.layer(setting), setting, &self.config)
    }
}

/// What somebody keeps in a file of its own is secret as a whole.
fn value_from(layer: &Layer, setting: &Setting, config: &Config) -> String {
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

/// Settings that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct ConfigError {
    /// Everything that is wrong.
    pub mistakes: Vec<Mistake>,
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count = self.mistakes.len();
        write!(f, "{count} wrong setting{}", if count == 1 { "" } else { "s" })?;
        self.mistakes.iter().try_for_each(|mistake| write!(f, "\n  {mistake}"))
    }
}

/// One wrong setting.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mistake {
    /// Its name, as it was written.
    pub setting: String,
    /// Its value, unless that is a secret.
    pub value: Option<String>,
    /// Where it came from.
    pub layer: Option<Layer>,
    /// What is wrong, and what is allowed.
    pub problem: String,
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.setting)?;
        if let Some(value) = &self.value {
            write!(f, " = {value:?}")?;
        }
        if let Some(layer) = &self.layer {
            write!(f, " ({layer})")?;
        }
        write!(f, ": {}", self.problem)
    }
}

impl Config {
    /// Checks what no single setting can know: whether they fit together and into this build.
    fn check(&self, layers: &BTreeMap<&'static str, Layer>, mistakes: &mut Vec<Mistake>) {
        let mut wrong = |name: &str, value: String, problem: String| {
            mistakes.push(Mistake {
                setting: name.to_owned(),
                value: Some(value),
                layer: Some(layers.get(name).cloned().unwrap_or(Layer::Default)),
                problem,
            });
        };
        if self.http.peer_timeout <= self.http.ping_interval {
            wrong(
                "PEER_TIMEOUT_SECONDS",
                self.http.peer_timeout.as_secs().to_string(),
                "must be longer than PING_INTERVAL_SECONDS, or every idle socket would be dropped".to_owned(),
            );
        }
        if self.metrics.enabled && self.http.port != 0 && self.metrics.port == self.http.port {
            wrong(
                "METRICS_PORT",
                self.metrics.port.to_string(),
                "must differ from PORT: metrics have a listener of their own".to_owned(),
            );
        }
        for (name, file, other, is_alone) in [
            ("TLS_CERT", &self.http.tls_cert, "TLS_KEY", self.http.tls_key.is_none()),
            ("TLS_KEY", &self.http.tls_key, "TLS_CERT", self.http.tls_cert.is_none()),
        ] {
            if let Some(file) = file.as_ref().filter(|_| is_alone) {
                let problem = format!("needs {other} as well: https takes a certificate and its key");
                wrong(name, file.display().to_string(), problem);
            }
        }
        for (name, problem) in self.archive.mistakes() {
            let layer = layers.get(name).unwrap_or(&Layer::Default);
            let value = Setting::find(name).map(|setting| value_from(layer, setting, self)).unwrap_or_default();
            wrong(name, value, problem);
        }
        if self.redis.url.is_set() && !crate::redis::is_compiled_in() {
            wrong(
                "REDIS_URL",
                "***".to_owned(),
                "Redis is not in this build; leave it empty, or build with `cargo build --release --features redis`"
                    .to_owned(),
            );
        }
        if self.redis.pool_min > self.redis.pool_max {
            wrong("REDIS_POOL_MIN", self.redis.pool_min.to_string(), "must not be above REDIS_POOL_MAX".to_owned());
        }
        if let (Some(file), Some(problem)) = (&self.redis.ca_file, self.redis.ca_file_error()) {
            wrong("REDIS_CA_FILE", file.display().to_string(), problem);
        }
        if let Some(folder) = &self.http.static_dir
            && !folder.join("index.html").is_file()
        {
            wrong("STATIC_DIR", folder.display().to_string(), "must be a folder with an index.html".to_owned());
        }
    }
}

/// The data of one layer, in the shape of a file of settings. Values keep their text: guessing types would turn
/// a token `0012` into the number 12.
struct LayerData {
    layer: Layer,
    groups: Dict,
}

impl LayerData {
    fn new(layer: Layer) -> Self {
        Self { layer, groups: Dict::new() }
    }

    fn insert(&mut self, setting: &Setting, value: impl Into<Value>) {
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

/// Reads a file of settings; keys nobody knows are mistakes.
fn file_layer(path: &Path, mistakes: &mut Vec<Mistake>) -> LayerData {
    let layer = Layer::File(path.to_owned());
    let mut data = LayerData::new(layer.clone());
    let mut wrong = |setting: String, problem: String| {
        mistakes.push(Mistake { setting, value: None, layer: Some(layer.clone()), problem });
    };
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) => {
            wrong("--config".to_owned(), format!("cannot be read: {error}"));
            return data;
        }
    };
    let groups: Dict = match Toml::from_str(&text) {
        Ok(groups) => groups,
        Err(error) => {
            wrong("--config".to_owned(), not_toml(&text, &error));
            return data;
        }
    };
    let paths = || SETTINGS.iter().map(|s| format!("{}.{}", s.group.name(), s.key()));
    for (group, keys) in groups {
        let Value::Dict(_, keys) = keys else {
            wrong(group.clone(), unknown(&group.to_ascii_lowercase(), paths()));
            continue;
        };
        for (key, value) in keys {
            let known = SETTINGS.iter().find(|s| s.group.name() == group && s.key() == key);
            match known {
                Some(setting) => data.insert(setting, value),
                None => {
                    let path = format!("{group}.{key}");
                    let problem = unknown(&path.to_ascii_lowercase(), paths());
                    wrong(path, problem);
                }
            }
        }
    }
    data
}

/// What to say about a text that is not TOML. The error itself would quote the line, which may hold a secret.
fn not_toml(text: &str, error: &<Toml as Format>::Error) -> String {
    let before = error.span().and_then(|span| text.get(..span.start)).unwrap_or_default();
    let line = before.matches('\n').count() + 1;
    let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
    let reason: Vec<&str> = error.message().lines().collect();
    format!("is not TOML: line {line}, column {column}: {}", reason.join(", "))
}

/// What to say about a name nobody knows: the name that was probably meant.
fn unknown(name: &str, known: impl Iterator<Item = String>) -> String {
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

/// What to say about a variable that is no setting but looks much like one. The environment is full of names that have
/// nothing to do with us, so this is a warning and no mistake.
fn misspelt(name: &str, value: &str) -> Option<String> {
    let plain = name.strip_prefix("LIAP_").unwrap_or(name);
    let is_own = plain != name && Setting::find(plain).is_some();
    let is_near = |setting: &&Setting| {
        let distance = strsim::damerau_levenshtein(name, setting.name);
        (1..=1 + setting.name.len() / 12).contains(&distance) && setting.name.len() >= 4
    };
    if Setting::find(name).is_some() || name.starts_with("LIAP_CONFIG") || value.trim().is_empty() {
        return None;
    }
    // Kubernetes tells every container about a service called liap in variables like LIAP_PORT.
    let meant = if is_own && !value.starts_with("tcp://") {
        Some(plain)
    } else {
        SETTINGS.iter().find(is_near).map(|it| it.name)
    };
    meant.map(|meant| format!("{name} in the environment is no setting; did you mean {meant}?"))
}

/// The text of a value from a file. Numbers and flags may be written bare, lists as arrays.
fn text_of(value: &Value) -> Option<String> {
    match value {
        Value::String(_, text) => Some(text.clone()),
        Value::Bool(_, flag) => Some(flag.to_string()),
        Value::Num(_, number) => number
            .to_u128()
            .map(|n| n.to_string())
            .or_else(|| number.to_i128().map(|n| n.to_string()))
            .or_else(|| number.to_f64().map(|n| n.to_string())),
        Value::Array(_, words) => {
            let words: Option<Vec<String>> = words.iter().map(text_of).collect();
            words.map(|words| words.join(","))
        }
        _ => None,
    }
}

/// A value that is no secret, and may have come with one all the same: an address may hold a password.
fn shown(value: &Value) -> String {
    match text_of(value) {
        Some(text) if text.contains("://") || text.contains(['@', '=']) => ArchiveUrl::from(text.as_str()).to_string(),
        Some(text) => text,
        None => "(a table)".to_owned(),
    }
}
