//! A game on its way to a sink.

use std::fmt;
use std::sync::OnceLock;

use sha2::{Digest as _, Sha256};

use crate::archive::{DecodeError, GameId, GameJson, GameRecord, decode, replay};

/// A verified game in all its forms, as a sink copies it. Its public form is made on first use.
#[derive(Debug, Clone)]
pub struct Delivery {
    /// Which game.
    pub id: GameId,
    /// The stored form.
    pub stored: Vec<u8>,
    /// The record in it.
    pub record: GameRecord,
    public: OnceLock<PublicForm>,
}

#[derive(Debug, Clone)]
struct PublicForm {
    game: GameJson,
    line: String,
    digest: Digest,
}

impl Delivery {
    /// Verifies a stored game by playing it again.
    ///
    /// # Errors
    /// The bytes are not this game.
    pub fn prove(id: GameId, stored: Vec<u8>) -> Result<Self, DeliveryError> {
        let record = decode(&stored)?;
        if record.game_id != id {
            return Err(DeliveryError::Other(record.game_id));
        }
        Ok(Self { id, stored, record, public: OnceLock::new() })
    }

    /// The public form.
    pub fn game(&self) -> &GameJson {
        &self.public().game
    }

    /// The public form as text, on one line.
    pub fn line(&self) -> &str {
        &self.public().line
    }

    /// The digest of that.
    pub fn digest(&self) -> Digest {
        self.public().digest
    }

    fn public(&self) -> &PublicForm {
        self.public.get_or_init(|| {
            #[expect(clippy::expect_used, reason = "decoding has played it, by the same rules")]
            let game = replay(&self.record).expect("a decoded record is a game");
            let line = game.to_line();
            PublicForm { digest: Digest::of(&line), game, line }
        })
    }
}

/// Why a stored game cannot be delivered.
#[derive(Debug, thiserror::Error)]
pub enum DeliveryError {
    /// It cannot be read.
    #[error(transparent)]
    Decode(#[from] DecodeError),
    /// It is another game.
    #[error("its record says that it is game {0}")]
    Other(GameId),
}

/// The digest of a game, however it is stored: the SHA-256 of its public form on one line.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest([u8; 32]);

impl Digest {
    /// The digest of a game's line ([`GameJson::to_line`]).
    pub fn of(line: &str) -> Self {
        Self(Sha256::digest(line).into())
    }

    /// The digest with these bytes.
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// Its bytes.
    pub const fn to_bytes(self) -> [u8; 32] {
        self.0
    }

    /// Reads the text form: 64 hexadecimal digits.
    pub fn from_hex(text: &str) -> Option<Self> {
        let mut bytes = [0; 32];
        hex::decode_to_slice(text, &mut bytes).ok().map(|()| Self(bytes))
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Digest({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::archive::encode;
    use crate::game::{BySeat, Level, Seating, Series};

    #[test]
    fn only_a_game_under_its_own_id_is_delivered() {
        let series = Series { seed: 7, players: BySeat::new([Level::Easy; 4]), seating: Seating::Fixed, max_rounds: 3 };
        let (record, _) = GameRecord::simulate(&series, 0);
        let stored = encode(&record).unwrap();
        let delivery = Delivery::prove(record.game_id, stored.clone()).unwrap();
        // Which of two pieces that look alike was played is not in the public form, and so not in the digest either.
        let again = encode(&GameRecord::from_json(delivery.line()).unwrap()).unwrap();
        assert_eq!(Delivery::prove(record.game_id, again).unwrap().digest(), delivery.digest());
        assert_eq!(Digest::from_hex(&delivery.digest().to_string()), Some(Digest::of(delivery.line())));

        let other = Delivery::prove(GameId::MIN, stored.clone()).unwrap_err();
        assert!(matches!(other, DeliveryError::Other(id) if id == record.game_id));
        let cut = stored[..stored.len() - 1].to_vec();
        assert!(matches!(Delivery::prove(record.game_id, cut), Err(DeliveryError::Decode(_))));
    }
}
