//! How much anybody may ask for, and how fast.

mod options;

pub use options::Options;
