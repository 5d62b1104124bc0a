//! The archive's copies in a bucket or a database: sent, compared, and brought back.

use std::collections::BTreeMap;
use std::io::{self, Write as _};
use std::iter;
use std::num::NonZeroUsize;
use std::process::ExitCode;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use tokio::runtime::Runtime;

use super::super::progress;
use super::moving::Storing;
use super::{PART_GAMES, Place, each_game, exit_code, kept_since, warn_of_retention};
use crate::archive::sink::{
    self, Adoption, Answer, Content, Delivery, Digest, Installation, Progress, Sink, SinkCopy, SinkError, SinkKind,
};
use crate::archive::{CopyStatus, GameId, GameRecord, IfMissing, Options, Query, Records, encode, replay};
use crate::parallel;

/// Games asked for in one go.
const PAGE_GAMES: NonZeroUsize = NonZeroUsize::MIN.saturating_add(999);
/// Games adopted in one go.
const GROUP_GAMES: usize = 200;
/// Old games in a sink that are counted before they are restored, at most.
const COUNTED: NonZeroUsize = NonZeroUsize::MIN.saturating_add(99_999);
/// How often a sink is asked before its failure is reported.
const ATTEMPTS: u32 = 3;
/// The pause after the first attempt that failed; each one is that much longer.
const PAUSE: Duration = Duration::from_secs(1);
/// How often the progress of deliveries is looked at.
const POLL_INTERVAL: Duration = Duration::from_millis(100);

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

/// Waits for an answer. A sink that is slow or gone for a moment does not end what may take an hour.
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

/// Sends what sinks have not got, or everything once more, and waits until they have it or fail.
pub(super) fn sync(place: &Place<'_>, to: Option<SinkKind>, all: bool) -> anyhow::Result<ExitCode> {
    let sinks = sinks(place.options, to)?;
    let kinds: Vec<SinkKind> = sinks.iter().map(|(kind, _)| *kind).collect();
    let records = place.open(IfMissing::Fail)?;
    if let Records::Local(archive) = &records {
        // A command removes nothing for its age.
        archive.deliver_to(sinks, &Options { retention_days: 0, ..place.options.clone() })?;
    }
    for &kind in &kinds {
        records.deliver(kind, all)?;
    }
    let bar = progress::bar(0, "games");
    let mut most = 0;
    let copies = loop {
        thread::sleep(POLL_INTERVAL);
        let mut copies = records.status()?.sinks;
        copies.retain(|copy| kinds.contains(&copy.kind));
        let pending: u64 = copies.iter().map(|copy| copy.pending).sum();
        most = pending.max(most);
        bar.set_length(most);
        bar.set_position(most - pending);
        let fails = |copy: &CopyStatus| copy.failing.as_ref().is_some_and(|(attempts, _)| *attempts >= ATTEMPTS);
        if copies.iter().all(|copy| copy.idle || fails(copy)) {
            break copies;
        }
    };
    bar.finish_and_clear();
    let mut out = io::stdout().lock();
    for copy in &copies {
        write!(out, "{}: {} games wait, {} are refused", copy.kind, copy.pending, copy.set_aside)?;
        match &copy.failing {
            Some((_, error)) => writeln!(out, "; {error}")?,
            None => writeln!(out)?,
        }
    }
    Ok(exit_code(copies.iter().all(|copy| copy.pending == 0 && copy.set_aside == 0)))
}

