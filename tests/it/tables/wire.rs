//! The wire as snapshots: one file in `tests/it/wire` per message, as real rooms say it; all refusals are in one.
//!
//! A change of the wire shows as a changed file, in review like code. To write the files anew:
//! `INSTA_UPDATE=always cargo test --all-features --test it every_message_is_as`.

use std::collections::BTreeSet;
use std::fs;

use tokio_tungstenite::tungstenite::Message;

use super::*;
use crate::process::{Server, Socket, room};

/// Where the snapshots are.
const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/wire");

/// What was said: by the name of its snapshot, then by what tells messages of that name apart. The first of each counts.
#[derive(Default)]
struct Said(BTreeMap<String, BTreeMap<String, Value>>);

impl Said {
    fn add(&mut self, event: &str, data: Value) {
        let text = |field: &str| data[field].as_str().unwrap_or_default().to_owned();
        let (mut name, mut kind) = (event.to_owned(), String::new());
        match event {
            "error" => kind = text("message").replace(|letter: char| letter.is_ascii_digit(), "N"),
            "room_closed" => kind = text("message"),
            "room_list_update" => kind = data.as_object().unwrap().keys().nth(1).unwrap().clone(),
            "room_update" | "room_state_update" if data["you"].is_null() => "watching".clone_into(&mut kind),
            "room_update" | "room_state_update" => "own".clone_into(&mut kind),
            "redeal_response_success" => kind = text("choice"),
            "phase_change" => {
                let turn = &data["phase_data"];
                let moment = match turn["turn_plays"].as_object() {
                    _ if turn.get("winner").is_some() => ".won",
                    Some(plays) if !plays.is_empty() => ".played",
                    _ => "",
                };
                name = format!("{event}.{}{moment}", text("phase"));
                let has_hand = data["players"].as_object().unwrap().values().any(|player| player["hand"] != json!([]));
                if name == "phase_change.turn" {
                    if has_hand { "own" } else { "watching" }.clone_into(&mut kind);
                }
            }
            _ => {}
        }
        self.0.entry(name).or_default().entry(kind).or_insert(data);
    }

    /// Takes what everybody at a table has heard.
    fn add_all(&mut self, table: &mut Table) {
        for frame in table.clients.values_mut().flat_map(|client| std::mem::take(&mut client.received)) {
            self.add(frame["event"].as_str().unwrap(), frame["data"].clone());
        }
    }

    /// What a real server says, without what it has drawn at random or read from a clock.
    fn add_masked(&mut self, (event, mut data): (String, Value)) {
        mask(&mut data);
        self.add(&event, data);
    }
}

fn mask(value: &mut Value) {
    const RANDOM: [&str; 8] = [
        "room_id",
        "seat_token",
        "created_at",
        "last_activity",
        "deal_commitment",
        "avatar_color",
        "retry_after",
        "server_time",
    ];
    match value {
        Value::Object(fields) => fields.iter_mut().for_each(|(name, value)| {
            if RANDOM.contains(&name.as_str()) && !value.is_null() {
                *value = json!("…");
            }
            mask(value);
        }),
        Value::Array(items) => items.iter_mut().for_each(mask),
        _ => {}
    }
}

