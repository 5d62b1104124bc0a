//! The archive's copies in a bucket or a database: sent, compared, and brought back.

use std::collections::{BTreeMap, VecDeque};
use std::io::{self, Write as _};
use std::iter;
use std::num::NonZeroUsize;
use std::path::Path;
use std::process::ExitCode;
use std::str::FromStr;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, anyhow, bail, ensure};
use tokio::runtime::Runtime;

use super::super::{complain, parallel, progress};
use crate::archive::sink::{
    self, Adoption, Answer, Content, Delivery, Digest, Installation, NotAnInstallation, Progress, Sink, SinkCopy,
    SinkError, SinkKind,
};
use crate::archive::{
    Archive, GameId, GameRecord, Options, Receipt, Snapshot, Store, StoreError, StoreOptions, encode, replay,
};
use crate::observe::Metrics;

/// Games asked for in one go.
const PAGE_GAMES: NonZeroUsize = NonZeroUsize::MIN.saturating_add(999);
/// Games sent in one go, where the archive's own deliveries are not at work.
const GROUP_GAMES: usize = 200;
/// Games that one thread looks at in one go.
const PART_GAMES: usize = 64;
/// Records on their way to the disk at once.
const IN_FLIGHT: usize = 4096;
/// Old games in a sink that are counted before they are restored, at most.
const COUNTED: NonZeroUsize = NonZeroUsize::MIN.saturating_add(99_999);
/// Attempts of a sink before somebody who waits is told that it fails.
const ATTEMPTS: u32 = 3;
/// The pause after the first attempt that failed; each one is that much longer.
const PAUSE: Duration = Duration::from_secs(1);
/// How often the progress of deliveries is looked at.
const LOOK: Duration = Duration::from_millis(100);

type Opened = (SinkKind, Arc<dyn Sink>);

/// The sink that was named, or all that are set.
pub(super) fn sinks(options: &Options, named: Option<SinkKind>) -> anyhow::Result<Vec<Opened>> {
    let kinds = named.map_or_else(|| options.sinks(), |kind| vec![kind]);
    ensure!(!kinds.is_empty(), "no copies are kept anywhere: ARCHIVE_BACKEND or ARCHIVE_BACKENDS says where");
    kinds.into_iter().map(|kind| Ok((kind, sink::open(kind, options)?))).collect()
}

fn runtime() -> io::Result<Runtime> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()
}

/// Waits for an answer. A place that is slow or gone for a moment does not end what may take an hour.
fn ask<'a, T>(runtime: &Runtime, question: impl Fn() -> Answer<'a, T>) -> Result<T, SinkError> {
    let mut attempt = 1;
    loop {
        match runtime.block_on(question()) {
            Err(SinkError::Unavailable(_)) if attempt < ATTEMPTS => thread::sleep(PAUSE * attempt),
            answer => return answer,
        }
        attempt += 1;
    }
}

/// Sends what sinks have not got, or everything once more.
pub(super) fn sync(folder: &Path, options: &Options, to: Option<SinkKind>, all: bool) -> anyhow::Result<ExitCode> {
    let sinks = sinks(options, to)?;
    // To open it would make it, and a mistake in its name would look as if all were sent.
    ensure!(Snapshot::may_be_at(folder), super::no_archive(folder));
    // Nothing is removed here, and a single game waits for no group.
    let alone = Options { retention_days: 0, ..options.clone() };
    let metrics = Arc::new(Metrics::new(env!("CARGO_PKG_VERSION"), "", false));
    match Archive::open(folder, &alone, metrics) {
        Ok((archive, report)) => {
            if report.is_damaged() {
                complain(&format!("liap: the archive was damaged and is mended: {report}"));
            }
            deliver(&archive, &alone, sinks, all)
        }
        Err(StoreError::Locked { holder, .. }) if all => {
            complain(&format!("liap: {holder} has the archive open and delivers too; this is sent beside it"));
            send_all(&super::snapshot(folder)?, &sinks, Installation::open(folder)?.0)
        }
        Err(StoreError::Locked { holder, .. }) => {
            let snapshot = super::snapshot(folder)?;
            let mut out = io::stdout().lock();
            for (kind, sink) in sinks {
                let Progress { delivered, set_aside } = sink::progress(folder, kind, &*sink)?;
                let (waiting, refused) = (snapshot.count_after(delivered), set_aside.len());
                writeln!(out, "{kind}: {waiting} games wait, {refused} are refused")?;
            }
            writeln!(out, "{holder} delivers them by itself; --all sends every game once more")?;
            Ok(ExitCode::SUCCESS)
        }
        Err(error) => Err(error.into()),
    }
}

