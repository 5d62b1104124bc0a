//! The task that owns one room. It feeds the room its inputs and the passing time, and carries out the room's effects.

use std::sync::Arc;
use std::time::Duration;

use rand::SeedableRng;
use rand_pcg::Pcg64Mcg;
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

use super::handle::{Envelope, RoomStats};
use super::registry::Registry;
use super::{Connection, ConnectionId, Effect, Input, Lifecycle, Room, RoomHandle};
use crate::game::{Level, Seat, View, choose};
use crate::protocol::server_message::RoomSummary;

/// How long the table's own steps wait for slow readers at a time ...
const SLOW_READER_STEP: Duration = Duration::from_millis(2);
/// ... and how often in a row. After that a slow reader's queue may overflow, which closes its socket.
const SLOW_READER_STEPS: u32 = 500;
/// How long a room waits before it tries a full journal queue again ...
const JOURNAL_RETRY: Duration = Duration::from_millis(100);
/// ... and how often at its end. After that the journal lacks the last events.
const JOURNAL_RETRIES_AT_END: u32 = 30;

/// Starts the task of a room.
pub(super) fn spawn(room: Room, registry: Arc<Registry>) -> RoomHandle {
    let (inbox, inputs) = mpsc::channel(registry.options.inbox_capacity.max(1));
    let (summary_sender, summary) = watch::channel(room.summary());
    let stats = Arc::new(RoomStats::default());
    stats.set(&room, 0);
    let task = Task {
        room,
        connections: Vec::new(),
        summary: summary_sender,
        stats: Arc::clone(&stats),
        inbox: inbox.downgrade(),
        registry,
        resync_at: None,
        archiving: None,
    };
    tokio::spawn(task.run(inputs));
    RoomHandle { inbox, summary, stats }
}

struct Task {
    room: Room,
    connections: Vec<Connection>,
    summary: watch::Sender<RoomSummary>,
    stats: Arc<RoomStats>,
    /// Our own inbox, for bots that decide on another thread. Weak: the registry keeps a room alive.
    inbox: mpsc::WeakSender<Envelope>,
    registry: Arc<Registry>,
    /// The journal has missed a note: when to send it the whole room, at the latest.
    resync_at: Option<Instant>,
    /// Resolves when the game is archived.
    archiving: Option<tokio::task::JoinHandle<()>>,
}

impl Task {
    async fn run(mut self, mut inputs: mpsc::Receiver<Envelope>) {
        let sleep = tokio::time::sleep_until(Instant::now());
        tokio::pin!(sleep);
        // The journal gets a new room at once. A restored room may have something to do at once.
        self.resync_journal();
        self.wake(0);
        while matches!(self.room.lifecycle(), Lifecycle::Live | Lifecycle::Suspended) {
            let room_wakes_at = self.room.wake_at().map(|time| self.registry.clock.instant(time));
            let wake_at = [room_wakes_at, self.resync_at].into_iter().flatten().min();
            if let Some(wake_at) = wake_at
                && sleep.deadline() != wake_at
            {
                sleep.as_mut().reset(wake_at);
            }
            tokio::select! {
                input = inputs.recv() => match input {
                    Some(envelope) => self.handle(envelope),
                    None => break,
                },
                () = &mut sleep, if wake_at.is_some() => {
                    if wake_at == self.resync_at {
                        self.resync_journal();
                        continue;
                    }
                    self.wait_for_slow_readers().await;
                    self.wake(self.connections.len());
                }
            }
        }
        // From now on senders learn that the room is gone.
        drop(inputs);
        self.end().await;
    }

    /// Lets the room do what is due.
    fn wake(&mut self, sockets: usize) {
        let effects = self.room.wake(self.registry.clock.now());
        self.carry_out(effects);
        self.stats.set(&self.room, sockets);
    }

    /// Removes the room from the registry, and from the journal once that does not need it any more.
    async fn end(mut self) {
        // The journal needs the latest state of a room that comes back, and of a game that is not archived yet.
        if self.room.lifecycle() == Lifecycle::Stopped || self.archiving.is_some() {
            for _ in 0..JOURNAL_RETRIES_AT_END {
                let Some(resync_at) = self.resync_at else { break };
                tokio::time::sleep_until(resync_at).await;
                self.resync_journal();
            }
        }
        let id = self.room.id();
        if self.room.lifecycle() == Lifecycle::Over {
            let registry = Arc::clone(&self.registry);
            let archiving = self.archiving.take();
            // The journal holds a finished game under this id until the archive has it.
            registry.reserve(id);
            tokio::spawn(async move {
                if let Some(archiving) = archiving {
                    archiving.await.ok();
                }
                while !registry.journal.remove(id) {
                    tokio::time::sleep(JOURNAL_RETRY).await;
                }
                registry.release(id);
            });
        }
        self.registry.remove(id);
    }

