// From frames to state: what a browser knows after each frame of the server.

import assert from 'node:assert/strict';
import { test } from 'node:test';

import { changes } from '../../src/http/page/announce.js';
import { pick, refusal } from '../../src/http/page/hand.js';
import { decisiveRound } from '../../src/http/page/results.js';
import { stepsOf, turnStep } from '../../src/http/page/replay.js';
import { askedToRedeal, emptyRoom, lacksTurns, leadOf, leaderOf, myTurn, reduce } from '../../src/http/page/state.js';
import { worth } from '../../src/http/page/table.js';
import { speak } from '../../src/http/page/words.js';

const NAMES = ['Mira', '12', 'Bot 3', '7'];
const HAND = ['SOLDIER_RED(2)', 'CANNON_BLACK(3)', 'SOLDIER_RED(2)', 'HORSE_RED(6)', 'HORSE_BLACK(5)', 'SOLDIER_BLACK(1)', 'ELEPHANT_RED(10)', 'GENERAL_BLACK(13)'];

const roomUpdate = (more) => ({ event: 'room_update', data: { players: NAMES.map((name, i) => ({ name, is_bot: i === 2, is_host: i === 0, avatar_color: 'teal' })), host_name: 'Mira', room_id: '3FA9C1', started: false, you: 'Mira', deal_commitment: 'aa', ...more } });

function phaseChange(phase, info, { hand = HAND, round = 1, declared = 0, you = 'Mira' } = {}) {
  const players = Object.fromEntries(NAMES.map((name) => [name, { name, is_bot: name === 'Bot 3', hand: name === you ? hand : [], hand_size: hand.length, declared, captured_piles: 0, score: 0, zero_declares_in_a_row: 0 }]));
  return { event: 'phase_change', data: { phase, round, phase_data: { you, ...info }, players } };
}

const play = (count, type, pieces) => ({ pieces: pieces ?? Array(count).fill('SOLDIER_BLACK(1)'), piece_count: count, play_type: type, play_value: 0, is_valid: true });
const run = (...frames) => frames.reduce((room, frame, i) => reduce(room, frame, 1000 * i), emptyRoom('3FA9C1', 'Mira'));
const turnInfo = (more) => ({ current_turn_starter: '12', current_player: 'Mira', required_piece_count: null, turn_plays: {}, current_turn_number: 1, pile_counts: {}, ...more });

test('seats keep their order although names of digits lose theirs', () => {
  const room = run(roomUpdate(), phaseChange('turn', turnInfo({})));
  assert.deepEqual(room.players.map((player) => player.name), NAMES);
});

test('pieces keep their names while the hand shrinks, and get new ones with a new deal', () => {
  const dealt = run(roomUpdate(), phaseChange('preparation', { dealing_cards: true, redeal_multiplier: 1 }));
  const smaller = reduce(dealt, phaseChange('turn', turnInfo({}), { hand: HAND.slice(1) }), 0);
  assert.deepEqual(smaller.hand.map((piece) => piece.id).sort(), dealt.hand.filter((piece) => smaller.hand.some((other) => other.id === piece.id)).map((piece) => piece.id).sort());
  assert.equal(smaller.hand.length, 7);
  const next = reduce(smaller, phaseChange('preparation', { dealing_cards: true, redeal_multiplier: 1 }, { round: 2, hand: [...HAND].reverse() }), 0);
  assert.ok(next.hand.every((piece) => !smaller.hand.some((other) => other.id === piece.id)));
});

test('the plays of others stay hidden until all four lie', () => {
  const three = { 12: play(1, 'SINGLE'), 'Bot 3': play(1, 'SINGLE') };
  const room = run(roomUpdate(), phaseChange('turn', turnInfo({ turn_plays: three })));
  assert.ok(room.plays.every((entry) => entry.kinds === null));
  assert.deepEqual(leadOf(room), { count: 1, type: 'SINGLE', player: '12' });
  assert.equal(leaderOf(room), null);
  const four = { ...three, Mira: play(1, 'SINGLE', ['HORSE_RED(6)']), 7: play(1, 'SINGLE', ['GENERAL_RED(14)']) };
  const open = reduce(room, phaseChange('turn', turnInfo({ turn_plays: four })), 0);
  assert.equal(leaderOf(open), '7');
  assert.equal(open.current, null);
});

