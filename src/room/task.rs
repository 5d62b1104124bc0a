//! The task that owns one room: it feeds the room its inputs and the passing time, and carries out what the room wants.

use std::sync::Arc;
use std::time::Duration;

use rand::SeedableRng;
use rand_pcg::Pcg64Mcg;
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

use super::room_event::RoomStats;
use super::rooms::{Envelope, Shared};
use super::{Connection, ConnectionId, Effect, Input, Lifecycle, Room, RoomHandle};
use crate::game::{Level, Seat, View, choose};
use crate::protocol::server_message::RoomSummary;

/// While somebody reads too slowly, the table's own steps wait this long at a time ...
const SLOW_READER_STEP: Duration = Duration::from_millis(2);
/// ... and at the most so often in a row. After that the slow reader's queue may overflow, and he is closed.
const SLOW_READER_STEPS: u32 = 500;
/// How long a room waits for a place in the journal's queue, at a time ...
const JOURNAL_RETRY: Duration = Duration::from_millis(100);
/// ... and at the most so often at its end. After that the journal lacks what happened last.
const JOURNAL_RETRIES_AT_END: u32 = 30;

/// Starts the task of a room.
pub(super) fn spawn(room: Room, shared: Shared) -> RoomHandle {
    let (inbox, inputs) = mpsc::channel(shared.options().inbox_capacity.max(1));
    let (summary, summaries) = watch::channel(room.summary());
    let stats = Arc::new(RoomStats::default());
    stats.set(&room, 0);
    let task = Task {
        room,
        connections: Vec::new(),
        summary,
        stats: Arc::clone(&stats),
        inbox: inbox.downgrade(),
        shared,
        retell_at: None,
        keeping: None,
    };
    tokio::spawn(task.run(inputs));
    RoomHandle::new(inbox, summaries, stats)
}

struct Task {
    room: Room,
    connections: Vec<Connection>,
    summary: watch::Sender<RoomSummary>,
    stats: Arc<RoomStats>,
    /// Our own inbox, for bots that think elsewhere. Weak: the registry keeps a room alive.
    inbox: mpsc::WeakSender<Envelope>,
    shared: Shared,
    /// The journal has missed something: it is told everything again, then at the latest.
    retell_at: Option<Instant>,
    /// The game that is being archived.
    keeping: Option<tokio::task::JoinHandle<()>>,
}

impl Task {
    async fn run(mut self, mut inputs: mpsc::Receiver<Envelope>) {
        let sleep = tokio::time::sleep_until(Instant::now());
        tokio::pin!(sleep);
        // The journal learns of a new room at once; a restored one may have something to do at once.
        self.retell();
        let effects = self.room.wake(self.shared.clock().now());
        self.carry_out(effects);
        self.stats.set(&self.room, 0);
        while matches!(self.room.lifecycle(), Lifecycle::Live | Lifecycle::Suspended) {
            let room_wakes_at = self.room.wake_at().map(|time| self.shared.clock().instant(time));
            let wake_at = [room_wakes_at, self.retell_at].into_iter().flatten().min();
            if let Some(wake_at) = wake_at
                && sleep.deadline() != wake_at
            {
                sleep.as_mut().reset(wake_at);
            }
            tokio::select! {
                input = inputs.recv() => match input {
                    Some(envelope) => self.take(envelope),
                    None => break,
                },
                () = &mut sleep, if wake_at.is_some() => {
                    if wake_at == self.retell_at {
                        self.retell();
                        continue;
                    }
                    self.wait_for_slow_readers().await;
                    let effects = self.room.wake(self.shared.clock().now());
                    self.carry_out(effects);
                    self.stats.set(&self.room, self.connections.len());
                }
            }
        }
        // Who still says something learns that nobody listens.
        drop(inputs);
        // What comes back as the journal knows it: a room of a server that stops, and a game until the archive has it.
        if self.room.lifecycle() == Lifecycle::Stopped || self.keeping.is_some() {
            self.flush_pending().await;
        }
        let id = self.room.id();
        if self.room.lifecycle() == Lifecycle::Over {
            let shared = self.shared.clone();
            let keeping = self.keeping.take();
            // The journal covers a finished game until the archive has it, and until then knows no other by this id.
            shared.reserve(id);
            tokio::spawn(async move {
                if let Some(keeping) = keeping {
                    keeping.await.ok();
                }
                while !shared.journal().forget(id) {
                    tokio::time::sleep(JOURNAL_RETRY).await;
                }
                shared.release(id);
            });
        }
        self.shared.forget(id);
    }

