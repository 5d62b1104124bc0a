use std::net::IpAddr;

use sha2::{Digest as _, Sha256};

/// The key of a bucket. Wide enough that two never collide, by chance or by intent, and the same in every process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, derive_more::Display)]
#[display("{_0:032x}")]
pub struct Key(u128);

impl Key {
    /// The key of a session or a room. Costs a hash: make it once for each connection.
    pub fn from_text(text: &str) -> Self {
        let digest: [u8; 32] = Sha256::digest(text.as_bytes()).into();
        Self(u128::from_be_bytes(*digest.first_chunk().unwrap_or(&[0; 16])))
    }

    /// The key of an address. An IPv6 /64 belongs to one customer and counts as one address.
    pub fn from_address(address: IpAddr) -> Self {
        Self(match address.to_canonical() {
            IpAddr::V4(v4) => v4.to_ipv6_mapped().to_bits(),
            IpAddr::V6(v6) => v6.to_bits() & !u128::from(u64::MAX),
        })
    }

    /// The key of something with a number in this process, such as a socket.
    pub const fn from_number(number: u64) -> Self {
        Self(number as u128)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(address: &str) -> Key {
        Key::from_address(address.parse().unwrap())
    }

    #[test]
    fn addresses_in_one_64_share_a_key() {
        assert_eq!(key("2001:db8:1:2::1"), key("2001:db8:1:2:ffff::9"));
        assert_ne!(key("2001:db8:1:2::1"), key("2001:db8:1:3::1"));
        assert_ne!(key("192.0.2.1"), key("192.0.2.2"));
        assert_eq!(key("192.0.2.1"), key("::ffff:192.0.2.1"));
    }

    #[test]
    fn texts_have_different_keys() {
        assert_ne!(Key::from_text("3FA9C1"), Key::from_text("3FA9C2"));
        assert_eq!(Key::from_text("3FA9C1"), Key::from_text("3FA9C1"));
    }
}
