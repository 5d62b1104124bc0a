//! Rooms without sockets: whole games in milliseconds, with a time of our own.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use liap::archive::{Ended, GameRecord};
use liap::game::{Level, Seat, ServerSeed, choose};
use liap::protocol::{CloseReason, RoomId, SeatToken, SessionKey, decode};
use liap::room::{
    Connection, ConnectionId, Effect, Farewell, Input, JoinError, Life, Newcomer, Options, Outbox, Room, Time,
    connection,
};
use rand::{RngExt, SeedableRng};
use rand_pcg::Pcg64Mcg;
use serde_json::{Value, json};

/// One room, its clients, and what they have been told.
struct Table {
    room: Room,
    now: Time,
    clients: BTreeMap<ConnectionId, Client>,
    records: Vec<GameRecord>,
    rng: Pcg64Mcg,
}

struct Client {
    _ends: (Connection, Outbox),
    heard: Vec<Value>,
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

fn newcomer(name: &str) -> Newcomer {
    Newcomer { session: Some(session(name)), name: name.parse().unwrap(), token: token(name).key() }
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
                        client.heard.push(value);
                    }
                }
                Effect::Close(id, reason) => {
                    if let Some(client) = self.clients.get_mut(&id) {
                        client.closed.get_or_insert(reason);
                    }
                }
                Effect::Think { seat, ticket, view, .. } => {
                    let action = choose(Level::Normal, &view, &mut self.rng);
                    let effects = self.room.handle(Input::Thought { seat, ticket, action }, self.now);
                    self.carry_out(effects);
                }
                Effect::Listed | Effect::Remember(_) | Effect::Happened(_) => {}
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
        self.clients.insert(id, Client { _ends: ends, heard: Vec::new(), closed: None });
        self.input(Input::Connected(connection));
        id
    }

    fn say(&mut self, id: ConnectionId, event: &str, data: Value) {
        let message = decode(&json!({ "event": event, "data": data }).to_string()).unwrap();
        self.input(Input::Said(id, message));
    }

    /// A page of this player's opens and says who it is.
    fn enter(&mut self, name: &str) -> ConnectionId {
        let id = self.connect(Some(session(name)));
        self.say(id, "client_ready", json!({ "player_name": name, "is_reconnection": false }));
        id
    }

    fn disconnect(&mut self, id: ConnectionId, farewell: Farewell) {
        self.input(Input::Disconnected(id, farewell));
    }

    fn join(&mut self, name: &str) -> Result<Seat, JoinError> {
        let (reply, mut answer) = tokio::sync::oneshot::channel();
        self.input(Input::Join { who: newcomer(name), reply });
        answer.try_recv().unwrap()
    }

    fn free(&mut self, host: ConnectionId, slot: u8) {
        self.say(host, "remove_player", json!({ "slot_id": slot }));
    }

    fn heard(&mut self, id: ConnectionId) -> Vec<Value> {
        std::mem::take(&mut self.clients.get_mut(&id).unwrap().heard)
    }

    fn heard_events(&mut self, id: ConnectionId) -> Vec<String> {
        self.heard(id).iter().map(|frame| frame["event"].as_str().unwrap().to_owned()).collect()
    }

    fn last(&self, id: ConnectionId, event: &str) -> Option<&Value> {
        self.clients[&id].heard.iter().rev().find(|frame| frame["event"] == event).map(|frame| &frame["data"])
    }

    fn pass(&mut self, span: Duration) {
        let end = self.now + span;
        while let Some(at) = self.room.wake_at().filter(|&at| at <= end && self.room.life() != Life::Over) {
            self.now = self.now.max(at);
            let effects = self.room.wake(self.now);
            self.carry_out(effects);
        }
        self.now = end;
    }

    /// Lets time pass until `done` says so; fails after an hour of the room's time.
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

    /// Plays on with these players until the game is over, or `stop` says so.
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
                let at = self.room.wake_at().expect("a table always waits for somebody");
                self.now = self.now.max(at);
                let effects = self.room.wake(self.now);
                self.carry_out(effects);
            }
        }
        panic!("the game does not end");
    }
}

