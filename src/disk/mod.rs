//! WHAT IS WRITTEN: the few ways in which the journal and the archive put bytes on a disk.
//!
//! A file appears under its name whole or not at all ([`write_atomic`]). One process has a folder at a time ([`FolderLock`]).
//! A number that changes often survives a torn write ([`DurableNumber`]). A list of facts carries its checksum
//! ([`write_checked`]). Frames are found in any heap of bytes ([`walk`]). What is damaged is kept as it was ([`quarantine`]).
//! Nothing here knows what the bytes mean.

mod atomic;
mod durable_number;
mod lock;
mod quarantine;
mod varint;
mod walk;

pub(crate) use atomic::{read_checked, remove_durably, rename_durably, sync_folder, write_atomic, write_checked};
pub(crate) use durable_number::{DurableNumber, NumberFound};
pub(crate) use lock::{FolderLock, LockError};
pub(crate) use quarantine::{quarantine, stamp};
pub(crate) use varint::{push_varint, read_varint};
pub(crate) use walk::{Stretch, walk};
