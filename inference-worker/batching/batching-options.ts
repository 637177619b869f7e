/** How a servable batches. Names and meanings follow TensorFlow Serving's batching parameters; defaults are below. */

/** Where sessions run: in the front thread, in execution threads, or wherever measuring says is cheaper. */
export type ExecutionPlace = 'front' | 'thread';

export interface BatchingOptions {
  /** Most rows in one task and, unless large tasks are split, in one executed batch. */
  readonly maxBatchSize: number;
  /**
   * Longest time an idle place waits for a batch to fill, in microseconds; 0 executes what there is. With `adaptive` it
   * waits only while waiting pays.
   */
  readonly batchTimeoutMicros: number;
  /** Most batches waiting per queue and priority, the one being filled included; above it tasks are refused. */
  readonly maxEnqueuedBatches: number;
  /** Sizes batches are padded up to, increasing, the last equal to the most rows of a run; empty means any size. */
  readonly allowedBatchSizes: readonly number[];
  readonly place: 'auto' | ExecutionPlace;
  /** Execution threads of one servable, each with a session of its own. */
  readonly threads: number;
  /** A batch running longer than this is failed and its servable is broken; 0 never gives up. Milliseconds. */
  readonly executionTimeoutMs: number;
  /** Whether the measured cost decides, within the bounds above, when a batch stops waiting. */
  readonly adaptive: boolean;
  /** What 99 of 100 tasks should take from acceptance to answer, in milliseconds; 0 sets no goal. */
  readonly latencyObjectiveMs: number;
  /** Whether tasks whose inputs differ in open dimensions behind the first share batches, padded to a common size. */
  readonly padVariableLengthInputs: boolean;
  /** Whether tasks larger than `maxExecutionBatchSize` are executed in parts. */
  readonly splitLargeBatches: boolean;
  /** Most rows of one run when tasks are split, otherwise `maxBatchSize`, which then bounds a task. */
  readonly maxExecutionBatchSize: number;
}

/** TensorFlow Serving's defaults where it has one; one thread, because each costs the model's memory again. */
export const DEFAULT_BATCHING: BatchingOptions = {
  maxBatchSize: 1000,
  batchTimeoutMicros: 0,
  maxEnqueuedBatches: 10,
  allowedBatchSizes: [],
  place: 'auto',
  threads: 1,
  executionTimeoutMs: 30_000,
  adaptive: false,
  latencyObjectiveMs: 0,
  padVariableLengthInputs: false,
  splitLargeBatches: false,
  maxExecutionBatchSize: 1000,
};

/** Most rows of one executed batch. */
export function executionLimit(options: BatchingOptions): number {
  return options.splitLargeBatches
    ? Math.min(options.maxExecutionBatchSize, options.maxBatchSize)
    : options.maxBatchSize;
}

/** Every mistake in the options, each as `field: expectation, got value`; empty when they can be used. */
export function batchingOptionsProblems(options: BatchingOptions): string[] {
  const problems: string[] = [];
  const whole = (field: keyof BatchingOptions, least: number) => {
    const value = options[field];
    if (!Number.isSafeInteger(value) || (value as number) < least) {
      problems.push(`${field}: expected a whole number of at least ${least}, got ${String(value)}`);
    }
  };
  whole('maxBatchSize', 1);
  whole('batchTimeoutMicros', 0);
  whole('maxEnqueuedBatches', 1);
  whole('threads', 1);
  whole('executionTimeoutMs', 0);
  whole('latencyObjectiveMs', 0);
  if (options.splitLargeBatches) whole('maxExecutionBatchSize', 1);
  if (options.splitLargeBatches && options.maxExecutionBatchSize > options.maxBatchSize) {
    problems.push(
      `maxExecutionBatchSize: expected at most maxBatchSize ${options.maxBatchSize}, got ${options.maxExecutionBatchSize}`,
    );
  }
  if (!['auto', 'front', 'thread'].includes(options.place)) {
    problems.push(`place: expected auto, front or thread, got ${String(options.place)}`);
  }
  const sizes = options.allowedBatchSizes;
  for (let i = 0; i < sizes.length; i++) {
    const before = i === 0 ? 0 : sizes[i - 1];
    if (!Number.isSafeInteger(sizes[i]) || sizes[i] <= before) {
      problems.push(`allowedBatchSizes: expected increasing positive whole numbers, got [${sizes.join(', ')}]`);
      break;
    }
  }
  const last = sizes.at(-1);
  const most = executionLimit(options);
  if (last !== undefined && last !== most) {
    const name = options.splitLargeBatches ? 'maxExecutionBatchSize' : 'maxBatchSize';
    problems.push(`allowedBatchSizes: expected the last entry to equal ${name} ${most}, got ${last}`);
  }
  return problems;
}
