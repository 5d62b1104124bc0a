//! Finds games by player, room, winner and time, and adds up what players have done: in memory, rebuilt from the store
//! when it is opened.
//!
//! A game has a number, in the order in which games became known; lists hold numbers, four bytes a game, sorted by game
//! id, so by time. A game that ends late takes its place a few steps from the end of its lists. Rooms, of which there
//! are as many as games, have no lists of their own but one for all, sorted by a hash; who asks looks at the game itself
//! to be sure. A million games take 40 MiB.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::num::NonZeroUsize;

use serde::{Deserialize, Serialize};
use skillratings::MultiTeamOutcome;
use skillratings::weng_lin::{WengLinConfig, WengLinRating, weng_lin_multi_team};

use super::GameId;
use super::codec::Summary;
use super::record::{Ended, PlayerKind};
use crate::game::{BySeat, Seat};

/// A question for games. A condition that is `None` always holds.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Query {
    /// A player of this name took part.
    pub player: Option<String>,
    /// It was played in this room.
    pub room: Option<String>,
    /// A player of this name won.
    pub winner: Option<String>,
    /// It began at this time or later, in milliseconds of Unix time.
    pub from_ms: Option<u64>,
    /// It began before this time, in milliseconds of Unix time.
    pub to_ms: Option<u64>,
    /// Only games before this one: the last of the page before.
    pub before: Option<GameId>,
}

/// What a player has done in the games kept.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Totals {
    /// Games played, abandoned ones included.
    pub games: u64,
    /// Games played to their end.
    pub finished: u64,
    /// Games won, alone or with others.
    pub wins: u64,
    /// Sum of the final scores of the finished games.
    pub score: i64,
    /// Declarations made in rounds that were played to their end.
    pub declarations: u64,
    /// Those of them that were met.
    pub met: u64,
    /// How well the player plays; only people have one, from their first finished game on.
    pub rating: Option<Rating>,
}

impl Totals {
    /// The mean score of the finished games, if there are any.
    #[expect(clippy::cast_precision_loss, reason = "no player comes near 2^52 points")]
    pub fn mean_score(&self) -> Option<f64> {
        (self.finished > 0).then(|| self.score as f64 / self.finished as f64)
    }

    /// Adds a game that was played at `seat` (`sign` 1), or subtracts it (-1). The rating stays as it is.
    fn change(&mut self, sign: i64, game: &Summary, seat: Seat) {
        let change = |total: &mut u64, by: u32| *total = total.saturating_add_signed(sign * i64::from(by));
        change(&mut self.games, 1);
        change(&mut self.wins, game.outcome.winners.contains(seat).into());
        change(&mut self.declarations, game.outcome.rounds);
        change(&mut self.met, game.outcome.met[seat]);
        if game.ended == Ended::Won {
            change(&mut self.finished, 1);
            self.score += sign * i64::from(game.outcome.totals[seat]);
        }
    }
}

/// How well a player plays: 1500 on average. A difference of 500 is about what luck decides in one game.
///
/// Two times out of three the truth is within the deviation of the mean; that is 500 before the first game.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Rating {
    /// The best guess.
    pub mean: f64,
    /// How unsure it is.
    pub deviation: f64,
}

impl Rating {
    /// A lower bound of the rating that is almost certain. The leaderboard sorts by it, so that one lucky game takes nobody
    /// to its top.
    pub fn surely(self) -> f64 {
        self.mean - 3.0 * self.deviation
    }
}

const NEW_PLAYER: WengLinRating = WengLinRating { rating: 1500.0, uncertainty: 500.0 };
const RATING_CONFIG: WengLinConfig = WengLinConfig { beta: 500.0, uncertainty_tolerance: 0.000_001 };

/// The index. See the top of the file.
#[derive(Debug, Default)]
pub struct Index {
    /// By number.
    ids: Vec<GameId>,
    all: List,
    rooms: Rooms,
    players: HashMap<Box<str>, Player>,
    /// Bots of one level are one player to the rating, whatever their names.
    bots: [Option<WengLinRating>; 3],
}

