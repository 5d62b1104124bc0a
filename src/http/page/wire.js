// One WebSocket that stays: it greets on every opening, comes back by itself after a loss, and notices a dead link.
// No wait is without an end: an attempt that is not answered gives way to the next one. Attempts do not overlap, for a browser opens
// one socket to a server at a time; each may take longer than the one before, up to what a slow network needs.
// It knows nothing of the game.

const FIRST_WAIT_MS = 400;
const LONGEST_WAIT_MS = 4000;
/** How long the first attempt may take, and how long any. */
const FIRST_ATTEMPT_MS = 4000;
const LONGEST_ATTEMPT_MS = 9000;
/** A younger attempt is not given up when somebody comes back to the page. */
const YOUNG_ATTEMPT_MS = 1000;
const PING_EVERY_MS = 12000;
const PING_PAUSE_MS = 2000;
const ANSWER_WITHIN_MS = 6000;

/** Closed by the server on purpose: another tab took the seat. */
const CLOSE_NORMAL = 1000;
/** The server is about to restart. */
const CLOSE_RESTART = 1012;

/** The address of a socket beside this page, below the same base path. */
function socketUrl(path) {
  const url = new URL(path, document.baseURI);
  url.protocol = url.protocol === 'https:' ? 'wss:' : 'ws:';
  return url.href;
}

/**
 * Opens `path` and keeps it open. `hello()` gives the frames `[event, data]` to send on each opening; the server answers
 * them. `onFrame({event, data})` gets what arrives, `onStatus` gets `open`, `lost`, `restarting` or `replaced`.
 */
export function connect(path, { hello, onFrame, onStatus }) {
  let socket = null; // the open one
  let ended = false;
  let misses = 0;
  let next = null; // when the next attempt begins
  let beat = null;
  let doubt = null; // when a silent link counts as dead
  let pinged = -Infinity; // when the last ping went out
  let begun = 0; // when the last attempt began
  let attempted = null; // the one not answered yet

  function attempt() {
    clearTimeout(next);
    if (attempted) drop(attempted);
    begun = performance.now();
    const mine = new WebSocket(socketUrl(path));
    attempted = mine;
    mine.onopen = () => opened(mine);
    mine.onclose = ({ code }) => failed(code);
    next = setTimeout(unanswered, Math.min(LONGEST_ATTEMPT_MS, FIRST_ATTEMPT_MS * 1.5 ** Math.max(0, misses - 1)));
  }

  function drop(one) {
    one.onopen = null;
    one.onmessage = null;
    one.onclose = null;
    one.close();
  }

  function opened(mine) {
    clearTimeout(next);
    attempted = null;
    socket = mine;
    pinged = -Infinity;
    misses = 0;
    mine.onmessage = ({ data }) => heard(data);
    mine.onclose = ({ code }) => closed(code);
    onStatus('open');
    for (const [event, data] of hello()) send(event, data);
    expectAnswer();
    beat = setInterval(ping, PING_EVERY_MS);
  }

  function heard(data) {
    clearTimeout(doubt);
    doubt = null;
    let frame = null;
    try {
      frame = JSON.parse(data);
    } catch {
      return;
    }
    if (frame && typeof frame.event === 'string') onFrame({ event: frame.event, data: frame.data ?? {} });
  }

  function closed(code) {
    stopClocks();
    socket = null;
    if (ended) return;
    if (code === CLOSE_NORMAL) {
      ended = true;
      onStatus('replaced');
      return;
    }
    onStatus(code === CLOSE_RESTART ? 'restarting' : 'lost');
    waitAndAttempt();
  }

  function failed(code) {
    attempted = null;
    if (ended) return;
    if (misses === 0 && code !== CLOSE_RESTART) onStatus('lost');
    waitAndAttempt();
  }

  function unanswered() {
    if (misses === 0) onStatus('lost');
    misses += 1;
    attempt();
  }

  function waitAndAttempt() {
    const wait = Math.min(LONGEST_WAIT_MS, FIRST_WAIT_MS * 2 ** misses);
    misses += 1;
    clearTimeout(next);
    next = setTimeout(attempt, wait * (0.8 + 0.4 * Math.random()));
  }

  function stopClocks() {
    clearInterval(beat);
    clearTimeout(doubt);
    doubt = null;
  }

  function ping() {
    if (performance.now() - pinged < PING_PAUSE_MS || !send('ping', { timestamp: Date.now() })) return;
    pinged = performance.now();
    expectAnswer();
  }

  function expectAnswer() {
    doubt ??= setTimeout(giveUp, ANSWER_WITHIN_MS);
  }

  /** A link that does not answer is closed from here; the browser may take minutes to notice. */
  function giveUp() {
    const dead = socket;
    if (!dead) return;
    drop(dead);
    closed(1006);
  }

  function send(event, data) {
    if (socket?.readyState !== WebSocket.OPEN) return false;
    socket.send(JSON.stringify({ event, data }));
    return true;
  }

  /** Begins anew, whatever the state: an open link is asked whether it lives, anything else is tried at once. */
  function wake() {
    if (ended || document.visibilityState === 'hidden') return;
    if (socket) ping();
    else if (!attempted || performance.now() - begun > YOUNG_ATTEMPT_MS) {
      misses = Math.min(misses, 1);
      attempt();
    }
  }

  const wakers = [[globalThis, 'online'], [globalThis, 'focus'], [globalThis, 'pageshow'], [document, 'visibilitychange'], [document, 'resume']];
  for (const [target, event] of wakers) target.addEventListener(event, wake);
  attempt();

  return {
    /** Sends a frame; false when there is no connection, and then nothing was sent. */
    send,
    /** Asks whether the link lives; a dead one is replaced. */
    ping,
    wake,
    close() {
      ended = true;
      clearTimeout(next);
      stopClocks();
      for (const [target, event] of wakers) target.removeEventListener(event, wake);
      if (attempted) drop(attempted);
      socket?.close(CLOSE_NORMAL);
    },
  };
}
