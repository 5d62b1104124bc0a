use std::fs;
use std::io::{Read as _, Write as _};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Command, Output};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rcgen::{CertificateParams, CertifiedKey, KeyPair, date_time_ymd};
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::ServerName;
use tokio_rustls::rustls::version::{TLS12, TLS13};
use tokio_rustls::rustls::{
    ALL_VERSIONS, ClientConfig, HandshakeKind, ProtocolVersion, RootCertStore, SupportedProtocolVersion,
};

use crate::process::{Answer, SOON, Server, Socket, scrape};

/// A folder with a certificate for `localhost` and its key.
pub(crate) struct Files {
    folder: tempfile::TempDir,
}

impl Files {
    pub(crate) fn new(certified: &CertifiedKey<KeyPair>) -> Self {
        let files = Self { folder: tempfile::tempdir().unwrap() };
        files.write(&certified.cert.pem(), &certified.signing_key.serialize_pem());
        files
    }

    fn write(&self, certificate: &str, key: &str) {
        fs::write(self.certificate(), certificate).unwrap();
        fs::write(self.key(), key).unwrap();
    }

    fn certificate(&self) -> PathBuf {
        self.folder.path().join("cert.pem")
    }

    fn key(&self) -> PathBuf {
        self.folder.path().join("key.pem")
    }

    pub(crate) fn serve(&self, settings: &[(&str, &str)]) -> Server {
        let (certificate, key) = (self.certificate(), self.key());
        let mut all = vec![("TLS_CERT", certificate.to_str().unwrap()), ("TLS_KEY", key.to_str().unwrap())];
        all.extend(settings);
        Server::start(&all)
    }
}

pub(crate) fn certified() -> CertifiedKey<KeyPair> {
    rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap()
}

/// A certificate that ends on the first of January of this year.
fn ends_in(year: i32) -> CertifiedKey<KeyPair> {
    let signing_key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(["localhost".to_owned()]).unwrap();
    params.not_after = date_time_ymd(year, 1, 1);
    let cert = params.self_signed(&signing_key).unwrap();
    CertifiedKey { cert, signing_key }
}

/// A client that trusts this certificate and no other.
fn trusting(certified: &CertifiedKey<KeyPair>, versions: &[&'static SupportedProtocolVersion]) -> TlsConnector {
    let mut roots = RootCertStore::empty();
    roots.add(certified.cert.der().clone()).unwrap();
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_protocol_versions(versions)
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    TlsConnector::from(Arc::new(config))
}

async fn connect(client: &TlsConnector, address: SocketAddr) -> std::io::Result<TlsStream<TcpStream>> {
    let stream = TcpStream::connect(address).await.unwrap();
    client.connect(ServerName::try_from("localhost").unwrap(), stream).await
}

/// Asks for a path; the server must end the connection as TLS wants it, or reading it fails.
async fn get(client: &TlsConnector, server: &Server, path: &str) -> Answer {
    let mut stream = connect(client, server.address).await.unwrap();
    let request =
        format!("GET {path} HTTP/1.1\r\nHost: localhost:{}\r\nConnection: close\r\n\r\n", server.address.port());
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).await.unwrap();
    Answer::parse(&bytes)
}

#[tokio::test]
async fn page_and_sockets_travel_by_tls_of_both_versions() {
    let certified = certified();
    let server = Files::new(&certified).serve(&[]);
    assert_eq!(server.scheme, "https");
    let host = server.address.to_string();
    for (version, expected) in [(&TLS12, ProtocolVersion::TLSv1_2), (&TLS13, ProtocolVersion::TLSv1_3)] {
        let client = trusting(&certified, &[version]);
        let page = get(&client, &server, "/").await;
        assert_eq!(page.status, 200);
        assert!(page.header("set-cookie").ends_with("; Secure"), "{}", page.header("set-cookie"));
        assert_eq!(page.header("strict-transport-security"), "max-age=15552000");
        let script = page.text().split('"').find(|text| text.ends_with("main.js")).unwrap().to_owned();
        let script = get(&client, &server, &format!("/{script}")).await;
        assert!(script.body.len() > 10_000 || script.text().contains("import"), "the whole of a long answer");

        let stream = connect(&client, server.address).await.unwrap();
        assert_eq!(stream.get_ref().1.protocol_version(), Some(expected));
        // Whoever comes back need not prove anything again.
        assert_eq!(stream.get_ref().1.handshake_kind(), Some(HandshakeKind::Resumed), "{expected:?}");
        let origin = format!("https://{host}");
        let mut lobby = Socket::upgrade(stream, &server, "lobby", &[("Origin", &origin)]).await.unwrap();
        assert!(lobby.cookie.as_ref().unwrap().ends_with("; Secure"));
        lobby.say("create_room", json!({ "player_name": "Mira" })).await;
        let id = lobby.hear("room_created").await["room_id"].as_str().unwrap().to_owned();
        let cookie = lobby.cookie.unwrap();
        let stream = connect(&client, server.address).await.unwrap();
        let mut table =
            Socket::upgrade(stream, &server, &id, &[("Cookie", cookie.split(';').next().unwrap())]).await.unwrap();
        table.enter(&id, "Mira").await;
        table.say("ping", json!({ "timestamp": 1 })).await;
        table.hear("pong").await;
        // A long message, a close with a reason, and the end of the link.
        table.send(tokio_tungstenite::tungstenite::Message::text("x".repeat(100_000))).await;
        assert_eq!(table.closed().await, Some(1009));

        let stream = connect(&client, server.address).await.unwrap();
        let origin = format!("http://{host}");
        let foreign = Socket::upgrade(stream, &server, "lobby", &[("Origin", &origin)]).await;
        assert_eq!(foreign.err(), Some(403), "a page that came unencrypted");
    }
    // Older versions and clients that speak HTTP/2 only are not served.
    let mut config = ClientConfig::clone(trusting(&certified, ALL_VERSIONS).config());
    config.alpn_protocols = vec![b"h2".to_vec()];
    assert!(connect(&TlsConnector::from(Arc::new(config)), server.address).await.is_err());
}

