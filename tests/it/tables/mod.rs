//! Rooms without sockets: whole games in milliseconds, with a time of our own.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use liap::archive::{Ended, GameRecord, encode};
use liap::game::{Level, Seat, ServerSeed, choose};
use liap::protocol::{CloseReason, OtherSeats, RoomId, RoomRules, SeatChoice, SeatToken, SessionKey, Tempo, decode};
use liap::room::{
    Connection, ConnectionId, DisconnectKind, Effect, FrameReceiver, Input, JoinError, JoinRequest, Lifecycle, Options,
    Room, Time, connection,
};
use rand::{RngExt, SeedableRng};
use rand_pcg::Pcg64Mcg;
use serde_json::{Value, json};

mod play;
mod restart;
mod result;
mod seats;
mod wire;

/// One room, its clients, and the frames they have received.
struct Table {
    room: Room,
    now: Time,
    clients: BTreeMap<ConnectionId, Client>,
    records: Vec<GameRecord>,
    rng: Pcg64Mcg,
}

struct Client {
    _ends: (Connection, FrameReceiver),
    received: Vec<Value>,
    closed: Option<CloseReason>,
}

fn session(of: &str) -> SessionKey {
    SessionKey::of(&format!("the browser of {of}"))
}

fn token(of: &str) -> SeatToken {
    let mut bytes = [0; 16];
    bytes[..of.len().min(16)].copy_from_slice(&of.as_bytes()[..of.len().min(16)]);
    SeatToken::new(bytes)
}

fn newcomer(name: &str) -> JoinRequest {
    JoinRequest { session: Some(session(name)), name: name.parse().unwrap(), token: token(name).key() }
}

impl Table {
    /// A room of Ann's, with a seed for its deals and dice.
    fn new(seed: u8, pace: f64) -> Self {
        let options = Options { game_pace: pace, ..Options::default() };
        let now = Time::from_unix_ms(1_800_000_000_000);
        let rng = Pcg64Mcg::seed_from_u64(seed.into());
        let id = RoomId::from_number(0x3F_A9C1);
        let room = Room::open(id, newcomer("Ann"), ServerSeed::new([seed; 32]), rng.clone(), Arc::new(options), now);
        Self { room, now, clients: BTreeMap::new(), records: Vec::new(), rng }
    }

    fn carry_out(&mut self, effects: Vec<Effect>) {
        for effect in effects {
            match effect {
                Effect::Send(id, frame) => {
                    let value: Value = serde_json::from_str(frame.as_str()).unwrap();
                    assert!(value.get("sequence").is_none(), "never a sequence at the top: {value}");
                    if let Some(client) = self.clients.get_mut(&id) {
                        client.received.push(value);
                    }
                }
                Effect::Close(id, reason) => {
                    if let Some(client) = self.clients.get_mut(&id) {
                        client.closed.get_or_insert(reason);
                    }
                }
                Effect::Think { seat, ticket, view, .. } => {
                    let action = choose(Level::Normal, &view, &mut self.rng);
                    let effects = self.room.handle(Input::BotDecided { seat, ticket, action }, self.now);
                    self.carry_out(effects);
                }
                Effect::Listed | Effect::Journal(_) | Effect::Report(_) => {}
                Effect::Archive(record) => self.records.push(*record),
            }
        }
    }

    fn input(&mut self, input: Input) {
        let effects = self.room.handle(input, self.now);
        self.carry_out(effects);
    }

    fn connect(&mut self, session: Option<SessionKey>) -> ConnectionId {
        let (connection, outbox) = connection(session, 64);
        let id = connection.id;
        let ends = (connection.clone(), outbox);
        self.clients.insert(id, Client { _ends: ends, received: Vec::new(), closed: None });
        self.input(Input::Connected(connection));
        id
    }

    fn say(&mut self, id: ConnectionId, event: &str, data: Value) {
        let message = decode(&json!({ "event": event, "data": data }).to_string()).unwrap();
        self.input(Input::Message(id, message));
    }

    /// Opens a page of this player, which sends `client_ready`.
    fn enter(&mut self, name: &str) -> ConnectionId {
        let id = self.connect(Some(session(name)));
        self.say(id, "client_ready", json!({ "player_name": name, "is_reconnection": false }));
        id
    }

    fn disconnect(&mut self, id: ConnectionId, disconnect_kind: DisconnectKind) {
        self.input(Input::Disconnected(id, disconnect_kind));
    }

    fn join(&mut self, name: &str) -> Result<Seat, JoinError> {
        self.join_choosing(name, SeatChoice::Free)
    }

    fn join_choosing(&mut self, name: &str, choice: SeatChoice) -> Result<Seat, JoinError> {
        let (reply, mut answer) = tokio::sync::oneshot::channel();
        self.input(Input::Join { who: newcomer(name), choice, reply });
        answer.try_recv().unwrap()
    }

    fn free(&mut self, host: ConnectionId, slot: u8) {
        self.say(host, "remove_player", json!({ "slot_id": slot }));
    }

    fn received(&mut self, id: ConnectionId) -> Vec<Value> {
        std::mem::take(&mut self.clients.get_mut(&id).unwrap().received)
    }

