/**
 * Numbers for sampling: xoshiro128** (Blackman and Vigna, 2018), seeded by SplitMix32.
 * The same seed gives the same draws in every browser; NumPy's differ, so a seed gives another
 * text in Python.
 */

export class Random {
  readonly #state: Uint32Array;

  /** seed null draws a fresh one. */
  constructor(seed: number | null) {
    if (seed === null) {
      this.#state = crypto.getRandomValues(new Uint32Array(4));
      return;
    }
    // Both halves of a seed of up to 53 bits count.
    let mixed = Math.imul(Math.floor(seed / 2 ** 32), 0x85ebca6b) ^ (seed >>> 0);
    this.#state = Uint32Array.from({ length: 4 }, () => {
      mixed = (mixed + 0x9e3779b9) | 0;
      let word = mixed ^ (mixed >>> 16);
      word = Math.imul(word, 0x21f0aaad);
      word ^= word >>> 15;
      word = Math.imul(word, 0x735a2d97);
      return word ^ (word >>> 15);
    });
  }

  /** A number in [0, 1) with 53 random bits. */
  next(): number {
    const high = this.#word() >>> 5;
    const low = this.#word() >>> 6;
    return (high * 2 ** 26 + low) / 2 ** 53;
  }

  #word(): number {
    const s = this.#state as unknown as [number, number, number, number];
    const result = Math.imul(rotate(Math.imul(s[1], 5), 7), 9);
    const shifted = s[1] << 9;
    s[2] ^= s[0];
    s[3] ^= s[1];
    s[1] ^= s[2];
    s[0] ^= s[3];
    s[2] ^= shifted;
    s[3] = rotate(s[3], 11);
    return result;
  }
}

function rotate(word: number, bits: number): number {
  return (word << bits) | (word >>> (32 - bits));
}
