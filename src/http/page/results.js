// What a round and a game came to: the scores explained, the ranking, the chart, the moment that decided it.

import { cls, h } from './dom.js';
import { refusal } from './hand.js';
import { seal } from './proof.js';
import { explainScore } from './rules.js';
import { avatar } from './seat.js';
import { tile } from './tile.js';
import { figure, t } from './words.js';

/** The scores of a round, each number explained. Lies on the table. */
export function roundScores(room, act) {
  return h('div', { key: 'scores', class: 'sheet-card round-scores', role: 'group', 'aria-label': t('score.title', { round: room.round }) },
    h('h2', null, t('score.title', { round: room.round })),
    h('ul', null, room.players.map((player, i) => {
      const score = room.scoring[i];
      if (!score) return null;
      const { how } = explainScore(score.declared, score.actual);
      return h('li', { key: player.name, class: cls(score.final_score > 0 && 'gain') },
        avatar(player, { class: 'tiny' }), h('span', { class: 'name' }, player.name),
        h('span', { class: 'total' }, figure(score.total_score)),
        h('span', { class: 'why' }, scoreWords(how, score)));
    })),
    h('button', { type: 'button', class: 'ghost', onClick: act.dismiss }, t('score.seen')));
}

/** "Declared 2, took 2: 2 + 5, times 2 = 14". */
export function scoreWords(how, { declared, actual, multiplier, final_score: result }) {
  return t(multiplier > 1 ? `score.${how}.times` : `score.${how}`, { declared, actual, multiplier, result, off: Math.abs(declared - actual) });
}

/** The end of the game. */
export function gameOver(app, act) {
  const { room } = app;
  const ranks = [...(room.over.final_rankings ?? [])].sort((a, b) => a.rank - b.rank);
  const winners = room.over.winners?.length ? room.over.winners : ranks.slice(0, 1).map((entry) => entry.name);
  const playerOf = (name) => room.players.find((player) => player?.name === name) ?? { name };
  const decided = decisiveRound(room.history, winners, room.players);
  return h('main', { key: 'over', class: 'place finish' },
    h('header', { class: 'hero small-hero' },
      h('div', { class: 'hero-tiles', 'aria-hidden': 'true' }, tile('GENERAL_RED', { class: 'crowned' })),
      h('h1', null, winners.includes(room.you) ? t('over.youWon') : winners.length > 1 ? t('over.shared', { names: winners.join(', ') }) : t('over.won', { name: winners[0] ?? '' })),
      room.over.game_stats?.total_rounds ? h('p', { class: 'motto' }, t('over.rounds', { n: room.over.game_stats.total_rounds })) : null),
    h('ol', { class: 'ranking' }, ranks.map((entry) => h('li', { key: entry.name, class: cls(winners.includes(entry.name) && 'winner') },
      h('span', { class: 'rank' }, entry.rank), avatar(playerOf(entry.name)),
      h('span', { class: 'who' }, h('span', { class: 'name' }, entry.name === room.you ? t('seat.you', { name: entry.name }) : entry.name),
        h('span', { class: 'mark' }, t('over.details', { turns: entry.turns_won ?? 0, perfect: entry.perfect_rounds ?? 0 }))),
      h('span', { class: 'total' }, figure(entry.score))))),
    room.rematch && h('p', { key: 'asked', class: 'ask' }, t('over.asked', { name: room.rematch.by })),
    app.lobby.error && h('p', { key: 'refused', class: 'reason', role: 'status' }, refusal(app.lobby.error)),
    h('div', { class: 'buttons' },
      room.you !== null ? h('button', { key: 'again', type: 'button', class: 'primary', 'aria-disabled': app.ui.entering ? 'true' : undefined, onClick: act.again }, t(app.ui.entering ? 'enter.connecting' : room.rematch ? 'over.join' : 'over.again'))
        : room.rematch && h('a', { key: 'next', class: 'button primary', href: `room/${room.rematch.id}`, onClick: act.follow }, t('over.watchNext')),
      app.archive && room.over.game_id && h('a', { class: 'button ghost', href: `replay/${room.over.game_id}`, onClick: act.follow }, t('over.replay')),
      h('a', { class: 'button ghost', href: '.', onClick: act.follow }, t('over.door'))),
    room.history.length > 1 && h('section', { class: 'panel' },
      h('h2', null, t('over.chart')), chart(room.history, room.players),
      decided && h('p', { class: 'decided' }, t(decided.rival ? 'over.decided' : 'over.decidedAlone', decided))),
    seal(app, act));
}

