// What changed between two states, in words for those who listen instead of look.

import { sum } from './rules.js';
import { leaderOf, myTurn } from './state.js';
import { t } from './words.js';

export function changes(before, after) {
  const said = [];
  if (before.id !== after.id) return said;
  if (after.phase === 'declaration' || before.phase === 'declaration') {
    for (const [name, n] of after.declarations) {
      if (before.phase === 'declaration' && !before.declarations.has(name)) said.push(t('say.declared', { name, n }));
    }
  }
  const lay = after.plays.slice(before.turnNumber === after.turnNumber ? before.plays.length : 0);
  if (after.phase === 'turn') for (const play of lay) if (play.player !== after.you) said.push(t('say.layDown', { name: play.player, n: play.count }));
  if (leaderOf(after) && !leaderOf(before)) {
    for (const play of after.plays) said.push(t('say.shows', { name: play.player, type: t(`type.${play.type}`), points: sum(play.kinds) }));
  }
  if (after.result && !before.result) {
    said.push(after.result.winner === after.you ? t('turn.youTook', { n: after.result.piles }) : t('turn.took', { name: after.result.winner, n: after.result.piles }));
  }
  if (after.phase === 'scoring' && before.phase !== 'scoring') for (const player of after.players) said.push(t('say.score', { name: player.name, n: player.score }));
  if (myTurn(after) && (!myTurn(before) || before.phase !== after.phase)) said.push(t('say.yourTurn'));
  else if (after.current && after.current !== before.current && after.current !== after.you) said.push(t('say.turnOf', { name: after.current }));
  return said;
}
