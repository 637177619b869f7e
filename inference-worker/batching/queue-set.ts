/**
 * The queues of one servable, one per tail shape in use. Shapes come from requests, so their number is bounded: at the
 * bound an idle queue gives way, and when all are busy the task is refused as by a full queue.
 */
import type { TensorView } from '../../proto/tensor/tensor-view.ts';
import type { TensorSpec } from '../session/signature.ts';
import type { Batch } from './batch.ts';
import { BatchQueue } from './batch-queue.ts';
import { DispatchPolicy } from './dispatch-policy.ts';
import { paddedLength, paddedRowDims } from './length-padding.ts';
import { type ServableShape, slabRows } from './servable-shape.ts';
import { rowBytes } from './slab.ts';
import { SlabBudget, SlabPool } from './slab-pool.ts';

/** Different tail shapes waiting or running at the same time. */
export const MAX_TAIL_SHAPES = 64;

export interface QueueObserver {
  addQueue(queue: BatchQueue): void;
  removeQueue(queue: BatchQueue): void;
}

export class QueueSet {
  private readonly shape: ServableShape;
  private readonly observer: QueueObserver;
  private readonly forget: (batch: Batch) => void;
  private readonly policy: DispatchPolicy;
  private readonly budget = new SlabBudget();
  /** Least recently created first. */
  private readonly queues: BatchQueue[] = [];
  private last: BatchQueue | null = null;
  /** Whether requests of different lengths share queues: never of a model without a batch axis. */
  readonly pads: boolean;

  constructor(
    shape: ServableShape,
    observer: QueueObserver,
    forget: (batch: Batch) => void,
    policy: DispatchPolicy = new DispatchPolicy(shape.options),
  ) {
    this.shape = shape;
    this.pads = shape.batchable && shape.options.padVariableLengthInputs;
    this.observer = observer;
    this.forget = forget;
    this.policy = policy;
  }

  /** The queue for the tail shape of these tensors (one per input), or null when too many shapes are in use. */
  find(tensors: readonly TensorView[]): BatchQueue | null {
    const { last } = this;
    if (last !== null && this.matches(last, tensors)) return last;
    for (const queue of this.queues) {
      if (!this.matches(queue, tensors)) continue;
      this.last = queue;
      return queue;
    }
    if (this.queues.length >= MAX_TAIL_SHAPES && !this.evictOne()) return null;
    this.last = this.create(tensors);
    return this.last;
  }

  /** Lets spare slabs of all queues go. */
  trim(): void {
    for (const queue of this.queues) queue.pool.trim();
  }

  private matches(queue: BatchQueue, tensors: readonly TensorView[]): boolean {
    const skipped = this.shape.batchable ? 1 : 0;
    if (this.pads) return this.matchesPadded(queue, tensors);
    for (let i = 0; i < queue.rowDims.length; i++) {
      const rowDims = queue.rowDims[i];
      const { dims, rank } = tensors[i];
      if (rank !== rowDims.length + skipped) return false;
      for (let j = 0; j < rowDims.length; j++) if (rowDims[j] !== dims[j + skipped]) return false;
    }
    return true;
  }

  private matchesPadded(queue: BatchQueue, tensors: readonly TensorView[]): boolean {
    const { inputs } = this.shape.signature;
    for (let i = 0; i < inputs.length; i++) {
      const { dims, rank } = tensors[i];
      const rowDims = queue.rowDims[i];
      if (rank !== rowDims.length + 1) return false;
      for (let j = 0; j < rowDims.length; j++) {
        const own = inputs[i].shape[j + 1] === -1 ? paddedLength(dims[j + 1]) : dims[j + 1];
        if (rowDims[j] !== own) return false;
      }
    }
    return true;
  }

  private create(tensors: readonly TensorView[]): BatchQueue {
    const { shape } = this;
    const from = shape.batchable ? 1 : 0;
    const rowDims = shape.signature.inputs.map((spec: TensorSpec, i) =>
      this.pads ? paddedRowDims(spec, tensors[i]) : tensors[i].dims.slice(from, tensors[i].rank),
    );
    const rows = slabRows(shape, rowBytes(shape.signature, shape.batchable, rowDims));
    const queue = new BatchQueue(
      shape,
      rowDims,
      new SlabPool(shape, rowDims, rows, this.budget, this.forget),
      this.policy,
    );
    this.queues.push(queue);
    this.observer.addQueue(queue);
    return queue;
  }

  private evictOne(): boolean {
    const index = this.queues.findIndex((queue) => queue.isIdle);
    if (index < 0) return false;
    const [queue] = this.queues.splice(index, 1);
    queue.pool.trim();
    this.observer.removeQueue(queue);
    if (this.last === queue) this.last = null;
    return true;
  }
}
