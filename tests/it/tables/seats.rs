//! Seats: which client gets one, who may act, and when a room closes.

use super::*;

#[test]
fn reopening_the_socket_at_the_start_is_not_leaving() {
    let mut table = Table::new(4, 1.0);
    let room_page = table.enter("Ann");
    table.say(room_page, "start_game", json!({}));
    table.disconnect(room_page, DisconnectKind::Clean);
    table.pass(Duration::from_millis(100));
    let game_page = table.enter("Ann");
    table.pass(Duration::from_secs(10));
    let events = table.received_events(game_page);
    assert_eq!(events[0], "room_state_update");
    assert!(!events.iter().any(|event| event.contains("player_") || event == "host_changed"), "{events:?}");
}

#[test]
fn a_reload_at_any_moment_brings_hand_and_state_back() {
    let mut table = Table::new(6, 0.1);
    let mut ann = table.enter("Ann");
    table.say(ann, "start_game", json!({}));
    let mut seen = BTreeMap::new();
    for step in 0..2_000 {
        let before = table.last(ann, "phase_change").unwrap().clone();
        table.disconnect(ann, DisconnectKind::Lost);
        ann = table.enter("Ann");
        let phase = before["phase"].as_str().unwrap().to_owned();
        let after = table.last(ann, "phase_change").unwrap();
        assert_eq!(after["phase"], before["phase"], "step {step}");
        assert_eq!(after["players"]["Ann"]["hand"], before["players"]["Ann"]["hand"]);
        assert_eq!(after["phase_data"]["turn_plays"], before["phase_data"]["turn_plays"]);
        if phase == "turn" {
            assert!(table.last(ann, "declare").is_some(), "declarations are repeated");
        }
        if before["phase_data"]["winner"].is_string() || phase == "turn_results" {
            assert!(table.last(ann, "turn_complete").is_some(), "the result screen comes back");
        }
        *seen.entry(phase.clone()).or_insert(0) += 1;
        if phase == "game_over" {
            break;
        }
        table.step(ann, "Ann");
    }
    assert_eq!(seen.len(), 7, "{seen:?}");
}

#[test]
fn a_client_acts_only_for_its_own_player() {
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
        table.received(id);
        table.say(id, event, data);
        assert_eq!(refusal(&table, id), "permission_denied", "{event}");
    }
    table.say(ann, "start_game", json!({}));
    table.play(&[(ann, "Ann"), (jon, "Jon")], |table| table.phase(ann) == Some("turn"));
    let before = table.last(ann, "phase_change").unwrap().clone();
    for (id, name) in [(thief, "Ann"), (thief, "Jon"), (jon, "Ann"), (ann, "Jon")] {
        table.received(id);
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
    table.disconnect(first, DisconnectKind::Clean);
    table.pass(Duration::from_secs(60));
    assert!(table.room.lifecycle() != Lifecycle::Over, "the end of the older socket has no effect");
    let nameless = table.connect(Some(session("Ann")));
    table.say(nameless, "client_ready", json!({}));
    assert_eq!(table.last(nameless, "room_state_update").unwrap()["you"], "Ann", "one seat in this browser");
}

#[test]
fn guests_come_and_go_and_the_host_closes_the_room() {
    let mut table = Table::new(10, 1.0);
    let ann = table.enter("Ann");
    assert_eq!(table.join("Jon"), Err(JoinError::Full), "a room is born full of bots");
    table.free(ann, 2);
    assert_eq!(table.join("Ann"), Ok(Seat::One), "the same browser keeps its seat");
    let stranger = JoinRequest { session: None, ..newcomer("Ann") };
    let (reply, mut answer) = tokio::sync::oneshot::channel();
    table.input(Input::Join { who: stranger, choice: SeatChoice::Free, reply });
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
    table.disconnect(jon, DisconnectKind::Lost);
    table.pass(Duration::from_secs(1));
    let jon = table.enter("Jon");
    table.pass(Duration::from_secs(5));
    assert_eq!(table.room.summary().players[Seat::Two].as_ref().unwrap().name, "Jon", "a reload keeps the seat");
    table.disconnect(jon, DisconnectKind::Clean);
    assert!(table.room.summary().players[Seat::Two].is_none());
    table.join("Jon").unwrap();
    let jon = table.enter("Jon");
    table.free(ann, 2);
    assert_eq!(table.last(jon, "room_closed").unwrap()["reason"], "player_removed");
    table.say(ann, "leave_room", json!({ "player_name": "Ann" }));
    assert_eq!(table.last(ann, "room_closed").unwrap()["reason"], "host_left");
    assert!(table.room.lifecycle() == Lifecycle::Over);
    assert!(table.records.is_empty(), "no game was played");
}

