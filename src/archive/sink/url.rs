//! Where an archive is, as settings say it.

use std::convert::Infallible;
use std::fmt;
use std::str::FromStr;

/// A folder or a URL, which may hold a password: shown, it is `***`.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct ArchiveUrl(String);

impl ArchiveUrl {
    /// The text with all its secrets, for whoever connects.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// What stands before `://`; a folder has none.
    #[must_use]
    pub fn scheme(&self) -> Option<&str> {
        self.0.split_once("://").map(|(scheme, _)| scheme)
    }
}

impl From<&str> for ArchiveUrl {
    fn from(text: &str) -> Self {
        Self(text.to_owned())
    }
}

impl FromStr for ArchiveUrl {
    type Err = Infallible;

    fn from_str(text: &str) -> Result<Self, Infallible> {
        Ok(text.into())
    }
}

impl fmt::Display for ArchiveUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&masked(&self.0))
    }
}

impl fmt::Debug for ArchiveUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", masked(&self.0))
    }
}

/// The text without what stands where passwords stand: between the user and the `@`, and behind `?` in what may be one.
fn masked(text: &str) -> String {
    let Some((scheme, rest)) = text.split_once("://") else { return text.to_owned() };
    // A password that was not percent-encoded may hold a slash or a question mark, so the last `@` counts.
    let (user, rest) = match rest.rsplit_once('@') {
        Some((user, rest)) => (Some(user), rest),
        None => (None, rest),
    };
    let user = user.map_or_else(String::new, |user| match user.split_once(':') {
        Some((name, _)) => format!("{name}:***@"),
        None => format!("{user}@"),
    });
    let Some((place, query)) = rest.split_once('?') else { return format!("{scheme}://{user}{rest}") };
    let query: Vec<String> = query
        .split('&')
        .map(|pair| match pair.split_once('=') {
            Some((key, _)) if may_be_secret(key) => format!("{key}=***"),
            _ => pair.to_owned(),
        })
        .collect();
    format!("{scheme}://{user}{place}?{}", query.join("&"))
}

fn may_be_secret(key: &str) -> bool {
    let key = key.to_ascii_lowercase();
    ["pass", "secret", "token", "key"].iter().any(|word| key.contains(word))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_password_is_shown() {
        for (text, shown) in [
            ("", ""),
            ("/srv/games", "/srv/games"),
            ("file:///srv/games", "file:///srv/games"),
            ("s3://liap-archives/games/", "s3://liap-archives/games/"),
            ("postgresql://mira@host/db", "postgresql://mira@host/db"),
            (
                "postgresql://mira:hush@host:5432/db?sslmode=require",
                "postgresql://mira:***@host:5432/db?sslmode=require",
            ),
            ("postgresql://mira:h/u?s@h@host/db", "postgresql://mira:***@host/db"),
            ("postgresql://host/db?user=mira&password=hush", "postgresql://host/db?user=mira&password=***"),
        ] {
            let url = ArchiveUrl::from(text);
            assert_eq!(url.to_string(), shown);
            assert_eq!(format!("{url:?}"), format!("{shown:?}"));
            assert_eq!(url.reveal(), text);
        }
    }
}
