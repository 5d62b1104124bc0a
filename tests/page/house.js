// A running server and a browser that visits it, for the tests that need both.

import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { chromium } from 'playwright-core';

/** The server and its commands. */
export const BINARY = process.env.LIAP_BIN ?? fileURLToPath(new URL('../../target/debug/liap', import.meta.url));
const CHROMIUM = process.env.CHROMIUM ?? '/usr/bin/chromium';
const READY_WITHIN_MS = 20000;

/**
 * Starts the real server on a free port with an empty data folder, which `furnish` may fill before, and gives
 * `{url, restart, stop}`. With LIAP_URL set, that running server is visited instead, which cannot be restarted.
 */
export async function house(settings = {}, furnish = () => {}) {
  if (process.env.LIAP_URL) return { url: process.env.LIAP_URL, restart: null, stop: async () => {} };
  const data = mkdtempSync(join(tmpdir(), 'liap-page-'));
  furnish(data);
  let running = await start({ ...settings, DATA_DIR: data, PORT: '0' });
  const { url } = running;
  return {
    url,
    /** Ends the server as an operator would, and starts it again at the same address with the same data. */
    async restart(meanwhile = async () => {}) {
      await end(running.child);
      await meanwhile();
      running = await start({ ...settings, DATA_DIR: data, PORT: new URL(url).port });
    },
    async stop() {
      await end(running.child);
      rmSync(data, { recursive: true, force: true });
    },
  };
}

function start(settings) {
  const child = spawn(BINARY, [], { env: { PATH: process.env.PATH, HOST: '127.0.0.1', METRICS_PORT: '0', ...settings }, stdio: ['ignore', 'pipe', 'pipe'] });
  let log = '';
  return new Promise((resolve, reject) => {
    const late = setTimeout(() => reject(new Error(`no address in the log:\n${log}`)), READY_WITHIN_MS);
    const read = (chunk) => {
      log += chunk;
      const found = log.match(/listening on (http:\/\/127\.0\.0\.1:\d+[\w/.-]*)/);
      if (!found) return;
      clearTimeout(late);
      resolve({ child, url: found[1].replace(/\/?$/, '/') });
    };
    child.stdout.on('data', read);
    child.stderr.on('data', read);
    child.once('exit', (code) => reject(new Error(`the server ended with ${code}:\n${log}`)));
  });
}

async function end(child) {
  const gone = new Promise((resolve) => child.once('exit', resolve));
  child.kill();
  await gone;
}

// Nobody vouches for the certificate of a proxy on this machine, so the browser is told the hash of its key. To ignore
// errors of certificates instead would restart every request that meets one, and Chromium gives up after 32 restarts.
const TRUSTED_KEY = process.env.LIAP_TRUSTED_KEY ? [`--ignore-certificate-errors-spki-list=${process.env.LIAP_TRUSTED_KEY}`] : [];

export const openBrowser = () => chromium.launch({ executablePath: CHROMIUM, args: ['--no-sandbox', ...TRUSTED_KEY] });

/**
 * A visitor with a browser of his own. `complaints` collects whatever a careful house must not show: errors in the
 * console, violations of the Content-Security-Policy, requests to other hosts, a page wider than its window. `first` runs
 * in the page before anything of it.
 */
export async function visitor(browser, url, { width = 360, height = 740, theme = 'dark', language = 'en', touch = false, calm = false, first = null } = {}) {
  const context = await browser.newContext({
    viewport: { width, height }, colorScheme: theme, hasTouch: touch, isMobile: touch, locale: language, reducedMotion: calm ? 'reduce' : 'no-preference',
    deviceScaleFactor: width < 500 ? 2 : 1,
  });
  const page = await context.newPage();
  const complaints = [];
  const { host } = new URL(url);
  page.on('console', (message) => {
    // A house that keeps no games answers 404 to the question whether it does; the browser writes that down by itself.
    // A lost connection is written down by the browser too, and is no fault of the page.
    // The same holds for a player of whom it knows nothing.
    const expected = /\/api\/(games|players\/nobody)/.test(message.location().url) || /^WebSocket connection to .*(ERR_CONNECTION|closed before|response code: 503)/.test(message.text());
    if (message.type() === 'error' && !expected) complaints.push(`console: ${message.text()} (${message.location().url})`);
  });
  page.on('pageerror', (error) => complaints.push(`error: ${error.stack}`));
  page.on('request', (request) => new URL(request.url()).host !== host && complaints.push(`foreign: ${request.url()}`));
  await page.addInitScript(() => document.addEventListener('securitypolicyviolation', (event) => console.error(`policy: ${event.violatedDirective} ${event.blockedURI}`)));
  if (first) await page.addInitScript(first);
  await page.goto(url);
  return {
    page,
    complaints,
    async leave() {
      const wide = await page.evaluate(() => document.documentElement.scrollWidth > globalThis.innerWidth);
      if (wide) complaints.push('the page scrolls sideways');
      await context.close();
      assert.deepEqual(complaints, []);
    },
  };
}

/** What a player is asked for now, read from the page as a person would. */
export const situation = (page) => page.evaluate(() => {
  const there = (selector) => document.querySelector(selector) !== null;
  const go = document.querySelector('.actions .buttons .primary');
  return {
    place: there('.finish') ? 'over' : there('.round-scores') ? 'scores' : there('.chips') ? 'declare' : there('.offers') ? 'play' : there('.actions:not(.idle) .buttons') ? 'redeal' : there('.game') ? 'wait' : there('.waiting') ? 'room' : 'door',
    ready: go !== null && !go.hasAttribute('aria-disabled'),
    offers: document.querySelectorAll('.offer').length, open: there('.play.best'), hand: document.querySelectorAll('.tile-button').length,
    chosen: document.querySelectorAll('.tile-button.selected').length,
  };
});
