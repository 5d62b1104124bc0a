// The QR code, read back by a reader that is not ours.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import jsqr from 'jsqr';

import { qr } from '../../src/http/page/qr.js';

const SCALE = 3;
const QUIET = 4;

function read(rows) {
  const side = (rows.length + 2 * QUIET) * SCALE;
  const pixels = new Uint8ClampedArray(side * side * 4).fill(255);
  rows.forEach((row, y) => row.forEach((dark, x) => {
    if (!dark) return;
    for (let i = 0; i < SCALE * SCALE; i += 1) {
      const at = ((QUIET + y) * SCALE + Math.floor(i / SCALE)) * side + (QUIET + x) * SCALE + (i % SCALE);
      pixels.set([0, 0, 0], at * 4);
    }
  }));
  return jsqr(pixels, side, side)?.data;
}

test('every size is read back', () => {
  for (const length of [1, 17, 18, 32, 53, 78, 106, 134, 154, 192, 230, 271]) {
    const text = `http://x/${'7Af-'.repeat(80)}`.slice(0, length);
    assert.equal(read(qr(text)), text, `${length}`);
  }
});

test('links in any script', () => {
  const link = 'https://ห้อง.example/liap/room/3FA9C1';
  assert.equal(read(qr(link)), link);
});

test('what does not fit gives none', () => assert.equal(qr('x'.repeat(272)), null));
