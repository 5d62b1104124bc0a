// Recomputes the deals of a game from what the server revealed, and compares them with what this browser saw.
// The algorithm `liap-deal-1` is described in docs/fair-deals.md.

import { ascii, hex, hmac, join, sha256, unhex } from './sha256.js';

const COPIES = [['GENERAL', 1], ['ADVISOR', 2], ['ELEPHANT', 2], ['CHARIOT', 2], ['HORSE', 2], ['CANNON', 2], ['SOLDIER', 5]];

/** The kind of each of the 32 pieces, by number. */
export const PIECES = ['RED', 'BLACK'].flatMap((color) => COPIES.flatMap(([name, copies]) => Array(copies).fill(`${name}_${color}`)));

/** The most deals that are looked through; a game has seldom more than thirty. */
const MOST_DEALS = 600;

const u32 = (n) => Uint8Array.of(n >>> 24, n >>> 16, n >>> 8, n);

/** The key from which all deals of a game follow. */
export function gameKey(serverSeed, entropy) {
  const texts = entropy.map((text) => (text ?? '').toLowerCase());
  return hmac(serverSeed, ascii(`liap-deal-1\n${texts.join('\n')}`));
}

/** Deal number `k` of a game: the 32 numbers of pieces, eight for each seat in turn. */
export function dealNumbers(key, k) {
  let bytes = [];
  let block = 0;
  const next = () => {
    if (bytes.length === 0) {
      bytes = [...hmac(key, join(u32(k), u32(block)))];
      block += 1;
    }
    return bytes.shift();
  };
  const pieces = Array.from({ length: 32 }, (_, i) => i);
  for (let i = 31; i >= 1; i -= 1) {
    let b = next();
    while (b >= 256 - (256 % (i + 1))) b = next();
    const j = b % (i + 1);
    [pieces[i], pieces[j]] = [pieces[j], pieces[i]];
  }
  return pieces;
}

/** Deal number `k` as four hands of kinds. */
export function deal(key, k) {
  const kinds = dealNumbers(key, k).map((number) => PIECES[number]);
  return [0, 8, 16, 24].map((from) => kinds.slice(from, from + 8));
}

const same = (a, b) => a.length === b.length && [...a].sort().join() === [...b].sort().join();

/**
 * Checks a revealed proof against what was seen. `seen` holds
 * `commitment` shown before the game (or null), `seat` index of the own seat (or -1), `entropy` sent (or null), and
 * `hands`: in order of time, `{seat, pieces, k}` with the eight kinds a seat was dealt, as far as this browser knows them,
 * and the number of the deal, counted from 0, or null when it is not known.
 * Gives a list of `{name, ok}`; `ok` is null where there was nothing to compare.
 */
export function checkProof(proof, seen) {
  const seed = unhex(proof.server_seed ?? '');
  const known = proof.algorithm === 'liap-deal-1' && seed !== null && Array.isArray(proof.entropy);
  if (!known) return [{ name: 'algorithm', ok: false }];
  const commitment = hex(sha256(seed));
  const steps = [{ name: 'secret', ok: commitment === String(proof.commitment).toLowerCase() }];
  steps.push({ name: 'before', ok: seen.commitment ? commitment === seen.commitment.toLowerCase() : null });
  const own = seen.seat >= 0 ? proof.entropy[seen.seat] : null;
  steps.push({ name: 'entropy', ok: seen.entropy ? (own ?? '').toLowerCase() === seen.entropy.toLowerCase() : null });
  steps.push({ name: 'hands', ok: seen.hands.length ? handsFollow(gameKey(seed, proof.entropy), seen.hands) : null });
  return steps;
}

/**
 * True when every seen hand is the one that was due. Where a round was missed, so that the number of the deal is not
 * known, it is looked for among the deals that follow the last one found.
 */
function handsFollow(key, hands) {
  let from = 0;
  for (const { k, seat, pieces } of hands) {
    let at = k ?? from;
    while (k === null && at < MOST_DEALS && !same(deal(key, at)[seat], pieces)) at += 1;
    if (at === MOST_DEALS || !same(deal(key, at)[seat], pieces)) return false;
    from = at;
  }
  return true;
}

/** True, false, or null when nothing of weight could be compared. */
export function verdict(steps) {
  if (steps.some((step) => step.ok === false)) return false;
  return steps.some((step) => step.ok === null && (step.name === 'before' || step.name === 'hands')) ? null : true;
}
