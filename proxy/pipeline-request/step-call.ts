/**
 * The call of a pipeline's step. It goes through the data plane like a caller's: `StepStream` stands where a caller's
 * stream would, so that split, breaker, fallbacks, budgets, checks and mirrors of the step's model apply as they are.
 *
 * What comes back is collected until it is complete; who answered, and why it was not the primary, is read from the head.
 * Rule: the receiver hears of an answer or a failure once, and of nothing after `cancel`.
 */
import { GrpcStatus } from '../../base/grpc-status.ts';
import { PREFIX_BYTES } from '../../proto/grpc/message-framing.ts';
import { decodeGrpcMessage } from '../../proto/grpc/percent-encoding.ts';
import type { HeaderList } from '../../proto/http2/header-list.ts';
import type { StreamHandler } from '../../proto/http2/stream.ts';
import type { MeshPipeline } from '../mesh.ts';
import type { StepPlan } from '../pipeline/plan.ts';
import type { StepAnswer, StepCall, StepReceiver } from '../pipeline/run.ts';
import { acquireBody, type BodyBuffer, releaseBody } from '../request/body-buffer.ts';
import type { DataPlane } from '../request/data-plane.ts';
import { Exchange, Stage } from '../request/exchange.ts';
import { RequestExtras } from '../request/request-extras.ts';
import { HeadPolicy } from '../routing/head-policy.ts';
import { inflateFramed } from '../routing/inflate-framed.ts';
import { RequestTraits } from '../routing/request-traits.ts';
import { answerStatus } from '../routing/response-traits.ts';

/** Steps have no listener: their heads are made here. */
const STEP_HEADS = new HeadPolicy({ side: 'outbound', trustsInternal: true, forwarded: 'off', requestId: 'pass' });
/** What stands for a connection; nobody asks it for more. */
const NO_CONNECTION = { io: { remoteAddress: '', secure: false }, context: { destination: null, key: '' } };
const IGNORING: StreamHandler = { onHeaders() {}, onData() {}, onSent() {}, onReset() {} };

/** Calls a step's model for the request `parent` of a pipeline; `deadlineMs` on the clock, 0 for none. */
export function callStep(
  plane: DataPlane,
  parent: Exchange,
  pipeline: MeshPipeline,
  step: StepPlan,
  request: Buffer,
  deadlineMs: number,
  receiver: StepReceiver,
): StepCall {
  const { forward, timeoutMs } = parent.traits!;
  const head = pipeline.heads.of(forward, timeoutMs || pipeline.plan.config.timeoutMs, step.config.protocol);
  const stream = new StepStream(plane, step, receiver);
  stream.begin(head, request, deadlineMs, parent);
  return stream;
}

/** The caller's side of a step's exchange: what it sends is the step's answer. */
export class StepStream implements StepCall, StepAnswer {
  // As the data plane sees a stream whose request has ended.
  readonly connection = NO_CONNECTION;
  handler: StreamHandler = IGNORING;
  readonly outstanding = 0;
  readonly remoteEnded = true;
  readonly endQueued = false;
  readonly queuedBytes = 0;
  localEnded = false;
  dead = false;
  headSent = false;
  // The answer.
  servedBy = '';
  reason = '';
  buf: Buffer;
  readonly start = PREFIX_BYTES;
  end = 0;
  private readonly plane: DataPlane;
  private readonly step: StepPlan;
  private readonly receiver: StepReceiver;
  private readonly exchange: Exchange;
  private head: HeaderList | null = null;
  private body: BodyBuffer | null;
  private done = false;
  /** Bytes of the answer are being taken: the data plane is in the middle of this very exchange. */
  private taking = false;

  constructor(plane: DataPlane, step: StepPlan, receiver: StepReceiver) {
    this.plane = plane;
    this.step = step;
    this.receiver = receiver;
    this.body = acquireBody();
    this.buf = this.body.buffer;
    this.exchange = new Exchange(plane, this, false, STEP_HEADS, plane.clock.nowMs());
  }

