/**
 * Empties the queues of one servable into its executor: chooses the next batch, assembles it, and sees that each of its
 * tasks is answered. The invariants are at the head of batch-queue.ts.
 *
 * A batch closes when it is full, when a place is idle and the dispatch policy sees no reason to wait, or when the earliest
 * deadline in it leaves just the time a run takes.
 */
import { assert } from '../../base/assert.ts';
import type { Clock } from '../../base/clock.ts';
import type { Logger } from '../../base/logger.ts';
import type { WorkerError } from '../worker-error.ts';
import type { Batch } from './batch.ts';
import { type BatchQueue, LANES, laneOf } from './batch-queue.ts';
import { Priority } from './batcher.ts';
import { CostModel } from './cost-model.ts';
import { DispatchPolicy } from './dispatch-policy.ts';
import { DueTimer } from './due-timer.ts';
import type { Executor, ExecutorSink } from './executor.ts';
import { RetryQueue } from './retry-queue.ts';
import type { ServableCounters } from './servable-counters.ts';
import { executedRows, type ServableShape } from './servable-shape.ts';
import type { LooseOutput } from './slab.ts';
import { TaskEndings } from './task-endings.ts';
import { TURN_BUDGET_MS, type TurnLoop, type TurnWork } from './turn-loop.ts';

/** Kept between the end of a run and the earliest deadline, for the reply to be written. */
const REPLY_MARGIN_MS = 1;

/** Under overload every refusal would look through the whole queue for dead tasks; this bounds it. */
const SWEEP_INTERVAL_MS = 1;

export interface SchedulerOwner {
  /** A batch ended: a chance to look at the cost model. */
  batchEnded(): void;
  stuck(error: WorkerError): void;
}

export class BatchScheduler implements ExecutorSink, TurnWork {
  inTurn = false;
  readonly cost = new CostModel();
  readonly policy: DispatchPolicy;
  executor: Executor;
  /** The next batch runs at this size, padded, if its slab has room: how the cost of sizes that do not come up is learnt. */
  probeRows = 0;
  /** Set while closing: nothing waits for company any more. */
  draining = false;
  private readonly shape: ServableShape;
  private readonly clock: Clock;
  private readonly log: Logger;
  private readonly turns: TurnLoop;
  private readonly stats: ServableCounters;
  private readonly owner: SchedulerOwner;
  private readonly queues: BatchQueue[] = [];
  private readonly running = new Map<Batch, BatchQueue>();
  private readonly retries = new RetryQueue();
  private readonly endings: TaskEndings;
  private sweptAtMs = Number.NEGATIVE_INFINITY;
  /** When a place is expected to be free; kept only under a latency goal. */
  private busyUntilMs = 0;
  private readonly timer: DueTimer;
  private onDrained: (() => void) | null = null;

  constructor(
    shape: ServableShape,
    executor: Executor,
    clock: Clock,
    log: Logger,
    turns: TurnLoop,
    stats: ServableCounters,
    owner: SchedulerOwner,
  ) {
    this.shape = shape;
    this.executor = executor;
    this.clock = clock;
    this.log = log;
    this.turns = turns;
    this.stats = stats;
    this.owner = owner;
    this.endings = new TaskEndings(log, stats);
    this.policy = new DispatchPolicy(shape.options);
    this.timer = new DueTimer(turns.pacer, () => this.wake());
  }

  addQueue(queue: BatchQueue): void {
    this.queues.push(queue);
  }

  removeQueue(queue: BatchQueue): void {
    assert(queue.isIdle, 'only an idle queue is removed');
    this.queues.splice(this.queues.indexOf(queue), 1);
  }

  /** Something was committed: batches are started at the end of the turn. */
  wake(): void {
    this.turns.add(this);
  }

  /** Waiting tasks nobody waits for leave now, to make room. Looks at most once per `SWEEP_INTERVAL_MS`. */
  removeDead(queue: BatchQueue): void {
    const { tasks, rows } = queue;
    const nowMs = this.clock.nowMs();
    if (nowMs < this.sweptAtMs + SWEEP_INTERVAL_MS) return;
    this.sweptAtMs = nowMs;
    queue.removeDead(nowMs, this.endings.noteDead);
    this.countOut(tasks - queue.tasks, rows - queue.rows);
    this.endings.dismissDead();
  }