#[derive(Debug, Default)]
struct Player {
    games: List,
    won: List,
    totals: Totals,
}

impl Index {
    /// Adds a game. Returns whether it was new.
    pub fn insert(&mut self, summary: &Summary) -> bool {
        let id = summary.game_id;
        let Ok(number) = u32::try_from(self.ids.len()) else { return false };
        if self.all.holds(id, &self.ids) {
            return false;
        }
        self.ids.push(id);
        self.all.insert(number, &self.ids);
        self.rooms.insert(&summary.room_id, number);
        let ratings = self.rate(summary);
        for (seat, player) in summary.players.pairs() {
            let entry = match self.players.get_mut(&*player.name) {
                Some(entry) => entry,
                None => self.players.entry(player.name.as_str().into()).or_default(),
            };
            entry.games.insert(number, &self.ids);
            if summary.outcome.winners.contains(seat) {
                entry.won.insert(number, &self.ids);
            }
            let totals = &mut entry.totals;
            totals.change(1, summary, seat);
            if let (PlayerKind::Human, Some(ratings)) = (player.kind, &ratings) {
                let WengLinRating { rating, uncertainty } = ratings[seat];
                totals.rating = Some(Rating { mean: rating, deviation: uncertainty });
            }
        }
        true
    }

    /// The ratings after a game that was played to its end, by seat. Those of bots are kept at once.
    fn rate(&mut self, summary: &Summary) -> Option<BySeat<WengLinRating>> {
        if summary.ended == Ended::Abandoned {
            return None;
        }
        let before = BySeat::from_fn(|seat| {
            let player = &summary.players[seat];
            let known = match player.kind {
                PlayerKind::Bot(level) => self.bots.get(level as usize).copied().flatten(),
                PlayerKind::Human => self
                    .players
                    .get(&*player.name)
                    .and_then(|player| player.totals.rating)
                    .map(|Rating { mean, deviation }| WengLinRating { rating: mean, uncertainty: deviation }),
            };
            [known.unwrap_or(NEW_PLAYER)]
        });
        let totals = &summary.outcome.totals;
        let teams = Seat::ALL.map(|seat| {
            let better = totals.iter().filter(|&&total| total > totals[seat]).count();
            (&before[seat][..], MultiTeamOutcome::new(better + 1))
        });
        let after = weng_lin_multi_team(&teams, &RATING_CONFIG);
        let mut after = after.into_iter().map(|team| team.first().copied().unwrap_or(NEW_PLAYER));
        let after = BySeat::from_fn(|_| after.next().unwrap_or(NEW_PLAYER));
        for (level, kept) in self.bots.iter_mut().enumerate() {
            let of_level = summary.players.pairs().filter(|(_, player)| match player.kind {
                PlayerKind::Bot(bot) => bot as usize == level,
                PlayerKind::Human => false,
            });
            // Several bots of one level learn the mean of what each would.
            let (mut count, mut sum) = (0.0, WengLinRating { rating: 0.0, uncertainty: 0.0 });
            for (seat, _) in of_level {
                count += 1.0;
                sum.rating += after[seat].rating;
                sum.uncertainty += after[seat].uncertainty;
            }
            if count > 0.0 {
                *kept = Some(WengLinRating { rating: sum.rating / count, uncertainty: sum.uncertainty / count });
            }
        }
        Some(after)
    }