impl Table {
    /// The room after a crash: what its journal held, and nobody connected.
    fn restarted(&self) -> Self {
        let options = Options { game_pace: 0.1, ..Options::default() };
        let image = liap::room::Image::from_bytes(&self.room.image().to_bytes()).unwrap();
        let rng = Pcg64Mcg::seed_from_u64(99);
        let room = Room::restore(&image, self.room.events(), rng.clone(), Arc::new(options), self.now).unwrap();
        Self { room, now: self.now, clients: BTreeMap::new(), records: Vec::new(), rng }
    }
}

fn refusal(table: &Table, id: ConnectionId) -> &str {
    table.last(id, "error").expect("an error")["type"].as_str().unwrap()
}

#[test]
fn one_person_plays_a_whole_game_with_three_bots() {
    let mut table = Table::new(1, 1.0);
    let ann = table.enter("Ann");
    table.say(ann, "get_room_state", json!({}));
    table.say(ann, "start_game", json!({}));
    assert_eq!(table.heard_events(ann)[..4], ["room_state_update", "room_update", "phase_change", "game_started"]);
    table.play(&[(ann, "Ann")], |_| false);
    let over = table.last(ann, "phase_change").unwrap()["phase_data"].clone();
    assert_eq!(table.records.len(), 1);
    let record = &table.records[0];
    assert_eq!(record.ended, Ended::Won);
    assert_eq!(over["game_id"], record.game_id.to_string());
    assert_eq!(over["deal_proof"]["commitment"], hex::encode(ServerSeed::new([1; 32]).commitment()));
    let rankings = over["final_rankings"].as_array().unwrap();
    assert!(rankings[0]["score"].as_i64().unwrap() >= 50);
    assert!(rankings.iter().any(|ranking| ranking["turns_won"].as_u64().unwrap() > 0), "turns won are counted");
    assert_eq!(
        over["score_history"].as_array().unwrap().len() as u64,
        over["game_stats"]["total_rounds"].as_u64().unwrap()
    );
}

#[test]
fn every_phase_change_has_what_the_existing_client_requires() {
    let mut table = Table::new(2, 0.1);
    let ann = table.enter("Ann");
    table.say(ann, "start_game", json!({}));
    table.play(&[(ann, "Ann")], |_| false);
    let mut phases = BTreeMap::new();
    for frame in table.heard(ann) {
        if frame["event"] == "turn_complete" {
            let data = &frame["data"];
            assert!(
                data["winner"].is_string() && data["next_starter"].is_string() && data["all_hands_empty"].is_boolean()
            );
            assert!(data["winning_play"]["type"].is_string());
            assert_eq!(data["turn_players_data"].as_array().unwrap().len(), 4);
        }
        if frame["event"] != "phase_change" {
            continue;
        }
        let state = &frame["data"];
        let phase = state["phase"].as_str().unwrap().to_owned();
        assert!(state["round"].as_u64().unwrap() >= 1);
        let players = state["players"].as_object().unwrap();
        assert_eq!(players.keys().collect::<Vec<_>>(), ["Ann", "Bot 2", "Bot 3", "Bot 4"], "seat order");
        for (name, player) in players {
            assert_eq!(player["name"], *name);
            assert_eq!(player["hand"].as_array().unwrap().is_empty(), name != "Ann" || player["hand_size"] == 0);
            for field in ["hand_size", "score", "declared", "captured_piles", "zero_declares_in_a_row"] {
                assert!(player[field].is_i64(), "{field} in {phase}");
            }
            assert!(player["is_bot"].is_boolean());
        }
        let data = &state["phase_data"];
        assert_eq!(data["players"].as_array().unwrap().len(), 4);
        let required: &[&str] = match phase.as_str() {
            "preparation" => &["dealing_cards", "redeal_multiplier"],
            "round_start" => &["current_starter", "starter_reason"],
            "declaration" => &["declaration_order", "declarations", "declaration_total"],
            "turn" => {
                assert!(data["required_piece_count"].is_null() || data["required_piece_count"].as_u64().unwrap() > 0);
                &[
                    "turn_order",
                    "current_turn_starter",
                    "current_player",
                    "turn_plays",
                    "current_turn_number",
                    "pile_counts",
                ]
            }
            "turn_results" => &["pile_counts"],
            "scoring" => {
                assert_eq!(data["round_scores"].as_object().unwrap().len(), 4);
                &["total_scores", "scoring_players_data", "redeal_multiplier", "winners"]
            }
            "game_over" => &["final_rankings", "game_stats", "winners", "deal_proof"],
            other => panic!("unknown phase {other}"),
        };
        for field in required {
            assert!(!data[field].is_null(), "{field} in {phase}: {data}");
        }
        *phases.entry(phase).or_insert(0) += 1;
    }
    assert_eq!(phases.len(), 7, "{phases:?}");
}

