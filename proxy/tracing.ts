/**
 * Traces of a data thread (W3C Trace Context, OpenTelemetry): which requests are traced, the context they take along,
 * and a span for each, handed to the control thread in batches.
 *
 * A request that comes with a traceparent follows its sampled flag; one without is sampled by a ratio. A request that is
 * not sampled is left as it is. Spans that the control thread has not taken are bounded: beyond, spans are dropped and
 * counted, and requests never wait.
 */
import { GrpcStatus } from '../base/grpc-status.ts';
import type { HeaderList } from '../proto/http2/header-list.ts';
import { reasonCode } from './request/answer-reasons.ts';
import type { Exchange } from './request/exchange.ts';
import { RequestExtras } from './request/request-extras.ts';

/** One finished request, as it crosses to the control thread. Times in milliseconds since 1970. */
export interface Span {
  readonly traceId: string;
  readonly spanId: string;
  /** '' for the first of its trace. */
  readonly parentSpanId: string;
  readonly traceState: string;
  readonly name: string;
  readonly startMs: number;
  readonly endMs: number;
  readonly failed: boolean;
  readonly attributes: Readonly<Record<string, string | number>>;
}

export interface SpanBatch {
  readonly spans: readonly Span[];
  /** Spans dropped here since the batch before. */
  readonly dropped: number;
}

export interface TracerOptions {
  readonly sampleHundredths: number;
  readonly random: () => number;
  readonly send: (batch: SpanBatch) => void;
}

/** A request that is being traced. */
export class TraceContext {
  readonly traceId: string;
  readonly spanId: string;
  readonly parentSpanId: string;
  readonly traceState: string;
  /** Last header section of the answer: it may tell what the worker's time went into. */
  answer: HeaderList | null = null;

  constructor(traceId: string, spanId: string, parentSpanId: string, traceState: string) {
    this.traceId = traceId;
    this.spanId = spanId;
    this.parentSpanId = parentSpanId;
    this.traceState = traceState;
  }
}

/** Spans of this thread that the control thread has not taken. */
export const MAX_UNTAKEN_SPANS = 2048;
const BATCH_SPANS = 64;
const FLUSH_MS = 200;
const TRACEPARENT_LENGTH = 55;
const FLAG_SAMPLED = 1;
const FLAG_RANDOM = 2;

export class Tracer {
  private readonly options: TracerOptions;
  private batch: Span[] = [];
  private untaken = 0;
  private dropped = 0;
  private timer: NodeJS.Timeout | null = null;
  private readonly entropy = Buffer.alloc(4096);
  private entropyAt = 4096;

  constructor(options: TracerOptions) {
    this.options = options;
  }

  /** Decides whether the request is traced; if so, it carries our span as its parent from here on. */
  begin(exchange: Exchange): void {
    const head = exchange.head!;
    const parent = head.get('traceparent');
    const valid = parent !== undefined && isTraceparent(parent);
    if (valid) {
      if ((hexDigit(parent.charCodeAt(TRACEPARENT_LENGTH - 1)) & FLAG_SAMPLED) === 0) return;
    } else if (this.options.random() * 10_000 >= this.options.sampleHundredths) {
      return;
    }
    const traceId = valid ? parent.slice(3, 35) : this.randomId(16);
    const state = valid ? (head.get('tracestate') ?? '') : '';
    const trace = new TraceContext(traceId, this.randomId(8), valid ? parent.slice(36, 52) : '', state);
    exchange.trace = trace;
    exchange.extras ??= new RequestExtras();
    // Of the flags a parent set, those of version 00 are known: sampled, and that its id is random.
    const random = valid ? hexDigit(parent.charCodeAt(TRACEPARENT_LENGTH - 1)) & FLAG_RANDOM : FLAG_RANDOM;
    exchange.extras.traceparent = `00-${traceId}-${trace.spanId}-0${FLAG_SAMPLED | random}`;
    exchange.extras.beginsTrace = !valid;
  }

  /** The call of a pipeline's step, as a part of the traced request `parent`. */
  beginChild(exchange: Exchange, parent: Exchange): void {
    const { traceId, spanId, traceState } = parent.trace!;
    const child = new TraceContext(traceId, this.randomId(8), spanId, traceState);
    const { traceparent, beginsTrace } = parent.extras!;
    exchange.trace = child;
    exchange.extras ??= new RequestExtras();
    exchange.extras.traceparent = `00-${traceId}-${child.spanId}-${traceparent.slice(-2)}`;
    exchange.extras.beginsTrace = beginsTrace;
  }

  /** The request is over. */
  end(exchange: Exchange, nowMs: number): void {
    if (this.untaken >= MAX_UNTAKEN_SPANS) {
      this.dropped++;
      return;
    }
    this.untaken++;
    this.batch.push(spanOf(exchange, exchange.trace!, nowMs));
    if (this.batch.length >= BATCH_SPANS) this.flush();
    else this.timer ??= setTimeout(() => this.flush(), FLUSH_MS).unref();
  }

