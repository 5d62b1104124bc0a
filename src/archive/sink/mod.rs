//! COPIES OF THE ARCHIVE: completed games in a bucket, in a database, or in both.
//!
//! The archive of this machine is the truth; a [`Sink`] holds copies of its games. A delivery can be repeated: a game that is
//! there with the same content counts as delivered. Several servers may copy to one
//! sink; each copy carries the [`Installation`] that made it, and nobody removes the copies of another one.
//!
//! Every build knows every kind of sink, so that a kind that is not compiled in gets a clear error. No other folder knows which
//! kinds there are.

#[cfg(feature = "s3")]
mod aws_files;
mod delivery;
mod game;
mod group;
mod installation;
mod outbox;
#[cfg(feature = "postgres")]
mod postgres;
#[cfg(feature = "s3")]
mod s3;
#[cfg(feature = "s3")]
mod s3_listing;
mod status;
mod sweep;
mod url;

use std::collections::BTreeMap;
use std::fmt;
use std::num::NonZeroUsize;
use std::pin::Pin;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::{GameId, Options, RecordStore, StoreError};
use outbox::Outbox;

pub(super) use delivery::SinkWorker;
pub use game::{Delivery, DeliveryError, Digest};
pub(super) use installation::NAME as INSTALLATION;
pub(crate) use installation::Origin;
pub use installation::{Installation, NotAnInstallation};
pub use outbox::Progress;
pub(super) use status::State;
pub use status::{Failing, SinkStatus};
pub use url::{ArchiveUrl, NotAnArchiveUrl};

/// A kind of sink.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Serialize,
    Deserialize,
    strum::Display,
    strum::IntoStaticStr,
)]
#[strum(serialize_all = "lowercase")]
pub enum SinkKind {
    /// A bucket behind the S3 protocol.
    S3,
    /// A PostgreSQL database.
    Postgresql,
}

impl SinkKind {
    /// All kinds.
    pub const ALL: [Self; 2] = [Self::S3, Self::Postgresql];

    /// The name in settings, on the command line and in the labels of metrics.
    pub fn name(self) -> &'static str {
        self.into()
    }

    /// The feature of the build that has it.
    pub const fn feature(self) -> &'static str {
        match self {
            Self::S3 => "s3",
            Self::Postgresql => "postgres",
        }
    }

    /// Whether this build can write to such a sink.
    pub const fn is_compiled_in(self) -> bool {
        match self {
            Self::S3 => cfg!(feature = "s3"),
            Self::Postgresql => cfg!(feature = "postgres"),
        }
    }

    /// Whether a URL is of this kind, by its scheme.
    pub fn is_kind_of(self, url: &ArchiveUrl) -> bool {
        match self {
            Self::S3 => url.scheme() == Some("s3"),
            Self::Postgresql => matches!(url.scheme(), Some("postgresql" | "postgres")),
        }
    }

    /// What its URL looks like.
    pub const fn example(self) -> &'static str {
        match self {
            Self::S3 => "s3://bucket/prefix/",
            Self::Postgresql => "postgresql://user:password@host/database",
        }
    }
}

impl FromStr for SinkKind {
    type Err = NotASink;

    fn from_str(text: &str) -> Result<Self, NotASink> {
        Self::ALL.into_iter().find(|kind| kind.name() == text).ok_or(NotASink)
    }
}

/// The text names no kind of sink.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a sink is s3 or postgresql")]
pub struct NotASink;

/// Games that one call of [`Sink::remove`] looks at in a bucket, or removes from a database, at most.
const PASS_GAMES: usize = 500;

/// The future answer of a sink.
pub type Answer<'a, T> = Pin<Box<dyn Future<Output = Result<T, SinkError>> + Send + 'a>>;

/// A place that holds copies of games.
///
/// A sink bounds the time of every call, to less than a minute, because a person may be waiting. It is used on one runtime
/// only, and answers there.
pub trait Sink: fmt::Debug + Send + Sync {
    /// Where it is, without secrets. The progress of deliveries is stored under this name, so it changes if and only if the
    /// place does.
    fn place(&self) -> String;