#[test]
fn no_frame_tells_what_its_receiver_may_not_know() {
    let mut table = Table::new(3, 0.0);
    let ann = table.enter("Ann");
    table.free(ann, 3);
    assert_eq!(table.join("Jon"), Ok(Seat::Three));
    let jon = table.enter("Jon");
    let stranger = table.connect(None);
    table.say(stranger, "client_ready", json!({}));
    table.say(ann, "start_game", json!({}));
    table.play(&[(ann, "Ann"), (jon, "Jon")], |_| false);
    for (id, name) in [(ann, Some("Ann")), (jon, Some("Jon")), (stranger, None)] {
        let mut masked = 0;
        for frame in table.heard(id) {
            if frame["event"] != "phase_change" {
                continue;
            }
            for (player, state) in frame["data"]["players"].as_object().unwrap() {
                if Some(player.as_str()) != name {
                    assert_eq!(state["hand"], json!([]), "{player}'s hand");
                }
            }
            let data = &frame["data"]["phase_data"];
            let Some(plays) = data["turn_plays"].as_object().filter(|plays| plays.len() < 4) else {
                continue;
            };
            for (player, play) in plays {
                if Some(player.as_str()) != name {
                    assert_eq!(play["play_value"], 0);
                    assert!(play["pieces"].as_array().unwrap().iter().all(|piece| piece == "SOLDIER_BLACK(1)"));
                    let is_lead = *player == data["current_turn_starter"];
                    let single = data["required_piece_count"] == 1;
                    assert!(is_lead || play["play_type"] == if single { "SINGLE" } else { "INVALID" });
                    masked += 1;
                }
            }
        }
        assert!(masked > 20, "plays were seen face down");
    }
}

#[test]
fn reopening_the_socket_at_the_start_is_not_leaving() {
    let mut table = Table::new(4, 1.0);
    let room_page = table.enter("Ann");
    table.say(room_page, "start_game", json!({}));
    table.disconnect(room_page, Farewell::Clean);
    table.pass(Duration::from_millis(100));
    let game_page = table.enter("Ann");
    table.pass(Duration::from_secs(10));
    let events = table.heard_events(game_page);
    assert_eq!(events[0], "room_state_update");
    assert!(!events.iter().any(|event| event.contains("player_") || event == "host_changed"), "{events:?}");
}

#[test]
fn a_player_who_vanishes_on_his_own_move_does_not_stall_the_table() {
    for phase in ["declaration", "turn"] {
        let mut table = Table::new(5, 1.0);
        let ann = table.enter("Ann");
        table.free(ann, 2);
        table.join("Jon").unwrap();
        let jon = table.enter("Jon");
        table.say(ann, "start_game", json!({}));
        let mover = |table: &Table| {
            let data = &table.last(ann, "phase_change").unwrap()["phase_data"];
            let who = if phase == "turn" { &data["current_player"] } else { &data["current_declarer"] };
            // After the fourth play its player stays there, but has nothing to decide.
            let name = who.as_str().filter(|name| data["turn_plays"].get(*name).is_none());
            name.map(str::to_owned)
        };
        table.play(&[(ann, "Ann"), (jon, "Jon")], |table| {
            table.phase(ann) == Some(phase) && mover(table).as_deref() == Some("Jon")
        });
        table.disconnect(jon, Farewell::Lost);
        table.pass(Duration::from_millis(2_400));
        assert_eq!(mover(&table).as_deref(), Some("Jon"), "a reload has its time");
        table.heard(ann);
        table.pass(Duration::from_millis(1_700));
        let events: Vec<_> = table.clients[&ann].heard.iter().map(|frame| frame["event"].clone()).collect();
        assert!(
            events.contains(&json!("player_disconnected")) && events.contains(&json!("phase_change")),
            "{events:?}"
        );
        let record_seat = &table.last(ann, "phase_change").unwrap()["players"]["Jon"];
        assert_eq!((&record_seat["is_bot"], &record_seat["is_connected"]), (&json!(true), &json!(false)));
        let back = table.enter("Jon");
        assert!(table.last(ann, "player_reconnected").is_some());
        assert_eq!(table.last(back, "phase_change").unwrap()["players"]["Jon"]["is_bot"], false);
        table.play(&[(ann, "Ann"), (back, "Jon")], |_| false);
        assert_eq!(table.records[0].takeovers.len(), 1);
    }
}

