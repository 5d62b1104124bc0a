// What the player can do. Views call these; they change the state at once and send what the server must know.

import { current, update, updateUi } from './app.js';
import { dragStart, dragging } from './drag.js';
import { chosen, laidOut, limitsOf } from './hand.js';
import { createRoom, joinRoom } from './lobby.js';
import { moreGames, showMoment } from './papers.js';
import { playAgain } from './rematch.js';
import { furnish, leaveRoom, openRoom, send } from './room.js';
import { address, go, goToDoor } from './routes.js';
import { forgetSeat, keepChoice, keepWish, seatAt } from './seats.js';
import { click } from './sound.js';
import { decisionKey, leadOf, myTurn, resultKey, seenKey } from './state.js';
import { speak } from './words.js';

/** A name that the server takes: up to 20 signs, none that could be mistaken for markup. */
const NAME = /^[^<>&"'\r\n]{1,20}$/;
const COPIED_MS = 2000;

export const goodName = (name) => NAME.test(name.trim()) && name.trim() !== '';

/** Looks at the name before it is used; what is wrong is said beside it. */
function nameIsGood() {
  const name = current().name.trim();
  const nameError = name === '' ? 'missing' : goodName(name) ? null : 'bad';
  update({ name: nameError ? current().name : name, ui: { ...current().ui, nameError } });
  if (nameError) document.getElementById('name')?.focus();
  return !nameError;
}

/** Copies a text, and says whether that worked. */
async function copy(text) {
  let copied = 'yes';
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    if (!copyTheOldWay(text)) copied = 'no';
  }
  updateUi({ copied });
  setTimeout(() => updateUi({ copied: null }), COPIED_MS);
}

/** Plain http has no clipboard, but it can copy what is selected. */
function copyTheOldWay(text) {
  const { activeElement: focused } = document;
  const field = document.createElement('textarea');
  field.value = text;
  field.className = 'unseen';
  document.body.append(field);
  field.select();
  const done = document.execCommand('copy');
  field.remove();
  focused?.focus();
  return done;
}

/** Changes what is chosen, and keeps it for a reload. */
function choose(change) {
  updateUi(change);
  const { room, ui } = current();
  keepChoice(room.id, { decision: decisionKey(room), kinds: room.hand.filter((piece) => ui.selected.includes(piece.id)).map((piece) => piece.kind), declare: ui.declare });
}

