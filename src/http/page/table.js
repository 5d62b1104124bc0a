// The table itself: wood, felt, four seats and the plays in the middle. Live games and replays use the same one.

import { cls, h, prefersCalm } from './dom.js';
import { seat } from './seat.js';
import { flippingTile } from './tile.js';
import { t } from './words.js';
import { sum } from './rules.js';

const PLACES = ['bottom', 'left', 'top', 'right'];

/** Which place each seat has when seat `bottom` (index) sits nearest. */
const placeOf = (seatIndex, bottom) => PLACES[(seatIndex - bottom + 4) % 4];

/**
 * The table. `players` in seat order, `bottom` the index of the nearest seat; `plays` of the turn, `winner` the name of
 * the best play once all lie open, `swept` true when its tiles go to the winner; `centre` what lies in the middle.
 * `free(index)` describes an empty seat.
 */
export function table({ players, bottom, you, current, deadline, starter, plays = [], winner = null, swept = false, centre = null, showPiles = true, free, seats }) {
  const winnerPlace = winner === null ? null : placeOf(players.findIndex((player) => player?.name === winner), bottom);
  return h('div', { key: 'table', class: cls('table', swept && `sweep-${winnerPlace}`) },
    h('div', { class: 'felt' },
      players.map((player, i) => {
        const place = placeOf(i, bottom);
        if (seats) return h('div', { key: `seat.${place}`, class: `seat ${place} open-seat` }, seats(player, i));
        if (!player) return h('div', { key: `seat.${place}`, class: `seat ${place}` }, free?.(i));
        return seat(player, {
          place, deadline, showPiles, you: player.name === you, current: player.name === current,
          winner: player.name === winner, starter: player.name === starter,
        });
      }),
      h('div', { key: 'plays', class: 'plays' }, plays.map((play) => playView(play, placeOf(players.findIndex((player) => player?.name === play.player), bottom), winner))),
      h('div', { key: 'centre', class: 'centre' }, centre)));
}

/** The tiles one player has put on the table in this turn. */
function playView(play, place, winner) {
  const best = winner === play.player;
  const words = play.kinds ? t('play.shown', { name: play.player, type: t(`type.${play.type}`), points: sum(play.kinds) }) : t('play.faceDown', { name: play.player, n: play.count });
  return h('div', { key: `play.${play.player}`, class: cls('play', `at-${place}`, `n${play.count}`, best && 'best', winner && !best && 'beaten'), role: 'img', 'aria-label': words },
    Array.from({ length: play.count }, (_, i) => flippingTile(play.kinds?.[i] ?? null, { key: `t${i}`, flip: play.ids?.[i], created: (node) => !play.ids && land(node, place, i) })));
}

const FROM = { left: '-60px, 0', right: '60px, 0', top: '0, -50px', bottom: '0, 50px' };

/** A tile slides in from the seat of the one who plays it. */
function land(node, place, i) {
  if (prefersCalm()) return;
  node.animate([{ transform: `translate(${FROM[place]}) rotate(-12deg)`, opacity: 0 }, { transform: 'none', opacity: 1 }], { duration: 200, delay: 30 * i, easing: 'ease-out', fill: 'backwards' });
}
