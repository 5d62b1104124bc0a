//! A completed game as JSON: the one public form, for the archive's commands, its HTTP answers and its exports.
//!
//! The way here from a record is [`replay`], so showing a game proves it; the way back is [`GameRecord::from_json`], which
//! takes only what showing the game again gives word for word.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use jiff::Timestamp;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value;

use super::ParseGameIdError;
use super::record::{Ended, GameRecord, GameTime, Move, Player, PlayerKind, Takeover};
use super::replay::{Course, Outcome, RULES_VERSION, ReplayError, replay};
use crate::game::{
    Action, BySeat, DealProof, Declaration, EntropyError, Kind, LevelError, Piece, PieceSet, Seat, ServerSeed,
};

/// The version of this form.
pub const FORMAT_VERSION: u32 = 1;

/// A completed game. What had not yet happened when a game was abandoned is `null` or empty.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GameJson {
    /// Version of this form: [`FORMAT_VERSION`].
    pub format: u32,
    /// Version of the rules the game was played by.
    pub rules: u8,
    /// The game's name.
    pub game_id: String,
    /// The room it was played in.
    pub room_id: String,
    /// When the first hands were dealt: UTC, with milliseconds.
    pub started_at: String,
    /// When the game ended: UTC, with milliseconds.
    pub completed_at: String,
    /// Whole seconds between the two.
    pub duration_seconds: u64,
    /// The four players in seat order.
    pub players: [PlayerJson; 4],
    /// What all deals follow from.
    pub deal_proof: ProofJson,
    /// The rounds.
    pub rounds: Vec<RoundJson>,
    /// When bots stood in for absent players.
    pub takeovers: Vec<TakeoverJson>,
    /// The seats with the highest total, at least 50; none if the game was abandoned.
    pub winners: Vec<SeatNumber>,
    /// The totals at the end.
    pub final_scores: [i32; 4],
    /// The first winner's name.
    pub winner_name: Option<String>,
    /// `won` or `abandoned`.
    pub ended: Cow<'static, str>,
}

/// A player.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "the fields say what they are")]
pub struct PlayerJson {
    pub seat: SeatNumber,
    pub name: String,
    pub is_bot: bool,
    /// Only bots have one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub level: Option<Cow<'static, str>>,
}

/// The proof of all deals (`docs/fair-deals.md`).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "the fields say what they are")]
pub struct ProofJson {
    pub algorithm: Cow<'static, str>,
    /// 64 hexadecimal digits.
    pub server_seed: String,
    /// What each player added: up to 64 hexadecimal digits in lower case.
    pub entropy: [Option<String>; 4],
    /// SHA-256 of the seed.
    pub commitment: String,
}

/// One round.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RoundJson {
    /// Counted from 1.
    pub round: u32,
    /// The first deal, and one more for each redeal; the last one was played.
    pub deals: Vec<DealJson>,
    /// What scores are multiplied by: 1 and one more for each redeal.
    pub multiplier: u32,
    /// Who declared first and opened the first turn.
    pub starter: Option<SeatNumber>,
    /// Why.
    pub starter_reason: Option<Cow<'static, str>>,
    /// In the order in which they were made.
    pub declarations: Vec<DeclarationJson>,
    /// In the order in which they were played.
    pub turns: Vec<TurnJson>,
    /// Piles captured by each seat.
    pub captured: [u8; 4],
    /// Points of the round, with the multiplier.
    pub scores: Option<[i32; 4]>,
    /// Points after the round.
    pub totals: Option<[i32; 4]>,
}

/// One deal.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DealJson {
    /// The hands in seat order, each in dealt order.
    pub hands: [Vec<PieceName>; 4],
    /// The seats asked whether they want a redeal.
    pub weak: Vec<SeatNumber>,
    /// Their answers, in the order in which they came.
    pub answers: Vec<AnswerJson>,
}

/// An answer to the question of a weak hand.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "the fields say what they are")]
pub struct AnswerJson {
    pub seat: SeatNumber,
    pub accept: bool,
    pub at: Seconds,
}

/// A declaration.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "the fields say what they are")]
pub struct DeclarationJson {
    pub seat: SeatNumber,
    pub value: u8,
    pub at: Seconds,
}

