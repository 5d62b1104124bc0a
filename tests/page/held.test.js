// The way to the server between the page and us: connections that are taken and not answered, links that fall silent, a server that is
// gone. The page is back within ten seconds of the way's return, and says meanwhile what is the case.

import assert from 'node:assert/strict';
import { connect, createServer } from 'node:net';
import { after, before, test } from 'node:test';

import { house, openBrowser, situation, visitor } from './house.js';

const BACK_WITHIN_MS = 10000;

let server;
let browser;
let way;

/** A way to the server that can be held: connections are taken, but nothing passes any more, in either direction. */
async function holdableWay(url) {
  const target = new URL(url);
  const sockets = new Set();
  let held = false;
  let unanswered = () => {};
  const listener = createServer((near) => {
    if (held) unanswered();
    const far = connect(target.port, target.hostname);
    for (const [from, to] of [[near, far], [far, near]]) {
      sockets.add(from);
      from.on('data', (data) => !from.isMuted && to.write(data));
      from.on('close', () => {
        sockets.delete(from);
        to.destroy();
      });
      from.on('error', () => {});
      from.isMuted = held;
    }
  });
  await new Promise((resolve) => listener.listen(0, '127.0.0.1', resolve));
  return {
    url: `http://127.0.0.1:${listener.address().port}/`,
    /** What passes now stays silent for ever; so does what comes, until `open`. */
    hold() {
      held = true;
      for (const socket of sockets) socket.isMuted = true;
    },
    open: () => { held = false; },
    /** Waits until so many more connections have been taken and not answered. */
    taken: (count) => new Promise((resolve) => {
      let left = count;
      unanswered = () => {
        left -= 1;
        if (left === 0) resolve();
      };
    }),
    close() {
      listener.close();
      for (const socket of sockets) socket.destroy();
    },
  };
}

before(async () => {
  [server, browser] = await Promise.all([house({ GAME_PACE: '0.5' }), openBrowser()]);
  way = await holdableWay(server.url);
});
after(async () => {
  await browser?.close();
  way?.close();
  await server?.stop();
});

/** Somebody in a game with bots, by the way that can be held. */
async function player() {
  const guest = await visitor(browser, way.url);
  await guest.page.fill('#name', 'Mira');
  await guest.page.click('.choice:not(.primary)');
  await guest.page.waitForSelector('.hand .tile-button');
  return guest;
}

test('a link that falls silent is noticed, and connections that are taken but not answered do not hold the page up', { timeout: 120000 }, async () => {
  const { page, leave } = await player();
  way.hold();
  await page.waitForSelector('.link-line >> text=Connection lost', { timeout: 20000 });
  assert.match(await page.innerText('.link-line'), /If the game goes on meanwhile/);
  await way.taken(2); // one attempt after the other is not answered
  way.open();
  const open = Date.now();
  await page.waitForSelector('.link-line', { state: 'detached', timeout: BACK_WITHIN_MS });
  assert.ok(Date.now() - open < BACK_WITHIN_MS);
  await leave();
});

test('coming back to the page begins anew at once', { timeout: 60000 }, async () => {
  const { page, leave } = await player();
  way.hold();
  await page.waitForSelector('.link-line', { timeout: 20000 });
  way.open();
  await page.evaluate(() => globalThis.dispatchEvent(new Event('online')));
  await page.waitForSelector('.link-line', { state: 'detached', timeout: BACK_WITHIN_MS });
  await leave();
});

test('a question to the lobby that is not answered has an end, and can be asked again', { timeout: 60000 }, async () => {
  const { page, leave } = await visitor(browser, way.url);
  await page.fill('#name', 'Mira');
  await page.waitForSelector('.open-tables p >> text=No table is open');
  way.hold();
  await page.click('.choice.primary');
  await page.waitForSelector('.door-main > .reason >> text=does not answer', { timeout: 20000 });
  way.open();
  await page.click('.choice.primary');
  await page.waitForSelector('.waiting .big', { timeout: 20000 });
  await leave();
});

test('a page of the archive says that the server does not answer, and asks again', { timeout: 60000 }, async () => {
  const fresh = await house();
  const { page } = await visitor(browser, fresh.url);
  await page.route('**/api/leaderboard', (route) => route.abort());
  await page.goto(new URL('leaderboard', fresh.url).href);
  await page.waitForSelector('.papers >> text=does not answer');
  await page.unroute('**/api/leaderboard');
  await page.click('.papers .ghost');
  await page.waitForSelector('.papers >> text=Nobody has finished a game yet.');
  await page.goto(new URL('history', fresh.url).href);
  await page.waitForSelector('.papers >> text=The first one could be yours.');
  assert.equal(await page.locator('.filters').count(), 0, 'no filters over nothing');
  await page.context().close();
  await fresh.stop();
});

test('a server that restarts is called by its name, and a choice outlives a reload', { timeout: 90000 }, async () => {
  const { page, leave } = await visitor(browser, server.url);
  await page.fill('#name', 'Jon');
  await page.click('.choice:not(.primary)');
  for (;;) {
    const now = await situation(page);
    if (now.place === 'declare') break;
    if (now.place === 'redeal') await page.click('.actions .ghost').catch(() => {});
    await page.waitForTimeout(50);
  }
  await page.click('.chip:not(.barred) >> nth=2');
  const chosen = await page.getAttribute('.chip.on', 'data-value');
  await page.reload();
  await page.waitForSelector('.chip.on');
  assert.equal(await page.getAttribute('.chip.on', 'data-value'), chosen);
  if (server.restart) {
    await server.restart(() => page.waitForSelector('.link-line >> text=The server is restarting. Your game is kept'));
    await page.waitForSelector('.link-line', { state: 'detached' });
  }
  await leave();
});
