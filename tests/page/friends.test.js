// A table for friends before its game: who comes by the link sits down, and nobody loses a seat by looking elsewhere.

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';

import { GAME_WITHIN_MS, finger, playOn } from './hands.js';
import { house, openBrowser, visitor } from './house.js';

let server;
let browser;

before(async () => {
  [server, browser] = await Promise.all([house({ GAME_PACE: '0.05' }), openBrowser()]);
});
after(async () => {
  await browser?.close();
  await server?.stop();
});

/** Somebody who opens a table for friends. */
async function host(name, options) {
  const guest = await visitor(browser, server.url, options);
  await guest.page.fill('#name', name);
  await guest.page.click('.choice.primary');
  await guest.page.waitForSelector('.waiting .big');
  return { ...guest, link: await guest.page.inputValue('.share-link') };
}

/** Somebody who comes by the link, gives a name and sits down. */
async function friend(name, link) {
  const guest = await visitor(browser, link);
  await guest.page.fill('#name', name);
  await guest.page.click('.entrance .primary');
  await guest.page.waitForSelector('.waiting');
  return guest;
}

const seats = (page) => page.$$eval('.open-seat', (list) => list.map((seat) => seat.querySelector('.taken-seat > .name')?.textContent ?? 'free'));
const sits = (page, name) => page.waitForSelector(`.taken-seat > .name >> text=${name}`);
/** Counts in `tones` how often a tone begins. */
const countTones = (page) => page.evaluate(() => {
  globalThis.tones = 0;
  const { start } = OscillatorNode.prototype;
  OscillatorNode.prototype.start = function count(...when) {
    globalThis.tones += 1;
    return start.apply(this, when);
  };
});
const at = (page, path) => page.waitForURL((url) => (path instanceof RegExp ? path.test(url.pathname) : url.pathname === path));

test('friends take bots\' seats by the link, the host is told with a sound, and the fifth watches', { timeout: 120000 }, async () => {
  const mira = await host('Mira');
  await countTones(mira.page);
  await mira.page.click('.waiting .below > .ghost'); // fill with bots
  await mira.page.waitForSelector('.free-seat', { state: 'detached' });

  const jon = await friend('Jon', mira.link);
  await sits(jon.page, 'Jon (you)');
  await mira.page.waitForSelector('.notes >> text=Jon sits down.');
  assert.equal(await mira.page.evaluate(() => globalThis.tones), 0, 'the sound is off at first');
  assert.deepEqual(await seats(mira.page), ['Mira (you)', 'Bot 2', 'Bot 3', 'Jon']);

  await mira.page.evaluate(() => localStorage.setItem('liap.sound', 'true'));
  await mira.page.reload();
  await mira.page.waitForSelector('.waiting .big');
  await countTones(mira.page);
  const mali = await friend('Mali', mira.link);
  await mira.page.waitForSelector('.notes >> text=Mali sits down.');
  assert.ok(await mira.page.evaluate(() => globalThis.tones) > 0);
  const tan = await friend('Tan', mira.link);
  await sits(mira.page, 'Tan');
  assert.deepEqual(await seats(mira.page), ['Mira (you)', 'Tan', 'Mali', 'Jon']);

  const eve = await friend('Eve', mira.link);
  await eve.page.waitForSelector('text=All seats are taken. You are watching.');
  await tan.page.click('.leave'); // costs nobody else anything, so nobody is asked
  await mira.page.waitForSelector('.notes >> text=Tan has left the table.');
  await eve.page.click('.waiting .big');
  await sits(eve.page, 'Eve (you)');
  assert.equal(await eve.page.locator('.notes >> text=Eve').count(), 0, 'nobody is told of himself');
  await mira.page.click('.waiting .big');
  await Promise.all([mira, jon, mali, eve].map(({ page }) => page.waitForSelector('.hand .tile-button')));
  for (const { leave } of [mira, jon, mali, tan, eve]) await leave();
});

test('the start fills open seats with bots', { timeout: 60000 }, async () => {
  const mira = await host('Mira');
  assert.deepEqual(await seats(mira.page), ['Mira (you)', 'free', 'free', 'free']);
  await mira.page.click('text=Start with 3 bots');
  await mira.page.waitForSelector('.hand .tile-button');
  await mira.leave();
});

