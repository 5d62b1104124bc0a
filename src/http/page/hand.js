// The own hand and what can be done with it: choose tiles, take a combination, play, declare, answer a redeal.

import { cls, h, prefersCalm } from './dom.js';
import { POINTS, classify, declarationLimits, handOrder, judge, strength, usefulCombinations } from './rules.js';
import { askedToRedeal, leadOf, leaderOf, myTurn, seenKey } from './state.js';
import { pieceWords, tile } from './tile.js';
import { t } from './words.js';

/** The pieces of the hand in the order in which they lie before the player. */
export function laidOut(room, order) {
  const gone = new Set(room.pending?.ids ?? []);
  const pieces = room.hand.filter((piece) => !gone.has(piece.id));
  const place = new Map(order.map((id, i) => [id, i]));
  if (pieces.every((piece) => place.has(piece.id))) return pieces.sort((a, b) => place.get(a.id) - place.get(b.id));
  return pieces.sort((a, b) => handOrder(a.kind, b.kind) || a.id.localeCompare(b.id));
}

/** The ids of tiles that make up `kinds`, taken from `pieces`. */
export function pick(pieces, kinds) {
  const free = [...pieces];
  return kinds.map((kind) => free.splice(free.findIndex((piece) => piece.kind === kind), 1)[0].id);
}

/** True when `part` is contained in `whole`, copies counted. */
function contains(whole, part) {
  const left = [...whole];
  return part.every((kind) => {
    const at = left.indexOf(kind);
    if (at >= 0) left.splice(at, 1);
    return at >= 0;
  });
}

const playing = (room) => room.phase === 'turn' && myTurn(room);

/** What pressing the big button would do: the verdict on the selected tiles, with their kinds. */
export function chosen(room, ui) {
  const kinds = laidOut(room, ui.order).filter((piece) => ui.selected.includes(piece.id)).map((piece) => piece.kind);
  return { kinds, ...judge(kinds, leadOf(room)) };
}

/** The row of own tiles. */
export function hand(room, ui, act) {
  const pieces = laidOut(room, ui.order);
  const active = playing(room);
  const selected = chosen(room, ui).kinds;
  const useful = active ? usefulCombinations(pieces.map((piece) => piece.kind), leadOf(room)) : [];
  const reachable = useful.filter((kinds) => contains(kinds, selected)).flat();
  const focus = Math.min(ui.focus, Math.max(0, pieces.length - 1));
  return h('div', { key: 'hand', class: cls('hand', active && 'active'), vars: { n: Math.max(1, pieces.length) }, role: 'group', 'aria-label': t('hand.label') },
    pieces.map((piece, i) => {
      const on = ui.selected.includes(piece.id);
      return h('button', {
        key: piece.id, flip: piece.id, type: 'button', 'data-piece': piece.id,
        class: cls('tile-button', on && 'selected', !on && reachable.includes(piece.kind) && 'lit'),
        'aria-pressed': on ? 'true' : 'false', 'aria-label': pieceWords(piece.kind), 'data-name': pieceWords(piece.kind),
        tabindex: i === focus ? '0' : '-1', 'data-home': i === focus, created: (node) => arrive(node, i),
        onClick: () => act.toggle(piece.id), onFocus: () => act.focusTile(i),
        onPointerdown: (event) => act.dragStart(event, piece.id), onContextmenu: (event) => event.preventDefault(),
      }, tile(piece.kind));
    }));
}

/** A tile comes from the middle of the table when it is dealt. */
function arrive(node, i) {
  if (prefersCalm()) return;
  node.animate([{ transform: 'translateY(-140px) scale(.6)', opacity: 0 }, { transform: 'none', opacity: 1 }], { duration: 240, delay: 45 * i, easing: 'ease-out', fill: 'backwards' });
}