/// One turn.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TurnJson {
    /// Counted from 1 within the round.
    pub turn: u8,
    /// Who opened it.
    pub starter: SeatNumber,
    /// In playing order.
    pub plays: Vec<PlayJson>,
    /// Who won it.
    pub winner: Option<SeatNumber>,
    /// Piles captured by the winner.
    pub piles: Option<u8>,
}

/// One play.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "the fields say what they are")]
pub struct PlayJson {
    pub seat: SeatNumber,
    pub pieces: Vec<PieceName>,
    /// One of the nine types, or `INVALID`.
    pub play_type: Cow<'static, str>,
    pub at: Seconds,
}

/// A bot stood in for an absent player.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "the fields say what they are")]
pub struct TakeoverJson {
    pub seat: SeatNumber,
    pub from: Seconds,
    /// `None` if he did not come back.
    pub to: Option<Seconds>,
}

/// A seat by its number, 1 to 4.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "u8", try_from = "u64")]
pub struct SeatNumber(pub Seat);

impl From<Seat> for SeatNumber {
    fn from(seat: Seat) -> Self {
        Self(seat)
    }
}

impl From<SeatNumber> for u8 {
    fn from(seat: SeatNumber) -> Self {
        seat.0.number()
    }
}

impl TryFrom<u64> for SeatNumber {
    type Error = &'static str;
    fn try_from(number: u64) -> Result<Self, Self::Error> {
        Seat::from_number(number).map(Self).ok_or("a seat is a number from 1 to 4")
    }
}

/// Seconds since the start of the game, with at most two decimals.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(into = "f64", try_from = "f64")]
pub struct Seconds(pub GameTime);

impl From<GameTime> for Seconds {
    fn from(time: GameTime) -> Self {
        Self(time)
    }
}

impl From<Seconds> for f64 {
    fn from(seconds: Seconds) -> Self {
        seconds.0.seconds()
    }
}

impl TryFrom<f64> for Seconds {
    type Error = &'static str;
    fn try_from(seconds: f64) -> Result<Self, Self::Error> {
        let hundredths = (seconds * 100.0).round();
        if !(0.0..=f64::from(u32::MAX)).contains(&hundredths) {
            return Err("a time of a game is 0 or more seconds, less than 497 days");
        }
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "within the range of u32, and whole"
        )]
        let time = GameTime::from_hundredths(hundredths as u32);
        // Exactly what we would write ourselves, so that nothing is lost without a word.
        if time.seconds() == seconds { Ok(Self(time)) } else { Err("a time of a game has at most two decimals") }
    }
}

/// What is engraved on a piece, spelled `NAME_COLOR`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PieceName(pub Kind);

impl From<Piece> for PieceName {
    fn from(piece: Piece) -> Self {
        Self(piece.kind())
    }
}

impl fmt::Display for PieceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for PieceName {
    type Err = &'static str;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let kind = Piece::all().map(Piece::kind).find(|kind| kind.as_str() == text);
        kind.map(Self).ok_or("a piece is spelled NAME_COLOR, for example ELEPHANT_RED")
    }
}

impl Serialize for PieceName {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.0.as_str())
    }
}

impl<'de> Deserialize<'de> for PieceName {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Cow::<str>::deserialize(deserializer)?.parse().map_err(D::Error::custom)
    }
}

impl RoundJson {
    pub(super) fn new(round: u32, deal: DealJson) -> Self {
        Self {
            round,
            deals: vec![deal],
            multiplier: 1,
            starter: None,
            starter_reason: None,
            declarations: Vec::new(),
            turns: Vec::new(),
            captured: [0; 4],
            scores: None,
            totals: None,
        }
    }

    /// Whether anybody has done anything in it.
    pub(super) fn is_begun(&self) -> bool {
        !self.declarations.is_empty() || self.deals.iter().any(|deal| !deal.answers.is_empty())
    }
}

