//! The state of a running game: `phase_change`, the one message a page cannot do without, and `turn_complete`.
//!
//! What all may know is taken from the [`View`] of somebody watching and encoded once. A player's hand and his play
//! that lies face down are taken from his own [`View`] and stand aside for him alone (see [`Broadcast`]). So nothing
//! that a seat may not know is at hand when its message is written.

use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};
use serde_json::json;

use super::{Broadcast, Frame, RoomId};
use crate::game::{
    BySeat, Color, DealProof, Declaration, Kind, Name, Piece, PieceSet, Play, PlayKind, Public, RoundScore, Seat,
    SeatSet, TurnResult, View, ViewPhase,
};

/// What is known of a player besides the game itself.
#[derive(Debug, Clone)]
pub struct Sitter<'a> {
    /// His name, unique in the room.
    pub name: &'a str,
    /// Whether a bot plays for this seat now.
    pub is_bot: bool,
    /// Whether the seat was a bot's from the beginning.
    pub original_is_bot: bool,
    /// Whether he is the host.
    pub is_host: bool,
    /// A person's colour.
    pub avatar_color: Option<&'static str>,
    /// Whether he, or the bot, is there.
    pub is_connected: bool,
}

/// What the table shows besides the game's own phase.
#[derive(Debug)]
pub enum Screen<'a> {
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

/// What is shown and revealed when a game is over.
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
    pub sitters: BySeat<Sitter<'a>>,
    /// What everybody may know.
    pub public: View,
    /// What the players who listen may know beyond that.
    pub own: BySeat<Option<View>>,
    /// The number of the last event that it shows, for whoever wants to know what he missed.
    pub sequence: u64,
    /// What is shown.
    pub screen: Screen<'a>,
    /// Time left to the one whose turn it is, or to those who are asked.
    pub deadline: Option<Countdown>,
    /// How long this screen stays before the table goes on by itself.
    pub pause_ms: Option<u64>,
}