#[test]
fn the_room_update_is_repeated_for_a_page_that_was_not_listening() {
    let mut table = Table::new(11, 1.0);
    let ann = table.enter("Ann");
    table.received(ann);
    table.say(ann, "get_room_state", json!({}));
    table.pass(Duration::from_secs(5));
    assert_eq!(table.received_events(ann), ["room_update"; 4]);
}

#[test]
fn an_abandoned_game_is_closed_after_half_a_minute_and_kept() {
    let mut table = Table::new(12, 1.0);
    let ann = table.enter("Ann");
    table.say(ann, "start_game", json!({}));
    table.pass(Duration::from_secs(20));
    table.disconnect(ann, DisconnectKind::Clean);
    table.pass(Duration::from_secs(29));
    assert!(table.room.lifecycle() != Lifecycle::Over);
    table.pass(Duration::from_secs(2));
    assert!(table.room.lifecycle() == Lifecycle::Over);
    assert_eq!(table.records[0].ended, Ended::Abandoned);
}

/// A player who locked the phone for half a minute once came back to "There is no such table".
#[test]
fn a_lost_player_alone_finds_the_game_as_it_was() {
    for is_restarted in [false, true] {
        let mut table = Table::new(12, 1.0);
        let ann = table.enter("Ann");
        table.say(ann, "start_game", json!({}));
        table.play(&[(ann, "Ann")], |table| table.phase(ann) == Some("turn"));
        let before = table.last(ann, "phase_change").unwrap()["phase_data"]["current_player"].clone();
        table.disconnect(ann, DisconnectKind::Lost);
        table.pass(Duration::from_secs(3));
        let moves = table.room.events().len();
        table.pass(Duration::from_secs(29 * 60));
        assert_eq!((table.room.events().len(), table.room.lifecycle()), (moves, Lifecycle::Suspended));
        if is_restarted {
            table = table.restarted();
            table.pass(Duration::from_secs(29 * 60));
        }
        let ann = table.enter("Ann");
        assert_eq!(table.last(ann, "phase_change").unwrap()["phase_data"]["current_player"], before);
        assert_eq!(table.room.lifecycle(), Lifecycle::Live);
        table.play(&[(ann, "Ann")], |_| false);
        assert!(table.records[0].ended == Ended::Won && table.records[0].takeovers.is_empty());
    }
}

#[test]
fn a_game_of_a_lost_player_counts_as_abandoned_after_half_an_hour() {
    let mut table = Table::new(12, 1.0);
    let ann = table.enter("Ann");
    table.say(ann, "start_game", json!({}));
    table.pass(Duration::from_secs(20));
    table.disconnect(ann, DisconnectKind::Lost);
    table.pass(Duration::from_secs(30 * 60 - 1));
    assert_eq!(table.room.lifecycle(), Lifecycle::Suspended);
    table.pass(Duration::from_secs(2));
    assert_eq!(table.room.lifecycle(), Lifecycle::Over);
    assert_eq!(table.records[0].ended, Ended::Abandoned);
}

#[test]
fn a_game_stands_still_when_the_last_of_its_players_is_gone_and_one_was_lost() {
    for last in ["lost", "left the page", "left the game"] {
        let mut table = Table::new(13, 1.0);
        let ann = table.enter("Ann");
        table.free(ann, 4);
        table.join("Jon").unwrap();
        let jon = table.enter("Jon");
        table.say(ann, "start_game", json!({}));
        table.play(&[(ann, "Ann"), (jon, "Jon")], |table| table.phase(ann) == Some("turn"));
        table.disconnect(ann, DisconnectKind::Lost);
        table.pass(Duration::from_secs(3));
        assert!(table.last(jon, "player_disconnected").is_some(), "a bot plays on for her while he is there");
        match last {
            "lost" => table.disconnect(jon, DisconnectKind::Lost),
            "left the page" => table.disconnect(jon, DisconnectKind::Clean),
            _ => table.say(jon, "leave_room", json!({ "player_name": "Jon" })),
        }
        table.pass(Duration::from_secs(3));
        let moves = table.room.events().len();
        table.pass(Duration::from_secs(29 * 60));
        assert_eq!((table.room.events().len(), table.room.lifecycle()), (moves, Lifecycle::Suspended), "{last}");
        let ann = table.enter("Ann");
        table.play(&[(ann, "Ann")], |_| false);
        assert_eq!(table.records[0].ended, Ended::Won, "{last}");
    }
}

