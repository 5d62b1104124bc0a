// The table while a game is played: bar, table, own hand, what to do; scores and turns at the side or in a sheet.

import { cls, h } from './dom.js';
import { actions, hand, situation, taken } from './hand.js';
import { iconButton } from './icons.js';
import { roundScores } from './results.js';
import { leaderOf, myTurn, resultKey, seenKey } from './state.js';
import { playMark, table } from './table.js';
import { tile } from './tile.js';
import { avatar } from './seat.js';
import { figure, t } from './words.js';

export function game(app, act, heading) {
  const { room, ui } = app;
  const seatIndex = room.players.findIndex((player) => player?.name === room.you);
  const mine = seatIndex >= 0;
  return h('div', { key: 'game', class: cls('place', 'game', app.link !== 'open' && 'dim') },
    bar(app, act),
    h('main', { class: 'board' }, heading,
      table({
        players: room.players, bottom: Math.max(0, seatIndex), you: room.you, deadline: room.deadline,
        current: room.pending ? null : room.current ?? asked(room), starter: room.starter ?? room.data.current_turn_starter ?? null,
        plays: withPending(room), winner: leaderOf(room), centre: centre(room, ui, act), onSeen: seenKey(room) && room.phase !== 'scoring' ? act.dismiss : undefined,
      }),
      mine ? h('div', { key: 'mine', class: 'mine' }, hand(room, ui, act), actions(room, ui, act))
        : h('p', { key: 'watch', class: 'ask watching' }, t('watch.line'), ' ', situation(room))),
    h('aside', { class: 'side', 'aria-label': t('bar.scores') }, sidePanel(room)));
}

function asked(room) {
  const waiting = room.phase === 'preparation' && !room.data.dealing_cards ? room.data.weak_players_awaiting ?? [] : [];
  return waiting.length === 1 ? waiting[0] : null;
}

function bar(app, act) {
  const { room } = app;
  return h('header', { class: 'bar' },
    iconButton('back', t('bar.leave'), act.askLeave),
    h('p', { class: 'round' }, room.round > 0 && h('strong', null, t('bar.round', { n: room.round })),
      room.multiplier > 1 && h('span', { class: 'times', title: t('bar.multiplier', { n: room.multiplier }) }, `×${room.multiplier}`)),
    iconButton('last', t('bar.last'), () => act.open('last')),
    iconButton('list', t('bar.scores'), () => act.open('scores'), { class: 'narrow-only' }),
    iconButton('help', t('bar.rules'), () => act.open('rules')),
    iconButton('gear', t('bar.settings'), () => act.open('settings')));
}

/** What we have just played lies on the table at once; the server's word follows. */
function withPending(room) {
  const { pending } = room;
  if (pending?.what !== 'play' || room.plays.some((play) => play.player === room.you)) return room.plays;
  return [...room.plays, { player: room.you, kinds: pending.kinds, count: pending.kinds.length, type: pending.type, ids: pending.ids }];
}

function centre(room, ui, act) {
  const shown = ui.dismissed !== resultKey(room);
  if (room.phase === 'scoring' && room.scoring && shown) return roundScores(room, act);
  if (room.phase === 'preparation' && room.data.dealing_cards) return h('p', { key: 'deal', class: 'banner quiet' }, situation(room));
  if (room.phase === 'round_start') {
    return h('div', { key: 'start', class: 'banner' }, h('strong', null, situation(room)),
      room.starterReason && h('span', { class: 'small' }, t(`starter.${room.starterReason}`)));
  }
  if (room.phase === 'declaration') {
    const values = [...room.declarations.values()];
    return values.length ? h('p', { key: 'sum', class: 'banner quiet' }, t('table.declared', { total: values.reduce((a, b) => a + b, 0) })) : null;
  }
  if (room.phase === 'turn' && room.plays.length === 0 && !room.pending && !myTurn(room)) {
    return h('p', { key: 'lead', class: 'banner quiet' }, t('table.leads', { name: room.current ?? '' }));
  }
  return null;
}

/** Score of the four, and all turns of this round. */
export function sidePanel(room) {
  return h('div', { class: 'side-panel' },
    h('h2', null, t('side.scores')),
    h('ul', { class: 'score-list' }, room.players.filter(Boolean).map((player) => h('li', { key: player.name },
      avatar(player, { class: 'tiny' }), h('span', { class: 'name' }, player.name),
      h('span', { class: 'mark' }, player.declared === null ? '' : t('seat.ofDeclared', { captured: player.captured, declared: player.declared })),
      h('span', { class: 'total' }, figure(player.score))))),
    room.history.length > 0 && historyTable(room),
    h('h2', null, t('side.turns')),
    room.turns.length === 0 ? h('p', { class: 'small' }, t('side.noTurns')) : null,
    h('ol', { class: 'turn-list' }, [...room.turns].reverse().map((turn) => turnRow(turn, room))));
}

function historyTable(room) {
  const names = room.players.map((player) => player.name);
  return h('table', { class: 'rounds' },
    h('thead', null, h('tr', null, h('th', { scope: 'col' }, t('side.round')), names.map((name) => h('th', { key: name, scope: 'col' }, name)))),
    h('tbody', null, room.history.map((entry) => h('tr', { key: entry.round }, h('th', { scope: 'row' }, entry.round),
      names.map((name, i) => h('td', { key: name }, figure(entry.totals?.[i] ?? '')))))));
}

/** The turn that was won last in this round. */
export function lastTurn(room) {
  const turn = room.turns.at(-1);
  return turn ? h('ol', { class: 'turn-list' }, turnRow(turn, room)) : h('p', null, t('turn.none'));
}

function turnRow(turn, room) {
  return h('li', { key: turn.number },
    h('p', { class: 'turn-head' }, h('strong', null, t('side.turn', { n: turn.number })), h('span', { class: 'mark' }, taken(turn.winner, turn.piles, room.you))),
    h('ul', null, turn.plays.map((play) => h('li', { key: play.player, class: cls(play.player === turn.winner && 'best') },
      h('span', { class: 'name' }, play.player), h('span', { class: 'minis' }, (play.kinds ?? []).map((kind, i) => tile(kind, { key: `${kind}${i}` }))),
      h('span', { class: 'mark' }, play.kinds ? playMark(play) : '')))));
}
