//! Reads the sources of settings in their order and reports every mistake at once.

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::file::read_file;
use super::layer::Given;
use super::suggest::{misspelt, unknown};
use super::{Config, ConfigError, Layer, Mistake, SETTINGS, Setting};
use crate::archive::sink::{ArchiveUrl, SinkKind};

/// Where settings come from, lowest first: built-in values, a file, the environment, flags. Values do not show: they may be
/// secrets.
#[derive(derive_more::Debug, Clone, Default)]
pub struct Sources {
    /// A file of settings.
    pub file: Option<PathBuf>,
    /// The environment: names that are not settings are ignored, and empty values count as not set.
    #[debug(skip)]
    pub environment: BTreeMap<String, String>,
    /// Names of settings in the environment whose values are not text; each is a mistake.
    pub unreadable: Vec<String>,
    /// Names and values from the command line, in the order given; the last one wins.
    #[debug("{:?}", flags.iter().map(|(name, _)| name).collect::<Vec<_>>())]
    pub flags: Vec<(String, String)>,
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

        let mut given = Given::new();
        if let Some(path) = &self.file {
            read_file(path, &mut given, &mut mistakes);
        }
        self.read_environment(&mut given);
        self.read_secret_files(&mut given, &mut mistakes);
        self.read_flags(&mut given, &mut mistakes);

        let mut config = Config::default();
        for setting in SETTINGS {
            let Some((layer, text)) = given.get(setting.name) else { continue };
            let put = text.as_ref().and_then(|text| (setting.field)(&mut config).put(text).ok());
            if put.is_none() {
                let mistake = Mistake::new(setting.name, layer.clone(), format!("must be {}", setting.allowed()));
                mistakes.push(if setting.secret { mistake } else { mistake.with_value(shown(text.as_deref())) });
            }
        }
        let layers: BTreeMap<_, _> = given.into_iter().map(|(name, (layer, _))| (name, layer)).collect();
        super::pace::fit_limits(&mut config, |name| layers.contains_key(name));
        if mistakes.is_empty() {
            config.check(&layers, &mut mistakes);
        }

        let mut warnings = without_effect(&layers);
        warnings.extend(self.environment.iter().filter_map(|(name, value)| misspelt(name, value)));
        (Loaded { config, layers, warnings }, mistakes)
    }

    /// A variable of the environment that is not empty.
    fn variable(&self, name: &str) -> Option<&str> {
        self.environment.get(name).map(String::as_str).filter(|value| !value.trim().is_empty())
    }

    fn read_environment(&self, given: &mut Given) {
        for setting in SETTINGS {
            if let Some(value) = self.variable(setting.name) {
                given.insert(setting.name, (Layer::Environment, Some(value.to_owned())));
            }
        }
    }

    /// Secrets from the files that `NAME_FILE` names, as container platforms hand them out.
    fn read_secret_files(&self, given: &mut Given, mistakes: &mut Vec<Mistake>) {
        for setting in SETTINGS.iter().filter(|setting| setting.secret) {
            let name = format!("{}_FILE", setting.name);
            let Some(path) = self.variable(&name) else { continue };
            let problem = match std::fs::read_to_string(path.trim()) {
                Ok(_) if self.variable(setting.name).is_some() => {
                    format!("{} is set as well; give only one of them", setting.name)
                }
                Ok(text) if text.trim().is_empty() => "is empty; write the secret into it".to_owned(),
                Ok(text) if setting.name == "ARCHIVE_URL" && ArchiveUrl::from(text.trim()).scheme().is_none() => {
                    // A secret that got there by mistake would be a folder, and folders are shown everywhere.
                    "holds no URL; a folder is no secret, so name it in ARCHIVE_URL itself".to_owned()
                }
                Ok(text) => {
                    given.insert(setting.name, (Layer::SecretFile, Some(text.trim().to_owned())));
                    continue;
                }
                Err(error) => format!("cannot be read: {error}"),
            };
            mistakes.push(Mistake::new(name, Layer::Environment, problem).with_value(path));
        }
    }

    fn read_flags(&self, given: &mut Given, mistakes: &mut Vec<Mistake>) {
        for (name, value) in &self.flags {
            match Setting::find(name) {
                Some(setting) => drop(given.insert(setting.name, (Layer::Flag, Some(value.clone())))),
                None => {
                    let problem = unknown(&name.to_ascii_uppercase(), SETTINGS.iter().map(|s| s.name.to_owned()));
                    mistakes.push(Mistake::new(name, Layer::Flag, problem));
                }
            }
        }
    }
}

/// The value of a setting that is not secret. It may hold a secret all the same: an address may have a password.
fn shown(text: Option<&str>) -> String {
    match text {
        Some(text) if text.contains("://") || text.contains(['@', '=']) => ArchiveUrl::from(text).to_string(),
        Some(text) => text.to_owned(),
        None => "(a table)".to_owned(),
    }
}

/// Whether a variable is read at all.
fn is_setting_name(name: &str) -> bool {
    let secret = name.strip_suffix("_FILE");
    name == "LIAP_CONFIG" || SETTINGS.iter().any(|it| it.name == name || it.secret && secret == Some(it.name))
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
        setting.shown(&self.layer(setting), &self.config)
    }
}