/// Two persons, two bots and a watcher: a whole game, with everything that may happen on the way.
fn at_a_table(said: &mut Said, seed: u8) {
    let mut table = Table::new(seed, 1.0);
    let mut ann = table.enter("Ann");
    table.say(ann, "get_room_state", json!({}));
    table.free(ann, 3);
    table.join("Jon").unwrap();
    let jon = table.enter("Jon");
    let watcher = table.connect(None);
    table.say(watcher, "client_ready", json!({}));
    for (id, event, data) in [
        (jon, "start_game", json!({})),
        (jon, "add_bot", json!({ "slot_id": 2 })),
        (jon, "remove_player", json!({ "slot_id": 2 })),
        (ann, "remove_player", json!({ "slot_id": 1 })),
        (ann, "add_bot", json!({ "slot_id": 3 })),
        (ann, "declare", json!({ "player_name": "Jon", "value": 1 })),
        (ann, "declare", json!({ "player_name": "Ann", "value": 1 })),
        (watcher, "declare", json!({ "player_name": "Ann", "value": 1 })),
        (ann, "rematch", json!({ "room_id": "4D02B7" })),
        (ann, "remove_player", json!({ "slot_id": 4 })),
        (ann, "start_game", json!({})),
        (ann, "add_bot", json!({ "slot_id": 4 })),
        (ann, "start_game", json!({})),
        (ann, "start_game", json!({})),
    ] {
        table.say(id, event, data);
    }
    // Ann tries what is forbidden at every step, and aims at no pile until she must.
    let mut turns = 0;
    for _ in 0..20_000 {
        let state = table.last(ann, "phase_change").unwrap();
        let data = &state["phase_data"];
        let attempts = match state["phase"].as_str().unwrap() {
            "game_over" => break,
            "preparation" => vec![("declare", json!({ "value": 1 })), ("accept_redeal", json!({}))],
            "declaration" => {
                let to_eight = 8 - data["declaration_total"].as_i64().unwrap();
                [to_eight.clamp(0, 8), 0].map(|value| ("declare", json!({ "value": value }))).to_vec()
            }
            "turn" => {
                [json!([0, 1, 2]), json!([31])].map(|places| ("play", json!({ "piece_indices": places }))).to_vec()
            }
            _ => Vec::new(),
        };
        for (event, mut data) in attempts {
            data["player_name"] = json!("Ann");
            table.say(ann, event, data);
        }
        if table.phase(ann) == Some("turn") {
            turns += 1;
        }
        match turns {
            // The host reloads her page, and stays away for a while.
            20 | 40 => {
                table.disconnect(ann, DisconnectKind::Lost);
                table.pass(Duration::from_secs(if turns == 20 { 0 } else { 60 }));
                ann = table.enter("Ann");
                table.say(ann, "request_recovery", json!({ "from_sequence": 1, "to_sequence": 3 }));
                turns += 1;
            }
            // She dawdles.
            60 => {
                table.pass(Duration::from_secs(121));
                turns += 1;
            }
            _ => {}
        }
        let moves: Vec<_> = [(ann, "Ann"), (jon, "Jon")]
            .into_iter()
            .filter_map(|(id, name)| table.decide(id, name).map(|(event, data)| (id, event, data)))
            .collect();
        for (id, event, data) in &moves {
            table.say(*id, event, data.clone());
        }
        if moves.is_empty() {
            table.wake();
        }
    }
    table.say(ann, "rematch", json!({ "room_id": "4D02B7" }));
    table.pass(Duration::from_secs(3_600));
    said.add_all(&mut table);
}

/// The ways in which a room ends.
fn ends_of_rooms(said: &mut Said) {
    let ends: [fn(&mut Table, ConnectionId, ConnectionId); 5] = [
        |table, ann, _| table.say(ann, "leave_room", json!({ "player_name": "Ann" })),
        |table, _, jon| table.say(jon, "leave_room", json!({ "player_name": "Jon" })),
        |table, ann, _| table.free(ann, 2),
        |table, _, _| table.input(Input::CloseRoom(None)),
        |table, _, _| table.input(Input::CloseRoom(Some("Tea is ready.".into()))),
    ];
    for end in ends {
        let mut table = Table::new(1, 1.0);
        let ann = table.enter("Ann");
        table.free(ann, 2);
        table.join("Jon").unwrap();
        let jon = table.enter("Jon");
        end(&mut table, ann, jon);
        said.add_all(&mut table);
    }
    // Everybody has left but one who watches.
    let mut table = Table::new(1, 1.0);
    let ann = table.enter("Ann");
    table.say(ann, "start_game", json!({}));
    let watcher = table.connect(None);
    table.say(watcher, "client_ready", json!({}));
    table.disconnect(ann, DisconnectKind::Clean);
    table.pass(Duration::from_secs(120));
    said.add_all(&mut table);
    // More want to watch than may.
    let mut table = Table::new(1, 1.0);
    for _ in 0..=Options::default().max_watchers_per_room {
        let watcher = table.connect(None);
        table.say(watcher, "client_ready", json!({}));
    }
    said.add_all(&mut table);
}