    /// Removes games. Subtracts them from totals, as far as their summaries are known. Ratings stay as they are.
    pub(super) fn remove(&mut self, ids: &[GameId], summaries: &[Summary]) {
        let mut gone = ids.to_vec();
        gone.sort_unstable();
        for summary in summaries.iter().filter(|summary| self.all.holds(summary.game_id, &self.ids)) {
            for (seat, player) in summary.players.pairs() {
                if let Some(Player { totals, .. }) = self.players.get_mut(&*player.name) {
                    totals.change(-1, summary, seat);
                }
            }
        }
        // The others move up, in all lists.
        let is_kept = |id: &GameId| gone.binary_search(id).is_err();
        let mut next = 0..;
        let number = |id| if is_kept(id) { next.next() } else { None };
        let numbers: Vec<Option<u32>> = self.ids.iter().map(number).collect();
        self.ids.retain(is_kept);
        renumber(&mut self.all.0, &numbers, |number| number);
        for list in [&mut self.rooms.sorted, &mut self.rooms.newest] {
            renumber(list, &numbers, |(_, number)| number);
        }
        for player in self.players.values_mut() {
            renumber(&mut player.games.0, &numbers, |number| number);
            renumber(&mut player.won.0, &numbers, |number| number);
        }
        self.players.retain(|_, player| !player.games.0.is_empty());
        self.players.shrink_to_fit();
    }

    /// Up to `limit` games, newest first. Where a room is asked for, some may be of another room with the same hash.
    pub(super) fn find(&self, query: &Query, limit: NonZeroUsize) -> Vec<GameId> {
        let empty = List::default();
        let list_of = |name: &Option<String>, list: fn(&Player) -> &List| {
            name.as_ref().map(|name| self.players.get(&**name).map_or(&empty, list))
        };
        let room = query.room.as_ref().map(|room| self.rooms.list(room, &self.ids));
        let mut lists: Vec<&List> = [
            list_of(&query.player, |player| &player.games),
            list_of(&query.winner, |player| &player.won),
            room.as_ref(),
        ]
        .into_iter()
        .flatten()
        .collect();
        lists.sort_by_key(|list| list.0.len());
        let (shortest, others) = lists.split_first().map_or((&self.all, &[][..]), |(first, rest)| (*first, rest));

        let first = query.from_ms.map_or(GameId::MIN, GameId::first_at);
        let mut end = shortest.0.len();
        for before in [query.to_ms.map(GameId::first_at), query.before].into_iter().flatten() {
            end = end.min(shortest.place(before, &self.ids));
        }
        let newest_first = shortest.0.get(..end).unwrap_or_default().iter().rev();
        newest_first
            .map(|&number| id_of(number, &self.ids))
            .take_while(|&id| id >= first)
            .filter(|&id| others.iter().all(|list| list.holds(id, &self.ids)))
            .take(limit.get())
            .collect()
    }

    /// The totals of the players of this name.
    pub fn totals(&self, name: &str) -> Option<Totals> {
        self.players.get(name).map(|player| player.totals)
    }

    /// The players with the highest [`Rating::surely`], best first.
    pub fn leaders(&self, limit: usize) -> Vec<(String, Totals)> {
        let mut rated: Vec<(f64, &str, Totals)> = self
            .players
            .iter()
            .filter_map(|(name, player)| Some((player.totals.rating?.surely(), &**name, player.totals)))
            .collect();
        let best_first =
            |a: &(f64, &str, Totals), b: &(f64, &str, Totals)| b.0.total_cmp(&a.0).then_with(|| a.1.cmp(b.1));
        if limit < rated.len() {
            rated.select_nth_unstable_by(limit, best_first);
            rated.truncate(limit);
        }
        rated.sort_unstable_by(best_first);
        rated.into_iter().map(|(_, name, totals)| (name.to_owned(), totals)).collect()
    }

    /// How many different names have played.
    pub fn players(&self) -> usize {
        self.players.len()
    }

    /// The games that began before this time, oldest first, but for the first ones.
    pub(super) fn older_than(&self, unix_ms: u64, skip: usize, limit: usize) -> Vec<GameId> {
        let end = self.all.place(GameId::first_at(unix_ms), &self.ids);
        let older = self.all.0.get(..end).unwrap_or_default();
        older.iter().skip(skip).take(limit).map(|&number| id_of(number, &self.ids)).collect()
    }
}

