//! How a record lies in a segment file: framed, numbered, and provable on its own.
//!
//! A segment is nothing but frames, one behind the other:
//!
//! | bytes | what |
//! |---|---|
//! | 4 | mark: what kind of frame this is, and the version of the layout |
//! | 4 | length of the payload, little-endian |
//! | 8 | sequence number, little-endian |
//! | 16 | game id (a record), or the last sequence number of a run, little-endian and padded |
//! | 4 | CRC32 of the 32 bytes above and the payload, little-endian |
//! | … | payload: the record |
//!
//! Every sequence number from 1 to the last one belongs to exactly one frame: to a record, or to a run of numbers that were
//! removed or lost. So a number nobody accounts for is damage, and damage is never mistaken for tidying up. A whole frame can
//! be found in any heap of bytes, whatever happened to its neighbours.

use super::GameId;

/// Bytes before the payload.
pub(super) const HEADER_BYTES: usize = 36;
/// Largest record, in bytes. A game of normal length takes half a kilobyte; this bounds what damage can make us allocate.
pub const MAX_RECORD_BYTES: usize = 1 << 20;

const RECORD_MARK: [u8; 4] = *b"LGR1";
const REMOVED_MARK: [u8; 4] = *b"LGD1";
const LOST_MARK: [u8; 4] = *b"LGX1";

/// What one frame says about its sequence number, or numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Frame<'a> {
    /// A record.
    Record { seq: u64, id: GameId, record: &'a [u8] },
    /// The records `first..=last` were removed on purpose, or never acknowledged.
    Removed { first: u64, last: u64 },
    /// The records `first..=last` were acknowledged and are gone: damage that was reported once and is remembered.
    Lost { first: u64, last: u64 },
}

impl<'a> Frame<'a> {
    /// The first sequence number the frame accounts for.
    pub(super) fn first(&self) -> u64 {
        match *self {
            Self::Record { seq, .. } => seq,
            Self::Removed { first, .. } | Self::Lost { first, .. } => first,
        }
    }

    /// The last sequence number the frame accounts for.
    pub(super) fn last(&self) -> u64 {
        match *self {
            Self::Record { seq, .. } => seq,
            Self::Removed { last, .. } | Self::Lost { last, .. } => last,
        }
    }

    /// Appends the frame to `out`. The caller has bounded the record by [`MAX_RECORD_BYTES`].
    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        let (mark, name, payload): (_, [u8; 16], &[u8]) = match *self {
            Self::Record { id, record, .. } => (RECORD_MARK, id.to_bytes(), record),
            Self::Removed { last, .. } => (REMOVED_MARK, u128::from(last).to_le_bytes(), &[]),
            Self::Lost { last, .. } => (LOST_MARK, u128::from(last).to_le_bytes(), &[]),
        };
        let start = out.len();
        out.extend_from_slice(&mark);
        out.extend_from_slice(&u32::try_from(payload.len()).unwrap_or(u32::MAX).to_le_bytes());
        out.extend_from_slice(&self.first().to_le_bytes());
        out.extend_from_slice(&name);
        let crc = checksum(out.get(start..).unwrap_or_default(), payload);
        out.extend_from_slice(&crc.to_le_bytes());
        out.extend_from_slice(payload);
    }

    /// The whole frame at the start of `bytes` and its length, or `None` if there is none.
    pub(super) fn parse(bytes: &'a [u8]) -> Option<(Self, usize)> {
        let (header, rest) = bytes.split_at_checked(HEADER_BYTES)?;
        let mark: [u8; 4] = field(header, 0)?;
        if ![RECORD_MARK, REMOVED_MARK, LOST_MARK].contains(&mark) {
            return None;
        }
        let length = usize::try_from(u32::from_le_bytes(field(header, 4)?)).ok()?;
        if length > MAX_RECORD_BYTES {
            return None;
        }
        let payload = rest.get(..length)?;
        let crc = u32::from_le_bytes(field(header, 32)?);
        if crc != checksum(header.get(..32)?, payload) {
            return None;
        }
        let first = u64::from_le_bytes(field(header, 8)?);
        let name: [u8; 16] = field(header, 16)?;
        let frame = if mark == RECORD_MARK {
            Self::Record { seq: first, id: GameId::from_bytes(name), record: payload }
        } else {
            let last = u64::try_from(u128::from_le_bytes(name)).ok()?;
            if last < first || length != 0 {
                return None;
            }
            if mark == REMOVED_MARK { Self::Removed { first, last } } else { Self::Lost { first, last } }
        };
        Some((frame, HEADER_BYTES + length))
    }
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

