// Games played in this house: the list with its filters, one player, the best players. All read from the HTTP API.

import { cls, h } from './dom.js';
import { avatar } from './seat.js';
import { figure, language, t } from './words.js';

const ANSWER_WITHIN_MS = 10000;

/** Fetches JSON below the base path; null when there is none, false when the server does not answer or has too much to do. */
export async function load(path) {
  try {
    const answer = await fetch(new URL(path, document.baseURI), { signal: AbortSignal.timeout(ANSWER_WITHIN_MS) });
    if (answer.ok) return await answer.json();
    return answer.status >= 500 || answer.status === 429 ? false : null;
  } catch {
    return false;
  }
}

/** What stands in place of an answer that is not there: not yet, not at all, or for no reason of ours. */
function without(found, none, act) {
  if (found === undefined) return h('p', { class: 'small', role: 'status' }, t('history.loading'));
  if (found === null) return h('p', { class: 'reason' }, none);
  return h('div', { class: 'buttons' }, h('p', { class: 'reason', role: 'status' }, t('refused.noAnswer')), h('button', { type: 'button', class: 'ghost', onClick: act.reload }, t('link.now')));
}

/** The query of a list of games from what stands in its filter. */
export function gamesQuery(filter, cursor) {
  const query = new URLSearchParams({ limit: '20' });
  for (const name of ['player', 'winner', 'room', 'from', 'to']) {
    const value = filter[name]?.trim();
    if (value) query.set(name, name === 'room' ? value.toUpperCase() : value);
  }
  if (cursor) query.set('cursor', cursor);
  return `api/games?${query}`;
}

const day = (text) => new Date(text).toLocaleString(language() === 'zh' ? 'zh-Hans' : language(), { dateStyle: 'medium', timeStyle: 'short' });
const link = (act, href, words, props = {}) => h('a', { ...props, href, onClick: act.follow }, words);
/** What a player is rated at and how sure that is; null for bots and those who have finished no game. */
const rated = ({ rating, uncertainty }) => (Number.isFinite(rating) && Number.isFinite(uncertainty) ? `${Math.round(rating)} ± ${Math.round(uncertainty)}` : null);
const playerHref = (name) => `player/${encodeURIComponent(name)}`;

/** One finished game in a list. */
export function gameRow(game, act) {
  const order = game.players.map((player, i) => ({ ...player, score: game.final_scores?.[i] ?? 0, won: game.winners.includes(player.seat) })).sort((a, b) => b.score - a.score);
  return h('li', { key: game.game_id, class: 'game-row panel' },
    h('p', { class: 'when' }, h('span', null, day(game.completed_at)), h('span', { class: 'mark' }, game.ended === 'abandoned' ? t('history.abandoned') : t('over.rounds', { n: game.rounds }))),
    h('ul', { class: 'standing-list' }, order.map((player) => h('li', { key: player.name, class: cls(player.won && 'won') },
      avatar({ name: player.name, bot: player.is_bot, level: player.level }, { class: 'tiny' }),
      player.is_bot ? h('span', { class: 'name' }, player.name) : link(act, playerHref(player.name), player.name, { class: 'name' }),
      h('span', { class: 'total' }, figure(player.score))))),
    link(act, `replay/${game.game_id}`, t('over.replay'), { class: 'button ghost' }));
}

const back = (act) => h('p', { class: 'small crumbs' }, link(act, '.', t('closed.door')), link(act, 'history', t('door.history')), link(act, 'leaderboard', t('door.leaders')));

/** The list of games. */
export function historyPlace(app, act) {
  const { list, filter } = app.pages;
  const field = (name, type, words) => h('label', { key: name }, h('span', null, words), h('input', { name, type, value: filter[name] ?? '', onInput: (event) => act.typeFilter(name, event.target.value) }));
  const filtered = new URLSearchParams(location.search).size > 0;
  if (list?.games.length === 0 && !filtered) return h('main', { key: 'history', class: 'place door papers' }, h('h1', null, t('history.title')), back(act), h('p', { class: 'panel ask' }, t('history.empty')));
  return h('main', { key: 'history', class: 'place door papers' },
    h('h1', null, t('history.title')), back(act),
    list && h('form', { class: 'filters', onSubmit: act.filterGames },
      field('player', 'text', t('history.player')), field('winner', 'text', t('history.winner')), field('room', 'text', t('history.room')), field('from', 'date', t('history.from')), field('to', 'date', t('history.to')),
      h('button', { type: 'submit', class: 'primary' }, t('history.search'))),
    !list ? without(list, t('history.unavailable'), act)
      : h('div', { class: 'games' },
        list.games.length === 0 && h('p', { class: 'small' }, t('history.none')),
        h('ul', null, list.games.map((game) => gameRow(game, act))),
        list.next_cursor && h('button', { type: 'button', class: 'ghost', onClick: act.moreGames }, t('history.more'))));
}

/** One player. */
export function playerPlace(app, act) {
  const { player } = app.pages;
  const fact = (name, words, value) => h('div', { key: name, class: 'fact panel' }, h('strong', null, value), h('span', null, words));
  return h('main', { key: 'player', class: 'place door papers' },
    h('h1', null, app.route.name), back(act),
    !player ? without(player, t('player.none'), act)
      : h('div', { class: 'games' },
        h('div', { class: 'facts' },
          fact('games', t('player.games'), player.games), fact('wins', t('player.wins'), player.wins),
          fact('mean', t('player.mean'), figure(Math.round((player.mean_score ?? 0) * 10) / 10)),
          player.declarations > 0 && fact('met', t('player.met'), `${Math.round((100 * player.declarations_met) / player.declarations)} %`),
          rated(player) && fact('rating', t('player.rating'), rated(player))),
        h('h2', null, t('player.last')),
        h('ul', null, (player.last_games ?? []).map((game) => gameRow(game, act)))));
}

/** The best players. */
export function leadersPlace(app, act) {
  const { leaders } = app.pages;
  return h('main', { key: 'leaders', class: 'place door papers' },
    h('h1', null, t('door.leaders')), back(act),
    !leaders ? without(leaders, t('history.unavailable'), act)
      : leaders.players.length === 0 ? h('p', { class: 'small' }, t('leaders.none'))
        : h('table', { class: 'leaders panel' },
          h('thead', null, h('tr', null, h('th', { scope: 'col' }, '#'), h('th', { scope: 'col' }, t('history.player')), h('th', { scope: 'col' }, t('player.rating')), h('th', { scope: 'col' }, t('player.wins')), h('th', { scope: 'col' }, t('player.games')))),
          h('tbody', null, leaders.players.map((player, i) => h('tr', { key: player.name },
            h('td', null, i + 1), h('th', { scope: 'row' }, link(act, playerHref(player.name), player.name)),
            h('td', null, rated(player) ?? '–'), h('td', null, player.wins), h('td', null, player.games))))));
}
