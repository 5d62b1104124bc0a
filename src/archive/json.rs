//! A completed game as JSON: the one public form, for the archive's commands, its HTTP answers and its exports.
//!
//! `replay` makes it from a record, so every game that is shown has been played by the rules. `json_reader` makes a record
//! from it again.
#![expect(missing_docs, reason = "most fields say what they are")]

use std::borrow::Cow;
use std::fmt;

use serde::{Deserialize, Serialize};

use super::calendar::time_text;
use super::record::{GameRecord, GameTime, Player, PlayerKind, Takeover};
use crate::game::{BySeat, DealProof, Kind, Outcome, Piece, RULES_VERSION, Seat, ServerSeed};

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
    /// When bots played for absent players.
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
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
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
pub struct AnswerJson {
    pub seat: SeatNumber,
    pub accept: bool,
    pub at: GameTime,
}

/// A declaration.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DeclarationJson {
    pub seat: SeatNumber,
    pub value: u8,
    pub at: GameTime,
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
pub struct PlayJson {
    pub seat: SeatNumber,
    pub pieces: Vec<PieceName>,
    /// One of the nine types, or `INVALID`.
    pub play_type: Cow<'static, str>,
    pub at: GameTime,
}

/// A bot played for an absent player.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TakeoverJson {
    pub seat: SeatNumber,
    pub from: GameTime,
    /// `None` if the player did not come back.
    pub to: Option<GameTime>,
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

/// What is engraved on a piece, spelled `NAME_COLOR`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "&'static str", try_from = "String")]
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

impl From<PieceName> for &'static str {
    fn from(name: PieceName) -> Self {
        name.0.as_str()
    }
}

impl TryFrom<String> for PieceName {
    type Error = &'static str;
    fn try_from(text: String) -> Result<Self, Self::Error> {
        let kind = Piece::all().map(Piece::kind).find(|kind| kind.as_str() == text);
        kind.map(Self).ok_or("a piece is spelled NAME_COLOR, for example ELEPHANT_RED")
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
            ended: Cow::Borrowed(record.ended.into()),
        }
    }

    /// The game on one line, as it is exported.
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
            PlayerKind::Bot(level) => Some(Cow::Borrowed(level.into())),
        };
        Self { seat: seat.into(), name: player.name.clone(), is_bot: level.is_some(), level }
    }

    pub(super) fn to_player(&self) -> Result<Player, FieldError> {
        let kind = match &self.level {
            None => PlayerKind::Human,
            Some(level) => PlayerKind::Bot(level.parse().map_err(|error| FieldError(format!("players: {error}")))?),
        };
        Ok(Player { name: self.name.clone(), kind })
    }
}

impl ProofJson {
    /// The public form of a proof.
    pub fn new(proof: &DealProof) -> Self {
        Self {
            algorithm: DealProof::ALGORITHM.into(),
            server_seed: hex::encode(proof.server_seed.reveal()),
            entropy: proof.entropy.clone().map(|entropy| entropy.map(|entropy| entropy.to_string())).into_array(),
            commitment: hex::encode(proof.server_seed.commitment()),
        }
    }

    /// The proof. The commitment is not checked.
    ///
    /// # Errors
    /// [`FieldError`] if the algorithm, the seed or a player's entropy cannot be read.
    pub fn to_proof(&self) -> Result<DealProof, FieldError> {
        if self.algorithm != DealProof::ALGORITHM {
            let (found, must) = (self.algorithm.chars().take(40).collect::<String>(), DealProof::ALGORITHM);
            return Err(FieldError(format!("deal_proof.algorithm is {found:?}, must be {must:?}")));
        }
        let mut seed = [0; 32];
        hex::decode_to_slice(&self.server_seed, &mut seed)
            .map_err(|_| FieldError("deal_proof.server_seed must be 64 hexadecimal digits".to_owned()))?;
        let mut entropy = BySeat::default();
        for (seat, text) in Seat::ALL.into_iter().zip(&self.entropy) {
            let parsed = text.as_ref().map(|text| text.parse()).transpose();
            entropy[seat] = parsed.map_err(|error| FieldError(format!("deal_proof.entropy: {error}")))?;
        }
        Ok(DealProof { server_seed: ServerSeed::new(seed), entropy })
    }
}

/// A field of the public form has a value that it cannot have. The text names the field.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct FieldError(pub(super) String);

impl TakeoverJson {
    fn new(takeover: &Takeover) -> Self {
        Self { seat: takeover.seat.into(), from: takeover.from, to: takeover.to }
    }
}
