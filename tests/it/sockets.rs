use futures_util::SinkExt as _;
use serde_json::json;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;

use crate::process::{FAST, Server, Socket, journaled, room};

#[tokio::test]
async fn the_lobby_lists_rooms_and_says_when_they_change() {
    let server = Server::start(&[]);
    let mut watching = Socket::open(&server, "lobby").await;
    watching.say("client_ready", json!({ "room_id": "lobby", "is_reconnection": false })).await;
    let list = watching.hear("room_list_update").await;
    assert_eq!((&list["rooms"], &list["initial"]), (&json!([]), &json!(true)));
    watching.say("get_rooms", json!({})).await;
    assert!(watching.hear("room_list_update").await["requested_by"].is_string());

    let mut lobby = Socket::open(&server, "lobby").await;
    lobby.say("create_room", json!({ "player_name": "Mira" })).await;
    let created = lobby.hear("room_created").await;
    assert_eq!((&created["host_name"], &created["success"]), (&json!("Mira"), &json!(true)));
    let list = watching.hear("room_list_update").await;
    assert_eq!(list["rooms"][0]["room_id"], created["room_id"]);
    assert_eq!(list["rooms"][0]["players"].as_array().unwrap().len(), 4);
    // A socket that has opened a room is still one of the lobby.
    lobby.say("get_rooms", json!({})).await;
    while lobby.hear("room_list_update").await.get("requested_by").is_none() {}
    assert_eq!(server.get("/api/rooms").json()["rooms"][0]["room_id"], created["room_id"]);
}

#[tokio::test]
async fn a_guest_joins_by_an_id_in_either_case_and_errors_say_why_not() {
    let server = Server::start(&[]);
    let (id, mut host, _) = room(&server, "Mira").await;
    let mut lobby = Socket::open(&server, "lobby").await;
    let join = |id: &str, name: &str| json!({ "room_id": id, "player_name": name });
    lobby.say("join_room", join(&id, "Jon")).await;
    let refused = lobby.hear("error").await;
    assert_eq!(refused, json!({ "message": "Room is full", "type": "join_room_error" }));
    host.say("remove_player", json!({ "slot_id": 3 })).await;
    while !host.hear("room_update").await["players"][2].is_null() {}

    lobby.say("join_room", join(&id, "Mira")).await;
    assert_eq!(lobby.hear("error").await["type"], "join_room_error");
    lobby.say("join_room", join("ZZZZZZ", "Jon")).await;
    assert_eq!(lobby.hear("error").await["message"], "Room not found");
    lobby.say("join_room", join(&id.to_lowercase(), "Jon")).await;
    let joined = lobby.hear("room_joined").await;
    assert_eq!((&joined["room_id"], &joined["assigned_slot"]), (&json!(id), &json!(2)));

    let session = lobby.cookie.unwrap();
    let mut guest = Socket::open_with(&server, &id.to_lowercase(), &[("Cookie", &session)]).await.unwrap();
    guest.enter(&id, "Jon").await;
    assert_eq!(guest.hear("room_update").await["players"][2]["name"], "Jon");
}

#[tokio::test]
async fn nothing_but_answers_reaches_a_socket_in_the_lobby() {
    let server = Server::start(&[]);
    let mut lobby = Socket::open(&server, "lobby").await;
    for event in ["get_room_state", "start_game", "start_next_round", "request_state_sync"] {
        lobby.say(event, json!({})).await;
    }
    lobby.say("declare", json!({ "value": 2, "player_name": "Mira" })).await;
    lobby.say("ping", json!({ "timestamp": 12 })).await;
    let (event, pong) = lobby.hear_any().await;
    assert_eq!((event.as_str(), &pong["timestamp"]), ("pong", &json!(12)));
    assert!(pong["server_time"].as_f64().unwrap() > 1.7e9 && pong.get("room_id").is_none());
    // What a player has typed wrongly is worth a word.
    lobby.say("create_room", json!({ "player_name": "   " })).await;
    assert_eq!(lobby.hear_any().await.1["message"], "Invalid message: Player name cannot be empty");
}

#[tokio::test]
async fn a_room_that_is_not_there_says_so_and_stays_polite() {
    let server = Server::start(&[]);
    for id in ["000000", "no-room", "x%22%3e"] {
        let mut socket = Socket::open(&server, id).await;
        let (event, data) = socket.hear_any().await;
        assert_eq!((event.as_str(), &data["room_id"]), ("room_not_found", &json!(id)));
        socket.say("ping", json!({ "timestamp": 1 })).await;
        assert_eq!(socket.hear_any().await.0, "pong");
        for event in ["client_ready", "get_room_state"] {
            socket.say(event, json!({ "player_name": "Mira" })).await;
            assert_eq!(socket.hear_any().await, ("room_closed".to_owned(), json!({ "message": "Room not found." })));
        }
        socket.say("start_game", json!({})).await;
        assert_eq!(socket.hear_any().await.1["message"], "Room not found");
        socket.say("play", json!({ "piece_indices": [0], "player_name": "Mira" })).await;
        assert_eq!(socket.hear_any().await.1["message"], "Game not found");
    }
}

