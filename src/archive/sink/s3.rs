//! Games in a bucket behind the S3 protocol.
//!
//! A game is an object named `PREFIX/2026/11/25/ID.liap`, after the day on which it began, so that names sort like ids and a
//! day can be found by hand. Its bytes are those of the archive; digest, versions and the installation that made the copy stand
//! beside them as metadata. Objects are only ever created: what is there already is compared and left as it is. To adopt a copy
//! writes the same bytes once more, with the new installation beside them.

use std::collections::BTreeMap;
use std::error::Error as _;
use std::num::NonZeroUsize;
use std::time::Duration;

use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use jiff::Timestamp;
use object_store::aws::{AmazonS3, AmazonS3Builder};
use object_store::list::{PaginatedListOptions, PaginatedListResult, PaginatedListStore as _};
use object_store::path::Path;
use object_store::{
    Attribute, AttributeValue, Attributes, Certificate, ClientOptions, Error, GetOptions, GetResult, ObjectStore as _,
    ObjectStoreExt as _, PutMode, PutOptions, RetryConfig, UpdateVersion,
};
use sha2::{Digest as _, Sha256};

use super::aws_files;
use super::s3_listing::{Connector, ENDING, is_name_char, is_part};
use super::{
    Adoption, Answer, ArchiveUrl, Content, Delivery, Installation, PASS_GAMES, Refusal, RemovalPass, Sink, SinkCopy,
    SinkError,
};
use crate::archive::{GameId, MAX_RECORD_BYTES, PlayerKind};
use crate::game::RULES_VERSION;

/// Requests under way at once: enough to hide the way there and back, few enough for any server.
const IN_FLIGHT: usize = 32;
/// Longest time for one request.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(15);
/// Longest time for a question that takes many of them.
const TIMEOUT: Duration = Duration::from_secs(45);
/// Longest time until a connection is there.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Names asked for in one go: what the protocol allows.
const PAGE_KEYS: usize = 1000;
/// The metadata that says which installation made a copy.
const INSTALLATION: &str = "liap-installation";

/// What the name of a probe object begins with. No game has such a name.
const PROBE: &str = "liap-probe-";
/// What is wrong with a bucket in which the second of two probe objects takes the place of the first.
const UNCONDITIONAL: &str = "the bucket ignores If-None-Match, so games of others could be overwritten; nothing is copied there: \
    use a server that knows conditional writes, or a newer version of this one";

/// A bucket, or a part of it.
#[derive(Debug)]
pub(super) struct S3 {
    store: AmazonS3,
    place: String,
    /// Empty, or with a slash at its end.
    prefix: String,
}

