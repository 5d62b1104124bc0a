// Players for the tests: they press what the page offers, by keyboard alone or by touch alone.

import { situation } from './house.js';

/** The longest a game may take. */
export const GAME_WITHIN_MS = 300000;

/** Plays until the game is over; `hands` knows how to press things. Gives the places that were seen. */
export async function playOn(page, hands, look = () => {}) {
  const end = Date.now() + GAME_WITHIN_MS;
  const seen = new Set();
  while (Date.now() < end) {
    const now = await situation(page);
    seen.add(now.place);
    await look(now);
    if (now.place === 'over') return seen;
    const press = hands[now.place];
    if (press) await press(now);
    else await page.waitForTimeout(15);
  }
  throw new Error(`the game did not end: ${JSON.stringify(await situation(page))}`);
}

/** Hands that only know keys. */
export function keys(page) {
  const { keyboard } = page;
  return {
    async redeal() {
      await keyboard.press('ArrowRight');
      await keyboard.press('Enter');
    },
    async declare({ ready }) {
      if (!ready) await keyboard.press('ArrowRight');
      else await keyboard.press('Enter');
    },
    async play({ ready, chosen, hand }) {
      if (ready) {
        await keyboard.press('Enter');
        return;
      }
      const fresh = () => page.evaluate(() => document.activeElement?.matches('.tile-button:not(.selected)') ?? false);
      if (chosen >= hand) await keyboard.press('Escape');
      await keyboard.press('ArrowRight');
      if (!await fresh()) for (let i = 0; i < hand; i += 1) await keyboard.press('ArrowLeft');
      if (await fresh()) await keyboard.press('Space');
    },
    scores: () => keyboard.press('Enter'),
  };
}

/**
 * Hands that only know a finger, or a mouse where the screen takes no touch. What has gone in the meantime is no matter:
 * the next look decides again.
 */
export function finger(page, touch = true) {
  const tap = (selector) => (touch ? page.tap(selector, { timeout: 1000 }) : page.click(selector, { timeout: 1000 })).catch((error) => {
    if (error.name !== 'TimeoutError') throw error;
  });
  return {
    redeal: () => tap('.actions .primary'),
    declare: ({ ready }) => tap(ready ? '.actions .primary' : '.chip:not(.barred)'),
    play: ({ ready, offers }) => tap(ready ? '.actions .primary' : offers ? '.offer:last-child' : '.hand .tile-button:last-child'),
    scores: () => tap('.round-scores .ghost'),
  };
}
