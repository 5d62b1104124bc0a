// The door: a name, two big choices, the open tables, and how the game goes.

import { cls, h } from './dom.js';
import { refusal } from './hand.js';
import { rulesPictures } from './guide.js';
import { avatar } from './seat.js';
import { tile } from './tile.js';
import { t } from './words.js';

export function door(app, act) {
  const { ui, lobby } = app;
  const rooms = lobby.rooms.filter((room) => room.players.some((player) => player && !player.is_bot && player.is_connected !== false));
  return h('main', { key: 'door', class: 'place door' },
    h('header', { class: 'hero' },
      h('div', { class: 'hero-tiles', 'aria-hidden': 'true' },
        ['CHARIOT_RED', 'GENERAL_RED', 'GENERAL_BLACK', 'HORSE_BLACK'].map((kind) => tile(kind, { key: kind }))),
      h('h1', null, 'Liap Tui'),
      h('p', { class: 'motto' }, t('door.motto'))),
    h('div', { class: 'door-main' },
      keptSeat(app, act),
      nameField(app, act),
      h('div', { class: 'choices' },
        h('button', { type: 'button', class: 'choice primary', onClick: () => act.create(false) },
          h('strong', null, t('door.friends')), h('span', null, t('door.friendsHint'))),
        h('button', { type: 'button', class: 'choice', onClick: () => act.create(true) },
          h('strong', null, t('door.bots')), h('span', null, t('door.botsHint')))),
      tempoChoice(app, act),
      lobby.error && h('p', { class: 'reason', role: 'status' }, refusal(lobby.error)),
      lobby.status === 'lost' && h('p', { class: 'reason', role: 'status' }, t('door.offline')),
      h('section', { class: 'open-tables' },
        h('h2', null, t('door.tables')),
        rooms.length === 0 ? h('p', { class: 'small' }, lobby.status === 'open' ? t('door.noTables') : t('door.looking')) : null,
        h('ul', null, rooms.map((room) => openTable(room, act))),
        h('form', { class: 'by-code', onSubmit: act.joinByCode },
          h('label', { for: 'code' }, t('door.code')),
          h('input', { id: 'code', name: 'code', maxlength: 6, autocomplete: 'off', autocapitalize: 'characters', spellcheck: 'false', placeholder: '3FA9C1', pattern: '[0-9A-Fa-f]{6}', value: ui.code, onInput: (event) => act.typeCode(event.target.value) }),
          h('button', { type: 'submit', class: 'ghost' }, t('door.go'))),
        ui.codeError && h('p', { class: 'reason', role: 'status' }, t('door.codeWrong')))),
    app.archive && h('nav', { class: 'crumbs door-links' }, h('a', { href: 'history', onClick: act.follow }, t('door.history')), h('a', { href: 'leaderboard', onClick: act.follow }, t('door.leaders'))),
    h('section', { class: 'how' }, h('h2', null, t('guide.title')), rulesPictures()));
}

/** The way back to a table where a seat waits for us. */
export function keptSeat({ kept }, act) {
  return kept && h('p', { key: 'kept', class: 'kept panel' }, h('span', null, t(kept.playing ? 'door.keptPlaying' : 'door.kept', { id: kept.id })),
    h('a', { class: 'button ghost', href: `room/${kept.id}`, onClick: act.follow }, t('door.return')));
}

const TEMPI = ['tea', 'normal', 'blitz'];

/** How long the tables that we open pause. */
function tempoChoice({ tempo }, act) {
  return h('div', { class: 'tempo', role: 'group', 'aria-labelledby': 'tempo-label' }, h('span', { id: 'tempo-label' }, t('door.tempo')),
    TEMPI.map((name) => h('button', { key: name, type: 'button', class: 'ghost tiny', 'aria-pressed': tempo === name ? 'true' : 'false', title: t(`tempo.${name}.hint`), onClick: () => act.setTempo(name) }, t(`tempo.${name}`))));
}

/** Where the player says who he is; `ui.nameError` stands beside it. */
export function nameField(app, act) {
  return h('div', { class: 'name-field' },
    h('label', { for: 'name' }, t('door.name')),
    h('input', {
      id: 'name', name: 'name', maxlength: 20, autocomplete: 'nickname', spellcheck: 'false', placeholder: t('door.namePlaceholder'), value: app.name,
      'aria-invalid': app.ui.nameError ? 'true' : undefined, 'aria-describedby': app.ui.nameError ? 'name-error' : undefined, onInput: (event) => act.typeName(event.target.value),
    }),
    app.ui.nameError && h('p', { id: 'name-error', class: 'reason', role: 'status' }, t(`name.${app.ui.nameError}`)));
}

function openTable(room, act) {
  const full = room.players.every((player) => player && !player.is_bot);
  const names = room.players.map((player) => player?.name ?? t('wait.free'));
  return h('li', { key: room.room_id },
    h('button', {
      type: 'button', class: cls('open-table', full && 'full'), onClick: () => act.enter(room.room_id),
      'aria-label': full ? t('door.watchLabel', { host: room.host_name }) : t('door.joinLabel', { host: room.host_name, n: room.players.filter((player) => !player || player.is_bot).length }),
    },
      h('span', { class: 'dots' }, room.players.map((player, i) => (player
        ? avatar({ name: player.name, bot: player.is_bot, color: player.avatar_color, level: player.level }, { key: `s${i}`, class: 'tiny' })
        : h('span', { key: `s${i}`, class: 'hole tiny' })))),
      h('span', { class: 'names' }, names.join(' · ')),
      h('span', { class: 'code' }, full ? t('door.watch') : t('door.join'))));
}
