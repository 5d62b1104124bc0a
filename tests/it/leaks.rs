use std::env;
use std::process::Command;

use crate::process::Server;

/// What rooms that nobody wants any more leave behind: nothing. `LIAP_LEAVE_ROOMS` says how many are opened (300).
///
/// Memory is judged by whoever asks for many: what allocator and threads take at first is more than a few hundred rooms.
#[test]
fn rooms_left_in_every_phase_are_forgotten() {
    let rooms = env::var("LIAP_LEAVE_ROOMS").unwrap_or_else(|_| "300".to_owned());
    let server = Server::start(&[
        ("GAME_PACE", "0.001"),
        ("MAX_ACTIVE_GAMES", "1000000"),
        ("MEMORY_CHECK_INTERVAL", "1"),
        // Lost players are not waited for.
        ("ABANDONED_AFTER_MINUTES", "0"),
        // Limits that are there and remember everybody, but stop nobody.
        ("RATE_LIMIT_PER_PLAYER_PER_MINUTE", "1000000"),
        ("RATE_LIMIT_PER_ROOM_PER_SECOND", "1000000"),
        ("RATE_LIMIT_WEBSOCKET_PER_SECOND", "1000000"),
        ("RATE_LIMIT_NEW_SOCKETS_PER_MINUTE", "1000000"),
        ("RATE_LIMIT_HTTP_PER_MINUTE", "1000000"),
        ("RATE_LIMIT_MAX_KEYS", "1000000"),
    ]);
    let output = Command::new(env!("CARGO_BIN_EXE_liap"))
        .args(["load", "--rooms", "20", "--leave", &rooms])
        .args(["--server", &server.address.to_string(), "--metrics", &server.metrics.unwrap().to_string()])
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
    assert!(said.contains("game_over"), "{said}");
}
