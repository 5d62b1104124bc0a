// What this browser knows of one room: `reduce(room, frame, now)` gives the room after a frame. Pure; the views
// only read what it returns.

import { kindOf, winnerOf } from './rules.js';

/** A room of which nothing is known yet. `me` is the name under which we come. */
export function emptyRoom(id, me) {
  return {
    id, me,
    known: false, // a room_update or phase_change has arrived
    you: null, // own name when seated, null for a watcher
    host: null,
    tempo: 'tea', // how long the table pauses; at others than tea a result goes when all have seen it
    started: false,
    players: [null, null, null, null], // seat order
    phase: 'waiting',
    data: {}, // phase_data of the last phase_change
    round: 0,
    multiplier: 1,
    starter: null,
    starterReason: null,
    declarations: new Map(), // name -> number, of this round, in the order in which they were made
    current: null, // name of the one who is to act
    deadline: null, // {at, total} in ms, of the one who is to act
    hand: [], // own pieces {id, kind}, in the order of the server
    plays: [], // of the running turn: {player, kinds (null while face down), count, type, ids}
    turnNumber: 0,
    result: null, // the finished turn while it is shown
    turns: [], // finished turns of this round
    scoring: null, // how the round was scored, by seat
    history: [], // {round, scores, totals} of finished rounds; scores and totals by seat
    over: null,
    commitment: null, // shown by the server before the game
    firstCommitment: null, // the one seen first, which must be the one kept
    multipliers: {}, // finished round -> its multiplier, which is also the number of its deals
    dealt: [], // own hands as dealt: {round, multiplier, k (number of the deal, null when unknown), pieces}
    pending: null, // what we have sent and the server has not yet confirmed
    error: null, // the last refusal
    rematch: null, // where the same people meet again: {id, by}
    closed: null, // reason why the room is no more
    closedWords: null, // what an administrator says to it
    notes: [], // passing messages {id, key, params}
  };
}

let noteId = 0;
const note = (room, key, params) => [...room.notes.slice(-2), { id: (noteId += 1), key, params }];

/**
 * What an object of the server holds for each of these names. A name may be `constructor`, which every object seems to
 * have, or all digits, which lose their place among the keys; so such objects are read here and nowhere else.
 */
const byName = (object, names) => names.map((name) => (object && Object.hasOwn(object, name) ? object[name] : undefined));

/** The same as a map, of those names only that are there. */
const mapOf = (object, names) => new Map(byName(object, names).map((value, i) => [names[i], value]).filter(([, value]) => value !== undefined));

/** The room after a frame of the server. `now` is in milliseconds. */
export function reduce(room, { event, data }, now) {
  switch (event) {
    case 'room_state_update':
      return { ...sealed(room, data), you: data.you ?? null, tempo: data.tempo ?? 'tea' };
    case 'room_update':
      return roomUpdate(room, data);
    case 'phase_change':
      return phaseChange(room, data, now);
    case 'turn_complete':
      return turnComplete(room, data);
    case 'recovery_response':
      return recovered(room, data);
    case 'redeal_executed': // after a reload, in phases that do not carry the multiplier
      return data.redeal_multiplier ? { ...room, multiplier: data.redeal_multiplier } : room;
    case 'game_started':
      return { ...room, started: true };
    case 'player_disconnected':
      return presence(room, data.player_name, true, 'note.left');
    case 'player_reconnected':
      return presence(room, data.player_name, false, 'note.back');
    case 'player_timed_out':
      return { ...room, notes: note(room, data.player_name === room.you ? 'note.timedOutYou' : 'note.timedOut', { name: data.player_name }) };
    case 'host_changed':
      return data.old_host === data.new_host
        ? room
        : { ...room, host: data.new_host, notes: note(room, data.new_host === room.you ? 'note.hostYou' : 'note.host', { name: data.new_host }) };
    case 'room_closed':
      return {
        ...room, closed: data.reason ?? (/not found/i.test(data.message) ? 'not_found' : 'gone'),
        closedWords: data.reason === 'closed' && data.message !== 'The room was closed by the operator.' ? data.message : null,
      };
    case 'rematch':
      return { ...room, rematch: { id: data.room_id, by: data.player_name } };
    case 'room_not_found':
      return { ...room, closed: room.over ? room.closed : 'not_found' };
    case 'error':
      return { ...room, pending: null, error: { message: data.message ?? '', type: data.type ?? '', at: now } };
    default:
      return room;
  }
}

