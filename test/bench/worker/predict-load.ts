/**
 * Closed-loop load of Predict calls over our HTTP/2 engine, every status and every answer checked.
 *
 * Each slot is one stream at a time: as soon as its answer is complete and checked, it sends the next request. A failed
 * call counts and goes on; a dead connection ends its slots.
 */

import { connectHttp2 } from '../../../proto/http2/client.ts';
import type { ConnectionOwner, Http2Connection } from '../../../proto/http2/connection.ts';
import type { HeaderList } from '../../../proto/http2/header-list.ts';
import { HeaderList as Headers } from '../../../proto/http2/header-list.ts';
import type { Http2Stream, StreamHandler } from '../../../proto/http2/stream.ts';
import { quantile } from '../measure/statistics.ts';
import type { PredictCase } from './predict-cases.ts';

export interface LoadPlan {
  readonly port: number;
  readonly connections: number;
  readonly streams: number;
  readonly seconds: number;
  /** Arrivals a second that do not wait for answers; absent: each stream waits for its answer. */
  readonly ratePerSecond?: number;
}

export interface LoadSummary {
  readonly calls: number;
  /** Calls without status OK, or with values other than a direct run's. */
  readonly failed: number;
  readonly callsPerSecond: number;
  readonly p50Ms: number;
  readonly p99Ms: number;
}

export const HEAD = Headers.of(
  [':method', 'POST'],
  [':scheme', 'http'],
  [':path', '/tensorflow.serving.PredictionService/Predict'],
  [':authority', '127.0.0.1'],
  ['content-type', 'application/grpc'],
  ['te', 'trailers'],
);
export const MOST_ANSWER_BYTES = 16_384;
/** Calls not answered this long after the run's end are given up and count as failed. */
const GRACE_MS = 10_000;

/** Runs `plan` and resolves when its last call is answered. */
export function runPredictLoad(plan: LoadPlan, cases: readonly PredictCase[]): Promise<LoadSummary> {
  return new Promise((resolve) => new Load(plan, cases, resolve).start());
}

class Load implements ConnectionOwner {
  readonly cases: readonly PredictCase[];
  nextCase = 0;
  failed = 0;
  calls = 0;
  endMs = 0;
  private latencies = new Float64Array(1 << 16);
  private startMs = 0;
  private active = 0;
  private readonly plan: LoadPlan;
  private readonly resolve: (summary: LoadSummary) => void;
  private readonly connections: Http2Connection[] = [];
  private watchdog: NodeJS.Timeout | null = null;

  constructor(plan: LoadPlan, cases: readonly PredictCase[], resolve: (summary: LoadSummary) => void) {
    this.plan = plan;
    this.cases = cases;
    this.resolve = resolve;
  }

  start(): void {
    const { port, connections, streams, seconds } = this.plan;
    this.startMs = performance.now();
    this.endMs = this.startMs + seconds * 1000;
    this.watchdog = setTimeout(() => this.giveUp(), seconds * 1000 + GRACE_MS);
    for (let i = 0; i < connections; i++) {
      const onConnected = (connection: Http2Connection): void => {
        for (let slot = 0; slot < streams; slot++) new Slot(this, connection).send(performance.now());
      };
      this.active += streams;
      this.connections.push(connectHttp2({ kind: 'tcp', host: '127.0.0.1', port }, { owner: this, onConnected }));
    }
  }

  record(latencyMs: number): void {
    if (this.calls === this.latencies.length) {
      const larger = new Float64Array(this.latencies.length * 2);
      larger.set(this.latencies);
      this.latencies = larger;
    }
    this.latencies[this.calls++] = latencyMs;
  }

  slotEnded(): void {
    if (--this.active === 0) this.end();
  }

  /** Slots that still wait will never end. */
  private giveUp(): void {
    this.failed += this.active;
    this.active = -1;
    this.end();
  }

  private end(): void {
    if (this.watchdog === null) return;
    clearTimeout(this.watchdog);
    this.watchdog = null;
    const seconds = (performance.now() - this.startMs) / 1000;
    // Later, because this may run inside the last stream's own callback.
    setImmediate(() => {
      for (const connection of this.connections) connection.close();
    });
    const sorted = this.latencies.slice(0, this.calls).sort();
    this.resolve({
      calls: this.calls,
      failed: this.failed,
      callsPerSecond: this.calls / seconds,
      p50Ms: quantile(sorted, 0.5),
      p99Ms: quantile(sorted, 0.99),
    });
  }

  acceptStream(): StreamHandler {
    throw new Error('servers do not open streams');
  }

  onDraining(): void {}

  onCapacity(): void {}

  onClosed(): void {}
}

class Slot implements StreamHandler {
  private readonly load: Load;
  private readonly connection: Http2Connection;
  private readonly answer = Buffer.allocUnsafe(MOST_ANSWER_BYTES);
  private answerBytes = 0;
  private sentMs = 0;
  private current: PredictCase;

  constructor(load: Load, connection: Http2Connection) {
    this.load = load;
    this.connection = connection;
    this.current = load.cases[0]!;
  }

  send(nowMs: number): void {
    const { load } = this;
    this.current = load.cases[load.nextCase++ % load.cases.length]!;
    this.answerBytes = 0;
    this.sentMs = nowMs;
    const stream = nowMs < load.endMs ? this.connection.openStream(this, HEAD, false) : null;
    if (stream === null) {
      if (nowMs < load.endMs) load.failed++;
      load.slotEnded();
      return;
    }
    const { request } = this.current;
    stream.sendData(request, 0, request.length, true);
  }

  onHeaders(_stream: Http2Stream, headers: HeaderList, endStream: boolean): void {
    if (endStream) this.finish(headers.get('grpc-status') === '0');
  }

  onData(stream: Http2Stream, buffer: Buffer, start: number, end: number, endStream: boolean): void {
    if (this.answerBytes + end - start <= MOST_ANSWER_BYTES) buffer.copy(this.answer, this.answerBytes, start, end);
    this.answerBytes += end - start;
    stream.consume(end - start);
    if (endStream) this.finish(false);
  }

  onSent(): void {}

  onReset(): void {
    this.finish(false);
  }

  private finish(statusOk: boolean): void {
    const nowMs = performance.now();
    const { load } = this;
    load.record(nowMs - this.sentMs);
    const fits = this.answerBytes <= MOST_ANSWER_BYTES;
    if (!statusOk || !fits || !this.current.isRight(this.answer, this.answerBytes)) load.failed++;
    this.send(nowMs);
  }
}
