// One seat at the table: who sits there, how he stands, and whether it is his turn.

import { cls, h } from './dom.js';
import { tile } from './tile.js';
import { figure, t } from './words.js';

/** Initial in a coloured ring; bots wear a wooden tile with one to three dots for their level. */
export function avatar(player, props = {}) {
  if (player.bot) {
    const dots = { easy: 1, normal: 2, hard: 3 }[player.level] ?? 2;
    return h('svg', { ...props, class: cls('avatar', 'wood', props.class), viewBox: '0 0 40 40', 'aria-hidden': 'true' },
      h('circle', { class: 'disc', cx: 20, cy: 20, r: 18 }),
      h('rect', { class: 'face', x: 10, y: 12, width: 20, height: 14, rx: 5 }),
      h('circle', { class: 'eye', cx: 16, cy: 19, r: 2 }), h('circle', { class: 'eye', cx: 24, cy: 19, r: 2 }),
      h('path', { class: 'wire', d: 'M20 12V8' }), h('circle', { class: 'eye', cx: 20, cy: 7, r: 1.6 }),
      Array.from({ length: dots }, (_, i) => h('circle', { class: 'dot', cx: 20 + (i - (dots - 1) / 2) * 6, cy: 31, r: 1.8 })));
  }
  return h('span', { ...props, class: cls('avatar', `hue-${player.color ?? 'teal'}`, player.away && 'away', props.class), 'aria-hidden': 'true' },
    [...player.name][0]?.toUpperCase() ?? '?');
}

/** Declared piles as small rings, filled as they are captured; too many are crossed. */
export function pips(declared, captured) {
  const count = Math.max(declared ?? 0, captured);
  return h('span', { class: 'pips', 'aria-hidden': 'true' },
    Array.from({ length: count }, (_, i) => h('i', { class: cls(i < captured && 'full', declared !== null && i >= declared && 'over') })));
}

/** The thin arc that shrinks with the time left; `share` is what is left now, `ms` how long that lasts. */
function clock(deadline, now) {
  if (!deadline || deadline.total <= 0) return null;
  const left = Math.max(0, deadline.at - now);
  return h('svg', { key: `clock${deadline.at}`, class: 'clock', viewBox: '0 0 48 48', 'aria-hidden': 'true', created: (node) => runDown(node, left, deadline.total) },
    h('circle', { cx: 24, cy: 24, r: 22, pathLength: 100 }));
}

function runDown(node, left, total) {
  const arc = node.firstChild;
  const share = Math.min(1, left / total) * 100;
  arc.style.strokeDasharray = `${share} 100`;
  arc.animate?.([{ strokeDasharray: `${share} 100` }, { strokeDasharray: '0 100' }], { duration: left, fill: 'forwards' });
}

/**
 * A seat on the table. `place` is left, top, right or bottom; `current` and `deadline` tell whose turn it is.
 */
export function seat(player, { place, current, deadline, you, winner, starter, showPiles }) {
  const label = player.declared === null
    ? t('seat.labelPlain', { name: player.name, score: player.score })
    : t('seat.label', { name: player.name, score: player.score, declared: player.declared, captured: player.captured });
  return h('section', { key: `seat.${place}`, class: cls('seat', place, current && 'current', winner && 'winner', player.away && 'is-away'), 'aria-label': label },
    h('div', { class: 'portrait' }, avatar(player), current && clock(deadline, performance.now()),
      starter && h('span', { class: 'starter', title: t('seat.starter') }, '★')),
    h('div', { class: 'who' },
      h('span', { class: 'name' }, you ? t('seat.you', { name: player.name }) : player.name),
      player.away && h('span', { class: 'mark' }, t('seat.away')),
      player.bot && player.level && h('span', { class: 'mark level-mark' }, t(`level.${player.level}`))),
    h('div', { class: 'standing' },
      h('span', { class: 'score', title: t('seat.score') }, figure(player.score)),
      showPiles && h('span', { class: 'piles', title: t('seat.piles') },
        player.declared === null ? '–' : t('seat.ofDeclared', { captured: player.captured, declared: player.declared }),
        pips(player.declared, player.captured))),
    player.tiles && h('div', { class: 'minis open-hand' }, player.tiles.map((kind, i) => tile(kind, { key: `${kind}${i}` }))));
}