impl S3 {
    /// Makes ready for a bucket; asks nothing of it. Credentials and whatever the URL does not say come from the environment
    /// and the files it names, under the names that all clients of S3 know.
    pub(super) fn open(url: &ArchiveUrl, environment: &BTreeMap<String, String>) -> Result<Self, String> {
        let Location { bucket, prefix, mut options } = Location::parse(url.reveal())?;
        let mut profile = aws_files::profile(environment)?;
        aws_files::lower_priority(&mut profile, environment);
        let mut builder = AmazonS3Builder::new();
        // From the weakest to the strongest word.
        for (name, value) in profile.iter().chain(environment) {
            if let Some(key) = name.strip_prefix("AWS_").and_then(|_| name.to_ascii_lowercase().parse().ok())
                && !value.is_empty()
            {
                builder = builder.with_config(key, value);
            }
        }
        let set = |name: &str| environment.get(name).or_else(|| profile.get(name)).filter(|value| !value.is_empty());
        let endpoint = options.remove("endpoint");
        let endpoint = endpoint.or_else(|| set("AWS_ENDPOINT_URL_S3").or_else(|| set("AWS_ENDPOINT_URL")).cloned());
        if let Some(region) = options.remove("region") {
            builder = builder.with_region(region);
        }
        let path_style = match options.remove("path_style").as_deref() {
            None | Some("true") => true,
            Some("false") => false,
            Some(_) => return Err("path_style must be true or false".to_owned()),
        };
        if let Some(unknown) = options.keys().next() {
            return Err(format!("{unknown} is unknown; there are endpoint, region and path_style"));
        }
        let mut client = ClientOptions::new().with_timeout(REQUEST_TIMEOUT).with_connect_timeout(CONNECT_TIMEOUT);
        let mut place = format!("s3://{bucket}/{prefix}");
        if let Some(endpoint) = &endpoint {
            let (scheme, host) = endpoint
                .trim_end_matches('/')
                .split_once("://")
                .filter(|(scheme, host)| ["http", "https"].contains(scheme) && !host.is_empty() && !host.contains('@'))
                .ok_or("the endpoint must be like https://s3.example.org")?;
            // Whoever writes http means it. Without TLS no certificates are needed, and there may be none.
            client = client.with_allow_http(scheme == "http").with_no_system_certificates(scheme == "http");
            place.push_str(&format!(" at {host}"));
            let address = if path_style { format!("{scheme}://{host}") } else { format!("{scheme}://{bucket}.{host}") };
            builder = builder.with_config(object_store::aws::AmazonS3ConfigKey::S3Endpoint, address);
        }
        if let Some(file) = set("AWS_CA_BUNDLE") {
            let pem = std::fs::read(file).map_err(|error| format!("AWS_CA_BUNDLE {file}: {error}"))?;
            let certificates = Certificate::from_pem_bundle(&pem).map_err(|error| brief(&error))?;
            if certificates.is_empty() {
                return Err(format!("AWS_CA_BUNDLE {file}: there is no certificate in it"));
            }
            for certificate in certificates {
                client = client.with_root_certificate(certificate);
            }
        }
        // The TLS that the rest of the house has. A second call changes nothing.
        drop(tokio_rustls::rustls::crypto::ring::default_provider().install_default());
        let store = builder
            .with_bucket_name(&bucket)
            .with_virtual_hosted_style_request(!path_style)
            .with_client_options(client)
            .with_http_connector(Connector)
            // We try again ourselves, and know better how long.
            .with_retry(RetryConfig { max_retries: 1, retry_timeout: REQUEST_TIMEOUT, ..RetryConfig::default() })
            .build()
            .map_err(|error| brief(&error))?;
        Ok(Self { store, place, prefix })
    }

    fn key(&self, id: GameId) -> Path {
        // Days beyond the last one that has a name share that one, so names still sort like ids.
        let time = i64::try_from(id.unix_ms()).ok().and_then(|ms| Timestamp::from_millisecond(ms).ok());
        let day = time.unwrap_or(Timestamp::MAX).strftime("%Y/%m/%d");
        Path::from(format!("{}{day}/{id}{ENDING}", self.prefix))
    }

    /// The game that an object is, by its name; other objects are not ours to judge.
    fn id(&self, key: &Path) -> Option<GameId> {
        let id = key.filename()?.strip_suffix(ENDING)?.parse().ok()?;
        (self.key(id) == *key).then_some(id)
    }

    /// The games that come after this one, by name alone. Fewer than `limit`: there are no more.
    async fn ids(&self, after: Option<GameId>, limit: usize) -> Result<Vec<GameId>, SinkError> {
        let mut ids = Vec::new();
        let offset = after.map(|id| self.key(id).to_string());
        let mut page_token = None;
        loop {
            // Always as many as may be had, for any number of them may belong to somebody else.
            let page = self.list(offset.clone(), page_token, PAGE_KEYS).await?;
            ids.extend(page.result.objects.iter().filter_map(|object| self.id(&object.location)));
            page_token = page.page_token;
            if ids.len() >= limit || page_token.is_none() {
                ids.truncate(limit);
                return Ok(ids);
            }
        }
    }

    /// One request for names.
    async fn list(
        &self,
        offset: Option<String>,
        page_token: Option<String>,
        max_keys: usize,
    ) -> Result<PaginatedListResult, SinkError> {
        let prefix = Some(self.prefix.as_str()).filter(|prefix| !prefix.is_empty());
        let max_keys = Some(max_keys);
        let options = PaginatedListOptions { offset, max_keys, page_token, ..PaginatedListOptions::default() };
        self.store.list_paginated(prefix, options).await.map_err(|error| fault(&error))
    }

