// What this browser keeps between visits: the player's name and wishes, and for each table the seat held there with
// what is needed to check its deals. A browser that keeps nothing plays all the same.

const PREFIX = 'liap.';
const MOST_SEATS = 20;

function read(key, otherwise) {
  try {
    return JSON.parse(localStorage.getItem(PREFIX + key)) ?? otherwise;
  } catch {
    return otherwise;
  }
}

function write(key, value) {
  try {
    localStorage.setItem(PREFIX + key, JSON.stringify(value));
  } catch {
    // Storage is full or forbidden: the game goes on, only a reload would forget.
  }
}

export const wish = (key, otherwise) => read(key, otherwise);
export const keepWish = (key, value) => write(key, value);

/** The seat held at a table: `{name, token, entropy, memory}`, or null. */
export const seatAt = (roomId) => read('seats', {})[roomId] ?? null;

export function keepSeat(roomId, seat) {
  const seats = Object.entries({ ...read('seats', {}), [roomId]: { ...seat, at: Date.now() } });
  write('seats', Object.fromEntries(seats.sort((a, b) => b[1].at - a[1].at).slice(0, MOST_SEATS)));
}

const DAY_MS = 24 * 60 * 60 * 1000;
/** So long the server keeps a seat before the game. */
const SEAT_KEPT_MS = 3 * 60 * 1000;

/** The seat held last at a table other than `roomId` that may still wait for us: `{id, playing}`, or null. */
export function heldSeat(roomId, now = Date.now()) {
  const waits = ({ at, over, memory }) => !over && now - at < (memory?.started ? DAY_MS : SEAT_KEPT_MS);
  const held = Object.entries(read('seats', {})).filter(([id, seat]) => id !== roomId && waits(seat));
  const [id, seat] = held.sort((a, b) => b[1].at - a[1].at)[0] ?? [];
  return id ? { id, playing: Boolean(seat.memory?.started) } : null;
}

export function forgetSeat(roomId) {
  const seats = read('seats', {});
  delete seats[roomId];
  write('seats', seats);
}

/** Tiles chosen and a number chosen to declare, kept over a reload: `{decision, kinds, declare}`. Only this window has them. */
export function choiceAt(roomId) {
  try {
    return JSON.parse(sessionStorage.getItem(`${PREFIX}choice.${roomId}`));
  } catch {
    return null;
  }
}

export function keepChoice(roomId, choice) {
  try {
    sessionStorage.setItem(`${PREFIX}choice.${roomId}`, JSON.stringify(choice));
  } catch {
    // As above.
  }
}

/** The part of a room's state that the server does not send again. */
export function memoryOf(room) {
  const { round, multiplier, turns, history, multipliers, dealt, firstCommitment, started } = room;
  return { round, multiplier, turns, history, multipliers, dealt, firstCommitment, started };
}

/** 64 random hexadecimal digits: our part in the deals. */
export function freshEntropy() {
  return Array.from(crypto.getRandomValues(new Uint8Array(32)), (byte) => byte.toString(16).padStart(2, '0')).join('');
}