/** Everything below the hand: what is asked of the player now, and the buttons for it. */
export function actions(room, ui, act) {
  if (askedToRedeal(room)) return redeal(room, act);
  if (room.phase === 'declaration' && myTurn(room)) return declare(room, ui, act);
  if (playing(room)) return play(room, ui, act);
  const skippable = room.tempo !== 'tea' && room.phase !== 'scoring' && seenKey(room) !== null;
  return h('div', { key: 'idle', class: 'actions idle' }, h('p', { class: 'ask' }, situation(room)),
    skippable && h('div', { class: 'buttons' }, h('button', { key: 'on', type: 'button', class: 'ghost', 'aria-disabled': ui.seen === seenKey(room) ? 'true' : undefined, onClick: act.dismiss }, t('turn.goOn'))));
}

/** One line that says what the table waits for. */
export function situation(room) {
  const name = room.pending ? null : room.current;
  switch (room.phase) {
    case 'preparation': {
      if (room.data.dealing_cards) return room.multiplier > 1 ? t('table.redealing', { multiplier: room.multiplier }) : t('table.dealing');
      return (room.data.weak_players_awaiting ?? []).length ? t('table.weakAsked') : t('table.dealing');
    }
    case 'round_start':
      return room.starter === room.you ? t('table.youStart') : t('table.starts', { name: room.starter ?? '' });
    case 'declaration':
      return name && name !== room.you ? t('table.declaring', { name }) : t('table.allDeclared');
    case 'turn':
    case 'turn_results': {
      const winner = leaderOf(room);
      if (winner) return taken(winner, room.result?.piles ?? room.plays[0].count, room.you);
      return name && name !== room.you ? t('table.playing', { name }) : t('table.sent');
    }
    case 'scoring':
      return t('table.scoring');
    default:
      return '';
  }
}

/** Who takes a turn. */
export const taken = (winner, piles, you) => (winner === you ? t('turn.youTook', { n: piles }) : t('turn.took', { name: winner, n: piles }));

/** What we are asked to do in our turn. */
export function asked(room) {
  const lead = leadOf(room);
  if (room.phase === 'declaration') return room.declarations.size ? t('declare.askAfter', { total: [...room.declarations.values()].reduce((a, b) => a + b, 0) }) : t('declare.ask');
  return lead ? t(`follow.${lead.type}`, { name: lead.player, n: lead.count }) : t('play.lead');
}

function play(room, ui, act) {
  const lead = leadOf(room);
  const pieces = laidOut(room, ui.order);
  const kinds = pieces.map((piece) => piece.kind);
  const choice = chosen(room, ui);
  const offers = usefulCombinations(kinds, lead);
  return h('div', { key: 'play', class: 'actions' },
    h('p', { class: 'ask' }, asked(room)),
    h('div', { class: 'offers', role: 'group', 'aria-label': t('play.offers') },
      offers.map((offer) => h('button', {
        key: offer.join(), type: 'button', class: cls('offer', same(offer, choice.kinds) && 'on'), onClick: () => act.select(pick(pieces, offer)),
        'aria-label': t('play.offer', { type: t(`type.${classify(offer)}`), points: strength(offer), pieces: offer.map(pieceWords).join(', ') }),
      }, h('span', { class: 'minis' }, offer.map((kind, i) => tile(kind, { key: `${kind}${i}` }))), h('span', { class: 'offer-points' }, strength(offer)))),
      lead && h('button', { key: 'low', type: 'button', class: 'offer plain', onClick: () => act.select(lowest(pieces, lead.count)) }, t('play.lowest', { n: lead.count }))),
    problem(room),
    h('div', { class: 'buttons' },
      choice.kinds.length > 0 && h('button', { key: 'clear', type: 'button', class: 'ghost', onClick: act.clear }, t('play.clear')),
      h('button', { key: 'go', type: 'button', class: cls('primary', choice.verdict === 'waste' && 'waste'), 'aria-disabled': ready(choice) ? undefined : 'true', onClick: act.play },
        playWords(choice, lead))));
}

const same = (a, b) => a.length === b.length && contains(a, b);
const ready = (choice) => choice.verdict === 'play' || choice.verdict === 'waste';
const lowest = (pieces, n) => [...pieces].sort((a, b) => POINTS[a.kind] - POINTS[b.kind]).slice(0, n).map((piece) => piece.id);