test('who has a name sits down in one tap, and never without it', { timeout: 60000 }, async () => {
  const mira = await host('Mira');
  const jon = await visitor(browser, server.url);
  await jon.page.fill('#name', 'Jon');
  await jon.page.goto(mira.link);
  await jon.page.waitForSelector('.entrance');
  assert.deepEqual(await seats(mira.page), ['Mira (you)', 'free', 'free', 'free']);
  await jon.page.click('.entrance .primary');
  await sits(jon.page, 'Jon (you)');
  for (const { leave } of [mira, jon]) await leave();
});

test('a watcher without a name is asked for one when he sits down', { timeout: 60000 }, async () => {
  const mira = await host('Mira');
  const eve = await visitor(browser, mira.link);
  await eve.page.click('.entrance .ghost');
  await eve.page.click('.waiting .big');
  await eve.page.waitForSelector('#name-error');
  await eve.page.fill('#name', 'Eve');
  await eve.page.click('.entrance .primary');
  await sits(eve.page, 'Eve (you)');
  for (const { leave } of [mira, eve]) await leave();
});

test('Back from a waiting table gives up nothing, and Forward returns to the seat', { timeout: 90000 }, async () => {
  const mira = await host('Mira');
  const jon = await visitor(browser, server.url);
  await jon.page.fill('#name', 'Jon');
  await jon.page.fill('#code', mira.link.split('/').at(-1));
  await jon.page.click('.by-code .ghost');
  await sits(jon.page, 'Jon (you)');

  // The guest: one step back is the door.
  await jon.page.goBack();
  await at(jon.page, '/');
  await jon.page.waitForSelector('.kept');
  await mira.page.waitForSelector('.taken-seat >> text=away');
  await jon.page.goForward();
  await sits(jon.page, 'Jon (you)');
  await mira.page.waitForSelector('.taken-seat >> text=away', { state: 'detached' });

  // The host: the table stays for all.
  await mira.page.goBack();
  await at(mira.page, '/');
  await jon.page.waitForSelector('.taken-seat >> text=away');
  await jon.page.goBack();
  await mira.page.waitForSelector('.open-tables p >> text=No table is open.'); // where nobody is, nobody is invited
  await jon.page.goForward();
  await mira.page.click('.kept a');
  await mira.page.waitForSelector('.waiting .big');
  assert.deepEqual(await seats(mira.page), ['Mira (you)', 'Jon', 'free', 'free']);
  assert.equal(await jon.page.locator('.notes p').count(), 0, 'nobody left and nobody came');
  for (const { leave } of [mira, jon]) await leave();
});

