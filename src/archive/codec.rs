//! The stored form of a record: a few hundred bytes.
//!
//! | bytes | what |
//! |---|---|
//! | 1 | version of this form |
//! | 1 | version of the rules |
//! | 1 | dictionary of the compression; 0: not compressed |
//! | 1-3 | length before compression: seven bits a byte, lowest first, the high bit set in all but the last |
//! | … | MessagePack, compressed by zstd without its four magic bytes |
//! | 4 | CRC32 of all bytes before, little-endian |
//!
//! Every version that was ever written stays readable: its struct is frozen, its dictionary stays in the program. Reading
//! trusts nothing. Lengths are bounded before anything is allocated, and moves are played by the rules, so what decodes
//! is a game.

use std::cell::RefCell;
use std::io;
use std::sync::LazyLock;

use serde::{Deserialize, Serialize};
use serde_bytes::Bytes;
use zstd::bulk::{Compressor, Decompressor};
use zstd::dict::{DecoderDictionary, EncoderDictionary};

use super::record::{Ended, GameRecord, GameTime, Player, PlayerKind, Takeover};
use super::replay::ReplayError;
use super::{GameId, moves, times};
use crate::game::{BySeat, DealProof, Entropy, Level, Outcome, RULES_VERSION, Seat, SeatSet, ServerSeed, winners};

/// The form that is written.
const SCHEMA_VERSION: u8 = 1;
/// The longest MessagePack form. A game of normal length has 300 bytes; 64 KiB hold some 2,000 rounds with times.
const MAX_PLAIN_BYTES: usize = 64 * 1024;
/// Levels above cost time and gain nothing on so few bytes.
const ZSTD_LEVEL: i32 = 1;
/// What every zstd frame begins with; not worth storing a million times.
const ZSTD_MAGIC: [u8; 4] = [0x28, 0xB5, 0x2F, 0xFD];
/// Dictionary id of a record that zstd would only make longer.
const NOT_COMPRESSED: u8 = 0;
/// The dictionaries, oldest first; their ids count from 1. One that was ever used must stay for ever.
const DICTIONARIES: [&[u8]; 1] = [include_bytes!("dictionaries/1.zdict")];
/// How deep MessagePack may be nested. Ours is three deep.
const MAX_DEPTH: usize = 8;
/// At most, around what is compressed.
const FRAME_BYTES: usize = 10;

