// The table itself: wood, felt, four seats and the plays in the middle. Live games and replays use the same one.

import { cls, h, prefersCalm } from './dom.js';
import { seat } from './seat.js';
import { flippingTile } from './tile.js';
import { t } from './words.js';
import { strength, sum } from './rules.js';

const PLACES = ['bottom', 'left', 'top', 'right'];

/** Which place each seat has when seat `bottom` (index) sits nearest. */
const placeOf = (seatIndex, bottom) => PLACES[(seatIndex - bottom + 4) % 4];

/**
 * The table. `players` in seat order, `bottom` the index of the nearest seat; `plays` of the turn, the starter's first,
 * `winner` the name of the best play once all lie open; `centre` what lies in the middle; `onSeen` is called when the
 * table is tapped. `seats(player, index)` describes a seat before the game.
 */
export function table({ players, bottom, you, current, deadline, starter, plays = [], winner = null, centre = null, showPiles = true, seats, onSeen }) {
  return h('div', { key: 'table', class: 'table', onClick: onSeen },
    h('div', { class: 'felt' },
      players.map((player, i) => {
        const place = placeOf(i, bottom);
        if (seats) return h('div', { key: `seat.${place}`, class: `seat ${place} open-seat` }, seats(player, i));
        if (!player) return h('div', { key: `seat.${place}`, class: `seat ${place}` });
        return seat(player, {
          place, deadline, showPiles, you: player.name === you, current: player.name === current,
          winner: player.name === winner, starter: player.name === starter,
        });
      }),
      h('div', { key: 'plays', class: 'plays' }, plays.map((play, i) => playView(play, placeOf(players.findIndex((player) => player?.name === play.player), bottom), winner, i === 0))),
      h('div', { key: 'centre', class: 'centre' }, centre)));
}

/** What a play is worth when plays of its type are compared; what was thrown away counts its points only. */
export const worth = ({ kinds, type }) => (type.startsWith('EXTENDED') ? strength(kinds) : sum(kinds));

/** The kind and worth of an open play: "pair 22", or "thrown away". */
export const playMark = (play) => (play.type === 'INVALID' ? t('type.INVALID') : t('play.mark', { type: t(`type.${play.type}`), points: worth(play) }));

/** The tiles one player has put on the table in this turn, and under them what they are. */
function playView(play, place, winner, leads) {
  const best = winner === play.player;
  const type = t(`type.${play.type}`);
  const down = leads ? t('play.faceDownLead', { name: play.player, n: play.count, type }) : t('play.faceDown', { name: play.player, n: play.count });
  const words = play.kinds ? t('play.shown', { name: play.player, type, points: worth(play) }) : down;
  const mark = winner ? playMark(play) : leads ? t('play.leads', { type }) : play.kinds && playMark(play);
  return h('div', { key: `play.${play.player}`, class: cls('play', `at-${place}`, `n${play.count}`, best && 'best', winner && !best && 'beaten'), role: 'img', 'aria-label': words },
    h('span', { class: 'tiles' }, Array.from({ length: play.count }, (_, i) => flippingTile(play.kinds?.[i] ?? null, { key: `t${i}`, flip: play.ids?.[i], created: (node) => !play.ids && land(node, place, i) }))),
    h('span', { class: 'play-mark' }, mark));
}

const FROM = { left: '-60px, 0', right: '60px, 0', top: '0, -50px', bottom: '0, 50px' };

/** A tile slides in from the seat of the one who plays it. */
function land(node, place, i) {
  if (prefersCalm()) return;
  node.animate([{ transform: `translate(${FROM[place]}) rotate(-12deg)`, opacity: 0 }, { transform: 'none', opacity: 1 }], { duration: 200, delay: 30 * i, easing: 'ease-out', fill: 'backwards' });
}
