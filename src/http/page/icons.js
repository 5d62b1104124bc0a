// The few signs the page needs, as line drawings.

import { h } from './dom.js';

const PATHS = {
  back: 'M15 5l-7 7 7 7', list: 'M5 7h14M5 12h14M5 17h9', help: 'M9 9a3 3 0 1 1 4.2 2.7c-.8.4-1.2 1-1.2 1.8v.5M12 17.5v.1',
  gear: 'M4 7h9M17 7h3M4 12h3M11 12h9M4 17h11M19 17h1M15 5v4M9 10v4M17 15v4', close: 'M6 6l12 12M18 6L6 18', copy: 'M9 9h10v10H9zM5 15V5h10',
  check: 'M5 12.5l4.5 4.5L19 7.5', cross: 'M6 6l12 12M18 6L6 18', seal: 'M12 3l7 3v5c0 4.6-2.8 8-7 10-4.2-2-7-5.4-7-10V6zM8.5 12l2.5 2.5 4.5-5',
  play: 'M8 5l11 7-11 7z', pause: 'M8 5v14M16 5v14', prev: 'M15 5l-8 7 8 7', next: 'M9 5l8 7-8 7', first: 'M6 5v14M18 5l-9 7 9 7', last: 'M18 5v14M6 5l9 7-9 7', eye: 'M2.5 12S6 6 12 6s9.5 6 9.5 6-3.5 6-9.5 6-9.5-6-9.5-6zM12 9.5a2.5 2.5 0 1 0 0 5 2.5 2.5 0 0 0 0-5',
};

export const icon = (name) =>
  h('svg', { class: 'icon', viewBox: '0 0 24 24', 'aria-hidden': 'true', focusable: 'false' }, h('path', { d: PATHS[name] }));

/** A square button with a sign, named for those who do not see it. */
export const iconButton = (name, label, onClick, props = {}) =>
  h('button', { ...props, type: 'button', class: `icon-button ${props.class ?? ''}`, 'aria-label': label, title: label, onClick }, icon(name));
