// Where everything meets: the server is asked again and again, its events are followed, and the state is drawn.

import { ask, follow, hasToken, setToken } from './api.js';
import { render } from './dom.js';
import { sample, withSample } from './figures.js';
import { desk, signIn } from './views.js';

const STATUS_EVERY_MS = 2000;
const ROOMS_EVERY_MS = 4000;
const MOST_EVENTS = 300;
const NOTE_MS = 6000;

const nothing = () => ({
  status: null, samples: [], rooms: null, stage: '', events: [], filter: '', stream: 'connecting', link: 'open', error: null, note: null, busy: null, closing: null,
});

let state = nothing();
let asked = false;
let stopFollowing = null;
let clocks = [];

function update(change) {
  state = { ...state, ...change };
  if (asked) return;
  asked = true;
  queueMicrotask(() => {
    asked = false;
    render(document.getElementById('page'), hasToken() ? desk(state, act) : signIn(state, act));
  });
}

/** What went wrong is said; a token that is wrong is forgotten. */
function failed(error) {
  if (error.status === 401) leave(error.message);
  else update({ error: error.message, link: error.status === 0 ? 'lost' : 'open' });
}

async function look() {
  try {
    const status = { ...(await ask('GET', 'status')), at: performance.now() };
    update({ status, samples: withSample(state.samples, sample(status, state.status)), link: 'open', error: state.link === 'lost' ? null : state.error });
  } catch (error) {
    failed(error);
  }
}

async function lookAtRooms() {
  const { stage } = state;
  try {
    const rooms = await ask('GET', `rooms?limit=100&stage=${stage}`);
    if (state.stage === stage) update({ rooms });
  } catch (error) {
    failed(error);
  }
}

/** Does something, says what came of it, and looks again. */
async function perform(what, request, words) {
  if (state.busy) return;
  update({ busy: what, error: null });
  try {
    const answer = await request();
    note(words(answer));
  } catch (error) {
    failed(error);
  }
  update({ busy: null });
  if (!hasToken()) return;
  await Promise.all([look(), lookAtRooms()]);
}

function note(words) {
  update({ note: words });
  setTimeout(() => state.note === words && update({ note: null }), NOTE_MS);
}

function enter() {
  look();
  lookAtRooms();
  clocks = [setInterval(look, STATUS_EVERY_MS), setInterval(lookAtRooms, ROOMS_EVERY_MS)];
  stopFollowing = follow(
    (events) => update({ events: [...state.events, ...events].slice(-MOST_EVENTS) }),
    (stream) => update({ stream }));
}

function leave(error = null) {
  clocks.forEach(clearInterval);
  stopFollowing?.();
  setToken(null);
  state = nothing();
  update({ error });
}

const act = {
  async signIn(event) {
    event.preventDefault();
    setToken(document.getElementById('token').value.trim());
    try {
      await ask('GET', 'log-level');
    } catch (error) {
      setToken(null);
      update({ error: error.message });
      return;
    }
    update({ error: null });
    enter();
  },
  signOut: () => leave(),
  stage(stage) {
    update({ stage, rooms: null });
    lookAtRooms();
  },
  filter: (filter) => update({ filter }),
  drain: (begin) => perform('drain', () => ask(begin ? 'POST' : 'DELETE', 'drain'), ({ draining }) => (draining ? 'Newcomers are sent away; games play on.' : 'Newcomers are welcome again.')),
  flush: () => perform('flush', () => ask('POST', 'archive/flush'), ({ flushed, pending }) => (flushed ? 'Every completed game is on disk.' : `${pending} games still wait for the disk.`)),
  gc: () => perform('gc', () => ask('POST', 'gc'), ({ finished_games: games, before_bytes: before, after_bytes: after }) => `${games} finished games have left; ${Math.max(0, Math.round((before - after) / 1048576))} MiB were given back.`),
  logLevel: (level) => perform('level', () => ask('PUT', 'log-level', { level }), (answer) => `The log begins at ${answer.level} now.`),
  askClose: (room) => update({ closing: room }),
  keepRoom(event) {
    event?.preventDefault();
    update({ closing: null });
  },
  close(event) {
    event.preventDefault();
    const { room_id: id } = state.closing;
    const message = document.getElementById('message').value.trim();
    update({ closing: null });
    perform('close', () => ask('POST', `rooms/${id}/close`, message ? { message } : {}), () => `Room ${id} is closed.`);
  },
};

update({});
if (hasToken()) enter();