impl GameJson {
    pub(super) fn new(record: &GameRecord, rounds: Vec<RoundJson>, outcome: &Outcome) -> Self {
        let winner = outcome.winners.iter().next();
        Self {
            format: FORMAT_VERSION,
            rules: RULES_VERSION,
            game_id: record.game_id.to_string(),
            room_id: record.room_id.clone(),
            started_at: time_text(record.started_at_ms),
            completed_at: time_text(record.completed_at_ms()),
            duration_seconds: record.duration_ms / 1000,
            players: Seat::ALL.map(|seat| PlayerJson::new(seat, &record.players[seat])),
            deal_proof: ProofJson::new(&record.proof),
            rounds,
            takeovers: record.takeovers.iter().map(TakeoverJson::new).collect(),
            winners: outcome.winners.iter().map(Into::into).collect(),
            final_scores: outcome.totals.into_array(),
            winner_name: winner.map(|seat| record.players[seat].name.clone()),
            ended: record.ended.as_str().into(),
        }
    }

    /// The game on one line, as it is exported.
    #[must_use]
    #[expect(
        clippy::expect_used,
        reason = "strings, numbers, arrays and objects with fixed keys always have a JSON form"
    )]
    pub fn to_line(&self) -> String {
        serde_json::to_string(self).expect("a game is always JSON")
    }
}

impl PlayerJson {
    pub(super) fn new(seat: Seat, player: &Player) -> Self {
        let level = match player.kind {
            PlayerKind::Human => None,
            PlayerKind::Bot(level) => Some(level.as_str().into()),
        };
        Self { seat: seat.into(), name: player.name.clone(), is_bot: level.is_some(), level }
    }

    fn to_player(&self) -> Result<Player, LevelError> {
        let kind = self.level.as_ref().map_or(Ok(PlayerKind::Human), |level| level.parse().map(PlayerKind::Bot))?;
        Ok(Player { name: self.name.clone(), kind })
    }
}

impl ProofJson {
    /// The public form of a proof.
    #[must_use]
    pub fn new(proof: &DealProof) -> Self {
        Self {
            algorithm: DealProof::ALGORITHM.into(),
            server_seed: hex::encode(proof.server_seed.reveal()),
            entropy: proof.entropy.clone().map(|entropy| entropy.map(|entropy| entropy.to_string())).into_array(),
            commitment: hex::encode(proof.server_seed.commitment()),
        }
    }

    /// The proof, if it is one: the commitment is not looked at.
    ///
    /// # Errors
    /// [`ProofError`] if the algorithm, the seed or a player's entropy cannot be read.
    pub fn to_proof(&self) -> Result<DealProof, ProofError> {
        if self.algorithm != DealProof::ALGORITHM {
            return Err(ProofError::Algorithm(self.algorithm.chars().take(40).collect()));
        }
        let mut seed = [0; 32];
        hex::decode_to_slice(&self.server_seed, &mut seed).map_err(|_| ProofError::Seed)?;
        let mut entropy = BySeat::default();
        for (seat, text) in Seat::ALL.into_iter().zip(&self.entropy) {
            entropy[seat] = text.as_ref().map(|text| text.parse()).transpose()?;
        }
        Ok(DealProof { server_seed: ServerSeed::new(seed), entropy })
    }
}

/// Why a text is no proof of deals.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProofError {
    /// An algorithm we do not know.
    #[error("deal_proof.algorithm is {0:?}, must be {known:?}", known = DealProof::ALGORITHM)]
    Algorithm(String),
    /// The seed cannot be read.
    #[error("deal_proof.server_seed must be 64 hexadecimal digits")]
    Seed,
    /// A player's entropy cannot be read.
    #[error("deal_proof.entropy: {0}")]
    Entropy(#[from] EntropyError),
}

impl TakeoverJson {
    fn new(takeover: &Takeover) -> Self {
        Self { seat: takeover.seat.into(), from: takeover.from.into(), to: takeover.to.map(Into::into) }
    }
}

/// A time in UTC with milliseconds, for example `2026-11-23T10:15:02.120Z`; times beyond the year 9999 count as its end.
pub(super) fn time_text(unix_ms: u64) -> String {
    let time =
        i64::try_from(unix_ms).ok().and_then(|ms| Timestamp::from_millisecond(ms).ok()).unwrap_or(Timestamp::MAX);
    format!("{time:.3}")
}

