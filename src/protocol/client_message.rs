//! Everything a client may say, and how it is read.

use serde_json::{Map, Value};

use super::name::check_shape;
use super::{NameError, PlayerName, RoomId};
use crate::game::{Declaration, Entropy, Seat};

/// A message that has been read and checked as far as that goes without knowing the room.
#[derive(Debug, Clone, PartialEq)]
pub enum ClientMessage {
    /// The first message on every socket: says who it is.
    ClientReady {
        /// Whose seat it is; the lobby sends none.
        player_name: Option<PlayerName>,
        /// The secret given out with the seat, from clients without cookies.
        seat_token: Option<Box<str>>,
        /// The player's own randomness for the deals of the next game.
        entropy: Option<Entropy>,
        /// What becomes of the seat when this socket closes before the game.
        on_close: OnClose,
    },
    /// Asks for a `pong`.
    Ping {
        /// Given back as it came: a number, or null.
        timestamp: Value,
    },
    /// Asks for the rooms that can be joined.
    GetRooms,
    /// Opens a room.
    CreateRoom {
        /// The creator's name.
        player_name: PlayerName,
        /// Who has the other three seats.
        other_seats: OtherSeats,
    },
    /// Takes a seat before the game.
    JoinRoom {
        /// Which room; `None` is an id of a form that no room has.
        room_id: Option<RoomId>,
        /// The joiner's name.
        player_name: PlayerName,
        /// Which seats will do.
        choice: SeatChoice,
    },
    /// Asks for a `room_update`.
    GetRoomState,
    /// Puts a bot on a free seat, or changes the level of the one that sits there.
    AddBot {
        /// Which seat.
        seat: Seat,
        /// How it plays; the words are the bots' own affair.
        level: Option<crate::game::Level>,
    },
    /// Frees a seat.
    RemovePlayer {
        /// Which seat.
        seat: Seat,
    },
    /// Leaves the room before the game.
    LeaveRoom {
        /// Must be the sender's own.
        player_name: PlayerName,
    },
    /// Starts the game.
    StartGame,
    /// Answers the question of a weak hand.
    AnswerRedeal {
        /// Whether new hands are wanted.
        accept: bool,
        /// Must be the sender's own.
        player_name: PlayerName,
    },
    /// Declares.
    Declare {
        /// How many piles.
        value: Declaration,
        /// Must be the sender's own.
        player_name: PlayerName,
    },
    /// Plays pieces.
    Play {
        /// Places in the hand as last sent; 1 to 6, distinct.
        piece_indices: Vec<u8>,
        /// Must be the sender's own.
        player_name: PlayerName,
    },
    /// Sent by the existing client during the scores; nothing depends on it.
    StartNextRound,
    /// Asks for the state of the table.
    RequestStateSync,
    /// The same, and what happened at the table meanwhile.
    RequestRecovery {
        /// The number of the first event that was missed; without it, the round that runs is meant.
        from: Option<u64>,
        /// The number of the last one; without it, all that follow.
        to: Option<u64>,
    },
}

/// What becomes of a seat when its player's socket closes before the game.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum OnClose {
    /// The player has left, as the existing client means it.
    #[default]
    Leave,
    /// The seat waits for the player for a few minutes; only `leave_room` gives it up at once.
    KeepSeat,
}

/// Who has the seats of a new room beside the host's.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum OtherSeats {
    /// Bots, as the existing client expects it.
    #[default]
    Bots,
    /// Nobody yet.
    Open,
}

/// Which seats a joiner may be given.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum SeatChoice {
    /// A free one. A room full of bots is full, as the existing client shows it.
    #[default]
    Free,
    /// A free one, or that of a bot if none is free.
    FreeOrBot,
}

