//! Completed games as JSON, asked for from outside.

use std::time::Duration;

use liap::archive::replay;
use serde_json::{Value, json};

use crate::archive::{games, open, submit};
use crate::process::Server;

/// A server with this many games in its archive, and what each of them looks like, oldest first.
pub(crate) fn server_with(count: usize) -> (Server, Vec<Value>) {
    let data = tempfile::tempdir().unwrap();
    let archive = open(&data.path().join("archive"));
    let records = games(count);
    for record in &records {
        submit(&archive, record).recv_timeout(Duration::from_secs(30)).unwrap();
    }
    assert!(archive.close(Duration::from_secs(30)));
    drop(archive);
    let shown = records.iter().map(|record| json!(replay(record).unwrap())).collect();
    // The games are of a day long ago.
    (Server::start_on(data, &[("ARCHIVE_RETENTION_DAYS", "0")]), shown)
}

fn ids(page: &Value) -> Vec<String> {
    page["games"].as_array().unwrap().iter().map(|game| game["game_id"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn games_are_listed_newest_first_a_page_at_a_time() {
    let (server, shown) = server_with(7);
    let mut newest_first: Vec<String> = shown.iter().map(|game| game["game_id"].as_str().unwrap().to_owned()).collect();
    newest_first.reverse();
    assert_eq!(ids(&server.get("/api/games").json()), newest_first);
    let (mut paged, mut cursor) = (Vec::new(), String::new());
    loop {
        let page = server.get(&format!("/api/games?limit=3&cursor={cursor}")).json();
        paged.extend(ids(&page));
        match page["next_cursor"].as_str() {
            Some(next) => cursor = next.to_owned(),
            None => break,
        }
    }
    assert_eq!(paged, newest_first);
    let summary = &server.get("/api/games?limit=1").json()["games"][0];
    let game = shown.last().unwrap();
    for field in
        ["game_id", "room_id", "started_at", "completed_at", "duration_seconds", "final_scores", "winners", "ended"]
    {
        assert_eq!(summary[field], game[field], "{field}");
    }
}

#[test]
fn a_game_is_shown_whole_and_as_events() {
    let (server, shown) = server_with(2);
    let game = &shown[0];
    let id = game["game_id"].as_str().unwrap();
    assert!(server.get(&format!("/api/games/{id}")).json() == *game, "the game as the rules replay it");
    let events = server.get(&format!("/api/games/{id}/events")).json();
    let events = events["events"].as_array().unwrap();
    let count = |kind: &str| events.iter().filter(|event| event["type"] == kind).count();
    let rounds = game["rounds"].as_array().unwrap();
    let turns: usize = rounds.iter().map(|round| round["turns"].as_array().unwrap().len()).sum();
    assert_eq!((count("round_scored"), count("declared")), (rounds.len(), 4 * rounds.len()));
    assert_eq!((count("turn_won"), count("played")), (turns, 4 * turns));
    assert_eq!(events.last().unwrap()["final_scores"], game["final_scores"]);
}

#[test]
fn players_are_summed_up_and_ranked() {
    let (server, shown) = server_with(5);
    let name = shown[0]["players"][0]["name"].as_str().unwrap();
    let has_played = |game: &&Value| game["players"].as_array().unwrap().iter().any(|player| player["name"] == name);
    let player = server.get(&format!("/api/players/{name}")).json();
    assert_eq!(player["games"], shown.iter().filter(has_played).count());
    assert_eq!(player["last_games"].as_array().unwrap().len(), shown.iter().filter(has_played).count());
    let found = server.get(&format!("/api/games?player={name}")).json();
    assert_eq!(ids(&found).len(), shown.iter().filter(has_played).count());
    assert!(server.get("/api/leaderboard").json()["players"].is_array());
}

#[test]
fn wrong_questions_get_clear_answers() {
    let (server, _) = server_with(1);
    for (path, status, detail) in [
        ("/api/games?limit=0", 400, "limit is a number from 1 to 100"),
        ("/api/games?limit=x", 400, "limit is a number from 1 to 100"),
        ("/api/games?cursor=x", 400, "cursor is not one from an earlier answer"),
        ("/api/games?from=yesterday", 400, "from and to are days like"),
        ("/api/games?colour=red", 400, "unknown parameter"),
        ("/api/games/nonsense", 404, "there is nothing here"),
        ("/api/games/01JD0000000000000000000000", 404, "there is nothing here"),
        ("/api/players/Nobody", 404, "there is nothing here"),
    ] {
        let answer = server.get(path);
        assert_eq!((answer.status, answer.header("content-type")), (status, "application/problem+json"), "{path}");
        assert!(answer.json()["detail"].as_str().unwrap().starts_with(detail), "{path}: {}", answer.text());
    }
    assert_eq!(ids(&server.get("/api/games?from=2000-01-01&to=2000-01-02T00:00:00Z").json()), Vec::<String>::new());
}
