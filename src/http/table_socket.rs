//! A WebSocket of a room, or of a room that does not exist.

use std::convert::Infallible;
use std::future::pending;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::sleep;

use super::link::{Incoming, Link, Served, SocketEnd, pong};
use super::socket_limits::{Sender, SocketLimits};
use crate::protocol::server_message::{self, RoomClosed};
use crate::protocol::{ClientMessage, CloseReason, ErrorType, Frame, RoomId, SessionKey};
use crate::room::{self, ConnectionId, Input, RoomHandle, SendError};

/// How many messages a page sends as it opens: `client_ready`, and what it requests at once.
const OPENING_MESSAGES: u8 = 4;
/// How long a socket of an unknown room may stay.
const UNKNOWN_ROOM_TIMEOUT: Duration = Duration::from_secs(60);

/// Serves a room's socket until it ends.
pub(super) async fn serve(link: &mut Link, limits: &SocketLimits, session: SessionKey, id: RoomId) -> Served {
    let state = Arc::clone(&link.state);
    let Some(room) = state.services.rooms.find(id) else { return unknown_room(link, limits, &id.to_string()).await };
    let (connection, outbox) = room::connection(Some(session), state.options.send_queue_frames);
    let connection_id = connection.id;
    if room.deliver(Input::Connected(connection)).await.is_err() {
        return unknown_room(link, limits, &id.to_string()).await;
    }
    let mut table = Table { room, id, connection_id, outbox, opening: OPENING_MESSAGES, sent: 0 };
    let Err(left) = table.run(link, limits).await;
    match left {
        ExitReason::Socket(ended) => {
            // A room that has ended needs no notice.
            table.room.deliver(Input::Disconnected(connection_id, ended.disconnect_kind())).await.ok();
            Err(ended)
        }
        // The room has ended and the client knows it. Its further messages still get answers.
        ExitReason::Room => {
            drop(table);
            answer_for_unknown_room(link, limits).await
        }
    }
}

/// A client's end at a room's table.
struct Table {
    room: RoomHandle,
    id: RoomId,
    connection_id: ConnectionId,
    outbox: room::FrameReceiver,
    /// How many of [`OPENING_MESSAGES`] are left.
    opening: u8,
    /// How many messages the room has got.
    sent: u64,
}

impl Table {
    /// Carries messages both ways until the socket or the room ends.
    async fn run(&mut self, link: &mut Link, limits: &SocketLimits) -> Result<Infallible, ExitReason> {
        loop {
            tokio::select! {
                outgoing = self.outbox.next() => self.forward(link, outgoing).await?,
                incoming = link.receive() => self.handle(link, limits, incoming).await?,
            }
        }
    }

    /// Sends a frame of the room, together with others that are already queued.
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

    /// Writes the gathered frames. Stops if the room closes a socket that reads too slowly.
    async fn flush(&mut self, link: &mut Link) -> Result<(), ExitReason> {
        tokio::select! {
            biased;
            written = link.flush() => written.map_err(ExitReason::Socket),
            reason = self.outbox.aborted() => Err(ExitReason::Socket(SocketEnd::Ours(reason))),
        }
    }

    /// Waits for a future, and sends the room's frames meanwhile.
    async fn forward_until<T>(&mut self, link: &mut Link, future: impl Future<Output = T>) -> Result<T, ExitReason> {
        tokio::pin!(future);
        loop {
            tokio::select! {
                biased;
                output = &mut future => return Ok(output),
                outgoing = self.outbox.next() => self.forward(link, outgoing).await?,
            }
        }
    }

    /// Which limit the message counts against.
    fn sender(&mut self, message: &ClientMessage) -> Sender {
        let opens = matches!(message, ClientMessage::ClientReady { .. } | ClientMessage::GetRoomState);
        match self.opening.checked_sub(1).filter(|_| opens) {
            Some(left) => {
                self.opening = left;
                Sender::Unidentified
            }
            None if self.outbox.is_seated() => Sender::Player,
            None => Sender::Watcher,
        }
    }

    async fn handle(&mut self, link: &mut Link, limits: &SocketLimits, incoming: Incoming) -> Result<(), ExitReason> {
        let limit = self.forward_until(link, incoming.check_limit(limits)).await?;
        let message = match link.decode(incoming, limit).await.map_err(ExitReason::Socket)? {
            Some(Ok(message)) => message,
            Some(Err(answer)) => return self.answer(link, answer).await,
            None => return Ok(()),
        };
        let (action, sender) = (<&str>::from(&message), self.sender(&message));
        let (outcome, answer) = match message {
            // Does not concern the table, so the room does not get it.
            ClientMessage::Ping { timestamp } => ("accepted", Some(pong(&timestamp, Some(self.id)))),
            message => match self.forward_until(link, limits.table_message(self.id, sender, &message)).await? {
                Err(refused) => ("refused", Some(refused)),
                Ok(()) => match self.room.send(Input::Message(self.connection_id, message)) {
                    Ok(()) => {
                        self.sent += 1;
                        ("accepted", None)
                    }
                    // The room's last frames are still to be sent.
                    Err(SendError::Gone) => return self.forward_until(link, pending()).await,
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

    /// Sends an answer that does not come from the room, after the room's answers to all earlier messages.
    async fn answer(&mut self, link: &mut Link, answer: Frame) -> Result<(), ExitReason> {
        let caught_up = self.catch_up(link).await;
        if matches!(caught_up, Err(ExitReason::Socket(_))) {
            return caught_up;
        }
        link.outgoing.push(answer);
        self.flush(link).await?;
        caught_up
    }

    /// Waits until the room has handled all messages so far, and sends its answers.
    async fn catch_up(&mut self, link: &mut Link) -> Result<(), ExitReason> {
        let handled = self.outbox.handled(self.sent);
        self.forward_until(link, handled).await?;
        while let Some(frame) = self.outbox.try_next() {
            self.forward(link, room::Outgoing::Frame(frame)).await?;
        }
        Ok(())
    }
}

/// Why serving a table ends.
enum ExitReason {
    /// The socket ends.
    Socket(SocketEnd),
    /// The room has ended; the socket may stay.
    Room,
}

/// Serves a socket of a room that does not exist.
pub(super) async fn unknown_room(link: &mut Link, limits: &SocketLimits, id: &str) -> Served {
    link.send(server_message::room_not_found(id)).await?;
    answer_for_unknown_room(link, limits).await
}

/// Answers in place of a room that does not exist, for as long as a client needs to go back to the lobby.
async fn answer_for_unknown_room(link: &mut Link, limits: &SocketLimits) -> Served {
    let until = sleep(UNKNOWN_ROOM_TIMEOUT);
    tokio::pin!(until);
    let state = Arc::clone(&link.state);
    loop {
        let incoming = tokio::select! {
            incoming = link.receive() => incoming,
            () = state.closing() => return Err(SocketEnd::Ours(CloseReason::Restart)),
            () = &mut until => return Err(SocketEnd::Ours(CloseReason::Done)),
        };
        let Some(message) = link.read(incoming, limits).await? else { continue };
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
            | ClientMessage::StartNextRound
            | ClientMessage::Seen
            | ClientMessage::Rematch { .. } => continue,
        };
        link.send(answer).await?;
    }
}