#[test]
fn the_host_is_handed_on_when_he_is_gone() {
    let mut table = Table::new(13, 1.0);
    let ann = table.enter("Ann");
    table.free(ann, 4);
    table.join("Jon").unwrap();
    let jon = table.enter("Jon");
    table.say(ann, "start_game", json!({}));
    table.disconnect(ann, DisconnectKind::Lost);
    table.pass(Duration::from_secs(3));
    assert_eq!(table.last(jon, "host_changed").unwrap()["new_host"], "Jon");
}

#[test]
fn the_result_is_shown_after_a_reload_but_not_to_a_player_who_closed_it() {
    let mut table = Table::new(15, 0.0);
    let ann = table.enter("Ann");
    table.say(ann, "start_game", json!({}));
    table.play(&[(ann, "Ann")], |_| false);
    table.disconnect(ann, DisconnectKind::Lost);
    let ann = table.enter("Ann");
    assert_eq!(table.phase(ann), Some("game_over"));
    table.disconnect(ann, DisconnectKind::Clean);
    let ann = table.enter("Ann");
    assert_eq!(table.received_events(ann), ["room_not_found"]);
    table.pass(Duration::from_secs(6));
    assert!(table.room.lifecycle() == Lifecycle::Over);
}

#[test]
fn a_full_room_of_watchers_turns_more_away_but_no_player() {
    let mut table = Table::new(17, 1.0);
    let ann = table.enter("Ann");
    let most = Options::default().max_watchers_per_room;
    let watch = |table: &mut Table| {
        let id = table.connect(None);
        table.say(id, "client_ready", json!({}));
        id
    };
    let watchers: Vec<ConnectionId> = (0..most).map(|_| watch(&mut table)).collect();
    let one_more = watch(&mut table);
    assert_eq!(refusal(&table, one_more), "busy");
    assert_eq!(table.clients[&one_more].closed, Some(CloseReason::Done));

    // Her browser, and another one that shows her token.
    let reloaded = table.enter("Ann");
    assert_eq!(table.clients[&ann].closed, Some(CloseReason::Done), "the newest counts");
    assert_eq!(table.last(reloaded, "room_state_update").unwrap()["you"], "Ann");
    let phone = table.connect(None);
    table.say(phone, "client_ready", json!({ "player_name": "Ann", "seat_token": token("Ann").reveal() }));
    assert_eq!(table.last(phone, "room_state_update").unwrap()["you"], "Ann");
    assert!(watchers.iter().all(|id| table.clients[id].closed.is_none()), "those who are in stay");

    table.disconnect(watchers[0], DisconnectKind::Clean);
    let one_more = watch(&mut table);
    assert_eq!(table.clients[&one_more].closed, None, "a place is free again");
}

#[test]
fn many_silent_sockets_do_not_keep_players_out() {
    let mut table = Table::new(18, 1.0);
    let ann = table.enter("Ann");
    let phone = table.connect(None);
    let crowd: Vec<ConnectionId> = (0..200).map(|_| table.connect(None)).collect();
    let open = crowd.iter().filter(|id| table.clients[id].closed.is_none()).count();
    assert!(open <= 8, "{open} are kept");
    assert_eq!(table.clients[&phone].closed, Some(CloseReason::Done), "the oldest makes room");
    assert_eq!(table.clients[crowd.last().unwrap()].closed, None, "the newest may still say who it is");

    let pages: Vec<ConnectionId> = (0..40).map(|_| table.connect(Some(session("Ann")))).collect();
    let open = pages.iter().filter(|id| table.clients[id].closed.is_none()).count();
    assert!(open <= 8, "{open} of one player's are kept");
    assert_eq!(table.clients[&ann].closed, None, "none of them in the place of the seat");
    let last = *pages.last().unwrap();
    table.say(last, "client_ready", json!({ "player_name": "Ann" }));
    assert_eq!(table.last(last, "room_state_update").unwrap()["you"], "Ann");
}

#[test]
fn giving_up_a_seat_keeps_the_bound_of_watchers() {
    let mut table = Table::new(19, 1.0);
    let ann = table.enter("Ann");
    table.free(ann, 4);
    let most = Options::default().max_watchers_per_room;
    for _ in 0..most {
        let id = table.connect(None);
        table.say(id, "client_ready", json!({}));
    }
    for _ in 0..3 {
        table.join("Jon").unwrap();
        let others: Vec<ConnectionId> = (0..8).map(|_| table.connect(Some(session("Jon")))).collect();
        let jon = table.enter("Jon");
        for &id in &others {
            table.say(id, "client_ready", json!({ "player_name": "Nobody" }));
        }
        table.say(jon, "leave_room", json!({ "player_name": "Jon" }));
    }
    let open = table.clients.values().filter(|client| client.closed.is_none()).count();
    assert_eq!(open, most + 1, "those who watched before, and Ann");
}