function presence(room, name, away, key) {
  const players = room.players.map((player) => (player?.name === name ? { ...player, away } : player));
  return { ...room, players, notes: name === room.you || name === room.me ? room.notes : note(room, key, { name }) };
}

/** The room with what the server has shown of its secret. */
function sealed(room, data) {
  const commitment = data.deal_commitment ?? room.commitment;
  return { ...room, commitment, firstCommitment: room.firstCommitment ?? commitment };
}

function roomUpdate(room, data) {
  const next = sealed(room, data);
  if (!Array.isArray(data.players)) return next;
  const host = data.host_name ?? room.host;
  const players = data.players.map((player) => {
    if (!player) return null;
    const before = room.players.find((other) => other?.name === player.name);
    return {
      score: 0, declared: null, captured: 0, handSize: 0, zeroStreak: 0, ...before,
      away: room.phase === 'waiting' ? player.is_connected === false : Boolean(before?.away),
      name: player.name, bot: player.is_bot && !(before?.away && room.phase !== 'waiting'), color: player.avatar_color ?? before?.color ?? null,
      level: player.level ?? before?.level ?? null, host: player.name === host,
    };
  });
  const you = data.you ?? null;
  const notes = room.known && room.phase === 'waiting' ? comings(room, players, you) : room.notes;
  return { ...next, known: true, tempo: data.tempo ?? 'tea', players, host, you, notes, started: Boolean(data.started) || room.phase !== 'waiting' };
}

/** The passing messages with those of persons who sat down or left before the game. */
function comings(room, players, you) {
  const persons = (seats) => seats.filter((player) => player && !player.bot && player.name !== you && player.name !== room.you).map((player) => player.name);
  const [before, after] = [persons(room.players), persons(players)];
  const come = after.filter((name) => !before.includes(name)).map((name) => ['note.sits', name]);
  const gone = before.filter((name) => !after.includes(name)).map((name) => ['note.stands', name]);
  return [...come, ...gone].reduce((notes, [key, name]) => note({ notes }, key, { name }), room.notes);
}