    /// An object, or only what stands beside it.
    async fn open_object(&self, id: GameId, options: GetOptions) -> Result<Option<GetResult>, SinkError> {
        match self.store.get_opts(&self.key(id), options).await {
            Ok(found) => Ok(Some(found)),
            Err(Error::NotFound { source, .. }) if !source.to_string().contains("NoSuchBucket") => Ok(None),
            Err(error) => Err(fault(&error)),
        }
    }

    async fn get(&self, id: GameId) -> Result<Option<Vec<u8>>, SinkError> {
        match self.open_object(id, GetOptions::default()).await? {
            Some(found) => read(found).await.map(Some),
            None => Ok(None),
        }
    }

    async fn put(&self, game: &Delivery, ours: Installation) -> Result<Option<Refusal>, SinkError> {
        let attributes = metadata(game, &game.stored, ours);
        let options = PutOptions { mode: PutMode::Create, attributes, ..PutOptions::default() };
        match self.store.put_opts(&self.key(game.id), game.stored.clone().into(), options).await {
            Ok(_) => Ok(None),
            Err(Error::AlreadyExists { .. }) => self.hold_against(game).await,
            Err(error) => Err(fault(&error)),
        }
    }

    /// Creates an object, looks at it, and removes it, as it is done with games.
    async fn probe(&self) -> Result<(), SinkError> {
        let mut random = [0; 8];
        getrandom::fill(&mut random).map_err(|error| SinkError::Unavailable(error.to_string()))?;
        let key = Path::from(format!("{}{PROBE}{}", self.prefix, hex::encode(random)));
        self.create_probe(&key, "first").await.map_err(|error| may_not("create objects", &fault(&error)))?;
        let works = self.probe_object(&key).await;
        // Also where something did not work.
        let removed = self.store.delete(&key).await.map_err(|error| may_not("delete objects", &fault(&error)));
        works.and(removed)
    }

    async fn create_probe(&self, key: &Path, text: &str) -> object_store::Result<()> {
        self.store.put_opts(key, text.to_owned().into(), PutMode::Create.into()).await.map(drop)
    }

    async fn probe_object(&self, key: &Path) -> Result<(), SinkError> {
        match self.create_probe(key, "second").await {
            Err(Error::AlreadyExists { .. }) => {}
            Ok(()) => return Err(SinkError::Denied(UNCONDITIONAL.to_owned())),
            Err(error) => return Err(may_not("create an object only if there is none", &fault(&error))),
        }
        self.list(None, None, 1).await.map_err(|error| may_not("list the bucket", &error))?;
        let read = async { self.store.get(key).await?.bytes().await };
        let bytes = read.await.map_err(|error: Error| may_not("get objects", &fault(&error)))?;
        if *bytes == *b"first" { Ok(()) } else { Err(SinkError::Denied(UNCONDITIONAL.to_owned())) }
    }

    /// Who made the copy of a game.
    async fn maker(&self, id: GameId) -> Result<Maker, SinkError> {
        match self.open_object(id, GetOptions { head: true, ..GetOptions::default() }).await {
            Ok(Some(found)) => Ok(Maker::of(&found.attributes)),
            // Gone meanwhile.
            Ok(None) => Ok(Maker::Installation(None)),
            // Locked by another key, say. What cannot be looked at is not ours.
            Err(SinkError::Denied(_)) => Ok(Maker::Nobody),
            Err(error) => Err(error),
        }
    }

