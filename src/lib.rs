//! Liap.