#[test]
fn a_reload_at_any_moment_brings_hand_and_state_back() {
    let mut table = Table::new(6, 0.1);
    let mut ann = table.enter("Ann");
    table.say(ann, "start_game", json!({}));
    let mut seen = BTreeMap::new();
    for step in 0..2_000 {
        let before = table.last(ann, "phase_change").unwrap().clone();
        table.disconnect(ann, Farewell::Lost);
        ann = table.enter("Ann");
        let phase = before["phase"].as_str().unwrap().to_owned();
        let after = table.last(ann, "phase_change").unwrap();
        assert_eq!(after["phase"], before["phase"], "step {step}");
        assert_eq!(after["players"]["Ann"]["hand"], before["players"]["Ann"]["hand"]);
        assert_eq!(after["phase_data"]["turn_plays"], before["phase_data"]["turn_plays"]);
        if phase == "turn" {
            assert!(table.last(ann, "declare").is_some(), "declarations are repeated");
        }
        if before["phase_data"]["turn_complete"] == true || phase == "turn_results" {
            assert!(table.last(ann, "turn_complete").is_some(), "the result screen comes back");
        }
        *seen.entry(phase.clone()).or_insert(0) += 1;
        if phase == "game_over" {
            break;
        }
        if let Some((event, data)) = table.decide(ann, "Ann") {
            table.say(ann, event, data);
        } else {
            let at = table.room.wake_at().unwrap();
            table.now = table.now.max(at);
            let effects = table.room.wake(table.now);
            table.carry_out(effects);
        }
    }
    assert_eq!(seen.len(), 7, "{seen:?}");
}

#[test]
fn nobody_acts_for_another() {
    let mut table = Table::new(7, 1.0);
    let ann = table.enter("Ann");
    table.free(ann, 2);
    table.join("Jon").unwrap();
    let jon = table.enter("Jon");
    let thief = table.connect(Some(session("Eve")));
    table.say(thief, "client_ready", json!({ "player_name": "Ann", "seat_token": "0123" }));
    assert_eq!(table.last(thief, "room_state_update").unwrap()["you"], Value::Null);
    for (id, event, data) in [
        (thief, "start_game", json!({})),
        (jon, "start_game", json!({})),
        (jon, "add_bot", json!({ "slot_id": 2 })),
        (jon, "remove_player", json!({ "slot_id": 1 })),
        (jon, "leave_room", json!({ "player_name": "Ann" })),
        (thief, "leave_room", json!({ "player_name": "Ann" })),
        (thief, "declare", json!({ "player_name": "Ann", "value": 1 })),
    ] {
        table.heard(id);
        table.say(id, event, data);
        assert_eq!(refusal(&table, id), "permission_denied", "{event}");
    }
    table.say(ann, "start_game", json!({}));
    table.play(&[(ann, "Ann"), (jon, "Jon")], |table| table.phase(ann) == Some("turn"));
    let before = table.last(ann, "phase_change").unwrap().clone();
    for (id, name) in [(thief, "Ann"), (thief, "Jon"), (jon, "Ann"), (ann, "Jon")] {
        table.heard(id);
        table.say(id, "play", json!({ "player_name": name, "piece_indices": [0] }));
        assert_eq!(refusal(&table, id), "permission_denied");
    }
    assert!(table.last(thief, "phase_change").is_none(), "a stranger's attempts show him nothing");
    table.say(ann, "request_state_sync", json!({}));
    assert_eq!(
        table.last(ann, "phase_change").unwrap()["phase_data"]["turn_plays"],
        before["phase_data"]["turn_plays"]
    );
    assert_eq!(table.clients[&ann].closed, None, "the holder of a seat is not disturbed");
}