/// Lets the archive's own deliveries do it, and waits for them.
fn deliver(archive: &Archive, options: &Options, sinks: Vec<Opened>, all: bool) -> anyhow::Result<ExitCode> {
    if all {
        for (kind, sink) in &sinks {
            sink::owe_everything(archive.store(), *kind, &**sink)?;
        }
    }
    archive.deliver_to(sinks, options)?;
    let owed = |archive: &Archive| archive.status().sinks.iter().map(|sink| sink.pending).sum::<u64>();
    let begun = owed(archive);
    let bar = progress::bar(begun, "games");
    let failed = loop {
        thread::sleep(LOOK);
        let sinks = archive.status().sinks;
        bar.set_position(begun.saturating_sub(sinks.iter().map(|sink| sink.pending).sum()));
        let fails = |sink: &&sink::SinkStatus| sink.failing.as_ref().is_some_and(|it| it.attempts >= ATTEMPTS);
        if sinks.iter().all(|sink| sink.idle || fails(&sink)) {
            break sinks;
        }
    };
    bar.finish_and_clear();
    let mut is_done = true;
    let mut out = io::stdout().lock();
    for sink in failed {
        write!(out, "{}: {} games wait, {} are refused", sink.kind, sink.pending, sink.set_aside)?;
        match sink.failing {
            Some(failing) => writeln!(out, "; {}", failing.error)?,
            None => writeln!(out)?,
        }
        is_done &= sink.pending == 0 && sink.set_aside == 0;
    }
    ensure!(archive.close(Duration::from_secs(5)), "the archive could not be closed in time");
    Ok(if is_done { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Sends every game of the snapshot, and leaves it to whoever has the archive open to note what is delivered.
fn send_all(snapshot: &Snapshot, sinks: &[Opened], ours: Installation) -> anyhow::Result<ExitCode> {
    let runtime = runtime()?;
    let ids: Vec<GameId> = snapshot.ids().collect();
    let bar = progress::bar((ids.len() * sinks.len()) as u64, "games");
    let mut refused = 0_u64;
    let mut sent = 0_u64;
    parallel::in_order(
        ids.chunks(GROUP_GAMES),
        parallel::cores(),
        |ids| ids.iter().map(|&id| prove(snapshot, id).with_context(|| format!("game {id}"))).collect::<Vec<_>>(),
        |proven| {
            let mut games = Vec::with_capacity(proven.len());
            for game in proven {
                match game {
                    Ok(game) => games.push(game),
                    Err(error) => {
                        refused += 1;
                        bar.suspend(|| complain(&format!("liap: {error:#}")));
                    }
                }
            }
            for (kind, sink) in sinks {
                let refusals = ask(&runtime, || sink.deliver(&games, ours)).with_context(|| kind.to_string())?;
                sent += (games.len() - refusals.len()) as u64;
                refused += refusals.len() as u64;
                for refusal in refusals {
                    bar.suspend(|| complain(&format!("liap: {kind} refuses game {}: {}", refusal.id, refusal.reason)));
                }
                bar.inc(games.len() as u64);
            }
            Ok(())
        },
    )?;
    bar.finish_and_clear();
    writeln!(io::stdout().lock(), "{sent} games sent, {refused} refused")?;
    Ok(if refused == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Whose copies are adopted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::cli) enum AdoptFrom {
    /// Those that do not say who made them.
    Unmarked,
    /// Those of an installation that is no more.
    Installation(Installation),
}

impl FromStr for AdoptFrom {
    type Err = NotAnInstallation;

    /// Nothing means copies without an installation.
    fn from_str(text: &str) -> Result<Self, NotAnInstallation> {
        if text.is_empty() { Ok(Self::Unmarked) } else { text.parse().map(Self::Installation) }
    }
}

/// Makes copies this installation's whose content is that of a game here.
pub(super) fn adopt(
    folder: &Path,
    options: &Options,
    to: Option<SinkKind>,
    from: AdoptFrom,
) -> anyhow::Result<ExitCode> {
    let sinks = sinks(options, to)?;
    ensure!(Snapshot::may_be_at(folder), super::no_archive(folder));
    let (ours, _) = Installation::open(folder)?;
    let from = match from {
        AdoptFrom::Unmarked => None,
        AdoptFrom::Installation(from) => Some(from),
    };
    let snapshot = super::snapshot(folder)?;
    let runtime = runtime()?;
    let ids: Vec<GameId> = snapshot.ids().collect();
    let mut is_done = true;
    for (kind, sink) in sinks {
        let bar = progress::bar(ids.len() as u64, "games");
        let mut counts: BTreeMap<Adoption, u64> = BTreeMap::new();
        parallel::in_order(
            ids.chunks(GROUP_GAMES),
            parallel::cores(),
            |ids| ids.iter().map(|&id| prove(&snapshot, id).with_context(|| format!("game {id}"))).collect::<Vec<_>>(),
            |proven| {
                let mut games = Vec::with_capacity(proven.len());
                for game in proven {
                    match game {
                        Ok(game) => games.push(game),
                        Err(error) => {
                            is_done = false;
                            bar.suspend(|| complain(&format!("liap: {error:#}")));
                        }
                    }
                }
                let adoptions = ask(&runtime, || sink.adopt(&games, from, ours)).with_context(|| kind.to_string())?;
                for (_, adoption) in adoptions {
                    *counts.entry(adoption).or_default() += 1;
                }
                bar.inc(games.len() as u64);
                Ok(())
            },
        )?;
        bar.finish_and_clear();
        let mut out = io::stdout().lock();
        let of = |adoption| counts.get(&adoption).copied().unwrap_or_default();
        let (adopted, already) = (of(Adoption::Adopted), of(Adoption::Ours));
        writeln!(out, "{kind}: {adopted} copies adopted, {already} belonged to this installation ({ours}) already")?;
        for (adoption, count) in &counts {
            let what = match adoption {
                Adoption::Adopted | Adoption::Ours => continue,
                Adoption::Other(Some(other)) => format!("belong to installation {other}"),
                Adoption::Other(None) => "belong to no installation that can be read".to_owned(),
                Adoption::Differs => "hold another content: `liap archive compare` names them".to_owned(),
                Adoption::Absent => "are not there".to_owned(),
            };
            writeln!(out, "{kind}: {count} {what}")?;
        }
    }
    Ok(if is_done { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn prove(snapshot: &Snapshot, id: GameId) -> anyhow::Result<Delivery> {
    let stored = snapshot.get(id)?.context("it is gone")?;
    Ok(Delivery::prove(id, stored)?)
}

/// How the archive and its copies are held against each other.
#[derive(Debug, Clone, Copy)]
pub(super) struct Comparison {
    /// Play the copies again, too, whatever their hashes say.
    pub(super) deep: bool,
    /// Other servers keep their games there as well.
    pub(super) shared: bool,
}

/// Names every difference between the archive and its copies.
pub(super) fn compare(
    folder: &Path,
    options: &Options,
    with: Option<SinkKind>,
    how: Comparison,
) -> anyhow::Result<ExitCode> {
    let sinks = sinks(options, with)?;
    let runtime = runtime()?;
    // What is too old is removed on each side in its own time.
    let oldest = super::kept_since(options);
    let mut differences = 0;
    for (kind, sink) in sinks {
        // Before the first page, so that everything that was delivered by then is in it.
        let progress = sink::progress(folder, kind, &*sink)?;
        let snapshot = super::snapshot(folder)?;
        let mut compared =
            Compared { kind, snapshot: &snapshot, progress, how, same: 0, there: 0, older: 0, differences: 0 };
        let only_there = compared.run(&runtime, &*sink, oldest)?;
        // A game that was stored and copied meanwhile is in a later snapshot.
        let later = if only_there.is_empty() { None } else { Some(super::snapshot(folder)?) };
        for id in only_there {
            if how.shared || later.as_ref().is_some_and(|later| later.number(id).is_some()) {
                continue;
            }
            compared.tell(id, "is only there")?;
        }
        let Compared { same, there, older, differences: found, .. } = compared;
        let left_out = if older == 0 { String::new() } else { format!("; {older} older than ARCHIVE_RETENTION_DAYS") };
        writeln!(
            io::stdout().lock(),
            "{kind}: {there} games there, {same} of them as here, {found} differences{left_out}"
        )?;
        differences += found;
    }
    Ok(if differences == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// One comparison under way.
struct Compared<'a> {
    kind: SinkKind,
    snapshot: &'a Snapshot,
    progress: Progress,
    how: Comparison,
    same: u64,
    there: u64,
    /// There as well, and no longer kept: not compared.
    older: u64,
    differences: u64,
}

impl Compared<'_> {
    /// Goes through both sides in the order of the ids. Returns what is only there.
    fn run(&mut self, runtime: &Runtime, sink: &dyn Sink, oldest: GameId) -> anyhow::Result<Vec<GameId>> {
        let kind = self.kind;
        let snapshot = self.snapshot;
        let mut here = snapshot.ids().skip_while(|id| *id < oldest).peekable();
        let bar = progress::bar(snapshot.len() as u64, "games");
        let mut only_there = Vec::new();
        let mut after = None;
        loop {
            let page = ask(runtime, || sink.page(after, PAGE_GAMES)).with_context(|| kind.to_string())?;
            let is_last = page.len() < PAGE_GAMES.get();
            let mut both = Vec::with_capacity(page.len());
            for held in page {
                after = Some(held.id);
                if held.id < oldest {
                    self.older += 1;
                    continue;
                }
                self.there += 1;
                while let Some(id) = here.next_if(|id| *id < held.id) {
                    self.tell_missing(id)?;
                }
                if here.next_if_eq(&held.id).is_some() { both.push((held, None)) } else { only_there.push(held.id) }
            }
            if self.how.deep {
                for (held, whole) in &mut both {
                    if let Content::Digest(_) = held.content {
                        *whole = ask(runtime, || sink.fetch(held.id))?;
                    }
                }
            }
            bar.inc(both.len() as u64);
            let deep = self.how.deep;
            parallel::in_order(
                both.chunks(PART_GAMES),
                parallel::cores(),
                |part| {
                    let compare =
                        |(held, whole): &(SinkCopy, Option<Content>)| difference(snapshot, held, whole.as_ref(), deep);
                    part.iter().map(|both| (both.0.id, compare(both))).collect::<Vec<_>>()
                },
                |part| {
                    let alike: Vec<Delivery> = part.iter().filter_map(|(_, it)| it.as_ref().ok()?.clone()).collect();
                    let audit = || ask(runtime, || sink.audit(&alike)).with_context(|| kind.to_string());
                    let defects = if alike.is_empty() { Vec::new() } else { audit()? };
                    for (id, difference) in part {
                        let flaw = defects.iter().find(|(flawed, _)| *flawed == id);
                        match (difference, flaw) {
                            (Ok(_), None) => self.same += 1,
                            (Ok(_), Some((_, flaw))) => bar.suspend(|| self.tell(id, &format!("differs: {flaw}")))?,
                            (Err(error), _) => bar.suspend(|| self.tell(id, &format!("differs: {error:#}")))?,
                        }
                    }
                    Ok(())
                },
            )?;
            if is_last {
                break;
            }
        }
        for id in here {
            self.tell_missing(id)?;
        }
        bar.finish_and_clear();
        Ok(only_there)
    }

    fn tell_missing(&mut self, id: GameId) -> anyhow::Result<()> {
        let is_owed = self.snapshot.number(id).is_some_and(|number| number > self.progress.delivered);
        let what = match self.progress.set_aside.get(&id) {
            Some(reason) => format!("is not there: it was refused: {reason}"),
            None if is_owed => "is not there yet".to_owned(),
            None => "is not there, though it was delivered".to_owned(),
        };
        self.tell(id, &what)
    }

    fn tell(&mut self, id: GameId, what: &str) -> anyhow::Result<()> {
        self.differences += 1;
        Ok(writeln!(io::stdout().lock(), "{}: game {id} {what}", self.kind)?)
    }
}

/// In what a copy differs. All of it, where it was fetched, is held against ours beside what the sink says of it, never
/// instead. Returns our game where more than that is to be looked at.
fn difference(
    snapshot: &Snapshot,
    held: &SinkCopy,
    whole: Option<&Content>,
    deep: bool,
) -> anyhow::Result<Option<Delivery>> {
    let stored = snapshot.get(held.id)?.context("it is gone here")?;
    let is_stored_so = matches!(&held.content, Content::Stored(copy) if *copy == stored);
    let mut ours = None;
    if !is_stored_so || deep {
        let game = Delivery::prove(held.id, stored).context("here")?;
        let here = game.digest();
        for content in iter::once(&held.content).chain(whole) {
            let there = match content {
                Content::Stored(copy) => Delivery::prove(held.id, copy.clone()).context("there")?.digest(),
                Content::Json(text) => digest_of(held.id, text).context("there")?,
                Content::Digest(digest) => *digest,
            };
            ensure!(here == there, "the hash is {here} here and {there} there");
        }
        ours = deep.then_some(game);
    }
    let defects: Vec<String> = held.defects.iter().map(ToString::to_string).collect();
    ensure!(defects.is_empty(), "{}", defects.join("; "));
    Ok(ours)
}

fn digest_of(id: GameId, text: &str) -> anyhow::Result<Digest> {
    let record = GameRecord::from_json(text)?;
    ensure!(record.game_id == id, "its record says that it is game {}", record.game_id);
    Ok(Digest::of(&replay(&record)?.to_line()))
}

/// Begins an archive with the games of a sink.
pub(super) fn restore(folder: &Path, options: &Options, from: SinkKind) -> anyhow::Result<ExitCode> {
    if Snapshot::open(folder).is_ok_and(|snapshot| !snapshot.is_empty()) {
        bail!("there are games in {} already: restore into an empty folder", folder.display());
    }
    let sink = sink::open(from, options)?;
    let runtime = runtime()?;
    // Before anything is made.
    ask(&runtime, || sink.check()).with_context(|| from.to_string())?;
    let kept_since = super::kept_since(options);
    if kept_since > GameId::MIN {
        let old = ask(&runtime, || sink.count(kept_since.unix_ms(), COUNTED)).with_context(|| from.to_string())?;
        let more = if old == COUNTED.get() { "at least " } else { "" };
        super::warn_of_retention(options, old, more);
    }
    let (store, _) = Store::open(folder, StoreOptions::default()).map_err(|error| match error {
        error @ StoreError::Locked { .. } => anyhow!("{error}; stop the server first"),
        error => error.into(),
    })?;
    let bar = progress::bar(0, "games");
    let mut on_their_way: VecDeque<Receipt> = VecDeque::new();
    let (mut games, mut unreadable) = (0_u64, 0_u64);
    let mut after = None;
    loop {
        let page = ask(&runtime, || sink.page(after, PAGE_GAMES)).with_context(|| from.to_string())?;
        after = page.last().map(|held| held.id);
        let is_last = page.len() < PAGE_GAMES.get();
        for SinkCopy { id, content, .. } in page {
            let content = match content {
                Content::Digest(_) => ask(&runtime, || sink.fetch(id))?.context("a game is there and then not")?,
                whole => whole,
            };
            let stored = match stored(id, content) {
                Ok(stored) => stored,
                Err(error) => {
                    unreadable += 1;
                    bar.suspend(|| complain(&format!("liap: game {id} is left out: {error:#}")));
                    continue;
                }
            };
            if on_their_way.len() == IN_FLIGHT
                && let Some(receipt) = on_their_way.pop_front()
            {
                receipt.wait()?;
            }
            on_their_way.push_back(store.append(id, stored)?);
            games += 1;
            bar.inc_length(1);
            bar.inc(1);
        }
        if is_last {
            break;
        }
    }
    for receipt in on_their_way {
        receipt.wait()?;
    }
    // It has them all; what came from there need not be sent there.
    sink::owe_nothing(&store, from, &*sink)?;
    ensure!(store.close(Duration::from_secs(60)), "the disk does not keep up");
    bar.finish_and_clear();
    writeln!(io::stdout().lock(), "{games} games restored, {unreadable} left out")?;
    Ok(if unreadable == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The stored form of a copy, after it was played again.
fn stored(id: GameId, content: Content) -> anyhow::Result<Vec<u8>> {
    let stored = match content {
        Content::Stored(stored) => stored,
        Content::Json(text) => encode(&GameRecord::from_json(&text)?)?,
        Content::Digest(_) => bail!("only its hash is there"),
    };
    Ok(Delivery::prove(id, stored)?.stored)
}