  /** Resolves when every accepted task has its reply. */
  drain(): Promise<void> {
    this.draining = true;
    return new Promise((resolve) => {
      this.onDrained = resolve;
      this.wake();
    });
  }

  runOne(lane: number): boolean {
    const nowMs = this.clock.nowMs();
    const batch = this.nextBatch(lane, nowMs);
    if (batch === null) return false;
    this.begin(batch, nowMs);
    return true;
  }

  rest(): void {
    this.armTimer();
    this.checkDrained();
  }

  /** Whether a task of `rows` rows at `lane` is expected to miss the latency goal, by what runs and waits before it. */
  isHopeless(lane: number, rows: number, nowMs: number): boolean {
    if (this.shape.options.latencyObjectiveMs === 0) return false;
    let ahead = 0;
    for (const queue of this.queues) ahead += queue.rowsUpTo(lane);
    return this.policy.isHopeless(ahead, rows, this.stats.instances, Math.max(0, this.busyUntilMs - nowMs));
  }

  /** A run of known cost, from this version's warm-up or its work. */
  learn(rows: number, ms: number): void {
    this.cost.record(rows, ms);
    this.policy.fit.record(rows, ms);
    this.stats.msPerRow = this.policy.fit.msPerRow;
    this.stats.msPerBatch = this.policy.fit.msPerBatch;
  }

  // --- what executors report ----------------------------------------------------------------------------------------

  batchFinished(batch: Batch, loose: readonly (LooseOutput | null)[] | null, executeMs: number): void {
    const queue = this.settle(batch);
    this.learn(batch.executedRows, executeMs);
    this.stats.ran(batch.executedRows, batch.executedRows - batch.rows, executeMs, Date.now());
    this.stats.answeredTasks += batch.count;
    this.noteTimes(batch, executeMs);
    batch.answer(loose, this.endings.replyFailed);
    queue.inFlight--;
    queue.pool.release(batch);
    this.owner.batchEnded();
  }

  batchFailed(batch: Batch, error: WorkerError, blameable: boolean): void {
    const queue = this.settle(batch);
    if (blameable && batch.count > 1) {
      this.retries.add(queue, batch);
      this.stats.queuedTasks += batch.count;
      this.stats.queuedRows += batch.rows;
      this.wake();
      return;
    }
    const fields = { tasks: batch.count, rows: batch.rows, reason: error.reason, error: error.message };
    if (blameable) this.log.debug('task_failed', fields);
    else this.log.warn('batch_failed', fields);
    this.endings.failAll(batch, error);
    queue.inFlight--;
    queue.pool.release(batch);
    this.owner.batchEnded();
  }

  placeFreed(): void {
    const endMs = this.clock.nowMs() + TURN_BUDGET_MS;
    for (let lane = 0; lane < LANES; lane++) {
      while (this.runOne(lane)) {
        if (this.clock.nowMs() < endMs) continue;
        this.wake();
        return;
      }
    }
    this.rest();
  }

  threadReplaced(): void {
    this.stats.replacedThreads++;
  }

  /** What waits is failed here; the executor then reports what it was running. */
  stuck(error: WorkerError): void {
    this.owner.stuck(error);
  }

  /** Fails every waiting task. Batches in an executor are its to report. */
  failWaiting(error: WorkerError): void {
    for (const queue of this.queues) {
      for (let lane = 0; lane < LANES; lane++) {
        while (queue.head(lane) !== null) {
          const batch = queue.take(lane);
          this.countOut(batch.count, batch.rows);
          this.endings.failAll(batch, error);
          queue.pool.release(batch);
        }
      }
    }
    this.retries.clear((call) => {
      this.countOut(1, call.rows);
      this.endings.fail(call, error);
    });
    this.checkDrained();
  }

  // --- choosing and assembling --------------------------------------------------------------------------------------

  /** The batch of `lane` to start now, taken out of its queue; null when none is due or no place is free. */
  private nextBatch(lane: number, nowMs: number): Batch | null {
    if (this.retries.has(lane)) return this.executor.accepts(false) ? this.nextRetry(lane) : null;
    let chosen: BatchQueue | null = null;
    let oldestMs = Number.POSITIVE_INFINITY;
    for (const queue of this.queues) {
      const head = queue.head(lane);
      if (head === null || head.openedAtMs >= oldestMs) continue;
      if (!this.draining && queue.dueMs(lane, this.runMs(head), nowMs) > nowMs) continue;
      chosen = queue;
      oldestMs = head.openedAtMs;
    }
    if (chosen === null) return null;
    const ahead = lane < laneOf(Priority.shadow) && chosen.head(lane)!.closed;
    if (!this.executor.accepts(ahead)) return null;
    const batch = chosen.take(lane);
    this.countOut(batch.count, batch.rows);
    chosen.inFlight++;
    this.running.set(batch, chosen);
    return batch;
  }

