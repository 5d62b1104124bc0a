// A small QR code (ISO/IEC 18004): byte mode, error correction L, versions 1 to 10. Enough for a link to a table.

/** For version v: total codewords, error correction codewords of a block, number of blocks (level L). */
const VERSIONS = [null, [26, 7, 1], [44, 10, 1], [70, 15, 1], [100, 20, 1], [134, 26, 1], [172, 18, 2], [196, 20, 2], [242, 24, 2], [292, 30, 2], [346, 18, 4]];
const LEVEL_L = 1;

const EXP = new Uint8Array(512);
const LOG = new Uint8Array(256);
for (let i = 0, x = 1; i < 255; i += 1) {
  EXP[i] = EXP[i + 255] = x;
  LOG[x] = i;
  x = (x << 1) ^ (x & 0x80 ? 0x11d : 0);
}
const multiply = (a, b) => (a && b ? EXP[LOG[a] + LOG[b]] : 0);

/** Rows of booleans, true is dark; null when the text is too long. */
export function qr(text) {
  const bytes = new TextEncoder().encode(text);
  const version = VERSIONS.findIndex((entry, v) => entry && capacity(v) >= bytes.length);
  if (version < 0) return null;
  const words = codewords(version, bytes);
  let best = null;
  for (let mask = 0; mask < 8; mask += 1) {
    const grid = draw(version, words, mask);
    const cost = penalty(grid);
    if (!best || cost < best.cost) best = { cost, grid };
  }
  return best.grid;
}

const dataWords = (version) => VERSIONS[version][0] - VERSIONS[version][1] * VERSIONS[version][2];
const countBits = (version) => (version < 10 ? 8 : 16);
const capacity = (version) => Math.floor((dataWords(version) * 8 - 4 - countBits(version)) / 8);

function codewords(version, bytes) {
  const total = dataWords(version);
  const bits = [];
  const push = (value, n) => { for (let i = n - 1; i >= 0; i -= 1) bits.push((value >> i) & 1); };
  push(4, 4);
  push(bytes.length, countBits(version));
  for (const byte of bytes) push(byte, 8);
  push(0, Math.min(4, total * 8 - bits.length));
  while (bits.length % 8) bits.push(0);
  const data = [];
  for (let i = 0; i < bits.length; i += 8) data.push(parseInt(bits.slice(i, i + 8).join(''), 2));
  for (let pad = 0xec; data.length < total; pad ^= 0xec ^ 0x11) data.push(pad);
  return interleave(version, data);
}

function interleave(version, data) {
  const [, ecLength, count] = VERSIONS[version];
  const short = Math.floor(data.length / count);
  const longer = data.length % count;
  const blocks = [];
  for (let i = 0, at = 0; i < count; i += 1) {
    const length = short + (i >= count - longer ? 1 : 0);
    blocks.push(data.slice(at, at + length));
    at += length;
  }
  const corrections = blocks.map((block) => correction(block, ecLength));
  const out = [];
  for (let i = 0; i <= short; i += 1) for (const block of blocks) if (i < block.length) out.push(block[i]);
  for (let i = 0; i < ecLength; i += 1) for (const words of corrections) out.push(words[i]);
  return out;
}

/** Reed-Solomon remainder of a block. */
function correction(block, length) {
  let generator = [1];
  for (let i = 0; i < length; i += 1) {
    const next = [...generator, 0];
    generator.forEach((c, j) => { next[j + 1] ^= multiply(c, EXP[i]); });
    generator = next;
  }
  const rest = [...block, ...Array(length).fill(0)];
  for (let i = 0; i < block.length; i += 1) {
    const factor = rest[i];
    if (factor) generator.forEach((c, j) => { rest[i + j] ^= multiply(c, factor); });
  }
  return rest.slice(block.length);
}

const MASKS = [
  (x, y) => (x + y) % 2 === 0, (x, y) => y % 2 === 0, (x) => x % 3 === 0, (x, y) => (x + y) % 3 === 0,
  (x, y) => (Math.floor(y / 2) + Math.floor(x / 3)) % 2 === 0, (x, y) => ((x * y) % 2) + ((x * y) % 3) === 0,
  (x, y) => (((x * y) % 2) + ((x * y) % 3)) % 2 === 0, (x, y) => (((x + y) % 2) + ((x * y) % 3)) % 2 === 0,
];

