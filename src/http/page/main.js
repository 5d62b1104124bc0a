// Where everything meets: frames change the state, the state is drawn, what the player does goes out as frames.
// There is one `app` object; only `update` replaces it.

import { changes } from './announce.js';
import { gamesQuery, historyPlace, leadersPlace, load, playerPlace } from './archive.js';
import { door, nameField } from './door.js';
import { h, render } from './dom.js';
import { game, resultKey } from './game.js';
import { chosen, laidOut } from './hand.js';
import { iconButton } from './icons.js';
import { replayPlace, stepsOf, turnStep } from './replay.js';
import { gameOver } from './results.js';
import { declarationLimits } from './rules.js';
import { forgetSeat, freshEntropy, keepSeat, keepWish, memoryOf, seatAt, wish } from './seats.js';
import { languages, sheet } from './sheets.js';
import { click, tone } from './sound.js';
import { askedToRedeal, emptyRoom, leadOf, myTurn, reduce } from './state.js';
import { waiting } from './waiting.js';
import { connect } from './wire.js';
import { preferred, speak, t } from './words.js';

const NOTE_MS = 5000;
const NAME = /^[^<>&"'\r\n]{1,20}$/;

const freshUi = () => ({ selected: [], order: [], focus: 0, declare: null, dismissed: null, sheet: null, copied: false });

let app = {
  route: { place: 'door' },
  name: wish('name', ''),
  lang: speak(wish('lang', preferred(navigator.languages))),
  sound: wish('sound', false),
  archive: false, // whether this house keeps finished games
  lobby: { rooms: [], status: 'connecting', error: null },
  room: null,
  link: 'connecting',
  replay: null,
  pages: { filter: {} }, // what the history, player and leaderboard pages show
  ui: { ...freshUi(), code: '', codeError: false, nameError: null },
};

let drawn = false;

function update(change) {
  app = { ...app, ...change };
  if (drawn) return;
  drawn = true;
  queueMicrotask(draw);
}

const updateUi = (change) => update({ ui: { ...app.ui, ...change } });

// --- Drawing -------------------------------------------------------------------------------------------------------

function draw() {
  drawn = false;
  document.documentElement.lang = app.lang === 'zh' ? 'zh-Hans' : app.lang;
  document.title = title();
  render(document.getElementById('page'), [place(), notes(), sheet(app, act)].filter(Boolean));
}

function title() {
  const { room } = app;
  if (room && myTurn(room)) return `● ${t('say.yourTurn')} Liap Tui`;
  return room ? `Liap Tui · ${room.id}` : 'Liap Tui';
}

function place() {
  const { room, route } = app;
  if (route.place === 'room') {
    if (!room) return entrance();
    if (room.over) return gameOver(app, act);
    if (room.closed) return closed();
    if (!room.known) return h('main', { key: 'coming', class: 'place quiet-place' }, h('p', { class: 'ask' }, t('link.connecting')), linkLine());
    if (room.phase !== 'waiting') return h('div', { key: 'playing', class: 'playing' }, game(app, act), linkLine());
    return h('main', { key: 'room', class: 'place room' }, topBar(true), waiting(app, act), linkLine());
  }
  if (route.place === 'replay') return replayPlace(app, act);
  const page = { history: historyPlace, player: playerPlace, leaderboard: leadersPlace }[route.place] ?? door;
  return h('div', { key: 'front', class: 'front' }, topBar(false), page(app, act));
}

function topBar(inRoom) {
  return h('div', { key: 'top', class: 'top' },
    inRoom ? iconButton('back', t('bar.leave'), act.askLeave) : h('span', null),
    languages(app, act),
    inRoom ? iconButton('help', t('bar.rules'), () => act.open('rules')) : null);
}

/** For those who come by a link and have no seat yet. */
function entrance() {
  return h('main', { key: 'entrance', class: 'place door entrance' }, topBar(false),
    h('header', { class: 'hero small-hero' }, h('h1', null, 'Liap Tui'), h('p', { class: 'motto' }, t('enter.title', { id: app.route.id }))),
    app.ui.entering ? h('p', { class: 'ask' }, t('enter.connecting')) : h('form', { class: 'door-main', onSubmit: (event) => { event.preventDefault(); act.sit(); } },
      nameField(app, act),
      h('div', { class: 'buttons' },
        h('button', { type: 'button', class: 'ghost', onClick: () => act.watch() }, t('enter.watch')),
        h('button', { type: 'submit', class: 'primary' }, t('enter.sit')))));
}

function closed() {
  const known = ['not_found', 'host_left', 'player_removed'];
  const reason = known.includes(app.room.closed) ? app.room.closed : 'gone';
  return h('main', { key: 'closed', class: 'place quiet-place' },
    h('h1', null, t(`closed.${reason}`)), h('a', { class: 'button primary', href: '.', onClick: act.follow }, t('closed.door')));
}

function linkLine() {
  if (app.link === 'open' || app.room?.over) return null;
  if (app.link === 'connecting' && !app.room?.known) return null;
  const seated = app.room?.you !== null && app.room?.phase !== 'waiting';
  return h('div', { key: 'link', class: 'link-line', role: 'status' },
    h('p', null, app.link === 'replaced' ? t('link.replaced') : t(seated ? 'link.lost' : 'link.lostWaiting')),
    app.link === 'replaced' && h('button', { type: 'button', class: 'primary', onClick: act.playHere }, t('link.here')));
}

function notes() {
  const list = app.room?.notes ?? [];
  return h('div', { key: 'notes', class: 'notes', 'aria-live': 'polite' }, list.map((note) => h('p', { key: note.id }, t(note.key, note.params))));
}

// --- The lobby -----------------------------------------------------------------------------------------------------

let lobby = null;
let errand = null; // what to do in the lobby as soon as there is a connection

function openLobby() {
  if (lobby) return;
  lobby = connect('ws/lobby', {
    hello: () => [['client_ready', { room_id: 'lobby', is_reconnection: false }], ...(errand && !errand.sent ? [runErrand()] : [])],
    onStatus: (status) => update({ lobby: { ...app.lobby, status } }),
    onFrame: lobbyFrame,
  });
}

function closeLobby() {
  lobby?.close();
  lobby = null;
}

function runErrand() {
  errand.sent = true;
  return [errand.event, errand.data];
}

/** Asks the lobby for a seat: `create_room` or `join_room`. The answer is `room_created`, `room_joined` or `error`. */
function ask(event, data, then) {
  errand = { event, data, then, sent: false };
  openLobby();
  if (lobby.send(event, data)) errand.sent = true;
}

function lobbyFrame({ event, data }) {
  if (event === 'room_list_update') update({ lobby: { ...app.lobby, rooms: data.rooms ?? [], status: 'open' } });
  if (!errand) return;
  const { then } = errand;
  if (event === 'room_created' || event === 'room_joined') {
    errand = null;
    then(null, data);
  } else if (event === 'error') {
    errand = null;
    then(data);
  }
}

// --- The room ------------------------------------------------------------------------------------------------------

let table = null; // the connection to a room
let wishes = null; // how a new room is to be furnished, and whether to start at once

function openRoom(id, seat) {
  table?.close();
  closeLobby();
  const room = { ...emptyRoom(id, seat?.name ?? null), ...seat?.memory, entropy: seat?.entropy ?? null };
  update({ room, link: 'connecting', ui: { ...app.ui, ...freshUi() } });
  table = connect(`ws/${id}`, {
    hello: () => {
      const ready = { room_id: id, is_reconnection: false };
      if (seat) {
        ready.player_name = seat.name;
        if (seat.token) ready.seat_token = seat.token;
        if (seat.entropy && !app.room?.started) ready.entropy = seat.entropy;
      }
      return [['client_ready', ready], ['get_room_state', {}]];
    },
    onStatus: (link) => update({ link, room: app.room && link !== 'open' ? { ...app.room, pending: null } : app.room }),
    onFrame: (frame) => roomFrame(frame, seat),
  });
}

function leaveRoom() {
  table?.close();
  table = null;
  wishes = null;
  update({ room: null, ui: { ...app.ui, ...freshUi(), entering: false } });
}

function roomFrame(frame, seat) {
  const before = app.room;
  if (!before) return;
  const room = reduce(before, frame, performance.now());
  const ui = nextUi(app.ui, before, room);
  update({ room, ui });
  const { id } = room;
  if (room.closed === 'not_found' || room.closed === 'player_removed') forgetSeat(id);
  else if (seat && room.you) keepSeat(id, { ...seat, memory: memoryOf(room) });
  for (const added of room.notes) {
    if (!before.notes.includes(added)) setTimeout(() => app.room?.id === id && update({ room: { ...app.room, notes: app.room.notes.filter((other) => other.id !== added.id) } }), NOTE_MS);
  }
  const said = changes(before, room);
  if (said.length) document.getElementById('say').textContent = said.join(' ');
  if (app.sound) {
    if (room.plays.length > before.plays.length) click();
    if (myTurn(room) && !myTurn(before)) tone();
  }
  if (wishes && room.you && room.phase === 'waiting') furnish(room);
}

/** What was chosen stays as long as it makes sense. */
function nextUi(ui, before, room) {
  const ids = new Set(room.hand.map((piece) => piece.id));
  const selected = ui.selected.filter((id) => ids.has(id));
  const order = ui.order.filter((id) => ids.has(id));
  const declare = room.phase === 'declaration' ? ui.declare : null;
  return { ...ui, selected, order: order.length === ids.size ? order : [], declare, dismissed: resultKey(room) === resultKey(before) ? ui.dismissed : null };
}

/** Brings a new room into the wanted order, one step for each answer, then starts it if that was wanted. */
function furnish(room) {
  for (let i = 1; i < 4; i += 1) {
    const wanted = wishes.seats?.[i];
    const there = room.players[i];
    if (wanted === 'free' && there?.bot) return send('remove_player', { slot_id: i + 1 });
    if (wanted && wanted !== 'free' && there?.bot && there.level && there.level !== wanted && !wishes.tried.has(i)) {
      wishes.tried.add(i);
      return act.addBot(i + 1, wanted);
    }
  }
  const { start } = wishes;
  if (start && room.players.every(Boolean)) {
    wishes = null;
    return send('start_game', {});
  }
  if (!start) wishes = null;
  return undefined;
}

const send = (event, data) => table?.send(event, data) ?? false;

// --- What the player does ------------------------------------------------------------------------------------------

function nameIsGood() {
  const name = app.name.trim();
  const error = name === '' ? 'missing' : NAME.test(name) ? null : 'bad';
  updateUi({ nameError: error });
  if (error) document.getElementById('name')?.focus();
  else if (name !== app.name) update({ name });
  return !error;
}

/** What the server finds wrong with a name, or null when its refusal is about something else. */
function nameErrorIn(message) {
  if (!/player name/i.test(message)) return null;
  if (/reserved/i.test(message)) return 'reserved';
  return /taken|already/i.test(message) ? 'taken' : 'bad';
}

function takeSeat(id, name, data, entropy) {
  const seat = { name, token: data.seat_token ?? null, entropy };
  keepSeat(id, seat);
  go(`room/${id}`);
}

function createRoom(seats, start) {
  const { name } = app;
  ask('create_room', { player_name: name }, (error, data) => {
    if (error) {
      const nameError = nameErrorIn(error.message);
      if (nameError) updateUi({ nameError });
      else update({ lobby: { ...app.lobby, error } });
      return;
    }
    takeSeat(data.room_id, name, data, freshEntropy());
    wishes = { seats, start, tried: new Set() };
  });
}

function joinRoom(id) {
  const { name } = app;
  update({ ui: { ...app.ui, entering: true } });
  ask('join_room', { room_id: id, player_name: name }, (error, data) => {
    updateUi({ entering: false });
    if (!error) takeSeat(id, data.player_name ?? name, data, freshEntropy());
    else if (nameErrorIn(error.message)) {
      // Back to the entrance, with what is wrong beside the name.
      table?.close();
      table = null;
      update({ room: null, route: { place: 'room', id }, ui: { ...app.ui, nameError: nameErrorIn(error.message) } });
    } else act.watch(id);
  });
}

const act = {
  typeName(name) {
    keepWish('name', name.trim());
    update({ name, ui: { ...app.ui, nameError: null } });
  },
  typeCode: (code) => updateUi({ code: code.toUpperCase(), codeError: false }),
  create(withBots) {
    if (nameIsGood()) createRoom(null, withBots);
  },
  joinByCode(event) {
    event.preventDefault();
    const code = app.ui.code.trim().toUpperCase();
    if (/^[0-9A-F]{6}$/.test(code)) act.enter(code);
    else updateUi({ codeError: true });
  },
  enter: (id) => go(`room/${id}`),
  sit() {
    if (nameIsGood()) joinRoom(app.route.id);
  },
  watch(id = app.route.id) {
    go(`room/${id}`, { watch: true });
  },
  shareLink: () => address(`room/${app.room.id}`),
  async copyLink() {
    try {
      await navigator.clipboard.writeText(act.shareLink());
    } catch {
      // No clipboard on plain http: the old way, from the field beside the button.
      document.querySelector('.share-link')?.select();
      document.execCommand('copy');
    }
    updateUi({ copied: true });
    setTimeout(() => updateUi({ copied: false }), 2000);
  },
  addBot: (slot, level) => send('add_bot', { slot_id: slot, level }),
  removePlayer: (slot) => send('remove_player', { slot_id: slot }),
  start: () => send('start_game', {}),
  toggle(id) {
    if (drag?.moved) return;
    const selected = app.ui.selected.includes(id) ? app.ui.selected.filter((other) => other !== id) : [...app.ui.selected, id];
    updateUi({ selected });
  },
  select: (ids) => updateUi({ selected: ids }),
  clear: () => updateUi({ selected: [], declare: null }),
  focusTile: (i) => i !== app.ui.focus && updateUi({ focus: i }),
  play() {
    const { room, ui } = app;
    if (room.phase !== 'turn' || !myTurn(room)) return;
    const choice = chosen(room, ui);
    if (choice.verdict !== 'play' && choice.verdict !== 'waste') return;
    const ids = laidOut(room, ui.order).map((piece) => piece.id).filter((id) => ui.selected.includes(id));
    const indices = ids.map((id) => room.hand.findIndex((piece) => piece.id === id));
    if (!send('play', { piece_indices: indices, player_name: room.you, play_value: choice.value })) return;
    update({ room: { ...room, error: null, pending: { what: 'play', ids, kinds: choice.kinds, type: leadOf(room) && choice.type !== leadOf(room).type ? 'INVALID' : choice.type } } });
  },
  chooseDeclaration(value) {
    if (app.ui.declare === value) act.declare();
    else updateUi({ declare: value });
  },
  declare() {
    const { room, ui } = app;
    if (room.phase !== 'declaration' || !myTurn(room) || ui.declare === null || limits(room)[ui.declare]) return;
    if (!send('declare', { value: ui.declare, player_name: room.you })) return;
    const players = room.players.map((player) => (player.name === room.you ? { ...player, declared: ui.declare } : player));
    update({ room: { ...room, players, error: null, pending: { what: 'declare' } } });
  },
  redeal(accept) {
    const { room } = app;
    if (!send(accept ? 'accept_redeal' : 'decline_redeal', { player_name: room.you })) return;
    update({ room: { ...room, error: null, pending: { what: 'redeal' } } });
  },
  dismiss: () => updateUi({ dismissed: resultKey(app.room) }),
  open: (name) => updateUi({ sheet: name }),
  close: () => updateUi({ sheet: null }),
  askLeave() {
    if (app.room?.you === null) act.leave();
    else act.open('leave');
  },
  leave() {
    const { room } = app;
    if (room?.you) {
      send('leave_room', { player_name: room.you });
      if (room.phase === 'waiting') forgetSeat(room.id);
    }
    go('');
  },
  again() {
    const { room } = app;
    const own = room.players.findIndex((player) => player?.name === room.you);
    const others = [1, 2, 3].map((i) => room.players[(own + i) % 4]);
    const seats = [null, ...others.map((player) => (player?.bot ? player.level ?? 'normal' : 'free'))];
    update({ name: room.you });
    createRoom(seats, seats.every((seat) => seat !== 'free'));
  },
  playHere: () => openRoom(app.room.id, seatAt(app.room.id)),
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
  typeFilter: (name, value) => update({ pages: { ...app.pages, filter: { ...app.pages.filter, [name]: value } } }),
  filterGames(event) {
    event.preventDefault();
    const query = new URLSearchParams(Object.entries(app.pages.filter).filter(([, value]) => value.trim()));
    go(query.size ? `history?${query}` : 'history');
  },
  async moreGames() {
    const { list, filter } = app.pages;
    const more = await load(gamesQuery(filter, list.next_cursor));
    if (more && app.pages.list === list) update({ pages: { ...app.pages, list: { ...more, games: [...list.games, ...more.games] } } });
  },
  seek(at) {
    const { replay } = app;
    showMoment({ at: Math.max(0, Math.min(replay.steps.length - 1, at)) });
  },
  viewFrom: (seat) => showMoment({ seat }),
  openHands: () => showMoment({ open: !app.replay.open }),
  async copyMoment() {
    try {
      await navigator.clipboard.writeText(location.href);
      updateUi({ copied: true });
      setTimeout(() => updateUi({ copied: false }), 2000);
    } catch {
      // No clipboard on plain http; the address bar shows the same link.
    }
  },
  back: () => go('history'),
  dragStart,
};

function limits(room) {
  const own = room.players.find((player) => player.name === room.you);
  return declarationLimits(Object.values(room.declarations), own?.zeroStreak ?? 0);
}

// --- Moving tiles in the hand --------------------------------------------------------------------------------------

const DRAG_FROM_PX = 12;
let drag = null;

function dragStart(event, id) {
  if (event.button) return;
  drag = { id, x: event.clientX, y: event.clientY, moved: false };
  const move = (now) => {
    if (!drag.moved && Math.hypot(now.clientX - drag.x, now.clientY - drag.y) < DRAG_FROM_PX) return;
    drag.moved = true;
    const over = document.elementFromPoint(now.clientX, now.clientY)?.closest('[data-piece]');
    if (over && over.dataset.piece !== id) moveTile(id, over.dataset.piece);
  };
  const end = () => {
    document.removeEventListener('pointermove', move);
    document.removeEventListener('pointerup', end);
    document.removeEventListener('pointercancel', end);
    setTimeout(() => { drag = null; }); // after the click that ends a drag
  };
  document.addEventListener('pointermove', move);
  document.addEventListener('pointerup', end);
  document.addEventListener('pointercancel', end);
}

function moveTile(id, to) {
  const order = laidOut(app.room, app.ui.order).map((piece) => piece.id);
  const target = order.indexOf(to);
  order.splice(order.indexOf(id), 1);
  order.splice(target, 0, id);
  updateUi({ order });
}

// --- Keys ----------------------------------------------------------------------------------------------------------

document.addEventListener('keydown', (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || app.ui.sheet || event.target.closest('input:not([type="range"]), select, textarea')) return;
  if (event.key === '?') {
    act.open('keys');
    event.preventDefault();
    return;
  }
  const { room, replay } = app;
  if (app.route.place === 'replay' && replay?.record) {
    const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (step) act.seek(event.shiftKey ? turnStep(replay.steps, replay.at, step) : replay.at + step);
    if (step) event.preventDefault();
    return;
  }
  if (!room || room.phase === 'waiting' || room.over) return;
  if (tableKey(event, room)) event.preventDefault();
});

