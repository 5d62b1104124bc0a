// From the answers of the server to figures over time. Pure.

/** Samples that are kept: five minutes of them. */
export const MOST_SAMPLES = 150;

/** One look at the server: figures as they are, and of what only grows how fast it grew since the look before. */
export function sample(status, before) {
  const seconds = before ? (status.at - before.at) / 1000 : 0;
  const rate = (name) => {
    const grown = before ? status.totals[name] - before.totals[name] : NaN;
    // A server that was started anew counts from nothing.
    return seconds > 0 && grown >= 0 ? grown / seconds : null;
  };
  return {
    games: status.rooms.playing,
    sockets: status.sockets.open,
    actions: rate('actions'),
    sent: rate('sent_bytes'),
    memory: status.memory.resident_bytes,
    requests: rate('http_requests'),
  };
}

export const withSample = (samples, one) => [...samples, one].slice(-MOST_SAMPLES);

const UNITS = ['B', 'KiB', 'MiB', 'GiB', 'TiB'];

export function bytes(number) {
  let unit = 0;
  let value = number;
  while (value >= 1024 && unit < UNITS.length - 1) {
    value /= 1024;
    unit += 1;
  }
  return `${value >= 100 || unit === 0 ? Math.round(value) : value.toFixed(1)} ${UNITS[unit]}`;
}

export const whole = (number) => Math.round(number).toLocaleString('en');
export const perSecond = (number) => `${number >= 10 ? whole(number) : number.toFixed(1)}/s`;
export const bytesPerSecond = (number) => `${bytes(number)}/s`;

/** A span of time in its two largest units. */
export function span(seconds) {
  const parts = [['d', 86400], ['h', 3600], ['min', 60], ['s', 1]];
  const at = parts.findIndex(([, length]) => seconds >= length);
  if (at < 0) return '0 s';
  const [[name, length], next] = [parts[at], parts[at + 1]];
  const first = `${Math.floor(seconds / length)} ${name}`;
  const rest = next ? Math.floor((seconds % length) / next[1]) : 0;
  return rest ? `${first} ${rest} ${next[0]}` : first;
}

/** What an event says, beside its number, time and kind. */
export const details = ({ number, at, kind, ...rest }) => Object.entries(rest).filter(([, value]) => !Array.isArray(value) || value.length).map(([name, value]) => detail(name, value)).join(', ');

function detail(name, value) {
  const words = name.replaceAll('_', ' ');
  return words.endsWith(' bytes') && typeof value === 'number' ? `${words.slice(0, -6)} ${bytes(value)}` : `${words} ${value}`;
}
