//! Records of completed games: stored, decoded, shown, read back, altered and damaged.

use std::path::{Path, PathBuf};

use liap::archive::{
    DecodeError, Ended, GameId, GameJson, GameRecord, GameTime, JsonError, Move, Player, PlayerKind, ReplayError,
    Takeover, decode, decode_summary, encode, outcome, replay,
};
use liap::game::{Action, ActionError, BySeat, DealProof, Declaration, Game, Level, Phase, Seat, ServerSeed};
use proptest::prelude::*;
use rand::{Rng, RngExt, SeedableRng};
use rand_pcg::Pcg64Mcg;
use serde_json::Value;

/// A game of four players that do anything the rules allow, but lean to what scores, so that it ends. Cut after
/// `max_moves`, if somebody has not won before.
fn play(proof: &DealProof, max_moves: usize, mut wait: impl FnMut() -> u32, rng: &mut impl Rng) -> (Vec<Move>, Ended) {
    let mut game = Game::new(proof.deal_seed());
    let (mut moves, mut time) = (Vec::new(), 0);
    loop {
        while game.advance() {}
        if game.winners().is_some() {
            return (moves, Ended::Won);
        }
        if moves.len() == max_moves {
            return (moves, Ended::Abandoned);
        }
        let waiting: Vec<_> = game.to_move().iter().collect();
        let seat = waiting[rng.random_range(0..waiting.len())];
        let legal = game.legal_actions(seat);
        let action = match game.phase() {
            Phase::Declare { .. } if rng.random_ratio(3, 4) => {
                let low = Action::Declare(Declaration::new(rng.random_range(0..3)).unwrap());
                if legal.contains(&low) { low } else { legal[rng.random_range(0..legal.len())] }
            }
            _ => legal[rng.random_range(0..legal.len())],
        };
        game.apply(seat, action).unwrap();
        time += wait();
        moves.push(Move { seat, action, at: GameTime::from_hundredths(time) });
    }
}

fn proof(rng: &mut impl Rng) -> DealProof {
    DealProof { server_seed: ServerSeed::new(rng.random()), entropy: BySeat::default() }
}

/// A record of bots that never wait.
fn simple(seed: u64, max_moves: usize) -> GameRecord {
    let mut rng = Pcg64Mcg::seed_from_u64(seed);
    let proof = proof(&mut rng);
    let (moves, ended) = play(&proof, max_moves, || 0, &mut rng);
    GameRecord {
        game_id: GameId::first_at(1_700_000_000_000 + seed),
        room_id: "3FA9C1".to_owned(),
        started_at_ms: 1_700_000_000_000 + seed,
        duration_ms: 0,
        players: BySeat::from_fn(|seat| Player { name: format!("Bot {seat}"), kind: PlayerKind::Bot(Level::Normal) }),
        proof,
        moves,
        takeovers: Vec::new(),
        ended,
    }
}

fn any_player() -> impl Strategy<Value = Player> {
    let kind = prop_oneof![
        Just(PlayerKind::Human),
        prop::sample::select(&[Level::Easy, Level::Normal, Level::Hard][..]).prop_map(PlayerKind::Bot)
    ];
    let name = prop_oneof!["Bot [1-4]", "[A-Za-z]{1,8}", ".{0,50}", "\\PC{1,50}"];
    (name, kind).prop_map(|(name, kind)| Player { name, kind })
}

