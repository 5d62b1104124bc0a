// The one object that holds what the page knows. Only `update` replaces it, and whoever draws is told.

import { wish } from './seats.js';
import { preferred, speak } from './words.js';

/** What the player has chosen at a table but not yet sent. */
export const freshUi = () => ({ selected: [], order: [], focus: 0, declare: null, dismissed: null, sheet: null, copied: null, seen: null });

let app = {
  route: { place: 'door' },
  name: wish('name', ''),
  lang: speak(wish('lang', preferred(globalThis.navigator?.languages))),
  sound: wish('sound', false),
  tempo: wish('tempo', 'normal'), // of the tables that we open
  archive: false, // whether this house keeps finished games
  lobby: { rooms: [], status: 'connecting', error: null },
  room: null, // see state.js
  kept: null, // the seat that waits for us at another table: {id, playing}
  link: 'connecting', // of the room: connecting, open, lost, restarting or replaced
  game: null, // the last finished game of the room that the address names, as the list of games has it
  replay: null, // see replay.js
  pages: { filter: {} }, // what the history, player and leaderboard pages show
  ui: { ...freshUi(), code: '', codeError: false, nameError: null, entering: false },
};

let draw = () => {};
let asked = false;

/** What the page knows now. */
export const current = () => app;

/** Calls `fn` soon after every change, once for all changes of one moment. */
export function whenChanged(fn) {
  draw = fn;
}

export function update(change) {
  app = { ...app, ...change };
  if (asked) return;
  asked = true;
  queueMicrotask(() => {
    asked = false;
    draw(app);
  });
}

export const updateUi = (change) => update({ ui: { ...app.ui, ...change } });
