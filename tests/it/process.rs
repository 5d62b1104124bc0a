//! A server as a process of its own, and clients that speak to it over real sockets.

use std::collections::HashMap;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use futures_util::{SinkExt as _, StreamExt as _};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::http::{HeaderName, HeaderValue};
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{WebSocketStream, client_async};

/// Without pauses, and without limits.
pub(crate) const FAST: (&str, &str) = ("GAME_PACE", "0");
/// Longer than anything here takes on a busy machine.
pub(crate) const SOON: Duration = Duration::from_secs(15);

/// A running server. It is killed when dropped.
pub(crate) struct Server {
    child: Child,
    pub(crate) address: SocketAddr,
    /// `http` or `https`.
    pub(crate) scheme: &'static str,
    /// Where it can be scraped.
    pub(crate) metrics: Option<SocketAddr>,
    /// What it has written to its log until it listened.
    pub(crate) said: Vec<String>,
    /// What it goes on to write.
    lines: Receiver<String>,
    settings: Vec<(String, String)>,
    data: tempfile::TempDir,
}

impl Server {
    /// Starts a server on a free port with these settings, and waits until it listens.
    pub(crate) fn start(settings: &[(&str, &str)]) -> Self {
        Self::start_on(tempfile::tempdir().unwrap(), settings)
    }

    /// Another server with the same settings, on what this one has left on disk.
    pub(crate) fn again(mut self) -> Self {
        self.child.kill().ok();
        self.child.wait().unwrap();
        let data = std::mem::replace(&mut self.data, tempfile::tempdir().unwrap());
        Self::run(data, std::mem::take(&mut self.settings))
    }

