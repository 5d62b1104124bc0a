// The way into a room: the list of open tables, and asking for a seat.

import { current, update, updateUi } from './app.js';
import { go } from './routes.js';
import { freshEntropy, keepSeat } from './seats.js';
import { connect } from './wire.js';

/** After so long a question counts as not answered. */
const ANSWER_WITHIN_MS = 12000;

let link = null;
let errand = null; // what to ask as soon as there is a connection: {event, data, then, sent, late}

export function openLobby() {
  if (link) return;
  link = connect('ws/lobby', {
    hello: () => [['client_ready', { room_id: 'lobby', is_reconnection: false }], ...(errand && !errand.sent ? [runErrand()] : [])],
    onStatus(status) {
      if (status !== 'open' && errand) errand.sent = false; // asked again on the next connection
      update({ lobby: { ...current().lobby, status } });
    },
    onFrame: receive,
  });
}

export function closeLobby() {
  link?.close();
  link = null;
  drop();
}

/** Forgets what was asked; gives it. */
function drop() {
  const dropped = errand;
  clearTimeout(errand?.late);
  errand = null;
  return dropped;
}

function runErrand() {
  errand.sent = true;
  return [errand.event, errand.data];
}

function ask(event, data, then) {
  drop();
  errand = { event, data, then, sent: false, late: setTimeout(() => drop()?.then({ message: 'no answer', type: 'no_answer' }, null), ANSWER_WITHIN_MS) };
  openLobby();
  if (link.send(event, data)) errand.sent = true;
  else link.wake();
}

function receive({ event, data }) {
  if (event === 'room_list_update') update({ lobby: { ...current().lobby, rooms: data.rooms ?? [], status: 'open' } });
  if (!errand || !['room_created', 'room_joined', 'error'].includes(event)) return;
  const { then } = drop();
  if (event === 'error') then(data, null);
  else then(null, data);
}

/** What the server finds wrong with a name, or null when its refusal is about something else. */
function nameErrorIn(message) {
  if (!/player name/i.test(message)) return null;
  if (/reserved/i.test(message)) return 'reserved';
  return /taken|already/i.test(message) ? 'taken' : 'bad';
}

function takeSeat(id, name, data) {
  keepSeat(id, { name, token: data.seat_token ?? null, entropy: freshEntropy() });
  go(`room/${id}`, { stay: current().route.id === id });
}

/** Opens a room, its other seats free or with bots, at the tempo that the player likes; `then(id, sit)` goes on, and `sit()` goes there. */
export function createRoom(openSeats, then) {
  const { name, tempo } = current();
  updateUi({ entering: true });
  ask('create_room', { player_name: name, open_seats: openSeats, tempo }, (error, data) => {
    updateUi({ entering: false });
    const nameError = error && nameErrorIn(error.message);
    if (nameError) updateUi({ nameError });
    else if (error) update({ lobby: { ...current().lobby, error } });
    else then(data.room_id, () => takeSeat(data.room_id, name, data));
  });
}

/** Takes a free seat, or a bot's; where four persons sit or play, watches. `gone()` is called where there is no such room. */
export function joinRoom(id, gone = null) {
  const { name } = current();
  updateUi({ entering: true });
  ask('join_room', { room_id: id, player_name: name, take_bot_seat: true }, (error, data) => {
    updateUi({ entering: false });
    const nameError = error && nameErrorIn(error.message);
    if (nameError) {
      go(`room/${id}`, { stay: current().route.id === id }); // back to the entrance
      updateUi({ nameError });
    } else if (gone && /not found/i.test(error?.message)) gone();
    else if (error?.type === 'no_answer') update({ lobby: { ...current().lobby, error } });
    else if (error) go(`room/${id}`, { watch: true, stay: current().route.id === id });
    else takeSeat(id, data.player_name ?? name, data);
  });
}
