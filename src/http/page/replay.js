// A finished game, step by step, on the same table. `stepsOf(record)` turns the public record of a game into the
// moments to look at; the view shows one of them.

import { cls, h } from './dom.js';
import { iconButton } from './icons.js';
import { scoreWords } from './results.js';
import { explainScore, handOrder, winnerOf } from './rules.js';
import { table } from './table.js';
import { tile, pieceWords } from './tile.js';
import { copyWords } from './waiting.js';
import { figure, t } from './words.js';

/**
 * The moments of a game, in order. Each holds `what` (deal, redeal, declare, play, taken, score), `round`, `turn`,
 * `hands`, `declared`, `captured`, `totals` (all by seat), `plays`, `winner` (seat index or null), `actor` (seat index
 * or null) and `multiplier`.
 */
export function stepsOf(record) {
  const steps = [];
  let totals = [0, 0, 0, 0];
  for (const round of record.rounds) {
    let hands = round.deals.at(-1).hands.map((hand) => [...hand].sort(handOrder));
    let declared = [null, null, null, null];
    let captured = [0, 0, 0, 0];
    let turn = 0;
    const add = (what, more) => steps.push({ what, round: round.round, turn, hands, declared, captured, totals, plays: [], winner: null, actor: null, multiplier: round.multiplier, ...more });
    round.deals.forEach((deal, i) => add(i ? 'redeal' : 'deal', { hands: deal.hands.map((hand) => [...hand].sort(handOrder)), multiplier: i + 1, actor: null }));
    for (const { seat, value } of round.declarations) {
      declared = declared.map((before, i) => (i === seat - 1 ? value : before));
      add('declare', { actor: seat - 1, value });
    }
    for (const played of round.turns) {
      turn = played.turn;
      const plays = [];
      for (const { seat, pieces, play_type: type } of played.plays) {
        plays.push({ seat: seat - 1, kinds: pieces, type });
        hands = hands.map((hand, i) => (i === seat - 1 ? without(hand, pieces) : hand));
        const winner = plays.length === 4 ? plays[winnerOf(plays.map((play) => play.kinds))].seat : null;
        add('play', { plays: [...plays], actor: seat - 1, winner });
      }
      captured = captured.map((piles, i) => piles + (i === played.winner - 1 ? played.piles : 0));
      add('taken', { plays, winner: played.winner - 1, actor: played.winner - 1, piles: played.piles });
    }
    if (round.totals) {
      totals = round.totals;
      add('score', { scores: round.scores });
    }
  }
  return steps;
}

function without(hand, pieces) {
  const left = [...hand];
  for (const piece of pieces) left.splice(left.indexOf(piece), 1);
  return left;
}

/** The step at which the next (or the last) turn begins, seen from step `at`. */
export function turnStep(steps, at, direction) {
  const begins = (i) => i === 0 || steps[i].turn !== steps[i - 1].turn || steps[i].round !== steps[i - 1].round;
  let i = at + direction;
  while (i > 0 && i < steps.length - 1 && !begins(i)) i += direction;
  return Math.max(0, Math.min(steps.length - 1, i));
}

