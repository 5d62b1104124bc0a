//! One WebSocket, from its first message to its close.

use std::future::{pending, poll_fn};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use futures_util::{SinkExt as _, StreamExt as _};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::time::{Instant, Interval, MissedTickBehavior, interval_at, sleep_until, timeout};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::error::{Error, ProtocolError};
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Role, WebSocketConfig};
use tokio_tungstenite::tungstenite::{Bytes, Message, Utf8Bytes};

use super::outgoing::Outgoing;
use super::socket_limits::{SocketLimits, Speaker};
use super::state::AppState;
use super::transport::Transport;
use crate::limit::{Key, StrikeCounter};
use crate::observe::EventKind;
use crate::protocol::server_message::{self, ListReason, RoomClosed};
use crate::protocol::{ClientMessage, CloseReason, ErrorType, Frame, RoomId, SessionKey, decode};
use crate::room::{self, ConnectionId, DisconnectKind, Input, RoomHandle, SendError};

/// What a read takes at once. Messages are some hundred bytes long, and more than this costs memory for each socket.
const READ_BUFFER_BYTES: usize = 1_024;
/// Our messages do not go through this buffer (see `outgoing.rs`); pings and closes do, and are tiny.
const WRITE_BUFFER_BYTES: usize = 512;
/// How long a closed socket may take to hear about it.
const LINGER: Duration = Duration::from_secs(2);
/// What a client may still have under way when it is closed: read and thrown away, so that it hears our reason.
const LINGER_BYTES: usize = 2 * 1024 * 1024;
/// The list of rooms is sent to a socket no faster than this, so that a long list that changes all the time does not
/// become a flood.
const LIST_BYTES_PER_SECOND: f64 = 1e6;
/// What a page says as it opens: its greeting, and what it asks for at once.
const OPENING_MESSAGES: u8 = 4;
/// How long a socket of a room that is not there may stay.
const NOWHERE: Duration = Duration::from_secs(60);
/// The longest room id that is given back to whoever asked for it.
const UNKNOWN_ID_CHARS: usize = 50;

/// Who opened a socket, and where it leads.
#[derive(Debug)]
pub(super) struct SocketRequest {
    state: Arc<AppState>,
    session: SessionKey,
    /// Where it comes from.
    address: Key,
    destination: Destination,
}

#[derive(Debug)]
enum Destination {
    Lobby,
    Room(RoomId),
    /// An id of a form that no room has.
    Nowhere(Box<str>),
}

impl SocketRequest {
    /// `destination` is what follows `/ws/`.
    pub(super) fn new(state: Arc<AppState>, session: SessionKey, address: Key, destination: String) -> Self {
        let destination = match (destination.as_str(), destination.parse()) {
            ("lobby", _) => Destination::Lobby,
            (_, Ok(id)) => Destination::Room(id),
            (text, Err(_)) => Destination::Nowhere(text.chars().take(UNKNOWN_ID_CHARS).collect()),
        };
        Self { state, session, address, destination }
    }
}

/// Serves a socket until it ends. `read` is what came behind the request already.
pub(super) async fn live(stream: Transport, read: Vec<u8>, request: SocketRequest) {
    let metrics = Arc::clone(&request.state.services.metrics);
    let events = request.state.services.events.clone();
    metrics.sockets_opened.inc();
    metrics.sockets.inc();
    let limits = SocketLimits::new(Arc::clone(&request.state), request.session, request.address);
    let mut link = Link::new(stream, read, request.state).await;
    let ended = match request.destination {
        Destination::Lobby => lobby(&mut link, &limits, request.session).await,
        Destination::Room(id) => room(&mut link, &limits, request.session, id).await,
        Destination::Nowhere(id) => nowhere(&mut link, &limits, &id).await,
    };
    link.close(ended).await;
    metrics.sockets.dec();
    metrics.sockets_closed.with(ended.name()).inc();
    if ended == SocketEnd::Ours(CloseReason::Abuse) {
        events.note_often(EventKind::AbuseClosed, "socket");
        limits.abused().await;
    }
    log::debug!(reason = ended.name(); "a socket has ended");
}

