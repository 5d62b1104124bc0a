//! Everything a client may send, and how it is read.

use std::borrow::Cow;

use serde_json::{Map, Value};

use super::name::check_shape;
use super::{NameError, PlayerName, RoomId};
use crate::game::{Declaration, Entropy, EntropyError, Level, Seat};

/// A message that has been read and checked as far as possible without knowing the room.
#[derive(Debug, Clone, PartialEq, strum::IntoStaticStr)]
#[strum(serialize_all = "snake_case")]
pub enum ClientMessage {
    /// The first message on every socket.
    ClientReady {
        /// The player whose seat it is; the lobby sends none.
        player_name: Option<PlayerName>,
        /// The secret handed out with the seat, from clients without cookies.
        seat_token: Option<Box<str>>,
        /// The player's own randomness for the deals of the next game.
        entropy: Option<Entropy>,
        /// What happens to the seat when this socket closes before the game.
        on_close: OnClose,
    },
    /// Asks for a `pong`.
    Ping {
        /// Sent back as it came: a number, or null.
        timestamp: Value,
    },
    /// Asks for the rooms that can be joined.
    GetRooms,
    /// Opens a room.
    CreateRoom {
        /// The creator's name.
        player_name: PlayerName,
        /// How its creator wants it.
        rules: RoomRules,
    },
    /// Takes a seat before the game.
    JoinRoom {
        /// The room; `None` for an id in a form that no room has.
        room_id: Option<RoomId>,
        /// The joiner's name.
        player_name: PlayerName,
        /// Which seats are acceptable.
        choice: SeatChoice,
    },
    /// Asks for a `room_update`.
    GetRoomState,
    /// Puts a bot on a free seat, or changes the level of the bot there.
    AddBot {
        /// The seat.
        seat: Seat,
        /// How well the bot plays.
        level: Option<Level>,
    },
    /// Frees a seat.
    RemovePlayer {
        /// The seat.
        seat: Seat,
    },
    /// Leaves the room before the game.
    LeaveRoom {
        /// Must be the sender's name.
        player_name: PlayerName,
    },
    /// Starts the game.
    StartGame,
    /// Answers the redeal question of a weak hand.
    AnswerRedeal {
        /// Whether the player wants new hands.
        accept: bool,
        /// Must be the sender's name.
        player_name: PlayerName,
    },
    /// Declares.
    Declare {
        /// The number of piles.
        value: Declaration,
        /// Must be the sender's name.
        player_name: PlayerName,
    },
    /// Plays pieces.
    Play {
        /// Positions in the hand as last sent: 1 to 6 of them, all different.
        piece_indices: Vec<u8>,
        /// Must be the sender's name.
        player_name: PlayerName,
    },
    /// Sent by the existing client during the scores; nothing depends on it.
    StartNextRound,
    /// The player has seen the result that is shown.
    Seen,
    /// After the game: names the table where the same people meet again.
    Rematch {
        /// That table.
        room_id: RoomId,
        /// The table named before, if that one is gone.
        instead_of: Option<RoomId>,
    },
    /// Asks for the state of the table.
    RequestStateSync,
    /// Asks for the state of the table and for the events that the client missed.
    RequestRecovery {
        /// The number of the first event; without it, the first one of the current round.
        from: Option<u64>,
        /// The number of the last event; without it, the newest.
        to: Option<u64>,
    },
}

/// What happens to a seat when its player's socket closes before the game.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum OnClose {
    /// The player leaves, as the existing client expects.
    #[default]
    Leave,
    /// The seat waits for the player for a few minutes; only `leave_room` gives it up at once.
    KeepSeat,
}

/// What the creator of a room decides.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RoomRules {
    /// The occupants of the other three seats.
    pub other_seats: OtherSeats,
    /// How long the table pauses.
    pub tempo: Tempo,
}

/// How long a table pauses between the things that happen.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, strum::IntoStaticStr, strum::FromRepr)]
#[strum(serialize_all = "lowercase")]
#[repr(u8)]
pub enum Tempo {
    /// As long as the existing client's animations need.
    #[default]
    Tea,
    /// A turn is read in two to three seconds. Results end as soon as all players have seen them, as in `Blitz`.
    Normal,
    /// Half of that.
    Blitz,
}

