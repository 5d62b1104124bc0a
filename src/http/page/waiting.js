// The table before the game: who sits where, bots and their levels, the link for friends.

import { h } from './dom.js';
import { iconButton } from './icons.js';
import { refusal } from './hand.js';
import { qr } from './qr.js';
import { avatar } from './seat.js';
import { table } from './table.js';
import { t } from './words.js';

const LEVELS = ['easy', 'normal', 'hard'];

export function waiting(app, act) {
  const { room, ui } = app;
  const seated = room.you !== null;
  const host = seated && room.host === room.you;
  const free = room.players.filter((player) => !player).length;
  const persons = room.players.filter((player) => player && !player.bot).length;
  const bottom = Math.max(0, room.players.findIndex((player) => player?.name === room.you));
  return h('div', { key: 'waiting', class: 'place waiting' },
    table({
      players: room.players, bottom, you: room.you, showPiles: false,
      seats: (player, i) => seatBox(player, i, { host, seated, you: room.you, act }),
      centre: h('div', { class: 'pot', 'aria-hidden': 'true' }, teapot()),
    }),
    h('div', { class: 'below' },
      room.error && h('p', { class: 'reason', role: 'status' }, refusal(room.error)),
      host && free > 0 && h('p', { key: 'need', class: 'ask' }, t('wait.needFour', { n: free })),
      host && h('button', { key: 'start', type: 'button', class: 'primary big', onClick: act.start }, free > 0 ? t('wait.startWithBots', { n: free }) : t('wait.start')),
      host && free > 0 && h('button', { key: 'fill', type: 'button', class: 'ghost', onClick: act.fillWithBots }, t('wait.fill')),
      !host && seated && h('p', { key: 'host', class: 'ask' }, t('wait.forHost', { name: room.host })),
      !seated && (persons === 4 ? h('p', { key: 'full', class: 'ask' }, t('wait.watching'))
        : h('button', { key: 'sit', type: 'button', class: 'primary big', onClick: act.sit }, t('enter.sit'))),
      invite(app, act, ui),
      room.commitment && h('p', { key: 'seal', class: 'small fair-note' }, h('button', { type: 'button', class: 'link', onClick: () => act.open('fair') }, t('fair.sealed')))));
}

function seatBox(player, i, { host, seated, you, act }) {
  if (!player) {
    return h('div', { class: 'free-seat' },
      seated ? h('span', { class: 'hole', 'aria-hidden': 'true' }) : h('button', { type: 'button', class: 'sit', onClick: act.sit }, t('wait.sit')),
      host ? h('button', { type: 'button', class: 'ghost tiny', onClick: () => act.addBot(i + 1, 'normal') }, t('wait.addBot'))
        : h('span', { class: 'name' }, t('wait.free')));
  }
  const canRemove = host && player.name !== you;
  return h('div', { class: 'taken-seat' },
    avatar(player),
    h('span', { class: 'name' }, player.name === you ? t('seat.you', { name: player.name }) : player.name),
    player.host && h('span', { class: 'mark' }, t('wait.host')),
    player.away && h('span', { class: 'mark' }, t('wait.away')),
    player.bot && !host && player.level && h('span', { class: 'mark' }, t(`level.${player.level}`)),
    player.bot && host && h('select', {
      class: 'level', 'aria-label': t('wait.level', { name: player.name }), value: player.level ?? 'normal', onChange: (event) => act.addBot(i + 1, event.target.value),
    }, LEVELS.map((level) => h('option', { key: level, value: level }, t(`level.${level}`)))),
    canRemove && iconButton('close', player.bot ? t('wait.freeSeat', { name: player.name }) : t('wait.remove', { name: player.name }), () => act.removePlayer(i + 1), { class: 'remove' }));
}

function invite(app, act) {
  const link = act.shareLink();
  return h('div', { key: 'invite', class: 'invite' },
    h('div', { class: 'invite-words' },
      h('h2', null, t('wait.invite')),
      h('p', { class: 'code' }, t('wait.code'), ' ', h('strong', null, app.room.id)),
      h('div', { class: 'share' },
        h('input', { class: 'share-link', readonly: true, value: link, 'aria-label': t('wait.link'), onFocus: (event) => event.target.select() }),
        h('button', { type: 'button', class: 'ghost', onClick: act.copyLink }, copyWords(app, t('wait.copy'))))),
    qrPicture(link));
}

/** What a button that copies says: what it does, or what came of it. */
export const copyWords = ({ ui }, words) => ({ yes: t('wait.copied'), no: t('wait.notCopied') })[ui.copied] ?? words;

/** The link as a QR code, drawn as one path. */
function qrPicture(text) {
  const code = qr(text);
  if (!code) return null;
  const size = code.length;
  let d = '';
  code.forEach((row, y) => row.forEach((dark, x) => {
    if (dark) d += `M${x} ${y}h1v1h-1z`;
  }));
  return h('svg', { class: 'qr', viewBox: `-3 -3 ${size + 6} ${size + 6}`, role: 'img', 'aria-label': t('wait.qr') },
    h('rect', { x: -3, y: -3, width: size + 6, height: size + 6, rx: 2 }), h('path', { d }));
}

function teapot() {
  return h('svg', { class: 'teapot', viewBox: '0 0 120 90' },
    h('path', { class: 'steam', d: 'M56 22c-6-7 6-9 0-17M68 22c-6-7 6-9 0-17' }),
    h('path', { class: 'pot-body', d: 'M28 48c0-12 14-20 32-20s32 8 32 20-10 30-32 30-32-18-32-30z' }),
    h('path', { class: 'pot-line', d: 'M90 46c14-8 20 2 14 12-4 7-10 9-16 10M30 50C20 50 18 40 10 36M38 33c10-5 34-5 44 0' }),
    h('circle', { class: 'pot-knob', cx: 60, cy: 26, r: 4 }),
    h('path', { class: 'pot-mark', d: 'M60 44v20M50 54h20M52 46l16 16M68 46L52 62' }));
}
