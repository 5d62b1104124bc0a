//! How a record lies on disk: framed, numbered, and provable on its own.
//!
//! | bytes | what |
//! |---|---|
//! | 4 | `LGR1`: a record, and the version of this frame |
//! | 4 | length of the record, little-endian |
//! | 8 | sequence number, little-endian |
//! | 16 | game id |
//! | 4 | CRC32 of the 32 bytes above and the record, little-endian |
//! | … | the record, in its stored form |
//!
//! A whole frame can be found in any heap of bytes. That is what the store relies on after a crash.

use super::GameId;

/// Bytes before the record.
pub(super) const HEADER_BYTES: usize = 36;
/// Largest record, in bytes. A game of normal length takes half a kilobyte; the stored form of none can exceed 64 KiB. A frame
/// of this size still lies in one piece in the store's file.
pub const MAX_RECORD_BYTES: usize = 96 << 10;
/// What the frame of a record begins with.
pub(super) const MAGIC: [u8; 4] = *b"LGR1";

/// A record with its sequence number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Frame<'a> {
    pub(super) seq: u64,
    pub(super) id: GameId,
    pub(super) crc: u32,
    pub(super) record: &'a [u8],
}

/// The frame of a record. The caller has bounded it by [`MAX_RECORD_BYTES`].
pub(super) fn encode(seq: u64, id: GameId, record: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(HEADER_BYTES + record.len());
    bytes.extend_from_slice(&MAGIC);
    bytes.extend_from_slice(&u32::try_from(record.len()).unwrap_or(u32::MAX).to_le_bytes());
    bytes.extend_from_slice(&seq.to_le_bytes());
    bytes.extend_from_slice(&id.to_bytes());
    let crc = checksum(&bytes, record);
    bytes.extend_from_slice(&crc.to_le_bytes());
    bytes.extend_from_slice(record);
    bytes
}

/// The whole frame of a record at the start of `bytes` and its length, or `None` if there is none.
pub(super) fn parse(bytes: &[u8]) -> Option<(Frame<'_>, usize)> {
    let (RawFrame { seq, name, crc, payload, .. }, length) = parse_raw(bytes, &[MAGIC], MAX_RECORD_BYTES)?;
    Some((Frame { seq, id: GameId::from_bytes(name), crc, record: payload }, length))
}

/// A frame of any kind that was ever written.
#[derive(Clone, Copy, Debug)]
pub(super) struct RawFrame<'a> {
    pub(super) magic: [u8; 4],
    pub(super) seq: u64,
    pub(super) name: [u8; 16],
    crc: u32,
    pub(super) payload: &'a [u8],
}

/// The whole frame at the start of `bytes`, if it is of one of these kinds and no longer than this, and its length.
pub(super) fn parse_raw<'a>(bytes: &'a [u8], kinds: &[[u8; 4]], max_bytes: usize) -> Option<(RawFrame<'a>, usize)> {
    let (header, rest) = bytes.split_at_checked(HEADER_BYTES)?;
    let magic: [u8; 4] = field(header, 0)?;
    let length = usize::try_from(u32::from_le_bytes(field(header, 4)?)).ok()?;
    if !kinds.contains(&magic) || length > max_bytes {
        return None;
    }
    let payload = rest.get(..length)?;
    let crc = u32::from_le_bytes(field(header, 32)?);
    if crc != checksum(header.get(..32)?, payload) {
        return None;
    }
    let seq = u64::from_le_bytes(field(header, 8)?);
    Some((RawFrame { magic, seq, name: field(header, 16)?, crc, payload }, HEADER_BYTES + length))
}

fn field<const N: usize>(header: &[u8], at: usize) -> Option<[u8; N]> {
    header.get(at..)?.first_chunk().copied()
}

fn checksum(head: &[u8], payload: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(head);
    hasher.update(payload);
    hasher.finalize()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::disk::{Stretch, walk};

    fn found(bytes: &[u8]) -> Vec<(u64, Vec<u8>)> {
        walk(bytes, &MAGIC, parse)
            .filter_map(|stretch| match stretch {
                Stretch::Frame { frame, .. } => Some((frame.seq, frame.record.to_vec())),
                Stretch::Garbage { .. } => None,
            })
            .collect()
    }

    proptest! {
        #[test]
        fn whole_frames_are_found_in_any_heap_of_bytes(
            parts in prop::collection::vec((prop::collection::vec(any::<u8>(), 0..60), prop::collection::vec(any::<u8>(), 0..40)), 0..12),
            (at, flip) in (any::<prop::sample::Index>(), 1_u8..),
        ) {
            let mut bytes = Vec::new();
            let mut places = Vec::new();
            for (seq, (record, garbage)) in (1..).zip(&parts) {
                places.push(bytes.len()..bytes.len() + HEADER_BYTES + record.len());
                bytes.extend(encode(seq, GameId::first_at(seq), record));
                bytes.extend(garbage);
            }
            let records = || (1..).zip(parts.iter().map(|(record, _)| record.clone()));
            prop_assert_eq!(found(&bytes), records().collect::<Vec<_>>());
            let length: usize = walk(&bytes, &MAGIC, parse).map(|stretch| match stretch {
                Stretch::Frame { frame, .. } => HEADER_BYTES + frame.record.len(),
                Stretch::Garbage { length } => length,
            }).sum();
            prop_assert_eq!(length, bytes.len(), "every byte is in one stretch");
            if !bytes.is_empty() {
                let at = at.index(bytes.len());
                bytes[at] ^= flip;
                let whole = records().zip(&places).filter(|(_, place)| !place.contains(&at)).map(|(record, _)| record);
                prop_assert_eq!(found(&bytes), whole.collect::<Vec<_>>());
            }
        }

        #[test]
        fn any_bytes_are_frames_or_none(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            prop_assert_eq!(found(&bytes), []);
            prop_assert_eq!(found(&[&MAGIC[..], &bytes].concat()), []);
        }
    }
}