impl TableState<'_> {
    /// `phase_change`, for everybody around the table.
    #[must_use]
    pub fn phase_change(&self) -> Broadcast {
        let public = self.public.public();
        let players = BySeat::from_fn(|seat| self.player(seat, public));
        let mut message = Broadcast::open("phase_change");
        message.push("{\"phase\":\"");
        message.push(self.screen.phase());
        message.push("\",\"round\":");
        message.push_json(&public.round);
        message.push(",\"room_id\":");
        message.push_json(&self.room_id);
        message.push(",\"sequence\":");
        message.push_json(&self.sequence);
        message.push(",\"allowed_actions\":");
        message.push(self.allowed_actions());
        message.push(",\"players\":{");
        for (seat, player) in players.pairs() {
            message.push(if seat == Seat::One { "" } else { "," });
            message.push_json(&player.name);
            message.push(":{\"hand\":");
            match self.own[seat] {
                Some(own) => message.push_secret(seat, &texts(own.hand().iter()), &NO_PIECES),
                None => message.push_json(&NO_PIECES),
            }
            message.push(",");
            message.push_fields(player);
            message.push("}");
        }
        message.push("},\"phase_data\":{");
        self.push_phase_data(&mut message, public);
        if let Some(Countdown { left_ms, total_ms }) = self.deadline {
            message.push_fields(&Deadline { deadline_ms: left_ms, deadline_total_ms: total_ms });
            message.push(",");
        }
        if let Some(pause_ms) = self.pause_ms {
            message.push("\"pause_ms\":");
            message.push_json(&pause_ms);
            message.push(",");
        }
        // Last, because the fields above all end with a comma.
        message.push("\"players\":");
        message.push_json(players.as_array());
        message.push("}}");
        message.close()
    }

    /// What players may do now, as JSON: nothing while the screen only shows what they have done.
    fn allowed_actions(&self) -> &'static str {
        match (&self.screen, self.public.phase()) {
            (Screen::Preparation { dealing: false }, ViewPhase::Redeal { .. }) => {
                r#"["accept_redeal","decline_redeal"]"#
            }
            (Screen::Declaration, ViewPhase::Declare { .. }) => r#"["declare"]"#,
            (Screen::Turn, ViewPhase::Lead { .. } | ViewPhase::Follow { .. }) => r#"["play"]"#,
            _ => "[]",
        }
    }

    fn player(&self, seat: Seat, public: &Public) -> Player<'_> {
        let sitter = &self.sitters[seat];
        Player {
            name: sitter.name,
            is_bot: sitter.is_bot,
            original_is_bot: sitter.original_is_bot,
            is_host: sitter.is_host,
            is_connected: sitter.is_connected,
            avatar_color: sitter.avatar_color,
            score: public.totals[seat],
            declared: public.declared[seat].map_or(0, Declaration::piles),
            captured_piles: public.captured[seat],
            hand_size: public.hand_sizes[seat],
            zero_declares_in_a_row: public.zero_streaks[seat],
        }
    }

    fn name(&self, seat: Seat) -> &str {
        self.sitters[seat].name
    }

    fn names(&self, seats: impl IntoIterator<Item = Seat>) -> Vec<&str> {
        seats.into_iter().map(|seat| self.name(seat)).collect()
    }

    /// A JSON object with the players' names as keys, in the order given.
    fn by_name<T: Serialize>(&self, entries: impl IntoIterator<Item = (Seat, T)>) -> impl Serialize {
        NameMap(entries.into_iter().map(|(seat, value)| (self.name(seat), value)).collect())
    }

    /// The fields of `phase_data`, each followed by a comma.
    fn push_phase_data(&self, message: &mut Broadcast, public: &Public) {
        match self.screen {
            Screen::Preparation { dealing } => self.push_preparation(message, public, dealing),
            Screen::RoundStart => {
                if let Some((starter, reason)) = public.starter {
                    message.push_fields(&json!({
                        "current_starter": self.name(starter),
                        "starter_reason": reason.as_str(),
                        "round_number": public.round,
                        "display_duration": 5.0,
                    }));
                    message.push(",");
                }
            }
            Screen::Declaration => self.push_declaration(message, public),
            Screen::Turn => match *self.public.phase() {
                ViewPhase::Follow { starter, lead, next } => {
                    self.push_running_turn(message, public, starter, lead, next);
                }
                ViewPhase::Revealed(ref result) => self.push_finished_turn(message, public, result),
                ViewPhase::Lead { starter } => self.push_opening(message, public, starter),
                // The other phases have screens of their own.
                _ => {}
            },
            Screen::TurnWon(result) => {
                self.push_finished_turn(message, public, result);
                let winner = self.name(result.winner);
                message.push_fields(&Won { winner, piles_won: result.piles(), next_turn_starter: winner });
                message.push(",");
            }
            Screen::TurnResults(result) => {
                message.push_fields(&TurnResultsData {
                    turn_winner: self.name(result.winner),
                    display_duration: 7.0,
                    next_phase: "scoring",
                    pile_counts: self.by_name(public.captured.pairs()),
                });
                message.push(",");
            }
            Screen::Scoring => {
                if let ViewPhase::Scored { scores } = self.public.phase() {
                    self.push_scoring(message, public, scores);
                }
            }
            Screen::GameOver(ending) => {
                if let ViewPhase::Over { winners } = *self.public.phase() {
                    self.push_game_over(message, public, ending, winners);
                }
            }
        }
    }

    fn push_preparation(&self, message: &mut Broadcast, public: &Public, dealing: bool) {
        message.push_fields(&Preparation { dealing_cards: dealing, redeal_multiplier: public.multiplier });
        message.push(",");
        if let ViewPhase::Redeal { asked, answered } = *self.public.phase()
            && !dealing
        {
            let awaiting = asked.iter().filter(|&seat| !answered.contains(seat));
            message.push_fields(&Question {
                simultaneous_mode: true,
                weak_players: self.names(asked.iter()),
                weak_players_awaiting: self.names(awaiting),
                decisions_received: answered.len(),
                decisions_needed: asked.len(),
                decision_timeout: 30,
            });
            message.push(",");
        }
    }

    fn push_declaration(&self, message: &mut Broadcast, public: &Public) {
        let Some((starter, _)) = public.starter else {
            return;
        };
        let order = starter.order();
        let made: Vec<(Seat, u8)> =
            order.into_iter().filter_map(|seat| Some((seat, public.declared[seat]?.piles()))).collect();
        let declarer = match *self.public.phase() {
            ViewPhase::Declare { next } => Some(next),
            _ => None,
        };
        message.push_fields(&DeclarationData {
            declaration_order: self.names(order),
            current_declarer: declarer.map(|seat| self.name(seat)),
            current_declarer_index: made.len(),
            declaration_total: made.iter().map(|&(_, piles)| piles).sum(),
            declarations: self.by_name(made),
        });
        message.push(",");
    }

    fn push_turn_head(&self, message: &mut Broadcast, public: &Public, turn: &Turn) {
        message.push_fields(&TurnData {
            turn_order: self.names(turn.starter.order()),
            current_turn_starter: self.name(turn.starter),
            current_player: self.name(turn.current),
            required_piece_count: turn.required,
            current_turn_number: turn.number,
            turn_complete: turn.complete,
            pile_counts: self.by_name(public.captured.pairs()),
        });
        message.push(",\"turn_plays\":{");
    }

    fn push_opening(&self, message: &mut Broadcast, public: &Public, starter: Seat) {
        let turn = Turn { starter, current: starter, required: None, number: public.turn + 1, complete: false };
        self.push_turn_head(message, public, &turn);
        message.push("},");
    }

    fn push_running_turn(&self, message: &mut Broadcast, public: &Public, starter: Seat, lead: PlayKind, next: Seat) {
        let required = Some(lead.count());
        let turn = Turn { starter, current: next, required, number: public.turn, complete: false };
        self.push_turn_head(message, public, &turn);
        for seat in starter.order().into_iter().take_while(|&seat| seat != next) {
            message.push(if seat == starter { "" } else { "," });
            message.push_json(&self.name(seat));
            message.push(":");
            // To the others a responder's play is so many pieces; the starter's type is shown to all.
            let shown_type = match lead.count() {
                _ if seat == starter => lead.as_str(),
                1 => PlayKind::Single.as_str(),
                _ => INVALID,
            };
            let masked = PlayData {
                pieces: vec![FACE_DOWN; usize::from(lead.count())],
                piece_count: lead.count(),
                play_type: shown_type,
                play_value: 0,
                is_valid: true,
            };
            match self.own[seat].and_then(|own| own.own_play()) {
                Some(play) => message.push_secret(seat, &PlayData::open(play), &masked),
                None => message.push_json(&masked),
            }
        }
        message.push("},");
    }

    /// All four plays, for all to see. The turn is complete, so the existing client asks nobody for another play; the
    /// player of the last one stays the current one, because it would not take over an empty name.
    fn push_finished_turn(&self, message: &mut Broadcast, public: &Public, result: &TurnResult) {
        let order = result.starter.order();
        let [.., last] = order;
        let turn = Turn {
            starter: result.starter,
            current: last,
            required: Some(result.piles()),
            number: public.turn,
            complete: true,
        };
        self.push_turn_head(message, public, &turn);
        for seat in order {
            message.push(if seat == result.starter { "" } else { "," });
            message.push_json(&self.name(seat));
            message.push(":");
            message.push_json(&PlayData::open(result.plays[seat]));
        }
        message.push("},");
    }

    fn push_scoring(&self, message: &mut Broadcast, public: &Public, scores: &BySeat<RoundScore>) {
        let round_scores = scores.pairs().map(|(seat, score)| {
            let data = RoundScoreData {
                declared: public.declared[seat].map_or(0, Declaration::piles),
                actual: public.captured[seat],
                base_score: score.base(),
                bonus: score.bonus,
                hit_value: score.hit_value,
                multiplier: score.multiplier,
                final_score: score.points(),
                total_score: public.totals[seat],
            };
            (seat, data)
        });
        let players = Seat::ALL.map(|seat| {
            json!({
                "name": self.name(seat),
                "is_bot": self.sitters[seat].is_bot,
                "pile_count": public.declared[seat].map_or(0, Declaration::piles),
                "captured_piles": public.captured[seat],
            })
        });
        let winners = crate::game::winners(&public.totals);
        message.push_fields(&json!({
            "round_scores": self.by_name(round_scores.collect::<Vec<_>>()),
            "total_scores": self.by_name(public.totals.pairs()),
            "scoring_players_data": players,
            "redeal_multiplier": public.multiplier,
            "game_complete": !winners.is_empty(),
            "winners": self.names(winners.iter()),
        }));
        message.push(",");
    }

    fn push_game_over(&self, message: &mut Broadcast, public: &Public, ending: &Ending<'_>, winners: SeatSet) {
        let mut ranking = Seat::ALL;
        // The sort is stable: equal totals keep seat order.
        ranking.sort_by_key(|&seat| std::cmp::Reverse(public.totals[seat]));
        let final_rankings: Vec<_> = (1..)
            .zip(ranking)
            .map(|(rank, seat)| {
                json!({
                    "name": self.name(seat),
                    "score": public.totals[seat],
                    "rank": rank,
                    "turns_won": public.turns_won[seat],
                    "perfect_rounds": public.perfect_rounds[seat],
                })
            })
            .collect();
        let score_history: Vec<_> = (1..)
            .zip(ending.score_history)
            .map(|(round, (scores, totals))| {
                json!({
                    "round": round,
                    "scores": self.by_name(scores.pairs()),
                    "totals": self.by_name(totals.pairs()),
                })
            })
            .collect();
        message.push_fields(&json!({
            "final_rankings": final_rankings,
            "game_stats": {
                "total_rounds": public.round,
                "game_duration": format!("{} min", ending.duration.as_secs().div_ceil(60)),
            },
            "winners": self.names(winners.iter()),
            "game_id": ending.game_id,
            "deal_proof": deal_proof(ending.proof),
            "score_history": score_history,
        }));
        message.push(",");
    }

    /// `turn_complete`: who has won the turn. `finished` says whether it was the last of the round.
    #[must_use]
    pub fn turn_complete(&self, result: &TurnResult, finished: bool) -> Frame {
        let public = self.public.public();
        let winner = self.name(result.winner);
        let piles = |seat| if seat == result.winner { result.piles() } else { 0 };
        let turn_players: Vec<_> = Seat::ALL
            .into_iter()
            .map(|seat| {
                json!({
                    "name": self.name(seat),
                    "captured_piles": public.captured[seat],
                    "declared": public.declared[seat].map_or(0, Declaration::piles),
                })
            })
            .collect();
        let all_plays: Vec<_> = result
            .starter
            .order()
            .into_iter()
            .map(|seat| {
                let play = PlayData::open(result.plays[seat]);
                json!({
                    "player": self.name(seat),
                    "pieces": play.pieces,
                    "play_type": play.play_type,
                    "play_value": play.play_value,
                })
            })
            .collect();
        let winning_play = json!({
            "pieces": texts(result.winning_play.pieces().iter()),
            "value": result.winning_play.pieces().points(),
            "type": result.winning_play.kind().as_str(),
            "pilesWon": result.piles(),
        });
        Frame::event(
            "turn_complete",
            &json!({
                "phase": "turn",
                "turn_number": public.turn,
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

/// The proof of a game's deals, as it stands on the wire and in records.
#[must_use]
pub fn deal_proof(proof: &DealProof) -> serde_json::Value {
    json!({
        "algorithm": DealProof::ALGORITHM,
        "server_seed": hex::encode(proof.server_seed.reveal()),
        "entropy": proof.entropy.iter().map(|entropy| entropy.as_ref().map(ToString::to_string)).collect::<Vec<_>>(),
        "commitment": hex::encode(proof.server_seed.commitment()),
    })
}

impl Screen<'_> {
    const fn phase(&self) -> &'static str {
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

/// What a play is called that is none of the nine types.
const INVALID: &str = "INVALID";

/// Stands for every piece that lies face down: the existing client needs a well-formed one.
const FACE_DOWN: &str = piece_text(Kind { name: Name::Soldier, color: Color::Black });

const NO_PIECES: [&str; 0] = [];

/// Pieces as `NAME_COLOR(points)`, in the order given.
fn texts(pieces: impl Iterator<Item = Piece>) -> Vec<&'static str> {
    pieces.map(|piece| piece_text(piece.kind())).collect()
}

/// `NAME_COLOR(points)`.
const fn piece_text(kind: Kind) -> &'static str {
    match (kind.name, kind.color) {
        (Name::General, Color::Red) => "GENERAL_RED(14)",
        (Name::General, Color::Black) => "GENERAL_BLACK(13)",
        (Name::Advisor, Color::Red) => "ADVISOR_RED(12)",
        (Name::Advisor, Color::Black) => "ADVISOR_BLACK(11)",
        (Name::Elephant, Color::Red) => "ELEPHANT_RED(10)",
        (Name::Elephant, Color::Black) => "ELEPHANT_BLACK(9)",
        (Name::Chariot, Color::Red) => "CHARIOT_RED(8)",
        (Name::Chariot, Color::Black) => "CHARIOT_BLACK(7)",
        (Name::Horse, Color::Red) => "HORSE_RED(6)",
        (Name::Horse, Color::Black) => "HORSE_BLACK(5)",
        (Name::Cannon, Color::Red) => "CANNON_RED(4)",
        (Name::Cannon, Color::Black) => "CANNON_BLACK(3)",
        (Name::Soldier, Color::Red) => "SOLDIER_RED(2)",
        (Name::Soldier, Color::Black) => "SOLDIER_BLACK(1)",
    }
}

/// An object with names as keys, in this order.
struct NameMap<'a, T>(Vec<(&'a str, T)>);

