/**
 * One batch: a slab, the calls whose rows lie in it, and the views of its outputs. It is filled, assembled, executed,
 * answered and then reused; whoever holds it moves it on, so it belongs to exactly one of queue, executor and pool.
 *
 * Rows of the calls lie behind one another in the order of the calls. Rows behind `rows` are spare or padding.
 */
import { assert } from '../../base/assert.ts';
import type { ModelOutput, TensorSpec } from '../session/signature.ts';
import type { OutputView, PredictCall, TensorData } from './batcher.ts';
import { cutOutputs } from './length-padding.ts';
import { dimsOf, type LooseOutput, type SlabPlan, type SlabViews, slabViews } from './slab.ts';

/** An output as the calls see it; one object per batch and output, reused. */
class BatchOutput implements OutputView {
  spec: TensorSpec;
  data: TensorData | readonly string[] = [];
  dims: number[];
  batched: boolean;
  rowElements: number;

  constructor(spec: TensorSpec, batched: boolean, rowElements: number) {
    this.spec = spec;
    this.dims = [];
    this.batched = batched;
    this.rowElements = rowElements;
  }
}

/** Takes a call whose `onOutputs` threw. */
export type ReplyFailed = (call: PredictCall, thrown: unknown) => void;

export class Batch {
  /** Unique among the batches of a process: execution threads know slabs by it. */
  readonly id: number;
  readonly plan: SlabPlan;
  readonly memory: SharedArrayBuffer;
  readonly views: SlabViews;
  /** String inputs by position, null for numeric ones. */
  readonly strings: readonly (string[] | null)[];
  readonly hasStrings: boolean;
  /** Calls `[0, count)`, in the order of their rows. */
  readonly calls: (PredictCall | null)[];
  count: number;
  rows: number;
  /** Nothing more may be added: it is full, or a later batch was opened behind it. */
  closed: boolean;
  priority: number;
  /** When the first call came, and the earliest deadline of all, on the servable's clock. */
  openedAtMs: number;
  earliestDeadlineMs: number;
  /** When it was taken out of its queue to be run. */
  takenAtMs: number;
  /** Rows the session runs, padding included. */
  executedRows: number;
  private readonly outputs: readonly BatchOutput[];
  private readonly axes: readonly ModelOutput[];

  /** `axes` says which outputs follow padded inputs; needed only where inputs are padded. */
  constructor(id: number, plan: SlabPlan, outputSpecs: readonly TensorSpec[], axes: readonly ModelOutput[] = []) {
    this.axes = axes;
    this.id = id;
    this.plan = plan;
    this.memory = new SharedArrayBuffer(plan.byteLength);
    this.views = slabViews(plan, this.memory);
    this.strings = this.views.inputs.map((view) => (view === null ? [] : null));
    this.hasStrings = this.views.inputs.includes(null);
    this.calls = [];
    this.count = 0;
    this.rows = 0;
    this.closed = false;
    this.priority = 0;
    this.openedAtMs = 0;
    this.takenAtMs = 0;
    this.earliestDeadlineMs = Number.POSITIVE_INFINITY;
    this.executedRows = 0;
    this.outputs = outputSpecs.map((spec, i) => new BatchOutput(spec, plan.batched, plan.outputs[i].rowElements));
  }

  /** Whether `rows` more rows fit. */
  hasRoomFor(rows: number): boolean {
    return this.rows + rows <= this.plan.capacityRows;
  }

  /** Makes a call whose rows were just written at `[rows, rows + call.rows)` part of the batch. */
  add(call: PredictCall, nowMs: number): void {
    assert(this.hasRoomFor(call.rows), 'a batch never grows beyond its slab');
    if (this.count === 0) this.openedAtMs = nowMs;
    this.calls[this.count++] = call;
    this.rows += call.rows;
    if (call.deadlineMs < this.earliestDeadlineMs) this.earliestDeadlineMs = call.deadlineMs;
    if (this.rows === this.plan.capacityRows) this.closed = true;
  }

