//! The state of a running game: `phase_change`, the one message a page cannot do without, and `turn_complete`.
//!
//! What all may know comes from the [`View`] of a spectator and is encoded once. A player's hand and face-down play come
//! from the player's own [`View`] and go to that player alone (see [`Broadcast`]). So nothing that a seat may not know is
//! at hand when its message is written.

use serde::{Serialize, Serializer};
use serde_json::{Value, json};

use super::{Broadcast, Frame, RoomId};
use crate::game::{
    BySeat, Color, DealProof, Declaration, Kind, Name, Piece, PieceSet, Play, PlayKind, RoundScore, Seat, SeatSet,
    TurnResult, View, ViewPhase,
};

/// A player at the table, apart from the game itself.
#[derive(Debug, Clone)]
pub struct TablePlayer<'a> {
    /// The name, unique in the room.
    pub name: &'a str,
    /// Whether a bot plays for this seat now.
    pub is_bot: bool,
    /// Whether the seat was a bot's from the beginning.
    pub original_is_bot: bool,
    /// Whether this player is the host.
    pub is_host: bool,
    /// A person's colour.
    pub avatar_color: Option<&'static str>,
    /// Whether the player, or the bot, is there.
    pub is_connected: bool,
}

/// The phase that `phase_change` announces. It follows the pauses of the table, which the game's own phase does not know.
#[derive(Debug)]
pub enum TablePhase<'a> {
    /// Tiles are dealt, or weak hands are asked.
    Preparation {
        /// Whether the tiles are on their way.
        dealing: bool,
    },
    /// Who starts the round, and why.
    RoundStart,
    /// Declarations.
    Declaration,
    /// A turn: its plays so far, or all four of them.
    Turn,
    /// A turn is won, its plays still lie there.
    TurnWon(&'a TurnResult),
    /// The last turn of a round is won.
    TurnResults(&'a TurnResult),
    /// The scores of a round.
    Scoring,
    /// The end.
    GameOver(&'a Ending<'a>),
}

/// What is revealed when a game is over.
#[derive(Debug)]
pub struct Ending<'a> {
    /// The archived game's id.
    pub game_id: &'a str,
    /// From which every deal can be computed again.
    pub proof: &'a DealProof,
    /// Each round's points and the totals after it.
    pub score_history: &'a [(BySeat<i32>, BySeat<i32>)],
    /// How long the game took.
    pub duration: std::time::Duration,
}

/// A countdown shown at the table, in milliseconds.
#[derive(Debug, Clone, Copy)]
pub struct Countdown {
    /// What is left.
    pub left_ms: u64,
    /// What there was in all.
    pub total_ms: u64,
}

/// All that a `phase_change` is made of.
#[derive(Debug)]
pub struct TableState<'a> {
    /// Which room.
    pub room_id: RoomId,
    /// Who sits where.
    pub players: BySeat<TablePlayer<'a>>,
    /// What a spectator may know.
    pub spectator: View,
    /// What the connected players may know beyond that.
    pub own: BySeat<Option<View>>,
    /// The number of the last event in this state; a client asks for missed events from there.
    pub sequence: u64,
    /// The phase.
    pub phase: TablePhase<'a>,
    /// Time left to the players that are to move.
    pub deadline: Option<Countdown>,
    /// Time until the table goes on by itself, in milliseconds.
    pub pause_ms: Option<u64>,
}

