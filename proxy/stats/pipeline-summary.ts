/** Statistics of pipelines as the admin API tells them, summed over threads. */

import { PipelineEnd, PipelineRefusal, PipelineSlot, StepEnd, StepSlot } from './pipeline-slots.ts';
import { labelValues } from './slots.ts';
import { type LatencySummary, named, summariseLatency } from './summary.ts';

export interface PipelineSummary {
  readonly requests: Readonly<Record<string, number>>;
  readonly refusals: Readonly<Record<string, number>>;
  readonly inFlight: number;
  readonly heldBytes: number;
  readonly latency: LatencySummary;
}

export interface StepSummary {
  readonly runs: Readonly<Record<string, number>>;
  readonly latency: LatencySummary;
}

const ENDS = labelValues(PipelineEnd);
const REFUSALS = labelValues(PipelineRefusal);
const RUNS = labelValues(StepEnd);

/** Figures of the pipeline whose block starts at `base` in summed slots. */
export function summarisePipeline(sums: Float64Array, base: number): PipelineSummary {
  return {
    requests: named(ENDS, sums, base + PipelineSlot.REQUESTS),
    refusals: named(REFUSALS, sums, base + PipelineSlot.REFUSALS),
    inFlight: sums[base + PipelineSlot.IN_FLIGHT]!,
    heldBytes: sums[base + PipelineSlot.HELD_BYTES]!,
    latency: summariseLatency(sums, base + PipelineSlot.LATENCY),
  };
}

/** Figures of the step whose block starts at `base`. */
export function summariseStep(sums: Float64Array, base: number): StepSummary {
  return { runs: named(RUNS, sums, base + StepSlot.RUNS), latency: summariseLatency(sums, base + StepSlot.LATENCY) };
}
