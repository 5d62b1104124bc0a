//! The connection of one WebSocket: reads and writes messages, pings, and closes.

use std::convert::Infallible;
use std::future::poll_fn;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use futures_util::{SinkExt as _, StreamExt as _};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::time::{Instant, Interval, MissedTickBehavior, interval_at, timeout};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::error::{Error, ProtocolError};
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Role, WebSocketConfig};
use tokio_tungstenite::tungstenite::{Bytes, Message, Utf8Bytes};

use super::outgoing::Outgoing;
use super::socket_limits::SocketLimits;
use super::state::AppState;
use super::transport::Transport;
use crate::limit::StrikeCounter;
use crate::protocol::{ClientMessage, CloseReason, ErrorType, Frame, RoomId, decode, server_message};
use crate::room::DisconnectKind;

/// How much one read takes. Messages are some hundred bytes long, and a larger buffer costs memory for each socket.
const READ_BUFFER_BYTES: usize = 1_024;
/// Our messages do not pass this buffer (see `outgoing.rs`); pings and closes do, and are tiny.
const WRITE_BUFFER_BYTES: usize = 512;
/// How long sending the close frame and waiting for the client's may take.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(2);
/// How much of what the client still sends is read and dropped while closing, so that the close frame arrives.
const CLOSE_READ_BYTES: usize = 2 * 1024 * 1024;

/// Why a socket ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum SocketEnd {
    /// The client closed it, or the connection is lost.
    Theirs(DisconnectKind),
    /// We close it.
    Ours(CloseReason),
}

/// How serving a socket ends: it does not return before.
pub(super) type Served = Result<Infallible, SocketEnd>;

impl SocketEnd {
    /// How the room sees the end.
    pub(super) fn disconnect_kind(self) -> DisconnectKind {
        match self {
            Self::Theirs(disconnect_kind) => disconnect_kind,
            Self::Ours(CloseReason::Done) => DisconnectKind::Clean,
            Self::Ours(_) => DisconnectKind::Lost,
        }
    }

    /// Its name in the metrics.
    pub(super) fn name(self) -> &'static str {
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

/// What a socket has to react to.
#[derive(Debug)]
pub(super) enum Incoming {
    Text(Utf8Bytes),
    /// A ping of the WebSocket protocol, which tungstenite answers, or an unrequested pong.
    Control,
    /// It is time for our ping.
    Tick,
    End(SocketEnd),
}

impl Incoming {
    /// Checks the rate limit.
    ///
    /// # Errors
    /// The answer for a client that is over its limit.
    pub(super) async fn check_limit(&self, limits: &SocketLimits) -> Result<(), Frame> {
        match self {
            Self::Text(_) | Self::Control => limits.frame().await,
            Self::Tick | Self::End(_) => Ok(()),
        }
    }
}

/// The connection of one WebSocket.
pub(super) struct Link {
    stream: WebSocketStream<Transport>,
    pub(super) outgoing: Outgoing,
    pub(super) state: Arc<AppState>,
    ticks: Interval,
    last_received: Instant,
    /// Whether our last ping has no answer yet.
    awaits_pong: bool,
    strikes: StrikeCounter,
}

impl Link {
    pub(super) async fn new(stream: Transport, read: Vec<u8>, state: Arc<AppState>) -> Self {
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
            last_received: Instant::now(),
            awaits_pong: false,
            strikes: StrikeCounter::default(),
            state,
        }
    }

    /// Waits for the client or the next ping. Cancel safe: it writes only what the WebSocket protocol answers by itself.
    pub(super) async fn receive(&mut self) -> Incoming {
        loop {
            let message = tokio::select! {
                message = self.stream.next() => message,
                _ = self.ticks.tick() => return Incoming::Tick,
            };
            self.last_received = Instant::now();
            let ours = |reason| Incoming::End(SocketEnd::Ours(reason));
            let theirs = |kind| Incoming::End(SocketEnd::Theirs(kind));
            return match message {
                Some(Ok(Message::Text(text))) => Incoming::Text(text),
                Some(Ok(Message::Pong(_))) if std::mem::take(&mut self.awaits_pong) => continue,
                Some(Ok(Message::Ping(_) | Message::Pong(_))) => Incoming::Control,
                Some(Ok(Message::Binary(_) | Message::Frame(_))) => ours(CloseReason::NotText),
                Some(Ok(Message::Close(Some(frame)))) if frame.code == CloseCode::Normal => {
                    theirs(DisconnectKind::Clean)
                }
                Some(Err(Error::Capacity(_))) => ours(CloseReason::TooLarge),
                Some(Err(Error::Utf8(_))) => ours(CloseReason::NotUtf8),
                Some(Err(Error::Protocol(error))) if error != ProtocolError::ResetWithoutClosingHandshake => {
                    ours(CloseReason::Violation)
                }
                Some(Ok(Message::Close(_)) | Err(_)) | None => theirs(DisconnectKind::Lost),
            };
        }
    }