impl TableState<'_> {
    /// `phase_change`, for everybody at the table.
    pub fn phase_change(&self) -> Broadcast {
        Broadcast::event("phase_change", |message| {
            message.field("phase", &self.phase.name());
            message.field("round", &self.spectator.public.round);
            message.field("room_id", &self.room_id);
            message.field("sequence", &self.sequence);
            message.field("allowed_actions", &self.allowed_actions());
            message.object_field("players", |message| {
                for seat in Seat::ALL {
                    message.object_field(self.name(seat), |message| {
                        match self.own[seat] {
                            Some(own) => message.secret_field("hand", seat, &texts(own.hand.iter()), &NO_PIECES),
                            None => message.field("hand", &NO_PIECES),
                        }
                        self.add_player(message, seat);
                    });
                }
            });
            message.object_field("phase_data", |message| {
                self.add_phase_data(message);
                if let Some(Countdown { left_ms, total_ms }) = self.deadline {
                    message.field("deadline_ms", &left_ms);
                    message.field("deadline_total_ms", &total_ms);
                }
                if let Some(pause_ms) = self.pause_ms {
                    message.field("pause_ms", &pause_ms);
                }
                message.list_field("players", Seat::ALL, |message, seat| self.add_player(message, seat));
            });
        })
    }

    /// The actions that players may take now: none while the table only shows what they have done.
    const fn allowed_actions(&self) -> &'static [&'static str] {
        match (&self.phase, &self.spectator.phase) {
            (TablePhase::Preparation { dealing: false }, ViewPhase::Redeal { .. }) => {
                &["accept_redeal", "decline_redeal"]
            }
            (TablePhase::Declaration, ViewPhase::Declare { .. }) => &["declare"],
            (TablePhase::Turn, ViewPhase::Lead { .. } | ViewPhase::Follow { .. }) => &["play"],
            _ => &[],
        }
    }

    fn add_player(&self, message: &mut Broadcast, seat: Seat) {
        let (player, public) = (&self.players[seat], &self.spectator.public);
        message.field("name", &player.name);
        message.field("is_bot", &player.is_bot);
        message.field("original_is_bot", &player.original_is_bot);
        message.field("is_host", &player.is_host);
        message.field("is_connected", &player.is_connected);
        message.field("avatar_color", &player.avatar_color);
        message.field("score", &public.totals[seat]);
        message.field("declared", &self.declared(seat));
        message.field("captured_piles", &public.captured[seat]);
        message.field("hand_size", &public.hand_sizes[seat]);
        message.field("zero_declares_in_a_row", &public.zero_streaks[seat]);
    }

    fn name(&self, seat: Seat) -> &str {
        self.players[seat].name
    }

    fn names(&self, seats: impl IntoIterator<Item = Seat>) -> Vec<&str> {
        seats.into_iter().map(|seat| self.name(seat)).collect()
    }

    /// A JSON object with the players' names as keys, in the order given.
    fn by_name<T: Serialize>(&self, entries: impl IntoIterator<Item = (Seat, T)>) -> impl Serialize {
        NameMap(entries.into_iter().map(|(seat, value)| (self.name(seat), value)).collect())
    }

    /// The declaration of a seat; 0 before it is made.
    fn declared(&self, seat: Seat) -> u8 {
        self.spectator.public.declared[seat].map_or(0, Declaration::piles)
    }

    fn add_phase_data(&self, message: &mut Broadcast) {
        match (&self.phase, &self.spectator.phase) {
            (TablePhase::Preparation { dealing }, phase) => {
                message.field("dealing_cards", dealing);
                message.field("redeal_multiplier", &self.spectator.public.multiplier);
                if let (false, &ViewPhase::Redeal { asked, answered }) = (dealing, phase) {
                    self.add_redeal_question(message, asked, answered);
                }
            }
            (TablePhase::RoundStart, _) => {
                if let Some((starter, reason)) = self.spectator.public.starter {
                    message.field("current_starter", &self.name(starter));
                    message.field("starter_reason", &<&str>::from(reason));
                    message.field("round_number", &self.spectator.public.round);
                    message.field("display_duration", &5.0);
                }
            }
            (TablePhase::Declaration, phase) => self.add_declarations(message, phase),
            (TablePhase::Turn, &ViewPhase::Follow { starter, lead, next }) => {
                self.add_running_turn(message, starter, lead, next);
            }
            (TablePhase::Turn, ViewPhase::Revealed(result)) => self.add_finished_turn(message, result),
            (TablePhase::Turn, &ViewPhase::Lead { starter }) => {
                self.add_turn(message, starter, starter, None, false);
                message.object_field("turn_plays", |_| ());
            }
            (TablePhase::TurnWon(result), _) => {
                self.add_finished_turn(message, result);
                let winner = self.name(result.winner);
                message.field("winner", &winner);
                message.field("piles_won", &result.piles());
                message.field("next_turn_starter", &winner);
            }
            (TablePhase::TurnResults(result), _) => {
                message.field("turn_winner", &self.name(result.winner));
                message.field("display_duration", &7.0);
                message.field("next_phase", &"scoring");
                message.field("pile_counts", &self.by_name(self.spectator.public.captured.pairs()));
            }
            (TablePhase::Scoring, ViewPhase::Scored { scores }) => self.add_scores(message, scores),
            (TablePhase::GameOver(ending), ViewPhase::Over { winners }) => self.add_ending(message, ending, *winners),
            // The other phases of the game have table phases of their own.
            (TablePhase::Turn | TablePhase::Scoring | TablePhase::GameOver(_), _) => {}
        }
    }

    fn add_redeal_question(&self, message: &mut Broadcast, asked: SeatSet, answered: SeatSet) {
        message.field("simultaneous_mode", &true);
        message.field("weak_players", &self.names(asked.iter()));
        message.field("weak_players_awaiting", &self.names(asked.difference(answered).iter()));
        message.field("decisions_received", &answered.len());
        message.field("decisions_needed", &asked.len());
        message.field("decision_timeout", &30);
    }

    fn add_declarations(&self, message: &mut Broadcast, phase: &ViewPhase) {
        let Some((starter, _)) = self.spectator.public.starter else { return };
        let declared = |seat| Some((seat, self.spectator.public.declared[seat]?.piles()));
        let made: Vec<(Seat, u8)> = starter.order().into_iter().filter_map(declared).collect();
        let declarer = match *phase {
            ViewPhase::Declare { next } => Some(self.name(next)),
            _ => None,
        };
        message.field("declaration_order", &self.names(starter.order()));
        message.field("current_declarer", &declarer);
        message.field("current_declarer_index", &made.len());
        message.field("declaration_total", &made.iter().map(|&(_, piles)| piles).sum::<u8>());
        message.field("declarations", &self.by_name(made));
    }

    /// The players of a turn. `required` is how many pieces each of them plays, once the first has led.
    fn add_turn(&self, message: &mut Broadcast, starter: Seat, current: Seat, required: Option<u8>, complete: bool) {
        message.field("turn_order", &self.names(starter.order()));
        message.field("current_turn_starter", &self.name(starter));
        message.field("current_player", &self.name(current));
        message.field("required_piece_count", &required);
        message.field("current_turn_number", &(self.spectator.public.turn + u8::from(required.is_none())));
        message.field("turn_complete", &complete);
        message.field("pile_counts", &self.by_name(self.spectator.public.captured.pairs()));
    }

    fn add_running_turn(&self, message: &mut Broadcast, starter: Seat, lead: PlayKind, next: Seat) {
        self.add_turn(message, starter, next, Some(lead.count()), false);
        message.object_field("turn_plays", |message| {
            for seat in starter.order().into_iter().take_while(|&seat| seat != next) {
                // The others see how many pieces a player plays; only the starter's type is shown to all.
                let play_type = match lead.count() {
                    _ if seat == starter => lead.into(),
                    1 => PlayKind::Single.into(),
                    _ => INVALID,
                };
                let masked = PlayData {
                    pieces: vec![FACE_DOWN; usize::from(lead.count())],
                    piece_count: lead.count(),
                    play_type,
                    play_value: 0,
                    is_valid: true,
                };
                match self.own[seat].and_then(|own| own.own_play) {
                    Some(play) => message.secret_field(self.name(seat), seat, &PlayData::open(play), &masked),
                    None => message.field(self.name(seat), &masked),
                }
            }
        });
    }

    /// All four plays, for all to see. The turn is complete, so the existing client asks nobody for another play. The player of
    /// the last one stays the current one, because that client would not accept an empty name.
    fn add_finished_turn(&self, message: &mut Broadcast, result: &TurnResult) {
        let starter = result.starter;
        let [.., last] = starter.order();
        self.add_turn(message, starter, last, Some(result.piles()), true);
        let plays = starter.order().map(|seat| (seat, PlayData::open(result.plays[seat])));
        message.field("turn_plays", &self.by_name(plays));
    }

    fn add_scores(&self, message: &mut Broadcast, scores: &BySeat<RoundScore>) {
        let public = &self.spectator.public;
        message.object_field("round_scores", |message| {
            for (seat, score) in scores.pairs() {
                message.object_field(self.name(seat), |message| {
                    message.field("declared", &self.declared(seat));
                    message.field("actual", &public.captured[seat]);
                    message.field("base_score", &score.base());
                    message.field("bonus", &score.bonus);
                    message.field("hit_value", &score.hit_value);
                    message.field("multiplier", &score.multiplier);
                    message.field("final_score", &score.points());
                    message.field("total_score", &public.totals[seat]);
                });
            }
        });
        message.field("total_scores", &self.by_name(public.totals.pairs()));
        message.list_field("scoring_players_data", Seat::ALL, |message, seat| {
            message.field("name", &self.name(seat));
            message.field("is_bot", &self.players[seat].is_bot);
            message.field("pile_count", &self.declared(seat));
            message.field("captured_piles", &public.captured[seat]);
        });
        let winners = crate::game::winners(&public.totals);
        message.field("redeal_multiplier", &public.multiplier);
        message.field("game_complete", &!winners.is_empty());
        message.field("winners", &self.names(winners.iter()));
    }

    fn add_ending(&self, message: &mut Broadcast, ending: &Ending<'_>, winners: SeatSet) {
        let public = &self.spectator.public;
        let mut ranking = Seat::ALL;
        // The sort is stable: equal totals keep seat order.
        ranking.sort_by_key(|&seat| std::cmp::Reverse(public.totals[seat]));
        message.list_field("final_rankings", (1..).zip(ranking), |message, (rank, seat): (u8, Seat)| {
            message.field("name", &self.name(seat));
            message.field("score", &public.totals[seat]);
            message.field("rank", &rank);
            message.field("turns_won", &public.turns_won[seat]);
            message.field("perfect_rounds", &public.perfect_rounds[seat]);
        });
        message.object_field("game_stats", |message| {
            message.field("total_rounds", &public.round);
            message.field("game_duration", &format!("{} min", ending.duration.as_secs().div_ceil(60)));
        });
        message.field("winners", &self.names(winners.iter()));
        message.field("game_id", &ending.game_id);
        message.field("deal_proof", &deal_proof(ending.proof));
        let rounds = (1..).zip(ending.score_history);
        message.list_field("score_history", rounds, |message, (round, (scores, totals)): (u32, _)| {
            message.field("round", &round);
            message.field("scores", &self.by_name(scores.pairs()));
            message.field("totals", &self.by_name(totals.pairs()));
        });
    }

    /// `turn_complete`: who has won the turn. `finished` says whether it was the last of the round.
    pub fn turn_complete(&self, result: &TurnResult, finished: bool) -> Frame {
        let winner = self.name(result.winner);
        let piles = |seat| if seat == result.winner { result.piles() } else { 0 };
        let turn_players = Seat::ALL.map(|seat| {
            let captured = self.spectator.public.captured[seat];
            json!({ "name": self.name(seat), "captured_piles": captured, "declared": self.declared(seat) })
        });
        let all_plays = result.starter.order().map(|seat| {
            let PlayData { pieces, play_type, play_value, .. } = PlayData::open(result.plays[seat]);
            json!({ "player": self.name(seat), "pieces": pieces, "play_type": play_type, "play_value": play_value })
        });
        let winning_play = json!({
            "pieces": texts(result.winning_play.pieces().iter()),
            "value": result.winning_play.pieces().points(),
            "type": <&str>::from(result.winning_play.kind()),
            "pilesWon": result.piles(),
        });
        Frame::event(
            "turn_complete",
            &json!({
                "phase": "turn",
                "turn_number": self.spectator.public.turn,
                "winner": winner,
                "winning_play": winning_play,
                "player_piles": self.by_name(Seat::ALL.map(|seat| (seat, piles(seat)))),
                "turn_players_data": turn_players,
                "next_starter": winner,
                "all_hands_empty": finished,
                "will_continue": !finished,
                "turn_resolution": { "all_plays": all_plays, "winner": winner, "winner_play": winning_play },
                "pause_ms": self.pause_ms,
            }),
        )
    }
}