test('a finished turn is remembered once', () => {
  const done = { event: 'turn_complete', data: { winner: '7', turn_number: 1, next_starter: '7', winning_play: { pilesWon: 1 }, turn_players_data: [{ name: '7', captured_piles: 1, declared: 2 }], turn_resolution: { all_plays: NAMES.map((player) => ({ player, pieces: ['SOLDIER_RED(2)'], play_type: 'SINGLE' })) } } };
  const room = run(roomUpdate(), phaseChange('turn', turnInfo({})), done, done);
  assert.equal(room.turns.length, 1);
  assert.equal(room.players[3].captured, 1);
  assert.equal(room.result.winner, '7');
  assert.equal(reduce(room, phaseChange('preparation', { redeal_multiplier: 1 }, { round: 2 }), 0).turns.length, 0);
});

test('turns that were missed are found out, asked for, and put in their place', () => {
  const won = (turn, round = 1) => ({ sequence: turn, type: 'turn_won', round, turn, starter: '7', winner: '7', piles: 2, plays: NAMES.map((player) => ({ player, pieces: ['SOLDIER_RED(2)', 'SOLDIER_RED(2)'], play_type: 'PAIR' })) });
  const late = run(roomUpdate(), phaseChange('turn', turnInfo({ current_turn_number: 3 })));
  assert.equal(lacksTurns(late), true);
  const told = reduce(late, { event: 'recovery_response', data: { events: [won(2), won(1), won(4, 2), { type: 'played', round: 1 }] } }, 0);
  assert.deepEqual(told.turns.map((turn) => [turn.number, turn.winner, turn.piles, turn.plays.length]), [[1, '7', 2, 4], [2, '7', 2, 4]]);
  assert.equal(told.turns[0].plays[0].kinds.length, 2);
  assert.equal(lacksTurns(told), false);
  assert.equal(reduce(told, { event: 'recovery_response', data: { events: [won(1)] } }, 0), told, 'what is known stays');
  assert.equal(lacksTurns(run(roomUpdate(), phaseChange('turn', turnInfo({})))), false);
  const scored = run(roomUpdate(), phaseChange('scoring', { round_scores: {}, total_scores: {}, redeal_multiplier: 1 }, { hand: [] }));
  assert.equal(lacksTurns(scored), true);
});

test('a watcher has no turn and no hand', () => {
  const room = run(roomUpdate({ you: null }), phaseChange('turn', turnInfo({}), { you: null }));
  assert.equal(room.you, null);
  assert.equal(myTurn(room), false);
  assert.deepEqual(room.hand, []);
});

test('the redeal question is for those who are asked', () => {
  const ask = (names) => phaseChange('preparation', { dealing_cards: false, redeal_multiplier: 1, weak_players_awaiting: names });
  assert.equal(askedToRedeal(run(roomUpdate(), ask(['Mira']))), true);
  assert.equal(askedToRedeal(run(roomUpdate(), ask(['12']))), false);
});

test('the number of a deal is known when every round before it was seen, and null otherwise', () => {
  const deal = (round, multiplier) => phaseChange('preparation', { dealing_cards: true, redeal_multiplier: multiplier }, { round });
  const scoring = (round, multiplier) => phaseChange('scoring', { round_scores: {}, total_scores: {}, redeal_multiplier: multiplier }, { round, hand: [] });
  assert.deepEqual(run(roomUpdate(), deal(1, 1), deal(1, 2), scoring(1, 2), deal(2, 1)).dealt.map((entry) => entry.k), [0, 1, 2]);
  assert.deepEqual(run(roomUpdate(), deal(2, 1)).dealt.map((entry) => entry.k), [null]);
  assert.deepEqual(run(roomUpdate(), phaseChange('declaration', { declarations: {}, current_declarer: 'Mira' })).dealt.map((entry) => entry.k), [null]);
});