/// Why a record cannot be stored.
#[derive(Debug, thiserror::Error)]
pub enum EncodeError {
    /// It is no game by the rules.
    #[error(transparent)]
    Replay(#[from] ReplayError),
    /// Thousands of rounds, or absurd names.
    #[error("the record has {bytes} bytes, the most is {MAX_PLAIN_BYTES}")]
    TooLarge {
        /// How many it has.
        bytes: usize,
    },
    /// The compression failed.
    #[error("the record cannot be compressed: {0}")]
    Compression(#[from] io::Error),
    /// The serialisation failed.
    #[error("the record cannot be written: {0}")]
    MessagePack(#[from] rmp_serde::encode::Error),
}

/// Why bytes are no stored record.
#[derive(Debug, thiserror::Error)]
pub enum DecodeError {
    /// Less than the frame around a record.
    #[error("the record is cut off")]
    Short,
    /// The bytes are not those that were written.
    #[error("the checksum does not fit: the record is damaged")]
    Checksum,
    /// Written by a later version of this program.
    #[error("the record has {what} {found}, this program knows up to {known}")]
    Unknown {
        /// What is unknown.
        what: &'static str,
        /// Which it has.
        found: u8,
        /// The latest that is known.
        known: u8,
    },
    /// The record claims to be longer than the longest one.
    #[error("the record claims {bytes} bytes, the most is {MAX_PLAIN_BYTES}")]
    TooLarge {
        /// How many it claims.
        bytes: usize,
    },
    /// The compressed part cannot be read.
    #[error("the record cannot be decompressed: {0}")]
    Compression(#[from] io::Error),
    /// The MessagePack part cannot be read.
    #[error("the record cannot be read: {0}")]
    MessagePack(#[from] rmp_serde::decode::Error),
    /// A field has a value that it cannot have.
    #[error("the record's {0} is invalid")]
    Field(&'static str),
    /// The moves are no game.
    #[error(transparent)]
    Moves(#[from] moves::MovesError),
}

/// What a stored game shows without being played again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Summary {
    /// The game's name.
    pub game_id: GameId,
    /// The room it was played in.
    pub room_id: String,
    /// When the first hands were dealt, in milliseconds of Unix time.
    pub started_at_ms: u64,
    /// How long it took, in milliseconds.
    pub duration_ms: u64,
    /// Who played.
    pub players: BySeat<Player>,
    /// How it ended.
    pub ended: Ended,
    /// What it led to.
    pub outcome: Outcome,
}

impl Summary {
    /// When the game ended, in milliseconds of Unix time.
    pub const fn completed_at_ms(&self) -> u64 {
        self.started_at_ms.saturating_add(self.duration_ms)
    }
}

/// The stored form of a record.
///
/// # Errors
/// [`EncodeError`] if the record is no game by the rules, or larger than any game.
pub fn encode(record: &GameRecord) -> Result<Vec<u8>, EncodeError> {
    let plain = encode_plain(record)?;
    if plain.len() > MAX_PLAIN_BYTES {
        return Err(EncodeError::TooLarge { bytes: plain.len() });
    }
    let newest = u8::try_from(DICTIONARIES.len()).unwrap_or(NOT_COMPRESSED);
    let compressed = compress(&plain)?;
    let (dictionary, body) = compressed.as_ref().map_or((NOT_COMPRESSED, &plain), |body| (newest, body));
    let mut bytes = Vec::with_capacity(body.len() + FRAME_BYTES);
    bytes.extend([SCHEMA_VERSION, RULES_VERSION, dictionary]);
    push_length(&mut bytes, plain.len());
    bytes.extend_from_slice(body);
    let checksum = crc32fast::hash(&bytes);
    bytes.extend_from_slice(&checksum.to_le_bytes());
    Ok(bytes)
}

/// The stored form before its compression: what a dictionary is trained from.
///
/// # Errors
/// As [`encode`].
pub fn encode_plain(record: &GameRecord) -> Result<Vec<u8>, EncodeError> {
    let (moves, outcome) = moves::pack(record)?;
    let times = times::pack(&record.moves);
    let entropy = record.proof.entropy.as_array().each_ref().map(|one| one.as_ref().map(pack_entropy));
    let game_id = record.game_id.to_bytes();
    let number = |seat: Seat| (seat, &record.players[seat]);
    let stored = Stored1 {
        kinds: Seat::ALL.into_iter().map(number).fold(0, |kinds, (seat, player)| {
            let kind = match player.kind {
                PlayerKind::Human => 0,
                PlayerKind::Bot(level) => level as u8 + 1,
            };
            kinds | kind << (2 * seat.index())
        }),
        names: Seat::ALL.map(number).map(|(seat, player)| (player.name != bot_name(seat)).then_some(&*player.name)),
        room_id: &record.room_id,
        entropy: entropy.each_ref().map(|one| one.as_deref().map(Bytes::new)),
        takeovers: record
            .takeovers
            .iter()
            .map(|one| (one.seat.number(), one.from.hundredths(), one.to.map(GameTime::hundredths)))
            .collect(),
        abandoned_after: match record.ended {
            Ended::Won => None,
            Ended::Abandoned => Some(u32::try_from(record.moves.len()).unwrap_or(u32::MAX)),
        },
        rounds: outcome.rounds,
        totals: outcome.totals.into_array(),
        met: outcome.met.into_array(),
        game_id: Bytes::new(&game_id),
        start_delay_ms: record.started_at_ms.wrapping_sub(record.game_id.unix_ms()).cast_signed(),
        duration_ms: record.duration_ms,
        server_seed: Bytes::new(record.proof.server_seed.reveal()),
        moves: Bytes::new(&moves),
        times: times.as_deref().map(Bytes::new),
    };
    Ok(rmp_serde::to_vec(&stored)?)
}

/// The record in its stored form, played by the rules once more.
///
/// # Errors
/// [`DecodeError`] for all bytes that [`encode`] did not write.
pub fn decode(bytes: &[u8]) -> Result<GameRecord, DecodeError> {
    plain(bytes, |plain| read::<Stored1<'_>>(plain)?.record())
}

/// The summary of a stored record, without playing it again: much quicker than [`decode`].
///
/// # Errors
/// [`DecodeError`] for bytes that are no record. The moves are not checked.
pub fn decode_summary(bytes: &[u8]) -> Result<Summary, DecodeError> {
    plain(bytes, |plain| read::<Stored1<'_>>(plain)?.summary())
}

/// Checks the frame around a record and passes its content to `read`.
fn plain<T>(bytes: &[u8], read: impl FnOnce(&[u8]) -> Result<T, DecodeError>) -> Result<T, DecodeError> {
    let (framed, checksum) = bytes.split_last_chunk::<4>().ok_or(DecodeError::Short)?;
    if crc32fast::hash(framed) != u32::from_le_bytes(*checksum) {
        return Err(DecodeError::Checksum);
    }
    let ([schema, rules, dictionary], rest) = framed.split_first_chunk::<3>().ok_or(DecodeError::Short)?;
    let up_to =
        |what, found, known| if found <= known { Ok(()) } else { Err(DecodeError::Unknown { what, found, known }) };
    up_to("version", *schema, SCHEMA_VERSION)?;
    up_to("rules version", *rules, RULES_VERSION)?;
    if *schema == 0 || *rules == 0 {
        return Err(DecodeError::Field("version"));
    }
    let (length, body) = split_length(rest).ok_or(DecodeError::Short)?;
    if length > MAX_PLAIN_BYTES {
        return Err(DecodeError::TooLarge { bytes: length });
    }
    if *dictionary == NOT_COMPRESSED {
        return if body.len() == length { read(body) } else { Err(DecodeError::Field("length")) };
    }
    up_to("dictionary", *dictionary, u8::try_from(DICTIONARIES.len()).unwrap_or(u8::MAX))?;
    read(&decompress(*dictionary, body, length)?)
}

fn read<'a, T: Deserialize<'a>>(plain: &'a [u8]) -> Result<T, DecodeError> {
    let mut deserializer = rmp_serde::Deserializer::from_read_ref(plain);
    deserializer.set_max_depth(MAX_DEPTH);
    Ok(T::deserialize(&mut deserializer)?)
}

/// The length before compression that a stored record claims; 0 if it claims none.
pub(super) fn plain_length(bytes: &[u8]) -> usize {
    bytes.get(3..).and_then(split_length).map_or(0, |(length, _)| length)
}

fn push_length(bytes: &mut Vec<u8>, mut length: usize) {
    loop {
        let [low, ..] = length.to_le_bytes();
        length >>= 7;
        if length == 0 {
            bytes.push(low & 0x7F);
            return;
        }
        bytes.push(low | 0x80);
    }
}

fn split_length(bytes: &[u8]) -> Option<(usize, &[u8])> {
    let mut length = 0;
    for (place, byte) in bytes.iter().take(3).enumerate() {
        length |= usize::from(byte & 0x7F) << (7 * place);
        if byte & 0x80 == 0 {
            return Some((length, bytes.get(place + 1..)?));
        }
    }
    None
}

static ENCODER: LazyLock<io::Result<EncoderDictionary<'static>>> =
    LazyLock::new(|| EncoderDictionary::try_copy(DICTIONARIES.last().copied().unwrap_or_default(), ZSTD_LEVEL));
static DECODERS: LazyLock<Vec<io::Result<DecoderDictionary<'static>>>> =
    LazyLock::new(|| DICTIONARIES.into_iter().map(DecoderDictionary::try_copy).collect());

thread_local! {
    // Setting up zstd costs more than compressing one record.
    static COMPRESSOR: RefCell<Compressor<'static>> = RefCell::default();
    static DECOMPRESSOR: RefCell<Decompressor<'static>> = RefCell::default();
}

fn prepared<T>(dictionary: &'static io::Result<T>) -> io::Result<&'static T> {
    dictionary.as_ref().map_err(|error| io::Error::new(error.kind(), error.to_string()))
}

/// `plain` compressed, or `None` if that is not shorter.
fn compress(plain: &[u8]) -> io::Result<Option<Vec<u8>>> {
    let mut frame = COMPRESSOR.with_borrow_mut(|compressor| {
        compressor.set_prepared_dictionary(prepared(&ENCODER)?)?;
        // The frame of the record holds all this already.
        compressor.include_checksum(false)?;
        compressor.include_dictid(false)?;
        compressor.include_contentsize(false)?;
        compressor.compress(plain)
    })?;
    let is_shorter = frame.starts_with(&ZSTD_MAGIC) && frame.len() - ZSTD_MAGIC.len() < plain.len();
    Ok(is_shorter.then(|| frame.split_off(ZSTD_MAGIC.len())))
}

/// Decompresses `body` to exactly `length` bytes, which the caller has bounded.
fn decompress(dictionary: u8, body: &[u8], length: usize) -> Result<Vec<u8>, DecodeError> {
    let dictionary = DECODERS.get(usize::from(dictionary) - 1).ok_or(DecodeError::Field("dictionary"))?;
    let frame = [&ZSTD_MAGIC, body].concat();
    let plain = DECOMPRESSOR.with_borrow_mut(|decompressor| {
        decompressor.set_prepared_dictionary(prepared(dictionary)?)?;
        decompressor.decompress(&frame, length)
    })?;
    if plain.len() == length { Ok(plain) } else { Err(DecodeError::Field("length")) }
}

/// Version 1. Frozen: another shape is another version.
#[derive(Serialize, Deserialize)]
struct Stored1<'a> {
    /// One of four digits of base 4 for each seat, seat 1 the lowest: human, easy, normal, hard.
    kinds: u8,
    /// `nil` for the usual name of a bot at this seat.
    #[serde(borrow)]
    names: [Option<&'a str>; 4],
    room_id: &'a str,
    /// Players' entropy: a digit 1, then the digits, packed into bytes with a 0 in front if need be.
    #[serde(borrow)]
    entropy: [Option<&'a Bytes>; 4],
    /// Seat from 1, from, to, in hundredths of a second.
    takeovers: Vec<(u8, u32, Option<u32>)>,
    /// `nil` if the game was won, else how many moves it has.
    abandoned_after: Option<u32>,
    rounds: u32,
    totals: [i32; 4],
    met: [u32; 4],
    #[serde(borrow)]
    game_id: &'a Bytes,
    /// Milliseconds from the time in the game's name to its start.
    start_delay_ms: i64,
    duration_ms: u64,
    #[serde(borrow)]
    server_seed: &'a Bytes,
    /// As `moves.rs` describes.
    #[serde(borrow)]
    moves: &'a Bytes,
    /// As `times.rs` describes; `nil` if all are the start of the game.
    #[serde(borrow)]
    times: Option<&'a Bytes>,
}

impl<'a> Stored1<'a> {
    fn record(&self) -> Result<GameRecord, DecodeError> {
        let Summary { game_id, room_id, started_at_ms, duration_ms, players, ended, outcome } = self.summary()?;
        let proof = DealProof {
            server_seed: ServerSeed::new(self.server_seed[..].try_into().map_err(|_| DecodeError::Field("seed"))?),
            entropy: self.entropy()?,
        };
        let (mut moves, replayed) = moves::unpack(self.moves, &proof, self.abandoned_after)?;
        if let Some(times) = self.times {
            times::unpack(times, &mut moves).ok_or(DecodeError::Field("times"))?;
        }
        if replayed != outcome {
            return Err(DecodeError::Field("result"));
        }
        let takeovers = self.takeovers.iter().map(|&(seat, from, to)| {
            let seat = Seat::from_number(seat.into()).ok_or(DecodeError::Field("takeover"))?;
            let to = to.map(GameTime::from_hundredths);
            Ok(Takeover { seat, from: GameTime::from_hundredths(from), to })
        });
        let takeovers = takeovers.collect::<Result<_, DecodeError>>()?;
        Ok(GameRecord { game_id, room_id, started_at_ms, duration_ms, players, proof, moves, takeovers, ended })
    }

    fn summary(&self) -> Result<Summary, DecodeError> {
        let game_id = GameId::from_bytes(self.game_id[..].try_into().map_err(|_| DecodeError::Field("id"))?);
        let started_at_ms =
            game_id.unix_ms().checked_add_signed(self.start_delay_ms).ok_or(DecodeError::Field("start"))?;
        let ended = if self.abandoned_after.is_some() { Ended::Abandoned } else { Ended::Won };
        let totals = BySeat::new(self.totals);
        let winners = match ended {
            Ended::Won => winners(&totals),
            Ended::Abandoned => SeatSet::EMPTY,
        };
        let outcome = Outcome { rounds: self.rounds, totals, met: BySeat::new(self.met), winners };
        Ok(Summary {
            game_id,
            room_id: self.room_id.to_owned(),
            started_at_ms,
            duration_ms: self.duration_ms,
            players: self.players(),
            ended,
            outcome,
        })
    }

    fn players(&self) -> BySeat<Player> {
        let mut names = self.names.into_iter();
        BySeat::from_fn(|seat| Player {
            name: names.next().flatten().map_or_else(|| bot_name(seat), str::to_owned),
            kind: match self.kinds >> (2 * seat.index()) & 3 {
                0 => PlayerKind::Human,
                1 => PlayerKind::Bot(Level::Easy),
                2 => PlayerKind::Bot(Level::Normal),
                _ => PlayerKind::Bot(Level::Hard),
            },
        })
    }

    fn entropy(&self) -> Result<BySeat<Option<Entropy>>, DecodeError> {
        let mut entropy = BySeat::default();
        for (seat, packed) in Seat::ALL.into_iter().zip(&self.entropy) {
            entropy[seat] = packed.map(|packed| unpack_entropy(packed)).transpose()?;
        }
        Ok(entropy)
    }
}

/// The usual name of a bot at this seat.
fn bot_name(seat: Seat) -> String {
    format!("Bot {seat}")
}

/// The digits after a leading 1, which keeps leading zeros.
fn pack_entropy(entropy: &Entropy) -> Vec<u8> {
    let digits = format!("1{entropy}");
    let padded = if digits.len().is_multiple_of(2) { digits } else { format!("0{digits}") };
    hex::decode(padded).unwrap_or_default()
}

fn unpack_entropy(packed: &[u8]) -> Result<Entropy, DecodeError> {
    let digits = hex::encode(packed);
    let digits = digits.strip_prefix('0').unwrap_or(&digits);
    digits.strip_prefix('1').and_then(|digits| digits.parse().ok()).ok_or(DecodeError::Field("entropy"))
}
