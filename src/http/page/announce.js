// What changed between two states, in words for those who listen instead of look.

import { asked, taken } from './hand.js';
import { askedToRedeal, leaderOf, myTurn } from './state.js';
import { worth } from './table.js';
import { t } from './words.js';

/** A play as it is laid down: what it is, as far as we may know it. */
function laidDown({ player: name, count: n, kinds, type }, leads, you) {
  if (name !== you) return leads ? t('say.leads', { name, type: t(`type.${type}`) }) : t('say.layDown', { name, n });
  return type === 'INVALID' ? t('say.youWaste', { n }) : t('say.youPlay', { type: t(`type.${type}`), points: worth({ kinds, type }) });
}

/** A play as it is turned over. */
const shown = ({ player: name, count: n, kinds, type }) => (type === 'INVALID' ? t('replay.waste', { name, n }) : t('say.shows', { name, type: t(`type.${type}`), points: worth({ kinds, type }) }));

/** True when somebody else has just set up the next table. */
export const asksToNext = (before, { rematch, you }) => rematch !== null && rematch.id !== before.rematch?.id && rematch.by !== you;

export function changes(before, after) {
  const said = [];
  if (before.id !== after.id) return said;
  if (after.phase === 'declaration' || before.phase === 'declaration') {
    for (const [name, n] of after.declarations) {
      if (before.phase === 'declaration' && !before.declarations.has(name)) said.push(t('say.declared', { name, n }));
    }
  }
  const lay = after.plays.slice(before.turnNumber === after.turnNumber ? before.plays.length : 0);
  if (after.phase === 'turn') for (const play of lay) said.push(laidDown(play, play === after.plays[0], after.you));
  if (leaderOf(after) && !leaderOf(before)) for (const play of after.plays) said.push(shown(play));
  if (after.result && !before.result) {
    said.push(taken(after.result.winner, after.result.piles, after.you));
  }
  if (after.phase === 'scoring' && before.phase !== 'scoring') for (const player of after.players) said.push(t('say.score', { name: player.name, n: player.score }));
  if (asksToNext(before, after)) said.push(t('over.asked', { name: after.rematch.by }));
  if (myTurn(after) && (!myTurn(before) || before.phase !== after.phase)) said.push(t('say.yourTurn'), asked(after));
  else if (askedToRedeal(after) && !askedToRedeal(before)) said.push(t('redeal.ask'));
  else if (after.current && after.current !== before.current && after.current !== after.you) said.push(t('say.turnOf', { name: after.current }));
  return said;
}