function tableKey(event, room) {
  const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
  const onTile = event.target.closest('.tile-button');
  const free = onTile || event.target.closest('button, a') === null;
  if (event.key === 'Escape') {
    act.clear();
    return true;
  }
  if (step && askedToRedeal(room)) {
    document.querySelectorAll('.actions .buttons button')[step > 0 ? 1 : 0]?.focus();
    return true;
  }
  if (room.phase === 'declaration' && myTurn(room)) {
    if (/^[0-8]$/.test(event.key)) {
      act.chooseDeclaration(Number(event.key));
      return true;
    }
    if (step && !onTile) {
      const barred = limits(room);
      let value = app.ui.declare ?? (step > 0 ? -1 : 9);
      do value += step; while (barred[value]);
      if (value >= 0 && value <= 8) updateUi({ declare: value });
      return true;
    }
    if (event.key === 'Enter' && (free || event.target.closest('.chip'))) {
      act.declare();
      return true;
    }
  }
  if (step && room.hand.length) {
    const tiles = [...document.querySelectorAll('.tile-button')];
    const to = onTile ? tiles.indexOf(onTile) + step : app.ui.focus;
    const next = Math.max(0, Math.min(tiles.length - 1, to));
    if (event.shiftKey && onTile) moveTile(onTile.dataset.piece, tiles[next].dataset.piece);
    else tiles[next]?.focus();
    return true;
  }
  if (event.key === ' ' && !onTile && free && room.hand.length) {
    const piece = laidOut(room, app.ui.order)[app.ui.focus];
    if (piece) act.toggle(piece.id);
    return true;
  }
  if (event.key === 'Enter' && free) {
    if (room.phase === 'scoring') act.dismiss();
    else act.play();
    return true;
  }
  return false;
}