#[test]
fn a_seat_token_moves_the_seat_and_the_newest_socket_wins() {
    let mut table = Table::new(8, 1.0);
    let first = table.enter("Ann");
    let phone = table.connect(None);
    table.say(phone, "client_ready", json!({ "player_name": "Ann", "seat_token": token("Ann").reveal() }));
    assert_eq!(table.last(phone, "room_state_update").unwrap()["you"], "Ann");
    assert_eq!(table.clients[&first].closed, Some(CloseReason::Done));
    table.disconnect(first, Farewell::Clean);
    table.pass(Duration::from_secs(60));
    assert!(table.room.life() != Life::Over, "the end of the older socket has no effect");
    let nameless = table.connect(Some(session("Ann")));
    table.say(nameless, "client_ready", json!({}));
    assert_eq!(table.last(nameless, "room_state_update").unwrap()["you"], "Ann", "one seat in this browser");
}

#[test]
fn refused_actions_change_nothing_and_are_answered_with_the_state() {
    let mut table = Table::new(9, 1.0);
    let ann = table.enter("Ann");
    table.say(ann, "declare", json!({ "player_name": "Ann", "value": 1 }));
    assert_eq!(refusal(&table, ann), "not_found");
    table.say(ann, "start_game", json!({}));
    table.heard(ann);
    table.say(ann, "play", json!({ "player_name": "Ann", "piece_indices": [0] }));
    assert_eq!(table.heard_events(ann), ["error", "phase_change"], "not while tiles are dealt");
    table.play(&[(ann, "Ann")], |table| {
        let state = table.last(ann, "phase_change");
        state.is_some_and(|state| state["phase"] == "turn" && state["phase_data"]["current_player"] == "Ann")
    });
    let before = table.last(ann, "phase_change").unwrap().clone();
    for indices in [json!([31]), json!([0, 1, 2, 3, 4, 5])] {
        table.heard(ann);
        table.say(ann, "play", json!({ "player_name": "Ann", "piece_indices": indices }));
        assert_eq!(refusal(&table, ann), "action_refused");
        let after = table.last(ann, "phase_change").unwrap();
        assert_eq!(after["players"], before["players"]);
    }
}

#[test]
fn guests_come_and_go_and_the_host_closes_the_room() {
    let mut table = Table::new(10, 1.0);
    let ann = table.enter("Ann");
    assert_eq!(table.join("Jon"), Err(JoinError::Full), "a room is born full of bots");
    table.free(ann, 2);
    assert_eq!(table.join("Ann"), Ok(Seat::One), "the same browser keeps its seat");
    let stranger = Newcomer { session: None, ..newcomer("Ann") };
    let (reply, mut answer) = tokio::sync::oneshot::channel();
    table.input(Input::Join { who: stranger, reply });
    assert_eq!(answer.try_recv().unwrap(), Err(JoinError::NameTaken));
    assert_eq!(table.join("Bot 2"), Err(JoinError::NameTaken));
    assert_eq!(table.join("Jon"), Ok(Seat::Two));
    table.say(ann, "add_bot", json!({ "slot_id": 2 }));
    assert_eq!(refusal(&table, ann), "action_refused", "a person is not replaced by a bot");
    table.say(ann, "add_bot", json!({ "slot_id": 3, "level": "hard" }));
    assert_eq!(table.last(ann, "room_update").unwrap()["players"][2]["level"], "hard");
    table.pass(Duration::from_secs(31));
    assert_eq!(table.last(ann, "room_update").unwrap()["players"][1], Value::Null, "nobody came to claim the seat");
    assert_eq!(table.join("Jon"), Ok(Seat::Two));
    let jon = table.enter("Jon");
    table.disconnect(jon, Farewell::Lost);
    table.pass(Duration::from_secs(1));
    let jon = table.enter("Jon");
    table.pass(Duration::from_secs(5));
    assert_eq!(table.room.summary().players[Seat::Two].as_ref().unwrap().name, "Jon", "a reload keeps the seat");
    table.disconnect(jon, Farewell::Clean);
    assert!(table.room.summary().players[Seat::Two].is_none());
    table.join("Jon").unwrap();
    let jon = table.enter("Jon");
    table.free(ann, 2);
    assert_eq!(table.last(jon, "room_closed").unwrap()["reason"], "player_removed");
    table.say(ann, "leave_room", json!({ "player_name": "Ann" }));
    assert_eq!(table.last(ann, "room_closed").unwrap()["reason"], "host_left");
    assert!(table.room.life() == Life::Over);
    assert!(table.records.is_empty(), "no game was played");
}

