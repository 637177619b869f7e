/**
 * The border between the worker's shell and its execution core: what a loaded model version is to those who call it.
 * The shell parses a request, makes a PredictCall and submits it; the core answers every accepted call exactly once.
 */
import type { ElementArray } from '../../proto/tensor/dtype.ts';
import type { PredictRequestView } from '../../proto/tensor/tensor-view.ts';
import type { Distribution } from '../metrics/distribution.ts';
import { EntryPoint } from '../metrics/entry-points.ts';
import type { Signature, TensorSpec } from '../session/signature.ts';
import type { WorkerError } from '../worker-error.ts';
import type { ExecutionPlace } from './batching-options.ts';

/** Element storage of a tensor as onnxruntime uses it (`bool` as bytes, `float16` as its bits). */
export type TensorData = ElementArray;

/** Lower numbers go first. `urgent` and `low` are primary traffic a client ranked; shadow traffic goes behind all of it. */
export const Priority = { urgent: -1, primary: 0, low: 1, shadow: 2 } as const;

/**
 * One output of an executed batch. Views are reused: nothing of them may be kept after the callback.
 *
 * With `batched`, the caller's part is rows `[rowStart, rowStart + rowCount)`, that is elements
 * `[rowStart * rowElements, (rowStart + rowCount) * rowElements)`, and its shape is `dims` with `rowCount` in front.
 * Without it (a model that has no batch axis) the whole of `data` is the caller's, with shape `dims`.
 * `data` may be longer than the batch: padding rows and spare capacity lie behind the rows handed out.
 */
export interface OutputView {
  readonly spec: TensorSpec;
  readonly data: TensorData | readonly string[];
  /** Shape of the whole executed output, padding included. */
  readonly dims: readonly number[];
  readonly batched: boolean;
  /** Elements in one row when `batched`, else in the whole output. */
  readonly rowElements: number;
}

/**
 * One request on its way through a servable. The shell extends it, sets `signature`, `deadlineMs` and `priority`
 * before `submit`, and may set `entry` then and `cancelled` at any time; `rows` is set by the core.
 */
export abstract class PredictCall {
  signature: Signature;
  /** Rows of the request; 1 for a model without a batch axis. Set by `submit`. */
  rows: number;
  /** When the caller stops waiting, on the servable's clock; Infinity when it never does. */
  deadlineMs: number;
  priority: number;
  /** One of `EntryPoint`: where the call came in, for metrics. */
  entry: number;
  /** The caller is gone: the task leaves before assembly with a CANCELLED failure. */
  cancelled: boolean;
  /** When the core accepted the call, on the servable's clock. */
  acceptedAtMs: number;
  /** Row shapes of the inputs where they were padded to be batched, null where they were not. Owned by the core. */
  inputTails: readonly (readonly number[])[] | null;
  /** How long the task waited for its run, how much of that after its batch was taken, and how long the run took. Set before `onOutputs`. */
  queueMs: number;
  batchMs: number;
  computeMs: number;

  constructor(signature: Signature) {
    this.signature = signature;
    this.rows = 0;
    this.deadlineMs = Number.POSITIVE_INFINITY;
    this.priority = Priority.primary;
    this.entry = EntryPoint.predictGrpc;
    this.cancelled = false;
    this.acceptedAtMs = 0;
    this.inputTails = null;
    this.queueMs = 0;
    this.batchMs = 0;
    this.computeMs = 0;
  }

  /** The answer. Called at most once; the views are valid only during the call. Must not throw: if it does, onFailure follows. */
  abstract onOutputs(outputs: readonly OutputView[], rowStart: number, rowCount: number): void;

  /** The task failed, expired or was cancelled after having been accepted. Called at most once, instead of onOutputs. */
  abstract onFailure(error: WorkerError): void;
}

