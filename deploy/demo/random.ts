/**
 * Seeded randomness for the demo: the same seed gives the same numbers on every machine.
 *
 * Owns the generator (xoshiro128** seeded through splitmix32) and the few distributions the applicants need.
 * Rule: only IEEE-exact operations are used (+ - * / and 32-bit integers). `Math.exp` and its kin may differ in the
 * last bit between builds of the engine, which would change committed model files, so `exactExp` is written out here.
 */

/** ln 2 split in two: the high part has trailing zero bits, so k * LN2_HIGH is exact for the k that occur. */
const LN2_HIGH = 0.6931471803691238;
const LN2_LOW = 1.9082149292705877e-10;
const TAYLOR_TERMS = 14;
const MAX_EXPONENT = 700;

/** e to the power x, within two units in the last place; x is clamped to [-700, 700]. Identical on every machine. */
export function exactExp(x: number): number {
  const clamped = Math.max(-MAX_EXPONENT, Math.min(MAX_EXPONENT, x));
  const k = Math.floor(clamped * Math.LOG2E + 0.5);
  const r = clamped - k * LN2_HIGH - k * LN2_LOW;
  let sum = 1;
  for (let n = TAYLOR_TERMS; n >= 1; n--) sum = 1 + (r / n) * sum;
  return sum * powerOfTwo(k);
}

/** 1 / (1 + e^-x), from `exactExp`. */
export function logistic(x: number): number {
  return 1 / (1 + exactExp(-x));
}

function powerOfTwo(k: number): number {
  let base = k < 0 ? 0.5 : 2;
  let left = k < 0 ? -k : k;
  let power = 1;
  while (left > 0) {
    if (left & 1) power *= base;
    base *= base;
    left >>= 1;
  }
  return power;
}

/** xoshiro128**: 2^128 - 1 numbers before it repeats; not for secrets. */
export class SeededRandom {
  #a: number;
  #b: number;
  #c: number;
  #d: number;

  /** @param seed any integer; its low 32 bits count. */
  constructor(seed: number) {
    let state = seed >>> 0;
    const next = (): number => {
      state = (state + 0x9e3779b9) >>> 0;
      let z = state;
      z = Math.imul(z ^ (z >>> 16), 0x21f0aaad);
      z = Math.imul(z ^ (z >>> 15), 0x735a2d97);
      return (z ^ (z >>> 15)) >>> 0;
    };
    this.#a = next();
    this.#b = next();
    this.#c = next();
    this.#d = next();
  }

  /** The next 32 bits, as an unsigned integer. */
  uint32(): number {
    const scrambled = Math.imul(rotateLeft(Math.imul(this.#b, 5), 7), 9) >>> 0;
    const shifted = this.#b << 9;
    this.#c ^= this.#a;
    this.#d ^= this.#b;
    this.#b ^= this.#c;
    this.#a ^= this.#d;
    this.#c ^= shifted;
    this.#d = rotateLeft(this.#d, 11);
    return scrambled;
  }

  /** Uniform in [0, 1), 32 bits fine. */
  uniform(): number {
    return this.uint32() / 4294967296;
  }

  /** Uniform integer in [0, bound); the bias of the modulo is below 2^-20 for the bounds used here. */
  below(bound: number): number {
    return Math.floor(this.uniform() * bound);
  }

  /** Nearly normal with mean 0 and deviation 1: the sum of twelve uniforms, so never beyond 6. */
  normal(): number {
    let sum = -6;
    for (let i = 0; i < 12; i++) sum += this.uniform();
    return sum;
  }

  /** Poisson count of mean `mean` (below 20), never above `most`. */
  poisson(mean: number, most: number): number {
    const floor = exactExp(-mean);
    let product = this.uniform();
    let count = 0;
    while (product > floor && count < most) {
      product *= this.uniform();
      count++;
    }
    return count;
  }

  /** Fisher-Yates over `order`, in place. */
  shuffle(order: Uint32Array): void {
    for (let i = order.length - 1; i > 0; i--) {
      const j = this.below(i + 1);
      const kept = order[i]!;
      order[i] = order[j]!;
      order[j] = kept;
    }
  }
}

function rotateLeft(x: number, bits: number): number {
  return (x << bits) | (x >>> (32 - bits));
}
