use std::fmt;

use super::Layer;

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
    pub layer: Layer,
    /// What is wrong, and what is allowed.
    pub problem: String,
}

impl Mistake {
    /// A mistake whose value is not shown.
    pub(super) fn new(setting: impl Into<String>, layer: Layer, problem: impl Into<String>) -> Self {
        Self { setting: setting.into(), value: None, layer, problem: problem.into() }
    }

    /// The same with the value that was given.
    pub(super) fn with_value(self, value: impl Into<String>) -> Self {
        Self { value: Some(value.into()), ..self }
    }
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.setting)?;
        if let Some(value) = &self.value {
            write!(f, " = {value:?}")?;
        }
        write!(f, " ({}): {}", self.layer, self.problem)
    }
}