impl Tempo {
    /// All of them, the slowest first.
    pub const ALL: [Self; 3] = [Self::Tea, Self::Normal, Self::Blitz];
}

/// The occupants of the seats of a new room, besides the host's.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum OtherSeats {
    /// Bots, as the existing client expects.
    #[default]
    Bots,
    /// Nobody yet.
    Open,
}

/// Which seats a joiner may be given.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum SeatChoice {
    /// A free one. A room full of bots is full, as the existing client shows.
    #[default]
    Free,
    /// A free one, or that of a bot if none is free.
    FreeOrBot,
}

/// Why a message is refused. The client gets its text.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("Invalid message: {0}")]
pub struct DecodeError(Cow<'static, str>);

const EVENT_MAX_CHARS: usize = 100;
const PIECES_MAX: usize = 6;
const PIECE_INDEX_MAX: i64 = 31;

fn invalid(reason: impl Into<Cow<'static, str>>) -> DecodeError {
    DecodeError(reason.into())
}

/// Reads one text frame. The socket has bounded its length.
///
/// # Errors
/// [`DecodeError`] says what is wrong in the words of the protocol, section 3.
pub fn decode(text: &str) -> Result<ClientMessage, DecodeError> {
    let message = serde_json::from_str::<Value>(text).map_err(|_| invalid("Message must be valid JSON"))?;
    let Value::Object(mut message) = message else {
        return Err(invalid("Message must be a dictionary"));
    };
    let event = match message.remove("event") {
        None => return Err(invalid("Message must contain 'event' field")),
        Some(Value::String(event)) => event,
        Some(_) => return Err(invalid("Event name must be a string")),
    };
    if event.chars().count() > EVENT_MAX_CHARS {
        return Err(invalid("Event name too long"));
    }
    let mut data = match message.remove("data") {
        None => Data(Map::new()),
        Some(Value::Object(data)) => Data(data),
        Some(_) => return Err(invalid("Event data must be a dictionary")),
    };
    Ok(match &*event {
        "client_ready" => ClientMessage::ClientReady {
            player_name: data.optional_name()?,
            seat_token: data.text("seat_token", "Seat token")?.map(Into::into),
            entropy: data.entropy()?,
            on_close: data.switch("keep_seat", "Keep seat", OnClose::KeepSeat)?,
        },
        "ping" => ClientMessage::Ping { timestamp: data.timestamp() },
        "get_rooms" | "request_room_list" => ClientMessage::GetRooms,
        "create_room" => ClientMessage::CreateRoom {
            player_name: data.name()?,
            rules: RoomRules {
                other_seats: data.switch("open_seats", "Open seats", OtherSeats::Open)?,
                tempo: data.tempo()?,
            },
        },
        "join_room" => ClientMessage::JoinRoom {
            room_id: data.room_id()?,
            player_name: data.name()?,
            choice: data.switch("take_bot_seat", "Take bot seat", SeatChoice::FreeOrBot)?,
        },
        "get_room_state" => ClientMessage::GetRoomState,
        "add_bot" => ClientMessage::AddBot { seat: data.seat()?, level: data.level()? },
        "remove_player" => ClientMessage::RemovePlayer { seat: data.seat()? },
        "leave_room" => ClientMessage::LeaveRoom { player_name: data.name()? },
        "start_game" => ClientMessage::StartGame,
        "accept_redeal" => ClientMessage::AnswerRedeal { accept: true, player_name: data.name()? },
        "decline_redeal" => ClientMessage::AnswerRedeal { accept: false, player_name: data.name()? },
        "declare" => ClientMessage::Declare { value: data.declaration()?, player_name: data.name()? },
        "play" => ClientMessage::Play { piece_indices: data.piece_indices()?, player_name: data.name()? },
        "start_next_round" => ClientMessage::StartNextRound,
        "seen" => ClientMessage::Seen,
        "rematch" => ClientMessage::Rematch {
            room_id: data.room_id()?.ok_or_else(|| invalid("Room ID is not one of a room"))?,
            instead_of: data.text("instead_of", "Instead of")?.and_then(|id| id.parse().ok()),
        },
        "request_state_sync" => ClientMessage::RequestStateSync,
        "request_recovery" => {
            ClientMessage::RequestRecovery { from: data.number("from_sequence"), to: data.number("to_sequence") }
        }
        unknown => return Err(invalid(format!("Unknown event type: {unknown}"))),
    })
}

/// The `data` of a message. A field that is null counts as absent.
struct Data(Map<String, Value>);

impl Data {
    fn get(&self, field: &str) -> Option<&Value> {
        self.0.get(field).filter(|value| !value.is_null())
    }

    /// A number that may be absent; anything else counts as absent.
    fn number(&self, field: &str) -> Option<u64> {
        self.get(field).and_then(Value::as_u64)
    }

    /// A field that may be absent: `on` if it is true, the default otherwise. Errors call it `noun`.
    fn switch<T: Default>(&self, field: &str, noun: &str, on: T) -> Result<T, DecodeError> {
        match self.get(field) {
            None | Some(Value::Bool(false)) => Ok(T::default()),
            Some(Value::Bool(true)) => Ok(on),
            Some(_) => Err(invalid(format!("{noun} must be true or false"))),
        }
    }

    /// A text that may be absent; errors call it `noun`.
    fn text(&self, field: &str, noun: &str) -> Result<Option<&str>, DecodeError> {
        let not_text = || invalid(format!("{noun} must be a string"));
        self.get(field).map(|value| value.as_str().ok_or_else(not_text)).transpose()
    }

    fn name(&self) -> Result<PlayerName, DecodeError> {
        self.optional_name()?.ok_or_else(|| invalid("Player name is required"))
    }

    fn optional_name(&self) -> Result<Option<PlayerName>, DecodeError> {
        let name = self.text("player_name", "Player name")?.map(str::parse).transpose();
        name.map_err(|error: NameError| invalid(format!("Player name {error}")))
    }

    fn room_id(&self) -> Result<Option<RoomId>, DecodeError> {
        let id = self.text("room_id", "Room ID")?.ok_or_else(|| invalid("Room ID is required"))?;
        let id = check_shape(id).map_err(|error| invalid(format!("Room ID {error}")))?;
        Ok(id.parse().ok())
    }

    fn seat(&self) -> Result<Seat, DecodeError> {
        let number = match self.get("slot_id").ok_or_else(|| invalid("Slot ID is required"))? {
            Value::Number(number) => number.as_i64(),
            Value::String(text) => text.trim().parse().ok(),
            _ => None,
        };
        let number = number.ok_or_else(|| invalid("Slot ID must be a number"))?;
        let seat = u64::try_from(number).ok().and_then(Seat::from_number);
        seat.ok_or_else(|| invalid("Slot ID must be between 1 and 4"))
    }

    fn level(&self) -> Result<Option<Level>, DecodeError> {
        let level = |value: &Value| value.as_str()?.parse().ok();
        let unknown = || invalid("Level must be easy, normal or hard");
        self.get("level").map(|value| level(value).ok_or_else(unknown)).transpose()
    }

    fn tempo(&self) -> Result<Tempo, DecodeError> {
        let Some(name) = self.get("tempo") else { return Ok(Tempo::default()) };
        let tempo = name.as_str().and_then(|name| Tempo::ALL.into_iter().find(|tempo| <&str>::from(tempo) == name));
        tempo.ok_or_else(|| invalid("Tempo must be tea, normal or blitz"))
    }

    fn entropy(&self) -> Result<Option<Entropy>, DecodeError> {
        let digits = self.text("entropy", "Entropy")?.filter(|digits| !digits.is_empty());
        digits.map(str::parse).transpose().map_err(|error: EntropyError| invalid(error.to_string()))
    }

    /// A timestamp that is no number is not sent back.
    fn timestamp(&mut self) -> Value {
        self.0.remove("timestamp").filter(Value::is_number).unwrap_or(Value::Null)
    }

    fn declaration(&self) -> Result<Declaration, DecodeError> {
        let value = self.get("value").ok_or_else(|| invalid("Declaration value is required"))?;
        let value = integer(value).ok_or_else(|| invalid("Declaration value must be an integer"))?;
        let declaration = u8::try_from(value).ok().and_then(Declaration::new);
        declaration.ok_or_else(|| invalid("Declaration value must be between 0 and 8"))
    }

    fn piece_indices(&self) -> Result<Vec<u8>, DecodeError> {
        let indices = self.get("piece_indices").ok_or_else(|| invalid("Piece indices are required"))?;
        let indices = indices.as_array().ok_or_else(|| invalid("Piece indices must be a list"))?;
        if indices.is_empty() {
            return Err(invalid("Must select at least one piece"));
        }
        if indices.len() > PIECES_MAX {
            return Err(invalid("Cannot play more than 6 pieces at once"));
        }
        let mut distinct = Vec::with_capacity(indices.len());
        for index in indices {
            let index = integer(index).ok_or_else(|| invalid("Piece index must be an integer"))?;
            match u8::try_from(index).ok().filter(|_| index <= PIECE_INDEX_MAX) {
                None => return Err(invalid(format!("Piece index {index} out of valid range"))),
                Some(small) if distinct.contains(&small) => {
                    return Err(invalid(format!("Duplicate piece index: {index}")));
                }
                Some(small) => distinct.push(small),
            }
        }
        Ok(distinct)
    }
}

/// The value of an integer: `true`, `1.0` and `"1"` are none.
fn integer(value: &Value) -> Option<i64> {
    // Numbers beyond 64 bits are out of every range of ours, so which one it is does not matter.
    value.as_i64().or_else(|| value.as_u64().map(|_| i64::MAX))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn refusal(text: &str) -> String {
        let error = decode(text).expect_err(text).to_string();
        error.strip_prefix("Invalid message: ").expect("every refusal has the prefix").to_owned()
    }

    #[test]
    fn each_rule_of_the_envelope_has_its_error_text() {
        for (text, words) in [
            ("{", "Message must be valid JSON"),
            ("[]", "Message must be a dictionary"),
            ("null", "Message must be a dictionary"),
            ("{}", "Message must contain 'event' field"),
            (r#"{"event":7}"#, "Event name must be a string"),
            (r#"{"event":"ping","data":[]}"#, "Event data must be a dictionary"),
            (r#"{"event":"fly"}"#, "Unknown event type: fly"),
        ] {
            assert_eq!(refusal(text), words);
        }
        let long = format!(r#"{{"event":"{}"}}"#, "e".repeat(101));
        assert_eq!(refusal(&long), "Event name too long");
    }

    #[test]
    fn each_rule_of_the_fields_has_its_error_text() {
        for (event, data, words) in [
            ("create_room", r"{}", "Player name is required"),
            ("create_room", r#"{"player_name":5}"#, "Player name must be a string"),
            ("create_room", r#"{"player_name":"  "}"#, "Player name cannot be empty"),
            ("create_room", r#"{"player_name":"a<b"}"#, "Player name contains invalid characters"),
            ("join_room", r#"{"player_name":"A"}"#, "Room ID is required"),
            ("join_room", r#"{"player_name":"A","room_id":""}"#, "Room ID cannot be empty"),
            ("join_room", r#"{"player_name":"A","room_id":1}"#, "Room ID must be a string"),
            ("declare", r#"{"player_name":"A"}"#, "Declaration value is required"),
            ("declare", r#"{"player_name":"A","value":true}"#, "Declaration value must be an integer"),
            ("declare", r#"{"player_name":"A","value":"3"}"#, "Declaration value must be an integer"),
            ("declare", r#"{"player_name":"A","value":3.0}"#, "Declaration value must be an integer"),
            ("declare", r#"{"player_name":"A","value":9}"#, "Declaration value must be between 0 and 8"),
            ("declare", r#"{"player_name":"A","value":-1}"#, "Declaration value must be between 0 and 8"),
            ("play", r#"{"player_name":"A","piece_indices":[]}"#, "Must select at least one piece"),
            (
                "play",
                r#"{"player_name":"A","piece_indices":[0,1,2,3,4,5,6]}"#,
                "Cannot play more than 6 pieces at once",
            ),
            ("play", r#"{"player_name":"A","piece_indices":[32]}"#, "Piece index 32 out of valid range"),
            ("play", r#"{"player_name":"A","piece_indices":[-1]}"#, "Piece index -1 out of valid range"),
            ("play", r#"{"player_name":"A","piece_indices":[1,1]}"#, "Duplicate piece index: 1"),
            ("play", r#"{"player_name":"A","piece_indices":[true]}"#, "Piece index must be an integer"),
            ("add_bot", r"{}", "Slot ID is required"),
            ("add_bot", r#"{"slot_id":"x"}"#, "Slot ID must be a number"),
            ("add_bot", r#"{"slot_id":5}"#, "Slot ID must be between 1 and 4"),
            ("add_bot", r#"{"slot_id":1,"level":"godlike"}"#, "Level must be easy, normal or hard"),
            ("client_ready", r#"{"entropy":"xyz"}"#, "Entropy must be 1 to 64 hexadecimal digits"),
            ("client_ready", r#"{"keep_seat":1}"#, "Keep seat must be true or false"),
            ("create_room", r#"{"player_name":"A","open_seats":"yes"}"#, "Open seats must be true or false"),
            ("create_room", r#"{"player_name":"A","tempo":"presto"}"#, "Tempo must be tea, normal or blitz"),
            ("rematch", r"{}", "Room ID is required"),
            ("rematch", r#"{"room_id":"nowhere"}"#, "Room ID is not one of a room"),
            (
                "join_room",
                r#"{"player_name":"A","room_id":"3FA9C1","take_bot_seat":1}"#,
                "Take bot seat must be true or false",
            ),
        ] {
            assert_eq!(refusal(&format!(r#"{{"event":"{event}","data":{data}}}"#)), words);
        }
        let long = format!(r#"{{"event":"create_room","data":{{"player_name":"{}"}}}}"#, "n".repeat(51));
        assert_eq!(refusal(&long), "Player name too long");
    }

    #[test]
    fn what_the_existing_client_sends_is_understood() {
        let seat = decode(r#"{"event":"add_bot","data":{"slot_id":"2"},"sequence":1,"timestamp":1,"id":"x"}"#).unwrap();
        assert_eq!(seat, ClientMessage::AddBot { seat: Seat::Two, level: None });
        let ready = decode(r#"{"event":"client_ready","data":{"room_id":"lobby","is_reconnection":false}}"#).unwrap();
        let (player_name, seat_token, entropy, on_close) = (None, None, None, OnClose::Leave);
        assert_eq!(ready, ClientMessage::ClientReady { player_name, seat_token, entropy, on_close });
        let join = decode(r#"{"event":"join_room","data":{"room_id":"3FA9C1","player_name":"Jon"}}"#).unwrap();
        assert!(matches!(join, ClientMessage::JoinRoom { choice: SeatChoice::Free, .. }), "a bot keeps its seat");
        let create = decode(r#"{"event":"create_room","data":{"player_name":"Mira"}}"#).unwrap();
        assert!(matches!(create, ClientMessage::CreateRoom { rules, .. } if rules == RoomRules::default()));
        let play = decode(
            r#"{"event":"play","data":{"piece_indices":[3,0],"player_name":" Mira ","play_value":12},"sequence":9}"#,
        );
        let player_name = "Mira".parse().unwrap();
        assert_eq!(play.unwrap(), ClientMessage::Play { piece_indices: vec![3, 0], player_name });
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in "\\PC{0,200}") {
            decode(&text).ok();
        }

        #[test]
        fn any_json_is_read_or_refused(
            event in prop::sample::select(vec!["client_ready", "join_room", "declare", "play", "add_bot", "ping"]),
            field in prop::sample::select(vec!["player_name", "room_id", "value", "piece_indices", "slot_id", "entropy"]),
            value in prop::sample::select(vec!["null", "true", "-1", "1e400", "99999999999999999999", "\"\"", "[]", "{}",
                "[null]", "[[]]", "[1,2,\"3\"]", "\"\\u0000\""]),
        ) {
            decode(&format!(r#"{{"event":"{event}","data":{{"{field}":{value}}}}}"#)).ok();
        }
    }
}