#[tokio::test]
async fn a_certificate_is_renewed_while_sockets_live_on() {
    let (first, second) = (ends_in(2099), ends_in(2098));
    let files = Files::new(&first);
    let server = files.serve(&[]);
    let metrics = server.metrics.unwrap();
    let is_end =
        |seconds: &str| scrape(metrics).contains(&format!("liap_tls_certificate_ends_timestamp_seconds {seconds}\n"));
    assert!(is_end("4070908800"), "2099-01-01");
    let stream = connect(&trusting(&first, ALL_VERSIONS), server.address).await.unwrap();
    let mut socket = Socket::upgrade(stream, &server, "lobby", &[]).await.unwrap();

    files.write(&second.cert.pem(), &second.signing_key.serialize_pem());
    server.signal("HUP");
    server.logged("https with a certificate that ends on 2098-01-01T00:00:00Z");
    assert!(is_end("4039372800"), "2098-01-01");
    assert!(connect(&trusting(&first, ALL_VERSIONS), server.address).await.is_err(), "the old one is gone");
    assert_eq!(get(&trusting(&second, ALL_VERSIONS), &server, "/health").await.status, 200);

    // What cannot be used changes nothing but the log.
    for (certificate, key, said) in [
        ("", second.signing_key.serialize_pem(), "is no certificate in PEM form"),
        (second.cert.pem().as_str(), first.signing_key.serialize_pem(), "is not the key of the certificate"),
        (second.cert.pem().as_str(), String::new(), "is no private key in PEM form"),
    ] {
        files.write(certificate, &key);
        server.signal("HUP");
        server.logged("the certificate was not renewed, the one before stays in use");
        server.logged("https with a certificate that ends on 2098");
        assert_eq!(get(&trusting(&second, ALL_VERSIONS), &server, "/health").await.status, 200, "{said}");
    }
    socket.say("ping", json!({ "timestamp": 1 })).await;
    socket.hear("pong").await;

    // To its end: a client that hears no 1012 may not come back.
    server.signal("TERM");
    assert_eq!(socket.closed().await, Some(1012));
}

fn liap(arguments: &[&str], settings: &[(&str, &str)]) -> Output {
    let folder = tempfile::tempdir().unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_liap"));
    command.env_clear().env("PORT", "0").env("METRICS_PORT", "0").env("DATA_DIR", folder.path());
    command.args(arguments).envs(settings.iter().copied()).output().unwrap()
}

#[test]
fn files_that_cannot_be_used_stop_the_start() {
    let (certified, other) = (certified(), certified());
    let files = Files::new(&certified);
    let (certificate, key) = (certified.cert.pem(), certified.signing_key.serialize_pem());
    let (certificate_file, key_file) = (files.certificate(), files.key());
    let (certificate_file, key_file) = (certificate_file.to_str().unwrap(), key_file.to_str().unwrap());
    let folder = files.folder.path().to_str().unwrap();

    let refused = |settings: &[(&str, &str)], said: &str| {
        let output = liap(&[], settings);
        let text = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.code() == Some(78) && text.contains(said), "{settings:?}: {said:?} is not in {text}");
        assert!(!text.contains("PRIVATE KEY"), "{text}");
    };
    refused(&[("TLS_CERT", certificate_file)], "TLS_CERT = ");
    refused(&[("TLS_CERT", certificate_file)], "needs TLS_KEY as well");
    refused(&[("TLS_KEY", key_file)], "needs TLS_CERT as well");
    refused(
        &[("TLS_CERT", "/nowhere.pem"), ("TLS_KEY", key_file)],
        "TLS_CERT: /nowhere.pem cannot be read: No such file",
    );
    refused(&[("TLS_CERT", certificate_file), ("TLS_KEY", "/nowhere.pem")], "TLS_KEY: /nowhere.pem cannot be read");
    refused(&[("TLS_CERT", certificate_file), ("TLS_KEY", folder)], "cannot be read: Is a directory");

    let encrypted = "-----BEGIN ENCRYPTED PRIVATE KEY-----\nMIGbMFcGCSqGSIb3DQEFDTBKMCkGCSqGSIb3DQEFDDAc\n\
                     -----END ENCRYPTED PRIVATE KEY-----\n";
    let both = [("TLS_CERT", certificate_file), ("TLS_KEY", key_file)];
    for (certificate, key, said) in [
        ("hello", key.as_str(), "is no certificate in PEM form"),
        (key.as_str(), key.as_str(), "is no certificate in PEM form"),
        ("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", &key, "is no certificate in PEM form"),
        (&certificate, &certificate, "is no private key in PEM form that can be used"),
        (&certificate, encrypted, "is no private key in PEM form that can be used (encrypted ones cannot)"),
        (&certificate, &other.signing_key.serialize_pem(), "is not the key of the certificate in"),
    ] {
        files.write(certificate, key);
        refused(&both, said);
    }
}

