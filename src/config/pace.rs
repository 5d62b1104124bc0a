//! Limits are made for people who play at pace 1. At a faster pace they would meet them in ordinary play, so what the
//! operator has not set himself goes with the pace.

use super::Config;

/// No pace raises a limit by more than this.
const MOST: f64 = 1_000.0;

/// Fits the limits to the pace, but for those that `is_set` says the operator has set.
///
/// Pace 0 is for load tests: there are no limits then, unless they are asked for. Without limits one address may have
/// as many sockets as there may be at all.
pub(super) fn fit_limits(config: &mut Config, is_set: impl Fn(&str) -> bool) {
    let pace = config.room.game_pace;
    if pace <= 0.0 && !is_set("USE_RATE_LIMITING") {
        config.limit.enabled = false;
    }
    if pace < 1.0 {
        let factor = if pace > 0.0 { (1.0 / pace).min(MOST) } else { MOST };
        let limit = &mut config.limit;
        for (name, value) in [
            ("RATE_LIMIT_PER_PLAYER_PER_MINUTE", &mut limit.player_per_minute),
            ("RATE_LIMIT_PER_ROOM_PER_SECOND", &mut limit.room_per_second),
            ("RATE_LIMIT_WEBSOCKET_PER_SECOND", &mut limit.websocket_per_second),
            ("RATE_LIMIT_NEW_SOCKETS_PER_MINUTE", &mut limit.new_sockets_per_minute),
        ] {
            if !is_set(name) {
                *value = scaled(*value, factor);
            }
        }
    }
    if !config.limit.enabled && !is_set("MAX_SOCKETS_PER_ADDRESS") {
        config.http.max_sockets_per_address = config.http.max_sockets;
    }
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "positive, and cut at the bound below")]
fn scaled(value: u32, factor: f64) -> u32 {
    (f64::from(value) * factor).ceil().min(1_000_000.0) as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fitted(pace: f64, set: &[&str]) -> Config {
        let mut config = Config::default();
        config.room.game_pace = pace;
        fit_limits(&mut config, |name| set.contains(&name));
        config
    }

    #[test]
    fn a_faster_game_may_say_more() {
        assert_eq!(fitted(1.0, &[]).limit, Config::default().limit);
        assert_eq!(fitted(2.0, &[]).limit, Config::default().limit);
        let fast = fitted(0.1, &[]);
        assert_eq!((fast.limit.player_per_minute, fast.limit.room_per_second), (600, 100));
        let set = fitted(0.1, &["RATE_LIMIT_PER_PLAYER_PER_MINUTE"]);
        assert_eq!((set.limit.player_per_minute, set.limit.room_per_second), (60, 100));
    }

    #[test]
    fn without_pauses_there_are_no_limits_unless_asked_for() {
        let load_test = fitted(0.0, &[]);
        assert!(!load_test.limit.enabled);
        assert_eq!(load_test.http.max_sockets_per_address, load_test.http.max_sockets);
        assert!(fitted(0.0, &["USE_RATE_LIMITING"]).limit.enabled);
    }
}
