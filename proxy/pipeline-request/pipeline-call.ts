/**
 * A call of a pipeline, from its caller's stream to the answer: collects the request, has it read in the protocol it came
 * in, runs the steps, and writes what they made of it. Takes the caller's stream over from the exchange, which stays for
 * the books: access log, trace, counters.
 *
 * Rules: the call ends exactly once, in `end`; nothing goes out before all of it can. Bounds: requests under way
 * (`concurrentRequests`), bytes of each (`maxSize`), and the thread's memory budget, which may end the heaviest.
 */
import { GrpcStatus } from '../../base/grpc-status.ts';
import { type ProxyError, ProxyErrors } from '../../base/proxy-error.ts';
import { WheelTimer } from '../../base/timer-wheel.ts';
import { PREFIX_BYTES } from '../../proto/grpc/message-framing.ts';
import type { Http1Handler } from '../../proto/http1/exchange.ts';
import { HeaderList } from '../../proto/http2/header-list.ts';
import type { StreamHandler } from '../../proto/http2/stream.ts';
import { type BufferHolder, threadMemory } from '../../proto/io/memory-budget.ts';
import { ACCESS_FLAG_CANCELLED, ACCESS_FLAG_FALLBACK } from '../access-log.ts';
import type { MeshPipeline } from '../mesh.ts';
import { asCallFault, type CallAnswer, type CallForm } from '../pipeline/call-form.ts';
import type { PassedTensor } from '../pipeline/passed-tensor.ts';
import type { PipelinePlan, StepPlan } from '../pipeline/plan.ts';
import { restErrorBody, restStatus } from '../pipeline/rest-failure.ts';
import {
  PipelineRun,
  type RunFailure,
  type RunReceiver,
  type StepCall,
  type StepCaller,
  type StepReceiver,
} from '../pipeline/run.ts';
import { acquireBody, type BodyBuffer, releaseBody } from '../request/body-buffer.ts';
import type { DataPlane } from '../request/data-plane.ts';
import type { CallerStream, Exchange, WireStream } from '../request/exchange.ts';
import { inflateFramed } from '../routing/inflate-framed.ts';
import { recordLatency } from '../stats/histogram.ts';
import { PipelineEnd, PipelineRefusal, PipelineSlot } from '../stats/pipeline-slots.ts';
import { MemoryVerdict, ProcessSlot, RequestEnd } from '../stats/slots.ts';
import { callerFailure, deadlineFailure } from './pipeline-failure.ts';
import { answerAbout, formOf } from './pipeline-forms.ts';
import { answerHead, failureHead, NO_REPORT, type RunReport } from './pipeline-heads.ts';
import { PipelineStream } from './pipeline-stream.ts';
import { callStep } from './step-call.ts';

const TRAILERS_OK = HeaderList.of(['grpc-status', '0']);

