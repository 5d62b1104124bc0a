//! Numbers of one to five bytes: seven bits a byte, the lowest first. The highest bit of a byte says that another follows.

/// Writes a number.
pub(crate) fn push_varint(bytes: &mut impl Extend<u8>, mut value: u32) {
    loop {
        let [low, ..] = value.to_le_bytes();
        value >>= 7;
        bytes.extend([if value == 0 { low & 0x7F } else { low | 0x80 }]);
        if value == 0 {
            return;
        }
    }
}

/// The number at the beginning of bytes, and what follows it.
pub(crate) fn read_varint(bytes: &[u8]) -> Option<(u32, &[u8])> {
    let mut value = 0_u32;
    for (place, &byte) in bytes.iter().enumerate().take(5) {
        value |= u32::from(byte & 0x7F) << (7 * place);
        if byte & 0x80 == 0 {
            return Some((value, bytes.get(place + 1..)?));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_read_as_they_were_written() {
        for value in [0, 1, 127, 128, 300, 16_383, 16_384, 1 << 28, u32::MAX] {
            let mut bytes = Vec::new();
            push_varint(&mut bytes, value);
            bytes.push(7);
            assert_eq!(read_varint(&bytes), Some((value, &[7][..])));
            assert!(bytes.len() < 3 || read_varint(&bytes[..bytes.len() - 2]).is_none(), "{value} cut short");
        }
        assert_eq!(read_varint(&[0xFF; 6]), None);
    }
}
