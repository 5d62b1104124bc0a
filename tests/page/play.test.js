// Whole games against the real server in headless Chromium: by keyboard alone, by touch, with a reload, a watcher and a
// friend; and what must never happen on the way.

import assert from 'node:assert/strict';
import { createRequire } from 'node:module';
import { readFileSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { gzipSync } from 'node:zlib';

import { GAME_WITHIN_MS, finger, keys, playOn } from './hands.js';
import { house, openBrowser, situation, visitor } from './house.js';

const AXE = readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8');
const PAGE = new URL('../../src/http/page/', import.meta.url);

let server;
let browser;

before(async () => {
  [server, browser] = await Promise.all([house({ GAME_PACE: '0.01' }), openBrowser()]);
});
after(async () => {
  await browser?.close();
  await server?.stop();
});

async function assertAccessible(page, where) {
  await page.evaluate(AXE);
  const found = await page.evaluate(() => globalThis.axe.run(document, { resultTypes: ['violations'] }));
  assert.deepEqual(found.violations.map((violation) => `${where}: ${violation.id}: ${violation.nodes.map((node) => `${node.target} ${node.failureSummary}`).join('; ')}`), []);
}

test('a whole game by keyboard alone, from the address on', { timeout: GAME_WITHIN_MS + 60000 }, async () => {
  const { page, leave } = await visitor(browser, server.url, { width: 1280, height: 800 });
  await page.waitForSelector('#name');
  await page.focus('#name');
  await page.keyboard.type('Mira');
  await page.keyboard.press('Tab');
  await page.keyboard.press('Tab');
  await page.keyboard.press('Enter');
  const seen = await playOn(page, keys(page));
  assert.ok(seen.has('declare') && seen.has('play'));
  await page.waitForSelector('.seal.good');
  await page.click('.seal .link');
  assert.equal(await page.locator('.checks .good').count(), 4);
  await page.keyboard.press('Escape');
  await leave();
});

test('a whole game by touch on a phone', { timeout: GAME_WITHIN_MS + 60000 }, async () => {
  const { page, leave } = await visitor(browser, server.url, { touch: true, theme: 'light', language: 'th' });
  await page.tap('#name');
  await page.keyboard.type('ภูผา');
  await page.tap('.choice:not(.primary)');
  await playOn(page, finger(page));
  await page.waitForSelector('.seal.good');
  await leave();
});

/** Plays until it is our turn in a running turn. */
async function untilMyTurn(page) {
  const hands = keys(page);
  for (;;) {
    const now = await situation(page);
    if (now.place === 'play') return;
    if (hands[now.place]) await hands[now.place](now);
    else await page.waitForTimeout(15);
  }
}

const handOf = (page) => page.$$eval('.tile-button', (tiles) => tiles.map((tile) => tile.dataset.name).sort());

test('a reload, then a restart of the server, in the middle of a turn: the same hand comes back', { timeout: 180000 }, async () => {
  const slower = await house({ GAME_PACE: '0.5' }); // time to come back before a bot takes the seat
  const { page, leave } = await visitor(browser, slower.url);
  await page.fill('#name', 'Jon');
  await page.click('.choice:not(.primary)');
  await untilMyTurn(page);
  const held = await handOf(page);
  await page.reload();
  await page.waitForSelector('.offers');
  assert.deepEqual(await handOf(page), held);
  if (slower.restart) {
    await slower.restart(() => page.waitForSelector('.link-line'));
    await page.waitForSelector('.link-line', { state: 'detached' });
    await page.waitForSelector('.tile-button');
    const back = await handOf(page);
    assert.ok(back.length > 0 && back.every((name) => held.includes(name)), `${back} of ${held}`);
  }
  await leave();
  await slower.stop();
});

test('the focus stays in the hand after a play, and the result is left by a key', { timeout: 90000 }, async () => {
  const slower = await house({ GAME_PACE: '0.5' });
  const { page, leave } = await visitor(browser, slower.url, { calm: true });
  await page.fill('#name', 'Jon');
  await page.click('.choice:not(.primary)');
  await untilMyTurn(page);
  const hands = keys(page);
  const before = await page.locator('.tile-button').count();
  while (await page.locator('.tile-button').count() === before) {
    const now = await situation(page);
    if (now.place === 'play') await hands.play(now);
    else break;
  }
  await page.waitForFunction((count) => document.querySelectorAll('.tile-button').length < count, before);
  assert.ok(await page.evaluate(() => document.activeElement.matches('.hand .tile-button')), await page.evaluate(() => document.activeElement.outerHTML.slice(0, 80)));
  await page.waitForSelector('.play.best');
  const marks = await page.$$eval('.play-mark', (list) => list.map((mark) => mark.textContent));
  assert.equal(marks.length, 4);
  assert.ok(marks.every((mark) => /^thrown away$|^[a-z ]+ \d+$/.test(mark)), marks.join());
  assert.ok(await page.isVisible('.actions >> text=Go on'));
  await leave();
  await slower.stop();
});

test('a second window takes the seat over, and gives it back', { timeout: 60000 }, async () => {
  const { page, leave } = await visitor(browser, server.url);
  await page.fill('#name', 'Ann');
  await page.click('.choice.primary');
  await page.waitForSelector('.waiting .big');
  const second = await page.context().newPage();
  await second.goto(page.url());
  await second.waitForSelector('.waiting .big');
  await page.click('.link-line .primary');
  await page.waitForSelector('.link-line', { state: 'detached' });
  await second.waitForSelector('.link-line .primary');
  await leave();
});

test('a friend comes by the link, a third one watches and sees no hand', { timeout: 60000 }, async () => {
  const mira = await visitor(browser, server.url);
  await mira.page.fill('#name', 'Mira');
  await mira.page.click('.choice.primary');
  await mira.page.waitForSelector('.waiting .big');
  assert.equal(await mira.page.locator('.free-seat').count(), 3, 'a table for friends has open seats');
  const link = await mira.page.inputValue('.share-link');

  const jon = await visitor(browser, link);
  await jon.page.fill('#name', 'Jon');
  await jon.page.click('.primary');
  await jon.page.waitForSelector('.taken-seat >> text=Jon (you)');
  await mira.page.waitForSelector('.taken-seat >> text=Jon');
  await mira.page.click('.big');
  await Promise.all([mira, jon].map(({ page }) => page.waitForSelector('.hand .tile-button')));

  const watcher = await visitor(browser, link);
  await watcher.page.fill('#name', 'Ann');
  await watcher.page.click('.primary');
  await watcher.page.waitForSelector('.watching');
  assert.equal(await watcher.page.locator('.tile-button').count(), 0);
  for (const { leave } of [mira, jon, watcher]) await leave();
});

test('who comes late finds the turns that were won before', { timeout: 90000 }, async () => {
  const mira = await visitor(browser, server.url, { width: 1280, height: 800 });
  await mira.page.fill('#name', 'Mira');
  await mira.page.click('.choice:not(.primary)');
  const hands = keys(mira.page);
  const turns = () => mira.page.locator('.side .turn-list > li').count();
  // Until she is to play, with a turn behind her: there she leaves the table waiting.
  for (;;) {
    const now = await situation(mira.page);
    if (now.place === 'play' && (await turns()) > 0) break;
    if (hands[now.place]) await hands[now.place](now);
    else await mira.page.waitForTimeout(15);
  }
  const known = await turns();
  const late = await visitor(browser, mira.page.url(), { width: 1280, height: 800 });
  await late.page.click('.entrance .ghost');
  await late.page.waitForFunction((count) => document.querySelectorAll('.side .turn-list > li').length === count, known);
  assert.ok((await late.page.locator('.side .turn-list > li').first().locator('.tile').count()) >= 4);
  for (const { leave } of [late, mira]) await leave();
});

test('the whole page lives below a base path', { timeout: 90000 }, async () => {
  const below = await house({ GAME_PACE: '0.01', BASE_PATH: '/liap' });
  const url = new URL('/liap/', below.url).href;
  const { page, leave } = await visitor(browser, url);
  await page.fill('#name', 'Mira');
  await page.click('.choice:not(.primary)');
  await page.waitForSelector('.hand .tile-button');
  assert.match(page.url(), /\/liap\/room\/[0-9A-F]{6}$/);
  await page.reload();
  await page.waitForSelector('.game');
  await leave();
  await below.stop();
});

test('axe finds nothing for those who do not see or do not use a mouse', { timeout: 2 * GAME_WITHIN_MS }, async () => {
  for (const theme of ['dark', 'light']) {
    const { page, leave } = await visitor(browser, server.url, { theme, calm: true });
    await page.waitForSelector('.open-tables');
    await assertAccessible(page, `door, ${theme}`);
    await page.fill('#name', 'Mira');
    await page.click('.choice.primary');
    await page.waitForSelector('.waiting .big');
    await assertAccessible(page, `waiting, ${theme}`);
    await page.click('.big');
    const checked = new Set();
    const hands = finger(page, false);
    await playOn(page, hands, async ({ place }) => {
      if (checked.has(place)) return;
      checked.add(place);
      await assertAccessible(page, `${place}, ${theme}`);
    });
    await page.click('.seal .link');
    await assertAccessible(page, `fairness, ${theme}`);
    await leave();
  }
});

test('targets are large enough for a finger', { timeout: 60000 }, async () => {
  const { page, leave } = await visitor(browser, server.url, { touch: true, calm: true });
  const small = () => page.$$eval('button, select, a.button, input:not([type="range"])', (elements) => elements
    .filter((element) => element.offsetParent !== null).map((element) => [element.className || element.localName, element.getBoundingClientRect()])
    .filter(([, { width, height }]) => width < 43.5 || height < 43.5).map(([name, { width, height }]) => `${name} ${width}x${height}`));
  assert.deepEqual(await small(), []);
  await page.fill('#name', 'Mira');
  await page.tap('.choice:not(.primary)');
  const hands = finger(page);
  for (const wanted of ['declare', 'play']) {
    for (;;) {
      const now = await situation(page);
      if (now.place === wanted) break;
      if (hands[now.place]) await hands[now.place](now);
      else await page.waitForTimeout(15);
    }
    assert.deepEqual(await small(), [], wanted);
  }
  await leave();
});

const folder = process.env.SCREENSHOTS;

test('screenshots of every place', { skip: folder ? false : 'SCREENSHOTS names no folder', timeout: 4 * GAME_WITHIN_MS }, async () => {
  const slower = await house({ GAME_PACE: '0.08' });
  const visits = [['phone', 360, 740], ['desk', 1280, 800]].flatMap(([size, width, height]) => ['dark', 'light'].map((theme) => ({ size, width, height, theme })));
  try {
    for (const visit of visits) await photograph(slower.url, visit);
  } finally {
    await slower.stop();
  }
});

async function photograph(url, { size, width, height, theme }) {
  const { page, leave } = await visitor(browser, url, { width, height, theme });
  const taken = new Map();
  const shoot = async (name, wait = 300, most = 1) => {
    const count = (taken.get(name) ?? 0) + 1;
    if (count > most) return;
    taken.set(name, count);
    await page.waitForTimeout(wait);
    await page.screenshot({ path: join(folder, `${size}-${theme}-${name}${count > 1 ? `-${count}` : ''}.png`) });
  };
  await page.waitForSelector('.how');
  await shoot('1-door');
  await page.fill('#name', 'Mira');
  await page.click('.choice.primary');
  await page.waitForSelector('.waiting .big');
  await shoot('2-waiting');
  await page.click('.big');
  const hands = finger(page);
  const click = (selector) => page.click(selector, { timeout: 1000 }).catch(() => {});
  await playOn(page, { ...hands,
    redeal: () => click('.actions .primary'),
    declare: ({ ready }) => click(ready ? '.actions .primary' : '.chip:not(.barred):nth-child(n+3)'),
    play: ({ ready, offers }) => click(ready ? '.actions .primary' : offers ? '.offer' : '.hand .tile-button'),
    scores: () => page.waitForTimeout(50),
  }, async ({ place, ready, open }) => {
    if (place === 'declare' && ready) await shoot('3-declaring');
    if (place === 'play' && ready) await shoot('4-playing', 300, 3);
    if (place === 'redeal') await shoot('3-redeal');
    if (place === 'wait' && open) await shoot('5-turn', 300, 2);
    if (place === 'scores') await shoot('6-scores');
  });
  await shoot('7-over', 400);
  await page.click('.seal .link');
  await shoot('8-fairness');
  await page.keyboard.press('Escape');
  const replay = page.locator('.finish a[href^="replay/"]');
  if (await replay.count()) {
    await replay.click();
    await page.waitForSelector('.replay .range');
    for (let i = 0; i < 8; i += 1) await page.keyboard.press('ArrowRight');
    await page.locator('.view-of button').last().click();
    await shoot('9-replay');
    for (const [name, address] of [['9-history', 'history'], ['9-player', 'player/Mira'], ['9-leaderboard', 'leaderboard']]) {
      await page.goto(new URL(address, url).href);
      await page.waitForTimeout(300);
      await shoot(name);
    }
  }
  await leave();
}

test('the page can be installed, below a base path too', { timeout: 60000 }, async () => {
  const below = await house({ BASE_PATH: '/liap' });
  const { page, leave } = await visitor(browser, new URL('/liap/', below.url).href);
  const devtools = await page.context().newCDPSession(page);
  const { url, errors, manifest } = await devtools.send('Page.getAppManifest');
  assert.match(url, /\/liap\/assets\/[0-9a-f]+\/manifest\.webmanifest$/);
  assert.deepEqual(errors, []);
  assert.equal(manifest.startUrl, new URL('/liap/', below.url).href);
  for (const icon of manifest.icons) assert.ok((await fetch(icon.url)).ok, icon.url);
  const { installabilityErrors } = await devtools.send('Page.getInstallabilityErrors');
  assert.deepEqual(installabilityErrors.filter(({ errorId }) => errorId !== 'in-incognito'), []);
  await leave();
  await below.stop();
});

test('every module is fetched at once, not one after another', () => {
  const html = readFileSync(new URL('index.html', PAGE), 'utf8');
  const named = [...html.matchAll(/"assets\/(\w+\.js)"/g)].map((match) => match[1]).sort();
  assert.deepEqual(named, readdirSync(PAGE).filter((name) => name.endsWith('.js')).sort());
});

test('the page weighs at most 150 KiB', () => {
  const bytes = readdirSync(PAGE).map((name) => gzipSync(readFileSync(new URL(name, PAGE))).length).reduce((a, b) => a + b, 0);
  assert.ok(bytes <= 150 * 1024, `${bytes} bytes`);
});
