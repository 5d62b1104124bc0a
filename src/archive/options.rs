use std::path::{Path, PathBuf};
use std::time::Duration;

use super::sink::{self, ArchiveUrl, OpenError, SinkKind};

/// Whether, where and for how long completed games are kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// Keep completed games at all.
    pub enabled: bool,
    /// What kind of place they are kept in; anywhere but in a folder, in addition to one.
    pub backend: Backend,
    /// Several such kinds, instead.
    pub backends: Vec<Backend>,
    /// The place itself: for the file system a folder. Empty: `archive` in the data folder.
    pub url: ArchiveUrl,
    /// The place for S3, where `url` is not.
    pub url_s3: ArchiveUrl,
    /// The place for PostgreSQL, where `url` is not.
    pub url_postgresql: ArchiveUrl,
    /// Another name for the place for PostgreSQL, where neither of the two is given.
    pub database_url: ArchiveUrl,
    /// Connections to PostgreSQL that are kept, used or not.
    pub database_pool_min: usize,
    /// Connections to PostgreSQL at most.
    pub database_pool_max: usize,
    /// How many completed games are written, or copied, in one group at most.
    pub batch_size: usize,
    /// The longest time a completed game waits for its group to fill.
    pub flush_interval: Duration,
    /// Games older than this are removed; 0 keeps them for ever.
    pub retention_days: u32,
    /// How many summaries of games are kept ready in memory.
    pub summary_cache_size: usize,
}

impl Options {
    /// The folder of the archive. There always is one; everything else is a copy.
    pub fn folder(&self, data_dir: &Path) -> PathBuf {
        let path = match self.url.scheme() {
            None | Some("file") => self.url.reveal(),
            Some(_) => "",
        };
        let path = path.strip_prefix("file://").unwrap_or(path);
        if path.is_empty() { data_dir.join("archive") } else { PathBuf::from(path) }
    }

    /// How old a game may get.
    pub fn retention(&self) -> Option<Duration> {
        (self.retention_days > 0).then(|| Duration::from_secs(86_400 * u64::from(self.retention_days)))
    }

    /// The kinds of places that get copies.
    pub fn sinks(&self) -> Vec<SinkKind> {
        let mut kinds: Vec<SinkKind> =
            self.backends.iter().chain([&self.backend]).filter_map(|backend| backend.sink()).collect();
        kinds.sort_unstable();
        kinds.dedup();
        kinds
    }

    /// Where copies of this kind are, if that is said at all.
    pub fn sink_url(&self, kind: SinkKind) -> Option<&ArchiveUrl> {
        self.named_url(kind).map(|(_, url)| url)
    }

    /// The same, with the setting that says it.
    fn named_url(&self, kind: SinkKind) -> Option<(&'static str, &ArchiveUrl)> {
        let own = self.own_url(kind);
        if !own.is_empty() {
            Some((url_setting(kind), own))
        } else if kind.is_kind_of(&self.url) {
            Some(("ARCHIVE_URL", &self.url))
        } else if kind == SinkKind::Postgresql && !self.database_url.is_empty() {
            Some(("DATABASE_URL", &self.database_url))
        } else {
            None
        }
    }

    fn own_url(&self, kind: SinkKind) -> &ArchiveUrl {
        match kind {
            SinkKind::S3 => &self.url_s3,
            SinkKind::Postgresql => &self.url_postgresql,
        }
    }

    /// What no single one of these settings can know, as names of settings and what is wrong.
    pub fn mistakes(&self) -> Vec<(&'static str, String)> {
        let mut mistakes = Vec::new();
        if !self.backends.is_empty() && self.backend != Backend::default() {
            mistakes.push(("ARCHIVE_BACKEND", "must be left out where ARCHIVE_BACKENDS is given".to_owned()));
        }
        let sinks = self.sinks();
        for &kind in &sinks {
            let name = if self.backends.is_empty() { "ARCHIVE_BACKEND" } else { "ARCHIVE_BACKENDS" };
            match sink::open(kind, self) {
                Ok(_) => {}
                Err(error @ OpenError::NotInBuild(_)) => mistakes.push((name, error.to_string())),
                Err(OpenError::NoUrl(_)) if self.backends.is_empty() => {
                    mistakes.push(("ARCHIVE_URL", format!("must be like {}", kind.example())));
                }
                Err(OpenError::NoUrl(_)) => {
                    mistakes.push((url_setting(kind), format!("must be like {}", kind.example())));
                }
                Err(OpenError::Settings { reason, .. }) => {
                    mistakes.push((self.named_url(kind).map_or("ARCHIVE_URL", |(name, _)| name), reason));
                }
            }
        }
        for kind in SinkKind::ALL.into_iter().filter(|kind| !self.own_url(*kind).is_empty()) {
            if !sinks.contains(&kind) {
                mistakes.push((url_setting(kind), format!("has no use unless ARCHIVE_BACKENDS names {kind}")));
            } else if kind.is_kind_of(&self.url) {
                mistakes
                    .push(("ARCHIVE_URL", format!("must be left out, or a folder, as {} is given", url_setting(kind))));
            }
        }
        if !self.database_url.is_empty() && !sinks.contains(&SinkKind::Postgresql) {
            mistakes.push(("DATABASE_URL", "has no use unless ARCHIVE_BACKEND is postgresql".to_owned()));
        }
        if self.database_pool_min > self.database_pool_max {
            mistakes.push(("DATABASE_POOL_MIN", "must not be more than DATABASE_POOL_MAX".to_owned()));
        }
        if !matches!(self.url.scheme(), None | Some("file")) && !sinks.iter().any(|kind| kind.is_kind_of(&self.url)) {
            let known = SinkKind::ALL.into_iter().find(|kind| kind.is_kind_of(&self.url));
            let wanted = known.map_or_else(String::new, |kind| format!(", or ARCHIVE_BACKEND {kind}"));
            let is_told = mistakes.iter().any(|(name, _)| *name == "ARCHIVE_URL");
            if !is_told {
                mistakes.push(("ARCHIVE_URL", format!("must be a folder{wanted}")));
            }
        }
        mistakes
    }
}

fn url_setting(kind: SinkKind) -> &'static str {
    match kind {
        SinkKind::S3 => "ARCHIVE_URL_S3",
        SinkKind::Postgresql => "ARCHIVE_URL_POSTGRESQL",
    }
}

impl Default for Options {
    fn default() -> Self {
        Self {
            enabled: true,
            backend: Backend::default(),
            backends: Vec::new(),
            url: ArchiveUrl::default(),
            url_s3: ArchiveUrl::default(),
            url_postgresql: ArchiveUrl::default(),
            database_url: ArchiveUrl::default(),
            database_pool_min: 1,
            database_pool_max: 4,
            batch_size: 100,
            flush_interval: Duration::from_secs(60),
            retention_days: 0,
            summary_cache_size: 1_000,
        }
    }
}

/// A kind of place for completed games. All are known in every build, so that asking for one that was not
/// compiled in gets a clear answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, strum::Display, strum::EnumString)]
#[strum(serialize_all = "lowercase")]
pub enum Backend {
    /// A folder of this machine.
    #[default]
    Filesystem,
    /// A bucket behind the S3 protocol.
    S3,
    /// A PostgreSQL database.
    Postgresql,
}

impl Backend {
    /// The sink it is; a folder is none.
    pub const fn sink(self) -> Option<SinkKind> {
        match self {
            Self::Filesystem => None,
            Self::S3 => Some(SinkKind::S3),
            Self::Postgresql => Some(SinkKind::Postgresql),
        }
    }
}