function phaseChange(room, data, now) {
  const info = data.phase_data ?? {};
  const entries = seatOrder(room, data.players, info.players);
  const names = entries.map((entry) => entry.name);
  const { you } = room; // told when we came
  const newRound = data.round !== room.round;
  const phase = data.phase;
  const multiplier = info.redeal_multiplier ?? (newRound ? 1 : room.multiplier);
  const declarations = info.declarations ? mapOf(info.declarations, info.declaration_order ?? names)
    : new Map(phase === 'preparation' || phase === 'round_start' ? [] : entries.map((entry) => [entry.name, entry.declared ?? 0]));
  const piles = mapOf(info.pile_counts, names);
  const declaring = phase === 'preparation' || phase === 'round_start' || phase === 'declaration';
  const players = entries.map((entry) => ({
    name: entry.name,
    bot: Boolean(entry.is_bot) && entry.original_is_bot !== false,
    away: entry.original_is_bot === false && (Boolean(entry.is_bot) || entry.is_connected === false),
    color: entry.avatar_color ?? null,
    level: room.players.find((other) => other?.name === entry.name)?.level ?? null,
    host: entry.is_host ?? entry.name === room.host,
    score: entry.score ?? 0,
    declared: declaring ? declarations.get(entry.name) ?? null : entry.declared ?? null,
    captured: declaring ? 0 : entry.captured_piles ?? piles.get(entry.name) ?? 0,
    handSize: entry.hand?.length || entry.hand_size || 0,
    zeroStreak: entry.zero_declares_in_a_row ?? 0,
  }));
  const [own] = byName(data.players, [you]);
  const hand = own?.hand ? keepIds(room, own.hand.map(kindOf), `${data.round}.${multiplier}`) : newRound ? [] : room.hand;
  const fresh = newRound || phase === 'preparation';
  const next = {
    ...room, known: true, started: true, phase, data: info, round: data.round ?? room.round, multiplier, players, you, hand, declarations,
    starter: info.current_starter ?? (fresh ? null : room.starter),
    starterReason: info.starter_reason ?? (fresh ? null : room.starterReason),
    turns: fresh ? [] : room.turns,
    result: phase === 'turn_results' ? room.result : null,
    plays: phase === 'turn_results' ? room.plays : [],
    turnNumber: info.current_turn_number ?? (fresh ? 0 : room.turnNumber),
    current: null, deadline: null, pending: null, scoring: null,
    error: room.error && now - room.error.at < 300 ? room.error : null,
  };
  if (Number.isFinite(info.deadline_ms)) {
    next.deadline = { at: now + info.deadline_ms, total: info.deadline_total_ms ?? info.deadline_ms };
  }
  if (declaring) next.dealt = rememberDeal(next, room);
  if (phase === 'declaration') next.current = info.current_declarer ?? null;
  if (phase === 'turn') {
    next.plays = readPlays(room, info, you, hand);
    if (next.plays.length < players.length) next.current = info.current_player ?? null;
    else if (room.result?.number === next.turnNumber) next.result = room.result;
  }
  if (phase === 'scoring') {
    next.scoring = byName(info.round_scores, names);
    next.multipliers = { ...room.multipliers, [data.round]: multiplier };
    const totals = byName(info.total_scores, names);
    next.history = [...room.history.filter((entry) => entry.round < data.round), { round: data.round, scores: next.scoring.map((score) => score?.final_score), totals }];
    next.players = players.map((player, i) => ({ ...player, score: totals[i] ?? player.score }));
  }
  if (phase === 'game_over') {
    next.over = info;
    if (Array.isArray(info.score_history)) {
      next.history = info.score_history.map(({ round, scores, totals }) => ({ round, scores: byName(scores, names), totals: byName(totals, names) }));
    }
  }
  return next;
}

/** The entries in seat order: keys that are all digits lose their place in a JavaScript object. */
function seatOrder(room, players, list) {
  if (Array.isArray(list) && list.length) {
    const more = byName(players, list.map((entry) => entry.name));
    return list.map((entry, i) => ({ ...more[i], ...entry }));
  }
  const entries = Object.entries(players ?? {}).map(([name, entry]) => ({ ...entry, name }));
  const seats = room.players.map((player) => player?.name);
  return entries.every((entry) => seats.includes(entry.name))
    ? entries.sort((a, b) => seats.indexOf(a.name) - seats.indexOf(b.name))
    : entries;
}

/** Gives the pieces of a hand names that stay while the hand shrinks. */
function keepIds(room, kinds, prefix) {
  const gone = new Set(room.pending?.ids ?? []);
  for (const old of [room.hand.filter((piece) => !gone.has(piece.id)), room.hand]) {
    const kept = [];
    let at = 0;
    for (const kind of kinds) {
      while (at < old.length && old[at].kind !== kind) at += 1;
      if (at === old.length) break;
      kept.push(old[at]);
      at += 1;
    }
    if (kept.length === kinds.length && (kinds.length < 8 || old.length === 8)) return kept;
  }
  return kinds.map((kind, i) => ({ id: `${prefix}.${i}`, kind }));
}

function readPlays(room, { turn_plays: plays = {}, turn_order: order = Object.keys(plays) }, you, hand) {
  const all = [...mapOf(plays, order)];
  const open = all.length === 4;
  const left = new Set(hand.map((piece) => piece.id));
  return all.map(([player, play]) => {
    const mine = player === you;
    const kinds = (play.pieces ?? []).map(kindOf);
    const before = room.plays.find((other) => other.player === player);
    const ids = mine ? before?.ids ?? room.hand.filter((piece) => !left.has(piece.id)).map((piece) => piece.id) : null;
    return { player, kinds: open || mine ? kinds : null, count: play.piece_count ?? kinds.length, type: play.play_type, ids };
  });
}

