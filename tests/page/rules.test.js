// The page's own idea of the rules, against the vectors of the rules themselves.

import assert from 'node:assert/strict';
import { test } from 'node:test';

import { classify, combinations, declarationLimits, explainScore, judge, strength, usefulCombinations, winnerOf } from '../../src/http/page/rules.js';

const NAMES = { G: 'GENERAL', A: 'ADVISOR', E: 'ELEPHANT', C: 'CHARIOT', H: 'HORSE', N: 'CANNON', S: 'SOLDIER' };
const kinds = (text) => text.split(' ').map((piece) => `${NAMES[piece[0]]}_${piece[1] === 'r' ? 'RED' : 'BLACK'}`);

test('play types', () => {
  const vectors = `Sb: SINGLE | Gr: SINGLE | Ab Ab: PAIR | Ar Ab: INVALID | Sr Sr: PAIR | Sr Sb: INVALID | Sr Sr Sr: THREE_OF_A_KIND | Sr Sr Sb: INVALID
    | Gr Ar Er: STRAIGHT | Gr Ar Ar: INVALID | Cb Hb Nb: STRAIGHT | Cr Hr Nb: INVALID | Ar Er Cr: INVALID | Sb Sb Sb Sb: FOUR_OF_A_KIND
    | Cr Hr Hr Nr: EXTENDED_STRAIGHT | Gr Ar Ar Er: EXTENDED_STRAIGHT | Gr Ar Er Er: EXTENDED_STRAIGHT | Cr Cr Hr Hr: INVALID | Gr Ar Er Cr: INVALID
    | Sr Sr Sr Sr Sr: FIVE_OF_A_KIND | Cr Cr Hr Hr Nr: EXTENDED_STRAIGHT_5 | Gr Ar Ar Er Er: EXTENDED_STRAIGHT_5 | Cb Hb Hb Nb Nb: EXTENDED_STRAIGHT_5
    | Cr Cr Hr Hr Nr Nr: DOUBLE_STRAIGHT | Cb Cb Hb Hb Nb Nb: DOUBLE_STRAIGHT | Cr Cr Hr Hr Nr Nb: INVALID | Sr Sr Sr Sr Sr Sb: INVALID`;
  for (const vector of vectors.split('|')) {
    const [pieces, type] = vector.trim().split(': ');
    assert.equal(classify(kinds(pieces)), type, pieces);
  }
  assert.equal(classify([]), 'INVALID');
});

test('two plays', () => {
  const vectors = `Er, Eb, A | Sr, Sr, A | Gb, Gr, B | Ab Ab, Er Er, A | Er Er, Ab Ab, B | Er Er, Er Er, A | Cr Hr Nr, Gb Ab Eb, B | Cr Hr Nr, Cb Hb Nb, A
    | Sr Sr Sr, Cb Hb Nb, A | Cb Hb Nb, Sr Sr Sr, A | Cr Cr Hr Nr, Cr Hr Nr Nr, A | Gb Ab Ab Eb, Gb Ab Eb Eb, A | Gr Ar Ar Er, Gb Ab Ab Eb, A
    | Cr Cr Hr Hr Nr, Cr Hr Hr Nr Nr, A | Cb Cb Hb Hb Nb, Cr Cr Hr Hr Nr, B | Sr Sr Sr Sr Sr, Gb Ab Ab Eb Eb, A | Cr Cr Hr Hr Nr Nr, Cb Cb Hb Hb Nb Nb, A
    | Er Er, Gr Ar, A | Sb Sb, Sr Sr, B | Sr Sr Sr Sr, Cb Cb Hb Nb, A`;
  for (const vector of vectors.split('|')) {
    const [a, b, better] = vector.trim().split(', ');
    assert.equal(winnerOf([kinds(a), kinds(b)]), better === 'A' ? 0 : 1, vector);
  }
});

