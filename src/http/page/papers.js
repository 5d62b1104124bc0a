// Fetches what the replay, history, player and leaderboard places show.

import { current, update } from './app.js';
import { gamesQuery, load } from './archive.js';
import { stepsOf } from './replay.js';
import { note } from './routes.js';

/** Another moment or view of the replay; the address always leads back to it. */
export function showMoment(change) {
  const replay = { ...current().replay, ...change };
  update({ replay });
  note(new URLSearchParams({ at: replay.at, seat: replay.seat + 1, ...(replay.open ? { open: 1 } : {}) }));
}

/** The replay of a game, at the moment that the address names. */
export async function openReplay(route, query) {
  update({ replay: null });
  const record = await load(`api/games/${encodeURIComponent(route.id)}`);
  const { route: here, name } = current();
  if (here !== route) return;
  if (!record?.rounds?.length) {
    update({ replay: { record: record === false ? false : null } });
    return;
  }
  const steps = stepsOf(record);
  const number = (key, otherwise, least, most) => Math.max(least, Math.min(most, Number(query.get(key) ?? otherwise) || least));
  const own = record.players.findIndex((player) => player.name === name);
  update({ replay: { record, steps, at: number('at', 0, 0, steps.length - 1), seat: number('seat', own + 1, 1, 4) - 1, open: query.has('open') } });
}

/** The lists: `history` with its filter in the address, one `player`, the `leaderboard`. */
export async function openPage(route, query) {
  const filter = route.place === 'history' ? Object.fromEntries(query) : {};
  update({ pages: { filter } });
  const [name, path] = {
    history: ['list', gamesQuery(filter)], player: ['player', `api/players/${encodeURIComponent(route.name)}`], leaderboard: ['leaders', 'api/leaderboard'],
  }[route.place];
  const found = await load(path);
  if (current().route === route) update({ pages: { ...current().pages, [name]: found } });
}

/** More of the list of games. */
export async function moreGames() {
  const { list, filter } = current().pages;
  const more = await load(gamesQuery(filter, list.next_cursor));
  const { pages } = current();
  if (more && pages.list === list) update({ pages: { ...pages, list: { ...more, games: [...list.games, ...more.games] } } });
}

/** The last finished game at a table, if this house keeps games. */
export async function lookUpGame(room) {
  const { route } = current();
  const found = await load(gamesQuery({ room }));
  if (current().route === route) update({ game: found?.games?.[0] ?? null });
}

let asked = false;

/** Links to finished games show only in a house that keeps them. */
export async function askForArchive() {
  if (asked) return;
  asked = true;
  const found = await load('api/games?limit=1');
  if (found) update({ archive: true });
  else if (found === false) asked = false; // another time
}