/// Makes copies this installation's whose content is that of a game here: those of an installation that is no more, or those that
/// do not say who made them.
pub(super) fn adopt(place: &Place<'_>, to: Option<SinkKind>, from: Option<Installation>) -> anyhow::Result<ExitCode> {
    let sinks = sinks(place.options, to)?;
    let records = place.open(IfMissing::Fail)?;
    let (ours, _) = Installation::open(&place.folder)?;
    let runtime = runtime()?;
    let mut is_done = true;
    for (kind, sink) in sinks {
        let mut counts: BTreeMap<Adoption, u64> = BTreeMap::new();
        let mut adopt_group = |games: &mut Vec<Delivery>| {
            let adoptions = ask(&runtime, || sink.adopt(games, from, ours)).with_context(|| kind.to_string())?;
            adoptions.into_iter().for_each(|(_, adoption)| *counts.entry(adoption).or_default() += 1);
            games.clear();
            anyhow::Ok(())
        };
        let mut games = Vec::with_capacity(GROUP_GAMES);
        let prove = |id, record| Ok(Delivery::prove(id, record)?);
        let pass = each_game(&records, &Query::default(), prove, |game| {
            games.push(game);
            if games.len() < GROUP_GAMES { Ok(()) } else { adopt_group(&mut games) }
        })?;
        adopt_group(&mut games)?;
        is_done &= pass.unreadable == 0;
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
    Ok(exit_code(is_done))
}

/// Names every difference between the archive and its copies.
///
/// `deep`: plays the copies again, too, whatever their hashes say. `shared`: other servers keep their games there as well.
pub(super) fn compare(place: &Place<'_>, with: Option<SinkKind>, deep: bool, shared: bool) -> anyhow::Result<ExitCode> {
    let sinks = sinks(place.options, with)?;
    let runtime = runtime()?;
    let records = place.open(IfMissing::Fail)?;
    // What is too old is removed on each side in its own time.
    let oldest = kept_since(place.options);
    let mut differences = 0;
    for (kind, sink) in sinks {
        // Before the first page, so that everything that was delivered by then is in it.
        let progress = records.progress(kind, sink.place())?;
        let mut compared =
            Compared { kind, records: &records, progress, deep, same: 0, there: 0, older: 0, differences: 0 };
        for id in compared.run(&runtime, &*sink, oldest)? {
            // A game that was stored and copied meanwhile is here by now.
            if !shared && records.number(id)?.is_none() {
                compared.report(id, "is only there")?;
            }
        }
        let Compared { same, there, older, differences: found, .. } = compared;
        let left_out = if older == 0 { String::new() } else { format!("; {older} older than ARCHIVE_RETENTION_DAYS") };
        writeln!(
            io::stdout().lock(),
            "{kind}: {there} games there, {same} of them as here, {found} differences{left_out}"
        )?;
        differences += found;
    }
    Ok(exit_code(differences == 0))
}

/// One comparison under way.
struct Compared<'a> {
    kind: SinkKind,
    records: &'a Records,
    progress: Progress,
    deep: bool,
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
        let records = self.records;
        let mut ids = records.ids(&Query::default(), usize::MAX)?;
        ids.reverse();
        let bar = progress::bar(ids.len() as u64, "games");
        let mut here = ids.into_iter().skip_while(|id| *id < oldest).peekable();
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
                    self.report_missing(id)?;
                }
                if here.next_if_eq(&held.id).is_some() { both.push((held, None)) } else { only_there.push(held.id) }
            }
            if self.deep {
                for (held, whole) in &mut both {
                    if let Content::Digest(_) = held.content {
                        *whole = ask(runtime, || sink.fetch(held.id))?;
                    }
                }
            }
            bar.inc(both.len() as u64);
            let deep = self.deep;
            parallel::in_order(
                both.chunks(PART_GAMES),
                parallel::cores(),
                |part| {
                    let ids: Vec<GameId> = part.iter().map(|(held, _)| held.id).collect();
                    let compared = part.iter().zip(records.get(&ids)?).map(|((held, whole), stored)| {
                        let stored = stored.map_err(anyhow::Error::msg).and_then(|it| it.context("it is gone here"));
                        let compare = |stored| difference(held, whole.as_ref(), stored, deep);
                        (held.id, stored.map(serde_bytes::ByteBuf::into_vec).and_then(compare))
                    });
                    anyhow::Ok(compared.collect::<Vec<_>>())
                },
                |part| {
                    let part = part?;
                    let alike: Vec<Delivery> = part.iter().filter_map(|(_, it)| it.as_ref().ok()?.clone()).collect();
                    let audit = || ask(runtime, || sink.audit(&alike)).with_context(|| kind.to_string());
                    let defects = if alike.is_empty() { Vec::new() } else { audit()? };
                    for (id, difference) in part {
                        let flaw = defects.iter().find(|(flawed, _)| *flawed == id);
                        match (difference, flaw) {
                            (Ok(_), None) => self.same += 1,
                            (Ok(_), Some((_, flaw))) => bar.suspend(|| self.report(id, &format!("differs: {flaw}")))?,
                            (Err(error), _) => bar.suspend(|| self.report(id, &format!("differs: {error:#}")))?,
                        }
                    }
                    anyhow::Ok(())
                },
            )?;
            if is_last {
                break;
            }
        }
        for id in here {
            self.report_missing(id)?;
        }
        bar.finish_and_clear();
        Ok(only_there)
    }

    fn report_missing(&mut self, id: GameId) -> anyhow::Result<()> {
        let is_owed = self.records.number(id)?.is_some_and(|number| number > self.progress.delivered);
        let what = match self.progress.set_aside.get(&id) {
            Some(reason) => format!("is not there: it was refused: {reason}"),
            None if is_owed => "is not there yet".to_owned(),
            None => "is not there, though it was delivered".to_owned(),
        };
        self.report(id, &what)
    }

    fn report(&mut self, id: GameId, what: &str) -> anyhow::Result<()> {
        self.differences += 1;
        Ok(writeln!(io::stdout().lock(), "{}: game {id} {what}", self.kind)?)
    }
}

/// In what a copy differs. All of it, where it was fetched, is held against ours beside what the sink says of it, never
/// instead. Returns our game where more than that is to be looked at.
fn difference(
    held: &SinkCopy,
    whole: Option<&Content>,
    stored: Vec<u8>,
    deep: bool,
) -> anyhow::Result<Option<Delivery>> {
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
pub(super) fn restore(place: &Place<'_>, from: SinkKind) -> anyhow::Result<ExitCode> {
    let sink = sink::open(from, place.options)?;
    let runtime = runtime()?;
    // Before anything is made.
    ask(&runtime, || sink.check()).with_context(|| from.to_string())?;
    let kept_since = kept_since(place.options);
    if kept_since > GameId::MIN {
        let old = ask(&runtime, || sink.count(kept_since.unix_ms(), COUNTED)).with_context(|| from.to_string())?;
        let more = if old == COUNTED.get() { "at least " } else { "" };
        warn_of_retention(place.options, old, more);
    }
    let records = place.open_empty()?;
    let bar = progress::bar(0, "games");
    let mut storing = Storing::new(&records, &bar);
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
            let name = format!("game {id}");
            match stored(id, content) {
                Ok(stored) => storing.push(name, id, stored)?,
                Err(error) => storing.refuse(&name, &format!("{error:#}")),
            }
            bar.inc_length(1);
            bar.inc(1);
        }
        if is_last {
            break;
        }
    }
    storing.finish()?;
    // It has them all; what came from there need not be sent there. A server finds that out by itself.
    if let Records::Local(archive) = &records {
        sink::owe_nothing(archive.store(), from, &*sink)?;
    }
    bar.finish_and_clear();
    let Storing { stored, refused, .. } = storing;
    writeln!(io::stdout().lock(), "{stored} games restored, {refused} left out")?;
    Ok(exit_code(refused == 0))
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
