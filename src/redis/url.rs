use std::fmt;
use std::str::FromStr;

use percent_encoding::percent_decode_str;

/// The address of Redis, or nothing:
///
/// - `redis://[user:password@]host[:port][/database]`
/// - `rediss://…`: the same with TLS
/// - `redis+sentinel://[user:password@]host[:port],…/master-name[/database]`, the hosts being Sentinels;
///   `rediss+sentinel://…` with TLS to all of them
///
/// Shows no password.
#[derive(derive_more::Debug, Clone, Default, PartialEq, Eq)]
#[debug("{:?}", self.to_string())]
pub struct Url(pub(super) Option<Address>);

/// The parts of an address.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Address {
    pub(super) has_tls: bool,
    pub(super) user: Option<String>,
    pub(super) password: Option<String>,
    /// Redis itself, or the Sentinels.
    pub(super) hosts: Vec<(String, u16)>,
    /// The name by which Sentinels know the server.
    pub(super) master: Option<String>,
    pub(super) database: u16,
}

/// The text is not an address of Redis.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not an address of Redis")]
pub struct NotARedisUrl;

const PORT: u16 = 6_379;
const SENTINEL_PORT: u16 = 26_379;
/// More Sentinels than any installation has; each is asked in turn.
const MOST_HOSTS: usize = 16;

impl Url {
    /// Whether there is an address at all.
    #[must_use]
    pub const fn is_set(&self) -> bool {
        self.0.is_some()
    }

    /// Whether connections are encrypted.
    #[must_use]
    pub fn has_tls(&self) -> bool {
        self.0.as_ref().is_some_and(|address| address.has_tls)
    }

    /// The number of the database.
    #[must_use]
    pub fn database(&self) -> u16 {
        self.0.as_ref().map_or(0, |address| address.database)
    }
}

impl FromStr for Url {
    type Err = NotARedisUrl;

    fn from_str(text: &str) -> Result<Self, NotARedisUrl> {
        if text.is_empty() {
            return Ok(Self(None));
        }
        let (scheme, rest) = text.split_once("://").ok_or(NotARedisUrl)?;
        let (has_tls, has_sentinels) = match scheme.to_ascii_lowercase().as_str() {
            "redis" => (false, false),
            "rediss" => (true, false),
            "redis+sentinel" => (false, true),
            "rediss+sentinel" => (true, true),
            _ => return Err(NotARedisUrl),
        };
        if rest.contains(['?', '#']) {
            return Err(NotARedisUrl);
        }
        // A password may hold an @ that is not escaped; a host never does.
        let (login, rest) = rest.rsplit_once('@').map_or((None, rest), |(login, rest)| (Some(login), rest));
        let (user, password) = login.map_or(Ok((None, None)), credentials)?;
        let mut path = rest.split('/');
        let hosts = path.next().unwrap_or_default();
        let port = if has_sentinels { SENTINEL_PORT } else { PORT };
        let hosts = hosts.split(',').map(|text| host(text, port)).collect::<Result<Vec<_>, _>>()?;
        if hosts.len() > MOST_HOSTS || (!has_sentinels && hosts.len() > 1) {
            return Err(NotARedisUrl);
        }
        let master = has_sentinels.then(|| path.next().filter(|name| !name.is_empty()).ok_or(NotARedisUrl));
        let master = master.transpose()?.map(decoded).transpose()?;
        let database = match path.next().unwrap_or_default() {
            "" => 0,
            number => number.parse().map_err(|_| NotARedisUrl)?,
        };
        if path.next().is_some() {
            return Err(NotARedisUrl);
        }
        Ok(Self(Some(Address { has_tls, user, password, hosts, master, database })))
    }
}

/// User and password, each of which may be missing: `user:password`, `:password`, `user`.
fn credentials(text: &str) -> Result<(Option<String>, Option<String>), NotARedisUrl> {
    let (user, password) = text.split_once(':').unwrap_or((text, ""));
    let part = |part: &str| (!part.is_empty()).then(|| decoded(part)).transpose();
    Ok((part(user)?, part(password)?))
}

fn decoded(text: &str) -> Result<String, NotARedisUrl> {
    percent_decode_str(text).decode_utf8().map(String::from).map_err(|_| NotARedisUrl)
}

fn host(text: &str, port: u16) -> Result<(String, u16), NotARedisUrl> {
    // An IPv6 address stands in brackets, because it is full of colons itself.
    let (name, rest) = match text.strip_prefix('[') {
        Some(v6) => v6.split_once(']').ok_or(NotARedisUrl)?,
        None => text.split_at(text.find(':').unwrap_or(text.len())),
    };
    let port = match rest.strip_prefix(':') {
        Some(port) => port.parse().ok().filter(|port| *port > 0).ok_or(NotARedisUrl)?,
        None if rest.is_empty() => port,
        None => return Err(NotARedisUrl),
    };
    let is_host = |char: char| char.is_ascii_alphanumeric() || matches!(char, '.' | '-' | '_' | ':' | '%');
    if name.is_empty() || !name.chars().all(is_host) {
        return Err(NotARedisUrl);
    }
    Ok((name.to_owned(), port))
}

impl fmt::Display for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(address) = &self.0 else { return Ok(()) };
        f.write_str(if address.has_tls { "rediss" } else { "redis" })?;
        f.write_str(if address.master.is_some() { "+sentinel://" } else { "://" })?;
        if address.user.is_some() || address.password.is_some() {
            f.write_str("***@")?;
        }
        for (number, (host, port)) in address.hosts.iter().enumerate() {
            f.write_str(if number > 0 { "," } else { "" })?;
            if host.contains(':') { write!(f, "[{host}]:{port}")? } else { write!(f, "{host}:{port}")? }
        }
        if let Some(master) = &address.master {
            write!(f, "/{master}")?;
        }
        write!(f, "/{}", address.database)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str) -> Result<String, NotARedisUrl> {
        text.parse::<Url>().map(|url| url.to_string())
    }

    #[test]
    fn addresses_are_read_whole_and_shown_without_secrets() {
        for (text, expected) in [
            ("", ""),
            ("redis://localhost", "redis://localhost:6379/0"),
            ("redis://:hush@cache:7000/3", "redis://***@cache:7000/3"),
            ("rediss://liap:hu@sh@[::1]:6380", "rediss://***@[::1]:6380/0"),
            ("redis+sentinel://:hush@a:1,b,c:3/main/2", "redis+sentinel://***@a:1,b:26379,c:3/main/2"),
            ("REDISS+SENTINEL://a/main", "rediss+sentinel://a:26379/main/0"),
        ] {
            assert_eq!(shown(text).as_deref(), Ok(expected), "{text}");
            assert!(!format!("{:?}", text.parse::<Url>().unwrap()).contains("hu"), "{text}");
        }
        let Url(Some(address)) = "redis://us%65r:p%40s%3As@h".parse().unwrap() else { panic!("an address") };
        assert_eq!((address.user.as_deref(), address.password.as_deref()), (Some("user"), Some("p@s:s")));
    }

    #[test]
    fn anything_else_is_refused() {
        for text in [
            "localhost",
            "http://localhost",
            "redis://",
            "redis://a,b",
            "redis://a:0",
            "redis://a:x",
            "redis://a/x",
            "redis://a/0/1",
            "redis://a?db=1",
            "redis://a b",
            "redis://[::1",
            "redis+sentinel://a",
            "redis+sentinel://a//0",
            "redis://a/99999",
        ] {
            assert_eq!(shown(text), Err(NotARedisUrl), "{text}");
        }
    }
}