prop_compose! {
    fn any_record()(
        seed in any::<u64>(),
        max_moves in prop_oneof![0_usize..40, 0_usize..400],
        names in prop::array::uniform4(any_player()),
        room_id in "[0-9A-F]{6}|.{0,20}",
        entropy in prop::array::uniform4(prop::option::of("[0-9a-f]{1,64}")),
        id in any::<[u8; 16]>(),
        started_at_ms in 0_u64..250_000_000_000_000,
        longest_wait in prop_oneof![Just(0_u32), 1_u32..300, 1_u32..30_000],
        rest_ms in 0_u64..100_000,
        takeovers in prop::collection::vec((1_u64..=4, any::<u32>(), any::<Option<u32>>()), 0..4),
    ) -> GameRecord {
        let mut rng = Pcg64Mcg::seed_from_u64(seed);
        let proof = DealProof {
            entropy: BySeat::new(entropy.map(|text| text.map(|text| text.parse().unwrap()))),
            ..proof(&mut rng)
        };
        let mut waits = Pcg64Mcg::seed_from_u64(!seed);
        let (moves, ended) = play(&proof, max_moves, || waits.random_range(0..=longest_wait), &mut rng);
        let end = moves.last().map_or(0, |last| last.at.hundredths());
        let within = |time: u32| GameTime::from_hundredths(time.checked_rem(end + 1).unwrap_or(0));
        GameRecord {
            game_id: GameId::from_bytes(id),
            room_id,
            started_at_ms,
            duration_ms: u64::from(end) * 10 + rest_ms,
            players: BySeat::new(names),
            proof,
            moves,
            takeovers: takeovers
                .into_iter()
                .map(|(seat, from, to)| Takeover {
                    seat: Seat::from_number(seat).unwrap(),
                    from: within(from),
                    to: to.map(within),
                })
                .collect(),
            ended,
        }
    }
}

/// The same game, but each play with the first copies in hand of the pieces it shows: what the public form can tell.
fn as_shown(record: &GameRecord) -> GameRecord {
    GameRecord::from_json(&replay(record).unwrap().to_line()).unwrap()
}

/// Puts a fitting checksum behind changed bytes, so that reading goes on to what the checksum protects.
fn with_checksum(bytes: &[u8]) -> Vec<u8> {
    let framed = &bytes[..bytes.len() - 4];
    [framed, &crc32fast::hash(framed).to_le_bytes()].concat()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn what_is_stored_comes_back(record in any_record()) {
        let bytes = encode(&record).unwrap();
        prop_assert_eq!(&decode(&bytes).unwrap(), &record);
        let summary = decode_summary(&bytes).unwrap();
        prop_assert_eq!(summary.outcome, outcome(&record).unwrap());
        prop_assert_eq!(summary.players, record.players);
        prop_assert_eq!((summary.game_id, summary.room_id), (record.game_id, record.room_id));
        prop_assert_eq!((summary.started_at_ms, summary.duration_ms), (record.started_at_ms, record.duration_ms));
    }

    #[test]
    fn what_is_shown_is_read_back(record in any_record()) {
        let line = replay(&record).unwrap().to_line();
        let read = GameRecord::from_json(&line).unwrap();
        prop_assert_eq!(replay(&read).unwrap().to_line(), line);
        // Read twice, nothing more changes; and but for copies of pieces nothing has.
        prop_assert_eq!(&as_shown(&read), &read);
        prop_assert_eq!(GameRecord { moves: record.moves.clone(), ..read }, record);
    }

    #[test]
    fn damage_is_noticed(record in any_record(), place in any::<prop::sample::Index>(), flip in 1_u8..) {
        let mut bytes = encode(&record).unwrap();
        let place = place.index(bytes.len());
        bytes[place] ^= flip;
        prop_assert!(matches!(decode(&bytes), Err(DecodeError::Checksum)));
        prop_assert!(matches!(decode_summary(&bytes), Err(DecodeError::Checksum)));
    }

    /// Even behind a checksum that fits, bytes are read or refused; what is read is a game.
    #[test]
    fn no_bytes_harm_the_reader(
        record in any_record(),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..5),
        cut in prop::option::of(any::<prop::sample::Index>()),
        uncompressed in any::<bool>(),
    ) {
        let mut bytes = if uncompressed { uncompressed_form(&record) } else { encode(&record).unwrap() };
        for (place, value) in changes {
            let place = place.index(bytes.len());
            bytes[place] = value;
        }
        if let Some(cut) = cut {
            bytes.truncate(4.max(cut.index(bytes.len())));
        }
        drop(decode_summary(&with_checksum(&bytes)));
        if let Ok(record) = decode(&with_checksum(&bytes)) {
            prop_assert!(replay(&record).is_ok());
        }
    }

    #[test]
    fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        drop(decode(&bytes));
        let framed = [&[1, 1, 0][..], &bytes, &[0; 4]].concat();
        drop(decode(&with_checksum(&framed)));
        let framed = [&[1, 1, 1][..], &bytes, &[0; 4]].concat();
        drop(decode(&with_checksum(&framed)));
    }

    /// Changing any one thing in the text of a game is noticed.
    #[test]
    fn an_altered_text_is_refused(seed in 0_u64..20, place in any::<prop::sample::Index>(), change in 0..4) {
        let line = replay(&simple(seed, 200)).unwrap().to_line();
        let mut json: Value = serde_json::from_str(&line).unwrap();
        let mut leaves = Vec::new();
        collect_leaves(&json, String::new(), &mut leaves);
        // These nothing else in the text depends on: who, where and when is what the record says it is.
        leaves.retain(|pointer| {
            let free = ["/game_id", "/room_id", "/started_at", "/completed_at", "/winner_name"];
            !free.contains(&&**pointer) && !pointer.ends_with("/name") && !pointer.ends_with("/level")
                && !pointer.ends_with("/at")
        });
        let pointer = &leaves[place.index(leaves.len())];
        let leaf = json.pointer_mut(pointer).unwrap();
        let changed = match (&*leaf, change) {
            (Value::Number(number), 0) => (number.as_i64().unwrap() + 1).into(),
            (Value::Number(number), 1) => (number.as_i64().unwrap() - 1).into(),
            (Value::String(text), 0) => text.replace("RED", "BLACK").into(),
            (Value::String(text), 1) => format!("{text} ").into(),
            (Value::Bool(value), _) => (!*value).into(),
            (_, 2) => Value::Null,
            _ => serde_json::json!({}),
        };
        prop_assume!(*leaf != changed);
        *leaf = changed;
        // In a round that was broken off nothing depends on the last moves. Another one there, if it is allowed, is another
        // game: just that, to its last word.
        if let Ok(other) = GameRecord::from_json(&json.to_string()) {
            let broken_off = json["rounds"].as_array().unwrap().iter().position(|round| round["scores"].is_null());
            let is_undecided = broken_off.is_some_and(|round| pointer.starts_with(&format!("/rounds/{round}/")));
            let told: Value = serde_json::from_str(&replay(&other).unwrap().to_line()).unwrap();
            prop_assert!(is_undecided && told == json, "{pointer} was changed: {json}");
        }
    }
}