    /// Sends the journal the whole room. If its queue is full, tries again a little later.
    fn resync_journal(&mut self) {
        let is_queued = self.registry.journal.resync(&self.room);
        self.resync_at = (!is_queued).then(|| Instant::now() + JOURNAL_RETRY);
    }

    fn handle(&mut self, Envelope { input, sent }: Envelope) {
        let received = Instant::now();
        let (mut sender, mut closed) = (None, None);
        match &input {
            Input::Message(id, _) => sender = Some(*id),
            Input::Connected(connection) => self.connections.push(connection.clone()),
            Input::Disconnected(id, _) => closed = Some(*id),
            _ => {}
        }
        let effects = self.room.handle(input, self.registry.clock.now());
        let handled = Instant::now();
        self.carry_out(effects);
        if let Some(sender) = sender {
            if let Some(connection) = self.connection(sender) {
                connection.set_seated(self.room.is_seated(sender));
                connection.mark_handled();
            }
            self.measure(sent, received, handled);
        }
        if let Some(closed) = closed {
            self.connections.retain(|connection| connection.id != closed);
        }
        self.stats.set(&self.room, self.connections.len());
    }

    /// Measures the steps of a client's message, from its arrival until its effects are carried out.
    fn measure(&self, sent: Instant, received: Instant, handled: Instant) {
        let (metrics, done) = (&self.registry.metrics, Instant::now());
        metrics.action_seconds.observe((done - sent).as_secs_f64());
        if let Some(steps) = &metrics.step_seconds {
            steps.with("queue").observe((received - sent).as_secs_f64());
            steps.with("handle").observe((handled - received).as_secs_f64());
            steps.with("send").observe((done - handled).as_secs_f64());
        }
    }

    /// At pace 0 the table's own steps can outrun any socket, so they wait a little for slow readers. Handling what
    /// players do never waits.
    async fn wait_for_slow_readers(&self) {
        for _ in 0..SLOW_READER_STEPS {
            if !self.connections.iter().any(Connection::is_congested) {
                return;
            }
            tokio::time::sleep(SLOW_READER_STEP).await;
        }
    }

    fn connection(&self, id: ConnectionId) -> Option<&Connection> {
        self.connections.iter().find(|connection| connection.id == id)
    }

    fn carry_out(&mut self, effects: Vec<Effect>) {
        // The room is already in the state that its notes lead to, so the whole room replaces all of them.
        let resyncs = self.resync_at.is_some() && effects.iter().any(|effect| matches!(effect, Effect::Journal(_)));
        if resyncs {
            self.resync_journal();
        }
        for effect in effects {
            match effect {
                Effect::Send(id, frame) => {
                    if let Some(connection) = self.connection(id) {
                        connection.send(frame);
                    }
                }
                Effect::Close(id, reason) => {
                    if let Some(connection) = self.connection(id) {
                        connection.close(reason);
                    }
                }
                Effect::Think { seat, ticket, level, view } => self.think(seat, ticket, level, view),
                Effect::Listed => {
                    self.summary.send_replace(self.room.summary());
                    self.registry.list_changed();
                }
                Effect::Journal(_) if resyncs => {}
                Effect::Journal(note) => {
                    if !self.registry.journal.note(self.room.id(), note) {
                        self.resync_at = Some(Instant::now() + JOURNAL_RETRY);
                    }
                }
                Effect::Report(room_event) => {
                    room_event.report(self.room.id(), &self.registry.metrics, &self.registry.events);
                }
                Effect::Archive(record) => {
                    // The journal first: a restart must not undo what the archive already has.
                    let (written, archived) = (self.registry.journal.written(), (self.registry.archive_game)(*record));
                    self.archiving = Some(tokio::spawn(async {
                        written.await;
                        archived.await;
                    }));
                }
            }
        }
    }