/// Why a socket ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum SocketEnd {
    /// The client has left, or is lost.
    Theirs(DisconnectKind),
    /// We close it.
    Ours(CloseReason),
}

impl SocketEnd {
    /// What the room is told.
    fn disconnect_kind(self) -> DisconnectKind {
        match self {
            Self::Theirs(disconnect_kind) => disconnect_kind,
            Self::Ours(CloseReason::Done) => DisconnectKind::Clean,
            Self::Ours(_) => DisconnectKind::Lost,
        }
    }

    /// Its name in the metrics.
    fn name(self) -> &'static str {
        match self {
            Self::Theirs(DisconnectKind::Clean) => "client",
            Self::Theirs(DisconnectKind::Lost) => "lost",
            Self::Ours(CloseReason::Done) => "replaced",
            Self::Ours(CloseReason::Silent) => "silent",
            Self::Ours(CloseReason::TooSlow) => "slow",
            Self::Ours(CloseReason::Abuse) => "abuse",
            Self::Ours(CloseReason::TooLarge) => "too_large",
            Self::Ours(CloseReason::NotText) => "not_text",
            Self::Ours(CloseReason::Restart) => "stopping",
            Self::Ours(CloseReason::NotUtf8 | CloseReason::Violation) => "other",
        }
    }
}

/// A socket in the lobby: shows the list of rooms, opens rooms and takes seats.
async fn lobby(link: &mut Link, limits: &SocketLimits, session: SessionKey) -> SocketEnd {
    let state = Arc::clone(&link.state);
    let rooms = &state.services.rooms;
    let mut list = rooms.watch_lobby();
    let mut list_rests_until = Instant::now();
    let mut shutdown = state.shutdown();
    loop {
        let list_changed = async {
            sleep_until(list_rests_until).await;
            list.changed().await;
        };
        let incoming = tokio::select! {
            incoming = link.hear() => incoming,
            () = list_changed => {
                let list = rooms.list_frame(ListReason::Changed);
                let rest = Duration::from_secs_f64(list.as_str().len() as f64 / LIST_BYTES_PER_SECOND);
                list_rests_until = Instant::now() + rest;
                match link.send(list).await {
                    Ok(()) => continue,
                    Err(ended) => return ended,
                }
            }
            () = shutdown.closing() => return SocketEnd::Ours(CloseReason::Restart),
        };
        let weighed = incoming.weigh(limits).await;
        let message = match link.read(incoming, weighed).await {
            Ok(Some(message)) => message,
            Ok(None) => continue,
            Err(ended) => return ended,
        };
        let action = name(&message);
        let (outcome, answer) = match message {
            ClientMessage::ClientReady { .. } => ("accepted", rooms.list_frame(ListReason::Initial)),
            ClientMessage::GetRooms => match limits.query().await {
                Ok(()) => ("accepted", rooms.list_frame(ListReason::Requested)),
                Err(refused) => ("refused", refused),
            },
            ClientMessage::Ping { timestamp } => ("accepted", pong(&timestamp, None)),
            ClientMessage::CreateRoom { player_name, other_seats } => match limits.new_room().await {
                Ok(()) => match rooms.create(Some(session), player_name.clone(), other_seats) {
                    Ok(room) => {
                        let token = room.token.reveal();
                        ("accepted", server_message::room_created(room.room_id, player_name.as_str(), token))
                    }
                    Err(error) => ("refused", server_message::error(ErrorType::RoomCreationError, &error.to_string())),
                },
                Err(refused) => ("refused", refused),
            },
            ClientMessage::JoinRoom { room_id, player_name, choice } => {
                let joined = match room_id {
                    Some(id) => state.services.directory.join(id, session, player_name.clone(), choice).await,
                    None => Err(room::JoinError::NotFound),
                };
                match joined {
                    Ok(room) => {
                        let token = room.token.reveal();
                        let name = player_name.as_str();
                        ("accepted", server_message::room_joined(room.room_id, name, room.seat, token))
                    }
                    Err(error) => ("refused", server_message::error(ErrorType::JoinRoomError, &error.to_string())),
                }
            }
            // Every error in the lobby is a box that the existing client's player has to click away.
            _ => continue,
        };
        state.services.metrics.actions.with(action).with(outcome).inc();
        if let Err(ended) = link.send(answer).await {
            return ended;
        }
    }
}