/** The place of a replay: `replay` is `{record, steps, at, seat, open}`. */
export function replayPlace(app, act) {
  const { replay } = app;
  if (!replay) return h('main', { key: 'replay', class: 'place quiet-place' }, h('h1', null, t('replay.loading')));
  if (!replay.record) return h('main', { key: 'replay', class: 'place quiet-place' }, h('h1', null, t(replay.record === null ? 'replay.missing' : 'refused.noAnswer')), replay.record === false && h('button', { type: 'button', class: 'ghost', onClick: act.reload }, t('link.now')), h('a', { class: 'button primary', href: 'history', onClick: act.follow }, t('history.title')));
  const { record, steps, at, seat, open } = replay;
  const step = steps[at];
  const last = steps.length - 1;
  const names = record.players.map((player) => player.name);
  const players = record.players.map((player, i) => ({
    name: player.name, bot: player.is_bot, level: player.level ?? null, color: COLORS[i], score: step.totals[i],
    declared: step.declared[i], captured: step.captured[i], tiles: open && i !== seat ? step.hands[i] : null,
  }));
  const plays = step.plays.map((play) => ({ player: names[play.seat], kinds: play.kinds, type: play.type, count: play.kinds.length, ids: null }));
  return h('div', { key: 'replay', class: 'place game replay' },
    h('header', { class: 'bar' },
      iconButton('back', t('replay.back'), act.back),
      h('p', { class: 'round' }, h('strong', null, t('bar.round', { n: step.round })), step.turn > 0 && h('span', { class: 'mark' }, t('side.turn', { n: step.turn })), step.multiplier > 1 && h('span', { class: 'times' }, `×${step.multiplier}`)),
      iconButton('copy', copyWords(app, t('replay.link')), act.copyMoment)),
    h('main', { class: 'board' }, h('h1', { class: 'unseen' }, t('bar.round', { n: step.round })),
      table({ players, bottom: seat, you: null, current: step.actor === null ? null : names[step.actor], plays, winner: step.winner === null ? null : names[step.winner], centre: step.what === 'score' ? scores(step, names) : null }),
      h('div', { key: 'mine', class: 'mine' },
        h('div', { class: 'hand shown' }, step.hands[seat].map((kind, i) => h('span', { key: `${kind}${i}`, class: 'tile-button', title: pieceWords(kind) }, tile(kind)))),
        h('p', { class: 'ask', 'aria-live': 'polite' }, caption(step, names)),
        h('div', { class: 'scrub' },
          iconButton('first', t('replay.turnBack'), () => act.seek(turnStep(steps, at, -1))),
          iconButton('prev', t('replay.stepBack'), () => act.seek(at - 1)),
          h('input', { type: 'range', class: 'range', min: 0, max: last, value: String(at), 'aria-label': t('replay.scrub'), 'aria-valuetext': t('replay.at', { round: step.round, turn: step.turn }), onInput: (event) => act.seek(Number(event.target.value)) }),
          iconButton('next', t('replay.step'), () => act.seek(at + 1)),
          iconButton('last', t('replay.turn'), () => act.seek(turnStep(steps, at, 1)))),
        h('div', { class: 'view-of', role: 'group', 'aria-label': t('replay.viewOf') },
          names.map((name, i) => h('button', { key: `v${i}`, type: 'button', class: cls('ghost', 'tiny'), 'aria-pressed': seat === i ? 'true' : 'false', onClick: () => act.viewFrom(i) }, name)),
          h('button', { key: 'open', type: 'button', class: 'ghost tiny', 'aria-pressed': open ? 'true' : 'false', onClick: act.openHands }, t('replay.open'))))),
    h('aside', { class: 'side', 'aria-label': t('side.turns') }, roundList(replay, act)));
}

const COLORS = ['teal', 'pink', 'orange', 'purple'];

function caption(step, names) {
  const name = step.actor === null ? '' : names[step.actor];
  switch (step.what) {
    case 'deal':
      return t('replay.deal', { round: step.round });
    case 'redeal':
      return t('table.redealing', { multiplier: step.multiplier });
    case 'declare':
      return t('say.declared', { name, n: step.value });
    case 'play': {
      const play = step.plays.at(-1);
      return t(play.type === 'INVALID' ? 'replay.waste' : 'replay.play', { name, type: t(`type.${play.type}`), n: play.kinds.length });
    }
    case 'taken':
      return t('turn.took', { name, n: step.piles });
    default:
      return t('table.scoring');
  }
}

function scores(step, names) {
  return h('div', { key: `scores${step.round}`, class: 'sheet-card round-scores' }, h('h2', null, t('score.title', { round: step.round })),
    h('ul', null, names.map((name, i) => {
      const { how } = explainScore(step.declared[i], step.captured[i]);
      return h('li', { key: name, class: 'no-face' }, h('span', { class: 'name' }, name), h('span', { class: 'total' }, figure(step.totals[i])),
        h('span', { class: 'why' }, scoreWords(how, { declared: step.declared[i], actual: step.captured[i], multiplier: step.multiplier, final_score: step.scores[i] })));
    })));
}

/** All rounds and their turns, to jump to. */
function roundList({ record, steps, at }, act) {
  return h('div', { class: 'side-panel' }, record.rounds.map((round) => h('section', { key: round.round },
    h('h2', null, t('bar.round', { n: round.round })),
    h('div', { class: 'jumps' }, [{ turn: 0 }, ...round.turns].map(({ turn }) => {
      const to = steps.findIndex((step) => step.round === round.round && step.turn === turn && (turn === 0 || step.plays.length === 4));
      const here = steps[at].round === round.round && steps[at].turn === turn;
      return h('button', { key: turn, type: 'button', class: 'ghost tiny', 'aria-current': here ? 'step' : undefined, 'aria-label': t('replay.at', { round: round.round, turn }), onClick: () => act.seek(to) }, turn === 0 ? '▸' : turn);
    })))));
}