/// The lobby of a real server, a room that is not there, and what is no message at all.
async fn at_the_door(said: &mut Said) {
    let server = Server::start(&[]);
    let mut list = Socket::open(&server, "lobby").await;
    list.say("client_ready", json!({ "room_id": "lobby" })).await;
    said.add_masked(list.hear_any().await);
    let (id, mut table, _) = room(&server, "Mira").await;
    said.add_masked(list.hear_any().await);
    list.say("get_rooms", json!({})).await;
    said.add_masked(list.hear_any().await);

    let mut lobby = Socket::open(&server, "lobby").await;
    for (event, data) in [
        ("create_room", json!({ "player_name": "Ada" })),
        ("create_room", json!({ "player_name": "Bot 2" })),
        ("join_room", json!({ "player_name": "Jon", "room_id": id })),
        ("join_room", json!({ "player_name": "Jon", "room_id": "nowhere" })),
        ("ping", json!({ "timestamp": 7 })),
        ("no_such_event", json!({})),
        ("create_room", json!({})),
    ] {
        lobby.say(event, data).await;
        said.add_masked(lobby.hear_any().await);
    }
    lobby.send(Message::text("{")).await;
    said.add_masked(lobby.hear_any().await);
    table.say("remove_player", json!({ "slot_id": 2 })).await;
    table.say("ping", json!({ "timestamp": null })).await;
    table.hear("pong").await;
    for name in ["Mira", "Jon"] {
        lobby.say("join_room", json!({ "player_name": name, "room_id": id })).await;
        said.add_masked(lobby.hear_any().await);
    }

    let mut nowhere = Socket::open(&server, "000000").await;
    for (event, data) in [
        ("client_ready", json!({ "room_id": "000000", "player_name": "Mira" })),
        ("start_game", json!({})),
        ("declare", json!({ "player_name": "Mira", "value": 1 })),
        ("get_room_state", json!({})),
    ] {
        nowhere.say(event, data).await;
        said.add_masked(nowhere.hear_any().await);
    }

    let mut hasty = Socket::open(&server, "lobby").await;
    for _ in 0..40 {
        hasty.say("ping", json!({ "timestamp": 1 })).await;
    }
    said.add_masked(("error".to_owned(), hasty.hear("error").await));
}

#[tokio::test]
async fn every_message_is_as_its_snapshot_shows_it() {
    let mut said = Said::default();
    // One in which hands are weak, and Ann may declare no third zero.
    at_a_table(&mut said, 8);
    ends_of_rooms(&mut said);
    at_the_door(&mut said).await;

    let mut settings = insta::Settings::clone_current();
    settings.set_snapshot_path(FOLDER);
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    settings.bind(|| {
        for (name, kinds) in &said.0 {
            let text = match kinds.get("") {
                Some(only) => serde_json::to_string_pretty(only),
                None => serde_json::to_string_pretty(kinds),
            };
            insta::assert_snapshot!(name.as_str(), text.unwrap());
        }
    });

    // None is missing, and none is left of a message that is no more.
    let files = fs::read_dir(FOLDER).unwrap().map(|file| file.unwrap().file_name().into_string().unwrap());
    let files: BTreeSet<String> = files.map(|name| name.trim_end_matches(".snap").to_owned()).collect();
    assert_eq!(files, said.0.keys().cloned().collect());
    let known = Server::start(&[]).get("/asyncapi.json").json()["components"]["messages"].clone();
    let known = known.as_object().unwrap().keys().filter_map(|name| name.strip_prefix("server."));
    let shown: BTreeSet<&str> = files.iter().map(|name| name.split('.').next().unwrap()).collect();
    assert_eq!(known.collect::<BTreeSet<_>>(), shown);
}