    async fn adopt_one(
        &self,
        game: &Delivery,
        from: Option<Installation>,
        ours: Installation,
    ) -> Result<Adoption, SinkError> {
        let Some(found) = self.open_object(game.id, GetOptions::default()).await? else { return Ok(Adoption::Absent) };
        match Maker::of(&found.attributes) {
            Maker::Installation(Some(maker)) if maker == ours => return Ok(Adoption::Ours),
            maker if maker == from.map_or(Maker::Nobody, |from| Maker::Installation(Some(from))) => {}
            Maker::Installation(maker) => return Ok(Adoption::Other(maker)),
            Maker::Nobody => return Ok(Adoption::Other(None)),
        }
        let version = UpdateVersion { e_tag: found.meta.e_tag.clone(), version: None };
        let bytes = read(found).await?;
        let is_same = bytes == game.stored
            || Delivery::prove(game.id, bytes.clone()).is_ok_and(|found| found.digest() == game.digest());
        if !is_same {
            return Ok(Adoption::Differs);
        }
        // The same bytes, and only if they are still there.
        let mode = if version.e_tag.is_some() { PutMode::Update(version) } else { PutMode::Overwrite };
        let options = PutOptions { mode, attributes: metadata(game, &bytes, ours), ..PutOptions::default() };
        match self.store.put_opts(&self.key(game.id), bytes.into(), options).await {
            Ok(_) => Ok(Adoption::Adopted),
            Err(Error::Precondition { .. }) => Ok(Adoption::Differs),
            Err(error) => Err(fault(&error)),
        }
    }

    /// Whether what is there already is the same game.
    async fn hold_against(&self, game: &Delivery) -> Result<Option<Refusal>, SinkError> {
        let refusal = |reason| Ok(Some(Refusal { id: game.id, reason }));
        let found = match self.get(game.id).await {
            Ok(Some(found)) => found,
            Ok(None) => return Err(SinkError::Unavailable("an object is there and then not".to_owned())),
            // One that is frozen, or locked by another key, shall not hold up the others; but we may be nobody's guest.
            Err(SinkError::Denied(reason)) => {
                self.list(None, None, 1).await?;
                return refusal(format!("what is there under its name cannot be read: {reason}"));
            }
            Err(error) => return Err(error),
        };
        let reason = if found == game.stored {
            return Ok(None);
        } else {
            match Delivery::prove(game.id, found) {
                Ok(found) if found.digest() == game.digest() => return Ok(None),
                Ok(_) => "another game is there under its name".to_owned(),
                Err(error) => format!("what is there under its name is no game: {error}"),
            }
        };
        refusal(reason)
    }
}

impl Sink for S3 {
    fn place(&self) -> String {
        self.place.clone()
    }

