/** The soak's chance: a seeded generator with the few draws the soak makes. Equal seeds make equal decisions. */
export class Random {
  private state: number;

  constructor(seed: number) {
    this.state = seed | 0;
  }

  /** Uniform in 0..1 (mulberry32). */
  next(): number {
    this.state = (this.state + 0x6d2b79f5) | 0;
    let z = Math.imul(this.state ^ (this.state >>> 15), 1 | this.state);
    z = (z + Math.imul(z ^ (z >>> 7), 61 | z)) ^ z;
    return ((z ^ (z >>> 14)) >>> 0) / 2 ** 32;
  }

  /** True in this share of the draws. */
  chance(share: number): boolean {
    return this.next() < share;
  }

  /** An integer of `from..to`, both included. */
  between(from: number, to: number): number {
    return from + Math.floor(this.next() * (to - from + 1));
  }

  pick<T>(values: readonly T[]): T {
    return values[this.between(0, values.length - 1)]!;
  }

  /** A part of a fixed block of noise: cheap, and different nearly every time. A view: not to be written to. */
  bytes(length: number): Buffer {
    const start = this.between(0, NOISE.length - length - 1);
    return NOISE.subarray(start, start + length);
  }

  /** Bytes of a body: mostly small, now and then some megabytes. */
  size(): number {
    const kind = this.next();
    if (kind < 0.7) return this.between(0, 2000);
    return kind < 0.97 ? this.between(2000, 120_000) : this.between(1_000_000, 3_000_000);
  }
}

const NOISE = Buffer.alloc(4 * 1024 * 1024);
{
  const random = new Random(1);
  for (let i = 0; i < NOISE.length; i += 4) NOISE.writeUInt32LE(Math.floor(random.next() * 2 ** 32), i);
}
