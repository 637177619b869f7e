/**
 * Runs a fresh model a few times on zeros, at growing batch sizes: it learns what a run costs, whether outputs really have
 * the declared shapes and follow the batch axis, and leaves the model's memory arenas warm.
 *
 * Bounded: it stops growing once a run is clearly too slow for the front thread, which is all the cost is needed for.
 * A model that refuses zeros, or whose inputs have open dimensions besides the batch, is taken at its word.
 */

import { elementsOf } from '../batching/slab.ts';
import { elementTypeOf } from './element-type.ts';
import type { ModelInfo } from './model-info.ts';
import { type NativeSession, type OrtFeeds, ortTensor } from './native-session.ts';
import type { ModelOutput, Signature, TensorSpec } from './signature.ts';

/** A run this slow ends the warm-up. */
const ENOUGH_MS = 5;
/** Timed runs per size, of which the fastest counts; the first run at a size is not timed. */
const TIMED_RUNS = 3;
const GROWTH = 4;
/** Zeros fed at most, so that a model of huge rows is not warmed up with gigabytes. */
const MAX_FEED_BYTES = 64 * 1024 * 1024;

export type WarmUpFindings = Pick<ModelInfo, 'outputs' | 'batchable' | 'costs'>;

export function warmUp(
  session: NativeSession,
  signature: Signature,
  declaredBatchable: boolean,
  maxBatchSize: number,
  allowedBatchSizes: readonly number[],
): WarmUpFindings {
  /** Per output: as declared in every run so far; undefined before the first. */
  const asDeclared: (boolean | undefined)[] = signature.outputs.map(() => undefined);
  let batchable = declaredBatchable;
  const costs: { rows: number; ms: number }[] = [];
  for (const rows of warmUpSizes(batchable, maxBatchSize, allowedBatchSizes)) {
    const feeds = zeroFeeds(signature.inputs, batchable, rows);
    if (feeds === null) break;
    const results = tryRun(session, feeds);
    if (results === null) {
      // One row runs and several do not: the batch axis is open only on paper.
      if (rows > 1 && costs.length > 0) batchable = false;
      break;
    }
    if (batchable && !followsBatchAxis(signature, results, rows)) batchable = false;
    signature.outputs.forEach((spec, i) => {
      asDeclared[i] = asDeclared[i] !== false && shapeMatches(spec, results[spec.name].dims);
    });
    const ms = timeRuns(session, feeds);
    costs.push({ rows, ms });
    if (ms > ENOUGH_MS || !batchable) break;
  }
  // Unseen, a declared shape is believed, but no dimensions may also mean that the graph says nothing.
  const outputs: ModelOutput[] = signature.outputs.map(({ shape }, i) => ({
    shapeIsCertain: asDeclared[i] ?? shape.length > 0,
  }));
  return { outputs, batchable, costs: batchable || costs.length === 0 ? costs : costs.slice(0, 1) };
}

/** Allowed sizes only, where there are any: some providers build a plan per size. */
function warmUpSizes(batchable: boolean, maxBatchSize: number, allowed: readonly number[]): number[] {
  if (!batchable) return [1];
  if (allowed.length > 0) return [...allowed];
  const sizes: number[] = [];
  for (let size = 1; size < maxBatchSize; size *= GROWTH) sizes.push(size);
  sizes.push(maxBatchSize);
  return sizes;
}

function zeroFeeds(inputs: readonly TensorSpec[], batched: boolean, rows: number): OrtFeeds | null {
  const feeds: OrtFeeds = {};
  let bytes = 0;
  for (const { name, ortType, shape } of inputs) {
    const dims = batched ? [rows, ...shape.slice(1)] : [...shape];
    if (dims.includes(-1)) return null;
    const type = elementTypeOf(ortType);
    const elements = elementsOf(dims);
    bytes += elements * type.bytes;
    if (bytes > MAX_FEED_BYTES) return null;
    const data = type.array === null ? new Array<string>(elements).fill('') : new type.array(elements);
    feeds[name] = ortTensor(ortType, data, dims);
  }
  return feeds;
}

function tryRun(session: NativeSession, feeds: OrtFeeds): OrtFeeds | null {
  try {
    return session.run(feeds, allocatedOutputs(session));
  } catch {
    return null;
  }
}

function timeRuns(session: NativeSession, feeds: OrtFeeds): number {
  const fetches = allocatedOutputs(session);
  let leastMs = Number.POSITIVE_INFINITY;
  for (let i = 0; i < TIMED_RUNS && leastMs > 0; i++) {
    const beganMs = performance.now();
    session.run(feeds, fetches);
    leastMs = Math.min(leastMs, performance.now() - beganMs);
    if (leastMs > ENOUGH_MS) break;
  }
  return leastMs;
}

function allocatedOutputs(session: NativeSession): Record<string, null> {
  return Object.fromEntries(session.outputs.map(({ name }) => [name, null]));
}

function followsBatchAxis(signature: Signature, results: OrtFeeds, rows: number): boolean {
  return signature.outputs.every(({ name }) => results[name].dims[0] === rows);
}

function shapeMatches({ shape }: TensorSpec, dims: readonly number[]): boolean {
  return shape.length === dims.length && shape.every((dim, i) => dim === -1 || dim === dims[i]);
}
