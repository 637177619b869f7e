/**
 * One request on its way through a pipeline's steps. It decides when a step may begin, what it is sent, how long it may
 * take, and what its failure means; whoever calls the models (`StepCaller`) is handed in.
 *
 * States of a step: waiting ▸ running ▸ answered | defaulted | failed. Rules: a step begins when the last step it waits for
 * has ended well, in the same turn; only steps that an asked output needs run; the run ends exactly once, in `end`, and
 * cancels what is still running; what steps answered is released then. Bound: `maxBytes` of the pipeline for what the
 * request brought and its steps answered, defaults included.
 */
import type { Clock } from '../../base/clock.ts';
import { GrpcStatus } from '../../base/grpc-status.ts';
import { recordLatency } from '../stats/histogram.ts';
import { PipelineRefusal, PipelineSlot, StepEnd, StepSlot } from '../stats/pipeline-slots.ts';
import { asCallFault } from './call-form.ts';
import { batchOf } from './default-outputs.ts';
import type { PassedTensor } from './passed-tensor.ts';
import type { PipelinePlan, StepPlan, TensorPlace } from './plan.ts';
import { stepOutputs, stepRequest } from './step-wire.ts';

/** A model's answer to a step: a PredictResponse or ModelInferResponse at `[start, end)` of `buf`, good until `release`. */
export interface StepAnswer {
  readonly buf: Buffer;
  readonly start: number;
  readonly end: number;
  /** The cluster that answered, and why it was not the primary: '' if it was. */
  readonly servedBy: string;
  readonly reason: string;
  release(): void;
}

export interface StepFailure {
  readonly grpcStatus: number;
  readonly message: string;
  /** Stable code: `breaker_open`, `upstream_status`; '' where there is none. */
  readonly reason: string;
  /** The server's fault, so that default outputs may stand in. */
  readonly replaceable: boolean;
}

/** A step's call under way. */
export interface StepCall {
  /** Nobody waits for it any more. Nothing is heard of it afterwards. */
  cancel(): void;
}

/** Told how a call goes: `takes` as bytes of the answer arrive, then one of the others, once. May all be before `call` returns. */
export interface StepReceiver {
  /** False where the bytes are too many: the run has ended, the call is cancelled. */
  takes(bytes: number): boolean;
  onAnswer(step: StepPlan, answer: StepAnswer): void;
  onFailure(step: StepPlan, failure: StepFailure): void;
}

export interface StepCaller {
  /** Sends `request` (a framed PredictRequest or ModelInferRequest) to the step's model; `deadlineMs` on the clock, 0 for none. */
  call(step: StepPlan, request: Buffer, deadlineMs: number, receiver: StepReceiver): StepCall;
}

/** How the run ended: one of the two, once. Tensors are good during the call. */
export interface RunReceiver {
  onOutputs(outputs: readonly PassedTensor[], run: PipelineRun): void;
  onRunFailure(failure: RunFailure, run: PipelineRun): void;
}

export interface RunFailure extends Omit<StepFailure, 'replaceable'> {
  /** Name of the step that failed; '' where a bound of the pipeline was reached. */
  readonly step: string;
}

export class PipelineRun implements StepReceiver {
  /** Names of steps that somebody else than the primary answered, or nobody, in their order. */
  degraded: string[] = [];
  private readonly plan: PipelinePlan;
  private readonly caller: StepCaller;
  private readonly receiver: RunReceiver;
  private readonly clock: Clock;
  private readonly cells: Float64Array;
  private readonly inputs: readonly PassedTensor[];
  private readonly wanted: readonly number[];
  private readonly deadlineMs: number;
  private readonly needed: number;
  private readonly inputBytes: number;
  /** By step: how many it still waits for, its call, its outputs, who answered, when it began. */
  private readonly waiting: number[];
  private readonly calls: (StepCall | null)[];
  private readonly outputs: (readonly PassedTensor[] | null)[];
  private readonly answeredBy: string[];
  private readonly begunMs: number[];
  private readonly answers: StepAnswer[] = [];
  /** Bytes held for it. */
  private heldBytes = 0;
  private left = 0;
  private ended = false;

