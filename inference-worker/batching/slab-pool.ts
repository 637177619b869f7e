/**
 * Makes and keeps the batches of one slab plan, within a budget of bytes shared by all plans of a servable.
 *
 * A batch comes back only when all its replies were written, so its rows are never reused under an answer. Shared memory
 * is committed by the system as it is touched: a large slab that only ever holds few rows costs few pages.
 */

import { Batch } from './batch.ts';
import type { ServableShape } from './servable-shape.ts';
import { planSlab, type SlabPlan } from './slab.ts';

/** Bytes of slabs one servable may hold, waiting, running and spare together. */
export const MAX_SLAB_BYTES_PER_SERVABLE = 1024 * 1024 * 1024;
/** Spare slabs kept per plan: at least this many, and more while they are small. */
const KEPT_SLABS = 3;
const KEPT_BYTES = 16 * 1024 * 1024;

let lastBatchId = 0;

/** Bytes held by the slabs of one servable. */
export class SlabBudget {
  usedBytes = 0;
  readonly limitBytes: number;

  constructor(limitBytes = MAX_SLAB_BYTES_PER_SERVABLE) {
    this.limitBytes = limitBytes;
  }
}

export class SlabPool {
  readonly plan: SlabPlan;
  private readonly shape: ServableShape;
  private readonly rowDims: readonly (readonly number[])[];
  private readonly budget: SlabBudget;
  private readonly forget: (batch: Batch) => void;
  private readonly spare: Batch[] = [];

  constructor(
    shape: ServableShape,
    rowDims: readonly (readonly number[])[],
    capacityRows: number,
    budget: SlabBudget,
    forget: (batch: Batch) => void,
  ) {
    this.shape = shape;
    this.rowDims = rowDims;
    this.budget = budget;
    this.forget = forget;
    this.plan = this.planFor(capacityRows);
  }

  /** An empty batch with room for `rows` rows, or null when the budget is spent. */
  acquire(rows: number): Batch | null {
    if (rows > this.plan.capacityRows) return this.allocate(this.planFor(rows));
    return this.spare.pop() ?? this.allocate(this.plan);
  }

  /** As `acquire` for a batch that a failed one is split into; beyond the budget if need be. */
  acquireForRetry(): Batch {
    return this.spare.pop() ?? this.allocate(this.plan, Number.POSITIVE_INFINITY)!;
  }

  /** Takes a batch back whose replies were all written. */
  release(batch: Batch): void {
    batch.clear();
    const { byteLength } = batch.plan;
    const keeps = this.spare.length < KEPT_SLABS || (this.spare.length + 1) * byteLength <= KEPT_BYTES;
    if (batch.plan === this.plan && keeps) this.spare.push(batch);
    else this.drop(batch);
  }

  /** Lets the spare slabs go. */
  trim(): void {
    for (const batch of this.spare) this.drop(batch);
    this.spare.length = 0;
  }

  private planFor(capacityRows: number): SlabPlan {
    const { signature, outputs, batchable } = this.shape;
    return planSlab(signature, outputs, batchable, this.rowDims, capacityRows);
  }

  private allocate(plan: SlabPlan, limitBytes = this.budget.limitBytes): Batch | null {
    if (this.budget.usedBytes + plan.byteLength > limitBytes) return null;
    let batch: Batch;
    try {
      batch = new Batch(++lastBatchId, plan, this.shape.signature.outputs, this.shape.outputs);
    } catch (error) {
      // No memory for a slab of this size: the task is refused, the process goes on.
      if (error instanceof RangeError) return null;
      throw error;
    }
    this.budget.usedBytes += plan.byteLength;
    return batch;
  }

  private drop(batch: Batch): void {
    this.budget.usedBytes -= batch.plan.byteLength;
    this.forget(batch);
  }
}
