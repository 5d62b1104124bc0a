// The colours of both themes against each other: text at AA, signs at three to one.

import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';

const css = readFileSync(new URL('../../src/http/page/style.css', import.meta.url), 'utf8');
const [dark, light] = [...css.matchAll(/:root \{([^}]*)\}/g)].map((match) => Object.fromEntries([...match[1].matchAll(/--([\w-]+): (#[0-9a-f]{6})\b/g)].map(([, name, value]) => [name, value])));
const themes = { dark, light: { ...dark, ...light } };

const channel = (value) => (value <= 0.03928 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4);
const luminance = (hex) => [0.2126, 0.7152, 0.0722].reduce((sum, weight, i) => sum + weight * channel(Number.parseInt(hex.slice(1 + 2 * i, 3 + 2 * i), 16) / 255), 0);

function contrast(a, b) {
  const [low, high] = [luminance(a), luminance(b)].sort((x, y) => x - y);
  return (high + 0.05) / (low + 0.05);
}

const TEXT = [
  ...['bg', 'surface', 'surface-2', 'button'].flatMap((under) => ['text', 'muted'].map((text) => [text, under])),
  ...['bg', 'surface'].flatMap((under) => ['link', 'warn'].map((text) => [text, under])),
  ...['felt-1', 'felt-2', 'felt-3'].flatMap((under) => ['on-felt', 'on-felt-muted', '#fae0a4'].map((text) => [text, under])),
  ['on-gold', 'gold'], ['red', 'ivory'], ['ink', 'ivory'],
];
const SIGNS = [['mark', 'bg'], ['mark', 'surface'], ['mark', 'button'], ['good', 'surface'], ['#f0c674', 'felt-1']];

for (const [name, colours] of Object.entries(themes)) {
  test(`contrast in the ${name} theme`, () => {
    for (const [pairs, least] of [[TEXT, 4.5], [SIGNS, 3]]) {
      for (const pair of pairs) {
        const found = contrast(...pair.map((colour) => colours[colour] ?? colour));
        assert.ok(found >= least, `${pair.join(' on ')}: ${found.toFixed(2)}`);
      }
    }
  });
}