    /// Tells the journal everything; if its queue is full, again a little later.
    fn retell(&mut self) {
        let is_told = self.shared.journal().retell(&self.room);
        self.retell_at = (!is_told).then(|| Instant::now() + JOURNAL_RETRY);
    }

    /// What the journal has missed must reach it before the room is gone.
    async fn flush_pending(&mut self) {
        for _ in 0..JOURNAL_RETRIES_AT_END {
            let Some(retell_at) = self.retell_at else { return };
            tokio::time::sleep_until(retell_at).await;
            self.retell();
        }
    }

    fn take(&mut self, Envelope { input, sent }: Envelope) {
        let taken = Instant::now();
        let speaker = match &input {
            Input::Said(id, _) => Some(*id),
            _ => None,
        };
        let gone = match &input {
            Input::Connected(connection) => {
                self.connections.push(connection.clone());
                None
            }
            Input::Disconnected(id, _) => Some(*id),
            _ => None,
        };
        let effects = self.room.handle(input, self.shared.clock().now());
        let handled = Instant::now();
        self.carry_out(effects);
        if let Some(speaker) = speaker {
            if let Some(connection) = self.connection(speaker) {
                connection.set_seated(self.room.is_seated(speaker));
                connection.mark_handled();
            }
            self.measure(sent, taken, handled);
        }
        if let Some(gone) = gone {
            self.connections.retain(|connection| connection.id != gone);
        }
        self.stats.set(&self.room, self.connections.len());
    }

    /// Measures what a client has said: since when it was on its way, was taken and was decided; now its effects are on
    /// theirs.
    fn measure(&self, sent: Instant, taken: Instant, handled: Instant) {
        let (metrics, done) = (self.shared.metrics(), Instant::now());
        metrics.action_seconds.observe((done - sent).as_secs_f64());
        if let Some(steps) = &metrics.step_seconds {
            steps.with("queue").observe((taken - sent).as_secs_f64());
            steps.with("handle").observe((handled - taken).as_secs_f64());
            steps.with("send").observe((done - handled).as_secs_f64());
        }
    }

