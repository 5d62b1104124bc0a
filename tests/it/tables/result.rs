//! What follows a result: pauses that end when all have seen it, and one table for all who play again.

use super::*;

/// A table of this tempo with Ann, Jon and two bots, at the first reveal of a turn.
fn revealed(tempo: Tempo) -> (Table, ConnectionId, ConnectionId) {
    let mut table = Table::new(31, 1.0);
    table.room = table.room.with_rules(RoomRules { tempo, ..RoomRules::default() });
    let ann = table.enter("Ann");
    table.join_choosing("Jon", SeatChoice::FreeOrBot).unwrap();
    let jon = table.enter("Jon");
    table.say(ann, "start_game", json!({}));
    let is_revealed = |table: &Table| {
        table.last(ann, "phase_change").is_some_and(|state| {
            state["phase"] == "turn"
                && state["phase_data"]["turn_plays"].as_object().is_some_and(|plays| plays.len() == 4)
        })
    };
    table.play(&[(ann, "Ann"), (jon, "Jon")], is_revealed);
    (table, ann, jon)
}

/// How long the table waits for what comes next.
fn pause(table: &Table) -> Duration {
    table.room.wake_at().unwrap().since(table.now)
}

#[test]
fn a_table_pauses_as_its_tempo_says_also_after_a_restart() {
    for (tempo, ms) in [(Tempo::Tea, 5_000), (Tempo::Normal, 1_500), (Tempo::Blitz, 800)] {
        let (table, ..) = revealed(tempo);
        assert_eq!(pause(&table), Duration::from_millis(ms));
        let mut again = table.restarted();
        let ann = again.enter("Ann");
        let pause_ms = again.last(ann, "phase_change").unwrap()["phase_data"]["pause_ms"].as_u64();
        assert_eq!(pause_ms, Some(ms / 10), "at the pace 0.1");
    }
}

#[test]
fn a_result_ends_when_all_connected_players_have_seen_it() {
    let (mut table, ann, jon) = revealed(Tempo::Normal);
    table.say(ann, "seen", json!({}));
    table.say(ann, "seen", json!({}));
    assert!(!pause(&table).is_zero(), "Jon still looks");
    table.say(jon, "seen", json!({}));
    assert!(pause(&table).is_zero());
    table.wake();
    assert!(!pause(&table).is_zero(), "what comes next has its own time");

    let (mut table, ann, jon) = revealed(Tempo::Blitz);
    table.disconnect(jon, DisconnectKind::Lost);
    table.say(ann, "seen", json!({}));
    assert!(pause(&table).is_zero(), "nobody waits for who is away");
}

#[test]
fn at_tea_nothing_ends_a_pause() {
    let (mut table, ann, jon) = revealed(Tempo::Tea);
    for id in [ann, jon] {
        table.say(id, "seen", json!({}));
    }
    assert_eq!(pause(&table), Duration::from_secs(5));
}

#[test]
fn all_who_play_again_meet_at_the_table_named_first() {
    let mut table = Table::new(32, 0.0);
    let ann = table.enter("Ann");
    table.join_choosing("Jon", SeatChoice::FreeOrBot).unwrap();
    let jon = table.enter("Jon");
    table.say(ann, "rematch", json!({ "room_id": "AAAAAA" }));
    assert_eq!(refusal(&table, ann), "action_refused", "the game is not over");
    table.say(ann, "start_game", json!({}));
    table.play(&[(ann, "Ann"), (jon, "Jon")], |_| false);

    let eve = table.connect(None);
    table.say(eve, "client_ready", json!({}));
    table.say(eve, "rematch", json!({ "room_id": "EEEEEE" }));
    assert_eq!(refusal(&table, eve), "permission_denied");
    table.say(ann, "rematch", json!({ "room_id": "AAAAAA" }));
    table.say(jon, "rematch", json!({ "room_id": "BBBBBB" }));
    let named = |table: &Table, id| table.last(id, "rematch").unwrap().clone();
    for id in [ann, jon, eve] {
        assert_eq!(named(&table, id), json!({ "room_id": "AAAAAA", "player_name": "Ann" }));
    }
    let late = table.enter("Jon");
    assert_eq!(named(&table, late)["room_id"], "AAAAAA");
    table.say(late, "rematch", json!({ "room_id": "BBBBBB", "instead_of": "AAAAAA" }));
    assert_eq!(named(&table, ann), json!({ "room_id": "BBBBBB", "player_name": "Jon" }), "the first one is gone");
}

#[test]
fn pauses_take_less_than_a_quarter_of_ten_rounds_of_four_persons() {
    const THINKS: Duration = Duration::from_secs(2);
    const LOOKS: Duration = Duration::from_secs(1);
    for (tempo, most_percent) in [(Tempo::Normal, 25), (Tempo::Blitz, 20)] {
        let mut table = Table::new(33, 1.0);
        table.room = table.room.with_rules(RoomRules { tempo, ..RoomRules::default() });
        let names = ["Ann", "Jon", "Mali", "Tan"];
        for name in &names[1..] {
            table.join_choosing(name, SeatChoice::FreeOrBot).unwrap();
        }
        let players = names.map(|name| (table.enter(name), name));
        let (ann, _) = players[0];
        table.say(ann, "start_game", json!({}));
        let began = table.now;
        let mut thinking = Duration::ZERO;
        let rounds = |table: &Table| table.last(ann, "phase_change").unwrap()["round"].as_u64().unwrap();
        while table.phase(ann) != Some("game_over") && rounds(&table) <= 10 {
            let decision = players.iter().find_map(|&(id, name)| Some((id, table.decide(id, name)?)));
            if let Some((id, (event, data))) = decision {
                table.pass(THINKS);
                thinking += THINKS;
                table.say(id, event, data);
                continue;
            }
            // Each has looked for a second at what is shown, then taps; where nothing is shown that changes nothing.
            if pause(&table) > LOOKS {
                table.pass(LOOKS);
                players.iter().for_each(|&(id, _)| table.say(id, "seen", json!({})));
            }
            table.wake();
        }
        let total = table.now.since(began);
        let percent = (total - thinking).as_millis() * 100 / total.as_millis();
        assert!(percent < most_percent, "{tempo:?}: {percent} % of {total:?}");
    }
}
