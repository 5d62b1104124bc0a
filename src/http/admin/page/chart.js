// Figures over time as small charts.

import { h } from './dom.js';

const WIDTH = 240;
const HEIGHT = 56;
const PAD = 3;

/** The next round number above, so that the top of a chart does not wobble: 1, 2 or 5 times a power of ten. */
export function ceiling(value) {
  if (!(value > 0)) return 1;
  const power = 10 ** Math.floor(Math.log10(value));
  return [1, 2, 5, 10].map((step) => step * power).find((top) => top >= value * 0.999999);
}

/** The path of a line through `values`, newest at the right, where `most` of them fill the width; null leaves a gap. */
export function linePath(values, top, most, width = WIDTH, height = HEIGHT) {
  const step = (width - 2 * PAD) / Math.max(1, most - 1);
  const first = width - PAD - step * (values.length - 1);
  let path = '';
  let open = false;
  values.forEach((value, i) => {
    if (value === null || !Number.isFinite(value)) {
      open = false;
      return;
    }
    const y = height - PAD - (height - 2 * PAD) * Math.min(1, Math.max(0, value / top));
    path += `${open ? 'L' : 'M'}${(first + step * i).toFixed(1)} ${y.toFixed(1)}`;
    open = true;
  });
  return path;
}

/**
 * A chart with its name, its newest figure and the top of its scale, which is round in units of `unit`. `limit` is drawn
 * as a line of its own.
 */
export function chart({ key, name, values, most, show, unit = 1, limit = null }) {
  const known = values.filter((value) => value !== null);
  const top = unit * ceiling(Math.max(...known, limit ?? 0, 0) / unit);
  const newest = known.at(-1);
  const words = newest === undefined ? 'no figure yet' : show(newest);
  return h('figure', { key, class: 'chart' },
    h('figcaption', null, h('span', { class: 'chart-name' }, name), h('strong', null, newest === undefined ? '–' : words)),
    h('svg', { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, preserveAspectRatio: 'none', role: 'img', 'aria-label': `${name}: ${words}, at most ${show(Math.max(...known, 0))} in the last minutes` },
      h('path', { class: 'chart-base', d: `M0 ${HEIGHT - PAD}H${WIDTH}` }),
      limit !== null && h('path', { class: 'chart-limit', d: linePath([limit, limit], top, 2) }),
      h('path', { class: 'chart-line', d: linePath(values, top, most) })),
    h('span', { class: 'chart-top', 'aria-hidden': 'true' }, show(top)));
}
