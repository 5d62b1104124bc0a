use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// The number for the form of everything below `DATA_DIR`. A version that changes the form raises it and writes the file
/// `form`: the number, and in the lines after it how to go back. A folder without the file has form 1.
pub const DATA_FORM: u32 = 1;
const NAME: &str = "form";
/// How much of the file is read and shown.
const SHOWN_CHARACTERS: usize = 1_000;

/// A later version has changed the form of `DATA_DIR`.
#[derive(Debug, thiserror::Error)]
#[error(
    "{path} says that a later version of Liap has changed the data to form {form}; this version knows form {DATA_FORM} and leaves \
     them alone. Start the later version again, or go back. {way_back}"
)]
pub struct LaterData {
    path: PathBuf,
    form: String,
    way_back: String,
}

/// Checks that the data are of a form that this version knows. Changes nothing.
///
/// # Errors
/// [`LaterData`] if a later version has changed them, or nobody can tell.
pub fn check_data_form(data_dir: &Path) -> Result<(), LaterData> {
    let path = data_dir.join(NAME);
    let bytes = match fs::read(&path) {
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => return Ok(()),
        read => read.unwrap_or_default(),
    };
    let text: String = String::from_utf8_lossy(&bytes).chars().take(SHOWN_CHARACTERS).collect();
    let (form, way_back) = text.split_once('\n').unwrap_or((&text, ""));
    if form.parse().is_ok_and(|form: u32| form <= DATA_FORM) {
        return Ok(());
    }
    let way_back = match way_back.trim() {
        "" => "Restore a backup from before the upgrade into an empty DATA_DIR.".to_owned(),
        note => note.escape_debug().to_string(),
    };
    Err(LaterData { path, form: form.escape_debug().to_string(), way_back })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_data_of_a_known_form_are_taken() {
        let folder = tempfile::tempdir().unwrap();
        let check = |text: &[u8]| {
            fs::write(folder.path().join(NAME), text).unwrap();
            check_data_form(folder.path()).map_err(|error| error.to_string())
        };
        assert!(check_data_form(folder.path()).is_ok(), "no file: form 1");
        assert!(check(b"1\n").is_ok() && check(b"1").is_ok());
        let told = check(b"2\nMove archive.form-1 to archive.\n").unwrap_err();
        assert!(told.contains("form 2") && told.ends_with("Move archive.form-1 to archive."), "{told}");
        for text in [&b""[..], b"two", b"\xFF\xFE", b"\x1b[2J\nback"] {
            let told = check(text).unwrap_err();
            assert!(!told.contains('\u{1b}'), "{told}");
        }
    }
}