// --- Finished games ------------------------------------------------------------------------------------------------

/** Another moment or view of the replay; the address always leads back to it. */
function showMoment(change) {
  const replay = { ...app.replay, ...change };
  update({ replay });
  const query = new URLSearchParams({ at: replay.at, seat: replay.seat + 1, ...(replay.open ? { open: 1 } : {}) });
  history.replaceState(null, '', `${location.pathname}?${query}`);
}

async function openReplay(id, query) {
  update({ replay: null });
  const record = await load(`api/games/${id}`);
  if (app.route.id !== id) return;
  if (!record?.rounds?.length) {
    update({ replay: { record: null } });
    return;
  }
  const steps = stepsOf(record);
  const own = record.players.findIndex((player) => player.name === app.name);
  const number = (name, otherwise, most) => Math.max(0, Math.min(most, query.has(name) ? Number(query.get(name)) || 0 : otherwise));
  update({ replay: { record, steps, at: number('at', 0, steps.length - 1), seat: query.has('seat') ? Math.max(0, number('seat', 1, 4) - 1) : Math.max(0, own), open: query.has('open') } });
}

async function openPage(route, query) {
  const here = () => app.route === route;
  if (route.place === 'history') {
    const filter = Object.fromEntries(query);
    update({ pages: { filter } });
    const list = await load(gamesQuery(filter));
    if (here()) update({ pages: { ...app.pages, list } });
  } else if (route.place === 'player') {
    update({ pages: { filter: {} } });
    const player = await load(`api/players/${encodeURIComponent(route.name)}`);
    if (here()) update({ pages: { ...app.pages, player } });
  } else if (route.place === 'leaderboard') {
    update({ pages: { filter: {} } });
    const leaders = await load('api/leaderboard');
    if (here()) update({ pages: { ...app.pages, leaders } });
  }
}

