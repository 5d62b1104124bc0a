use std::str::FromStr;

/// How this server is known to the others.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Options {
    /// Its own public address; empty behind one public name for all.
    pub url: PublicUrl,
}

/// An address like `https://one.example.org/liap`, or nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq, derive_more::Display)]
pub struct PublicUrl(String);

/// The text is no public address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("no public address")]
pub struct NotAPublicUrl;

/// More than any address needs.
const MOST_CHARS: usize = 200;

impl PublicUrl {
    /// Whether there is none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl FromStr for PublicUrl {
    type Err = NotAPublicUrl;

    fn from_str(text: &str) -> Result<Self, NotAPublicUrl> {
        let text = text.trim_end_matches('/');
        if text.is_empty() {
            return Ok(Self::default());
        }
        let rest = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://")).ok_or(NotAPublicUrl)?;
        let is_plain = |char: char| char.is_ascii_alphanumeric() || "-._~:/[]%".contains(char);
        let host = rest.split('/').next().unwrap_or_default();
        // The colons of an IPv6 address stand in brackets.
        let port = host.rsplit_once(']').map_or(host, |(_, port)| port).split_once(':').map(|(_, port)| port);
        // `name:password` without its `@` must not go out to other servers.
        let has_port = port.is_none_or(|port| port.parse::<u16>().is_ok());
        if host.is_empty() || !has_port || text.len() > MOST_CHARS || !rest.chars().all(is_plain) {
            return Err(NotAPublicUrl);
        }
        Ok(Self(text.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_public_address_is_one_a_browser_can_be_sent_to() {
        let shown = |text: &str| text.parse::<PublicUrl>().map(|url| url.to_string());
        for (text, expected) in [
            ("", ""),
            ("https://a.example/", "https://a.example"),
            ("http://[::1]:8000/liap", "http://[::1]:8000/liap"),
        ] {
            assert_eq!(shown(text).as_deref(), Ok(expected));
        }
        for text in [
            "a.example",
            "ftp://a",
            "https://",
            "https:///x",
            "https://a b",
            "https://a\r\nSet-Cookie: x",
            "javascript:1",
            "https://mira:hush@a.example",
            "https://mira:hush",
            "https://a:80:80",
        ] {
            assert_eq!(shown(text), Err(NotAPublicUrl), "{text:?}");
        }
    }
}
