//! Which server made a copy.
//!
//! Several servers may copy to one place. So each archive has a random number of its own, and every copy carries the number of
//! the archive that made it. A server removes old copies only where it finds its own number.
//!
//! The number lies in a small file in the archive's folder and is kept for ever. It is no part of a backup: an archive that is
//! begun with the games of another one is another installation.

use std::fmt;
use std::io;
use std::path::Path;
use std::str::FromStr;

use crate::disk::{sync_folder, write_atomic};

/// The file's name inside the store.
pub(in crate::archive) const NAME: &str = "installation";

/// The number of an installation. Its text form has 32 hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Installation([u8; 16]);

/// The text is not the number of an installation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("an installation has 32 hexadecimal digits")]
pub struct NotAnInstallation;

impl Installation {
    /// The installation with these bytes.
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// Reads the number of the archive in this folder, without changing anything. A file that cannot be read as a number
    /// counts as none.
    ///
    /// # Errors
    /// The disk refuses.
    fn look(store: &Path) -> io::Result<Option<Self>> {
        match std::fs::read(store.join(NAME)) {
            Ok(bytes) => Ok(String::from_utf8_lossy(&bytes).trim().parse().ok()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Reads the number of the archive in this folder, or makes one, and says whether it was made now. Of several processes
    /// that ask at once, all get the same.
    ///
    /// # Errors
    /// The disk refuses.
    pub(crate) fn open(store: &Path) -> io::Result<(Self, Origin)> {
        if let Some(found) = Self::look(store)? {
            return Ok((found, Origin::Found));
        }
        let path = store.join(NAME);
        let is_damaged = path.exists();
        if is_damaged {
            log::warn!(
                "{} cannot be read as the number of an installation and is made anew; copies made so far stay until \
                 `liap archive sync --adopt=NUMBER` with the number that they carry takes them over",
                path.display()
            );
        }
        let mut bytes = [0; 16];
        getrandom::fill(&mut bytes).map_err(|error| io::Error::other(error.to_string()))?;
        let made = Self(bytes);
        let draft = store.join(format!("{NAME}-{made}"));
        write_atomic(&draft, format!("{made}\n").as_bytes())?;
        // A link, unlike a renamed file, takes the place of no other. Not every file system has links.
        let placed = match std::fs::hard_link(&draft, &path) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists && !is_damaged => Ok(()),
            Err(_) => std::fs::rename(&draft, &path),
            Ok(()) => Ok(()),
        };
        // A draft that was renamed is gone already.
        std::fs::remove_file(&draft).ok();
        placed?;
        sync_folder(store)?;
        let found = Self::look(store)?.ok_or_else(|| io::Error::other("the number of the installation is gone"))?;
        Ok((found, if found == made { Origin::Made } else { Origin::Found }))
    }
}

/// Where the number of an installation came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Origin {
    /// It was there.
    Found,
    /// It was made just now: whatever this archive has copied before carries no number.
    Made,
}

impl FromStr for Installation {
    type Err = NotAnInstallation;

    fn from_str(text: &str) -> Result<Self, NotAnInstallation> {
        let mut bytes = [0; 16];
        hex::decode_to_slice(text, &mut bytes).map(|()| Self(bytes)).map_err(|_| NotAnInstallation)
    }
}

impl fmt::Display for Installation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&hex::encode(self.0))
    }
}

impl fmt::Debug for Installation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Installation({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_archive_keeps_its_number_and_no_two_have_the_same() {
        let [one, two] = [(); 2].map(|()| tempfile::tempdir().unwrap());
        assert_eq!(Installation::look(one.path()).unwrap(), None);
        let (first, origin) = Installation::open(one.path()).unwrap();
        assert_eq!(origin, Origin::Made);
        assert_eq!(Installation::open(one.path()).unwrap(), (first, Origin::Found));
        assert_eq!(Installation::look(one.path()).unwrap(), Some(first));
        assert_ne!(Installation::open(two.path()).unwrap().0, first);
        assert_eq!(first.to_string().parse(), Ok(first));
    }

    #[test]
    fn all_who_ask_at_once_get_the_same_number() {
        let folder = tempfile::tempdir().unwrap();
        let open = || Installation::open(folder.path()).unwrap().0;
        let numbers = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..8).map(|_| scope.spawn(open)).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect::<Vec<_>>()
        });
        assert!(numbers.iter().all(|number| *number == numbers[0]), "{numbers:?}");
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1, "no draft is left");
    }

    #[test]
    fn a_damaged_number_is_never_taken_for_another_one() {
        let folder = tempfile::tempdir().unwrap();
        let (first, _) = Installation::open(folder.path()).unwrap();
        for text in ["", "0123", &format!("{first}0"), &"g".repeat(32), "\0\0\0\0"] {
            std::fs::write(folder.path().join(NAME), text).unwrap();
            assert_eq!(Installation::look(folder.path()).unwrap(), None, "{text:?}");
            let (again, origin) = Installation::open(folder.path()).unwrap();
            assert_eq!(origin, Origin::Made);
            assert_ne!(again, first);
        }
    }
}