/// The start of a time given as a day (`2026-11-23`, in UTC) or a moment (`2026-11-23T10:15:02Z`), in milliseconds of
/// Unix time. What lies before 1970 counts as its beginning: no game is older.
#[must_use]
pub fn time_from(text: &str) -> Option<u64> {
    day_ms(text).or_else(|| moment_ms(text))
}

/// The end of a time given as a day, which is the start of the next one, or a moment, in milliseconds of Unix time.
#[must_use]
pub fn time_until(text: &str) -> Option<u64> {
    day_ms(text).map(|ms| ms.saturating_add(86_400_000)).or_else(|| moment_ms(text))
}

fn day_ms(text: &str) -> Option<u64> {
    // A longer text would be read as a day too, and its time forgotten.
    let is_day = text.len() == "2026-11-23".len();
    let day: jiff::civil::Date = is_day.then(|| text.parse().ok()).flatten()?;
    // The last day there is lies beyond the last moment there is.
    Some(since_1970(day.to_zoned(jiff::tz::TimeZone::UTC).map_or(Timestamp::MAX, |begin| begin.timestamp())))
}

fn moment_ms(text: &str) -> Option<u64> {
    text.parse().ok().map(since_1970)
}

fn since_1970(time: Timestamp) -> u64 {
    u64::try_from(time.as_millisecond()).unwrap_or(0)
}

