//! Opens rooms, leaves them in every phase, and checks that the server forgets all of them: no room, socket, bucket, task
//! or journal entry stays, and the memory comes back.

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::Mutex;
use tokio::task::JoinSet;

use super::LoadError;
use super::socket::{Socket, is_state, text_field};
use super::table::Next;

/// What to do.
#[derive(Debug, Clone)]
pub struct Leaving {
    /// Where the server listens.
    pub server: SocketAddr,
    /// Where its metrics are.
    pub metrics: SocketAddr,
    /// How many rooms.
    pub rooms: usize,
    /// How many clients are busy at once.
    pub clients: usize,
    /// How long the server may take to forget them.
    pub timeout: Duration,
}

/// The ways rooms are left, and how many of a hundred rooms. What takes long to reach is rarer.
const EXITS: [(&str, Exit, usize); 11] = [
    ("unclaimed", Exit::Unclaimed, 25),
    ("left by request", Exit::ByRequest, 20),
    ("closed", Exit::Closed, 20),
    ("lost", Exit::Lost, 20),
    ("preparation", Exit::InPhase, 4),
    ("round_start", Exit::InPhase, 2),
    ("declaration", Exit::InPhase, 4),
    ("turn", Exit::InPhase, 2),
    ("turn_results", Exit::InPhase, 1),
    ("scoring", Exit::InPhase, 1),
    ("game_over", Exit::InPhase, 1),
];

/// How a room is left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Exit {
    /// The seat that was taken is never claimed.
    Unclaimed,
    /// The host asks to leave, which closes the room.
    ByRequest,
    /// The host closes the socket in order.
    Closed,
    /// The connection of the host is lost before the game.
    Lost,
    /// The connection of the host is lost in the phase that gives this exit its name.
    InPhase,
}

/// The way in which the room with this number is left, and its name.
fn exit_of(number: usize) -> (&'static str, Exit) {
    let mut exits = EXITS.iter().flat_map(|(name, exit, share)| std::iter::repeat_n((*name, *exit), *share));
    exits.nth(number % 100).unwrap_or(("unclaimed", Exit::Unclaimed))
}

/// The result.
#[derive(Debug, Clone)]
pub struct Forgotten {
    /// How many rooms were left in each way.
    pub left: BTreeMap<&'static str, usize>,
    /// How long that took.
    pub span: Duration,
    /// What the server held before, after a warm-up with a tenth of the rooms, but at most fifty thousand.
    pub before: Held,
    /// What it holds after.
    pub after: Held,
    /// How long the server took to forget the last of them.
    pub settled: Duration,
}

/// What a server holds: names and metrics. The first five belong to rooms and sockets.
pub const LEVELS: [(&str, &str); 9] = [
    ("rooms", "liap_rooms"),
    ("sockets", "liap_sockets"),
    ("limit keys", "liap_limit_keys"),
    ("journal pending", "liap_journal_pending"),
    ("archive pending", "liap_archive_pending"),
    ("tasks", "liap_tasks"),
    ("journal bytes", "liap_journal_bytes"),
    ("open files", "process_open_fds"),
    ("resident bytes", "process_resident_memory_bytes"),
];

/// The values of [`LEVELS`] at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Held(pub [u64; 9]);

impl Held {
    /// Reads the metrics.
    async fn by(metrics: SocketAddr) -> Result<Self, LoadError> {
        let mut stream = TcpStream::connect(metrics).await?;
        stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: liap\r\nConnection: close\r\n\r\n").await?;
        let mut text = String::new();
        stream.read_to_string(&mut text).await?;
        // Sums over all labels of a metric.
        let sum = |name: &str| {
            let lines = text.lines().filter_map(|line| line.strip_prefix(name));
            let values = lines.filter(|rest| rest.starts_with([' ', '{'])).filter_map(|rest| rest.rsplit(' ').next());
            values.filter_map(|value| value.parse::<f64>().ok()).sum::<f64>()
        };
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "levels are whole and not negative"
        )]
        let level = |(_, metric)| sum(metric) as u64;
        Ok(Self(LEVELS.map(level)))
    }

    /// Whether nothing is held that belongs to a room or a socket.
    fn is_empty(&self) -> bool {
        self.0.first_chunk() == Some(&[0; 5])
    }
}