/// A socket of a room.
async fn room(link: &mut Link, limits: &SocketLimits, session: SessionKey, id: RoomId) -> SocketEnd {
    let state = Arc::clone(&link.state);
    let text = id.to_string();
    let Some(room) = state.services.rooms.find(id) else { return nowhere(link, limits, &text).await };
    let (connection, outbox) = room::connection(Some(session), state.options.send_queue_frames);
    let number = connection.id;
    if room.deliver(Input::Connected(connection)).await.is_err() {
        return nowhere(link, limits, &text).await;
    }
    let table = Table { room, id, number, outbox, opening: OPENING_MESSAGES, said: 0 };
    let (table, left) = table.serve(link, limits).await;
    match left {
        ExitReason::Socket(ended) => {
            // A room that is over has nothing to learn.
            table.room.deliver(Input::Disconnected(number, ended.disconnect_kind())).await.ok();
            ended
        }
        // The room is over and the client has been told; what it still says is answered.
        ExitReason::Room => {
            drop(table);
            answer_for_nobody(link, limits).await
        }
    }
}

/// A client's end at a room's table.
struct Table {
    room: RoomHandle,
    id: RoomId,
    number: ConnectionId,
    outbox: room::FrameReceiver,
    /// How many of [`OPENING_MESSAGES`] are still to come.
    opening: u8,
    /// How much the room has been told.
    said: u64,
}

impl Table {
    /// Carries messages both ways until the socket or the room ends.
    async fn serve(mut self, link: &mut Link, limits: &SocketLimits) -> (Self, ExitReason) {
        loop {
            let served = tokio::select! {
                outgoing = self.outbox.next() => self.forward(link, outgoing).await,
                incoming = link.hear() => self.take(link, limits, incoming).await,
            };
            if let Err(left) = served {
                return (self, left);
            }
        }
    }

    /// Hands on what the room says, and with it what is there already.
    async fn forward(&mut self, link: &mut Link, outgoing: room::Outgoing) -> Result<(), ExitReason> {
        match outgoing {
            room::Outgoing::Frame(frame) => link.outgoing.push(frame),
            room::Outgoing::Close(reason) => return Err(ExitReason::Socket(SocketEnd::Ours(reason))),
            room::Outgoing::Gone => return Err(ExitReason::Room),
        }
        while !link.outgoing.is_full()
            && let Some(frame) = self.outbox.try_next()
        {
            link.outgoing.push(frame);
        }
        self.flush(link).await
    }

    /// Writes what is gathered. While the client does not take it, the room may lose patience.
    async fn flush(&mut self, link: &mut Link) -> Result<(), ExitReason> {
        tokio::select! {
            biased;
            written = link.flush() => written.map_err(ExitReason::Socket),
            reason = self.outbox.aborted() => Err(ExitReason::Socket(SocketEnd::Ours(reason))),
        }
    }

    /// Waits for a decision about what the client has said. What the room says does not wait with it.
    async fn meanwhile<T>(&mut self, link: &mut Link, decision: impl Future<Output = T>) -> Result<T, ExitReason> {
        tokio::pin!(decision);
        loop {
            tokio::select! {
                biased;
                decided = &mut decision => return Ok(decided),
                outgoing = self.outbox.next() => self.forward(link, outgoing).await?,
            }
        }
    }

    /// Who says this.
    fn speaker(&mut self, message: &ClientMessage) -> Speaker {
        let opens = matches!(message, ClientMessage::ClientReady { .. } | ClientMessage::GetRoomState);
        match self.opening.checked_sub(1).filter(|_| opens) {
            Some(left) => {
                self.opening = left;
                Speaker::Unidentified
            }
            None if self.outbox.is_seated() => Speaker::Player,
            None => Speaker::Watcher,
        }
    }