  /** Sends `request` under `head`, for the pipeline's request `parent`; `deadlineMs` 0 for none. */
  begin(head: HeaderList, request: Buffer, deadlineMs: number, parent: Exchange): void {
    const { exchange, plane } = this;
    exchange.isStep = true;
    exchange.head = head;
    exchange.traits = RequestTraits.of(head);
    exchange.deadlineMs = deadlineMs;
    exchange.stage = Stage.AWAITING_SPEC;
    exchange.body = acquireBody();
    if (parent.extras !== null && parent.extras.requestId !== '') {
      exchange.extras = new RequestExtras();
      exchange.extras.requestId = parent.extras.requestId;
    }
    if (parent.trace !== null) plane.tracer!.beginChild(exchange, parent);
    plane.onRequestData(exchange, request, 0, request.length, true);
  }

  cancel(): void {
    if (this.done) return;
    this.done = true;
    this.dead = true;
    this.release();
    // Not under the feet of the data plane: a request ends once.
    if (this.taking) setImmediate(() => this.plane.onCallerGone(this.exchange));
    else this.plane.onCallerGone(this.exchange);
  }

  release(): void {
    const { body } = this;
    this.body = null;
    if (body !== null) releaseBody(body);
  }

  // ---- what the data plane does with a caller's stream ---------------------------------------------------------

  takesSection(_headers: HeaderList): boolean {
    return true;
  }

  consume(_bytes: number): void {}

  sendHeaders(headers: HeaderList, end: boolean): void {
    if (this.dead || this.localEnded) return;
    const isHead = !this.headSent && headers.get(':status') !== undefined;
    if (isHead) {
      if (headers.get(':status')!.startsWith('1')) return;
      this.headSent = true;
      this.head = headers;
    }
    if (!end) return;
    this.localEnded = true;
    this.ended(headers);
  }

  sendData(buffer: Buffer, start: number, end: number, last: boolean): number {
    if (this.dead || this.localEnded) return end - start;
    if (end > start) {
      if (!this.takes(end - start)) return end - start;
      this.body!.append(buffer, start, end);
    }
    if (last) this.sendEnd();
    return end - start;
  }

  sendEnd(): void {
    if (this.dead || this.localEnded) return;
    this.localEnded = true;
    this.ended(null);
  }

  reset(_errorCode: number): void {
    if (this.dead || this.localEnded) return;
    this.dead = true;
    this.fail(GrpcStatus.UNAVAILABLE, 'the answer was cut short', 'upstream_reset');
  }

  // ---- what comes of it ----------------------------------------------------------------------------------------

  /** `last` are the trailers, or the head of an answer without a body; null where there were none. */
  private ended(last: HeaderList | null): void {
    const { head } = this;
    if (this.done) return;
    const status = answerStatus(head ?? last!, last, true);
    if (status !== GrpcStatus.OK) {
      const message = decodeGrpcMessage(last?.get('grpc-message') ?? '');
      this.fail(status, message, last?.get('x-understudy-reason') ?? 'upstream_status');
      return;
    }
    if (!this.openMessage(head!)) {
      if (!this.done) this.fail(GrpcStatus.INTERNAL, 'the answer is not one message', 'bad_output');
      return;
    }
    this.servedBy = head!.get('x-understudy-served-by') ?? '';
    this.reason = head!.get('x-understudy-reason') ?? '';
    this.done = true;
    this.receiver.onAnswer(this.step, this);
  }

  /** Finds the message in what came, inflated if need be. */
  private openMessage(head: HeaderList): boolean {
    const { buffer, length } = this.body!;
    this.buf = buffer;
    this.end = length;
    if (length < PREFIX_BYTES || buffer.readUInt32BE(1) !== length - PREFIX_BYTES) return false;
    if (buffer[0] === 0) return true;
    const plain = inflateFramed(buffer, length, head.get('grpc-encoding') ?? '');
    if (typeof plain === 'number' || !this.takes(plain.length)) return false;
    this.buf = plain;
    this.end = plain.length;
    return true;
  }

  private takes(bytes: number): boolean {
    this.taking = true;
    const taken = this.receiver.takes(bytes);
    this.taking = false;
    return taken;
  }

  private fail(grpcStatus: number, message: string, reason: string): void {
    this.done = true;
    this.release();
    const model = this.exchange.model ?? this.plane.mesh.models.get(this.step.config.model) ?? null;
    const bits = model === null ? 0 : model.fallbackStatusBits;
    const replaceable = grpcStatus < 32 && (bits & (1 << grpcStatus)) !== 0;
    this.receiver.onFailure(this.step, { grpcStatus, message, reason, replaceable });
  }
}