    /// The same with some other settings.
    pub(crate) fn again_with(mut self, settings: &[(&str, &str)]) -> Self {
        self.settings.extend(settings.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
        self.again()
    }

    /// Starts a server on a folder that holds something already.
    pub(crate) fn start_on(data: tempfile::TempDir, settings: &[(&str, &str)]) -> Self {
        let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        Self::run(data, settings.iter().map(owned).collect())
    }

    fn run(data: tempfile::TempDir, settings: Vec<(String, String)>) -> Self {
        Self::run_command(Command::new(env!("CARGO_BIN_EXE_liap")), data, settings)
    }

    /// The same by a command line of one's own.
    pub(crate) fn run_command(mut liap: Command, data: tempfile::TempDir, settings: Vec<(String, String)>) -> Self {
        let mut child = liap
            .env_clear()
            .env("HOST", "127.0.0.1")
            .env("PORT", "0")
            .env("METRICS_PORT", "0")
            .env("DATA_DIR", data.path())
            .envs(settings.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the server starts");
        let stderr = BufReader::new(child.stderr.take().unwrap());
        let (sender, lines) = channel();
        std::thread::spawn(move || stderr.lines().map_while(Result::ok).try_for_each(|line| sender.send(line)));
        let said = wait_for(&lines, "listening on http");
        let listening = said.last().unwrap();
        let scheme = if listening.contains("listening on https://") { "https" } else { "http" };
        let address = address_in(listening, &format!("listening on {scheme}://"));
        let metrics = said.iter().find(|line| line.contains("metrics at http://"));
        let metrics = metrics.map(|line| address_in(line, "metrics at http://"));
        Self { child, address, scheme, metrics, said, lines, settings, data }
    }

    /// Waits for a line of the log that holds this text, and returns what was said up to it.
    pub(crate) fn logged(&self, text: &str) -> Vec<String> {
        wait_for(&self.lines, text)
    }

    /// Waits for a line of the log that holds this text, unless it came before the server listened, and returns it.
    pub(crate) fn logs(&self, text: &str) -> String {
        let before = self.said.iter().find(|line| line.contains(text));
        before.cloned().unwrap_or_else(|| self.logged(text).pop().unwrap_or_default())
    }

    /// Everything it has said, of a server that has ended.
    pub(crate) fn whole_log(&self) -> String {
        self.said.iter().cloned().chain(self.lines.iter()).collect::<Vec<_>>().join("\n")
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Its data folder.
    pub(crate) fn data(&self) -> &std::path::Path {
        self.data.path()
    }

    /// Sends a signal, by its name as in `kill -NAME`.
    pub(crate) fn signal(&self, name: &str) {
        let killed = Command::new("kill").arg(format!("-{name}")).arg(self.pid().to_string()).status().unwrap();
        assert!(killed.success());
    }

    /// Whether it still runs.
    pub(crate) fn is_running(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    /// Waits until the process has ended.
    pub(crate) fn ended(&mut self) -> ExitStatus {
        let deadline = Instant::now() + SOON;
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            assert!(Instant::now() < deadline, "the server goes on");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// GETs a path.
    pub(crate) fn get(&self, path: &str) -> Answer {
        self.request("GET", path, &[])
    }

    /// Sends one request and reads the whole answer.
    pub(crate) fn request(&self, method: &str, path: &str, headers: &[(&str, &str)]) -> Answer {
        request(self.address, method, path, headers)
    }

    /// A bare connection.
    pub(crate) fn connect(&self) -> TcpStream {
        connect(self.address)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended already.
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// The address behind these words.
fn address_in(line: &str, words: &str) -> SocketAddr {
    let (_, rest) = line.split_once(words).unwrap();
    let end = rest.find(|c: char| !(c.is_ascii_alphanumeric() || ".:[]".contains(c))).unwrap_or(rest.len());
    rest[..end].parse().unwrap_or_else(|_| panic!("an address in {line}"))
}

/// The lines up to the first that holds this text.
fn wait_for(lines: &Receiver<String>, text: &str) -> Vec<String> {
    let deadline = Instant::now() + SOON;
    let mut seen = Vec::new();
    loop {
        match lines.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
            Ok(line) => {
                seen.push(line);
                if seen.last().is_some_and(|line| line.contains(text)) {
                    return seen;
                }
            }
            Err(_) => panic!("no line with {text:?} in the log, but {seen:#?}"),
        }
    }
}

pub(crate) fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(SOON)).unwrap();
    stream.set_write_timeout(Some(SOON)).unwrap();
    stream
}

/// All metrics as text.
pub(crate) fn scrape(metrics: SocketAddr) -> String {
    request(metrics, "GET", "/metrics", &[]).text().to_owned()
}

/// Sends one request and reads the whole answer.
pub(crate) fn request(address: SocketAddr, method: &str, path: &str, headers: &[(&str, &str)]) -> Answer {
    request_with(address, method, path, headers, "")
}

/// The same with a body.
pub(crate) fn request_with(
    address: SocketAddr,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &str,
) -> Answer {
    let mut stream = connect(address);
    let mut request = format!("{method} {path} HTTP/1.1\r\nConnection: close\r\n");
    if !headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("host")) {
        request.push_str(&format!("Host: {address}\r\n"));
    }
    for (name, value) in headers {
        request.push_str(&format!("{name}: {value}\r\n"));
    }
    if !body.is_empty() {
        request.push_str(&format!("Content-Length: {}\r\n", body.len()));
    }
    stream.write_all(format!("{request}\r\n{body}").as_bytes()).unwrap();
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).unwrap();
    Answer::parse(&bytes)
}

/// An answer to a request.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    /// By name in lower case; of several of one name, the last.
    pub(crate) headers: HashMap<String, String>,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    pub(crate) fn parse(bytes: &[u8]) -> Self {
        let end = bytes.windows(4).position(|window| window == b"\r\n\r\n").expect("a head");
        let head = String::from_utf8_lossy(&bytes[..end]);
        let mut lines = head.lines();
        let status = lines.next().unwrap().split(' ').nth(1).unwrap().parse().unwrap();
        let headers = lines.filter_map(|line| line.split_once(": "));
        let headers = headers.map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned())).collect();
        Self { status, headers, body: bytes[end + 4..].to_vec() }
    }

    /// A header, or nothing.
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", String::as_str)
    }

    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|_| panic!("JSON in {self:?}"))
    }
}

/// A client's WebSocket.
pub(crate) struct Socket<S = tokio::net::TcpStream> {
    pub(crate) stream: WebSocketStream<S>,
    /// The answer to the request for the upgrade.
    pub(crate) cookie: Option<String>,
}

impl Socket {
    /// Opens a socket at `/ws/{place}`.
    pub(crate) async fn open(server: &Server, place: &str) -> Self {
        Self::open_with(server, place, &[]).await.expect("the socket opens")
    }

    /// Opens a socket with headers of one's own. The error is the status of a refusal.
    pub(crate) async fn open_with(server: &Server, place: &str, headers: &[(&str, &str)]) -> Result<Self, u16> {
        Self::open_at(server.address, place, headers).await
    }