    async fn take(&mut self, link: &mut Link, limits: &SocketLimits, incoming: Incoming) -> Result<(), ExitReason> {
        let weighed = self.meanwhile(link, incoming.weigh(limits)).await?;
        let message = match link.understand(incoming, weighed).await.map_err(ExitReason::Socket)? {
            Some(Ok(message)) => message,
            Some(Err(answer)) => return self.answer(link, answer).await,
            None => return Ok(()),
        };
        let (action, speaker) = (name(&message), self.speaker(&message));
        let (outcome, answer) = match message {
            // Says nothing about the table, so the table need not hear of it.
            ClientMessage::Ping { timestamp } => ("accepted", Some(pong(&timestamp, Some(self.id)))),
            message => match self.meanwhile(link, limits.said(self.id, speaker, &message)).await? {
                Err(refused) => ("refused", Some(refused)),
                Ok(()) => match self.room.send(Input::Said(self.number, message)) {
                    Ok(()) => {
                        self.said += 1;
                        ("accepted", None)
                    }
                    // What it said last is still to be handed on.
                    Err(SendError::Gone) => return self.meanwhile(link, pending()).await,
                    Err(SendError::Busy) => {
                        link.state.services.metrics.rooms_busy.inc();
                        let busy = server_message::error(ErrorType::Busy, "The room is busy, please try again");
                        ("refused", Some(busy))
                    }
                },
            },
        };
        link.state.services.metrics.actions.with(action).with(outcome).inc();
        match answer {
            Some(answer) => self.answer(link, answer).await,
            None => Ok(()),
        }
    }

    /// Gives an answer that is not the room's: behind all that the room answers to what was said before, or its end.
    async fn answer(&mut self, link: &mut Link, answer: Frame) -> Result<(), ExitReason> {
        let caught_up = self.catch_up(link).await;
        if matches!(caught_up, Err(ExitReason::Socket(_))) {
            return caught_up;
        }
        link.outgoing.push(answer);
        self.flush(link).await?;
        caught_up
    }

    /// Waits until the room has dealt with all it was told, and hands on what it says to that.
    async fn catch_up(&mut self, link: &mut Link) -> Result<(), ExitReason> {
        let handled = self.outbox.handled(self.said);
        self.meanwhile(link, handled).await?;
        while let Some(frame) = self.outbox.try_next() {
            self.forward(link, room::Outgoing::Frame(frame)).await?;
        }
        Ok(())
    }
}

/// Why a table is left.
enum ExitReason {
    /// The socket ends.
    Socket(SocketEnd),
    /// The room is over; the socket may stay.
    Room,
}

/// A socket of a room that is not there.
async fn nowhere(link: &mut Link, limits: &SocketLimits, id: &str) -> SocketEnd {
    match link.send(server_message::room_not_found(id)).await {
        Ok(()) => answer_for_nobody(link, limits).await,
        Err(ended) => ended,
    }
}

/// Answers in the place of a room that is not there, for as long as a client needs to find its way back.
async fn answer_for_nobody(link: &mut Link, limits: &SocketLimits) -> SocketEnd {
    let until = sleep_until(Instant::now() + NOWHERE);
    tokio::pin!(until);
    let mut shutdown = link.state.shutdown();
    loop {
        let incoming = tokio::select! {
            incoming = link.hear() => incoming,
            () = shutdown.closing() => return SocketEnd::Ours(CloseReason::Restart),
            () = &mut until => return SocketEnd::Ours(CloseReason::Done),
        };
        let weighed = incoming.weigh(limits).await;
        let message = match link.read(incoming, weighed).await {
            Ok(Some(message)) => message,
            Ok(None) => continue,
            Err(ended) => return ended,
        };
        let answer = match message {
            ClientMessage::Ping { timestamp } => pong(&timestamp, None),
            ClientMessage::StartGame => server_message::error(ErrorType::NotFound, "Room not found"),
            ClientMessage::AnswerRedeal { .. } | ClientMessage::Declare { .. } | ClientMessage::Play { .. } => {
                server_message::error(ErrorType::NotFound, "Game not found")
            }
            ClientMessage::ClientReady { .. }
            | ClientMessage::GetRoomState
            | ClientMessage::AddBot { .. }
            | ClientMessage::RemovePlayer { .. }
            | ClientMessage::LeaveRoom { .. }
            | ClientMessage::RequestStateSync
            | ClientMessage::RequestRecovery { .. } => server_message::room_closed(RoomClosed::NotFound),
            ClientMessage::GetRooms
            | ClientMessage::CreateRoom { .. }
            | ClientMessage::JoinRoom { .. }
            | ClientMessage::StartNextRound => continue,
        };
        if let Err(ended) = link.send(answer).await {
            return ended;
        }
    }
}