    fn received_events(&mut self, id: ConnectionId) -> Vec<String> {
        self.received(id).iter().map(|frame| frame["event"].as_str().unwrap().to_owned()).collect()
    }

    fn last(&self, id: ConnectionId, event: &str) -> Option<&Value> {
        self.clients[&id].received.iter().rev().find(|frame| frame["event"] == event).map(|frame| &frame["data"])
    }

    fn pass(&mut self, span: Duration) {
        let end = self.now + span;
        while let Some(at) = self.room.wake_at().filter(|&at| at <= end && self.room.lifecycle() != Lifecycle::Over) {
            self.now = self.now.max(at);
            let effects = self.room.wake(self.now);
            self.carry_out(effects);
        }
        self.now = end;
    }

    /// Lets time pass until `done` returns true; fails after an hour of the room's time.
    fn pass_until(&mut self, mut done: impl FnMut(&Self) -> bool) {
        let end = self.now + Duration::from_secs(3600);
        while !done(self) {
            let at = self.room.wake_at().expect("the room waits for something");
            assert!(at <= end, "nothing happens");
            self.now = self.now.max(at);
            let effects = self.room.wake(self.now);
            self.carry_out(effects);
        }
    }

    fn phase(&self, id: ConnectionId) -> Option<&str> {
        self.last(id, "phase_change")?["phase"].as_str()
    }

    /// What the page of `name` would do now: nothing, or an action for its own hand.
    fn decide(&mut self, id: ConnectionId, name: &str) -> Option<(&'static str, Value)> {
        let state = self.last(id, "phase_change")?.clone();
        let data = &state["phase_data"];
        let own = &state["players"][name];
        match state["phase"].as_str()? {
            "preparation" if data["weak_players_awaiting"].as_array()?.contains(&json!(name)) => {
                let event = if self.rng.random() { "accept_redeal" } else { "decline_redeal" };
                Some((event, json!({ "player_name": name })))
            }
            "declaration" if data["current_declarer"] == name => {
                let streak = own["zero_declares_in_a_row"].as_u64()?;
                let made = data["declarations"].as_object()?.len();
                let sum = data["declaration_total"].as_i64()?;
                let allowed: Vec<i64> =
                    (0..=8).filter(|v| !(made == 3 && sum + v == 8 || streak >= 2 && *v == 0)).collect();
                let value = allowed[self.rng.random_range(0..allowed.len())];
                Some(("declare", json!({ "player_name": name, "value": value })))
            }
            "turn" if data["current_player"] == name && data["turn_plays"].get(name).is_none() => {
                let count = data["required_piece_count"].as_u64().unwrap_or(1);
                let indices: Vec<u64> = (0..count).collect();
                Some(("play", json!({ "player_name": name, "piece_indices": indices, "play_value": 0 })))
            }
            _ => None,
        }
    }

    /// Plays on with these players until the game is over, or `stop` returns true.
    /// Makes the next step: a decision of this player if one is due, or else what is due next.
    fn step(&mut self, id: ConnectionId, name: &str) {
        if let Some((event, data)) = self.decide(id, name) {
            self.say(id, event, data);
        } else {
            self.wake();
        }
    }

    /// Goes to the next thing that is due, and does it.
    fn wake(&mut self) {
        let at = self.room.wake_at().expect("a table always waits for somebody");
        self.now = self.now.max(at);
        let effects = self.room.wake(self.now);
        self.carry_out(effects);
    }

    fn play(&mut self, players: &[(ConnectionId, &str)], mut stop: impl FnMut(&Self) -> bool) {
        for _ in 0..200_000 {
            if stop(self) || players.iter().any(|&(id, _)| self.phase(id) == Some("game_over")) {
                return;
            }
            let mut acted = false;
            for &(id, name) in players {
                if let Some((event, data)) = self.decide(id, name) {
                    self.say(id, event, data);
                    acted = true;
                }
            }
            if !acted {
                self.wake();
            }
        }
        panic!("the game does not end");
    }
}

impl Table {
    /// The room after a crash: restored from its journal, with no client connected.
    fn restarted(&self) -> Self {
        let options = Options { game_pace: 0.1, ..Options::default() };
        let snapshot = liap::room::RoomSnapshot::from_bytes(&self.room.snapshot().to_bytes()).unwrap();
        let rng = Pcg64Mcg::seed_from_u64(99);
        let room = Room::restore(&snapshot, self.room.events(), rng.clone(), Arc::new(options), self.now).unwrap();
        Self { room, now: self.now, clients: BTreeMap::new(), records: Vec::new(), rng }
    }
}

fn refusal(table: &Table, id: ConnectionId) -> &str {
    table.last(id, "error").expect("an error")["type"].as_str().unwrap()
}

/// The missed events, as this client gets them now.
fn missed(table: &mut Table, id: ConnectionId, range: Value) -> Vec<Value> {
    table.say(id, "request_recovery", range);
    let answer = table.last(id, "recovery_response").unwrap();
    answer["events"].as_array().unwrap().clone()
}
