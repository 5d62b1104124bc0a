//! The rules of Liap Tui: pure and synchronous.
//!
//! A [`Game`] is a [`DealSeed`] and a list of [`Action`]s; nothing else flows in. There is no clock, no logging, no
//! serialisation and no thread here: the caller decides when something happens, these files decide what. Read them in
//! the order below.

mod piece;
mod piece_set;
mod seat;

mod action;
mod deal;
mod declare;
mod hand;
mod play;
mod score;
mod starter;
mod turn;

#[expect(clippy::module_inception, reason = "the folder is the rules, the file is one game played by them")]
mod game;
mod view;

mod bot;
mod simulate;

pub use action::{Action, ActionError};
pub use bot::{Level, LevelError, choose};
pub use deal::{DealProof, DealSeed, Entropy, EntropyError, ServerSeed};
pub use declare::{AllowedDeclarations, Declaration, allowed_declarations};
pub use game::{Event, Game, Phase, PublicState, RULES_VERSION, subsets};
pub use hand::Hand;
pub use piece::{Color, Kind, Name, Piece};
pub use piece_set::PieceSet;
pub use play::{Play, PlayKind};
pub use score::{Outcome, RoundScore, WINNING_SCORE, round_score, winners};
pub use seat::{BySeat, Seat, SeatSet};
pub use simulate::{Results, Seating, Series, Step, Tally, play_out};
pub use starter::{Starter, StarterReason, first_accepter, starter};
pub use turn::{Table, TurnResult};
pub use view::{View, ViewPhase};
