// The administrators' page against the real server in headless Chromium, on a phone and on a desk, in both themes.

import assert from 'node:assert/strict';
import { createRequire } from 'node:module';
import { readFileSync } from 'node:fs';
import { after, before, test } from 'node:test';

import { bytes, details, sample, span, withSample } from '../../src/http/admin/page/figures.js';
import { house, openBrowser, visitor } from './house.js';

const AXE = readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8');
const TOKEN = 'planted-secret-0123456789';

let server;
let browser;

before(async () => {
  [server, browser] = await Promise.all([house({ GAME_PACE: '0.01', ADMIN_TOKEN: TOKEN }), openBrowser()]);
});
after(async () => {
  await browser?.close();
  await server?.stop();
});

async function assertAccessible(page, where) {
  await page.evaluate(AXE);
  const found = await page.evaluate(() => globalThis.axe.run(document, { resultTypes: ['violations'] }));
  const serious = found.violations.filter((violation) => violation.impact === 'serious' || violation.impact === 'critical');
  assert.deepEqual(serious.map((violation) => `${where}: ${violation.id}: ${violation.nodes.map((node) => `${node.target} ${node.failureSummary}`).join('; ')}`), []);
}

const wide = (page) => page.evaluate(() => document.documentElement.scrollWidth > globalThis.innerWidth);

async function signedIn(options) {
  const guest = await visitor(browser, new URL('admin', server.url).href, options);
  await guest.page.fill('#token', TOKEN);
  await guest.page.keyboard.press('Enter');
  await guest.page.waitForSelector('.desk .chart');
  return guest;
}

/** A player with a room of his own. */
async function player(name) {
  const guest = await visitor(browser, server.url);
  await guest.page.fill('#name', name);
  await guest.page.click('.choice.primary');
  await guest.page.waitForSelector('.waiting .big');
  return { ...guest, room: guest.page.url().split('/').at(-1) };
}

test('nobody sees a figure without the token, which is kept in the tab alone', { timeout: 60000 }, async () => {
  const { page, complaints, leave } = await visitor(browser, new URL('admin', server.url).href);
  await page.fill('#token', 'wrong-secret-0123456789');
  await page.keyboard.press('Enter');
  await page.waitForSelector('.sign-in .reason');
  // The browser writes the refusal down by itself.
  assert.equal(complaints.splice(0).every((complaint) => complaint.includes('401')), true);
  assert.equal(await page.locator('.desk').count(), 0);
  await page.fill('#token', TOKEN);
  await page.keyboard.press('Enter');
  await page.waitForSelector('.desk .chart');
  assert.ok(!page.url().includes(TOKEN));
  const kept = await page.evaluate(() => [document.cookie, JSON.stringify(localStorage), document.documentElement.outerHTML].join());
  assert.ok(!kept.includes(TOKEN));
  assert.equal((await page.context().cookies()).length, 0);
  await page.reload();
  await page.waitForSelector('.desk .chart');
  const another = await page.context().newPage();
  await another.goto(page.url());
  await another.waitForSelector('#token');
  await page.click('.desk-bar .ghost');
  await page.waitForSelector('#token');
  await page.reload();
  await page.waitForSelector('#token');
  await leave();
});

test('a room is seen, followed and closed, and its players are told', { timeout: 60000 }, async () => {
  const admin = await signedIn({ width: 1280, height: 800 });
  const mira = await player('Mira');
  await admin.page.waitForSelector(`.event-list li:has-text("room opened"):has-text("${mira.room}")`);
  await admin.page.waitForSelector(`.room-list li:has-text("${mira.room}")`);
  await admin.page.fill('#filter', 'nothing like this');
  await admin.page.waitForFunction(() => document.querySelectorAll('.event-list li').length === 0);
  await admin.page.fill('#filter', mira.room);
  await admin.page.waitForSelector('.event-list li');
  await admin.page.click(`[aria-label="Close room ${mira.room}"]`);
  await admin.page.waitForSelector('dialog[open]');
  await assertAccessible(admin.page, 'dialog');
  await admin.page.keyboard.press('Escape');
  await admin.page.waitForSelector('dialog', { state: 'detached' });
  await admin.page.click(`[aria-label="Close room ${mira.room}"]`);
  await admin.page.fill('#message', 'We clean the tables.');
  await admin.page.click('dialog .primary');
  await admin.page.waitForSelector(`text=Room ${mira.room} is closed.`);
  await mira.page.waitForSelector('.quiet-place .button.primary');
  await admin.page.waitForSelector(`.room-list li:has-text("${mira.room}")`, { state: 'detached' });
  for (const { leave } of [mira, admin]) await leave();
});