    /// Whether games can be copied now. Creates what is needed there and may be created, such as a schema.
    fn check(&self) -> Answer<'_, ()>;

    /// [`Self::check`], and whether everything that deliveries and removals rely on really works there. Leaves nothing behind.
    fn prove(&self) -> Answer<'_, ()> {
        self.check()
    }

    /// Copies games, and names those that it can never take, however often they were sent. All others are there for good
    /// when it has answered; after an error any of them may be, and all are sent again.
    ///
    /// A game that is there with the same content is left as it is, and belongs to the installation that made it. One that is
    /// there with another content is refused. Each new copy carries `ours`.
    fn deliver<'a>(&'a self, games: &'a [Delivery], ours: Installation) -> Answer<'a, Vec<Refusal>>;

    /// The games that come after this one, ordered by their ids, and what is known of their content. Fewer than `limit`:
    /// there are no more.
    fn page(&self, after: Option<GameId>, limit: NonZeroUsize) -> Answer<'_, Vec<SinkCopy>>;

    /// All of a game: [`Content::Stored`] or [`Content::Json`].
    fn fetch(&self, id: GameId) -> Answer<'_, Option<Content>>;

    /// Compares what belongs to the copies of these games, besides their content, with what would be sent, and names the
    /// copies that differ. It need not find again what [`Self::page`] reports.
    fn audit<'a>(&'a self, _games: &'a [Delivery]) -> Answer<'a, Vec<(GameId, Defect)>> {
        // Nothing else belongs to a copy that is one object.
        Box::pin(std::future::ready(Ok(Vec::new())))
    }

    /// How many games are there, whoever made them, that began before this time, in milliseconds of Unix time. Counts no
    /// further than `limit`.
    fn count(&self, before_ms: u64, limit: NonZeroUsize) -> Answer<'_, usize>;

    /// Removes copies of games that come after `after` and began before `before_ms`, in milliseconds of Unix time, if they
    /// carry `ours`; all others stay. One call removes at most 500 and says where the next one goes on.
    fn remove(&self, after: Option<GameId>, before_ms: u64, ours: Installation) -> Answer<'_, RemovalPass>;

    /// Makes copies ours that carry `from`, or nothing where that is `None`, if their content is that of these games. Says for
    /// each game what became of it, in any order.
    fn adopt<'a>(
        &'a self,
        games: &'a [Delivery],
        from: Option<Installation>,
        ours: Installation,
    ) -> Answer<'a, Vec<(GameId, Adoption)>>;
}

/// What one call of [`Sink::remove`] has done.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RemovalPass {
    /// Copies that were removed.
    pub removed: u64,
    /// Copies that stay because they do not say who made them, as far as they were counted.
    pub unmarked: u64,
    /// The last game that was looked at, if there may be more after it.
    pub next: Option<GameId>,
}

/// What became of a copy that was to be adopted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Adoption {
    /// It is ours now.
    Adopted,
    /// It was ours already.
    Ours,
    /// It belongs to this installation, or to one that cannot be read, or to nobody where only those of one were meant.
    Other(Option<Installation>),
    /// Its content is another one.
    Differs,
    /// There is no copy.
    Absent,
}

/// A game that a sink can never take.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// Which game.
    pub id: GameId,
    /// Why.
    pub reason: String,
}

/// A game in a sink.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SinkCopy {
    /// Which game.
    pub id: GameId,
    /// What is known of it.
    pub content: Content,
    /// What is wrong with the rest of the copy; empty for a copy that is as it was sent.
    pub defects: Vec<Defect>,
}

impl SinkCopy {
    /// A copy without defects.
    pub const fn new(id: GameId, content: Content) -> Self {
        Self { id, content, defects: Vec::new() }
    }
}

/// What is wrong with a copy besides its content.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Defect {
    /// Events were removed or added. They come again with the game.
    #[error("{there} events are there, not {wanted}; `liap archive sync --all` sends them again")]
    Events {
        /// How many there are.
        there: i64,
        /// How many were sent.
        wanted: i64,
    },
    /// The names of columns that differ from the game's JSON.
    #[error("its row there has been altered: {0}")]
    Columns(String),
    /// There are as many events as were sent, and some of them differ.
    #[error("its events there have been altered")]
    EventsAltered,
}