/// A browser that holds two seats and uses both on one socket keeps neither connected after it closes.
#[test]
fn a_socket_sits_on_one_seat_at_a_time() {
    for plays in [false, true] {
        let mut table = Table::new(20, 1.0);
        let ann = table.enter("Ann");
        table.free(ann, 4);
        let (reply, mut answer) = tokio::sync::oneshot::channel();
        let who = JoinRequest { session: Some(session("Ann")), ..newcomer("Bob") };
        table.input(Input::Join { who, choice: SeatChoice::Free, reply });
        answer.try_recv().unwrap().unwrap();
        if plays {
            table.say(ann, "start_game", json!({}));
        }
        table.say(ann, "client_ready", json!({ "player_name": "Bob" }));
        assert_eq!(table.last(ann, "room_state_update").unwrap()["you"], "Bob");
        table.disconnect(ann, DisconnectKind::Lost);
        table.pass(Duration::from_secs(if plays { 31 * 60 } else { 60 }));
        assert!(table.room.lifecycle() == Lifecycle::Over, "no player is left");
    }
}

/// The names on the seats, as `id` was last shown them.
fn shown(table: &Table, id: ConnectionId) -> Vec<String> {
    let players = table.last(id, "room_update").unwrap()["players"].as_array().unwrap();
    players.iter().map(|player| player["name"].as_str().unwrap_or("free").to_owned()).collect()
}

/// A page that asks for its seat to be kept.
fn enter_to_stay(table: &mut Table, name: &str) -> ConnectionId {
    let id = table.connect(Some(session(name)));
    table.say(id, "client_ready", json!({ "player_name": name, "keep_seat": true }));
    id
}

#[test]
fn before_the_start_a_person_takes_the_seat_of_the_last_bot() {
    let mut table = Table::new(20, 1.0);
    let ann = table.enter("Ann");
    assert_eq!(table.join("Jon"), Err(JoinError::Full), "who does not ask for it takes no bot's seat");
    assert_eq!(table.join_choosing("Jon", SeatChoice::FreeOrBot), Ok(Seat::Four));
    assert_eq!(shown(&table, ann), ["Ann", "Bot 2", "Bot 3", "Jon"]);
    table.free(ann, 2);
    assert_eq!(table.join_choosing("Mali", SeatChoice::FreeOrBot), Ok(Seat::Two), "a free seat comes first");
    assert_eq!(table.join_choosing("Tan", SeatChoice::FreeOrBot), Ok(Seat::Three));
    assert_eq!(table.join_choosing("Eve", SeatChoice::FreeOrBot), Err(JoinError::Full), "four persons sit");
    assert_eq!(table.join_choosing("Mali", SeatChoice::FreeOrBot), Ok(Seat::Two), "the same browser keeps its seat");
    assert_eq!(shown(&table, ann), ["Ann", "Mali", "Tan", "Jon"]);
}

#[test]
fn a_playing_bot_keeps_its_seat() {
    let mut table = Table::new(21, 1.0);
    let ann = table.enter("Ann");
    table.say(ann, "start_game", json!({}));
    assert_eq!(table.join_choosing("Jon", SeatChoice::FreeOrBot), Err(JoinError::Started));
}

#[test]
fn a_room_with_open_seats_fills_in_seat_order() {
    let mut table = Table::new(22, 1.0);
    table.room = table.room.with_rules(RoomRules { other_seats: OtherSeats::Open, ..RoomRules::default() });
    let ann = table.enter("Ann");
    table.say(ann, "start_game", json!({}));
    assert_eq!(refusal(&table, ann), "action_refused", "a game needs four");
    for (name, seat) in [("Jon", Seat::Two), ("Mali", Seat::Three), ("Tan", Seat::Four)] {
        assert_eq!(table.join(name), Ok(seat));
    }
    table.say(ann, "start_game", json!({}));
    assert!(table.last(ann, "game_started").is_some());
}