fn pong(timestamp: &serde_json::Value, room: Option<RoomId>) -> Frame {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    server_message::pong(timestamp, room, now.as_secs_f64())
}

/// The message's name in the metrics.
fn name(message: &ClientMessage) -> &'static str {
    match message {
        ClientMessage::ClientReady { .. } => "client_ready",
        ClientMessage::Ping { .. } => "ping",
        ClientMessage::GetRooms => "get_rooms",
        ClientMessage::CreateRoom { .. } => "create_room",
        ClientMessage::JoinRoom { .. } => "join_room",
        ClientMessage::GetRoomState => "get_room_state",
        ClientMessage::AddBot { .. } => "add_bot",
        ClientMessage::RemovePlayer { .. } => "remove_player",
        ClientMessage::LeaveRoom { .. } => "leave_room",
        ClientMessage::StartGame => "start_game",
        ClientMessage::AnswerRedeal { .. } => "answer_redeal",
        ClientMessage::Declare { .. } => "declare",
        ClientMessage::Play { .. } => "play",
        ClientMessage::StartNextRound | ClientMessage::RequestStateSync | ClientMessage::RequestRecovery { .. } => {
            "other"
        }
    }
}

/// What came from the client, or from the clock.
#[derive(Debug)]
enum Incoming {
    Text(Utf8Bytes),
    /// A ping of the WebSocket itself, whose answer is under way, or a pong that nobody has asked for.
    Control,
    /// It is time for a ping of ours.
    Tick,
    End(SocketEnd),
}

impl Incoming {
    /// Whether the client may say that; if not, the answer for him.
    async fn weigh(&self, limits: &SocketLimits) -> Result<(), Frame> {
        match self {
            Self::Text(_) | Self::Control => limits.frame().await,
            Self::Tick | Self::End(_) => Ok(()),
        }
    }
}

/// The socket itself: reads and writes messages.
struct Link {
    stream: WebSocketStream<Transport>,
    outgoing: Outgoing,
    state: Arc<AppState>,
    ticks: Interval,
    last_heard: Instant,
    /// Whether a ping of ours has no answer yet.
    awaits_pong: bool,
    patience: StrikeCounter,
}

impl Link {
    async fn new(stream: Transport, read: Vec<u8>, state: Arc<AppState>) -> Self {
        let options = &state.options;
        let config = WebSocketConfig::default()
            .read_buffer_size(READ_BUFFER_BYTES)
            .write_buffer_size(0)
            .max_write_buffer_size(WRITE_BUFFER_BYTES)
            .max_message_size(Some(options.max_frame_bytes))
            .max_frame_size(Some(options.max_frame_bytes));
        let mut ticks = interval_at(Instant::now() + options.ping_interval, options.ping_interval);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Self {
            stream: WebSocketStream::from_partially_read(stream, read, Role::Server, Some(config)).await,
            outgoing: Outgoing::default(),
            ticks,
            last_heard: Instant::now(),
            awaits_pong: false,
            patience: StrikeCounter::default(),
            state,
        }
    }

