// Everything a turn needs is in the window, nothing covers a tile, nothing moves between stages, every number can be read: on phones
// in both directions, on tablets and desks, in both themes. Measured by boxes, not by pixels.

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';

import { finger } from './hands.js';
import { house, openBrowser, situation, visitor } from './house.js';

const SIZES = [[360, 640], [390, 844], [844, 390], [720, 450], [1024, 768], [1440, 900]];
const WITHIN_MS = 90000;

let server;
let browser;

before(async () => {
  [server, browser] = await Promise.all([house({ GAME_PACE: '0.4' }), openBrowser()]);
});
after(async () => {
  await browser?.close();
  await server?.stop();
});

/** What is wrong with the table as it stands: things out of the window, things that cover others, numbers too small. */
const faults = (page) => page.evaluate(() => {
  const box = (element) => element.getBoundingClientRect();
  const name = (element) => `${element.localName}.${element.getAttribute('class') ?? ''}`;
  const all = (selector) => [...document.querySelectorAll(selector)].filter((element) => box(element).width > 0);
  const found = [];
  const needed = all('.bar, .table, .seat, .play, .hand .tile-button:not(.selected), .actions .ask, .actions .buttons button, .chip, .offers, .actions .small, .time-left, .watching');
  for (const element of needed) {
    const { left, top, right, bottom } = box(element);
    if (left < -1 || top < -1 || right > innerWidth + 1 || bottom > innerHeight + 1) found.push(`out of the window: ${name(element)} ${Math.round(left)},${Math.round(top)}-${Math.round(right)},${Math.round(bottom)}`);
  }
  const actions = document.querySelector('.actions');
  if (actions && actions.scrollHeight > actions.clientHeight + 1) found.push(`cut off: .actions ${actions.scrollHeight} in ${actions.clientHeight}`);
  const cover = (a, b) => Math.min(a.right, b.right) - Math.max(a.left, b.left) > 2 && Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top) > 2;
  const tiles = all('.play .flip');
  const others = all('.seat .portrait, .seat .who, .seat .standing, .banner:not(.quiet), .hand, .bar, .actions, .play-mark');
  for (const tile of tiles) {
    for (const other of others) if (cover(box(tile), box(other))) found.push(`${name(other)} covers a tile of ${name(tile.closest('.play'))}`);
    for (const other of tiles) if (other.closest('.play') !== tile.closest('.play') && cover(box(tile), box(other))) found.push(`tiles of ${name(other.closest('.play'))} cover ${name(tile.closest('.play'))}`);
  }
  for (const element of all('.chip')) for (const other of all('.actions .buttons button')) if (cover(box(element), box(other))) found.push('a button covers a number');
  for (const points of all('.tile .points')) {
    const svg = points.ownerSVGElement;
    const height = (Number.parseFloat(getComputedStyle(points).fontSize) * box(svg).width) / svg.viewBox.baseVal.width / (svg.closest('.beaten') ? 0.94 : 1);
    if (height < 11.9) found.push(`a number of ${height.toFixed(1)} px: ${name(svg.parentElement)}`);
    if (getComputedStyle(points).display === 'none') found.push(`a hidden number: ${name(svg.parentElement)}`);
  }
  return [...new Set(found)];
});

const handTop = (page) => page.evaluate(() => Math.round(document.querySelector('.hand').getBoundingClientRect().top));

for (const [width, height] of SIZES) {
  for (const theme of ['dark', 'light']) {
    test(`a turn at ${width}x${height}, ${theme}`, { timeout: WITHIN_MS + 30000 }, async () => {
      const language = theme === 'dark' ? 'en' : 'th'; // the longest words of the three
      const { page, leave } = await visitor(browser, server.url, { width, height, theme, language, calm: true });
      await page.fill('#name', 'Mira');
      await page.click('.choice:not(.primary)');
      const hands = finger(page, false);
      const seen = new Map();
      const tops = new Set();
      const end = Date.now() + WITHIN_MS;
      while (!(seen.get('declare') && seen.get('play true') && seen.get('open') > 1)) {
        assert.ok(Date.now() < end, `not everything came up: ${[...seen.keys()]}`);
        const now = await situation(page);
        const moment = now.open ? 'open' : now.place === 'play' ? `play ${now.ready}` : now.place;
        if (['declare', 'redeal', 'play true', 'play false', 'wait', 'open'].includes(moment) && (seen.get(moment) ?? 0) < 3) {
          seen.set(moment, (seen.get(moment) ?? 0) + 1);
          assert.deepEqual(await faults(page), [], moment);
          if (now.hand > 0) tops.add(await handTop(page));
        }
        if (hands[now.place]) await hands[now.place](now);
        else await page.waitForTimeout(20);
      }
      assert.equal(tops.size, 1, `the hand jumps: ${[...tops]}`);
      await page.click('.bar .icon-button:nth-of-type(2)');
      await page.waitForSelector('.sheet-last .turn-list .tile');
      await leave();
    });
  }
}

/** Puts four plays of `kinds` on the table, all open or face down but for the own one, as the state would have them. */
const lay = (page, type, kinds, open) => page.evaluate(async ([type_, kinds_, open_]) => {
  const { current, update } = await import(document.querySelector('link[href$="/app.js"]').href);
  const { room } = current();
  const plays = room.players.map(({ name }) => ({ player: name, kinds: open_ || name === room.you ? kinds_ : null, count: kinds_.length, type: type_, ids: null }));
  const players = room.players.map((player) => ({ ...player, declared: 7, captured: 3 }));
  update({ room: { ...room, phase: 'turn', players, plays, current: null, pending: null, result: null } });
}, [type, kinds, open]);

for (const [width, height] of SIZES) {
  test(`the longest plays at ${width}x${height}`, { timeout: WITHIN_MS }, async () => {
    const { page, leave } = await visitor(browser, server.url, { width, height, calm: true });
    await page.fill('#name', 'Mira');
    await page.click('.choice:not(.primary)');
    await page.waitForSelector('.hand .tile-button');
    for (const [type, kinds] of [
      ['SINGLE', ['GENERAL_RED']], ['THREE_OF_A_KIND', Array(3).fill('SOLDIER_RED')], ['FOUR_OF_A_KIND', Array(4).fill('SOLDIER_BLACK')],
      ['EXTENDED_STRAIGHT_5', ['GENERAL_RED', 'ADVISOR_RED', 'ADVISOR_RED', 'ELEPHANT_RED', 'ELEPHANT_RED']], ['DOUBLE_STRAIGHT', ['CHARIOT_RED', 'CHARIOT_RED', 'HORSE_RED', 'HORSE_RED', 'CANNON_RED', 'CANNON_RED']],
    ]) {
      for (const open of [false, true]) {
        await lay(page, type, kinds, open);
        assert.deepEqual((await faults(page)).filter((fault) => /tile|number of|play/.test(fault)), [], `${type}, ${open ? 'open' : 'face down'}`);
      }
    }
    await leave();
  });
}
