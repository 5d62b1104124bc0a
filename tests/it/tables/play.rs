//! Games at a table: what each client is shown, and what happens after errors, timeouts and disconnects.

use super::*;

#[test]
fn one_person_plays_a_whole_game_with_three_bots() {
    let mut table = Table::new(1, 1.0);
    let ann = table.enter("Ann");
    table.say(ann, "get_room_state", json!({}));
    table.say(ann, "start_game", json!({}));
    assert_eq!(table.received_events(ann)[..4], ["room_state_update", "room_update", "phase_change", "game_started"]);
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
fn what_a_person_does_is_activity_and_what_bots_do_is_none() {
    let mut table = Table::new(1, 1.0);
    let ann = table.enter("Ann");
    table.pass(Duration::from_secs(5));
    table.say(ann, "start_game", json!({}));
    let started = table.now;
    table.pass(Duration::from_secs(60));
    assert_eq!(table.room.last_activity(), started, "bots wait for Ann, who says nothing");
    table.play(&[(ann, "Ann")], |table| table.room.last_activity() != started);
    assert_eq!(table.room.last_activity(), table.now);
}

#[test]
fn every_phase_change_has_what_the_existing_client_requires() {
    let mut table = Table::new(2, 0.1);
    let ann = table.enter("Ann");
    table.say(ann, "start_game", json!({}));
    table.play(&[(ann, "Ann")], |_| false);
    let mut phases = BTreeMap::new();
    for frame in table.received(ann) {
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
        for frame in table.received(id) {
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
fn a_player_who_disconnects_before_a_move_does_not_stall_the_table() {
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
        table.disconnect(jon, DisconnectKind::Lost);
        table.pass(Duration::from_millis(2_400));
        assert_eq!(mover(&table).as_deref(), Some("Jon"), "a reload has its time");
        table.received(ann);
        table.pass(Duration::from_millis(1_700));
        let events: Vec<_> = table.clients[&ann].received.iter().map(|frame| frame["event"].clone()).collect();
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
fn refused_actions_change_nothing_and_are_answered_with_the_state() {
    let mut table = Table::new(9, 1.0);
    let ann = table.enter("Ann");
    table.say(ann, "declare", json!({ "player_name": "Ann", "value": 1 }));
    assert_eq!(refusal(&table, ann), "not_found");
    table.say(ann, "start_game", json!({}));
    table.received(ann);
    table.say(ann, "play", json!({ "player_name": "Ann", "piece_indices": [0] }));
    assert_eq!(table.received_events(ann), ["error", "phase_change"], "not while tiles are dealt");
    table.play(&[(ann, "Ann")], |table| {
        let state = table.last(ann, "phase_change");
        state.is_some_and(|state| state["phase"] == "turn" && state["phase_data"]["current_player"] == "Ann")
    });
    let before = table.last(ann, "phase_change").unwrap().clone();
    for indices in [json!([31]), json!([0, 1, 2, 3, 4, 5])] {
        table.received(ann);
        table.say(ann, "play", json!({ "player_name": "Ann", "piece_indices": indices }));
        assert_eq!(refusal(&table, ann), "action_refused");
        let after = table.last(ann, "phase_change").unwrap();
        assert_eq!(after["players"], before["players"]);
    }
}

/// Ann is asked for this, with `others` who have done it before her.
fn is_asked(table: &Table, ann: ConnectionId, phase: &str, others: usize) -> bool {
    let Some(state) = table.last(ann, "phase_change").filter(|state| state["phase"] == phase) else { return false };
    let data = &state["phase_data"];
    let (who, done) = match phase {
        "declaration" => (&data["current_declarer"], &data["declarations"]),
        _ => (&data["current_player"], &data["turn_plays"]),
    };
    who == "Ann" && done.as_object().unwrap().len() == others
}

#[test]
fn after_the_fourth_play_no_seat_is_to_move_and_a_late_tap_is_ignored() {
    let mut table = Table::new(4, 1.0);
    let ann = table.enter("Ann");
    table.say(ann, "start_game", json!({}));
    for others in [0, 3] {
        table.play(&[(ann, "Ann")], |table| is_asked(table, ann, "turn", others));
        let (event, tap) = table.decide(ann, "Ann").unwrap();
        table.say(ann, event, tap.clone());
        let state = table.last(ann, "phase_change").unwrap().clone();
        let is_last = others == 3;
        assert_eq!(state["phase_data"]["turn_complete"], is_last);
        assert_eq!(state["allowed_actions"], if is_last { json!([]) } else { json!(["play"]) });
        if is_last {
            assert_eq!(state["phase_data"]["current_player"], "Ann", "as recorded");
            assert!(state["phase_data"]["winner"].is_null(), "the plays are looked at first");
        }
        table.received(ann);
        table.say(ann, event, tap.clone());
        table.say(ann, event, json!({ "player_name": "Ann", "piece_indices": [31] }));
        assert_eq!(table.received_events(ann), [""; 0]);
        if is_last {
            table.pass_until(|table| table.last(ann, "turn_complete").is_some());
            assert!(table.last(ann, "phase_change").unwrap()["phase_data"]["winner"].is_string());
            table.received(ann);
            table.say(ann, event, tap);
            assert_eq!(table.received_events(ann), [""; 0], "nor where the turn is won");
        }
        table.say(ann, "request_state_sync", json!({}));
        let seen = table.last(ann, "phase_change").unwrap();
        assert_eq!(seen["players"]["Ann"]["hand"], state["players"]["Ann"]["hand"], "no piece is lost");
    }
}

#[test]
fn after_the_last_declaration_no_seat_is_to_move_and_a_late_tap_is_ignored() {
    for others in 0..4 {
        let (mut table, ann) = (2_u8..)
            .map(|seed| {
                let mut table = Table::new(seed, 1.0);
                let ann = table.enter("Ann");
                table.say(ann, "start_game", json!({}));
                table.play(&[(ann, "Ann")], |table| (0..4).any(|others| is_asked(table, ann, "declaration", others)));
                (table, ann)
            })
            .find(|(table, ann)| is_asked(table, *ann, "declaration", others))
            .unwrap();
        let (event, tap) = table.decide(ann, "Ann").unwrap();
        table.say(ann, event, tap.clone());
        let state = table.last(ann, "phase_change").unwrap();
        let is_last = others == 3;
        assert_eq!(state["phase_data"]["current_declarer"].is_null(), is_last);
        assert_eq!(state["allowed_actions"], if is_last { json!([]) } else { json!(["declare"]) });
        table.received(ann);
        table.say(ann, event, tap);
        assert_eq!(table.received_events(ann), [""; 0]);
    }
}

#[test]
fn a_second_answer_about_a_redeal_is_nothing() {
    for answer in ["accept_redeal", "decline_redeal"] {
        let (mut table, ann) = (0_u8..)
            .map(|seed| {
                let mut table = Table::new(seed, 1.0);
                let ann = table.enter("Ann");
                table.say(ann, "start_game", json!({}));
                table.pass_until(|table| {
                    let state = table.last(ann, "phase_change").unwrap();
                    let is_asking = state["allowed_actions"] == json!(["accept_redeal", "decline_redeal"]);
                    let awaiting = state["phase_data"]["weak_players_awaiting"].as_array();
                    assert_eq!(is_asking, awaiting.is_some(), "only players with an answer to give are asked");
                    awaiting.is_some() || state["phase"] == "round_start"
                });
                (table, ann)
            })
            .find(|(table, ann)| {
                let awaiting = &table.last(*ann, "phase_change").unwrap()["phase_data"]["weak_players_awaiting"];
                awaiting.as_array().is_some_and(|awaiting| awaiting.contains(&json!("Ann")))
            })
            .unwrap();
        let told = json!({ "player_name": "Ann" });
        table.say(ann, answer, told.clone());
        assert!(table.last(ann, "redeal_response_success").is_some());
        table.received(ann);
        table.say(ann, answer, told.clone());
        assert_eq!(table.received_events(ann), [""; 0], "{answer}");
        // And when all have answered.
        table.say(ann, "request_state_sync", json!({}));
        table.pass_until(|table| table.last(ann, "phase_change").unwrap()["allowed_actions"] == json!([]));
        table.received(ann);
        table.say(ann, answer, told);
        assert_eq!(table.received_events(ann), [""; 0], "{answer}");
    }
}

#[test]
fn a_bot_makes_one_move_for_a_slow_player_and_everyone_is_notified() {
    let mut table = Table::new(14, 1.0);
    let ann = table.enter("Ann");
    table.say(ann, "start_game", json!({}));
    table.pass_until(|table| table.last(ann, "player_timed_out").is_some());
    assert_eq!(table.last(ann, "player_timed_out").unwrap()["player_name"], "Ann");
    let state = table.last(ann, "phase_change").unwrap();
    assert_eq!(state["players"]["Ann"]["is_bot"], false, "he keeps his seat");
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
fn a_late_client_gets_the_public_events_only() {
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
            .received
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

/// Ann's move, with all her time left.
fn at_her_move(seed: u8) -> (Table, ConnectionId) {
    let mut table = Table::new(seed, 1.0);
    let ann = table.enter("Ann");
    table.say(ann, "start_game", json!({}));
    table.play(&[(ann, "Ann")], |table| {
        let state = table.last(ann, "phase_change");
        state.is_some_and(|state| state["phase"] == "turn" && state["phase_data"]["current_player"] == "Ann")
    });
    (table, ann)
}

fn go_and_come_back(table: &mut Table, ann: ConnectionId) {
    table.say(ann, "leave_room", json!({ "player_name": "Ann" }));
    table.say(ann, "client_ready", json!({ "player_name": "Ann" }));
}

#[test]
fn endless_reconnecting_keeps_the_record_valid() {
    let (mut table, ann) = at_her_move(25);
    for _ in 0..20_000 {
        table.pass(Duration::from_millis(1));
        go_and_come_back(&mut table, ann);
        table.received(ann);
    }
    table.play(&[(ann, "Ann")], |_| false);
    let record = &table.records[0];
    assert!(record.takeovers.len() < 10, "{}", record.takeovers.len());
    encode(record).unwrap();
}

#[test]
fn endless_reconnecting_does_not_stall_the_table() {
    let turn = Options::default().turn_timeout.unwrap();
    for leaves_last in [false, true] {
        let (mut table, ann) = at_her_move(26);
        let steps = 12;
        for _ in 0..steps {
            table.pass(turn / steps - Duration::from_millis(1));
            go_and_come_back(&mut table, ann);
        }
        table.received(ann);
        if leaves_last {
            table.say(ann, "leave_room", json!({ "player_name": "Ann" }));
        }
        table.pass(Duration::from_millis(20));
        if leaves_last {
            table.say(ann, "client_ready", json!({ "player_name": "Ann" }));
        }
        assert_eq!(table.last(ann, "player_timed_out").is_some(), !leaves_last);
        assert_ne!(table.last(ann, "phase_change").unwrap()["phase_data"]["current_player"], "Ann", "her time is over");
    }
}
