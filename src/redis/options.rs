use std::path::PathBuf;
use std::time::Duration;

use super::Url;

/// Where Redis is and how it is asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// Its address; without one nothing is shared.
    pub url: Url,
    /// Connections that are kept open.
    pub pool_min: usize,
    /// Connections that are opened at most, when many questions are under way.
    pub pool_max: usize,
    /// The longest wait for an answer.
    pub patience: Duration,
    /// Who signs its certificate, in PEM. `None`: whom browsers trust.
    pub ca_file: Option<PathBuf>,
}

impl Default for Options {
    fn default() -> Self {
        Self { url: Url::default(), pool_min: 1, pool_max: 10, patience: Duration::from_millis(20), ca_file: None }
    }
}
