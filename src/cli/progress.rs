//! Bars that show how far long work has come.

use indicatif::{ProgressBar, ProgressStyle};

/// A bar on the standard error, where that is a terminal; elsewhere it is invisible.
pub(super) fn bar(total: u64, what: &str) -> ProgressBar {
    let style = ProgressStyle::with_template("{bar:30} {human_pos} of {human_len} {msg}, {per_sec}, {eta} left");
    ProgressBar::new(total)
        .with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
        .with_message(what.to_owned())
}

/// A bar for bytes read.
pub(super) fn bytes(total: u64) -> ProgressBar {
    let style = ProgressStyle::with_template("{bar:30} {binary_bytes} of {binary_total_bytes} {msg}, {eta} left");
    ProgressBar::new(total).with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
}