/**
 * The round that decided the game: among those after which the winner led until the end, the one in which his lead over
 * the best of the others grew most.
 */
export function decisiveRound(history, winners, players) {
  const winner = players.findIndex((player) => player?.name === winners[0]);
  const others = players.map((_, i) => i).filter((i) => players[i] && !winners.includes(players[i].name));
  if (history.length < 2 || !others.length || history.at(-1).totals?.[winner] === undefined) return null;
  const rivalOf = ({ totals }) => others.reduce((best, i) => ((totals[i] ?? 0) > (totals[best] ?? 0) ? i : best));
  const leads = history.map((entry) => (entry.totals[winner] ?? 0) - (entry.totals[rivalOf(entry)] ?? 0));
  let from = leads.length - 1;
  while (from > 0 && leads[from - 1] > 0) from -= 1;
  const growth = leads.map((lead, i) => lead - (leads[i - 1] ?? 0));
  const at = growth.reduce((best, grown, i) => (i > from && grown > growth[best] ? i : best), from);
  const rival = rivalOf(history[at]);
  const scores = history[at].scores ?? [];
  const named = scores[rival] === undefined ? null : players[rival].name;
  return { name: winners[0], round: history[at].round, gain: signed(scores[winner] ?? growth[at]), rival: named, rivalGain: signed(scores[rival] ?? 0) };
}

const signed = (n) => (n > 0 ? `+${n}` : figure(n));

/** The four totals over the rounds as lines; each has its own stroke and its name at the end. */
export function chart(history, players) {
  const names = players.map((player) => player?.name ?? '');
  const series = names.map((_, i) => [0, ...history.map((entry) => entry.totals?.[i] ?? 0)]);
  const values = series.flat();
  const low = Math.min(0, ...values);
  const high = Math.max(50, ...values);
  const W = 320;
  const H = 190;
  const x = (i) => 26 + (i / Math.max(1, history.length)) * (W - 110);
  const y = (value) => 10 + (1 - (value - low) / (high - low)) * (H - 40);
  const ends = spread(series.map((line) => y(line.at(-1))));
  return h('svg', { class: 'chart', viewBox: `0 0 ${W} ${H}`, role: 'img', 'aria-label': t('over.chartLabel', { names: names.map((name, i) => t('over.chartEntry', { name, score: series[i].at(-1) })).join(', ') }) },
    [0, 50].map((value) => h('g', { key: `g${value}`, class: cls('grid', value === 50 && 'goal') },
      h('path', { d: `M22 ${y(value)}H${W - 80}` }), h('text', { x: 18, y: y(value) + 4, 'text-anchor': 'end' }, value))),
    series.map((line, i) => h('g', { key: `l${i}`, class: `line l${i}` },
      h('path', { d: line.map((value, j) => `${j ? 'L' : 'M'}${x(j).toFixed(1)} ${y(value).toFixed(1)}`).join('') }),
      h('circle', { cx: x(history.length), cy: y(line.at(-1)), r: 3 }),
      h('text', { x: x(history.length) + 8, y: ends[i] + 4 }, names[i].length > 10 ? `${[...names[i]].slice(0, 9).join('')}…` : names[i]))),
    h('text', { class: 'axis', x: x(history.length), y: H - 2, 'text-anchor': 'middle' }, history.length));
}

const LOWEST_LABEL = 172;

/** Moves labels apart so that none covers another. */
function spread(places) {
  const order = places.map((place, i) => ({ place, i })).sort((a, b) => a.place - b.place);
  order.forEach((entry, i) => {
    if (i && entry.place - order[i - 1].place < 13) entry.place = order[i - 1].place + 13;
  });
  const below = Math.max(0, (order.at(-1)?.place ?? 0) - LOWEST_LABEL);
  const out = [];
  for (const entry of order) entry.place -= below;
  for (const entry of order) out[entry.i] = entry.place;
  return out;
}