  /** `inputs` are in the plan's order, `wanted` positions in its outputs; `heldBytes` is what the inputs hold. */
  constructor(
    plan: PipelinePlan,
    caller: StepCaller,
    receiver: RunReceiver,
    clock: Clock,
    cells: Float64Array,
    inputs: readonly PassedTensor[],
    wanted: readonly number[],
    deadlineMs: number,
    heldBytes: number,
  ) {
    this.plan = plan;
    this.caller = caller;
    this.receiver = receiver;
    this.clock = clock;
    this.cells = cells;
    this.inputs = inputs;
    this.wanted = wanted;
    this.deadlineMs = deadlineMs;
    this.needed = plan.neededFor(wanted);
    this.inputBytes = heldBytes;
    this.waiting = plan.steps.map(({ waitsFor }) => waitsFor.length);
    this.calls = plan.steps.map(() => null);
    this.outputs = plan.steps.map(() => null);
    this.answeredBy = plan.steps.map(() => '');
    this.begunMs = plan.steps.map(() => 0);
    this.hold(heldBytes);
  }

  start(): void {
    const { steps } = this.plan;
    for (const { index } of steps) if (this.isNeeded(index)) this.left++;
    if (this.left === 0) this.finish();
    for (const step of steps) {
      if (this.ended) return;
      if (step.waitsFor.length === 0 && this.isNeeded(step.index)) this.begin(step);
    }
  }

  /** Ends it without an outcome: its caller is gone, or its time is up. */
  cancel(): void {
    if (!this.ended) this.end();
  }

  /** `detect=ocr-detect@1, recognise=ocr-lite;breaker_open`: who answered each step that has ended, and why. */
  get steps(): string {
    const { steps } = this.plan;
    const ended = steps.filter(({ index }) => this.answeredBy[index] !== '');
    return ended.map(({ index, config }) => `${config.name}=${this.answeredBy[index]}`).join(', ');
  }

  /** Names of the steps that are running now. */
  get running(): string {
    const { steps } = this.plan;
    return steps
      .filter(({ index }) => this.calls[index] !== null)
      .map(({ config }) => config.name)
      .join(', ');
  }

  /** Bytes held of what steps answered. */
  get answerBytes(): number {
    return Math.max(0, this.heldBytes - this.inputBytes);
  }

  // ---- steps ---------------------------------------------------------------------------------------------------

  takes(bytes: number): boolean {
    if (this.ended) return false;
    this.hold(bytes);
    if (this.heldBytes <= this.plan.config.maxBytes) return true;
    this.refuse();
    return false;
  }

  onAnswer(step: StepPlan, answer: StepAnswer): void {
    if (this.ended || this.outputs[step.index] !== null) {
      answer.release();
      return;
    }
    this.answers.push(answer);
    const outputs = stepOutputs(step, answer.buf, answer.start, answer.end);
    if (typeof outputs === 'string') {
      this.onFailure(step, badAnswer(outputs));
      return;
    }
    const nowMs = this.clock.nowMs();
    const { servedBy, reason } = answer;
    const { statsBase } = step.config;
    this.cells[statsBase + StepSlot.RUNS + (reason === '' ? StepEnd.PRIMARY : StepEnd.FALLBACK)]! += 1;
    recordLatency(this.cells, statsBase + StepSlot.LATENCY, nowMs - this.begunMs[step.index]!);
    this.complete(step, outputs, servedBy, reason);
  }

  onFailure(step: StepPlan, failure: StepFailure): void {
    if (this.ended || this.outputs[step.index] !== null) return;
    const { config, defaults } = step;
    const runs = config.statsBase + StepSlot.RUNS;
    if (defaults === null || !failure.replaceable) {
      this.calls[step.index] = null;
      this.cells[runs + StepEnd.FAILED]! += 1;
      this.fail({ ...failure, step: config.name });
      return;
    }
    const batch = batchOf(this.inputsOf(step));
    if (!this.takes(defaults.bytes(batch))) return;
    this.cells[runs + StepEnd.DEFAULT]! += 1;
    this.complete(step, defaults.make(batch), 'default', failure.reason);
  }

