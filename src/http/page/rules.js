// What may be played and declared. The server decides; this is for showing a player his choices before he sends one.

/** Points of every kind of piece, as on the wire: `NAME_COLOR`. */
export const POINTS = {
  GENERAL_RED: 14, GENERAL_BLACK: 13, ADVISOR_RED: 12, ADVISOR_BLACK: 11, ELEPHANT_RED: 10, ELEPHANT_BLACK: 9,
  CHARIOT_RED: 8, CHARIOT_BLACK: 7, HORSE_RED: 6, HORSE_BLACK: 5, CANNON_RED: 4, CANNON_BLACK: 3,
  SOLDIER_RED: 2, SOLDIER_BLACK: 1,
};

const HIGH = ['GENERAL', 'ADVISOR', 'ELEPHANT'];
const LOW = ['CHARIOT', 'HORSE', 'CANNON'];

const nameOf = (kind) => kind.slice(0, kind.indexOf('_'));
export const colorOf = (kind) => kind.slice(kind.indexOf('_') + 1);
/** The kind of a piece written `NAME_COLOR(points)` or `NAME_COLOR`. */
export const kindOf = (text) => text.split('(')[0];
export const sum = (kinds) => kinds.reduce((total, kind) => total + POINTS[kind], 0);

/** The type of a play, `INVALID` when the pieces form none. */
export function classify(kinds) {
  const n = kinds.length;
  if (n === 1) return 'SINGLE';
  if (n < 1 || n > 6 || kinds.some((kind) => colorOf(kind) !== colorOf(kinds[0]))) return 'INVALID';
  const names = kinds.map(nameOf);
  const distinct = new Set(names);
  if (distinct.size === 1) {
    if (n === 2) return 'PAIR';
    if (names[0] === 'SOLDIER' && n <= 5) return { 3: 'THREE_OF_A_KIND', 4: 'FOUR_OF_A_KIND', 5: 'FIVE_OF_A_KIND' }[n];
    return 'INVALID';
  }
  const group = [HIGH, LOW].find((names3) => names3.every((name) => distinct.has(name)));
  if (!group || distinct.size !== 3) return 'INVALID';
  const most = Math.max(...group.map((name) => names.filter((other) => other === name).length));
  if (most > 2) return 'INVALID';
  return { 3: 'STRAIGHT', 4: 'EXTENDED_STRAIGHT', 5: 'EXTENDED_STRAIGHT_5', 6: 'DOUBLE_STRAIGHT' }[n];
}

/** What counts when two plays of one type are compared. Duplicates in an extended straight add nothing. */
export function strength(kinds) {
  return classify(kinds).startsWith('EXTENDED') ? sum([...new Set(kinds)]) : sum(kinds);
}

/** Index of the winning play; `plays` are arrays of kinds, the starter's first. */
export function winnerOf(plays) {
  let best = 0;
  for (let i = 1; i < plays.length; i += 1) {
    if (classify(plays[i]) === classify(plays[best]) && strength(plays[i]) > strength(plays[best])) best = i;
  }
  return classify(plays[0]) === 'INVALID' ? 0 : best;
}

/** Sorts kinds as they lie in a hand: by group, red before black, high before low. */
export function handOrder(a, b) {
  const group = (kind) => (HIGH.includes(nameOf(kind)) ? 0 : LOW.includes(nameOf(kind)) ? 1 : 2);
  const color = (kind) => (colorOf(kind) === 'RED' ? 0 : 1);
  return group(a) - group(b) || color(a) - color(b) || POINTS[b] - POINTS[a];
}

/**
 * All combinations of two and more pieces in a hand, each as an array of kinds, the longest and strongest first.
 * Copies of a kind are interchangeable, so each combination is listed once.
 */
export function combinations(hand) {
  const count = (kind) => hand.filter((other) => other === kind).length;
  const found = [];
  for (const kind of Object.keys(POINTS)) {
    const most = nameOf(kind) === 'SOLDIER' ? count(kind) : Math.min(count(kind), 2);
    for (let n = 2; n <= most; n += 1) found.push(Array(n).fill(kind));
  }
  for (const color of ['RED', 'BLACK']) {
    for (const group of [HIGH, LOW]) {
      const kinds = group.map((name) => `${name}_${color}`);
      if (!kinds.every((kind) => count(kind) > 0)) continue;
      const doubles = kinds.filter((kind) => count(kind) > 1);
      for (let mask = 0; mask < 1 << doubles.length; mask += 1) {
        const extra = doubles.filter((_, i) => mask & (1 << i));
        found.push([...kinds, ...extra].sort(handOrder));
      }
    }
  }
  return found.sort((a, b) => b.length - a.length || strength(b) - strength(a) || sum(b) - sum(a));
}

/**
 * The combinations that are of use now: all of them to the starter (`lead` null), to the others those of the
 * starter's type, since no other can win.
 */
export function usefulCombinations(hand, lead) {
  const all = combinations(hand);
  return lead ? all.filter((kinds) => classify(kinds) === lead.type) : all;
}

/**
 * What a choice of pieces would be: `none`, `play` (can win), `waste` (allowed, cannot win), `count` (wrong number),
 * or `invalid` (no combination, so no start). `lead` is null for the starter, else the starter's `{count, type}`.
 */
export function judge(kinds, lead) {
  if (kinds.length === 0) return { verdict: 'none' };
  const type = classify(kinds);
  const value = type.startsWith('EXTENDED') ? strength(kinds) : sum(kinds);
  if (!lead) return { verdict: type === 'INVALID' ? 'invalid' : 'play', type, value };
  if (kinds.length !== lead.count) return { verdict: 'count', type, value };
  return { verdict: type === lead.type ? 'play' : 'waste', type, value };
}

/**
 * Why each number 0 to 8 may not be declared: null (allowed), `eight` or `zeros`.
 * `made` are the declarations before this one, `zeroStreak` the rounds in a row in which this player declared 0.
 */
export function declarationLimits(made, zeroStreak) {
  const total = made.reduce((a, b) => a + b, 0);
  return Array.from({ length: 9 }, (_, value) => {
    if (value === 0 && zeroStreak >= 2) return 'zeros';
    if (made.length === 3 && total + value === 8) return 'eight';
    return null;
  });
}

/** The score of a round, as the rules explain it: `hitZero`, `missZero`, `hit` or `miss`, and the base points. */
export function explainScore(declared, captured) {
  if (declared === 0) return captured === 0 ? { how: 'hitZero', base: 3 } : { how: 'missZero', base: -captured };
  return declared === captured ? { how: 'hit', base: declared + 5 } : { how: 'miss', base: -Math.abs(declared - captured) };
}
