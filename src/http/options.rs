use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use ipnet::IpNet;
use warp::http::uri::Authority;

options! {
    /// Where the server listens, whom it trusts, and what one connection may use.
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub struct Options {
        /// Address to listen on.
        pub host: IpAddr = IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        /// Port to listen on; 0 lets the system choose.
        pub port: u16 = 8000,
        /// The path under which a reverse proxy shows the server; empty at the root.
        pub base_path: BasePath = BasePath::default(),
        /// Another web client served instead of the page in the binary.
        pub static_dir: Option<PathBuf> = None,
        /// Origins, besides the page's own, whose pages may open sockets here.
        pub allowed_origins: Vec<Origin> = Vec::new(),
        /// Reverse proxies whose forwarded headers count.
        pub trusted_proxies: Vec<Network> = Vec::new(),
        /// The certificate with its chain, in PEM; together with `tls_key`. `None`: plain HTTP.
        pub tls_cert: Option<PathBuf> = None,
        /// The certificate's private key, in PEM.
        pub tls_key: Option<PathBuf> = None,
        /// How long a client may take for the headers of a request, and for the TLS handshake before them.
        pub header_timeout: Duration = Duration::from_secs(10),
        /// How many WebSockets may be open at once.
        pub max_sockets: usize = 20_000,
        /// How many WebSockets one address (IPv6: one /64) may hold.
        pub max_sockets_per_address: usize = 1_024,
        /// The longest frame a client may send, in bytes; a longer one closes the socket with 1009.
        pub max_frame_bytes: usize = 8 * 1024,
        /// How many frames may wait for a slow reader; beyond that its socket is closed with 1013.
        pub send_queue_frames: usize = 64,
        /// How often the server pings every socket.
        pub ping_interval: Duration = Duration::from_secs(20),
        /// How long a socket may be silent before it is closed; longer than the ping interval.
        pub peer_timeout: Duration = Duration::from_secs(45),
        /// The administrators' token. `None`: a random one is made and printed once at the start.
        pub admin_token: Option<Secret> = None,
    }
}

/// The path a reverse proxy puts in front of all routes: empty, or `/a/b` without a slash at the end.
#[derive(Debug, Clone, Default, PartialEq, Eq, derive_more::Display)]
pub struct BasePath(String);

impl BasePath {
    /// The path to put before a route that starts with a slash.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for BasePath {
    type Err = NotABasePath;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let path = text.trim_end_matches('/');
        let segment_is_plain = |segment: &str| {
            !segment.is_empty()
                && segment != "."
                && segment != ".."
                && segment.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte))
        };
        match path.strip_prefix('/') {
            None if path.is_empty() => Ok(Self::default()),
            Some(rest) if rest.split('/').all(segment_is_plain) => Ok(Self(path.to_owned())),
            _ => Err(NotABasePath),
        }
    }
}

/// The text is not a path like `/liap`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a path like /liap")]
pub struct NotABasePath;

/// Scheme, host and port of a page, as browsers send it in `Origin`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, derive_more::Display)]
pub struct Origin(String);

impl Origin {
    /// The origin in lower case, without a slash at the end.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Origin {
    type Err = NotAnOrigin;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let origin = text.trim_end_matches('/').to_ascii_lowercase();
        let authority =
            origin.strip_prefix("https://").or_else(|| origin.strip_prefix("http://")).ok_or(NotAnOrigin)?;
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-.:[]".contains(&byte);
        let is_plain = authority.bytes().all(plain);
        let authority: Authority = authority.parse().map_err(|_| NotAnOrigin)?;
        // A colon without a port is often a name and password whose `@` is missing.
        let has_good_port = authority.host() == authority.as_str() || authority.port_u16().is_some();
        if authority.host().is_empty() || !is_plain || !has_good_port {
            return Err(NotAnOrigin);
        }
        Ok(Self(origin))
    }
}

/// The text is not an origin like `https://play.example.org`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not an origin like https://play.example.org")]
pub struct NotAnOrigin;

/// A range of addresses, given as one address or as `10.0.0.0/8`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, derive_more::Display)]
pub struct Network(IpNet);

impl Network {
    /// Whether the address lies in the range. An IPv4 address wrapped in IPv6 counts as IPv4.
    pub fn contains(self, address: IpAddr) -> bool {
        self.0.contains(&address.to_canonical())
    }
}

impl FromStr for Network {
    type Err = NotANetwork;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.parse().or_else(|_| text.parse::<IpAddr>().map(IpNet::from)).map(Self).map_err(|_| NotANetwork)
    }
}

/// The text is neither an address nor a range of addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("neither an address nor a range like 10.0.0.0/8")]
pub struct NotANetwork;

/// A text that must not be shown: `Debug` prints `***`.
#[derive(derive_more::Debug, Clone, PartialEq, Eq)]
#[debug("***")]
pub struct Secret(String);

impl Secret {
    /// Wraps a secret.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The secret itself, for the one place that compares or sends it.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_base_path_is_plain_and_has_no_slash_at_the_end() {
        let base = |text: &str| text.parse().map(|BasePath(path)| path);
        assert_eq!(base(""), Ok(String::new()));
        assert_eq!(base("/"), Ok(String::new()));
        assert_eq!(base("/games/liap/"), Ok("/games/liap".to_owned()));
        for wrong in ["liap", "/a//b", "/../etc", "/a b", "/a?b", "/\"><script>"] {
            assert_eq!(base(wrong), Err(NotABasePath), "{wrong}");
        }
    }

    #[test]
    fn an_origin_has_a_scheme_and_a_host_and_nothing_else() {
        let origin = |text: &str| text.parse().map(|Origin(origin)| origin);
        assert_eq!(origin("HTTPS://Play.Example.org/"), Ok("https://play.example.org".to_owned()));
        for right in ["http://[::1]:8000", "http://127.0.0.1:5173", "https://a"] {
            assert_eq!(origin(right), Ok(right.to_owned()));
        }
        let wrong = ["*", "play.example.org", "https://", "https://a/b", "ftp://a", "null"];
        let wrong_ports = ["https://a:", "https://a:80443", "https://name:password", "https://:80"];
        for wrong in [&wrong[..], &wrong_ports].concat() {
            assert_eq!(origin(wrong), Err(NotAnOrigin), "{wrong}");
        }
    }

    #[test]
    fn a_network_knows_its_addresses_in_both_families() {
        let net: Network = "10.0.0.0/8".parse().unwrap();
        assert!(net.contains("10.1.2.3".parse().unwrap()));
        assert!(net.contains("::ffff:10.1.2.3".parse().unwrap()));
        assert!(!net.contains("11.0.0.1".parse().unwrap()));
        let one: Network = "::1".parse().unwrap();
        assert!(one.contains("::1".parse().unwrap()));
        assert!("10.0.0.0/33".parse::<Network>().is_err());
    }

    #[test]
    fn a_secret_does_not_print() {
        assert_eq!(format!("{:?}", Secret::new("open sesame")), "***");
    }
}
