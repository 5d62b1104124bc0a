use std::net::{IpAddr, SocketAddr};

use warp::http::HeaderMap;
use warp::http::header::HOST;

use super::headers::list;
use super::options::{Network, Origin};

/// The other end of a connection.
#[derive(Debug, Clone, Copy)]
pub(super) struct Peer {
    pub(super) address: IpAddr,
    /// Whether the connection is encrypted.
    pub(super) is_secure: bool,
}

/// The client of a request: the other end of the connection or, behind a trusted proxy, the client of that proxy.
#[derive(Debug, Clone)]
pub(super) struct Client {
    /// The client's own address.
    pub(super) address: IpAddr,
    /// Whether it came by https.
    pub(super) secure: bool,
    /// The hosts the request may be for: that of the request, and that forwarded by a trusted proxy.
    hosts: [Option<Box<str>>; 2],
}

impl Client {
    /// Reads the headers of a request from `peer`. Forwarded headers count only if the peer is trusted.
    pub(super) fn of(peer: Peer, headers: &HeaderMap, trusted: &[Network]) -> Self {
        let is_trusted = |address: IpAddr| trusted.iter().any(|network| network.contains(address));
        let Peer { address: peer, is_secure } = peer;
        let peer = peer.to_canonical();
        let host = headers.get(HOST).and_then(|host| host.to_str().ok()).map(Into::into);
        if !is_trusted(peer) {
            return Self { address: peer, secure: is_secure, hosts: [host, None] };
        }
        // Each proxy appends its client's address on the right. The first untrusted address from the right is the client;
        // everything left of it was written by the client.
        let mut address = peer;
        for hop in list(headers, "x-forwarded-for").rev() {
            let Some(hop) = parse_hop(hop) else { break };
            address = hop;
            if !is_trusted(hop) {
                break;
            }
        }
        Self {
            address,
            secure: last(headers, "x-forwarded-proto").map_or(is_secure, |scheme| scheme.eq_ignore_ascii_case("https")),
            hosts: [host, last(headers, "x-forwarded-host").map(Into::into)],
        }
    }

    /// Whether a page of this origin may open sockets here: a page of ours, or one of a listed origin.
    pub(super) fn may_come_from(&self, origin: &str, allowed: &[Origin]) -> bool {
        let origin = origin.to_ascii_lowercase();
        if allowed.iter().any(|allowed| allowed.as_str() == origin) {
            return true;
        }
        let (authority, default_port) = match (origin.strip_prefix("https://"), origin.strip_prefix("http://")) {
            (Some(authority), _) => (authority, ":443"),
            (_, Some(authority)) => (authority, ":80"),
            (None, None) => return false,
        };
        if self.secure && default_port != ":443" {
            // A page sent unencrypted may have been changed on the way, so it does not count as ours.
            return false;
        }
        let bare = |host: &str| host.strip_suffix(default_port).unwrap_or(host).to_ascii_lowercase();
        self.hosts.iter().flatten().any(|host| bare(host) == bare(authority))
    }
}

fn last<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    list(headers, name).next_back()
}

/// An address, as proxies write it: bare, with a port, or in brackets.
fn parse_hop(text: &str) -> Option<IpAddr> {
    let bare = text.trim_matches(|c| c == '[' || c == ']');
    let address = bare.parse().or_else(|_| text.parse::<SocketAddr>().map(|address| address.ip()));
    address.ok().map(|address: IpAddr| address.to_canonical())
}

#[cfg(test)]
mod tests {
    use super::*;
    use warp::http::{HeaderName, HeaderValue};

