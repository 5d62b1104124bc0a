// One table of strings: nothing missing, nothing unused, the same places to fill in every language.

import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import { test } from 'node:test';

import { LANGUAGES, WORDS, figure, preferred, speak, t } from '../../src/http/page/words.js';

const folder = new URL('../../src/http/page/', import.meta.url);
const sources = readdirSync(folder).filter((name) => name.endsWith('.js')).map((name) => readFileSync(new URL(name, folder), 'utf8')).join('\n');
const places = (text) => [...text.matchAll(/\{(\w+)\}/g)].map((match) => match[1]).sort().join();

test('every sentence is there in every language, with the same places to fill', () => {
  for (const [key, entry] of Object.entries(WORDS)) {
    assert.equal(entry.length, Object.keys(LANGUAGES).length, key);
    for (const text of entry) {
      assert.ok(text.trim(), key);
      assert.equal(places(text), places(entry[0]), key);
    }
  }
});

test('languages do not borrow from each other', () => {
  for (const [key, [english, thai, chinese]] of Object.entries(WORDS)) {
    if (!/[a-z]{3}/i.test(english.replace(/\{\w+\}/g, ''))) continue;
    assert.match(thai, /[฀-๿]/, key);
    assert.match(chinese, /[㐀-鿿]/, key);
  }
});

test('every key that is used is in the table', () => {
  for (const [, key] of sources.matchAll(/\bt\('([\w.]+)'/g)) assert.ok(key in WORDS, key);
  for (const [, key] of sources.matchAll(/'((?:note|refused|table|over|link|wait|score)\.[\w.]+)'/g)) assert.ok(key in WORDS, key);
});

test('every key in the table is used', () => {
  const literal = new Set([...sources.matchAll(/'([\w]+\.[\w.]+)'/g)].map((match) => match[1]));
  const patterns = [...sources.matchAll(/`([\w.]+)\$\{/g)].map((match) => match[1]);
  const uses = sources.replace(/^ {2}'[\w.]+': \[.*$/gm, '');
  for (const key of Object.keys(WORDS)) {
    const plain = key.replace(/\.one$/, '');
    const used = (literal.has(plain) && uses.includes(`'${plain}'`)) || patterns.some((prefix) => plain.startsWith(prefix));
    assert.ok(used, key);
  }
});

test('keys made at run time exist for all their values', () => {
  const kinds = ['GENERAL', 'ADVISOR', 'ELEPHANT', 'CHARIOT', 'HORSE', 'CANNON', 'SOLDIER'].flatMap((name) => [`${name}_RED`, `${name}_BLACK`]);
  const types = ['SINGLE', 'PAIR', 'THREE_OF_A_KIND', 'STRAIGHT', 'FOUR_OF_A_KIND', 'EXTENDED_STRAIGHT', 'FIVE_OF_A_KIND', 'EXTENDED_STRAIGHT_5', 'DOUBLE_STRAIGHT'];
  const keys = [
    ...kinds.map((kind) => `piece.${kind}`), ...types.flatMap((type) => [`type.${type}`, `play.as.${type}`, `follow.${type}`]), 'type.INVALID',
    ...['hit', 'miss', 'hitZero', 'missZero'].flatMap((how) => [`score.${how}`, `score.${how}.times`]),
    ...['easy', 'normal', 'hard'].map((level) => `level.${level}`), ...['has_general_red', 'won_last_turn', 'accepted_redeal', 'default'].map((reason) => `starter.${reason}`),
    ...['secret', 'before', 'entropy', 'hands', 'algorithm'].flatMap((step) => ['good', 'bad', 'open'].map((state) => `fair.check.${step}.${state}`)),
    ...['tea', 'normal', 'blitz'].flatMap((name) => [`tempo.${name}`, `tempo.${name}.hint`]), ...['missing', 'bad', 'taken', 'reserved'].map((error) => `name.${error}`), ...['eight', 'zeros'].map((why) => `declare.barred.${why}`),
    ...['not_found', 'host_left', 'player_removed', 'finished', 'gone'].map((reason) => `closed.${reason}`), ...[1, 2, 3, 4, 5].map((i) => `guide.${i}`), ...[1, 2, 3, 4].map((i) => `fair.step${i}`),
    ...['hit', 'miss', 'zeroHit', 'zeroMiss', 'redeal', 'end'].map((line) => `guide.score.${line}`), ...['arrows', 'space', 'shift', 'enter', 'digits', 'escape', 'question'].map((name) => `keys.${name}`),
  ];
  for (const key of keys) assert.ok(key in WORDS, key);
});

test('a name written from the right stands apart, others stay as they are', () => {
  speak('en');
  assert.equal(t('turn.took', { name: 'נועה', n: 3 }), '\u2068נועה\u2069 takes 3 piles');
  assert.equal(t('turn.took', { name: 'ภูผา', n: 3 }), 'ภูผา takes 3 piles');
  assert.equal(t('turn.took', {}), '{name} takes {n} piles', 'nothing is taken from what every object has');
});

test('filling in', () => {
  speak('en');
  assert.equal(t('turn.took', { name: 'Mira', n: 1 }), 'Mira takes one pile');
  assert.equal(t('turn.took', { name: '{n}', n: 3 }), '{n} takes 3 piles');
  assert.equal(figure(-7), '−7');
  assert.equal(preferred(['fr-FR', 'zh-TW', 'en']), 'zh');
  assert.equal(speak('xx'), 'en');
});