    fn check(&self) -> Answer<'_, ()> {
        // Whatever comes first there, it has answered.
        Box::pin(bounded(async { self.list(None, None, 1).await.map(drop) }))
    }

    fn prove(&self) -> Answer<'_, ()> {
        Box::pin(bounded(self.probe()))
    }

    fn deliver<'a>(&'a self, games: &'a [Delivery], ours: Installation) -> Answer<'a, Vec<Refusal>> {
        Box::pin(async move {
            let puts: Vec<_> = games.iter().map(|game| self.put(game, ours)).collect();
            let refusals = stream::iter(puts).buffer_unordered(IN_FLIGHT);
            refusals.try_filter_map(|refusal| async { Ok(refusal) }).try_collect().await
        })
    }

    fn page(&self, after: Option<GameId>, limit: NonZeroUsize) -> Answer<'_, Vec<SinkCopy>> {
        Box::pin(bounded(async move {
            let ids = self.ids(after, limit.get()).await?;
            let get = |id| async move {
                // Should it be removed in between, it is no game that reads empty.
                let content = Content::Stored(self.get(id).await?.unwrap_or_default());
                Ok(SinkCopy::new(id, content))
            };
            stream::iter(ids).map(get).buffered(IN_FLIGHT).try_collect().await
        }))
    }

    fn fetch(&self, id: GameId) -> Answer<'_, Option<Content>> {
        Box::pin(async move { Ok(self.get(id).await?.map(Content::Stored)) })
    }

    fn count(&self, before_ms: u64, limit: NonZeroUsize) -> Answer<'_, usize> {
        Box::pin(bounded(async move {
            let before = GameId::first_at(before_ms);
            let ids = self.ids(None, limit.get()).await?;
            Ok(ids.into_iter().take_while(|id| *id < before).count())
        }))
    }

    fn remove(&self, after: Option<GameId>, before_ms: u64, ours: Installation) -> Answer<'_, RemovalPass> {
        Box::pin(bounded(async move {
            let before = GameId::first_at(before_ms);
            let mut ids = self.ids(after, PASS_GAMES).await?;
            let found = ids.len();
            ids.retain(|id| *id < before);
            let next = ids.last().copied().filter(|_| ids.len() == found && found == PASS_GAMES);
            let look = |id| async move { self.maker(id).await.map(|maker| (id, maker)) };
            let makers: Vec<(GameId, Maker)> =
                stream::iter(ids).map(look).buffer_unordered(IN_FLIGHT).try_collect().await?;
            let is_ours = |maker: &Maker| *maker == Maker::Installation(Some(ours));
            let keys: Vec<_> =
                makers.iter().filter(|(_, maker)| is_ours(maker)).map(|(id, _)| Ok(self.key(*id))).collect();
            let gone = self.store.delete_stream(stream::iter(keys).boxed());
            let removed = gone.map_err(|error| fault(&error)).try_fold(0, |sum, _| async move { Ok(sum + 1) }).await?;
            let unmarked = makers.iter().filter(|(_, maker)| *maker == Maker::Nobody).count() as u64;
            Ok(RemovalPass { removed, unmarked, next })
        }))
    }

    fn adopt<'a>(
        &'a self,
        games: &'a [Delivery],
        from: Option<Installation>,
        ours: Installation,
    ) -> Answer<'a, Vec<(GameId, Adoption)>> {
        Box::pin(bounded(async move {
            let adopt: Vec<_> = games
                .iter()
                .map(|game| async move { self.adopt_one(game, from, ours).await.map(|adoption| (game.id, adoption)) })
                .collect();
            stream::iter(adopt).buffer_unordered(IN_FLIGHT).try_collect().await
        }))
    }
}

/// Who made a copy, as it says itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Maker {
    /// It does not say: an earlier version, or another program.
    Nobody,
    /// This installation, or one whose number cannot be read.
    Installation(Option<Installation>),
}

impl Maker {
    fn of(attributes: &Attributes) -> Self {
        match attributes.get(&Attribute::Metadata(INSTALLATION.into())) {
            None => Self::Nobody,
            Some(text) => Self::Installation(text.parse().ok()),
        }
    }
}

/// The bytes of an object.
async fn read(found: GetResult) -> Result<Vec<u8>, SinkError> {
    if found.meta.size > MAX_RECORD_BYTES as u64 {
        // Not a game; whoever looks at its bytes will find that out.
        return Ok(Vec::new());
    }
    found.bytes().await.map(|bytes| bytes.to_vec()).map_err(|error| fault(&error))
}

/// A bucket that takes too long is given up; what was removed by then is gone.
async fn bounded<T>(act: impl Future<Output = Result<T, SinkError>>) -> Result<T, SinkError> {
    let seconds = TIMEOUT.as_secs();
    tokio::time::timeout(TIMEOUT, act)
        .await
        .unwrap_or_else(|_| Err(SinkError::Unavailable(format!("the bucket has not answered within {seconds} s"))))
}

/// What stands beside an object with these bytes, for other programs and other eyes.
fn metadata(game: &Delivery, stored: &[u8], ours: Installation) -> Attributes {
    let people = game.record.players.iter().filter(|player| player.kind == PlayerKind::Human).count();
    let form = stored.first().copied().unwrap_or_default();
    [
        (INSTALLATION, ours.to_string()),
        ("liap-sha256", hex::encode(Sha256::digest(stored))),
        ("liap-form", form.to_string()),
        ("liap-rules", RULES_VERSION.to_string()),
        ("liap-people", people.to_string()),
    ]
    .into_iter()
    .map(|(name, value)| (Attribute::Metadata(name.into()), value.into()))
    .chain([(Attribute::ContentType, AttributeValue::from("application/octet-stream"))])
    .collect()
}

/// What a URL says.
#[derive(Debug, PartialEq, Eq)]
struct Location {
    bucket: String,
    prefix: String,
    options: BTreeMap<String, String>,
}