/** What became of the tasks of one signature since its version was loaded. Counts only grow. */
export interface SignatureStats {
  readonly acceptedTasks: number;
  readonly answeredTasks: number;
  readonly failedTasks: number;
  readonly expiredTasks: number;
  readonly cancelledTasks: number;
  readonly refusedTasks: number;
  readonly rows: number;
  /** Of answered tasks, in milliseconds. */
  readonly queueMs: Distribution;
  readonly computeMs: Distribution;
  /** Rows of accepted tasks. */
  readonly inputRows: Distribution;
  /** Ended tasks by gRPC status code, refusals included. */
  readonly statuses: Float64Array;
  /** By entry point, null where none came in: milliseconds from acceptance to answer, and of the run. */
  readonly latencyMs: readonly (Distribution | null)[];
  readonly runtimeMs: readonly (Distribution | null)[];
}

/** Figures of one servable since it was loaded, read at scrape time. Counts only grow; gauges say so. */
export interface ServableStats {
  /** Gauge: where batches run now. */
  readonly place: ExecutionPlace;
  /** The execution provider in force, and the sessions that run on it. */
  readonly provider: string;
  readonly instances: number;
  /** Gauge: measured milliseconds of a full batch, NaN before the first measurement. */
  readonly fullBatchMs: number;
  /** Gauges: the cost fitted to the runs, milliseconds per row and per batch; NaN before the first. */
  readonly msPerRow: number;
  readonly msPerBatch: number;
  /** Gauge: accepted tasks and rows not yet handed to a session. */
  readonly queuedTasks: number;
  readonly queuedRows: number;
  /** Gauge: batches being executed. */
  readonly runningBatches: number;
  readonly acceptedTasks: number;
  readonly answeredTasks: number;
  readonly failedTasks: number;
  readonly expiredTasks: number;
  readonly cancelledTasks: number;
  readonly refusedTasks: number;
  readonly executedBatches: number;
  readonly executedRows: number;
  /** Rows executed only to reach an allowed batch size. */
  readonly paddedRows: number;
  /** Sums over executed tasks and batches, in milliseconds. */
  readonly queueMsSum: number;
  readonly executeMsSum: number;
  /** When the last batch ended, in milliseconds since 1970; 0 before the first. */
  readonly lastBatchAtMs: number;
  /** Execution threads started in place of lost ones. */
  readonly replacedThreads: number;
  /** Batches by rows run, by rows of tasks, by rows padded, and by milliseconds of their run. */
  readonly processedRows: Distribution;
  readonly batchRows: Distribution;
  readonly batchPadding: Distribution;
  readonly batchMs: Distribution;
  /** By rows run, padding included: batches and the sum of their milliseconds; at most 1024 sizes. */
  readonly byBatchSize: ReadonlyMap<number, { readonly count: number; readonly ms: number }>;
  readonly bySignature: ReadonlyMap<string, SignatureStats>;
}

/** One loaded version that can execute. */
export interface Servable {
  readonly model: string;
  readonly version: bigint;
  readonly signatures: ReadonlyMap<string, Signature>;
  readonly stats: ServableStats;
  /** Set once a thread is stuck in native code: every submit is refused and only a new process helps. */
  readonly broken: WorkerError | null;
  /**
   * Checks the request against `call.signature` and copies its tensors into a batch; `buf` and the views are not used
   * after return. Null means accepted: exactly one of onOutputs and onFailure follows, never during this call.
   * An error means refused: neither follows. Refusals: inputs, dtype, shape or values that do not fit the signature
   * (INVALID_ARGUMENT), a full queue, a broken or closing servable (UNAVAILABLE).
   */
  submit(call: PredictCall, request: PredictRequestView, buf: Buffer): WorkerError | null;
  /** What ran until now was warming up: it is not counted. Called at most once, before the version serves. */
  startCounting(): void;
  /** Refuses new calls, answers the accepted ones, stops the threads and releases the session. Idempotent. */
  close(): Promise<void>;
}
