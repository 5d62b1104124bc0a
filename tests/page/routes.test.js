// Addresses and places, with and without a base path; and the query of a list of games.

import assert from 'node:assert/strict';
import { test } from 'node:test';

import { gamesQuery } from '../../src/http/page/archive.js';
import { routeOf } from '../../src/http/page/routes.js';

test('every place has its address', () => {
  const places = {
    '': { place: 'door' }, lobby: { place: 'door' }, 'room/3fa9c1': { place: 'room', id: '3FA9C1' }, 'game/3FA9C1': { place: 'room', id: '3FA9C1' },
    'room/nonsense': { place: 'door' }, 'replay/01JD0': { place: 'replay', id: '01JD0' }, 'game/01JD0/replay': { place: 'replay', id: '01JD0' },
    'player/%E0%B8%A0%20x': { place: 'player', name: 'ภ x' }, 'player/a%2Fb': { place: 'player', name: 'a/b' }, 'player/%E0%A4%A': { place: 'player', name: '%E0%A4%A' },
    'player/constructor': { place: 'player', name: 'constructor' }, history: { place: 'history' }, 'history?player=Mira': { place: 'history' }, leaderboard: { place: 'leaderboard' },
  };
  for (const root of ['/', '/liap/']) {
    for (const [path, place] of Object.entries(places)) assert.deepEqual(routeOf(new URL(root + path, 'http://house'), root), place, root + path);
  }
});

test('a filter asks only for what it holds', () => {
  assert.equal(gamesQuery({}), 'api/games?limit=20');
  assert.equal(gamesQuery({ player: ' Mira ', winner: '', room: '3fa9c1', other: 'x' }, 'next'), 'api/games?limit=20&player=Mira&room=3FA9C1&cursor=next');
});