#[test]
fn the_room_update_is_repeated_for_a_page_that_was_not_listening() {
    let mut table = Table::new(11, 1.0);
    let ann = table.enter("Ann");
    table.heard(ann);
    table.say(ann, "get_room_state", json!({}));
    table.pass(Duration::from_secs(5));
    assert_eq!(table.heard_events(ann), ["room_update"; 4]);
}

#[test]
fn an_abandoned_game_is_closed_after_half_a_minute_and_kept() {
    let mut table = Table::new(12, 1.0);
    let ann = table.enter("Ann");
    table.say(ann, "start_game", json!({}));
    table.pass(Duration::from_secs(20));
    table.disconnect(ann, Farewell::Lost);
    table.pass(Duration::from_secs(29));
    assert!(table.room.life() != Life::Over);
    table.pass(Duration::from_secs(2));
    assert!(table.room.life() == Life::Over);
    assert_eq!(table.records[0].ended, Ended::Abandoned);
}

#[test]
fn the_host_is_handed_on_when_he_is_gone() {
    let mut table = Table::new(13, 1.0);
    let ann = table.enter("Ann");
    table.free(ann, 4);
    table.join("Jon").unwrap();
    let jon = table.enter("Jon");
    table.say(ann, "start_game", json!({}));
    table.disconnect(ann, Farewell::Lost);
    table.pass(Duration::from_secs(3));
    assert_eq!(table.last(jon, "host_changed").unwrap()["new_host"], "Jon");
}

#[test]
fn a_slow_player_is_played_for_once_and_told() {
    let mut table = Table::new(14, 1.0);
    let ann = table.enter("Ann");
    table.say(ann, "start_game", json!({}));
    table.pass_until(|table| table.last(ann, "player_timed_out").is_some());
    assert_eq!(table.last(ann, "player_timed_out").unwrap()["player_name"], "Ann");
    let state = table.last(ann, "phase_change").unwrap();
    assert_eq!(state["players"]["Ann"]["is_bot"], false, "he keeps his seat");
}

#[test]
fn the_end_is_shown_again_after_a_reload_but_not_to_who_has_left_it() {
    let mut table = Table::new(15, 0.0);
    let ann = table.enter("Ann");
    table.say(ann, "start_game", json!({}));
    table.play(&[(ann, "Ann")], |_| false);
    table.disconnect(ann, Farewell::Lost);
    let ann = table.enter("Ann");
    assert_eq!(table.phase(ann), Some("game_over"));
    table.disconnect(ann, Farewell::Clean);
    let ann = table.enter("Ann");
    assert_eq!(table.heard_events(ann), ["room_not_found"]);
    table.pass(Duration::from_secs(6));
    assert!(table.room.life() == Life::Over);
}

#[test]
fn entropy_of_the_players_goes_into_the_deals() {
    let mut table = Table::new(16, 0.0);
    let ann = table.connect(Some(session("Ann")));
    table.say(ann, "client_ready", json!({ "player_name": "Ann", "entropy": "C0FFEE" }));
    let shown = table.last(ann, "room_state_update").unwrap()["deal_commitment"].clone();
    table.say(ann, "start_game", json!({}));
    table.say(ann, "client_ready", json!({ "player_name": "Ann", "entropy": "DEAD" }));
    table.play(&[(ann, "Ann")], |_| false);
    let proof = &table.last(ann, "phase_change").unwrap()["phase_data"]["deal_proof"];
    assert_eq!(proof["entropy"], json!(["c0ffee", null, null, null]), "accepted until the start");
    assert_eq!(proof["commitment"], shown);
}

