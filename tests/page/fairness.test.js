// Checking the deals: the hash, the published test vector, and every way in which a proof can fail.

import assert from 'node:assert/strict';
import { createHash, createHmac } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';

import { PIECES, checkProof, deal, dealNumbers, gameKey, verdict } from '../../src/http/page/fairness.js';
import { hex, hmac, sha256, unhex } from '../../src/http/page/sha256.js';

const bytes = (length, step) => Uint8Array.from({ length }, (_, i) => (i * step + length) & 255);

test('SHA-256 and HMAC agree with another implementation at every length around a block', () => {
  for (let length = 0; length < 200; length += 1) {
    const message = bytes(length, 7);
    assert.equal(hex(sha256(message)), createHash('sha256').update(message).digest('hex'));
    const key = bytes(length, 11);
    assert.equal(hex(hmac(key, message)), createHmac('sha256', key).update(message).digest('hex'));
  }
});

test('hexadecimal text', () => {
  assert.deepEqual(unhex('00ff'), Uint8Array.of(0, 255));
  assert.equal(unhex('0'), null);
  assert.equal(unhex('zz'), null);
});

const seed = Uint8Array.from({ length: 32 }, (_, i) => i);
const entropy = [null, 'c0ffee', null, null];

test('the vector of docs/fair-deals.md', () => {
  const text = readFileSync(new URL('../../docs/fair-deals.md', import.meta.url), 'utf8');
  const figure = (name) => text.match(new RegExp(`^    ${name} += ([0-9a-f |]+)$`, "m"))[1].trim();
  const key = gameKey(seed, entropy);
  assert.equal(hex(sha256(seed)), figure('commitment'));
  assert.equal(hex(key), figure('game_key'));
  for (const k of [0, 1]) assert.deepEqual(dealNumbers(key, k), figure(`deal ${k}`).split(/[ |]+/).map(Number));
  assert.equal(PIECES[0], 'GENERAL_RED');
  assert.equal(PIECES[31], 'SOLDIER_BLACK');
});

const proof = { algorithm: 'liap-deal-1', server_seed: hex(seed), entropy, commitment: hex(sha256(seed)) };
const key = gameKey(seed, entropy);
const handsOf = (...ks) => ks.map((k) => ({ k, seat: 1, pieces: deal(key, k)[1] }));
const honest = { commitment: proof.commitment, seat: 1, entropy: 'C0FFEE', hands: handsOf(0, 1, 2) };
const failing = (shown, seen) => checkProof(shown, seen).filter((step) => step.ok === false).map((step) => step.name);

test('an honest game passes', () => {
  assert.equal(verdict(checkProof(proof, honest)), true);
  const late = { ...honest, hands: [{ ...honest.hands[0], k: null }, { ...honest.hands[2], k: null }] };
  assert.equal(verdict(checkProof(proof, late)), true);
});

test('each kind of cheating is found, by its own step', () => {
  const other = hex(sha256(Uint8Array.of(1)));
  assert.deepEqual(failing({ ...proof, commitment: other }, honest), ['secret']);
  assert.deepEqual(failing(proof, { ...honest, commitment: other }), ['before']);
  assert.deepEqual(failing(proof, { ...honest, entropy: 'beef' }), ['entropy']);
  assert.deepEqual(failing(proof, { ...honest, hands: handsOf(0, 2).map((hand, k) => ({ ...hand, k })) }), ['hands'], 'a deal was skipped');
  assert.deepEqual(failing(proof, { ...honest, hands: [{ k: null, seat: 0, pieces: deal(key, 0)[1] }] }), ['hands']);
  assert.deepEqual(failing({ ...proof, algorithm: 'other' }, honest), ['algorithm']);
  assert.deepEqual(failing({}, honest), ['algorithm']);
});

test('a watcher is not told more than he could compare', () => {
  const steps = checkProof(proof, { commitment: null, seat: -1, entropy: null, hands: [] });
  assert.equal(verdict(steps), null);
});