#[tokio::test]
async fn a_host_plays_with_bots_until_it_is_his_turn() {
    let server = Server::start(&[FAST]);
    let (id, mut table, session) = room(&server, "Mira").await;
    assert_eq!(table.hear("room_update").await["players"][0]["is_host"], true);
    table.say("ping", json!({ "timestamp": 7 })).await;
    let pong = table.hear("pong").await;
    assert_eq!((&pong["timestamp"], &pong["room_id"]), (&json!(7), &json!(id)));
    table.say("start_game", json!({})).await;
    table.hear("game_started").await;
    let hand = loop {
        let state = table.hear("phase_change").await;
        for bot in ["Bot 2", "Bot 3", "Bot 4"] {
            let hidden = state["players"][bot].get("hand").is_none_or(|hand| hand.as_array().unwrap().is_empty());
            assert!(hidden, "{state}");
        }
        if state["phase"] == "declaration" && state["phase_data"]["current_declarer"] == "Mira" {
            break state["players"]["Mira"]["hand"].clone();
        }
        if state["phase_data"]["weak_players_awaiting"].as_array().is_some_and(|weak| weak.contains(&json!("Mira"))) {
            table.say("decline_redeal", json!({ "player_name": "Mira" })).await;
        }
    };
    assert_eq!(hand.as_array().unwrap().len(), 8);

    // A reload: the link ends, another one comes with the same cookie, and everything is there.
    drop(table);
    let mut table = Socket::open_with(&server, &id, &[("Cookie", &session)]).await.unwrap();
    table.say("client_ready", json!({ "room_id": id, "player_name": "Mira" })).await;
    assert_eq!(table.hear("phase_change").await["players"]["Mira"]["hand"], hand);
    // Somebody else of that name sees no hand.
    let mut other = Socket::open(&server, &id).await;
    other.say("client_ready", json!({ "room_id": id, "player_name": "Mira" })).await;
    let shown = other.hear("phase_change").await;
    let shown = &shown["players"]["Mira"]["hand"];
    assert!(shown.is_null() || shown == &json!([]), "{shown}");
}

/// The room answers some of it and the socket the rest, each in its own task.
#[tokio::test]
async fn answers_come_in_the_order_in_which_they_were_asked_for() {
    let server = Server::start(&[("USE_RATE_LIMITING", "false")]);
    let (_, mut host, _) = room(&server, "Mira").await;
    host.say("remove_player", json!({ "slot_id": 4 })).await;
    while !host.hear("room_update").await["players"][3].is_null() {}

    for round in 0..50 {
        for question in [
            json!({ "event": "start_game" }),
            json!({ "event": "ping", "data": { "timestamp": round } }),
            json!({ "event": "remove_player", "data": { "slot_id": 1 } }),
            json!({ "event": "no_such" }),
        ] {
            host.stream.feed(Message::text(question.to_string())).await.unwrap();
        }
    }
    host.stream.flush().await.unwrap();
    let mut hear_answer = async || loop {
        match host.hear_any().await {
            (event, data) if event == "error" => return data["message"].clone(),
            (event, data) if event == "pong" => return data["timestamp"].clone(),
            _ => {}
        }
    };
    for round in 0..50 {
        assert_eq!(hear_answer().await, "Failed to start game", "round {round}");
        assert_eq!(hear_answer().await, round);
        assert_eq!(hear_answer().await, "The host cannot be removed", "round {round}");
        assert_eq!(hear_answer().await, "Invalid message: Unknown event type: no_such", "round {round}");
    }
}

/// What is said to a room that has just closed must not cost its last words.
#[tokio::test]
async fn who_talks_on_while_a_room_closes_hears_why() {
    let server = Server::start(&[("USE_RATE_LIMITING", "false")]);
    for round in 0..20 {
        let (_, mut host, _) = room(&server, "Mira").await;
        let mut say = vec![json!({ "event": "leave_room", "data": { "player_name": "Mira" } })];
        say.extend(vec![json!({ "event": "get_room_state" }); round]);
        say.push(json!({ "event": "ping", "data": { "timestamp": round } }));
        for message in say {
            host.stream.feed(Message::text(message.to_string())).await.unwrap();
        }
        host.stream.flush().await.unwrap();
        assert_eq!(host.hear("room_closed").await["reason"], "host_left", "round {round}");
        assert_eq!(host.hear_any().await.0, "player_left", "round {round}");
        while host.hear_any().await.0 != "pong" {}
    }
}

#[tokio::test]
async fn a_second_socket_of_a_player_takes_over_and_the_first_is_closed_for_good() {
    let server = Server::start(&[]);
    let (id, mut first, session) = room(&server, "Mira").await;
    first.hear("room_update").await;
    let mut second = Socket::open_with(&server, &id, &[("Cookie", &session)]).await.unwrap();
    second.enter(&id, "Mira").await;
    second.hear("room_update").await;
    assert_eq!(first.closed().await, Some(1000));
    second.say("get_room_state", json!({})).await;
    assert_eq!(second.hear("room_update").await["you"], "Mira");
}

