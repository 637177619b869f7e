/**
 * A loaded version that batches: checks each request, copies its tensors into the open batch of its queue, and leaves the
 * rest to the scheduler. Nothing is allocated per accepted request beyond what the caller brings.
 */
import type { Clock } from '../../base/clock.ts';
import type { Logger } from '../../base/logger.ts';
import { copyTensorInto, type PredictRequestView } from '../../proto/tensor/tensor-view.ts';
import { WireError } from '../../proto/tensor/wire-error.ts';
import type { Signature } from '../session/signature.ts';
import {
  batchQueueFull,
  batchQueueFullForParts,
  cancelledInQueue,
  expiredInQueue,
  servableBroken,
  servableClosing,
  tensorParsingError,
  type WorkerError,
} from '../worker-error.ts';
import type { Batch } from './batch.ts';
import { type BatchQueue, laneOf } from './batch-queue.ts';
import { BatchScheduler, type SchedulerOwner } from './batch-scheduler.ts';
import type { PredictCall, Servable } from './batcher.ts';
import type { Executor } from './executor.ts';
import { likeArray, ownTails, padRows } from './length-padding.ts';
import { copyModelStrings } from './model-strings.ts';
import { QueueSet } from './queue-set.ts';
import { RequestBinder } from './request-binder.ts';
import { ServableCounters } from './servable-counters.ts';
import { runShape, type ServableShape } from './servable-shape.ts';
import { SplitTask, type SplitTaskOwner } from './split-task.ts';
import type { TurnLoop } from './turn-loop.ts';

/** Batches between two looks at where the servable should run. */
const BATCHES_PER_REVIEW = 64;

export interface BatchServableOptions {
  readonly model: string;
  readonly version: bigint;
  readonly shape: ServableShape;
  /** Signatures over the graph; without them its own is the only one. */
  readonly signatures?: ReadonlyMap<string, Signature>;
  readonly clock: Clock;
  readonly log: Logger;
  readonly turns: TurnLoop;
  /** Called once, when a thread is stuck. */
  readonly onBroken: (servable: Servable, error: WorkerError) => void;
  /** Called now and then while batches run: a chance to move elsewhere. */
  readonly review: (servable: BatchServable) => void;
}

export class BatchServable implements Servable, SchedulerOwner, SplitTaskOwner {
  readonly model: string;
  readonly version: bigint;
  readonly signatures: ReadonlyMap<string, Signature>;
  readonly stats = new ServableCounters();
  readonly scheduler: BatchScheduler;
  broken: WorkerError | null = null;
  private readonly options: BatchServableOptions;
  private readonly shape: ServableShape;
  /** One per signature in use, and the last one used. All bind to the graph's inputs, in its order. */
  private readonly binders = new Map<Signature, RequestBinder>();
  private binder: RequestBinder;
  private readonly queues: QueueSet;
  private closing: Promise<void> | null = null;
  private retiring: Promise<unknown> = Promise.resolve();
  private batchesSinceReview = 0;

  /** `executor` gets its sink, the scheduler, from the caller. */
  constructor(options: BatchServableOptions, executor: Executor) {
    const shape = runShape(options.shape);
    this.options = options;
    this.shape = shape;
    this.model = options.model;
    this.version = options.version;
    this.signatures = options.signatures ?? new Map([[shape.signature.name, shape.signature]]);
    this.scheduler = new BatchScheduler(shape, executor, options.clock, options.log, options.turns, this.stats, this);
    this.queues = new QueueSet(
      shape,
      this.scheduler,
      (batch) => this.scheduler.executor.forget(batch),
      this.scheduler.policy,
    );
    this.binder = this.binderOf(shape.signature);
    this.stats.place = executor.place;
  }

  submit(call: PredictCall, request: PredictRequestView, buf: Buffer): WorkerError | null {
    const refusal = this.accept(call, request, buf);
    if (refusal !== null) {
      this.stats.refusedTasks++;
      const counters = this.stats.signature(call.signature.name);
      counters.refusedTasks++;
      counters.statuses[refusal.code]++;
    }
    return refusal;
  }

  startCounting(): void {
    this.stats.startAnew();
  }

  close(): Promise<void> {
    this.closing ??= this.drainAndEnd();
    return this.closing;
  }

  /** Runs elsewhere from the next batch on; the old executor ends once its batches have. Never called inside a run. */
  relocate(executor: Executor): void {
    const previous = this.scheduler.executor;
    this.queues.trim();
    this.scheduler.executor = executor;
    this.stats.place = executor.place;
    this.retiring = Promise.all([this.retiring, previous.close()]);
    this.scheduler.wake();
  }

  get isClosing(): boolean {
    return this.closing !== null;
  }

  // --- what the scheduler reports -----------------------------------------------------------------------------------

  batchEnded(): void {
    if (++this.batchesSinceReview < BATCHES_PER_REVIEW) return;
    this.batchesSinceReview = 0;
    this.stats.fullBatchMs = this.scheduler.cost.estimateMs(this.shape.batchable ? this.shape.options.maxBatchSize : 1);
    if (!this.isClosing && this.broken === null) this.options.review(this);
  }

  stuck(error: WorkerError): void {
    if (this.broken !== null) return;
    this.broken = servableBroken(this.model, this.version);
    this.options.log.error('servable_broken', { error: error.message });
    this.scheduler.failWaiting(this.broken);
    this.options.onBroken(this, error);
  }

  // --- one request --------------------------------------------------------------------------------------------------

