// How the game goes: five pictures for newcomers, and the card of rules to look things up.

import { h } from './dom.js';
import { POINTS } from './rules.js';
import { pieceWords, tile, tileBack } from './tile.js';
import { t } from './words.js';

const row = (...kinds) => h('span', { class: 'minis' }, kinds.map((kind, i) => (kind ? tile(kind, { key: `${kind}${i}` }) : tileBack({ key: `back${i}` }))));

/** The game in five pictures. */
export function rulesPictures() {
  const pictures = [
    row('GENERAL_RED', 'ADVISOR_BLACK', 'HORSE_RED', 'SOLDIER_BLACK'),
    h('span', { class: 'pips large' }, h('i', { class: 'full' }), h('i', { class: 'full' }), h('i', null)),
    row('CHARIOT_RED', 'HORSE_RED', 'CANNON_RED'),
    h('span', { class: 'taken' }, row('HORSE_RED', 'HORSE_RED')),
    h('span', { class: 'fifty' }, '50'),
  ];
  return h('ol', { class: 'pictures' }, pictures.map((picture, i) => h('li', { key: i },
    h('div', { class: 'picture', 'aria-hidden': 'true' }, picture), h('p', null, t(`guide.${i + 1}`)))));
}

const EXAMPLES = [
  ['SINGLE', ['GENERAL_BLACK']], ['PAIR', ['ELEPHANT_RED', 'ELEPHANT_RED']], ['THREE_OF_A_KIND', Array(3).fill('SOLDIER_BLACK')],
  ['STRAIGHT', ['CHARIOT_BLACK', 'HORSE_BLACK', 'CANNON_BLACK']], ['FOUR_OF_A_KIND', Array(4).fill('SOLDIER_RED')],
  ['EXTENDED_STRAIGHT', ['GENERAL_RED', 'ADVISOR_RED', 'ADVISOR_RED', 'ELEPHANT_RED']], ['FIVE_OF_A_KIND', Array(5).fill('SOLDIER_BLACK')],
  ['EXTENDED_STRAIGHT_5', ['CHARIOT_RED', 'CHARIOT_RED', 'HORSE_RED', 'HORSE_RED', 'CANNON_RED']],
  ['DOUBLE_STRAIGHT', ['CHARIOT_BLACK', 'CHARIOT_BLACK', 'HORSE_BLACK', 'HORSE_BLACK', 'CANNON_BLACK', 'CANNON_BLACK']],
];

/** Everything to look up during a game: pieces, combinations, scores. */
export function rulesCard() {
  return h('div', { class: 'rules-card' },
    rulesPictures(),
    h('h3', null, t('guide.pieces')),
    h('ul', { class: 'piece-list' }, Object.keys(POINTS).map((kind) => h('li', { key: kind }, tile(kind), h('span', null, pieceWords(kind))))),
    h('h3', null, t('guide.combinations')),
    h('ul', { class: 'combination-list' }, EXAMPLES.map(([type, kinds]) => h('li', { key: type }, h('span', { class: 'type' }, t(`type.${type}`)), row(...kinds)))),
    h('p', { class: 'small' }, t('guide.compare')),
    h('h3', null, t('guide.scores')),
    h('ul', { class: 'plain' }, ['hit', 'miss', 'zeroHit', 'zeroMiss', 'redeal', 'end'].map((line) => h('li', { key: line }, t(`guide.score.${line}`)))),
    h('h3', null, t('guide.limits')),
    h('p', null, t('guide.limitsText')));
}
