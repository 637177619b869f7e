/** What `loadServable` needs to turn a model file into a servable. */
import type { Clock } from '../../base/clock.ts';
import type { Logger } from '../../base/logger.ts';
import type { Servable } from '../batching/batcher.ts';
import type { BatchingOptions } from '../batching/batching-options.ts';
import type { WorkerError } from '../worker-error.ts';
import type { ExecutionSettings } from './provider-options.ts';
import type { Signature } from './signature.ts';

export interface LoadServableOptions {
  readonly model: string;
  readonly version: bigint;
  /** Path of `model.onnx`. */
  readonly path: string;
  readonly batching: BatchingOptions;
  /** Providers and threads of its sessions; the CPU when absent. The first provider is the one in force. */
  readonly execution?: ExecutionSettings;
  /** Makes the servable's signatures from the graph's own; throws a WorkerError when they do not fit it. */
  readonly signatures?: (graph: Signature) => ReadonlyMap<string, Signature>;
  /** Deadlines of calls are on this clock. */
  readonly clock: Clock;
  readonly log: Logger;
  /** Whether other models are served by this process now, who would wait for what the front thread does. */
  readonly isServing?: () => boolean;
  /**
   * A thread is stuck in native code past the execution timeout: the servable has left AVAILABLE and refuses calls.
   * The process must be replaced, by SIGKILL: exiting normally while a thread is inside onnxruntime aborts anyway.
   */
  readonly onBroken?: (servable: Servable, error: WorkerError) => void;
  /** Another program for execution threads; for tests of threads that die or hang. */
  readonly threadEntry?: URL;
}
