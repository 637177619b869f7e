/** What batching knows of a model: its signature, whether rows may share a run, and which batch sizes are allowed. */
import type { ModelOutput, Signature } from '../session/signature.ts';
import { type BatchingOptions, executionLimit } from './batching-options.ts';

/** Slabs are cut to fewer rows than `maxBatchSize` where rows are large; a single larger task still gets a slab of its own. */
const SLAB_BYTES_AIM = 64 * 1024 * 1024;

export interface ServableShape {
  readonly signature: Signature;
  readonly outputs: readonly ModelOutput[];
  readonly batchable: boolean;
  readonly options: BatchingOptions;
}

/** The shape as runs see it: where large tasks are split, what bounds a run is less than what bounds a task. */
export function runShape(shape: ServableShape): ServableShape {
  const { options } = shape;
  return { ...shape, options: { ...options, maxBatchSize: executionLimit(options) } };
}

/** The size a batch of `rows` rows runs at: the least allowed one that holds it. */
export function executedRows(options: BatchingOptions, rows: number): number {
  const sizes = options.allowedBatchSizes;
  for (let i = 0; i < sizes.length; i++) if (sizes[i] >= rows) return sizes[i];
  return rows;
}

/** Rows a slab is laid out for when one row takes `rowBytes`: an allowed size, `maxBatchSize` unless rows are large. */
export function slabRows(shape: ServableShape, rowBytes: number): number {
  const { options, batchable } = shape;
  if (!batchable) return 1;
  const fitting = Math.max(1, Math.floor(SLAB_BYTES_AIM / Math.max(1, rowBytes)));
  if (fitting >= options.maxBatchSize) return options.maxBatchSize;
  return options.allowedBatchSizes.findLast((size) => size <= fitting) ?? executedRows(options, fitting);
}

/**
 * Batches that may wait per queue and priority. Without a batch axis every batch is one task, so as many tasks may wait
 * as would fit the batches of a model that has one.
 */
export function enqueuedBatchesLimit(shape: ServableShape): number {
  const { maxEnqueuedBatches, maxBatchSize } = shape.options;
  return shape.batchable ? maxEnqueuedBatches : maxEnqueuedBatches * maxBatchSize;
}
