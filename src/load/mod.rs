//! Load: tables of players who act as fast as the server allows, and how long each action takes.
//!
//! The clients share the machine with the server they measure. So they search frames for a few fields and do not parse
//! the JSON.

mod leaving;

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use futures_util::{SinkExt, StreamExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, WebSocketConfig};
use tokio_tungstenite::tungstenite::{self, Message, Utf8Bytes};
use tokio_tungstenite::{WebSocketStream, client_async_with_config};

pub use leaving::{Forgotten, Held, Leaving, leave};

/// What to measure.
#[derive(Debug, Clone)]
pub struct Load {
    /// Where the server listens.
    pub server: SocketAddr,
    /// How many tables.
    pub rooms: usize,
    /// People at each table, 1 to 4; bots have the other seats.
    pub people: usize,
    /// How long to count actions.
    pub span: Duration,
    /// What kind of server it is.
    pub target: Target,
}

/// A kind of server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Target {
    /// A Liap server, without pauses.
    Liap,
    /// A server that answers every text with one frame to all four sockets of `/ws/{room}`: the floor.
    Bare,
}

/// The result.
#[derive(Debug, Clone, Default)]
pub struct Report {
    /// Actions of people, answered within the span.
    pub actions: u64,
    /// Games that ended.
    pub games: u64,
    /// Frames received.
    pub frames: u64,
    /// Bytes received.
    pub bytes: u64,
    /// Time from an action to its answer at the player who acted; sorted.
    pub to_self: Vec<Duration>,
    /// Time from an action to its answer at the last player of the table; sorted.
    pub to_last: Vec<Duration>,
    /// How long was measured.
    pub span: Duration,
}

impl Report {
    /// Actions a second.
    #[must_use]
    pub fn rate(&self) -> f64 {
        self.actions as f64 / self.span.as_secs_f64()
    }

    /// Mean size of a frame in bytes.
    #[must_use]
    pub fn frame_bytes(&self) -> u64 {
        self.bytes.checked_div(self.frames).unwrap_or(0)
    }
}

/// The value below which `part` (0 to 1) of the sorted values lie.
#[must_use]
pub fn percentile(sorted: &[Duration], part: f64) -> Duration {
    let last = sorted.len().saturating_sub(1);
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a place within the list")]
    let place = (last as f64 * part).round() as usize;
    sorted.get(place).copied().unwrap_or_default()
}

/// Why a load run fails.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The server refuses or drops connections.
    #[error("a connection failed: {0}")]
    Socket(#[from] Box<tungstenite::Error>),
    /// The server cannot be reached.
    #[error("the server cannot be reached: {0}")]
    Connect(#[from] std::io::Error),
    /// A table stalled.
    #[error("a table received nothing for {0:?}")]
    Stalled(Duration),
    /// The server refused something.
    #[error("the server refused: {0}")]
    Refused(String),
}

impl From<tungstenite::Error> for LoadError {
    fn from(error: tungstenite::Error) -> Self {
        Self::Socket(Box::new(error))
    }
}

/// A table that receives nothing for so long has stalled.
const STALLED_AFTER: Duration = Duration::from_secs(20);

/// Runs the load: all tables are set up first, then the clock starts.
///
/// # Errors
/// [`LoadError`] of the first table that fails.
pub async fn run(load: &Load) -> Result<Report, LoadError> {
    let mut tables = Vec::with_capacity(load.rooms);
    for number in 0..load.rooms {
        tables.push(Table::set_up(load, number).await?);
    }
    let began = Instant::now();
    let until = began + load.span;
    let mut running = JoinSet::new();
    for table in tables {
        running.spawn(table.play(until));
    }
    let mut report = Report::default();
    while let Some(table) = running.join_next().await {
        let part = table.map_err(std::io::Error::other)??;
        report.actions += part.actions;
        report.games += part.games;
        report.frames += part.frames;
        report.bytes += part.bytes;
        report.to_self.extend(part.to_self);
        report.to_last.extend(part.to_last);
    }
    report.span = began.elapsed();
    report.to_self.sort_unstable();
    report.to_last.sort_unstable();
    Ok(report)
}

struct Socket {
    stream: WebSocketStream<TcpStream>,
    /// States of the table received so far.
    states: u64,
}

impl Socket {
    async fn open(server: SocketAddr, room: &str) -> Result<Self, LoadError> {
        Self::over(TcpStream::connect(server).await?, server, room).await
    }

    /// The same on an open connection.
    async fn over(stream: TcpStream, server: SocketAddr, room: &str) -> Result<Self, LoadError> {
        stream.set_nodelay(true)?;
        let config = WebSocketConfig::default().read_buffer_size(4 * 1024);
        let url = format!("ws://{server}/ws/{room}");
        let (stream, _) = client_async_with_config(url, stream, Some(config)).await?;
        Ok(Self { stream, states: 0 })
    }

    async fn send(&mut self, text: String) -> Result<(), LoadError> {
        Ok(self.stream.send(Message::text(text)).await?)
    }

    async fn receive(&mut self) -> Result<Utf8Bytes, LoadError> {
        loop {
            let next = tokio::time::timeout(STALLED_AFTER, self.stream.next()).await;
            match next.map_err(|_| LoadError::Stalled(STALLED_AFTER))? {
                Some(Ok(Message::Text(text))) => {
                    self.states += u64::from(is_state(&text));
                    return Ok(text);
                }
                Some(Ok(Message::Close(frame))) => return Err(LoadError::Refused(format!("close {frame:?}"))),
                Some(Ok(_)) => {}
                Some(Err(error)) => return Err(error.into()),
                None => return Err(tungstenite::Error::ConnectionClosed.into()),
            }
        }
    }

    /// Closes in order.
    async fn close(mut self) {
        let goodbye = CloseFrame { code: CloseCode::Normal, reason: "Client disconnect".into() };
        // A server that has closed first sends nothing more.
        if self.stream.close(Some(goodbye)).await.is_ok() {
            while let Ok(Some(Ok(_))) = tokio::time::timeout(STALLED_AFTER, self.stream.next()).await {}
        }
    }

    /// Receives until an event of this name comes.
    async fn receive_event(&mut self, event: &str) -> Result<Utf8Bytes, LoadError> {
        let wanted = format!("{{\"event\":\"{event}\"");
        loop {
            let text = self.receive().await?;
            if text.starts_with(&wanted) {
                return Ok(text);
            }
            if text.starts_with("{\"event\":\"error\"") {
                return Err(LoadError::Refused(text.to_string()));
            }
        }
    }
}

fn is_state(text: &str) -> bool {
    text.starts_with("{\"event\":\"phase_change\"")
}

/// The text after `"name":`, up to its end.
fn after<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    let at = text.find(name)?;
    text.get(at + name.len()..)
}