function draw(version, words, mask) {
  const size = 17 + 4 * version;
  const grid = Array.from({ length: size }, () => Array(size).fill(null));
  const set = (x, y, dark) => { if (x >= 0 && y >= 0 && x < size && y < size) grid[y][x] = Boolean(dark); };
  for (const [cx, cy] of [[3, 3], [size - 4, 3], [3, size - 4]]) {
    for (let dy = -4; dy <= 4; dy += 1) {
      for (let dx = -4; dx <= 4; dx += 1) {
        const ring = Math.max(Math.abs(dx), Math.abs(dy));
        set(cx + dx, cy + dy, ring !== 2 && ring !== 4);
      }
    }
  }
  const centres = alignment(version, size);
  for (const cx of centres) {
    for (const cy of centres) {
      if (grid[cy][cx] !== null) continue;
      for (let dy = -2; dy <= 2; dy += 1) for (let dx = -2; dx <= 2; dx += 1) set(cx + dx, cy + dy, Math.max(Math.abs(dx), Math.abs(dy)) !== 1);
    }
  }
  for (let i = 0; i < size; i += 1) {
    if (grid[6][i] === null) set(i, 6, i % 2 === 0);
    if (grid[i][6] === null) set(6, i, i % 2 === 0);
  }
  set(8, size - 8, true);
  formatBits(mask, size, set);
  if (version >= 7) versionBits(version, size, set);
  place(grid, size, words, mask);
  return grid;
}

function alignment(version, size) {
  if (version === 1) return [];
  const count = Math.floor(version / 7) + 2;
  const step = Math.ceil((size - 13) / (count * 2 - 2)) * 2;
  return [6, ...Array.from({ length: count - 1 }, (_, i) => size - 7 - i * step).reverse()];
}

/** `value` with the remainder of its division by a generator polynomial appended. */
function withRemainder(value, generator, degree) {
  let rest = value << degree;
  for (let bit = 31; bit >= degree; bit -= 1) if ((rest >>> bit) & 1) rest ^= generator << (bit - degree);
  return (value << degree) | rest;
}

function formatBits(mask, size, set) {
  const bits = withRemainder((LEVEL_L << 3) | mask, 0x537, 10) ^ 0x5412;
  const bit = (i) => (bits >> i) & 1;
  for (let i = 0; i < 15; i += 1) {
    set(8, i < 6 ? i : i < 8 ? i + 1 : size - 15 + i, bit(i));
    set(i < 8 ? size - 1 - i : i === 8 ? 7 : 14 - i, 8, bit(i));
  }
}

function versionBits(version, size, set) {
  const bits = withRemainder(version, 0x1f25, 12);
  for (let i = 0; i < 18; i += 1) {
    const far = size - 11 + (i % 3);
    set(far, Math.floor(i / 3), (bits >> i) & 1);
    set(Math.floor(i / 3), far, (bits >> i) & 1);
  }
}

/** Lays the bits in their zigzag; what is still null is free. */
function place(grid, size, words, mask) {
  let at = 0;
  let up = true;
  for (let right = size - 1; right > 0; right -= 2) {
    if (right === 6) right = 5;
    for (let step = 0; step < size; step += 1) {
      const y = up ? size - 1 - step : step;
      for (const x of [right, right - 1]) {
        if (grid[y][x] !== null) continue;
        const dark = at < words.length * 8 && (words[at >> 3] >> (7 - (at & 7))) & 1;
        at += 1;
        grid[y][x] = Boolean(dark) !== MASKS[mask](x, y);
      }
    }
    up = !up;
  }
}

function penalty(grid) {
  const size = grid.length;
  let cost = 0;
  let dark = 0;
  const lines = [...grid, ...grid.map((_, x) => grid.map((row) => row[x]))];
  for (const line of lines) {
    for (let i = 0, run = 0; i < size; i += 1) {
      run = i && line[i] === line[i - 1] ? run + 1 : 1;
      if (run === 5) cost += 3;
      else if (run > 5) cost += 1;
    }
    const text = line.map((cell) => (cell ? '1' : '0')).join('');
    for (const shape of ['10111010000', '00001011101']) {
      for (let at = text.indexOf(shape); at >= 0; at = text.indexOf(shape, at + 1)) cost += 40;
    }
  }
  for (let y = 0; y < size; y += 1) {
    for (let x = 0; x < size; x += 1) {
      if (grid[y][x]) dark += 1;
      if (x && y && grid[y][x] === grid[y - 1][x] && grid[y][x] === grid[y][x - 1] && grid[y][x] === grid[y - 1][x - 1]) cost += 3;
    }
  }
  return cost + Math.floor(Math.abs((dark * 20) / (size * size) - 10)) * 10;
}
