/** The slots of a pipeline's block and of a step's, as slots.ts has the others. */

import { HISTOGRAM_SLOTS } from './histogram.ts';

/** How a pipeline's request ended. */
export const PipelineEnd = {
  /** Every step answered by its primary. */
  OK: 0,
  /** Answered, at least one step by its fallback or its default. */
  DEGRADED: 1,
  /** A step failed that nobody could replace, or the request could not be read. */
  FAILED: 2,
  /** The caller went away first. */
  CANCELLED: 3,
} as const;

/** Why a pipeline's request was refused or cut by a bound. */
export const PipelineRefusal = {
  /** Too many requests under way. */
  CONCURRENCY: 0,
  /** The request, or what its steps answered, is larger than it may be. */
  SIZE: 1,
  /** The data thread holds too much, and this request most of it. */
  MEMORY: 2,
} as const;

/** Offsets inside a pipeline's block. */
export const PipelineSlot = {
  REQUESTS: 0, // 4 slots by PipelineEnd
  REFUSALS: 4, // 3 slots by PipelineRefusal
  /** Gauge: requests under way. */
  IN_FLIGHT: 7,
  /** Gauge: bytes of tensors held. */
  HELD_BYTES: 8,
  /** Histogram of the time from the complete request to the answer; answered requests only. */
  LATENCY: 9, // HISTOGRAM_SLOTS slots
} as const;

/** Length of a pipeline's block in slots. */
export const PIPELINE_SLOTS = 9 + HISTOGRAM_SLOTS;

/** How a run of a step ended. */
export const StepEnd = {
  PRIMARY: 0,
  FALLBACK: 1,
  /** Skipped: its default outputs stood in. */
  DEFAULT: 2,
  FAILED: 3,
  /** The request ended while it ran. */
  CANCELLED: 4,
} as const;

/** Offsets inside a step's block. */
export const StepSlot = {
  RUNS: 0, // 5 slots by StepEnd
  /** Histogram of the time of runs that a model answered. */
  LATENCY: 5, // HISTOGRAM_SLOTS slots
} as const;

/** Length of a step's block in slots. */
export const STEP_SLOTS = 5 + HISTOGRAM_SLOTS;
