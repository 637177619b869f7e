/**
 * Quantile sketches of scores and latencies on both sides: values within 1 % of what was seen, whatever their scale, and
 * exact under merging (DDSketch). They cross threads as bytes, because a sketch is an object with methods.
 *
 * Bounded: 2048 buckets on each side of zero, of which those nearest zero are put together first. Sketches are merged
 * bucket by bucket here: the library's own merge forgets negative values and loses buckets at 1.
 */
import { DDSketch, LogCollapsingLowestDenseDDSketch as Sketch } from '@datadog/sketches-js';
import type { SketchName, SketchState, SketchStates } from './quantile-figures.ts';

const RELATIVE_ACCURACY = 0.01;
const SHOWN: readonly number[] = [0.5, 0.9, 0.95, 0.99];

/** Sketches of one cohort, or of all pairs of a comparison. */
export class QuantileSketches implements Record<SketchName, Sketch> {
  readonly primaryScore = new Sketch({ relativeAccuracy: RELATIVE_ACCURACY });
  readonly shadowScore = new Sketch({ relativeAccuracy: RELATIVE_ACCURACY });
  readonly primaryLatency = new Sketch({ relativeAccuracy: RELATIVE_ACCURACY });
  readonly shadowLatency = new Sketch({ relativeAccuracy: RELATIVE_ACCURACY });
}

const NAMES: readonly SketchName[] = ['primaryScore', 'shadowScore', 'primaryLatency', 'shadowLatency'];

/** Adds a value that is finite; others belong to the faults. */
export function addValue(sketch: Sketch, value: number): void {
  if (Number.isFinite(value)) sketch.accept(value);
}

/** The sketches as plain data; what nothing was seen of is left out. */
export function sketchStates(sketches: QuantileSketches): SketchStates {
  const states = NAMES.filter((name) => sketches[name].count > 0).map((name) => [name, stateOf(sketches[name])]);
  return Object.fromEntries(states) as SketchStates;
}

function stateOf(sketch: Sketch): SketchState {
  const { min, max, count, sum } = sketch;
  const [p50, p90, p95, p99] = SHOWN.map((quantile) => {
    // A bucket's middle may lie beyond the ends.
    return Math.min(max, Math.max(min, sketch.getValueAtQuantile(quantile)));
  });
  const figures = { count, min, max, mean: sum / count, p50: p50!, p90: p90!, p95: p95!, p99: p99! };
  return { bytes: sketch.toProto(), sum, figures };
}

/** Sketches that go on from `states`. */
export function restoreSketches(states: SketchStates): QuantileSketches {
  const sketches = new QuantileSketches();
  mergeStates(sketches, states);
  return sketches;
}

/** Adds another observer's. */
export function mergeStates(into: QuantileSketches, states: SketchStates): void {
  for (const name of NAMES) {
    const state = states[name];
    if (state === undefined) continue;
    const other = DDSketch.fromProto(state.bytes);
    const target = into[name];
    addBuckets(target.store, other.store);
    addBuckets(target.negativeStore, other.negativeStore);
    // The bytes hold buckets only.
    const { min, max, count } = state.figures;
    target.zeroCount += other.zeroCount;
    target.min = Math.min(target.min, min);
    target.max = Math.max(target.max, max);
    target.count += count;
    target.sum += state.sum;
  }
}

function addBuckets(into: Sketch['store'], from: Sketch['store']): void {
  for (let i = 0; i < from.bins.length; i++) {
    if (from.bins[i]! > 0) into.add(i + from.offset, from.bins[i]!);
  }
}