#[test]
fn a_full_room_of_watchers_turns_more_away_but_no_player() {
    let mut table = Table::new(17, 1.0);
    let mut last = table.connect(None);
    for _ in 0..200 {
        last = table.connect(None);
    }
    assert_eq!(table.clients[&last].closed, Some(CloseReason::Done));
}

#[test]
fn a_restart_brings_every_table_back_to_the_same_trick() {
    let mut table = Table::new(18, 0.1);
    let ann = table.enter("Ann");
    assert_eq!(table.restarted().room.image(), table.room.image(), "before the game as well");
    table.say(ann, "start_game", json!({}));
    let mut seen = BTreeMap::new();
    for _ in 0..1_000 {
        table.say(ann, "request_state_sync", json!({}));
        let before = table.last(ann, "phase_change").unwrap().clone();
        let mut restarted = table.restarted();
        restarted.pass(Duration::from_secs(3600));
        let back = restarted.enter("Ann");
        let after = restarted.last(back, "phase_change").unwrap();
        for field in ["phase", "round", "players"] {
            assert_eq!(after[field], before[field]);
        }
        let steady = |state: &Value| {
            let mut data = state["phase_data"].clone();
            for clock in ["pause_ms", "deadline_ms"] {
                data.as_object_mut().unwrap().remove(clock);
            }
            data
        };
        assert_eq!(steady(after), steady(&before));
        let phase = before["phase"].as_str().unwrap().to_owned();
        *seen.entry(phase).or_insert(0) += 1;
        if seen.len() >= 6 && seen["scoring"] > 1 {
            restarted.play(&[(back, "Ann")], |table| table.phase(back) == Some("turn"));
            return;
        }
        if let Some((event, data)) = table.decide(ann, "Ann") {
            table.say(ann, event, data);
        } else {
            let at = table.room.wake_at().unwrap();
            table.now = table.now.max(at);
            let effects = table.room.wake(table.now);
            table.carry_out(effects);
        }
    }
    panic!("not every phase was seen: {seen:?}");
}

/// The archive is handed a finished game again after a crash. It takes it for the same only if nothing differs: its length
/// did, and so did the absence of a player who came back to look at the result.
#[test]
fn the_record_of_a_finished_game_is_the_same_after_a_restart() {
    let mut table = Table::new(19, 0.1);
    let ann = table.enter("Ann");
    table.free(ann, 4);
    table.join("Jon").unwrap();
    let jon = table.enter("Jon");
    table.say(ann, "start_game", json!({}));
    table.play(&[(ann, "Ann"), (jon, "Jon")], |table| table.phase(ann) == Some("turn"));
    table.disconnect(jon, Farewell::Lost);
    table.pass(Duration::from_secs(3));
    table.play(&[(ann, "Ann")], |_| false);
    assert_eq!(table.records.len(), 1);
    assert_eq!(table.records[0].takeovers.len(), 1);
    table.pass(Duration::from_secs(1));
    let jon = table.enter("Jon");
    assert_eq!(table.phase(jon), Some("game_over"));

    table.now = table.now + Duration::from_secs(3600);
    let mut again = table.restarted();
    let effects = again.room.wake(again.now);
    again.carry_out(effects);
    assert_eq!(again.records, table.records);
    assert!(again.room.life() == Life::Live, "whoever was looking at the result comes back to it");
    let ann = again.enter("Ann");
    assert_eq!(again.phase(ann), Some("game_over"));
    assert_eq!(again.room.game_under_way(), None);
}

/// What was missed, as told to this client now.
fn missed(table: &mut Table, id: ConnectionId, range: Value) -> Vec<Value> {
    table.say(id, "request_recovery", range);
    let answer = table.last(id, "recovery_response").unwrap();
    answer["events"].as_array().unwrap().clone()
}

