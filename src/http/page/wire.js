// One WebSocket that stays: it greets on every opening, comes back by itself after a loss, and notices a dead link.
// No wait is without an end: an attempt that is not answered gets company by the next one, and the first to open counts.
// It knows nothing of the game.

const FIRST_WAIT_MS = 400;
const LONGEST_WAIT_MS = 4000;
/** After so long without an answer another attempt begins; the earlier ones may still succeed. */
const NEXT_ATTEMPT_MS = 4000;
const MOST_ATTEMPTS = 4;
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
  const attempts = []; // those not answered yet

  function attempt() {
    clearTimeout(next);
    while (attempts.length >= MOST_ATTEMPTS) drop(attempts.shift());
    begun = performance.now();
    const mine = new WebSocket(socketUrl(path));
    attempts.push(mine);
    mine.onopen = () => opened(mine);
    mine.onclose = ({ code }) => failed(mine, code);
    next = setTimeout(unanswered, NEXT_ATTEMPT_MS);
  }

  function drop(one) {
    one.onopen = null;
    one.onmessage = null;
    one.onclose = null;
    one.close();
  }

  function opened(mine) {
    clearTimeout(next);
    attempts.splice(attempts.indexOf(mine), 1);
    attempts.splice(0).forEach(drop);
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

  function failed(mine, code) {
    attempts.splice(attempts.indexOf(mine), 1);
    if (ended || attempts.length) return;
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
    else if (attempts.length === 0 || performance.now() - begun > FIRST_WAIT_MS) {
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
      attempts.splice(0).forEach(drop);
      socket?.close(CLOSE_NORMAL);
    },
  };
}