/// The proof of a game's deals, in the form of the wire and of records.
pub fn deal_proof(proof: &DealProof) -> Value {
    json!({
        "algorithm": DealProof::ALGORITHM,
        "server_seed": hex::encode(proof.server_seed.reveal()),
        "entropy": proof.entropy.iter().map(|entropy| entropy.as_ref().map(ToString::to_string)).collect::<Vec<_>>(),
        "commitment": hex::encode(proof.server_seed.commitment()),
    })
}

impl TablePhase<'_> {
    const fn name(&self) -> &'static str {
        match self {
            Self::Preparation { .. } => "preparation",
            Self::RoundStart => "round_start",
            Self::Declaration => "declaration",
            Self::Turn | Self::TurnWon(_) => "turn",
            Self::TurnResults(_) => "turn_results",
            Self::Scoring => "scoring",
            Self::GameOver(_) => "game_over",
        }
    }
}

/// The type of a play that is none of the nine.
const INVALID: &str = "INVALID";

/// Stands for every piece that lies face down: the existing client needs a well-formed one.
const FACE_DOWN: &str = Kind { name: Name::Soldier, color: Color::Black }.with_points();

const NO_PIECES: [&str; 0] = [];

/// Pieces as `NAME_COLOR(points)`, in the order given.
fn texts(pieces: impl Iterator<Item = Piece>) -> Vec<&'static str> {
    pieces.map(|piece| piece.kind().with_points()).collect()
}

/// An object with names as keys, in this order.
struct NameMap<'a, T>(Vec<(&'a str, T)>);

impl<T: Serialize> Serialize for NameMap<'_, T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(name, value)| (name, value)))
    }
}

#[derive(Serialize)]
pub(super) struct PlayData {
    pub(super) pieces: Vec<&'static str>,
    piece_count: u8,
    pub(super) play_type: &'static str,
    play_value: u32,
    is_valid: bool,
}

impl PlayData {
    pub(super) fn open(pieces: PieceSet) -> Self {
        Self {
            pieces: texts(pieces.iter()),
            piece_count: pieces.len(),
            play_type: Play::classify(pieces).map_or(INVALID, |play| play.kind().into()),
            play_value: pieces.points(),
            is_valid: true,
        }
    }
}
