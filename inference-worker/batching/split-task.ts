/**
 * A task larger than one run: it is executed in parts, each a task of its own in the queue, and answered once when all
 * parts are there, with their rows in order. The first failure of a part fails the task; the other parts then leave.
 */
import { EntryPoint } from '../metrics/entry-points.ts';
import { executionFailed, type WorkerError } from '../worker-error.ts';
import { type OutputView, PredictCall, type TensorData } from './batcher.ts';
import { likeArray } from './length-padding.ts';

/** Told how the whole task ended, for the figures. */
export interface SplitTaskOwner {
  splitAnswered(call: PredictCall): void;
  splitFailed(call: PredictCall, error: WorkerError): void;
}

export class SplitTask {
  readonly call: PredictCall;
  private readonly owner: SplitTaskOwner;
  private readonly parts: TaskPart[] = [];
  private outputs: CollectedOutput[] | null = null;
  private missing = 0;
  ended = false;

  constructor(call: PredictCall, owner: SplitTaskOwner) {
    this.call = call;
    this.owner = owner;
  }

  /** The part with rows `[row, row + rows)` of the task. */
  part(row: number, rows: number): TaskPart {
    const part = new TaskPart(this, row, rows);
    this.parts.push(part);
    this.missing++;
    return part;
  }

  /** The task was refused after all: nobody hears of the parts already queued, and they leave. */
  abandon(): void {
    this.ended = true;
  }

  partAnswered(part: TaskPart, outputs: readonly OutputView[], rowStart: number, rowCount: number): void {
    if (this.ended) return;
    this.outputs ??= outputs.map((output) => new CollectedOutput(output, this.call.rows));
    for (let i = 0; i < outputs.length; i++) {
      if (this.outputs[i].take(outputs[i], part.row, rowStart, rowCount)) continue;
      this.partFailed(executionFailed(`parts of a large batch disagree about the shape of ${outputs[i].spec.name}`));
      return;
    }
    if (part.queueMs >= this.call.queueMs) {
      this.call.queueMs = part.queueMs;
      this.call.batchMs = part.batchMs;
    }
    this.call.computeMs += part.computeMs;
    if (--this.missing > 0) return;
    this.ended = true;
    this.owner.splitAnswered(this.call);
    this.call.onOutputs(this.outputs, 0, this.call.rows);
  }

  partFailed(error: WorkerError): void {
    if (this.ended) return;
    this.ended = true;
    this.owner.splitFailed(this.call, error);
    this.call.onFailure(error);
  }
}

/** One part, in the batch queue like any task. */
export class TaskPart extends PredictCall {
  /** Where its rows begin in the task. */
  readonly row: number;
  private readonly task: SplitTask;

  constructor(task: SplitTask, row: number, rows: number) {
    super(task.call.signature);
    this.task = task;
    this.row = row;
    this.rows = rows;
    this.deadlineMs = task.call.deadlineMs;
    this.priority = task.call.priority;
    this.entry = EntryPoint.part;
    // A part is as cancelled as its task; queues read the field, so it is made to follow.
    Object.defineProperty(this, 'cancelled', { get: () => task.ended || task.call.cancelled });
  }

  override onOutputs(outputs: readonly OutputView[], rowStart: number, rowCount: number): void {
    this.task.partAnswered(this, outputs, rowStart, rowCount);
  }

  override onFailure(error: WorkerError): void {
    this.task.partFailed(error);
  }
}

/** The rows of one output, gathered from the parts. */
class CollectedOutput implements OutputView {
  readonly spec: OutputView['spec'];
  readonly data: TensorData | string[];
  readonly dims: readonly number[];
  readonly batched = true;
  readonly rowElements: number;

  constructor(first: OutputView, rows: number) {
    this.spec = first.spec;
    this.rowElements = first.rowElements;
    this.dims = [rows, ...first.dims.slice(1)];
    this.data = likeArray(first.data, rows * first.rowElements);
  }

  /** False when the part's rows have another shape. */
  take(output: OutputView, row: number, rowStart: number, rowCount: number): boolean {
    const { rowElements } = this;
    if (output.rowElements !== rowElements) return false;
    const target = this.data as (number | bigint | string)[];
    const from = rowStart * rowElements;
    for (let i = 0; i < rowCount * rowElements; i++) target[row * rowElements + i] = output.data[from + i];
    return true;
  }
}