    /// The table's own steps can come faster than any socket takes them (at pace 0): they wait a little for those who
    /// lag behind. What players do never waits.
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
        // The room is already where its notes lead to, so telling everything takes the place of all of them.
        let retells = self.retell_at.is_some() && effects.iter().any(|effect| matches!(effect, Effect::Journal(_)));
        if retells {
            self.retell();
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
                    self.shared.list_changed();
                }
                Effect::Journal(_) if retells => {}
                Effect::Journal(note) => {
                    if !self.shared.journal().note(self.room.id(), note) {
                        self.retell_at = Some(Instant::now() + JOURNAL_RETRY);
                    }
                }
                Effect::Report(room_event) => self.shared.tell(self.room.id(), room_event),
                Effect::Archive(record) => {
                    // First the journal: what the archive says has happened, a restart must not let happen otherwise.
                    let (written, kept) = (self.shared.journal().written(), self.shared.keep(*record));
                    self.keeping = Some(tokio::spawn(async {
                        written.await;
                        kept.await;
                    }));
                }
            }
        }
    }

    fn think(&self, seat: Seat, ticket: u32, level: Level, view: Box<View>) {
        let (inbox, bot_permits, metrics) =
            (self.inbox.clone(), self.shared.bot_permits(), Arc::clone(self.shared.metrics()));
        tokio::spawn(async move {
            let Ok(_permit) = bot_permits.acquire_owned().await else {
                return;
            };
            let decide = move || {
                let begun = Instant::now();
                let action = choose(level, &view, &mut Pcg64Mcg::seed_from_u64(getrandom::u64().unwrap_or(0)));
                metrics.bot_seconds.observe(begun.elapsed().as_secs_f64());
                action
            };
            // A bot that panics is a bug of ours; the table is not stalled by it, because `wake` acts for it.
            let action = tokio::task::spawn_blocking(decide).await;
            if let (Ok(action), Some(inbox)) = (action, inbox.upgrade()) {
                // A room that is over needs no decisions.
                drop(inbox.send(Envelope::now(Input::BotDecided { seat, ticket, action })).await);
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::super::{CreateError, Journal, Kept, Options, Rooms, connection};
    use super::*;
    use crate::observe::{Events, Metrics};
    use crate::protocol::{ClientMessage, OtherSeats, RoomId, SessionKey};

    fn rooms(journal: &Journal) -> Rooms {
        let metrics = Arc::new(Metrics::new("test", "test", false));
        let keep = Box::new(|_| Box::pin(async {}) as Kept);
        Rooms::new(Options::default(), journal.clone(), keep, metrics, Events::new(0))
    }

    fn open_room(rooms: &Rooms) -> Result<RoomId, CreateError> {
        rooms.create(None, "Ann".parse().unwrap(), OtherSeats::Bots).map(|seated| seated.room_id)
    }

    #[tokio::test(start_paused = true)]
    async fn what_the_journal_has_missed_it_is_told_while_nothing_happens() {
        let (journal, unread) = Journal::unread(1);
        let other = RoomId::from_number(1);
        assert!(journal.forget(other));
        let room = open_room(&rooms(&journal)).unwrap();
        // The clock stands until all have done what they can.
        tokio::time::sleep(JOURNAL_RETRY * 7 / 2).await;
        assert_eq!(unread.take(), Some((other, None)));
        assert_eq!(unread.take(), None);
        tokio::time::sleep(JOURNAL_RETRY).await;
        let (told, snapshot) = unread.take().unwrap();
        assert!(told == room && snapshot.is_some());
        // And once is enough.
        tokio::time::sleep(3 * JOURNAL_RETRY).await;
        assert_eq!(unread.take(), None);
    }

    #[tokio::test(start_paused = true)]
    async fn what_the_journal_has_missed_it_is_told_before_the_end() {
        let (journal, unread) = Journal::unread(1);
        assert!(journal.forget(RoomId::from_number(1)));
        let rooms = rooms(&journal);
        let room = open_room(&rooms).unwrap();
        let patience = Duration::from_secs(20);
        let make_place = async {
            tokio::time::sleep(JOURNAL_RETRY / 2).await;
            assert_eq!(rooms.len(), 1);
            unread.take()
        };
        let (left, place) = tokio::join!(rooms.stop(patience), make_place);
        assert!(left == 0 && place.is_some());
        let (told, snapshot) = unread.take().unwrap();
        assert!(told == room && snapshot.is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn what_the_journal_has_missed_of_a_game_it_is_told_before_it_forgets_it() {
        let (journal, unread) = Journal::unread(1);
        let rooms = rooms(&journal);
        let session = Some(SessionKey::of("browser"));
        let room = rooms.create(session, "Ann".parse().unwrap(), OtherSeats::Bots).unwrap().room_id;
        let handle = rooms.find(room).unwrap();
        let (connection, _outbox) = connection(session, 64);
        let host = connection.id;
        handle.send(Input::Connected(connection)).unwrap();
        let ready = r#"{"event":"client_ready","data":{"player_name":"Ann"}}"#;
        handle.send(Input::Said(host, crate::protocol::decode(ready).unwrap())).unwrap();
        handle.send(Input::Said(host, ClientMessage::StartGame)).unwrap();
        let make_places = async {
            let mut told = Vec::new();
            for _ in 0..20 {
                tokio::time::sleep(JOURNAL_RETRY / 2).await;
                told.extend(unread.take().map(|(told, snapshot)| (told, snapshot.is_some())));
            }
            told
        };
        let (is_closed, told) = tokio::join!(rooms.close(room, None, Duration::from_secs(20)), make_places);
        assert!(is_closed);
        assert_eq!(told, [(room, true), (room, true), (room, false)], "the new room, what it missed, and the end");
    }

    #[tokio::test(start_paused = true)]
    async fn a_journal_that_takes_nothing_does_not_keep_the_server_from_stopping() {
        let (journal, unread) = Journal::unread(0);
        let rooms = rooms(&journal);
        open_room(&rooms).unwrap();
        let begun = Instant::now();
        assert_eq!(rooms.stop(Duration::from_secs(20)).await, 0);
        assert_eq!(begun.elapsed(), JOURNAL_RETRY * JOURNAL_RETRIES_AT_END);
        assert_eq!(unread.take(), None);
    }
}