/// Why a message is refused. Its text is what the client is told.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("Invalid message: {0}")]
pub struct DecodeError(std::borrow::Cow<'static, str>);

const EVENT_MAX_CHARS: usize = 100;
const PIECES_MAX: usize = 6;
const PIECE_INDEX_MAX: i64 = 31;

fn invalid<T>(reason: impl Into<std::borrow::Cow<'static, str>>) -> Result<T, DecodeError> {
    Err(DecodeError(reason.into()))
}

/// Reads one text frame. Its length is the socket's business.
///
/// # Errors
/// [`DecodeError`] says what is wrong in the words of the protocol, section 3.
pub fn decode(text: &str) -> Result<ClientMessage, DecodeError> {
    let Ok(message) = serde_json::from_str::<Value>(text) else {
        return invalid("Message must be valid JSON");
    };
    let Value::Object(mut message) = message else {
        return invalid("Message must be a dictionary");
    };
    let event = match message.remove("event") {
        None => return invalid("Message must contain 'event' field"),
        Some(Value::String(event)) => event,
        Some(_) => return invalid("Event name must be a string"),
    };
    if event.chars().count() > EVENT_MAX_CHARS {
        return invalid("Event name too long");
    }
    let data = match message.remove("data") {
        None => Data(Map::new()),
        Some(Value::Object(data)) => Data(data),
        Some(_) => return invalid("Event data must be a dictionary"),
    };
    data.message(&event)
}

/// The `data` of a message.
struct Data(Map<String, Value>);

impl Data {
    fn message(mut self, event: &str) -> Result<ClientMessage, DecodeError> {
        Ok(match event {
            "client_ready" => ClientMessage::ClientReady {
                player_name: self.optional_name()?,
                seat_token: self.seat_token()?,
                entropy: self.entropy()?,
                on_close: self.switch("keep_seat", "Keep seat", OnClose::KeepSeat)?,
            },
            "ping" => ClientMessage::Ping { timestamp: self.timestamp() },
            "get_rooms" | "request_room_list" => ClientMessage::GetRooms,
            "create_room" => ClientMessage::CreateRoom {
                player_name: self.name()?,
                other_seats: self.switch("open_seats", "Open seats", OtherSeats::Open)?,
            },
            "join_room" => ClientMessage::JoinRoom {
                room_id: self.room_id()?,
                player_name: self.name()?,
                choice: self.switch("take_bot_seat", "Take bot seat", SeatChoice::FreeOrBot)?,
            },
            "get_room_state" => ClientMessage::GetRoomState,
            "add_bot" => ClientMessage::AddBot { seat: self.seat()?, level: self.level()? },
            "remove_player" => ClientMessage::RemovePlayer { seat: self.seat()? },
            "leave_room" => ClientMessage::LeaveRoom { player_name: self.name()? },
            "start_game" => ClientMessage::StartGame,
            "accept_redeal" => ClientMessage::AnswerRedeal { accept: true, player_name: self.name()? },
            "decline_redeal" => ClientMessage::AnswerRedeal { accept: false, player_name: self.name()? },
            "declare" => ClientMessage::Declare { value: self.declaration()?, player_name: self.name()? },
            "play" => ClientMessage::Play { piece_indices: self.piece_indices()?, player_name: self.name()? },
            "start_next_round" => ClientMessage::StartNextRound,
            "request_state_sync" => ClientMessage::RequestStateSync,
            "request_recovery" => {
                ClientMessage::RequestRecovery { from: self.number("from_sequence"), to: self.number("to_sequence") }
            }
            unknown => return invalid(format!("Unknown event type: {unknown}")),
        })
    }

    /// A number that may be left out; anything else is as good as that.
    fn number(&self, field: &str) -> Option<u64> {
        self.get(field).and_then(Value::as_u64)
    }

    /// A field that may be left out: `on` where it is true, the default otherwise.
    fn switch<T: Default>(&self, field: &str, label: &str, on: T) -> Result<T, DecodeError> {
        match self.get(field) {
            None | Some(Value::Bool(false)) => Ok(T::default()),
            Some(Value::Bool(true)) => Ok(on),
            Some(_) => invalid(format!("{label} must be true or false")),
        }
    }

    fn get(&self, field: &str) -> Option<&Value> {
        self.0.get(field).filter(|value| !value.is_null())
    }

    fn name(&self) -> Result<PlayerName, DecodeError> {
        match self.optional_name()? {
            Some(name) => Ok(name),
            None => invalid("Player name is required"),
        }
    }

    fn optional_name(&self) -> Result<Option<PlayerName>, DecodeError> {
        match self.get("player_name") {
            None => Ok(None),
            Some(Value::String(name)) => match name.parse() {
                Ok(name) => Ok(Some(name)),
                Err(error) => invalid(format!("Player name {error}")),
            },
            Some(_) => invalid("Player name must be a string"),
        }
    }

    fn room_id(&self) -> Result<Option<RoomId>, DecodeError> {
        let error: NameError = match self.get("room_id") {
            None => return invalid("Room ID is required"),
            Some(Value::String(id)) => match check_shape(id) {
                Ok(id) => return Ok(id.parse().ok()),
                Err(error) => error,
            },
            Some(_) => return invalid("Room ID must be a string"),
        };
        invalid(format!("Room ID {error}"))
    }

    fn seat(&self) -> Result<Seat, DecodeError> {
        let number = match self.get("slot_id") {
            None => return invalid("Slot ID is required"),
            Some(Value::Number(number)) => number.as_i64(),
            Some(Value::String(text)) => text.trim().parse().ok(),
            Some(_) => None,
        };
        let Some(number) = number else {
            return invalid("Slot ID must be a number");
        };
        match u64::try_from(number).ok().and_then(Seat::from_number) {
            Some(seat) => Ok(seat),
            None => invalid("Slot ID must be between 1 and 4"),
        }
    }

    fn level(&self) -> Result<Option<crate::game::Level>, DecodeError> {
        match self.get("level") {
            None => Ok(None),
            Some(Value::String(level)) if let Ok(level) = level.parse() => Ok(Some(level)),
            Some(_) => invalid("Level must be easy, normal or hard"),
        }
    }

    fn seat_token(&mut self) -> Result<Option<Box<str>>, DecodeError> {
        match self.0.remove("seat_token") {
            None | Some(Value::Null) => Ok(None),
            Some(Value::String(token)) => Ok(Some(token.into())),
            Some(_) => invalid("Seat token must be a string"),
        }
    }

    fn entropy(&self) -> Result<Option<Entropy>, DecodeError> {
        match self.get("entropy") {
            None => Ok(None),
            Some(Value::String(digits)) if digits.is_empty() => Ok(None),
            Some(Value::String(digits)) => match digits.parse() {
                Ok(entropy) => Ok(Some(entropy)),
                Err(error) => invalid(format!("{error}")),
            },
            Some(_) => invalid("Entropy must be a string"),
        }
    }

    /// Anything but a number is not worth carrying back.
    fn timestamp(&mut self) -> Value {
        self.0.remove("timestamp").filter(Value::is_number).unwrap_or(Value::Null)
    }

    fn declaration(&self) -> Result<Declaration, DecodeError> {
        let Some(value) = self.get("value") else {
            return invalid("Declaration value is required");
        };
        let Some(value) = integer(value) else {
            return invalid("Declaration value must be an integer");
        };
        match u8::try_from(value).ok().and_then(Declaration::new) {
            Some(declaration) => Ok(declaration),
            None => invalid("Declaration value must be between 0 and 8"),
        }
    }

    fn piece_indices(&self) -> Result<Vec<u8>, DecodeError> {
        let indices = match self.get("piece_indices") {
            None => return invalid("Piece indices are required"),
            Some(Value::Array(indices)) => indices,
            Some(_) => return invalid("Piece indices must be a list"),
        };
        if indices.is_empty() {
            return invalid("Must select at least one piece");
        }
        if indices.len() > PIECES_MAX {
            return invalid("Cannot play more than 6 pieces at once");
        }
        let mut distinct = Vec::with_capacity(indices.len());
        for index in indices {
            let Some(index) = integer(index) else {
                return invalid("Piece index must be an integer");
            };
            match u8::try_from(index).ok().filter(|_| index <= PIECE_INDEX_MAX) {
                None => return invalid(format!("Piece index {index} out of valid range")),
                Some(small) if distinct.contains(&small) => return invalid(format!("Duplicate piece index: {index}")),
                Some(small) => distinct.push(small),
            }
        }
        Ok(distinct)
    }
}

/// The integer, if it is one: neither `true` nor `1.0` nor `"1"` is.
fn integer(value: &Value) -> Option<i64> {
    match value {
        // Beyond 64 bits it is out of every range of ours, so which number it is does not matter.
        Value::Number(number) => number.as_i64().or_else(|| number.as_u64().map(|_| i64::MAX)),
        _ => None,
    }
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
    fn every_rule_of_the_envelope_has_its_words() {
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
    fn every_rule_of_the_fields_has_its_words() {
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
        assert!(matches!(create, ClientMessage::CreateRoom { other_seats: OtherSeats::Bots, .. }));
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
