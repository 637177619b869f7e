/** The figures of one servable. The scheduler and the servable change them; scrapes read them. */

import { GrpcStatus } from '../../base/grpc-status.ts';
import { Distribution } from '../metrics/distribution.ts';
import { ENTRY_POINT_LABELS, EntryPoint } from '../metrics/entry-points.ts';
import type { ServableStats, SignatureStats } from './batcher.ts';
import type { ExecutionPlace } from './batching-options.ts';

/** gRPC's codes, 0 to 16. */
const STATUS_CODES = 17;
/** Batch sizes told apart; of further ones there are sums only. */
const MAX_BATCH_SIZES = 1024;

/** What became of the tasks of one signature. */
export class SignatureCounters implements SignatureStats {
  acceptedTasks = 0;
  answeredTasks = 0;
  failedTasks = 0;
  expiredTasks = 0;
  cancelledTasks = 0;
  refusedTasks = 0;
  /** Rows of accepted tasks. */
  rows = 0;
  readonly queueMs = Distribution.latency();
  readonly computeMs = Distribution.latency();
  readonly inputRows = Distribution.size();
  readonly statuses = new Float64Array(STATUS_CODES);
  readonly latencyMs: (Distribution | null)[] = ENTRY_POINT_LABELS.map(() => null);
  readonly runtimeMs: (Distribution | null)[] = ENTRY_POINT_LABELS.map(() => null);

  /** A task that came in at `entry` was answered after `latencyMs`, of which its run took `computeMs`. */
  answered(entry: number, queueMs: number, computeMs: number): void {
    this.answeredTasks++;
    this.queueMs.record(queueMs);
    this.computeMs.record(computeMs);
    if (entry !== EntryPoint.part) this.replied(entry, queueMs, computeMs);
  }

  /** A request was answered: its task, or the last of its parts. */
  replied(entry: number, queueMs: number, computeMs: number): void {
    this.statuses[GrpcStatus.OK]++;
    const latency = this.latencyMs[entry] ?? this.open(entry);
    latency.record(queueMs + computeMs);
    this.runtimeMs[entry]!.record(computeMs);
  }

  private open(entry: number): Distribution {
    const latency = Distribution.latency();
    this.latencyMs[entry] = latency;
    this.runtimeMs[entry] = Distribution.latency();
    return latency;
  }
}

export class ServableCounters implements ServableStats {
  place: ExecutionPlace = 'front';
  provider = 'cpu';
  instances = 1;
  fullBatchMs = Number.NaN;
  msPerRow = Number.NaN;
  msPerBatch = Number.NaN;
  queuedTasks = 0;
  queuedRows = 0;
  runningBatches = 0;
  acceptedTasks = 0;
  answeredTasks = 0;
  failedTasks = 0;
  expiredTasks = 0;
  cancelledTasks = 0;
  refusedTasks = 0;
  executedBatches = 0;
  executedRows = 0;
  paddedRows = 0;
  queueMsSum = 0;
  executeMsSum = 0;
  lastBatchAtMs = 0;
  replacedThreads = 0;
  /** Batches by rows of tasks, by rows run, by rows padded, and by duration. */
  readonly processedRows = Distribution.size();
  readonly batchRows = Distribution.size();
  readonly batchPadding = Distribution.size();
  readonly batchMs = Distribution.latency();
  readonly bySignature = new Map<string, SignatureCounters>();

  /** Batches of so many rows, padding included: how many there were and their milliseconds. */
  readonly byBatchSize = new Map<number, { count: number; ms: number }>();

  /** A batch of `rows` rows, `padded` of them padding, ran `ms` milliseconds; `nowMs` since 1970. */
  ran(rows: number, padded: number, ms: number, nowMs: number): void {
    this.executedBatches++;
    this.executedRows += rows - padded;
    this.paddedRows += padded;
    this.executeMsSum += ms;
    this.batchRows.record(rows - padded);
    this.processedRows.record(rows);
    this.batchPadding.record(padded);
    this.batchMs.record(ms);
    this.lastBatchAtMs = nowMs;
    const known = this.byBatchSize.get(rows);
    if (known !== undefined) {
      known.count++;
      known.ms += ms;
    } else if (this.byBatchSize.size < MAX_BATCH_SIZES) {
      this.byBatchSize.set(rows, { count: 1, ms });
    }
  }

  /** Forgets what was counted: it was warming up, and no caller's. Gauges stay. */
  startAnew(): void {
    this.acceptedTasks = 0;
    this.answeredTasks = 0;
    this.failedTasks = 0;
    this.expiredTasks = 0;
    this.cancelledTasks = 0;
    this.refusedTasks = 0;
    this.executedBatches = 0;
    this.executedRows = 0;
    this.paddedRows = 0;
    this.queueMsSum = 0;
    this.executeMsSum = 0;
    this.lastBatchAtMs = 0;
    for (const counts of [this.processedRows, this.batchRows, this.batchPadding, this.batchMs]) counts.clear();
    this.byBatchSize.clear();
    this.bySignature.clear();
  }

  /** The counters of a signature, made when it is first asked for. */
  signature(name: string): SignatureCounters {
    let counters = this.bySignature.get(name);
    if (counters === undefined) {
      counters = new SignatureCounters();
      this.bySignature.set(name, counters);
    }
    return counters;
  }
}
