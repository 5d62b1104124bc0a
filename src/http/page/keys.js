// The keyboard at the table and in a replay.

import { act } from './acts.js';
import { current, updateUi } from './app.js';
import { moveTile } from './drag.js';
import { laidOut, limitsOf } from './hand.js';
import { turnStep } from './replay.js';
import { askedToRedeal, myTurn, seenKey } from './state.js';

export function listen() {
  document.addEventListener('keydown', (event) => {
    const { route, room, replay, ui } = current();
    const typing = event.target.closest('input:not([type="range"]), select, textarea');
    if (event.ctrlKey || event.metaKey || event.altKey || ui.sheet || typing) return;
    let done = false;
    if (event.key === '?') {
      act.open('keys');
      done = true;
    } else if (route.place === 'replay') done = Boolean(replay?.record) && replayKey(event, replay);
    else if (room && room.phase !== 'waiting' && !room.over) done = tableKey(event, room, ui);
    if (done) event.preventDefault();
  });
}

const stepOf = (event) => ({ ArrowLeft: -1, ArrowRight: 1 })[event.key] ?? 0;

function replayKey(event, { steps, at }) {
  const step = stepOf(event);
  if (step) act.seek(event.shiftKey ? turnStep(steps, at, step) : at + step);
  return step !== 0;
}

/** True when the key was for us. */
function tableKey(event, room, ui) {
  const step = stepOf(event);
  const onTile = event.target.closest('.tile-button');
  const free = onTile || event.target.closest('button, a') === null; // no other button wants this key
  if (event.key === 'Escape') {
    act.clear();
    return true;
  }
  if (step && askedToRedeal(room)) {
    document.querySelectorAll('.actions .buttons button')[step > 0 ? 1 : 0]?.focus();
    return true;
  }
  if (room.phase === 'declaration' && myTurn(room) && declareKey(event, room, ui, step, onTile, free)) return true;
  if (step && room.hand.length) {
    const tiles = [...document.querySelectorAll('.tile-button')];
    const to = onTile ? tiles.indexOf(onTile) + step : ui.focus;
    const next = tiles[Math.max(0, Math.min(tiles.length - 1, to))];
    if (event.shiftKey && onTile) moveTile(onTile.dataset.piece, next.dataset.piece);
    else next?.focus();
    return true;
  }
  if (event.key === ' ' && !onTile && free && room.hand.length) {
    const piece = laidOut(room, ui.order)[ui.focus];
    if (piece) act.toggle(piece.id);
    return true;
  }
  if (event.key === 'Enter' && free) {
    if (seenKey(room)) act.dismiss();
    else act.play();
    return true;
  }
  return false;
}

function declareKey(event, room, ui, step, onTile, free) {
  if (/^[0-8]$/.test(event.key)) {
    act.chooseDeclaration(Number(event.key));
    return true;
  }
  if (step && !(onTile && event.shiftKey)) {
    const barred = limitsOf(room);
    let value = ui.declare ?? (step > 0 ? -1 : barred.length);
    do value += step; while (barred[value]);
    if (value in barred) updateUi({ declare: value });
    return true;
  }
  if (event.key === 'Enter' && (free || event.target.closest('.chip'))) {
    act.declare();
    return true;
  }
  return false;
}
