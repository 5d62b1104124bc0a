// The connection to one room: what arrives changes the state, is said aloud and kept for a reload.

import { changes } from './announce.js';
import { current, freshUi, update } from './app.js';
import { resultKey } from './game.js';
import { closeLobby } from './lobby.js';
import { forgetSeat, keepSeat, memoryOf } from './seats.js';
import { click, tone } from './sound.js';
import { emptyRoom, lacksTurns, myTurn, reduce } from './state.js';
import { connect } from './wire.js';

const NOTE_MS = 5000;

let link = null;
let asked = null; // the round of which missed turns were asked for, once on each connection
let wishes = null; // how a new room is to be furnished: {seats, start, asked}

/** Sends a frame to the room; false when there is no connection. */
export const send = (event, data) => link?.send(event, data) ?? false;

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
  if (room.closed === 'not_found' || room.closed === 'player_removed') forgetSeat(room.id);
  else if (seat && room.you) keepSeat(room.id, { ...seat, memory: memoryOf(room) });
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

/** What was chosen stays as long as it makes sense. */
function nextUi(ui, before, room) {
  const ids = new Set(room.hand.map((piece) => piece.id));
  const selected = ui.selected.filter((id) => ids.has(id));
  const order = ui.order.filter((id) => ids.has(id));
  const declare = room.phase === 'declaration' ? ui.declare : null;
  return { ...ui, selected, order: order.length === ids.size ? order : [], declare, dismissed: resultKey(room) === resultKey(before) ? ui.dismissed : null };
}

/**
 * Furnishes the room just opened: `seats[i]` is `free`, a bot's level, or nothing for as it comes; `start` begins the
 * game as soon as the table is as wanted.
 */
export function furnish(seats, start) {
  wishes = { seats, start, asked: new Set() };
}

/** Asks for what is still missing, one thing for each answer. */
function bringIn(room) {
  for (let i = 1; i < 4; i += 1) {
    const wanted = wishes.seats?.[i];
    const bot = room.players[i]?.bot && room.players[i];
    if (!wanted || !bot || wishes.asked.has(i)) continue;
    if (wanted === 'free' || bot.level !== wanted) {
      wishes.asked.add(i);
      if (wanted === 'free') send('remove_player', { slot_id: i + 1 });
      else send('add_bot', { slot_id: i + 1, level: wanted });
      return;
    }
  }
  if (!wishes.start) wishes = null;
  else if (room.players.every(Boolean)) {
    wishes = null;
    send('start_game', {});
  }
}
