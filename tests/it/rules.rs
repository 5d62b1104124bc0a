//! The rules as data: `rules/*.txt` hold cases in plain text, with their source and their form on top.

use std::fs;
use std::path::Path;

use liap::game::{
    Color, Declaration, Kind, Name, Piece, PieceSet, Play, Seat, SeatSet, Table, allowed_declarations, first_accepter,
    round_score, starter,
};

/// Hands the fields of each case to `check`, and makes sure that there were some.
fn check(file: &str, at_least: usize, check: impl Fn(&[&str])) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/rules").join(file);
    let text = fs::read_to_string(path).unwrap();
    let cases: Vec<&str> = text.lines().filter(|line| !line.starts_with('#') && !line.trim().is_empty()).collect();
    assert!(cases.len() >= at_least, "{file} holds {} cases", cases.len());
    for case in cases {
        let fields: Vec<&str> = case.split('|').map(str::trim).collect();
        println!("{file}: {case}");
        check(&fields);
    }
}

/// Pieces in shorthand, each the first of its kind that is not there yet.
fn pieces(text: &str) -> PieceSet {
    text.split_whitespace().fold(PieceSet::EMPTY, |set, short| {
        let name = match &short[..1] {
            "G" => Name::General,
            "A" => Name::Advisor,
            "E" => Name::Elephant,
            "C" => Name::Chariot,
            "H" => Name::Horse,
            "N" => Name::Cannon,
            "S" => Name::Soldier,
            other => panic!("no piece {other}"),
        };
        let color = if short.ends_with('r') { Color::Red } else { Color::Black };
        let kind = Kind { name, color };
        set.with(Piece::all().find(|piece| piece.kind() == kind && !set.contains(*piece)).expect("enough copies"))
    })
}

fn seat(text: &str) -> Option<Seat> {
    text.parse().ok().and_then(Seat::from_number)
}

#[test]
fn play_types() {
    check("play_types.txt", 28, |fields| {
        let kind = Play::classify(pieces(fields[0])).map_or("INVALID", |play| play.kind().into());
        assert_eq!(kind, fields[1]);
    });
}

#[test]
fn comparisons() {
    check("comparisons.txt", 20, |fields| {
        let lead = Play::classify(pieces(fields[0])).expect("only plays lead");
        // What forms no play never wins, like one of another type.
        let outcome = match Play::classify(pieces(fields[1])).filter(|play| play.kind() == lead.kind()) {
            None => "x",
            Some(play) if play.beats(lead) => "B",
            Some(play) if lead.beats(play) => "A",
            Some(_) => "=",
        };
        assert_eq!(outcome, fields[2]);
    });
}

#[test]
fn turns() {
    check("turns.txt", 12, |fields| {
        let plays: Vec<PieceSet> = fields[0].split(';').map(pieces).collect();
        for starter in Seat::ALL {
            let mut table = Table::open(starter, Play::classify(plays[0]).unwrap());
            assert_eq!(table.follow(plays[1]), Ok(None));
            assert_eq!(table.follow(plays[2]), Ok(None));
            let result = table.follow(plays[3]).unwrap().expect("the fourth play ends the turn");
            assert_eq!(result.winner, starter.order()[fields[1].parse::<usize>().unwrap()]);
            assert_eq!(result.piles(), fields[2].parse::<u8>().unwrap());
        }
    });
}

#[test]
fn scores() {
    check("scores.txt", 15, |fields| {
        let [declared, captured, multiplier] = [0, 1, 2].map(|field| fields[field].parse::<u8>().unwrap());
        let score = round_score(Declaration::new(declared).unwrap(), captured, multiplier.into());
        assert_eq!(score.points(), fields[3].parse::<i32>().unwrap());
    });
}

#[test]
fn declarations() {
    check("declarations.txt", 10, |fields| {
        let allowed = allowed_declarations(fields[0].parse().unwrap(), fields[1] == "yes", fields[2].parse().unwrap());
        let allowed: Vec<String> = allowed.iter().map(|declaration| declaration.piles().to_string()).collect();
        assert_eq!(allowed.join(" "), fields[3]);
    });
}

#[test]
fn weak_hands() {
    check("weak_hands.txt", 10, |fields| {
        let is_weak = pieces(fields[0]).intersection(PieceSet::SAVING).is_empty();
        assert_eq!(if is_weak { "weak" } else { "strong" }, fields[1]);
    });
}

#[test]
fn redeals() {
    check("redeals.txt", 10, |fields| {
        let last_winner = seat(fields[1]);
        let (mut accepter, mut multiplier) = (None, 1);
        for question in fields[2].split(';') {
            let accepted: SeatSet =
                question.split_whitespace().filter_map(|answer| seat(answer.strip_suffix('+')?)).collect();
            if let Some(first) = first_accepter(accepter, last_winner, accepted) {
                accepter = Some(first);
                multiplier += 1;
            }
        }
        assert_eq!(multiplier.to_string(), fields[3]);
        assert_eq!(accepter, seat(fields[4]));
    });
}

#[test]
fn starters() {
    check("starters.txt", 10, |fields| {
        let (who, why) = starter(seat(fields[1]), seat(fields[3]), seat(fields[2]).unwrap());
        assert_eq!((Some(who), why.into()), (seat(fields[4]), fields[5]));
    });
}