  /**
   * Takes out calls that are cancelled or whose deadline has come, and moves the rows behind them down. `dropped` only
   * notes them: it must not submit. Returns how many left.
   */
  removeDead(nowMs: number, dropped: (call: PredictCall) => void): number {
    let kept = 0;
    let row = 0;
    let keptRows = 0;
    let earliest = Number.POSITIVE_INFINITY;
    const { count, calls } = this;
    for (let i = 0; i < count; i++) {
      const call = calls[i]!;
      if (call.cancelled || call.deadlineMs <= nowMs) {
        dropped(call);
      } else {
        if (row !== keptRows) this.moveRows(row, keptRows, call.rows);
        calls[kept++] = call;
        keptRows += call.rows;
        if (call.deadlineMs < earliest) earliest = call.deadlineMs;
      }
      row += call.rows;
    }
    for (let i = kept; i < count; i++) calls[i] = null;
    this.count = kept;
    this.rows = keptRows;
    this.earliestDeadlineMs = earliest;
    return count - kept;
  }

  /** Takes call `index` of `source`, whose rows begin at `row` there, into this empty batch with its rows. */
  copyCall(source: Batch, index: number, row: number): void {
    const call = source.calls[index]!;
    for (let i = 0; i < this.plan.inputs.length; i++) {
      const elements = this.plan.inputs[i].rowElements;
      const from = row * elements;
      const to = from + call.rows * elements;
      const view = this.views.inputs[i];
      const strings = this.strings[i];
      if (view !== null) (view as Uint8Array).set((source.views.inputs[i] as Uint8Array).subarray(from, to));
      else for (let j = from; j < to; j++) strings![j - from] = source.strings[i]![j];
    }
    this.add(call, source.openedAtMs);
  }

  /** Fills rows `[rows, executedRows)` with copies of the first row: values the model is known to accept. */
  pad(executedRows: number): void {
    assert(executedRows >= this.rows && executedRows <= this.plan.capacityRows, 'padding stays within the slab');
    this.executedRows = executedRows;
    for (let row = this.rows; row < executedRows; row++) this.moveRows(0, row, 1);
  }

  /** Answers every call from the slab's outputs, and from `loose` where the slab has no place for them. */
  answer(loose: readonly (LooseOutput | null)[] | null, replyFailed: ReplyFailed): void {
    this.bindOutputs(loose);
    let row = 0;
    for (let i = 0; i < this.count; i++) {
      const call = this.calls[i]!;
      try {
        if (call.inputTails === null) call.onOutputs(this.outputs, row, call.rows);
        else call.onOutputs(cutOutputs(this.outputs, this.axes, this.plan, call, row, call.rows), 0, call.rows);
      } catch (thrown) {
        replyFailed(call, thrown);
      }
      row += call.rows;
    }
  }

  /** Ready for the next calls; nothing of the last ones is kept but stale rows. */
  clear(): void {
    this.calls.fill(null, 0, this.count);
    for (const strings of this.strings) if (strings !== null) strings.length = 0;
    for (let i = 0; i < this.outputs.length; i++) if (this.views.outputs[i] === null) this.outputs[i].data = [];
    this.count = 0;
    this.rows = 0;
    this.closed = false;
    this.earliestDeadlineMs = Number.POSITIVE_INFINITY;
    this.executedRows = 0;
  }

  private bindOutputs(loose: readonly (LooseOutput | null)[] | null): void {
    const { plan, views, outputs } = this;
    for (let i = 0; i < outputs.length; i++) {
      const output = outputs[i];
      const view = views.outputs[i];
      if (view !== null) {
        output.data = view;
        if (output.dims.length === 0) output.dims = dimsOf(plan, plan.outputs[i], this.executedRows);
        else if (plan.batched) output.dims[0] = this.executedRows;
      } else {
        const { data, dims } = loose![i]!;
        output.data = data;
        output.dims = [...dims];
        output.rowElements = plan.batched ? data.length / Math.max(1, dims[0]) : data.length;
      }
    }
  }

  private moveRows(from: number, to: number, rows: number): void {
    for (let i = 0; i < this.plan.inputs.length; i++) {
      const elements = this.plan.inputs[i].rowElements;
      const view = this.views.inputs[i] ?? this.strings[i]!;
      if (Array.isArray(view)) while (view.length < (to + rows) * elements) view.push('');
      view.copyWithin(to * elements, from * elements, (from + rows) * elements);
    }
  }
}