function playWords(choice, lead) {
  switch (choice.verdict) {
    case 'play':
      return t(`play.as.${choice.type}`, { points: choice.value });
    case 'waste':
      return t('play.waste', { n: choice.kinds.length });
    case 'count':
      return t('play.count', { n: lead.count, chosen: choice.kinds.length });
    case 'invalid':
      return t('play.invalid');
    default:
      return lead ? t('play.choose', { n: lead.count }) : t('play.chooseAny');
  }
}

/** Why we may not declare each number; null where we may. */
export function limitsOf(room) {
  const own = room.players.find((player) => player?.name === room.you);
  return declarationLimits([...room.declarations.values()], own?.zeroStreak ?? 0);
}

function declare(room, ui, act) {
  const limits = limitsOf(room);
  const why = ui.declare !== null ? limits[ui.declare] : null;
  return h('div', { key: 'declare', class: 'actions' },
    h('p', { class: 'ask' }, asked(room)),
    h('div', { class: 'chips', role: 'group', 'aria-label': t('declare.label') },
      limits.map((limit, value) => h('button', {
        key: `chip${value}`, type: 'button', class: cls('chip', limit && 'barred', ui.declare === value && 'on'), 'data-value': value,
        'aria-pressed': ui.declare === value ? 'true' : 'false', 'aria-disabled': limit ? 'true' : undefined,
        'aria-label': limit ? t(`declare.barred.${limit}`, { value }) : t('declare.value', { n: value }), onClick: () => act.chooseDeclaration(value),
      }, value))),
    problem(room) ?? (why ? h('p', { class: 'reason', role: 'status' }, t(`declare.barred.${why}`, { value: ui.declare })) : null),
    h('div', { class: 'buttons' },
      h('button', { key: 'go', type: 'button', class: 'primary', 'aria-disabled': ui.declare === null || why ? 'true' : undefined, onClick: act.declare },
        ui.declare === null || why ? t('declare.choose') : t('declare.go', { n: ui.declare }))));
}

function redeal(room, act) {
  const left = room.deadline ? Math.max(0, room.deadline.at - performance.now()) : null;
  return h('div', { key: 'redeal', class: 'actions' },
    h('p', { class: 'ask' }, t('redeal.ask')),
    h('p', { class: 'small' }, t('redeal.means', { multiplier: room.multiplier + 1 })),
    left !== null && h('div', { key: `time${room.deadline.at}`, class: 'time-left', created: (node) => shrink(node, left, room.deadline.total) }, h('i', null)),
    problem(room),
    h('div', { class: 'buttons' },
      h('button', { key: 'no', type: 'button', class: 'ghost', onClick: () => act.redeal(false) }, t('redeal.keep')),
      h('button', { key: 'yes', type: 'button', class: 'primary', onClick: () => act.redeal(true) }, t('redeal.again'))));
}

function shrink(node, left, total) {
  node.firstChild.animate?.([{ transform: `scaleX(${Math.min(1, left / total)})` }, { transform: 'scaleX(0)' }], { duration: left, fill: 'forwards' });
}

function problem(room) {
  return room.error ? h('p', { class: 'reason', role: 'status' }, refusal(room.error)) : null;
}

/** A refusal of the server in words of the game. */
export function refusal(error) {
  const known = [
    [/no answer/i, 'refused.noAnswer'], [/restart/i, 'refused.restart'], [/watching/i, 'refused.watchers'], [/not found/i, 'refused.notFound'], [/is full/i, 'refused.full'], [/already started/i, 'refused.started'], [/turn/i, 'refused.turn'],
    [/name.*(taken|already|use)|already.*name/i, 'refused.nameTaken'], [/name/i, 'refused.name'], [/only the host/i, 'refused.host'],
    [/no room for|memory/i, 'refused.busy'], [/rate|too many|slow/i, 'refused.rate'],
  ];
  return t(known.find(([pattern]) => pattern.test(error.message))?.[1] ?? 'refused.other');
}

