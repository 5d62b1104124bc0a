//! Fair deals: every deal of a game follows from a committed secret and the players' entropy (`docs/fair-deals.md`).

use std::str::FromStr;

use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};

use super::{BySeat, Piece};

/// The server's secret of one game. `Debug` does not show it.
#[derive(derive_more::Debug, Clone, PartialEq, Eq)]
#[debug("ServerSeed(***)")]
pub struct ServerSeed([u8; 32]);

impl ServerSeed {
    /// Wraps 256 bits from the operating system's generator, or from a proof.
    pub const fn new(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The secret itself: for the record and the proof, after the game.
    pub const fn reveal(&self) -> &[u8; 32] {
        &self.0
    }

    /// SHA-256 of the secret: shown before anybody sits down.
    pub fn commitment(&self) -> [u8; 32] {
        Sha256::digest(self.0).into()
    }
}

/// A player's own randomness: 1 to 64 hexadecimal digits, kept in lower case.
#[derive(Debug, Clone, PartialEq, Eq, derive_more::Display)]
pub struct Entropy(String);

/// Why a text is no entropy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("Entropy must be 1 to 64 hexadecimal digits")]
pub struct EntropyError;

impl FromStr for Entropy {
    type Err = EntropyError;
    fn from_str(text: &str) -> Result<Self, EntropyError> {
        let fits = (1..=64).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        if fits { Ok(Self(text.to_ascii_lowercase())) } else { Err(EntropyError) }
    }
}

/// Everything the deals of one game follow from; revealed when the game is over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DealProof {
    /// The server's secret.
    pub server_seed: ServerSeed,
    /// What the players added.
    pub entropy: BySeat<Option<Entropy>>,
}

impl DealProof {
    /// The name of the algorithm on the wire and in records.
    pub const ALGORITHM: &'static str = "liap-deal-1";

    /// The seed of all deals of the game.
    pub fn deal_seed(&self) -> DealSeed {
        let mut mac = keyed(self.server_seed.reveal());
        mac.update(Self::ALGORITHM.as_bytes());
        for entropy in self.entropy.iter() {
            mac.update(b"\n");
            mac.update(entropy.as_ref().map_or("", |entropy| &entropy.0).as_bytes());
        }
        DealSeed(mac.finalize().into_bytes().into())
    }
}

/// The key from which all deals of one game are drawn. `Debug` does not show it.
#[derive(derive_more::Debug, Clone, PartialEq, Eq)]
#[debug("DealSeed(***)")]
pub struct DealSeed([u8; 32]);

impl DealSeed {
    /// A seed that follows from no proof: for simulations and tests that never show one.
    pub const fn unproven(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// Deal number `number` of the game, counted from 0 over all rounds and redeals.
    pub fn deal(&self, number: u32) -> BySeat<[Piece; 8]> {
        let mut stream = stream(self, number);
        let mut pieces: [Piece; Piece::COUNT] = {
            let mut numbers = 0..;
            std::array::from_fn(|_| Piece::wrapping(numbers.next().unwrap_or(0)))
        };
        for i in (1..Piece::COUNT).rev() {
            pieces.swap(i, below(&mut stream, i + 1));
        }
        let (hands, _) = pieces.as_chunks::<8>();
        BySeat::from_fn(|seat| hands.get(seat.index()).copied().unwrap_or([Piece::wrapping(0); 8]))
    }
}

#[expect(clippy::expect_used, reason = "HMAC takes keys of any length")]
fn keyed(key: &[u8]) -> Hmac<Sha256> {
    Hmac::new_from_slice(key).expect("any key length")
}

/// The random bytes of a deal: HMAC-SHA-256 in counter mode.
fn stream(seed: &DealSeed, deal: u32) -> impl Iterator<Item = u8> {
    let mac = keyed(&seed.0);
    (0_u32..).flat_map(move |block| {
        let mut mac = mac.clone();
        mac.update(&deal.to_be_bytes());
        mac.update(&block.to_be_bytes());
        <[u8; 32]>::from(mac.finalize().into_bytes())
    })
}

/// A number below `bound`, each with the same chance: bytes at the end of the range would favour some, and are skipped.
fn below(stream: &mut impl Iterator<Item = u8>, bound: usize) -> usize {
    let fair = 256 - 256 % bound;
    stream.map(usize::from).find(|byte| *byte < fair).unwrap_or(0) % bound
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbers(deal: BySeat<[Piece; 8]>) -> Vec<u8> {
        deal.into_array().concat().into_iter().map(Piece::number).collect()
    }

    #[test]
    fn the_documents_test_vector_holds() {
        let bytes: Vec<u8> = (0..32).collect();
        let server_seed = ServerSeed::new(bytes.try_into().unwrap());
        assert_eq!(
            hex::encode(server_seed.commitment()),
            "630dcd2966c4336691125448bbb25b4ff412a49c732db2c8abc1b8581bd710dd"
        );
        let entropy = BySeat::new([None, Some("C0FFEE".parse().unwrap()), None, None]);
        let seed = DealProof { server_seed, entropy }.deal_seed();
        assert_eq!(hex::encode(seed.0), "3aeb541a847049b9a4af6fa4fa6aa35dfe8f326410ebb113f97211c4abac4eda");
        assert_eq!(
            numbers(seed.deal(0)),
            [
                31, 11, 15, 30, 12, 23, 22, 7, 24, 13, 14, 5, 8, 29, 17, 4, 9, 26, 0, 28, 2, 19, 16, 18, 21, 1, 3, 25,
                10, 6, 20, 27
            ]
        );
        assert_eq!(
            numbers(seed.deal(1)),
            [
                27, 19, 17, 8, 1, 0, 16, 12, 28, 4, 26, 15, 10, 24, 2, 3, 7, 29, 13, 20, 9, 23, 30, 14, 6, 25, 21, 5,
                22, 11, 31, 18
            ]
        );
    }

    #[test]
    fn entropy_is_bounded_hexadecimal() {
        assert!("".parse::<Entropy>().is_err());
        assert!("0".repeat(65).parse::<Entropy>().is_err());
        assert!("xyz".parse::<Entropy>().is_err());
        assert_eq!("AB".parse::<Entropy>().unwrap().to_string(), "ab");
    }
}
