// The way to the server: requests with the token, and the stream of events. The token lives in this tab only, never in a
// cookie or an address.

const KEY = 'liap.admin';
const RETRY_MS = 3000;

let token = null;
try {
  token = sessionStorage.getItem(KEY);
} catch {
  // A browser that keeps nothing asks again after a reload.
}

export const hasToken = () => Boolean(token);

export function setToken(value) {
  token = value;
  try {
    if (value) sessionStorage.setItem(KEY, value);
    else sessionStorage.removeItem(KEY);
  } catch {
    // See above.
  }
}

/** What went wrong, with the status of the answer; 0 when there was none. */
export class Refused extends Error {
  constructor(status, message) {
    super(message);
    this.status = status;
  }
}

function request(method, path, options = {}) {
  const headers = { authorization: `Bearer ${token}`, ...options.headers };
  return fetch(new URL(`admin/${path}`, document.baseURI), { ...options, method, headers, cache: 'no-store', credentials: 'omit' });
}

async function checked(response) {
  if (response.ok) return response;
  const problem = await response.json().catch(() => ({}));
  const wait = response.headers.get('retry-after');
  throw new Refused(response.status, `${problem.detail ?? response.statusText}${wait ? ` (again in ${wait} s)` : ''}`);
}

/** Asks for something, or for something to be done. */
export async function ask(method, path, body) {
  let response = null;
  try {
    response = await request(method, path, body === undefined ? {} : { body: JSON.stringify(body), headers: { 'content-type': 'application/json' } });
  } catch {
    throw new Refused(0, 'no answer from the server');
  }
  return (await checked(response)).json();
}

/** Splits a stream of events into them: `feed(text)` gives those that are complete. */
export function eventParser() {
  let rest = '';
  return function feed(text) {
    rest += text;
    const blocks = rest.split('\n\n');
    rest = blocks.pop();
    return blocks.map((block) => block.split('\n').filter((line) => line.startsWith('data:')).map((line) => line.slice(5).trim()).join('\n'))
      .filter(Boolean).map((data) => JSON.parse(data));
  };
}

/** Follows the events from now on, and comes back after a loss where it left. Gives a way to stop. */
export function follow(onEvents, onStatus) {
  const stop = new AbortController();
  let last = null;
  async function once() {
    const headers = { accept: 'text/event-stream', ...(last === null ? {} : { 'last-event-id': String(last) }) };
    const response = await checked(await request('GET', 'events?limit=100', { headers, signal: stop.signal }));
    onStatus('live');
    const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
    const feed = eventParser();
    for (let part = await reader.read(); !part.done; part = await reader.read()) {
      const events = feed(part.value);
      if (events.length === 0) continue;
      last = events.at(-1).number;
      onEvents(events);
    }
  }
  (async () => {
    while (!stop.signal.aborted) {
      try {
        await once();
      } catch (error) {
        if (error.status === 401) return;
      }
      if (stop.signal.aborted) return;
      onStatus('lost');
      await new Promise((resolve) => setTimeout(resolve, RETRY_MS));
    }
  })();
  return () => stop.abort();
}
