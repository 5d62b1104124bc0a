//! A game on its way to a sink.

use std::fmt;
use std::sync::OnceLock;

use sha2::{Digest as _, Sha256};

use crate::archive::{DecodeError, GameId, GameJson, GameRecord, decode, replay};

/// A game in all its forms, proven: what a sink copies. Its public form is made for whoever asks for it, and then kept.
#[derive(Debug, Clone)]
pub struct Delivery {
    /// Which game.
    pub id: GameId,
    /// The stored form.
    pub stored: Vec<u8>,
    /// What it says.
    pub record: GameRecord,
    public: OnceLock<Public>,
}

#[derive(Debug, Clone)]
struct Public {
    game: GameJson,
    line: String,
    digest: Digest,
}

impl Delivery {
    /// Plays a stored game again, and so makes sure that no sink ever gets what is no game.
    ///
    /// # Errors
    /// The bytes are not this game.
    pub fn prove(id: GameId, stored: Vec<u8>) -> Result<Self, Unprovable> {
        let record = decode(&stored)?;
        if record.game_id != id {
            return Err(Unprovable::Other(record.game_id));
        }
        Ok(Self { id, stored, record, public: OnceLock::new() })
    }

    /// The public form.
    #[must_use]
    pub fn game(&self) -> &GameJson {
        &self.public().game
    }

    /// The public form as text, on one line.
    #[must_use]
    pub fn line(&self) -> &str {
        &self.public().line
    }

    /// The digest of that.
    #[must_use]
    pub fn digest(&self) -> Digest {
        self.public().digest
    }

    fn public(&self) -> &Public {
        self.public.get_or_init(|| {
            #[expect(clippy::expect_used, reason = "decoding has played it, by the same rules")]
            let game = replay(&self.record).expect("a decoded record is a game");
            let line = game.to_line();
            Public { digest: Digest::of(&line), game, line }
        })
    }
}

/// Why a stored game is none.
#[derive(Debug, thiserror::Error)]
pub enum Unprovable {
    /// It cannot be read.
    #[error(transparent)]
    Decode(#[from] DecodeError),
    /// It is another game.
    #[error("its record says that it is game {0}")]
    Other(GameId),
}

/// What the content of a game comes down to, however it is stored: the SHA-256 of its public form on one line.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest([u8; 32]);

impl Digest {
    /// The digest of a game's line ([`GameJson::to_line`]).
    #[must_use]
    pub fn of(line: &str) -> Self {
        Self(Sha256::digest(line).into())
    }

    /// The digest with these bytes.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// Its bytes.
    #[must_use]
    pub const fn to_bytes(self) -> [u8; 32] {
        self.0
    }

    /// Reads the text form: 64 hexadecimal digits.
    #[must_use]
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
        assert!(matches!(other, Unprovable::Other(id) if id == record.game_id));
        let cut = stored[..stored.len() - 1].to_vec();
        assert!(matches!(Delivery::prove(record.game_id, cut), Err(Unprovable::Decode(_))));
    }
}