#[tokio::test]
async fn a_session_comes_with_the_upgrade_unless_there_is_one() {
    let server = Server::start(&[("BASE_PATH", "/liap"), ("TRUSTED_PROXIES", "127.0.0.1")]);
    let first = Socket::open_with(&server, "lobby", &[("X-Forwarded-Proto", "https")]).await.unwrap();
    let cookie = first.cookie.unwrap();
    assert!(cookie.ends_with("; Path=/liap; Max-Age=2592000; HttpOnly; SameSite=Lax; Secure"), "{cookie}");
    let session = cookie.split(';').next().unwrap();
    assert!(Socket::open_with(&server, "lobby", &[("Cookie", session)]).await.unwrap().cookie.is_none());
}

#[tokio::test]
async fn pages_of_foreign_origins_open_no_sockets() {
    let server = Server::start(&[("ALLOWED_ORIGINS", "https://play.example.org")]);
    let own = format!("http://{}", server.address);
    for origin in [own.as_str(), "https://play.example.org"] {
        assert!(Socket::open_with(&server, "lobby", &[("Origin", origin)]).await.is_ok(), "{origin}");
    }
    for origin in ["https://evil.example", "null", "http://127.0.0.1", "http://play.example.org"] {
        assert_eq!(Socket::open_with(&server, "lobby", &[("Origin", origin)]).await.err(), Some(403), "{origin}");
    }
    assert!(Socket::open(&server, "lobby").await.cookie.is_some(), "no browser, no origin");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn leaving_is_answered_and_a_lost_link_is_noticed() {
    let server =
        Server::start(&[("PING_INTERVAL_SECONDS", "1"), ("PEER_TIMEOUT_SECONDS", "2"), ("LOG_LEVEL", "debug")]);
    let mut leaving = Socket::open(&server, "lobby").await;
    let frame = CloseFrame { code: CloseCode::Normal, reason: "Client disconnect".into() };
    leaving.send(Message::Close(Some(frame))).await;
    assert_eq!(leaving.closed().await, Some(1000));

    // A client that answers pings may be silent for as long as it likes; one that does not is gone.
    let mut silent = Socket::open(&server, "lobby").await;
    let reading = tokio::spawn(async move { silent.closed().await });
    for _ in 0..2 {
        let mut dead = Socket::open(&server, "lobby").await;
        server.logged("\"reason\":\"silent\"");
        assert_eq!(dead.closed().await, Some(1001));
    }
    assert!(!reading.is_finished());
}

/// A server that has ten minutes to stop, and takes none of them: it ends as soon as anything does.
const UNHURRIED: (&str, &str) = ("SHUTDOWN_TIMEOUT_SECONDS", "600");

#[tokio::test]
async fn a_stopping_server_tells_everybody_to_come_back() {
    let mut server = Server::start(&[UNHURRIED]);
    let mut lobby = Socket::open(&server, "lobby").await;
    let mut nowhere = Socket::open(&server, "000000").await;
    let (_, mut table, _) = room(&server, "Mira").await;
    table.hear("room_update").await;
    server.signal("TERM");
    for socket in [&mut lobby, &mut nowhere, &mut table] {
        assert_eq!(socket.closed().await, Some(1012));
    }
    assert!(server.ended().success());
}

#[tokio::test]
async fn a_second_signal_leaves_at_once() {
    let mut server = Server::start(&[UNHURRIED]);
    // Never answers the close, so that stopping would wait for it.
    let _silent = Socket::open(&server, "lobby").await;
    server.signal("INT");
    server.logged("stopping");
    server.signal("INT");
    server.ended();
}

#[tokio::test]
async fn after_a_restart_everybody_finds_his_seat_again() {
    let server = Server::start(&[FAST]);
    let (id, mut table, session) = room(&server, "Mira").await;
    table.say("start_game", json!({})).await;
    let hand = loop {
        let state = table.hear("phase_change").await;
        if state["phase_data"]["weak_players_awaiting"].as_array().is_some_and(|weak| weak.contains(&json!("Mira"))) {
            table.say("decline_redeal", json!({ "player_name": "Mira" })).await;
        }
        if state["phase"] == "declaration" && state["phase_data"]["current_declarer"] == "Mira" {
            break state["players"]["Mira"]["hand"].clone();
        }
    };
    // Clean the first time, at a blow the second.
    let mut server = server;
    for is_clean in [true, false] {
        if is_clean {
            server.signal("TERM");
            assert!(server.ended().success());
        } else {
            journaled(&server, &mut table).await;
        }
        server = server.again();
        table = Socket::open_with(&server, &id, &[("Cookie", &session)]).await.unwrap();
        table.enter(&id, "Mira").await;
        assert_eq!(table.hear("phase_change").await["players"]["Mira"]["hand"], hand, "clean: {is_clean}");
    }
}