/// One stretch of a segment: a whole frame, or bytes that are none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stretch<'a> {
    Frame { at: usize, frame: Frame<'a> },
    Garbage { at: usize, length: usize },
}

/// Walks through `bytes`, from frame to frame and over whatever lies between them.
pub(super) fn walk(bytes: &[u8]) -> impl Iterator<Item = Stretch<'_>> {
    let mut at = 0;
    std::iter::from_fn(move || {
        let rest = bytes.get(at..).filter(|rest| !rest.is_empty())?;
        let start = at;
        if let Some((frame, length)) = Frame::parse(rest) {
            at += length;
            return Some(Stretch::Frame { at: start, frame });
        }
        // All marks begin alike; only where they do is a checksum worth its time.
        let next = (1..rest.len()).find(|offset| {
            rest.get(*offset..).is_some_and(|tail| tail.starts_with(b"LG") && Frame::parse(tail).is_some())
        });
        let length = next.unwrap_or(rest.len());
        at += length;
        Some(Stretch::Garbage { at: start, length })
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn bytes_of(frames: &[Frame<'_>]) -> Vec<u8> {
        let mut bytes = Vec::new();
        for frame in frames {
            frame.encode(&mut bytes);
        }
        bytes
    }

    fn found(bytes: &[u8]) -> Vec<Frame<'_>> {
        walk(bytes)
            .filter_map(|stretch| match stretch {
                Stretch::Frame { frame, .. } => Some(frame),
                Stretch::Garbage { .. } => None,
            })
            .collect()
    }

    #[test]
    fn the_layout_is_fixed() {
        let frame = Frame::Record { seq: 258, id: GameId::from_bytes([9; 16]), record: b"game" };
        assert_eq!(
            hex::encode(bytes_of(&[frame])),
            "4c475231 04000000 0201000000000000 09090909090909090909090909090909 6a0adcbe 67616d65".replace(' ', "")
        );
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(records in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..300), 0..20)) {
            let frames: Vec<_> = records
                .iter()
                .zip(1..)
                .map(|(record, seq)| Frame::Record { seq, id: GameId::first_at(seq), record })
                .chain([Frame::Removed { first: 90, last: 95 }, Frame::Lost { first: 96, last: 96 }])
                .collect();
            let bytes = bytes_of(&frames);
            prop_assert_eq!(found(&bytes), frames);
        }

        #[test]
        fn damage_costs_only_the_frame_it_hits(flip in 0usize..400, bit in 0u8..8) {
            let frames: Vec<_> = (1..=10).map(|seq| Frame::Record { seq, id: GameId::first_at(seq), record: b"abcd" }).collect();
            let mut bytes = bytes_of(&frames);
            bytes[flip] ^= 1 << bit;
            let mut whole = frames.clone();
            whole.remove(flip / 40);
            prop_assert_eq!(found(&bytes), whole);
        }

        #[test]
        fn any_bytes_are_walked_to_their_end(bytes in prop::collection::vec(prop_oneof![Just(b'L'), Just(b'G'), any::<u8>()], 0..500)) {
            let garbage: usize = walk(&bytes).map(|stretch| match stretch {
                Stretch::Garbage { length, .. } => length,
                Stretch::Frame { .. } => 0,
            }).sum();
            prop_assert_eq!(garbage, bytes.len());
        }
    }
}