function turnComplete(room, data) {
  const all = data.turn_resolution?.all_plays ?? [];
  const plays = all.length
    ? all.map((play) => ({ player: play.player, kinds: play.pieces.map(kindOf), type: play.play_type, count: play.pieces.length, ids: null }))
    : room.plays;
  const ids = new Map(room.plays.map((play) => [play.player, play.ids]));
  const result = {
    number: data.turn_number ?? room.turnNumber, winner: data.winner, nextStarter: data.next_starter, last: Boolean(data.all_hands_empty),
    piles: data.winning_play?.pilesWon ?? plays[0]?.count ?? 0, plays: plays.map((play) => ({ ...play, ids: ids.get(play.player) ?? play.ids })),
  };
  const counted = new Map((data.turn_players_data ?? []).map((entry) => [entry.name, entry.captured_piles]));
  return {
    ...room, result, plays: result.plays, current: null, deadline: null, pending: null,
    turns: [...room.turns.filter((turn) => turn.number !== result.number), result],
    players: room.players.map((player) => (player && counted.has(player.name) ? { ...player, captured: counted.get(player.name) } : player)),
  };
}

/** Turns that were won while nobody here was looking. */
function recovered(room, { events = [] }) {
  const known = new Set(room.turns.map((turn) => turn.number));
  const missed = events.filter((event) => event.type === 'turn_won' && event.round === room.round && !known.has(event.turn)).map((event) => ({
    number: event.turn, winner: event.winner, nextStarter: event.winner, last: false, piles: event.piles,
    plays: event.plays.map((play) => ({ player: play.player, kinds: play.pieces.map(kindOf), type: play.play_type, count: play.pieces.length, ids: null })),
  }));
  return missed.length ? { ...room, turns: [...room.turns, ...missed].sort((a, b) => a.number - b.number) } : room;
}

/** True when turns of this round were won that are not known here. */
export function lacksTurns(room) {
  if (room.phase === 'turn') return room.turns.filter((turn) => turn.number < room.turnNumber).length < room.turnNumber - 1;
  const piles = room.turns.reduce((sum, turn) => sum + turn.piles, 0);
  return (room.phase === 'turn_results' || room.phase === 'scoring') && piles < 8;
}

/** Notes an own hand of eight the first time it is seen, with the number of its deal if every round before is known. */
function rememberDeal(next, room) {
  if (next.hand.length !== 8 || !next.you) return room.dealt;
  if (room.dealt.some((deal) => deal.round === next.round && deal.multiplier === next.multiplier)) return room.dealt;
  let k = next.phase === 'preparation' && Number.isInteger(next.data.redeal_multiplier) ? next.multiplier - 1 : NaN;
  for (let round = 1; round < next.round; round += 1) k += next.multipliers[round] ?? NaN;
  return [...room.dealt, { round: next.round, multiplier: next.multiplier, k: Number.isNaN(k) ? null : k, pieces: next.hand.map((piece) => piece.kind) }];
}

/** The starter's play as the others must follow it, null while there is none. */
export function leadOf(room) {
  const first = room.plays[0];
  return first ? { count: first.count, type: first.type, player: first.player } : null;
}

/** Name of the one whose play is the best, when all plays lie open. */
export function leaderOf(room) {
  if (room.result) return room.result.winner;
  if (room.plays.length < 4 || room.plays.some((play) => !play.kinds)) return null;
  return room.plays[winnerOf(room.plays.map((play) => play.kinds))].player;
}

/** A name for what all have to see before the table goes on, null where it shows no such thing. */
export const seenKey = (room) => resultKey(room) ?? (leaderOf(room) ? `open${room.round}.${room.turnNumber}` : null);

/** A name for what is shown as a result, so that it can be put away once. */
export const resultKey = (room) => (room.phase === 'scoring' ? `score${room.round}` : room.result ? `turn${room.round}.${room.result.number}` : null);

/** Names the decision that is due, so that what was chosen for it is not taken for another. */
export const decisionKey = (room) => `${room.phase}.${room.round}.${room.turnNumber}`;

/** True when it is our turn to declare or play. */
export const myTurn = (room) => room.you !== null && room.current === room.you && !room.pending;

/** True when we are asked whether to redeal. */
export const askedToRedeal = (room) =>
  room.phase === 'preparation' && !room.data.dealing_cards && room.you !== null && !room.pending
  && (room.data.weak_players_awaiting ?? []).includes(room.you);