    fn client(peer: &str, headers: &[(&'static str, &'static str)]) -> Client {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(HeaderName::from_static(name), HeaderValue::from_static(value));
        }
        let peer = Peer { address: peer.parse().unwrap(), is_secure: false };
        Client::of(peer, &map, &["10.0.0.0/8".parse().unwrap(), "::1".parse().unwrap()])
    }

    fn address(peer: &str, forwarded: &'static str) -> String {
        client(peer, &[("x-forwarded-for", forwarded)]).address.to_string()
    }

    #[test]
    fn only_trusted_proxies_count() {
        assert_eq!(address("192.0.2.1", "198.51.100.7"), "192.0.2.1");
        assert_eq!(address("10.0.0.1", "198.51.100.7"), "198.51.100.7");
        assert_eq!(address("::1", "[2001:db8::7]:4711"), "2001:db8::7");
        assert_eq!(address("::ffff:10.0.0.1", "198.51.100.7:80"), "198.51.100.7");
    }

    #[test]
    fn addresses_written_by_the_client_do_not_count() {
        assert_eq!(address("10.0.0.1", "203.0.113.5, 198.51.100.7"), "198.51.100.7");
        assert_eq!(address("10.0.0.1", "203.0.113.5, 198.51.100.7, 10.9.9.9"), "198.51.100.7");
        assert_eq!(address("10.0.0.1", "203.0.113.5, nonsense"), "10.0.0.1");
        assert_eq!(address("10.0.0.1", "10.1.1.1"), "10.1.1.1", "the farthest trusted one");
        assert_eq!(address("10.0.0.1", ""), "10.0.0.1");
        let lines = client("10.0.0.1", &[("x-forwarded-for", "203.0.113.5"), ("x-forwarded-for", "198.51.100.7")]);
        assert_eq!(lines.address.to_string(), "198.51.100.7");
    }

    #[test]
    fn only_a_trusted_proxy_can_say_https() {
        assert!(client("10.0.0.1", &[("x-forwarded-proto", "https")]).secure);
        assert!(!client("10.0.0.1", &[("x-forwarded-proto", "http")]).secure);
        assert!(!client("192.0.2.1", &[("x-forwarded-proto", "https")]).secure);

        let encrypted = |headers: &HeaderMap| {
            let peer = Peer { address: [10, 0, 0, 1].into(), is_secure: true };
            Client::of(peer, headers, &["10.0.0.1".parse().unwrap()])
        };
        assert!(encrypted(&HeaderMap::new()).secure, "by the connection itself");
        let forwarded =
            HeaderMap::from_iter([(HeaderName::from_static("x-forwarded-proto"), HeaderValue::from_static("http"))]);
        assert!(!encrypted(&forwarded).secure, "the client's own connection was not");
    }

    #[test]
    fn a_page_that_came_unencrypted_is_not_ours_behind_https() {
        let here = [("host", "liap.example"), ("x-forwarded-proto", "https")];
        assert!(client("10.0.0.1", &here).may_come_from("https://liap.example", &[]));
        assert!(!client("10.0.0.1", &here).may_come_from("http://liap.example", &[]));
    }

    #[test]
    fn pages_of_the_same_host_and_listed_ones_may_come() {
        let allowed = ["https://play.example.org".parse().unwrap()];
        let may = |peer: &str, headers: &[_], origin: &str| client(peer, headers).may_come_from(origin, &allowed);
        let here = [("host", "liap.example:8000")];
        assert!(may("192.0.2.1", &here, "http://liap.example:8000"));
        assert!(may("192.0.2.1", &here, "https://Liap.example:8000"), "behind a proxy that is not listed");
        assert!(may("192.0.2.1", &here, "https://play.example.org"));
        assert!(may("192.0.2.1", &[("host", "liap.example:443")], "https://liap.example"));
        for foreign in
            ["http://liap.example", "http://liap.example:8001", "http://evil.example", "null", "", "liap.example:8000"]
        {
            assert!(!may("192.0.2.1", &here, foreign), "{foreign}");
        }
        let forwarded = [("host", "127.0.0.1:8000"), ("x-forwarded-host", "liap.example")];
        assert!(may("10.0.0.1", &forwarded, "https://liap.example"));
        assert!(!may("192.0.2.1", &forwarded, "https://liap.example"), "not from a trusted proxy");
        assert!(!may("192.0.2.1", &[], "http://liap.example"), "no host at all");
    }
}