  private accept(call: PredictCall, request: PredictRequestView, buf: Buffer): WorkerError | null {
    if (this.broken !== null) return this.broken;
    if (this.closing !== null) return servableClosing(this.model, this.version);
    if (call.signature !== this.binder.signature) this.binder = this.binderOf(call.signature);
    const { binder } = this;
    const problem = binder.bind(request, buf);
    if (problem !== null) return problem;
    const nowMs = this.options.clock.nowMs();
    if (call.cancelled) return cancelledInQueue();
    if (call.deadlineMs <= nowMs) return expiredInQueue();
    const queue = this.queues.find(binder.tensors);
    if (queue === null || this.scheduler.isHopeless(laneOf(call.priority), binder.rows, nowMs)) return batchQueueFull();
    call.rows = binder.rows;
    const refusal =
      binder.rows > this.shape.options.maxBatchSize
        ? this.enqueueParts(queue, call, buf, nowMs)
        : this.enqueue(queue, call, buf, 0, nowMs);
    if (refusal !== null) return refusal;
    const counters = this.stats.signature(call.signature.name);
    counters.rows += binder.rows;
    counters.inputRows.record(binder.rows);
    this.scheduler.wake();
    return null;
  }

  /** Puts rows `[fromRow, fromRow + call.rows)` of the bound request into a batch as `call`. */
  private enqueue(
    queue: BatchQueue,
    call: PredictCall,
    buf: Buffer,
    fromRow: number,
    nowMs: number,
  ): WorkerError | null {
    const batch = this.openBatch(queue, call.rows, call.priority);
    if (batch === null) return batchQueueFull();
    call.inputTails = this.queues.pads ? ownTails(batch.plan, this.binder.tensors) : null;
    const malformed = this.copyInto(batch, buf, call, fromRow);
    if (malformed !== null) {
      queue.abandon(batch);
      return malformed;
    }
    call.acceptedAtMs = nowMs;
    queue.commit(batch, call, nowMs);
    this.stats.acceptedTasks++;
    this.stats.signature(call.signature.name).acceptedTasks++;
    this.stats.queuedTasks++;
    this.stats.queuedRows += call.rows;
    return null;
  }

  /** All parts or none: room is looked for first, and what was queued when memory ran out leaves again. */
  private enqueueParts(queue: BatchQueue, call: PredictCall, buf: Buffer, nowMs: number): WorkerError | null {
    const room = queue.roomFor(queue.fullRows, call.priority);
    if (room < call.rows) return batchQueueFullForParts(call.rows, room);
    call.acceptedAtMs = nowMs;
    const task = new SplitTask(call, this);
    let row = 0;
    while (row < call.rows) {
      const open = queue.openRoom(call.priority);
      const part = task.part(row, Math.min(call.rows - row, open > 0 ? open : queue.fullRows));
      const refusal = this.enqueue(queue, part, buf, row, nowMs);
      row += part.rows;
      if (refusal === null) continue;
      task.abandon();
      this.scheduler.wake();
      return refusal;
    }
    return null;
  }

  splitAnswered(call: PredictCall): void {
    this.stats.signature(call.signature.name).replied(call.entry, call.queueMs, call.computeMs);
  }

  splitFailed(call: PredictCall, error: WorkerError): void {
    this.stats.signature(call.signature.name).statuses[error.code]++;
  }

  private binderOf(signature: Signature): RequestBinder {
    const known = this.binders.get(signature);
    if (known !== undefined) return known;
    const { batchable, options } = this.options.shape;
    const binder = new RequestBinder(signature, batchable, options.maxBatchSize);
    this.binders.set(signature, binder);
    return binder;
  }

  /** A place for the rows, if need be by letting go of tasks nobody waits for and of spare slabs. */
  private openBatch(queue: BatchQueue, rows: number, priority: number): Batch | null {
    const batch = queue.open(rows, priority);
    if (batch !== null) return batch;
    if (queue.isFull(priority)) this.scheduler.removeDead(queue);
    else this.queues.trim();
    return queue.open(rows, priority);
  }

  /** Copies the call's rows of the bound tensors behind the batch's. A malformed tensor leaves the batch as it was. */
  private copyInto(batch: Batch, buf: Buffer, call: PredictCall, fromRow: number): WorkerError | null {
    const { tensors, signature, rows } = this.binder;
    const { inputs } = batch.plan;
    for (let i = 0; i < inputs.length; i++) {
      const tensor = tensors[i];
      const view = batch.views.inputs[i];
      const at = batch.rows * inputs[i].rowElements;
      const from = (tensor.elementCount / rows) * fromRow;
      const count = (tensor.elementCount / rows) * call.rows;
      try {
        if (call.inputTails !== null) this.copyPadded(batch, buf, call, i, from, count);
        else if (view !== null) copyTensorInto(buf, tensor, view, at, count, from);
        else copyModelStrings(buf, tensor, batch.strings[i]!, at, count, from);
      } catch (error) {
        if (error instanceof WireError) return tensorParsingError(signature.inputs[i].name);
        throw error;
      }
    }
    return null;
  }

  /** By way of a copy: padded rows do not lie as they came. */
  private copyPadded(batch: Batch, buf: Buffer, call: PredictCall, input: number, from: number, count: number): void {
    const view = batch.views.inputs[input];
    const { rowDims, rowElements } = batch.plan.inputs[input];
    const own = likeArray(view ?? [], count);
    if (Array.isArray(own)) copyModelStrings(buf, this.binder.tensors[input], own, 0, count, from);
    else copyTensorInto(buf, this.binder.tensors[input], own, 0, count, from);
    const target = view ?? batch.strings[input]!;
    padRows(own, call.inputTails![input], target, batch.rows * rowElements, rowDims, call.rows);
  }

  private async drainAndEnd(): Promise<void> {
    if (this.broken === null) await this.scheduler.drain();
    this.queues.trim();
    await Promise.all([this.retiring, this.scheduler.executor.close()]);
  }
}