test('every action says what came of it', { timeout: 60000 }, async () => {
  const { page, leave } = await signedIn({ touch: true });
  await page.click('text=Drain: take nobody new');
  await page.waitForSelector('.desk-bar .pill:has-text("draining")');
  await page.click('text=Take newcomers again');
  await page.waitForSelector('.desk-bar .pill:has-text("ready")');
  await page.click('text=Flush the archive');
  await page.waitForSelector('text=Every completed game is on disk.');
  await page.click('text=Give memory back');
  await page.waitForSelector('text=/MiB were given back/');
  await page.selectOption('.level select', 'debug');
  await page.waitForSelector('text=The log begins at debug now.');
  await page.waitForSelector('.event-list li:has-text("set_log_level")');
  await leave();
});

test('on a phone and on a desk, in both themes', { timeout: 90000 }, async () => {
  for (const theme of ['dark', 'light']) {
    for (const [width, height] of [[360, 740], [1280, 800]]) {
      const where = `${width}, ${theme}`;
      const first = await visitor(browser, new URL('admin', server.url).href, { width, height, theme });
      await assertAccessible(first.page, `sign in, ${where}`);
      await first.leave();
      const { page, leave } = await signedIn({ width, height, theme });
      await page.waitForSelector('.event-list li');
      // A line needs two looks at the server.
      await page.waitForFunction(() => document.querySelector('.chart-line')?.getAttribute('d')?.includes('L'));
      assert.equal(await wide(page), false, where);
      await assertAccessible(page, where);
      const small = await page.$$eval('button, select, input', (elements) => elements.filter((element) => element.offsetParent !== null)
        .map((element) => [element.textContent, element.getBoundingClientRect()]).filter(([, { width: w, height: h }]) => w < 43.5 || h < 43.5).map(([name]) => name));
      assert.deepEqual(small, [], where);
      if (process.env.LIAP_SHOTS) await page.screenshot({ path: `${process.env.LIAP_SHOTS}/admin-${width}-${theme}.png`, fullPage: true });
      await leave();
    }
  }
});

test('a connection that is lost comes back by itself', { timeout: 60000 }, async () => {
  const own = await house({ ADMIN_TOKEN: TOKEN, SHUTDOWN_TIMEOUT_SECONDS: '5' });
  if (!own.restart) return;
  const { page, complaints, leave } = await visitor(browser, new URL('admin', own.url).href);
  await page.fill('#token', TOKEN);
  await page.keyboard.press('Enter');
  await page.waitForSelector('.pill:has-text("live")');
  await own.restart(() => page.waitForSelector('.pill:has-text("connection lost")'));
  await page.waitForSelector('.desk-bar .pill:has-text("connection lost")', { state: 'detached' });
  await page.waitForSelector('.event-list li:has-text("server stopping") ~ li, .event-list li:has-text("server started")');
  await page.waitForSelector('.pill:has-text("live")');
  assert.equal(complaints.splice(0).every((complaint) => /ERR_|network/i.test(complaint)), true);
  await leave();
  await own.stop();
});

test('figures become rates, and a server that began anew has none at first', () => {
  const at = (ms, actions) => ({ at: ms, rooms: { playing: 1 }, sockets: { open: 2 }, memory: { resident_bytes: 3 }, totals: { actions, sent_bytes: 10 * actions, http_requests: 0 } });
  assert.equal(sample(at(0, 5), null).actions, null);
  assert.equal(sample(at(2000, 25), at(0, 5)).actions, 10);
  assert.equal(sample(at(2000, 25), at(0, 5)).sent, 100);
  assert.equal(sample(at(2000, 1), at(0, 5)).actions, null);
  assert.equal(Array.from({ length: 400 }).reduce((samples) => withSample(samples, {}), []).length, 150);
  assert.deepEqual([bytes(0), bytes(1536), bytes(200 * 1024 * 1024)], ['0 B', '1.5 KiB', '200 MiB']);
  assert.deepEqual([span(0), span(61), span(3600), span(90000)], ['0 s', '1 min 1 s', '1 h', '1 d 1 h']);
  assert.equal(details({ number: 1, at: 'x', kind: 'y', room: '3FA9C1', used_bytes: 2048 }), 'room 3FA9C1, used 2.0 KiB');
});