fn collect_leaves(value: &Value, pointer: String, leaves: &mut Vec<String>) {
    match value {
        Value::Object(fields) => {
            for (key, value) in fields {
                collect_leaves(value, format!("{pointer}/{key}"), leaves);
            }
        }
        Value::Array(values) => {
            for (index, value) in values.iter().enumerate() {
                collect_leaves(value, format!("{pointer}/{index}"), leaves);
            }
        }
        _ => leaves.push(pointer),
    }
}

fn uncompressed_form(record: &GameRecord) -> Vec<u8> {
    let plain = liap::archive::encode_plain(record).unwrap();
    let mut bytes = vec![1, 1, 0];
    // Two bytes of seven bits each hold every length up to 16 KiB.
    let [low, high] = u16::try_from(plain.len()).unwrap().to_le_bytes();
    assert!(high < 0x40);
    bytes.extend([low | 0x80, high << 1 | low >> 7]);
    bytes.extend(plain);
    bytes.extend([0; 4]);
    with_checksum(&bytes)
}

#[test]
fn what_zstd_cannot_shorten_is_read_as_it_is() {
    let record = simple(3, 300);
    assert_eq!(decode(&uncompressed_form(&record)).unwrap(), record);
}

#[test]
fn a_length_is_believed_only_up_to_its_bound() {
    let bomb = with_checksum(&[&[1, 1, 1, 0xFF, 0xFF, 0x7F][..], &[0; 20]].concat());
    assert!(matches!(decode(&bomb), Err(DecodeError::TooLarge { bytes: 0x1F_FFFF })));
    let endless = with_checksum(&[&[1, 1, 1, 0xFF, 0xFF, 0xFF][..], &[0xFF; 20]].concat());
    assert!(matches!(decode(&endless), Err(DecodeError::Short)));
}