test('the first commitment is the one kept', () => {
  const room = run(roomUpdate(), roomUpdate({ deal_commitment: 'bb' }));
  assert.equal(room.firstCommitment, 'aa');
});

test('a refusal takes back what was shown ahead of time', () => {
  const room = { ...run(roomUpdate(), phaseChange('turn', turnInfo({}))), pending: { what: 'play', ids: [] } };
  const refused = reduce(room, { event: 'error', data: { message: 'It is not your turn' } }, 5000);
  assert.equal(refused.pending, null);
  assert.equal(refused.error.message, 'It is not your turn');
  assert.ok(reduce(refused, phaseChange('turn', turnInfo({})), 5010).error, 'the fresh state that follows does not wipe it');
  assert.equal(reduce(refused, phaseChange('turn', turnInfo({})), 9000).error, null);
});

test('what changed is said', () => {
  speak('en');
  const before = run(roomUpdate(), phaseChange('declaration', { declarations: {}, current_declarer: '12' }));
  const after = reduce(before, phaseChange('declaration', { declarations: { 12: 3 }, current_declarer: 'Mira' }), 0);
  assert.deepEqual(changes(before, after), ['12 declares 3.', 'Your turn.', '3 of eight piles are declared. How many will you take?']);
});

test('what is played is said with its kind and worth, and whose turn it is with what is asked', () => {
  speak('en');
  const order = NAMES.slice(1).concat('Mira');
  const lead = { turn_plays: { 12: { ...play(2, 'PAIR', []), pieces: [] } }, turn_order: order, required_piece_count: 2 };
  const before = run(roomUpdate(), phaseChange('turn', turnInfo({ current_player: '12' })));
  const led = reduce(before, phaseChange('turn', turnInfo({ ...lead, current_player: 'Mira' })), 0);
  assert.deepEqual(changes(before, led), ['12 leads pair.', 'Your turn.', '12 leads a pair. Play two tiles.']);
  const plays = { 12: play(2, 'PAIR', ['ADVISOR_BLACK(11)', 'ADVISOR_BLACK(11)']), 'Bot 3': play(2, 'INVALID'), 7: play(2, 'INVALID'), Mira: play(2, 'PAIR', ['SOLDIER_RED(2)', 'SOLDIER_RED(2)']) };
  const open = reduce(led, phaseChange('turn', turnInfo({ turn_plays: plays, turn_order: order, current_player: null }), { hand: HAND.slice(3) }), 0);
  const said = changes(led, open);
  assert.ok(said.includes('You play pair, 4.'), said);
  assert.ok(said.includes('12 shows pair, 22.') && said.includes('Bot 3 throws away 2 tiles.'), said);
});

test('a straight of four is worth what counts in it, a throw what lies there', () => {
  assert.equal(worth({ type: 'EXTENDED_STRAIGHT', kinds: ['CHARIOT_RED', 'HORSE_RED', 'HORSE_RED', 'CANNON_RED'] }), 18);
  assert.equal(worth({ type: 'INVALID', kinds: ['CHARIOT_RED', 'HORSE_RED'] }), 14);
});

test('what an administrator says is kept, what the server says by itself is not', () => {
  const closed = (message) => reduce(run(roomUpdate()), { event: 'room_closed', data: { reason: 'closed', message } }, 0);
  assert.equal(closed('Tea is ready.').closedWords, 'Tea is ready.');
  assert.equal(closed('The room was closed by the operator.').closedWords, null);
});

test('the next table is known, and others are told who has set it up', () => {
  speak('en');
  const before = run(roomUpdate());
  const name = (by) => reduce(before, { event: 'rematch', data: { room_id: '4D02B7', player_name: by } }, 0);
  assert.deepEqual(name('12').rematch, { id: '4D02B7', by: '12' });
  assert.deepEqual(changes(before, name('12')), ['12 has set up the next table.']);
  assert.deepEqual(changes(name('12'), name('12')), [], 'once');
  assert.deepEqual(changes(before, name('Mira')), [], 'nobody is told of himself');
});

