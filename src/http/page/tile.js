// A piece as a round tile: ivory, an engraved ring (two for red, so that colour is never the only sign), the
// Chinese-chess character, the points at the rim. Drawn as SVG, sharp at every size.

import { h } from './dom.js';
import { POINTS, colorOf } from './rules.js';
import { t } from './words.js';

const CHARACTERS = {
  GENERAL_RED: '帥', ADVISOR_RED: '仕', ELEPHANT_RED: '相', CHARIOT_RED: '俥', HORSE_RED: '傌', CANNON_RED: '炮', SOLDIER_RED: '兵',
  GENERAL_BLACK: '將', ADVISOR_BLACK: '士', ELEPHANT_BLACK: '象', CHARIOT_BLACK: '車', HORSE_BLACK: '馬', CANNON_BLACK: '砲', SOLDIER_BLACK: '卒',
};

/** The words for a piece, with its points: "red chariot, 8". */
export const pieceWords = (kind) => t('piece.withPoints', { piece: t(`piece.${kind}`), points: POINTS[kind] });

const circle = (cls, r, cy = 32) => h('circle', { class: cls, cx: 32, cy, r });

/** The drawing alone. It is decoration: whoever shows it says the piece in words. */
export function tile(kind, props = {}) {
  const red = colorOf(kind) === 'RED';
  return h('svg', { ...props, class: `tile ${red ? 'red' : 'black'} ${props.class ?? ''}`, viewBox: '0 0 64 66', 'aria-hidden': 'true', focusable: 'false' },
    circle('side', 31, 34), circle('face', 31), circle('sheen', 29.4), circle('ring', 26.4), red && circle('ring thin', 23.4),
    h('text', { class: 'glyph', x: 32, y: 36, 'text-anchor': 'middle', lang: 'zh-Hant' }, CHARACTERS[kind]),
    h('circle', { class: 'rim', cx: 32, cy: 51.5, r: 11 }),
    h('text', { class: 'points', x: 32, y: 57.6, 'text-anchor': 'middle' }, POINTS[kind]));
}

/** A tile face down. */
export function tileBack(props = {}) {
  return h('svg', { ...props, class: `tile back ${props.class ?? ''}`, viewBox: '0 0 64 66', 'aria-hidden': 'true', focusable: 'false' },
    circle('side', 31, 34), circle('face', 31), circle('ring', 25), circle('ring thin', 13),
    h('path', { class: 'mark', d: 'M32 22v20M22 32h20M25 25l14 14M39 25l-14 14' }));
}

/** A tile that turns: its back until `kind` is known, then its face. */
export function flippingTile(kind, props = {}) {
  return h('span', { ...props, class: `flip ${kind ? 'open' : ''} ${props.class ?? ''}`, title: kind ? pieceWords(kind) : undefined },
    h('span', { class: 'side-down' }, tileBack()),
    h('span', { class: 'side-up' }, kind && tile(kind)));
}