impl Forgotten {
    /// Whether the server is as before: it holds nothing, has no more tasks, and after many rooms its memory is within a
    /// tenth.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        let (Held([.., tasks_before, _, _, bytes_before]), Held([.., tasks, _, _, bytes])) = (self.before, self.after);
        let is_within_a_tenth = bytes <= bytes_before / 10 * 11;
        let are_few = self.left.values().sum::<usize>() < MEMORY_CHECKED_FROM;
        self.after.is_empty() && tasks <= tasks_before && (are_few || is_within_a_tenth)
    }
}

/// After fewer rooms than this, what the allocator and the threads take at first is more than a tenth.
const MEMORY_CHECKED_FROM: usize = 50_000;

/// How often the server is asked whether it has forgotten.
const POLL_INTERVAL: Duration = Duration::from_secs(1);
/// How often the server gives free memory back, and a little longer.
const RECLAIM_INTERVAL: Duration = Duration::from_secs(63);
/// More rooms do not warm a server up further: as many are forgotten as are opened, and the buffer of events is full.
const WARM_UP_MAX: usize = 50_000;
/// Addresses that clients come from, so that no server runs out of ports.
const ADDRESSES: usize = 1 << 14;
/// How long a client waits when it meets a rate limit, and how often.
const RETRY_INTERVAL: Duration = Duration::from_millis(50);
const RETRIES_MAX: usize = 1_000;

/// Opens and leaves the rooms, and waits until the server has forgotten them or the timeout is over.
///
/// # Errors
/// [`LoadError`] of the first client that fails.
pub async fn leave(leaving: &Leaving) -> Result<Forgotten, LoadError> {
    open_and_leave(leaving, leaving.rooms.div_ceil(10).min(WARM_UP_MAX)).await?;
    let before = settle(leaving).await?;
    let began = Instant::now();
    let left = open_and_leave(leaving, leaving.rooms).await?;
    let span = began.elapsed();
    let began = Instant::now();
    let after = settle(leaving).await?;
    Ok(Forgotten { left, span, before, after, settled: began.elapsed() })
}

/// Waits until the server holds nothing and has given back its memory after that.
async fn settle(leaving: &Leaving) -> Result<Held, LoadError> {
    let until = Instant::now() + leaving.timeout;
    let mut empty_since = None;
    loop {
        let held = Held::by(leaving.metrics).await?;
        let since = *empty_since.get_or_insert_with(Instant::now);
        if !held.is_empty() {
            empty_since = None;
        } else if since.elapsed() >= RECLAIM_INTERVAL {
            return Ok(held);
        }
        if Instant::now() >= until {
            return Ok(held);
        }
        tokio::time::sleep(POLL_INTERVAL).await;
    }
}

async fn open_and_leave(leaving: &Leaving, rooms: usize) -> Result<BTreeMap<&'static str, usize>, LoadError> {
    // All clients open their rooms through one socket: every socket in the lobby gets the list of rooms whenever it
    // changes, which it always does here.
    let lobby = Arc::new(Mutex::new(Socket::from(leaving.server, 0, "lobby").await?));
    let next = Arc::new(AtomicUsize::new(0));
    let mut clients = JoinSet::new();
    for _ in 0..leaving.clients {
        let (lobby, next, server) = (Arc::clone(&lobby), Arc::clone(&next), leaving.server);
        clients.spawn(async move {
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                if number >= rooms {
                    return Ok::<_, LoadError>(());
                }
                let (room, token) = create(&lobby).await?;
                if exit_of(number).1 != Exit::Unclaimed {
                    visit(server, number, &room, &token).await?;
                }
            }
        });
    }
    while let Some(client) = clients.join_next().await {
        client.map_err(io::Error::other)??;
    }
    let mut left = BTreeMap::<_, usize>::new();
    (0..rooms).for_each(|number| *left.entry(exit_of(number).0).or_default() += 1);
    Ok(left)
}