  private nextRetry(lane: number): Batch {
    const { queue, batch } = this.retries.take(lane);
    this.countOut(1, batch.rows);
    this.running.set(batch, queue);
    return batch;
  }

  /** Assembles and starts a batch that was taken, unless nobody waits for it any more. */
  private begin(batch: Batch, nowMs: number): void {
    batch.takenAtMs = nowMs;
    batch.removeDead(nowMs, this.endings.noteDead);
    this.endings.dismissDead();
    if (batch.count === 0) {
      const queue = this.settle(batch, false);
      queue.inFlight--;
      queue.pool.release(batch);
      return;
    }
    batch.pad(this.sizeToRun(batch));
    this.stats.runningBatches++;
    this.noteBusy(nowMs);
    this.executor.start(batch);
  }

  private sizeToRun(batch: Batch): number {
    const rows = executedRows(this.shape.options, batch.rows);
    if (this.probeRows <= rows) return rows;
    const probed = executedRows(this.shape.options, this.probeRows);
    this.probeRows = 0;
    return probed <= batch.plan.capacityRows ? probed : rows;
  }

  private runMs(batch: Batch): number {
    const estimate = this.cost.estimateMs(executedRows(this.shape.options, batch.rows));
    return (Number.isNaN(estimate) ? 0 : estimate) + REPLY_MARGIN_MS;
  }

  /** Looks again when the first waiting head falls due, if a place is free for it. */
  private armTimer(): void {
    if (!this.executor.accepts(false)) return;
    const nowMs = this.clock.nowMs();
    let dueMs = Number.POSITIVE_INFINITY;
    for (const queue of this.queues) {
      for (let lane = 0; lane < LANES; lane++) {
        const head = queue.head(lane);
        if (head !== null) dueMs = Math.min(dueMs, queue.dueMs(lane, this.runMs(head), nowMs));
      }
    }
    this.timer.arm(dueMs, nowMs);
  }

  // --- ending tasks -------------------------------------------------------------------------------------------------

  /** What a task did not spend in its run it spent waiting: in the queue, behind another batch, or on its way. */
  private noteTimes(batch: Batch, executeMs: number): void {
    const beganMs = this.clock.nowMs() - executeMs;
    for (let i = 0; i < batch.count; i++) {
      const call = batch.calls[i]!;
      call.queueMs = Math.max(0, beganMs - call.acceptedAtMs);
      call.batchMs = Math.min(call.queueMs, Math.max(0, beganMs - batch.takenAtMs));
      call.computeMs = executeMs;
      this.stats.queueMsSum += call.queueMs;
      this.stats.signature(call.signature.name).answered(call.entry, call.queueMs, executeMs);
      this.policy.recordLatency(call.queueMs + executeMs);
    }
  }

  private settle(batch: Batch, wasRunning = true): BatchQueue {
    const queue = this.running.get(batch);
    assert(queue !== undefined, 'a batch ends once');
    this.running.delete(batch);
    if (wasRunning) {
      this.stats.runningBatches--;
      this.noteBusy(this.clock.nowMs());
    }
    return queue;
  }

  /** Works out anew when a place is free: with each batch that begins or ends, so that errors do not add up. */
  private noteBusy(nowMs: number): void {
    if (this.shape.options.latencyObjectiveMs === 0) return;
    const { instances } = this.stats;
    let leftMs = 0;
    if (this.running.size >= instances) {
      for (const batch of this.running.keys()) leftMs += this.policy.fit.estimateMs(batch.executedRows) / instances;
    }
    this.busyUntilMs = leftMs > 0 ? nowMs + leftMs : 0;
  }

  private countOut(tasks: number, rows: number): void {
    this.stats.queuedTasks -= tasks;
    this.stats.queuedRows -= rows;
  }

  private checkDrained(): void {
    if (this.onDrained === null || this.running.size > 0) return;
    for (const queue of this.queues) if (!queue.isIdle) return;
    this.timer.cancel();
    this.onDrained();
    this.onDrained = null;
  }
}
