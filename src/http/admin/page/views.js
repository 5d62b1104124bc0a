// What the page shows. Everything is read from the state; what is pressed goes to `act`.

import { chart } from './chart.js';
import { cls, h } from './dom.js';
import { bytes, bytesPerSecond, details, MOST_SAMPLES, perSecond, span, whole } from './figures.js';

const LEVELS = ['off', 'error', 'warning', 'info', 'debug', 'trace'];
const STAGES = [['', 'all'], ['waiting', 'waiting'], ['playing', 'playing'], ['over', 'over']];

export function signIn(state, act) {
  return h('main', { key: 'sign-in', class: 'place sign-in' },
    h('h1', null, 'Liap Tui: administration'),
    h('form', { class: 'card', onSubmit: act.signIn },
      h('label', { for: 'token' }, 'Token'),
      h('input', { id: 'token', type: 'password', autocomplete: 'current-password', required: true, 'aria-describedby': 'token-hint' }),
      state.error && h('p', { class: 'reason', role: 'alert' }, state.error),
      h('p', { id: 'token-hint', class: 'small' }, 'The ADMIN_TOKEN of the server; without one, the token it says in its log when it starts. It is kept in this tab until the tab is closed.'),
      h('button', { type: 'submit', class: 'primary' }, 'Enter')));
}

export function desk(state, act) {
  const { status } = state;
  return h('div', { key: 'desk', class: 'desk' },
    header(state, act),
    state.error && h('p', { key: 'error', class: 'banner-line reason', role: 'alert' }, state.error),
    h('p', { key: 'note', class: 'banner-line small', role: 'status' }, state.note ?? ''),
    h('main', { key: 'main', class: 'board' },
      status ? [charts(state), health(status), actions(state, act), totals(status)] : h('p', { key: 'coming', class: 'card' }, 'Asking the server…'),
      rooms(state, act), events(state, act)),
    state.closing && closing(state, act));
}

function header({ status, link }, act) {
  return h('header', { key: 'header', class: 'desk-bar' },
    h('h1', null, 'Liap Tui'),
    status && h('span', { key: 'phase', class: cls('pill', status.phase === 'ready' ? 'good' : 'warn') }, status.phase),
    status && h('span', { key: 'about', class: 'small' }, `${status.version}, up ${span(status.uptime_seconds)}`),
    link === 'lost' && h('span', { key: 'link', class: 'pill warn', role: 'status' }, 'connection lost'),
    h('button', { key: 'out', type: 'button', class: 'ghost', onClick: act.signOut }, 'Leave'));
}

function charts({ samples, status }) {
  const values = (name) => samples.map((sample) => sample[name]);
  const limit = status.memory.limit_bytes || null;
  const one = (key, name, show, more) => chart({ key, name, show, values: values(key), most: MOST_SAMPLES, ...more });
  const nearLimit = limit && status.memory.resident_bytes > limit / 4;
  return h('section', { key: 'charts', class: 'card charts', 'aria-label': 'Figures' },
    one('games', 'Games', whole), one('sockets', 'Sockets', whole), one('actions', 'Actions', perSecond),
    one('sent', 'Sent', bytesPerSecond), one('memory', 'Memory', bytes, { unit: 1048576, limit: nearLimit ? limit : null }), one('requests', 'Requests', perSecond));
}

function health({ health: report }) {
  return h('section', { key: 'health', class: 'card' },
    h('h2', null, 'Health ', h('span', { class: cls('pill', report.status === 'healthy' ? 'good' : 'warn') }, report.status)),
    h('ul', { class: 'checks' }, Object.entries(report.checks).map(([name, { status, message, ...figures }]) => h('li', { key: name },
      h('span', { class: cls('dot', status === 'healthy' ? 'good' : 'warn'), role: 'img', 'aria-label': status }), h('strong', null, name),
      h('span', { class: 'small' }, message ? `${message}. ` : '', details(figures))))));
}

function actions(state, act) {
  const { status, busy } = state;
  const button = (what, words, press) => h('button', { key: what, type: 'button', class: 'ghost', 'aria-disabled': busy === what ? 'true' : undefined, onClick: press }, busy === what ? 'Working…' : words);
  return h('section', { key: 'actions', class: 'card' },
    h('h2', null, 'Actions'),
    h('div', { class: 'action-list' },
      status.draining ? button('drain', 'Take newcomers again', () => act.drain(false)) : button('drain', 'Drain: take nobody new', () => act.drain(true)),
      button('flush', 'Flush the archive', act.flush),
      button('gc', 'Give memory back', act.gc),
      h('label', { class: 'level' }, h('span', null, 'Log level'),
        h('select', { value: status.log_level, onChange: (event) => act.logLevel(event.target.value) }, LEVELS.map((level) => h('option', { key: level, value: level }, level))))));
}

