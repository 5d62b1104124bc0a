//! How strong the bots are. Minutes of work, so these run on demand:
//! `cargo test --release --test it strength -- --ignored --nocapture`

use liap::game::{BySeat, Level, Results, Seat, Seating, Series, Tally};

const GAMES: u64 = 2000;

/// A series with rotated seats, played on all cores.
fn tournament(players: [Level; 4]) -> Tally {
    let series = Series { seed: 2000, players: BySeat::new(players), seating: Seating::Rotated, max_rounds: 200 };
    let cores = std::thread::available_parallelism().map_or(1, |cores| cores.get() as u64);
    let mut tally = Tally::default();
    std::thread::scope(|scope| {
        let part = |core: u64| scope.spawn(move || series.tally(GAMES * core / cores..GAMES * (core + 1) / cores));
        let parts: Vec<_> = (0..cores).map(part).collect();
        parts.into_iter().for_each(|part| tally.add(&part.join().unwrap()));
    });
    println!("{GAMES} games, {:.1} rounds each", percent(tally.rounds, GAMES) / 100.0);
    for (seat, results) in tally.by_player.pairs() {
        let Results { wins, shared_wins, met, .. } = *results;
        println!(
            "  {:<6} wins {:.1} % ({shared_wins} shared; {:.1} % if a shared win is shared), meets {:.1} %",
            players[seat.index()],
            percent(wins, GAMES),
            100.0 * results.win_share() / GAMES as f64,
            percent(met, tally.rounds)
        );
    }
    tally
}

fn percent(part: u64, whole: u64) -> f64 {
    100.0 * part as f64 / whole as f64
}

/// Games won by the first player in percent, where a shared win counts as a share.
fn share_of_the_first(tally: &Tally) -> f64 {
    100.0 * tally.by_player[Seat::One].win_share() / GAMES as f64
}

#[test]
#[ignore = "2,000 games"]
fn one_normal_beats_three_easy() {
    let tally = tournament([Level::Normal, Level::Easy, Level::Easy, Level::Easy]);
    assert!(share_of_the_first(&tally) >= 80.0);
}

#[test]
#[ignore = "2,000 games"]
fn four_normals_meet_their_declarations() {
    let tally = tournament([Level::Normal; 4]);
    let met = tally.by_player.iter().map(|results| results.met).sum();
    assert!(percent(met, 4 * tally.rounds) >= 40.0);
}

#[test]
#[ignore = "2,000 games, minutes"]
fn one_hard_beats_three_normals() {
    let tally = tournament([Level::Hard, Level::Normal, Level::Normal, Level::Normal]);
    assert!(share_of_the_first(&tally) >= 33.0);
}
