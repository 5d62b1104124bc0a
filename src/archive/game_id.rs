//! The name of a completed game: 128 bits that sort by time.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use ulid::Ulid;

/// Identifies one game: 48 bits of Unix time in milliseconds, then 80 bits that differ within one millisecond.
///
/// Ids compare as their games began, and so do their bytes ([`GameId::to_bytes`]) and their text: 26 characters of
/// Crockford's base 32, the form known as ULID.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct GameId(Ulid);

impl GameId {
    /// The id that sorts before all others.
    pub const MIN: Self = Self(Ulid::nil());
    /// The id that sorts after all others.
    pub const MAX: Self = Self(Ulid::max());

    /// The smallest id of a millisecond: the border to ask for games "from" or "before" a time.
    ///
    /// Times beyond 48 bits, in the year 10889, count as the last millisecond that fits.
    pub const fn first_at(unix_ms: u64) -> Self {
        const LAST_MS: u64 = (1 << Ulid::TIME_BITS) - 1;
        Self(Ulid::from_parts(if unix_ms > LAST_MS { LAST_MS } else { unix_ms }, 0))
    }

    /// When the game got its id, in milliseconds of Unix time.
    pub const fn unix_ms(self) -> u64 {
        self.0.timestamp_ms()
    }

    /// The id as stored: big-endian, so bytes sort like ids.
    pub const fn to_bytes(self) -> [u8; 16] {
        self.0.to_bytes()
    }

    /// The id whose stored form is `bytes`.
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(Ulid::from_bytes(bytes))
    }
}

/// Hands out ids that only ever grow, also when the clock is set back.
///
/// ```
/// use liap::archive::GameIds;
/// let mut ids = GameIds::default();
/// let first = ids.next(1_700_000_000_000, [7; 10]);
/// let clock_went_back = ids.next(1_600_000_000_000, [0; 10]);
/// assert!(clock_went_back > first);
/// ```
#[derive(Debug, Default)]
pub struct GameIds {
    last: Option<GameId>,
}

impl GameIds {
    /// The next id, from the time in milliseconds and ten random bytes, both the caller's.
    pub fn next(&mut self, unix_ms: u64, random: [u8; 10]) -> GameId {
        let mut tail = [0; 16];
        tail.iter_mut().skip(6).zip(random).for_each(|(to, from)| *to = from);
        let fresh = GameId(Ulid(GameId::first_at(unix_ms).0.0 | u128::from_be_bytes(tail)));
        let id = match self.last {
            // Within one millisecond, or after a clock went back, count on. 2^80 ids of one millisecond never run out.
            Some(last) if last.unix_ms() >= fresh.unix_ms() => GameId(Ulid(last.0.0.saturating_add(1))),
            _ => fresh,
        };
        self.last = Some(id);
        id
    }
}

impl fmt::Display for GameId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0.to_string())
    }
}

impl fmt::Debug for GameId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "GameId({self})")
    }
}

/// The text is no game id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a game id has 26 digits and letters, none of them I, L, O or U, and begins with a digit up to 7")]
pub struct ParseGameIdError;

impl FromStr for GameId {
    type Err = ParseGameIdError;

    /// Reads the text form, in capital or small letters.
    fn from_str(text: &str) -> Result<Self, ParseGameIdError> {
        // 26 characters carry 130 bits: the two too many must be zero, else two texts would name one game.
        let fits = text.starts_with(|first| first <= '7');
        Ulid::from_string(text).ok().filter(|_| fits).map(Self).ok_or(ParseGameIdError)
    }
}

impl TryFrom<String> for GameId {
    type Error = ParseGameIdError;

    fn try_from(text: String) -> Result<Self, ParseGameIdError> {
        text.parse()
    }
}

impl From<GameId> for String {
    fn from(id: GameId) -> Self {
        id.to_string()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn text_is_the_known_form() {
        assert_eq!(GameId::MIN.to_string(), "00000000000000000000000000");
        assert_eq!(GameId::MAX.to_string(), "7ZZZZZZZZZZZZZZZZZZZZZZZZZ");
        // 2016-07-30T23:54:10.259Z, the example of the ULID specification.
        let id: GameId = "01ARZ3NDEKTSV4RRFFQ69G5FAV".parse().unwrap();
        assert_eq!(id.unix_ms(), 1_469_922_850_259);
    }

    #[test]
    fn other_text_is_refused() {
        let too_short = ["", "01ARZ3NDEKTSV4RRFFQ69G5FA"];
        let no_digit = ["01ARZ3NDEKTSV4RRFFQ69G5FAU", "ÄÄÄÄÄÄÄÄÄÄÄÄÄ"];
        for text in too_short.into_iter().chain(no_digit).chain(["8ZZZZZZZZZZZZZZZZZZZZZZZZZ"]) {
            assert_eq!(text.parse::<GameId>(), Err(ParseGameIdError), "{text}");
        }
    }

    proptest! {
        #[test]
        fn text_and_bytes_come_back_and_sort_alike(a: u128, b: u128) {
            let (a, b) = (GameId(Ulid(a)), GameId(Ulid(b)));
            prop_assert_eq!(a.to_string().parse::<GameId>(), Ok(a));
            prop_assert_eq!(a.to_string().to_lowercase().parse::<GameId>(), Ok(a));
            prop_assert_eq!(GameId::from_bytes(a.to_bytes()), a);
            prop_assert_eq!(a.cmp(&b), a.to_bytes().cmp(&b.to_bytes()));
            prop_assert_eq!(a.cmp(&b), a.to_string().cmp(&b.to_string()));
        }

        #[test]
        fn ids_only_grow(steps in prop::collection::vec((0u64..4, any::<[u8; 10]>()), 1..50)) {
            let mut ids = GameIds::default();
            let handed: Vec<_> = steps.into_iter().map(|(ms, random)| ids.next(1_000 + ms, random)).collect();
            prop_assert!(handed.windows(2).all(|pair| pair[0] < pair[1]));
        }

        #[test]
        fn any_text_is_read_or_refused(text in ".{0,40}") {
            if let Ok(id) = text.parse::<GameId>() {
                prop_assert_eq!(id.to_string(), text.to_uppercase());
            }
        }
    }
}