impl<T: Serialize> Serialize for NameMap<'_, T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for (name, value) in &self.0 {
            map.serialize_entry(name, value)?;
        }
        map.end()
    }
}

#[derive(Serialize)]
struct Player<'a> {
    name: &'a str,
    is_bot: bool,
    original_is_bot: bool,
    is_host: bool,
    is_connected: bool,
    avatar_color: Option<&'static str>,
    score: i32,
    declared: u8,
    captured_piles: u8,
    hand_size: u8,
    zero_declares_in_a_row: u8,
}

#[derive(Serialize)]
struct Deadline {
    deadline_ms: u64,
    deadline_total_ms: u64,
}

#[derive(Serialize)]
struct Preparation {
    dealing_cards: bool,
    redeal_multiplier: u32,
}

#[derive(Serialize)]
struct Question<'a> {
    simultaneous_mode: bool,
    weak_players: Vec<&'a str>,
    weak_players_awaiting: Vec<&'a str>,
    decisions_received: usize,
    decisions_needed: usize,
    decision_timeout: u32,
}

#[derive(Serialize)]
struct DeclarationData<'a, M> {
    declaration_order: Vec<&'a str>,
    current_declarer: Option<&'a str>,
    current_declarer_index: usize,
    declaration_total: u8,
    declarations: M,
}

/// A turn as its page shows it.
struct Turn {
    starter: Seat,
    current: Seat,
    required: Option<u8>,
    number: u8,
    complete: bool,
}

#[derive(Serialize)]
struct TurnData<'a, M> {
    turn_order: Vec<&'a str>,
    current_turn_starter: &'a str,
    current_player: &'a str,
    required_piece_count: Option<u8>,
    current_turn_number: u8,
    turn_complete: bool,
    pile_counts: M,
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
            play_type: Play::classify(pieces).map_or(INVALID, |play| play.kind().as_str()),
            play_value: pieces.points(),
            is_valid: true,
        }
    }
}

#[derive(Serialize)]
struct Won<'a> {
    winner: &'a str,
    piles_won: u8,
    next_turn_starter: &'a str,
}

#[derive(Serialize)]
struct TurnResultsData<'a, M> {
    turn_winner: &'a str,
    display_duration: f64,
    next_phase: &'static str,
    pile_counts: M,
}

#[derive(Serialize)]
struct RoundScoreData {
    declared: u8,
    actual: u8,
    base_score: i32,
    bonus: i32,
    hit_value: i32,
    multiplier: u32,
    final_score: i32,
    total_score: i32,
}
