use std::net::SocketAddr;
use std::time::Duration;

use futures_util::{SinkExt as _, StreamExt as _};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, WebSocketConfig};
use tokio_tungstenite::tungstenite::{self, Message, Utf8Bytes};
use tokio_tungstenite::{WebSocketStream, client_async_with_config};

use super::LoadError;

/// A table that receives nothing for so long has stalled.
const STALLED_AFTER: Duration = Duration::from_secs(20);

/// A WebSocket of one client.
pub(super) struct Socket {
    pub(super) stream: WebSocketStream<TcpStream>,
    /// States of the table received so far.
    pub(super) states: u64,
}

impl Socket {
    pub(super) async fn open(server: SocketAddr, room: &str) -> Result<Self, LoadError> {
        Self::over(TcpStream::connect(server).await?, server, room).await
    }

    /// The same on an open connection.
    pub(super) async fn over(stream: TcpStream, server: SocketAddr, room: &str) -> Result<Self, LoadError> {
        stream.set_nodelay(true)?;
        let config = WebSocketConfig::default().read_buffer_size(4 * 1024);
        let url = format!("ws://{server}/ws/{room}");
        let (stream, _) = client_async_with_config(url, stream, Some(config)).await?;
        Ok(Self { stream, states: 0 })
    }

    pub(super) async fn send(&mut self, text: String) -> Result<(), LoadError> {
        Ok(self.stream.send(Message::text(text)).await?)
    }

    pub(super) async fn receive(&mut self) -> Result<Utf8Bytes, LoadError> {
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
    pub(super) async fn close(mut self) {
        let goodbye = CloseFrame { code: CloseCode::Normal, reason: "Client disconnect".into() };
        // A server that has closed first sends nothing more.
        if self.stream.close(Some(goodbye)).await.is_ok() {
            while let Ok(Some(Ok(_))) = tokio::time::timeout(STALLED_AFTER, self.stream.next()).await {}
        }
    }

    /// Receives until an event of this name comes.
    pub(super) async fn receive_event(&mut self, event: &str) -> Result<Utf8Bytes, LoadError> {
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

pub(super) fn is_state(text: &str) -> bool {
    text.starts_with("{\"event\":\"phase_change\"")
}

/// The text after `"name":`, up to its end.
pub(super) fn after<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    let at = text.find(name)?;
    text.get(at + name.len()..)
}

pub(super) fn text_field<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    after(text, name)?.strip_prefix('"')?.split('"').next()
}

pub(super) fn number_field(text: &str, name: &str) -> Option<u64> {
    let digits = after(text, name)?;
    let end = digits.find(|c: char| !c.is_ascii_digit()).unwrap_or(digits.len());
    digits.get(..end)?.parse().ok()
}
