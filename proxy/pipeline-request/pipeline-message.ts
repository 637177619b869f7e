/**
 * One message of a pipeline's ModelStreamInfer: its run and its answer. It is counted like a request, ends exactly once (in
 * `settle`) and has its answer then, unless it was cancelled.
 */
import { type ProxyError, ProxyErrors } from '../../base/proxy-error.ts';
import { WheelTimer } from '../../base/timer-wheel.ts';
import { PREFIX_BYTES } from '../../proto/grpc/message-framing.ts';
import { threadMemory } from '../../proto/io/memory-budget.ts';
import {
  inferStreamAnswer,
  REASON_PARAMETER,
  STATUS_PARAMETER,
  streamErrorAnswer,
} from '../../proto/tensor/oip-stream-message.ts';
import { asCallFault } from '../pipeline/call-form.ts';
import { InferForm } from '../pipeline/infer-form.ts';
import type { PassedTensor } from '../pipeline/passed-tensor.ts';
import type { PipelinePlan, StepPlan } from '../pipeline/plan.ts';
import {
  PipelineRun,
  type RunFailure,
  type RunReceiver,
  type StepCall,
  type StepCaller,
  type StepReceiver,
} from '../pipeline/run.ts';
import { recordLatency } from '../stats/histogram.ts';
import { PipelineEnd, PipelineRefusal, PipelineSlot } from '../stats/pipeline-slots.ts';
import { callerFailure, deadlineFailure } from './pipeline-failure.ts';
import type { PipelineStream } from './pipeline-stream.ts';
import { callStep } from './step-call.ts';

export class PipelineMessage extends WheelTimer implements RunReceiver, StepCaller {
  /** The framed answer; null while there is none. */
  answer: Buffer | null = null;
  isDegraded = false;
  private readonly stream: PipelineStream;
  private readonly plan: PipelinePlan;
  private readonly form: InferForm;
  private readonly startedMs: number;
  private run: PipelineRun | null = null;
  /** Bytes of its tensors, then of its answer. */
  private madeBytes = 0;
  private settled = false;

  constructor(stream: PipelineStream) {
    super();
    this.stream = stream;
    this.plan = stream.pipeline.plan;
    this.form = new InferForm(this.plan);
    this.startedMs = stream.plane.clock.nowMs();
  }

  /** Reads the message at `[start, end)` and runs it; nothing of the bytes is used afterwards. */
  start(buffer: Buffer, start: number, end: number): void {
    const { stream, plan } = this;
    const { plane, pipeline, exchange } = stream;
    const { maxConcurrent, timeoutMs, statsBase } = plan.config;
    pipeline.inFlight++;
    plane.cells[statsBase + PipelineSlot.IN_FLIGHT]! += 1;
    try {
      const { inputs, wanted } = this.form.read(buffer, start, end);
      if (pipeline.inFlight > maxConcurrent) {
        plane.cells[statsBase + PipelineSlot.REFUSALS + PipelineRefusal.CONCURRENCY]! += 1;
        this.refuse(ProxyErrors.admissionOverflow);
        return;
      }
      const heldBytes = inputs.reduce((sum, tensor) => sum + tensor.end - tensor.start, 0);
      this.hold(heldBytes);
      let deadlineMs = exchange.deadlineMs;
      if (deadlineMs === 0 && timeoutMs > 0) {
        deadlineMs = this.startedMs + timeoutMs;
        plane.wheel.arm(this, deadlineMs);
      }
      this.run = new PipelineRun(plan, this, this, plane.clock, plane.cells, inputs, wanted, deadlineMs, heldBytes);
    } catch (error) {
      this.failWith(error);
      return;
    }
    this.run.start();
  }

  call(step: StepPlan, request: Buffer, deadlineMs: number, receiver: StepReceiver): StepCall {
    const { plane, exchange, pipeline } = this.stream;
    return callStep(plane, exchange, pipeline, step, request, deadlineMs, receiver);
  }

  onExpire(): void {
    if (this.settled) return;
    const { run } = this;
    const { running } = run!;
    run!.cancel();
    this.onRunFailure(deadlineFailure(running));
  }

  /** Nobody waits for it any more. */
  cancel(): void {
    if (!this.settled) this.settle(PipelineEnd.CANCELLED);
    this.drop();
  }

  /** Its answer is out, or will not be sent. */
  drop(): void {
    this.hold(-this.madeBytes);
    this.answer = null;
  }

  /** Bytes held for it now. */
  get heldBytes(): number {
    return this.madeBytes + (this.run?.answerBytes ?? 0);
  }

  onOutputs(outputs: readonly PassedTensor[], run: PipelineRun): void {
    const { steps, degraded } = run;
    const names = ['x-understudy-steps'];
    const values = [steps];
    if (degraded.length > 0) {
      names.push('x-understudy-degraded');
      values.push(degraded.join(','));
    }
    let answer: Buffer;
    try {
      const { body } = this.form.write(outputs);
      answer = inferStreamAnswer(body, PREFIX_BYTES, body.length, names, values);
    } catch (error) {
      this.failWith(error);
      return;
    }
    const { plane } = this.stream;
    this.isDegraded = degraded.length > 0;
    recordLatency(plane.cells, this.plan.config.statsBase + PipelineSlot.LATENCY, plane.clock.nowMs() - this.startedMs);
    this.give(answer, this.isDegraded ? PipelineEnd.DEGRADED : PipelineEnd.OK);
  }

  onRunFailure(failure: RunFailure): void {
    this.fail(callerFailure(failure));
  }

  private refuse({ grpcStatus, message, code }: ProxyError): void {
    this.fail({ grpcStatus, message, reason: code, step: '' });
  }

  /** The message cannot be read, or its answer not be written. Throws on what is no operating error. */
  private failWith(error: unknown): void {
    const { grpcStatus, message } = asCallFault(error);
    this.fail({ grpcStatus, message, reason: '', step: '' });
  }

  private fail({ grpcStatus, message, reason, step }: RunFailure): void {
    const names = [STATUS_PARAMETER];
    const values = [String(grpcStatus)];
    for (const [name, value] of [
      [REASON_PARAMETER, reason],
      ['x-understudy-step', step],
    ] as const) {
      if (value === '') continue;
      names.push(name);
      values.push(value);
    }
    this.give(streamErrorAnswer(message, this.form.id, names, values), PipelineEnd.FAILED);
  }

  private give(answer: Buffer, how: number): void {
    this.settle(how);
    this.answer = answer;
    this.hold(answer.length);
    this.stream.answered();
  }

  private settle(how: number): void {
    const { plane, pipeline } = this.stream;
    const { statsBase } = this.plan.config;
    this.settled = true;
    plane.wheel.disarm(this);
    this.run?.cancel();
    this.hold(-this.madeBytes);
    pipeline.inFlight--;
    plane.cells[statsBase + PipelineSlot.IN_FLIGHT]! -= 1;
    plane.cells[statsBase + PipelineSlot.REQUESTS + how]! += 1;
  }

  private hold(bytes: number): void {
    this.madeBytes += bytes;
    threadMemory.hold(bytes);
  }
}