const TOTALS = [
  ['rooms_created', 'rooms opened'], ['games_started', 'games started'], ['games_finished', 'finished'], ['games_abandoned', 'abandoned'],
  ['archive_stored', 'archived'], ['archive_failures', 'archive failures'], ['take_overs', 'take-overs'], ['limited', 'over a limit'],
  ['rooms_refused', 'rooms refused'], ['sockets_refused', 'sockets refused'], ['malformed', 'malformed'], ['log_dropped', 'log lines lost'],
];

function totals(status) {
  return h('section', { key: 'totals', class: 'card' },
    h('h2', null, 'Since the start'),
    h('dl', { class: 'totals' }, TOTALS.map(([name, words]) => h('div', { key: name }, h('dt', null, words), h('dd', null, whole(status.totals[name] ?? 0))))));
}

function rooms({ rooms: list, stage }, act) {
  return h('section', { key: 'rooms', class: 'card wide' },
    h('h2', null, list ? `Rooms: ${whole(list.total)}` : 'Rooms'),
    h('div', { class: 'filters', role: 'group', 'aria-label': 'Which rooms' }, STAGES.map(([value, words]) => h('button', { key: words, type: 'button', class: 'ghost', 'aria-pressed': String(stage === value), onClick: () => act.stage(value) }, words))),
    list && list.rooms.length === 0 && h('p', { key: 'none', class: 'small' }, 'There are none.'),
    h('ul', { class: 'room-list' }, (list?.rooms ?? []).map((room) => h('li', { key: room.room_id },
      h('span', { class: 'room-id' }, room.room_id), h('span', { class: cls('pill', room.stage === 'playing' && 'good') }, room.round ? `${room.stage}, round ${room.round}` : room.stage),
      h('span', { class: 'small names' }, room.players.map((player) => player.name).join(', ')),
      h('span', { class: 'small' }, `${room.sockets} sockets`),
      h('button', { type: 'button', class: 'ghost', 'aria-label': `Close room ${room.room_id}`, onClick: () => act.askClose(room) }, 'Close…')))),
    list && list.total > list.rooms.length && h('p', { key: 'more', class: 'small' }, `The newest ${list.rooms.length} are shown.`));
}

function events({ events: list, filter, stream }, act) {
  const wanted = filter.trim().toLowerCase();
  const shown = list.filter((event) => !wanted || JSON.stringify(event).toLowerCase().includes(wanted));
  return h('section', { key: 'events', class: 'card wide' },
    h('h2', null, 'Events ', h('span', { class: cls('pill', stream === 'live' ? 'good' : 'warn') }, stream)),
    h('label', { class: 'unseen', for: 'filter' }, 'Show events with'),
    h('input', { id: 'filter', type: 'search', placeholder: 'Room, player, kind…', value: filter, onInput: (event) => act.filter(event.target.value) }),
    h('ol', { class: 'event-list', tabindex: '0', 'aria-label': 'Events, newest first' }, [...shown].reverse().map((event) => h('li', { key: event.number },
      h('time', { datetime: event.at }, event.at.slice(11, 19)), h('strong', null, event.kind.replaceAll('_', ' ')), h('span', { class: 'small' }, details(event))))));
}

function closing({ closing: room }, act) {
  return h('dialog', { key: 'closing', class: 'card closing', 'aria-labelledby': 'closing-title', created: (node) => node.showModal(), onCancel: act.keepRoom },
    h('form', { onSubmit: act.close },
      h('h2', { id: 'closing-title' }, `Close room ${room.room_id}?`),
      h('p', { class: 'small' }, room.stage === 'playing' ? 'Its game ends here, for everybody, and is archived as abandoned.' : 'Everybody in it is sent away.'),
      h('label', { for: 'message' }, 'What players are told'),
      h('input', { id: 'message', maxlength: '200', placeholder: 'The room was closed by the operator.' }),
      h('div', { class: 'buttons' },
        h('button', { type: 'button', class: 'ghost', onClick: act.keepRoom }, 'Keep it'),
        h('button', { type: 'submit', class: 'primary' }, 'Close it'))));
}
