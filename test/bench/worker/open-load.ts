/**
 * Open-loop load of Predict calls: arrivals keep their own pace (Poisson), whatever the server does, and latency counts
 * from when a call should have been sent. Every status and every answer is checked. The generator spins on its core, so
 * that its own timers add nothing.
 */
import { connectHttp2 } from '../../../proto/http2/client.ts';
import type { ConnectionOwner, Http2Connection } from '../../../proto/http2/connection.ts';
import type { HeaderList } from '../../../proto/http2/header-list.ts';
import type { Http2Stream, StreamHandler } from '../../../proto/http2/stream.ts';
import { quantile } from '../measure/statistics.ts';
import type { PredictCase } from './predict-cases.ts';
import { HEAD, type LoadPlan, type LoadSummary, MOST_ANSWER_BYTES } from './predict-load.ts';

/** How long after the last arrival answers are waited for. */
const GRACE_MS = 5_000;

/** Runs `plan` at `plan.ratePerSecond`. */
export function runOpenLoad(plan: LoadPlan, cases: readonly PredictCase[]): Promise<LoadSummary> {
  return new Promise((resolve) => new OpenLoad(plan, cases, resolve).connect());
}

class OpenLoad implements ConnectionOwner {
  failed = 0;
  private readonly plan: LoadPlan;
  private readonly cases: readonly PredictCase[];
  private readonly resolve: (summary: LoadSummary) => void;
  private readonly connections: Http2Connection[] = [];
  private readonly spare: OpenCall[] = [];
  private readonly latencies: Float64Array;
  private answered = 0;
  private sent = 0;
  private connected = 0;
  private startMs = 0;
  private nextMs = 0;
  private random = 123_456_789;

  constructor(plan: LoadPlan, cases: readonly PredictCase[], resolve: (summary: LoadSummary) => void) {
    this.plan = plan;
    this.cases = cases;
    this.resolve = resolve;
    this.latencies = new Float64Array(Math.ceil(plan.ratePerSecond! * plan.seconds * 2) + 1_000);
  }

  connect(): void {
    for (let i = 0; i < this.plan.connections; i++) {
      const onConnected = (): void => {
        if (++this.connected === this.plan.connections) this.start();
      };
      const address = { kind: 'tcp', host: '127.0.0.1', port: this.plan.port } as const;
      this.connections.push(connectHttp2(address, { owner: this, onConnected }));
    }
  }

  ended(call: OpenCall, isRight: boolean): void {
    if (isRight) this.latencies[this.answered] = performance.now() - call.dueMs;
    else this.failed++;
    this.answered++;
    this.spare.push(call);
  }

  private start(): void {
    this.startMs = performance.now();
    this.nextMs = this.startMs;
    this.step();
  }

  private step(): void {
    const nowMs = performance.now();
    const endMs = this.startMs + this.plan.seconds * 1000;
    while (this.nextMs <= nowMs && this.nextMs < endMs && this.sent < this.latencies.length) this.send();
    const isOver = this.nextMs >= endMs && (this.answered >= this.sent || nowMs > endMs + GRACE_MS);
    if (isOver) this.end();
    else setImmediate(() => this.step());
  }

  private send(): void {
    const call = this.spare.pop() ?? new OpenCall(this);
    const connection = this.connections[this.sent % this.connections.length]!;
    call.send(connection, this.cases[this.sent % this.cases.length]!, this.nextMs);
    this.sent++;
    this.nextMs -= (Math.log(1 - this.uniform()) * 1000) / this.plan.ratePerSecond!;
  }

  private end(): void {
    const { seconds } = this.plan;
    for (const connection of this.connections) connection.close();
    const sorted = this.latencies.slice(0, this.answered).sort();
    this.resolve({
      calls: this.sent,
      failed: this.failed + this.sent - this.answered,
      callsPerSecond: this.sent / seconds,
      p50Ms: quantile(sorted, 0.5),
      p99Ms: quantile(sorted, 0.99),
    });
  }

  /** The same arrivals in every run. */
  private uniform(): number {
    this.random ^= this.random << 13;
    this.random ^= this.random >>> 17;
    this.random ^= this.random << 5;
    return (this.random >>> 0) / 2 ** 32;
  }

  acceptStream(): StreamHandler {
    throw new Error('servers do not open streams');
  }

  onDraining(): void {}

  onCapacity(): void {}

  onClosed(): void {}
}

class OpenCall implements StreamHandler {
  dueMs = 0;
  private readonly load: OpenLoad;
  private readonly answer = Buffer.allocUnsafe(MOST_ANSWER_BYTES);
  private answerBytes = 0;
  private current: PredictCase | null = null;

  constructor(load: OpenLoad) {
    this.load = load;
  }

  send(connection: Http2Connection, current: PredictCase, dueMs: number): void {
    this.current = current;
    this.dueMs = dueMs;
    this.answerBytes = 0;
    const stream = connection.openStream(this, HEAD, false);
    if (stream === null) {
      this.load.ended(this, false);
      return;
    }
    stream.sendData(current.request, 0, current.request.length, true);
  }

  onHeaders(_stream: Http2Stream, headers: HeaderList, endStream: boolean): void {
    if (!endStream) return;
    const isOk = headers.get('grpc-status') === '0';
    this.load.ended(this, isOk && this.current!.isRight(this.answer, this.answerBytes));
  }

  onData(stream: Http2Stream, buffer: Buffer, start: number, end: number, endStream: boolean): void {
    if (this.answerBytes + end - start <= MOST_ANSWER_BYTES) buffer.copy(this.answer, this.answerBytes, start, end);
    this.answerBytes += end - start;
    stream.consume(end - start);
    if (endStream) this.load.ended(this, false);
  }

  onSent(): void {}

  onReset(): void {
    this.load.ended(this, false);
  }
}