/// Why a text is no completed game.
#[derive(Debug, thiserror::Error)]
pub enum JsonError {
    /// It is not JSON, or lacks something, or has something else in its place.
    #[error("{0}")]
    Form(#[from] serde_json::Error),
    /// Another version of the form or of the rules.
    #[error("{what} is {found}, this program knows {known}")]
    Version {
        /// Which version.
        what: &'static str,
        /// What it is.
        found: u32,
        /// What it should be.
        known: u32,
    },
    /// The name of the game cannot be read.
    #[error("game_id: {0}")]
    GameId(#[from] ParseGameIdError),
    /// A time cannot be read.
    #[error("{what} must be a time like 2026-11-23T10:15:02.120Z, after 1970")]
    Time {
        /// Which time.
        what: &'static str,
    },
    /// The end is before the start.
    #[error("completed_at is before started_at")]
    EndsBeforeStart,
    /// A move or takeover is after the end of the game.
    #[error("something happened at {at} s, after the end of the game")]
    AfterTheEnd {
        /// The time in question.
        at: GameTime,
    },
    /// The bot's level is none of ours.
    #[error("players: {0}")]
    Level(#[from] LevelError),
    /// The proof cannot be read.
    #[error(transparent)]
    Proof(#[from] ProofError),
    /// A declaration out of range.
    #[error("rounds[{round}]: a declaration is a number from 0 to 8")]
    Declaration {
        /// Place of the round, from 0.
        round: usize,
    },
    /// Somebody plays pieces that he does not hold.
    #[error("rounds[{round}].turns[{turn}]: seat {seat} does not hold {piece}")]
    NotHeld {
        /// Place of the round, from 0.
        round: usize,
        /// Place of the turn, from 0.
        turn: usize,
        /// Who plays.
        seat: Seat,
        /// What he does not hold.
        piece: PieceName,
    },
    /// The game is not one by the rules.
    #[error(transparent)]
    Replay(#[from] ReplayError),
    /// The text says something else than the game itself.
    #[error("{0}")]
    Differs(#[from] Difference),
}

/// The first place where a text and the game it tells of differ.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{path} is {found}, must be {must}")]
pub struct Difference {
    /// Where, for example `rounds[2].turns[0].winner`.
    pub path: String,
    /// What stands there, cut if long.
    pub found: String,
    /// What the game has there, cut if long.
    pub must: String,
}

impl GameRecord {
    /// Reads the public form of a game, plays the game again and holds every word of the text against it.
    ///
    /// Key order, spacing and the spelling of numbers are free; any other difference is refused, unknown keys included,
    /// for they would be lost.
    ///
    /// # Errors
    /// [`JsonError`] names the first thing that is wrong.
    pub fn from_json(text: &str) -> Result<Self, JsonError> {
        // Nearly always it is our own text, to the letter: then there is nothing to compare piece by piece.
        if let Ok(json) = serde_json::from_str::<GameJson>(text)
            && let Ok(record) = json.to_record()
            && replay(&record).is_ok_and(|game| game.to_line() == text.trim())
        {
            return Ok(record);
        }
        let found: Value = serde_json::from_str(text)?;
        let json = GameJson::deserialize(&found)?;
        let record = json.to_record()?;
        let must = serde_json::to_value(replay(&record)?)?;
        match first_difference(&found, &must, &mut String::new()) {
            None => Ok(record),
            Some(difference) => Err(difference.into()),
        }
    }
}

impl GameJson {
    /// The record behind the text. What follows from it is not looked at.
    fn to_record(&self) -> Result<GameRecord, JsonError> {
        let version =
            |what, found, known| if found == known { Ok(()) } else { Err(JsonError::Version { what, found, known }) };
        version("format", self.format, FORMAT_VERSION)?;
        version("rules", self.rules.into(), RULES_VERSION.into())?;
        let started_at_ms = unix_ms(&self.started_at).ok_or(JsonError::Time { what: "started_at" })?;
        let completed_at_ms = unix_ms(&self.completed_at).ok_or(JsonError::Time { what: "completed_at" })?;
        let duration_ms = completed_at_ms.checked_sub(started_at_ms).ok_or(JsonError::EndsBeforeStart)?;
        let [one, two, three, four] = &self.players;
        let proof = self.deal_proof.to_proof()?;
        let takeovers: Vec<_> = self
            .takeovers
            .iter()
            .map(|takeover| Takeover { seat: takeover.seat.0, from: takeover.from.0, to: takeover.to.map(|to| to.0) })
            .collect();
        let moves = self.moves(&proof)?;
        // The last hundredth may be cut off from the end of the game, but not from a move.
        let end = GameTime::from_ms(duration_ms.saturating_add(10));
        let times =
            moves.iter().map(|one| one.at).chain(takeovers.iter().flat_map(|one| [Some(one.from), one.to]).flatten());
        if let Some(at) = times.into_iter().find(|&at| at > end) {
            return Err(JsonError::AfterTheEnd { at });
        }
        Ok(GameRecord {
            game_id: self.game_id.parse()?,
            room_id: self.room_id.clone(),
            started_at_ms,
            duration_ms,
            players: BySeat::new([one.to_player()?, two.to_player()?, three.to_player()?, four.to_player()?]),
            proof,
            moves,
            takeovers,
            ended: if self.winners.is_empty() { Ended::Abandoned } else { Ended::Won },
        })
    }

    /// What was done, in order. Copies of a piece look alike in the text; the first one in hand stands for them.
    fn moves(&self, proof: &DealProof) -> Result<Vec<Move>, JsonError> {
        let mut course = Course::new(proof);
        let mut moves = Vec::new();
        let mut act = |course: &mut Course, seat: SeatNumber, action, at: Seconds| {
            let next = Move { seat: seat.0, action, at: at.0 };
            moves.push(next);
            course.apply(next, |_| ())
        };
        for (round_index, round) in self.rounds.iter().enumerate() {
            for answer in round.deals.iter().flat_map(|deal| &deal.answers) {
                act(&mut course, answer.seat, Action::AnswerRedeal(answer.accept), answer.at)?;
            }
            for one in &round.declarations {
                let declaration = Declaration::new(one.value).ok_or(JsonError::Declaration { round: round_index })?;
                act(&mut course, one.seat, Action::Declare(declaration), one.at)?;
            }
            for (turn_index, turn) in round.turns.iter().enumerate() {
                for play in &turn.plays {
                    let held = course.game().hand(play.seat.0).set();
                    let pieces = pick(held, &play.pieces).map_err(|piece| JsonError::NotHeld {
                        round: round_index,
                        turn: turn_index,
                        seat: play.seat.0,
                        piece,
                    })?;
                    act(&mut course, play.seat, Action::Play(pieces), play.at)?;
                }
            }
        }
        Ok(moves)
    }
}

/// Pieces of these names out of `held`, or the first name for which there is none left.
fn pick(mut held: PieceSet, names: &[PieceName]) -> Result<PieceSet, PieceName> {
    let mut picked = PieceSet::EMPTY;
    for &name in names {
        let piece = held.iter().find(|piece| piece.kind() == name.0).ok_or(name)?;
        picked = picked.with(piece);
        held = held.difference(picked);
    }
    Ok(picked)
}

/// A moment in milliseconds of Unix time.
pub(super) fn unix_ms(text: &str) -> Option<u64> {
    u64::try_from(text.parse::<Timestamp>().ok()?.as_millisecond()).ok()
}

fn first_difference(found: &Value, must: &Value, path: &mut String) -> Option<Difference> {
    let differ = |path: &str, found: &str, must: &str| {
        let path = if path.is_empty() { "the game".to_owned() } else { path.to_owned() };
        Some(Difference { path, found: cut(found), must: cut(must) })
    };
    let length = path.len();
    match (found, must) {
        (Value::Object(found), Value::Object(must)) => {
            let keys = must.keys().chain(found.keys().filter(|key| !must.contains_key(*key)));
            for key in keys {
                if !path.is_empty() {
                    path.push('.');
                }
                path.push_str(key);
                let difference = match (found.get(key), must.get(key)) {
                    (Some(found), Some(must)) => first_difference(found, must, path),
                    (None, Some(must)) => differ(path, "missing", &must.to_string()),
                    (found, None) => differ(path, &found.map(Value::to_string).unwrap_or_default(), "absent"),
                };
                if difference.is_some() {
                    return difference;
                }
                path.truncate(length);
            }
            None
        }
        (Value::Array(found), Value::Array(must)) => {
            for (index, (found, must)) in found.iter().zip(must).enumerate() {
                path.push_str(&format!("[{index}]"));
                let difference = first_difference(found, must, path);
                if difference.is_some() {
                    return difference;
                }
                path.truncate(length);
            }
            if found.len() == must.len() {
                return None;
            }
            differ(path, &format!("{} entries long", found.len()), &format!("{} entries long", must.len()))
        }
        // Other writers of JSON write 14.0 as 14.
        (Value::Number(a), Value::Number(b)) if a.as_f64() == b.as_f64() => None,
        (a, b) if a == b => None,
        (a, b) => differ(path, &a.to_string(), &b.to_string()),
    }
}

fn cut(text: &str) -> String {
    const LONGEST: usize = 80;
    if text.chars().count() <= LONGEST {
        return text.to_owned();
    }
    text.chars().take(LONGEST).chain(['…']).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_day_is_all_of_it() {
        assert_eq!(time_from("2026-11-23"), Some(1_795_392_000_000));
        assert_eq!(time_until("2026-11-23"), Some(1_795_392_000_000 + 86_400_000));
        assert_eq!(time_from("2026-11-23T10:15:02.120Z"), time_until("2026-11-23T10:15:02.120Z"));
        assert_eq!(time_from("2026-11-23T10:15:02.120Z"), Some(1_795_428_902_120));
        // Nobody played before there was a clock, so all of that is its beginning.
        assert_eq!(time_from("1969-12-31"), Some(0));
        for text in ["", "yesterday", "2026-13-01", "2026-11-23T10:15:02"] {
            assert_eq!((time_from(text), time_until(text)), (None, None), "{text}");
        }
        assert_eq!(time_text(1_795_428_902_120), "2026-11-23T10:15:02.120Z");
        assert_eq!(time_text(1_795_428_902_000), "2026-11-23T10:15:02.000Z");
        assert_eq!(time_text(u64::MAX), time_text(i64::MAX as u64));
    }

    #[test]
    fn a_time_of_a_game_keeps_its_two_decimals() {
        for hundredths in [0, 1, 10, 29, 57, 100, 115, 12_345, 1_000_001, u32::MAX] {
            let seconds = Seconds(GameTime::from_hundredths(hundredths));
            assert_eq!(Seconds::try_from(f64::from(seconds)), Ok(seconds));
            let text = serde_json::to_string(&seconds).unwrap();
            assert_eq!(serde_json::from_str::<Seconds>(&text).unwrap(), seconds);
        }
        for wrong in [0.001, -1.0, f64::NAN, f64::INFINITY, 5e7] {
            assert!(Seconds::try_from(wrong).is_err(), "{wrong}");
        }
    }
}