  /** Hands over what there is. */
  flush(): void {
    if (this.timer !== null) clearTimeout(this.timer);
    this.timer = null;
    if (this.batch.length === 0 && this.dropped === 0) return;
    this.options.send({ spans: this.batch, dropped: this.dropped });
    this.batch = [];
    this.dropped = 0;
  }

  /** The control thread has this many spans in its own queue, or has dropped them. */
  taken(count: number): void {
    this.untaken -= count;
  }

  private randomId(bytes: number): string {
    if (this.entropyAt + bytes > this.entropy.length) {
      // Loaded with the first trace: it costs a thread 3 MiB.
      process.getBuiltinModule('node:crypto').randomFillSync(this.entropy);
      this.entropyAt = 0;
    }
    const id = this.entropy.toString('hex', this.entropyAt, this.entropyAt + bytes);
    this.entropyAt += bytes;
    // All zero means none (W3C Trace Context, section 3.2.2).
    return /[1-9a-f]/.test(id) ? id : this.randomId(bytes);
  }
}

function spanOf(exchange: Exchange, trace: TraceContext, nowMs: number): Span {
  const { head, attempt, model, status, traits } = exchange;
  const path = (head!.get(':path') ?? '').split('?', 1)[0]!;
  const attributes: Record<string, string | number> = {
    'http.request.method': head!.get(':method') ?? '',
    'url.path': path,
    'server.address': head!.get(':authority') ?? '',
    'understudy.flags': exchange.flag,
  };
  if (traits!.grpc) {
    attributes['rpc.system'] = 'grpc';
    attributes['rpc.grpc.status_code'] = status;
  }
  if (model !== null) attributes['understudy.model'] = model.config.name;
  else if (exchange.pipeline !== '') attributes['understudy.model'] = exchange.pipeline;
  if (attempt !== null) {
    const { cluster } = attempt;
    attributes['understudy.cluster'] = cluster.name;
    attributes['understudy.model_version'] = cluster.config.version;
    attributes['understudy.answer_reason'] = reasonCode(attempt.reason) || 'primary';
    attributes['understudy.breaker_state'] = cluster.breaker.state;
    attributes['understudy.upstream_ms'] = round(nowMs - attempt.startedMs);
  }
  addMicros(attributes, 'understudy.queue_us', trace.answer, 'x-understudy-queue-us');
  addMicros(attributes, 'understudy.batch_us', trace.answer, 'x-understudy-batch-us');
  addMicros(attributes, 'understudy.compute_us', trace.answer, 'x-understudy-compute-us');
  return {
    traceId: trace.traceId,
    spanId: trace.spanId,
    parentSpanId: trace.parentSpanId,
    traceState: trace.traceState,
    name: traits!.grpc ? path.slice(1) : `${head!.get(':method') ?? ''} ${model?.config.name ?? ''}`.trim(),
    startMs: exchange.startedMs,
    endMs: nowMs,
    failed: exchange.flag !== '' || (status !== GrpcStatus.OK && status < 100) || status >= 500,
    attributes,
  };
}

function addMicros(
  attributes: Record<string, string | number>,
  key: string,
  list: HeaderList | null,
  name: string,
): void {
  const text = list?.get(name);
  if (text === undefined) return;
  const value = Number(text);
  if (Number.isFinite(value)) attributes[key] = value;
}

/** `00-<32 hex>-<16 hex>-<2 hex>`, ids not all zero; a later version may be longer, and is read as this one. */
export function isTraceparent(text: string): boolean {
  if (text.length < TRACEPARENT_LENGTH) return false;
  const version = text.slice(0, 2);
  if (version === 'ff' || (version === '00' && text.length !== TRACEPARENT_LENGTH)) return false;
  if (text.length > TRACEPARENT_LENGTH && text[TRACEPARENT_LENGTH] !== '-') return false;
  return (
    isHex(text, 0, 2) &&
    text[2] === '-' &&
    isHex(text, 3, 35) &&
    text[35] === '-' &&
    isHex(text, 36, 52) &&
    text[52] === '-' &&
    isHex(text, 53, 55) &&
    !isZero(text, 3, 35) &&
    !isZero(text, 36, 52)
  );
}

function isHex(text: string, start: number, end: number): boolean {
  for (let i = start; i < end; i++) if (hexDigit(text.charCodeAt(i)) < 0) return false;
  return true;
}

function isZero(text: string, start: number, end: number): boolean {
  for (let i = start; i < end; i++) if (text.charCodeAt(i) !== 48) return false;
  return true;
}

/** Lower case only, as the recommendation has it; -1 for anything else. */
function hexDigit(code: number): number {
  if (code >= 48 && code <= 57) return code - 48;
  return code >= 97 && code <= 102 ? code - 87 : -1;
}

function round(ms: number): number {
  return Math.round(ms * 1000) / 1000;
}