    /// Waits for the client or the clock. Cancel safe, because nothing is written here but what the WebSocket answers
    /// by itself.
    async fn hear(&mut self) -> Incoming {
        loop {
            let message = tokio::select! {
                message = self.stream.next() => message,
                _ = self.ticks.tick() => return Incoming::Tick,
            };
            self.last_heard = Instant::now();
            return match message {
                Some(Ok(Message::Text(text))) => Incoming::Text(text),
                Some(Ok(Message::Pong(_))) if std::mem::take(&mut self.awaits_pong) => continue,
                Some(Ok(Message::Ping(_) | Message::Pong(_))) => Incoming::Control,
                Some(Ok(Message::Binary(_) | Message::Frame(_))) => {
                    Incoming::End(SocketEnd::Ours(CloseReason::NotText))
                }
                Some(Ok(Message::Close(frame))) => {
                    let clean = frame.is_some_and(|frame| frame.code == CloseCode::Normal);
                    Incoming::End(SocketEnd::Theirs(if clean { DisconnectKind::Clean } else { DisconnectKind::Lost }))
                }
                Some(Err(Error::Capacity(_))) => Incoming::End(SocketEnd::Ours(CloseReason::TooLarge)),
                Some(Err(Error::Utf8(_))) => Incoming::End(SocketEnd::Ours(CloseReason::NotUtf8)),
                Some(Err(Error::Protocol(error))) if error != ProtocolError::ResetWithoutClosingHandshake => {
                    Incoming::End(SocketEnd::Ours(CloseReason::Violation))
                }
                Some(Err(_)) | None => Incoming::End(SocketEnd::Theirs(DisconnectKind::Lost)),
            };
        }
    }

    /// Makes a message of what was heard; `None` if it was none, or one that is answered here.
    async fn read(
        &mut self,
        incoming: Incoming,
        weighed: Result<(), Frame>,
    ) -> Result<Option<ClientMessage>, SocketEnd> {
        match self.understand(incoming, weighed).await? {
            Some(Ok(message)) => Ok(Some(message)),
            Some(Err(answer)) => self.send(answer).await.map(|()| None),
            None => Ok(None),
        }
    }

    /// Makes a message of what was heard, or the answer to what is none; `None` if it was the clock or the WebSocket
    /// itself. The limit was asked first: what is over it is not worth parsing.
    async fn understand(
        &mut self,
        incoming: Incoming,
        weighed: Result<(), Frame>,
    ) -> Result<Option<Result<ClientMessage, Frame>>, SocketEnd> {
        let text = match incoming {
            Incoming::End(ended) => return Err(ended),
            Incoming::Tick => return self.ping().await.map(|()| None),
            Incoming::Control => None,
            Incoming::Text(text) => {
                self.state.services.metrics.frames_received.inc();
                self.state.services.metrics.received_bytes.inc_by(text.len() as u64);
                Some(text)
            }
        };
        let answer = match (weighed, text) {
            (Ok(()), None) => return Ok(None),
            (Ok(()), Some(text)) => match self.state.services.metrics.step("decode", || decode(&text)) {
                Ok(message) => {
                    self.patience.allowed();
                    return Ok(Some(Ok(message)));
                }
                Err(error) => {
                    self.state.services.metrics.malformed.inc();
                    server_message::error(ErrorType::ValidationError, &error.to_string())
                }
            },
            (Err(frame), _) => frame,
        };
        // Nonsense counts against the client as floods do.
        if self.patience.refused() {
            return Err(SocketEnd::Ours(CloseReason::Abuse));
        }
        Ok(Some(Err(answer)))
    }

    /// Asks whether the client is there, or notices that it has not been for too long.
    async fn ping(&mut self) -> Result<(), SocketEnd> {
        if self.last_heard.elapsed() > self.state.options.peer_timeout {
            return Err(SocketEnd::Ours(CloseReason::Silent));
        }
        match timeout(self.state.options.peer_timeout, self.stream.send(Message::Ping(Bytes::new()))).await {
            Ok(Ok(())) => {
                self.awaits_pong = true;
                Ok(())
            }
            Ok(Err(_)) => Err(SocketEnd::Theirs(DisconnectKind::Lost)),
            Err(_) => Err(SocketEnd::Ours(CloseReason::TooSlow)),
        }
    }

