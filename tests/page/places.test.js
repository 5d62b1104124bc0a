// Every place on real answers of the server: no place shows what no person should read, and none reads a field that the
// descriptions of the server (openapi.json, asyncapi.json) do not know.

import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { join } from 'node:path';
import { after, before, test } from 'node:test';

import { GAME_WITHIN_MS, finger, playOn } from './hands.js';
import { BINARY, house, openBrowser, visitor } from './house.js';

const TOKEN = 'planted-secret-0123456789';

let server;
let browser;
let described;

before(async () => {
  [server, browser] = await Promise.all([house({ GAME_PACE: '0.01', ADMIN_TOKEN: TOKEN }, archiveGames), openBrowser()]);
  const [api, sockets] = await Promise.all(['openapi.json', 'asyncapi.json'].map(async (path) => (await fetch(new URL(path, server.url))).json()));
  described = { api, sockets };
});
after(async () => {
  await browser?.close();
  await server?.stop();
});

/** A few games of bots, in the archive before the server starts. */
function archiveGames(data) {
  const games = join(data, 'games.jsonl');
  const run = (...args) => execFileSync(BINARY, args, { env: { PATH: process.env.PATH, DATA_DIR: data }, stdio: 'pipe' });
  run('simulate', '--games', '4', '--seed', '7', '--jobs', '1', '--json', games);
  run('archive', 'import', games);
}

/**
 * In the page: hands out what the server says in a form that notes each field that is read and not there. Answers are
 * noted by method and path, frames by their event.
 */
function noteReads() {
  globalThis.reads = [];
  const seen = new WeakMap();
  const silent = new Set(['then', 'toJSON']); // asked for by promises and JSON.stringify
  function watched(value, path) {
    if (typeof value !== 'object' || value === null) return value;
    if (!seen.has(value)) {
      seen.set(value, new Proxy(value, {
        get(target, key, receiver) {
          const found = Reflect.get(target, key, receiver);
          if (typeof key === 'symbol' || typeof found === 'function') return found;
          if (!Array.isArray(target) && !Object.hasOwn(target, key) && !silent.has(key)) globalThis.reads.push([...path, key]);
          return watched(found, [...path, Array.isArray(target) ? '[]' : key]);
        },
      }));
    }
    return seen.get(value);
  }
  const { json } = Response.prototype;
  Response.prototype.json = async function answer() {
    return watched(await json.call(this), [`GET ${new URL(this.url).pathname}`]);
  };
  const { parse } = JSON;
  JSON.parse = (text, ...more) => {
    const value = parse(text, ...more);
    if (typeof value?.event === 'string' && value.data) value.data = watched(value.data, [`frame ${value.event}`]);
    return value;
  };
}

/** The schemas that a schema stands for. */
function forms(document, schema) {
  if (!schema || typeof schema !== 'object') return [];
  if (schema.$ref) return forms(document, schema.$ref.slice(2).split('/').reduce((node, key) => node?.[key.replaceAll('~1', '/').replaceAll('~0', '~')], document));
  return [schema, ...['anyOf', 'oneOf', 'allOf'].flatMap((how) => (schema[how] ?? []).flatMap((one) => forms(document, one)))];
}

/** Whether a field is described: `path` leads to it from where it came. */
function isDescribed([origin, ...path]) {
  const [kind, name] = origin.split(' ');
  const document = kind === 'frame' ? described.sockets : described.api;
  let at = kind === 'frame' ? forms(document, document.components.messages[`server.${name}`]?.payload?.properties?.data) : answersOf(document, name);
  for (const key of path) {
    if (key === '[]') at = at.flatMap((schema) => forms(document, schema.items));
    else {
      if (at.some((schema) => schema.additionalProperties === true)) return true;
      at = at.flatMap((schema) => forms(document, schema.properties?.[key] ?? schema.additionalProperties));
    }
  }
  return at.length > 0;
}

/** The schemas of all answers to a request. */
function answersOf(document, pathname) {
  const template = Object.keys(document.paths).find((path) => new RegExp(`^${path.replace(/\{\w+\}/g, '[^/]+')}$`).test(pathname));
  const responses = Object.values(document.paths[template]?.get?.responses ?? {});
  return responses.flatMap((response) => forms(document, response)).flatMap((response) => Object.values(response.content ?? {})).flatMap(({ schema }) => forms(document, schema));
}