/// Opens a room; returns its id and the token of its first seat.
async fn create(lobby: &Mutex<Socket>) -> Result<(String, String), LoadError> {
    for _ in 0..RETRIES_MAX {
        let mut lobby = lobby.lock().await;
        lobby.send(format!(r#"{{"event":"create_room","data":{{"player_name":"{NAME}"}}}}"#)).await?;
        match lobby.receive_event("room_created").await {
            Ok(created) => {
                let field = |name| text_field(&created, name).unwrap_or_default().to_owned();
                return Ok((field("\"room_id\":"), field("\"seat_token\":")));
            }
            Err(LoadError::Refused(why)) if why.contains("\"rate_limited\"") => {}
            Err(error) => return Err(error),
        }
        drop(lobby);
        tokio::time::sleep(RETRY_INTERVAL).await;
    }
    Err(LoadError::Refused("too many rooms, for too long".to_owned()))
}

const NAME: &str = "Leaver";

/// Takes the seat of a room, plays up to its exit, and leaves it there.
async fn visit(server: SocketAddr, number: usize, room: &str, token: &str) -> Result<(), LoadError> {
    let (name, exit) = exit_of(number);
    let mut socket = Socket::from(server, number, room).await?;
    socket
        .send(format!(r#"{{"event":"client_ready","data":{{"player_name":"{NAME}","seat_token":"{token}"}}}}"#))
        .await?;
    socket.receive_event("room_state_update").await?;
    match exit {
        Exit::Unclaimed | Exit::Lost => {}
        Exit::ByRequest => {
            socket.send(format!(r#"{{"event":"leave_room","data":{{"player_name":"{NAME}"}}}}"#)).await?;
            socket.receive_event("player_left").await?;
        }
        Exit::Closed => {
            socket.close().await;
            return Ok(());
        }
        Exit::InPhase => {
            socket.send(r#"{"event":"start_game","data":{}}"#.to_owned()).await?;
            play_until(&mut socket, name).await?;
        }
    }
    socket.vanish()
}

/// Plays as the server asks until the table is in this phase.
async fn play_until(socket: &mut Socket, phase: &str) -> Result<(), LoadError> {
    let names = [NAME.to_owned()];
    loop {
        let text = socket.receive().await?;
        if !is_state(&text) {
            continue;
        }
        if text_field(&text, "\"phase\":") == Some(phase) {
            return Ok(());
        }
        if let Some(Next::Act { message, .. }) = Next::in_state(&names, &text) {
            socket.send(message).await?;
        }
    }
}

impl Socket {
    /// Opens a socket as the client of this number. On a loopback address every client has an address of its own.
    async fn from(server: SocketAddr, number: usize, room: &str) -> Result<Self, LoadError> {
        let stream = match server.ip() {
            IpAddr::V4(ip) if ip.is_loopback() => {
                #[expect(clippy::cast_possible_truncation, reason = "below 2^14")]
                let offset = 2 + (number % ADDRESSES) as u32;
                let socket = TcpSocket::new_v4()?;
                socket.bind((Ipv4Addr::from_bits(Ipv4Addr::LOCALHOST.to_bits() + offset), 0).into())?;
                socket.connect(server).await?
            }
            _ => TcpStream::connect(server).await?,
        };
        Self::over(stream, server, room).await
    }

    /// Drops the connection with a reset, so that no port stays in `TIME_WAIT`.
    fn vanish(self) -> Result<(), LoadError> {
        self.stream.get_ref().set_zero_linger()?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hundred_rooms_are_left_in_every_way() {
        assert_eq!(EXITS.iter().map(|(.., share)| share).sum::<usize>(), 100);
        let mut counts = BTreeMap::<_, usize>::new();
        (0..100).for_each(|number| *counts.entry(exit_of(number).0).or_default() += 1);
        for (name, _, share) in EXITS {
            assert_eq!(counts[name], share, "{name}");
        }
    }
}
