//! Tables after a restart are what they were.

use super::*;

#[test]
fn a_restart_brings_every_table_back_to_the_same_trick() {
    let mut table = Table::new(18, 0.1);
    let ann = table.enter("Ann");
    assert_eq!(table.restarted().room.snapshot(), table.room.snapshot(), "before the game as well");
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
        table.step(ann, "Ann");
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
    table.disconnect(jon, DisconnectKind::Lost);
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
    assert!(again.room.lifecycle() == Lifecycle::Live, "whoever was looking at the result comes back to it");
    let ann = again.enter("Ann");
    assert_eq!(again.phase(ann), Some("game_over"));
    assert_eq!(again.room.game_under_way(), None);
}

#[test]
fn the_event_history_is_the_same_after_a_restart() {
    let mut table = Table::new(19, 0.1);
    let ann = table.enter("Ann");
    table.free(ann, 3);
    assert_eq!(table.join("Jon"), Ok(Seat::Three));
    let jon = table.enter("Jon");
    table.say(ann, "start_game", json!({}));
    // Jon goes and comes back.
    table.play(&[(ann, "Ann"), (jon, "Jon")], |table| table.phase(ann) == Some("turn"));
    table.disconnect(jon, DisconnectKind::Lost);
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

/// Whenever a room closes, what it hands over can be kept: a game whose last play lies on the table is won, though its
/// winners have not been shown yet.
#[test]
fn a_room_that_closes_at_any_moment_leaves_a_game_that_can_be_kept() {
    let mut table = Table::new(23, 1.0);
    let ann = table.enter("Ann");
    table.say(ann, "start_game", json!({}));
    let mut ends = Vec::new();
    table.play(&[(ann, "Ann")], |table| {
        let mut closed = table.restarted();
        closed.input(Input::CloseRoom(None));
        let record = closed.records.pop().expect("a game was under way");
        encode(&record).unwrap();
        ends.push(record.ended);
        false
    });
    encode(&table.records[0]).unwrap();
    let won = ends.iter().filter(|ended| **ended == Ended::Won).count();
    // The play is shown, then who won its turn, then the scores.
    assert!(won >= 3 && ends.is_sorted_by_key(|ended| *ended == Ended::Won), "{won} of {}", ends.len());
}

/// A machine without a clock of its own comes up in the past.
#[test]
fn a_clock_that_was_set_back_over_a_restart_spoils_no_game() {
    let mut table = Table::new(24, 0.1);
    let ann = table.enter("Ann");
    table.say(ann, "start_game", json!({}));
    table.play(&[(ann, "Ann")], |table| table.phase(ann) == Some("turn"));
    table.disconnect(ann, DisconnectKind::Lost);
    table.pass(Duration::from_secs(3));
    table.now = Time::from_unix_ms(table.now.unix_ms() - 1_800_000);
    let mut again = table.restarted();
    let ann = again.enter("Ann");
    again.play(&[(ann, "Ann")], |_| false);
    let record = &again.records[0];
    encode(record).unwrap();
    assert!(record.takeovers.iter().all(|takeover| takeover.to.is_some_and(|to| to >= takeover.from)));
}
