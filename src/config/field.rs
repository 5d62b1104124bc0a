//! Turns the text of one setting into a value, and a value into text.

use std::fmt::Display;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use crate::archive::sink::ArchiveUrl;
use crate::http::Secret;

/// One setting in the options, with the values that it accepts.
pub(super) enum Field<'a> {
    /// `true` or `false`.
    Flag(&'a mut bool),
    /// A whole number between two bounds, both allowed.
    Whole(&'a mut dyn Word, u64, u64),
    /// A number between two bounds, both allowed.
    Number(&'a mut f64, f64, f64),
    /// A time in whole units between two bounds, both allowed.
    Time(&'a mut Duration, Unit, u64, u64),
    /// A time in whole units up to a bound; 0 means none.
    TimeOrNone(&'a mut Option<Duration>, Unit, u64),
    /// What its type accepts; the text describes that.
    Word(&'a mut dyn Word, &'static str),
    /// Any number of words, separated by commas.
    List(&'a mut dyn List, &'static str),
    /// A path that must be given.
    Path(&'a mut PathBuf),
    /// A path, or nothing.
    PathOrNone(&'a mut Option<PathBuf>, &'static str),
    /// A URL, never a folder; shown without its password.
    Url(&'a mut ArchiveUrl, &'static str),
    /// What its type accepts, never shown.
    SecretWord(&'a mut dyn Word, &'static str),
    /// A text that is never shown.
    Secret(&'a mut Option<Secret>),
}

/// The unit of a time: its length in milliseconds.
#[derive(Debug, Clone, Copy, strum::IntoStaticStr)]
#[strum(serialize_all = "lowercase")]
pub(super) enum Unit {
    Minutes = 60_000,
    Seconds = 1_000,
    Milliseconds = 1,
}

impl Unit {
    fn duration(self, count: u64) -> Duration {
        Duration::from_millis(count.saturating_mul(self as u64))
    }

    fn count(self, duration: Duration) -> String {
        (duration.as_millis() / self as u128).to_string()
    }
}

/// The shortest secret, in bytes.
const SECRET_BYTES_MIN: usize = 12;

/// The field does not accept the text; [`Field::allowed`] describes what it accepts.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Refused;

impl Field<'_> {
    /// Parses the text into the field. A refused text leaves the field as it is.
    pub(super) fn put(self, text: &str) -> Result<(), Refused> {
        let text = text.trim();
        match self {
            Self::Flag(field) => *field = flag(text)?,
            Self::Whole(field, from, to) => field.put(&whole(text, from, to)?.to_string())?,
            Self::Number(field, from, to) => {
                let number: f64 = text.parse().map_err(|_| Refused)?;
                if !(number.is_finite() && (from..=to).contains(&number)) {
                    return Err(Refused);
                }
                *field = number;
            }
            Self::Time(field, unit, from, to) => *field = unit.duration(whole(text, from, to)?),
            Self::TimeOrNone(field, unit, to) => {
                let count = whole(text, 0, to)?;
                *field = (count > 0).then(|| unit.duration(count));
            }
            Self::Word(field, _) | Self::SecretWord(field, _) => field.put(text)?,
            Self::Url(field, _) => {
                let url: ArchiveUrl = text.parse().map_err(|_| Refused)?;
                if !url.is_empty() && url.scheme().is_none() {
                    return Err(Refused);
                }
                *field = url;
            }
            Self::List(field, _) => field.put(text)?,
            Self::Path(_) if text.is_empty() => return Err(Refused),
            Self::Path(field) => *field = PathBuf::from(text),
            Self::PathOrNone(field, _) => *field = (!text.is_empty()).then(|| PathBuf::from(text)),
            Self::Secret(field) if text.is_empty() => *field = None,
            Self::Secret(field) if text.len() >= SECRET_BYTES_MIN && fits_a_header(text) => {
                *field = Some(Secret::new(text));
            }
            Self::Secret(_) => return Err(Refused),
        }
        Ok(())
    }

    /// The value as text that [`Field::put`] accepts, or `***` where it is secret.
    pub(super) fn text(&self) -> String {
        let path = |path: &PathBuf| path.to_string_lossy().into_owned();
        match self {
            Self::Flag(field) => field.to_string(),
            Self::Number(field, ..) => format!("{field:?}"),
            Self::Time(field, unit, ..) => unit.count(**field),
            Self::TimeOrNone(field, unit, _) => unit.count(field.unwrap_or_default()),
            Self::Word(field, _) | Self::Whole(field, ..) => field.text(),
            Self::Url(field, _) => field.to_string(),
            Self::List(field, _) => field.text(),
            Self::Path(field) => path(field),
            Self::PathOrNone(field, _) => field.as_ref().map(path).unwrap_or_default(),
            Self::SecretWord(field, _) if field.text().is_empty() => String::new(),
            Self::SecretWord(..) => "***".to_owned(),
            Self::Secret(field) => field.as_ref().map(|_| "***".to_owned()).unwrap_or_default(),
        }
    }

    /// What the field accepts, in words.
    pub(super) fn allowed(&self) -> String {
        let bounds = |from: &u64, to: &u64| match *to {
            u64::MAX => format!("from {from} up"),
            to => format!("from {from} to {to}"),
        };
        match self {
            Self::Flag(_) => "true or false".to_owned(),
            Self::Whole(_, from, to) => format!("a whole number {}", bounds(from, to)),
            Self::Number(_, from, to) => format!("a number from {from} to {to}"),
            Self::Time(_, unit, from, to) => format!("whole {} {}", <&str>::from(unit), bounds(from, to)),
            Self::TimeOrNone(_, unit, to) => {
                format!("whole {} {}; 0 for none", <&str>::from(unit), bounds(&0, to))
            }
            Self::Word(_, allowed)
            | Self::Url(_, allowed)
            | Self::SecretWord(_, allowed)
            | Self::List(_, allowed)
            | Self::PathOrNone(_, allowed) => (*allowed).to_owned(),
            Self::Path(_) => "a path".to_owned(),
            Self::Secret(_) => format!("at least {SECRET_BYTES_MIN} printable ASCII characters, or empty"),
        }
    }

    /// Whether a file of settings writes the value bare, without quotes.
    pub(super) fn is_bare(&self) -> bool {
        matches!(self, Self::Flag(_) | Self::Whole(..) | Self::Number(..) | Self::Time(..) | Self::TimeOrNone(..))
    }

    /// Whether a file of settings writes the value as an array.
    pub(super) fn is_list(&self) -> bool {
        matches!(self, Self::List(..))
    }
}

/// Whether the text can be sent in an HTTP header; no client could send any other token.
fn fits_a_header(text: &str) -> bool {
    text.bytes().all(|byte| matches!(byte, b' '..=b'~' | b'\t'))
}

fn flag(text: &str) -> Result<bool, Refused> {
    match text.to_ascii_lowercase().as_str() {
        "true" | "1" | "yes" | "on" => Ok(true),
        "false" | "0" | "no" | "off" => Ok(false),
        _ => Err(Refused),
    }
}

fn whole(text: &str, from: u64, to: u64) -> Result<u64, Refused> {
    text.parse().ok().filter(|number| (from..=to).contains(number)).ok_or(Refused)
}

/// A value that its type parses and shows.
pub(super) trait Word {
    fn text(&self) -> String;
    fn put(&mut self, text: &str) -> Result<(), Refused>;
}

impl<T: FromStr + Display> Word for T {
    fn text(&self) -> String {
        self.to_string()
    }

    fn put(&mut self, text: &str) -> Result<(), Refused> {
        *self = text.parse().map_err(|_| Refused)?;
        Ok(())
    }
}

/// Several such values.
pub(super) trait List {
    fn text(&self) -> String;
    fn put(&mut self, text: &str) -> Result<(), Refused>;
}

impl<T: FromStr + Display> List for Vec<T> {
    fn text(&self) -> String {
        let words: Vec<String> = self.iter().map(ToString::to_string).collect();
        words.join(",")
    }

    fn put(&mut self, text: &str) -> Result<(), Refused> {
        *self = text
            .split(',')
            .map(str::trim)
            .filter(|word| !word.is_empty())
            .map(|word| word.parse().map_err(|_| Refused))
            .collect::<Result<_, _>>()?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_are_allowed_and_beyond_is_not() {
        let mut port = 8000_u16;
        for (text, fits) in [("1", true), ("65535", true), ("0", false), ("65536", false)] {
            let put = Field::Whole(&mut port, 1, 65_535).put(text);
            assert_eq!(put.is_ok(), fits, "{text}");
        }
        assert_eq!(port, 65_535, "a refused text leaves the field alone");
    }

    #[test]
    fn a_pace_is_finite() {
        let mut pace = 1.0;
        for text in ["NaN", "inf", "-0.1", "", "1,5"] {
            let put = Field::Number(&mut pace, 0.0, 1_000.0).put(text);
            assert_eq!(put, Err(Refused), "{text}");
        }
        assert_eq!(Field::Number(&mut pace, 0.0, 1_000.0).put(" 0.1 "), Ok(()));
        assert_eq!(pace, 0.1);
    }

    #[test]
    fn no_time_is_none() {
        let mut timeout = Some(Duration::from_secs(5));
        assert_eq!(Field::TimeOrNone(&mut timeout, Unit::Seconds, 60).put("0"), Ok(()));
        assert_eq!(timeout, None);
        assert_eq!(Field::TimeOrNone(&mut timeout, Unit::Seconds, 60).text(), "0");
    }

    #[test]
    fn a_secret_can_be_shown_in_a_header() {
        let mut secret = None;
        for text in ["pässwörd-1234", "öööööö", "open-sesame\n1", "open-sesame\u{7f}", "open-sesame"] {
            assert_eq!(Field::Secret(&mut secret).put(text), Err(Refused), "{text:?}");
        }
        for text in ["open-sesame1", "open sesame 1", "open\tsesame!1", "!\"#$%&'()*+~"] {
            assert_eq!(Field::Secret(&mut secret).put(text), Ok(()), "{text:?}");
            let header: warp::http::HeaderValue = format!("Bearer {text}").parse().unwrap();
            assert!(header.to_str().is_ok(), "{text:?}");
        }
    }

    #[test]
    fn lists_drop_blanks_between_commas() {
        let mut numbers: Vec<u8> = Vec::new();
        assert_eq!(Field::List(&mut numbers, "numbers").put(" 1, 2,,3 "), Ok(()));
        assert_eq!(numbers, [1, 2, 3]);
        assert_eq!(Field::List(&mut numbers, "numbers").put("1, x"), Err(Refused));
        assert_eq!(numbers, [1, 2, 3]);
    }
}
