// The connection to one room: what arrives changes the state, is said aloud and kept for a reload.

import { asksToNext, changes } from './announce.js';
import { current, freshUi, update } from './app.js';
import { closeLobby } from './lobby.js';
import { lookUpGame } from './papers.js';
import { choiceAt, forgetSeat, keepSeat, memoryOf } from './seats.js';
import { click, tone } from './sound.js';
import { decisionKey, emptyRoom, lacksTurns, myTurn, reduce, resultKey } from './state.js';
import { connect } from './wire.js';

const NOTE_MS = 5000;

let link = null;
let asked = null; // the round of which missed turns were asked for, once on each connection
let wishes = null; // how a new room is to be furnished: {bots, start}

const heard = new Map();

/** Calls `fn` whenever the room has said `event`, after the state knows it. */
export const whenHeard = (event, fn) => heard.set(event, fn);

/** Sends a frame to the room; false when there is no connection. A ping behind it shows soon whether the link lives. */
export function send(event, data) {
  const sent = link?.send(event, data) ?? false;
  if (sent) link.ping();
  return sent;
}

/** Tries at once to come back to the room. */
export const comeBack = () => link?.wake();

/** Enters a room, in the seat `{name, token, entropy, memory}`, or as a watcher when it is null. */
export function openRoom(id, seat) {
  leaveRoom();
  closeLobby();
  update({ room: { ...emptyRoom(id, seat?.name ?? null), ...seat?.memory, entropy: seat?.entropy ?? null }, link: 'connecting' });
  link = connect(`ws/${id}`, {
    hello() {
      asked = null;
      return [['client_ready', greeting(id, seat)], ['get_room_state', {}]];
    },
    onStatus: (status) => update({ link: status, room: current().room && { ...current().room, pending: null } }),
    onFrame: (frame) => receive(frame, seat),
  });
}

function greeting(id, seat) {
  const ready = { room_id: id, is_reconnection: false, keep_seat: true };
  if (!seat) return ready;
  ready.player_name = seat.name;
  if (seat.token) ready.seat_token = seat.token;
  if (seat.entropy && !current().room?.started) ready.entropy = seat.entropy;
  return ready;
}

/** Closes the connection and forgets what was on the table. */
export function leaveRoom() {
  link?.close();
  link = null;
  wishes = null;
  update({ room: null, ui: { ...current().ui, ...freshUi(), entering: false } });
}

function receive(frame, seat) {
  const { room: before, ui, sound } = current();
  if (!before) return;
  const room = reduce(before, frame, performance.now());
  update({ room, ui: nextUi(ui, before, room) });
  if (room.closed) {
    forgetSeat(room.id);
    lookUpGame(room.id);
  } else if (seat && room.you) keepSeat(room.id, { ...seat, memory: memoryOf(room), over: Boolean(room.over) });
  if (sound && asksToNext(before, room)) tone();
  heard.get(frame.event)?.();
  for (const note of room.notes) if (!before.notes.includes(note)) setTimeout(() => takeDown(note), NOTE_MS);
  const said = changes(before, room);
  if (said.length) document.getElementById('say').textContent = said.join(' ');
  if (sound && room.plays.length > before.plays.length) click();
  if (sound && myTurn(room) && !myTurn(before)) tone();
  if (sound && room.notes.some((note) => note.key === 'note.sits' && !before.notes.includes(note))) tone();
  if (frame.event === 'phase_change' && asked !== room.round && lacksTurns(room) && send('request_recovery', {})) asked = room.round;
  if (wishes && room.known && room.you && room.phase === 'waiting') bringIn(room);
}

function takeDown(note) {
  const { room } = current();
  if (room?.notes.includes(note)) update({ room: { ...room, notes: room.notes.filter((other) => other !== note) } });
}

/** What was chosen for the same decision before a reload. */
function chosenBefore(room) {
  const choice = choiceAt(room.id);
  if (choice?.decision !== decisionKey(room)) return {};
  const free = [...room.hand];
  const taken = choice.kinds.map((kind) => free.splice(free.findIndex((piece) => piece.kind === kind), 1)[0]);
  return { selected: taken.map((piece) => piece.id), declare: choice.declare };
}

/** What was chosen stays as long as it makes sense. */
function nextUi(ui, before, room) {
  if (!before.known && room.hand.length) return { ...ui, ...chosenBefore(room) };
  const ids = new Set(room.hand.map((piece) => piece.id));
  const selected = ui.selected.filter((id) => ids.has(id));
  const order = ui.order.filter((id) => ids.has(id));
  const declare = room.phase === 'declaration' ? ui.declare : null;
  return { ...ui, selected, order: order.length === ids.size ? order : [], declare, dismissed: resultKey(room) === resultKey(before) ? ui.dismissed : null };
}

/**
 * Furnishes the room just opened: brings in `bots`, a list of `{seat, level}`, each on its seat or, where somebody was
 * faster, on another one; `start` begins the game as soon as the table is full.
 */
export function furnish(bots, start) {
  wishes = { bots: [...bots], start };
}

/** Asks for what is still missing, one thing for each answer. */
function bringIn({ players }) {
  const bot = wishes.bots.shift();
  if (bot) {
    const seat = players[bot.seat] ? players.lastIndexOf(null) : bot.seat;
    if (seat > 0) send('add_bot', { slot_id: seat + 1, level: bot.level });
    return;
  }
  if (wishes.start && !players.every(Boolean)) return;
  if (wishes.start) send('start_game', {});
  wishes = null;
}