test('a table is closed for others only by a button that asks first', { timeout: 90000 }, async () => {
  const mira = await host('Mira');
  const jon = await friend('Jon', mira.link);
  await sits(mira.page, 'Jon');
  await mira.page.click('.leave');
  await mira.page.waitForSelector('.sheet-leave');
  await mira.page.click('.sheet-leave .ghost');
  await mira.page.waitForSelector('.sheet-leave', { state: 'detached' });
  assert.deepEqual(await seats(jon.page), ['Mira', 'Jon (you)', 'free', 'free']);
  await mira.page.click('.leave');
  await mira.page.click('.sheet-leave .primary');
  await at(mira.page, '/');
  await jon.page.waitForSelector('text=The host left, and the table was cleared.');
  assert.equal(await mira.page.locator('.kept').count(), 0, 'a seat that was given up is not kept');
  // Forward leads to the address, not to a seat.
  await mira.page.goForward();
  await at(mira.page, /^\/room\//);
  await mira.page.waitForSelector('.entrance');
  for (const { leave } of [mira, jon]) await leave();
});

test('who leaves comes out where he came in', { timeout: 60000 }, async () => {
  const mira = await host('Mira');
  const jon = await friend('Jon', mira.link);
  // By a link there is no door behind: it takes the place of the table.
  const steps = await jon.page.evaluate(() => history.length);
  await jon.page.click('.leave');
  await jon.page.waitForSelector('.choices');
  await at(jon.page, '/');
  assert.equal(await jon.page.evaluate(() => history.length), steps);
  // From the door: one step back.
  await mira.page.click('.leave');
  await mira.page.waitForSelector('.choices');
  await at(mira.page, '/');
  for (const { leave } of [mira, jon]) await leave();
});

test('a game that was left is found again on the door', { timeout: 60000 }, async () => {
  const mira = await host('Mira');
  await mira.page.click('.waiting .big');
  await mira.page.waitForSelector('.hand .tile-button');
  await mira.page.click('.bar .icon-button');
  await mira.page.click('.sheet-leave .primary');
  await mira.page.click('.kept a');
  await mira.page.waitForSelector('.game');
  assert.equal(await mira.page.locator('.watching').count(), 0, 'she plays again');
  await mira.leave();
});

test('a game that was left is found again from another tab', { timeout: 60000 }, async () => {
  const mira = await host('Mira');
  await mira.page.click('.waiting .big');
  await mira.page.waitForSelector('.hand .tile-button');
  const id = mira.page.url().split('/').at(-1);
  const door = await mira.page.context().newPage();
  await door.goto(server.url);
  await door.waitForSelector(`.kept a[href="room/${id}"]`);
  await mira.leave();
});

/** Two friends and two bots, at the end of their game. */
async function finished() {
  const mira = await host('Mira');
  const jon = await friend('Jon', mira.link);
  await sits(mira.page, 'Jon');
  await mira.page.click('.waiting .big');
  await Promise.all([mira, jon].map(({ page }) => playOn(page, finger(page, false))));
  return { mira, jon };
}

test('all who play again meet at one table, whoever presses first, with open seats and the same bots', { timeout: 2 * GAME_WITHIN_MS }, async () => {
  const { mira, jon } = await finished();
  const old = mira.page.url();
  // Both at once: the first one named counts.
  await Promise.all([mira, jon].map(({ page }) => page.click('.finish .primary')));
  await Promise.all([mira, jon].map(({ page }) => page.waitForSelector('.waiting .taken-seat')));
  await mira.page.waitForFunction(() => [...document.querySelectorAll('.taken-seat > .name')].some((name) => name.textContent === 'Jon'));
  assert.equal(mira.page.url(), jon.page.url());
  assert.notEqual(mira.page.url(), old);
  await mira.page.waitForFunction(() => document.querySelectorAll('.taken-seat').length === 4);
  assert.equal((await seats(mira.page)).filter((name) => name.startsWith('Bot')).length, 2);
  for (const { leave } of [mira, jon]) await leave();
});

test('who looks at the result is asked to the next table, and the link of the old one shows its result', { timeout: 2 * GAME_WITHIN_MS }, async () => {
  const { mira, jon } = await finished();
  const old = new URL(mira.page.url()).pathname;
  await mira.page.click('.finish .primary');
  await mira.page.waitForSelector('.waiting .big');
  await jon.page.waitForSelector('.finish >> text=Mira has set up the next table.');
  await jon.page.reload(); // the old table still knows
  await jon.page.click('text=Sit down at the next table');
  await sits(mira.page, 'Jon');
  assert.equal(new URL(jon.page.url()).pathname, new URL(mira.page.url()).pathname);

  const late = await visitor(browser, new URL(old, server.url).href);
  await late.page.waitForSelector('.last-game a[href^="replay/"]');
  await late.page.fill('#name', 'Eve');
  await late.page.click('.entrance .primary');
  await late.page.waitForSelector('.finish, .quiet-place .last-game'); // the table may still be there, or be gone
  await late.page.click('a[href^="replay/"]');
  await late.page.waitForSelector('.replay .range');
  for (const { leave } of [mira, jon, late]) await leave();
});

const folder = process.env.SCREENSHOTS;

test('screenshots of a table for friends', { skip: folder ? false : 'SCREENSHOTS names no folder', timeout: 400000 }, async () => {
  for (const [size, width, height] of [['phone', 360, 740], ['desk', 1280, 800]]) {
    for (const theme of ['dark', 'light']) {
      const shoot = (page, name) => page.waitForTimeout(300).then(() => page.screenshot({ path: `${folder}/${size}-${theme}-friends-${name}.png` }));
      const mira = await host('Mira', { width, height, theme });
      await shoot(mira.page, '1-open');
      const entrance = await visitor(browser, mira.link, { width, height, theme });
      await shoot(entrance.page, '2-entrance');
      await entrance.page.click('.entrance .ghost');
      await entrance.page.waitForSelector('.waiting .big');
      await shoot(entrance.page, '3-watching');
      const jon = await friend('Jon', mira.link);
      await mira.page.waitForSelector('.notes p');
      await shoot(mira.page, '4-sits');
      await mira.page.click('.leave');
      await shoot(mira.page, '5-leave');
      await mira.page.keyboard.press('Escape');
      await jon.page.goto(server.url);
      await mira.page.waitForSelector('text=away');
      await shoot(mira.page, '6-away');
      await mira.page.goBack();
      await mira.page.waitForSelector('.kept');
      await shoot(mira.page, '7-door');
      for (const { leave } of [mira, jon, entrance]) await leave();
    }
  }
});