fn id_of(number: u32, ids: &[GameId]) -> GameId {
    ids.get(number as usize).copied().unwrap_or(GameId::MAX)
}

/// Numbers of games, sorted by id.
#[derive(Debug, Default)]
struct List(Vec<u32>);

impl List {
    /// The first place whose game is not before `id`.
    fn place(&self, id: GameId, ids: &[GameId]) -> usize {
        self.0.partition_point(|&number| id_of(number, ids) < id)
    }

    fn holds(&self, id: GameId, ids: &[GameId]) -> bool {
        // Nearly always the question is about a game newer than all.
        match self.0.last() {
            Some(&last) if id_of(last, ids) >= id => {}
            _ => return false,
        }
        self.0.get(self.place(id, ids)).is_some_and(|&number| id_of(number, ids) == id)
    }

    fn insert(&mut self, number: u32, ids: &[GameId]) {
        let id = id_of(number, ids);
        match self.0.last() {
            Some(&last) if id_of(last, ids) >= id => {
                let place = self.place(id, ids);
                // A name may sit on two seats of an odd record.
                if self.0.get(place) != Some(&number) {
                    self.0.insert(place, number);
                }
            }
            _ => self.0.push(number),
        }
    }
}

/// Gives the games in a list their new numbers, and drops those that have none.
fn renumber<T>(list: &mut Vec<T>, numbers: &[Option<u32>], number: impl Fn(&mut T) -> &mut u32) {
    list.retain_mut(|entry| {
        let number = number(entry);
        let new = numbers.get(*number as usize).copied().flatten();
        *number = new.unwrap_or_default();
        new.is_some()
    });
    list.shrink_to_fit();
}

/// Hashes of rooms and numbers of games.
#[derive(Debug, Default)]
struct Rooms {
    sorted: Vec<(u32, u32)>,
    /// What is not among them yet.
    newest: Vec<(u32, u32)>,
}

impl Rooms {
    const NEWEST_MAX: usize = 4096;

    fn insert(&mut self, room: &str, number: u32) {
        self.newest.push((hash(room), number));
        if self.newest.len() >= Self::NEWEST_MAX.max(self.sorted.len() / 8) {
            self.sorted.append(&mut self.newest);
            self.sorted.sort_unstable();
        }
    }

    fn list(&self, room: &str, ids: &[GameId]) -> List {
        let hash = hash(room);
        let start = self.sorted.partition_point(|&(of, _)| of < hash);
        let sorted = self.sorted.get(start..).unwrap_or_default().iter().take_while(|&&(of, _)| of == hash);
        let newest = self.newest.iter().filter(|&&(of, _)| of == hash);
        let mut numbers: Vec<u32> = sorted.chain(newest).map(|&(_, number)| number).collect();
        numbers.sort_unstable_by_key(|&number| id_of(number, ids));
        List(numbers)
    }
}

