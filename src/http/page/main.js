// Where everything meets: frames change the state, the state is drawn, what the player does goes out as frames.

import { act, goodName } from './acts.js';
import { current, update, whenChanged } from './app.js';
import { gameRow, historyPlace, leadersPlace, playerPlace } from './archive.js';
import { h, render } from './dom.js';
import { door, keptSeat, nameField } from './door.js';
import { game } from './game.js';
import { refusal } from './hand.js';
import { iconButton } from './icons.js';
import { listen } from './keys.js';
import { joinRoom, openLobby } from './lobby.js';
import { askForArchive, lookUpGame, openPage, openReplay } from './papers.js';
import { replayPlace } from './replay.js';
import { gameOver } from './results.js';
import { comeBack, leaveRoom, openRoom } from './room.js';
import { routeOf, whenArriving } from './routes.js';
import { heldSeat, seatAt } from './seats.js';
import { languages, sheet } from './sheets.js';
import { myTurn } from './state.js';
import { waiting } from './waiting.js';
import { t } from './words.js';

function draw(app) {
  document.documentElement.lang = app.lang === 'zh' ? 'zh-Hans' : app.lang;
  document.title = title(app);
  render(document.getElementById('page'), [place(app), notes(app), sheet(app, act)].filter(Boolean));
}

function title({ room }) {
  if (room && myTurn(room)) return `● ${t('say.yourTurn')} Liap Tui`;
  return room ? `Liap Tui · ${room.id}` : 'Liap Tui';
}

function place(app) {
  const { room, route } = app;
  if (route.place === 'room') {
    if (!room) return entrance(app);
    if (room.over) return h('div', { key: 'ended' }, gameOver(app, act));
    if (room.closed) return closed(app);
    if (!room.known) return h('main', { key: 'coming', class: 'place quiet-place' }, h('h1', null, t('link.connecting')), h('a', { class: 'button ghost', href: '.', onClick: act.follow }, t('closed.door')), linkLine(app));
    if (room.phase !== 'waiting') return h('div', { key: 'playing', class: 'playing' }, game(app, act, tableName(room)), linkLine(app));
    return h('main', { key: 'room', class: 'place room' }, tableName(room), topBar(app, true), waiting(app, act), linkLine(app));
  }
  if (route.place === 'replay') return replayPlace(app, act);
  const page = { history: historyPlace, player: playerPlace, leaderboard: leadersPlace }[route.place] ?? door;
  return h('div', { key: 'front', class: 'front' }, topBar(app, false), page(app, act));
}

/** The heading of a table, for those who go from heading to heading. */
const tableName = ({ id }) => h('h1', { class: 'unseen' }, t('wait.code'), ' ', id);

function topBar(app, inRoom) {
  return h('header', { key: 'top', class: 'top' },
    inRoom ? h('button', { type: 'button', class: 'ghost tiny leave', onClick: act.askLeave }, t('leave.go')) : h('span', null),
    languages(app, act),
    inRoom ? iconButton('help', t('bar.rules'), () => act.open('rules')) : null);
}

/** For those who come by a link and have no seat yet. */
function entrance(app) {
  return h('main', { key: 'entrance', class: 'place door entrance' }, topBar(app, false),
    h('header', { class: 'hero small-hero' }, h('h1', null, 'Liap Tui'), h('p', { class: 'motto' }, t('enter.title', { id: app.route.id }))),
    app.lobby.error && h('p', { class: 'reason', role: 'status' }, refusal(app.lobby.error)),
    app.ui.entering ? h('p', { class: 'ask' }, t('enter.connecting')) : h('form', { class: 'door-main', onSubmit: (event) => { event.preventDefault(); act.sit(); } },
      nameField(app, act),
      h('div', { class: 'buttons' },
        h('button', { type: 'button', class: 'ghost', onClick: () => act.watch() }, t('enter.watch')),
        h('button', { type: 'submit', class: 'primary' }, t('enter.sit')))),
    lastGame(app));
}

/** What was played at the table whose address this is: its result, and the way to the replay. */
function lastGame(app) {
  return app.game && h('section', { key: 'last-game', class: 'last-game' }, h('h2', null, t('closed.lastGame')), h('ul', null, gameRow(app.game, act)));
}

function closed(app) {
  const known = ['not_found', 'host_left', 'player_removed', 'finished'];
  const reason = known.includes(app.room.closed) ? app.room.closed : 'gone';
  return h('main', { key: 'closed', class: 'place quiet-place' },
    h('h1', null, t(app.game ? 'closed.finished' : `closed.${reason}`)),
    app.room.closedWords && h('p', { class: 'motto' }, t('closed.words', { words: app.room.closedWords })),
    lastGame(app), h('a', { class: 'button primary', href: '.', onClick: act.follow }, t('closed.door')));
}

function linkLine(app) {
  if (app.link === 'open' || app.room?.over) return null;
  if (app.link === 'connecting' && !app.room?.known) return null;
  const playing = app.room?.you !== null && app.room?.phase !== 'waiting';
  const words = {
    replaced: 'link.replaced', restarting: playing ? 'link.restarting' : 'link.restartingWaiting',
  }[app.link] ?? (navigator.onLine === false ? 'link.offline' : playing ? 'link.lost' : 'link.lostWaiting');
  return h('div', { key: 'link', class: 'link-line', role: 'status' },
    h('p', null, t(words)),
    app.link === 'replaced' ? h('button', { key: 'here', type: 'button', class: 'primary', onClick: act.playHere }, t('link.here'))
      : h('button', { key: 'now', type: 'button', class: 'ghost', onClick: comeBack }, t('link.now')));
}

function notes(app) {
  const list = [...(app.room?.notes ?? [])];
  if (app.replay && app.ui.copied) list.push({ id: 'copied', key: app.ui.copied === 'yes' ? 'replay.copied' : 'replay.notCopied' });
  return h('div', { key: 'notes', class: 'notes', 'aria-live': 'polite' }, list.map((note) => h('p', { key: note.id }, t(note.key, note.params))));
}

/** Shows what the address says. */
function arrive({ watch = false, sit = false }) {
  const url = new URL(location.href);
  const route = routeOf(url);
  leaveRoom();
  const { lobby, ui, name } = current();
  update({ route, kept: heldSeat(route.id), game: null, lobby: { ...lobby, error: null }, ui: { ...ui, code: '', codeError: false } });
  globalThis.scrollTo(0, 0);
  askForArchive();
  if (route.place === 'door') {
    openLobby();
  } else if (route.place === 'replay') {
    openReplay(route, url.searchParams);
  } else if (route.place !== 'room') {
    openPage(route, url.searchParams);
  } else {
    const seat = watch ? null : seatAt(route.id);
    if (seat || watch) openRoom(route.id, seat);
    else if (sit && goodName(name)) joinRoom(route.id);
    else lookUpGame(route.id);
  }
}

whenChanged(draw);
whenArriving(arrive);
listen();
arrive({});