impl Location {
    fn parse(url: &str) -> Result<Self, String> {
        let wrong = || "must be like s3://bucket/prefix/".to_owned();
        let rest = url.strip_prefix("s3://").ok_or_else(wrong)?;
        let (place, query) = rest.split_once('?').unwrap_or((rest, ""));
        let (bucket, prefix) = place.split_once('/').unwrap_or((place, ""));
        if bucket.is_empty() || !bucket.chars().all(is_name_char) {
            return Err(format!("{}; a bucket is named by letters, digits, dots and hyphens", wrong()));
        }
        let parts: Vec<&str> = prefix.split('/').filter(|part| !part.is_empty()).collect();
        if !parts.iter().all(|part| is_part(part)) {
            return Err("a prefix is made of letters, digits, dots, hyphens and slashes".to_owned());
        }
        let prefix = parts.iter().flat_map(|part| [*part, "/"]).collect();
        let mut options = BTreeMap::new();
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').ok_or("write options as name=value, with & in between")?;
            options
                .insert(name.to_owned(), percent_encoding::percent_decode_str(value).decode_utf8_lossy().into_owned());
        }
        Ok(Self { bucket: bucket.to_owned(), prefix, options })
    }
}

/// What servers say when they refuse us, or to open an object. They do not agree about the status that goes with it.
const DENIALS: [&str; 9] = [
    "AccessDenied",
    "AuthorizationHeaderMalformed",
    "ExpiredToken",
    "InvalidAccessKeyId",
    "InvalidObjectState",
    "InvalidToken",
    "KMS.",
    "NoSuchBucket",
    "SignatureDoesNotMatch",
];

/// Whose fault an error is, in few words.
fn fault(error: &Error) -> SinkError {
    let text = brief(error);
    let is_denied =
        matches!(error, Error::PermissionDenied { .. } | Error::Unauthenticated { .. } | Error::NotFound { .. })
            || DENIALS.iter().any(|code| text.starts_with(code));
    if is_denied { SinkError::Denied(text) } else { SinkError::Unavailable(text) }
}

/// A right that is missing, or a bucket that cannot be asked now.
fn may_not(what: &str, error: &SinkError) -> SinkError {
    match error {
        SinkError::Denied(reason) => SinkError::Denied(format!("Liap must be allowed to {what}, and is not: {reason}")),
        SinkError::Unavailable(reason) if reason.starts_with("NotImplemented") => {
            SinkError::Denied(format!("Liap must be able to {what}, and the bucket cannot: {reason}"))
        }
        SinkError::Unavailable(_) => error.clone(),
    }
}