// --- Addresses -----------------------------------------------------------------------------------------------------

const base = new URL(document.baseURI);
const address = (path) => new URL(path, base).href;

function routeOf(url) {
  const path = decodeURIComponent(url.pathname.slice(base.pathname.length));
  const [first, id] = path.split('/');
  if ((first === 'room' || first === 'game') && /^[0-9A-Fa-f]{6}$/.test(id ?? '') && !path.endsWith('/replay')) return { place: 'room', id: id.toUpperCase() };
  if (first === 'replay' && id) return { place: 'replay', id };
  if (first === 'game' && id && path.endsWith('/replay')) return { place: 'replay', id };
  if (first === 'player' && id) return { place: 'player', name: id };
  if (first === 'history' || first === 'leaderboard') return { place: first };
  return { place: 'door' };
}

function go(path, how) {
  history.pushState(null, '', address(path));
  enter(how);
}

/** Shows what the address says. */
function enter(how = {}) {
  const url = new URL(location.href);
  const route = routeOf(url);
  leaveRoom();
  update({ route, lobby: { ...app.lobby, error: null }, ui: { ...app.ui, code: '', codeError: false } });
  globalThis.scrollTo(0, 0);
  if (route.place === 'door') {
    openLobby();
    askForArchive();
  } else if (route.place === 'replay') {
    openReplay(route.id, url.searchParams);
  } else if (route.place !== 'room') {
    openPage(route, url.searchParams);
  } else {
    const seat = seatAt(route.id);
    if (how.watch) openRoom(route.id, null);
    else if (seat) openRoom(route.id, seat);
    else if (app.name && NAME.test(app.name)) joinRoom(route.id);
  }
}

let archiveAsked = false;

/** Links to finished games show only in a house that keeps them. */
async function askForArchive() {
  if (archiveAsked) return;
  archiveAsked = true;
  if (await load('api/games?limit=1')) update({ archive: true });
}

globalThis.addEventListener('popstate', () => enter());
document.body.classList.add('ready');
enter();
