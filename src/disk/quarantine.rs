//! Damaged files are kept as they were found.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use super::sync_folder;

/// The present time as part of a file name: `20261123T101502Z`.
pub(crate) fn stamp() -> String {
    let now = jiff::Timestamp::try_from(SystemTime::now()).unwrap_or(jiff::Timestamp::MAX);
    now.strftime("%Y%m%dT%H%M%SZ").to_string()
}

/// Makes a new folder `NAME.WHAT-TIME` beside a folder, or `WHAT-TIME` inside it where nothing may be made beside it.
///
/// # Errors
/// Neither can be made.
pub(crate) fn quarantine(folder: &Path, what: &str) -> io::Result<PathBuf> {
    let stamp = stamp();
    let name = folder.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let beside = folder.with_file_name(format!("{name}.{what}-{stamp}"));
    let inside = folder.join(format!("{what}-{stamp}"));
    let mut refusal = io::Error::from(io::ErrorKind::AlreadyExists);
    for base in [beside, inside] {
        for attempt in 1..100 {
            let mut made = base.clone();
            if attempt > 1 {
                made.as_mut_os_string().push(format!("-{attempt}"));
            }
            match fs::create_dir(&made) {
                Ok(()) => {
                    made.parent().map_or(Ok(()), sync_folder)?;
                    return Ok(made);
                }
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => {
                    refusal = error;
                    break;
                }
            }
        }
    }
    Err(refusal)
}