test('a refusal is said as what is the case', () => {
  speak('en');
  const words = (message) => refusal({ message });
  assert.match(words('The server is about to restart, please try again in a minute'), /about to restart/);
  assert.match(words('The server has no room for another table, please try again later'), /house is full/);
  assert.match(words('Too many people are watching this table'), /watching/);
  assert.match(words('no answer'), /does not answer/);
});

// Names that every object seems to have, and names whose keys lose their place.
const ODD = ['constructor', '__proto__', '7', '12'];

/** An object as it comes from the wire: JSON gives `__proto__` no special meaning. */
const wire = (entries) => JSON.parse(`{${entries.map(([name, value]) => `${JSON.stringify(name)}:${JSON.stringify(value)}`).join(',')}}`);

function oddPhase(phase, info, round = 1) {
  const entry = (name) => ({ name, is_bot: false, original_is_bot: false, is_connected: true, hand: [], hand_size: 8, declared: 2, captured_piles: 1, score: 0, zero_declares_in_a_row: 0 });
  return { event: 'phase_change', data: { phase, round, phase_data: { ...info, players: ODD.map(entry) }, players: wire(ODD.map((name) => [name, { ...entry(name), hand: name === '__proto__' ? HAND : [] }])) } };
}

test('a player may be called constructor, __proto__ or 7', () => {
  const seated = { event: 'room_update', data: { players: ODD.map((name) => ({ name, is_bot: false, is_host: name === ODD[0], avatar_color: 'teal' })), host_name: ODD[0], room_id: '3FA9C1', started: false, you: '__proto__' } };
  const odd = (...frames) => frames.reduce((room, frame) => reduce(room, frame, 0), emptyRoom('3FA9C1', '__proto__'));
  const order = ['12', 'constructor', '__proto__', '7'];

  const nobody = odd(seated, oddPhase('declaration', { declarations: {}, declaration_order: order, current_declarer: '12' }));
  assert.deepEqual(nobody.players.map((player) => player.declared), [null, null, null, null]);
  assert.equal(nobody.hand.length, 8);
  const made = [['12', 3], ['constructor', 0], ['__proto__', 1]];
  const some = reduce(nobody, oddPhase('declaration', { declarations: wire(made), declaration_order: order, current_declarer: '7' }), 0);
  assert.deepEqual([...some.declarations], made);
  assert.deepEqual(some.players.map((player) => player.declared), [0, 1, null, 3]);
  speak('en');
  assert.deepEqual(changes(nobody, some).slice(0, 3), ['12 declares 3.', 'constructor declares 0.', '__proto__ declares 1.']);

  // 12 leads and 7 has followed: among the keys 7 would come first.
  const plays = ['12', 'constructor', '__proto__', '7'].map((name) => [name, play(1, 'SINGLE', ['HORSE_RED(6)'])]);
  const turn = odd(seated, oddPhase('turn', turnInfo({ turn_plays: wire(plays), turn_order: order, current_player: '7' })));
  assert.equal(leadOf(turn).player, '12');
  assert.deepEqual(turn.plays.map((entry) => entry.player), order);

  const score = (total) => ({ declared: 2, actual: 1, multiplier: 1, final_score: total, total_score: total });
  const points = wire(ODD.map((name, i) => [name, 10 * i]));
  const scored = odd(seated, oddPhase('scoring', { round_scores: wire(ODD.map((name, i) => [name, score(10 * i)])), total_scores: points, redeal_multiplier: 1 }));
  assert.deepEqual(scored.history, [{ round: 1, scores: [0, 10, 20, 30], totals: [0, 10, 20, 30] }]);
  assert.deepEqual(scored.players.map((player) => player.score), [0, 10, 20, 30]);
  const over = reduce(scored, oddPhase('game_over', { score_history: [{ round: 1, scores: points, totals: points }, { round: 2, scores: points, totals: points }] }), 0);
  assert.equal(decisiveRound(over.history, ['__proto__'], over.players).rival, '12');
});

