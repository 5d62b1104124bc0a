//! `liap simulate`, `liap verify-deal` and `liap archive`, as a person runs them.

use std::path::Path;
use std::process::{Command, Output};
use std::sync::Arc;

use liap::archive::{Archive, Options};
use liap::observe::Metrics;

/// Runs the program in a folder, away from the settings of whoever runs the tests.
fn liap(folder: &Path, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_liap")).args(arguments).current_dir(folder).env_clear().output().unwrap()
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

fn succeeds(folder: &Path, arguments: &[&str]) -> String {
    let output = liap(folder, arguments);
    assert!(output.status.success(), "{arguments:?}: {}", said(&output));
    said(&output)
}

fn fails(folder: &Path, arguments: &[&str]) -> String {
    let output = liap(folder, arguments);
    assert_eq!(output.status.code(), Some(1), "{arguments:?}: {}", said(&output));
    said(&output)
}

fn read(folder: &Path, name: &str) -> Vec<u8> {
    std::fs::read(folder.join(name)).unwrap()
}

/// A folder with thirty games in `games.jsonl` and in the archive of `one`.
fn with_games() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    succeeds(path, &["simulate", "--games", "30", "--seed", "4", "--rotate", "--json", "games.jsonl"]);
    assert!(succeeds(path, &["--data-dir", "one", "archive", "import", "games.jsonl"]).contains("30 games imported"));
    folder
}

#[test]
fn games_go_round_and_come_back_the_same() {
    let folder = with_games();
    let path = folder.path();
    succeeds(path, &["--data-dir", "one", "archive", "export", "again.jsonl"]);
    assert!(read(path, "again.jsonl") == read(path, "games.jsonl"), "export gives what was imported");
    let said = succeeds(path, &["--data-dir", "one", "archive", "import", "again.jsonl"]);
    assert!(said.contains("0 games imported, 30 were there already"), "{said}");

    succeeds(path, &["--data-dir", "one", "archive", "backup", "backup"]);
    succeeds(path, &["--data-dir", "two", "archive", "restore", "backup"]);
    succeeds(path, &["--data-dir", "two", "archive", "backup", "backup2"]);
    assert!(read(path, "backup") == read(path, "backup2"), "a restored archive has the same games");
    assert!(fails(path, &["--data-dir", "two", "archive", "restore", "backup"]).contains("games in"));
    let said = succeeds(path, &["--data-dir", "two", "archive", "verify", "--deep"]);
    assert!(said.contains("30 games dealt and played again, 0 wrong, 0 missing"), "{said}");
    assert!(succeeds(path, &["verify-deal", "games.jsonl"]).lines().all(|line| line.contains(": yes, ")));
}

#[test]
fn games_are_listed_and_shown() {
    let folder = with_games();
    let path = folder.path();
    let archive = |arguments: &[&str]| succeeds(path, &[&["--data-dir", "one", "archive"], arguments].concat());
    let lines = String::from_utf8(read(path, "games.jsonl")).unwrap();
    let newest = lines.lines().last().unwrap();
    let value: serde_json::Value = serde_json::from_str(newest).unwrap();
    let id = value["game_id"].as_str().unwrap();
    let (room, winner) = (value["room_id"].as_str().unwrap(), value["winner_name"].as_str().unwrap());

    let listed: Vec<String> = archive(&["list", "--limit", "4", "--json"]).lines().map(str::to_owned).collect();
    assert_eq!(listed.len(), 4);
    assert!(listed[0].contains(id));
    assert!(archive(&["list", "--room", room, "--winner", winner]).contains(id));
    assert_eq!(archive(&["list", "--player", "Bot 5", "--json"]), "");
    assert_eq!(archive(&["list", "--to", "2025-12-31", "--json"]), "");
    assert_eq!(
        archive(&["list", "--from", "2026-01-01", "--to", "2026-01-01", "--limit", "99", "--json"]).lines().count(),
        30
    );
    assert_eq!(archive(&["show", id]).trim_end(), newest);
    let replay = archive(&["replay", id, "--seat", "2"]);
    assert!(replay.contains("Round 1: the deal") && replay.contains(&format!("{winner} (normal bot) has won")));
    assert!(archive(&["stats"]).contains("30 won, 0 abandoned"));
    assert!(fails(path, &["--data-dir", "one", "archive", "show", "01ARZ3NDEKTSV4RRFFQ69G5FAV"]).contains("no game"));
    assert!(fails(path, &["--data-dir", "none", "archive", "list"]).contains("there is no archive in none"));
}

#[test]
fn an_archive_in_use_is_read_but_not_written() {
    let folder = with_games();
    let path = folder.path();
    let metrics = Arc::new(Metrics::new("test", "test", false));
    let options = Options { retention_days: 0, ..Options::default() };
    let (archive, _) = Archive::open(&path.join("one/archive"), &options, metrics).unwrap();
    succeeds(path, &["--data-dir", "one", "archive", "verify", "--deep"]);
    succeeds(path, &["--data-dir", "one", "archive", "export", "again.jsonl"]);
    assert!(read(path, "again.jsonl") == read(path, "games.jsonl"));
    let said = fails(path, &["--data-dir", "one", "archive", "import", "games.jsonl"]);
    assert!(said.contains("is in use by") && said.contains("stop the server first"), "{said}");
    drop(archive);
    assert!(succeeds(path, &["--data-dir", "one", "archive", "prune", "--older-than", "1d"]).starts_with("30 games"));
}

#[test]
fn what_was_altered_or_damaged_is_told() {
    let folder = with_games();
    let path = folder.path();
    let lines = String::from_utf8(read(path, "games.jsonl")).unwrap();
    let altered: Vec<String> = lines
        .lines()
        .enumerate()
        .map(
            |(number, line)| {
                if number == 6 { line.replacen("\"captured\":[", "\"captured\":[1", 1) } else { line.to_owned() }
            },
        )
        .collect();
    std::fs::write(path.join("altered.jsonl"), altered.join("\n")).unwrap();
    let said = fails(path, &["--data-dir", "two", "archive", "import", "altered.jsonl"]);
    assert!(
        said.contains("line 7 is refused: rounds[0].captured[0] is ") && said.contains("29 games imported"),
        "{said}"
    );

    let seed = altered[3].find("\"server_seed\":\"").unwrap() + 20;
    let mut dealt = altered[3].clone();
    dealt.replace_range(seed..=seed, if dealt[seed..].starts_with('0') { "1" } else { "0" });
    std::fs::write(path.join("dealt.json"), dealt).unwrap();
    assert!(fails(path, &["verify-deal", "dealt.json"]).contains(": no, the seed's commitment is "));

    succeeds(path, &["--data-dir", "one", "archive", "backup", "backup"]);
    let mut backup = read(path, "backup");
    let middle = backup.len() / 2;
    backup[middle] ^= 1;
    std::fs::write(path.join("backup"), &backup).unwrap();
    assert!(fails(path, &["--data-dir", "three", "archive", "restore", "backup"]).contains("cannot be restored"));
    assert!(!path.join("three").exists(), "nothing was begun");

    crate::store::spoil_a_game(&path.join("one/archive"));
    let said = fails(path, &["--data-dir", "one", "archive", "verify"]);
    assert!(said.contains("the archive is damaged: 1 games are missing") && said.contains("29 games read"), "{said}");
}
