//! Where an archive is, as settings say it.

use std::fmt;
use std::str::FromStr;

/// A folder or a URL, which may hold a password: shown, it is `***`.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct ArchiveUrl(String);

impl ArchiveUrl {
    /// The text with all its secrets, for whoever connects.
    pub fn reveal(&self) -> &str {
        &self.0
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// What stands before `://`; a folder has none.
    pub fn scheme(&self) -> Option<&str> {
        parts(&self.0).map(|(scheme, _)| scheme)
    }
}

/// The text is neither a folder nor a URL. It may well be a URL with a slip in it, and so hold a password.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("neither a folder nor a URL")]
pub struct NotAnArchiveUrl;

impl From<&str> for ArchiveUrl {
    fn from(text: &str) -> Self {
        Self(text.to_owned())
    }
}

impl FromStr for ArchiveUrl {
    type Err = NotAnArchiveUrl;

    fn from_str(text: &str) -> Result<Self, NotAnArchiveUrl> {
        let is_fine = match parts(text) {
            Some(("file", folder)) => may_be_folder(folder),
            Some(_) => true,
            None => may_be_folder(text),
        };
        if is_fine { Ok(text.into()) } else { Err(NotAnArchiveUrl) }
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

/// Scheme and rest of a URL.
fn parts(text: &str) -> Option<(&str, &str)> {
    let is_scheme = |scheme: &str| {
        scheme.starts_with(|first: char| first.is_ascii_alphabetic())
            && scheme.chars().all(|char| char.is_ascii_alphanumeric() || "+-.".contains(char))
    };
    text.split_once("://").filter(|(scheme, _)| is_scheme(scheme))
}

/// Whether the text can be the path of a folder. One with a colon in its first part is a URL with a slash too few
/// (`./` before it makes it a folder), and what names a password is meant for a database.
fn may_be_folder(text: &str) -> bool {
    let has_scheme = text.split('/').next().is_some_and(|first| first.contains(':'));
    let has_login = text.rsplit_once('@').is_some_and(|(login, _)| login.contains(':'));
    let mut keys = text.match_indices('=').filter_map(|(at, _)| text.get(..at)).map(|before| {
        let before = before.trim_end();
        before.rsplit(|char: char| char.is_whitespace() || "?&;".contains(char)).next().unwrap_or(before)
    });
    !(has_scheme || has_login || keys.any(|key| !key.contains('/') && may_be_secret(key)))
}

/// Whether every port is a number. Where one is not, somebody has forgotten the host behind his password.
fn has_ports(place: &str) -> bool {
    let hosts = place.split('/').next().unwrap_or_default().split(',');
    hosts
        .map(|host| host.rsplit_once(']').map_or(host, |(_, port)| port))
        .all(|host| host.split_once(':').is_none_or(|(_, port)| port.chars().all(|char| char.is_ascii_digit())))
}

/// The text without what stands where passwords stand: between the user and the `@`, and behind `?` in what may be one.
/// What has no such places to look at is hidden as a whole.
fn masked(text: &str) -> String {
    let Some((scheme, rest)) = parts(text) else {
        return if may_be_folder(text) { text.to_owned() } else { "***".to_owned() };
    };
    // A password that was not percent-encoded may hold a slash or a question mark, so the last `@` counts.
    let (user, rest) = match rest.rsplit_once('@') {
        Some((user, rest)) => (Some(user), rest),
        None => (None, rest),
    };
    let user = user.map_or_else(String::new, |user| match user.split_once(':') {
        Some((name, _)) => format!("{name}:***@"),
        None => format!("{user}@"),
    });
    if !has_ports(rest.split('?').next().unwrap_or(rest)) {
        return format!("{scheme}://***");
    }
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
            ("postgresql://mira:hush@[::1]:5432,b:1/db", "postgresql://mira:***@[::1]:5432,b:1/db"),
            ("postgresql://mira:hush", "postgresql://***"),
            ("postgresql://mira:hush/db?sslmode=require", "postgresql://***"),
            ("s3://key:hush/bucket", "s3://***"),
            ("postgresql:/mira:hush@host/db", "***"),
            ("host=h password=hush", "***"),
            ("host=h password=hush options=a://b", "***"),
        ] {
            let url = ArchiveUrl::from(text);
            assert_eq!(url.to_string(), shown);
            assert_eq!(format!("{url:?}"), format!("{shown:?}"));
            assert_eq!(url.reveal(), text);
        }
    }

    #[test]
    fn a_url_with_a_slip_is_no_folder() {
        for text in ["", "games", "/srv/games", "./s3:games", "/srv/a:b", "/srv/key=1", "/srv/mira@home", "file:///srv"]
        {
            assert_eq!(text.parse(), Ok(ArchiveUrl::from(text)));
            assert_eq!(ArchiveUrl::from(text).to_string(), text);
        }
        for text in [
            "postgresql:/mira:hush@host/db",
            "postgres:hush",
            "s3:/hush/games",
            "mira:hush@host/db",
            "//mira:hush@host/db",
            "file://mira:hush@host/db",
            "/host/db?user=mira&password=hush",
            "host=h password=hush",
            "host=/run/pg PASSWORD = 'hush'",
            "sslpassword=hush",
        ] {
            assert_eq!(text.parse::<ArchiveUrl>(), Err(NotAnArchiveUrl), "{text}");
        }
    }
}