fn text_field<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    after(text, name)?.strip_prefix('"')?.split('"').next()
}

fn number_field(text: &str, name: &str) -> Option<u64> {
    let digits = after(text, name)?;
    let end = digits.find(|c: char| !c.is_ascii_digit()).unwrap_or(digits.len());
    digits.get(..end)?.parse().ok()
}

/// One table and the people at it.
struct Table {
    load: Load,
    number: usize,
    names: Vec<String>,
    sockets: Vec<Socket>,
    report: Report,
    /// The action that the last state asks for, as the first player sees it: who acts, and the message. An empty
    /// message is the end of the game.
    asked: VecDeque<(usize, String)>,
}

impl Table {
    async fn set_up(load: &Load, number: usize) -> Result<Self, LoadError> {
        let names = (1..=load.people).map(|seat| format!("Load{number}_{seat}")).collect();
        let mut table = Self {
            load: load.clone(),
            number,
            names,
            sockets: Vec::new(),
            report: Report::default(),
            asked: VecDeque::new(),
        };
        table.open_sockets().await?;
        Ok(table)
    }

    async fn open_sockets(&mut self) -> Result<(), LoadError> {
        self.sockets.clear();
        self.asked.clear();
        if self.load.target == Target::Bare {
            for _ in 0..4 {
                self.sockets.push(Socket::open(self.load.server, &self.number.to_string()).await?);
            }
            return Ok(());
        }
        let mut lobby = Socket::open(self.load.server, "lobby").await?;
        let mut room = String::new();
        for (seat, name) in (1..).zip(&self.names.clone()) {
            let answer = if seat == 1 {
                lobby.send(format!(r#"{{"event":"create_room","data":{{"player_name":"{name}"}}}}"#)).await?;
                lobby.receive_event("room_created").await?
            } else {
                let data = format!(r#"{{"room_id":"{room}","player_name":"{name}"}}"#);
                lobby.send(format!(r#"{{"event":"join_room","data":{data}}}"#)).await?;
                lobby.receive_event("room_joined").await?
            };
            room = text_field(&answer, "\"room_id\":").unwrap_or_default().to_owned();
            let token = text_field(&answer, "\"seat_token\":").unwrap_or_default();
            let mut socket = Socket::open(self.load.server, &room).await?;
            let data = format!(r#"{{"player_name":"{name}","seat_token":"{token}"}}"#);
            socket.send(format!(r#"{{"event":"client_ready","data":{data}}}"#)).await?;
            socket.receive_event("room_state_update").await?;
            if seat == 1 {
                // Bots make room before other players join: each removal is answered once.
                for seat in 2..=self.names.len() {
                    socket.send(format!(r#"{{"event":"remove_player","data":{{"slot_id":{seat}}}}}"#)).await?;
                    socket.receive_event("room_update").await?;
                }
            }
            self.sockets.push(socket);
        }
        if let Some(host) = self.sockets.first_mut() {
            host.send(r#"{"event":"start_game","data":{}}"#.to_owned()).await?;
        }
        Ok(())
    }

    async fn play(mut self, until: Instant) -> Result<Report, LoadError> {
        while Instant::now() < until {
            if self.load.target == Target::Bare {
                let text = r#"{"event":"play","data":{"piece_indices":[0],"player_name":"x"}}"#;
                let actor = usize::try_from(self.report.actions % 4).unwrap_or(0);
                self.act(actor, text.to_owned()).await?;
                continue;
            }
            match self.next_question().await? {
                Some((actor, text)) => self.act(actor, text).await?,
                None => {
                    self.report.games += 1;
                    self.open_sockets().await?;
                }
            }
        }
        Ok(self.report)
    }

    /// Sends an action and waits for the state that follows, at the actor and at all others.
    async fn act(&mut self, actor: usize, text: String) -> Result<(), LoadError> {
        let sent = Instant::now();
        let target = match self.sockets.get_mut(actor) {
            Some(socket) => {
                let target = socket.states + 1;
                socket.send(text).await?;
                target
            }
            None => return Ok(()),
        };
        let bare = self.load.target == Target::Bare;
        let mut to_self = Duration::ZERO;
        // The actor first, because it waits for its answer.
        let order = std::iter::once(actor).chain((0..self.sockets.len()).filter(|&other| other != actor));
        for place in order.collect::<Vec<_>>() {
            let Some(socket) = self.sockets.get_mut(place) else {
                continue;
            };
            let mut last = None;
            while bare && last.is_none() || !bare && socket.states < target {
                let text = socket.receive().await?;
                self.report.frames += 1;
                self.report.bytes += text.len() as u64;
                last = Some(text);
            }
            if place == actor {
                to_self = sent.elapsed();
            }
            if place == 0
                && !bare
                && let Some(text) = last
            {
                self.note_question(&text);
            }
        }
        self.report.actions += 1;
        self.report.to_self.push(to_self);
        self.report.to_last.push(sent.elapsed());
        Ok(())
    }

    /// Who has to act, and how; `None` when the game is over.
    async fn next_question(&mut self) -> Result<Option<(usize, String)>, LoadError> {
        loop {
            if let Some(question) = self.asked.pop_front() {
                if question.1.is_empty() {
                    return Ok(None);
                }
                // Everybody receives the state that the first has, before anybody acts.
                let target = self.sockets.first().map_or(0, |first| first.states);
                for socket in self.sockets.iter_mut().skip(1) {
                    while socket.states < target {
                        let text = socket.receive().await?;
                        self.report.frames += 1;
                        self.report.bytes += text.len() as u64;
                    }
                }
                return Ok(Some(question));
            }
            let Some(first) = self.sockets.first_mut() else {
                return Ok(None);
            };
            let text = first.receive().await?;
            self.report.frames += 1;
            self.report.bytes += text.len() as u64;
            self.note_question(&text);
        }
    }

    /// Notes who has to act in this state, as the first player sees it.
    fn note_question(&mut self, text: &str) {
        if !is_state(text) {
            return;
        }
        self.asked.clear();
        if text_field(text, "\"phase\":") == Some("game_over") {
            self.asked.push_back((0, String::new()));
        }
        self.asked.extend(question(&self.names, text));
    }
}

/// Which of these people has to act in this state, and the message they send.
fn question(names: &[String], state: &str) -> Option<(usize, String)> {
    let data = after(state, "\"phase_data\":")?;
    let person = |name: Option<&str>| names.iter().position(|own| Some(own.as_str()) == name);
    let (seat, event, fields) = match text_field(state, "\"phase\":")? {
        "preparation" => {
            let awaited = after(data, "\"weak_players_awaiting\":[").and_then(|list| list.split(']').next());
            let mut names = awaited.unwrap_or_default().split(',').map(|name| Some(name.trim_matches('"')));
            (names.find_map(person)?, "decline_redeal", String::new())
        }
        "declaration" => {
            let seat = person(text_field(data, "\"current_declarer\":"))?;
            let sum = number_field(data, "\"declaration_total\":").unwrap_or(0);
            (seat, "declare", format!("\"value\":{},", if sum == 7 { 2 } else { 1 }))
        }
        "turn" if data.matches("\"piece_count\":").count() < 4 => {
            let seat = person(text_field(data, "\"current_player\":"))?;
            let count = number_field(data, "\"required_piece_count\":").unwrap_or(1);
            let indices = (0..count).map(|index| index.to_string()).collect::<Vec<_>>().join(",");
            (seat, "play", format!("\"piece_indices\":[{indices}],\"play_value\":0,"))
        }
        _ => return None,
    };
    let name = names.get(seat)?;
    Some((seat, format!(r#"{{"event":"{event}","data":{{{fields}"player_name":"{name}"}}}}"#)))
}