#[tokio::test]
async fn a_certificate_that_has_ended_is_a_loud_warning() {
    for (year, said) in [(2020, "has ended on 2020-01-01T00:00:00Z; browsers refuse it"), (2101, "ends on 2101-01-01")]
    {
        let server = Files::new(&ends_in(year)).serve(&[]);
        assert!(server.said.iter().any(|line| line.contains(said)), "{:?}", server.said);
        let warned = server.said.iter().any(|line| line.contains("\"level\":\"warning\"") && line.contains("TLS_CERT"));
        assert_eq!(warned, year == 2020);
        // The files of this test can be read by everybody.
        assert!(server.said.iter().any(|line| line.contains("chmod 600 is better")));
    }
}

#[test]
fn what_comes_without_tls_is_sent_to_https() {
    let server = Files::new(&certified()).serve(&[("HEADER_TIMEOUT_SECONDS", "1")]);
    let port = server.address.port();
    let host = format!("liap.example:{port}");
    for method in ["GET", "HEAD"] {
        let answer = server.request(method, "/room/3FA9C1?x=1", &[("Host", &host)]);
        assert_eq!(
            (answer.status, answer.header("location")),
            (308, format!("https://{host}/room/3FA9C1?x=1").as_str())
        );
        assert_eq!((answer.header("strict-transport-security"), answer.header("set-cookie")), ("", ""));
    }
    for (method, path, host) in [("POST", "/", host.as_str()), ("GET", "/", "a b"), ("GET", "*", &host)] {
        let answer = server.request(method, path, &[("Host", host)]);
        assert_eq!(
            (answer.status, answer.json()["detail"].as_str()),
            (400, Some("this port speaks https")),
            "{method} {path}"
        );
    }
    for nonsense in [&b"\x80\x2e\x01\x00\x02"[..], b"SSH-2.0-x\r\n", b"\x16\x03\x01\x00\x05hello", b"\x16"] {
        let mut stream = server.connect();
        stream.write_all(nonsense).unwrap();
        let mut answer = Vec::new();
        // Closed at once or when the time for a head has passed, in any case soon.
        stream.read_to_end(&mut answer).ok();
        assert!(answer.len() < 1_024, "{}", String::from_utf8_lossy(&answer));
    }
    let text = scrape(server.metrics.unwrap());
    assert!(text.contains("liap_tls_handshakes_total{outcome=\"plain\"} 7\n"), "{text}");
    assert!(text.contains("liap_tls_handshakes_total{outcome=\"failed\"} 1\n"), "{text}");
    assert!(text.contains("liap_tls_handshakes_total{outcome=\"late\"} 1\n"), "{text}");
}

#[tokio::test]
async fn a_slow_handshake_holds_its_place_for_a_moment_only() {
    let certified = certified();
    let server = Files::new(&certified).serve(&[("HEADER_TIMEOUT_SECONDS", "1"), ("MAX_SOCKETS_PER_ADDRESS", "100")]);
    let begun = Instant::now();
    let mut halves: Vec<std::net::TcpStream> = Vec::new();
    for number in 0..1_000 {
        let mut stream = server.connect();
        // Nothing, or the beginning of a first message of 512 bytes.
        let part: &[u8] = if number % 2 == 0 { b"" } else { b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" };
        // One over the bound is closed at once.
        stream.write_all(part).ok();
        halves.push(stream);
    }
    for stream in &mut halves {
        stream.set_read_timeout(Some(SOON)).unwrap();
        if let Err(error) = stream.read_to_end(&mut Vec::new()) {
            assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
        }
    }
    assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
    assert_eq!(get(&trusting(&certified, ALL_VERSIONS), &server, "/health").await.status, 200);
}

#[test]
fn a_health_check_asks_by_tls() {
    let files = Files::new(&ends_in(2020));
    let server = files.serve(&[]);
    let (certificate, key) = (files.certificate(), files.key());
    let mut settings = vec![("TLS_CERT", certificate.to_str().unwrap()), ("TLS_KEY", key.to_str().unwrap())];
    let address = server.address.to_string();
    let asked = |settings: &[(&str, &str)]| liap(&["healthcheck", "--address", &address], settings);
    let well = asked(&settings);
    assert!(well.status.success(), "{well:?}");
    assert!(String::from_utf8(well.stderr).unwrap().contains("\"status\":\"healthy\""));
    settings.clear();
    assert!(!asked(&settings).status.success(), "a redirect is no health");
}