#[test]
fn a_later_version_is_called_so() {
    let mut bytes = encode(&simple(1, 50)).unwrap();
    for (place, what) in [(0, "version"), (1, "rules version"), (2, "dictionary")] {
        let before = std::mem::replace(&mut bytes[place], 200);
        match decode(&with_checksum(&bytes)) {
            Err(DecodeError::Unknown { what: found, found: 200, .. }) => assert_eq!(found, what),
            other => panic!("{other:?}"),
        }
        bytes[place] = before;
    }
}

#[test]
fn a_record_against_the_rules_is_neither_shown_nor_stored() {
    let record = simple(2, 60);
    let refused = |record: &GameRecord| {
        let shown = replay(record).unwrap_err();
        assert_eq!(encode(record).unwrap_err().to_string(), shown.to_string());
        assert_eq!(outcome(record).unwrap_err(), shown);
        shown
    };
    let mut doubled = record.clone();
    doubled.moves[1] = doubled.moves[0];
    assert!(matches!(refused(&doubled), ReplayError::Illegal { number: 2, rule: ActionError::NotYourTurn, .. }));
    let unfinished = GameRecord { ended: Ended::Won, ..record.clone() };
    assert_eq!(refused(&unfinished), ReplayError::NotWon { moves: 60 });
    let mut back = record;
    back.moves[7].at = GameTime::from_hundredths(100);
    assert_eq!(refused(&back), ReplayError::TimeGoesBack { number: 9 });

    let won = (0..).map(|seed| simple(seed, 3000)).find(|record| record.ended == Ended::Won).unwrap();
    assert_eq!(refused(&GameRecord { ended: Ended::Abandoned, ..won.clone() }), ReplayError::NotAbandoned);
    let mut longer = won;
    let last = *longer.moves.last().unwrap();
    longer.moves.push(last);
    assert_eq!(refused(&longer), ReplayError::AfterTheEnd { number: longer.moves.len() });
}

#[test]
fn a_difference_is_named() {
    let line = replay(&simple(5, 120)).unwrap().to_line();
    let refused = |from: &str, to: &str| {
        assert!(line.contains(from), "{from} is in {line}");
        GameRecord::from_json(&line.replacen(from, to, 1)).unwrap_err().to_string()
    };
    assert_eq!(refused("\"duration_seconds\":0", "\"duration_seconds\":7"), "duration_seconds is 7, must be 0");
    assert_eq!(refused("\"format\":1", "\"format\":2"), "format is 2, this program knows 1");
    assert_eq!(
        refused("\"captured\":[", "\"captured\":[1"),
        format!("rounds[0].captured[0] is 1{0}, must be {0}", digit_after(&line, "\"captured\":["))
    );
    assert!(refused("\"commitment\":\"", "\"commitment\":\"0").starts_with("deal_proof.commitment is \"0"));
    assert!(refused("\"format\":1", "\"format\":1,\"extra\":0").starts_with("unknown field `extra`"));
    assert!(matches!(GameRecord::from_json("{\"format\":1"), Err(JsonError::Form(_))));
}

fn digit_after<'a>(line: &'a str, mark: &str) -> &'a str {
    let start = line.find(mark).unwrap() + mark.len();
    &line[start..=start]
}

#[test]
fn other_spellings_of_the_same_are_taken() {
    let mut record = simple(5, 120);
    record.duration_ms = 100_000;
    let mut time = 0;
    for one in &mut record.moves {
        time += 50;
        one.at = GameTime::from_hundredths(time);
    }
    let json: GameJson = replay(&record).unwrap();
    let spaced = serde_json::to_string_pretty(&json)
        .unwrap()
        .replace("\"at\": 10.0", "\"at\": 10")
        .replace("\"at\": 0.5", "\"at\": 5e-1");
    assert_eq!(replay(&GameRecord::from_json(&spaced).unwrap()).unwrap(), json);
}

fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/golden").join(name)
}

/// Every version of the program must open every form that was ever written: these files never change.
#[test]
fn the_first_stored_form_stays_readable() {
    let bytes = std::fs::read(golden("record-v1.bin")).unwrap();
    let line = std::fs::read_to_string(golden("record-v1.json")).unwrap();
    let record = decode(&bytes).unwrap();
    assert_eq!(replay(&record).unwrap().to_line(), line.trim_end());
}