test('who sits down or leaves before the game is told, once and to the others', () => {
  const at = (...names) => ({ event: 'room_update', data: { ...roomUpdate().data, players: [0, 1, 2, 3].map((i) => (names[i] ? { name: names[i], is_bot: names[i].startsWith('Bot'), is_host: i === 0, avatar_color: null } : null)) } });
  const told = (...frames) => run(...frames).notes.map(({ key, params }) => `${key} ${params.name}`);
  assert.deepEqual(told(at('Mira', 'Mali', 'Bot 3')), [], 'who is there already is no news');
  assert.deepEqual(told(at('Mira'), at('Mira', 'Mali', null, 'Bot 4'), at('Mira', 'Mali', null, 'Bot 4')), ['note.sits Mali'], 'and neither is a bot');
  assert.deepEqual(told(at('Mira', 'Mali'), at('Mira', null, 'Jon')), ['note.sits Jon', 'note.stands Mali']);
  assert.deepEqual(told(at('Jon'), at('Jon', 'Mira')), [], 'nor we ourselves');
});

test('a seat that is kept for somebody looks so', () => {
  const away = (isConnected) => roomUpdate({ players: [{ name: 'Mira', is_bot: false }, { name: '12', is_bot: false, ...isConnected }, null, null] });
  const room = run(away({}), away({ is_connected: false }));
  assert.deepEqual(room.players.map((player) => player?.away), [false, true, undefined, undefined]);
  assert.equal(reduce(room, away({}), 0).players[1].away, false);
});

test('frames of no meaning change nothing, and none throws', () => {
  const room = run(roomUpdate());
  for (const frame of [{ event: 'pong', data: {} }, { event: 'rate_limit_warning', data: {} }, { event: '???', data: {} }]) assert.equal(reduce(room, frame, 0), room);
  for (const event of ['room_update', 'turn_complete', 'phase_change', 'player_disconnected', 'error', 'room_closed']) reduce(room, { event, data: {} }, 0);
});

test('copies of a kind are picked one by one', () => {
  const pieces = [{ id: 'a', kind: 'X' }, { id: 'b', kind: 'Y' }, { id: 'c', kind: 'X' }];
  assert.deepEqual(pick(pieces, ['X', 'X']), ['a', 'c']);
});

test('the round that decided a game', () => {
  const history = [
    { round: 1, scores: [6, 8], totals: [6, 8] },
    { round: 2, scores: [30, -4], totals: [36, 4] },
    { round: 3, scores: [14, 10], totals: [50, 14] },
  ];
  assert.deepEqual(decisiveRound(history, ['Mira'], [{ name: 'Mira' }, { name: '12' }]), { name: 'Mira', round: 2, gain: '+30', rival: '12', rivalGain: '−4' });
});

test('a record becomes steps, and turns can be jumped to', () => {
  const hand = HAND.map((piece) => piece.split('(')[0]);
  const record = {
    rounds: [{
      round: 1, multiplier: 1, deals: [{ hands: [hand, hand, hand, hand] }], declarations: [{ seat: 1, value: 2 }, { seat: 2, value: 0 }, { seat: 3, value: 1 }, { seat: 4, value: 1 }],
      turns: [1, 2].map((turn) => ({ turn, starter: 1, winner: 2, piles: 1, plays: [1, 2, 3, 4].map((seat) => ({ seat, pieces: [hand[turn]], play_type: 'SINGLE' })) })),
      scores: [-2, -2, -1, -1], totals: [-2, -2, -1, -1],
    }],
  };
  const steps = stepsOf(record);
  assert.deepEqual(steps.map((step) => step.what), ['deal', ...Array(4).fill('declare'), ...Array(4).fill('play'), 'taken', ...Array(4).fill('play'), 'taken', 'score']);
  assert.deepEqual(steps.at(-1).captured, [0, 2, 0, 0]);
  assert.equal(steps.at(-1).hands[0].length, 6);
  assert.equal(turnStep(steps, 0, 1), 5);
  assert.equal(turnStep(steps, 5, 1), 10);
  assert.equal(turnStep(steps, 12, -1), 10);
  assert.equal(turnStep(steps, 0, -1), 0);
});
