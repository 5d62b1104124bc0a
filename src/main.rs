//! The `liap` binary.

fn main() {}