    /// Checks the rate limit and decodes the message. `None` if there is no message, or it was answered here.
    pub(super) async fn read(
        &mut self,
        incoming: Incoming,
        limits: &SocketLimits,
    ) -> Result<Option<ClientMessage>, SocketEnd> {
        let limit = incoming.check_limit(limits).await;
        match self.decode(incoming, limit).await? {
            Some(Ok(message)) => Ok(Some(message)),
            Some(Err(answer)) => self.send(answer).await.map(|()| None),
            None => Ok(None),
        }
    }

    /// Decodes a message, or returns the error for the client. `None` if there is no message. `limit` was checked before,
    /// because a message over the limit is not worth decoding.
    pub(super) async fn decode(
        &mut self,
        incoming: Incoming,
        limit: Result<(), Frame>,
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
        let answer = match (limit, text) {
            (Ok(()), None) => return Ok(None),
            (Ok(()), Some(text)) => match self.state.services.metrics.step("decode", || decode(&text)) {
                Ok(message) => {
                    self.strikes.allowed();
                    return Ok(Some(Ok(message)));
                }
                Err(error) => {
                    self.state.services.metrics.malformed.inc();
                    server_message::error(ErrorType::ValidationError, &error.to_string())
                }
            },
            (Err(frame), _) => frame,
        };
        // Malformed messages count against the client like those over the limit.
        if self.strikes.refused() {
            return Err(SocketEnd::Ours(CloseReason::Abuse));
        }
        Ok(Some(Err(answer)))
    }

    /// Sends a ping, unless the client has been silent for too long.
    async fn ping(&mut self) -> Result<(), SocketEnd> {
        if self.last_received.elapsed() > self.state.options.peer_timeout {
            return Err(SocketEnd::Ours(CloseReason::Silent));
        }
        let limit = self.state.options.peer_timeout;
        in_time(limit, self.stream.send(Message::Ping(Bytes::new()))).await?;
        self.awaits_pong = true;
        Ok(())
    }

    /// Sends one message.
    pub(super) async fn send(&mut self, frame: Frame) -> Result<(), SocketEnd> {
        self.outgoing.push(frame);
        self.flush().await
    }

    /// Writes the gathered messages. Not cancel safe: a caller that stops waiting can only close.
    pub(super) async fn flush(&mut self) -> Result<(), SocketEnd> {
        let (frames, bytes) = self.outgoing.size();
        in_time(self.state.options.peer_timeout, self.write()).await?;
        self.state.services.metrics.frames_sent.inc_by(frames as u64);
        self.state.services.metrics.sent_bytes.inc_by(bytes as u64);
        Ok(())
    }

    async fn write(&mut self) -> Result<(), Error> {
        // A control frame may be half written, and our frames must not land in the middle of it.
        self.stream.flush().await?;
        poll_fn(|cx| self.outgoing.poll_write(self.stream.get_mut(), cx)).await?;
        Ok(())
    }

    /// Closes the socket, with the reason for the client if we close it.
    pub(super) async fn close(mut self, ended: SocketEnd) {
        // A failure changes nothing: the socket ends either way.
        drop(timeout(CLOSE_TIMEOUT, self.send_close(ended)).await);
    }

    async fn send_close(&mut self, ended: SocketEnd) -> Result<(), Error> {
        let SocketEnd::Ours(reason) = ended else {
            // The answer to the client's close.
            return self.stream.flush().await;
        };
        self.outgoing.drop_unwritten();
        self.write().await?;
        let code = CloseCode::from(reason.code());
        self.stream.close(Some(CloseFrame { code, reason: Utf8Bytes::from_static(reason.into()) })).await?;
        // Bytes that arrive at a closed socket would make the system reset it before the client reads the close frame.
        let stream = self.stream.get_mut();
        stream.shutdown().await?;
        let mut discarded = vec![0; READ_BUFFER_BYTES];
        let mut left = CLOSE_READ_BYTES;
        while left > 0 {
            match stream.read(&mut discarded).await? {
                0 => break,
                read => left = left.saturating_sub(read),
            }
        }
        Ok(())
    }
}

/// Waits for bytes to be written. A client that reads too slowly, or is gone, ends the socket.
async fn in_time(limit: Duration, writing: impl Future<Output = Result<(), Error>>) -> Result<(), SocketEnd> {
    match timeout(limit, writing).await {
        Ok(written) => written.map_err(|_| SocketEnd::Theirs(DisconnectKind::Lost)),
        Err(_) => Err(SocketEnd::Ours(CloseReason::TooSlow)),
    }
}

/// The answer to a `ping` of the client.
pub(super) fn pong(timestamp: &serde_json::Value, room: Option<RoomId>) -> Frame {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    server_message::pong(timestamp, room, now.as_secs_f64())
}