    fn think(&self, seat: Seat, ticket: u32, level: Level, view: Box<View>) {
        let (inbox, registry) = (self.inbox.clone(), Arc::clone(&self.registry));
        tokio::spawn(async move {
            let Ok(_permit) = registry.bot_permits.acquire().await else {
                return;
            };
            let metrics = Arc::clone(&registry.metrics);
            let decide = move || {
                let begun = Instant::now();
                let action = choose(level, &view, &mut Pcg64Mcg::seed_from_u64(getrandom::u64().unwrap_or(0)));
                metrics.bot_seconds.observe(begun.elapsed().as_secs_f64());
                action
            };
            // A bot that panics does not stall the table: after a timeout `wake` decides for it.
            let action = tokio::task::spawn_blocking(decide).await;
            if let (Ok(action), Some(inbox)) = (action, inbox.upgrade()) {
                // A room that has ended needs no decision.
                drop(inbox.send(Envelope::now(Input::BotDecided { seat, ticket, action })).await);
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Archived, CreateError, Journal, Options, Rooms, connection};
    use super::*;
    use crate::observe::{Events, Metrics};
    use crate::protocol::{ClientMessage, RoomId, RoomRules, SessionKey};

    fn rooms(journal: &Journal) -> Rooms {
        let metrics = Arc::new(Metrics::new("test", "test", false));
        let archive_game = Box::new(|_| Box::pin(async {}) as Archived);
        Rooms::new(Options::default(), journal.clone(), archive_game, metrics, Events::new(0))
    }

    fn open_room(rooms: &Rooms) -> Result<RoomId, CreateError> {
        rooms.create(None, "Ann".parse().unwrap(), RoomRules::default()).map(|seated| seated.room_id)
    }

    #[tokio::test(start_paused = true)]
    async fn a_note_the_journal_missed_is_made_up_for_while_nothing_happens() {
        let (journal, unread) = Journal::unread(1);
        let other = RoomId::from_number(1);
        assert!(journal.remove(other));
        let room = open_room(&rooms(&journal)).unwrap();
        // The paused clock advances only while every task waits.
        tokio::time::sleep(JOURNAL_RETRY * 7 / 2).await;
        assert_eq!(unread.take(), Some((other, None)));
        assert_eq!(unread.take(), None);
        tokio::time::sleep(JOURNAL_RETRY).await;
        let (noted, snapshot) = unread.take().unwrap();
        assert!(noted == room && snapshot.is_some());
        // Once is enough.
        tokio::time::sleep(3 * JOURNAL_RETRY).await;
        assert_eq!(unread.take(), None);
    }

    #[tokio::test(start_paused = true)]
    async fn a_note_the_journal_missed_is_made_up_for_before_the_server_stops() {
        let (journal, unread) = Journal::unread(1);
        assert!(journal.remove(RoomId::from_number(1)));
        let rooms = rooms(&journal);
        let room = open_room(&rooms).unwrap();
        let timeout = Duration::from_secs(20);
        let drain_queue = async {
            tokio::time::sleep(JOURNAL_RETRY / 2).await;
            assert_eq!(rooms.len(), 1);
            unread.take()
        };
        let (left, taken) = tokio::join!(rooms.stop(timeout), drain_queue);
        assert!(left == 0 && taken.is_some());
        let (noted, snapshot) = unread.take().unwrap();
        assert!(noted == room && snapshot.is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn a_note_the_journal_missed_is_made_up_for_before_a_game_is_removed() {
        let (journal, unread) = Journal::unread(1);
        let rooms = rooms(&journal);
        let session = Some(SessionKey::of("browser"));
        let room = rooms.create(session, "Ann".parse().unwrap(), RoomRules::default()).unwrap().room_id;
        let handle = rooms.find(room).unwrap();
        let (connection, _outbox) = connection(session, 64);
        let host = connection.id;
        handle.send(Input::Connected(connection)).unwrap();
        let ready = r#"{"event":"client_ready","data":{"player_name":"Ann"}}"#;
        handle.send(Input::Message(host, crate::protocol::decode(ready).unwrap())).unwrap();
        handle.send(Input::Message(host, ClientMessage::StartGame)).unwrap();
        let drain_queue = async {
            let mut noted = Vec::new();
            for _ in 0..20 {
                tokio::time::sleep(JOURNAL_RETRY / 2).await;
                noted.extend(unread.take().map(|(room, snapshot)| (room, snapshot.is_some())));
            }
            noted
        };
        let (is_closed, noted) = tokio::join!(rooms.close(room, None, Duration::from_secs(20)), drain_queue);
        assert!(is_closed);
        assert_eq!(noted, [(room, true), (room, true), (room, false)], "the new room, what it missed, and the end");
    }

    #[tokio::test(start_paused = true)]
    async fn a_full_journal_does_not_keep_the_server_from_stopping() {
        let (journal, unread) = Journal::unread(0);
        let rooms = rooms(&journal);
        open_room(&rooms).unwrap();
        let begun = Instant::now();
        assert_eq!(rooms.stop(Duration::from_secs(20)).await, 0);
        assert_eq!(begun.elapsed(), JOURNAL_RETRY * JOURNAL_RETRIES_AT_END);
        assert_eq!(unread.take(), None);
    }
}