/** What nobody should read on a page: in its texts, its labels, its title, its headings. */
const flaws = (page) => page.evaluate(() => {
  const texts = [document.title, document.body.textContent];
  for (const element of document.body.querySelectorAll('*')) {
    for (const name of ['aria-label', 'aria-valuetext', 'title', 'placeholder', 'alt', 'href', 'd', 'points', 'class']) if (element.hasAttribute(name)) texts.push(element.getAttribute(name));
    if (element.localName === 'input') texts.push(element.value);
  }
  const found = texts.flatMap((text) => text.match(/.{0,30}(NaN|undefined|\[object|Infinity|\bnull\b|\{\w+\}).{0,30}/g) ?? []);
  const empty = [...document.body.querySelectorAll('h1, h2, h3, h4, th, legend, caption, button, a, label, dt, strong')].filter((element) => !element.textContent.trim() && !element.getAttribute('aria-label') && !element.querySelector('[aria-label]'));
  return [...found, ...empty.map((element) => `empty: ${element.outerHTML.slice(0, 120)}`)];
});

/** A visitor whose reads are noted, and `look(place)` that judges what stands there. */
async function reader(url, options) {
  const guest = await visitor(browser, url, { ...options, first: noteReads });
  return {
    ...guest,
    async look(place) {
      assert.deepEqual(await flaws(guest.page), [], place);
      const missed = (await guest.page.evaluate(() => globalThis.reads.splice(0))).filter((path) => !isDescribed(path)).map((path) => path.join(' . '));
      assert.deepEqual([...new Set(missed)], [], `${place}: fields that the server does not describe`);
    },
  };
}

test('what is described is told from what is not', () => {
  assert.ok(isDescribed(['GET /api/players/Mira', 'rating']));
  assert.ok(!isDescribed(['GET /api/players/Mira', 'rating', 'mean']));
  assert.ok(isDescribed(['GET /api/games', 'games', '[]', 'players', '[]', 'level']));
  assert.ok(isDescribed(['frame phase_change', 'phase_data', 'round_scores', 'Mira', 'declared']));
  assert.ok(!isDescribed(['frame phase_change', 'phase_data', 'round_scores', 'Mira', 'colour']));
  assert.ok(isDescribed(['frame room_update', 'players', '[]', 'is_connected']));
});

// One of the players has a name that every object seems to have, the other a name that loses its place among keys.
for (const [name, other, options] of [['constructor', '7', { width: 1280, height: 800 }], ['ภูผา', '__proto__', { touch: true, language: 'th' }]]) {
  test(`every place shows what the server says, to ${name}`, { timeout: 2 * GAME_WITHIN_MS }, async () => {
    const { page, look, leave } = await reader(server.url, options);
    await page.waitForSelector('.open-tables');
    await look('door');
    await page.fill('#name', name);
    await page.click('.choice.primary');
    await page.waitForSelector('.waiting .big');
    const link = await page.inputValue('.share-link');

    const friend = await reader(link);
    await friend.page.waitForSelector('.entrance');
    await friend.look('entrance');
    await friend.page.fill('#name', other);
    await friend.page.click('.entrance .primary');
    await friend.page.waitForSelector('.waiting');
    await page.waitForSelector('.notes p');
    await look('waiting, with a note');
    await friend.look('waiting, as a guest');
    const watcher = await reader(link);
    await watcher.page.click('.entrance .ghost');
    await watcher.page.waitForSelector('.waiting .big');
    await watcher.look('waiting, as a watcher');

    await page.click('.waiting .big');
    const seen = new Set();
    const [mine] = await Promise.all([
      playOn(page, finger(page, Boolean(options.touch)), async ({ place, ready, open }) => {
        const moment = `${place} ${ready} ${open}`;
        if (seen.has(moment)) return;
        seen.add(moment);
        await look(`the table: ${moment}`);
        if (place !== 'play') return;
        for (const sheet of ['scores', 'rules']) {
          await page.evaluate((which) => document.querySelectorAll('.bar .icon-button')[which === 'scores' ? 1 : 2].click(), sheet);
          await look(`sheet: ${sheet}`);
          await page.keyboard.press('Escape');
        }
      }),
      playOn(friend.page, finger(friend.page, false)),
    ]);
    for (const place of ['declare', 'play', 'over']) assert.ok(mine.has(place), place);
    await page.waitForSelector('.seal.good');
    await look('game over');
    await page.click('.seal .link');
    await look('fairness');
    await page.keyboard.press('Escape');
    await friend.look('game over, as a guest');
    await watcher.page.waitForSelector('.finish');
    await watcher.look('game over, as a watcher');

    await page.click('.finish a[href^="replay/"]');
    await page.waitForSelector('.replay .range');
    for (const step of [0, 6, 12, 40]) {
      for (let i = 0; i < step; i += 1) await page.keyboard.press('ArrowRight');
      await look(`replay, after ${step} steps more`);
    }
    await page.keyboard.press('Shift+ArrowRight');
    await page.locator('.view-of button').last().click();
    await look('replay, open hands');

    for (const [path, there] of [
      ['history', '.game-row'], [`history?player=${encodeURIComponent(name)}`, '.game-row'], ['history?player=nobody-at-all', '.games'],
      [`player/${encodeURIComponent(name)}`, '.facts'], [`player/${encodeURIComponent(other)}`, '.facts'], ['player/nobody', '.reason'],
      ['leaderboard', '.leaders'], ['replay/nothing', '.quiet-place'], ['room/FFFFFF', '.entrance'],
    ]) {
      await page.goto(new URL(path, server.url).href);
      await page.waitForSelector(there);
      await look(path);
    }
    assert.match(await page.title(), /Liap Tui/);
    await page.goto(new URL(`player/${encodeURIComponent(name)}`, server.url).href);
    await page.waitForSelector('.facts');
    assert.match(await page.textContent('.facts'), /\d+ ± \d+/);
    for (const one of [friend, watcher]) await one.leave();
    await leave();
  });
}

test('what an administrator says reaches the players', { timeout: 60000 }, async () => {
  const { page, leave } = await visitor(browser, server.url);
  await page.fill('#name', 'Mira');
  await page.click('.choice.primary');
  await page.waitForSelector('.waiting .big');
  const id = page.url().split('/').at(-1);
  const closed = await fetch(new URL(`admin/rooms/${id}/close`, server.url), { method: 'POST', headers: { authorization: `Bearer ${TOKEN}`, 'content-type': 'application/json' }, body: JSON.stringify({ message: 'Tea is ready.' }) });
  assert.ok(closed.ok, `${closed.status}`);
  await page.waitForSelector('.quiet-place >> text=Tea is ready.');
  await leave();
});

test('copying the link of a moment says what came of it, on plain http too', { timeout: 60000 }, async () => {
  const { games } = await (await fetch(new URL('api/games?limit=1', server.url))).json();
  const moment = new URL(`replay/${games[0].game_id}`, server.url).href;
  for (const [works, words] of [[true, 'is copied'], [false, 'Nothing could be copied']]) {
    const first = `Object.defineProperty(navigator, 'clipboard', { value: undefined }); document.execCommand = () => ${works};`;
    const { page, leave } = await visitor(browser, moment, { first });
    await page.waitForSelector('.replay .range');
    await page.click('.bar .icon-button >> nth=-1');
    await page.waitForSelector(`.notes >> text=${words}`);
    await leave();
  }
});

test('every part of the administrators\' page shows what the server says', { timeout: 60000 }, async () => {
  const table = await visitor(browser, server.url);
  await table.page.fill('#name', 'constructor');
  await table.page.click('.choice.primary');
  await table.page.waitForSelector('.waiting .big');
  const { page, look, leave } = await reader(new URL('admin', server.url).href, { width: 1280, height: 800 });
  await look('sign in');
  await page.fill('#token', TOKEN);
  await page.keyboard.press('Enter');
  await page.waitForSelector('.desk .chart');
  await page.waitForSelector('.room-list li');
  await page.waitForSelector('.event-list li');
  await look('desk');
  await page.click('.room-list .ghost');
  await look('closing a room');
  await page.keyboard.press('Escape');
  await leave();
  await table.leave();
});