test('whole turns', () => {
  const vectors = `Sb ; Gr ; Ar ; Ab = 1 | Er ; Ab ; Eb ; Cr = 1 | Ar ; Ab ; Ar ; Gb = 3 | Ar ; Ar ; Ab ; Eb = 0 | Sb Sb ; Gr Ar ; Sr Sr ; Gb Er = 2
    | Sb Sb ; Gr Ar ; Gb Er ; Sr Hb = 0 | Cb Hb Nb ; Sr Sr Sr ; Cr Hr Nr ; Gr Ar Eb = 2 | Sb Sb Sb ; Cr Hr Nr ; Sr Sr Sr ; Gb Ab Eb = 2
    | Cb Cb Hb Nb ; Sr Sr Sr Sr ; Gb Ab Ab Eb ; Gr Ar Er Er = 3 | Sr Sr Sr Sr ; Sb Sb Sb Sb ; Cr Hr Hr Nr ; Gr Ar Ar Er = 0
    | Gr Ar Ar Er Er ; Cr Cr Hr Hr Nr ; Sb Sb Sb Sb Sb ; Gb Ab Ab Eb Eb = 0`;
  for (const vector of vectors.split('|')) {
    const [plays, winner] = vector.trim().split(' = ');
    assert.equal(winnerOf(plays.split(' ; ').map(kinds)), Number(winner), vector);
  }
});

test('allowed declarations', () => {
  const made = (sum, fourth) => (fourth ? [sum, 0, 0] : [sum]);
  const vectors = [
    [0, false, 0, '012345678'], [0, false, 2, '12345678'], [3, false, 3, '12345678'], [5, true, 0, '01245678'], [8, true, 0, '12345678'],
    [9, true, 0, '012345678'], [8, true, 2, '12345678'], [7, true, 2, '2345678'], [0, true, 0, '01234567'], [12, true, 1, '012345678'],
  ];
  for (const [sum, fourth, streak, allowed] of vectors) {
    const limits = declarationLimits(made(sum, fourth), streak);
    assert.equal(limits.map((limit, value) => (limit ? '' : value)).join(''), allowed, `sum ${sum}, fourth ${fourth}, streak ${streak}`);
  }
});

test('scores', () => {
  const vectors = [[0, 0, 3], [0, 1, -1], [0, 3, -3], [1, 1, 6], [3, 3, 8], [8, 8, 13], [4, 2, -2], [2, 5, -3], [5, 0, -5], [1, 2, -1]];
  for (const [declared, captured, points] of vectors) assert.equal(explainScore(declared, captured).base, points, `${declared} ${captured}`);
});

test('combinations in a hand: every valid set of two and more, each once', () => {
  const hand = kinds('Gr Ar Er Er Sb Sb Sb Hb');
  const expected = new Set();
  for (let bits = 0; bits < 256; bits += 1) {
    const chosen = hand.filter((_, i) => bits & (1 << i));
    if (chosen.length > 1 && classify(chosen) !== 'INVALID') expected.add([...chosen].sort().join());
  }
  const found = combinations(hand).map((combination) => [...combination].sort().join());
  assert.deepEqual(new Set(found), expected);
  assert.equal(found.length, expected.size);
});

test('what a choice would be', () => {
  assert.equal(judge([], null).verdict, 'none');
  assert.deepEqual(judge(kinds('Er Er'), null), { verdict: 'play', type: 'PAIR', value: 20 });
  assert.equal(judge(kinds('Er Eb'), null).verdict, 'invalid');
  assert.equal(judge(kinds('Er Eb'), { count: 2, type: 'PAIR' }).verdict, 'waste');
  assert.equal(judge(kinds('Er'), { count: 2, type: 'PAIR' }).verdict, 'count');
  assert.equal(judge(kinds('Gr Ar Er Er'), { count: 4, type: 'EXTENDED_STRAIGHT' }).value, strength(kinds('Gr Ar Er')));
});

test('a follower is only offered what can win', () => {
  const offers = usefulCombinations(kinds('Er Er Sb Sb Sb Hb Hr Nb'), { count: 2, type: 'PAIR' });
  assert.deepEqual(offers, [kinds('Er Er'), kinds('Sb Sb')]);
});
