//! What the rules cost: a view, a list of what is allowed, a decision of each bot; and whole games, where the second
//! figure says how many actions that makes in a second on one core.

use divan::counter::ItemsCount;
use divan::{Bencher, black_box};
use liap::game::{Action, BySeat, Game, Level, Seat, Seating, Series, Step, View, choose};
use rand::SeedableRng;
use rand_pcg::Pcg64Mcg;

fn main() {
    divan::main();
}

const fn series(level: Level) -> Series {
    Series { seed: 1, players: BySeat::new([level; 4]), seating: Seating::Fixed, max_rounds: 200 }
}

/// The steps of one game between normal players.
fn steps() -> Vec<Step> {
    let mut steps = Vec::new();
    series(Level::Normal).play(0, |_, step| steps.push(step));
    steps
}

/// Replays `steps`, and shows the game before each action.
fn replay(steps: &[Step], mut look: impl FnMut(&Game, Seat, Action)) -> Game {
    let mut game = Game::new(series(Level::Normal).proof(0).deal_seed());
    for step in steps {
        match *step {
            Step::Acted(seat, action) => {
                look(&game, seat, action);
                assert!(game.apply(seat, action).is_ok(), "it was accepted before");
            }
            Step::Advanced => {
                game.advance();
            }
        }
    }
    game
}

/// A whole game replayed from its actions, its deals included.
#[divan::bench]
fn replayed_game(bencher: Bencher) {
    let steps = steps();
    let actions = steps.iter().filter(|step| matches!(step, Step::Acted(..))).count();
    bencher.counter(ItemsCount::new(actions)).bench(|| replay(black_box(&steps), |_, _, _| {}));
}

/// A whole game of four bots: deals, views, decisions and actions.
#[divan::bench(args = [Level::Easy, Level::Normal])]
fn whole_game(bencher: Bencher, level: Level) {
    let series = series(level);
    let mut played = 0_u64;
    series.play(1, |_, step| played += u64::from(matches!(step, Step::Acted(..))));
    bencher.counter(ItemsCount::new(played)).bench(|| series.play(black_box(1), |_, _| {}));
}

/// One action of a game: a copy of the game it is applied to is part of the figure.
#[divan::bench]
fn apply(bencher: Bencher) {
    let mut moments = Vec::new();
    replay(&steps(), |game, seat, action| moments.push((game.clone(), seat, action)));
    let mut next = moments.iter().cycle();
    bencher.bench_local(|| {
        next.next().map(|(game, seat, action)| {
            let mut game = game.clone();
            (game.apply(*seat, black_box(*action)), game)
        })
    });
}

/// What one player may know.
#[divan::bench]
fn view(bencher: Bencher) {
    let mut moments = Vec::new();
    replay(&steps(), |game, _, _| moments.extend(Seat::ALL.map(|seat| (game.clone(), seat))));
    let mut next = moments.iter().cycle();
    bencher.bench_local(|| next.next().map(|(game, seat)| View::of(game, *seat)));
}

/// Everything that the player to move could do.
#[divan::bench]
fn legal_actions(bencher: Bencher) {
    let mut moments = Vec::new();
    replay(&steps(), |game, seat, _| moments.push((game.clone(), seat)));
    let mut next = moments.iter().cycle();
    bencher.bench_local(|| next.next().map(|(game, seat)| game.legal_actions(*seat)));
}

/// One decision of a bot, on the average over those of a game.
#[divan::bench(args = Level::ALL)]
fn decide(bencher: Bencher, level: Level) {
    let mut views = Vec::new();
    replay(&steps(), |game, seat, _| views.push(View::of(game, seat)));
    let mut rng = Pcg64Mcg::seed_from_u64(1);
    // 37 steps on each time: few samples, as for `hard`, come from the whole game too.
    let mut next = 0;
    bencher.bench_local(|| {
        next = (next + 37) % views.len();
        views.get(next).map(|view| choose(level, black_box(view), &mut rng))
    });
}