#[test]
fn who_comes_late_is_told_what_all_may_know_and_no_more() {
    let mut table = Table::new(17, 0.1);
    let ann = table.enter("Ann");
    table.say(ann, "start_game", json!({}));
    let stranger = table.connect(None);
    table.say(stranger, "client_ready", json!({}));
    let mut told_of_turns = 0;
    // Asked again and again while the game runs.
    while table.phase(ann) != Some("game_over") {
        let before = table.last(ann, "phase_change").unwrap()["sequence"].as_u64().unwrap();
        table.play(&[(ann, "Ann")], |table| table.last(ann, "phase_change").unwrap()["sequence"] != before);
        let state = table.last(ann, "phase_change").unwrap().clone();
        let events = missed(&mut table, stranger, json!({}));
        assert_eq!(events.last().unwrap()["sequence"], state["sequence"], "what is shown is what was told last");
        assert!(events.iter().all(|event| event["round"] == state["round"]), "of the running round");
        let numbers: Vec<u64> = events.iter().map(|event| event["sequence"].as_u64().unwrap()).collect();
        assert!(numbers.is_sorted_by(|a, b| a + 1 == *b), "without a gap: {numbers:?}");

        // Pieces are named only where a turn is won, and those are the ones that all have seen then.
        let shown: Vec<Value> = table.clients[&ann]
            .heard
            .iter()
            .filter(|frame| frame["event"] == "turn_complete")
            .map(|frame| frame["data"]["turn_resolution"]["all_plays"].clone())
            .collect();
        for event in &events {
            let names_pieces = event.to_string().contains("_RED(") || event.to_string().contains("_BLACK(");
            assert_eq!(names_pieces, event["type"] == "turn_won", "{event}");
            if event["type"] == "turn_won" {
                let pieces = |plays: &Value| -> Vec<(Value, Value)> {
                    let plays = plays.as_array().unwrap();
                    plays.iter().map(|play| (play["player"].clone(), play["pieces"].clone())).collect()
                };
                assert!(shown.iter().any(|seen| pieces(seen) == pieces(&event["plays"])), "{event}");
                told_of_turns += 1;
            }
        }
    }
    assert!(told_of_turns > 20, "{told_of_turns}");
    let all = missed(&mut table, stranger, json!({ "from_sequence": 1, "to_sequence": 3 }));
    assert_eq!(all.iter().map(|event| event["sequence"].as_u64().unwrap()).collect::<Vec<_>>(), [1, 2, 3]);
    assert_eq!((&all[0]["type"], &all[0]["multiplier"]), (&json!("dealt"), &json!(1)));
}

#[test]
fn what_happened_is_told_the_same_after_a_restart() {
    let mut table = Table::new(19, 0.1);
    let ann = table.enter("Ann");
    table.free(ann, 3);
    assert_eq!(table.join("Jon"), Ok(Seat::Three));
    let jon = table.enter("Jon");
    table.say(ann, "start_game", json!({}));
    // Jon goes and comes back.
    table.play(&[(ann, "Ann"), (jon, "Jon")], |table| table.phase(ann) == Some("turn"));
    table.disconnect(jon, Farewell::Lost);
    table.pass(Duration::from_secs(3));
    let jon = table.enter("Jon");
    table.play(&[(ann, "Ann"), (jon, "Jon")], |table| {
        table.last(ann, "phase_change").is_some_and(|state| state["round"] == 2 && state["phase"] == "turn")
    });
    let kinds = |events: &[Value]| -> BTreeMap<String, usize> {
        let mut kinds = BTreeMap::new();
        for event in events {
            *kinds.entry(event["type"].as_str().unwrap().to_owned()).or_default() += 1;
        }
        kinds
    };
    let before = missed(&mut table, ann, json!({ "from_sequence": 1 }));
    assert_eq!((kinds(&before)["player_left"], kinds(&before)["player_returned"]), (1, 1));
    let mut again = table.restarted();
    let ann = again.enter("Ann");
    let after = missed(&mut again, ann, json!({ "from_sequence": 1 }));
    assert_eq!(kinds(&after), kinds(&before));
    assert_eq!(after.len(), before.len());
    let turns = |events: &[Value]| -> Vec<Value> {
        events.iter().filter(|event| event["type"] == "turn_won").map(|event| event["plays"].clone()).collect()
    };
    assert_eq!(turns(&after), turns(&before));
}