    /// Sends one message.
    async fn send(&mut self, frame: Frame) -> Result<(), SocketEnd> {
        self.outgoing.push(frame);
        self.flush().await
    }

    /// Writes what is gathered. Whoever stops waiting for this can only close.
    async fn flush(&mut self) -> Result<(), SocketEnd> {
        let (frames, bytes) = self.outgoing.size();
        match timeout(self.state.options.peer_timeout, self.write()).await {
            Ok(Ok(())) => {
                self.state.services.metrics.frames_sent.inc_by(frames as u64);
                self.state.services.metrics.sent_bytes.inc_by(bytes as u64);
                Ok(())
            }
            Ok(Err(_)) => Err(SocketEnd::Theirs(DisconnectKind::Lost)),
            Err(_) => Err(SocketEnd::Ours(CloseReason::TooSlow)),
        }
    }

    async fn write(&mut self) -> Result<(), Error> {
        // An answer of the WebSocket itself may be half written; ours must not land in the middle of it.
        self.stream.flush().await?;
        poll_fn(|cx| self.outgoing.poll_write(self.stream.get_mut(), cx)).await?;
        Ok(())
    }

    /// Ends the socket, and tells the client why if it will listen.
    async fn close(mut self, ended: SocketEnd) {
        // There is nobody left to whom a failure could matter.
        drop(timeout(LINGER, self.say_goodbye(ended)).await);
    }

    async fn say_goodbye(&mut self, ended: SocketEnd) -> Result<(), Error> {
        let SocketEnd::Ours(reason) = ended else {
            // The answer to the client's close.
            return self.stream.flush().await;
        };
        self.outgoing.cut();
        self.write().await?;
        let code = CloseCode::from(reason.code());
        self.stream.close(Some(CloseFrame { code, reason: Utf8Bytes::from_static(reason.into()) })).await?;
        // What arrives at a socket that is closed already would make the system withdraw our reason.
        let stream = self.stream.get_mut();
        stream.shutdown().await?;
        let mut scrap = vec![0; READ_BUFFER_BYTES];
        let mut left = LINGER_BYTES;
        while left > 0 {
            match stream.read(&mut scrap).await? {
                0 => break,
                read => left = left.saturating_sub(read),
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::{AdminAuth, Options, Secret};
    use super::*;
    use crate::limit;
    use crate::observe::{Events, Health, HealthOptions, MemoryState, Metrics};
    use crate::room::{Journal, Rooms};
    use crate::services::Services;

    /// A socket's task is most of what an idle socket costs beside its read buffer, and it grows unnoticed.
    #[tokio::test]
    async fn the_task_of_a_socket_is_small() {
        let metrics = Arc::new(Metrics::new("test", "test", false));
        let health = Arc::new(Health::new(&HealthOptions::default(), Arc::clone(&metrics)));
        let (events, keep) = (Events::new(0), Box::new(|_| Box::pin(async {}) as room::Kept));
        let rooms = Rooms::new(room::Options::default(), Journal::off(), keep, Arc::clone(&metrics), events.clone());
        let services = Services {
            limiter: limit::open(&limit::Options::default(), None, &metrics),
            directory: crate::directory::local(&rooms),
            rooms,
            archive: None,
            journal: Journal::off(),
            redis: None,
            memory: tokio::sync::watch::channel(MemoryState::default()).1,
            events,
            metrics,
        };
        let state = AppState::new(Options::default(), services, health, AdminAuth::new(&Secret::new("x")));
        let listener = super::super::listen(([127, 0, 0, 1], 0).into()).unwrap();
        let stream = tokio::net::TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let request = SocketRequest::new(state, SessionKey::of("x"), Key::from_number(1), "lobby".to_owned());
        let bytes = size_of_val(&live(Transport::Plain(stream), Vec::new(), request));
        assert!(bytes <= 3 * 1024, "{bytes} bytes");
    }
}