export class PipelineCall
  extends WheelTimer
  implements StreamHandler, Http1Handler, BufferHolder, RunReceiver, StepCaller
{
  private readonly plane: DataPlane;
  private readonly exchange: Exchange;
  private readonly down: CallerStream;
  private readonly pipeline: MeshPipeline;
  private readonly plan: PipelinePlan;
  private readonly statsBase: number;
  /** Null for a call that only asks about the pipeline. */
  private readonly form: CallForm | null;
  /** The request as it comes; null once nothing of it is needed. */
  private body: BodyBuffer | null;
  /** Bytes of tensors that were made of the request, counted in the thread's memory. */
  private madeBytes = 0;
  private deadlineMs = 0;
  private completeMs = 0;
  private run: PipelineRun | null = null;
  private ended = false;

  /** Takes over a call; `body` is what has come of it, null where nothing has. */
  constructor(plane: DataPlane, exchange: Exchange, pipeline: MeshPipeline, body: BodyBuffer | null) {
    super();
    this.plane = plane;
    this.exchange = exchange;
    this.down = exchange.down;
    this.pipeline = pipeline;
    this.plan = pipeline.plan;
    this.statsBase = pipeline.plan.config.statsBase;
    this.form = formOf(pipeline.plan, exchange);
    this.body = body ?? acquireBody();
    this.deadlineMs = exchange.deadlineMs;
  }

  /** Begins with what had come before the pipeline was known. */
  start(): void {
    const { plane, exchange, pipeline, plan } = this;
    const { timeoutMs, maxConcurrent } = plan.config;
    pipeline.inFlight++;
    plane.cells[this.statsBase + PipelineSlot.IN_FLIGHT]! += 1;
    threadMemory.register(this);
    if (this.deadlineMs === 0 && timeoutMs > 0) this.deadlineMs = exchange.startedMs + timeoutMs;
    if (this.deadlineMs > 0) plane.wheel.arm(this, this.deadlineMs);
    if (pipeline.inFlight > maxConcurrent) this.refuse(PipelineRefusal.CONCURRENCY, ProxyErrors.admissionOverflow);
    else if (this.body!.length > plan.config.maxBytes) this.refuse(PipelineRefusal.SIZE, ProxyErrors.pipelineTooLarge);
    else if (exchange.bodyEnded) this.complete();
    if (this.down.outstanding > 0) this.down.consume(this.down.outstanding);
  }

  // ---- the caller ----------------------------------------------------------------------------------------------

  onHeaders(_stream: unknown, _trailers: HeaderList, _endStream: boolean): void {
    this.onTrailers();
  }

  onHead(): void {}

  onTrailers(): void {
    this.exchange.bodyEnded = true;
    if (!this.ended && this.run === null) this.complete();
  }

  onData(stream: WireStream, buffer: Buffer, start: number, end: number, endStream: boolean): void {
    stream.consume(end - start);
    if (this.ended) return;
    this.exchange.bodyBytes += end - start;
    if (endStream) this.exchange.bodyEnded = true;
    if (this.body!.length + end - start > this.plan.config.maxBytes) {
      this.refuse(PipelineRefusal.SIZE, ProxyErrors.pipelineTooLarge);
      return;
    }
    this.body!.append(buffer, start, end);
    if (endStream) this.complete();
  }

  onSent(): void {}

  onReset(): void {
    if (this.ended) return;
    this.exchange.flag = ACCESS_FLAG_CANCELLED;
    this.exchange.end = RequestEnd.CANCELLED;
    this.end(PipelineEnd.CANCELLED);
    this.plane.finish(this.exchange);
  }

  onExpire(): void {
    if (this.ended) return;
    const { run } = this;
    const running = run?.running ?? '';
    if (run === null) this.refuseWith(ProxyErrors.deadlineCaller);
    else {
      run.cancel();
      this.onRunFailure(deadlineFailure(running), run);
    }
  }

  /** Bytes held of the request; what its steps hold they count themselves (`MemoryBudget`). */
  get heldBytes(): number {
    return (this.body?.length ?? 0) + this.madeBytes + (this.run?.answerBytes ?? 0);
  }

  shed(): void {
    if (this.ended) return;
    this.plane.cells[ProcessSlot.MEMORY_VERDICTS + MemoryVerdict.REQUEST_REFUSED]! += 1;
    this.refuse(PipelineRefusal.MEMORY, ProxyErrors.memoryOverflow);
  }

  // ---- the request is complete ---------------------------------------------------------------------------------

  private complete(): void {
    const { plane, plan, exchange } = this;
    this.completeMs = plane.clock.nowMs();
    const opened = this.openBody();
    if (typeof opened !== 'number') {
      if (opened === ProxyErrors.pipelineTooLarge) this.refuse(PipelineRefusal.SIZE, opened);
      else this.refuseWith(opened);
      return;
    }
    const { buffer, length } = this.body!;
    try {
      if (this.form === null) {
        this.answer(answerAbout(plan, exchange, buffer, opened, length), NO_REPORT);
        return;
      }
      const { inputs, wanted, inPlace } = this.form.read(buffer, opened, length);
      let heldBytes = length;
      if (!inPlace) {
        heldBytes = inputs.reduce((sum, { start, end }) => sum + end - start, 0);
        this.madeBytes = heldBytes;
        threadMemory.hold(heldBytes);
        this.dropBody();
      }
      const { clock, cells } = plane;
      this.run = new PipelineRun(plan, this, this, clock, cells, inputs, wanted, this.deadlineMs, heldBytes);
    } catch (error) {
      this.failWith(error);
      return;
    }
    this.run.start();
  }

  /** Where the message begins in the body (inflated if need be), or why it cannot be read. */
  private openBody(): number | ProxyError {
    const { traits, head } = this.exchange;
    const body = this.body!;
    if (!traits!.grpc) {
      const encoding = head!.get('content-encoding') ?? 'identity';
      return encoding === 'identity' ? 0 : ProxyErrors.unknownEncoding;
    }
    const { buffer, length } = body;
    if (length < PREFIX_BYTES || buffer.readUInt32BE(1) !== length - PREFIX_BYTES) return ProxyErrors.badRequest;
    if (buffer[0] === 0) return PREFIX_BYTES;
    const plain = inflateFramed(buffer, length, traits!.encoding);
    if (typeof plain === 'number') return ProxyErrors.badRequest;
    if (plain.length > this.plan.config.maxBytes) return ProxyErrors.pipelineTooLarge;
    this.dropBody();
    this.body = acquireBody();
    this.body.append(plain, 0, plain.length);
    return PREFIX_BYTES;
  }

  call(step: StepPlan, request: Buffer, deadlineMs: number, receiver: StepReceiver): StepCall {
    return callStep(this.plane, this.exchange, this.pipeline, step, request, deadlineMs, receiver);
  }

  // ---- what comes of it ----------------------------------------------------------------------------------------

  onOutputs(outputs: readonly PassedTensor[], run: PipelineRun): void {
    let answer: CallAnswer;
    try {
      answer = this.form!.write(outputs);
    } catch (error) {
      this.failWith(error, run);
      return;
    }
    this.answer(answer, run);
  }

  onRunFailure(failure: RunFailure, run: PipelineRun): void {
    this.fail(callerFailure(failure), run);
  }

  private answer(answer: CallAnswer, report: RunReport): void {
    const { plane, exchange, down, plan } = this;
    const { grpc } = exchange.traits!;
    const nowMs = plane.clock.nowMs();
    const isDegraded = report.degraded.length > 0;
    if (this.form !== null) recordLatency(plane.cells, this.statsBase + PipelineSlot.LATENCY, nowMs - this.completeMs);
    let head = answerHead(plan, answer, report, grpc);
    if (!down.takesSection(head)) head = answerHead(plan, answer, NO_REPORT, grpc);
    exchange.committed = true;
    exchange.status = GrpcStatus.OK;
    exchange.httpStatus = 200;
    exchange.answerBytes = answer.body.length;
    if (isDegraded) exchange.flag = ACCESS_FLAG_FALLBACK;
    const { length } = answer.body;
    down.sendHeaders(head, length === 0);
    if (length > 0) down.sendData(answer.body, 0, length, !grpc);
    if (grpc) down.sendHeaders(TRAILERS_OK, true);
    this.end(isDegraded ? PipelineEnd.DEGRADED : PipelineEnd.OK);
    plane.finish(exchange);
  }

  /** The request cannot be read, or its answer not be written. Throws on what is no operating error. */
  private failWith(error: unknown, report: RunReport = NO_REPORT): void {
    const { grpcStatus, message } = asCallFault(error);
    this.fail({ grpcStatus, message, reason: '', step: '' }, report);
  }

  private fail(failure: RunFailure, report: RunReport): void {
    const { exchange, down } = this;
    const { grpc } = exchange.traits!;
    const api = exchange.traits!.rest?.api ?? 'v1';
    const body = grpc ? null : restErrorBody(api, failure.message);
    const status = grpc ? 200 : restStatus(api, failure.grpcStatus);
    exchange.status = failure.grpcStatus;
    exchange.httpStatus = status;
    exchange.flag = failure.reason === '' ? '' : ProxyErrors.upstreamStatus.flag;
    exchange.end = RequestEnd.REFUSED;
    down.sendHeaders(failureHead(failure, report, status, body === null ? -1 : body.length), grpc);
    if (body !== null) down.sendData(body, 0, body.length, true);
    this.end(PipelineEnd.FAILED);
    this.plane.finish(exchange);
  }

  /** A bound of ours was reached. */
  private refuse(refusal: number, error: ProxyError): void {
    this.plane.cells[this.statsBase + PipelineSlot.REFUSALS + refusal]! += 1;
    this.refuseWith(error);
  }

  private refuseWith(error: ProxyError): void {
    this.end(PipelineEnd.FAILED);
    this.plane.fail(this.exchange, error);
  }

  private end(how: number): void {
    const { plane, pipeline, statsBase } = this;
    this.ended = true;
    plane.wheel.disarm(this);
    threadMemory.forget(this);
    this.run?.cancel();
    threadMemory.release(this.madeBytes);
    this.madeBytes = 0;
    this.dropBody();
    pipeline.inFlight--;
    plane.cells[statsBase + PipelineSlot.IN_FLIGHT]! -= 1;
    if (this.form !== null) plane.cells[statsBase + PipelineSlot.REQUESTS + how]! += 1;
  }

  private dropBody(): void {
    if (this.body !== null) releaseBody(this.body);
    this.body = null;
  }
}

/** A call that names a pipeline goes its own way from here: `down` no longer speaks to the exchange. */
export function carryPipeline(plane: DataPlane, exchange: Exchange, pipeline: MeshPipeline): void {
  const { body, traits, down } = exchange;
  plane.wheel.disarm(exchange);
  plane.bodies.forget(exchange);
  if (body !== null) plane.bodies.hold(-body.length);
  exchange.pipeline = pipeline.plan.config.name;
  exchange.body = null;
  if (traits!.call?.isStream && !exchange.http1) {
    const stream = new PipelineStream(plane, exchange, pipeline);
    down.handler = stream;
    stream.start(body!.buffer, body!.length);
    releaseBody(body!);
    return;
  }
  const call = new PipelineCall(plane, exchange, pipeline, body);
  down.handler = call;
  call.start();
}
