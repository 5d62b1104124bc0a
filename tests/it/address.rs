use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicU32, Ordering};

/// A loopback address that is given out once, so every port on it is free: for servers that do not tell which port they
/// chose.
pub(crate) fn own_address() -> Ipv4Addr {
    static NEXT: AtomicU32 = AtomicU32::new(1);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    assert!(number < 1 << 12, "as many as there are for one process");
    // The upper half of 127.0.0.0/8, where no other process of the tests has the same eleven bits soon.
    Ipv4Addr::from_bits(0x7F80_0000 | (std::process::id() & 0x7FF) << 12 | number)
}
