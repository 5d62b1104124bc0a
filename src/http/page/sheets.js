// Things to look up, laid over the table: rules, scores, settings and keys, fairness, the question before leaving.

import { h } from './dom.js';
import { lastTurn, sidePanel } from './game.js';
import { rulesCard } from './guide.js';
import { iconButton } from './icons.js';
import { proofCard } from './proof.js';
import { LANGUAGES, t } from './words.js';

/** The open sheet, or null. A modal dialog: the browser keeps the focus inside and gives it back. */
export function sheet(app, act) {
  const name = app.ui.sheet;
  const content = name && CONTENT[name];
  if (!content) return null;
  const [title, body] = content(app, act);
  return h('dialog', { key: `sheet.${name}`, class: `sheet sheet-${name}`, 'aria-label': title, created: (node) => node.showModal(), onClose: act.close, onClick: (event) => event.target.localName === 'dialog' && act.close() },
    h('div', { class: 'sheet-inner' },
      h('header', null, h('h2', null, title), iconButton('close', t('sheet.close'), act.close)), body));
}

const CONTENT = {
  rules: () => [t('guide.title'), rulesCard()],
  scores: (app) => [t('bar.scores'), sidePanel(app.room)],
  last: (app) => [t('bar.last'), lastTurn(app.room)],
  fair: (app) => [t('fair.title'), proofCard(app)],
  settings: (app, act) => [t('settings.title'), settings(app, act)],
  keys: () => [t('keys.title'), keys()],
  leave: (app, act) => [t('leave.ask'), leave(app, act)],
};

function settings(app, act) {
  return h('div', { class: 'settings' },
    h('p', { class: 'row' }, h('span', { id: 'language-label' }, t('settings.language')), languages(app, act)),
    h('label', { class: 'row' }, h('span', null, t('settings.sound')),
      h('input', { type: 'checkbox', role: 'switch', class: 'switch', checked: app.sound, onChange: (event) => act.setSound(event.target.checked) })),
    h('h3', null, t('keys.title')), keys());
}

/** The three languages, each in its own name. */
export function languages(app, act) {
  return h('span', { class: 'languages', role: 'group', 'aria-label': t('settings.language') }, Object.entries(LANGUAGES).map(([code, name]) =>
    h('button', { key: code, type: 'button', lang: code === 'zh' ? 'zh-Hans' : code, class: 'language', 'aria-pressed': app.lang === code ? 'true' : 'false', onClick: () => act.setLanguage(code) }, name)));
}

function keys() {
  const rows = [[['←', '→'], 'arrows'], [['␣'], 'space'], [['⇧', '←', '→'], 'shift'], [['⏎'], 'enter'], [['0', '…', '8'], 'digits'], [['Esc'], 'escape'], [['?'], 'question']];
  return h('dl', { class: 'keys' }, rows.map(([caps, name]) => h('div', { key: name },
    h('dt', null, caps.map((cap, i) => h('kbd', { key: i }, cap))), h('dd', null, t(`keys.${name}`)))));
}

function leave(app, act) {
  const { room } = app;
  const playing = room.phase !== 'waiting';
  return h('div', null,
    h('p', null, t(playing ? 'leave.playing' : 'leave.host')),
    h('div', { class: 'buttons' },
      h('button', { type: 'button', class: 'ghost', onClick: act.close }, t('leave.stay')),
      h('button', { type: 'button', class: 'primary', onClick: act.leave }, t('leave.go'))));
}
