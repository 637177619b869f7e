/**
 * Spans to a collector, on the control thread: OTLP over HTTP in JSON, in batches, one request at a time.
 *
 * The queue is bounded and never makes anybody wait: at its bound spans are dropped and counted. A collector that is
 * away, slow or overloaded is asked again later and later; one that refuses a batch has refused it.
 */
import type { Logger } from '../../base/logger.ts';
import type { Span, SpanBatch } from '../tracing.ts';

export interface TraceExporterOptions {
  readonly endpoint: string;
  readonly serviceName: string;
  readonly log: Logger;
  readonly maxQueued?: number;
  readonly flushMs?: number;
  readonly timeoutMs?: number;
  readonly firstBackoffMs?: number;
}

const MAX_QUEUED_SPANS = 4096;
const MAX_BATCH_SPANS = 512;
const FLUSH_MS = 1000;
const TIMEOUT_MS = 5000;
const FIRST_BACKOFF_MS = 500;
const MAX_BACKOFF_MS = 30_000;
/** Statuses that say "later" (OTLP specification, "OTLP/HTTP Response"). */
const RETRYABLE: ReadonlySet<number> = new Set([429, 502, 503, 504]);
const SERVER_KIND = 2;
const STATUS_ERROR = 2;

export class TraceExporter {
  exported = 0;
  /** Did not fit into the queue here, or in a data thread. */
  dropped = 0;
  /** The collector would not have them. */
  rejected = 0;
  private readonly options: TraceExporterOptions;
  private readonly queue: Span[] = [];
  private timer: NodeJS.Timeout | null = null;
  private sending: Promise<void> | null = null;
  private backoffMs = 0;
  private troubled = false;
  private closed = false;

  constructor(options: TraceExporterOptions) {
    this.options = options;
  }

  /** Takes what fits. */
  add({ spans, dropped }: SpanBatch): void {
    this.dropped += dropped;
    const room = (this.options.maxQueued ?? MAX_QUEUED_SPANS) - this.queue.length;
    this.dropped += Math.max(0, spans.length - room);
    for (let i = 0; i < Math.min(room, spans.length); i++) this.queue.push(spans[i]!);
    this.schedule(this.options.flushMs ?? FLUSH_MS);
  }

  /** Sends what is queued, waiting `withinMs` at most; what has not left by then is lost. */
  async close(withinMs: number): Promise<void> {
    if (this.timer !== null) clearTimeout(this.timer);
    const end = performance.now() + withinMs;
    while (this.queue.length > 0 && performance.now() < end && this.backoffMs === 0) {
      this.sending ??= this.sendBatch();
      await Promise.race([
        this.sending,
        new Promise((resolve) => setTimeout(resolve, end - performance.now()).unref()),
      ]);
    }
    this.closed = true;
    this.dropped += this.queue.length;
    this.queue.length = 0;
  }

  private schedule(afterMs: number): void {
    if (this.timer !== null || this.sending !== null || this.queue.length === 0) return;
    this.timer = setTimeout(() => {
      this.timer = null;
      this.sending = this.sendBatch();
    }, afterMs).unref();
  }

  private async sendBatch(): Promise<void> {
    const batch = this.queue.splice(0, MAX_BATCH_SPANS);
    const again = await this.post(batch);
    this.sending = null;
    if (again && this.closed) {
      this.dropped += batch.length;
      return;
    }
    if (again) {
      const room = (this.options.maxQueued ?? MAX_QUEUED_SPANS) - this.queue.length;
      this.dropped += Math.max(0, batch.length - room);
      this.queue.unshift(...batch.slice(0, Math.max(0, room)));
      const first = this.options.firstBackoffMs ?? FIRST_BACKOFF_MS;
      this.backoffMs = Math.min(MAX_BACKOFF_MS, this.backoffMs === 0 ? first : this.backoffMs * 2);
    } else {
      this.backoffMs = 0;
    }
    this.schedule(Math.max(this.backoffMs, this.options.flushMs ?? FLUSH_MS));
  }

  /** True when the batch may be sent again. */
  private async post(batch: readonly Span[]): Promise<boolean> {
    const { endpoint, serviceName, log } = this.options;
    const timeoutMs = this.options.timeoutMs ?? TIMEOUT_MS;
    try {
      // Loaded with the first spans: it costs 15 MiB.
      const { request } = await import('undici');
      const answer = await request(endpoint, {
        method: 'POST',
        headers: { 'content-type': 'application/json' },
        body: JSON.stringify(tracesOf(batch, serviceName)),
        headersTimeout: timeoutMs,
        bodyTimeout: timeoutMs,
        signal: AbortSignal.timeout(timeoutMs),
      });
      await answer.body.dump({ limit: 65_536, signal: AbortSignal.timeout(timeoutMs) });
      if (RETRYABLE.has(answer.statusCode)) throw new Error(`the collector answered ${answer.statusCode}`);
      if (answer.statusCode >= 200 && answer.statusCode < 300) this.exported += batch.length;
      else this.refused(batch.length, answer.statusCode);
      this.troubled = false;
      return false;
    } catch (error) {
      if (!this.troubled) log.warn('spans_not_sent', { endpoint, error });
      this.troubled = true;
      return true;
    }
  }

  private refused(count: number, status: number): void {
    this.rejected += count;
    this.options.log.warn('spans_refused', { endpoint: this.options.endpoint, status, count });
  }
}

/** The ExportTraceServiceRequest of these spans, in OTLP's JSON form. */
export function tracesOf(spans: readonly Span[], serviceName: string): object {
  return {
    resourceSpans: [
      {
        resource: { attributes: attributesOf({ 'service.name': serviceName }) },
        scopeSpans: [{ scope: { name: 'understudy' }, spans: spans.map(spanJson) }],
      },
    ],
  };
}

function spanJson(span: Span): object {
  return {
    traceId: span.traceId,
    spanId: span.spanId,
    ...(span.parentSpanId !== '' && { parentSpanId: span.parentSpanId }),
    ...(span.traceState !== '' && { traceState: span.traceState }),
    name: span.name,
    kind: SERVER_KIND,
    startTimeUnixNano: nanos(span.startMs),
    endTimeUnixNano: nanos(span.endMs),
    attributes: attributesOf(span.attributes),
    status: span.failed ? { code: STATUS_ERROR } : {},
  };
}

function attributesOf(attributes: Readonly<Record<string, string | number>>): object[] {
  return Object.entries(attributes).map(([key, value]) => ({ key, value: typedValue(value) }));
}

function typedValue(value: string | number): object {
  if (typeof value === 'string') return { stringValue: value };
  return Number.isInteger(value) ? { intValue: String(value) } : { doubleValue: value };
}

/** Whole nanoseconds as a decimal string; milliseconds since 1970 do not fit into a double with their fraction kept. */
function nanos(ms: number): string {
  const whole = Math.floor(ms);
  return `${whole}${String(Math.floor((ms - whole) * 1e6)).padStart(6, '0')}`;
}
