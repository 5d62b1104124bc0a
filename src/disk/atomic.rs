//! Files that appear whole or not at all.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::Path;

/// Makes the names in a folder durable.
pub(crate) fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

/// Writes a file under its final name only when it is whole and on disk.
pub(crate) fn write_atomic(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let draft = path.with_added_extension("tmp");
    let mut file = File::create(&draft)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    drop(file);
    rename_durably(&draft, path)
}

/// Gives a file or folder another name, and returns when the disk knows it.
pub(crate) fn rename_durably(from: &Path, to: &Path) -> io::Result<()> {
    fs::rename(from, to)?;
    if from.parent() != to.parent() {
        from.parent().map_or(Ok(()), sync_folder)?;
    }
    to.parent().map_or(Ok(()), sync_folder)
}

/// Removes a file that may be there, and returns when the disk knows it. Returns whether it was there.
pub(crate) fn remove_durably(path: &Path) -> io::Result<bool> {
    match fs::remove_file(path) {
        Ok(()) => path.parent().map_or(Ok(()), sync_folder).map(|()| true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

const CHECKSUM: &str = "checksum ";

/// Writes lines of text with their checksum behind them, by [`write_atomic`]. Every line ends with a line feed.
pub(crate) fn write_checked(path: &Path, text: &str) -> io::Result<()> {
    let crc = crc32fast::hash(text.as_bytes());
    write_atomic(path, format!("{text}{CHECKSUM}{crc:08x}\n").as_bytes())
}

/// Reads what [`write_checked`] wrote; `None` if there is no file.
///
/// # Errors
/// The disk refuses, or the text is not what was written ([`io::ErrorKind::InvalidData`]).
pub(crate) fn read_checked(path: &Path) -> io::Result<Option<String>> {
    let bytes = match fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let damaged = || io::Error::new(io::ErrorKind::InvalidData, format!("{} is damaged", path.display()));
    let mut text = String::from_utf8(bytes).map_err(|_| damaged())?;
    let body = text.rfind(CHECKSUM).ok_or_else(damaged)?;
    let (head, tail) = text.split_at(body);
    if *tail != *format!("{CHECKSUM}{:08x}\n", crc32fast::hash(head.as_bytes())) {
        return Err(damaged());
    }
    text.truncate(body);
    Ok(Some(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_read_as_it_was_written_or_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("facts");
        assert_eq!(read_checked(&path).unwrap(), None);
        for text in ["", "one 1\n", "one 1\ntwo 2\n"] {
            write_checked(&path, text).unwrap();
            assert_eq!(read_checked(&path).unwrap().as_deref(), Some(text));
            let bytes = fs::read(&path).unwrap();
            for at in 0..bytes.len() {
                let mut damaged = bytes.clone();
                damaged[at] ^= 1;
                fs::write(&path, &damaged).unwrap();
                assert_eq!(read_checked(&path).unwrap_err().kind(), io::ErrorKind::InvalidData, "{text:?}, byte {at}");
                fs::write(&path, &bytes[..at]).unwrap();
                assert!(read_checked(&path).is_err(), "{text:?}, cut at {at}");
            }
        }
        assert!(!path.with_added_extension("tmp").exists());
        assert!(remove_durably(&path).unwrap() && !remove_durably(&path).unwrap());
    }
}
