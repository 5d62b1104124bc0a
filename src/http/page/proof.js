// The fairness seal: what was promised before the game, what was revealed after it, and what checking found.

import { cls, h } from './dom.js';
import { checkProof, verdict } from './fairness.js';
import { icon } from './icons.js';
import { t } from './words.js';

const checked = new WeakMap();

/** The steps of checking the game of `room`; computed once for each proof. */
export function stepsOf(room) {
  const proof = room.over?.deal_proof;
  if (!proof) return null;
  if (!checked.has(proof)) {
    const seat = room.players.findIndex((player) => player?.name === room.you);
    checked.set(proof, checkProof(proof, {
      commitment: room.firstCommitment, seat, entropy: seat >= 0 ? room.entropy ?? null : null,
      hands: room.dealt.map((deal) => ({ ...deal, seat })).filter(() => seat >= 0),
    }));
  }
  return checked.get(proof);
}

/** The seal at the end of the game. */
export function seal(app, act) {
  const steps = stepsOf(app.room);
  if (!steps) return null;
  const found = verdict(steps);
  return h('section', { key: 'seal', class: cls('panel', 'seal', found === true ? 'good' : found === false && 'bad') },
    icon(found === false ? 'cross' : 'seal'),
    h('div', null, h('h2', null, t(found === true ? 'fair.good' : found === false ? 'fair.bad' : 'fair.partly')),
      h('button', { type: 'button', class: 'link', onClick: () => act.open('fair') }, t('fair.how'))));
}

/** "How is this checked?" */
export function proofCard(app) {
  const { room } = app;
  const steps = room ? stepsOf(room) : null;
  const proof = room?.over?.deal_proof;
  return h('div', { class: 'proof' },
    h('ol', { class: 'plain numbered' }, [1, 2, 3, 4].map((i) => h('li', { key: i }, t(`fair.step${i}`)))),
    steps && h('ul', { class: 'checks' }, steps.map((step) => h('li', { key: step.name, class: step.ok === true ? 'good' : step.ok === false ? 'bad' : 'open' },
      icon(step.ok === true ? 'check' : step.ok === false ? 'cross' : 'eye'),
      h('span', null, t(`fair.check.${step.name}.${step.ok === true ? 'good' : step.ok === false ? 'bad' : 'open'}`))))),
    room?.firstCommitment && h('p', { class: 'figures' }, h('span', null, t('fair.commitment')), h('code', null, room.firstCommitment)),
    proof && h('p', { class: 'figures' }, h('span', null, t('fair.secret')), h('code', null, proof.server_seed)),
    room?.entropy && h('p', { class: 'figures' }, h('span', null, t('fair.own')), h('code', null, room.entropy)));
}