#[test]
fn a_seat_is_kept_for_a_page_that_asks_for_it() {
    let mut table = Table::new(23, 1.0);
    let ann = table.enter("Ann");
    table.join_choosing("Jon", SeatChoice::FreeOrBot).unwrap();
    let connected = |table: &Table| table.last(ann, "room_update").unwrap()["players"][3]["is_connected"].clone();
    assert_eq!(connected(&table), Value::Null, "who is on the way is not missed yet");
    for disconnect_kind in [DisconnectKind::Clean, DisconnectKind::Lost] {
        let jon = enter_to_stay(&mut table, "Jon");
        assert_eq!(connected(&table), Value::Null);
        table.disconnect(jon, disconnect_kind);
        assert_eq!(connected(&table), false, "the others see who has gone for a moment");
        table.pass(Duration::from_secs(170));
        let jon = enter_to_stay(&mut table, "Jon");
        assert_eq!(table.last(jon, "room_state_update").unwrap()["you"], "Jon");
        assert_eq!(connected(&table), Value::Null, "and that he is back");
        table.disconnect(jon, disconnect_kind);
    }
    table.pass(Duration::from_secs(200));
    assert_eq!(shown(&table, ann), ["Ann", "Bot 2", "Bot 3", "free"], "not for ever");
}

#[test]
fn leaving_by_request_frees_the_seat() {
    let mut table = Table::new(24, 1.0);
    let ann = table.enter("Ann");
    table.join_choosing("Jon", SeatChoice::FreeOrBot).unwrap();
    let jon = enter_to_stay(&mut table, "Jon");
    table.say(jon, "leave_room", json!({ "player_name": "Jon" }));
    assert_eq!(shown(&table, ann), ["Ann", "Bot 2", "Bot 3", "free"]);
}

#[test]
fn a_host_away_for_a_moment_keeps_the_room_and_then_another_player_hosts_it() {
    let mut table = Table::new(25, 1.0);
    let ann = enter_to_stay(&mut table, "Ann");
    table.join_choosing("Jon", SeatChoice::FreeOrBot).unwrap();
    let jon = enter_to_stay(&mut table, "Jon");
    table.disconnect(ann, DisconnectKind::Clean);
    table.pass(Duration::from_secs(60));
    let ann = enter_to_stay(&mut table, "Ann");
    assert_eq!(table.last(jon, "room_update").unwrap()["host_name"], "Ann");
    table.disconnect(ann, DisconnectKind::Clean);
    table.pass(Duration::from_secs(200));
    assert!(table.last(jon, "room_closed").is_none());
    assert_eq!(table.last(jon, "host_changed").unwrap()["new_host"], "Jon");
    assert_eq!(shown(&table, jon), ["free", "Bot 2", "Bot 3", "Jon"]);
    table.say(jon, "add_bot", json!({ "slot_id": 1 }));
    table.say(jon, "start_game", json!({}));
    assert!(table.last(jon, "game_started").is_some(), "the new host starts the game");
}

#[test]
fn a_room_closes_when_all_its_kept_seats_are_given_up() {
    let mut table = Table::new(26, 1.0);
    let ann = enter_to_stay(&mut table, "Ann");
    table.join_choosing("Jon", SeatChoice::FreeOrBot).unwrap();
    let jon = enter_to_stay(&mut table, "Jon");
    table.disconnect(ann, DisconnectKind::Lost);
    table.pass(Duration::from_secs(10));
    table.disconnect(jon, DisconnectKind::Lost);
    table.pass(Duration::from_secs(175));
    assert!(table.room.lifecycle() == Lifecycle::Live);
    assert_eq!(table.room.summary().host_name, "Jon", "his seat is kept for some seconds more");
    table.pass(Duration::from_secs(10));
    assert!(table.room.lifecycle() == Lifecycle::Over);
}

#[test]
fn a_bot_plays_for_a_player_who_is_away_when_the_game_begins() {
    let mut table = Table::new(27, 1.0);
    let ann = table.enter("Ann");
    table.join_choosing("Jon", SeatChoice::FreeOrBot).unwrap();
    let jon = enter_to_stay(&mut table, "Jon");
    table.disconnect(jon, DisconnectKind::Clean);
    table.say(ann, "start_game", json!({}));
    table.pass(Duration::from_secs(3));
    assert_eq!(table.last(ann, "player_disconnected").unwrap()["player_name"], "Jon");
    let jon = enter_to_stay(&mut table, "Jon");
    assert!(table.last(jon, "phase_change").is_some());
    assert_eq!(table.last(ann, "player_reconnected").unwrap()["player_name"], "Jon");
}

#[test]
fn a_kept_seat_is_kept_over_a_restart() {
    let mut table = Table::new(28, 1.0);
    let ann = enter_to_stay(&mut table, "Ann");
    table.join_choosing("Jon", SeatChoice::FreeOrBot).unwrap();
    enter_to_stay(&mut table, "Jon");
    table.disconnect(ann, DisconnectKind::Lost);
    let mut again = table.restarted();
    let jon = enter_to_stay(&mut again, "Jon");
    again.pass(Duration::from_secs(200));
    assert_eq!(again.last(jon, "host_changed").unwrap()["new_host"], "Jon", "the room is not closed under him");
}