export const act = {
  typeName(name) {
    keepWish('name', name.trim());
    update({ name, ui: { ...current().ui, nameError: null } });
  },
  typeCode: (code) => updateUi({ code: code.toUpperCase(), codeError: false }),
  create(withBots) {
    if (!nameIsGood()) return;
    createRoom(!withBots, (id, sit) => {
      sit();
      if (withBots) furnish([], true);
    });
  },
  joinByCode(event) {
    event.preventDefault();
    const code = current().ui.code.trim().toUpperCase();
    if (/^[0-9A-F]{6}$/.test(code)) act.enter(code);
    else updateUi({ codeError: true });
  },
  enter: (id) => go(`room/${id}`, { sit: true }),
  sit() {
    const { route, room } = current();
    if (nameIsGood()) joinRoom(route.id);
    else if (room) go(`room/${route.id}`, { stay: true }); // where a name can be given
  },
  watch(id = current().route.id) {
    go(`room/${id}`, { watch: true });
  },
  shareLink: () => address(`room/${current().room.id}`),
  copyLink: () => copy(act.shareLink()),
  addBot: (slot, level) => send('add_bot', { slot_id: slot, level }),
  removePlayer: (slot) => send('remove_player', { slot_id: slot }),
  fillWithBots() {
    current().room.players.forEach((player, i) => player || send('add_bot', { slot_id: i + 1 }));
  },
  start() {
    act.fillWithBots();
    send('start_game', {});
  },
  toggle(id) {
    if (dragging()) return;
    const selected = current().ui.selected.includes(id) ? current().ui.selected.filter((other) => other !== id) : [...current().ui.selected, id];
    choose({ selected });
  },
  select: (ids) => choose({ selected: ids }),
  clear: () => choose({ selected: [], declare: null }),
  focusTile: (i) => i !== current().ui.focus && updateUi({ focus: i }),
  play() {
    const { room, ui } = current();
    if (room.phase !== 'turn' || !myTurn(room)) return;
    const choice = chosen(room, ui);
    if (choice.verdict !== 'play' && choice.verdict !== 'waste') return;
    const ids = laidOut(room, ui.order).map((piece) => piece.id).filter((id) => ui.selected.includes(id));
    const indices = ids.map((id) => room.hand.findIndex((piece) => piece.id === id));
    if (!send('play', { piece_indices: indices, player_name: room.you, play_value: choice.value })) return;
    update({ room: { ...room, error: null, pending: { what: 'play', ids, kinds: choice.kinds, type: leadOf(room) && choice.type !== leadOf(room).type ? 'INVALID' : choice.type } } });
  },
  chooseDeclaration(value) {
    if (current().ui.declare === value) act.declare();
    else choose({ declare: value });
  },
  declare() {
    const { room, ui } = current();
    if (room.phase !== 'declaration' || !myTurn(room) || ui.declare === null || limitsOf(room)[ui.declare]) return;
    if (!send('declare', { value: ui.declare, player_name: room.you })) return;
    const players = room.players.map((player) => (player.name === room.you ? { ...player, declared: ui.declare } : player));
    update({ room: { ...room, players, error: null, pending: { what: 'declare' } } });
  },
  redeal(accept) {
    const { room } = current();
    if (!send(accept ? 'accept_redeal' : 'decline_redeal', { player_name: room.you })) return;
    update({ room: { ...room, error: null, pending: { what: 'redeal' } } });
  },
  /** The result that is shown has been seen: the scores go, and the table goes on when all have seen it. */
  dismiss() {
    const { room, ui } = current();
    const key = seenKey(room);
    if (key && key !== ui.seen && room.you !== null && room.tempo !== 'tea') send('seen', {});
    updateUi({ dismissed: resultKey(room), seen: key });
  },
  setTempo(tempo) {
    keepWish('tempo', tempo);
    update({ tempo });
  },
  open: (name) => updateUi({ sheet: name }),
  close: () => updateUi({ sheet: null }),
  /** Leaving is asked about where it costs somebody something: a running game, or a table where others sit. */
  askLeave() {
    const { room } = current();
    const others = room.players.some((player) => player && !player.bot && player.name !== room.you);
    if (room.you !== null && (room.phase !== 'waiting' || (room.host === room.you && others))) act.open('leave');
    else act.leave();
  },
  leave() {
    const { room } = current();
    const playing = room.phase !== 'waiting';
    if (room.you !== null) {
      send('leave_room', { player_name: room.you });
      if (!playing) forgetSeat(room.id);
    }
    leaveRoom();
    update({ route: { place: 'door' } });
    goToDoor();
  },
  again: playAgain,
  playHere: () => openRoom(current().room.id, seatAt(current().room.id)),
  follow(event) {
    if (event.metaKey || event.ctrlKey || event.shiftKey || event.button) return;
    event.preventDefault();
    const link = event.currentTarget.getAttribute('href');
    go(link === '.' ? '' : link);
  },
  setLanguage(lang) {
    keepWish('lang', lang);
    update({ lang: speak(lang) });
  },
  setSound(on) {
    keepWish('sound', on);
    update({ sound: on });
    if (on) click();
  },
  typeFilter: (name, value) => update({ pages: { ...current().pages, filter: { ...current().pages.filter, [name]: value } } }),
  filterGames(event) {
    event.preventDefault();
    const query = new URLSearchParams(Object.entries(current().pages.filter).filter(([, value]) => value.trim()));
    go(query.size ? `history?${query}` : 'history');
  },
  reload: () => go(location.pathname.slice(new URL(document.baseURI).pathname.length) + location.search, { stay: true }),
  moreGames,
  seek(at) {
    const { replay } = current();
    showMoment({ at: Math.max(0, Math.min(replay.steps.length - 1, at)) });
  },
  viewFrom: (seat) => showMoment({ seat }),
  openHands: () => showMoment({ open: !current().replay.open }),
  copyMoment: () => copy(location.href),
  back: () => go('history'),
  dragStart,
};