/// What a sink has of a game.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Content {
    /// The stored form, byte for byte.
    Stored(Vec<u8>),
    /// The public form; its keys may be in any order.
    Json(String),
    /// The digest of the public form.
    Digest(Digest),
}

/// Why a call of a sink failed. The message holds no password.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SinkError {
    /// It cannot be reached, is too slow, or full: the same call may work later.
    #[error("{0}")]
    Unavailable(String),
    /// It refuses us: wrong credentials, no such bucket or database. A person must change something.
    #[error("{0}")]
    Denied(String),
}

/// Why a sink cannot be opened.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    /// It was not compiled in.
    #[error("sink `{0}` is not in this build; build with --features {feature}", feature = .0.feature())]
    NotInBuild(SinkKind),
    /// It has no URL.
    #[error("sink `{0}` has no URL, such as {example}", example = .0.example())]
    NoUrl(SinkKind),
    /// Its settings cannot be used.
    #[error("sink `{kind}`: {reason}")]
    Settings {
        /// Which sink.
        kind: SinkKind,
        /// What is wrong.
        reason: String,
    },
}

/// Opens a sink with these settings and this process's environment. Sends nothing yet.
///
/// # Errors
/// [`OpenError`]: the settings, or the build, must be changed.
pub fn open(kind: SinkKind, options: &Options) -> Result<Arc<dyn Sink>, OpenError> {
    let environment = std::env::vars_os();
    open_in(
        kind,
        options,
        &environment.filter_map(|(name, value)| name.into_string().ok().zip(value.into_string().ok())).collect(),
    )
}

/// [`open`] in another environment, where a sink finds credentials that settings do not hold.
///
/// # Errors
/// As for [`open`].
#[cfg_attr(not(feature = "s3"), expect(unused_variables, reason = "only S3 looks there"))]
pub fn open_in(
    kind: SinkKind,
    options: &Options,
    environment: &BTreeMap<String, String>,
) -> Result<Arc<dyn Sink>, OpenError> {
    if !kind.is_compiled_in() {
        return Err(OpenError::NotInBuild(kind));
    }
    let url = options.sink_url(kind).ok_or(OpenError::NoUrl(kind))?;
    let wrong = |reason| OpenError::Settings { kind, reason };
    if !kind.is_kind_of(url) {
        return Err(wrong(format!("must be like {}", kind.example())));
    }
    match kind {
        #[cfg(feature = "s3")]
        SinkKind::S3 => s3::S3::open(url, environment).map(|sink| Arc::new(sink) as _).map_err(wrong),
        #[cfg(not(feature = "s3"))]
        SinkKind::S3 => Err(OpenError::NotInBuild(kind)),
        #[cfg(feature = "postgres")]
        SinkKind::Postgresql => postgres::Postgres::open(url, options).map(|sink| Arc::new(sink) as _).map_err(wrong),
        #[cfg(not(feature = "postgres"))]
        SinkKind::Postgresql => Err(OpenError::NotInBuild(kind)),
    }
}

/// How far the copies in a place are.
///
/// # Errors
/// The disk refuses.
pub(crate) fn progress(store: &RecordStore, kind: SinkKind, place: &str) -> Result<Progress, StoreError> {
    let folder = store.folder();
    Progress::look(folder, kind, place).map_err(|source| StoreError::Io { path: folder.to_owned(), source })
}

/// Marks every game as delivered to the sink.
///
/// # Errors
/// The disk refuses.
pub(crate) fn owe_nothing(store: &RecordStore, kind: SinkKind, sink: &dyn Sink) -> Result<(), StoreError> {
    let last = store.last_number();
    let opened = Outbox::open(store.folder(), kind, &sink.place(), last);
    let noted = opened.and_then(|mut outbox| outbox.advance(last));
    noted.map_err(|source| StoreError::Io { path: store.folder().to_owned(), source })
}