/// The heart of an error of this client, which likes to tell long stories: what the server says, or else what failed deepest.
fn brief(error: &Error) -> String {
    const LONGEST: usize = 300;
    let text = error.to_string();
    let tag = |name: &str| {
        let (_, rest) = text.split_once(&format!("<{name}>"))?;
        rest.split_once('<').map(|(inside, _)| inside.to_owned())
    };
    let brief = match (tag("Code"), tag("Message")) {
        (Some(code), Some(message)) => format!("{code}: {message}"),
        (Some(code), None) => code,
        _ => {
            let mut deepest = error.source();
            while let Some(deeper) = deepest.and_then(std::error::Error::source) {
                deepest = Some(deeper);
            }
            deepest.map_or_else(|| text.clone(), ToString::to_string)
        }
    };
    brief.chars().take(LONGEST).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open(url: &str, environment: &[(&str, &str)]) -> Result<S3, String> {
        let environment = environment.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        S3::open(&ArchiveUrl::from(url), &environment)
    }

    #[test]
    fn a_url_names_a_bucket_and_perhaps_more() {
        let place = |url: &str| open(url, &[]).map(|s3| s3.place);
        assert_eq!(place("s3://liap-archives/games/"), Ok("s3://liap-archives/games/".to_owned()));
        assert_eq!(place("s3://liap-archives"), Ok("s3://liap-archives/".to_owned()));
        assert_eq!(place("s3://b//a//b"), Ok("s3://b/a/b/".to_owned()));
        let elsewhere = "s3://b/?endpoint=http%3A%2F%2Flocalhost%3A9000&region=eu-central-1&path_style=false";
        assert_eq!(place(elsewhere), Ok("s3://b/ at localhost:9000".to_owned()));
        assert_eq!(
            open("s3://b", &[("AWS_ENDPOINT_URL", "http://a/"), ("AWS_ENDPOINT_URL_S3", "http://b")]).unwrap().place,
            "s3://b/ at b"
        );
        for wrong in [
            "s3://",
            "s3:///games",
            "s3://b c/",
            "s3://b/../c/",
            "s3://user:hush@b/",
            "s3://b/?endpoint=localhost",
            "s3://b/?endpoint=http://user:hush@host",
            "s3://b/?region",
            "s3://b/?access_key=hush",
            "s3://b/?path_style=perhaps",
        ] {
            let problem = place(wrong).expect_err(wrong);
            assert!(!problem.contains("hush"), "{problem}");
        }
        let half = open("s3://b", &[("AWS_ACCESS_KEY_ID", "key")]).unwrap_err();
        assert!(half.contains("SecretAccessKey"), "{half}");
    }

    #[tokio::test]
    async fn a_key_of_the_environment_goes_without_the_token_of_a_profile() {
        let home = tempfile::tempdir().unwrap();
        let file = home.path().join("credentials");
        let text = "[default]\naws_access_key_id=a\naws_secret_access_key=b\naws_session_token=c\n";
        std::fs::write(&file, text).unwrap();
        let profile = ("AWS_SHARED_CREDENTIALS_FILE", file.to_str().unwrap());
        let key = async |environment: &[(&str, &str)]| {
            let s3 = open("s3://b", environment).unwrap();
            let found = s3.store.credentials().get_credential().await.unwrap();
            (found.key_id.clone(), found.token.clone())
        };
        assert_eq!(key(&[profile]).await, ("a".to_owned(), Some("c".to_owned())));
        let own = [profile, ("AWS_ACCESS_KEY_ID", "x"), ("AWS_SECRET_ACCESS_KEY", "y")];
        assert_eq!(key(&own).await, ("x".to_owned(), None));
    }

    #[test]
    fn a_bundle_without_a_certificate_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("ca.pem");
        let bundle = [("AWS_CA_BUNDLE", file.to_str().unwrap())];
        for text in ["", "no PEM at all"] {
            std::fs::write(&file, text).unwrap();
            let problem = open("s3://b", &bundle).unwrap_err();
            assert!(problem.starts_with("AWS_CA_BUNDLE") && problem.ends_with("no certificate in it"), "{problem}");
        }
        std::fs::write(&file, rcgen::generate_simple_self_signed(["b".to_owned()]).unwrap().cert.pem()).unwrap();
        assert!(open("s3://b", &bundle).is_ok());
    }

    #[test]
    fn names_sort_like_ids_and_lead_back_to_them() {
        let s3 = open("s3://b/games", &[]).unwrap();
        let ids: Vec<GameId> =
            [0, 1_767_225_599_999, 1_767_225_600_000, 1_795_428_902_120, 253_402_300_800_000, u64::MAX]
                .into_iter()
                .map(GameId::first_at)
                .chain([GameId::MAX])
                .collect();
        let keys: Vec<Path> = ids.iter().map(|id| s3.key(*id)).collect();
        assert!(keys.windows(2).all(|pair| pair[0] < pair[1]), "{keys:?}");
        assert_eq!(keys[3].to_string(), format!("games/2026/11/23/{}.liap", ids[3]));
        for (id, key) in ids.iter().zip(&keys) {
            assert_eq!(s3.id(key), Some(*id));
        }
        for foreign in ["games/readme.txt", "games/2026/11/24/01JD.liap", "other/2026/11/23/x.liap"] {
            assert_eq!(s3.id(&Path::from(foreign)), None);
        }
        assert_eq!(s3.id(&Path::from(format!("games/2026/11/22/{}.liap", ids[3]))), None);
    }
}
