//! Names, ids and tokens that have been checked: a value of these types is valid.

use std::str::FromStr;

use serde::Serialize;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

/// A player's name: 1 to 50 characters, no outer blanks, no control characters and none of `< > & " '`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, derive_more::Display)]
#[serde(transparent)]
pub struct PlayerName(Box<str>);

/// Why a text is no name or no room id. The texts follow the noun, as in "Player name too long".
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// Nothing is left after trimming.
    #[error("cannot be empty")]
    Empty,
    /// More than 50 characters.
    #[error("too long")]
    TooLong,
    /// A character that could be taken for markup, or a control character.
    #[error("contains invalid characters")]
    InvalidCharacters,
}

const NAME_MAX_CHARS: usize = 50;

impl PlayerName {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// The shape that player names and room ids share.
pub(super) fn check_shape(text: &str) -> Result<&str, NameError> {
    let text = text.trim();
    if text.is_empty() {
        Err(NameError::Empty)
    } else if text.chars().count() > NAME_MAX_CHARS {
        Err(NameError::TooLong)
    } else if text.chars().any(|c| matches!(c, '<' | '>' | '&' | '"' | '\'') || c.is_control()) {
        Err(NameError::InvalidCharacters)
    } else {
        Ok(text)
    }
}

impl FromStr for PlayerName {
    type Err = NameError;
    fn from_str(text: &str) -> Result<Self, NameError> {
        check_shape(text).map(|name| Self(name.into()))
    }
}

/// A room's id: six hexadecimal digits, in upper case when shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, derive_more::Display)]
#[display("{_0:06X}")]
pub struct RoomId(u32);

/// The text is not six hexadecimal digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a room id is six hexadecimal digits")]
pub struct RoomIdError;

impl RoomId {
    /// The id whose digits are the lowest 24 bits of `number`.
    pub const fn from_number(number: u32) -> Self {
        Self(number & 0xFF_FFFF)
    }

    /// The id as a number below 2^24.
    pub const fn number(self) -> u32 {
        self.0
    }

    /// Which of several servers the room lives on.
    pub const fn instance(self) -> InstanceId {
        InstanceId(self.0 >> 20)
    }

    /// The id with another first digit: that of this server.
    pub const fn on(self, instance: InstanceId) -> Self {
        Self(instance.0 << 20 | self.0 & 0xF_FFFF)
    }
}

/// One of up to 16 servers that share their players: the first digit of the ids of its rooms.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, derive_more::Display)]
#[display("{_0:X}")]
pub struct InstanceId(u32);

/// The text is not one hexadecimal digit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("one of several servers is known by one hexadecimal digit")]
pub struct InstanceIdError;

impl InstanceId {
    /// Every id there can be.
    pub fn all() -> impl Iterator<Item = Self> {
        (0..16).map(Self)
    }
}

impl FromStr for InstanceId {
    type Err = InstanceIdError;
    fn from_str(text: &str) -> Result<Self, InstanceIdError> {
        let digit = u32::from_str_radix(text, 16).ok().filter(|_| text.len() == 1);
        digit.map(Self).ok_or(InstanceIdError)
    }
}

impl FromStr for RoomId {
    type Err = RoomIdError;
    fn from_str(text: &str) -> Result<Self, RoomIdError> {
        // Without the check of the digits a sign would be taken for one.
        let is_id = text.len() == 6 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        is_id.then(|| u32::from_str_radix(text, 16).ok()).flatten().map(Self).ok_or(RoomIdError)
    }
}

impl Serialize for RoomId {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// The hash of a session cookie or of a seat token, which is what we keep. Compared in constant time.
#[derive(derive_more::Debug, Clone, Copy, Eq)]
#[debug("SessionKey(***)")]
pub struct SessionKey([u8; 32]);

impl SessionKey {
    /// The key of a secret that a client has shown.
    pub fn of(secret: &str) -> Self {
        Self(Sha256::digest(secret).into())
    }

    /// The key as it was stored.
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The key, to be stored.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl PartialEq for SessionKey {
    fn eq(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}

/// A secret of 128 bits that we hand to one client: a session cookie's value or a seat token.
#[derive(derive_more::Debug, Clone, Serialize)]
#[serde(transparent)]
#[debug("SeatToken(***)")]
pub struct SeatToken(String);

impl SeatToken {
    /// The token of 16 random bytes.
    pub fn new(random: [u8; 16]) -> Self {
        Self(hex::encode(random))
    }

    /// A new token; `None` if the operating system gives no randomness.
    pub fn random() -> Option<Self> {
        let mut random = [0; 16];
        getrandom::fill(&mut random).ok()?;
        Some(Self::new(random))
    }

    /// The text for the client.
    pub fn reveal(&self) -> &str {
        &self.0
    }

    /// What we keep of it.
    pub fn key(&self) -> SessionKey {
        SessionKey::of(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_trimmed_and_bounded() {
        assert_eq!(" Mira ".parse::<PlayerName>().unwrap().as_str(), "Mira");
        assert_eq!("   ".parse::<PlayerName>(), Err(NameError::Empty));
        assert_eq!("ม".repeat(50).parse::<PlayerName>().unwrap().as_str().chars().count(), 50);
        assert_eq!("x".repeat(51).parse::<PlayerName>(), Err(NameError::TooLong));
        for bad in ["<b>", "a&b", "\"", "it's", "a\nb", "a\rb", "a\u{7}b"] {
            assert_eq!(bad.parse::<PlayerName>(), Err(NameError::InvalidCharacters), "{bad:?}");
        }
    }

    #[test]
    fn room_ids_are_six_hex_digits() {
        assert_eq!("3fa9c1".parse::<RoomId>().unwrap().to_string(), "3FA9C1");
        assert_eq!(RoomId::from_number(0xAB).to_string(), "0000AB");
        for bad in ["", "3FA9C", "3FA9C11", "lobby1", "+FA9C1"] {
            assert!(bad.parse::<RoomId>().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_room_id_tells_its_server() {
        let id = |text: &str| text.parse::<RoomId>().unwrap();
        let instance = |text: &str| text.parse::<InstanceId>();
        assert_eq!(id("3FA9C1").instance().to_string(), "3");
        assert_eq!(id("3FA9C1").on(instance("e").unwrap()), id("EFA9C1"));
        assert!(InstanceId::all().all(|one| id("FFFFFF").on(one).instance() == one));
        for bad in ["", "G", "10", "-1", " 1"] {
            assert_eq!(instance(bad), Err(InstanceIdError), "{bad:?}");
        }
    }

    #[test]
    fn secrets_do_not_show() {
        let token = SeatToken::new([7; 16]);
        assert_eq!(format!("{token:?} {:?}", token.key()), "SeatToken(***) SessionKey(***)");
        assert_eq!(SessionKey::of(token.reveal()), token.key());
    }
}