    /// Opens a socket at an address, such as that of a proxy.
    pub(crate) async fn open_at(address: SocketAddr, place: &str, headers: &[(&str, &str)]) -> Result<Self, u16> {
        let stream = tokio::net::TcpStream::connect(address).await.unwrap();
        Self::upgrade_at(stream, address, place, headers).await
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Socket<S> {
    /// Opens a socket on a connection that is there already.
    pub(crate) async fn upgrade(
        stream: S,
        server: &Server,
        place: &str,
        headers: &[(&str, &str)],
    ) -> Result<Self, u16> {
        Self::upgrade_at(stream, server.address, place, headers).await
    }

    async fn upgrade_at(stream: S, address: SocketAddr, place: &str, headers: &[(&str, &str)]) -> Result<Self, u16> {
        let mut request = format!("ws://{address}/ws/{place}").into_client_request().unwrap();
        for (name, value) in headers {
            request.headers_mut().append(HeaderName::try_from(*name).unwrap(), HeaderValue::try_from(*value).unwrap());
        }
        match timeout(SOON, client_async(request, stream)).await.expect("an answer") {
            Ok((stream, answer)) => {
                let cookie = answer.headers().get("set-cookie").map(|cookie| cookie.to_str().unwrap().to_owned());
                Ok(Self { stream, cookie })
            }
            Err(Error::Http(answer)) => Err(answer.status().as_u16()),
            Err(error) => panic!("{error}"),
        }
    }

    /// Says what the existing client says first at a room's socket.
    pub(crate) async fn enter(&mut self, id: &str, name: &str) {
        self.say("client_ready", serde_json::json!({ "room_id": id, "player_name": name })).await;
        self.say("get_room_state", serde_json::json!({})).await;
    }

    /// Says something.
    pub(crate) async fn say(&mut self, event: &str, data: serde_json::Value) {
        self.send(Message::text(serde_json::json!({ "event": event, "data": data, "sequence": 1 }).to_string())).await;
    }

    pub(crate) async fn send(&mut self, message: Message) {
        timeout(SOON, self.stream.send(message)).await.expect("the server reads").unwrap();
    }

    /// Waits for a message of this kind, past all others, and returns its data.
    pub(crate) async fn hear(&mut self, event: &str) -> serde_json::Value {
        let mut others = Vec::new();
        let awaited = async {
            loop {
                match self.hear_any().await {
                    (heard, data) if heard == event => return data,
                    (other, data) => others.push(format!("{other}: {data:.200}")),
                }
            }
        };
        match timeout(SOON, awaited).await {
            Ok(data) => data,
            Err(_) => panic!("no {event}, but {others:#?}"),
        }
    }

    /// Waits for the next message.
    pub(crate) async fn hear_any(&mut self) -> (String, serde_json::Value) {
        loop {
            match timeout(SOON, self.stream.next()).await.expect("a message") {
                Some(Ok(Message::Text(text))) => {
                    let mut message: serde_json::Value = serde_json::from_str(&text).unwrap();
                    assert!(message.get("sequence").is_none(), "the existing client would watch it for gaps");
                    return (message["event"].as_str().unwrap().to_owned(), message["data"].take());
                }
                Some(Ok(Message::Ping(_))) => {}
                other => panic!("a message, but not {other:?}"),
            }
        }
    }

    /// Waits for the close, past all messages, and returns its code; nothing if the link just ends.
    pub(crate) async fn closed(&mut self) -> Option<u16> {
        loop {
            match timeout(SOON, self.stream.next()).await.expect("the end") {
                Some(Ok(Message::Close(frame))) => return frame.map(|frame| frame.code.into()),
                Some(Ok(_)) => {}
                Some(Err(_)) | None => return None,
            }
        }
    }
}

/// Waits until everything that happened at this table, where a game is played, is in the journal.
pub(crate) async fn journaled(server: &Server, table: &mut Socket) {
    // The answer says that the room has handed over everything that was before.
    table.say("request_state_sync", serde_json::json!({})).await;
    table.hear("phase_change").await;
    let begun = Instant::now();
    // The writer takes an entry and notes it a moment later, so one look may fall in between.
    let mut looks = 0;
    while looks < 2 {
        assert!(begun.elapsed() < SOON, "the journal is not written");
        let text = scrape(server.metrics.unwrap());
        let is_zero = |name: &str| text.lines().any(|line| line == format!("{name} 0"));
        looks = if is_zero("liap_journal_pending") && is_zero("liap_journal_lag_seconds") { looks + 1 } else { 0 };
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Opens a room in which `name` is the host, and returns its id, a socket at its table and the session.
pub(crate) async fn room(server: &Server, name: &str) -> (String, Socket, String) {
    let mut lobby = Socket::open(server, "lobby").await;
    lobby.say("create_room", serde_json::json!({ "player_name": name })).await;
    let id = lobby.hear("room_created").await["room_id"].as_str().unwrap().to_owned();
    let session = lobby.cookie.unwrap().split(';').next().unwrap().to_owned();
    let mut table = Socket::open_with(server, &id, &[("Cookie", &session)]).await.unwrap();
    table.enter(&id, name).await;
    (id, table, session)
}
