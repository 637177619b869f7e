/**
 * How a bench deals with a machine it does not have to itself: it waits for quiet moments and repeats disturbed runs,
 * both out of one budget of time, so that its length stays bounded. What is still disturbed is reported as such.
 */
import type { BenchOptions } from '../options.ts';
import { busyFraction, type CoreTimes, readCoreTimes } from './core-times.ts';

/** Time a bench may spend on waiting and repeating, as a multiple of what it measures one program on one workload. */
const BUDGET_FACTOR = 9;
/** Longest wait before one run. */
const WAIT_MS = 3000;
/** Length of one look at the cores; a tick of /proc/stat is 10 ms. */
const LOOK_MS = 100;
const QUIET_FRACTION = 0.1;
/** Above this, others than the program under test used its core in a run. */
const FOREIGN_FRACTION = 0.05;

export class Patience {
  #leftMs: number;
  readonly #cores: readonly number[];

  constructor(options: BenchOptions) {
    this.#cores = [options.testedCore, options.loadCore];
    this.#leftMs = options.rounds * options.seconds * 1000 * BUDGET_FACTOR;
  }

  /** Runs `once` in a quiet moment, and once more if it was disturbed and there is time left. */
  async run<T extends { readonly disturbed: boolean }>(once: () => Promise<T>): Promise<T> {
    await this.#untilQuiet();
    const startMs = performance.now();
    const result = await once();
    const tookMs = performance.now() - startMs;
    if (!result.disturbed || tookMs > this.#leftMs) return result;
    this.#leftMs -= tookMs;
    await this.#untilQuiet();
    return once();
  }

  async #untilQuiet(): Promise<void> {
    const startMs = performance.now();
    const mostMs = Math.min(WAIT_MS, this.#leftMs);
    let quiet = false;
    while (!quiet && performance.now() - startMs < mostMs) {
      const before = this.#cores.map(readCoreTimes);
      await new Promise((resolve) => setTimeout(resolve, LOOK_MS));
      quiet = this.#cores.every((core, i) => busyFraction(before[i]!, readCoreTimes(core)) < QUIET_FRACTION);
    }
    this.#leftMs -= performance.now() - startMs;
  }
}

/** Watches the cores of a program during a run of it. */
export class CoreWatch {
  readonly #cores: readonly number[];
  readonly #before: CoreTimes;

  constructor(...cores: readonly number[]) {
    this.#cores = cores;
    this.#before = sumOfCores(cores);
  }

  /** Fraction of the time since the start in which the cores were not idle. */
  busy(): number {
    return busyFraction(this.#before, sumOfCores(this.#cores));
  }

  /** Whether others than a program that has used `ownUs` since the start used the cores too. */
  disturbed(ownUs: number): boolean {
    const now = sumOfCores(this.#cores);
    const foreignUs = now.busyUs - this.#before.busyUs - ownUs;
    return foreignUs > FOREIGN_FRACTION * (now.totalUs - this.#before.totalUs);
  }
}

function sumOfCores(cores: readonly number[]): CoreTimes {
  const all = cores.map(readCoreTimes);
  return {
    busyUs: all.reduce((sum, { busyUs }) => sum + busyUs, 0),
    totalUs: all.reduce((sum, { totalUs }) => sum + totalUs, 0),
  };
}
