// One WebSocket that stays: it greets on every opening, comes back by itself after a loss, and notices a dead link.
// It knows nothing of the game.

const FIRST_WAIT_MS = 400;
const LONGEST_WAIT_MS = 5000;
const PING_EVERY_MS = 25000;
const PONG_WITHIN_MS = 8000;

/** Closed by the server on purpose: another tab took the seat. */
const CLOSE_NORMAL = 1000;

/** The address of a socket beside this page, below the same base path. */
function socketUrl(path) {
  const url = new URL(path, document.baseURI);
  url.protocol = url.protocol === 'https:' ? 'wss:' : 'ws:';
  return url.href;
}

/**
 * Opens `path` and keeps it open. `hello()` gives the frames `[event, data]` to send on each opening,
 * `onFrame({event, data})` gets what arrives, `onStatus` gets `open`, `lost` or `replaced`.
 */
export function connect(path, { hello, onFrame, onStatus }) {
  let socket = null;
  let ended = false;
  let misses = 0;
  let retry = null;
  let beat = null;
  let doubt = null;

  function open() {
    clearTimeout(retry);
    retry = null;
    socket = new WebSocket(socketUrl(path));
    const mine = socket;
    mine.onopen = () => {
      misses = 0;
      onStatus('open');
      for (const [event, data] of hello()) send(event, data);
      beat = setInterval(ping, PING_EVERY_MS);
    };
    mine.onmessage = ({ data }) => {
      clearTimeout(doubt);
      doubt = null;
      let frame = null;
      try {
        frame = JSON.parse(data);
      } catch {
        return;
      }
      if (frame && typeof frame.event === 'string') onFrame({ event: frame.event, data: frame.data ?? {} });
    };
    mine.onclose = ({ code }) => {
      if (mine !== socket) return;
      stopClocks();
      socket = null;
      if (ended) return;
      if (code === CLOSE_NORMAL) {
        ended = true;
        onStatus('replaced');
        return;
      }
      onStatus('lost');
      const wait = Math.min(LONGEST_WAIT_MS, FIRST_WAIT_MS * 2 ** misses);
      misses += 1;
      retry = setTimeout(open, wait * (0.8 + 0.4 * Math.random()));
    };
  }

  function stopClocks() {
    clearInterval(beat);
    clearTimeout(doubt);
    doubt = null;
  }

  function ping() {
    if (!send('ping', { timestamp: Date.now() })) return;
    doubt ??= setTimeout(giveUp, PONG_WITHIN_MS);
  }

  /** A link that does not answer is closed from here; the browser may take minutes to notice. */
  function giveUp() {
    const dead = socket;
    if (!dead) return;
    dead.onclose({ code: 1006 });
    dead.close();
  }

  function send(event, data) {
    if (socket?.readyState !== WebSocket.OPEN) return false;
    socket.send(JSON.stringify({ event, data }));
    return true;
  }

  function wake() {
    if (document.visibilityState === 'hidden' || ended) return;
    if (retry) {
      misses = 0;
      open();
    } else {
      ping();
    }
  }

  globalThis.addEventListener('online', wake);
  document.addEventListener('visibilitychange', wake);
  open();

  return {
    /** Sends a frame; false when there is no connection, and then nothing was sent. */
    send,
    close() {
      ended = true;
      clearTimeout(retry);
      stopClocks();
      globalThis.removeEventListener('online', wake);
      document.removeEventListener('visibilitychange', wake);
      socket?.close(CLOSE_NORMAL);
    },
  };
}