  private begin(step: StepPlan): void {
    const { deadlineMs, clock } = this;
    const nowMs = clock.nowMs();
    const { budgetFraction } = step.config;
    const dueMs = deadlineMs === 0 ? 0 : nowMs + Math.max(0, deadlineMs - nowMs) * budgetFraction;
    this.begunMs[step.index] = nowMs;
    let request: Buffer;
    try {
      request = stepRequest(step, this.inputsOf(step), this.plan.config.maxBytes);
    } catch (error) {
      const fault = asCallFault(error);
      // What an earlier step answered is not the caller's doing.
      const grpcStatus = step.waitsFor.length > 0 ? GrpcStatus.INTERNAL : fault.grpcStatus;
      this.fail({ grpcStatus, message: fault.message, reason: 'bad_request', step: step.config.name });
      return;
    }
    const call = this.caller.call(step, request, dueMs, this);
    if (this.ended) call.cancel();
    else if (this.outputs[step.index] === null) this.calls[step.index] = call;
  }

  private complete(step: StepPlan, outputs: readonly PassedTensor[], servedBy: string, reason: string): void {
    const { index, config, dependents } = step;
    this.calls[index] = null;
    this.outputs[index] = outputs;
    this.answeredBy[index] = reason === '' ? servedBy : `${servedBy};${reason}`;
    if (reason !== '' || servedBy === 'default') this.degraded.push(config.name);
    if (--this.left === 0) {
      this.finish();
      return;
    }
    for (const next of dependents) {
      if (this.ended) return;
      this.waiting[next]!--;
      if (this.waiting[next] === 0 && this.isNeeded(next)) this.begin(this.plan.steps[next]!);
    }
  }

  private isNeeded(step: number): boolean {
    return (this.needed & (1 << step)) !== 0;
  }

  private inputsOf(step: StepPlan): PassedTensor[] {
    return step.inputs.map((place) => this.tensorAt(place));
  }

  private tensorAt({ step, index }: TensorPlace): PassedTensor {
    return step < 0 ? this.inputs[index]! : this.outputs[step]![index]!;
  }

  // ---- the end -------------------------------------------------------------------------------------------------

  private finish(): void {
    const outputs = this.wanted.map((output) => this.tensorAt(this.plan.outputPlaces[output]!));
    for (const [i, output] of this.wanted.entries()) {
      const { name, dtype } = this.plan.outputs[output]!;
      if (outputs[i]!.dtype === dtype) continue;
      const { step } = this.plan.outputPlaces[output]!;
      const failed = step < 0 ? '' : this.plan.steps[step]!.config.name;
      this.fail({ ...badAnswer(`output ${name} is not of the type declared`), step: failed });
      return;
    }
    this.ended = true;
    if (this.degraded.length > 1) this.sortDegraded();
    this.receiver.onOutputs(outputs, this);
    this.end();
  }

  /** In the order of the steps, not in which they ended. */
  private sortDegraded(): void {
    const names = new Set(this.degraded);
    this.degraded = this.plan.steps.map(({ config }) => config.name).filter((name) => names.has(name));
  }

  private refuse(): void {
    this.cells[this.plan.config.statsBase + PipelineSlot.REFUSALS + PipelineRefusal.SIZE]! += 1;
    const message = `the tensors of this request need more than ${this.plan.config.maxBytes} bytes`;
    this.fail({ grpcStatus: GrpcStatus.RESOURCE_EXHAUSTED, message, reason: 'pipeline_too_large', step: '' });
  }

  private fail(failure: RunFailure): void {
    if (this.ended) return;
    this.end();
    this.receiver.onRunFailure(failure, this);
  }

  private end(): void {
    this.ended = true;
    for (const [i, call] of this.calls.entries()) {
      if (call === null) continue;
      this.calls[i] = null;
      this.cells[this.plan.steps[i]!.config.statsBase + StepSlot.RUNS + StepEnd.CANCELLED]! += 1;
      call.cancel();
    }
    for (const answer of this.answers) answer.release();
    this.answers.length = 0;
    this.hold(-this.heldBytes);
  }

  private hold(bytes: number): void {
    this.heldBytes += bytes;
    this.cells[this.plan.config.statsBase + PipelineSlot.HELD_BYTES]! += bytes;
  }
}

function badAnswer(message: string): StepFailure {
  return { grpcStatus: GrpcStatus.INTERNAL, message, reason: 'bad_output', replaceable: true };
}
