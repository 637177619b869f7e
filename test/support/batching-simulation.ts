/**
 * A servable under open-loop load in virtual time: the real queues, scheduler and policies over a place whose runs cost
 * what a line says. The same arrivals for every configuration, and nothing of the machine it runs on in the figures.
 */

import { type OutputView, PredictCall } from '../../inference-worker/batching/batcher.ts';
import type { BatchingOptions } from '../../inference-worker/batching/batching-options.ts';
import type { WorkerError } from '../../inference-worker/worker-error.ts';
import { BatchingBench, DOUBLING, rows } from './fake-executor.ts';
import { predictRequest } from './predict-tasks.ts';

/** What a run of n rows costs: `msPerRow * n + msPerBatch`, give or take `jitter` of it. */
export interface RunCost {
  readonly msPerRow: number;
  readonly msPerBatch: number;
  readonly jitter: number;
}

export interface SimulatedLoad {
  readonly ratePerSecond: number;
  readonly arrivals: number;
}

export interface SimulatedTail {
  readonly p50Ms: number;
  readonly p99Ms: number;
  readonly refused: number;
}

/** Rows a second that batches of `rows` carry at most. */
export function capacityOf({ msPerRow, msPerBatch }: RunCost, rows: number): number {
  return (1000 * rows) / (msPerRow * rows + msPerBatch);
}

/** Latencies of single rows that come by themselves. */
export function simulate(batching: Partial<BatchingOptions>, cost: RunCost, load: SimulatedLoad): SimulatedTail {
  const bench = new BatchingBench(batching);
  const { clock, pacer, executor, servable } = bench;
  const arrivalNoise = generator(1);
  const costNoise = generator(2);
  let endsAtMs = Number.POSITIVE_INFINITY;
  let tookMs = 0;
  executor.onStart = (batch) => {
    const mean = cost.msPerRow * batch.executedRows + cost.msPerBatch;
    tookMs = mean * (1 + cost.jitter * (2 * costNoise() - 1));
    endsAtMs = clock.nowMs() + tookMs;
  };
  for (const size of [1, 4, 16, 64]) servable.scheduler.learn(size, cost.msPerRow * size + cost.msPerBatch);
  const { view, buf } = predictRequest(rows(1));
  const latencies: number[] = [];
  let refused = 0;
  let sent = 0;
  let nextMs = clock.nowMs();
  while (sent < load.arrivals || servable.stats.queuedTasks > 0 || executor.running.length > 0) {
    const arrivesMs = sent < load.arrivals ? nextMs : Number.POSITIVE_INFINITY;
    bench.advance(Math.max(0, Math.min(arrivesMs, endsAtMs, pacer.nextDueMs) - clock.nowMs()));
    if (clock.nowMs() >= endsAtMs) {
      endsAtMs = Number.POSITIVE_INFINITY;
      bench.finish(0, tookMs);
    }
    if (clock.nowMs() < arrivesMs) continue;
    const call = new TimedCall(latencies, () => clock.nowMs());
    if (servable.submit(call, view, buf) !== null) refused++;
    pacer.endTurn();
    sent++;
    nextMs -= (Math.log(1 - arrivalNoise()) * 1000) / load.ratePerSecond;
  }
  const sorted = Float64Array.from(latencies).sort();
  const quantile = (q: number): number => sorted[Math.min(sorted.length - 1, Math.floor(q * sorted.length))]!;
  return { p50Ms: quantile(0.5), p99Ms: quantile(0.99), refused };
}

class TimedCall extends PredictCall {
  private readonly latencies: number[];
  private readonly nowMs: () => number;

  constructor(latencies: number[], nowMs: () => number) {
    super(DOUBLING);
    this.latencies = latencies;
    this.nowMs = nowMs;
  }

  override onOutputs(_outputs: readonly OutputView[]): void {
    this.latencies.push(this.nowMs() - this.acceptedAtMs);
  }

  override onFailure(error: WorkerError): void {
    throw error;
  }
}

/** Pseudo-random numbers from 0 to 1 (xorshift, 32 bits). */
function generator(seed: number): () => number {
  let state = (seed * 2_654_435_769) >>> 0;
  return () => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return (state >>> 0) / 2 ** 32;
  };
}