#[expect(clippy::cast_possible_truncation, reason = "any 32 bits of the hash will do")]
fn hash(room: &str) -> u32 {
    let mut hasher = DefaultHasher::new();
    room.hash(&mut hasher);
    hasher.finish() as u32
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::record::Player as Seated;
    use super::*;
    use crate::game::{Level, Outcome, SeatSet};

    fn name(number: u8) -> String {
        format!("player {number}")
    }

    /// A game of four of the players 0 to 9, won by whom `totals` say.
    fn game(time_ms: u64, room: u8, players: [u8; 4], totals: [i32; 4], ended: Ended) -> Summary {
        let totals = BySeat::new(totals);
        let best = totals.iter().max().copied().unwrap();
        let winners: SeatSet = Seat::ALL.into_iter().filter(|&seat| totals[seat] == best).collect();
        Summary {
            game_id: GameId::first_at(time_ms),
            room_id: format!("room {room}"),
            started_at_ms: time_ms,
            duration_ms: 60_000,
            players: BySeat::new(players.map(|player| Seated { name: name(player), kind: PlayerKind::Human })),
            ended,
            outcome: Outcome {
                rounds: 10,
                totals,
                met: BySeat::new([1, 2, 3, 4]),
                winners: if ended == Ended::Won { winners } else { SeatSet::EMPTY },
            },
        }
    }

    fn has_won(game: &Summary, player: &str) -> bool {
        game.players.pairs().any(|(seat, one)| one.name == player && game.outcome.winners.contains(seat))
    }

    prop_compose! {
        fn any_games()(
            mut times in prop::collection::hash_set(0_u64..2_000, 0..120).prop_map(|times| times.into_iter().collect::<Vec<_>>()),
            nearly_sorted in any::<bool>(),
            details in prop::collection::vec(
                (0_u8..6, Just([0_u8, 1, 2, 3, 4, 5, 6, 7, 8, 9]).prop_shuffle(), prop::array::uniform4(40_i32..60), any::<bool>()),
                120,
            ),
        ) -> Vec<Summary> {
            if nearly_sorted {
                times.sort_by_key(|time| time / 8);
            }
            times.into_iter().zip(details).map(|(time, (room, [a, b, c, d, ..], totals, won))| {
                game(time, room, [a, b, c, d], totals, if won { Ended::Won } else { Ended::Abandoned })
            }).collect()
        }
    }

    prop_compose! {
        fn any_query()(
            player in prop::option::of(0_u8..11),
            winner in prop::option::of(0_u8..11),
            room in prop::option::of(0_u8..7),
            from_ms in prop::option::of(0_u64..2_000),
            to_ms in prop::option::of(0_u64..2_000),
            before in prop::option::of(0_u64..2_000),
        ) -> Query {
            Query {
                player: player.map(name),
                room: room.map(|room| format!("room {room}")),
                winner: winner.map(name),
                from_ms,
                to_ms,
                before: before.map(GameId::first_at),
            }
        }
    }

    /// Whether a game satisfies all conditions.
    fn matches(query: &Query, game: &Summary) -> bool {
        let id = game.game_id;
        let named = |name: &str, won: bool| {
            let mut players = game.players.pairs();
            players.any(|(seat, one)| one.name == name && (!won || game.outcome.winners.contains(seat)))
        };
        query.player.as_ref().is_none_or(|name| named(name, false))
            && query.winner.as_ref().is_none_or(|name| named(name, true))
            && query.room.as_ref().is_none_or(|room| game.room_id == *room)
            && query.from_ms.is_none_or(|from| id >= GameId::first_at(from))
            && query.to_ms.is_none_or(|to| id < GameId::first_at(to))
            && query.before.is_none_or(|before| id < before)
    }

    /// What `find` must give, computed by looking at every game.
    fn searched(games: &[Summary], query: &Query, limit: usize) -> Vec<GameId> {
        let mut found: Vec<_> = games.iter().filter(|game| matches(query, game)).map(|game| game.game_id).collect();
        found.sort_unstable();
        found.reverse();
        found.truncate(limit);
        found
    }

    fn assert_totals(index: &Index, games: &[Summary]) {
        for player in (0..10).map(name) {
            let seats: Vec<_> = games
                .iter()
                .flat_map(|game| game.players.pairs().map(move |(seat, one)| (game, seat, one)))
                .filter(|(_, _, one)| one.name == player)
                .collect();
            let Some(totals) = index.totals(&player) else {
                assert!(seats.is_empty());
                continue;
            };
            let finished: Vec<_> = seats.iter().filter(|(game, ..)| game.ended == Ended::Won).collect();
            assert_eq!(totals.games, seats.len() as u64);
            assert_eq!(totals.finished, finished.len() as u64);
            assert_eq!(totals.wins, games.iter().filter(|game| has_won(game, &player)).count() as u64);
            assert_eq!(
                totals.score,
                finished.iter().map(|(game, seat, _)| i64::from(game.outcome.totals[*seat])).sum::<i64>()
            );
            assert_eq!(totals.declarations, 10 * seats.len() as u64);
            assert_eq!(totals.met, seats.iter().map(|(game, seat, _)| u64::from(game.outcome.met[*seat])).sum::<u64>());
        }
    }

    proptest! {
        #[test]
        fn what_is_found_is_what_a_search_finds(
            games in any_games(),
            removed in any::<prop::sample::Index>(),
            queries in prop::collection::vec((any_query(), 1_usize..40), 1..20),
        ) {
            let mut index = Index::default();
            for game in &games {
                prop_assert!(index.insert(game));
                prop_assert!(!index.insert(game), "a game counts once");
            }
            let check = |index: &Index, games: &[Summary]| {
                for (query, limit) in &queries {
                    let found = index.find(query, NonZeroUsize::new(*limit).unwrap());
                    assert_eq!(found, searched(games, query, *limit), "{query:?}");
                }
                assert_totals(index, games);
            };
            check(&index, &games);

            let (gone, kept) = games.split_at(removed.index(games.len() + 1));
            let ids: Vec<_> = gone.iter().map(|game| game.game_id).collect();
            index.remove(&ids, gone);
            check(&index, kept);
            for game in gone {
                prop_assert!(index.insert(game), "a game that was removed can come back");
            }
            check(&index, &games);
        }
    }

    #[test]
    fn rooms_stay_found_when_the_tail_is_merged() {
        let mut rooms = Rooms::default();
        let count = 10_000;
        let ids: Vec<_> = (0..count).map(|number| GameId::first_at(u64::from(number))).collect();
        for number in 0..count {
            rooms.insert(&(number % 1000).to_string(), number);
        }
        assert!(!rooms.sorted.is_empty() && !rooms.newest.is_empty());
        assert_eq!(rooms.list("7", &ids).0, (0..10).map(|tens| tens * 1000 + 7).collect::<Vec<_>>());
    }

    #[test]
    fn who_wins_more_is_rated_higher_and_surer() {
        let mut index = Index::default();
        for (time, turn) in (0..60).zip((0..3).cycle()) {
            // Player 0 wins, 1 to 3 take turns behind him; 4 has won once, on the first day.
            let players = if time == 0 { [4, 1, 2, 3] } else { [0, 1, 2, 3] };
            let mut totals = [55, 10, 20, 30];
            totals[1..].rotate_left(turn);
            assert!(index.insert(&game(time, 0, players, totals, Ended::Won)));
        }
        let leaders = index.leaders(10);
        assert_eq!(leaders.len(), 5);
        assert_eq!(leaders[0].0, "player 0");
        let rating = |player| index.totals(&name(player)).unwrap().rating.unwrap();
        assert!(rating(4).mean > 1500.0 && rating(4).deviation > 1.5 * rating(0).deviation);
        assert!(rating(4).surely() < 1500.0, "one lucky game proves little");
        assert!(rating(0).surely() > 2000.0, "59 do");
        assert_eq!(index.leaders(2), leaders[..2]);
    }

    #[test]
    fn bots_are_rated_by_level_and_never_lead() {
        let mut index = Index::default();
        for time in 0..40 {
            let mut game = game(time, 0, [0, 1, 2, 3], [20, 55, 30, 10], Ended::Won);
            for (seat, level) in [(Seat::Two, Level::Hard), (Seat::Three, Level::Easy), (Seat::Four, Level::Easy)] {
                game.players[seat].kind = PlayerKind::Bot(level);
            }
            assert!(index.insert(&game));
        }
        assert_eq!(index.leaders(10).len(), 1);
        assert_eq!(index.totals(&name(1)).unwrap().rating, None);
        let [easy, normal, hard] = index.bots;
        assert!(hard.unwrap().rating > 1600.0 && easy.unwrap().rating < 1500.0);
        assert_eq!(normal, None);
    }
}
