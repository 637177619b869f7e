/**
 * Process entry: the load of the opaque workload. Each connection sends one message, waits until all of it has come
 * back, compares it, and sends the next. Over IPC it announces `{ ready: true }` and answers each EchoPlan with an
 * EchoResult.
 */
import { connect } from 'node:net';
import { quantile } from '../measure/statistics.ts';

export interface EchoPlan {
  readonly port: number;
  readonly connections: number;
  /** Messages in all; a multiple of `connections`. */
  readonly requests: number;
  readonly messageBytes: number;
  /** The run is given up after this long. */
  readonly timeoutMs: number;
}

export interface EchoResult {
  /** Messages that came back as they were sent. */
  readonly succeeded: number;
  readonly requestsPerSecond: number;
  readonly p50Us: number;
  readonly p99Us: number;
}

const MICROSECONDS_PER_MILLISECOND = 1000;

async function run(plan: EchoPlan): Promise<EchoResult> {
  const message = Buffer.alloc(plan.messageBytes);
  // Begins like no protocol that a proxy looks for.
  for (let i = 0; i < message.length; i++) message[i] = (i * 31) & 0xff;
  const latencies = new Float64Array(plan.requests);
  let succeeded = 0;
  const each = plan.requests / plan.connections;
  const startMs = performance.now();
  const exchange = (): Promise<void> =>
    new Promise((resolve) => {
      let left = each;
      let bytes = 0;
      let sentMs = 0;
      let intact = true;
      const send = (): void => {
        bytes = 0;
        intact = true;
        sentMs = performance.now();
        socket.write(message);
      };
      const received = (size: number, chunk: Buffer): boolean => {
        const end = bytes + size;
        if (end > message.length || message.compare(chunk, 0, size, bytes, end) !== 0) intact = false;
        bytes = end;
        if (bytes < message.length) return true;
        if (intact) latencies[succeeded++] = (performance.now() - sentMs) * MICROSECONDS_PER_MILLISECOND;
        if (--left > 0) send();
        else socket.end();
        return true;
      };
      const socket = connect({
        host: '127.0.0.1',
        port: plan.port,
        noDelay: true,
        onread: { buffer: Buffer.alloc(16_384), callback: received },
      });
      const timer = setTimeout(() => socket.destroy(), plan.timeoutMs);
      socket.on('connect', send);
      socket.on('error', () => {});
      socket.on('close', () => {
        clearTimeout(timer);
        resolve();
      });
    });
  await Promise.all(Array.from({ length: plan.connections }, exchange));
  const seconds = (performance.now() - startMs) / 1000;
  const sorted = latencies.subarray(0, succeeded).sort();
  return {
    succeeded,
    requestsPerSecond: succeeded / seconds,
    p50Us: quantile(sorted, 0.5),
    p99Us: quantile(sorted, 0.99),
  };
}

process.on('message', async (plan: EchoPlan) => process.send?.(await run(plan)));
process.on('disconnect', () => process.exit(0));
process.send?.({ ready: true });
