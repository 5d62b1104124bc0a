//! How much memory there may be, and how closely that is watched.

use serde_json::json;

use super::{health, metric, play, until};
use crate::process::{Server, Socket};

pub(super) fn limit() {
    // Less than the program itself needs.
    let cramped = ("MAX_MEMORY_MB", "16");
    let answer = |server: &Server| {
        play(async {
            let mut lobby = Socket::open(server, "lobby").await;
            lobby.say("create_room", json!({ "player_name": "Mira" })).await;
            loop {
                let (event, _) = lobby.hear_any().await;
                if event != "room_list_update" {
                    return event;
                }
            }
        })
    };
    let watched = Server::start(&[cramped]);
    until("memory is critical", || health(&watched, "memory")["status"] == "degraded");
    assert_eq!(health(&watched, "memory")["limit_bytes"], 16 << 20);
    until("newcomers are refused", || answer(&watched) == "error");
    let unwatched = Server::start(&[cramped, ("USE_MEMORY_MONITORING", "false")]);
    assert_eq!(health(&unwatched, "memory")["status"], "healthy");
    assert_eq!(answer(&unwatched), "room_created");
}

pub(super) fn interval() {
    let cpu = |server: &Server| metric(server, "process_cpu_seconds_total").unwrap();
    let (often, seldom) = (Server::start(&[("MEMORY_CHECK_INTERVAL", "1")]), Server::start(&[]));
    let (at_start, seldom_at_start) = (cpu(&often), cpu(&seldom));
    until("it looks again", || cpu(&often) > at_start);
    assert_eq!(cpu(&seldom), seldom_at_start, "once a minute by default");
}

pub(super) fn threshold() {
    let used = metric(&Server::start(&[]), "process_resident_memory_bytes").unwrap();
    // Two fifths of what there may be.
    let limit = format!("{:.0}", (used / 0.4 / 1_048_576.0).ceil());
    let level = |percent: &str| {
        let server = Server::start(&[("MAX_MEMORY_MB", &limit), ("MEMORY_ALERT_THRESHOLD", percent)]);
        metric(&server, "liap_memory_level").unwrap()
    };
    assert_eq!((level("10"), level("95")), (1.0, 0.0));
}
